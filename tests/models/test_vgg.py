"""VGG: exact counts, the map that halves, linear layers as convolutions, fields of view, starting values, learning.

Not here: equality with torchvision (tests/parity), names in published files (tests/pretrained).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models import VGG

RNG = np.random.default_rng(43)
COUNTS = {
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
}  # fmt: skip
SMALL = {"depths": (1, 2), "widths": (4, 8), "map_size": 3, "hidden": 16, "num_classes": 3}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == COUNTS[name]
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 3 == int(name[3:5])
    assert all(m.bias is not None for m in convolutions)


def test_where_the_parameters_of_vgg16_are():
    with nn.init.skip_init():
        model = models.vgg16()
    assert sum(p.size for p in model.features.parameters()) == 14_714_688
    assert sum(p.size for p in model.classifier.parameters()) == 123_642_856
    first, *_, fc6 = [model.features[0], model.classifier[0]]
    assert [sum(p.size for p in layer.parameters()) for layer in (first, fc6)] == [1_792, 102_764_544]


def test_maps_halve_and_keep_their_size_in_between():
    rows = mv.summary(VGG(**SMALL), (2, 3, 12, 16)).rows
    shapes = [r.shape for r in rows if r.kind in ("Conv2d", "MaxPool2d")]
    assert shapes == ["(2, 4, 12, 16)", "(2, 4, 6, 8)", "(2, 8, 6, 8)", "(2, 8, 6, 8)", "(2, 8, 3, 4)"]


@pytest.mark.parametrize("norm", [False, True])
def test_linear_layers_as_convolutions_give_the_same_logits_and_slide(norm):
    model = VGG(**SMALL, norm=norm).eval()
    x = images(2, 3, 12, 12)
    np.testing.assert_allclose(model.dense(x).numpy()[:, :, 0, 0], model(x).numpy(), atol=1e-6)
    larger = images(1, 3, 16, 20)
    maps = model.dense(larger).numpy()
    assert maps.shape == (1, 3, 2, 3)
    # each position is the network on one window of the last map
    features = model.features(larger)
    for i, j in np.ndindex(2, 3):
        window = features[:, :, i : i + 3, j : j + 3].reshape(1, -1)
        np.testing.assert_allclose(maps[:, :, i, j], model.classifier(window).numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="conv2d"):
        model.dense(images(1, 3, 8, 8))


def test_other_sizes_are_averaged_to_the_map():
    model = VGG(**SMALL).eval()
    x = images(1, 3, 24, 24)
    pooled = model.features(x).numpy().reshape(1, 8, 3, 2, 3, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(model(x).numpy(), model.classifier(pooled.reshape(1, -1)).numpy(), atol=1e-6)
    assert model(x[:0]).shape == (0, 3)


def test_starting_values():
    model = VGG((1, 1), (32, 64), map_size=2, hidden=64)
    conv = model.features[3].weight.data
    assert np.std(conv) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert np.std(model.classifier[0].weight.data) == pytest.approx(0.01, rel=0.03)
    assert not any(m.bias.data.any() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize("norm", [False, True])
def test_the_same_logits_and_gradients_on_a_device_and_in_half(norm, device):
    found = []
    x = images(2, 3, 12, 12)
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = VGG(**SMALL, norm=norm, dropout=0.0).to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype
        ops.mean(y * mv.to_device(np.array([1.0, -2.0, 3.0], dtype), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for got, tolerance in zip(found[1:], (1e-5, 2e-2), strict=True):
        largest = max(np.abs(g).max() for g in found[0])
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(largest, np.abs(b).max())


def test_it_learns_and_is_saved(tmp_path):
    model = VGG(**SMALL, norm=True, dropout=0.0, rng=0)
    x = images(9, 3, 12, 12)
    target = np.arange(9) % 3
    optimiser = optim.AdamW(model, lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.3
    mv.save(model.eval(), tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: VGG((1, 1), (8,)), "VGG: 2 stages need 2 widths, got 1"),
        (lambda: VGG((0, 1), (8, 8)), "VGG: depths must be"),
        (lambda: VGG((), ()), "VGG: depths must have at least one number"),
        (lambda: VGG(**SMALL)(images(3, 12, 12)), r"VGG: images must be \(B, C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
