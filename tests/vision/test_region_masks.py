"""Masks of regions: targets cut out of a mask, torchvision's way to paste, what is refused.

Not here: the exact way to paste (test_masks.py), RoIAlign (test_rois.py), the loss (tests/losses/test_region_masks.py).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import mask_targets, paste_masks

RNG = np.random.default_rng(4)


def slow_torchvision(mask, box, height, width):
    """One pixel after the other: a border of zeros, a box of whole pixels with one more, positions clamped."""
    padded = np.pad(mask, 1)
    (h, w) = mask.shape
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_x, half_y = (box[2] - box[0]) / 2 * (w + 2) / w, (box[3] - box[1]) / 2 * (h + 2) / h
    left = math.trunc(middle_x - half_x)
    right = math.trunc(middle_x + half_x)
    top = math.trunc(middle_y - half_y)
    bottom = math.trunc(middle_y + half_y)
    out = np.zeros((height, width))
    for i in range(max(top, 0), min(bottom + 1, height)):
        for j in range(max(left, 0), min(right + 1, width)):
            y = min(max((i - top + 0.5) * (h + 2) / (bottom - top + 1) - 0.5, 0), h + 1)
            x = min(max((j - left + 0.5) * (w + 2) / (right - left + 1) - 0.5, 0), w + 1)
            for u in range(h + 2):
                for v in range(w + 2):
                    out[i, j] += padded[u, v] * max(0, 1 - abs(y - u)) * max(0, 1 - abs(x - v))
    return out


def test_a_full_mask_paints_24_pixels_in_torchvisions_form_and_8_exactly():
    ones = np.ones((28, 28), np.float32)
    box = np.array([2, 3, 6, 5], np.float32)
    assert (paste_masks(ones, box, 10, 10) > 0.5).sum() == 8
    rows, columns = np.nonzero(paste_masks(ones, box, 10, 10, "torchvision") > 0.5)
    assert len(rows) == 24 and (rows.min(), rows.max()) == (2, 5) and (columns.min(), columns.max()) == (1, 6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_torchvisions_form_one_pixel_after_the_other(dtype):
    small = RNG.random((5, 4, 4)).astype(dtype)
    boxes = np.array(
        [[1, 2, 7, 8], [-3, -2, 4.5, 3.25], [20, 20, 30, 30], [2.5, 1.5, 3, 6], [1, 1, 1, 1]], dtype
    )
    got = paste_masks(small, boxes, 7, 9, "torchvision")
    assert got.shape == (5, 7, 9) and got.dtype == dtype and not got[2].any()
    for mask, box, image in zip(small, boxes.astype(np.float64), got, strict=True):
        expected = slow_torchvision(mask.astype(np.float64), box, 7, 9)
        np.testing.assert_allclose(image, expected, atol=1e-3 if dtype == np.float16 else 1e-5)


def test_torchvisions_form_is_differentiable_in_masks_and_runs_on_a_device(device):
    small = RNG.random((2, 3, 3))
    boxes = np.array([[0.3, 0.2, 4.1, 3.3], [9.0, 9.0, 12.0, 12.0]])
    check_gradient(lambda m: paste_masks(m, boxes, 5, 6, "torchvision"), small, rng=np.random.default_rng(0))
    there = [mv.to_device(x, device) for x in (small, boxes)]
    got = mv.to_numpy(paste_masks(*there, 5, 6, "torchvision"))
    np.testing.assert_allclose(got, paste_masks(small, boxes, 5, 6, "torchvision"), atol=1e-12)
    assert paste_masks(np.zeros((0, 3, 3)), np.zeros((0, 4)), 5, 6, "torchvision").shape == (0, 5, 6)


def test_one_mask_is_pasted_as_one_of_several():
    small = RNG.random((2, 3, 3))
    boxes = np.array([[0.3, 0.2, 4.1, 3.3], [1.0, 2.0, 4.0, 5.0]])
    for form in ("exact", "torchvision"):
        both = paste_masks(small, boxes, 6, 7, form)
        np.testing.assert_array_equal(paste_masks(small[1], boxes[1], 6, 7, form), both[1])


def test_the_target_of_a_box_of_whole_cells_is_the_mask_in_it():
    masks = RNG.random((2, 8, 10)) < 0.5
    boxes = np.array([[2.0, 1.0, 6.0, 5.0], [0.0, 4.0, 4.0, 8.0], [2.0, 1.0, 6.0, 5.0]])
    got = mask_targets(masks, boxes, np.array([0, 1, 1]), 4)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [masks[0, 1:5, 2:6], masks[1, 4:, :4], masks[1, 1:5, 2:6]])


def test_a_cell_is_of_the_object_from_one_half_on_and_torchvision_keeps_the_share():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :, :2] = True
    box = np.array([[0.0, 0.0, 8.0, 8.0]])
    first = np.array([0])
    np.testing.assert_array_equal(mask_targets(mask, box, first, 2)[0], [[1, 0], [1, 0]])  # half of the cell
    mask[0, :, 1] = False
    np.testing.assert_array_equal(mask_targets(mask, box, first, 2)[0], 0)
    share = mask_targets(mask, box, first, 2, "torchvision")[0]
    # its samples lie half a pixel further: at 0.5, 1.5, ... from the middle of the first pixel
    np.testing.assert_allclose(share, [[0.125, 0], [0.125, 0]], atol=1e-6)


def test_targets_follow_the_box_not_the_object():
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 4:12, 4:12] = True
    off = mask_targets(mask, np.array([[8.0, 4.0, 16.0, 12.0]]), np.array([0]), 4)[0]
    np.testing.assert_array_equal(off, np.tile([1, 1, 0, 0], (4, 1)))
    beyond = mask_targets(mask, np.array([[20.0, 20.0, 30.0, 30.0]]), np.array([0]), 4)
    assert not beyond.any() and mask_targets(mask, np.zeros((0, 4)), np.zeros(0, int), 4).shape == (0, 4, 4)


@pytest.mark.parametrize(
    "call, kind, complaint",
    [
        (
            lambda: paste_masks(np.zeros((1, 2, 2)), np.zeros((1, 4)), 4, 4, "resized"),
            ValueError,
            "paste_masks: form must be .*got 'resized'",
        ),
        (
            lambda: paste_masks(np.zeros((1, 0, 2)), np.ones((1, 4)), 4, 4, "torchvision"),
            ValueError,
            r"paste_masks: masks must be \(N, h, w\), only N may be 0",
        ),
        (
            lambda: mask_targets(np.zeros((2, 4, 4)), np.zeros((1, 3)), np.zeros(1, int), 4),
            ValueError,
            r"mask_targets: masks must be .*\(masks: \(2, 4, 4\), boxes: \(1, 3\), objects: \(1,\)\)",
        ),
        (
            lambda: mask_targets(np.zeros((2, 4, 4)), np.zeros((1, 4)), np.array([2]), 4),
            IndexError,
            "mask_targets: index 2 in objects is out of range",
        ),
        (
            lambda: mask_targets(np.zeros((2, 4, 4)), np.zeros((1, 4), int), np.array([0]), 4),
            TypeError,
            "mask_targets: boxes must be floating-point, got int64",
        ),
        (
            lambda: mask_targets(np.zeros((2, 4, 4)), np.zeros((1, 4)), np.array([0]), 0),
            ValueError,
            "mask_targets: size must be at least 1",
        ),
        (
            lambda: mask_targets(np.zeros((2, 4, 4)), np.zeros((1, 4)), np.array([0]), 4, "x"),
            ValueError,
            "mask_targets: form must be",
        ),
    ],
)
def test_what_is_refused(call, kind, complaint):
    with pytest.raises(kind, match=complaint):
        call()


def test_targets_of_tensors_are_those_of_arrays():
    masks = np.eye(4)[None]
    boxes = np.array([[0.0, 1, 4, 3]])
    given = mask_targets(mv.Tensor(masks), mv.Tensor(boxes), np.array([0]), 2)
    np.testing.assert_array_equal(given, mask_targets(masks, boxes, np.array([0]), 2))
