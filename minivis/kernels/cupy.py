"""Hot routines on CuPy arrays, by the same names and signatures as numpy.py: one pass over the memory where it pays.

Not here: gradients and argument checks (ops/), anything that is as fast written plainly in an op.
"""

import itertools
import math

import cupy
from cupy.lib.stride_tricks import as_strided

__all__ = ["adamw_step", "gelu", "im2row", "row2im", "softmax"]

# The body of the loop over the elements, in CUDA C++; T is the dtype of the arrays.
_GELU = {
    approximate: cupy.ElementwiseKernel("T x", "T y, T slope", body, f"minivis_gelu_{approximate}")
    for approximate, body in {
        "none": """
            const T phi = normcdf(x);
            y = x * phi;
            slope = phi + x * exp(T(-0.5) * x * x) * T(0.3989422804014327);  // 1 / sqrt(2 pi)
        """,
        "tanh": """
            const T c = T(0.7978845608028654), a = T(0.044715);  // c = sqrt(2 / pi)
            const T t = tanh(c * (x + a * x * x * x));
            y = T(0.5) * x * (T(1) + t);
            slope = T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * c * (T(1) + T(3) * a * x * x);
        """,
        "quick": """
            const T s = T(0.5) + T(0.5) * tanh(T(0.851) * x);  // sigmoid(1.702 x)
            y = x * s;
            slope = s * (T(1) + T(1.702) * x * (T(1) - s));
        """,
    }.items()
}


def gelu(x, approximate):
    """GELU and its derivative in one pass: ``(y, dy/dx)``."""
    return _GELU[approximate](x)


_THREADS = 256  # at most, for one row
_SOFTMAX = """
template <typename T>
__device__ T over_block(T mine, T (*join)(T, T), T* shared) {  // what `join` makes of the values of all threads
    shared[threadIdx.x] = mine;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + half]);
    }
    __syncthreads();
    const T all = shared[0];
    __syncthreads();  // everybody has read it: shared is free again
    return all;
}
template <typename T> __device__ T larger(T a, T b) { return a > b ? a : b; }
template <typename T> __device__ T sum(T a, T b) { return a + b; }

template <typename T>
__global__ void softmax_rows(const T* x, T* p, long long length) {  // a block of threads for each row
    __shared__ T shared[THREADS];
    x += blockIdx.x * length;
    p += blockIdx.x * length;
    T highest = x[0], total = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) highest = larger(highest, x[i]);
    highest = over_block(highest, larger<T>, shared);
    for (long long i = threadIdx.x; i < length; i += blockDim.x) total += p[i] = exp(x[i] - highest);
    total = over_block(total, sum<T>, shared);
    for (long long i = threadIdx.x; i < length; i += blockDim.x) p[i] /= total;
}
""".replace("THREADS", str(_THREADS))
_ROWS = {"float32": "softmax_rows<float>", "float64": "softmax_rows<double>"}
_SOFTMAX_MODULE = cupy.RawModule(
    code=_SOFTMAX, options=("--std=c++17",), name_expressions=tuple(_ROWS.values())
)


def softmax(x, axis):
    """Softmax along one axis, with the maximum subtracted first."""
    rows = cupy.ascontiguousarray(cupy.moveaxis(x, axis, -1))
    p, length = cupy.empty_like(rows), rows.shape[-1]
    threads = min(_THREADS, 1 << max(5, (length - 1).bit_length()))  # a power of two
    kernel = _SOFTMAX_MODULE.get_function(_ROWS[x.dtype.name])
    kernel((x.size // length,), (threads,), (rows, p, length))
    return cupy.moveaxis(p, -1, axis)


def im2row(x, kernel, out, stride, padding, dilation):
    """Copy every window of a map into one row of a matrix, so that a convolution becomes one product.

    ``x`` is (B, C, *spatial), surrounded by ``padding`` zeros; ``out`` windows an axis are taken. Returns a contiguous
    array (B * prod(out), prod(kernel) * C): a row for each output element, in it the channels of one pixel side by side.
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
    """The adjoint of `im2row`: add every window back to where it came from (overlaps sum).

    ``rows`` is (B * prod(out), prod(kernel) * C) and ``shape`` is that of the map, (B, C, *spatial).
    """
    B, C, *spatial = shape
    rows = rows.reshape(B, *out, *kernel, C)
    padded = cupy.zeros((B, *(m + 2 * p for m, p in zip(spatial, padding, strict=True)), C), rows.dtype)
    for offset in itertools.product(*map(range, kernel)):
        steps = zip(offset, out, stride, dilation, strict=True)
        where = tuple(slice(i * d, i * d + o * s, s) for i, o, s, d in steps)
        target = padded[(slice(None), *where)]  # a view: += on it adds in place, and copies nothing
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
    rate, root = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
    _ADAMW(grad, 1 - lr * weight_decay, 1 - beta1, 1 - beta2, rate, root, eps, parameter, m, v)
