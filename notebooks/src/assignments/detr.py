# %% [markdown]
# # DETR: boxes, their similarity, and the best matching
#
# You write the parts that DETR's loss is built from: boxes in two forms, generalized IoU, and the assignment of
# predictions to objects.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on DETR.

# %%
import itertools

import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: from centre to corners (5 points)
#
# DETR predicts a box as (centre x, centre y, width, height); geometry needs (left, top, right, bottom). Write
# `box_cxcywh_to_xyxy(boxes)` for boxes $(\dots, 4)$ with any leading axes.


# %% tags=["task:corners"]
def box_cxcywh_to_xyxy(boxes):
    ### BEGIN SOLUTION
    centre = boxes[..., :2]
    half = boxes[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
    ### END SOLUTION


# %% tags=["check:corners"]
award(
    "box_cxcywh_to_xyxy",
    box_cxcywh_to_xyxy,
    {
        "the simplest form": 1,
        "half to each side": 1,
        "two corners": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "width along x": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: generalized IoU (12 points)
#
# IoU, the shared area divided by the covered area, is 0 for all boxes that do not overlap, however far apart they
# are. So it has no gradient there. With the smallest box $C$ that encloses both,
#
# $$\mathrm{GIoU}(a, b) = \frac{|a \cap b|}{|a \cup b|} - \frac{|C| - |a \cup b|}{|C|} .$$
#
# Write `generalized_box_iou(boxes1, boxes2)` for corners $(N, 4)$ and $(M, 4)$: the result is $(N, M)$, every pair. A
# box may have no area. The IoU of two empty boxes is 0, and an enclosing box without area contributes 0: the result
# is never NaN.


# %% tags=["task:giou"]
def generalized_box_iou(boxes1, boxes2):
    ### BEGIN SOLUTION
    a = boxes1[:, None]
    b = boxes2[None]

    def area(low, high):
        return np.clip(high - low, 0, None).prod(axis=-1)

    def share(part, whole):
        return part / np.where(whole > 0, whole, 1)

    both = area(np.maximum(a, b)[..., :2], np.minimum(a, b)[..., 2:])
    either = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - both
    around = area(np.minimum(a, b)[..., :2], np.maximum(a, b)[..., 2:])
    return share(both, either) - share(around - either, around)
    ### END SOLUTION


# %% tags=["check:giou"]
award(
    "generalized_box_iou",
    generalized_box_iou,
    {
        "the simplest form": 2,
        "formula": 2,
        "one inside the other": 1,
        "every pair": 1,
        "the further, the lower": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "either first": 1,
        "empty boxes": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: the best matching (13 points)
#
# Each object gets one prediction and no prediction gets two, so that the **sum** of the costs is the least possible.
# It is not enough to take the cheapest pair, then the cheapest of the rest, and so on: a cheap pair may force an
# expensive one later.
#
# `linear_sum_assignment(cost)` takes a matrix $(N, M)$ of finite numbers, which may be negative. It returns two
# arrays of $\min(N, M)$ integers: row `rows[k]` is paired with column `columns[k]`. Either side may be the longer
# one, or empty. The matrices here have at most about five rows and columns, so trying every permutation
# (`itertools.permutations`) is a right answer; the Hungarian algorithm is a better one.


# %% tags=["task:matching"]
def linear_sum_assignment(cost):
    ### BEGIN SOLUTION
    if cost.shape[0] > cost.shape[1]:
        columns, rows = linear_sum_assignment(cost.T)
        return rows, columns
    rows = np.arange(len(cost))
    ways = [np.array(way, dtype=np.int64) for way in itertools.permutations(range(cost.shape[1]), len(cost))]
    return rows, min(ways, key=lambda columns: cost[rows, columns].sum())
    ### END SOLUTION


# %% tags=["check:matching"]
award(
    "linear_sum_assignment",
    linear_sum_assignment,
    {
        "the simplest form": 1,
        "least cost": 2,
        "one to one": 1,
        "more columns than rows": 2,
        "ties": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "more rows than columns": 2,
        "negative costs": 1,
        "nothing to pair": 1,
        "whole numbers": 1,
        ### END HIDDEN TESTS
    },
)
