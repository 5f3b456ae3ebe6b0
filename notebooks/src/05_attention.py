# %% [markdown]
# # 05. Attention: asking, comparing, averaging
#
# How a token collects information from all other tokens, what this gives a network that sees, and what it costs.
#
# **Goals**
#
# - You can say what queries, keys and values are, and compute attention by hand, with loops, with matrices
#   and with the library.
# - You can explain the scale $1/\sqrt{d}$, the softmax over keys, masks, several heads and cross-attention,
#   each with a measurement.
# - You can show what attention can do that a convolution cannot, and what it costs.
# - You can write attention with its backward pass and have it checked.
#
# **Before**: matrix products; gradients from [01](01_autograd.ipynb); convolution from
# [02](02_convolution.ipynb). A **token** is a vector that stands for one piece of the input, a word or a
# patch of an image; tokens are the rows of a matrix.
#
# **Slides**: Deck I is Indaba, *Panoptic Segmentation with Transformers*; Deck C is CPSC 425, lecture 23; Deck Z is
# Zagoruyko, *Transformers in Computer Vision*; Deck A is AIIA, *Attention and Transformer Networks in Computer
# Vision*. A section that follows a slide names it by its tag: deck, page and a short name.
#
# **Time**: about 60 minutes to read, 45 more for the exercises; the cells take about ten seconds.

# %% tags=["setup"]
import math
import time

import numpy as np

import minivis as mv
from minivis import viz
from minivis.laws import at_most, claims
from minivis.ops import linear, scaled_dot_product_attention, softmax

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# Look at how one input goes three ways, as queries, keys and values, and how attention brings them together
# again: the chapter is about the small box in the middle.

# %%
viz.architecture(mv.nn.MultiHeadAttention(64, num_heads=4), (1, 17, 64))  # 17 tokens of width 64

# %% [markdown]
# ## A dictionary that answers softly
# Slide `I/8-query-key-value`.
#
# A Python dictionary compares the key you ask for with each key it holds, and returns the value of the one that is
# *equal*. Attention is the same idea made soft, so that it has gradients. The **query** is compared with *every*
# **key**. The comparison gives each key a weight between 0 and 1, and the answer is the weighted average of the
# **values**. With a sharp comparison nearly all weight is on one value, as in a dictionary; with a soft one several
# values are mixed.
#
# The weights are the *softmax* of scores $s_j$, one for each key: $e^{s_j} / \sum_m e^{s_m}$, positive numbers that
# sum to 1. Here a score is the dot product of query and key, times a sharpness that we choose.

# %% tags=["slide:I/8-query-key-value"]
keys = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # three addresses in the plane
values = np.array([[10.0], [20.0], [30.0]])  # what is stored there
query = np.array([0.9, 0.6])  # between the first two addresses

answers = {}
for sharpness in (0.0, 2.0, 50.0):
    weights = softmax(sharpness * keys @ query)
    answers[f"sharpness {sharpness:g}"] = weights
    print(f"sharpness {sharpness:4g}: weights {weights.round(3)}, answer {(weights @ values).item():.2f}")

assert np.allclose(answers["sharpness 0"] @ values, values.mean())  # no comparison at all: the plain average
assert np.allclose(answers["sharpness 50"] @ values, 10.0, atol=1e-4)  # a hard look-up: the nearest key wins
viz.bars(
    {
        name: dict(zip(["key 1 → 10", "key 2 → 20", "key 3 → 30"], w.round(3), strict=True))
        for name, w in answers.items()
    },
    y_label="weight",
    title="One query, three keys",
    caption="With sharpness 0 the three keys have the same weight. With larger sharpness the nearest key gets more "
    "of it, and with 50 all of it, as in a dictionary.",
)

# %% [markdown]
# ## Step one: relate
# Slide `I/9-relate`.
#
# The $N$ queries are the rows $q_i$ of a matrix $Q$, $(N, d)$; the $M$ keys are the rows $k_j$ of $K$, $(M, d)$. How
# well does a query fit a key? Take their dot product, one number for each pair, and divide by $\sqrt{d}$. This gives
# the scores $E$, $(N, M)$:
#
# $$E_{ij} = \frac{q_i \cdot k_j}{\sqrt{d}}$$
#
# Why divide? If the entries of $q$ and $k$ are independent with variance 1, the dot product is a sum of $d$ terms of
# variance 1, so its standard deviation is $\sqrt d$. With wide keys, scores would reach the tens, softmax would put
# all its weight on one key, and its gradient would vanish. We measure whether this is true.

# %% tags=["slide:I/9-relate"]
widths = [2, 8, 32, 128, 512]
spread, gradient = {"without": [], "with 1/√d": []}, {"without": [], "with 1/√d": []}
for d in widths:
    q, k = rng.standard_normal((200, d)), rng.standard_normal((50, d))
    for name, scale in (("without", 1.0), ("with 1/√d", 1 / math.sqrt(d))):
        scores = mv.Tensor(q @ k.T * scale, requires_grad=True)
        probabilities = softmax(scores)
        probabilities.backward(rng.standard_normal(probabilities.shape))  # a random cotangent
        spread[name].append(scores.data.std())
        gradient[name].append(np.abs(scores.grad).mean())

print("  d   √d     spread of the scores without, with the scale")
for d, with_, without in zip(widths, spread["with 1/√d"], spread["without"], strict=True):
    print(f"{d:3} {math.sqrt(d):6.2f} {without:16.2f} {with_:12.2f}")
assert np.allclose(spread["without"], np.sqrt(widths), rtol=0.1)
assert np.allclose(spread["with 1/√d"], 1.0, rtol=0.1)
assert gradient["without"][-1] < 0.25 * gradient["with 1/√d"][-1]

# %% tags=["slide:I/9-relate"]
viz.curves(
    {name: (widths, g) for name, g in gradient.items()},
    x_label="width of a key, d",
    y_label="mean |gradient| of the scores",
    log="xy",
    title="What the scale is for",
    caption="Without the scale, wider keys give larger scores: the softmax saturates and its gradient becomes "
    "small. With the factor 1/√d neither depends on d.",
)

# %% [markdown]
# ## Step two: aggregate
# Slide `I/11-aggregate`.
#
# Softmax over the keys turns each row of scores into weights $A$, $(N, M)$, which are positive and sum to 1. Each key
# has a value; the values are the rows $v_j$ of $V$, $(M, d_v)$. The output of a query is the average of the values
# with these weights, and all outputs together are $(N, d_v)$:
#
# $$A_{ij} = \frac{e^{E_{ij}}}{\sum_m e^{E_{im}}}, \qquad y_i = \sum_j A_{ij}\, v_j .$$
#
# An average always lies within the range of the values it averages. So attention only *moves* information between
# tokens; making something new of it is the task of the MLP that follows (chapter 07).

# %% tags=["slide:I/11-aggregate"]
q, k, v = rng.standard_normal((4, 8)), rng.standard_normal((6, 8)), rng.standard_normal((6, 3))
weights = softmax(q @ k.T / math.sqrt(8), axis=-1)  # (N, M)
y = weights @ v  # (N, d_v)

assert np.allclose(weights.sum(axis=-1), 1) and (weights > 0).all()
assert (y >= v.min(axis=0)).all() and (y <= v.max(axis=0)).all()  # inside the box of the values
viz.heatmap(
    weights,
    x_label="key",
    y_label="query",
    values=True,
    title="The attention weights of four queries over six keys",
    caption="Each row is one query, each column one key. Every row sums to 1: a query distributes its attention "
    "over the keys.",
)

# %% [markdown]
# ## From loops to matrices to the library
# Slide `I/12-one-head-as-matrices`.
#
# We write the whole layer three times. First with loops, as in the formulas, one pair at a time.


# %%
def attention_loops(q, k, v):
    """Attention one pair at a time: q (N, d), k (M, d), v (M, d_v) -> (N, d_v)."""
    out = np.zeros((len(q), v.shape[1]), dtype=q.dtype)
    for i in range(len(q)):
        scores = np.array([q[i] @ k[j] / math.sqrt(q.shape[1]) for j in range(len(k))])
        e = np.exp(scores - scores.max())
        for j in range(len(k)):
            out[i] += e[j] / e.sum() * v[j]
    return out


# %% [markdown]
# Then with matrices, all pairs at once. The tokens are the rows of $X$; the products $X W_Q$, $X W_K$ and $X W_V$
# make their queries, keys and values. With these, *one head* is $\mathrm{softmax}(Q K^T / \sqrt{d})\, V$:


# %% tags=["slide:I/12-one-head-as-matrices"]
def attention_matrices(q, k, v):
    """Attention for all pairs at once, with any leading axes."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (..., N, M)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) @ v  # (..., N, d_v)


x = rng.standard_normal((2, 4))  # two tokens of width four, as on the slide
w_q, w_k, w_v = rng.standard_normal((3, 4, 3))
q, k, v = x @ w_q, x @ w_k, x @ w_v  # (2, 3) each
one_head = attention_matrices(q, k, v)
assert one_head.shape == (2, 3)
assert np.allclose(one_head, attention_loops(q, k, v))

# %% [markdown]
# Last with the library's op, which also has a mask and a backward pass. All three agree:

# %%
q, k, v = rng.standard_normal((5, 16)), rng.standard_normal((7, 16)), rng.standard_normal((7, 4))
assert np.allclose(attention_loops(q, k, v), attention_matrices(q, k, v))
assert np.allclose(attention_loops(q, k, v), scaled_dot_product_attention(q, k, v))

# %% [markdown]
# One example proves little. `mv.laws.check` draws many, of all shapes, and tries to find one for which your function
# is wrong. Our loops have no mask, so they are not a complete answer yet: see what the report says about that.

# %%
report = mv.laws.check("scaled_dot_product_attention", lambda q, k, v, mask=None: attention_matrices(q, k, v))
assert not report.passed  # it ignores the mask

# %% [markdown]
# ## The shapes
# Slide `C/92-attention-layer`.
#
# | what | from | shape |
# |---|---|---|
# | queries $Q$ | given | $(N_Q, D_Q)$ |
# | inputs $X$ | given | $(N_X, D_X)$ |
# | keys $K = X W_K$ | $W_K$: $(D_X, D_Q)$ | $(N_X, D_Q)$ |
# | values $V = X W_V$ | $W_V$: $(D_X, D_V)$ | $(N_X, D_V)$ |
# | scores $E = Q K^T / \sqrt{D_Q}$ | | $(N_Q, N_X)$ |
# | weights $A$ = softmax over the inputs | | $(N_Q, N_X)$ |
# | outputs $Y = A V$ | | $(N_Q, D_V)$ |
#
# Queries and keys must have the same width, because they are compared; values may have another. In the cell all sizes
# are different, so an exchanged axis would raise an error.

# %% tags=["slide:C/92-attention-layer", "worked:attention-shapes"]
n_q, n_x, d_x, d_q, d_v = rng.permutation(np.arange(2, 12))[:5]
queries, inputs = rng.standard_normal((n_q, d_q)), rng.standard_normal((n_x, d_x))
w_k, w_v = rng.standard_normal((d_x, d_q)), rng.standard_normal((d_x, d_v))

k, v = inputs @ w_k, inputs @ w_v
e = queries @ k.T / math.sqrt(d_q)
a = softmax(e, axis=1)
y = a @ v

print(f"N_Q = {n_q}, N_X = {n_x}, D_X = {d_x}, D_Q = {d_q}, D_V = {d_v}")
expected = {
    "keys": (n_x, d_q),
    "values": (n_x, d_v),
    "scores": (n_q, n_x),
    "weights": (n_q, n_x),
    "outputs": (n_q, d_v),
}
for array, (name, shape) in zip((k, v, e, a, y), expected.items(), strict=True):
    assert array.shape == shape
    print(f"{name:8} {array.shape}")
assert np.allclose(y, scaled_dot_product_attention(queries, k, v))

# %% [markdown]
# ## Self-attention: the tokens ask each other
# Slides `I/7-self-attention`, `C/97-self-attention-layer`, `Z/32-self-attention`.
#
# In **self-attention** the queries come from the same tokens as keys and values, through a third matrix: $Q = X W_Q$.
# The scores are then square, $(N_X, N_X)$, and every token becomes a mixture of all tokens, itself included.
#
# > *A correction.* Deck Z writes $W_q X$ (tokens in columns) and then $Q K^T$ (tokens in rows); both cannot hold at
# > once. We keep tokens in rows everywhere. On the first self-attention page of Deck C the queries are still listed
# > as an input; from the next page on they are computed from $X$.


# %% tags=["slide:I/7-self-attention", "slide:C/97-self-attention-layer", "slide:Z/32-self-attention"]
def self_attention(x, w_q, w_k, w_v):
    """Self-attention of tokens in rows: x (N, D) -> (N, D_V)."""
    return attention_matrices(x @ w_q, x @ w_k, x @ w_v)


x = rng.standard_normal((6, 5))
w_q, w_k, w_v = rng.standard_normal((5, 4)), rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
mixing = mv.ops.attention_weights(x @ w_q, x @ w_k)
assert mixing.shape == (6, 6)  # square
assert (mixing > 0).all() and np.allclose(mixing.sum(axis=1), 1)
y = self_attention(x, w_q, w_k, w_v)
assert y.shape == (6, 3)  # as many outputs as inputs
assert np.allclose(y, mixing @ (x @ w_v))  # each token has become a mixture of what all tokens offer

# every output depends on every token: nudge one, and all outputs move
nudged = x.copy()
nudged[4] += 0.1
moved = np.abs(self_attention(nudged, w_q, w_k, w_v) - y).max(axis=1)
assert (moved > 0).all()
print("token 4 was nudged by 0.1; the outputs moved by", moved.round(4))

# %% [markdown]
# ## Cross-attention: one set asks another
# Slides `A/25-queries-keys-values`, `A/26-cross-attention`, `I/26-self-versus-cross`.
#
# Queries and keys need not come from the same set. In **cross-attention** a sequence $Z$ of length $L$ makes the
# queries, and another, $Z'$, of length $L'$, the keys and values. This is how the decoder of a transformer reads the
# encoder (chapter 07), and how the object queries of DETR (chapter 15) and of Mask2Former (chapter 19) read the
# image. The formula stays the same. As on the slide, each projection has a bias. The library's `linear(x, w, b)` is
# $x w^T + b$: it stores its matrix as (out, in), the transpose of $W_Q$, $W_K$ and $W_V$ above.
#
# > *A correction.* The sequence that attends is $Z$, from which the queries are made; Deck A names another symbol
# > there.

# %% tags=["slide:A/25-queries-keys-values", "slide:A/26-cross-attention", "slide:I/26-self-versus-cross"]
length, other_length, d_m, d_k, d_v = 3, 7, 6, 5, 4
z, z_other = rng.standard_normal((length, d_m)), rng.standard_normal((other_length, d_m))
w_q, w_k, w_v = (rng.standard_normal((d, d_m)) for d in (d_k, d_k, d_v))
b_q, b_k, b_v = (rng.standard_normal(d) for d in (d_k, d_k, d_v))


def attend(z, z_other):
    """Tokens z (L, d_m) ask tokens z_other (L', d_m): the weights (L, L') and the outputs (L, d_v)."""
    q, k, v = linear(z, w_q, b_q), linear(z_other, w_k, b_k), linear(z_other, w_v, b_v)
    weights = mv.ops.attention_weights(q, k)
    return weights, weights @ v


weights, y = attend(z, z_other)  # cross
assert weights.shape == (length, other_length) and y.shape == (length, d_v)
assert (weights > 0).all() and np.allclose(weights.sum(axis=1), 1)  # each row: a probability distribution
weights, y = attend(z, z)  # self: the same function, the same parameters
assert weights.shape == (length, length)

# %% [markdown]
# ## Queries that are learned
# Slides `I/27-learnable-queries`, `I/30-cross-attention-relates`, `I/31-cross-attention-aggregates`.
#
# Queries can also be parameters that do not depend on the data. In the mask transformers, $N$ learned vectors of
# width $C$ attend to the $HW$ cells of an image's feature map. The first step gives one map over the image for each
# query, $(N, HW)$. The second gives one vector for each query, $(N, C)$, to which its previous state is added.
#
# We do this on a real photo, cut into $24 \times 36$ cells. The features of a cell are its mean colour and its place,
# five numbers, projected to $C$ channels by a random matrix.
#
# > *A correction.* The formula for cross-attention on the slide leaves out the scale; the published code has it, and
# > so have we.

# %%
photo = mv.data.photos.china(size=(96, 144))  # (3, H, W), values 0 to 1
height, width = 24, 36  # cells of 4 x 4 pixels
cells = photo.reshape(3, height, 4, width, 4).mean(axis=(2, 4)).reshape(3, -1).T  # (HW, 3) mean colours
cells = cells.astype(np.float32)
rows, columns = np.divmod(np.arange(height * width), width)
position = np.stack([rows / height, columns / width], axis=1).astype(np.float32)  # (HW, 2)
channels = 16
colour_and_place = np.concatenate([4 * (cells - cells.mean(axis=0)), position - 0.5], axis=1)  # (HW, 5)
features = colour_and_place @ rng.standard_normal((5, channels)).astype(np.float32)  # (HW, C)
features.shape

# %% [markdown]
# We train four queries by gradient descent *through* the attention. For each query we choose a colour, and its
# output, the average of the colours it reads, should become that colour. Nothing says where in the photo that colour
# is.

# %% tags=["slide:I/27-learnable-queries"]
names = ["bright sky", "shadow", "red wood", "grey-green"]
wanted = np.array([[0.85, 0.92, 1.0], [0.15, 0.15, 0.12], [0.6, 0.25, 0.15], [0.45, 0.5, 0.35]], np.float32)

start = 0.1 * rng.standard_normal((4, channels)).astype(np.float32)  # (N, C), not from the image
queries = mv.Tensor(start, requires_grad=True)
losses = []
for _ in range(1000):
    read = scaled_dot_product_attention(queries, features, cells)  # (N, 3): the colour each query read
    loss = mv.ops.mse_loss(read, wanted)
    losses.append(float(loss))
    loss.backward()
    queries.data -= np.float32(50) * queries.grad
    queries.grad = None
print(f"error of the colours read: {losses[0]:.4f} at first, {losses[-1]:.4f} after 1000 steps")
assert losses[-1] < 0.1 * losses[0]

# %% [markdown]
# Where do they look? For each query, take the tenth of the cells whose colour is nearest to the chosen one, and
# measure how much of the attention lies on them.

# %% tags=["slide:I/30-cross-attention-relates", "slide:I/31-cross-attention-aggregates"]
maps = mv.ops.attention_weights(queries, features)  # relate: (N, HW)
read = maps @ features  # aggregate: (N, C)
state = queries.data + read  # residual: the query's new state
assert maps.shape == (4, height * width) and read.shape == state.shape == (4, channels)

distance = np.linalg.norm(cells - wanted[:, None], axis=-1)  # (N, HW): how far from the wanted colour
near = distance <= np.quantile(distance, 0.1, axis=1, keepdims=True)
on_near = (maps * near).sum(axis=1)
print({name: f"{share:.0%}" for name, share in zip(names, on_near, strict=True)}, "(chance: 10%)")
assert (on_near[:3] > 0.25).all()

viz.attention_maps(
    maps.reshape(4, height, width),
    image=photo,
    titles=names,
    columns=5,
    title="Four learned queries read one photo",
    caption="Bright cells are those a query attends to. Each was told only a colour, and found sky, shadows, red "
    "wood and leaves. The fourth query mixes bright and dark leaves: only their average has its colour.",
)

# %% [markdown]
# ## Masks: what may be attended
#
# Padding must not be read, and a decoder must not read later tokens. A **mask** says for each pair whether it may
# attend. It is boolean, and in this library **True = may be attended**. A masked score counts as $-\infty$, so its
# weight is exactly 0.
#
# Two common shortcuts go wrong. Adding $-100$ instead of $-\infty$ *leaks* when scores exceed 100. And consider a row
# in which *everything* is masked. Adding a large negative number gives *uniform* weights on keys that must not be
# read, and $-\infty$ gives NaN, which spoils the whole batch. We define the result for such an empty row: output 0,
# gradient 0. First the leak.

# %%
q = np.array([[30.0, 0.0]])
k = np.array([[20.0, 0.0], [0.1, 0.0]])
v = np.array([[1.0], [0.0]])  # the answer is the weight of key 0, which is forbidden
mask = np.array([[False, True]])

scores = q @ k.T / math.sqrt(2)
additive = softmax(scores + np.where(mask, 0.0, -100.0)) @ v
boolean = scaled_dot_product_attention(q, k, v, mask)
print(f"score of the forbidden key: {scores[0, 0]:.0f}")
print(f"a mask of -100 lets through {additive.item():.3f}, a boolean mask {boolean.item():.3f}")
assert additive.item() > 0.99 and boolean.item() == 0.0

# %% [markdown]
# Now the row that may attend to nothing, in three ways.

# %%
nothing = np.array([[False, False]])
large = softmax(np.where(nothing, 0.0, -1e9))
with np.errstate(invalid="ignore"):
    infinite = np.exp(np.float64(-np.inf) - np.float64(-np.inf))  # a score less the largest score
assert (large == 0.5).all() and np.isnan(infinite)

q_leaf = mv.Tensor(q, requires_grad=True)
out = scaled_dot_product_attention(q_leaf, k, v, nothing)
out.backward(np.ones((1, 1)))
assert out.data.item() == 0.0 and (q_leaf.grad == 0).all()  # defined, never NaN
print(f"-1e9: weights {large[0]}; -inf: {infinite}; minivis: output {out.item()}, gradient {q_leaf.grad[0]}")

# %% [markdown]
# ## Several heads
# Slides `Z/34-multi-head-attention`, `C/105-multi-head-self-attention`, `I/15-multi-head-attention`,
# `A/27-several-heads`, `I/26-self-versus-cross`.
#
# One softmax can attend in only one way at a time. **Multi-head attention** runs $h$ heads side by side. Each has its
# own small projections; their outputs are concatenated and mixed by one more matrix $W_O$:
#
# $$H_i = \mathrm{Attention}(Q W_i^Q,\; K W_i^K,\; V W_i^V), \qquad \mathrm{MultiHead} = [H_1, \ldots, H_h]\, W_O .$$
#
# $W_i^Q$ and $W_i^K$ are $(d_{model}, d_k)$, $W_i^V$ is $(d_{model}, d_v)$ and $W_O$ is $(h d_v, d_{model})$.
# In self-attention the three inputs $Q$, $K$ and $V$ are one and the same $X$, $(N, d_{model})$.
#
# If the matrices of all heads are put side by side, $h$ small products become one large product and a reshape; this
# is what libraries do. The scale uses the width of *one head*.


# %%
def multi_head_loops(x, w_q, w_k, w_v, w_o):
    """Head by head: w_q, w_k (h, D, d_k), w_v (h, D, d_v), w_o (h d_v, D); x (N, D) -> (N, D)."""
    heads = [attention_matrices(x @ q, x @ k, x @ v) for q, k, v in zip(w_q, w_k, w_v, strict=True)]
    return np.concatenate(heads, axis=-1) @ w_o  # h times (N, d_v), side by side: (N, h d_v)


def multi_head_reshape(x, w_q, w_k, w_v, w_o):
    """All heads in one product: project to h * d, split the last axis into heads, attend, join."""
    h = len(w_q)

    def project(w):
        side_by_side = w.transpose(1, 0, 2).reshape(x.shape[-1], -1)  # (D, h d)
        return (x @ side_by_side).reshape(len(x), h, -1).swapaxes(0, 1)  # (h, N, d)

    heads = attention_matrices(project(w_q), project(w_k), project(w_v))  # (h, N, d_v)
    return heads.swapaxes(0, 1).reshape(len(x), -1) @ w_o  # (N, D)


# %% tags=["slide:Z/34-multi-head-attention", "slide:C/105-multi-head-self-attention", "worked:multi-head-shapes"]
n, d_model, h, d_k, d_v = 5, 12, 3, 4, 2
x = rng.standard_normal((n, d_model))
w_q, w_k = rng.standard_normal((2, h, d_model, d_k))
w_v = rng.standard_normal((h, d_model, d_v))
w_o = rng.standard_normal((h * d_v, d_model))
first_head = attention_matrices(x @ w_q[0], x @ w_k[0], x @ w_v[0])
y = multi_head_loops(x, w_q, w_k, w_v, w_o)
assert first_head.shape == (n, d_v) and y.shape == (n, d_model)
assert np.allclose(y, multi_head_reshape(x, w_q, w_k, w_v, w_o))
print(f"{h} heads of {first_head.shape}, side by side {(n, h * d_v)}, mixed by W_O {w_o.shape}: {y.shape}")

# %% [markdown]
# The layer of the library, `mv.nn.MultiHeadAttention`, owns the four matrices. It shows its weights to whoever looks at it:
# `with mv.nn.looking(layer) as seen` collects them in a dictionary of arrays. Layers can be stacked: the first reads the
# embedding of the input, every later one reads the output of the one before. As on the slide, we take eight heads.

# %% tags=["slide:I/15-multi-head-attention", "slide:A/27-several-heads"]
layers = [mv.nn.MultiHeadAttention(32, 8, rng=np.random.default_rng(i)) for i in range(2)]
tokens = rng.standard_normal((1, 10, 32)).astype(np.float32)  # (B, N, D)
per_layer = []
for layer in layers:
    with mv.nn.looking(layer) as seen:
        tokens = layer(tokens)
    per_layer.append(seen["weights"])  # (B, h, N, N)
assert per_layer[0].shape == (1, 8, 10, 10) and tokens.shape == (1, 10, 32)
assert (np.ptp(per_layer[0], axis=1) > 0).all()  # the heads weigh every pair of tokens differently

size = sum(p.size for p in layers[0].parameters())
assert size == 4 * (32 * 32 + 32)
print("parameters of one layer:", size, "= 4 matrices of 32 x 32 and 4 biases of 32")

# %% [markdown]
# The same layer does cross-attention when it is given another set to read: four queries, ten
# tokens, eight maps of $4 \times 10$.

# %% tags=["slide:I/26-self-versus-cross"]
asking = rng.standard_normal((1, 4, 32)).astype(np.float32)
with mv.nn.looking(layers[0]) as seen:
    answers = layers[0](asking, tokens)
weights = seen["weights"]
assert answers.shape == (1, 4, 32) and weights.shape == (1, 8, 4, 10)
answers.shape, weights.shape

# %% [markdown]
# ### What can different heads do?
# Slides `A/11-attention-as-adaptive-kernel`, `A/27-several-heads`.
#
# A head's weight for two patches is a softmax over a product of *learned projections of content plus position*: a
# kernel that adapts to the image. We set the projections of three heads by hand and take one cell of the tower as the
# query. One head compares colours, one compares places, and one compares both.
#
# Can the product of two linear projections express "close by"? Yes. Let a token $x$ hold its features $c$ (colour and
# place, weighted for this head), the number $|c|^2$ and a 1. Project it to the query $(2c, 1)$ and to the key
# $(c, -|c|^2)$. Then $q_i \cdot k_j = 2\, c_i \cdot c_j - |c_j|^2 = |c_i|^2 - |c_i - c_j|^2$: the smaller the
# distance, the higher the score.

# %% tags=["slide:A/11-attention-as-adaptive-kernel", "slide:A/27-several-heads"]
colour = (cells - cells.mean(axis=0)) / cells.std(axis=0)  # (HW, 3)
place = (position - 0.5) / position.std(axis=0)  # (HW, 2)
at = 13 * width + 14  # the cell that asks
w_query, w_key = np.zeros((2, 7, 6))  # from a token of 7 numbers (5 features, |c|^2, 1) to a width of 6
# (2 c, 1)
w_query[:5, :5] = 2 * np.eye(5)
w_query[6, 5] = 1
# (c, -|c|^2)
w_key[:5, :5] = np.eye(5)
w_key[5, 5] = -1

heads = []
for colour_weight, place_weight in ((6.0, 0.0), (0.0, 6.0), (6.0, 6.0)):
    # (HW, 5)
    c = np.concatenate([math.sqrt(colour_weight) * colour, math.sqrt(place_weight) * place], axis=1)
    token = np.concatenate([c, (c**2).sum(axis=1, keepdims=True), np.ones((len(c), 1))], axis=1)  # (HW, 7)
    heads.append(mv.ops.attention_weights(token[[at]] @ w_query, token @ w_key)[0])  # (HW,)

far_colour, far_place = (np.linalg.norm(z - z[at], axis=1) for z in (colour, place))
print("mean distance read   in colour   in place")
for name, head in zip(("colour", "place", "both"), heads, strict=True):
    print(f"head for {name:9} {head @ far_colour:9.2f} {head @ far_place:10.2f}")
print(f"an even average    {far_colour.mean():9.2f} {far_place.mean():10.2f}")
assert heads[0] @ far_colour < 0.5 * far_colour.mean() and heads[1] @ far_place < 0.5 * far_place.mean()

# %% tags=["slide:A/11-attention-as-adaptive-kernel", "slide:A/27-several-heads"]
viz.attention_maps(
    np.stack(heads).reshape(3, height, width),
    image=photo,
    titles=["a head for colour", "a head for place", "a head for both"],
    query=(at // width, at % width),
    title="Three heads, one query (the cross)",
    caption="Bright cells have a large weight for the query at the cross. The formula is the same each time; the "
    "projections make it look for a similar colour anywhere, for near places, or for a similar colour nearby.",
)

# %% [markdown]
# ## Convolution and attention side by side
# Slides `I/22-convolution-has-fixed-weights`, `I/23-attention-has-adaptive-weights`, `I/24-convolution-is-local`,
# `I/25-attention-is-global`.
#
# Both layers replace each token by a weighted sum of tokens. The weights of a convolution are **fixed**: the same
# numbers for every image and every place. And they are **local**: zero outside the kernel. The weights of
# self-attention are **adaptive**: they are computed from the input, so the same parameters mix another image
# differently. And they are **global**: one layer reaches the whole image. We draw the $(N, N)$ matrix that each layer
# applies to a $6 \times 6$ image, for two images. First the convolution.

# %% tags=["slide:I/22-convolution-has-fixed-weights"]
side = 6
images = rng.standard_normal((2, side * side, 4))  # two images, 36 cells with 4 channels
kernel = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16


def blur(pictures):
    return mv.ops.conv2d(pictures.reshape(-1, 1, side, side), kernel[None, None], padding=1).reshape(
        -1, side**2
    )


convolution = blur(np.eye(side * side)).T  # (N, N): the answers to pictures of a single 1 are its columns
for image in images:  # one matrix for both images
    np.testing.assert_allclose(blur(image.T), (convolution @ image).T)
inner = np.arange(side * side).reshape(side, side)[1:-1, 1:-1].ravel()
# the same nine weights at every place (but at the rim, where the kernel is cut)
for row in convolution[inner]:
    np.testing.assert_array_equal(row[row > 0], kernel.ravel())

# %% [markdown]
# Now self-attention with one set of parameters $W_Q$, $W_K$, on the same two images.

# %% tags=["slide:I/22-convolution-has-fixed-weights", "slide:I/23-attention-has-adaptive-weights"]
w_q, w_k = rng.standard_normal((2, 4, 4)) / 2  # queries and keys of variance 1
attention = [mv.ops.attention_weights(image @ w_q, image @ w_k) for image in images]  # each (N, N)
for weights, image in zip(attention, images, strict=True):
    out = scaled_dot_product_attention(image @ w_q, image @ w_k, image)
    np.testing.assert_allclose(out, weights @ image)  # this is the matrix that mixes the cells

difference = np.abs(attention[0] - attention[1]).max()
print(f"largest difference between the two images' matrices: convolution 0, attention {difference:.2f}")
assert difference > 0.1
viz.attention_maps(
    np.stack([convolution, convolution, *attention]),
    titles=["convolution, image 1", "convolution, image 2", "attention, image 1", "attention, image 2"],
    columns=4,
    title="What mixes the cells of an image (rows: outputs, columns: inputs)",
    caption="Each picture is the matrix that a layer applies to the cells of one image. The convolution applies "
    "the same banded matrix to both images. Attention applies a full matrix, which is different for each image.",
)

# %% [markdown]
# Locality can be measured from outside: take a cotangent that is 1 at *one* output cell and 0 elsewhere, and compute
# the gradient with respect to the input. It is non-zero exactly at the cells on which that output depends.


# %%
def sees(layer):
    """Which of 9 x 9 input cells the middle output depends on: the gradient's size at each."""
    x = mv.Tensor(np.random.default_rng(3).standard_normal((1, 4, 9, 9)), requires_grad=True)
    y = layer(x)  # (1, C, 9, 9)
    cotangent = np.zeros(y.shape)
    cotangent[:, :, 4, 4] = 1
    y.backward(cotangent)
    return np.abs(x.grad).sum(axis=(0, 1))


conv_weight = rng.standard_normal((4, 4, 3, 3))


def convolve(x):
    return mv.ops.conv2d(x, conv_weight, padding=1)


def attend_all(x):
    tokens = x.reshape(4, 81).transpose()  # (HW, C): the flattened feature map
    y = scaled_dot_product_attention(tokens @ w_q, tokens @ w_k, tokens)
    return y.transpose().reshape(1, 4, 9, 9)


# %% tags=["slide:I/24-convolution-is-local", "slide:I/25-attention-is-global"]
seen = {
    "one convolution": sees(convolve),
    "two": sees(lambda x: convolve(convolve(x))),
    "one attention": sees(attend_all),
}
counts = {name: int((g > 0).sum()) for name, g in seen.items()}
print("cells that the middle output depends on, of 81:", counts)
assert list(counts.values()) == [9, 25, 81]
viz.attention_maps(
    np.stack([(g / g.max()) ** 0.3 for g in seen.values()]),
    titles=[f"{name}: {counts[name]} cells" for name in seen],
    title="Which cells the middle cell depends on",
    caption="Brightness is the size of the gradient (to the power 0.3, so that small ones show). With 3×3 "
    "convolutions the reach grows by one cell with every layer; one attention reaches all cells.",
)

# %% [markdown]
# ## Attention does not depend on order
# Slides `C/104-permutation-equivariance`, `Z/32-self-attention`.
#
# If the tokens are permuted, the outputs are permuted in the same way: $f(\sigma(x)) = \sigma(f(x))$, where $\sigma$
# puts the rows of a matrix into another order. Self-attention works on *sets*. This is a law (**permutation
# equivariance**), and a problem for images, whose cells have places. The remedy is to add position codes to the
# tokens (chapters 07 and 08). The cell shows both: that the law holds, and that it no longer holds with position
# codes, as intended.

# %% tags=["slide:C/104-permutation-equivariance", "slide:Z/32-self-attention", "worked:permutation-equivariance"]
x = rng.standard_normal((8, 5))
w_q, w_k, w_v = rng.standard_normal((3, 5, 5))
order = rng.permutation(8)
assert np.allclose(self_attention(x[order], w_q, w_k, w_v), self_attention(x, w_q, w_k, w_v)[order])

codes = rng.standard_normal((8, 5))  # one vector a place, the same whatever stands there
with_codes = np.abs(
    self_attention(x[order] + codes, w_q, w_k, w_v) - self_attention(x + codes, w_q, w_k, w_v)[order]
).max()
print(f"permuted tokens, difference of the outputs: 0 without position codes, {with_codes:.2f} with them")
assert with_codes > 0.1

# %% [markdown]
# ## What it costs
# Slide `Z/32-self-attention`.
#
# Every query is compared with every key: $N^2$ scores of $d$ multiply-adds each, and as many again for the values.
# Twice as many tokens need four times the work, and four times the memory for the weights. A photo in patches of 16
# pixels has 196 tokens at $224^2$ pixels, and 784 at $448^2$. The windows of Swin (chapter 10) avoid this quadratic
# growth.

# %% tags=["slide:Z/32-self-attention", "worked:quadratic-cost"]
lengths = [128, 256, 512, 1024, 2048]
d = 32
seconds = []
for n in lengths:
    q, k, v = rng.standard_normal((3, n, d)).astype(np.float32)
    runs = []
    for _ in range(5):
        started = time.perf_counter()
        scaled_dot_product_attention(q, k, v)
        runs.append(time.perf_counter() - started)
    seconds.append(min(runs))

multiply_adds = [2 * n * n * d for n in lengths]
for fewer, more in zip(multiply_adds, multiply_adds[1:], strict=False):
    assert more == 4 * fewer  # counted: twice the tokens, exactly four times the work
slope = np.polyfit(np.log(lengths), np.log(seconds), 1)[0]
print(f"fitted exponent: time grows like N^{slope:.2f}")

# %% tags=["slide:Z/32-self-attention"]
guide = [seconds[-1] * (n / lengths[-1]) ** 2 for n in lengths]
viz.curves(
    {"measured": (lengths, seconds), "N² through the last point": (lengths, guide)},
    x_label="tokens, N",
    y_label="seconds",
    log="xy",
    title="The cost of attention",
    caption="On logarithmic axes a power law is a straight line whose slope is the exponent. For attention the "
    "slope is close to 2.",
)

# %% [markdown]
# ## Backwards
#
# The backward pass applies chapter 01 four times. As there, $\bar V$ is the gradient of the loss with respect to $V$,
# of the same shape, and $\odot$ multiplies element by element. From $Y = A V$: $\;\bar V = A^T \bar Y$,
# $\;\bar A = \bar Y V^T$. Through the softmax, row by row:
# $\bar E = A \odot (\bar A - \mathrm{rowsum}(\bar A \odot A))$. Through the scores: $\bar Q = \bar E K / \sqrt d$,
# $\;\bar K = \bar E^T Q / \sqrt d$. A masked pair has weight 0, so its gradient is 0, too: a mask also holds in the
# backward pass.

# %%
from minivis.gradcheck import check_gradient

q, k, v = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 6, 5))
mask = rng.random((2, 4, 6)) < 0.6
error = check_gradient(lambda q, k, v: scaled_dot_product_attention(q, k, v, mask), q, k, v)
print(f"relative error against finite differences: {error:.0e}")

leaves = {name: mv.Tensor(a, requires_grad=True) for name, a in (("q", q), ("k", k), ("v", v))}
viz.graph(
    mv.ops.attention_composed(*leaves.values()),
    names=leaves,
    title="Attention as a graph of smaller ops",
    caption="The composed form, drawn op by op. The library's own op computes all of this in one node; a law says "
    "that both are equal.",
)

# %% [markdown]
# ## Exercises
#
# Each exercise has a stub to fill in, a cell that checks it, and a solution to unfold when you have tried. A check by
# laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its digits, the input
# arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: the weights
# Compute the weights of every query over every key: `q` is $(N, d)$, `k` is $(M, d)$, the result $(N, M)$. Scores of
# 10,000 must not overflow. Hint: which axis has to sum to 1?


# %% tags=["exercise:weights"]
def my_weights(q, k): ...  # your lines here


# %% tags=["check:weights"]
_q, _k = np.random.default_rng(1).standard_normal((3, 4)), np.random.default_rng(2).standard_normal((5, 4))
passed = claims(
    "attention weights",
    (
        "have one row a query and one column a key",
        lambda: my_weights(_q, _k).shape,
        (3, 5),
        "q @ k.T has the product of query i and key j at [i, j].",
    ),
    (
        "sum to 1 over the keys",
        lambda: my_weights(_q, _k).sum(axis=1),
        np.ones(3),
        "The keys are the columns: divide by the sum along axis 1, with keepdims=True.",
    ),
    (
        "survive scores of 10,000",
        lambda: my_weights(1e4 * _q, _k).max(),
        at_most(1),
        "e to the power of 10,000 is infinite. What may be subtracted from all scores of a row without changing the result?",
    ),
    (
        "are those of the library",
        lambda: my_weights(_q, _k),
        mv.ops.attention_weights(_q, _k),
        "Is the score divided by the root of d, the width of a key?",
    ),
).passed

# %% [markdown] tags=["solution:weights"]
# <details><summary>Solution</summary>
#
# ```python
# def my_weights(q, k):
#     scores = q @ k.T / np.sqrt(q.shape[1])
#     e = np.exp(scores - scores.max(axis=1, keepdims=True))
#     return e / e.sum(axis=1, keepdims=True)
# ```
#
# Subtracting the largest score of a row does not change the quotient, and then no exponential exceeds 1.
# </details>

# %% [markdown]
# ### Exercise 2: attention with a mask
# Write `my_attention(q, k, v, mask=None)` for any leading axes: `q` $(\ldots, N, d)$, `k` $(\ldots, M, d)$,
# `v` $(\ldots, M, d_v)$, and a boolean mask that broadcasts to $(\ldots, N, M)$, True = may be attended. A
# query that may attend to nothing gets 0, and scores of thousands must not overflow. Hint: what is
# $-\infty - (-\infty)$?


# %% tags=["exercise:attention"]
def my_attention(q, k, v, mask=None): ...  # your lines here


# %% tags=["check:attention"]
passed = mv.laws.check("scaled_dot_product_attention", my_attention).passed

# %% [markdown] tags=["solution:attention"]
# <details><summary>Solution</summary>
#
# ```python
# def my_attention(q, k, v, mask=None):
#     scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]))
#     allowed = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
#     highest = np.where(allowed, scores, -np.inf).max(axis=-1, keepdims=True)
#     highest = np.where(np.isfinite(highest), highest, 0).astype(scores.dtype)  # an empty row has no highest score
#     e = np.exp(np.where(allowed, scores - highest, -np.inf))  # exp(-inf) is exactly 0
#     total = e.sum(axis=-1, keepdims=True)
#     return (e / np.where(total > 0, total, 1)).astype(v.dtype) @ v
# ```
#
# The scale is a Python number: a NumPy float64 scalar such as `np.sqrt(d)` would turn float32 into float64.
# </details>

# %% [markdown]
# ### Exercise 3: several heads
# Write `my_multi_head(query, key, value, weights, heads, mask=None)` for `query` $(B, N, D)$, `key` and
# `value` $(B, M, D)$; the mask, if there is one, is $(N, M)$. `weights` is a dictionary with `w_q`, `w_k`,
# `w_v`, `w_o`, each $(\text{out}, \text{in})$, and biases `b_q`, `b_k`, `b_v`, `b_o`. You may use the
# library's attention for a single head. Hint: which width belongs under the root now?


# %% tags=["exercise:heads"]
def my_multi_head(query, key, value, weights, heads, mask=None): ...  # your lines here


# %% tags=["check:heads"]
passed = mv.laws.check("multi_head_attention", my_multi_head).passed

# %% [markdown] tags=["solution:heads"]
# <details><summary>Solution</summary>
#
# ```python
# def my_multi_head(query, key, value, weights, heads, mask=None):
#     def split(x, name):
#         x = x @ weights["w_" + name].T + weights["b_" + name]  # (..., N, D)
#         return x.reshape(*x.shape[:-1], heads, -1).swapaxes(-2, -3)  # (..., h, N, D/h)
#
#     y = scaled_dot_product_attention(split(query, "q"), split(key, "k"), split(value, "v"), mask)
#     y = y.swapaxes(-2, -3)  # (..., N, h, D/h)
#     return y.reshape(*y.shape[:-2], -1) @ weights["w_o"].T + weights["b_o"]
# ```
#
# Each head has the width $D/h$, and the scale must use this width.
# </details>

# %% [markdown]
# ### Exercise 4: backwards
# Return the output *and* a function `vjp`. It takes the cotangent of the output and returns a tuple with those of
# `q`, `k` and `v`. Begin with your answer to exercise 2: the same laws hold, also those of the mask. Hint: a masked
# pair has weight 0; what do the formulas of the last section give for it?


# %% tags=["exercise:backward"]
def my_attention_with_vjp(q, k, v, mask=None): ...  # your lines here: return out, vjp


# %% tags=["check:backward"]
passed = mv.laws.check("scaled_dot_product_attention", my_attention_with_vjp, vjp=True).passed

# %% [markdown] tags=["solution:backward"]
# <details><summary>Solution</summary>
#
# ```python
# def my_attention_with_vjp(q, k, v, mask=None):
#     scale = 1 / math.sqrt(q.shape[-1])
#     scores = q @ k.swapaxes(-1, -2) * scale
#     allowed = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
#     highest = np.where(allowed, scores, -np.inf).max(axis=-1, keepdims=True)
#     highest = np.where(np.isfinite(highest), highest, 0).astype(scores.dtype)
#     e = np.exp(np.where(allowed, scores - highest, -np.inf))
#     total = e.sum(axis=-1, keepdims=True)
#     a = (e / np.where(total > 0, total, 1)).astype(v.dtype)
#
#     def vjp(g):
#         g_a = g @ v.swapaxes(-1, -2)
#         g_e = a * (g_a - (g_a * a).sum(axis=-1, keepdims=True)) * scale
#         return g_e @ k, g_e.swapaxes(-1, -2) @ q, a.swapaxes(-1, -2) @ g
#
#     return a @ v, vjp
# ```
#
# Where the weight is 0, $A \odot (\ldots)$ is 0, so the mask needs no line of its own in the backward pass.
# </details>

# %% [markdown]
# ### Exercise 5: the cost
# How many multiply-adds do the two products of attention (scores, and weights times values) take for an image
# of `height` by `width` pixels, cut into patches of `patch` pixels, with `heads` heads of width `d`? Hint:
# how many tokens are there?


# %% tags=["exercise:bill"]
def my_bill(height, width, patch, heads, d): ...  # your lines here


# %% tags=["check:bill"]
one_head = 2 * 196**2 * 64  # 14 x 14 patches; scores and averages, 64 multiply-adds a pair
passed = claims(
    "the bill",
    (
        "is 2 · 196² · 64 for one head of 64 at 224 x 224 in patches of 16",
        lambda: my_bill(224, 224, 16, 1, 64),
        one_head,
        "There are 14 · 14 tokens. Each of the two products takes d multiply-adds for each pair of tokens.",
    ),
    (
        "is 12 times that for ViT-B/16's twelve heads",
        lambda: my_bill(224, 224, 16, 12, 64),
        12 * one_head,
        "Every head has scores and averages of its own; d is the width of one head.",
    ),
    (
        "is sixteenfold for twice the side",
        lambda: my_bill(448, 448, 16, 12, 64),
        16 * 12 * one_head,
        "Twice the side is four times the tokens. How many pairs are that?",
    ),
    (
        "counts a rectangular image",
        lambda: my_bill(32, 64, 16, 1, 1),
        2 * 8**2,
        "2 rows of 4 patches are 8 tokens: height and width each count.",
    ),
).passed

# %% [markdown] tags=["solution:bill"]
# <details><summary>Solution</summary>
#
# ```python
# def my_bill(height, width, patch, heads, d):
#     tokens = (height // patch) * (width // patch)
#     return 2 * heads * tokens**2 * d
# ```
#
# Twice the side means four times the tokens and sixteen times the cost.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:no-scale"]
# **1. What happens to the weights of attention at a width of 512 if we forget to divide by $\sqrt{d}$?**
#
# <details><summary>Answer</summary>
#
# Nearly all weight goes to one key: the scores have a standard deviation of about 22 instead of 1. The softmax
# saturates, and its gradient vanishes.
#
# ```python
# q, k = rng.standard_normal((100, 512)), rng.standard_normal((50, 512))
# largest = {scale: softmax(q @ k.T * scale).max(axis=1).mean() for scale in (1.0, 1 / math.sqrt(512))}
# assert largest[1.0] > 0.85 and largest[1 / math.sqrt(512)] < 0.25
# ```
# </details>

# %% [markdown] tags=["question:outside"]
# **2. Can the output of attention be larger than all the values it averages?**
#
# <details><summary>Answer</summary>
#
# No. Its weights are positive and sum to 1, so each output lies between the smallest and the largest value. To make
# something new a network needs the MLP.
#
# ```python
# q, k, v = rng.standard_normal((3, 20, 4))
# out = scaled_dot_product_attention(9 * q, k, v)
# assert (out < v.max(axis=0) + 1e-9).all() and (out > v.min(axis=0) - 1e-9).all()
# ```
# </details>

# %% [markdown] tags=["question:equal-keys"]
# **3. What does a query find out if all keys are equal?**
#
# <details><summary>Answer</summary>
#
# The plain mean of the values, whatever it asks: all scores are equal, so all weights are.
#
# ```python
# q, v = rng.standard_normal((3, 4)), rng.standard_normal((6, 2))
# out = scaled_dot_product_attention(q, np.ones((6, 4)), v)
# np.testing.assert_allclose(out, np.broadcast_to(v.mean(axis=0), (3, 2)))
# ```
# </details>

# %% [markdown] tags=["question:more-heads"]
# **4. A layer of width 32 gets eight heads instead of one. What changes: its parameters, or the number of its
# attention maps?**
#
# <details><summary>Answer</summary>
#
# The maps: eight instead of one. The heads divide the 32 numbers among themselves, so the four matrices keep their
# size.
#
# ```python
# one, eight = (mv.nn.MultiHeadAttention(32, heads, rng=0) for heads in (1, 8))
# assert sum(p.size for p in one.parameters()) == sum(p.size for p in eight.parameters())
# with mv.nn.looking(eight) as maps_of_eight:
#     eight(rng.standard_normal((1, 10, 32)).astype(np.float32))
# assert maps_of_eight["weights"].shape == (1, 8, 10, 10)
# ```
# </details>

# %% [markdown] tags=["question:shuffled-keys"]
# **5. In cross-attention the keys are put into another order, and the values with them. What happens to the output?**
#
# <details><summary>Answer</summary>
#
# Nothing: each query finds the same keys and averages the same values. If the *queries* are put into another order,
# the outputs follow.
#
# ```python
# q, (k, v), order = rng.standard_normal((5, 4)), rng.standard_normal((2, 7, 4)), rng.permutation(7)
# out = scaled_dot_product_attention(q, k, v)
# np.testing.assert_allclose(scaled_dot_product_attention(q, k[order], v[order]), out)
# np.testing.assert_allclose(scaled_dot_product_attention(q[::-1], k, v), out[::-1])
# ```
# </details>

# %% [markdown] tags=["question:twice-the-side"]
# **6. An image gets twice as many pixels along each side, and the patches stay as they are. By which factor does the
# map of the attention weights grow?**
#
# <details><summary>Answer</summary>
#
# By 16: there are four times as many tokens, and the map has a number for each pair of them.
#
# ```python
# count = lambda side: mv.vision.patchify(np.zeros((1, 3, side, side)), 16).shape[1]
# assert count(448) ** 2 == 16 * count(224) ** 2 and count(224) == 196
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can compute attention by hand, with loops, with matrices and with the library. It has two steps: it relates (a
#   scaled dot product for each pair) and aggregates (an average of values with the weights of a softmax over keys).
# - You can say what the scale $1/\sqrt d$ is for: it keeps the standard deviation of the scores at 1, whatever the
#   width, so that the gradients do not vanish.
# - You can use the same formula within one set and between two, with several heads, with learned queries, and with
#   masks: boolean, True = may be attended, and a masked key has a weight of exactly 0.
# - You can say what a convolution cannot do: its weights are fixed and local, those of attention depend on the input
#   and reach everywhere. Attention does not depend on the order of the tokens until positions are added.
# - You can say what it costs: $N^2$ scores for $N$ tokens.
#
# Next: [06. Attention inside CNNs](06_attention_inside_cnns.ipynb), where it meets convolution.
