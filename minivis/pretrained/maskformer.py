"""Published MaskFormers: facebook/maskformer-* on the hub, with a Swin or a ResNet inside, and the authors' own files.

Not here: the model (models/maskformer.py), the names of the backbones' weights (swin.py, resnet.py).
"""

import numpy as np

from minivis.models.maskformer import MaskFormer
from minivis.models.resnet import ResNet
from minivis.models.swin import Swin
from minivis.pretrained import resnet, swin
from minivis.pretrained.family import Part, PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY", "STAGES", "backbone_of", "class_weights", "described_backbone", "packed_attention"]

STAGES = ["stage1", "stage2", "stage3", "stage4"]
NO_OBJECT = 0.1  # the weight of "no object" in the loss: Cheng et al. 2021, section 4.2
# transformers' default for a config.json without a backbone
DEFAULT = {
    "model_type": "swin",
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "num_heads": [4, 8, 16, 32],
    "window_size": 12,
    "drop_path_rate": 0.3,
}


def build(config):
    """Make the MaskFormer that a config.json describes."""
    settings = Settings("maskformer", config)
    decoder = settings.part("decoder_config") or Settings("maskformer: decoder_config", {})
    decoder.only(model_type="detr", activation_function="relu")
    width = decoder.whole("d_model", 256)
    settings.only(fpn_feature_size=width)
    return MaskFormer(
        backbone_of(settings, DEFAULT),
        num_classes=len(labels_of(config)),
        queries=decoder.whole("num_queries", 100),
        width=width,
        heads=decoder.whole("decoder_attention_heads", 8),
        decoder_depth=decoder.whole("decoder_layers", 6),
        mlp_width=decoder.whole("decoder_ffn_dim", 2048),
        mask_width=settings.whole("mask_feature_size", 256),
        # transformers has no such encoder: only a config of the authors' files says this
        pixel_encoder_depth=settings.whole("pixel_encoder_layers", 0, least=0),
        dropout=decoder.share("dropout", 0.1),
    )


def backbone_of(settings, default):
    """The Swin or ResNet inside a MaskFormer or a Mask2Former.

    Parameters
    ----------
    settings : Settings
        Of the whole model; the backbone's are in ``backbone_config``.
    default : dict
        The backbone's config where there is none.

    Returns
    -------
    Module
        With the maps of all four stages.
    """
    described = settings.part("backbone_config")
    if described is None and settings.get("backbone"):
        raise ValueError(
            f"{settings.name}: backbone {settings.text('backbone', '')!r:.100} is only named; minivis needs its "
            "backbone_config"
        )
    values = default if described is None else described.values
    described = Settings(settings.name, {"out_features": STAGES, **values})
    kind = described.text("model_type", "none")
    stages = described.get("out_features", STAGES)
    swins = ("swin", "maskformer-swin")  # the second is what transformers makes of a MaskFormer's Swin
    if kind not in (*swins, "resnet") or stages != STAGES:
        raise ValueError(
            f"{settings.name}: backbone_config must be of a swin or resnet with out_features {STAGES}, found {kind!r:.100} "
            f"with {stages!r:.200}"
        )
    if kind in swins:
        return swin.build({**described.values, "architectures": ["SwinBackbone"]})
    return resnet.build(described.values, num_classes=0)


def describe(model):
    """The config.json of a MaskFormer."""
    given = model.config
    return {
        "architectures": ["MaskFormerForInstanceSegmentation"],
        "model_type": "maskformer",
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": described_backbone(model.backbone),
        "fpn_feature_size": given["width"],
        "mask_feature_size": model.pixel_decoder.mask_features.weight.shape[0],
        "no_object_weight": NO_OBJECT,
        "decoder_config": {
            "model_type": "detr",
            "d_model": given["width"],
            "num_queries": given["queries"],
            "decoder_layers": given["decoder_depth"],
            "decoder_ffn_dim": given["mlp_width"],
            "decoder_attention_heads": given["heads"],
            "activation_function": "relu",
            "dropout": given["dropout"],
        },
    }


def described_backbone(backbone):
    """The ``backbone_config`` of the Swin or ResNet inside a MaskFormer or a Mask2Former.

    Parameters
    ----------
    backbone : Module

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is neither, or does not have four stages.
    """
    kinds = {Swin: swin.describe, ResNet: resnet.described_body}
    if type(backbone) not in kinds or len(backbone.channels) != len(STAGES):
        raise ValueError(
            f"the backbone must be a Swin or a ResNet of {len(STAGES)} stages, not a {type(backbone).__name__} of "
            f"{len(backbone.channels)}"
        )
    described = kinds[type(backbone)](backbone)
    described.pop("architectures", None)
    return {**described, "out_features": STAGES}


def class_weights(model):
    """The weights of the classes in the loss, which published files hold: 1, and less for "no object", the last.

    Parameters
    ----------
    model : MaskFormer or Mask2Former

    Returns
    -------
    dict of str to ndarray of float32
    """
    weights = np.ones(model.config["num_classes"] + 1, np.float32)
    weights[-1] = NO_OBJECT
    return {"criterion.empty_weight": weights}


def added(model):
    """What a published MaskFormer holds besides its weights, among it the norm behind a Swin, which nobody reads."""
    found = class_weights(model) | swin.index_tables(model.backbone, names(model, "hf"))
    if type(model.backbone) is Swin:
        width = model.backbone.channels[-1]
        norm = "model.pixel_level_module.encoder.model.layernorm."
        found |= {norm + "weight": np.ones(width, np.float32), norm + "bias": np.zeros(width, np.float32)}
    return found


def names(model, dialect):
    """The names of a MaskFormer's weights: "hf" on the hub, "fb" in the authors' code."""
    stages = len(model.backbone.stages)
    # transformers has no encoder in the pixel decoder, so no names for it
    hub = dialect == "hf" and not model.pixel_decoder.encoder
    prefix = "model.pixel_level_module.encoder." if hub else "backbone."
    if not hasattr(model.backbone, "patch_norm"):
        body = [(ours, prefix + theirs) for ours, theirs in resnet.rules("hf" if hub else "timm", stages)]
    elif hub:
        norms = [(f"feature_norms.{i}.*", f"{prefix}hidden_states_norms.{i}.*") for i in range(stages)]
        body = norms + swin.hub_rules(stages, prefix + "model.")
    else:
        body = swin.author_rules(stages, prefix)
    table = [(f"backbone.{ours}", theirs) for ours, theirs in body]
    fine = len(model.pixel_decoder.lateral)
    return translate(names_of(model), table + (_hub() if hub else _authors(fine)))


def _hub():
    pixels, decoder = "model.pixel_level_module.decoder.", "model.transformer_module."
    ours = "transformer.decoder.*."
    layer = decoder + "decoder.layers.*."
    table = [
        ("pixel_decoder.stem.*.*", pixels + "fpn.stem.*.*"),
        ("pixel_decoder.lateral.*.*.*", pixels + "fpn.layers.*.proj.*.*"),
        ("pixel_decoder.output.*.*.*", pixels + "fpn.layers.*.block.*.*"),
        ("pixel_decoder.mask_features.*", pixels + "mask_projection.*"),
        ("queries", decoder + "queries_embedder.weight"),
        ("input_proj.*", decoder + "input_projection.*"),
        ("transformer.decoder_norm.*", decoder + "decoder.layernorm.*"),
        ("mask_head.*.*", "mask_embedder.*.0.*"),
        ("class_head.*", "class_predictor.*"),
    ]
    for attention, theirs in (("self_attn.", "self_attn."), ("cross_attn.", "encoder_attn.")):
        for role, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
            table.append((f"{ours}{attention}{role}.*", f"{layer}{theirs}{name}.*"))
    norms = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
    table += [(f"{ours}norm{i}.*", f"{layer}{name}.*") for i, name in enumerate(norms, start=1)]
    return [*table, (ours + "mlp.*.*", layer + "*.*")]  # fc1, fc2


def _authors(fine):
    pixels, decoder = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    table = [
        ("pixel_decoder.input_proj.*", pixels + "input_proj.*"),
        ("pixel_decoder.mask_features.*", pixels + "mask_features.*"),
        ("queries", decoder + "query_embed.weight"),
        ("input_proj.*", decoder + "input_proj.*"),
        ("transformer.decoder_norm.*", decoder + "transformer.decoder.norm.*"),
        ("mask_head.*.*", decoder + "mask_embed.layers.*.*"),
        ("class_head.*", decoder + "class_embed.*"),
    ]
    # the authors count the maps from the finest, minivis from the coarsest
    convs = [("stem", f"layer_{fine + 1}")]
    for i in range(fine):
        convs += [(f"lateral.{i}", f"adapter_{fine - i}"), (f"output.{i}", f"layer_{fine - i}")]
    for ours, theirs in convs:
        table.append((f"pixel_decoder.{ours}.0.weight", f"{pixels}{theirs}.weight"))
        table.append((f"pixel_decoder.{ours}.1.*", f"{pixels}{theirs}.norm.*"))
    for ours, theirs in (
        ("pixel_decoder.encoder.*.", pixels + "transformer.encoder.layers.*."),
        ("transformer.decoder.*.", decoder + "transformer.decoder.layers.*."),
    ):
        table += packed_attention(ours + "self_attn.", theirs + "self_attn.")
        table += packed_attention(ours + "cross_attn.", theirs + "multihead_attn.")
        table += [(ours + "norm*.*", theirs + "norm*.*"), (ours + "mlp.fc*.*", theirs + "linear*.*")]
    return table


def packed_attention(ours, theirs):
    """Rules for torch's attention, which packs query, key and value in one array."""
    packed = [
        (f"{ours}{role}.*", Part(f"{theirs}in_proj_*", i, 3))
        for i, role in enumerate(("query", "key", "value"))
    ]
    return [*packed, (f"{ours}out.*", f"{theirs}out_proj.*")]


def infer(shapes, config=None):
    """A complete config for a file of the authors with a Swin, from its shapes."""
    pixels, decoder = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    layer = decoder + "transformer.decoder.layers."
    if not {decoder + "query_embed.weight", layer + "0.linear1.weight"} <= shapes.keys():
        return None
    body = swin.infer({name[9:]: shape for name, shape in shapes.items() if name.startswith("backbone.")})
    if body is None:
        raise ValueError(
            "maskformer: of the authors' files minivis reads those with a Swin: write a config.json"
        )
    queries, width = shapes[decoder + "query_embed.weight"]
    settings = Settings("maskformer", config or {})

    def layers(prefix):
        return sum(name.startswith(prefix) and name.endswith(".linear1.weight") for name in shapes)

    return {
        "model_type": "maskformer",
        "backbone_config": {**body, "out_features": STAGES},
        "fpn_feature_size": shapes[pixels + "layer_1.weight"][0],
        "mask_feature_size": shapes[pixels + "mask_features.weight"][0],
        "pixel_encoder_layers": layers(pixels + "transformer.encoder.layers."),
        "decoder_config": {
            "model_type": "detr",
            "d_model": width,
            "num_queries": queries,
            "decoder_layers": layers(layer),
            "decoder_ffn_dim": shapes[layer + "0.linear1.weight"][0],
            # heads leave no trace in the shapes; every published MaskFormer has 8
            "decoder_attention_heads": settings.whole("num_attention_heads", 8),
        },
        "num_labels": shapes[decoder + "class_embed.weight"][0] - 1,
    }


FAMILY = PublishedFamily(
    model_types=("maskformer",),
    build=build,
    names=names,
    dialects=("hf", "fb"),
    recomputed=(
        r"(.*\.)?relative_position_index",
        r"(.*\.)?attn_mask",
        r"criterion\.empty_weight",
        # transformers' Swin has a norm after its last stage, which MaskFormer does not use
        r"model\.pixel_level_module\.encoder\.model\.layernorm\.(weight|bias)",
    ),
    infer=infer,
    preprocessor={
        "image_processor_type": "MaskFormerImageProcessor",
        "size": {"shortest_edge": 512, "longest_edge": 2048},
        "size_divisor": 32,
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is MaskFormer,
    describe=describe,
    added=added,
)
