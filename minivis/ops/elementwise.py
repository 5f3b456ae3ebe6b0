"""Elementwise ops: arithmetic with broadcasting, exp and its relatives, the activations.

Not here: anything that looks at more than one element at a time (reduce.py, softmax.py).
"""

import math

import numpy as np

from minivis import backend, kernels
from minivis.autograd import primitive, unbroadcast
from minivis.backend import as_array, is_array, namespace

__all__ = [
    "abs", "add", "clip", "cos", "div", "erf", "exp", "gelu", "log", "maximum", "minimum", "mul", "neg", "pow", "relu",
    "rsqrt", "sigmoid", "silu", "sin", "softplus", "sqrt", "sub", "tanh", "where",
]  # fmt: skip


def _operands(*operands):
    """Make operands meet as arrays and plain numbers do, so that a number never changes an array's dtype.

    A NumPy float64 scalar would turn a float32 array into float64; as a Python number it follows the array.
    """
    if all(type(x) is np.ndarray for x in operands):
        return operands
    like = next((x for x in operands if is_array(x)), None)
    operands = [x.item() if isinstance(x, np.generic) else x for x in operands]
    return [x if like is not None and isinstance(x, (int, float)) else as_array(x, like) for x in operands]


@primitive
def add(x, y):
    """Add two arrays element by element, with broadcasting.

    .. math:: z = x + y

    Parameters
    ----------
    x, y : ndarray, Tensor or number
        Operands whose shapes broadcast.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape; dtype of the arrays (a number follows the array).

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> add(np.array([1.0, 2.0]), 10)
    array([11., 12.])
    """
    x, y = _operands(x, y)
    namespace(x, y)
    return x + y, lambda g: (unbroadcast(g, x), unbroadcast(g, y))


@primitive
def sub(x, y):
    """Subtract ``y`` from ``x`` element by element, with broadcasting.

    .. math:: z = x - y

    Parameters
    ----------
    x, y : ndarray, Tensor or number
        Operands whose shapes broadcast.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> sub(np.array([1.0, 2.0]), 10)
    array([-9., -8.])
    """
    x, y = _operands(x, y)
    namespace(x, y)
    return x - y, lambda g: (unbroadcast(g, x), unbroadcast(-g, y))


@primitive
def mul(x, y):
    """Multiply two arrays element by element, with broadcasting.

    .. math:: z = x y, \\qquad \\bar x = \\bar z\\, y, \\quad \\bar y = \\bar z\\, x

    Parameters
    ----------
    x, y : ndarray, Tensor or number
        Operands whose shapes broadcast.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> mul(np.array([1.0, 2.0]), np.array([[2.0], [3.0]]))
    array([[2., 4.],
           [3., 6.]])
    """
    x, y = _operands(x, y)
    namespace(x, y)
    return x * y, lambda g: (
        unbroadcast(g * y, x) if is_array(x) else None,
        unbroadcast(g * x, y) if is_array(y) else None,
    )


@primitive
def div(x, y):
    """Divide ``x`` by ``y`` element by element, with broadcasting.

    .. math:: z = x / y, \\qquad \\bar x = \\bar z / y, \\quad \\bar y = -\\bar z\\, z / y

    Parameters
    ----------
    x, y : ndarray, Tensor or number
        Operands whose shapes broadcast.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> div(np.array([1.0, 3.0]), 2)
    array([0.5, 1.5])
    """
    x, y = _operands(x, y)
    namespace(x, y)
    z = x / y
    return z, lambda g: (
        unbroadcast(g / y, x) if is_array(x) else None,
        unbroadcast(-g * z / y, y) if is_array(y) else None,
    )


@primitive
def pow(x, exponent):
    """Raise ``x`` to a power, element by element.

    .. math:: z = x^p, \\qquad \\bar x = \\bar z\\, p\\, x^{p-1}, \\quad \\bar p = \\bar z\\, x^p \\ln x

    Parameters
    ----------
    x : ndarray, Tensor or number
        The base; positive where the exponent is an array that needs a gradient.
    exponent : number, ndarray or Tensor
        The power.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> pow(np.array([1.0, 2.0]), 3)
    array([1., 8.])
    """
    x, exponent = _operands(x, exponent)
    xp = namespace(x, exponent)
    z = x**exponent

    def vjp(g):
        # where p is 0 the slope is 0, also at x = 0, where x^(p-1) is infinite
        if not is_array(exponent) and exponent == 0:
            slope = xp.zeros_like(x)
        else:
            slope = exponent * x ** (exponent - 1)
        g_x = unbroadcast(g * slope, x)
        if not is_array(exponent):
            return (g_x,)
        safe = xp.where(x > 0, x, 1) if is_array(x) else x  # at x = 0 the limit of x^p ln x is 0
        return g_x, unbroadcast(g * z * (xp.log(safe) if is_array(safe) else math.log(safe)), exponent)

    return z, vjp


@primitive
def neg(x):
    """Change the sign of every element.

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
    >>> neg(np.array([1.0, -2.0]))
    array([-1.,  2.])
    """
    namespace(x)
    return -x, lambda g: (-g,)


@primitive
def abs(x):
    """Take the absolute value of every element; the derivative at 0 is taken as 0.

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
    >>> abs(np.array([1.0, -2.0]))
    array([1., 2.])
    """
    xp = namespace(x)
    return xp.abs(x), lambda g: (g * xp.sign(x),)


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
        Any shape, values of at least 0. The slope at 0 is infinite: add an epsilon first where 0 can occur.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> sqrt(np.array([4.0, 9.0]))
    array([2., 3.])
    """
    y = namespace(x).sqrt(x)
    return y, lambda g: (g / (2 * y),)


@primitive
def rsqrt(x):
    """Reciprocal square root of every element, the factor that every norm divides with.

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
    >>> rsqrt(np.array([4.0]))
    array([0.5])
    """
    y = 1 / namespace(x).sqrt(x)
    return y, lambda g: (-0.5 * g * y * y * y,)


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
    >>> cos(np.array([0.0]))
    array([1.])
    """
    xp = namespace(x)
    return xp.cos(x), lambda g: (-g * xp.sin(x),)


@primitive
def tanh(x):
    """Hyperbolic tangent of every element.

    .. math:: y = \\tanh x, \\qquad \\bar x = \\bar y (1 - y^2)

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
    >>> tanh(np.array([0.0]))
    array([0.])
    """
    y = namespace(x).tanh(x)
    return y, lambda g: (g * (1 - y * y),)


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
    Computed as (1 + tanh(x/2)) / 2, which has no large exponential to overflow. Its slope is at most 1/4, the
    bound behind the vanishing gradients of deep sigmoid networks.

    References
    ----------
    Deck C, "Optimizing Deep Neural Networks".

    Examples
    --------
    >>> sigmoid(np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    y = _sigmoid(namespace(x), x)
    return y, lambda g: (g * y * (1 - y),)


def _sigmoid(xp, x):
    return 0.5 * (1 + xp.tanh(0.5 * x))


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
    >>> erf(np.array([0.0]))
    array([0.])
    """
    xp = namespace(x)
    return backend.erf(x), lambda g: (g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x),)


@primitive
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
    >>> silu(np.array([0.0]))
    array([0.])
    """
    s = _sigmoid(namespace(x), x)
    return x * s, lambda g: (g * s * (1 + x * (1 - s)),)


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
        Where ``beta * x`` is larger, the function is ``x`` itself.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Examples
    --------
    >>> softplus(np.array([0.0, 1000.0])).round(3)
    array([   0.693, 1000.   ])
    """
    xp = namespace(x)
    z = beta * x
    linear = z > threshold
    y = xp.where(linear, x, (xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))) / beta)
    return y, lambda g: (xp.where(linear, g, g * _sigmoid(xp, z)),)


@primitive
def gelu(x, approximate="none"):
    """Weigh every element by the probability that a standard normal variable is smaller.

    .. math:: y = x\\, \\Phi(x) = \\tfrac{x}{2} \\left(1 + \\operatorname{erf}(x / \\sqrt 2)\\right)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    approximate : {"none", "tanh", "quick"}, default "none"
        Exact (ViT in PyTorch, Swin); the tanh formula (the original JAX ViT); ``x * sigmoid(1.702 x)`` (CLIP).

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
    In float32 the exact form uses a rational erf with an error below 5e-7; in float64 it is exact. The derivative is
    computed in the same pass and kept for backward.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016, section 2.

    Examples
    --------
    >>> gelu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """
    if approximate not in ("none", "tanh", "quick"):
        raise ValueError(f'gelu: approximate must be "none", "tanh" or "quick", got {approximate!r}')
    namespace(x)
    y, slope = kernels.of(x).gelu(x, approximate)
    return y, lambda g: (g * slope,)


@primitive
def clip(x, min=None, max=None):
    """Limit every element to the range [min, max].

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    min, max : float or None
        The limits; None for no limit on that side.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``. The derivative is 1 inside the range and on its limits, 0 outside.

    Raises
    ------
    ValueError
        If both limits are None.

    Examples
    --------
    >>> clip(np.array([-1.0, 0.5, 2.0]), 0, 1)
    array([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ValueError("clip: give min, max or both")
    xp = namespace(x)
    low, high = -math.inf if min is None else float(min), math.inf if max is None else float(max)
    return xp.clip(x, low, high), lambda g: (g * ((x >= low) & (x <= high)),)


def _select(name, x, y, first):
    """Shared by maximum and minimum: a tie shares the gradient equally, as the subgradient of torch does."""
    xp = namespace(x, y)
    tie = (x == y) * 0.5
    return getattr(xp, name)(x, y), lambda g: (
        unbroadcast(g * (first(x, y) + tie), x),
        unbroadcast(g * (first(y, x) + tie), y),
    )


@primitive
def maximum(x, y):
    """Take the larger of two elements; where they are equal, each gets half the gradient.

    Parameters
    ----------
    x, y : ndarray, Tensor or number
        Operands whose shapes broadcast.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> maximum(np.array([1.0, 5.0]), 3)
    array([3., 5.])
    """
    return _select("maximum", *_operands(x, y), lambda a, b: a > b)


@primitive
def minimum(x, y):
    """Take the smaller of two elements; where they are equal, each gets half the gradient.

    Parameters
    ----------
    x, y : ndarray, Tensor or number
        Operands whose shapes broadcast.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> minimum(np.array([1.0, 5.0]), 3)
    array([1., 3.])
    """
    return _select("minimum", *_operands(x, y), lambda a, b: a < b)


@primitive
def where(condition, x, y):
    """Take ``x`` where the condition holds and ``y`` elsewhere.

    Parameters
    ----------
    condition : bool ndarray
        Broadcasts with ``x`` and ``y``.
    x, y : ndarray, Tensor or number
        The two choices.

    Returns
    -------
    ndarray or Tensor
        The broadcast shape.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If the condition is not boolean.

    Notes
    -----
    The branch that is not taken gets a gradient of exactly 0, but 0 times a NaN or inf further down is NaN: guard the
    input of the dangerous function as well (``where(ok, log(where(ok, x, 1)), 0)``).

    Examples
    --------
    >>> where(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
    array([1., 0.])
    """
    x, y = _operands(x, y)
    xp = namespace(condition, x, y)
    if condition.dtype != bool:
        raise TypeError(f"where: condition must be boolean, got {condition.dtype.name} (write x > 0, not x)")
    return xp.where(condition, x, y), lambda g: (
        None,
        unbroadcast(xp.where(condition, g, 0), x),
        unbroadcast(xp.where(condition, 0, g), y),
    )
