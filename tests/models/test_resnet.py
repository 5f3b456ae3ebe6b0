"""ResNet: the published sizes, what a block computes, the maps a detector takes, frozen and dilated stages, and that it learns.

Not here: equality with transformers (tests/parity), names in published files (tests/pretrained).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.models import ResNet
from minivis.models.resnet import Block
from minivis.nn import BatchNorm2d, FrozenBatchNorm2d

RNG = np.random.default_rng(12)
PUBLISHED = {  # parameters and buffers for 1000 classes
    "resnet18": (11_689_512, 9_620),
    "resnet34": (21_797_672, 17_060),
    "resnet50": (25_557_032, 53_173),
    "resnet101": (44_549_160, 105_448),
    "wide_resnet50_2": (68_883_240, None),
    "wide_resnet101_2": (126_886_696, None),
}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def small(**options):
    return ResNet(
        **{"depths": (1, 2), "kind": "basic", "widths": (8, 16), "stem_width": 8, "num_classes": 3, **options}
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters_and_buffers(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == PUBLISHED[name][0]
    assert PUBLISHED[name][1] in (None, sum(b.size for _, b in model.named_buffers()))


def test_frozen_norms_are_buffers_and_do_not_count_batches():
    with nn.init.skip_init():
        model = models.resnet50(num_classes=0, norm="frozen")
    norms = 26_560
    assert sum(p.size for p in model.parameters()) == 25_557_032 - 2 * norms - (2048 * 1000 + 1000)
    assert sum(b.size for _, b in model.named_buffers()) == 4 * norms


def test_a_block_that_adds_nothing_is_a_relu():
    for kind in ("basic", "bottleneck"):
        block = Block(kind, 8, 8, 1, 1, BatchNorm2d, np.random.default_rng(0)).eval()
        x = images(2, 8, 5, 6)
        block.layers[-1].conv.weight.data[...] = 0
        np.testing.assert_array_equal(block(x).numpy(), np.maximum(x, 0))


def test_equation_2_by_hand():
    block = Block("bottleneck", 8, 16, 2, 1, FrozenBatchNorm2d, np.random.default_rng(1))
    x = images(2, 8, 6, 4)
    first, second, third = (layer.conv.weight.data for layer in block.layers)
    assert [w.shape for w in (first, second, third)] == [(4, 8, 1, 1), (4, 4, 3, 3), (16, 4, 1, 1)]
    y = np.maximum(mv.ops.conv2d(x, first), 0)
    y = np.maximum(mv.ops.conv2d(y, second, stride=2, padding=1), 0)  # the stride is in the 3 x 3: v1.5
    expected = mv.ops.conv2d(y, third) + mv.ops.conv2d(x, block.shortcut.conv.weight.data, stride=2)
    np.testing.assert_allclose(block(x).numpy(), np.maximum(expected, 0), atol=1e-4)


def test_a_wide_block_is_wide_inside_only():
    block = Block("bottleneck", 8, 16, 2, 1, FrozenBatchNorm2d, np.random.default_rng(1), widening=2)
    assert [layer.conv.weight.shape for layer in block.layers] == [(8, 8, 1, 1), (8, 8, 3, 3), (16, 8, 1, 1)]
    with pytest.raises(ValueError, match="ResNet: widening is for bottleneck blocks"):
        small(widening=2)


def test_maps_halve_and_round_up_and_their_channels_are_announced():
    model = ResNet((1, 1, 1, 1), widths=(8, 16, 24, 32), stem_width=4, num_classes=0)
    maps = model.features(images(2, 3, 65, 100))
    assert [x.shape[1:] for x in maps] == [(8, 17, 25), (16, 9, 13), (24, 5, 7), (32, 3, 4)]
    assert model.channels == (8, 16, 24, 32)
    np.testing.assert_allclose(
        model.eval()(images(1, 3, 64, 64) * 0 + 1).numpy(),
        model.features(images(1, 3, 64, 64) * 0 + 1)[-1].numpy().mean(axis=(2, 3)),
        atol=1e-6,
    )


def test_a_patch_stem_is_as_coarse_and_looks_at_each_pixel_once():
    model = small(patch_stem=True)
    assert [x.shape for x in model.features(images(2, 3, 32, 48))] == [(2, 8, 8, 12), (2, 16, 4, 6)]
    assert model.stem.conv.weight.shape == (8, 3, 4, 4) and model.stem.conv.stride == 4
    x = mv.Tensor(images(1, 3, 32, 32), requires_grad=True)
    model.stem.conv(x)[0, 0, 2, 3].backward()
    assert {tuple(i) for i in np.argwhere(x.grad[0, 0])} == {
        (y, x) for y in range(8, 12) for x in range(12, 16)
    }


def test_a_dilated_stage_keeps_the_size_and_the_weights_and_sees_as_far():
    plain, dilated = (
        ResNet((1, 1, 2), "basic", (4, 4, 8), 4, num_classes=0, norm="frozen", dilated=d, rng=0)
        for d in (False, True)
    )
    same = plain.state_dict()
    assert all(np.array_equal(x, same[name]) for name, x in dilated.state_dict().items())
    x = images(1, 3, 64, 96)
    (*_, a), (*_, b) = plain.features(x), dilated.features(x)
    assert a.shape[2:] == (4, 6) and b.shape[2:] == (8, 12)
    stage = [[layer.conv.dilation for layer in block.layers] for block in dilated.stages[-1]]
    assert stage == [[1, 1], [2, 2]]  # the first block still reads a dense map


def test_frozen_stages_get_no_gradient():
    model = small(norm="frozen").freeze(1)
    model(images(2, 3, 32, 32)).sum().backward()
    trained = {
        name.split(".")[0] + name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None
    }
    assert trained == {"stages1", "headweight", "headbias"}


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_the_same_logits_and_gradients_on_a_device(norm, device):
    found = []
    x = images(2, 3, 33, 32)
    for where in ("cpu", device):
        model = small(norm=norm).to(where)
        y = model(mv.to_device(x, where))
        mv.ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_it_learns_and_every_parameter_takes_part():
    model = small(norm="group", rng=0)
    x = images(12, 3, 32, 32)
    target = RNG.integers(0, 3, 12)
    before = model.state_dict()
    optimiser = optim.AdamW(model, lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = mv.ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.1
    assert not [name for name, value in model.state_dict().items() if np.array_equal(value, before[name])]


def test_it_is_saved_and_loaded(tmp_path):
    model = small(norm="frozen", rng=3).eval()
    x = images(1, 3, 32, 32)
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ResNet(kind="wide"), 'ResNet: kind must be "basic" or "bottleneck", got'),
        (lambda: ResNet(norm="layer"), "ResNet: norm must be one of batch, frozen, group, got 'layer'"),
        (lambda: ResNet((1, 1), widths=(8,)), "ResNet: 2 stages need 2 widths, got 1"),
        (lambda: small()(images(3, 32, 32)), r"ResNet: images must be \(B, C, H, W\)"),
        (lambda: small()(images(1, 4, 32, 32)), "conv2d: x has C=4 channels but weight expects C=3"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_variant_d_reads_the_image_in_three_steps_and_averages_before_a_shortcut():
    model = small(variant="d", depths=(1, 1), norm="frozen")
    assert [tuple(model.stem[i].conv.weight.shape) for i in (0, 2, 4)] == [
        (4, 3, 3, 3),
        (4, 4, 3, 3),
        (8, 4, 3, 3),
    ]
    # every stage begins with a convolution beside the block, also the first, whose channels stay
    first, second = (stage[0] for stage in model.stages)
    x = images(2, 8, 5, 6)
    for norm in (first.layers[-1].norm, second.layers[-1].norm):
        norm.weight = np.zeros_like(norm.weight)  # what is left is the shortcut
    expected = np.einsum("oc,bchw->bohw", first.shortcut.conv.weight.data[:, :, 0, 0], x)
    np.testing.assert_allclose(first(x).numpy(), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
    cells = [
        [x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(2, 3)) for j in range(3)] for i in range(3)
    ]
    mean = np.array(cells).transpose(2, 3, 0, 1)  # the last row has one pixel of height 1
    expected = np.einsum("oc,bchw->bohw", second.shortcut[1].conv.weight.data[:, :, 0, 0], mean)
    np.testing.assert_allclose(second(x).numpy(), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_variant_d_has_the_same_maps_and_goes_with_dilation_and_patches():
    x = images(1, 3, 61, 33)
    shapes = [y.shape for y in small().features(x)]
    assert [y.shape for y in small(variant="d").features(x)] == shapes
    assert small(variant="d", dilated=True).features(x)[-1].shape[2:] == shapes[0][2:]
    patches = small(variant="d", patch_stem=True)
    assert patches.stem.conv.weight.shape == (8, 3, 4, 4) and patches(x).shape == (1, 3)
    with pytest.raises(ValueError, match='ResNet: variant must be "b" or "d", got \'c\''):
        small(variant="c")
