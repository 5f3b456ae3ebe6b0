"""Published masked autoencoders: facebook/vit-mae-*, and the checkpoints with decoder of the authors' own code.

An encoder alone is a ViT: the hub's ViTMAEModel becomes one here, and so does an authors' file without decoder (vit.py).
Not here: the model (models/mae.py).
"""

import math
import re

from minivis.models.mae import MAE
from minivis.models.vit import ViT
from minivis.pretrained import vit
from minivis.pretrained.family import (
    Part,
    PublishedFamily,
    activation_of,
    hub_activation,
    names_of,
    translate,
)
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

LAYER = "decoder.decoder_layers.*."
HUB = [(f"encoder.{ours}", f"vit.{theirs}") for ours, theirs in vit.HUB] + [
    ("mask_token", "decoder.mask_token"),
    ("decoder_pos_embed", "decoder.decoder_pos_embed"),
    ("decoder_embed.*", "decoder.decoder_embed.*"),
    ("decoder_blocks.*.norm1.*", LAYER + "layernorm_before.*"),
    ("decoder_blocks.*.self_attn.out.*", LAYER + "attention.output.dense.*"),
    ("decoder_blocks.*.self_attn.*.*", LAYER + "attention.attention.*.*"),  # query, key, value
    ("decoder_blocks.*.norm2.*", LAYER + "layernorm_after.*"),
    ("decoder_blocks.*.mlp.fc1.*", LAYER + "intermediate.dense.*"),
    ("decoder_blocks.*.mlp.fc2.*", LAYER + "output.dense.*"),
    ("decoder_norm.*", "decoder.decoder_norm.*"),
    ("decoder_pred.*", "decoder.decoder_pred.*"),
]
PROJECTIONS = ("query", "key", "value")
AUTHORS = [
    *(
        (f"{ours}.*.{attention}.{name}.*", Part(f"{theirs}.*.attn.qkv.*", i, 3))
        for ours, theirs, attention in (
            ("encoder.blocks", "blocks", "attn"),
            ("decoder_blocks", "decoder_blocks", "self_attn"),
        )
        for i, name in enumerate(PROJECTIONS)
    ),
    ("encoder.blocks.*.attn.out.*", "blocks.*.attn.proj.*"),
    ("decoder_blocks.*.self_attn.out.*", "decoder_blocks.*.attn.proj.*"),
    ("encoder.blocks.*.*.*", "blocks.*.*.*"),
    ("encoder.blocks.*.*.*.*", "blocks.*.*.*.*"),
    ("encoder.patch_embed.proj.*", "patch_embed.proj.*"),
    ("encoder.norm.*", "norm.*"),
    ("encoder.*", "*"),  # class token and positions
    ("decoder_blocks.*.*.*", "decoder_blocks.*.*.*"),
    ("decoder_blocks.*.*.*.*", "decoder_blocks.*.*.*.*"),
    ("*.*", "*.*"),
    ("*", "*"),
]
ENCODER = "ViTMAEModel"  # the class of transformers without a decoder
DECODER_HEADS = {(512, 2048): 16}  # by width and width inside the MLP: every published decoder


def build(config):
    """Make the masked autoencoder, or its encoder alone, that a config.json describes."""
    settings = Settings("vit_mae", config)
    width = settings.whole("decoder_hidden_size", 512)
    encoder = vit.build({**config, "architectures": ["ViTModel"]})
    if ENCODER in settings.architectures():
        return encoder
    return MAE(
        encoder,
        decoder_width=width,
        decoder_depth=settings.whole("decoder_num_hidden_layers", 8),
        decoder_heads=settings.whole("decoder_num_attention_heads", 16),
        decoder_mlp_ratio=settings.whole("decoder_intermediate_size", 2048) / width,
        ratio=settings.share("mask_ratio", 0.75),
        norm_pix=settings.flag("norm_pix_loss", False),
        activation=activation_of(config),
        eps=settings.number("layer_norm_eps", 1e-12),
    )


def describe(model):
    """The config.json of a masked autoencoder."""
    given = model.config
    encoder = vit.describe(model.encoder)
    if hub_activation(given["activation"]) != encoder["hidden_act"]:
        raise ValueError(
            f"the activations of encoder and decoder must be the same, not {encoder['hidden_act']} and {given['activation']}"
        )
    return {
        **encoder,
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "decoder_hidden_size": given["decoder_width"],
        "decoder_num_hidden_layers": given["decoder_depth"],
        "decoder_num_attention_heads": given["decoder_heads"],
        "decoder_intermediate_size": round(given["decoder_width"] * given["decoder_mlp_ratio"]),
        "mask_ratio": given["ratio"],
        "norm_pix_loss": given["norm_pix"],
        "layer_norm_eps": given["eps"],
    }


def names(model, dialect):
    """The names of the weights in a dialect."""
    if isinstance(model, ViT):
        return vit.hub_names(model, "", [])
    return translate(names_of(model), {"hf": HUB, "authors": AUTHORS}[dialect])


def infer(shapes, config=None):
    """A complete config for a file with the authors' names, from its shapes and an incomplete config.json."""
    if "decoder_pos_embed" not in shapes or "blocks.0.attn.qkv.weight" not in shapes:
        return None
    settings = Settings("vit_mae", config or {})
    of_encoder = vit.sizes_of(
        {name: shape for name, shape in shapes.items() if "decoder" not in name}, settings
    )
    side = math.isqrt(shapes["pos_embed"][1] - 1)
    patch = shapes["patch_embed.proj.weight"][2]
    width = shapes["decoder_embed.weight"][0]
    inside = shapes["decoder_blocks.0.mlp.fc1.weight"][0]
    heads = settings.get("decoder_num_attention_heads", DECODER_HEADS.get((width, inside)))
    if heads is None:
        raise ValueError(
            f"vit_mae: the number of heads does not follow from a decoder of width {width} and {inside}: write a config.json "
            'that says it, {"decoder_num_attention_heads": ...}'
        )
    return {
        **of_encoder,
        "model_type": "vit_mae",
        "architectures": ["ViTMAEForPreTraining"],
        "image_size": settings.get("image_size", side * patch),
        "decoder_hidden_size": width,
        "decoder_intermediate_size": inside,
        "decoder_num_hidden_layers": sum(
            bool(re.fullmatch(r"decoder_blocks\.\d+\.norm1\.weight", name)) for name in shapes
        ),
        "decoder_num_attention_heads": heads,
    }


FAMILY = PublishedFamily(
    model_types=("vit_mae",),
    build=build,
    names=names,
    dialects=("hf", "authors"),
    infer=infer,
    preprocessor={
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is MAE,
    describe=describe,
)
