"""The argument ``rng`` of minivis: a generator, a seed, or None.

Not here: code that draws numbers: initial weights (nn/init.py), dropout (ops/), data (data/).
"""

import numpy as np

__all__ = ["generator"]

SEED = 0  # the seed for rng=None, everywhere in minivis


def generator(rng=None):
    """The generator to draw from: ``rng`` itself, or a fresh ``numpy.random.default_rng(0)`` for None.

    Layers that are made with ``rng=None`` one by one get the same random numbers. So give all layers of a model the
    same generator, as the models do.

    Parameters
    ----------
    rng : numpy.random.Generator, int or None
        A generator, a seed, or None for seed 0.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError
        For anything else.
    """
    if rng is None or isinstance(rng, (int, np.integer)):
        return np.random.default_rng(SEED if rng is None else rng)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, a seed or None, got {type(rng).__name__}")
    return rng
