"""Activations in one pass over memory, which computes value and derivative together.

Not here: the formulas (ops/activation.py, ops/formulas.py), the loops (blocks.py, compiled.py, cuda.py).
"""

from minivis.fast import routines
from minivis.ops.activation import check_approximate, gelu, sigmoid, silu
from minivis.ways import faster

__all__ = ["gelu_in_one_pass", "sigmoid_in_one_pass", "silu_in_one_pass"]


@faster(sigmoid, may=routines.exist, pays=routines.large)
def sigmoid_in_one_pass(x):
    """`minivis.ops.sigmoid`."""
    y, slope = routines.of(x).sigmoid(x)
    return y, lambda g: (g * slope,)


@faster(silu, may=routines.exist, pays=routines.large)
def silu_in_one_pass(x):
    """`minivis.ops.silu`."""
    y, slope = routines.of(x).silu(x)
    return y, lambda g: (g * slope,)


@faster(gelu, may=routines.exist, pays=routines.large)
def gelu_in_one_pass(x, approximate="none"):
    """`minivis.ops.gelu`."""
    check_approximate(approximate)
    y, slope = routines.of(x).gelu(x, approximate)
    return y, lambda g: (g * slope,)
