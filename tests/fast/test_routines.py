"""The routines of all files agree in names, signatures and results; the CUDA sources run on the CPU or a real GPU.

Not here: that the ops give the same with them (test_plain_equals_fast.py); which CuPy names exist (test_cupy_names.py).
"""

import ast
import importlib.util
import inspect
import math
from pathlib import Path

import numpy as np
import pytest

from minivis.fast import blocks as cpu
from minivis.fast import routines
from tests.fast import pretend_cuda
from tests.ops import test_tails as tails

FOLDER = Path(cpu.__file__).parent
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


def geometry(spatial, kernel, stride, padding, dilation):
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    out = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(spatial, padding, reach, stride, strict=True)]
    return {"kernel": kernel, "out": tuple(out), "stride": stride, "padding": padding, "dilation": dilation}


MAPS = [
    ((2, 3, 5, 6), geometry((5, 6), (3, 2), (2, 1), (1, 0), (1, 2))),
    ((1, 2, 7), geometry((7,), (3,), (2,), (2,), (2,))),
    ((2, 1, 3, 4, 5), geometry((3, 4, 5), (2, 2, 3), (1, 2, 2), (1, 0, 1), (1, 1, 1))),
    ((0, 2, 4, 4), geometry((4, 4), (2, 2), (2, 2), (0, 0), (1, 1))),
]
ROWS = [
    *(
        ("gelu", {"x": x, "approximate": a})
        for a in ("none", "tanh", "quick")
        for x in (normal(3, 5) * 3, normal())
    ),
    ("gelu", {"x": normal(0, 3), "approximate": "none"}),
    *((name, {"x": x}) for name in ("sigmoid", "silu") for x in (normal(3, 5) * 30, normal(), normal(0, 3))),
    ("softmax", {"x": normal(3, 5), "axis": -1}),
    ("softmax", {"x": 100 * normal(2, 3, 4), "axis": 1}),
    ("softmax", {"x": normal(2, 300), "axis": -1}),
    ("softmax", {"x": normal(3, 1), "axis": 1}),
    ("softmax", {"x": np.array([[0.0, -math.inf, 1.0]]), "axis": 1}),
    *(
        ("softmax_vjp", {"g": normal(*shape), "p": cpu.softmax(normal(*shape), axis), "axis": axis})
        for shape, axis in (((3, 5), -1), ((2, 3, 4), 1), ((2, 300), -1))
    ),
    *(
        ("layer_norm", {"x": normal(rows, n), "weight": w, "bias": b, "eps": 1e-5})
        for rows, n, w, b in (
            (3, 5, normal(5), normal(5)),
            (2, 300, None, None),
            (4, 33, normal(33), None),
            (1, 7, None, normal(7)),
            (0, 4, normal(4), normal(4)),
        )
    ),
    *(
        (
            "layer_norm_vjp",
            {"g": normal(rows, n), "xhat": normal(rows, n), "inverse": normal(rows, 1) ** 2, "weight": w},
        )
        for rows, n, w in ((3, 5, normal(5)), (2, 300, None), (0, 4, None), (130, 3, normal(3)))
    ),
    *(("im2row", {"x": normal(*shape), **options}) for shape, options in MAPS),
    *(
        (
            "row2im",
            {
                "rows": normal(shape[0] * math.prod(options["out"]), math.prod(options["kernel"]) * shape[1]),
                "shape": shape,
                **options,
            },
        )
        for shape, options in MAPS
    ),
    *(
        (
            "adamw_step",
            {"parameter": normal(4, 3), "grad": normal(4, 3), "m": normal(4, 3), "v": normal(4, 3) ** 2}
            | {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1, "step": step},
        )
        for step in (1, 7)
    ),
]


@pytest.fixture(scope="module")
def pretended():
    if pretend_cuda.COMPILER is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    return pretend_cuda.load(), np.array, np.asarray


@pytest.fixture(scope="module")
def real():
    import cupy

    from minivis.fast import cuda as gpu

    return gpu, cupy.array, cupy.asnumpy


@pytest.fixture(scope="module")
def compiled():
    pytest.importorskip("numba")
    from minivis.fast import compiled

    return compiled, np.array, np.asarray


WHERE = [
    ("pretended", np.float32),
    ("pretended", np.float64),
    pytest.param("real", np.float32, marks=pytest.mark.gpu),
    pytest.param("real", np.float64, marks=pytest.mark.gpu),
    ("compiled", np.float32),  # the only dtype it handles
]


@pytest.mark.parametrize("name, row", ROWS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("where, dtype", WHERE)
def test_all_give_the_same(name, row, dtype, where, request):
    gpu, there, back = request.getfixturevalue(where)
    row = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in row.items()}
    ours = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in row.items()}
    theirs = {k: there(v) if isinstance(v, np.ndarray) else v for k, v in row.items()}
    expected, got = getattr(cpu, name)(**ours), getattr(gpu, name)(**theirs)
    if name == "adamw_step":  # in place
        assert expected is None
        assert got is None
        expected, got = ([arrays[k] for k in ("parameter", "m", "v")] for arrays in (ours, theirs))
    expected, got = (list(r) if isinstance(r, (tuple, list)) else [r] for r in (expected, got))
    for a, b in zip(got, expected, strict=True):
        if b is None:
            assert a is None
            continue
        assert a.dtype == b.dtype == dtype
        assert a.shape == b.shape
        close = 1e-6 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(back(a), b, rtol=close, atol=close)


def public_functions(path):
    """Name -> parameters of the public functions of a file, without importing it (CuPy may be absent)."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = ast.unparse(node.args)
    return found


def test_all_files_have_the_same_names_and_signatures():
    here, there, compiled = (
        public_functions(FOLDER / f"{name}.py") for name in ("blocks", "cuda", "compiled")
    )
    assert here == there
    assert compiled.items() <= here.items() and set(here) - set(compiled) == {"im2row"}
    assert sorted(here) == cpu.__all__
    assert {name: ", ".join(inspect.signature(getattr(cpu, name)).parameters) for name in here} == here
    assert sorted({name for name, _ in ROWS}) == cpu.__all__  # each is compared above


# ---------------------------------------------------------------------------------------------------------------------
# The compiled routines: on large arrays, with any float, and for which arrays they are chosen


def test_nothing_that_is_no_number_gets_lost(compiled):
    module, *_ = compiled
    x = RNG.standard_normal((6, 400)).astype(np.float32)
    x[0, 3] = np.nan
    x[1, 5] = -np.inf
    x[2, 7] = np.inf
    x[3] = -200
    x[3, 0] = 0
    x[4] = -0.0
    x[5, 0] = 1e30
    weight = np.ones(400, np.float32)
    with np.errstate(all="ignore"):
        for call in (
            lambda k: k.softmax(x, -1),
            lambda k: k.gelu(x, "none")[0],
            lambda k: k.gelu(x, "none")[1],
            lambda k: k.gelu(x, "tanh")[1],
            lambda k: k.silu(x)[0],
            lambda k: k.silu(x)[1],
            lambda k: k.sigmoid(x)[0],
            lambda k: k.sigmoid(x)[1],
            lambda k: k.softmax_vjp(x, x, -1),
            lambda k: k.layer_norm(x, weight, None, 1e-6)[0],
            lambda k: k.layer_norm_vjp(x, x, x[:, :1], weight)[0],
        ):
            plain, fast = call(cpu), call(module)
            np.testing.assert_array_equal(np.isnan(fast), np.isnan(plain))
            ordinary = [1, 3, 4]  # rows: sums of 1e30 may differ
            np.testing.assert_allclose(fast[ordinary], plain[ordinary], rtol=1e-4, atol=1e-5)


def test_exp_is_exact_to_a_few_bits(compiled):
    module, *_ = compiled
    x = np.linspace(-87.33, 0, 20001).astype(np.float32)
    p = module.softmax(np.stack([x, np.zeros_like(x)], axis=1), -1)[:, 0].astype(float)
    e = np.exp(x.astype(float))
    np.testing.assert_allclose(p, e / (1 + e), rtol=4e-7)


GATES = [row for row in tails.ROWS if row.op in ("sigmoid", "silu", "gelu")]


@pytest.mark.parametrize("row", GATES, ids=str)
@pytest.mark.parametrize("where, dtype", [*WHERE, ("plain", np.float32)])
def test_small_values_keep_their_digits_in_every_file(row, dtype, where, request):
    if dtype == np.float64 and not tails.EXTENDED:
        pytest.skip("no dtype of this machine is wider than float64")
    module, there, back = (cpu, np.array, np.asarray) if where == "plain" else request.getfixturevalue(where)
    x = tails.draws(dtype, 2 * 10**5)
    options = {"approximate": "none"} | dict(row.options) if row.op == "gelu" else {}
    with np.errstate(all="ignore"):
        got = getattr(module, row.op)(there(x), **options)
        tails.check(row, x, [back(part) for part in got], dtype)


def test_large_arrays_of_float32_get_them_and_no_others(monkeypatch):
    large = np.zeros(2**14, np.float32)
    plain = [large[:-1], large.astype(np.float64), np.zeros(2**15, np.int32)]
    assert all(routines.of(x) is cpu for x in plain)
    if importlib.util.find_spec("numba"):
        assert routines.of(large).__name__ == "minivis.fast.compiled"
    monkeypatch.setattr(routines, "numba_is_there", lambda: False)
    assert routines.of(large) is cpu


def test_where_nothing_can_be_kept_it_compiles_all_the_same(compiled, monkeypatch):
    module, *_ = compiled
    njit = module.numba.njit

    def nowhere(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return njit(*args, **options)

    monkeypatch.setattr(module.numba, "njit", nowhere)

    @module._elementwise(module._write1)
    def one(start, stop, x):
        x[start:stop] = 1

    one(1, 2, x := np.zeros(3, np.float32))
    assert x.tolist() == [0, 1, 0]


def test_arrays_may_be_locked_or_have_gaps(compiled):
    module, *_ = compiled
    wide = RNG.standard_normal((40, 60)).astype(np.float32)
    for x in (wide[::2, ::3], wide.T, np.broadcast_to(wide[0], (8, 60))):
        x.flags.writeable = False
        for call in (
            lambda k, x: k.gelu(x, "none"),
            lambda k, x: k.softmax(x, 0),
            lambda k, x: k.softmax_vjp(x, x, -1),
            lambda k, x: k.layer_norm(x, x[0], x[1], 1e-5),
            lambda k, x: k.layer_norm_vjp(x, x, x[:, :1], x[0]),
        ):
            expected, found = call(cpu, x), call(module, x)
            pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
            for a, b in pairs:
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def cuda_sources():
    """(name, CUDA source, name expressions) of everything that minivis compiles with CUDA."""
    found = []
    for value in [*vars(pretend_cuda.load()).values(), *vars(pretend_cuda.load("cuda_attention")).values()]:
        for kernel in value.values() if isinstance(value, dict) else [value]:
            if isinstance(kernel, pretend_cuda.ElementwiseKernel):
                found += [
                    (f"{kernel.name}-{word}", kernel.source(word, 'extern "C" __device__'), ())
                    for word in ("float", "double")
                ]
            elif isinstance(kernel, pretend_cuda.RawModule):
                found.append((kernel.name_expressions[0], kernel.code, kernel.name_expressions))
    return found


def test_every_cuda_source_compiles_to_ptx():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"CuPy finds no NVRTC (pip install nvidia-cuda-nvrtc): {error}")

    def compile_to_ptx(source, expressions=()):
        program = nvrtc.createProgram(source, "kernel.cu", (), ())
        for expression in expressions:
            nvrtc.addNameExpression(program, expression)
        nvrtc.compileProgram(program, ("--std=c++17", "--gpu-architecture=compute_80"))
        return nvrtc.getPTX(program)

    sources = cuda_sources()
    assert len(sources) >= 10
    for name, source, expressions in sources:
        ptx = compile_to_ptx(source, expressions)
        assert b"sm_80" in ptx, name
    with pytest.raises(nvrtc.NVRTCError):  # a planted mistake
        compile_to_ptx(sources[0][1].replace(";", " + missing;", 1))
