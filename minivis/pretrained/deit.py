"""Published DeiTs with a distillation token: facebook/deit-*-distilled-*, fine-tuned versions, timm's deit_*_distilled_*.

Not here: the model (models/vit.py), the plain DeiTs, which are published as ViT (vit.py).
"""

from minivis.models.vit import ViT
from minivis.pretrained import vit
from minivis.pretrained.family import PublishedFamily
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

PLAIN = "DeiTForImageClassification"  # fine-tuned without a teacher: no head reads the distillation token


def build(config):
    """Make the DeiT that a config.json describes."""
    one_head = PLAIN in Settings("deit", config).architectures()
    return vit.build(config, distilled="token" if one_head else True)


def describe(model):
    """The config.json of a DeiT."""
    teacher = "WithTeacher" if model.head_dist else ""
    described = vit.describe(model, "DeiT")
    return {**described, "model_type": "deit", "architectures": [described["architectures"][0] + teacher]}


def names(model, dialect):
    """The names of a DeiT's weights in a dialect."""
    if dialect == "timm":
        return vit.names(model, dialect)
    if model.head_dist is None:
        return vit.hub_names(model, "deit.", [("head.*", "classifier.*")])
    heads = [("head.*", "cls_classifier.*"), ("head_dist.*", "distillation_classifier.*")]
    return vit.hub_names(model, "deit.", heads)


FAMILY = PublishedFamily(
    model_types=("deit",),
    build=build,
    names=names,
    dialects=("hf", "timm"),
    recomputed=vit.FAMILY.recomputed,
    preprocessor={
        "image_processor_type": "DeiTImageProcessor",
        "size": {"height": 256, "width": 256},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    of=lambda model: type(model) is ViT and model.backbone is None and model.dist_token is not None,
    describe=describe,
)
