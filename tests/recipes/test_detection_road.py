"""The road of detectors: the results are complete and say what they are quoted for; sampling; a small version is measured.

Not here: the networks (tests/models/test_rcnn.py), the figure (tests/viz/test_detection_road.py).
"""

import numpy as np
import pytest

from minivis.data import shapes
from minivis.recipes import _shapes, _studies, detection_road
from minivis.vision import box_iou

NUMBERS = {
    "AP50",
    "AP",
    "proposals",
    "network",
    "rest",
    "seconds an image",
    "regions",
    "parameters",
    "training seconds",
}


def test_the_results_are_complete():
    found = detection_road.results()
    assert list(found) == list(detection_road.CHOICES)
    for subject, choices in found.items():
        assert set(choices) <= set(detection_road.CHOICES[subject])
        for metrics in choices.values():
            assert all(len(values) == len(detection_road.SEEDS) for values in metrics.values())
            if subject == "methods":
                assert set(metrics) >= NUMBERS
                parts = sum(np.array(metrics[name]) for name in ("proposals", "network", "rest"))
                np.testing.assert_allclose(parts, metrics["seconds an image"], atol=2e-3)


def test_what_the_results_say():
    methods = detection_road.results()["methods"]
    ap = {name: np.mean(row["AP50"]) for name, row in methods.items()}
    network = {name: np.mean(row["network"]) for name, row in methods.items()}
    assert ap["regression of one box"] < 0.2 < ap["R-CNN"]  # one place for several objects
    assert network["sliding window"] > 3 * network["R-CNN"] > 3 * network["Fast R-CNN, RoIAlign"]
    fast = methods["Fast R-CNN, RoIAlign"]
    assert np.mean(fast["proposals"]) > 0.5 * np.mean(fast["seconds an image"])  # they take most of the time
    one, several = (
        np.mean(detection_road.results()["one object"][name]["AP50"]) for name in ("one object", "several")
    )
    assert one > 2 * several
    (recall,) = detection_road.results()["recall"]["Selective Search"]["recall"]
    assert recall == sorted(recall) and recall[-1] > 0.95


def test_sampled_regions_belong_to_their_objects_also_when_mirrored():
    scenes = detection_road.Proposed(2, "train", 3)
    collate = detection_road.Sampled(16, 0.25, (0.1, 0.5), np.random.default_rng(0))
    for _ in range(4):
        images, regions, targets, objects = collate([scenes[0], scenes[1]])
        assert images.shape == (2, 3, 64, 64)
        for r, u, o in zip(regions, targets, objects, strict=True):
            overlaps = box_iou(r, o, pairwise=False)
            assert (overlaps[u > 0] >= 0.5).all() and (overlaps[u == 0] < 0.5).all()
            assert (u > 0).sum() <= 4 and len(u) <= 16
    image, boxes, labels, regions = scenes[0]
    np.testing.assert_array_equal(regions[: len(boxes)], boxes)
    assert len(regions) <= len(boxes) + detection_road.PROPOSALS and labels.min() >= 1


def test_signs_leave_out_what_overlaps_an_object_of_the_class():
    boxes = np.array([[0.0, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    regions = np.concatenate([boxes, [[0, 0, 10, 5], [50, 50, 60, 60]]]).astype(np.float32)
    signs = detection_road._signs(regions, boxes, np.array([2, 3]))
    assert signs[:, [0, 1, 2]].tolist() == [[-1, 1, -1], [-1, -1, 1], [-1, 0, -1], [-1, -1, -1]]


def test_a_small_version_is_trained_once_and_measured(tmp_path, monkeypatch):
    for name, value in (("SCENES", 8), ("VECTORS", 8), ("COUNT", 2), ("PROPOSALS", 30)):
        monkeypatch.setattr(detection_road, name, value)
    monkeypatch.setattr(detection_road, "STEPS", dict.fromkeys(detection_road.STEPS, 2))
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    detection_road._scenes.cache_clear()
    try:
        detection_road.prepare(tmp_path, 0)
        row = _studies.measure(detection_road.CHOICES, tmp_path, "methods", "R-CNN", 0)
        assert set(row) >= NUMBERS and row["regions"] <= 30 and 0 <= row["AP50"] <= 1
        assert row["seconds an image"] == pytest.approx(
            row["proposals"] + row["network"] + row["rest"], rel=1e-2
        )
        monkeypatch.setattr(detection_road, "fit", lambda *_, **__: pytest.fail("trained again"))
        assert _studies.measure(detection_road.CHOICES, tmp_path, "methods", "R-CNN", 0) == row
        monkeypatch.setattr(detection_road, "WINDOWS", (20,))
        windows = _studies.measure(detection_road.CHOICES, tmp_path, "methods", "sliding window", 0)
        assert windows["regions"] == 15**2
    finally:
        detection_road._scenes.cache_clear()


def test_a_shipped_detector_is_measured_on_the_same_scenes(monkeypatch):
    monkeypatch.setattr(detection_road, "COUNT", 3)
    row = detection_road.shipped(None, 0, "detr-shapes")
    assert row["AP50"] > 0.5 and row["proposals"] == 0 and row["parameters"] == 1_308_267
    assert len(detection_road.proposals(shapes.scene(5))) <= 200
