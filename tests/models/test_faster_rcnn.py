"""Faster R-CNN: published sizes, the steps from maps to boxes, the four losses, dtypes and devices, what is refused.

Not here: torchvision's numbers (tests/parity/test_rcnn_parity.py), the small training (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import nn, vision
from minivis.models import FasterRCNN, ResNet, fasterrcnn_resnet50_fpn
from minivis.nn import init

RNG = np.random.default_rng(3)
PICTURES = [RNG.random((3, 40, 64)), RNG.random((3, 56, 30))]
TARGETS = [
    {"boxes": np.array([[4.0, 4, 24, 30], [30, 10, 60, 34]]), "labels": np.array([1, 3])},
    {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)},
]
LOSSES = ["objectness", "proposal_box", "class", "box"]


def small(dtype="float64", levels=3, **options):
    backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0, norm="group", rng=0)
    sizes = [(8 * 2**level, 12 * 2**level) for level in range(levels)]
    usual = {"width": 8, "hidden": 16, "min_size": None, "before_nms": (40, 40), "after_nms": (30, 20)}
    model = FasterRCNN(backbone, 4, anchor_sizes=sizes, rng=1, **{**usual, **options})
    # so that boxes of several classes are found
    model.class_head.weight.data *= 100
    model.rpn.deltas.weight.data *= 3
    return model.to(dtype).eval()


def test_published_counts():
    with init.skip_init():
        frozen = fasterrcnn_resnet50_fpn()
        batch = fasterrcnn_resnet50_fpn(norm="batch")
    assert sum(p.size for p in frozen.parameters()) == 41_755_286
    assert sum(p.size for p in batch.parameters()) == 41_808_406
    parts = {
        name: sum(p.size for p in getattr(batch, name).parameters())
        for name in ("rpn", "head", "class_head", "box_head")
    }
    assert parts["rpn"] == 593_935 and parts["head"] == 13_895_680
    assert parts["class_head"] + parts["box_head"] == 466_375
    assert sum(p.size for m in (batch.backbone, batch.pyramid) for p in m.parameters()) == 26_852_416
    assert frozen.backbone.stem.norm.eps == 0 and batch.backbone.stem.norm.eps == 1e-5


def test_a_picture_of_800_pixels_has_the_published_number_of_anchors():
    with init.skip_init():
        rpn = fasterrcnn_resnet50_fpn().rpn
    maps = [
        np.empty((1, 1, rows, columns), np.float32)
        for rows, columns in ((200, 336), (100, 168), (50, 84), (25, 42), (13, 21))
    ]
    anchors = rpn.anchors(maps, np.empty((1, 3, 800, 1344), np.float32))
    assert sum(map(len, anchors)) == 268_569
    np.testing.assert_array_equal(
        anchors[0][:3], [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    )
    steps = anchors[-1].reshape(13, 21, 3, 4)
    between_cells = steps[1, 1, 0] - steps[0, 0, 0]
    np.testing.assert_array_equal(between_cells, [64, 61, 64, 61])  # 800 // 13 = 61, as torchvision


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_boxes_lie_in_their_picture_and_their_scores_fall(dtype):
    found = small(dtype)([image.astype(dtype) for image in PICTURES])
    assert sum(len(np.unique(one["labels"])) for one in found) > 2
    for one, image in zip(found, PICTURES, strict=True):
        height, width = image.shape[1:]
        boxes, scores = one["boxes"], one["scores"]
        assert boxes.dtype == scores.dtype == dtype and one["labels"].dtype == np.int64
        assert (boxes >= 0).all() and (boxes[:, 2:] <= np.array([width, height])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (np.diff(scores) <= 0).all() and (scores > 0.05).all()
        assert {1, 2, 3} >= set(one["labels"].tolist())
        for label in (1, 2, 3):
            its = boxes[one["labels"] == label].astype(np.float64)
            assert (np.triu(vision.box_iou(its, its), 1) <= 0.51).all()


def test_a_batch_is_a_list_and_other_pictures_change_nothing():
    model = small()
    square = RNG.random((2, 3, 64, 64))
    batch = model(square)
    single = model([square[1]])
    for name in ("boxes", "labels", "scores"):
        np.testing.assert_allclose(batch[1][name], single[0][name], rtol=1e-9)


def test_boxes_are_in_pixels_of_the_given_picture():
    """A picture of twice the size, which is resized to the same one, has boxes twice as large."""
    model = small(min_size=32, max_size=64)
    image = np.repeat(np.repeat(RNG.random((3, 4, 5)), 8, axis=1), 8, axis=2)  # 32 x 40
    other = np.repeat(np.repeat(image, 2, axis=1), 2, axis=2)
    shrunk = mv.ops.interpolate(other[None], size=(32, 40), mode="bilinear")
    one = model([shrunk[0]])[0]
    two = model([other])[0]
    assert len(one["boxes"]) > 3
    np.testing.assert_allclose(2 * one["boxes"], two["boxes"], rtol=1e-9)
    pictures, _ = model.prepare([np.zeros((3, 20, 100))])
    assert pictures.sizes == [(12, 64)] and pictures.batch.shape == (1, 3, 32, 64)
    assert pictures.originals == [(20, 100)]


def test_proposals_of_a_network_that_moves_nothing_are_anchors_inside_the_picture():
    model = small()
    model.rpn.deltas.weight.data[...] = 0
    with nn.looking(model) as seen:
        model(PICTURES[:1])
    proposals, scores = seen["rpn.proposals"], seen["rpn.objectness"]
    assert 5 < len(proposals) <= 20 and scores.shape[0] == 1 and ((scores > 0) & (scores < 1)).all()
    pictures, _ = model.prepare(PICTURES[:1])
    maps = model.features(pictures)
    anchors = vision.clip_boxes(np.concatenate(model.rpn.anchors(maps, pictures.batch)), 40, 64)
    at = [np.flatnonzero(np.abs(anchors - box).max(axis=1) < 1e-9) for box in proposals]
    assert all(len(one) for one in at)
    best = [scores[0][one].max() for one in at]
    assert (np.diff(best) <= 0).all()


def test_each_region_is_read_from_the_level_that_fits():
    model = small(levels=2)
    pictures, _ = model.prepare([np.zeros((3, 256, 256))] * 2)
    maps = [mv.Tensor(np.full((2, 1, side, side), level)) for side, level in ((64, 2.0), (32, 3.0))]
    boxes = [np.array([[0.0, 0, 200, 200], [8, 8, 30, 30]]), np.array([[1.0, 1, 113, 113]])]
    cells = model.pool(maps, boxes, pictures, 3)
    np.testing.assert_allclose(
        mv.to_numpy(cells)[:, 0], np.array([3.0, 2, 3])[:, None, None] * np.ones((3, 3))
    )
    nothing = model.pool(maps, [np.zeros((0, 4))] * 2, pictures, 3)
    assert nothing.shape == (0, 1, 3, 3)


def test_the_four_losses_reach_every_parameter():
    model = small()
    losses = model.losses(PICTURES, TARGETS, rng=0)
    assert list(losses) == [*LOSSES, "loss"]
    assert all(float(losses[name]) > 0 for name in LOSSES)
    assert float(losses["loss"]) == pytest.approx(sum(float(losses[name]) for name in LOSSES))
    losses["loss"].backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and np.abs(p.grad).max() > 0, name


def test_each_loss_belongs_to_its_part():
    parts = {
        "rpn.objectness": "objectness",
        "rpn.deltas": "proposal_box",
        "class_head": "class",
        "box_head": "box",
    }
    for loss in LOSSES:
        model = small()
        model.losses(PICTURES, TARGETS, rng=0)[loss].backward()
        modules = dict(model.named_modules())
        learns = {
            part
            for part in parts
            if modules[part].weight.grad is not None and modules[part].weight.grad.any()
        }
        assert learns == {part for part, name in parts.items() if name == loss}


def test_pictures_without_objects_are_all_background():
    model = small()
    losses = model.losses(PICTURES, [TARGETS[1]] * 2, rng=0)
    assert float(losses["proposal_box"]) == float(losses["box"]) == 0 < float(losses["class"])
    losses["loss"].backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters())


def test_samples_are_drawn_from_the_given_generator_or_the_models_own():
    model = small(anchor_samples=16, region_samples=8)
    value = lambda rng=None: float(model.losses(PICTURES, TARGETS, rng)["loss"])  # noqa: E731
    assert value(5) == value(5) != value(6)
    before = model.rng_state()
    first, second = value(), value()
    assert first != second
    model.load_rng_state(before)
    assert value() == first


def test_losses_do_not_depend_on_training_mode_or_on_detections():
    model = small()
    model.detections = 1
    model.score_threshold = 0.9
    found = model.losses(PICTURES, TARGETS, rng=0), small().train().losses(PICTURES, TARGETS, rng=0)
    assert float(found[0]["loss"]) == float(found[1]["loss"])


def test_true_boxes_are_proposals_too():
    model = small(region_positive=1.0)
    none = [np.zeros((0, 4)), np.zeros((0, 4))]
    samples = model.sample(none, TARGETS, np.random.default_rng(0))
    np.testing.assert_array_equal(samples.boxes[0], TARGETS[0]["boxes"])
    assert [x.tolist() for x in samples.labels] == [[1, 3], []]
    assert [x.tolist() for x in samples.objects] == [[0, 1], []]


def test_half_loses_what_float64_loses():
    targets = [{**one, "boxes": one["boxes"].astype(np.float16)} for one in TARGETS]
    half = small("float16")
    wide = small("float16").to("float64")
    got = half.losses([image.astype(np.float16) for image in PICTURES], targets, rng=0)
    right = wide.losses([image.astype(np.float16).astype(np.float64) for image in PICTURES], TARGETS, rng=0)
    for name in ("objectness", "proposal_box"):  # with rounding other regions may be chosen
        assert got[name].dtype == np.float16
        assert float(got[name]) == pytest.approx(float(right[name]), rel=1e-2)


def test_another_device_computes_the_same(device):
    here = small()
    there = small().to(device)
    moved = [mv.to_device(image, device) for image in PICTURES]
    for one, other in zip(here(PICTURES), there(moved), strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6)
    losses = here.losses(PICTURES, TARGETS, rng=0), there.losses(moved, TARGETS, rng=0)
    for one in losses:
        one["loss"].backward()
    for name in losses[0]:
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=1e-6)
    np.testing.assert_allclose(here.box_head.weight.grad, mv.to_numpy(there.box_head.weight.grad), atol=1e-9)


def test_a_saved_model_comes_back(tmp_path):
    model = small("float32")
    mv.save(model, tmp_path / "detector")
    again = mv.load(tmp_path / "detector")
    image = PICTURES[0].astype(np.float32)
    np.testing.assert_array_equal(model([image])[0]["boxes"], again([image])[0]["boxes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "FasterRCNN: num_classes must be a whole number of at least 1, got 0"),
        ({"anchor_sizes": [(8,)] * 4}, "anchor_sizes must have 1 to 3 levels for a backbone of 2 maps"),
        ({"anchor_sizes": [(8,), (8, 16)]}, "all with the same number of sizes"),
        ({"anchor_sizes": []}, "anchor_sizes must have 1 to 3 levels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    with pytest.raises(ValueError, match=message):
        FasterRCNN(backbone, **{"num_classes": 4, **options})


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        ([], [], r"FasterRCNN: images must be a list of \(C, H, W\)"),
        ([np.zeros((3, 0, 8))], None, r"with pixels, .* \(images: \[\(3, 0, 8\)\]\)"),
        ([np.zeros((1, 3, 8, 8))], None, r"images must be a list of .* \(images: \[\(1, 3, 8, 8\)\]\)"),
        ([np.zeros((4, 8, 8))], None, r"images must have C=3 channels \(an image: \(4, 8, 8\)\)"),
        (PICTURES, TARGETS[:1], "FasterRCNN: 2 images are predicted, but targets has 1 of them"),
        (
            PICTURES[:1],
            [{"boxes": np.zeros((2, 4)), "labels": np.ones(1, int)}],
            r"boxes \(T, 4\) and labels \(T,\)",
        ),
        (
            PICTURES[:1],
            [{"boxes": np.zeros((1, 4)), "labels": np.ones(1, int)}],
            "boxes without width or height",
        ),
        (PICTURES[:1], [{"boxes": np.array([[0, 0, np.nan, 1]]), "labels": np.ones(1, int)}], "not finite"),
        (PICTURES[:1], [{"boxes": np.array([[0, 0, np.inf, 1]]), "labels": np.ones(1, int)}], "not finite"),
        (
            PICTURES[:1],
            [{"boxes": np.ones((1, 4))}],
            r"FasterRCNN: targets\[0\] lacks 'labels'; it has 'boxes'",
        ),
        (
            PICTURES[:1],
            [{"boxes": np.array([[0.0, 0, 9, 9]]), "labels": np.array([4])}],
            "labels must be 1 to 3",
        ),
        (
            PICTURES[:1],
            [{"boxes": np.array([[0.0, 0, 9, 9]]), "labels": np.array([0])}],
            "0 is the background, got 0 to 0",
        ),
    ],
)
def test_pictures_and_targets_that_do_not_fit_are_refused(images, targets, message):
    with pytest.raises(ValueError, match=message):
        small().losses(images, targets) if targets is not None else small()(images)


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        ([np.zeros((3, 8, 8), np.uint8)], None, "FasterRCNN: images must be floating-point, got uint8"),
        (PICTURES[:1], TARGETS[0], "FasterRCNN: targets must be a list with a dict for each image, got dict"),
        (
            PICTURES[:1],
            [{"boxes": np.array([[0.0, 0, 9, 9]]), "labels": np.array([1.5])}],
            "FasterRCNN: labels must be integers, got float64",
        ),
    ],
)
def test_other_kinds_are_refused(images, targets, message):
    with pytest.raises(TypeError, match=message):
        small().losses(images, targets) if targets is not None else small()(images)


def test_no_pictures_have_no_answers():
    assert small()(np.zeros((0, 3, 32, 32))) == []


def test_crowds_are_left_out_of_the_losses():
    box = np.array([[4.0, 4, 24, 30], [30, 10, 60, 34]])
    crowd = {"boxes": box, "labels": np.array([1, 3]), "iscrowd": np.array([False, True])}
    without = {"boxes": box[:1], "labels": np.array([1])}
    losses = [small().losses(PICTURES[:1], [target], rng=0) for target in (crowd, without)]
    assert float(losses[0]["loss"]) == float(losses[1]["loss"])
