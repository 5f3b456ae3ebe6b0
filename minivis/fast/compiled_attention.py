"""Attention one head at a time, compiled by Numba: a head's scores stay in the cache of the core that makes them.

The cores share the heads; if no weights are kept, also the queries of one head. Not here: argument checks and the
general form (ops/attention.py).
"""

import math

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  Numba takes its matrix products from here
from numba import types
from numpy import float32

from minivis.fast import threads
from minivis.fast.compiled import _exact, _exp, _inlined, _largest, _rowwise

__all__ = ["attend", "attend_keeping_weights", "attend_vjp", "fits"]

_MOST_WEIGHTS = 2**17  # of one core at a time, in elements
_LEAST_QUERIES = 128  # per block, even if that makes more weights: each block copies the keys again
_TILE = 8  # rows that are transposed together, so that all of a cache line is used

_read3, _read4 = (types.Array(types.float32, n, "C", readonly=True) for n in (3, 4))
_write3, _write4 = (types.Array(types.float32, n, "C") for n in (3, 4))
_mask3 = types.Array(types.boolean, 3, "C", readonly=True)
_places = types.Array(types.intp, 1, "C", readonly=True)


def fits(q, k, v, mask=None, bias=None):
    """Whether this file can compute it: float32, not empty, equal leading axes (those of mask and bias broadcast)."""
    lead = q.shape[:-2]
    n = q.shape[-2]
    m = k.shape[-2]
    if not (math.prod(lead) * n * m * q.shape[-1] * v.shape[-1]):
        return False
    if any(x.dtype != np.float32 or x.shape[:-2] != lead for x in (q, k, v)):
        return False
    return all(x is None or _broadcasts(x.shape, (*lead, n, m)) for x in (mask, bias))


def _broadcasts(shape, to):
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def attend(q, k, v, mask, bias, is_causal):
    """softmax(q k^T / sqrt(d) + bias) v over the allowed keys. The weights are not kept."""
    return _attend(q, k, v, mask, bias, is_causal, keep=False)[0]


def attend_keeping_weights(q, k, v, mask, bias, is_causal):
    """The result of `attend` and the weights: ``(y, weights)``."""
    y, weights = _attend(q, k, v, mask, bias, is_causal, keep=True)
    return y, weights.reshape(*q.shape[:-1], k.shape[-2])


def _attend(q, k, v, mask, bias, is_causal, keep):
    lead = q.shape[:-2]
    n = q.shape[-2]
    m = k.shape[-2]
    heads = math.prod(lead)
    rows = min(n, max(_LEAST_QUERIES, _MOST_WEIGHTS // m))
    weights = np.empty((heads if keep else 0, n, m), np.float32)
    q, k, v = (_by_token(x) for x in (q, k, v))
    y = np.empty((*q.shape[:-1], v.shape[-1]), np.float32)
    more = *_matrices(bias, np.float32, (*lead, n, m)), *_matrices(mask, np.bool_, (*lead, n, m)), is_causal
    arrays = (q, k, v, *more, _scale(q), rows, weights, y)
    with threads.blas_alone():
        threads.over(heads * -(-n // rows), lambda start, stop: _attention(start, stop, *arrays))
    return _by_head(y, lead), weights


def attend_vjp(g, q, k, v, weights, with_scores):
    """The cotangents of q, k and v, and that of the scores (None unless ``with_scores``)."""
    lead = q.shape[:-2]
    (n, m) = weights.shape[-2:]
    g, q, k, v = (_by_token(x) for x in (g, q, k, v))
    outputs = [np.empty_like(x) for x in (q, k, v)]
    weights = np.ascontiguousarray(weights).reshape(-1, n, m)
    g_scores = np.empty((len(weights) if with_scores else 0, n, m), np.float32)
    arrays = (g, q, k, v, weights, _scale(q), *outputs, g_scores)
    with threads.blas_alone():
        threads.over(len(weights), lambda start, stop: _attention_vjp(start, stop, *arrays))
    return *(_by_head(x, lead) for x in outputs), g_scores.reshape(*lead, n, m) if with_scores else None


def _scale(q):
    return float32(1 / math.sqrt(q.shape[-1]))


def _by_token(x):
    """(..., h, N, d) as (B, N, h, d): the heads of a token lie side by side, as in the layers before and after."""
    x = x.reshape((1,) * (4 - x.ndim) + x.shape).swapaxes(-2, -3)
    return np.ascontiguousarray(x, np.float32).reshape(-1, *x.shape[-3:])


def _by_head(x, lead):
    """The inverse of `_by_token`, with the original leading axes."""
    x = x.reshape(*lead[:-1], *x.shape[1:]).swapaxes(-2, -3)
    return x.reshape(*lead, *x.shape[-2:])


def _matrices(x, dtype, shape):
    """A mask or bias as its distinct matrices (., n or 1, m), and for each head the number of its matrix."""
    lead = shape[:-2]
    m = shape[-1]
    if x is None:
        return np.empty((0, 1, m), dtype), np.empty(0, np.intp)
    x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
    places = np.arange(math.prod(x.shape[:-2])).reshape(x.shape[:-2])
    x = np.ascontiguousarray(np.broadcast_to(x, (*x.shape[:-1], m)), dtype)
    return x.reshape(-1, *x.shape[-2:]), np.ascontiguousarray(np.broadcast_to(places, lead)).reshape(-1)


@_inlined
def _copy_head(x, head, first, scale, to):
    """Copy one head of (B, N, h, d), from token `first` on and multiplied by `scale`, into `to`."""
    image = head // x.shape[2]
    place = head % x.shape[2]
    for i in range(len(to)):
        row = x[image, first + i, place]
        out = to[i]
        for j in range(row.size):
            out[j] = row[j] * scale


@_inlined
def _put_head(x, head, first, to):
    """The inverse of `_copy_head`: write `x` into one head of `to`."""
    image = head // to.shape[2]
    place = head % to.shape[2]
    for i in range(len(x)):
        row = x[i]
        out = to[image, first + i, place]
        for j in range(row.size):
            out[j] = row[j]


@_inlined
def _transpose(x, to):
    """x^T. For a large factor this, followed by a plain product, is faster than a transposed product of BLAS."""
    whole = len(x) - len(x) % _TILE
    for first in range(0, whole, _TILE):
        for j in range(x.shape[1]):
            for i in range(_TILE):
                to[j, first + i] = x[first + i, j]
    for i in range(whole, len(x)):
        for j in range(x.shape[1]):
            to[j, i] = x[i, j]


@_exact
def _add_bias_and_mask(row, m, head, query, bias, bias_of, mask, mask_of, causal):
    """Add the bias to the scores of one query, and set the scores of masked keys to -inf."""
    if len(bias):
        matrix = bias[bias_of[head]]
        more = matrix[query % len(matrix)]
        for j in range(m):
            row[j] += more[j]
    if len(mask):
        matrix = mask[mask_of[head]]
        may = matrix[query % len(matrix)]
        for j in range(m):
            row[j] = row[j] if may[j] else float32(-np.inf)
    if causal:
        for j in range(query + 1, m):
            row[j] = float32(-np.inf)


@_exact
def _has_nothing(m, head, query, mask, mask_of, causal):
    """Whether a query may attend to no key at all: its scores of -inf are not numbers that got out of hand."""
    if not len(mask):
        return False
    keys = query + 1 if causal else m
    may = mask[mask_of[head]]
    return not may[query % len(may)][:keys].any()


@_rowwise(
    *[_read4] * 3,
    _read3,
    _places,
    _mask3,
    _places,
    types.boolean,
    types.float32,
    types.intp,
    _write3,
    _write4,
)
def _attention(start, stop, q, k, v, bias, bias_of, mask, mask_of, causal, scale, rows, weights, y):
    (n, d), (m, e) = (q.shape[1], q.shape[3]), (v.shape[1], v.shape[3])
    queries, keys, values = np.empty((rows, d), float32), np.empty((m, d), float32), np.empty((m, e), float32)
    scores, out = np.empty((rows, m), float32), np.empty((rows, e), float32)
    parts = (n + rows - 1) // rows
    for part in range(start, stop):
        head = part // parts
        first = part % parts * rows
        count = min(rows, n - first)
        if first == 0 or part == start:
            _copy_head(k, head, 0, float32(1.0), keys)
            _copy_head(v, head, 0, float32(1.0), values)
        _copy_head(q, head, first, scale, queries[:count])
        p = weights[head][first : first + count] if len(weights) else scores[:count]
        np.dot(queries[:count], keys.T, p)
        for i in range(count):
            row = p[i]
            if len(bias) or len(mask) or causal:
                _add_bias_and_mask(row, m, head, first + i, bias, bias_of, mask, mask_of, causal)
            highest = _largest(row)
            total = float32(0.0)
            if highest == float32(-np.inf) and _has_nothing(m, head, first + i, mask, mask_of, causal):
                for j in range(m):
                    row[j] = float32(0.0)
            else:
                for j in range(m):
                    weight = _exp(row[j] - highest)
                    row[j] = weight
                    total += weight
                inverse = float32(1.0) / total
                for j in range(m):
                    row[j] *= inverse
        np.dot(p, values, out[:count])
        _put_head(out[:count], head, first, y)


@_rowwise(*[_read4] * 4, _read3, types.float32, *[_write4] * 3, _write3)
def _attention_vjp(start, stop, g, q, k, v, weights, scale, g_q, g_k, g_v, g_scores):
    (n, d), (m, e) = (q.shape[1], q.shape[3]), (v.shape[1], v.shape[3])
    gs, queries, of_queries = np.empty((n, e), float32), np.empty((n, d), float32), np.empty((n, d), float32)
    keys, of_keys = np.empty((m, d), float32), np.empty((m, d), float32)
    values, of_values = np.empty((m, e), float32), np.empty((m, e), float32)
    scores, transposed = np.empty((n, m), float32), np.empty((m, n), float32)
    for head in range(start, stop):
        p = weights[head]
        s = g_scores[head] if len(g_scores) else scores
        _copy_head(g, head, 0, float32(1.0), gs)
        _copy_head(q, head, 0, scale, queries)
        _copy_head(k, head, 0, scale, keys)
        _copy_head(v, head, 0, float32(1.0), values)
        _transpose(p, transposed)
        np.dot(transposed, gs, of_values)
        np.dot(gs, values.T, s)
        for i in range(n):
            row = s[i]
            ps = p[i]
            along = float32(0.0)
            for j in range(m):
                along += row[j] * ps[j]
            for j in range(m):
                row[j] = ps[j] * (row[j] - along)
        np.dot(s, keys, of_queries)
        _transpose(s, transposed)
        np.dot(transposed, queries, of_keys)
        _put_head(of_queries, head, 0, g_q)
        _put_head(of_keys, head, 0, g_k)
        _put_head(of_values, head, 0, g_v)
