"""Losses that compare predicted masks with the masks of objects: the dice loss and the focal loss.

Not here: plain cross-entropy of pixels (ops/loss.py), matching masks to objects (mask_prediction.py).
"""

import numpy as np

from minivis import ops
from minivis.complaints import named
from minivis.losses.sets import reduce_sets
from minivis.precision import widened

__all__ = ["dice_loss", "sigmoid_focal_loss"]


def _rows(logits, targets):
    """Logits and targets as rows of pixels, (N, P), in float32 at least, because sums over pixels overflow float16."""
    if logits.ndim < 2 or logits.shape != targets.shape:
        raise ValueError("logits and targets must have one shape (N, ...)")
    if logits.dtype.kind != "f":
        raise TypeError(f"logits must be floating-point, got {logits.dtype.name}")
    if not all(logits.shape[1:]):
        raise ValueError("masks must have at least one pixel")
    logits = widened(logits)
    if targets.dtype != logits.dtype:
        targets = targets.astype(logits.dtype)
    pixels = (logits.shape[0], logits.size // logits.shape[0] if logits.shape[0] else 1)
    return ops.reshape(logits, pixels), ops.reshape(targets, pixels)


@named
def dice_loss(logits, targets, normalizer=None, reduction="mean"):
    """Dice loss: 1 minus the overlap of the predicted and the true mask. It does not depend on the size of the object.

    .. math:: \\ell = 1 - \\frac{2 \\sum_i p_i t_i + 1}{\\sum_i p_i + \\sum_i t_i + 1}, \\qquad p = \\sigma(z)

    Parameters
    ----------
    logits : ndarray or Tensor, shape (N, ...)
        Scores of the pixels of N masks.
    targets : ndarray, shape of logits
        True or 1 on the object.
    normalizer : float, optional
        Divide the sum over the masks by this instead of by N. DETR divides by the number of objects in the batch.
    reduction : {"mean", "none"}, default "mean"
        "none" gives the loss of every mask, (N,).

    Returns
    -------
    ndarray or Tensor, shape () or (N,)
        From 0 (the same mask) to almost 1 (no overlap). The ones in the fraction keep the loss of an empty mask finite.

    Raises
    ------
    ValueError
        If the shapes differ, masks have no pixels, or N is 0 for a mean.
    TypeError
        If ``logits`` is not floating-point.

    References
    ----------
    Milletari et al., "V-Net", 2016, section 3; Carion et al., ECCV 2020, section 4.4. Slide ``A/93-sam-losses``.

    Examples
    --------
    >>> import numpy as np
    >>> float(dice_loss(np.array([[0.0, 0.0]]), np.array([[True, False]])))  # p = 1/2 everywhere: 1 - 2/3
    0.33333333333333337
    """
    z, t = _rows(logits, targets)
    p = ops.sigmoid(z)
    overlap = ops.sum(p * t, axis=1)
    total = ops.sum(p, axis=1) + ops.sum(t, axis=1)
    return reduce_sets(1 - (2 * overlap + 1) / (total + 1), normalizer, reduction, logits.dtype)


@named
def sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0, normalizer=None, reduction="mean"):
    """Focal loss: cross-entropy of pixels with a small weight on pixels that are already right.

    Without that weight, a large and easy background would outweigh the object.

    .. math:: \\ell = \\frac{1}{P} \\sum_i \\alpha_i\\, q_i^\\gamma \\, (-\\ln(1 - q_i))

    where q is the probability of the wrong answer: 1 - p on the object and p on the background. The weight is
    :math:`\\alpha` on the object and :math:`1 - \\alpha` on the background.

    Parameters
    ----------
    logits, targets, normalizer
        As for `dice_loss`.
    alpha : float or None, default 0.25
        Weight of the object's pixels, 0 to 1. None gives all pixels the weight 1.
    gamma : float, default 2
        The larger it is, the less pixels count that are already right. 0 is cross-entropy.
    reduction : {"mean", "none"}, default "mean"
        "none" gives the loss of every mask, the mean over its pixels, (N,).

    Returns
    -------
    ndarray or Tensor, shape () or (N,)
        Nats, weighted.

    Raises
    ------
    ValueError
        If the shapes differ, masks have no pixels, alpha or gamma is out of range, or N is 0 for a mean.
    TypeError
        If ``logits`` is not floating-point.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", ICCV 2017, equation 5; Carion et al., ECCV 2020, section 4.4.
    Slide ``A/93-sam-losses``.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(sigmoid_focal_loss(np.array([[0.0]]), np.array([[True]]))), 4)  # 1/4 * (1/2)^2 * ln 2
    0.0433
    """
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0 to 1, or be None, got {alpha}")
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")
    z, t = _rows(logits, targets)
    p = ops.sigmoid(z)
    wrong = p * (1 - t) + ops.sigmoid(-z) * t  # sigmoid(-z) is 1 - p, and is accurate where p is nearly 1
    if 0 < gamma < 1:  # the slope of the power is infinite at 0
        wrong = ops.clip(wrong, np.finfo(z.dtype).tiny)
    losses = ops.binary_cross_entropy_with_logits(z, t, reduction="none") * wrong**gamma
    if alpha is not None:
        losses = losses * (alpha * t + (1 - alpha) * (1 - t))
    return reduce_sets(ops.mean(losses, axis=1), normalizer, reduction, logits.dtype)
