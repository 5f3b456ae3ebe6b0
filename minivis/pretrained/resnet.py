"""Published ResNets: microsoft/resnet-* on the hub, and files with the names that torchvision and timm share.

Not here: the model (models/resnet.py), the detectors with a ResNet (detr.py, mask2former.py), which use `rules`.
"""

from minivis.models.resnet import ResNet
from minivis.pretrained.family import PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY", "described_body", "rules"]

# The classes of transformers without a head; their names lack the prefix "resnet."
BACKBONES = ("ResNetModel", "ResNetBackbone")


def build(config, **options):
    """Make the ResNet that a config.json describes; options are passed to `ResNet`."""
    settings = Settings("resnet", config)
    settings.only(hidden_act="relu", downsample_in_first_stage=False, downsample_in_bottleneck=False)
    if "num_classes" not in options:
        headless = settings.architectures() & set(BACKBONES)
        options["num_classes"] = 0 if headless else len(labels_of(config))
    return ResNet(
        depths=settings.wholes("depths", (3, 4, 6, 3)),
        kind=settings.text("layer_type", "bottleneck"),
        widths=settings.wholes("hidden_sizes", (256, 512, 1024, 2048)),
        stem_width=settings.whole("embedding_size", 64),
        channels=settings.whole("num_channels", 3),
        widening=settings.whole("widening", 1, most=64),
        **options,
    )


def describe(model):
    """The config.json of a ResNet."""
    return {
        "architectures": ["ResNetForImageClassification" if model.head else "ResNetModel"],
        **described_body(model),
    }


def described_body(model):
    """The config.json of a ResNet without its class, as it stands in that of a detector too.

    Parameters
    ----------
    model : ResNet

    Returns
    -------
    dict
    """
    given = model.config
    return {
        "model_type": "resnet",
        "num_channels": given["channels"],
        "embedding_size": given["stem_width"],
        "depths": list(given["depths"]),
        "hidden_sizes": list(model.channels),
        "layer_type": given["kind"],
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }


def rules(dialect, stages=4):
    """Rules for `translate`: the names of a ResNet's weights without the head.

    Parameters
    ----------
    dialect : {"hf", "timm"}
        The hub's names, or the names that torchvision, timm and the authors of DETR share.
    stages : int, default 4
        Number of stages.

    Returns
    -------
    list of (str, str)
    """
    if dialect == "hf":
        pieces = ("convolution", "normalization")
        block = "encoder.stages.{0}.layers.*."
        layer = "layer.{0}.{1}"
        stem, shortcut = (
            [f"embedder.embedder.{piece}" for piece in pieces],
            [f"shortcut.{piece}" for piece in pieces],
        )
        layers = [[layer.format(i, piece) for piece in pieces] for i in range(3)]
    else:
        block = "layer{1}.*."
        stem = ("conv1", "bn1")
        shortcut = ("downsample.0", "downsample.1")
        layers = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)]
    found = [("stem.conv.*", f"{stem[0]}.*"), ("stem.norm.*", f"{stem[1]}.*")]
    for stage in range(stages):
        home = block.format(stage, stage + 1)
        for ours, (conv, norm) in [
            ("shortcut", shortcut),
            *((f"layers.{i}", pair) for i, pair in enumerate(layers)),
        ]:
            found += [
                (f"stages.{stage}.*.{ours}.conv.*", f"{home}{conv}.*"),
                (f"stages.{stage}.*.{ours}.norm.*", f"{home}{norm}.*"),
            ]
    return found


def names(model, dialect):
    """The names of a ResNet's weights in a dialect."""
    prefix = "resnet." if dialect == "hf" and model.head else ""
    body = [(ours, prefix + theirs) for ours, theirs in rules(dialect, len(model.stages))]
    return translate(names_of(model), [*body, ("head.*", "classifier.1.*" if dialect == "hf" else "fc.*")])


# timm's ResNets that compute the same as minivis's. Others, such as resnetaa50, have the same shapes but differ.
TIMM_NAMES = r"(tv_|gluon_)?resnet(18|34|50|101|152)(_v1b)?|wide_resnet(50|101)_2"


def infer(shapes, config=None):
    """A complete config for a file of torchvision or timm, from its shapes."""
    if not {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"} <= shapes.keys():
        return None
    Settings("resnet", config or {}).of_timm(TIMM_NAMES)
    headless = "fc.weight" not in shapes
    return {
        **body(shapes),
        "architectures": ["ResNetModel" if headless else "ResNetForImageClassification"],
        "num_labels": 0 if headless else shapes["fc.weight"][0],
    }


def body(shapes, prefix=""):
    """A config for the ResNet with timm's names and a prefix, from the shapes."""
    bottleneck = f"{prefix}layer1.0.conv3.weight" in shapes
    inner, outer = (shapes.get(f"{prefix}layer1.0.conv{i}.weight", (1,))[0] for i in (1, 3))
    depths, widths = [], []
    while (first := f"{prefix}layer{len(depths) + 1}.0.") + "conv1.weight" in shapes:
        widths.append(shapes[f"{first}conv{3 if bottleneck else 2}.weight"][0])
        blocks = (f"{prefix}layer{len(depths) + 1}.{i}.conv1.weight" for i in range(len(shapes)))
        depths.append(sum(name in shapes for name in blocks))
    return {
        "model_type": "resnet",
        "depths": depths,
        "layer_type": "bottleneck" if bottleneck else "basic",
        "hidden_sizes": widths,
        "embedding_size": shapes[f"{prefix}conv1.weight"][0],
        "num_channels": shapes[f"{prefix}conv1.weight"][1],
        # transformers has no wide ResNets and no name for this
        "widening": max(1, 4 * inner // max(1, outer)) if bottleneck else 1,
    }


FAMILY = PublishedFamily(
    model_types=("resnet",),
    build=build,
    names=names,
    dialects=("hf", "timm"),
    infer=infer,
    preprocessor={
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_pct": 0.875,
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is ResNet,
    describe=describe,
)
