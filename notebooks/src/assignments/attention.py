# %% [markdown]
# # Attention: forward, masked, and backward
#
# You write scaled dot-product attention, its backward pass, and multi-head attention, in NumPy.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on attention.

# %%
import math

import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: attention (15 points)
#
# The $N$ rows of $Q$ are queries, the $M$ rows of $K$ are keys. Every query is compared with every key. Each key has
# a value, a row of $V$:
#
# $$Y = \mathrm{softmax}\Big(\frac{Q K^T}{\sqrt{d}}\Big)\, V,$$
#
# where $d$ is the width of a key and the softmax runs over the keys. Write `attention(q, k, v, mask=None)` for `q`
# $(\dots, N, d)$, `k` $(\dots, M, d)$, `v` $(\dots, M, e)$. The dots stand for any leading axes: images, heads, or none.
#
# - Scores of thousands must not overflow: $e^{s_j - m} / \sum_k e^{s_k - m}$ with $m = \max_j s_j$ gives the same
#   weights.
# - `mask` is boolean and broadcasts to $(\dots, N, M)$; **True = may be attended**. A forbidden key has weight exactly
#   0, however high its score, and the weights of the allowed ones sum to 1.
# - A query that may attend to nothing gets 0.
# - float32 in gives float32 out: a NumPy number such as `np.sqrt(d)` is float64 and makes the result float64;
#   `math.sqrt(d)` does not.


# %% tags=["task:attention"]
def attention(q, k, v, mask=None):
    ### BEGIN SOLUTION
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])  # (..., N, M)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    highest = scores.max(axis=-1, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0)  # a query without keys has no highest score
    e = np.exp(scores - highest)  # exp(-inf) is exactly 0
    total = e.sum(axis=-1, keepdims=True)
    weights = e / np.where(total > 0, total, 1)
    return weights.astype(v.dtype) @ v  # (..., N, e)
    ### END SOLUTION


# %% tags=["check:attention"]
award(
    "scaled_dot_product_attention",
    attention,
    {
        "the simplest form": 2,
        "leading axes": 1,
        "scale": 2,
        "large scores": 1,
        "mask": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "mask broadcasts": 1,
        "no leak": 1,
        "nothing to see": 1,
        "float32 stays float32": 1,
        "inputs left alone": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: the backward pass (10 points)
#
# Write `attention_vjp(q, k, v, mask=None)` that returns the output and a function `vjp(g)`. `g` is the cotangent of the
# output, $(\dots, N, e)$; `vjp(g)` returns the tuple `(g_q, g_k, g_v)`. With the weights $P$ and $S = QK^T/\sqrt d$:
#
# $$\bar V = P^T g, \qquad \bar P = g V^T, \qquad
# \bar S_{ij} = P_{ij}\Big(\bar P_{ij} - \sum_m \bar P_{im} P_{im}\Big), \qquad
# \bar Q = \frac{\bar S K}{\sqrt d}, \qquad \bar K = \frac{\bar S^T Q}{\sqrt d}.$$
#
# Each gradient has the dtype of its argument, and `g` must not be changed. The masks are as in task 1; the formulas
# need no further line for them. Why?


# %% tags=["task:backward"]
def attention_vjp(q, k, v, mask=None):
    ### BEGIN SOLUTION
    scale = 1 / math.sqrt(q.shape[-1])
    scores = q @ np.swapaxes(k, -1, -2) * scale  # (..., N, M)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    highest = scores.max(axis=-1, keepdims=True)
    e = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
    total = e.sum(axis=-1, keepdims=True)
    p = (e / np.where(total > 0, total, 1)).astype(q.dtype)

    def vjp(g):
        g_p = g @ np.swapaxes(v, -1, -2)
        g_s = p * (g_p - (g_p * p).sum(axis=-1, keepdims=True))
        g_q = g_s @ k * scale
        g_k = np.swapaxes(g_s, -1, -2) @ q * scale
        g_v = np.swapaxes(p, -1, -2) @ g
        return g_q, g_k, g_v

    return p @ v, vjp
    ### END SOLUTION


# %% tags=["check:backward"]
award(
    "scaled_dot_product_attention",
    attention_vjp,
    {
        "gradients of the simplest form": 1,
        "gradient of v": 1,
        "gradient of q": 2,
        ### BEGIN HIDDEN TESTS
        "gradients agree on anything": 2,
        "gradient of k": 2,
        "gradients stay float32": 1,
        "cotangent left alone": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 3: several heads (10 points)
#
# Each of the $h$ heads attends with its own slice of the features, $D/h$ wide:
#
# $$H_i = \mathrm{attention}(X_q W_q^T + b_q,\; X_k W_k^T + b_k,\; X_v W_v^T + b_v)\ \text{on slice } i, \qquad
# Y = [H_1, \dots, H_h]\, W_o^T + b_o.$$
#
# Write `multi_head(query, key, value, weights, heads, mask=None)` for `query` $(B, N, D)$, `key` and `value`
# $(B, M, D)$; `weights` is a dict with `w_q`, `w_k`, `w_v`, `w_o` of shape (out, in) and `b_q`, `b_k`, `b_v`, `b_o`.
# Head 0 takes the first $D/h$ features. $N$ and $M$ may differ, and so may keys and values. `mask` $(N, M)$ holds for
# every head. You may call your `attention`.


# %% tags=["task:multi-head"]
def multi_head(query, key, value, weights, heads, mask=None):
    ### BEGIN SOLUTION
    def split(x, name):
        x = x @ weights["w_" + name].T + weights["b_" + name]  # (B, N, D)
        return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)  # (B, h, N, D/h)

    y = attention(split(query, "q"), split(key, "k"), split(value, "v"), mask)  # (B, h, N, D/h)
    y = y.swapaxes(1, 2).reshape(query.shape)  # (B, N, D)
    return y @ weights["w_o"].T + weights["b_o"]
    ### END SOLUTION


# %% tags=["check:multi-head"]
award(
    "multi_head_attention",
    multi_head,
    {
        "the simplest form": 1,
        "weights are (out, in)": 1,
        "biases": 1,
        "heads": 2,
        "output projection": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "values of their own": 1,
        "cross-attention": 1,
        "mask": 1,
        ### END HIDDEN TESTS
    },
)
