"""Scaled dot-product attention, as one op and composed of smaller ops (a law proves them equal).

Not here: projections and heads (nn/attention.py).
"""

import math

from minivis.autograd import Tensor, primitive, unbroadcast
from minivis.backend import namespace
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.ops.arithmetic import add, mul, where
from minivis.ops.linalg import matmul
from minivis.ops.regularization import dropout
from minivis.ops.shape import transpose
from minivis.ops.softmaxes import softmax

__all__ = ["attention_composed", "attention_weights", "scaled_dot_product_attention"]


@primitive
def scaled_dot_product_attention(
    q, k, v, mask=None, bias=None, *, is_causal=False, dropout_p=0.0, empty="zero", rng=None
):
    """For each query, average the values, weighted by how well the query fits each key.

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
        B, in the dtype of ``q``: added to the scaled scores, such as Swin's bias for relative positions. Default 0.
    is_causal : bool, default False
        Query i may attend to keys 0 to i only, of those that ``mask`` allows.
    dropout_p : float, default 0
        Probability of dropping a weight (training only: pass 0 in evaluation).
    empty : {"zero", "error"}, default "zero"
        For a query that may attend to no key: output and gradient 0, or a ValueError.
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
    N * M * (d + d_v) multiply-adds: quadratic in the number of tokens. The N x M weights are kept for backward, except
    in a faster way of ``minivis/fast/attention.py`` when there are too many. A masked key has no influence: its weight
    is exactly 0, and a key or value that no query may attend to may be NaN (on a GPU, only if all queries share one
    row of the mask). The scale uses the width d of one head.

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
    check("scaled_dot_product_attention", q, k, v, mask, empty)
    namespace(q, k, v, mask)
    if mask is not None or is_causal:
        q, k, v = only_reached(q, k, v, mask, is_causal, empty)
    scores = (q * scale(q)) @ k.swapaxes(-1, -2)  # (..., N, M)
    if bias is not None:
        scores = scores + bias.astype(scores.dtype, copy=False)
    weights, softmax_vjp = masked_softmax(scores, allowed_pairs(q, k, mask, is_causal))
    kept = weights
    if dropout_p:
        kept, dropout_vjp = dropout.way(weights, dropout_p, rng=rng)

    def vjp(g):
        g_v = unbroadcast(kept.swapaxes(-1, -2) @ g, v)
        g_weights = g @ v.swapaxes(-1, -2)
        if dropout_p:
            (g_weights,) = dropout_vjp(g_weights)
        (g_scores,) = softmax_vjp(g_weights)  # masked pairs stay 0
        g_q = unbroadcast((g_scores @ k) * scale(q), q)
        g_k = unbroadcast((g_scores.swapaxes(-1, -2) @ q) * scale(q), k)
        return g_q, g_k, g_v, None, unbroadcast(g_scores, bias)

    return kept @ v, vjp


def masked_softmax(scores, allowed):
    """Softmax over the allowed keys: ``(weights, vjp)``. A query without an allowed key has weights and gradient 0."""
    if allowed is None or not scores.size:
        return softmax.way(scores)
    xp = namespace(scores, allowed)
    some = allowed.any(axis=-1, keepdims=True)
    if may_read(some) and bool(some.all()):  # the usual case: no second array of weights
        return softmax.way(xp.where(allowed, scores, -math.inf))
    weights, pull = softmax.way(xp.where(allowed, scores, hidden_scores(some, scores.dtype)))
    return xp.where(some, weights, 0), lambda g: pull(xp.where(some, g, 0))


def hidden_scores(some, dtype):
    """What stands for the scores of masked pairs: -inf, but 0 for a query without any key, as -inf - (-inf) would be NaN."""
    return namespace(some).where(some, -math.inf, 0).astype(dtype)


def scale(q):
    """1 / sqrt(d), with d the width of one head."""
    return 1 / math.sqrt(max(1, q.shape[-1]))  # width 0: every score is 0


def allowed_pairs(q, k, mask, is_causal):
    """Mask and causal mask in one, boolean; broadcasts to (..., N, M). None if every pair is allowed."""
    if not is_causal:
        return mask
    xp = namespace(q, k, mask)
    causal = xp.arange(q.shape[-2])[:, None] >= xp.arange(k.shape[-2])  # query i sees keys 0..i
    return causal if mask is None else causal & mask


def check(name, q, k, v, mask, empty="zero"):
    """Refuse arguments that do not fit together."""
    if empty not in ("zero", "error"):
        raise ValueError(f'{name}: empty must be "zero" or "error", got {empty!r}')
    if mask is not None and mask.dtype != bool:
        raise TypeError(f"{name}: mask must be boolean, True = may be attended, got {mask.dtype.name}")
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{name}: q (..., N, d) and k (..., M, d) share d, k and v (..., M, d_v) share M "
            f"(q: {tuple(q.shape)}, k: {tuple(k.shape)}, v: {tuple(v.shape)})"
        )


def only_reached(q, k, v, mask, is_causal, empty):
    """Queries, keys and values, with zeros in the rows that belong to no allowed pair."""
    if empty == "error" and not bool(allowed_pairs(q, k, mask, is_causal).any(axis=-1).all()):
        raise ValueError(
            "scaled_dot_product_attention: a query has nothing to attend to "
            f"(q: {tuple(q.shape)}, k: {tuple(k.shape)})"
        )
    rows = reached(q, k, v, mask, is_causal)
    return [
        x if there is None else namespace(x).where(there, x, 0).astype(x.dtype, copy=False)
        for x, there in zip((q, k, v), rows, strict=True)
    ]


def reached(q, k, v, mask, is_causal=False):
    """Which rows of queries, keys and values belong to an allowed pair: (..., N, 1), (..., M, 1), (..., M, 1).

    A row without an allowed pair may hold anything. Its weights are 0, but 0 times NaN is NaN, so the caller sets such
    rows to 0. None instead of an array means that no row needs it: each one is reached, or all numbers are finite. On
    a GPU, reading the mask would mean waiting. There, rows are found only if all queries share one row of the mask
    (padded keys).
    """
    n, m = q.shape[-2], k.shape[-2]
    if mask is None and (not is_causal or m <= n):
        return None, None, None
    allowed = allowed_pairs(q, k, mask, is_causal)
    allowed = allowed[None] if allowed.ndim == 1 else allowed
    if not (may_read(allowed) or allowed.shape[-2] == 1):
        return None, None, None
    queries, keys = allowed.any(axis=-1), allowed.any(axis=-2)  # (..., N), (..., M)
    return _rows(q, queries), _rows(k, keys), _rows(v, keys)


def _rows(x, there):
    """Reduce ``there``, which says which rows are reached, to the leading axes of ``x``; None if no row needs a 0."""
    if may_read(there) and (bool(there.all()) or bool(namespace(x).isfinite(x).all())):
        return None
    extra = there.ndim - (x.ndim - 1)
    there = there.any(axis=tuple(range(extra))) if extra > 0 else there
    sizes = x.shape[-1 - there.ndim : -1]
    shared = tuple(i for i, (a, b) in enumerate(zip(there.shape, sizes, strict=True)) if b == 1 < a)
    return there.any(axis=shared, keepdims=True)[..., None]


@named
def attention_weights(q, k, mask=None, bias=None, *, is_causal=False):
    """The attention weight of each key for each query. Rows sum to 1; a query without an allowed key has weights 0.

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
    q, k, mask, bias = (x.data if isinstance(x, Tensor) else x for x in (q, k, mask, bias))
    check("attention_weights", q, k, k, mask)
    namespace(q, k, mask)
    scores = (q * scale(q)) @ k.swapaxes(-1, -2)
    scores = scores if bias is None else scores + bias.astype(scores.dtype, copy=False)
    return masked_softmax(scores, allowed_pairs(q, k, mask, is_causal))[0]


@named
def attention_composed(q, k, v, mask=None, bias=None, *, is_causal=False, dropout_p=0.0, rng=None):
    """`scaled_dot_product_attention` written with smaller ops, as on the slides. Same result, more memory.

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
    check("attention_composed", q, k, v, mask)
    *arrays, mask = (x.data if isinstance(x, Tensor) else x for x in (q, k, v, mask))
    rows = reached(*arrays[:3], mask, is_causal)
    q, k, v = (x if there is None else where(there, x, 0.0) for x, there in zip((q, k, v), rows, strict=True))
    axes = (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2)
    scores = matmul(mul(q, scale(q)), transpose(k, axes))
    scores = scores if bias is None else add(scores, bias)
    allowed = allowed_pairs(*arrays[:2], mask, is_causal)
    if allowed is None:
        weights = softmax(scores, axis=-1)
    else:
        some = allowed.any(axis=-1, keepdims=True)
        # a row without an allowed key goes through softmax too and is then set to 0: no NaN arises
        weights = softmax(where(allowed, scores, hidden_scores(some, scores.dtype)), axis=-1)
        weights = where(some, weights, 0.0)
    if dropout_p:
        weights = dropout(weights, dropout_p, rng=rng)
    return matmul(weights, v)
