# %% [markdown]
# # Vision Transformer: from pixels to tokens, and how far tokens look
#
# You cut images into patches and put them together again, compute position codes, and measure how far attention
# reaches.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 45 to 75 minutes. **Before**: the chapter on the Vision Transformer.

# %%
import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: patches (8 points)
#
# An image becomes a sequence of tokens, $(B, C, H, W) \to (B, N, P P C)$ with $N = HW/P^2$: the patches in reading
# order (along a row first), in each patch its pixels in reading order, at each pixel its channels. `patch` is a
# number that divides $H$ and $W$; the image need not be square. You need only `reshape`, to split axes, and
# `transpose`, to move them.


# %% tags=["task:patchify"]
def patchify(images, patch):
    ### BEGIN SOLUTION
    p, q = (patch, patch) if isinstance(patch, int) else patch
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // p, p, W // q, q)
    x = x.transpose(0, 2, 4, 3, 5, 1)  # (B, H/P, W/P, P, P, C)
    return x.reshape(B, (H // p) * (W // q), p * q * C)
    ### END SOLUTION


# %% tags=["check:patchify"]
award(
    "patchify",
    patchify,
    {
        "the simplest form": 1,
        "patches in reading order": 1,
        "pixels in reading order": 1,
        "channels last": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "a token is a square": 2,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: and back (6 points)
#
# `unpatchify(tokens, patch, height, width)` undoes it: $(B, N, P P C) \to (B, C, H, W)$.


# %% tags=["task:unpatchify"]
def unpatchify(tokens, patch, height, width):
    ### BEGIN SOLUTION
    p, q = (patch, patch) if isinstance(patch, int) else patch
    x = tokens.reshape(len(tokens), height // p, width // q, p, q, tokens.shape[2] // (p * q))
    x = x.transpose(0, 5, 1, 3, 2, 4)  # (B, C, H/P, P, W/P, P)
    return x.reshape(len(tokens), -1, height, width)
    ### END SOLUTION


# %% tags=["check:unpatchify"]
award(
    "unpatchify",
    unpatchify,
    {
        "the simplest form": 1,
        "patches in reading order": 1,
        "pixels in reading order": 1,
        "channels last": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "a token is a square": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: position codes (8 points)
#
# Attention does not depend on the order of the tokens, so each place gets a code.
# `sine_position_code(height, width, dim)` returns $(H, W, D)$, float32: the first $D/2$ numbers encode the row, the
# second $D/2$ the column; rows and columns are counted from 0. The code of a place $p$ consists of pairs of sine and
# cosine **in turn**, with growing wavelengths:
#
# $$c_{2i} = \sin \frac{p}{10000^{\,2i/d}}, \qquad c_{2i+1} = \cos \frac{p}{10000^{\,2i/d}}, \qquad d = D/2,\quad i = 0, \dots, d/2 - 1 .$$


# %% tags=["task:position"]
def sine_position_code(height, width, dim):
    ### BEGIN SOLUTION
    half = dim // 2
    wave = 10000.0 ** (-np.arange(0, half, 2) / half)  # (half / 2,)

    def code(n):
        angle = np.arange(n)[:, None] * wave
        return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, half)

    rows = np.broadcast_to(code(height)[:, None], (height, width, half))
    columns = np.broadcast_to(code(width)[None], (height, width, half))
    return np.concatenate([rows, columns], axis=-1).astype(np.float32)
    ### END SOLUTION


# %% tags=["check:position"]
award(
    "sine_position_code",
    sine_position_code,
    {
        "the simplest form": 1,
        "row first": 2,
        "counted from 0": 1,
        "in turn": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "wavelengths": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 4: how far a head looks (8 points)
#
# Compute the mean distance between the patch of a query and the patches that it attends to, weighted by the
# attention, **in pixels**:
#
# $$d_h = \frac1N \sum_i \sum_j A_{h,i,j}\, \lVert c_i - c_j \rVert ,$$
#
# where $c_i$ is the centre of patch $i$. The rows of `attention` $(h, N, N)$ sum to 1; the $N$ patches lie in reading
# order on a `grid` (rows, columns); `patch_size` is the side of a patch in pixels, or (height, width). Return $(h,)$,
# one number for each head.


# %% tags=["task:distance"]
def attention_distance(attention, patch_size, grid):
    ### BEGIN SOLUTION
    p, q = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
    rows, columns = grid
    y, x = np.divmod(np.arange(rows * columns), columns)
    apart = np.sqrt(((y[:, None] - y) * p) ** 2.0 + ((x[:, None] - x) * q) ** 2.0).astype(attention.dtype)
    return (attention * apart).sum(axis=-1).mean(axis=-1)
    ### END SOLUTION


# %% tags=["check:distance"]
award(
    "attention_distance",
    attention_distance,
    {
        "the simplest form": 1,
        "in pixels": 1,
        "as the crow flies": 1,
        "rows and columns": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "each head by itself": 1,
        "weighted by attention": 1,
        ### END HIDDEN TESTS
    },
)
