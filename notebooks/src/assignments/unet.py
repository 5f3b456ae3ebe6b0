# %% [markdown]
# # The way up: transposed convolution, unpooling, and maps handed across
#
# A network that names pixels goes down to small maps and up again. You write three parts of the way up: the transposed
# convolution, which enlarges; max unpooling, which puts values back to where they came from; and the joint of U-Net, which
# hands the maps of the way down across to the way up.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 45 to 75 minutes. **Before**: the chapter on semantic segmentation.

# %%
import numpy as np

from minivis.classroom import award


def pair(value):
    """Options are a number for both axes, or (rows, columns)."""
    return value if isinstance(value, tuple) else (value, value)


# %% [markdown]
# ## Task 1: transposed convolution (14 points)
#
# A convolution with stride 2 moves its filter two pixels in the *input* for each pixel of the output. Its transpose moves
# two pixels in the *output* for each pixel of the input: every input pixel adds a copy of the filter, times that pixel,
# to the output, and where copies overlap they add up.
#
# $$y_{b,\,o,\;s_h i + m - p_h,\;s_w j + n - p_w} \mathrel{+}= \sum_c x_{b,c,i,j}\; w_{c,o,m,n}$$
#
# Write `conv_transpose2d` for `x` $(B, C, H, W)$ and `weight` $(C, O, k_h, k_w)$: the channels of the input come *first*.
# `stride` $s$, `padding` $p$ and `output_padding` $e$ are a number or (rows, columns); `pair` turns both into a pair.
# `padding` *cuts* $p$ rows and columns off each side of what the copies cover. `output_padding` adds $e$ rows at the bottom
# and $e$ columns at the right before that cut, which a padding may fill with what the copies reach. The output has
#
# $$(H - 1)\, s_h + k_h + e_h - 2 p_h$$
#
# rows, and columns likewise. `bias` $(O)$ is added to every pixel of a channel. The filter is not turned around.


# %% tags=["task:transposed-convolution"]
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    ### BEGIN SOLUTION
    (sh, sw), (ph, pw), (eh, ew) = pair(stride), pair(padding), pair(output_padding)
    (B, _, H, W), (_, O, kh, kw) = x.shape, weight.shape
    rows, columns = (H - 1) * sh + kh + eh, (W - 1) * sw + kw + ew
    y = np.zeros((B, O, rows, columns), x.dtype)
    for m in range(kh):
        for n in range(kw):
            down = slice(m, m + (H - 1) * sh + 1, sh)
            right = slice(n, n + (W - 1) * sw + 1, sw)
            y[:, :, down, right] += np.einsum("bcij,co->boij", x, weight[:, :, m, n])
    y = y[:, :, ph : rows - ph, pw : columns - pw]
    return y if bias is None else y + bias[:, None, None]
    ### END SOLUTION


# %% tags=["check:transposed-convolution"]
award(
    "conv_transpose2d",
    conv_transpose2d,
    {
        "the simplest form": 2,
        "overlaps add up": 1,
        "stride": 2,
        "padding crops": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "adjoint of conv2d": 1,
        "rectangular kernels": 1,
        "output_padding": 1,
        "bias": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: max unpooling and its way back (12 points)
#
# Max pooling can remember where each maximum stood: as a number $i = \text{row} \cdot W + \text{column}$ in its plane of
# $H \times W$ pixels. Unpooling puts each value back to that place, with zeros everywhere else:
#
# $$y_{b,c,\;\lfloor i / W \rfloor,\;i \bmod W} = x_{b,c,h,w} \quad\text{with } i = \mathrm{indices}_{b,c,h,w} .$$
#
# Write `max_unpool2d(x, indices, size)` for `x` and `indices` $(B, C, H', W')$ and `size` $(H, W)$. Every plane has indices of
# its own, and no two of a plane are equal. $H$ and $W$ differ, and need not be multiples of $H'$ and $W'$: the pooling may
# have dropped a last row. The function returns `(y, vjp)`. `vjp(g)` takes the cotangent of $y$, $(B, C, H, W)$, and returns a
# tuple with one array, the gradient of `x`. Which elements of `y` does a number of `x` change?


# %% tags=["task:max-unpooling"]
def max_unpool2d(x, indices, size):
    ### BEGIN SOLUTION
    B, C, h, w = x.shape
    H, W = size
    places = indices.reshape(B, C, h * w)
    y = np.zeros((B, C, H * W), x.dtype)
    np.put_along_axis(y, places, x.reshape(B, C, h * w), axis=2)

    def vjp(g):
        picked = np.take_along_axis(g.reshape(B, C, H * W), places, axis=2)
        return (picked.reshape(B, C, h, w),)

    return y.reshape(B, C, H, W), vjp
    ### END SOLUTION


# %% tags=["check:max-unpooling"]
award(
    "max_unpool2d",
    max_unpool2d,
    {
        "the simplest form": 2,
        "where the maximum was": 1,
        "gradients of the simplest form": 2,
        "gradient of x": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "gradients agree on anything": 2,
        "rectangular planes": 1,
        "sizes that the pooling rounded down": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 3: crop and concatenate (8 points)
#
# U-Net's convolutions have no padding, so a map of the way down, `skip` $(B, C, H, W)$, is larger than the map of the way up
# that it meets, `up` $(B, D, h, w)$. Both show the same part of the image in their middle. So the middle of `skip` is cut
# out, and its channels are stacked with those of `up`: first those of `skip`, then those of `up`, $(B, C + D, h, w)$.
#
# Write `crop_concat(skip, up)`. Rows and columns may differ by different numbers, also by 0. Of an odd number of rows to drop,
# one more is dropped at the bottom than at the top; columns likewise.


# %% tags=["task:crop-and-concatenate"]
def crop_concat(skip, up):
    ### BEGIN SOLUTION
    (H, W), (h, w) = skip.shape[2:], up.shape[2:]
    top, left = (H - h) // 2, (W - w) // 2
    middle = skip[:, :, top : top + h, left : left + w]
    return np.concatenate([middle, up], axis=1)
    ### END SOLUTION


# %% tags=["check:crop-and-concatenate"]
award(
    "crop_concat",
    crop_concat,
    {
        "the simplest form": 2,
        "skip first, then up": 1,
        "the middle": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "odd differences": 1,
        "rows and columns": 1,
        ### END HIDDEN TESTS
    },
)
