"""`minivis train unet-shapes`: a small U-Net learns to name every pixel of generated scenes, from scratch.

`compare` measures what the connections between way down and way up are worth, and what the weights of borders are worth;
`results` reads what it measured.
Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/unet.py), the loop (train.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.models import UNet
from minivis.recipes import _shapes, _studies
from minivis.train import fit
from minivis.vision import border_weights

__all__ = ["compare", "measure", "measure_gaps", "results", "run", "small_unet"]

RESULTS = Path(__file__).with_suffix(".json")

STEPS = 3000
WIDTHS = (10, 20, 48, 96, 96)  # few channels where maps are large, which is where the time goes
BATCH = 16
COMPARED = 300  # steps of each network of the comparisons
SEEDS = (0, 1, 2)
W0, SIGMA = 10.0, 2.0  # the paper's sigma is 5 pixels, in images eight times as wide as these scenes


def small_unet(rng=None, **options):
    """The model: maps of 64 x 64 down to 4 x 4 cells, padded, with batch norm; 0.7 million parameters."""
    options = {"padded": True, "norm": "batch", "dropout": 0.0, **options}
    return UNet(WIDTHS, len(shapes.CLASSES), channels=3, rng=rng, **options)


def measure(model, count=None, seed=None):
    """Mean IoU over the nine classes; see `recipes.measure`."""
    return _shapes.with_value("mIoU", _shapes.measure_pixels(model, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the mIoU; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "unet-shapes", "seed": seed}
    model = small_unet(rng)

    def evaluate(model):
        return {"validation mIoU": _shapes.measure_pixels(model, 100, "validation")["mIoU"]}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=3e-3, schedule=schedule)
    batches = _shapes.loader(steps, BATCH, rng, seed, _shapes.with_pixels, stack)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)
    seconds = {"pixels": history["seconds"][-1]}
    return _shapes.write_report(
        model, out, "mIoU", _shapes.measure_pixels(model), seconds, steps=steps, **facts
    )


# ------------------------------------------------------------------ what its parts are worth


def compare(out, seeds=SEEDS):
    """Train small U-Nets with and without skip connections, and with and without border weights, and measure them.

    Parameters
    ----------
    out : str or path
        Folder for the results of single runs. Those that are there already are only read.
    seeds : sequence of int
        Seeds of the starting values, and of the scenes and their order.

    Returns
    -------
    dict
        ``found[what][form]`` has lists with a number for each seed: ``mIoU`` of all nine classes for the forms of
        ``"skips"``; ``gaps`` and ``elsewhere`` of `measure_gaps` for the forms of ``"borders"``.
    """
    forms = {
        "skips": {"with skips": (_skips, {"skips": True}), "without": (_skips, {"skips": False})},
        "borders": {
            "every pixel alike": (_borders, {"weighted": False}),
            "border weights": (_borders, {"weighted": True}),
        },
    }
    found = {}
    for what, trainings in forms.items():
        found[what] = {}
        for form, training in trainings.items():
            rows = [_studies.once(out, *training, seed) for seed in seeds]
            found[what][form] = {name: [row[name] for row in rows] for name in rows[0]}
    return found


def _skips(out, seed, skips):
    model = small_unet(np.random.default_rng(seed), skips=skips)
    _fit(model, _shapes.with_pixels, _shapes.classify, seed)
    return _shapes.measure_pixels(model, split="validation")


def _borders(out, seed, weighted):
    options = {"padded": True, "norm": "batch", "dropout": 0.0, "channels": 3}
    model = UNet((8, 16, 32), 2, **options, rng=np.random.default_rng(seed))
    _fit(model, with_gaps, _by_weight if weighted else _every_pixel, seed)
    return measure_gaps(model, split="validation")


def _fit(model, sample, loss, seed):
    schedule = optim.one_cycle(COMPARED, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=3e-3, schedule=schedule)
    batches = _shapes.loader(COMPARED, BATCH, np.random.default_rng(seed), 1000 + seed, sample, stack)
    fit(model, batches, loss, optimizer, COMPARED, clip=1.0)


def with_gaps(scene):
    """A sample for telling objects from the ground, with a gap of ground drawn between objects that touch.

    Parameters
    ----------
    scene : Scene
        A scene of `minivis.data.shapes`.

    Returns
    -------
    tuple of ndarray
        The image (3, H, W); int64 (H, W): 1 for objects, 0 for the ground and for pixels of an object that lie beside
        another object; float32 (H, W): `border_weights`; boolean (H, W): the pixels of the gaps.
    """
    objects = np.where(scene.panoptic <= len(scene.labels), scene.panoptic, 0)  # the grounds are one
    gaps = np.zeros(objects.shape, bool)
    for axis in (0, 1):
        lines = np.moveaxis(objects, axis, 0)
        touch = (lines[:-1] != lines[1:]) & (lines[:-1] > 0) & (lines[1:] > 0)
        along = np.moveaxis(gaps, axis, 0)  # a view
        along[:-1] |= touch
        along[1:] |= touch
    labels = np.where(gaps, 0, objects)
    return scene.image, (labels > 0).astype(np.int64), border_weights(labels, W0, SIGMA), gaps


def _every_pixel(model, images, there, weights, gaps):
    return ops.cross_entropy(model(images), there)


def _by_weight(model, images, there, weights, gaps):
    return ops.mean(ops.cross_entropy(model(images), there, reduction="none") * weights)


def measure_gaps(model, count=None, split="held-out", seed=None):
    """How many pixels of gaps between touching objects a model keeps open, and how many other pixels are right.

    Parameters
    ----------
    model : Module
        Images to logits (B, 2, H, W) of ground and objects.
    count, seed : int, optional
        As for `recipes.measure`.
    split : str
        As for `data.shapes.Scenes`.

    Returns
    -------
    dict of str to float
        ``gaps``: the share of the pixels of gaps that the model takes for ground. ``elsewhere``: the share of the other
        pixels that are right.
    """
    right = np.zeros(2)
    there = np.zeros(2)
    for images, objects, _, gaps in DataLoader(
        _shapes.fresh_scenes(count, seed, split, sample=with_gaps), 50
    ):
        with no_grad():
            hits = model(images).numpy().argmax(axis=1) == objects
        for place, where in enumerate((gaps, ~gaps)):
            right[place] += hits[where].sum()
            there[place] += where.sum()
    gaps, elsewhere = right / there
    return {"gaps": float(gaps), "elsewhere": float(elsewhere)}


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
    ['borders', 'skips']
    """
    return storage.read_json(RESULTS)["results"]
