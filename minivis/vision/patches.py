"""Cutting images into patches and putting them together again, and how far attention reaches between patches.

Not here: the learned embedding of a patch (models/vit.py), windows (Swin's).
"""

import operator

from minivis import ops
from minivis.backend import namespace
from minivis.precision import in_float32

__all__ = ["attention_distance", "patchify", "unpatchify"]


def _pair(name, argument, value):
    """An int, or two, of at least 1, as a pair."""
    try:
        pair = tuple(
            operator.index(v) for v in (value if isinstance(value, (tuple, list)) else (value, value))
        )
    except TypeError:
        pair = ()
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(
            f"{name}: {argument} must be an integer of at least 1, or two of them, got {value!r}"
        )
    return pair


def patchify(images, patch):
    """Cut every image into patches and make each one a row of numbers: an image becomes a sequence of words.

    Parameters
    ----------
    images : ndarray or Tensor, shape (B, C, H, W)
        H and W divisible by the patch side.
    patch : int or (int, int)
        Height and width of a patch, pixels.

    Returns
    -------
    ndarray or Tensor, shape (B, N, P P C)
        N = HW / P^2 patches in reading order; in each its pixels in reading order, the channels of a pixel together.

    Raises
    ------
    ValueError
        If the patches do not fill the image.

    Notes
    -----
    Differentiable in ``images``; `unpatchify` is its inverse and, with that, its gradient. A linear map of these rows is
    a convolution with kernel and stride P.

    References
    ----------
    Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, section 3.1. Slides ``A/20-tokens-from-patches``,
    ``A/29-vit-idea``, ``A/30-patch-embedding``, ``C/115-image-patches``, ``H/4-transformer-on-patches``,
    ``Z/37-vit-idea``. One slide lets the patch index run to HW; it is HW / P^2.

    Examples
    --------
    >>> import numpy as np
    >>> patchify(np.arange(8.0).reshape(1, 1, 2, 4), 2)
    array([[[0., 1., 4., 5.],
            [2., 3., 6., 7.]]])
    """
    p, q = _pair("patchify", "patch", patch)
    if images.ndim != 4 or images.shape[2] % p or images.shape[3] % q:
        raise ValueError(
            f"patchify: images must be (B, C, H, W) with H and W divisible by the patch {(p, q)} "
            f"(images: {tuple(images.shape)})"
        )
    B, C, H, W = images.shape
    x = ops.reshape(images, (B, C, H // p, p, W // q, q))
    x = ops.transpose(x, (0, 2, 4, 3, 5, 1))  # (B, H/P, W/P, P, P, C)
    return ops.reshape(x, (B, (H // p) * (W // q), p * q * C))


def unpatchify(tokens, patch, height, width):
    """Put patches together to images: the inverse of `patchify`.

    Parameters
    ----------
    tokens : ndarray or Tensor, shape (B, N, P P C)
        One row a patch, as `patchify` makes them.
    patch : int or (int, int)
        Height and width of a patch, pixels.
    height, width : int
        Of the images, pixels.

    Returns
    -------
    ndarray or Tensor, shape (B, C, height, width)

    Raises
    ------
    ValueError
        If the patches do not fill such an image.

    Examples
    --------
    >>> import numpy as np
    >>> unpatchify(np.array([[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]), 2, 2, 4)
    array([[[[0., 1., 2., 3.],
             [4., 5., 6., 7.]]]])
    """
    p, q = _pair("unpatchify", "patch", patch)
    rows, columns = height // p, width // q
    fills = (rows * p, columns * q) == (height, width)
    if tokens.ndim != 3 or not fills or tokens.shape[1] != rows * columns or tokens.shape[2] % (p * q):
        raise ValueError(
            f"unpatchify: tokens must be (B, N, P P C) with N patches {(p, q)} that fill {height} x {width} pixels "
            f"(tokens: {tuple(tokens.shape)})"
        )
    B, _, features = tokens.shape
    C = features // (p * q)
    x = ops.reshape(tokens, (B, rows, columns, p, q, C))
    x = ops.transpose(x, (0, 5, 1, 3, 2, 4))  # (B, C, H/P, P, W/P, P)
    return ops.reshape(x, (B, C, height, width))


@in_float32
def attention_distance(attention, patch_size, grid):
    """How far away, on average, the patches are that a head looks at: small = local like a convolution.

    .. math:: \\bar d = \\frac{1}{N} \\sum_i \\frac{\\sum_j A_{ij} \\lVert x_i - x_j \\rVert}{\\sum_j A_{ij}}

    with x the centres of the patches, in pixels.

    Parameters
    ----------
    attention : ndarray, shape (..., N, N)
        Attention weights among patches; drop the class token first: ``weights[..., 1:, 1:]``. Rows are normalised to
        sum 1 again; a row of zeros counts as distance 0.
    patch_size : int or (int, int)
        Height and width of a patch, pixels.
    grid : (int, int)
        Rows and columns of patches, N together.

    Returns
    -------
    ndarray, shape (...)
        Pixels: between 0 and the diagonal of the image. Leading axes (batch, head) stay: average those you wish.

    Raises
    ------
    ValueError
        If ``attention`` is not square or N is not the size of the grid.

    References
    ----------
    Dosovitskiy et al. 2021, figure 7 (right) and appendix D.7. Slides ``A/36-attention-distance``,
    ``A/37-attention-distance-against-receptive-field``, ``H/10-inside-vit``, ``H/19-why-attention-for-detection``.

    Examples
    --------
    >>> import numpy as np
    >>> attention_distance(np.full((2, 2), 0.5), 16, (1, 2))
    array(8.)
    """
    p, q = _pair("attention_distance", "patch_size", patch_size)
    rows, columns = _pair("attention_distance", "grid", grid)
    if attention.ndim < 2 or tuple(attention.shape[-2:]) != (rows * columns,) * 2:
        raise ValueError(
            f"attention_distance: attention must be (..., N, N) with N = {rows} x {columns} patches, without the class "
            f"token (attention: {tuple(attention.shape)})"
        )
    xp = namespace(attention)
    y, x = (a.reshape(-1) for a in xp.meshgrid(xp.arange(rows) * p, xp.arange(columns) * q, indexing="ij"))
    distance = xp.sqrt((y[:, None] - y) ** 2.0 + (x[:, None] - x) ** 2.0).astype(attention.dtype)  # (N, N)
    total = attention.sum(axis=-1)
    each = (attention * distance).sum(axis=-1) / xp.where(total == 0, 1, total)  # (..., N)
    return xp.asarray(each.mean(axis=-1))
