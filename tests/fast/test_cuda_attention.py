"""Attention in one pass gives the same as in three steps, with its CUDA source on the CPU or a GPU; mutants do not.

Not here: its use beyond a number of weights (tests/ops/test_attention.py).
"""

import numpy as np
import pytest

from minivis.ops import attention_composed
from tests.fast import pretend_cuda

RNG = np.random.default_rng(0)
CASES = {  # leading axes, queries, keys, width of a head, width of values; mask, bias, causal
    "one tile": ((2,), 5, 7, 3, 4, None, None, False),
    "several tiles": ((2,), 70, 130, 5, 33, None, None, False),
    "everything": ((2, 2), 70, 67, 40, 8, (70, 67), (2, 70, 67), True),
    "the same mask for all queries": ((2, 3), 3, 66, 8, 8, (2, 1, 1, 66), (1, 66), False),
    "a bias for each query": ((1,), 3, 2, 2, 1, None, (3, 1), False),
    "causal, more keys than queries": ((), 3, 70, 2, 2, None, None, True),
    "causal, more queries than keys": ((), 70, 3, 2, 2, None, None, True),
    "one of each": ((1, 1), 1, 1, 1, 1, None, None, False),
    "no width": ((), 1, 70, 0, 2, None, None, False),
    "no keys": ((2,), 3, 0, 2, 2, None, None, False),
    "no heads": ((0,), 3, 2, 2, 2, (3, 2), None, False),
    "no queries": ((2,), 0, 2, 2, 2, None, (0, 2), False),
    "wide heads": ((1,), 2, 3, 33, 64, None, None, False),
}


@pytest.fixture
def pretended():
    if pretend_cuda.COMPILER is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    return pretend_cuda.load("cuda_attention"), np.array, np.asarray


@pytest.fixture(scope="module")
def real():
    import cupy

    from minivis.fast import cuda_attention

    return cuda_attention, cupy.array, cupy.asnumpy


def drawn(case, dtype):
    """The same q, k, v, mask, bias and is_causal each time; with a mask, the first query has no allowed keys."""
    (lead, n, m, d, e, mask, bias, causal) = CASES[case]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(lead + shape).astype(dtype) for shape in ((n, d), (m, d), (m, e))]
    if mask is not None:
        mask = rng.random(mask) < 0.5
        mask[..., :1, :] = False
    return [*arrays, mask, None if bias is None else rng.standard_normal(bias).astype(dtype), causal]


def both(module, there, back, case, dtype):
    *arrays, causal = drawn(case, dtype)
    expected = attention_composed(*arrays, is_causal=causal)
    found = module.attend(*(None if x is None else there(x) for x in arrays), causal)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    return back(found), expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "where, dtype",
    [
        ("pretended", np.float64),
        pytest.param("real", np.float32, marks=pytest.mark.gpu),
        pytest.param("real", np.float64, marks=pytest.mark.gpu),
    ],
)
def test_one_pass_gives_what_three_steps_give(case, where, dtype, request):
    found, expected = both(*request.getfixturevalue(where), case, dtype)
    close = 2e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, rtol=close, atol=close)


def test_heads_may_be_views_and_axes_repeated(pretended):
    module, *_ = pretended
    q = RNG.standard_normal((2, 5, 3, 4)).swapaxes(1, 2)
    k = RNG.standard_normal((1, 6, 4))
    v = np.broadcast_to(RNG.standard_normal((3, 1, 2)), (3, 6, 2))
    mask = (RNG.random((6, 5)) < 0.7).T
    found = module.attend(q, k, v, mask)
    expected = attention_composed(q, k, v, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def test_float32_stays_float32(pretended):
    found, expected = both(*pretended, "everything", np.float32)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_infinite_and_missing_scores(pretended):
    module, *_ = pretended
    q = np.ones((4, 1))
    k = np.array([[1.0], [-np.inf], [2.0]])
    v = np.array([[1.0], [5.0], [3.0]])
    q[1] = np.nan
    q[2] = 1e4
    with np.errstate(all="ignore"):
        found = module.attend(q, k, v)
    np.testing.assert_array_equal(np.isnan(found[:, 0]), [False, True, False, False])
    np.testing.assert_allclose(found[[0, 2, 3], 0], [1 + 2 * np.e / (1 + np.e), 3, 1 + 2 * np.e / (1 + np.e)])


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("exp(highest[i] - base)", "T(1)"),  # earlier sums keep the weights of a lower maximum
        (", total[i] *= shrink;", ";"),
        ("key > query", "key >= query"),
        ("query * mask_query + key * mask_key", "key * mask_query + query * mask_key"),
        ("score[i][j] *= T(scale);", ""),
        ("top == never ? T(0) : top", "top"),
        ("start >= first + QUERIES", "start >= first"),
        ("query < n && key < m", "query < n"),
    ],
)
def test_a_mistake_in_the_kernel_is_found(right, wrong, pretended):
    module = pretend_cuda.load("cuda_attention")
    before = module._MODULE.here
    assert before.count(right) == 1
    module._MODULE.here = before.replace(right, wrong)

    def differs(case):
        with np.errstate(all="ignore"):
            found, expected = both(module, np.array, np.asarray, case, np.float64)
        return not np.allclose(found, expected, rtol=1e-9, atol=1e-9)

    assert any(map(differs, ("everything", "several tiles", "causal, more queries than keys")))


def test_what_fits(pretended):
    module, *_ = pretended
    single, double, half = (np.empty((2, 64), dtype) for dtype in (np.float32, np.float64, np.float16))
    assert module.fits(single, single, single)
    assert module.fits(double, double, double)
    assert not module.fits(single, single, double)
    assert not module.fits(half, half, half)
    assert not module.fits(*[np.empty((2, 65), np.float32)] * 3)
    assert not module.fits(single, single, np.empty((2, 65), np.float32))
    module._shared_bytes_of = lambda device: 2**16  # as on a small GPU
    assert module.fits(single, single, single)
    assert not module.fits(double, double, double)
