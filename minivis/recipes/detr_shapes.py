"""`minivis train detr-shapes`: a small DETR learns to find the shapes of generated scenes, from scratch, in half an hour.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/detr.py), the loss (losses/), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.data import shapes
from minivis.losses import HungarianMatcher, SetCriterion
from minivis.models import DETR
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["measure", "run", "small_detr"]

STEPS = 4000


def small_detr(backbone, num_classes, rng, **options):
    """The model: 64 tokens of width 96, 16 queries, 1.3 million parameters with the backbone."""
    options = {
        "queries": 16,  # twice as many as there can be objects
        "width": 96,
        "heads": 4,
        "encoder_depth": 2,
        "decoder_depth": 3,
        "mlp_width": 384,
        "dropout": 0.0,
        "norm_first": True,  # with norms after the residual sums, as published, training needs a long warm-up
        **options,
    }
    return DETR(backbone, num_classes, rng=rng, **options)


def measure(model, count=None, seed=None):
    """COCO's scores of the boxes; see `recipes.measure`."""
    return _shapes.with_value("AP50", _shapes.measure_boxes(model, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "detr-shapes", "seed": seed}
    backbone, before = _shapes.trunk(out, max(1, steps * 3 // 8), rng, resume, seed, widths=(64, 128))
    model = small_detr(backbone, len(shapes.THINGS), rng)
    criterion = SetCriterion(len(shapes.THINGS), HungarianMatcher(), no_object=0.2)

    def loss(model, images, targets):
        return criterion(model(images), targets)["loss"]

    def evaluate(model):
        return {"validation AP50": _shapes.measure_boxes(model, 100, "validation")["AP50"]}

    schedule = optim.one_cycle(steps, warmup=0.05)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    batches = _shapes.loader(steps, 32, rng, seed, sample=_shapes.with_boxes)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, batches, loss, optimizer, steps, clip=1.0, **keep)
    seconds = {"backbone": before, "boxes": history["seconds"][-1]}
    return _shapes.write_report(
        model, out, "AP50", _shapes.measure_boxes(model), seconds, steps=steps, **facts
    )
