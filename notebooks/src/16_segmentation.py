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
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as connected_regions

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
scenes = [shapes.scene(seed) for seed in range(100)]  # held out: no training saw them
chosen = [scenes[i] for i in (1, 2, 3, 7)]
merged = 0
for scene in scenes:
    for kind in np.unique(scene.labels):
        objects = int((scene.labels == kind).sum())
        _, regions = connected_regions(scene.semantic == kind)
        merged += regions < objects
print(
    f"100 scenes: {merged} times several objects of one class touch, so that they are fewer regions than objects"
)
assert merged > 5 and all(scene.semantic.shape == scene.image.shape[1:] for scene in scenes)
viz.semantic_maps(
    [scene.semantic for scene in chosen],
    [scene.image for scene in chosen],
    titles=[f"scene of {len(scene.labels)} objects" for scene in chosen] + ["classes of its pixels"] * 4,
    names=shapes.CLASSES,
    title="Semantic segmentation",
    caption="Above: the scenes. Below: the class of every pixel as a colour. Look at the two triangles on the left: they have the "
    "same colour, and where they touch, nothing shows that there are two.",
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
# every pixel has a patch around it
wide = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode="reflect")  # (3, 40, 40)
windows = np.lib.stride_tricks.sliding_window_view(wide, (9, 9), axis=(1, 2))  # (3, 32, 32, 9, 9)
patches = windows.transpose(1, 2, 0, 3, 4).reshape(-1, 3, 9, 9)  # (1024, 3, 9, 9)
with mv.no_grad():
    one_by_one = classifier(patches).numpy().reshape(32, 32, 9).transpose(2, 0, 1)
    at_once = classifier(wide[None]).numpy()[0]
np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)
print("patch by patch and all at once: the same", at_once.size, "numbers")

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
    print(f"layers: {n:2}, patches of {2 * n + 1:2} x {2 * n + 1:2} pixels: {factor:6.0f} times the work")
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
pooled = []
full = []
inputs = 3
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
    caption="The scale is logarithmic. Compare the two bars of each stage. With pooling no stage costs more than 4.6 "
    "billion; without it the last one costs 256 times as much, and all together 48 times as much.",
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
# mirrored. A position is one of four, so it takes two bits for each window of $2 \times 2$. To hand over the whole map,
# as U-Net will do, takes four numbers of 32 bits, 64 times as much. This is a small one; the published size is counted
# below.

# %% tags=["slide:C/74-down-and-up"]
viz.architecture(mv.models.SegNet((1, 1, 2), widths=(8, 16, 32), num_classes=9), (1, 3, 64, 64))

# %%
with nn.init.skip_init():  # sizes only: no weights are drawn
    segnet = mv.models.segnet()
encoder = sum(p.size for stage in segnet.encoder for p in stage.parameters())
total = sum(p.size for p in segnet.parameters())
print(f"SegNet: {total:,} parameters, {encoder:,} of them on the way down")
assert (total, encoder) == (29_455_125, 14_723_136)

windows = 64 * 112 * 112  # of the first pooling, for an image of 224 x 224 and 64 channels
positions_kb = 2 * windows / 8 / 1024
maps_kb = 4 * 32 * windows / 8 / 1024
print(f"to hand over at the first pooling: positions {positions_kb:.0f} KB, whole maps {maps_kb:,.0f} KB")
assert maps_kb == 64 * positions_kb

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
    caption="The filter is copied twice: times 2 it is 2 20 200, times 3 it is 3 30 300. With stride 2 the copies share one "
    "place, 200 + 3 = 203; with stride 1 they share two.",
)

# %% [markdown]
# **In two dimensions**, sizes need care. A convolution with a $3 \times 3$ filter, stride 2 and padding 1 takes
# $4 \times 4$ to $2 \times 2$, but it takes $3 \times 3$ to $2 \times 2$ as well. So its transpose cannot know where to go
# back to: without further words $2 \times 2$ becomes $3 \times 3$, and `output_padding=1` asks for $4 \times 4$. With
# loops, by zeros put between the values, and as in the library:


# %%
def transpose_loops(x, weight, stride, padding, output_padding):
    """(H, W) and a filter (k, k): stamp, then cut the padding off."""
    H, W = x.shape
    k = len(weight)
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

# %% [markdown]
# ## FCN: a classifier becomes a segmenter
#
# **Fully convolutional networks** (Long, Shelhamer and Darrell, 2015) put these parts together. VGG-16's linear layers
# become convolutions ([03](03_lenet_to_resnet.ipynb) showed that this changes nothing): the first one reads
# $7 \times 7$ positions, the others one. A last $1 \times 1$ convolution gives 21 scores, one for each class of the
# data set Pascal VOC. On larger images this gives a map of scores, one every 32 pixels. A transposed convolution
# enlarges it by 32. The **stride of a map** is the distance of its neighbouring cells in pixels of the image, here 32.
#
# The kernel starts as **bilinear interpolation**, and in the authors' published networks it stays so. Along one axis it
# falls linearly from the middle. For a factor of 2 it is $(0.25, 0.75, 0.75, 0.25)$:

# %%
kernel = mv.vision.bilinear_kernel(4, "float64")
np.testing.assert_allclose(kernel, np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25]))
assert kernel[0, 0] == 0.0625 and kernel[0, 1] == 0.1875 and kernel[1, 1] == 0.5625
for phase in (0, 1):  # weights that are the stride apart sum to 1: every pixel gets the total weight 1
    assert np.outer([0.25, 0.75, 0.75, 0.25], [1])[phase::2].sum() == 1

scores = rng.standard_normal((1, 3, 5, 6))
enlarged = mv.vision.fcn_upsample(scores, 2)
smooth = ops.interpolate(scores, (10, 12), mode="bilinear")
np.testing.assert_allclose(enlarged[..., 1:-1, 1:-1], smooth[..., 1:-1, 1:-1])
print("away from the border, the transposed convolution is bilinear interpolation")
constant = mv.vision.fcn_upsample(np.ones((1, 1, 3, 3)), 2)[0, 0]
print("at the border the missing neighbours count as 0: a map of ones becomes", constant[0, :3], "there")
assert mv.laws.judge("fcn_upsample", mv.vision.fcn_upsample).passed

# %% [markdown]
# ### Where is the image in the scores?
#
# The published network pads the image with 100 zeros on each side, so that even a small image gives the
# $7 \times 7$ convolution something to read. Then the enlarged scores are larger than the image, and the image must be
# cut out of them at the right place. The place follows from the layers. Let $S$ be the stride of a map, and let its cell $i$ have its centre at
# pixel $S i + o$ of the image. Each layer changes the offset $o$, in steps of the stride $S$ of the map that it reads: a
# convolution with kernel $k$ and padding $p$ adds $(\frac{k - 1}{2} - p)\,S$, and a $2 \times 2$ pooling adds
# $\frac{S}{2}$.

# %%
stride = 1
offset = 0.0
centres = {}  # (S, o) after each pooling
for stage, count in enumerate((2, 2, 3, 3, 3)):
    for n in range(count):
        padding = 100 if stage == n == 0 else 1
        offset += ((3 - 1) / 2 - padding) * stride
    offset += stride / 2
    stride *= 2
    centres[f"pool{stage + 1}"] = (stride, offset)
offset += (7 - 1) / 2 * stride  # the first linear layer
centres["scores"] = (stride, offset)
assert centres["pool5"] == (32, -99 + 15.5) and centres["scores"] == (32, 12.5)
# cell i of the scores lies at 32 i + 12.5; a kernel of 64 with stride 32 puts it at 32 i + 31.5 of the result
crop = 31.5 - offset
print(f"the image begins {crop:.0f} pixels inside the enlarged scores")
assert crop == 19 and mv.vision.crop_offsets([(stride, offset)]) == (19,)
assert (544 - 500) // 2 == 22  # not the middle: for 500 pixels the scores are enlarged to 544

# %% [markdown]
# ### What and where: scores from three depths
#
# Scores every 32 pixels, enlarged smoothly, are blurred masks. Finer maps know better *where* something is, and coarser
# maps *what* it is. FCN-16s enlarges them by two only, and adds scores that are read from the fourth pooling, one every
# 16 pixels. FCN-8s enlarges this sum by two again, and adds scores of the third pooling. The last sum is enlarged to the
# pixels of the image.
#
# The two maps of a sum must lie above each other, so the finer one is cut as well. A kernel of $2 f$ with stride $f$ puts
# cell $i$ at cell $f i + \frac{2 f - 1}{2}$ of the enlarged map. So the enlarged map has the stride $S / f$ and the offset
# $o - \frac{2 f - 1}{2} \cdot \frac{S}{f}$, and the difference of the offsets says how many cells to cut off.

# %%


def enlarged(stride, offset, factor):
    """Stride and offset of a map that a transposed convolution with a kernel of twice the factor has enlarged."""
    return stride // factor, offset - (2 * factor - 1) / 2 * (stride // factor)


sums = {"FCN-32s": [], "FCN-16s": ["pool4"], "FCN-8s": ["pool4", "pool3"]}
cuts = {}
for name, added in sums.items():
    S, o = centres["scores"]
    cuts[name] = []
    for finer in added:
        S, o = enlarged(S, o, 2)
        assert S == centres[finer][0]
        # cells of the finer map before the first one of the sum
        cuts[name].append((o - centres[finer][1]) / S)
    cuts[name].append(-enlarged(S, o, S)[1])  # pixels of the enlarged sum before the image
    print(f"{name:7}: cut {cuts[name]}")
assert cuts == {"FCN-32s": [19], "FCN-16s": [5, 27], "FCN-8s": [5, 9, 31]}

# %% [markdown]
# These are the numbers in the authors' files. The library derives them in the same way. Here are the sizes of the three
# networks, and a small network of this kind with scores from two depths.

# %%
counts = {}
for name in ("fcn32s", "fcn16s", "fcn8s"):
    with nn.init.skip_init():
        network = getattr(mv.models, name)()
    counts[name] = sum(p.size for p in network.parameters())
    print(f"{name:7}: {counts[name]:,} parameters, cut at {network.offsets}")
    assert list(network.offsets) in cuts.values()
assert counts == {"fcn32s": 134_346_581, "fcn16s": 134_357_354, "fcn8s": 134_362_751}
from minivis.recipes import fcn_shapes

backbone = _shapes.small_backbone(rng, widths=(16, 32))
viz.architecture(fcn_shapes.small_fcn(backbone, rng, skips=1), (1, 3, 64, 64), closed=["backbone"])

# %% [markdown]
# Does a coarse map know *what*, and a fine map *where*? `fcn-shapes` is such a network with scores of strides 16, 8 and 4,
# trained on our scenes. We enlarge each of its three score maps alone, and compare them with their sum.

# %%
fcn = mv.load("fcn-shapes")
pictures = np.stack([s.image for s in scenes[:50]])
classes = np.stack([s.semantic for s in scenes[:50]])
with mv.no_grad():
    alone = [mv.vision.fcn_upsample(part.numpy(), 64 // part.shape[3]) for part in fcn.scores(pictures)]
    named = [*(part.argmax(axis=1) for part in alone), fcn(pictures).numpy().argmax(axis=1)]
kinds = [f"stride {64 // n} alone" for n in (4, 8, 16)] + ["all three added"]
ious = [mean_iou(mv.metrics.confusion_matrix(n, classes, len(shapes.CLASSES))) for n in named]
for kind, iou in zip(kinds, ious, strict=True):
    print(f"{kind:15}: mIoU {iou:.3f} on 50 held-out scenes")
assert ious[3] > ious[1] + 0.05 and ious[1] > ious[2] + 0.1
viz.semantic_maps(
    [classes[3], *(n[3] for n in named[1:])],
    titles=["truth", *kinds[1:]],
    names=shapes.CLASSES,
    title="What each score map of a trained FCN says",
    caption="Compare with the truth. With the scores of stride 8 the classes are right, star and triangle, but the outlines are "
    "rough, and the two stars are one blot. Those of stride 4 have the outlines, points included, and wrong classes inside them. "
    "The sum has the right classes and nearly the right outlines.",
)

# %% [markdown]
# The coarsest scores say next to nothing alone, because the three were trained as a sum: here they only correct the others.

# %% [markdown]
# ## U-Net
#
# Slide `C/87-unet`. **U-Net** (Ronneberger, Fischer and Brox, 2015) was made for pictures of cells, with thirty training
# images. It hands not scores but whole *maps* from the way down to the way up, at each resolution, and goes up with as
# many convolutions as it goes down. The drawing is made from the model. Read it from top to bottom: first down, then up.
# The arrows on the right lead from each level of the way down to the same level of the way up.

# %% tags=["slide:C/87-unet"]
viz.architecture(mv.models.UNet((10, 20, 48, 96, 96), 9, 3, padded=True, norm="batch"), (1, 3, 64, 64))

# %% [markdown]
# The published network is larger: 64 channels at the top, twice as many after each pooling, 1024 at the bottom. It has
# **no padding** at all. Each $3 \times 3$ convolution takes one pixel from each side, so an image of 572 pixels gives
# labels for the 388 in its middle. We follow the sizes as in figure 1 of the paper:

# %% tags=["slide:C/87-unet"]
size = 572
sizes = [572]
levels = []
for level in range(5):
    size = size // 2 if level else size
    sizes += [size] * bool(level) + [size - 2, size - 4]
    size -= 4
    levels.append(size)
crops = []
for width in reversed(levels[:-1]):
    size *= 2
    crops.append((width - size) // 2)  # what is cut from each side of the map of the way down
    sizes += [size, size - 2, size - 4]
    size -= 4
assert levels == [568, 280, 136, 64, 28] and crops == [4, 16, 40, 88] and size == 388
assert sizes == [572, 570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28] + [
    56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388
]  # fmt: skip
with nn.init.skip_init():
    unet = mv.models.unet()
    colour = mv.models.unet(21, channels=3)
kinds = [type(m).__name__ for m in unet.modules()]
print(f"{sum(p.size for p in unet.parameters()):,} parameters for grey images and two classes")
assert sum(p.size for p in unet.parameters()) == 31_030_658
assert sum(p.size for p in colour.parameters()) == 31_033_045
assert kinds.count("Conv2d") + kinds.count("ConvTranspose2d") == 23 and unet.output_size(572) == 388

# %% [markdown]
# ### Crop and concatenate
#
# On the way up a map of 56 pixels meets one of 64 of the way down. Both show the same image, with their middles at the
# same place. So the middle of the larger one is cut out, and the channels of both are stacked: those of the way down
# first. The next convolution reads them all. With loops, without, and as the library has it:


# %%
def crop_concat_loops(skip, up):
    """(B, C, H, W) and (B, D, h, w) -> (B, C + D, h, w), pixel by pixel."""
    C, H, W = skip.shape[1:]
    B, D, h, w = up.shape
    out = np.zeros((B, C + D, h, w), skip.dtype)
    for b, c, i, j in np.ndindex(out.shape):
        from_skip = c < C
        out[b, c, i, j] = skip[b, c, i + (H - h) // 2, j + (W - w) // 2] if from_skip else up[b, c - C, i, j]
    return out


def crop_and_stack(skip, up):
    top, left = ((m - n) // 2 for m, n in zip(skip.shape[2:], up.shape[2:], strict=True))
    middle = skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]
    return np.concatenate([middle, up], axis=1)


skip, up = rng.standard_normal((2, 3, 9, 8)), rng.standard_normal((2, 4, 4, 4))
np.testing.assert_array_equal(crop_and_stack(skip, up), crop_concat_loops(skip, up))
np.testing.assert_array_equal(crop_concat(skip, up), crop_concat_loops(skip, up))
assert mv.laws.judge("crop_concat", crop_and_stack).passed

# %% [markdown]
# ### Tiles without a seam
#
# Why no padding? Without padding, a label depends on the pixels around it and on nothing else. So a large image can be cut
# into **overlapping tiles**: their labels fit together without a seam, as if the whole image had gone through the network.
# At the border of the image the missing pixels are mirrored. One condition remains. The poolings put their windows at
# even pixels, so tiles must be shifted by a multiple of $2^4 = 16$ pixels. We try it with a small network that has two
# poolings, whose grid is 4 pixels:

# %%
valid = mv.models.UNet((6, 8, 8), num_classes=2, channels=3, rng=1).eval()
big = np.pad(scenes[3].image, ((0, 0), (20, 20), (20, 20)), mode="reflect")  # (3, 104, 104)
with mv.no_grad():
    whole = valid(big[None]).numpy()[0]  # (2, 64, 64)
    moved = {n: valid(big[None, :, n : n + 84, :84]).numpy()[0] for n in (4, 8, 1)}
assert whole.shape == (2, 64, 64) and moved[4].shape == (2, 44, 44)
apart = {n: np.abs(tile - whole[:, n : n + 44, :44]).max() for n, tile in moved.items()}
for n, difference in apart.items():
    print(f"tile shifted by {n} px: the logits differ by at most {difference:.1e}")
assert max(apart[4], apart[8]) < 1e-5 < 1e-3 < apart[1]
tiles = valid.predict_tiles(scenes[3].image, tile=60)  # 60 pixels give 20
np.testing.assert_allclose(tiles.numpy(), whole, atol=1e-5)

padded = mv.models.UNet((6, 8, 8), num_classes=2, channels=3, padded=True, rng=1).eval()
with mv.no_grad():
    at_once = padded(scenes[3].image[None]).numpy()[0, 1]
    halves = [padded(scenes[3].image[None, :, :, s]).numpy()[0, 1] for s in (slice(32), slice(32, 64))]
seam = np.abs(np.concatenate(halves, axis=1) - at_once)
print(f"with padding: up to {seam[:, 28:36].max():.1e} at the seam of two halves")
assert seam[:, 28:36].max() > 1e-3 > seam[:, :8].max()

# %% [markdown]
# ### Borders that count
#
# Cells of one kind touch each other, and the labels should keep them apart. U-Net's loss gives each pixel a weight that
# is large in narrow gaps. With $d_1$ and $d_2$, the distances to the nearest and the second nearest cell,
#
# $$w(x) = w_c(x) + w_0 \exp\Big(-\frac{(d_1(x) + d_2(x))^2}{2 \sigma^2}\Big), \qquad w_0 = 10,\; \sigma \approx 5
# \text{ pixels},$$
#
# where $w_c$ makes the classes count alike. In a gap of one pixel both distances are 1: the weight is larger by
# $10\, e^{-4/50} = 9.231$. The sum is small only *between* two cells; beside a single one, $d_2$ is large.

# %%
gap = np.array([[1, 1, 0, 2, 2]])
d1, d2 = (distance_transform_edt(gap != cell) for cell in (1, 2))  # from each pixel to the two cells
assert d1[0, 2] == d2[0, 2] == 1 and d2[0].tolist() == [3, 2, 1, 0, 0]
found = border_weights(gap, class_weights=(1.0, 1.0))
assert round(10 * math.exp(-4 / 50), 3) == 9.231 and round(float(found[0, 2]) - 1, 3) == 9.231
assert mv.laws.judge("border_weights", border_weights).passed

crowd = [scenes[i] for i in (1, 2, 3)]
objects = [np.where(s.panoptic <= len(s.labels), s.panoptic, 0) for s in crowd]  # the grounds are one
viz.weight_maps(
    [border_weights(labels, sigma=2.0, class_weights=(1.0, 1.0)) for labels in objects],
    [s.image for s in crowd],
    titles=[f"scene of {len(s.labels)} objects" for s in crowd] + ["weights"] * 3,
    title="The weights of the pixels, with sigma = 2",
    caption="Above: the scenes. Below: the weights of their pixels. Bright pixels count most: those where two objects touch or "
    "nearly touch. Elsewhere the weight is 1.",
)

# %% [markdown]
# ## Your own U-Net
#
# Here is a U-Net with padding, written from the library's layers. Read it from the last method upwards: `forward` keeps
# the map of each level on a pile, and takes them from the pile in the opposite order. Batch norm is not in the paper;
# it is what makes the network learn within seconds.


# %%
class Twice(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and ReLU; the map keeps its size."""

    def __init__(self, inputs, outputs, rng):
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, rng=rng)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False, rng=rng)
        self.second_norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = ops.relu(self.first_norm(self.first(x)))
        return ops.relu(self.second_norm(self.second(x)))


class MyUNet(nn.Module):
    """Images (B, 3, H, W) to logits (B, K, H, W); H and W are multiples of 2 to the number of poolings."""

    def __init__(self, widths, num_classes, rng):
        self.down = []
        inputs = 3
        for width in widths:
            self.down.append(Twice(inputs, width, rng))
            inputs = width
        self.enlarge = []
        self.up = []
        for width in reversed(widths[:-1]):
            self.enlarge.append(nn.ConvTranspose2d(inputs, width, 2, stride=2, rng=rng))
            self.up.append(Twice(2 * width, width, rng))  # the map of the way down and the enlarged one
            inputs = width
        self.head = nn.Conv2d(inputs, num_classes, 1, rng=rng)

    def forward(self, images):
        x = self.down[0](images)
        pile = []
        for convolutions in self.down[1:]:
            pile.append(x)
            x = convolutions(ops.max_pool2d(x, 2))
        for enlarge, convolutions in zip(self.enlarge, self.up, strict=True):
            x = convolutions(crop_concat(pile.pop(), enlarge(x)))
        return self.head(x)


# %% [markdown]
# Before we train it, one check: with the same weights it gives the same numbers as the library's. The library keeps the
# enlarging layer and the convolutions of a level together, in `up`, so we copy the weights part by part.

# %%
widths = (12, 24, 48)
mine = MyUNet(widths, len(shapes.CLASSES), np.random.default_rng(0))
library = mv.models.UNet(widths, len(shapes.CLASSES), 3, padded=True, norm="batch", dropout=0.0, rng=1)
assert sum(p.size for p in mine.parameters()) == sum(p.size for p in library.parameters())


def take_weights(mine, library):
    """Copy the weights of the library's network, part by part."""
    pairs = [*zip(mine.down, library.down, strict=True)]
    pairs += [(m, up.convolutions) for m, up in zip(mine.up, library.up, strict=True)]
    pairs += [(m, up.enlarge) for m, up in zip(mine.enlarge, library.up, strict=True)]
    for ours, its in [*pairs, (mine.head, library.head)]:
        for p, q in zip(ours.parameters(), its.parameters(), strict=True):
            p.data = q.data.copy()


twin = MyUNet(widths, len(shapes.CLASSES), np.random.default_rng(0))
take_weights(twin, library)
batch = np.stack([s.image for s in scenes[:4]])
np.testing.assert_allclose(twin(batch).numpy(), library(batch).numpy(), atol=1e-4)

# %% [markdown]
# Now it learns for about fifteen seconds, from 1200 generated scenes. Two things make that enough. It sees the scenes at
# half their size, $32 \times 32$ pixels, which is four times less work. And since most pixels are ground, the loss would be
# small for a network that names no object at all. So each pixel of an object counts as much as four of the ground: the
# $w_c$ above. The loss is the weighted mean of the cross-entropies of all pixels.

# %%


def halved(images):
    """(B, 3, 64, 64) -> (B, 3, 32, 32): the mean of each block of 2 x 2 pixels."""
    return images.reshape(-1, 3, 32, 2, 32, 2).mean(axis=(3, 5))


# other numbers than those of any measurement
drawn = [shapes.scene(3_000_000_000_000 + i) for i in range(1200)]
inputs = halved(np.stack([s.image for s in drawn]))
labels = np.stack([s.semantic[::2, ::2] for s in drawn])
weights = np.where(labels < len(shapes.THINGS), 4, 1).astype(np.float32)
optimiser = optim.AdamW(mine, lr=8e-3, schedule=optim.one_cycle(900, warmup=0.1))
losses = []
start = time.process_time()
for _ in range(900):
    rows = rng.integers(0, len(drawn), 8)
    optimiser.zero_grad()
    each = ops.cross_entropy(mine(inputs[rows]), labels[rows], reduction="none")  # (B, 32, 32)
    loss = (each * (weights[rows] / weights[rows].sum())).sum()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
print(f"{time.process_time() - start:.0f} s of one core; loss {losses[0]:.2f} -> {np.mean(losses[-50:]):.2f}")
assert np.mean(losses[-50:]) < 0.6 * losses[0]

# %%
mine.eval()
halves = halved(np.stack([s.image for s in scenes[:50]]))
true_classes = np.stack([s.semantic[::2, ::2] for s in scenes[:50]])
with mv.no_grad():
    answers = mine(halves).numpy().argmax(axis=1)  # (50, 32, 32)
table = mv.metrics.confusion_matrix(answers, true_classes, len(shapes.CLASSES))
ious = np.diag(table) / (table.sum(axis=0) + table.sum(axis=1) - np.diag(table))
print(
    f"mIoU on 50 new scenes: {mean_iou(table):.2f}; grounds {ious[6:].mean():.2f}, shapes {ious[:6].mean():.2f}"
)
assert ious[6:].mean() > 0.8 and 0.1 < ious[:6].mean() < ious[6:].mean()
four = [1, 2, 3, 7]
viz.semantic_maps(
    [*true_classes[four], *answers[four]],
    halves[four],
    titles=[*["scene"] * 4, *["truth"] * 4, *["your network"] * 4],
    names=shapes.CLASSES,
    title="After some seconds of training",
    caption="Compare the second row with the third. The grounds are right nearly everywhere. Objects are found where their "
    "colours differ from the ground, and some are named rightly, such as the large triangle and the rings. Others are a mixture "
    "of classes: stars take longer to learn.",
)

# %% [markdown]
# ## A trained U-Net, from inside
#
# `unet-shapes` has five levels and 0.7 million parameters. It learned for about ten minutes on 48,000 scenes, each used once
# (`minivis train unet-shapes`). We measure it on scenes that it has never seen.

# %% tags=["slide:C/87-unet"]
trained = mv.load("unet-shapes")
images = np.stack([s.image for s in scenes])
with mv.no_grad(), nn.looking(trained) as seen:
    answers = trained(images).numpy().argmax(axis=1)
truth = np.stack([s.semantic for s in scenes])
table = mv.metrics.confusion_matrix(answers, truth, len(shapes.CLASSES))
ious = np.diag(table) / (table.sum(axis=0) + table.sum(axis=1) - np.diag(table))
print(f"{(answers == truth).mean():.1%} of the pixels are right; mIoU {mean_iou(table):.3f} on 100 scenes")
assert mean_iou(table) > 0.75
viz.bars(
    {name: round(float(iou), 3) for name, iou in zip(shapes.CLASSES, ious, strict=True)},
    "IoU",
    width=7.2,
    title="IoU of each class on 100 new scenes",
    caption="Each bar is one class; 1 would be perfect. The three grounds are on the right. Compare shapes with large areas, "
    "such as square and circle, with thin ones: a wrong pixel at the outline costs a thin shape more.",
)

# %%
three = [1, 2, 3]
viz.semantic_maps(
    [*truth[three], *answers[three]],
    images[three],
    titles=[*["scene"] * 3, *["truth"] * 3, *["unet-shapes"] * 3],
    names=shapes.CLASSES,
    columns=3,
    size=2.2,
    title="What the trained U-Net answers",
    caption="Compare the second row with the third. Outlines are right to about a pixel, holes and points included. The "
    "exception is the cross on the left, which has nearly the colours of the water behind it: parts of it are missing, because "
    "each pixel is decided by itself.",
)

# %% [markdown]
# What do the maps hold? We look at one scene: the maps of the way down from fine to coarse, the bottom, and the way up.

# %%
one = 3
order = ["down0", "down1", "down2", "down3", "down4", "up3", "up2", "up1", "up0"]
viz.activations(
    images[one],
    {name: seen[name][one] for name in order},
    channels=8,
    title="One scene on its way down and up again",
    caption="Each row is one level, with the eight maps that vary most, each on its own scale: bright is large. On the way down edges and textures become coarse "
    "spots. The same resolution looks different on the way up: textures are fainter, and whole objects are bright or dark.",
)

# %% [markdown]
# Is that so? **Texture** is a difference between pixels that have the same class. So we measure, for each level, how much
# the maps vary inside the regions of one class, compared with how much they vary at all. If maps knew the classes alone,
# this share would be 0.


# %%
def inside_share(maps, classes):
    """The share of the variance that remains within the classes, of maps (C, H, W), mean over the channels."""
    side = maps.shape[1]
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    kinds = classes[:: 64 // side, :: 64 // side].ravel()  # (H W,)
    rest = np.zeros_like(flat)
    for kind in np.unique(kinds):
        rest[:, kinds == kind] = flat[:, kinds == kind] - flat[:, kinds == kind].mean(axis=1, keepdims=True)
    varies = flat.var(axis=1) > 1e-8
    return (rest.var(axis=1)[varies] / flat.var(axis=1)[varies]).mean()


shares = {n: np.mean([inside_share(seen[n][i], truth[i]) for i in range(50)]) for n in order}
for level in range(4):
    print(
        f"level {level}: {shares[f'down{level}']:.2f} of the variance is within classes on the way down, ",
        end="",
    )
    print(f"{shares[f'up{level}']:.2f} on the way up")
assert shares["up0"] < shares["down0"] and shares["up1"] < shares["down1"]

# %% [markdown]
# ### What the connections are worth
#
# A claim of the paper: the maps of the way down bring back the places that the poolings lost. We take them away from the
# trained network, level by level: we put zeros in their place.

# %%
from minivis.models.unet import Up

forward = Up.forward


def without(levels):
    """mIoU of the trained network on 100 scenes if the maps of these levels are zeros on their way over."""
    level_of = {id(up): len(trained.up) - 1 - n for n, up in enumerate(trained.up)}

    def blind(self, x, skip):
        return forward(self, x, skip * 0 if level_of[id(self)] in levels else skip)

    Up.forward = blind
    try:
        with mv.no_grad():
            named = trained(images).numpy().argmax(axis=1)
    finally:
        Up.forward = forward
    return mean_iou(mv.metrics.confusion_matrix(named, truth, len(shapes.CLASSES)))


cut = {
    "none": mean_iou(table),
    **{f"level {n}": without({n}) for n in range(4)},
    "all": without({0, 1, 2, 3}),
}
for name, value in cut.items():
    print(f"without {name:8}: mIoU {value:.3f}")
assert cut["all"] < 0.5 * cut["none"]
viz.bars(
    {name: round(float(value), 3) for name, value in cut.items()},
    "mIoU",
    title="The trained network with some connections cut",
    caption="Each bar: zeros in the place of the maps of one level (0 is the finest), or of all levels. Levels 0 and 2 are "
    "missed most, level 3 hardly. The network was not trained without them, so this shows what it relies on, not what a "
    "network without them could learn.",
)


# %% [markdown]
# ## Instance segmentation
#
# Slide `C/88-instance-segmentation`. **Instance segmentation** gives every object a mask of its own. Masks of two stars
# are two masks, even if they touch. A network that labels pixels cannot do this by itself: which number should the first
# star have? A detector can, because it has found each object already.

# %% tags=["slide:C/88-instance-segmentation"]
touching = scenes[11]
kind = shapes.THINGS.index("cross")
both = touching.labels == kind
masks = touching.masks[both]
_, regions = connected_regions(touching.semantic == kind)
print(f"crosses: {both.sum()} objects, {len(masks)} masks, {regions} region in the map of classes")
assert both.sum() == len(masks) == 2 and regions == 1
assert (masks.any(axis=0) == (touching.semantic == kind)).all()  # the same pixels, told apart
viz.masks_on_images(
    [touching.image] * 2,
    [[touching.semantic == kind], masks],
    [[kind], [kind] * 2],
    names=shapes.THINGS,
    titles=["semantic: one region", "instances: two masks"],
    size=3.0,
    title="Two crosses that touch",
    caption="On the left the pixels of the class cross, on the right the masks of the two objects. The pixels are the same; "
    "only the masks say to which cross each pixel belongs.",
)

# %% [markdown] tags=["slide:C/88-instance-segmentation"]
# The step from boxes to masks took two papers two years apart: Faster R-CNN (2015), whose regions were good enough, and
# Mask R-CNN (2017), which paints into them. Since then the measure is the AP of chapter [14](14_detection.ipynb) with
# the IoU of masks in the place of the IoU of boxes.

# %% [markdown]
# Slide `C/89-mask-rcnn`. **Mask R-CNN** (He et al., 2017) adds a third head to Faster R-CNN. For each region it takes the
# features with RoIAlign ([14](14_detection.ipynb)), four convolutions and one transposed convolution, and answers with a
# mask of $28 \times 28$ for each class. The mask of the class that the box head has chosen is used. It is judged by
# itself: each pixel has a sigmoid, and the masks of other classes do not compete with it. So what an object is and where
# it ends are decided apart. Here are the parts of our small one, and then its mask head:

# %% tags=["slide:C/89-mask-rcnn"]
detector = mv.load("mask-rcnn-shapes")
viz.architecture(detector, (1, 3, 64, 64), closed=["backbone", "mask_head"])

# %% tags=["slide:C/89-mask-rcnn"]
channels = detector.mask_head.convs[0].weight.shape[1]
viz.architecture(detector.mask_head, (1, channels, detector.mask_cells, detector.mask_cells))

# %% [markdown]
# ### What the mask head learns
#
# In training, a region is a box that was proposed, not the box of the object. The target is the part of the object's mask
# that lies *in this box*. It is cut out with RoIAlign too, without rounding the box to whole pixels: a cell is 1 if the
# mean of the mask in it is at least 1/2.

# %% tags=["slide:C/89-mask-rcnn"]
scene = scenes[2]
largest = scene.masks[[int(scene.masks.sum(axis=(1, 2)).argmax())]]  # (1, H, W)
rows, columns = np.nonzero(largest[0])
tight = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
proposed = np.stack([tight, tight + [-8.5, -2.3, -8.5, 5.4], tight + [9.6, 0, 0, 0]])  # (3, 4)
targets = mv.vision.mask_targets(largest, proposed, np.zeros(3, int), 14)  # (3, 14, 14)
assert set(np.unique(targets)) == {0, 1}
viz.images(
    [largest[0], *targets],
    titles=["the object's mask", "its own box", "a box too far left", "a box without its left part"],
    columns=4,
    size=1.7,
    title="Targets of the mask head",
    caption="On the left the mask in the scene, 64 x 64 pixels. The others are targets of 14 x 14 cells for three proposed "
    "boxes: each shows what of the object lies in the box, resized to the same square.",
)

# %% [markdown]
# The new part of the loss is the binary cross-entropy of the cells. The head paints a mask for each class, and only the
# channel of the **true class** is judged. So no gradient reaches the others:

# %% tags=["slide:C/89-mask-rcnn"]


def mask_loss_loops(logits, labels, targets):
    """(R, K, m, m), the true class of each region and its target (R, m, m), cell by cell."""
    total = 0.0
    for r, i, j in np.ndindex(targets.shape):
        p = 1 / (1 + math.exp(-logits[r, labels[r], i, j]))
        total -= math.log(p if targets[r, i, j] else 1 - p)
    return total / targets.size


def mask_loss_at_once(logits, labels, targets):
    z = logits[np.arange(len(labels)), labels]  # (R, m, m): one channel for each region
    return (np.maximum(z, 0) - z * targets + np.log1p(np.exp(-abs(z)))).mean()


logits = rng.standard_normal((3, 6, 14, 14))  # three regions, six classes
labels = np.array([4, 0, 4])
loss = mv.losses.mask_loss(logits, labels, targets)
np.testing.assert_allclose(mask_loss_loops(logits, labels, targets), loss)
np.testing.assert_allclose(mask_loss_at_once(logits, labels, targets), loss)
tensor = mv.Tensor(logits, requires_grad=True)
mv.losses.mask_loss(tensor, labels, targets).backward()
reached = [np.flatnonzero(abs(g).sum(axis=(1, 2))).tolist() for g in tensor.grad]
print("channels that a gradient reaches, for each region:", reached)
assert reached == [[4], [0], [4]]
assert mv.laws.judge("mask_loss", mv.losses.mask_loss).passed

# %% [markdown]
# ### Pasting without losing half a pixel
#
# The published network has 44,401,393 parameters, and its masks are $28 \times 28$. Such a mask is resized to its box and
# put into the image. A pixel of the image belongs to the object if the
# mask is above 1/2 at the pixel's *centre*. So a mask of ones in the box from (2, 3) to (6, 5) paints $4 \cdot 2 = 8$
# pixels. Published code differs here. Torchvision gives the mask a border, cuts the fractions off the corners of the box
# and counts one row and one column more: it paints 24 pixels. Weights that were trained with it expect this.

# %% tags=["slide:C/89-mask-rcnn"]
with nn.init.skip_init():
    published = mv.models.maskrcnn_resnet50_fpn()
assert sum(p.size for p in published.parameters()) == 44_401_393

ones = np.ones((28, 28), np.float32)
box = np.array([2.0, 3, 6, 5], np.float32)
exact, torch_like = (
    mv.vision.paste_masks(ones, box, 8, 8, form=form) > 0.5 for form in ("exact", "torchvision")
)
print(f"{exact.sum()} pixels, with torchvision's rules {torch_like.sum()}")
assert exact.sum() == 8 and exact[3:5, 2:6].all()
assert torch_like.sum() == 24 and torch_like[2:6, 1:7].all()

# %% [markdown]
# ### A trained Mask R-CNN, from inside
#
# The masks of `mask-rcnn-shapes` have $14 \times 14$ cells. We look at them before they are pasted, and then at the result
# in the scene.

# %% tags=["slide:C/89-mask-rcnn"]
scene = scenes[2]
detector.score_threshold = 0.5
with mv.no_grad(), nn.looking(detector) as looked:
    found = detector(scene.image[None])[0]
small_masks = looked["masks"]  # (n, 14, 14), in the order of the answers
sure = found["masks"][:, 0] > 0.5  # (n, H, W)
names = [f"{shapes.THINGS[k - 1]} {s:.2f}" for k, s in zip(found["labels"], found["scores"], strict=True)]
print("objects in the scene:", ", ".join(shapes.THINGS[k] for k in scene.labels))
viz.images(
    list(small_masks),
    titles=names,
    columns=min(6, len(names)),
    size=1.2,
    title="What the mask head paints into each box",
    caption="Each square is one box, resized to 14 x 14 cells; bright cells belong to the object. The title says which class "
    "the box head has chosen, and its score.",
)

# %%
viz.masks_on_image(
    scene.image,
    sure,
    found["labels"] - 1,
    found["scores"],
    shapes.THINGS,
    size=5.2,
    title="The masks, pasted into the scene",
    caption="Each object has its own colour, also the two rings. Compare the outlines with the cells above. Where a mask has few "
    "cells for a thin part, the part is lost: look at the tips of the triangle and of the star, and at the left arm of the cross.",
)

# %% [markdown]
# ## The four problems, on one scene
#
# Slide `C/3-four-vision-problems`. Now we have a model for each of the four problems with which the lecture began:
# *categorisation* returns a label, *detection* a class and a box for each object, *semantic segmentation* a class for each
# pixel, and *instance segmentation* a mask for each object. Four models of this package on the same scene:

# %% tags=["slide:C/3-four-vision-problems"]
boxer, namer = mv.load("faster-rcnn-shapes"), mv.load("swin-shapes")
boxer.score_threshold = 0.5
scene = scenes[2]
with mv.no_grad():
    label = shapes.THINGS[int(namer(scene.image[None]).numpy().argmax())]
    boxes = boxer(scene.image[None])[0]
    pixels = trained(scene.image[None]).numpy()[0].argmax(axis=0)
assert pixels.shape == (64, 64) and boxes["boxes"].shape[1] == 4 and sure.shape[1:] == (64, 64)
viz.four_problems(
    scene.image,
    label,
    boxes["boxes"],
    pixels,
    sure,
    box_labels=boxes["labels"] - 1,
    mask_labels=found["labels"] - 1,
    names=shapes.THINGS,
    classes=shapes.CLASSES,
    title="One scene, four questions",
    caption="From left to right: swin-shapes names the picture (it was trained on scenes with a single object), "
    "faster-rcnn-shapes draws boxes, unet-shapes names every pixel, grounds included (it takes a few pixels at the points of "
    "the star for grass), and mask-rcnn-shapes gives each object a mask of its own.",
)

# %% [markdown]
# ## The road of segmentation, in one table
#
# The way from the sliding window to U-Net is a way to less work *and* to better labels. We measure both. For the sliding
# window we give `fcn-shapes` the $32 \times 32$ pixels around a pixel and use its answer for this pixel alone. All pixels
# of 50 scenes would take about a minute, so we draw 64 pixels of each scene, and multiply their time by
# $\frac{64 \cdot 64}{64}$. The patches are no training images, so this is not the best that a sliding window can do.

# %%
wide = np.pad(images[:50], ((0, 0), (0, 0), (16, 16), (16, 16)), mode="reflect")  # (50, 3, 96, 96)
window_table = np.zeros((len(shapes.CLASSES),) * 2, int)
seconds = {"sliding window": []}
for image, its_classes in zip(wide, truth[:50], strict=True):
    pixels = rng.choice(64 * 64, 64, replace=False)
    patches = np.stack([image[:, i : i + 32, j : j + 32] for i, j in zip(*divmod(pixels, 64), strict=True)])
    start = time.process_time()
    with mv.no_grad():
        answer = fcn(patches).numpy()[:, :, 16, 16].argmax(axis=1)  # (64,): of the pixel in the middle
    seconds["sliding window"].append((time.process_time() - start) * 64)
    window_table += mv.metrics.confusion_matrix(answer, its_classes.ravel()[pixels], len(shapes.CLASSES))

networks = {
    f"FCN, scores of {form}": fcn_shapes.small_fcn(_shapes.small_backbone(rng, widths=(48, 96)), rng, skips)
    for form, skips in fcn_shapes.FORMS.items()
}  # untrained: the weights do not change the time
networks |= {"fcn-shapes": fcn, "unet-shapes": trained, "mask-rcnn-shapes": detector}
for name, network in networks.items():
    seconds[name] = []
    for picture in images[:20]:
        start = time.process_time()
        with mv.no_grad():
            network(picture[None])
        seconds[name].append(time.process_time() - start)

# %% [markdown]
# The other figures are those that the package stores: of the three forms of FCN after a short training on 500 validation
# scenes (more on them below), and of the trained networks on 500 held-out scenes. Mask R-CNN answers another question, so
# its figure is the AP50 of its masks. It does not name the grounds.

# %%
from minivis import storage

cards = {
    name: storage.read_json(storage.PACKAGED / name / "card.json")["on 500 held-out scenes"]
    for name in ("fcn-shapes", "unet-shapes", "mask-rcnn-shapes")
}
quality = {
    "sliding window": mean_iou(window_table),
    **{f"FCN, scores of {form}": np.mean(rows["mIoU"]) for form, rows in fcn_shapes.results().items()},
    **{name: cards[name]["mIoU"] for name in ("fcn-shapes", "unet-shapes")},
}
typical = {name: np.median(values) for name, values in seconds.items()}  # seconds of one core for an image
for name, value in typical.items():
    figure = f"mIoU {quality[name]:.3f}" if name in quality else f"AP50 {cards[name]['AP50']:.3f} of masks"
    print(f"{name:24} {1000 * value:7.1f} ms an image   {figure}")
assert typical["sliding window"] > 20 * typical["fcn-shapes"]
viz.named_points(
    {name: (1000 * typical[name], value) for name, value in quality.items()},
    "milliseconds of one core for an image",
    "mIoU",
    log="x",
    title="Time and quality of the networks that name pixels",
    caption="Up is better, left is faster; the time has a logarithmic scale. The sliding window asks the network of fcn-shapes "
    "for each pixel again: hundreds of times the work, and no better labels. The three forms of FCN were trained for 250 steps "
    "only, fcn-shapes for 4,000.",
)

# %% [markdown]
# ## What the papers claim, and what is measured here
#
# **FCN: adding finer scores makes outlines sharper.** The paper's mIoU on Pascal VOC rises from 59.4 (stride 32) to 62.4
# (16) and 62.7 (8). We trained three small networks of this kind from one backbone, with scores every 16, 8 and 4 pixels,
# with three seeds each. **U-Net: the connections bring back where things are.** We trained a small U-Net with them and
# without, for 300 steps. **Border weights keep touching objects apart.** We trained networks to tell objects from the
# ground, with a gap of ground drawn between objects that touch, and count how many pixels of these gaps stay open.

# %%
from minivis.recipes import unet_shapes

depths = fcn_shapes.results()
measured = unet_shapes.results()


def told(rows, name):
    """The mean and the range of a figure over the seeds."""
    values = np.array(rows[name])
    return f"{name} {values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


for form, rows in depths.items():
    print(f"FCN, {form:9}: {told(rows, 'mIoU')}; {told(rows, 'at borders')}")
for form, rows in measured["skips"].items():
    print(f"U-Net, {form:10}: {told(rows, 'mIoU')}")
for form, rows in measured["borders"].items():
    print(f"U-Net, {form:16}: {told(rows, 'gaps')}; {told(rows, 'elsewhere')}")
with_skips, without_skips = (np.array(rows["mIoU"]) for rows in measured["skips"].values())
assert with_skips.min() > without_skips.max()
alike, weighted = (np.array(rows["gaps"]) for rows in measured["borders"].values())
assert weighted.mean() > alike.mean()  # better on average,
assert weighted.min() < alike.max()  # but the ranges overlap

# %%
viz.dots(
    {
        **{f"FCN, {form}": rows["mIoU"] for form, rows in depths.items()},
        **{f"U-Net, {form}": rows["mIoU"] for form, rows in measured["skips"].items()},
    },
    "mIoU on 500 validation scenes",
    title="Finer maps on the way up",
    caption="Each dot is one training run with its own seed, each line their mean. Compare rows of the same network: the "
    "distance of the means is larger than the spread within the rows. FCN began with a trained backbone and U-Net with random weights, so do not "
    "compare one with the other.",
)

# %% [markdown]
# **FCN and U-Net do as claimed.** With scores every 8 pixels instead of 16 the labels get better everywhere; with those
# every 4 pixels mainly at the outlines. U-Net without its connections is worse with every seed. **The border weights are a weaker case.** With
# them more pixels of the gaps stay open on average, but for one of three seeds there is no difference, the ranges
# overlap, and elsewhere a few more pixels are wrong. Most gaps, about three quarters of their pixels, are closed either
# way. Three hundred steps are few, our gaps are one or two pixels wide, and the weights also balance the classes, which
# pulls the other way: it makes pixels of objects count more than those of the ground.
#
# The trained networks of the package tell the same story. On 500 held-out scenes `unet-shapes`, which learned from
# scratch with maps of full resolution, reaches an mIoU of 0.940, and `fcn-shapes`, whose finest scores have a stride of 4
# pixels, 0.876.

# %%
for name, network in (("unet-shapes", trained), ("fcn-shapes", fcn)):
    count = sum(p.size for p in network.parameters())
    print(f"{name}: mIoU {cards[name]['mIoU']:.3f} with {count:,} parameters")
fine, coarse = (np.array(depths[form]["at borders"]) for form in ("stride 4", "stride 16"))
assert fine.min() > coarse.max()

# %% [markdown]
# ## Exercises
#
# Where a law judges your function, manners count too: float32 in gives float32 out, inputs stay as they are, and
# nothing is printed.
#
# ### Exercise 1: pool, and remember where
# Write `my_pool(x, kernel)` for `x` (B, C, H, W): it returns a pair, the maxima and their positions, both
# (B, C, H', W'). `kernel` is a number or a pair (rows, columns); windows lie side by side, and rows or columns at the end that
# fill no window are dropped. A position counts the pixels of the plane of `x`, row by row: row * W + column. If two pixels
# of a window are the largest, the first counts.


# %% tags=["exercise:pool"]
def my_pool(x, kernel): ...  # your lines here


# %% tags=["check:pool"]
passed = mv.laws.check("max_pool2d_with_indices", my_pool).passed

# %% [markdown] tags=["solution:pool"]
# <details><summary>Solution</summary>
#
# ```python
# def my_pool(x, kernel):
#     M, N = kernel if isinstance(kernel, tuple) else (kernel, kernel)
#     B, C, H, W = x.shape
#     rows, columns = H // M, W // N
#     windows = x[:, :, : rows * M, : columns * N].reshape(B, C, rows, M, columns, N)
#     windows = windows.swapaxes(3, 4).reshape(B, C, rows, columns, M * N)
#     first = windows.argmax(axis=-1)  # the first of equals
#     row = np.arange(rows)[:, None] * M + first // N
#     column = np.arange(columns) * N + first % N
#     return windows.max(axis=-1), row * W + column
# ```
#
# W is the width of `x`, also if a column is left over.
# </details>

# %% [markdown]
# ### Exercise 2: which sizes go through U-Net?
# Write `my_size(size, poolings)`: the side of the labels of a U-Net without padding for an image of side `size`. Each
# level, also the lowest, has two $3 \times 3$ convolutions on the way down, and each level but the lowest two on the way
# up. Each way up begins with an enlargement by two. Return 0 if a map would have an odd size before a pooling, or if any
# map would have no pixels.


# %% tags=["exercise:size"]
def my_size(size, poolings): ...  # your lines here


# %% tags=["check:size"]
passed = claims(
    "the size of the labels",
    ("is 388 for 572 pixels", lambda: my_size(572, 4), 388, "Two convolutions take four pixels: 572, 568, 284, 280, ..."),
    ("is 4 for 188 pixels", lambda: my_size(188, 4), 4, "188 is the smallest image: its lowest map is 4 x 4 after two convolutions."),
    ("does not exist for 570 pixels", lambda: my_size(570, 4), 0, "570, 566, 283: a pooling would drop a row."),
    ("does not exist for 172 pixels", lambda: my_size(172, 4), 0, "At the top nothing would be left: a size must be positive."),
    ("is 40 less with two poolings", lambda: [my_size(n, 2) for n in (44, 60, 100)], [4, 20, 60], "The number of levels is poolings + 1."),
).passed  # fmt: skip

# %% [markdown] tags=["solution:size"]
# <details><summary>Solution</summary>
#
# ```python
# def my_size(size, poolings):
#     n = size - 4
#     for _ in range(poolings):
#         if n < 2 or n % 2:
#             return 0
#         n = n // 2 - 4
#     if n < 1:
#         return 0
#     for _ in range(poolings):
#         n = 2 * n - 4
#     return max(n, 0)
# ```
#
# With four poolings $n$ pixels at the bottom become $16 n - 60$ at the top.
# </details>

# %% [markdown]
# ### Exercise 3: weights for borders
# Write `my_weights(labels, w0=10.0, sigma=5.0)` for `labels` (H, W): 0 is the ground, other numbers are objects. Return
# float32 (H, W): $w_c + w_0 \exp(-(d_1 + d_2)^2 / (2 \sigma^2))$. Distances are Euclidean, from a pixel to the nearest
# pixel of an object: 0 inside it. With fewer than two objects the second part is 0. $w_c = N / (2 n)$ for a class (ground
# or objects) with $n$ of the $N$ pixels, and 1 if there is only one class. Use
# `distance_transform_edt(mask)` of `scipy.ndimage`, the distance of each True pixel to the nearest False one, or plain loops.


# %% tags=["exercise:weights"]
def my_weights(labels, w0=10.0, sigma=5.0): ...  # your lines here


# %% tags=["check:weights"]
passed = mv.laws.check("border_weights", my_weights).passed

# %% [markdown] tags=["solution:weights"]
# <details><summary>Solution</summary>
#
# ```python
# def my_weights(labels, w0=10.0, sigma=5.0):
#     thing = labels > 0
#     kinds = 1 + (thing.any() and not thing.all())
#     count = np.where(thing, thing.sum(), (~thing).sum())
#     weights = labels.size / (kinds * count)
#     numbers = np.unique(labels[thing])
#     if len(numbers) > 1:
#         distances = np.sort([distance_transform_edt(labels != n) for n in numbers], axis=0)
#         weights = weights + w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
#     return weights.astype(np.float32)
# ```
#
# Sorting along the objects puts the two smallest distances first.
# </details>

# %% [markdown]
# ### Exercise 4: the bilinear kernel
# Write `my_kernel(size)`: the weights of a transposed convolution that interpolates. `size` is a number or a pair
# (rows, columns). Along an axis of $s$ weights, weight number $i = 0, \ldots, s - 1$ is $h_i = 1 - |i - c| / f$ with
# $f = \lceil s / 2 \rceil$ and $c = (s - 1) / 2$; the kernel (rows, columns) is the product of a row's and a column's weight. Return float32.


# %% tags=["exercise:kernel"]
def my_kernel(size): ...  # your lines here


# %% tags=["check:kernel"]
passed = mv.laws.check("bilinear_kernel", my_kernel).passed

# %% [markdown] tags=["solution:kernel"]
# <details><summary>Solution</summary>
#
# ```python
# def my_kernel(size):
#     sides = size if isinstance(size, tuple) else (size, size)
#     rows, columns = (1 - np.abs(np.arange(s) - (s - 1) / 2) / ((s + 1) // 2) for s in sides)
#     return np.outer(rows, columns).astype(np.float32)
# ```
#
# The middle of an even kernel lies between two weights: $c$ ends in .5.
# </details>

# %% [markdown]
# ### Exercise 5: mIoU
# Write `my_miou(prediction, truth, classes)` for two maps of class numbers (H, W): the mean of the IoU over the classes
# 0 to `classes` - 1. A class that is in neither map does not count.


# %% tags=["exercise:miou"]
def my_miou(prediction, truth, classes): ...  # your lines here


# %% tags=["check:miou"]
left = np.array([[0, 0], [1, 1]])
right = np.array([[0, 1], [1, 1]])
passed = claims(
    "the mean IoU",
    ("is 1 for equal maps", lambda: my_miou(left, left, 2), 1.0, "Both classes have IoU 1."),
    (
        "is the mean of 1/2 and 2/3",
        lambda: my_miou(left, right, 2),
        (1 / 2 + 2 / 3) / 2,
        "Class 0: one pixel is in both maps, two are in at least one. Class 1: two of three.",
    ),
    (
        "does not count a class that is in neither map",
        lambda: my_miou(left, right, 5),
        (1 / 2 + 2 / 3) / 2,
        "Classes 2, 3 and 4 have 0 pixels in both maps: leave them out.",
    ),
    (
        "counts a class that is predicted and not there",
        lambda: my_miou(left, left * 0, 2),
        0.25,
        "Its IoU is 0, not left out.",
    ),
).passed

# %% [markdown] tags=["solution:miou"]
# <details><summary>Solution</summary>
#
# ```python
# def my_miou(prediction, truth, classes):
#     ious = []
#     for kind in range(classes):
#         both = ((prediction == kind) & (truth == kind)).sum()
#         either = ((prediction == kind) | (truth == kind)).sum()
#         if either:
#             ious.append(both / either)
#     return float(np.mean(ious))
# ```
#
# A class that is predicted where it is not has IoU 0 and pulls the mean down.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:all-ground"]
# **1. Nine tenths of the pixels are grass, the rest is a star. A network says grass everywhere. How good are its
# pixels, and how good is its mIoU?**
#
# <details><summary>Answer</summary>
#
# 90 % of the pixels are right, and the mIoU is 0.45: the IoU of grass is 0.9, that of the star is 0, and both count
# alike.
#
# ```python
# there = np.zeros((10, 10), int)
# there[0] = 1
# counted = mv.metrics.confusion_matrix(np.zeros_like(there), there, 2)
# assert np.isclose(mean_iou(counted), 0.45)
# ```
# </details>

# %% [markdown] tags=["question:one-more-layer"]
# **2. A sliding window with 8 layers gets 16. By about which factor does its waste grow, compared with the whole
# image at once?**
#
# <details><summary>Answer</summary>
#
# By less than 4: with $L$ layers a patch has $2L + 1$ pixels on a side, so the work for each pixel grows like
# $L^3$, that of the whole image like $L$.
#
# ```python
# waste_of = lambda n: positions(n, 224)[0] / positions(n, 224)[1]
# assert 3 < waste_of(16) / waste_of(8) < 4
# ```
# </details>

# %% [markdown] tags=["question:negative-maximum"]
# **3. A map is pooled, unpooled with the remembered positions, and pooled again. When does it not come back?**
#
# <details><summary>Answer</summary>
#
# Where a maximum is negative: the zeros that stand around it are larger.
#
# ```python
# low = -np.arange(1.0, 17).reshape(1, 1, 4, 4)
# kept, where = ops.max_pool2d(low, 2, return_indices=True)
# assert (kept < 0).all() and (ops.max_pool2d(ops.max_unpool2d(kept, where, 2), 2) == 0).all()
# ```
# </details>

# %% [markdown] tags=["question:overlapping-stamps"]
# **4. Why does U-Net go up with a filter of $2 \times 2$ and a stride of 2, and not with one of $3 \times 3$?**
#
# <details><summary>Answer</summary>
#
# The copies of a $2 \times 2$ filter lie side by side. Those of a $3 \times 3$ filter overlap: some pixels get one
# copy, others two or four, which can show as a checkerboard.
#
# ```python
# copies = lambda k: set(ops.conv_transpose2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, k, k)), stride=2).ravel())
# assert copies(2) == {1} and copies(3) == {1, 2, 4}
# ```
# </details>

# %% [markdown] tags=["question:without-the-way-over"]
# **5. What happens to the labels of the trained U-Net if all maps of the way down are replaced by zeros on their
# way over?**
#
# <details><summary>Answer</summary>
#
# They lose most of their quality: the way up then knows roughly what is in the image, but not where it ends.
#
# ```python
# assert cut["all"] < 0.5 * cut["none"]
# assert cut["none"] > max(cut[f"level {n}"] for n in range(4))
# ```
# </details>

# %% [markdown] tags=["question:other-classes"]
# **6. What happens to the mask loss if the head paints a perfect circle in the channel of a wrong class?**
#
# <details><summary>Answer</summary>
#
# Nothing: only the channel of the true class is judged, and the box head decides which channel is used. So classes
# do not compete for pixels.
#
# ```python
# heads, kind, wanted = rng.standard_normal((1, 6, 14, 14)), np.array([2]), np.ones((1, 14, 14))
# before_it = mv.losses.mask_loss(heads, kind, wanted)
# heads[0, 5] = 10.0
# assert mv.losses.mask_loss(heads, kind, wanted) == before_it
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can say what semantic and instance segmentation return: names of pixels, judged by mIoU, and masks of objects,
#   judged by AP.
# - You can turn a classifier of convolutions into a network that labels all pixels at once, with the numbers of the
#   sliding window and a small share of its work.
# - You can enlarge a map: nearest neighbours, bed of nails and max unpooling without weights, a transposed convolution
#   that learns how. Networks go down to see far at low cost, and up to answer for each pixel.
# - You can write a U-Net. What is lost on the way down is *where* things are: FCN adds scores of finer maps, SegNet hands
#   over the positions of maxima, U-Net hands over whole maps. Without padding, tiles fit together without a seam.
# - You can say how Mask R-CNN gets masks: it detects first and paints then, one small mask for each box.
#
# Next: [17. SETR and Segmenter](17_setr_segmenter.ipynb), which name every pixel with a transformer and never go down.
