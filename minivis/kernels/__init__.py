"""The few hot routines, once for each array library: numpy.py and cupy.py with equal names and signatures.

Not here: gradients and argument checks; those are the ops'. `of(array)` picks; only ops/ and optim call kernels.
"""

from minivis.backend import device_of

__all__ = ["of", "register"]

_BY_DEVICE = {}


def of(array):
    """The kernels that run on the device of ``array``."""
    device = device_of(array)
    found = _BY_DEVICE.get(device)
    if found is None:
        if device == "gpu":
            from minivis.kernels import cupy as found
        else:
            from minivis.kernels import numpy as found
        _BY_DEVICE[device] = found
    return found


def register(device, module):
    """Give a device its kernels (for an array library made known with `minivis.backend.register`)."""
    _BY_DEVICE[device] = module
