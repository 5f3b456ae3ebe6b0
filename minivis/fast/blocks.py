"""Fast routines on NumPy arrays: activations, softmax, layer norm, im2row and row2im, the AdamW step.

Not here: gradients and argument checks (ops/), and anything that is just as fast when written plainly in an op.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minivis.fast import threads
from minivis.ops.formulas import LOGITS, gated, gaussian, sigmoids

__all__ = [
    "adamw_step", "gelu", "im2row", "layer_norm", "layer_norm_vjp", "row2im", "sigmoid", "silu", "softmax", "softmax_vjp",
]  # fmt: skip


_BLOCK = 2**15  # elements: small enough that the arrays of a few steps stay in a core's cache
_LEAST_FOR_A_THREAD = 2**16  # elements that are worth a thread


def _in_blocks(rows, length, run):
    """Call ``run(slice)`` on blocks of rows that fit in the cache, in several threads; a row has ``length`` elements."""
    size = max(1, _BLOCK // max(1, length))

    def part(start, stop):
        for at in range(start, stop, size):
            run(slice(at, min(at + size, stop)))

    threads.over(rows, part, -(-_LEAST_FOR_A_THREAD // max(1, length)))


def gelu(x, approximate):
    """GELU and its derivative in one pass: ``(y, dy/dx)``."""
    if approximate == "none":
        return _value_and_slope(x, _gelu)
    return _value_and_slope(x, lambda v: gated(np, v, *LOGITS[approximate]))


def silu(x):
    """x sigmoid(x) and its derivative in one pass."""
    return _value_and_slope(x, lambda v: gated(np, v, *LOGITS["silu"]))


def sigmoid(x):
    """sigmoid(x) and its derivative in one pass."""

    def both(v):
        p, q = sigmoids(np, v)
        return p, p * q

    return _value_and_slope(x, both)


def _value_and_slope(x, formula):
    """Apply ``formula(v) -> (y, slope)`` to an array, a block at a time."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)

    def run(block):
        y[block], slope[block] = formula(flat[block])

    _in_blocks(flat.size, 1, run)
    return y.reshape(x.shape), slope.reshape(x.shape)


def _gelu(x):
    """GELU from 1 - Phi(|x|) = bell * tail, with bell = exp(-x^2 / 2), so that small values are accurate too."""
    a = np.abs(np.clip(x, -40, 40))  # beyond 40, bell is 0
    bell = gaussian(np, a, 0.5)
    tail = _scaled_tail(a)
    y = np.clip(x, 0, None) - a * tail * bell
    beyond = (a * (1 / math.sqrt(2 * math.pi)) - tail) * bell
    right = x >= 0  # the slope Phi(x) + x phi(x) is 1 + beyond here, -beyond there
    return y, right + beyond * (2.0 * right - 1).astype(x.dtype)


# exp(a^2 / 2) (1 - Phi(a)) (a + 4) as a polynomial in (4 - a) / (4 + a), from -1 to 1: relative error at most 3.4e-8.
# The form is that of Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", 1981.
TAIL = (
    1.54546758e-4, 1.27214601e-4, -1.55856438e-3, -3.47236306e-3, 7.50917212e-3,
    6.03932216e-2, 1.86527297e-1, 3.87137908e-1, 6.07896381e-1, 7.55285119e-1,
)  # fmt: skip


def _scaled_tail(a):
    """exp(a^2 / 2) (1 - Phi(a)), for a of at least 0."""
    if a.dtype != np.float32:
        from scipy.special import erfcx

        return 0.5 * erfcx(a * math.sqrt(0.5))
    near = 1 / (a + 4)
    q = (4 - a) * near
    total = q * TAIL[0]
    for coefficient in TAIL[1:-1]:
        total += coefficient
        total *= q
    total += TAIL[-1]
    total *= near
    return total


def softmax(x, axis):
    """Softmax along one axis, with the maximum subtracted first."""
    rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    shape = rows.shape
    rows = rows.reshape(-1, rows.shape[-1])
    p = np.empty_like(rows)

    def run(block):
        e = p[block]
        np.subtract(rows[block], rows[block].max(axis=1, keepdims=True), out=e)
        np.exp(e, out=e)
        e /= e.sum(axis=1, keepdims=True)

    _in_blocks(*rows.shape, run)
    return np.moveaxis(p.reshape(shape), -1, axis)


def softmax_vjp(g, p, axis):
    """The cotangent of the scores, p (g - sum(g p)), from that of the weights and the weights."""
    rows, weights = (np.ascontiguousarray(np.moveaxis(x, axis, -1)) for x in (g, p))
    shape = rows.shape
    length = rows.shape[-1]
    rows, weights = rows.reshape(-1, length), weights.reshape(-1, length)
    out = np.empty_like(rows)

    def run(block):
        v, w, o = rows[block], weights[block], out[block]
        np.subtract(v, np.einsum("rn,rn->r", v, w)[:, None], out=o)
        o *= w

    _in_blocks(*rows.shape, run)
    return np.moveaxis(out.reshape(shape), -1, axis)


def layer_norm(x, weight, bias, eps):
    """Rows standardised, then scaled and shifted: ``(y, xhat, inverse)``, inverse = 1 / sqrt(variance + eps).

    ``x`` is (rows, n), ``weight`` and ``bias`` are (n,) or None. Without both, y is xhat.
    """
    rows, n = x.shape
    xhat = np.empty(x.shape, x.dtype)
    inverse = np.empty((rows, 1), x.dtype)
    y = xhat if weight is None and bias is None else np.empty_like(xhat)

    def run(block):
        v = xhat[block]
        np.subtract(x[block], x[block].sum(axis=1, keepdims=True) / n, out=v)
        variance = np.einsum("rn,rn->r", v, v)[:, None] / n  # biased, as in every norm
        inverse[block] = 1 / np.sqrt(variance + eps)
        v *= inverse[block]
        if weight is not None:
            np.multiply(v, weight, out=y[block])
        if bias is not None:
            np.add(v if weight is None else y[block], bias, out=y[block])

    _in_blocks(rows, n, run)
    return y, xhat, inverse


def layer_norm_vjp(g, xhat, inverse, weight):
    """The cotangents of x, weight and bias; without a weight, the last two are None.

    The cotangent of x is (h - mean(h) - xhat mean(h xhat)) / s with h = g weight.
    """
    rows, n = xhat.shape
    out = np.empty(xhat.shape, xhat.dtype)

    def run(block):
        v, o = xhat[block], out[block]
        h = g[block] if weight is None else g[block] * weight
        np.multiply(v, np.einsum("rn,rn->r", h, v)[:, None] / -n, out=o)
        o += h
        o -= h.sum(axis=1, keepdims=True) / n
        o *= inverse[block]

    _in_blocks(rows, n, run)
    if weight is None:
        return out, None, None
    ones = np.ones(rows, g.dtype)  # ones @ g is faster than g.sum(axis=0)
    return out, np.einsum("rn,rn->n", g, xhat), ones @ g


def im2row(x, kernel, out, stride, padding, dilation):
    """Copy every window of a map into one row of a matrix, so that a convolution becomes one product.

    ``x`` is (B, C, *spatial), surrounded by ``padding`` zeros, with ``out`` windows along each axis. Returns a
    contiguous array (B * prod(out), prod(kernel) * C) with a row for each output element. In a row, the channels of
    one pixel lie side by side, so memory is copied in longer pieces.
    """
    padded = _padded(x, padding)
    C = x.shape[1]
    windows = as_strided(
        padded,
        (len(x), *out, *kernel, C),
        (
            padded.strides[0],
            *(s * step for s, step in zip(stride, padded.strides[1:-1], strict=True)),
            *(d * step for d, step in zip(dilation, padded.strides[1:-1], strict=True)),
            padded.strides[-1],
        ),
    )
    return windows.reshape(len(x) * math.prod(out), math.prod(kernel) * C)


def row2im(rows, shape, kernel, out, stride, padding, dilation):
    """The adjoint of `im2row`: add every window to the map at its place (overlaps add up).

    ``rows`` is (B * prod(out), prod(kernel) * C), and ``shape`` is the shape of the map, (B, C, *spatial).
    """
    rows = rows.reshape(shape[0], *out, *kernel, shape[1])
    padded, inner = _room(shape, padding, rows.dtype)
    for offset in np.ndindex(*kernel):
        steps = zip(offset, out, stride, dilation, strict=True)
        where = tuple(slice(i * d, i * d + o * s, s) for i, o, s, d in steps)
        padded[(slice(None), *where)] += rows[(..., *offset, slice(None))]
    return np.ascontiguousarray(np.moveaxis(padded[inner], -1, 1))


def _padded(x, padding):
    """A map with zeros around it and the channels last: (B, *spatial, C), contiguous."""
    if not any(padding):
        return np.ascontiguousarray(np.moveaxis(x, 1, -1))
    padded, inner = _room(x.shape, padding, x.dtype)
    padded[inner] = np.moveaxis(x, 1, -1)
    return padded


def _room(shape, padding, dtype):
    """Zeros for a map of shape (B, C, *spatial) with its padding, channels last, and the index of the map in them."""
    B, C, *spatial = shape
    zeros = np.zeros((B, *(m + 2 * p for m, p in zip(spatial, padding, strict=True)), C), dtype)
    return zeros, (slice(None), *(slice(p, p + m) for m, p in zip(spatial, padding, strict=True)))


def adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One AdamW update of a parameter and its two moments, all in place (Loshchilov and Hutter 2019, algorithm 2)."""
    arrays = [parameter, np.ascontiguousarray(grad), m, v]
    contiguous = all(x.flags.c_contiguous for x in arrays)  # a view with gaps cannot be cut into blocks
    arrays = [x.reshape(-1) for x in arrays] if contiguous else arrays
    rate = lr / (1 - beta1**step)
    root = 1 / math.sqrt(1 - beta2**step)

    def run(block):
        p, g, m, v = (x[block] for x in arrays)
        scratch = np.multiply(g, 1 - beta1)
        if weight_decay:
            p *= 1 - lr * weight_decay
        m *= beta1
        m += scratch
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v *= beta2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch *= root
        scratch += eps
        np.divide(m, scratch, out=scratch)
        scratch *= rate
        p -= scratch

    if contiguous:
        _in_blocks(parameter.size, 1, run)
    else:
        run(...)
