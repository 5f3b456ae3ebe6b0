"""Published DETRs: facebook/detr-resnet-* on the hub, with a backbone of transformers or timm, and the authors' files.

Not here: the model (models/detr.py), the names of the backbone's weights (resnet.py).
"""

import logging

from minivis.models.detr import DETR
from minivis.models.resnet import ResNet
from minivis.pretrained import resnet
from minivis.pretrained.family import Part, PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

# timm's name of a backbone -> its config
BACKBONES = {
    "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    "resnet34": {"layer_type": "basic", "depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 256, 512]},
    "resnet50": {"depths": [3, 4, 6, 3]},
    "resnet101": {"depths": [3, 4, 23, 3]},
}
LAYERS = ("encoder", "decoder")


def build(config):
    """Make the DETR that a config.json describes."""
    settings = Settings("detr", config)
    settings.only(activation_function="relu", position_embedding_type="sine")
    return DETR(
        _backbone(settings),
        num_classes=len(labels_of(config)),
        queries=settings.whole("num_queries", 100),
        width=settings.whole("d_model", 256),
        heads=_shared(settings, "attention_heads", 8),
        encoder_depth=settings.whole("encoder_layers", 6),
        decoder_depth=settings.whole("decoder_layers", 6),
        mlp_width=_shared(settings, "ffn_dim", 2048),
        dropout=settings.share("dropout", 0.1),
        masks="DetrForSegmentation" in settings.architectures(),
    )


def _backbone(settings):
    """The ResNet of a DETR, from a config of its own or from timm's name."""
    described, options = settings.part("backbone_config"), settings.part("backbone_kwargs")
    options = dict(options.values) if options else {}
    timm = described is None and settings.flag("use_timm_backbone", True)
    name, channels = settings, settings
    if described and described.text("model_type", "resnet") == "timm_backbone":  # as transformers 5 writes it
        timm = True
        name = described
        channels = described
        options["output_stride"] = described.get("output_stride", options.get("output_stride"))
    stride = Settings("detr: backbone_kwargs", options).whole("output_stride", 32)
    if unknown := [key for key in options if key not in ("out_indices", "in_chans", "output_stride")]:
        raise ValueError(f"detr: backbone_kwargs: minivis does not know {', '.join(unknown):.200}")
    if stride not in (16, 32):
        raise ValueError(f"detr: output_stride must be 16 or 32, found {stride}")
    dilated = settings.flag("dilation", False) or stride == 16
    if timm:
        # in timm the training recipe follows after a dot
        name = name.text("backbone", "resnet50").split(".")[0]
        if name not in BACKBONES:
            raise ValueError(f"detr: backbone must be one of {', '.join(BACKBONES)}, found {name!r:.100}")
        described = Settings("resnet", {"num_channels": channels.get("num_channels", 3), **BACKBONES[name]})
    described = described or Settings("resnet", {})
    if described.text("model_type", "resnet") != "resnet":
        raise ValueError(
            f"detr: backbone_config must be of a resnet, found {described.get('model_type')!r:.100}"
        )
    if dilated and described.get("layer_type") == "basic":
        raise ValueError(
            "detr: a dilated backbone of basic blocks was never published, and libraries differ on it"
        )
    return resnet.build(described.values, num_classes=0, norm="frozen", dilated=dilated)


def _shared(settings, key, default):
    """A setting that must be the same for encoder and decoder, as in every published DETR."""
    ours = [settings.whole(f"{part}_{key}", default) for part in LAYERS]
    if ours[0] != ours[1]:
        raise ValueError(
            f"detr: encoder_{key} and decoder_{key} must be equal, found {ours[0]} and {ours[1]}"
        )
    return ours[0]


def describe(model):
    """The config.json of a DETR with a backbone of transformers."""
    given = model.config
    stages = len(model.backbone.stages)
    if type(model.backbone) is not ResNet:
        raise ValueError(f"the backbone must be a ResNet, not a {type(model.backbone).__name__}")
    if model.mask_head and stages != 4:
        raise ValueError(f"a DETR with masks must have a backbone of 4 stages, not {stages}")
    return {
        "architectures": ["DetrForSegmentation" if model.mask_head else "DetrForObjectDetection"],
        "model_type": "detr",
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": {
            **resnet.described_body(model.backbone),
            "out_features": [f"stage{i + 1}" for i in range(stages)],
        },
        "num_channels": model.backbone.config["channels"],
        "num_queries": given["queries"],
        "d_model": given["width"],
        "encoder_layers": given["encoder_depth"],
        "decoder_layers": given["decoder_depth"],
        **{f"{part}_attention_heads": given["heads"] for part in LAYERS},
        **{f"{part}_ffn_dim": given["mlp_width"] for part in LAYERS},
        "activation_function": "relu",
        "position_embedding_type": "sine",
        "dropout": given["dropout"],
    }


def names(model, dialect):
    """The names of a DETR's weights. The hub's three dialects differ in the backbone; "fb" is the authors' code."""
    hub = dialect != "fb"
    backbone = "model.backbone.conv_encoder.model." if hub else "backbone.0.body."
    backbone += "_backbone." if dialect == "hf_timm_backbone" else ""
    style = resnet.rules("hf" if dialect == "hf" else "timm", len(model.backbone.stages))
    table = [(f"backbone.{ours}", backbone + theirs) for ours, theirs in style] + (
        _hub() if hub else _authors()
    )
    table += [
        (f"box_head.{2 * i}.*", f"{'bbox_predictor' if hub else 'bbox_embed'}.layers.{i}.*") for i in range(3)
    ]
    if model.mask_head:  # then the published names of the detector have a prefix
        table = [(ours, _below("detr.", theirs)) for ours, theirs in table] + _masks(
            len(model.mask_head.convs)
        )
    return translate(names_of(model), table)


def _below(prefix, name):
    return name._replace(name=prefix + name.name) if isinstance(name, Part) else prefix + name


def _hub():
    table = [
        ("input_proj.*", "model.input_projection.*"),
        ("queries", "model.query_position_embeddings.weight"),
        ("transformer.decoder_norm.*", "model.decoder.layernorm.*"),
        ("class_head.*", "class_labels_classifier.*"),
    ]
    for part, norms in (
        ("encoder", ("self_attn", "final")),
        ("decoder", ("self_attn", "encoder_attn", "final")),
    ):
        ours, theirs = f"transformer.{part}.*.", f"model.{part}.layers.*."
        for attention, published in (("self_attn", "self_attn"), ("cross_attn", "encoder_attn")):
            for role, name in (
                ("query", "q_proj"),
                ("key", "k_proj"),
                ("value", "v_proj"),
                ("out", "out_proj"),
            ):
                table.append((f"{ours}{attention}.{role}.*", f"{theirs}{published}.{name}.*"))
        table += [
            (f"{ours}norm{i}.*", f"{theirs}{name}_layer_norm.*") for i, name in enumerate(norms, start=1)
        ]
        table.append((f"{ours}mlp.*.*", f"{theirs}*.*"))  # fc1, fc2
    return table


def _authors():
    table = [
        ("input_proj.*", "input_proj.*"),
        ("queries", "query_embed.weight"),
        ("transformer.decoder_norm.*", "transformer.decoder.norm.*"),
        ("class_head.*", "class_embed.*"),
    ]
    for part in LAYERS:
        ours, theirs = f"transformer.{part}.*.", f"transformer.{part}.layers.*."
        for attention, published in (("self_attn", "self_attn"), ("cross_attn", "multihead_attn")):
            for i, role in enumerate(("query", "key", "value")):  # packed in one array
                table.append((f"{ours}{attention}.{role}.*", Part(f"{theirs}{published}.in_proj_*", i, 3)))
            table.append((f"{ours}{attention}.out.*", f"{theirs}{published}.out_proj.*"))
        table += [(f"{ours}mlp.fc{i}.*", f"{theirs}linear{i}.*") for i in (1, 2)]
        table.append((f"{ours}*.*", f"{theirs}*.*"))  # norm1, norm2, norm3
    return table


def _masks(convs):
    table = [
        ("mask_head.attention.query.*", "bbox_attention.q_linear.*"),
        ("mask_head.attention.key.*", "bbox_attention.k_linear.*"),
        ("mask_head.out.*", "mask_head.out_lay.*"),
    ]
    for i in range(convs):
        table += [
            (f"mask_head.convs.{i}.*", f"mask_head.lay{i + 1}.*"),
            (f"mask_head.norms.{i}.*", f"mask_head.gn{i + 1}.*"),
            (f"mask_head.adapters.{i}.*", f"mask_head.adapter{i + 1}.*"),
        ]
    return table


# Width, encoder and decoder layers, and width inside the MLP of every published DETR; its heads. Carion et al. 2020, A.4
PUBLISHED = (256, 6, 6, 2048)
HEADS = 8


def infer(shapes, config=None):
    """A complete config for a file of the authors, from its shapes."""
    segments = "mask_head.lay1.weight" in shapes
    prefix = "detr." if segments else ""
    known = {f"{prefix}{name}.weight" for name in ("query_embed", "class_embed", "input_proj")}
    if not known <= shapes.keys():
        return None

    def layers(part):
        home = f"{prefix}transformer.{part}.layers."
        return len({name[len(home) :].split(".")[0] for name in shapes if name.startswith(home)})

    settings = Settings("detr", config or {})
    queries, width = shapes[f"{prefix}query_embed.weight"]
    inside = shapes[f"{prefix}transformer.decoder.layers.0.linear1.weight"][0]
    size = width, layers("encoder"), layers("decoder"), inside
    if segments:
        # the mask head has one input channel for each head
        heads = shapes["mask_head.lay1.weight"][1] - width
    else:
        heads = settings.get("encoder_attention_heads") or _heads(size)
    if settings.get("dilation") is None:
        logging.getLogger("minivis").warning(
            "from_pretrained: whether a DETR is dilated (DC5) does not show in its weights; this one is taken for one that "
            'is not. Say which in config.json: {"dilation": true} or {"dilation": false}'
        )
    return {
        "model_type": "detr",
        "architectures": ["DetrForSegmentation" if segments else "DetrForObjectDetection"],
        "backbone_config": resnet.body(shapes, f"{prefix}backbone.0.body."),
        "num_labels": shapes[f"{prefix}class_embed.weight"][0] - 1,
        "num_queries": queries,
        "d_model": width,
        "encoder_layers": size[1],
        "decoder_layers": size[2],
        **{f"{part}_attention_heads": heads for part in LAYERS},
        **{f"{part}_ffn_dim": inside for part in LAYERS},
    }


def _heads(size):
    if size != PUBLISHED:
        raise ValueError(
            f"detr: the number of heads does not follow from {size[1]} and {size[2]} layers of width {size[0]} and "
            f"{size[3]}: write a config.json that says it, "
            '{"encoder_attention_heads": ..., "decoder_attention_heads": ...}'
        )
    return HEADS


FAMILY = PublishedFamily(
    model_types=("detr",),
    build=build,
    names=names,
    dialects=("hf", "hf_timm", "hf_timm_backbone", "fb"),
    # written by code whose norms are not frozen; minivis does not need it
    recomputed=(r".*\.num_batches_tracked",),
    infer=infer,
    preprocessor={
        "image_processor_type": "DetrImageProcessor",
        "size": {"shortest_edge": 800, "longest_edge": 1333},
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is DETR,
    describe=describe,
)
