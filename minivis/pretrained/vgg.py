"""Published VGGs: files with torchvision's names, with or without batch norm.

Not here: the model (models/vgg.py), Caffe's files, whose images are BGR without a standard deviation.
"""

import math

from minivis.models.vgg import VGG
from minivis.pretrained.alexnet import PREPROCESSOR, names
from minivis.pretrained.family import PublishedFamily, labels_of
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

# timm's VGGs with torchvision's weights. It writes the linear layers under other names.
TIMM_NAMES = r"(tv_)?vgg(11|13|16|19)(_bn)?"


def build(config, **options):
    """Make the VGG that a config describes; options are passed to `VGG`."""
    settings = Settings("vgg", config)
    return VGG(
        depths=settings.wholes("depths", (2, 2, 3, 3, 3)),
        widths=settings.wholes("hidden_sizes", (64, 128, 256, 512, 512)),
        norm=settings.flag("norm", False),
        map_size=settings.whole("map_size", 7),
        hidden=settings.whole("intermediate_size", 4096),
        channels=settings.whole("num_channels", 3),
        num_classes=len(labels_of(config)),
        **options,
    )


def infer(shapes, config=None):
    """A complete config for a file of torchvision, from its shapes.

    Only layers with weights have names. Within a stage the numbers of two convolutions differ by 2 (by 3 with batch norm);
    the pooling between two stages makes it one more.
    """
    if not {"features.0.weight", "classifier.0.weight", "classifier.6.weight"} <= shapes.keys():
        return None
    Settings("vgg", config or {}).of_timm(TIMM_NAMES)
    norm = "features.1.running_mean" in shapes
    places = sorted(
        int(n.split(".")[1]) for n, s in shapes.items() if n.startswith("features.") and len(s) == 4
    )
    depths, widths = [], []
    for before, place in zip([None, *places], places, strict=False):
        if before is None or place - before > (3 if norm else 2):
            depths.append(0)
            widths.append(shapes[f"features.{place}.weight"][0])
        depths[-1] += 1
    hidden, features = shapes["classifier.0.weight"]
    return {
        "model_type": "vgg",
        "depths": depths,
        "hidden_sizes": widths,
        "norm": norm,
        "map_size": math.isqrt(features // widths[-1]),
        "intermediate_size": hidden,
        "num_channels": shapes["features.0.weight"][1],
        "num_labels": shapes["classifier.6.weight"][0],
    }


FAMILY = PublishedFamily(
    model_types=("vgg",),
    build=build,
    names=names,
    dialects=("torchvision",),
    infer=infer,
    preprocessor=PREPROCESSOR,
    of=lambda model: type(model) is VGG,
)
