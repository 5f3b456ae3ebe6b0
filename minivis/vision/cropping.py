"""U-Net's joint: the middle of a larger map, stacked with a smaller one.

Not here: the network (models/unet.py), resizing (ops/resample.py), a random cutout of a picture (data/transforms.py).
"""

from minivis import ops

__all__ = ["crop_concat"]


def crop_concat(skip, up):
    """Crop the middle of one map to the size of another, and stack the channels of both: the first map's come first.

    Convolutions without padding make every map a little smaller. On its way up, U-Net meets a map of its way down that is
    larger, and takes the part of it that shows the same pixels of the image: the middle.

    Parameters
    ----------
    skip : ndarray or Tensor, shape (B, C, H, W)
        The map of the way down. Its first (H - h) // 2 rows and (W - w) // 2 columns are dropped, and what is too many at
        the other end.
    up : ndarray or Tensor, shape (B, D, h, w)
        The map of the way up, at most as large.

    Returns
    -------
    ndarray or Tensor, shape (B, C + D, h, w)
        The middle of ``skip``, then ``up``.

    Raises
    ------
    ValueError
        If one of them is not (B, C, H, W), the batches differ, or ``up`` is larger than ``skip``.

    Notes
    -----
    Differentiable in both. The pixels of ``skip`` that are dropped get the gradient 0. If the difference is odd, one more
    row or column is dropped at the end than at the beginning.

    References
    ----------
    Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015,
    section 2. Slide ``C/87-unet``.

    Examples
    --------
    >>> import numpy as np
    >>> crop_concat(np.arange(16.0).reshape(1, 1, 4, 4), np.zeros((1, 1, 2, 2)))
    array([[[[ 5.,  6.],
             [ 9., 10.]],
    <BLANKLINE>
            [[ 0.,  0.],
             [ 0.,  0.]]]])
    """
    shapes = f"(skip: {tuple(skip.shape)}, up: {tuple(up.shape)})"
    if skip.ndim != 4 or up.ndim != 4 or len(skip) != len(up):
        raise ValueError(f"crop_concat: skip and up must be (B, C, H, W) and (B, D, h, w) {shapes}")
    (H, W), (h, w) = skip.shape[2:], up.shape[2:]
    if h > H or w > W:
        raise ValueError(f"crop_concat: up must not be larger than skip {shapes}")
    top = (H - h) // 2
    left = (W - w) // 2
    middle = skip[:, :, top : top + h, left : left + w]  # (B, C, h, w)
    return ops.concatenate([middle, up], axis=1)
