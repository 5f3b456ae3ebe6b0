"""Height and width, given as one number (square) or two.

Not here: strides and paddings of convolutions (ops/conv.py).
"""

import operator

__all__ = ["checked_pair", "pair"]


def pair(value):
    """Repeat one number to a pair; return a pair as it is.

    Examples
    --------
    >>> pair(3), pair([2, 5])
    ((3, 3), (2, 5))
    """
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def checked_pair(name, argument, value, least=1):
    """`pair` of integers of at least ``least``. The error for anything else names the function and the argument.

    Examples
    --------
    >>> checked_pair("patchify", "patch", 0)
    Traceback (most recent call last):
    ValueError: patchify: patch must be an integer of at least 1, or two of them, got 0
    """
    try:
        numbers = tuple(operator.index(number) for number in pair(value))
    except TypeError:
        numbers = ()
    if len(numbers) != 2 or min(numbers) < least:
        raise ValueError(
            f"{name}: {argument} must be an integer of at least {least}, or two of them, got {value!r}"
        )
    return numbers
