"""The loss of Mask R-CNN's masks: the true class of a region alone has to paint its mask.

Not here: the targets (vision/region_masks.py), masks of a whole image (masks.py).
"""

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import is_array, namespace, to_numpy
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.ops.index import check_range
from minivis.precision import rounded, widened

__all__ = ["mask_loss"]


@named
def mask_loss(logits, labels, targets):
    """Binary cross-entropy of each region's mask, on the channel of its true class; the other classes do not compete.

    .. math:: L = \\frac{1}{R m^2} \\sum_{r, i, j} \\mathrm{BCE}\\big(\\sigma(z_{r, c_r, i, j}),\\, t_{r, i, j}\\big)

    Parameters
    ----------
    logits : ndarray or Tensor, shape (R, K, m, m)
        A mask for each region and class.
    labels : ndarray of int, shape (R,)
        The true class c of each region, from 0 to K - 1.
    targets : ndarray, shape (R, m, m)
        0 and 1, True and False, or shares of a cell; see `mask_targets`.

    Returns
    -------
    ndarray or Tensor, shape ()
        Nats. Without regions it is 0, and so is its gradient.

    Raises
    ------
    ValueError
        If the shapes do not fit, masks have no cells, or targets are not from 0 to 1.
    IndexError
        If a label is out of range.
    TypeError
        If ``logits`` is not floating-point.

    Notes
    -----
    Differentiable in ``logits``. The regions are those with an object; background has no mask to paint. The class is
    decided by another head, so no softmax over classes is needed here.

    References
    ----------
    He et al., "Mask R-CNN", ICCV 2017, section 3: "the loss is only defined on the k-th mask". Slide ``C/89-mask-rcnn``.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.zeros((1, 2, 1, 2))
    >>> float(mask_loss(logits, np.array([1]), np.array([[[True, False]]])))  # p = 1/2: ln 2
    0.6931471805599453
    """
    if logits.ndim != 4 or labels.shape != logits.shape[:1]:
        raise ValueError("logits must be (R, K, m, m) and labels (R,)")
    if tuple(targets.shape) != (logits.shape[0], *logits.shape[2:]) or not all(logits.shape[1:]):
        raise ValueError("targets must be (R, m, m), with cells, as the logits")
    if logits.dtype.kind != "f":
        raise TypeError(f"logits must be floating-point, got {logits.dtype.name}")
    (R, K) = logits.shape[:2]
    labels = labels if is_array(labels) else labels.data
    targets = targets.data if isinstance(targets, Tensor) else targets
    check_range("mask_loss", "labels", labels, K, "class", low=0)
    if not R:
        return ops.sum(logits)
    if targets.dtype != bool and may_read(targets) and not to_numpy((targets >= 0) & (targets <= 1)).all():
        raise ValueError("targets must be from 0 to 1")
    z = widened(logits)[(namespace(labels).arange(R), labels)]  # (R, m, m): the true class of each
    return rounded(ops.binary_cross_entropy_with_logits(z, targets.astype(z.dtype)), logits.dtype)
