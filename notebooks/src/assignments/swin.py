# %% [markdown]
# # Swin: windows, shifted windows, and relative positions
#
# You write the parts of Swin that rearrange and index tokens: cutting a map into windows, the mask of shifted
# windows, and the index of its biases.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on Swin.

# %%
import numpy as np

from minivis.classroom import award


def pair(value):
    """A window or a shift is a number for both axes, or (rows, columns)."""
    return value if isinstance(value, tuple) else (value, value)


# %% [markdown]
# ## Task 1: windows (8 points)
#
# `window_partition(x, window)` cuts maps $(B, H, W, C)$ into windows, $(B\,n_W, M_h, M_w, C)$: the windows of the first
# map in reading order, then those of the second. Inside a window the tokens keep their order. A window is a number or
# (height, width), and divides the map.


# %% tags=["task:partition"]
def window_partition(x, window):
    ### BEGIN SOLUTION
    m, n = pair(window)
    B, H, W, C = x.shape
    x = x.reshape(B, H // m, m, W // n, n, C)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, m, n, C)
    ### END SOLUTION


# %% tags=["check:partition"]
award(
    "window_partition",
    window_partition,
    {
        "the simplest form": 1,
        "windows in reading order": 1,
        "tokens stay in order": 1,
        "a window is a square": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "map after map": 1,
        "height and width of a window": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: and back (5 points)
#
# `window_reverse(windows, window, height, width)` undoes it: $(B\,n_W, M_h, M_w, C) \to (B, H, W, C)$.


# %% tags=["task:reverse"]
def window_reverse(windows, window, height, width):
    ### BEGIN SOLUTION
    m, n = pair(window)
    x = windows.reshape(-1, height // m, width // n, m, n, windows.shape[3])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[3])
    ### END SOLUTION


# %% tags=["check:reverse"]
award(
    "window_reverse",
    window_reverse,
    {
        "the simplest form": 1,
        "windows in reading order": 1,
        "a window is a square": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "height and width of a window": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: the mask of shifted windows (10 points)
#
# Swin shifts the map up and left by `shift` with `np.roll`, so that the new windows lie across the borders of the old
# ones. What leaves at the top enters again at the bottom. So in the last windows there are tokens side by side that
# are no neighbours in the image, and they must not attend to each other.
# `shifted_window_mask(height, width, window, shift)` returns a boolean array $(n_W, N, N)$ with $N = M_h M_w$, **True
# = may be attended**: for each window of the shifted map, which of its tokens lie on the same side of each seam.
# `shift` is a number or (rows, columns). With a shift of 0 every token may attend to every other.


# %% tags=["task:mask"]
def shifted_window_mask(height, width, window, shift):
    ### BEGIN SOLUTION
    m, n = pair(window)
    down, right = pair(shift)
    around_below = np.arange(height) >= height - down
    around_right = np.arange(width) >= width - right
    piece = 2 * around_below[:, None] + around_right  # (H, W)
    piece = piece.reshape(height // m, m, width // n, n).transpose(0, 2, 1, 3).reshape(-1, m * n)
    return piece[:, :, None] == piece[:, None, :]
    ### END SOLUTION


# %% tags=["check:mask"]
award(
    "shifted_window_mask",
    shifted_window_mask,
    {
        "the simplest form": 1,
        "no leak across the seam": 2,
        "neighbours meet": 2,
        "mutual": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "no shift, no mask": 1,
        "rows and columns by their own shift": 2,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 4: which bias for which pair (9 points)
#
# Each offset (rows, columns) between query $i$ and key $j$ of a window has a bias of its own; there are
# $(2M_h - 1)(2M_w - 1)$ offsets. `relative_position_index(window)` returns integers $(N, N)$: which bias query $i$
# adds for key $j$. The offset is **query minus key**. Offsets are counted from 0, row by row of the table of offsets,
# so that the offset $(1 - M_h, 1 - M_w)$ is number 0. How long is a row of that table?


# %% tags=["task:bias-index"]
def relative_position_index(window):
    ### BEGIN SOLUTION
    m, n = pair(window)
    y, x = np.divmod(np.arange(m * n), n)
    dy = y[:, None] - y + m - 1
    dx = x[:, None] - x + n - 1
    return dy * (2 * n - 1) + dx
    ### END SOLUTION


# %% tags=["check:bias-index"]
award(
    "relative_position_index",
    relative_position_index,
    {
        "the simplest form": 1,
        "offset alone": 2,
        "as many numbers as offsets": 1,
        "counted from 0": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "row by row": 1,
        "query minus key": 2,
        ### END HIDDEN TESTS
    },
)
