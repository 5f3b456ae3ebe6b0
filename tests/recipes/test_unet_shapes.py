"""The comparisons of the recipe for U-Net: gaps between objects, single runs that are kept, committed results.

Not here: the training and the checkpoint (test_shapes.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.data import shapes
from minivis.recipes import _shapes, unet_shapes


def test_objects_that_touch_have_a_gap_between_them():
    scene = shapes.scene(5)
    image, there, weights, gaps = unet_shapes.with_gaps(scene)
    things = np.where(scene.panoptic <= len(scene.labels), scene.panoptic, 0)
    assert image.shape == (3, 64, 64) and weights.dtype == np.float32
    np.testing.assert_array_equal(there == 1, (things > 0) & ~gaps)
    for y, x in np.argwhere(gaps):
        around = things[max(0, y - 1) : y + 2, x].tolist() + things[y, max(0, x - 1) : x + 2].tolist()
        assert things[y, x] > 0 and set(around) - {0, things[y, x]}
    assert gaps.sum() == 47 and weights[gaps].min() > 2 > 1 > weights[~gaps & (things == 0)].min()


class Everything(mv.nn.Module):
    """Takes each pixel for an object, or for the ground."""

    def __init__(self, kind):
        self.kind = kind

    def forward(self, images):
        logits = np.zeros((len(images), 2, 64, 64), np.float32)
        logits[:, self.kind] = 1
        return mv.Tensor(logits)


def test_a_gap_that_is_taken_for_ground_is_open():
    assert unet_shapes.measure_gaps(Everything(0), count=8)["gaps"] == 1
    found = unet_shapes.measure_gaps(Everything(1), count=8)
    assert found["gaps"] == 0 and 0.05 < found["elsewhere"] < 0.5


def test_each_network_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setattr(unet_shapes, "COMPARED", 1)
    monkeypatch.setattr(unet_shapes, "BATCH", 2)
    monkeypatch.setattr(_shapes, "COUNT", 2)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    first = unet_shapes.compare(tmp_path, seeds=(0,))
    monkeypatch.setattr(unet_shapes, "_fit", lambda *_: pytest.fail("trained again"))
    assert unet_shapes.compare(tmp_path, seeds=(0,)) == first
    assert {what: list(forms) for what, forms in first.items()} == {
        "skips": ["with skips", "without"],
        "borders": ["every pixel alike", "border weights"],
    }


def test_the_committed_results_are_complete():
    found = unet_shapes.results()
    assert {what: list(forms) for what, forms in found.items()} == {
        "skips": ["with skips", "without"],
        "borders": ["every pixel alike", "border weights"],
    }
    for forms in found.values():
        for row in forms.values():
            assert all(len(values) == len(unet_shapes.SEEDS) for values in row.values())
