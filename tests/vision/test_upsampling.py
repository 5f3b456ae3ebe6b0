"""Fixed kernels, cells and their centres on known networks; the offsets of published FCNs follow from their layers.

Not here: the laws of bilinear_kernel and fcn_upsample (tests/laws), dtypes (tests/test_precision.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import ops
from minivis.vision import bilinear_kernel, cell_centres, crop_offsets, fcn_upsample

RNG = np.random.default_rng(71)


def vgg(poolings, padding=100):
    """(kernel, stride, padding) of VGG-16 up to a pooling."""
    layers = [layer for depth in (2, 2, 3, 3, 3)[:poolings] for layer in [(3, 1, 1)] * depth + [(2, 2, 0)]]
    return [(3, 1, padding), *layers[1:]]


def test_a_kernel_by_hand():
    kernel = bilinear_kernel(4, "float64")
    np.testing.assert_array_equal(kernel[0], [0.0625, 0.1875, 0.1875, 0.0625])
    np.testing.assert_array_equal(kernel[1], [0.1875, 0.5625, 0.5625, 0.1875])
    np.testing.assert_array_equal(bilinear_kernel(16).sum(axis=0) / 8, (2 * np.r_[:8, 7:-1:-1] + 1) / 16)
    assert kernel.sum() == 4 and bilinear_kernel(64).sum() == 32**2
    assert bilinear_kernel((3, 1)).tolist() == [[0.5], [1.0], [0.5]]


def test_where_the_cells_of_vgg16_lie():
    fc6 = [*vgg(5), (7, 1, 0)]
    assert cell_centres(fc6) == (32, 12.5)
    assert [cell_centres(vgg(n)) for n in (4, 3)] == [(16, -91.5), (8, -95.5)]
    assert cell_centres([]) == (1, 0)


def test_the_offsets_of_the_published_networks_are_derived():
    maps = [cell_centres([*vgg(5), (7, 1, 0)]), cell_centres(vgg(4)), cell_centres(vgg(3))]
    assert [crop_offsets(maps[:n]) for n in (1, 2, 3)] == [(19,), (5, 27), (5, 9, 31)]
    assert crop_offsets(maps[:1]) != ((544 - 500) // 2,)  # the middle is not the place


def test_a_ramp_that_goes_down_and_up_again_lies_where_it_lay():
    """Means of 2 x 2 pixels, enlarged by 2 and cut at the derived offset, give back a plane of brightness."""
    plane = np.add.outer(np.arange(12.0), 10 * np.arange(16.0))[None, None]
    small = ops.avg_pool2d(ops.pad(plane, [(0, 0), (0, 0), (2, 2), (2, 2)]), 2)
    (offset,) = crop_offsets([cell_centres([(2, 2, 2)])])
    large = fcn_upsample(small, 2, cut=False)[:, :, offset : offset + 12, offset : offset + 16]
    np.testing.assert_allclose(large[..., 2:-2, 2:-2], plane[..., 2:-2, 2:-2], atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_inside_it_is_interpolation_and_equal_numbers_fade_at_the_border(factor):
    scores = RNG.standard_normal((2, 3, 4, 5))
    larger = ops.interpolate(scores, scale_factor=factor, mode="bilinear")
    got = fcn_upsample(scores, factor)
    inner = (..., slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
    np.testing.assert_allclose(got[inner], larger[inner], atol=1e-12)
    assert (fcn_upsample(np.ones((1, 1, 3, 3)), factor)[0, 0, 0] < 1).all()


def test_the_whole_border_is_kept_on_request():
    scores = RNG.standard_normal((1, 2, 3, 4))
    for factor, more in ((4, 4), (3, 2)):
        whole = fcn_upsample(scores, factor, cut=False)
        assert whole.shape == (1, 2, 3 * factor + more, 4 * factor + more)
        cut = (..., slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
        np.testing.assert_array_equal(whole[cut], fcn_upsample(scores, factor))


def test_scores_on_a_device_stay_there_and_have_a_gradient(device):
    scores = RNG.standard_normal((1, 2, 3, 3)).astype(np.float32)
    found = []
    for where in ("cpu", device):
        x = mv.Tensor(mv.to_device(scores, where), requires_grad=True)
        y = fcn_upsample(x, 2)
        assert y.device == where and y.dtype == np.float32
        (y * y).sum().backward()
        found.append((y.numpy(), mv.to_numpy(x.grad)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: bilinear_kernel(0), ValueError, "^bilinear_kernel: size must be an integer of at least 1"),
        (lambda: fcn_upsample(np.ones((2, 3, 4)), 2), ValueError, r"^fcn_upsample: scores must be \(B, K, H, W\)"),
        (lambda: fcn_upsample(np.ones((1, 1, 2, 2), int), 2), TypeError, "^fcn_upsample: scores must be floating"),
        (lambda: fcn_upsample(np.ones((1, 1, 2, 2)), 1.5), ValueError, "^fcn_upsample: factor must be a whole number"),
        (lambda: cell_centres([(3, 1)]), ValueError, r"^cell_centres: layers must be .* \(layer 0: \(3, 1\)\)"),
        (lambda: cell_centres([(3, 1, -1)]), ValueError, "^cell_centres: layers must be"),
        (lambda: crop_offsets([]), ValueError, "^crop_offsets: maps must be at least one"),
        (lambda: crop_offsets([(2, 0.5), (0, 0.5)]), ValueError, "^crop_offsets: maps must be .* strides of 1 or more"),
        (lambda: crop_offsets([(-8, 3.5)]), ValueError, "^crop_offsets: maps must be .* strides of 1 or more"),
        (lambda: crop_offsets([(8,)]), ValueError, "^crop_offsets: maps must be at least one"),
        (lambda: bilinear_kernel(4, int), TypeError, "^bilinear_kernel: dtype must be floating-point, got int64"),
        (lambda: crop_offsets([(32, 0.5), (12, 0.5)]), ValueError, "^crop_offsets: stride 32 is no multiple"),
        (lambda: crop_offsets([(2, 0.0)]), ValueError, "^crop_offsets: the cells do not lie above one another"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
