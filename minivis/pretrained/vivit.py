"""Published ViViTs: google/vivit-* on the hub, classifier or backbone; all of them are model 1, with joint attention.

A frame of a film is prepared by ``model.preprocess(frame)``; the film is the frames one after the other, (1, T, 3, H, W).
The hub's files end with pixels between -1 and 1 where they do not normalise as well: what the file says is done.
Not here: the model (models/vivit.py), its other variants, which have not been published on the hub.
"""

from minivis.models.vivit import ViViT
from minivis.pretrained.family import (
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
    ("pos_embed", "embeddings.position_embeddings"),
    ("embed.*", "embeddings.patch_embeddings.projection.*"),
    ("blocks.*.norm1.*", BLOCK + "layernorm_before.*"),
    ("blocks.*.self_attn.out.*", BLOCK + "attention.output.dense.*"),
    ("blocks.*.self_attn.*.*", BLOCK + "attention.attention.*.*"),  # query, key, value
    ("blocks.*.norm2.*", BLOCK + "layernorm_after.*"),
    ("blocks.*.mlp.fc1.*", BLOCK + "intermediate.dense.*"),
    ("blocks.*.mlp.fc2.*", BLOCK + "output.dense.*"),
    ("norm.*", "layernorm.*"),
]


def build(config):
    """Make the ViViT that a config.json describes."""
    settings = Settings("vivit", config)
    if not settings.flag("qkv_bias", True):
        raise ValueError("vivit: qkv_bias is false, and minivis has no such ViViT")
    tubelet = settings.wholes("tubelet_size", (2, 16, 16))
    if len(tubelet) != 3:
        raise ValueError(f"vivit: tubelet_size must be [frames, height, width], got {list(tubelet)}")
    width = settings.whole("hidden_size", 768)
    return ViViT(
        frames=settings.whole("num_frames", 32),
        image_size=settings.pair("image_size", 224),
        tubelet=tubelet,
        width=width,
        depth=settings.whole("num_hidden_layers", 12),
        heads=settings.whole("num_attention_heads", 12),
        mlp_ratio=settings.whole("intermediate_size", 3072) / width,
        num_classes=0 if "VivitModel" in settings.architectures() else len(labels_of(config)),
        channels=settings.whole("num_channels", 3),
        dropout=settings.share("hidden_dropout_prob", 0.0),
        activation=activation_of(config, default="gelu_fast"),
        eps=settings.number("layer_norm_eps", 1e-6),
    )


def describe(model):
    """The config.json of a ViViT."""
    given = model.config
    return {
        "architectures": ["VivitForVideoClassification" if model.head else "VivitModel"],
        "model_type": "vivit",
        "image_size": sides(given["image_size"]),
        "num_frames": given["frames"],
        "tubelet_size": list(given["tubelet"]),
        "num_channels": given["channels"],
        **described_blocks(given),
        "hidden_dropout_prob": given["dropout"],
        "qkv_bias": True,
    }


def names(model, dialect):
    """The hub's names of a ViViT's weights; without a head they lack the prefix."""
    prefix = "vivit." if model.head else ""
    rules = [(ours, prefix + theirs) for ours, theirs in HUB]
    return translate(names_of(model), [*rules, ("head.*", "classifier.*")])


FAMILY = PublishedFamily(
    model_types=("vivit",),
    build=build,
    names=names,
    recomputed=(r"pooler\.dense\.(weight|bias)",),  # VivitModel's tanh layer after the class token
    preprocessor={
        "image_processor_type": "VivitImageProcessor",
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
        "resample": 2,
        "do_normalize": False,
    },
    of=lambda model: type(model) is ViViT,
    describe=describe,
)
