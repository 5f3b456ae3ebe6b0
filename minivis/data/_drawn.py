"""Masks in COCO's lists: polygons or run lengths, checked when the list is read, filled when a photo is requested.
Not here: filling a polygon (_polygons.py), reading run lengths (minivis.vision)."""

from dataclasses import dataclass

import numpy as np

from minivis.data._polygons import polygon_mask
from minivis.data._sized import nearest
from minivis.listed import told
from minivis.vision.run_lengths import checked_lengths


@dataclass(frozen=True, slots=True)
class Polygons:
    """The outlines of an object; a pixel inside any of them belongs to it."""

    parts: list  # of (n, 2) arrays, x and y in pixels

    def fill(self, mask, height, width):
        """Draw into a mask of False, for a photo of height x width pixels that is shown at the size of the mask."""
        scale = mask.shape[1] / width, mask.shape[0] / height
        for corners in self.parts:
            mask |= polygon_mask(corners * scale, *mask.shape)


@dataclass(frozen=True, slots=True)
class Runs:
    """The lengths of an object's runs of pixels, column by column."""

    lengths: np.ndarray  # (R,) int32; background and object in turn

    def fill(self, mask, height, width):
        """Draw into a mask of False, for a photo of height x width pixels that is shown at the size of the mask."""
        pixels = np.repeat(np.arange(len(self.lengths)) % 2 == 1, self.lengths)
        pixels = pixels.reshape(height, width, order="F")
        mask[:] = pixels if mask.shape == pixels.shape else nearest(pixels, *mask.shape)


def read_drawing(what, drawn, height, width, wrong):
    """The mask in an annotation's ``segmentation``, checked.

    Parameters
    ----------
    what : str
        The annotation, for errors.
    drawn : list, dict or anything
        Polygons [[x, y, x, y, ...], ...], one polygon [x, y, x, y, ...], or run lengths {"size": ..., "counts": ...}.
    height, width : int
        Size of the image.
    wrong : list of str
        A sentence is added for each invalid polygon, if another one is valid.

    Returns
    -------
    Polygons or Runs

    Raises
    ------
    ValueError
        If there is no valid mask.
    """
    if isinstance(drawn, dict):
        return _read_runs(what, drawn, height, width)
    if not isinstance(drawn, list) or not drawn:
        raise ValueError(f"{what} has no segmentation ({told(drawn)}); masks=False reads boxes only")
    if all(type(part) in (int, float) for part in drawn):
        drawn = [drawn]  # one polygon without the brackets around it
    read = [_corners(polygon, 2 * max(height, width)) for polygon in drawn]
    parts = [corners for corners in read if not isinstance(corners, str)]
    if not parts:
        raise ValueError(f"{what}: {read[0]}")
    wrong += [f"{what}: {why}" for why in read if isinstance(why, str)]
    return Polygons(parts)


def _read_runs(what, drawn, height, width):
    if drawn.get("size") != [height, width]:
        raise ValueError(
            f"{what} has run lengths of size {told(drawn.get('size'))}, the image is {[height, width]} (height, width)"
        )
    try:
        lengths = checked_lengths("rle_decode", drawn | {"size": [height, width]})[2]
    except ValueError as error:
        raise ValueError(f"{what} has broken run lengths: {error}") from None
    return Runs(lengths.astype(np.int32))


def _corners(polygon, most):
    """Corners (n, 2) of a polygon, or a sentence that says what is wrong with it."""
    try:
        corners = np.array(polygon if isinstance(polygon, list) else [])
    except ValueError:  # lists of different lengths
        corners = np.zeros(0)
    pairs = corners.size % 2 == 0 if corners.ndim == 1 else corners.shape[-1] == 2
    if corners.dtype.kind not in "if" or corners.size < 6 or not pairs:
        return f"a polygon needs three or more x, y, got {told(polygon)}"
    # Corners far outside are an error, and filling them would cost memory. Written with `not` to refuse NaN too.
    if not (corners.max() <= most and corners.min() >= -most):
        return f"a polygon must lie within twice the image, got {told(polygon)}"
    corners = corners.astype(float).reshape(-1, 2)
    return (
        f"a polygon has no area, all corners of {told(polygon)} lie on one line"
        if _flat(corners)
        else corners
    )


def _flat(corners):
    """Whether all corners lie on one line."""
    (x0, y0), (x1, y1), (x2, y2) = corners[:3].tolist()
    if (x1 - x0) * (y2 - y0) != (x2 - x0) * (y1 - y0):  # enough for most polygons
        return False
    x, y = (corners - corners[0]).T
    far = (x * x + y * y).argmax()
    return bool((x * y[far] == y * x[far]).all())
