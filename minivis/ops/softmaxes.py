"""Softmax and its logarithm.

Not here: the losses made of them (loss.py), masked softmax (attention.py).
"""

from minivis.autograd import primitive
from minivis.backend import namespace
from minivis.ops.formulas import log_sum_exp

__all__ = ["log_softmax", "softmax"]


@primitive
def softmax(x, axis=-1):
    """Turn scores into positive weights that sum to 1 along an axis.

    .. math:: p_i = \\frac{e^{x_i - m}}{\\sum_j e^{x_j - m}}, \\quad m = \\max_j x_j, \\qquad
              \\bar x_i = p_i \\Big(\\bar p_i - \\sum_j \\bar p_j p_j\\Big)

    Parameters
    ----------
    x : ndarray or Tensor
        Scores (logits), any shape.
    axis : int, default -1
        The axis along which the weights sum to 1.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``. An empty ``x`` gives an empty result.

    Raises
    ------
    ValueError
        If the axis is not there.

    Notes
    -----
    Subtracting the maximum changes nothing in the result and keeps every exponential at most 1. Memory kept for
    backward: the weights.

    References
    ----------
    Slides ``A/26-cross-attention``, ``A/33-classification-head``, ``C/92-attention-layer``, ``Z/32-self-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.array([0.0, 0.0, 1000.0]))
    array([0., 0., 1.])
    """
    xp = namespace(x)
    axis = checked_axis("softmax", x, axis)
    if not x.size:
        return x.copy(), lambda g: (g,)
    e = xp.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)

    def vjp(g):  # dL/dx_i = p_i (g_i - sum_j g_j p_j)
        return (p * (g - (g * p).sum(axis=axis, keepdims=True)),)

    return p, vjp


@primitive
def log_softmax(x, axis=-1):
    """Logarithm of softmax, computed without the logarithm of a weight that may be 0.

    .. math:: y_i = x_i - m - \\ln \\sum_j e^{x_j - m}, \\qquad \\bar x_i = \\bar y_i - p_i \\sum_j \\bar y_j

    Parameters
    ----------
    x : ndarray or Tensor
        Scores (logits), any shape.
    axis : int, default -1
        The axis along which the exponentials sum to 1.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``, values of at most 0.

    Raises
    ------
    ValueError
        If the axis is not there.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    xp = namespace(x)
    axis = checked_axis("log_softmax", x, axis)
    if not x.size:
        return x.copy(), lambda g: (g,)
    _, shifted, log_total, top, less = log_sum_exp(xp, x, axis)

    def vjp(g):
        total = g.sum(axis=axis, keepdims=True)
        return ((g - total * top) - total * less(),)  # g - total p, accurate where p is nearly 1

    return shifted - log_total, vjp


def checked_axis(name, x, axis):
    """Return the axis; refuse one that ``x`` does not have."""
    if type(axis) is bool or not hasattr(axis, "__index__") or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"{name}: axis {axis} does not fit an array with {x.ndim} axes (x: {tuple(x.shape)})"
        )
    return axis
