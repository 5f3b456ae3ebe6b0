"""Moves the pixels of a batch of pictures: resize, crop, flip, affine maps; all pure functions.
Not here: randomness (transforms.py) and gradients; differentiable functions are in minivis.ops."""

import numpy as np
from PIL import Image

from minivis.data._check import check_crop, check_images, pair

__all__ = ["affine", "affine_matrix", "center_crop", "horizontal_flip", "resize"]

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resize(images, size, mode="bilinear"):
    r"""Make pictures larger or smaller, without jagged edges.

    Along each axis output pixel :math:`i` is a weighted mean of the input,
    :math:`y_i = \sum_j w_{ij} x_j / \sum_j w_{ij}` with
    :math:`w_{ij} = k\big((j + \tfrac12 - (i + \tfrac12) s) / \max(s, 1)\big)`, where :math:`s` is input
    length over output length. The :math:`\max` widens the filter :math:`k` when the picture shrinks, so every
    pixel is used. This is antialiasing; `minivis.ops.interpolate`, which networks use, does not have it.

    Parameters
    ----------
    images : numpy.ndarray
        (B, C, H, W) floating.
    size : int or (int, int)
        New height and width in pixels; one number is the new length of the shorter side, and the longer side
        keeps the proportions (rounded down).
    mode : {"bilinear", "bicubic", "nearest"}
        The filter :math:`k`: a triangle, a cubic (a = -0.5; results may lie outside the range of the input), or
        only the nearest pixel, without averaging. "bilinear" by default.

    Returns
    -------
    numpy.ndarray
        (B, C, size[0], size[1]) of the dtype of `images`, a new array.

    Raises
    ------
    ValueError
        If `images` is not four-dimensional or has no pixels, `size` is below 1, or `mode` is unknown.
    TypeError
        If `images` is not a NumPy array of floating-point numbers, or `size` is not an integer or two.

    Notes
    -----
    Pillow does the work, in single precision. A float32 picture resized to its own size is unchanged.

    Examples
    --------
    >>> resize(np.float32([[[[0, 2], [4, 6]]]]), (1, 2))
    array([[[[2., 4.]]]], dtype=float32)
    """
    check_images("resize", images)
    B, C, H, W = images.shape
    if H == 0 or W == 0:
        raise ValueError(f"resize: images has no pixels (images: {images.shape})")
    if mode not in FILTERS:
        raise ValueError(f"resize: mode must be one of {', '.join(map(repr, FILTERS))}, got {mode!r}")
    return resize_part(images, resized_size(size, H, W), FILTERS[mode])


def resize_part(images, size, resample, box=None):
    """Resize the part of pictures inside a box (x0, y0, x1, y1), in pixels and fractions of them; without one, everything."""
    B, C, H, W = images.shape
    out = np.empty((B * C, *size), images.dtype)
    for plane, target in zip(images.reshape(B * C, H, W), out, strict=True):
        target[:] = Image.fromarray(plane.astype(np.float32)).resize(size[::-1], resample, box)
    return out.reshape(B, C, *size)


def resized_size(size, height, width):
    """Height and width after `resize` to `size`, checked."""
    if np.ndim(size):
        return pair("resize", "size", size)
    short = pair("resize", "size", size)[0]
    return (short, short * width // height) if height <= width else (short * height // width, short)


def center_crop(images, size):
    """Cut the middle out of pictures.

    Parameters
    ----------
    images : numpy.ndarray
        (B, C, H, W) floating.
    size : int or (int, int)
        Height and width to keep, in pixels. If an odd number of rows (columns) is removed, one more is removed
        from the bottom (right) than from the top (left).

    Returns
    -------
    numpy.ndarray
        (B, C, size[0], size[1]), a new array.

    Raises
    ------
    ValueError
        If the crop is larger than the pictures or below 1, or `images` is not four-dimensional.
    TypeError
        If `images` is not a NumPy array of floating-point numbers, or `size` is not an integer or two.

    Examples
    --------
    >>> center_crop(np.arange(5.0).reshape(1, 1, 1, 5), (1, 3))
    array([[[[1., 2., 3.]]]])
    """
    check_images("center_crop", images)
    height, width = check_crop("center_crop", images, size)
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width].copy()


def horizontal_flip(images):
    """Mirror pictures left to right.

    Parameters
    ----------
    images : numpy.ndarray
        (B, C, H, W) floating.

    Returns
    -------
    numpy.ndarray
        (B, C, H, W), a new array.

    Raises
    ------
    ValueError
        If `images` is not four-dimensional.
    TypeError
        If `images` is not a NumPy array of floating-point numbers.

    Examples
    --------
    >>> horizontal_flip(np.arange(3.0).reshape(1, 1, 1, 3))
    array([[[[2., 1., 0.]]]])
    """
    check_images("horizontal_flip", images)
    return images[..., ::-1].copy()


def affine_matrix(angle=0.0, translate=(0.0, 0.0), scale=1.0, shear=0.0):
    r"""Build the matrix for `affine` from a rotation, shift, enlargement and slant of the picture.

    A point :math:`p = (x, y)`, in pixels from the middle of the picture, moves to
    :math:`q = s R \begin{pmatrix} 1 & \tan\phi \\ 0 & 1 \end{pmatrix} p + t`. So the output pixel :math:`q` gets
    the input's value at :math:`p = A (q - t)` with
    :math:`A = \frac1s \begin{pmatrix} 1 & -\tan\phi \\ 0 & 1 \end{pmatrix} R^\top`. The matrix is this inverse.

    Parameters
    ----------
    angle : float or (B,) array
        Rotation :math:`R`, degrees, counter-clockwise on the screen; 0 by default.
    translate : (float, float) or (B, 2) array
        Shift :math:`t`, pixels to the right and down; none by default.
    scale : float or (B,) array
        Enlargement :math:`s`, above 0; 1 by default.
    shear : float or (B,) array
        Slant :math:`\phi`, degrees; positive moves the lower rows to the right; 0 by default.

    Returns
    -------
    numpy.ndarray
        (2, 3) or (B, 2, 3) float64, :math:`(A, -A t)`.

    Raises
    ------
    ValueError
        If a `scale` is not above 0.

    Examples
    --------
    >>> affine_matrix(angle=[0, 15, 90], translate=(2, 0)).shape
    (3, 2, 3)
    """
    if not np.all(np.asarray(scale) > 0):
        raise ValueError(f"affine_matrix: scale must be above 0, got {scale}")
    angle, scale, shear = np.broadcast_arrays(np.radians(angle), scale, np.radians(shear))
    cos, sin, tan = np.cos(angle), np.sin(angle), np.tan(shear)
    inverse = np.stack([cos - tan * sin, -sin - tan * cos, sin, cos], axis=-1) / scale[..., None]
    inverse = inverse.reshape(*scale.shape, 2, 2)
    offset = -inverse @ np.asarray(translate, float)[..., None]  # (..., 2, 1)
    return np.concatenate([np.broadcast_to(inverse, (*offset.shape[:-1], 2)), offset], axis=-1)


def affine(images, matrix, fill=0.0):
    r"""Shift, rotate, scale or slant pictures about their middle, each by its own matrix.

    Output pixel :math:`q` gets the input's value at :math:`p = M (q, 1)`, both in pixels from the middle.
    Between four pixels, at the distance :math:`(f_x, f_y)` from the upper left one, this value is bilinear:
    :math:`(1 - f_y) [(1 - f_x) v_{00} + f_x v_{01}] + f_y [(1 - f_x) v_{10} + f_x v_{11}]`.

    Parameters
    ----------
    images : numpy.ndarray
        (B, C, H, W) floating.
    matrix : array
        (2, 3), the same for all, or (B, 2, 3); in pixels, x before y; from output to input, as
        `affine_matrix` returns it.
    fill : float
        The value outside the picture; 0 by default.

    Returns
    -------
    numpy.ndarray
        (B, C, H, W) of the dtype of `images`, a new array.

    Raises
    ------
    ValueError
        If `matrix` has another shape or is not finite, or `images` is not four-dimensional.
    TypeError
        If `images` is not a NumPy array of floating-point numbers.

    Notes
    -----
    The identity returns the picture bit for bit, and a shift by whole pixels only moves pixels. The four pixels
    are read for the whole batch at once, without a loop over pictures.

    Examples
    --------
    >>> affine(np.float32([[[[1, 2, 3]]]]), affine_matrix(translate=(1, 0)))
    array([[[[0., 1., 2.]]]], dtype=float32)
    """
    check_images("affine", images)
    B, C, H, W = images.shape
    matrix = np.asarray(matrix, float)
    if matrix.shape not in ((2, 3), (B, 2, 3)) or not np.isfinite(matrix).all():
        raise ValueError(
            f"affine: matrix must be finite and of shape (2, 3) or (B, 2, 3) with B={B} "
            f"(images: {images.shape}, matrix: {matrix.shape})"
        )
    m = np.broadcast_to(matrix, (B, 2, 3))[..., None, None]  # (B, 2, 3, 1, 1)
    x = np.arange(W) - (W - 1) / 2
    y = np.arange(H)[:, None] - (H - 1) / 2
    p = m[:, :, 0] * x + m[:, :, 1] * y + m[:, :, 2]  # (B, 2, H, W): places in the input
    # A frame of one pixel has the fill value; places farther out are clipped to the frame.
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    framed = framed.reshape(B, C, (H + 2) * (W + 2))
    px = np.clip(p[:, 0] + (W + 1) / 2, 0, W + 1).reshape(B, 1, H * W)
    py = np.clip(p[:, 1] + (H + 1) / 2, 0, H + 1).reshape(B, 1, H * W)
    left, top = np.minimum(px.astype(int), W), np.minimum(py.astype(int), H)
    fx, fy = (px - left).astype(images.dtype), (py - top).astype(images.dtype)

    def read(row, column):
        return np.take_along_axis(framed, row * (W + 2) + column, axis=2)  # (B, C, H W)

    upper = (1 - fx) * read(top, left) + fx * read(top, left + 1)
    lower = (1 - fx) * read(top + 1, left) + fx * read(top + 1, left + 1)
    return ((1 - fy) * upper + fy * lower).reshape(images.shape)
