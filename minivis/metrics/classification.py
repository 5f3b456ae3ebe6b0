"""Accuracy of a classifier: the fraction of right predictions.

Not here: the confusion matrix (confusion.py).
"""

import numpy as np

__all__ = ["accuracy"]


def accuracy(scores, labels, k=1):
    r"""Top-k accuracy: the fraction of samples whose true class is among the `k` classes with the highest scores.

    .. math:: \frac{1}{B} \sum_{b=1}^{B} \big[\, y_b \in \text{top-}k(s_b) \,\big]

    Parameters
    ----------
    scores : numpy.ndarray, shape (B, K)
        Logits or probabilities; only their order counts.
    labels : numpy.ndarray, shape (B,)
        True classes, integers in 0 to K - 1.
    k : int, default 1
        Number of guesses for each sample.

    Returns
    -------
    float
        From 0 to 1: the number of right samples divided by B.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are no samples, a label is out of range, `k` is not in 1 to K, or a score is NaN.
    TypeError
        If the labels are not integers.

    Notes
    -----
    Of classes with equal scores, the one with the smaller number comes first, as with ``argmax``.

    References
    ----------
    Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015, section 4.1. The top-5 error is 1
    minus this accuracy with k = 5.

    Examples
    --------
    >>> scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    >>> accuracy(scores, np.array([1, 1])), accuracy(scores, np.array([1, 1]), k=2)
    (0.5, 1.0)
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"accuracy: scores must be (B, K) and labels (B,), got scores: {scores.shape}, labels: {labels.shape}"
        )
    B, K = scores.shape
    if B == 0:
        raise ValueError("accuracy: there are no samples: the share of right answers is not defined")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"accuracy: labels must be integers, got {labels.dtype.name}")
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(f"accuracy: labels must lie in 0 to {K - 1}, got {labels.min()} to {labels.max()}")
    if not 1 <= k <= K:
        raise ValueError(f"accuracy: k must lie in 1 to {K}, got {k}")
    if np.isnan(scores).any():
        raise ValueError("accuracy: scores hold NaN")
    guesses = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]  # (B, k)
    return float((guesses == labels[:, None]).any(axis=1).mean())
