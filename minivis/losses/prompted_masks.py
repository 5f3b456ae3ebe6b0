"""The loss of SAM: of several masks for one prompt only the best one learns, and the estimates of the IoU learn to be right.

Not here: the losses of a mask (masks.py), clicks in what a mask has wrong (vision/clicks.py).
"""

from minivis import ops
from minivis.backend import namespace
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.losses.masks import dice_loss, sigmoid_focal_loss
from minivis.losses.sets import raw
from minivis.precision import rounded, widened

__all__ = ["sam_loss"]


@named
def sam_loss(
    masks, iou, targets, focal=20.0, dice=1.0, cross_entropy=0.0, iou_weight=1.0, every_estimate=False
):
    """SAM's loss of the masks for some prompts: the least loss of the masks of each, and the error of the estimated IoU.

    .. math:: L = \\frac{1}{B P} \\sum_{b, p} \\Big(\\min_m \\ell_{b p m} +
        w\\, \\big(\\hat u_{b p m} - u_{b p m}\\big)^2\\Big), \\qquad \\ell = 20\\, \\ell_{focal} + \\ell_{dice}

    The IoU of a mask and its object is :math:`u`; the mask is where the logit is above 0. A click may mean a whole, a part or
    a part of a part, and the model answers with several masks. If all of them learned every object, they would all become
    the mean of what a click can mean.

    Parameters
    ----------
    masks : ndarray or Tensor, shape (B, P, M, H, W)
        Logits of the M masks for each of P prompts of B images.
    iou : ndarray or Tensor, shape (B, P, M)
        The estimated IoU of each mask.
    targets : ndarray of bool, shape (B, P, H, W)
        The object that each prompt means. Numbers 0 and 1 do too.
    focal, dice, cross_entropy : float, default 20, 1 and 0
        Weights of the focal loss (alpha 0.25, gamma 2), of the dice loss and of the mean binary cross-entropy of the
        pixels.
    iou_weight : float, default 1
        w, the weight of the squared error of the estimates.
    every_estimate : bool, default False
        Whether the estimates of all M masks learn, as the mean of their squared errors, or only that of the best mask.

    Returns
    -------
    dict of str to ndarray or Tensor, each of shape ()
        ``loss``; its terms ``focal``, ``dice``, ``cross_entropy`` of the best masks (only those with a weight) and ``iou``,
        without their weights; ``best``, the mean true IoU of the best masks.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is nothing in them, ``targets`` holds other numbers than 0 and 1, a weight is negative,
        or no loss of the masks has one.
    TypeError
        If ``masks`` or ``iou`` is not floating-point.

    Notes
    -----
    Differentiable in ``masks`` and ``iou``. The true IoU is a count of pixels and has no gradient. Which mask is best is
    decided by the losses of the masks alone, for each prompt on its own. With M = 1 it is the plain loss of one mask.

    References
    ----------
    Kirillov et al. 2023, section 3 ("Losses and training") and appendix A. Slides ``A/92-sam-output-tokens`` and
    ``A/93-sam-losses``.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[[[True, False]]]])
    >>> masks = np.where(truth, 9.0, -9.0)[:, :, None] * np.array([1, -1]).reshape(1, 1, 2, 1, 1)  # one right, one wrong
    >>> found = sam_loss(masks, np.array([[[0.5, 0.5]]]), truth)
    >>> float(found["iou"]), float(found["best"]), bool(found["dice"] < 1e-3)
    (0.25, 1.0, True)
    """
    _check(masks, iou, targets, (focal, dice, cross_entropy), iou_weight)
    B, P, M = iou.shape
    xp = namespace(raw(masks))
    targets = xp.broadcast_to(raw(targets)[:, :, None], masks.shape)
    logits, truth = (x.reshape(B * P * M, -1) for x in (widened(masks), targets))  # (B P M, H W)
    terms = {}
    if focal:
        terms["focal"] = sigmoid_focal_loss(logits, truth, reduction="none")
    if dice:
        terms["dice"] = dice_loss(logits, truth, reduction="none")
    if cross_entropy:
        entropies = ops.binary_cross_entropy_with_logits(logits, truth.astype(logits.dtype), reduction="none")
        terms["cross_entropy"] = ops.mean(entropies, axis=1)
    weights = {"focal": focal, "dice": dice, "cross_entropy": cross_entropy}
    each = sum(weights[name] * raw(values) for name, values in terms.items())
    best = xp.arange(B * P) * M + each.reshape(-1, M).argmin(axis=1)  # (B P,)

    true = _iou(raw(logits) > 0, truth).astype(logits.dtype)  # (B P M,)
    errors = (widened(iou).reshape(-1) - true) ** 2
    found = {name: ops.mean(values[best]) for name, values in terms.items()}
    found["iou"] = ops.mean(errors if every_estimate else errors[best])
    loss = sum(weights[name] * found[name] for name in terms) + iou_weight * found["iou"]
    found = {"loss": loss, **found, "best": true[best].mean()}
    return {name: rounded(value, masks.dtype) for name, value in found.items()}


def _check(masks, iou, targets, weights, iou_weight):
    if masks.ndim != 5 or tuple(iou.shape) != tuple(masks.shape[:3]):
        raise ValueError("masks must be (B, P, M, H, W) and iou (B, P, M)")
    if tuple(targets.shape) != (*masks.shape[:2], *masks.shape[3:]):
        raise ValueError("targets must be (B, P, H, W), of the size of the masks")
    true = raw(targets)
    if true.dtype != bool and may_read(true) and bool(((true != 0) & (true != 1)).any()):
        raise ValueError("targets must be boolean, got other values than 0 and 1")
    if not all(masks.shape):
        raise ValueError("the mean over nothing is not defined: there must be prompts, masks and pixels")
    if masks.dtype.kind != "f" or iou.dtype.kind != "f":
        raise TypeError(f"masks and iou must be floating-point, got {masks.dtype.name} and {iou.dtype.name}")
    if not min(*weights, iou_weight) >= 0 or not any(weights):
        raise ValueError(
            f"weights must be at least 0, and one of the masks' above it, got {weights}, {iou_weight}"
        )


def _iou(found, truth):
    """IoU of rows of pixels (N, P), float64 (N,); 1 where both are empty."""
    there = truth > 0.5 if truth.dtype != bool else truth
    overlap = (found & there).sum(axis=1)
    union = (found | there).sum(axis=1)
    return (overlap + (union == 0)) / (union + (union == 0))
