"""Reductions: sum, mean, var, max, min, logsumexp, and the plain functions argmax, argsort, topk.

Not here: softmax and the norms (softmaxes.py, normalization.py), losses (loss.py).
"""

from minivis.autograd import Tensor, primitive
from minivis.backend import namespace
from minivis.complaints import named
from minivis.dtypes import whole
from minivis.ops.formulas import log_sum_exp

__all__ = ["argmax", "argsort", "logsumexp", "max", "mean", "min", "sum", "topk", "var"]


def _axes(name, x, axis):
    """The axes as a tuple of non-negative int; None means all. Refuses axes that do not exist or repeat."""
    wanted = tuple(range(x.ndim)) if axis is None else whole(axis)
    axes = (wanted,) if type(wanted) is int else wanted or ()
    axes = tuple(a + x.ndim if a < 0 else a for a in axes)
    if wanted is None or len(set(axes)) != len(axes) or any(not 0 <= a < x.ndim for a in axes):
        raise ValueError(
            f"{name}: axis {axis} does not fit an array with {x.ndim} axes (x: {tuple(x.shape)})"
        )
    return axes


def _count(x, axes):
    """How many elements are reduced to one."""
    n = 1
    for a in axes:
        n *= x.shape[a]
    return n


def _spread(xp, g, x, axes):
    """Broadcast the cotangent of a reduction back to the shape of x (a read-only view)."""
    g = g.reshape([1 if a in axes else n for a, n in enumerate(x.shape)])
    return xp.broadcast_to(g, x.shape)


@primitive(dtypes="numbers")
def sum(x, axis=None, keepdims=False):
    """Add up elements along axes.

    .. math:: y = \\sum_i x_i, \\qquad \\bar x_i = \\bar y

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    keepdims : bool, default False
        Keep the reduced axes with length 1.

    Returns
    -------
    ndarray or Tensor
        The sum, in the dtype of ``x``. The sum of no elements is 0.

    Raises
    ------
    ValueError
        If an axis is not there.

    Examples
    --------
    >>> import numpy as np
    >>> sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([4., 6.])
    """
    xp = namespace(x)
    axes = _axes("sum", x, axis)
    return x.sum(axis=axes, keepdims=keepdims), lambda g: (_spread(xp, g, x, axes),)


@primitive
def mean(x, axis=None, keepdims=False):
    """Average elements along axes.

    .. math:: y = \\tfrac1n \\sum_i x_i, \\qquad \\bar x_i = \\bar y / n

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    keepdims : bool, default False
        Keep the reduced axes with length 1.

    Returns
    -------
    ndarray or Tensor
        The mean, in the dtype of ``x``.

    Raises
    ------
    ValueError
        If an axis is not there, or there is nothing to average.

    Examples
    --------
    >>> import numpy as np
    >>> mean(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([2., 3.])
    """
    xp = namespace(x)
    axes = _axes("mean", x, axis)
    n = _count(x, axes)
    if not n:
        raise ValueError(f"mean: there is nothing to average along axis {axis} (x: {tuple(x.shape)})")
    return x.sum(axis=axes, keepdims=keepdims) / n, lambda g: (_spread(xp, g / n, x, axes),)


@primitive
def var(x, axis=None, *, correction=1, keepdims=False):
    """Variance of elements along axes.

    .. math:: y = \\frac{1}{n - c} \\sum_i (x_i - \\mu)^2, \\qquad \\bar x_i = \\bar y\\, \\frac{2 (x_i - \\mu)}{n - c}

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    correction : int, default 1
        Bessel's correction c: 1 for the unbiased estimate (torch's default), 0 for the biased one that norms use.
    keepdims : bool, default False
        Keep the reduced axes with length 1.

    Returns
    -------
    ndarray or Tensor
        The variance, in the dtype of ``x``.

    Raises
    ------
    ValueError
        If an axis is not there, or there are no more than ``correction`` elements to reduce.

    Notes
    -----
    NumPy's default is ``ddof=0``; torch's and ours is 1.

    Examples
    --------
    >>> import numpy as np
    >>> float(var(np.array([1.0, 3.0]))), float(var(np.array([1.0, 3.0]), correction=0))
    (2.0, 1.0)
    """
    axes = _axes("var", x, axis)
    xp = namespace(x)
    n = _count(x, axes) - correction
    if n <= 0:
        raise ValueError(
            f"var: {n + correction} elements fall together, correction={correction} needs more (x: {tuple(x.shape)})"
        )
    centred = x - x.mean(axis=axes, keepdims=True)
    y = (centred * centred).sum(axis=axes, keepdims=keepdims) / n
    return y, lambda g: (_spread(xp, g, x, axes) * centred * (2 / n),)


def _extremum(name, x, axis, keepdims):
    """Compute max or min. The gradient goes only to the first of equal elements, so that its sum is right."""
    xp = namespace(x)
    axes = _axes(name, x, axis)
    if not _count(x, axes):
        raise ValueError(f"{name}: nothing to choose from along axis {axis} (x: {tuple(x.shape)})")
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = x.transpose(*kept, *axes).reshape(*(x.shape[a] for a in kept), _count(x, axes))  # (kept..., n)
    at = xp.expand_dims(getattr(rows, "arg" + name)(axis=-1), -1)
    shape = [1 if a in axes else n for a, n in enumerate(x.shape)] if keepdims else [x.shape[a] for a in kept]

    def vjp(g):
        spread = xp.zeros(rows.shape, g.dtype)
        xp.put_along_axis(spread, at, g.reshape(at.shape), axis=-1)
        back = [(*kept, *axes).index(a) for a in range(x.ndim)]
        return (spread.reshape(*(x.shape[a] for a in (*kept, *axes))).transpose(back),)

    return xp.take_along_axis(rows, at, axis=-1).reshape(shape), vjp


@primitive(dtypes="any")
def max(x, axis=None, keepdims=False):
    """Largest element along axes. If several are equal, the first gets the gradient.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    keepdims : bool, default False
        Keep the reduced axes with length 1.

    Returns
    -------
    ndarray or Tensor
        The maximum, in the dtype of ``x``. NaN if an element is NaN.

    Raises
    ------
    ValueError
        If an axis is not there, or there is nothing to choose from.

    Examples
    --------
    >>> import numpy as np
    >>> max(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    array([5., 4.])
    """
    return _extremum("max", x, axis, keepdims)


@primitive(dtypes="any")
def min(x, axis=None, keepdims=False):
    """Smallest element along axes. If several are equal, the first gets the gradient.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        The axes to reduce; None for all.
    keepdims : bool, default False
        Keep the reduced axes with length 1.

    Returns
    -------
    ndarray or Tensor
        The minimum, in the dtype of ``x``. NaN if an element is NaN.

    Raises
    ------
    ValueError
        If an axis is not there, or there is nothing to choose from.

    Examples
    --------
    >>> import numpy as np
    >>> min(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    array([1., 3.])
    """
    return _extremum("min", x, axis, keepdims)


@primitive
def logsumexp(x, axis, keepdims=False):
    """Logarithm of a sum of exponentials, without overflow: a smooth maximum.

    .. math:: y = m + \\ln \\sum_i e^{x_i - m}, \\quad m = \\max_i x_i, \\qquad \\bar x = \\bar y\\, \\mathrm{softmax}(x)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int or tuple of int
        The axes to reduce.
    keepdims : bool, default False
        Keep the reduced axes with length 1.

    Returns
    -------
    ndarray or Tensor
        In the dtype of ``x``; -inf where every element is -inf.

    Raises
    ------
    ValueError
        If an axis is not there, or there is nothing to sum.

    Examples
    --------
    >>> import numpy as np
    >>> logsumexp(np.array([1000.0, 1000.0]), axis=0).round(3)
    np.float64(1000.693)
    """
    xp = namespace(x)
    axes = _axes("logsumexp", x, axis)
    if not _count(x, axes):
        raise ValueError(f"logsumexp: nothing to sum along axis {axis} (x: {tuple(x.shape)})")
    m, _, log_total, top, less = log_sum_exp(xp, x, axes)
    y = m + log_total
    if not keepdims:
        y = y.reshape([n for a, n in enumerate(x.shape) if a not in axes])
    return y, lambda g: (_spread(xp, g, x, axes) * (top + less()),)


def _data(x):
    return x.data if isinstance(x, Tensor) else x


@named
def argmax(x, axis=None, keepdims=False):
    """Index of the largest element (the first, if several are equal). A plain function: no gradient.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int or None
        The axis to search; None for the flattened array.
    keepdims : bool, default False
        Keep the axis with length 1.

    Returns
    -------
    ndarray of int64
        Indices along ``axis``.

    Raises
    ------
    ValueError
        If the axis is not there, or there is nothing to choose from.

    Examples
    --------
    >>> import numpy as np
    >>> argmax(np.array([[1.0, 5.0], [7.0, 4.0]]), axis=1)
    array([1, 0])
    """
    x = _data(x)
    if not _count(x, _axes("argmax", x, axis)):
        raise ValueError(f"argmax: nothing to choose from along axis {axis} (x: {tuple(x.shape)})")
    return namespace(x).argmax(x, axis=axis, keepdims=keepdims)


@named
def argsort(x, axis=-1, descending=False, stable=True):
    """Indices that sort along an axis. A plain function: no gradient.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, default -1
        The axis to sort along.
    descending : bool, default False
        Largest first.
    stable : bool, default True
        Keep equal elements in their order (also when descending).

    Returns
    -------
    ndarray of int64
        Shape of ``x``.

    Raises
    ------
    ValueError
        If the axis is not there.

    Examples
    --------
    >>> import numpy as np
    >>> argsort(np.array([3.0, 1.0, 3.0]), descending=True)
    array([0, 2, 1])
    """
    x = _data(x)
    xp = namespace(x)
    (axis,) = _axes("argsort", x, axis)
    kind = "stable" if stable else None
    if not descending:
        return xp.argsort(x, axis=axis, kind=kind)
    # Sort the reversed array and read the result backwards: equal elements keep their order. Negating would fail for
    # unsigned integers.
    backwards = xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind=kind), axis)
    return x.shape[axis] - 1 - backwards


@named
def topk(x, k, axis=-1, largest=True):
    """The k largest (or smallest) elements along an axis, in order, and their indices. A plain function: no gradient.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    k : int
        How many, at most the length of the axis.
    axis : int, default -1
        The axis to search.
    largest : bool, default True
        Largest first; False for smallest first.

    Returns
    -------
    values, indices : ndarray
        Shape of ``x`` with ``k`` in place of the axis.

    Raises
    ------
    ValueError
        If ``k`` is negative or larger than the axis.

    Examples
    --------
    >>> import numpy as np
    >>> topk(np.array([3.0, 1.0, 4.0]), 2)
    (array([4., 3.]), array([2, 0]))
    """
    x = _data(x)
    xp = namespace(x)
    (axis,) = _axes("topk", x, axis)
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: k={k} does not fit an axis of length {x.shape[axis]} (x: {tuple(x.shape)})")
    at = argsort(x, axis=axis, descending=largest)[(slice(None),) * axis + (slice(k),)]
    return xp.take_along_axis(x, at, axis=axis), at
