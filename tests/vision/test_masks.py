"""Masks: box around and back, pasting, agreement; each against loops, on the pretend GPU too, and what is refused.

Not here: run lengths (test_run_lengths.py), panoptic merge (test_panoptic.py).
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import boxes_to_masks, mask_dice, mask_iou, masks_to_boxes, paste_masks

RNG = np.random.default_rng(2)


@st.composite
def masks(draw):
    """Boolean masks (N, H, W): noise of any density, so also empty and full ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(0, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))


# ---------------------------------------------------------------------------------------------------------------------
# Boxes


@given(masks())
def test_the_box_is_what_a_loop_over_pixels_finds(found):
    boxes = masks_to_boxes(found)
    assert boxes.shape == (len(found), 4) and boxes.dtype == np.float32
    for mask, box in zip(found, boxes.tolist(), strict=True):
        pixels = [(i, j) for i in range(mask.shape[0]) for j in range(mask.shape[1]) if mask[i, j]]
        rows, columns = [i for i, _ in pixels], [j for _, j in pixels]
        expected = [min(columns), min(rows), max(columns) + 1, max(rows) + 1] if pixels else [0, 0, 0, 0]
        assert box == expected


@given(masks())
def test_the_filled_box_covers_the_mask_and_has_the_same_box(found):
    boxes = masks_to_boxes(found)
    filled = boxes_to_masks(boxes, *found.shape[1:])
    assert filled.shape == found.shape and not (found & ~filled).any()
    np.testing.assert_array_equal(masks_to_boxes(filled), boxes)


def test_a_single_pixel_has_a_box_of_area_one():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    assert masks_to_boxes(mask).tolist() == [3, 2, 4, 3]


def test_a_pixel_belongs_to_a_box_when_its_centre_does():
    assert boxes_to_masks(np.array([0.5, 0.0, 1.5, 9.0]), 1, 3).tolist() == [[True, False, False]]
    assert boxes_to_masks(np.array([0.51, -3.0, 1.51, 0.4]), 1, 3).tolist() == [[False] * 3]
    halves = boxes_to_masks(np.array([[0.0, 0.0, 1.5, 2.0], [1.5, 0.0, 3.0, 2.0]]), 2, 3)
    assert (halves.sum(axis=0) == 1).all()


def test_boxes_and_masks_take_any_leading_axes_and_stay_on_their_device(device):
    found = RNG.random((2, 3, 6, 5)) < 0.2
    boxes = masks_to_boxes(found)
    assert boxes.shape == (2, 3, 4) and boxes_to_masks(boxes, 6, 5).shape == found.shape
    there = masks_to_boxes(mv.to_device(found, device))
    np.testing.assert_array_equal(mv.to_numpy(there), boxes)
    filled = boxes_to_masks(there, 6, 5)
    np.testing.assert_array_equal(mv.to_numpy(filled), boxes_to_masks(boxes, 6, 5))


# ---------------------------------------------------------------------------------------------------------------------
# Pasting


def slow_paste(mask, box, height, width):
    """One mask in an image, by the words of the docstring, one pixel at a time."""
    (h, w) = mask.shape
    (x1, y1, x2, y2) = box
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            x, y = (j + 0.5 - x1) / (x2 - x1) * w - 0.5, (i + 0.5 - y1) / (y2 - y1) * h - 0.5
            for u in range(h):
                for v in range(w):
                    out[i, j] += mask[u, v] * max(0, 1 - abs(y - u)) * max(0, 1 - abs(x - v))
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pasted_mask_is_what_the_formula_says(dtype):
    small = RNG.random((4, 3, 5)).astype(dtype)
    boxes = np.array([[1, 2, 7, 8], [-3, -2, 4.5, 3.25], [0, 0, 9, 7], [2.5, 1.5, 3, 6]]).astype(dtype)
    got = paste_masks(small, boxes, 7, 9)
    assert got.shape == (4, 7, 9) and got.dtype == dtype
    for mask, box, image in zip(small, boxes, got, strict=True):
        np.testing.assert_allclose(image, slow_paste(mask, box, 7, 9), atol=1e-6)


def test_a_mask_pasted_into_a_box_of_its_own_size_is_copied():
    small = RNG.random((1, 3, 4))
    image = paste_masks(small, np.array([[2.0, 1.0, 6.0, 4.0]]), 6, 8)
    np.testing.assert_allclose(image[0, 1:4, 2:6], small[0], atol=1e-12)
    assert np.abs(image).sum() == pytest.approx(small.sum())


def test_a_full_mask_fills_its_box_above_one_half():
    boxes = np.array([[3.0, 2.0, 11.0, 9.0], [0.0, 5.0, 16.0, 8.0]])
    got = paste_masks(np.ones((2, 28, 28)), boxes, 12, 16) > 0.5
    np.testing.assert_array_equal(got, boxes_to_masks(boxes, 12, 16))


def test_a_box_without_area_takes_nothing_and_has_no_gradient():
    boxes = mv.Tensor(np.array([[2.0, 2.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0]]), requires_grad=True)
    small = mv.Tensor(np.ones((2, 3, 3)), requires_grad=True)
    pasted = paste_masks(small, boxes, 6, 6)
    pasted.backward(np.ones(pasted.shape))
    assert not pasted.data.any() and not boxes.grad.any() and not small.grad.any()


def test_pasting_is_differentiable_and_runs_on_a_device(device):
    small = RNG.random((2, 3, 2))
    boxes = np.array([[0.3, 0.2, 4.1, 3.3], [1.2, 0.7, 3.9, 4.6]])
    check_gradient(lambda m, b: paste_masks(m, b, 5, 6), small, boxes, rng=np.random.default_rng(0))
    there = [mv.to_device(x, device) for x in (small, boxes)]
    np.testing.assert_array_equal(mv.to_numpy(paste_masks(*there, 5, 6)), paste_masks(small, boxes, 5, 6))
    assert paste_masks(np.zeros((0, 3, 3)), np.zeros((0, 4)), 5, 6).shape == (0, 5, 6)


# ---------------------------------------------------------------------------------------------------------------------
# Agreement


@given(masks(), st.integers(0, 2**32))
def test_iou_and_dice_are_those_of_sets_of_pixels(found, seed):
    other = np.random.default_rng(seed).random((2, *found.shape[1:])) < 0.5
    iou, dice = mask_iou(found, other), mask_dice(found, other)
    assert iou.shape == dice.shape == (len(found), 2)
    for n, a in enumerate(found):
        for m, b in enumerate(other):
            either = (a | b).sum()
            both = (a & b).sum()
            assert iou[n, m] == (both / either if either else 0)
            assert dice[n, m] == (2 * both / (a.sum() + b.sum()) if either else 0)
    np.testing.assert_allclose(dice, 2 * iou / (1 + iou), rtol=1e-12)
    assert (0 <= iou).all() and (iou <= dice).all() and (dice <= 1).all()


def test_a_mask_agrees_with_itself_an_empty_one_with_nothing_on_a_device_too(device):
    found = np.stack([np.eye(3, 4, dtype=bool), np.zeros((3, 4), bool)])
    for agreement in (mask_iou, mask_dice):
        assert agreement(found, found).tolist() == [[1, 0], [0, 0]]
        there = mv.to_device(found, device)
        np.testing.assert_array_equal(mv.to_numpy(agreement(there, there)), agreement(found, found))


# ---------------------------------------------------------------------------------------------------------------------
# What is refused

BOX = np.array([[0.0, 0.0, 2.0, 2.0]])
MASK = np.zeros((1, 2, 3), bool)


@pytest.mark.parametrize(
    ("call", "kind", "complaint"),
    [
        (
            lambda: masks_to_boxes(np.zeros((2, 3, 3))),
            TypeError,
            "masks_to_boxes: masks must be boolean.*logits > 0",
        ),
        (lambda: masks_to_boxes(np.zeros(3, bool)), ValueError, r"masks_to_boxes: .*\(masks: \(3,\)\)"),
        (lambda: masks_to_boxes(np.zeros((1, 0, 3), bool)), ValueError, "masks_to_boxes: .*with pixels"),
        (lambda: boxes_to_masks(BOX[:, :3], 4, 4), ValueError, r"boxes_to_masks: .*\(boxes: \(1, 3\)\)"),
        (
            lambda: boxes_to_masks(np.array([0.5, 0.5, 0.2, 0.2]), 4, 4),
            ValueError,
            r"one is \[0.5, 0.5, 0.2, 0.2\]; if these are cxcywh, convert them with box_cxcywh_to_xyxy",
        ),
        (lambda: boxes_to_masks(np.array([0, np.nan, 1, 1]), 4, 4), ValueError, "one is .*nan"),
        (lambda: boxes_to_masks(BOX, 0, 4), ValueError, "height must be at least 1 pixel, got 0"),
        (lambda: boxes_to_masks(BOX, 4, 4.0), TypeError, "width must be an integer .*got 4.0"),
        (
            lambda: paste_masks(np.zeros((2, 3, 3)), BOX, 4, 4),
            ValueError,
            r"paste_masks: .*\(masks: \(2, 3, 3\), boxes: \(1, 4\)\)",
        ),
        (lambda: paste_masks(np.zeros((1, 3, 3), bool), BOX, 4, 4), TypeError, "floating-point, got bool"),
        (
            lambda: paste_masks(np.zeros((1, 3, 3)), BOX.astype(int), 4, 4),
            TypeError,
            "paste_masks: boxes .*got int64",
        ),
        (
            lambda: mask_iou(MASK, MASK.astype(float)),
            TypeError,
            "mask_iou: masks must be boolean, .*got float64",
        ),
        (
            lambda: mask_dice(MASK, MASK[0]),
            ValueError,
            r"mask_dice: .*masks1: \(1, 2, 3\), masks2: \(2, 3\)\)",
        ),
    ],
)
def test_what_is_no_mask_or_box_is_refused(call, kind, complaint):
    with pytest.raises(kind, match=complaint):
        call()
