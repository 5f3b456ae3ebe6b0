"""The set loss of Mask2Former: objects are matched and compared by their masks, at a few random points only.

Not here: boxes (set_prediction.py), masks compared pixel by pixel (mask_classification.py), the choice of points (points.py).
"""

import numpy as np

from minivis import ops
from minivis.backend import namespace, to_numpy
from minivis.losses.masks import dice_loss
from minivis.losses.points import check_sampling, sample_points, uncertain_points
from minivis.losses.sets import (
    by_layer,
    check_classes,
    check_predictions,
    checked_weights,
    class_loss,
    flat,
    raw,
    solve,
    total,
)
from minivis.losses.targets import gather, with_target_indices, without_crowds
from minivis.precision import widened
from minivis.randomness import generator

__all__ = ["Mask2FormerCriterion", "MaskMatcher"]


class MaskMatcher:
    """Match predictions to objects one to one by class and mask, so that the sum of all costs is minimal.

    .. math:: C = -\\lambda_c\\, \\hat p(c) + \\lambda_m \\mathrm{CE}(m, \\hat m) + \\lambda_d \\mathrm{dice}(m, \\hat m)

    The masks are compared at random points, which are the same for all queries and objects of an image.

    Parameters
    ----------
    class_weight : float, default 2
        Weight of the probability of the object's class.
    mask_weight : float, default 5
        Weight of the mean binary cross-entropy at the points.
    dice_weight : float, default 5
        Weight of the dice loss at the points.
    points : int, default 12544
        Number of points. The published 112 x 112 is for images of 1024 pixels.
    solver : callable, optional
        ``solver(cost) -> rows, columns``; the default is SciPy's ``linear_sum_assignment``.
    rng : numpy.random.Generator, int or None
        Draws the points; None is seed 0.

    Raises
    ------
    ValueError
        If a weight is negative or all are 0, or there are no points.

    References
    ----------
    Cheng et al., "Masked-attention mask transformer for universal image segmentation", CVPR 2022, sections 3.3 and
    4.1. Slide ``I/32-maskformer``.

    Examples
    --------
    >>> import numpy as np
    >>> left = np.arange(4) < 2
    >>> masks = np.where(np.stack([~left, left]), 5.0, -5.0)[None, :, None]  # query 0 is right, query 1 is left
    >>> targets = [{"labels": np.array([0]), "masks": left[None, None]}]
    >>> MaskMatcher(points=64)(np.zeros((1, 2, 3)), masks, targets)
    [(array([1]), array([0]))]
    """

    def __init__(self, class_weight=2, mask_weight=5, dice_weight=5, points=12544, solver=None, rng=None):
        self._set_weights(class_weight, mask_weight, dice_weight)
        check_sampling("MaskMatcher", points, 1, 0)
        self.points = points
        self.solver = solver
        self.rng = generator(rng)

    def _set_weights(self, *weights):
        if min(weights) < 0 or not max(weights) > 0:
            raise ValueError(
                f"{type(self).__name__}: weights must be at least 0, and one of them above it, got {weights}"
            )
        self.class_weight, self.mask_weight, self.dice_weight = weights

    def __call__(self, logits, masks, targets):
        """Match the queries of every image to its objects.

        Parameters
        ----------
        logits : ndarray or Tensor, shape (B, Q, K + 1)
            Scores of the classes, no-object last.
        masks : ndarray or Tensor, shape (B, Q, h, w)
            Scores of the pixels.
        targets : list of dict
            For each image ``labels (T,)`` and boolean ``masks (T, H, W)``, of any resolution. Objects that ``iscrowd (T,)``
            marks as crowds are left out.

        Returns
        -------
        list of (ndarray, ndarray)
            The pairs of each image, as `HungarianMatcher` returns them.

        Raises
        ------
        ValueError
            If shapes do not fit, targets are not as described, or predictions are not finite.
        """
        pairs = solve(self.costs(logits, masks, targets), self.solver)
        return with_target_indices(type(self).__name__, pairs, targets)

    def costs(self, logits, masks, targets):
        """The cost of each pair of an object and a query of its image.

        Parameters
        ----------
        logits, masks, targets
            As for a call.

        Returns
        -------
        list of ndarray, shape (T, Q)
            The costs of each image, on the CPU. Crowds are left out.
        """
        name = type(self).__name__
        logits, masks = widened(raw(logits)), widened(raw(masks))
        xp = check_predictions(name, logits, "BQhw", masks=masks)
        (B, Q) = logits.shape[:2]
        objects = gather(name, targets, B, logits.shape[2] - 1, ["masks"])
        # the number of each object within its image
        number = np.arange(len(objects.labels)) - np.repeat(objects.starts, objects.counts)
        labels = np.zeros((B, 1, max(1, *objects.counts)), np.int64)  # (B, 1, T); the padding is not used
        labels[objects.image, 0, number] = objects.labels
        truth = np.zeros((B, labels.shape[2], *objects.masks.shape[1:]), masks.dtype)
        truth[objects.image, number] = objects.masks
        z, t = self._compared(masks, xp.asarray(truth))  # (B, Q, P), (B, T, P)
        t = t.swapaxes(1, 2)  # (B, P, T)
        p = ops.sigmoid(z)
        outside, gain = self._pixel_losses(z)
        # the mean of (1 - t) outside + t inside: one matrix product gives it for all pairs
        loss = (outside.sum(axis=2, keepdims=True) + gain @ t) / z.shape[2]  # (B, Q, T)
        dice = 1 - (2 * (p @ t) + 1) / (p.sum(axis=2, keepdims=True) + t.sum(axis=1, keepdims=True) + 1)
        labels = xp.broadcast_to(xp.asarray(labels), (B, Q, labels.shape[2]))
        probability = xp.take_along_axis(ops.softmax(logits), labels, axis=2)
        costs = self.mask_weight * loss - self.class_weight * probability + self.dice_weight * dice
        return [cost[:, :count].T for cost, count in zip(to_numpy(costs), objects.counts, strict=True)]

    def _compared(self, masks, truth):
        """Masks (B, Q, h, w) and objects (B, T, H, W) at newly drawn points: (B, Q, P) and (B, T, P)."""
        xp = namespace(masks)
        points = xp.asarray(self.rng.random((len(masks), self.points, 2)).astype(masks.dtype))
        return sample_points(masks, points), sample_points(truth, points)

    def _pixel_losses(self, z):
        """The loss of each logit if its pixel lies outside the object, and what is added if it lies inside."""
        return ops.softplus(z), -z  # the cross-entropy is softplus(z) - z t


PUBLISHED = {"loss_ce": 2, "loss_mask": 5, "loss_dice": 5}


class Mask2FormerCriterion:
    """The loss of a set of classes and masks. A matched query has its object as target, any other query "no object".

    .. math:: L = \\sum_\\text{layers} \\lambda_c\\, \\mathrm{CE} + \\frac{1}{N} \\sum_{(q, t)} \\big[
              \\lambda_m \\mathrm{CE}(m_t, \\hat m_q) + \\lambda_d\\, \\mathrm{dice}(m_t, \\hat m_q) \\big]

    Parameters
    ----------
    num_classes : int
        K, without no-object; the highest label plus 1.
    matcher : callable, optional
        ``matcher(logits, masks, targets)``; the default is a `MaskMatcher` with the same ``points`` and ``rng``.
    weights : dict, optional
        Weights of terms that should differ from the published ones: ``loss_ce`` 2, ``loss_mask`` 5, ``loss_dice`` 5.
    no_object : float, default 0.1
        Weight of the class no-object in the cross-entropy. It is small because most queries have no object.
    points, oversample, importance
        How many points of each mask are compared and how they are chosen: see `uncertain_points`.
    rng : numpy.random.Generator, int or None
        Draws the points; it is kept as ``.rng``. None is seed 0.

    Raises
    ------
    ValueError
        If there is no class, a weight is unknown or negative, ``no_object`` is not positive, or a number for the points
        is out of range.

    Notes
    -----
    N is the number of objects in the batch, at least 1. The outputs of earlier layers (``output.auxiliary``) are matched
    separately, at new points, and have the same weight as the last.

    References
    ----------
    Cheng et al., "Masked-attention mask transformer for universal image segmentation", CVPR 2022, sections 3.3 and
    4.1. Slide ``I/32-maskformer``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> output = SimpleNamespace(logits=np.zeros((1, 2, 3)), masks=np.zeros((1, 2, 4, 4)), auxiliary=[])
    >>> targets = [{"labels": np.array([0]), "masks": np.ones((1, 4, 4), bool)}]
    >>> terms = Mask2FormerCriterion(2, points=64)(output, targets)
    >>> list(terms), round(float(terms["loss_ce"]), 4)
    (['loss', 'loss_ce', 'loss_mask', 'loss_dice'], 1.0986)
    """

    def __init__(
        self,
        num_classes,
        matcher=None,
        weights=None,
        no_object=0.1,
        points=12544,
        oversample=3.0,
        importance=0.75,
        rng=None,
    ):
        self.weights = checked_weights("Mask2FormerCriterion", num_classes, PUBLISHED, weights, no_object)
        check_sampling("Mask2FormerCriterion", points, oversample, importance)
        self.num_classes, self.no_object = num_classes, no_object
        self.points, self.oversample, self.importance = points, oversample, importance
        self.rng = generator(rng)
        self.matcher = MaskMatcher(points=points, rng=self.rng) if matcher is None else matcher

    def __call__(self, output, targets):
        """Compute the loss of a batch.

        Parameters
        ----------
        output : object
            It has ``logits (B, Q, K + 1)``, ``masks (B, Q, h, w)`` and ``auxiliary``, a list of such objects or None.
        targets : list of dict
            For each image ``labels (T,)`` and boolean ``masks (T, H, W)``. Objects that ``iscrowd (T,)`` marks as crowds
            are left out.

        Returns
        -------
        dict of Tensor, shape ()
            ``loss``, the weighted total, and its unweighted terms: ``loss_ce``, ``loss_mask``, ``loss_dice`` of the last
            layer, and ``loss_ce_i`` and so on of layer i before it.

        Raises
        ------
        ValueError
            If shapes do not fit, targets are not as described, or predictions are not finite.
        """
        name = type(self).__name__
        layers = [output, *(getattr(output, "auxiliary", None) or ())]
        for layer in layers:
            check_classes(name, layer.logits, self.num_classes)
        targets = without_crowds(name, targets)
        objects = gather(name, targets, len(output.logits), self.num_classes, ["masks"])
        terms = [self._layer(layer.logits, layer.masks, targets, objects) for layer in layers]
        terms = {name: ops.concatenate([term[name] for term in terms]) for name in PUBLISHED}
        return total(terms, self.weights, [output.logits, output.masks])

    def _layer(self, logits, masks, targets, objects):
        """The terms of one layer, each (1,)."""
        logits, masks = widened(logits), widened(masks)
        pairs = self.matcher(raw(logits), raw(masks), targets)
        query, target = flat(type(self).__name__, pairs, objects, logits.shape[1], 1)  # (M,)
        xp = namespace(raw(masks))
        count = max(len(objects.labels), 1)
        predicted = ops.take(ops.reshape(masks, (-1, *masks.shape[2:])), xp.asarray(query))  # (M, h, w)
        truth = xp.asarray(objects.masks[target].astype(masks.dtype))  # (M, H, W)
        predicted, truth = self._compared(predicted, truth)  # (M, P)
        return {
            "loss_ce": class_loss(logits, query, objects.labels[target], self.no_object, 1),
            "loss_mask": by_layer(self._mask_loss(predicted, truth), 1) / count,
            "loss_dice": by_layer(dice_loss(predicted, truth, reduction="none"), 1) / count,
        }

    def _compared(self, predicted, truth):
        """Masks (M, h, w) and their objects (M, H, W) at points where the masks are uncertain: (M, P) each."""
        sampling = self.points, self.oversample, self.importance
        points = uncertain_points(raw(predicted), *sampling, rng=self.rng)  # (M, P, 2)
        predicted = sample_points(ops.expand_dims(predicted, 1), points)[:, 0]
        return predicted, sample_points(truth[:, None], points)[:, 0]

    def _mask_loss(self, predicted, truth):
        """The loss of each mask, (M,)."""
        return ops.mean(ops.binary_cross_entropy_with_logits(predicted, truth, reduction="none"), axis=1)
