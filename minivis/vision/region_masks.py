"""Masks of regions: cut the mask of an object out for a box, and paste a small mask into its box in an image.

Not here: RoIAlign (rois.py), the loss (losses/region_masks.py), masks of whole images (masks.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy
from minivis.ops.index import check_range
from minivis.precision import rounded, widened
from minivis.vision.masks import corners_of, pixels_along
from minivis.vision.rois import roi_align

__all__ = ["mask_targets", "paste_masks"]


def _check_form(name, form):
    if form not in ("exact", "torchvision"):
        raise ValueError(f'{name}: form must be "exact" or "torchvision", got {form!r}')


def mask_targets(masks, boxes, objects, size, form="exact"):
    """What the mask head should say about each box: the part of an object's mask that lies in it, in size x size cells.

    The box need not be that of the object: the head sees only what is inside the box that was proposed.

    Parameters
    ----------
    masks : ndarray, shape (T, H, W)
        True or 1 on the object.
    boxes : ndarray, shape (R, 4)
        The proposed boxes, xyxy in pixels of the masks.
    objects : ndarray of int, shape (R,)
        For each box the number of its mask.
    size : int
        Cells along each side of the target.
    form : {"exact", "torchvision"}, default "exact"
        With "exact" a cell is 1 where the mean of the mask at its sampling points is at least 1/2, as in detectron2;
        "torchvision" keeps the means, with boxes shifted by half a pixel as its RoIAlign has them.

    Returns
    -------
    ndarray, shape (R, size, size)
        0 and 1, or numbers between; float32, or the dtype of floating-point masks.

    Raises
    ------
    ValueError
        If the shapes do not fit, the boxes are not xyxy, or the form is unknown.
    IndexError
        If there is no such mask.
    TypeError
        If ``boxes`` is not floating-point.

    References
    ----------
    He et al., "Mask R-CNN", ICCV 2017, section 3: the target "is the intersection between an RoI and its associated
    ground-truth mask". Slide ``C/89-mask-rcnn``.

    Examples
    --------
    >>> left = np.arange(4)[None] < np.full((4, 1), 2)  # the left half of a 4 x 4 image
    >>> mask_targets(left[None], np.array([[1.0, 0.0, 3.0, 4.0]]), np.array([0]), 2)[0]
    array([[1., 0.],
           [1., 0.]], dtype=float32)
    """
    if masks.ndim != 3 or boxes.ndim != 2 or boxes.shape[1] != 4 or objects.shape != boxes.shape[:1]:
        raise ValueError(
            f"mask_targets: masks must be (T, H, W), boxes (R, 4) and objects (R,) (masks: {tuple(masks.shape)}, "
            f"boxes: {tuple(boxes.shape)}, objects: {tuple(objects.shape)})"
        )
    _check_form("mask_targets", form)
    size = pixels_along("mask_targets", "size", size)
    check_range("mask_targets", "objects", objects, len(masks), low=0)
    if boxes.dtype.kind != "f":
        raise TypeError(f"mask_targets: boxes must be floating-point, got {boxes.dtype.name}")
    corners_of("mask_targets", boxes)
    xp = namespace(masks, boxes)
    dtype = masks.dtype if masks.dtype.kind == "f" else xp.float32
    planes = widened(masks.astype(dtype, copy=False)[:, None])  # (T, 1, H, W)
    boxes = boxes.astype(planes.dtype, copy=False)
    rois = xp.concatenate([objects[:, None].astype(planes.dtype), boxes], axis=1)
    exact = form == "exact"
    share = roi_align(planes, rois, size, sampling=0, aligned=exact)[:, 0]  # (R, size, size)
    return (share >= 0.5 if exact else share).astype(dtype)


def paste_masks(masks, boxes, height, width, form="exact"):
    """Resize small masks to their boxes in an image, as Mask R-CNN does with its 28 x 28 masks.

    The centre of pixel (i, j) is the point ((j + 1/2 - x1) / (x2 - x1), (i + 1/2 - y1) / (y2 - y1)) of the box. The mask
    is sampled there by bilinear interpolation; outside the box it falls to 0 within half a mask pixel.

    Parameters
    ----------
    masks : ndarray or Tensor, shape (N, h, w) or (h, w)
        Floating-point, usually probabilities.
    boxes : ndarray or Tensor, shape (N, 4) or (4,)
        xyxy in pixels. They may extend beyond the image. A box without area gives an empty mask.
    height, width : int
        Height and width of the image, in pixels.
    form : {"exact", "torchvision"}, default "exact"
        "torchvision" pastes as torchvision's code does, for its checkpoints: the mask gets a border of one zero, the box
        grows with it, its corners lose their fractions, and the resized mask has one row and one column more than the box.

    Returns
    -------
    ndarray or Tensor, shape (N, height, width) or (height, width)
        In the dtype of `masks`; ``> 0.5`` gives boolean masks.

    Raises
    ------
    ValueError
        If the shapes do not fit, the boxes are not xyxy, the image has no pixels, or the form is unknown.
    TypeError
        If `height` or `width` is not an integer, or `masks` or `boxes` is not floating-point.

    Notes
    -----
    Differentiable in `masks`, and in `boxes` with the exact form. Half a pixel matters: sampling at corners instead of
    centres moves an object by half a pixel up and to the left. At an IoU threshold of 0.75 this can make a small object
    wrong. A mask of ones in the box (2, 3, 6, 5) covers the 8 pixels of the box, and 24 in torchvision's form.

    References
    ----------
    He et al., "Mask R-CNN", ICCV 2017, section 3.1. Slide ``C/89-mask-rcnn``.

    Examples
    --------
    >>> paste_masks(np.ones((1, 1, 1)), np.array([[1.0, 0.0, 3.0, 1.0]]), 1, 4)
    array([[[0.25, 0.75, 0.75, 0.25]]])
    >>> ones, box = np.ones((28, 28)), np.array([2.0, 3.0, 6.0, 5.0])
    >>> [int((paste_masks(ones, box, 10, 10, form) > 0.5).sum()) for form in ("exact", "torchvision")]
    [8, 24]
    """
    if masks.ndim not in (2, 3) or tuple(boxes.shape) != (*masks.shape[:-2], 4):
        raise ValueError(
            f"paste_masks: masks must be (N, h, w) and boxes (N, 4) (masks: {tuple(masks.shape)}, "
            f"boxes: {tuple(boxes.shape)})"
        )
    _check_form("paste_masks", form)
    height, width = pixels_along("paste_masks", "height", height), pixels_along("paste_masks", "width", width)
    for argument, x in (("masks", masks), ("boxes", boxes)):
        if x.dtype.kind != "f":  # half pixels would be lost
            raise TypeError(f"paste_masks: {argument} must be floating-point, got {x.dtype.name}")
    if masks.ndim == 2:
        one = paste_masks(ops.expand_dims(masks, 0), ops.expand_dims(boxes, 0), height, width, form)
        return ops.squeeze(one, 0)
    paste = _paste_exactly if form == "exact" else _paste_as_torchvision
    return rounded(paste(widened(masks), widened(boxes), height, width), masks.dtype)


def _paste_exactly(masks, boxes, height, width):
    """Sample each mask at the centres of the image's pixels."""
    x1, y1, x2, y2 = corners_of("paste_masks", boxes)
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
    return ops.squeeze(ops.grid_sample(ops.expand_dims(masks, 1), ops.stack([x, y], axis=-1)), 1)


def _paste_as_torchvision(masks, boxes, height, width):
    """Resize each mask to whole pixels, and copy what lies inside the image."""
    (N, h, w) = masks.shape
    corners_of("paste_masks", boxes)
    host = to_numpy(boxes.data if isinstance(boxes, Tensor) else boxes)
    centre = (host[:, :2] + host[:, 2:]) * 0.5  # (N, 2)
    half = (host[:, 2:] - host[:, :2]) * 0.5 * np.array([(w + 2) / w, (h + 2) / h], host.dtype)
    wide = np.concatenate([centre - half, centre + half], axis=1).astype(np.int64)  # towards 0
    padded = ops.pad(ops.expand_dims(masks, 1), ((0, 0), (0, 0), (1, 1), (1, 1)))
    pasted = []
    for n, (left, top, right, bottom) in enumerate(wide.tolist()):
        size = (bottom - top + 1, right - left + 1)
        resized = ops.interpolate(padded[n : n + 1], size=size, mode="bilinear")
        first = max(top, 0)
        last = min(bottom + 1, height)
        start = max(left, 0)
        end = min(right + 1, width)
        if first >= last or start >= end:
            pasted.append(ops.broadcast_to(ops.sum(masks[n]) * 0, (height, width)))
            continue
        inside = resized[0, 0, first - top : last - top, start - left : end - left]
        pasted.append(ops.pad(inside, ((first, height - last), (start, width - end))))
    return ops.stack(pasted) if N else ops.reshape(masks, (0, height, width))
