"""Fills polygons exactly as COCO's own tools do, so that areas and scores agree to the pixel.
Not here: run lengths (minivis.vision.rle_decode)."""

import numpy as np

FINER = 5  # corners are rounded to a fifth of a pixel


def polygon_mask(corners, height, width):
    """The pixels inside a polygon.

    Go round the outline: each time it crosses the middle of a column of pixels, all pixels below change from outside to
    inside or back. Pixels that have changed an odd number of times are inside.

    Parameters
    ----------
    corners : numpy.ndarray, shape (n, 2)
        (x, y) in pixels.
    height, width : int
        Size of the mask.

    Returns
    -------
    numpy.ndarray
        (height, width) bool.

    Examples
    --------
    >>> polygon_mask(np.array([[1, 0], [3, 0], [3, 2], [1, 2]]), 2, 4).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0]])
    """
    points = np.trunc(FINER * np.asarray(corners, float) + 0.5).astype(np.int64)
    left, right = np.clip([points[:, 0].min() // FINER, points[:, 0].max() // FINER + 1], 0, width).tolist()
    mask = np.zeros((height, width), bool)
    # How often each pixel of these columns changes, counted modulo 256; the last element is for rows below the image.
    changes = np.zeros(height * (right - left) + 1, np.uint8)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        u, v = _line(*start, *end)
        turn = np.flatnonzero(np.diff(u))  # after these points the line enters another fine column
        column, row = np.minimum(u[turn], u[turn + 1]), np.minimum(v[turn], v[turn + 1])
        middle = (column % FINER == FINER // 2) & (column >= 0) & (column < FINER * width)
        below = np.ceil(np.clip((row[middle] + 0.5) / FINER - 0.5, 0, height)).astype(np.int64)
        np.add.at(changes, (column[middle] // FINER - left) * height + below, 1)
    inside = np.add.accumulate(changes[:-1], dtype=np.uint8) & 1
    mask[:, left:right] = inside.reshape(right - left, height).T
    return mask


def _line(x0, y0, x1, y1):
    """The fine points (u, v) of a straight edge, one for each step along its longer side."""
    steep = abs(y1 - y0) > abs(x1 - x0)
    if steep:
        x0, y0, x1, y1 = y0, x0, y1, x1
    if x0 > x1:
        x0, y0, x1, y1 = x1, y1, x0, y0
    step = np.arange(x1 - x0 + 1)
    u = x0 + step
    v = np.trunc(y0 + (y1 - y0) / max(x1 - x0, 1) * step + 0.5).astype(np.int64)
    return (v, u) if steep else (u, v)
