"""SegNet: exact counts, sizes, values back at the pixels of the maxima, dtypes and devices, learning.

Not here: the poolings themselves (tests/ops).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models import SegNet

RNG = np.random.default_rng(45)
SMALL = {"depths": (1, 2), "widths": (4, 6), "num_classes": 3}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("classes, count", [(11, 29_449_355), (12, 29_449_932), (21, 29_455_125)])
def test_exact_number_of_parameters(classes, count):
    with nn.init.skip_init():
        model = models.segnet(classes)
    assert sum(p.size for p in model.parameters()) == count
    assert sum(p.size for stage in model.encoder for p in stage.parameters()) == 14_723_136
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 26
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 25  # the logits have none


@pytest.mark.parametrize("height, width", [(8, 12), (9, 7), (4, 5)])
def test_logits_have_the_size_of_the_image(height, width):
    assert SegNet(**SMALL)(images(2, 3, height, width)).shape == (2, 3, height, width)


def test_values_come_back_to_the_pixels_of_the_maxima():
    model = SegNet(**SMALL).eval()
    x = images(1, 3, 8, 8)
    with mv.no_grad(), nn.looking(model) as seen:
        model(x)
        first = model.encoder[0](x).numpy()
    pooled, unpooled = seen["pooled0"], seen["unpooled0"]
    assert pooled.shape == (1, 4, 4, 4) and unpooled.shape == (1, 4, 8, 8)
    windows = unpooled.reshape(1, 4, 4, 2, 4, 2).transpose(0, 1, 2, 4, 3, 5).reshape(-1, 4)
    assert (np.count_nonzero(windows, axis=1) <= 1).all()
    places = first.reshape(1, 4, 4, 2, 4, 2).transpose(0, 1, 2, 4, 3, 5).reshape(-1, 4).argmax(axis=1)
    filled = windows.any(axis=1)
    assert filled.sum() > 10
    np.testing.assert_array_equal(np.abs(windows).argmax(axis=1)[filled], places[filled])


def test_the_same_logits_and_gradients_on_a_device_and_in_half(device):
    found = []
    x = images(2, 3, 8, 8)
    for where, dtype in (("cpu", "float64"), (device, "float32")):
        model = SegNet(**SMALL).to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype
        ops.mean(y * mv.to_device(np.array([1.0, -2.0, 3.0], dtype)[:, None, None], where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    largest = max(np.abs(g).max() for g in found[0])
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * max(largest, np.abs(b).max())
    assert SegNet(**SMALL).to("float16")(x.astype(np.float16)).dtype == np.float16


def test_it_learns_and_is_saved(tmp_path):
    model = SegNet(**SMALL, rng=0)
    x = images(2, 3, 8, 8)
    target = (x[:, 0] > 0).astype(int)
    optimiser = optim.AdamW(model, lr=1e-2)
    for _ in range(40):
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
        (lambda: SegNet((1, 1), (8,)), "SegNet: depths and widths must be one number for each stage"),
        (lambda: SegNet((), ()), "SegNet: depths and widths must be one number for each stage"),
        (lambda: SegNet((0, 1), (8, 8)), "SegNet: depths must be"),
        (lambda: SegNet(**SMALL)(images(3, 8, 8)), r"SegNet: images must be \(B, C, H, W\)"),
        (lambda: SegNet(**SMALL)(images(1, 3, 3, 8)), "SegNet: images must have at least 4 x 4 pixels"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
