"""Regression of one box, R-CNN, SPP-net, Fast R-CNN: published counts, what each pools, answers, losses, learning.

Not here: proposals (tests/vision/test_proposals.py), the trainings (tests/recipes/test_detection_road.py).
"""

import copy

import numpy as np
import pytest

import minivis as mv
from minivis import Tensor, models, nn, ops, optim, vision
from minivis.models import RCNN, FastRCNN, OneMap, SingleBox, SPPNet
from minivis.models.rcnn import ridge, truncated_svd
from tests import strict

RNG = np.random.default_rng(71)
REGIONS = [
    np.array([[0.0, 0, 12, 20], [8, 4, 30, 30], [3, 3, 9, 9]], np.float32),
    np.array([[10.0, 10, 26, 18]], np.float32),
]


def images(count=2, size=32):
    return RNG.random((count, 3, size, size)).astype(np.float32)


def small(kind="fast", **options):
    """Small detectors on a convolution of stride 4."""
    conv = nn.Conv2d(3, 4, 4, stride=4, rng=0)
    if kind == "rcnn":
        return RCNN(nn.Conv2d(3, 4, 8, stride=8, rng=0), 4, 2, 4, size=16, hidden=8, rng=0, **options)
    if kind == "spp":
        return SPPNet(conv, 4, 4, 4, hidden=8, rng=0, **options)
    return FastRCNN(conv, 4, 4, 4, size=3, hidden=8, rng=0, **options)


def count(module):
    return sum(p.size for p in module.parameters())


# ------------------------------------------------------------------ published sizes


def test_fast_rcnn_on_vgg16_has_its_published_number_of_parameters():
    with nn.init.skip_init():
        model = models.fast_rcnn_vgg16()
    assert count(model) == 134_690_729
    assert count(model.backbone) == 14_714_688
    assert model.size == 7 and model.stride == 16


def test_a_region_proposal_network_on_top_makes_faster_rcnn():
    """Ren et al.: a 3 x 3 convolution of 512, then 9 anchors with 2 scores and 4 numbers each."""
    with nn.init.skip_init():
        rpn = [nn.Conv2d(512, 512, 3), nn.Conv2d(512, 18, 1), nn.Conv2d(512, 36, 1)]
    assert sum(map(count, rpn)) + 134_690_729 == 137_078_239


def test_the_linear_parts_of_rcnn_on_pascal_voc():
    """AlexNet: 4096 hidden numbers, a last map of 256 x 6 x 6; 20 classes and background."""
    with nn.init.skip_init():
        features = models.alexnet(dropout=0.0).features
        model = RCNN(features, 256, 6, 21, size=227, context=16, hidden=(4096, 4096))
    assert count(model.svm) == 81_940
    assert count(model.regressors) == 737_360
    assert count(model.head) == 21 * 4097


def test_spp_pools_fifty_bins():
    with nn.init.skip_init():
        model = SPPNet(nn.Conv2d(3, 256, 4, stride=4), 256, 4, 21, levels=(6, 3, 2, 1))
    assert model.hidden[0].weight.shape[1] == 12_800


# ------------------------------------------------------------------ what each pools


def test_a_warped_crop_shows_the_region_and_its_context():
    model = RCNN(nn.Conv2d(3, 4, 8, stride=8), 4, 2, 4, size=16, context=2)
    image = np.zeros((1, 3, 32, 32), np.float32)
    image[:, :, 8:20, 8:20] = 1
    crop = model.crops(image, [np.array([[8.0, 8, 20, 20]])]).numpy()[0, 0]
    np.testing.assert_allclose(crop[3:13, 3:13], 1)
    np.testing.assert_allclose(crop[[0, 1, 14, 15]], 0)
    whole = RCNN(nn.Conv2d(3, 4, 8, stride=8), 4, 2, 4, size=16, context=0)
    inside = whole.crops(image, [np.array([[8.0, 8, 20, 14]])]).numpy()  # half as high: stretched
    np.testing.assert_allclose(inside[..., 2:-2, 2:-2], 1)
    outside = model.crops(image, [np.array([[-16.0, -16, -4, -4]])]).numpy()
    np.testing.assert_array_equal(outside, 0)


def test_spp_is_the_pyramid_of_the_part_of_the_map():
    model = small("spp", levels=(2, 1))
    x = images(1)
    part = [np.array([[4.0, 8, 16, 28]])]  # cells 1 to 4 and 2 to 7 of the map, both corners included
    expected = vision.spp(model.backbone(x).numpy()[:, :, 2:8, 1:5], (2, 1))
    np.testing.assert_allclose(model.pooled(x, part).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["rcnn", "spp", "fast"])
def test_the_regions_of_two_images_are_those_of_each(kind):
    model = small(kind)
    x = images()
    both = model(x, REGIONS)
    alone = [model(x[i : i + 1], REGIONS[i : i + 1]) for i in range(2)]
    if kind == "fast":
        for i in range(2):
            np.testing.assert_allclose(
                both[i].numpy(), np.concatenate([one[i].numpy() for one in alone]), rtol=1e-4, atol=1e-6
            )
        assert both[1].shape == (4, 4, 4)
    else:
        np.testing.assert_allclose(
            both.numpy(), np.concatenate([one.numpy() for one in alone]), rtol=1e-4, atol=1e-6
        )
    found = model.detect(x, REGIONS)
    assert len(found) == 2 and all(set(one) == {"boxes", "labels", "scores"} for one in found)
    for one in found:
        assert (np.diff(one["scores"]) <= 0).all() and set(one["labels"]) <= {1, 2, 3}
        assert one["boxes"].min(initial=0) >= 0 and one["boxes"].max(initial=0) <= 32


@pytest.mark.parametrize("kind", ["rcnn", "spp", "fast"])
def test_an_image_without_regions_has_no_answer(kind):
    found = small(kind).detect(images(), [REGIONS[0], np.empty((0, 4), np.float32)])
    assert len(found[1]["boxes"]) == 0
    found = small(kind).detect(images(1), [np.empty((0, 4), np.float32)])
    assert found[0]["boxes"].shape == (0, 4)


def test_pool_and_align_differ_and_only_align_moves_with_a_fraction_of_a_cell():
    x = images(1)
    moved = [REGIONS[0][:1] + np.float32(0.4)]
    pool = small()
    align = small(pooling="align")
    still = [[m(x, r)[0].numpy() for r in ([REGIONS[0][:1]], moved)] for m in (pool, align)]
    np.testing.assert_array_equal(*still[0])
    assert not np.array_equal(*still[1])


def test_forms_of_one_map():
    backbone = models.ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, patch_stem=True, num_classes=0)
    x = images(1)
    fine, coarse = (m.numpy() for m in backbone.features(x))
    np.testing.assert_array_equal(OneMap(backbone, "last")(x).numpy(), coarse)
    stacked = OneMap(backbone, "stacked")
    np.testing.assert_array_equal(stacked(x).numpy()[:, :8], fine)
    np.testing.assert_array_equal(stacked(x).numpy()[:, 8:, ::2, 1::2], coarse)
    assert stacked.channels == 24 and OneMap(backbone, width=5).channels == 5


# ------------------------------------------------------------------ losses, machines, regressors


def test_the_loss_of_fast_rcnn_is_the_sum_of_two_and_background_has_no_box_loss():
    model = small()
    x = images()
    labels = [np.array([0, 0, 0]), np.array([0])]
    terms = model.losses(x, REGIONS, labels, REGIONS)
    logits, _ = model(x, REGIONS)
    assert float(terms["box"].numpy()) == 0
    named = float(ops.cross_entropy(logits, np.zeros(4, int)).numpy())
    assert float(terms["class"].numpy()) == pytest.approx(named, rel=1e-5)
    objects = [REGIONS[0] + 1, REGIONS[1]]
    terms = model.losses(x, REGIONS, [np.array([2, 0, 1]), np.array([3])], objects)
    assert float(terms["loss"].numpy()) == pytest.approx(
        float((terms["class"] + terms["box"]).numpy()), rel=1e-6
    )
    assert float(terms["box"].numpy()) > 0


def test_fast_rcnn_overfits_one_batch():
    model = small(pooling="align")
    x = images()
    labels = [np.array([2, 0, 1]), np.array([3])]
    objects = [REGIONS[0] + 1, REGIONS[1]]
    optimizer = optim.AdamW(model.parameters(), lr=2e-2)
    found = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.losses(x, REGIONS, labels, objects)["loss"]
        loss.backward()
        optimizer.step()
        found.append(float(loss.numpy()))
    assert found[-1] < 0.3 * found[0]
    answer = model.detect(x, REGIONS)[1]
    assert answer["labels"][0] == 3
    np.testing.assert_allclose(answer["boxes"][0], REGIONS[1][0], atol=2)


def test_ridge_is_least_squares_and_shrinks():
    f = RNG.standard_normal((30, 3))
    true = RNG.standard_normal((2, 3))
    bias = np.array([5.0, -1.0])
    weight, b = ridge(f, f @ true.T + bias, 1e-8)
    np.testing.assert_allclose(weight, true, atol=1e-6)
    np.testing.assert_allclose(b, bias, atol=1e-6)
    strong, _ = ridge(f, f @ true.T + bias, 1e3)
    assert np.linalg.norm(strong) < 0.2 * np.linalg.norm(true)


def test_regressors_move_boxes_where_the_objects_are():
    model = small("spp")
    pooled = RNG.standard_normal((60, 84)).astype(np.float32)
    regions = np.repeat(REGIONS[0][1:2], 60, axis=0)
    labels = np.repeat([1, 3], 30)
    objects = regions + np.where(labels == 1, 2.0, -3.0)[:, None].astype(np.float32)
    model.fit_regressors(pooled, regions, objects, labels, 10.0)
    deltas = model.regressors(pooled).numpy().reshape(60, 3, 4)
    for label, shift in ((1, 2), (3, -3)):
        moved = vision.box_decode(deltas[labels == label, label - 1], regions[labels == label])
        np.testing.assert_allclose(moved, regions[:30] + shift, atol=0.5)
    np.testing.assert_array_equal(deltas[:, 1], 0)  # a class without examples


def test_machines_learn_the_hidden_vectors():
    model = small("spp")
    vectors = np.abs(RNG.standard_normal((40, 8))).astype(np.float32)
    signs = np.where(vectors[:, :3] > 0.7, 1, -1)
    optimizer = optim.AdamW(model.svm.parameters(), lr=0.05)
    before = float(model.svm_loss(vectors, signs).numpy())
    for _ in range(60):
        optimizer.zero_grad()
        model.svm_loss(vectors, signs).backward()
        optimizer.step()
    assert float(model.svm_loss(vectors, signs).numpy()) < 0.5 * before


def test_truncated_svd_has_fewer_weights_and_the_best_error():
    layer = nn.Linear(40, 30, rng=0)
    thin = truncated_svd(layer, 7)
    assert count(thin) == 7 * (30 + 40) + 30
    weight = (thin[1].weight @ thin[0].weight).numpy()
    values = np.linalg.svd(layer.weight.numpy(), compute_uv=False)
    error = np.linalg.norm(weight - layer.weight.numpy())
    assert error == pytest.approx(np.linalg.norm(values[7:]), rel=1e-4)
    x = RNG.standard_normal((5, 40)).astype(np.float32)
    np.testing.assert_allclose(thin(x).numpy(), x @ weight.T + layer.bias.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["rcnn", "spp", "fast"])
def test_the_pretended_gpu_gives_the_same(kind):
    strict.install()
    model = small(kind)
    x = images()
    expected = model.detect(x, REGIONS)
    there = small(kind).to("strict")
    found = there.detect(mv.to_device(x, "strict"), REGIONS)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["labels"], other["labels"])
        np.testing.assert_allclose(one["boxes"], other["boxes"], rtol=1e-5)
    if kind == "fast":
        labels = [np.array([2, 0, 1]), np.array([3])]
        loss = there.losses(mv.to_device(x, "strict"), REGIONS, labels, REGIONS)["loss"]
        loss.backward()
        same = model.losses(x, REGIONS, labels, REGIONS)["loss"]
        assert float(loss.numpy()) == pytest.approx(float(same.numpy()), rel=1e-5)


@pytest.mark.parametrize("kind", ["rcnn", "spp", "fast"])
def test_half_precision_stays_half_and_agrees(kind):
    model = small(kind).to("float16")
    exact = copy.deepcopy(model).to("float64")
    x = images().astype(np.float16)
    out = model(x, REGIONS)
    expected = exact(x.astype(np.float64), REGIONS)
    for got, right in zip(*((o if kind == "fast" else [o]) for o in (out, expected)), strict=True):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got.numpy().astype(float), right.numpy(), atol=3e-3)
    assert len(model.detect(x, REGIONS)) == 2


def test_a_saved_detector_is_rebuilt(tmp_path):
    backbone = models.ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, patch_stem=True, num_classes=0)
    model = FastRCNN(OneMap(backbone, width=4), 4, 4, 4, size=3, hidden=8, pooling="align").eval()
    mv.save(model, tmp_path)
    x = images(1)
    for got, expected in zip(mv.load(tmp_path)(x, REGIONS[:1]), model(x, REGIONS[:1]), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


# ------------------------------------------------------------------ one box


def test_one_box_learns_one_object_and_has_no_place_for_two():
    model = SingleBox(nn.Conv2d(3, 4, 8, stride=8, rng=0), 4, 4, 3, hidden=16, rng=0)
    x = images(6)
    labels = np.array([0, 1, 2, 0, 1, 2])
    boxes = RNG.uniform(0.2, 0.6, (6, 4)).astype(np.float32)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for _ in range(40):
        optimizer.zero_grad()
        logits, places = model(x)
        loss = ops.cross_entropy(logits, labels) + 5 * ops.l1_loss(places, boxes)
        loss.backward()
        optimizer.step()
        found.append(float(loss.numpy()))
    assert found[-1] < 0.5 * found[0]
    assert model(Tensor(x))[1].shape == (6, 4)  # four numbers, however many objects there are


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RCNN(nn.Identity(), 4, 2, 4, size=16, context=8), "RCNN: context must be .* 16, got 8"),
        (lambda: RCNN(nn.Identity(), 0, 2, 4), "RCNN: channels"),
        (lambda: SPPNet(nn.Identity(), 4, 4, 4, levels=(2, 0)), "SPPNet: levels"),
        (
            lambda: FastRCNN(nn.Identity(), 4, 4, 4, pooling="mean"),
            'FastRCNN: pooling must be "pool" or "align"',
        ),
        (lambda: SingleBox(nn.Identity(), 4, 2, 0), "SingleBox: num_classes"),
        (lambda: OneMap(nn.Identity(), "first"), "OneMap: form"),
        (lambda: ridge(np.zeros((2, 3)), np.zeros((1, 3)), 1.0), r"ridge: features .*\(features: \(2, 3\)"),
        (lambda: ridge(np.zeros((2, 3)), np.zeros((2, 3)), 0.0), "ridge: strength must be positive"),
        (lambda: truncated_svd(nn.Linear(4, 3), 4), "truncated_svd: rank must be from 1 to 3, got 4"),
        (
            lambda: small()(np.zeros((3, 32, 32), np.float32), REGIONS),
            r"FastRCNN: images must be \(B, C, H, W\)",
        ),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
