"""The loss of RT-DETR: the score that a query should give to its object is the overlap of its box with the object's.

Not here: DETR's matching and loss, on which this builds (set_prediction.py), the model (models/rt_detr.py).
"""

from minivis import ops
from minivis.backend import namespace
from minivis.losses.set_prediction import HungarianMatcher, box_terms, match_layers
from minivis.losses.sets import by_layer, checked_weights, raw, reduce_sets, total
from minivis.precision import widened
from minivis.vision.boxes import box_cxcywh_to_xyxy, box_iou

__all__ = ["FocalMatcher", "RTDETRCriterion", "varifocal_loss"]


class FocalMatcher(HungarianMatcher):
    """`HungarianMatcher` for classes with independent scores: the class costs what focal loss would say of it.

    .. math:: C_k = \\alpha (1 - p_k)^\\gamma (-\\ln p_k) - (1 - \\alpha)\\, p_k^\\gamma \\bigl(-\\ln(1 - p_k)\\bigr), \\qquad
              p = \\sigma(z)

    It is the loss that the query would have with an object of class k, less the loss without one.

    Parameters
    ----------
    class_weight, box_weight, giou_weight : float, defaults 2, 5 and 2
        Weights of C, of the L1 distance and of GIoU.
    alpha, gamma : float, defaults 0.25 and 2
        As in focal loss.
    solver : callable, optional
        As for `HungarianMatcher`.

    Raises
    ------
    ValueError
        If a weight is negative or all are 0; when called, as `HungarianMatcher`.

    References
    ----------
    Zhu et al., "Deformable DETR", ICLR 2021, appendix A.4; Lin et al., "Focal loss for dense object detection", ICCV 2017,
    equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> logits, boxes = np.array([[[2.0], [-2.0]]]), np.full((1, 2, 4), 0.5)
    >>> targets = [{"labels": np.array([0]), "boxes": np.full((1, 4), 0.5)}]
    >>> FocalMatcher()(logits, boxes, targets)  # both boxes are right: the class decides
    [(array([0]), array([0]))]
    """

    no_object = False

    def __init__(self, class_weight=2, box_weight=5, giou_weight=2, alpha=0.25, gamma=2.0, solver=None):
        super().__init__(class_weight, box_weight, giou_weight, solver)
        self.alpha, self.gamma = alpha, gamma

    def class_costs(self, logits):
        """C of every class, (B, Q, K)."""
        xp = namespace(logits)
        p = ops.sigmoid(logits)
        tiny = 1e-8  # of a score of 0 or 1 the logarithm would be infinite
        with_object = self.alpha * (1 - p) ** self.gamma * -xp.log(p + tiny)
        without = (1 - self.alpha) * p**self.gamma * -xp.log(1 - p + tiny)
        return with_object - without


def varifocal_loss(logits, scores, positive, alpha=0.75, gamma=2.0, normalizer=None, reduction="mean"):
    """Varifocal loss: cross-entropy with a score between 0 and 1; what is no object counts the less, the lower its score.

    .. math:: \\ell = w\\,\\bigl(-s \\ln p - (1 - s) \\ln(1 - p)\\bigr), \\qquad
              w = \\begin{cases} s & \\text{if positive} \\\\ \\alpha\\, p^\\gamma & \\text{otherwise} \\end{cases}, \\qquad p = \\sigma(z)

    Parameters
    ----------
    logits : ndarray or Tensor, shape (N, K)
        Of each query and class.
    scores : ndarray, shape (N, K)
        s: the overlap of the query's box with its object, in the column of the object's class; elsewhere 0.
    positive : bool ndarray, shape (N, K)
        Where there is an object.
    alpha, gamma : float, defaults 0.75 and 2
        Of the other numbers' weight, which passes no gradient.
    normalizer : float, optional
        Divide the sum by this instead of by N. RT-DETR divides by the number of objects in the batch.
    reduction : {"mean", "none"}, default "mean"
        "none" gives the loss of each query, (N,).

    Returns
    -------
    ndarray or Tensor, shape () or (N,)
        Nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, or N is 0 for a mean.

    References
    ----------
    Zhang et al., "VarifocalNet: an IoU-aware dense object detector", CVPR 2021, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.5], [0.0]])  # the first query has an object, with half of an overlap
    >>> varifocal_loss(np.zeros((2, 1)), scores, scores > 0, reduction="none").round(3)
    array([0.347, 0.13 ])
    """
    if logits.ndim != 2 or logits.shape != scores.shape or logits.shape != positive.shape:
        raise ValueError(
            f"varifocal_loss: logits, scores and positive must be (N, K) (logits: {tuple(logits.shape)}, scores: "
            f"{tuple(scores.shape)}, positive: {tuple(positive.shape)})"
        )
    wide = widened(logits)
    xp = namespace(raw(wide))
    scores = scores.astype(wide.dtype)
    weight = xp.where(positive, scores, alpha * ops.sigmoid(raw(wide)) ** gamma)
    loss = ops.binary_cross_entropy_with_logits(wide, scores, weight, reduction="none")
    return reduce_sets(ops.sum(loss, axis=1), normalizer, reduction, logits.dtype)


PUBLISHED = {"loss_vfl": 1, "loss_bbox": 5, "loss_giou": 2}


class RTDETRCriterion:
    """The loss of a set of predictions with independent scores: a query's score should be the overlap of its box.

    .. math:: L = \\sum_\\text{layers} \\frac{1}{N} \\Big[ \\lambda_v \\sum_{q,k} \\ell_{q,k} + \\sum_{(q, t)} \\big(
              \\lambda_1 \\lVert b_t - \\hat b_q \\rVert_1 + \\lambda_g (1 - \\mathrm{GIoU}(b_t, \\hat b_q)) \\big) \\Big]

    where :math:`\\ell` is `varifocal_loss` with the IoU of b_t and the predicted box as score. So the score says not only
    what a thing is, but also how well its box lies, and the best box of a thing comes first.

    Parameters
    ----------
    num_classes : int
        K; the highest label plus 1.
    matcher : callable, optional
        ``matcher(logits, boxes, targets)``; the default is a `FocalMatcher` with the published weights.
    weights : dict, optional
        Weights of terms that should differ from the published ones: ``loss_vfl`` 1, ``loss_bbox`` 5, ``loss_giou`` 2.
    alpha, gamma : float, defaults 0.75 and 2
        As for `varifocal_loss`.

    Raises
    ------
    ValueError
        If there is no class, or a weight is unknown or negative.

    Notes
    -----
    N is the number of objects in the batch, at least 1. Each of ``output.auxiliary``, the chosen pixels included, is matched
    separately and has the same weight as the last layer.

    References
    ----------
    Zhao et al., "DETRs beat YOLOs on real-time object detection", CVPR 2024, section 4.3. Slide ``A/69-rt-detr-fires``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> output = SimpleNamespace(logits=np.zeros((1, 2, 1)), boxes=np.full((1, 2, 4), 0.5), auxiliary=[])
    >>> targets = [{"labels": np.array([0]), "boxes": np.full((1, 4), 0.5)}]
    >>> {name: round(float(value), 4) for name, value in RTDETRCriterion(1)(output, targets).items()}
    {'loss': 0.8231, 'loss_vfl': 0.8231, 'loss_bbox': 0.0, 'loss_giou': 0.0}
    """

    def __init__(self, num_classes, matcher=None, weights=None, alpha=0.75, gamma=2.0):
        self.weights = checked_weights("RTDETRCriterion", num_classes, PUBLISHED, weights)
        self.num_classes, self.alpha, self.gamma = num_classes, alpha, gamma
        self.matcher = FocalMatcher() if matcher is None else matcher

    def __call__(self, output, targets):
        """Compute the loss of a batch.

        Parameters
        ----------
        output : object
            It has ``logits (B, Q, K)``, ``boxes (B, Q, 4)`` and ``auxiliary``, a list of such objects or None.
        targets : list of dict
            For each image ``labels (T,)`` and ``boxes (T, 4)`` in normalised cxcywh. Objects that ``iscrowd (T,)`` marks as
            crowds are left out.

        Returns
        -------
        dict of Tensor, shape ()
            ``loss``, the weighted total, and its unweighted terms: ``loss_vfl``, ``loss_bbox``, ``loss_giou`` of the last
            layer, and ``loss_vfl_i`` and so on of ``output.auxiliary[i]``.

        Raises
        ------
        ValueError
            If shapes do not fit, targets are not as described, or predictions are not finite.
        """
        found = match_layers(
            "RTDETRCriterion", output, targets, self.num_classes, self.matcher, no_object=False
        )
        logits = ops.reshape(found.logits, (-1, self.num_classes))  # (L B Q, K)
        xp = namespace(raw(logits))
        at = xp.asarray(found.query), xp.asarray(found.labels)
        corners = [box_cxcywh_to_xyxy(x) for x in (raw(found.boxes), found.truth)]
        scores = xp.zeros(logits.shape, found.truth.dtype)
        scores[at] = box_iou(*corners, pairwise=False)
        positive = xp.zeros(logits.shape, bool)
        positive[at] = True
        losses = varifocal_loss(logits, scores, positive, self.alpha, self.gamma, reduction="none")
        terms = {"loss_vfl": by_layer(losses, found.layers) / found.count, **box_terms(found)}
        return total(terms, self.weights, [output.logits, output.boxes])
