"""Average precision of detected boxes or masks as COCO computes it, at ten IoU thresholds.

Not here: the readers of COCO's files (data/coco.py), metrics of key points, LVIS's rules.
"""

import math

import numpy as np

from minivis.metrics._check import column, crowds, entry

__all__ = ["AveragePrecision", "average_precision"]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0, 1, 101)  # where the precision is evaluated
LIMITS = (1, 10, 100)  # at most so many detections of one class in one image count
# square pixels
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


class AveragePrecision:
    r"""Collect detections image by image, then compute COCO's 12 numbers.

    The detections of a class in all images are sorted by decreasing score. Each is matched to the object of its class and
    image with the largest IoU, among the objects that no detection with a higher score has, if the IoU reaches the
    threshold. A matched detection is right (TP), any other is wrong (FP). With n objects, after k detections

    .. math:: \text{precision} = \frac{TP_k}{k}, \qquad \text{recall} = \frac{TP_k}{n},

    At a recall r, take the best precision at r or at a higher recall (0 if r is never reached). AP is the mean of this
    precision over 101 recalls 0, 0.01, ... 1, over the IoU thresholds 0.50, 0.55, ... 0.95, and over the classes that
    have objects.

    Parameters
    ----------
    kind : {"boxes", "masks"}, default "boxes"
        Whether the IoU is that of boxes or of masks.
    areas : dict, optional
        Ranges of areas in square pixels by name. The default is COCO's: small up to 32 x 32, medium up to 96 x 96, large.

    Raises
    ------
    ValueError
        If `kind` is unknown, or a range of areas is not (least, most).

    Notes
    -----
    Crowds (regions with many objects, not separated) and objects outside the range of areas do not count as objects, and
    a detection that matches one counts neither as right nor as wrong. Many detections can match the same crowd; for a
    crowd the intersection is divided by the area of the *detection*, not by the union. Of detections with equal scores
    the earlier one comes first, so the order of the images has a small effect.

    References
    ----------
    Lin et al., "Microsoft COCO: common objects in context", ECCV 2014. Everingham et al., "The Pascal visual object
    classes challenge", IJCV 2010, section 4.2, for AP itself.

    Examples
    --------
    >>> metric = AveragePrecision()
    >>> found = {"boxes": np.array([[0.0, 0, 9, 8]]), "scores": np.array([0.9]), "labels": np.array([2])}
    >>> metric.update([found], [{"boxes": np.array([[0.0, 0, 10, 8]]), "labels": np.array([2])}])
    >>> result = metric.compute()  # the IoU is 0.9: right at 9 of the 10 thresholds
    >>> round(result["AP"], 3), round(result["AP50"], 3)
    (0.9, 1.0)
    """

    def __init__(self, kind="boxes", areas=None):
        if kind not in ("boxes", "masks"):
            raise ValueError(f'AveragePrecision: kind must be "boxes" or "masks", got {kind!r}')
        self.kind = kind
        self.areas = {"all": AREAS["all"], **(areas or AREAS)}
        if any(len(span) != 2 or not span[0] <= span[1] for span in self.areas.values()):
            raise ValueError(
                f"AveragePrecision: areas must be (least, most) in square pixels by name, got {areas}"
            )
        self._images = []

    def update(self, predictions, targets, sizes=None):
        """Add images.

        Parameters
        ----------
        predictions : list of dict
            For each image ``scores`` (n,), ``labels`` (n,) integers, and ``boxes`` (n, 4) or ``masks`` (n, H, W) boolean.
        targets : list of dict
            For each image the objects: ``labels`` (T,), and ``boxes`` (T, 4) or ``masks`` (T, H, W); optionally ``iscrowd``
            (T,) boolean and ``area`` (T,) in square pixels. The default area is that of the boxes or masks compared; COCO
            uses the areas of the masks for boxes too. ``crowd`` and ``areas`` are older names of the two.
        sizes : list of (int, int), optional
            Height and width of the images, in pixels. Give them if boxes are cxcywh from 0 to 1, as models predict them.
            Without sizes, boxes are xyxy in pixels.

        Raises
        ------
        ValueError
            If a key is missing, the shapes do not fit, boxes are in another format, a score is NaN, or a key looks like a
            misspelling of a known key.
        TypeError
            If labels are not integers, masks are not boolean, or an entry is not a dict.
        """
        predictions, targets = list(predictions), list(targets)
        sizes = [None] * len(targets) if sizes is None else list(sizes)
        if not len(predictions) == len(targets) == len(sizes):
            raise ValueError(
                f"AveragePrecision: one entry for each image: {len(predictions)} predictions, {len(targets)} targets, "
                f"{len(sizes)} sizes"
            )
        self._images += [self._compare(*image) for image in zip(predictions, targets, sizes, strict=True)]

    def compute(self):
        """COCO's 12 numbers over all images so far.

        Returns
        -------
        dict of float
            ``AP`` (over ten IoU thresholds), ``AP50`` and ``AP75`` (at one threshold), ``AP_small``, ``AP_medium``,
            ``AP_large`` (by the area of the objects), and average recall: ``AR1``, ``AR10``, ``AR100`` (with at most that
            many detections of a class in an image), ``AR_small``, ``AR_medium``, ``AR_large``. All are from 0 to 1, or -1 if
            there is no such object.
        """
        precision, recall = self._curves()
        names = list(self.areas)
        numbers = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
        numbers |= {f"AP_{name}": precision[:, i] for i, name in enumerate(names) if i}
        numbers |= {f"AR{limit}": recall[:, 0, :, i] for i, limit in enumerate(LIMITS)}
        numbers |= {f"AR_{name}": recall[:, i, :, -1] for i, name in enumerate(names) if i}
        return {name: _mean(values) for name, values in numbers.items()}

    def by_class(self):
        """AP of each class that has objects.

        Returns
        -------
        dict of dict
            For each class ``AP``, ``AP50``, ``AP75``.
        """
        precision, _ = self._curves()
        found = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
        return {
            int(label): {name: _mean(values[i]) for name, values in found.items()}
            for i, label in enumerate(self._classes())
        }

    def curve(self, label, threshold=0.5):
        """Precision as a function of recall. The mean of this curve is the AP of one class at one IoU threshold.

        Parameters
        ----------
        label : int
            The class.
        threshold : float, default 0.5
            One of 0.50, 0.55, ... 0.95.

        Returns
        -------
        recall, precision : numpy.ndarray, shape (101,)
            The precision is the best at that recall or a higher one, so it never increases. It is 0 where the recall is not
            reached.

        Raises
        ------
        ValueError
            If there is no object of that class, or the threshold is not one of the ten.
        """
        at = np.flatnonzero(np.isclose(THRESHOLDS, threshold))
        row = np.flatnonzero(self._classes() == label)
        if not (at.size and row.size):
            raise ValueError(
                f"AveragePrecision: there is a curve for classes with objects ({self._classes().tolist()}) at IoU "
                f"thresholds 0.50, 0.55, ... 0.95, got label={label}, threshold={threshold}"
            )
        return RECALLS.copy(), self._curves()[0][row[0], 0, at[0]]

    def _compare(self, prediction, target, size):
        """Which detections of one image are right and wrong, for every range of areas (A) and IoU threshold (T)."""
        prediction, labels, shapes = entry("predictions", prediction, self.kind, size)
        target, objects, truth = entry("targets", target, self.kind, size)
        scores = column("predictions", prediction, "scores", labels)
        crowd = crowds(target, objects)
        areas = column("targets", target, "area", objects, _area(truth))
        order = np.argsort(-scores, kind="stable")
        # detections of the same class with higher scores
        better = np.tril(labels[order, None] == labels[order], -1)
        rank = better.sum(axis=1)
        order, rank = order[rank < LIMITS[-1]], rank[rank < LIMITS[-1]]
        labels, shapes, scores = labels[order], shapes[order], scores[order]  # D detections, G objects
        iou = (_box_iou if self.kind == "boxes" else _mask_iou)(shapes, truth, crowd)
        iou[labels[:, None] != objects] = 0
        least, most = np.array(list(self.areas.values()), float).T[:, :, None]  # (A, 1)
        ignored_objects = crowd | (areas < least) | (areas > most)  # (A, G)
        matched, ignored = _match(iou, ignored_objects, crowd)  # (A, T, D)
        area = _area(shapes)
        ignored |= ~matched & ((area < least) | (area > most))[:, None]
        right = matched & ~ignored
        wrong = ~matched & ~ignored
        detections = {"labels": labels, "scores": scores, "rank": rank, "right": right, "wrong": wrong}
        return {**detections, "objects": objects, "counted": ~ignored_objects}

    def _gathered(self, name):
        """The arrays of all images concatenated along the last axis, that of detections or objects."""
        return np.concatenate([image[name] for image in self._images], axis=-1)

    def _classes(self):
        """The classes that have an object that is not a crowd, in order."""
        if not self._images:
            raise ValueError("AveragePrecision: there are no images yet: call update first")
        return np.unique(self._gathered("objects")[self._gathered("counted").any(axis=0)])

    def _curves(self):
        """Precision (K, A, T, 101) and final recall (K, A, T, number of limits); -1 where there is no object."""
        classes = self._classes()
        A = len(self.areas)
        T = len(THRESHOLDS)
        scores = self._gathered("scores")
        order = np.argsort(-scores, kind="stable")
        labels, rank = self._gathered("labels")[order], self._gathered("rank")[order]
        right, wrong = self._gathered("right")[..., order], self._gathered("wrong")[..., order]  # (A, T, all)
        objects, counted = self._gathered("objects"), self._gathered("counted")
        precision = np.full((len(classes), A, T, len(RECALLS)), -1.0)
        recall = np.full((len(classes), A, T, len(LIMITS)), -1.0)
        for k, label in enumerate(classes):
            n = (counted & (objects == label)).sum(axis=1)  # (A,)
            own = labels == label
            hits = right[..., own]
            misses = wrong[..., own]
            own_rank = rank[own]
            for a in np.flatnonzero(n):
                found = [hits[a][:, own_rank < limit].sum(axis=1) for limit in LIMITS]
                recall[k, a] = np.stack(found, axis=1) / n[a]
                precision[k, a] = [_precisions(*pair, n[a]) for pair in zip(hits[a], misses[a], strict=True)]
        return precision, recall


def _mean(values):
    """The mean of the defined values (those above -1), or -1 if there are none."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _precisions(hits, misses, objects):
    """The best precision at each of 101 recalls or a higher one, for detections in order of decreasing score."""
    right, wrong = np.cumsum(hits), np.cumsum(misses)
    precision = right / np.maximum(right + wrong, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(right / objects, RECALLS)  # the first detection that reaches the recall
    return np.append(best, 0.0)[first]


def _match(iou, ignored_objects, crowd):
    """Match detections, in order of decreasing score, to objects: iou (D, G), ignored_objects (A, G), crowd (G,).

    Returns two arrays (A, T, D): whether a detection is matched, and whether its object is ignored.
    """
    (D, G) = iou.shape
    A = len(ignored_objects)
    T = len(THRESHOLDS)
    matched, ignored = np.zeros((2, A, T, D), bool)
    free = np.ones((A, T, G), bool)
    for d in np.flatnonzero(iou.max(axis=1, initial=0) >= THRESHOLDS[0]):
        candidates = free & (iou[d] >= THRESHOLDS[:, None])  # (A, T, G)
        counted = candidates & ~ignored_objects[:, None]
        # objects that count come before ignored ones
        candidates = np.where(counted.any(axis=-1, keepdims=True), counted, candidates)
        # (A, T); of equal IoUs the last
        best = G - 1 - np.where(candidates, iou[d], -1)[..., ::-1].argmax(axis=-1)
        matched[..., d] = candidates.any(axis=-1)
        ignored[..., d] = matched[..., d] & np.take_along_axis(ignored_objects, best, axis=1)
        a, t = np.nonzero(matched[..., d] & ~crowd[best])
        free[a, t, best[a, t]] = False
    return matched, ignored


def _area(shapes):
    """Areas of boxes (n, 4) or masks (n, H, W), in square pixels."""
    if shapes.ndim == 3:
        return shapes.sum(axis=(1, 2)).astype(float)
    return (shapes[:, 2] - shapes[:, 0]) * (shapes[:, 3] - shapes[:, 1])


def _box_iou(found, truth, crowd):
    """IoU (D, G) of boxes; for a crowd, the fraction of the detection inside it."""
    low = np.maximum(found[:, None, :2], truth[:, :2])
    high = np.minimum(found[:, None, 2:], truth[:, 2:])
    return _ratio(np.prod(np.clip(high - low, 0, None), axis=-1), _area(found), _area(truth), crowd)


def _mask_iou(found, truth, crowd):
    """The same for masks. One matrix product counts the common pixels."""
    if found.shape[1:] != truth.shape[1:]:
        raise ValueError(
            f"AveragePrecision: masks of predictions and targets must be of one size (predictions: {found.shape}, "
            f"targets: {truth.shape})"
        )
    pixels = math.prod(found.shape[1:])
    rows = [masks.reshape(len(masks), pixels).astype(np.float32) for masks in (found, truth)]
    return _ratio((rows[0] @ rows[1].T).astype(float), _area(found), _area(truth), crowd)


def _ratio(common, found, truth, crowd):
    union = np.where(crowd, found[:, None], found[:, None] + truth - common)
    return common / np.where(common > 0, union, 1)


def average_precision(predictions, targets, sizes=None, kind="boxes", areas=None):
    """COCO's 12 numbers for the detections in a list of images; for their meaning see `AveragePrecision`.

    Parameters
    ----------
    predictions : list of dict
        For each image ``scores`` (n,), ``labels`` (n,), and ``boxes`` (n, 4) or ``masks`` (n, H, W) boolean.
    targets : list of dict
        For each image the objects: ``labels`` (T,), and ``boxes`` or ``masks``; optionally ``iscrowd`` (T,) boolean and
        ``area`` (T,).
    sizes : list of (int, int), optional
        Height and width of the images, in pixels, if boxes are cxcywh from 0 to 1. Without sizes, boxes are xyxy in pixels.
    kind : {"boxes", "masks"}, default "boxes"
        Whether the IoU is that of boxes or of masks.
    areas : dict, optional
        Ranges of areas in square pixels by name; default COCO's.

    Returns
    -------
    dict of float
        ``AP``, ``AP50``, ``AP75``, ``AP_small``, ``AP_medium``, ``AP_large``, ``AR1``, ``AR10``, ``AR100``,
        ``AR_small``, ``AR_medium``, ``AR_large``; -1 if there is no such object.

    Examples
    --------
    >>> truth = {"boxes": np.array([[0.5, 0.5, 0.2, 0.2]]), "labels": np.array([0])}
    >>> average_precision([{**truth, "scores": np.array([0.7])}], [truth], sizes=[(64, 64)])["AP"]
    1.0
    """
    metric = AveragePrecision(kind, areas)
    metric.update(predictions, targets, sizes)
    return metric.compute()
