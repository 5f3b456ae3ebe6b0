"""Fast routines on CuPy arrays, with the names and signatures of blocks.py, in one pass over memory where that pays.

Not here: gradients and argument checks (ops/), and anything that is just as fast when written plainly in an op.
"""

import itertools
import math

import cupy
from cupy.lib.stride_tricks import as_strided

from minivis.ops.formulas import LOGITS

__all__ = [
    "adamw_step", "gelu", "im2row", "layer_norm", "layer_norm_vjp", "row2im", "sigmoid", "silu", "softmax", "softmax_vjp",
]  # fmt: skip


def _loop(name, body):
    """A loop over elements with a body in CUDA C++. T is the dtype of the arrays; ops/formulas.py has the formulas."""
    return cupy.ElementwiseKernel("T x", "T y, T slope", body, f"minivis_{name}")


_SIGMOID = _loop(
    "sigmoid",
    """
        const T e = exp(-fabs(x)), large = T(1) / (T(1) + e), small = e * large;
        y = x < 0 ? small : large;
        slope = small * large;
    """,
)
_GELU = _loop(
    "gelu",
    """
        const T a = fabs(x) > T(40) ? T(40) : fabs(x), near = rint(a * T(64)) / T(64);
        const T bell = exp(T(-0.5) * near * near) * exp(T(0.5) * (near - a) * (near + a));  // exp(-a^2 / 2)
        const T tail = T(0.5) * erfcx(a * T(0.7071067811865476));
        const T beyond = (a * T(0.3989422804014327) - tail) * bell;  // 1 / sqrt(2 pi)
        y = (x < 0 ? T(0) : x) - a * tail * bell;
        slope = x < 0 ? -beyond : T(1) + beyond;
    """,
)
_GATED = {
    name: _loop(
        name,
        f"""
            const T v = x < T(-1000) ? T(-1000) : x > T(1000) ? T(1000) : x;
            const double w = v, z = fabs(w * ({a!r} + {b!r} * w * w));
            const T high = T(z), root = exp(T(-0.5) * high) * (T(1) + T(0.5) * T(double(high) - z)), e = root * root;
            const T total = T(1) / (T(1) + e), first = x < 0 ? root : T(1), rest = (x < 0 ? T(1) : e) * total;
            const T steep = T({a!r} + {3 * b!r} * w * w);
            y = (x < 0 ? v : x) * first * first * total;
            slope = (T(1) + v * rest * steep) * first * first * total;
        """,
    )
    for name, (a, b) in LOGITS.items()
}


def gelu(x, approximate):
    """GELU and its derivative in one pass: ``(y, dy/dx)``."""
    return _GELU(x) if approximate == "none" else _GATED[approximate](x)


def silu(x):
    """x sigmoid(x) and its derivative in one pass."""
    return _GATED["silu"](x)


def sigmoid(x):
    """sigmoid(x) and its derivative in one pass."""
    return _SIGMOID(x)


_THREADS, _EACH = 256, 8  # at most so many threads for one row; elements that are worth a thread
_SOURCE = """
template <typename T> __device__ T larger(T a, T b) { return a > b ? a : b; }
template <typename T> __device__ T sum(T a, T b) { return a + b; }

template <typename T, T (*join)(T, T)>
__device__ T over_block(T mine, T* shared) {  // joins the values of all threads; each thread gets the result
    for (int lane = 16; lane > 0; lane /= 2) mine = join(mine, __shfl_xor_sync(~0u, mine, lane));
    if (blockDim.x == 32) return mine;
    __syncthreads();  // all threads have read the earlier values in shared
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    T all = shared[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) all = join(all, shared[warp]);
    return all;
}

// A block of threads for each row.

template <typename T>
__global__ void softmax_rows(const T* x, T* p, long long length) {
    __shared__ T shared[THREADS / 32];
    x += blockIdx.x * length;
    p += blockIdx.x * length;
    T highest = x[0], total = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) highest = larger(highest, x[i]);
    highest = over_block<T, larger<T>>(highest, shared);
    for (long long i = threadIdx.x; i < length; i += blockDim.x) total += p[i] = exp(x[i] - highest);
    total = over_block<T, sum<T>>(total, shared);
    for (long long i = threadIdx.x; i < length; i += blockDim.x) p[i] /= total;
}

template <typename T>
__global__ void softmax_rows_vjp(const T* g, const T* p, T* out, long long length) {
    __shared__ T shared[THREADS / 32];
    g += blockIdx.x * length;
    p += blockIdx.x * length;
    out += blockIdx.x * length;
    T along = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) along += g[i] * p[i];
    along = over_block<T, sum<T>>(along, shared);
    for (long long i = threadIdx.x; i < length; i += blockDim.x) out[i] = p[i] * (g[i] - along);
}

template <typename T>  // scaled: there is a weight; shifted: there is a bias
__global__ void norm_rows(const T* x, const T* weight, const T* bias, T* y, T* xhat, T* inverse, long long length,
                          long long scaled, long long shifted, double eps) {
    __shared__ T shared[THREADS / 32];
    x += blockIdx.x * length;
    y += blockIdx.x * length;
    xhat += blockIdx.x * length;
    T total = 0, squares = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) total += x[i];
    const T mean = over_block<T, sum<T>>(total, shared) / length;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    const T scale = 1 / sqrt(over_block<T, sum<T>>(squares, shared) / length + T(eps));
    if (threadIdx.x == 0) inverse[blockIdx.x] = scale;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) {
        const T h = (x[i] - mean) * scale;
        xhat[i] = h;
        if (scaled || shifted) y[i] = (scaled ? h * weight[i] : h) + (shifted ? bias[i] : T(0));
    }
}

template <typename T>
__global__ void norm_rows_vjp(const T* g, const T* weight, const T* xhat, const T* inverse, T* out, long long length,
                              long long scaled) {
    __shared__ T shared[THREADS / 32];
    g += blockIdx.x * length;
    xhat += blockIdx.x * length;
    out += blockIdx.x * length;
    T total = 0, along = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) {
        const T h = scaled ? g[i] * weight[i] : g[i];
        total += h;
        along += h * xhat[i];
    }
    total = over_block<T, sum<T>>(total, shared) / length;
    along = over_block<T, sum<T>>(along, shared) / length;
    for (long long i = threadIdx.x; i < length; i += blockDim.x)
        out[i] = ((scaled ? g[i] * weight[i] : g[i]) - total - xhat[i] * along) * inverse[blockIdx.x];
}
""".replace("THREADS", str(_THREADS))
_WORDS = {"float32": "float", "float64": "double"}
_MODULE = cupy.RawModule(
    code=_SOURCE,
    options=("--std=c++17",),
    name_expressions=tuple(
        f"{name}<{word}>"
        for name in ("softmax_rows", "softmax_rows_vjp", "norm_rows", "norm_rows_vjp")
        for word in _WORDS.values()
    ),
)


def _over_rows(name, rows, *args):
    """Run one of the kernels above. ``rows`` (R, length) determines grid, block and dtype."""
    if not rows.size:
        return
    threads = min(_THREADS, 1 << max(5, ((rows.shape[1] - 1) // _EACH).bit_length()))  # a power of two
    _MODULE.get_function(f"{name}<{_WORDS[rows.dtype.name]}>")((rows.shape[0],), (threads,), args)


def softmax(x, axis):
    """Softmax along one axis, with the maximum subtracted first."""
    rows = cupy.ascontiguousarray(cupy.moveaxis(x, axis, -1))
    p = cupy.empty_like(rows)
    length = rows.shape[-1]
    _over_rows("softmax_rows", rows.reshape(-1, length), rows, p, length)
    return cupy.moveaxis(p, -1, axis)


def softmax_vjp(g, p, axis):
    """The cotangent of the scores, p (g - sum(g p)), from that of the weights and the weights."""
    rows, weights = (cupy.ascontiguousarray(cupy.moveaxis(x, axis, -1), dtype=p.dtype) for x in (g, p))
    out = cupy.empty_like(rows)
    length = rows.shape[-1]
    _over_rows("softmax_rows_vjp", rows.reshape(-1, length), rows, weights, out, length)
    return cupy.moveaxis(out, -1, axis)


def layer_norm(x, weight, bias, eps):
    """Rows standardised, then scaled and shifted: ``(y, xhat, inverse)``, inverse = 1 / sqrt(variance + eps).

    ``x`` is (rows, n), ``weight`` and ``bias`` are (n,) or None. Without both, y is xhat.
    """
    x, (rows, n) = cupy.ascontiguousarray(x), x.shape
    xhat = cupy.empty_like(x)
    inverse = cupy.empty((rows, 1), x.dtype)
    y = xhat if weight is None and bias is None else cupy.empty_like(x)
    w, b = (x if p is None else cupy.ascontiguousarray(p, dtype=x.dtype) for p in (weight, bias))
    scaled, shifted = int(weight is not None), int(bias is not None)
    _over_rows("norm_rows", x, x, w, b, y, xhat, inverse, n, scaled, shifted, float(eps))
    return y, xhat, inverse


def layer_norm_vjp(g, xhat, inverse, weight):
    """The cotangents of x, weight and bias; without a weight, the last two are None.

    The cotangent of x is (h - mean(h) - xhat mean(h xhat)) / s with h = g weight.
    """
    out = cupy.empty_like(xhat)
    g = cupy.ascontiguousarray(g, dtype=xhat.dtype)
    w = g if weight is None else cupy.ascontiguousarray(weight, dtype=xhat.dtype)
    _over_rows("norm_rows_vjp", xhat, g, w, xhat, inverse, out, xhat.shape[1], int(weight is not None))
    if weight is None:
        return out, None, None
    ones = cupy.ones(len(g), g.dtype)  # ones @ g is faster than g.sum(axis=0)
    return out, ones @ (g * xhat), ones @ g


def im2row(x, kernel, out, stride, padding, dilation):
    """Copy every window of a map into one row of a matrix, so that a convolution becomes one product.

    ``x`` is (B, C, *spatial), surrounded by ``padding`` zeros, with ``out`` windows along each axis. Returns a contiguous
    array (B * prod(out), prod(kernel) * C) with a row for each output element. In a row, the channels of one pixel lie
    side by side.
    """
    B, C = x.shape[:2]
    padded = cupy.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding))) if any(padding) else x
    batch, channel, *step = padded.strides
    windows = as_strided(
        padded,
        (B, *out, *kernel, C),
        (
            batch,
            *(s * n for s, n in zip(stride, step, strict=True)),
            *(d * n for d, n in zip(dilation, step, strict=True)),
            channel,
        ),
    )
    return windows.reshape(B * math.prod(out), math.prod(kernel) * C)


def row2im(rows, shape, kernel, out, stride, padding, dilation):
    """The adjoint of `im2row`: add every window to the map at its place (overlaps add up).

    ``rows`` is (B * prod(out), prod(kernel) * C), and ``shape`` is the shape of the map, (B, C, *spatial).
    """
    B, C, *spatial = shape
    rows = rows.reshape(B, *out, *kernel, C)
    padded = cupy.zeros((B, *(m + 2 * p for m, p in zip(spatial, padding, strict=True)), C), rows.dtype)
    for offset in itertools.product(*map(range, kernel)):
        steps = zip(offset, out, stride, dilation, strict=True)
        where = tuple(slice(i * d, i * d + o * s, s) for i, o, s, d in steps)
        target = padded[(slice(None), *where)]  # += on this view adds in place, without a copy
        target += rows[(..., *offset, slice(None))]
    inner = tuple(slice(p, p + m) for m, p in zip(spatial, padding, strict=True))
    return cupy.ascontiguousarray(cupy.moveaxis(padded[(slice(None), *inner)], -1, 1))


_ADAMW = cupy.ElementwiseKernel(
    "T g, T keep, T new1, T new2, T rate, T root, T eps",
    "T parameter, T m, T v",
    """
    m += new1 * (g - m);  // beta m + (1 - beta) g
    v += new2 * (g * g - v);
    parameter = keep * parameter - rate * m / (sqrt(v) * root + eps);
    """,
    "minivis_adamw",
)


def adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step):
    """One AdamW update of a parameter and its two moments, all in place (Loshchilov and Hutter 2019, algorithm 2)."""
    rate = lr / (1 - beta1**step)
    root = 1 / math.sqrt(1 - beta2**step)
    _ADAMW(grad, 1 - lr * weight_decay, 1 - beta1, 1 - beta2, rate, root, eps, parameter, m, v)
