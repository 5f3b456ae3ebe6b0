# %% [markdown]
# # Boxes: RoIAlign, anchors and non-maximum suppression
#
# You write what a detector of the R-CNN family needs besides convolutions: reading a region of a feature map, the boxes
# that a region proposal network starts from, which of them has to find which object, and the last step, which drops
# boxes that found the same object.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on detection before transformers.

# %%
import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: RoIAlign (12 points)
#
# `roi_align(features, rois, size, scale, sampling=2, aligned=True)` reads $R$ regions of feature maps and brings them to
# one size. `features` are $(B, C, H, W)$. `rois` are $(R, 5)$: the index of the picture (a whole number, but stored as a
# float), then left, top, right, bottom in pixels of the picture. A pixel has `scale` cells of the map. `size` is the
# number of bins along each side, or a pair (rows, columns). The result is $(R, C, h, w)$, in the dtype of `features`.
#
# Along each axis, with $n$ bins and $S$ samples in each (`sampling`):
#
# 1. With `aligned=True` the middle of cell $i$ is at $i + \frac12$. So a corner $a$ is at $a s - \frac12$, counted from
#    the middle of the first cell. With `aligned=False` it is at $a s$, and a region that is less than 1 cell wide (or
#    high) is made 1 cell wide; it keeps its left (upper) side.
# 2. The side of a bin is the side of the region divided by $n$. Sample $k = 0, \dots, S - 1$ of bin $i$ lies at
#    $\text{start} + (i + \frac{k + 1/2}{S})\, \text{bin}$.
# 3. A sample less than $-1$ or more than $H$ (or $W$) reads 0. Any other is first moved into $[0, H - 1]$ (or
#    $[0, W - 1]$) and then read by bilinear interpolation: the cell $u$ has the weight $\max(0, 1 - |q - u|)$ along each
#    axis. Samples at exactly $-1$, $H$ or $W$ are not tested.
#
# A bin is the mean of its $S \times S$ samples. The weights along y and x are multiplied, so two small matrices for each
# region are enough: $y = A_y\, x\, A_x^T$, where row $i$ of $A_y$ says how much bin $i$ reads of each row of the map.
# `rois` may have no rows.


# %% tags=["task:roi-align"]
def roi_align(features, rois, size, scale, sampling=2, aligned=True):
    ### BEGIN SOLUTION
    def read(low, high, bins, length):
        """How much each bin reads of each cell along one axis, (bins, length)."""
        start = low * scale - 0.5 if aligned else low * scale
        side = (high - low) * scale if aligned else max((high - low) * scale, 1.0)
        part = (np.arange(bins * sampling) + 0.5) / (bins * sampling)
        place = start + part * side
        inside = (place >= -1) & (place <= length)
        place = np.clip(place, 0, length - 1)
        hat = np.maximum(0, 1 - abs(place[:, None] - np.arange(length))) * inside[:, None]
        return hat.reshape(bins, sampling, length).mean(axis=1)

    h, w = size if isinstance(size, tuple) else (size, size)
    (C, H, W) = features.shape[1:]
    out = np.zeros((len(rois), C, h, w), features.dtype)
    for r, (b, left, top, right, bottom) in enumerate(rois):
        a_y = read(top, bottom, h, H)
        a_x = read(left, right, w, W)
        out[r] = a_y @ features[int(b)] @ a_x.T
    return out
    ### END SOLUTION


# %% tags=["check:roi-align"]
award(
    "roi_align",
    roi_align,
    {
        "the simplest form": 1,
        "exact on planes": 2,
        "the mean of its samples": 1,
        "scale": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "half a cell further": 1,
        "a region without area": 1,
        "beyond the border": 2,
        "the picture of the region": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: anchors (9 points)
#
# A region proposal network predicts changes of *anchors*: boxes of fixed sizes around the middle of every cell.
# `anchor_boxes(height, width, stride, sizes, ratios)` returns all of them, $(H W A, 4)$ in float32: left, top, right,
# bottom in pixels of the picture. A cell is `stride` pixels wide and high; the first one reaches from 0 to `stride`.
# An anchor of size $s$ and ratio $r$ has the area $s^2$ and is $r$ times as high as wide. Sizes are in pixels.
#
# The order: cells row by row, as in a text; in a cell ratio by ratio, and for each ratio all sizes. So there are
# $A = $ `len(ratios) * len(sizes)` in each cell. Anchors may leave the picture.


# %% tags=["task:anchors"]
def anchor_boxes(height, width, stride, sizes, ratios):
    ### BEGIN SOLUTION
    cell = []
    for ratio in ratios:
        for size in sizes:
            w = size / np.sqrt(ratio)
            h = size * np.sqrt(ratio)
            cell.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = np.meshgrid((np.arange(height) + 0.5) * stride, (np.arange(width) + 0.5) * stride, indexing="ij")
    middle = np.stack([x, y, x, y], axis=-1)  # (H, W, 4)
    return (middle[:, :, None] + np.array(cell)).reshape(-1, 4).astype(np.float32)
    ### END SOLUTION


# %% tags=["check:anchors"]
award(
    "anchor_boxes",
    anchor_boxes,
    {
        "the simplest form": 1,
        "areas": 1,
        "ratios": 1,
        "cells in reading order": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "around the middle of a cell": 1,
        "ratio by ratio": 1,
        "sizes in pixels": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2, continued: which anchor has which object (10 points)
#
# `match_anchors(iou, high=0.7, low=0.3)` takes the IoU of $A$ anchors with $T$ objects, $(A, T)$, and returns $A$ whole
# numbers. Each anchor is compared by its largest IoU:
#
# | largest IoU of the anchor | result |
# |---|---|
# | at least `high` | the index of the object with this IoU |
# | less than `low` | -2: background |
# | between them | -1: ignored, it has no loss |
#
# One rule goes first. It gives small objects an anchor too: if an anchor overlaps some object as much as no other anchor
# does, and not by 0, it has an object, however small the IoU is. If several anchors overlap that object equally, all of
# them have one. The object that such an anchor gets is the one that *it* overlaps most, which may be another. Without
# objects ($T = 0$) all anchors are background. What an anchor gets that overlaps two objects equally is not tested.


# %% tags=["task:matching"]
def match_anchors(iou, high=0.7, low=0.3):
    ### BEGIN SOLUTION
    if not iou.size:
        return np.full(len(iou), -2)
    most = iou.argmax(axis=1)
    best = iou.max(axis=1)
    needed = ((iou == iou.max(axis=0)) & (iou > 0)).any(axis=1)
    found = np.where(best < low, -2, -1)
    return np.where((best >= high) | needed, most, found)
    ### END SOLUTION


# %% tags=["check:matching"]
award(
    "match_anchors",
    match_anchors,
    {
        "the simplest form": 1,
        "at least high": 1,
        "less than low": 1,
        "no object without an anchor": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "all of the best": 1,
        "nothing to find": 1,
        "an object out of reach": 1,
        "the object that it overlaps most": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: non-maximum suppression (11 points)
#
# Several boxes may have found the same object. `nms(boxes, scores, threshold)` keeps the best one of them. `boxes` are
# $(N, 4)$: left, top, right, bottom; `scores` are $(N)$. Take the box with the best score, drop every box whose IoU with
# it is **more** than `threshold`, and repeat with those that are left. A box that was dropped drops no others. Return the
# indices of the boxes that stay, as whole numbers, in the order of falling scores.
#
# $$\mathrm{IoU}(a, b) = \frac{|a \cap b|}{|a \cup b|}$$
#
# The IoU of boxes without area is 0. Of boxes with equal scores any may be taken first, but the same each time. There may
# be no boxes at all.


# %% tags=["task:nms"]
def nms(boxes, scores, threshold):
    ### BEGIN SOLUTION
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = list(np.argsort(-scores, kind="stable"))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        sides = np.maximum(high - low, 0)
        both = sides[:, 0] * sides[:, 1]
        either = area[best] + area[left] - both
        iou = both / np.where(either > 0, either, 1)
        left = [i for i, overlap in zip(left, iou, strict=True) if overlap <= threshold]
    return np.array(kept, dtype=np.int64)
    ### END SOLUTION


# %% tags=["check:nms"]
award(
    "nms",
    nms,
    {
        "the simplest form": 1,
        "best first": 1,
        "no two overlap": 1,
        "the best stays": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "a dropped box drops no others": 1,
        "overlap is IoU": 1,
        "exactly the threshold": 1,
        "empty boxes": 1,
        "ties": 1,
        ### END HIDDEN TESTS
    },
)
