"""Masks of objects: boxes around masks, masks of boxes, pasting small masks into an image, IoU and Dice.

Not here: losses on masks (losses/masks.py), files (run_lengths.py), assigning each pixel to one segment (panoptic.py).
"""

import operator

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy
from minivis.precision import rounded, widened

__all__ = ["boxes_to_masks", "mask_dice", "mask_iou", "masks_to_boxes", "paste_masks"]


def _length(name, argument, value):
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


def _corners(name, boxes):
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
    height, width = _length("boxes_to_masks", "height", height), _length("boxes_to_masks", "width", width)
    x1, y1, x2, y2 = (side[..., None] for side in _corners("boxes_to_masks", boxes))
    xp = namespace(boxes)
    x, y = xp.arange(width) + 0.5, xp.arange(height) + 0.5
    columns, rows = (x1 <= x) & (x < x2), (y1 <= y) & (y < y2)  # (..., W), (..., H)
    return rows[..., :, None] & columns[..., None, :]


def paste_masks(masks, boxes, height, width):
    """Resize small masks to their boxes in an image, as Mask R-CNN does with its 28 x 28 masks.

    The centre of pixel (i, j) is the point ((j + 1/2 - x1) / (x2 - x1), (i + 1/2 - y1) / (y2 - y1)) of the box. The mask
    is sampled there by bilinear interpolation; outside the box it falls to 0 within half a mask pixel.

    Parameters
    ----------
    masks : ndarray or Tensor, shape (N, h, w)
        Floating-point, usually probabilities.
    boxes : ndarray or Tensor, shape (N, 4)
        xyxy in pixels. They may extend beyond the image. A box without area gives an empty mask.
    height, width : int
        Height and width of the image, in pixels.

    Returns
    -------
    ndarray or Tensor, shape (N, height, width)
        In the dtype of `masks`; ``> 0.5`` gives boolean masks.

    Raises
    ------
    ValueError
        If the shapes do not fit, the boxes are not xyxy, or the image has no pixels.
    TypeError
        If `height` or `width` is not an integer, or `masks` or `boxes` is not floating-point.

    Notes
    -----
    Differentiable in `masks` and `boxes`. Half a pixel matters: sampling at corners instead of centres moves an object by
    half a pixel up and to the left. At an IoU threshold of 0.75 this can make a small object wrong.

    References
    ----------
    He et al., "Mask R-CNN", ICCV 2017, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> paste_masks(np.ones((1, 1, 1)), np.array([[1.0, 0.0, 3.0, 1.0]]), 1, 4)
    array([[[0.25, 0.75, 0.75, 0.25]]])
    """
    if masks.ndim != 3 or tuple(boxes.shape) != (masks.shape[0], 4):
        raise ValueError(
            f"paste_masks: masks must be (N, h, w) and boxes (N, 4) (masks: {tuple(masks.shape)}, "
            f"boxes: {tuple(boxes.shape)})"
        )
    height, width = _length("paste_masks", "height", height), _length("paste_masks", "width", width)
    if boxes.dtype.kind != "f":  # half pixels would be lost
        raise TypeError(f"paste_masks: boxes must be floating-point, got {boxes.dtype.name}")
    dtype = masks.dtype
    masks = widened(masks)
    boxes = widened(boxes)
    x1, y1, x2, y2 = _corners("paste_masks", boxes)
    raw = boxes.data if isinstance(boxes, Tensor) else boxes
    xp = namespace(raw)
    shape = (masks.shape[0], height, width)
    solid = ((raw[:, 2] > raw[:, 0]) & (raw[:, 3] > raw[:, 1]))[:, None]  # (N, 1)

    def along(low, high, length):  # (N,), (N,) -> (N, length), -1 and 1 at the sides of the box
        centres = (xp.arange(length) + 0.5).astype(raw.dtype)
        side = ops.where(solid, ops.expand_dims(high - low, -1), 1.0)
        return ops.where(solid, 2 * (centres - ops.expand_dims(low, -1)) / side - 1, -3.0)  # -3: far outside

    x = ops.broadcast_to(ops.expand_dims(along(x1, x2, width), -2), shape)
    y = ops.broadcast_to(ops.expand_dims(along(y1, y2, height), -1), shape)
    pasted = ops.squeeze(ops.grid_sample(ops.expand_dims(masks, 1), ops.stack([x, y], axis=-1)), 1)
    return rounded(pasted, dtype)


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
