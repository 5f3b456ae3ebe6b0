"""How large and how costly the models are: parameters and multiply-adds, counted, beside the published figures.

Not here: how they are counted (nn/layer_table.py).
"""

from collections import namedtuple

import numpy as np

from minivis import models
from minivis.nn import init
from minivis.nn.layer_table import Table, summary

__all__ = ["complexity"]


class Row(namedtuple("Row", "name input parameters multiply_adds published")):
    """What was counted of one size, and what is published."""

    def cost(self):
        """The multiply-adds in billions, or in millions if they are few; nothing where they were not counted."""
        if self.multiply_adds is None:
            return ""
        few = self.multiply_adds < 1e7
        return f"{self.multiply_adds / 1e6:.3f} M" if few else f"{self.multiply_adds / 1e9:.3f} G"


class Published(namedtuple("Published", "parameters multiply_adds source", defaults=(None, None, ""))):
    """What a source prints about a size: its parameters, exactly or in millions, and billions of multiply-adds."""

    def cells(self):
        """The two figures with their units; empty where the source gives none."""
        size = self.parameters or ""
        exact = not size or "," in size
        return size if exact else f"{size} M", f"{self.multiply_adds} G" if self.multiply_adds else ""


# Sizes that are not run: one picture of their size takes more memory than many computers have to spare.
SAMS = ("sam_vit_b", "sam_vit_l", "sam_vit_h")
RTDETRS = ("rtdetr_r18vd", "rtdetr_r34vd", "rtdetr_r50vd", "rtdetr_r101vd")
NOT_RUN = (*SAMS, "rtdetr_r50vd", "rtdetr_r101vd")
IMAGENET = (1, 3, 224, 224)
INPUTS = {  # name -> the shape of the published input, where it is another
    **dict.fromkeys(("LeNet5", "ModernLeNet5"), (1, 1, 32, 32)),
    "alexnet": (1, 3, 227, 227),
    "sngan32_discriminator": (1, 3, 32, 32),
    **dict.fromkeys(("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"), (1, 3, 800, 800)),
    "vit_hybrid_b16": (1, 3, 384, 384),
    **dict.fromkeys(SAMS, (1, 3, 1024, 1024)),
    **dict.fromkeys(RTDETRS, (1, 3, 640, 640)),
    **dict.fromkeys(("segmenter_tiny", "segmenter_small", "segmenter_base"), (1, 3, 512, 512)),
    "segmenter_large": (1, 3, 640, 640),
    "segnet": (1, 3, 360, 480),
    **dict.fromkeys(("setr_naive", "setr_pup", "setr_mla"), (1, 3, 512, 512)),
    "unet": (1, 1, 572, 572),
    **{
        f"vivit_b16x2{variant}": (1, 32, 3, 224, 224)
        for variant in ("", "_factorised_encoder", "_factorised_attention", "_factorised_heads")
    },
    "yolo_v1": (1, 3, 448, 448),
    "yolo_v2_voc": (1, 3, 416, 416),
    "yolo_v2_coco": (1, 3, 416, 416),
    **{f"resnet{depth}": (1, 3, 32, 32) for depth in (20, 32, 44, 56, 110)},
    **{
        f"wrn{size}": (1, 3, 32, 32)
        for size in ("16_8", "22_8", "28_10", "28_12", "40_1", "40_2", "40_4", "40_10")
    },
}

TORCHVISION = "torchvision's documentation"
RESNET = "He et al. 2016, table 6"
WIDE_RESNET = "Zagoruyko and Komodakis 2016"
FCN = "Long et al. 2015, table 1"
DEIT = "Touvron et al. 2021"
VIVIT = "Arnab et al. 2021, table 2"
MAE = "the code of He et al. 2022"
SWIN = "Liu et al. 2021, table 1"
DINOV2 = "the code of Oquab et al. 2024"
DETR = "Carion et al. 2020, table 1"
MASKFORMER = "Cheng et al. 2021"
MASK2FORMER = "Cheng et al. 2022, table 1"
RTDETR = "the README of Zhao et al. 2024"
SAM = "the code of Kirillov et al. 2023"
SASA = "Ramachandran et al. 2019"
LR_NET = "Hu et al. 2019"
SAN = "the README of Zhao et al. 2020"

# name -> as printed by the source: parameters (in millions, or exactly), billions of multiply-adds of the same input
PUBLISHED = {
    "LeNet5": Published("60,000", None, "LeCun et al. 1998, section II-B"),
    "ModernLeNet5": Published(),
    "resnet18": Published("11,689,512", "1.814", TORCHVISION),
    "resnet34": Published("21,797,672", "3.664", TORCHVISION),
    "resnet50": Published("25,557,032", "4.089", TORCHVISION),
    "resnet101": Published("44,549,160", "7.801", TORCHVISION),
    "wide_resnet50_2": Published("68,883,240", "11.398", TORCHVISION),
    "wide_resnet101_2": Published("126,886,696", "22.753", TORCHVISION),
    "resnet20": Published("0.27", None, RESNET),
    "resnet32": Published("0.46", None, RESNET),
    "resnet44": Published("0.66", None, RESNET),
    "resnet56": Published("0.85", None, RESNET),
    "resnet110": Published("1.7", None, RESNET),
    "wrn16_8": Published("11.0", None, WIDE_RESNET),
    "wrn22_8": Published("17.2", None, WIDE_RESNET),
    "wrn28_10": Published("36.5", None, WIDE_RESNET),
    "wrn28_12": Published("52.5", None, WIDE_RESNET),
    "wrn40_1": Published("0.6", None, WIDE_RESNET),
    "wrn40_2": Published("2.2", None, WIDE_RESNET),
    "wrn40_4": Published("8.9", None, WIDE_RESNET),
    "wrn40_10": Published(),
    "alexnet": Published("60", None, "Krizhevsky et al. 2012"),
    "alexnet_one_tower": Published("61,100,840", "0.714", TORCHVISION),
    "vgg11": Published("132,863,336", "7.609", TORCHVISION),
    "vgg11_bn": Published("132,868,840", "7.609", TORCHVISION),
    "vgg13": Published("133,047,848", "11.308", TORCHVISION),
    "vgg13_bn": Published("133,053,736", "11.308", TORCHVISION),
    "vgg16": Published("138,357,544", "15.47", TORCHVISION),
    "vgg16_bn": Published("138,365,992", "15.47", TORCHVISION),
    "vgg19": Published("143,667,240", "19.632", TORCHVISION),
    "vgg19_bn": Published("143,678,248", "19.632", TORCHVISION),
    "fcn32s": Published("134", None, FCN),
    "fcn16s": Published(),
    "fcn8s": Published(),
    "fcn_resnet50": Published(),
    "fcn_resnet101": Published(),
    **{f"segmenter_{size}": Published() for size in ("tiny", "small", "base", "large")},
    "segnet": Published(),
    "setr_naive": Published(),
    "setr_pup": Published(),
    "setr_mla": Published(),
    "unet": Published(),
    "mae_b16": Published("111,907,840", None, MAE),
    "mae_l16": Published("329,541,888", None, MAE),
    "mae_h14": Published("657,074,508", None, MAE),
    "vit_ti16": Published("5.7", None, "timm's model card"),
    "vit_s16": Published("22.1", None, "timm's model card"),
    "vit_b16": Published("86,567,656", "17.564", TORCHVISION),
    "vit_b32": Published("88,224,232", "4.409", TORCHVISION),
    "vit_l16": Published("304,326,632", "61.555", TORCHVISION),
    "vit_l32": Published("306,535,400", "15.378", TORCHVISION),
    "vit_hybrid_b16": Published("98,950,952", None, "timm's code"),
    "vit_h14": Published("632,045,800", "167.295", TORCHVISION),
    "vivit_b16x2": Published("88.9", "455.2", VIVIT),
    "vivit_b16x2_factorised_encoder": Published("115.1", "284.4", VIVIT),
    "vivit_b16x2_factorised_attention": Published("117.3", "372.3", VIVIT),
    "vivit_b16x2_factorised_heads": Published("88.9", "277.1", VIVIT),
    "deit_ti16": Published("6", None, DEIT),
    "deit_s16": Published("22", None, DEIT),
    "deit_b16": Published("87", None, DEIT),
    "dinov2_s14": Published("22,056,576", None, DINOV2),
    "dinov2_b14": Published("86,580,480", None, DINOV2),
    "dinov2_l14": Published("304,368,640", None, DINOV2),
    "dinov2_g14": Published("1,136,480,768", None, DINOV2),
    "dinov2_s14_registers": Published("22,058,112", None, DINOV2),
    "dinov2_b14_registers": Published("86,583,552", None, DINOV2),
    "dinov2_l14_registers": Published("304,372,736", None, DINOV2),
    "swin_t": Published("29", "4.5", SWIN),
    "swin_s": Published("50", "8.7", SWIN),
    "swin_b": Published("88", "15.4", SWIN),
    "detr_r50": Published("41", None, DETR),
    "detr_r50_dc5": Published("41", None, DETR),
    "detr_r101": Published("60", None, DETR),
    "fasterrcnn_resnet50_fpn": Published("41,755,286", None, TORCHVISION),
    "maskrcnn_resnet50_fpn": Published("44,401,393", None, TORCHVISION),
    "maskformer_r50": Published("41", None, MASKFORMER),
    "maskformer_r50_panoptic": Published("45", None, MASKFORMER),
    "maskformer_swin_t": Published("42", None, MASKFORMER),
    "maskformer_swin_s": Published("63", None, MASKFORMER),
    "maskformer_swin_b": Published("102", None, MASKFORMER),
    "maskformer_swin_l": Published("212", None, MASKFORMER),
    "mask2former_r50": Published("44", None, MASK2FORMER),
    "mask2former_swin_t": Published("47", None, MASK2FORMER),
    "rtdetr_r18vd": Published("20", None, RTDETR),
    "rtdetr_r34vd": Published("31", None, RTDETR),
    "rtdetr_r50vd": Published("42", None, RTDETR),
    "rtdetr_r101vd": Published("76", None, RTDETR),
    "sam_vit_b": Published("93,735,472", None, SAM),
    "sam_vit_l": Published("312,342,832", None, SAM),
    "sam_vit_h": Published("641,090,608", None, SAM),
    "sngan32_generator": Published(),
    "sngan32_discriminator": Published(),
    "sagan128_generator": Published(),
    "non_local_resnet50": Published(),
    **{f"clip_{size}": Published() for size in ("b32", "b16", "l14", "rn50", "rn101", "rn50x4")},
    "sasa_resnet26": Published("10.3", None, SASA),
    "sasa_resnet38": Published("14.1", None, SASA),
    "sasa_resnet50": Published("18.0", None, SASA),
    "lr_net26": Published("14.7", None, LR_NET),
    "lr_net50": Published("23.3", None, LR_NET),
    "san10_pairwise": Published("10.5", "2.2", SAN),
    "san15_pairwise": Published("14.1", "3.0", SAN),
    "san19_pairwise": Published("17.6", "3.8", SAN),
    "san10_patchwise": Published("11.8", "1.9", SAN),
    "san15_patchwise": Published("16.2", "2.6", SAN),
    "san19_patchwise": Published("20.5", "3.3", SAN),
    "darknet19": Published(),
    "yolo_v1": Published(),
    "yolo_v2_voc": Published(),
    "yolo_v2_coco": Published(),
}


class Complexity(Table):
    """The result of `complexity`; it prints as a table, also in a notebook.

    Attributes
    ----------
    rows : list of Row
        ``name, input, parameters, multiply_adds, published``; the last is ``(parameters, multiply_adds, source)`` as printed
        by the source, or None where it gives none.
    """

    left = 2

    def __init__(self, rows):
        self.rows = rows

    def _cells(self):
        yield ("model", "input", "parameters", "published", "multiply-adds", "published")
        for row in self.rows:
            size, cost = row.published.cells()
            shape = " x ".join(map(str, row.input[1:]))
            yield (row.name, shape, f"{row.parameters:,}", size, row.cost(), cost)

    def _note(self):
        sources = dict.fromkeys(row.published.source for row in self.rows if row.published.source)
        return f"published by: {'; '.join(sources)}" if sources else "nothing published is known here"


def complexity(names=None):
    """Count the parameters and multiply-adds of models in their published sizes, beside the published figures.

    Parameters
    ----------
    names : sequence of str, optional
        Names of constructors in `minivis.models`, such as ``["resnet50", "vit_b16"]``; default: all, which takes about
        half a minute and 1.4 GB of memory.

    Returns
    -------
    Complexity
        Prints as a table.

    Raises
    ------
    ValueError
        If there is no published size of a name.

    Notes
    -----
    Each model runs once, on one picture of zeros, with weights that were not drawn: `summary` counts from the shapes. The
    multiply-adds are those of `summary`: linear layers, matrix products, attention and convolutions. The SAMs and the two large
    RT-DETRs do not run: their large pictures need too much memory. Only their parameters are counted.

    Examples
    --------
    >>> complexity(["resnet18"])
    model     input          parameters   published  multiply-adds  published
    -------------------------------------------------------------------------
    resnet18  3 x 224 x 224  11,689,512  11,689,512        1.814 G    1.814 G
    -------------------------------------------------------------------------
    published by: torchvision's documentation
    """
    names = list(PUBLISHED) if names is None else list(names)
    if unknown := [name for name in names if name not in PUBLISHED]:
        raise ValueError(f"complexity: no published size {unknown[0]!r}; there are: {', '.join(PUBLISHED)}")
    return Complexity([_row(name) for name in names])


def _row(name):
    with init.skip_init():
        model = getattr(models, name)()
    example = getattr(model, "example", None)
    given = INPUTS.get(name, IMAGENET) if example is None else example()
    if name in NOT_RUN:
        parameters = sum(p.size for p in model.parameters())
        return Row(name, given, parameters, None, PUBLISHED[name])
    with np.errstate(all="ignore"):  # weights that were not drawn give NaN here and there
        found = summary(model, given, depth=0)
    shape = given if example is None else given[0].shape
    return Row(name, shape, found.parameters, found.multiply_adds, PUBLISHED[name])
