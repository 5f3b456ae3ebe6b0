"""The few hot routines, once for each array library: numpy.py and cupy.py with equal names and signatures.

For large float32 arrays on the CPU, compiled.py has the same once more, where Numba is installed. Attention
without room for its weights has files of its own: cupy_attention.py, and compiled_attention.py, which can keep them too.
Not here: gradients and argument checks; those are the ops'. `of(array)` picks; only ops/ and optim call kernels.
"""

import functools
import importlib.util
import math

from minivis.backend import device_of

__all__ = ["attention_by_heads", "of", "one_pass_attention", "register"]

_BY_DEVICE = {}
_LARGE = 2**14  # elements from which a compiled routine is worth loading and calling


def of(array, elements=None):
    """The kernels for ``array``, one of several that have so many elements together: its device's, or the compiled ones."""
    device = device_of(array)
    large = (elements or array.size) >= _LARGE
    if device == "cpu" and large and array.dtype.char == "f":
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


def one_pass_attention(q, k, v, mask=None, bias=None):
    """The function ``(q, k, v, mask, bias, is_causal)`` that needs no room for the weights, or None where there is none."""
    if device_of(q) == "gpu":
        from minivis.kernels import cupy_attention

        return cupy_attention.attention if cupy_attention.fits(q, k, v) else None
    found = _worth_loading(q, k)
    return found.attention if found and found.fits(q, k, v, mask, bias) else None


def attention_by_heads(q, k, v, mask=None, bias=None):
    """``(forward, backward)`` of attention that keeps its weights and takes a head at a time, or None where products of all heads are the way."""
    found = _worth_loading(q, k)
    if found and found.fits(q, k, v, mask, bias, backward=True):
        return found.attention_with_weights, found.attention_vjp
    return None


def _worth_loading(q, k):
    """compiled_attention.py, or None where the weights are few: it takes seconds to load, and once to compile."""
    many = math.prod(q.shape[:-1]) * k.shape[-2] >= _LARGE
    return _compiled_attention() if many and device_of(q) == "cpu" else None


@functools.cache
def _compiled_attention():
    """compiled_attention.py, or None without Numba and threadpoolctl."""
    if any(importlib.util.find_spec(name) is None for name in ("numba", "threadpoolctl")):
        return None
    from minivis.kernels import compiled_attention

    return compiled_attention


def register(device, module):
    """Give a device its kernels (for an array library made known with `minivis.backend.register`)."""
    _BY_DEVICE[device] = module
