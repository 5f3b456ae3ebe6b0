"""Models in float16: outputs and gradients agree with those in float64 with the same weights, and stay float16.

Not here: single layers and losses (tests/test_precision.py).
"""

import copy

import numpy as np
import pytest

from minivis import losses, models, ops, optim

RNG = np.random.default_rng(7)
IMAGES = RNG.standard_normal((2, 3, 64, 48)).astype(np.float16)
VALID = np.arange(48) < np.array([48, 33])[:, None, None] * np.ones((1, 64, 1))  # the second image is padded
CLASSES = np.array([1, 2])
BACKBONE = {
    "depths": (1, 1, 1),
    "kind": "basic",
    "widths": (8, 8, 16),
    "stem_width": 8,
    "num_classes": 0,
    "norm": "group",
}


def classified(model, x):
    logits = model(x)
    return ops.cross_entropy(logits, CLASSES), [logits]


def detected(*fields):
    """A fixed weighted sum of all outputs of the model: a matching could change with the rounding."""

    def loss(model, x):
        output = model(x, VALID)
        layers = [output, *output.auxiliary]
        said = [x for layer in layers for f in fields if (x := getattr(layer, f, None)) is not None]
        return sum(ops.mean(y * (y + 1)) for y in said), said

    return loss


def sagan():
    model = models.SAGAN(32, 3, 0, 4, (8, 8, 8), (8, 8), (2, 1), attention=16, rng=0).eval()
    for part in (model.generator, model.discriminator):
        part.attention.gamma.data[...] = 0.5
    return model


def scored(model, x):
    """The discriminator's scores of parts of the images, and drawn images."""
    said = [model.discriminator(x[:, :, :32, :32]), model.generator(x[:, 0, 0, :4])]
    return ops.mean(said[0]) + ops.mean(said[1]), said


def mask2former():
    model = models.Mask2Former(
        models.ResNet(**BACKBONE, rng=1), 3, queries=5, width=16, heads=2, decoder_depth=3, pixel_depth=1, levels=2,
        mlp_width=24, pixel_mlp_width=24, groups=4, points=2, rng=2,
    )  # fmt: skip
    # off the pixel centres, where bilinear has kinks
    model.pixel_decoder.layers[0].attn.offsets.bias.data += 0.2
    return model


def maskformer():
    return models.MaskFormer(
        models.ResNet(**BACKBONE, rng=1), 3, queries=5, width=16, heads=2, decoder_depth=2, mlp_width=24,
        pixel_encoder_depth=1, groups=4, dropout=0.0, rng=2,
    )  # fmt: skip


def rt_detr():
    model = models.RTDETR(
        models.ResNet(**BACKBONE, rng=1), 3, queries=5, width=16, heads=2, encoder_mlp_width=24, decoder_depth=2, mlp_width=24,
        levels=2, points=2, rng=2,
    )  # fmt: skip
    for layer in model.layers:
        layer.cross_attn.offsets.bias.data += 0.2  # as above
    return model.eval()


def contrasted(model, x):
    """CLIP's loss with two texts."""
    out = model(x, np.array([[1, 4, 2, 0], [1, 3, 4, 2]]))
    return losses.clip_loss(out.image_embeddings, out.text_embeddings, model.logit_scale), [
        out.logits_per_image
    ]


def clip():
    image = models.CLIPImageEncoder((64, 48), 16, 32, 2, 4, rng=0)
    text = models.CLIPTextEncoder(5, 4, 16, 2, 2, end_id=2, rng=1)
    return models.CLIP(image, text, 12, image_width=32, rng=2)


DETR = {
    "num_classes": 4,
    "queries": 5,
    "width": 16,
    "heads": 8,
    "encoder_depth": 2,
    "decoder_depth": 2,
    "mlp_width": 24,
    "dropout": 0.0,
}
MODELS = {  # name: (the model, its loss and outputs for images)
    "ViT": (lambda: models.ViT((64, 48), 16, 32, 3, 4, num_classes=3), classified),
    "ViT with ReLU": (lambda: models.ViT((64, 48), 16, 32, 3, 4, num_classes=3, activation="relu"), classified),
    "Swin": (lambda: models.Swin(4, 8, (2, 2), (2, 4), num_classes=3, window=4, drop_path=0.0, rng=0), classified),
    "CNN": (lambda: models.CNN(channels=3, widths=(4, 8), depth=1, num_classes=3, rng=0), classified),
    "CifarResNet": (lambda: models.CifarResNet(8, 4, num_classes=3, activation="sigmoid", rng=0), classified),
    "WideResNet": (lambda: models.WideResNet(10, 1, num_classes=3, rng=0), classified),
    "ResNet": (lambda: models.ResNet(**{**BACKBONE, "num_classes": 3, "norm": "batch"}, rng=0), classified),
    "NonLocalResNet": (
        lambda: models.NonLocalResNet(models.ResNet(**{**BACKBONE, "num_classes": 3, "norm": "batch"}, rng=0), (1,), std=0.1),
        classified,
    ),
    "DETR": (lambda: models.DETR(models.ResNet(**BACKBONE, rng=0), rng=1, **DETR), detected("logits", "boxes")),
    "DETR with masks": (
        lambda: models.DETR(models.ResNet(**BACKBONE, rng=0), rng=1, masks=True, **DETR),
        detected("logits", "boxes", "masks"),
    ),
    "RT-DETR": (
        rt_detr,
        lambda model, x: detected("logits", "boxes")(lambda x, valid: model(x), x),
    ),
    "CLIP": (clip, contrasted),
    "SAGAN": (sagan, scored),
    "MaskFormer": (
        maskformer,
        lambda model, x: detected("logits", "masks")(lambda x, valid: model(x), x),
    ),
    "Mask2Former": (
        mask2former,
        lambda model, x: detected("logits", "masks")(lambda x, valid: model(x), x),
    ),
}  # fmt: skip


def length(arrays):
    return np.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in arrays))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_half_learns_what_it_learns_in_float64_and_stays_in_half(name):
    """The error of the whole gradient is at most 0.3 % of its length, that of one parameter's at most a tenth.

    Mask2Former reads between pixels: there its gradient has jumps, and rounding may move a point across one. A ReLU has a
    jump at 0, and a Wide ResNet has many of them: it has 2 %, and so has RT-DETR, whose gradient is largest in its backbone.
    The small ResNet has sigmoids here.
    """
    make, loss = MODELS[name]
    off = {"Mask2Former": 0.1, "WideResNet": 0.02, "RT-DETR": 0.02}.get(name, 3e-3)
    model = make().to("float16")
    model.masked = False  # Mask2Former's masked attention: at the edge of a mask, rounding decides
    twin = copy.deepcopy(model).to("float64")
    value, said = loss(model, IMAGES)
    wanted, right = loss(twin, IMAGES.astype(np.float64))
    assert value.dtype == np.float16 and {y.dtype.name for y in said} == {"float16"}
    assert float(value) == pytest.approx(float(wanted), rel=5e-3)
    for y, r in zip(said, right, strict=True):
        assert np.abs(y.data - r.data).max() <= 5e-3 * np.abs(r.data).max()
    for x in (value, wanted):
        (x * 64.0).backward()  # without the factor some gradients would be subnormal in float16
    pairs = list(zip(model.named_parameters(), twin.parameters(), strict=True))
    everything = length(q.grad for _, q in pairs)
    assert length(p.grad - q.grad for (_, p), q in pairs) <= off * everything
    for (where, p), q in pairs:
        assert p.dtype == p.grad.dtype == np.float16 and np.isfinite(p.grad).all(), where
        assert length([p.grad - q.grad]) <= max(0.1, 3 * off) * length([q.grad]) + 1e-4 * everything, where
    for m in (model, twin):
        optim.SGD(m.parameters(), 1 / everything).step()
    for (where, p), q in pairs:
        assert p.dtype == np.float16
        np.testing.assert_allclose(p.data, q.data, rtol=1e-3, atol=off, err_msg=where)


@pytest.mark.parametrize("name", ["DETR", "DETR with masks", "MaskFormer", "Mask2Former"])
def test_a_set_loss_of_half_predictions_trains_a_step_with_finite_gradients(name):
    model = MODELS[name][0]().to("float16")
    criterion = {
        "MaskFormer": losses.MaskFormerCriterion(3),
        "Mask2Former": losses.Mask2FormerCriterion(3, points=100),
    }.get(name, losses.SetCriterion(4))
    masks = np.zeros((2, 64, 48), bool)
    masks[:, 10:40, 5:30] = True
    targets = [
        {"labels": np.array([1]), "boxes": np.array([[0.5, 0.5, 0.3, 0.4]]), "masks": masks[i : i + 1]}
        for i in (0, 1)
    ]
    terms = criterion(model(IMAGES), targets)
    assert {x.dtype.name for x in terms.values()} == {"float16"}
    before = model.state_dict()
    terms["loss"].backward()
    norm = optim.clip_grad_norm(model, 0.1)  # raises an error if a gradient is not finite
    assert norm > 0.1
    optim.AdamW(model, 1e-2).step()
    after = model.state_dict()
    assert {x.dtype.name for x in after.values()} == {"float16"}
    assert all(np.isfinite(x).all() for x in after.values())
    changed = [key for key in after if (after[key] != before[key]).any()]
    assert len(changed) > 0.8 * len(after)
