"""What ``rng`` means wherever minivis draws a random number: a generator, a seed, or nothing.

Not here: the drawing of starting values (nn/init.py), of dropout (ops/), of data (data/).
"""

import numpy as np

__all__ = ["generator"]

SEED = 0  # what rng=None means, everywhere in minivis


def generator(rng=None):
    """The generator to draw from: ``rng`` itself, or a fresh ``numpy.random.default_rng(0)`` for None.

    Layers that are made with ``rng=None`` one by one start from the same stream; give several layers of a model one
    generator, as the models do.

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
