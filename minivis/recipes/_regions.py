"""Shared by the recipes of detectors with regions: the small network, its targets and answers, its training.

Not here: the models (models/faster_rcnn.py, models/mask_rcnn.py), scenes and the pretraining of the backbone (_shapes.py).
"""

import numpy as np

from minivis import optim
from minivis.autograd import no_grad
from minivis.data import shapes
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["SMALL", "detect", "measure", "multi_loss", "targets_of", "train"]

TRUNK_STEPS = 1500
CLASSES = 1 + len(shapes.THINGS)  # class 0 is the background

# One map of stride 4, anchors of three sizes, few samples: there are at most 8 objects in 64 x 64 pixels.
SMALL = {
    "width": 64,
    "anchor_sizes": [(10, 17, 30)],
    "anchor_ratios": (1,),
    "hidden": 128,
    "light_head": True,
    "before_nms": (150, 150),
    "after_nms": (48, 48),
    "anchor_iou": (0.6, 0.3),
    "anchor_samples": 64,
    "region_samples": 32,
    "region_positive": 0.5,
    "min_size": None,
    "mean": None,  # the backbone was pretrained on colours from 0 to 1
    "std": None,
}


def targets_of(targets, height, width):
    """Targets as these detectors take them: boxes in pixels, labels from 1."""
    made = []
    for target in targets:
        boxes = _shapes.in_pixels(target["boxes"], height, width)
        made.append({**target, "boxes": boxes, "labels": target["labels"] + 1})
    return made


def multi_loss(model, images, targets):
    """The sum of the model's losses for a batch of scenes."""
    return model.losses(images, targets_of(targets, *images.shape[2:]))["loss"]


def detect(model, images):
    """What the model finds, with the labels of the scenes, and boolean ``masks`` (n, H, W) where it has some."""
    with no_grad():
        found = model(images)
    for one in found:
        one["labels"] = one["labels"] - 1
        if "masks" in one:
            one["masks"] = one["masks"][:, 0] > 0.5
    return found


def measure(model, kind, count=None, split="held-out", seed=None):
    """COCO's scores of ``kind``, "boxes" or "masks"."""
    return _shapes.measure_detector(lambda images: detect(model, images), count, split, seed, kind)


def train(name, build, kind, out, seed, steps, resume):
    """Train a model that ``build(backbone, rng)`` makes, and write its results; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": name, "seed": seed}
    backbone, before = _shapes.trunk(out, min(TRUNK_STEPS, steps), rng, resume, seed)
    model = build(backbone, rng)

    def evaluate(model):
        return {"validation AP50": measure(model, kind, 100, "validation")["AP50"]}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    sample = _shapes.with_boxes if kind == "boxes" else None
    batches = _shapes.loader(steps, 16, rng, seed, sample=sample)
    keep = {
        "out": out,
        "resume": resume,
        "settings": facts,
        "evaluate": evaluate,
        "every": -(-steps // 10),
    }
    history = fit(model, batches, multi_loss, optimizer, steps, clip=5.0, **keep)
    seconds = {"backbone": before, kind: history["seconds"][-1]}
    return _shapes.write_report(model, out, "AP50", measure(model, kind), seconds, steps=steps, **facts)
