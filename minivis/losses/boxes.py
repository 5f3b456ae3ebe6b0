"""Losses that compare predicted boxes with the boxes of their objects: L1 and GIoU.

Not here: matching boxes to objects (set_prediction.py), the geometry itself (vision/boxes.py).
"""

import numpy as np

from minivis import ops
from minivis.complaints import named
from minivis.losses.sets import reduce_sets
from minivis.precision import widened
from minivis.vision.boxes import box_cxcywh_to_xyxy, generalized_box_iou

__all__ = ["box_giou_loss", "box_l1_loss"]


def _pairs(boxes, targets):
    """Boxes and targets in float32 at least, and the dtype of their loss."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.shape != targets.shape:
        raise ValueError("boxes and targets must be (N, 4), pair by pair")
    return widened(boxes), widened(targets), np.result_type(boxes.dtype, targets.dtype)


@named
def box_l1_loss(boxes, targets, normalizer=None, reduction="mean"):
    """L1 distance of two boxes: the absolute differences of centre and size, summed over the four numbers.

    .. math:: \\ell = \\lVert b - \\hat b \\rVert_1

    Parameters
    ----------
    boxes, targets : ndarray or Tensor, shape (N, 4)
        Pairs of boxes (centre x, centre y, width, height), as fractions of the image.
    normalizer : float, optional
        Divide the sum by this instead of by N. DETR divides by the number of objects in the batch.
    reduction : {"mean", "none"}, default "mean"
        "none" gives the loss of every pair, (N,).

    Returns
    -------
    ndarray or Tensor, shape () or (N,)
        In fractions of the image. The same relative error gives a larger loss for a larger box; for this reason DETR
        combines it with GIoU.

    Raises
    ------
    ValueError
        If the shapes do not fit, or N is 0 for a mean.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, equation 5. Slides ``A/64-box-loss``,
    ``H/15-matching-cost``, ``H/26-box-loss-ablation``.

    Examples
    --------
    >>> import numpy as np
    >>> float(box_l1_loss(np.array([[0.5, 0.5, 0.25, 0.25]]), np.array([[0.5, 0.25, 0.25, 0.5]])))
    0.5
    """
    boxes, targets, dtype = _pairs(boxes, targets)
    distance = ops.sum(ops.l1_loss(boxes, targets, reduction="none"), axis=1)  # (N,)
    return reduce_sets(distance, normalizer, reduction, dtype)


@named
def box_giou_loss(boxes, targets, normalizer=None, reduction="mean"):
    """1 minus GIoU: it does not depend on the size of the boxes, and has a gradient even if they do not overlap.

    .. math:: \\ell = 1 - \\mathrm{GIoU}(b, \\hat b)

    Parameters
    ----------
    boxes, targets : ndarray or Tensor, shape (N, 4)
        Pairs of boxes (centre x, centre y, width, height), all in the same unit.
    normalizer, reduction
        As for `box_l1_loss`.

    Returns
    -------
    ndarray or Tensor, shape () or (N,)
        From 0 (the same box) to 2 (far apart).

    Raises
    ------
    ValueError
        If the shapes do not fit, or N is 0 for a mean.

    References
    ----------
    Rezatofighi et al., "Generalized intersection over union", CVPR 2019, algorithm 2. Slides ``A/64-box-loss``,
    ``H/15-matching-cost``, ``H/26-box-loss-ablation``.

    Examples
    --------
    >>> import numpy as np
    >>> float(box_giou_loss(np.array([[0.5, 0.5, 1.0, 1.0]]), np.array([[0.5, 0.5, 1.0, 0.5]])))  # overlap: half
    0.5
    """
    boxes, targets, dtype = _pairs(boxes, targets)
    giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(targets), pairwise=False)  # (N,)
    return reduce_sets(1 - giou, normalizer, reduction, dtype)
