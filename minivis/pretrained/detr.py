"""Published DETRs: facebook/detr-resnet-* on the hub, with either of its two backbones, and the authors' own files.

Not here: the model (models/detr.py), the names of the backbone's weights (resnet.py).
"""

from minivis.models.detr import DETR
from minivis.pretrained import resnet
from minivis.pretrained.family import Family, Part, labels_of, names_of, translate

__all__ = ["FAMILY"]

# timm's name of a backbone -> what config.json would say of it
BACKBONES = {
    "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    "resnet34": {"layer_type": "basic", "depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 256, 512]},
    "resnet50": {"depths": [3, 4, 6, 3]},
    "resnet101": {"depths": [3, 4, 23, 3]},
}
LAYERS = ("encoder", "decoder")


def build(config):
    """The DETR a config.json describes."""
    for key, only in (("activation_function", "relu"), ("position_embedding_type", "sine")):
        if config.get(key, only) != only:
            raise ValueError(f"detr: {key} must be {only!r}, found {config[key]!r}")
    masks = "DetrForSegmentation" in (config.get("architectures") or ())
    return DETR(
        _backbone(config),
        num_classes=len(labels_of(config)),
        queries=config.get("num_queries", 100),
        width=config.get("d_model", 256),
        heads=_shared(config, "attention_heads", 8),
        encoder_layers=config.get("encoder_layers", 6),
        decoder_layers=config.get("decoder_layers", 6),
        mlp_width=_shared(config, "ffn_dim", 2048),
        dropout=config.get("dropout", 0.1),
        masks=masks,
    )


def _backbone(config):
    """The ResNet of a DETR: described by a config of its own, or named as in timm."""
    kwargs = dict(config.get("backbone_kwargs") or {})
    dilated = bool(config.get("dilation")) or kwargs.pop("output_stride", 32) == 16
    kwargs = {key: value for key, value in kwargs.items() if key not in ("out_indices", "in_chans")}
    if kwargs:
        raise ValueError(f"detr: backbone_kwargs: minivis does not know {', '.join(kwargs)}")
    described = config.get("backbone_config")
    if described is None and config.get("use_timm_backbone", True):
        name = str(config.get("backbone", "resnet50")).split(".")[0]  # timm writes the training after a dot
        if name not in BACKBONES:
            raise ValueError(f"detr: backbone must be one of {', '.join(BACKBONES)}, found {name!r}")
        described = {"num_channels": config.get("num_channels", 3), **BACKBONES[name]}
    described = described or {}
    if described.get("model_type", "resnet") != "resnet":
        raise ValueError(f"detr: backbone_config must be of a resnet, found {described['model_type']!r}")
    if dilated and described.get("layer_type") == "basic":
        raise ValueError(
            "detr: a dilated backbone of basic blocks was never published, and libraries differ on it"
        )
    return resnet.build(described, num_classes=0, norm="frozen", dilated=dilated)


def _shared(config, key, default):
    """A setting that encoder and decoder have in common here, as in every published DETR."""
    ours = [config.get(f"{part}_{key}", default) for part in LAYERS]
    if ours[0] != ours[1]:
        raise ValueError(
            f"detr: encoder_{key} and decoder_{key} must be equal, found {ours[0]} and {ours[1]}"
        )
    return ours[0]


def names(model, dialect):
    """What the weights of a DETR are called: "hf" and "hf_timm" differ in the backbone, "fb" is the authors' code."""
    hub = dialect != "fb"
    backbone = "model.backbone.conv_encoder.model." if hub else "backbone.0.body."
    style = resnet.rules("hf" if dialect == "hf" else "timm", len(model.backbone.stages))
    table = [(f"backbone.{ours}", backbone + theirs) for ours, theirs in style] + (
        _hub() if hub else _authors()
    )
    table += [
        (f"box_head.{2 * i}.*", f"{'bbox_predictor' if hub else 'bbox_embed'}.layers.{i}.*") for i in range(3)
    ]
    if model.mask_head:  # the detector is then a part of the segmenter
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
            for i, role in enumerate(("query", "key", "value")):  # packed, one under another
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


def infer(shapes):
    """The config.json of an authors' file, from its shapes. Whether C5 is dilated does not show: ``{"dilation": true}``."""
    segments = "mask_head.lay1.weight" in shapes
    prefix = "detr." if segments else ""
    if (
        not {f"{prefix}{name}.weight" for name in ("query_embed", "class_embed", "input_proj")}
        <= shapes.keys()
    ):
        return None
    queries, width = shapes[f"{prefix}query_embed.weight"]

    def layers(part):
        home = f"{prefix}transformer.{part}.layers."
        return len({name[len(home) :].split(".")[0] for name in shapes if name.startswith(home)})

    heads = shapes["mask_head.lay1.weight"][1] - width if segments else 8  # 8 in every published DETR
    inside = shapes[f"{prefix}transformer.decoder.layers.0.linear1.weight"][0]
    return {
        "model_type": "detr",
        "architectures": ["DetrForSegmentation" if segments else "DetrForObjectDetection"],
        "backbone_config": resnet.body(shapes, f"{prefix}backbone.0.body."),
        "num_labels": shapes[f"{prefix}class_embed.weight"][0] - 1,
        "num_queries": queries,
        "d_model": width,
        "encoder_layers": layers("encoder"),
        "decoder_layers": layers("decoder"),
        **{f"{part}_attention_heads": heads for part in LAYERS},
        **{f"{part}_ffn_dim": inside for part in LAYERS},
    }


FAMILY = Family(
    model_types=("detr",),
    build=build,
    names=names,
    dialects=("hf", "hf_timm", "fb"),
    recomputed=(
        r".*\.num_batches_tracked",
    ),  # written by those whose norms are not frozen; nothing depends on it
    infer=infer,
    preprocessor={
        "image_processor_type": "DetrImageProcessor",
        "size": {"shortest_edge": 800, "longest_edge": 1333},
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
)
