"""The set loss of DETR: match every object to one query, then compare each query with its object or with "no object".

Not here: Mask2Former's matching of masks at sampled points (mask_prediction.py), the solver (vision/matching.py).
"""

from typing import NamedTuple

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy
from minivis.losses.boxes import box_giou_loss, box_l1_loss
from minivis.losses.masks import dice_loss, sigmoid_focal_loss
from minivis.losses.sets import (
    by_layer,
    check_classes,
    check_finite,
    check_predictions,
    checked_weights,
    class_loss,
    flat,
    raw,
    solve,
    total,
)
from minivis.losses.targets import Objects, gather, with_target_indices, without_crowds
from minivis.precision import widened
from minivis.vision.boxes import box_cxcywh_to_xyxy, generalized_box_iou

__all__ = ["HungarianMatcher", "SetCriterion"]


class HungarianMatcher:
    """Match predictions to objects one to one, so that the sum of the costs of all pairs is minimal.

    .. math:: \\hat\\sigma = \\arg\\min_\\sigma \\sum_i C(y_i, \\hat y_{\\sigma(i)}), \\quad
              C = -\\lambda_c\\, \\hat p(c) + \\lambda_1 \\lVert b - \\hat b \\rVert_1 - \\lambda_g \\mathrm{GIoU}(b, \\hat b)

    Parameters
    ----------
    class_weight : float, default 1
        Weight of the probability of the object's class. The logarithm of it would outweigh the box terms.
    box_weight : float, default 5
        Weight of the L1 distance of the boxes.
    giou_weight : float, default 2
        Weight of the generalised intersection over union.
    solver : callable, optional
        ``solver(cost) -> rows, columns``; the default is SciPy's ``linear_sum_assignment``. Another is
        `minivis.vision.linear_sum_assignment`.

    Raises
    ------
    ValueError
        If a weight is negative or all are 0.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, equations 1 and 5. Slides
    ``A/60-why-match``, ``A/61-padding-the-truth``, ``A/62-best-permutation``, ``A/63-pairwise-cost``,
    ``H/15-matching-cost``, ``H/16-five-predictions-two-objects``.

    Examples
    --------
    >>> import numpy as np
    >>> logits, boxes = np.zeros((1, 2, 3)), np.array([[[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]]])
    >>> targets = [{"labels": np.array([0]), "boxes": np.array([[0.7, 0.6, 0.2, 0.2]])}]
    >>> HungarianMatcher()(logits, boxes, targets)  # query 1 gets object 0
    [(array([1]), array([0]))]
    """

    no_object = True  # the last class of the predictions is that

    def __init__(self, class_weight=1, box_weight=5, giou_weight=2, solver=None):
        weights = class_weight, box_weight, giou_weight
        if min(weights) < 0 or not max(weights) > 0:
            raise ValueError(
                f"{type(self).__name__}: weights must be at least 0, and one of them above it, got {weights}"
            )
        self.class_weight, self.box_weight, self.giou_weight = weights
        self.solver = solver

    def __call__(self, logits, boxes, targets):
        """Match the queries of every image to its objects.

        Parameters
        ----------
        logits : ndarray or Tensor, shape (B, Q, K + 1)
            Scores of the classes, no-object last.
        boxes : ndarray or Tensor, shape (B, Q, 4)
            Predicted boxes, normalised cxcywh.
        targets : list of dict
            For each image ``labels (T,)`` and ``boxes (T, 4)``, normalised cxcywh. Objects that ``iscrowd (T,)`` marks as
            crowds are left out.

        Returns
        -------
        list of (ndarray, ndarray)
            For each image the indices of the matched queries, in increasing order, and of their objects. The number of
            pairs is the smaller of Q and T.

        Raises
        ------
        ValueError
            If shapes do not fit, targets are not as described, or predictions are not finite.
        """
        pairs = solve(self.costs(logits, boxes, targets), self.solver)
        return with_target_indices(type(self).__name__, pairs, targets)

    def costs(self, logits, boxes, targets):
        """The cost of each pair of an object and a query of its image.

        Parameters
        ----------
        logits, boxes, targets
            As for a call.

        Returns
        -------
        list of ndarray, shape (T, Q)
            The costs of each image, on the CPU. Crowds are left out.
        """
        name = type(self).__name__
        logits, boxes = widened(raw(logits)), widened(raw(boxes))
        xp = check_predictions(name, logits, "BQ4", self.no_object, boxes=boxes)
        K = logits.shape[2] - self.no_object
        objects = gather(name, targets, len(logits), K, ["boxes"], self.no_object)
        image, labels = xp.asarray(objects.image), xp.asarray(objects.labels)
        truth = xp.asarray(objects.boxes.astype(boxes.dtype))[:, None]  # (T, 1, 4)
        boxes = boxes[image]  # (T, Q, 4): only the queries of the object's image
        distance = xp.abs(boxes - truth).sum(axis=-1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(truth), pairwise=False)
        costs = self.box_weight * distance - self.giou_weight * giou
        costs += self.class_weight * self.class_costs(logits)[image, :, labels]
        return np.split(to_numpy(costs), objects.starts[1:])

    def class_costs(self, logits):
        """What it costs to give a query an object of each class, (B, Q, K + 1): the probability of the class, negative."""
        return -ops.softmax(logits)


PUBLISHED = {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2, "loss_mask": 1, "loss_dice": 1}


class SetCriterion:
    """The loss of a set of predictions. A matched query has its object as target, any other query "no object".

    .. math:: L = \\sum_\\text{layers} \\lambda_c\\, \\mathrm{CE} + \\frac{1}{N} \\sum_{(q, t)} \\big[
              \\lambda_1 \\lVert b_t - \\hat b_q \\rVert_1 + \\lambda_g (1 - \\mathrm{GIoU}(b_t, \\hat b_q)) \\big]

    Parameters
    ----------
    num_classes : int
        K, without no-object; the highest label plus 1.
    matcher : callable, optional
        ``matcher(logits, boxes, targets)``; the default is a `HungarianMatcher` with the published weights.
    weights : dict, optional
        Weights of terms that should differ from the published ones: ``loss_ce`` 1, ``loss_bbox`` 5, ``loss_giou`` 2,
        ``loss_mask`` 1, ``loss_dice`` 1.
    no_object : float, default 0.1
        Weight of the class no-object in the cross-entropy. It is small because most queries have no object.

    Raises
    ------
    ValueError
        If there is no class, a weight is unknown or negative, or ``no_object`` is not positive.

    Notes
    -----
    N is the number of objects in the batch, at least 1. The outputs of earlier decoder layers (``output.auxiliary``)
    are matched separately and have the same weight as the last, but only the last layer has mask terms. Predicted masks
    are resized to the target masks before they are compared.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, equations 2 and 5, section 4.4 (masks),
    appendix A.4. Slides ``A/59-no-object``, ``A/64-box-loss``, ``A/65-hungarian-loss``, ``H/17-hungarian-loss``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> output = SimpleNamespace(logits=np.zeros((1, 2, 3)), boxes=np.full((1, 2, 4), 0.5), auxiliary=[])
    >>> targets = [{"labels": np.array([0]), "boxes": np.full((1, 4), 0.5)}]
    >>> {name: round(float(value), 4) for name, value in SetCriterion(2)(output, targets).items()}
    {'loss': 1.0986, 'loss_ce': 1.0986, 'loss_bbox': 0.0, 'loss_giou': 0.0}
    """

    def __init__(self, num_classes, matcher=None, weights=None, no_object=0.1):
        self.weights = checked_weights("SetCriterion", num_classes, PUBLISHED, weights, no_object)
        self.num_classes, self.no_object = num_classes, no_object
        self.matcher = HungarianMatcher() if matcher is None else matcher

    def __call__(self, output, targets):
        """Compute the loss of a batch.

        Parameters
        ----------
        output : object
            It has ``logits (B, Q, K + 1)``, ``boxes (B, Q, 4)``, ``auxiliary``, a list of such objects or None, and, if the
            model predicts masks, ``masks (B, Q, h, w)``.
        targets : list of dict
            For each image ``labels (T,)``, ``boxes (T, 4)`` in normalised cxcywh and, with masks, ``masks (T, H, W)``.
            Objects that ``iscrowd (T,)`` marks as crowds are left out.

        Returns
        -------
        dict of Tensor, shape ()
            ``loss``, the weighted total, and its unweighted terms: ``loss_ce``, ``loss_bbox``, ``loss_giou`` (and
            ``loss_mask``, ``loss_dice``) of the last layer, and ``loss_ce_i`` and so on of layer i before it.

        Raises
        ------
        ValueError
            If shapes do not fit, targets are not as described, or predictions are not finite.
        """
        masks = getattr(output, "masks", None)
        needed = ["boxes"] if masks is None else ["boxes", "masks"]
        found = match_layers("SetCriterion", output, targets, self.num_classes, self.matcher, needed)
        terms = {
            "loss_ce": class_loss(found.logits, found.query, found.labels, self.no_object, found.layers),
            **box_terms(found),
        }
        if masks is not None:
            check_finite("SetCriterion", masks=raw(masks))
            last = slice(len(found.query) // found.layers)
            truth = found.objects.masks[found.target[last]]
            terms |= _mask_terms(masks, found.query[last], truth, found.count)
        return total(terms, self.weights, [output.logits, output.boxes])


class Matched(NamedTuple):
    """The predictions of L layers, as if they were more images with the same objects, and the M pairs of each layer."""

    logits: Tensor  # (L B, Q, K + 1), the last layer first
    boxes: Tensor  # (L M, 4), those that are matched
    truth: np.ndarray  # (L M, 4), their objects' boxes
    labels: np.ndarray  # (L M,), their objects' classes
    query: np.ndarray  # (L M,), their numbers among the L B Q queries
    target: np.ndarray  # (L M,), their objects' numbers
    objects: Objects
    layers: int
    count: int  # of objects in the batch, at least 1


def match_layers(name, output, targets, num_classes, matcher, needed=("boxes",), no_object=True):
    """Check a batch, and match every layer's queries to its objects, each layer separately."""
    targets = without_crowds(name, targets)
    objects = gather(name, targets, len(output.logits), num_classes, needed, no_object)
    outputs = [output, *(getattr(output, "auxiliary", None) or ())]
    logits, boxes = (
        widened(ops.concatenate([getattr(layer, field) for layer in outputs]))  # (L B, Q, ...)
        for field in ("logits", "boxes")
    )
    check_classes(name, logits, num_classes, no_object)
    layers = len(outputs)
    pairs = matcher(raw(logits), raw(boxes), targets * layers)
    query, target = flat(name, pairs, objects, logits.shape[1], layers)  # (L M,) each
    xp = namespace(raw(boxes))
    predicted = ops.take(ops.reshape(boxes, (-1, 4)), xp.asarray(query))  # (L M, 4)
    truth = xp.asarray(objects.boxes[target].astype(boxes.dtype))
    count = max(len(objects.labels), 1)
    labels = objects.labels[target]
    return Matched(logits, predicted, truth, labels, query, target, objects, layers, count)


def box_terms(found):
    """L1 and GIoU loss of each layer's matched boxes, divided by the number of objects: (L,) each."""
    losses = {"loss_bbox": box_l1_loss, "loss_giou": box_giou_loss}
    return {
        name: by_layer(loss(found.boxes, found.truth, reduction="none"), found.layers) / found.count
        for name, loss in losses.items()
    }


def _mask_terms(masks, query, truth, count):
    """Focal and dice loss of matched masks, which are resized to the objects' masks."""
    xp = namespace(raw(masks))
    predicted = ops.take(ops.reshape(masks, (-1, *masks.shape[2:])), xp.asarray(query))  # (M, h, w)
    predicted = widened(predicted)[:, None]
    predicted = ops.interpolate(predicted, size=truth.shape[1:], mode="bilinear")[:, 0]  # (M, H, W)
    truth = xp.asarray(truth.astype(predicted.dtype))
    losses = {
        "loss_mask": sigmoid_focal_loss(predicted, truth, reduction="none"),
        "loss_dice": dice_loss(predicted, truth, reduction="none"),
    }
    return {name: by_layer(values, 1) / count for name, values in losses.items()}
