"""The engine: what Tensor, primitive, backward, no_grad and debug promise.

Not here: the gradients of single ops (tests/ops).
"""

import copy
import gc
import pickle
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivis as mv
from minivis.autograd import Tensor, primitive, unbroadcast
from minivis.dtypes import made


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


@pytest.fixture
def no_gc():
    gc.disable()
    yield
    gc.enable()


# Tensor


def test_lists_and_numbers_become_float32_and_arrays_keep_their_dtype():
    assert Tensor([1, 2]).dtype == np.float32
    assert Tensor(1.5).dtype == np.float32
    assert Tensor(np.arange(3)).dtype == np.int64
    assert Tensor([True, False]).dtype == bool
    assert Tensor(np.float64(2)).dtype == np.float64
    x = np.ones(3)
    assert Tensor(x).data is x


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Tensor(np.arange(3), requires_grad=True), TypeError, "only floating-point"),
        (lambda: Tensor(Tensor([1.0])), TypeError, "already a Tensor"),
        (lambda: Tensor(["a", None]), TypeError, "Tensor: expected numbers"),
        (lambda: bool(leaf(2, 3)), ValueError, "shape (2, 3) is ambiguous"),
        (lambda: len(Tensor(1.0)), TypeError, "without axes"),
        (lambda: iter(Tensor(1.0)).__next__(), TypeError, "without axes"),
        (lambda: np.asarray(leaf(2)), TypeError, "part of a graph"),
        (lambda: leaf(2).item(), ValueError, "item: a Tensor of shape (2,) has 2 elements"),
        (lambda: leaf(2) + "a", TypeError, "add: expected numbers, got str 'a'"),
        (lambda: leaf(2).sum(dim=0), TypeError, "sum: there is no argument 'dim'"),
        (lambda: leaf(2) @ [1.0, 2.0], TypeError, "matmul: y must be an array or a Tensor, got list"),
    ],
)
def test_misuse_is_refused_in_words(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


def test_it_behaves_like_an_array():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (x.shape, x.ndim, x.size, x.device, len(x)) == ((2, 2), 2, 4, "cpu", 2)
    assert [row.numpy().tolist() for row in x] == [[1, 2], [3, 4]]
    assert float(x[1, 0]) == 3.0
    assert int(x[1, 1]) == 4
    assert bool(Tensor([1.0]))
    assert (x > 2).tolist() == [[False, False], [True, True]]
    assert (x == x.data).all()
    assert (
        x.T.shape
        == x.transpose().shape
        == x.transpose(1, 0).shape
        == x.reshape(2, -1).shape
        == x.reshape((2, 2)).shape
    )
    assert np.asarray(x).tolist() == [[1, 2], [3, 4]]
    assert {x: 1}[x] == 1
    assert x.astype(np.float64).dtype == np.float64
    assert x.detach().node is None


def test_the_repr_tells_values_shape_dtype_and_origin():
    x = leaf(2, dtype=np.float32)
    assert "requires_grad=True" in repr(x)
    assert "shape=(2,), float32, made by mul" in repr(x * 2)
    assert len(repr(Tensor(np.zeros((300, 300))))) < 800


@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2), np.int64(2), np.float32(2)])
def test_scalars_never_change_float32(scalar):
    x = leaf(3, dtype=np.float32)
    for y in (
        x + scalar,
        scalar + x,
        x * scalar,
        scalar * x,
        x - scalar,
        scalar - x,
        x / scalar,
        scalar / x,
        x**scalar,
    ):
        assert isinstance(y, Tensor)
        assert y.dtype == np.float32
        x.grad = None
        y.sum().backward()
        assert x.grad.dtype == np.float32


def test_a_numpy_array_on_the_left_meets_the_tensor_whole():
    x = leaf(3)
    for y in (
        np.ones(3) + x,
        np.ones(3) * x,
        np.ones(3) - x,
        np.ones(3) / x,
        np.ones((2, 3)) @ x,
        [1.0, 2.0, 3.0] * x,
    ):
        assert isinstance(y, Tensor)
        assert y.node is not None


# backward


def test_a_scalar_needs_no_cotangent_and_anything_else_does():
    x = leaf(2, 3)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) needs a cotangent"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"grad has shape \(3, 2\)"):
        (x * 2).backward(np.ones((3, 2)))
    with pytest.raises(RuntimeError, match="no input had requires_grad"):
        (Tensor([1.0]) * 2).backward()
    (x * 2).backward(np.full((2, 3), 3.0))
    assert (x.grad == 6).all()


def test_grad_is_an_array_of_its_own_with_the_shape_and_dtype_of_data():
    x = leaf(dtype=np.float32)
    (x * x).backward()
    assert isinstance(x.grad, np.ndarray)
    assert (x.grad.shape, x.grad.dtype) == ((), np.float32)
    y = leaf(3)
    g = np.ones(3)
    mv.ops.reshape(y, (3,)).backward(g)
    assert not np.shares_memory(y.grad, g)
    g[:] = 7
    assert (y.grad == 1).all()


def test_gradients_of_two_backwards_add_up():
    x = leaf(3)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first
    assert (x.grad == 5).all()


def test_the_gradient_of_a_fan_out_sums_and_never_writes_into_what_a_vjp_returned():
    x = leaf(3)
    y = x + x + x  # each vjp hands on g itself
    (y * y + y).sum().backward()
    np.testing.assert_allclose(x.grad, 3 * (2 * 3 * x.data + 1))


def test_a_second_backward_is_refused_unless_the_graph_was_retained():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    first = x.grad.copy()
    y.backward()
    assert (x.grad == 2 * first).all()
    with pytest.raises(RuntimeError, match="was consumed by an earlier backward.*retain_graph=True"):
        y.backward()


def test_a_consumed_part_is_found_before_anything_is_changed():
    x = leaf(3)
    h = x * x
    h.sum().backward()
    kept = x.grad.copy()
    z = leaf(3, seed=1)
    with pytest.raises(RuntimeError, match="behind mul was consumed"):
        (h * z).sum().backward()
    assert (x.grad == kept).all()
    assert z.grad is None


CHANGES = {  # what writes into the data of a leaf x, or of y = exp(x), between forward and backward
    "x.data += 1": lambda x, y: setattr(x, "data", x.data.__iadd__(1)),  # what Python makes of it
    "x.data *= 2": lambda x, y: setattr(x, "data", x.data.__imul__(2)),
    "y.data += 1": lambda x, y: setattr(y, "data", y.data.__iadd__(1)),
    "an optimiser's step": lambda x, y: mv.optim.SGD([x], 1.0).step(),
    "loaded weights": lambda x, y: holder(x).load_state_dict({"x": np.zeros(3)}),
}


def holder(x):
    module = mv.nn.Module()
    module.x = x
    return module


@pytest.mark.parametrize("name", CHANGES)
def test_data_changed_in_place_between_forward_and_backward_is_noticed(name):
    x = mv.nn.Parameter(np.arange(3.0))
    z = leaf(3)
    x.grad = np.ones(3)
    y = mv.ops.exp(x)
    loss = (y * z).sum()
    CHANGES[name](x, y)
    with pytest.raises(RuntimeError, match="backward: the data of .*changed in place after the forward pass"):
        loss.backward()
    assert (x.grad == 1).all() and z.grad is None  # nothing was changed
    again = (mv.ops.exp(x) * z).sum()
    again.backward()  # a new forward pass is all it takes
    np.testing.assert_allclose(z.grad, np.exp(x.data))


def test_data_changed_in_place_is_no_matter_where_no_graph_needs_it():
    x = leaf(3)
    x.data += 1  # before
    y = mv.ops.exp(x)
    wanted = np.exp(x.data)
    x.data = x.data + 1  # another array: the graph has kept the old one
    y.sum().backward()
    np.testing.assert_allclose(x.grad, wanted)
    loss = (x * x).sum()
    holder(x).to("float64")  # which it has already: the array stays
    loss.backward()
    x.data -= 0.1 * x.grad  # after
    h = leaf(3, seed=1)
    (h * h).sum().backward()
    (x * 2).sum().backward()


def test_data_changed_in_place_behind_a_detach_or_in_a_loop_of_steps_is_fine():
    x = leaf(3)
    for _ in range(3):
        x.grad = None
        loss = (x * x).sum()
        loss.backward()
        np.testing.assert_allclose(x.grad, 2 * x.data)
        x.data -= 0.1 * x.grad
    with pytest.raises(RuntimeError, match="which mul was given"):
        loss = (x * x).sum()
        loss.backward(retain_graph=True)
        x.data -= 0.1 * x.grad
        loss.backward()


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_leaf_can_be_copied_and_a_result_is_refused_in_words(copied):
    x = leaf(3)
    x.grad = np.ones(3)
    x.data += 1
    twin = copied(x)
    assert twin.requires_grad and (twin.data == x.data).all() and (twin.grad == 1).all()
    assert copied is copy.copy or not np.shares_memory(twin.data, x.data)
    (twin * twin).sum().backward()
    np.testing.assert_allclose(twin.grad, 1 + 2 * x.data)
    result = x * 2
    for thing in (result, [result], {"a": (result,)}):
        if copied is copy.copy and thing is not result:
            continue
        with pytest.raises(
            TypeError, match=r"copy: this Tensor \(3,\) is a result \(made by mul\).*x.detach\(\)"
        ):
            copied(thing)
    assert copied(result.detach()).data.tolist() == result.data.tolist()


@given(st.integers(0, 2**32 - 1))
def test_backward_is_linear_in_the_cotangent(seed):
    rng = np.random.default_rng(seed)
    data, a, b = rng.standard_normal((3, 2, 4))

    def pulled(g):
        x = Tensor(data, requires_grad=True)
        mv.ops.softmax(mv.ops.tanh(x) @ data.T).backward(g @ data.T)
        return x.grad

    np.testing.assert_allclose(pulled(2 * a - 3 * b), 2 * pulled(a) - 3 * pulled(b), atol=1e-12)


def test_twenty_thousand_ops_deep():
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 0.001
    y.backward()
    assert x.grad.tolist() == [1.0]
    for _ in range(20_000):  # and a deep graph that is dropped without a backward
        y = y * 1.0
    del y


def test_sixty_shared_residuals_are_linear():
    x = Tensor([1.0], requires_grad=True)
    y = x
    started = time.perf_counter()
    for _ in range(60):
        y = y + y
    y.backward()
    assert time.perf_counter() - started < 0.5  # 2^60 paths
    assert x.grad.tolist() == [2.0**60]


def test_memory_is_freed_without_the_garbage_collector(no_gc):
    x = leaf(1000)
    h = x * 2
    alive = weakref.ref(h)
    y = (h * h).sum()
    y.backward()
    node = weakref.ref(y)
    del h, y
    assert alive() is None
    assert node() is None
    z = mv.ops.exp(x)  # a graph that is never walked
    alive = weakref.ref(z)
    del z
    assert alive() is None


def test_memory_falls_while_backward_runs(no_gc):
    n, depth = 100_000, 20
    x = leaf(n)
    seen = []

    @primitive
    def spy(x):
        def vjp(g):
            seen.append(tracemalloc.get_traced_memory()[0])
            return (g,)

        return x * 1.0, vjp

    tracemalloc.start()
    y = x
    for _ in range(depth):
        y = mv.ops.exp(spy(y) * 0.1)  # keeps one array a step
    y = y.sum()
    y.backward()
    tracemalloc.stop()
    assert len(seen) == depth
    freed = seen[0] - seen[-1]
    assert freed > (depth - 4) * n * 8


TRIANGLE = np.tri(160, dtype=bool)
KEEPING = {  # name: op, shape of its argument, elements that have to stay for backward, the result among them
    "concatenate": (lambda x: mv.ops.concatenate([x, x]), (300, 100), 60_000),
    "stack": (lambda x: mv.ops.stack([x, x]), (300, 100), 60_000),
    "unfold": (lambda x: mv.ops.unfold(x, 3), (1, 4, 66, 66), 4 * 9 * 64 * 64),
    "fold": (lambda x: mv.ops.fold(x, (66, 66), 3), (1, 4 * 9, 64 * 64), 4 * 66 * 66),
    "masked attention": (
        lambda x: mv.ops.scaled_dot_product_attention(x, x, x, TRIANGLE),
        (4, 160, 2),
        4 * 160 * 160 + 2 * 4 * 160 * 2,
    ),
}


@pytest.mark.parametrize("name", KEEPING)
def test_nothing_is_kept_that_backward_does_not_need(name):
    op, shape, elements = KEEPING[name]
    x = Tensor(np.zeros(shape), requires_grad=True)
    op(x + 0.0)  # whatever is loaded or made once
    tracemalloc.start()
    y = op(x + 0.0)  # the argument itself is a result that nobody holds
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert y.requires_grad and kept < 8 * elements * 1.1 + 20_000


# primitive


def test_any_parameter_that_receives_a_tensor_is_differentiable_by_position_or_keyword():
    x = leaf(2, 3)
    w = leaf(4, 3, seed=1)
    b = leaf(4, seed=2)
    mv.ops.linear(x.data, bias=b, weight=w).sum().backward()
    assert x.grad is None
    assert w.grad.shape == (4, 3)
    assert b.grad.tolist() == [2, 2, 2, 2]


def test_a_list_of_tensors_gets_a_list_of_cotangents():
    a = leaf(2)
    b = leaf(3, seed=1)
    mv.ops.concatenate([a, np.zeros(4), b]).sum().backward()
    assert a.grad.tolist() == [1, 1]
    assert b.grad.tolist() == [1, 1, 1]


@primitive
def weighted(weight, *parts, shift=0.0):
    """Sum of arrays times a weight, plus a shift."""
    total = sum(parts)
    return weight * total + shift, lambda g: (g * total, *[g * weight] * (len(parts) - 1), lambda: g * weight)


def test_each_of_any_number_of_arrays_gets_its_own_cotangent():
    a, b, w = (Tensor(np.full(2, x), requires_grad=True) for x in (1.0, 2.0, 3.0))
    fixed = np.full(2, 5.0)
    weighted(w, a, fixed, b).backward(np.ones(2))
    assert [x.grad.tolist() for x in (a, b, w)] == [[3, 3], [3, 3], [8, 8]]
    w.grad = None
    weighted(w, fixed, Tensor(fixed), shift=1.0).backward(np.ones(2))  # nobody among them wants one
    assert w.grad.tolist() == [10, 10]
    with pytest.raises(TypeError, match="weighted: not differentiable in its argument number 3"):
        weighted(w, a, shift=b).backward(np.ones(2))


def test_a_list_of_tensors_is_no_argument_of_a_primitive():
    @primitive
    def total(parts):
        return sum(parts), lambda g: (g,)

    with pytest.raises(TypeError, match=r"total: parts is a list of Tensors; .*\*parts"):
        total([Tensor([1.0]), Tensor([2.0])])


def test_a_broken_promise_names_the_argument_also_where_one_is_given_twice():
    @primitive
    def twice(x, y):
        return x + y, lambda g: (lambda: g * 1.0, lambda: g[:1])

    x = leaf(2)
    with pytest.raises(AssertionError, match="twice: its vjp must return .* for argument number 2, got"):
        twice(x, x).backward(np.ones(2))


def test_arrays_in_give_an_array_out_and_raw_gives_the_pair():
    assert type(mv.ops.softmax(np.zeros(2))) is np.ndarray
    out, vjp = mv.ops.softmax.raw(np.zeros(2))
    assert out.tolist() == [0.5, 0.5]
    assert vjp(np.ones(2))[0].tolist() == [0, 0]


def test_way_gives_the_pair_too():
    x = np.arange(3.0)[None, None]
    weight = np.array([[[1.0, 2.0]]])
    out, vjp = mv.ops.conv1d.way(x, weight)
    assert out.tolist() == [[[2, 5]]]
    assert [part if part is None else part.tolist() for part in made(vjp(np.ones((1, 1, 2))))] == [
        [[[1, 3, 2]]],
        [[[1, 3]]],
        None,
    ]


def test_what_is_no_array_among_several_operands_is_named():
    with pytest.raises(
        TypeError, match="^einsum: operands must be an array or a Tensor, got list; wrap it in"
    ):
        mv.ops.einsum("i,i->", np.ones(2), [1.0, 2.0])


def test_a_gradient_that_an_op_cannot_give_is_refused():
    weight = Tensor(np.ones(3), requires_grad=True)
    loss = mv.ops.cross_entropy(leaf(2, 3), np.array([0, 1]), weight=weight)
    with pytest.raises(TypeError, match="cross_entropy: not differentiable in its argument number 3"):
        loss.backward()


@pytest.mark.parametrize("wrong", [lambda g: g[:-1], lambda g: g.astype(np.float32)])
def test_a_vjp_that_breaks_its_promise_is_named(wrong):
    @primitive
    def careless(x):
        return x * 1.0, lambda g: (wrong(g),)

    with pytest.raises(AssertionError, match="careless: its vjp must return a cotangent float64"):
        careless(leaf(3)).sum().backward()


def test_errors_carry_the_name_of_the_op_and_the_shapes():
    with pytest.raises(ValueError, match=r"^add: .*\(x: \(2, 3\) float64, y: \(4,\) float64\)$"):
        leaf(2, 3) + leaf(4)
    with pytest.raises(TypeError, match="^softmax: expected an array or a Tensor, got list"):
        mv.ops.softmax([1.0, 2.0])


WRONG_CALLS = {
    "refused by the op itself": lambda x: mv.ops.matmul(x, np.zeros((4, 1))),
    "refused by NumPy": lambda x: mv.ops.add(x, np.zeros(7)),
    "refused by what an op calls": lambda x: mv.ops.softmax(x, axis=5),
    "unknown argument": lambda x: mv.ops.sum(x, dim=0),
    "no array": lambda x: mv.ops.matmul(x, "text"),
    "no array for a function of several ops": lambda x: mv.ops.attention_composed(x, x, [1.0]),
    "refused by a function of several ops": lambda x: mv.losses.dice_loss(x, x[:1]),
    "no list": lambda x: mv.ops.concatenate(x, axis=9),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
@pytest.mark.parametrize(
    "wrap", [np.asarray, lambda x: Tensor(x, requires_grad=True)], ids=["array", "Tensor"]
)
def test_an_error_is_no_cycle_and_frees_its_arrays(no_gc, name, wrap):
    x = np.zeros((3, 3))
    alive = weakref.ref(x)
    try:
        WRONG_CALLS[name](wrap(x))
    except (ValueError, IndexError, TypeError) as error:
        seen = []
        while error is not None:
            assert error not in seen
            seen.append(error)
            error = error.__cause__ or error.__context__
        del seen
    else:
        raise AssertionError("was not refused")
    del x
    assert alive() is None


def test_integer_results_do_not_require_a_gradient():
    @primitive
    def signs(x):
        return (x > 0).astype(np.int64), lambda g: (g,)

    assert not signs(leaf(3)).requires_grad


# switches


def test_no_grad_records_nothing_and_ends_with_its_block():
    x = leaf(3)
    with mv.no_grad():
        y = x * 2
        assert y.node is None
        assert not y.requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), mv.no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_debug_names_the_first_op_that_makes_a_nan_forward():
    x = Tensor([0.0, 1.0], requires_grad=True)
    with mv.debug(), pytest.raises(FloatingPointError, match=r"^log: made the first inf \(forward\).*\(2,\)"):
        mv.ops.exp(mv.ops.log(x) * 2)
    with mv.debug(), pytest.raises(FloatingPointError, match="^sqrt: made the first nan"):
        mv.ops.sqrt(x - 1)
    with mv.debug(), pytest.raises(FloatingPointError, match="^log: "):
        mv.ops.log(x=np.zeros(2))


def test_debug_names_the_first_op_that_makes_a_nan_backward():
    x = Tensor([0.0, 1.0], requires_grad=True)
    with mv.debug():
        y = mv.ops.sqrt(x).sum()
        with pytest.raises(FloatingPointError, match=r"^sqrt: made the first nan or inf \(backward\)"):
            y.backward()


def test_debug_sees_numbers_without_axes():
    with mv.debug(), pytest.raises(FloatingPointError, match=r"^log: made the first inf \(forward\)"):
        mv.ops.log(Tensor(np.float32(0.0)))
    with mv.debug(), pytest.raises(FloatingPointError, match=r"^sqrt: .*\(backward\)"):
        x = Tensor([0.0, 0.0], requires_grad=True)
        mv.ops.sqrt((x * x).sum()).backward()


def test_debug_blames_no_op_for_what_it_was_given():
    with mv.debug():
        y = mv.ops.exp(Tensor([np.nan, np.inf]))
    assert np.isnan(y.data[0])


# unbroadcast


@given(st.lists(st.integers(1, 3), max_size=4), st.data())
def test_unbroadcast_is_the_adjoint_of_broadcasting(shape, data):
    small = tuple(
        1 if data.draw(st.booleans()) else n for n in shape[data.draw(st.integers(0, len(shape))) :]
    )
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(small), rng.standard_normal(shape)
    small_is_a_suffix = np.broadcast_shapes(small, tuple(shape)) == tuple(shape)
    if not small_is_a_suffix:
        return
    pulled = unbroadcast(g, x)
    assert pulled.shape == x.shape
    np.testing.assert_allclose((g * np.broadcast_to(x, shape)).sum(), (pulled * x).sum(), atol=1e-12)
