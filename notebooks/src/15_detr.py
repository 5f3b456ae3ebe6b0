# %% [markdown]
# # 15. DETR: detection as a set of answers
#
# A transformer looks at an image once and answers with a *set* of boxes: no anchors, no proposals, nothing to
# suppress afterwards. What makes that possible is a loss that first decides who answers for what.
#
# **Goals**
#
# - You can match predictions with objects by brute force, by the Hungarian method, and prove the result optimal.
# - You can say why IoU cannot pull two distant boxes together, and what generalised IoU adds.
# - You can compute DETR's set loss on paper and know why the order of its predictions does not matter.
# - You can write DETR's transformer in fifty lines of NumPy.
# - You can measure what queries, encoder and decoder of a trained DETR do, and see where that differs from the
#   paper.
#
# **Before**: attention from [05](05_attention.ipynb), encoder and decoder from [07](07_transformer.ipynb),
# position codes from [08](08_vit.ipynb).
#
# **Slides**: Deck H is Hanyang University, *Transformers* (ViT, DETR, Segmenter); Deck A is AIIA, *Attention
# and Transformer Networks in Computer Vision*; Deck Z is Zagoruyko, *Transformers in Computer Vision*; Deck C is
# CPSC 425, lecture 23. A section that follows a slide names it.
#
# **Time**: about 75 minutes to read, 60 more for the exercises; the cells take about 20 seconds.

# %% tags=["setup"]
import itertools
import math
import time

import numpy as np

import minivis as mv
from minivis import recipes, storage, viz
from minivis.data import shapes
from minivis.laws.claims import claims
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
# This is the DETR that the chapter takes apart. Look at where the learned *queries* enter, how each decoder layer
# reads the *memory* of the encoder, and how two heads side by side answer with a class and a box for every query.

# %%
viz.architecture(mv.load("detr-shapes"), (1, 3, 64, 64))

# %% [markdown]
# ## An image in, a set out
#
# Deck H, *Introduction* (DETR); Deck A, *DETR*; Deck Z, *DETR: Rethinking object detection* and *Streamlined
# detection pipeline*. Detectors used to cover the image with thousands of candidate boxes (anchors, proposals),
# judge each on its own, and throw away the duplicates by non-maximum suppression (NMS). Each of these has
# settings that somebody chose by hand. DETR treats detection as a *translation*: in goes a sequence of image
# features, out comes a fixed number of answers, all at once. The model below was trained on generated scenes
# (`minivis train detr-shapes`, about half an hour on two cores); we show it scenes it has never seen.
#
# > *A word on the slide.* Deck H's title page says CVPR 2020; the paper (Carion et al.) is from ECCV 2020.

# %% tags=["slide:H/14-detr-idea", "slide:A/52-detr-idea", "slide:Z/49-detr-as-translation", "slide:Z/52-streamlined-pipeline"]
model = mv.load("detr-shapes")
scenes = [shapes.scene(seed) for seed in range(200)]  # held out: no training saw them
images = np.stack([scene.image for scene in scenes])  # (200, 3, 64, 64)
with mv.no_grad():
    output = model(images, need_attention=True)
logits, boxes = output.logits.numpy(), output.boxes.numpy()  # (200, 16, 7), (200, 16, 4)
probabilities = softmax(logits)
assert logits.shape == (200, 16, 7) and boxes.shape == (200, 16, 4) and 0 <= boxes.min() <= boxes.max() <= 1

few = [0, 2, 5, 9]
found = [detr_detections(logits[i], boxes[i], threshold=0.5) for i in few]
viz.boxes_on_images(
    [images[i] for i in few] * 2,
    [scenes[i].boxes for i in few] + [f["boxes"] for f in found],
    labels=[scenes[i].labels for i in few] + [f["labels"] for f in found],
    scores=None,
    names=shapes.THINGS,
    normalised=True,
    titles=["truth"] * 4 + ["answers above 0.5"] * 4,
    columns=4,
    title="Four new scenes: the truth, and what the network says",
    caption="What you see below is the network's output with the unsure answers left out; nothing was merged or suppressed. "
    "Small objects that lie on others are its weak side, and now and then one object has two answers.",
)

# %% [markdown]
# ## Sixteen slots, most of them empty
#
# Deck A, *DETR architecture*: the number of answers is fixed and larger than any image has objects: 100 in the
# paper, 16 here, where a scene has at most eight. So there must be a way to answer "nothing": one class more,
# **no object**, $\varnothing$. It plays the part that *background* has in other detectors.

# %% tags=["slide:A/59-no-object"]
one = 12
scene, p, b = scenes[one], probabilities[one], boxes[one]  # (Q, K + 1), (Q, 4)
assert np.allclose(p.sum(axis=-1), 1, atol=1e-5)
empty = (probabilities.argmax(axis=-1) == 6).sum(axis=1)  # (200,)
objects = np.array([len(s.labels) for s in scenes])
print(f"objects in a scene: {objects.mean():.2f} on average, at most {objects.max()} of {p.shape[0]} slots")
print(f"slots that say 'no object': {empty.mean():.2f} of {p.shape[0]} on average")
assert objects.max() < p.shape[0] and empty.mean() > 8
viz.heatmap(
    p,
    "class",
    "slot",
    x_names=[*shapes.THINGS, "no object"],
    bar_label="probability",
    title=f"What the 16 slots say about a scene of {len(scene.labels)} objects",
    caption="Each row is one slot and sums to 1. Most have one clear favourite: an object, or none. Some share out their "
    "probability: they have not made up their mind.",
)

# %% [markdown]
# ## Why the loss must match first
#
# Deck A, *Bipartite matching loss*: a set has no order. If slot $i$ had to answer for object $i$ of the list,
# the loss would depend on the order in which somebody wrote the objects down, and the network would be punished
# for right answers in the wrong slot. Here is one scene, its objects written down in every possible order, and
# what the pairs cost: once slot by slot, once after the cheapest pairs were chosen.

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
# Deck H, *Hungarian Algorithm*; Deck A, *Bipartite matching loss*. The matching is the permutation $\sigma$ with
# the least sum of pair costs $c_{i,\sigma(i)}$,
#
# $$\hat\sigma = \arg\min_{\sigma \in \mathfrak{S}_N} \sum_{i=1}^{N} c_{i,\, \sigma(i)} .$$
#
# First by brute force: three companies offer to do three jobs, each for its price; each company gets one job. There are
# $3! = 6$ ways, and one can look at all of them.

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

rows, columns = linear_sum_assignment(prices)  # ours: minivis/vision/matching.py
assert prices[rows, columns].sum() == min(sums) == 407
viz.cost_matrix(
    prices,
    (rows, columns),
    x_label="job",
    y_label="company",
    x_names=["musician", "chef", "cleaners"],
    y_names=["A", "B", "C"],
    title="The cheapest way: 407",
    caption="One framed cell in every row and column. Company A has the best price for the musician and does "
    "not get that job: taking the cheapest cell first would cost 108 + 135 + 250 = 493, or at best 431.",
)

# %% [markdown]
# ### A proof one can check
#
# Six ways are few; for 100 slots there are $100! \approx 10^{158}$. The **Hungarian method** needs about $N^3$ steps,
# and it returns more than an answer: a *certificate*. Row $i$ gets a price $u_i$, column $j$ a price $v_j$, so that
# no cell costs less than its two prices together, $u_i + v_j \le c_{ij}$. Then *every* assignment costs at least
# $\sum u_i + \sum v_j$; and the one it found costs exactly that. Nobody can do better, and you need not believe the
# algorithm to believe that. (A price may be negative, a rebate; only the sums count.)

# %%
rows, columns, u, v = linear_sum_assignment(prices, return_duals=True)
slack = prices - u[:, None] - v[None, :]  # what a cell costs more than its two prices
print(f"prices of the companies u = {u}, of the jobs v = {v}")
print(f"sum of all prices {u.sum() + v.sum():g}, cost of the assignment {prices[rows, columns].sum()}")
assert (slack >= 0).all() and (slack[rows, columns] == 0).all() and u.sum() + v.sum() == 407
viz.cost_matrix(
    slack,
    (rows, columns),
    x_label="job",
    y_label="company",
    x_names=["musician", "chef", "cleaners"],
    y_names=["A", "B", "C"],
    title="The certificate: c - u - v",
    caption="No number is negative and the framed cells are zero: that is the whole proof. Any other choice of "
    "cells has this table's numbers on top of 407.",
)

# %% [markdown]
# Now the time it takes. Brute force is out of reach after ten rows; ours and SciPy's, which the loss uses because it
# is compiled, find assignments of the same cost.

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
timed = {
    "brute force": (small, [seconds(brute_force, tables[n], repeat=1) for n in small]),
    "ours": (large, [seconds(linear_sum_assignment, tables[n]) for n in large]),
    "SciPy": (large, [seconds(scipy_assignment, tables[n]) for n in large]),
}
for n in large:
    ours, theirs = tables[n][linear_sum_assignment(tables[n])], tables[n][scipy_assignment(tables[n])]
    assert abs(ours.sum() - theirs.sum()) < 1e-9
assert timed["brute force"][1][-1] > timed["ours"][1][1]
viz.curves(
    timed,
    "rows and columns",
    "seconds",
    log="xy",
    title="The price of looking at everything",
    caption="N! against about N³. One hundred slots, as DETR has, take ours milliseconds and SciPy far less.",
)

# %% [markdown]
# ## What a pair costs
#
# Deck H, *DETR model: Bipartite Matching*; Deck A, *Bipartite matching loss*. Object $i$ has the class $c_i$ and the box
# $b_i \in [0, 1]^4$ (centre, width, height as shares of the image). Slot $j$ says the probabilities $\hat p_j$ and the box
# $\hat b_j$. The pair costs
#
# $$C_{ij} = -\hat p_j(c_i) + \mathcal{L}_{box}(b_i, \hat b_j), \qquad
#   \mathcal{L}_{box} = \lambda_{L1} \lVert b_i - \hat b_j \rVert_1 + \lambda_{iou}\, (1 - \mathrm{GIoU}(b_i, \hat b_j)),$$
#
# with $\lambda_{L1} = 5$ and $\lambda_{iou} = 2$. The list of objects is **padded** with "no object" to the number of
# slots, and a pair with "no object" costs nothing: so padding never changes who gets an object. (The published
# code leaves out the constant $\lambda_{iou} \cdot 1$ in the matching; it shifts all pairs with an object alike.)
#
# The slide's example: five predictions, a dog and a cat. Its classes are taken as certain.

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
# the deck's objects have exactly these boxes
true_classes = np.array([DOG, CAT])
true_boxes = five[[0, 3]]

distance = np.abs(five[:, None] - true_boxes[None]).sum(axis=-1)  # (5, 2)
giou = generalized_box_iou(box_cxcywh_to_xyxy(five), box_cxcywh_to_xyxy(true_boxes))  # (5, 2)
pair_cost = -certain[:, true_classes] + 5 * distance - 2 * giou
padded = np.concatenate([pair_cost, np.zeros((5, 3))], axis=1)  # three more columns: no object

rows, columns = linear_sum_assignment(padded)
assert dict(zip(columns.tolist(), rows.tolist(), strict=True))[0] == 0  # the dog: prediction 1
assert dict(zip(columns.tolist(), rows.tolist(), strict=True))[1] == 3  # the cat: prediction 4
np.testing.assert_allclose([pair_cost[0, 0], pair_cost[3, 1]], [-3, -3])
np.testing.assert_allclose(padded[rows, columns].sum(), -6)
short = linear_sum_assignment(pair_cost)  # without the padding: the same pairs
assert short[0].tolist() == [0, 3] and short[1].tolist() == [0, 1]
viz.cost_matrix(
    padded,
    (rows, columns),
    x_label="object",
    y_label="prediction",
    x_names=["dog", "cat", "∅", "∅", "∅"],
    y_names=["ŷ1", "ŷ2", "ŷ3", "ŷ4", "ŷ5"],
    title="Five predictions, two objects, three times nothing",
    caption="Class right (-1), distance 0, GIoU 1 (-2): each right pair costs -3, both together -6. The empty "
    "columns take whoever is left.",
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
    caption="Matched pairs lie on each other, the predictions without object are dotted. Two of the slide's boxes "
    "leave the image (0.3 - 0.8 / 2 < 0 and 0.9 + 0.3 / 2 > 1): that is allowed.",
)

# %% [markdown]
# Now let the five be less sure: the second says "dog", loudly and far away. Weigh the parts of the cost and watch the
# pairs: who answers for the dog when the class counts most?

# %%
# (5, 3): dog, cat, nothing
unsure = np.array([[0.2, 0.1, 0.7], [0.9, 0.0, 0.1], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3], [0.0, 0.7, 0.3]])
viz.matching_playground(
    {"class": -unsure[:, true_classes], "L1": distance, "GIoU": -giou},
    {"class": 1, "L1": 5, "GIoU": 2},
    x_label="object",
    y_label="prediction",
    x_names=["dog", "cat"],
    y_names=["ŷ1", "ŷ2", "ŷ3", "ŷ4", "ŷ5"],
)

# %% [markdown]
# ## Boxes that do not meet
#
# Deck A, *Bipartite matching loss* (box loss); Deck H, *DETR model: Bipartite Matching*. How alike are two boxes $A$ and
# $B$? Intersection over union is the usual answer. But it is 0 for *all* pairs that do not meet, near or far: no slope,
# nothing to learn from. **Generalised IoU** (Rezatofighi et al. 2019) takes the smallest box $E$ around both and
# subtracts the part of it that neither covers:
#
# $$\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}, \qquad
#   \mathrm{GIoU} = \mathrm{IoU} - \frac{|E| - |A \cup B|}{|E|} .$$
#
# For two boxes in plain Python, and for all pairs against the library (exercise 3 holds *yours* against sixteen laws):


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

# %%
still = np.array([[0.0, 0.0, 1.0, 1.0]])
gaps = (0.0, 0.5, 1.0, 1.5, 3.0)
fig, axes = viz.figure(
    1,
    5,
    width=9,
    height=1.6,
    sharex=True,
    sharey=True,
    title="One box moves away",
    caption="Grey: the smallest box around both, and in it what neither covers. From the third picture on IoU is 0 "
    "and stays 0. GIoU goes on falling, towards -1.",
)
for ax, gap in zip(axes.flat, gaps, strict=True):
    moving = still + [gap, 0, gap, 0]
    around = np.array([[0.0, 0.0, gap + 1, 1.0]])
    for box, colour, strength in (
        (around, "#bbbbbb", 0.6),
        (still, viz.COLOURS[0], 0.8),
        (moving, viz.COLOURS[1], 0.7),
    ):
        x0, y0, x1, y1 = box[0]
        ax.fill([x0, x1, x1, x0], [y0, y0, y1, y1], color=colour, alpha=strength)
    iou, giou = overlaps_by_hand(still[0], moving[0])
    ax.set(xlim=(-0.2, 4.2), ylim=(1.3, -0.3), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    viz.label(ax, title=f"IoU {iou:.2f}\nGIoU {giou:.2f}")
fig

# %% [markdown]
# As curves, and their slopes from the engine. The slope is what a learning network gets to feel.

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
    title="IoU goes flat, GIoU does not",
    caption="At a shift of 1 the boxes part. IoU is flat from there on; GIoU still knows which way is nearer.",
)

# %% [markdown]
# So let a box walk downhill to a target it does not touch: by $1 - \mathrm{IoU}$, by $1 - \mathrm{GIoU}$, by L1.

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


walks = {
    "1 - IoU": walk(lambda box: 1 - box_iou(box_cxcywh_to_xyxy(box), box_cxcywh_to_xyxy(goal)).sum()),
    "1 - GIoU": walk(lambda box: mv.losses.box_giou_loss(box, goal)),
    "L1": walk(lambda box: mv.losses.box_l1_loss(box, goal)),
}
for name, (likeness, box) in walks.items():
    print(f"{name:8} ends at {box[0].round(2)} with IoU {likeness[-1]:.2f}")
assert walks["1 - IoU"][0][-1] == 0 and min(walks["1 - GIoU"][0][-1], walks["L1"][0][-1]) > 0.9
viz.curves(
    {name: likeness for name, (likeness, _) in walks.items()},
    "step",
    "IoU with the goal",
    title="Three ways downhill to a box one does not touch",
    caption="IoU has no slope here, so that box never moves. GIoU and L1 both arrive. They jitter at the goal because "
    "their slopes do not fade there: only the smaller steps towards the end bring rest.",
)

# %% [markdown]
# Why both L1 and GIoU, then? Because L1 measures in shares of the *image*: a box that is off by half its own width costs
# ten times less when it is ten times smaller. GIoU has no scale.

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
# Deck H, *Hungarian Algorithm* (its loss); Deck A, *Bipartite matching loss*. With the matching $\hat\sigma$ fixed,
#
# $$\mathcal{L}(y, \hat y) = \sum_{i=1}^{N} \Big[ -\log \hat p_{\hat\sigma(i)}(c_i)
#   + \mathbb{1}_{\{c_i \ne \varnothing\}}\, \mathcal{L}_{box}(b_i, \hat b_{\hat\sigma(i)}) \Big] .$$
#
# Two details make it work. Most slots are empty, so the class $\varnothing$ has a weight of 0.1 in the cross-entropy
# (which is then a weighted mean). And the box terms are divided by the number of objects in the batch. One scene, by
# hand: first the costs of all 16 slots for all objects, and the cheapest pairs.

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
    caption="Read it column by column. Some objects have one slot that is far cheaper than all others; for others two or "
    "three compete, and the assignment frames one. The dearest framed pair is the small star on the circle.",
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
    title="Who answers for what",
    caption="Full lines: the objects. Dashed, in the same colour: the slot that answers for it. Dotted: slots without "
    "object; where their boxes lie does not matter.",
)

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
# In the matching the class counts with its *probability*, in the loss with its *logarithm*: a probability stays in
# proportion to the box costs, a logarithm would drown them. No gradient flows through the matching itself: it is a
# choice. And all decoder layers are asked, each matched anew (*auxiliary losses*): one class head and one box head
# read every layer's states.

# %%
for name, value in criterion(output, [{"labels": s.labels, "boxes": s.boxes} for s in scenes]).items():
    print(f"{name:12} {value.item():.3f}")

# %% [markdown]
# ## The network
#
# Deck H, *Transformer*; Deck C, *Object Detection with Transformers*; Deck A, *DETR architecture*.
#
# 1. A **backbone** (ResNet) shrinks the image $3 \times H_0 \times W_0$ to a map, in the paper $2048 \times H_0/32 \times
#    W_0/32$; a $1 \times 1$ convolution makes $D$ channels of it. Its cells, in reading order, are the **tokens**.
# 2. The **encoder** lets the tokens look at each other, with two-dimensional sine codes telling them where they are.
# 3. The **decoder** turns $Q$ learned **object queries**, one for each slot, into as many states, in parallel.
# 4. Two **heads** read each state: a linear layer and softmax say the class, three layers with ReLU and a sigmoid the box.

# %% tags=["slide:Z/53-detr-backbone", "slide:A/54-detr-backbone"]
weights = {name: value.astype(np.float32) for name, value in model.state_dict().items()}
with mv.no_grad():
    maps = [m.numpy() for m in model.backbone.features(images[:8])]
print("maps of the small backbone:", [m.shape for m in maps])
projection = weights["input_proj.weight"][:, :, 0, 0]  # (D, C): 1 x 1, so a linear layer on the channels
tokens = linear(maps[-1].reshape(8, 128, 64).swapaxes(1, 2), projection, weights["input_proj.bias"])
assert tokens.shape == (8, 64, 96)  # (B, N, D): 8 x 8 cells of 8 x 8 pixels

with mv.nn.init.skip_init():  # the published sizes, without memory for their numbers
    published = mv.models.detr.detr_r50()
    strides = (4, 8, 16, 32)
    channels = published.backbone.channels
assert channels == (256, 512, 1024, 2048)
assert published.input_proj.weight.shape == (256, 2048, 1, 1)
print("DETR-R50: strides", strides, "channels", channels, "->", published.input_proj.weight.shape[0])

# %% [markdown]
# A backbone that starts from nothing leaves the transformer with nothing to look at: pre-training is essential (Deck Z,
# *We use standard ResNet*). The paper's knew ImageNet. Ours first learns to name the class of every pixel of the scenes,
# before it meets the transformer; the section on training comes back to that.
#
# ### Where things are
#
# Deck A, *DETR architecture* (positions); Deck Z, *We use 2D sine/cosine embeddings*. Each axis has half of the channels;
# rows and columns are counted from 1 and stretched to $(0, 2\pi]$, so that a place in the image keeps its code at another
# resolution:
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
alike = (codes @ codes.T / np.linalg.norm(codes, axis=1) ** 2).reshape(64, 8, 8)
picked = [0, 7, 27, 60]
viz.attention_maps(
    np.clip(alike[picked] - alike.min(), 0, None),
    titles=[f"cell ({k // 8}, {k % 8})" for k in picked],
    query=[(k // 8, k % 8) for k in picked],
    columns=4,
    shared=True,
    bar_label="likeness, from the least",
    title="How alike the code of one cell is to all others",
    caption="Near cells have like codes, along rows and along columns: the plane is given, not learned.",
)

# %% [markdown]
# ### Fifty lines of NumPy
#
# Deck H prints a DETR of 36 lines (it is the listing of the paper: torchvision's ResNet, PyTorch's `nn.Transformer`,
# learned codes added once). Here is everything, attention included, with the weights of the library's model. What
# differs from the transformer of [07](07_transformer.ipynb) (Deck H, *Transformer*, differences): positions are added to
# queries and keys at *every* attention, never to values; the decoder answers in **parallel**, so it needs no mask that
# hides the future; image tokens stand where words stood, object queries where the target words stood; and there are two
# heads.


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


# %% tags=["slide:H/18-detr-architecture", "slide:C/124-detr", "slide:A/56-object-queries", "slide:A/57-detr-branches", "slide:Z/63-decoder-layer", "slide:H/20-detr-against-original-transformer"]
memory = encode(tokens, codes)
answers = decode(memory, codes)
assert memory.shape == (8, 64, 96) and weights["queries"].shape == (16, 96)  # (Q, D)
for (my_logits, my_boxes), layer in zip(answers, [*output.auxiliary, output], strict=True):
    np.testing.assert_allclose(my_logits, layer.logits.numpy()[:8], atol=2e-4)
    np.testing.assert_allclose(my_boxes, layer.boxes.numpy()[:8], atol=1e-4)
assert np.allclose(softmax(my_logits).sum(axis=-1), 1) and my_boxes.min() >= 0 and my_boxes.max() <= 1

seen = output.attention.decoder[0][:8]  # (B, h, Q, Q): who conferred with whom
future = np.triu(np.ones((16, 16), bool), 1)
assert seen[..., future].mean() > 0.01  # no mask: early queries look at later ones

order = rng.permutation(16)  # queries in another order: the same answers in that order, all in one pass
kept = weights["queries"]
weights["queries"] = weights["queries"][order]
np.testing.assert_allclose(decode(memory, codes)[-1][1], my_boxes[:, order], atol=1e-4)
weights["queries"] = kept
print("NumPy and the library agree, layer by layer")

# %% [markdown]
# ### How many parameters
#
# The table of Deck H (*vs Faster R-CNN*) says 41M for DETR with ResNet-50 and 60M with ResNet-101. We count, on models
# built without memory for their weights. There are two right answers: all parameters, and those that are trained (stem
# and first stage of the backbone stay as ImageNet left them; the norms of the backbone are frozen and are not even
# counted as parameters).

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
# Deck Z, *We use 6 layers of transformer decoder* and *Decoder: no NMS needed*. Every decoder layer refines all
# predictions at once. The first has a handicap: when its queries look at the image, they have hardly conferred (their
# states were empty), so two of them may claim the same object. We measure **average precision** (AP) after each layer,
# without and with NMS. All answers of one class are ranked by their certainty; one is a hit when its IoU with an object
# of that class that no surer answer has hit is above a limit; AP is the precision, averaged over all shares of the
# objects that can be found. AP50 has the limit 0.50; AP is the mean over the limits 0.50, 0.55, ..., 0.95, as on COCO.


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
viz.curves(
    {
        "as it answers": ([1, 2, 3], [ap for ap, _ in plain]),
        **{
            f"NMS at {limit}": ([1, 2, 3], [ap for ap, _ in numbers]) for limit, numbers in suppressed.items()
        },
    },
    "decoder layer",
    "AP on 200 held-out scenes",
    title="What each decoder layer adds, and what NMS adds to it",
    caption="Mind the scale. After the first layer NMS helps a little, after the last it no longer does.",
)

# %% [markdown]
# As in the paper: NMS helps after the first layer and not after the last, where it costs a little AP. (AP50, which
# forgives boxes that lie badly, still gains a little.)
#
# Why can a network do without suppression at all? Because its queries confer: in the decoder's self-attention a slot
# can learn that another one has the object already. The test is to forbid it. In our fifty lines each query is now
# shown itself only, and nothing else is changed:

# %% tags=["slide:H/19-why-attention-for-detection"]
with mv.no_grad():
    maps = model.backbone.features(images)[-1].numpy()
tokens = linear(maps.reshape(len(maps), 128, 64).swapaxes(1, 2), projection, weights["input_proj.bias"])
memory = encode(tokens, codes)
alone = np.eye(16, dtype=bool)  # True = may be attended: itself
deaf = decode(memory, codes, allowed=alone)[-1]


def answers_for_taken(answers):
    """Sure answers that overlap a surer one of the same class by more than half, as a share of all sure ones."""
    sure, extra = 0, 0
    for image in zip(*answers, strict=True):
        f = detr_detections(*image, threshold=0.5)
        kept = batched_nms(box_cxcywh_to_xyxy(f["boxes"]), f["scores"], f["labels"], 0.5)
        sure = sure + len(f["scores"])
        extra = extra + len(f["scores"]) - len(kept)
    return extra / sure


found = {}
for name, answers in (("queries confer", layers[-1]), ("each for itself", deaf)):
    found[name] = (precision(answers)[0], precision(answers, suppress=0.7)[0], answers_for_taken(answers))
    print(
        "{:15}: AP {:.3f}, with NMS {:.3f}; duplicates {:.1%} of the sure answers".format(name, *found[name])
    )
(ap, _, taken), (deaf_ap, helped, deaf_taken) = found.values()
assert deaf_ap < helped < ap and deaf_taken > taken

distance_of = mv.vision.patches.attention_distance
reach = [distance_of(a, 8, output.attention.grid).mean(axis=0) for a in output.attention.encoder]  # by head
print("mean distance of the encoder's attention by layer and head, pixels:", *(np.round(r) for r in reach))
assert max(r.max() for r in reach) > 12  # beyond the neighbouring cell: context, in one layer

# %% [markdown]
# Our small model leaves some duplicates in any case. When the queries may not confer there are more, AP falls, and NMS
# is worth something again. The same self-attention is what gives a prediction its context (Deck H, *Transformer*, strengths): other objects, and the
# far end of its own.
#
# ## Queries specialise
#
# Deck A, *Object queries*: one point for each box a query predicted, over all scenes, whether it was sure or not. Nobody told
# the queries to share out the image among them.

# %% tags=["slide:A/66-queries-specialise"]
width, height = boxes[..., 2], boxes[..., 3]
kinds = {
    "small": np.maximum(width, height) < 0.3,
    "wide": (np.maximum(width, height) >= 0.3) & (width >= height),
    "tall": (np.maximum(width, height) >= 0.3) & (width < height),
}
sure = probabilities[..., :-1].max(axis=-1) > 0.5  # (B, Q)
fig, axes = viz.figure(
    2,
    8,
    width=10,
    height=3.3,
    sharex=True,
    sharey=True,
    title="Where the boxes of each query lie",
    caption="Each square is the image, each point the centre of a box: blue small, orange large and wide, green large and "
    "tall. Above: how many objects the query found in 200 scenes.",
)
for q, ax in enumerate(axes.flat):
    for colour, chosen in zip(viz.COLOURS, kinds.values(), strict=False):
        points = boxes[chosen[:, q], q]
        ax.plot(points[:, 0], points[:, 1], ".", color=colour, markersize=2.5)
    ax.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])
    viz.label(ax, title=f"query {q}: {sure[:, q].sum()}")
fig

# %% [markdown]
# In numbers: how much of the scatter of all boxes does the query's number alone explain? (0: nothing, 1: everything.)

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
# Areas, yes, and strongly; sizes much less, other than in the paper, where 100 queries have to share out objects of all
# sizes.
#
# ## What the encoder looks at
#
# Deck A, *Encoder self-attention*; Deck Z, *We use 6 layers of transformer encoder*; Deck H, *Transformer* (encoder).
# Take a cell on an object: which cells does it attend to? In the paper, those of the same object: the encoder already
# tells instances apart.
#
# One picture proves little, so measure first. For each cell that lies on one object: how densely does it attend to that
# object, to the other objects, to the ground? Density 1 is what an attention spread evenly over the image would have. And
# a baseline that knows the *place* but not the *scene*: what the same cell attends to on average over all scenes.


# %% tags=["slide:Z/57-detr-encoder", "slide:H/21-what-encoder-and-decoder-look-at"]
def coverage(scene):
    """How much of each cell each object covers: (n, N)."""
    return scene.masks.reshape(-1, 8, 8, 8, 8).mean(axis=(2, 4)).reshape(-1, 64)


def density(weights, region):
    """Mean attention (..., N) on a region (N,) of cells or shares of cells; 1 is an even spread over the image."""
    return weights @ region / region.mean()


by_head = []
for i, attention in enumerate(output.attention.encoder, start=1):  # (B, h, N, N)
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
# The encoder does begin to separate instances: the own object is read several times as densely as the others, and more
# densely than the cell's place alone would explain. The head that does so most, in a picture:

# %% tags=["slide:A/67-encoder-separates-instances"]
own = np.array([measured[0, 0] for measured in by_head])  # (layers, h)
layer, head = np.unravel_index(own.argmax(), own.shape)
print(f"density on the own object by layer and head: {own.round(1).tolist()}")
looks = output.attention.encoder[layer][one, head]  # (N, N)
cover = coverage(scene)
points = cover.argmax(axis=1)  # the fullest cell of each object
viz.attention_maps(
    looks[points].reshape(-1, 8, 8),
    image=scene.image,
    titles=[f"from {i + 1}, a {shapes.THINGS[k]}" for i, k in enumerate(scene.labels)],
    query=[(k // 8, k % 8) for k in points],
    columns=3,
    title=f"Encoder layer {layer + 1}, head {head + 1}, asked at one cell of each object",
    caption="Bright cells are what the marked cell reads: mostly its own object. A small object that lies on another one (5) "
    "reads that one.",
)

# %% [markdown]
# Other heads look elsewhere. One of the last layer has a favourite cell whatever the scene: attention must sum to 1, and a
# head with nothing to ask still has to look somewhere.

# %%
received = output.attention.encoder[-1].mean(axis=(0, 2))  # (h, N): how much each cell is read, on average
head, cell = np.unravel_index(received.argmax(), received.shape)
print(
    f"head {head + 1} spends {received[head, cell]:.0%} on cell ({cell // 8}, {cell % 8}); an even share is {1 / 64:.1%}"
)
assert received[head, cell] > 4 / 64

# %% [markdown]
# ## What the decoder looks at
#
# Deck Z, *Decoder attention weights*: each sure query's attention, in the colour of its box. First a scene in which
# objects overlap.

# %% tags=["slide:Z/66-decoder-attention-weights"]
crowded = 135
found = np.flatnonzero(sure[crowded])
cross = output.attention.cross[-1].mean(axis=1)  # (B, Q, N), all heads of the last layer
picture = viz.attention_by_object(
    cross[crowded, found].reshape(-1, 8, 8),
    images[crowded],
    boxes[crowded, found],
    labels=probabilities[crowded, found, :-1].argmax(axis=-1),
    names=shapes.THINGS,
    normalised=True,
    title="Who looks where",
    caption="Each query's attention in the colour of its box; a cell is 8 x 8 pixels.",
)

pairs = []  # of objects whose boxes overlap: density on the own object, and on the other one
for i, s in enumerate(scenes):
    costs = matcher.costs(
        output.logits[i : i + 1], output.boxes[i : i + 1], [{"labels": s.labels, "boxes": s.boxes}]
    )[0]
    slots_of = linear_sum_assignment(costs)[1]  # the slot of each object
    corners = box_cxcywh_to_xyxy(s.boxes)
    cover = coverage(s)
    for t, other in zip(*np.nonzero(box_iou(corners, corners) > 0.1), strict=True):
        if t != other:
            pairs.append([density(cross[i, slots_of[t]], cover[k]) for k in (t, other)])
pairs = np.array(pairs)
print(
    f"{len(pairs)} objects that overlap another: density {pairs[:, 0].mean():.1f} on the own, {pairs[:, 1].mean():.1f} on the other;"
)
print(f"the own one is read more densely in {(pairs[:, 0] > pairs[:, 1]).mean():.0%} of the cases")
assert (pairs[:, 0] > pairs[:, 1]).mean() > 0.75
picture

# %% [markdown]
# ### At the extremities?
#
# Deck Z, *Attention focuses on extremities*; Deck H, *Transformer* (decoder): in the paper's pictures the decoder looks at
# heads, feet and edges, which decide where a box ends. Does ours? For every sure box of at least 20 x 20 pixels we
# measure the density of its query's attention deep inside, on the inner and the outer rim of the border (4 pixels each),
# and elsewhere. The baseline is again the query's own average over all scenes: place without content.

# %% tags=["slide:Z/64-attention-at-extremities", "slide:H/21-what-encoder-and-decoder-look-at"]
zones = ("deep inside", "inner rim", "outer rim", "elsewhere")
y, x = np.mgrid[:64, :64] + 0.5
corners = box_cxcywh_to_xyxy(boxes) * 64
table = {}
large = sure & (corners[..., 2:] - corners[..., :2] >= 20).all(axis=-1)
for i, attention in enumerate(output.attention.cross, start=1):  # (B, h, Q, N)
    average = attention.mean(axis=0)
    rows = []
    for image, q in zip(*np.nonzero(large), strict=True):
        x0, y0, x1, y1 = corners[image, q]
        depth = np.minimum(np.minimum(x - x0, x1 - x), np.minimum(y - y0, y1 - y))  # pixels from the border
        regions = [depth > 4, (depth > 0) & (depth <= 4), (depth <= 0) & (depth > -4), depth <= -4]
        regions = [r.reshape(8, 8, 8, 8).mean(axis=(1, 3)).reshape(64) for r in regions]  # shares of cells
        rows.append([[density(a[:, q], r) for r in regions] for a in (attention[image], average)])
    measured, baseline = np.mean(rows, axis=0)  # (4, h) each
    table[f"layer {i}"], table[f"layer {i}, place only"] = measured.mean(axis=1), baseline.mean(axis=1)
    most = measured.argmax(axis=0)
    print(f"layer {i}: each head reads most densely: {', '.join(zones[z] for z in most)}")
print(f"{large.sum()} boxes")
viz.heatmap(
    np.array(list(table.values())),
    "seen from the border of the box",
    "",
    x_names=zones,
    y_names=list(table),
    bar_label="density",
    title="Where the decoder looks",
    caption="1 would be an even spread. The middle of the box is read most, and more than the query's usual place explains.",
)

# %%
inside, rim = table["layer 3"][0], table["layer 3"][1]
print(
    f"last layer: deep inside {inside:.1f}, inner rim {rim:.1f}; place only {table['layer 3, place only'][0]:.1f} and "
    f"{table['layer 3, place only'][1]:.1f}"
)
assert inside > rim > table["layer 3"][2] > table["layer 3"][3]

# %% [markdown]
# **Not at the extremities.** Our decoder looks at the middle of its object, more than place alone explains, and less
# towards the border: the opposite of the slides' pictures. The reason to suspect is scale. Our tokens are 8 x 8 pixels
# and the largest object is about five of them across; a cell in the middle has, through the backbone and two encoder
# layers, already heard from the border. In the paper an object may be 20 tokens across, and the border has to be looked
# for. A claim about a trained network is a claim about *that* network: measure yours.
#
# ## Masks: the panoptic head
#
# Deck H, *Panoptic Segmentation*; Deck A, *DETR for panoptic segmentation*. For **panoptic** segmentation every pixel gets
# a class, and every countable object its own mask; the grounds (stuff) are predicted as if they were objects. On top of the
# decoder each query's attention map over the image becomes a mask: a small convolutional net sharpens it step by step with
# finer maps of the backbone. Here are the masks of the sure queries.

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
    caption="A quarter of the image's resolution, things and grounds alike. Every query paints without knowing what the "
    "others paint.",
)

# %% [markdown]
# The merge is one line: every pixel goes to the query that wants it most. No two segments overlap, and no pixel is left.

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
    caption="Every pixel has one colour: that of the query that wanted it most.",
)

# %% [markdown]
# How good it is says the **panoptic quality** PQ: the mean IoU of the segments that were found (SQ) times how many were found and
# how few invented (RQ); chapter [19](19_mask2former.ipynb) computes it by hand.

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
# Take a new transformer on the trained backbone and train it for a few steps on fresh scenes.

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
# The loss falls, and the network is useless: all queries say about the same box, the mean one. The matching has to break the
# tie, and it changes its mind from step to step while all are alike; only when queries begin to differ does each get the
# same kind of object again and again. Many people stop here. Below is what the run that made the model of this
# chapter wrote down on its way; it is kept in the model's card.

# %%
history = storage.read_json(storage.PACKAGED / "detr-shapes" / "card.json")["history"]
fig, axes = viz.figure(
    1,
    2,
    width=8.6,
    height=3.4,
    title="Half an hour of training: minivis train detr-shapes --seed 0",
    caption="After 200 steps AP50 is 0.004: nothing. Then it rises quickly, and slowly in the second half.",
)
names = {"loss": "training loss", "validation AP50": "AP50 on 100 validation scenes"}
for ax, (column, name) in zip(axes[0], names.items(), strict=True):
    ax.plot(history["step"], history[column], marker="o", markersize=4, color=viz.COLOURS[0])
    ax.set_ylim(bottom=0)
    viz.label(ax, "step", name)
fig

# %% [markdown]
# And that is *with* a backbone that was first taught to name the class of each pixel (1,500 steps, the same kind of scenes). Why this
# detour? A matching can only reward differences that the tokens show. On top of random features all tokens look alike, the
# queries stay alike, and the plateau lasts. In trials with a slightly smaller model one run from nothing stood at AP50 0.31
# after 4,000 steps; one that spent the first 1,500 of its 4,000 on naming pixels stood at 0.85. The paper does the same
# with ImageNet.
#
# Retraining is one call: backbone, then DETR, resumable, about half an hour on two cores.

# %%
RETRAIN = False  # True: trains it again, into runs/detr-shapes; mv.load("runs/detr-shapes") then loads yours
if RETRAIN:
    recipes.run("detr-shapes", out="runs/detr-shapes", seed=0, resume=True)

# %% [markdown] tags=["slide:H/26-position-code-ablation", "slide:H/26-box-loss-ablation", "slide:Z/67-position-variants"]
# ## What each choice is worth
#
# Deck H, *Result*, prints two tables of the paper, Deck Z four rows of the first. **Position codes**, AP on COCO: none 32.8;
# sine once at the input 39.2; learned at every attention 39.6; sine in the decoder only 39.3; sine at every attention
# 40.6. **Box loss**: L1 alone 35.8, GIoU alone 39.9, both 40.6. The same choices at the size of our scenes: a smaller DETR
# on a backbone that stays as it is, 1,200 steps of 16 scenes, three seeds each, AP50 on 500 validation scenes
# (`scripts/run_ablations.py` measures them anew). Read the spread before the mean: where the seeds of two rows overlap,
# three seeds cannot tell them apart.

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
measured = ablations.results()
rows = {}
for subject, choices in paper.items():
    print(f"{subject:28} AP50, three seeds      mean   the paper, AP")
    for choice, theirs in choices.items():
        ours = 100 * np.array(measured[subject][choice]["AP50"])
        print(f"  {choice:26} {np.array2string(ours, precision=1):22} {ours.mean():6.1f}   {theirs:.1f}")
        rows[f"{choice} ({theirs:.1f})"] = ours
viz.dots(
    rows,
    "AP50 on 500 validation scenes, %",
    title="Position codes and box losses, each choice three times",
    caption="In brackets the AP of the paper on COCO. Five position codes, then three box losses; the last row of each group is "
    "DETR as published. A colour is a seed, a bar the mean.",
)

# %% [markdown]
# **Where the paper is confirmed:** without any code DETR finds next to nothing, since an encoder and queries that cannot tell
# places apart cannot say where. And *at which* layers the sine codes are added matters little: 1.4 points there, and here
# the seeds overlap.
#
# **Where it is not:** codes that are *learned* do nearly as badly as none, where the paper has them one point
# behind. They start as noise, and 1,200 steps are short: this row shows how fast they learn, not how far they get. **GIoU
# alone** gives anything between nothing and the best of all, as the seed has it; with L1 beside it all three seeds
# arrive. For L1 pulls at a box that overlaps nothing as hard as at any other. And **L1 alone** beats both together with every
# seed, where in the paper GIoU is worth most: at the start of training, and that is all of ours, L1 is the better teacher.

# %% [markdown] tags=["slide:H/22-coco", "slide:H/28-detr-strengths-and-weaknesses"]
# ## DETR among the detectors
#
# On COCO 2017 (118 thousand training images, 5 thousand for validation) DETR equals a well-tuned Faster R-CNN: 42.0 AP, at
# about its speed and size; better on large objects (61.1 against 53.4), worse on small ones (20.5 against 26.6). It is trained
# end to end, and long: up to 500 epochs. Both weaknesses, the small objects and the long training, come from global
# attention over a coarse map; deformable attention over several scales (chapter [19](19_mask2former.ipynb) uses it) is the
# answer that followed.

# %% [markdown]
# ## Exercises
#
# Each has a stub, a check that says what holds and what does not, and a solution to unfold.
# Where a check asks the laws, it asks for good manners too: float32 in gives float32 out, float64 keeps all its
# digits, the arrays that come in stay as they are, and nothing is printed.
#
# ### Exercise 1: from centre to corners
# Write `my_corners(boxes)`: `boxes` is `(..., 4)`, centre x, centre y, width, height; return left, top, right, bottom, in the
# same shape. Hint: `np.concatenate` along the last axis.


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
# Both axes at once: a box is two points or a point and a size.
# </details>

# %% [markdown]
# ### Exercise 2: intersection over union
# Write `my_iou(boxes1, boxes2)`: boxes `(N, 4)` and `(M, 4)`, corners; return `(N, M)`, every box with every other. No
# loops: give the boxes the axes `(N, 1, 4)` and `(1, M, 4)`. Two empty boxes have IoU 0, not 0 / 0.


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
# The clip matters: two negative sides would multiply to a positive area.
# </details>

# %% [markdown]
# ### Exercise 3: generalised IoU
# Write `my_giou(boxes1, boxes2)` for the same arguments: IoU less the share of the smallest enclosing box that neither
# covers. An enclosure without area contributes 0, and two empty boxes have IoU 0, as in exercise 2.


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
# Minimum and maximum change places: the intersection ends at the nearer sides, the enclosure at the farther ones.
# </details>

# %% [markdown]
# ### Exercise 4: the cheapest assignment
# Write `my_assignment(cost)`: `cost` is `(N, M)`; return two arrays of $\min(N, M)$ indices, row `rows[k]` paired with column
# `columns[k]`, no row and no column twice, at the least total cost. Brute force will do for the check; the Hungarian
# method is the harder way. Mind that there may be more rows than columns, costs below 0, several cheapest ways (any of them
# will do), and nothing to pair at all: then both arrays are empty, and still of integers.


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
# The shorter side chooses among the longer one. `minivis/vision/matching.py` does it in N³.
# </details>

# %% [markdown]
# ### Exercise 5: non-maximum suppression
# What DETR does without: write `my_nms(boxes, scores, threshold)`, corners `(N, 4)` and scores `(N,)`. Keep the best box,
# drop all whose IoU with it is larger than `threshold`, go on with the best of those left. Return the indices of the
# boxes that stay, by falling score, as an array of integers (an empty one where there are no boxes). Boxes without area overlap
# nothing; of boxes with the same score either may come first. `box_iou` may be used.


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
# A box that was dropped drops nobody: only those that stay suppress.
# </details>

# %% [markdown]
# ### Exercise 6: the set loss
# Write `my_set_loss(p, boxes, labels, wanted)` for one image: probabilities `p` $(Q, K+1)$ with "no object" last, predicted
# boxes $(Q, 4)$, true labels $(T,)$ and boxes $(T, 4)$, all boxes as centre and size. Match with the weights 1, 5, 2, then add
# the weighted mean of $-\log p$ ("no object" counts 0.1) and, divided by $T$, five times L1 and twice $1 - $ GIoU.


# %% tags=["exercise:set-loss"]
def my_set_loss(p, boxes, labels, wanted): ...  # your lines here


# %% tags=["check:set-loss"]
draw = np.random.default_rng(1)
p_some = softmax(draw.normal(size=(5, 4)))
b_some = draw.uniform(0.2, 0.6, (5, 4))
l_some = np.array([2, 0])
w_some = draw.uniform(0.2, 0.6, (2, 4))
output_some = mv.models.detr.DETROutput(np.log(p_some)[None], b_some[None])
judge = mv.losses.SetCriterion(3)  # weights 1, 5 and 2; "no object" counts 0.1
right = judge(output_some, [{"labels": l_some, "boxes": w_some}])["loss"].item()
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
# Match with probabilities, pay with logarithms.
# </details>

# %% [markdown]
# ## What to take away
#
# - Detection becomes a set prediction when a matching decides who answers for what; the loss is then blind to order.
# - The Hungarian method returns prices with its pairs, and the prices prove that nothing is cheaper.
# - IoU has no slope between boxes that do not meet; GIoU has, and no scale; L1 has a slope and a scale. DETR uses both.
# - The network is an ordinary encoder-decoder: positions at every attention, queries for words, all answers at once.
# - Queries share out the image among themselves and confer; without that there are more duplicates. What a trained
#   DETR attends to is to be measured, and ours does not look where the paper's does.
#
# Next: [19. Mask2Former](19_mask2former.ipynb), which asks for masks instead of boxes and lets them guide attention.
