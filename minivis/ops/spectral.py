"""Spectral norm: divide a weight by its largest singular value, which power iteration finds.

Not here: the layer that keeps the vector of the power iteration (nn/spectral.py), other norms (normalization.py).
"""

from minivis.autograd import Tensor
from minivis.backend import check_floating, namespace
from minivis.complaints import named
from minivis.ops.reduce import sum as sum_of
from minivis.precision import rounded, widened

__all__ = ["spectral_norm"]


def _check(weight, u):
    if weight.ndim < 2 or u.shape != weight.shape[:1]:
        raise ValueError("weight must be (O, ...) with two axes or more, and u (O,)")


@named
def spectral_norm(weight, u, iterations=1, eps=1e-12):
    """Divide a weight by its largest singular value, so that the layer enlarges no vector.

    .. math:: v \\leftarrow \\frac{W^T u}{\\lVert W^T u \\rVert}, \\quad u \\leftarrow \\frac{W v}{\\lVert W v \\rVert},
        \\qquad \\hat W = \\frac{W}{\\sigma}, \\quad \\sigma = u^T W v

    In the backward pass u and v are constants, but sigma depends on W, so that the gradient is orthogonal to W:

    .. math:: \\bar W = \\frac{1}{\\sigma} \\big(G - \\langle G, \\hat W \\rangle\\, u v^T\\big),
        \\quad G = \\bar{\\hat W}

    One iteration in every training step is enough: the weight changes little between two steps, and u is kept.

    Parameters
    ----------
    weight : ndarray or Tensor, shape (O, ...)
        Of a convolution (O, C, kh, kw): a matrix with a row for each output channel.
    u : ndarray or Tensor, shape (O,)
        The left vector so far; any vector that is not orthogonal to the first singular vector will do.
    iterations : int, default 1
        Steps of the power iteration. With 0, u stays as it is, up to its length, and v fits it; for evaluation.
    eps : float, default 1e-12
        Vectors shorter than this are divided by it.

    Returns
    -------
    weight : ndarray or Tensor
        The divided weight, in shape and dtype of ``weight``.
    u : ndarray, shape (O,)
        The new left vector, of length 1, for the next call.

    Raises
    ------
    ValueError
        If u does not fit the weight, or ``iterations`` is negative.
    TypeError
        If the weight or u is not floating-point.

    Notes
    -----
    Differentiable in the weight. A weight of zeros has no largest singular value to divide by: the result is NaN. For a convolution this bounds the matrix of the filters, not
    the convolution itself, whose norm can be larger by a factor up to sqrt(kh kw).

    References
    ----------
    Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, equations 8 and 12, algorithm 1;
    Zhang et al., "Self-attention generative adversarial networks", ICML 2019, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> weight, u = spectral_norm(np.array([[3.0, 0.0], [4.0, 5.0]]), np.array([1.0, 0.0]))  # sigma is 5 after one step
    >>> weight[0], u
    (array([0.6, 0. ]), array([0.6, 0.8]))
    """
    raw, u = (x.data if isinstance(x, Tensor) else x for x in (weight, u))
    check_floating("spectral_norm", raw, "weight")
    check_floating("spectral_norm", u, "u")
    _check(raw, u)
    if iterations < 0:
        raise ValueError(f"iterations must be at least 0, got {iterations}")
    matrix = widened(raw).reshape(raw.shape[0], -1)
    left = _unit(widened(u), eps)
    right = _unit(matrix.T @ left, eps)
    for i in range(iterations):
        right = _unit(matrix.T @ left, eps) if i else right
        left = _unit(matrix @ right, eps)
    wide = widened(weight)
    sigma = sum_of(wide * namespace(raw).outer(left, right).reshape(raw.shape))  # u^T W v
    return rounded(wide / sigma, raw.dtype), rounded(left, raw.dtype)


def _unit(vector, eps):
    """A vector divided by its length."""
    length = namespace(vector).sqrt((vector * vector).sum())
    return vector / length.clip(eps)
