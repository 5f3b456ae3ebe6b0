"""The small trainings that `minivis train NAME` runs: one file each, as an example of a training script.

Not here: the training loop (train.py), the networks (models/), the notebooks that explain them.
"""

import contextlib
import importlib

from minivis import storage
from minivis.files import as_path
from minivis.recipes import _notes

__all__ = ["measure", "names", "one_thread", "run"]

RECIPES = (
    "clip-shapes",
    "cnn-digits",
    "detr-panoptic-shapes",
    "detr-shapes",
    "dino-digits",
    "faster-rcnn-shapes",
    "fcn-shapes",
    "lenet-digits",
    "local-attention-shapes",
    "mae-shapes",
    "mask-rcnn-shapes",
    "mask2former-shapes",
    "maskformer-shapes",
    "mlm-captions",
    "non-local-films",
    "sagan-digits",
    "segmenter-shapes",
    "setr-shapes",
    "sam-shapes",
    "swin-shapes",
    "unet-shapes",
    "vit-digits",
    "vit-scattered-digits",
    "vivit-films",
    "yolo-shapes",
)


def names():
    """The names of all recipes.

    Returns
    -------
    list of str
        Names for `run` and for ``minivis train``.

    Examples
    --------
    >>> names()[:3]
    ['clip-shapes', 'cnn-digits', 'detr-panoptic-shapes']
    """
    return sorted(RECIPES)


def run(name, out=None, seed=0, steps=None, resume=False):
    """Train the model of a recipe, write the results, and print its score.

    Parameters
    ----------
    name : str
        One of `names`.
    out : str or path, optional
        Folder for the results; ``runs/NAME`` by default. A folder with an earlier run is not overwritten.
    seed : int, default 0
        Seed of the starting weights, the order of the data and its random changes.
    steps : int, optional
        Optimiser steps; default: the number in the recipe.
    resume : bool, default False
        Continue from the checkpoint in `out`, if there is one.

    Returns
    -------
    dict
        The contents of ``metrics.json``: metric, value (0 to 1), n, seconds, seed, ...

    Raises
    ------
    ValueError
        If there is no recipe of that name, or the checkpoint in `out` was trained with other settings.
    OSError
        If `out` cannot be written to (checked before training), or holds an earlier run and `resume` is False.
    """
    recipe = _recipe(name)
    options = {} if steps is None else {"steps": steps}
    out = as_path(out or f"runs/{name}")
    with one_thread():
        metrics = recipe.run(out, seed=seed, resume=resume, **options)
    _notes.add_notes(name, out)
    return metrics


def measure(name, count=500, seed=None):
    """Measure the model of a recipe that comes with minivis, on pictures that it was not trained on.

    Parameters
    ----------
    name : str
        One of `names`.
    count : int, default 500
        Number of pictures, at least 4 for ``sagan-digits``. Of the held-out digits there are 360: a larger number takes
        all of them.
    seed : int, optional
        Measure on other pictures than those of the model's card, for a figure that nobody has chosen anything by: other
        scenes, or the same digits changed a little at random.

    Returns
    -------
    dict of str to float
        ``value``, the figure that the recipe is judged by, as a share from 0 to 1, or for ``mlm-captions`` in nats above the
        least that is possible; then others, such as ``AP``, ``mIoU``.

    Raises
    ------
    ValueError
        If there is no recipe of that name, or the count or the seed is not possible.

    Examples
    --------
    >>> measure("cnn-digits", count=100)["value"] > 0.95
    True
    """
    recipe = _recipe(name)
    if not hasattr(count, "__index__") or count < 1:
        raise ValueError(f"recipes: count must be a whole number of at least 1, got {count!r}")
    if seed is not None and (not hasattr(seed, "__index__") or seed < 0):
        raise ValueError(f"recipes: seed must be None or a whole number of at least 0, got {seed!r}")
    with one_thread():
        found = recipe.measure(storage.load(name), count, seed)
    return {figure: float(value) for figure, value in found.items()}


def _recipe(name):
    if name not in RECIPES:
        raise ValueError(f"recipes: no recipe {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"minivis.recipes.{name.replace('-', '_')}")


def one_thread():
    """Limit BLAS to one thread while a training runs: ``with one_thread(): ...``.

    More threads do not help such small products, and the order of sums, so the last bits, would depend on their number.

    Returns
    -------
    context manager
        Inside the block there is one thread; afterwards there are as many as before.

    Examples
    --------
    >>> with one_thread():
    ...     pass
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # it comes with scikit-learn; without that, loading the data raises a clearer error
        return contextlib.nullcontext()
    return threadpool_limits(1)
