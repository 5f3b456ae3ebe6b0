"""Attention without all weights in memory at once: in one pass, head by head, or a block of queries at a time.

Not here: the formula and its checks (ops/attention.py), the loops (compiled_attention.py, cuda_attention.py).
"""

import functools
import importlib.util
import math

import numpy as np

from minivis.autograd import recording, unbroadcast
from minivis.backend import device_of, namespace
from minivis.fast import routines
from minivis.ops.attention import check, only_reached, scaled_dot_product_attention
from minivis.ways import faster

__all__ = ["attention_by_heads", "attention_without_weights"]

# Number of weights in memory at a time: few enough for the cache of a CPU, enough to keep a GPU busy.
MOST_WEIGHTS = {"cpu": 2**22, "gpu": 2**27}
# from here on a compiled way pays: it takes seconds to load, and longer the first time, when it is compiled
LEAST_WEIGHTS = 2**18
LEAST_HEADS = 8  # backward gives whole heads to the cores, so it needs several
_NAME = "scaled_dot_product_attention"


def _are_many(q, k):
    """Whether there are so many weights that a faster way pays. On a GPU it always does."""
    return math.prod(q.shape[:-1]) * k.shape[-2] >= LEAST_WEIGHTS or type(q) is not np.ndarray


def _without_weights_pays(q, k, v, mask=None, bias=None, **options):
    if not _are_many(q, k):
        return False
    return len(_parts(q, k)) > 1 or not recording() and one_pass(q, k, v, mask, bias) is not None


def _without_weights_may(q, k, v, mask=None, bias=None, *, dropout_p=0.0, **options):
    return not dropout_p and routines.exist(q)


@faster(scaled_dot_product_attention, may=_without_weights_may, pays=_without_weights_pays)
def attention_without_weights(
    q, k, v, mask=None, bias=None, *, is_causal=False, dropout_p=0.0, empty="zero", rng=None
):
    """`minivis.ops.scaled_dot_product_attention` with memory linear in the number of queries: no N x M array is kept.

    Forward is one pass if there is a routine for it. Otherwise, and in backward, a block of queries is taken at a time.
    Backward computes the weights again, which is a third more work. Chen et al., "Training deep nets with sublinear
    memory cost", 2016; for attention Rabe and Staats, 2021.
    """
    q, k, v = _checked(q, k, v, mask, is_causal, empty)
    xp = namespace(q)
    n = q.shape[-2]
    parts = _parts(q, k)

    def attend(rows):
        """The plain form for one block of queries."""
        allowed = _of_rows(mask, rows, n)
        if is_causal:
            causal = xp.arange(n)[rows, None] >= xp.arange(k.shape[-2])
            allowed = causal if mask is None else causal & allowed
        return scaled_dot_product_attention.raw(q[..., rows, :], k, v, allowed, _of_rows(bias, rows, n))

    def vjp(g):
        g_q = []
        g_k = 0
        g_v = 0
        g_bias = []
        for rows in parts:
            _, pull = attend(rows)
            of_q, of_k, of_v, _, of_bias = pull(g[..., rows, :])
            g_q.append(of_q)
            g_k = g_k + of_k
            g_v = g_v + of_v
            g_bias.append(of_bias)
        if bias is None:
            g_bias = None
        elif _of_rows(bias, parts[0], n) is bias:  # the same for all queries
            g_bias = sum(g_bias)
        else:
            g_bias = xp.concatenate(g_bias, axis=-2)
        return xp.concatenate(g_q, axis=-2), g_k, g_v, None, g_bias

    all_at_once = one_pass(q, k, v, mask, bias)
    if all_at_once is not None:
        return all_at_once(q, k, v, mask, bias, is_causal), vjp
    return xp.concatenate([attend(rows)[0] for rows in parts], axis=-2), vjp


def _by_heads_pays(q, k, v, mask=None, bias=None, **options):
    return _are_many(q, k) and math.prod(q.shape[:-2]) >= LEAST_HEADS


def _by_heads_may(q, k, v, mask=None, bias=None, *, dropout_p=0.0, **options):
    if dropout_p or device_of(q) != "cpu" or not compiled_is_there():
        return False
    from minivis.fast import compiled_attention

    return compiled_attention.fits(q, k, v, mask, bias)


@faster(scaled_dot_product_attention, may=_by_heads_may, pays=_by_heads_pays)
def attention_by_heads(
    q, k, v, mask=None, bias=None, *, is_causal=False, dropout_p=0.0, empty="zero", rng=None
):
    """`minivis.ops.scaled_dot_product_attention`, one head after the other: a head's scores stay in a core's cache."""
    from minivis.fast import compiled_attention

    q, k, v = _checked(q, k, v, mask, is_causal, empty)
    y, weights = compiled_attention.attend_keeping_weights(q, k, v, mask, bias, is_causal)

    def vjp(g):
        with_scores = bias is not None
        g_q, g_k, g_v, g_scores = compiled_attention.attend_vjp(g, q, k, v, weights, with_scores)
        return g_q, g_k, g_v, None, unbroadcast(g_scores, bias)

    return y, vjp


def one_pass(q, k, v, mask=None, bias=None):
    """The routine ``(q, k, v, mask, bias, is_causal)`` that never holds all weights, or None if there is none."""
    if device_of(q) == "gpu":
        from minivis.fast import cuda_attention

        return cuda_attention.attend if cuda_attention.fits(q, k, v) else None
    if device_of(q) != "cpu" or not compiled_is_there() or not _are_many(q, k):
        return None
    from minivis.fast import compiled_attention

    return compiled_attention.attend if compiled_attention.fits(q, k, v, mask, bias) else None


@functools.cache
def compiled_is_there():
    """Whether Numba and threadpoolctl are installed, so that attention can be compiled."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "threadpoolctl"))


def _checked(q, k, v, mask, is_causal, empty):
    """The checks of the op, and its treatment of rows without an allowed pair."""
    check(_NAME, q, k, v, mask, empty)
    if mask is None and not is_causal:
        return q, k, v
    return only_reached(q, k, v, mask, is_causal, empty)


def _of_rows(x, rows, n):
    """The rows of a mask or bias for a block of the n queries. One that is the same for all queries stays as it is."""
    return x[..., rows, :] if x is not None and x.ndim > 1 and x.shape[-2] == n > 1 else x


def _parts(q, k):
    """Slices of the queries; the weights of one slice are at most ``MOST_WEIGHTS`` (or one query)."""
    n = q.shape[-2]
    of_one = max(1, math.prod(q.shape[:-2]) * k.shape[-2])
    size = max(1, MOST_WEIGHTS.get(device_of(q), MOST_WEIGHTS["cpu"]) // of_one)
    return [slice(i, i + size) for i in range(0, max(n, 1), size)]
