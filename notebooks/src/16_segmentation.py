# %% [markdown]
# # 16. Segmentation: fully convolutional networks, U-Net, Mask R-CNN
#
# A classifier gives an image one class, and a detector gives each object a box. Segmentation is finer: it gives a class
# to every pixel, or to each object the pixels that belong to it. For both, a network must know *what* is in the image,
# which takes a view of large regions, and *where* it is, to the pixel.
#
# **Goals**
#
# - You can say what semantic and instance segmentation return, and turn a classifier into a network that labels all
#   pixels at once.
# - You can enlarge a map in four ways on paper: nearest neighbours, bed of nails, max unpooling, transposed convolution.
# - You can compute the size of every map of U-Net, and say why its convolutions have no padding.
# - You can write a U-Net, train it, and measure what its connections from the way down to the way up are worth.
# - You can say how Mask R-CNN gets masks from boxes, and paste a small mask into an image without losing half a pixel.
#
# **Before**: convolution and its transpose from [02](02_convolution.ipynb), VGG and ResNet from
# [03](03_lenet_to_resnet.ipynb), detection with regions from [14](14_detection.ipynb).
#
# **Slides**: Deck C is CPSC 425, lecture 23. A section that follows a slide names it by its tag: deck, page and a short
# name.
#
# **Time**: about 75 minutes to read, 50 more for the exercises; the cells take about half a minute.

# %% tags=["setup"]
import math
import time

import numpy as np

import minivis as mv
from minivis import nn, ops, optim, viz
from minivis.data import shapes
from minivis.laws import claims
from minivis.recipes import _shapes
from minivis.vision import border_weights, crop_concat

rng = np.random.default_rng(0)

# %% [markdown]
# ## A class for every pixel
#
# Slide `C/69-semantic-segmentation`. **Semantic segmentation** labels every pixel with a category. It does not tell
# objects of one category apart: two stars that touch are one region of "star". Our scenes have nine categories, six
# shapes and three grounds, and their labels are known exactly, because the scenes are generated.

# %% tags=["slide:C/69-semantic-segmentation"]
from scipy.ndimage import label as connected_regions

scenes = [shapes.scene(seed) for seed in range(100)]  # held out: no training saw them
chosen = [scenes[i] for i in (1, 2, 3, 7)]
merged = 0
for scene in scenes:
    for kind in np.unique(scene.labels):
        objects = int((scene.labels == kind).sum())
        _, regions = connected_regions(scene.semantic == kind)
        merged += regions < objects
print(f"in {merged} cases of 100 scenes, objects of one class are fewer regions than objects")
assert merged > 5 and all(scene.semantic.shape == scene.image.shape[1:] for scene in scenes)
viz.semantic_maps(
    [scene.semantic for scene in chosen],
    [scene.image for scene in chosen],
    titles=[f"scene of {len(scene.labels)} objects" for scene in chosen] + ["classes of its pixels"] * 4,
    names=shapes.CLASSES,
    title="Semantic segmentation",
    caption="Above: the scenes. Below: the class of every pixel as a colour. Two objects of one class have the same colour, "
    "and where they touch, nothing shows that there are two.",
)

# %% [markdown]
# ### How it is judged
#
# Most pixels are ground, so the share of right pixels says little. The usual measure compares regions. For each class,
# the **intersection over union** (IoU) is the number of pixels that have this class in the prediction and in the truth,
# divided by the number of those that have it in at least one of them. Its mean over the classes is the **mIoU**. Both
# come from the table that counts each pair of true and predicted class, the confusion matrix.

# %% tags=["setup"]


def mean_iou(table):
    """The mean IoU from a confusion matrix: rows are true classes, columns predicted ones."""
    both = np.diag(table)
    either = table.sum(axis=0) + table.sum(axis=1) - both
    return (both[either > 0] / either[either > 0]).mean()


# %%
truth = scenes[3].semantic
guess = np.full_like(truth, shapes.CLASSES.index("grass"))  # everything is grass
table = mv.metrics.confusion_matrix(guess, truth, len(shapes.CLASSES))
print(f"all grass: {(guess == truth).mean():.0%} of the pixels are right, mIoU {mean_iou(table):.2f}")
assert mean_iou(table) < 0.15 < (guess == truth).mean()
np.testing.assert_allclose(mean_iou(table), mv.metrics.mean_iou(table))

# %% [markdown]
# ## The sliding window, and what it wastes
#
# Slide `C/70-segmentation-by-sliding-window`. We have classifiers of images. So cut out the patch around each pixel,
# classify it, and write the answer into the pixel. This works, but neighbouring patches share nearly all their pixels,
# and everything that the network computes on them is computed again for each patch.
#
# Slide `C/72-fully-convolutional`. Run the same filters over the whole image instead. Each number of a convolution
# depends only on the window below it, so the patches need not be cut out. If all layers are convolutions, without padding
# and with a $1 \times 1$ convolution as the classifier, the whole image gives *the same numbers* as the patches. Here is
# a small untrained network of four $3 \times 3$ convolutions, whose answers depend on $9 \times 9$ pixels:

# %% tags=["slide:C/70-segmentation-by-sliding-window", "slide:C/72-fully-convolutional"]
widths = [3, 8, 8, 8, 8]
layers = []
for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
    layers += [nn.Conv2d(inputs, outputs, 3, rng=rng), nn.ReLU()]
classifier = nn.Sequential(*layers, nn.Conv2d(8, 9, 1, rng=rng))

image = scenes[3].image[:, :32, :32]
wide = np.pad(
    image, ((0, 0), (4, 4), (4, 4)), mode="reflect"
)  # (3, 40, 40): every pixel has a patch around it
windows = np.lib.stride_tricks.sliding_window_view(wide, (9, 9), axis=(1, 2))  # (3, 32, 32, 9, 9)
patches = windows.transpose(1, 2, 0, 3, 4).reshape(-1, 3, 9, 9)  # (1024, 3, 9, 9)
with mv.no_grad():
    start = time.perf_counter()
    one_by_one = classifier(patches).numpy().reshape(32, 32, 9).transpose(2, 0, 1)
    middle = time.perf_counter()
    at_once = classifier(wide[None]).numpy()[0]
    end = time.perf_counter()
np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)
print(f"the same numbers; patch by patch takes {(middle - start) / (end - middle):.0f} times as long")

# %% [markdown]
# How much is wasted? With $L$ layers the patch has $2L + 1$ pixels on a side, and layer $l$ has
# $(2(L - l) + 1)^2$ positions for each pixel of the image. On the whole image it has about one. So the waste is the mean
# of these squares, and it grows with the size of the patch.


# %% tags=["slide:C/70-segmentation-by-sliding-window"]
def positions(layers, side):
    """Positions of all 3 x 3 convolutions for an image of side x side: patch by patch, and all at once."""
    apart = sum(side**2 * (2 * (layers - n) + 1) ** 2 for n in range(1, layers + 1))
    together = sum((side + 2 * (layers - n)) ** 2 for n in range(1, layers + 1))
    return apart, together


depths = [1, 2, 4, 8, 16, 32]
waste = [apart / together for apart, together in (positions(n, 224) for n in depths)]
for n, factor in zip(depths, waste, strict=True):
    print(f"{n:2} layers, patches of {2 * n + 1:2} x {2 * n + 1:2} pixels: {factor:6.0f} times the work")
assert positions(4, 1) == (49 + 25 + 9 + 1, 49 + 25 + 9 + 1)  # one pixel is one patch
assert waste[0] == 1 and waste[-1] > 500
viz.curves(
    {"patch by patch, compared with all at once": ([2 * n + 1 for n in depths], waste)},
    "side of the patch, pixels",
    "times the work",
    log="xy",
    title="What the sliding window wastes on an image of 224 x 224",
    caption="Both axes are logarithmic. The work grows nearly with the area of the patch: at 65 x 65 pixels the sliding "
    "window computes everything about a thousand times.",
)

# %% [markdown]
# ## Full resolution is expensive
#
# Slide `C/72-fully-convolutional`. A stack of convolutions at the resolution of the image labels all pixels at once, but
# two things are wrong with it. Its field of view grows slowly, by two pixels a layer. And each layer has as many positions
# as the image has pixels, for all of its channels. VGG-16 pools five times. What would its thirteen convolutions cost
# without that?

# %% tags=["slide:C/72-fully-convolutional"]
side = 224
stages = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]  # VGG-16: channels and convolutions
pooled, full, inputs = [], [], 3
for stage, (width, count) in enumerate(stages):
    weights = inputs * width * 9 + (count - 1) * width * width * 9
    pooled.append(weights * (side // 2**stage) ** 2 / 1e9)
    full.append(weights * side**2 / 1e9)
    inputs = width
print(f"{sum(pooled):.1f} billion multiply-adds with pooling, {sum(full):.0f} at full resolution")
assert round(sum(pooled), 1) == 15.3 and round(sum(full)) == 738
names = [f"stage {n + 1}\n{width} channels" for n, (width, _) in enumerate(stages)]
viz.bars(
    {
        "with pooling": dict(zip(names, (round(n, 1) for n in pooled), strict=True)),
        "at full resolution": dict(zip(names, (round(n, 1) for n in full), strict=True)),
    },
    "billion multiply-adds",
    log=True,
    width=7.6,
    title="VGG-16 on one image of 224 x 224",
    caption="The scale is logarithmic. Compare the two bars of each stage. With pooling all stages cost about the same; "
    "without it each stage costs up to 256 times as much, 48 times as much in all.",
)

# %% [markdown]
# ## Down and up
#
# Slide `C/74-down-and-up`. So the network goes **down**: poolings or strides make the maps smaller, and deep layers with
# many channels become affordable and see far. Then it goes **up** again, to one answer for each pixel. How to go down
# is known. The question is what goes up. This is such a network, without anything else:

# %% tags=["slide:C/74-down-and-up"]
plain = mv.models.UNet((8, 16, 32), num_classes=9, channels=3, padded=True, skips=False)
viz.architecture(plain, (1, 3, 64, 64))

# %% [markdown]
# ## Going up without learning: nearest neighbours, bed of nails
#
# Slide `C/76-unpooling`. From $2 \times 2$ to $4 \times 4$ in two ways. **Nearest neighbours** repeat every value in a
# block. A **bed of nails** puts every value into the corner of its block and zeros elsewhere. With loops, without, and
# as the library has it. Both are transposed convolutions with a fixed filter: a block of ones, or a one in the corner.

# %% tags=["slide:C/76-unpooling"]
small = np.array([[1, 2], [3, 4]])


def nearest_loops(x):
    """Every value fills its block of 2 x 2."""
    y = np.zeros((2 * x.shape[0], 2 * x.shape[1]), x.dtype)
    for i, j in np.ndindex(y.shape):
        y[i, j] = x[i // 2, j // 2]
    return y


def nails_loops(x):
    """Every value stands in the corner of its block."""
    y = np.zeros((2 * x.shape[0], 2 * x.shape[1]), x.dtype)
    for i, j in np.ndindex(x.shape):
        y[2 * i, 2 * j] = x[i, j]
    return y


nearest = np.kron(small, np.ones((2, 2), int))  # each value times a block of ones
nails = np.kron(small, [[1, 0], [0, 0]])
assert nearest.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
assert nails.tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
np.testing.assert_array_equal(nearest, nearest_loops(small))
np.testing.assert_array_equal(nails, nails_loops(small))
viz.grids(
    [small, nearest, nails],
    titles=["input", "nearest neighbours", "bed of nails"],
    zeros=True,
    title="From 2 x 2 to 4 x 4",
    caption="In the middle every value fills a block of 2 x 2. On the right it stands in the upper left corner of its "
    "block, with zeros around it.",
)

# %%
batch = small[None, None].astype(float)  # (B, C, H, W)
np.testing.assert_array_equal(ops.interpolate(batch, (4, 4), mode="nearest")[0, 0], nearest)
for filter, expected in ((np.ones((2, 2)), nearest), (np.array([[1.0, 0], [0, 0]]), nails)):
    stamped = ops.conv_transpose2d(batch, filter[None, None], stride=2)
    np.testing.assert_array_equal(stamped[0, 0], expected)
np.testing.assert_array_equal(nails[::2, ::2], small)  # subsampling takes the values back
assert mv.laws.judge("interpolate", ops.interpolate).passed

# %% [markdown]
# ## Max unpooling
#
# Slide `C/78-max-unpooling`. Max pooling loses where its maximum stood. So **remember which element was the maximum**,
# and on the way up put the value back there. The slide pools a $4 \times 4$ map; somewhere later in the network a
# $2 \times 2$ map is unpooled with the positions of that pooling.

# %% tags=["slide:C/78-max-unpooling"]
before = np.array([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])
maxima, places = ops.max_pool2d(before[None, None], 2, return_indices=True)
assert maxima[0, 0].tolist() == [[5, 6], [7, 8]]
assert places[0, 0].tolist() == [[5, 2], [12, 15]]  # row * 4 + column
later = np.array([[1, 2], [3, 4]])
unpooled = ops.max_unpool2d(later[None, None], places, 2)[0, 0]
assert unpooled.tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
marks = np.zeros((4, 4), bool)
marks.flat[places.ravel()] = True
viz.grids(
    [before, maxima[0, 0], later, unpooled],
    titles=["input", "max pooling", "later in the network", "max unpooling"],
    marks=[marks, None, None, marks],
    title="Remember which element was the maximum",
    caption="The coloured squares on the left are the maxima of the four blocks. On the right, the values of the third map "
    "stand in the same squares.",
)

# %% [markdown]
# With loops, and without. A position is counted in the plane, row by row: $\text{row} \cdot W + \text{column}$. The law
# tries rectangular planes, batches, sizes that the pooling rounded down, and the gradient: a value gets the gradient of
# the one pixel where it stands.


# %%
def unpool_loops(x, indices, size):
    """(B, C, h, w) -> (B, C, H, W), value by value."""
    y = np.zeros((*x.shape[:2], *size), x.dtype)
    for b, c, i, j in np.ndindex(x.shape):
        row, column = divmod(indices[b, c, i, j], size[1])
        y[b, c, row, column] = x[b, c, i, j]
    return y


def unpool(x, indices, size):
    """The same at once, and its backward pass: read the gradient at the indices."""
    planes = x.shape[:2]
    flat = indices.reshape(*planes, -1)
    y = np.zeros((*planes, size[0] * size[1]), x.dtype)
    np.put_along_axis(y, flat, x.reshape(*planes, -1), axis=2)

    def vjp(g):
        return (np.take_along_axis(g.reshape(*planes, -1), flat, axis=2).reshape(x.shape),)

    return y.reshape(*planes, *size), vjp


x = rng.standard_normal((2, 3, 6, 8))
maxima, places = ops.max_pool2d(x, 2, return_indices=True)
back = ops.max_unpool2d(maxima, places, 2)
np.testing.assert_array_equal(unpool_loops(maxima, places, (6, 8)), back)
np.testing.assert_array_equal(unpool(maxima, places, (6, 8))[0], back)
assert mv.laws.judge("max_unpool2d", unpool, vjp=True).passed
assert np.count_nonzero(back) == maxima.size  # one pixel for each window
again = ops.max_pool2d(back, 2)
print("pooling again gives the same maxima where they are positive:", (again == maxima)[maxima > 0].all())
print("a negative maximum loses to the zeros around it:", (again[maxima < 0] == 0).all())
assert (again == np.maximum(maxima, 0)).all() and (maxima < 0).any()

# %% [markdown]
# **SegNet** (2017) is VGG-16 whose five poolings hand their positions to five unpoolings, with the convolutions
# mirrored. A position takes two bits for each window of $2 \times 2$. Compare that with handing over the whole map, as
# U-Net will do: four numbers of 32 bits. This is a small one; the published size is counted below.

# %% tags=["slide:C/74-down-and-up"]
viz.architecture(mv.models.SegNet((1, 1, 2), widths=(8, 16, 32), num_classes=9), (1, 3, 64, 64))

# %%
with nn.init.skip_init():  # sizes only: no weights are drawn
    segnet = mv.models.segnet()
encoder = sum(p.size for stage in segnet.encoder for p in stage.parameters())
total = sum(p.size for p in segnet.parameters())
print(f"SegNet: {total:,} parameters, {encoder:,} of them on the way down")
assert (total, encoder) == (29_455_125, 14_723_136)

# %% [markdown]
# ## Transposed convolution: learn to go up
#
# The slides from `C/79-convolution-stride-1` to `C/86-transpose-convolution-1d` are shown step by step in
# [02](02_convolution.ipynb). In short: a convolution multiplies each window by the filter and adds up. Its **transpose**
# goes the other way. Every input value stamps a copy of the filter, scaled by the value, into the output, and where
# copies overlap they are added. With stride 2 the copies are two pixels apart, so the map becomes about twice as large.
#
# In one dimension, with the filter $(x, y, z)$, the input $(a, b)$ and stride 2, the result is
# $(ax,\ ay,\ az + bx,\ by,\ bz)$.


# %%
def stamp_1d(values, filter, stride):
    """Copies of the filter, scaled by the values, `stride` apart, added where they overlap."""
    out = np.zeros(stride * (len(values) - 1) + len(filter))
    for i, value in enumerate(values):
        out[stride * i : stride * i + len(filter)] += value * np.asarray(filter)
    return out


a, b = 2, 3
x, y, z = 1, 10, 100
assert stamp_1d([a, b], [x, y, z], 2).tolist() == [a * x, a * y, a * z + b * x, b * y, b * z]
assert stamp_1d([a, b], [x, y, z], 1).tolist() == [a * x, a * y + b * x, a * z + b * y, b * z]
viz.grids(
    [
        [a, b],
        [x, y, z],
        stamp_1d([a, b], [x, y, z], 2).astype(int),
        stamp_1d([a, b], [x, y, z], 1).astype(int),
    ],
    titles=["input", "filter", "stride 2", "stride 1"],
    size=0.42,
    columns=2,
    title="Transposed convolution in one dimension",
    caption="With stride 2 the two copies of the filter, 2 10 100 times 1 and times 1.5, share one place: 200 + 3 = 203. "
    "With stride 1 they share two places.",
)

# %% [markdown]
# **In two dimensions**, sizes need care. A convolution with a $3 \times 3$ filter, stride 2 and padding 1 takes
# $4 \times 4$ to $2 \times 2$, but it takes $3 \times 3$ to $2 \times 2$ as well. So its transpose cannot know where to go
# back to: without further words $2 \times 2$ becomes $3 \times 3$, and `output_padding=1` asks for $4 \times 4$. With
# loops, by zeros put between the values, and as in the library:


# %%
def transpose_loops(x, weight, stride, padding, output_padding):
    """(H, W) and a filter (k, k): stamp, then cut the padding off."""
    (H, W), k = x.shape, len(weight)
    grown = np.zeros((stride * (H - 1) + k + output_padding, stride * (W - 1) + k + output_padding))
    for i, j in np.ndindex(H, W):
        grown[stride * i : stride * i + k, stride * j : stride * j + k] += x[i, j] * weight
    return grown[padding : len(grown) - padding, padding : grown.shape[1] - padding]


def transpose_by_zeros(x, weight, stride, padding, output_padding):
    """Zeros between the values, then an ordinary convolution with the filter turned around."""
    spread = np.kron(x, np.eye(stride)[0][:, None] * np.eye(stride)[0])  # a bed of nails
    spread = spread[: stride * (len(x) - 1) + 1, : stride * (x.shape[1] - 1) + 1]
    before = len(weight) - 1 - padding
    spread = np.pad(spread, (before, before + output_padding))
    return ops.conv2d(spread[None, None], weight[::-1, ::-1].copy()[None, None])[0, 0]


weight = rng.standard_normal((3, 3))
down = {
    n: ops.conv2d(np.ones((1, 1, n, n)), weight[None, None], stride=2, padding=1).shape[2:] for n in (3, 4)
}
assert down == {3: (2, 2), 4: (2, 2)}
for stride, more, side in ((2, 0, 3), (2, 1, 4), (1, 0, 2)):
    x = rng.standard_normal((2, 2))
    y = transpose_loops(x, weight, stride, 1, more)
    assert y.shape == (side, side)
    np.testing.assert_allclose(transpose_by_zeros(x, weight, stride, 1, more), y)
    library = ops.conv_transpose2d(x[None, None], weight[None, None], None, stride, 1, more)
    np.testing.assert_allclose(library[0, 0], y)
assert mv.laws.judge("conv_transpose2d", ops.conv_transpose2d).passed

# %% [markdown]
# The name says what it is: the convolution is a matrix $T$ with few different numbers, and this is multiplication by
# $T^\top$. It is not the inverse: it does not undo a convolution. (So "deconvolution", as it is often called, is a
# misleading name.) Transposing is the same as being the backward pass, $\langle T x, y \rangle = \langle x, T^\top y
# \rangle$:

# %%
x, y = rng.standard_normal((1, 1, 4, 4)), rng.standard_normal((1, 1, 2, 2))
forward = ops.conv2d(x, weight[None, None], stride=2, padding=1)
backward = ops.conv_transpose2d(y, weight[None, None], None, 2, 1, 1)
np.testing.assert_allclose((forward * y).sum(), (x * backward).sum())
tensor = mv.Tensor(x, requires_grad=True)
ops.conv2d(tensor, weight[None, None], stride=2, padding=1).backward(y)
np.testing.assert_allclose(tensor.grad, backward)

# %% [markdown]
# ### Checkerboards
#
# With a filter of 3 and a stride of 2 some output pixels get one copy of the filter and others two or four. If the
# filter's weights do not make up for this, the result has the pattern of a **checkerboard**. With a filter of 2 and a
# stride of 2, as in U-Net, the copies lie side by side and none overlap. With a filter of 4 every pixel in the interior
# gets four copies.

# %%
counts = []
for k in (2, 3, 4):
    counts.append(
        ops.conv_transpose2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, k, k)), stride=2)[0, 0].astype(int)
    )
assert set(counts[0].ravel()) == {1} and set(counts[1][2:-2, 2:-2].ravel()) == {1, 2, 4}
assert set(counts[2][2:-2, 2:-2].ravel()) == {4}
viz.grids(
    counts,
    titles=["filter 2 x 2", "filter 3 x 3", "filter 4 x 4"],
    marks=[c > 1 for c in counts],
    size=0.28,
    title="How many copies of the filter each pixel gets, with stride 2",
    caption="Coloured: pixels with more than one copy. With a filter of 3 x 3 the numbers alternate, and a filter of ones "
    "draws a checkerboard. With 2 x 2 and 4 x 4 they are even, but for the border.",
)
