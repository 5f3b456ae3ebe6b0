"""Ways: faster implementations of a plain function, how they are added to it, and when one is used.

Not here: the faster ways themselves (fast/). Each says for which arguments it works and when it is worth it.
"""

import functools

from minivis.switches import Switch

__all__ = ["Way", "faster", "plain", "with_ways"]

_plain = Switch("minivis_plain")
# what a condition may raise on arguments that do not fit
_UNFIT_ARGUMENTS = (AttributeError, IndexError, TypeError, ValueError)


class Way:
    """A faster implementation of a function, with the same parameters and the same results.

    Parameters
    ----------
    function : callable
        The faster implementation.
    may : callable
        Whether it works for these arguments (device, dtypes, shapes) and the packages it needs are installed.
    pays : callable
        Whether it is worth it: whether the arguments are large enough.
    """

    __slots__ = ("function", "may", "pays")

    def __init__(self, function, may, pays):
        self.function = function
        self.may = may
        self.pays = pays


def with_ways(function):
    """Let a function have faster ways: a call uses the first one that works and pays, otherwise the function itself.

    Parameters
    ----------
    function : callable
        The plain form.

    Returns
    -------
    callable
        A function with the same results. Its ``ways`` is a list of `Way`, which `faster` adds to.
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
            except _UNFIT_ARGUMENTS:
                pass  # the plain form raises the error that says what is wrong with the arguments
        return chosen(*args, **options)

    call.ways = ways
    return call


def faster(function, *, may, pays):
    """Add a faster way to an op, or to a function that is decorated with `with_ways`.

    Parameters
    ----------
    function : callable
        The op or the function.
    may, pays : callable
        Two conditions, called with its arguments; see `Way`. An error in a condition counts as no.

    Returns
    -------
    callable
        A decorator for the faster implementation, which it returns unchanged.

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

    def add(way):
        function.ways.append(Way(way, may, pays))
        return way

    return add


def plain():
    """Compute without faster ways inside the block. Only the time changes, and the last digits of results.

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
