"""Losses that are one op: cross-entropy, binary cross-entropy, L1, smooth L1, mean squared error.

Not here: losses made of several steps, such as set prediction (losses/).
"""

import math

from minivis.autograd import primitive
from minivis.backend import meet, namespace, to_numpy
from minivis.debugging import may_read
from minivis.ops.formulas import log_sum_exp, sigmoids

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "l1_loss", "mse_loss", "smooth_l1_loss"]


def _reduce(name, loss, reduction):
    """Reduce elementwise losses; returns the result and the factor that the cotangent gets."""
    if reduction == "none":
        return loss, 1
    if reduction == "sum":
        return loss.sum(), 1
    if reduction != "mean":
        raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", got {reduction!r}')
    if not loss.size:
        raise ValueError(f"{name}: the mean over an empty batch is not defined (shape {tuple(loss.shape)})")
    return loss.mean(), 1 / loss.size


def _pair(name, prediction, target):
    """Prediction and target, checked to have the same shape. An integer target becomes floating-point."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"{name}: prediction and target must have one shape (prediction: {tuple(prediction.shape)}, "
            f"target: {tuple(target.shape)})"
        )
    return meet(prediction, target)


@primitive
def cross_entropy(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The negative log-probability that the prediction gives to the true class, in nats.

    .. math:: \\ell_b = -w_{t_b} \\ln p_{b, t_b}, \\quad p = \\mathrm{softmax}(z), \\qquad
              \\bar z_b = w_{t_b} (p_b - \\mathrm{onehot}(t_b))

    Parameters
    ----------
    logits : ndarray or Tensor, shape (B, K) or (B, K, ...)
        Scores of K classes.
    target : integer ndarray, shape (B,) or (B, ...)
        The true class, 0 to K-1, or ``ignore_index``.
    weight : ndarray, shape (K,), optional
        Weight of each class. The mean then divides by the sum of the weights of the targets, as torch's does.
    ignore_index : int, default -100
        Targets with this value are ignored. On the CPU their logits may be NaN; on a GPU they must be finite.
    reduction : {"mean", "sum", "none"}, default "mean"
        What to do with the losses of the batch.
    label_smoothing : float, default 0
        Share of the target spread evenly over all classes, 0 to 1.

    Returns
    -------
    ndarray or Tensor, shape () or that of target
        Nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, ``label_smoothing`` is not between 0 and 1, or the mean is not defined: the batch is
        empty, every target is ``ignore_index``, or the weights sum to 0.
    IndexError
        If a target is out of range. On a GPU the check would mean waiting: there the loss is NaN, and the error comes
        only inside `minivis.debug`.
    TypeError
        If targets are not integers.

    Notes
    -----
    Differentiable in ``logits``. Computed from log-softmax, never from the logarithm of a probability.

    Examples
    --------
    >>> import numpy as np
    >>> cross_entropy(np.zeros((2, 10)), np.array([3, 7])).round(4)  # a guess among ten: ln 10
    np.float64(2.3026)
    """
    xp = namespace(logits, target, weight)
    _check_cross_entropy(logits, target, weight, label_smoothing)
    classes = logits.shape[1]
    label, counts = _labels(xp, target, classes, ignore_index, logits.dtype)  # (B, 1, ...), (B, ...)
    if may_read(counts) and not bool(counts.all()):  # ignored logits may be NaN, and 0 times NaN is NaN
        logits = xp.where((counts != 0)[:, None], logits, 0).astype(logits.dtype, copy=False)
    _, shifted, log_total, top, less = log_sum_exp(xp, logits, 1)
    w = xp.ones(classes, logits.dtype) if weight is None else weight.astype(logits.dtype, copy=False)
    w = w.reshape(1, classes, *[1] * (logits.ndim - 2))
    w_label = xp.take(w.reshape(-1), label[:, 0]) * counts  # (B, ...)
    smooth = label_smoothing / classes
    loss = -(1 - label_smoothing) * w_label * (xp.take_along_axis(shifted, label, axis=1) - log_total)[:, 0]
    if label_smoothing:
        loss = loss - smooth * (w * (shifted - log_total)).sum(axis=1) * counts
    if reduction == "mean":
        out, factor = _weighted_mean(loss, w_label, counts, ignore_index)
    else:
        out, factor = _reduce("cross_entropy", loss, reduction)

    def vjp(g):
        # the target distribution q has 1 - s at the label and s / K everywhere; d loss / dz = p sum(w q) - w q
        wq = smooth * w * counts[:, None] if label_smoothing else xp.zeros(logits.shape, logits.dtype)
        wq = xp.broadcast_to(wq, logits.shape).copy()
        at_label = xp.take_along_axis(wq, label, axis=1) + (1 - label_smoothing) * w_label[:, None]
        xp.put_along_axis(wq, label, at_label.astype(logits.dtype), axis=1)
        total = wq.sum(axis=1, keepdims=True)
        slope = total * less() + (total * top - wq)  # total p - wq, accurate where p is nearly 1
        g = (g * factor).astype(logits.dtype)
        g = g[:, None] if g.ndim else g
        return ((slope * g).astype(logits.dtype, copy=False),)

    return out, vjp


def _check_cross_entropy(logits, target, weight, label_smoothing):
    if logits.ndim < 2 or tuple(target.shape) != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"cross_entropy: logits must be (B, K, ...) and target (B, ...) (logits: {tuple(logits.shape)}, "
            f"target: {tuple(target.shape)})"
        )
    if weight is not None and tuple(weight.shape) != logits.shape[1:2]:
        raise ValueError(
            f"cross_entropy: weight must be (K,) = ({logits.shape[1]},) (weight: {tuple(weight.shape)})"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in 0 to 1, got {label_smoothing}")


def _weighted_mean(loss, w_label, counts, ignore_index):
    """The mean of losses, divided by the sum of the targets' weights as in torch, and the factor for the cotangent."""
    if not loss.size:
        raise ValueError(
            f"cross_entropy: the mean over an empty batch is not defined (target: {tuple(loss.shape)})"
        )
    total = w_label.sum()
    if may_read(total) and not float(total) > 0:
        why = (
            "the weights of the targets sum to 0"
            if bool(counts.any())
            else f"every target is {ignore_index=}"
        )
        raise ValueError(f"cross_entropy: {why}, the mean is not defined")
    return loss.sum() / total, 1 / total


def _labels(xp, target, classes, ignore_index, dtype):
    """The labels with an axis for classes, and for each a factor: 1, or 0 if it is ignored.

    Labels outside 0..K-1 are refused on the CPU. A GPU would silently wrap them around, and checking would mean waiting
    for it: there the factor of such a label is NaN.
    """
    if target.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: target must be integers (class numbers), got {target.dtype.name}")
    counted = target != ignore_index
    known = (target >= 0) & (target < classes)
    counts = counted.astype(dtype)
    lost = counted & ~known
    if not may_read(target):
        counts[lost] = math.nan
    elif bool(lost.any()):
        raise IndexError(
            f"cross_entropy: target {to_numpy(target[lost])[0]} is out of range for K={classes} classes, 0 to {classes - 1} "
            f"(target: {tuple(target.shape)})"
        )
    return xp.where(known, target, 0)[:, None], counts


@primitive
def binary_cross_entropy_with_logits(logits, target, weight=None, reduction="mean", pos_weight=None):
    """Cross-entropy of independent yes-or-no questions, from logits, in nats.

    .. math:: \\ell = w \\big[ (1 - t) \\ln(1 + e^z) + w_+ t \\ln(1 + e^{-z}) \\big]

    Parameters
    ----------
    logits : ndarray or Tensor
        Any shape.
    target : ndarray
        Probabilities from 0 to 1, shape of ``logits``; boolean or float.
    weight : ndarray or float, optional
        Weight of each element, broadcasts.
    reduction : {"mean", "sum", "none"}, default "mean"
        What to do with the losses.
    pos_weight : ndarray or float, optional
        Weight of the positive answer, broadcasts.

    Returns
    -------
    ndarray or Tensor
        Nats.

    Raises
    ------
    ValueError
        If the shapes differ, or there is nothing to take the mean of.

    Notes
    -----
    Differentiable in ``logits`` and ``target``. ``ln(1 + e^-z)`` is computed as ``max(-z, 0) + ln(1 + e^-|z|)``, which
    cannot overflow.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 1.0])).round(4)
    np.float64(0.3466)
    """
    name = "binary_cross_entropy_with_logits"
    xp = namespace(logits, target, weight, pos_weight)
    logits, target = _pair(name, logits, target)
    t = target.astype(logits.dtype, copy=False)
    no = 1 - t
    yes = t if pos_weight is None else pos_weight * t
    if weight is not None:
        no, yes = weight * no, weight * yes
    near = xp.log1p(xp.exp(-xp.abs(logits)))
    # ln(1 + e^z), ln(1 + e^-z)
    of_no = near + xp.clip(logits, 0, None)
    of_yes = near - xp.clip(logits, None, 0)
    out, factor = _reduce(name, (no * of_no + yes * of_yes).astype(logits.dtype, copy=False), reduction)

    def vjp(g):
        def g_target():
            slope = (1 if pos_weight is None else pos_weight) * of_yes - of_no
            return (g * factor * (1 if weight is None else weight) * slope).astype(target.dtype, copy=False)

        p, q = sigmoids(xp, logits)
        return (g * factor * (no * p - yes * q)).astype(logits.dtype, copy=False), g_target

    return out, vjp


@primitive(dtypes="numbers")
def l1_loss(prediction, target, reduction="mean"):
    """Mean absolute difference.

    .. math:: \\ell = |x - t|

    Parameters
    ----------
    prediction, target : ndarray or Tensor
        One shape.
    reduction : {"mean", "sum", "none"}, default "mean"
        What to do with the losses.

    Returns
    -------
    ndarray or Tensor
        The unit of the prediction.

    Raises
    ------
    ValueError
        If the shapes differ, or there is nothing to take the mean of.

    Examples
    --------
    >>> import numpy as np
    >>> float(l1_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    1.5
    """
    xp = namespace(prediction, target)
    prediction, target = _pair("l1_loss", prediction, target)
    difference = prediction - target
    out, factor = _reduce("l1_loss", xp.abs(difference), reduction)
    return out, lambda g: _both(g * factor * xp.sign(difference), prediction, target)


@primitive(dtypes="numbers")
def smooth_l1_loss(prediction, target, reduction="mean", beta=1.0):
    """Squared near 0, absolute beyond: the gradient of an outlier stays bounded.

    .. math:: \\ell = \\begin{cases} d^2 / (2\\beta) & |d| < \\beta \\\\ |d| - \\beta/2 & \\text{else} \\end{cases}

    Parameters
    ----------
    prediction, target : ndarray or Tensor
        One shape.
    reduction : {"mean", "sum", "none"}, default "mean"
        What to do with the losses.
    beta : float, default 1
        Where the two pieces meet; 0 is the L1 loss. Region proposal networks use 1/9.

    Returns
    -------
    ndarray or Tensor
        The losses.

    Raises
    ------
    ValueError
        If the shapes differ, ``beta`` is negative, or there is nothing to take the mean of.

    References
    ----------
    Girshick, "Fast R-CNN", ICCV 2015, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> float(smooth_l1_loss(np.array([0.5, 3.0]), np.array([0.0, 0.0]), reduction="sum"))
    2.625
    """
    xp = namespace(prediction, target)
    prediction, target = _pair("smooth_l1_loss", prediction, target)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta}")
    difference = prediction - target
    distance = xp.abs(difference)
    near = distance < beta
    loss = xp.where(near, difference * difference * (0.5 / (beta or 1.0)), distance - 0.5 * beta)
    slope = xp.where(near, difference / (beta or 1.0), xp.sign(difference))
    out, factor = _reduce("smooth_l1_loss", loss, reduction)
    return out, lambda g: _both(g * factor * slope, prediction, target)


@primitive(dtypes="numbers")
def mse_loss(prediction, target, reduction="mean"):
    """Mean squared difference.

    .. math:: \\ell = (x - t)^2

    Parameters
    ----------
    prediction, target : ndarray or Tensor
        One shape.
    reduction : {"mean", "sum", "none"}, default "mean"
        What to do with the losses.

    Returns
    -------
    ndarray or Tensor
        The unit of the prediction, squared.

    Raises
    ------
    ValueError
        If the shapes differ, or there is nothing to take the mean of.

    Examples
    --------
    >>> import numpy as np
    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    2.5
    """
    namespace(prediction, target)
    prediction, target = _pair("mse_loss", prediction, target)
    difference = prediction - target
    out, factor = _reduce("mse_loss", difference * difference, reduction)
    return out, lambda g: _both(g * (2 * factor) * difference, prediction, target)


def _both(g, prediction, target):
    """The cotangents of a prediction and of its target, each in its own dtype."""
    return g.astype(prediction.dtype, copy=False), -g.astype(target.dtype)
