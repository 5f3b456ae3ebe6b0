# %% [markdown]
# # Convolution: loops, options, and the backward pass
#
# You write the convolution of a network, its backward pass, and max pooling, in NumPy.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on convolution.

# %%
import numpy as np

from minivis.classroom import award


def pair(value):
    """Options are a number for both axes, or (rows, columns)."""
    return value if isinstance(value, tuple) else (value, value)


# %% [markdown]
# ## Task 1: convolution (14 points)
#
# A filter slides over the image. At each place the numbers under it are multiplied by its weights and added up. The
# filter is not reversed first (strictly, this is a correlation; networks call it convolution):
#
# $$y_{b,o,i,j} = \mathrm{bias}_o + \sum_{c,m,n} w_{o,c,m,n}\; x^{\text{padded}}_{b,\,c,\;s_h i + d_h m,\;s_w j + d_w n} .$$
#
# Write `conv2d` for `x` $(B, C, H, W)$ and `weight` $(O, C/\text{groups}, k_h, k_w)$. `stride` $s$, `padding` $p$ (zeros, on
# both sides) and `dilation` $d$ are a number or (rows, columns); `pair` turns both into a pair. The output has
#
# $$\Big\lfloor \frac{H + 2p_h - d_h (k_h - 1) - 1}{s_h} \Big\rfloor + 1$$
#
# rows, and columns likewise; pixels at the end that do not fill a stride are not used. With `groups` > 1 the channels
# of $x$ and the filters are divided, in order, into that many groups, and each group is a convolution of its own. How
# the numbers of `x` lie in memory must not matter.


# %% tags=["task:conv2d"]
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    ### BEGIN SOLUTION
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    (B, _, H, W), (O, c, kh, kw) = x.shape, weight.shape
    rows, columns = (H - dh * (kh - 1) - 1) // sh + 1, (W - dw * (kw - 1) - 1) // sw + 1
    x = x.reshape(B, groups, c, H, W)
    filters = weight.reshape(groups, O // groups, c, kh, kw)
    y = np.zeros((B, groups, O // groups, rows, columns), x.dtype)
    for m in range(kh):
        for n in range(kw):
            under = x[
                ..., dh * m : dh * m + sh * (rows - 1) + 1 : sh, dw * n : dw * n + sw * (columns - 1) + 1 : sw
            ]
            y += np.einsum("bgcij,goc->bgoij", under, filters[..., m, n])
    y = y.reshape(B, O, rows, columns)
    return y if bias is None else y + bias[:, None, None]
    ### END SOLUTION


# %% tags=["check:conv2d"]
award(
    "conv2d",
    conv2d,
    {
        "the simplest form": 2,
        "bias": 1,
        "rectangular kernels": 1,
        "stride": 2,
        "padding": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "dilation": 1,
        "groups": 1,
        "any memory layout": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: the backward pass (10 points)
#
# Write `conv2d_vjp`, with the same arguments, that returns the output and a function `vjp(g)`. `g` $(B, O, \dots)$ is
# the cotangent of the output, and `vjp(g)` returns `(g_x, g_weight, g_bias)` (without a bias the last one is not
# checked). With stride 1 and no padding:
#
# $$\bar w_{o,c,m,n} = \sum_{b,i,j} g_{b,o,i,j}\, x_{b,c,i+m,j+n}, \qquad
# \bar x_{b,c,i+m,j+n} \mathrel{+}= w_{o,c,m,n}\, g_{b,o,i,j}, \qquad
# \bar b_o = \sum_{b,i,j} g_{b,o,i,j} .$$
#
# A pixel lies under the filter at several places, and the shares of these places **add up**. Work in the padded image
# and cut off the padding at the end. Each gradient has the dtype of its argument, and `g` must not be changed. You
# may call your `conv2d`.


# %% tags=["task:backward"]
def conv2d_vjp(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    ### BEGIN SOLUTION
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    (B, _, H, W), (O, c, kh, kw) = x.shape, weight.shape
    y = conv2d(x, weight, bias, stride, padding, dilation, groups)
    rows, columns = y.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))).reshape(B, groups, c, H + 2 * ph, W + 2 * pw)
    filters = weight.reshape(groups, O // groups, c, kh, kw)

    def vjp(g):
        shared = g.reshape(B, groups, O // groups, rows, columns)
        g_padded, g_filters = np.zeros_like(padded), np.zeros_like(filters)
        for m in range(kh):
            for n in range(kw):
                down = slice(dh * m, dh * m + sh * (rows - 1) + 1, sh)
                right = slice(dw * n, dw * n + sw * (columns - 1) + 1, sw)
                g_padded[..., down, right] += np.einsum("bgoij,goc->bgcij", shared, filters[..., m, n])
                g_filters[..., m, n] = np.einsum("bgoij,bgcij->goc", shared, padded[..., down, right])
        g_x = g_padded[..., ph : ph + H, pw : pw + W].reshape(x.shape)
        return g_x, g_filters.reshape(weight.shape), g.sum(axis=(0, 2, 3))

    return y, vjp
    ### END SOLUTION


# %% tags=["check:backward"]
award(
    "conv2d",
    conv2d_vjp,
    {
        "gradients of the simplest form": 1,
        "gradient of bias": 1,
        "gradient of weight": 2,
        ### BEGIN HIDDEN TESTS
        "gradients agree on anything": 2,
        "gradient of x": 2,
        "gradients stay float32": 1,
        "cotangent left alone": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 3: max pooling (8 points)
#
# Write `max_pool2d` for `x` $(B, C, H, W)$: the largest number of each window of `kernel_size`. Without a `stride`
# the windows lie side by side. All three options are a number or (rows, columns). Padding adds places on every side
# that are **never the maximum**, not even among negative numbers.


# %% tags=["task:max-pooling"]
def max_pool2d(x, kernel_size, stride=None, padding=0):
    ### BEGIN SOLUTION
    (kh, kw), (ph, pw) = pair(kernel_size), pair(padding)
    sh, sw = pair(kernel_size if stride is None else stride)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))  # (B, C, H', W', kh, kw)
    return windows[:, :, ::sh, ::sw].max(axis=(-2, -1))
    ### END SOLUTION


# %% tags=["check:max-pooling"]
award(
    "max_pool2d",
    max_pool2d,
    {
        "the simplest form": 1,
        "windows side by side": 1,
        "stride": 1,
        "rectangular windows": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "padding": 1,
        "padding never wins": 2,
        ### END HIDDEN TESTS
    },
)
