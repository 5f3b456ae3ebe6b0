"""The laws of every op, without exception, over every row of tests/ops/cases on every backend.

Not here: laws of a single op (test_conv.py, ...), parity with other libraries (tests/parity).
"""

import inspect
import itertools
import re
import zlib

import numpy as np
import pytest

import minivis as mv
from minivis import backend, dtypes
from minivis.autograd import Tensor
from minivis.gradcheck import dot_product_test
from tests import strict
from tests.ops.cases import Case, gather
from tests.ops.large_rows import ROWS as LARGE
from tests.ops.primitives import hidden, op_named, primitives

CASES, ERRORS = gather()
VIEWS = {
    "reshape",
    "transpose",
    "moveaxis",
    "expand_dims",
    "squeeze",
    "broadcast_to",
    "split",
    "getitem",
    "flip",
    "drop_path",
    "dropout",
}
PLAIN = {"argmax", "argsort", "topk", "attention_weights"}  # functions without a gradient
CASTS = {"astype"}  # the dtype of the output is an argument
OPS = [name for name in mv.ops.__all__ if callable(getattr(mv.ops, name))]

strict.install()


def rng_of(case):
    """A generator that depends on the text of the row, not on its position in the table."""
    return np.random.default_rng(zlib.crc32(str(case).encode()))


def call(op, arguments):
    """Call an op with its arguments; those of ``*operands`` (einsum) are unpacked."""
    parameters = inspect.signature(op).parameters
    spread = next((n for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL), None)
    if spread in arguments:
        before = [v for n, v in arguments.items() if n != spread]
        return op(*before, *arguments[spread])
    return op(**arguments)


def outputs(result):
    """The differentiable outputs of an op, one or several, without indices."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    return [y for y in parts if backend.to_numpy(y).dtype.kind == "f"]


def convert(arguments, change):
    """Arguments with ``change`` applied to every array, also in lists."""

    def one(v):
        if backend.is_array(v):
            return change(v)
        if isinstance(v, list) and v and backend.is_array(v[0]):
            return [change(x) for x in v]
        return v

    return {n: one(v) for n, v in arguments.items()}


def leaves(case, arguments, dtype=None):
    """Arguments with the differentiable arrays as leaves, and the flat list of those leaves."""
    found = []

    def leaf(x):
        found.append(Tensor(x if dtype is None else x.astype(dtype), requires_grad=True))
        return found[-1]

    wanted = case.differentiable()
    return {n: convert({n: v}, leaf)[n] if n in wanted else v for n, v in arguments.items()}, found


def pull(case, arguments, cotangents):
    """Run an op and its backward: (outputs, gradients) as arrays."""
    arguments, found = leaves(case, arguments)
    results = outputs(call(op_named(case.op), arguments))
    scalar = None
    for y, w in zip(results, cotangents, strict=True):
        term = mv.ops.sum(y * Tensor(w))
        scalar = term if scalar is None else scalar + term
    scalar.backward()
    return [y.data for y in results], [x.grad for x in found]


def fresh_rng(arguments):
    """Replace a seed among the arguments by a new generator, so that two calls draw the same numbers."""
    return {n: np.random.default_rng(v) if n == "rng" else v for n, v in arguments.items()}


def inputs_of(case, dtype=np.float64):
    return case.inputs(rng_of(case), dtype)


def setup(case, dtype=np.float64):
    """Inputs and cotangents of a row."""
    arguments = inputs_of(case, dtype)
    results = outputs(call(op_named(case.op), fresh_rng(arguments)))
    rng = np.random.default_rng(1)
    return arguments, [rng.standard_normal(np.shape(y)).astype(dtype) for y in results]


DIFFERENTIABLE = [c for c in CASES if c.op not in PLAIN and c.differentiable()]
KEEPING = [c for c in DIFFERENTIABLE if c.op not in CASTS]
each = pytest.mark.parametrize("case", CASES, ids=str)
each_differentiable = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


def gradient_mismatch(case, mutate=lambda g: g):
    """The difference that the gradient test finds for a row."""
    arguments, cotangents = setup(case)
    _, gradients = pull(case, fresh_rng(arguments), cotangents)
    gradients = [mutate(g) for g in gradients]
    wanted = case.differentiable()
    points = []
    convert({n: v for n, v in arguments.items() if n in wanted}, points.append)

    def forward(*moved):
        moved = iter(moved)
        given = {
            n: convert({n: v}, lambda x: next(moved))[n] if n in wanted else v for n, v in arguments.items()
        }
        return outputs(call(op_named(case.op), fresh_rng(given)))

    rng = np.random.default_rng(2)
    return dot_product_test(forward, points, cotangents, gradients, rng=rng, least=1e-3).difference


@each_differentiable
def test_gradient(case):
    assert gradient_mismatch(case) < 2e-6


@pytest.mark.parametrize("op", sorted({c.op for c in DIFFERENTIABLE}))
@pytest.mark.parametrize("mutant", ["zero", "1.01-scaled", "transposed"])
def test_wrong_gradients_are_rejected(op, mutant):
    change = {
        "zero": np.zeros_like,
        "1.01-scaled": lambda g: 1.01 * g,
        "transposed": lambda g: np.ascontiguousarray(g.T).reshape(g.shape) if g.ndim > 1 else g[::-1],
    }[mutant]
    rows = [c for c in DIFFERENTIABLE if c.op == op and 0 not in [n for w in setup(c)[1] for n in w.shape]]
    assert any(gradient_mismatch(c, change) > 1e-4 for c in rows), (
        f"no row of {op} rejects the {mutant} gradient"
    )


# Tolerance of values and gradients against float64 with the same inputs: (relative, relative to the largest)
TOLERANCES = {np.float16: (2e-3, 2e-3), np.float32: (2e-4, 2e-5)}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", [c for c in CASES + LARGE if c.op not in CASTS], ids=str)
def test_lower_precision_agrees_with_float64_and_keeps_its_dtype(case, dtype):
    low = inputs_of(case, dtype)
    high = convert(low, lambda x: x.astype(np.float64) if x.dtype == dtype else x.copy())
    op = op_named(case.op)
    cotangents = [w.astype(dtype) for w in setup(case)[1]]
    if case.op in PLAIN or not case.differentiable():
        got, right = (as_list(call(op, fresh_rng(arguments))) for arguments in (low, high))
    else:
        got = sum(pull(case, fresh_rng(low), cotangents), [])
        right = sum(pull(case, fresh_rng(high), [w.astype(np.float64) for w in cotangents]), [])
    relative, absolute = TOLERANCES[dtype]
    for a, b in zip(got, right, strict=True):
        assert a.dtype == (dtype if b.dtype.kind == "f" else b.dtype)
        assert isinstance(a, (np.ndarray, np.generic))
        # some rows have infinite results (a logarithm of 0): equal there, close elsewhere
        largest = max(1.0, float(np.abs(b).max(initial=0, where=np.isfinite(b))))
        np.testing.assert_allclose(a, b, rtol=relative, atol=absolute * largest)


def as_list(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


@each_differentiable
def test_inputs_and_cotangents_are_never_written_to(case):
    arguments, cotangents = setup(case)

    def lock(x):
        x = x.copy()
        x.flags.writeable = False
        return x

    op = op_named(case.op)
    locked, found = leaves(case, convert(fresh_rng(arguments), lambda x: x if writes(case.op) else lock(x)))
    results = outputs(call(op, locked))
    for y, w in zip(results, cotangents, strict=True):
        if y.node is not None:
            for g in dtypes.made(y.node.vjp(lock(w))):
                for part in as_list(g):
                    assert (
                        part is None
                        or part.size == 0
                        or not any(np.shares_memory(part, x.data) for x in found)
                    )


def writes(op):
    """Whether an op writes into its inputs: only batch_norm does, which updates its running statistics."""
    return op == "batch_norm"


@pytest.mark.parametrize("case", [c for c in DIFFERENTIABLE if c.op not in VIEWS], ids=str)
def test_outputs_are_new_arrays_unless_the_op_only_moves_elements(case):
    arguments, found = leaves(case, fresh_rng(inputs_of(case)))
    for y in outputs(call(op_named(case.op), arguments)):
        assert not any(np.shares_memory(y.data, x.data) for x in found)


@each
def test_non_contiguous_inputs_give_the_same(case):
    def strided(x):
        wide = np.empty((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2] if x.ndim else wide[..., 0]

    arguments = inputs_of(case)
    op = op_named(case.op)
    for a, b in zip(
        as_list(call(op, fresh_rng(convert(arguments, strided)))),
        as_list(call(op, fresh_rng(arguments))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


class Named(np.ndarray):
    """A subclass of ndarray without any changes."""


def unaligned(x):
    bytes_ = np.zeros(x.nbytes + 1, np.uint8)[1:]
    bytes_[:] = np.frombuffer(x.tobytes(), np.uint8)
    return bytes_.view(x.dtype).reshape(x.shape)


def mapped(x, file):
    if not x.size:
        return x
    lying = np.memmap(file, x.dtype, "w+", shape=x.shape or (1,))
    lying[...] = x
    return lying.reshape(x.shape)


FOREIGN = {
    "big-endian": lambda x, _: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": lambda x, _: unaligned(x),
    "matrix": lambda x, _: np.asmatrix(x) if x.ndim == 2 else x,
    "masked": lambda x, _: np.ma.array(x),
    "subclass": lambda x, _: x.view(Named),
    "memory map": mapped,
}


@each
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_foreign_arrays_count_as_plain_ones(case, tmp_path):
    dtype = np.float32
    op = op_named(case.op)
    own = inputs_of(case, dtype)
    right = as_list(call(op, fresh_rng(own)))
    differentiable = case.op not in PLAIN and case.differentiable()
    if differentiable:
        cotangents = setup(case, dtype)[1]
        right += sum(pull(case, fresh_rng(inputs_of(case, dtype)), cotangents), [])
    files = map(str, itertools.count())

    def foreign(make):
        return fresh_rng(convert(inputs_of(case, dtype), lambda x: make(x, tmp_path / next(files))))

    for kind, make in FOREIGN.items():
        arguments = foreign(make)
        got = as_list(call(op, arguments))
        if writes(case.op) and own["running_mean"] is not None:
            np.testing.assert_array_equal(arguments["running_mean"], own["running_mean"], kind)
        if differentiable:
            got += sum(pull(case, foreign(make), cotangents), [])
        for a, b in zip(got, right, strict=True):
            assert type(a) is type(b) and a.dtype.isnative, kind
            np.testing.assert_array_equal(a, b, kind)


@pytest.mark.parametrize("case", KEEPING, ids=str)
def test_integers_keep_the_dtype_that_is_promised_or_are_refused_by_name(case):
    """Each differentiable array alone, and then all of them, are integers; the others are float32."""
    op = op_named(case.op)
    wanted = case.differentiable()
    for chosen in {tuple(wanted), *((name,) for name in wanted)}:
        low = inputs_of(case, np.float32)
        low |= {
            n: convert({n: low[n]}, lambda x: np.asarray(np.clip(3 * x, -99, 99), np.int64))[n]
            for n in chosen
        }
        high = convert(low, lambda x: x.astype(np.float64) if x.dtype in (np.float32, np.int64) else x)
        high |= {n: low[n] for n in low if n not in wanted}  # indices and labels
        try:
            got = call(op, fresh_rng(low))
        except (TypeError, ValueError) as error:
            assert re.match(f"{case.op}: .*(must be floating-point.*got.*int64|[Ii]ntegers)", str(error))
            continue
        with np.errstate(all="ignore"):
            right = as_list(call(op, fresh_rng(high)))
        for a, b in zip(as_list(got), right, strict=True):
            assert a.dtype == np.float32 or (a.dtype == np.int64 and set(wanted) == set(chosen))
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * max(1, np.abs(b).max(initial=0)))


def with_numpy_integers(x, array):
    """Replace Python integers in the options by NumPy's, or by arrays of shape (), and tuples of them by arrays."""
    if type(x) is int:
        return np.array(x) if array else np.int64(x)
    if array and type(x) in (tuple, list) and x and all(type(n) is int for n in x):
        return np.array(x)
    return type(x)(with_numpy_integers(part, array) for part in x) if type(x) in (tuple, list) else x


@pytest.mark.parametrize("array", [False, True], ids=["numbers", "arrays"])
@each
def test_integers_of_numpy_work_like_those_of_python_or_are_refused_by_name(case, array):
    op = op_named(case.op)
    arguments = fresh_rng(inputs_of(case))
    changed = {n: with_numpy_integers(v, array) for n, v in arguments.items()}
    if "rng" in changed:
        changed["rng"] = fresh_rng(inputs_of(case))["rng"]
    right = as_list(call(op, arguments))
    try:
        got = as_list(call(op, changed))
    except (TypeError, ValueError) as error:
        assert array and re.match(f"{case.op}: .* must be ", str(error))
        return
    for a, b in zip(got, right, strict=True):
        np.testing.assert_array_equal(a, b)


def on_device(case, device):
    """Outputs and gradients of a row computed on another device, as NumPy arrays."""
    arguments, cotangents = setup(case)
    arguments = convert(fresh_rng(arguments), lambda x: backend.to_device(x, device))
    if case.op in PLAIN or not case.differentiable():
        result = as_list(call(op_named(case.op), arguments))
        assert all(backend.device_of(y) == device for y in result)
        return [backend.to_numpy(y) for y in result]
    ys, gs = pull(case, arguments, [backend.to_device(w, device) for w in cotangents])
    assert all(backend.device_of(x) == device for x in [*ys, *gs])
    return [backend.to_numpy(x) for x in [*ys, *gs]]


@each
def test_every_backend_gives_the_same(case, device):
    for a, b in zip(on_device(case, device), on_device(case, "cpu"), strict=True):
        np.testing.assert_allclose(
            a, b, rtol=1e-7 if device == "gpu" else 1e-12, atol=1e-9 if device == "gpu" else 1e-12
        )


@pytest.mark.parametrize("row", ERRORS, ids=str)
def test_errors_name_the_op_and_what_is_wrong(row):
    arguments = fresh_rng(Case(row.op, row.arguments).inputs(np.random.default_rng(0)))
    for change in (lambda x: x, lambda x: Tensor(x)):
        with pytest.raises(row.exception) as caught:
            call(op_named(row.op), convert(arguments, change))
        assert str(caught.value).startswith(f"{row.op}: ")
        assert row.message in str(caught.value)


@pytest.mark.parametrize(
    "dtypes",
    [(np.float64, np.float32), (np.float32, np.float64), (np.float16, np.float32), (np.float32, np.float16)],
)
@pytest.mark.parametrize("name, argument", [("layer_norm", 4), ("group_norm", 2), ("batch_norm", None)])
def test_norms_with_parameters_of_another_precision(name, argument, dtypes):
    rng = np.random.default_rng(0)
    n = 4
    x, w, b = (
        Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)
        for shape, dtype in (((5, n), dtypes[0]), (n, dtypes[1]), (n, dtypes[1]))
    )
    before = (None, None) if argument is None else (argument,)
    options = {"training": True} if argument is None else {}
    y = getattr(mv.ops, name)(x, *before, w, b, **options)
    assert y.dtype == dtypes[0] or np.float16 not in dtypes
    (y * y).sum().backward()
    assert [p.grad.dtype for p in (x, w, b)] == [dtypes[0], dtypes[1], dtypes[1]]
    precise = [Tensor(p.data.astype(np.float64), requires_grad=True) for p in (x, w, b)]
    z = getattr(mv.ops, name)(precise[0], *before, *precise[1:], **options)
    (z * z).sum().backward()
    for p, q in zip((x, w, b), precise, strict=True):
        tolerance = 4e-3 if np.float16 in dtypes else 1e-4
        np.testing.assert_allclose(p.grad, q.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
@pytest.mark.parametrize(
    "op, shapes",
    [
        ("matmul", [(2, 3), (3, 4)]),
        ("linear", [(2, 3), (4, 3), (4,)]),
        ("conv2d", [(1, 2, 5, 5), (4, 2, 3, 3), (4,)]),
        ("conv_transpose2d", [(1, 4, 5, 5), (4, 2, 3, 3), (2,)]),
    ],
)
def test_integers_that_meet_float32_count_as_float32(op, shapes, dtype):
    """PyTorch refuses these mixtures and NumPy makes float64 of them: pixels 0 to 255, a Sobel filter, 0/1 masks."""
    rng = np.random.default_rng(0)
    for whole in range(len(shapes)):
        x = [
            rng.integers(0, 9, shape).astype(dtype if i == whole else np.float32)
            for i, shape in enumerate(shapes)
        ]
        leaves = [Tensor(a, requires_grad=i != whole) for i, a in enumerate(x)]
        y = getattr(mv.ops, op)(*leaves)
        y.sum().backward()
        assert y.dtype == np.float32
        assert all(leaf.grad.dtype == np.float32 for leaf in leaves if leaf.requires_grad)
        np.testing.assert_array_equal(y.data, getattr(mv.ops, op)(*(a.astype(np.float32) for a in x)))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there, here: there + here,
        lambda there, here: there > here,
        lambda there, here: there[here > 0],
        lambda there, here: there[np.array([0, 1])],
        lambda there, here: (there * 2).backward(here),
        lambda there, here: mv.ops.concatenate([there, here]),
        lambda there, here: mv.ops.embedding(np.array([0]), there.reshape(3, 1)),
    ],
)
def test_arrays_of_two_devices_are_refused_with_the_way_out(mixed, device):
    here = np.ones(3, np.float32)
    there = Tensor(mv.to_device(here, device), requires_grad=True)
    with pytest.raises(TypeError, match="arrays on different devices: .* move them to one with mv.to_device"):
        mixed(there, here)
    assert there.grad is None


def test_joining_float32_and_integers_gives_float32():
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = mv.ops.concatenate([x, np.zeros((1, 3), np.int64)])
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float32


def test_every_op_has_rows_and_a_docstring_by_the_template():
    have_rows, have_errors = {c.op for c in CASES}, {e.op for e in ERRORS}
    unary = {
        "neg",
        "abs",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "erf",
        "relu",
        "silu",
        "softplus",
    }
    assert sorted(set(OPS) - have_rows) == []
    assert sorted(set(OPS) - have_errors - unary) == []
    for name in OPS:
        text = inspect.getdoc(getattr(mv.ops, name)) or ""
        for section in ("Parameters", "Returns", "Examples"):
            assert f"\n{section}\n-------" in text.replace("----------", "-------"), (
                f"{name} has no {section}"
            )
        if name in have_errors:
            assert "\nRaises\n------" in text, f"{name} has no Raises"


def test_every_primitive_of_the_library_has_rows():
    """A private primitive (``_einsum``) counts as tested if the public function of its name is."""
    wanted = {name.lstrip("_") for name in primitives()}
    assert len(wanted) > 70 and "multi_scale_deformable_attention" in wanted
    assert sorted(wanted - {c.op for c in CASES}) == []
    assert [place for place in hidden() if not place.startswith("autograd.py")] == []  # where it is defined


def test_a_primitive_is_found_wherever_it_stands(tmp_path):
    (tmp_path / "vision").mkdir()
    (tmp_path / "vision" / "one.py").write_text(
        "from minivis.autograd import primitive\n"
        "@primitive\ndef one(x): pass\n"
        "@primitive(dtypes='any')\ndef _two(x):\n    @autograd.primitive\n    def three(y): pass\n"
        "@functools.cache\ndef no_op(x): pass\n"
    )
    assert primitives(tmp_path) == dict.fromkeys(["one", "_two", "three"], "minivis.vision.one")
    assert hidden(tmp_path) == []
    (tmp_path / "bad.py").write_text(
        "from minivis.autograd import primitive as op\nfour = autograd.primitive(f)\nfive = op(f)\n"
    )
    assert hidden(tmp_path) == ["bad.py:1", "bad.py:2"]


def test_a_planted_leak_is_found_by_the_strict_backend():
    x = backend.to_device(np.ones(3), "strict")
    with pytest.raises(TypeError, match="met a device array"):
        x + np.ones(3)
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(x)
    with pytest.raises(TypeError, match="implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="different devices"):
        mv.ops.add(x, np.ones(3))
