"""`minivis train mask2former-shapes`: a small Mask2Former learns panoptic segmentation of generated scenes.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/mask2former.py), the loss (losses/), the loop.
"""

import numpy as np

from minivis import optim
from minivis.data import shapes
from minivis.losses import Mask2FormerCriterion
from minivis.models import Mask2Former
from minivis.recipes import _shapes
from minivis.train import fit
from minivis.vision import panoptic_inference

__all__ = ["measure", "merge", "run", "small_mask2former"]

STEPS = 2200


def merge(logits, masks, things, size):
    """The panoptic map of one scene; the threshold is low, because the model was trained for minutes, not for days."""
    return panoptic_inference(logits, masks, things, size, threshold=0.5, overlap=0.7)


def small_mask2former(backbone, rng, **options):
    """The model: its decoder layers use maps of 4 x 4 and 8 x 8 cells in turn; masks of 16 x 16; 1.5 million parameters."""
    options = {
        "queries": 16,  # there can be 8 objects and 3 grounds
        "width": 96,
        "heads": 4,
        "decoder_depth": 4,
        "pixel_depth": 1,
        "mlp_width": 256,
        "pixel_mlp_width": 256,
        "levels": 2,
        "groups": 8,
        **options,
    }
    return Mask2Former(backbone, len(shapes.CLASSES), rng=rng, **options)


def measure(model, count=None, seed=None):
    """Panoptic quality and its parts; see `recipes.measure`."""
    return _shapes.with_value("PQ", _shapes.measure_panoptic(model, merge, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "mask2former-shapes", "seed": seed}
    sizes = {"depths": (1, 2, 1), "widths": (64, 128, 64)}
    backbone, before = _shapes.trunk(out, max(1, steps // 2), rng, resume, seed, **sizes)
    model = small_mask2former(backbone, rng)
    criterion = Mask2FormerCriterion(len(shapes.CLASSES), points=256, rng=rng)
    model.points = criterion.rng  # so that a checkpoint saves the state of the random points

    def loss(model, images, targets):
        return criterion(model(images), targets)["loss"]

    def evaluate(model):
        return {"validation PQ": _shapes.measure_panoptic(model, merge, 100, "validation")["PQ"]}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    batches = _shapes.loader(steps, 24, rng, seed, sample=_shapes.with_grounds)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, batches, loss, optimizer, steps, clip=1.0, **keep)
    seconds = {"backbone": before, "segments": history["seconds"][-1]}
    found = _shapes.measure_panoptic(model, merge)
    return _shapes.write_report(model, out, "PQ", found, seconds, steps=steps, **facts)
