"""What Segmenter's choices are worth: the size of a patch, the decoder, the number of training scenes.

All networks are the small one of segmenter_shapes.py and train for the same number of steps. The task is easier than that of
the recipe, things against three grounds, because so few steps do not teach the shapes. `results` reads what was measured;
scripts/run_ablations.py measures it again.
Not here: the training and the checkpoint (segmenter_shapes.py), IoU by the size of things (_segments.py).
"""

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.metrics import confusion_matrix, mean_iou
from minivis.recipes import _segments, _shapes, segmenter_shapes
from minivis.train import fit

__all__ = ["CHOICES", "best_of_cells", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = 300
BATCH = 16
FRESH = STEPS * BATCH  # scenes, each used once
HELD_OUT = 200
KINDS = ("thing", *shapes.STUFF)


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one entry for each seed. Subjects: "patch", and with patches of 8
        pixels "decoder" and "data" (how many training scenes).
        Metrics: "mIoU" of things and three grounds; "small" and "large", the IoU of small and of large things; "seconds"
        of processor time of the training.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results()["patch"])
    ['16', '4', '8']
    """
    return storage.read_json(RESULTS)["results"]


def train(out, seed, patch_size=8, decoder="mask", scenes=FRESH):
    """Train one choice with one seed, and measure it on validation scenes."""
    rng = np.random.default_rng(seed)
    model = segmenter_shapes.small_segmenter(rng, patch_size, decoder, len(KINDS))
    schedule = optim.one_cycle(STEPS, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=segmenter_shapes.RATE, schedule=schedule)
    pool = _pool(FRESH, seed)[:scenes]
    batches = DataLoader(pool, BATCH, shuffle=True, drop_last=True, rng=rng, collate=stack)
    start = time.process_time()
    fit(model, batches, _shapes.classify, optimizer, STEPS, clip=1.0)
    seconds = time.process_time() - start
    return {**measured(model), "seconds": seconds}


@lru_cache(maxsize=1)
def _pool(count, seed):
    """The training scenes that the choices share."""
    return list(shapes.Scenes(count, "train", 2000 + seed, sample=_with_kinds))


def _kind(label):
    """Which of `KINDS` a class is: all things are one."""
    return np.maximum(label - len(shapes.THINGS) + 1, 0)


def _with_kinds(scene):
    return scene.image, _kind(scene.semantic)


def measured(model):
    """The metrics that `results` describes, on validation scenes."""
    scenes = _shapes.fresh_scenes(HELD_OUT, split="validation")
    answers = []
    for start in range(0, HELD_OUT, 50):
        images = np.stack([scenes.scene(i).image for i in range(start, min(start + 50, HELD_OUT))])
        with no_grad():
            answers.extend(model(images).numpy().argmax(axis=1))
    return _scores(answers, scenes)


def best_of_cells(patch_size):
    """What maps of cells could reach: the true share of each kind in each cell, enlarged as the model enlarges its scores.

    Parameters
    ----------
    patch_size : int
        Pixels of a cell's side.

    Returns
    -------
    dict of str to float
        "mIoU", "small" and "large", as in `results`.

    Examples
    --------
    >>> best_of_cells(16)["small"] < best_of_cells(4)["small"]
    True
    """
    scenes = _shapes.fresh_scenes(HELD_OUT, split="validation")
    answers = []
    for i in range(HELD_OUT):
        there = np.eye(len(KINDS), dtype=np.float32)[_kind(scenes.scene(i).semantic)].transpose(2, 0, 1)[None]
        cells = ops.avg_pool2d(there, patch_size)
        answers.append(ops.interpolate(cells, there.shape[2:], mode="bilinear")[0].argmax(axis=0))
    return _scores(answers, scenes)


def _scores(answers, scenes):
    counted = np.zeros((len(KINDS),) * 2, np.int64)
    sizes = np.zeros((2, 2), np.int64)
    for i, named in enumerate(answers):
        scene = scenes.scene(i)
        counted += confusion_matrix(named, _kind(scene.semantic), len(KINDS))
        sizes += _segments.iou_by_size(named, scene, _kind)
    (small, large) = sizes[:, 0] / sizes[:, 1]
    return {"mIoU": mean_iou(counted), "small": float(small), "large": float(large)}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "training scenes": f"{FRESH}, {BATCH} a step, each used once, unless the choice has fewer",
        "task": "things against grass, sand and water",
        "metrics": f"on {HELD_OUT} validation scenes; small things have at most {_segments.SMALL} visible pixels, large ones at "
        f"least {_segments.LARGE}",
        "optimiser": f"AdamW, learning rate {segmenter_shapes.RATE}, one cycle, decay 0.05, gradients clipped at 1",
        "best of cells": {size: best_of_cells(size) for size in (4, 8, 16)},
    }


CHOICES = {
    "patch": {str(size): (train, {"patch_size": size}) for size in (4, 8, 16)},
    "decoder": {
        "mask": (train, {"patch_size": 8}),
        "linear": (train, {"patch_size": 8, "decoder": "linear"}),
    },
    "data": {
        "250": (train, {"patch_size": 8, "scenes": 250}),
        "1000": (train, {"patch_size": 8, "scenes": 1000}),
        "fresh": (train, {"patch_size": 8}),
    },
}
