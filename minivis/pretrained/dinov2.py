"""Published DINOv2: facebook/dinov2-* and facebook/dinov2-with-registers-*, the authors' files, timm's vit_*_dinov2.

The three resize the position table in three ways for images of other sizes, and the weights are the same. Files in the
hub's names are resized as transformers does: bicubic, with registers also antialiased. The authors' files without
registers are resized with an offset of 0.1 and without antialias, those with registers as on the hub; timm's with
antialias. A config.json may say otherwise: ``{"interpolate_offset": 0.1, "interpolate_antialias": false}``.
Not here: the model (models/dinov2.py), the first DINO (dino.py).
"""

import math
import re

from minivis.models.dinov2 import DINOv2
from minivis.pretrained.family import (
    Part,
    PublishedFamily,
    activation_of,
    hub_activation,
    labels_of,
    names_of,
    sides,
    translate,
)
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

BLOCK = "encoder.layer.*."
HUB = [
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("register_tokens", "embeddings.register_tokens"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
    ("blocks.*.attn.out.*", BLOCK + "attention.output.dense.*"),
    ("blocks.*.attn.*.*", BLOCK + "attention.attention.*.*"),  # query, key, value
    ("blocks.*.ls1.weight", BLOCK + "layer_scale1.lambda1"),
    ("blocks.*.ls2.weight", BLOCK + "layer_scale2.lambda1"),
    ("blocks.*.mlp.gate_up.*", BLOCK + "mlp.weights_in.*"),
    ("blocks.*.mlp.down.*", BLOCK + "mlp.weights_out.*"),
    ("blocks.*.mlp.*.*", BLOCK + "mlp.*.*"),
    ("blocks.*.*.*", BLOCK + "*.*"),  # norm1, norm2
    ("norm.*", "layernorm.*"),
]
AUTHORS = [
    ("blocks.*.attn.query.*", Part("blocks.*.attn.qkv.*", 0, 3)),
    ("blocks.*.attn.key.*", Part("blocks.*.attn.qkv.*", 1, 3)),
    ("blocks.*.attn.value.*", Part("blocks.*.attn.qkv.*", 2, 3)),
    ("blocks.*.attn.out.*", "blocks.*.attn.proj.*"),
    ("blocks.*.ls1.weight", "blocks.*.ls1.gamma"),
    ("blocks.*.ls2.weight", "blocks.*.ls2.gamma"),
    ("blocks.*.mlp.gate_up.*", "blocks.*.mlp.w12.*"),
    ("blocks.*.mlp.down.*", "blocks.*.mlp.w3.*"),
    ("blocks.*.mlp.*.*", "blocks.*.mlp.*.*"),
    ("blocks.*.*.*", "blocks.*.*.*"),
    ("patch_embed.proj.*", "patch_embed.proj.*"),
    ("*.*", "*.*"),
    ("*", "*"),
]
TIMM = [
    ("blocks.*.mlp.gate_up.*", "blocks.*.mlp.fc1.*"),
    ("blocks.*.mlp.down.*", "blocks.*.mlp.fc2.*"),
    *AUTHORS,
]
CLASSIFIERS = {"Dinov2ForImageClassification", "Dinov2WithRegistersForImageClassification"}


def build(config):
    """Make the DINOv2 that a config.json describes."""
    settings = Settings("dinov2", config)
    settings.only(qkv_bias=True)
    with_registers = config["model_type"] == "dinov2_with_registers"
    registers = settings.whole("num_register_tokens", 4, 0) if with_registers else 0
    return DINOv2(
        image_size=settings.pair("image_size", 224),
        patch_size=settings.pair("patch_size", 16),
        width=settings.whole("hidden_size", 768),
        depth=settings.whole("num_hidden_layers", 12),
        heads=settings.whole("num_attention_heads", 12),
        mlp_ratio=settings.number("mlp_ratio", 4, 0.01, 100),
        num_classes=len(labels_of(config)) if settings.architectures() & CLASSIFIERS else 0,
        channels=settings.whole("num_channels", 3),
        registers=registers,
        gated=settings.flag("use_swiglu_ffn", False),
        layer_scale=settings.number("layerscale_value", 1.0, -1e30),
        mask_token=with_registers or settings.flag("use_mask_token", True),
        dropout=settings.share("hidden_dropout_prob", 0.0),
        attention_dropout=settings.share("attention_probs_dropout_prob", 0.0),
        drop_path=settings.share("drop_path_rate", 0.0),
        activation=activation_of(config),
        eps=settings.number("layer_norm_eps", 1e-6),
        interpolate_offset=settings.share("interpolate_offset", 0.0),
        antialias=settings.flag("interpolate_antialias", with_registers),
    )


def describe(model):
    """The config.json of a DINOv2."""
    given = model.config
    kind = "Dinov2WithRegisters" if given["registers"] else "Dinov2"
    extra = (
        {"num_register_tokens": given["registers"]}
        if given["registers"]
        else {"use_mask_token": given["mask_token"]}
    )
    if model.interpolate_offset:
        extra["interpolate_offset"] = model.interpolate_offset
    if model.antialias != bool(given["registers"]):
        extra["interpolate_antialias"] = model.antialias
    return {
        "architectures": [f"{kind}ForImageClassification" if model.head else f"{kind}Model"],
        "model_type": "dinov2_with_registers" if given["registers"] else "dinov2",
        "image_size": sides(given["image_size"]),
        "patch_size": sides(given["patch_size"]),
        "num_channels": given["channels"],
        "hidden_size": given["width"],
        "num_hidden_layers": given["depth"],
        "num_attention_heads": given["heads"],
        "mlp_ratio": given["mlp_ratio"],
        "use_swiglu_ffn": given["gated"],
        "hidden_act": hub_activation(given["activation"]),
        "hidden_dropout_prob": given["dropout"],
        "attention_probs_dropout_prob": given["attention_dropout"],
        "drop_path_rate": given["drop_path"],
        "layerscale_value": given["layer_scale"],
        "layer_norm_eps": given["eps"],
        "qkv_bias": True,
        **extra,
    }


def names(model, dialect):
    """The names of a DINOv2's weights in a dialect."""
    if dialect != "hf":
        return translate(names_of(model), {"fb": AUTHORS, "timm": TIMM}[dialect])
    prefix = ""
    if model.head is not None:
        prefix = "dinov2." if model.register_tokens is None else "dinov2_with_registers."
    return translate(
        names_of(model), [(ours, prefix + theirs) for ours, theirs in HUB] + [("head.*", "classifier.*")]
    )


# Number of heads by width and blocks, for the published sizes: 64 features in each head (Oquab et al. 2024, table 16)
HEADS = {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1536, 40): 24}
TIMM_NAMES = r"vit_(small|base|large|giant)_patch14_dinov2"


def infer(shapes, config=None):
    """A complete config for a file in the authors' or timm's names, from its shapes and an incomplete config.json."""
    if "blocks.0.ls1.gamma" not in shapes or "patch_embed.proj.weight" not in shapes:
        return None
    settings = Settings("dinov2", config or {})
    timm = settings.of_timm(TIMM_NAMES) is not None
    if not timm and "mask_token" not in shapes:
        raise ValueError(
            "dinov2: without a mask token these can be the weights of several models of timm: write a config.json that says "
            'which, {"architecture": "vit_base_patch14_dinov2"}'
        )
    width, channels, *patch_size = shapes["patch_embed.proj.weight"]
    depth = sum(bool(re.fullmatch(r"blocks\.\d+\.ls1\.gamma", name)) for name in shapes)
    gated, mlp_ratio = _mlp(shapes, width)
    registers = shapes.get("register_tokens", (1, 0, width))[1]
    return {
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        "architectures": ["Dinov2WithRegistersModel" if registers else "Dinov2Model"],
        "image_size": _image_size(shapes, patch_size, settings),
        "patch_size": patch_size,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": settings.get("num_attention_heads") or _heads(width, depth),
        "mlp_ratio": mlp_ratio,
        "use_swiglu_ffn": gated,
        "num_channels": channels,
        "num_register_tokens": registers,
        "use_mask_token": "mask_token" in shapes,
        "num_labels": 0,
        "interpolate_offset": 0.0 if timm or registers else 0.1,
        "interpolate_antialias": timm or registers > 0,
    }


def _mlp(shapes, width):
    """Whether the MLPs have a gate, and the ratio of their hidden width; a gated one is published with 4."""
    if "blocks.0.mlp.w12.weight" in shapes:
        return True, 4
    rows = shapes["blocks.0.mlp.fc1.weight"][0]
    gated = rows == 2 * shapes["blocks.0.mlp.fc2.weight"][1]
    return gated, 4 if gated else rows / width


def _image_size(shapes, patch_size, settings):
    """Height and width of the images for which the position table was made: a square, unless config.json says otherwise."""
    patches = shapes["pos_embed"][1] - 1
    side = math.isqrt(patches)
    if side * side != patches and settings.get("image_size") is None:
        raise ValueError(
            f"dinov2: the image's size does not follow from {patches} patches: write a config.json"
        )
    return [side * patch_size[0], side * patch_size[1]]


def _heads(width, depth):
    """The number of heads of a published size."""
    if (width, depth) not in HEADS:
        raise ValueError(
            f"dinov2: the number of heads does not follow from {depth} blocks of width {width}: write a config.json that says "
            'it, {"num_attention_heads": ...}'
        )
    return HEADS[width, depth]


FAMILY = PublishedFamily(
    model_types=("dinov2", "dinov2_with_registers"),
    build=build,
    names=names,
    dialects=("hf", "fb", "timm"),
    infer=infer,
    preprocessor={
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is DINOv2,
    describe=describe,
)
