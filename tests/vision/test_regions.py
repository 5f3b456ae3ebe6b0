"""Regions of several pictures, what they should become, and the boxes of an answer.

Not here: cutting regions out of maps (test_rois.py), proposals (test_proposals.py).
"""

import numpy as np
import pytest

from minivis import vision


def test_targets_by_overlap():
    boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    regions = np.array([[0.0, 0, 10, 9], [0, 0, 10, 4], [0, 0, 10, 0.5], [21, 0, 30, 10], [50, 50, 60, 60]])
    targets, objects = vision.region_targets(regions, boxes, np.array([4, 2]))
    assert targets.tolist() == [4, 0, -1, 2, -1] and targets.dtype == np.int64
    np.testing.assert_array_equal(objects[[0, 1, 3]], boxes[[0, 0, 1]])
    every, _ = vision.region_targets(regions, boxes, np.array([4, 2]), background=(0.0, 0.5))
    assert every.tolist() == [4, 0, 0, 2, 0]
    exactly, _ = vision.region_targets(np.array([[0.0, 0, 10, 5]]), boxes, np.array([4, 2]))
    assert exactly.tolist() == [4]  # IoU 0.5


def test_a_picture_without_objects():
    regions = np.array([[0.0, 0, 10, 9]])
    empty = np.empty((0, 4)), np.empty(0, int)
    assert vision.region_targets(regions, *empty)[0].tolist() == [-1]
    targets, objects = vision.region_targets(regions, *empty, background=(0.0, 0.5))
    assert targets.tolist() == [0]
    np.testing.assert_array_equal(objects, regions)


def test_answers_are_suppressed_by_class_and_the_best_first():
    boxes = np.array([[[0.0, 0, 10, 10]], [[1, 0, 11, 10]], [[-5, 40, 5, 90]]])
    scores = np.array([[0.9, 0.2], [0.8, 0.3], [0.1, 0.95]])
    found = vision.region_detections(boxes, scores, 64, 64, score_threshold=0.15)
    assert found["labels"].tolist() == [2, 1, 2] and found["scores"].tolist() == [0.95, 0.9, 0.3]
    assert found["boxes"][0].tolist() == [0, 40, 5, 64]  # clipped
    one = vision.region_detections(boxes, scores, 64, 64, limit=1)
    assert len(one["boxes"]) == 1
    none = vision.region_detections(boxes[:0], scores[:0], 64, 64)
    assert none["boxes"].shape == (0, 4)


def test_a_box_for_each_class():
    boxes = np.arange(4.0) * np.array([1, 1, 2, 2])[None, None] + np.array([[[0.0], [10]]])
    found = vision.region_detections(boxes, np.array([[0.5, 0.9]]), 64, 64)
    np.testing.assert_array_equal(found["boxes"], boxes[0, ::-1])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"region_targets: regions must be .*\(regions: \(4,\)"):
        vision.region_targets(np.zeros(4), np.zeros((1, 4)), np.zeros(1, int))
    assert vision.with_pictures([]).shape == (0, 5)
    with pytest.raises(ValueError, match=r"with_pictures: regions must be .*\(regions: \[\(1, 4\), \(4,\)\]"):
        vision.with_pictures([np.zeros((1, 4)), np.zeros(4)])
    for boxes, limit in ((np.zeros((2, 4)), 100), (np.zeros((2, 2, 4)), 100), (np.zeros((2, 3, 4)), -1)):
        with pytest.raises(ValueError, match="region_detections: boxes must be"):
            vision.region_detections(boxes, np.zeros((2, 3)), 8, 8, limit=limit)
    with pytest.raises(TypeError, match="region_targets: labels must be integers, got float64"):
        vision.region_targets(np.zeros((1, 4)), np.zeros((1, 4)), np.ones(1))


def test_an_object_is_never_background_too():
    box = np.array([[0.0, 0, 10, 10]])
    half = np.array([[0.0, 0, 10, 4]])  # IoU 0.4
    assert vision.region_targets(half, box, np.array([2]), positive=0.3)[0].tolist() == [2]


def test_what_lies_outside_the_picture_is_no_answer_and_the_threshold_is_exclusive():
    boxes = np.array([[[20.0, 20, 30, 30]], [[0, 0, 4, 4]], [[4, 4, 8, 8]]])
    found = vision.region_detections(boxes, np.array([[0.9], [0.8], [0.5]]), 8, 8, score_threshold=0.5)
    assert found["scores"].tolist() == [0.8]
