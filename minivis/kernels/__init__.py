"""The few hot routines, once for each array library: numpy.py and cupy.py with equal names and signatures.

For large float32 arrays on the CPU, compiled.py has the same once more, where Numba is installed. Attention in one pass
is for GPUs only (cupy_attention.py).
Not here: gradients and argument checks; those are the ops'. `of(array)` picks; only ops/ and optim call kernels.
"""

import functools
import importlib.util

from minivis.backend import device_of

__all__ = ["of", "one_pass_attention", "register"]

_BY_DEVICE = {}
_LARGE = 2**14  # elements from which a compiled routine is worth loading and calling


def of(array):
    """The kernels for ``array``: those of its device, or the compiled ones."""
    device = device_of(array)
    if device == "cpu" and array.size >= _LARGE and array.dtype.char == "f":
        return _compiled()
    found = _BY_DEVICE.get(device)
    if found is None:
        if device == "gpu":
            from minivis.kernels import cupy as found
        else:
            from minivis.kernels import numpy as found
        _BY_DEVICE[device] = found
    return found


@functools.cache
def _compiled():
    """The compiled kernels, or the plain ones where Numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        from minivis.kernels import numpy as found
    else:
        from minivis.kernels import compiled as found
    return found


def one_pass_attention(q, k, v):
    """The function ``(q, k, v, mask, bias, is_causal)`` that needs no room for weights (cupy_attention.py), or None."""
    if device_of(q) != "gpu":
        return None
    from minivis.kernels import cupy_attention

    return cupy_attention.attention if cupy_attention.fits(q, k, v) else None


def register(device, module):
    """Give a device its kernels (for an array library made known with `minivis.backend.register`)."""
    _BY_DEVICE[device] = module
