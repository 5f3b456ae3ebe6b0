"""Resampling: resize an image (interpolate), or read it at arbitrary points (grid_sample).

Not here: pooling (pool.py), transposed convolution and unfold/fold (conv.py), resizing of pictures on disk (data/).
"""

import math

from minivis import backend
from minivis.autograd import primitive
from minivis.backend import namespace
from minivis.ops.conv import sizes

__all__ = ["grid_sample", "interpolate"]


@primitive(dtypes="numbers")
def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False, antialias=False):
    """Resize images or maps.

    .. math:: Y = A_H\\, X\\, A_W^T, \\qquad \\bar X = A_H^T\\, \\bar Y\\, A_W

    There is one matrix for each axis. Row i of :math:`A_H` holds the weights of the one (nearest), two (bilinear) or
    four (bicubic) input rows around the place that output row i comes from.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps.
    size : int or (int, int), optional
        Height and width of the result, pixels.
    scale_factor : float or (float, float), optional
        Instead of ``size``: the result has ``floor(H * scale_factor)`` rows, whose distance is ``1 / scale_factor``
        input rows.
    mode : {"nearest", "bilinear", "bicubic"}, default "nearest"
        Nearest takes the pixel at floor(i / scale). Bicubic is Keys' kernel with a = -0.75.
    align_corners : bool, default False
        Coordinates of bilinear and bicubic. False: pixels are squares and the edges of the images coincide. Output row
        i comes from row (i + 1/2) / scale - 1/2. True: pixels are points and the corner points coincide. Output row i
        comes from row i (H - 1) / (H' - 1); if there is only one, from row 0.
    antialias : bool, default False
        Widen the bilinear or bicubic kernel (a = -0.5) when shrinking, so that every input pixel counts.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H', W')
        In the dtype of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is not (B, C, H, W), both or none of ``size`` and ``scale_factor`` are given, the result would be
        empty, the mode is unknown, or antialias is combined with nearest or align_corners.
    TypeError
        If ``x`` is not floating-point (nearest takes any dtype).

    References
    ----------
    Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15. Slide
    ``C/76-unpooling``.

    Examples
    --------
    >>> import numpy as np
    >>> interpolate(np.array([[[[1.0, 2.0]]]]), size=(1, 4))
    array([[[[1., 1., 2., 2.]]]])
    >>> interpolate(np.array([[[[1.0, 2.0]]]]), size=(1, 4), mode="bilinear")
    array([[[[1.  , 1.25, 1.75, 2.  ]]]])
    """
    xp = namespace(x)
    name = "interpolate"
    shapes = f"(x: {tuple(x.shape)})"
    if x.ndim != 4 or not all(x.shape[1:]):
        raise ValueError(f"{name}: x must be (B, C, H, W), only B may be 0 {shapes}")
    if mode not in ("nearest", "bilinear", "bicubic"):
        raise ValueError(f'{name}: mode must be "nearest", "bilinear" or "bicubic", got {mode!r} {shapes}')
    if antialias and (mode == "nearest" or align_corners):
        raise ValueError(
            f"{name}: antialias goes with bilinear or bicubic, and not with align_corners {shapes}"
        )
    if x.dtype.kind != "f" and mode != "nearest":
        raise TypeError(f"{name}: x must be floating-point for {mode}, got {x.dtype.name} {shapes}")
    out, factors = _target(x.shape[2:], size, scale_factor, shapes)
    taps = [
        _taps(xp, x.dtype, i, o, f, mode, align_corners, antialias)
        for i, o, f in zip(x.shape[2:], out, factors, strict=True)
    ]
    y = _along(_along(x, 2, *taps[0]), 3, *taps[1])

    def vjp(g):
        A_h, A_w = (_matrix(xp, g.dtype, i, *t) for i, t in zip(x.shape[2:], taps, strict=True))
        return (xp.matmul(xp.matmul(A_h.T, g), A_w),)

    return y, vjp


def _target(spatial, size, scale_factor, shapes):
    """Output size and scale factor (None if ``size`` was given), both with one entry per axis."""
    if (size is None) == (scale_factor is None):
        both = "neither" if size is None else f"size={size} and scale_factor={scale_factor}"
        raise ValueError(f"interpolate: give either size or scale_factor, got {both} {shapes}")
    if size is not None:
        return sizes("interpolate", "size", size, 2), (None, None)
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
    if len(factors) != 2 or not all(math.isfinite(f) for f in factors):
        raise ValueError(f"interpolate: scale_factor must be a number or two, got {scale_factor} {shapes}")
    out = tuple(math.floor(i * f) for i, f in zip(spatial, factors, strict=True))
    if min(out) < 1:
        raise ValueError(
            f"interpolate: nothing is left at scale_factor={scale_factor}, the size is {out} {shapes}"
        )
    return out, factors


def _taps(xp, dtype, n, out, factor, mode, align_corners, antialias):
    """For every output position, the input positions that it reads and their weights: two arrays (out, taps).

    Coordinates are rounded as in torch: the step is rounded to the dtype of x (nearest: float32), and so is each
    coordinate. At large sizes another rounding would give other pixels.
    """
    if out == n and (mode != "bicubic" or antialias):  # the same size keeps every pixel, whatever the factor
        return xp.arange(out)[:, None], None
    if mode == "nearest" and out == 2 * n:  # the double size repeats every pixel, whatever the factor
        return xp.arange(out)[:, None] // 2, None
    kind = xp.dtype("float32") if mode == "nearest" else dtype
    step = n / out if factor is None else 1 / factor  # input pixels from one output pixel to the next
    if align_corners and mode != "nearest":
        step = (n - 1) / (out - 1) if out > 1 else 0.0
    step = float(kind.type(step))
    place = xp.arange(out).astype(xp.float64)[:, None]
    if mode == "nearest":
        return xp.minimum(xp.floor((place * step).astype(kind)), n - 1).astype(xp.int64), None
    if antialias:
        return _wide_taps(xp, n, ((place + 0.5) * step).astype(kind), max(step, 1.0), mode)
    place = (place * step if align_corners else (place + 0.5) * step - 0.5).astype(kind)
    if mode == "bilinear":
        place = xp.maximum(place, 0)
    first = xp.minimum(xp.floor(place), n - 1)
    t = xp.clip(place - first, 0.0, 1.0)  # (out, 1), how far beyond the first tap
    if mode == "bilinear":
        offsets = xp.arange(2)
        weights = xp.concatenate([1 - t, t], axis=1)
    else:
        offsets = xp.arange(-1, 3)
        weights = _keys(xp, t - offsets.astype(kind), -0.75)
    return xp.clip(first.astype(xp.int64) + offsets, 0, n - 1), weights


def _wide_taps(xp, n, centre, width, mode):
    """The taps of a kernel that is stretched to ``width`` input pixels. The weights of every output sum to 1."""
    support = width * (1 if mode == "bilinear" else 2)
    first = xp.maximum((centre - support + 0.5).astype(xp.int64), 0)
    last = xp.minimum((centre + support + 0.5).astype(xp.int64), n)  # exclusive
    index = first + xp.arange(2 * math.ceil(support) + 1)
    distance = (index.astype(centre.dtype) + 0.5 - centre) / width
    weights = xp.maximum(1 - xp.abs(distance), 0) if mode == "bilinear" else _keys(xp, distance, -0.5)
    weights = xp.where(index < last, weights, 0)
    return xp.clip(index, 0, n - 1), weights / weights.sum(axis=1, keepdims=True)


def _keys(xp, distance, a):
    """Keys' cubic kernel: smooth, 1 at 0, 0 at the other integers and beyond 2."""
    d = xp.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return xp.where(d <= 1, near, xp.where(d < 2, far, 0))


def _along(x, axis, index, weights):
    """Weighted sums of rows (axis 2) or columns (axis 3). Only the taps are read, so a NaN does not spread to all."""
    xp = namespace(x)
    if weights is None:
        return xp.take(x, index[:, 0], axis=axis)
    shape = [1, 1, 1, 1]
    shape[axis] = index.shape[0]
    total = 0
    for tap in range(index.shape[1]):
        total = total + xp.take(x, index[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return total


def _matrix(xp, dtype, n, index, weights):
    """The taps written out as the matrix A (out, n)."""
    A = xp.zeros((index.shape[0], n), dtype)
    rows = xp.arange(index.shape[0])
    for tap in range(index.shape[1]):
        A[rows, index[:, tap]] += 1 if weights is None else weights[:, tap]
    return A


@primitive
def grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """Read images at given points, which may lie between pixels.

    .. math:: y_{b,c,i,j} = \\sum_{u,v} x_{b,c,u,v}\\; \\max(0, 1 - |q_y - u|)\\; \\max(0, 1 - |q_x - v|)

    where (q_x, q_y) is ``grid[b, i, j]`` in pixels (the formula is that of bilinear).

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps, floating-point.
    grid : ndarray or Tensor, shape (B, H', W', 2)
        Where to read: (x, y), so the column comes first. -1 and 1 are the borders of the image.
    mode : {"bilinear", "nearest"}, default "bilinear"
        Mix the four pixels around the point, or take the nearest one (halfway, the one with the even number).
    padding_mode : {"zeros", "border", "reflection"}, default "zeros"
        The values outside the image: zeros, the nearest border pixel, or the image mirrored repeatedly at its border.
    align_corners : bool, default False
        True: -1 and 1 are the centres of the corner pixels. False: their outer edges.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H', W')
        In the dtype of ``x``.

    Raises
    ------
    ValueError
        If the shapes do not fit or an option is unknown.
    TypeError
        If ``x`` or ``grid`` is not floating-point.

    Notes
    -----
    Differentiable in ``x`` and ``grid``. With nearest, the gradient in ``grid`` is exactly 0, because a small move of a
    point changes nothing. Points that are NaN count as outside.

    References
    ----------
    Jaderberg et al., "Spatial transformer networks", 2015, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[[1.0, 3.0]]]])
    >>> grid_sample(image, np.array([[[[0.0, 0.0]]]]))
    array([[[[2.]]]])
    """
    xp = namespace(x, grid)
    _check_grid(x, grid, mode, padding_mode)
    (B, C, H, W) = x.shape
    shape = grid.shape[:3]
    # flatten: the points of all images are (B H' W',), the pixels of all images (B H W, C)
    q_x, slope_x = _pixels(xp, grid[..., 0].ravel(), W, padding_mode, align_corners)
    q_y, slope_y = _pixels(xp, grid[..., 1].ravel(), H, padding_mode, align_corners)
    image = (xp.zeros(shape, xp.int64) + xp.arange(B)[:, None, None]).ravel()
    pixels = xp.moveaxis(x, 1, -1).reshape(B * H * W, C)
    corners = _corners(xp, q_y, q_x, image, H, W, mode, x.dtype)
    y = xp.zeros((q_x.size, C), x.dtype)
    for at, inside, w_y, w_x, _, _ in corners:
        y += xp.where(inside[:, None], xp.take(pixels, at, axis=0) * (w_y * w_x)[:, None], 0)

    def vjp(g):
        g = xp.moveaxis(g, 1, -1).reshape(y.shape)
        g_pixels = xp.zeros(pixels.shape, x.dtype)
        g_qx, g_qy = xp.zeros(q_x.shape, g.dtype), xp.zeros(q_y.shape, g.dtype)
        for at, inside, w_y, w_x, sign_y, sign_x in corners:
            backend.scatter_add(g_pixels, at, g * (w_y * w_x)[:, None])
            if mode == "bilinear":
                slope = xp.where(inside, (g * xp.take(pixels, at, axis=0)).sum(axis=1), 0)
                g_qx += sign_x * slope * w_y
                g_qy += sign_y * slope * w_x
        g_x = xp.ascontiguousarray(xp.moveaxis(g_pixels.reshape(B, H, W, C), -1, 1))
        g_grid = xp.stack([g_qx * slope_x, g_qy * slope_y], axis=-1).reshape(grid.shape)
        return g_x, g_grid.astype(grid.dtype, copy=False)

    return xp.ascontiguousarray(xp.moveaxis(y.reshape(*shape, C), -1, 1)), vjp


def _corners(xp, q_y, q_x, image, H, W, mode, dtype):
    """The pixels around every point: four for bilinear, one for nearest.

    For each: its index, whether it is on the image, its weights in y and x (0 outside), and the signs of the
    derivatives of these weights.
    """
    row, column = (xp.rint(q_y), xp.rint(q_x)) if mode == "nearest" else (xp.floor(q_y), xp.floor(q_x))
    t_y, t_x = q_y - row, q_x - column  # in [0, 1) for bilinear
    found = []
    for dy, dx in [(0, 0)] if mode == "nearest" else [(0, 0), (0, 1), (1, 0), (1, 1)]:
        inside = (row + dy >= 0) & (row + dy < H) & (column + dx >= 0) & (column + dx < W)
        u, v = (xp.where(inside, place, 0).astype(xp.int64) for place in (row + dy, column + dx))
        w_y, w_x = (1, 1) if mode == "nearest" else (t_y if dy else 1 - t_y, t_x if dx else 1 - t_x)
        w_y, w_x = (xp.where(inside, w, 0).astype(dtype) for w in (w_y, w_x))
        found.append(((image * H + u) * W + v, inside, w_y, w_x, 2 * dy - 1, 2 * dx - 1))
    return found


def _check_grid(x, grid, mode, padding_mode):
    shapes = f"(x: {tuple(x.shape)}, grid: {tuple(grid.shape)})"
    if x.ndim != 4 or not all(x.shape[1:]):
        raise ValueError(f"grid_sample: x must be (B, C, H, W), only B may be 0 {shapes}")
    if grid.ndim != 4 or grid.shape[0] != x.shape[0] or grid.shape[3] != 2:
        raise ValueError(f"grid_sample: grid must be (B, H', W', 2) with the B of x {shapes}")
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f'grid_sample: mode must be "bilinear" or "nearest", got {mode!r} {shapes}')
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            f'grid_sample: padding_mode must be "zeros", "border" or "reflection", got {padding_mode!r}'
        )
    if x.dtype.kind != "f" or grid.dtype.kind != "f":
        raise TypeError(
            f"grid_sample: x and grid must be floating-point, got {x.dtype.name} and {grid.dtype.name}"
        )


def _pixels(xp, coordinate, n, padding_mode, align_corners):
    """Convert normalised coordinates to pixels, moved onto the image as the padding mode says; also the derivative."""
    scale = (n - 1) / 2 if align_corners else n / 2
    q = (coordinate + 1) * scale - (0 if align_corners else 0.5)
    slope = xp.zeros(q.shape, q.dtype) + scale
    if padding_mode == "reflection":
        low, span = (0, n - 1) if align_corners else (-0.5, n)
        if not span:  # the image is a single point: all coordinates are mirrored onto it
            return 0 * q, 0 * slope
        turns = xp.floor((q - low) / span)
        odd = turns % 2 == 1
        rest = q - low - turns * span
        q = low + xp.where(odd, span - rest, rest)
        slope = xp.where(odd, -slope, slope)
    if padding_mode == "zeros":
        q = xp.clip(q, -2, n + 1)  # outside the image already; keeps the integers small
    else:
        slope = xp.where((q > 0) & (q < n - 1), slope, 0)
        q = xp.clip(q, 0, n - 1)
    return q, slope
