"""`minivis train yolo-shapes`: a small YOLO learns to detect the objects of generated scenes.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/yolo.py), the loss (losses/yolo.py), the
loop, the comparison of heads and versions (yolo_heads.py).
"""

import numpy as np

from minivis import losses, optim
from minivis.data import shapes
from minivis.models import YOLO
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["measure", "run", "small_yolo"]

STEPS = 2200
TRUNK_STEPS = 1500


def small_yolo(backbone, rng, **options):
    """The model: a grid of 8 x 8 cells of 8 pixels, 2 boxes a cell, two convolutions of 128 behind the backbone."""
    options = {"boxes_per_cell": 2, "neck": (128, 128), "norm": "group", "grid": 8, **options}
    return YOLO(backbone, len(shapes.THINGS), rng=rng, **options)


def loss(model, images, targets):
    """The loss of the paper, the mean over the scenes of a batch."""
    return losses.yolo_batch_loss(model(images), targets, model.boxes_per_cell)


def find(model):
    """The function that `measure_detector` asks for; a low threshold, because precision is measured at all of them."""
    return lambda images: model.detect(images, score_threshold=0.01, nms_threshold=0.5)


def measure(model, count=None, seed=None):
    """COCO's scores; see `recipes.measure`."""
    return _shapes.with_value("AP50", _shapes.measure_detector(find(model), count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "yolo-shapes", "seed": seed}
    before_steps = TRUNK_STEPS if steps == STEPS else max(1, steps // 2)
    backbone, before = _shapes.trunk(out, before_steps, rng, resume, seed)
    model = small_yolo(backbone, rng)

    def evaluate(model):
        return {"validation AP50": _shapes.measure_detector(find(model), 100, "validation")["AP50"]}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=2e-3, schedule=schedule)
    batches = _shapes.loader(steps, 32, rng, seed, sample=_shapes.with_boxes)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, batches, loss, optimizer, steps, clip=1.0, **keep)
    seconds = {"backbone": before, "boxes": history["seconds"][-1]}
    found = _shapes.measure_detector(find(model))
    return _shapes.write_report(model, out, "AP50", found, seconds, steps=steps, **facts)
