"""Published Mask2Formers: facebook/mask2former-* on the hub, with a Swin or a ResNet inside, and the authors' own files.

Not here: the model (models/mask2former.py), the names of the backbones' weights (swin.py, resnet.py).
"""

from minivis.models.mask2former import Mask2Former
from minivis.pretrained import resnet, swin
from minivis.pretrained.family import PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.maskformer import (
    STAGES,
    backbone_of,
    class_weights,
    described_backbone,
    packed_attention,
)
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY", "deformable"]

# transformers' default for a config.json without a backbone
DEFAULT = {"model_type": "swin", "depths": [2, 2, 18, 2]}


def build(config):
    """Make the Mask2Former that a config.json describes."""
    settings = Settings("mask2former", config)
    width = settings.whole("hidden_dim", 256)
    settings.only(
        activation_function="relu",
        pre_norm=False,
        enforce_input_projection=False,
        feature_size=width,
        common_stride=4,
        feature_strides=[4, 8, 16, 32],
    )
    return Mask2Former(
        backbone_of(settings, DEFAULT),
        num_classes=len(labels_of(config)),
        queries=settings.whole("num_queries", 100),
        width=width,
        heads=settings.whole("num_attention_heads", 8),
        # transformers also counts the prediction before the first layer
        decoder_depth=settings.whole("decoder_layers", 10, least=2) - 1,
        pixel_depth=settings.whole("encoder_layers", 6),
        mlp_width=settings.whole("dim_feedforward", 2048),
        pixel_mlp_width=settings.whole("encoder_feedforward_dim", 1024),
        mask_width=settings.whole("mask_feature_size", 256),
        dropout=settings.share("dropout", 0.0),
    )


def describe(model):
    """The config.json of a Mask2Former."""
    given = model.config
    return {
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        "model_type": "mask2former",
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": described_backbone(model.backbone),
        "num_queries": given["queries"],
        "hidden_dim": given["width"],
        "feature_size": given["width"],
        "mask_feature_size": model.pixel_decoder.mask_features.weight.shape[0],
        "num_attention_heads": given["heads"],
        "decoder_layers": given["decoder_depth"] + 1,
        "encoder_layers": given["pixel_depth"],
        "dim_feedforward": given["mlp_width"],
        "encoder_feedforward_dim": given["pixel_mlp_width"],
        "activation_function": "relu",
        "pre_norm": False,
        "enforce_input_projection": False,
        "common_stride": 4,
        "feature_strides": [4, 8, 16, 32],
        "dropout": given["dropout"],
    }


def added(model):
    """What a published Mask2Former holds besides its weights."""
    return class_weights(model) | swin.index_tables(model.backbone, names(model, "hf"))


def names(model, dialect):
    """The names of a Mask2Former's weights: "hf" on the hub, "fb" in the authors' code."""
    stages = len(model.backbone.stages)
    hub = dialect == "hf"
    prefix = "model.pixel_level_module.encoder." if hub else "backbone."
    if not hasattr(model.backbone, "patch_norm"):
        body = [(ours, prefix + theirs) for ours, theirs in resnet.rules("hf" if hub else "timm", stages)]
    else:
        body = (swin.hub_rules if hub else swin.author_rules)(stages, prefix)
    table = [(f"backbone.{ours}", theirs) for ours, theirs in body]
    fine = len(model.pixel_decoder.lateral)
    return translate(names_of(model), table + (_hub(fine) if hub else _authors(fine)))


def _hub(fine):
    pixels, decoder = "model.pixel_level_module.decoder.", "model.transformer_module."
    layer = pixels + "encoder.layers.*."
    ours = "pixel_decoder.layers.*."
    table = [
        ("pixel_decoder.level_embed", pixels + "level_embed"),
        ("pixel_decoder.input_proj.*.*.*", pixels + "input_projections.*.*.*"),
        ("pixel_decoder.mask_features.*", pixels + "mask_projection.*"),
        *deformable(ours + "attn.", layer + "self_attn."),
        (ours + "norm1.*", layer + "self_attn_layer_norm.*"),
        (ours + "norm2.*", layer + "final_layer_norm.*"),
        (ours + "mlp.*.*", layer + "*.*"),  # fc1, fc2
        ("query_features", decoder + "queries_features.weight"),
        ("query_positions", decoder + "queries_embedder.weight"),
        ("level_embed", decoder + "level_embed.weight"),
        ("norm.*", decoder + "decoder.layernorm.*"),
        ("mask_head.*.*", decoder + "decoder.mask_predictor.mask_embedder.*.0.*"),
        ("class_head.*", "class_predictor.*"),
    ]
    for i in range(fine):  # published names count from the finest map, minivis from the coarsest
        table.append((f"pixel_decoder.lateral.{i}.*.*", f"{pixels}adapter_{fine - i}.*.*"))
        table.append((f"pixel_decoder.output.{i}.*.*", f"{pixels}layer_{fine - i}.*.*"))
    layer = decoder + "decoder.layers.*."
    ours = "layers.*."
    table += packed_attention(ours + "cross_attn.", layer + "cross_attn.")
    table += [
        (f"{ours}self_attn.{role}.*", f"{layer}self_attn.{name}.*")
        for role, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    ]
    norms = ("cross_attn_layer_norm", "self_attn_layer_norm", "final_layer_norm")
    table += [(f"{ours}norm{i}.*", f"{layer}{name}.*") for i, name in enumerate(norms, start=1)]
    return [*table, (ours + "mlp.*.*", layer + "*.*")]


def _authors(fine):
    pixels, decoder = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    layer = pixels + "transformer.encoder.layers.*."
    ours = "pixel_decoder.layers.*."
    table = [
        ("pixel_decoder.level_embed", pixels + "transformer.level_embed"),
        ("pixel_decoder.input_proj.*.*.*", pixels + "input_proj.*.*.*"),
        ("pixel_decoder.mask_features.*", pixels + "mask_features.*"),
        *deformable(ours + "attn.", layer + "self_attn."),
        (ours + "norm*.*", layer + "norm*.*"),
        (ours + "mlp.fc*.*", layer + "linear*.*"),
        ("query_features", decoder + "query_feat.weight"),
        ("query_positions", decoder + "query_embed.weight"),
        ("level_embed", decoder + "level_embed.weight"),
        ("norm.*", decoder + "decoder_norm.*"),
        ("mask_head.*.*", decoder + "mask_embed.layers.*.*"),
        ("class_head.*", decoder + "class_embed.*"),
    ]
    for i in range(fine):
        for part, theirs in (("lateral", "adapter"), ("output", "layer")):
            table.append((f"pixel_decoder.{part}.{i}.0.weight", f"{pixels}{theirs}_{fine - i}.weight"))
            table.append((f"pixel_decoder.{part}.{i}.1.*", f"{pixels}{theirs}_{fine - i}.norm.*"))
    for part, number, attention, theirs in (
        ("cross_attention", 1, "cross_attn.", "multihead_attn."),
        ("self_attention", 2, "self_attn.", "self_attn."),
    ):
        layer = f"{decoder}transformer_{part}_layers.*."
        table += packed_attention("layers.*." + attention, layer + theirs)
        table.append((f"layers.*.norm{number}.*", layer + "norm.*"))
    layer = decoder + "transformer_ffn_layers.*."
    return [*table, ("layers.*.norm3.*", layer + "norm.*"), ("layers.*.mlp.fc*.*", layer + "linear*.*")]


def deformable(ours, theirs):
    """Rules for the names of a layer of deformable attention, which RT-DETR has too; both begin with a prefix."""
    pairs = (
        ("offsets", "sampling_offsets"), ("weights", "attention_weights"), ("value", "value_proj"), ("out", "output_proj"),
    )  # fmt: skip
    return [(f"{ours}{role}.*", f"{theirs}{name}.*") for role, name in pairs]


def infer(shapes, config=None):
    """A complete config for a file of the authors with a Swin, from its shapes."""
    pixels, decoder = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    offsets = pixels + "transformer.encoder.layers.0.self_attn.sampling_offsets.weight"
    if not {offsets, decoder + "query_feat.weight"} <= shapes.keys():
        return None
    body = swin.infer({name[9:]: shape for name, shape in shapes.items() if name.startswith("backbone.")})
    if body is None:
        raise ValueError(
            "mask2former: of the authors' files minivis reads those with a Swin: write a config.json"
        )
    queries, width = shapes[decoder + "query_feat.weight"]

    def layers(prefix, last):
        return sum(name.startswith(prefix) and name.endswith(last) for name in shapes)

    return {
        "model_type": "mask2former",
        "backbone_config": {**body, "out_features": STAGES},
        "num_queries": queries,
        "hidden_dim": width,
        "feature_size": width,
        "num_attention_heads": _heads(Settings("mask2former", config or {}), shapes[offsets][0]),
        "decoder_layers": 1 + layers(decoder + "transformer_ffn_layers.", ".linear1.weight"),
        "encoder_layers": layers(pixels + "transformer.encoder.layers.", ".linear1.weight"),
        "dim_feedforward": shapes[decoder + "transformer_ffn_layers.0.linear1.weight"][0],
        "encoder_feedforward_dim": shapes[pixels + "transformer.encoder.layers.0.linear1.weight"][0],
        "mask_feature_size": shapes[pixels + "mask_features.weight"][0],
        "num_labels": shapes[decoder + "class_embed.weight"][0] - 1,
    }


def _heads(settings, offsets):
    """The number of heads: 8 in every published Mask2Former, with 4 points (x and y) in 3 maps (Cheng et al. 2022, 4.1)."""
    if settings.get("num_attention_heads") is None and offsets != 8 * 3 * 4 * 2:
        raise ValueError(
            f"mask2former: heads and points do not follow from {offsets} offsets: write a config.json that says them, "
            '{"num_attention_heads": ...}'
        )
    return settings.whole("num_attention_heads", 8)


FAMILY = PublishedFamily(
    model_types=("mask2former",),
    build=build,
    names=names,
    dialects=("hf", "fb"),
    recomputed=(r"(.*\.)?relative_position_index", r"(.*\.)?attn_mask", r"criterion\.empty_weight"),
    infer=infer,
    preprocessor={
        "image_processor_type": "Mask2FormerImageProcessor",
        "size": {"height": 384, "width": 384},
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is Mask2Former,
    describe=describe,
    added=added,
)
