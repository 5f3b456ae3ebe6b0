"""The small trainings that `minivis train NAME` runs: one file each, to be read as the model of a training script.

Not here: the loop (train.py), the networks (models/), the notebooks that explain them.
"""

import contextlib
import importlib

from minivis.files import as_path

__all__ = ["names", "run"]

RECIPES = (
    "cnn-digits",
    "detr-panoptic-shapes",
    "detr-shapes",
    "mask2former-shapes",
    "swin-shapes",
    "vit-digits",
    "vit-scattered-digits",
)


def names():
    """The recipes there are.

    Returns
    -------
    list of str
        Names for `run` and for ``minivis train``.

    Examples
    --------
    >>> names()[:3]
    ['cnn-digits', 'detr-panoptic-shapes', 'detr-shapes']
    """
    return sorted(RECIPES)


def run(name, out=None, seed=0, steps=None, resume=False):
    """Train what a recipe trains, write the results, and print how good it is.

    Parameters
    ----------
    name : str
        One of `names`.
    out : str or path, optional
        Folder for the results; ``runs/NAME`` by default. A folder with an earlier run is not overwritten.
    seed : int, default 0
        Of the starting weights, the order of the data and its random changes.
    steps : int, optional
        Optimiser steps; by default as many as the recipe says.
    resume : bool, default False
        Go on from the checkpoint in `out`, if there is one.

    Returns
    -------
    dict
        What ``metrics.json`` holds: metric, value (0 to 1), n, seconds, seed, ...

    Raises
    ------
    ValueError
        If there is no recipe of that name, or what is in `out` was trained with other settings.
    OSError
        If `out` cannot be written to (found out before training), or holds an earlier run that is not to be resumed.
    """
    if name not in RECIPES:
        raise ValueError(f"recipes: no recipe {name!r}; there are: {', '.join(names())}")
    recipe = importlib.import_module(f"minivis.recipes.{name.replace('-', '_')}")
    options = {} if steps is None else {"steps": steps}
    with _one_thread():
        return recipe.run(as_path(out or f"runs/{name}"), seed=seed, resume=resume, **options)


def _one_thread():
    """Let BLAS use one core: products this small gain nothing from more, and one adds up alike on every machine."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # it comes with scikit-learn, whose absence the data tell better
        return contextlib.nullcontext()
    return threadpool_limits(1)
