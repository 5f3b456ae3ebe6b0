"""What depth does: deeper plain networks are worse, shortcuts mend it, stochastic depth; gradients at the start.

Plain and residual networks of 20 and 56 layers on crops of generated scenes and on handwritten digits, with the error on
the training and on held-out pictures. `results` reads what was measured; scripts/run_ablations.py measures it again.
Not here: the networks (models/cifar_resnet.py), the figures (viz/depth.py).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import analysis, ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, digits, shapes
from minivis.models import CifarResNet, ODENet
from minivis.train import fit

__all__ = ["CHOICES", "crops", "refinable", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = {"scenes": 400, "digits": 350}
CROPS = 2000  # training pictures a seed
HELD_OUT = 500
SIDE = 16  # pixels of a crop
BATCH = 32


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one entry for each seed. Subjects are "scenes", "digits",
        "survival", "refinement" and "gradients". For the first three the metrics are "training error" and "test error",
        each a list along the "steps" of the training. For "refinement" they are "test error" and "test error with rk4",
        along the "steps" into which each block is divided. For "gradients" they are "norms", of the weights of the
        3 x 3 convolutions from the first to the last.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['digits', 'gradients', 'refinement', 'scenes', 'survival']
    """
    return storage.read_json(RESULTS)["results"]


@lru_cache(maxsize=4)
def crops(count, split="train", seed=0):
    """Pictures of one shape each, cut out of generated scenes, and which shape it is.

    Parameters
    ----------
    count : int
        How many.
    split : {"train", "validation", "held-out"}
        As for `data.shapes.Scenes`.
    seed : int
        Which part of the split.

    Returns
    -------
    images : ndarray, shape (count, 3, 16, 16), float32
        In [-1, 1].
    labels : ndarray, shape (count,), int64
        Which of `data.shapes.THINGS`.

    Examples
    --------
    >>> images, labels = crops(3)
    >>> images.shape, labels.shape
    ((3, 3, 16, 16), (3,))
    """
    scenes = shapes.Scenes(count, split, seed, objects=1, sample=_crop)
    pairs = [scenes[i] for i in range(count)]
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs])


def _crop(scene):
    """The square around the object, a fifth larger than its box, in the size of a crop."""
    size = scene.image.shape[1]
    x, y, width, height = scene.boxes[0] * size
    half = 0.6 * max(width, height)
    rows, columns = (
        slice(max(0, round(middle - half)), min(size, round(middle + half))) for middle in (y, x)
    )
    cut = ops.interpolate(scene.image[None, :, rows, columns], (SIDE, SIDE), mode="bilinear")[0]
    return 2 * cut - 1, scene.label


def on_scenes(out, seed, depth, residual=True, survival=1.0, count=CROPS):
    """Errors of a network during its training on crops of scenes."""
    train = crops(count, "train", seed)
    model = CifarResNet(
        depth, 8, len(shapes.THINGS), residual=residual, survival=survival, rng=np.random.default_rng(seed)
    )
    return _errors(model, train, crops(HELD_OUT, "held-out"), STEPS["scenes"], 0.1, seed)


def on_digits(out, seed, depth, residual=True):
    """Errors of a network during its training on digits of 8 x 8 pixels."""
    model = CifarResNet(depth, 16, 10, channels=1, residual=residual, rng=np.random.default_rng(seed))
    return _errors(model, digits.load("train"), digits.load("held-out"), STEPS["digits"], 0.05, seed)


def gradients(out, seed, activation, residual, norm):
    """Lengths of the gradients of all 3 x 3 convolutions of an untrained network with 56 layers."""
    options = {"activation": activation, "residual": residual, "norm": norm}
    model = CifarResNet(56, 8, len(shapes.THINGS), **options, rng=np.random.default_rng(seed))
    images, labels = (part[:BATCH] for part in crops(CROPS, "train", seed))
    found = analysis.gradient_norms(model, lambda m: ops.cross_entropy(m(images), labels))
    return {"norms": [length for name, length in found.items() if name.endswith("conv.weight")]}


def refinable(seed=0, steps=200):
    """Train a residual network on digits, in a few seconds, whose steps can be refined afterwards.

    Parameters
    ----------
    seed : int, default 0
        Of the starting values and the order of the digits.
    steps : int, default 200
        Training steps.

    Returns
    -------
    ODENet
        With ten blocks, each trained as one step of Euler's method. ``model(images, steps=2)`` makes two steps of half
        the size of each, with the same weights.
    """
    rng = np.random.default_rng(seed)
    model = ODENet(blocks=10, width=16, rng=rng)
    schedule = optim.cosine(steps, warmup_steps=min(20, steps // 2))
    optimizer = optim.AdamW(optim.decay_groups(model, 0.01), lr=3e-3, schedule=schedule)
    fit(model, _batches(digits.load("train"), rng), _loss, optimizer, steps)
    return model


def refinement(out, seed):
    """Errors on held-out digits when each step of the trained network is divided into smaller ones."""
    model = refinable(seed)
    images, labels = digits.load("held-out")
    counts = [1, 2, 4, 8]
    found = {"steps": counts, "test error": [_error(model, images, labels, steps=n) for n in counts]}
    runge_kutta = [_error(model, images, labels, steps=n, method="rk4") for n in counts]
    return {**found, "test error with rk4": runge_kutta}


def _batches(pictures, rng):
    pairs = list(zip(*pictures, strict=True))
    return DataLoader(pairs, BATCH, shuffle=True, drop_last=True, rng=rng)


def _errors(model, train, test, steps, lr, seed):
    """Train with SGD and momentum; return the errors on (some) training and held-out pictures along the way."""

    def evaluate(model):
        some = tuple(part[:HELD_OUT] for part in train)
        return {"training error": _error(model, *some), "test error": _error(model, *test)}

    schedule = optim.cosine(steps, warmup_steps=min(20, steps // 2))
    optimizer = optim.SGD(optim.decay_groups(model, 1e-4), lr=lr, momentum=0.9, schedule=schedule)
    loader = _batches(train, np.random.default_rng(seed))
    history = fit(model, loader, _loss, optimizer, steps, evaluate=evaluate, every=max(1, steps // 10))
    return {"steps": history["step"], **{name: history[name] for name in ("training error", "test error")}}


def _loss(model, images, labels):
    return ops.cross_entropy(model(images), labels)


def _error(model, images, labels, **options):
    """The share of pictures that get a wrong class; the options are those of the model's call."""
    with no_grad():
        parts = [model(images[i : i + 100], **options).numpy() for i in range(0, len(images), 100)]
    return float((np.concatenate(parts).argmax(axis=1) != labels).mean())


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "training pictures": f"{CROPS} crops a seed of {SIDE} x {SIDE} pixels (survival: 400), all 1437 digits; {BATCH} a step",
        "errors": f"on {HELD_OUT} training pictures; {HELD_OUT} held-out crops, 360 held-out digits",
        "optimiser": "SGD, momentum 0.9, learning rate 0.1 (digits 0.05), 20 steps of warm-up, cosine, decay 1e-4",
        "networks": "CifarResNet, width 8 (digits 16); gradients: of 32 crops at the start, 56 layers; refinement: ODENet",
    }


def _both(function, **options):
    return {
        f"{kind} {depth}": (function, {"depth": depth, "residual": kind == "residual", **options})
        for kind in ("plain", "residual")
        for depth in (20, 56)
    }


CHOICES = {
    "scenes": _both(on_scenes),
    "digits": _both(on_digits),
    "survival": {
        "all blocks": (on_scenes, {"depth": 56, "count": 400}),
        "last block survives with 0.5": (on_scenes, {"depth": 56, "count": 400, "survival": 0.5}),
    },
    "refinement": {"ten blocks": (refinement, {})},
    "gradients": {
        f"{kind}, {activation}" + (", batch norm" if norm else ""): (
            gradients,
            {"activation": activation, "residual": kind == "residual", "norm": norm},
        )
        for activation, norm in (("sigmoid", False), ("relu", False), ("relu", True))
        for kind in ("plain", "residual")
    },
}
