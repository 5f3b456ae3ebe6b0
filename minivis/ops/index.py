"""Picking elements by index: getitem, take, take_along_axis, embedding, and their adjoint scatter_add.

In the gradient, repeated indices always add up. Not here: ops that keep every element (shape.py).
"""

import builtins
import operator

import numpy as np

from minivis import backend
from minivis.autograd import Tensor, primitive
from minivis.backend import check_floating, is_array, namespace, to_numpy
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.dtypes import at_least_float32

__all__ = ["embedding", "getitem", "scatter_add", "take", "take_along_axis"]


def check_range(name, argument, indices, size, what="index", low=None):
    """Refuse indices outside [low, size). This is checked on the host: a GPU would silently wrap them around."""
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{name}: {argument} must be integers, got {indices.dtype.name}")
    low = -size if low is None else low
    host = to_numpy(indices)
    if host.size and not (low <= host.min() and host.max() < size):
        bad = host.max() if host.max() >= size else host.min()
        raise IndexError(
            f"{name}: {what} {bad} in {argument} is out of range for {size} entries, {max(low, 0)} to {size - 1}"
            f" ({argument}: {tuple(indices.shape)})"
        )


def _simple(index):
    """Whether an index has only slices, integers, None and ...: then no element is picked twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, (slice, int, np.integer)) for i in parts)


def _host_checked(x, index):
    """The index with arrays instead of Tensors and lists. Integer arrays are checked against the axes they index."""
    parts = index if isinstance(index, tuple) else (index,)
    xp = namespace(x)
    parts = [i.data if isinstance(i, Tensor) else xp.asarray(i) if isinstance(i, list) else i for i in parts]
    namespace(x, *(i for i in parts if is_array(i)))  # refuses indices on another device
    parts = [i.astype(np.intp) if is_array(i) and i.size == 0 and i.dtype.kind == "f" else i for i in parts]
    taken = builtins.sum(
        i.ndim if is_array(i) and i.dtype == bool else i is not None and i is not Ellipsis for i in parts
    )
    axis = 0
    for i in parts:
        if i is Ellipsis:
            axis = x.ndim - (taken - axis)
        elif is_array(i) and i.dtype == bool:
            axis += i.ndim
        elif i is not None:
            if is_array(i) and axis < x.ndim:
                check_range("getitem", "index", i, x.shape[axis])
            axis += 1
    return tuple(parts) if isinstance(index, tuple) else parts[0]


def _put_back(xp, like, at, g):
    """The cotangent of ``like``, given the cotangent ``g`` of its elements ``at``; for repeated elements, the sum."""
    out = xp.zeros(like.shape, at_least_float32(g.dtype))
    backend.scatter_add(out, at, g.astype(out.dtype, copy=False))
    return out.astype(g.dtype, copy=False)


@primitive(dtypes="any")
def getitem(x, index):
    """Pick elements with NumPy's indexing: integers, slices, ..., None, boolean masks, integer arrays.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    index : int, slice, None, Ellipsis, ndarray or tuple of these
        As in ``x[index]``.

    Returns
    -------
    ndarray or Tensor
        A view for integers and slices, otherwise a copy.

    Raises
    ------
    IndexError
        If an index is out of range.

    Notes
    -----
    In backward, each element's cotangent is added at the place it was picked from. Repeated elements get the sum.

    Examples
    --------
    >>> import numpy as np
    >>> getitem(np.array([10.0, 20.0, 30.0]), np.array([2, 0, 2]))
    array([30., 10., 30.])
    """
    xp = namespace(x)
    simple = _simple(index)
    if not simple:
        index = _host_checked(x, index)

    def vjp(g):
        if not simple:
            return (_put_back(xp, x, index, g),)
        out = xp.zeros(x.shape, g.dtype)
        out[index] = g
        return (out,)

    return x[index], vjp


@primitive(dtypes="any")
def take(x, indices, axis=0):
    """Pick whole slices along one axis.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    indices : integer ndarray
        Which slices; any shape. Negative indices count from the end.
    axis : int, default 0
        The axis to pick along.

    Returns
    -------
    ndarray or Tensor
        The shape of ``x`` with the shape of ``indices`` in place of the axis.

    Raises
    ------
    IndexError
        If an index is out of range. On a GPU the check would mean waiting: there the result is NaN (for floats), and
        the error comes only inside `minivis.debug`.

    Examples
    --------
    >>> import numpy as np
    >>> take(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1]), axis=0)
    array([[3., 4.],
           [3., 4.]])
    """
    xp = namespace(x)
    indices = xp.asarray(indices) if not is_array(indices) else indices
    namespace(x, indices)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"take: axis {axis} does not fit an array with {x.ndim} axes (x: {tuple(x.shape)})")
    n = x.shape[axis]
    lost = None
    if may_read(indices) or x.dtype.kind != "f" or not n:
        check_range("take", "indices", indices, n)
    else:
        lost = (indices < -n) | (indices >= n)
        indices = xp.where(lost, 0, indices)
    at = (slice(None),) * (axis % x.ndim) + (indices,)

    out = x[at]
    if lost is not None:
        out[(*at[:-1], lost)] = np.nan
    return out, lambda g: (_put_back(xp, x, at, g), None)


@primitive(dtypes="any")
def take_along_axis(x, indices, axis=-1):
    """Pick elements along an axis, with separate indices for every row (torch's gather).

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    indices : integer ndarray
        As many axes as ``x``, with the same lengths except along ``axis``.
    axis : int, default -1
        The axis to pick along.

    Returns
    -------
    ndarray or Tensor
        The shape of ``indices``.

    Raises
    ------
    IndexError
        If an index is out of range.
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> take_along_axis(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1], [0]]))
    array([[2.],
           [3.]])
    """
    xp = namespace(x, indices)
    if not -x.ndim <= axis < x.ndim or indices.ndim != x.ndim:
        raise ValueError(
            f"take_along_axis: x and indices need equal numbers of axes, and axis {axis} must be one of them "
            f"(x: {tuple(x.shape)}, indices: {tuple(indices.shape)})"
        )
    check_range("take_along_axis", "indices", indices, x.shape[axis])
    at = _along(xp, indices, axis % x.ndim, x.shape)
    return x[at], lambda g: (_put_back(xp, x, at, g), None)


def _along(xp, indices, axis, shape):
    """The index tuple that picks ``indices`` along one axis; along the others, every element stays at its place."""
    for a, (n, m) in enumerate(zip(indices.shape, shape, strict=True)):
        if a != axis and n != m:
            raise ValueError(
                f"x and indices must agree but for axis {axis} (x: {tuple(shape)}, indices: {tuple(indices.shape)})"
            )
    straight = [
        xp.arange(n).reshape([-1 if b == a else 1 for b in range(len(shape))]) for a, n in enumerate(shape)
    ]
    straight[axis] = indices
    return tuple(straight)


@primitive(dtypes="numbers")
def scatter_add(x, indices, values, axis=0):
    """Add values to slices of ``x`` along one axis; repeated indices add up. The adjoint of `take`.

    .. math:: y = x, \\quad y[i_k] \\mathrel{+}= v_k

    Parameters
    ----------
    x : ndarray or Tensor
        The array to add to. It is copied, not changed.
    indices : integer ndarray, shape (n,)
        Positions along ``axis``.
    values : ndarray or Tensor
        Shape of ``x`` with ``n`` in place of the axis.
    axis : int, default 0
        The axis that is indexed.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    IndexError
        If an index is out of range.
    ValueError
        If the shapes do not fit.
    TypeError
        If ``values`` are floating-point and ``x`` is not.

    Examples
    --------
    >>> import numpy as np
    >>> scatter_add(np.zeros(3), np.array([0, 0, 2]), np.array([1.0, 2.0, 5.0]))
    array([3., 0., 5.])
    """
    namespace(x, indices, values)
    axis = operator.index(axis)
    expected = x.shape[:axis] + tuple(indices.shape) + x.shape[axis:][1:]
    if not 0 <= axis < x.ndim or indices.ndim != 1 or tuple(values.shape) != expected:
        raise ValueError(
            f"scatter_add: values must have shape {expected} (x: {tuple(x.shape)}, indices: {tuple(indices.shape)}, "
            f"values: {tuple(values.shape)}, axis {axis})"
        )
    check_range("scatter_add", "indices", indices, x.shape[axis])
    if values.dtype.kind == "f":
        check_floating("scatter_add", x)
    at = (slice(None),) * axis + (indices,)
    out = x.copy()
    backend.scatter_add(out, at, values.astype(x.dtype, copy=False))
    return out, lambda g: (g, None, g[at].astype(values.dtype, copy=False))


@named
def embedding(indices, weight):
    """Look up a row of a table for every index.

    Parameters
    ----------
    indices : integer ndarray
        Row numbers, 0 to K-1, any shape.
    weight : ndarray or Tensor, shape (K, D)
        The table.

    Returns
    -------
    ndarray or Tensor, shape of ``indices`` and (D,)
        The rows.

    Raises
    ------
    IndexError
        If an index is out of range (negative ones too). On a GPU the row is NaN instead, as for `take`.

    Examples
    --------
    >>> import numpy as np
    >>> embedding(np.array([1, 0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 4.],
           [1., 2.]])
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (K, D) (weight: {tuple(weight.shape)})")
    if isinstance(indices, list):
        indices = namespace(weight.data if isinstance(weight, Tensor) else weight).asarray(indices)
    indices = indices.data if isinstance(indices, Tensor) else indices
    if may_read(indices):
        check_range("embedding", "indices", indices, weight.shape[0], low=0)
    else:
        out_of_range = weight.shape[0]  # for take; a negative index would count from the end
        indices = namespace(indices).where(indices < 0, out_of_range, indices)
    return take(weight, indices, axis=0)
