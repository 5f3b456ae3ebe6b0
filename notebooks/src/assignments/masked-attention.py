# %% [markdown]
# # Masked attention: attend only to the object
#
# You write the attention of Mask2Former's decoder with its backward pass, and the two losses for masks.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 45 to 75 minutes. **Before**: the chapters on attention and on Mask2Former.

# %%
import math

import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: masked attention and its gradients (15 points)
#
# In Mask2Former a query attends only to the pixels that are foreground in its own mask of the layer before:
#
# $$Y = \mathrm{softmax}\Big(\mathcal M + \frac{QK^T}{\sqrt d}\Big) V, \qquad
# \mathcal M_{ij} = \begin{cases} 0 & \text{where query } i \text{ may look at pixel } j\\ -\infty & \text{elsewhere.}\end{cases}$$
#
# Write `masked_attention(q, k, v, mask=None)` that returns the output and `vjp`. `q` $(\dots, N, d)$, `k`
# $(\dots, M, d)$, `v` $(\dots, M, e)$; `mask` is boolean, **True = may be attended**, and broadcasts to $(\dots, N, M)$.
#
# - A forbidden pixel has a weight of exactly 0, whatever its score; a score may be 9000, so a large negative number
#   in place of $-\infty$ does not work.
# - A query that may attend to nothing gets 0, and gives no gradient.
# - `vjp(g)` returns `(g_q, g_k, g_v)`:
#   $\bar V = P^T g$, $\bar P = g V^T$, $\bar S_{ij} = P_{ij}(\bar P_{ij} - \sum_m \bar P_{im} P_{im})$,
#   $\bar Q = \bar S K / \sqrt d$, $\bar K = \bar S^T Q / \sqrt d$.


# %% tags=["task:masked-attention"]
def masked_attention(q, k, v, mask=None):
    ### BEGIN SOLUTION
    scale = 1 / math.sqrt(q.shape[-1])
    scores = q @ np.swapaxes(k, -1, -2) * scale  # (..., N, M)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    highest = scores.max(axis=-1, keepdims=True)
    e = np.exp(scores - np.where(np.isfinite(highest), highest, 0))  # exp(-inf) is exactly 0
    total = e.sum(axis=-1, keepdims=True)
    p = (e / np.where(total > 0, total, 1)).astype(q.dtype)

    def vjp(g):
        g_p = g @ np.swapaxes(v, -1, -2)
        g_s = p * (g_p - (g_p * p).sum(axis=-1, keepdims=True))
        return g_s @ k * scale, np.swapaxes(g_s, -1, -2) @ q * scale, np.swapaxes(p, -1, -2) @ g

    return p @ v, vjp
    ### END SOLUTION


# %% tags=["check:masked-attention"]
award(
    "scaled_dot_product_attention",
    masked_attention,
    {
        "the simplest form": 1,
        "scale": 1,
        "mask": 2,
        "gradients of the simplest form": 1,
        "gradient of q": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "mask broadcasts": 1,
        "no leak": 1,
        "nothing to see": 1,
        "gradients agree on anything": 2,
        "gradient of k": 1,
        "gradient of v": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 2: the dice loss (8 points)
#
# How well does a mask of $P$ pixels cover the object? Compute this for each of $N$ masks by itself, with
# $p = \sigma(x)$, then take the mean:
#
# $$L = \frac1N \sum_n \Big( 1 - \frac{2 \sum_i p_{ni} t_{ni} + 1}{\sum_i p_{ni} + \sum_i t_{ni} + 1} \Big), \qquad
# \sigma(x) = \frac{1}{1 + e^{-x}} .$$
#
# Write `dice_loss(logits, targets)` for logits and targets (0 and 1) of shape $(N, P)$. It returns a number. A small
# mask counts as much as a large one. Because of the 1, an empty mask that is predicted as empty costs nothing.


# %% tags=["task:dice"]
def dice_loss(logits, targets):
    ### BEGIN SOLUTION
    p = np.where(logits >= 0, 1, np.exp(-np.abs(logits))) / (1 + np.exp(-np.abs(logits)))
    overlap = (p * targets).sum(axis=1)
    total = p.sum(axis=1) + targets.sum(axis=1)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
    ### END SOLUTION


# %% tags=["check:dice"]
award(
    "dice_loss",
    dice_loss,
    {
        "the simplest form": 2,
        "twice the overlap over the sum": 1,
        "each mask by itself": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "nothing to find": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: the focal loss (9 points)
#
# Most pixels are easy background. The focal loss reduces their share of the cross-entropy. Let $p_t$ be the
# probability of the truth at a pixel: $p_t = \sigma(x)$ where the target is 1, and $1 - \sigma(x) = \sigma(-x)$
# elsewhere. Then
#
# $$L = \frac{1}{NP} \sum_{n,i} \alpha_t\, (1 - p_t)^\gamma\, (-\log p_t), \qquad
# \alpha_t = \alpha \text{ where the target is 1, } 1 - \alpha \text{ elsewhere.}$$
#
# Write `sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2)`. Logits of $\pm 1000$ must give a finite loss:
# $-\log \sigma(s) = \log(1 + e^{-s})$ is `np.logaddexp(0, -s)`.


# %% tags=["task:focal"]
def sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2):
    ### BEGIN SOLUTION
    s = np.where(targets > 0.5, logits, -logits)
    e = np.exp(-np.abs(s))
    wrong = np.where(s >= 0, e, 1) / (1 + e)  # 1 - p_t
    weight = np.where(targets > 0.5, alpha, 1 - alpha).astype(logits.dtype)
    return (weight * wrong**gamma * np.logaddexp(0, -s)).mean()
    ### END SOLUTION


# %% tags=["check:focal"]
award(
    "sigmoid_focal_loss",
    sigmoid_focal_loss,
    {
        "the simplest form": 2,
        "easy pixels count less": 1,
        "alpha": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "gamma is 2": 1,
        "sure and wrong": 1,
        ### END HIDDEN TESTS
    },
)
