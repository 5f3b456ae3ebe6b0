# %% [markdown]
# # 02. Convolution: one small filter, everywhere
# A convolution slides one small filter over a sequence or an image and takes a dot product at every place. Everything
# else in this notebook follows from that.
#
# **Goals.** At the end you can
# - compute a convolution by hand, in one and two dimensions, and say when the filter must be flipped;
# - write it in three ways (loops, sliding windows, one matrix product) and check that they agree;
# - give the size of the output for any kernel, stride, padding and dilation;
# - say what a convolution assumes about images, and measure whether this holds for a photo;
# - run it backwards: the gradient, and the transposed convolution that enlarges a map;
# - train a small convolutional network on real digits and look at the filters it found.
#
# **Before.** [01 Autograd](01_autograd.ipynb): what a Tensor and a gradient are. NumPy slices and `np.einsum`
# help.
#
# **Slides.** Deck Z is Zagoruyko, *Transformers in Computer Vision*; Deck C is CPSC 425, lecture 23; Deck A is AIIA,
# *Attention and Transformer Networks in Computer Vision*. A section that follows a slide names it by its tag: deck,
# page and a short name.
#
# **Time.** About 75 minutes to read, 50 more for the exercises; the cells take about 20 seconds.

# %% tags=["setup"]
import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import minivis as mv
from minivis import viz
from minivis.laws import at_most, claims

rng = np.random.default_rng(0)

# %% [markdown]
# ## A filter slides along a sequence
# Slide `Z/4-convolution-1d`.
#
# Take a sequence $x$ of $L$ numbers and a shorter row of $k$ numbers $w$, the **filter** (or *kernel*). Lay the
# filter under the first $k$ numbers, multiply each number by the weight below it, and add the products: this is the
# first output. Move the filter one step to the right and do it again, until it reaches the end:
#
# $$y_i = \sum_{u=0}^{k-1} w_u \, x_{i+u}, \qquad i = 0, \dots, L - k .$$
#
# There are $L - k + 1$ places where the filter fits: here $10 - 4 + 1 = 7$. Compute the first two yourself before you
# run the cell. (The slide leaves the seventh output blank; it is 6.)

# %% tags=["slide:Z/4-convolution-1d", "worked:conv-1d"]
x = np.array([1, 4, -1, 0, 2, -2, 1, 3, 3, 1])
w = np.array([1, 2, 0, -1])

y = np.zeros(len(x) - len(w) + 1, dtype=int)
for i in range(len(y)):  # every place ...
    for u in range(len(w)):  # ... and every number of the filter
        y[i] += w[u] * x[i + u]

assert y.tolist() == [9, 0, 1, 3, -5, -3, 6]
viz.sliding_window(
    x,
    w,
    y,
    caption="The filter (blue) has seven places. At each of them it reads a window of four numbers (orange).",
)

# %% [markdown]
# The inner loop is a dot product. `sliding_window_view` gives all windows at once, as the rows of a matrix (without
# copying anything). Then all seven outputs are **one** matrix product. `mv.ops.conv1d` does the same for a batch of
# $B$ sequences with $C$ channels: it takes $x$ as $(B, C, L)$ and the filters as $(O, C, k)$, where $O$ is the number
# of filters.

# %% tags=["slide:Z/4-convolution-1d"]
windows = sliding_window_view(x, len(w))  # (7, 4)
np.testing.assert_array_equal(windows @ w, y)
np.testing.assert_array_equal(mv.ops.conv1d(x[None, None], w[None, None])[0, 0], y)

viz.grids(
    [windows, w[:, None], y[:, None]],
    titles=["windows (7, 4)", "times filter (4,)", "= output (7,)"],
    caption="Each row on the left is one window. It begins one number later than the row above it.",
)

# %% [markdown]
# ### To flip or not to flip
# In signal processing the operation above is called **cross-correlation**. *Convolution* in the strict sense reverses
# the filter first:
#
# $$(w * x)_i = \sum_u w_u \, x_{i-u} .$$
#
# Deep learning leaves out the reversal and keeps the name. `np.correlate` does not reverse, `np.convolve` does. You
# see the difference with a single 1 among zeros: convolution gives a copy of the filter, correlation gives the filter
# **reversed**.

# %%
spike = np.array([0, 0, 0, 1, 0, 0, 0])
correlated = np.correlate(spike, w)
convolved = np.convolve(spike, w, "valid")

np.testing.assert_array_equal(np.correlate(x, w), y)  # what deep learning calls convolution
np.testing.assert_array_equal(np.convolve(x, w[::-1], "valid"), y)  # flip twice: the same again
viz.grids(
    [spike, w, correlated, convolved],
    titles=["a spike", "filter", "correlation (no flip)", "convolution (flip)"],
    columns=2,
    caption="The input is a single 1. Convolution gives a copy of the filter, correlation the reversed filter.",
)

# %% [markdown]
# When does it matter?
# - **Not for learned filters.** A network that reverses its filters learns the reversed weights, and computes the
#   same.
# - **For filters written by hand** that are not symmetric: the sign of an edge filter changes.
# - **For weights from elsewhere**, and for algebra: only with the reversal does $(a * b) * c = a * (b * c)$ hold.
# - **For gradients**: the backward pass of the one is the other, as you will see below.

# %%
a = np.array([1, 2, 3])
b = np.array([1, 0, -1])
np.testing.assert_array_equal(np.convolve(np.convolve(x, a), b), np.convolve(x, np.convolve(a, b)))
one_by_one = np.correlate(np.correlate(x, a, "full"), b, "full")
combined = np.correlate(x, np.correlate(a, b, "full"), "full")
print("two filters one after the other:", one_by_one)
print("correlated with each other first:", combined)
assert not np.array_equal(one_by_one, combined)

# %% [markdown]
# ## The same in two dimensions
# Slide `Z/11-convolution-2d`.
#
# On an image the window is a rectangle. With an image of $H \times W$ pixels and a filter of $k_h \times k_w$
# weights
#
# $$y_{i,j} = \sum_{u=0}^{k_h-1} \sum_{v=0}^{k_w-1} w_{u,v} \, x_{i+u,\,j+v} .$$

# %% tags=["slide:Z/11-convolution-2d", "worked:conv-2d"]
image = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
cross = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])

feature = np.zeros((3, 3), dtype=int)
for i, j in np.ndindex(3, 3):
    feature[i, j] = (cross * image[i : i + 3, j : j + 3]).sum()

np.testing.assert_array_equal(feature, [[4, 3, 4], [2, 4, 3], [2, 3, 4]])
viz.sliding_window(
    image,
    cross,
    feature,
    caption="The nine places of the filter, arranged like the output: rows 4 3 4, 2 4 3 and 2 3 4. The slide shows "
    "the first place.",
)

# %% [markdown]
# ### Local and fixed
# Slide `A/3-convolution-is-local`.
#
# A filter is a **local feature detector**: each output depends on one window and on nothing else, so distant parts of
# the image cannot interact within one layer. And the filter is **fixed**: it does not adapt to what lies under it. To
# see both, we change one pixel in two very different images and look at which outputs change.

# %% tags=["slide:A/3-convolution-is-local"]
changes = []
for base in (np.zeros((11, 11)), rng.standard_normal((11, 11))):
    poked = base.copy()
    poked[5, 5] += 1
    before, after = (
        mv.ops.conv2d(z[None, None], cross[None, None].astype(float), padding=1)[0, 0] for z in (base, poked)
    )
    changes.append(after - before)

np.testing.assert_allclose(changes[0], changes[1], atol=1e-12)  # the same, whatever the image
assert np.count_nonzero(changes[0][4:7, 4:7]) == np.count_nonzero(changes[0]) == 5
viz.images(
    changes,
    titles=["change, on zeros", "change, on noise"],
    signed=True,
    size=2.4,
    caption="One pixel in the middle was raised by 1; the pictures show the change of the outputs. Only outputs "
    "within one pixel of it change (five of the nine weights of the cross are not zero), and they change alike in "
    "both images: the operation is local and linear.",
)

# %% [markdown]
# ## Padding, stride, dilation
# Slides `C/79-convolution-stride-1`, `C/81-convolution-stride-2`.
#
# Four numbers decide where the windows lie, separately for height and width:
#
# | | in words |
# |---|---|
# | kernel $k$ | how many weights the filter has along this axis |
# | padding $p$ | how many zeros are put around the input, on each side |
# | stride $s$ | how many pixels the filter moves in the input for one pixel of the output |
# | dilation $d$ | how many pixels lie between neighbouring weights |
#
# A dilated filter spans $d(k-1)+1$ pixels. In a padded input of length $n + 2p$, the number of places where it fits
# is
#
# $$n' = \left\lfloor \frac{n + 2p - d(k-1) - 1}{s} \right\rfloor + 1 .$$
#
# We check the formula against the op.


# %% tags=["setup"]
def output_size(n, k, s=1, p=0, d=1):
    """How many places a filter has: length n, kernel k, stride s, padding p, dilation d."""
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


# %%
table = [
    (32, 3, 1, 0, 1),
    (32, 3, 1, 1, 1),
    (32, 5, 1, 2, 1),
    (32, 3, 2, 1, 1),
    (33, 3, 2, 1, 1),
    (32, 3, 1, 2, 2),
    (224, 7, 2, 3, 1),
    (224, 16, 16, 0, 1),
]
print("  n   k   s   p   d    n'")
for n, k, s, p, d in table:
    got = mv.ops.conv1d(np.zeros((1, 1, n)), np.zeros((1, 1, k)), stride=s, padding=p, dilation=d).shape[2]
    assert got == output_size(n, k, s, p, d)
    print(f"{n:3} {k:3} {s:3} {p:3} {d:3}   {got:3}")

# %% [markdown]
# The table shows two useful rules. An odd kernel with padding $(k-1)/2$ and stride 1 **keeps the size**. Stride 2
# **halves it**, rounding up if it is odd. The last two rows are layers of later chapters: the first layer of a
# ResNet, and the patches of a ViT.
#
# The slides do both with a $3 \times 3$ filter and padding 1 on a $4 \times 4$ image. Stride 1: sixteen
# places, $4 \times 4$ again.

# %% tags=["slide:C/79-convolution-stride-1"]
small = np.arange(1.0, 17).reshape(1, 1, 4, 4)
blur = np.ones((1, 1, 3, 3))

same = mv.ops.conv2d(small, blur, padding=1)
assert same.shape == (1, 1, 4, 4)
assert same[0, 0, 2, 1] == (small[0, 0, 1:4, 0:3] * blur[0, 0]).sum()  # the dot product of filter and window
window, at = np.zeros((6, 6)), np.zeros((4, 4))
window[2:5, 0:3] = at[2, 0] = 1
viz.grids(
    [np.pad(small[0, 0], 1), blur[0, 0], same[0, 0]],
    titles=["4 × 4, padded to 6 × 6", "filter", "output 4 × 4"],
    marks=[window, None, at],
    caption="With a border of zeros every pixel can be the middle of a window. The window shown gives 5 + 6 + 9 + "
    "10 + 13 + 14 = 57.",
)

# %% [markdown]
# Stride 2: the filter moves two pixels in the input for each pixel of the output, and $4 \times 4$ becomes
# $2 \times 2$.

# %% tags=["slide:C/81-convolution-stride-2", "worked:conv-stride-2"]
halved = mv.ops.conv2d(small, blur, stride=2, padding=1)
assert small.shape[2:] == (4, 4)
assert halved.shape[2:] == (2, 2)
np.testing.assert_array_equal(halved, same[:, :, ::2, ::2])  # every second place of stride 1
viz.sliding_window(
    small[0, 0],
    blur[0, 0],
    halved[0, 0],
    stride=2,
    padding=1,
    caption="Of the sixteen places four are left: every second one, in both directions. Grey is padding.",
)

# %% [markdown]
# ## From loops to one matrix product
# Real layers have channels. An image is $(C, H, W)$, a batch $(B, C, H, W)$. A layer has $O$ filters, and **each
# filter reads all $C$ channels**, so the weight is $(O, C, k_h, k_w)$. With **groups** $g$ the channels are split
# into $g$ blocks that are computed independently, and the weight becomes smaller: $(O, C/g, k_h, k_w)$.
#
# $$y_{b,o,i,j} = \beta_o + \sum_{c,u,v} w_{o,c,u,v}\; x_{b,\,c,\; s i - p + d u,\; s j - p + d v}$$
#
# The first version follows the formula symbol by symbol: seven indices, seven loops.


# %% tags=["setup"]
def pair(value):
    """An option for both axes: 3 -> (3, 3), (1, 2) -> (1, 2)."""
    return value if isinstance(value, tuple) else (value, value)


# %%
def conv2d_by_loops(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    (B, _, H, W), (O, per_group, kh, kw) = x.shape, weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    y = np.zeros((B, O, output_size(H, kh, sh, ph, dh), output_size(W, kw, sw, pw, dw)), x.dtype)
    for b, o, i, j in np.ndindex(*y.shape):
        first = o // (O // groups) * per_group  # where the channels of o's group begin
        for c, u, v in np.ndindex(per_group, kh, kw):
            y[b, o, i, j] += weight[o, c, u, v] * padded[b, first + c, sh * i + dh * u, sw * j + dw * v]
    return y if bias is None else y + bias[:, None, None]


assert mv.laws.check("conv2d", conv2d_by_loops).passed

# %% [markdown]
# `mv.laws.check` tried it on random shapes and options: rectangular images and kernels, pairs of strides, groups. It
# would find height and width exchanged.
#
# The second version takes all windows at once, and one `einsum` with the letters of the formula.


# %% tags=["setup"]
def windows_of(x, kernel, stride=1, padding=0, dilation=1):
    """Every window of a batch of images, as a view: (B, C, H', W', kh, kw)."""
    (kh, kw) = kernel
    (sh, sw) = pair(stride)
    (ph, pw) = pair(padding)
    (dh, dw) = pair(dilation)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    reach = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    return sliding_window_view(padded, reach, axis=(2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]


# %%
def conv2d_by_windows(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    O, per_group, kh, kw = weight.shape
    windows = windows_of(x, (kh, kw), stride, padding, dilation)
    B, C, h, w = windows.shape[:4]
    windows = windows.reshape(B, groups, per_group, h, w, kh, kw)
    filters = weight.reshape(groups, O // groups, per_group, kh, kw)
    y = np.einsum("bgcijuv,gocuv->bgoij", windows, filters).reshape(B, O, h, w)
    return y if bias is None else y + bias[:, None, None]


report = mv.laws.judge("conv2d", conv2d_by_windows)  # the same laws, without printing
assert report.passed
report

# %% [markdown]
# The third version is the one that libraries use. Write every window as a **column** (*im2col*) and every filter as a
# **row**, and multiply the two matrices, since matrix multiplication is the best optimised routine of a computer. The
# cost is memory: each pixel is copied into up to $k_h k_w$ columns.


# %%
def conv2d_by_matrix(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    O, per_group, kh, kw = weight.shape
    windows = windows_of(x, (kh, kw), stride, padding, dilation)
    B, C, h, w = windows.shape[:4]
    columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(groups, per_group * kh * kw, B * h * w)
    rows = weight.reshape(groups, O // groups, per_group * kh * kw)
    y = (rows @ columns).reshape(O, B, h, w).swapaxes(0, 1)
    return y if bias is None else y + bias[:, None, None]


report = mv.laws.judge("conv2d", conv2d_by_matrix)  # the same laws, without printing
assert report.passed
report

# %% [markdown]
# `mv.ops.conv2d` is this third version with its gradient. How much faster is each version? A fair measure is
# **multiply-adds per second**, because the same convolution needs the same $B\,H'W'\,O\,\frac{C}{g}\,k_h k_w$
# multiply-adds however it is written. (The loops get a smaller image, or you would wait for minutes. The figures are
# measured on the machine that runs this page.)


# %%
def rate(function, size, repeats=5):
    """Billions of multiply-adds a second for 16 filters of 3 x 3 on 16 channels: the best of several runs."""
    x = rng.standard_normal((1, 16, size, size)).astype(np.float32)
    weight = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        y = function(x, weight, padding=1)
        seconds.append(time.perf_counter() - start)
    return y.size * weight[0].size / min(seconds) / 1e9


# %%
rates = {
    "loops": rate(conv2d_by_loops, 10, repeats=1),
    "windows, einsum": rate(conv2d_by_windows, 96),
    "im2col, matmul": rate(conv2d_by_matrix, 96),
    "mv.ops.conv2d": rate(mv.ops.conv2d, 96),
}
vectorised = rates["windows, einsum"] / rates["loops"]
polished = rates["im2col, matmul"] / rates["windows, einsum"]
assert vectorised > 10 and vectorised * polished > 100
viz.bars(
    {name: float(f"{value:.2g}") for name, value in rates.items()},
    "billion multiply-adds per second",
    log=True,
    title="One convolution, four ways",
    caption="The scale is logarithmic. Taking the loops out of Python gains a factor of "
    f"{vectorised:.0f}; the matrix product, which uses the processor's caches and vector units, "
    f"gains another {polished:.0f}.",
)

# %% [markdown]
# ### Channels and groups
# Three special cases are common. With a $1 \times 1$ kernel nothing slides: the layer is one matrix that mixes the
# channels of every pixel. With $g$ groups it is $g$ smaller convolutions side by side. With as many groups as
# channels (*depthwise*) every channel has a filter of its own, and channels are not mixed at all.

# %%
maps = rng.standard_normal((2, 6, 8, 9))
mix, grouped, depthwise = (rng.standard_normal(shape) for shape in [(4, 6, 1, 1), (4, 3, 3, 3), (6, 1, 3, 3)])

np.testing.assert_allclose(mv.ops.conv2d(maps, mix), np.einsum("oc,bchw->bohw", mix[:, :, 0, 0], maps))
halves = [mv.ops.conv2d(maps[:, :3], grouped[:2]), mv.ops.conv2d(maps[:, 3:], grouped[2:])]
np.testing.assert_allclose(mv.ops.conv2d(maps, grouped, groups=2), np.concatenate(halves, axis=1))
alone = [mv.ops.conv2d(maps[:, c : c + 1], depthwise[c : c + 1]) for c in range(6)]
np.testing.assert_allclose(mv.ops.conv2d(maps, depthwise, groups=6), np.concatenate(alone, axis=1))

for name, weight in {"1 x 1": mix, "two groups": grouped, "depthwise": depthwise}.items():
    print(f"{name:10}  weight {weight.shape}: {weight.size} numbers")

# %% [markdown]
# ## A convolution is a matrix with few different numbers
# A convolution is linear in $x$, so there is **one** matrix $T$ with $y = T x$. Column $j$ of $T$ is the output for
# an input that is 1 at place $j$ and 0 elsewhere. Each row holds the filter, one step further to the right than the
# row above. Such a matrix, constant along its diagonals, is called **Toeplitz**. The picture shows both ideas of
# convolution: few entries per row (*local*), and the same numbers in every row (*shared*).

# %%
eye = np.eye(10)[:, None]  # ten spikes as a batch, (10, 1, 10)
T = mv.ops.conv1d(eye, w[None, None].astype(float))[:, 0].T  # (7, 10)

np.testing.assert_array_equal(T @ x, y)
viz.convolution_matrix(
    T,
    (10,),
    (7,),
    caption="The convolution of the first section as a matrix. It has 70 entries, of which 28 could differ from 0 "
    "(the filter itself holds one 0), and only four different numbers.",
)

# %% [markdown]
# In two dimensions both images are flattened row by row. The matrix then consists of blocks: each block has bands,
# and the blocks themselves are arranged in bands.

# %%
spikes = np.eye(25).reshape(25, 1, 5, 5)
T2 = mv.ops.conv2d(spikes, cross[None, None].astype(float)).reshape(25, 9).T  # (9, 25)

np.testing.assert_array_equal((T2 @ image.ravel()).reshape(3, 3), feature)
viz.convolution_matrix(
    T2,
    (5, 5),
    (3, 3),
    caption="The cross filter on a 5 × 5 image. Grey lines separate the rows of the image: each row of the filter "
    "makes one diagonal of blocks.",
)

# %% [markdown]
# ## Layers, and what they cost
# Slides `C/90-layer-types`, `C/91-convolution-saves-parameters`.
#
# A classical network has three kinds of layers. **Convolution** applies a set of learned filters. **Pooling** makes
# the map smaller; *max pooling* keeps the largest number of each window. A **fully connected** layer connects every
# input with every output. Each turns one volume into another by a differentiable function, so `backward` goes through
# all of them.

# %% tags=["slide:C/90-layer-types"]
volume = rng.standard_normal((1, 3, 8, 8))
weight = rng.standard_normal((6, 3, 3, 3))
dense = rng.standard_normal((10, 96))

layers = [
    ("convolution", lambda v: mv.ops.conv2d(v, weight, padding=1)),
    ("max pooling", lambda v: mv.ops.max_pool2d(v, 2)),
    ("fully connected", lambda v: mv.ops.linear(v.reshape(v.shape[0], -1), dense)),
]
for name, layer in layers:
    error = mv.gradcheck.check_gradient(layer, volume)  # raises if backward is not right
    result = layer(volume)
    print(f"{name:16} {str(volume.shape[1:]):12} -> {str(result.shape[1:]):12} gradient off by {error:.0e}")
    volume = result
assert volume.shape == (1, 10)

# %% [markdown]
# A convolutional network uses the fact that its input is an image, and so needs far fewer parameters. A convolution
# has $O\,(C\,k_h k_w + 1)$ parameters, whatever the size of the image. A fully connected layer between the same two
# volumes has one weight for every pair of an input and an output.

# %% tags=["slide:C/91-convolution-saves-parameters"]
C, O, side, k = 3, 64, 224, 3
convolution = O * (C * k * k + 1)
local_unshared = O * side * side * (C * k * k + 1)  # a filter of its own at every place
connected = (C * side * side + 1) * O * side * side

assert convolution == 1_792
assert connected // local_unshared == 5_376 and local_unshared // convolution == 224**2
viz.bars(
    {
        "fully connected:\n483 billion": connected,
        "local:\n90 million": local_unshared,
        "local and shared\n(convolution): 1,792": convolution,
    },
    "parameters",
    log=True,
    values=False,
    title="From 3 × 224 × 224 to 64 × 224 × 224",
    caption="Parameters of a layer between these two volumes, on a logarithmic scale. Local connections save a "
    "factor of 5,376; sharing the filter between all places saves another 50,176 (224²).",
)

# %% [markdown]
# Stacked layers form a *hierarchy* of filters: edges, then corners and textures made of edges, then parts of objects.
# At the end you will look into a trained network.

# %% [markdown]
# ## What is assumed: locality and stationarity
# Slide `A/6-locality-and-stationarity`.
#
# Saving parameters does no harm if images have the properties that a convolution assumes.
# - **Locality**: near pixels are more alike than distant ones, so a small window contains much information.
# - **Stationarity**: the statistics are the same everywhere, so one filter is useful at all places.
#
# We measure this: the correlation of two pixels as a function of their distance, for two photos, and for the second
# photo with its pixels shuffled.


# %%
def correlation(grey, distance):
    """Correlation of each pixel with the one `distance` to its right."""
    return np.corrcoef(grey[:, : grey.shape[1] - distance].ravel(), grey[:, distance:].ravel())[0, 1]


# %% tags=["slide:A/6-locality-and-stationarity"]
tower, flower = (mv.data.photos.load(name, size=(160, 240)).mean(axis=0) for name in ("china", "flower"))
shuffled = rng.permutation(flower.ravel()).reshape(flower.shape)
distances = np.arange(1, 61)
falls = {
    name: [correlation(grey, d) for d in distances]
    for name, grey in (("tower", tower), ("flower", flower), ("flower, shuffled", shuffled))
}

for name in ("tower", "flower"):
    assert falls[name][0] > 0.9 and falls[name][0] > falls[name][9] > falls[name][59]
assert abs(falls["flower, shuffled"][0]) < 0.05
viz.curves(
    {name: (distances, np.array(values)) for name, values in falls.items()},
    "distance in pixels",
    "correlation",
    mark=False,
    caption="In both photos neighbouring pixels are almost equal, and the correlation falls with the distance: "
    "this is locality. The shuffled photo has the same pixels, and no correlation between neighbours is left.",
)

# %% [markdown]
# For stationarity we cut the photo into four quarters and compare them. The **mean** differs (the sky is brighter
# than the ground), so images are not stationary in the strict sense. But what matters to a filter, the relation
# between neighbours, is nearly the same in each quarter.

# %% tags=["slide:A/6-locality-and-stationarity"]
quarters = {
    "upper left": tower[:80, :120],
    "upper right": tower[:80, 120:],
    "lower left": tower[80:, :120],
    "lower right": tower[80:, 120:],
}
neighbours = {name: correlation(quarter, 1) for name, quarter in quarters.items()}
means = {name: quarter.mean() for name, quarter in quarters.items()}

assert max(neighbours.values()) - min(neighbours.values()) < max(means.values()) - min(means.values())
viz.heatmap(
    [list(means.values()), list(neighbours.values())],
    "",
    "",
    x_names=list(quarters),
    y_names=["mean brightness", "correlation of neighbours"],
    vmin=0,
    vmax=1,
    caption="The brightness differs between the quarters; the correlation between neighbours hardly does.",
)

# %% [markdown]
# ## Filters that people wrote
# Before filters were learned they were designed by hand. Each of these is a $3 \times 3$ table that you can read:
# with weights that sum to 1 it keeps the brightness; with weights that sum to 0 it responds only to changes.

# %%
classic = {
    "blur": np.ones((3, 3)) / 9,
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
    "Sobel, left to right": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "Sobel, top to bottom": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    "Laplacian": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
}
bank = np.stack(list(classic.values()))[:, None].astype(np.float32)  # (5, 1, 3, 3): five filters in one layer
print({name: round(float(f.sum()), 6) for name, f in classic.items()})
viz.grids(
    [np.round(f, 2) for f in classic.values()],
    titles=list(classic),
    caption="Five filters. The first two sum to 1, the others to 0.",
)

# %%
grey = mv.data.photos.china(size=(200, 300)).mean(axis=0)
answers = mv.ops.conv2d(grey[None, None].astype(np.float32), bank, padding=1)[0]  # (5, 200, 300)
viz.images(
    [grey, np.clip(answers[0], 0, 1), np.clip(answers[1], 0, 1)],
    titles=["photo (grey)", "blur", "sharpen"],
    size=3.2,
    caption="Filters that sum to 1. Blur averages neighbouring pixels; sharpen increases the differences between "
    "them. The dark rim of the blur comes from the zeros of the padding.",
)

# %%
viz.images(
    list(answers[2:, 1:-1, 1:-1]),
    titles=list(classic)[2:],
    signed=True,
    vmax=1,
    size=3.0,
    caption="Filters that sum to 0: flat regions give 0 (white). One Sobel filter responds to vertical edges, the "
    "other to horizontal ones, and the sign is that of the step. The Laplacian responds to any thin line or "
    "corner, whatever its direction.",
)

# %% [markdown]
# ## Shift the input, and the output shifts
# A filter that is the same everywhere finds a pattern wherever it is. If the input moves by $t$ pixels the output
# moves by $t$ pixels, and nothing else changes. With $S_t$ for "shift by $t$",
#
# $$\mathrm{conv}(S_t\, x) = S_t\, \mathrm{conv}(x) .$$
#
# This is called **equivariance**. With a stride $s$ it no longer holds: the output can move only by whole output
# pixels, that is by multiples of $s$ input pixels. We measure the difference of both sides, away from the border:


# %%
def mismatch(shift, stride):
    """Relative difference of conv(shifted) and shifted conv, in the interior."""
    edge = bank[2:3]

    def apply(photo):
        return mv.ops.conv2d(photo[None, None].astype(np.float32), edge, stride=stride)[0, 0]

    ours = apply(np.roll(grey, shift, axis=1))
    theirs = np.roll(apply(grey), round(shift / stride), axis=1)
    inside = (slice(None), slice(12, -12))
    return np.linalg.norm((ours - theirs)[inside]) / np.linalg.norm(theirs[inside])


# %%
shifts = np.arange(9)
curves = {f"stride {s}": np.array([mismatch(t, s) for t in shifts]) for s in (1, 2, 4)}
for s in (1, 2, 4):
    fitting = shifts % s == 0
    assert curves[f"stride {s}"][fitting].max() < 1e-5
    assert s == 1 or curves[f"stride {s}"][~fitting].min() > 0.1
viz.curves(
    {name: (shifts, values) for name, values in curves.items()},
    "shift of the input, pixels",
    "relative difference",
    caption="The difference between shifting before and after the convolution. With stride 1 it is zero for every "
    "shift, with stride 2 only for even shifts, with stride 4 only for multiples of 4.",
)

# %% [markdown]
# ## The receptive field of a deep layer
# Slide `A/5-pooling-widens-and-loses`.
#
# An output of one layer depends on $k$ pixels. An output of the next layer depends on $k$ outputs of the first, so on
# more pixels: the **receptive field** grows with depth. Layer $l$ adds $(k_l - 1)$ steps, and each step is as long as
# the product of all strides below it:
#
# $$r = 1 + \sum_l (k_l - 1) \prod_{m < l} s_m .$$
#
# Pooling has a kernel and a stride like any other layer, and its stride of 2 **doubles the steps of all layers above
# it**. One backward pass measures a receptive field: which pixels get a gradient from the middle output? (All weights
# are equal here; *average* pooling is then a convolution with stride 2. Max pooling has the same reach, but sends
# each gradient to a single pixel.)


# %%
def seen(layers, side=45):
    """Gradient of the middle output in each pixel, for a stack of (kernel, stride) with equal weights."""
    x = mv.Tensor(np.ones((1, 1, side, side)), requires_grad=True)
    y = x
    for k, s in layers:
        y = mv.ops.conv2d(y, np.full((1, 1, k, k), 1 / k**2), stride=s)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    return x.grad[0, 0]


def formula(layers):
    reach, jump = 1, 1
    for k, s in layers:
        reach = reach + (k - 1) * jump
        jump = jump * s
    return reach


# %% tags=["slide:A/5-pooling-widens-and-loses"]
conv, pool = (3, 1), (2, 2)  # kernel, stride
stacks = {
    "2 conv": [conv] * 2,
    "6 conv": [conv] * 6,
    "6 conv, 2 pool": [conv, conv, pool] * 2 + [conv] * 2,
}
fields = {name: seen(layers) for name, layers in stacks.items()}
widths = {name: int((g.sum(axis=0) > 0).sum()) for name, g in fields.items()}
assert widths == {name: formula(layers) for name, layers in stacks.items()}
assert list(widths.values()) == [5, 13, 32]
viz.images(
    [np.sqrt(g / g.max()) for g in fields.values()],
    titles=[f"{name}: {widths[name]} pixels" for name in fields],
    size=2.6,
    caption="Bright pixels are those that the middle output depends on (square root, to make the rim visible). Six "
    "3 × 3 layers reach 13 pixels; with two poolings between them they reach 32. Pixels in the middle count more "
    "than those at the rim, because more paths lead to them.",
)

# %% [markdown]
# The same slide names the cost: pooling **loses information**. To see how much, we take a handwritten digit and
# shuffle the four pixels inside every $2 \times 2$ block. The picture is different, and the pooled map is the same.

# %% tags=["slide:A/5-pooling-widens-and-loses"]
digits, labels = mv.data.digits.load("train")
digit = digits[labels == 0][0, 0]
blocks = digit.reshape(4, 2, 4, 2).swapaxes(1, 2).reshape(4, 4, 4)  # (block row, block column, its pixels)
mixed = rng.permuted(blocks, axis=2).reshape(4, 4, 2, 2).swapaxes(1, 2).reshape(8, 8)
pooled, pooled_mixed = (mv.ops.max_pool2d(d[None, None], 2)[0, 0] for d in (digit, mixed))

assert not np.array_equal(digit, mixed)
np.testing.assert_array_equal(pooled, pooled_mixed)
viz.images(
    [digit, mixed, pooled, pooled_mixed],
    titles=["a 0", "its blocks shuffled", "the 0, pooled", "shuffled, pooled"],
    caption="Two different inputs have the same pooled map: the layers above cannot tell them apart.",
)

# %% [markdown]
# ### All parts, and yet no face
# Slide `A/4-parts-without-the-whole`.
#
# Here is a network of local detectors. It has one filter for each part of a simple face, followed by the maximum over
# the whole image ("is this part anywhere?"). First come the parts, and a function that puts them into a picture.

# %%
eye, nose, mouth = (
    np.array(part, dtype=float)
    for part in (
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]],
        [[0, 1, 0], [0, 1, 0], [1, 1, 0]],
        [[1, 0, 1], [1, 0, 1], [1, 1, 1]],
    )
)


def draw(*parts):
    picture = np.zeros((15, 15))
    for part, row, column in parts:
        picture[row : row + 3, column : column + 3] = part
    return picture


# %% [markdown]
# The network also accepts a face whose parts are in the wrong places.

# %% tags=["slide:A/4-parts-without-the-whole"]
face = draw((eye, 2, 2), (eye, 2, 10), (nose, 6, 6), (mouth, 11, 6))
scrambled = draw((eye, 11, 10), (eye, 6, 6), (nose, 2, 11), (mouth, 2, 2))
parts = np.stack([part - part.mean() for part in (eye, nose, mouth)])[:, None]  # (3, 1, 3, 3)
scores = [mv.ops.conv2d(p[None, None], parts).max(axis=(0, 2, 3)) for p in (face, scrambled)]
print("eye, nose, mouth found with scores", scores[0].round(2), "and", scores[1].round(2))
np.testing.assert_allclose(scores[0], scores[1])
viz.images(
    [face, scrambled],
    titles=["a face", "not a face"],
    size=2.4,
    caption="Every part is found with the same score in both pictures. The maximum has lost where a part is "
    "relative to the others.",
)

# %% [markdown]
# ## The gradient of a convolution is a convolution
# How does the loss $\mathcal{L}$ change with a pixel? Write $g_i = \partial \mathcal{L} / \partial y_i$. Pixel $x_j$
# enters every output $y_i$ whose window covers it, with the weight $w_{j-i}$. And weight $w_u$ is multiplied by pixel
# $x_{i+u}$ in every output $y_i$. So
#
# $$\frac{\partial \mathcal{L}}{\partial x_j} = \sum_i w_{j-i}\, g_i, \qquad
# \frac{\partial \mathcal{L}}{\partial w_u} = \sum_i x_{i+u}\, g_i .$$
#
# The first is a *convolution in the strict sense*, with the reversal, of $g$ and $w$. The second slides $g$ over $x$
# like a filter. So the backward pass of a convolution consists of two convolutions.

# %%
X, W = (
    mv.Tensor(x[None, None].astype(float), requires_grad=True),
    mv.Tensor(w[None, None].astype(float), requires_grad=True),
)
g = rng.standard_normal(7)
mv.ops.conv1d(X, W).backward(g[None, None])

np.testing.assert_allclose(X.grad[0, 0], np.convolve(g, w))  # with flip, (10,)
np.testing.assert_allclose(W.grad[0, 0], np.correlate(x, g))  # without, (4,)
np.testing.assert_allclose(X.grad[0, 0], T.T @ g)  # and as a matrix: the transpose
off = mv.gradcheck.check_gradient(
    lambda x, w: mv.ops.conv2d(x, w, stride=2, padding=1),
    rng.standard_normal((2, 3, 6, 7)),
    rng.standard_normal((4, 3, 3, 2)),
)
print(f"backward of conv2d with stride 2 and padding 1: off finite differences by {off:.0e}")

# %% [markdown]
# The third assert checks the same with matrices: forward multiplies by $T$, backward by $T^\top$.

# %% [markdown]
# ## Transposed convolution: enlarge by running backwards
# Slides `C/86-transpose-convolution-1d`, `C/83-transpose-convolution`.
#
# Multiplying by $T^\top$ leads from the small map to the large one. Used as a layer, this is the **transposed
# convolution**. Every input value adds a copy of the filter, multiplied by that value, to the output. The copies lie
# one stride apart, and where they overlap they **add up**. The cell has the one-dimensional example of Deck C with
# numbers in place of its letters (two inputs, a filter of three, stride 2):

# %% tags=["slide:C/86-transpose-convolution-1d", "worked:transpose-1d"]
inputs = np.array([2.0, 3.0])
stamp = np.array([1.0, 10.0, 100.0])

stamps = np.zeros((2, 5))
for i, value in enumerate(inputs):
    stamps[i, 2 * i : 2 * i + 3] = value * stamp
total = stamps.sum(axis=0)

assert total.tolist() == [2, 20, 203, 30, 300]  # 200 + 3 where the stamps overlap
np.testing.assert_array_equal(
    mv.ops.conv_transpose2d(inputs[None, None, None], stamp[None, None, None], stride=(1, 2))[0, 0, 0], total
)
viz.grids(
    [stamps[0], stamps[1], total],
    titles=["2 × the filter", "3 × the filter, two steps on", "sum"],
    zeros=False,
    columns=1,
    marks=[np.arange(5) == 2] * 3,
    size=0.5,
    caption="The two copies overlap in one square (orange), where they add.",
)

# %% [markdown]
# In two dimensions the slide enlarges $2 \times 2$ to $4 \times 4$ with a $3 \times 3$ filter, stride 2 and
# padding 1. The padding of the convolution becomes a **cut** in its transpose: $p$ rows and columns are removed on each side.
# The size is
#
# $$n' = (n - 1)\,s - 2p + d(k - 1) + 1 + \text{output padding} .$$
#
# This gives $3 \times 3$, not the $4 \times 4$ of the slide, which needs `output_padding=1`. The size is ambiguous: a
# convolution with stride 2 turns *both* $3 \times 3$ and $4 \times 4$ into $2 \times 2$, so for the way back we have
# to choose one.

# %% tags=["slide:C/83-transpose-convolution", "worked:transpose-2d"]
corners = np.array([[1.0, 2.0], [3.0, 4.0]])[None, None]
three = np.ones((1, 1, 3, 3))
without = mv.ops.conv_transpose2d(corners, three, stride=2, padding=1)
with_extra = mv.ops.conv_transpose2d(corners, three, stride=2, padding=1, output_padding=1)

assert without.shape[2:] == (3, 3)
assert with_extra.shape[2:] == (4, 4)
for n in (3, 4):  # both sizes come back to 2 x 2
    assert mv.ops.conv2d(np.zeros((1, 1, n, n)), three, stride=2, padding=1).shape[2:] == (2, 2)

uncut = np.zeros((5, 5))
for i, j in np.ndindex(2, 2):
    uncut[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += corners[0, 0, i, j]
np.testing.assert_array_equal(uncut[1:4, 1:4], without[0, 0])
np.testing.assert_array_equal(uncut[1:5, 1:5], with_extra[0, 0])
middle, lower = np.zeros((2, 5, 5))
middle[1:4, 1:4] = lower[1:5, 1:5] = 1
viz.grids(
    [corners[0, 0], uncut, uncut],
    titles=["input", "kept: 3 × 3", "kept: 4 × 4"],
    marks=[None, middle, lower],
    caption="Left: a filter of ones adds four 3 × 3 squares with the values 1 to 4, two pixels apart. Middle: "
    "padding 1 cuts off the border. Right: output_padding=1 keeps the last row and column.",
)

# %% [markdown]
# The exact relation is that of a matrix and its transpose (its *adjoint*). For any $x$ and $y$ of fitting sizes, the
# two dot products
#
# $$\langle \mathrm{conv}(x), y \rangle = \langle x, \mathrm{convT}(y) \rangle$$
#
# are the same number. This is the transpose, not the **inverse**: it restores the size, not the values.

# %%
fine, coarse, kernel = (
    rng.standard_normal((1, 1, 8, 8)),
    rng.standard_normal((1, 1, 4, 4)),
    rng.standard_normal((1, 1, 3, 3)),
)
down = mv.ops.conv2d(fine, kernel, stride=2, padding=1)
up = mv.ops.conv_transpose2d(coarse, kernel, stride=2, padding=1, output_padding=1)
print(f"<conv(x), y> = {(down * coarse).sum():.12f}\n<x, convT(y)> = {(fine * up).sum():.12f}")
np.testing.assert_allclose((down * coarse).sum(), (fine * up).sum())

# %% [markdown]
# ### Checkerboards
# If the kernel is not a multiple of the stride, some output pixels lie under more copies of the filter than others,
# and the sum shows this as a checkerboard. We take a constant image and filters of ones: kernel 3 with stride 2 gives
# a pattern, kernel 4 with stride 2 does not. Therefore networks that generate images choose $k$ as a multiple of $s$,
# or first enlarge the map and then apply a convolution.

# %%
flat = np.ones((1, 1, 8, 8))
boards = {k: mv.ops.conv_transpose2d(flat, np.ones((1, 1, k, k)), stride=2, padding=1)[0, 0] for k in (3, 4)}
assert np.unique(boards[3]).tolist() == [1, 2, 4]
assert np.ptp(boards[4][1:-1, 1:-1]) == 0
viz.images(
    [board / 4 for board in boards.values()],
    titles=["kernel 3, stride 2", "kernel 4, stride 2"],
    size=2.4,
    caption="How many copies of the filter lie on each output pixel: black none, white four. With kernel 3 it is "
    "1, 2 or 4 in turn. With kernel 4 it is 4 everywhere except at the rim.",
)

# %% [markdown]
# ## A network that learns its filters
# Now we build a small convolutional network and train it on 1,437 real handwritten digits of $8 \times 8$ pixels. It
# has two convolutions, each followed by ReLU and max pooling, and one fully connected layer for the ten classes. The
# 360 **held-out** digits are used only at the end.


# %%
def he(*shape):
    """Random weights with variance 2 / (inputs of an output): signals keep their size through ReLU layers."""
    spread = np.sqrt(2 / np.prod(shape[1:]))
    return mv.Tensor((spread * rng.standard_normal(shape)).astype(np.float32), requires_grad=True)


rng = np.random.default_rng(0)
filters1 = he(16, 1, 3, 3)
filters2 = he(32, 16, 3, 3)
readout = he(10, 32 * 2 * 2)
biases = [mv.Tensor(np.zeros(n, np.float32), requires_grad=True) for n in (16, 32, 10)]
parameters = [filters1, filters2, readout, *biases]


def stages(x):
    """Every stage of the network for images (B, 1, 8, 8); the last one holds the scores (B, 10)."""
    first = mv.ops.relu(mv.ops.conv2d(x, filters1, biases[0], padding=1))  # (B, 16, 8, 8)
    pooled = mv.ops.max_pool2d(first, 2)  # (B, 16, 4, 4)
    second = mv.ops.relu(mv.ops.conv2d(pooled, filters2, biases[1], padding=1))  # (B, 32, 4, 4)
    summary = mv.ops.max_pool2d(second, 2)  # (B, 32, 2, 2)
    return first, pooled, second, summary, mv.ops.linear(summary.reshape(len(x), -1), readout, biases[2])


initial = filters1.data.copy()
print(f"{sum(p.data.size for p in parameters):,} parameters")

# %% [markdown]
# The training loop is that of [chapter 01](01_autograd.ipynb): a random batch, the loss, `backward`, a step against
# the gradient. We add three things. With *momentum* the step is a running sum of past gradients. The learning rate
# falls to 0, so that the last steps are small. And with *weight decay* each step also moves every weight a little
# towards 0, so that only weights that are needed stay.


# %%
steps = 600
losses = []
velocity = [np.zeros_like(p.data) for p in parameters]
for step in range(steps):
    chosen = rng.integers(len(digits), size=64)
    loss = mv.ops.cross_entropy(stages(digits[chosen])[-1], labels[chosen])
    loss.backward()
    rate_now = 0.05 * (1 + np.cos(np.pi * step / steps)) / 2  # from 0.05 down to 0
    for p, v in zip(parameters, velocity, strict=True):
        v *= 0.9
        v += p.grad + np.float32(0.01) * p.data  # weight decay: pull towards 0
        p.data -= np.float32(rate_now) * v
        p.grad = None
    losses.append(loss.item())

smooth = np.convolve(losses, np.ones(20) / 20, "valid")
viz.curves(
    {"loss, mean of 20 steps": smooth},
    "step",
    "cross entropy (nats)",
    log="y",
    caption="The loss of each step, smoothed (the smoothing is a convolution, too). Guessing among ten classes "
    f"costs ln 10 ≈ 2.3 nats; the first batch cost {losses[0]:.1f}.",
)

# %%
held_out, truth = mv.data.digits.load("held-out")
with mv.no_grad():
    answers = stages(held_out)[-1].argmax(axis=1)
right = int((answers == truth).sum())
print(f"held-out accuracy {right / len(truth):.1%} ({right} of {len(truth)})")
assert right / len(truth) > 0.95

wrong = np.flatnonzero(answers != truth)[:8]
viz.images(
    held_out[wrong],
    size=1.3,
    titles=[f"{truth[i]}, read as {answers[i]}" for i in wrong],
    caption="Held-out digits that the network got wrong (at most eight). Some are hard for people, too.",
)

# %% [markdown]
# ### What it learned
# The figures show the sixteen filters of the first layer, before and after training. They began as noise. Weight
# decay has removed what was not needed (some filters have faded), and the rest is ordered: look for filters with one
# orange and one purple side. They respond to vertical, horizontal or slanted edges, much like the Sobel filters
# above, although nobody designed them. The printed number is the correlation of weights that are neighbours in a
# filter.


# %%
def neighbours_agree(filters):
    """The correlation of each weight with the one to its right and the one below."""
    right = filters[..., :-1].ravel(), filters[..., 1:].ravel()
    below = filters[..., :-1, :].ravel(), filters[..., 1:, :].ravel()
    return np.corrcoef(np.concatenate([right, below], axis=1))[0, 1]


before = neighbours_agree(initial)
after = neighbours_agree(filters1.data)
print(f"correlation of neighbouring weights: {before:.2f} before training, {after:.2f} after")
assert abs(before) < 0.15 < after

# %%
viz.filters(
    initial,
    title="Before training",
    caption="Random numbers: neighbouring weights are not related.",
)

# %%
viz.filters(
    filters1,
    title="After training",
    caption="Neighbouring weights are similar more often than before: there are bars and edges of several "
    "directions. Nearly white filters are not used.",
)

# %% [markdown]
# Here is what each layer makes of one held-out digit: sixteen filtered copies, pooled, then 32 coarser maps in which
# few places still respond.

# %%
with mv.no_grad():
    first, pooled, second, summary, scores = (s.data for s in stages(held_out[:1]))
viz.feature_maps(
    {
        "image": held_out[0],
        "conv 1, ReLU": first,
        "pool 1": pooled,
        "conv 2, ReLU": second,
        "pool 2": summary,
    },
    columns=16,
    size=0.45,
    caption=f"A {truth[0]}, stage by stage from top to bottom; yellow is large. Shapes are channels × height × width: "
    "the maps become smaller, and there are more of them.",
)

# %% [markdown]
# ## Exercises
# Write your lines in the stub; the cell below it checks them. Solutions are folded away. A check by laws also asks
# the following of your function: float32 in gives float32 out, float64 keeps all its digits, the input arrays stay
# unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: undo the size formula
# Write `same_padding(k, d)`: the padding that keeps the size with stride 1, for an odd kernel $k$ and dilation $d$,
# as an integer. Hint: put $n' = n$ into the formula.


# %% tags=["exercise:same-padding"]
def same_padding(k, d=1):
    # your lines here
    ...


# %% tags=["check:same-padding"]
passed = claims(
    "same padding",
    (
        "is 1 for a kernel of 3",
        lambda: same_padding(3),
        1,
        "With a frame of one zero, the middle of a filter of 3 can stand on every number.",
    ),
    (
        "is a whole number",
        lambda: type(same_padding(3)).__name__,
        "int",
        "`/` gives a float, and half a zero cannot be padded: `//` divides ints to an int.",
    ),
    (
        "keeps the size for k = 1, 3, 5, 7",
        lambda: [same_padding(k) for k in (1, 3, 5, 7)],
        [0, 1, 2, 3],
        "Put n' = n, s = 1 and d = 1 into the formula for n' and solve it for p.",
    ),
    (
        "keeps it for k = 5 and dilation 1, 2, 3",
        lambda: [same_padding(5, d) for d in (1, 2, 3)],
        [2, 4, 6],
        "A dilated filter reaches over d(k - 1) + 1 numbers, half of them on each side of the middle.",
    ),
).passed

# %% [markdown] tags=["solution:same-padding"]
# <details><summary>Solution</summary>
#
# ```python
# def same_padding(k, d=1):
#     return d * (k - 1) // 2
# ```
#
# $n + 2p - d(k-1) - 1 + 1 = n$ gives $2p = d(k-1)$; for odd $k$ that is even.
# </details>

# %% [markdown]
# ### Exercise 2: design a filter
# Write a $3 \times 3$ filter `diagonal`. For a bright line from upper left to lower right (on black) its output is 3,
# for the other diagonal at most 1, and for every constant image 0. Hint: what must the weights sum to?

# %% tags=["exercise:diagonal"]
diagonal = np.zeros((3, 3))  # your numbers here


# %% tags=["check:diagonal"]
def answer(picture):
    return mv.ops.conv2d(picture[None, None], np.asarray(diagonal, dtype=float)[None, None])[0, 0, 0, 0]


passed = claims(
    "a diagonal filter",
    ("is 3 by 3", lambda: np.shape(diagonal), (3, 3), "Three rows of three numbers each."),
    (
        "answers 3 to its own line",
        lambda: answer(np.eye(3)),
        3.0,
        "The line meets three of the nine numbers, from upper left to lower right. What must they sum to?",
    ),
    (
        "answers at most 1 to the other diagonal",
        lambda: answer(np.eye(3)[::-1].copy()),
        at_most(1),
        "It shares the middle number with the first line. The corners have to make up for that.",
    ),
    (
        "answers 0 to a constant image",
        lambda: answer(np.ones((3, 3))),
        0.0,
        "A constant image meets all nine numbers alike: the answer is their sum.",
    ),
).passed

# %% [markdown] tags=["solution:diagonal"]
# <details><summary>Solution</summary>
#
# ```python
# diagonal = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]])
# ```
#
# There are ones where the line is, and the rest is chosen so that everything sums to 0. The other diagonal shares
# only the middle: $1 - 0.5 - 0.5 = 0$.
# </details>

# %% [markdown]
# ### Exercise 3: convolution with its gradient
# Write `conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)` that returns `(y, vjp)`. You may
# leave out dilation and groups at first, but the laws ask for them in the end. Stride, padding and dilation are each
# an integer for both axes or a pair (height, width); `pair` from above makes a pair of either. `vjp(g)` returns the
# three gradients `(g_x, g_weight, g_bias)`, the last one `None` without a bias.
#
# Hint: with `windows_of` the forward pass is one `einsum`, and the gradient of the weight is another one. For the
# gradient of $x$, add the share of each weight to a padded array of zeros, one slice for each place $(u, v)$ of the
# filter, and cut off the padding.


# %% tags=["exercise:conv2d"]
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    # your lines here
    ...


# %% tags=["check:conv2d"]
passed = mv.laws.check("conv2d", conv2d, vjp=True).passed

# %% [markdown] tags=["solution:conv2d"]
# <details><summary>Solution</summary>
#
# ```python
# def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
#     (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
#     (B, C, H, W), (O, n, kh, kw) = x.shape, weight.shape
#     windows = windows_of(x, (kh, kw), stride, padding, dilation)
#     h, w = windows.shape[2:4]
#     windows = windows.reshape(B, groups, n, h, w, kh, kw)
#     filters = weight.reshape(groups, O // groups, n, kh, kw)
#     y = np.einsum("bgcijuv,gocuv->bgoij", windows, filters).reshape(B, O, h, w)
#     if bias is not None:
#         y = y + bias[:, None, None]
#
#     def vjp(g):
#         shared = g.reshape(B, groups, O // groups, h, w)
#         g_weight = np.einsum("bgcijuv,bgoij->gocuv", windows, shared).reshape(weight.shape)
#         padded = np.zeros((B, C, H + 2 * ph, W + 2 * pw), x.dtype)
#         for u, v in np.ndindex(kh, kw):
#             rows = slice(dh * u, dh * u + sh * h, sh)
#             columns = slice(dw * v, dw * v + sw * w, sw)
#             share = np.einsum("gocuv,bgoij->bgcij", filters[..., u : u + 1, v : v + 1], shared)
#             padded[:, :, rows, columns] += share.reshape(B, C, h, w)
#         g_x = padded[:, :, ph : ph + H, pw : pw + W]
#         return g_x, g_weight, None if bias is None else g.sum(axis=(0, 2, 3))
#
#     return y, vjp
# ```
#
# The loop in `vjp` is the transposed convolution: every $g$ adds a copy of the filter, and overlaps add up.
# </details>

# %% [markdown]
# ### Exercise 4: transposed convolution
# Write `conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0)` with $x$ $(B, C, H, W)$,
# weight $(C, O, k_h, k_w)$ and result $(B, O, H', W')$. Stride, padding and output padding are each a number or a
# pair (height, width), as in exercise 3. Hint: add the copies to an array that has room for everything, then cut.


# %% tags=["exercise:conv-transpose2d"]
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    # your lines here
    ...


# %% tags=["check:conv-transpose2d"]
passed = mv.laws.check("conv_transpose2d", conv_transpose2d).passed

# %% [markdown] tags=["solution:conv-transpose2d"]
# <details><summary>Solution</summary>
#
# ```python
# def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0):
#     (sh, sw), (ph, pw), (eh, ew) = pair(stride), pair(padding), pair(output_padding)
#     (B, C, H, W), (_, O, kh, kw) = x.shape, weight.shape
#     height, width = (H - 1) * sh + kh + eh, (W - 1) * sw + kw + ew
#     canvas = np.zeros((B, O, height, width), x.dtype)
#     for i, j in np.ndindex(H, W):
#         stamps = np.einsum("bc,couv->bouv", x[:, :, i, j], weight)
#         canvas[:, :, sh * i : sh * i + kh, sw * j : sw * j + kw] += stamps
#     y = canvas[:, :, ph : height - ph, pw : width - pw]
#     return y.copy() if bias is None else y + bias[:, None, None]
# ```
#
# `output_padding` makes the array longer at the lower right end before the cut; `padding` is the cut.
# </details>

# %% [markdown]
# ### Exercise 5: max pooling
# Write `max_pool2d(x, kernel_size, stride=None, padding=0)` for $x$ $(B, C, H, W)$; without a stride the windows lie
# side by side. All three options are a number or a pair (height, width), as in exercise 3. Which value must the
# padding have so that it is never the maximum, not even among negative numbers?


# %% tags=["exercise:max-pool2d"]
def max_pool2d(x, kernel_size, stride=None, padding=0):
    # your lines here
    ...


# %% tags=["check:max-pool2d"]
passed = mv.laws.check("max_pool2d", max_pool2d).passed

# %% [markdown] tags=["solution:max-pool2d"]
# <details><summary>Solution</summary>
#
# ```python
# def max_pool2d(x, kernel_size, stride=None, padding=0):
#     (kh, kw), (ph, pw) = pair(kernel_size), pair(padding)
#     sh, sw = pair(kernel_size if stride is None else stride)
#     padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
#     windows = sliding_window_view(padded, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
#     return windows.max(axis=(-2, -1))
# ```
#
# With zeros as padding, windows of negative numbers at the border would give 0.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:longer-filter"]
# **1. What would happen to the number of outputs if the filter of the first section had seven numbers instead of
# four?**
#
# <details><summary>Answer</summary>
#
# There would be four outputs instead of seven, since a filter of $k$ numbers fits at $L - k + 1$ places: $10 - 7 +
# 1 = 4$.
#
# ```python
# longer = mv.ops.conv1d(np.zeros((1, 1, 10)), np.zeros((1, 1, 7)))
# assert longer.shape[2] == 4
# ```
# </details>

# %% [markdown] tags=["question:dilated"]
# **2. A $3 \times 3$ filter gets a dilation of 2. Which padding keeps the size of the image now, and why not 1?**
#
# <details><summary>Answer</summary>
#
# A padding of 2. The filter has still nine weights, but it spans $2 \cdot (3 - 1) + 1 = 5$ pixels, so on each side
# two of them lie outside. With a padding of 1 the output loses two pixels along each axis.
#
# ```python
# one, two = (mv.ops.conv2d(np.ones((1, 1, 9, 9)), np.ones((1, 1, 3, 3)), padding=p, dilation=2) for p in (1, 2))
# assert two.shape[2:] == (9, 9) and one.shape[2:] == (7, 7)
# ```
# </details>

# %% [markdown] tags=["question:shuffled-pixels"]
# **3. What would happen to what a convolution finds, and to what a fully connected layer can find, if the pixels of
# all images were shuffled in one fixed way?**
#
# <details><summary>Answer</summary>
#
# The fully connected layer loses nothing: shuffle its weights in the same way and it gives the same answer. A
# convolution loses what it relies on: near pixels are no longer alike, and no filter of $3 \times 3$ can undo the
# shuffling.
#
# ```python
# order = rng.permutation(64)
# image_row, dense_row = rng.standard_normal((2, 64))
# assert np.isclose(dense_row[order] @ image_row[order], dense_row @ image_row)
# assert abs(correlation(shuffled, 1)) < 0.05 < 0.9 < correlation(flower, 1)
# ```
# </details>

# %% [markdown] tags=["question:brightness"]
# **4. What does a filter whose weights sum to 0 give where the image is flat, and what does a filter whose weights
# sum to 1 give there?**
#
# <details><summary>Answer</summary>
#
# The first gives 0, whatever the brightness; the second gives the brightness itself. So edge filters sum to 0, and
# blur and sharpen sum to 1.
#
# ```python
# flat = mv.ops.conv2d(np.full((1, 1, 5, 5), 0.7, np.float32), bank)[0]
# assert np.allclose(flat[:2], 0.7, atol=1e-6) and np.allclose(flat[2:], 0, atol=1e-6)
# ```
# </details>

# %% [markdown] tags=["question:odd-shift"]
# **5. The input moves by one pixel. What happens to the output of a convolution with stride 2?**
#
# <details><summary>Answer</summary>
#
# It does not just move: half an output pixel is not possible, so other windows are read and the numbers change. If
# the input moves by two pixels, the output moves by one.
#
# ```python
# assert mismatch(2, stride=2) < 1e-5 < 0.1 < mismatch(1, stride=2)
# ```
# </details>

# %% [markdown] tags=["question:pool-early"]
# **6. What happens to the receptive field of a stack if its pooling comes before its convolutions instead of behind
# them?**
#
# <details><summary>Answer</summary>
#
# It grows. A stride of 2 doubles the steps of all layers above it. With one pooling and two convolutions of $3
# \times 3$ it is 10 pixels wide if the pooling comes first, and 6 if it comes last.
#
# ```python
# assert formula([pool, conv, conv]) == 10 and formula([conv, conv, pool]) == 6
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can compute a convolution by hand, a dot product at every place, $y_i = \sum_u w_u x_{i+u}$. Deep learning does
#   not reverse the filter. This matters only for filters made by hand, for weights from elsewhere, and for algebra.
# - You can write it with loops, with windows and as one matrix product, and say why the last is the fastest. It is a
#   sparse matrix with shared entries: this reduces 483 billion parameters to 1,792.
# - You can give the size of the output for any kernel, stride, padding and dilation, and the receptive field of a stack.
# - You can say what it assumes, locality and stationarity, which hold roughly for photos. It is equivariant to shifts,
#   but with a stride only to some of them.
# - You can run it backwards: its backward pass is its transpose. Used as a layer, the transpose enlarges a map.
# - You can say what it cannot do: distant places do not interact in one layer, and it does not adapt to the image.
#   Attention can do both.
#
# Next: [03. From LeNet to ResNet](03_lenet_to_resnet.ipynb), where convolutions become deep.
