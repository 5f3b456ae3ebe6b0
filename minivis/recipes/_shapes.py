"""Shared by the recipes on generated scenes: scenes that never repeat, the pretraining of a backbone, reports.

Not here: settings that decide how good a model gets; they are in its recipe.
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.metrics import AveragePrecision, PanopticQuality, confusion_matrix, mean_iou
from minivis.models import ResNet
from minivis.nn import Conv2d, Module
from minivis.train import fit
from minivis.vision import box_cxcywh_to_xyxy, detr_detections

__all__ = [
    "THINGS",
    "PixelNamer",
    "classify",
    "fresh_scenes",
    "in_pixels",
    "loader",
    "measure_boxes",
    "measure_detector",
    "measure_panoptic",
    "measure_pixels",
    "pretrain",
    "seconds_alone",
    "small_backbone",
    "trunk",
    "with_boxes",
    "with_grounds",
    "with_pixels",
    "with_value",
    "write_report",
]

COUNT = 500  # held-out scenes for measuring a finished model
WORKERS = 1  # processes that draw the scenes of the next batches
# keys of cards of models that were trained beside other work
AGAIN = "the recipe again, nothing beside it"
ESTIMATED = "alone, from the processor time of 100 steps"
THINGS = np.array([name in shapes.THINGS for name in shapes.CLASSES])  # True for classes that are things


def loader(steps, batch_size, rng, seed, sample=None, collate=shapes.collate, objects=None):
    """Training scenes for `steps` steps, each used once, drawn by another process."""
    scenes = shapes.Scenes(batch_size * steps, "train", seed, objects=objects, sample=sample)
    return DataLoader(scenes, batch_size, rng=rng, collate=collate, workers=WORKERS)


# ------------------------------------------------------------------ the backbone


def small_backbone(rng, depths=(1, 2), widths=(64, 128)):
    """A ResNet of six 3 x 3 convolutions, with maps of 16 x 16 and 8 x 8 cells for a scene of 64 x 64 pixels."""
    options = {"norm": "group", "patch_stem": True, "num_classes": 0}
    return ResNet(depths, "basic", widths=widths, stem_width=widths[0], **options, rng=rng)


class PixelNamer(Module):
    """A backbone and one linear layer: each cell of the second map predicts the classes of its 8 x 8 pixels."""

    cell = 8

    def __init__(self, backbone, rng):
        self.backbone = backbone
        self.head = Conv2d(backbone.channels[1], len(shapes.CLASSES) * self.cell**2, 1, rng=rng)

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, 3, H, W)."""
        y = self.head(self.backbone.features(images)[1])  # (B, K P P, H/P, W/P)
        (B, _, rows, columns), P = y.shape, self.cell
        y = y.reshape(B, -1, P, P, rows, columns).transpose(0, 1, 4, 2, 5, 3)  # (B, K, rows, P, columns, P)
        return y.reshape(B, -1, rows * P, columns * P)


def trunk(out, steps, rng, resume, seed, depths=(1, 2), widths=(48, 96)):
    """A backbone that can name pixels, for the recipes that start from one, and the seconds of its training.

    With the same seed, steps and sizes every recipe gets the same backbone: its training begins before anything else
    draws from `rng`.
    """
    backbone = small_backbone(rng, depths, widths)
    return backbone, pretrain(backbone, out, steps, rng, resume, seed)


def pretrain(backbone, out, steps, rng, resume, seed):
    """Pretrain a backbone on the class of every pixel, as published DETRs use backbones pretrained on ImageNet.

    With an untrained backbone, a transformer on top learns nothing for thousands of steps. The log and the checkpoint
    are in ``out/backbone``. Returns the seconds of the training.
    """
    model = PixelNamer(backbone, rng)
    facts = {"recipe": "pixels", "seed": seed}

    schedule = optim.cosine(steps, warmup_steps=min(150, max(1, steps // 5)))
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=2e-3, schedule=schedule)
    batches = loader(steps, 32, rng, 500_000 + seed, with_pixels, stack)
    keep = {"out": Path(out) / "backbone", "resume": resume, "settings": facts}
    return fit(model, batches, classify, optimizer, steps, clip=1.0, **keep)["seconds"][-1]


def classify(model, images, labels):
    """The loss of a model that classifies pictures or pixels."""
    return ops.cross_entropy(model(images), labels)


# ------------------------------------------------------------------ measuring


def fresh_scenes(count=None, seed=None, split="held-out", **options):
    """Scenes for measuring: the first of the split, or with a seed, scenes that no measurement in the package has used."""
    return shapes.Scenes(count or COUNT, split, 0 if seed is None else 1 + seed, **options)


def with_value(figure, found):
    """The result of a recipe's `measure`: its main figure first, as ``value``, then all."""
    return {"value": found[figure], **found}


def measure_boxes(model, count=None, split="held-out", seed=None):
    """COCO's scores of a DETR on scenes that it was not trained on."""

    def find(images):
        output = model(images)
        pairs = zip(output.logits.numpy(), output.boxes.numpy(), strict=True)
        height, width = images.shape[2:]
        found = [detr_detections(logits, boxes) for logits, boxes in pairs]
        return [{**one, "boxes": in_pixels(one["boxes"], height, width)} for one in found]

    return measure_detector(find, count, split, seed)


def measure_detector(find, count=None, split="held-out", seed=None, kind="boxes"):
    """COCO's scores on scenes not used in training, of ``find(images)``: for each image a dict of ``labels`` as in `THINGS`,
    ``scores``, and ``boxes`` (xyxy in pixels) or boolean ``masks``."""
    metric = AveragePrecision(kind)
    for images, targets in DataLoader(fresh_scenes(count, seed, split), 50, collate=shapes.collate):
        with no_grad():
            found = find(images)
        there = [{"labels": t["labels"], kind: t[kind]} for t in targets]
        if kind == "boxes":
            there = [{**t, "boxes": in_pixels(t["boxes"], *images.shape[2:])} for t in there]
        metric.update(found, there)
    return metric.compute()


def in_pixels(boxes, height, width):
    """xyxy in pixels from cxcywh between 0 and 1, as metrics and the detectors with regions take boxes."""
    return box_cxcywh_to_xyxy(boxes) * np.array([width, height, width, height], boxes.dtype)


def measure_panoptic(model, merge, count=None, split="held-out", seed=None):
    """Panoptic quality on scenes not used in training; ``merge(logits, masks, THINGS, size)`` makes the map of an image."""
    scenes = fresh_scenes(count, seed, split, sample=_panoptic)
    metric = PanopticQuality(THINGS)
    for images, truth in DataLoader(scenes, 50, collate=shapes.collate):
        with no_grad():
            output = model(images)
        pairs = zip(output.logits.numpy(), output.masks.numpy(), strict=True)
        metric.update([merge(logits, masks, THINGS, images.shape[2:]) for logits, masks in pairs], truth)
    return metric.compute()


def measure_pixels(model, count=None, split="held-out", seed=None):
    """Mean IoU of a model with logits (B, K, H, W), on scenes that it was not trained on: {"mIoU": 0 to 1}."""
    counted = np.zeros((len(shapes.CLASSES),) * 2, np.int64)
    for images, there in DataLoader(fresh_scenes(count, seed, split, sample=with_pixels), 50):
        with no_grad():
            named = model(images).numpy().argmax(axis=1)
        counted += confusion_matrix(named, there, len(shapes.CLASSES))
    return {"mIoU": mean_iou(counted)}


def seconds_alone(card):
    """The seconds that a training takes alone, from its card: processor time or a second run, if the first was not alone."""
    parts = {**card.get("seconds for", {"all": card["seconds"]}), **card.get("CPU seconds for", {})}
    again = [card.get(key, {}).get("seconds", np.inf) for key in (AGAIN, ESTIMATED)]
    return min(sum(parts.values()), *again)


def with_pixels(scene):
    """A sample for semantic segmentation."""
    return scene.image, scene.semantic


def with_boxes(scene):
    """A sample for recipes on boxes."""
    return scene.image, {"labels": scene.labels, "boxes": scene.boxes}


def with_grounds(scene):
    """A sample for panoptic recipes: the grounds are segments too."""
    return scene.image, scene.target(grounds=True)


def _panoptic(scene):
    return scene.image, (scene.panoptic, scene.segments)


def write_report(model, out, figure, found, seconds, **facts):
    """Write ``metrics.json``: scores on held-out scenes, and the seconds of each part. Print the main score."""
    numbers = {name: round(float(value), 4) for name, value in found.items()}
    metrics = {
        "metric": f"held-out {figure}",
        "value": numbers[figure],
        "n": COUNT,
        "seconds": round(sum(seconds.values()), 1),
        "seconds for": {part: round(value, 1) for part, value in seconds.items()},
        "parameters": sum(p.size for p in model.parameters()),
        "figures": numbers,
        **facts,
    }
    storage.write_files({Path(out) / "metrics.json": storage.pack_json(metrics)})
    print(f"{metrics['metric']} {metrics['value']:.3f} on {COUNT} scenes")
    return metrics
