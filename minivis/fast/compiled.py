"""Fast routines on large float32 NumPy arrays, compiled by Numba if it is installed.

They are plain loops over rows, in one pass over memory. They run without the interpreter's lock, so the rows are shared
among the cores. Not here: gradients and argument checks (ops/), and float64 (blocks.py).
"""

import math

import numba
import numpy as np
from numba import types
from numpy import float32, int32

from minivis.fast import blocks, threads
from minivis.fast.blocks import im2row
from minivis.ops.formulas import LOGITS

__all__ = [
    "adamw_step", "gelu", "im2row", "layer_norm", "layer_norm_vjp", "row2im", "sigmoid", "silu", "softmax", "softmax_vjp",
]  # fmt: skip

_LEAST_FOR_A_THREAD = 2**18  # elements that are worth waking a thread for
# one thread sums this many rows, whatever the number of threads: the result is the same to the last bit
_ROWS_PER_SUM = 64
# flat arrays are split at multiples of this, so that no vectorised loop has a remainder except in the last block
_BLOCK = 2**10

# Each loop is compiled for one list of types when this file is loaded. Its decorator says how the compiler may change the
# arithmetic. NaN and infinity are always kept.
_read1, _read2 = (types.Array(types.float32, n, "C", readonly=True) for n in (1, 2))
_write1, _write2 = (types.Array(types.float32, n, "C") for n in (1, 2))
_number = types.float32
_windows = types.Array(types.float32, 6, "C", readonly=True)
_maps = types.Array(types.float32, 4, "C")
_steps = types.UniTuple(types.intp, 2)


def _loop(*arguments, fastmath):
    """Compile a loop from start to stop for arguments of these types. Cached beside this file or in the user's cache."""
    signature = types.void(types.intp, types.intp, *arguments)
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

    def made(function):
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # no cache folder can be written to
            return numba.njit(signature, **options)(function)

    return made


def _elementwise(*arguments):
    """A loop whose elements are independent. The compiler may fuse a product with a sum."""
    return _loop(*arguments, fastmath={"contract", "nsz"})


def _rowwise(*arguments):
    """A loop over rows. The compiler may also change the order of the sums along a row."""
    return _loop(*arguments, fastmath={"contract", "nsz", "reassoc"})


_inlined = numba.njit(inline="always", error_model="numpy")  # becomes part of the loop that calls it
_exact = numba.njit(error_model="numpy")  # its arithmetic is not changed, whatever the calling loop allows


def _in_parallel(run, rows, length, *arrays):
    """Run a compiled loop over rows of ``length`` elements, in several threads."""
    least = -(-_LEAST_FOR_A_THREAD // max(1, length))
    threads.over(rows, lambda start, stop: run(start, stop, *arrays), least)


def _matrices(*arrays):
    """Arrays as matrices whose rows are along the last axis."""
    return [x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) for x in arrays]


_LOWEST_NORMAL = float32(-87.33654)  # below, exp is a subnormal number with fewer digits
_LOWEST = float32(-104.0)  # below, exp is 0


@_inlined
def _scaled_exp(x, more):
    """2^31 exp(x + more) for x from -104 to 0, accurate to 1e-7. The compiler can vectorise it for 8 or 16 elements.

    Computed as 2^31 2^k p(r) with |r| <= ln(2) / 2.
    """
    k = np.floor((x + more) * float32(1.4426950408889634) + float32(0.5))
    r = x - k * float32(0.693359375) + (k * float32(2.12194440e-4) + more)  # ln 2 in two parts
    p = float32(1.9875691500e-4) * r + float32(1.3981999507e-3)
    p = p * r + float32(8.3334519073e-3)
    p = p * r + float32(4.1665795894e-2)
    p = p * r + float32(1.6666665459e-1)
    p = p * r + float32(5.0000001201e-1)
    p = p * r * r + r + float32(1.0)
    power = int32((int32(k) + int32(158)) << int32(23)).view(float32)  # written as a float's exponent
    return p * power


@_inlined
def _exp(x):
    """exp(x) for x of at most 0. A subnormal result becomes 0, because processors can be slow on such numbers."""
    e = _scaled_exp(x if x > _LOWEST_NORMAL else _LOWEST_NORMAL, float32(0.0)) * float32(2.0**-31)
    return e if x > _LOWEST_NORMAL else (float32(0.0) if x <= _LOWEST_NORMAL else x)  # NaN stays NaN


@_inlined
def _small_exp(x, more):
    """exp(x + more) for x of at most 0, including subnormal results."""
    return _scaled_exp(_LOWEST if x < _LOWEST else x, more) * float32(2.0**-31)


@_exact
def _leading_bits(x):
    """x with half of its digits, so that its square is exact."""
    return int32(float32(x).view(int32) & int32(-4096)).view(float32)


def gelu(x, approximate):
    """GELU and its derivative in one pass: ``(y, dy/dx)``, by the formulas that ops/formulas.py explains."""
    return (
        _value_and_slope(x, _gelu)
        if approximate == "none"
        else _value_and_slope(x, _gated, *LOGITS[approximate])
    )


def silu(x):
    """x sigmoid(x) and its derivative in one pass."""
    return _value_and_slope(x, _gated, *LOGITS["silu"])


def sigmoid(x):
    """sigmoid(x) and its derivative in one pass."""
    return _value_and_slope(x, _sigmoid)


def _value_and_slope(x, loop, *numbers):
    """Run a compiled loop over the elements of x: ``(y, slope)``."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    _in_parallel(loop, -(-flat.size // _BLOCK), _BLOCK, flat, *numbers, y, slope)
    return y.reshape(x.shape), slope.reshape(x.shape)


@_elementwise(_read1, _write1, _write1)
def _sigmoid(start, stop, x, y, slope):
    part = slice(start * _BLOCK, stop * _BLOCK)
    x, y, slope = x[part], y[part], slope[part]
    for i in range(x.size):
        v = x[i]
        e = _small_exp(-abs(v), float32(0.0))
        large = float32(1.0) / (float32(1.0) + e)
        small = e * large
        y[i] = small if v < float32(0.0) else large
        slope[i] = small * large


@_elementwise(_read1, types.float64, types.float64, _write1, _write1)
def _gated(start, stop, x, a, b, y, slope):
    part = slice(start * _BLOCK, stop * _BLOCK)
    x, y, slope = x[part], y[part], slope[part]
    for i in range(x.size):
        v = x[i]
        v = float32(-1000.0) if v < float32(-1000.0) else (float32(1000.0) if v > float32(1000.0) else v)
        w = np.float64(v)
        z = abs(w * (a + b * w * w))
        high = float32(z)
        root = _small_exp(float32(-0.5) * high, float32(np.float64(high) - z) * float32(0.5))
        e = root * root
        total = float32(1.0) / (float32(1.0) + e)
        left = v < float32(0.0)
        first = root if left else float32(1.0)
        rest = (float32(1.0) if left else e) * total
        steep = float32(a + float32(3.0) * b * w * w)
        y[i] = (v if left else x[i]) * first * first * total
        slope[i] = (float32(1.0) + v * rest * steep) * first * first * total


_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7, _T8, _T9 = map(float32, blocks.TAIL)


@_elementwise(_read1, _write1, _write1)
def _gelu(start, stop, x, y, slope):
    part = slice(start * _BLOCK, stop * _BLOCK)
    x, y, slope = x[part], y[part], slope[part]
    for i in range(x.size):
        v = x[i]
        a = float32(40.0) if abs(v) > float32(40.0) else abs(v)
        near = _leading_bits(a)
        bell = _small_exp(float32(-0.5) * near * near, float32(0.5) * (near - a) * (near + a))
        inverse = float32(1.0) / (a + float32(4.0))
        q = (float32(4.0) - a) * inverse
        tail = _T0
        tail = tail * q + _T1
        tail = tail * q + _T2
        tail = tail * q + _T3
        tail = tail * q + _T4
        tail = tail * q + _T5
        tail = tail * q + _T6
        tail = tail * q + _T7
        tail = tail * q + _T8
        tail = (tail * q + _T9) * inverse
        beyond = (a * float32(0.3989422804) - tail) * bell
        y[i] = max(v, float32(0.0)) - a * tail * bell
        slope[i] = -beyond if v < float32(0.0) else float32(1.0) + beyond


def softmax(x, axis):
    """Softmax along one axis, with the maximum subtracted first."""
    rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    p = np.empty_like(rows)
    x, to = _matrices(rows, p)
    _in_parallel(_softmax, *x.shape, x, to)
    return np.moveaxis(p, -1, axis)


@_inlined
def _sortable(bits):
    """Map the bits of a float to an integer with the same order, or back: the bits of negative numbers are inverted."""
    return int32(bits ^ ((bits >> int32(31)) & int32(0x7FFFFFFF)))


@_exact
def _largest(row):
    """The largest element of a row, found from its bits: the compiler can vectorise a maximum of integers."""
    bits = row.view(int32)
    highest = _sortable(bits[0])
    for i in range(bits.size):
        highest = max(highest, _sortable(bits[i]))
    return _sortable(highest).view(float32)


@_rowwise(_read2, _write2)
def _softmax(start, stop, x, p):
    for r in range(start, stop):
        row, out = x[r], p[r]
        highest = _largest(row)
        total = float32(0.0)
        for i in range(row.size):
            e = _exp(row[i] - highest)
            out[i] = e
            total += e
        scale = float32(1.0) / total
        for i in range(row.size):
            out[i] *= scale


def softmax_vjp(g, p, axis):
    """The cotangent of the scores, p (g - sum(g p)), from that of the weights and the weights."""
    rows, weights = (np.ascontiguousarray(np.moveaxis(x, axis, -1), np.float32) for x in (g, p))
    out = np.empty_like(rows)
    matrices = _matrices(rows, weights, out)
    _in_parallel(_softmax_vjp, *matrices[0].shape, *matrices)
    return np.moveaxis(out, -1, axis)


@_rowwise(_read2, _read2, _write2)
def _softmax_vjp(start, stop, g, p, out):
    for r in range(start, stop):
        gs, ps, to = g[r], p[r], out[r]
        along = float32(0.0)
        for i in range(gs.size):
            along += gs[i] * ps[i]
        for i in range(gs.size):
            to[i] = ps[i] * (gs[i] - along)


_ABSENT = np.empty(0, np.float32)  # stands for a weight or bias that is None


def _as_vector(parameter):
    return _ABSENT if parameter is None else np.ascontiguousarray(parameter, np.float32).reshape(-1)


def layer_norm(x, weight, bias, eps):
    """Rows standardised, then scaled and shifted: ``(y, xhat, inverse)``, inverse = 1 / sqrt(variance + eps).

    ``x`` is (rows, n), ``weight`` and ``bias`` are (n,) or None. Without both, y is xhat.
    """
    x = np.ascontiguousarray(x)
    xhat = np.empty_like(x)
    inverse = np.empty((len(x), 1), np.float32)
    y = xhat if weight is None and bias is None else np.empty_like(x)
    arrays = (x, _as_vector(weight), _as_vector(bias), float32(eps), y, xhat, inverse)
    _in_parallel(_layer_norm, *x.shape, *arrays)
    return y, xhat, inverse


@_exact  # otherwise the compiler may estimate the root, and that of infinity would be NaN
def _inverse_root(x):
    return float32(1.0) / np.sqrt(x)


@_rowwise(_read2, _read1, _read1, _number, _write2, _write2, _write2)
def _layer_norm(start, stop, x, weight, bias, eps, y, xhat, inverse):
    n = x.shape[1]
    for r in range(start, stop):
        row, hat, out = x[r], xhat[r], y[r]
        total, squares = float32(0.0), float32(0.0)
        for i in range(n):
            total += row[i]
        mean = total / float32(n)
        for i in range(n):
            squares += (row[i] - mean) * (row[i] - mean)
        scale = _inverse_root(squares / float32(n) + eps)  # biased, as in every norm
        inverse[r, 0] = scale
        for i in range(n):
            hat[i] = (row[i] - mean) * scale
        if weight.size:
            for i in range(n):
                out[i] = hat[i] * weight[i]
        if bias.size:
            scaled = out if weight.size else hat
            for i in range(n):
                out[i] = scaled[i] + bias[i]


def layer_norm_vjp(g, xhat, inverse, weight):
    """The cotangents of x, weight and bias, as in blocks.py."""
    g, xhat, inverse = (np.ascontiguousarray(x, np.float32) for x in (g, xhat, inverse))
    out = np.empty_like(xhat)
    (rows, n) = xhat.shape
    if weight is None:  # no sums over rows: each row is independent
        nothing = np.empty((0, n), np.float32)
        _in_parallel(
            _layer_norm_vjp, rows, n, g, xhat, inverse, np.ones(n, np.float32), 1, out, nothing, nothing
        )
        return out, None, None
    along, total = np.zeros((2, -(-rows // _ROWS_PER_SUM), n), np.float32)
    arrays = (g, xhat, inverse, _as_vector(weight), _ROWS_PER_SUM, out, along, total)
    _in_parallel(_layer_norm_vjp, len(along), _ROWS_PER_SUM * n, *arrays)
    return out, along.sum(axis=0), total.sum(axis=0)


@_rowwise(_read2, _read2, _read2, _read1, types.intp, _write2, _write2, _write2)
def _layer_norm_vjp(start, stop, g, xhat, inverse, weight, together, out, along, total):
    n = xhat.shape[1]
    for r in range(start * together, min(stop * together, len(g))):
        gs = g[r]
        hat = xhat[r]
        to = out[r]
        scale = inverse[r, 0]
        mean, common = float32(0.0), float32(0.0)
        for i in range(n):
            h = gs[i] * weight[i]
            mean += h
            common += h * hat[i]
        mean, common = mean / float32(n), common / float32(n)
        for i in range(n):
            to[i] = (gs[i] * weight[i] - mean - hat[i] * common) * scale
        if len(along):
            of_weight, of_bias = along[r // together], total[r // together]
            for i in range(n):
                of_weight[i] += gs[i] * hat[i]
                of_bias[i] += gs[i]


def row2im(rows, shape, kernel, out, stride, padding, dilation):
    """The adjoint of `im2row`: add every window to the map at its place (overlaps add up)."""
    if len(kernel) != 2:
        return blocks.row2im(rows, shape, kernel, out, stride, padding, dilation)
    rows = np.ascontiguousarray(rows, np.float32).reshape(shape[0], *out, *kernel, shape[1])
    padded, inner = blocks._room(shape, padding, np.float32)
    _in_parallel(_row2im, len(rows), math.prod(rows.shape[1:]), rows, padded, stride, dilation)
    return np.ascontiguousarray(np.moveaxis(padded[inner], -1, 1))


@_elementwise(_windows, _maps, _steps, _steps)
def _row2im(start, stop, rows, padded, stride, dilation):
    _, rows_out, columns_out, kh, kw, C = rows.shape
    for b in range(start, stop):
        for i in range(rows_out):
            for j in range(columns_out):
                for u in range(kh):
                    for v in range(kw):
                        pixel = padded[b, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
                        for c in range(C):
                            pixel[c] += rows[b, i, j, u, v, c]


def adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One AdamW update of a parameter and its two moments, all in place (Loshchilov and Hutter 2019, algorithm 2)."""
    if not all(x.flags.c_contiguous and x.dtype == np.float32 for x in (parameter, m, v)):
        blocks.adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step)
        return
    grad = np.ascontiguousarray(grad, np.float32)
    rate = lr / (1 - beta1**step)
    root = 1 / math.sqrt(1 - beta2**step)
    numbers = [
        float32(x) for x in (1 - lr * weight_decay, beta1, 1 - beta1, beta2, 1 - beta2, rate, root, eps)
    ]
    _in_parallel(
        _adamw,
        -(-parameter.size // _BLOCK),
        _BLOCK,
        *(x.reshape(-1) for x in (parameter, grad, m, v)),
        *numbers,
    )


@_elementwise(_write1, _read1, _write1, _write1, *[_number] * 8)
def _adamw(start, stop, parameter, grad, m, v, keep, beta1, new1, beta2, new2, rate, root, eps):
    part = slice(start * _BLOCK, stop * _BLOCK)
    parameter, grad, m, v = parameter[part], grad[part], m[part], v[part]
    for i in range(parameter.size):
        g = grad[i]
        m[i] = beta1 * m[i] + new1 * g
        v[i] = beta2 * v[i] + new2 * g * g
        parameter[i] = keep * parameter[i] - rate * m[i] / (np.sqrt(v[i]) * root + eps)
