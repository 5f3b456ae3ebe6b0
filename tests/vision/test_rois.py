"""Regions of maps: the numbers of the slides, borders, both forms against loops, and the gradients' sums.

Not here: torchvision's RoIAlign (tests/parity/test_roi_parity.py), the laws (tests/laws), errors (tests/ops/cases).
"""

import math

import numpy as np
import pytest

from minivis import vision
from minivis.autograd import Tensor
from minivis.vision import roi_align, roi_pool, spp

FOUR = np.arange(16.0).reshape(1, 1, 4, 4)
WHOLE = np.array([[0.0, 0.0, 0.0, 4.0, 4.0]])


@pytest.mark.parametrize(
    ("sampling", "aligned", "expected"),
    [
        (1, False, [[5, 7], [13, 15]]),
        (2, False, [[5, 6.75], [12, 13.75]]),
        (1, True, [[2.5, 4.5], [10.5, 12.5]]),
        (2, True, [[2.5, 4.5], [10.5, 12.5]]),
    ],
)
def test_the_worked_example_of_roi_align(sampling, aligned, expected):
    assert roi_align(FOUR, WHOLE, 2, 1.0, sampling, aligned)[0, 0].tolist() == expected


@pytest.mark.parametrize(("corner", "expected"), [(3.0, [[5, 7], [13, 15]]), (2.0, [[5, 6], [9, 10]])])
def test_the_worked_examples_of_roi_pool(corner, expected):
    assert roi_pool(FOUR, np.array([[0, 0, 0, corner, corner]]), 2)[0, 0].tolist() == expected


def half_away(x):
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def pool_by_loops(features, rois, size, scale=1.0):
    """Fast R-CNN's pooling, a loop for each index."""
    H, W = features.shape[2:]
    out = np.zeros((len(rois), features.shape[1], *size))
    for r, (b, *box) in enumerate(rois):
        left, top, right, bottom = (half_away(side * scale) for side in box)
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for i in range(size[0]):
            for j in range(size[1]):
                rows = range(top + i * height // size[0], top + math.ceil((i + 1) * height / size[0]))
                columns = range(left + j * width // size[1], left + math.ceil((j + 1) * width / size[1]))
                cells = [(u, v) for u in rows for v in columns if 0 <= u < H and 0 <= v < W]
                if cells:
                    out[r, :, i, j] = np.max([features[int(b), :, u, v] for u, v in cells], axis=0)
    return out


def read(plane, y, x):
    """One point between the pixels; up to one cell beyond the outermost centres it is moved onto them."""
    H, W = plane.shape[-2:]
    if not (-1 <= y <= H and -1 <= x <= W):
        return np.zeros(plane.shape[:-2])
    y, x = min(max(y, 0), H - 1), min(max(x, 0), W - 1)
    u, v = min(int(y), max(H - 2, 0)), min(int(x), max(W - 2, 0))
    below, beside = min(u + 1, H - 1), min(v + 1, W - 1)
    upper = plane[..., u, v] * (1 - x + v) + plane[..., u, beside] * (x - v)
    lower = plane[..., below, v] * (1 - x + v) + plane[..., below, beside] * (x - v)
    return upper * (1 - y + u) + lower * (y - u)


def align_by_loops(features, rois, size, scale=1.0, sampling=2, aligned=True):
    """RoIAlign, a loop for each index."""
    out = np.zeros((len(rois), features.shape[1], *size))
    half = 0.5 if aligned else 0.0
    for r, (b, left, top, right, bottom) in enumerate(rois):
        sides = (bottom - top) * scale, (right - left) * scale
        height, width = sides if aligned else (max(side, 1.0) for side in sides)
        bin_height, bin_width = height / size[0], width / size[1]
        rows, columns = sampling or math.ceil(bin_height), sampling or math.ceil(bin_width)
        for i, j, s, t in np.ndindex(*size, rows, columns):
            y = top * scale - half + (i + (s + 0.5) / rows) * bin_height
            x = left * scale - half + (j + (t + 0.5) / columns) * bin_width
            out[r, :, i, j] += read(features[int(b)], y, x) / (rows * columns)
    return out


def drawn(seed):
    """Features, regions anywhere, a size and a scale."""
    rng = np.random.default_rng(seed)
    B, C, H, W = rng.integers(1, (3, 3, 8, 8))
    R = int(rng.integers(0, 5))
    low = rng.uniform(-8, 20, (R, 2)).round(int(rng.integers(0, 3)))
    boxes = np.concatenate([low, low + rng.uniform(0, 25, (R, 2))], axis=1)
    rois = np.concatenate([rng.integers(0, B, (R, 1)), boxes], axis=1)
    size = tuple(int(n) for n in rng.integers(1, 5, 2))
    return rng.standard_normal((B, C, H, W)), rois, size, float(rng.choice([1, 0.5, 0.25]))


@pytest.mark.parametrize("seed", range(20))
def test_both_are_their_loops(seed):
    features, rois, size, scale = drawn(seed)
    np.testing.assert_array_equal(
        roi_pool(features, rois, size, scale), pool_by_loops(features, rois, size, scale)
    )
    for sampling in (0, 1, 3):
        options = scale, sampling, bool(seed % 2)
        expected = align_by_loops(features, rois, size, *options)
        np.testing.assert_allclose(roi_align(features, rois, size, *options), expected, rtol=0, atol=1e-12)


def test_a_region_without_area():
    """Aligned it is one point, or nothing with as many samples as it has cells; otherwise it is one cell wide."""
    point = np.array([[0, 2.5, 1.5, 2.5, 1.5]])
    assert (roi_align(FOUR, point, 2) == FOUR[0, 0, 1, 2]).all()
    assert (roi_align(FOUR, point, 2, sampling=0) == 0).all()
    assert (
        roi_align(FOUR, point, 2, aligned=False)
        == roi_align(FOUR, np.array([[0, 2.5, 1.5, 3.5, 2.5]]), 2, aligned=False)
    ).all()


@pytest.mark.parametrize("op", [roi_align, roi_pool])
def test_regions_get_no_gradient(op):
    x, rois = Tensor(FOUR, requires_grad=True), Tensor(WHOLE, requires_grad=True)
    op(x, rois.detach(), 2).backward(np.ones((1, 1, 2, 2)))
    assert x.grad.sum() == 4
    with pytest.raises(TypeError, match="not differentiable in its argument number 2"):
        op(x, rois, 2).backward(np.ones((1, 1, 2, 2)))


def test_the_gradient_of_equal_maxima_goes_to_the_first():
    x = Tensor(np.ones((1, 1, 2, 3)), requires_grad=True)
    roi_pool(x, np.array([[0, 0, 0, 2.0, 1]]), (2, 1)).backward(np.array([[[[3.0], [5.0]]]]))
    assert x.grad.tolist() == [[[[3, 0, 0], [5, 0, 0]]]]


def test_a_level_of_spp_is_adaptive_max_pooling():
    x = np.random.default_rng(3).standard_normal((2, 3, 13, 10))
    got = spp(x, (4, 1))
    assert got.shape == (2, 3 * 17)
    bins = [
        [
            x[..., i * 13 // 4 : -(-(i + 1) * 13 // 4), j * 10 // 4 : -(-(j + 1) * 10 // 4)].max(axis=(2, 3))
            for j in range(4)
        ]
        for i in range(4)
    ]
    np.testing.assert_array_equal(got[:, :48].reshape(2, 3, 4, 4), np.moveaxis(bins, (0, 1), (2, 3)))
    np.testing.assert_array_equal(got[:, 48:], x.max(axis=(2, 3)))


def test_spp_of_the_detector_has_fifty_bins():
    for shape in ((1, 256, 6, 9), (1, 256, 3, 2)):
        assert spp(np.ones(shape, np.float32), (6, 3, 2, 1)).shape == (1, 12_800)
    assert spp(np.zeros((0, 2, 3, 3), np.float32), (2,)).shape == (0, 8)
    for x, levels, message in (
        (np.ones((2, 3, 3)), (1,), r"spp: x must be \(B, C, H, W\)"),
        (np.ones((1, 2, 3, 3)), (), "spp: levels must have"),
        (np.ones((1, 2, 3, 3)), (0,), "spp: levels must be an integer of at least 1"),
        (np.ones((1, 2, 3, 3)), ((1, 2),), "spp: levels must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            spp(x, levels)
    with pytest.raises(TypeError, match="spp: x must be floating-point"):
        spp(np.ones((1, 2, 3, 3), int), (1,))


def test_everything_is_differentiable_through_tensors():
    x = Tensor(np.random.default_rng(4).standard_normal((2, 2, 5, 4)), requires_grad=True)
    vision.spp(x, (2, 1)).backward(np.ones((2, 10)))
    assert x.grad.sum() == 20


def test_a_nan_of_the_map_is_not_hidden():
    x = np.array([[[[1.0, np.nan, 0.0], [3.0, 4.0, 5.0]]]])
    assert np.isnan(spp(x, (1,))).all()
    np.testing.assert_array_equal(
        roi_pool(x, np.array([[0.0, 0, 0, 2, 1]]), (2, 3))[0, 0], [[1, np.nan, 0], [3, 4, 5]]
    )


@pytest.mark.parametrize("pool", [roi_align, roi_pool])
def test_an_infinite_scale_is_refused(pool):
    with pytest.raises(ValueError, match=f"{pool.__name__}: scale must be positive and finite, got inf"):
        pool(np.ones((1, 1, 3, 3)), np.array([[0.0, 0, 0, 2, 1]]), 2, scale=np.inf)
