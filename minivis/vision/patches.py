"""Cut images into patches, and put patches together into images.

Not here: the learned embedding of a patch (models/vit.py), windows (windows.py), attention distance (analysis/).
"""

from minivis import ops
from minivis.pairs import checked_pair

__all__ = ["patchify", "unpatchify"]


def patchify(images, patch):
    """Cut every image into patches and flatten each patch: an image becomes a sequence of vectors.

    Parameters
    ----------
    images : ndarray or Tensor, shape (B, C, H, W)
        H and W must be divisible by the patch side.
    patch : int or (int, int)
        Height and width of a patch, in pixels.

    Returns
    -------
    ndarray or Tensor, shape (B, N, P P C)
        N = HW / P^2 patches in reading order. In each patch the pixels are in reading order, with the channels of a pixel
        next to each other.

    Raises
    ------
    ValueError
        If the patches do not fill the image.

    Notes
    -----
    Differentiable in ``images``. `unpatchify` is its inverse; applied to the cotangent it is also its backward. A linear
    layer on these vectors is a convolution with kernel and stride P.

    References
    ----------
    Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, section 3.1. Slides ``A/20-tokens-from-patches``,
    ``A/29-vit-idea``, ``A/30-patch-embedding``, ``C/115-image-patches``, ``H/4-transformer-on-patches``,
    ``Z/37-vit-idea``. On one slide the patch index runs to HW; it should be HW / P^2.

    Examples
    --------
    >>> import numpy as np
    >>> patchify(np.arange(8.0).reshape(1, 1, 2, 4), 2)
    array([[[0., 1., 4., 5.],
            [2., 3., 6., 7.]]])
    """
    p, q = checked_pair("patchify", "patch", patch)
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
    """Put patches together into images: the inverse of `patchify`.

    Parameters
    ----------
    tokens : ndarray or Tensor, shape (B, N, P P C)
        One row for each patch, as `patchify` makes them.
    patch : int or (int, int)
        Height and width of a patch, in pixels.
    height, width : int
        Height and width of the images, in pixels.

    Returns
    -------
    ndarray or Tensor, shape (B, C, height, width)

    Raises
    ------
    ValueError
        If the patches do not fill an image of this size.

    Examples
    --------
    >>> import numpy as np
    >>> unpatchify(np.array([[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]), 2, 2, 4)
    array([[[[0., 1., 2., 3.],
             [4., 5., 6., 7.]]]])
    """
    p, q = checked_pair("unpatchify", "patch", patch)
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
