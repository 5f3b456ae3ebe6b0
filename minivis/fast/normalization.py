"""Layer norm in one pass over memory, row by row, in the dtype of its input. Group norm uses it too.

Not here: the formula (ops/normalization.py), the loops (blocks.py, compiled.py, cuda.py).
"""

import math

import numpy as np

from minivis.backend import device_of, meet
from minivis.fast import routines
from minivis.ops.normalization import checked_shape, layer_norm, like
from minivis.ways import faster

__all__ = ["layer_norm_by_rows"]


@faster(layer_norm, may=routines.exist, pays=routines.large)
def layer_norm_by_rows(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """`minivis.ops.layer_norm`, a block of rows at a time."""
    shape = checked_shape(x, normalized_shape, weight, bias)
    x, weight, bias = meet(x, weight, bias)
    rows, w, b = (p if p is None else p.reshape(-1, math.prod(shape)) for p in (x, weight, bias))
    y, xhat, inverse = _standardised(rows, w, b, eps)

    def vjp(g):
        g = g.reshape(xhat.shape)
        g_x, g_weight, g_bias = routines.of(g).layer_norm_vjp(g, xhat, inverse, w)
        if bias is not None and weight is None:
            g_bias = g.sum(axis=0)
        return g_x.reshape(x.shape), None, like(g_weight, weight), like(g_bias, bias)

    return y.reshape(x.shape), vjp


def _standardised(rows, weight, bias, eps):
    """The routine `layer_norm`. If squares overflow in float32 (numbers above 1e19), it is repeated in float64."""
    with np.errstate(over="ignore"):
        found = routines.of(rows).layer_norm(rows, weight, bias, eps)
    if device_of(rows) == "cpu" and rows.dtype == "float32" and not found[2].all():
        rows_64 = rows.astype("float64")
        found = routines.of(rows_64).layer_norm(rows_64, weight, bias, eps)
        found = [part.astype(rows.dtype) for part in found]
    return found
