"""The small trainings that `minivis train NAME` runs: one file each, as an example of a training script.

Not here: the training loop (train.py), the networks (models/), the notebooks that explain them.
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
    "sagan-digits",
    "swin-shapes",
    "vit-digits",
    "vit-scattered-digits",
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
    ['cnn-digits', 'detr-panoptic-shapes', 'detr-shapes']
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
    if name not in RECIPES:
        raise ValueError(f"recipes: no recipe {name!r}; there are: {', '.join(names())}")
    recipe = importlib.import_module(f"minivis.recipes.{name.replace('-', '_')}")
    options = {} if steps is None else {"steps": steps}
    with _one_thread():
        return recipe.run(as_path(out or f"runs/{name}"), seed=seed, resume=resume, **options)


def _one_thread():
    """Limit BLAS to one thread: more do not help such small products, and the order of sums would depend on their number."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # it comes with scikit-learn; without that, loading the data raises a clearer error
        return contextlib.nullcontext()
    return threadpool_limits(1)
