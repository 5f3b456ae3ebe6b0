"""Panoptic quality (PQ): one number for a panoptic segmentation, the product of segmentation and recognition quality.

Not here: how a model's queries become a panoptic segmentation (vision/panoptic.py).
"""

import operator

import numpy as np

from minivis.backend import to_numpy
from minivis.listed import told
from minivis.vision.target_keys import SEGMENT_KEYS, known_keys

__all__ = ["PanopticQuality", "panoptic_quality"]


class PanopticQuality:
    r"""Collect panoptic segmentations image by image, then compute their panoptic quality.

    A predicted and a true segment of the same image and class match if their IoU is above 1/2. A segment cannot have two
    matches, because the segments of one map do not overlap: two of them cannot each cover more than half of it. TP are
    the matches, FP the other predicted segments, and FN the other true segments. Then

    .. math:: PQ = \frac{\sum_{(p, g) \in TP} \text{IoU}(p, g)}{|TP| + \frac12 |FP| + \frac12 |FN|}
        = \underbrace{\frac{\sum_{(p, g) \in TP} \text{IoU}(p, g)}{|TP|}}_{SQ}
        \times \underbrace{\frac{|TP|}{|TP| + \frac12 |FP| + \frac12 |FN|}}_{RQ}

    for each class over all images. The results are the means over the classes that occur.

    Parameters
    ----------
    things : array of bool, shape (K,)
        True for classes that are things; the others are stuff. Classes are 0 to K - 1.

    Raises
    ------
    ValueError
        If `things` is not boolean.

    Notes
    -----
    Pixels that are void in the truth (number 0, not labelled) are ignored: they are left out of the union. A predicted
    segment with more than half of its pixels in void or in crowds of its class is not an FP. A crowd (several objects
    under one mask, not separated) is never matched and is not an FN. PQ, SQ and RQ of a set are each a mean over classes,
    so the product of the mean SQ and the mean RQ is not the mean PQ.

    References
    ----------
    Kirillov et al., "Panoptic segmentation", CVPR 2019, section 4.1 and equations 1 and 2. Slide
    ``H/25-detr-panoptic-results``.

    Examples
    --------
    >>> truth = (np.array([[1, 1, 2, 2]]), [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 1}])
    >>> found = (np.array([[1, 1, 1, 2]]), truth[1])
    >>> metric = PanopticQuality(things=[True, False])
    >>> metric.update([found], [truth])
    >>> result = metric.compute()  # class 0: IoU 2/3, a match; class 1: IoU 1/2, none
    >>> round(result["PQ"], 3), round(result["SQ"], 3), result["RQ"], result["PQ_stuff"]
    (0.333, 0.333, 0.5, 0.0)
    """

    def __init__(self, things):
        self.things = np.asarray(things)
        if self.things.ndim != 1 or self.things.dtype != bool:
            raise ValueError(
                f"PanopticQuality: things must be (K,) boolean, one for each class, got {self.things.shape} "
                f"{self.things.dtype.name}"
            )
        K = len(self.things)
        # TP, FP, FN
        self._iou = np.zeros(K)
        self._counts = np.zeros((3, K), np.int64)

    def update(self, predictions, targets):
        """Add images.

        Parameters
        ----------
        predictions, targets : list of (ids, segments)
            For each image ``ids`` (H, W), the number of each pixel's segment, 0 = void, and ``segments``, a list of dicts
            with ``id`` and ``category_id`` (0 to K - 1). Segments of targets may have ``iscrowd``.

        Raises
        ------
        ValueError
            If the maps differ in size, a number in the map has no segment, a segment has no pixels, a class is unknown, or
            a segment lacks ``id`` or ``category_id`` or has a key that looks like a misspelling.
        TypeError
            If a map does not hold integers.
        """
        predictions, targets = list(predictions), list(targets)
        if len(predictions) != len(targets):
            raise ValueError(
                f"PanopticQuality: one prediction for each target: {len(predictions)} predictions, {len(targets)} targets"
            )
        for found, truth in zip(predictions, targets, strict=True):
            self._compare(found, truth)

    def _compare(self, found, truth):
        """Count the TP, FP and FN of one image."""
        found_rows, found_labels, _ = self._segments("predictions", found)
        true_rows, true_labels, crowd = self._segments("targets", truth)
        if found_rows.shape != true_rows.shape:
            raise ValueError(
                f"PanopticQuality: prediction and target must be of one size (prediction: {found_rows.shape}, target: "
                f"{true_rows.shape}): give the merge size=(height, width)"
            )
        G, D = len(true_labels), len(found_labels)  # row and column 0 are void
        pairs = np.bincount((true_rows * D + found_rows).ravel(), minlength=G * D).reshape(G, D)
        union = pairs.sum(axis=1, keepdims=True) + pairs.sum(axis=0) - pairs - pairs[0]
        same = (true_labels[:, None] == found_labels) & ~crowd[:, None]
        same[0] = same[:, 0] = False
        iou = np.where(same, pairs / np.maximum(union, 1), 0)
        match = iou > 0.5
        in_crowd = crowd[:, None] & (true_labels[:, None] == found_labels)
        ignored = pairs[0] + (pairs * in_crowd).sum(axis=0)  # pixels of predictions in void or in a crowd
        wrong = ~match.any(axis=0) & (2 * ignored <= pairs.sum(axis=0))
        missed = ~match.any(axis=1) & ~crowd
        wrong[0] = missed[0] = False
        g, d = np.nonzero(match)
        np.add.at(self._iou, true_labels[g], iou[g, d])
        for count, labels in zip(
            self._counts, (true_labels[g], found_labels[wrong], true_labels[missed]), strict=True
        ):
            np.add.at(count, labels, 1)

    def _segments(self, argument, image):
        """The map with its segments renumbered 0 (void), 1, 2, ..., their classes, and whether they are crowds."""
        name = f"PanopticQuality: {argument}"
        ids, segments = _pair(name, image)
        numbers = np.array([0, *(_whole(name, segment, "id") for segment in segments)], np.int64)
        labels = np.array([-1, *(_whole(name, segment, "category_id") for segment in segments)], np.int64)
        crowd = np.array([False, *(_is_crowd(name, segment) for segment in segments)])
        described = set(numbers.tolist())
        in_map = np.unique(ids).tolist()
        if described != {0, *in_map} or len(described) != len(numbers):
            raise ValueError(
                f"{name}: each segment must have an id of its own, not 0, and pixels, and each number in the map a "
                f"segment (segments: {told(numbers[1:].tolist())}, map: {told(in_map)}, 0 is void)"
            )
        if len(labels) > 1 and not (labels[1:].min() >= 0 and labels.max() < len(self.things)):
            raise ValueError(
                f"{name}: category_id must lie in 0 to {len(self.things) - 1}, got {labels[1:].tolist()}"
            )
        order = np.argsort(numbers)
        return order[np.searchsorted(numbers, ids, sorter=order)], labels, crowd

    def by_class(self):
        """PQ, SQ and RQ of each class that occurs.

        Returns
        -------
        dict of dict
            For each class ``PQ``, ``SQ``, ``RQ``, from 0 to 1, and the counts ``TP``, ``FP``, ``FN``.
        """
        result = {}
        for label in np.flatnonzero(self._counts.sum(axis=0)).tolist():
            TP, FP, FN = self._counts[:, label].tolist()
            whole = TP + FP / 2 + FN / 2
            iou = float(self._iou[label])
            numbers = {"PQ": iou / whole, "SQ": iou / TP if TP else 0.0, "RQ": TP / whole}
            result[label] = {**numbers, "TP": TP, "FP": FP, "FN": FN}
        return result

    def compute(self):
        """Means over the classes that occur in targets or predictions.

        Returns
        -------
        dict of float
            ``PQ``, ``SQ``, ``RQ``; the same for things only (``PQ_things``, ...) and for stuff only (``PQ_stuff``, ...).
            From 0 to 1; -1 if no such class occurs.
        """
        each = self.by_class()
        result = {}
        for suffix, chosen in (("", self.things | True), ("_things", self.things), ("_stuff", ~self.things)):
            for name in ("PQ", "SQ", "RQ"):
                values = [numbers[name] for label, numbers in each.items() if chosen[label]]
                result[name + suffix] = sum(values) / len(values) if values else -1.0
        return result


def _pair(name, image):
    """Check the map (H, W) and the segments of one image."""
    if not isinstance(image, (tuple, list)) or len(image) != 2:
        hint = '; of a target of CocoPanoptic: (target["panoptic"], target["segments"])'
        raise ValueError(f"{name} must be pairs (ids, segments), got {type(image).__name__}{hint}")
    ids = to_numpy(image[0])
    segments = image[1]
    if not isinstance(segments, (tuple, list)) or not all(isinstance(segment, dict) for segment in segments):
        raise ValueError(
            f"{name}: segments must be a list with a dict for each segment, got {told(segments)}"
        )
    if ids.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: ids must be integers, got {ids.dtype.name}; a PNG of COCO's goes through rgb2id"
        )
    if ids.ndim != 2:
        raise ValueError(f"{name}: ids must be (H, W), got {ids.shape}; a PNG of COCO's goes through rgb2id")
    return ids, [known_keys(f"{name}: segments", segment, SEGMENT_KEYS) for segment in segments]


def _whole(name, segment, key):
    """A whole number under a key that every segment must have."""
    try:
        return operator.index(segment[key])
    except KeyError:
        has = ", ".join(map(repr, segment)) or "nothing"
        raise ValueError(f"{name}: every segment needs {key!r}, but one has {has}") from None
    except TypeError:
        raise ValueError(f"{name}: {key} must be an integer, got {told(segment[key])}") from None


def _is_crowd(name, segment):
    crowd = segment.get("iscrowd", False)
    if crowd not in (0, 1, None):
        raise ValueError(f"{name}: iscrowd must be boolean, or 0 or 1, got {told(crowd)}")
    return bool(crowd)


def panoptic_quality(predictions, targets, things):
    """PQ, SQ and RQ of a list of images; for their meaning see `PanopticQuality`.

    Parameters
    ----------
    predictions, targets : list of (ids, segments)
        For each image ``ids`` (H, W), 0 = void, and a list of dicts with ``id``, ``category_id`` and, optionally in
        targets, ``iscrowd``.
    things : array of bool, shape (K,)
        True for classes that are things.

    Returns
    -------
    dict of float
        ``PQ``, ``SQ``, ``RQ``, and each with ``_things`` and ``_stuff``; -1 if no such class occurs.

    References
    ----------
    Slides ``H/25-detr-panoptic-results``, ``I/2-three-kinds-of-segmentation``.

    Examples
    --------
    >>> image = (np.array([[0, 5]]), [{"id": 5, "category_id": 0}])
    >>> panoptic_quality([image], [image], things=[True])["PQ"]
    1.0
    """
    metric = PanopticQuality(things)
    metric.update(predictions, targets)
    return metric.compute()
