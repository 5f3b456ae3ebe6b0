"""Broadcasting undone: what a vjp does where the forward pass has repeated an operand.

Not here: the ops that broadcast (ops/arithmetic.py, ops/linalg.py).
"""

import numpy as np

from minivis.backend import is_array
from minivis.dtypes import at_least_float32

__all__ = ["unbroadcast"]


def unbroadcast(g, like):
    """Undo NumPy's broadcasting in a cotangent: sum over every axis along which ``like`` was repeated.

    Parameters
    ----------
    g : ndarray
        Cotangent of a broadcast result.
    like : ndarray or number
        The operand as it was before broadcasting. For a plain number there is nothing to pull back to: None.

    Returns
    -------
    ndarray or None
        Cotangent with shape and dtype of ``like``.

    Examples
    --------
    >>> import numpy as np
    >>> unbroadcast(np.ones((2, 3)), np.ones((3,)))
    array([2., 2., 2.])
    """
    if type(like) is np.ndarray and g.shape == like.shape and g.dtype is like.dtype:  # as nearly always
        return g
    return _summed(g, like) if is_array(like) else None


def _summed(g, like):
    """`unbroadcast` where something was broadcast."""
    added = g.ndim - like.ndim
    stretched = [added + i for i, n in enumerate(like.shape) if n == 1 and g.shape[added + i] != 1]
    if added or stretched:
        g = g.sum(axis=(*range(added), *stretched), dtype=at_least_float32(g.dtype)).reshape(like.shape)
    return g.astype(like.dtype, copy=False)
