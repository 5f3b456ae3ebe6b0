"""Published RT-DETRs: PekingU/rtdetr_r* on the hub, with the ResNet-D of transformers.

Not here: the model (models/rt_detr.py), the second version, which samples its points in another way.
"""

from minivis.models.resnet import ResNet
from minivis.models.rt_detr import RTDETR
from minivis.pretrained import resnet
from minivis.pretrained.family import PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.mask2former import deformable
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

STRIDES = (4, 8, 16, 32)  # of the stages of the backbone


def build(config):
    """Make the RT-DETR that a config.json describes."""
    settings = Settings("rt_detr", config)
    dropout = settings.share("dropout", 0.0)
    settings.only(
        activation_dropout=dropout, attention_dropout=dropout, activation_function="silu",
        encoder_activation_function="gelu", decoder_activation_function="relu", normalize_before=False,
        layer_norm_eps=1e-5, batch_norm_eps=1e-5, positional_encoding_temperature=10000, eval_size=None,
        anchor_image_size=None, learn_initial_query=False, with_box_refine=True, freeze_backbone_batch_norms=True,
    )  # fmt: skip
    backbone = _backbone(settings)
    levels = settings.whole("num_feature_levels", 3, 1, len(STRIDES))
    width = settings.whole("encoder_hidden_dim", 256)
    settings.only(
        encoder_in_channels=list(backbone.channels[-levels:]),
        decoder_in_channels=[width] * levels,
        feat_strides=list(STRIDES[-levels:]),
        encode_proj_layers=[levels - 1],
    )
    return RTDETR(
        backbone,
        num_classes=len(labels_of(config)),
        queries=settings.whole("num_queries", 300),
        width=settings.whole("d_model", 256),
        heads=settings.whole("decoder_attention_heads", 8),
        encoder_width=width,
        encoder_depth=settings.whole("encoder_layers", 1, least=0),
        encoder_heads=settings.whole("encoder_attention_heads", 8),
        encoder_mlp_width=settings.whole("encoder_ffn_dim", 1024),
        expansion=settings.number("hidden_expansion", 1.0, least=1e-3, most=16),
        decoder_depth=settings.whole("decoder_layers", 6),
        mlp_width=settings.whole("decoder_ffn_dim", 1024),
        levels=levels,
        points=settings.whole("decoder_n_points", 4),
        dropout=dropout,
    )


def _backbone(settings):
    """The ResNet-D that ``backbone_config`` describes."""
    settings.only(use_timm_backbone=False, backbone=None)
    inside = settings.part("backbone_config") or Settings("rt_detr: backbone_config", {})
    depths = inside.wholes("depths", (3, 4, 6, 3))
    widths = inside.wholes("hidden_sizes", (256, 512, 1024, 2048))
    stem = inside.whole("embedding_size", 64, least=2)
    kind = inside.text("layer_type", "bottleneck")
    inside.only(
        model_type="rt_detr_resnet",
        hidden_act="relu",
        downsample_in_first_stage=False,
        downsample_in_bottleneck=False,
    )
    # where the channels of a stage of basic blocks stay or change at another place, transformers pools at another place
    steps = [stem, *widths]
    same = [a == b for a, b in zip(steps, steps[1:], strict=False)]
    if kind == "basic" and same != [True] + [False] * (len(widths) - 1):
        raise ValueError(
            f"rt_detr: basic blocks need a first stage as wide as the stem and wider ones after it, found {steps}"
        )
    if kind == "bottleneck" and same[0]:
        raise ValueError(f"rt_detr: bottlenecks need a first stage wider than the stem, found {steps}")
    return ResNet(
        depths,
        kind,
        widths,
        stem_width=stem,
        num_classes=0,
        channels=inside.whole("num_channels", 3),
        norm="frozen",
        variant="d",
    )


def describe(model):
    """The config.json of an RT-DETR. It has no codes for noisy boxes, which help in training alone."""
    given = model.config
    levels = given["levels"]
    return {
        "architectures": ["RTDetrForObjectDetection"],
        "model_type": "rt_detr",
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": _described_backbone(model.backbone, levels),
        "encoder_in_channels": list(model.backbone.channels[-levels:]),
        "feat_strides": list(STRIDES[-levels:]),
        "num_feature_levels": levels,
        "encode_proj_layers": [levels - 1],
        "encoder_hidden_dim": given["encoder_width"],
        "encoder_layers": given["encoder_depth"],
        "encoder_attention_heads": given["encoder_heads"],
        "encoder_ffn_dim": given["encoder_mlp_width"],
        "encoder_activation_function": "gelu",
        "hidden_expansion": given["expansion"],
        "activation_function": "silu",
        "d_model": given["width"],
        "num_queries": given["queries"],
        "decoder_in_channels": [given["encoder_width"]] * levels,
        "decoder_layers": given["decoder_depth"],
        "decoder_attention_heads": given["heads"],
        "decoder_ffn_dim": given["mlp_width"],
        "decoder_n_points": given["points"],
        "decoder_activation_function": "relu",
        **{name: given["dropout"] for name in ("dropout", "attention_dropout", "activation_dropout")},
        "num_denoising": 0,
        "eval_size": None,
        "anchor_image_size": None,
    }


def _described_backbone(backbone, levels):
    if type(backbone) is not ResNet:
        raise ValueError(f"the backbone must be a ResNet, not a {type(backbone).__name__}")
    return {
        **resnet.described_body(backbone),
        "model_type": "rt_detr_resnet",
        "out_features": [f"stage{i + 1}" for i in range(len(backbone.stages))][-levels:],
    }


def names(model, dialect):
    """The names of an RT-DETR's weights. Files have the heads inside the decoder ("hf") or beside the model ("hf_heads")."""
    stages = range(len(model.backbone.stages))
    backbone = "model.backbone.model."
    table = [
        (f"backbone.stem.{2 * i}.{ours}.*", f"{backbone}embedder.embedder.{i}.{theirs}.*")
        for i in range(3)
        for ours, theirs in (("conv", "convolution"), ("norm", "normalization"))
    ]
    for ours, theirs in (("conv", "convolution"), ("norm", "normalization")):
        # behind an average the published number is 1
        table += [
            (f"backbone.stages.{i}.*.shortcut.1.{ours}.*", f"{backbone}encoder.stages.{i}.layers.*.shortcut.1.{theirs}.*")
            for i in stages
        ]  # fmt: skip
    table += [(f"backbone.{ours}", backbone + theirs) for ours, theirs in resnet.rules("hf", len(stages))]
    heads = "model.decoder." if dialect == "hf" else ""
    return translate(names_of(model), [*table, *_encoder(), *_decoder(), *_heads(heads)])


def _conv_norm(ours, theirs):
    return [(f"{ours}.0.*", f"{theirs}.conv.*"), (f"{ours}.1.*", f"{theirs}.norm.*")]


def _layer(ours, theirs, norms):
    """Attention, MLP and norms of a transformer layer."""
    roles = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    table = [(f"{ours}self_attn.{role}.*", f"{theirs}self_attn.{name}.*") for role, name in roles]
    table += [(f"{ours}norm{i}.*", f"{theirs}{name}_layer_norm.*") for i, name in enumerate(norms, start=1)]
    return [*table, (f"{ours}mlp.*.*", f"{theirs}*.*")]  # fc1, fc2


def _encoder():
    inside = "model.encoder."
    table = [("encoder.input_proj.*.*.*", "model.encoder_input_proj.*.*.*")]
    table += _layer("encoder.layers.*.", inside + "encoder.0.layers.*.", ("self_attn", "final"))
    table += _conv_norm("encoder.lateral.*", inside + "lateral_convs.*")
    table += _conv_norm("encoder.downsample.*", inside + "downsample_convs.*")
    for ours, theirs in (("top_down", "fpn_blocks"), ("bottom_up", "pan_blocks")):
        table += _conv_norm(f"encoder.{ours}.*.blocks.*.*", f"{inside}{theirs}.*.bottlenecks.*.*")
        table += _conv_norm(f"encoder.{ours}.*.*", f"{inside}{theirs}.*.*")
    return table


def _decoder():
    ours, theirs = "layers.*.", "model.decoder.layers.*."
    table = [("decoder_proj.*.*.*", "model.decoder_input_proj.*.*.*")]
    table += _layer(ours, theirs, ("self_attn", "encoder_attn", "final"))
    table += deformable(ours + "cross_attn.", theirs + "encoder_attn.")
    table += [(f"query_codes.fc{i + 1}.*", f"model.decoder.query_pos_head.layers.{i}.*") for i in range(2)]
    return table


def _heads(prefix):
    table = [
        ("pixel_proj.*", "model.enc_output.0.*"),
        ("pixel_norm.*", "model.enc_output.1.*"),
        ("pixel_class_head.*", "model.enc_score_head.*"),
        ("class_heads.*.*", prefix + "class_embed.*.*"),
    ]
    for i in range(3):
        table.append((f"pixel_box_head.{2 * i}.*", f"model.enc_bbox_head.layers.{i}.*"))
        table.append((f"box_heads.*.{2 * i}.*", f"{prefix}bbox_embed.*.layers.{i}.*"))
    return table


FAMILY = PublishedFamily(
    model_types=("rt_detr",),
    build=build,
    names=names,
    dialects=("hf", "hf_heads"),
    recomputed=(
        # the classes of the noisy boxes, for training alone
        r"model\.denoising_class_embed\.weight",
        # the heads a second time, as some versions of transformers write them
        r"(class|bbox)_embed\..*",
        # written by code whose norms are not frozen
        r"model\.backbone\..*\.num_batches_tracked",
    ),
    preprocessor={
        "image_processor_type": "RTDetrImageProcessor",
        "size": {"height": 640, "width": 640},
        "resample": 2,
        "do_normalize": False,
    },
    of=lambda model: type(model) is RTDETR,
    describe=describe,
)
