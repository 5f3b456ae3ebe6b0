"""Points on maps: sample maps at points, and choose points where masks are uncertain.

Not here: the loss that compares masks at these points (mask_prediction.py).
"""

import numpy as np

from minivis import ops
from minivis.backend import namespace
from minivis.complaints import named
from minivis.precision import rounded, widened
from minivis.randomness import generator

__all__ = ["sample_points", "uncertain_points"]


@named
def sample_points(maps, points):
    """Sample maps at points by bilinear interpolation. It is faster than `minivis.ops.grid_sample`.

    Parameters
    ----------
    maps : ndarray or Tensor, shape (N, C, H, W)
        Maps, floating-point. Outside they count as zero.
    points : ndarray, shape (N, P, 2)
        Points of each map, (x, y) as fractions of its width and height, 0 to 1.

    Returns
    -------
    ndarray or Tensor, shape (N, C, P)

    Raises
    ------
    ValueError
        If the shapes do not fit, or a point lies outside.

    Notes
    -----
    Differentiable in ``maps``.

    Examples
    --------
    >>> import numpy as np
    >>> sample_points(np.array([[[[1.0, 3.0]]]]), np.array([[[0.25, 0.5], [0.5, 0.5]]]))  # a pixel's centre; between two
    array([[[1., 2.]]])
    """
    if maps.ndim != 4 or points.ndim != 3 or points.shape[::2] != (maps.shape[0], 2):
        raise ValueError("maps must be (N, C, H, W) and points (N, P, 2)")
    if points.size and not (points.min() >= 0 and points.max() <= 1):
        raise ValueError("points must lie in 0 to 1")
    xp = namespace(points)
    (N, C, H, W) = maps.shape
    points = widened(points)
    # a frame of zeros, so that all four neighbours exist
    framed = ops.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    pixels = ops.reshape(ops.moveaxis(framed, 1, 3), (N * (H + 2) * (W + 2), C))
    x, y = points[..., 0] * W + 0.5, points[..., 1] * H + 0.5  # in pixels of the framed map, (N, P)
    left, top = x.astype(xp.int64), y.astype(xp.int64)
    dtype = maps.dtype if maps.dtype != np.float16 else np.float32
    right, down = (x - left).astype(dtype), (y - top).astype(dtype)  # 0 to 1
    at = (xp.arange(N)[:, None] * (H + 2) + top) * (W + 2) + left
    corners = xp.stack([at, at + 1, at + W + 2, at + W + 3])  # (4, N, P)
    weights = xp.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    found = ops.sum(widened(ops.take(pixels, corners)) * weights[..., None], axis=0)  # (N, P, C)
    return rounded(ops.moveaxis(found, 2, 1), maps.dtype)


@named
def uncertain_points(logits, points, oversample=3.0, importance=0.75, *, rng=None):
    """Choose points where masks are uncertain: near their outlines, where most errors are.

    Parameters
    ----------
    logits : ndarray, shape (N, H, W)
        Scores of the pixels of N masks.
    points : int
        P, the number of points to choose for each mask.
    oversample : float, default 3
        At first, ``oversample`` times P candidates are drawn at random.
    importance : float, default 0.75
        Fraction of the P points that are the most uncertain candidates, those with scores nearest 0. The other points are
        drawn anew at random.
    rng : numpy.random.Generator, int or None
        Draws the points; None is seed 0.

    Returns
    -------
    ndarray, shape (N, P, 2)
        (x, y) as fractions of the width and height, in the dtype of ``logits``. For float16 logits the points are float32,
        because float16 is too coarse for coordinates.

    Raises
    ------
    ValueError
        If ``points``, ``oversample`` or ``importance`` is out of range.

    References
    ----------
    Kirillov et al., "PointRend: image segmentation as rendering", CVPR 2020, section 3.2; Cheng et al., "Masked-attention
    mask transformer for universal image segmentation", CVPR 2022, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> sides = np.full((1, 1, 100), 9.0) - 18 * (np.arange(100) < 50)  # uncertain at x = 1/2
    >>> uncertain_points(sides, 4, oversample=99, importance=1)[0, :, 0].round(2)
    array([0.5, 0.5, 0.5, 0.5])
    """
    check_sampling("uncertain_points", points, oversample, importance)
    xp = namespace(logits)
    rng = generator(rng)
    N = logits.shape[0]
    logits = widened(logits)
    candidates = xp.asarray(rng.random((N, int(oversample * points), 2)).astype(logits.dtype))
    uncertain = int(importance * points)
    rest = xp.asarray(rng.random((N, points - uncertain, 2)).astype(logits.dtype))
    if not uncertain:
        return rest
    distance = xp.abs(sample_points(logits[:, None], candidates)[:, 0])  # (N, 3 P)
    nearest = xp.argpartition(distance, uncertain - 1, axis=1)[:, :uncertain]
    return xp.concatenate([xp.take_along_axis(candidates, nearest[:, :, None], axis=1), rest], axis=1)


def check_sampling(name, points, oversample, importance):
    """Raise if the number of points, the oversampling or the importance is out of range."""
    if points < 1 or not oversample >= 1 or not 0 <= importance <= 1:
        raise ValueError(
            f"{name}: points and oversample must be at least 1 and importance lie in 0 to 1, "
            f"got {points}, {oversample} and {importance}"
        )
