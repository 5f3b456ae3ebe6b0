"""Softmax in one pass over memory, row by row.

Not here: the formula (ops/softmaxes.py), the loops (blocks.py, compiled.py, cuda.py).
"""

from minivis.fast import routines
from minivis.ops.softmaxes import checked_axis, softmax
from minivis.ways import faster

__all__ = ["softmax_by_rows"]


@faster(softmax, may=routines.exist, pays=routines.large)
def softmax_by_rows(x, axis=-1):
    """`minivis.ops.softmax`, a block of rows at a time."""
    axis = checked_axis("softmax", x, axis)
    found = routines.of(x)
    p = found.softmax(x, axis)
    return p, lambda g: (found.softmax_vjp(g, p, axis),)
