"""AlexNet: exact counts, the neurons of the paper, towers that see only their half, starting values, and that it learns.

Not here: equality with torchvision (tests/parity), names in published files (tests/pretrained).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models import AlexNet

RNG = np.random.default_rng(41)
SMALL = {"widths": (4, 8, 8, 8, 8), "hidden": 16, "num_classes": 3}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_the_exact_number_of_parameters_of_every_layer():
    with nn.init.skip_init():
        model, single = models.alexnet(), models.alexnet_one_tower()
    layers = [
        sum(p.size for p in m.parameters()) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert layers == [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000]
    assert sum(layers) == sum(p.size for p in model.parameters()) == 60_965_224
    assert sum(p.size for p in single.parameters()) == 61_100_840


def test_the_neurons_of_the_paper():
    """650,000, says its abstract."""
    with nn.init.skip_init():
        convolutions = models.alexnet().features
        channels = {m: m.weight.shape[0] for m in convolutions if isinstance(m, nn.Conv2d)}
    sides = [55, 27, 13, 13, 13]
    thin = AlexNet(widths=(2, 2, 2, 2, 2), hidden=2, num_classes=2)
    shapes = [r.shape for r in mv.summary(thin, (1, 3, 227, 227)).rows if r.kind == "Conv2d"]
    assert shapes == [f"(1, 2, {side}, {side})" for side in sides]
    neurons = [n * side**2 for n, side in zip(channels.values(), sides, strict=True)]
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264]
    assert sum(neurons) + 4096 + 4096 + 1000 == 659_272


def test_a_tower_sees_its_own_half_except_in_the_third_convolution():
    model = AlexNet(**SMALL).eval()
    convolutions = [m for m in model.features if isinstance(m, nn.Conv2d)]
    assert [conv.groups for conv in convolutions] == [1, 2, 1, 2, 2]
    x = images(1, 4, 9, 9)
    other = x.copy()
    other[:, 2:] += 1  # the second tower's channels
    first, second = (convolutions[1](v).numpy() for v in (x, other))
    np.testing.assert_array_equal(first[:, :4], second[:, :4])
    assert (first[:, 4:] != second[:, 4:]).all()
    x = images(1, 8, 9, 9)
    other = x.copy()
    other[:, 4:] += 1
    assert (convolutions[2](x).numpy() != convolutions[2](other).numpy()).all()


def test_norms_stand_between_relu_and_pooling_of_the_first_two():
    kinds = [type(m).__name__ for m in AlexNet(**SMALL).features]
    assert kinds[:8] == 2 * ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert kinds[8:] == 3 * ["Conv2d", "ReLU"] + ["MaxPool2d"]
    assert "LocalResponseNorm" not in [type(m).__name__ for m in AlexNet(1, **SMALL).features]


def test_the_papers_starting_values():
    model = AlexNet(widths=(8, 16, 8, 8, 8), hidden=64, num_classes=3)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [float(m.bias.data[0]) for m in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert all(len(set(m.bias.data)) == 1 for m in layers)
    assert np.std(layers[5].weight.data) == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize("towers, side", [(2, 227), (1, 224)])
def test_images_of_the_published_size_and_of_others(towers, side):
    model = AlexNet(towers, **SMALL).eval()
    x = images(1, 3, side, side)
    assert model.features(x).shape == (1, 8, 6, 6)
    by_hand = model.classifier(model.features(x).reshape(1, -1))  # channels, rows, columns
    np.testing.assert_allclose(model(x).numpy(), by_hand.numpy(), atol=1e-6)
    assert model(images(2, 3, 100, 90)).shape == (2, 3) and model(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("towers", [1, 2])
def test_the_same_logits_and_gradients_on_a_device_and_in_half(towers, device):
    found = []
    x = images(2, 3, 67, 67)
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = AlexNet(towers, dropout=0.0, **SMALL).to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype
        ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for got, tolerance in zip(found[1:], (1e-5, 2e-2), strict=True):
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(1e-2, np.abs(b).max())


def test_it_learns_and_is_saved(tmp_path):
    model = AlexNet(1, **SMALL, dropout=0.0, rng=0)
    x = images(6, 3, 64, 64)
    target = np.arange(6) % 3
    optimiser = optim.AdamW(model, lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.5
    mv.save(model.eval(), tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AlexNet(3), "AlexNet: towers must be 1 or 2, got 3"),
        (lambda: AlexNet(widths=(4, 4)), "AlexNet: widths must be 5 numbers"),
        (lambda: AlexNet(widths=(4, 5, 4, 4, 4)), "Conv2d: groups=2 must divide"),
        (lambda: AlexNet(hidden=0), "AlexNet: hidden must be"),
        (lambda: AlexNet(**SMALL)(images(3, 227, 227)), r"AlexNet: images must be \(B, C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
