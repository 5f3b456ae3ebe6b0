"""Mask R-CNN: the published sizes, the head step by step, the fifth loss, pictures of odd sizes, a round trip to disk.

Not here: boxes and proposals (test_faster_rcnn.py), equality with torchvision (tests/parity), the trained checkpoint.
"""

import numpy as np
import pytest

import minivis as mv
from minivis import losses, models, nn, ops, vision
from minivis.models import MaskRCNN, ResNet

RNG = np.random.default_rng(3)
SIZES = {
    "width": 8,
    "anchor_sizes": [(10, 20)],
    "anchor_ratios": (1,),
    "hidden": 12,
    "light_head": True,
    "mask_width": 6,
    "mask_depth": 2,
    "mask_cells": 4,
}


def small(**options):
    backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0, norm="group", rng=1)
    options = {
        "min_size": None,
        "score_threshold": 0.0,
        "detections": 4,
        "region_samples": 16,
        **SIZES,
        **options,
    }
    return MaskRCNN(backbone, 4, rng=2, **options)


def pictures(*sizes):
    return [RNG.random((3, *size)).astype(np.float32) for size in sizes or [(40, 64), (32, 48)]]


def target(height, width, count=2):
    boxes = np.array([[3.0, 4.0, 15.0, 18.0], [20.0, 8.0, 31.0, 29.0]])[:count].astype(np.float32)
    masks = vision.boxes_to_masks(boxes, height, width)
    masks[:, ::2, ::2] = False
    return {"boxes": boxes, "labels": np.array([1, 3])[:count], "masks": masks}


@pytest.mark.parametrize("options, expected", [({}, 44_401_393), ({"norm": "batch"}, 44_454_513)])
def test_published_sizes_have_their_exact_number_of_parameters(options, expected):
    with nn.init.skip_init():
        model = models.maskrcnn_resnet50_fpn(**options)
    assert sum(p.size for p in model.parameters()) == expected
    head = sum(p.size for p in model.mask_head.parameters())
    assert head == 2_360_320 + 285_787 and model.paste == "torchvision"


def test_masks_are_as_large_as_the_pictures_and_lie_in_their_boxes():
    given = pictures()
    found = small()(given)
    for one, image in zip(found, given, strict=True):
        assert one["masks"].shape == (4, 1, *image.shape[1:]) and one["masks"].dtype == np.float32
        assert (0 <= one["masks"]).all() and (one["masks"] <= 1).all() and one["masks"].max() > 0.3
        reach = vision.boxes_to_masks(one["boxes"] + np.array([-9, -9, 9, 9]), *image.shape[1:])
        assert not one["masks"][:, 0][~reach].any()


def test_the_mask_is_that_of_the_predicted_class_step_by_step():
    model = small()
    (image,) = pictures((40, 64))
    with nn.looking(model) as seen:
        (found,) = model([image])
    prepared, _ = model.prepare([image])
    (level,) = model.features(prepared)
    rois = np.concatenate([np.zeros((4, 1)), found["boxes"]], axis=1).astype(np.float32)
    x = vision.roi_align(level, rois, 4, 1 / 4)
    for conv in model.mask_head.convs:
        x = ops.relu(conv(x))
    x = model.mask_head.out(ops.relu(model.mask_head.up(x))).numpy()
    assert x.shape == (4, 4, 8, 8)
    for n, label in enumerate(found["labels"]):
        own = 1 / (1 + np.exp(-x[n, label]))
        np.testing.assert_allclose(seen["masks"][n], own, atol=1e-5)
        whole = vision.paste_masks(own, found["boxes"][n], 40, 64)
        np.testing.assert_allclose(found["masks"][n, 0], whole, atol=1e-5)


def test_the_fifth_loss_is_that_of_the_regions_with_an_object():
    model = small()
    given = pictures((40, 64), (40, 64))
    targets = [target(40, 64), target(40, 64, 1)]
    found = model.losses(given, targets, rng=5)
    assert list(found) == ["objectness", "proposal_box", "class", "box", "mask", "loss"]
    parts = [float(value.data) for name, value in found.items() if name != "loss"]
    assert float(found["loss"].data) == pytest.approx(sum(parts), rel=1e-6)

    samples = []
    sample = model.sample
    model.sample = lambda *args: samples.append(sample(*args)) or samples[-1]
    again = model.losses(given, targets, rng=5)
    np.testing.assert_array_equal(again["mask"].data, found["mask"].data)
    (samples,) = samples
    prepared, _ = model.prepare(given)
    (level,) = model.features(prepared)
    logits, labels, truth = [], [], []
    for b, (boxes, classes, objects) in enumerate(zip(*samples, strict=True)):
        for box, label, number in zip(boxes, classes, objects, strict=True):
            if label:
                roi = np.concatenate([[b], box]).astype(np.float32)[None]
                logits.append(model.mask_head(vision.roi_align(level, roi, 4, 1 / 4)).numpy()[0])
                labels.append(label)
                truth.append(vision.mask_targets(targets[b]["masks"], box[None], np.array([number]), 8)[0])
    assert len(labels) >= 3
    expected = losses.mask_loss(np.array(logits), np.array(labels), np.array(truth))
    assert float(found["mask"].data) == pytest.approx(float(expected), rel=1e-4)


def test_every_part_learns_and_a_picture_without_objects_teaches_no_masks():
    model = small()
    model.losses(pictures((40, 64)), [target(40, 64)], rng=0)["loss"].backward()
    # the norm before a convolution of the pyramid, say, has a gradient too
    assert all(p.grad is not None and np.abs(p.grad).sum() > 0 for p in model.mask_head.parameters())
    assert np.abs(model.backbone.parameters()[0].grad).sum() > 0
    model.zero_grad()
    none = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "masks": np.zeros((0, 40, 64), bool)}
    found = model.losses(pictures((40, 64)), [none], rng=0)
    assert float(found["mask"].data) == 0 and float(found["box"].data) == 0
    found["loss"].backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_pictures_are_resized_and_masks_come_back_in_their_own_size():
    model = small(min_size=48, max_size=80)
    given = pictures((20, 30), (50, 33))
    for one, image in zip(model(given), given, strict=True):
        assert one["masks"].shape[2:] == image.shape[1:]
        assert one["boxes"].max() <= max(image.shape[1:]) + 1e-3
    prepared, (resized, _) = model.prepare(given, [target(20, 30, 1), target(50, 33)])
    assert resized["masks"].shape == (1, *prepared.sizes[0]) and resized["masks"].max() == 1
    assert resized["masks"].mean() == pytest.approx(target(20, 30, 1)["masks"].mean(), rel=0.3)


def test_torchvision_pastes_and_cuts_in_its_own_way():
    model = small()
    given = pictures((40, 64))
    exact = model(given)[0]["masks"]
    loss = model.losses(given, [target(40, 64)], rng=1)["mask"]
    model.paste = "torchvision"
    assert not np.allclose(model(given)[0]["masks"], exact)
    assert float(model.losses(given, [target(40, 64)], rng=1)["mask"].data) != float(loss.data)


def test_a_saved_model_is_the_same_with_all_its_options(tmp_path):
    model = small()
    given = pictures((40, 64))
    mv.save(model, tmp_path / "model")
    again = mv.load(tmp_path / "model")
    assert again.mask_cells == 4 and again.detections == 4 and again.min_size is None
    for name, values in model(given)[0].items():
        np.testing.assert_array_equal(again(given)[0][name], values)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes(dtype):
    given = pictures((40, 64))
    model = small()
    expected = model(given)[0]
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype)
    found = model([given[0].astype(dtype)])[0]
    assert found["masks"].dtype == dtype and found["scores"].dtype == dtype
    if dtype == np.float64:
        np.testing.assert_allclose(found["masks"], expected["masks"], atol=1e-4)


def test_it_runs_on_a_device(device):
    given = pictures((32, 32))
    model = small()
    expected = model(given)[0]["masks"], float(model.losses(given, [target(32, 32)], rng=1)["loss"].data)
    model.to(device)
    there = [mv.to_device(image, device) for image in given]
    np.testing.assert_allclose(model(there)[0]["masks"], expected[0], atol=1e-5)
    loss = model.losses(there, [target(32, 32)], rng=1)["loss"]
    assert float(mv.to_numpy(loss)) == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: small(paste="bilinear"), "MaskRCNN: paste must be .*got 'bilinear'"),
        (lambda: small(mask_cells=0), "MaskRCNN: mask_cells"),
        (
            lambda: small().losses(pictures((32, 40)), [target(32, 32)]),
            r"MaskRCNN: a target must have masks \(T, H, W\) = \(2, 32, 40\) \(masks: \(2, 32, 32\)\)",
        ),
    ],
)
def test_what_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()
