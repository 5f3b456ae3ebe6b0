"""Height and width as one number or two: what is square may be said once.

Not here: strides and paddings of convolutions, which the ops read themselves.
"""

import operator

__all__ = ["checked_pair", "pair"]


def pair(value):
    """A number as two of it, two as they are.

    Examples
    --------
    >>> pair(3), pair([2, 5])
    ((3, 3), (2, 5))
    """
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def checked_pair(name, argument, value, least=1):
    """`pair` of whole numbers, each at least ``least``; anything else is refused by the name of function and argument.

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
