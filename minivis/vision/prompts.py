"""Prompts and masks of SAM without parameters: the position code of a point, and how sure a mask is of its edge.

Kirillov et al., "Segment anything", ICCV 2023, sections 2 and 5 and appendices A and B. Slide ``A/88-sam-prompt-encoder``.
Not here: the learned vectors that are added to a code (models/sam.py), clicks for training (clicks.py), masks of everything
in a picture (unprompted_masks.py).
"""

import math

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace
from minivis.complaints import named
from minivis.dtypes import widened

__all__ = ["point_position_code", "points_in_picture", "stability_score"]


@named
def point_position_code(points, size, gaussian):
    """Sines and cosines of a point's position, with frequencies and directions that were drawn at random.

    .. math::
        p = 2\\, \\Big(\\frac{x + 0.5}{W}, \\frac{y + 0.5}{H}\\Big) - 1, \\qquad
        c = \\big[\\sin(2 \\pi\\, p\\, G),\\ \\cos(2 \\pi\\, p\\, G)\\big]

    Points that lie close together have similar codes, in every direction.

    Parameters
    ----------
    points : ndarray, shape (..., 2)
        x, then y, in pixels, of any real numbers. (0, 0) is the centre of the first pixel: its left edge is at x = -0.5.
    size : (int, int)
        H and W, the height and width of the image in pixels.
    gaussian : ndarray or Tensor, shape (2, D / 2)
        G. The published models have drawn it from a standard normal distribution; it is not learned.

    Returns
    -------
    ndarray or Tensor, shape (..., D)
        First all sines, then all cosines, in the dtype of ``gaussian``. The squares of a code sum to D / 2.

    Raises
    ------
    ValueError
        If ``points`` or ``gaussian`` has another shape, or the size is not positive.
    TypeError
        If ``gaussian`` is not floating-point.

    References
    ----------
    Kirillov et al. 2023, appendix A, after Tancik et al., "Fourier features let networks learn high frequency functions in
    low dimensional domains", NeurIPS 2020. Slide ``A/88-sam-prompt-encoder``.

    Examples
    --------
    >>> import numpy as np
    >>> point_position_code(np.array([15.5, 15.5]), (32, 32), np.ones((2, 2)))  # the centre of the image
    array([0., 0., 1., 1.])
    """
    points = points.data if isinstance(points, Tensor) else points
    (height, width) = size
    if points.ndim < 1 or points.shape[-1] != 2 or gaussian.ndim != 2 or gaussian.shape[0] != 2:
        raise ValueError(
            "point_position_code: points must be (..., 2), x and y, and gaussian (2, D / 2) "
            f"(points: {tuple(points.shape)}, gaussian: {tuple(gaussian.shape)})"
        )
    if not (height >= 1 and width >= 1):  # also refuses NaN
        raise ValueError(f"point_position_code: height and width must be positive, got {height} x {width}")
    dtype = gaussian.dtype
    if dtype.kind != "f":
        raise TypeError(f"point_position_code: gaussian must be floating-point, got {dtype.name}")
    # in float16, points in a picture of 1024 pixels would be wrong by half a pixel
    gaussian = widened(gaussian)
    xp = namespace(points)
    points = points.astype("float64" if points.dtype.kind != "f" else widened(points).dtype)
    shares = (points + 0.5) / xp.asarray([width, height], points.dtype)  # (..., 2), 0 to 1
    angles = 2 * math.pi * ops.matmul((2 * shares - 1).astype(gaussian.dtype), gaussian)  # (..., D / 2)
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1).astype(dtype)


@named
def points_in_picture(points, photo, picture):
    """Points or boxes in pixels of a photo, in pixels of the picture that was made of it by resizing.

    Parameters
    ----------
    points : ndarray, shape (..., 2) or (..., 4)
        x, y of points, or x0, y0, x1, y1 of boxes.
    photo, picture : (int, int)
        Height and width of the photo, and of the picture: ``model.preprocess.new_size(*photo)``.

    Returns
    -------
    ndarray of the same shape
        Scaled as in the authors' code, which does not heed half pixels. Integers become float64.

    Raises
    ------
    ValueError
        If the last axis has neither 2 nor 4 numbers, or a size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> points_in_picture(np.array([100, 30]), (60, 200), (300, 1000))
    array([500., 150.])
    """
    points = points.data if isinstance(points, Tensor) else points
    if points.ndim < 1 or points.shape[-1] not in (2, 4):
        raise ValueError(
            f"points_in_picture: points must be (..., 2) or boxes (..., 4) (points: {tuple(points.shape)})"
        )
    if not min(*photo, *picture) > 0:
        raise ValueError(
            f"points_in_picture: sizes must be positive, got photo {photo} and picture {picture}"
        )
    scale = [picture[1] / photo[1], picture[0] / photo[0]] * (points.shape[-1] // 2)
    dtype = points.dtype if points.dtype.kind == "f" else "float64"
    wide = widened(points.astype(dtype))
    return (wide * namespace(points).asarray(scale, wide.dtype)).astype(dtype)


@named
def stability_score(logits, offset=1.0):
    """How little a mask changes when its threshold moves: the IoU of the masks at a high and at a low threshold.

    .. math:: s = \\frac{\\sum [l > o]}{\\sum [l > -o]}

    The mask at the high threshold lies inside the other, so the first is their intersection and the second their union.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (..., H, W)
        Logits of masks; a pixel belongs to a mask where its logit is above 0.
    offset : float, default 1
        o, how far the threshold moves up and down.

    Returns
    -------
    ndarray of float, shape (...)
        0 to 1, float64 for float64 and float32 otherwise. 0 where the mask is empty even at the low threshold.

    Raises
    ------
    ValueError
        If ``logits`` has no two axes, or ``offset`` is negative.

    References
    ----------
    Kirillov et al. 2023, appendix B.

    Examples
    --------
    >>> import numpy as np
    >>> stability_score(np.array([[3.0, 2.0, 0.5, -0.5, -3.0]]))
    np.float64(0.5)
    """
    logits = logits.data if isinstance(logits, Tensor) else logits
    if logits.ndim < 2 or not offset >= 0:
        raise ValueError(
            f"stability_score: logits must be (..., H, W) and offset at least 0 (logits: {tuple(logits.shape)}, "
            f"offset: {offset!r})"
        )
    xp = namespace(logits)
    dtype = "float64" if logits.dtype == "float64" else "float32"
    high = (logits > offset).sum(axis=(-2, -1))
    low = (logits > -offset).sum(axis=(-2, -1))
    return (high / xp.maximum(low, 1)).astype(dtype)
