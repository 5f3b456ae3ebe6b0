"""`minivis train fcn-shapes`: a small fully convolutional network names every pixel of a generated scene.

Its three score maps have strides of 16, 8 and 4 pixels, as those of FCN-32s, FCN-16s and FCN-8s have 32, 16 and 8 in
pictures that are larger. `compare` trains the three forms from one backbone; `results` reads what it measured.
Not here: the shared part of the recipes on scenes (_shapes.py), the network (models/fcn.py), the loop (train.py).
"""

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.metrics import confusion_matrix, mean_iou
from minivis.models import SkipFCN
from minivis.recipes import _shapes, _studies
from minivis.recipes.local_attention_shapes import outlines
from minivis.train import fit

__all__ = ["FORMS", "compare", "measure_borders", "results", "small_fcn"]

RESULTS = Path(__file__).with_suffix(".json")
STEPS = 4000
SEEDS = (0, 1, 2)
COMPARED = {"steps": 250, "batch_size": 16, "scenes": 1600}
# the stride of the finest scores -> how many finer maps are added to the coarsest
FORMS = {"stride 16": 0, "stride 8": 1, "stride 4": 2}


def small_fcn(backbone, rng, skips=2):
    """The model: the backbone with a third stage of stride 16, and scores from three maps; 0.5 million parameters.

    Parameters
    ----------
    backbone : ResNet
        Of two stages, with strides of 4 and 8; its weights are taken over.
    rng : numpy.random.Generator
        Draws the starting values of the third stage.
    skips : int, default 2
        How many finer maps add their scores to the coarsest, see `SkipFCN`.

    Returns
    -------
    SkipFCN
        Images (B, 3, H, W) to the logits (B, 9, H, W) of `data.shapes.CLASSES`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model = small_fcn(_shapes.small_backbone(rng, widths=(16, 24)), rng)
    >>> model(np.zeros((1, 3, 64, 64), np.float32)).shape
    (1, 9, 64, 64)
    """
    deeper = _shapes.small_backbone(rng, (1, 2, 1), (*backbone.channels, backbone.channels[-1]))
    deeper.load_state_dict({**deeper.state_dict(), **backbone.state_dict()})
    return SkipFCN(deeper, len(shapes.CLASSES), skips, rng=rng)


def measure(model, count=None, seed=None):
    """Mean IoU, and the shares of right pixels; see `recipes.measure`."""
    return _shapes.with_value("mIoU", measure_borders(model, count, seed=seed))


def measure_borders(model, count=None, split="held-out", seed=None):
    """Mean IoU, and the shares of right pixels at the outlines of objects and elsewhere, on scenes not used in training.

    Parameters
    ----------
    model : Module
        Images to logits (B, 9, H, W).
    count, seed : int, optional
        As for `recipes.measure`.
    split : str
        As for `data.shapes.Scenes`.

    Returns
    -------
    dict of str to float
        ``mIoU``; ``at borders``: the share of right pixels among those next to a pixel of another object or of none;
        ``elsewhere``: among the others.
    """
    counted = np.zeros((2, len(shapes.CLASSES), len(shapes.CLASSES)), np.int64)  # elsewhere, at borders
    for images, classes, border in DataLoader(_shapes.fresh_scenes(count, seed, split, sample=_bordered), 50):
        with no_grad():
            named = model(images).numpy().argmax(axis=1)
        for where in (0, 1):
            chosen = border == where
            counted[where] += confusion_matrix(named[chosen], classes[chosen], len(shapes.CLASSES))
    elsewhere, borders = (float(np.trace(part) / part.sum()) for part in counted)
    return {"mIoU": mean_iou(counted.sum(axis=0)), "at borders": borders, "elsewhere": elsewhere}


def _bordered(scene):
    return scene.image, scene.semantic, outlines(scene)[1]


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the mean IoU; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "fcn-shapes", "seed": seed}
    backbone, before = _shapes.trunk(out, max(1, steps * 3 // 8), rng, resume, seed)
    model = small_fcn(backbone, rng)

    def evaluate(model):
        return {"validation mIoU": _shapes.measure_pixels(model, 100, "validation")["mIoU"]}

    seconds = _train(model, steps, rng, seed, out=out, resume=resume, settings=facts, evaluate=evaluate)
    seconds = {"backbone": before, "pixels": seconds}
    return _shapes.write_report(model, out, "mIoU", measure_borders(model), seconds, steps=steps, **facts)


def _train(model, steps, rng, seed, **keep):
    """Train on fresh scenes; returns the seconds."""
    batches = _shapes.loader(steps, 32, rng, seed, _shapes.with_pixels, stack)
    return _fit(model, batches, steps, **keep)


def _fit(model, batches, steps, **keep):
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=2e-3, schedule=schedule)
    return fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)["seconds"][-1]


# ------------------------------------------------------------------ the comparison


def compare(out, forms=tuple(FORMS), seeds=SEEDS):
    """Train each form of the network from each seed and one backbone, and measure it on the validation split.

    Parameters
    ----------
    out : str or path
        Folder for the backbone and the results of single runs. Those that are there already are only read.
    forms : sequence of str
        Names in `FORMS`.
    seeds : sequence of int
        Seeds of the starting values of the third stage, and of the scenes and their order.

    Returns
    -------
    dict
        ``found[form]`` has the lists ``mIoU``, ``at borders``, ``elsewhere`` and ``seconds`` (of one core), with a number
        for each seed.
    """
    runs = {
        (form, seed): _studies.once(out, _form, {"skips": FORMS[form]}, seed)
        for seed in seeds  # the forms share the scenes of a seed
        for form in forms
    }
    found = {}
    for form in forms:
        rows = [runs[form, seed] for seed in seeds]
        found[form] = {name: [row[name] for row in rows] for name in rows[0]}
    return found


def _form(out, seed, skips):
    """One form of the network on the common backbone: what `measure_borders` finds, and the seconds of its training."""
    backbone, _ = _shapes.trunk(out, max(1, STEPS * 3 // 8), np.random.default_rng(0), True, 0)
    rng = np.random.default_rng(seed)
    model = small_fcn(backbone, rng, skips)
    pool = _pool(COMPARED["scenes"], seed)
    batches = DataLoader(pool, COMPARED["batch_size"], shuffle=True, drop_last=True, rng=rng, collate=stack)
    start = time.process_time()
    _fit(model, batches, COMPARED["steps"])
    seconds = time.process_time() - start
    return {**measure_borders(model, split="validation"), "seconds": seconds}


@lru_cache(maxsize=1)
def _pool(count, seed):
    """Training scenes that the forms of the network share: drawing them takes longer than training on them."""
    return list(shapes.Scenes(count, "train", 100 + seed, sample=_shapes.with_pixels))


def results():
    """The measured results of `compare`.

    Returns
    -------
    dict
        As `compare` returns it.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['stride 16', 'stride 4', 'stride 8']
    """
    return storage.read_json(RESULTS)["results"]
