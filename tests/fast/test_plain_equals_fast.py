"""Plain equals fast: outputs and gradients of every row of the case tables, in three dtypes, for each faster way.

Not here: when a way pays, and the routines one by one (test_routines.py).
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minivis as mv
from minivis.optim import adamw_step
from minivis.ways import faster, with_ways
from tests.fast.forcing import FUNCTIONS, MOST, forced, on_strict
from tests.ops.cases import gather
from tests.ops.large_rows import ROWS as LARGE
from tests.ops.test_every_op import PLAIN, as_list, call, fresh_rng, inputs_of, on_device, pull, setup

CASES, _ = gather()
# Tolerances: (relative, relative to the largest)
CLOSE = {np.float16: (2e-3, 2e-3), np.float32: (1e-4, 1e-5), np.float64: (1e-9, 1e-11)}
PICKS = range(MOST)


def results(case, dtype):
    """The outputs of a row and, if it has any, its gradients."""
    arguments = fresh_rng(inputs_of(case, dtype))
    if case.op in PLAIN or not case.differentiable():
        return as_list(call(getattr(mv.ops, case.op), arguments))
    cotangents = [w.astype(dtype) for w in setup(case)[1]]
    return sum(pull(case, arguments, cotangents), [])


def agrees(case, dtype):
    """Fail if a faster way gives a different result; return the names of the ways taken."""
    with mv.plain():
        expected = results(case, dtype)
    relative, absolute = CLOSE[dtype]
    names = set()
    for pick in PICKS:
        for compiled in (True, False) if dtype != np.float64 else (False,):
            with forced(pick, compiled) as taken:
                found = results(case, dtype)
            names |= taken
            for a, b in zip(found, expected, strict=True):
                assert a.dtype == b.dtype and np.shape(a) == np.shape(b), taken
                largest = max(1.0, float(np.abs(b).max(initial=0, where=np.isfinite(b))))
                np.testing.assert_allclose(a, b, rtol=relative, atol=absolute * largest, err_msg=str(taken))
    return names


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("case", CASES + LARGE, ids=str)
def test_every_faster_way_gives_what_the_plain_one_gives(case, dtype):
    agrees(case, dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_faster_ways_keep_to_the_device_of_their_arrays(case):
    """The pretend GPU refuses to mix its arrays with NumPy's."""
    with mv.plain():
        expected = on_device(case, "cpu")
    for pick in PICKS:
        with on_strict(), forced(pick):
            found = on_device(case, "strict")
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_no_faster_way_is_without_rows():
    taken = set()
    for case in CASES:
        for pick in PICKS:
            with forced(pick) as names:
                results(case, np.float32)
            taken |= names
    known = {way.function.__name__ for f in FUNCTIONS.values() for way in f.ways}
    needs = {"attention_by_heads"} if importlib.util.find_spec("numba") is None else set()
    assert known - taken == {"adamw_step_in_one_pass"} | needs  # the optimiser is tested below


def test_a_faster_way_to_something_else_is_found():
    case = next(c for c in CASES if c.op == "softmax")

    @faster(mv.ops.softmax, may=lambda x, axis=-1: True, pays=lambda x, axis=-1: True)
    def wrong(x, axis=-1):
        p, pull = mv.ops.softmax.raw(x, axis)
        return p, lambda g: (1.01 * pull(g)[0],)

    mv.ops.softmax.ways.insert(0, mv.ops.softmax.ways.pop())
    try:
        with pytest.raises(AssertionError, match="wrong"):
            agrees(case, np.float64)
    finally:
        del mv.ops.softmax.ways[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("step", [1, 7])
def test_the_step_of_adamw_too(dtype, compiled, step):
    start = np.random.default_rng(0).standard_normal((4, 30)).astype(dtype) ** 2
    options = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1, "step": step}
    plain = start.copy()
    fast = start.copy()
    with mv.plain():
        adamw_step(*plain, **options)
    with forced(compiled=compiled) as taken:
        adamw_step(*fast, **options)
    assert taken == {"adamw_step_in_one_pass"}
    np.testing.assert_allclose(fast, plain, rtol=1e-5 if dtype == np.float32 else 1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Which way is taken


@with_ways
def length(numbers):
    """The plain form."""
    return len(numbers)


@pytest.fixture
def ways():
    yield length.ways
    length.ways.clear()


def test_the_first_way_that_may_and_pays_is_taken(ways):
    for name, may, pays in (("a", False, True), ("b", True, False), ("c", True, True), ("d", True, True)):
        faster(length, may=lambda x, may=may: may, pays=lambda x, pays=pays: pays)(lambda x, name=name: name)
    assert length("xyz") == "c"
    with mv.plain():
        assert length("xyz") == 3
    assert length("xyz") == "c"


def test_a_condition_that_cannot_answer_says_no(ways):
    faster(length, may=lambda x: True, pays=lambda x: x.size > 0)(lambda x: "taken")
    assert length("xyz") == 3
    with pytest.raises(TypeError, match="len"):
        length(3)


def test_small_arrays_are_computed_as_the_slides_have_it():
    small = np.zeros((3, 5), np.float32)
    large = np.zeros((200, 200), np.float32)
    way = mv.ops.softmax.ways[0]
    assert not way.pays(small) and way.pays(large) and way.may(large)
    with pytest.raises(TypeError, match="softmax: expected an array or a Tensor, got list"):
        mv.ops.softmax([1.0, 2.0])


def test_everything_computes_without_the_folder(tmp_path):
    """The op tests pass in a copy that has no `fast`."""
    root = Path(mv.__file__).parents[1]
    shutil.copytree(
        root / "minivis",
        tmp_path / "minivis",
        ignore=shutil.ignore_patterns("fast", "__pycache__", "weights"),
    )
    shutil.copytree(root / "tests" / "ops", tmp_path / "tests" / "ops")
    for name in ("tests/conftest.py", "tests/strict.py", "pyproject.toml"):
        shutil.copy(root / name, tmp_path / name)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops/test_every_op.py"]
    done = subprocess.run(
        [*command, "-k", "test_gradient or gives_the_same"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    check = "import minivis, sys; assert minivis.__file__.startswith(sys.argv[1]); assert not minivis.ops.softmax.ways"
    subprocess.run([sys.executable, "-c", check, str(tmp_path)], cwd=tmp_path, check=True)
