"""Starting values of parameters, drawn on the CPU from an explicit generator, so that they are the same on every device.

Not here: which layer uses which starting values; see its docstring.
"""

import math

import numpy as np

from minivis.randomness import generator
from minivis.switches import Switch

__all__ = [
    "at_most",
    "generator",
    "kaiming_normal",
    "kaiming_uniform",
    "ones",
    "skip_init",
    "trunc_normal",
    "uniform",
    "xavier_uniform",
    "zeros",
]

LARGEST_SIZE = 2**20  # no size in a vision model is larger; a limit for sizes that are read from a file

_skipping = Switch("minivis_skip_init")
_limits = Switch("minivis_at_most")


def check_sizes(layer, **sizes):
    """Raise if a size, or a number in a tuple or list of sizes, is not a whole number of at least 1."""
    for name, size in sizes.items():
        numbers = size if isinstance(size, (tuple, list)) else [size]
        if not all(hasattr(n, "__index__") and n >= 1 for n in numbers):
            raise ValueError(f"{layer}: {name} must be a whole number of at least 1, got {size!r:.100}")
        if _limits.is_on() and (len(numbers) > 1000 or sum(numbers) > LARGEST_SIZE):
            raise ValueError(
                f"{layer}: {name} is {size!r:.100}: the file is too small for a model of that size"
            )


def skip_init():
    """Inside the block, random starting values are all 0, cost neither time nor memory, and cannot be written to.

    This is for models whose parameters are only counted, or whose weights are assigned right after. Biases and running
    statistics, which start at 0 or 1 anyway, are made as usual.

    Returns
    -------
    context manager
        Blocks may be left in any order; see ``minivis.switches.Switch``. It can also decorate a function.

    Examples
    --------
    >>> with skip_init():
    ...     print(xavier_uniform((1, 2), np.random.default_rng(0)))
    [[0. 0.]]
    """
    return _skipping.on()


def at_most(arrays, numbers):
    """Inside the block, making a model that needs far more arrays or numbers than a file has raises an error.

    This is for a model description that comes with a weights file and may be wrong. The error comes before memory is
    allocated.

    Parameters
    ----------
    arrays, numbers : int
        How many arrays the file has, and how many numbers in all of them. The limit is a little over four times that, so
        that a model that is only a little too large is made, and a later check can name the arrays that do not fit.

    Returns
    -------
    context manager
        As for `skip_init`.

    Raises
    ------
    ValueError
        Inside the block, by the layer that exceeds the limit.

    Examples
    --------
    >>> with at_most(arrays=2, numbers=100):
    ...     zeros((10_000, 10_000))
    Traceback (most recent call last):
    ValueError: init: the model would have far more than the 2 arrays with 100 numbers that its file holds
    """
    return _limits.on(_Limit(arrays, numbers))


class _Limit:
    """The arrays and numbers that may still be made."""

    def __init__(self, arrays, numbers):
        self.file = f"{arrays} arrays with {numbers:,} numbers"
        self.arrays = 4 * arrays + 200
        self.numbers = 4 * numbers + LARGEST_SIZE

    def take(self, shape):
        self.arrays -= 1
        self.numbers -= math.prod(shape)
        if self.arrays < 0 or self.numbers < 0:
            raise ValueError(f"init: the model would have far more than the {self.file} that its file holds")


def zeros(shape, rng=None):
    """All 0.

    Parameters
    ----------
    shape : tuple of int
        Shape of the parameter.
    rng : optional
        Not used. It is there so that `zeros` can be passed where a random initialiser can.

    Returns
    -------
    ndarray of float32
    """
    _count(shape)
    return np.zeros(shape, np.float32)


def ones(shape, rng=None):
    """All 1.

    Parameters
    ----------
    shape, rng
        As for `zeros`.

    Returns
    -------
    ndarray of float32
    """
    _count(shape)
    return np.ones(shape, np.float32)


def uniform(shape, bound, rng):
    """Uniform values in [-bound, bound), float32.

    Parameters
    ----------
    shape : tuple of int
        Shape of the parameter.
    bound : float
        Half the width of the interval.
    rng : numpy.random.Generator
        Draws the values.

    Returns
    -------
    ndarray of float32
    """
    if (placeholder := _placeholder(shape)) is not None:
        return placeholder
    values = rng.random(shape, dtype=np.float32)
    values -= 0.5
    values *= 2 * bound
    return values


def normal(shape, std, rng):
    """Normal values with mean 0 and standard deviation ``std``, float32."""
    if (placeholder := _placeholder(shape)) is not None:
        return placeholder
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= std
    return values


def trunc_normal(shape, std, rng):
    """Normal values with mean 0 and standard deviation ``std``, float32; values beyond 2 ``std`` are drawn again.

    Parameters
    ----------
    shape, rng
        As for `uniform`.
    std : float
        Standard deviation before truncation.

    Returns
    -------
    ndarray of float32
    """
    if (placeholder := _placeholder(shape)) is not None:
        return placeholder
    values = normal(shape, std, rng)
    while (beyond := np.abs(values) > 2 * std).any():
        values[beyond] = normal(int(beyond.sum()), std, rng)
    return values


def xavier_uniform(shape, rng):
    """Uniform within sqrt(6 / (fan_in + fan_out)), which keeps the variance about the same forward and backward.

    Parameters
    ----------
    shape : tuple of int
        Shape of the parameter: (out, in) of a Linear, (out, in, kh, kw) of a Conv2d.
    rng : numpy.random.Generator
        Draws the values.

    Returns
    -------
    ndarray of float32

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, equation 16.
    """
    fan_in, fan_out = _fans(shape)
    return uniform(shape, math.sqrt(6 / (fan_in + fan_out)), rng)


def kaiming_uniform(shape, rng):
    """Uniform within 1 / sqrt(fan_in), the starting values of ``torch.nn.Linear`` and ``Conv2d``.

    Parameters
    ----------
    shape, rng
        As for `xavier_uniform`.

    Returns
    -------
    ndarray of float32
    """
    return uniform(shape, 1 / math.sqrt(_fans(shape)[0]), rng)


def kaiming_normal(shape, rng):
    """Normal with standard deviation sqrt(2 / fan_in), which keeps the variance through ReLU.

    Parameters
    ----------
    shape, rng
        As for `xavier_uniform`.

    Returns
    -------
    ndarray of float32

    References
    ----------
    He et al., "Delving deep into rectifiers", ICCV 2015, equation 10.
    """
    return normal(shape, math.sqrt(2 / _fans(shape)[0]), rng)


def _count(shape):
    """Inside `at_most`, count an array of this shape."""
    for limit in _limits.values():
        limit.take(shape)


def _placeholder(shape):
    """Inside `skip_init`, read-only zeros that share one element, so any shape costs four bytes. Otherwise None."""
    _count(shape)
    return np.broadcast_to(np.float32(0), shape) if _skipping.is_on() else None


def _fans(shape):
    """Fan-in and fan-out of a weight (out, in, *kernel): inputs to each output, and outputs from each input."""
    kernel = math.prod(shape[2:])
    return max(1, shape[1] * kernel), max(1, shape[0] * kernel)
