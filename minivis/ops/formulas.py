"""Formulas that stay accurate to the last digits where their value is nearly 0; for arrays of any library.

They never subtract nearly equal numbers. Not here: gradients and argument checks (the ops that call these).
"""

import math

import numpy as np

__all__ = ["LOGITS", "gated", "gaussian", "log_sum_exp", "sigmoids"]

# The gates x sigmoid(a x + b x^3), as (a, b). In the second GELU, sigmoid is (1 + tanh(z / 2)) / 2.
_C = math.sqrt(8 / math.pi)
LOGITS = {"silu": (1.0, 0.0), "quick": (1.702, 0.0), "tanh": (_C, 0.044715 * _C)}


def gaussian(xp, x, rate=1.0):
    """exp(-rate x^2), for a rate of 1 or 1/2.

    exp(-x^2) loses accuracy, because x^2 is rounded: at x = 9, an error of half a unit in the last digit of 81 becomes
    one of 40 units in e^-81. So x is split: the square of ``near``, a nearby number with few digits, is exact, and the
    rest is small.
    """
    a = xp.abs(xp.clip(x, -40, 40))  # beyond 40 the result is 0; clipping also removes infinity
    near = xp.rint(a * 64) / 64
    return xp.exp(-rate * near * near) * xp.exp(rate * (near - a) * (near + a))


def gated(xp, x, a, b):
    """x sigmoid(z) with z = a x + b x^3, and its derivative.

    z is computed in float64: an error of half a unit in the last digit of z = -80 becomes one of 40 units in e^-80.
    e^z is used as the square of ``root``, because e^z can be too small for the dtype where x e^z is not.
    """
    v = xp.clip(x, -1000, 1000)  # beyond, the slope is 0 or 1
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
    """The parts of softmax along some axes, with m the maximum along them and s = ln sum e^(x - m).

    The largest element contributes e^0 = 1. The sum of all others enters through log1p, so it counts however small it
    is.

    Returns
    -------
    m, shifted, s : ndarray
        m and s have length 1 along the axes; ``shifted`` is x - m.
    top : bool ndarray
        Whether an element is m.
    less : callable
        ``less()`` is softmax minus ``top``: p - 1 for the largest element, accurate even if p is nearly 1, and p for
        the others.
    """
    m = x.max(axis=axes, keepdims=True)
    top = x == m
    with np.errstate(invalid="ignore"):
        shifted = x - m
    shifted[top] = 0  # where m is infinite too: infinity - infinity would be NaN
    below = xp.exp(shifted) - top
    others = below.sum(axis=axes, keepdims=True) + (top.sum(axis=axes, keepdims=True, dtype=x.dtype) - 1)
    return m, shifted, xp.log1p(others), top, lambda: (below - others * top) / (1 + others)
