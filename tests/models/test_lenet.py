"""LeNet-5: the paper's counts, its table and activation, what a layer computes, the loss by hand; and the modern form.

Not here: the laws of its layers (tests/laws), its training (tests/recipes).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis import models
from minivis.models import LeNet5, ModernLeNet5
from minivis.models.lenet import CONNECTIONS, bitmaps

RNG = np.random.default_rng(31)


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_the_papers_parameters_and_connections():
    model = LeNet5()
    layers = {
        name: sum(p.size for p in getattr(model, name).parameters())
        for name in vars(model)
        if name != "config"
    }
    assert layers == {
        "c1": 156,
        "s2": 12,
        "c3": 1_516,
        "s4": 32,
        "c5": 48_120,
        "f6": 10_164,
        "output": 0,
    }
    assert sum(p.size for p in model.parameters()) == 60_000
    connections = model.connections()
    assert connections == {
        "C1": 122_304, "S2": 5_880, "C3": 151_600, "S4": 2_000, "C5": 48_120, "F6": 10_164, "output": 840,
    }  # fmt: skip
    assert sum(connections.values()) == 340_908


def test_the_table_of_c3():
    assert CONNECTIONS.shape == (16, 6) and CONNECTIONS.sum() == 60
    np.testing.assert_array_equal(CONNECTIONS.sum(axis=1), 6 * [3] + 9 * [4] + [6])
    np.testing.assert_array_equal(CONNECTIONS.sum(axis=0), 6 * [10])  # every map of S2 feeds ten of C3
    assert len({tuple(row) for row in CONNECTIONS}) == 16
    assert [list(np.flatnonzero(CONNECTIONS[i])) for i in (4, 12, 14)] == [
        [0, 4, 5],
        [0, 1, 3, 4],
        [0, 2, 3, 5],
    ]


def test_the_pictures_are_ten_different_ones():
    pictures = bitmaps()
    assert pictures.shape == (10, 84) and set(np.unique(pictures)) == {-1, 1}
    differing = (pictures[:, None] != pictures).sum(axis=2)
    assert differing[~np.eye(10, dtype=bool)].min() >= 3
    model = LeNet5()
    assert [name for name, _ in model.named_buffers()] == ["output.centres"]
    np.testing.assert_array_equal(model.output(pictures).numpy(), 4 * differing)


def test_squash_is_1_at_1_and_odd():
    assert models.squash(np.array(1.0)) == pytest.approx(0.9999972, abs=1e-6)
    x = images(50)
    np.testing.assert_allclose(models.squash(-x), -models.squash(x))
    assert abs(models.squash(np.array(1e4))) == pytest.approx(1.7159)


def test_c3_is_a_convolution_with_zeros():
    layer = LeNet5(rng=1).c3
    assert layer.weight.shape == (60, 5, 5)
    dense = np.zeros((16, 6, 5, 5), np.float32)
    for kernel, (o, c) in zip(layer.weight.data, np.argwhere(CONNECTIONS), strict=True):
        dense[o, c] = kernel
    x = images(2, 6, 14, 14)
    expected = mv.ops.conv2d(x, dense, layer.bias.data)
    np.testing.assert_allclose(layer(x).numpy(), expected, atol=1e-5)
    bound = 2.4 / 25 / CONNECTIONS.sum(axis=1)
    assert (np.abs(dense).max(axis=(1, 2, 3)) <= bound).all()
    assert (np.abs(dense).max(axis=(1, 2, 3)) > 0.8 * bound).all()


def test_equation_9_by_hand():
    y = np.array([[1.0, 3.0, 60.0], [0.5, 2.0, 7.0]])
    j = 2.0
    by_hand = [
        y[b, t] + math.log(math.exp(-j) + sum(math.exp(-penalty) for penalty in y[b]))
        for b, t in ((0, 0), (1, 2))
    ]
    assert float(models.lenet_loss(-y, np.array([0, 2]), j)) == pytest.approx(np.mean(by_hand))
    far = models.lenet_loss(np.full((1, 10), -600, np.float32), np.array([4]), 1.0)  # every exp(-600) is 0
    assert float(far) == pytest.approx(599.0)


@pytest.mark.parametrize("make", [LeNet5, lambda: ModernLeNet5(pooling="average", activation="tanh")])
def test_the_same_logits_and_gradients_on_a_device_and_in_other_dtypes(make, device):
    found = []
    x = images(3, 1, 32, 32)
    for where, dtype in (("cpu", "float64"), ("cpu", "float32"), (device, "float32"), ("cpu", "float16")):
        model = make().to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype
        models.lenet_loss(y, mv.to_device(np.array([0, 2, 9]), where), 10.0).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for got, tolerance in zip(found[1:], (1e-5, 1e-5, 1e-2), strict=True):
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(1e-3, np.abs(b).max())


def test_logits_are_minus_the_distances_of_the_drawing():
    model = LeNet5(rng=3)
    x = images(2, 1, 32, 32)
    with mv.nn.looking(model) as seen:
        logits = model(x).numpy()
    assert [seen[name].shape[1:] for name in ("c1", "s4", "f6")] == [(6, 28, 28), (16, 5, 5), (12, 7)]
    drawing = seen["f6"].reshape(2, 84)
    expected = -((drawing[:, None] - bitmaps()) ** 2).sum(axis=2)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    np.testing.assert_array_equal(model.penalties(x).numpy(), -logits)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_the_modern_form_has_61706_parameters(pooling):
    for side in (32, 28):
        model = ModernLeNet5(image_size=side, pooling=pooling)
        assert sum(p.size for p in model.parameters()) == 61_706
        rows = {row.name: row.shape for row in mv.summary(model, (2, 1, side, side)).rows}
        assert (rows["c1"], rows["s2"], rows["s4"]) == ("(2, 6, 28, 28)", "(2, 6, 14, 14)", "(2, 16, 5, 5)")


@pytest.mark.parametrize("model", [LeNet5(rng=2), ModernLeNet5(num_classes=3, channels=2, rng=2)])
def test_it_is_saved_and_loaded(model, tmp_path):
    x = images(2, model.c1.weight.shape[1], 32, 32)
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())
    assert model(x[:0]).shape == (0, model(x).shape[1])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LeNet5()(images(1, 1, 28, 28)), r"LeNet5: images must be \(B, 1, 32, 32\)"),
        (lambda: LeNet5()(images(32, 32)), r"LeNet5: images must be \(B, C, H, W\)"),
        (lambda: ModernLeNet5()(images(1, 1, 28, 28)), "ModernLeNet5: images must be 32 x 32"),
        (lambda: ModernLeNet5(pooling="least"), "ModernLeNet5: pooling must be one of"),
        (lambda: ModernLeNet5(image_size=64), "ModernLeNet5: image_size must be one of"),
        (lambda: ModernLeNet5(num_classes=0), "ModernLeNet5: num_classes must be"),
        (lambda: models.lenet_loss(images(2, 3), np.array([0, 1]), 0.0), "lenet_loss: needs logits"),
        (lambda: models.subsample(images(1, 2, 3, 4), images(2), images(2)), "subsample: x must be"),
        (lambda: models.subsample(images(1, 2, 4, 4), images(2), images(3)), "subsample: x must be"),
        (
            lambda: models.masked_conv2d(
                images(1, 2, 4, 4), images(3, 2, 3, 3), images(3), np.ones((2, 3), bool)
            ),
            "masked_conv2d: table must be",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("label", [10, -1, -100])
def test_a_label_that_is_no_class_is_refused_also_the_number_of_none_of_them(label):
    with pytest.raises(IndexError, match=f"lenet_loss: label {label} in target is out of range"):
        models.lenet_loss(images(2, 10), np.array([0, label]))


def test_halves_are_computed_in_float32():
    one = np.ones(1, np.float16)
    sums = models.subsample(np.full((1, 1, 2, 2), 30000, np.float16), one / 4, 0 * one)  # 120000 is infinite
    assert sums.item() == 30000
    assert models.squash(one).item() == 1  # 0.9999972 is nearest to 1
    with pytest.raises(TypeError, match="squash: x must be floating-point, got int64"):
        models.squash(np.array([1, 2]))


def test_lists_are_refused_by_name():
    with pytest.raises(TypeError, match="masked_conv2d: table must be an array"):
        models.masked_conv2d(images(1, 2, 4, 4), images(3, 2, 3, 3), images(3), [[True, True]] * 3)
    with pytest.raises(TypeError, match="subsample: bias must be an array"):
        models.subsample(images(1, 2, 4, 4), images(2), None)
