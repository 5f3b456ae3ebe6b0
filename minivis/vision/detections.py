"""From the predictions of DETR's queries to a list of detections, without non-maximum suppression.

Not here: panoptic results (panoptic.py), non-maximum suppression (suppression.py), metrics (metrics/).
"""

from minivis import ops
from minivis.backend import to_numpy
from minivis.precision import rounded, widened

__all__ = ["detr_detections", "rt_detr_detections"]


def detr_detections(logits, boxes, threshold=0.0):
    """Make a list of detections from the queries of one image: the most probable class of each, except "no object".

    Parameters
    ----------
    logits : ndarray or Tensor, shape (Q, K + 1)
        Class scores of one image; the last is "no object".
    boxes : ndarray or Tensor, shape (Q, 4)
        Boxes in any format; they are returned unchanged.
    threshold : float, default 0
        Detections with a smaller probability are left out. Use 0 for average precision and about 0.7 for pictures.

    Returns
    -------
    dict
        ``labels (n,)`` int64, ``scores (n,)`` and ``boxes (n, 4)``, in order of decreasing score; arrays on the CPU.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, section 3.2. Slides ``A/52-detr-idea``,
    ``A/59-no-object``, ``H/14-detr-idea``.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[0.0, 0.0, 9.0], [0.0, 3.0, 0.0]])  # the first query: no object
    >>> found = detr_detections(logits, np.array([[0.5, 0.5, 1, 1], [0.2, 0.2, 0.1, 0.1]]), threshold=0.5)
    >>> found["labels"], found["scores"].round(2), found["boxes"]
    (array([1]), array([0.91]), array([[0.2, 0.2, 0.1, 0.1]]))
    """
    if logits.ndim != 2 or boxes.shape != (logits.shape[0], 4):
        raise ValueError(
            f"detr_detections: logits must be (Q, K + 1) and boxes (Q, 4), those of one image: output.logits[i] and "
            f"output.boxes[i] (logits: {tuple(logits.shape)}, boxes: {tuple(boxes.shape)})"
        )
    probabilities = ops.softmax(widened(to_numpy(logits)), axis=-1)[:, :-1]
    boxes = to_numpy(boxes)
    scores, labels = probabilities.max(axis=-1), probabilities.argmax(axis=-1)
    order = (-scores).argsort(kind="stable")
    order = order[scores[order] >= threshold]
    return {"labels": labels[order], "scores": rounded(scores[order], logits.dtype), "boxes": boxes[order]}


def rt_detr_detections(logits, boxes, threshold=0.0):
    """Make a list of detections from the queries of one image whose classes have independent scores.

    .. math:: s_{q,k} = \\sigma(z_{q,k})

    The Q highest of the Q K scores are taken, so a query can be found with two classes, and another with none.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (Q, K)
        Class scores of one image, without "no object".
    boxes : ndarray or Tensor, shape (Q, 4)
        Boxes in any format; they are returned unchanged.
    threshold : float, default 0
        Detections whose score is not larger are left out. Use 0 for average precision and about 0.5 for pictures.

    Returns
    -------
    dict
        ``labels (n,)`` int64, ``scores (n,)`` and ``boxes (n, 4)``, in order of decreasing score; arrays on the CPU.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Zhao et al., "DETRs beat YOLOs on real-time object detection", CVPR 2024; Zhu et al., "Deformable DETR", ICLR 2021.
    Slide ``A/69-rt-detr-fires``.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[3.0, 2.0], [-4.0, -3.0]])  # the first query has both classes
    >>> found = rt_detr_detections(logits, np.array([[0.5, 0.5, 1, 1], [0.2, 0.2, 0.1, 0.1]]), threshold=0.5)
    >>> found["labels"], found["scores"].round(2)
    (array([0, 1]), array([0.95, 0.88]))
    """
    if logits.ndim != 2 or boxes.shape != (logits.shape[0], 4):
        raise ValueError(
            f"rt_detr_detections: logits must be (Q, K) and boxes (Q, 4), those of one image: output.logits[i] and "
            f"output.boxes[i] (logits: {tuple(logits.shape)}, boxes: {tuple(boxes.shape)})"
        )
    Q, K = logits.shape
    scores = ops.sigmoid(widened(to_numpy(logits))).reshape(-1)
    order = (-scores).argsort(kind="stable")[:Q]
    order = order[scores[order] > threshold]
    return {
        "labels": order % K,
        "scores": rounded(scores[order], logits.dtype),
        "boxes": to_numpy(boxes)[order // K],
    }
