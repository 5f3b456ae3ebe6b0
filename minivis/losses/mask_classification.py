"""The set loss of MaskFormer: segments are matched and compared by their whole masks.

Not here: masks compared at random points (mask_prediction.py), boxes (set_prediction.py), the losses of one mask (masks.py).
"""

from minivis import ops
from minivis.losses.mask_prediction import Mask2FormerCriterion, MaskMatcher
from minivis.losses.masks import sigmoid_focal_loss
from minivis.losses.sets import checked_weights

__all__ = ["MaskFormerCriterion", "MaskFormerMatcher"]

MASK_LOSSES = "focal", "cross_entropy"
ALPHA = 0.25  # as published: the share of the pixels inside
GAMMA = 2


def _check_mask_loss(name, mask_loss):
    if mask_loss not in MASK_LOSSES:
        raise ValueError(f"{name}: mask_loss must be one of {', '.join(MASK_LOSSES)}, got {mask_loss!r}")


class MaskFormerMatcher(MaskMatcher):
    """Match predictions to segments one to one by class and whole mask, so that the sum of all costs is minimal.

    .. math:: C = -\\lambda_c\\, p(c) + \\lambda_m\\, \\mathrm{focal}(m, \\hat m) + \\lambda_d\\, \\mathrm{dice}(m, \\hat m)

    The true masks are reduced to the size of the predicted ones; each pixel takes the value of the nearest.

    Parameters
    ----------
    class_weight : float, default 1
        Weight of the probability of the segment's class.
    mask_weight : float, default 20
        Weight of the mean focal loss of the pixels.
    dice_weight : float, default 1
        Weight of the dice loss.
    mask_loss : {"focal", "cross_entropy"}, default "focal"
        How pixels are compared. The focal loss has alpha 1/4 and gamma 2.
    solver : callable, optional
        ``solver(cost) -> rows, columns``; the default is SciPy's ``linear_sum_assignment``.

    Raises
    ------
    ValueError
        If a weight is negative or all are 0, or ``mask_loss`` is unknown.

    References
    ----------
    Cheng et al., "Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021, section 3.2.
    Slide ``I/32-maskformer``.

    Examples
    --------
    >>> import numpy as np
    >>> left = np.arange(4) < 2
    >>> masks = np.where(np.stack([~left, left]), 5.0, -5.0)[None, :, None]  # query 0 is right, query 1 is left
    >>> targets = [{"labels": np.array([0]), "masks": left[None, None]}]
    >>> MaskFormerMatcher()(np.zeros((1, 2, 3)), masks, targets)
    [(array([1]), array([0]))]
    """

    def __init__(self, class_weight=1, mask_weight=20, dice_weight=1, mask_loss="focal", solver=None):
        self._set_weights(class_weight, mask_weight, dice_weight)
        _check_mask_loss("MaskFormerMatcher", mask_loss)
        self.mask_loss = mask_loss
        self.solver = solver

    def _compared(self, masks, truth):
        """All pixels of the masks, (B, Q, h w), and of the reduced objects, (B, T, h w)."""
        truth = ops.interpolate(truth, size=tuple(masks.shape[2:]), mode="nearest")
        return masks.reshape(*masks.shape[:2], -1), truth.reshape(*truth.shape[:2], -1)

    def _pixel_losses(self, z):
        """The loss of each logit if its pixel lies outside the object, and what is added if it lies inside."""
        if self.mask_loss == "cross_entropy":
            return super()._pixel_losses(z)
        outside = (1 - ALPHA) * ops.sigmoid(z) ** GAMMA * ops.softplus(z)
        inside = ALPHA * ops.sigmoid(-z) ** GAMMA * ops.softplus(-z)
        return outside, inside - outside


PUBLISHED = {"loss_ce": 1, "loss_mask": 20, "loss_dice": 1}


class MaskFormerCriterion(Mask2FormerCriterion):
    """The loss of a set of classes and masks. A matched query has its segment as target, any other query "no object".

    .. math:: L = \\sum_\\text{layers} \\lambda_c\\, \\mathrm{CE} + \\frac{1}{N} \\sum_{(q, t)} \\big[
              \\lambda_m\\, \\mathrm{focal}(m_t, \\hat m_q) + \\lambda_d\\, \\mathrm{dice}(m_t, \\hat m_q) \\big]

    Predicted masks are enlarged to the size of the true ones (bilinear) and compared at every pixel.

    Parameters
    ----------
    num_classes : int
        K, without no-object; the highest label plus 1.
    matcher : callable, optional
        ``matcher(logits, masks, targets)``; the default is a `MaskFormerMatcher` with the same weights and ``mask_loss``.
    weights : dict, optional
        Weights of terms that should differ from the published ones: ``loss_ce`` 1, ``loss_mask`` 20, ``loss_dice`` 1.
    no_object : float, default 0.1
        Weight of the class no-object in the cross-entropy. It is small because most queries have no object.
    mask_loss : {"focal", "cross_entropy"}, default "focal"
        How pixels are compared. The focal loss has alpha 1/4 and gamma 2; it is much smaller than cross-entropy, which
        needs a smaller weight.

    Raises
    ------
    ValueError
        If there is no class, a weight is unknown or negative, ``no_object`` is not positive, or ``mask_loss`` is unknown.

    Notes
    -----
    N is the number of segments in the batch, at least 1. The outputs of earlier layers (``output.auxiliary``) are matched
    separately, and have the same weight as the last. transformers' ``use_auxiliary_loss=True`` is another loss than the
    authors': it has one set more, from the decoder's input, and leaves out the norm after each layer.

    References
    ----------
    Cheng et al., "Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021, equation 1 and
    section 4.1. Slide ``I/32-maskformer``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> output = SimpleNamespace(logits=np.zeros((1, 2, 3)), masks=np.zeros((1, 2, 4, 4)), auxiliary=[])
    >>> targets = [{"labels": np.array([0]), "masks": np.ones((1, 4, 4), bool)}]
    >>> {name: round(float(value), 4) for name, value in MaskFormerCriterion(2)(output, targets).items()}
    {'loss': 2.285, 'loss_ce': 1.0986, 'loss_mask': 0.0433, 'loss_dice': 0.32}
    """

    def __init__(self, num_classes, matcher=None, weights=None, no_object=0.1, mask_loss="focal"):
        self.weights = checked_weights("MaskFormerCriterion", num_classes, PUBLISHED, weights, no_object)
        _check_mask_loss("MaskFormerCriterion", mask_loss)
        self.num_classes, self.no_object, self.mask_loss = num_classes, no_object, mask_loss
        self.matcher = MaskFormerMatcher(*self.weights.values(), mask_loss) if matcher is None else matcher

    def _compared(self, predicted, truth):
        """All pixels of the enlarged masks and of their objects, (M, H W) each."""
        M, H, W = truth.shape
        predicted = ops.interpolate(ops.expand_dims(predicted, 1), size=(H, W), mode="bilinear")
        return ops.reshape(predicted, (M, H * W)), truth.reshape(M, H * W)

    def _mask_loss(self, predicted, truth):
        """The loss of each mask, (M,)."""
        if self.mask_loss == "cross_entropy":
            return super()._mask_loss(predicted, truth)
        return sigmoid_focal_loss(predicted, truth, ALPHA, GAMMA, reduction="none")
