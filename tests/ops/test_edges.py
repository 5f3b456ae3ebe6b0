"""Ops where a formula has no value of its own: powers of 0 and of negative numbers, infinite scores.

Not here: ordinary values (test_every_op.py), small ones (test_tails.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.autograd import Tensor


def gradients(f, *values, dtype=np.float32):
    leaves = [Tensor(np.array(v, dtype), requires_grad=True) for v in values]
    y = f(*leaves)
    y.backward(np.ones(y.shape, y.dtype))
    return y.data.tolist(), *(x.grad.tolist() for x in leaves)


@pytest.mark.parametrize("zero", [0.0, np.zeros(2, np.float32)], ids=["number", "array"])
def test_powers_of_0_are_flat_in_the_exponent(zero):
    assert gradients(lambda p: mv.ops.pow(zero, p), [2.0, 0.0]) == ([0, 1], [0, 0])


@pytest.mark.parametrize("base", [-2.0, np.full(2, -2.0, np.float32)], ids=["number", "array"])
def test_powers_of_negative_numbers_have_no_slope_in_the_exponent(base):
    y, slope = gradients(lambda p: mv.ops.pow(base, p), [2.0, 3.0])
    assert y == [4, -8]
    assert np.isnan(slope).all()


@pytest.mark.parametrize("exponent", [np.array([0.0, 3.0]), np.array([0, 3])], ids=["floats", "integers"])
def test_a_power_of_exponent_0_is_flat_also_at_0(exponent):
    assert gradients(lambda x: x**exponent, [0.0, 2.0]) == ([1, 8], [0, 12])
    assert gradients(lambda x: x**0, [0.0, 2.0]) == ([1, 1], [0, 0])
    assert gradients(lambda x: x**1, [0.0, 2.0]) == ([0, 2], [1, 1])


def test_both_sides_of_a_power_get_their_gradient():
    y, g_x, g_p = gradients(lambda x, p: x**p, [0.0, 2.0, 3.0], [2.0, 3.0, 0.0], dtype=np.float64)
    assert y == [0, 8, 1]
    assert g_x == [0, 12, 0]
    np.testing.assert_allclose(g_p, [0, 8 * np.log(2), np.log(3)])


def test_an_infinite_score_takes_all():
    inf = np.inf
    assert gradients(lambda x: mv.ops.logsumexp(x, 0), [100.0, inf]) == (inf, [0, 1])
    assert gradients(lambda x: mv.ops.logsumexp(x, 0), [inf, 3.0, inf]) == (inf, [0.5, 0, 0.5])
    assert gradients(lambda x: mv.ops.logsumexp(x, 0), [-inf, 3.0]) == (3, [0, 1])
    y, slope = gradients(lambda x: mv.ops.logsumexp(x, 0), [-inf, -inf])
    assert y == -inf and np.isfinite(slope).all()
    y, slope = gradients(lambda x: mv.ops.log_softmax(x), [[100.0, inf]])
    assert y == [[-inf, 0]] and np.isfinite(slope).all()


@pytest.mark.parametrize(
    "norm, argument, size",
    [("layer_norm", 4, 1e20), ("group_norm", 1, 1e20), ("normalize", 2.0, 1e20), ("normalize", 2.0, 1e-25)],
)
@pytest.mark.parametrize("rows", [1, 5000], ids=["small", "large"])
def test_norms_of_float32_whose_squares_it_does_not_hold(norm, argument, size, rows):
    x = np.tile(np.array([[3.0, -4.0, 1.0, 2.0]]) * size, (rows, 1))
    g = np.random.default_rng(0).standard_normal(x.shape)
    found = []
    for dtype in (np.float32, np.float64):
        y, vjp = getattr(mv.ops, norm).raw(x.astype(dtype), argument, eps=0.0)
        found.append((y, vjp(g.astype(dtype))[0]))
    (y32, slope32), (y64, slope64) = found
    np.testing.assert_allclose(y32, y64, rtol=1e-5)
    np.testing.assert_allclose(slope32, slope64, rtol=1e-4, atol=1e-5 * np.abs(slope64).max())


@pytest.mark.parametrize("options", [{}, {"reduction": "sum", "weight": 3.0, "pos_weight": 2.0}])
def test_binary_cross_entropy_is_differentiable_in_its_target(options):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 4))
    target = rng.uniform(0, 1, (3, 4))
    mv.gradcheck.check_gradient(
        lambda z, t: mv.ops.binary_cross_entropy_with_logits(z, t, **options), logits, target
    )
    soft = Tensor(target, requires_grad=True)
    mv.ops.binary_cross_entropy_with_logits(Tensor(logits.astype(np.float32)), soft, **options).backward()
    assert soft.grad.dtype == np.float64


@pytest.mark.parametrize("approximate", ["none", "tanh", "quick"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gelu_of_the_largest_numbers(approximate, dtype):
    most = float(np.finfo(dtype).max)
    y, slope = gradients(
        lambda x: mv.ops.gelu(x, approximate), [most, most / 4, -most / 4, -most], dtype=dtype
    )
    assert y == [most, float(dtype(most / 4)), 0, 0]
    assert slope == [1, 1, 0, 0]
