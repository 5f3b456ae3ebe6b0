"""float16: sums, squares and coordinates are computed in float32, and only the result is rounded to float16.

float16 ends at 65504 and has 11 bits: the area of a box of 300 x 300 pixels is infinite in it, and above 2048 it holds
only every second integer. Not here: single ops, whose decorator converts float16 (dtypes.py).
"""

import functools

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import is_array
from minivis.dtypes import widened

__all__ = ["computed_in", "in_float32", "rounded", "widened"]


def rounded(x, dtype):
    """Convert a number, array or Tensor to a dtype; return it as it is if it has that dtype."""
    return x if x.dtype == dtype else x.astype(dtype)


def computed_in(wide):
    """Decorate a function so that it computes with wider numbers than it is given, and rounds its result.

    The result has the dtype of the widest floating-point argument.

    Parameters
    ----------
    wide : callable
        Converts an array or Tensor to a wider dtype, or returns it as it is if its dtype is wide enough.

    Returns
    -------
    callable
        A decorator for functions that return an array or Tensor. Only array and Tensor arguments are converted.
    """

    def decorated(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            given = [x for x in (*args, *kwargs.values()) if _is_number(x)]
            found = {id(x): wide(x) for x in given}
            if all(found[id(x)] is x for x in given):
                return function(*args, **kwargs)
            wider = {name: found.get(id(x), x) for name, x in kwargs.items()}
            out = function(*(found.get(id(x), x) for x in args), **wider)
            return out.astype(np.result_type(*(x.dtype for x in given if x.dtype.kind == "f")))

        return call

    return decorated


in_float32 = computed_in(widened)
"""Decorator: compute in float32 if arguments are float16.

Examples
--------
>>> @in_float32
... def area(sides):
...     return sides[0] * sides[1] / 1000
>>> area(np.array([300, 300], np.float16))
np.float16(90.0)
"""


def _is_number(x):
    return isinstance(x, Tensor) or is_array(x)
