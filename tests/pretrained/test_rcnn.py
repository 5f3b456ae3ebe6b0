"""Torchvision's Faster and Mask R-CNN: sizes and norms from the shapes, old names, labels, photos, what is refused.

Not here: values (tests/parity/test_rcnn_parity.py), full lists of names (test_published_names.py).
"""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.nn import BatchNorm2d, FrozenBatchNorm2d
from minivis.pretrained import rcnn
from tests.parity.make_rcnn_fixtures import FOLDER

FASTER, MASK = FOLDER / "faster-rcnn", FOLDER / "mask-rcnn"
# names of version 0.12 and before, as in the files on torchvision's server -> names of today
OLD = {
    "backbone.fpn.inner_blocks.{}.": "backbone.fpn.inner_blocks.{}.0.",
    "backbone.fpn.layer_blocks.{}.": "backbone.fpn.layer_blocks.{}.0.",
    "rpn.head.conv.": "rpn.head.conv.0.0.",
}


def shapes(folder):
    return {name: x.shape for name, x in load_file(folder / "model.safetensors").items()}


def test_sizes_follow_from_the_shapes():
    faster, mask = (mv.from_pretrained(folder) for folder in (FASTER, MASK))
    assert type(faster).__name__ == "FasterRCNN" and type(mask).__name__ == "MaskRCNN"
    for model, widths, norm in (
        (faster, (4, 8, 8, 12), BatchNorm2d),
        (mask, (8, 16, 24, 32), FrozenBatchNorm2d),
    ):
        assert model.backbone.channels == widths and model.num_classes == 5 and not model.training
        assert isinstance(model.backbone.stem.norm, norm)
        assert model.backbone.stem.norm.eps == (1e-5 if norm is BatchNorm2d else 0)
        assert len(model.pyramid.output) == 4 and model.pyramid.extra and not model.aligned
    assert len(mask.mask_head.convs) == 2 and mask.paste == "torchvision"
    assert faster.things == [True] * 5 and faster.labels[4] == "LABEL_4"


def test_the_names_of_old_files_are_read_too(tmp_path):
    arrays = load_file(MASK / "model.safetensors")
    new = dict(arrays)
    for i in range(4):
        for before, after in OLD.items():
            arrays = {n.replace(after.format(i), before.format(i)): x for n, x in arrays.items()}
    for i in range(2):
        arrays = {n.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}."): x for n, x in arrays.items()}
    assert len(arrays.keys() - new.keys()) == 2 * (4 + 4 + 1 + 2)
    save_file(arrays, tmp_path / "model.safetensors")
    theirs, ours = mv.from_pretrained(tmp_path).state_dict(), mv.from_pretrained(MASK).state_dict()
    assert all(np.array_equal(theirs[name], x) for name, x in ours.items())


def test_91_classes_have_the_names_of_coco():
    found = rcnn.infer({**shapes(FASTER), "roi_heads.box_predictor.cls_score.weight": (91, 16)})
    names = found["id2label"]
    assert len(names) == 91 and (names["0"], names["1"], names["90"]) == (
        "__background__",
        "person",
        "toothbrush",
    )
    assert [i for i in range(91) if names[str(i)] == "N/A"] == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]


def test_a_photo_keeps_its_size_because_the_model_resizes():
    model = mv.from_pretrained(FASTER, dtype="float64")
    photo = np.random.default_rng(0).integers(0, 256, (50, 37, 3), np.uint8)
    batch = model.preprocess(photo)
    np.testing.assert_allclose(batch[0], photo.transpose(2, 0, 1) / 255)
    model.min_size, model.max_size, model.detections = 64, 90, 4
    found = model(batch)[0]
    assert len(found["boxes"]) == 4 and (found["boxes"] <= np.array([37, 50, 37, 50])).all()
    model.score_threshold = float(found["scores"][1])
    assert len(model(batch)[0]["boxes"]) == 1


def test_other_detectors_of_torchvision_are_refused():
    known = shapes(FASTER)
    second = {n.replace("box_head.fc6", "box_head.0.0"): s for n, s in known.items()}
    keypoints = {**known, "roi_heads.keypoint_predictor.kps_score_lowres.weight": (8, 17, 4, 4)}
    for others in (second, keypoints):
        with pytest.raises(ValueError, match="first versions of Faster R-CNN and Mask R-CNN, on a ResNet"):
            rcnn.infer(others)
    with pytest.raises(ValueError, match="have 3 anchors a cell, this one has 15"):
        rcnn.infer({**known, "rpn.head.cls_logits.weight": (15, 8, 1, 1)})
    assert rcnn.infer({"conv1.weight": (64, 3, 7, 7)}) is None


def test_a_missing_layer_is_named(tmp_path):
    arrays = load_file(FASTER / "model.safetensors")
    del arrays["roi_heads.box_head.fc7.bias"]
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="it lacks roi_heads.box_head.fc7.bias"):
        mv.from_pretrained(tmp_path)
