"""Published ViTs: google/vit-*, the plain DeiTs (published as ViT), DINO's backbones; timm's and torchvision's vit_*.

Not here: the model (models/vit.py), DeiTs with a distillation token (deit.py).
"""

import math
import re

from minivis.models.vit import ViT
from minivis.pretrained.family import Family, Part, activation_of, labels_of, names_of, translate

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
# What transformers writes for the backbone alone; it is then without a head, and its names without the prefix "vit."
BACKBONES = ("ViTModel", "DeiTModel")


def build(config):
    """The ViT or DeiT a config.json describes."""
    if not config.get("qkv_bias", True):
        raise ValueError("vit: qkv_bias is false, and minivis has no such ViT")
    width, inside = config.get("hidden_size", 768), config.get("intermediate_size", 3072)
    return ViT(
        image_size=_size(config.get("image_size", 224)),
        patch_size=_size(config.get("patch_size", 16)),
        width=width,
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        mlp_ratio=inside / width,
        num_classes=0 if is_backbone(config) else len(labels_of(config)),
        channels=config.get("num_channels", 3),
        dropout=config.get("hidden_dropout_prob", 0.0),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.0),
        activation=activation_of(config),
        eps=config.get("layer_norm_eps", 1e-12),
        distilled=config.get("model_type") == "deit",
    )


def is_backbone(config):
    """Whether a config.json is of a model without a head."""
    return bool(set(config.get("architectures") or ()) & set(BACKBONES))


def names(model, dialect):
    """What the weights of a ViT are called in a dialect."""
    if dialect != "hf":
        return translate(names_of(model), {"timm": TIMM, "tv": TORCHVISION}[dialect])
    return hub_names(model, "vit.", [("head.*", "classifier.*")])


def hub_names(model, prefix, heads):
    """The hub's names of a ViT or DeiT: below the prefix, and without it where there is no head."""
    prefix = prefix if model.head else ""
    return translate(names_of(model), [(ours, prefix + theirs) for ours, theirs in HUB] + heads)


def infer(shapes):
    """The config.json of a file in timm's or torchvision's dialect, from its shapes. Heads are 64 wide, as published."""
    if "patch_embed.proj.weight" in shapes and "blocks.0.attn.qkv.weight" in shapes:
        patch, table, inside, head = "patch_embed.proj", "pos_embed", "blocks.0.mlp.fc1", "head"
        block = r"blocks\.\d+\.attn\.qkv\.weight"
    elif "conv_proj.weight" in shapes and "class_token" in shapes:
        patch, table, inside, head = (
            "conv_proj",
            "encoder.pos_embedding",
            LAYER.replace("*", "0") + "mlp.0",
            "heads.head",
        )
        block = r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight"
    else:
        return None
    width, channels, *patch_size = shapes[f"{patch}.weight"]
    distilled, headless = "dist_token" in shapes, f"{head}.weight" not in shapes
    patches = shapes[table][1] - 1 - distilled
    side = math.isqrt(patches)
    if width % 64 or side * side != patches:
        raise ValueError(
            f"vit: heads and image size do not follow from a width of {width} and {patches} patches: write a config.json"
        )
    return {
        "model_type": "deit" if distilled else "vit",
        "architectures": ["ViTModel" if headless else "ViTForImageClassification"],
        "image_size": [side * patch_size[0], side * patch_size[1]],
        "patch_size": patch_size,
        "hidden_size": width,
        "intermediate_size": shapes[f"{inside}.weight"][0],
        "num_hidden_layers": sum(bool(re.fullmatch(block, name)) for name in shapes),
        "num_attention_heads": width // 64,
        "num_channels": channels,
        "layer_norm_eps": 1e-6,
        "num_labels": 0 if headless else shapes[f"{head}.weight"][0],
    }


def _size(value):
    return tuple(value) if isinstance(value, list) else value


FAMILY = Family(
    model_types=("vit",),
    build=build,
    names=names,
    dialects=("hf", "timm", "tv"),
    recomputed=(r"pooler\.dense\.(weight|bias)",),  # ViTModel's tanh layer behind the class token
    infer=infer,
    preprocessor={
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
)
