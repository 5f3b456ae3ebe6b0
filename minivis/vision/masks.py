"""Masks of objects: boxes around masks, masks of boxes, IoU and Dice.

Not here: losses on masks (losses/masks.py), small masks of a box (region_masks.py), files (run_lengths.py), assigning
each pixel to one segment (panoptic.py).
"""

import operator

from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy

__all__ = ["boxes_to_masks", "mask_dice", "mask_iou", "masks_to_boxes"]


def pixels_along(name, argument, value):
    """Check a number of pixels: an integer of at least 1."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {argument} must be an integer (pixels), got {value!r}") from None
    if value < 1:
        raise ValueError(f"{name}: {argument} must be at least 1 pixel, got {value}")
    return value


def as_masks(name, masks):
    """Masks as an array; raise if they are not boolean."""
    masks = masks.data if isinstance(masks, Tensor) else masks
    if masks.dtype != bool:
        raise TypeError(
            f"{name}: masks must be boolean, True = object, got {masks.dtype.name}: logits become masks by "
            f"`logits > 0`, numbers 0 and 1 by `.astype(bool)`"
        )
    return masks


def corners_of(name, boxes):
    """The four columns x1, y1, x2, y2 of boxes; raise if x1 > x2 or y1 > y2."""
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"{name}: boxes must be (..., 4): x1, y1, x2, y2 (boxes: {tuple(boxes.shape)})")
    values = to_numpy(boxes)
    wrong = ~((values[..., 0] <= values[..., 2]) & (values[..., 1] <= values[..., 3]))
    if wrong.any():
        raise ValueError(
            f"{name}: boxes must be xyxy with x1 <= x2 and y1 <= y2, in pixels, but one is "
            f"{values[wrong][0].tolist()}; if these are cxcywh, convert them with box_cxcywh_to_xyxy first"
        )
    return tuple(boxes[..., i] for i in range(4))


def masks_to_boxes(masks):
    """The smallest box around each mask.

    Parameters
    ----------
    masks : ndarray, shape (..., H, W)
        Boolean, True = object.

    Returns
    -------
    ndarray, shape (..., 4)
        float32, xyxy in pixels: (x1, y1) is the upper left corner of the first pixel, (x2, y2) the lower right corner
        of the last pixel, so x2 - x1 is the number of columns. The box of an empty mask is (0, 0, 0, 0).

    Raises
    ------
    TypeError
        If the masks are not boolean.
    ValueError
        If they are not (..., H, W) with pixels.

    Notes
    -----
    Many implementations return the index of the last pixel as x2. Then every width is 1 too small, and the width of a
    single pixel is 0.

    Examples
    --------
    >>> import numpy as np
    >>> masks_to_boxes(np.array([[[False, True, True], [False, True, False]]]))
    array([[1., 0., 3., 2.]], dtype=float32)
    """
    masks = as_masks("masks_to_boxes", masks)
    if masks.ndim < 2 or not all(masks.shape[-2:]):
        raise ValueError(f"masks_to_boxes: masks must be (..., H, W) with pixels (masks: {masks.shape})")
    xp = namespace(masks)
    ends = []
    for axis in (-2, -1):  # which columns hold an object: x; which rows: y
        hit = masks.any(axis=axis)  # (..., W) or (..., H)
        first = hit.argmax(axis=-1)
        last = hit.shape[-1] - hit[..., ::-1].argmax(axis=-1)
        ends.append((first, xp.where(hit.any(axis=-1), last, 0)))
    (x1, x2), (y1, y2) = ends
    return xp.stack([x1, y1, x2, y2], axis=-1).astype(xp.float32)


def boxes_to_masks(boxes, height, width):
    """Fill boxes: a pixel belongs to a box if its centre does.

    Parameters
    ----------
    boxes : ndarray, shape (..., 4)
        xyxy in pixels. They may extend beyond the image.
    height, width : int
        Height and width of the image, in pixels.

    Returns
    -------
    ndarray, shape (..., height, width)
        Boolean. The pixel in row i and column j is True if x1 <= j + 1/2 < x2 and y1 <= i + 1/2 < y2. Boxes that only
        share an edge have no pixel in common.

    Raises
    ------
    ValueError
        If the boxes are not xyxy or the image has no pixels.
    TypeError
        If `height` or `width` is not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> boxes_to_masks(np.array([1.0, 0.0, 3.0, 1.0]), 2, 3)
    array([[False,  True,  True],
           [False, False, False]])
    """
    boxes = boxes.data if isinstance(boxes, Tensor) else boxes
    height, width = (
        pixels_along("boxes_to_masks", "height", height),
        pixels_along("boxes_to_masks", "width", width),
    )
    x1, y1, x2, y2 = (side[..., None] for side in corners_of("boxes_to_masks", boxes))
    xp = namespace(boxes)
    x, y = xp.arange(width) + 0.5, xp.arange(height) + 0.5
    columns, rows = (x1 <= x) & (x < x2), (y1 <= y) & (y < y2)  # (..., W), (..., H)
    return rows[..., :, None] & columns[..., None, :]


def mask_iou(masks1, masks2):
    r"""Intersection over union of masks: the number of pixels in both masks, divided by the number in either.

    .. math:: \text{IoU} = \frac{|A \cap B|}{|A \cup B|}

    Parameters
    ----------
    masks1, masks2 : ndarray, shapes (N, H, W) and (M, H, W)
        Boolean, True = object.

    Returns
    -------
    ndarray, shape (N, M)
        float64, for every pair of masks, from 0 (no overlap) to 1 (the same mask). The IoU of two empty masks is 0.

    Raises
    ------
    ValueError
        If the masks are not (N, H, W) and (M, H, W).
    TypeError
        If they are not boolean.

    Examples
    --------
    >>> import numpy as np
    >>> mask_iou(np.array([[[True, True, False]]]), np.array([[[False, True, True]], [[True, True, False]]])).round(3)
    array([[0.333, 1.   ]])
    """
    both, either = _overlap("mask_iou", masks1, masks2)
    return both / namespace(either).maximum(either, 1)


def mask_dice(masks1, masks2):
    r"""Dice (or Sorensen) coefficient of masks: the number of pixels in both masks, divided by their mean size.

    .. math:: \text{Dice} = \frac{2\,|A \cap B|}{|A| + |B|} = \frac{2\,\text{IoU}}{1 + \text{IoU}}

    Parameters
    ----------
    masks1, masks2 : ndarray, shapes (N, H, W) and (M, H, W)
        Boolean, True = object.

    Returns
    -------
    ndarray, shape (N, M)
        float64, for every pair of masks, from 0 (no overlap) to 1 (the same mask). It is never less than the IoU and orders
        pairs in the same way. The Dice of two empty masks is 0.

    Raises
    ------
    ValueError
        If the masks are not (N, H, W) and (M, H, W).
    TypeError
        If they are not boolean.

    Examples
    --------
    >>> import numpy as np
    >>> mask_dice(np.array([[[True, True, False]]]), np.array([[[False, True, True]]]))
    array([[0.5]])
    """
    both, either = _overlap("mask_dice", masks1, masks2)
    return 2 * both / namespace(either).maximum(both + either, 1)


def _overlap(name, masks1, masks2):
    """Numbers of pixels in both masks and in either, (N, M) each, for masks (N, H, W) and (M, H, W)."""
    masks1, masks2 = as_masks(name, masks1), as_masks(name, masks2)
    if masks1.ndim != 3 or masks2.ndim != 3 or masks1.shape[1:] != masks2.shape[1:]:
        raise ValueError(
            f"{name}: masks must be (N, H, W) and (M, H, W) of one size (masks1: {masks1.shape}, masks2: {masks2.shape})"
        )
    pixels = masks1.shape[1] * masks1.shape[2]
    rows1, rows2 = (masks.reshape(len(masks), pixels).astype("float64") for masks in (masks1, masks2))
    both = rows1 @ rows2.T
    return both, rows1.sum(axis=1)[:, None] + rows2.sum(axis=1) - both
