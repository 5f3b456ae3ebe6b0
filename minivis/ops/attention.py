"""Scaled dot-product attention, as one op and composed of smaller ops (a law proves them equal).

Not here: projections and heads (nn/attention.py).
"""

import math

from minivis import kernels
from minivis.autograd import Tensor, named, primitive, recording, unbroadcast
from minivis.backend import device_of, is_array, namespace
from minivis.debugging import may_read
from minivis.ops.arithmetic import add, mul, where
from minivis.ops.linalg import matmul
from minivis.ops.normalization import dropout
from minivis.ops.shape import transpose
from minivis.ops.softmaxes import softmax

__all__ = ["attention_composed", "attention_weights", "scaled_dot_product_attention"]


def _check(name, q, k, v, mask):
    if mask is not None and mask.dtype != bool:
        raise TypeError(f"{name}: mask must be boolean, True = may be attended, got {mask.dtype.name}")
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{name}: q (..., N, d) and k (..., M, d) share d, k and v (..., M, d_v) share M "
            f"(q: {tuple(q.shape)}, k: {tuple(k.shape)}, v: {tuple(v.shape)})"
        )


# Weights that are held at a time, elements: what is still near a CPU, what keeps a GPU busy. Beyond, see `_in_parts`.
_AT_A_TIME = {"cpu": 2**22, "gpu": 2**27}


def _scale(q):
    return 1 / math.sqrt(max(1, q.shape[-1]))  # width 0: every score is 0


def _scores(q, k, bias):
    """q k^T / sqrt(d) + bias, (..., N, M): a new array."""
    scores = (q * _scale(q)) @ k.swapaxes(-1, -2)
    if bias is not None:
        scores += bias
    return scores


def _allowed(xp, q, k, mask, is_causal, rows=slice(None)):
    """The boolean mask of the pairs that may attend, or None where all may; for some rows of queries."""
    n, m = q.shape[-2], k.shape[-2]
    mask = _of_rows(mask, rows, n)
    if not is_causal:
        return mask
    causal = xp.arange(n)[rows, None] >= xp.arange(m)[None, :]  # query i sees keys 0..i
    return causal if mask is None else causal & mask


def _of_rows(x, rows, n):
    """The part of a mask or bias for some of n queries; one that is the same for all of them stays."""
    return x[..., rows, :] if x is not None and x.ndim > 1 and x.shape[-2] == n > 1 else x


def reached(q, k, v, mask, is_causal=False):
    """Which rows of queries, keys and values belong to a pair that may attend: (..., N, 1) and (..., M, 1), or None.

    A row that belongs to none may hold anything. Its weights are 0, but 0 times NaN is NaN: it is to be set to 0. None says
    that nothing needs to be, because every row is reached or all numbers are finite. A GPU is not waited for: there rows
    are told where the mask is one for all queries, as that of padded keys is.
    """
    n, m = q.shape[-2], k.shape[-2]
    if mask is None and (not is_causal or m <= n):
        return None, None, None
    allowed = _allowed(namespace(q, k, v, mask), q, k, mask, is_causal)
    allowed = allowed[None] if allowed.ndim == 1 else allowed
    if not (may_read(allowed) or allowed.shape[-2] == 1):
        return None, None, None
    asking, asked = allowed.any(axis=-1), allowed.any(axis=-2)  # (..., N), (..., M)
    return _rows(q, asking), _rows(k, asked), _rows(v, asked)


def _rows(x, there):
    """``there``, which says of which rows of ``x`` something is wanted, in the leading axes that ``x`` has."""
    if may_read(there) and (bool(there.all()) or bool(namespace(x).isfinite(x).all())):
        return None
    extra = there.ndim - (x.ndim - 1)
    there = there.any(axis=tuple(range(extra))) if extra > 0 else there
    sizes = x.shape[-1 - there.ndim : -1]
    shared = tuple(i for i, (a, b) in enumerate(zip(there.shape, sizes, strict=True)) if b == 1 < a)
    return there.any(axis=shared, keepdims=True)[..., None]


def _zeroed(xp, x, there):
    """``x`` with zeros in the rows that are not there."""
    return x if there is None else xp.where(there, x, 0).astype(x.dtype, copy=False)


def _parts(q, k):
    """Slices of queries whose weights together are not more than are held at a time."""
    n = q.shape[-2]
    weights = math.prod(q.shape[:-2]) * k.shape[-2]
    size = max(1, _AT_A_TIME.get(device_of(q), _AT_A_TIME["cpu"]) // max(1, weights))
    return [slice(i, i + size) for i in range(0, max(n, 1), size)]


def _masked_softmax(xp, scores, allowed):
    """Softmax over the allowed keys; a row without any is all 0. ``scores`` may be overwritten."""
    if not scores.size:
        return scores
    if allowed is None:
        return kernels.of(scores).softmax(scores, -1)
    scores = xp.where(allowed, scores, -math.inf)
    highest = scores.max(axis=-1, keepdims=True)
    # an empty row: -inf - (-inf) is NaN
    scores -= xp.where(highest == -math.inf, 0, highest).astype(scores.dtype)
    xp.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    scores /= xp.where(total == 0, 1, total)
    return scores


@named
def attention_weights(q, k, mask=None, bias=None, *, is_causal=False):
    """The weights with which each query looks at each key: rows sum to 1, or are 0 where nothing may be attended.

    .. math:: A = \\mathrm{softmax}\\Big(\\frac{Q K^T}{\\sqrt d}\\Big)

    Parameters
    ----------
    q : ndarray or Tensor, shape (..., N, d)
        Queries.
    k : ndarray or Tensor, shape (..., M, d)
        Keys.
    mask : bool ndarray, broadcasts to (..., N, M), optional
        True = may be attended.
    bias : ndarray or Tensor, broadcasts to (..., N, M), optional
        Added to the scaled scores.
    is_causal : bool, default False
        Query i sees keys 0 to i only.

    Returns
    -------
    ndarray, shape (..., N, M)
        A plain array for looking at: no gradient.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Slides ``A/11-attention-as-adaptive-kernel``, ``I/9-relate``, ``I/23-attention-has-adaptive-weights``,
    ``I/30-cross-attention-relates``.

    Examples
    --------
    >>> import numpy as np
    >>> attention_weights(np.zeros((1, 4)), np.zeros((2, 4)))
    array([[0.5, 0.5]])
    """
    q, k, bias = (x.data if isinstance(x, Tensor) else x for x in (q, k, bias))
    _check("attention_weights", q, k, k, mask)
    xp = namespace(q, k, mask)
    scores = _scores(q, k, bias)
    return _masked_softmax(xp, scores, _allowed(xp, q, k, mask, is_causal))


@primitive
def scaled_dot_product_attention(
    q, k, v, mask=None, bias=None, *, is_causal=False, dropout_p=0.0, empty="zero", rng=None
):
    """Each query gathers the values, weighted by how well its key fits.

    .. math:: Y = \\mathrm{softmax}\\Big(\\frac{Q K^T}{\\sqrt d} + B\\Big) V

    Parameters
    ----------
    q : ndarray or Tensor, shape (..., N, d)
        Queries.
    k : ndarray or Tensor, shape (..., M, d)
        Keys. Leading axes broadcast.
    v : ndarray or Tensor, shape (..., M, d_v)
        Values.
    mask : bool ndarray, broadcasts to (..., N, M), optional
        True = may be attended. There are no additive masks.
    bias : ndarray or Tensor, broadcasts to (..., N, M), optional
        B, in the dtype of ``q``: a learned preference, such as Swin's for relative positions. Default 0.
    is_causal : bool, default False
        Query i sees keys 0 to i only, on top of ``mask``.
    dropout_p : float, default 0
        Probability of dropping a weight (training only: pass 0 in evaluation).
    empty : {"zero", "error"}, default "zero"
        What a query with nothing to attend to gets: output and gradient 0, or a ValueError.
    rng : numpy.random.Generator, optional
        Needed with ``dropout_p``.

    Returns
    -------
    ndarray or Tensor, shape (..., N, d_v)
        In the dtype of ``q``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a row is empty and ``empty="error"``.
    TypeError
        If the mask is not boolean.

    Notes
    -----
    N * M * (d + d_v) multiply-adds: quadratic in the number of tokens. Kept for backward: the N x M weights. Beyond 2^22
    of them (2^27 on a GPU) queries are taken some at a time, and backward computes their weights again: a third more work,
    and memory linear in N; with dropout it is not done. Those, and all under `no_grad`, take one pass on a GPU (heads of
    at most 64 wide) and, from 2^18 weights on, on a CPU with Numba: weights never leave the chip, or the core. A masked
    key cannot leak: its weight is exactly 0, and a key or value that no query may attend to may be NaN (on a GPU, where
    the mask is one for all queries). The scale uses the width of one head.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, equation 1. Slides ``A/25-queries-keys-values``,
    ``A/26-cross-attention``, ``C/92-attention-layer``, ``I/7-self-attention``, ``I/8-query-key-value``,
    ``I/11-aggregate``, ``I/12-one-head-as-matrices``, ``I/25-attention-is-global``, ``I/26-self-versus-cross``,
    ``I/31-cross-attention-aggregates``, ``Z/32-self-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> scaled_dot_product_attention(np.zeros((1, 4)), np.zeros((2, 4)), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    if empty not in ("zero", "error"):
        raise ValueError(f'scaled_dot_product_attention: empty must be "zero" or "error", got {empty!r}')
    _check("scaled_dot_product_attention", q, k, v, mask)
    xp = namespace(q, k, v, mask)
    rows = reached(q, k, v, mask, is_causal)
    q, k, v = (_zeroed(xp, x, there) for x, there in zip((q, k, v), rows, strict=True))
    if empty == "error" and (mask is not None or is_causal):
        allowed = _allowed(xp, q, k, mask, is_causal)
        if not bool(allowed.any(axis=-1).all()):
            raise ValueError(
                f"scaled_dot_product_attention: a query has nothing to attend to (allowed: {tuple(allowed.shape)})"
            )
    if not dropout_p:
        parts = _parts(q, k)
        one_pass = None
        if len(parts) > 1 or not recording():  # the weights are too many, or nobody asks for them again
            one_pass = kernels.one_pass_attention(q, k, v, mask, bias)
        if len(parts) > 1 or one_pass:
            return _in_parts(xp, parts, one_pass, q, k, v, mask, bias, is_causal)
        by_heads = kernels.attention_by_heads(q, k, v, mask, bias)
        if by_heads:
            return _by_heads(*by_heads, q, k, v, mask, bias, is_causal)
    y, pull = _attend(xp, q, k, v, _allowed(xp, q, k, mask, is_causal), bias, dropout_p, rng)

    def vjp(g):
        g_q, g_k, g_v, g_bias = pull(g)
        return g_q, g_k, g_v, None, g_bias

    return y, vjp


def _by_heads(forward, backward, q, k, v, mask, bias, is_causal):
    """Attention by a kernel that does all for one head and then for the next."""
    y, weights = forward(q, k, v, mask, bias, is_causal)

    def vjp(g):
        g_q, g_k, g_v, g_scores = backward(g, q, k, v, weights, bias is not None)
        return g_q, g_k, g_v, None, unbroadcast(g_scores, bias)

    return y, vjp


def _attend(xp, q, k, v, allowed, bias, dropout_p=0.0, rng=None):
    """Attention of some queries, and its vjp, which keeps their weights."""
    scale = _scale(q)
    scores = _scores(q, k, bias)  # (..., N, M)
    weights = _masked_softmax(xp, scores, allowed)
    kept = weights
    drop = None
    if dropout_p:
        kept, drop = dropout.raw(weights, dropout_p, rng=rng)

    def vjp(g):
        g_v = unbroadcast(kept.swapaxes(-1, -2) @ g, v)
        g_scores = g @ v.swapaxes(-1, -2)
        if drop is not None:
            (g_scores,) = drop(g_scores)
        if weights.size:
            g_scores = kernels.of(weights).softmax_vjp(g_scores, weights, -1)  # masked pairs stay 0
        g_bias = unbroadcast(g_scores, bias)
        g_q = (g_scores @ k) * scale
        g_k = (g_scores.swapaxes(-1, -2) @ q) * scale
        return unbroadcast(g_q, q), unbroadcast(g_k, k), g_v, g_bias

    return kept @ v, vjp


def _in_parts(xp, parts, one_pass, q, k, v, mask, bias, is_causal):
    """Attention whose weights are not kept: memory is linear in N. Queries are taken some at a time, or all in one pass on a GPU.

    Chen et al., "Training deep nets with sublinear memory cost", 2016; for attention Rabe and Staats, 2021.
    """
    n = q.shape[-2]

    def attend(rows):
        allowed = _allowed(xp, q, k, mask, is_causal, rows)
        return _attend(xp, q[..., rows, :], k, v, allowed, _of_rows(bias, rows, n))

    def vjp(g):
        g_q = []
        g_k = 0
        g_v = 0
        g_bias = []
        for rows in parts:
            _, pull = attend(rows)
            part_q, part_k, part_v, part_bias = pull(g[..., rows, :])
            g_k, g_v = g_k + part_k, g_v + part_v
            g_q.append(part_q)
            g_bias.append(part_bias)
        if bias is None:
            g_bias = None
        elif _of_rows(bias, parts[0], n) is bias:  # the same for all queries
            g_bias = sum(g_bias)
        else:
            g_bias = xp.concatenate(g_bias, axis=-2)
        return xp.concatenate(g_q, axis=-2), g_k, g_v, None, g_bias

    if one_pass:
        return one_pass(q, k, v, mask, bias, is_causal), vjp
    return xp.concatenate([attend(rows)[0] for rows in parts], axis=-2), vjp


@named
def attention_composed(q, k, v, mask=None, bias=None, *, is_causal=False, dropout_p=0.0, rng=None):
    """`scaled_dot_product_attention` written with smaller ops, as the slides have it. Equal, with more memory.

    Parameters
    ----------
    q, k, v : ndarray or Tensor, shapes (..., N, d), (..., M, d), (..., M, d_v)
        Queries, keys, values.
    mask : bool ndarray, broadcasts to (..., N, M), optional
        True = may be attended.
    bias : ndarray or Tensor, broadcasts to (..., N, M), optional
        Added to the scaled scores.
    is_causal : bool, default False
        Query i sees keys 0 to i only.
    dropout_p : float, default 0
        Probability of dropping a weight.
    rng : numpy.random.Generator, optional
        Needed with ``dropout_p``.

    Returns
    -------
    ndarray or Tensor, shape (..., N, d_v)
        In the dtype of ``q``.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> attention_composed(np.zeros((1, 4)), np.zeros((2, 4)), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    _check("attention_composed", q, k, v, mask)
    *arrays, mask = (x.data if isinstance(x, Tensor) else x for x in (q, k, v, mask))
    xp = namespace(*(x for x in (*arrays, mask) if is_array(x)))
    rows = reached(*arrays[:3], mask, is_causal)
    q, k, v = (x if there is None else where(there, x, 0.0) for x, there in zip((q, k, v), rows, strict=True))
    axes = (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2)
    scores = matmul(mul(q, _scale(q)), transpose(k, axes))
    scores = scores if bias is None else add(scores, bias)
    allowed = _allowed(xp, *arrays[:2], mask, is_causal)
    if allowed is None:
        weights = softmax(scores, axis=-1)
    else:
        some = allowed.any(axis=-1, keepdims=True)
        # an empty row is softmaxed without its mask and then set to 0, so that no NaN is ever made
        weights = where(allowed & some, softmax(where(allowed | ~some, scores, -math.inf), axis=-1), 0.0)
    if dropout_p:
        weights = dropout(weights, dropout_p, rng=rng)
    return matmul(weights, v)
