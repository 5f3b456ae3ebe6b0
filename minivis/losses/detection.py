"""The losses of detectors with regions: which anchors and regions are sampled, and the four losses of Faster R-CNN.

Girshick, "Fast R-CNN", ICCV 2015, equations 1 to 3; Ren et al., "Faster R-CNN", NeurIPS 2015, equation 1.
Not here: matching anchors to objects and the coding of boxes (vision/), set prediction, which samples nothing
(set_prediction.py).
"""

import numpy as np

from minivis import ops
from minivis.backend import namespace, to_numpy
from minivis.complaints import named
from minivis.precision import rounded, widened
from minivis.randomness import generator

__all__ = ["balanced_sample", "proposal_losses", "region_losses"]

BETA = 1 / 9  # where smooth L1 turns from a square into a line, in the published detectors


def balanced_sample(labels, count, positive, rng=None):
    """Choose at random which anchors or regions of one image take part in the loss.

    Most anchors show background. If all counted, a network that says "background" everywhere would have a small loss.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Above 0: an object. 0: background. -1: neither, never chosen.
    count : int
        How many are chosen. Where too few are there, fewer.
    positive : float
        The share of ``count`` that may be objects, 0 to 1. Where there are fewer objects, background takes their places.
    rng : numpy.random.Generator, int or None
        Draws the choice; None is seed 0.

    Returns
    -------
    ndarray of int64, shape (n,)
        The chosen indices in increasing order, on the CPU.

    Raises
    ------
    ValueError
        If ``labels`` is not (N,), ``count`` is less than 1 or ``positive`` is not within 0 to 1.

    References
    ----------
    Girshick 2015, section 2.3, mini-batch sampling; Ren et al. 2015, section 3.1.3. Slide ``C/62-faster-rcnn``.

    Examples
    --------
    >>> balanced_sample(np.array([1, 0, -1, 0, 2, 0, 0]), count=4, positive=0.25, rng=0)
    array([0, 1, 3, 5])
    """
    labels = to_numpy(labels)
    if labels.ndim != 1:
        raise ValueError(f"balanced_sample: labels must be (N,) (labels: {tuple(labels.shape)})")
    if not hasattr(count, "__index__") or count < 1 or not 0 <= positive <= 1:
        raise ValueError(
            f"balanced_sample: count must be a whole number of at least 1 and positive within 0 to 1, got {count} and {positive}"
        )
    rng = generator(rng)
    objects = rng.permutation(np.flatnonzero(labels > 0))[: int(count * positive)]
    background = rng.permutation(np.flatnonzero(labels == 0))[: count - len(objects)]
    return np.sort(np.concatenate([objects, background]))


@named
def proposal_losses(objectness, deltas, labels, targets):
    """The two losses of the region proposal network: is there an object, and where exactly?

    .. math:: L = \\frac{1}{N} \\sum_i L_{obj}(p_i, p_i^*) + \\frac{1}{N} \\sum_i p_i^*\\, L_{box}(t_i, t_i^*)

    :math:`L_{obj}` is binary cross-entropy. :math:`L_{box}` is smooth L1 with :math:`\\beta = 1/9`, summed over the four
    numbers of a box; it counts only where the anchor belongs to an object, :math:`p_i^* = 1`.

    Parameters
    ----------
    objectness : ndarray or Tensor, shape (N,)
        Logits of the N sampled anchors.
    deltas : ndarray or Tensor, shape (N, 4)
        Predicted box of each anchor, coded against the anchor.
    labels : ndarray of int, shape (N,)
        :math:`p_i^*`: 1 or more for an object, 0 for background.
    targets : ndarray, shape (N, 4)
        The object of each anchor, coded the same way. The rows of background are not used.

    Returns
    -------
    (ndarray or Tensor, ndarray or Tensor), shape ()
        The loss of the objectness in nats, and that of the boxes. Both are 0 for no anchors.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    The paper divides the second sum by the number of places of the anchors and multiplies it by 10. That is nearly the
    same number, and the published detectors divide both sums by N.

    References
    ----------
    Ren et al. 2015, equation 1. Slide ``C/62-faster-rcnn``.

    Examples
    --------
    >>> logits = np.array([0.0, 0.0])
    >>> deltas = np.array([[0.0, 0.0, 0.0, 1.0], [9.0, 9.0, 9.0, 9.0]])
    >>> losses = proposal_losses(logits, deltas, np.array([1, 0]), np.zeros((2, 4)))
    >>> [round(float(loss), 4) for loss in losses]
    [0.6931, 0.4722]
    """
    if objectness.ndim != 1 or labels.shape != objectness.shape:
        raise ValueError("objectness and labels must be (N,)")
    _check_boxes(deltas, targets, len(objectness), "N")
    objects = labels > 0  # p*
    total = ops.binary_cross_entropy_with_logits(widened(objectness), objects, reduction="sum")
    losses = total / max(1, len(labels)), _box_loss(deltas, targets, objects)
    return tuple(rounded(loss, objectness.dtype) for loss in losses)


@named
def region_losses(logits, deltas, labels, targets):
    """The two losses of Fast R-CNN on the regions: which class is it, and where exactly?

    .. math:: L(p, u, t^u, v) = L_{cls}(p, u) + [u \\ge 1]\\, L_{loc}(t^u, v), \\qquad L_{cls}(p, u) = -\\ln p_u

    :math:`L_{loc}` is smooth L1 with :math:`\\beta = 1/9`, summed over the four numbers of a box. Every class predicts a
    box, and only that of the true class u counts. Both losses are means over the R sampled regions.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (R, K)
        Scores of the classes; class 0 is the background.
    deltas : ndarray or Tensor, shape (R, K, 4)
        A box for each class, coded against the region.
    labels : ndarray of int, shape (R,)
        u: the class of the region's object, 0 for background.
    targets : ndarray, shape (R, 4)
        v: the object of each region, coded the same way. The rows of background are not used.

    Returns
    -------
    (ndarray or Tensor, ndarray or Tensor), shape ()
        The loss of the classes in nats, and that of the boxes. Both are 0 for no regions.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    The paper has :math:`\\beta = 1` and divides the targets by their standard deviations; weights of 10 and 5 in the coding
    of the boxes do the same. The published detectors have :math:`\\beta = 1/9` besides.

    References
    ----------
    Girshick 2015, equations 1 to 3. Slides ``C/59-fast-rcnn-training``, ``C/62-faster-rcnn``.

    Examples
    --------
    >>> logits = np.array([[0.0, 0.0], [0.0, 0.0]])
    >>> deltas = np.zeros((2, 2, 4))
    >>> losses = region_losses(logits, deltas, np.array([1, 0]), np.ones((2, 4)))
    >>> [round(float(loss), 4) for loss in losses]
    [0.6931, 1.8889]
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or deltas.shape != (*logits.shape, 4):
        raise ValueError("logits must be (R, K), deltas (R, K, 4) and labels (R,)")
    R = len(logits)
    _check_boxes(deltas[:, 0], targets, R, "R")
    total = ops.cross_entropy(widened(logits), labels, reduction="sum")  # checks the range of the labels
    of_class = deltas[namespace(labels).arange(R), labels]  # t^u, (R, 4)
    losses = total / max(1, R), _box_loss(of_class, targets, labels > 0)
    return tuple(rounded(loss, logits.dtype) for loss in losses)


def _check_boxes(deltas, targets, count, letter):
    if tuple(deltas.shape) != (count, 4) or tuple(targets.shape) != (count, 4):
        raise ValueError(f"deltas and targets must have one row for each of {letter}={count}")


def _box_loss(deltas, targets, objects):
    """Smooth L1 of the rows that belong to objects, divided by the number of all rows."""
    # a row of background may be anything, even NaN
    targets = ops.where(objects[:, None], widened(targets), 0.0)
    each = ops.smooth_l1_loss(widened(deltas), targets, reduction="none", beta=BETA)  # (N, 4)
    each = each * objects[:, None].astype(each.dtype)
    return ops.sum(each) / max(1, len(objects))
