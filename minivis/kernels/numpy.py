"""Hot routines on NumPy arrays: GELU, softmax, im2col and col2im, the AdamW step.

Not here: gradients and argument checks (ops/), anything that is as fast written plainly in an op.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["adamw_step", "col2im", "gelu", "im2col", "softmax"]


def gelu(x, approximate):
    """GELU and its derivative in one pass: ``(y, dy/dx)``."""
    if not x.ndim:  # the in-place steps below need an axis
        return tuple(part.reshape(()) for part in gelu(x.reshape(1), approximate))
    if approximate == "tanh":
        c, a = math.sqrt(2 / math.pi), 0.044715
        t = np.tanh(c * (x + a * x * x * x))
        y = 0.5 * x * (1 + t)
        return y, 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (c * (1 + 3 * a * x * x))
    if approximate == "quick":
        s = 0.5 * (1 + np.tanh(0.851 * x))  # sigmoid(1.702 x)
        return x * s, s * (1 + 1.702 * x * (1 - s))
    density = np.exp(-0.5 * x * x)
    if x.dtype == np.float32:
        phi = _normal_cdf_float32(x, density)
    else:
        from scipy.special import erf

        phi = 0.5 * (1 + erf(x * math.sqrt(0.5)))
    density *= 1 / math.sqrt(2 * math.pi)
    density *= x
    density += phi
    return x * phi, density.astype(x.dtype, copy=False)


def _normal_cdf_float32(x, bell):
    """The normal distribution function through ``bell = exp(-x^2 / 2)``: Abramowitz and Stegun 7.1.26, error 1e-7."""
    t = np.abs(x)
    t *= 0.3275911 * math.sqrt(0.5)
    t += 1
    np.reciprocal(t, out=t)
    tail = 1.061405429 * t
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += coefficient
        tail *= t
    tail *= bell
    tail *= 0.5  # the probability of lying beyond |x|
    return np.where(x < 0, tail, 1 - tail)


def softmax(x, axis):
    """Softmax along one axis, with the maximum subtracted first."""
    e = x - x.max(axis=axis, keepdims=True)
    np.exp(e, out=e)
    e /= e.sum(axis=axis, keepdims=True)
    return e


def im2col(x, kernel, out, stride, padding, dilation):
    """Copy every window of a map into one column of a matrix, so that a convolution becomes one product.

    ``x`` is (B, C, *spatial), surrounded by ``padding`` zeros; ``out`` windows an axis are taken. Returns a contiguous
    array (C * prod(kernel), B * prod(out)): a row for each weight, a column for each output element.
    """
    n = len(kernel)
    padded = _padded(x, padding)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    windows = sliding_window_view(padded, reach, axis=tuple(range(2, 2 + n)))  # (C, B, *positions, *reach)
    first = tuple(slice(0, o * s, s) for o, s in zip(out, stride, strict=True))
    windows = windows[(..., *first, *(slice(None, None, d) for d in dilation))]  # (C, B, *out, *kernel)
    windows = windows.transpose(0, *range(2 + n, 2 + 2 * n), 1, *range(2, 2 + n))  # (C, *kernel, B, *out)
    return windows.reshape(x.shape[1] * math.prod(kernel), x.shape[0] * math.prod(out))


def col2im(columns, shape, kernel, out, stride, padding, dilation):
    """The adjoint of `im2col`: add every window back to where it came from (overlaps sum).

    ``columns`` is (C * prod(kernel), B * prod(out)) and ``shape`` is that of the map, (B, C, *spatial).
    """
    B, C, *spatial = shape
    columns = columns.reshape(C, *kernel, B, *out)
    padded = np.zeros((C, B, *(m + 2 * p for m, p in zip(spatial, padding, strict=True))), columns.dtype)
    for offset in np.ndindex(*kernel):
        steps = zip(offset, out, stride, dilation, strict=True)
        where = tuple(slice(i * d, i * d + o * s, s) for i, o, s, d in steps)
        padded[(..., *where)] += columns[(slice(None), *offset)]
    inner = tuple(slice(p, p + m) for m, p in zip(spatial, padding, strict=True))
    return np.ascontiguousarray(padded[(..., *inner)].swapaxes(0, 1))


def _padded(x, padding):
    """A map with zeros around it and the channels in front: (C, B, *spatial)."""
    if not any(padding):
        return x.swapaxes(0, 1)
    spatial = x.shape[2:]
    out = np.zeros(
        (x.shape[1], x.shape[0], *(m + 2 * p for m, p in zip(spatial, padding, strict=True))), x.dtype
    )
    out[(..., *(slice(p, p + m) for m, p in zip(spatial, padding, strict=True)))] = x.swapaxes(0, 1)
    return out


def adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One AdamW update of a parameter and its two moments, all in place (Loshchilov and Hutter 2019, algorithm 2)."""
    parameter *= 1 - lr * weight_decay
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    denominator = np.sqrt(v)
    denominator *= 1 / math.sqrt(1 - beta2**step)
    denominator += eps
    np.divide(m, denominator, out=denominator)
    denominator *= lr / (1 - beta1**step)
    parameter -= denominator
