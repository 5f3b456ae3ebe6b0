"""Faster ways to the same: how one is laid over a plain function, and when it is taken.

Not here: the faster ways themselves (fast/), which say when they may be taken and when that pays.
"""

import functools

from minivis.switches import Switch

__all__ = ["Way", "faster", "plain", "with_ways"]

_plain = Switch("minivis_plain")
_NOT_FOR_IT = (AttributeError, IndexError, TypeError, ValueError)  # what a condition raises on odd arguments


class Way:
    """Another way to what a function computes, with the same parameters and the same results.

    Parameters
    ----------
    function : callable
        The way itself.
    may : callable
        Whether it can do these arguments: their device, dtypes, shapes, and what has to be installed.
    pays : callable
        Whether it is worth it: whether they are large enough.
    """

    __slots__ = ("function", "may", "pays")

    def __init__(self, function, may, pays):
        self.function = function
        self.may = may
        self.pays = pays


def with_ways(function):
    """Open a function to faster ways: a call takes the first one that may and pays, otherwise the function itself.

    Parameters
    ----------
    function : callable
        The plain form.

    Returns
    -------
    callable
        The same. ``ways`` is the list of its `Way`, which `faster` adds to.
    """
    ways = []

    @functools.wraps(function)
    def call(*args, **options):
        chosen = function
        if not _plain.is_on():
            try:
                for way in ways:
                    if way.pays(*args, **options) and way.may(*args, **options):
                        chosen = way.function
                        break
            except _NOT_FOR_IT:
                pass  # the plain form says what is wrong with the arguments
        return chosen(*args, **options)

    call.ways = ways
    return call


def faster(function, *, may, pays):
    """Lay a faster way over a function that has `with_ways`, or over an op.

    Parameters
    ----------
    function : callable
        The op, or the function, that it is another way to.
    may, pays : callable
        Two conditions, called with its arguments; see `Way`. Odd arguments make them say no.

    Returns
    -------
    callable
        A decorator, which leaves the way as it is.

    Examples
    --------
    >>> @with_ways
    ... def total(numbers):
    ...     return sum(numbers)
    >>> @faster(total, may=lambda numbers: isinstance(numbers, range), pays=lambda numbers: len(numbers) > 9)
    ... def total_of_range(numbers):
    ...     return len(numbers) * (numbers[0] + numbers[-1]) // 2
    >>> total(range(100))
    4950
    """

    def lay(way):
        function.ways.append(Way(way, may, pays))
        return way

    return lay


def plain():
    """Compute everything the plain way: inside, no faster way is taken. Nothing changes but the time, and last digits.

    Returns
    -------
    context manager
        Blocks may be left in any order; see ``minivis.switches.Switch``. It also decorates functions.

    Examples
    --------
    >>> import numpy as np
    >>> import minivis as mv
    >>> x = np.linspace(0, 1, 40_000).reshape(200, 200)
    >>> with mv.plain():
    ...     slowly = mv.ops.softmax(x)
    >>> np.allclose(slowly, mv.ops.softmax(x))
    True
    """
    return _plain.on()
