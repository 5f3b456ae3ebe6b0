"""BiT: its maps, its padding, that the scale of its filters changes nothing, and that it learns.

Not here: equality with transformers (tests/parity), the laws of its convolution (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops
from minivis.gradcheck import check_gradient
from minivis.models import BiT
from minivis.nn.weight_standardization import pad_same

RNG = np.random.default_rng(14)


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def small(**options):
    return BiT(**{"depths": (1, 2), "widths": (16, 32), "stem_width": 8, "groups": 4, "rng": 0, **options})


def test_the_published_backbone_has_its_number_of_parameters():
    with nn.init.skip_init():
        whole = BiT()
        hybrid = models.vit_hybrid_b16()
    of_vit = 85_798_656 - 3 * 768 * 16 * 16 - (196 - 576) * 768 + 1024 * 768 + 768 * 1000 + 1000
    assert sum(p.size for p in whole.parameters()) == 98_950_952 - of_vit
    assert sum(p.size for p in hybrid.backbone.parameters()) == 98_950_952 - of_vit
    assert (whole.stride, whole.channels) == (16, (256, 512, 1024))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (1, 5)])
def test_maps_have_the_images_size_by_their_stride_rounded_up(height, width):
    maps = small().features(images(1, 3, height, width))
    for stride, channels, found in zip((4, 8), (16, 32), maps, strict=True):
        assert found.shape == (1, channels, -(-height // stride), -(-width // stride))


def test_same_padding_of_the_slide_and_of_224_pixels():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    ones = np.ones((1, 1, 3, 3))
    same = ops.conv2d(pad_same(x, 3, 2), ones, stride=2)
    np.testing.assert_array_equal(same[0, 0], [[45, 39], [66, 50]])
    np.testing.assert_array_equal(ops.conv2d(x, ones, stride=2, padding=1)[0, 0], [[10, 24], [51, 90]])
    large = np.zeros((1, 1, 224, 4))
    assert pad_same(large, 3, 2).shape == (1, 1, 225, 5)
    assert pad_same(large, 1, 2) is large and pad_same(large, (5, 1), 1).shape == (1, 1, 228, 4)


def test_the_mean_and_the_scale_of_a_filter_change_nothing():
    model = small().eval()
    x = images(2, 3, 20, 24)
    before = model(x).numpy()
    for block in [b for stage in model.stages for b in stage]:
        for layer in block.layers:
            layer.conv.weight.data[...] = layer.conv.weight.data * 2 + 0.25
    np.testing.assert_allclose(model(x).numpy(), before, atol=1e-4)


def test_gradients_pass_through_the_standardisation():
    x, weight = RNG.standard_normal((2, 2, 5, 4)), RNG.standard_normal((3, 2, 3, 2))
    check_gradient(lambda x, w: nn.weight_standardized_conv2d(x, w, stride=(2, 1)), x, weight)
    w = mv.Tensor(weight, requires_grad=True)
    y = nn.weight_standardized_conv2d(x, w)
    (y * RNG.standard_normal(y.shape)).sum().backward()
    np.testing.assert_allclose(w.grad.sum(axis=(1, 2, 3)), 0, atol=1e-10)
    np.testing.assert_allclose((w.grad * weight).sum(axis=(1, 2, 3)), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(widths=(16,)), "BiT: 2 stages need 2 widths, got 1"),
        (lambda: small(groups=3), "BiT: 3 groups must divide the stem's channels and a quarter of each stage's, got 8"),
        (lambda: small(widths=(16, 24)), "BiT: 4 groups must .* got 6"),
        (lambda: BiT(depths=()), "BiT: depths must be at least one number, got none"),
        (lambda: small(depths=(0, 1)), "BiT: depths must be a whole number of at least 1"),
        (lambda: small()(images(3, 8, 8)), r"BiT: images must be \(B, C, H, W\)"),
        (
            lambda: nn.weight_standardized_conv2d(np.ones((1, 2, 4, 4)), np.ones((1, 3, 2, 2))),
            r"weight_standardized_conv2d: x must be .* with the same C \(x: \(1, 2, 4, 4\)",
        ),
        (
            lambda: nn.weight_standardized_conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2)), padding="valid"),
            'weight_standardized_conv2d: padding must be "same", a number or two, got',
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_same_maps_and_gradients_on_a_device(device):
    found = []
    x = images(1, 3, 9, 12)
    for where in ("cpu", device):
        model = small(num_classes=3).to(where)
        y = model(mv.to_device(x, where))
        (y * y).sum().backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_it_learns_what_it_sees():
    model = small(num_classes=3)
    x = images(6, 3, 16, 16)
    target = np.arange(6) % 3
    optimiser = mv.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
