"""Regions of several pictures as one array, what each of them should become, and the boxes that a detector answers.

Not here: cutting regions out of a map (rois.py), where they come from (proposals.py, anchors.py), answers of DETR
(detections.py).
"""

import numpy as np

from minivis.vision.boxes import box_iou, clip_boxes
from minivis.vision.suppression import batched_nms

__all__ = ["region_detections", "region_targets", "with_pictures"]

SMALLEST = 0.01  # pixels: a narrower or lower box is no answer


def with_pictures(regions):
    """Regions of several pictures as one array, with the index of the picture in front.

    Parameters
    ----------
    regions : list of ndarray, shape (R_b, 4)
        The regions of each picture, xyxy in pixels.

    Returns
    -------
    ndarray, shape (R, 5)
        In the dtype of the regions, at least float32.

    Raises
    ------
    ValueError
        If the regions of a picture are not (R, 4).

    Examples
    --------
    >>> with_pictures([np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 1.0, 3.0, 4.0]])])
    array([[0., 0., 0., 2., 2.],
           [1., 1., 1., 3., 4.]])
    """
    if any(np.ndim(r) != 2 or np.shape(r)[1] != 4 for r in regions):
        raise ValueError(
            f"with_pictures: regions must be (R, 4) for each picture (regions: {[np.shape(r) for r in regions]})"
        )
    dtype = np.result_type(np.float32, *regions)  # float16 would not hold the index of every picture
    rows = [np.concatenate([np.full((len(r), 1), b), r], axis=1) for b, r in enumerate(regions)]
    return np.concatenate([np.empty((0, 5)), *rows]).astype(dtype)


def region_targets(regions, boxes, labels, positive=0.5, background=(0.1, 0.5)):
    """What each region of a picture should become: the object that it overlaps most, or background.

    Parameters
    ----------
    regions : ndarray, shape (R, 4)
        xyxy in pixels.
    boxes : ndarray, shape (T, 4)
        The objects, xyxy in pixels.
    labels : ndarray of int, shape (T,)
        Their classes, from 1.
    positive : float, default 0.5
        A region belongs to an object if their IoU is at least this.
    background : (float, float), default (0.1, 0.5)
        A region is background if its largest IoU is from the first to below the second, and it is no object's. The paper leaves out regions
        below 0.1: those nearest to an object are the most instructive.

    Returns
    -------
    targets : ndarray of int64, shape (R,)
        The class, 0 for background, -1 for neither.
    objects : ndarray, shape (R, 4)
        The box of the object that each region overlaps most; the region itself where there is no
        object. In the dtype of the regions.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the labels are not integers, or the boxes not floating-point.

    References
    ----------
    Girshick, "Fast R-CNN", ICCV 2015, section 2.3. Slide ``C/59-fast-rcnn-training``.

    Examples
    --------
    >>> regions = np.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [9.0, 9.0, 12.0, 12.0]])
    >>> region_targets(regions, np.array([[0.0, 0.0, 4.0, 5.0]]), np.array([3]))[0]
    array([ 3,  0, -1])
    """
    if regions.ndim != 2 or regions.shape[1] != 4 or boxes.shape != (len(labels), 4):
        raise ValueError(
            f"region_targets: regions must be (R, 4), boxes (T, 4) and labels (T,) (regions: {regions.shape}, boxes: "
            f"{boxes.shape}, labels: {labels.shape})"
        )
    if len(labels) and labels.dtype.kind not in "iu":
        raise TypeError(f"region_targets: labels must be integers, got {labels.dtype.name}")
    if not len(boxes):
        return np.full(len(regions), -1 if background[0] > 0 else 0, np.int64), regions
    overlaps = box_iou(regions, boxes.astype(regions.dtype))
    best = overlaps.argmax(axis=1)
    most = overlaps.max(axis=1)
    nothing = (most >= background[0]) & (most < background[1])
    targets = np.where(most >= positive, labels[best], np.where(nothing, 0, -1))
    return targets.astype(np.int64), boxes[best].astype(regions.dtype)


def region_detections(boxes, scores, height, width, score_threshold=-np.inf, nms_threshold=0.3, limit=100):
    """From a box and a score of every region for every class to the answer for a picture.

    Boxes that are narrower or lower than a hundredth of a pixel are left out, such as those outside the picture.

    Parameters
    ----------
    boxes : ndarray, shape (R, K, 4), or (R, 1, 4) for one box for all classes
        xyxy in pixels.
    scores : ndarray, shape (R, K)
        Of the K classes without background.
    height, width : int
        Of the picture; boxes are clipped to it.
    score_threshold : float
        Only boxes with a larger score are kept.
    nms_threshold : float, default 0.3
        See `vision.batched_nms`: the published value.
    limit : int, default 100
        At most so many boxes, the best.

    Returns
    -------
    dict
        ``boxes`` (n, 4), ``labels`` (n,) from 1, ``scores`` (n,), best first.

    Raises
    ------
    ValueError
        If the shapes do not fit, or ``limit`` is negative.

    Examples
    --------
    >>> boxes = np.array([[[0.0, 0.0, 4.0, 4.0]], [[0.0, 0.0, 4.0, 5.0]]])
    >>> region_detections(boxes, np.array([[0.1, 0.7], [0.2, 0.9]]), 8, 8, score_threshold=0.5)["scores"]
    array([0.9])
    """
    if (
        scores.ndim != 2
        or boxes.ndim != 3
        or boxes.shape not in {(*scores.shape, 4), (len(scores), 1, 4)}
        or limit < 0
    ):
        raise ValueError(
            f"region_detections: boxes must be (R, K, 4) or (R, 1, 4), scores (R, K) and limit at least 0, got {limit} "
            f"(boxes: {boxes.shape}, scores: {scores.shape})"
        )
    region, label = np.nonzero(scores > score_threshold)
    found = clip_boxes(np.broadcast_to(boxes, (*scores.shape, 4))[region, label], height, width)
    scores = scores[region, label]
    large = ((found[:, 2:] - found[:, :2]) >= SMALLEST).all(axis=1)
    found, label, scores = found[large], label[large], scores[large]
    kept = batched_nms(found, scores, label, nms_threshold)[:limit]
    return {"boxes": found[kept], "labels": label[kept] + 1, "scores": scores[kept]}
