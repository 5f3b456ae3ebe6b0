"""Published SAMs: facebook/sam-vit-* on the hub, and the authors' own files, sam_vit_b_01ec64 and its sisters.

Not here: the model (models/sam.py), photos for it (preprocess.py), what comes later (SAM 2, HQ-SAM).
"""

import re

from minivis.models.sam import SAM, MaskDecoder, PromptEncoder
from minivis.models.sam_encoder import SAMImageEncoder
from minivis.pretrained.family import Part, PublishedFamily, names_of, sides, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

HUB_EPS = 1e-6  # of the decoder's norms in transformers; the authors have PyTorch's 1e-5
PROJECTIONS = ("query", "key", "value")
ATTENTIONS = {
    "self_attn": "self_attn",
    "tokens_to_image": "cross_attn_token_to_image",
    "image_to_tokens": "cross_attn_image_to_token",
}


def build(config):
    """Make the SAM that a config.json describes."""
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    vision, prompts, decoder = (
        Settings(f"sam: {part}", (Settings("sam", config).part(part) or Settings("sam", {})).values)
        for part in parts
    )
    width = vision.whole("output_channels", 256)
    side, patch = vision.whole("image_size", 1024), vision.whole("patch_size", 16)
    vision.only(
        hidden_act="gelu", attention_dropout=0.0, use_abs_pos=True, use_rel_pos=True, num_pos_feats=width // 2
    )
    prompts.only(hidden_size=width, image_size=side, patch_size=patch, num_point_embeddings=4)
    prompts.only(hidden_act="gelu", layer_norm_eps=1e-6)
    decoder.only(hidden_size=width, hidden_act="relu", attention_downsample_rate=2, iou_head_depth=3)
    if side % patch:
        raise ValueError(f"sam: patches of {patch} do not fill images of {side}")
    return SAM(
        _encoder(vision, side, patch, width),
        PromptEncoder(width, side, side // patch, prompts.whole("mask_input_channels", 16)),
        MaskDecoder(
            width,
            depth=decoder.whole("num_hidden_layers", 2),
            heads=decoder.whole(
                "num_attention_heads", Settings("sam", config).whole("num_attention_heads", 8)
            ),
            mlp_width=decoder.whole("mlp_dim", 2048),
            masks=decoder.whole("num_multimask_outputs", 3),
            iou_width=decoder.whole("iou_head_hidden_dim", 256),
            eps=decoder.number("layer_norm_eps", HUB_EPS),
        ),
    )


def _encoder(vision, side, patch, out_width):
    width, depth = vision.whole("hidden_size", 768), vision.whole("num_hidden_layers", 12)
    inside = vision.whole("mlp_dim", int(width * vision.number("mlp_ratio", 4.0)))
    whole = vision.get("global_attn_indexes", [2, 5, 8, 11])
    return SAMImageEncoder(
        image_size=side,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=vision.whole("num_attention_heads", 12),
        mlp_ratio=inside / width,
        out_width=out_width,
        window=vision.whole("window_size", 14, least=0),
        whole=() if whole == [] else vision.wholes("global_attn_indexes", (2, 5, 8, 11), least=0),
        qkv_bias=vision.flag("qkv_bias", True),
        channels=vision.whole("num_channels", 3),
        eps=vision.number("layer_norm_eps", 1e-6),
    )


def describe(model):
    """The config.json of a SAM."""
    if type(model.image_encoder) is not SAMImageEncoder:
        raise ValueError(
            f"the image encoder must be a SAMImageEncoder, not a {type(model.image_encoder).__name__}"
        )
    vision, prompts, decoder = (
        part.config for part in (model.image_encoder, model.prompt_encoder, model.mask_decoder)
    )
    width = vision["out_width"]
    sizes = {"image_size": sides(vision["image_size"]), "patch_size": sides(vision["patch_size"])}
    return {
        "architectures": ["SamModel"],
        "model_type": "sam",
        "vision_config": {
            **sizes,
            "hidden_size": vision["width"],
            "output_channels": width,
            "num_hidden_layers": vision["depth"],
            "num_attention_heads": vision["heads"],
            "num_channels": vision["channels"],
            "mlp_ratio": vision["mlp_ratio"],
            "mlp_dim": int(vision["width"] * vision["mlp_ratio"]),
            "num_pos_feats": width // 2,
            "window_size": vision["window"],
            "global_attn_indexes": list(vision["whole"]),
            "qkv_bias": vision["qkv_bias"],
            "layer_norm_eps": vision["eps"],
            "hidden_act": "gelu",
        },
        "prompt_encoder_config": {
            **sizes,
            "hidden_size": width,
            "mask_input_channels": prompts["mask_channels"],
        },
        "mask_decoder_config": _described_decoder(decoder, model.mask_decoder, width),
    }


def _described_decoder(given, decoder, width):
    return {
        "hidden_size": width,
        "num_hidden_layers": given["depth"],
        "num_attention_heads": given["heads"],
        "mlp_dim": given["mlp_width"],
        "num_multimask_outputs": given["masks"],
        "iou_head_hidden_dim": decoder.iou_head.layers[0].weight.shape[0],
        "layer_norm_eps": given["eps"],
        "hidden_act": "relu",
    }


def names(model, dialect):
    """The names of the weights: "hf" on the hub, "fb" in the authors' code."""
    rules = {"hf": _hub, "fb": _authors}[dialect]
    return translate(names_of(model), rules())


def _hub():
    encoder, prompts, decoder = "vision_encoder.", "prompt_encoder.", "mask_decoder."
    table = [
        ("image_encoder.patch_embed.*", encoder + "patch_embed.projection.*"),
        ("image_encoder.pos_embed", encoder + "pos_embed"),
        *_blocks("image_encoder.blocks.*.", encoder + "layers.*.", "layer_norm"),
        ("image_encoder.neck.0.weight", encoder + "neck.conv1.weight"),
        ("image_encoder.neck.1.norm.*", encoder + "neck.layer_norm1.*"),
        ("image_encoder.neck.2.weight", encoder + "neck.conv2.weight"),
        ("image_encoder.neck.3.norm.*", encoder + "neck.layer_norm2.*"),
        ("prompt_encoder.gaussian", "shared_image_embedding.positional_embedding"),
        ("prompt_encoder.point_types.*", prompts + "point_embed.*.weight"),
        ("prompt_encoder.mask_downscaling.0.*", prompts + "mask_embed.conv1.*"),
        ("prompt_encoder.mask_downscaling.1.norm.*", prompts + "mask_embed.layer_norm1.*"),
        ("prompt_encoder.mask_downscaling.3.*", prompts + "mask_embed.conv2.*"),
        ("prompt_encoder.mask_downscaling.4.norm.*", prompts + "mask_embed.layer_norm2.*"),
        ("prompt_encoder.mask_downscaling.6.*", prompts + "mask_embed.conv3.*"),
        ("mask_decoder.upscaling.0.*", decoder + "upscale_conv1.*"),
        ("mask_decoder.upscaling.1.norm.*", decoder + "upscale_layer_norm.*"),
        ("mask_decoder.upscaling.3.*", decoder + "upscale_conv2.*"),
        ("mask_decoder.final_norm.*", decoder + "transformer.layer_norm_final_attn.*"),
    ]
    for ours, theirs in (("mask_mlps.*", "output_hypernetworks_mlps.*"), ("iou_head", "iou_prediction_head")):
        for i, layer in enumerate(("proj_in", "layers.0", "proj_out")):
            table.append((f"mask_decoder.{ours}.layers.{i}.*", f"{decoder}{theirs}.{layer}.*"))
    return table + _both(decoder, "layer_norm")


def _authors():
    table = [
        ("image_encoder.patch_embed.*", "image_encoder.patch_embed.proj.*"),
        *_blocks("image_encoder.blocks.*.", "image_encoder.blocks.*.", "norm"),
        ("image_encoder.neck.*.norm.*", "image_encoder.neck.*.*"),
        ("prompt_encoder.gaussian", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
        ("prompt_encoder.point_types.*", "prompt_encoder.point_embeddings.*.weight"),
        ("prompt_encoder.mask_downscaling.*.norm.*", "prompt_encoder.mask_downscaling.*.*"),
        ("mask_decoder.upscaling.*.norm.*", "mask_decoder.output_upscaling.*.*"),
        ("mask_decoder.upscaling.*.*", "mask_decoder.output_upscaling.*.*"),
        ("mask_decoder.final_norm.*", "mask_decoder.transformer.norm_final_attn.*"),
        ("mask_decoder.mask_mlps.*.*.*.*", "mask_decoder.output_hypernetworks_mlps.*.*.*.*"),
        ("mask_decoder.iou_head.*.*.*", "mask_decoder.iou_prediction_head.*.*.*"),
        *_both("mask_decoder.", "norm"),
        ("image_encoder.*", "image_encoder.*"),  # positions
        ("image_encoder.*.*.*", "image_encoder.*.*.*"),
        ("prompt_encoder.mask_downscaling.*.*", "prompt_encoder.mask_downscaling.*.*"),
    ]
    return table


def _blocks(ours, theirs, norm):
    """The blocks of the image encoder; norms have two names."""
    packed = [
        (f"{ours}attn.{role}.*", Part(f"{theirs}attn.qkv.*", i, 3)) for i, role in enumerate(PROJECTIONS)
    ]
    return [
        *packed,
        (ours + "attn.out.*", theirs + "attn.proj.*"),
        (ours + "attn.relative_rows", theirs + "attn.rel_pos_h"),
        (ours + "attn.relative_columns", theirs + "attn.rel_pos_w"),
        (ours + "norm*.*", theirs + norm + "*.*"),
        (ours + "mlp.fc*.*", theirs + "mlp.lin*.*"),
    ]


def _both(decoder, norm):
    """What the hub and the authors name alike, but for the norms: learned tokens and the two-way layers."""
    layers = decoder + "transformer."
    table = [
        ("prompt_encoder.not_a_point", "prompt_encoder.not_a_point_embed.weight"),
        ("prompt_encoder.no_mask", "prompt_encoder.no_mask_embed.weight"),
        ("mask_decoder.iou_token", decoder + "iou_token.weight"),
        ("mask_decoder.mask_tokens", decoder + "mask_tokens.weight"),
        ("mask_decoder.layers.*.norm*.*", f"{layers}layers.*.{norm}*.*"),
        ("mask_decoder.layers.*.mlp.fc*.*", layers + "layers.*.mlp.lin*.*"),
        *_attention("mask_decoder.final_attn.", layers + "final_attn_token_to_image."),
    ]
    for ours, theirs in ATTENTIONS.items():
        table += _attention(f"mask_decoder.layers.*.{ours}.", f"{layers}layers.*.{theirs}.")
    return table


def _attention(ours, theirs):
    pairs = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    return [(f"{ours}{role}.*", f"{theirs}{name}.*") for role, name in pairs]


def infer(shapes, config=None):
    """A complete config for a file of the authors, from its shapes."""
    if not {"image_encoder.pos_embed", "mask_decoder.iou_token.weight"} <= shapes.keys():
        return None
    D = shapes["mask_decoder.iou_token.weight"][1]
    if D != 256 and Settings("sam", config or {}).get("num_attention_heads") is None:
        raise ValueError(
            f"sam: the heads of the mask decoder do not follow from its width {D}: write a config.json that says them, "
            '{"num_attention_heads": ...}'
        )
    vision = {**_vision(shapes), "output_channels": D, "num_pos_feats": D // 2}
    prompts = {
        "hidden_size": D,
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "mask_input_channels": shapes["prompt_encoder.mask_downscaling.3.weight"][0],
    }
    decoder = {
        "hidden_size": D,
        "num_hidden_layers": _count(shapes, "mask_decoder.transformer.layers"),
        "mlp_dim": shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        "num_multimask_outputs": shapes["mask_decoder.mask_tokens.weight"][0] - 1,
        "iou_head_hidden_dim": shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
        "layer_norm_eps": 1e-5,
    }
    parts = {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}
    return {"model_type": "sam", **parts}


def _vision(shapes):
    """The vision_config of a file of the authors. The tables of relative positions say heads and windows."""
    _, rows, columns, width = shapes["image_encoder.pos_embed"]
    if rows != columns:
        raise ValueError(f"sam: the authors' files have square images, found a grid of {rows} x {columns}")
    blocks = range(_count(shapes, "image_encoder.blocks"))
    tables = [shapes[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in blocks]
    sides = [(length + 1) // 2 for length, _ in tables]
    windows = [side for side in sides if side != rows]
    patch = shapes["image_encoder.patch_embed.proj.weight"][2]
    return {
        "hidden_size": width,
        "num_hidden_layers": len(tables),
        "num_attention_heads": width // tables[0][1],
        "image_size": rows * patch,
        "patch_size": patch,
        "window_size": windows[0] if windows else 0,
        "global_attn_indexes": [i for i, side in enumerate(sides) if side == rows],
        "qkv_bias": "image_encoder.blocks.0.attn.qkv.bias" in shapes,
        "mlp_dim": shapes["image_encoder.blocks.0.mlp.lin1.weight"][0],
    }


def _count(shapes, prefix):
    """How many blocks or layers a file has."""
    pattern = re.compile(re.escape(prefix) + r"\.\d+\.norm1\.weight")
    return sum(bool(pattern.fullmatch(name)) for name in shapes)


FAMILY = PublishedFamily(
    model_types=("sam",),
    build=build,
    names=names,
    dialects=("hf", "fb"),
    # the same numbers as shared_image_embedding.positional_embedding
    recomputed=(r"prompt_encoder\.shared_embedding\.positional_embedding",),
    infer=infer,
    preprocessor={
        "image_processor_type": "SamImageProcessor",
        "size": {"longest_edge": 1024},
        "pad_size": {"height": 1024, "width": 1024},
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is SAM,
    describe=describe,
)
