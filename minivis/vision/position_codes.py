"""Sine position codes for sequences and grids, and resizing a learned table to another grid.

Not here: the layers that add codes to tokens (nn/position.py).
"""

import math

import numpy as np

from minivis import ops
from minivis.backend import namespace

__all__ = [
    "padded_sine_position_code",
    "resize_position_table",
    "sine_position_code",
    "sine_position_code_1d",
]


def _waves(positions, dim, temperature):
    """Sines and cosines of positions, interleaved: (n,) to (n, dim)."""
    wavelengths = temperature ** (np.arange(0, dim, 2) / dim)
    angles = positions[:, None] / wavelengths  # (n, dim/2)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), dim)


def sine_position_code_1d(length, dim, *, temperature=10000.0, dtype="float32"):
    """Sine position codes for a sequence: each position has its own vector of sines and cosines of many wavelengths.

    .. math:: c_{p, 2i} = \\sin(p / T^{2i/D}), \\qquad c_{p, 2i+1} = \\cos(p / T^{2i/D})

    Parameters
    ----------
    length : int
        Number of positions p = 0, 1, ...
    dim : int
        D; it must be even.
    temperature : float, default 10000
        T. The wavelengths range from 2 pi to nearly 2 pi T.
    dtype : dtype, default "float32"
        Dtype of the result; it is computed in float64.

    Returns
    -------
    ndarray, shape (length, dim)
        Sines and cosines interleaved. (MAE's tables have first all sines, then all cosines.)

    Raises
    ------
    ValueError
        If ``dim`` is odd or a size is negative.

    Notes
    -----
    A shift of the position rotates each pair of sine and cosine by an angle that does not depend on the position. So a
    linear layer can compare relative positions.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5. Slides
    ``A/21-positions-are-added``, ``A/55-detr-positions``.

    Examples
    --------
    >>> sine_position_code_1d(2, 2).round(2)
    array([[0.  , 1.  ],
           [0.84, 0.54]], dtype=float32)
    """
    if length < 0 or dim < 0 or dim % 2:
        raise ValueError(
            f"sine_position_code_1d: dim must be even and sizes not negative, got {length}, {dim}"
        )
    return _waves(np.arange(length, dtype=np.float64), dim, temperature).astype(dtype)


def sine_position_code(height, width, dim, *, temperature=10000.0, normalize=False, dtype="float32"):
    """Sine position codes for a grid: half of a cell's vector is a code of the row, half a code of the column.

    Parameters
    ----------
    height, width : int
        Numbers of rows and columns.
    dim : int
        D, divisible by 4. The first half codes the row, the second the column.
    temperature : float, default 10000
        As for `sine_position_code_1d`.
    normalize : bool, default False
        Count rows and columns from 1 and scale them to (0, 2 pi], as DETR does, so that a position in the image keeps its
        code at another resolution. False counts them 0, 1, ...
    dtype : dtype, default "float32"
        Dtype of the result; it is computed in float64.

    Returns
    -------
    ndarray, shape (height, width, dim)
        ``.reshape(-1, dim)`` gives the codes of tokens in reading order.

    Raises
    ------
    ValueError
        If ``dim`` is not divisible by 4 or a size is negative.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, appendix A.4: each axis has the code of
    Vaswani et al. 2017, section 3.5, with D / 2. Slides ``A/55-detr-positions``, ``Z/55-detr-positions``.

    Examples
    --------
    >>> code = sine_position_code(2, 3, 4)
    >>> code[1, 2].round(2)  # sin 1, cos 1, sin 2, cos 2
    array([ 0.84,  0.54,  0.91, -0.42], dtype=float32)
    """
    if min(height, width, dim) < 0 or dim % 4:
        raise ValueError(
            f"sine_position_code: dim must be divisible by 4 and sizes not negative, got {height}, {width}, {dim}"
        )

    def positions(n):
        return (
            (np.arange(n) + 1) / (n + 1e-6) * (2 * math.pi) if normalize else np.arange(n, dtype=np.float64)
        )

    row = _waves(positions(height), dim // 2, temperature)[:, None, :]
    column = _waves(positions(width), dim // 2, temperature)[None, :, :]
    shape = (height, width, dim // 2)
    code = np.concatenate([np.broadcast_to(row, shape), np.broadcast_to(column, shape)], axis=-1)
    return code.astype(dtype)


def padded_sine_position_code(valid, dim, *, temperature=10000.0):
    """Sine position codes for padded images: rows and columns are counted only inside each image.

    .. math:: \\theta_{yx} = 2 \\pi \\, \\frac{\\sum_{y' \\le y} v_{y'x}}{\\sum_{y'} v_{y'x} + 10^{-6}}

    is the position of row y, from 0 at the top of the image to 2 pi at its bottom, where v is 1 inside the image and 0 in
    the padding. Columns are counted likewise. So the code of a cell does not depend on the amount of padding.

    Parameters
    ----------
    valid : bool ndarray, shape (B, H, W)
        True = inside the image, False = padding.
    dim : int
        D, divisible by 4. The first half codes the row, the second the column; sines and cosines are interleaved.
    temperature : float, default 10000
        As for `sine_position_code_1d`.

    Returns
    -------
    ndarray of float32, shape (B, H, W, dim)
        Computed in float32, as in the published models. If nothing is valid, all cells have the code of position 0.

    Raises
    ------
    ValueError
        If ``dim`` is not divisible by 4, or ``valid`` is not boolean (B, H, W).

    Notes
    -----
    Without padding it is `sine_position_code` with ``normalize=True``.

    References
    ----------
    Carion et al. 2020, appendix A.4. Slide ``A/55-detr-positions``.

    Examples
    --------
    >>> valid = np.array([[[True, True, False]]])
    >>> padded_sine_position_code(valid, 4)[0, 0, :, 3].round(2)  # cos pi, cos 2 pi; in padding the last
    array([-1.,  1.,  1.], dtype=float32)
    """
    if dim < 0 or dim % 4 or valid.ndim != 3 or valid.dtype != bool:
        raise ValueError(
            f"padded_sine_position_code: valid must be boolean (B, H, W) and dim divisible by 4 (valid: "
            f"{valid.dtype.name} {tuple(valid.shape)}, dim: {dim})"
        )
    xp = namespace(valid)
    half = dim // 2
    wavelengths = temperature ** (xp.arange(0, half, 2, dtype="float32") / max(1, half))  # (D/4,)
    halves = []
    for axis in (1, 2):
        place = xp.cumsum(valid, axis=axis, dtype="float32")
        total = valid.sum(axis=axis, keepdims=True, dtype="float32")
        angles = (place / (total + 1e-6) * (2 * math.pi))[..., None] / wavelengths  # (B, H, W, D/4)
        halves.append(xp.stack([xp.sin(angles), xp.cos(angles)], axis=-1).reshape(*valid.shape, half))
    return xp.concatenate(halves, axis=-1)


def resize_position_table(table, grid, new_grid, prefix=1, mode="bicubic", offset=0.0, antialias=False):
    """Resize a table of learned position codes to another grid of patches, so that a model can take larger images.

    Parameters
    ----------
    table : ndarray or Tensor, shape (1, prefix + h w, D)
        Codes of the class token (and other prefix tokens), then of the patches in reading order.
    grid, new_grid : (int, int)
        Rows and columns of patches before and after.
    prefix : int, default 1
        Number of leading codes that belong to no patch; they are not changed.
    mode : {"bicubic", "bilinear", "nearest"}, default "bicubic"
        How to interpolate (``minivis.ops.interpolate``, align_corners False).
    offset : float, default 0
        Added to the new number of rows and columns where the distance of the sample points is computed from them: the
        points lie h / (h' + offset) old cells apart. The published code of DINO and DINOv2 has 0.1, to be safe from
        rounding; it moves the last point by nearly a tenth of a cell.
    antialias : bool, default False
        Widen the kernel when the new grid is smaller, so that every old code counts.

    Returns
    -------
    ndarray or Tensor, shape (1, prefix + h' w', D)
        ``table`` itself if the grids are the same.

    Raises
    ------
    ValueError
        If the table does not fit the grid, or ``offset`` is not at least 0 and below 1.

    Notes
    -----
    Differentiable in ``table``. Grids with the same number of patches can differ: a 2 x 3 table is resized for 3 x 2.

    References
    ----------
    Dosovitskiy et al. 2021, section 3.2.

    Examples
    --------
    >>> resize_position_table(np.zeros((1, 1 + 4, 8)), (2, 2), (3, 4)).shape
    (1, 13, 8)
    """
    (h, w), (new_h, new_w) = grid, new_grid
    if table.ndim != 3 or table.shape[0] != 1 or table.shape[1] != prefix + h * w:
        raise ValueError(
            f"resize_position_table: table must be (1, {prefix} + {h} x {w}, D) (table: {tuple(table.shape)})"
        )
    if not 0 <= offset < 1:
        raise ValueError(f"resize_position_table: offset must be at least 0 and below 1, got {offset!r}")
    if (h, w) == (new_h, new_w):
        return table
    D = table.shape[2]
    patches = ops.transpose(ops.reshape(table[:, prefix:], (1, h, w, D)), (0, 3, 1, 2))  # (1, D, h, w)
    if offset:
        factors = (new_h + offset) / h, (new_w + offset) / w
        patches = ops.interpolate(patches, scale_factor=factors, mode=mode, antialias=antialias)
    else:
        patches = ops.interpolate(patches, size=(new_h, new_w), mode=mode, antialias=antialias)
    patches = ops.reshape(ops.transpose(patches, (0, 2, 3, 1)), (1, new_h * new_w, D))
    return ops.concatenate([table[:, :prefix], patches], axis=1) if prefix else patches
