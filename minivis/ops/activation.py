"""Activations: sigmoid, ReLU, SiLU, softplus, GELU.

Not here: softmax, which looks at a whole row (softmaxes.py).
"""

import math

from minivis.autograd import primitive
from minivis.backend import erfcx, namespace
from minivis.ops.formulas import LOGITS, gated, gaussian, sigmoids

__all__ = ["gelu", "relu", "sigmoid", "silu", "softplus"]


@primitive
def sigmoid(x):
    """Squash every element into (0, 1).

    .. math:: y = \\frac{1}{1 + e^{-x}}, \\qquad \\bar x = \\bar y\\, y (1 - y)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape; large values of either sign do not overflow.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Notes
    -----
    Computed as ``1 / (1 + exp(-x))`` or ``exp(x) / (1 + exp(x))``, whichever cannot overflow. Small values are
    accurate to the last digits. The derivative is at most 1/4, which is why gradients vanish in deep sigmoid networks.

    References
    ----------
    Slide ``C/19-vanishing-gradient``.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    y, rest = sigmoids(namespace(x), x)  # rest = 1 - y
    return y, lambda g: (g * y * rest,)


@primitive(dtypes="any")
def relu(x):
    """Keep what is positive, replace the rest by 0; the derivative at 0 is taken as 0.

    .. math:: y = \\max(x, 0)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    References
    ----------
    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    xp = namespace(x)
    return xp.maximum(x, 0), lambda g: (g * (x > 0),)


@primitive
def silu(x):
    """Multiply every element by its own sigmoid (also called swish).

    .. math:: y = x\\, \\sigma(x), \\qquad \\bar x = \\bar y\\, \\sigma(x) (1 + x (1 - \\sigma(x)))

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    References
    ----------
    Ramachandran et al., "Searching for activation functions", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> silu(np.array([0.0]))
    array([0.])
    """
    y, slope = gated(namespace(x), x, *LOGITS["silu"])
    return y, lambda g: (g * slope,)


@primitive
def softplus(x, beta=1.0, threshold=20.0):
    """A smooth ReLU.

    .. math:: y = \\tfrac1\\beta \\ln(1 + e^{\\beta x}), \\qquad \\bar x = \\bar y\\, \\sigma(\\beta x)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    beta : float, default 1
        Sharpness of the bend.
    threshold : float, default 20
        Where ``beta * x`` is above this, the result is ``x`` itself.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.array([0.0, 30.0])).round(3)
    array([ 0.693, 30.   ])
    """
    xp = namespace(x)
    z = beta * x
    linear = z > threshold
    y = xp.where(linear, x, (xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))) / beta)
    return y, lambda g: (xp.where(linear, g, g * sigmoids(xp, z)[0]),)


@primitive
def gelu(x, approximate="none"):
    """Multiply every element by the probability that a standard normal variable is smaller than it.

    .. math:: y = x\\, \\Phi(x) = \\tfrac{x}{2} \\left(1 + \\operatorname{erf}(x / \\sqrt 2)\\right)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    approximate : {"none", "tanh", "quick"}, default "none"
        "none": exact (ViT in PyTorch, Swin). "tanh": the tanh formula (the original JAX ViT). "quick":
        ``x * sigmoid(1.702 x)`` (CLIP).

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        For another ``approximate``.

    Notes
    -----
    Small values too, such as the one at -10, are accurate to the last digits, and so is the derivative. It is computed
    in the same pass and kept for backward.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016, section 2. Slide ``H/8-vit-equations``.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """
    check_approximate(approximate)
    xp = namespace(x)
    if approximate != "none":
        y, slope = gated(xp, x, *LOGITS[approximate])
        return y, lambda g: (g * slope,)
    v = xp.clip(x, -40, 40).astype("float64")  # beyond, the probability is 0 or 1
    bell = gaussian(xp, v, 0.5)  # exp(-x^2 / 2)
    tail = erfcx(xp.abs(v) / math.sqrt(2)) / 2 * bell  # 1 - Phi(|x|), accurate to the last digits
    probability = xp.where(x < 0, tail, 1 - tail)  # Phi(x)
    y = xp.maximum(x, -40) * probability
    slope = (probability + v * bell / math.sqrt(2 * math.pi)).astype(x.dtype)
    return y.astype(x.dtype), lambda g: (g * slope,)


def check_approximate(approximate):
    """Refuse an ``approximate`` that `gelu` does not have."""
    if approximate not in ("none", "tanh", "quick"):
        raise ValueError(f'gelu: approximate must be "none", "tanh" or "quick", got {approximate!r}')
