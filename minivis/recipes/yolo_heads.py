"""What the head of YOLO does: the paper's linear layers over the whole map, a 1 x 1 convolution, and version 2's anchors.

All start from the same backbone, which can name pixels, and train for the same number of steps. `results` reads what was
measured; scripts/run_ablations.py measures it again.
Not here: the networks (models/yolo.py, models/yolo_v2.py), the recipe of the packaged model (yolo_shapes.py).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import losses, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.models import YOLOv2
from minivis.recipes import _shapes, yolo_shapes
from minivis.train import fit
from minivis.vision import (
    box_cxcywh_to_xyxy,
    box_iou,
    dimension_clusters,
    grid_cells,
    yolo_boxes,
    yolo_decode,
)

__all__ = ["CHOICES", "anchors", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1)
STEPS = 300
HELD_OUT = 500
GRID = 8  # cells along a side
# of the connected head: fewer channels before it, or it would have 30 million weights
SMALL = {"neck": (128, 32), "hidden": 1024}


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()["heads"][choice][metric]`` is a list with one entry for each seed. Metrics are "AP", "AP50" and "AP75" on
        held-out scenes; "overlap", the mean over all objects of the best IoU of a box that the object's own cell predicts;
        "class", the share of objects whose cell gives their class the best score; and "parameters".

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results()["heads"])
    ['connected', 'convolutional', 'version 2']
    """
    return storage.read_json(RESULTS)["results"]


@lru_cache(maxsize=4)
def anchors(k=3, count=500):
    """Anchors for the scenes: clusters of the sizes of training boxes.

    Parameters
    ----------
    k : int, default 3
        How many.
    count : int, default 500
        How many training scenes.

    Returns
    -------
    tuple of float
        Width and height of the first anchor, then those of the second, and so on, in cells of 8 pixels.

    Examples
    --------
    >>> len(anchors(2, 20))
    4
    """
    scenes = shapes.Scenes(count, "train", 0, sample=_shapes.with_boxes)
    sizes = np.concatenate([scenes[i][1]["boxes"][:, 2:] for i in range(count)]).astype(np.float64)
    return tuple(dimension_clusters(GRID * sizes, k, rng=0).round(3).ravel().tolist())


def head(out, seed, kind):
    """Train one head and measure it."""
    backbone, _ = _shapes.trunk(out, yolo_shapes.TRUNK_STEPS, np.random.default_rng(0), True, 0)
    rng = np.random.default_rng(seed)
    if kind == "version 2":
        model = YOLOv2(backbone, len(shapes.THINGS), anchors(), norm="group", rng=rng)
        loss = _loss_v2
    else:
        options = {**SMALL, "head": "connected"} if kind == "connected" else {}
        model = yolo_shapes.small_yolo(backbone, rng, **options)
        loss = yolo_shapes.loss
    schedule = optim.one_cycle(STEPS, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=2e-3, schedule=schedule)
    fit(
        model,
        _shapes.loader(STEPS, 32, rng, seed, sample=_shapes.with_boxes),
        loss,
        optimizer,
        STEPS,
        clip=1.0,
    )
    found = _shapes.measure_detector(yolo_shapes.find(model), HELD_OUT)
    found = {name: found[name] for name in ("AP", "AP50", "AP75")}
    return {**found, **in_their_cells(model), "parameters": sum(p.size for p in model.parameters())}


def _loss_v2(model, images, targets):
    return losses.yolo_v2_loss(model(images), targets, np.array(model.anchors))


def in_their_cells(model):
    """How well the cells of the true objects do, before any box is chosen: {"overlap": mean IoU, "class": share}."""
    overlaps, right = [], []
    for images, targets in DataLoader(
        _shapes.fresh_scenes(HELD_OUT, sample=_shapes.with_boxes), 50, collate=shapes.collate
    ):
        with no_grad():
            prediction = model(images).numpy()
        for grid, target in zip(prediction, targets, strict=True):
            rows, columns, _ = grid_cells(target["boxes"], GRID)
            if isinstance(model, YOLOv2):
                boxes = yolo_decode(grid, np.array(model.anchors, grid.dtype))
                scores = grid[rows, columns, :, 5:].max(axis=1)  # (T, C)
            else:
                boxes = yolo_boxes(grid, model.boxes_per_cell)
                scores = grid[rows, columns, 5 * model.boxes_per_cell :]
            for own, true in zip(boxes[rows, columns], target["boxes"], strict=True):
                overlaps.append(box_iou(*map(box_cxcywh_to_xyxy, (own, true[None].astype(own.dtype)))).max())
            right.extend(scores.argmax(axis=1) == target["labels"])
    return {"overlap": np.mean(overlaps), "class": np.mean(right)}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "backbone": f"a ResNet of 6 convolutions that named pixels for {yolo_shapes.TRUNK_STEPS} steps, seed 0, in all",
        "training pictures": "fresh scenes of the train split, 32 a step",
        "metrics": f"on {HELD_OUT} held-out scenes",
        "optimiser": "AdamW, learning rate 2e-3, 30 steps of warm-up, cosine, decay 1e-4, gradients clipped at 1",
        "anchors of version 2, in cells of 8 pixels": anchors(),
    }


CHOICES = {
    "heads": {kind: (head, {"kind": kind}) for kind in ("convolutional", "connected", "version 2")},
}
