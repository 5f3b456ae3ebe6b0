# %% [markdown]
# # 19. Mask2Former: look only inside your own mask
#
# One network gives every pixel a class and every object a mask. Its queries predict masks, and in each layer a query
# may attend only to the pixels inside the mask it predicted before.
#
# **Goals**
#
# - You can say what semantic, instance and panoptic segmentation ask for, and compute panoptic quality (PQ) by hand.
# - You can write multi-scale deformable attention with loops, and say why the pixel decoder needs it.
# - You can write masked cross-attention, and say why a query with an empty mask may attend to everything.
# - You can follow one query through the decoder and measure what each layer adds.
# - You know the loss: after a matching, cross-entropy and dice at a few undecided points.
# - You can merge masks to one panoptic map, and judge the result.
# - You can write a small Mask2Former and train it.
#
# **Before**: attention and learned queries from [05](05_attention.ipynb); the set loss, the matching and DETR's panoptic head
# from [15](15_detr.ipynb).
#
# **Slides**: Deck I is Deep Learning Indaba, *Panoptic Segmentation with Transformers*. A section that follows a
# slide names it by its tag: deck, page and a short name. The paper is Cheng et al., *Masked-attention mask
# transformer for universal image segmentation*, CVPR 2022.
#
# **Time**: about 90 minutes to read, 50 more for the exercises; the cells take about two minutes.

# %% tags=["setup"]
import math
import time

import numpy as np

import minivis as mv
from minivis import nn, ops, recipes, viz
from minivis.laws import claims
from minivis.models import MaskFormerOutput
from minivis.ops import interpolate, sigmoid, softmax
from minivis.recipes import ablations, detr_panoptic_shapes, mask2former_shapes

rng = np.random.default_rng(0)
NAMES = mv.data.shapes.CLASSES  # six things, three grounds
THINGS = np.array([name in mv.data.shapes.THINGS for name in NAMES])

# %% [markdown]
# ## What this chapter builds
#
# This is the Mask2Former that the chapter takes apart. It has two branches. The *pixel decoder* makes an embedding of
# every pixel. The decoder layers make an embedding of every *query*. Near the end both meet: their product (*matmul*) is
# the masks. Look also at the white box *mask* that enters the decoder layers: it says where a query may look, and it is
# the new idea of this model.

# %%
viz.architecture(mv.load("mask2former-shapes"), (1, 3, 64, 64), closed=["backbone"])

# %% [markdown]
# ## Three questions about one picture
#
# Slide `I/2-three-kinds-of-segmentation`. One can ask three things about the pixels of an image:
#
# - **Semantic** segmentation asks for the class of each pixel.
# - **Instance** segmentation asks which pixels belong to which object. It treats only *things*, which can be counted;
#   *stuff* (grass, sand, water) cannot be counted.
# - **Panoptic** segmentation asks for both: one class and one instance for every pixel.
#
# Our scenes are generated, $64 \times 64$ pixels, with all three answers. A panoptic answer is a map of segment numbers
# and a list that says which class each segment has. The other two follow from it; the cell checks this on one scene.

# %% tags=["slide:I/2-three-kinds-of-segmentation"]
one = mv.data.shapes.scene(18)
print(one.caption)
truth_of_one = (one.panoptic, one.segments)
instances = np.where(THINGS[one.semantic], one.panoptic, 0)  # (H, W), 0 = no thing

assert (one.masks.sum(axis=0) <= 1).all()  # no pixel shows two objects
assert (one.panoptic > 0).all()  # panoptic: every pixel has a segment
class_of = np.array([-1, *(s["category_id"] for s in one.segments)])
assert (class_of[one.panoptic] == one.semantic).all()  # from the panoptic map follows the semantic one,
numbered = one.masks * np.arange(1, len(one.masks) + 1)[:, None, None]
assert (numbered.sum(axis=0) == instances).all()  # and the instances too

# %% [markdown]
# Compare the three answers. How do they treat the two stars, one of which covers the other?

# %% tags=["slide:I/2-three-kinds-of-segmentation"]
by_class = [{"id": k + 1, "category_id": k} for k in np.unique(one.semantic)]
things_only = [s for s in one.segments if THINGS[s["category_id"]]]
viz.panoptic_on_images(
    [one.image] * 3,
    [(one.semantic + 1, by_class), (instances, things_only), truth_of_one],
    names=NAMES,
    titles=["semantic", "instance", "panoptic"],
    columns=3,
    size=2.9,
    title="Three questions about one picture",
    caption="Semantic: the two stars have one colour and form one region. Instance: each object has a colour of "
    "its own, and the ground is left out. Panoptic: every pixel has a segment, and every object is a segment of "
    "its own.",
)

# %% [markdown]
# ## One number: panoptic quality
#
# How good is a panoptic map? Two things can go wrong: an object is not found (or one is invented), or it is found but
# drawn badly. One number should count both. A predicted segment and a true one of the same class **match** when their
# IoU is above $1/2$. This needs no Hungarian method: the segments of a map do not overlap, so if one covers more than
# half of a true segment, no other one can. No segment matches twice. Then, for each class,
#
# $$PQ = \underbrace{\frac{\sum_{TP} \mathrm{IoU}}{|TP|}}_{SQ:\ \text{how well matched ones fit}} \times
# \underbrace{\frac{|TP|}{|TP| + \frac12 |FP| + \frac12 |FN|}}_{RQ:\ \text{how many are found}}$$
#
# where TP are the matched pairs, FP the predicted segments without a match, and FN the true segments without a match.
# Here is a picture that is small enough to count.

# %%
true_ids = np.array([[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2], [3] * 6, [3] * 6])
found_ids = np.array([[1, 1, 2, 2, 2, 2], [1, 1, 2, 2, 2, 2], [3] * 6, [4, 3, 3, 3, 3, 3]])
truth = (true_ids, [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 0}, {"id": 3, "category_id": 1}])
found = (found_ids, [*truth[1], {"id": 4, "category_id": 0}])  # class 0 is a thing, class 1 is stuff
viz.grids(
    [true_ids, found_ids],
    titles=["truth: two things, one stuff", "found: one thing too many"],
    marks=[true_ids < 3, found_ids != 3],
    title="A panoptic map, segment numbers in the squares",
    caption="Predicted segment 1 has 4 of the 6 pixels of true segment 1. Predicted segment 2 has all pixels of "
    "true segment 2, and 2 more. Predicted segment 4 is a thing that does not exist, on one pixel of the ground.",
)


# %% [markdown]
# First by hand. `count` does the matching for one class, `quality` computes the three numbers.


# %%
def count(found, truth, label):
    """Of one class: the IoU of each match, how many found segments are left over, how many true ones."""
    (ids, segments), (true_ids, true_segments) = found, truth
    mine = [ids == s["id"] for s in segments if s["category_id"] == label]
    real = [true_ids == s["id"] for s in true_segments if s["category_id"] == label]
    matches = []
    for m in mine:
        for r in real:
            iou = (m & r).sum() / (m | r).sum()
            if iou > 0.5:
                matches.append(iou)
    return matches, len(mine) - len(matches), len(real) - len(matches)


def quality(matches, fp, fn):
    """SQ, RQ and PQ of one class."""
    tp = len(matches)
    sq = sum(matches) / tp if tp else 0.0
    rq = tp / (tp + fp / 2 + fn / 2)
    return sq, rq, sq * rq


# %% [markdown]
# For the things of our small picture: 4 of 6 pixels, and 6 of 8, are both above one half, so both match; segment 4 is
# left over. Work it out on paper before you run the cell.

# %%
matches, fp, fn = count(found, truth, 0)
np.testing.assert_allclose(matches, [4 / 6, 6 / 8])
sq, rq, pq_thing = quality(matches, fp, fn)
np.testing.assert_allclose([sq, rq, pq_thing], [17 / 24, 2 / 2.5, 17 / 30])
_, _, pq_stuff = quality(*count(found, truth, 1))
np.testing.assert_allclose(pq_stuff, 11 / 12)

# %%
result = mv.metrics.panoptic_quality([found], [truth], things=[True, False])
np.testing.assert_allclose(result["PQ"], (pq_thing + pq_stuff) / 2)
print(
    f"things: SQ {sq:.3f} x RQ {rq:.3f} = PQ {pq_thing:.3f}; stuff: PQ {pq_stuff:.3f}; mean {result['PQ']:.4f}"
)
print(f"careful: mean SQ x mean RQ is {result['SQ'] * result['RQ']:.4f}, not the mean PQ")
assert result["SQ"] * result["RQ"] != result["PQ"]

# %% [markdown]
# PQ of a set of images is a mean over *classes*, so rare classes count as much as common ones. An invented segment
# adds one half to the denominator, and so does a missed one. A segment that is drawn so badly that it does not match
# counts as both, so it adds one.
#
# ## The idea: classify masks, not pixels
#
# A semantic network predicts a class for each pixel, so it cannot count objects: two stars that touch are one region.
# **Mask classification** (MaskFormer, chapter [18](18_maskformer.ipynb)) works the other way round: each of $Q$ learned
# queries predicts one mask and one class, or "no object". The same queries answer all three questions. The parts:
#
# 1. a **backbone** gives maps of several resolutions;
# 2. a **pixel decoder** lets these maps exchange information, and makes one embedding for each pixel;
# 3. a **transformer decoder** makes one embedding for each query;
# 4. a mask is the dot product of the two: $M_q(x, y) = \langle e_q, p(x, y) \rangle$, a logit.
#
# Mask2Former keeps this plan. It changes how a query reads the image (*masked attention*), how the maps exchange
# information (*deformable attention*), and how the loss looks at a mask (*a few points*). Each gets a section.
#
# Ours is small enough to train on two cores in about twenty minutes. We load it and look at its parts. (The table
# lists the backbone as *not called*, because the model uses its maps, `backbone.features`, and not its final output.)

# %%
model = mv.load("mask2former-shapes")
mv.summary(model, one.image[None], depth=1)

# %% [markdown]
# Now run the parts one after the other on our scene, and look at the shapes. Which map decides how fine a mask can be?

# %%
x = mv.Tensor(one.image[None])  # (1, 3, 64, 64)
with mv.no_grad():
    maps = model.backbone.features(x)  # finest first
    pixels, tokens, codes, sizes = model.pixel_decoder(maps)  # coarsest first
    output = model(x)
D = model.query_features.shape[1]
Q = len(model.query_features.data)
L = model.levels
print("backbone maps:          ", [m.shape[1:] for m in maps])
print("maps for the queries:   ", [(t.shape[1:], size) for t, size in zip(tokens, sizes, strict=True)])
print("embedding of each pixel:", pixels.shape[1:])
print("classes and masks:      ", output.logits.shape[1:], output.masks.shape[1:])
assert output.logits.shape == (1, Q, len(NAMES) + 1)  # the last is "no object"
assert output.masks.shape[2:] == pixels.shape[2:] == maps[0].shape[2:]

# %% [markdown]
# ## Pixel decoder: read a few points of several maps
#
# The coarse map says *what* is in the image, because each of its cells has seen a large part of it. The fine map says
# *where*, because its cells are small. A good mask needs both, so the maps must exchange information. Plain attention
# among all tokens of all maps would do it, but its cost is quadratic in their number.
#
# **Multi-scale deformable attention** (Zhu et al. 2021, equation 3) reads only a few points:
#
# $$y_{q,h} = \sum_{l=1}^{L} \sum_{p=1}^{P} A_{q,h,l,p}\; v_{l,h}(z_{q,h,l,p})$$
#
# In head $h$, query $q$ reads $P$ points $z$ in each of $L$ maps. It adds up the values there with weights $A$ that
# sum to 1. Points and weights are *predicted from the query by a linear layer*: there are no keys and no products of
# queries and keys.
#
# A point usually lies between pixels. Then the four pixels around it are averaged by distance (bilinear interpolation);
# outside the map the values are zero. `read` does this for one point, and `deformable_loops` is the formula, sum by sum.


# %%
def read(image, x, y):
    """A map (H, W, d) at the place (x, y), which runs from 0 to 1 from edge to edge."""
    H, W, d = image.shape
    x, y = x * W - 0.5, y * H - 0.5  # now counted in pixel centres
    found = np.zeros(d, image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < H and 0 <= column < W:
                found += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return found


def deformable_loops(values, shapes, locations, weights):
    """values (B, N, h, d), shapes [(H, W), ...], locations (B, Q, h, L, P, 2), weights (B, Q, h, L, P) -> (B, Q, h d)."""
    (B, Q, h, L, P) = weights.shape
    d = values.shape[3]
    out = np.zeros((B, Q, h, d), values.dtype)
    starts = np.cumsum([0, *(H * W for H, W in shapes)])
    for b, q, head, level, p in np.ndindex(B, Q, h, L, P):
        pixels = values[b, starts[level] : starts[level + 1], head]  # (H W, d): one map, one head
        found = read(pixels.reshape(*shapes[level], d), *locations[b, q, head, level, p])
        out[b, q, head] += weights[b, q, head, level, p] * found
    return out.reshape(B, Q, h * d)


# %% [markdown]
# Is the formula what the library computes? A small case with two maps, where some points lie outside:

# %%
tiny = [(2, 3), (4, 5)]  # two maps, 26 pixels
case = (
    rng.standard_normal((2, 26, 2, 3)),  # values: two images, two heads of width 3
    tiny,
    rng.uniform(
        -0.1, 1.1, (2, 4, 2, 2, 3, 2)
    ),  # four queries read three points in each map, some of them outside
    softmax(rng.standard_normal((2, 4, 2, 6))).reshape(2, 4, 2, 2, 3),
)
library = mv.vision.multi_scale_deformable_attention
np.testing.assert_allclose(deformable_loops(*case), library(*case), atol=1e-12)

# %% [markdown]
# Loops over points are slow. Vectorised, all points of a map are read at once, one of the four corners after the other.


# %%
def deformable(values, shapes, locations, weights):
    """The same without loops over points: four gathers for each map."""
    B, Q, h, _, _ = weights.shape
    image = np.arange(B)[:, None, None, None]
    head = np.arange(h)[:, None]
    out = np.zeros((B, Q, h, values.shape[3]), values.dtype)
    start = 0
    for level, (H, W) in enumerate(shapes):
        # (B, Q, h, P)
        x, y = (locations[:, :, :, level, :, 0] * W - 0.5, locations[:, :, :, level, :, 1] * H - 0.5)
        for row in (np.floor(y), np.floor(y) + 1):
            for column in (np.floor(x), np.floor(x) + 1):
                inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
                share = weights[:, :, :, level] * (1 - abs(y - row)) * (1 - abs(x - column)) * inside
                at = start + np.where(inside, row * W + column, 0).astype(int)
                out += np.einsum("bqhp,bqhpd->bqhd", share, values[image, at, head])
        start += H * W
    return out.reshape(B, Q, -1)


np.testing.assert_allclose(deformable(*case), library(*case), atol=1e-12)

# %% [markdown]
# The library's op computes the four gathers as one sparse product, and has a vjp for it. How much does this save? A
# photo of 1024 pixels has maps of $32^2$, $64^2$ and $128^2$ tokens:

# %%
tokens_of_photo = 32**2 + 64**2 + 128**2
plain = tokens_of_photo**2
few = tokens_of_photo * 3 * 4
print(
    f"{tokens_of_photo:,} tokens: {plain:,} pairs in plain attention, {few:,} points read: {plain // few:,} times fewer"
)
assert plain // few == 1792

# %% [markdown]
# Now we compute the trained layer on our scene by hand, to see that nothing else is in it. Each token is a query. It
# starts from its own pixel. Its position code and a code of its map are added to it. One linear layer predicts the
# *offsets* (in pixels of the map that is read), another the weights.

# %%
decoder = model.pixel_decoder
layer = model.pixel_decoder.layers[0]
heads = decoder.heads
points = decoder.points
N = sum(H * W for H, W in sizes)
with mv.no_grad():
    coarse = [project(m).data for project, m in zip(decoder.input_proj, maps[::-1], strict=False)]
    before = np.concatenate([m.reshape(1, D, -1).swapaxes(1, 2) for m in coarse], axis=1)  # (1, N, D)
    marked = np.concatenate(
        [mv.vision.sine_position_code(*size, D, normalize=True).reshape(-1, D) + decoder.level_embed.data[i]
         for i, size in enumerate(sizes)]
    )  # fmt: skip
    query = mv.Tensor((before + marked).astype(np.float32))
    offsets = layer.attn.offsets(query).data.reshape(1, N, heads, L, points, 2)
    shares = softmax(layer.attn.weights(query).data.reshape(1, N, heads, -1)).reshape(1, N, heads, L, points)
    values = layer.attn.value(mv.Tensor(before)).data.reshape(1, N, heads, -1)

# %% [markdown]
# The offsets are added to the token's own place, the points are read and summed, and the rest of the layer follows: the
# residual, a norm, an MLP, a norm. The result must equal that of the pixel decoder.

# %%
centres = np.concatenate(
    [[((j + 0.5) / W, (i + 0.5) / H) for i in range(H) for j in range(W)] for H, W in sizes]
)
steps = np.array([(1 / W, 1 / H) for H, W in sizes])  # one pixel of each map
places = (centres[:, None, None, None] + offsets * steps[:, None]).astype(np.float32)  # (1, N, h, L, P, 2)

with mv.no_grad():
    read_out = layer.attn.out(mv.Tensor(deformable(values, sizes, places, shares)))
    y = layer.norm1(mv.Tensor(before) + read_out)
    after = layer.norm2(y + layer.mlp(y)).data
assert len(decoder.layers) == 1
np.testing.assert_allclose(after, np.concatenate([t.data for t in tokens], axis=1), atol=1e-4)

# %% [markdown]
# Which points does a token choose? We take the token in the middle of the largest object.

# %%
biggest = one.masks[one.masks.sum(axis=(1, 2)).argmax()]
row, column = (int(v) for v in np.argwhere(biggest).mean(axis=0) * sizes[-1] / np.array([64, 64]))
token = N - math.prod(sizes[-1]) + row * sizes[-1][1] + column  # one token of the finest of these maps
viz.points_read(
    one.image,
    centres[token],
    places[0, token],
    shares[0, token],
    sizes,
    title="Where one token reads",
    caption=f"The black cross is the token. Each dot is a point that it reads: one colour for each head, larger dots have "
    f"larger weights. {points} points a head in each map are {heads * L * points} points in all; there are {N} tokens. "
    "Most of the weight lies near the token and on its own object.",
)

# %% [markdown]
# The last step of the pixel decoder is a small pyramid. The finest of these maps is enlarged, the finest map of the
# backbone is added (the *lateral* connection), a convolution smooths the sum, and a $1 \times 1$ convolution makes the
# pixel embeddings $p$. The call `decoder(maps)` above did this; you will write it yourself below.
#
# ## A query draws a mask
#
# Now the other branch. A query is a state $x_q$ of $D$ numbers. It goes through a norm. Then a linear layer makes class
# logits of it, and a small MLP makes a mask embedding $e_q$. The mask is the dot product of $e_q$ with the embedding of
# every pixel: where both point in the same direction the logit is large, and the pixel belongs to the mask.
#
# At the start the state is the learned query (Deck I's *learnable queries*, chapter 05), the same for every image. It
# predicts a mask, too, and this mask decides where the query may look first.


# %%
def predict(state):
    """State (1, Q, D) -> class logits (1, Q, K + 1), mask logits (1, Q, H, W)."""
    state = model.norm(state)
    e = state
    for i, linear in enumerate(model.mask_head):
        e = linear(e if i == 0 else mv.ops.relu(e))
    return model.class_head(state).data, e.data


# %%
with mv.no_grad():
    start = mv.ops.broadcast_to(model.query_features, (1, Q, D))
    logits, embeddings = predict(start)
masks = np.zeros((Q, *pixels.shape[2:]), np.float32)
for q, i, j in np.ndindex(masks.shape):
    # by loops: one product for each query and pixel
    masks[q, i, j] = embeddings[0, q] @ pixels.data[0, :, i, j]
np.testing.assert_allclose(
    masks, np.einsum("qc,chw->qhw", embeddings[0], pixels.data[0]), rtol=1e-3, atol=1e-2
)
np.testing.assert_allclose(masks, output.auxiliary[0].masks.data[0], rtol=1e-3, atol=1e-2)  # and the model's
np.testing.assert_allclose(logits, output.auxiliary[0].logits.data, atol=1e-4)

# %% [markdown]
# The loops give the model's own first masks. Look at them: what can a query know that has not read the image?

# %%
viz.images(
    list(sigmoid(masks)),
    titles=[f"query {q}" for q in range(Q)],
    columns=8,
    size=1.1,
    title="Masks of all queries before the first layer",
    caption="White is inside the mask. The queries have not attended to the image yet; only the pixel embeddings "
    "depend on it. These masks decide where each query may look first.",
)

# %% [markdown]
# ## Masked attention
#
# Slide `I/40-masked-attention`. In the decoder of DETR a query may attend to every pixel. At first it attends
# everywhere alike, and it takes hundreds of epochs until it has learned where its object is. Mask2Former takes a
# shortcut. The query has already predicted a mask in the layer before; so let it attend **only to the pixels inside this
# mask**. If the mask is roughly right, what it reads is about its own object, and the next mask gets better.
#
# $$X_l = \mathrm{softmax}(\mathcal M_{l-1} + Q_l K_l^T)\, V_l + X_{l-1}, \qquad
# \mathcal M_{l-1}(x, y) = \begin{cases} 0 & \text{if } M_{l-1}(x, y) = 1 \\ -\infty & \text{otherwise} \end{cases}$$
#
# $X_l$ are the states of all queries after layer $l$, one in each row. $Q_l$, $K_l$, $V_l$ are the projected queries,
# keys and values (only here is $Q$ a matrix). $M_{l-1}$ $(Q \times HW)$ are the masks after layer $l-1$, resized to
# the map of layer $l$ and thresholded at $\sigma \ge \frac12$. (The formula leaves out the scale $1/\sqrt d$; the
# program has it.)
#
# Why minus infinity? A score of minus infinity gives a weight of 0 after the softmax. So in loops: *leave out the pixels
# outside the mask and attend to the rest*.


# %% tags=["slide:I/40-masked-attention"]
def masked_attention(q, k, v, mask=None):
    """q (..., N, d), k (..., M, d), v (..., M, e), mask (..., N, M), True = inside: (..., N, e)."""
    mask = np.broadcast_to(True if mask is None else mask, (*q.shape[:-1], k.shape[-2]))
    out = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    for place in np.ndindex(*q.shape[:-1]):
        inside = mask[place]
        image = place[:-1]
        if inside.any():
            scores = k[image][inside] @ q[place] / math.sqrt(q.shape[-1])
            out[place] = softmax(scores) @ v[image][inside]
    return out


# %% [markdown]
# Three ways should agree: the loops, the formula of the slide, and the library. And there is a sharper test: if the
# pixels that query 0 may not see change beyond measure, query 0 must not notice, to the last bit.

# %% tags=["slide:I/40-masked-attention"]
queries, keys, contents = (rng.standard_normal((n, 8)) for n in (5, 16, 16))
M = rng.random((5, 16)) < 0.4
M[:, 0] = True  # nobody is empty, for now
inf_or_0 = np.where(M, 0, -np.inf)
as_on_the_slide = softmax(inf_or_0 + queries @ keys.T / math.sqrt(8)) @ contents
by_the_library = mv.ops.scaled_dot_product_attention(queries, keys, contents, M)
np.testing.assert_allclose(masked_attention(queries, keys, contents, M), as_on_the_slide)  # by loops
np.testing.assert_allclose(by_the_library, as_on_the_slide)

# change all pixels that query 0 may not see, and it notices nothing
elsewhere = np.where(M[0], 0, 1e6)[:, None]
shouted = mv.ops.scaled_dot_product_attention(queries, keys + elsewhere, contents + elsewhere, M)
assert (shouted[0] == by_the_library[0]).all() and not np.allclose(shouted[1:], by_the_library[1:])

# %% [markdown]
# ### What if nothing is inside?
#
# A mask can be empty: the query has no object, or its object is too small for the coarse map. Then every score is
# $-\infty$. There are four ways to treat this:

# %%
q = rng.standard_normal((1, 8))
k = rng.standard_normal((4, 8))
v = np.arange(4.0)[:, None]
nothing = np.zeros((1, 4), bool)
scores = rng.standard_normal((1, 4))
with np.errstate(invalid="ignore"):
    raised = np.exp(np.where(nothing, scores, -np.inf) - np.max(np.where(nothing, scores, -np.inf)))
    infinite = raised / raised.sum()
large = softmax((np.where(nothing, 0, -1e9) + scores).astype(np.float32))
boolean = mv.ops.attention_weights(q, k, nothing)
reset = mv.ops.attention_weights(q, k, nothing | ~nothing.any(axis=-1, keepdims=True))
for name, weights in {"-inf": infinite, "-1e9, float32": large, "zero": boolean, "reset": reset}.items():
    print(f"{name:14}: weights {weights[0].round(2)}")
assert np.isnan(infinite).all()
assert (large == 0.25).all()  # the scores drowned in rounding: all forbidden pixels alike
assert (boolean == 0).all() and np.isclose(reset.sum(), 1) and np.ptp(reset) > 0

# %% [markdown]
# The third way, *zero*, looks harmless. But what does it teach? The gradient of the keys tells.

# %%
keys = mv.Tensor(k, requires_grad=True)
mv.ops.sum(mv.ops.scaled_dot_product_attention(q, keys, v, nothing)).backward()
assert (keys.grad == 0).all()  # zero: nothing is learned where to look

# %% [markdown]
# Minus infinity gives NaN, and one NaN spoils the whole batch. A large negative number averages over all the pixels
# that are forbidden. Zero is the default of our attention and does not invent anything, but here it does not help: a
# query that reads nothing learns nothing about the image, and no gradient tells it where to look. So the program
# **resets** such a row (the paper does not mention it): where nothing is inside the mask, everything is allowed.
#
# How often does this happen? All measurements from here on are on 100 scenes that the model never saw.

# %%
scenes = [mv.data.shapes.scene(i) for i in range(100)]
images = np.stack([s.image for s in scenes])
with mv.no_grad(), mv.nn.looking(model) as seen:  # seen: what its layers show on the way
    outputs = model(images)
depth = len(model.layers)
real = outputs.logits.data.argmax(axis=-1) < len(NAMES)  # queries that name an object in the end

# %%
for i in range(depth):
    size = tuple(seen[f"layers.{i}.grid"].tolist())  # of the map it reads
    # sigma >= 1/2
    by_hand = interpolate(outputs.auxiliary[i].masks.data, size=size, mode="bilinear") >= 0
    empty = ~by_hand.any(axis=(2, 3))
    assert (seen[f"layers.{i}.reset"] == empty).all()
    assert (seen[f"layers.{i}.mask"] == (by_hand | empty[:, :, None, None])).all()
    print(
        f"layer {i + 1}, map {size}: {empty.mean():5.1%} of all masks are empty, "
        f"{empty[real].mean():5.1%} of those of queries that end with an object"
    )

# %% [markdown]
# On the coarsest map (layers 1 and 3) more than half of all masks are empty: a cell there is $16 \times 16$ pixels, and
# a small object does not fill enough of it.
#
# ## A decoder layer, and the order of the maps
#
# Slide `I/35-multi-scale-decoder`. A fine map would help small objects, but to attend to all maps in every layer is
# expensive. So the layers take turns: layer 1 attends to the coarsest map, layer 2 to the next finer one, and after the
# finest map comes the coarsest again: **round-robin**, one resolution per layer.
#
# Within a layer the order is masked cross-attention, then self-attention, then the MLP (DETR has self-attention first).
# The reason: before the first layer the queries are the same for every image, so self-attention among them could not
# tell them anything about this image. Each sub-layer ends with adding the residual and a norm.
#
# Here is the whole decoder by hand, with the layers of the trained model.

# %% tags=["slide:I/35-multi-scale-decoder", "slide:I/43-masked-cross-attention"]
state = start
positions = model.query_positions
levels = []
with mv.no_grad():
    masks = output.auxiliary[0].masks.data
    for i, layer in enumerate(model.layers):
        level = i % L  # round-robin
        levels.append(level)
        value = tokens[level] + model.level_embed[level]  # the map's own code
        key = value + codes[level]  # where each pixel is
        allowed, _ = mv.models.mask2former.attended_pixels(masks, sizes[level])
        allowed = allowed.reshape(1, Q, -1)  # (1, Q, h w)
        state = layer.norm1(state + layer.cross_attn(state + positions, key, value, allowed))  # 1. look
        placed = state + positions
        state = layer.norm2(state + layer.self_attn(placed, placed, state))  # 2. talk
        state = layer.norm3(state + layer.mlp(state))  # 3. think
        logits, embeddings = predict(state)
        masks = (embeddings @ pixels.data.reshape(1, D, -1)).reshape(masks.shape)

# %% tags=["slide:I/35-multi-scale-decoder", "slide:I/43-masked-cross-attention"]
np.testing.assert_allclose(masks, output.masks.data, rtol=1e-3, atol=1e-2)
np.testing.assert_allclose(logits, output.logits.data, atol=1e-3)
assert [sizes[level] for level in levels] == [tuple(seen[f"layers.{i}.grid"].tolist()) for i in range(depth)]
print("maps visited, layer by layer:", [sizes[level] for level in levels])

# %% [markdown]
# It gives the same numbers as the model.
#
# ## Layer by layer
#
# Does each layer improve the masks? First we match queries with true segments, as the training does (below). Then we
# follow four of the matched queries from before the first layer to the end, things before grounds and large ones first.

# %%
matcher = mv.losses.MaskMatcher(points=2048, rng=0)
targets = [s.target(grounds=True) for s in scenes]  # grounds are segments too
pairs = matcher(outputs.logits, outputs.masks, targets)
which = 18
aim = targets[which]
predictions = [*outputs.auxiliary, outputs]
chosen = sorted(
    zip(*pairs[which], strict=True),
    key=lambda pair: (aim["labels"][pair[1]] >= 6, -aim["masks"][pair[1]].sum()),
)[:4]

# %%
lights, titles = [], []
for q, t in chosen:
    lights.append(aim["masks"][t])
    titles.append(f"truth: {NAMES[aim['labels'][t]]}")
    for i, said in enumerate(predictions):
        p = softmax(said.logits.data[which, q])
        lights.append(said.masks.data[which, q] >= 0)
        titles.append(f"{i}: {(*NAMES, 'nothing')[p.argmax()]} {p.max():.0%}")
viz.lit_images(
    images[which],
    lights,
    titles,
    columns=len(predictions) + 1,
    title="Four queries, one to a row, from before the first layer (0) to the last",
    caption="The bright area is the predicted mask; its class and probability stand above it. In the first column "
    "(layer 0) the queries have not attended to the image yet.",
)

# %% [markdown]
# Where did one of these queries look? Take the first. The upper row shows the region that it was allowed, the lower row
# its attention there, as a mean over the heads.

# %%
q, t = chosen[0]
allowed = [seen[f"layers.{i}.mask"][which, q] for i in range(depth)]  # (h, w) each
weights = [seen[f"layers.{i}.cross_attn.weights"][which, :, q].mean(axis=0) for i in range(depth)]
weights = [w.reshape(a.shape) for w, a in zip(weights, allowed, strict=True)]
for w, a in zip(weights, allowed, strict=True):
    assert (w[~a] == 0).all() and np.isclose(w.sum(), 1, atol=1e-4)
reset = [" (reset)" * bool(seen[f"layers.{i}.reset"][which, q]) for i in range(depth)]
viz.lit_images(
    images[which],
    [*allowed, *weights],
    [f"layer {i + 1} may look here{reset[i]}" for i in range(depth)]
    + [f"layer {i + 1} reads here" for i in range(depth)],
    columns=depth,
    size=2.2,
    title=f"One query, which ends as a {NAMES[aim['labels'][t]]}",
    caption="Upper row: the mask from the layer before, at the resolution of the map that this layer reads; the "
    "maps take turns. Lower row: the image as bright as the attention. Outside the mask the attention is exactly 0.",
)

# %% [markdown]
# Does this hold for all scenes? After every layer we measure two numbers: the mean IoU of matched masks with their
# segments (matched again for each layer, as in the loss), and the PQ that would result if the decoder stopped there.
# The merge to one map is explained below.


# %%
def iou_of_matched(said):
    """Mean IoU of matched queries with their segments."""
    large = interpolate(said.masks.data, size=(64, 64), mode="bilinear") >= 0
    found = []
    for i, (queries, objects) in enumerate(matcher(said.logits, said.masks, targets)):
        mine = large[i, queries]
        true = targets[i]["masks"][objects]
        found += list((mine & true).sum(axis=(1, 2)) / (mine | true).sum(axis=(1, 2)))
    return float(np.mean(found))


# %%
def panoptic_score(said, merge):
    """Panoptic quality of the 100 scenes; ``merge(logits, masks, THINGS, size)`` makes the map of one."""
    maps = [
        merge(logits, masks, THINGS, (64, 64))
        for logits, masks in zip(said.logits.data, said.masks.data, strict=True)
    ]
    return mv.metrics.panoptic_quality(maps, [(s.panoptic, s.segments) for s in scenes], THINGS), maps


# %%
merge = mask2former_shapes.merge  # panoptic_inference, with a threshold for a model this small
by_layer = {
    "mean IoU of matched masks": [iou_of_matched(said) for said in predictions],
    "PQ if it stopped here": [panoptic_score(said, merge)[0]["PQ"] for said in predictions],
}
for name, values in by_layer.items():
    print(f"{name:26}", np.round(values, 3))
    assert values[-1] > values[0]
viz.curves(
    by_layer,
    "decoder layers passed",
    "IoU, PQ",
    title="What each layer adds",
    caption="Means over 100 held-out scenes. The prediction before the first layer is already good, although the "
    "queries have not attended to the image: the pixel embeddings contain which pixels belong together. The first "
    "layers add most.",
)

# %% [markdown]
# Slide `I/43-masked-cross-attention`. A query collects features of its own region instead of the whole image. Which
# share of its attention lies on its own object? We measure it with masks, and with the same weights but without
# masks. First the measure: of each cell we take the share that the object covers.


# %%
def on_own_object(seen):
    """Share of each matched thing's cross-attention that falls on the pixels of its object, layer by layer."""
    shares = [[] for _ in range(depth)]
    for i, (queries, objects) in enumerate(pairs):
        for q, t in zip(queries, objects, strict=True):
            if THINGS[targets[i]["labels"][t]]:
                for number in range(depth):
                    h, w = seen[f"layers.{number}.grid"]
                    # share of each cell
                    own = targets[i]["masks"][t].reshape(h, 64 // h, w, 64 // w).mean(axis=(1, 3))
                    read = seen[f"layers.{number}.cross_attn.weights"][i, :, q].mean(axis=0)  # (h w,)
                    shares[number].append(read @ own.reshape(-1))
    return np.array([np.mean(s) for s in shares])


# %% [markdown]
# Then the two runs. The switch `masked` of the model turns the masks off; its weights stay the same.

# %%
model.masked = False
with mv.no_grad(), mv.nn.looking(model) as seen_unmasked:
    unmasked = model(images)
model.masked = True
area = np.mean([m.mean() for s in scenes for m in s.masks])
inside, everywhere = on_own_object(seen), on_own_object(seen_unmasked)
for i in range(depth):
    print(
        f"layer {i + 1}: {inside[i]:.0%} of what is read lies on the own object with masks, {everywhere[i]:.0%} without"
    )
print(f"an object covers {area:.0%} of its image")
pq_switched_off = panoptic_score(unmasked, merge)[0]["PQ"]
print(
    f"PQ {by_layer['PQ if it stopped here'][-1]:.3f}; with the masks switched off at test time {pq_switched_off:.3f}"
)
assert inside.mean() > everywhere.mean() > area

# %% [markdown]
# Layers 1 and 3 read the coarsest map. A cell there is larger than most objects, so no mask can fit well. With masks,
# a larger share of the attention lies on the query's own object, in every layer. Without masks this model still works
# fairly well. But this is not a fair test, because the model was trained with masks. *Is it the mask?* below compares
# models that were trained with and without.
#
# ## The loss, first part: how far a mask is from the truth
#
# A mask is a picture of numbers, and the truth is one of zeros and ones. How far are they apart? The obvious answer is
# the mean error of the pixels. It has a weakness: an object of 20 pixels is half a percent of the image, and a mask
# that misses it completely is still 99.5 % right. There are three losses for a mask. $t \in \{0, 1\}$ is the truth and
# $p = \sigma(z)$ the prediction, for each pixel:
#
# - **cross-entropy**, the mean of $-\ln(1 - q_i)$, with $q$ the probability of the wrong answer;
# - **focal** (DETR): $\frac1P \sum \alpha_i\, q_i^2\, (-\ln(1 - q_i))$, with $\alpha = \frac14$ on the object and
#   $\frac34$ beside it; pixels that are already right hardly count;
# - **dice**: $1 - \frac{2 \sum p t + 1}{\sum p + \sum t + 1}$, which measures the overlap relative to the size.
#
# An example with four pixels: $p = (0.8, 0.6, 0.4, 0.2)$ and $t = (1, 1, 0, 0)$. Dice is $1 - 3.8/5$.

# %%
p, t = np.array([[0.8, 0.6, 0.4, 0.2]]), np.array([[1.0, 1.0, 0.0, 0.0]])
z = np.log(p / (1 - p))
entropy = -(2 * math.log(0.8) + 2 * math.log(0.6)) / 4
focal = -(0.25 + 0.75) * (0.2**2 * math.log(0.8) + 0.4**2 * math.log(0.6)) / 4
np.testing.assert_allclose(mv.ops.binary_cross_entropy_with_logits(z, t), entropy)
np.testing.assert_allclose(mv.losses.sigmoid_focal_loss(z, t), focal)
np.testing.assert_allclose(mv.losses.dice_loss(z, t), 1 - 3.8 / 5)
print(f"cross-entropy {entropy:.4f}, focal {focal:.4f}, dice {1 - 3.8 / 5:.2f}")

# %% [markdown]
# Which of them notices a small object? We take square objects of growing size, and a prediction that says "nothing here"
# everywhere, and watch the losses.

# %%
sides = [2, 4, 8, 16, 32]
missed = {"cross-entropy": [], "focal": [], "dice": []}
for side in sides:  # a square object, and a prediction that says "nothing here" everywhere
    t = np.zeros((1, 64, 64))
    z = np.full((1, 64, 64), -4.0)
    t[0, :side, :side] = 1
    missed["cross-entropy"].append(float(mv.ops.binary_cross_entropy_with_logits(z, t)))
    missed["focal"].append(float(mv.losses.sigmoid_focal_loss(z, t)))
    missed["dice"].append(float(mv.losses.dice_loss(z, t)))
assert min(missed["dice"]) > 0.85 and missed["cross-entropy"][-1] > 20 * missed["cross-entropy"][0]
viz.curves(
    {name: (sides, values) for name, values in missed.items()},
    "side of the object that was missed, pixels",
    "loss",
    log="y",
    title="The loss of a missed object",
    caption="The size of the object grows from left to right. For the losses of pixels, missing a small object "
    "costs almost nothing. Dice costs about the same at every size. Mask2Former adds cross-entropy and dice.",
)

# %% [markdown]
# ## The loss, second part: a few undecided points
#
# Masks of all queries at full resolution need much memory: 100 queries with masks of 256 × 256, for ten layers, are 65
# million numbers for one image. But neighbouring pixels say nearly the same, so a sample is enough. Mask2Former compares
# masks only at $K$ points (12,544 in the paper, 256 here), which may lie between pixels. For the matching they are
# random. For the loss three times as many points are drawn, and the most **undecided** of them (with the smallest $|z|$)
# make up three quarters of the $K$. They lie near the outline, where the errors are.

# %%
q, t = chosen[0]
z = outputs.masks.data[which : which + 1, q]  # (1, 16, 16), logits
drawn = {"random": np.random.default_rng(0).random((1, 256, 2)).astype(np.float32)}
drawn["undecided"] = mv.losses.uncertain_points(z, 256, rng=0)
certainty = {name: float(abs(mv.losses.sample_points(z[:, None], at)).mean()) for name, at in drawn.items()}
print("mean |logit| at the points:", {name: round(value, 2) for name, value in certainty.items()})
assert certainty["undecided"] < 0.8 * certainty["random"]
viz.points_on_maps(
    sigmoid(z[0]),
    {name: at[0] for name, at in drawn.items()},
    title="256 points of one mask",
    caption="Left: the points for the matching lie anywhere. Right: the points for the loss. Three quarters of "
    "them are the drawn points whose logit is closest to 0; they lie on and around the object and hardly ever far "
    "away. The rest lies anywhere.",
)

# %% [markdown]
# ## The loss, third part: match, then compare
#
# The rest is DETR's, chapter [15](15_detr.ipynb): a table of costs, the cheapest one-to-one assignment, and then the
# loss of the matched pairs. There are no boxes; the cost of query $q$ for segment $t$ is
#
# $$C_{tq} = -2\, \hat p_q(c_t) + 5\, \mathrm{CE}(m_t, \hat m_q) + 5\, \mathrm{dice}(m_t, \hat m_q)$$
#
# We take the library's table and compute one of its entries by hand, at the same points.

# %%
target = targets[which]
names = [NAMES[label] for label in targets[which]["labels"]]
cost = mv.losses.MaskMatcher(points=256, rng=0).costs(output.logits, output.masks, [target])[0]  # (T, Q)
assert cost.shape == (len(names), Q)

# %%
at = np.random.default_rng(0).random((1, 256, 2)).astype(np.float32)  # the same points, one pair by hand
found = mv.losses.sample_points(output.masks.data[:, 3:4], at)[0]  # (1, P): query 3
wanted = mv.losses.sample_points(target["masks"][None, 2:3].astype(np.float32), at)[0]  # (1, P): segment 2
by_hand = (
    -2 * softmax(output.logits.data[0, 3])[target["labels"][2]]
    + 5 * mv.ops.binary_cross_entropy_with_logits(found, wanted)
    + 5 * mv.losses.dice_loss(found, wanted)
)
np.testing.assert_allclose(cost[2, 3], by_hand, rtol=1e-4)

# %%
rows, columns = mv.vision.linear_sum_assignment(cost)
viz.cost_matrix(
    cost,
    matches=(rows, columns),
    x_label="query",
    y_label="true segment",
    y_names=names,
    title="Which query is matched with which segment?",
    caption="Framed cells are the cheapest assignment. Compare within a row, which holds the cost of every query "
    "for one segment. The costs of a large ground and of a small thing differ in size, but that does not matter "
    "for the choice within a row.",
)

# %% [markdown]
# Matched queries are compared with their segments; all others should predict "no object" (with weight 0.1, since
# there are many of them). The prediction of every layer is matched and enters the loss, also the one before the first
# layer. This is how the first masks learn to be useful for the attention of the next layer. The order in which the
# segments are listed cannot matter:

# %%
criterion = mv.losses.Mask2FormerCriterion(len(NAMES), points=256, rng=0)
terms = {name: float(value.data) for name, value in criterion(output, [target]).items()}
price = {"loss_ce": 2, "loss_mask": 5, "loss_dice": 5}
total = sum(price[name.rstrip("_0123456789")] * value for name, value in terms.items() if name != "loss")
np.testing.assert_allclose(total, terms["loss"], rtol=1e-5)
assert len(terms) == 1 + 3 * (depth + 1)  # every layer, and before the first

order = rng.permutation(len(names))
shuffled = {key: value[order] for key, value in target.items()}
again = mv.losses.Mask2FormerCriterion(len(NAMES), points=256, rng=0)(output, [shuffled])
np.testing.assert_allclose(float(again["loss"].data), terms["loss"], rtol=1e-4)

# %% [markdown]
# How do the three terms change from layer to layer?

# %%
at_layer = {
    name: [terms[f"{name}_{i}"] for i in range(depth)] + [terms[name]]
    for name in ("loss_ce", "loss_mask", "loss_dice")
}
viz.curves(
    {name.removeprefix("loss_"): values for name, values in at_layer.items()},
    "decoder layers passed",
    "term of the loss, unweighted",
    title="The loss of one scene, layer by layer",
    caption="For each layer: the loss of the class (ce), the cross-entropy of the points (mask), and dice. The "
    "training loss is the sum over all layers.",
)

# %% [markdown]
# ## Build it yourself
#
# You have seen every part at work. Now you write them, so that they can learn: a pixel decoder, the mask of a query,
# the places where a query may look, a decoder layer, and the model that puts them together. The loss is the library's;
# you computed it by hand above. Each step is one short cell with the code, and one cell that checks it.
#
# **How to use this section.** You can read the code and run it. You learn more if you delete the body of a function,
# write your own lines, and run the check below: it says what holds, and gives a hint where something does not. All
# names of layers are the library's, so that its weights fit.
#
# ### Step 1: a pixel decoder
#
# The pixel decoder has two tasks. It must give one embedding for each pixel of the *finest* map, and it must give
# tokens of the *coarse* maps for the queries to read. Deformable attention does this well, but the simplest form that
# works is a feature pyramid, as in chapter [14](14_detection.ipynb). Each coarse map gets a $1 \times 1$ convolution to
# $D$ channels and a norm. Then, from the finest of these maps on, the pyramid goes up: enlarge, add the next finer map
# (also after a $1 \times 1$ convolution), and smooth the sum with a $3 \times 3$ convolution.
#
# The result has the same four parts as that of the library's pixel decoder: pixel embeddings, tokens, position codes
# and sizes of the coarse maps, coarsest first. So either of the two can be put into the model.


# %%
class TinyPixelDecoder(nn.Module):
    """Maps of a backbone, finest first -> pixels (B, D, H, W); tokens, codes and sizes of the two coarsest maps."""

    def __init__(self, channels, width=48, rng=0):
        rng = np.random.default_rng(rng)

        def project(C, kernel=1, bias=False):
            conv = nn.Conv2d(C, width, kernel, padding=kernel // 2, bias=bias, rng=rng)
            return nn.Sequential(conv, nn.GroupNorm(8, width))

        self.input_proj = [project(C, bias=True) for C in channels[:-3:-1]]  # the two coarsest maps
        self.lateral = [project(C) for C in channels[-3::-1]]  # the finer ones
        self.output = [project(width, kernel=3) for _ in self.lateral]
        self.mask_features = nn.Conv2d(width, width, 1, rng=rng)

    def forward(self, maps):
        coarse = [layer(m) for layer, m in zip(self.input_proj, maps[:-3:-1], strict=True)]  # (B, D, h, w)
        B, D, _, _ = coarse[0].shape
        sizes = [m.shape[2:] for m in coarse]
        tokens = [m.reshape(B, D, -1).transpose(0, 2, 1) for m in coarse]  # (B, h w, D)
        codes = [mv.vision.sine_position_code(*size, D, normalize=True).reshape(-1, D) for size in sizes]
        y = coarse[-1]
        for lateral, output, m in zip(self.lateral, self.output, maps[-3::-1], strict=True):
            y = lateral(m) + interpolate(y, size=tuple(m.shape[2:]), mode="bilinear")
            y = ops.relu(output(y))
        return self.mask_features(y), tokens, codes, sizes


# %% [markdown]
# The check takes the weights of the library's pixel decoder, in its form without deformable attention, and compares.

# %%
first_maps = [m[:1] for m in maps]  # of the backbone, for the scene of this chapter
library_pixels = mv.models.Mask2Former(
    model.backbone, len(NAMES), queries=4, width=48, heads=4, decoder_depth=1, pixel_depth=0, mlp_width=64,
    pixel_mlp_width=64, levels=2, groups=8, rng=0,
).pixel_decoder  # fmt: skip
state = {k: v for k, v in library_pixels.state_dict().items() if k != "level_embed"}


def mine_and_theirs():
    """The four results of your pixel decoder, with the library's weights, and of the library's."""
    my_pixels = TinyPixelDecoder(model.backbone.channels)
    my_pixels.load_state_dict(state)
    with mv.no_grad():
        return my_pixels(first_maps), library_pixels(first_maps)


def pixel_gap():
    """The largest difference of the pixel embeddings, relative to the largest number."""
    mine, theirs = (result[0].numpy() for result in mine_and_theirs())
    return abs(mine - theirs).max() / abs(theirs).max()


# %%
assert claims(
    "the pixel decoder",
    (
        "an embedding for each cell of the finest map",
        lambda: mine_and_theirs()[0][0].shape,
        (1, 48, 16, 16),
        "The pyramid ends at the finest map of the backbone.",
    ),
    (
        "tokens, coarsest map first",
        lambda: [t.shape for t in mine_and_theirs()[0][1]],
        [(1, 16, 48), (1, 64, 48)],
        "maps[:-3:-1] are the last two, the last one first. Join h and w, then move D to the end.",
    ),
    (
        "with the library's weights: its embeddings",
        lambda: pixel_gap() <= 1e-6,
        True,
        "Start at the finest coarse map; add the lateral map before the 3 x 3 convolution; the ReLU comes last.",
    ),
).passed

# %% [markdown]
# ### Step 2: the mask of a query, and where it may look next
#
# A mask is a product: an MLP turns the state of a query into a mask embedding, and its dot product with the embedding
# of a pixel says how much this pixel belongs to the query. One matrix product does it for all queries and pixels.
#
# `may_attend` turns these masks into permissions for the next layer, as in the section on masked attention: resize the
# logits to the map that will be read, compare with 0, and open everything where nothing is left.


# %%
def masks_of(embeddings, pixels):
    """Mask embeddings (B, Q, D) and pixel embeddings (B, D, H, W) -> mask logits (B, Q, H, W)."""
    B, D, H, W = pixels.shape
    return (embeddings @ pixels.reshape(B, D, H * W)).reshape(B, -1, H, W)


def may_attend(masks, size):
    """Mask logits (B, Q, H, W) -> booleans (B, Q, h w): the pixels of a map that each query may read."""
    inside = interpolate(masks.data, size=tuple(size), mode="bilinear") >= 0  # (B, Q, h, w)
    inside = inside | ~inside.any(axis=(2, 3), keepdims=True)
    return inside.reshape(*inside.shape[:2], -1)


# %%
some = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 5, 8), (2, 8, 4, 4))]
two_masks = np.array([[[[3.0, 3.0], [-9.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])  # the second is empty
assert claims(
    "masks and permissions",
    (
        "a mask logit is a dot product",
        lambda: masks_of(*map(mv.Tensor, some)).numpy(),
        np.einsum("bqd,bdhw->bqhw", *some),
        "Queries times channels, times channels times pixels.",
    ),
    (
        "inside the mask is allowed, an empty mask opens everything",
        lambda: may_attend(mv.Tensor(two_masks), (2, 2))[0].tolist(),
        [[True, True, False, True], [True] * 4],
        "`inside | ~inside.any(...)`: where nothing is inside, everything is.",
    ),
    (
        "the logits are resized, not the booleans",
        lambda: may_attend(mv.Tensor(two_masks), (1, 2))[0].tolist(),
        [[False, True], [True, True]],
        "In the left column 3 and -9 have a mean below 0: outside. True and False have no such mean.",
    ),
).passed

# %% [markdown]
# ### Step 3: a decoder layer
#
# Three branches in the order of this paper: the query reads the image inside its mask, then the queries talk to each
# other, then an MLP. After each branch comes the sum with what was there before, and then a norm.


# %%
class TinyDecoderLayer(nn.Module):
    """Queries (B, Q, D) read a map: keys and values (B, N, D), only where `allowed` (B, Q, N) is True."""

    def __init__(self, width, heads, rng):
        self.cross_attn = nn.MultiHeadAttention(width, heads, rng=rng)
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiHeadAttention(width, heads, rng=rng)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.MLP(width, 256, activation="relu", rng=rng)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x, positions, key, value, allowed):
        x = self.norm1(x + self.cross_attn(x + positions, key, value, allowed))  # look
        y = x + positions
        x = self.norm2(x + self.self_attn(y, y, x))  # talk
        return self.norm3(x + self.mlp(x))  # think


# %% [markdown]
# What must a masked layer obey? What lies outside *all* masks must not change anything. What lies inside the mask of
# one query changes this query in the first branch, and then, through the talk, all others.
#
# And where do the learned positions of the queries stand? As in DETR: in the queries of the first attention, in queries
# and keys of the second, never in values. The check switches attention off to see it. A *silent* attention adds nothing,
# because its last layer is 0. A *blind* one gives all scores the value 0, so queries and keys make no difference.

# %%
states, positions = rng.standard_normal((2, 5, 16)).astype(np.float32)
seen_map = rng.standard_normal((1, 12, 16)).astype(np.float32)
allowed = np.zeros((1, 5, 12), bool)
allowed[..., :8] = True  # nobody may see the last four pixels


def decoded(where=slice(0, 0), shout=0.0, positions=positions, silent=None, blind=None):
    """What a new layer makes of the states, with a number added to some pixels of the map."""
    changed = seen_map.copy()
    changed[:, where] += shout
    layer = TinyDecoderLayer(16, 4, np.random.default_rng(0))
    for name, part in ((silent, "out"), (blind, "query")):
        if name:
            weight = getattr(getattr(layer, name), part).weight
            weight.data = 0 * weight.data
    return layer(mv.Tensor(states[None]), positions, changed, changed, allowed).numpy()


def worth_of_positions(**off):
    """How much the result changes without the positions, when one attention is switched off."""
    return abs(decoded(**off) - decoded(positions=0 * positions, **off)).max()


# %%
assert claims(
    "a decoder layer",
    ("one state for each query", lambda: decoded().shape, (1, 5, 16), "The queries are those that ask."),
    ("what nobody may see changes nothing", lambda: decoded(slice(8, 12), 1e3), decoded(),
     "Pass `allowed` to the cross-attention, as its fourth argument."),
    ("what is allowed does", lambda: abs(decoded(slice(0, 4), 1.0) - decoded()).max() > 0.01, True,
     "True means: may be attended."),
    ("the result has been normed", lambda: np.allclose(decoded().mean(axis=-1), 0, atol=1e-5), True,
     "The norm comes after the sum, in each of the three branches."),
    ("the positions matter for the first attention", lambda: worth_of_positions(silent="self_attn") > 0.01, True,
     "The image is asked by x + positions."),
    ("and for the second", lambda: worth_of_positions(silent="cross_attn") > 0.01, True,
     "In the talk, queries and keys are both x + positions."),
    ("but they are in no values", lambda: worth_of_positions(silent="cross_attn", blind="self_attn") < 1e-5, True,
     "The third argument of the second attention is x alone."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 4: the whole model, layer by layer
#
# The model predicts *before* the first layer and after each one, always with the same heads. Each prediction has two
# uses: it enters the loss, and its masks say where the next layer may look. The layers take the maps in turn,
# coarsest first. `segment` begins at the maps of the backbone, so that a frozen backbone is asked only once.


# %%
class TinyMask2Former(nn.Module):
    """Images (B, 3, H, W) to one class and one mask for each of Q queries."""

    def __init__(self, backbone, pixel_decoder, num_classes, queries=16, width=48, heads=4, depth=3, rng=0):
        rng = np.random.default_rng(rng)

        def learned(*shape):
            return nn.Parameter(rng.standard_normal(shape).astype(np.float32))

        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.query_features = learned(queries, width)
        self.query_positions = learned(queries, width)
        self.level_embed = learned(2, width)
        self.layers = [TinyDecoderLayer(width, heads, rng) for _ in range(depth)]
        self.norm = nn.LayerNorm(width)
        self.class_head = nn.Linear(width, num_classes + 1, rng=rng)
        self.mask_head = [nn.Linear(width, width, rng=rng) for _ in range(3)]


# %% [markdown]
# That was what the model owns. Now what it does. (A method may be written in a cell of its own and put into the class
# afterwards; so each cell stays short.)


# %%
def predict_masks(self, x, pixels):
    """States of the queries (B, Q, D) and pixel embeddings -> a class and a mask of each query."""
    x = self.norm(x)
    first, second, third = self.mask_head
    embeddings = third(ops.relu(second(ops.relu(first(x)))))  # (B, Q, D)
    return MaskFormerOutput(self.class_head(x), masks_of(embeddings, pixels))


# %%
def segment(self, maps):
    """Maps of the backbone -> the predictions before the first layer and after every one."""
    pixels, tokens, codes, sizes = self.pixel_decoder(maps)
    x = ops.broadcast_to(self.query_features, (pixels.shape[0], *self.query_features.shape))  # (B, Q, D)
    answers = [self.predict(x, pixels)]
    for i, layer in enumerate(self.layers):
        level = i % 2
        value = tokens[level] + self.level_embed[level]
        allowed = may_attend(answers[-1].masks, sizes[level])
        x = layer(x, self.query_positions, value + codes[level], value, allowed)
        answers.append(self.predict(x, pixels))
    *early, last = answers
    return MaskFormerOutput(last.logits, last.masks, early)


TinyMask2Former.predict = predict_masks
TinyMask2Former.segment = segment
TinyMask2Former.forward = lambda self, images: self.segment(self.backbone.features(images))

# %%
body = mv.models.ResNet(
    (1, 1, 1),
    "basic",
    widths=(32, 48, 48),
    stem_width=32,
    norm="group",
    patch_stem=True,
    num_classes=0,
    rng=0,
)
small = TinyMask2Former(body, TinyPixelDecoder(body.channels), len(NAMES))


def answered():
    """What a new model says about two images."""
    with mv.no_grad():
        return small(images[:2])


# %%
assert claims(
    "the model",
    ("K + 1 scores for each query", lambda: answered().logits.shape, (2, 16, 10), "The last: no object."),
    ("masks as large as the finest map", lambda: answered().masks.shape, (2, 16, 16, 16), "Use masks_of."),
    ("a prediction before each layer", lambda: len(answered().auxiliary), 3, "The last one stands apart."),
    (
        "the first classes are the same for both images",
        lambda: answered().auxiliary[0].logits.numpy()[0],
        lambda: answered().auxiliary[0].logits.numpy()[1],
        "Before the first layer the states are the learned features, broadcast to the batch.",
    ),
).passed

# %% [markdown]
# ### The same numbers as the library's
#
# Now give your class the size of the trained model and its weights. Its pixel decoder, with deformable attention, is
# taken as it is: it returns the same four parts as yours. We compute with 64-bit numbers, so that rounding cannot be
# mistaken for an error. A mask is compared with 0 in every layer, and one rounded logit could open or close a pixel.
#
# If the checks above hold and this one does not, look at four places: a norm follows each of the three sums; the level
# embedding is added to keys and values, the codes to the keys only; the coarsest map comes first; `norm` stands before
# both heads.

# %%
original = mv.load("mask2former-shapes").to("float64")
copy = TinyMask2Former(
    original.backbone,
    original.pixel_decoder,
    len(NAMES),
    queries=Q,
    width=D,
    heads=4,
    depth=len(original.layers),
)
copy.load_state_dict(original.state_dict())
copy.to("float64")
with mv.no_grad():
    mine, theirs = (net(images[:8].astype(np.float64)) for net in (copy, original))
gaps = [abs(sigmoid(mine.masks.numpy()) - sigmoid(theirs.masks.numpy())).max()]
gaps.append(abs(softmax(mine.logits.numpy()) - softmax(theirs.logits.numpy())).max())
print("largest difference: masks {:.1e}, probabilities of classes {:.1e}".format(*gaps))
assert max(gaps) <= 1e-6

# %% [markdown]
# ### First test: one scene by heart
#
# A new model should first be able to learn *one* example by heart. If it cannot, something is broken, and no amount of
# data will help. Here everything begins from random numbers, the backbone too.

# %%
optimizer = mv.optim.AdamW(small.parameters(), lr=2e-3, schedule=mv.optim.cosine(120, warmup_steps=10))
losses = []
for _ in range(120):
    loss = criterion(small(one.image[None]), [target])["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
with mv.no_grad():
    learnt = small(one.image[None])
by_heart = merge(learnt.logits.data[0], learnt.masks.data[0], THINGS, (64, 64))
pq = mv.metrics.panoptic_quality([by_heart], [(one.panoptic, one.segments)], THINGS)["PQ"]
print(f"loss {losses[0]:.1f} -> {losses[-1]:.1f}; PQ of the scene that it learned by heart: {pq:.2f}")
assert losses[-1] < losses[0] / 3 and pq > 0.5

# %%
viz.panoptic_on_images(
    [one.image] * 2,
    [viz.coloured_like(by_heart, truth_of_one), truth_of_one],
    names=NAMES,
    titles=[f"learned: PQ {pq:.2f}", "truth"],
    size=3.2,
    title="One scene by heart",
    caption="A predicted segment has the colour of the true segment that it lies on; a colour that is not in the "
    "truth is an invented segment. What is not coloured belongs to no query.",
)

# %% [markdown]
# ### Then: scenes it has never seen
#
# Learning by heart is no test of what was understood. For new scenes a model needs many examples and a backbone with
# good features. Twenty minutes of training made those of `mask2former-shapes`; you have less than one. So you get
# **help**: its backbone, which does not change any more. It has learned what matters in these scenes, together with
# another Mask2Former, and this is by far the larger part of the work. Pixel decoder and queries are yours and begin
# from random numbers.
#
# To see how much the backbone helps, a second run gets a backbone with *random* weights, everything else equal.


# %%
def maps_of(backbone, pictures):
    """All maps of a frozen backbone for many pictures, fifty at a time."""
    with mv.no_grad():
        parts = [backbone.features(mv.Tensor(pictures[i : i + 50])) for i in range(0, len(pictures), 50)]
    return [np.concatenate([m.numpy() for m in level]) for level in zip(*parts, strict=True)]


# no measurement uses these numbers
school = [mv.data.shapes.scene(6_000_000_000_000 + i) for i in range(1000)]
school_images = np.stack([s.image for s in school])
school_targets = [s.target(grounds=True) for s in school]


def answers_to(tiny, maps):
    """The model's answers to scenes whose maps are known."""
    with mv.no_grad():
        return tiny.segment([mv.Tensor(m) for m in maps])


# %%
def learn(backbone, steps, total, batch=8):
    """Train a new TinyMask2Former on a frozen backbone for `steps` of a schedule of `total` steps."""
    tiny = TinyMask2Former(backbone, TinyPixelDecoder(backbone.channels), len(NAMES))
    learned_maps, exam = maps_of(backbone, school_images), maps_of(backbone, images)
    compare = mv.losses.Mask2FormerCriterion(len(NAMES), points=128, rng=0)
    parameters = [p for name, p in tiny.named_parameters() if not name.startswith("backbone.")]
    optimizer = mv.optim.AdamW(parameters, lr=2e-3, schedule=mv.optim.one_cycle(total, warmup=0.1))
    draw = np.random.default_rng(0)
    scores = {}
    for step in range(1, steps + 1):
        rows = draw.choice(len(school), batch, replace=False)
        said = tiny.segment([mv.Tensor(m[rows]) for m in learned_maps])
        loss = compare(said, [school_targets[i] for i in rows])["loss"]
        optimizer.zero_grad()
        loss.backward()
        mv.optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        if step % 100 == 0:
            scores[step] = panoptic_score(answers_to(tiny, exam), merge)[0]
    return tiny, exam, scores


# %%
start = time.process_time()
tiny, exam, helped = learn(model.backbone, steps=800, total=800)
print(f"{time.process_time() - start:.0f} s of one core")
unhelped = mv.models.ResNet(
    (1, 2, 1),
    "basic",
    widths=(64, 128, 64),
    stem_width=64,
    norm="group",
    patch_stem=True,
    num_classes=0,
    rng=0,
)
_, _, lost = learn(unhelped, steps=200, total=800)
for name in ("PQ", "PQ_things", "PQ_stuff"):
    now, early, without = helped[800][name], helped[200][name], lost[200][name]
    print(f"{name:9}: {now:.2f}; after 200 steps {early:.2f}, with a random backbone {without:.2f}")
assert helped[800]["PQ"] > 0.5 and helped[200]["PQ_things"] > lost[200]["PQ_things"] + 0.1

# %%
runs = {"things": (helped, "PQ_things"), "stuff": (helped, "PQ_stuff")}
runs |= {"things, random backbone": (lost, "PQ_things"), "stuff, random backbone": (lost, "PQ_stuff")}
viz.curves(
    {name: (list(run), [found[column] for found in run.values()]) for name, (run, column) in runs.items()},
    "step",
    "PQ on 100 new scenes",
    title="Your Mask2Former learns: stuff first, then things",
    caption="Stuff is learned within 100 steps, things take longer. On a random backbone the grounds are found to a "
    "large part, by their colours, but no thing at all in 200 steps.",
)

# %% [markdown]
# Colour is in the pixels, so even random features can tell water from sand. A star and a triangle of the same colour
# differ only in their shape, and that has to be learned. Now look at your model's maps of three new scenes.

# %%
three = [18, 5, 9]
answer = answers_to(tiny, exam)
my_maps = [merge(answer.logits.data[i], answer.masks.data[i], THINGS, (64, 64)) for i in three]
truths = [(scenes[i].panoptic, scenes[i].segments) for i in three]
viz.panoptic_on_images(
    [*images[three]] * 2,
    [*truths, *map(viz.coloured_like, my_maps, truths)],
    names=NAMES,
    titles=["truth"] * 3 + ["your model"] * 3,
    columns=3,
    size=2.9,
    title="Three new scenes: the truth, and your model",
    caption="Grounds and large things are right. Look for small things that are missing or have the wrong class, and "
    "for things of which only a part was found.",
)

# %% [markdown]
# The checkpoint in the package was trained on newly generated scenes: first only its backbone, which learned to
# classify pixels, then everything together. This cell would train it again, as `minivis train mask2former-shapes`
# does: some twenty minutes on two cores.

# %%
RETRAIN = (
    False  # True: trains it again, into runs/mask2former-shapes; mv.load(...) of that folder then loads yours
)
if RETRAIN:
    recipes.run("mask2former-shapes", out="runs/mask2former-shapes", seed=0)

# %% [markdown]
# ## From masks to one map
#
# Masks of different queries overlap, but the segments of a panoptic map must not. Mask2Former merges the masks in
# five steps:
#
# 1. Keep the queries that are sure of an object (score $s_q$).
# 2. Give each pixel to $\arg\max_q s_q\, \sigma(m_{qp})$.
# 3. Drop a query that won less than a certain share of its own mask: it is a copy that a better query covers.
# 4. Keep of the pixels that a query won only those *inside* its own mask.
# 5. Join the pieces of the same stuff to one segment.
#
# Steps 1 and 2 first:

# %%
threshold, share = 0.5, 0.7  # as the recipe's merge; the published ones are 0.8 and 0.8
probabilities = softmax(output.logits.data[0])
label, score = probabilities.argmax(axis=1), probabilities.max(axis=1)
keep = (label < len(NAMES)) & (score > threshold)
large = interpolate(output.masks.data, size=(64, 64), mode="bilinear")[0, keep]  # (kept, 64, 64)
winner = (score[keep, None, None] * sigmoid(large)).argmax(axis=0)  # (64, 64)

# %% [markdown]
# Then the other three, query by query. The result must equal the library's.

# %%
ids = np.zeros((64, 64), np.int32)
segments = 0
stuff = {}
for i, kind in enumerate(label[keep]):
    won = winner == i
    own = large[i] >= 0
    if not (won & own).any() or won.sum() / own.sum() < share:
        print(f"dropped: a {NAMES[kind]} that won {won.sum()} pixels, with {own.sum()} in its mask")
        continue
    if kind in stuff:
        number = stuff[kind]  # a second piece of this ground
    else:
        segments += 1
        number = segments
        if not THINGS[kind]:
            stuff[kind] = number
    ids[won & own] = number

# %%
theirs, described = mv.vision.panoptic_inference(
    output.logits[0], output.masks[0], THINGS, (64, 64), threshold=threshold, overlap=share
)
assert (ids == theirs).all() and len(described) == segments
print(
    f"{keep.sum()} of {Q} queries are sure; {segments} segments; {(ids == 0).mean():.1%} of the pixels belong to nobody"
)

# %% [markdown]
# The figure shows the merge half way (after step 2) and at its end.

# %%
half_way = (winner + 1, [{"id": i + 1, "category_id": kind} for i, kind in enumerate(label[keep])])
viz.panoptic_on_images(
    [one.image] * 3,
    [viz.coloured_like(m, truth_of_one) for m in (half_way, (theirs, described))] + [truth_of_one],
    names=NAMES,
    titles=["who wins each pixel", "after the merge", "truth"],
    columns=3,
    size=2.9,
    title="The merge",
    caption="Left: each pixel belongs to the query that won it. Middle: queries that won too little are gone, and pixels "
    "that do not lie in the mask of their winner belong to no segment (grey). Segments have the colours of the "
    "true ones that they lie on.",
)

# %% [markdown]
# The same output answers the other two questions. Semantic: all queries vote,
# $S_{kp} = \sum_q \hat p_q(k)\, \sigma(m_{qp})$, and each pixel gets the class with the largest sum. Instance: take
# the masks of the things one by one, each with its score.

# %%
votes = mv.vision.semantic_inference(outputs.logits, outputs.masks, size=(64, 64)).data  # (B, K, H, W)
right = np.stack([s.semantic for s in scenes]) == votes.argmax(axis=1)
print(f"semantic: {right.mean():.1%} of the pixels of 100 held-out scenes get the right class")
assert right.mean() > 0.7

# %% [markdown]
# ## The test
#
# Is this better than what we had? We compare Mask2Former with DETR and its panoptic head ([15](15_detr.ipynb)), each
# with its own merge, on the same 100 held-out scenes.

# %%
detr = mv.load("detr-panoptic-shapes")
with mv.no_grad():
    detr_outputs = detr(images)
ours, our_maps = panoptic_score(outputs, merge)
theirs, _ = panoptic_score(detr_outputs, detr_panoptic_shapes.merge)
for name, numbers in {"Mask2Former": ours, "DETR": theirs}.items():
    print(
        f"{name:12}", "  ".join(f"{k} {numbers[k]:.3f}" for k in ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff"))
    )
assert ours["PQ"] > theirs["PQ"] and ours["PQ"] > 0.3

# %%
fig = viz.bars(
    {
        name: {k: round(numbers[k], 3) for k in ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff")}
        for name, numbers in {"Mask2Former": ours, "DETR panoptic": theirs}.items()
    },
    "from 0 to 1",
    title="Panoptic quality on 100 held-out scenes",
    caption="Higher is better; each bar is a mean over classes, and in each class PQ = SQ x RQ. Mask2Former is "
    "ahead in all five numbers. For both models stuff is easier than things.",
)
fig.axes[0].set_ylim(0, 1.3)  # room for the legend
fig

# %% [markdown]
# ## Is it the mask?
#
# We compare masked with plain cross-attention, everything else equal: small models of both kinds on a backbone that
# stays as it is, 400 steps of 16 scenes, three random seeds, PQ on 500 validation scenes (`scripts/run_ablations.py`
# measures it again). In the paper (table 4, COCO, full training) the mask is the part whose removal costs most: PQ
# 47.1 instead of 51.9.

# %%
measured = ablations.results()["attention"]
quality_of = {name: 100 * np.array(measured[name]["PQ"]) for name in ("masked", "plain")}
for name, values in quality_of.items():
    print(f"{name:6}: PQ {values.round(1)}, mean {values.mean():.1f}, from seed to seed {np.ptp(values):.1f}")
gain = quality_of["masked"] - quality_of["plain"]  # seed by seed
print("the mask is worth", ", ".join(f"{g:+.1f}" for g in gain), f"points: {gain.mean():+.1f} on average")
viz.dots(
    quality_of,
    "PQ, %",
    title="Masked against plain cross-attention",
    caption="Each dot is one training run, coloured by its random seed; each bar is the mean of three. Compare "
    "dots of the same colour: with each seed the run with masks is slightly better.",
)

# %% [markdown]
# **The mask helps with every seed, but by half a point, not by five.** Small scenes are easier for plain attention
# than photos. The finest map has only 256 cells to search, and the frozen backbone was trained to classify pixels, so
# the objects already differ clearly from their surroundings. The paper introduces the mask because global attention
# converges slowly. Where training takes only 400 steps, there is less to gain.

# %% [markdown]
# ## Where it fails
#
# The five worst of the 100 scenes, by the PQ of each scene alone.

# %%
alone = [
    mv.metrics.panoptic_quality([found], [(s.panoptic, s.segments)], THINGS)["PQ"]
    for found, s in zip(our_maps, scenes, strict=True)
]
worst = np.argsort(alone)[:5]
truths = [(scenes[i].panoptic, scenes[i].segments) for i in worst]
viz.panoptic_on_images(
    [*images[worst]] * 2,
    [*truths, *map(viz.coloured_like, (our_maps[i] for i in worst), truths)],
    names=NAMES,
    titles=[f"scene {i}: PQ {alone[i]:.2f}" for i in worst] + ["found"] * 5,
    columns=5,
    size=2.1,
    title="The five worst scenes: the truth above, what was found below",
    caption="Look for objects that were joined with a neighbour, for small objects that are missing (grey or "
    "ground), and for pieces that count as objects (colours that are not in the truth).",
)

# %% [markdown]
# Small objects seem to be the trouble. Is that so over all 100 scenes? We compare the areas of the objects that were
# found with those that were not.

# %%
sizes_found, sizes_missed = [], []
for (ids, described), s in zip(our_maps, scenes, strict=True):
    for label, mask in zip(s.labels, s.masks, strict=True):
        mine = [ids == d["id"] for d in described if d["category_id"] == label]
        hit = any((m & mask).sum() / (m | mask).sum() > 0.5 for m in mine)
        (sizes_found if hit else sizes_missed).append(mask.mean())
print(f"{len(sizes_found)} objects found, {len(sizes_missed)} not; median area {np.median(sizes_found):.1%} and "
      f"{np.median(sizes_missed):.1%} of the image")  # fmt: skip
assert np.median(sizes_missed) < np.median(sizes_found)

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: dice
# Write `my_dice(logits, targets)`. Both are $(N, P)$. Return the mean over the $N$ masks of
# $1 - (2 \sum p t + 1) / (\sum p + \sum t + 1)$ with $p = \sigma(\text{logits})$. Logits of thousands must not
# overflow: use `sigmoid`, which does not. Hint: first sum over the pixels, then take the mean.


# %% tags=["exercise:dice"]
def my_dice(logits, targets): ...  # your lines here


# %% tags=["check:dice"]
passed = mv.laws.check("dice_loss", my_dice).passed

# %% [markdown] tags=["solution:dice"]
# <details><summary>Solution</summary>
#
# ```python
# def my_dice(logits, targets):
#     p = sigmoid(logits)
#     overlap, total = (p * targets).sum(axis=1), p.sum(axis=1) + targets.sum(axis=1)
#     return (1 - (2 * overlap + 1) / (total + 1)).mean()
# ```
#
# There is one fraction for each mask, so a small mask weighs as much as a large one.
# </details>

# %% [markdown]
# ### Exercise 2: focal
# Write `my_focal(logits, targets, alpha=0.25, gamma=2.0)` for arrays $(N, P)$: the mean over pixels and masks of
# $\alpha_i\, q_i^\gamma (-\ln(1 - q_i))$, where $q$ is the probability of the wrong answer. Hint: let $s$ be the
# logit, with its sign changed where the truth is 0. Then $q = \sigma(-s)$, and $-\ln \sigma(s)$ is
# `np.logaddexp(0, -s)`, which never overflows.


# %% tags=["exercise:focal"]
def my_focal(logits, targets, alpha=0.25, gamma=2.0): ...  # your lines here


# %% tags=["check:focal"]
passed = mv.laws.check("sigmoid_focal_loss", my_focal).passed

# %% [markdown] tags=["solution:focal"]
# <details><summary>Solution</summary>
#
# ```python
# def my_focal(logits, targets, alpha=0.25, gamma=2.0):
#     s = np.where(targets > 0.5, logits, -logits)
#     weight = np.where(targets > 0.5, alpha, 1 - alpha).astype(logits.dtype)
#     return (weight * sigmoid(-s) ** gamma * np.logaddexp(0, -s)).mean()
# ```
#
# With $\gamma = 0$ and $\alpha = \frac12$ this is half of the cross-entropy.
# </details>

# %% [markdown]
# ### Exercise 3: deformable attention from a sampler
# The lesson gathered the corners itself. Write `my_deformable(values, shapes, locations, weights)` with one call of
# `mv.ops.grid_sample(image, grid)` for each map: image $(B, C, H, W)$, grid $(B, R, S, 2)$ with $(x, y)$ in
# $[-1, 1]$, result $(B, C, R, S)$. Hint: treat every head of every image as an image of its own, $(B h, d, H, W)$,
# with the grid $(B h, Q, P, 2)$.


# %% tags=["exercise:deformable"]
def my_deformable(values, shapes, locations, weights): ...  # your lines here


# %% tags=["check:deformable"]
passed = mv.laws.check("multi_scale_deformable_attention", my_deformable).passed

# %% [markdown] tags=["solution:deformable"]
# <details><summary>Solution</summary>
#
# ```python
# def my_deformable(values, shapes, locations, weights):
#     (B, Q, h, L, P), d = weights.shape, values.shape[3]
#     out, start = 0, 0
#     for level, (H, W) in enumerate(shapes):
#         image = values[:, start : start + H * W].transpose(0, 2, 3, 1).reshape(B * h, d, H, W)
#         grid = (2 * locations[:, :, :, level] - 1).swapaxes(1, 2).reshape(B * h, Q, P, 2)
#         found = mv.ops.grid_sample(image, grid)  # (B h, d, Q, P)
#         share = weights[:, :, :, level].swapaxes(1, 2).reshape(B * h, 1, Q, P)
#         out = out + (found * share).sum(axis=-1)  # (B h, d, Q)
#         start += H * W
#     return out.reshape(B, h * d, Q).swapaxes(1, 2)
# ```
#
# The sampler counts from -1 to 1, the locations count from 0 to 1. Everything else moves axes.
# </details>

# %% [markdown]
# ### Exercise 4: where may a query look?
# Write `my_allowed(masks, size)`: it turns mask logits $(B, Q, H, W)$ into booleans $(B, Q, h, w)$, with `size`
# $= (h, w)$. A pixel is allowed inside the mask, resized by `interpolate(masks, size=size, mode="bilinear")`. If
# nothing is inside, all pixels are allowed. Hint: $\sigma(z) \ge \frac12$ is $z \ge 0$.


# %% tags=["exercise:allowed"]
def my_allowed(masks, size): ...  # your lines here


# %% tags=["check:allowed"]
drawn = np.random.default_rng(1).standard_normal((2, 5, 8, 8))
drawn[0, 1], drawn[1, 3, 1:] = -1, -5  # one empty; one with a thin line that a coarse map loses
passed = claims(
    "where a query may look",
    (
        "a boolean for each pixel of the map",
        lambda: my_allowed(drawn, (4, 4)).dtype.name,
        "bool",
        "A comparison with >= gives booleans; `|` and `~` keep them.",
    ),
    (
        "as large as the map",
        lambda: my_allowed(drawn, (2, 4)).shape,
        (2, 5, 2, 4),
        '`size` is (h, w), for `interpolate(masks, size=size, mode="bilinear")`.',
    ),
    (
        "at the same size it is where the logit is not negative",
        lambda: my_allowed(drawn, (8, 8))[0, 0],
        drawn[0, 0] >= 0,
        "A probability of one half is a logit of 0.",
    ),
    (
        "resized first, cut afterwards",
        lambda: my_allowed(drawn, (4, 4)),
        mv.models.mask2former.attended_pixels(drawn, (4, 4))[0],
        "Resize the logits, then compare: booleans that are averaged say something else.",
    ),
    (
        "an empty mask is open everywhere",
        lambda: my_allowed(drawn, (4, 4))[0, 1],
        np.ones((4, 4), bool),
        "Where nothing of a mask is inside, all its pixels become True: any over the last two axes, with keepdims=True.",
    ),
    (
        "so is one that is lost on the way to a coarse map",
        lambda: my_allowed(drawn, (1, 1))[1, 3],
        np.ones((1, 1), bool),
        "Ask whether a mask is empty after it was resized, not before.",
    ),
).passed

# %% [markdown] tags=["solution:allowed"]
# <details><summary>Solution</summary>
#
# ```python
# def my_allowed(masks, size):
#     inside = interpolate(masks, size=size, mode="bilinear") >= 0
#     return inside | ~inside.any(axis=(2, 3), keepdims=True)
# ```
#
# The logits are resized, not the booleans. And whether a mask is empty is decided at the resolution of the map, where
# small objects can vanish.
# </details>

# %% [markdown]
# ### Exercise 5: panoptic quality
# Write `my_pq(ids, labels, true_ids, true_labels)` for *one image*: maps $(H, W)$ of segment numbers, and dicts from
# number to class. The result is the mean of PQ over the classes that occur in either map. Hint: `count` in the lesson
# treats one class.


# %% tags=["exercise:pq"]
def my_pq(ids, labels, true_ids, true_labels): ...  # your lines here


# %% tags=["check:pq"]
def by_library(ids, labels, true_ids, true_labels):
    pair = [
        (m, [{"id": n, "category_id": c} for n, c in d.items()])
        for m, d in ((ids, labels), (true_ids, true_labels))
    ]
    return mv.metrics.panoptic_quality(pair[:1], pair[1:], things=[True] * 4)["PQ"]


drawn = [np.random.default_rng(i).integers(1, 4, (2, 3, 3)).repeat(2, axis=2) for i in range(30)]
drawn = [
    (a, np.where(b == 3, b, a))
    for a, b in drawn
    if set(np.where(b == 3, b, a).ravel()) == set(a.ravel()) == {1, 2, 3}
]
assert len(drawn) > 3
kinds = {1: 0, 2: 0, 3: 1}
left, right = np.array([[1, 1, 2, 2]]), np.array([[1, 2, 2, 2]])
passed = claims(
    "panoptic quality",
    (
        "the truth itself is worth 1",
        lambda: my_pq(left, {1: 0, 2: 1}, left, {1: 0, 2: 1}),
        1.0,
        "Both segments match with an IoU of 1 and nothing is left over.",
    ),
    (
        "numbers do not matter",
        lambda: my_pq(3 - left, {2: 0, 1: 1}, left, {1: 0, 2: 1}),
        1.0,
        "Compare which pixels a segment has and its class, never its number.",
    ),
    (
        "an IoU of exactly 1/2 is no match",
        lambda: my_pq(right, {1: 0, 2: 1}, left, {1: 0, 2: 1}),
        1 / 3,
        "More than half is a match. Class 0 has 1 pixel of 2: no match, 0. Class 1 has 2 of 3: IoU 2/3. The mean is 1/3.",
    ),
    (
        "the wrong class is worth 0",
        lambda: my_pq(left, {1: 1, 2: 0}, left, {1: 0, 2: 1}),
        0.0,
        "Only segments of the same class are compared.",
    ),
    (
        "a class that only the model sees counts",
        lambda: my_pq(left, {1: 0, 2: 2}, left, {1: 0, 2: 1}),
        1 / 3,
        "Three classes occur: 0 is right, 1 was missed, 2 was made up. The mean runs over all three.",
    ),
    (
        "it is the library's",
        lambda: [my_pq(a, kinds, b, kinds) for a, b in drawn],
        [by_library(a, kinds, b, kinds) for a, b in drawn],
        "Below the line stands |TP| + |FP| / 2 + |FN| / 2, for each class of the image.",
    ),
).passed

# %% [markdown] tags=["solution:pq"]
# <details><summary>Solution</summary>
#
# ```python
# def my_pq(ids, labels, true_ids, true_labels):
#     result = []
#     for kind in {*labels.values(), *true_labels.values()}:
#         mine = [ids == n for n, label in labels.items() if label == kind]
#         real = [true_ids == n for n, label in true_labels.items() if label == kind]
#         ious = [(m & r).sum() / (m | r).sum() for m in mine for r in real]
#         matches = [iou for iou in ious if iou > 0.5]
#         # TP + FP / 2 + FN / 2 is the mean of the two counts
#         result.append(sum(matches) / ((len(mine) + len(real)) / 2))
#     return sum(result) / len(result)
# ```
#
# $|TP| + |FP|$ are the found segments and $|TP| + |FN|$ the true ones, so the denominator is half of their sum.
# </details>

# %% [markdown]
# ## Six questions
#
# Think of an answer before you unfold it. Each answer ends with a few lines that you can paste into a cell to check it.

# %% [markdown] tags=["question:one-segment-too-many"]
# **1. What would happen to PQ if a model, besides all true segments, invented one more of the same class?**
#
# <details><summary>Answer</summary>
#
# The matched segments stay perfect, so SQ is 1. RQ falls: one of three found segments has no match, which adds one half
# below the line. For two true segments of a class, PQ falls from 1 to 2 / 2.5 = 0.8. Missing one of the two costs more:
# 1 / 1.5 = 0.67.
#
# ```python
# invented = quality([1.0, 1.0], 1, 0)[2]
# missed = quality([1.0], 0, 1)[2]
# print(f"one invented: {invented:.2f}, one missed: {missed:.2f}")
# assert np.isclose(invented, 0.8) and np.isclose(missed, 2 / 3)
# ```
# </details>

# %% [markdown] tags=["question:half-overlap"]
# **2. What would happen if two segments of one map could both have an IoU above 1/2 with the same true segment?**
#
# <details><summary>Answer</summary>
#
# Then the match would not be unique, and PQ would need the Hungarian method. It cannot happen: segments of a map do not
# overlap, and an IoU above 1/2 means that more than half of the true segment is covered. Two segments cannot both have
# more than half. At exactly 1/2 there would be a tie, and that is why the limit itself does not count.
#
# ```python
# whole = np.ones(8, bool)
# best_pair = []
# for cut in range(9):  # a map cuts the true segment into two parts
#     parts = np.arange(8) < cut, np.arange(8) >= cut
#     best_pair.append(sum((p & whole).sum() / (p | whole).sum() > 0.5 for p in parts))
# assert max(best_pair) == 1
# ```
# </details>

# %% [markdown] tags=["question:masks-never-reset"]
# **3. What would happen if the attention masks were never reset when they are empty?**
#
# <details><summary>Answer</summary>
#
# A softmax of nothing but $-\infty$ gives NaN; with weights of zero the query would read nothing. And this would not be
# rare: on the coarsest map, in layer 1, 70 % of all masks are empty, and more than half of those of queries that end
# with an object.
#
# ```python
# empty_first = seen["layers.0.reset"]  # (100, Q)
# print(f"{empty_first.mean():.0%} of all masks, {empty_first[real].mean():.0%} of those that end with an object")
# assert empty_first[real].mean() > 0.1
# ```
# </details>

# %% [markdown] tags=["question:query-order"]
# **4. What would happen if the queries were listed in another order?**
#
# <details><summary>Answer</summary>
#
# The same masks and classes come in that order. Nothing in the model knows the number of a query: masked attention,
# self-attention and MLP treat all alike, and the matching finds the pairs wherever they are.
#
# ```python
# order = np.arange(Q)[::-1]
# for learned in (copy.query_features, copy.query_positions):
#     learned.data = learned.data[order]
# with mv.no_grad():
#     reversed_masks = copy(images[:2].astype(np.float64)).masks.numpy()
# np.testing.assert_allclose(reversed_masks[:, order], outputs.masks.numpy()[:2], rtol=0.01, atol=0.05)
# copy.load_state_dict(original.state_dict())
# assert not np.allclose(reversed_masks, outputs.masks.numpy()[:2], atol=0.05)
# ```
# </details>

# %% [markdown] tags=["question:bigger-mask"]
# **5. What would happen to dice if object and prediction were both enlarged four times?**
#
# <details><summary>Answer</summary>
#
# Almost nothing: dice compares the overlap with the sizes, so a mask that is half right costs the same at every size.
# The 1 in the formula makes a small difference for tiny masks. For a mean over the pixels of the whole image the same
# mistake would cost sixteen times as much (four times in each direction).
#
# ```python
# def half_right(side):
#     t, z = np.zeros((1, 64, 64)), np.full((1, 64, 64), -20.0)
#     t[0, :side, :side] = 1
#     z[0, : side // 2, :side] = 20.0
#     return float(mv.losses.dice_loss(z, t)), float(mv.ops.binary_cross_entropy_with_logits(z, t))
# (dice_small, pixels_small), (dice_large, pixels_large) = half_right(8), half_right(32)
# assert abs(dice_small - dice_large) < 0.02 and np.isclose(pixels_large, 16 * pixels_small, rtol=1e-3)
# ```
# </details>

# %% [markdown] tags=["question:fewer-layers"]
# **6. What would happen if the trained decoder stopped after its first layer?**
#
# <details><summary>Answer</summary>
#
# It would already be good: each layer predicts and is trained to be right, so every prefix of the decoder is a model of
# its own. On 100 scenes PQ is 0.74 after one layer, 0.70 before any, and 0.76 at the end.
#
# ```python
# stopped = by_layer["PQ if it stopped here"]
# print("PQ:", ", ".join(f"{value:.2f}" for value in stopped))
# assert stopped[0] < stopped[1] < stopped[-1] < stopped[1] + 0.05
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can say what semantic, instance and panoptic segmentation ask for, and compute PQ = SQ × RQ of a map by hand.
# - You can let a query draw a mask: the dot product of its embedding with that of every pixel. Semantic, instance and
#   panoptic maps all follow from masks with classes.
# - You can write deformable attention, which reads a few predicted points of several maps: its cost is linear where that
#   of plain attention is quadratic.
# - You can write masked attention, which lets a query attend only to pixels inside its last mask; and you know why a
#   query with an empty mask may attend to all pixels.
# - You can compute the loss: match, then cross-entropy and dice at undecided points, for every layer. Small objects
#   count, memory does not grow with the resolution, and the masks of each layer become useful for the next.
# - You can build a Mask2Former from these parts and train it, and say which part of its skill came from the backbone.
#
# Next: [20. SAM](20_sam.ipynb), which is asked for a mask with a click.
