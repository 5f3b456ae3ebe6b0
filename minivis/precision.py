"""float16: what is summed, squared or placed is computed in float32, and only the result is rounded to float16 again.

float16 ends at 65504 and has 11 bits: the area of a box of 300 x 300 pixels is infinite in it, and of the pixels beyond
2048 it has every other one. Not here: single ops, which see to it themselves (ops/).
"""

import functools

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import is_array

__all__ = ["in_float32", "widened"]


def widened(x):
    """An array or Tensor of float16 in float32, any other as it is."""
    return x.astype(np.float32) if x.dtype.char == "e" else x


def in_float32(function):
    """Let a function that is given arrays or Tensors of float16 compute in float32, and round what it returns.

    A result has the dtype that it would have without this: float16, unless a wider array came along with the halves.

    Parameters
    ----------
    function : callable
        It returns an array or Tensor.

    Returns
    -------
    callable

    Examples
    --------
    >>> area = in_float32(lambda sides: sides[0] * sides[1] / 1000)
    >>> area(np.array([300, 300], np.float16))
    np.float16(90.0)
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        arguments = [*args, *kwargs.values()]
        if not any(map(_is_half, arguments)):
            return function(*args, **kwargs)
        out = function(*map(_wide, args), **{name: _wide(x) for name, x in kwargs.items()})
        dtypes = [x.dtype for x in arguments if _is_number(x) and x.dtype.kind == "f"]
        return out.astype(np.result_type(*dtypes))

    return call


def _is_number(x):
    return isinstance(x, Tensor) or is_array(x)


def _is_half(x):
    return _is_number(x) and x.dtype == np.float16


def _wide(x):
    return widened(x) if _is_number(x) else x
