"""YOLO, versions 1 and 2, and Darknet: exact counts, shapes, what is detected, a device, learning, saving.

Not here: losses and laws (tests/losses, tests/laws), the trained model (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import losses, models, nn, optim
from minivis.models import YOLO, Darknet, ResNet, YOLOv2
from minivis.models.yolo_v2 import places_to_channels

RNG = np.random.default_rng(5)
COUNTS = {
    "darknet19": 20_842_376,
    "yolo_v1": 271_703_550,
    "yolo_v2_voc": 50_655_389,
    "yolo_v2_coco": 50_962_889,
}
TARGETS = [
    {"boxes": np.array([[0.3, 0.4, 0.5, 0.4]]), "labels": np.array([1])},
    {"boxes": np.array([[0.6, 0.7, 0.3, 0.6]]), "labels": np.array([2])},
]
ANCHORS = 1.0, 1.5, 2.0, 1.0


def backbone(**options):
    sizes = {"widths": (8, 8), "stem_width": 8, "num_classes": 0, "norm": "group", "patch_stem": True}
    return ResNet((1, 1), "basic", **sizes, **options, rng=1)


def small(head="convolutional", **options):
    sizes = {"neck": (8,), "norm": "group", "grid": 4, "hidden": 12, "dropout": 0.0}
    return YOLO(backbone(), 3, head=head, **{**sizes, **options}, rng=2)


def small_v2(**options):
    return YOLOv2(backbone(), 3, ANCHORS, neck=(8,), passthrough=2, norm="group", **options, rng=2)


MADE = {"convolutional": small, "connected": lambda: small("connected"), "version 2": small_v2}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == COUNTS[name]


def test_the_paper_s_network():
    with nn.init.skip_init():
        model = models.yolo_v1()
        other = models.yolo_v1(boxes_per_cell=3)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 24 and all(m.bias is not None for m in convolutions)
    assert sum(m.stride == 2 for m in convolutions) == 2
    assert sum(p.size for p in model.head.parameters()) == 211_547_582
    assert len(model.head.second.bias) == 1470 and len(other.head.second.bias) == 1715
    with nn.init.skip_init():
        features = models.darknet19(num_classes=0)
    assert sum(p.size for p in features.parameters()) == 19_817_376


def test_shapes_of_the_predictions():
    x = images(2, 3, 32, 48)
    assert small()(x).shape == (2, 4, 6, 13)
    assert small(boxes_per_cell=3)(x).shape == (2, 4, 6, 18)
    assert small("connected")(images(2, 3, 32, 32)).shape == (2, 4, 4, 13)
    assert small_v2()(x).shape == (2, 4, 6, 2, 8)
    assert Darknet((1, 1), (4, 4), (3, 1), 2, norm=None, num_classes=0)(x).shape == (2, 4)
    assert (small()(x).numpy()[..., [2, 3, 7, 8]] >= 0).all()  # widths and heights


def test_places_become_channels():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    found = places_to_channels(x)
    assert found.shape == (1, 4, 2, 2)
    np.testing.assert_array_equal(found[0, :, 0, 0], [0, 1, 4, 5])


@pytest.mark.parametrize("kind", MADE)
def test_a_known_prediction_is_detected(kind, monkeypatch):
    model = MADE[kind]()
    if kind == "version 2":
        prediction = np.full((1, 4, 4, 2, 8), -9.0, np.float32)
        prediction[0, 1, 2, 1] = 0, 0, 0, np.log(2), 9, -9, -9, 9
        prediction[0, 1, 2, 0] = 0, 0, np.log(2), np.log(4 / 3), 2, -9, -9, 9  # the same box, less sure
    else:
        prediction = np.zeros((1, 4, 4, 13), np.float32)
        prediction[0, 1, 2, :10] = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0]
        prediction[0, 1, 2, 10:] = 0, 0, 1
    monkeypatch.setattr(type(model), "forward", lambda self, x: mv.Tensor(prediction))
    (found,) = model.detect(images(1, 3, 32, 64), score_threshold=0.2)
    np.testing.assert_allclose(found["boxes"], [[24, 4, 56, 20]], atol=1e-4)  # pixels of an image of 64 x 32
    assert found["labels"].tolist() == [2] and found["scores"][0] > 0.99
    assert len(model.detect(images(1, 3, 32, 64), 0.2, nms_threshold=1.0)[0]["boxes"]) == 2
    assert len(model.detect(images(1, 3, 32, 64), 1.5)[0]["boxes"]) == 0


@pytest.mark.parametrize("kind", MADE)
def test_the_same_numbers_and_gradients_on_a_device_and_in_half(kind, device):
    found = []
    x = images(2, 3, 32, 32)
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = MADE[kind]().to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype
        mv.ops.mean(y * y).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
        (one, _) = model.eval().detect(mv.to_device(x.astype(dtype), where), 0.0)
        assert one["boxes"].dtype == one["scores"].dtype == dtype
    for got, tolerance in zip(found[1:], (1e-5, 3e-2), strict=True):
        largest = max(np.abs(g).max() for g in found[0])
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(largest, np.abs(b).max())


@pytest.mark.parametrize("kind", MADE)
def test_it_learns_and_is_saved(kind, tmp_path):
    model = MADE[kind]()
    x = images(2, 3, 32, 32)

    def loss():
        if kind == "version 2":
            return losses.yolo_v2_loss(model(x), TARGETS, np.array(model.anchors))
        return losses.yolo_batch_loss(model(x), TARGETS)

    optimiser = optim.AdamW(model, lr=1e-2)
    first = float(loss())
    for _ in range(60):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
    assert float(value) < 0.2 * first
    mv.save(model.eval(), tmp_path)
    again = mv.load(tmp_path)
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())
    for one, target in zip(again.detect(x, 0.3), TARGETS, strict=True):
        assert one["labels"][0] == target["labels"][0]
        true = mv.vision.box_cxcywh_to_xyxy(target["boxes"]) * 32
        assert mv.vision.box_iou(one["boxes"][:1].astype(float), true) > 0.6


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small("linear"), 'YOLO: head must be "convolutional" or "connected"'),
        (lambda: small(norm="layer"), "YOLO: norm must be None or one of batch"),
        (lambda: small(strides=(1, 2)), "YOLO: 1 convolutions need as many strides"),
        (lambda: small(boxes_per_cell=0), "YOLO: boxes_per_cell must be"),
        (lambda: small("connected")(images(1, 3, 40, 32)), r"YOLO: a connected head needs a map of 4 x 4 cells, got 5 x 4"),
        (lambda: small()(images(3, 32, 32)), r"YOLO: images must be \(B, C, H, W\)"),
        (lambda: YOLOv2(backbone(), 3, (1, 0)), "YOLOv2: anchors must be width, height"),
        (lambda: YOLOv2(backbone(), 3, ANCHORS, norm="none"), "YOLOv2: norm must be None or one of"),
        (lambda: small_v2()(images(1, 3, 36, 36)), "YOLOv2: the map before the last must have even sides, got 9 x 9"),
        (lambda: Darknet((2,), (4,), (3,)), "Darknet: 2 convolutions need as many widths and kernels, got 1 and 1"),
        (lambda: Darknet(norm="x"), "Darknet: norm must be None or one of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
