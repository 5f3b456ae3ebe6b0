"""float16: what is summed, squared or placed is computed in float32, and only the result is rounded to float16 again.

float16 ends at 65504 and has 11 bits: the area of a box of 300 x 300 pixels is infinite in it, and of the pixels beyond
2048 it has every other one. Not here: single ops, which see to it themselves (ops/).
"""

import functools

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import is_array
from minivis.dtypes import widened

__all__ = ["computed_in", "in_float32", "rounded", "widened"]


def rounded(x, dtype):
    """A number, array or Tensor in a dtype, itself where it has it."""
    return x if x.dtype == dtype else x.astype(dtype)


def computed_in(wide):
    """Decorate a function so that it computes with wider numbers than it is given, and rounds what it returns.

    The result has the dtype that it would have without this: that of the widest floating-point argument.

    Parameters
    ----------
    wide : callable
        An array or Tensor -> the same with more bits, or itself where it has enough.

    Returns
    -------
    callable
        The decorator, for functions of arrays or Tensors, and of anything else, that return an array or Tensor.
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
"""The decorator of functions that compute in float32 what they are given in float16.

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
