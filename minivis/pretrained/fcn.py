"""Published FCNs: files with the names of torchvision's fcn_resnet50 and fcn_resnet101, with or without a second head.

Not here: the model (models/fcn.py), the authors' files of FCN on VGG-16, which are Caffe's.
"""

from minivis.models.fcn import DilatedFCN
from minivis.pretrained import resnet
from minivis.pretrained.family import PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]


def build(config, **options):
    """Make the FCN that a config describes; options are passed to `DilatedFCN`."""
    settings = Settings("fcn", config)
    body = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    return DilatedFCN(
        resnet.build(body, num_classes=0, dilated=2),
        num_classes=len(labels_of(config)),
        auxiliary=settings.flag("use_auxiliary_head", False),
        **options,
    )


def names(model, dialect):
    """Torchvision's names."""
    body = resnet.rules(dialect, len(model.backbone.stages))
    return translate(
        names_of(model),
        [
            *((f"backbone.{ours}", f"backbone.{theirs}") for ours, theirs in body),
            ("head.*.*", "classifier.*.*"),
            ("auxiliary_head.*.*", "aux_classifier.*.*"),
        ],
    )


def infer(shapes, config=None):
    """A complete config for a file of torchvision, from its shapes; torchvision always dilates the last two stages."""
    if not {"backbone.conv1.weight", "classifier.0.weight", "classifier.4.weight"} <= shapes.keys():
        return None
    return {
        **resnet.body(shapes, "backbone."),
        "model_type": "fcn",
        "use_auxiliary_head": "aux_classifier.0.weight" in shapes,
        "num_labels": shapes["classifier.4.weight"][0],
    }


FAMILY = PublishedFamily(
    model_types=("fcn",),
    build=build,
    names=names,
    dialects=("torchvision",),
    infer=infer,
    preprocessor={  # torchvision's
        "image_processor_type": "DetrImageProcessor",
        "size": {"shortest_edge": 520},
        "resample": 2,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "do_pad": False,
    },
    of=lambda model: type(model) is DilatedFCN,
)
