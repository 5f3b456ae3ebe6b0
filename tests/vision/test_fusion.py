"""A convolution and the batch norm after it are one convolution.

Not here: the blocks of RT-DETR that are fused in this way (tests/models/test_rt_detr.py).
"""

import numpy as np
import pytest

from minivis import Tensor, ops
from minivis.vision import fuse_conv_norm

RNG = np.random.default_rng(1)


def drawn(dtype=np.float64):
    weight = RNG.standard_normal((4, 3, 3, 2))
    mean, scale, shift = RNG.standard_normal((3, 4))
    return [x.astype(dtype) for x in (weight, mean, 0.1 + RNG.random(4), scale, shift)]


def test_one_convolution_computes_what_two_layers_compute():
    weight, mean, var, scale, shift = drawn()
    x = RNG.standard_normal((2, 3, 6, 5))
    both = ops.batch_norm(ops.conv2d(x, weight, padding=1), mean, var, scale, shift, eps=1e-3)
    once = ops.conv2d(x, *fuse_conv_norm(weight, mean, var, scale, shift, eps=1e-3), padding=1)
    np.testing.assert_allclose(once, both, atol=1e-12)


def test_the_scale_counts_from_the_norms_side():
    arrays = drawn()
    arrays[1][...], arrays[2][...], arrays[3][...], arrays[4][...] = 2.0, 8.0, 3.0, 1.0
    weight, bias = fuse_conv_norm(*arrays, eps=1.0)
    np.testing.assert_allclose(weight, arrays[0])  # 3 / sqrt(8 + 1)
    np.testing.assert_allclose(bias, -1.0)  # 1 - 2 * 3 / 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_it_keeps_the_dtype(dtype):
    arrays = drawn(dtype)
    expected = fuse_conv_norm(*(x.astype(np.float64) for x in arrays))
    for got, wanted in zip(fuse_conv_norm(*arrays), expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=3 * np.finfo(dtype).eps, atol=3 * np.finfo(dtype).eps)


def test_gradients_reach_the_filters():
    weight, *others = drawn()
    w = Tensor(weight, requires_grad=True)
    fuse_conv_norm(w, *others, eps=0)[0].sum().backward()
    factor = others[2] / np.sqrt(others[1])
    np.testing.assert_allclose(w.grad, np.broadcast_to(factor[:, None, None, None], weight.shape))


def test_statistics_of_other_filters_are_refused():
    weight, *others = drawn()
    with pytest.raises(ValueError, match=r"fuse_conv_norm: statistics, .* must be \(F,\)"):
        fuse_conv_norm(weight[:3], *others)
