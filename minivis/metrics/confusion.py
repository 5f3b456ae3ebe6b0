"""The confusion matrix, and the IoU of classes and the mean IoU of semantic segmentation, which follow from it.

Not here: metrics of single objects (detection.py, panoptic.py).
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["class_iou", "confusion_matrix", "mean_iou"]


def confusion_matrix(predictions, labels, num_classes, ignore_index=None):
    """Count how often each true class (row) is predicted as each class (column).

    Parameters
    ----------
    predictions, labels : numpy.ndarray, any shape, the same
        Classes of images (B,) or of pixels (B, H, W), integers in 0 to num_classes - 1.
    num_classes : int
        K.
    ignore_index : int, optional
        Label of pixels that do not count, often 255.

    Returns
    -------
    numpy.ndarray, shape (K, K)
        int64. The matrices of several batches can be added: ``total += confusion_matrix(...)``. The diagonal counts right
        predictions.

    Raises
    ------
    ValueError
        If the shapes differ or a class is out of range.
    TypeError
        If the classes are not integers.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    predictions, labels = to_numpy(predictions), to_numpy(labels)
    if predictions.shape != labels.shape:
        raise ValueError(
            f"confusion_matrix: predictions and labels must have one shape (predictions: {predictions.shape}, "
            f"labels: {labels.shape}); scores (B, K, H, W) become classes by .argmax(axis=1)"
        )
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.dtype.kind not in "iu":
            raise TypeError(f"confusion_matrix: {name} must be integers, got {values.dtype.name}")
    if ignore_index is not None:
        predictions, labels = predictions[labels != ignore_index], labels[labels != ignore_index]
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(
                f"confusion_matrix: {name} must lie in 0 to {num_classes - 1}, got {values.min()} to {values.max()}"
            )
    pairs = labels.ravel().astype(np.int64) * num_classes + predictions.ravel().astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_iou(confusion):
    r"""Intersection over union of each class, over all pixels of all images together.

    .. math:: \text{IoU}_k = \frac{n_{kk}}{\sum_j n_{kj} + \sum_i n_{ik} - n_{kk}}

    Parameters
    ----------
    confusion : numpy.ndarray, shape (K, K)
        The result of `confusion_matrix`.

    Returns
    -------
    numpy.ndarray, shape (K,)
        float64 from 0 to 1; -1 for a class that neither occurs nor was predicted.

    Raises
    ------
    ValueError
        If it is not a square matrix.

    Examples
    --------
    >>> class_iou(np.array([[3, 1], [0, 2]])).round(3)
    array([0.75 , 0.667])
    """
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"class_iou: confusion must be (K, K), got {confusion.shape}")
    right = confusion.diagonal()
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return np.where(union > 0, right / np.maximum(union, 1), -1.0)


def mean_iou(confusion):
    """Mean IoU: the mean of `class_iou` over classes, the usual metric of semantic segmentation.

    Parameters
    ----------
    confusion : numpy.ndarray, shape (K, K)
        The sum of `confusion_matrix` over all images. (The mean of the mIoU of single images is a different number.)

    Returns
    -------
    float
        From 0 to 1. Classes that neither occur nor were predicted are left out.

    Raises
    ------
    ValueError
        If nothing was counted.

    Notes
    -----
    Every class has the same weight, rare classes too. This is not so for pixel accuracy: a prediction of nothing but sky
    can have a pixel accuracy of 0.9 and a mean IoU of 0.01.

    References
    ----------
    Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015, section 5.

    Examples
    --------
    >>> round(mean_iou(np.array([[9, 0], [1, 0]])), 3)
    0.45
    """
    each = class_iou(confusion)
    if (each < 0).all():
        raise ValueError("mean_iou: nothing was counted, the matrix holds only zeros")
    return float(each[each >= 0].mean())
