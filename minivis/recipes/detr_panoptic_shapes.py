"""`minivis train detr-panoptic-shapes`: a small DETR learns boxes of shapes and grounds, then masks, as in the paper.

First the backbone is trained, then boxes of things and stuff, then the mask head with everything else frozen.
Not here: the shared part of the recipes on scenes (_shapes.py), the models (models/detr.py, detr_panoptic.py), the loop (train.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim
from minivis.data import shapes
from minivis.losses import HungarianMatcher, SetCriterion, dice_loss, sigmoid_focal_loss
from minivis.recipes import _shapes
from minivis.recipes.detr_shapes import small_detr
from minivis.train import fit
from minivis.vision import detr_panoptic

__all__ = ["measure", "merge", "run"]

STEPS = 3000


def merge(logits, masks, things, size):
    """The panoptic map of one scene; the threshold is low, because the model was trained for minutes, not for days."""
    return detr_panoptic(logits, masks, things, size, threshold=0.5)


def measure(model, count=None, seed=None):
    """Panoptic quality and its parts; see `recipes.measure`."""
    return _shapes.with_value("PQ", _shapes.measure_panoptic(model, merge, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    out = Path(out)
    facts = {"recipe": "detr-panoptic-shapes", "seed": seed}
    backbone, before = _shapes.trunk(out, max(1, steps // 2), rng, resume, seed, widths=(64, 128))
    seconds = [before]
    model = small_detr(backbone, len(shapes.CLASSES), rng, heads=8, masks=True)  # 8 groups divide D + heads
    matcher = HungarianMatcher()
    keep = {"resume": resume, "settings": facts}

    schedule = optim.one_cycle(steps, warmup=0.05)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    batches = _shapes.loader(steps, 32, rng, seed, sample=_shapes.with_grounds)
    loss = _box_loss(matcher)
    history = fit(model, batches, loss, optimizer, steps, clip=1.0, out=out / "boxes", **keep)
    seconds += history["seconds"][-1:]

    def evaluate(model):
        return {"validation PQ": _shapes.measure_panoptic(model, merge, 100, "validation")["PQ"]}

    model.requires_grad_(False)
    model.mask_head.requires_grad_(True)
    last = max(1, steps // 2)
    schedule = optim.one_cycle(last, warmup=0.05)
    optimizer = optim.AdamW(optim.decay_groups(model.mask_head, 1e-4), lr=2e-3, schedule=schedule)
    batches = _shapes.loader(last, 16, rng, 250_000 + seed, sample=_shapes.with_grounds)
    loss = _mask_loss(matcher)
    history = fit(model, batches, loss, optimizer, last, clip=1.0, out=out, evaluate=evaluate, **keep)
    seconds += history["seconds"][-1:]
    seconds = dict(zip(("backbone", "boxes", "masks"), seconds, strict=True))
    found = _shapes.measure_panoptic(model, merge)
    return _shapes.write_report(model, out, "PQ", found, seconds, steps=steps, **facts)


def _box_loss(matcher):
    """The loss of the first part: classes and boxes, as in DETR."""
    criterion = SetCriterion(len(shapes.CLASSES), matcher, no_object=0.2)

    def box_loss(model, images, targets):
        output = model(images, choose=_no_masks)
        output.masks = None
        return criterion(output, targets)["loss"]

    return box_loss


def _mask_loss(matcher):
    """The loss of the last part: only for masks of queries that are matched with an object."""

    def mask_loss(model, images, targets):
        pairs = []

        def matched(output):
            pairs[:] = matcher(output.logits, output.boxes, targets)
            owners = np.repeat(np.arange(len(pairs)), [len(query) for query, _ in pairs])
            return owners, np.concatenate([query for query, _ in pairs])

        masks = model(images, choose=matched).masks  # (n, 16, 16)
        wanted = np.concatenate([t["masks"][objects] for t, (_, objects) in zip(targets, pairs, strict=True)])
        masks = ops.interpolate(masks[:, None], size=wanted.shape[1:], mode="bilinear")[:, 0]  # (n, 64, 64)
        wanted = wanted.astype(np.float32)
        return sigmoid_focal_loss(masks, wanted) + dice_loss(masks, wanted)

    return mask_loss


def _no_masks(output):
    return np.zeros(0, int), np.zeros(0, int)
