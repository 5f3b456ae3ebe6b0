"""Attention over many tokens: some queries at a time give what all at once give, in memory that grows with N only.

Not here: attention itself (cases/attention.py and the laws).
"""

import tracemalloc

import numpy as np
import pytest

import minivis as mv
from minivis import Tensor, kernels, ops
from minivis.ops import attention
from tests.kernels import pretend_cuda

RNG = np.random.default_rng(0)
Q, K, V = (
    RNG.standard_normal((2, 3, 7, 4)),
    RNG.standard_normal((2, 3, 5, 4)),
    RNG.standard_normal((2, 3, 5, 6)),
)
EMPTY_ROW = RNG.random((7, 5)) < 0.6
EMPTY_ROW[2] = False
CALLS = {
    "plain": {},
    "a mask": {"mask": RNG.random((2, 1, 7, 5)) < 0.6},
    "a row without a key": {"mask": EMPTY_ROW},
    "a mask for all queries": {"mask": np.array([True, False, True, True, False])},
    "a mask of one row": {"mask": RNG.random((2, 3, 1, 5)) < 0.6},
    "a bias": {"bias": RNG.standard_normal((3, 7, 5))},
    "a bias for all queries": {"bias": RNG.standard_normal((3, 1, 5))},
    "a bias for each key": {"bias": RNG.standard_normal(5)},
    "causal": {"is_causal": True},
    "causal, mask and bias": {"is_causal": True, "mask": EMPTY_ROW, "bias": RNG.standard_normal((7, 5))},
}


def with_gradients(q, k, v, bias=None, **options):
    leaves = [None if x is None else Tensor(x, requires_grad=True) for x in (q, k, v, bias)]
    y = ops.scaled_dot_product_attention(*leaves[:3], bias=leaves[3], **options)
    y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
    return [y.data, *(leaf.grad for leaf in leaves if leaf is not None)]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("limit", [1, 61, 10**9])
def test_some_queries_at_a_time_give_the_same(name, limit, monkeypatch):
    expected = with_gradients(Q, K, V, **CALLS[name])
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", limit)
    assert len(attention._parts(Q, K)) == {1: 7, 61: 4, 10**9: 1}[limit]
    for a, b in zip(with_gradients(Q, K, V, **CALLS[name]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.fixture
def one_pass(monkeypatch):
    """One pass, on the CPU and whenever it is asked for; how often it was, in a list."""
    if pretend_cuda.COMPILER is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    calls, attend = [], pretend_cuda.load("cupy_attention").attention

    def noted(*args):
        calls.append(args)
        return attend(*args)

    monkeypatch.setattr(kernels, "one_pass_attention", lambda *_: noted)
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_one_pass_gives_the_same_and_the_same_gradients(name, one_pass, monkeypatch):
    expected = with_gradients(Q, K, V, **CALLS[name])
    assert not one_pass  # few weights are kept
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", 61)
    for a, b in zip(with_gradients(Q, K, V, **CALLS[name]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert len(one_pass) == 1


@pytest.mark.parametrize("name", CALLS)
def test_compiled_attention_gives_the_same_and_the_same_gradients(name, monkeypatch):
    pytest.importorskip("numba")
    pytest.importorskip("threadpoolctl")
    from minivis.kernels import compiled_attention

    monkeypatch.setattr(kernels, "_LARGE", 1)
    monkeypatch.setattr(compiled_attention, "_WORTH", 1)
    monkeypatch.setattr(compiled_attention, "_HEADS", 1)
    expected = with_gradients(Q, K, V, **CALLS[name])  # float64 never gets it
    options = {x: y.astype(np.float32) if x == "bias" else y for x, y in CALLS[name].items()}
    small = [x.astype(np.float32) for x in (Q, K, V)]
    assert kernels.attention_by_heads(*small, options.get("mask"), options.get("bias"))
    found = with_gradients(*small, **options)
    with mv.no_grad():
        found.append(ops.scaled_dot_product_attention(*small, **options))
    for a, b in zip(found, [*expected, expected[0]], strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_without_gradients_one_pass_is_taken_at_once(one_pass):
    expected = ops.attention_composed(Q, K, V)
    with mv.no_grad():
        np.testing.assert_allclose(ops.scaled_dot_product_attention(Q, K, V), expected, rtol=1e-12)
        assert len(one_pass) == 1
        ops.scaled_dot_product_attention(Q, K, V, dropout_p=0.5, rng=np.random.default_rng(0))
    assert len(one_pass) == 1  # it knows no dropout


@pytest.mark.gpu
@pytest.mark.parametrize("name", CALLS)
def test_a_gpu_takes_one_pass(name, monkeypatch):
    expected = with_gradients(Q, K, V, **CALLS[name])
    monkeypatch.setitem(attention._AT_A_TIME, "gpu", 61)
    q, k, v = (mv.to_device(x, "gpu") for x in (Q, K, V))
    assert kernels.one_pass_attention(q, k, v)
    options = {
        key: mv.to_device(x, "gpu") if isinstance(x, np.ndarray) else x for key, x in CALLS[name].items()
    }
    bias = options.pop("bias", None)
    leaves = [None if x is None else Tensor(x, requires_grad=True) for x in (q, k, v, bias)]
    y = ops.scaled_dot_product_attention(*leaves[:3], bias=leaves[3], **options)
    y.backward(mv.to_device(np.cos(np.arange(y.size)).reshape(y.shape), "gpu"))
    found = [y.data, *(leaf.grad for leaf in leaves if leaf is not None)]
    with mv.no_grad():
        found.append(ops.scaled_dot_product_attention(q, k, v, bias=bias, **options))
    for a, b in zip(found, [*expected, expected[0]], strict=True):
        np.testing.assert_allclose(mv.to_numpy(a), b, rtol=1e-9, atol=1e-11)


@pytest.mark.gpu
def test_one_pass_needs_no_room_for_weights():
    q = mv.to_device(RNG.standard_normal((1, 2, 8192, 64), dtype=np.float32), "gpu")
    with mv.no_grad():
        ops.scaled_dot_product_attention(q[..., :64, :], q[..., :64, :], q[..., :64, :])  # compiles
        before = mv.backend.peak_memory(reset=True)
        ops.scaled_dot_product_attention(q, q, q)
    assert mv.backend.peak_memory() - before < 4 * q.nbytes  # the weights alone would be 128 times as much


def test_leading_axes_still_broadcast(monkeypatch):
    shared = K[:1, :1], V[:1, :1]
    expected = with_gradients(Q, *shared)
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", 1)
    for a, b in zip(with_gradients(Q, *shared), expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_float32_agrees_with_float64(monkeypatch):
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", 100)
    for a, b in zip(
        with_gradients(*(x.astype(np.float32) for x in (Q, K, V))), with_gradients(Q, K, V), strict=True
    ):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_memory_grows_with_the_tokens_and_not_with_their_square(monkeypatch):
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", 2**14)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # how many threads hold a block at the same moment is chance

    def peak(n):
        q, k, v = RNG.standard_normal((3, 1, n, 8), dtype=np.float32)
        tracemalloc.start()
        with_gradients(q, k, v)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2048)  # what is loaded on first use does not count
    assert (
        peak(2048) < 3 * peak(1024) < 3 * 4 * 1024**2 / 2
    )  # a quarter of the square of 1,024 weights, at most


def test_with_dropout_all_weights_are_kept(monkeypatch):
    options = {"dropout_p": 0.5}
    expected = with_gradients(Q, K, V, **options, rng=np.random.default_rng(1))
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", 1)
    for a, b in zip(with_gradients(Q, K, V, **options, rng=np.random.default_rng(1)), expected, strict=True):
        np.testing.assert_array_equal(a, b)
