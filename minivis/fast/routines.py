"""Choose the routines for an array: blocks.py or compiled.py on the CPU, cuda.py on the GPU. All have the same names.

Not here: the routines, and the ways that call them (one file for each file of ops/).
"""

import functools
import importlib.util

import numpy as np

from minivis.backend import device_of

__all__ = ["LARGE", "exist", "large", "numba_is_there", "of", "register"]

LARGE = 2**14  # elements: on the CPU a faster way pays for arrays of at least this size
_BY_DEVICE = {}


def exist(x, *rest, **options):
    """Whether there are routines for the device of an array that is not empty. Takes the op's other arguments too."""
    return x.size > 0 and device_of(x) in ("cpu", "gpu", *_BY_DEVICE)


def large(x, *rest, **options):
    """Whether an array is large enough for a faster way (always on a GPU). Takes the op's other arguments too."""
    return x.size >= LARGE or type(x) is not np.ndarray


def of(x, elements=None):
    """The routines for the device of an array; on the CPU, the compiled ones for large float32 arrays."""
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
    """Whether Numba is installed, so that loops can be compiled."""
    return importlib.util.find_spec("numba") is not None


def register(device, module):
    """Set the routines of a device (for an array library that was added with `minivis.backend.register`)."""
    _BY_DEVICE[device] = module
