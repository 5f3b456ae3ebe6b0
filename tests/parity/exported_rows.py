"""Models of minivis that are exported and loaded by transformers: one row for each kind, of sizes that nobody published.

Not here: the comparison (test_hub_layout_parity.py).
"""

from typing import NamedTuple

import numpy as np

from minivis import models


class Row(NamedTuple):
    """An exported model and how the two libraries are asked."""

    make: object  # make(rng): the model
    auto: str  # the end of the name of transformers' Auto class, or of a class
    shape: tuple  # of the input
    outputs: dict  # our name -> transformers' name
    given: str = "pixel_values"
    options: dict = {}  # noqa: RUF012  of transformers' from_pretrained


LOGITS = {"logits": "logits"}
TOKENS = {"tokens": "last_hidden_state"}
MASKS = {"logits": "class_queries_logits", "masks": "masks_queries_logits"}
BOXES = {"logits": "logits", "boxes": "pred_boxes"}
CLASSES = "AutoModelForImageClassification"
NO_POOLING = {"add_pooling_layer": False}


def vit(rng, **options):
    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 1.5}
    return models.ViT(**{**sizes, "num_classes": 5, "dropout": 0.1, **options}, rng=rng)


def hybrid(rng):
    backbone = models.BiT((1, 1), widths=(32, 64), stem_width=8, groups=4, rng=rng)
    return vit(rng, image_size=(32, 32), patch_size=1, backbone=backbone)


def swin(rng, **options):
    sizes = {"patch_size": 2, "width": 8, "depths": (2, 2), "heads": (2, 4), "window": 3, "mlp_ratio": 2.0}
    return models.Swin(**{**sizes, "num_classes": 5, **options}, rng=rng)


def four_stages(rng, kind):
    if kind == "swin":
        return swin(rng, depths=(1, 1, 1, 1), heads=(1, 2, 2, 4), num_classes=0, shrink=False, feature_norms=True, patch_size=4)  # fmt: skip
    return models.ResNet(
        (1, 1, 1, 1), "basic", (8, 12, 16, 20), stem_width=8, num_classes=0, norm=kind, rng=rng
    )


def detr(rng, norm="batch", **options):
    sizes = {"queries": 6, "width": 16, "heads": 4, "encoder_depth": 1, "decoder_depth": 2, "mlp_width": 24}
    return models.DETR(four_stages(rng, norm), 3, **{**sizes, **options}, rng=rng)


def mask2former(rng, backbone):
    return models.Mask2Former(
        four_stages(rng, backbone), 3, queries=5, width=32, heads=4, decoder_depth=2, pixel_depth=1, mlp_width=24,
        pixel_mlp_width=16, mask_width=32, rng=rng,
    )  # fmt: skip


def maskformer(rng, backbone):
    return models.MaskFormer(
        four_stages(rng, backbone), 3, queries=5, width=32, heads=4, decoder_depth=2, mlp_width=24, mask_width=32, rng=rng
    )  # fmt: skip


def sam(rng):
    encoder = models.SAMImageEncoder(
        64, 16, width=16, depth=2, heads=2, mlp_ratio=2.0, out_width=16, window=3, whole=(1,), rng=rng
    )
    prompts = models.PromptEncoder(16, 64, 4, mask_channels=8, rng=rng)
    return models.SAM(encoder, prompts, models.MaskDecoder(16, heads=2, mlp_width=24, eps=1e-6, rng=rng))


def dinov2(rng, **options):
    sizes = {"image_size": 12, "patch_size": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 2}
    return models.DINOv2(**{**sizes, "num_classes": 4, **options}, rng=rng)


def clip(rng):
    image = models.CLIPImageEncoder(8, 4, width=24, depth=2, heads=3, mlp_ratio=1.5, rng=rng)
    text = models.CLIPTextEncoder(20, 7, width=16, depth=2, heads=2, mlp_ratio=2.0, end_id=1, rng=rng)
    return models.CLIP(image, text, 12, image_width=24, text_width=16, rng=rng)


def vivit(rng, **options):
    sizes = {
        "frames": 4,
        "image_size": 8,
        "tubelet": (2, 4, 4),
        "width": 8,
        "depth": 2,
        "heads": 2,
        "mlp_ratio": 2.0,
    }
    return models.ViViT(**{**sizes, "num_classes": 5, **options}, rng=rng)


def mae(rng):
    encoder = vit(rng, image_size=16, num_classes=0)
    return models.MAE(
        encoder, decoder_width=8, decoder_depth=2, decoder_heads=2, decoder_mlp_ratio=1.5, rng=rng
    )


def rt_detr(rng):
    backbone = models.ResNet(
        (1, 1, 1, 1),
        "basic",
        (8, 12, 16, 20),
        stem_width=8,
        num_classes=0,
        norm="frozen",
        variant="d",
        rng=rng,
    )
    return models.RTDETR(
        backbone, 3, queries=6, width=16, heads=2, encoder_width=16, encoder_heads=2, encoder_mlp_width=24,
        expansion=0.5, decoder_depth=2, mlp_width=24, points=2, rng=rng,
    )  # fmt: skip


PICTURE = (2, 3, 64, 96)
ROWS = {
    "vit": Row(vit, CLASSES, (2, 3, 8, 12), LOGITS),
    "vit, one channel, tanh": Row(
        lambda rng: vit(rng, channels=1, activation="gelu_tanh", eps=1e-3), CLASSES, (2, 1, 8, 12), LOGITS
    ),
    "vit without a head": Row(
        lambda rng: vit(rng, num_classes=0), "AutoModel", (2, 3, 8, 12), TOKENS, options=NO_POOLING
    ),
    "deit": Row(lambda rng: vit(rng, distilled="token"), CLASSES, (2, 3, 8, 12), LOGITS),
    "deit, two heads": Row(
        lambda rng: vit(rng, distilled=True), "DeiTForImageClassificationWithTeacher", (2, 3, 8, 12), LOGITS
    ),
    "vit hybrid": Row(hybrid, "ViTHybridForImageClassification", (2, 3, 32, 32), LOGITS),
    "swin": Row(swin, CLASSES, (2, 3, 24, 18), LOGITS),
    "swin without a head": Row(lambda rng: swin(rng, num_classes=0), "AutoModel", (2, 3, 24, 18), {"pooled": "pooler_output"}),  # fmt: skip
    "resnet": Row(
        lambda rng: models.ResNet((1, 2), "basic", (8, 12), stem_width=8, num_classes=5, rng=rng),
        CLASSES, (2, 3, 40, 33), LOGITS,
    ),
    "resnet, bottlenecks": Row(
        lambda rng: models.ResNet((1, 2, 1), widths=(16, 24, 32), stem_width=8, num_classes=5, rng=rng),
        CLASSES, (2, 3, 40, 33), LOGITS,
    ),
    "detr": Row(detr, "AutoModelForObjectDetection", PICTURE, BOXES),
    "detr with masks": Row(
        lambda rng: detr(rng, "frozen", heads=8, masks=True), "DetrForSegmentation", PICTURE, BOXES | {"masks": "pred_masks"}
    ),
    "rt-detr": Row(rt_detr, "AutoModelForObjectDetection", PICTURE, BOXES),
    "mask2former, swin": Row(lambda rng: mask2former(rng, "swin"), "AutoModelForUniversalSegmentation", PICTURE, MASKS),
    "mask2former, resnet": Row(
        lambda rng: mask2former(rng, "batch"), "Mask2FormerForUniversalSegmentation", PICTURE, MASKS
    ),
    "maskformer, swin": Row(lambda rng: maskformer(rng, "swin"), "AutoModelForInstanceSegmentation", PICTURE, MASKS),
    "maskformer, resnet": Row(
        lambda rng: maskformer(rng, "batch"), "MaskFormerForInstanceSegmentation", PICTURE, MASKS
    ),
    "sam": Row(sam, "AutoModelForMaskGeneration", (1, 3, 64, 64), {"masks": "pred_masks", "iou": "iou_scores"}),
    "dinov2": Row(dinov2, CLASSES, (2, 3, 12, 12), LOGITS),
    "dinov2, registers and gate": Row(
        lambda rng: dinov2(rng, registers=3, gated=True, layer_scale=0.5), CLASSES, (2, 3, 12, 12), LOGITS
    ),
    "dinov2 without a head": Row(lambda rng: dinov2(rng, num_classes=0), "AutoModel", (2, 3, 12, 12), TOKENS),
    "clip": Row(clip, "AutoModel", (2, 3, 8, 8), {"image_embeddings": "image_embeds", "text_embeddings": "text_embeds"}),
    "vivit": Row(vivit, "AutoModelForVideoClassification", (2, 4, 3, 8, 8), LOGITS),
    "vivit without a head": Row(
        lambda rng: vivit(rng, num_classes=0), "AutoModel", (2, 4, 3, 8, 8), TOKENS, options=NO_POOLING
    ),
    "mae": Row(mae, "AutoModelForPreTraining", (2, 3, 16, 16), {"prediction": "logits"}),
}  # fmt: skip


def randomised(model, rng):
    """Give every weight and statistic a random value: what starts at 0 or 1 would hide mistakes."""
    state = {}
    for name, x in model.state_dict().items():
        noise = rng.standard_normal(x.shape)
        if x.dtype.kind != "f":
            state[name] = x
        elif name.endswith("running_var"):
            state[name] = 0.5 + np.abs(noise)
        elif x.ndim == 1 and name.endswith("weight"):
            state[name] = 1 + 0.2 * noise
        else:
            state[name] = noise * (max(1, x[0].size) ** -0.5 if x.ndim > 1 else 0.3)
    model.load_state_dict({name: np.asarray(x, model.state_dict()[name].dtype) for name, x in state.items()})
    return model.eval()
