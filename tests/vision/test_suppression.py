"""Non-maximum suppression against loops; ties, empty lists, classes.

Not here: IoU (test_boxes.py), the laws for learners (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.vision import batched_nms, box_cxcywh_to_xyxy, box_iou, nms, soft_nms

RNG = np.random.default_rng(5)


def scene(n):
    boxes = box_cxcywh_to_xyxy(np.concatenate([RNG.random((n, 2)), 0.05 + 0.4 * RNG.random((n, 2))], axis=1))
    return boxes, RNG.integers(0, n // 2 + 1, n) / 10  # some scores are equal


def by_loops(boxes, scores, threshold):
    """Box by box, best first: kept unless one that was kept before overlaps it too much."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(box_iou(boxes[i], boxes[k], pairwise=False) <= threshold for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0, 0.2, 0.5, 0.9, 1])
def test_it_keeps_what_loops_keep(threshold):
    for n in (1, 2, 7, 30):
        boxes, scores = scene(n)
        kept = nms(boxes, scores, threshold)
        assert kept.dtype == np.int64
        assert kept.tolist() == by_loops(boxes, scores, threshold)


def test_the_kept_stay_kept_and_overlap_no_more_than_allowed():
    boxes, scores = scene(60)
    for threshold in (0.1, 0.4):
        kept = nms(boxes, scores, threshold)
        assert kept[0] == scores.argmax() and (np.diff(scores[kept]) <= 0).all()
        overlaps = box_iou(boxes[kept], boxes[kept])
        assert overlaps[~np.eye(len(kept), dtype=bool)].max() <= threshold
        np.testing.assert_array_equal(nms(boxes[kept], scores[kept], threshold), np.arange(len(kept)))


def test_a_dropped_box_drops_no_others():
    boxes = np.array([[0.0, 0, 4, 1], [2, 0, 6, 1], [4, 0, 8, 1]])  # each overlaps the next by a third
    assert nms(boxes, np.array([3.0, 2, 1]), 0.2).tolist() == [0, 2]
    assert nms(boxes, np.array([1.0, 3, 2]), 0.2).tolist() == [1]


def test_exactly_the_threshold_is_not_too_much():
    boxes = np.array([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # IoU one half
    assert nms(boxes, np.array([1.0, 0.5]), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.array([1.0, 0.5]), 0.49).tolist() == [0]


def test_of_equal_scores_the_first_wins():
    boxes = np.array([[0.0, 0, 2, 1]] * 4)
    assert nms(boxes, np.ones(4), 0.5).tolist() == [0]
    assert nms(boxes, np.ones(4), 1).tolist() == [0, 1, 2, 3]


def test_empty_boxes_and_empty_lists():
    points = np.zeros((3, 4), np.float32)
    assert nms(points, np.array([1.0, 3, 2]), 0).tolist() == [1, 2, 0]
    for kept in (
        nms(points[:0], np.zeros(0), 0.5),
        batched_nms(points[:0], np.zeros(0), np.zeros(0, int), 0.5),
    ):
        assert kept.shape == (0,) and kept.dtype == np.int64


def test_infinite_scores_have_an_order_too():
    boxes = scene(3)[0]
    scores = np.array([-np.inf, 0, np.inf])
    assert nms(boxes, scores, 1).tolist() == [2, 1, 0]


def test_by_class_is_each_class_by_itself():
    boxes, scores = scene(40)
    labels = RNG.integers(0, 4, 40) * 1000 - 1
    kept = batched_nms(boxes, scores, labels, 0.3)
    expected = [
        i
        for c in set(labels)
        for i in np.flatnonzero(labels == c)[nms(*own(boxes, scores, labels == c), 0.3)]
    ]
    assert kept.tolist() == sorted(expected, key=lambda i: (-scores[i], i))
    np.testing.assert_array_equal(batched_nms(boxes, scores, 0 * labels, 0.3), nms(boxes, scores, 0.3))
    np.testing.assert_array_equal(
        batched_nms(boxes, scores, np.arange(40), 0.3), np.argsort(-scores, kind="stable")
    )


def own(boxes, scores, chosen):
    return boxes[chosen], scores[chosen]


def test_tensors_and_devices(device):
    boxes, scores = scene(12)
    expected = nms(boxes, scores, 0.3)
    np.testing.assert_array_equal(nms(mv.Tensor(boxes, requires_grad=True), mv.Tensor(scores), 0.3), expected)
    there = [mv.to_device(x, device) for x in (boxes, scores, np.zeros(12, int))]
    for kept in (nms(*there[:2], 0.3), batched_nms(*there, 0.3)):
        assert type(kept) is type(there[0])  # ready to index the boxes with
        np.testing.assert_array_equal(mv.to_numpy(kept), expected)


BOXES = np.array([[0.0, 0, 1, 1], [0, 0, 1, 2]])
SCORES = np.array([0.5, 0.6])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nms(BOXES[0], SCORES, 0.5), ValueError, r"nms: boxes must be \(N, 4\) and scores \(N,\).*\(4,\)"),
        (lambda: nms(BOXES, SCORES[:1], 0.5), ValueError, r"nms: .*scores: \(1,\)"),
        (lambda: nms(BOXES, np.array([np.nan, 1]), 0.5), ValueError, r"nms: scores\[0\] is NaN"),
        (lambda: nms(BOXES, SCORES, 50), ValueError, "nms: threshold must be from 0 to 1, got 50"),
        (lambda: nms(BOXES, SCORES, np.nan), ValueError, "threshold must be"),
        (lambda: nms(-BOXES, SCORES, 0.5), ValueError, "nms: boxes has boxes of negative width or height"),
        (lambda: nms(BOXES.astype(int), SCORES, 0.5), TypeError, "nms: boxes must be floating-point"),
        (lambda: nms(-BOXES[:1], SCORES[:1], 0.5), ValueError, "nms: boxes has boxes of negative width"),
        (lambda: batched_nms(BOXES, SCORES, np.zeros(3), 0.5), ValueError, r"batched_nms: labels must be \(N,\)"),
        (lambda: batched_nms(BOXES, SCORES[:1], np.zeros(2), 0.5), ValueError, "batched_nms: boxes must be"),
        (lambda: batched_nms(-BOXES, SCORES, np.arange(2), 0.5), ValueError, "batched_nms: boxes has boxes of neg"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_worked_boxes():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [5, 0, 15, 10]])
    scores = np.array([0.9, 0.8, 0.7])
    for threshold, kept in ((0.5, [0, 2]), (0.3, [0]), (1 / 3, [0, 2])):
        assert nms(boxes, scores, threshold).tolist() == kept
    indices, lowered = soft_nms(boxes, scores)
    assert indices.tolist() == [0, 2, 1]
    once, twice = np.exp(-2 * np.array([90 / 110, 60 / 140]) ** 2)
    np.testing.assert_allclose(lowered, [0.9, 0.7 * np.exp(-2 / 9), 0.8 * once * twice])


def test_soft_nms_drops_what_falls_below_the_threshold():
    boxes = np.array([[0.0, 0, 4, 4]] * 3)
    scores = np.array([0.9, 0.8, 0.1], np.float32)
    indices, lowered = soft_nms(boxes, scores, sigma=0.5, threshold=0.05)
    assert indices.tolist() == [0, 1] and lowered.dtype == np.float32
    np.testing.assert_allclose(lowered, [0.9, 0.8 * np.exp(-2)], rtol=1e-6)
    assert soft_nms(boxes, scores, threshold=0.95)[0].tolist() == []
    assert [part.shape for part in soft_nms(np.zeros((0, 4)), np.zeros(0))] == [(0,), (0,)]


def test_mistakes_of_soft_nms_are_named():
    for options, message in (
        ({"sigma": 0}, "sigma must be positive"),
        ({"threshold": 2}, "threshold must be"),
    ):
        with pytest.raises(ValueError, match=f"soft_nms: {message}"):
            soft_nms(np.zeros((0, 4)), np.zeros(0), **options)
    # an integer could not hold exp(-2) of 1
    with pytest.raises(TypeError, match="soft_nms: scores must be floating-point, got int64"):
        soft_nms(np.array([[0.0, 0, 1, 1]] * 2), np.array([1, 1]))
