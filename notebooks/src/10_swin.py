# %% [markdown]
# # 10. Swin: attention in windows that shift
#
# In ViT every patch attends to every other, and the cost grows with the square of their number. In Swin a token
# attends only within a window around it. The windows shift from block to block, and the map becomes coarser from
# stage to stage, as in convolutional networks. So Swin can afford small patches, and its maps suit detection.
#
# **Goals**
#
# - You can cut a map into windows and put it together again, and say what attention in windows costs.
# - You can say why the windows shift, why the map is rolled, and which pairs of tokens the mask forbids.
# - You can compute the index of relative positions, also for windows that are not square.
# - You can write Swin as a class in sixty lines, count its parameters on paper, and train it.
# - You can measure how far information travels with the shift and without it.
#
# **Before**: attention from [05](05_attention.ipynb), ViT from [08](08_vit.ipynb).
#
# **Slides**: Deck A is AIIA, *Attention and Transformer Networks in Computer Vision*, its part on the Swin
# Transformer. A section that follows a slide names it by its tag: deck, page and a short name. The paper is Liu et
# al., *Swin Transformer: hierarchical vision transformer using shifted windows*, ICCV 2021.
#
# > *A correction.* Deck H, *Vision Transformer*, places Swin at CVPR 2021; it appeared at ICCV 2021.
#
# **Time**: about 75 minutes to read, 40 more for the exercises; the cells take about a minute and a half.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import nn, ops, recipes, viz
from minivis.laws import at_least, below, claims
from minivis.ops import gelu, layer_norm, linear, softmax

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# This is the Swin that the chapter takes apart. Look at the shapes: from stage to stage the map gets half as high
# and wide and twice as deep, and the blocks of every stage are the same.

# %%
viz.architecture(mv.load("swin-shapes"), (1, 3, 64, 64))

# %% [markdown]
# ## Things come in all sizes
#
# Slide `A/43-scale-varies`. Words have about the same size, but an object may fill an image or only a small part of
# it. Tokens of one fixed size suit neither. We measure this on generated scenes of $64 \times 64$ pixels: how many
# tokens wide is an object, for tokens of 16 pixels, for tokens of 4 pixels, and if the size could be chosen from 4, 8
# and 16?

# %%
scenes = [mv.data.shapes.scene(seed) for seed in range(60)]
sides = np.concatenate([np.sqrt(s.boxes[:, 2] * s.boxes[:, 3]) * 64 for s in scenes])  # pixels


def choose(side):
    """The coarsest of three token sizes for which the side is at least one and a half tokens."""
    return max([size for size in (4, 8, 16) if side / size >= 1.5], default=4)


widths = {
    "16 pixels": sides / 16,
    "4 pixels": sides / 4,
    "4, 8 or 16": sides / [choose(side) for side in sides],
}
for name, wide in widths.items():
    print(f"tokens of {name:10}: an object is {wide.min():.1f} to {wide.max():.1f} tokens wide")
print(f"the largest object has {(sides.max() / sides.min()) ** 2:.0f} times the area of the smallest")
assert (sides.max() / sides.min()) ** 2 > 10
ratio = {name: wide.max() / wide.min() for name, wide in widths.items()}
assert ratio["4, 8 or 16"] < ratio["16 pixels"] / 1.5  # a choice of sizes makes objects alike

# %% [markdown]
# With one size of token, the widest object has almost five times as many tokens across as the narrowest. With a choice
# of three sizes it has twice as many: every object is then one and a half to three tokens wide, and looks to the
# network like every other. Five scenes with one object each, from the largest to the smallest:

# %% tags=["slide:A/43-scale-varies"]
one = [mv.data.shapes.scene(seed, objects=1) for seed in range(60)]
by_size = sorted(one, key=lambda s: s.boxes[0, 2] * s.boxes[0, 3])[::-1][:: len(one) // 5][:5]
viz.images(
    [s.image for s in by_size],
    titles=[f"{math.sqrt(s.boxes[0, 2] * s.boxes[0, 3]) * 4:.1f} tokens wide" for s in by_size],
    title="Objects measured in tokens of 16 pixels",
    caption="The number above each picture is the width of its object in tokens of 16 pixels. The first object "
    "covers several tokens, the last only a part of one.",
)

# %% [markdown]
# So we want small tokens *and* large ones. Small tokens are many: an image of $224 \times 224$ pixels has 196 patches
# of 16 pixels, but 3,136 of 4 pixels, and attention among all of them would cost 256 times as much. Swin's answer has
# two parts. Attention stays within **windows**, so that many tokens are affordable. And tokens are **merged** from
# stage to stage, so that small ones become large ones.

# %% [markdown]
# ## Windows
#
# Slide `A/44-windows-and-merging`. Attention is computed within windows of $M \times M$ tokens that do not overlap.
# Maps have their channels last here: $x$ $(B, H, W, C)$ becomes $(B\,n_W, M, M, C)$, with $n_W = HW/M^2$ windows in
# reading order, first all those of the first image. First with loops, then with a reshape, a transpose and a reshape:


# %%
def partition_loops(x, M):
    """Window by window: (B, H, W, C) -> (B nW, M, M, C)."""
    windows = []
    for image in x:
        for top in range(0, x.shape[1], M):
            for left in range(0, x.shape[2], M):
                windows.append(image[top : top + M, left : left + M])
    return np.stack(windows)


def partition(x, M):
    """The same without loops: split both sides, bring the two M together, merge."""
    B, H, W, C = x.shape
    x = x.reshape(B, H // M, M, W // M, M, C)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, M, M, C)


# %%
x = rng.standard_normal((2, 8, 12, 3)).astype(np.float32)
assert (partition_loops(x, 4) == partition(x, 4)).all()
assert (mv.vision.window_partition(x, 4) == partition(x, 4)).all()
assert mv.laws.check("window_partition", mv.vision.window_partition).passed

# %% [markdown]
# A reshape alone would cut each row of the map into pieces. With a transpose between two reshapes the pieces are
# squares. `window_reverse` undoes this exactly:

# %%
scene = mv.data.shapes.scene(5, objects=1)
picture = scene.image.transpose(1, 2, 0)[None]  # (1, 64, 64, 3): channels last
windows = mv.vision.window_partition(picture, 16)
assert windows.shape == (16, 16, 16, 3)
assert (mv.vision.window_reverse(windows, 16, 64, 64) == picture).all()
viz.images(
    windows.transpose(0, 3, 1, 2),
    titles=[f"window {i}" for i in range(16)],
    columns=4,
    size=1.1,
    title="A scene cut into sixteen windows",
    caption="The sixteen windows of the scene, in reading order. So far a token of one window can learn nothing "
    "about the other windows.",
)

# %% [markdown]
# ## Linear instead of quadratic
#
# There are $N = HW$ tokens of width $D$. $\Omega$ counts multiply-adds; MSA is attention among all tokens, W-MSA
# attention within windows. In both, queries, keys, values and the output projection are four products of $N D^2$
# multiply-adds. Global attention then computes $N^2$ scores and uses them as weights: $2 N^2 D$. In windows each
# query has only $M^2$ keys:
#
# $$\Omega(\text{MSA}) = 4 N D^2 + 2 N^2 D, \qquad \Omega(\text{W-MSA}) = 4 N D^2 + 2 M^2 N D.$$
#
# With $M$ fixed the second is **linear in the number of tokens**. First we count, with the layers of the library, at
# the size of the first stage of Swin-T: $56 \times 56$ tokens, $D = 96$, $M = 7$.

# %%
N = 56 * 56
D = 96
M = 7
in_windows = mv.nn.WindowAttention(D, 3, (M, M), (0, 0))
everywhere = mv.nn.MultiHeadAttention(D, 3)
cost = mv.summary(in_windows, np.zeros((1, 56, 56, D), np.float32)).multiply_adds
cost_global = mv.summary(everywhere, np.zeros((1, N, D), np.float32)).multiply_adds
assert cost == 4 * N * D**2 + 2 * M**2 * N * D
assert cost_global == 4 * N * D**2 + 2 * N**2 * D
print(f"one layer, 56 x 56 tokens: {cost_global / 1e6:,.0f} million multiply-adds everywhere,", end=" ")
print(f"{cost / 1e6:,.0f} million in windows: {cost_global / cost:.1f} times less")
assert 13 < cost_global / cost < 14

# %% [markdown]
# Now we measure time, with a clock that stops while other programs use the processor. Both cases run the same
# operation, `scaled_dot_product_attention`: once with all tokens as one sequence, once with windows of $8 \times 8$
# as many short sequences. When both axes are logarithmic, a cost of $N^k$ is a straight line of slope $k$: slope 1 is
# linear, slope 2 quadratic. A measured slope varies by a few tenths from run to run.

# %%
import time

from threadpoolctl import threadpool_limits  # came with scikit-learn


def seconds(tokens, window):
    """Processor time of attention over `tokens` tokens in sequences of `window`: the best of five short stretches."""
    q = np.random.default_rng(0).standard_normal((tokens // window, 1, window, 32)).astype(np.float32)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        passed = 0
        runs = 0
        while passed < 0.03:  # many runs of a short one: clocks tick
            mv.ops.scaled_dot_product_attention(q, q, q)
            passed = time.process_time() - start
            runs = runs + 1
        best = min(best, passed / runs)
    return best


# %%
counts = np.array([8, 16, 24, 32, 48, 64]) ** 2  # tokens of square maps
with threadpool_limits(1):  # one thread: several that wait for each other would count as work
    measured = {
        "everywhere": np.array([seconds(n, n) for n in counts]),
        "in windows of 8 x 8": np.array([seconds(n, 64) for n in counts]),
    }
slope = {}
for name, taken in measured.items():
    # from 256 tokens on: before that, starting costs as much as the work
    slope[name] = np.polyfit(np.log(counts[1:]), np.log(taken[1:]), 1)[0]
    print(f"{name:20}: {1000 * taken[-1]:7.1f} ms for {counts[-1]} tokens, slope {slope[name]:.2f}")
assert 1.5 < slope["everywhere"] < 2.7 and 0.5 < slope["in windows of 8 x 8"] < 1.5
assert slope["everywhere"] > slope["in windows of 8 x 8"] + 0.5

# %% tags=["slide:A/44-windows-and-merging"]
viz.curves(
    {name: (counts, 1000 * taken) for name, taken in measured.items()},
    "tokens",
    "milliseconds",
    log="xy",
    title="Measured time of attention, global and in windows",
    caption="Both axes are logarithmic. With twice as many tokens attention in windows takes about twice the time, "
    "and global attention about four times.",
)

# %% [markdown]
# ## Why the windows must move
#
# If the windows always stood in the same places, a token would never learn about a neighbour across the border of its
# window, however many blocks there are. Think of an object that lies on such a border: its two halves would never meet.
#
# So every second block uses windows that are **shifted by half a window** (Deck A, *Swin Transformer*): the borders of
# one block lie in the middle of the windows of the next. The shift is $s = \lfloor M/2 \rfloor$ tokens.

# %%
M, s = 4, 2


def window_of(place, M, s):
    """Number of the window, along one side, when windows begin at s - M, s, s + M, ..."""
    return (place + M - s) // M


places = np.arange(8)
assert (places // M).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]  # the windows of one block
assert window_of(places, M, s).tolist() == [0, 0, 1, 1, 1, 1, 2, 2]  # and of the next
assert (places // M)[3] != (places // M)[4] and window_of(3, M, s) == window_of(4, M, s)  # neighbours meet

# %% [markdown]
# But this has a price. Windows at the edges of the map are cut off, so there are more windows, and of different shapes.
# A map of $8 \times 8$ with $M = 4$ has $2 \times 2$ windows, but $3 \times 3$ shifted ones, of four shapes. Different
# shapes cannot be one array, and computing each of them as a full window would cost $9/4$ as much. The right picture
# shows the way out, which the next section explains.

# %% tags=["slide:A/46-shifted-windows"]
viz.shifted_windows(
    8,
    8,
    window=M,
    shift=s,
    image=scene.image,
    size=3.0,
    title="Windows, shifted windows, and the rolled map",
    caption="Left: four windows. Middle: the shifted windows, nine of four shapes. Right: the map rolled up and "
    "left by the shift. It has four full windows again; those at the lower and right edge hold pieces from "
    "different parts of the map.",
)

# %% [markdown]
# ## The roll and the mask
#
# Slide `A/47-cyclic-shift`. Roll the map up and left by $s$. What leaves at the top and left enters again at the
# bottom and right. The regular grid then cuts the *shifted* windows, all of full size and in the same number as
# before. (Moving the windows down and right is the same as moving the map up and left.)
#
# $$y_{i,j} = x_{(i + s) \bmod H,\, (j + s) \bmod W}$$


# %%
def shift_loops(x, s):
    """Token by token: (B, H, W, C) -> the same shape."""
    B, H, W, C = x.shape
    y = np.zeros_like(x)
    for i in range(H):
        for j in range(W):
            y[:, i, j] = x[:, (i + s) % H, (j + s) % W]
    return y


assert (shift_loops(x, 2) == np.roll(x, (-2, -2), (1, 2))).all()
assert (mv.vision.cyclic_shift(x, 2) == shift_loops(x, 2)).all()
assert (mv.vision.cyclic_shift(mv.vision.cyclic_shift(x, 2), -2) == x).all()  # -s before, +s after

# %% [markdown]
# In the windows at the lower and right edge, tokens from opposite ends of the map now stand side by side. A **mask**
# keeps them apart: token $i$ may attend to token $j$ of its window only if they stood together in one shifted window
# before the roll (the middle picture). We compute the mask twice. First with loops, from `window_of`, which does not
# use the roll. Then as the library does, from two questions about each token: was it moved around the lower edge, and
# was it moved around the right edge?


# %%
def mask_loops(H, W, M, s):
    """For each window of the rolled map: who was together before? Boolean (nW, N, N), N = M M, True = may be attended."""
    allowed = []
    for top in range(0, H, M):
        for left in range(0, W, M):
            came = [((top + a + s) % H, (left + b + s) % W) for a in range(M) for b in range(M)]
            piece = [(window_of(i, M, s), window_of(j, M, s)) for i, j in came]
            allowed.append([[mine == other for other in piece] for mine in piece])
    return np.array(allowed)


def mask_regions(H, W, M, s):
    """The same: number four regions of the rolled map, cut it, compare."""
    region = 2 * (np.arange(H) >= H - s)[:, None] + (np.arange(W) >= W - s)  # (H, W)
    region = partition(region[None, :, :, None], M).reshape(-1, M * M)  # (nW, N)
    return region[:, :, None] == region[:, None, :]


# %% tags=["slide:A/47-cyclic-shift"]
mask = mv.vision.shifted_window_mask(8, 8, M, s)
assert (mask == mask_loops(8, 8, M, s)).all() and (mask == mask_regions(8, 8, M, s)).all()
assert len(mask) == 4  # as many windows as without a shift, not nine
assert mask[0].all()  # an inner window: everybody sees everybody
assert (mask[3].sum(axis=1) == 4).all()  # the corner window: four pieces of four tokens
assert mv.laws.check("shifted_window_mask", mv.vision.shifted_window_mask).passed
viz.window_masks(
    mask,
    titles=[f"window {i}" for i in range(4)],
    size=2.3,
    title="The masks of the four windows of the rolled map",
    caption="Each square is one window with its 16 tokens in reading order: rows are queries, columns are keys, "
    "white is allowed. Upper left: a window in which all is allowed. Upper right: two pieces side by side. Lower "
    "left: two pieces, one above the other. Lower right: four pieces.",
)

# %% [markdown]
# The same on the map: three tokens, their windows, and the tokens they may attend to. On the rolled map, allowed and
# forbidden tokens of a window lie side by side. Rolled back, the forbidden ones lie at another end of the map, and
# the allowed ones always form one rectangle around the token; the `assert` counts them.

# %%
rolled = []
for window, token in ((0, 5), (1, 4), (3, 15)):
    seen = np.zeros((4, M * M))  # four windows of sixteen tokens
    seen[window] = np.where(mask[window, token], 0.7, 0.3)
    seen[window, token] = 1
    rolled.append(mv.vision.window_reverse(seen.reshape(4, M, M, 1), M, 8, 8))
unrolled = [mv.vision.cyclic_shift(seen, -s) for seen in rolled]
for seen in unrolled:
    there = np.argwhere(seen[0, ..., 0] > 0.5)
    assert len(there) == np.prod(np.ptp(there, axis=0) + 1)  # as many as the rectangle around them has

# %%
viz.images(
    [seen[0, ..., 0] for seen in rolled + unrolled],
    titles=[f"{when}: token of window {w}" for when in ("rolled", "as it was") for w in (0, 1, 3)],
    columns=3,
    size=2.3,
    title="What three tokens may attend to",
    vmin=0,
    vmax=1,
    caption="White: the token. Light grey: what it may attend to. Dark grey: tokens of the same window of the "
    "rolled map that it may not attend to. Upper row: the rolled map. Lower row: the same places on the original "
    "map.",
)

# %% [markdown]
# Try it: choose a shift and click on a token (the squares have the places of the tokens). Which tokens may attend to
# only four?

# %%
viz.window_painter(8, 8, M, shift=s)

# %% [markdown]
# ### Nothing leaks
#
# A model with a mask that is almost right trains almost as well, so the mistake is easily missed. We therefore test
# for leaks: change **one** token, and see which outputs change. The token at the upper left corner is rolled into the
# last window, next to tokens from the lower right. Attention is as simple as possible here: the tokens themselves are
# queries, keys and values.


# %%
def bare_attention(x, M, s, allowed=None):
    """Roll, cut, attend, join, roll back: (1, H, W, C) -> the same."""
    H, W, C = x.shape[1:]
    t = mv.vision.window_partition(mv.vision.cyclic_shift(x, s), M).reshape(-1, M * M, C)
    scores = t @ t.swapaxes(1, 2) / math.sqrt(C)
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    y = mv.vision.window_reverse((softmax(scores) @ t).reshape(-1, M, M, C), M, H, W)
    return mv.vision.cyclic_shift(y, -s)


# %%
tokens = rng.standard_normal((1, 8, 8, 6)).astype(np.float32)
poked = tokens.copy()
poked[0, 0, 0] += 1
changed = [
    (bare_attention(poked, M, s, allowed) != bare_attention(tokens, M, s, allowed)).any(axis=-1)[0]
    for allowed in (None, mask)
]
assert changed[0].sum() == 16 and changed[0][7, 7]  # without: the opposite corner knows
assert changed[1].sum() == 4 and changed[1][:2, :2].all()  # with: its piece, and nobody else
viz.images(
    [c.astype(float) for c in changed],
    titles=["no mask", "with the mask"],
    size=2.4,
    title="One token is changed: which outputs change?",
    caption="The token at the upper left is changed; white marks the outputs that change. Without the mask they "
    "lie in all four corners of the map. With the mask they are the four tokens of one piece.",
)

# %% [markdown]
# Published models add $-100$ to forbidden scores, where we put $-\infty$. Their forbidden weights are about
# $e^{-100} \approx 4 \cdot 10^{-44}$ instead of 0. In float32 this makes no difference beside a weight near 1, so the
# results are the same as long as the scores themselves are far from 100.
#
# ## Relative positions
#
# Attention does not depend on the order of the tokens, in a window either; without help a token could not tell its left
# neighbour from its right one. ViT adds a code to each token that says *where it is*. But the same window stands at
# many places of the map, and what matters within it is how two tokens stand *to each other*. So Swin adds a learned
# number to each score, one for each relative position that two tokens of a window can have (Deck A, *Swin Transformer
# architecture*; equation 4):
#
# $$Y = \mathrm{softmax}\Big(\frac{Q K^T}{\sqrt{d}} + B\Big) V, \qquad B_{ij} = \hat B[I_{ij}].$$
#
# $B$ has $M^2 \times M^2$ entries. But two tokens of a window are between $-(M-1)$ and $M-1$ rows apart, and as many
# columns, so there are only $(2M-1)^2$ relative positions. Each head learns a table $\hat B$ of $(2M-1)^2$ numbers,
# and $I$ says which entry belongs to a pair. Step by step, for a window of 2 rows and 3 columns:

# %%
Mh, Mw = 2, 3
row, column = (place.reshape(-1) for place in np.indices((Mh, Mw)))  # of each token: (N,)
dy = row[:, None] - row  # (N, N): how many rows query i is below key j
dx = column[:, None] - column
dy0, dx0 = dy + Mh - 1, dx + Mw - 1  # from 0: no negative index, which would count from the table's end
by_steps = dy0 * (2 * Mw - 1) + dx0  # row by row, as every table is read
assert (mv.vision.relative_position_index((Mh, Mw)) == by_steps).all()
viz.grids(
    [dy, dx, dy0, dx0, by_steps],
    titles=["rows apart", "columns apart", "rows, from 0", "columns, from 0", "5 · rows + columns"],
    columns=5,
    title="The index of relative positions, step by step",
    caption="Rows are queries, columns are keys. The first two tables are the offsets in rows and columns, the "
    "next two the same counted from 0, and the last combines them to one index. There are 15 relative positions, "
    "numbered 0 to 14.",
)

# %% tags=["slide:A/49-relative-position-bias"]
index = mv.vision.relative_position_index(4)
learned = rng.standard_normal(7 * 7).astype(np.float32)  # a table for one head
B = learned[index].reshape(4, 4, 4, 4)  # row and column of the query, row and column of the key
assert index.shape == (16, 16) and len(np.unique(index)) == (2 * 4 - 1) ** 2
assert (B[1:, :, 1:] == B[:-1, :, :-1]).all()  # both a row further down: the same bias
assert (B[:, 1:, :, 1:] == B[:, :-1, :, :-1]).all()  # both a column further right: the same
assert mv.laws.check("relative_position_index", mv.vision.relative_position_index).passed
viz.relative_index(
    mv.vision.relative_position_index(3),
    3,
    title="Which entry of the table belongs to each pair of tokens",
    caption="Left: the index for all pairs of tokens of a window of 3 x 3. Right: the index for the token in the "
    "middle, at the places of the keys. On the left the same number repeats along diagonals: the same offset at "
    "another place.",
)

# %% [markdown]
# ### The trap of windows that are not square
#
# The row offset is multiplied by the length of a *row* of the table, $2 M_w - 1$. For square windows this equals
# $2 M_h - 1$, so code that uses the wrong one passes every test with square windows:

# %%
wrong = dy0 * (2 * Mh - 1) + dx0
print(
    f"a window of 2 x 3: {len(np.unique(by_steps))} numbers for 15 offsets; wrong way: {len(np.unique(wrong))}"
)
assert len(np.unique(by_steps)) == 15 and len(np.unique(wrong)) < 15  # different offsets share one bias
r, c = (place.reshape(-1) for place in np.indices((3, 2)))
wrong_tall = (r[:, None] - r + 2) * (2 * 3 - 1) + (c[:, None] - c + 1)
print(f"a window of 3 x 2: the table has entries 0 to 14; the wrong way asks for entry {wrong_tall.max()}")
assert wrong_tall.max() > 14 and mv.vision.relative_position_index((3, 2)).max() == 14

# %% [markdown]
# ## The whole layer, against brute force
#
# Now all parts come together. The layer has five steps: roll the map, cut it into windows, attend with bias and mask,
# join the windows, roll back. `p` holds the weights by name, as `model.state_dict()` gives them; there are $h$ heads of
# width $d = D / h$. (The library pads maps whose sides are no multiple of the window. We leave that out.)


# %%
def window_attention(x, p, name, heads, M, s):
    """Attention in (shifted) windows: (B, H, W, D) -> (B, H, W, D)."""
    B, H, W, D = x.shape
    if min(H, W) <= M:
        s = 0  # one window: nothing to shift
    t = mv.vision.window_partition(mv.vision.cyclic_shift(x, s), M).reshape(B, -1, M * M, D)  # (B, nW, N, D)

    def project(which):
        y = linear(t, p[f"{name}.attention.{which}.weight"], p[f"{name}.attention.{which}.bias"])
        return y.reshape(*t.shape[:3], heads, -1).swapaxes(2, 3)  # (B, nW, h, N, d)

    q, k, v = project("query"), project("key"), project("value")
    bias = p[f"{name}.bias_table"][mv.vision.relative_position_index(M)]  # (N, N, h)
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(D // heads) + bias.transpose(2, 0, 1)
    allowed = mv.vision.shifted_window_mask(H, W, M, s)[:, None]  # (nW, 1, N, N): for all images and heads
    y = softmax(np.where(allowed, scores, -np.inf)) @ v
    y = linear(
        y.swapaxes(2, 3).reshape(t.shape), p[f"{name}.attention.out.weight"], p[f"{name}.attention.out.bias"]
    )
    y = mv.vision.window_reverse(y.reshape(-1, M, M, D), M, H, W)
    return mv.vision.cyclic_shift(y, -s)


# %% [markdown]
# Does this compute what we want? We compare it with code that has no roll, no mask and no index. It goes through the
# original map, finds for each token the others in its shifted window, and attends to those: `attend_to` is attention of
# one token with one head, written as on the slide.


# %%
def attend_to(q, k, v, table, place, others, M):
    """One token, one head: the mean of the values of the others, weighted by softmax(q k / sqrt(d) + bias)."""
    a, b = place
    bias = np.array([table[a - i + M - 1, b - j + M - 1] for i, j in others])
    keys = np.array([k[i, j] for i, j in others])
    values = np.array([v[i, j] for i, j in others])
    return softmax(keys @ q[a, b] / math.sqrt(q.shape[2]) + bias) @ values


def brute_force(x, p, name, heads, M, s):
    """Shifted-window attention of one map (H, W, D), token by token, never rolled."""
    H, W, D = x.shape
    inner = f"{name}.attention"
    q, k, v = (x @ p[f"{inner}.{w}.weight"].T + p[f"{inner}.{w}.bias"] for w in ("query", "key", "value"))
    table = p[f"{name}.bias_table"].reshape(2 * M - 1, 2 * M - 1, heads)
    y = np.zeros_like(x)
    d = D // heads
    everywhere = [(i, j) for i in range(H) for j in range(W)]
    number = {(i, j): (window_of(i, M, s), window_of(j, M, s)) for i, j in everywhere}
    for place in everywhere:
        others = [other for other in everywhere if number[other] == number[place]]
        for h in range(heads):
            part = (..., slice(h * d, h * d + d))
            y[place][part] = attend_to(q[part], k[part], v[part], table[..., h], place, others, M)
    return y @ p[f"{inner}.out.weight"].T + p[f"{inner}.out.bias"]


# %% [markdown]
# Both functions and the library's layer get the same random weights, for no shift, a shift of 1 and one of 2:

# %%
for shift in (0, 1, 2):
    layer = mv.nn.WindowAttention(8, 2, (4, 4), (shift, shift), rng=np.random.default_rng(shift))
    p = {f"attn.{name}": value for name, value in layer.state_dict().items()}
    p["attn.bias_table"] = rng.standard_normal(p["attn.bias_table"].shape).astype(np.float32)
    layer.bias_table.data = p["attn.bias_table"]
    t = rng.standard_normal((1, 8, 12, 8)).astype(np.float32)
    expected = brute_force(t[0], p, "attn", 2, 4, shift)
    np.testing.assert_allclose(window_attention(t, p, "attn", 2, 4, shift)[0], expected, atol=1e-5)
    np.testing.assert_allclose(layer(t).data[0], expected, atol=1e-5)

# %% [markdown]
# **The law**: attention with roll and mask equals attention within the pieces of the map that was never rolled, for
# every shift. The roll changes only the order of the computation, not the result.
#
# ## Patch merging, and a hierarchy of maps
#
# The windows make small tokens affordable. The large tokens come from merging. Between stages the map becomes half as
# high and half as wide: the four tokens of each $2 \times 2$ square are concatenated to $4D$ numbers, normalised, and
# mapped to $2D$ by one matrix without bias. There are then a quarter as many tokens, of twice the width. A window of
# the same $M \times M$ tokens now covers four times the area of the image.
#
# The published order of the four is: upper left, *lower left*, upper right, lower right. A network could learn with
# any order, but published weights need this one.


# %%
def norm(x, p, name):
    return layer_norm(x, x.shape[-1], p[name + ".weight"], p[name + ".bias"], eps=1e-5)


def merge_loops(x, p, name):
    """Square by square: (B, H, W, D) -> (B, H/2, W/2, 2 D)."""
    B, H, W, D = x.shape
    y = np.zeros((B, H // 2, W // 2, 4 * D), x.dtype)
    for i in range(H // 2):
        for j in range(W // 2):
            square = [x[:, 2 * i + a, 2 * j + b] for b in (0, 1) for a in (0, 1)]  # left column first
            y[:, i, j] = np.concatenate(square, axis=-1)
    return linear(norm(y, p, name + ".norm"), p[name + ".reduction.weight"])


def merge(x, p, name):
    """The same by slices."""
    four = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
    return linear(norm(np.concatenate(four, axis=-1), p, name + ".norm"), p[name + ".reduction.weight"])


# %%
merging = mv.models.swin.PatchMerging(8, 1e-5, np.random.default_rng(0))
p = {f"merge.{name}": value for name, value in merging.state_dict().items()}
t = rng.standard_normal((2, 6, 8, 8)).astype(np.float32)
np.testing.assert_allclose(merge(t, p, "merge"), merge_loops(t, p, "merge"), atol=1e-5)
np.testing.assert_allclose(merge(t, p, "merge"), merging(mv.Tensor(t)).data, atol=1e-5)
assert merge(t, p, "merge").shape == (2, 3, 4, 16)

# %% [markdown]
# Slide `A/45-hierarchy-for-dense-prediction`. Small patches whose neighbours are merged give a **pyramid** of maps,
# with the strides 4, 8, 16 and 32 of the stages of a ResNet. So Swin can replace the ResNet in everything that was
# built on one: pyramid networks, U-Nets, DETR (chapter 15), Mask2Former (chapter 19). ViT has a map of stride 16 at
# every depth.

# %% tags=["slide:A/45-hierarchy-for-dense-prediction"]
with mv.nn.init.skip_init(), mv.no_grad():  # sizes only: no weights are drawn
    backbone = mv.models.swin_t(feature_norms=True)
    resnet = mv.models.resnet50()
    image = np.zeros((1, 3, 64, 96), np.float32)
    pyramid = [m.shape for m in backbone.features(image)]
    of_resnet = [m.shape for m in resnet.features(image)]
for ours, theirs in zip(pyramid, of_resnet, strict=True):
    print(f"Swin-T {ours!s:18} ResNet-50 {theirs!s:18} stride {64 // ours[2]}")
assert [shape[2:] for shape in pyramid] == [shape[2:] for shape in of_resnet]  # one replaces the other
assert [64 // shape[2] for shape in pyramid] == [4, 8, 16, 32]
assert [shape[1] for shape in pyramid] == [96, 192, 384, 768]  # a quarter of the tokens, twice the width

# %% [markdown]
# ## Swin in forty lines
#
# Slide `A/50-swin-architecture`. Blocks come in pairs: one with windows (W-MSA), one with shifted windows (SW-MSA).
# Each attention is followed by an MLP, with a norm before each branch and a residual around it (equation 3):
#
# $$\hat z_l = \text{W-MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1}, \qquad z_l = \mathrm{MLP}(\mathrm{LN}(\hat z_l)) + \hat z_l$$
# $$\hat z_{l+1} = \text{SW-MSA}(\mathrm{LN}(z_l)) + z_l, \qquad z_{l+1} = \mathrm{MLP}(\mathrm{LN}(\hat z_{l+1})) + \hat z_{l+1}$$
#
# There is no class token: the last map is normalised and averaged. There are no position codes either; the tables of
# biases replace them. We take the weights of the small trained model and compare the results.


# %% tags=["slide:A/50-swin-architecture"]
def swin(images, p, patch_size, depths, heads, window, **_):
    """Swin's forward pass: (B, C, H, W) -> (B, K)."""
    x = mv.ops.conv2d(images, p["proj.weight"], p["proj.bias"], stride=patch_size)  # patches, as in ViT
    x = norm(x.transpose(0, 2, 3, 1), p, "patch_norm")  # (B, H/P, W/P, D)
    for stage, (depth, h) in enumerate(zip(depths, heads, strict=True)):
        if stage:
            x = merge(x, p, f"stages.{stage}.merge")
        for i in range(depth):
            b = f"stages.{stage}.blocks.{i}."
            s = window // 2 if i % 2 else 0  # every second block is shifted
            x = window_attention(norm(x, p, b + "norm1"), p, b + "attn", h, window, s) + x
            hidden = linear(norm(x, p, b + "norm2"), p[b + "mlp.fc1.weight"], p[b + "mlp.fc1.bias"])
            x = linear(gelu(hidden), p[b + "mlp.fc2.weight"], p[b + "mlp.fc2.bias"]) + x
    return linear(norm(x, p, "norm").mean(axis=(1, 2)), p["head.weight"], p["head.bias"])


model = mv.load("swin-shapes")
p = {name: value.astype(np.float32) for name, value in model.state_dict().items()}
with mv.no_grad():
    np.testing.assert_allclose(
        swin(scene.image[None], p, **model.config), model(scene.image[None]).data, atol=1e-4
    )
mv.summary(model, scene.image[None])

# %% [markdown]
# ## Sizes
#
# Like a block of ViT, a block has $12 D^2 + 13 D$ parameters; in addition it has a table of $(2M-1)^2$ numbers for
# each head. Merging to width $D$ takes $2 D^2$ for the matrix and $4 D$ for the norm. The published sizes T, S and B
# have windows of 7; the paper prints 29M, 50M and 88M.


# %%
def count(width, depths, heads, M=7, patch=4, classes=1000):
    total = (3 * patch**2 * width + width) + 2 * width  # patches and their norm
    for stage, (depth, h) in enumerate(zip(depths, heads, strict=True)):
        D = width * 2**stage
        total += depth * (12 * D**2 + 13 * D + (2 * M - 1) ** 2 * h)
        total += 2 * D**2 + 4 * D if stage else 0
    return total + 2 * D + D * classes + classes  # the last norm and the head


published = {
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 28_288_354),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24), 49_606_258),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 87_768_224),
}
for name, (width, depths, heads, exact) in published.items():
    with mv.nn.init.skip_init():
        found = sum(q.size for q in getattr(mv.models, name)().parameters())
    print(f"{name}: width {width:3}, depths {depths!s:14} {found:11,} parameters")
    assert count(width, depths, heads) == found == exact

# %% [markdown]
# ## Build it yourself
#
# The function `swin` computes with weights that it is given. To train a Swin, it must be a `Module` that owns its
# weights, as your ViT in chapter [08](08_vit.ipynb) does. You write it in five steps: in and out of the windows, attention
# in windows, the block, the merging, the whole. Together these are sixty lines.
#
# **How to work with this section**, as in chapter 08: run each step and its check once as they are. Then delete the
# lines below a `def`, write them again yourself, and run the check: it says what holds and what does not, and gives a
# hint. Keep the names of the attributes, because at the end we load trained weights into your class by these names.
#
# From the library come the layers that you know, `nn.Conv2d`, `nn.Linear`, `nn.LayerNorm`, `nn.MultiHeadAttention` and
# `nn.MLP`, and the functions that this chapter has taken apart.
#
# ### Step 1: in and out of the windows
#
# `cut` rolls a map and cuts it. `join` does the two things backwards. Between them the windows stand in an axis of
# their own, $(B, n_W, N, D)$ with $N = M^2$: for attention, $n_W$ short sequences of each image.

# %%
from minivis.vision import (
    cyclic_shift,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)


def cut(x, M, s):
    """Roll maps (B, H, W, D) by s and cut them: the tokens of each window, (B, nW, N, D)."""
    B, H, W, D = x.shape
    return window_partition(cyclic_shift(x, s), M).reshape(B, -1, M * M, D)


def join(windows, M, s, H, W):
    """Undo `cut`: (B, nW, N, D) -> (B, H, W, D)."""
    x = window_reverse(windows.reshape(-1, M, M, windows.shape[3]), M, H, W)
    return cyclic_shift(x, -s)


# %%
x = rng.standard_normal((2, 8, 12, 8)).astype(np.float32)

assert claims(
    "cut and join",
    ("cut makes six windows of sixteen tokens", lambda: cut(x, 4, 2).shape, (2, 6, 16, 8),
     "window_partition puts the windows of all images in axis 0: give each image its own again."),
    ("the first token of the first window was in row 2, column 2", lambda: cut(x, 4, 2)[:, 0, 0], x[:, 2, 2],
     "Roll first, then cut. cyclic_shift(x, s) moves the map up and left by s."),
    ("join undoes cut", lambda: join(cut(x, 4, 2), 4, 2, 8, 12), x,
     "The last step of cut comes first: windows to map, then roll back by -s."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 2: attention in windows
#
# `nn.MultiHeadAttention` does the attention; it takes a mask and a bias. What is new is the table of biases, a
# parameter with one row for each relative position and one column for each head. `ops.take` looks the rows up:
# $(N, N)$ numbers from the index become $(N, N, h)$ biases, and the gradient finds its way back into the table. The
# transpose brings the heads to the front, where attention has them. And if the map is no larger than one window, there
# is nothing to shift.


# %%
class WindowAttention(nn.Module):
    """Attention in windows that are shifted by `shift`: (B, H, W, D) -> (B, H, W, D)."""

    def __init__(self, width, heads, window, shift, rng):
        self.window, self.shift = window, shift
        self.attention = nn.MultiHeadAttention(width, heads, rng=rng)
        self.bias_table = nn.Parameter(nn.init.normal(((2 * window - 1) ** 2, heads), 0.02, rng))

    def forward(self, x):
        B, H, W, D = x.shape
        M = self.window
        s = self.shift if min(H, W) > M else 0
        bias = ops.take(self.bias_table, relative_position_index(M), axis=0).transpose(2, 0, 1)  # (h, N, N)
        mask = shifted_window_mask(H, W, M, s) if s else None  # (nW, N, N)
        return join(self.attention(cut(x, M, s), mask=mask, bias=bias), M, s, H, W)


# %% [markdown]
# The check is the brute force from above, which knows neither roll nor mask nor index. A map of one window, which must
# not be shifted, is the last case.


# %%
def both_ways(shift, x=x):
    """Your layer and the brute force, with the same random weights, on the first map of x."""
    layer = WindowAttention(8, 2, window=4, shift=shift, rng=np.random.default_rng(shift))
    layer.bias_table.data = 30 * layer.bias_table.data  # so that a wrong bias shows
    p = {f"attn.{name}": value for name, value in layer.state_dict().items()}
    s = shift if min(x.shape[1:3]) > 4 else 0
    return layer(x).data[0], brute_force(x[0], p, "attn", 2, 4, s)


assert claims(
    "WindowAttention",
    ("keeps the shape of the map", lambda: WindowAttention(8, 2, 4, 2, rng)(x).shape, (2, 8, 12, 8),
     "End with join, which gives the map back."),
    ("equals brute force without a shift", lambda: both_ways(0)[0], lambda: both_ways(0)[1],
     "Is the bias added? Its shape must be (h, N, N): take rows of the table, then move the heads to the front."),
    ("equals brute force with a shift of 2", lambda: both_ways(2)[0], lambda: both_ways(2)[1],
     "Do cut and join get the same s? Does attention get the mask of this map, window and shift?"),
    ("shifts nothing on a map of one window", lambda: both_ways(2, x[:, :4, :4])[0],
     lambda: both_ways(2, x[:, :4, :4])[1], "If a side of the map is no longer than M, s is 0."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 3: the block
#
# The same two branches as in ViT, each with its norm and its residual; only the attention is another one. Inside the
# MLP the width is doubled, as in our small trained model (in the published ones it is four times as large).


# %%
class SwinBlock(nn.Module):
    """A map (B, H, W, D) to a map of the same shape (equation 3)."""

    def __init__(self, width, heads, window, shift, rng):
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift, rng)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.MLP(width, 2 * width, rng=rng)

    def forward(self, z):
        z = z + self.attn(self.norm1(z))
        return z + self.mlp(self.norm2(z))


# %% [markdown]
# Two laws are known from ViT: with last layers of zero the block changes nothing, and each branch reads normalised
# tokens, so what it adds stays the same when all tokens are doubled and raised by 1. The third is the point of Swin:
# after one block without shift, the token in row 3, column 3 knows nothing of its neighbour in row 4, column 4, which
# lies in another window. After a pair of blocks, it does. We change the neighbour and look.

# %%
first = SwinBlock(8, 2, 4, 0, np.random.default_rng(0))
second = SwinBlock(8, 2, 4, 2, np.random.default_rng(1))
silent, no_attention, no_mlp = (SwinBlock(8, 2, 4, 2, np.random.default_rng(0)) for _ in range(3))
for layer in (silent.attn.attention.out, silent.mlp.fc2, no_attention.attn.attention.out, no_mlp.mlp.fc2):
    layer.weight.data = 0 * layer.weight.data
    layer.bias.data = 0 * layer.bias.data
touched = x.copy()
touched[:, 4, 4, 0] += 1  # one channel: a norm would remove a change of all channels alike


def noticed(blocks):
    """How much the token (3, 3) changes when the token (4, 4) changes."""
    return np.abs(blocks(touched).data[:, 3, 3] - blocks(x).data[:, 3, 3]).max()


def notices_scale(branch):
    """How much what a branch adds changes, when all tokens are doubled and raised by 1."""
    large = 2 * x + 1
    return np.abs((branch(large).data - large) - (branch(x).data - x)).max()


# %%
assert claims(
    "SwinBlock",
    ("whose last layers are 0 is the identity", lambda: silent(x).data, x,
     "Add each branch to its input, and normalise inside the branch only."),
    ("has an attention that reads normalised tokens", lambda: notices_scale(no_mlp), below(1e-3),
     "norm1 stands before attention, inside the branch."),
    ("has an MLP that reads normalised tokens", lambda: notices_scale(no_attention), below(1e-3),
     "norm2 stands before the MLP, inside the branch."),
    ("lets no news out of a window", lambda: noticed(first), 0.0, "Is the shift given to the attention?"),
    ("lets the news out when the next one is shifted", lambda: noticed(lambda z: second(first(z))), at_least(1e-4),
     "The second block must attend in shifted windows."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 4: merging
#
# Four maps, each with every second row and column, are laid on top of each other: their channels are concatenated. The
# order is that of the published weights, the left column first.


# %%
class PatchMerging(nn.Module):
    """Half the height and width, twice the channels: (B, H, W, D) -> (B, H/2, W/2, 2 D)."""

    def __init__(self, width, rng):
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False, rng=rng)

    def forward(self, x):
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]  # the left column first
        return self.reduction(self.norm(ops.concatenate(four, axis=-1)))


# %%
merging = PatchMerging(8, np.random.default_rng(0))
p = {f"merge.{name}": value for name, value in merging.state_dict().items()}

assert claims(
    "PatchMerging",
    ("halves both sides and doubles the width", lambda: merging(mv.Tensor(x)).shape, (2, 4, 6, 16),
     "Concatenate along the last axis to 4 D, then reduce to 2 D."),
    ("equals the loops from above", lambda: merging(mv.Tensor(x)).data, lambda: merge_loops(x, p, "merge"),
     "The order is upper left, lower left, upper right, lower right. Is the norm before the matrix?"),
).passed  # fmt: skip

# %% [markdown]
# ### Step 5: the whole
#
# A `Stage` holds its merging (the first stage has none) and its blocks. `TinySwin` makes the patches, as in ViT but with
# a norm, then the stages, each twice as wide as the one before; in each stage every second block is shifted. At the end
# come a norm, the mean over the last map, and the head.


# %%
class Stage(nn.Module):
    """Blocks on maps of one size, after a merging."""

    def __init__(self, merge, blocks):
        self.merge, self.blocks = merge, blocks

    def forward(self, x):
        x = x if self.merge is None else self.merge(x)
        for block in self.blocks:
            x = block(x)
        return x


# %%
class TinySwin(nn.Module):
    """Images (B, C, H, W) to logits (B, K)."""

    def __init__(self, patch_size, width, depths, heads, window, num_classes, channels, rng):
        start = nn.init.xavier_uniform
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size, weight_init=start, rng=rng)
        self.patch_norm = nn.LayerNorm(width)
        self.stages = []
        for stage, (depth, h) in enumerate(zip(depths, heads, strict=True)):
            D = width * 2**stage
            merge = PatchMerging(D // 2, rng) if stage else None
            shifts = [window // 2 * (i % 2) for i in range(depth)]
            self.stages.append(Stage(merge, [SwinBlock(D, h, window, s, rng) for s in shifts]))
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, num_classes, rng=rng)

    def forward(self, images):
        x = self.patch_norm(self.proj(images).transpose(0, 2, 3, 1))  # (B, H/P, W/P, D)
        for stage in self.stages:
            x = stage(x)
        return self.head(self.norm(x).mean(axis=(1, 2)))


# %% [markdown]
# The check compares the parts with those of `swin-shapes`, the trained model of the package:

# %%
sizes = {"patch_size": 4, "width": 48, "depths": (2, 2, 2), "heads": (3, 6, 12), "window": 4}
mine = TinySwin(**sizes, num_classes=6, channels=3, rng=np.random.default_rng(0))
some = np.stack([s.image for s in one[:20]])


def only_in_one():
    """Names and shapes of weights that one of the two models does not have."""
    yours, theirs = ({(name, w.shape) for name, w in net.state_dict().items()} for net in (mine, model))
    return sorted(yours ^ theirs)


assert claims(
    "TinySwin",
    ("gives six logits for each scene", lambda: mine(some[:3]).shape, (3, 6),
     "The head reads the mean over the rows and columns of the last map."),
    ("shifts every second block of a stage",
     lambda: [block.attn.shift for stage in mine.stages for block in stage.blocks], [0, 2, 0, 2, 0, 2],
     "The shift is half a window in blocks 1, 3, ... of each stage, and 0 in the others."),
    ("has weights of the same names and shapes", only_in_one, [],
     "Is each width twice the one before, and does merging get the width of the stage before?"),
).passed  # fmt: skip

# %% [markdown]
# ### The same numbers as the library
#
# Is it Swin? We load the trained weights into your class; both must then give the same logits for twenty scenes. If the
# checks above hold and this one does not, look at the norms: one follows the patches, two stand in each block, one in
# each merging, and one before the mean.

# %%
mine.load_state_dict(model.state_dict())
with mv.no_grad():
    difference = np.abs(mine(some).data - model(some).data).max()
print(f"largest difference between two of the 120 logits: {difference:.1e}")
assert difference <= 1e-6

# %% [markdown]
# ## Train it
#
# Chapter [08](08_vit.ipynb) had a task that a ViT finds hard: digits at random places of a canvas of $16 \times 16$
# pixels. A ViT must learn anew at each place what a digit looks like. A Swin has locality built in by its windows, and
# its biases are the same for all windows. So we give it the same task, with a ViT beside it. Both have patches of
# $2 \times 2$ pixels, so $8 \times 8$ tokens, four blocks, and the same training; every digit stands at a new place each
# time.


# %%
digits, names = mv.data.digits.load("train")
held_digits, held_names = mv.data.digits.load("held-out")
scatter = mv.data.transforms.RandomCrop(16, padding=8)
held_digits = scatter(held_digits, np.random.default_rng(0))  # each at one random place


def loss_of(model, x, y):
    return ops.cross_entropy(model(x), y)


def held_out(model):
    return {"accuracy": mv.metrics.accuracy(model(held_digits), held_names)}


def learn(model, steps=800):
    """Train on scattered digits; return the history."""
    draw = np.random.default_rng(0)
    batches = {"batch_size": 64, "shuffle": True, "drop_last": True, "rng": draw}
    loader = mv.data.DataLoader((digits, names), **batches, transform=scatter)
    schedule = mv.optim.cosine(steps, warmup_steps=100)
    optimizer = mv.optim.AdamW(mv.optim.decay_groups(model, 0.05), lr=2e-3, schedule=schedule)
    return mv.train.fit(model, loader, loss_of, optimizer, steps, clip=1.0, evaluate=held_out)


# %%
small = {"patch_size": 2, "width": 32, "num_classes": 10, "channels": 1}
mine = TinySwin(**small, depths=(2, 2), heads=(2, 4), window=4, rng=np.random.default_rng(0))
history = learn(mine)
print(f"your Swin: {history['accuracy'][-1]:.1%} of the held-out digits at random places")
assert history["accuracy"][-1] > 0.7

# %% [markdown]
# And the ViT, with the same patches and the same training:

# %%
plain_vit = mv.models.ViT(16, **small, depth=4, heads=4, mlp_ratio=2, rng=0)
history_vit = learn(plain_vit)
print(f"a ViT: {history_vit['accuracy'][-1]:.1%}")
assert history["accuracy"][-1] > history_vit["accuracy"][-1] + 0.1

# %%
with mv.no_grad():
    longest = mv.metrics.accuracy(mv.load("vit-scattered-digits")(held_digits), held_names)
viz.curves(
    {
        "your Swin": (history["step"], history["accuracy"]),
        "a ViT": (history_vit["step"], history_vit["accuracy"]),
    },
    "step",
    "accuracy on 360 held-out digits",
    level={"guessing": 0.1, "vit-scattered-digits, after ten minutes of training": longest},
    height=4.4,
    title="Swin and ViT learn to read digits at random places",
    caption="Higher is better. With the same number of steps the Swin is far ahead of the ViT. The upper dashed line is "
    "the ViT of the package, which was trained many times as long.",
)

# %% [markdown]
# **What came out.** With the same number of steps your Swin reads about twice as many digits as the ViT. It is not far
# from the ViT of the package, which needed ten minutes. So the windows do not only save time: they tell the network
# before any training that what stands together belongs together. This is the locality of a convolution, in the form of
# attention, and it helps here for the same reason as in chapter 08. (Both curves depend on the random starting values,
# and so does the step at which each begins to rise.)

# %% [markdown]
# ## A trained one
#
# `swin-shapes` is a small Swin for scenes of $64 \times 64$ pixels with one object: circle, square, triangle, star,
# ring or cross, of any size, texture and colour. Trained on the labels of whole pictures alone, it learned almost
# nothing: colours, textures and grounds fill most of a scene, and say nothing about the shape. So it was first trained
# to classify pixels, and then shapes. We measure it on 500 held-out scenes that it never saw.

# %%
held_out_scenes = mv.data.shapes.Scenes(500, "held-out", objects=1)
held = [held_out_scenes.scene(i) for i in range(500)]
images, labels = np.stack([s.image for s in held]), np.array([s.label for s in held])
with mv.no_grad():
    logits = np.concatenate([model(part).data for part in np.split(images, 5)])
said = logits.argmax(axis=1)
accuracy = mv.metrics.accuracy(logits, labels)
print(f"{accuracy:.1%} of 500 held-out scenes are right ({(said != labels).sum()} mistakes)")
assert accuracy > 0.95

# %%
things = mv.data.shapes.THINGS
viz.heatmap(
    mv.metrics.confusion_matrix(said, labels, len(things)),
    "said",
    "is",
    x_names=things,
    y_names=things,
    bar_label="scenes",
    title="Confusion matrix",
    caption="Rows are the true shapes, columns the predictions. What lies off the diagonal is a mistake.",
)

# %% [markdown]
# Look at the mistakes before you trust a number. As at the beginning, the size of the object matters: an object of 8
# pixels is only two of the finest tokens wide, which is little to tell a star from a circle.

# %%
side = np.array([math.sqrt(s.boxes[0, 2] * s.boxes[0, 3]) * 64 for s in held])  # pixels
thirds = np.quantile(side, [0, 1 / 3, 2 / 3, 1])
right = []
for low, high in zip(thirds, thirds[1:], strict=False):
    inside = (side >= low) & (side <= high)
    right.append((said == labels)[inside].mean())
    print(f"objects of {low:4.1f} to {high:4.1f} pixels: {right[-1]:.1%} right")
assert right[0] < min(right[1:])  # the small ones are the hard ones

# %%
mistakes = np.flatnonzero(said != labels)[:10]
shown = mistakes if len(mistakes) else np.argsort(np.sort(logits, axis=1)[:, -1])[:5]  # or the least sure
viz.images(
    images[shown],
    titles=[f"{things[labels[i]]}, said {things[said[i]]}" for i in shown],
    columns=5,
    size=1.9,
    title="The mistakes",
    caption="Above each scene: the true shape, and what the model predicted.",
)

# %% [markdown]
# ### Training it again
#
# This takes one cell, or `minivis train swin-shapes` in a terminal. It runs for up to half an hour on two cores, so
# it is switched off here. Every scene of the training is newly generated; the held-out ones are used only at the end.

# %%
RETRAIN = False  # True: trains it again, into runs/swin-shapes; mv.load("runs/swin-shapes") then loads yours
if RETRAIN:
    print(recipes.run("swin-shapes", out="runs/swin-shapes", seed=0))

# %% [markdown]
# ### What the stages hold
#
# What does a token of each stage know: what is at its place, or what is in the whole scene? Two measurements answer
# this. The first is a share. Tokens differ because they come from different scenes, and because they stand at different
# places of one scene. How much of all differences is between the means of the scenes?

# %%
with mv.no_grad():
    stages = [m.data for m in model.features(images[:60])]
for i, m in enumerate(stages):  # (B, C, H, W)
    between = m.mean(axis=(2, 3)).var(axis=0).sum() / m.var(axis=(0, 2, 3)).sum()
    print(f"stage {i + 1}: {between:.0%} of what tokens differ by is the scene, the rest is the place in it")
    assert (between > 0.5) == (i == len(stages) - 1)
assert [m.shape[2] for m in stages] == [64 // model.patch_size[0] // 2**i for i in range(len(stages))]

# %% [markdown]
# The second is a picture. We take all tokens of the scenes shown and find the three directions in which they differ
# most (principal components). We draw these as red, green and blue, so tokens of similar colour hold similar vectors.


# %%
def as_colours(maps):
    """Maps (B, C, H, W) -> pictures (B, 3, H, W): the three main directions, each from 0 to 1."""
    B, C, H, W = maps.shape
    t = maps.transpose(0, 2, 3, 1).reshape(-1, C)
    t = (t - t.mean(axis=0)) / np.linalg.norm(t - t.mean(axis=0), axis=1, keepdims=True)
    main = t @ np.linalg.svd(t, full_matrices=False)[2][:3].T  # (B H W, 3)
    low, high = np.quantile(main, [0.02, 0.98], axis=0)
    return np.clip((main - low) / (high - low), 0, 1).reshape(B, H, W, 3).transpose(0, 3, 1, 2)


# %%
viz.images(
    [*images[:6], *(picture for m in stages for picture in as_colours(m[:6]))],
    titles=[""] * 6 + [f"{m.shape[2]} x {m.shape[3]} tokens" for m in stages for _ in range(6)],
    columns=6,
    size=1.3,
    title="Six scenes, and the maps of each stage",
    caption="Colours can be compared within a row of maps. In the first stage the colours follow the object and "
    "the grounds, place by place. In the last stage all tokens of a scene have nearly the same colour, which "
    "depends on the shape in it.",
)

# %% [markdown]
# So the stages do different work. The first two describe places; the last one gathers what is in the scene.
#
# ### Its bias tables
#
# For each head a table has $(2M-1)^2$ numbers: the bias that is added for a key at each offset from the query. We
# draw it as a map around the query in the middle (turned so that a key on the right of the query stands on the
# right). All biases began as noise of standard deviation 0.02. First the numbers: how far have they moved, and is what
# is near preferred?

# %%
M = model.config["window"]
tables = [
    (stage, block, table.T.reshape(-1, 2 * M - 1, 2 * M - 1)[:, ::-1, ::-1])  # offsets are query minus key
    for stage, blocks in enumerate(model.stages)
    for block, table in ((i, layer.attn.bias_table.data) for i, layer in enumerate(blocks.blocks))
]
# the query, at M - 1, and its eight neighbours
near = (slice(None), slice(M - 2, M + 1), slice(M - 2, M + 1))
nearness = {(s, b): table[near].mean() - table.mean() for s, b, table in tables}
for s, b, table in tables:
    print(f"stage {s + 1}, block {b + 1}: spread {table.std():.2f};", end=" ")
    print(f"{nearness[s, b]:+.2f} for what is near, against the mean")
assert max(table.std() for _, _, table in tables) > 0.04  # they have learned something
assert all(value > 0.05 for (s, _), value in nearness.items() if s == 0)

# %%
first = [(s, b, h, one) for s, b, table in tables if s == 0 for h, one in enumerate(table)]
viz.images(
    [one for *_, one in first],
    titles=[f"block {b + 1}, head {h + 1}" for _, b, h, _ in first],
    columns=len(tables[0][2]),
    size=1.6,
    signed=True,
    title="Learned biases of the first stage",
    caption="The query is in the middle. Orange: the score of a key at this place is raised; purple: it is "
    "lowered. These heads learned to prefer near keys.",
)

# %% [markdown]
# In the first two stages near keys are preferred. In the last stage one window is the whole map, and all tokens of a
# scene hold nearly the same; there the biases have hardly changed since the start.
#
# ## How far does information travel?
#
# Without the shift no information leaves a window: after any number of blocks a token depends only on the tokens of
# its own window. With the shift, every block lets information cross one more border, in turn towards one side and
# towards the other. We measure this by gradients: if the gradient of an output with respect to an input is exactly
# zero, the output does not depend on that input. The map has $16 \times 16$ tokens, the windows $4 \times 4$; the
# weights are random, and one stage has one to six blocks:


# %%
def reach(model, size, stage, place):
    """Which pixels of an image (size, size) the token at `place` of a stage depends on: boolean."""
    image = mv.Tensor(rng.standard_normal((1, 3, size, size)), requires_grad=True)
    token = model.features(image)[stage][0, :, place[0], place[1]]
    (token * rng.standard_normal(token.shape)).sum().backward()
    return (image.grad != 0).any(axis=(0, 1))


# %%
islands = dict(patch_size=1, width=8, heads=(2,), window=4, num_classes=0)
fields = {False: [], True: []}
for shift, found in fields.items():
    for depth in range(1, 7):
        stage = mv.models.Swin(depths=(depth,), shift=shift, **islands, rng=depth)
        found.append(reach(stage, 16, 0, (5, 5)))
    name = "shifted" if shift else "unshifted"
    print(f"{name:9}: tokens known after each block:", [int(f.sum()) for f in found])
assert [f.sum() for f in fields[False]] == [16] * 6
assert [f.sum() for f in fields[True]] == [16, 64, 144, 144, 256, 256]

# %%
pictures = [0.6 * field for shift in (False, True) for field in fields[shift]]
for picture in pictures:
    picture[5, 5] = 1  # the token itself
viz.images(
    pictures,
    titles=[
        f"{'shifted' if s else 'unshifted'}, {n} block{'s' * (n > 1)}" for s in (0, 1) for n in range(1, 7)
    ],
    columns=6,
    size=1.45,
    title="Which tokens one token depends on",
    caption="White: the token. Grey: the tokens its output depends on. With windows that do not shift, these stay "
    "in one window. With shifted ones every block adds the width of a window, to one side or the other (for block "
    "4 the map ends there). After five blocks the token depends on all.",
)

# %% [markdown]
# In a whole Swin the merging helps too: a window of the next stage covers four windows of the stage before. Here is
# the same measurement for the small model with its own sizes, from the pixels to one token of each stage. The token
# stands just above and left of the middle, so a border of windows lies beside it in the first stage.

# %%
depth = len(model.stages)
grid = 64 // model.patch_size[0]
places = [(grid // 2 - 1) // 2**i for i in range(depth)]  # just above the middle, left of it
whole = {}
for shift in (False, True):
    fresh = mv.models.Swin(**{**model.config, "shift": shift, "drop_path": 0.0}, rng=0)
    whole[shift] = [reach(fresh, 64, i, (place, place)) for i, place in enumerate(places)]
    share = ", ".join(f"{field.mean():.0%}" for field in whole[shift])
    print(f"{'shifted' if shift else 'unshifted':9}: of all pixels a token knows {share}, stage by stage")
assert all(a.sum() >= b.sum() for a, b in zip(whole[True], whole[False], strict=True))
assert whole[True][0].sum() > whole[False][0].sum()

# %%
viz.images(
    [0.6 * field for shift in (False, True) for field in whole[shift]],
    titles=[f"{'shifted' if s else 'unshifted'}, stage {i + 1}" for s in (0, 1) for i in range(depth)],
    columns=depth,
    size=1.7,
    title="The pixels that one token of each stage depends on",
    caption="The bright pixels are those that the token depends on. Merging alone already widens the area from "
    "stage to stage. In this small image the last stage is one window, so its token depends on all pixels with or "
    "without the shift.",
)

# %% [markdown]
# ## What the shift is worth
#
# Liu et al., table 4: without the shift Swin-T loses 1.1 points of accuracy on ImageNet (80.2 instead of 81.3 %), 2.8
# points of box AP on COCO (47.7 instead of 50.5) and 2.8 points of mean IoU on ADE20K (43.3 instead of 46.1). The
# loss is larger for the tasks that ask *where* something is. So we train the small Swin to classify pixels, with and
# without the shift: 700 steps, three random seeds each, mean IoU on 500 scenes of the validation split.

# %%
from minivis.recipes import ablations

windows = ablations.results()["windows"]
found = {name: 100 * np.array(windows[name]["mIoU"]) for name in ("shifted", "unshifted")}
for name, values in found.items():
    print(f"{name:9}: {values.mean():.1f} on average,", ", ".join(f"{v:.1f}" for v in values))
gain = found["shifted"] - found["unshifted"]  # seed by seed
print("shifting is worth", ", ".join(f"{g:+.1f}" for g in gain), f"points: {gain.mean():+.1f} on average")
assert all(len(values) == 3 and (values > 33).all() for values in found.values())
viz.dots(
    found,
    "mean IoU, %",
    title="Fixed windows against shifted windows",
    caption="Each dot is one training run, coloured by its random seed; each bar is the mean of three. The dots of "
    "one bar lie further apart than the two bars: the shift makes no difference that three runs can show.",
)

# %% [markdown]
# **Here the shift makes no difference that three runs can show**: it helps with some seeds and hurts with others.
# This does not contradict the paper. Each stage of this model halves the map, so most borders between windows lie
# inside a window of the next stage; and its last stage is one window, as the last figure shows. At 512 pixels, Swin-T
# has 19 x 19 windows in its first stage and still 3 x 3 in its last. Across the borders that remain, only the shift
# can carry information. A gain measured at one size need not hold at another.

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: cut
# Write `my_partition(x, window)`: it turns $x$ $(B, H, W, C)$ into $(B\,n_W, M_h, M_w, C)$, with the windows in
# reading order, image after image. `window` is a number or (height, width). Hint: reshape, transpose, reshape.


# %% tags=["exercise:partition"]
def my_partition(x, window): ...  # your lines here


# %% tags=["check:partition"]
passed = mv.laws.check("window_partition", my_partition).passed

# %% [markdown] tags=["solution:partition"]
# <details><summary>Solution</summary>
#
# ```python
# def my_partition(x, window):
#     m, n = (window, window) if isinstance(window, int) else window
#     B, H, W, C = x.shape
#     x = x.reshape(B, H // m, m, W // n, n, C)
#     return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, m, n, C)
# ```
#
# After the transpose the order of the axes is: image, row of windows, column of windows, and then the two axes inside
# a window.
# </details>

# %% [markdown]
# ### Exercise 2: put together
# Write the inverse, `my_reverse(windows, window, height, width)`: it turns windows $(B\,n_W, M_h, M_w, C)$ into maps
# $(B, H, W, C)$. `window` is a number or (height, width) again. Hint: the same transpose undoes itself.


# %% tags=["exercise:reverse"]
def my_reverse(windows, window, height, width): ...  # your lines here


# %% tags=["check:reverse"]
passed = mv.laws.check("window_reverse", my_reverse).passed

# %% [markdown] tags=["solution:reverse"]
# <details><summary>Solution</summary>
#
# ```python
# def my_reverse(windows, window, height, width):
#     m, n = (window, window) if isinstance(window, int) else window
#     x = windows.reshape(-1, height // m, width // n, m, n, windows.shape[3])
#     return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[3])
# ```
#
# Exchanging axes 2 and 3 twice changes nothing, so this transpose is its own inverse.
# </details>

# %% [markdown]
# ### Exercise 3: the mask
# Write `my_mask(height, width, window, shift)`: boolean $(n_W, N, N)$, True where query $i$ may attend to key $j$ of
# its window after the map was rolled up and left by `shift`. `window` and `shift` are numbers or pairs. Hint: give
# each place of the *rolled* map the number of its piece, cut the map into windows, and compare the numbers. Think
# about `shift = 0`, too.


# %% tags=["exercise:mask"]
def my_mask(height, width, window, shift): ...  # your lines here


# %% tags=["check:mask"]
passed = mv.laws.check("shifted_window_mask", my_mask).passed

# %% [markdown] tags=["solution:mask"]
# <details><summary>Solution</summary>
#
# ```python
# def my_mask(height, width, window, shift):
#     m, n = (window, window) if isinstance(window, int) else window
#     down, right = (shift, shift) if isinstance(shift, int) else shift
#     around_below = np.arange(height) >= height - down
#     around_right = np.arange(width) >= width - right
#     piece = 2 * around_below[:, None] + around_right  # (H, W)
#     piece = piece.reshape(height // m, m, width // n, n).transpose(0, 2, 1, 3).reshape(-1, m * n)
#     return piece[:, :, None] == piece[:, None, :]
# ```
#
# Four numbers are enough. Inside one window, two tokens belong to different pieces only if one of them was moved
# around an edge and the other was not. With `piece[-shift:]` a shift of 0 would mark the whole map.
# </details>

# %% [markdown]
# ### Exercise 4: the index of relative positions
# Write `my_index(window)`: integers $(N, N)$ that say which of the $(2M_h-1)(2M_w-1)$ biases query $i$ adds for key
# $j$. `window` is a number or (height, width). Test it with a window that is not square.


# %% tags=["exercise:index"]
def my_index(window): ...  # your lines here


# %% tags=["check:index"]
passed = mv.laws.check("relative_position_index", my_index).passed

# %% [markdown] tags=["solution:index"]
# <details><summary>Solution</summary>
#
# ```python
# def my_index(window):
#     m, n = (window, window) if isinstance(window, int) else window
#     y, x = np.divmod(np.arange(m * n), n)
#     dy = y[:, None] - y + m - 1
#     dx = x[:, None] - x + n - 1
#     return dy * (2 * n - 1) + dx
# ```
#
# Token $i$ is in row $i$ // $M_w$ and column $i$ % $M_w$; a row of the table has $2M_w - 1$ entries.
# </details>

# %% [markdown]
# ### Exercise 5: how large may a window be?
# Write `my_price(height, width, D, M)`: the multiply-adds of one layer of attention in windows of $M \times M$ on a
# map of height · width tokens, projections included. For which $M$ does the part that depends on $M$ cost as much as
# the projections?


# %% tags=["exercise:price"]
def my_price(height, width, D, M): ...  # your lines here


# %% tags=["check:price"]
passed = claims(
    "the price",
    (
        "is 145,108,992 for 56 x 56 tokens of width 96 and M = 7",
        lambda: my_price(56, 56, 96, 7),
        145_108_992,
        "Four projections take D² each for each token; scores and averages take D for each pair in a window, "
        "and a token has M² partners.",
    ),
    (
        "doubles with the tokens",
        lambda: my_price(112, 56, 96, 7),
        2 * 145_108_992,
        "Twice the tokens are twice the windows, each of which costs what it cost before.",
    ),
    (
        "with one window for all is that of global attention",
        lambda: my_price(14, 14, 8, 14),
        4 * 196 * 8**2 + 2 * 196**2 * 8,
        "Then M² is the number of all tokens. Is it M where M² should stand?",
    ),
).passed

# %% [markdown] tags=["solution:price"]
# <details><summary>Solution</summary>
#
# ```python
# def my_price(height, width, D, M):
#     tokens = height * width
#     return 4 * tokens * D**2 + 2 * M**2 * tokens * D
# ```
#
# $4 N D^2 = 2 M^2 N D$ for $M = \sqrt{2D}$: about 14 for $D = 96$. Windows of 7 are far below that, so most of the
# cost is that of the projections.
# </details>

# %% [markdown]
# ## Six questions
#
# Think of an answer before you open it. Each answer ends with a few lines of code that you can paste into a cell and run.

# %% [markdown] tags=["question:every-block-shifted"]
# **1. What would happen if every block were shifted, instead of every second one?**
#
# <details><summary>Answer</summary>
#
# As bad as no shift at all. The borders would stand in the same places in every block, only in other ones. After any
# number of blocks a token depends on the 16 tokens of its shifted window.
#
# ```python
# always = mv.models.Swin(depths=(4,), **islands, rng=0)
# for block in always.stages[0].blocks:
#     block.attn.shift = (2, 2)
# assert reach(always, 16, 0, (5, 5)).sum() == 16 < fields[True][3].sum()
# ```
# </details>

# %% [markdown] tags=["question:windows-with-a-mask"]
# **2. What would happen to the share of windows in which the mask forbids something, if the map became larger?**
#
# <details><summary>Answer</summary>
#
# It would fall. Only windows at the lower and at the right edge of the rolled map hold pieces from different parts: of $n
# \times n$ windows these are $2n - 1$. In the first stage of Swin-T, on $8 \times 8$ windows, these are 15 of 64.
#
# ```python
# def share(n, M=7):
#     mask = mv.vision.shifted_window_mask(n * M, n * M, M, M // 2)
#     return (~mask.all(axis=(1, 2))).mean()
#
# assert share(8) == 15 / 64 and share(2) == 3 / 4 and share(16) < share(8)
# ```
# </details>

# %% [markdown] tags=["question:no-biases"]
# **3. What would happen to the trained `swin-shapes` if all its biases of relative positions were zero?**
#
# <details><summary>Answer</summary>
#
# Less than one might think: of 100 scenes about 94 are right, instead of 99. The biases are not the only part that knows
# where things are. The windows themselves separate near from far, and merging has its own weights for each of its four
# tokens.
#
# ```python
# weights = {name: 0 * w if name.endswith("bias_table") else w for name, w in model.state_dict().items()}
# without = mv.models.Swin(**model.config)
# without.load_state_dict(weights)
# without.eval()
# with mv.no_grad():
#     right = mv.metrics.accuracy(without(images[:100]).data, labels[:100])
# assert 0.85 < right < accuracy - 0.02
# ```
# </details>

# %% [markdown] tags=["question:order-of-merging"]
# **4. What would happen to the trained `swin-shapes` if merging took the four tokens row by row: upper left, upper right,
# lower left, lower right?**
#
# <details><summary>Answer</summary>
#
# Of 100 scenes only 40 would be right, instead of 99: two of the four tokens would meet the weights that were learned
# for each other's place. With the columns of the norms and matrices exchanged in the same way all would be right again.
# For a *new* network the order makes no difference.
#
# ```python
# weights = dict(model.state_dict())
# for name in [name for name in weights if ".merge." in name]:
#     a, b, c, d = np.split(weights[name], 4, axis=-1)
#     weights[name] = np.concatenate([a, c, b, d], axis=-1)  # as if the tokens came in the other order
# other = mv.models.Swin(**model.config)
# other.load_state_dict(weights)
# with mv.no_grad():
#     assert mv.metrics.accuracy(other.eval()(images[:100]).data, labels[:100]) < accuracy - 0.1
# ```
# </details>

# %% [markdown] tags=["question:twice-the-side"]
# **5. What would happen to the cost if the image had twice the height and twice the width?**
#
# <details><summary>Answer</summary>
#
# Four times as many tokens, four times as many windows, each of which costs what it cost before: four times the cost. For
# a ViT with patches of the same size the attention products alone grow sixteenfold, so in total it is more than four.
#
# ```python
# vit = mv.models.ViT(64, 4, 48, 6, 3, num_classes=6, rng=0)
# image = np.zeros((1, 3, 64, 64), np.float32)
# large = np.zeros((1, 3, 128, 128), np.float32)
# factor = [mv.summary(m, large).multiply_adds / mv.summary(m, image).multiply_adds for m in (model, vit)]
# assert 3.9 < factor[0] < 4.1 and factor[1] > 5
# ```
# </details>

# %% [markdown] tags=["question:sides-that-do-not-fit"]
# **6. What would happen with an image of $60 \times 52$ pixels?**
#
# <details><summary>Answer</summary>
#
# Its patches of $4 \times 4$ form a map of $15 \times 13$ tokens, which windows of $4 \times 4$ do not fill. Your class
# stops with an error. The library pads the map with zeros at the bottom and right, and cuts them off after the attention.
#
# ```python
# odd = np.zeros((1, 3, 60, 52), np.float32)
# assert model(odd).shape == (1, 6)
# try:
#     TinySwin(**sizes, num_classes=6, channels=3, rng=np.random.default_rng(0))(odd)
#     raise AssertionError("the windows fill the map")
# except ValueError as error:
#     assert "divisible by the window" in str(error)
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can cut a map into windows and say what attention in them costs: $4ND^2 + 2M^2ND$, linear in the number of tokens,
#   so small patches are affordable.
# - You can say why the windows shift (between fixed ones no information flows), why the map is rolled (all windows stay
#   full), and what the mask forbids (pairs that only the roll brought together); and you can show that the result equals
#   attention over the shifted pieces, exactly.
# - You can compute the index of relative positions: rows are multiplied by $2M_w - 1$, also for windows that are not
#   square.
# - You can write Swin as a class, check each part against brute force, load trained weights into it, and train it:
#   its windows give it a locality that a ViT has to learn.
# - You can measure by gradients how far information travels, and say where the shift makes a difference and where not.
# - You can build on its maps: merging makes a pyramid that can replace that of a ResNet anywhere.
#
# Next: [11. DINO](11_dino.ipynb), which trains a ViT without a label. Chapter [14](14_detection.ipynb) asks maps of features
# for objects, and chapter [19](19_mask2former.ipynb), Mask2Former, uses Swin itself to find masks.
