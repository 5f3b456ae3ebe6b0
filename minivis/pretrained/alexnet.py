"""Published AlexNets: files with torchvision's names, of the network with one tower.

Not here: the model (models/alexnet.py), Caffe's files of the network with two towers.
"""

from minivis.models.alexnet import AlexNet
from minivis.pretrained.family import PublishedFamily, labels_of, names_of
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY", "PREPROCESSOR", "names"]


def build(config, **options):
    """Make the AlexNet that a config describes; options are passed to `AlexNet`."""
    settings = Settings("alexnet", config)
    return AlexNet(
        towers=1,
        widths=settings.wholes("hidden_sizes", (64, 192, 384, 256, 256)),
        hidden=settings.whole("intermediate_size", 4096),
        channels=settings.whole("num_channels", 3),
        num_classes=len(labels_of(config)),
        **options,
    )


def names(model, dialect):
    """Torchvision's names, which are also ours."""
    return {name: name for name in names_of(model)}


def infer(shapes, config=None):
    """A complete config for a file of torchvision, from its shapes."""
    convolutions = [f"features.{i}.weight" for i in (0, 3, 6, 8, 10)]
    if not {*convolutions, "classifier.1.weight", "classifier.6.weight"} <= shapes.keys():
        return None
    return {
        "model_type": "alexnet",
        "hidden_sizes": [shapes[name][0] for name in convolutions],
        "intermediate_size": shapes["classifier.1.weight"][0],
        "num_channels": shapes[convolutions[0]][1],
        "num_labels": shapes["classifier.6.weight"][0],
    }


PREPROCESSOR = {  # torchvision's
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 224},
    "crop_pct": 0.875,
    "resample": 2,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
FAMILY = PublishedFamily(
    model_types=("alexnet",),
    build=build,
    names=names,
    dialects=("torchvision",),
    infer=infer,
    preprocessor=PREPROCESSOR,
    of=lambda model: type(model) is AlexNet,
)
