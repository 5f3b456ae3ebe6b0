"""Windows of a feature map: partition, cyclic shift, the attention mask after the shift, relative positions of tokens.

Not here: attention inside windows and its learned bias (nn/window_attention.py), patches of an image (patches.py).
"""

import numpy as np

from minivis import ops
from minivis.pairs import checked_pair, pair

__all__ = [
    "cyclic_shift",
    "relative_position_index",
    "shifted_window_mask",
    "window_partition",
    "window_reverse",
]


def pad_to_multiple(x, rows, columns, axis=1):
    """Pad with zeros at the bottom and right, so that ``rows`` divides the height and ``columns`` the width.

    The height is at `axis`, the width at the axis after it.
    """
    height = -x.shape[axis] % rows
    width = -x.shape[axis + 1] % columns
    if not (height or width):
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis : axis + 2] = (0, height), (0, width)
    return ops.pad(x, widths)


def window_partition(x, window):
    """Cut every map into windows that do not overlap. Attention inside windows has a cost linear in the map's size.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, H, W, C)
        Maps with the channels last. H and W must be divisible by the window's sides.
    window : int or (int, int)
        M, or height and width of a window, in tokens.

    Returns
    -------
    ndarray or Tensor, shape (B nW, M, M, C)
        nW = HW / M^2 windows of each map in reading order, map by map.

    Raises
    ------
    ValueError
        If the windows do not fill the map.

    Notes
    -----
    Differentiable in ``x``. `window_reverse` is its inverse; applied to the cotangent it is also its backward.

    References
    ----------
    Liu et al., "Swin Transformer: hierarchical vision transformer using shifted windows", ICCV 2021, section 3.2.
    Slide ``A/44-windows-and-merging``.

    Examples
    --------
    >>> window_partition(np.arange(8).reshape(1, 2, 4, 1), 2)[..., 0]
    array([[[0, 1],
            [4, 5]],
           [[2, 3],
            [6, 7]]])
    """
    m, n = checked_pair("window_partition", "window", window)
    if x.ndim != 4 or x.shape[1] % m or x.shape[2] % n:
        raise ValueError(
            f"window_partition: x must be (B, H, W, C) with H and W divisible by the window {(m, n)} "
            f"(x: {tuple(x.shape)})"
        )
    B, H, W, C = x.shape
    x = ops.reshape(x, (B, H // m, m, W // n, n, C))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, H/M, W/M, M, M, C)
    return ops.reshape(x, (B * (H // m) * (W // n), m, n, C))


def window_reverse(windows, window, height, width):
    """Put windows together into maps: the inverse of `window_partition`.

    Parameters
    ----------
    windows : ndarray or Tensor, shape (B nW, M, M, C)
        Windows, as `window_partition` makes them.
    window : int or (int, int)
        M, or height and width of a window, in tokens.
    height, width : int
        Height and width of the maps, in tokens.

    Returns
    -------
    ndarray or Tensor, shape (B, height, width, C)

    Raises
    ------
    ValueError
        If the windows do not fill whole maps of that size.

    Examples
    --------
    >>> windows = window_partition(np.arange(8).reshape(1, 2, 4, 1), 2)
    >>> window_reverse(windows, 2, 2, 4)[0, ..., 0]
    array([[0, 1, 2, 3],
           [4, 5, 6, 7]])
    """
    m, n = checked_pair("window_reverse", "window", window)
    checked_pair("window_reverse", "height, width", (height, width))
    rows, columns = height // m, width // n
    fills = (rows * m, columns * n) == (height, width)
    if (
        not fills
        or windows.ndim != 4
        or tuple(windows.shape[1:3]) != (m, n)
        or windows.shape[0] % (rows * columns)
    ):
        raise ValueError(
            f"window_reverse: windows must be (B nW, M, M, C) with nW windows {(m, n)} that fill a map of "
            f"{height} x {width} tokens (windows: {tuple(windows.shape)})"
        )
    B = windows.shape[0] // (rows * columns)
    C = windows.shape[3]
    x = ops.reshape(windows, (B, rows, columns, m, n, C))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, H/M, M, W/M, M, C)
    return ops.reshape(x, (B, height, width, C))


def cyclic_shift(x, shift):
    """Move maps up and to the left; rows and columns that leave the map enter at the opposite side.

    .. math:: y_{i, j} = x_{(i + s) \\bmod H,\\; (j + s) \\bmod W}

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, H, W, C)
        Maps with the channels last.
    shift : int or (int, int)
        s, or the shift of rows and of columns, in tokens. ``cyclic_shift(y, -s)`` undoes it.

    Returns
    -------
    ndarray or Tensor, shape (B, H, W, C)

    Raises
    ------
    ValueError
        If ``x`` does not have four axes.

    References
    ----------
    Liu et al. 2021, figure 4. Slide ``A/47-cyclic-shift``.

    Examples
    --------
    >>> cyclic_shift(np.arange(4).reshape(1, 1, 4, 1), (0, 1)).ravel()
    array([1, 2, 3, 0])
    """
    if x.ndim != 4:
        raise ValueError(f"cyclic_shift: x must be (B, H, W, C) (x: {tuple(x.shape)})")
    down, right = pair(shift)
    return ops.roll(x, (-down, -right), (1, 2))


def shifted_window_mask(height, width, window, shift):
    """The attention mask of windows after the cyclic shift: tokens attend to each other if they were together before it.

    After the shift, the windows at the bottom and right edges contain strips from opposite sides of the map. A token may
    attend to the tokens of its window that were moved around the same edges:

    .. math:: M_{ij} = [r_i = r_j] \\wedge [c_i = c_j], \\qquad
        r_i = [y_i \\ge H - s], \\quad c_i = [x_i \\ge W - s]

    Parameters
    ----------
    height, width : int
        Height and width of the map in tokens, divisible by the window's sides.
    window : int or (int, int)
        M, or height and width of a window, in tokens.
    shift : int or (int, int)
        s, less than the window's sides. With 0 every pair may attend.

    Returns
    -------
    ndarray of bool, shape (nW, N, N)
        For each of the nW windows in reading order, N = M^2 queries by N keys. True = may be attended.

    Raises
    ------
    ValueError
        If the windows do not fill the map or the shift is not in [0, M).

    Notes
    -----
    The published models add -100 to the scores where this is False, and they number nine regions instead of four. Within a
    window, both numberings give the same mask.

    References
    ----------
    Liu et al. 2021, section 3.2 and figure 4. Slides ``A/46-shifted-windows``, ``A/47-cyclic-shift``.

    Examples
    --------
    >>> shifted_window_mask(1, 4, (1, 2), (0, 1)).astype(int)  # the last window has columns 3 and 0
    array([[[1, 1],
            [1, 1]],
           [[1, 0],
            [0, 1]]])
    """
    m, n = checked_pair("shifted_window_mask", "window", window)
    checked_pair("shifted_window_mask", "height, width", (height, width))
    down, right = pair(shift)
    if height % m or width % n or not (0 <= down < m and 0 <= right < n):
        raise ValueError(
            f"shifted_window_mask: windows {(m, n)} must fill the map of {height} x {width} tokens, and the shift must be "
            f"at least 0 and less than the window, got {(down, right)}"
        )
    wrapped_rows = np.arange(height) >= height - down
    wrapped_columns = np.arange(width) >= width - right
    region = 2 * wrapped_rows[:, None] + wrapped_columns  # (H, W): 0 to 3
    region = window_partition(region[None, ..., None], (m, n)).reshape(-1, m * n)  # (nW, N)
    return region[:, :, None] == region[:, None, :]


def relative_position_index(window):
    """Number the relative positions of two tokens of a window; each number has one learned bias.

    .. math:: I_{ij} = (y_i - y_j + M_h - 1)(2 M_w - 1) + (x_i - x_j + M_w - 1)

    Parameters
    ----------
    window : int or (int, int)
        M, or height M_h and width M_w of a window, in tokens.

    Returns
    -------
    ndarray of int64, shape (N, N)
        N = M_h M_w. The entry in row i and column j is the row, for query i and key j, in the table of
        (2 M_h - 1)(2 M_w - 1) biases. Every row of the table is used.

    Raises
    ------
    ValueError
        If the window has no tokens.

    References
    ----------
    Liu et al. 2021, section 3.2, equation 4. Slide ``A/49-relative-position-bias``.

    Examples
    --------
    >>> relative_position_index((1, 3))  # row 1: key on the left 3, same token 2, on the right 1
    array([[2, 1, 0],
           [3, 2, 1],
           [4, 3, 2]])
    """
    m, n = checked_pair("relative_position_index", "window", window)
    y, x = (place.reshape(-1) for place in np.indices((m, n)))
    down = y[:, None] - y[None, :] + m - 1  # (N, N), 0 to 2 M_h - 2
    right = x[:, None] - x[None, :] + n - 1
    return (down * (2 * n - 1) + right).astype(np.int64)
