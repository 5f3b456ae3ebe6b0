"""Published ViTs: google/vit-*, the plain DeiTs and DINO's backbones (published as ViT); timm's and torchvision's vit_*.

Without a head, a file of timm has the names and shapes of one of DINO's authors, who resize the position table in another
way. So such a file needs a config.json that says which model it is.
Not here: the model (models/vit.py), DeiTs with a distillation token (deit.py), the files of DINO's authors (dino.py).
"""

import math
import re

from minivis.models.vit import ViT
from minivis.pretrained.family import (
    Part,
    PublishedFamily,
    activation_of,
    described_blocks,
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
    ("dist_token", "embeddings.distillation_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
    ("blocks.*.norm1.*", BLOCK + "layernorm_before.*"),
    ("blocks.*.attn.out.*", BLOCK + "attention.output.dense.*"),
    ("blocks.*.attn.*.*", BLOCK + "attention.attention.*.*"),  # query, key, value
    ("blocks.*.norm2.*", BLOCK + "layernorm_after.*"),
    ("blocks.*.mlp.fc1.*", BLOCK + "intermediate.dense.*"),
    ("blocks.*.mlp.fc2.*", BLOCK + "output.dense.*"),
    ("norm.*", "layernorm.*"),
]
TIMM = [
    ("blocks.*.attn.query.*", Part("blocks.*.attn.qkv.*", 0, 3)),
    ("blocks.*.attn.key.*", Part("blocks.*.attn.qkv.*", 1, 3)),
    ("blocks.*.attn.value.*", Part("blocks.*.attn.qkv.*", 2, 3)),
    ("blocks.*.attn.out.*", "blocks.*.attn.proj.*"),
    ("blocks.*.*.*", "blocks.*.*.*"),
    ("blocks.*.*.*.*", "blocks.*.*.*.*"),
    ("patch_embed.proj.*", "patch_embed.proj.*"),
    ("*.*", "*.*"),
    ("*", "*"),
]
LAYER = "encoder.layers.encoder_layer_*."
TORCHVISION = [
    ("cls_token", "class_token"),
    ("pos_embed", "encoder.pos_embedding"),
    ("patch_embed.proj.*", "conv_proj.*"),
    ("blocks.*.norm1.*", LAYER + "ln_1.*"),
    ("blocks.*.attn.out.*", LAYER + "self_attention.out_proj.*"),
    ("blocks.*.attn.query.*", Part(LAYER + "self_attention.in_proj_*", 0, 3)),
    ("blocks.*.attn.key.*", Part(LAYER + "self_attention.in_proj_*", 1, 3)),
    ("blocks.*.attn.value.*", Part(LAYER + "self_attention.in_proj_*", 2, 3)),
    ("blocks.*.norm2.*", LAYER + "ln_2.*"),
    ("blocks.*.mlp.fc1.*", LAYER + "mlp.0.*"),
    ("blocks.*.mlp.fc2.*", LAYER + "mlp.3.*"),
    ("norm.*", "encoder.ln.*"),
    ("head.*", "heads.head.*"),
]
# The classes of transformers without a head; their names lack the prefix "vit."
BACKBONES = ("ViTModel", "DeiTModel")


def build(config, distilled=False):
    """Make the ViT or DeiT that a config.json describes."""
    settings = Settings("vit", config)
    if not settings.flag("qkv_bias", True):
        raise ValueError("vit: qkv_bias is false, and minivis has no such ViT")
    width = settings.whole("hidden_size", 768)
    return ViT(
        image_size=settings.pair("image_size", 224),
        patch_size=settings.pair("patch_size", 16),
        width=width,
        depth=settings.whole("num_hidden_layers", 12),
        heads=settings.whole("num_attention_heads", 12),
        mlp_ratio=settings.whole("intermediate_size", 3072) / width,
        num_classes=0 if is_backbone(config) else len(labels_of(config)),
        channels=settings.whole("num_channels", 3),
        dropout=settings.share("hidden_dropout_prob", 0.0),
        attention_dropout=settings.share("attention_probs_dropout_prob", 0.0),
        activation=activation_of(config),
        eps=settings.number("layer_norm_eps", 1e-12),
        distilled=distilled,
        interpolate_offset=settings.share("interpolate_offset", 0.0),
        antialias=settings.flag("interpolate_antialias", False),
    )


def describe(model, architecture="ViT"):
    """The config.json of a ViT; ``architecture`` is the beginning of the name of its class in transformers."""
    given = model.config
    resized = {"interpolate_offset": model.interpolate_offset, "interpolate_antialias": model.antialias}
    return {
        "architectures": [f"{architecture}ForImageClassification" if model.head else f"{architecture}Model"],
        "model_type": "vit",
        "image_size": sides(given["image_size"]),
        "patch_size": sides(given["patch_size"]),
        "num_channels": given["channels"],
        **described_blocks(given),
        "hidden_dropout_prob": given["dropout"],
        "attention_probs_dropout_prob": given["attention_dropout"],
        "qkv_bias": True,
        # transformers does not know these two
        **{key: value for key, value in resized.items() if value},
    }


def is_backbone(config):
    """Whether a config.json describes a model without a head."""
    return bool(Settings("vit", config).architectures() & set(BACKBONES))


def names(model, dialect):
    """The names of a ViT's weights in a dialect."""
    if dialect != "hf":
        return translate(names_of(model), {"timm": TIMM, "tv": TORCHVISION}[dialect])
    return hub_names(model, "vit.", [("head.*", "classifier.*")])


def hub_names(model, prefix, heads):
    """The hub's names of a ViT or DeiT, with the prefix if the model has a head."""
    prefix = prefix if model.head else ""
    return translate(names_of(model), [(ours, prefix + theirs) for ours, theirs in HUB] + heads)


# Number of heads by width, blocks and width inside the MLP, for the published sizes: Dosovitskiy et al. 2021, table 1
# (B, L, H); Touvron et al., "Training data-efficient image transformers", 2021, table 1 (Ti); Zhai et al., "Scaling vision
# transformers", CVPR 2022, table 2 (g, G). It does not follow from the shapes: 1280 / 64 would be 20, but ViT-H has 16.
HEADS = {
    (192, 12, 768): 3,
    (768, 12, 3072): 12,
    (1024, 24, 4096): 16,
    (1280, 32, 5120): 16,
    (1408, 40, 6144): 16,
    (1664, 48, 8192): 16,
}
# DeiT-S and the ViT-S of Zhai et al. have 6 heads, that of Chen et al., "An empirical study of training self-supervised
# vision transformers" (MoCo v3), ICCV 2021, has 12. Only the name or the distillation token distinguishes them.
SMALL = (384, 12, 1536)
SMALL_HEADS = 6
PATCHES = {(side, side) for side in (8, 14, 16, 32)}
TIMM_NAMES = (
    r"(vit|deit)_(tiny|small|base|large|huge|giant|gigantic)(_distilled)?_patch(8|14|16|32)_(224|384)"
)


def infer(shapes, config=None):
    """A complete config for a file in timm's or torchvision's dialect, from its shapes and an incomplete config.json."""
    found = _dialect(shapes)
    if found is None or any(name.startswith(("patch_embed.backbone.", "decoder_")) for name in shapes):
        return None  # of another model, a hybrid, or a masked autoencoder
    settings = Settings("vit", config or {})
    name = settings.of_timm(TIMM_NAMES)
    settings.only(global_pool="token")
    timm = found[0] == "patch_embed.proj"
    if timm and name is None and "head.weight" not in shapes:
        raise ValueError(
            "vit: without a head, the names are those of DINO's backbones and those of timm's ViTs, which are resized in "
            'different ways: write a config.json that says which it is, {"architecture": "dino_vits16"} or '
            '{"architecture": "vit_small_patch16_224"}'
        )
    return {**sizes_of(shapes, settings, name), "interpolate_antialias": timm}


def sizes_of(shapes, settings, name=None):
    """A complete config for a file in timm's or torchvision's dialect; ``name`` is timm's name of the model, if known."""
    patch, table, inside, head, block = _dialect(shapes)
    width, channels, *patch_size = shapes[f"{patch}.weight"]
    distilled = "dist_token" in shapes
    headless = f"{head}.weight" not in shapes
    size = (
        width,
        sum(bool(re.fullmatch(block, name)) for name in shapes),
        shapes[f"{inside}.weight"][0],
    )
    patches = shapes[table][1] - 1 - distilled
    side = math.isqrt(patches)
    if side * side != patches and settings.get("image_size") is None:
        raise ValueError(f"vit: the image's size does not follow from {patches} patches: write a config.json")
    return {
        "model_type": "deit" if distilled else "vit",
        "architectures": ["ViTModel" if headless else "ViTForImageClassification"],
        "image_size": [side * patch_size[0], side * patch_size[1]],
        "patch_size": patch_size,
        "hidden_size": width,
        "intermediate_size": size[2],
        "num_hidden_layers": size[1],
        "num_attention_heads": settings.get("num_attention_heads")
        or _heads(size, patch_size, name, distilled),
        "num_channels": channels,
        "layer_norm_eps": 1e-6,
        "num_labels": 0 if headless else shapes[f"{head}.weight"][0],
    }


def _dialect(shapes):
    """The names of patches, positions, first MLP and head, and a pattern that matches once in each block; or None."""
    if "patch_embed.proj.weight" in shapes and "blocks.0.attn.qkv.weight" in shapes:
        return "patch_embed.proj", "pos_embed", "blocks.0.mlp.fc1", "head", r"blocks\.\d+\.attn\.qkv\.weight"
    if "conv_proj.weight" in shapes and "class_token" in shapes:
        inside = LAYER.replace("*", "0") + "mlp.0"
        block = r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight"
        return "conv_proj", "encoder.pos_embedding", inside, "heads.head", block
    return None


def _heads(size, patch_size, name, distilled):
    """The number of heads of a published size."""
    if tuple(patch_size) in PATCHES and size in HEADS:
        return HEADS[size]
    if tuple(patch_size) in PATCHES and size == SMALL and (name or distilled):
        return SMALL_HEADS
    raise ValueError(
        f"vit: the number of heads does not follow from {size[1]} blocks of width {size[0]} and {size[2]}: write a "
        'config.json that says it, {"num_attention_heads": ...}'
    )


FAMILY = PublishedFamily(
    model_types=("vit",),
    build=build,
    names=names,
    dialects=("hf", "timm", "tv"),
    recomputed=(r"pooler\.dense\.(weight|bias)",),  # ViTModel's tanh layer after the class token
    infer=infer,
    preprocessor={
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
    of=lambda model: type(model) is ViT and model.backbone is None and model.dist_token is None,
    describe=describe,
)
