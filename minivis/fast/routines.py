"""Which routines belong to an array: blocks.py and compiled.py on the CPU, cuda.py on the GPU, all by the same names.

Not here: the routines, and the ways that call them (one file for each file of ops/).
"""

import functools
import importlib.util

import numpy as np

from minivis.backend import device_of

__all__ = ["LARGE", "exist", "large", "numba_is_there", "of", "register"]

LARGE = 2**14  # elements of an array on the CPU from which a faster way pays
_BY_DEVICE = {}


def exist(x, *rest, **options):
    """Whether there are routines for an array: for its device, and it is not empty. It can be called as what they compute."""
    return x.size > 0 and device_of(x) in ("cpu", "gpu", *_BY_DEVICE)


def large(x, *rest, **options):
    """Whether a faster way pays for an array; on a GPU it always does. It can be called as what is computed."""
    return x.size >= LARGE or type(x) is not np.ndarray


def of(x, elements=None):
    """The routines for an array: its device's, or the compiled ones where there are enough elements of float32."""
    device = device_of(x)
    if device == "cpu" and (elements or x.size) >= LARGE and x.dtype == np.float32 and numba_is_there():
        from minivis.fast import compiled

        return compiled
    if device not in _BY_DEVICE:
        if device == "gpu":
            from minivis.fast import cuda as found
        else:
            from minivis.fast import blocks as found
        _BY_DEVICE[device] = found
    return _BY_DEVICE[device]


@functools.cache
def numba_is_there():
    """Whether loops can be compiled here."""
    return importlib.util.find_spec("numba") is not None


def register(device, module):
    """Give a device its routines (for an array library made known with `minivis.backend.register`)."""
    _BY_DEVICE[device] = module
