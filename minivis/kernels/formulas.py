"""Formulas that are right to the last digits where their value is nearly 0 too; for the arrays of any library.

None of them is a difference of numbers that are nearly equal. Not here: gradients and argument checks (ops/), loops in
blocks or compiled ones (numpy.py, compiled.py).
"""

import math

__all__ = ["LOGITS", "gaussian", "log_sum_exp", "logistic", "sigmoids"]

# The gates x sigmoid(a x + b x^3), as (a, b). In the second GELU, sigmoid is (1 + tanh(z / 2)) / 2.
_C = math.sqrt(8 / math.pi)
LOGITS = {"silu": (1.0, 0.0), "quick": (1.702, 0.0), "tanh": (_C, 0.044715 * _C)}


def gaussian(xp, x, rate=1.0):
    """exp(-rate x^2), for a rate of 1 or 1/2.

    x^2 is rounded, and at x = 9 an error of half a digit in 81 is one of 40 digits in e^-81. The square of a neighbour of x
    that has few digits is exact, and what is left is small.
    """
    a = xp.minimum(xp.abs(x), 40)  # from there on 0; no infinity arises
    near = xp.rint(a * 64) / 64
    return xp.exp(-rate * near * near) * xp.exp(rate * (near - a) * (near + a))


def sigmoids(xp, x):
    """sigmoid(x) and sigmoid(-x), which is 1 - sigmoid(x)."""
    total = 1 + xp.exp(-xp.abs(x))
    return xp.exp(xp.fmin(x, 0)) / total, xp.exp(xp.fmin(-x, 0)) / total


def logistic(xp, x):
    """sigmoid(x), sigmoid(-x), and minus their logarithms the other way round: ln(1 + e^x), ln(1 + e^-x)."""
    e = xp.exp(-xp.abs(x))
    both, p, q = xp.log1p(e), *sigmoids(xp, x)
    return p, q, both + xp.clip(x, 0, None), both - xp.clip(x, None, 0)


def log_sum_exp(xp, x, axes):
    """With m the maximum along the axes: (m, x - m, e^(x - m), ln of the sum of these).

    The largest elements are e^0 = 1 each: the sum of the others joins one of them in log1p, where it counts however small
    it is.
    """
    m = x.max(axis=axes, keepdims=True)
    top = x == m
    shifted = xp.where(top, 0, x) - xp.where(top, 0, m)  # infinity too is 0 below itself
    e = xp.exp(shifted)
    others = (e - top).sum(axis=axes, keepdims=True) + (top.sum(axis=axes, keepdims=True, dtype=x.dtype) - 1)
    return m, shifted, e, xp.log1p(others)
