"""Published CLIPs: openai/clip-vit-* on the hub, and the authors' own files, with a ViT or with a ResNet.

Not here: the models (models/clip.py, models/clip_resnet.py), the tokeniser (data/byte_pairs.py).
"""

import re

from minivis.models.clip import CLIP, CLIPImageEncoder, CLIPTextEncoder
from minivis.models.clip_resnet import CLIPResNet
from minivis.pretrained.family import (
    Part,
    PublishedFamily,
    Transposed,
    activation_of,
    described_blocks,
    names_of,
    sides,
    translate,
)
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

END = 49_407  # the end of a text in the published vocabulary
LEGACY_END = 2  # what old config.json say instead: there the end is the largest number of the text


def _hub_tower(ours, theirs):
    """The hub's names of the blocks and the last norm of one encoder."""
    block = theirs + ".encoder.layers.*."
    return [
        (ours + ".blocks.*.norm1.*", block + "layer_norm1.*"),
        (ours + ".blocks.*.self_attn.query.*", block + "self_attn.q_proj.*"),
        (ours + ".blocks.*.self_attn.key.*", block + "self_attn.k_proj.*"),
        (ours + ".blocks.*.self_attn.value.*", block + "self_attn.v_proj.*"),
        (ours + ".blocks.*.self_attn.out.*", block + "self_attn.out_proj.*"),
        (ours + ".blocks.*.norm2.*", block + "layer_norm2.*"),
        (ours + ".blocks.*.mlp.*.*", block + "mlp.*.*"),
    ]


HUB = [
    ("logit_scale", "logit_scale"),
    ("text_projection.weight", "text_projection.weight"),
    ("image_projection.weight", "visual_projection.weight"),
    ("text_encoder.token_embed.weight", "text_model.embeddings.token_embedding.weight"),
    ("text_encoder.pos_embed", "text_model.embeddings.position_embedding.weight"),
    *_hub_tower("text_encoder", "text_model"),
    ("text_encoder.norm.*", "text_model.final_layer_norm.*"),
    ("image_encoder.cls_token", "vision_model.embeddings.class_embedding"),
    ("image_encoder.pos_embed", "vision_model.embeddings.position_embedding.weight"),
    ("image_encoder.patch_embed.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("image_encoder.norm_before.*", "vision_model.pre_layrnorm.*"),  # spelled so
    *_hub_tower("image_encoder", "vision_model"),
    ("image_encoder.norm.*", "vision_model.post_layernorm.*"),
]


def _openai_tower(ours, theirs):
    """The authors' names of the blocks of one encoder; query, key and value are packed."""
    block = theirs + "transformer.resblocks.*."
    packed = [
        (f"{ours}.blocks.*.self_attn.{name}.*", Part(block + "attn.in_proj_*", number, 3))
        for number, name in enumerate(("query", "key", "value"))
    ]
    return [
        *packed,
        (ours + ".blocks.*.self_attn.out.*", block + "attn.out_proj.*"),
        (ours + ".blocks.*.norm1.*", block + "ln_1.*"),
        (ours + ".blocks.*.norm2.*", block + "ln_2.*"),
        (ours + ".blocks.*.mlp.fc1.*", block + "mlp.c_fc.*"),
        (ours + ".blocks.*.mlp.fc2.*", block + "mlp.c_proj.*"),
    ]


STAGE = "image_encoder.stages.*.*."
LAYER = "visual.layer*.*."
OPENAI = [
    ("logit_scale", "logit_scale"),
    ("text_projection.weight", Transposed("text_projection")),
    ("text_encoder.token_embed.weight", "token_embedding.weight"),
    ("text_encoder.pos_embed", "positional_embedding"),
    *_openai_tower("text_encoder", ""),
    ("text_encoder.norm.*", "ln_final.*"),
    # the vision transformer
    ("image_projection.weight", Transposed("visual.proj")),
    ("image_encoder.cls_token", "visual.class_embedding"),
    ("image_encoder.patch_embed.weight", "visual.conv1.weight"),
    ("image_encoder.norm_before.*", "visual.ln_pre.*"),
    ("image_encoder.norm.*", "visual.ln_post.*"),
    *_openai_tower("image_encoder", "visual."),
    # the ResNet
    ("image_encoder.pool.pos_embed", "visual.attnpool.positional_embedding"),
    ("image_encoder.pool.query.*", "visual.attnpool.q_proj.*"),
    ("image_encoder.pool.key.*", "visual.attnpool.k_proj.*"),
    ("image_encoder.pool.value.*", "visual.attnpool.v_proj.*"),
    ("image_encoder.pool.out.*", "visual.attnpool.c_proj.*"),
    (STAGE + "shortcut.*", LAYER + "downsample.0.*"),
    (STAGE + "shortcut_norm.*", LAYER + "downsample.1.*"),
    ("image_encoder.pos_embed", "visual.positional_embedding"),
    *((f"{STAGE}conv{n}.*", f"{LAYER}conv{n}.*") for n in (1, 2, 3)),
    *((f"{STAGE}norm{n}.*", f"{LAYER}bn{n}.*") for n in (1, 2, 3)),
    *((f"image_encoder.conv{n}.*", f"visual.conv{n}.*") for n in (1, 2, 3)),
    *((f"image_encoder.norm{n}.*", f"visual.bn{n}.*") for n in (1, 2, 3)),
]


def build(config):
    """Make the CLIP that a config.json describes."""
    settings = Settings("clip", config)
    image = settings.part("vision_config") or Settings("clip: vision_config", {})
    embedding = settings.whole("projection_dim", 512)
    text = _text(settings.part("text_config") or Settings("clip: text_config", {}))
    if image.get("layers") is not None:
        width = image.whole("hidden_size", 64)
        encoder = CLIPResNet(
            image.wholes("layers", ()), width, embedding, image.whole("num_attention_heads", 32), image.pair("image_size", 224)
        )  # fmt: skip
        return CLIP(encoder, text, embedding)
    width = image.whole("hidden_size", 768)
    image.only(attention_dropout=0.0)
    encoder = CLIPImageEncoder(
        image.pair("image_size", 224),
        image.pair("patch_size", 32),
        channels=image.whole("num_channels", 3),
        **_sizes(image, 768, 3072, 12, 12),
    )
    return CLIP(encoder, text, embedding, image_width=width)


def _text(settings):
    """The text encoder."""
    settings.only(attention_dropout=0.0)
    end = settings.whole("eos_token_id", END, 0)
    return CLIPTextEncoder(
        settings.whole("vocab_size", 49_408),
        settings.whole("max_position_embeddings", 77),
        end_id=None if end == LEGACY_END else end,
        **_sizes(settings, 512, 2048, 12, 8),
    )


def _sizes(settings, width, inside, depth, heads):
    """The sizes of an encoder's blocks; the arguments are the published defaults."""
    width = settings.whole("hidden_size", width)
    return {
        "width": width,
        "depth": settings.whole("num_hidden_layers", depth),
        "heads": settings.whole("num_attention_heads", heads),
        "mlp_ratio": settings.whole("intermediate_size", inside) / width,
        "activation": activation_of(settings.values, default="quick_gelu"),
        "eps": settings.number("layer_norm_eps", 1e-5),
    }


def describe(model):
    """The config.json of a CLIP with a ViT."""
    if type(model.image_encoder) is not CLIPImageEncoder:
        raise ValueError(
            f"the image encoder must be a CLIPImageEncoder, not a {type(model.image_encoder).__name__}"
        )
    image, text = model.image_encoder.config, model.text_encoder.config
    end = LEGACY_END if text["end_id"] is None else text["end_id"]
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model.config["width"],
        "vision_config": {
            "model_type": "clip_vision_model",
            "image_size": sides(image["image_size"]),
            "patch_size": sides(image["patch_size"]),
            "num_channels": image["channels"],
            "projection_dim": model.config["width"],
            **described_blocks(image),
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text["vocabulary"],
            "max_position_embeddings": text["length"],
            "eos_token_id": end,
            # in a vocabulary of one's own nobody knows which these are
            **({} if text["vocabulary"] > END else {"bos_token_id": None, "pad_token_id": None}),
            "projection_dim": model.config["width"],
            **described_blocks(text),
        },
    }


def names(model, dialect):
    """The names of a CLIP's weights in a dialect. The hub has no CLIP with a ResNet, so those have the authors' names."""
    if dialect == "hf" and model.image_projection is not None:
        return translate(names_of(model), HUB)
    found = {}
    for name in names_of(model):
        # the authors count the stages from 1
        stage = re.match(r"(image_encoder\.stages\.)(\d)(\..*)", name)
        counted = f"{stage[1]}{int(stage[2]) + 1}{stage[3]}" if stage else name
        found[name] = translate([counted], OPENAI)[counted]
    return found


def infer(shapes, config=None):
    """A complete config for a file of the authors, from its shapes: every head of theirs is 64 wide."""
    if "visual.conv1.weight" not in shapes or "token_embedding.weight" not in shapes:
        return None
    vocabulary, width = shapes["token_embedding.weight"]
    text = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_position_embeddings": shapes["positional_embedding"][0],
        "num_hidden_layers": _count(shapes, r"transformer\.resblocks\.\d+\.ln_1\.weight"),
        "num_attention_heads": width // 64,
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "eos_token_id": LEGACY_END,
    }
    pooled = "visual.attnpool.positional_embedding" in shapes
    return {
        "model_type": "clip",
        "projection_dim": shapes["text_projection"][1],
        "text_config": text,
        "vision_config": _resnet(shapes) if pooled else _vit(shapes),
    }


def _vit(shapes):
    width, channels, *patch = shapes["visual.conv1.weight"]
    side = _side(shapes["visual.positional_embedding"][0])
    return {
        "image_size": [side * patch[0], side * patch[1]],
        "patch_size": patch,
        "num_channels": channels,
        "hidden_size": width,
        "intermediate_size": shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": _count(shapes, r"visual\.transformer\.resblocks\.\d+\.ln_1\.weight"),
        "num_attention_heads": width // 64,
    }


def _resnet(shapes):
    tokens, channels = shapes["visual.attnpool.positional_embedding"]
    side = 32 * _side(tokens)
    return {
        "layers": [_count(shapes, rf"visual\.layer{n}\.\d+\.conv1\.weight") for n in (1, 2, 3, 4)],
        "hidden_size": channels // 32,
        "image_size": [side, side],
        "num_attention_heads": channels // 64,
    }


def _side(tokens):
    """Rows of a square grid, from the number of its cells and one token more."""
    side = round((tokens - 1) ** 0.5)
    if side * side != tokens - 1:
        raise ValueError(f"clip: {tokens - 1} positions are no square: write a config.json with image_size")
    return side


def _count(shapes, pattern):
    return sum(bool(re.fullmatch(pattern, name)) for name in shapes)


FAMILY = PublishedFamily(
    model_types=("clip",),
    build=build,
    names=names,
    dialects=("hf", "openai"),
    # position_ids are 0, 1, 2, ...; the authors' files say the image size, the length and the size of the vocabulary
    recomputed=(r".*\.position_ids", "input_resolution", "context_length", "vocab_size"),
    infer=infer,
    preprocessor={
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    of=lambda model: type(model) is CLIP,
    describe=describe,
)
