"""From pixels to masks to Mask2Former: the results are complete, and a change changes only what it says.

Not here: the recipe of the model in the package (test_shapes.py).
"""

import numpy as np
import pytest

from minivis.data import shapes
from minivis.recipes import _shapes, _studies, maskformer_changes, maskformer_shapes

IMAGES = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def body():
    return maskformer_changes.Seen(
        _shapes.small_backbone(np.random.default_rng(0), **maskformer_shapes.TRUNK)
    )


def arrays(output):
    return [output.logits.numpy(), output.masks.numpy()]


def test_the_study_is_complete():
    found = maskformer_changes.results()
    for subject, choices in maskformer_changes.CHOICES.items():
        assert list(found[subject]) == list(choices)
        for metrics in found[subject].values():
            assert all(len(values) == len(maskformer_changes.SEEDS) for values in metrics.values())
            assert all(0 <= value <= 1 for name in ("mIoU", "PQ", "PQ_things") for value in metrics[name])


def test_a_choice_is_measured_once_and_kept(tmp_path, monkeypatch, body):
    monkeypatch.setattr(maskformer_changes, "STEPS", 1)
    monkeypatch.setattr(maskformer_changes, "BATCH", 2)
    monkeypatch.setattr(maskformer_changes, "VALIDATION", 2)
    scenes = [shapes.scene(seed) for seed in range(2)]
    maps = body.see(np.stack([scene.image for scene in scenes]))
    known = [scene.target(grounds=True) for scene in scenes], [scene.semantic for scene in scenes]
    monkeypatch.setattr(maskformer_changes, "_scenes", lambda _: (maps, *known))
    monkeypatch.setattr(maskformer_changes, "frozen_backbone", lambda _: body)
    choices = maskformer_changes.CHOICES
    common = {"mIoU", "PQ", "PQ_things", "PQ_stuff", "seconds a step", "seconds"}
    pixels = _studies.measure(choices, tmp_path, "classes", "of pixels", 0)
    assert set(pixels) == common | {"PQ, a segment a class"}
    whole = _studies.measure(choices, tmp_path, "classes", "of masks", 0)
    assert set(whole) == common | {"megabytes of the loss"}
    points = _studies.measure(choices, tmp_path, "changes", "loss at points", 0)
    # 256 numbers of a mask, of 4096; what the classes keep is small
    assert points["megabytes of the loss"] < whole["megabytes of the loss"] / 3
    monkeypatch.setattr(maskformer_changes, "_fit", lambda *_: pytest.fail("trained again"))
    assert _studies.measure(choices, tmp_path, "changes", "MaskFormer", 0) == whole


@pytest.mark.parametrize("norm_first", [True, False])
def test_without_a_change_it_is_maskformer_itself(body, norm_first):
    maskformer = maskformer_shapes.small_maskformer(body, np.random.default_rng(1), norm_first=norm_first)
    model = maskformer_changes.between(body, np.random.default_rng(2), norm_first=norm_first)
    model.pixel_decoder.decoder = maskformer.pixel_decoder
    for mine, its in zip(model.layers, maskformer.transformer.decoder, strict=True):
        mine.load_state_dict(its.state_dict())
    model.norm.load_state_dict(maskformer.transformer.decoder_norm.state_dict())
    model.query_positions, model.class_head = maskformer.queries, maskformer.class_head
    model.mask_head = maskformer.mask_head
    ours, theirs = model(IMAGES), maskformer(IMAGES)
    for one, other in zip([ours, *ours.auxiliary], [theirs, *theirs.auxiliary], strict=True):
        for a, b in zip(arrays(one), arrays(other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("change", maskformer_changes.ALL)
def test_each_change_changes_the_answer(body, change):
    plain, changed = (
        maskformer_changes.between(body, np.random.default_rng(1), **options)
        for options in ({}, {change: True})
    )
    before, after = plain(IMAGES), changed(IMAGES)
    # what is predicted before the first layer is one answer more
    assert len(after.auxiliary) == len(before.auxiliary) + (change == "learned")
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(arrays(before), arrays(after), strict=True))
    assert after.masks.shape == before.masks.shape == (2, 16, 16, 16)


def test_regions_of_classes_are_segments():
    named = np.array([[0, 0, 1, 0], [0, 0, 1, 1], [2, 1, 1, 2]])
    ids, segments = maskformer_shapes.regions(named, [True, True, False], least=2)
    assert ids.tolist() == [[1, 1, 2, 0], [1, 1, 2, 2], [3, 2, 2, 3]]
    assert [(s["id"], s["category_id"], s["isthing"], s["area"]) for s in segments] == [
        (1, 0, True, 4),
        (2, 1, True, 5),
        (3, 2, False, 2),
    ]
