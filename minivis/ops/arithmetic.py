"""Arithmetic, element by element with broadcasting: add, mul, pow, maximum, where, ...

Not here: functions of one element (functions.py, activation.py).
"""

import math

import numpy as np

from minivis.autograd import primitive, unbroadcast
from minivis.backend import as_array, is_array, meet, namespace
from minivis.dtypes import whole

__all__ = ["abs", "add", "clip", "div", "maximum", "minimum", "mul", "neg", "pow", "sub", "where"]


_NUMBERS = {float, int}


def _operands(x, y):
    """Convert operands so that neither a number nor an array of integers changes the dtype of a floating array.

    A NumPy float64 scalar would turn a float32 array into float64. As a Python number it takes the array's dtype.
    """
    if type(x) is np.ndarray:
        if type(y) in _NUMBERS or type(y) is np.ndarray and x.dtype is y.dtype:  # the usual case
            return x, y
    elif type(y) is np.ndarray and type(x) in _NUMBERS:
        return x, y
    like = next((a for a in (x, y) if is_array(a)), None)
    x, y = (a.item() if isinstance(a, np.generic) else a for a in (x, y))
    x, y = (a if like is not None and isinstance(a, (int, float)) else as_array(a, like) for a in (x, y))
    namespace(x, y)  # refuses arrays of different devices
    return meet(x, y) if is_array(x) and is_array(y) else (x, y)


@primitive(dtypes="numbers")
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
        The broadcast shape; dtype of the arrays (numbers and integers take the dtype of a floating array).

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> add(np.array([1.0, 2.0]), 10)
    array([11., 12.])
    """
    x, y = _operands(x, y)
    return x + y, lambda g: (unbroadcast(g, x), unbroadcast(g, y))


@primitive(dtypes="numbers")
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
    >>> import numpy as np
    >>> sub(np.array([1.0, 2.0]), 10)
    array([-9., -8.])
    """
    x, y = _operands(x, y)
    return x - y, lambda g: (unbroadcast(g, x), unbroadcast(-g, y))


@primitive(dtypes="numbers")
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
    >>> import numpy as np
    >>> mul(np.array([1.0, 2.0]), np.array([[2.0], [3.0]]))
    array([[2., 4.],
           [3., 6.]])
    """
    x, y = _operands(x, y)
    return x * y, lambda g: (
        unbroadcast(g * y, x) if is_array(x) else None,
        unbroadcast(g * x, y) if is_array(y) else None,
    )


@primitive(dtypes="numbers")
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
    >>> import numpy as np
    >>> div(np.array([1.0, 3.0]), 2)
    array([0.5, 1.5])
    """
    x, y = _operands(x, y)
    z = x / y
    return z, lambda g: (
        unbroadcast(g / y, x) if is_array(x) else None,
        unbroadcast(-(g / y) * z, y) if is_array(y) else None,
    )


@primitive(dtypes="numbers")
def pow(x, exponent):
    """Raise ``x`` to a power, element by element.

    .. math:: z = x^p, \\qquad \\bar x = \\bar z\\, p\\, x^{p-1}, \\quad \\bar p = \\bar z\\, x^p \\ln x

    The derivative in p is 0 at x = 0 if p is at least 0 (its limit there), and NaN where x is negative.

    Parameters
    ----------
    x : ndarray, Tensor or number
        The base.
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
    >>> import numpy as np
    >>> pow(np.array([1.0, 2.0]), 3)
    array([1., 8.])
    """
    x, exponent = _operands(x, exponent)
    xp = namespace(x, exponent)
    z = x**exponent

    def vjp(g):
        def g_x():
            lower = exponent - (exponent != 0)  # for p = 0, x^0 instead of x^-1: the slope is 0 at x = 0 too
            return unbroadcast(g * (exponent * x**lower), x)

        def g_exponent():
            flat = (x == 0) & (exponent >= 0)
            log = xp.log(xp.where(flat | (x < 0), 1, x))
            return unbroadcast(g * xp.where(x < 0, math.nan, z * log), exponent)

        return g_x if is_array(x) else None, g_exponent if is_array(exponent) else None

    return z, vjp


@primitive(dtypes="any")
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
    >>> import numpy as np
    >>> neg(np.array([1.0, -2.0]))
    array([-1.,  2.])
    """
    namespace(x)
    return -x, lambda g: (-g,)


@primitive(dtypes="any")
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
    >>> import numpy as np
    >>> abs(np.array([1.0, -2.0]))
    array([1., 2.])
    """
    xp = namespace(x)
    return xp.abs(x), lambda g: (g * xp.sign(x),)


@primitive(dtypes="any")
def clip(x, min=None, max=None):
    """Limit every element to the range [min, max].

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    min, max : float or None
        The limits; None means no limit on that side. If ``x`` is made of integers, the limits must be integers.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``. The derivative is 1 inside the range and on its limits, 0 outside.

    Raises
    ------
    ValueError
        If both limits are None.
    TypeError
        If a limit is not an integer and ``x`` is made of integers.

    Examples
    --------
    >>> import numpy as np
    >>> clip(np.array([-1.0, 0.5, 2.0]), 0, 1)
    array([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ValueError("clip: give min, max or both")
    xp = namespace(x)
    low, high = _limits(x, min, max)
    return xp.clip(x, low, high), lambda g: (g * ((x >= low) & (x <= high)),)


def _limits(x, low, high):
    """The limits of `clip` as Python numbers. For integers, they are moved into the range of the dtype."""
    if x.dtype.kind == "f":
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)
    info = namespace(x).iinfo(x.dtype)
    low, high = (
        whole(limit) for limit in (info.min if low is None else low, info.max if high is None else high)
    )
    if low is None or high is None:
        raise TypeError(f"clip: the limits of {x.dtype.name} must be integers (x: {tuple(x.shape)})")
    return tuple(min(max(limit, info.min), info.max) for limit in (low, high))


def _select(name, x, y, first):
    """Compute maximum or minimum. Equal elements get half the gradient each, as in torch."""
    xp = namespace(x, y)
    tie = (x == y) * 0.5
    return getattr(xp, name)(x, y), lambda g: (
        unbroadcast(g * (first(x, y) + tie), x),
        unbroadcast(g * (first(y, x) + tie), y),
    )


@primitive(dtypes="numbers")
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
    >>> import numpy as np
    >>> maximum(np.array([1.0, 5.0]), 3)
    array([3., 5.])
    """
    return _select("maximum", *_operands(x, y), lambda a, b: a > b)


@primitive(dtypes="numbers")
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
    >>> import numpy as np
    >>> minimum(np.array([1.0, 5.0]), 3)
    array([1., 3.])
    """
    return _select("minimum", *_operands(x, y), lambda a, b: a < b)


@primitive(dtypes="numbers")
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
    The branch that is not taken gets a gradient of exactly 0. But 0 times NaN or inf is NaN, so a function that can
    give them needs a safe input too: ``where(ok, log(where(ok, x, 1)), 0)``.

    Examples
    --------
    >>> import numpy as np
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
