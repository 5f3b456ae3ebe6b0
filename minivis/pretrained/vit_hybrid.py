"""The published ViT hybrid: google/vit-hybrid-base-bit-384, and timm's vit_base_r50_s16_*.

Not here: the model (models/vit.py) and its backbone (models/bit.py), plain ViTs (vit.py), BiT without a ViT.
"""

import math
import re

from minivis.models.bit import BiT
from minivis.models.vit import ViT
from minivis.pretrained import vit
from minivis.pretrained.family import PublishedFamily, activation_of, labels_of, names_of, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]


def _backbone(stem, block):
    """Rules for the names of the backbone, from the published beginnings of the stem's and of a block's names."""
    return [
        ("backbone.stem.*.*", f"{stem}.*.*"),
        ("backbone.stages.*.*.layers.0.*.*", f"{block}.*1.*"),
        ("backbone.stages.*.*.layers.1.*.*", f"{block}.*2.*"),
        ("backbone.stages.*.*.layers.2.*.*", f"{block}.*3.*"),
        ("backbone.stages.*.*.shortcut.*.*", f"{block}.downsample.*.*"),
    ]


BIT = "embeddings.patch_embeddings.backbone.bit."
HUB = [("backbone.stem.conv.*", BIT + "embedder.convolution.*")] + _backbone(
    BIT + "embedder", BIT + "encoder.stages.*.layers.*"
)
TIMM = _backbone("patch_embed.backbone.stem", "patch_embed.backbone.stages.*.blocks.*")


def build(config):
    """Make the hybrid that a config.json describes."""
    settings = Settings("vit-hybrid", config)
    settings.only(qkv_bias=True)
    backbone, rows, columns = _bit(settings)
    width = settings.whole("hidden_size", 768)
    patch_size = settings.pair("patch_size", 1)
    return ViT(
        image_size=(rows * backbone.stride, columns * backbone.stride),
        patch_size=patch_size,
        width=width,
        depth=settings.whole("num_hidden_layers", 12),
        heads=settings.whole("num_attention_heads", 12),
        mlp_ratio=settings.whole("intermediate_size", 3072) / width,
        num_classes=0 if "ViTHybridModel" in settings.architectures() else len(labels_of(config)),
        dropout=settings.share("hidden_dropout_prob", 0.0),
        attention_dropout=settings.share("attention_probs_dropout_prob", 0.0),
        activation=activation_of(config),
        eps=settings.number("layer_norm_eps", 1e-12),
        backbone=backbone,
        interpolate_offset=settings.share("interpolate_offset", 0.0),
        antialias=settings.flag("interpolate_antialias", False),
    )


def _bit(settings):
    """The backbone, and the rows and columns of its last map for the images that the position table was made for."""
    described = settings.part("backbone_config") or Settings("vit-hybrid", {})
    given = {key: value for key, value in described.values.items() if value is not None}
    if isinstance(given.get("global_padding"), str):
        given["global_padding"] = given["global_padding"].lower()
    found = Settings(f"{settings.name}: backbone_config", given)
    found.only(
        model_type="bit", layer_type="bottleneck", global_padding="same", hidden_act="relu", width_factor=1,
        embedding_dynamic_padding=True,
    )  # fmt: skip
    depths = found.wholes("depths", (3, 4, 9))
    widths = found.wholes("hidden_sizes", (256, 512, 1024, 2048))[: len(depths)]
    if found.get("out_features", [f"stage{len(depths)}"]) != [f"stage{len(depths)}"]:
        raise ValueError(f"{found.name}: out_features must be the last stage alone")
    if 4 * 2 ** (len(depths) - 1) > found.whole("output_stride", 32):
        raise ValueError(f"{found.name}: output_stride would dilate a stage, and minivis has no such BiT")
    backbone = BiT(
        depths=depths,
        widths=widths,
        stem_width=found.whole("embedding_size", 64),
        groups=found.whole("num_groups", 32),
        channels=settings.whole("num_channels", 3),
    )
    shape = settings.wholes("backbone_featmap_shape", (1, 1024, 24, 24))
    if len(shape) != 4 or shape[1] != widths[-1]:
        raise ValueError(
            f"{settings.name}: backbone_featmap_shape must be [1, {widths[-1]}, rows, columns], got {list(shape)}"
        )
    return backbone, *shape[2:]


def describe(model):
    """The config.json of a hybrid."""
    backbone = model.backbone
    given = backbone.config
    if wrong := [width for width in backbone.channels if width % 32]:
        raise ValueError(
            f"the backbone's widths must be multiples of 32, or transformers rounds them, got {wrong[0]}"
        )
    last = f"stage{len(backbone.stages)}"
    rows, columns = (n * p for n, p in zip(model.grid, model.patch_size, strict=True))
    return {
        **vit.describe(model, "ViTHybrid"),
        "model_type": "vit-hybrid",
        "num_channels": given["channels"],
        "backbone_config": {
            "model_type": "bit",
            "layer_type": "bottleneck",
            "depths": list(given["depths"]),
            "hidden_sizes": list(backbone.channels),
            "embedding_size": given["stem_width"],
            "num_groups": given["groups"],
            "num_channels": given["channels"],
            "global_padding": "same",
            "embedding_dynamic_padding": True,
            "out_features": [last],
        },
        "backbone_featmap_shape": [1, backbone.channels[-1], rows, columns],
    }


def names(model, dialect):
    """The names of a hybrid's weights in a dialect."""
    mine = names_of(model)
    bit = [name for name in mine if name.startswith("backbone.")]
    rest = [name for name in mine if not name.startswith("backbone.")]
    if dialect == "timm":
        return translate(bit, TIMM) | translate(rest, vit.TIMM)
    prefix = "vit." if model.head else ""
    rules = [(ours, prefix + theirs) for ours, theirs in HUB + vit.HUB]
    return translate(mine, [*rules, ("head.*", "classifier.*")])


WIDTH, HEADS = (768, 12)  # of the published size, a ViT-B
TIMM_NAMES = r"vit_base_r50_s16_(224|384)"
STEM = "patch_embed.backbone.stem.conv.weight"


def infer(shapes, config=None):
    """A complete config for a file of timm, from its shapes and an incomplete config.json."""
    if STEM not in shapes or "blocks.0.attn.qkv.weight" not in shapes:
        return None
    settings = Settings("vit-hybrid", config or {})
    name = settings.of_timm(TIMM_NAMES)
    settings.only(global_pool="token")
    found = [
        re.match(r"patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\.conv3\.weight", n) for n in shapes
    ]
    places = {(int(m[1]), int(m[2])) for m in found if m}
    depths = [sum(stage == i for stage, _ in places) for i in sorted({stage for stage, _ in places})]
    widths = [shapes[f"patch_embed.backbone.stages.{i}.blocks.0.conv3.weight"][0] for i in range(len(depths))]
    side = math.isqrt(shapes["pos_embed"][1] - 1)
    heads = {"num_attention_heads": HEADS} if shapes["pos_embed"][2] == WIDTH else {}
    settings = Settings("vit-hybrid", heads | settings.values)
    bit = {"depths": depths, "hidden_sizes": widths, "embedding_size": shapes[STEM][0]}
    return {
        **vit.sizes_of(shapes, settings, name),
        "model_type": "vit-hybrid",
        "architectures": [
            "ViTHybridModel" if "head.weight" not in shapes else "ViTHybridForImageClassification"
        ],
        "num_channels": shapes[STEM][1],
        "backbone_config": bit,
        "backbone_featmap_shape": [1, widths[-1], side, side],
        "interpolate_antialias": True,
    }


FAMILY = PublishedFamily(
    model_types=("vit-hybrid",),
    build=build,
    names=names,
    dialects=("hf", "timm"),
    recomputed=vit.FAMILY.recomputed,
    infer=infer,
    preprocessor={
        "image_processor_type": "ViTHybridImageProcessor",
        "size": {"shortest_edge": 384},
        "crop_size": {"height": 384, "width": 384},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
    of=lambda model: type(model) is ViT and type(model.backbone) is BiT,
    describe=describe,
)
