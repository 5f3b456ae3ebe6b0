"""Boxes: two formats, area, intersection over union (IoU), generalised IoU, clipping to the image.

Not here: choosing among overlapping boxes (suppression.py), losses (losses/boxes.py), masks (masks.py).
"""

import math

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import to_numpy
from minivis.precision import computed_in, in_float32, widened

__all__ = [
    "box_area",
    "box_cxcywh_to_xyxy",
    "box_iou",
    "box_xyxy_to_cxcywh",
    "clip_boxes",
    "generalized_box_iou",
]


# With coordinates up to this, areas do not overflow float32: a quarter of the root of its largest number.
FAR = 2.0**62


def with_room(boxes):
    """Boxes in a dtype in which areas do not overflow: float16 becomes float32, float32 with far corners float64."""
    boxes = widened(boxes)
    if boxes.dtype != np.float32 or not boxes.size:
        return boxes
    values = boxes.data if isinstance(boxes, Tensor) else boxes
    return boxes.astype(np.float64) if values.max() > FAR or values.min() < -FAR else boxes


areas_in_range = computed_in(with_room)  # a decorator for functions that multiply sides


def check_four(name, **boxes):
    """Raise for boxes that are not four floating-point coordinates."""
    shapes = ", ".join(f"{argument}: {tuple(x.shape)}" for argument, x in boxes.items())
    for argument, x in boxes.items():
        if x.dtype.kind != "f":
            raise TypeError(
                f"{name}: {argument} must be floating-point, got {x.dtype.name}; x.astype(np.float32) makes it so"
            )
        if x.ndim < 1 or x.shape[-1] != 4:
            raise ValueError(f"{name}: {argument} must be (..., 4), four numbers a box ({shapes})")


def check_corners(name, **boxes):
    """Raise for boxes of negative width or height."""
    check_four(name, **boxes)
    for argument, x in boxes.items():
        negative = (x[..., 2:] < x[..., :2]).any(axis=-1)
        if negative.any():
            first = to_numpy(x)[to_numpy(negative)][0]
            raise ValueError(
                f"{name}: {argument} has boxes of negative width or height, the first is {first.tolist()} as "
                f"(x1, y1, x2, y2); is it in the format (cx, cy, w, h)? ({argument}: {tuple(x.shape)})"
            )


@in_float32
def box_cxcywh_to_xyxy(boxes):
    """Convert boxes from centre and size, as models predict them, to two corners, as geometry needs them.

    .. math:: (x_1, y_1) = (c_x, c_y) - (w, h) / 2, \\qquad (x_2, y_2) = (c_x, c_y) + (w, h) / 2

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (..., 4)
        Centre x, centre y, width, height; in pixels or normalised.

    Returns
    -------
    ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom, in the same unit.

    Raises
    ------
    ValueError
        If the last axis is not 4.
    TypeError
        If the boxes are integers.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, section 3.1. Slides
    ``A/57-detr-branches``, ``H/18-detr-architecture``.

    Examples
    --------
    >>> import numpy as np
    >>> box_cxcywh_to_xyxy(np.array([5.0, 3.0, 4.0, 2.0]))
    array([3., 2., 7., 4.])
    """
    check_four("box_cxcywh_to_xyxy", boxes=boxes)
    centre = boxes[..., :2]
    half = boxes[..., 2:] * 0.5
    return ops.concatenate([centre - half, centre + half], axis=-1)


@in_float32
def box_xyxy_to_cxcywh(boxes):
    """Convert boxes from two corners to centre and size: the inverse of `box_cxcywh_to_xyxy`.

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom; in pixels or normalised.

    Returns
    -------
    ndarray or Tensor, shape (..., 4)
        Centre x, centre y, width, height, in the same unit.

    Raises
    ------
    ValueError
        If the last axis is not 4.
    TypeError
        If the boxes are integers.

    Examples
    --------
    >>> import numpy as np
    >>> box_xyxy_to_cxcywh(np.array([3.0, 2.0, 7.0, 4.0]))
    array([5., 3., 4., 2.])
    """
    check_four("box_xyxy_to_cxcywh", boxes=boxes)
    low = boxes[..., :2]
    high = boxes[..., 2:]
    return ops.concatenate([(low + high) * 0.5, high - low], axis=-1)


@areas_in_range
def box_area(boxes):
    """Area of boxes: width times height.

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom.

    Returns
    -------
    ndarray or Tensor, shape (...)
        In the square of the unit of ``boxes``.

    Raises
    ------
    ValueError
        If the last axis is not 4, or a width or height is negative.
    TypeError
        If the boxes are integers.

    Examples
    --------
    >>> import numpy as np
    >>> box_area(np.array([[3.0, 2.0, 7.0, 4.0], [0.0, 0.0, 0.0, 9.0]]))
    array([8., 0.])
    """
    check_corners("box_area", boxes=boxes)
    return _area(boxes[..., 2:] - boxes[..., :2])[..., 0]


def _area(sides):
    """Sides (..., 2) to areas (..., 1). The last axis is kept, so that the area of a single box is an array too."""
    return sides[..., :1] * sides[..., 1:]


def _share(part, whole):
    """part / whole, or 0 where the whole is empty, with finite gradients everywhere.

    An area counts as empty below the square root of the smallest normal number (1e-19 in float32). There the gradient,
    which divides by the area twice, would overflow. The inner ``where`` is for the gradient: without it, the gradient
    would be 0 times infinity.
    """
    smallest = math.sqrt(np.finfo(whole.dtype).tiny)
    positive = whole > smallest
    return ops.where(positive, part / ops.where(positive, whole, 1.0), 0.0)


def _two_lists(name, boxes1, boxes2, pairwise):
    """Check two lists of boxes; with ``pairwise``, add axes so that they broadcast to all pairs."""
    check_corners(name, boxes1=boxes1, boxes2=boxes2)
    shapes = f"(boxes1: {tuple(boxes1.shape)}, boxes2: {tuple(boxes2.shape)})"
    if pairwise and min(boxes1.ndim, boxes2.ndim) < 2:
        raise ValueError(f"{name}: for all pairs boxes must be (N, 4) and (M, 4) {shapes}")
    if pairwise:
        # (N, 1, 4), (1, M, 4)
        boxes1 = boxes1[..., :, None, :]
        boxes2 = boxes2[..., None, :, :]
    for n, m in zip(boxes1.shape[::-1], boxes2.shape[::-1], strict=False):
        if n != m and 1 not in (n, m):
            raise ValueError(f"{name}: the axes before the last do not broadcast {shapes}")
    return boxes1, boxes2


def _overlap(boxes1, boxes2):
    """Areas of the intersection and the union, (..., 1)."""
    low = ops.maximum(boxes1[..., :2], boxes2[..., :2])
    high = ops.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = _area(ops.clip(high - low, 0))  # a negative side: no overlap
    areas = _area(boxes1[..., 2:] - boxes1[..., :2]) + _area(boxes2[..., 2:] - boxes2[..., :2])
    return intersection, areas - intersection


def iou(boxes1, boxes2):
    """`box_iou` with ``pairwise=False`` and without checks, for boxes from `with_room`."""
    intersection, union = _overlap(boxes1, boxes2)
    return _share(intersection, union)[..., 0]


@areas_in_range
def box_iou(boxes1, boxes2, pairwise=True):
    """Intersection over union: the area that both boxes cover, divided by the area that at least one covers.

    .. math:: \\mathrm{IoU} = \\frac{|A \\cap B|}{|A \\cup B|}

    Parameters
    ----------
    boxes1, boxes2 : ndarray or Tensor, shapes (N, 4) and (M, 4)
        Left, top, right, bottom, all in the same unit. Leading axes broadcast.
    pairwise : bool, default True
        True compares every box of the first list with every box of the second. False compares box by box; the shapes
        (..., 4) broadcast.

    Returns
    -------
    ndarray or Tensor, shape (N, M), or (...) box by box
        From 0 (no overlap) to 1 (the same box). The IoU of two empty boxes is 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a width or height is negative.
    TypeError
        If the boxes are integers.

    Notes
    -----
    Differentiable in both. Boxes that do not overlap have gradient 0; `generalized_box_iou` has a gradient there.

    References
    ----------
    Slides ``A/64-box-loss``, ``H/15-matching-cost``.

    Examples
    --------
    >>> import numpy as np
    >>> box_iou(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]])).round(3)
    array([[0.333, 0.   ]])
    """
    return iou(*_two_lists("box_iou", boxes1, boxes2, pairwise))


@areas_in_range
def generalized_box_iou(boxes1, boxes2, pairwise=True):
    """Generalised IoU: the IoU minus the fraction of the smallest enclosing box that neither box covers.

    .. math:: \\mathrm{GIoU} = \\frac{|A \\cap B|}{|A \\cup B|} - \\frac{|E| - |A \\cup B|}{|E|}

    with E the smallest box that encloses both. Unlike the IoU, it depends on how far apart two boxes are.

    Parameters
    ----------
    boxes1, boxes2 : ndarray or Tensor, shapes (N, 4) and (M, 4)
        Left, top, right, bottom, all in the same unit. Leading axes broadcast.
    pairwise : bool, default True
        True compares every box of the first list with every box of the second. False compares box by box; the shapes
        (..., 4) broadcast.

    Returns
    -------
    ndarray or Tensor, shape (N, M), or (...) box by box
        From -1 (far apart) to 1 (the same box), never above the IoU. An enclosure without area contributes 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a width or height is negative.
    TypeError
        If the boxes are integers.

    Notes
    -----
    Differentiable in both. For boxes that do not overlap, the gradient moves them together and makes them larger. Where
    sides coincide, each box gets half the gradient.

    References
    ----------
    Rezatofighi et al., "Generalized intersection over union", CVPR 2019, algorithm 1. Slides ``A/64-box-loss``,
    ``H/15-matching-cost``.

    Examples
    --------
    >>> import numpy as np
    >>> box = np.array([[0.0, 0.0, 1.0, 1.0]])
    >>> generalized_box_iou(box, np.array([[2.0, 0.0, 3.0, 1.0], [9.0, 0.0, 10.0, 1.0]])).round(3)
    array([[-0.333, -0.8  ]])
    """
    boxes1, boxes2 = _two_lists("generalized_box_iou", boxes1, boxes2, pairwise)
    intersection, union = _overlap(boxes1, boxes2)
    low = ops.minimum(boxes1[..., :2], boxes2[..., :2])
    high = ops.maximum(boxes1[..., 2:], boxes2[..., 2:])
    enclosure = _area(high - low)
    return (_share(intersection, union) - _share(enclosure - union, enclosure))[..., 0]


def clip_boxes(boxes, height, width):
    """Clip boxes to the image.

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom.
    height, width : float
        Height and width of the image, in the unit of the boxes (1 and 1 if they are normalised).

    Returns
    -------
    ndarray or Tensor, shape (..., 4)
        A box that is entirely outside becomes an empty box on the border.

    Raises
    ------
    ValueError
        If the last axis is not 4.
    TypeError
        If the boxes are integers.

    Notes
    -----
    Differentiable in ``boxes``. Clipped coordinates have gradient 0.

    Examples
    --------
    >>> import numpy as np
    >>> clip_boxes(np.array([-3.0, 2.0, 7.0, 4.0]), 3, 5)
    array([0., 2., 5., 3.])
    """
    check_four("clip_boxes", boxes=boxes)
    limits = (width, height, width, height)
    return ops.stack([ops.clip(boxes[..., i], 0, limit) for i, limit in enumerate(limits)], axis=-1)
