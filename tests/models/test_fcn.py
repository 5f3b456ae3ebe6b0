"""FCN: exact counts, heights, offsets, a classifier on every crop, skips; the dilated one; that they learn and are saved.

Not here: equality with torchvision (tests/parity), names in published files (tests/pretrained), the kernels (tests/vision).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models import FCN, VGG, DilatedFCN, ResNet, SkipFCN

RNG = np.random.default_rng(72)
COUNTS = {
    ("fcn32s", False): 134_346_581, ("fcn16s", False): 134_357_354, ("fcn8s", False): 134_362_751,
    ("fcn_resnet50", False): 32_957_013, ("fcn_resnet50", True): 35_322_218,
    ("fcn_resnet101", False): 51_949_141, ("fcn_resnet101", True): 54_314_346,
}  # fmt: skip
NARROW = {"widths": (2, 2, 2, 4, 4), "hidden": 6, "num_classes": 3}
FLAT = {"depths": (1,) * 5, **NARROW}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def random_scores(model, rng=RNG):
    """Score layers that do not start at 0, so that every path is seen."""
    for layer in model.score_layers:
        layer.weight.data[...] = rng.standard_normal(layer.weight.shape)
        layer.bias.data[...] = rng.standard_normal(layer.bias.shape)
    return model


@pytest.mark.parametrize("name, auxiliary", COUNTS)
def test_published_sizes_have_their_exact_number_of_parameters(name, auxiliary):
    with nn.init.skip_init():
        model = getattr(models, name)(**({"auxiliary": True} if auxiliary else {}))
    assert sum(p.size for p in model.parameters()) == COUNTS[name, auxiliary]


def test_most_of_it_is_vgg16():
    with nn.init.skip_init():
        model = models.fcn8s()
    parts = [*model.stages, model.classifier]
    assert sum(p.size for part in parts for p in part.parameters()) == 134_260_544


@pytest.mark.parametrize(
    "side, heights, enlarged",
    [(500, [349, 175, 88, 44, 22, 16], 544), (224, [211, 106, 53, 27, 14, 8], 288)],
)
def test_heights_of_the_maps(side, heights, enlarged):
    model = FCN(32, **FLAT).eval()
    rows = mv.summary(model, (1, 3, side, 1)).rows
    maps = [row.shape for row in rows if row.kind == "MaxPool2d"]
    fc6 = next(row.shape for row in rows if row.kind == "Conv2d" and row.shape.startswith("(1, 6,"))
    assert [int(shape.split(", ")[2]) for shape in [*maps, fc6]] == heights
    assert mv.vision.fcn_upsample(np.ones((1, 1, heights[-1], 1)), 32, cut=False).shape[2] == enlarged
    assert enlarged >= 19 + side


@pytest.mark.parametrize("stride, offsets", [(32, (19,)), (16, (5, 27)), (8, (5, 9, 31))])
def test_every_size_gets_scores_for_each_pixel(stride, offsets):
    model = FCN(stride, **FLAT).eval()
    assert model.offsets == offsets
    for size in ((1, 1), (30, 33), (64, 31)):
        assert model(images(1, 3, *size)).shape == (1, 3, *size)
    assert model(images(0, 3, 9, 9)).shape == (0, 3, 9, 9)


def test_a_score_is_the_classifier_on_its_crop():
    """With convolutions that add no border, a score at a position is what VGG says of the pixels below it."""
    sizes = {"depths": (1, 2), "widths": (4, 6), "map_size": 3, "hidden": 8, "num_classes": 3}
    vgg = VGG(**sizes, rng=3).eval()
    model = FCN(4, **sizes, padding=0).eval().take_classifier(vgg)
    last = vgg.classifier[6]
    model.score_layers[0].weight.data[...] = last.weight.data[:, :, None, None]
    for network in (vgg, model):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.padding = 0
    field, stride = mv.vision.field_of_view(
        [(3, 1, 1), (2, 2, 1), (3, 1, 1), (3, 1, 1), (2, 2, 1), (3, 1, 1)]
    )
    picture = images(1, 3, field + 2 * stride, field + stride)
    (scores,) = model.scores(picture)
    assert scores.shape == (1, 3, 3, 2)
    for i, j in np.ndindex(3, 2):
        crop = picture[:, :, i * stride : i * stride + field, j * stride : j * stride + field]
        np.testing.assert_allclose(scores.numpy()[:, :, i, j], vgg(crop).numpy(), atol=1e-5)


def test_the_classifier_of_other_sizes_is_refused():
    sizes = {"depths": (1, 1), "widths": (4, 6), "map_size": 3, "hidden": 8}
    for other in ({"widths": (4, 5)}, {"depths": (1, 2)}, {"norm": True}):
        with pytest.raises(ValueError, match="FCN: take_classifier needs a VGG of the same depths and sizes"):
            FCN(4, **sizes, padding=0).take_classifier(VGG(**{**sizes, **other}))


def test_finer_scores_are_added_to_the_enlarged_coarse_ones():
    model = random_scores(FCN(8, **FLAT, rng=1)).eval()
    x = images(1, 3, 40, 56)
    coarse, middle, fine = (scores.numpy() for scores in model.scores(x))
    assert [s.shape[2:] for s in (coarse, middle, fine)] == [(2, 2), (15, 16), (30, 32)]
    enlarge = lambda y, factor: mv.vision.fcn_upsample(y, factor, cut=False)  # noqa: E731
    y = enlarge(coarse, 2)
    y = enlarge(y + middle[:, :, 5 : 5 + y.shape[2], 5 : 5 + y.shape[3]], 2)
    y = enlarge(y + fine[:, :, 9 : 9 + y.shape[2], 9 : 9 + y.shape[3]], 8)
    np.testing.assert_allclose(model(x).numpy(), y[:, :, 31 : 31 + 40, 31 : 31 + 56], atol=1e-5)


def test_each_form_begins_with_the_weights_of_the_coarser_one():
    coarse = random_scores(FCN(32, **FLAT, rng=1))
    finer = FCN(16, **FLAT)
    report = finer.load_state_dict(coarse.state_dict(), strict=False)
    assert report.missing == ["score_layers.1.weight", "score_layers.1.bias"] and not report.unexpected
    x = images(1, 3, 32, 32)
    alone = mv.vision.fcn_upsample(coarse.eval().scores(x)[0], 2, cut=False)
    enlarged = mv.vision.fcn_upsample(alone, 16, cut=False)[:, :, 27 : 27 + 32, 27 : 27 + 32]
    np.testing.assert_array_equal(finer.eval()(x).numpy(), enlarged.numpy())


def test_at_once_makes_the_skips_small():
    plain, scaled = (
        random_scores(FCN(8, **FLAT, at_once=a, rng=1).eval(), np.random.default_rng(4))
        for a in (False, True)
    )
    x = images(1, 3, 20, 20)
    for one, other, factor, layer in zip(
        plain.scores(x), scaled.scores(x), (1, 0.01, 0.0001), plain.score_layers, strict=True
    ):
        bias = layer.bias.data[:, None, None]
        np.testing.assert_allclose(other.numpy() - bias, factor * (one.numpy() - bias), rtol=1e-3, atol=1e-5)


def test_a_shift_by_the_stride_shifts_the_scores():
    backbone = ResNet((1, 1, 1), "basic", (4, 6, 8), 4, num_classes=0, norm="frozen", patch_stem=True)
    model = random_scores(SkipFCN(backbone, 3, skips=2).eval())
    assert model.stride == 4
    picture = np.zeros((1, 3, 128, 64), np.float32)
    picture[:, :, 52:60, 28:36] = images(1, 3, 8, 8)
    moved = np.roll(picture, 16, axis=2)
    a, b = model(picture).numpy(), model(moved).numpy()
    assert np.ptp(a[0, 0, 32:80]) > 0.1
    np.testing.assert_allclose(a[:, :, 32:80], b[:, :, 48:96], atol=1e-4)


@pytest.mark.parametrize("skips", [0, 1, 2])
def test_a_backbone_of_three_maps_in_three_forms_and_odd_sizes(skips):
    backbone = ResNet((1, 1, 1), "basic", (4, 6, 8), 4, num_classes=0, norm="group")
    model = random_scores(SkipFCN(backbone, 3, skips))
    assert model(images(2, 3, 33, 50)).shape == (2, 3, 33, 50)
    assert [s.shape[2:] for s in model.scores(images(1, 3, 64, 32))] == [(4, 2), (8, 4), (16, 8)][: skips + 1]
    assert model.stride == 16 // 2**skips


def test_the_dilated_one_keeps_an_eighth_of_the_size():
    backbone = ResNet((1, 1, 2, 2), widths=(8, 8, 8, 16), stem_width=4, num_classes=0, dilated=2)
    assert backbone.stride == 8 and backbone.features(images(1, 3, 48, 64))[-1].shape[2:] == (6, 8)
    dilations = [[block.layers[1].conv.dilation for block in stage] for stage in backbone.stages]
    assert dilations == [[1], [1], [1, 2], [2, 4]]
    model = DilatedFCN(backbone, 5, auxiliary=True).eval()
    x = images(1, 3, 41, 50)
    both = model.both(x)
    assert both.auxiliary.shape == (1, 5, 41, 50)
    np.testing.assert_array_equal(both.logits.numpy(), model(x).numpy())


def small(kind):
    """A model of each class, with the options that matter; the same at each call."""
    rng = np.random.default_rng(5)
    if kind == "FCN":
        return random_scores(
            FCN(2, (1, 1), (4, 6), map_size=3, hidden=8, num_classes=3, padding=12, dropout=0.0, rng=2), rng
        )
    backbone = ResNet(
        (1, 1), "basic", (8, 8), 8, num_classes=0, norm="group", dilated=kind == "DilatedFCN", rng=2
    )
    return (
        random_scores(SkipFCN(backbone, 3, 1), rng)
        if kind == "SkipFCN"
        else DilatedFCN(backbone, 3, True, 0.0, rng=2)
    )


@pytest.mark.parametrize("kind", ["FCN", "SkipFCN", "DilatedFCN"])
def test_the_same_logits_and_gradients_on_a_device_and_in_half(kind, device):
    x = images(2, 3, 16, 20)
    w = RNG.standard_normal((3, 16, 20))
    found = []
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = small(kind).eval().to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype and y.device == where
        ops.mean(y * mv.to_device(w.astype(dtype), where)).backward()
        grads = [mv.to_numpy(p.grad) for p in model.parameters() if p.grad is not None]
        found.append([y.numpy(), *grads])
    for got, tolerance in zip(found[1:], (1e-4, 5e-2), strict=True):
        largest = max(np.abs(g).max() for g in found[0][1:])
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(largest, np.abs(b).max())


@pytest.mark.parametrize("kind", ["FCN", "SkipFCN", "DilatedFCN"])
def test_it_learns_a_picture_and_is_saved(kind, tmp_path):
    x = np.zeros((1, 3, 16, 16), np.float32)
    x[:, :, 4:12, 4:10] = 1
    there = (x[:, 0] == 1).astype(int)
    model = small(kind)
    optimiser = optim.AdamW(model, lr=1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), there)
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    mv.save(model.eval(), tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


def test_starting_values():
    model = FCN(8, **FLAT)
    assert not any(layer.weight.data.any() for layer in model.score_layers)
    first = FCN(2, (1,), (256,), padding=30, hidden=4).stages[0][0].weight.data
    assert np.std(first) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FCN(4), "FCN: stride must be one of 32, 16, 8, got 4"),
        (lambda: FCN(8, (1, 1), (4,)), "FCN: 2 stages need as many widths, got 1"),
        (lambda: FCN(32, **{**FLAT, "widths": (0, 1, 1, 1, 1)}), "FCN: widths must be"),
        (lambda: FCN(32, **FLAT, padding=-1), "FCN: padding must be a whole number of at least 0, got -1"),
        (lambda: FCN(32, **FLAT, padding=1.5), "FCN: padding must be a whole number of at least 0, got 1.5"),
        (lambda: FCN(32, **FLAT)(images(3, 20, 20)), r"FCN: images must be \(B, C, H, W\)"),
        (lambda: FCN(32, **FLAT, padding=75)(images(1, 3, 47, 49)), "FCN: 47 x 49 cells at -6 .* enlarge padding"),
        (lambda: SkipFCN(ResNet((1,), widths=(8,), num_classes=0), 3, skips=1), "SkipFCN: skips must be 0 to 0"),
        (lambda: SkipFCN(ResNet((1,), widths=(8,), num_classes=0), 0, skips=0), "SkipFCN: num_classes must be"),
        (lambda: DilatedFCN(ResNet((1,), widths=(8,), num_classes=0), 3, True), "DilatedFCN: a second head needs"),
        (lambda: DilatedFCN(ResNet((1,), widths=(8,), num_classes=0), 3).both(images(1, 3, 8, 8)), "DilatedFCN: this model"),
        (lambda: ResNet((1, 1), "basic", dilated=3), "ResNet: 2 stages, so dilated must be at most that, got 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
