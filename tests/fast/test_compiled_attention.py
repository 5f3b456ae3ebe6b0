"""Compiled attention gives the same outputs and gradients as attention in three steps; mutants of its source do not.

Not here: its use by the op (tests/ops/test_attention.py).
"""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from minivis import Tensor, ops
from minivis.fast import attention as ways
from minivis.ops import attention_composed
from tests.fast.test_cuda_attention import CASES as SHARED

pytest.importorskip("numba")
pytest.importorskip("threadpoolctl")
from minivis.fast import compiled_attention

SOURCE = Path(compiled_attention.__file__).read_text(encoding="utf-8")
CASES = {
    **{
        name: case
        for name, case in SHARED.items()
        if name not in ("no width", "no keys", "no heads", "no queries")
    },
    "heads of several images": ((2, 3), 9, 17, 4, 6, (2, 1, 9, 17), (3, 9, 17), False),
    "a mask for each image, windows as an axis": ((2, 3, 2), 8, 8, 4, 4, (3, 1, 8, 8), (2, 8, 8), False),
    "one number for all": ((2,), 5, 4, 3, 3, (1, 1), (1,), False),
    "causal, mask and bias": ((2, 2), 20, 11, 3, 5, (20, 1), (20, 11), True),
}


@pytest.fixture(autouse=True)
def few_queries_at_a_time(monkeypatch):
    monkeypatch.setattr(compiled_attention, "_LEAST_QUERIES", 7)
    monkeypatch.setattr(compiled_attention, "_MOST_WEIGHTS", 64)


def drawn(case, dtype=np.float32):
    """The same q, k, v, mask, bias and is_causal each time; with a mask, the first query has no allowed keys."""
    (lead, n, m, d, e, mask, bias, causal) = CASES[case]
    rng = np.random.default_rng(0)
    # as in a layer: heads, if there are any, are a view of (..., N, h d)
    q, k, v = (
        rng.standard_normal((*lead[:-1], *shape))
        for shape in ((n, *lead[-1:], d), (m, *lead[-1:], d), (m, *lead[-1:], e))
    )
    if lead:
        q, k, v = (x.swapaxes(-2, -3) for x in (q, k, v))
    if mask is not None:
        mask = rng.random(mask) < 0.5
        mask[..., :1, :] = False
    bias = None if bias is None else rng.standard_normal(bias)
    return *(x.astype(dtype) for x in (q, k, v)), mask, None if bias is None else bias.astype(dtype), causal


def expected(case):
    """y and the gradients of q, k, v and bias, in float64; also the cotangent of y that they belong to."""
    q, k, v, mask, bias, causal = drawn(case, np.float64)
    leaves = [None if x is None else Tensor(x, requires_grad=True) for x in (q, k, v, bias)]
    y = attention_composed(*leaves[:3], mask, leaves[3], is_causal=causal)
    g = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(g)
    return y.data, [None if leaf is None else leaf.grad for leaf in leaves], g


def found(module, case, g):
    """The same from a module like compiled_attention."""
    q, k, v, mask, bias, causal = drawn(case)
    y, weights = module.attend_keeping_weights(q, k, v, mask, bias, causal)
    np.testing.assert_array_equal(module.attend(q, k, v, mask, bias, causal), y)
    *cotangents, of_scores = module.attend_vjp(g.astype(np.float32), q, k, v, weights, bias is not None)
    return y, weights, cotangents, of_scores


def agree(module, case):
    y, (g_q, g_k, g_v, g_bias), g = expected(case)
    ours, weights, cotangents, of_scores = found(module, case, g)
    for a, b in zip((ours, *cotangents), (y, g_q, g_k, g_v), strict=True):
        assert a.dtype == np.float32
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    total = weights.sum(axis=-1)
    assert (np.isclose(total, 1, atol=1e-6) | (total == 0)).all()
    if g_bias is None:
        assert of_scores is None
    else:
        extra = of_scores.ndim - g_bias.ndim
        axes = [*range(extra), *(extra + i for i, size in enumerate(g_bias.shape) if size == 1)]
        summed = of_scores.sum(axis=tuple(axes), keepdims=True, dtype=np.float64).reshape(g_bias.shape)
        np.testing.assert_allclose(summed, g_bias, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_it_gives_what_three_steps_give(case):
    agree(compiled_attention, case)


@pytest.mark.parametrize("case", ["heads of several images", "everything"])
def test_any_number_of_threads_gives_the_same_bits(case, monkeypatch):
    _, _, g = expected(case)
    results = []
    for count in ("1", "2", "3", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        y, weights, cotangents, of_scores = found(compiled_attention, case, g)
        results.append([y, weights, *cotangents, of_scores])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


MUTANTS = {
    "keys of the head before": ("if first == 0 or part == start:", "if part == start:"),
    "queries are not scaled": (
        "_copy_head(q, head, first, scale,",
        "_copy_head(q, head, first, float32(1.0),",
    ),
    "always the first queries": ("_copy_head(q, head, first, scale,", "_copy_head(q, head, 0, scale,"),
    "results of the first queries only": (
        "_put_head(out[:count], head, first, y)",
        "_put_head(out[:count], head, 0, y)",
    ),
    "the bias of the first head": ("matrix = bias[bias_of[head]]", "matrix = bias[0]"),
    "the bias of the query's place among those held": (
        "_add_bias_and_mask(row, m, head, first + i,",
        "_add_bias_and_mask(row, m, head, i,",
    ),
    "the mask of the first image": ("matrix = mask[mask_of[head]]", "matrix = mask[0]"),
    "a mask turned round": (
        "row[j] if may[j] else float32(-np.inf)",
        "float32(-np.inf) if may[j] else row[j]",
    ),
    "a query does not see itself": ("range(query + 1, m)", "range(query, m)"),
    "an empty row is NaN": ("if highest == float32(-np.inf) and", "if False and"),
    "weights that do not sum to 1": ("inverse = float32(1.0) / total", "inverse = float32(1.0)"),
    "the sum along the row is forgotten": ("ps[j] * (row[j] - along)", "ps[j] * row[j]"),
    "scores are not turned": ("_transpose(s, transposed)", "pass"),
    "a scale too many": (
        "_copy_head(k, head, 0, scale, keys)",
        "_copy_head(k, head, 0, scale * scale, keys)",
    ),
    "a transposition forgets the last rows": ("for i in range(whole, len(x)):", "for i in range(0):"),
}


def in_python(source):
    """A module made from this source, without compiling its loops."""
    source = source.replace(
        "from minivis.fast.compiled import _exact, _exp, _inlined, _largest, _rowwise",
        "from minivis.fast.compiled import _exp, _largest",
    )
    made = {
        "_exact": lambda f: f,
        "_inlined": lambda f: f,
        "_rowwise": lambda *types: lambda f: f,
        "__name__": "mutant",
    }
    exec(compile(source, "mutant", "exec"), made)
    made["_LEAST_QUERIES"], made["_MOST_WEIGHTS"] = 7, 64
    return type(
        "Module",
        (),
        {name: staticmethod(made[name]) for name in ("attend", "attend_keeping_weights", "attend_vjp")},
    )


SMALL = (
    "one tile",
    "heads of several images",
    "causal, mask and bias",
    "a mask for each image, windows as an axis",
)


def test_the_loops_are_right_as_plain_python_too():
    for case in SMALL:
        agree(in_python(SOURCE), case)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_found(mutant, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # np.errstate holds in this thread only
    right, wrong = MUTANTS[mutant]
    assert SOURCE.count(right) == 1
    module = in_python(SOURCE.replace(right, wrong))
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        for case in SMALL:
            agree(module, case)


def test_what_is_no_number_stays_what_three_steps_make_of_it():
    q = np.ones((1, 2, 3), np.float32)
    k, v = np.ones((2, 1, 4, 3), np.float32)
    q[0, 0, 0], k[0, 1, 1] = np.nan, np.inf
    mask = np.array([True, False, True, True])
    for allowed in (None, mask):
        with np.errstate(invalid="ignore"):
            three = attention_composed(q, k, v, allowed)
        np.testing.assert_array_equal(compiled_attention.attend(q, k, v, allowed, None, False), three)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, [True, True, False], [False, True, True]])
def test_scores_of_minus_infinity_are_no_missing_keys(mask, causal):
    """Where all keys that a query sees have a score of -inf, the softmax is 0/0; where it sees none, the result is 0."""
    q, k, v = np.ones((3, 1, 3, 2), np.float32)
    bias = np.zeros((3, 3), np.float32)
    bias[0] = -np.inf
    bias[1, 0] = -np.inf
    mask = None if mask is None else np.array(mask)
    y = compiled_attention.attend(q, k, v, mask, bias, causal)
    sees_none = mask is not None and not mask[0] and causal
    np.testing.assert_array_equal(y, [[[0.0 if sees_none else np.nan] * 2, [1.0] * 2, [1.0] * 2]])


def test_one_pass_has_no_room_for_all_weights():
    q = np.ones((2, 4096, 8), np.float32)
    tracemalloc.start()
    compiled_attention.attend(q, q, q, None, None, True)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * q.nbytes  # the weights alone would be 512 times as much


def test_who_is_for_it():
    q = np.zeros((2, 9, 8, 4), np.float32)
    fits = compiled_attention.fits
    assert fits(q, q, q) and fits(q, q, q[..., :1]) and not fits(q[:0], q[:0], q[:0])
    assert not fits(q.astype(np.float64), q, q) and not fits(q, q, q.astype(np.float64))
    assert not fits(q, q[:1], q[:1])  # axes that broadcast
    assert not fits(q[..., :0], q[..., :0], q) and not fits(q, q, q[..., :0])
    assert fits(q, q, q, np.ones((8, 8), bool), np.ones((9, 1, 8), np.float32))
    assert not fits(q, q, q, np.ones((3, 2, 9, 8, 8), bool)) and not fits(
        q, q, q, None, np.ones((7, 8, 8), np.float32)
    )


def test_when_it_pays():
    q = np.zeros((8, 256, 4), np.float32)
    by_heads = ops.scaled_dot_product_attention.ways[1]
    assert by_heads.pays(q, q, q) and by_heads.may(q, q, q)
    assert not by_heads.pays(q, q[:, :100], q[:, :100])  # too few weights
    few = q.reshape(2, 1024, 4)
    assert not by_heads.pays(few, few, few)  # too few heads to share


@pytest.mark.parametrize("missing", ["numba", "threadpoolctl"])
def test_without_numba_or_threadpoolctl_there_is_none(missing, monkeypatch):
    q = np.zeros((8, 256, 4), np.float32)
    find = ways.importlib.util.find_spec
    by_heads = ops.scaled_dot_product_attention.ways[1]
    assert by_heads.may(q, q, q) and ways.one_pass(q, q, q)
    ways.compiled_is_there.cache_clear()
    with monkeypatch.context() as here:
        here.setattr(ways.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
        assert not by_heads.may(q, q, q) and ways.one_pass(q, q, q) is None
    ways.compiled_is_there.cache_clear()


def test_small_attention_does_not_wait_for_numba():
    """Loading takes a second, and the first compilation many: a learner's first small call must not load it."""
    small = "q = np.ones((2, 3, 16, 8), np.float32); mv.ops.scaled_dot_product_attention(q, q, q)"
    backward = (
        "t = mv.Tensor(q, requires_grad=True); mv.ops.scaled_dot_product_attention(t, t, t).sum().backward()"
    )
    program = f"import sys, numpy as np, minivis as mv; {small}; {backward}; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
