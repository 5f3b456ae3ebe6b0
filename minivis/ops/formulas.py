"""Formulas that are right to the last digits where their value is nearly 0 too; for the arrays of any library.

None of them is a difference of numbers that are nearly equal. Not here: gradients and argument checks, which are the ops'.
"""

import math

import numpy as np

__all__ = ["LOGITS", "gated", "gaussian", "log_sum_exp", "sigmoids"]

# The gates x sigmoid(a x + b x^3), as (a, b). In the second GELU, sigmoid is (1 + tanh(z / 2)) / 2.
_C = math.sqrt(8 / math.pi)
LOGITS = {"silu": (1.0, 0.0), "quick": (1.702, 0.0), "tanh": (_C, 0.044715 * _C)}


def gaussian(xp, x, rate=1.0):
    """exp(-rate x^2), for a rate of 1 or 1/2.

    x^2 is rounded, and at x = 9 an error of half a digit in 81 is one of 40 digits in e^-81. The square of a neighbour of x
    that has few digits is exact, and what is left is small.
    """
    a = xp.abs(xp.clip(x, -40, 40))  # farther out it is 0, and no infinity arises
    near = xp.rint(a * 64) / 64
    return xp.exp(-rate * near * near) * xp.exp(rate * (near - a) * (near + a))


def gated(xp, x, a, b):
    """x sigmoid(z) with z = a x + b x^3, and its derivative.

    z is formed in float64: an error of half a digit in z = -80 is one of 40 digits in e^-80. And e^z is the square of a
    root, as it can be too small for the dtype where x e^z is not.
    """
    v = xp.clip(x, -1000, 1000)  # farther out nothing changes
    v = v if (a, b) == LOGITS["silu"] else v.astype(xp.float64)
    z = v * (a + b * v * v) if b else a * v
    right = x >= 0
    left = ~right
    root = xp.exp(-0.5 * xp.abs(z))
    total = 1 / (1 + root * root)
    part = root * left + right  # sigmoid(z) is part^2 total
    rest = (root * root * right + left) * total  # sigmoid(-z)
    steep = a + 3 * b * v * v if b else a
    slope = (1 + v * rest * steep) * part * part * total
    return (xp.clip(x, -1000, None) * part * part * total).astype(x.dtype), slope.astype(x.dtype)


def sigmoids(xp, x):
    """sigmoid(x) and sigmoid(-x), which is 1 - sigmoid(x)."""
    e = xp.exp(-xp.abs(x))
    large = 1 / (1 + e)
    small = e * large
    return small + (large - small) * (x >= 0), small + (large - small) * (x < 0)


def log_sum_exp(xp, x, axes):
    """What softmax along some axes is made of, with m the maximum along them and s = ln sum e^(x - m).

    The largest elements are e^0 = 1 each. The sum of all others joins one of them in log1p: however small, it counts.

    Returns
    -------
    m, shifted, s : ndarray
        With length 1 along the axes but for ``shifted``, which is x - m.
    top : bool ndarray
        Whether an element is m.
    less : callable
        ``less()`` is softmax less ``top``: p - 1 for the largest, also where p is nearly 1, and p for the others.
    """
    m = x.max(axis=axes, keepdims=True)
    top = x == m
    with np.errstate(invalid="ignore"):
        shifted = x - m
    shifted[top] = 0  # infinity too is 0 below itself
    below = xp.exp(shifted) - top
    others = below.sum(axis=axes, keepdims=True) + (top.sum(axis=axes, keepdims=True, dtype=x.dtype) - 1)
    return m, shifted, xp.log1p(others), top, lambda: (below - others * top) / (1 + others)
