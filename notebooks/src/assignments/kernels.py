# %% [markdown]
# # Kernels that adapt: the bilateral filter, non-local means, and both as attention
#
# You write two filters that compute their kernel from the image at each place, and then one function that has both
# of them, and attention, as special cases.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on kernels that adapt.

# %%
import math

import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: the bilateral filter (10 points)
#
# $$y_i = \frac{\sum_j k_{ij}\, x_j}{\sum_j k_{ij}}, \qquad
# k_{ij} = e^{-\lVert x_i - x_j \rVert^2 / b_x^2}\; e^{-\lVert p_i - p_j \rVert^2 / b_p^2}$$
#
# Here $x_i$ is the intensity of pixel $i$ and $p_i$ its place, in pixels. The sums run over a square window of
# `window` x `window` pixels around pixel $i$; `window` is odd. `image` is grey, $(H, W)$, or in colours, $(H, W, C)$.
# In colours $\lVert x_i - x_j \rVert^2$ is the sum of the squared differences of all channels, and all channels of a
# pixel get the same weight. Intensities may have any unit. Beyond the border the image is mirrored without repeating
# the edge pixel: `np.pad(..., mode="reflect")`. A width may be `math.inf`: then its factor is 1.
#
# Loop over the places of the window, not over the pixels: shift the whole image, and weight all pixels at a time.


# %% tags=["task:bilateral"]
def bilateral_filter(image, window, b_x, b_p):
    ### BEGIN SOLUTION
    reach = window // 2
    pixels = image.reshape(*image.shape[:2], -1)  # (H, W, C): grey images have C = 1
    (rows, columns) = pixels.shape[:2]
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    total = np.zeros_like(pixels)
    weights = np.zeros_like(pixels[..., :1])
    for dy in range(window):
        for dx in range(window):
            other = padded[dy : dy + rows, dx : dx + columns]
            alike = np.exp(-((other - pixels) ** 2).sum(axis=2, keepdims=True) / b_x**2)
            near = math.exp(-((dy - reach) ** 2 + (dx - reach) ** 2) / b_p**2)
            total = total + alike * near * other
            weights = weights + alike * near
    return (total / weights).reshape(image.shape)
    ### END SOLUTION


# %% tags=["check:bilateral"]
award(
    "bilateral_filter",
    bilateral_filter,
    {
        "the simplest form": 1,
        "similar pixels count more": 2,
        "near pixels count more": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "one weight for all channels": 2,
        "mirrored border": 1,
        "rows and columns": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: non-local means (10 points)
#
# $$y_i = \frac{\sum_j w_{ij}\, x_j}{\sum_j w_{ij}}, \qquad
# w_{ij} = e^{-\max(d^2(P_i, P_j) - 2 \sigma^2,\ 0) / h^2}\; e^{-\lVert p_i - p_j \rVert^2 / b_p^2}$$
#
# Now whole patches are compared: $d^2(P_i, P_j)$ is the **mean** of the squared differences of the pixels of the two
# patches, of `patch` x `patch` pixels around $i$ and $j$. Two noisy pictures of the same patch differ by
# $2 \sigma^2$; so much is forgiven. The sums run over a window of `search` x `search` pixels. Both sides are odd.
# The image is grey, $(H, W)$, and mirrored beyond its border as in task 1. The pixel's own weight is 1, as the formula
# says. With a $b_p$ of `math.inf`, the default, all places of the window count alike.


# %% tags=["task:non-local-means"]
def non_local_means(image, patch, search, h, sigma=0.0, b_p=math.inf):
    ### BEGIN SOLUTION
    reach = search // 2
    margin = patch // 2
    (rows, columns) = image.shape
    padded = np.pad(image, reach + margin, mode="reflect")
    patches = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch))  # the patch around each pixel
    mine = patches[reach : reach + rows, reach : reach + columns]  # (H, W, patch, patch)
    total = np.zeros_like(image)
    weights = np.zeros_like(image)
    for dy in range(search):
        for dx in range(search):
            other = patches[dy : dy + rows, dx : dx + columns]
            squares = ((other - mine) ** 2).mean(axis=(2, 3))
            excess = np.maximum(squares - 2 * sigma**2, 0)
            near = math.exp(-((dy - reach) ** 2 + (dx - reach) ** 2) / b_p**2)
            weight = np.exp(-excess / h**2) * near
            total = total + weight * other[:, :, margin, margin]
            weights = weights + weight
    return total / weights
    ### END SOLUTION


# %% tags=["check:non-local-means"]
award(
    "non_local_means",
    non_local_means,
    {
        "the simplest form": 1,
        "the mean over the patch": 2,
        "noise is forgiven": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "twins far apart": 2,
        "mirrored border": 1,
        "rows and columns": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: the same as attention (10 points)
#
# Give every pixel a *feature*: its intensity divided by $b_x$ and its place divided by $b_p$. Then the kernel of task 1
# is $e^{-\lVert f_i - f_j \rVert^2}$, and the filter is a softmax of scores, times values. This is attention whose
# scores are squared distances in the place of dot products:
#
# $$y_i = \sum_j \mathrm{softmax}_j\big(-\lVert q_i - k_j \rVert^2 / b^2\big)\, v_j$$
#
# `kernel_regression(queries, keys, values, b=1.0)` takes $N$ queries $(N, D)$, $M$ keys $(M, D)$ and their values
# $(M, C)$, and returns $(N, C)$. A query may be so far from all keys that every exp is 0 in float32: it gets the value
# of the nearest key, and no NaN.


# %% tags=["task:attention"]
def kernel_regression(queries, keys, values, b=1.0):
    ### BEGIN SOLUTION
    differences = queries[:, None, :] - keys[None, :, :]  # (N, M, D)
    scores = -(differences**2).sum(axis=2) / b**2  # (N, M)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ values
    ### END SOLUTION


# %% tags=["check:attention"]
award(
    "kernel_regression",
    kernel_regression,
    {
        "the simplest form": 1,
        "all features count": 2,
        "the width": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "far from every key": 2,
        "as many results as queries": 1,
        "even values stay": 1,
        ### END HIDDEN TESTS
    },
)
