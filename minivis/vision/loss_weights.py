"""U-Net's weights of the loss: pixels between two cells that nearly touch count most.

Not here: the loss (ops/loss.py), the network (models/unet.py).
"""

import math

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy

__all__ = ["border_weights"]


def border_weights(labels, w0=10.0, sigma=5.0, class_weights=None):
    """Weights of the pixels in U-Net's loss: large in narrow gaps between objects, so that objects stay apart.

    .. math:: w(x) = w_c(x) + w_0 \\exp\\left(-\\frac{(d_1(x) + d_2(x))^2}{2 \\sigma^2}\\right)

    The distances to the nearest and to the second nearest object are :math:`d_1` and :math:`d_2`, and :math:`w_c` is the
    weight of the pixel's class: ground or object.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        The number of the object that each pixel shows; 0 is the ground.
    w0 : float, default 10
        How much is added where two objects touch.
    sigma : float, default 5
        Width of the gaps that count, pixels.
    class_weights : (float, float), optional
        Weights of a pixel of the ground and of a pixel of an object. By default they make both classes count the same in
        this picture and are 1 on average: N / (2 n) for n of the N pixels, or 1 where only one class occurs.

    Returns
    -------
    ndarray, shape (H, W)
        float32.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If they are not (H, W) with pixels, one is negative, ``sigma`` is not positive, or weights are not two or negative.

    Notes
    -----
    Distances are Euclidean, from the centre of a pixel to the centre of the object's nearest pixel: 0 inside the object, 1
    beside it. A picture with fewer than two objects has no gap, and the weights are those of the classes.
    Computed on the CPU: weights belong to the targets, and are made once for each.

    References
    ----------
    Ronneberger et al. 2015, equation 2; the paper has w0 = 10 and sigma of about 5 pixels. Slide ``C/87-unet``.

    Examples
    --------
    >>> import numpy as np
    >>> border_weights(np.array([[1, 1, 0, 2, 2]]), class_weights=(1.0, 1.0)).round(3)
    array([[ 9.353, 10.231, 10.231, 10.231,  9.353]], dtype=float32)
    """
    labels = labels.data if isinstance(labels, Tensor) else labels
    xp = namespace(labels)
    labels = to_numpy(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"border_weights: labels must be integers, got {labels.dtype.name}")
    if labels.ndim != 2 or not labels.size:
        raise ValueError(f"border_weights: labels must be (H, W) with pixels (labels: {labels.shape})")
    if labels.min() < 0:
        raise ValueError(f"border_weights: labels must be 0 or more, got {labels.min()}")
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"border_weights: sigma must be above 0, got {sigma!r}")
    pair = np.array(_balance(labels) if class_weights is None else class_weights, np.float64)
    if pair.shape != (2,) or not (np.isfinite(pair).all() and pair.min() >= 0 and 0 <= w0 < math.inf):
        raise ValueError(
            f"border_weights: w0 and the two class_weights must be finite and not negative, got {w0!r} and {class_weights!r}"
        )
    ground, thing = pair
    weights = np.where(labels == 0, ground, thing)
    distances = _distances(labels)  # (n, H, W)
    if len(distances) > 1:
        d1, d2 = np.partition(distances, 1, axis=0)[:2]
        weights = weights + w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return xp.asarray(weights.astype(np.float32))


def _balance(labels):
    """Weights of ground and objects with which both count the same: N / (K n), K the number of classes that occur."""
    pixels = [np.count_nonzero(labels == 0), np.count_nonzero(labels)]
    classes = sum(n > 0 for n in pixels)
    return [labels.size / (classes * max(n, 1)) for n in pixels]


def _distances(labels):
    """The distance of every pixel to each object, (n, H, W)."""
    from scipy.ndimage import distance_transform_edt  # only here: importing minivis loads NumPy alone

    objects = np.unique(labels[labels > 0])
    found = [distance_transform_edt(labels != number) for number in objects]
    return np.stack(found) if found else np.empty((0, *labels.shape))
