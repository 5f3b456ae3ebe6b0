"""Fusing a batch norm into the convolution before it: two linear maps are one.

Not here: batch norm in training, whose statistics change with each batch (ops/normalization.py).
"""

from minivis import ops
from minivis.precision import rounded, widened

__all__ = ["fuse_conv_norm"]


def fuse_conv_norm(weight, running_mean, running_var, gamma, beta, eps=1e-5):
    """The weight and bias of one convolution that computes a convolution without bias and the batch norm after it.

    .. math:: W' = \\frac{\\gamma}{\\sqrt{\\sigma^2 + \\epsilon}}\\, W, \\qquad
              b' = \\beta - \\frac{\\gamma \\mu}{\\sqrt{\\sigma^2 + \\epsilon}}

    Parameters
    ----------
    weight : ndarray or Tensor, shape (F, C, k, k)
        The filters W.
    running_mean, running_var, gamma, beta : ndarray or Tensor, shape (F,)
        The norm's statistics, scale and shift.
    eps : float, default 1e-5
        The norm's.

    Returns
    -------
    weight : ndarray or Tensor, shape (F, C, k, k)
    bias : ndarray or Tensor, shape (F,)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    It holds in evaluation, where the statistics are fixed. It saves the norm's pass over the map.

    References
    ----------
    Ding et al., "RepVGG: making VGG-style ConvNets great again", CVPR 2021, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> weight, bias = fuse_conv_norm(np.ones((1, 1, 1, 1)), *np.array([[3.0], [4.0], [2.0], [5.0]]), eps=0)
    >>> weight.item(), bias.item()  # 2 (x - 3) / 2 + 5
    (1.0, 2.0)
    """
    statistics = (running_mean, running_var, gamma, beta)
    if weight.ndim < 2 or any(tuple(x.shape) != (weight.shape[0],) for x in statistics):
        raise ValueError(
            f"fuse_conv_norm: statistics, scale and shift must be (F,), one number for each filter (weight: "
            f"{tuple(weight.shape)}, {', '.join(str(tuple(x.shape)) for x in statistics)})"
        )
    mean, var, scale, shift = (widened(x) for x in statistics)
    factor = scale / ops.sqrt(var + eps)  # (F,)
    fused = widened(weight) * ops.reshape(factor, (-1,) + (1,) * (weight.ndim - 1))
    return rounded(fused, weight.dtype), rounded(shift - mean * factor, weight.dtype)
