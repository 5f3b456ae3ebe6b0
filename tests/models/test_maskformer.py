"""MaskFormer: the published sizes, the feature pyramid step by step, the decoder of DETR inside, and that it learns.

Not here: equality with transformers (tests/parity), the loss (tests/losses), the trained checkpoint.
"""

import copy

import numpy as np
import pytest

import minivis as mv
from minivis import losses, models, nn, ops, optim
from minivis.models import MaskFormer
from minivis.vision import sine_position_code

RNG = np.random.default_rng(6)
IMAGES = RNG.standard_normal((2, 3, 32, 48)).astype(np.float32)
DETR_LAYER = 4 * (256 * 256 + 256) + 2 * 256 * 2048 + 2048 + 256 + 2 * 2 * 256  # attention, MLP, two norms


def small(backbone=None, **options):
    options = {"queries": 5, "width": 16, "heads": 2, "decoder_depth": 3, "dropout": 0.0, **options}
    backbone = backbone or models.ResNet(
        (1, 1, 1), "basic", widths=(8, 8, 12), stem_width=8, num_classes=0, norm="group", rng=1
    )
    return MaskFormer(backbone, 3, mlp_width=24, rng=2, **{"groups": 4, **options})


def count(name, *classes):
    with nn.init.skip_init():
        return sum(p.size for p in getattr(models, name)(*classes).parameters())


@pytest.mark.parametrize(
    "size, of_150, of_133, unused",  # transformers' counts; its Swins have a norm of 2 x their last width that is not used
    [
        ("swin_t", 41_758_545, 41_754_176, 2 * 768),
        ("swin_s", 63_076_449, 63_072_080, 2 * 768),
        ("swin_b", 101_831_439, None, 2 * 1024),
        ("swin_l", 211_578_699, 211_574_330, 2 * 1536),
        ("r50", 41_307_863, 41_303_494, 53_120),  # its batch norms are not frozen
    ],
)
def test_published_sizes_have_their_exact_number_of_parameters(size, of_150, of_133, unused):
    assert count(f"maskformer_{size}") == of_150 - unused
    assert of_133 is None or count(f"maskformer_{size}", 133) == of_133 - unused


def test_the_panoptic_model_has_six_layers_of_detr_more_and_a_narrower_stem():
    more = 6 * DETR_LAYER - 9 * 256 * (2048 - 256)  # the projection of the last map stands before them
    assert count("maskformer_r50_panoptic", 150) == count("maskformer_r50", 150) + more
    assert count("maskformer_r50_panoptic") == 45_012_038


@pytest.mark.parametrize("height, width", [(32, 48), (33, 61), (64, 17)])
def test_images_of_any_size_give_masks_as_large_as_the_finest_map(height, width):
    model = small(pixel_encoder_depth=1)
    x = RNG.standard_normal((1, 3, height, width)).astype(np.float32)
    y = model(x)
    assert y.logits.shape == (1, 5, 4) and len(y.auxiliary) == 2
    assert y.masks.shape == (1, 5, *model.backbone.features(mv.Tensor(x))[0].shape[2:])
    assert y.auxiliary[0].masks.shape == y.masks.shape and y.auxiliary[0].auxiliary == []


def test_the_pyramid_goes_from_the_coarsest_map_to_the_finest_with_the_nearest_pixels():
    decoder = small().pixel_decoder
    maps = [
        mv.Tensor(RNG.standard_normal((1, c, h, 9)).astype(np.float32)) for c, h in ((8, 12), (8, 6), (12, 3))
    ]

    def normed(layer, x):
        conv, norm = layer
        return norm(ops.conv2d(x, conv.weight, padding=conv.weight.shape[2] // 2)).numpy()

    y = np.maximum(normed(decoder.stem, maps[2]), 0)
    for i, x in enumerate((maps[1], maps[0])):
        enlarged = y.repeat(x.shape[2] // y.shape[2], axis=2)
        y = np.maximum(normed(decoder.output[i], normed(decoder.lateral[i], x) + enlarged), 0)
    last = decoder.mask_features
    expected = ops.conv2d(y, last.weight.data, last.bias.data, padding=1)
    pixels, coarse = decoder(maps)
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-5)
    assert coarse is maps[2]  # no encoder: the decoder reads the backbone's own map


def test_the_decoder_is_detrs_with_sine_codes_and_queries_from_zero():
    model = small()
    detr = models.DETR(
        model.backbone,
        3,
        queries=5,
        width=16,
        heads=2,
        encoder_depth=0,
        decoder_depth=3,
        mlp_width=24,
        dropout=0.0,
    )
    detr.queries.data = model.queries.data
    detr.input_proj.load_state_dict(model.input_proj.state_dict())
    detr.transformer.load_state_dict(model.transformer.state_dict())
    states, _ = detr.transform(detr.input_proj(detr.backbone.features(mv.Tensor(IMAGES))[-1]))
    y = model(IMAGES)
    np.testing.assert_allclose(y.logits.numpy(), model.class_head(states[-1]).numpy(), atol=1e-5)
    np.testing.assert_allclose(y.auxiliary[0].logits.numpy(), model.class_head(states[0]).numpy(), atol=1e-5)


def test_a_mask_is_the_product_of_the_querys_and_the_pixels_embedding():
    model = small(mask_width=7)
    pixels, _ = model.pixel_decoder(model.backbone.features(mv.Tensor(IMAGES)))
    with nn.looking(model) as seen:
        y = model(IMAGES)
    assert seen["grid"].tolist() == [2, 3]
    assert seen["transformer.decoder.2.cross_attn.weights"].shape == (2, 2, 5, 6)
    assert seen["transformer.decoder.0.self_attn.weights"].shape == (2, 2, 5, 5)
    assert pixels.shape == (2, 7, 8, 12) and model.mask_head[2].weight.shape == (7, 16)
    pixels = pixels.numpy().reshape(2, 7, 96)
    for image, masks in enumerate(y.masks.numpy().reshape(2, 5, 96)):
        embeddings = masks @ np.linalg.pinv(pixels[image])  # (5, 7)
        np.testing.assert_allclose(embeddings @ pixels[image], masks, atol=1e-3 * np.abs(masks).max())


def test_the_pixel_encoder_mixes_the_coarsest_map_before_both_decoders():
    model = small(pixel_encoder_depth=2, norm_first=True)
    assert model.input_proj is None and model.pixel_decoder.input_proj.weight.shape == (16, 12, 1, 1)
    assert (
        model.pixel_decoder.encoder_norm is not None
        and small(pixel_encoder_depth=1).pixel_decoder.encoder_norm is None
    )
    x = mv.Tensor(RNG.standard_normal((1, 12, 2, 3)).astype(np.float32))
    decoder = model.pixel_decoder
    tokens = decoder.input_proj(x).numpy()[0].reshape(16, 6).T[None]
    codes = sine_position_code(2, 3, 16, normalize=True).reshape(1, 6, 16)
    for layer in decoder.encoder:
        tokens = layer(mv.Tensor(tokens), codes, None).numpy()
    expected = decoder.encoder_norm(mv.Tensor(tokens)).numpy()
    _, coarse = decoder([mv.Tensor(np.zeros((1, c, 8, 12), np.float32)) for c in (8, 8)] + [x])
    np.testing.assert_allclose(coarse.numpy()[0].reshape(16, 6).T, expected[0], atol=1e-5)


def test_permuting_the_queries_permutes_the_answers():
    model = small()
    y = model(IMAGES)
    order = RNG.permutation(5)
    model.queries.data = model.queries.data[order]
    z = model(IMAGES)
    np.testing.assert_allclose(z.logits.numpy(), y.logits.numpy()[:, order], atol=1e-5)
    np.testing.assert_allclose(z.masks.numpy(), y.masks.numpy()[:, order], atol=1e-4)


def test_images_of_a_batch_do_not_meet():
    model = small(pixel_encoder_depth=1)
    together = model(IMAGES)
    alone = model(IMAGES[1:])
    np.testing.assert_allclose(together.logits.numpy()[1], alone.logits.numpy()[0], atol=1e-5)
    np.testing.assert_allclose(together.masks.numpy()[1], alone.masks.numpy()[0], atol=1e-4)


def test_dropout_is_off_in_evaluation():
    noisy = small(dropout=0.3, pixel_encoder_depth=1)
    quiet = small(pixel_encoder_depth=1)
    assert not np.array_equal(noisy(IMAGES).masks.numpy(), noisy(IMAGES).masks.numpy())
    np.testing.assert_allclose(noisy.eval()(IMAGES).masks.numpy(), quiet(IMAGES).masks.numpy(), atol=1e-5)


def test_the_same_answers_and_gradients_on_a_device(device):
    found = []
    for where in ("cpu", device):
        model = small(pixel_encoder_depth=1).to(where)
        y = model(mv.to_device(IMAGES, where))
        ((y.logits * y.logits).sum() + y.masks.mean() + y.auxiliary[1].masks.mean()).backward()
        grads = [mv.to_numpy(p.grad) for p in model.parameters() if p.grad is not None]
        found.append([y.logits.numpy(), y.masks.numpy(), *grads])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(b).max()))


def test_it_learns_a_batch_with_the_published_loss_and_every_parameter_takes_part():
    model = small(pixel_encoder_depth=1, decoder_depth=2)
    x = RNG.standard_normal((2, 3, 32, 32)).astype(np.float32)
    targets = []
    for b in range(2):
        masks = np.zeros((2, 32, 32), bool)
        masks[0, :, : 8 + 8 * b] = masks[1, 16:, 16:] = True
        targets.append({"labels": np.array([b, 2]), "masks": masks})
    criterion = losses.MaskFormerCriterion(3)
    before = copy.deepcopy(model.state_dict())
    optimiser = optim.AdamW(model.parameters(), lr=5e-3)
    found = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = criterion(model(x), targets)["loss"]
        loss.backward()
        optim.clip_grad_norm(model, 1.0)
        optimiser.step()
        found.append(float(loss))
    assert found[-1] < 0.6 * found[0]
    for name, value in model.state_dict().items():
        if not name.endswith("key.bias"):  # it shifts all scores of a query equally
            assert not np.array_equal(value, before[name]), name


def test_it_is_saved_with_its_backbone(tmp_path):
    model = small()
    mv.save(model, tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(IMAGES).masks.numpy(), model(IMAGES).masks.numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small(queries=0), "MaskFormer: queries must be a whole number of at least 1, got 0"),
        (lambda: small(heads=0), "MaskFormer: heads must be a whole number of at least 1, got 0"),
        (lambda: small(heads=3), "MaskFormer: 4 and heads=3 must divide the width 16"),
        (lambda: small(width=18), "MaskFormer: 4 and heads=2 must divide the width 18"),
        (lambda: small(width=20, heads=4, groups=8), "GroupNorm: 8 groups do not divide 20 channels"),
        (lambda: small(decoder_depth=0), "MaskFormer: decoder_depth must be a whole number of at least 1"),
        (lambda: small(pixel_encoder_depth=-1), "MaskFormer: pixel_encoder_depth must be .* at least 0, got -1"),
        (lambda: small()(IMAGES[0]), r"MaskFormer: images must be \(B, C, H, W\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_batch_gives_empty_answers():
    y = small(pixel_encoder_depth=1)(np.zeros((0, 3, 32, 48), np.float32))
    assert y.logits.shape == (0, 5, 4) and y.masks.shape == (0, 5, 8, 12)
