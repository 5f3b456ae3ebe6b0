"""Segmenter: exact counts, sizes and padding, what its decoders compute, dtypes and devices, learning, refusals.

Not here: the comparison of patches and classes (tests/vision/test_class_masks.py), parity (tests/parity).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, ops, optim
from minivis.models import Segmenter, ViT
from minivis.nn import init, looking

RNG = np.random.default_rng(17)
IMAGES = RNG.standard_normal((2, 3, 8, 12)).astype(np.float32)


def small(rng=0, classes=5, decoder="mask", prefix=True, **options):
    pool = "token" if prefix else "mean"
    encoder = ViT((8, 12), 4, 16, 2, 4, num_classes=0, pool=pool, rng=rng)
    return Segmenter(encoder, classes, decoder, rng=rng, **options)


def count(module):
    return sum(p.size for p in module.parameters())


ENCODERS = {"tiny": 5_683_392, "small": 21_983_616, "base": 86_434_560, "large": 304_739_328}
DECODERS = {"tiny": 1_029_996, "small": 4_050_348, "base": 16_063_020, "large": 28_495_148}
# the authors' models with masks and with a linear decoder: they keep the encoder's layer for ImageNet's classes, unused
AUTHORS = {
    "tiny": (6_906_388, 5_905_342),
    "small": (26_418_964, 22_426_366),
    "base": (103_266_580, 87_318_910),
    "large": (334_259_476, 305_918_078),
}


@pytest.mark.parametrize("size", ENCODERS)
def test_published_sizes(size):
    make = getattr(models, f"segmenter_{size}")
    with init.skip_init():
        model = make()
        linear = make(decoder="linear")
    assert (count(model.encoder), count(model.decoder)) == (ENCODERS[size], DECODERS[size])
    unused = 1000 * (model.class_tokens.shape[1] + 1)
    assert (count(model) + unused, count(linear) + unused) == AUTHORS[size]
    assert model.encoder.interpolate_mode == "bilinear" and model.encoder.norm.eps == 1e-5
    assert len(model.decoder.blocks) == 2 and model.class_tokens.shape[0] == 150
    assert model.decoder.blocks[0].self_attn.num_heads == model.class_tokens.shape[1] // 64


def test_published_variants():
    found = {}
    with init.skip_init():
        for name, options in {
            "small 32": {"patch_size": 32},
            "base 32": {"patch_size": 32},
            "base 8": {"patch_size": 8},
            "large 512": {"image_size": 512},
            "base deit": {"distilled": True},
        }.items():
            make = getattr(models, f"segmenter_{name.split()[0]}")
            unused = 1000 * (make().class_tokens.shape[1] + 1) * (1 + ("distilled" in options))
            found[name] = [count(make(decoder=kind, **options)) + unused for kind in ("mask", "linear")]
    assert found == {
        "small 32": [27_008_788, 23_016_190],
        "base 32": [104_446_228, 88_498_558],
        "base 8": [105_183_508, 89_235_838],
        "large 512": [333_669_652, 305_328_254],
        "base deit": [104_037_116, 88_089_446],
    }


@pytest.mark.parametrize("decoder", ["mask", "linear"])
@pytest.mark.parametrize("height, width", [(8, 12), (12, 8), (7, 10), (1, 5)])
def test_logits_have_the_size_of_the_image(decoder, height, width):
    model = small(decoder=decoder)
    x = RNG.standard_normal((2, 3, height, width)).astype(np.float32)
    assert model(x).shape == (2, 5, height, width)


def test_padding_is_zeros_below_and_at_the_right_and_is_cut_off():
    model = small()
    x = IMAGES[:, :, :7, :10]
    whole = np.zeros((2, 3, 8, 12), np.float32)
    whole[:, :, :7, :10] = x
    np.testing.assert_array_equal(model(x).numpy(), model(whole).numpy()[:, :, :7, :10])
    assert not np.array_equal(model(whole).numpy(), model(IMAGES).numpy())


def test_the_class_token_of_the_encoder_is_dropped():
    model = small()
    tokens, grid = model.patches(IMAGES)
    np.testing.assert_array_equal(tokens.numpy(), model.encoder.features(IMAGES).numpy()[:, 1:])
    assert grid == (2, 3)
    assert small(prefix=False).patches(IMAGES)[0].shape == (2, 6, 16)
    encoder = ViT((8, 12), 4, 16, 1, 4, num_classes=0, distilled=True)
    assert Segmenter(encoder, 3).patches(IMAGES)[0].shape == (2, 6, 16)


def test_the_linear_decoder_is_a_1x1_convolution():
    model = small(decoder="linear")
    tokens, (h, w) = model.patches(IMAGES)
    layer = model.decoder.head
    maps = ops.reshape(ops.transpose(tokens, (0, 2, 1)), (2, 16, h, w))
    scores = ops.conv2d(maps, ops.reshape(layer.weight, (5, 16, 1, 1)), layer.bias)
    with looking(model) as seen:
        logits = model(IMAGES)
    np.testing.assert_allclose(seen["masks"], scores.numpy(), atol=1e-6)
    np.testing.assert_allclose(
        logits.numpy(), ops.interpolate(scores, (8, 12), mode="bilinear").numpy(), atol=1e-6
    )


def test_classes_come_after_the_patches_and_are_seen():
    model = small()
    with looking(model) as seen:
        model(IMAGES)
    assert seen["decoder.blocks.1.self_attn.weights"].shape == (2, 4, 6 + 5, 6 + 5)
    assert seen["encoder.blocks.0.attn.weights"].shape == (2, 4, 7, 7) and seen["masks"].shape == (2, 5, 2, 3)
    assert model.class_embeddings(IMAGES).shape == (2, 5, 16) and model.class_tokens.shape == (5, 16)


def test_another_order_of_the_classes_is_another_order_of_the_scores():
    model, other = small(), small()
    order = [3, 0, 4, 1, 2]
    for m in (model, other):  # with norms of 1 and 0 their order would not show
        norm = m.decoder.mask_norm
        norm.weight.data = np.arange(1, 6, dtype=np.float32)
        norm.bias.data = np.arange(5, dtype=np.float32)
    for parameter in (
        other.decoder.class_tokens, other.decoder.mask_norm.weight, other.decoder.mask_norm.bias,
    ):  # fmt: skip
        parameter.data = parameter.data[order]
    np.testing.assert_allclose(other(IMAGES).numpy(), model(IMAGES).numpy()[:, order], atol=1e-5)


def test_with_one_class_every_score_is_the_shift():
    model = small(classes=1)
    model.decoder.mask_norm.bias.data += 0.75
    np.testing.assert_allclose(model(IMAGES).numpy(), 0.75, atol=1e-6)


def test_the_decoder_can_have_another_width():
    model = small(decoder_width=24, decoder_heads=3, decoder_depth=1)
    assert model.class_tokens.shape == (5, 24) and model(IMAGES).shape == (2, 5, 8, 12)


@pytest.mark.parametrize("decoder", ["mask", "linear"])
def test_the_same_logits_and_gradients_on_a_device_and_in_half(device, decoder):
    found = []
    for where, dtype in (("cpu", "float64"), (device, "float32")):
        model = small(decoder=decoder).to(dtype).to(where)
        y = model(mv.to_device(IMAGES[:, :, :7].astype(dtype), where))
        assert y.dtype == dtype
        weights = np.random.default_rng(3).standard_normal(y.shape).astype(dtype)
        ops.sum(y * mv.to_device(weights, where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters() if p.grad is not None)])
    largest = max(np.abs(g).max() for g in found[0])
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 2e-5 * max(largest, np.abs(b).max())
    assert small(decoder=decoder).to("float16")(IMAGES.astype(np.float16)).dtype == np.float16


@pytest.mark.parametrize("decoder, share", [("mask", 0.65), ("linear", 0.2)])
def test_it_learns_and_is_saved(tmp_path, decoder, share):
    model = small(classes=3, decoder=decoder, prefix=False)
    bright = np.array([[0, 1, 1], [1, 0, 0]], bool).repeat(4, axis=0).repeat(4, axis=1)  # (8, 12)
    x = np.where(bright, IMAGES + 2, IMAGES).astype(np.float32)
    target = np.stack([bright.astype(int)] * 2)
    optimiser = optim.AdamW(model, lr=1e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < share * losses[0]  # the scores of masks are bounded until gamma has grown
    mv.save(model.eval(), tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small(decoder="cnn"), 'Segmenter: decoder must be "mask" or "linear", got \'cnn\''),
        (lambda: small(classes=0), "Segmenter: num_classes must be"),
        (lambda: small(decoder_depth=0), "Segmenter: decoder_depth must be"),
        (lambda: small(decoder_width=10), "MultiHeadAttention: 4 heads do not divide"),
        (
            lambda: Segmenter(ViT(8, 4, 16, 1, 4, num_classes=3), 5),
            "Segmenter: encoder must be a ViT without a backbone and without a head",
        ),
        (
            lambda: Segmenter(models.ResNet((1,), "basic", widths=(8,), num_classes=0), 5),
            "Segmenter: encoder must be a ViT",
        ),
        (lambda: small()(IMAGES[0]), r"Segmenter: images must be \(B, C, H, W\)"),
        (lambda: small(decoder="linear").class_tokens, "Segmenter: class_tokens needs the mask decoder"),
        (lambda: small(decoder="linear").class_embeddings(IMAGES), "Segmenter: class_embeddings needs the"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
