"""The neighbourhood of every pixel: borders, scores of a pixel against its neighbours, weighted sums of neighbours.

Local attention is made of these. They go through the window offset by offset: no array holds every window's channels.
Not here: the layers (models/sasa.py, models/lr_net.py, models/san.py), windows that do not overlap (windows.py).
"""

import functools

import numpy as np

from minivis import backend, ops
from minivis.autograd import Tensor, primitive
from minivis.backend import namespace
from minivis.pairs import checked_pair

__all__ = [
    "add_border",
    "neighbour_mask",
    "neighbour_scores",
    "neighbour_softmax",
    "neighbour_sum",
    "neighbours",
]

BORDERS = ("zeros", "reflect")
# A score that softmax turns into exactly 0. It is finite, so that `mv.debug()` has nothing to report.
HIDDEN = -1e30


def add_border(x, window, border="zeros"):
    """Surround a map with the pixels that the windows of its outermost pixels reach.

    Parameters
    ----------
    x : ndarray or Tensor, shape (..., H, W)
        Maps.
    window : int or (int, int)
        Height m and width n of the window around each pixel. An even window reaches one pixel farther up and left.
    border : {"zeros", "reflect"}, default "zeros"
        What lies outside: zeros, or the map mirrored at its outermost pixels.

    Returns
    -------
    ndarray or Tensor, shape (..., H + m - 1, W + n - 1)

    Raises
    ------
    ValueError
        If the window has no pixels, or ``border`` is unknown.

    Examples
    --------
    >>> add_border(np.array([[1.0, 2.0, 3.0]]), (1, 3), "reflect")
    array([[2., 1., 2., 3., 2.]])
    """
    m, n = checked_pair("add_border", "window", window)
    if border not in BORDERS or x.ndim < 2:
        raise ValueError(
            f"add_border: border must be one of {', '.join(BORDERS)} and x (..., H, W), "
            f"got {border!r} (x: {tuple(x.shape)})"
        )
    widths = [(side // 2, side - 1 - side // 2) for side in (m, n)]
    if border == "zeros":
        return ops.pad(x, [(0, 0)] * (x.ndim - 2) + widths)
    for axis, width in zip((-2, -1), widths, strict=True):
        index = np.pad(np.arange(x.shape[axis]), width, mode="reflect")
        x = ops.take(x, backend.to_device(index, device_of(x)), axis=axis)
    return x


def neighbour_mask(height, width, window):
    """Which neighbours of each pixel lie inside the map.

    Parameters
    ----------
    height, width : int
        Size of the map, in pixels.
    window : int or (int, int)
        Height m and width n of the window around each pixel.

    Returns
    -------
    ndarray of bool, shape (m n, H, W)
        The offsets of the window in reading order, for each pixel. True = inside, so it may be attended.

    Raises
    ------
    ValueError
        If the map or the window has no pixels.

    Examples
    --------
    >>> neighbour_mask(3, 3, 3).sum(axis=0)  # a corner has 4 neighbours, itself included
    array([[4, 6, 4],
           [6, 9, 6],
           [4, 6, 4]])
    """
    size = checked_pair("neighbour_mask", "height, width", (height, width))
    m, n = checked_pair("neighbour_mask", "window", window)
    inside = add_border(np.ones(size), (m, n)) > 0
    return np.stack([there for there in _moved(inside, (m, n))])


@primitive(dtypes="any")
def neighbours(x, window):
    """The values of all neighbours of each pixel. This copies the map once for each offset of the window.

    Parameters
    ----------
    x : ndarray or Tensor, shape (..., H + m - 1, W + n - 1)
        Maps with the border that `add_border` makes.
    window : int or (int, int)
        Height m and width n of the window around each pixel.

    Returns
    -------
    ndarray or Tensor, shape (..., m n, H, W)
        The offsets of the window in reading order.

    Raises
    ------
    ValueError
        If the map is smaller than its window.

    Examples
    --------
    >>> neighbours(add_border(np.array([[1.0, 2.0]]), (1, 3)), (1, 3))[:, 0]  # to the left, here, to the right
    array([[0., 1.],
           [1., 2.],
           [2., 0.]])
    """
    xp = namespace(x)
    sides = _sides("neighbours", x, window)

    def vjp(g):
        d_x = xp.zeros_like(x)
        for number, there in enumerate(_moved(d_x, sides)):
            there += g[..., number, :, :]
        return (d_x,)

    return xp.stack([*_moved(x, sides)], axis=-3), vjp


@primitive
def neighbour_scores(q, k, window):
    """The dot product of each pixel's query with the key of each of its neighbours.

    .. math:: s_o(p) = \\sum_c q_c(p)\\, k_c(p + o)

    Parameters
    ----------
    q : ndarray or Tensor, shape (B, h, d, H, W)
        The queries of each head.
    k : ndarray or Tensor, shape (B, h, d, H + m - 1, W + n - 1)
        The keys, with the border that `add_border` makes.
    window : int or (int, int)
        Height m and width n of the window around each pixel.

    Returns
    -------
    ndarray or Tensor, shape (B, h, m n, H, W)
        The offsets o of the window in reading order. There is no factor 1 / sqrt(d).

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    m n H W h d multiply-adds: linear in the number of pixels.

    Examples
    --------
    >>> x = np.array([1.0, 2.0]).reshape(1, 1, 1, 1, 2)
    >>> neighbour_scores(x, add_border(x, (1, 3)), (1, 3))[0, 0, :, 0]
    array([[0., 2.],
           [1., 4.],
           [2., 0.]])
    """
    sides = _checked("neighbour_scores", "q (B, h, d, H, W)", q, "k", k, window)
    return _dot(q, k, sides), lambda g: (lambda: _mix(g, k, sides), lambda: _spread(g, q, sides))


@primitive
def neighbour_sum(weights, values, window):
    """The weighted sum of the values of each pixel's neighbours.

    .. math:: y_c(p) = \\sum_o w_o(p)\\, v_c(p + o)

    Parameters
    ----------
    weights : ndarray or Tensor, shape (B, h, m n, H, W)
        The weight of each neighbour, for each head; the offsets o of the window are in reading order.
    values : ndarray or Tensor, shape (B, h, d, H + m - 1, W + n - 1)
        The values, with the border that `add_border` makes. All d channels of a head share its weights.
    window : int or (int, int)
        Height m and width n of the window around each pixel.

    Returns
    -------
    ndarray or Tensor, shape (B, h, d, H, W)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    m n H W h d multiply-adds: linear in the number of pixels.

    Examples
    --------
    >>> x = np.array([1.0, 2.0]).reshape(1, 1, 1, 1, 2)
    >>> neighbour_sum(np.ones((1, 1, 3, 1, 2)), add_border(x, (1, 3)), (1, 3)).ravel()
    array([3., 3.])
    """
    sides = _checked("neighbour_sum", "weights (B, h, m n, H, W)", weights, "values", values, window)
    if weights.shape[2] != sides[0] * sides[1]:
        raise ValueError(
            f"neighbour_sum: weights must have one for each of the {sides[0]} x {sides[1]} neighbours "
            f"(weights: {tuple(weights.shape)}, values: {tuple(values.shape)})"
        )
    out = _mix(weights, values, sides)
    return out, lambda g: (lambda: _dot(g, values, sides), lambda: _spread(weights, g, sides))


def neighbour_softmax(scores, window):
    """Softmax over the neighbours of each pixel that lie inside the map; the others get the weight 0.

    Parameters
    ----------
    scores : ndarray or Tensor, shape (B, h, m n, H, W)
        The score of each neighbour; the offsets of the window are in reading order.
    window : int or (int, int)
        Height m and width n of the window around each pixel.

    Returns
    -------
    ndarray or Tensor, shape (B, h, m n, H, W)
        The weights of a pixel sum to 1.

    Raises
    ------
    ValueError
        If there is not a score for each neighbour.

    Examples
    --------
    >>> neighbour_softmax(np.zeros((1, 1, 3, 1, 2)), (1, 3))[0, 0, :, 0]  # no neighbour beyond the ends
    array([[0. , 0.5],
           [0.5, 0.5],
           [0.5, 0. ]])
    """
    m, n = checked_pair("neighbour_softmax", "window", window)
    if scores.ndim != 5 or scores.shape[2] != m * n:
        raise ValueError(
            f"neighbour_softmax: scores must be (B, h, {m * n}, H, W) for a window of {m} x {n} "
            f"(scores: {tuple(scores.shape)})"
        )
    inside = _mask_there(*scores.shape[3:], (m, n), device_of(scores))
    wide = scores.astype(np.float32) if scores.dtype == np.float16 else scores
    weights = ops.softmax(ops.where(inside, wide, HIDDEN), axis=2)
    return weights.astype(scores.dtype) if wide is not scores else weights


def _moved(x, window):
    """Views of a bordered map (..., H + m - 1, W + n - 1): for each offset what every pixel sees there, (..., H, W)."""
    (m, n) = window
    (*_, rows, columns) = x.shape
    for i in range(m):
        for j in range(n):
            yield x[..., i : rows - m + 1 + i, j : columns - n + 1 + j]


def _dot(q, k, window):
    xp = namespace(q, k)
    return xp.stack([xp.sum(q * there, axis=2) for there in _moved(k, window)], axis=2)  # (B, h, m n, H, W)


def _mix(weights, values, window):
    return sum(weights[:, :, o, None] * there for o, there in enumerate(_moved(values, window)))


def _spread(weights, x, window):
    """The transpose of `_mix`: each pixel adds its x, times a weight, to each neighbour. The result has a border."""
    xp = namespace(weights, x)
    (m, n) = window
    (*leading, H, W) = x.shape
    out = xp.zeros((*leading, H + m - 1, W + n - 1), x.dtype)
    for o, there in enumerate(_moved(out, window)):
        there += weights[:, :, o, None] * x
    return out


@functools.lru_cache(maxsize=64)
def _mask_there(height, width, window, device):
    """`neighbour_mask` on a device, cached for the next batch, because maps have only a few sizes."""
    return backend.to_device(neighbour_mask(height, width, window), device)


def device_of(x):
    """The device of an array or Tensor."""
    return x.device if isinstance(x, Tensor) else backend.device_of(x)


def _sides(name, x, window):
    """The sides of the window; raise unless a bordered map has room for it."""
    m, n = checked_pair(name, "window", window)
    if x.ndim < 2 or x.shape[-2] < m or x.shape[-1] < n:
        raise ValueError(
            f"{name}: a map with its border must be at least as large as the window {m} x {n} (got {tuple(x.shape)})"
        )
    return m, n


def _checked(name, form, pixels, argument, bordered, window):
    told = f"({form.split()[0]}: {tuple(pixels.shape)}, {argument}: {tuple(bordered.shape)})"
    if pixels.ndim != 5 or bordered.ndim != 5 or tuple(pixels.shape[:2]) != tuple(bordered.shape[:2]):
        raise ValueError(
            f"{name}: {form} and {argument} (B, h, d, H + m - 1, W + n - 1) must share B and h {told}"
        )
    m, n = _sides(name, bordered, window)
    H, W = bordered.shape[3] - m + 1, bordered.shape[4] - n + 1
    d = pixels.shape[2] if argument == "values" else bordered.shape[2]
    if tuple(pixels.shape[2:]) != (d, H, W):
        raise ValueError(
            f"{name}: {argument} must have the size of {form.split()[0]} and a border for the window {m} x {n} {told}"
        )
    return m, n
