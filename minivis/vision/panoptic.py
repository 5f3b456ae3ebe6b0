"""From predictions of queries to labels of pixels: panoptic merges of DETR and of MaskFormer, semantic maps, COCO ids.

Not here: the models (models/), metrics (metrics/panoptic.py), pictures (viz/).
"""

import numpy as np

from minivis import ops
from minivis.backend import to_numpy
from minivis.complaints import named
from minivis.pairs import pair
from minivis.precision import in_float32, widened

__all__ = ["detr_panoptic", "id2rgb", "panoptic_inference", "rgb2id", "semantic_inference"]


def _confident(name, logits, masks, things, size, threshold):
    """The first step of both merges: masks in image size, classes and scores of the queries above the threshold."""
    if logits.ndim != 2 or masks.ndim != 3 or logits.shape[0] != masks.shape[0]:
        raise ValueError(
            f"{name}: logits must be (Q, K+1) and masks (Q, h, w), those of one image: output.logits[i] and "
            f"output.masks[i] (logits: {tuple(logits.shape)}, masks: {tuple(masks.shape)})"
        )
    logits = widened(to_numpy(logits))
    masks = widened(to_numpy(masks))
    things = np.asarray(things)
    if masks.dtype.kind != "f":
        raise TypeError(f"{name}: masks must be logits, floating-point, got {masks.dtype.name}")
    K = logits.shape[1] - 1
    if things.shape != (K,) or things.dtype != bool:
        raise ValueError(
            f"{name}: things must be (K,) boolean, one for each class, and the last of the K+1 = {K + 1} logits is no object "
            f"(things: {things.shape} {things.dtype.name})"
        )
    probabilities = ops.softmax(logits, axis=-1)
    labels, scores = probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    keep = (labels != K) & (scores > threshold)
    return _resized(masks[keep], size), labels[keep], scores[keep]


def _resized(masks, size):
    """Mask logits (Q, h, w) resized to the image."""
    if size is None or pair(size) == tuple(masks.shape[1:]):
        return masks
    return ops.squeeze(ops.interpolate(ops.expand_dims(masks, 1), size=size, mode="bilinear"), 1)


def _segment(number, label, things, score, area):
    """The description of one segment."""
    return {
        "id": int(number),
        "category_id": int(label),
        "isthing": bool(things[label]),
        "score": float(score),
        "area": int(area),
    }


@named
def detr_panoptic(logits, masks, things, size=None, threshold=0.85, min_area=4):
    """Assign each pixel to one segment, as DETR does: to the confident query with the largest mask logit.

    A query is confident if its best class is not "no object" and its score is above the threshold. Queries of the same
    stuff class form one segment, under the first of them. Segments of at most `min_area` pixels are removed and their
    pixels are assigned again among the remaining queries, until all segments are larger.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (Q, K+1)
        Class logits of one image; the last is no object.
    masks : ndarray or Tensor, shape (Q, h, w)
        Mask logits.
    things : array of bool, shape (K,)
        True for classes that are things (countable objects); the others are stuff.
    size : int or (int, int), optional
        Height and width of the result; the mask logits are resized to it (bilinear). Default: (h, w).
    threshold : float, default 0.85
        A score (softmax over the classes) must be larger than this.
    min_area : int, default 4
        Segments of this many pixels or fewer are removed.

    Returns
    -------
    ids : numpy.ndarray, shape (H, W)
        int32, the number of each pixel's segment. If no query is confident, all are 0; otherwise none is.
    segments : list of dict
        ``id`` (1, 2, ... in the order of the queries), ``category_id``, ``isthing``, ``score``, ``area`` in pixels.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If `masks` is not floating-point.

    Notes
    -----
    As in the published code, queries of one stuff class are fused only at first. The first removal also removes the later
    queries of the class, and then their pixels go to the remaining query with the largest mask logit. That is usually,
    but not always, the first query of the class.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, section 4.4 and appendix A. Slides
    ``A/68-detr-panoptic``, ``H/24-detr-panoptic-head``.

    Examples
    --------
    >>> logits = np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])  # a thing, stuff, no object
    >>> masks = np.array([[[3.0] * 5 + [-3.0] * 5], [[0.0] * 10], [[9.0] * 10]])
    >>> ids, segments = detr_panoptic(logits, masks, things=[True, False])
    >>> ids, [segment["category_id"] for segment in segments]
    (array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 2]], dtype=int32), [0, 1])
    """
    masks, labels, scores = _confident("detr_panoptic", logits, masks, things, size, threshold)
    first = np.arange(len(labels))  # of each query: the first one of its stuff class, or itself
    for label in np.unique(labels):
        if not things[label]:
            first[labels == label] = np.argmax(labels == label)
    while len(labels):
        winner = masks.argmax(axis=0)  # (H, W)
        areas = np.bincount(first[winner].ravel(), minlength=len(labels))
        large = areas > min_area
        if large.all():
            break
        masks, labels, scores = masks[large], labels[large], scores[large]
        first = np.arange(len(labels))
    if not len(labels):
        return np.zeros(masks.shape[1:], np.int32), []
    segments = [
        _segment(i + 1, label, things, score, area)
        for i, (label, score, area) in enumerate(zip(labels, scores, areas, strict=True))
    ]
    return (winner + 1).astype(np.int32), segments


@named
def panoptic_inference(logits, masks, things, size=None, threshold=0.8, overlap=0.8, inside=True):
    r"""Assign each pixel to at most one segment, as MaskFormer and Mask2Former do: by class score times mask probability.

    Pixel p goes to query :math:`\arg\max_q s_q\, \sigma(m_{qp})` among the queries whose best class is an object with a
    score :math:`s_q` above the threshold. A query is removed if the pixels it wins are less than the fraction `overlap`
    of its own mask (:math:`\sigma(m) \ge 1/2`), because then other queries hide most of it. The others keep the pixels
    they win inside their own mask. Queries of one stuff class are fused into one segment.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (Q, K+1)
        Class logits of one image; the last is no object.
    masks : ndarray or Tensor, shape (Q, h, w)
        Mask logits.
    things : array of bool, shape (K,)
        True for classes that are things (countable objects); the others are stuff.
    size : int or (int, int), optional
        Height and width of the result; the mask logits are resized to it (bilinear). Default: (h, w).
    threshold : float, default 0.8
        A score (softmax over the classes) must be larger than this.
    overlap : float, default 0.8
        Minimal fraction of its own mask that a query must win.
    inside : bool, default True
        Whether a query keeps only what it wins inside its own mask, as in the code of Mask2Former. With False it keeps all
        that it wins, as in the code of MaskFormer: then less of the image is void.

    Returns
    -------
    ids : numpy.ndarray, shape (H, W)
        int32, the number of each pixel's segment; 0 (void) where no query keeps the pixel.
    segments : list of dict
        ``id`` (1, 2, ... in the order of the queries), ``category_id``, ``isthing``, ``score`` (of fused stuff, the
        highest), ``area`` in pixels.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If `masks` is not floating-point.

    References
    ----------
    Cheng et al., "Per-pixel classification is not all you need for semantic segmentation" (MaskFormer), NeurIPS 2021,
    section 3.4; used in Mask2Former (CVPR 2022) too. Slide ``I/32-maskformer``.

    Examples
    --------
    >>> logits = np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    >>> masks = np.array([[[5.0, 5.0, -5.0, -5.0]], [[-5.0, -5.0, 5.0, -5.0]]])
    >>> ids, segments = panoptic_inference(logits, masks, things=[True, False])
    >>> ids
    array([[1, 1, 2, 0]], dtype=int32)
    """
    masks, labels, scores = _confident("panoptic_inference", logits, masks, things, size, threshold)
    ids = np.zeros(masks.shape[1:], np.int32)
    segments = []
    stuff = {}
    if not len(labels):
        return ids, segments
    own = masks >= 0  # sigmoid >= 1/2
    winner = (scores[:, None, None] * ops.sigmoid(masks)).argmax(axis=0)  # (H, W)
    for q, (label, score) in enumerate(zip(labels.tolist(), scores, strict=True)):
        won = winner == q
        kept = won & own[q] if inside else won
        area = kept.sum()
        if not area or not own[q].any() or won.sum() / own[q].sum() < overlap:
            continue
        if label in stuff:  # fuse with the segment of this class
            segment = stuff[label]
            segment["area"] += int(area)
            segment["score"] = max(segment["score"], float(score))
        else:
            segment = _segment(len(segments) + 1, label, things, score, area)
            segments.append(segment)
            if not segment["isthing"]:
                stuff[label] = segment
        ids[kept] = segment["id"]
    return ids, segments


@named
@in_float32
def semantic_inference(logits, masks, size=None):
    r"""Scores of each class at each pixel, summed over all queries, for semantic segmentation.

    .. math:: S_{kp} = \sum_q \text{softmax}(c_q)_k\, \sigma(m_{qp}), \qquad k = 1 \dots K

    Parameters
    ----------
    logits : ndarray or Tensor, shape (B, Q, K+1)
        Class logits; the last is no object, which is left out.
    masks : ndarray or Tensor, shape (B, Q, h, w)
        Mask logits.
    size : int or (int, int), optional
        Height and width of the result; the mask logits are resized to it (bilinear). Default: (h, w).

    Returns
    -------
    ndarray or Tensor, shape (B, K, H, W)
        Scores from 0 to Q. ``argmax`` over axis 1 is the semantic map, in which each pixel has exactly one label.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Differentiable in both. The scores of a pixel are not probabilities: they sum to more than 1 where queries overlap, and to
    less where no query is sure.

    References
    ----------
    Cheng et al., "Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021, section 3.4.
    Slide ``I/32-maskformer``.

    Examples
    --------
    >>> logits, masks = np.zeros((1, 1, 2)), np.zeros((1, 1, 1, 2))
    >>> semantic_inference(logits, masks)
    array([[[[0.25, 0.25]]]])
    """
    if logits.ndim != 3 or masks.ndim != 4 or tuple(logits.shape[:2]) != tuple(masks.shape[:2]):
        raise ValueError(
            f"semantic_inference: logits must be (B, Q, K+1) and masks (B, Q, h, w) "
            f"(logits: {tuple(logits.shape)}, masks: {tuple(masks.shape)})"
        )
    if size is not None:
        masks = ops.interpolate(masks, size=size, mode="bilinear")
    B, Q, H, W = masks.shape
    classes = ops.softmax(logits, axis=-1)[..., :-1]  # (B, Q, K)
    pixels = ops.reshape(ops.sigmoid(masks), (B, Q, H * W))
    scores = ops.matmul(ops.transpose(classes, (0, 2, 1)), pixels)  # (B, K, HW)
    return ops.reshape(scores, (B, classes.shape[2], H, W))


def rgb2id(image):
    """Segment numbers from the colours of a COCO panoptic PNG: R + 256 G + 65536 B.

    Parameters
    ----------
    image : ndarray, shape (..., 3)
        Integers 0 to 255, usually uint8; R, G, B last.

    Returns
    -------
    numpy.ndarray, shape (...)
        int32; 0 is void.

    Raises
    ------
    ValueError
        If the last axis does not have length 3, or a number is not in 0 to 255.
    TypeError
        If the image does not hold integers.

    Examples
    --------
    >>> rgb2id(np.array([[1, 1, 0]], np.uint8))
    array([257], dtype=int32)
    """
    image = np.asarray(image)
    if image.dtype.kind not in "iu":
        raise TypeError(f"rgb2id: image must be integers from 0 to 255, got {image.dtype.name}")
    if image.ndim < 1 or image.shape[-1] != 3:
        raise ValueError(f"rgb2id: image must be (..., 3), the colours last (image: {image.shape})")
    if image.size and (image.min() < 0 or image.max() > 255):
        raise ValueError(f"rgb2id: image must lie in 0 to 255, got {image.min()} to {image.max()}")
    return image.astype(np.int32) @ np.array([1, 256, 65536], np.int32)  # int32 first: 256 does not fit uint8


def id2rgb(ids):
    """Segment numbers as colours: the inverse of `rgb2id`.

    Parameters
    ----------
    ids : ndarray, shape (...)
        Integers from 0 to 256^3 - 1.

    Returns
    -------
    numpy.ndarray, shape (..., 3)
        uint8; R, G, B last.

    Raises
    ------
    ValueError
        If a number is negative or needs more than three bytes.
    TypeError
        If the numbers are not integers.

    Examples
    --------
    >>> id2rgb(np.array([257]))
    array([[1, 1, 0]], dtype=uint8)
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"id2rgb: ids must be integers, got {ids.dtype.name}")
    if ids.size and (ids.min() < 0 or ids.max() >= 256**3):
        raise ValueError(f"id2rgb: ids must lie in 0 to {256**3 - 1}, got {ids.min()} to {ids.max()}")
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
