"""Undo broadcasting: how a vjp treats an operand that the forward pass has repeated.

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
        The operand before broadcasting. A plain number has no gradient: then the result is None.

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
    if type(like) is np.ndarray and g.shape == like.shape and g.dtype is like.dtype:  # the usual case
        return g
    return _summed(g, like) if is_array(like) else None


def _summed(g, like):
    """`unbroadcast` for an array that was broadcast or has another dtype."""
    added = g.ndim - like.ndim
    stretched = [added + i for i, n in enumerate(like.shape) if n == 1 and g.shape[added + i] != 1]
    if added or stretched:
        g = g.sum(axis=(*range(added), *stretched), dtype=at_least_float32(g.dtype)).reshape(like.shape)
    return g.astype(like.dtype, copy=False)
