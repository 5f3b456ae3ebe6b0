"""Ops that move elements without changing them: reshape, transpose, concatenate, pad, roll, ... Results may be views.

Not here: picking elements by index (index.py).
"""

from itertools import accumulate

import numpy as np

from minivis.autograd import primitive, unbroadcast
from minivis.backend import check_floating, meet, namespace
from minivis.complaints import named
from minivis.dtypes import whole

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "flip", "moveaxis", "pad", "reshape", "roll", "split", "squeeze",
    "stack", "transpose",
]  # fmt: skip


@primitive(dtypes="any")
def reshape(x, shape):
    """Give the elements another shape, in the same order.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    shape : int or tuple of int
        The new shape; one entry may be -1, which is then inferred.

    Returns
    -------
    ndarray or Tensor
        The same elements; a view where possible.

    Raises
    ------
    ValueError
        If the number of elements differs.

    Examples
    --------
    >>> import numpy as np
    >>> reshape(np.arange(4), (2, -1))
    array([[0, 1],
           [2, 3]])
    """
    namespace(x)
    return x.reshape(shape), lambda g: (g.reshape(x.shape),)


@primitive(dtypes="any")
def transpose(x, axes=None):
    """Permute the axes.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axes : tuple of int or None
        For each axis of the result, the axis of ``x`` that goes there. None reverses all axes.

    Returns
    -------
    ndarray or Tensor
        A view.

    Raises
    ------
    ValueError
        If ``axes`` is not a permutation.

    Examples
    --------
    >>> import numpy as np
    >>> transpose(np.zeros((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    namespace(x)
    if axes is None:
        return x.transpose(), lambda g: (g.transpose(),)
    order = [a % x.ndim for a in axes] if x.ndim else []
    inverse = [order.index(a) for a in range(x.ndim) if a in order]
    return x.transpose(axes), lambda g: (g.transpose(inverse),)


@primitive(dtypes="any")
def moveaxis(x, source, destination):
    """Move axes to other positions; the others keep their order.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    source, destination : int or tuple of int
        Where the axes are and where they go.

    Returns
    -------
    ndarray or Tensor
        A view.

    Raises
    ------
    ValueError
        If an axis is not there.

    Examples
    --------
    >>> import numpy as np
    >>> moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    xp = namespace(x)
    return xp.moveaxis(x, source, destination), lambda g: (xp.moveaxis(g, destination, source),)


@primitive(dtypes="any")
def expand_dims(x, axis):
    """Insert axes of length 1.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int or tuple of int
        Positions of the new axes in the result.

    Returns
    -------
    ndarray or Tensor
        A view.

    Raises
    ------
    ValueError
        If a position is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> expand_dims(np.zeros((2, 3)), 1).shape
    (2, 1, 3)
    """
    return namespace(x).expand_dims(x, whole(axis)), lambda g: (g.reshape(x.shape),)


@primitive(dtypes="any")
def squeeze(x, axis=None):
    """Remove axes of length 1.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        Which axes; None for all of length 1.

    Returns
    -------
    ndarray or Tensor
        A view.

    Raises
    ------
    ValueError
        If a chosen axis is longer than 1.

    Examples
    --------
    >>> import numpy as np
    >>> squeeze(np.zeros((2, 1, 3)), 1).shape
    (2, 3)
    """
    return namespace(x).squeeze(x, axis if axis is None else whole(axis)), lambda g: (g.reshape(x.shape),)


@primitive(dtypes="any")
def broadcast_to(x, shape):
    """Repeat along axes of length 1 (and new leading ones) to reach a shape.

    Parameters
    ----------
    x : ndarray or Tensor
        A shape that broadcasts to ``shape``.
    shape : tuple of int
        The shape to reach.

    Returns
    -------
    ndarray or Tensor
        A read-only view; nothing is copied.

    Raises
    ------
    ValueError
        If the shape cannot be reached.

    Examples
    --------
    >>> import numpy as np
    >>> broadcast_to(np.array([1.0, 2.0]), (2, 2))
    array([[1., 2.],
           [1., 2.]])
    """
    return namespace(x).broadcast_to(x, shape), lambda g: (unbroadcast(g, x),)


def _check_list(name, arrays):
    if not isinstance(arrays, (list, tuple)) or not all(hasattr(x, "dtype") for x in arrays):
        raise TypeError(f"{name}: arrays must be a list of arrays or Tensors, got {type(arrays).__name__}")
    if not arrays:
        raise ValueError(f"{name}: the list of arrays is empty")


@named
def concatenate(arrays, axis=0):
    """Join arrays along an existing axis.

    Parameters
    ----------
    arrays : list of ndarray or Tensor
        Shapes must be equal except along ``axis``.
    axis : int, default 0
        The axis to join along.

    Returns
    -------
    ndarray or Tensor
        A new array.

    Raises
    ------
    ValueError
        If the list is empty, or the arrays differ along another axis.
    TypeError
        If ``arrays`` is not a list of arrays.

    Examples
    --------
    >>> import numpy as np
    >>> concatenate([np.ones((2, 1)), np.zeros((2, 2))], axis=1)
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """
    _check_list("concatenate", arrays)
    return _concatenate(*arrays, axis=axis)


@primitive(dtypes="any")
def _concatenate(*arrays, axis):
    """`concatenate` with the arrays as separate arguments, which an op needs."""
    out = namespace(*arrays).concatenate(meet(*arrays), axis)
    ends = [0, *accumulate(x.shape[axis] for x in arrays)]
    dtypes = [x.dtype for x in arrays]  # the arrays themselves are not needed any more

    def vjp(g):
        before = (slice(None),) * (axis % g.ndim)
        pieces = zip(ends[:-1], ends[1:], dtypes, strict=True)
        return tuple(g[(*before, slice(i, j))].astype(dtype, copy=False) for i, j, dtype in pieces)

    return out, vjp


@named
def stack(arrays, axis=0):
    """Join arrays of one shape along a new axis.

    Parameters
    ----------
    arrays : list of ndarray or Tensor
        Equal shapes.
    axis : int, default 0
        Position of the new axis in the result.

    Returns
    -------
    ndarray or Tensor
        A new array.

    Raises
    ------
    ValueError
        If the list is empty or the shapes differ.
    TypeError
        If ``arrays`` is not a list of arrays.

    Examples
    --------
    >>> import numpy as np
    >>> stack([np.ones(2), np.zeros(2)], axis=1)
    array([[1., 0.],
           [1., 0.]])
    """
    _check_list("stack", arrays)
    return _stack(*arrays, axis=axis)


@primitive(dtypes="any")
def _stack(*arrays, axis):
    """`stack` with the arrays as separate arguments, which an op needs."""
    xp = namespace(*arrays)
    dtypes = [x.dtype for x in arrays]  # the arrays themselves are not needed any more

    def vjp(g):
        parts = zip(xp.moveaxis(g, axis, 0), dtypes, strict=True)
        return tuple(part.astype(dtype, copy=False) for part, dtype in parts)

    return xp.stack(meet(*arrays), axis), vjp


@named
def split(x, indices_or_sections, axis=0):
    """Cut along an axis into equal parts, or at given indices.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    indices_or_sections : int or sequence of int
        The number of equal parts, or the indices to cut at, as in ``numpy.split``.
    axis : int, default 0
        The axis to cut.

    Returns
    -------
    list of ndarray or Tensor
        Views, in order.

    Raises
    ------
    ValueError
        If the axis does not divide into equal parts.
    TypeError
        If ``indices_or_sections`` is something else.

    Notes
    -----
    Each part is a slice, made by the differentiable `getitem`.

    Examples
    --------
    >>> import numpy as np
    >>> [part.tolist() for part in split(np.arange(4), 2)]
    [[0, 1], [2, 3]]
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"split: axis {axis} does not fit an array with {x.ndim} axes (x: {tuple(x.shape)})")
    n = x.shape[axis]
    parts = whole(indices_or_sections)
    if parts is None:
        raise TypeError(
            f"split: indices_or_sections must be an integer or several, got {indices_or_sections!r} (x: {tuple(x.shape)})"
        )
    if type(parts) is int:
        if parts < 1 or n % parts:
            raise ValueError(
                f"split: {parts} equal parts do not fit an axis of length {n} (x: {tuple(x.shape)})"
            )
        cuts = [n // parts * i for i in range(1, parts)]
    else:
        cuts = parts
    before = (slice(None),) * (axis % x.ndim)
    return [x[(*before, slice(i, j))] for i, j in zip([0, *cuts], [*cuts, n], strict=True)]


@primitive(dtypes="any")
def pad(x, pad_width, value=0):
    """Surround an array with a constant value.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    pad_width : int, (before, after) or sequence of (before, after)
        As in ``numpy.pad``: one number or one pair for all axes, or a pair for each axis.
    value : float, default 0
        The constant.

    Returns
    -------
    ndarray or Tensor
        A new, larger array in the dtype of ``x``.

    Raises
    ------
    ValueError
        If a width is negative or the number of pairs does not fit.
    TypeError
        If a width is not an integer, or ``x`` is made of integers and ``value`` is not one.

    Examples
    --------
    >>> import numpy as np
    >>> pad(np.ones((1, 2)), ((0, 1), (1, 0)))
    array([[0., 1., 1.],
           [0., 0., 0.]])
    """
    xp = namespace(x)
    if value != value // 1:
        check_floating("pad", x)
    widths = np.broadcast_to(pad_width, (x.ndim, 2))  # one number or pair counts for all axes
    if widths.dtype.kind not in "iu":
        raise TypeError(f"pad: pad_width must be integers, got {pad_width!r} (x: {tuple(x.shape)})")
    widths = widths.tolist()
    out = xp.pad(x, widths, mode="constant", constant_values=value)
    inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True))
    return out, lambda g: (g[inside],)


@primitive(dtypes="any")
def roll(x, shift, axis=None):
    """Shift elements along axes; elements that leave at one end enter at the other.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    shift : int or tuple of int
        Number of places, one for each axis.
    axis : int, tuple of int or None
        The axes to shift along; None shifts the flattened array.

    Returns
    -------
    ndarray or Tensor
        A new array.

    Raises
    ------
    ValueError
        If an axis is not there.

    References
    ----------
    The cyclic shift of Liu et al., "Swin Transformer", ICCV 2021, section 3.2. Slide ``A/47-cyclic-shift``.

    Examples
    --------
    >>> import numpy as np
    >>> roll(np.arange(4), -1)
    array([1, 2, 3, 0])
    """
    xp = namespace(x)
    back = tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift
    return xp.roll(x, shift, axis), lambda g: (xp.roll(g, back, axis),)


@primitive(dtypes="any")
def flip(x, axis=None):
    """Reverse the order along axes.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    axis : int, tuple of int or None
        The axes to reverse; None for all.

    Returns
    -------
    ndarray or Tensor
        A view.

    Raises
    ------
    ValueError
        If an axis is not there.

    Examples
    --------
    >>> import numpy as np
    >>> flip(np.array([1, 2, 3]))
    array([3, 2, 1])
    """
    xp = namespace(x)
    return xp.flip(x, axis), lambda g: (xp.flip(g, axis),)
