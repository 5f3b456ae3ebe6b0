"""The loss of linear support vector machines: each class against the rest, with a margin.

Not here: the hinge loss of adversarial training (adversarial.py), the detectors that need this one (models/rcnn.py).
"""

import numpy as np

from minivis import ops
from minivis.backend import to_numpy
from minivis.complaints import named
from minivis.precision import widened

__all__ = ["svm_loss"]


@named
def svm_loss(scores, signs):
    """The hinge loss of one support vector machine for each class: members should score above 1, others below -1.

    .. math:: L = \\frac1N \\sum_i \\sum_k \\lvert y_{ik} \\rvert \\max(0,\\, 1 - y_{ik} s_{ik}), \\qquad y_{ik} \\in \\{-1, 0, 1\\}

    With a penalty on the length of the weights, such as an optimiser's weight decay, this is a linear SVM. What is beyond
    its margin adds nothing, so the examples near the border decide.

    Parameters
    ----------
    scores : ndarray or Tensor, shape (N, K)
        s: of N examples for K classes.
    signs : ndarray, shape (N, K)
        y: 1 for a member of the class, -1 for any other example, 0 for one that this class leaves out.

    Returns
    -------
    ndarray or Tensor, shape ()
        At least 0.

    Raises
    ------
    ValueError
        If the shapes differ, there is no example, or a sign is another number.
    TypeError
        If scores are not floating-point.

    References
    ----------
    Cortes and Vapnik, "Support-vector networks", Machine Learning 1995. Girshick et al., "Rich feature hierarchies for
    accurate object detection and semantic segmentation", CVPR 2014, section 2.3. Slides ``C/45-rcnn``,
    ``C/51-rcnn-algorithm``.

    Examples
    --------
    >>> float(svm_loss(np.array([[2.0, 0.5], [-3.0, 0.5]]), np.array([[1, 1], [-1, -1]])))  # (0 + 0.5 + 0 + 1.5) / 2
    1.0
    """
    if scores.dtype.kind != "f":
        raise TypeError(f"scores must be floating-point, got {scores.dtype.name}")
    if scores.ndim != 2 or scores.shape != signs.shape or not len(scores):
        raise ValueError("scores and signs must be (N, K), with at least one example")
    if not np.isin(to_numpy(signs), (-1, 0, 1)).all():
        raise ValueError("signs must be -1, 0 or 1")
    wide = widened(scores)
    signs = signs.astype(wide.dtype)
    loss = ops.sum(abs(signs) * ops.relu(1 - signs * wide)) / len(scores)
    return loss.astype(scores.dtype)
