"""Average precision as COCO computes it: how well boxes or masks are found, at ten degrees of strictness.

Not here: the readers of COCO's files (data/coco.py), key points, LVIS's rules.
"""

import math

import numpy as np

from minivis.metrics._check import column, crowds, entry

__all__ = ["AveragePrecision", "average_precision"]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0, 1, 101)  # where precision is read
MOST = (1, 10, 100)  # detections of one class in one image that count
# square pixels
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


class AveragePrecision:
    r"""Gather detections image by image, then say how good they are in COCO's 12 numbers.

    The detections of a class, over all images, are walked through by falling score. Each takes the object of its class
    and image with which it overlaps most, if their IoU reaches the threshold and no surer detection took it: then it is
    right (TP), else wrong (FP). With n objects, after k detections

    .. math:: \text{precision} = \frac{TP_k}{k}, \qquad \text{recall} = \frac{TP_k}{n},

    and AP is the mean over 101 recalls 0, 0.01, ... 1 of the best precision at that recall or a higher one (0 where the
    recall is never reached), over the IoU thresholds 0.50, 0.55, ... 0.95, and over the classes that have objects.

    Parameters
    ----------
    kind : {"boxes", "masks"}, default "boxes"
        Of what IoU is taken.
    areas : dict, optional
        Range of areas, square pixels, by name; default COCO's: small up to 32 x 32, medium up to 96 x 96, large.

    Raises
    ------
    ValueError
        If `kind` is unknown or a range of areas is no range.

    Notes
    -----
    Crowds (regions of objects nobody counted) and objects outside the range of areas are neither asked for nor held
    against a detection that finds them; a crowd may be found many times, and what counts there is how much of the
    *detection* lies in it. Of equal scores the earlier one comes first, so the order of the images has a (tiny) say.

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
            One an image: ``scores`` (n,), ``labels`` (n,) integers, and ``boxes`` (n, 4) or ``masks`` (n, H, W) boolean.
        targets : list of dict
            What there is: ``labels`` (T,), ``boxes`` (T, 4) or ``masks`` (T, H, W); where known ``iscrowd`` (T,) boolean
            and ``area`` (T,), square pixels (COCO gives those of the masks also for boxes; default: those of what is
            compared). ``crowd`` and ``areas`` are older names of the two.
        sizes : list of (int, int), optional
            Without them boxes are xyxy in pixels. With them boxes are as models speak, cxcywh from 0 to 1, and these
            are height and width of the images, pixels.

        Raises
        ------
        ValueError
            If something is missing, the shapes do not go together, boxes are not what they should be, a score is NaN,
            or a key looks like a misspelling of a known one.
        TypeError
            If labels are no integers, masks not boolean, or an entry no dict.
        """
        predictions, targets = list(predictions), list(targets)
        sizes = [None] * len(targets) if sizes is None else list(sizes)
        if not len(predictions) == len(targets) == len(sizes):
            raise ValueError(
                f"AveragePrecision: one entry an image: {len(predictions)} predictions, {len(targets)} targets, "
                f"{len(sizes)} sizes"
            )
        self._images += [self._compare(*image) for image in zip(predictions, targets, sizes, strict=True)]

    def compute(self):
        """COCO's 12 numbers over all images so far.

        Returns
        -------
        dict of float
            ``AP`` (over ten IoU thresholds), ``AP50``, ``AP75`` (at one), ``AP_small``, ``AP_medium``, ``AP_large``
            (by the area of the objects), and average recall: ``AR1``, ``AR10``, ``AR100`` (with so many detections a
            class and image), ``AR_small``, ``AR_medium``, ``AR_large``. From 0 to 1; -1 where there is no such object.
        """
        precision, recall = self._curves()
        names = list(self.areas)
        numbers = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
        numbers |= {f"AP_{name}": precision[:, i] for i, name in enumerate(names) if i}
        numbers |= {f"AR{most}": recall[:, 0, :, i] for i, most in enumerate(MOST)}
        numbers |= {f"AR_{name}": recall[:, i, :, -1] for i, name in enumerate(names) if i}
        return {name: _mean(values) for name, values in numbers.items()}

    def by_class(self):
        """AP of each class that has objects.

        Returns
        -------
        dict of dict
            By class: ``AP``, ``AP50``, ``AP75``.
        """
        precision, _ = self._curves()
        found = {"AP": precision[:, 0], "AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
        return {
            int(label): {name: _mean(values[i]) for name, values in found.items()}
            for i, label in enumerate(self._classes())
        }

    def curve(self, label, threshold=0.5):
        """Precision over recall, the curve whose area is the AP of one class at one IoU threshold.

        Parameters
        ----------
        label : int
            The class.
        threshold : float, default 0.5
            One of 0.50, 0.55, ... 0.95.

        Returns
        -------
        recall, precision : numpy.ndarray, shape (101,)
            Precision is the best at that recall or a higher one, so it never rises; 0 where the recall is not reached.

        Raises
        ------
        ValueError
            If there is no object of that class, or the threshold is another.
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
        """Which detections of one image find an object, at every range of areas (A) and IoU threshold (T)."""
        prediction, labels, shapes = entry("predictions", prediction, self.kind, size)
        target, objects, truth = entry("targets", target, self.kind, size)
        scores = column("predictions", prediction, "scores", labels)
        crowd = crowds(target, objects)
        areas = column("targets", target, "area", objects, _area(truth))
        order = np.argsort(-scores, kind="stable")
        surer = np.tril(labels[order, None] == labels[order], -1)  # of the same class
        rank = surer.sum(axis=1)
        order, rank = order[rank < MOST[-1]], rank[rank < MOST[-1]]
        labels, shapes, scores = labels[order], shapes[order], scores[order]  # D detections, G objects
        iou = (_box_iou if self.kind == "boxes" else _mask_iou)(shapes, truth, crowd)
        iou[labels[:, None] != objects] = 0
        least, most = np.array(list(self.areas.values()), float).T[:, :, None]  # (A, 1)
        unasked = crowd | (areas < least) | (areas > most)  # (A, G)
        matched, excused = _match(iou, unasked, crowd)  # (A, T, D)
        area = _area(shapes)
        excused |= ~matched & ((area < least) | (area > most))[:, None]
        right = matched & ~excused
        wrong = ~matched & ~excused
        detections = {"labels": labels, "scores": scores, "rank": rank, "right": right, "wrong": wrong}
        return {**detections, "objects": objects, "asked": ~unasked}

    def _gathered(self, name):
        """One array of all images; the last axis is that of the detections or objects."""
        return np.concatenate([image[name] for image in self._images], axis=-1)

    def _classes(self):
        """The classes that have an object somewhere, crowds apart, in order."""
        if not self._images:
            raise ValueError("AveragePrecision: there are no images yet: call update first")
        return np.unique(self._gathered("objects")[self._gathered("asked").any(axis=0)])

    def _curves(self):
        """Precision (K, A, T, 101) and final recall (K, A, T, number of limits); -1 where there is no object."""
        classes = self._classes()
        A = len(self.areas)
        T = len(THRESHOLDS)
        scores = self._gathered("scores")
        order = np.argsort(-scores, kind="stable")
        labels, rank = self._gathered("labels")[order], self._gathered("rank")[order]
        right, wrong = self._gathered("right")[..., order], self._gathered("wrong")[..., order]  # (A, T, all)
        objects, asked = self._gathered("objects"), self._gathered("asked")
        precision = np.full((len(classes), A, T, len(RECALLS)), -1.0)
        recall = np.full((len(classes), A, T, len(MOST)), -1.0)
        for k, label in enumerate(classes):
            n = (asked & (objects == label)).sum(axis=1)  # (A,)
            own = labels == label
            hits = right[..., own]
            misses = wrong[..., own]
            place = rank[own]
            for a in np.flatnonzero(n):
                reached = [hits[a][:, place < most].sum(axis=1) for most in MOST]
                recall[k, a] = np.stack(reached, axis=1) / n[a]
                precision[k, a] = [_read(*pair, n[a]) for pair in zip(hits[a], misses[a], strict=True)]
        return precision, recall


def _mean(values):
    """The mean of what is defined, -1 if nothing is."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _read(hits, misses, objects):
    """Precision at 101 recalls, of detections by falling score: the best at that recall or a higher one."""
    right, wrong = np.cumsum(hits), np.cumsum(misses)
    precision = right / np.maximum(right + wrong, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(right / objects, RECALLS)  # the first detection that reaches the recall
    return np.append(best, 0.0)[first]


def _match(iou, unasked, crowd):
    """Let each detection, by falling score, take its object: iou (D, G), unasked (A, G), crowd (G,).

    Returns, (A, T, D) each, whether a detection has an object and whether that one was not asked for.
    """
    (D, G) = iou.shape
    A = len(unasked)
    T = len(THRESHOLDS)
    matched, excused = np.zeros((2, A, T, D), bool)
    free = np.ones((A, T, G), bool)
    for d in np.flatnonzero(iou.max(axis=1, initial=0) >= THRESHOLDS[0]):
        able = free & (iou[d] >= THRESHOLDS[:, None])  # (A, T, G)
        asked = able & ~unasked[:, None]
        able = np.where(asked.any(axis=-1, keepdims=True), asked, able)  # one that is asked for comes first
        best = G - 1 - np.where(able, iou[d], -1)[..., ::-1].argmax(axis=-1)  # (A, T), of equals the last
        matched[..., d] = able.any(axis=-1)
        excused[..., d] = matched[..., d] & np.take_along_axis(unasked, best, axis=1)
        a, t = np.nonzero(matched[..., d] & ~crowd[best])
        free[a, t, best[a, t]] = False
    return matched, excused


def _area(shapes):
    """Square pixels of boxes (n, 4) or masks (n, H, W)."""
    if shapes.ndim == 3:
        return shapes.sum(axis=(1, 2)).astype(float)
    return (shapes[:, 2] - shapes[:, 0]) * (shapes[:, 3] - shapes[:, 1])


def _box_iou(found, there, crowd):
    """IoU (D, G) of boxes; with a crowd, the part of the detection that lies in it."""
    low = np.maximum(found[:, None, :2], there[:, :2])
    high = np.minimum(found[:, None, 2:], there[:, 2:])
    return _ratio(np.prod(np.clip(high - low, 0, None), axis=-1), _area(found), _area(there), crowd)


def _mask_iou(found, there, crowd):
    """The same of masks: their common pixels are one product of matrices."""
    if found.shape[1:] != there.shape[1:]:
        raise ValueError(
            f"AveragePrecision: masks of predictions and targets must be of one size (predictions: {found.shape}, "
            f"targets: {there.shape})"
        )
    pixels = math.prod(found.shape[1:])
    rows = [masks.reshape(len(masks), pixels).astype(np.float32) for masks in (found, there)]
    return _ratio((rows[0] @ rows[1].T).astype(float), _area(found), _area(there), crowd)


def _ratio(common, found, there, crowd):
    union = np.where(crowd, found[:, None], found[:, None] + there - common)
    return common / np.where(common > 0, union, 1)


def average_precision(predictions, targets, sizes=None, kind="boxes", areas=None):
    """COCO's 12 numbers of detections in a list of images; `AveragePrecision` says what they mean.

    Parameters
    ----------
    predictions : list of dict
        One an image: ``scores`` (n,), ``labels`` (n,), and ``boxes`` (n, 4) or ``masks`` (n, H, W) boolean.
    targets : list of dict
        What there is: ``labels`` (T,), ``boxes`` or ``masks``; where known ``iscrowd`` (T,) boolean and ``area`` (T,).
    sizes : list of (int, int), optional
        Without them boxes are xyxy in pixels. With them they are cxcywh from 0 to 1, and these are height and width of
        the images, pixels.
    kind : {"boxes", "masks"}, default "boxes"
        Of what IoU is taken.
    areas : dict, optional
        Range of areas, square pixels, by name; default COCO's.

    Returns
    -------
    dict of float
        ``AP``, ``AP50``, ``AP75``, ``AP_small``, ``AP_medium``, ``AP_large``, ``AR1``, ``AR10``, ``AR100``,
        ``AR_small``, ``AR_medium``, ``AR_large``; -1 where there is no such object.

    Examples
    --------
    >>> there = {"boxes": np.array([[0.5, 0.5, 0.2, 0.2]]), "labels": np.array([0])}
    >>> average_precision([{**there, "scores": np.array([0.7])}], [there], sizes=[(64, 64)])["AP"]
    1.0
    """
    metric = AveragePrecision(kind, areas)
    metric.update(predictions, targets, sizes)
    return metric.compute()
