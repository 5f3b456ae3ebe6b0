"""`minivis train faster-rcnn-shapes`: a small Faster R-CNN learns to find the shapes of generated scenes.

Not here: the shared part of the detectors with regions (_regions.py), the model (models/faster_rcnn.py), the loop (train.py).
"""

from minivis.models import FasterRCNN
from minivis.recipes import _regions, _shapes

__all__ = ["measure", "run", "small_faster_rcnn"]

STEPS = 3500


def small_faster_rcnn(backbone, rng, **options):
    """The model: 768 anchors on a map of 16 x 16 cells, 48 proposals."""
    return FasterRCNN(backbone, _regions.CLASSES, rng=rng, **{**_regions.SMALL, **options})


def measure(model, count=None, seed=None):
    """COCO's scores of the boxes; see `recipes.measure`."""
    return _shapes.with_value("AP50", _regions.measure(model, "boxes", count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    return _regions.train("faster-rcnn-shapes", small_faster_rcnn, "boxes", out, seed, steps, resume)
