"""Box codes, anchors and their matching: the worked numbers, published anchors, errors, and the levels of a pyramid.

Not here: torchvision's (tests/parity/test_roi_parity.py), the laws (tests/laws).
"""

import math

import numpy as np
import pytest

from minivis import vision
from minivis.autograd import Tensor
from minivis.vision import (
    anchor_boxes,
    box_decode,
    box_encode,
    box_iou,
    level_of,
    match_anchors,
    original_anchor_boxes,
    rt_detr_anchors,
)

PROPOSAL, BOX = np.array([0.0, 0, 10, 20]), np.array([5.0, 5, 15, 45])
CODE = [0.5, 0.75, 0, math.log(2)]


def test_the_worked_code():
    np.testing.assert_allclose(box_encode(PROPOSAL, BOX), CODE, atol=1e-15)
    np.testing.assert_allclose(box_decode(np.array(CODE), PROPOSAL), BOX, atol=1e-14)
    assert round(CODE[3], 6) == 0.693147


def test_a_change_for_each_class():
    deltas = np.random.default_rng(0).normal(0, 0.3, (6, 5, 4))
    proposals = np.concatenate([np.zeros((6, 2)), np.full((6, 2), 8.0)], axis=1)
    boxes = box_decode(deltas, proposals[:, None], (10, 10, 5, 5))
    assert boxes.shape == (6, 5, 4)
    np.testing.assert_allclose(box_encode(proposals[:, None], boxes, (10, 10, 5, 5)), deltas, atol=1e-12)


def test_a_side_grows_at_most_sixty_times():
    deltas = Tensor(np.array([[0.0, 0, 100, 1]]), requires_grad=True)
    boxes = box_decode(deltas, np.array([[0.0, 0, 2, 2]]))
    left, _, right, _ = boxes.numpy()[0]
    assert math.isclose(right - left, 2 * 1000 / 16)
    boxes.backward(np.array([[0.0, 0, 1, 1]]))
    assert deltas.grad[0, 2] == 0 and deltas.grad[0, 3] == pytest.approx(math.e)
    assert box_decode(np.full((1, 4), 1e4, np.float32), np.ones((1, 4), np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_encode(np.ones((2, 3)), np.ones((2, 4))), r"box_encode: proposals must be \(..., 4\)"),
        (lambda: box_encode(PROPOSAL, np.array([1.0, 1, 1, 5])), "box_encode: boxes has boxes without area"),
        (lambda: box_encode(-PROPOSAL, BOX), "box_encode: proposals has boxes of negative width"),
        (lambda: box_encode(np.ones((2, 4)), np.ones((3, 4))), "box_encode: the axes before the last"),
        (lambda: box_encode(PROPOSAL, BOX, (1, 1, 0, 1)), "box_encode: weights must be four positive"),
        (lambda: box_decode(np.ones((2, 5)), PROPOSAL), r"box_decode: deltas must be \(..., 4\)"),
        (lambda: box_decode(np.ones((2, 4)), np.ones((3, 4))), "box_decode: the axes before the last"),
        (lambda: box_decode(np.ones(4), PROPOSAL, (1, 1)), "box_decode: weights must be four positive"),
        (lambda: anchor_boxes(0, 2, 16, [8], [1]), "anchor_boxes: height, width must be an integer"),
        (lambda: anchor_boxes(1, 2, 0, [8], [1]), "anchor_boxes: stride must be an integer"),
        (lambda: anchor_boxes(1, 2, 16, [], [1]), "anchor_boxes: sizes must be a list"),
        (lambda: anchor_boxes(1, 2, 16, [8], [-1]), "anchor_boxes: ratios must be a list"),
        (lambda: original_anchor_boxes(1, 0), "original_anchor_boxes: height, width must be"),
        (lambda: original_anchor_boxes(1, 1, scales=[0]), "original_anchor_boxes: scales must be"),
        (lambda: match_anchors(np.ones(3)), r"match_anchors: iou must be \(A, T\)"),
        (lambda: match_anchors(np.ones((3, 1)), 0.3, 0.7), "match_anchors: thresholds must be"),
        (lambda: level_of(np.ones((3, 5))), r"level_of: boxes must be \(..., 4\)"),
        (lambda: level_of(BOX, 5, 2), "level_of: lowest must be at most highest"),
        (lambda: level_of(BOX, size=0), "level_of: size must be positive, got 0"),
        (lambda: level_of(np.array([0.0, 0, np.nan, 3])), "level_of: boxes have a coordinate that is NaN"),
        (lambda: original_anchor_boxes(1, 1, (16, 32)), "original_anchor_boxes: stride must be an integer"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_refused():
    for call in (
        lambda: box_encode(np.ones((1, 4), int), BOX),
        lambda: box_decode(np.ones((1, 4), int), BOX),
        lambda: level_of(np.ones((1, 4), int)),
    ):
        with pytest.raises(TypeError, match="must be floating-point"):
            call()


def test_the_first_published_anchors():
    anchors = original_anchor_boxes(2, 3)
    assert anchors.shape == (2 * 3 * 9, 4)
    assert anchors[0].tolist() == [-84, -40, 99, 55] and anchors[8].tolist() == [-168, -344, 183, 359]
    np.testing.assert_array_equal(anchors[9:18] - anchors[:9], np.tile([16, 0, 16, 0], (9, 1)))
    centre = (anchors[:9, :2] + anchors[:9, 2:]) / 2
    assert (centre == 7.5).all()


def test_the_anchors_of_torchvision():
    anchors = anchor_boxes(1, 1, 4, [32], [0.5, 1, 2], rounded=True, centred=False)
    assert anchors.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    maps = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    assert sum(len(anchor_boxes(*grid, 4, [32], [0.5, 1, 2])) for grid in maps) == 268_569


def test_an_anchor_overlaps_itself_alone_fully():
    anchors = anchor_boxes(3, 2, (8, 4), [4, 9], [0.5, 2], dtype=np.float64)
    np.testing.assert_allclose(np.diag(box_iou(anchors, anchors)), 1)


def test_matching_by_hand():
    iou = np.array([[0.75, 0.1], [0.5, 0.4], [0.25, 0.3], [0.0, 0.1], [0.5, 0.6], [0.6, 0.6]])
    # 4 and 5 are both best for object 1; 5 overlaps object 0 as much, which comes first
    assert match_anchors(iou).tolist() == [0, -1, -1, -2, 1, 0]
    assert match_anchors(iou, 0.5, 0.5).tolist() == [0, 0, -2, -2, 1, 0]
    assert match_anchors(np.zeros((3, 2))).tolist() == [-2] * 3
    assert match_anchors(np.zeros((3, 0))).tolist() == [-2] * 3
    assert match_anchors(np.zeros((0, 2))).tolist() == []


def test_the_levels_of_a_pyramid():
    boxes = np.array([[5.0, 5, 5 + side, 5 + side] for side in (224, 112, 111.9, 448, 0)])
    assert level_of(boxes).tolist() == [4, 3, 2, 5, 2]
    assert level_of(boxes.astype(np.float32)).tolist() == [4, 3, 2, 5, 2]
    assert level_of(boxes, 3, 4).tolist() == [4, 3, 3, 4, 3]
    assert vision.anchors.BACKGROUND == -2 and vision.anchors.IGNORED == -1


def test_the_anchors_of_rt_detr_by_hand():
    anchors, valid = rt_detr_anchors([(2, 4), (1, 2)], size=0.1)
    fine = [(x, y, 0.1, 0.1) for y in (0.25, 0.75) for x in (0.125, 0.375, 0.625, 0.875)]
    coarse = [(x, 0.5, 0.2, 0.2) for x in (0.25, 0.75)]
    np.testing.assert_allclose(anchors, fine + coarse, rtol=1e-6)
    assert valid.all() and anchors.dtype == np.float32
    assert rt_detr_anchors([(2, 2)], dtype=np.float64)[0].dtype == np.float64


def test_an_anchor_of_rt_detr_near_the_border_or_too_large_is_not_valid():
    anchors, valid = rt_detr_anchors([(1, 60)])  # the first and the last centre are 1 / 120 from the border
    assert valid.tolist() == [False] + [True] * 58 + [False]
    assert rt_detr_anchors([(1, 60)], margin=0.005)[1].all()
    sides = [rt_detr_anchors([(1, 1)] * level)[1][-1] for level in range(1, 7)]
    assert sides == [True] * 5 + [False]  # 0.05 * 2^5 = 1.6


@pytest.mark.parametrize("shapes, size", [([], 0.05), ([(0, 3)], 0.05), ([(1, 2, 3)], 0.05), ([(2, 2)], 0)])
def test_maps_without_anchors_are_refused(shapes, size):
    with pytest.raises(ValueError, match="rt_detr_anchors: every map needs a height and a width"):
        rt_detr_anchors(shapes, size)
