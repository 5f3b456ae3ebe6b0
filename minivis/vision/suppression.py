"""Non-maximum suppression: of boxes that overlap too much, keep only the one with the best score.

Not here: IoU itself (boxes.py), set prediction, which does not need suppression (detections.py).
"""

import math

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import device_of, to_device, to_numpy
from minivis.vision.boxes import check_corners, iou, with_room

__all__ = ["batched_nms", "nms", "soft_nms"]

BLOCK = 64  # boxes whose overlaps with the others are computed together


def nms(boxes, scores, threshold):
    """Keep the best box, drop every box that overlaps it too much, and repeat with the remaining boxes.

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (N, 4)
        Left, top, right, bottom, in any unit.
    scores : ndarray or Tensor, shape (N,)
        The larger, the better.
    threshold : float
        From 0 to 1. A box is dropped if its IoU with a better box that was kept is larger than this.

    Returns
    -------
    ndarray of int64, shape (K,)
        Indices of the boxes that are kept, in order of decreasing score. Of boxes with equal scores the earlier one comes
        first. On the device of ``boxes``.

    Raises
    ------
    ValueError
        If the shapes do not fit, a width or height is negative, a score is NaN or the threshold is not in [0, 1].
    TypeError
        If the boxes are integers.

    Notes
    -----
    Each choice depends on the previous one, so the function runs on the CPU; it computes up to N overlaps for each of the
    K kept boxes and for some of the others. A dropped box drops no others. Empty boxes overlap nothing (IoU 0) and are all
    kept. Not differentiable.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, section 4.2, for its effect on DETR.
    Slides ``Z/45-classical-detection``, ``H/14-detr-idea``, ``Z/60-detr-decoder``, ``Z/65-no-nms-needed``.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 5.0, 4.0], [6.0, 0.0, 9.0, 4.0]])
    >>> nms(boxes, np.array([0.8, 0.9, 0.3]), threshold=0.5)
    array([1, 2])
    """
    host_boxes, host_scores = _checked("nms", boxes, scores, threshold)
    remaining = np.argsort(-host_scores, kind="stable")
    kept = []
    while remaining.size:
        # the overlaps of a block of the best boxes with all others at once; the choices are made one by one
        block = remaining[:BLOCK]
        drops = iou(host_boxes[block][:, None], host_boxes[remaining]) > threshold  # (block, remaining)
        dropped = np.zeros(len(remaining), bool)
        for i, box in enumerate(block):
            if not dropped[i]:
                kept.append(box)
                dropped |= drops[i]
        remaining = remaining[len(block) :][~dropped[len(block) :]]
    return _indices(kept, boxes)


def batched_nms(boxes, scores, labels, threshold):
    """`nms` within each class: a cat on a sofa does not drop the sofa.

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (N, 4)
        Left, top, right, bottom, in any unit.
    scores : ndarray or Tensor, shape (N,)
        The larger, the better.
    labels : ndarray of int, shape (N,)
        The class of each box. For several images at once, use a different number for each pair of image and class.
    threshold : float
        From 0 to 1, as for `nms`.

    Returns
    -------
    ndarray of int64, shape (K,)
        Indices of the boxes that are kept, in order of decreasing score over all classes.

    Raises
    ------
    ValueError
        As for `nms`, and if ``labels`` does not have one number for each box.
    TypeError
        If the boxes are integers.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0]])
    >>> batched_nms(boxes, np.array([0.8, 0.9, 0.3]), np.array([7, 2, 7]), threshold=0.5)
    array([1, 0])
    """
    host_boxes, host_scores = _checked("batched_nms", boxes, scores, threshold)
    labels = to_numpy(labels)
    if labels.shape != host_scores.shape:
        raise ValueError(
            f"batched_nms: labels must be (N,), one for each box (boxes: {host_boxes.shape}, labels: {labels.shape})"
        )
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    kept = [indices[nms(host_boxes[indices], host_scores[indices], threshold)] for indices in classes]
    kept = np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)
    return _indices(kept[np.argsort(-host_scores[kept], kind="stable")], boxes)


def soft_nms(boxes, scores, sigma=0.5, threshold=0.001):
    """Soft non-maximum suppression: instead of dropping boxes that overlap a better one, lower their scores.

    .. math:: s_i \\leftarrow s_i \\, e^{-\\mathrm{IoU}(b_i, b_k)^2 / \\sigma}

    for all remaining boxes i whenever the best remaining box k is taken.

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (N, 4)
        Left, top, right, bottom, in any unit.
    scores : ndarray or Tensor, shape (N,)
        The larger, the better.
    sigma : float, default 0.5
        How little overlap matters: the larger, the less scores fall.
    threshold : float, default 0.001
        From 0 to 1. A box is dropped when its score falls below this.

    Returns
    -------
    indices : ndarray of int64, shape (K,)
        The boxes in the order in which they are taken. Of boxes with equal scores the earlier one is taken first.
    scores : ndarray, shape (K,)
        Their lowered scores, which fall, in the dtype of ``scores``.

    Raises
    ------
    ValueError
        If the shapes do not fit, a width or height is negative, a score is NaN, or an option is out of range.
    TypeError
        If the boxes are integers.

    Notes
    -----
    Where two objects overlap much, `nms` loses one of them, and this keeps it with a lower score. Runs on the CPU, since
    each choice depends on the previous one. Not differentiable.

    References
    ----------
    Bodla et al., "Soft-NMS: improving object detection with one line of code", ICCV 2017, equation 3.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 5.0, 4.0], [6.0, 0.0, 9.0, 4.0]])
    >>> indices, lowered = soft_nms(boxes, np.array([0.8, 0.9, 0.3]))
    >>> indices, lowered.round(2)
    (array([1, 0, 2]), array([0.9 , 0.39, 0.3 ]))
    """
    host_boxes, host_scores = _checked("soft_nms", boxes, scores, threshold)
    if not 0 < sigma < math.inf:
        raise ValueError(f"soft_nms: sigma must be positive, got {sigma}")
    lowered = host_scores.astype(np.float64)
    remaining = np.flatnonzero(lowered >= threshold)
    taken = []
    while remaining.size:
        best = remaining[lowered[remaining].argmax()]
        taken.append(best)
        remaining = remaining[remaining != best]
        overlap = iou(host_boxes[best], host_boxes[remaining])
        lowered[remaining] *= np.exp(-(overlap**2) / sigma)
        remaining = remaining[lowered[remaining] >= threshold]
    indices = _indices(taken, boxes)
    return indices, to_device(lowered[taken].astype(host_scores.dtype), device_of(indices))


def _checked(name, boxes, scores, threshold):
    """Check boxes and scores, and return them on the CPU."""
    boxes = with_room(to_numpy(boxes))
    scores = to_numpy(scores)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"{name}: boxes must be (N, 4) and scores (N,) (boxes: {boxes.shape}, scores: {scores.shape})"
        )
    check_corners(name, boxes=boxes)
    if np.isnan(scores).any():
        raise ValueError(f"{name}: scores[{np.flatnonzero(np.isnan(scores))[0]}] is NaN")
    if not 0 <= threshold <= 1:
        raise ValueError(f"{name}: threshold must be from 0 to 1, got {threshold}")
    return boxes, scores


def _indices(kept, boxes):
    """The kept indices on the device of the boxes."""
    boxes = boxes.data if isinstance(boxes, Tensor) else boxes
    return to_device(np.array(kept, dtype=np.int64), device_of(boxes))
