"""`minivis train mask-rcnn-shapes`: a small Mask R-CNN learns to find the shapes of generated scenes and their outlines.

Not here: the shared part of the detectors with regions (_regions.py), the model (models/mask_rcnn.py), the loop (train.py).
"""

from minivis.models import MaskRCNN
from minivis.recipes import _regions, _shapes

__all__ = ["measure", "run", "small_mask_rcnn"]

STEPS = 2000


def small_mask_rcnn(backbone, rng, **options):
    """The model: the small Faster R-CNN, and masks of 14 x 14 cells."""
    masks = {"mask_width": 48, "mask_depth": 2, "mask_cells": 7}
    return MaskRCNN(backbone, _regions.CLASSES, rng=rng, **{**_regions.SMALL, **masks, **options})


def measure(model, count=None, seed=None):
    """COCO's scores of the masks; see `recipes.measure`."""
    return _shapes.with_value("AP50", _regions.measure(model, "masks", count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    return _regions.train("mask-rcnn-shapes", small_mask_rcnn, "masks", out, seed, steps, resume)
