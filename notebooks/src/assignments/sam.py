# %% [markdown]
# # A mask on request: points as codes, attention both ways, and a choice
#
# SAM is shown a picture and asked with a click. You write three of its parts: the code of a point, the attention through
# which tokens and picture come to know of each other, and the choice among several masks, in training and at use.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 45 to 75 minutes. **Before**: the chapter on SAM.

# %%
import math

import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: the code of a point (13 points)
#
# A click on the pixel in column $x$ and row $y$ of a picture with $W$ columns and $H$ rows becomes a vector of $D$ numbers. A pixel
# is a square, and $(0, 0)$ is the centre of the first one; so half a pixel is added. Then the place is brought to the range from
# $-1$ to $1$, multiplied by a matrix $G$ of shape $(2, D/2)$ that was drawn at random, and put into waves:
#
# $$p = \Bigl( 2\, \frac{x + 0.5}{W} - 1,\ \ 2\, \frac{y + 0.5}{H} - 1 \Bigr), \qquad
#   c = \bigl[ \sin(2 \pi\, p\, G),\ \cos(2 \pi\, p\, G) \bigr] .$$
#
# Write `point_code(points, size, gaussian)`. `points` is $(\dots, 2)$ with any number of axes before the last, also none: first
# $x$, then $y$. They may lie outside of the picture. `size` is $(H, W)$: first the height. `gaussian` is $G$. Return
# $(\dots, D)$, first all sines, then all cosines, in the dtype of `gaussian`.


# %% tags=["task:point-code"]
def point_code(points, size, gaussian):
    ### BEGIN SOLUTION
    height, width = size
    sides = np.array([width, height], points.dtype)
    places = 2 * (points + 0.5) / sides - 1
    angles = 2 * math.pi * (places @ gaussian)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(gaussian.dtype)
    ### END SOLUTION


# %% tags=["check:point-code"]
award(
    "point_position_code",
    point_code,
    {
        "the simplest form": 2,
        "half a pixel": 2,
        "x first": 1,
        "sines first": 1,
        "products": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "width and height": 2,
        "shape": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: attention with codes (13 points)
#
# In SAM's decoder the tokens of the prompt attend to the cells of the picture, and then the cells attend to the tokens. It is the
# same function both times, with the roles exchanged. Vectors $x_i$ ask, vectors $z_j$ are asked, and each has a position code,
# $c_i$ and $d_j$. The codes decide who attends to whom, but they are not handed on:
#
# $$s_{ij} = \frac{(x_i + c_i) \cdot (z_j + d_j)}{\sqrt D}, \qquad
#   y_i = x_i + \sum_j \frac{e^{s_{ij}}}{\sum_k e^{s_{ik}}}\, z_j .$$
#
# Write `attend(x, context, x_codes, context_codes)`. `x` and `x_codes` are $(\dots, N, D)$, `context` and `context_codes` are
# $(\dots, M, D)$; axes before the last two are pictures, which have nothing to do with each other. Return $(\dots, N, D)$ in the dtype of
# `x`. Scores may be in the thousands, where $e^s$ overflows: $e^{s - m}$ with the largest score $m$ of each row gives the same
# weights. There are no projections and no heads here.


# %% tags=["task:attention"]
def attend(x, context, x_codes, context_codes):
    ### BEGIN SOLUTION
    asks = x + x_codes
    asked = context + context_codes
    scores = asks @ np.swapaxes(asked, -1, -2) / np.array(math.sqrt(x.shape[-1]), x.dtype)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = e / e.sum(axis=-1, keepdims=True)
    return x + weights @ context
    ### END SOLUTION


# %% tags=["check:attention"]
award(
    "coded_attention",
    attend,
    {
        "the simplest form": 2,
        "codes are not handed on": 2,
        "x is kept": 1,
        "the asking side has codes": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "the asked side has codes": 1,
        "large scores": 1,
        "each picture by itself": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: which mask learns, and which is shown (12 points)
#
# A click may mean several things, so the decoder gives $M$ masks for each of $P$ prompts, and with each mask an estimate $\hat u$ of its IoU
# with the object. In training the truth is known: only the mask with the least loss $\ell$ learns, and all estimates learn to be
# right. At use nothing is known but the estimates: the mask with the highest one is shown. Its true IoU, $u$, says how good that was.
#
# $$L = \frac 1 P \sum_p \min_m \ell_{pm} + \frac{1}{P M} \sum_{p, m} (\hat u_{pm} - u_{pm})^2, \qquad
#   U = \frac 1 P \sum_p u_{p m^*}, \quad m^* = \arg\max_m \hat u_{pm} .$$
#
# Write `choose(losses, estimates, ious)` for three arrays $(P, M)$. Return $(L, U)$ as an array of shape $(2,)$ in the dtype of
# `losses`. Of equal estimates the first mask is shown. There may be one prompt, and there may be one mask.


# %% tags=["task:choice"]
def choose(losses, estimates, ious):
    ### BEGIN SOLUTION
    least = losses.min(axis=1).mean()
    error = ((estimates - ious) ** 2).mean()
    shown = ious[np.arange(len(ious)), estimates.argmax(axis=1)].mean()
    return np.array([least + error, shown]).astype(losses.dtype)
    ### END SOLUTION


# %% tags=["check:choice"]
award(
    "mask_choice",
    choose,
    {
        "the simplest form": 2,
        "the least loss": 2,
        "all estimates learn": 1,
        "shown by the estimate": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "a single mask": 1,
        "of equal estimates the first": 1,
        ### END HIDDEN TESTS
    },
)
