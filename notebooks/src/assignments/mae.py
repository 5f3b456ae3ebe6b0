# %% [markdown]
# # The masked autoencoder: hide patches, put them back, and score what was hidden
#
# A masked autoencoder hides three quarters of the patches of an image. An encoder sees the others alone, a decoder gets them
# back in their places and predicts the pixels of the hidden ones. You write the three parts that have no parameters: hiding
# patches, restoring their places, and the loss.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 45 to 75 minutes. **Before**: the chapter on masked modelling.

# %%
import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: hide tokens at random (14 points)
#
# `tokens` $(B, N, D)$ are the patches of $B$ images, as vectors. `noise` $(B, N)$ has a random number for each, all different.
# In each image the $K = \lfloor N (1 - r) \rfloor$ tokens with the *smallest* noise are kept, where $r$ is `ratio`, at least 0
# and below 1; use `int(N * (1 - ratio))`. All others are hidden. So every image keeps equally many, and each image has its own.
#
# Write `random_masking(tokens, ratio, noise)`. It returns `(kept, mask, ids_restore)`:
#
# - `kept` $(B, K, D)$: the kept tokens *in the order of their noise*, the smallest first;
# - `mask` $(B, N)$, boolean, in the order of the tokens: **True = hidden**;
# - `ids_restore` $(B, N)$, whole numbers: the *rank* of each token's noise in its image, from 0. A token of rank $r$ stands at
#   place $r$ in the list of first the kept and then the hidden tokens.
#
# `np.argsort` tells which token has each rank. What tells the rank of each token?


# %% tags=["task:hide"]
def random_masking(tokens, ratio, noise):
    ### BEGIN SOLUTION
    B, N, _ = tokens.shape
    K = int(N * (1 - ratio))
    order = np.argsort(noise, axis=1)  # the token of each rank
    ids_restore = np.argsort(order, axis=1)  # the rank of each token
    kept = np.take_along_axis(tokens, order[:, :K, None], axis=1)
    mask = ids_restore >= K
    return kept, mask, ids_restore
    ### END SOLUTION


# %% tags=["check:hide"]
award(
    "random_masking",
    random_masking,
    {
        "the simplest form": 2,
        "the smallest noise stays": 2,
        "the way back": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "as many as promised": 1,
        "kept by their noise": 1,
        "each image for itself": 1,
        "True and False": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: put the tokens back (10 points)
#
# The encoder has changed the kept tokens, and the decoder needs them in the places they came from. In every other place stands
# the *mask token*, one learned vector $m$ that is the same for all of them:
#
# $$y_{b,n} = \begin{cases} \mathrm{kept}_{b,\,i} & \text{if } i < K \\ m & \text{otherwise} \end{cases}
# \qquad\text{with } i = \mathrm{ids\_restore}_{b,n}$$
#
# Write `restore_tokens(kept, mask_token, ids_restore)` for `kept` $(B, K, D)$, `mask_token` $(D)$ and `ids_restore` $(B, N)$. The
# result is $(B, N, D)$, with the dtype of `kept`. $K$ is any number from 0 to $N$; kept tokens may hold zeros.


# %% tags=["task:restore"]
def restore_tokens(kept, mask_token, ids_restore):
    ### BEGIN SOLUTION
    B, K, D = kept.shape
    N = ids_restore.shape[1]
    hidden = np.broadcast_to(mask_token, (B, N - K, D))
    everything = np.concatenate([kept, hidden], axis=1)  # by rank
    return np.take_along_axis(everything, ids_restore[:, :, None], axis=1)
    ### END SOLUTION


# %% tags=["check:restore"]
award(
    "restore_tokens",
    restore_tokens,
    {
        "the simplest form": 2,
        "kept tokens in their places": 1,
        "the mask token in all others": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "each image with its own places": 2,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: the loss of the hidden patches (14 points)
#
# The decoder predicts the pixels of every patch, `prediction` $(B, N, P^2 C)$. Only hidden patches count:
#
# $$L = \frac{1}{\lvert M \rvert} \sum_{n \in M} \frac{1}{P^2 C} \lVert \hat x_n - t_n \rVert^2$$
#
# where $M$ are the hidden patches of *all* images together; images may have different numbers of them. The target $t_n$ are the
# pixels of the patch, as `patches` cuts them. With `norm_pix=True` they are normalised, each patch for itself: subtract the
# mean of its $P^2 C$ numbers, and divide by the root of their variance. This variance is the unbiased one, with the divisor
# $P^2 C - 1$, and $10^{-6}$ is added to it inside the root, so that a patch of one colour becomes zeros.
#
# Write `mae_loss(images, prediction, mask, patch, norm_pix=False)`. `mask` $(B, N)$ is boolean, True = hidden. At least one patch
# is hidden. The result is one number with the dtype of `prediction`, float32 or float64.


# %%
def patches(images, patch):
    """Images (B, C, H, W) to patches (B, N, P P C): in reading order, and in each the colours of a pixel side by side."""
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // patch, patch, W // patch, patch).transpose(0, 2, 4, 3, 5, 1)
    return x.reshape(B, -1, patch * patch * C)


# %% tags=["task:loss"]
def mae_loss(images, prediction, mask, patch, norm_pix=False):
    ### BEGIN SOLUTION
    target = patches(images, patch)
    if norm_pix:
        mean = target.mean(axis=-1, keepdims=True)
        variance = target.var(axis=-1, ddof=1, keepdims=True)
        target = (target - mean) / (variance + 1e-6) ** 0.5
    error = ((prediction - target) ** 2).mean(axis=-1)  # (B, N)
    return error[mask].mean()
    ### END SOLUTION


# %% tags=["check:loss"]
award(
    "mae_loss",
    mae_loss,
    {
        "the simplest form": 2,
        "visible patches do not count": 1,
        "a mean over pixels": 1,
        "the unbiased deviation": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 4,
        "all hidden patches alike": 1,
        "normalised patches have no brightness": 1,
        "a flat patch": 1,
        "colours of a pixel side by side": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)
