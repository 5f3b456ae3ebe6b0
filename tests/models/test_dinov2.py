"""DINOv2: registers without a position, layer scale, hidden patches, the published sizes and ways of resizing.

Not here: equality with transformers, the authors' and timm's rules (tests/parity), published folders (tests/pretrained).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from minivis.models import DINOv2

RNG = np.random.default_rng(8)
PUBLISHED = {
    "dinov2_s14": 22_056_576,
    "dinov2_b14": 86_580_480,
    "dinov2_l14": 304_368_640,
    "dinov2_g14": 1_136_480_768,
    "dinov2_s14_registers": 22_058_112,
    "dinov2_b14_registers": 86_583_552,
    "dinov2_l14_registers": 304_372_736,
}


def small(**options):
    return DINOv2(**{"image_size": (8, 12), "patch_size": 4, "width": 16, "depth": 2, "heads": 4, **options})


def shaken(**options):
    """A model whose every parameter matters: what starts at 0 or near it is random."""
    model = small(layer_scale=1.0, rng=0, **options)
    for p in model.parameters():
        p.data += RNG.standard_normal(p.shape).astype(np.float32) * 0.3
    return model.eval()


def images(*shape):
    return RNG.standard_normal(shape or (2, 3, 8, 12)).astype(np.float32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
        without = getattr(models, name)(mask_token=False)
    assert sum(p.size for p in model.parameters()) == PUBLISHED[name]
    assert model.grid == (37, 37)
    width = model.config["width"]
    assert sum(p.size for p in without.parameters()) == PUBLISHED[name] - width  # as timm publishes it
    assert model.prefix == (5 if "registers" in name else 1)


def test_the_gated_mlp_of_the_giant_has_4096_hidden_features():
    with nn.init.skip_init():
        model = models.dinov2_g14()
    assert model.blocks[0].mlp.gate_up.weight.shape == (2 * 4096, 1536)


def test_registers_have_no_position():
    """To exchange them exchanges their outputs, and leaves class token and patches as they were."""
    model = shaken(registers=3)
    x = images()
    before = model.features(x).numpy()
    model.register_tokens.data[...] = model.register_tokens.data[:, [2, 0, 1]]
    after = model.features(x).numpy()
    np.testing.assert_allclose(after[:, 1:4], before[:, 1:4][:, [2, 0, 1]], atol=1e-5)
    others = [0, *range(4, before.shape[1])]
    np.testing.assert_allclose(after[:, others], before[:, others], atol=1e-5)
    assert np.abs(before[:, 1] - before[:, 2]).max() > 1e-3  # they are not all the same anyway
    model.register_tokens.data[:, 0] *= -2
    assert np.abs(model.features(x).numpy()[:, others] - after[:, others]).max() > 1e-3  # and they are read


def test_with_a_layer_scale_of_0_a_block_is_the_identity():
    model = shaken()
    x = images()
    for block in model.blocks:
        block.ls1.weight.data[...] = block.ls2.weight.data[...] = 0
        z = RNG.standard_normal((2, 7, 16)).astype(np.float32)
        np.testing.assert_array_equal(block(z).numpy(), z)
    seen = []
    model.blocks = [lambda z: seen.append(z) or z]
    expected = model.norm(model.with_positions(model.patch_embed(x), (2, 3))).numpy()
    np.testing.assert_array_equal(model.features(x).numpy(), expected)


def test_at_the_tables_own_size_nothing_is_interpolated():
    """To the last bit, whatever the rule for other sizes."""
    x = images()
    found = []
    for options in ({}, {"interpolate_offset": 0.1}, {"antialias": True}):
        model = small(rng=0, **options)
        found.append(model.features(x).numpy())
        other = images(1, 3, 12, 8)
        assert model.features(other).shape == (1, 7, 16)
    for tokens in found[1:]:
        np.testing.assert_array_equal(tokens, found[0])


def test_the_rule_for_other_sizes_is_the_published_one_unless_given():
    x = images(1, 3, 4, 8)
    features = lambda **options: small(rng=0, layer_scale=1.0, **options).features(x).numpy()  # noqa: E731
    plain = features()
    assert np.abs(plain - features(interpolate_offset=0.1)).max() > 1e-4
    assert np.abs(plain - features(antialias=True)).max() > 1e-4
    assert not small().antialias and small(registers=2).antialias
    assert not small(registers=2, antialias=False).antialias


def test_the_head_reads_the_class_token_and_the_mean_of_the_patches():
    model = shaken(registers=2, num_classes=5)
    x = images()
    z = model.features(x).numpy()
    assert z.shape == (2, 1 + 2 + 6, 16)
    both = np.concatenate([z[:, 0], z[:, 3:].mean(axis=1)], axis=1)
    expected = both @ model.head.weight.data.T + model.head.bias.data
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(shaken()(x).shape, (2, 16))


def test_the_mask_token_stands_for_hidden_patches():
    model = shaken()
    x = images()
    hidden = np.zeros((2, 6), bool)
    hidden[0, 4] = True
    found = model.features(x, hidden).numpy()
    np.testing.assert_allclose(found[1], model.features(x).numpy()[1], atol=1e-5)
    x[0, :, 4:8, 4:8] += 1  # patch 4 is the one in the middle of the second row: nobody sees its pixels
    np.testing.assert_array_equal(model.features(x, hidden).numpy()[0], found[0])
    assert np.abs(model.features(x).numpy()[0] - found[0]).max() > 1e-3
    for wrong in (np.zeros((2, 5), bool), np.zeros((2, 6))):
        with pytest.raises(ValueError, match=r"DINOv2: hidden must be boolean and \(B, N\) = \(2, 6\)"):
            model.features(x, wrong)
    with pytest.raises(ValueError, match="DINOv2: hidden needs mask_token=True"):
        small(mask_token=False).features(x, hidden)


@pytest.mark.parametrize("registers", [-1, 1.5])
def test_a_number_of_registers_that_is_none_is_refused(registers):
    with pytest.raises(
        ValueError, match=f"DINOv2: registers must be a whole number of at least 0, got {registers}"
    ):
        small(registers=registers)


def test_the_same_features_and_gradients_on_a_device(device):
    found = []
    x = images()
    hidden = RNG.random((2, 6)) < 0.5
    for where in ("cpu", device):
        model = small(registers=2, gated=True, rng=1, layer_scale=0.5).to(where)
        y = model.features(mv.to_device(x, where), mv.to_device(hidden, where))
        (y * y[:, ::-1]).sum().backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_attention_maps_have_a_row_for_every_token_and_half_precision_stays():
    model = small(registers=2).eval()
    assert [a.shape for a in model.attention_maps(images())] == [(2, 4, 9, 9)] * 2
    assert model.to("float16")(images().astype(np.float16)).dtype == np.float16
