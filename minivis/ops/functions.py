"""Functions of one element: exp, log, roots, sines, tanh, erf.

Not here: the activations of networks (activation.py).
"""

import math

from minivis import backend
from minivis.autograd import primitive
from minivis.backend import namespace
from minivis.ops.formulas import gaussian

__all__ = ["cos", "erf", "exp", "log", "rsqrt", "sin", "sqrt", "tanh"]


@primitive
def exp(x):
    """Exponential of every element.

    .. math:: y = e^x, \\qquad \\bar x = \\bar y\\, y

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> exp(np.array([0.0]))
    array([1.])
    """
    y = namespace(x).exp(x)
    return y, lambda g: (g * y,)


@primitive
def log(x):
    """Natural logarithm of every element.

    .. math:: y = \\ln x, \\qquad \\bar x = \\bar y / x

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape, positive values; 0 gives -inf, negative values NaN, as in NumPy.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> log(np.array([1.0]))
    array([0.])
    """
    return namespace(x).log(x), lambda g: (g / x,)


@primitive
def sqrt(x):
    """Square root of every element.

    .. math:: y = \\sqrt{x}, \\qquad \\bar x = \\bar y / (2 y)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape, values of at least 0. The derivative at 0 is infinite: add an epsilon first if 0 can occur.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> sqrt(np.array([4.0, 9.0]))
    array([2., 3.])
    """
    y = namespace(x).sqrt(x)
    return y, lambda g: (g / (2 * y),)


@primitive
def rsqrt(x):
    """Reciprocal square root of every element; normalisation layers multiply by it.

    .. math:: y = x^{-1/2}, \\qquad \\bar x = -\\tfrac12 \\bar y\\, y^3

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape, positive values.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> rsqrt(np.array([4.0]))
    array([0.5])
    """
    y = 1 / namespace(x).sqrt(x)
    return y, lambda g: (g * (-0.5 * y / x),)


@primitive
def sin(x):
    """Sine of every element, in radians.

    Parameters
    ----------
    x : ndarray or Tensor
        Angles in radians, any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> sin(np.array([0.0]))
    array([0.])
    """
    xp = namespace(x)
    return xp.sin(x), lambda g: (g * xp.cos(x),)


@primitive
def cos(x):
    """Cosine of every element, in radians.

    Parameters
    ----------
    x : ndarray or Tensor
        Angles in radians, any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> cos(np.array([0.0]))
    array([1.])
    """
    xp = namespace(x)
    return xp.cos(x), lambda g: (-g * xp.sin(x),)


@primitive
def tanh(x):
    """Hyperbolic tangent of every element.

    .. math:: y = \\tanh x, \\qquad \\bar x = \\bar y (1 - y^2) = \\bar y / \\cosh^2 x

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``, in (-1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.array([0.0]))
    array([0.])
    """
    xp = namespace(x)

    def vjp(g):
        e = xp.exp(-2 * xp.abs(x))
        return (g * (4 * e / (1 + e) ** 2),)  # 1 / cosh(x)^2; 1 - y^2 is inaccurate where y is nearly 1

    return xp.tanh(x), vjp


@primitive
def erf(x):
    """The error function of every element.

    .. math:: y = \\frac{2}{\\sqrt\\pi} \\int_0^x e^{-t^2} dt, \\qquad \\bar x = \\bar y \\frac{2}{\\sqrt\\pi} e^{-x^2}

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``, in (-1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> erf(np.array([0.0]))
    array([0.])
    """
    xp = namespace(x)
    return backend.erf(x), lambda g: (g * ((2 / math.sqrt(math.pi)) * gaussian(xp, x)),)
