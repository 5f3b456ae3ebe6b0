"""Switches (no_grad, debug, looking, skip_init): on inside their blocks, whoever leaves first, and nowhere else.

Not here: what is switched (test_autograd.py, nn/test_layers.py, nn/test_observer.py).
"""

import asyncio
import threading

import numpy as np
import pytest

from minivis import autograd, debugging, nn
from minivis.nn import init, observer
from minivis.switches import Switch

LAYER = nn.Linear(1, 1)

# name: (the block, whether it is on)
SWITCHES = {
    "no_grad": (autograd.no_grad, lambda: not autograd.recording()),
    "debug": (debugging.debug, debugging.debugging),
    "looking": (lambda: nn.looking(LAYER), observer._lookers.is_on),
    "skip_init": (init.skip_init, lambda: not init.uniform((1,), 1.0, np.random.default_rng(0)).any()),
}


@pytest.fixture(params=SWITCHES)
def switch(request):
    block, is_on = SWITCHES[request.param]
    errors = np.geterr()
    assert not is_on()
    yield block, is_on
    assert not is_on()
    assert np.geterr() == errors


def steps(block):
    with block():
        yield 1
        yield 2


def test_blocks_carry_values_to_whoever_asks_inside():
    switch = Switch("values")
    assert switch.values() == []
    first = switch.on("first")
    with first, switch.on(), switch.on(3):
        assert switch.values() == ["first", None, 3]
        assert in_a_thread(switch.values) == []
        first.__exit__()
        assert switch.values() == [None, 3] and switch.is_on()
        first.__enter__()
    assert switch.values() == [] and not switch.is_on()


def in_a_thread(run):
    """What ``run()`` returns in a thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_blocks_of_generators_that_take_turns_end_in_any_order(switch, order):
    block, is_on = switch
    open_ones = [steps(block) for _ in order]
    for one in open_ones:
        next(one)
    for left, index in enumerate(order):
        assert is_on()
        open_ones[index].close()
        assert is_on() == (left < 2)


def test_blocks_lie_inside_one_another_and_end_with_an_error(switch):
    block, is_on = switch
    with pytest.raises(ZeroDivisionError), block():
        with block():
            assert is_on()
        assert is_on()
        raise ZeroDivisionError


def test_a_function_can_be_decorated_and_call_itself(switch):
    block, is_on = switch

    @block()
    def down(n):
        assert is_on()
        return n and down(n - 1)

    down(2)
    assert not is_on()
    down(1)


def test_another_thread_does_not_see_a_block(switch):
    block, is_on = switch
    with block():
        assert in_a_thread(is_on) is False
        assert is_on()
    assert in_a_thread(lambda: next(steps(block)) and is_on()) is False  # nor this one that thread's


def test_a_block_that_another_thread_leaves_is_left(switch):
    block, is_on = switch
    one = steps(block)
    next(one)

    def go_on():
        one.close()
        before = is_on()
        with block():
            return before, is_on()

    assert in_a_thread(go_on) == (False, True)
    assert not is_on()
    with block():
        assert is_on()


def test_tasks_that_take_turns_keep_their_own(switch):
    block, is_on = switch
    seen = []

    async def task(inside):
        for _ in range(3):
            if inside:
                with block():
                    await asyncio.sleep(0)
                    seen.append(is_on() is True)
            else:
                await asyncio.sleep(0)
                seen.append(is_on() is False)

    async def both():
        await asyncio.gather(task(True), task(False), task(True))

    asyncio.run(both())
    assert seen == [True] * 9


def test_a_decorated_generator_is_refused_where_it_would_do_nothing():
    with pytest.raises(
        TypeError, match="steps: a generator or coroutine runs after the call .* write `with` inside"
    ):

        @autograd.no_grad()
        def steps():
            yield 1

    @autograd.no_grad()
    def inside():
        return (autograd.Tensor([1.0], requires_grad=True) * 2).requires_grad

    assert not inside() and not inside()
