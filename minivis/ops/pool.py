"""Pooling: the largest or the mean element of every window, and putting maxima back at their places.

Not here: resizing (resample.py). For global pooling use `adaptive_avg_pool2d(x, 1)` or a mean.
"""

import math

from minivis.autograd import Tensor, primitive
from minivis.backend import check_floating, namespace
from minivis.complaints import named
from minivis.ops.conv import Geometry, sizes
from minivis.ops.index import check_range

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "max_unpool2d"]


def _images(name, x):
    """Refuse x unless it is (B, C, H, W) and only B may be 0. Returns its shape as text for later errors."""
    shapes = f"(x: {tuple(x.shape)})"
    if x.ndim != 4 or not all(x.shape[1:]):
        raise ValueError(f"{name}: x must be (B, C, H, W), only B may be 0 {shapes}")
    return shapes


def _geometry(name, x, kernel_size, stride, padding, dilation, ceil_mode):
    """The windows of a pooling: floor((i + 2p - d (k - 1) - 1) / s) + 1 along each axis.

    With ``ceil_mode``, a last window that is not full also counts if it starts on the image or the padding before it.
    """
    shapes = _images(name, x)
    kernel = sizes(name, "kernel_size", kernel_size, 2)
    stride = kernel if stride is None else sizes(name, "stride", stride, 2)
    padding = sizes(name, "padding", padding, 2, least=0)
    dilation = sizes(name, "dilation", dilation, 2)
    out = []
    for i, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        if p > k // 2:
            raise ValueError(f"{name}: padding {padding} may be at most half the kernel {kernel} {shapes}")
        o = (i + 2 * p - reach + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (o - 1) * s >= i + p:
            o -= 1
        if o < 1:
            raise ValueError(
                f"{name}: kernel {kernel} is larger than the padded input, padding {padding} {shapes}"
            )
        out.append(o)
    return Geometry(kernel, tuple(out), stride, padding, dilation)


def _surround(x, geometry, fill):
    """Put x into a larger map filled with ``fill`` that contains every window. Returns the map and x's index in it."""
    xp = namespace(x)
    full = []
    inner = []
    for i, k, o, s, p, d in zip(x.shape[2:], *geometry, strict=True):
        full.append(max(p + i, (o - 1) * s + d * (k - 1) + 1))
        inner.append(slice(p, p + i))
    inner = (..., *inner)
    if tuple(full) == x.shape[2:]:
        return x, inner
    padded = xp.full((*x.shape[:2], *full), fill, x.dtype)
    padded[inner] = x
    return padded, inner


def _windows(geometry):
    """For each element of the kernel, row by row, the index that picks this element of all windows: (..., H', W')."""
    rows, columns = (
        [slice(n * d, n * d + s * (o - 1) + 1, s) for n in range(k)]
        for k, o, s, _, d in zip(*geometry, strict=True)
    )
    return [(..., r, c) for r in rows for c in columns]


def _lowest(x):
    """A padding that is never the maximum: -inf, or the smallest integer."""
    return -math.inf if x.dtype.kind == "f" else namespace(x).iinfo(x.dtype).min


def _starts(xp, geometry):
    """First row and first column of every window in image coordinates: (H', 1) and (1, W')."""
    (o_h, o_w), (s_h, s_w), (p_h, p_w) = geometry.out, geometry.stride, geometry.padding
    return (xp.arange(o_h) * s_h - p_h)[:, None], (xp.arange(o_w) * s_w - p_w)[None, :]


def _hits(x, maxima, geometry):
    """For each element of the kernel: its index, its positions in the image, and in which windows it is the maximum.

    Every window has one maximum: the first of equal elements (or of several NaN). Padding never counts.
    """
    xp = namespace(x)
    (H, W) = x.shape[2:]
    padded, _ = _surround(x, geometry, _lowest(x))
    top, left = _starts(xp, geometry)
    free = xp.ones(maxima.shape, bool)
    for n, window in enumerate(_windows(geometry)):
        u, v = divmod(n, geometry.kernel[1])
        row, column = top + u * geometry.dilation[0], left + v * geometry.dilation[1]
        on_image = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        rival = padded[window]
        hit = ((rival == maxima) | (rival != rival)) & on_image & free
        free &= ~hit
        yield window, row * W + column, hit


@primitive(dtypes="numbers")
def _max_pool2d(x, geometry):
    """`max_pool2d` after its checks."""
    xp = namespace(x)
    padded, inner = _surround(x, geometry, _lowest(x))
    windows = _windows(geometry)
    out = padded[windows[0]].copy()
    for window in windows[1:]:
        xp.maximum(out, padded[window], out=out)
    shape = padded.shape

    def vjp(g):
        g_padded = xp.zeros(shape, g.dtype)
        for window, _, hit in _hits(x, out, geometry):
            g_padded[window] += xp.where(hit, g, 0)
        return (g_padded[inner],)

    return out, vjp


@named
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Keep the largest element of every window.

    .. math:: y_{b,c,i,j} = \\max_{u,v}\\; x_{b,\\,c,\\; s i - p + d u,\\; s j - p + d v}

    The gradient goes to the maximum; if several elements are equal, to the first of them.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps.
    kernel_size : int or (int, int)
        Height and width of the window, pixels.
    stride : int or (int, int), optional
        Pixels from one window to the next. Default ``kernel_size``: windows lie side by side.
    padding : int or (int, int), default 0
        Pixels of -inf on every side (never a maximum); at most half the window.
    dilation : int or (int, int), default 1
        Pixels between neighbouring elements of a window.
    ceil_mode : bool, default False
        If rows or columns are left over at the bottom and right: True gives them a smaller window, False drops them.
    return_indices : bool, default False
        Also return where the maxima were, for `max_unpool2d`.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H', W')
        The maxima; NaN where a window has one. With ``return_indices`` a pair: the maxima, and their positions
        ``row * W + column`` as an int64 ndarray of the same shape.

    Raises
    ------
    ValueError
        If ``x`` is not (B, C, H, W), the window is larger than the padded image, or an option is out of range.

    Notes
    -----
    Differentiable in ``x``. ``x`` and the maxima are kept for backward; the positions are searched again. A window
    without any pixel (possible with dilation) gives -inf, position 0 and no gradient.

    References
    ----------
    Slides ``A/5-pooling-widens-and-loses``, ``C/78-max-unpooling``, ``C/90-layer-types``.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
    >>> max_pool2d(x, 2)
    array([[[[5, 6],
             [7, 8]]]])
    """
    array = x.data if isinstance(x, Tensor) else x
    xp = namespace(array)
    geometry = _geometry("max_pool2d", array, kernel_size, stride, padding, dilation, ceil_mode)
    out = _max_pool2d(x, geometry)
    if not return_indices:
        return out
    maxima = out.data if isinstance(out, Tensor) else out
    indices = xp.zeros(maxima.shape, xp.int64)
    for _, position, hit in _hits(array, maxima, geometry):
        indices += xp.where(hit, position, 0)
    return out, indices


@primitive(dtypes="any")
def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Put values back where `max_pool2d` found its maxima, with zeros everywhere else.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H', W')
        Values to place.
    indices : int64 ndarray, shape (B, C, H', W')
        For each value its position ``row * W + column``, from ``max_pool2d(..., return_indices=True)``.
    kernel_size, stride, padding : int or (int, int), defaults -, ``kernel_size``, 0
        Those of the pooling. They only decide the size of the result.
    output_size : (int, int) or (B, C, int, int), optional
        Height and width of the result, needed if the pooling dropped rows or columns. Default
        ``(H' - 1) stride + kernel - 2 padding``; a given size must lie within one stride of it.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H, W)
        In the dtype of ``x``.

    Raises
    ------
    ValueError
        If the shapes do not fit or ``output_size`` is out of reach.
    IndexError
        If a position lies outside the result.

    Notes
    -----
    If two windows share their maximum, its position occurs twice. The last of the two values is kept, and only this one
    gets the gradient.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, section 2.1. Slide
    ``C/78-max-unpooling``.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool2d(np.array([[[[1.0, 2.0]]]]), np.array([[[[5, 2]]]]), kernel_size=2)
    array([[[[0., 0., 2., 0.],
             [0., 1., 0., 0.]]]])
    """
    name = "max_unpool2d"
    xp = namespace(x, indices)
    shapes = _images(name, x)[:-1] + f", indices: {tuple(indices.shape)})"
    if indices.shape != x.shape:
        raise ValueError(f"{name}: indices must have the shape of x {shapes}")
    kernel = sizes(name, "kernel_size", kernel_size, 2)
    stride = kernel if stride is None else sizes(name, "stride", stride, 2)
    padding = sizes(name, "padding", padding, 2, least=0)
    usual = tuple(
        (i - 1) * s + k - 2 * p for i, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True)
    )
    size = sizes(name, "output_size", usual if output_size is None else tuple(output_size)[-2:], 2)
    if any(abs(n - u) >= s for n, u, s in zip(size, usual, stride, strict=True)):
        raise ValueError(f"{name}: output_size {size} must be within a stride {stride} of {usual} {shapes}")
    H, W = size
    check_range(name, "indices", indices, H * W, low=0)
    planes, n = x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]
    at = (xp.zeros((planes, n), xp.int64) + xp.arange(planes)[:, None], indices.reshape(planes, n))
    number = xp.zeros((planes, n), xp.int64) + xp.arange(1, n + 1)
    owner = xp.zeros((planes, H * W), xp.int64)  # the number of the value that is kept at a position; 0: none
    while (late := owner[at] < number).any():  # once on a CPU; a GPU writes repeated positions in any order
        owner[at[0][late], at[1][late]] = number[late]
    stays = owner[at] == number
    out = xp.where(owner > 0, xp.take_along_axis(x.reshape(planes, n), xp.maximum(owner - 1, 0), axis=1), 0)

    def vjp(g):
        return (xp.where(stays, g.reshape(planes, H * W)[at], 0).reshape(x.shape),)

    return out.reshape(*x.shape[:2], H, W), vjp


def _divisors(xp, dtype, spatial, geometry, count_include_pad):
    """Number of rows (H', 1) and columns (1, W') in every window. Their product is the number of elements."""
    counts = []
    for start, i, k, p in zip(_starts(xp, geometry), spatial, geometry.kernel, geometry.padding, strict=True):
        # elements beyond the padding never count; a window that is not full (ceil_mode) reaches there
        end = xp.minimum(start + k, i + p)
        if not count_include_pad:
            start = xp.maximum(start, 0)
            end = xp.minimum(end, i)
        counts.append((end - start).astype(dtype))
    return counts


@primitive
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Average every window.

    .. math:: y_{b,c,i,j} = \\frac{1}{n_{ij}} \\sum_{u,v} x_{b,\\,c,\\; s i - p + u,\\; s j - p + v}

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps, floating-point.
    kernel_size, stride, padding : int or (int, int), defaults -, ``kernel_size``, 0
        As for `max_pool2d`, with zeros for padding.
    ceil_mode : bool, default False
        As for `max_pool2d`.
    count_include_pad : bool, default True
        Whether n includes the zeros of the padding, or only the elements of the image.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H', W')
        The means, in the dtype of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is not (B, C, H, W), the window is larger than the padded image, or an option is out of range.
    TypeError
        If ``x`` is not floating-point.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B (sub-sampling layers).

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 2)
    array([[[[1.5]]]])
    """
    xp = namespace(x)
    geometry = _geometry("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    check_floating("avg_pool2d", x)
    rows, columns = _divisors(xp, x.dtype, x.shape[2:], geometry, count_include_pad)
    padded, inner = _surround(x, geometry, 0)
    windows = _windows(geometry)
    shape = padded.shape
    total = padded[windows[0]].copy()
    for window in windows[1:]:
        total += padded[window]

    def vjp(g):
        share = g / (rows * columns)
        g_padded = xp.zeros(shape, g.dtype)
        for window in windows:
            g_padded[window] += share
        return (g_padded[inner],)

    return total / (rows * columns), vjp


@primitive
def adaptive_avg_pool2d(x, output_size):
    """Average a map to a given size: output row i is the mean of rows floor(i H / H') to ceil((i + 1) H / H') - 1.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps, floating-point.
    output_size : int or (int or None, int or None)
        Height H' and width W' of the result; None keeps that of ``x``.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H', W')
        The means, in the dtype of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is not (B, C, H, W) or a size is below 1.
    TypeError
        If ``x`` is not floating-point.

    Notes
    -----
    Windows overlap where H' does not divide H. Rows are averaged first, then columns.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 6.0]]]]), (1, 2))
    array([[[[1.5, 4. ]]]])
    """
    name = "adaptive_avg_pool2d"
    xp = namespace(x)
    _images(name, x)
    check_floating(name, x)
    wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    wanted = tuple(x.shape[a - len(wanted)] if n is None else n for a, n in enumerate(wanted))
    size = sizes(name, "output_size", wanted, 2)
    y = x
    for axis, n in zip((2, 3), size, strict=True):
        parts = [y[part].mean(axis=axis, keepdims=True) for part in _sections(axis, y.shape[axis], n)]
        y = xp.concatenate(parts, axis=axis)

    def vjp(g):
        for axis, i in ((3, x.shape[3]), (2, x.shape[2])):
            wide = xp.zeros((*g.shape[:axis], i, *g.shape[axis + 1 :]), g.dtype)
            for n, part in enumerate(_sections(axis, i, g.shape[axis])):
                one = (slice(None),) * axis + (slice(n, n + 1),)
                wide[part] += g[one] / (part[axis].stop - part[axis].start)
            g = wide
        return (g,)

    return y, vjp


def _sections(axis, length, n):
    """The slices along an axis whose means `adaptive_avg_pool2d` takes."""
    return [(slice(None),) * axis + (slice(i * length // n, -(-(i + 1) * length // n)),) for i in range(n)]
