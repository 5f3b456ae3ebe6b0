"""Attention over many tokens: block by block gives the same as all at once, with memory that grows with N only.

Not here: attention itself (cases/attention.py and the laws).
"""

import tracemalloc

import numpy as np
import pytest

import minivis as mv
from minivis import Tensor, ops
from minivis.fast import attention
from tests import strict
from tests.fast import pretend_cuda

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
    monkeypatch.setitem(attention.MOST_WEIGHTS, "cpu", limit)
    monkeypatch.setattr(attention, "LEAST_WEIGHTS", 1)
    assert len(attention._parts(Q, K)) == {1: 7, 61: 4, 10**9: 1}[limit]
    for a, b in zip(with_gradients(Q, K, V, **CALLS[name]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.fixture
def one_pass(monkeypatch):
    """Attention in one pass, run on the CPU for every call; yields the list of its calls."""
    if pretend_cuda.COMPILER is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    calls = []
    attend = pretend_cuda.load("cuda_attention").attend

    def noted(*args):
        calls.append(args)
        return attend(*args)

    monkeypatch.setattr(attention, "one_pass", lambda *_: noted)
    monkeypatch.setattr(attention, "LEAST_WEIGHTS", 1)
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_one_pass_gives_the_same_and_the_same_gradients(name, one_pass, monkeypatch):
    expected = with_gradients(Q, K, V, **CALLS[name])
    assert not one_pass  # with few weights it is not used
    monkeypatch.setitem(attention.MOST_WEIGHTS, "cpu", 61)
    for a, b in zip(with_gradients(Q, K, V, **CALLS[name]), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert len(one_pass) == 1


@pytest.mark.parametrize("name", CALLS)
def test_compiled_attention_gives_the_same_and_the_same_gradients(name, monkeypatch):
    pytest.importorskip("numba")
    pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(attention, "LEAST_WEIGHTS", 1)
    monkeypatch.setattr(attention, "LEAST_HEADS", 1)
    expected = with_gradients(Q, K, V, **CALLS[name])  # it is not used for float64
    options = {x: y.astype(np.float32) if x == "bias" else y for x, y in CALLS[name].items()}
    small = [x.astype(np.float32) for x in (Q, K, V)]
    assert attention._by_heads_may(*small, options.get("mask"), options.get("bias"))
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
    assert len(one_pass) == 1  # it has no dropout


@pytest.mark.gpu
@pytest.mark.parametrize("name", CALLS)
def test_a_gpu_takes_one_pass(name, monkeypatch):
    expected = with_gradients(Q, K, V, **CALLS[name])
    monkeypatch.setitem(attention.MOST_WEIGHTS, "gpu", 61)
    q, k, v = (mv.to_device(x, "gpu") for x in (Q, K, V))
    assert attention.one_pass(q, k, v)
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
    monkeypatch.setitem(attention.MOST_WEIGHTS, "cpu", 1)
    for a, b in zip(with_gradients(Q, *shared), expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_float32_agrees_with_float64(monkeypatch):
    monkeypatch.setitem(attention.MOST_WEIGHTS, "cpu", 100)
    for a, b in zip(
        with_gradients(*(x.astype(np.float32) for x in (Q, K, V))), with_gradients(Q, K, V), strict=True
    ):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_memory_grows_with_the_tokens_and_not_with_their_square(monkeypatch):
    monkeypatch.setitem(attention.MOST_WEIGHTS, "cpu", 2**14)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # several threads would hold a varying number of blocks

    def peak(n):
        q, k, v = RNG.standard_normal((3, 1, n, 8), dtype=np.float32)
        tracemalloc.start()
        with_gradients(q, k, v)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2048)  # modules loaded on first use do not count
    # at most half of 1,024 x 1,024 float32 weights
    assert peak(2048) < 3 * peak(1024) < 3 * 4 * 1024**2 / 2


def test_with_dropout_all_weights_are_kept(monkeypatch):
    options = {"dropout_p": 0.5}
    expected = with_gradients(Q, K, V, **options, rng=np.random.default_rng(1))
    monkeypatch.setitem(attention.MOST_WEIGHTS, "cpu", 1)
    for a, b in zip(with_gradients(Q, K, V, **options, rng=np.random.default_rng(1)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


# Masked tokens may hold any values, also NaN


def hidden(shape, seen, what):
    """Random numbers, with ``what`` in the rows where ``seen`` is False."""
    x = np.random.default_rng(sum(shape)).standard_normal(shape)
    return np.where(np.broadcast_to(seen, shape[:-1])[..., None], x, what)


# (B, M): False = padded
KEYS = np.array([[True, True, False, True, False], [True, False, True, False, False]])
ASKING = np.array([True, True, False, True, True, False, True])  # (N,)
FULL = np.random.default_rng(3).random((2, 3, 7, 5)) < 0.7
HIDING = {  # name: mask, is_causal, queries with allowed keys, keys that some query attends to
    "padded keys": (KEYS[:, None, None], False, True, KEYS[:, None]),
    "padded keys, a row for each query": (FULL & KEYS[:, None, None], False, True, None),
    "padded keys, for all images": (KEYS[0], False, True, KEYS[0]),
    "queries without keys": (np.broadcast_to(ASKING[:, None], (7, 5)), False, ASKING, True),
    "both": (ASKING[:, None] & KEYS[0], False, ASKING, KEYS[0]),
    "both and causal": (ASKING[:, None] & KEYS[0], True, ASKING, KEYS[0]),
    "nothing at all": (np.zeros((1, 1), bool), False, False, False),
}


@pytest.mark.parametrize("attend", [ops.scaled_dot_product_attention, ops.attention_composed])
def test_the_weights_shown_are_those_that_values_are_gathered_with(attend):
    """Values that are a unit matrix give the weights back; whatever is given may be a Tensor, a mask too."""
    mask = Tensor(EMPTY_ROW)
    bias = Tensor(RNG.standard_normal((7, 5)))
    weights = ops.attention_weights(Tensor(Q), Tensor(K), mask, bias, is_causal=True)
    y = attend(Tensor(Q), Tensor(K), Tensor(np.eye(5)), mask, bias, is_causal=True)
    np.testing.assert_allclose(weights, y.data, atol=1e-15)
    assert not weights[:, :, 2].any()


@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("attend", [ops.scaled_dot_product_attention, ops.attention_composed])
def test_what_nobody_may_attend_to_may_be_nan(name, what, attend):
    mask, is_causal, asking, asked = HIDING[name]
    if asked is None:
        asked = mask.any(axis=-2)
    results = []
    for filled in (0.0, what):
        q, k, v = (
            Tensor(hidden(x.shape, seen, filled), requires_grad=True)
            for x, seen in ((Q, asking), (K, asked), (V, asked))
        )
        y = attend(q, k, v, mask, is_causal=is_causal)
        y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
        results.append([y.data, q.grad, k.grad, v.grad])
        with mv.no_grad():
            results[-1].append(attend(q, k, v, mask, is_causal=is_causal).data)
    for clean, dirty in zip(*results, strict=True):
        assert np.isfinite(dirty).all()
        np.testing.assert_array_equal(dirty, clean)


@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("attend", [ops.scaled_dot_product_attention, ops.attention_composed])
def test_the_bias_of_a_masked_pair_may_be_nan(attend, what):
    q, k, v, bias = (Tensor(x, requires_grad=True) for x in (Q, K, V, np.where(EMPTY_ROW, 0.0, what)))
    y = attend(q, k, v, EMPTY_ROW, bias)
    y.backward(np.ones(y.shape))
    assert all(np.isfinite(x).all() for x in (y.data, q.grad, k.grad, v.grad, bias.grad))
    np.testing.assert_array_equal(y.data, attend(Q, K, V, EMPTY_ROW))
    assert not y.data[:, :, 2].any() and not bias.grad[~EMPTY_ROW].any()


def test_what_is_hidden_in_large_float32_arrays_may_be_nan():
    """The arrays are large enough for compiled kernels, with and without gradients."""
    seen = np.arange(600) < 500
    results = []
    for filled in (0.0, np.nan):
        rng = np.random.default_rng(0)
        q, k, v = (rng.standard_normal((2, 600, 32)).astype(np.float32) for _ in range(3))
        k[:, ~seen] = v[:, ~seen] = filled
        leaves = [Tensor(x, requires_grad=True) for x in (q, k, v)]
        y = ops.scaled_dot_product_attention(*leaves, seen[None])
        y.sum().backward()
        with mv.no_grad():
            again = ops.scaled_dot_product_attention(*leaves, seen[None])
        results.append([y.data, again.data, *(x.grad for x in leaves)])
    for clean, dirty in zip(*results, strict=True):
        assert np.isfinite(dirty).all()
        np.testing.assert_array_equal(dirty, clean)


def test_padded_keys_may_be_nan_on_a_device_which_is_not_waited_for(device):
    arrays = Q, hidden(K.shape, KEYS[:, None], np.nan), hidden(V.shape, KEYS[:, None], np.nan)
    leaves = [Tensor(mv.to_device(x, device), requires_grad=True) for x in arrays]
    mask = mv.to_device(KEYS[:, None, None], device)
    if device == "strict":
        with strict.no_reads():
            y = ops.scaled_dot_product_attention(*leaves, mask)
            y.backward(mv.to_device(np.ones(y.shape), device))
    else:
        y = ops.scaled_dot_product_attention(*leaves, mask)
        y.backward(mv.to_device(np.ones(y.shape), device))
    for x in (y.data, *(leaf.grad for leaf in leaves)):
        assert np.isfinite(mv.to_numpy(x)).all()
