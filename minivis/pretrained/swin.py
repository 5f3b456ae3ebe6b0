"""Published Swins: microsoft/swin-* on the hub, classifier or backbone; Microsoft's own files; timm's; torchvision's.

Not here: the model (models/swin.py), Mask2Former, which has a Swin inside (mask2former.py).
"""

import math
import re

from minivis.models.swin import Swin
from minivis.pretrained.family import (
    Part,
    PublishedFamily,
    activation_of,
    hub_activation,
    labels_of,
    names_of,
    sides,
    translate,
)
from minivis.pretrained.settings import Settings
from minivis.vision.windows import relative_position_index

__all__ = ["FAMILY", "author_rules", "hub_rules", "index_tables"]

OURS, HUB, AUTHORS = "stages.*.blocks.*.", "encoder.layers.*.blocks.*.", "layers.*.blocks.*."
# The classes of transformers without a head; their names lack the prefix "swin."
BACKBONES = ("SwinModel", "SwinBackbone")


def build(config):
    """Make the Swin that a config.json describes."""
    settings = Settings("swin", config)
    if settings.flag("use_absolute_embeddings", False):
        raise ValueError("swin: use_absolute_embeddings is true, and minivis has no such Swin")
    architectures = settings.architectures()
    depths = settings.wholes("depths", (2, 2, 6, 2))
    backbone = "SwinBackbone" in architectures
    stages = [f"stage{i + 1}" for i in range(len(depths))]
    if backbone and settings.get("out_features", stages[-1:]) != stages:
        raise ValueError(f"swin: a backbone with out_features other than {stages} is not supported")
    return Swin(
        patch_size=settings.pair("patch_size", 4),
        width=settings.whole("embed_dim", 96),
        depths=depths,
        heads=settings.wholes("num_heads", (3, 6, 12, 24)),
        window=settings.pair("window_size", 7),
        mlp_ratio=settings.number("mlp_ratio", 4.0, most=1000),
        num_classes=0 if architectures & set(BACKBONES) else len(labels_of(config)),
        channels=settings.whole("num_channels", 3),
        qkv_bias=settings.flag("qkv_bias", True),
        dropout=settings.share("hidden_dropout_prob", 0.0),
        attention_dropout=settings.share("attention_probs_dropout_prob", 0.0),
        drop_path=settings.share("drop_path_rate", 0.1),
        shrink=not backbone,  # a backbone pads small maps to a whole window
        feature_norms=backbone,
        activation=activation_of(config),
        eps=settings.number("layer_norm_eps", 1e-5),
    )


def describe(model):
    """The config.json of a Swin."""
    given = model.config
    kind = (
        "SwinBackbone" if model.feature_norms else "SwinForImageClassification" if model.head else "SwinModel"
    )
    stages = [f"stage{i + 1}" for i in range(len(given["depths"]))]
    return {
        "architectures": [kind],
        "model_type": "swin",
        "patch_size": sides(given["patch_size"]),
        "num_channels": given["channels"],
        "embed_dim": given["width"],
        "depths": list(given["depths"]),
        "num_heads": list(given["heads"]),
        "window_size": sides(given["window"]),
        "mlp_ratio": given["mlp_ratio"],
        "qkv_bias": given["qkv_bias"],
        "hidden_dropout_prob": given["dropout"],
        "attention_probs_dropout_prob": given["attention_dropout"],
        "drop_path_rate": given["drop_path"],
        "hidden_act": hub_activation(given["activation"]),
        "layer_norm_eps": given["eps"],
        "use_absolute_embeddings": False,
        **({"out_features": stages} if model.feature_norms else {}),
    }


def index_tables(model, names):
    """The tables that published files hold beside a Swin's biases: which bias each pair of places in a window has.

    Parameters
    ----------
    model : Swin or ResNet
        A ResNet has none.
    names : dict of str to str
        Published names of the weights of this model, or of one with it inside.

    Returns
    -------
    dict of str to ndarray of int64
    """
    if not hasattr(model, "patch_norm"):
        return {}
    index = relative_position_index(model.config["window"])
    biases = [theirs for ours, theirs in names.items() if ours.endswith("attn.bias_table")]
    return {name.replace("bias_table", "index"): index for name in biases}


def names(model, dialect):
    """The names of a Swin's weights in a dialect."""
    if dialect == "hf":
        prefix = "swin." if model.head else ""
        return translate(names_of(model), [*hub_rules(len(model.stages), prefix), ("head.*", "classifier.*")])
    found = translate(names_of(model), author_rules(len(model.stages), later=dialect == "timm"))
    if dialect != "tv":
        return found
    return {
        ours: name._replace(name=_torchvision(name.name)) if isinstance(name, Part) else _torchvision(name)
        for ours, name in found.items()
    }


# Microsoft's names -> torchvision's, apart from the numbers of the stages
PIECES = {
    "patch_embed.proj": "features.0.0",
    "patch_embed.norm": "features.0.2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}


def _torchvision(name):
    """torchvision's name for one of Microsoft's: in torchvision, blocks and mergings alternate in one list."""
    name = re.sub(r"^layers\.(\d+)\.blocks", lambda found: f"features.{2 * int(found[1]) + 1}", name)
    name = re.sub(r"^layers\.(\d+)\.downsample", lambda found: f"features.{2 * int(found[1]) + 2}", name)
    for authors, theirs in PIECES.items():
        name = name.replace(authors, theirs)
    return name


def _authors(name):
    """The inverse of `_torchvision`."""
    for authors, theirs in PIECES.items():
        name = re.sub(rf"(^|\.){re.escape(theirs)}\.", rf"\1{authors}.", name)
    name = re.sub(r"^features\.(\d*[13579])\.", lambda found: f"layers.{int(found[1]) // 2}.blocks.", name)
    return re.sub(r"^features\.(\d+)\.", lambda found: f"layers.{int(found[1]) // 2 - 1}.downsample.", name)


def author_rules(stages, prefix="", later=False):
    """Rules for `translate`: the names of a Swin's weights in Microsoft's own files, with a prefix.

    Parameters
    ----------
    stages : int
        Number of stages of the model.
    prefix : str, default ""
        Beginning of the published names; it ends in a dot.
    later : bool, default False
        True for timm's names, where a merging belongs to the stage after it, as in minivis.

    Returns
    -------
    list of (str, str or Part)
    """
    merges = [
        (f"stages.{i}.merge.*.*", f"{prefix}layers.{i - 1 + later}.downsample.*.*") for i in range(1, stages)
    ]
    authors = prefix + AUTHORS
    qkv = [
        (f"{OURS}attn.attention.{name}.*", Part(f"{authors}attn.qkv.*", i, 3))
        for i, name in enumerate(("query", "key", "value"))
    ]
    return [
        ("proj.*", f"{prefix}patch_embed.proj.*"),
        ("patch_norm.*", f"{prefix}patch_embed.norm.*"),
        *merges,
        *qkv,
        (OURS + "attn.bias_table", authors + "attn.relative_position_bias_table"),
        (OURS + "attn.attention.out.*", authors + "attn.proj.*"),
        (OURS + "*.*", authors + "*.*"),  # norm1, norm2
        (OURS + "mlp.*.*", authors + "mlp.*.*"),
        *((f"feature_norms.{i}.*", f"{prefix}norm{i}.*") for i in range(stages)),  # as a backbone
        ("norm.*", f"{prefix}norm.*"),
        ("head.*", f"{prefix}head.fc.*" if later else f"{prefix}head.*"),
    ]


def hub_rules(stages, prefix=""):
    """Rules for `translate`: the hub's names of a Swin's weights without the head, with a prefix.

    Parameters
    ----------
    stages, prefix
        As for `author_rules`.

    Returns
    -------
    list of (str, str)
    """
    block = HUB + "attention."
    rules = [
        ("proj.*", "embeddings.patch_embeddings.projection.*"),
        ("patch_norm.*", "embeddings.norm.*"),
        (OURS + "norm1.*", HUB + "layernorm_before.*"),
        (OURS + "attn.bias_table", block + "self.relative_position_bias_table"),
        (OURS + "attn.attention.out.*", block + "output.dense.*"),
        (OURS + "attn.attention.*.*", block + "self.*.*"),  # query, key, value
        (OURS + "norm2.*", HUB + "layernorm_after.*"),
        (OURS + "mlp.fc1.*", HUB + "intermediate.dense.*"),
        (OURS + "mlp.fc2.*", HUB + "output.dense.*"),
        ("norm.*", "layernorm.*"),
    ]
    # on the hub a merging belongs to the stage before it, in minivis to the stage after it
    for i in range(stages):
        rules.append((f"stages.{i}.merge.*.*", f"encoder.layers.{i - 1}.downsample.*.*"))
        rules.append((f"feature_norms.{i}.*", f"hidden_states_norms.stage{i + 1}.*"))
    return [(ours, prefix + theirs) for ours, theirs in rules]


TIMM_NAMES = r"swin_(tiny|small|base|large)_patch4_window(7|12)_(224|384)"


def infer(shapes, config=None):
    """A complete config for a file in Microsoft's, timm's or torchvision's dialect, from its shapes."""
    if "features.0.0.weight" in shapes:
        shapes = {_authors(name): shape for name, shape in shapes.items()}
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    if not {"patch_embed.proj.weight", table} <= shapes.keys():
        return None
    Settings("swin", config or {}).of_timm(TIMM_NAMES)
    width, channels, *patch = shapes["patch_embed.proj.weight"]
    blocks = [re.fullmatch(r"layers\.(\d{1,3})\.blocks\.\d+\.norm1\.weight", name) for name in shapes]
    stage_of_block = [int(found[1]) for found in blocks if found]
    stages = range(max(stage_of_block, default=0) + 1)
    head = shapes.get("head.weight") or shapes.get("head.fc.weight")
    return {
        "model_type": "swin",
        "architectures": ["SwinForImageClassification" if head else "SwinModel"],
        "patch_size": patch,
        "embed_dim": width,
        "depths": [stage_of_block.count(stage) for stage in stages],
        "num_heads": [shapes.get(table.replace("0", str(s), 1), (0, 0))[1] for s in stages],
        "window_size": (math.isqrt(shapes[table][0]) + 1) // 2,
        "mlp_ratio": shapes["layers.0.blocks.0.mlp.fc1.weight"][0] / width,
        "qkv_bias": "layers.0.blocks.0.attn.qkv.bias" in shapes,
        "num_channels": channels,
        "num_labels": head[0] if head else 0,
    }


FAMILY = PublishedFamily(
    model_types=("swin",),
    build=build,
    names=names,
    dialects=("hf", "ms", "timm", "tv"),
    recomputed=(r"(.*\.)?relative_position_index", r"(.*\.)?attn_mask"),
    infer=infer,
    preprocessor={
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is Swin,
    describe=describe,
    added=lambda model: index_tables(model, names(model, "hf")),
)
