"""Attention in one pass on a GPU: scores and weights stay in a block's shared memory, never in the GPU's main memory.

Dao et al., "FlashAttention", NeurIPS 2022, with the running maximum of Milakov and Gimelshein, "Online normalizer
calculation for softmax", 2018. Not here: its gradient, and attention that keeps its weights (ops/attention.py).
"""

import functools
import math

import cupy

__all__ = ["attend", "fits"]

_QUERIES, _KEYS, _SIDE = 64, 64, 16  # of a block at a time; it has 16 x 16 threads
_GAP = 4  # unused elements between rows in shared memory, so that neighbouring rows lie in different banks
# Head widths with a compiled kernel each. For wider heads, three steps with cuBLAS are faster.
_WIDTHS = (32, 64)
_WORDS = {"float32": "float", "float64": "double"}

_SOURCE = """
constexpr int QUERIES = _QUERIES, KEYS = _KEYS, SIDE = _SIDE, GAP = _GAP, THREADS = SIDE * SIDE;

template <typename T> __device__ T larger(T a, T b) { return a > b ? a : b; }

template <typename T, int ROWS, int WIDTH>  // copies rows of a matrix (rows, width) from `first` on; 0 outside of it
__device__ void fetch(const T* matrix, long long first, long long rows, long long width, T* to) {
    for (int i = threadIdx.x; i < ROWS * WIDTH; i += THREADS) {
        const int r = i / WIDTH, c = i % WIDTH;
        const bool inside = first + r < rows && c < width;
        to[r * (WIDTH + GAP) + c] = inside ? matrix[(first + r) * width + c] : T(0);
    }
}

// A block takes QUERIES queries of one head and goes through the keys, KEYS at a time. Thread (row, column) computes
// the scores of queries row, row + SIDE, ... with keys column, column + SIDE, ..., and COLUMNS adjacent columns of the
// output of these queries.
template <typename T, int WIDTH>
__global__ void attend(const T* q, const T* k, const T* v, const unsigned char* mask, const long long* mask_at,
                       const T* bias, const long long* bias_at, T* y, long long n, long long m, long long d,
                       long long e, long long masked, long long mask_query, long long mask_key, long long biased,
                       long long bias_query, long long bias_key, long long causal, double scale) {
    extern __shared__ double memory[];
    constexpr int EACH = QUERIES / SIDE, SEEN = KEYS / SIDE, COLUMNS = WIDTH / SIDE, LINE = WIDTH + GAP, ROW = KEYS + GAP;
    T *queries = (T*)memory, *others = queries + QUERIES * LINE, *weights = others + KEYS * LINE;  // others: keys, then values
    const int row = threadIdx.x / SIDE, column = threadIdx.x % SIDE;
    const long long parts = (n + QUERIES - 1) / QUERIES, head = blockIdx.x / parts, first = blockIdx.x % parts * QUERIES;
    const T never = log(T(0));  // minus infinity
    T highest[EACH], total[EACH], out[EACH][COLUMNS];
    for (int i = 0; i < EACH; ++i) {
        highest[i] = never, total[i] = 0;
        for (int c = 0; c < COLUMNS; ++c) out[i][c] = 0;
    }
    fetch<T, QUERIES, WIDTH>(q + head * n * d, first, n, d, queries);
    for (long long start = 0; start < m && !(causal && start >= first + QUERIES); start += KEYS) {
        __syncthreads();  // no thread still reads the earlier values
        fetch<T, KEYS, WIDTH>(k + head * m * d, start, m, d, others);
        __syncthreads();
        T score[EACH][SEEN] = {};
        #pragma unroll 4
        for (int c = 0; c < WIDTH; ++c)
            for (int i = 0; i < EACH; ++i)
                for (int j = 0; j < SEEN; ++j)
                    score[i][j] += queries[(row + SIDE * i) * LINE + c] * others[(column + SIDE * j) * LINE + c];
        __syncthreads();  // no thread still reads the keys
        fetch<T, KEYS, WIDTH>(v + head * m * e, start, m, e, others);
        #pragma unroll  // arrays lie in registers only if their indices are known at compile time
        for (int i = 0; i < EACH; ++i) {
            const long long query = first + row + SIDE * i;
            T top = highest[i];
            for (int j = 0; j < SEEN; ++j) {
                const long long key = start + column + SIDE * j;
                bool sees = query < n && key < m && !(causal && key > query);
                if (sees && masked) sees = mask[mask_at[head] + query * mask_query + key * mask_key];
                score[i][j] *= T(scale);
                if (sees && biased) score[i][j] += bias[bias_at[head] + query * bias_query + key * bias_key];
                if (!sees) score[i][j] = never;
                top = larger(top, score[i][j]);
            }
            for (int lane = 1; lane < SIDE; lane *= 2) top = larger(top, __shfl_xor_sync(~0u, top, lane));
            const T base = top == never ? T(0) : top;  // no allowed key so far: -inf - (-inf) would be NaN
            const T shrink = exp(highest[i] - base);  // the earlier sums were relative to the earlier maximum
            highest[i] = top, total[i] *= shrink;
            for (int c = 0; c < COLUMNS; ++c) out[i][c] *= shrink;
            for (int j = 0; j < SEEN; ++j) {
                const T weight = exp(score[i][j] - base);
                total[i] += weight;
                weights[(row + SIDE * i) * ROW + column + SIDE * j] = weight;
            }
        }
        __syncthreads();
        #pragma unroll 4
        for (int j = 0; j < KEYS; ++j)
            for (int i = 0; i < EACH; ++i)
                for (int c = 0; c < COLUMNS; ++c)
                    out[i][c] += weights[(row + SIDE * i) * ROW + j] * others[j * LINE + COLUMNS * column + c];
    }
    #pragma unroll
    for (int i = 0; i < EACH; ++i) {
        for (int lane = 1; lane < SIDE; lane *= 2) total[i] += __shfl_xor_sync(~0u, total[i], lane);
        const long long query = first + row + SIDE * i;
        for (int c = 0; c < COLUMNS; ++c)
            if (query < n && COLUMNS * column + c < e)
                y[(head * n + query) * e + COLUMNS * column + c] = total[i] == 0 ? T(0) : out[i][c] / total[i];
    }
}
"""
for _name, _value in (("_QUERIES", _QUERIES), ("_KEYS", _KEYS), ("_SIDE", _SIDE), ("_GAP", _GAP)):
    _SOURCE = _SOURCE.replace(_name, str(_value))

_MODULE = cupy.RawModule(
    code=_SOURCE,
    options=("--std=c++17",),
    name_expressions=tuple(f"attend<{word}, {width}>" for word in _WORDS.values() for width in _WIDTHS),
)


def fits(q, k, v):
    """Whether `attend` can compute it: one dtype, and heads that fit into a block's shared memory."""
    width = max(q.shape[-1], v.shape[-1])
    return (
        q.dtype == k.dtype == v.dtype
        and q.dtype.name in _WORDS
        and width <= _WIDTHS[-1]
        and _shared_bytes(width, q.dtype) <= _shared_bytes_of(cupy.cuda.runtime.getDevice())
    )


def _compiled_width(width):
    return next(w for w in _WIDTHS if w >= width)


def _shared_bytes(width, dtype):
    """Bytes of shared memory that a block needs."""
    return dtype.itemsize * ((_QUERIES + _KEYS) * (_compiled_width(width) + _GAP) + _QUERIES * (_KEYS + _GAP))


@functools.cache
def _shared_bytes_of(device):
    return cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]


def attend(q, k, v, mask=None, bias=None, is_causal=False):
    """softmax(q k^T / sqrt(d) + bias) v, (..., N, e); a query that may attend to nothing gets 0.

    ``q`` is (..., N, d), ``k`` (..., M, d), ``v`` (..., M, e) of one dtype; ``mask`` (True = may be attended) and
    ``bias`` broadcast to (..., N, M).
    """
    n, m, d, e = q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1]
    given = [x.shape[:-2] for x in (q, k, v, mask, bias) if x is not None]
    lead = cupy.broadcast_shapes(*given)
    y = cupy.empty((*lead, n, e), q.dtype)
    if y.size:
        q, k, v = (cupy.ascontiguousarray(cupy.broadcast_to(x, lead + x.shape[-2:])) for x in (q, k, v))
        masks = _strided(mask, bool, (*lead, n, m))
        biases = _strided(bias, q.dtype, (*lead, n, m))
        width = _compiled_width(max(d, e))
        kernel = _MODULE.get_function(f"attend<{_WORDS[q.dtype.name]}, {width}>")
        kernel.max_dynamic_shared_size_bytes = room = _shared_bytes(width, q.dtype)
        arrays = (q, k, v, *masks[:2], *biases[:2], y)
        numbers = (n, m, d, e, *masks[2:], *biases[2:], int(is_causal), 1 / math.sqrt(max(1, d)))
        grid = math.prod(lead) * -(-n // _QUERIES)
        kernel((grid,), (_SIDE * _SIDE,), (*arrays, *numbers), shared_mem=room)
    return y


def _strided(x, dtype, shape):
    """What the kernel needs to index a mask or bias: (x, start of each head, 1 if x is given, query step, key step)."""
    if x is None:
        return cupy.empty(1, dtype), cupy.empty(1, "int64"), 0, 0, 0
    x = cupy.ascontiguousarray(x, dtype=dtype)
    strides = cupy.broadcast_to(x, shape).strides  # 0 along repeated axes
    *steps, query, key = (step // x.itemsize for step in strides)
    begins = cupy.zeros(1, "int64")
    for length, step in zip(shape, steps, strict=False):
        begins = (begins[:, None] + cupy.arange(length) * step).ravel()
    return x, begins, 1, query, key
