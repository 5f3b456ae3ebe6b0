# %% [markdown]
# # 20. SAM: ask for a mask
#
# All networks so far decided by themselves what to segment: they were trained for a list of classes. SAM, the *segment
# anything model*, waits for a question. Somebody clicks on a thing, draws a box around it, or says what it is, and gets its
# mask. The network does not have to know what the thing is called.
#
# **Goals**
#
# - You can say what is computed once for a picture and what for each question, and what both cost.
# - You can turn a click, a box, a phrase and a mask into tokens and maps.
# - You can write the four steps of the mask decoder's layer, and check them against the library's.
# - You can say why one click gets three masks, how they are trained, and how one of them is chosen.
# - You can train a decoder that answers clicks, and then click yourself.
#
# **Before**: attention from [05](05_attention.ipynb), windows from [10](10_swin.ipynb), the text encoder of
# [12](12_clip.ipynb), losses of masks from [16](16_segmentation.ipynb), masks as products from
# [18](18_maskformer.ipynb).
#
# **Slides**: Deck A is *Attention and Transformer Networks in Computer Vision*. A section that follows a slide names it by
# its tag: deck, page and a short name.
#
# **Time**: about 70 minutes to read, 60 more for the exercises; the cells take less than a minute.

# %% tags=["setup"]
import math
import time

import numpy as np

import minivis as mv
from minivis import ops, viz
from minivis.data import shapes
from minivis.laws import claims
from minivis.ops import softmax
from minivis.recipes import sam_shapes

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# This is `sam-shapes`, the small SAM that comes with the package, on a picture and one click. Look for the three parts. The
# *image encoder* is the largest. The *prompt encoder* makes a few tokens of the click. In the *mask decoder* both meet: its
# layers have four attentions or MLPs each, and at its end stand masks and estimates.

# %%
model = mv.load("sam-shapes")
drawn = shapes.Scenes(200, "held-out")  # no training saw these
scene = drawn.scene(4)
thing = int(scene.masks.sum(axis=(1, 2)).argmax())  # the largest object
click = mv.vision.central_click(scene.masks[thing])  # x, y


def on(x, y):
    """A prompt for one image: a click on an object."""
    return {"points": np.float32([[[[x, y]]]]), "point_labels": np.array([[[1]]])}


viz.architecture(model, (scene.image[None], *on(*click).values()), closed=("image_encoder.backbone",))

# %% [markdown]
# ## Asking for a mask
#
# Slide `A/84-promptable-segmentation`. A **prompt** says which thing is meant. *Sparse* prompts are points, boxes and texts;
# they become tokens. A *dense* prompt is a mask, perhaps a rough one; it becomes a map. The task of the network is to return a
# sensible mask for *any* prompt. Here the same object is asked for in four ways.

# %% tags=["slide:A/84-promptable-segmentation"]
image = scene.image[None]
x0, y0, x1, y1 = 64 * mv.vision.box_cxcywh_to_xyxy(scene.boxes[thing])
phrase = sam_shapes.phrases_of(scene)[thing][0]
rough = np.where(np.hypot(*(np.mgrid[:64, :64] - np.array(click[::-1])[:, None, None])) < 5, 4.0, -4.0)
questions = {
    "a click": on(*click),
    "a box": {"boxes": np.float32([[[x0, y0, x1, y1]]])},
    "a phrase": {"texts": sam_shapes.phrase_features([phrase])[None]},
    "a click and a rough mask": {**on(*click), "masks": rough[None, None, None].astype(np.float32)},
}
with mv.no_grad():
    embedding = model.embed(image)
    answers = {name: model.answer(embedding, **asked, multimask=False) for name, asked in questions.items()}


def iou(found, truth):
    """IoU of two boolean masks."""
    return (found & truth).sum() / (found | truth).sum()


for name, answer in answers.items():
    print(f"{name:25} IoU with the object {iou(answer.masks.data[0, 0, 0] > 0, scene.masks[thing]):.2f}")

# %%
shown = [
    {"points": [click], "point_labels": [1]},
    {"boxes": [x0, y0, x1, y1]},
    {"text": phrase},
    {"points": [click], "point_labels": [1]},
]
viz.prompted_masks(
    scene.image,
    shown,
    [answer.masks.data[0, 0, 0] for answer in answers.values()],
    titles=list(answers),
    title="One object, asked for in four ways",
    caption="What is not in the mask is pale. A star is a click on the object, the frame is a box. Compare the edges of the four "
    "masks: they come from one embedding of the picture and four different questions.",
)

# %% [markdown]
# The click and the box find the star. The phrase finds it too, and a few pixels of the triangle, because a phrase does not say
# where. The rough mask, a small disc around the click, does not help here.
#
# ## A heavy part that runs once, and light parts that answer
#
# Slide `A/85-sam-architecture`. Somebody who clicks does not want to wait. So the work is divided unequally. The **image
# encoder**, a large ViT, reads the picture once. The **prompt encoder** and the **mask decoder** are small: they answer each
# question about the same embedding. The published sizes differ in the image encoder alone. Here they are counted, without
# filling their weights with numbers.


# %% tags=["slide:A/85-sam-architecture"]
def count(module):
    """Number of parameters."""
    return sum(math.prod(parameter.shape) for parameter in module.parameters())


totals = {"sam_vit_b": 93_735_472, "sam_vit_l": 312_342_832, "sam_vit_h": 641_090_608}
for name, total in totals.items():
    with mv.nn.init.skip_init():
        large = getattr(mv.models, name)()
    parts = [count(part) for part in (large.image_encoder, large.prompt_encoder, large.mask_decoder)]
    assert sum(parts) == total and parts[1:] == [6_220, 4_058_340]
    print(f"{name}: image encoder {parts[0]:>11,}, prompt encoder {parts[1]:,}, mask decoder {parts[2]:,}")
parts = {part: count(getattr(model, part)) for part in ("image_encoder", "prompt_encoder", "mask_decoder")}
print("sam-shapes:", ", ".join(f"{part} {number:,}" for part, number in parts.items()))

# %% [markdown]
# The encoder does not see the prompt. So its result can be kept, and the answers are the same as if all was computed anew.
# How much time is saved? We measure both parts of the small model: one picture, then 50 clicks.


# %% tags=["slide:A/85-sam-architecture"]
def milliseconds(work, times):
    """The least time of several calls."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return 1000 * min(taken)


with mv.no_grad():
    embedding = model.embed(image)
    once = model(image, **on(*click))
    many = model.answer(embedding, **on(*click))
    np.testing.assert_allclose(once.masks.data, many.masks.data, rtol=1e-4, atol=1e-4)
    encoding = milliseconds(lambda: model.embed(image), 5)
    answering = milliseconds(lambda: model.answer(embedding, **on(*click)), 20)
print(f"embedding {tuple(embedding.shape)}: {encoding:.0f} ms once; a click: {answering:.0f} ms")
print(f"50 clicks: {encoding + 50 * answering:.0f} ms, instead of {50 * (encoding + answering):.0f}")

# %% [markdown]
# In our small model both parts cost about the same, because the encoder is a small convolutional network. In the published
# model the encoder is 96 to 99 % of the parameters. The paper reports 0.15 seconds for the embedding on a large GPU, and about
# 50 milliseconds for an answer in a web browser.
#
# ## The image encoder
#
# Slide `A/87-sam-image-encoder`. The picture is scaled so that its longer side has 1024 pixels, and filled with zeros below or at
# the right. Patches of $16 \times 16$ give $64 \times 64 = 4096$ tokens; at the end there is an embedding of $64 \times 64$
# cells with 256 channels. Any network with such an output would do. SAM takes a plain ViT that was trained as a masked
# autoencoder (chapter [09](09_masked_modelling.ipynb)) and changes two things. First the picture, as it goes in:

# %% tags=["slide:A/87-sam-image-encoder"]
photo = mv.data.photos.flower()
height, width = photo.shape[1:]
scale = 1024 / max(height, width)
scaled = mv.data.geometry.resize(photo[None], (round(scale * height), round(scale * width)))
whole_input = np.pad(scaled, [(0, 0), (0, 0), (0, 1024 - scaled.shape[2]), (0, 1024 - scaled.shape[3])])
patches = whole_input.reshape(3, 64, 16, 64, 16).transpose(1, 3, 0, 2, 4).reshape(64 * 64, 3 * 16 * 16)
print(
    f"photo {photo.shape}, scaled {scaled.shape[1:]}, filled up {whole_input.shape[1:]}, patches {patches.shape}"
)
print(f"patches of nothing but zeros: {np.mean((patches == 0).all(axis=1)):.0%}")

# %% [markdown]
# **Windows.** Attention among 4096 tokens has $4096^2$ products in each head. So most blocks attend in windows of $14 \times
# 14$ tokens, as in chapter [10](10_swin.ipynb), but without a shift. Four blocks attend to the whole picture; they are what
# joins the windows. As 64 is not a multiple of 14, zeros are added up to 70, which makes 25 windows.

# %% tags=["slide:A/87-sam-image-encoder"]
tokens = (1024 // 16) ** 2
whole = tokens**2
windows = math.ceil(64 / 14) ** 2 * (14 * 14) ** 2
assert (tokens, whole, windows) == (4096, 16_777_216, 960_400)
print(
    f"products of queries and keys, one head: whole picture {whole:,}, windows {windows:,}: {whole / windows:.1f} times fewer"
)

with mv.nn.init.skip_init():
    encoder = mv.models.sam_vit_b().image_encoder
print(
    "blocks that attend to the whole picture:",
    [i for i, block in enumerate(encoder.blocks) if not block.window],
)
# a small one of the same kind: 64 x 64 pixels, 16 x 16 patches, windows of 6, the last of three blocks sees everything
small = mv.models.SAMImageEncoder(
    64, 4, width=24, depth=3, heads=2, out_width=16, window=6, whole=(2,), rng=rng
)
with mv.no_grad(), mv.nn.looking(small) as seen:
    print("a picture becomes", small(image).shape)
for number in range(3):
    print(f"block {number}: attention weights", seen[f"blocks.{number}.attn.weights"].shape)

# %% [markdown]
# **Relative positions, decomposed.** A bias in the scores says how far the key is from the query. Swin has one learned number for
# each pair of distances. Here the bias depends on the query, too, and it is a sum of two: one vector for each distance along the
# columns, $R^h$, and one for each distance along the rows, $R^w$:
#
# $$A_{ij} = \frac{q_i \cdot k_j}{\sqrt d} + q_i \cdot R^h_{y_i - y_j} + q_i \cdot R^w_{x_i - x_j} .$$
#
# A table for pairs of distances would need $(2 \cdot 64 - 1)^2 = 16\,129$ vectors; the two tables have 254. As loops, and
# as the library has it:


# %% tags=["slide:A/87-sam-image-encoder"]
def relative_bias_loops(q, down, right, height, width):
    """Queries (N, d) of one head, tables (2 height - 1, d) and (2 width - 1, d): the bias (N, N)."""
    bias = np.zeros((len(q), len(q)))
    for i in range(len(q)):
        for j in range(len(q)):
            (yi, xi), (yj, xj) = divmod(i, width), divmod(j, width)
            bias[i, j] = q[i] @ down[yi - yj + height - 1] + q[i] @ right[xi - xj + width - 1]
    return bias


def relative_bias(q, down, right, height, width):
    """The same for whole arrays."""
    y, x = np.divmod(np.arange(height * width), width)
    rows, columns = y[:, None] - y + height - 1, x[:, None] - x + width - 1  # (N, N)
    return np.einsum("id,ijd->ij", q, down[rows]) + np.einsum("id,ijd->ij", q, right[columns])


# %% tags=["slide:A/87-sam-image-encoder"]
block = mv.models.SAMImageEncoder(
    12, 4, width=8, depth=1, heads=2, out_width=4, window=0, whole=(0,), rng=rng
)
attn = block.blocks[0].attn  # on a grid of 3 x 3 cells, two heads of width 4
attn.relative_rows.data[:] = rng.standard_normal(attn.relative_rows.shape)
attn.relative_columns.data[:] = rng.standard_normal(attn.relative_columns.shape)
tables = attn.relative_rows.data, attn.relative_columns.data, 3, 3
some = rng.standard_normal((9, 4)).astype(np.float32)
np.testing.assert_allclose(
    relative_bias_loops(some, *tables), relative_bias(some, *tables), rtol=1e-5, atol=1e-5
)

# %% tags=["slide:A/87-sam-image-encoder"]
x = rng.standard_normal((1, 3, 3, 8)).astype(np.float32)
with mv.no_grad(), mv.nn.looking(attn) as seen:
    attn(x)
    q, k = (layer(x.reshape(9, 8)).data.reshape(9, 2, 4).swapaxes(0, 1) for layer in (attn.query, attn.key))
for head in range(2):
    scores = q[head] @ k[head].T / 2 + relative_bias(q[head], *tables)  # the root of d = 4 is 2
    np.testing.assert_allclose(softmax(scores), seen["weights"][0, head], rtol=1e-4, atol=1e-5)
print("loops, arrays and the library agree; the queries in the bias are not divided by the root of d")

# %% [markdown]
# `sam-shapes` takes the slide at its word that any network would do: a small ResNet that has learned to name pixels, one
# transformer block on its coarse map, and a sum with the finer map. Its embedding has $16 \times 16$ cells with 64 channels. What
# is in it? We take the three directions in which the cells of one picture differ most, as red, green and blue.

# %%
cells = embedding.data[0].reshape(64, -1).T  # (256, 64)
cells = cells - cells.mean(axis=0)
directions = np.linalg.svd(cells, full_matrices=False)[2][:3]
colours = cells @ directions.T
low, high = np.percentile(colours, [2, 98], axis=0)
colours = ((colours - low) / (high - low)).clip(0, 1).T.reshape(3, 16, 16)
viz.images(
    [scene.image, colours],
    titles=["picture", "embedding, 16 x 16 cells"],
    size=2.6,
    title="The embedding of a picture, made before any question",
    caption="The colours are the three main directions of the 64 channels. Look for the three objects: each stands out from the ground, "
    "which changes slowly with the position.",
)

# %% [markdown]
# ## Prompts become tokens
#
# Slide `A/88-sam-prompt-encoder`. A click is two numbers, and a network needs more of them. SAM draws a matrix $G$ of shape
# $(2, D/2)$ once, at random, and keeps it. With a picture of $W \times H$ pixels, a point $(x, y)$ becomes
#
# $$p = 2 \Bigl( \frac{x + 0.5}{W},\ \frac{y + 0.5}{H} \Bigr) - 1, \qquad c = \bigl[ \sin(2 \pi\, p\, G),\ \cos(2 \pi\, p\, G) \bigr] .$$
#
# The half pixel is there because a pixel is a square: $(0, 0)$ means the middle of the first one. Each column of $G$ is a wave
# across the picture, with a direction and a frequency of its own. Number by number, then with arrays, then the library's:


# %% tags=["slide:A/88-sam-prompt-encoder"]
def code_loops(x, y, height, width, gaussian):
    """The code (D,) of one point."""
    px, py = 2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1
    waves = gaussian.shape[1]
    code = np.zeros(2 * waves)
    for k in range(waves):
        angle = 2 * math.pi * (px * gaussian[0, k] + py * gaussian[1, k])
        code[k], code[waves + k] = math.sin(angle), math.cos(angle)
    return code


def code_fast(points, size, gaussian):
    """The codes (..., D) of points (..., 2)."""
    height, width = size
    p = 2 * (points + 0.5) / np.array([width, height], points.dtype) - 1
    angles = 2 * math.pi * (p @ gaussian)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(gaussian.dtype)


G = model.prompt_encoder.gaussian.astype(np.float64)
points = rng.uniform(0, 40, (5, 2))
loops = np.stack([code_loops(x, y, 48, 64, G) for x, y in points])
np.testing.assert_allclose(loops, code_fast(points, (48, 64), G))
np.testing.assert_allclose(loops, mv.vision.point_position_code(points, (48, 64), G))
mv.laws.check("point_position_code", code_fast)

# %% [markdown]
# A number to check by hand: the centre of a square picture. There $2 \cdot 0.5 - 1 = 0$, so all angles are 0, all sines 0 and all
# cosines 1. And wherever the point lies, each sine has its cosine, so that the squares sum to $D / 2$.

# %% tags=["slide:A/88-sam-prompt-encoder"]
centre = code_fast(np.array([31.5, 31.5]), (64, 64), G)
print("centre of 64 x 64:", centre.round(12)[:3] + 0.0, "...", centre[-3:])
np.testing.assert_allclose(centre, [0] * 32 + [1] * 32, atol=1e-12)
np.testing.assert_allclose((loops**2).sum(axis=1), 32)

# %% [markdown]
# How does a token know what lies near it? Attention compares by products. The product of two codes is a sum of
# $\cos\bigl(2\pi\,(p - p') G_k\bigr)$ over all waves: it depends only on the difference of the two points, is largest for the
# same point, and falls off in every direction. Here is the product of one point's code with those of all pixels.

# %%
y, x = np.mgrid[:64, :64]
codes = code_fast(np.stack([x, y], axis=-1).astype(float), (64, 64), G)  # (64, 64, D)
alike = codes @ code_fast(np.array([20.0, 40.0]), (64, 64), G) / 32
assert np.unravel_index(alike.argmax(), alike.shape) == (40, 20)
viz.heatmap(
    alike,
    "x in pixels",
    "y in pixels",
    signed=True,
    vmin=-1,
    vmax=1,
    bar_label="product of codes / (D / 2)",
    title="Similarity of the point (20, 40) to all pixels",
    caption="1 at the point itself, and high only near it. Farther away there are random ripples: 32 waves are few. The published models "
    "have 128.",
)

# %% [markdown]
# Now the **types**. To the code of a point a learned vector is added: one for *on the object*, another for *not on it*. A
# **box** becomes two tokens, its upper left and its lower right corner, with two further vectors. So the network can tell
# which corner is which: with these two vectors exchanged it is another question. When there are points and no box, one more
# token says so; it has no position. A **text** is read by the text encoder of CLIP (chapter [12](12_clip.ipynb)); here that
# of `clip-shapes`, and a learned linear map brings its 64 numbers to the width. (The published SAM models take no texts: the
# paper reports on that model, but it was not published.) In the published models each of these tokens has 256 numbers, in ours 64.

# %% tags=["slide:A/88-sam-prompt-encoder"]
encoder = model.prompt_encoder
x, y = click
types = [kind.data[0] for kind in encoder.point_types]
code = mv.vision.point_position_code
own = encoder.gaussian
corners = np.float32([[12, 8], [40, 30]])  # x, y
features = sam_shapes.phrase_features(["a red ring"])
with mv.no_grad():
    asked, _ = encoder(**on(x, y), boxes=corners.reshape(1, 1, 4), texts=features[None])
by_hand = [
    code(np.float32([x, y]), (64, 64), own) + types[1],  # a click on the object
    code(corners[0], (64, 64), own) + types[2],  # upper left
    code(corners[1], (64, 64), own) + types[3],  # lower right
    features[0] @ encoder.text.weight.data.T + encoder.text.bias.data,
]
np.testing.assert_allclose(asked.data[0, 0], by_hand, rtol=1e-4, atol=1e-5)
print("a click, a box and a phrase are", asked.shape[2], "tokens of width", asked.shape[3])


# %%
def exchange_corners():
    """Each corner of a box gets the learned vector of the other one."""
    first, second = encoder.point_types[2:]
    first.data, second.data = second.data, first.data


with mv.no_grad():
    right = model.answer(embedding, **questions["a box"], multimask=False)
    exchange_corners()
    wrong = model.answer(embedding, **questions["a box"], multimask=False)
    exchange_corners()  # as before
    several = np.float32([[[[10, 20], [30, 22], [50, 9]]]])
    one, other = (
        model.answer(
            embedding, points=several[:, :, order], point_labels=np.array([[[1, 0, 1]]])[:, :, order]
        )
        for order in ([0, 1, 2], [2, 0, 1])
    )
print(f"the box: IoU {iou(right.masks.data[0, 0, 0] > 0, scene.masks[thing]):.2f}", end="; ")
print(
    f"with the vectors of its corners exchanged: {iou(wrong.masks.data[0, 0, 0] > 0, scene.masks[thing]):.2f}"
)
np.testing.assert_allclose(one.masks.data, other.masks.data, rtol=1e-3, atol=1e-3)
print("the order of the points does not matter: tokens are a set")

# %% [markdown]
# ## A mask as a prompt
#
# Slide `A/89-sam-mask-prompt`. A mask of four times the embedding's size is shrunk by convolutions: two with kernels of $2
# \times 2$ and a stride of 2, each followed by a norm and GELU, and one of $1 \times 1$ to the width. The result is added to
# the embedding, $Y' = Y + Y_m$. Without a mask, a learned default is added. (The slide gives the default as a map of $H
# \times W \times C$. In the published code it is **one vector** of $C$ numbers, the same for all cells. And there are two
# convolutions of $2 \times 2$, not one.)

# %% tags=["slide:A/89-sam-mask-prompt"]
mask = rng.standard_normal((1, 1, 1, 64, 64)).astype(np.float32)
sizes = []
with mv.no_grad():
    step = mv.Tensor(mask[0])
    for layer in encoder.mask_downscaling:
        step = layer(step)
        if isinstance(layer, mv.nn.Conv2d):
            sizes.append(f"{layer.weight.shape[2]} x {layer.weight.shape[3]} -> {step.shape[1:]}")
    _, maps = encoder(masks=mask)
    _, nothing = encoder(**on(*click))
np.testing.assert_allclose(maps.data[0, 0], step.data[0], rtol=1e-4, atol=1e-5)
print("a mask (1, 64, 64):", ", ".join(sizes))
assert nothing.shape == (1, 1, 64, 1, 1)
np.testing.assert_array_equal(nothing.data.ravel(), encoder.no_mask.data.ravel())
print("without a mask:", nothing.shape, "one vector for all cells")

# %% [markdown]
# ## The mask decoder: four steps, both ways
#
# Slides `A/90-sam-mask-decoder` and `A/91-sam-decoder-layer`. Tokens and picture meet in the decoder. It is a transformer
# decoder that was changed in one point: the picture is changed as well. A layer has four steps, each with a residual sum and
# a norm:
#
# 1. The tokens attend to each other.
# 2. The tokens attend to the picture: what is there, where the prompt points?
# 3. An MLP changes each token.
# 4. The *picture* attends to the tokens: is this cell meant?
#
# Without step 4 the cells would never know the question. Codes are added to queries and keys in every attention, not only at
# the beginning. The code of a cell is that of its place, made with the same $G$. The code of a token is the token as it came
# in: of a click, its place and its type. Here are the four steps from parts, next to the library's layer.


# %% tags=["slide:A/91-sam-decoder-layer"]
def four_steps(layer, tokens, picture, token_codes, cell_codes):
    """Tokens (B, P, n, D) and the cells of a picture (B, P, h w, D): both, changed."""
    asked = tokens + token_codes
    tokens = layer.norm1(tokens + layer.self_attn(asked, asked, tokens))  # 1
    asked, keys = tokens + token_codes, picture + cell_codes
    tokens = layer.norm2(tokens + layer.tokens_to_image(asked, keys, picture))  # 2
    tokens = layer.norm3(tokens + layer.mlp(tokens))  # 3
    picture = layer.norm4(picture + layer.image_to_tokens(keys, tokens + token_codes, tokens))  # 4
    return tokens, picture


second = model.mask_decoder.layers[1]
cell_codes = model.prompt_encoder.grid_code((16, 16))  # (256, 64)
some = [rng.standard_normal((1, 2, n, 64)).astype(np.float32) for n in (7, 256, 7)]
with mv.no_grad():
    ours = four_steps(second, *map(mv.Tensor, some), cell_codes)
    theirs = second(*map(mv.Tensor, some), cell_codes)
for mine, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(mine.data, other.data, rtol=1e-4, atol=1e-4)
print("four steps from parts give what the layer gives:", [found.shape for found in ours])

# %% [markdown]
# (The first layer is an exception: its tokens *are* still their own codes, so nothing is added in step 1, and step 1 has no
# residual sum.) After two layers the tokens look at the picture once more. Then the embedding is enlarged four times by two
# transposed convolutions. Where do the tokens look? We record the attention of the last layer.

# %% tags=["slide:A/90-sam-mask-decoder"]
with mv.no_grad(), mv.nn.looking(model) as seen:
    found = model.answer(embedding, **on(*click))
for name, weights in seen.items():
    print(f"{name:45}", weights.shape)
print("masks", found.masks.shape, "from an embedding of", embedding.shape)
looks = seen["mask_decoder.final_attn.weights"][0, 0].mean(axis=0)  # (tokens, 256): the mean over heads
names = ["IoU", "single mask", "mask 1", "mask 2", "mask 3", "click", "no box"]
touched = scene.masks[thing].reshape(16, 4, 16, 4).any(axis=(1, 3)).ravel()  # cells with a part of the object
print(f"{touched.mean():.0%} of the cells have a part of the object; they get", end=" ")
print(", ".join(f"{name} {look[touched].sum():.0%}" for name, look in zip(names, looks, strict=True)))
viz.attention_maps(
    looks.reshape(7, 16, 16),
    image=scene.image,
    titles=names,
    columns=4,
    title="Where the tokens look at the end",
    caption="The attention of each token to the cells of the picture, the mean over heads: bright cells get most of it. All seven look at the "
    "clicked star and close to it, and hardly at the other two objects.",
)

# %% [markdown]
# ## Output tokens, and what a mask is made of
#
# Slide `A/92-sam-output-tokens`. Which tokens become masks? Some *learned* tokens join those of the prompt, as the class
# token does in ViT. The slide counts three. In the published code they are **five**: one for the estimates of the IoU, one
# for the mask if only one is wanted, and three for three masks.
#
# How does a token of 64 numbers become a mask? A small MLP of its own makes a vector $v_i$ of it, and the mask is the product
# of this vector with the enlarged embedding $F$ at each pixel, $M_i(x, y) = v_i \cdot F(x, y)$. Such an MLP, whose output is
# used as weights, is a *hypernetwork*. MaskFormer's queries make their masks in the same way (chapter
# [18](18_maskformer.ipynb)). A mask is thus a linear classifier of pixels, made for one question.

# %% tags=["slide:A/92-sam-output-tokens"]
decoder = model.mask_decoder
five = decoder.iou_token.shape[0] + decoder.mask_tokens.shape[0]
assert (five, decoder.mask_tokens.shape[0]) == (5, 4)
with mv.no_grad():
    tokens, maps = model.prompt_encoder(**on(*click))
    everything = ops.concatenate([decoder.iou_token, decoder.mask_tokens, tokens[0, 0]], axis=0)[None, None]
    t = everything
    picture = (embedding + maps[0]).reshape(1, 1, 64, 256).transpose(0, 1, 3, 2)
    for layer in decoder.layers:
        t, picture = layer(t, picture, everything, cell_codes)
    t = decoder.final_norm(t + decoder.final_attn(t + everything, picture + cell_codes, picture))
    pixels = decoder.upscaling(picture.transpose(0, 1, 3, 2).reshape(1, 64, 16, 16))  # (1, 8, 64, 64)
    for number in (1, 2, 3):
        vector = decoder.mask_mlps[number](t[0, 0, 1 + number])  # (8,)
        by_hand = np.einsum("c,chw->hw", vector.data, pixels.data[0])
        np.testing.assert_allclose(by_hand, found.masks.data[0, 0, number - 1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        decoder.iou_head(t[0, 0, 0]).data[1:], found.iou.data[0, 0], rtol=1e-3, atol=1e-4
    )
print("each mask is one vector times", pixels.shape[1], "enlarged maps")

# %% [markdown]
# ### Why three?
#
# A click on a shirt may mean the shirt, or the person. **One** prompt can have several right answers. A network that must
# give one answer learns a compromise: where half of the training says *in the mask* and the other half *not in it*, the loss
# is least at a probability of one half. So SAM gives three masks for a click, and in training **only the one with the least
# loss learns**. The others may specialise in something else.
#
# A small demonstration without any network. A click on a disc sometimes means the disc ($r < 3$), sometimes the larger disc
# around it ($r < 6$). We fit pixels directly: one mask; then three masks of which the best one learns. At the start all three
# are nearly alike, or they differ: one is small, one undecided, one large.

# %%
radius = np.hypot(*(np.mgrid[:16, :16] - 7.5))
meant = np.stack([radius < 3, radius < 6])  # the two things that the click can mean


def fit(start, steps=300):
    """Fit masks, whose logits begin at ``start``, to questions that mean one thing or the other: probabilities."""
    draw = np.random.default_rng(1)
    begin = np.array(start)[:, None, None] + 0.1 * draw.standard_normal((len(start), 16, 16))
    logits = mv.nn.Parameter(begin.astype(np.float32))
    optimizer = mv.optim.AdamW([logits], lr=0.1, weight_decay=0.0)
    for _ in range(steps):
        truth = meant[draw.integers(2)][None, None]
        found = mv.losses.sam_loss(logits[None, None], np.zeros((1, 1, len(start)), np.float32), truth)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    return 1 / (1 + np.exp(-logits.data))


# %%
one = fit([0])
alike = fit([0, 0, 0])
apart = fit([-2, 0, 2])
ring = (radius >= 3) & (radius < 6)
assert 0.2 < one[0][ring].mean() < 0.8 and apart[0][ring].mean() < 0.1 and apart[1][ring].mean() > 0.9
viz.images(
    [*meant.astype(float), *one, *alike, *apart],
    titles=[
        "meant: this",
        "or this",
        "one mask",
        *(f"alike: mask {n}" for n in (1, 2, 3)),
        *(f"apart: mask {n}" for n in (1, 2, 3)),
    ],
    columns=3,
    size=1.5,
    vmin=0,
    vmax=1,
    title="What is learned for a question with two answers",
    caption="White: probability 1. One mask is unsure about the ring between both discs. Three masks that start alike are no better: the "
    "first to learn wins every question. Three that start apart share the two meanings.",
)

# %% [markdown]
# The least of several losses *allows* masks to differ; it does not force them to. In the published model each of the three
# tends to be a whole thing, a part, or a part of a part.
#
# At use nobody knows the loss. Therefore the decoder also **estimates** the IoU of each of its masks, and they are ranked by it.
# Here is a click on a star that stands before a square.

# %% tags=["slide:A/92-sam-output-tokens"]
hard = drawn.scene(19), 1  # the scene, and the number of the object
place = mv.vision.central_click(hard[0].masks[hard[1]])
with mv.no_grad():
    three = model(hard[0].image[None], **on(*place))
viz.mask_choices(
    hard[0].image,
    {"points": [place], "point_labels": [1]},
    three.masks.data[0, 0],
    three.iou.data[0, 0],
    truth=hard[0].masks[hard[1]],
    title="Three masks for one click, the highest estimate first",
    caption="On the left is what was meant. Compare the IoU, which is the true one, with the estimate below it: the mask that is right "
    "has the lowest estimate. The other two take a part of the square along.",
)

# %% [markdown]
# The mask with the highest estimate is taken. Here this is a mistake. How good is the choice on the whole? We ask
# `sam-shapes` about all objects of 60 scenes with one click each.

# %% tags=["slide:A/92-sam-output-tokens"]
pairs = [(s, k) for s in (drawn.scene(i) for i in range(60)) for k in range(len(s.labels))]
true, guessed = [], []
with mv.no_grad():
    for s, k in pairs:
        answer = model(s.image[None], **on(*mv.vision.central_click(s.masks[k])))
        true.append([iou(m > 0, s.masks[k]) for m in answer.masks.data[0, 0]])
        guessed.append(answer.iou.data[0, 0])
true, guessed = np.array(true), np.array(guessed)  # (n, 3) each
by_estimate = true[np.arange(len(true)), guessed.argmax(axis=1)]
print(
    f"mean IoU: by the estimate {by_estimate.mean():.3f}, best of three {true.max(axis=1).mean():.3f},",
    end=" ",
)
print(f"one at random {true.mean():.3f}; used: {np.bincount(guessed.argmax(axis=1), minlength=3)}")
together = np.corrcoef(guessed.ravel(), true.ravel())[0, 1]
print(f"correlation of estimated and true IoU: {together:.2f}")
assert true.max(axis=1).mean() >= by_estimate.mean() > true.mean() - 0.02 and together > 0.3

# %% [markdown]
# The choice by the estimate is a little better than one at random, and the best of three would be better still. The estimates
# tell easy objects from difficult ones better than they tell the three masks of one object apart.

# %% [markdown]
# ## The loss: focal, dice, and the error of an estimate
#
# Slide `A/93-sam-losses`. The loss of a mask is 20 times the *focal loss* plus the *dice loss*; to this the squared error of
# the estimated IoU is added, with a weight of 1. With $m^*$ the mask with the least loss, $\hat u$ the estimates and $u$ the
# true IoU of the masks:
#
# $$L = \min_m \bigl( 20\, \ell^{(m)}_{focal} + \ell^{(m)}_{dice} \bigr) + (\hat u_{m^*} - u_{m^*})^2 .$$
#
# Both losses of masks answer the same difficulty: an object may have only 2 % of the pixels, and then the answer *nothing* is
# right for 98 %. With $p$ the predicted probability, $y$ the truth (0 or 1) and $p_t$ the probability of what is true,
#
# $$\ell_{focal} = -\frac{1}{HW} \sum \alpha_t (1 - p_t)^2 \log p_t, \qquad
#   \ell_{dice} = 1 - \frac{2 \sum p\, y + 1}{\sum p + \sum y + 1} .$$
#
# The focal loss turns down pixels that are easy, and $\alpha_t$ is 0.25 on the object and 0.75 elsewhere. The dice loss looks
# at the overlap alone, whatever the size of the picture.


# %% tags=["slide:A/93-sam-losses"]
def focal_loops(logits, truth):
    """The focal loss of one mask (H, W)."""
    total = 0.0
    for z, y in zip(logits.ravel(), truth.ravel(), strict=True):
        p = 1 / (1 + math.exp(-z))
        right, alpha = (p, 0.25) if y else (1 - p, 0.75)
        total += -alpha * (1 - right) ** 2 * math.log(right)
    return total / logits.size


def dice_loops(logits, truth):
    """The dice loss of one mask (H, W)."""
    overlap = both = 0.0
    for z, y in zip(logits.ravel(), truth.ravel(), strict=True):
        p = 1 / (1 + math.exp(-z))
        overlap += p * y
        both += p + y
    return 1 - (2 * overlap + 1) / (both + 1)


# %% tags=["slide:A/93-sam-losses"]
logits = rng.normal(0, 2, (3, 6, 7))
truth = rng.random((6, 7)) < 0.3
losses = [20 * focal_loops(m, truth) + dice_loops(m, truth) for m in logits]
estimates = np.array([0.2, 0.5, 0.9])
found = mv.losses.sam_loss(logits[None, None], estimates[None, None], truth[None, None])
best = int(np.argmin(losses))
error = (estimates[best] - iou(logits[best] > 0, truth)) ** 2
np.testing.assert_allclose(float(found["loss"]), losses[best] + error)
print(
    f"three masks: {np.round(losses, 2)}; only mask {best + 1} learns; with the error of its estimate {found['loss']:.2f}"
)

# %% [markdown]
# ### Why small models start otherwise
#
# The ratio of 20 to 1 was found for a network that had already learned to see, with over a billion masks. Look at what both
# losses say at the very beginning, when all probabilities are one half, about an object with 5 % of the pixels. A logit of
# the object is pulled up, all others are pushed down. Which is stronger in sum?

# %%
truth = np.zeros((64, 64), bool)
truth[10:24, 20:35] = True  # 210 of 4,096 pixels
pulls = {}
for name, loss in (
    ("focal", mv.losses.sigmoid_focal_loss), ("cross-entropy", ops.binary_cross_entropy_with_logits), ("dice", mv.losses.dice_loss),
):  # fmt: skip
    zero = mv.Tensor(np.zeros((1, 4096)), requires_grad=True)
    ops.mean(loss(zero, truth.reshape(1, -1).astype(float), reduction="mean")).backward()
    slope = -zero.grad[0].reshape(64, 64)
    pulls[name] = slope[truth].sum(), -slope[~truth].sum()
    print(
        f"{name:14} pulls the object up by {pulls[name][0]:.4f}, pushes the rest down by {pulls[name][1]:.4f}:",
        end=" ",
    )
    print(f"{pulls[name][1] / pulls[name][0]:.0f} to 1")
assert pulls["focal"][1] / pulls["focal"][0] > pulls["cross-entropy"][1] / pulls["cross-entropy"][0]

# %% [markdown]
# For dice both are about equal. For cross-entropy the push down is as much stronger as there are more pixels beside the object,
# and for the focal loss three times more, because of its $\alpha$. As long as the network cannot tell the object from the rest,
# all logits move together, and the focal loss moves them down. So for `sam-shapes` three things were chosen differently:
# cross-entropy and dice with the same weight; an image encoder that had already learned to name pixels; and the estimates of
# *all* masks learn, not only that of the best. What did the first two of them do? The study `sam_losses` trained all four
# combinations, 200 steps each, with two seeds. Beside them stands the poorest answer that is not empty: the whole picture.

# %%
from minivis.recipes import sam_losses

study = sam_losses.results()["loss and start"]
for choice, found in study.items():
    shares = ", ".join(f"{name} {np.round(found[name], 2)}" for name in ("1 click", "empty", "box"))
    print(f"{choice:40} {shares}")
validation = shapes.Scenes(100, "validation")
sizes = [mask.mean() for i in range(100) for mask in validation.scene(i).masks]
print(f"the whole picture as the mask: {np.mean(sizes):.2f}")
viz.dots(
    {choice.replace(", ", "\n"): found["1 click"] for choice, found in study.items()},
    "mean IoU after one click",
    title="Two losses, two starts, after 200 steps",
    caption="Each dot is one training, coloured by its seed; the bar is the mean of two. Compare the rows in pairs: the same loss with "
    "another start, and the same start with another loss.",
)

# %% [markdown]
# **The loss decides.** With focal and dice the IoU after a click is 0.03 to 0.04 in all four trainings, no better than the whole
# picture, and after a box it is 0. (After a click the masks are not empty: one of three is chosen, and at most one of them learns
# in a step.) With cross-entropy and dice it is 0.16 to 0.19. The start makes no difference after 200 steps that two seeds
# could show. None of these has learned to segment yet: `sam-shapes` was trained for many more steps.
#
# ## A decoder of your own
#
# Now we write the part that answers, and train it. The trunk is that of `sam-shapes` and stays as it is: it has learned to
# name pixels and was then trained with SAM. We use only its two maps, the finer one and the enlarged coarser one, computed
# once for all pictures. Everything behind is new: the prompt's tokens, two layers with four steps, three masks and their
# estimates. First a layer:


# %%
class FourSteps(mv.nn.Module):
    """A two-way layer: tokens (B, n, D) and picture (B, N, D), each changed by the other."""

    def __init__(self, width, heads, rng):
        attention = lambda: mv.nn.MultiHeadAttention(width, heads, rng=rng)  # noqa: E731
        self.among, self.look, self.tell = attention(), attention(), attention()
        self.mlp = mv.nn.MLP(width, 2 * width, activation="relu", rng=rng)
        self.norms = [mv.nn.LayerNorm(width) for _ in range(4)]

    def forward(self, tokens, picture, codes, places):
        asked = tokens + codes
        tokens = self.norms[0](tokens + self.among(asked, asked, tokens))
        tokens = self.norms[1](tokens + self.look(tokens + codes, picture + places, picture))
        tokens = self.norms[2](tokens + self.mlp(tokens))
        picture = self.norms[3](picture + self.tell(picture + places, tokens + codes, tokens))
        return tokens, picture


# %% [markdown]
# And the decoder around two of them:


# %%
class ClickToMask(mv.nn.Module):
    """Maps (B, C, 16, 16) and clicks (B, 2), x and y in pixels: masks (B, 1, 3, 64, 64) and estimates (B, 1, 3)."""

    def __init__(self, channels, width=48, heads=4, seed=0):
        rng = np.random.default_rng(seed)
        self.reduce = mv.nn.Conv2d(channels, width, 1, rng=rng)
        self.gaussian = rng.standard_normal((2, width // 2)).astype(np.float32)  # drawn once, not learned
        self.clicked = mv.nn.Parameter(mv.nn.init.normal((1, width), 1.0, rng))
        self.own = mv.nn.Parameter(mv.nn.init.normal((4, width), 1.0, rng))  # the IoU's token, three masks'
        self.layers = [FourSteps(width, heads, rng) for _ in range(2)]
        self.enlarge = mv.nn.Sequential(
            mv.nn.ConvTranspose2d(width, width // 2, 2, stride=2, rng=rng),
            mv.nn.GELU(),
            mv.nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2, rng=rng),
            mv.nn.GELU(),
        )
        self.vectors = [mv.nn.MLP(width, width, width // 4, rng=rng) for _ in range(3)]
        self.estimate = mv.nn.MLP(width, width, 3, rng=rng)

    def forward(self, maps, clicks):
        x = self.reduce(maps)  # (B, D, 16, 16)
        B, D, h, w = x.shape
        cells = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).reshape(h * w, 2)
        places = mv.vision.point_position_code(cells, (h, w), self.gaussian)  # (N, D)
        click = mv.vision.point_position_code(clicks[:, None], (4 * h, 4 * w), self.gaussian) + self.clicked
        codes = ops.concatenate([ops.broadcast_to(self.own, (B, 4, D)), click], axis=1)  # (B, 5, D)
        tokens = codes
        picture = x.reshape(B, D, h * w).transpose(0, 2, 1)
        for layer in self.layers:
            tokens, picture = layer(tokens, picture, codes, places)
        pixels = self.enlarge(picture.transpose(0, 2, 1).reshape(B, D, h, w))  # (B, D / 4, 64, 64)
        vectors = ops.stack([mlp(tokens[:, 1 + m]) for m, mlp in enumerate(self.vectors)], axis=1)
        masks = vectors @ pixels.reshape(B, D // 4, 16 * h * w)  # (B, 3, 4096)
        return masks.reshape(B, 1, 3, 4 * h, 4 * w), self.estimate(tokens[:, 0]).reshape(B, 1, 3)


# %%
def trunk_maps(scenes):
    """What the trunk makes of scenes: both maps at 16 x 16 cells, (n, 96, 16, 16)."""
    found = []
    with mv.no_grad():
        for start in range(0, len(scenes), 40):
            pictures = np.stack([s.image for s in scenes[start : start + 40]])
            *_, fine, coarse = model.image_encoder.backbone.features(pictures)
            coarse = ops.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
            found.append(ops.concatenate([fine, coarse], axis=1).data)
    return np.concatenate(found)


# %%
lessons = [shapes.Scenes(320, "train").scene(i) for i in range(320)]
tests = [drawn.scene(i) for i in range(60, 100)]
lesson_maps, test_maps = trunk_maps(lessons), trunk_maps(tests)
asked = [
    (i, k, mv.vision.central_click(s.masks[k])) for i, s in enumerate(tests) for k in range(len(s.labels))
]
test_truth = np.stack([tests[i].masks[k] for i, k, _ in asked])


def test_iou(net):
    """Mean IoU after one click: of the mask with the highest estimate, and of the best of three."""
    with mv.no_grad():
        masks, estimates = net(test_maps[[i for i, _, _ in asked]], np.float32([c for *_, c in asked]))
    masks = masks.data[:, 0] > 0
    chosen = estimates.data[:, 0].argmax(axis=1)
    each = (masks & test_truth[:, None]).sum((2, 3)) / (masks | test_truth[:, None]).sum((2, 3))
    return each[np.arange(len(each)), chosen].mean(), each.max(axis=1).mean()


# %%
def train(net, steps, batch=24, seed=0):
    """Clicks drawn uniformly on an object; the best of three masks learns; returns the loss of each step."""
    draw = np.random.default_rng(seed)
    schedule = mv.optim.one_cycle(steps, warmup=0.1)
    optimizer = mv.optim.AdamW(net.parameters(), lr=2e-3, schedule=schedule)
    losses = []
    for _ in range(steps):
        rows = draw.integers(0, len(lessons), batch)
        truth = np.stack([lessons[i].masks[draw.integers(len(lessons[i].labels))] for i in rows])
        clicks = np.float32([mv.vision.uniform_click(mask, draw) for mask in truth])
        weights = {"focal": 0.0, "dice": 2.0, "cross_entropy": 2.0, "every_estimate": True}
        loss = mv.losses.sam_loss(*net(lesson_maps[rows], clicks), truth[:, None], **weights)["loss"]
        optimizer.zero_grad()
        loss.backward()
        mv.optim.clip_grad_norm(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


# %%
own = ClickToMask(lesson_maps.shape[1])
print("before: by the estimate {:.2f}, best of three {:.2f}".format(*test_iou(own)))
losses = train(own, 400)
print("after:  by the estimate {:.2f}, best of three {:.2f}".format(*test_iou(own)))
simple = np.mean([iou(sam_shapes.similar_colour(tests[i].image, c), tests[i].masks[k]) for i, k, c in asked])
print(f"for comparison, the region of similar colour around the click: {simple:.2f}")
assert test_iou(own)[0] > 0.3

# %% [markdown]
# After 400 steps the decoder answers new clicks, but on these pictures the region of similar colour is still better: our shapes have one or two
# colours each. `sam-shapes`, with more steps and a trained encoder, is above it on 500 scenes (below).

# %%
smooth = np.convolve(losses, np.ones(15) / 15, mode="valid")
viz.curves(
    {"loss, mean of 15 steps": (np.arange(len(smooth)) + 15, smooth)},
    "step",
    "loss",
    title="A decoder learns to answer clicks",
    caption="The loss of batches of 24 clicks. Look at how it falls: fast at first, then slowly. Near the end it "
    "hardly changes, because the learning rate goes to 0.",
)

# %%
rows = [0, 4, 9, 13]
with mv.no_grad():
    masks, estimates = own(test_maps[[asked[r][0] for r in rows]], np.float32([asked[r][2] for r in rows]))
picked = estimates.data[:, 0].argmax(axis=1)
viz.prompted_masks(
    [tests[asked[r][0]].image for r in rows],
    [{"points": [asked[r][2]], "point_labels": [1]} for r in rows],
    [masks.data[n, 0, m] for n, m in enumerate(picked)],
    ious=[float(estimates.data[n, 0, m]) for n, m in enumerate(picked)],
    title="Our own decoder, on pictures that it has not seen",
    caption="The mask with the highest estimate of three, for one click each. The clicked object is in the mask, but often a part of another "
    "object too: a longer training would have to tell them apart.",
)

# %% [markdown]
# ## Training with clicks, round by round
#
# The prompts of the training are simulated. For each object the first prompt is a click, drawn uniformly on it, or its box
# with noise of a tenth of its sides. Then the mask is compared with the truth, and the **next click** is drawn from what is
# wrong: on a part that is missing (*on the object*) or on one too many (*not on it*). The last mask goes in as a mask prompt.
# The paper has eleven rounds; `sam-shapes` was trained with three. Only the first click gets three masks: with more prompts
# it is clear what is meant, and the single-mask token answers. Here are such rounds on a held-out scene, with each click on
# the wrong pixel that is farthest from the border of its region. It is the star from above, for which clicks help more than for
# most objects.


# %%
def rounds(net, s, k, count):
    """The prompts and the masks of some rounds of clicks on object k of scene s."""
    truth = s.masks[k]
    prompt = on(*mv.vision.central_click(truth))
    with mv.no_grad():
        embedded = net.embed(s.image[None])
        for answer in sam_shapes.answers(net, embedded, prompt, truth[None, None], count):
            logits, estimates = sam_shapes.best_guess(answer)
            yield {name: given[0, 0] for name, given in prompt.items()}, logits[0, 0], estimates[0, 0]
            prompt = sam_shapes.more_clicks(prompt, logits, truth[None, None])


steps = list(rounds(model, *hard, 4))
viz.prompted_masks(
    hard[0].image,
    [{name: prompt[name] for name in ("points", "point_labels")} for prompt, _, _ in steps],
    [logits for _, logits, _ in steps],
    ious=[estimate for _, _, estimate in steps],
    titles=[f"IoU {iou(logits > 0, hard[0].masks[hard[1]]):.2f}" for _, logits, _ in steps],
    title="Four rounds on one object",
    caption="Each picture has one click more than the one before. Stars are clicks on the object, crosses are clicks beside it. The IoU "
    "above is the true one, and below it stands what the model expects.",
)

# %% [markdown]
# Are rounds in the training worth their time? The study has one training with one round and one with three, again 200 steps
# and two seeds.

# %%
for choice, found in sam_losses.results()["rounds"].items():
    shares = ", ".join(f"{name} {np.round(found[name], 2)}" for name in ("1 click", "3 clicks", "box"))
    print(f"{choice:9} {shares}; {np.mean(found['seconds']):.0f} s")

# %% [markdown]
# After so few steps they show no gain, and they cost more time. What they are worth in a long training was not measured here.
#
# What is one more click worth, on the whole? These figures were measured on all objects of 500 held-out scenes, and are in the
# model's card. Beside them stand three simple ways, which need no training: the region of similar colour around the click,
# all pixels of the box, and the ellipse in the box.

# %%
card = mv.storage.read_json(mv.storage.PACKAGED / "sam-shapes" / "card.json")["on 500 held-out scenes"]
kinds = {
    "prompts": ["1 click", "2 clicks", "3 clicks", "5 clicks", "box", "box and 1 click", "text"],
    "small objects": ["1 click, small", "box, small"],
    "simple ways": [
        "similar colour around the click",
        "filled box",
        "ellipse in the box",
        "text: any object",
    ],
}
for kind, names in kinds.items():
    print(kind, *(f"    {name:32} {card[name]:.3f}" for name in names), sep="\n")

# %%
clicks = [1, 2, 3, 5]
viz.curves(
    {"sam-shapes": (clicks, [card[f"{n} click{'s' * (n > 1)}"] for n in clicks])},
    "clicks",
    "mean IoU",
    level={
        "similar colour around the click": card["similar colour around the click"],
        "ellipse in the box": card["ellipse in the box"],
        "sam-shapes with a box": card["box"],
    },
    title="IoU and the number of clicks",
    caption="All objects of 500 held-out scenes, each click on the middle of the object or of the largest error. Look at how flat the curve is after the second click, and where the lines lie: they need no second click.",
)

# %% [markdown]
# One click is clearly better than the simple ways, and a box is better than a click. The second click helps, and the third
# hardly. Why? Let us see where the wrong pixels are.

# %%
from scipy.ndimage import binary_dilation, binary_erosion

wrong, at_edge = np.zeros((2, 3))
edges = []
for s, k in pairs[:60]:
    truth = s.masks[k]
    edge = binary_dilation(truth, iterations=2) & ~binary_erosion(truth, iterations=2)
    edges.append(edge.mean())
    for n, (_, logits, _) in enumerate(rounds(model, s, k, 3)):
        errors = (logits > 0) != truth
        wrong[n] += errors.sum()
        at_edge[n] += (errors & edge).sum()
print(f"two pixels on both sides of the edge are {np.mean(edges):.0%} of a picture")
for n in range(3):
    print(
        f"{n + 1} click{'s' * (n > 0)}: {wrong[n] / len(edges):.0f} wrong pixels an object, {at_edge[n] / wrong[n]:.0%} of them there"
    )

# %% [markdown]
# After one click about half of the wrong pixels are elsewhere: a part of another object, or a piece that is missing. Clicks
# remove some of these. Of what is left two thirds are at the edge: the embedding has cells of $4 \times 4$ pixels, masks are
# drawn from it, and a click says little about an edge. So small objects, which are nearly all edge, are worst. The paper's model gains more from
# each click: its pictures have 1024 pixels and its things have parts.
#
# A phrase is the weakest prompt: it does not say where. The decoder has to find the object by its colour, texture and shape,
# and nothing in the two layers was made for searching. What does it do with a phrase that fits two objects, or none?

# %%
crosses = drawn.scene(21)  # one of its two crosses is cyan, the other green; nothing is purple or a circle
phrases = ["a cyan cross", "a cross", "a purple circle"]
with mv.no_grad():
    embedded = model.embed(crosses.image[None])
    said = [
        model.answer(embedded, texts=sam_shapes.phrase_features([p])[None], multimask=False) for p in phrases
    ]
viz.prompted_masks(
    crosses.image,
    [{"text": phrase} for phrase in phrases],
    [answer.masks.data[0, 0, 0] for answer in said],
    ious=[float(answer.iou.data[0, 0, 0]) for answer in said],
    title="A phrase that fits one object, two, and none",
    caption="Look for the two crosses in the second picture, cyan and green: neither is in the mask. In the third picture nothing fits, and still "
    "there is a mask.",
)

# %% [markdown]
# In the training every phrase fitted exactly one object. So the model has learned neither to return two nor to say no. Its
# estimates are lower for such phrases, but far from 0.
#
# ## Masks without a question
#
# What if nobody asks? Then the program asks, everywhere: it clicks on each point of a regular grid and keeps the masks that
# pass three tests. The *estimated IoU* must be high. The mask must be **stable**: if the threshold of the logits is moved
# from 0 up to 1 and down to -1, the mask should hardly change,
#
# $$s = \frac{\#\{(x, y) : l > 1\}}{\#\{(x, y) : l > -1\}} .$$
#
# And of masks with nearly the same box one stays (non-maximum suppression, chapter [14](14_detection.ipynb)). In this way the
# authors made the 1.1 billion masks on which the published SAM was trained: the model, corrected by people at first, labelled
# the pictures for its next training.


# %%
def stability(logits, offset=1.0):
    """The stability of masks (..., H, W)."""
    inner, outer = ((logits > o).sum(axis=(-2, -1)) for o in (offset, -offset))
    return (inner / np.maximum(outer, 1)).astype(logits.dtype)


sharp, soft = (np.clip(steep * (8 - radius), -20, 20) for steep in (5.0, 0.4))
print(f"an edge that is steep: {stability(sharp):.2f}, one that is not: {stability(soft):.2f}")
mv.laws.check("stability_score", stability)

# %%
pictures = [drawn.scene(i) for i in (4, 17, 21)]
found = [mv.vision.automatic_masks(model, s.image, side=12, iou=0.7, stability=0.8) for s in pictures]
for s, masks in zip(pictures, found, strict=True):
    hit = sum(max((iou(one.mask, truth) for one in masks), default=0) > 0.5 for truth in s.masks)
    ground = sum((one.mask & ~s.masks.any(axis=0)).sum() > one.mask.sum() / 2 for one in masks)
    print(
        f"{len(masks)} masks, {ground} mostly on the ground; of {len(s.masks)} objects {hit} have one with an IoU above 0.5"
    )
viz.masks_on_images(
    [s.image for s in pictures],
    [np.stack([one.mask for one in masks]) for masks in found],
    titles=[f"{len(masks)} masks" for masks in found],
    title="Everything in a picture, found by 144 clicks",
    caption="A grid of 12 x 12 points was asked about, and masks with an estimate above 0.7 and a stability above 0.8 were kept. "
    "Each colour is one mask. Look for objects with several masks, of which one is a part of the other, and for an object with none.",
)

# %% [markdown]
# Nearly every object is found, and the ground is left alone: in its training the model was never asked for the ground. But there
# are more masks than objects. Non-maximum suppression compares *boxes*, so the mask of a part stays beside that of the whole.
#
# ## Click yourself
#
# Run the next cell, then click. A click is a point *on the object*; with the shift key it is one that is *not on it*. Press,
# move and release to draw a box. The picture is embedded once; each answer takes a few milliseconds. On the right are the
# three masks and what the model expects of each; click on one of them to choose it. Nothing keeps an estimate below 1: it is
# the output of a linear layer, and for an easy object it can be a little more. (Without a running kernel you see the
# answer to one click.)

# %%
seen = drawn.scene(11)
x, y = mv.vision.central_click(seen.masks[0])
viz.click_segmenter(model, seen.image, point=(x + 0.5, y + 0.5))

# %% [markdown]
# Now a photograph. Write the path of one of yours instead of the flower, or press *own photo* above. It is scaled so that its
# longer side fits the 64 pixels of this model. Do not expect much: the model has only seen generated shapes. Do not trust its
# estimate either: for a part of the flower it expects a high IoU.

# %%
photo = mv.data.photos.flower()  # or "path/of/your/photo.jpg"
viz.click_segmenter(model, photo, point=(250, 160))

# %% [markdown]
# A published model can be used in the same way, on photographs as large as you like. Fetch it in a shell, `minivis fetch
# facebook/sam-vit-base`, and load it with `mv.from_pretrained("facebook/sam-vit-base")`. It sees pictures from which a mean
# was subtracted: give `click_segmenter` a function `prepare` that does the same.
#
# ## From pictures to pipes
#
# What does one do with such a model in a factory? The deck's example is the inspection of pipes. A small CNN finds *where*
# the pipe is, a box; SAM makes the mask from the box. Only the CNN has to learn from pictures of pipes, and for it boxes are
# enough: nobody has to draw masks. Those pictures are not public, so here are generated ones. First the CNN: it learns to
# return the box, from 320 pictures.


# %%
class BoxFinder(mv.nn.Module):
    """A small CNN: pictures (B, 3, 64, 64) to a box (B, 4), cx, cy, w, h as shares of the picture."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.convs = []
        for before, after in ((3, 16), (16, 24), (24, 32), (32, 48)):
            self.convs += [
                mv.nn.Conv2d(before, after, 3, stride=2, padding=1, rng=rng),
                mv.nn.BatchNorm2d(after),
            ]
        self.head = mv.nn.Linear(48 * 16, 4, rng=rng)

    def forward(self, x):
        for conv, norm in zip(self.convs[::2], self.convs[1::2], strict=True):
            x = ops.relu(norm(conv(x)))
        return ops.sigmoid(self.head(x.reshape(len(x), -1)))


# %%
from minivis.data.pipes import Pipes

pipes, unseen = Pipes(320, "train"), Pipes(60, "held-out")
pictures, _, boxes = (np.stack(part) for part in zip(*(pipes[i] for i in range(320)), strict=True))
new_pictures, new_masks, new_boxes = (
    np.stack(part) for part in zip(*(unseen[i] for i in range(60)), strict=True)
)
targets = mv.vision.box_xyxy_to_cxcywh(boxes / 64)  # (320, 4)

# %%
finder = BoxFinder()
draw = np.random.default_rng(0)
optimizer = mv.optim.AdamW(finder.parameters(), lr=3e-3, schedule=mv.optim.one_cycle(200, warmup=0.1))
for _ in range(200):
    rows = draw.integers(0, 320, 32)
    flip = draw.integers(2)  # half of the batches are mirrored
    seen = pictures[rows][..., ::-1] if flip else pictures[rows]
    wanted = np.abs([flip, 0, 0, 0] - targets[rows]) if flip else targets[rows]
    loss = ops.mean(ops.abs(finder(np.ascontiguousarray(seen)) - wanted.astype(np.float32)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
finder.eval()
with mv.no_grad():
    predicted = mv.vision.box_cxcywh_to_xyxy(finder(new_pictures).data) * 64  # (60, 4)
overlaps = np.diag(mv.vision.box_iou(predicted, new_boxes))
mean_box = np.tile(boxes.mean(axis=0), (60, 1))
print(f"box IoU on new pictures: {overlaps.mean():.2f}; always the mean box: ", end="")
print(f"{np.diag(mv.vision.box_iou(mean_box, new_boxes)).mean():.2f}")

# %% [markdown]
# Then SAM: the box is the prompt, and the mask follows. `sam-shapes` has never seen a pipe. For comparison stand the mask
# from the *true* box, the whole box taken for the mask, and the mask from one click in the middle of the pipe.


# %%
def ask(prompts):
    """Masks (60, 64, 64) for one prompt on each new picture."""
    with mv.no_grad():
        logits, _ = sam_shapes.best_guess(model(new_pictures, **prompts, multimask="points" in prompts))
    return logits[:, 0] > 0


middles = np.float32([mv.vision.central_click(mask) for mask in new_masks])[:, None, None]
ways = {
    "CNN's box, then SAM": ask({"boxes": predicted[:, None].astype(np.float32)}),
    "true box, then SAM": ask({"boxes": new_boxes[:, None]}),
    "one click, then SAM": ask({"points": middles, "point_labels": np.ones((60, 1, 1), int)}),
    "the CNN's box itself": np.stack([sam_shapes.in_box(box, (64, 64)) for box in predicted]),
    "the true box itself": np.stack([sam_shapes.in_box(box, (64, 64)) for box in new_boxes]),
}
pipe_iou = {
    name: np.mean([iou(a, b) for a, b in zip(masks, new_masks, strict=True)]) for name, masks in ways.items()
}
for name, value in pipe_iou.items():
    print(f"{name:22} mean IoU {value:.2f}")

# %%
viz.prompted_masks(
    list(new_pictures[:4]),
    [{"boxes": box} for box in predicted[:4]],
    list(ways["CNN's box, then SAM"][:4]),
    titles=[f"IoU {iou(a, b):.2f}" for a, b in zip(ways["CNN's box, then SAM"][:4], new_masks, strict=False)],
    title="Pipes: the CNN draws the box, SAM fills it",
    caption="The first four new pictures. The frame is what the CNN returned. Where colours differ clearly, the mask follows the pipe. Where the pipe is as pale as the ground, the model takes the rust for the thing.",
)

# %% [markdown]
# The mask is better than the box that it came from: SAM adds something, although it has never seen a pipe. But all values are
# low, even with the true box, and one click is worse than the box itself. A model that is to be used in this way must have
# seen more kinds of things than six shapes.

# %% [markdown]
# ## What the paper says, and what was measured here

# %%
print(f"one click: by the estimate {card['1 click']:.2f}, the best of three masks {card['best of 3']:.2f}")
print(
    f"three clicks {card['3 clicks']:.2f}, five {card['5 clicks']:.2f}; a box {card['box']:.2f}; a phrase {card['text']:.2f}"
)
print(
    f"small objects, one click: {card['1 click, small']:.2f}; similar colour: {card['similar colour around the click']:.2f}"
)
print(
    f"estimated and true IoU: correlation {card['estimate correlation']:.2f}, mean distance {card['estimate error']:.2f}"
)
print(f"pipes, which it had never seen: from the CNN's box {list(pipe_iou.values())[0]:.2f}")

# %% [markdown]
# **Confirmed** in the small: a picture is embedded once, and every prompt is answered from the same embedding. With several
# masks for one click the best of them is better than the one that is chosen, so there is something to choose; and the
# estimates choose better than chance. A model that was trained on simulated clicks answers the real ones of the widget.
#
# **Different**: more than two clicks add little here. The loss with the ratio of 20 to 1 is not a good start for a small
# model. Our embedding costs about as much as an answer, so that keeping it matters less. A mask prompt made by hand was no help, and
# rounds of clicks were no gain in a short training.
#
# **Not tested**: that SAM segments things of a kind that it has not seen. Our objects are six shapes, all known from the
# training. The pipes are one hint: from a box the masks are a little better than the box itself, from a click worse.

# %% [markdown]
# ## Exercises
#
# Each exercise has a stub, a check that says what holds and what does not, and a solution to unfold. A check by laws
# also asks the following of your function: float32 in gives float32 out, float64 keeps all its digits, the input
# arrays stay unchanged, and nothing is printed.
#
# ### Exercise 1: the code of a point
# Write `my_code(points, size, gaussian)`. `points` is $(\dots, 2)$, $x$ and $y$ in pixels; `size` is the height and the width of the
# picture; `gaussian` is $(2, D/2)$. Return $(\dots, D)$ in the dtype of `gaussian`: all sines, then all cosines, as in the section on prompts.


# %% tags=["exercise:point-code"]
def my_code(points, size, gaussian): ...  # your lines here


# %% tags=["check:point-code"]
passed = mv.laws.check("point_position_code", my_code).passed

# %% [markdown] tags=["solution:point-code"]
# <details><summary>Solution</summary>
#
# ```python
# def my_code(points, size, gaussian):
#     height, width = size
#     p = 2 * (points + 0.5) / np.array([width, height], points.dtype) - 1
#     angles = 2 * math.pi * (p @ gaussian)
#     return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(gaussian.dtype)
# ```
#
# `size` has the height first, as shapes of arrays have, and a point has $x$ first. That is the place where most errors happen.
# </details>

# %% [markdown]
# ### Exercise 2: how stable is a mask?
# Write `my_stability(logits, offset=1.0)`. `logits` is $(\dots, H, W)$. Return for each mask the number of pixels whose logit is above
# `offset`, divided by the number of those above `-offset`; 0 if there are none. The dtype is that of `logits`.


# %% tags=["exercise:stability"]
def my_stability(logits, offset=1.0): ...  # your lines here


# %% tags=["check:stability"]
passed = mv.laws.check("stability_score", my_stability).passed

# %% [markdown] tags=["solution:stability"]
# <details><summary>Solution</summary>
#
# ```python
# def my_stability(logits, offset=1.0):
#     inner = (logits > offset).sum(axis=(-2, -1))
#     outer = (logits > -offset).sum(axis=(-2, -1))
#     return (inner / np.maximum(outer, 1)).astype(logits.dtype)
# ```
#
# The smaller mask lies inside the larger one. So their overlap is the smaller one, their union the larger one, and the quotient is the IoU of both.
# </details>

# %% [markdown]
# ### Exercise 3: which mask learns, and which is shown?
# Write `my_choice(losses, true, estimates)`. All are $(P, 3)$: for each of $P$ prompts the losses of the three masks, their true IoU, and the estimates of
# it. Return the training loss and the masks that are shown: the mean over the prompts of the *least* loss, plus the mean of the squared error of *all*
# estimates, as one number; and the number of the mask with the highest estimate for each prompt, $(P,)$.


# %% tags=["exercise:choice"]
def my_choice(losses, true, estimates): ...  # your lines here


# %% tags=["check:choice"]
some_losses = np.array([[0.5, 0.2, 0.9], [1.0, 3.0, 2.0]])
some_true = np.array([[0.6, 0.8, 0.1], [0.5, 0.0, 0.25]])
some_estimates = np.array([[0.6, 0.7, 0.9], [0.5, 0.1, 0.25]])
passed = claims(
    "the choice",
    (
        "the loss is the least of three, and the error of the estimates",
        lambda: round(float(my_choice(some_losses, some_true, some_estimates)[0]), 9),
        round(0.6 + (0.1**2 + 0.8**2 + 0.1**2) / 6, 9),
        "The least of each row (axis=1), then the mean; the squared errors are averaged over all six.",
    ),
    (
        "the estimates choose what is shown",
        lambda: [int(m) for m in my_choice(some_losses, some_true, some_estimates)[1]],
        [2, 0],
        "At use neither the losses nor the true IoU are known: argmax of the estimates, for each row.",
    ),
    (
        "right estimates cost nothing",
        lambda: float(my_choice(np.zeros((4, 3)), np.full((4, 3), 0.3), np.full((4, 3), 0.3))[0]),
        0.0,
        "Compare the estimates with the true IoU, not with 1.",
    ),
).passed

# %% [markdown] tags=["solution:choice"]
# <details><summary>Solution</summary>
#
# ```python
# def my_choice(losses, true, estimates):
#     loss = losses.min(axis=1).mean() + ((estimates - true) ** 2).mean()
#     return loss, estimates.argmax(axis=1)
# ```
#
# The least loss decides in training, the highest estimate at use. Both agree as far as the estimates are right.
# </details>

# %% [markdown]
# ### Exercise 4: the next click
# Write `my_next_click(found, truth)`. Both are boolean $(H, W)$: the mask so far and the object. Return `((x, y), label)`: the click lies on the wrong pixel that is
# farthest from the border of its region, and the label is 1 on the object and 0 elsewhere. Missing pixels and pixels too many are different regions. Of equally
# good pixels take the first, row by row. You may use `depth(mask)` below.


# %% tags=["setup"]
def depth(mask):
    """For each pixel of a mask its distance from the nearest pixel outside, beyond the picture too; 0 elsewhere."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


# %% tags=["setup"]
object_ = np.zeros((12, 16), bool)
object_[2:9, 3:12] = True
shifted = np.roll(object_, 3, axis=1)
part = object_.copy()
part[:, 6:] = False
too_much = object_.copy()
too_much[8:12, 0:9] = True
touching = object_.copy()  # what is missing lies beside what is too much
touching[2:9, 9:12], touching[2:9, 12:16] = False, True
strip = object_.copy()  # a long strip is missing, a small block is too much
strip[2], strip[:, 11], strip[9:12, 3:6] = False, False, True


# %% tags=["exercise:next-click"]
def my_next_click(found, truth): ...  # your lines here


# %% tags=["check:next-click"]
def click_of(found):
    (x, y), kind = my_next_click(found, object_)
    return int(x), int(y), int(kind)


passed = claims(
    "the next click",
    *(
        (name, lambda found=found: click_of(found), (*right[0], right[1]), hint)
        for name, found, hint in (
            ("is on a part that is missing", part, "found & ~truth is too much, truth & ~found is missing."),
            ("is on what is too much", too_much, "The label is 0 there: truth is False."),
            (
                "of two errors of equal depth takes the first",
                shifted,
                "argmax over the larger of both depths at each pixel.",
            ),
            (
                "keeps the two kinds of errors apart",
                touching,
                "Two depths, one for each kind: a region ends where the other kind begins.",
            ),
            (
                "goes where an error is deepest",
                strip,
                "Neither the kind nor the number of pixels counts: compare the depths.",
            ),
            (
                "begins in the middle of the object",
                np.zeros_like(object_),
                "An empty mask misses the whole object.",
            ),
        )
        for right in [mv.vision.next_click(found, object_)]
    ),
).passed

# %% [markdown] tags=["solution:next-click"]
# <details><summary>Solution</summary>
#
# ```python
# def my_next_click(found, truth):
#     deep = np.maximum(depth(truth & ~found), depth(found & ~truth))
#     y, x = np.unravel_index(deep.argmax(), deep.shape)
#     return (int(x), int(y)), int(truth[y, x])
# ```
#
# A person would click there, too: in the middle of the largest error.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:a-hundred-clicks"]
# **1. Somebody clicks a hundred times on one picture. How often does the image encoder run, and how often the
# decoder?**
#
# <details><summary>Answer</summary>
#
# Once, and a hundred times: the encoder does not see the prompt, so its result is kept. The answer from the kept
# embedding is the same.
#
# ```python
# with mv.no_grad():
#     kept = model.embed(scene.image[None])
#     apart = model(scene.image[None], **on(30, 20)).masks.data - model.answer(kept, **on(30, 20)).masks.data
# assert abs(apart).max() < 1e-3
# ```
# </details>

# %% [markdown] tags=["question:larger-windows"]
# **2. What happens to the products of queries and keys if SAM's windows had 16 instead of 14 tokens on a side?**
#
# <details><summary>Answer</summary>
#
# There would be 16 windows without any zeros beside the picture, $16 \cdot 256^2 = 1{,}048{,}576$ products, about
# as many as the 960,400 of 25 windows with 14.
#
# ```python
# products = lambda side: math.ceil(64 / side) ** 2 * side**4
# assert (products(14), products(16)) == (960_400, 1_048_576)
# ```
# </details>

# %% [markdown] tags=["question:same-distance"]
# **3. Two points lie ten pixels apart, once at the left of the picture and once at the right. What can one say
# about the product of their codes?**
#
# <details><summary>Answer</summary>
#
# It is the same: the product depends on the difference of the two points alone. It is largest for a point with
# itself.
#
# ```python
# near, far = (code_fast(np.array([[x, 30.0], [x + 10, 30.0]]), (64, 64), G) for x in (5.0, 48.0))
# np.testing.assert_allclose(near[0] @ near[1], far[0] @ far[1])
# assert near[0] @ near[0] > near[0] @ near[1]
# ```
# </details>

# %% [markdown] tags=["question:order-of-clicks"]
# **4. Does the order of three clicks matter? And whether a click is on the object or not on it?**
#
# <details><summary>Answer</summary>
#
# The order does not: tokens are a set, and a click's code tells its place and not its number. The kind does: it is
# a learned vector that is added to the code.
#
# ```python
# places_of, kinds_of = np.float32([[[[10, 20], [30, 22], [50, 9]]]]), np.array([[[1, 0, 1]]])
# def answer_to(order, kinds):
#     prompt = {"points": places_of[:, :, order], "point_labels": kinds[:, :, order]}
#     return model.answer(embedding, **prompt).masks.data
#
# first, second = answer_to([0, 1, 2], kinds_of), answer_to([2, 0, 1], kinds_of)
# assert abs(first - second).max() < 1e-2 < abs(first - answer_to([0, 1, 2], 1 - kinds_of)).max()
# ```
# </details>

# %% [markdown] tags=["question:mean-of-two-answers"]
# **5. A click means the shirt in half of the training and the person in the other half. What does a network learn
# that may give one mask only?**
#
# <details><summary>Answer</summary>
#
# A probability near one half for all pixels that belong to the person and not to the shirt: there cross-entropy is
# least. Of three masks, of which only the best learns, one can become the shirt and another the person.
#
# ```python
# both_ways = lambda p: -(np.log(p) + np.log(1 - p)) / 2
# chances = np.linspace(0.01, 0.99, 99)
# assert np.isclose(chances[both_ways(chances).argmin()], 0.5)
# ```
# </details>

# %% [markdown] tags=["question:steeper-edge"]
# **6. All logits of a mask are multiplied by 5. What happens to the mask, and to its stability?**
#
# <details><summary>Answer</summary>
#
# The mask stays: the sign of a logit decides. Its stability rises, because fewer pixels lie between the two
# thresholds.
#
# ```python
# soft_mask = 0.4 * (8 - radius)
# assert ((5 * soft_mask > 0) == (soft_mask > 0)).all()
# assert stability(5 * soft_mask) > stability(soft_mask)
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can ask SAM in four ways, and say what each costs. The picture is embedded once; each prompt costs only the light
#   decoder.
# - You can turn prompts into tokens: points, boxes and texts become tokens, masks become maps. A position is coded by random
#   waves, whose products fall off with the distance.
# - You can write a two-way layer, in which tokens look at the picture, and the picture looks at the tokens.
# - You can say what a mask is made of: the product of one vector with every pixel. One click gets three, because it can
#   mean several things; the one with the least loss learns.
# - You can say what the model's estimate of its own IoU is good for: it chooses among masks, and sorts out those that nobody
#   asked for.
# - You can train with simulated clicks. The next click comes from the error, so a model is trained for the way in which it
#   is used.
#
# Next: [21. Speed](21_speed.ipynb): why all this takes as long as it takes, and what can be done about it.
