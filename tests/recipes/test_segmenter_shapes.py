"""The recipe for Segmenter: where its heads begin to look, what is measured of it, and the study of its choices.

Not here: the training and the checkpoint (test_shapes.py), the network (tests/models/test_segmenter.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.data import shapes
from minivis.recipes import _segments, _shapes, _studies, segmenter_choices, segmenter_shapes


def test_the_heads_begin_at_a_neighbour():
    model = segmenter_shapes.small_segmenter(np.random.default_rng(0))
    images = np.stack([shapes.scene(seed).image for seed in range(2)])
    weights = model.encoder.attention_maps(images)[0]  # (B, h, N, N)
    inner = [(row, column) for row in range(2, 14) for column in range(2, 14)]
    for head, (down, right) in enumerate(segmenter_shapes.OFFSETS[0]):
        there = [weights[:, head, 16 * r + c, 16 * (r + down) + c + right].mean() for r, c in inner]
        assert np.mean(there) > 0.4, (head, np.mean(there))


def test_there_is_no_convolution_but_that_of_the_patches():
    model = segmenter_shapes.small_segmenter()
    kinds = [module for module in model.modules() if isinstance(module, mv.nn.Conv2d)]
    assert [tuple(layer.weight.shape[2:]) for layer in kinds] == [(4, 4)] and kinds[0].stride == (4, 4)


class Painted(mv.nn.Module):
    """Names every pixel as it is told, batch by batch."""

    def __init__(self, answers):
        self.answers = answers

    def forward(self, images):
        return mv.Tensor(np.eye(9, dtype=np.float32)[self.answers.pop(0)].transpose(0, 3, 1, 2))


def test_errors_are_counted_by_their_distance_from_a_border():
    scenes = [_shapes.fresh_scenes(3).scene(i) for i in range(3)]
    truth = np.stack([scene.semantic for scene in scenes])
    perfect = _segments.border_errors(Painted([truth]), 3)
    assert perfect["error"] == [0] * len(_segments.DISTANCES) and sum(perfect["pixels"]) == pytest.approx(1)
    beside = np.zeros(truth.shape, bool)  # next to a pixel of another segment, above, below, left or right
    for scene, near in zip(scenes, beside, strict=True):
        for axis in (0, 1):
            change = np.diff(scene.panoptic, axis=axis) != 0
            along, lines = np.moveaxis(near, axis, 0), np.moveaxis(change, axis, 0)
            along[:-1] |= lines
            along[1:] |= lines
    found = _segments.border_errors(Painted([np.where(beside, (truth + 1) % 9, truth)]), 3)
    assert found["error"][1:] == [0] * (len(_segments.DISTANCES) - 1)
    assert found["error"][0] * found["pixels"][0] == pytest.approx(beside.mean())


def test_pixels_of_a_class_belong_to_the_nearest_thing_of_that_class():
    scene = shapes.scene(3)
    sizes = scene.masks.sum(axis=(1, 2))
    there = _segments.iou_by_size(scene.semantic, scene)
    assert (there[:, 0] == there[:, 1]).all()  # all of it is found
    assert (
        there[0, 1] == sizes[sizes <= _segments.SMALL].sum()
        and there[1, 1] == sizes[sizes >= _segments.LARGE].sum()
    )
    nothing = _segments.iou_by_size(np.full_like(scene.semantic, 6), scene)
    np.testing.assert_array_equal(nothing, [[0, there[0, 1]], [0, there[1, 1]]])
    kinds = _segments.iou_by_size(segmenter_choices._kind(scene.semantic), scene, segmenter_choices._kind)
    np.testing.assert_array_equal(kinds, there)


def test_what_patches_of_small_and_large_things_attend_to():
    model = segmenter_shapes.small_segmenter(np.random.default_rng(1)).eval()
    found = _segments.attended(model, 4)
    assert found["distance"].shape == found["area"].shape == (3, 4, 4)
    assert ((found["area"] > 0) & (found["area"] <= 1)).all() and (found["distance"] < 64 * 2**0.5).all()
    weights = model.encoder.attention_maps(
        np.stack([_shapes.fresh_scenes(4).scene(i).image for i in range(4)])
    )
    expected = [mv.analysis.attention_distance(w, 4, (16, 16)).mean(axis=0) for w in weights]
    np.testing.assert_allclose(found["distance"][0], expected, rtol=1e-4)


def test_the_results_of_the_study_are_complete():
    found = segmenter_choices.results()
    for subject, choices in segmenter_choices.CHOICES.items():
        assert list(found[subject]) == list(choices)
        for row in found[subject].values():
            assert set(row) == {"mIoU", "small", "large", "seconds"}
            assert all(len(values) == len(segmenter_choices.SEEDS) for values in row.values())


def test_a_choice_is_trained_once(tmp_path, monkeypatch):
    for name, value in {"STEPS": 2, "BATCH": 2, "FRESH": 4, "HELD_OUT": 3}.items():
        monkeypatch.setattr(segmenter_choices, name, value)
    choice = segmenter_choices.CHOICES, tmp_path, "patch", "16", 0
    first = _studies.measure(*choice)
    assert 0 <= first["mIoU"] <= 1 and set(first) == {"mIoU", "small", "large", "seconds"}
    monkeypatch.setattr(segmenter_choices, "fit", lambda *_: pytest.fail("trained again"))
    assert _studies.measure(*choice) == first


def test_smaller_cells_could_draw_more(monkeypatch):
    monkeypatch.setattr(segmenter_choices, "HELD_OUT", 6)
    fine, middle, coarse = (segmenter_choices.best_of_cells(size) for size in (4, 8, 16))
    for figure in ("mIoU", "small", "large"):
        assert fine[figure] > middle[figure] > coarse[figure]


def test_baselines(monkeypatch):
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    found = segmenter_shapes.baselines(4, steps=2)
    assert list(found) == ["most frequent class", "one linear layer", "untrained"]
    assert 0 < found["most frequent class"] < 0.1
