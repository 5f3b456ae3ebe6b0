"""The study of YOLO's heads: its results are complete and say what they are quoted for, and it can be measured again.

Not here: the networks (tests/models/test_yolo.py), the packaged model (test_shapes.py).
"""

import numpy as np
import pytest

from minivis.recipes import _shapes, _studies, yolo_heads, yolo_shapes


def test_the_results_are_complete():
    found = yolo_heads.results()["heads"]
    assert list(found) == list(yolo_heads.CHOICES["heads"])
    for metrics in found.values():
        assert {"AP", "AP50", "AP75", "overlap", "class", "parameters"} <= set(metrics)
        assert all(len(values) == len(yolo_heads.SEEDS) for values in metrics.values())


def test_linear_layers_lose_the_place():
    found = yolo_heads.results()["heads"]
    for metric in ("AP50", "overlap", "class"):
        connected, convolutional = (found[kind][metric] for kind in ("connected", "convolutional"))
        assert max(connected) < min(convolutional) - 0.1, metric


def test_anchors_grow_and_are_in_cells():
    found = np.reshape(yolo_heads.anchors(3, 30), (3, 2))
    assert (np.diff(found.prod(axis=1)) > 0).all() and 0.5 < found.min() and found.max() < yolo_heads.GRID


@pytest.mark.parametrize("choice", ["connected", "version 2"])
def test_measuring_again_is_reading(tmp_path, monkeypatch, choice):
    monkeypatch.setattr(yolo_heads, "STEPS", 1)
    monkeypatch.setattr(yolo_heads, "HELD_OUT", 4)
    monkeypatch.setattr(yolo_heads, "SMALL", {"neck": (8, 4), "hidden": 8})
    monkeypatch.setattr(yolo_shapes, "TRUNK_STEPS", 1)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    first = _studies.measure(yolo_heads.CHOICES, tmp_path, "heads", choice, 0)
    assert all(0 <= first[name] <= 1 for name in ("AP", "AP50", "AP75", "overlap", "class"))
    monkeypatch.setattr(yolo_heads, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert _studies.measure(yolo_heads.CHOICES, tmp_path, "heads", choice, 0) == first
