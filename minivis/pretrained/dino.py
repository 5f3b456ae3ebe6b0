"""The backbones of DINO in the names of its authors: dino_vits16, dino_vits8, dino_vitb16, dino_vitb8.

Their names and shapes are also those of timm's ViTs without a head, and nothing in the file tells them apart. So its
folder needs a config.json that names the model, such as ``{"architecture": "dino_vits16"}``; without one the file is
refused. The difference: for images of another size the authors resize the position table with an offset of 0.1.
Not here: the model (models/vit.py), the same backbones on the model hub, which are published as ViT (vit.py).
"""

import re

from minivis.pretrained import dinov2, vit
from minivis.pretrained.family import PublishedFamily
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

# Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, table 1: width, heads
SIZES = {"s": (384, 6), "b": (768, 12)}
SMALL = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6}


def build(config):
    """Make the ViT that a config.json describes; what it does not say is that of ViT-S/16."""
    usual = {
        **SMALL,
        "layer_norm_eps": 1e-6,
        "interpolate_offset": 0.1,
        "architectures": ["ViTModel"],
    }
    given = {key: value for key, value in config.items() if value is not None}
    return vit.build({**usual, **given})


def names(model, dialect):
    """The names of a backbone's weights: the authors' are timm's."""
    return vit.names(model, {"hf": "hf", "fb": "timm"}[dialect])


def infer(shapes, config=None):
    """A complete config for a file of the authors, from its shapes and a config.json that names the model."""
    settings = Settings("dino", config or {})
    name = settings.get("architecture")
    found = re.fullmatch(r"dino_vit([sb])(8|16)", name) if isinstance(name, str) else None
    if found is None or "patch_embed.proj.weight" not in shapes:
        return None
    width, heads = SIZES[found[1]]
    side = int(found[2])
    there, _, *patch = shapes["patch_embed.proj.weight"]
    if (there, *patch) != (width, side, side):
        raise ValueError(
            f"dino: {name} has width {width} and patches of {side} x {side}, the file's weights have width {there} and "
            f"patches of {' x '.join(map(str, patch))}"
        )
    sizes = vit.sizes_of(shapes, Settings("dino", {"num_attention_heads": heads, **settings.values}))
    return {**sizes, "model_type": "dino", "interpolate_offset": 0.1}


FAMILY = PublishedFamily(
    model_types=("dino",),
    build=build,
    names=names,
    dialects=("hf", "fb"),
    infer=infer,
    preprocessor=dinov2.FAMILY.preprocessor,
)
