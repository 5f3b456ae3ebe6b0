"""Boxes as changes of other boxes: what a detector with proposals or anchors predicts, and how it becomes a box again.

Not here: the formats of boxes (boxes.py), anchors and which of them predicts which object (anchors.py).
"""

import math

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import to_numpy
from minivis.debugging import may_read
from minivis.precision import in_float32
from minivis.vision.boxes import check_corners, check_four

__all__ = ["box_decode", "box_encode"]

# A side grows at most this many times: exp of a large prediction would overflow.
LARGEST_GROWTH = math.log(1000 / 16)


@in_float32
def box_encode(proposals, boxes, weights=(1, 1, 1, 1)):
    """Describe boxes as changes of proposals: how far the centre moves, and how much the sides grow.

    .. math:: d_x = w_x \\frac{x - x_a}{w_a}, \\quad d_y = w_y \\frac{y - y_a}{h_a}, \\quad
              d_w = w_w \\log \\frac{w}{w_a}, \\quad d_h = w_h \\log \\frac{h}{h_a}

    (x, y) is the centre of the box, w and h are its sides; those of the proposal have the index a.

    Parameters
    ----------
    proposals : ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom, in any unit: regions, anchors, or the boxes of an earlier step.
    boxes : ndarray or Tensor, shape (..., 4)
        The boxes to describe, in the same unit. The leading axes broadcast with those of ``proposals``.
    weights : sequence of four floats, default (1, 1, 1, 1)
        A factor for each of the four numbers, so that they are about equally large. Fast R-CNN divides by standard
        deviations of 0.1, 0.1, 0.2, 0.2: (10, 10, 5, 5).

    Returns
    -------
    ndarray or Tensor, shape (..., 4)
        The changes dx, dy, dw, dh. They are 0 for a box that is its proposal.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a box has no area: the logarithm of 0 is not finite.
    TypeError
        If the boxes are integers.

    Notes
    -----
    Differentiable in both. Moving or scaling the proposal and the box together changes nothing.

    References
    ----------
    Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", CVPR 2014,
    appendix C. Ren et al., "Faster R-CNN", 2015, equation 2. Slides ``C/45-rcnn``, ``C/58-fast-rcnn-heads``.

    Examples
    --------
    >>> import numpy as np
    >>> box_encode(np.array([0.0, 0.0, 10.0, 20.0]), np.array([5.0, 5.0, 15.0, 45.0])).round(3)
    array([0.5  , 0.75 , 0.   , 0.693])
    """
    check_corners("box_encode", proposals=proposals, boxes=boxes)
    _check_broadcast("box_encode", proposals=proposals, boxes=boxes)
    _check_areas("box_encode", proposals=proposals, boxes=boxes)
    w_x, w_y, w_w, w_h = _four_weights("box_encode", weights)
    x_a, y_a, width_a, height_a = _centre_and_sides(proposals)
    x, y, width, height = _centre_and_sides(boxes)
    dx = w_x * (x - x_a) / width_a
    dy = w_y * (y - y_a) / height_a
    dw = w_w * ops.log(width / width_a)
    dh = w_h * ops.log(height / height_a)
    return ops.concatenate([dx, dy, dw, dh], axis=-1)


@in_float32
def box_decode(deltas, proposals, weights=(1, 1, 1, 1)):
    """Apply predicted changes to proposals: the inverse of `box_encode`.

    .. math:: x = x_a + w_a d_x / w_x, \\quad y = y_a + h_a d_y / w_y, \\quad
              w = w_a e^{d_w / w_w}, \\quad h = h_a e^{d_h / w_h}

    Parameters
    ----------
    deltas : ndarray or Tensor, shape (..., 4)
        The changes dx, dy, dw, dh, as `box_encode` returns them.
    proposals : ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom, in any unit. The leading axes broadcast with those of ``deltas``: deltas (N, K, 4), a
        change for each of K classes, fit proposals (N, 1, 4).
    weights : sequence of four floats, default (1, 1, 1, 1)
        Those that `box_encode` was called with.

    Returns
    -------
    ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom, in the unit of ``proposals``. They may leave the image.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a proposal has negative width or height.
    TypeError
        If an array is of integers.

    Notes
    -----
    Differentiable in both. The logarithms of the growth are at most log(1000 / 16): no side becomes more than 62.5 times
    as long, because an untrained network would make infinite boxes. Beyond this limit the gradient is 0.

    References
    ----------
    Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", CVPR 2014,
    appendix C, equations 1 to 4. Slides ``C/45-rcnn``, ``C/62-faster-rcnn``.

    Examples
    --------
    >>> import numpy as np
    >>> box_decode(np.array([0.5, 0.75, 0.0, np.log(2)]), np.array([0.0, 0.0, 10.0, 20.0]))
    array([ 5.,  5., 15., 45.])
    """
    check_four("box_decode", deltas=deltas)
    check_corners("box_decode", proposals=proposals)
    _check_broadcast("box_decode", deltas=deltas, proposals=proposals)
    w_x, w_y, w_w, w_h = _four_weights("box_decode", weights)
    x_a, y_a, width_a, height_a = _centre_and_sides(proposals)
    dx, dy, dw, dh = (deltas[..., i : i + 1] for i in range(4))
    x = x_a + width_a * (dx / w_x)
    y = y_a + height_a * (dy / w_y)
    half_width = 0.5 * width_a * ops.exp(ops.clip(dw / w_w, None, LARGEST_GROWTH))
    half_height = 0.5 * height_a * ops.exp(ops.clip(dh / w_h, None, LARGEST_GROWTH))
    return ops.concatenate([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)


def _centre_and_sides(boxes):
    """Centre x and y, width and height, (..., 1) each."""
    left, top, right, bottom = (boxes[..., i : i + 1] for i in range(4))
    return (left + right) * 0.5, (top + bottom) * 0.5, right - left, bottom - top


def _four_weights(name, weights):
    """The weights as Python floats; a NumPy float64 would widen float32."""
    weights = tuple(float(weight) for weight in weights)
    if len(weights) != 4 or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(f"{name}: weights must be four positive numbers, got {weights}")
    return weights


def _check_broadcast(name, **arrays):
    """Raise unless the leading axes of two arrays broadcast."""
    one, other = arrays.values()
    shapes = ", ".join(f"{argument}: {tuple(x.shape)}" for argument, x in arrays.items())
    for n, m in zip(one.shape[::-1], other.shape[::-1], strict=False):
        if n != m and 1 not in (n, m):
            raise ValueError(f"{name}: the axes before the last do not broadcast ({shapes})")


def _check_areas(name, **boxes):
    """Raise for boxes without area."""
    for argument, x in boxes.items():
        if not may_read(x.data if isinstance(x, Tensor) else x):
            continue
        values = to_numpy(x)
        empty = (values[..., 2:] <= values[..., :2]).any(axis=-1)
        if empty.any():
            raise ValueError(
                f"{name}: {argument} has boxes without area, the first is {values[empty][0].tolist()}; a box with a side "
                f"of 0 cannot be described by logarithms ({argument}: {tuple(x.shape)})"
            )
