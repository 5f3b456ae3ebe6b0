"""Published checkpoints by a short name: where they are, how large they are, and under which licence.

Not here: fetching them (hub.py), reading them (folder.py).
"""

from typing import NamedTuple

__all__ = ["KNOWN", "OTHERS", "TITLES", "Known", "table"]


class Known(NamedTuple):
    """A published checkpoint with a short name.

    Attributes
    ----------
    repository : str
        On the hub.
    megabytes : int
        What is downloaded, rounded.
    licence : str
        Of the weights, as the hub's page names it. What the page says when they are fetched counts.
    family : str
        The module of this package that reads it.
    parameters : float
        In millions.
    version : str
        Of the repository, if the weights are not in its main one: a pull request has them as safetensors.
    """

    repository: str
    megabytes: int
    licence: str
    family: str
    parameters: float
    version: str = "main"


APACHE = "Apache-2.0"
# The hub's page of these names no licence, or "other"; the authors' code has the one in brackets.
CODE_MIT = "see its page (code: MIT)"
CODE_NC = "see its page (code: CC BY-NC)"

KNOWN = {
    "clip-vit-base-patch32": Known("openai/clip-vit-base-patch32", 606, CODE_MIT, "clip", 151.3),
    "deit-base-distilled-patch16-224": Known(
        "facebook/deit-base-distilled-patch16-224", 349, APACHE, "deit", 87.3
    ),
    "detr-resnet-50": Known("facebook/detr-resnet-50", 167, APACHE, "detr", 41.5),
    "detr-resnet-50-panoptic": Known("facebook/detr-resnet-50-panoptic", 172, APACHE, "detr", 42.9),
    "dino-vits16": Known("facebook/dino-vits16", 87, APACHE, "dino", 21.7),
    "dinov2-base": Known("facebook/dinov2-base", 346, APACHE, "dinov2", 86.6),
    "dinov2-small": Known("facebook/dinov2-small", 88, APACHE, "dinov2", 22.1),
    "mask2former-swin-tiny-coco-panoptic": Known(
        "facebook/mask2former-swin-tiny-coco-panoptic", 190, CODE_MIT, "mask2former", 47.4
    ),
    "maskformer-swin-tiny-ade": Known("facebook/maskformer-swin-tiny-ade", 167, CODE_NC, "maskformer", 41.8),
    "resnet-50": Known("microsoft/resnet-50", 102, APACHE, "resnet", 25.6),
    "rtdetr_r18vd": Known("PekingU/rtdetr_r18vd", 81, APACHE, "rt_detr", 20.2),
    "rtdetr_r50vd": Known("PekingU/rtdetr_r50vd", 172, APACHE, "rt_detr", 42.9),
    "sam-vit-base": Known("facebook/sam-vit-base", 375, APACHE, "sam", 93.7),
    "swin-tiny-patch4-window7-224": Known(
        "microsoft/swin-tiny-patch4-window7-224", 113, APACHE, "swin", 28.3
    ),
    "vit-base-patch16-224": Known("google/vit-base-patch16-224", 346, APACHE, "vit", 86.6),
    "vit-hybrid-base-bit-384": Known("google/vit-hybrid-base-bit-384", 396, APACHE, "vit_hybrid", 99.0),
    # the hub's page says Apache, the authors' own page CC BY-NC
    "vit-mae-base": Known("facebook/vit-mae-base", 448, "Apache-2.0 (code: CC BY-NC)", "mae", 111.9),
    "vivit-b-16x2-kinetics400": Known(
        "google/vivit-b-16x2-kinetics400", 356, "MIT", "vivit", 89.0, "refs/pr/3"
    ),
}


class Elsewhere(NamedTuple):
    """A checkpoint that torchvision downloads, to be converted once.

    Attributes
    ----------
    family : str
        The module of this package that reads it.
    megabytes : int
        Of its weights in float32.
    parameters : float
        In millions.
    """

    family: str
    megabytes: int
    parameters: float


# by torchvision's name; the licence of its code is BSD-3-Clause
OTHERS = {
    "alexnet": Elsewhere("alexnet", 244, 61.1),
    "fcn_resnet50": Elsewhere("fcn", 142, 35.3),
    "fasterrcnn_resnet50_fpn": Elsewhere("rcnn", 167, 41.8),
    "maskrcnn_resnet50_fpn": Elsewhere("rcnn", 178, 44.4),
    "vgg16": Elsewhere("vgg", 553, 138.4),
}
TITLES = {
    "alexnet": "AlexNet",
    "clip": "CLIP",
    "deit": "DeiT",
    "detr": "DETR",
    "dino": "DINO",
    "dinov2": "DINOv2 (and registers)",
    "fcn": "FCN",
    "mae": "MAE",
    "mask2former": "Mask2Former",
    "maskformer": "MaskFormer",
    "rcnn": "Faster R-CNN, Mask R-CNN",
    "resnet": "ResNet",
    "rt_detr": "RT-DETR",
    "sam": "SAM",
    "swin": "Swin",
    "vgg": "VGG",
    "vit": "ViT",
    "vit_hybrid": "ViT on a ResNet (hybrid)",
    "vivit": "ViViT",
}


def table():
    """The published families that minivis reads, a known checkpoint a row.

    Returns
    -------
    list of dict
        ``family`` (its title), ``types`` (the values of "model_type" in config.json), ``name``, ``parameters`` in millions,
        ``MB``, ``licence``, ``repository`` on the hub, and ``command``, which downloads it. A family of which no checkpoint is known here has a row too.

    Examples
    --------
    >>> [row["command"] for row in table() if row["name"] == "dinov2-small"]
    ['minivis fetch dinov2-small']
    """
    from minivis.pretrained.folder import families  # it imports every family

    rows = []
    for family in families():
        module = family.build.__module__.rpartition(".")[2]
        about = {"family": TITLES.get(module, module), "types": ", ".join(family.model_types)}
        known = {name: one for name, one in KNOWN.items() if one.family == module}
        others = {name: one for name, one in OTHERS.items() if one.family == module}
        for name, one in known.items():
            sizes = {"parameters": one.parameters, "MB": one.megabytes, "licence": one.licence}
            places = {"repository": one.repository, "command": f"minivis fetch {name}"}
            rows.append({**about, "name": name, **sizes, **places})
        for name, one in others.items():
            sizes = {
                "parameters": one.parameters,
                "MB": one.megabytes,
                "licence": "see torchvision (code: BSD-3)",
            }
            rows.append({**about, "name": name, **sizes, "repository": "", "command": "by torchvision"})
        if not known and not others:
            nothing = dict.fromkeys(("name", "parameters", "MB", "licence", "repository", "command"), "")
            rows.append({**about, **nothing})
    return rows
