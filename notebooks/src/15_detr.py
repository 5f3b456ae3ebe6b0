# %% [markdown]
# # 15. DETR: detection as a set of answers
#
# A transformer looks at an image once and answers with a *set* of boxes: no anchors, no proposals, no suppression of
# duplicates afterwards. This works because the loss first decides which answer belongs to which object.
#
# **Goals**
#
# - You can match predictions with objects by brute force and by the Hungarian method, and prove that the result is
#   optimal.
# - You can say why IoU cannot pull two distant boxes together, and what generalised IoU adds.
# - You can compute DETR's set loss on paper and know why the order of its predictions does not matter.
# - You can write DETR's transformer in fifty lines of NumPy, and a DETR of your own that learns.
# - You can measure what the queries, the encoder and the decoder of a trained DETR do, and see where that differs
#   from the paper.
#
# **Before**: attention from [05](05_attention.ipynb), encoder and decoder from [07](07_transformer.ipynb),
# position codes from [08](08_vit.ipynb).
#
# **Slides**: Deck H is Hanyang University, *Transformers* (ViT, DETR, Segmenter); Deck A is AIIA, *Attention and
# Transformer Networks in Computer Vision*; Deck Z is Zagoruyko, *Transformers in Computer Vision*; Deck C is CPSC
# 425, lecture 23. A section that follows a slide names it by its tag: deck, page and a short name.
#
# **Time**: about 95 minutes to read, 60 more for the exercises; the cells take about two minutes.

# %% tags=["setup"]
import itertools
import math
import time

import numpy as np

import minivis as mv
from minivis import nn, ops, recipes, storage, viz
from minivis.data import shapes
from minivis.laws import claims
from minivis.models.detr import DETROutput
from minivis.ops import layer_norm, linear, relu, sigmoid, softmax
from minivis.vision import (
    batched_nms,
    box_cxcywh_to_xyxy,
    box_iou,
    detr_detections,
    generalized_box_iou,
    linear_sum_assignment,
)

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# This is the DETR that the chapter takes apart. Read it from top to bottom. A CNN, the *backbone*, turns the image into
# a small map. Its cells become tokens, and the *encoder* lets them read each other; what comes out is called the
# *memory*. Then learned vectors enter from the side, the *queries*. In each *decoder* layer they read the memory. At the
# end two heads stand side by side: for every query one answers with a class and the other with a box.

# %%
viz.architecture(mv.load("detr-shapes"), (1, 3, 64, 64))

# %% [markdown]
# ## An image in, a set out
#
# Slides `H/14-detr-idea`, `A/52-detr-idea`, `Z/49-detr-as-translation`, `Z/52-streamlined-pipeline`. Detectors before
# DETR cover the image with thousands of candidate boxes (anchors, proposals). They judge each candidate on its own, and
# so they find every object many times. A second step, non-maximum suppression (NMS), removes the duplicates. How large
# the anchors are, which of them count as right, how much overlap makes a duplicate: somebody chose all this by hand.
#
# DETR does it differently. It treats detection as a *translation*: a sequence of image features goes in, and a fixed
# number of answers comes out, all at once. Each answer is a class and a box. There are no candidates, and nothing is
# removed afterwards.
#
# Let us first see that this works. The model below was trained on generated scenes (`minivis train detr-shapes`, about
# half an hour on two cores). We show it scenes it has never seen.
#
# > *A correction.* Deck H's title page says CVPR 2020; the paper (Carion et al.) appeared at ECCV 2020.

# %% tags=["slide:H/14-detr-idea", "slide:A/52-detr-idea", "slide:Z/49-detr-as-translation", "slide:Z/52-streamlined-pipeline"]
model = mv.load("detr-shapes")
scenes = [shapes.scene(seed) for seed in range(200)]  # held out: no training saw them
images = np.stack([scene.image for scene in scenes])  # (200, 3, 64, 64)
with mv.no_grad(), mv.nn.looking(model) as seen:  # seen: what its layers show on the way, for later
    output = model(images)
logits, boxes = output.logits.numpy(), output.boxes.numpy()  # (200, 16, 7), (200, 16, 4)
probabilities = softmax(logits)
assert logits.shape == (200, 16, 7) and boxes.shape == (200, 16, 4) and 0 <= boxes.min() <= boxes.max() <= 1

# %% [markdown]
# For each of 200 scenes there are 16 answers: seven scores (six classes and one more, which comes next) and the four
# numbers of a box. Here are four scenes. The upper row shows what is there, the lower row what the network says.

# %% tags=["slide:H/14-detr-idea", "slide:A/52-detr-idea", "slide:Z/49-detr-as-translation", "slide:Z/52-streamlined-pipeline"]
few = [0, 2, 5, 9]
found = [detr_detections(logits[i], boxes[i], threshold=0.5) for i in few]
viz.boxes_on_images(
    [images[i] for i in few] * 2,
    [scenes[i].boxes for i in few] + [f["boxes"] for f in found],
    labels=[scenes[i].labels for i in few] + [f["labels"] for f in found],
    names=shapes.THINGS,
    normalised=True,
    titles=["truth"] * 4 + ["answers above 0.5"] * 4,
    title="Four new scenes: the truth, and what the network says",
    caption="Top row: the true boxes. Bottom row: the network's answers with a probability above 0.5. Nothing was "
    "merged or suppressed. The network misses some small objects that lie on others, and now and then it gives one "
    "object two answers.",
)

# %% [markdown]
# ## Sixteen slots, most of them empty
#
# Slide `A/59-no-object`. The number of answers is fixed, and an image may hold any number of objects. So there must be
# more answers than objects in any image: 100 in the paper; 16 here, where a scene has at most eight objects. We call an
# answer a *slot*. Most slots have nothing to say, and they need a way to say so. This is one more class, **no object**,
# $\varnothing$. It plays the part that *background* has in other detectors.
#
# Look at all 16 slots of one scene. In how many rows does *no object* win?

# %% tags=["slide:A/59-no-object"]
one = 12
scene, p, b = scenes[one], probabilities[one], boxes[one]  # p (Q, K + 1), b (Q, 4)
assert np.allclose(p.sum(axis=-1), 1, atol=1e-5)
viz.heatmap(
    p,
    "class",
    "slot",
    x_names=[*shapes.THINGS, "no object"],
    bar_label="probability",
    title=f"What the 16 slots say about a scene of {len(scene.labels)} objects",
    caption="Each row is one slot; its probabilities sum to 1. Most slots give nearly all probability to one "
    "class: an object, or no object. A few split it between several classes: they are unsure.",
)

# %% [markdown]
# One scene may be an exception. So we count over all 200:

# %%
empty = (probabilities.argmax(axis=-1) == 6).sum(axis=1)  # (200,)
objects = np.array([len(s.labels) for s in scenes])
print(f"objects in a scene: {objects.mean():.2f} on average, at most {objects.max()} of {p.shape[0]} slots")
print(f"slots that say 'no object': {empty.mean():.2f} of {p.shape[0]} on average")
assert objects.max() < p.shape[0] and empty.mean() > 8

# %% [markdown]
# ## Why the loss must match first
#
# Slide `A/60-why-match`. To train the network, its answers must be compared with the truth. But which answer with which
# object? Both are *sets*: a set has no order. Suppose slot $i$ had to answer for object $i$ of the list. Then the loss
# would depend on the order in which somebody wrote the objects down. The network could give perfect answers and still
# be punished, because they stand in other slots.
#
# The way out is to **match** first: find the pairs of slots and objects that fit best, and compare only then. The cell
# takes one scene and lists its objects in every possible order. For each order it computes the total cost twice: once
# with slot $i$ for object $i$, and once with the cheapest pairs. (What a pair costs is defined below; here it is enough
# that a bad pair costs more.)

# %% tags=["slide:A/60-why-match"]
target = {"labels": scene.labels, "boxes": scene.boxes}
matcher = mv.losses.HungarianMatcher()
cost = matcher.costs(output.logits[one : one + 1], output.boxes[one : one + 1], [target])[0].T  # (Q, T)
T = cost.shape[1]
orders = list(itertools.permutations(range(T)))
slot_by_slot = [cost[np.arange(T), order].sum() for order in orders]
matched = [cost[:, order][linear_sum_assignment(cost[:, order])].sum() for order in orders]
print(f"{len(orders)} orders of {T} objects")
print(f"slot i for object i:   from {min(slot_by_slot):6.2f} to {max(slot_by_slot):6.2f}")
print(f"matched first:         from {min(matched):6.2f} to {max(matched):6.2f}")
assert np.ptp(slot_by_slot) > 1 and np.ptp(matched) < 1e-4

# %% [markdown]
# ## Three companies, three jobs
#
# Slides `H/17-hungarian-table`, `A/62-best-permutation`. How are the cheapest pairs found? The slide has an example
# without any network. Three companies offer to do three jobs, each at its own price, and each company gets one job. We
# look for the permutation $\sigma$ with the least sum of pair costs $c_{i,\sigma(i)}$,
#
# $$\hat\sigma = \arg\min_{\sigma \in \mathfrak{S}_N} \sum_{i=1}^{N} c_{i,\, \sigma(i)} .$$
#
# There are only $3! = 6$ ways, so we can look at all of them. This is *brute force*.

# %% tags=["slide:H/17-hungarian-table", "slide:A/62-best-permutation"]
prices = np.array([[108, 125, 150], [150, 135, 175], [122, 148, 250]])  # (companies, jobs)


def brute_force(cost):
    """All ways to give each row a column of its own: a list of (sum, columns)."""
    rows = np.arange(len(cost))
    ways = itertools.permutations(range(cost.shape[1]), len(cost))
    return [(cost[rows, columns].sum().item(), columns) for columns in ways]


for total, columns in brute_force(prices):
    print(" + ".join(f"{prices[row, column]}" for row, column in enumerate(columns)), "=", total)
sums = [total for total, _ in brute_force(prices)]
assert sorted(sums) == sorted([493, 431, 525, 448, 422, 407])

# %% [markdown]
# The least sum is 407. The library's solver must find the same. Before you look: would you have given the musician's
# job to company A, which has the best price for it?

# %% tags=["slide:H/17-hungarian-table", "slide:A/62-best-permutation"]
rows, columns = linear_sum_assignment(prices)  # ours: minivis/vision/matching.py
assert prices[rows, columns].sum() == min(sums) == 407
people = {"x_names": ["musician", "chef", "cleaners"], "y_names": ["A", "B", "C"]}
viz.cost_matrix(
    prices,
    (rows, columns),
    "job",
    "company",
    **people,
    title="The cheapest way: 407",
    caption="Rows are companies, columns are jobs, and the framed cells are the cheapest assignment: one in every "
    "row and every column. Company A has the best price for the musician and still does not get that job: with it "
    "the sum would be 431 or 493.",
)

# %% [markdown]
# ### A proof one can check
#
# Six ways are few, but for 100 slots there are $100! \approx 10^{158}$. The **Hungarian method** needs about $N^3$
# steps. And it does more: besides the assignment it returns a *certificate*, numbers that prove that no assignment is
# cheaper.
#
# The idea: row $i$ gets a price $u_i$ and column $j$ a price $v_j$, chosen so that no cell costs less than its two
# prices together: $u_i + v_j \le c_{ij}$. An assignment uses each row and each column once. So *every* assignment costs
# at least $\sum u_i + \sum v_j$. If one is found that costs exactly that, none can be cheaper. To be sure you only check
# the prices; you need not trust the algorithm. (A price may be negative; only the sums count.)

# %%
rows, columns, u, v = linear_sum_assignment(prices, return_duals=True)
slack = prices - u[:, None] - v[None, :]  # what a cell costs more than its two prices
print(f"prices of the companies u = {u}, of the jobs v = {v}")
print(f"sum of all prices {u.sum() + v.sum():g}, cost of the assignment {prices[rows, columns].sum()}")
assert (slack >= 0).all() and (slack[rows, columns] == 0).all() and u.sum() + v.sum() == 407
viz.cost_matrix(
    slack,
    (rows, columns),
    "job",
    "company",
    **people,
    title="The certificate: c - u - v",
    caption="Each cell shows its cost minus the prices of its row and column. No number is negative, and the "
    "framed cells are zero. That proves that 407 is the minimum: any other choice of cells costs 407 plus the "
    "numbers in its cells.",
)

# %% [markdown]
# ### How long does it take?
#
# The matching runs in every step of the training, for every image and every decoder layer, so its time matters. We
# compare brute force, our solver and SciPy's. First we check that the two solvers find the same cost, then we measure.

# %%
from scipy.optimize import linear_sum_assignment as scipy_assignment


def seconds(solve, cost, repeat=3):
    """The fastest of a few runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        solve(cost)
        times.append(time.perf_counter() - start)
    return min(times)


small, large = (3, 4, 5, 6, 7, 8), (4, 8, 16, 32, 64, 100)
tables = {n: rng.uniform(size=(n, n)) for n in sorted({*small, *large})}
for n in large:
    ours, theirs = tables[n][linear_sum_assignment(tables[n])], tables[n][scipy_assignment(tables[n])]
    assert abs(ours.sum() - theirs.sum()) < 1e-9

# %%
timed = {
    "brute force": (small, [seconds(brute_force, tables[n], repeat=1) for n in small]),
    "ours": (large, [seconds(linear_sum_assignment, tables[n]) for n in large]),
    "SciPy": (large, [seconds(scipy_assignment, tables[n]) for n in large]),
}
assert timed["brute force"][1][-1] > timed["ours"][1][1]
viz.curves(
    timed,
    "rows and columns",
    "seconds",
    log="xy",
    title="Time to find the cheapest assignment",
    caption="Both axes are logarithmic. Brute force grows like N!, the Hungarian method about like N³. For 100 "
    "slots, as in DETR, ours takes milliseconds and SciPy far less.",
)

# %% [markdown]
# Brute force becomes impossible beyond about ten rows. The loss of the library uses SciPy's solver, because it is
# compiled.

# %% [markdown]
# ## What a pair costs
#
# Slides `H/16-five-predictions-two-objects`, `H/15-matching-cost`, `A/61-padding-the-truth`, `A/63-pairwise-cost`. Now
# to the costs themselves. A slot suits an object well if it gives its class a high probability, and if its box is near.
# Object $i$ has the class $c_i$ and the box $b_i \in [0, 1]^4$ (centre, width and height as fractions of the image).
# Slot $j$ predicts the probabilities $\hat p_j$ and the box $\hat b_j$. The pair costs
#
# $$C_{ij} = -\hat p_j(c_i) + \mathcal{L}_{box}(b_i, \hat b_j), \qquad
#   \mathcal{L}_{box} = \lambda_{L1} \lVert b_i - \hat b_j \rVert_1 + \lambda_{iou}\, (1 - \mathrm{GIoU}(b_i, \hat b_j)),$$
#
# with $\lambda_{L1} = 5$ and $\lambda_{iou} = 2$. L1 is the sum of the distances of the four numbers. GIoU measures the
# overlap; the next section is about it.
#
# There are more slots than objects. So the list of objects is **padded** with "no object" to the number of slots. A
# pair with "no object" costs nothing, so padding does not change which slot gets an object. (The published code leaves
# out the constant $\lambda_{iou} \cdot 1$ in the matching. It is the same for all pairs with an object, so the matching
# stays the same.)
#
# The slide's example has five predictions and two objects, a dog and a cat. We take its predicted classes as certain.

# %% tags=["slide:H/16-five-predictions-two-objects", "slide:H/15-matching-cost", "slide:A/61-padding-the-truth", "slide:A/63-pairwise-cost"]
DOG, CAT, NOTHING = 0, 1, 2
said = np.array([DOG, NOTHING, NOTHING, CAT, NOTHING])
five = np.array(
    [
        [0.3, 0.5, 0.8, 0.8],
        [0.9, 0.8, 0.3, 0.4],
        [0.1, 0.5, 0.1, 0.8],
        [0.7, 0.8, 0.3, 0.4],
        [0.7, 0.4, 0.3, 0.4],
    ]
)
certain = np.eye(3)[said]  # (5, 3): all probability on what it said
true_classes = np.array([DOG, CAT])
true_boxes = five[[0, 3]]  # the deck's objects have exactly these boxes

# %% [markdown]
# The costs follow the formula, for all pairs at once. Then come three columns of zeros, the padding, and the matching.

# %% tags=["slide:H/16-five-predictions-two-objects", "slide:H/15-matching-cost", "slide:A/61-padding-the-truth", "slide:A/63-pairwise-cost"]
distance = np.abs(five[:, None] - true_boxes[None]).sum(axis=-1)  # (5, 2)
giou = generalized_box_iou(box_cxcywh_to_xyxy(five), box_cxcywh_to_xyxy(true_boxes))  # (5, 2)
pair_cost = -certain[:, true_classes] + 5 * distance - 2 * giou
padded = np.concatenate([pair_cost, np.zeros((5, 3))], axis=1)  # three more columns: no object

rows, columns = linear_sum_assignment(padded)
slot_of = dict(zip(columns.tolist(), rows.tolist(), strict=True))
assert slot_of[0] == 0 and slot_of[1] == 3  # the dog: prediction 1; the cat: prediction 4
np.testing.assert_allclose([pair_cost[0, 0], pair_cost[3, 1]], [-3, -3])
np.testing.assert_allclose(padded[rows, columns].sum(), -6)
short = linear_sum_assignment(pair_cost)  # without the padding: the same pairs
assert short[0].tolist() == [0, 3] and short[1].tolist() == [0, 1]

# %% tags=["slide:H/16-five-predictions-two-objects", "slide:H/15-matching-cost", "slide:A/61-padding-the-truth", "slide:A/63-pairwise-cost"]
predictions = ["ŷ1", "ŷ2", "ŷ3", "ŷ4", "ŷ5"]
viz.cost_matrix(
    padded,
    (rows, columns),
    "object",
    "prediction",
    x_names=["dog", "cat", "∅", "∅", "∅"],
    y_names=predictions,
    title="Five predictions, two objects, three times no object",
    caption="The framed cells are the matching. A right pair costs -1 for the class, 0 for the L1 distance and -2 "
    "for a GIoU of 1: -3 for each pair and -6 in all. The three predictions that are left are matched with no "
    "object, at no cost.",
)

# %%
viz.matched_boxes(
    np.ones((3, 100, 100)),
    five,
    true_boxes,
    short,
    labels=said,
    target_labels=true_classes,
    names=["dog", "cat", "nothing"],
    normalised=True,
    size=3.6,
    title="The same, as a picture",
    caption="The boxes of a matched pair lie on each other; predictions without an object are dotted. Two boxes of "
    "the slide reach outside the image (0.3 - 0.8 / 2 < 0 and 0.9 + 0.3 / 2 > 1): that is allowed.",
)

# %% [markdown]
# How do the three parts of the cost play together? Now the five predictions are less certain: the second says "dog"
# with high probability, but its box is far from the dog. Move the sliders and see which pairs are matched. Which
# prediction gets the dog when the class has a large weight?

# %%
# dog, cat, nothing
unsure = np.array([[0.2, 0.1, 0.7], [0.9, 0.0, 0.1], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3], [0.0, 0.7, 0.3]])
viz.matching_playground(
    {"class": -unsure[:, true_classes], "L1": distance, "GIoU": -giou},
    {"class": 1, "L1": 5, "GIoU": 2},
    x_label="object",
    y_label="prediction",
    x_names=["dog", "cat"],
    y_names=predictions,
)

# %% [markdown]
# ## Boxes that do not meet
#
# Slide `A/64-box-loss`. How similar are two boxes $A$ and $B$? The usual answer is intersection over union, IoU: the
# area that both cover, divided by the area that at least one covers. As a loss it has a weakness. It is 0 for *all*
# pairs that do not overlap, near or far. So its gradient is 0 there too, and gradient descent does not know in which
# direction to move the box. At the start of a training nearly all boxes are in this situation.
#
# **Generalised IoU** (Rezatofighi et al. 2019) takes the smallest box $E$ that encloses both, and subtracts the share
# of it that neither covers. The farther the boxes are apart, the more of $E$ is empty:
#
# $$\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}, \qquad
#   \mathrm{GIoU} = \mathrm{IoU} - \frac{|E| - |A \cup B|}{|E|} .$$
#
# First for two boxes in plain Python, then for all pairs with the library. (In exercise 3, sixteen laws judge *your*
# version.)


# %%
def overlaps_by_hand(a, b):
    """IoU and GIoU of two boxes, each (left, top, right, bottom)."""
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    iou = both / either if either else 0
    return iou, iou - ((around - either) / around if around else 0)


def giou_by_loops(boxes1, boxes2):
    """All pairs: (N, 4), (M, 4) -> (N, M)."""
    out = np.zeros((len(boxes1), len(boxes2)), boxes1.dtype)
    for i, a in enumerate(boxes1):
        for j, b in enumerate(boxes2):
            out[i, j] = overlaps_by_hand(a, b)[1]
    return out


some = box_cxcywh_to_xyxy(rng.uniform(0.1, 0.9, (12, 4)))
np.testing.assert_allclose(giou_by_loops(some, some[:5]), generalized_box_iou(some, some[:5]), atol=1e-12)

# %% [markdown]
# The pictures show what the formula sees. A box moves away from another one, step by step. Watch the two numbers above.

# %%
still = np.array([[0.0, 0.0, 1.0, 1.0]])
gaps = np.array([0.0, 0.5, 1.0, 1.5, 3.0])
moved = still + gaps[:, None] * [1, 0, 1, 0]  # (5, 4)
measured = [overlaps_by_hand(still[0], box) for box in moved]
viz.enclosing_boxes(
    np.repeat(still, 5, axis=0),
    moved,
    titles=[f"IoU {iou:.2f}\nGIoU {giou:.2f}" for iou, giou in measured],
    title="One box moves away",
    caption="Grey: the smallest box that encloses both, and in it the part that neither covers. From the third "
    "picture on the boxes do not overlap: IoU stays at 0, while GIoU keeps falling towards -1.",
)

# %% [markdown]
# The same as curves, with their slopes from the engine. The slope is all that gradient descent can follow. Look at the
# part to the right of 1, where the boxes no longer meet.

# %% tags=["slide:A/64-box-loss"]
shift = np.linspace(0, 4, 81)
moving = still + shift[:, None] * [1, 0, 1, 0]  # (81, 4)
curves = {}
for name, measure in (("IoU", box_iou), ("GIoU", generalized_box_iou)):
    place = mv.Tensor(moving, requires_grad=True)
    value = measure(place, still, pairwise=False)
    value.sum().backward()
    slope = place.grad[:, 0] + place.grad[:, 2]  # both sides move together
    curves[name] = value.data
    apart = shift > 1.01
    print(f"{name:4}: slope at gap 0.5 is {slope[10]:.3f}, at 1.5 {slope[30]:.3f}, at 3 {slope[60]:.3f}")
    assert (np.abs(slope[apart]) > 0.03).all() if name == "GIoU" else (slope[apart] == 0).all()
viz.curves(
    {name: (shift, values) for name, values in curves.items()},
    "shift, in box widths",
    "likeness",
    level={"they no longer meet: IoU is 0": 0.0},
    title="IoU becomes flat, GIoU does not",
    caption="At a shift of 1 the boxes stop overlapping. Beyond it the slope of IoU is 0, while that of GIoU still "
    "tells in which direction the target lies.",
)

# %% [markdown]
# Does this matter in practice? We move a box by gradient descent to a target that it does not overlap, with three
# losses: $1 - \mathrm{IoU}$, $1 - \mathrm{GIoU}$ and L1. Which of them will arrive?

# %%
goal = np.array([[0.70, 0.65, 0.20, 0.30]])  # normalised cxcywh


def walk(loss, steps=400, lr=0.004):
    """Gradient descent on the four numbers of one box; the IoU with the goal after each step, and the box."""
    box = mv.Tensor(np.array([[0.25, 0.30, 0.20, 0.15]]), requires_grad=True)
    likeness = []
    for step in range(steps):
        value = loss(box)
        box.grad = None
        value.backward()
        box.data = box.data - lr * (1 - step / steps) * box.grad  # smaller steps towards the end
        likeness.append(box_iou(box_cxcywh_to_xyxy(box.data), box_cxcywh_to_xyxy(goal)).item())
    return likeness, box.data


# %%
walks = {
    "1 - IoU": walk(lambda box: 1 - box_iou(box_cxcywh_to_xyxy(box), box_cxcywh_to_xyxy(goal)).sum()),
    "1 - GIoU": walk(lambda box: mv.losses.box_giou_loss(box, goal)),
    "L1": walk(lambda box: mv.losses.box_l1_loss(box, goal)),
}
for name, (likeness, box) in walks.items():
    print(f"{name:8} ends at {box[0].round(2)} with IoU {likeness[-1]:.2f}")
assert walks["1 - IoU"][0][-1] == 0 and min(walks["1 - GIoU"][0][-1], walks["L1"][0][-1]) > 0.9

# %%
viz.curves(
    {name: likeness for name, (likeness, _) in walks.items()},
    "step",
    "IoU with the goal",
    title="Gradient descent to a box that does not overlap, with three losses",
    caption="With IoU the slope is 0, so the box never moves. With GIoU and with L1 it arrives. Near the target "
    "both jitter, because their slopes do not shrink there; the smaller steps towards the end make the box settle.",
)

# %% [markdown]
# L1 arrives too, and it is simpler. Then why use both? L1 measures in fractions of the *image*. If a box is ten times
# smaller and again wrong by half its own width, L1 is ten times smaller too: mistakes on small objects would hardly
# count. GIoU does not depend on the size of the box.

# %%
for side in (0.4, 0.04):
    truth = np.array([[0.5, 0.5, side, side]])
    off = truth + [[side / 2, 0, 0, 0]]
    l1, giou = mv.losses.box_l1_loss(off, truth).item(), mv.losses.box_giou_loss(off, truth).item()
    print(f"side {side:4}: half a width off costs L1 {l1:.3f}, 1 - GIoU {giou:.3f}")
    assert np.isclose(l1, side / 2) and np.isclose(giou, 2 / 3)

# %% [markdown]
# ## The set loss, step by step
#
# Slides `H/17-hungarian-loss`, `A/65-hungarian-loss`. Now everything is there for the loss. With the matching
# $\hat\sigma$ fixed, each slot knows what it should have said: the class and box of its object, or "no object". The
# loss compares:
#
# $$\mathcal{L}(y, \hat y) = \sum_{i=1}^{N} \Big[ -\log \hat p_{\hat\sigma(i)}(c_i)
#   + \mathbb{1}_{\{c_i \ne \varnothing\}}\, \mathcal{L}_{box}(b_i, \hat b_{\hat\sigma(i)}) \Big] .$$
#
# Two details make it work. Most slots are empty, and without a correction they would drown the few that have an object;
# so the class $\varnothing$ has a weight of 0.1 in the cross-entropy (which is then a weighted mean). And the box terms
# are divided by the number of objects in the batch, so that a crowded batch does not count more.
#
# We compute the loss of one scene by hand. First come the costs of all 16 slots for all objects, and the cheapest pairs.

# %%
truth_corners = box_cxcywh_to_xyxy(scene.boxes)
likelihood = p[:, scene.labels]  # (Q, T): the probability that slot q gives to the class of object t
distance = np.abs(b[:, None] - scene.boxes[None]).sum(axis=-1)  # (Q, T)
giou = generalized_box_iou(box_cxcywh_to_xyxy(b), truth_corners)  # (Q, T)
by_hand = -likelihood + 5 * distance - 2 * giou
np.testing.assert_allclose(by_hand, cost, atol=1e-5)  # the library's matcher
slots, things = linear_sum_assignment(by_hand)
viz.cost_matrix(
    by_hand,
    (slots, things),
    x_label="object",
    y_label="slot",
    x_names=[shapes.THINGS[k] for k in scene.labels],
    title="What each slot would cost each object",
    caption="Read it column by column: a column holds the cost of each slot for one object. For some objects one "
    "slot is far cheaper than all others. For others two or three slots are close, and the assignment (framed) "
    "takes one of them. The most expensive framed pair is the small star on the circle.",
)

# %%
viz.matched_boxes(
    scene.image,
    b,
    scene.boxes,
    (slots, things),
    labels=p[:, :-1].argmax(axis=1),
    target_labels=scene.labels,
    names=shapes.THINGS,
    normalised=True,
    title="Which slot is matched with which object",
    caption="Full lines are the objects. The dashed box in the same colour is the slot matched with it. Dotted "
    "boxes belong to slots without an object; their position does not enter the loss.",
)

# %% [markdown]
# The pairs are fixed; now compare. Each slot gets the class that it should have said, and a weight. The cross-entropy is
# the weighted mean of the surprise $-\log p$ over all 16 slots. The two box terms look at the matched slots alone.

# %% tags=["slide:H/17-hungarian-loss", "slide:A/65-hungarian-loss"]
wanted = np.full(16, 6)  # every slot is asked for "no object" ...
wanted[slots] = scene.labels[things]  # ... but for those that were matched
weight = np.where(wanted == 6, 0.1, 1.0)
surprise = -np.log(p[np.arange(16), wanted])  # (Q,)
loss_ce = (weight * surprise).sum() / weight.sum()
loss_bbox = distance[slots, things].sum() / T
loss_giou = (1 - giou[slots, things]).sum() / T
total = loss_ce + 5 * loss_bbox + 2 * loss_giou
print(f"class {loss_ce:.4f} + 5 x L1 {loss_bbox:.4f} + 2 x (1 - GIoU) {loss_giou:.4f} = {total:.4f}")

# %% [markdown]
# Is that what the library computes? And is the loss really one of sets? If so, nothing may change when the slots or the
# objects are listed in another order.

# %% tags=["slide:H/17-hungarian-loss", "slide:A/65-hungarian-loss"]
criterion = mv.losses.SetCriterion(num_classes=6, no_object=0.1)
last = mv.models.detr.DETROutput(logits[one : one + 1], boxes[one : one + 1])  # the last layer only
terms = criterion(last, [target])
np.testing.assert_allclose(
    [terms[name].item() for name in ("loss_ce", "loss_bbox", "loss_giou", "loss")],
    [loss_ce, loss_bbox, loss_giou, total],
    rtol=1e-4,
)

# slots in another order, objects in another order
turn = rng.permutation(16)
mix = rng.permutation(T)
turned = mv.models.detr.DETROutput(last.logits[:, turn], last.boxes[:, turn])
mixed = {"labels": scene.labels[mix], "boxes": scene.boxes[mix]}
np.testing.assert_allclose(criterion(turned, [mixed])["loss"].item(), total, rtol=1e-4)
print("slots and objects in another order: the same loss")

# %% [markdown]
# Three things are easy to overlook:
#
# - In the matching the class counts with its *probability*, in the loss with its *logarithm*. A probability has the size
#   of the box costs; a logarithm can be much larger and would outweigh them.
# - No gradient flows through the matching itself, because it is a discrete choice. It only decides who is compared with
#   whom.
# - The loss is computed for *every* decoder layer, each with a matching of its own (*auxiliary losses*): the same class
#   head and the same box head read the states of every layer. So each layer is told directly what it did wrong.
#
# The last point shows in the names of the terms: those with a number belong to the layers before the last.

# %%
for name, value in criterion(output, [{"labels": s.labels, "boxes": s.boxes} for s in scenes]).items():
    print(f"{name:12} {value.item():.3f}")

# %% [markdown]
# ## The network
#
# Slides `H/18-detr-architecture`, `C/124-detr`, `A/54-detr-backbone`. The loss is new; the network is made of parts that
# you know. It has four of them:
#
# 1. A **backbone** (ResNet) turns the image $3 \times H_0 \times W_0$ into a smaller map, in the paper
#    $2048 \times H_0/32 \times W_0/32$. A $1 \times 1$ convolution reduces it to $D$ channels. Its cells, row by row,
#    are the **tokens**.
# 2. The **encoder** lets the tokens attend to each other. Two-dimensional sine codes tell them where they are.
# 3. The **decoder** starts from $Q$ learned **object queries**, one for each slot, and turns them into $Q$ states,
#    all in parallel.
# 4. Two **heads** read each state: a linear layer with softmax predicts the class; three layers with ReLU, and a
#    sigmoid at the end, predict the box.
#
# We go through them one after the other, with the weights of our model. The backbone first.

# %% tags=["slide:Z/53-detr-backbone", "slide:A/54-detr-backbone"]
weights = {name: value.astype(np.float32) for name, value in model.state_dict().items()}
with mv.no_grad():
    maps = [m.numpy() for m in model.backbone.features(images[:8])]
print("maps of the small backbone:", [m.shape for m in maps])
projection = weights["input_proj.weight"][:, :, 0, 0]  # (D, C): 1 x 1, so a linear layer on the channels
tokens = linear(maps[-1].reshape(8, 128, 64).swapaxes(1, 2), projection, weights["input_proj.bias"])
assert tokens.shape == (8, 64, 96)  # (B, N, D): 8 x 8 cells of 8 x 8 pixels

# %% [markdown]
# The published network is larger. Its sizes can be read off a model that is built without memory for its weights.

# %%
with mv.nn.init.skip_init():
    published = mv.models.detr.detr_r50()
channels = published.backbone.channels
assert channels == (256, 512, 1024, 2048) and published.input_proj.weight.shape == (256, 2048, 1, 1)
print("DETR-R50: channels", channels, "->", published.input_proj.weight.shape[0])

# %% [markdown]
# Pre-training of the backbone is essential (Deck Z, *We use standard ResNet*): an untrained backbone gives the
# transformer nothing useful to attend to. The paper's backbone was trained on ImageNet. Ours was first trained to
# predict the class of every pixel of the scenes. The sections on training show what that is worth.
#
# ### Where things are
#
# Slides `A/55-detr-positions`, `Z/55-detr-positions`. Attention treats its tokens as a set, so a token would not know
# where in the image it is. A *position code* is added to tell it. One half of the channels encodes the row, the other
# half the column, with sines and cosines of many wavelengths as in chapter [07](07_transformer.ipynb). Rows and columns
# are counted from 1 and scaled to $(0, 2\pi]$, so a place in the image keeps its code when the resolution changes:
#
# $$c_{p, 2i} = \sin(p / T^{2i/d}), \qquad c_{p, 2i+1} = \cos(p / T^{2i/d}), \qquad T = 10000,\; d = D/2 .$$

# %% tags=["slide:A/55-detr-positions", "slide:Z/55-detr-positions"]


def sine_codes(height, width, dim):
    """(H, W) -> (H W, D): the row's code, then the column's."""

    def axis(n):
        place = np.arange(1, n + 1) / (n + 1e-6) * 2 * math.pi  # (n,)
        angle = place[:, None] / 10000 ** (np.arange(0, dim // 2, 2) / (dim // 2))  # (n, D / 4)
        return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, dim // 2)

    rows = np.broadcast_to(axis(height)[:, None], (height, width, dim // 2))
    columns = np.broadcast_to(axis(width)[None, :], (height, width, dim // 2))
    return np.concatenate([rows, columns], axis=-1).reshape(height * width, dim).astype(np.float32)


codes = sine_codes(8, 8, 96)
library = mv.vision.sine_position_code(8, 8, 96, normalize=True).reshape(64, 96)
np.testing.assert_allclose(codes, library, atol=1e-6)

# %% [markdown]
# Do these codes say where a cell is? Compare the code of one cell with those of all others: near cells should have
# similar codes, far ones different codes.

# %% tags=["slide:A/55-detr-positions", "slide:Z/55-detr-positions"]
alike = (codes @ codes.T / np.linalg.norm(codes, axis=1) ** 2).reshape(64, 8, 8)
picked = [0, 7, 27, 60]
viz.attention_maps(
    np.clip(alike[picked] - alike.min(), 0, None),
    titles=[f"cell ({k // 8}, {k % 8})" for k in picked],
    query=[(k // 8, k % 8) for k in picked],
    columns=4,
    shared=True,
    bar_label="likeness, from the least",
    title="Similarity of the code of one cell to the codes of all cells",
    caption="Bright cells have codes similar to that of the marked cell. Similarity falls with distance along rows "
    "and along columns: these codes contain the plane of the image without any training.",
)

# %% [markdown]
# ### Fifty lines of NumPy
#
# Deck H prints a DETR of 36 lines. It is the listing of the paper: torchvision's ResNet, PyTorch's `nn.Transformer`,
# and learned position codes that are added once. The next two cells have everything in NumPy, attention included, with
# the weights of the library's model. They differ from the transformer of [07](07_transformer.ipynb) in four ways
# (Deck H, *Transformer*, differences):
#
# - Positions are added to queries and keys at *every* attention, never to values.
# - The decoder predicts in **parallel**, so it needs no causal mask.
# - Image tokens stand in place of the source words, and object queries in place of the target words.
# - There are two heads.
#
# First the parts: attention, the norm, a linear layer, the MLP. Each takes its weights by name.


# %%
def attend(query, key, value, name, allowed=None, heads=4):
    """Multi-head attention (B, Nq, D), (B, Nk, D), (B, Nk, D) -> (B, Nq, D); `allowed` is True where it may look."""

    def split(x, which):
        y = linear(x, weights[f"{name}.{which}.weight"], weights[f"{name}.{which}.bias"])
        return y.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)  # (B, h, N, D / h)

    q, k, v = split(query, "query"), split(key, "key"), split(value, "value")
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (B, h, Nq, Nk)
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf).astype(scores.dtype)
    joined = (softmax(scores) @ v).swapaxes(1, 2).reshape(query.shape)
    return linear(joined, weights[name + ".out.weight"], weights[name + ".out.bias"])


def norm(x, name):
    return layer_norm(x, x.shape[-1], weights[name + ".weight"], weights[name + ".bias"])


def dense(x, name):
    return linear(x, weights[name + ".weight"], weights[name + ".bias"])


def think(x, name):
    return dense(relu(dense(x, name + ".fc1")), name + ".fc2")


# %% [markdown]
# Now encoder and decoder. Read the decoder line by line: the states begin as zeros, the queries are added like position
# codes, first the slots confer with each other, then each of them looks at the image. After every layer both heads
# answer.


# %%
def encode(x, codes):
    """Tokens (B, N, D) -> memory (B, N, D). The small model norms before each branch, the published one after."""
    for i in range(2):
        layer = f"transformer.encoder.{i}"
        y = norm(x, layer + ".norm1")
        placed = y + codes  # places in queries and keys, not in values
        x = x + attend(placed, placed, y, layer + ".self_attn")
        x = x + think(norm(x, layer + ".norm2"), layer + ".mlp")
    return norm(x, "transformer.encoder_norm")


def decode(memory, codes, allowed=None):
    """Memory (B, N, D) -> logits (B, Q, K + 1) and boxes (B, Q, 4) after each layer."""
    queries = weights["queries"]
    answers = []
    x = np.zeros((len(memory), *queries.shape), np.float32)  # the states begin empty: queries are positions
    for i in range(3):
        layer = f"transformer.decoder.{i}"
        y = norm(x, layer + ".norm1")
        x = x + attend(y + queries, y + queries, y, layer + ".self_attn", allowed)  # the queries confer
        y = norm(x, layer + ".norm2")
        x = x + attend(y + queries, memory + codes, memory, layer + ".cross_attn")  # and look at the image
        x = x + think(norm(x, layer + ".norm3"), layer + ".mlp")
        y = norm(x, "transformer.decoder_norm")
        hidden_box = relu(dense(relu(dense(y, "box_head.0")), "box_head.2"))
        answers.append((dense(y, "class_head"), sigmoid(dense(hidden_box, "box_head.4"))))
    return answers


# %% [markdown]
# Do fifty lines give the answers of the library? We compare after every layer.

# %% tags=["slide:H/18-detr-architecture", "slide:C/124-detr", "slide:A/56-object-queries", "slide:A/57-detr-branches", "slide:Z/63-decoder-layer", "slide:H/20-detr-against-original-transformer"]
memory = encode(tokens, codes)
answers = decode(memory, codes)
assert memory.shape == (8, 64, 96) and weights["queries"].shape == (16, 96)  # (Q, D)
for (my_logits, my_boxes), layer in zip(answers, [*output.auxiliary, output], strict=True):
    np.testing.assert_allclose(my_logits, layer.logits.numpy()[:8], atol=2e-4)
    np.testing.assert_allclose(my_boxes, layer.boxes.numpy()[:8], atol=1e-4)
assert np.allclose(softmax(my_logits).sum(axis=-1), 1) and my_boxes.min() >= 0 and my_boxes.max() <= 1

# %% [markdown]
# Two properties follow from *parallel*. No mask hides later slots from earlier ones. And if the queries come in another
# order, the same answers come in that order.

# %% tags=["slide:H/18-detr-architecture", "slide:C/124-detr", "slide:A/56-object-queries", "slide:A/57-detr-branches", "slide:Z/63-decoder-layer", "slide:H/20-detr-against-original-transformer"]
conferred = seen["transformer.decoder.0.self_attn.weights"][:8]  # (B, h, Q, Q): who conferred with whom
future = np.triu(np.ones((16, 16), bool), 1)
assert conferred[..., future].mean() > 0.01  # no mask: early queries look at later ones

order = rng.permutation(16)  # queries in another order: the same answers in that order, all in one pass
kept = weights["queries"]
weights["queries"] = weights["queries"][order]
np.testing.assert_allclose(decode(memory, codes)[-1][1], my_boxes[:, order], atol=1e-4)
weights["queries"] = kept
print("NumPy and the library agree, layer by layer")

# %% [markdown]
# ### How many parameters
#
# How large is a DETR? The table of Deck H (*vs Faster R-CNN*) says 41M for DETR with ResNet-50 and 60M with ResNet-101.
# We count, on models built without memory for their weights. Two counts are right: that of all parameters, and that of
# the trained ones. (The stem and the first stage of the backbone keep their ImageNet weights. The norms of the backbone
# are frozen and do not count as parameters at all.)

# %%
for name, build, exact, trained, printed in (
    ("DETR-R50", mv.models.detr.detr_r50, 41_524_768, 41_302_368, "41M"),
    ("DETR-R101", mv.models.detr.detr_r101, 60_464_672, 60_242_272, "60M"),
):
    with mv.nn.init.skip_init():
        counted = build()
    sizes = {key: q.size for key, q in counted.named_parameters()}
    still = sum(n for key, n in sizes.items() if key.startswith(("backbone.stem", "backbone.stages.0.")))
    everything = sum(sizes.values())
    print(
        f"{name:9}: {everything:,} parameters, {everything - still:,} of them trained; the deck prints {printed}"
    )
    assert (everything, everything - still) == (exact, trained)
small = sum(q.size for q in model.parameters())
print(f"ours     : {small:,}, of which the queries are {weights['queries'].size:,}")

# %% [markdown]
# ## Layer by layer, and no suppression
#
# Slides `Z/65-no-nms-needed`, `Z/60-detr-decoder`. DETR needs no NMS, says the paper. Is that true for every layer? Each
# decoder layer refines all predictions at once. The first layer has a handicap: its queries have exchanged almost
# nothing yet, because their states were empty. So two of them may claim the same object, and there NMS should still help.
#
# To measure this we need a number for a whole set of answers: **average precision** (AP). All answers of one class are
# sorted by their probability. Going down the list, an answer is a hit when its IoU with an object of that class is above
# a limit and no answer before it has hit that object. AP is the precision, averaged over all levels of recall. AP50
# uses the limit 0.50; AP is the mean over the limits 0.50, 0.55, ..., 0.95, as on COCO. (Chapter
# [14](14_detection.ipynb) computes it by hand.)

# %% tags=["slide:Z/65-no-nms-needed", "slide:Z/60-detr-decoder"]
truth = [{"labels": s.labels, "boxes": s.boxes} for s in scenes]


def precision(answers, suppress=None):
    """AP and AP50 of (logits, boxes) of the first scenes, after NMS at an IoU of `suppress` if that is given."""
    found = [detr_detections(*image) for image in zip(*answers, strict=True)]
    if suppress:
        for f in found:
            kept = batched_nms(box_cxcywh_to_xyxy(f["boxes"]), f["scores"], f["labels"], suppress)
            f.update({name: values[kept] for name, values in f.items()})
    numbers = mv.metrics.average_precision(found, truth[: len(found)], sizes=[(64, 64)] * len(found))
    return numbers["AP"], numbers["AP50"]


# %% [markdown]
# Now AP after each layer: as it answers, and with NMS at two levels of overlap.

# %% tags=["slide:Z/65-no-nms-needed", "slide:Z/60-detr-decoder"]
layers = [(layer.logits.numpy(), layer.boxes.numpy()) for layer in [*output.auxiliary, output]]
plain = [precision(answers) for answers in layers]
suppressed = {limit: [precision(answers, suppress=limit) for answers in layers] for limit in (0.7, 0.5)}
gains = {limit: np.array(numbers) - np.array(plain) for limit, numbers in suppressed.items()}  # (layers, 2)
for i, (ap, ap50) in enumerate(plain):
    print(f"layer {i + 1}: AP {ap:.3f}, AP50 {ap50:.3f}", end="")
    print(*(f"; NMS at {limit}: {gain[i, 0]:+.4f}, {gain[i, 1]:+.4f}" for limit, gain in gains.items()))
assert plain[0][0] < plain[1][0] < plain[2][0]  # refined at each layer
assert all(gain[0, 0] > max(0, gain[2, 0]) for gain in gains.values())  # NMS helps after the first layer,
assert max(gain[2, 0] for gain in gains.values()) < 0.002  # and after the last it is not needed

# %% tags=["slide:Z/65-no-nms-needed", "slide:Z/60-detr-decoder"]
lines = {"as it answers": plain, **{f"NMS at {limit}": numbers for limit, numbers in suppressed.items()}}
viz.curves(
    {name: ([1, 2, 3], [ap for ap, _ in numbers]) for name, numbers in lines.items()},
    "decoder layer",
    "AP on 200 held-out scenes",
    title="AP after each decoder layer, without and with NMS",
    caption="Compare the lines at each layer, and note where the vertical axis begins. After the first layer NMS "
    "improves AP a little; after the last it no longer does.",
)

# %% [markdown]
# As in the paper, NMS helps after the first layer and not after the last, where it costs a little AP. (AP50, which
# accepts boxes that fit badly, still gains a little.)
#
# Why does the network need no suppression? The likely reason is the decoder's self-attention: the queries exchange
# information, so a slot can learn that another slot already has the object. If this is the reason, duplicates must come
# back when the exchange is forbidden. We can forbid it: in our fifty lines each query may attend only to itself, and
# nothing else changes.

# %% tags=["slide:H/19-why-attention-for-detection"]
with mv.no_grad():
    maps = model.backbone.features(images)[-1].numpy()
tokens = linear(maps.reshape(len(maps), 128, 64).swapaxes(1, 2), projection, weights["input_proj.bias"])
memory = encode(tokens, codes)
alone = np.eye(16, dtype=bool)  # True = may be attended: itself
deaf = decode(memory, codes, allowed=alone)[-1]

# %% [markdown]
# A *duplicate* is a sure answer that overlaps a surer one of the same class by more than half. We count them with and
# without the exchange.


# %%
def answers_for_taken(answers):
    """Sure answers that overlap a surer one of the same class by more than half, as a share of all sure ones."""
    sure, extra = 0, 0
    for image in zip(*answers, strict=True):
        f = detr_detections(*image, threshold=0.5)
        kept = batched_nms(box_cxcywh_to_xyxy(f["boxes"]), f["scores"], f["labels"], 0.5)
        sure = sure + len(f["scores"])
        extra = extra + len(f["scores"]) - len(kept)
    return extra / sure


# %% tags=["slide:H/19-why-attention-for-detection"]
found = {}
for name, answers in (("queries confer", layers[-1]), ("each for itself", deaf)):
    found[name] = (precision(answers)[0], precision(answers, suppress=0.7)[0], answers_for_taken(answers))
    print(
        "{:15}: AP {:.3f}, with NMS {:.3f}; duplicates {:.1%} of the sure answers".format(name, *found[name])
    )
(ap, _, taken), (deaf_ap, helped, deaf_taken) = found.values()
assert deaf_ap < helped < ap and deaf_taken > taken

# %% [markdown]
# Our small model leaves some duplicates in any case. When the queries cannot exchange information there are more of
# them, AP falls, and NMS helps again.
#
# Attention among tokens has a second use: **context** (Deck H, *Transformer*, strengths). A cell can read the other
# objects, and the far end of its own object, in one layer. How far does the encoder look?

# %%
encoder_attention = [seen[f"transformer.encoder.{i}.self_attn.weights"] for i in range(2)]  # (B, h, N, N)
distance_of = mv.vision.attention_distance
reach = [distance_of(a, 8, seen["grid"].tolist()).mean(axis=0) for a in encoder_attention]  # by head
print("mean distance of the encoder's attention by layer and head, pixels:", *(np.round(r) for r in reach))
assert max(r.max() for r in reach) > 12  # beyond the neighbouring cell: context, in one layer

# %% [markdown]
# About 20 to 34 pixels on average: a third to a half of the image.
#
# ## Queries specialise
#
# Slide `A/66-queries-specialise`. The queries are learned vectors, the same for every image. What did they learn? The
# figure has one square for each query, and in it one point for each box that it predicted, over all scenes, whether the
# query was sure or not. Nothing in the training told the queries to divide the image among themselves. Did they?

# %% tags=["slide:A/66-queries-specialise"]
sure = probabilities[..., :-1].max(axis=-1) > 0.5  # (B, Q)
viz.boxes_of_queries(
    boxes,
    counts=sure.sum(axis=0),
    title="Where each query predicts its boxes",
    caption="Each square is the image and belongs to one query; each point is the centre of a predicted box, and its "
    "colour the kind of the box. The number above says how many objects the query found in 200 scenes. Each query "
    "keeps to a region of its own.",
)

# %% [markdown]
# In numbers: which share of the variance of all boxes is explained by the number of the query alone? (0: none of it,
# 1: all of it.)

# %%
centres = boxes[..., :2]
sides = boxes[..., 2:]
for name, values in (("centres", centres), ("sides", sides)):
    within = values.var(axis=0).sum(axis=-1).mean()
    overall = values.reshape(-1, 2).var(axis=0).sum()
    print(f"{name}: {1 - within / overall:.0%} of the variance is explained by the query")
print(
    f"queries that are never sure of anything in 200 scenes: {np.flatnonzero(sure.sum(axis=0) == 0).tolist()}"
)
explained = 1 - centres.var(axis=0).sum(axis=-1).mean() / centres.reshape(-1, 2).var(axis=0).sum()
assert explained > 0.5

# %% [markdown]
# The queries specialise strongly in areas and much less in sizes. In the paper, 100 queries divide objects of all
# sizes among themselves.
#
# ## What the encoder looks at
#
# Slides `Z/57-detr-encoder`, `H/21-what-encoder-and-decoder-look-at`, `A/67-encoder-separates-instances`. Take a cell
# on an object: which cells does it attend to? In the paper, to those of the same object: the encoder already
# separates instances.
#
# One picture proves little, so we measure first, over all scenes. For each cell that lies on exactly one object: how
# densely does it attend to that object, to the other objects and to the ground? A density of 1 is that of attention
# spread evenly over the image. As a baseline we take what the same cell attends to on average over all scenes; this
# depends on the *place* of the cell but not on the *scene*.


# %% tags=["slide:Z/57-detr-encoder", "slide:H/21-what-encoder-and-decoder-look-at"]
def coverage(scene):
    """How much of each cell each object covers: (n, N)."""
    return scene.masks.reshape(-1, 8, 8, 8, 8).mean(axis=(2, 4)).reshape(-1, 64)


def density(weights, region):
    """Mean attention (..., N) on a region (N,) of cells or shares of cells; 1 is an even spread over the image."""
    return weights @ region / region.mean()


# %% [markdown]
# Now for both layers, with the baseline beside it. Compare *own object* with *other objects*, and *measured* with *place
# only*.

# %% tags=["slide:Z/57-detr-encoder", "slide:H/21-what-encoder-and-decoder-look-at"]
by_head = []
for i, attention in enumerate(encoder_attention, start=1):  # (B, h, N, N)
    # (h, N, N): what the place alone makes a cell look at
    average = attention.mean(axis=0)
    rows = []
    for s, weights_of in zip(scenes, attention, strict=True):
        cover = coverage(s)
        covered = cover.sum(axis=0)
        for own in cover:
            k = own.argmax()
            if own[k] > 0.9 and len(cover) > 1:  # the cell lies on one object, to nine tenths
                regions = (own, covered - own, 1 - covered)
                rows.append([[density(a[:, k], region) for region in regions] for a in (weights_of, average)])
    by_head.append(np.mean(rows, axis=0))  # (2, 3, h)
    for name, numbers in zip(("measured", "place only"), by_head[-1].mean(axis=-1), strict=True):
        own, other, ground = numbers
        print(f"layer {i}, {name:10}: own object {own:.2f}, other objects {other:.2f}, ground {ground:.2f}")
    (own, other, _), (expected, _, _) = by_head[-1].mean(axis=-1)
    assert own > 2 * other and own > expected

# %% [markdown]
# The encoder does begin to separate instances: a cell attends to its own object several times as densely as to the
# others, and more densely than its place alone would explain. The figure shows the head that does this most.

# %% tags=["slide:A/67-encoder-separates-instances"]
own = np.array([measured[0, 0] for measured in by_head])  # (layers, h)
layer, head = np.unravel_index(own.argmax(), own.shape)
print(f"density on the own object by layer and head: {own.round(1).tolist()}")
looks = encoder_attention[layer][one, head]  # (N, N)
cover = coverage(scene)
points = cover.argmax(axis=1)  # the fullest cell of each object
viz.attention_maps(
    looks[points].reshape(-1, 8, 8),
    image=scene.image,
    titles=[f"from {i + 1}, a {shapes.THINGS[k]}" for i, k in enumerate(scene.labels)],
    query=[(k // 8, k % 8) for k in points],
    columns=3,
    title=f"Encoder layer {layer + 1}, head {head + 1}, asked at one cell of each object",
    caption="Bright cells are those that the marked cell attends to: mostly cells of its own object. Object 5 is "
    "an exception: it is small, lies on another object, and attends to that one.",
)

# %% [markdown]
# Other heads attend elsewhere. One head of the last layer attends to the same cell whatever the scene is. Its weights
# must sum to 1, so a head that needs nothing still has to put its weight somewhere.

# %%
received = encoder_attention[-1].mean(axis=(0, 2))  # (h, N): how much each cell is read, on average
head, cell = np.unravel_index(received.argmax(), received.shape)
print(
    f"head {head + 1} spends {received[head, cell]:.0%} on cell ({cell // 8}, {cell % 8}); an even share is {1 / 64:.1%}"
)
assert received[head, cell] > 4 / 64

# %% [markdown]
# ## What the decoder looks at
#
# Slide `Z/66-decoder-attention-weights`. The decoder reads the memory: for each query, which cells? The
# figure shows the attention of each sure query in the colour of its box, in a scene in which objects overlap.

# %% tags=["slide:Z/66-decoder-attention-weights"]
cross_attention = [seen[f"transformer.decoder.{i}.cross_attn.weights"] for i in range(3)]  # (B, h, Q, N)
cross = cross_attention[-1].mean(axis=1)  # (B, Q, N), all heads of the last layer
crowded = 135
found = np.flatnonzero(sure[crowded])
viz.attention_by_object(
    cross[crowded, found].reshape(-1, 8, 8),
    images[crowded],
    boxes[crowded, found],
    labels=probabilities[crowded, found, :-1].argmax(axis=-1),
    names=shapes.THINGS,
    normalised=True,
    title="Decoder attention of each sure query",
    caption="Each query's attention is drawn in the colour of its box; a cell is 8 x 8 pixels. Each query attends "
    "mostly to its own object, also where objects overlap.",
)

# %% [markdown]
# Again one picture, so again a measurement. For every two objects whose boxes overlap: how densely does the query of
# the one attend to its own object, and how densely to the other?

# %%
pairs = []  # of objects whose boxes overlap: density on the own object, and on the other one
for i, s in enumerate(scenes):
    aim = {"labels": s.labels, "boxes": s.boxes}
    costs = matcher.costs(output.logits[i : i + 1], output.boxes[i : i + 1], [aim])[0]  # (T, Q)
    slots_of = linear_sum_assignment(costs)[1]  # the slot of each object
    corners = box_cxcywh_to_xyxy(s.boxes)
    cover = coverage(s)
    for t, other in zip(*np.nonzero(box_iou(corners, corners) > 0.1), strict=True):
        if t != other:
            pairs.append([density(cross[i, slots_of[t]], cover[k]) for k in (t, other)])
pairs = np.array(pairs)
own, other = pairs.mean(axis=0)
better = (pairs[:, 0] > pairs[:, 1]).mean()
print(f"{len(pairs)} objects that overlap another: density {own:.1f} on the own, {other:.1f} on the other;")
print(f"the own one is read more densely in {better:.0%} of the cases")
assert better > 0.75

# %% [markdown]
# ### At the extremities?
#
# Slides `Z/64-attention-at-extremities`, `H/21-what-encoder-and-decoder-look-at`. In the paper's pictures the decoder
# attends to heads, feet and edges, which decide where a box ends. Does ours? For every sure box of at least 20 x 20
# pixels we measure how densely its query attends to four regions: the inside, the inner and the outer rim of the
# border (4 pixels each), and the rest. The baseline is again the query's own average over all scenes, which knows the
# place but not the content.

# %% tags=["slide:Z/64-attention-at-extremities", "slide:H/21-what-encoder-and-decoder-look-at"]
zones = ("deep inside", "inner rim", "outer rim", "elsewhere")
y, x = np.mgrid[:64, :64] + 0.5
corners = box_cxcywh_to_xyxy(boxes) * 64
large = sure & (corners[..., 2:] - corners[..., :2] >= 20).all(axis=-1)  # (B, Q)


def zones_of(x0, y0, x1, y1):
    """How much of each cell lies in each of the four zones of a box: (4, N)."""
    depth = np.minimum(np.minimum(x - x0, x1 - x), np.minimum(y - y0, y1 - y))  # pixels from the border
    regions = [depth > 4, (depth > 0) & (depth <= 4), (depth <= 0) & (depth > -4), depth <= -4]
    return np.stack([r.reshape(8, 8, 8, 8).mean(axis=(1, 3)).reshape(64) for r in regions])


# %% [markdown]
# So much for the regions. Now the attention of every layer on them, measured and "place only".

# %% tags=["slide:Z/64-attention-at-extremities", "slide:H/21-what-encoder-and-decoder-look-at"]
table = {}
for i, attention in enumerate(cross_attention, start=1):  # (B, h, Q, N)
    average = attention.mean(axis=0)
    rows = []
    for image, q in zip(*np.nonzero(large), strict=True):
        regions = zones_of(*corners[image, q])
        rows.append([[density(a[:, q], r) for r in regions] for a in (attention[image], average)])
    measured, baseline = np.mean(rows, axis=0)  # (4, h) each
    table[f"layer {i}"], table[f"layer {i}, place only"] = measured.mean(axis=1), baseline.mean(axis=1)
    most = measured.argmax(axis=0)
    print(f"layer {i}: each head reads most densely: {', '.join(zones[z] for z in most)}")

# %% tags=["slide:Z/64-attention-at-extremities", "slide:H/21-what-encoder-and-decoder-look-at"]
print(f"{large.sum()} boxes")
viz.heatmap(
    np.array(list(table.values())),
    "seen from the border of the box",
    "",
    x_names=zones,
    y_names=list(table),
    bar_label="density",
    title="Density of decoder attention",
    caption="Columns go from the inside of the box outwards. A density of 1 would be attention spread evenly. It "
    'is highest deep inside the box, and higher there than the baseline of the same query ("place only").',
)

# %%
inside, rim = table["layer 3"][0], table["layer 3"][1]
print(
    f"last layer: deep inside {inside:.1f}, inner rim {rim:.1f}; place only {table['layer 3, place only'][0]:.1f} and "
    f"{table['layer 3, place only'][1]:.1f}"
)
assert inside > rim > table["layer 3"][2] > table["layer 3"][3]

# %% [markdown]
# **Not at the extremities.** Our decoder attends to the middle of its object, more than the place alone explains, and
# less towards the border. This is the opposite of the slides' pictures. A likely reason is the scale. Our tokens are
# 8 x 8 pixels, and the largest object is about five of them across. Through the backbone and two encoder layers, a
# cell in the middle already has information from the border. In the paper an object may be 20 tokens across, and the
# decoder has to look for the border. What was found for one trained network need not hold for another: measure yours.
#
# ## Masks: the panoptic head
#
# Slides `H/24-detr-panoptic-head`, `A/68-detr-panoptic`. In **panoptic** segmentation every pixel gets a class, and
# every countable object gets its own mask. The grounds (stuff) are predicted as if they were objects. A mask head on
# top of the decoder starts from each query's attention map over the image. A small convolutional network makes a mask
# of it, step by step, with the finer maps of the backbone. The figure shows the masks of the sure queries.

# %% tags=["slide:H/24-detr-panoptic-head"]
painter = mv.load("detr-panoptic-shapes")
with mv.no_grad():
    painted = painter(images[:100])
mask_logits, class_logits = painted.masks.numpy(), painted.logits.numpy()  # (100, Q, 16, 16), (100, Q, 10)
assert mask_logits.shape[2:] == (16, 16) and class_logits.shape[2] == len(shapes.CLASSES) + 1
chances = softmax(class_logits[one])
sure_ones = np.flatnonzero((chances.argmax(axis=-1) < len(shapes.CLASSES)) & (chances.max(axis=-1) > 0.5))
viz.images(
    [scene.image, *sigmoid(mask_logits[one, sure_ones])],
    titles=["the scene", *(shapes.CLASSES[chances[q, :-1].argmax()] for q in sure_ones)],
    columns=6,
    size=1.4,
    vmin=0,
    vmax=1,
    title="One mask for each sure query",
    caption="Each picture is the mask of one query, at a quarter of the resolution of the image, for things and "
    "grounds alike. Masks may overlap, since no query knows the masks of the others.",
)

# %% [markdown]
# The merge is one line: every pixel goes to the query with the largest mask value there. So no two segments overlap,
# and every pixel belongs to one.

# %% tags=["slide:A/68-detr-panoptic"]
wishes = mv.ops.interpolate(mask_logits[one : one + 1, sure_ones], size=(64, 64), mode="bilinear")[0]
winner = wishes.argmax(axis=0)  # (64, 64): which query gets the pixel
by_hand = chances[sure_ones, :-1].argmax(axis=-1)[winner]  # its class

is_thing = np.array([name in shapes.THINGS for name in shapes.CLASSES])
ids, segments = mv.vision.detr_panoptic(
    class_logits[one], mask_logits[one], is_thing, size=(64, 64), threshold=0.5
)
of_segment = np.array([-1] + [s["category_id"] for s in segments])
agree = (of_segment[ids] == by_hand).mean()
print(f"by hand and by the library: the same class at {agree:.1%} of the pixels")
print(f"right class at {(of_segment[ids] == scene.semantic).mean():.1%} of the pixels")
assert agree > 0.9  # the library also removes segments of a few pixels and joins pieces of one ground
viz.panoptic_on_image(
    scene.image,
    ids,
    segments,
    names=shapes.CLASSES,
    title="The panoptic result",
    caption="Every pixel has the colour of the query with the largest mask value there.",
)

# %% [markdown]
# The quality of the result is measured by the **panoptic quality** PQ. It is the mean IoU of the segments that were
# found (SQ), times a factor that falls with every segment that was missed or invented (RQ). Chapter
# [19](19_mask2former.ipynb) computes it by hand.

# %%
quality = mv.metrics.PanopticQuality(is_thing)
quality.update(
    [
        mv.vision.detr_panoptic(c, m, is_thing, size=(64, 64), threshold=0.5)
        for c, m in zip(class_logits, mask_logits, strict=True)
    ],
    [(s.panoptic, s.segments) for s in scenes[:100]],
)
numbers = quality.compute()
print({name: round(float(value), 3) for name, value in numbers.items()})
assert numbers["PQ"] > 0.4

# %% [markdown]
# ## Training it: the first steps look like nothing is learnt
#
# So far we looked at a trained model. What does its training look like? Take a new transformer on top of the trained
# backbone, and train it for a few steps on new scenes.

# %%
from minivis.recipes.detr_shapes import small_detr

young = small_detr(mv.load("detr-shapes").backbone, len(shapes.THINGS), np.random.default_rng(0))
young.train()
fresh = shapes.Scenes(80, "train", sample=lambda s: (s.image, {"labels": s.labels, "boxes": s.boxes}))
loader = mv.data.DataLoader(fresh, 8, collate=shapes.collate)
optimizer = mv.optim.AdamW(mv.optim.decay_groups(young, 1e-4), lr=5e-4)
criterion = mv.losses.SetCriterion(len(shapes.THINGS), no_object=0.2)  # as its recipe: 16 slots, not 100
losses = []
for _ in range(2):
    for batch, targets in loader:
        loss = criterion(young(batch), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

# %% [markdown]
# The loss has fallen. What does the network say now? Besides AP we look at how far the 16 predicted centres of one image
# lie apart.

# %%
young.eval()
with mv.no_grad():
    said = young(images[:100])
early = precision((said.logits.numpy(), said.boxes.numpy()))
apart = said.boxes.numpy()[..., :2].std(axis=1).mean()  # of the queries' centres, in one image
print(
    f"loss {losses[0]:.1f} -> {losses[-1]:.1f} in {len(losses)} steps; AP {early[0]:.3f}, AP50 {early[1]:.3f}"
)
print(
    f"the 16 centres in one image scatter by {apart:.3f}; those of the trained model by {centres[:100].std(axis=1).mean():.3f}"
)
assert early[0] < 0.05 and apart < centres[:100].std(axis=1).mean() / 2

# %% [markdown]
# The loss falls, and yet the network is useless: all queries predict about the same box, the mean one. As long as the
# queries do not differ, they can do no better. And while they are all alike, the matching changes from step to step: in
# one step slot 3 gets the star, in the next slot 9. Only when the queries begin to differ does each of them get the
# same kind of object again and again. This phase looks like a failure, and it is easy to give up here.
#
# The figure shows the whole run that made the model of this chapter; its history is kept in the model's card.

# %%
history = storage.read_json(storage.PACKAGED / "detr-shapes" / "card.json")["history"]
viz.training_curves(
    {"step": history["step"], "loss": history["loss"], "validation AP50": history["validation AP50"]},
    title="Half an hour of training: minivis train detr-shapes --seed 0",
    caption="Above: the training loss. Below: AP50 on 100 validation scenes. After 200 steps AP50 is 0.004. Then it "
    "rises quickly, and in the second half slowly.",
)

# %% [markdown]
# This run already had a backbone that was trained to predict the class of each pixel (1,500 steps, the same kind of
# scenes). Why was that needed? The matching can only reward differences between tokens. With random features all
# tokens are alike, so the queries stay alike and the flat phase lasts. In trials with a slightly smaller model, a run
# without pre-training had reached AP50 0.31 after 4,000 steps. A run that spent the first 1,500 of its 4,000 steps on
# classifying pixels reached 0.85. The paper pre-trains on ImageNet instead.
#
# Training it again is one call: first the backbone, then DETR, about half an hour on two cores. It can be interrupted
# and resumed.

# %%
RETRAIN = False  # True: trains it again, into runs/detr-shapes; mv.load("runs/detr-shapes") then loads yours
if RETRAIN:
    recipes.run("detr-shapes", out="runs/detr-shapes", seed=0, resume=True)

# %% [markdown]
# ## Build it yourself
#
# The fifty lines above only run forward, on weights that somebody else trained. Now you write a DETR that can learn:
# the model as a class, and the loss that trains it. You need five steps. Each step is one short cell with the code, and
# one cell that checks it.
#
# **How to use this section.** You can read the code and run it. You learn more if you delete the body of a function,
# write your own lines, and run the check below: it says what holds, and gives a hint where something does not. All
# names of layers are the library's, so that its weights fit your class at the end.
#
# The parts that you may use: `nn.Linear`, `nn.LayerNorm`, `nn.MLP` (linear, activation, linear) and
# `nn.MultiHeadAttention`, called with `(query, key, value)`. You wrote each of them in earlier chapters.
#
# ### Step 1: from a map to tokens
#
# The backbone gives a map $(B, D, H, W)$. A transformer wants a list of vectors. So each cell of the map becomes one
# token of $D$ numbers, and the cells are taken row by row. The codes of the places are already there: `sine_codes`
# above gives one code for each cell, in the same order.


# %%
def tokens_of(source):
    """The cells of a map (B, D, H, W), row by row: (B, H W, D)."""
    B, D, H, W = source.shape
    return source.reshape(B, D, H * W).transpose(0, 2, 1)


# %%
counted = np.arange(24.0, dtype=np.float32).reshape(1, 2, 3, 4)  # two channels, 3 x 4 cells
assert claims(
    "tokens",
    (
        "one token for each cell",
        lambda: tokens_of(mv.Tensor(counted)).shape,
        (1, 12, 2),
        "There are H W tokens, and the last axis is D.",
    ),
    (
        "token 5 is the cell in row 1, column 1",
        lambda: tokens_of(mv.Tensor(counted)).numpy()[0, 5],
        counted[0, :, 1, 1],
        "First join the two last axes, then move D to the end. A reshape alone would mix channels and cells.",
    ),
).passed

# %% [markdown]
# ### Step 2: a layer of the encoder
#
# The layer has two branches: attention among the tokens, and an MLP for each token alone. Each branch is *added* to
# what came in, so that the layer only has to learn a correction. The norm stands before each branch, because a small
# model then needs no long warm-up.
#
# One detail makes this DETR's layer and not that of chapter 08: the codes of the places are added to queries and keys,
# **never to values**. The codes decide who reads whom. What is read is the content alone, without codes mixed in.


# %%
class TinyEncoderLayer(nn.Module):
    """Tokens (B, N, D) with codes of their places (N, D) -> tokens (B, N, D)."""

    def __init__(self, width, heads, rng):
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiHeadAttention(width, heads, rng=rng)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.MLP(width, 4 * width, activation="relu", rng=rng)

    def forward(self, x, codes):
        y = self.norm1(x)
        x = x + self.self_attn(y + codes, y + codes, y)
        return x + self.mlp(self.norm2(x))


# %% [markdown]
# How can a check know that you put the codes in the right place, without your code in front of it? It uses what must
# follow. If all scores are equal, every token reads the mean of all values. Then codes in queries and keys can change
# nothing, and codes in values would. (Scores are equal if the weights that make the queries are 0.)

# %%
some_tokens = rng.standard_normal((2, 12, 16)).astype(np.float32)
some_codes = sine_codes(3, 4, 16)
turn = rng.permutation(12)


def encoded(x, codes, blind=False):
    """What a new layer makes of tokens; a blind one gives all scores the value 0."""
    layer = TinyEncoderLayer(16, 4, np.random.default_rng(0))
    if blind:
        layer.self_attn.query.weight.data = 0 * layer.self_attn.query.weight.data
    return layer(mv.Tensor(x), codes).numpy()


# %%
assert claims(
    "a layer of the encoder",
    ("the shape stays", lambda: encoded(some_tokens, some_codes).shape, (2, 12, 16), "(B, N, D) in and out."),
    (
        "tokens in another order, with their codes: the same tokens in that order",
        lambda: encoded(some_tokens[:, turn], some_codes[turn]),
        lambda: encoded(some_tokens, some_codes)[:, turn],
        "Attention knows no order. Only the codes may tell where a token is.",
    ),
    (
        "the codes make a difference",
        lambda: abs(encoded(some_tokens, some_codes) - encoded(some_tokens, 0 * some_codes)).max() > 0.01,
        True,
        "Add the codes to the queries and to the keys.",
    ),
    (
        "but not if all scores are equal",
        lambda: encoded(some_tokens, some_codes, blind=True),
        lambda: encoded(some_tokens, 0 * some_codes, blind=True),
        "The third argument of the attention are the values: they get no codes.",
    ),
).passed

# %% [markdown]
# ### Step 3: a layer of the decoder
#
# Here the tokens are the states of the $Q$ slots. There are three branches. First the slots attend to each other, so
# that two of them need not answer for the same object. Then each slot attends to the image: the queries are the slots,
# keys and values are the memory of the encoder. Then an MLP thinks about what was read.
#
# The learned vectors `queries` play the part of the codes: they are added to queries and keys in the first attention,
# and to the queries in the second. The codes of the image are added to the keys of the second.


# %%
class TinyDecoderLayer(nn.Module):
    """States of the slots (B, Q, D), read from the memory (B, N, D) of the encoder -> states (B, Q, D)."""

    def __init__(self, width, heads, rng):
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiHeadAttention(width, heads, rng=rng)
        self.norm2 = nn.LayerNorm(width)
        self.cross_attn = nn.MultiHeadAttention(width, heads, rng=rng)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.MLP(width, 4 * width, activation="relu", rng=rng)

    def forward(self, x, queries, memory, codes):
        y = self.norm1(x)
        x = x + self.self_attn(y + queries, y + queries, y)
        y = self.norm2(x)
        x = x + self.cross_attn(y + queries, memory + codes, memory)
        return x + self.mlp(self.norm3(x))


# %% [markdown]
# To see whether the queries and the codes stand where they belong, the check switches attention off in two ways. A
# *silent* attention adds nothing, because its last layer is 0; then the learned queries can only work through the other
# one. A *blind* attention gives all scores the value 0, as in step 2.

# %%
some_states = rng.standard_normal((2, 5, 16)).astype(np.float32)
some_queries = rng.standard_normal((5, 16)).astype(np.float32)
swap = rng.permutation(5)


def decoded(x, queries, memory, codes, silent=None, blind=None):
    """What a new layer makes of states of the slots; `silent` and `blind` name one of its attentions."""
    layer = TinyDecoderLayer(16, 4, np.random.default_rng(0))
    for name, part in ((silent, "out"), (blind, "query")):
        if name:
            weight = getattr(getattr(layer, name), part).weight
            weight.data = 0 * weight.data
    return layer(mv.Tensor(x), queries, memory, codes).numpy()


def worth_of_queries(silent):
    """How much the states change without learned queries, when one attention is silent."""
    without = decoded(some_states, 0 * some_queries, some_tokens, some_codes, silent=silent)
    return abs(decoded(*case, silent=silent) - without).max()


# %%
case = (some_states, some_queries, some_tokens, some_codes)
assert claims(
    "a layer of the decoder",
    ("one state for each slot", lambda: decoded(*case).shape, (2, 5, 16), "It is the slots that ask."),
    ("slots in another order: the same states in that order",
     lambda: decoded(some_states[:, swap], some_queries[swap], some_tokens, some_codes),
     lambda: decoded(*case)[:, swap], "All slots are answered at once: no slot may depend on its place in the list."),
    ("the order of the image's tokens does not matter, if their codes come along",
     lambda: decoded(some_states, some_queries, some_tokens[:, turn], some_codes[turn]), lambda: decoded(*case),
     "Keys are memory + codes, values are memory alone."),
    ("it reads the image", lambda: abs(decoded(*case[:2], 0 * some_tokens, some_codes) - decoded(*case)).max() > 0.01,
     True, "The second attention takes keys and values from the memory."),
    ("the learned queries matter for the first attention", lambda: worth_of_queries(silent="cross_attn") > 0.01,
     True, "Add them to queries and keys of the attention among the slots."),
    ("and for the second", lambda: worth_of_queries(silent="self_attn") > 0.01,
     True, "Add them to the queries that read the image, too."),
    ("the codes change nothing where all scores are equal", lambda: decoded(*case, blind="cross_attn"),
     lambda: decoded(*case[:3], 0 * some_codes, blind="cross_attn"),
     "Codes belong to the keys. The values are the memory alone."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 4: the whole model
#
# Now put it together. `detect` begins at the map of the backbone, so that a map which was computed once can be used
# again and again; this will save most of the time of the training. After *each* decoder layer the same two heads
# answer, because the loss wants the answers of every layer. The states begin as zeros: at the start a slot is nothing
# but its query.


# %%
class TinyDETR(nn.Module):
    """Images (B, 3, H, W) to one class and one box for each of Q slots."""

    def __init__(self, backbone, num_classes, queries, width=96, heads=4, depths=(1, 2), rng=0):
        rng = np.random.default_rng(rng)
        self.backbone = backbone
        self.input_proj = nn.Conv2d(backbone.channels[-1], width, 1, rng=rng)
        self.encoder = [TinyEncoderLayer(width, heads, rng) for _ in range(depths[0])]
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = [TinyDecoderLayer(width, heads, rng) for _ in range(depths[1])]
        self.decoder_norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(rng.standard_normal((queries, width)).astype(np.float32))
        self.class_head = nn.Linear(width, num_classes + 1, rng=rng)
        first, second = (nn.Linear(width, width, rng=rng) for _ in range(2))
        self.box_head = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(width, 4, rng=rng))


# %% [markdown]
# That was what the model owns. Now what it does. (A method may be written in a cell of its own and put into the class
# afterwards; so each cell stays short.)


# %%
def detect(self, source):
    """The last map of the backbone (B, C, H, W) -> the answers after every layer."""
    source = self.input_proj(source)  # (B, D, H, W)
    B, D, H, W = source.shape
    codes = sine_codes(H, W, D)
    memory = tokens_of(source)  # (B, N, D)
    for layer in self.encoder:
        memory = layer(memory, codes)
    memory = self.encoder_norm(memory)
    x = mv.Tensor(np.zeros((B, *self.queries.shape), np.float32))  # (B, Q, D)
    answers = []
    for layer in self.decoder:
        x = layer(x, self.queries, memory, codes)
        y = self.decoder_norm(x)
        answers.append(DETROutput(self.class_head(y), sigmoid(self.box_head(y))))
    *early, last = answers
    return DETROutput(last.logits, last.boxes, early)


TinyDETR.detect = detect
TinyDETR.forward = lambda self, images: self.detect(self.backbone.features(images)[-1])


# %%
def answered():
    """What a new model of five slots says about two images."""
    newborn = TinyDETR(model.backbone, num_classes=6, queries=5)
    with mv.no_grad():
        return newborn(images[:2])


assert claims(
    "the model",
    (
        "K + 1 scores for each slot",
        lambda: answered().logits.shape,
        (2, 5, 7),
        "The last class is no object.",
    ),
    ("and a box", lambda: answered().boxes.shape, (2, 5, 4), "The box head answers four numbers."),
    (
        "all boxes are fractions of the image",
        lambda: bool(0 < answered().boxes.numpy().min() < answered().boxes.numpy().max() < 1),
        True,
        "A sigmoid comes after the box head.",
    ),
    ("all layers answer", lambda: len(answered().auxiliary), 1, "Keep the answer of every decoder layer."),
).passed

# %% [markdown]
# ### The same numbers as the library's
#
# A check of shapes does not find two norms in the wrong order. This one does: `norm1`, `norm2` and `norm3` each stand
# before their branch, and `encoder_norm` and `decoder_norm` after the last layer. Give your class the sizes of the
# chapter's model, copy its trained weights, and compare the answers. Only one name differs: the library keeps encoder
# and decoder in a part of its own, `transformer`. We compute with 64-bit numbers, so that rounding cannot be mistaken
# for an error, or an error for rounding. What is left comes from the codes of the places, which the library computes
# with 32 bits.

# %%
original = mv.load("detr-shapes").to("float64")
copy = TinyDETR(original.backbone, num_classes=6, queries=16, depths=(2, 3))
copy.load_state_dict(
    {name.removeprefix("transformer."): value for name, value in original.state_dict().items()}
)
copy.to("float64")
with mv.no_grad():
    mine = copy(images[:8].astype(np.float64))
    theirs = original(images[:8].astype(np.float64))
gaps = [abs(softmax(mine.logits.numpy()) - softmax(theirs.logits.numpy())).max()]
gaps.append(abs(mine.boxes.numpy() - theirs.boxes.numpy()).max())
print("largest difference: probabilities {:.1e}, boxes {:.1e}".format(*gaps))
assert max(gaps) <= 1e-6

# %% [markdown]
# ### Step 5: match, then compare
#
# The loss was computed by hand for one scene above. Here it is for a batch, and with a gradient. `pairs_of` finds the
# cheapest pairs for each image. It works on plain arrays: which slot gets which object is a decision, and no gradient
# flows through it. `set_loss` then asks every slot for a class ("no object", if nothing was matched), and the matched
# slots for a box too. The same is done for the answers of every layer.


# %%
def pairs_of(answer, targets):
    """Image, slot, class and box of each matched pair of a batch: (n,), (n,), (n,), (n, 4)."""
    found = []
    for i, target in enumerate(targets):
        p = softmax(answer.logits.data[i])  # (Q, K + 1)
        boxes = answer.boxes.data[i]  # (Q, 4)
        distance = np.abs(boxes[:, None] - target["boxes"][None]).sum(axis=-1)  # (Q, T)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target["boxes"]))
        slots, things = scipy_assignment(5 * distance - p[:, target["labels"]] - 2 * giou)
        found.append((np.full(len(slots), i), slots, target["labels"][things], target["boxes"][things]))
    return [np.concatenate(part) for part in zip(*found, strict=True)]


# %%
def set_loss(output, targets, no_object=0.2):
    """DETR's loss, summed over the layers."""
    total = 0
    for answer in [*output.auxiliary, output]:
        image, slots, labels, boxes = pairs_of(answer, targets)
        B, Q, kinds = answer.logits.shape
        wanted = np.full((B, Q), kinds - 1)  # no object ...
        wanted[image, slots] = labels  # ... but where a pair was found
        weight = np.array([1.0] * (kinds - 1) + [no_object], np.float32)
        loss_ce = ops.cross_entropy(answer.logits.reshape(B * Q, kinds), wanted.reshape(-1), weight)
        mine = answer.boxes[image, slots]  # (n, 4)
        total = (
            total
            + loss_ce
            + 5 * mv.losses.box_l1_loss(mine, boxes)
            + 2 * mv.losses.box_giou_loss(mine, boxes)
        )
    return total


# %%
homework = [{"labels": s.labels, "boxes": s.boxes} for s in scenes[:8]]
library_loss = mv.losses.SetCriterion(num_classes=6, no_object=0.2)
assert claims(
    "the set loss",
    (
        "is the library's, all layers together",
        lambda: set_loss(theirs, homework).item(),
        library_loss(theirs, homework)["loss"].item(),
        "Class weight 1 and 0.2 for no object, 5 times L1, 2 times 1 - GIoU; the boxes divided by the number of objects.",
    ),
    (
        "does not depend on the order of the objects",
        lambda: set_loss(theirs, [{k: v[::-1] for k, v in one.items()} for one in homework]).item(),
        lambda: set_loss(theirs, homework).item(),
        "Labels and boxes must be taken with the same index, the second that the assignment returns.",
    ),
).passed

# %% [markdown]
# ### Train it
#
# A new DETR needs half an hour. You have less than a minute, so it gets **help**: the backbone of the trained model,
# which does not change any more. It has learned what matters in these scenes, together with another DETR, and this is
# by far the larger part of the work. Your part, the transformer with its heads, begins from random numbers. Since the
# backbone is fixed, its maps are computed once; then a step costs 20 milliseconds.
#
# To see how much the backbone helps, a second run gets a backbone with *random* weights, everything else equal. What
# do you expect: slower, or nothing?


# %%
def maps_of(backbone, pictures):
    """The last map of a frozen backbone for many pictures, fifty at a time."""
    with mv.no_grad():
        parts = [backbone.features(pictures[i : i + 50])[-1].numpy() for i in range(0, len(pictures), 50)]
    return np.concatenate(parts)


school = [shapes.scene(6_000_000_000_000 + i) for i in range(1500)]  # no measurement uses these numbers
school_images = np.stack([s.image for s in school])
school_targets = [{"labels": s.labels, "boxes": s.boxes} for s in school]


def score(tiny, maps):
    """AP50 on the first 100 held-out scenes."""
    with mv.no_grad():
        answer = tiny.detect(maps)
    return precision((answer.logits.numpy(), answer.boxes.numpy()))[1]


# %%
def learn(backbone, steps, total, batch=16):
    """Train a new TinyDETR on a frozen backbone for `steps` of a schedule of `total` steps."""
    tiny = TinyDETR(backbone, num_classes=6, queries=12)
    maps = maps_of(backbone, school_images)
    exam = maps_of(backbone, images[:100])
    parameters = [p for name, p in tiny.named_parameters() if not name.startswith("backbone.")]
    optimizer = mv.optim.AdamW(parameters, lr=2e-3, schedule=mv.optim.one_cycle(total, warmup=0.1))
    draw = np.random.default_rng(0)
    losses = []
    scores = {0: score(tiny, exam)}
    for step in range(1, steps + 1):
        rows = draw.choice(len(school), batch, replace=False)
        loss = set_loss(tiny.detect(mv.Tensor(maps[rows])), [school_targets[i] for i in rows])
        optimizer.zero_grad()
        loss.backward()
        mv.optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 0:
            scores[step] = score(tiny, exam)
    return tiny, losses, scores


# %%
start = time.process_time()
tiny, losses, scores = learn(model.backbone, steps=1000, total=1000)
print(f"{time.process_time() - start:.0f} s of one core; loss {losses[0]:.1f} -> {np.mean(losses[-50:]):.1f}")

# %%
unhelped = mv.models.ResNet(
    (1, 2), "basic", widths=(64, 128), stem_width=64, norm="group", patch_stem=True, num_classes=0, rng=0
)
_, lost, nothing = learn(unhelped, steps=300, total=1000)
print(f"AP50 on 100 new scenes: {scores[1000]:.2f}; the chapter's model has {precision(layers[-1])[1]:.2f}")
print(f"after 300 steps: {scores[300]:.2f}, with a random backbone {nothing[300]:.2f}")
assert scores[1000] > 0.7 and scores[300] > nothing[300] + 0.2

# %%
viz.curves(
    {
        "trained backbone": (list(scores), list(scores.values())),
        "random backbone": (list(nothing), list(nothing.values())),
    },
    "step",
    "AP50 on 100 new scenes",
    title="Your DETR learns, if the features are there",
    caption="Compare the two lines in the first 300 steps. On the trained backbone AP50 stays low for about 100 steps, "
    "then rises steeply and flattens. On a random backbone it stays at 0: the transformer has nothing to look for.",
)

# %% [markdown]
# In 300 steps: nothing at all. Both runs have the same transformer, the same loss and the same scenes, so the help
# decides. The likely reason is the one given above: random features hardly tell a star from a square, so the queries
# stay alike, and the flat phase lasts.
#
# Numbers are one thing; look at what your model says, on the four scenes of the beginning.

# %%
with mv.no_grad():
    answer = tiny(images[few])
mine = [
    detr_detections(*one, threshold=0.5)
    for one in zip(answer.logits.numpy(), answer.boxes.numpy(), strict=True)
]
viz.boxes_on_images(
    [images[i] for i in few] * 2,
    [scenes[i].boxes for i in few] + [f["boxes"] for f in mine],
    labels=[scenes[i].labels for i in few] + [f["labels"] for f in mine],
    names=shapes.THINGS,
    normalised=True,
    titles=["truth"] * 4 + ["your DETR, above 0.5"] * 4,
    title="Four new scenes: the truth, and what your DETR says",
    caption="Compare with the figure at the beginning. In the first scene everything is right. Where objects overlap, "
    "the large circle and the ring get several answers, and some small objects get the wrong class or none.",
)

# %% [markdown]
# You wrote about eighty lines: sixty for the model, twenty for the loss. The rest of the distance to the chapter's
# model is training: fresh scenes in every step, more layers, and a backbone that learns along.

# %% [markdown] tags=["slide:H/26-position-code-ablation", "slide:H/26-box-loss-ablation", "slide:Z/67-position-variants"]
# ## What each choice is worth
#
# Deck H, *Result*, prints two tables of the paper; Deck Z prints four rows of the first. **Position codes**, AP on
# COCO: none 32.8; sine once at the input 39.2; learned at every attention 39.6; sine in the decoder only 39.3; sine
# at every attention 40.6. **Box loss**: L1 alone 35.8, GIoU alone 39.9, both 40.6.
#
# We repeat these choices on our scenes: a smaller DETR on a backbone that stays as it is, 1,200 steps of 16 scenes,
# three random seeds each, AP50 on 500 validation scenes (`scripts/run_ablations.py` measures them again). Look at the
# spread of the seeds before the mean: where the seeds of two rows overlap, three runs cannot tell the rows apart.

# %%
from minivis.recipes import ablations

paper = {
    "positions": {
        "none": 32.8,
        "sine at the input": 39.2,
        "learned at every attention": 39.6,
        "sine in the decoder only": 39.3,
        "sine at every attention": 40.6,
    },
    "losses": {"L1 only": 35.8, "GIoU only": 39.9, "L1 and GIoU": 40.6},
}

# %%
measured = ablations.results()
rows = {}
for subject, choices in paper.items():
    print(f"{subject:28} AP50, three seeds      mean   the paper, AP")
    for choice, theirs in choices.items():
        ours = 100 * np.array(measured[subject][choice]["AP50"])
        print(f"  {choice:26} {np.array2string(ours, precision=1):22} {ours.mean():6.1f}   {theirs:.1f}")
        rows[f"{choice} ({theirs:.1f})"] = ours

# %%
viz.dots(
    rows,
    "AP50 on 500 validation scenes, %",
    title="Position codes and box losses, each choice three times",
    caption="Five position codes, then three box losses; the last row of each group is DETR as published, and the "
    "AP of the paper on COCO stands in brackets. Each dot is one training run, coloured by its random seed; each "
    "bar is the mean of three. Codes that are missing or learned are far behind; with GIoU alone the three runs "
    "lie far apart.",
)

# %% [markdown]
# **Where the paper is confirmed:** without position codes DETR finds almost nothing. If encoder and queries cannot
# tell places apart, they cannot say where an object is. *At which* layers the sine codes are added matters little:
# 1.4 points in the paper, and here the seeds overlap.
#
# **Where it is not:** *learned* codes do nearly as badly as none; in the paper they are only one point behind.
# Learned codes start as noise, and 1,200 steps are few: this row shows how fast they learn, not how far they can get.
# With **GIoU alone** AP50 is 0.00, 0.05 or 0.40, depending on the random seed. With L1 added, all three seeds
# succeed, because L1 has a slope of the same size for boxes that overlap nothing. **L1 alone** is better than both
# together with every seed, while in the paper GIoU contributes most. All of our training is what would be the start
# of a full one, and there L1 is the better loss.

# %% [markdown] tags=["slide:H/22-coco", "slide:H/28-detr-strengths-and-weaknesses"]
# ## DETR among the detectors
#
# On COCO 2017 (118 thousand training images, 5 thousand for validation) DETR equals a well-tuned Faster R-CNN: 42.0
# AP, at about its speed and size. It is better on large objects (61.1 against 53.4) and worse on small ones (20.5
# against 26.6). It trains end to end, but for long: up to 500 epochs. Both weaknesses, small objects and long
# training, come from global attention over a coarse map. Deformable attention over several scales was the next
# answer; chapter [19](19_mask2former.ipynb) uses it.

# %% [markdown]
# ## Exercises
#
# Each exercise has a stub, a check that says what holds and what does not, and a solution to unfold. A check by laws
# also asks the following of your function: float32 in gives float32 out, float64 keeps all its digits, the input
# arrays stay unchanged, and nothing is printed.
#
# ### Exercise 1: from centre to corners
# Write `my_corners(boxes)`. `boxes` is `(..., 4)`: centre x, centre y, width, height. Return left, top, right,
# bottom, in the same shape. Hint: `np.concatenate` along the last axis.


# %% tags=["exercise:corners"]
def my_corners(boxes): ...  # your lines here


# %% tags=["check:corners"]
passed = mv.laws.check("box_cxcywh_to_xyxy", my_corners).passed

# %% [markdown] tags=["solution:corners"]
# <details><summary>Solution</summary>
#
# ```python
# def my_corners(boxes):
#     centre, half = boxes[..., :2], boxes[..., 2:] / 2
#     return np.concatenate([centre - half, centre + half], axis=-1)
# ```
#
# This treats both axes at once: centre and half the size are points of two numbers each.
# </details>

# %% [markdown]
# ### Exercise 2: intersection over union
# Write `my_iou(boxes1, boxes2)` for boxes `(N, 4)` and `(M, 4)`, given by their corners. Return `(N, M)`: the IoU of
# every box with every other. Use no loops: give the boxes the axes `(N, 1, 4)` and `(1, M, 4)`. Two empty boxes have
# IoU 0, not 0 / 0.


# %% tags=["exercise:iou"]
def my_iou(boxes1, boxes2): ...  # your lines here


# %% tags=["check:iou"]
passed = mv.laws.check("box_iou", my_iou).passed

# %% [markdown] tags=["solution:iou"]
# <details><summary>Solution</summary>
#
# ```python
# def my_iou(boxes1, boxes2):
#     a, b = boxes1[:, None], boxes2[None]
#     sides = np.minimum(a, b)[..., 2:] - np.maximum(a, b)[..., :2]
#     both = np.clip(sides, 0, None).prod(axis=-1)
#     either = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - both
#     return both / np.where(either > 0, either, 1)
# ```
#
# The clip is needed: the product of two negative sides would be a positive area.
# </details>

# %% [markdown]
# ### Exercise 3: generalised IoU
# Write `my_giou(boxes1, boxes2)` for the same arguments: the IoU minus the share of the smallest enclosing box that
# neither box covers. An enclosing box without area contributes 0, and two empty boxes have IoU 0, as in exercise 2.


# %% tags=["exercise:giou"]
def my_giou(boxes1, boxes2): ...  # your lines here


# %% tags=["check:giou"]
passed = mv.laws.check("generalized_box_iou", my_giou).passed

# %% [markdown] tags=["solution:giou"]
# <details><summary>Solution</summary>
#
# ```python
# def my_giou(boxes1, boxes2):
#     a, b = boxes1[:, None], boxes2[None]
#
#     def area(low, high):
#         return np.clip(high - low, 0, None).prod(axis=-1)
#
#     def share(part, whole):
#         return part / np.where(whole > 0, whole, 1)
#
#     both = area(np.maximum(a, b)[..., :2], np.minimum(a, b)[..., 2:])
#     either = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - both
#     around = area(np.minimum(a, b)[..., :2], np.maximum(a, b)[..., 2:])
#     return share(both, either) - share(around - either, around)
# ```
#
# Compared with the intersection, minimum and maximum change places: the intersection ends at the nearer sides, the
# enclosing box at the farther ones.
# </details>

# %% [markdown]
# ### Exercise 4: the cheapest assignment
# Write `my_assignment(cost)`. `cost` is `(N, M)`. Return two arrays of $\min(N, M)$ indices: row `rows[k]` is paired
# with column `columns[k]`, no row and no column stands twice, and the total cost is the least possible. Brute force
# is enough for the check; the Hungarian method is the harder way. There may be more rows than columns, costs below 0,
# and several cheapest ways (return any of them). If there is nothing to pair, return two empty arrays of integers.


# %% tags=["exercise:assignment"]
def my_assignment(cost): ...  # your lines here


# %% tags=["check:assignment"]
passed = mv.laws.check("linear_sum_assignment", my_assignment).passed

# %% [markdown] tags=["solution:assignment"]
# <details><summary>Solution</summary>
#
# ```python
# def my_assignment(cost):
#     if cost.shape[0] > cost.shape[1]:
#         columns, rows = my_assignment(cost.T)
#         return rows, columns
#     rows = np.arange(len(cost))
#     ways = [np.array(way, dtype=np.int64) for way in itertools.permutations(range(cost.shape[1]), len(cost))]
#     return rows, min(ways, key=lambda columns: cost[rows, columns].sum())
# ```
#
# The shorter side chooses among the entries of the longer one. `minivis/vision/matching.py` needs N³ steps.
# </details>

# %% [markdown]
# ### Exercise 5: non-maximum suppression
# DETR does without this; write it: `my_nms(boxes, scores, threshold)`, with corners `(N, 4)` and scores `(N,)`. Keep
# the best box, drop all boxes whose IoU with it is larger than `threshold`, and go on with the best of those that are
# left. Return the indices of the boxes that stay, from the highest score to the lowest, as an array of integers (an
# empty one where there are no boxes). A box without area overlaps nothing. Of two boxes with the same score either
# may come first. You may use `box_iou`.


# %% tags=["exercise:nms"]
def my_nms(boxes, scores, threshold): ...  # your lines here


# %% tags=["check:nms"]
passed = mv.laws.check("nms", my_nms).passed

# %% [markdown] tags=["solution:nms"]
# <details><summary>Solution</summary>
#
# ```python
# def my_nms(boxes, scores, threshold):
#     left, kept = np.argsort(-scores, kind="stable"), []
#     while len(left):
#         best, left = left[0], left[1:]
#         kept.append(best)
#         left = left[box_iou(boxes[best : best + 1], boxes[left])[0] <= threshold]
#     return np.array(kept, dtype=np.int64)
# ```
#
# A box that was dropped suppresses no other box: only boxes that stay do.
# </details>

# %% [markdown]
# ### Exercise 6: the set loss
# Write `my_set_loss(p, boxes, labels, wanted)` for one image: probabilities `p` $(Q, K+1)$ with "no object" last,
# predicted boxes $(Q, 4)$, true labels $(T,)$ and true boxes $(T, 4)$; all boxes are given by centre and size. Match
# with the weights 1, 5 and 2. Then compute the weighted mean of $-\log p$, where "no object" has the weight 0.1, and
# add five times L1 and twice $1 - $ GIoU, both divided by $T$.

# %% tags=["setup"]
# The example by which your function will be judged, and what the library says about it.
draw = np.random.default_rng(1)
p_some = softmax(draw.normal(size=(5, 4)))
b_some = draw.uniform(0.2, 0.6, (5, 4))
l_some = np.array([2, 0])
w_some = draw.uniform(0.2, 0.6, (2, 4))
output_some = mv.models.detr.DETROutput(np.log(p_some)[None], b_some[None])
judge = mv.losses.SetCriterion(3)  # weights 1, 5 and 2; "no object" counts 0.1
right = judge(output_some, [{"labels": l_some, "boxes": w_some}])["loss"].item()


# %% tags=["exercise:set-loss"]
def my_set_loss(p, boxes, labels, wanted): ...  # your lines here


# %% tags=["check:set-loss"]
swap = [3, 0, 4, 1, 2]


def mine(slots=slice(None), things=slice(None)):
    return my_set_loss(p_some[slots], b_some[slots], l_some[things], w_some[things])


passed = claims(
    "the set loss",
    (
        "is what SetCriterion says",
        mine,
        right,
        "Match with -p of the true class + 5 L1 - 2 GIoU. Then the weighted mean of -log p over all slots divides by the "
        "sum of the weights, and the box losses by T.",
    ),
    (
        "is the same when the slots come in another order",
        lambda: mine(swap, slice(None)),
        mine,
        "Does each slot keep its own box and its own class after the matching? linear_sum_assignment names both.",
    ),
    (
        "and when the objects do",
        lambda: mine(slice(None), [1, 0]),
        mine,
        "Does each object keep its label with its box? The second array of linear_sum_assignment says which object.",
    ),
).passed

# %% [markdown] tags=["solution:set-loss"]
# <details><summary>Solution</summary>
#
# ```python
# def my_set_loss(p, boxes, labels, wanted):
#     distance = np.abs(boxes[:, None] - wanted[None]).sum(axis=-1)
#     giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(wanted))
#     slots, things = linear_sum_assignment(5 * distance - p[:, labels] - 2 * giou)
#     classes = np.full(len(p), p.shape[1] - 1)
#     classes[slots] = labels[things]
#     weight = np.where(classes == p.shape[1] - 1, 0.1, 1.0)
#     loss = (weight * -np.log(p[np.arange(len(p)), classes])).sum() / weight.sum()
#     return loss + (5 * distance[slots, things] + 2 * (1 - giou[slots, things])).sum() / len(labels)
# ```
#
# The matching uses probabilities, the loss their logarithms.
# </details>

# %% [markdown]
# ## Six questions
#
# Think of an answer before you unfold it. Each answer ends with a few lines that you can paste into a cell to check it.

# %% [markdown] tags=["question:weight-of-nothing"]
# **1. What would happen if "no object" had the weight 1 in the loss, like every class?**
#
# <details><summary>Answer</summary>
#
# A network that always says "nothing" would look good. In our scene 11 of 16 slots are empty, so with weight 1 the easy
# eleven make up most of the mean. For a network that gives "no object" the probability 0.9 in every slot the loss is 1.35
# with weight 1, and 3.37 with weight 0.1: with the small weight, ignoring the objects is expensive.
#
# ```python
# lazy = np.log(np.tile([0.1 / 6] * 6 + [0.9], (16, 1)))  # the same answer in all 16 slots
# cost_of = {w: ops.cross_entropy(lazy, wanted, np.array([1.0] * 6 + [w])) for w in (1.0, 0.1)}
# print({w: round(float(value), 2) for w, value in cost_of.items()})
# assert cost_of[0.1] > 2 * cost_of[1.0]
# ```
# </details>

# %% [markdown] tags=["question:same-queries"]
# **2. What would happen if all queries were the same vector?**
#
# <details><summary>Answer</summary>
#
# Then all slots would give the same answer. The states begin as zeros, so a slot differs from the others only by its
# query; if the queries are equal, nothing in the decoder can make the states differ. That is why the queries must start
# from different random numbers.
#
# ```python
# same = TinyDETR(model.backbone, num_classes=6, queries=4)
# same.queries.data = np.repeat(same.queries.data[:1], 4, axis=0)
# with mv.no_grad():
#     spread = np.ptp(same(images[:2]).boxes.numpy(), axis=1).max()
# print(f"the boxes of the four slots differ by at most {spread:.1e}")
# assert spread < 1e-5
# ```
# </details>

# %% [markdown] tags=["question:too-few-slots"]
# **3. What would happen if an image had more objects than there are slots?**
#
# <details><summary>Answer</summary>
#
# The matching gives every slot one object, and the objects that are left get none. They do not enter the loss, so the
# network is never told about them. With 3 slots, 2 of the 5 objects of our scene are ignored. So choose more slots than
# there can be objects.
#
# ```python
# slots_used, matched_objects = linear_sum_assignment(cost[:3])  # the first three slots alone
# print(f"{len(matched_objects)} of {cost.shape[1]} objects have a slot")
# assert len(matched_objects) == 3 < cost.shape[1]
# ```
# </details>

# %% [markdown] tags=["question:dearer-company"]
# **4. What would happen to the matching if one company raised all its prices by 50?**
#
# <details><summary>Answer</summary>
#
# Nothing, except that it costs 50 more. The company gets exactly one job in *every* assignment, so all assignments become
# dearer by the same amount. For the same reason DETR may leave constants out of its matching costs.
#
# ```python
# dearer = prices + np.array([[50], [0], [0]])
# before, after = linear_sum_assignment(prices), linear_sum_assignment(dearer)
# print(prices[before].sum(), "->", dearer[after].sum())
# assert (before[1] == after[1]).all() and dearer[after].sum() == 407 + 50
# ```
# </details>

# %% [markdown] tags=["question:mirrored"]
# **5. What would happen to the region of each query if all scenes were mirrored?**
#
# <details><summary>Answer</summary>
#
# Nothing: a query keeps to its region, whatever lies there. In a mirrored scene the same object is in another place, and
# another query answers for it. The mean centres of the 16 queries are nearly the same as before.
#
# ```python
# with mv.no_grad():
#     mirrored = model(np.ascontiguousarray(images[:50, :, :, ::-1])).boxes.numpy()
# likeness = np.corrcoef(mirrored[..., 0].mean(axis=0), boxes[:50, :, 0].mean(axis=0))[0, 1]
# print(f"correlation of the mean x of the 16 queries, mirrored and not: {likeness:.3f}")
# assert likeness > 0.9
# ```
# </details>

# %% [markdown] tags=["question:no-places"]
# **6. What would happen if the trained model lost its position codes: in the decoder alone, or in the encoder too?**
#
# <details><summary>Answer</summary>
#
# In the decoder alone: nearly nothing, AP falls from 0.64 to 0.61. The encoder has already written the places into the
# memory. Without codes in the encoder too, nothing is left: AP is 0.01. So a trained DETR needs its codes most where the
# tokens first meet.
#
# ```python
# placeless = encode(tokens[:50], 0 * codes)
# both, decoder_blind = precision((logits[:50], boxes[:50]))[0], precision(decode(memory[:50], 0 * codes)[-1])[0]
# all_blind = precision(decode(placeless, 0 * codes)[-1])[0]
# print(f"AP {both:.2f}; no codes in the decoder {decoder_blind:.2f}; none at all {all_blind:.2f}")
# assert decoder_blind > 0.9 * both and all_blind < 0.1
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can match answers with objects, by brute force and by the Hungarian method, and check the prices that prove that
#   no assignment is cheaper. Detection is set prediction once a matching decides which slot answers for which object;
#   the loss then does not depend on their order.
# - You can say why IoU cannot pull two distant boxes together: it has no slope there. GIoU has one and does not depend
#   on the scale; L1 has one and depends on the scale. DETR uses both.
# - You can compute the set loss by hand, with a small weight for "no object", for every decoder layer.
# - You can write a DETR from a handful of layers and train it: an ordinary encoder-decoder, with positions at every
#   attention, queries in place of words, and all answers at once. And you know what it cannot do without: features.
# - You can measure what a trained network does. Queries divide the image among themselves and exchange information;
#   without that there are more duplicates. Ours does not attend where the paper's does, so measure yours.
#
# Next: [16. Segmentation](16_segmentation.ipynb): a class for every pixel, and a mask for every object.
