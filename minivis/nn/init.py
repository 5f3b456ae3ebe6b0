"""Starting values for parameters, drawn on the CPU from an explicit generator, so that every device starts alike.

Not here: which layer uses which; each says so in its docstring.
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

MOST = 2**20  # no size of a vision model is larger: for sizes that a file claims

_skipping = Switch("minivis_skip_init")
_limits = Switch("minivis_at_most")


def check_sizes(layer, **sizes):
    """Refuse a size that is no whole number of at least 1; several numbers in a tuple or list."""
    for name, size in sizes.items():
        numbers = size if isinstance(size, (tuple, list)) else [size]
        if not all(hasattr(n, "__index__") and n >= 1 for n in numbers):
            raise ValueError(f"{layer}: {name} must be a whole number of at least 1, got {size!r:.100}")
        if _limits.is_on() and (len(numbers) > 1000 or sum(numbers) > MOST):
            raise ValueError(f"{layer}: {name} is {size!r:.100}: no model of that size is in so small a file")


def skip_init():
    """Inside, random starting values are all 0 and cost neither time nor memory: for models that are only counted, or
    whose weights are put in their place right after. They cannot be written into. What begins with zeros or ones anyway,
    biases and running statistics, is as ever.

    Returns
    -------
    context manager
        Blocks may be left in any order; see ``minivis.switches.Switch``. It also decorates functions.

    Examples
    --------
    >>> with skip_init():
    ...     print(xavier_uniform((1, 2), np.random.default_rng(0)))
    [[0. 0.]]
    """
    return _skipping.on()


def at_most(arrays, numbers):
    """Inside, a model that asks for far more arrays, or numbers in them, than a file holds is refused while it is made.

    For a description that lies beside the weights: it is believed only as far as they go, and before memory is taken.

    Parameters
    ----------
    arrays, numbers : int
        How many arrays the file has, and how many numbers in all of them. Four times that, and a little more, is let
        through, so that a model that is only a little off can be told by name what does not fit.

    Returns
    -------
    context manager
        As for `skip_init`.

    Raises
    ------
    ValueError
        Inside, by whatever asks for too much.

    Examples
    --------
    >>> with at_most(arrays=2, numbers=100):
    ...     zeros((10_000, 10_000))
    Traceback (most recent call last):
    ValueError: init: the model would have far more than the 2 arrays with 100 numbers that its file holds
    """
    return _limits.on(_Limit(arrays, numbers))


class _Limit:
    """What may still be asked for."""

    def __init__(self, arrays, numbers):
        self.file = f"{arrays} arrays with {numbers:,} numbers"
        self.arrays = 4 * arrays + 200
        self.numbers = 4 * numbers + MOST

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
        Not asked: it is there so that this can stand where random values can.

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
        Where the values come from.

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
    """Normal values with mean 0 and standard deviation ``std``, those beyond two of them drawn again, float32.

    Parameters
    ----------
    shape, rng
        As for `uniform`.
    std : float
        Standard deviation before the ends are cut off.

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
    """Keep the variance the same forward and backward: uniform within sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    shape : tuple of int
        Shape of the parameter: (out, in) of a Linear, (out, in, kh, kw) of a Conv2d.
    rng : numpy.random.Generator
        Where the values come from.

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
    """Uniform within 1 / sqrt(fan_in): what ``torch.nn.Linear`` and ``Conv2d`` start from.

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
    """Keep the variance through ReLU: normal with standard deviation sqrt(2 / fan_in).

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
    """Inside `at_most`, take a shape from what is left."""
    for limit in _limits.values():
        limit.take(shape)


def _placeholder(shape):
    """Inside `skip_init`, zeros that share one element: any shape costs four bytes. Read-only. Outside, None."""
    _count(shape)
    return np.broadcast_to(np.float32(0), shape) if _skipping.is_on() else None


def _fans(shape):
    """How many numbers go into an output, and how many outputs an input reaches: (out, in, *kernel)."""
    reach = math.prod(shape[2:])
    return max(1, shape[1] * reach), max(1, shape[0] * reach)
