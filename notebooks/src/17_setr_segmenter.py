# %% [markdown]
# # 17. SETR and Segmenter: transformers that name every pixel
#
# The networks of chapter 16 go down to small maps to see far, and up again to answer for each pixel. A vision
# transformer sees the whole image from its first layer on, and all its layers have the same number of tokens. So why
# go down at all? Two models of 2021 ask this. Both cut the image into patches, let a ViT process the sequence, and
# then have one problem left: a patch has one token, but many pixels. **SETR** compares three decoders for this.
# **Segmenter** adds one learned token for each class.
#
# **Goals**
#
# - You can say why a patch needs the rest of the image, and how far each layer of a ViT and of a CNN sees.
# - You can follow the shapes of SETR's three decoders from tokens to pixels: naive, progressive upsampling, multi-level
#   aggregation.
# - You can write Segmenter's mask decoder, and compute a mask score by hand.
# - You can write a small Segmenter and train it, and say what a trained encoder is worth.
# - You can say what small patches buy, what they cost, and where transformers still name the wrong pixels.
#
# **Before**: ViT from [08](08_vit.ipynb), mIoU and U-Net from [16](16_segmentation.ipynb).
#
# **Slides**: Deck A is AIIA, *Attention and Transformers in Computer Vision*; deck H is Hanyang, *ViT, DETR, Segmenter*. A
# section that follows a slide names it by its tag: deck, page and a short name.
#
# **Time**: about 70 minutes to read, 60 more for the exercises; the cells take about three quarters of a minute.

# %% tags=["setup"]
import time

import numpy as np

import minivis as mv
from minivis import nn, ops, optim, viz
from minivis.data import shapes
from minivis.laws import claims
from minivis.metrics import confusion_matrix, mean_iou
from minivis.models import ViT
from minivis.recipes import _segments, segmenter_choices, segmenter_shapes, setr_shapes

rng = np.random.default_rng(0)
K = len(shapes.CLASSES)  # six shapes and three grounds

# %%
scenes = [shapes.scene(seed) for seed in range(100)]  # held out: no training saw them
images = np.stack([scene.image for scene in scenes])  # (100, 3, 64, 64)
truth = np.stack([scene.semantic for scene in scenes])  # (100, 64, 64)
segmenter = mv.load("segmenter-shapes")
setr = mv.load("setr-shapes")
unet = mv.load("unet-shapes")


def miou(named, classes):
    """The mean IoU of maps of classes, as in chapter 16."""
    return mean_iou(confusion_matrix(named, classes, K))


def named_by(model, images):
    """The class of every pixel."""
    with mv.no_grad():
        return model(images).numpy().argmax(axis=1)


# %% [markdown]
# ## Segmentation as sequence to sequence
#
# Slide `H/30-segmentation-as-sequence`. A sentence is a sequence of words, and a translator reads all of it before it
# writes. Segmentation can be seen in the same way: a sequence of patches comes in, and a sequence of labels goes out,
# one for each patch. Why is this not just a classification of patches, one by one? Because most patches do not say
# what they belong to. Let us count. For each patch of a held-out scene that lies inside one object, we look for the
# patch with the most similar pixels among the patches of 100 other scenes, and take its class. Then we ask a network
# that sees the whole image, `setr-shapes` of this chapter.

# %% tags=["slide:H/30-segmentation-as-sequence"]
known = [shapes.scene(4_000_000_000_000 + i) for i in range(100)]  # numbers that nothing else uses


def pure_patches(scenes):
    """The pixels (n, 192) of the patches of 8 x 8, and their classes (n,): -1 where there are several."""
    pixels = mv.vision.patchify(np.stack([s.image for s in scenes]), 8).reshape(-1, 192)
    labels = mv.vision.patchify(np.stack([s.semantic for s in scenes])[:, None], 8).reshape(-1, 64)
    return pixels, np.where(labels.min(axis=1) == labels.max(axis=1), labels[:, 0], -1)


(library, library_classes), (asked, asked_classes) = pure_patches(known), pure_patches(scenes)
library, library_classes = library[library_classes >= 0], library_classes[library_classes >= 0]
inside = (asked_classes >= 0) & (asked_classes < len(shapes.THINGS))  # all pixels are of one shape
distance = (library**2).sum(axis=1) - 2 * asked[inside] @ library.T
by_itself = (library_classes[distance.argmin(axis=1)] == asked_classes[inside]).mean()
named = mv.vision.patchify(named_by(setr, images)[:, None], 8).reshape(-1, 64)[inside]
with_context = (named == asked_classes[inside, None]).mean()
always = np.bincount(asked_classes[inside]).max() / inside.sum()  # the most frequent class, for each patch
print(
    f"{inside.sum()} patches inside a shape: by itself {by_itself:.0%} right, always the same class {always:.0%}"
)
print(f"in its image {with_context:.0%}")
assert by_itself < 0.5 < with_context

# %% [markdown]
# The most similar patch is no better a guide than always naming the most frequent class. A striped patch may belong to
# a star or to a ring; only the outline decides, and it lies in other patches. This is what the slide calls
# **contextual information**. A network of convolutions collects it slowly, from neighbours to neighbours. We change
# the pixels in one corner of an image, and look which places notice it after each layer.

# %% tags=["slide:H/30-segmentation-as-sequence"]
pair = np.stack([images[3], images[3]])
pair[1, :, :8, :8] = 1 - pair[1, :, :8, :8]  # the corner in opposite colours


def noticed(maps):
    """The share of places whose features differ between the two images (2, C, h, w) or (2, N, D)."""
    axis = 0 if maps.ndim == 4 else 1
    return (abs(maps[0] - maps[1]).max(axis=axis) > 1e-6).mean()


encoder = segmenter.encoder
with mv.no_grad(), nn.looking(unet) as seen:
    unet(pair)
    z = encoder.with_positions(encoder.patch_embed(mv.Tensor(pair)), encoder.grid)
    reached = {"ViT": [noticed(z.numpy())], "U-Net": [noticed(seen[f"down{n}"]) for n in range(5)]}
    for block in encoder.blocks:
        z = block(z)
        reached["ViT"].append(noticed(z.numpy()[:, encoder.prefix :]))
for name, shares in reached.items():
    print(f"{name:6}", ", ".join(f"{share:.0%}" for share in shares))
assert reached["ViT"][0] < 0.1 < 0.5 < reached["ViT"][1] and reached["U-Net"][1] < 0.1

# %% [markdown]
# The first number of the ViT is before its first block, when each token knows only its own patch. After one block
# most tokens have noticed the change, after two all have. In U-Net each number belongs to one level of the way down,
# of two convolutions each: the share grows level by level, and only because each level also halves the map. "Can
# notice" is not "uses": how far the attention of a trained Segmenter really looks is measured below.

# %% [markdown]
# ## SETR: an image becomes tokens
#
# Slide `A/72-setr-tokens`. SETR (Zheng et al., 2021) begins as ViT does. An image of $H \times W$ pixels is cut into
# patches of $N \times N$ pixels ($N$ is the patch size in this deck). Each patch, flattened to a vector $x_i$ of $N^2
# C$ numbers, is multiplied by one learned matrix:
#
# $$x'_i = W_e\, x_i, \qquad W_e \in \mathbb{R}^{d_m \times N^2 C}, \qquad i = 1, \ldots, HW / N^2.$$
#
# (The slide lets $i$ run to $HW$, but there are only $HW / N^2$ patches.) With loops, without, and as the library has
# it.

# %% tags=["slide:A/72-setr-tokens"]


def tokens_loops(image, weight, N):
    """(C, H, W) and W_e (d, C N N) -> (L, d), patch by patch."""
    C, H, W = image.shape
    tokens = []
    for top in range(0, H, N):
        for left in range(0, W, N):
            x = image[:, top : top + N, left : left + N].ravel()  # (C N N,)
            tokens.append(weight @ x)
    return np.array(tokens)


layer = encoder.patch_embed.proj
N = encoder.patch_size[0]
W_e = layer.weight.numpy().reshape(layer.weight.shape[0], -1)  # (d, C N N)
image = images[3].astype(np.float64)
cut = image.reshape(3, 64 // N, N, 64 // N, N).transpose(1, 3, 0, 2, 4)  # (rows, columns, C, N, N)
at_once = cut.reshape(-1, W_e.shape[1]) @ W_e.T  # (L, d)
np.testing.assert_allclose(at_once, tokens_loops(image, W_e, N), atol=1e-9)
with mv.no_grad():
    library_tokens = encoder.patch_embed(mv.Tensor(images[3:4])).numpy()[0] - layer.bias.numpy()
np.testing.assert_allclose(library_tokens, at_once, atol=1e-4)
assert len(at_once) == 64 * 64 // N**2 and mv.laws.judge("patchify", mv.vision.patchify).passed
print(f"{len(at_once)} tokens of {W_e.shape[0]} numbers, from patches of {W_e.shape[1]} numbers")

# %% tags=["slide:A/72-setr-tokens"]
viz.patch_sequence(
    images[3],
    8,
    marked=[27],
    title="An image as a sequence of patches",
    caption="Above: the scene and a grid of patches. Below: the same patches in a row, as the transformer gets them. The red "
    "frame is patch 27, in both. The row alone does not say which patch is above which: positions must be added.",
)

# %% [markdown]
# ## The encoder
#
# Slide `A/73-setr-encoder`. To each token a learned position of the same length is added, $z_i = x'_i + p_i$. Then
# come 24 layers of a ViT-L that was trained before to classify images. The result is a matrix $Y \in \mathbb{R}^{L
# \times d_m}$ with $L = HW / N^2$: one feature vector for each patch. How large is it? With width $d$, a layer has $4
# d^2$ weights in its attention and $8 d^2$ in its MLP, and $13 d$ in biases and norms.
#
# Our `setr-shapes` is smaller, and different in one thing. We have no ViT that was trained on millions of photos. So
# its tokens are the cells of a small network of convolutions that has learned to name pixels (the hybrid of
# [08](08_vit.ipynb)); one cell stands for $8 \times 8$ pixels. Its positions began as sines and cosines, and were
# trained on.

# %% tags=["slide:A/73-setr-encoder"]
d, layers, side = 1024, 24, 512
in_layers = layers * (12 * d**2 + 13 * d)
before = (16 * 16 * 3 + 1) * d + d + (1 + (side // 16) ** 2) * d  # patches, class token, positions
print(f"layers {in_layers:,} + embedding and positions {before:,} = {in_layers + before:,}")
with nn.init.skip_init():  # sizes only: no weights are drawn
    counted = sum(p.size for p in mv.models.setr_naive(150).encoder.parameters())
assert in_layers + before == counted == 304_147_456

with mv.no_grad():
    Y = setr.encoder.features(images[:2]).numpy()[:, setr.encoder.prefix :]
print(f"the small one of this chapter: {Y.shape[1]} tokens of {Y.shape[2]} numbers for an image of 64 x 64")

# %% [markdown]
# ### Another size, the same network
#
# Slide `A/74-setr-keeps-resolution`. The weights of attention and MLP do not know how many tokens there are, so a
# trained encoder can read images of any size. Only the table of positions has a fixed number of rows. They form a
# grid, one vector for each place, so the table is **interpolated in two dimensions**, as a picture with $d_m$
# channels.

# %% tags=["slide:A/74-setr-keeps-resolution"]
encoder = setr.encoder
rows, columns = encoder.grid
table = encoder.pos_embed.numpy()
same = mv.vision.resize_position_table(table, (rows, columns), (rows, columns), encoder.prefix)
np.testing.assert_array_equal(same, table)  # to its own grid: nothing changes
wide = mv.vision.resize_position_table(table, (rows, columns), (rows, 3 * columns // 2), encoder.prefix)
assert wide.shape == (1, encoder.prefix + rows * (3 * columns // 2), table.shape[2])

flat = table[0, encoder.prefix :]
_, _, directions = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
pictures = []
for codes, grid in ((table, (rows, columns)), (wide, (rows, 3 * columns // 2))):
    parts = (codes[0, encoder.prefix :] - flat.mean(axis=0)) @ directions[:3].T  # (L, 3)
    pictures += list(parts.T.reshape(3, *grid))
assert named_by(setr, shapes.scene(5, size=(64, 96)).image[None]).shape == (1, 64, 96)

# %% tags=["slide:A/74-setr-keeps-resolution"]
viz.images(
    pictures,
    titles=[f"direction {n}, {size}" for size in ("64 x 64", "64 x 96") for n in (1, 2, 3)],
    columns=3,
    size=1.9,
    signed=True,
    title="Learned positions, and the same for a wider image",
    caption="Each map is one of the three main directions of the position vectors; one cell is one patch. Above: as learned, "
    "for 64 x 64 pixels. Below: interpolated for 64 x 96. The patterns are the same, stretched.",
)

# %% [markdown]
# No layer makes the sequence shorter. A U-Net has fewer places on each level; in the encoder every layer has $L$
# tokens, and each of them attends to all $L$. That costs: the work of attention grows with $L^2$ (at the end of this
# chapter we count).

# %% tags=["slide:A/74-setr-keeps-resolution"]
with mv.no_grad(), nn.looking(setr) as seen:
    setr(images[3:4])
weights = [seen[name] for name in seen if name.startswith("encoder.blocks") and name.endswith("attn.weights")]
L = rows * columns + encoder.prefix
assert all(w.shape[2:] == (L, L) for w in weights) and min(w.min() for w in weights) > 0
print(f"{len(weights)} layers, each with {L} tokens; no attention weight is 0")
print("places of the levels of U-Net:", [(64 // 2**n) ** 2 for n in range(5)])

# %% [markdown]
# ## From tokens back to pixels
#
# Slide `A/75-three-decoders`. The decoder has to turn $Y \in \mathbb{R}^{L \times d_m}$ into scores $O \in
# \mathbb{R}^{H \times W \times C}$, where $C$ is now the number of classes. First the sequence becomes a map again,
# $\frac{H}{N} \times \frac{W}{N}$ cells with $d_m$ channels: a reshape. Then the map must grow by $N$ in each
# direction. The paper tries three ways: **naive**, in one step; **PUP**, progressive upsampling, in several steps
# with convolutions between; **MLA**, multi-level aggregation, from several layers of the encoder.
#
# How much can be lost here? Suppose that the network knew, for each patch, exactly which share of its pixels has
# which class. We enlarge these shares to the image, and take the largest at each pixel. This is the truth, seen
# through a grid of patches.

# %% tags=["slide:A/75-three-decoders"]


def through_patches(classes, P):
    """The best class of each pixel if all we know are the shares of the classes in each patch of P x P pixels."""
    one_hot = (classes[:, None] == np.arange(K)[:, None, None]).astype(np.float32)  # (B, K, H, W)
    B, _, H, W = one_hot.shape
    shares = one_hot.reshape(B, K, H // P, P, W // P, P).mean(axis=(3, 5))  # (B, K, H/P, W/P)
    return ops.interpolate(shares, (H, W), mode="bilinear").argmax(axis=1)


limits = {P: through_patches(truth, P) for P in (2, 4, 8, 16)}
best = {P: miou(named, truth) for P, named in limits.items()}
print("mIoU of the truth through patches of", ", ".join(f"{P} px: {value:.2f}" for P, value in best.items()))
assert best[2] > best[4] > best[8] > best[16]
viz.semantic_maps(
    [truth[3], *(limits[P][3] for P in (4, 8, 16))],
    titles=["truth", "patches of 4", "patches of 8", "patches of 16"],
    names=shapes.CLASSES,
    title="The truth, seen through patches and enlarged in one step",
    caption="From left to right: the classes of the pixels, and what is left of them if only the shares in each patch are "
    "known. With patches of 4 the small star has lost its points, with patches of 8 the two stars are one blot, "
    "and with patches of 16 no outline is left.",
)

# %% [markdown]
# This is no law of nature: a token has many numbers, and a decoder may learn from them where in the patch a border
# runs. That is what the larger decoders are for. But it shows what a single bilinear step can lose.

# %% [markdown]
# ## One: the naive decoder
#
# Slide `A/76-naive-decoder`. Two $1 \times 1$ convolutions with a ReLU between them, then one bilinear enlargement to
# the full size; the loss is the cross-entropy of each pixel. A $1 \times 1$ convolution multiplies each token by a
# matrix, so until the enlargement nothing passes from token to token. We write it for one sequence. (The published
# code has a norm before, and batch norm after the first convolution.)

# %% tags=["slide:A/76-naive-decoder"]


def naive_loops(tokens, height, width, first, second):
    """(L, d) -> scores (K, h, w) of the patches: token by token."""
    scores = np.zeros((len(second), height, width))
    for i in range(height):
        for j in range(width):
            x = tokens[i * width + j]
            scores[:, i, j] = second @ np.maximum(first @ x, 0)
    return scores


height, width = 3, 5  # not a square
tokens = rng.standard_normal((height * width, 8))
first, second = rng.standard_normal((6, 8)), rng.standard_normal((4, 6))
scores = naive_loops(tokens, height, width, first, second)
as_map = tokens.T.reshape(1, 8, height, width)  # (1, d, h, w)
hidden = ops.relu(ops.conv2d(as_map, first[:, :, None, None]))
np.testing.assert_allclose(ops.conv2d(hidden, second[:, :, None, None])[0], scores)
large = ops.interpolate(scores[None], (48, 80), mode="bilinear")  # 16 times as large
loss = ops.cross_entropy(large, rng.integers(0, 4, (1, 48, 80)))  # of each pixel, then the mean
assert large.shape == (1, 4, 48, 80) and loss.shape == ()

# %% [markdown]
# A small fact that saves much work: **a $1 \times 1$ convolution may be exchanged with the enlargement.** One mixes
# the channels of a place, the other the places of a channel. So scores are computed for the few patches, not for the
# many pixels. A ReLU may not be exchanged: the mean of two numbers of which one is cut to zero is not the mean cut to
# zero.

# %% tags=["slide:A/76-naive-decoder"]


def enlarge(x):
    return ops.interpolate(x, (12, 20), mode="bilinear")


kernel = second[:, :, None, None]
np.testing.assert_allclose(ops.conv2d(enlarge(hidden), kernel), enlarge(ops.conv2d(hidden, kernel)))
signed = ops.conv2d(as_map, first[:, :, None, None])
apart = abs(ops.relu(enlarge(signed)) - enlarge(ops.relu(signed))).max()
print(f"convolution and enlargement: the same in both orders; ReLU and enlargement: up to {apart:.1f} apart")
assert apart > 0.1

# %% [markdown]
# ## Two: progressive upsampling
#
# Slide `A/77-progressive-upsampling`. One large step is noisy: the decoder cannot correct what the enlargement blurs.
# So PUP alternates a $3 \times 3$ convolution with an enlargement by **two**. From $\frac{H}{16}$ to $H$ these are
# four steps. Here is the head of the published size for 19 classes, with its parameters counted by hand. The last $1
# \times 1$ convolution is the classifier.

# %% tags=["slide:A/77-progressive-upsampling"]
norm = 2 * 1024  # of the tokens
convolutions = (9 * 1024 * 256 + 256) + 3 * (9 * 256 * 256 + 256)
batch_norms = 4 * 2 * 256
classifier = 256 * 19 + 19
with nn.init.skip_init():
    head = mv.models.setr.PUPHead(1024, 19)
print(f"{norm:,} + {convolutions:,} + {batch_norms:,} + {classifier:,} parameters")
assert norm + convolutions + batch_norms + classifier == 4_138_771
assert sum(p.size for p in head.parameters()) == 4_138_771

small = mv.models.setr.PUPHead(8, 4, channels=6).eval()
with mv.no_grad(), nn.looking(small) as seen:
    scores = small(tokens[None].astype(np.float32), (height, width)).numpy()
print("maps:", ", ".join(" x ".join(map(str, seen[f"map{n}"].shape[1:])) for n in range(4)), end="")
print(" -> scores", " x ".join(map(str, scores.shape[1:])))
assert scores.shape == (1, 4, 16 * height, 16 * width)

# %% [markdown]
# Now without the library: norm, reshape, then convolution, ReLU and enlargement in turn. At the end the scores have
# sixteen times the rows and columns of the grid of patches, also if the grid is not square.

# %% tags=["slide:A/77-progressive-upsampling"]


def pup_by_hand(tokens, grid, head):
    """Tokens (B, L, d) of a grid -> scores (B, K, 16 h, 16 w), as the slide draws it."""
    x = head.norm(mv.Tensor(tokens)).numpy()
    B, _, d = x.shape
    x = x.transpose(0, 2, 1).reshape(B, d, *grid)  # (B, d, h, w)
    for conv, norm in zip(head.convs, head.norms, strict=True):
        x = ops.conv2d(x, conv.weight.numpy(), conv.bias.numpy(), padding=1)
        x = np.maximum(norm(mv.Tensor(x)).numpy(), 0)
        x = ops.interpolate(x, (2 * x.shape[2], 2 * x.shape[3]), mode="bilinear")
    return ops.conv2d(x, head.classifier.weight.numpy(), head.classifier.bias.numpy())


with mv.no_grad():
    by_hand = pup_by_hand(tokens[None].astype(np.float32), (height, width), small)
np.testing.assert_allclose(by_hand, scores, atol=1e-5)
print("classifier after the last enlargement or before it: the same scores")

# %% [markdown]
# ## Three: multi-level aggregation
#
# Slide `A/78-multi-level-aggregation`. In a CNN the maps of several depths have several resolutions, and a feature
# pyramid joins them. In a ViT the tokens of **all** layers have the same resolution, so layers can be joined without
# any enlargement. MLA takes the tokens of $M$ layers at equal distances, of $L_e$ layers the numbers $\frac{L_e}{M},
# 2\frac{L_e}{M}, \ldots, M\frac{L_e}{M}$.

# %% tags=["slide:A/78-multi-level-aggregation"]


def evenly_spaced(L_e, M):
    """The numbers of the layers that are read, counted from 1."""
    return [m * L_e // M for m in range(1, M + 1)]


assert evenly_spaced(24, 4) == [6, 12, 18, 24]
mla = mv.models.SETR(ViT(64, 8, 32, 8, 4, num_classes=0, rng=1), K, "mla", channels=16, rng=2).eval()
assert list(mla.taken) == evenly_spaced(8, 4) == [2, 4, 6, 8]
with mv.no_grad():
    levels = [z.numpy() for z in mla.encoder.tokens_after(images[3:4], mla.taken)]
print("tokens of the layers", mla.taken, "have the shapes", [z.shape for z in levels])
assert len({z.shape for z in levels}) == 1

# %% [markdown]
# Slide `A/79-multi-level-streams`. Each of the $M$ **streams** makes a map of the tokens of its layer: $\frac{H}{N}
# \times
# \frac{W}{N}$ cells with $d_m$ channels. (The slide writes $W / H$; it is $W / N$.) The class token belongs to no place and is
# dropped. Token $n$ goes to row $\lfloor n / w \rfloor$ and column $n \bmod w$.

# %% tags=["slide:A/79-multi-level-streams"]


def map_loops(tokens, height, width):
    """(L, d) -> (d, h, w), token by token."""
    out = np.zeros((tokens.shape[1], height, width), tokens.dtype)
    for n, token in enumerate(tokens):
        out[:, n // width, n % width] = token
    return out


np.testing.assert_array_equal(map_loops(tokens, height, width), as_map[0])  # the grid of 3 x 5
streams = []
for z in levels:
    patches = z[:, mla.encoder.prefix :]  # without the class token: (1, 64, 32)
    streams.append(patches.transpose(0, 2, 1).reshape(1, 32, 8, 8))
    np.testing.assert_array_equal(streams[-1][0], map_loops(patches[0], 8, 8))
print(f"{len(streams)} streams of {' x '.join(map(str, streams[0].shape[1:]))}: 64 / 8 = 8 rows and columns")

# %% [markdown]
# Slide `A/80-multi-level-convolutions`. A stream has three convolutions, $1 \times 1$, $3 \times 3$ and $3 \times 3$,
# and is enlarged by four at the end. After the first convolution the streams are **added from the top down**: the
# deepest layer is passed to all others, the shallowest keeps to itself. (The slide halves the channels at the first
# and third convolution. In the published code the channels go 1024, 256, 256, 128, 128: the first makes a quarter of
# them.) Slide `A/81-multi-level-fusion`. After each sum comes a further $3 \times 3$ convolution.

# %% tags=["slide:A/80-multi-level-convolutions", "slide:A/81-multi-level-fusion"]


def fuse_loops(maps, laterals, convs):
    """From the deepest to the shallowest: add what comes from above, convolve the sum."""
    fused = [None] * len(maps)
    above = 0
    for level in reversed(range(len(maps))):
        above = laterals[level](maps[level]) + above  # 1 x 1, then the sum
        fused[level] = convs[level](above)  # 3 x 3
    return fused


head = mla.head
with mv.no_grad():
    normed = [norm(mv.Tensor(z[:, mla.encoder.prefix :])) for norm, z in zip(head.norms, levels, strict=True)]
    maps = [z.transpose(0, 2, 1).reshape(1, 32, 8, 8) for z in normed]
    by_loops = fuse_loops(maps, head.laterals, head.convs)
    fused = mv.models.setr.mla_fuse(maps, head.laterals, head.convs)
for ours, its in zip(by_loops, fused, strict=True):
    np.testing.assert_allclose(ours.numpy(), its.numpy(), atol=1e-6)
print("a stream after the sum and its convolution:", fused[0].shape)

# %% [markdown]
# To see who reaches whom, we let the maps be numbers and the convolutions do nothing: 1 for the shallowest layer,
# then 10, 100 and 1000.

# %% tags=["slide:A/81-multi-level-fusion"]
nothing = [lambda x: x] * 4
assert mv.models.setr.mla_fuse([1, 10, 100, 1000], nothing, nothing) == [1111, 1110, 1100, 1000]
with mv.no_grad():
    narrow = [narrow(x).numpy() for narrow, x in zip(head.narrow, fused, strict=True)]
    grown = [ops.interpolate(x, (32, 32), mode="bilinear", align_corners=True) for x in narrow]  # x 4
    joined = np.concatenate(grown, axis=1)  # side by side
    scores = head.classifier(mv.Tensor(joined)).numpy()
    full = ops.interpolate(scores, (64, 64), mode="bilinear")
    np.testing.assert_allclose(full, mla(images[3:4]).numpy(), atol=1e-5)
print("streams", [x.shape[1:] for x in grown], "-> joined", joined.shape[1:], "-> scores", full.shape[1:])
channels = head.narrow[0][0].weight.shape
assert channels[0] * 2 == channels[1] == 16 and joined.shape[1] == 4 * channels[0]

# %% [markdown]
# ### One encoder, three decoders
#
# Slide `A/82-setr-architecture`. The paper's drawing has one encoder and two decoders. Here are the parts of the
# small `setr-shapes`, and then its head and the head of an MLA of the same width. All three are drawn from the models.

# %% tags=["slide:A/82-setr-architecture"]
viz.architecture(setr, (1, 3, 64, 64), closed=["encoder"])

# %% tags=["slide:A/82-setr-architecture"]
width = setr.encoder.pos_embed.shape[2]
channels = setr_shapes.CHANNELS
heads = {
    "naive": mv.models.setr.NaiveHead(width, K, channels),
    "PUP": mv.models.setr.PUPHead(width, K, channels, convs=3),
    "MLA": mv.models.setr.MLAHead(width, K, 4, channels),
}
Y = np.zeros((1, 64, width), np.float32)  # tokens of a grid of 8 x 8
for name, head in heads.items():
    with mv.no_grad():
        out = head([Y] * 4 if name == "MLA" else Y, (8, 8))
    count = sum(p.size for p in head.parameters())
    print(f"{name:6} {count:9,} parameters, tokens 8 x 8 -> scores {out.shape[2]} x {out.shape[3]}")
published = {"naive": 304_450_966, "pup": 308_319_894, "mla": 310_030_486}
for name, expected in published.items():
    with nn.init.skip_init():
        count = sum(p.size for p in getattr(mv.models, f"setr_{name}")(150).parameters())
    print(f"published size, {name:5}: {count:,}, of which {count - 304_147_456:,} in the decoder")
    assert count == expected
viz.architecture(heads["PUP"], (Y, (8, 8)))

# %% tags=["slide:A/82-setr-architecture"]
viz.architecture(heads["MLA"], ([Y] * 4, (8, 8)))

# %% [markdown]
# The encoder has 304 million parameters, and the largest decoder less than six million. (The paper prints 305.67,
# 318.31 and 310.57 million. The first and the last are near our counts for images of 768 pixels and 19 classes, 305.73
# and 310.74; 318.31 we could not reproduce.)

# %% [markdown]
# ### Three decoders, one encoder: a table
#
# Which one is best? We trained one small encoder with the naive decoder. Then each of the three decoders got a new
# start on a copy of it: 1000 steps on 3200 scenes, three random seeds. Two baselines are in the card of `setr-shapes`:
# always the most frequent class, and the convolutions below the encoder with one linear layer, before there was any
# transformer.

# %% tags=["slide:A/75-three-decoders"]
decoders = setr_shapes.results()
card = mv.storage.read_json(mv.storage.PACKAGED / "setr-shapes" / "card.json")
print("baselines:", card["baselines, mIoU on the same scenes"])
print("setr-shapes, PUP, 4000 steps of new scenes:", card["on 500 held-out scenes"]["mIoU"])
print(f"{'decoder':8} {'parameters':>10}  mIoU of three seeds         at borders   elsewhere")
for name, row in decoders.items():
    seeds = ", ".join(f"{value:.3f}" for value in row["mIoU"])
    borders, elsewhere = np.mean(row["at borders"]), np.mean(row["elsewhere"])
    print(
        f"{name:8} {row['parameters of the decoder'][0]:10,}  {seeds}     {borders:12.3f} {elsewhere:11.3f}"
    )
assert min(decoders["pup"]["mIoU"]) > max(decoders["naive"]["mIoU"])
viz.worth_of_choices(
    decoders,
    metrics=("mIoU", "at borders", "elsewhere"),
    x_label="decoder",
    title="Three decoders on one encoder",
    caption="Each mark is one training, a colour and a form for each random seed; the line is the mean of three. PUP is best "
    "in the first three panels: its three marks lie above all others. MLA is a little worse than the naive decoder "
    "here, and takes longest.",
)

# %% [markdown]
# **Progressive upsampling is best here**, with every seed, and its lead is larger at the borders than elsewhere: its
# convolutions between the steps draw outlines that one step of eight cannot. **MLA does not help**: it comes out below
# the naive decoder. But the encoder had learned with the naive one, and 1000 steps are few for the many new
# convolutions of MLA. Read the baseline too: the convolutions alone have 0.70. In this short comparison only PUP is
# above it; `setr-shapes`, with four times as many steps on new scenes, is seven points above. The paper finds another
# order: on Cityscapes PUP is ahead, on ADE20K MLA (48.64 with one scale, as the table of the deck has it). So which
# decoder is best depends on the encoder, the data and the training.

# %% [markdown]
# ## Segmenter: a token for each class
#
# Slide `H/31-segmenter`. **Segmenter** (Strudel et al., 2021) has a ViT as its encoder too,
#
# $$a_{i-1} = \text{MSA}(\text{LN}(z_{i-1})) + z_{i-1}, \qquad z_i = \text{MLP}(\text{LN}(a_{i-1})) + a_{i-1},$$
#
# but no convolution in its decoder. The **mask transformer** has $K$ learned vectors, one **class embedding** for each
# class, as DETR has learned queries ([15](15_detr.ipynb)). They join the patches as further tokens, and all go through
# two more blocks together. So the embedding of "star" can look at the image before it decides, and patches can look at
# the classes. At the end each patch $z'_M$ is compared with each class $c$:
#
# $$\text{Masks}(z'_M, c) = z'_M\, c^\top .$$
#
# For each class this is one number for each patch, a small mask. A bilinear enlargement brings it to the pixels.

# %% tags=["slide:H/31-segmenter"]
viz.architecture(segmenter, (1, 3, 64, 64), closed=["encoder"])

# %% [markdown]
# The published code compares in four steps. Patches and classes are each multiplied by a matrix of their own. Both
# are divided by their lengths, so that the product is the **cosine** of their angle. Then the $K$ cosines of a patch
# get a **layer norm**: $y_k = \gamma_k \frac{c_k - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_k$. With loops, without,
# and as in the library:

# %% tags=["slide:H/31-segmenter"]


def mask_loops(patches, classes, w_patch, w_class, gamma, beta, eps=1e-5):
    """(N, D) and (K, D) -> (K, N): patch by patch, class by class."""
    masks = np.zeros((len(classes), len(patches)))
    for n, patch in enumerate(patches):
        x = patch @ w_patch
        for k, embedding in enumerate(classes):
            c = embedding @ w_class
            masks[k, n] = x @ c / np.sqrt((x @ x) * (c @ c))  # cosine
        centred = masks[:, n] - masks[:, n].mean()
        masks[:, n] = gamma * centred / np.sqrt((centred**2).mean() + eps) + beta
    return masks


# %% tags=["slide:H/31-segmenter"]
patches, classes = rng.standard_normal((2, 12, 6)), rng.standard_normal((2, 4, 6))
w_patch, w_class = rng.standard_normal((2, 6, 6))
gamma = rng.uniform(0.5, 2, 4)
beta = rng.standard_normal(4)
x, c = patches @ w_patch, classes @ w_class
x, c = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, c))
cosines = x @ c.swapaxes(1, 2)  # (B, N, K)
centred = cosines - cosines.mean(axis=-1, keepdims=True)
normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
at_once = (gamma * normed + beta).swapaxes(1, 2)  # (B, K, N)
library = mv.vision.mask_decoder(patches, classes, w_patch, w_class, gamma, beta)
np.testing.assert_allclose(at_once, library)
np.testing.assert_allclose(mask_loops(patches[0], classes[0], w_patch, w_class, gamma, beta), library[0])
assert mv.laws.judge("mask_decoder", mv.vision.mask_decoder).passed

# %% [markdown]
# **What the norm does.** A cosine lies between -1 and 1. As logits of a softmax such small numbers would never give a
# sure answer: with $K = 9$ classes, a cosine of 1 against 0 for all others gives a probability of only 25 %. The norm
# stretches the cosines of each patch to variance 1, and $\gamma$ can stretch them further. It keeps their order. With
# two classes the order is all that is left:

# %% tags=["slide:H/31-segmenter"]
patch = np.array([0.9, 0.1, np.sqrt(1 - 0.9**2 - 0.1**2)])  # length 1
two = np.eye(3)[:2]  # so its cosines with the two classes are 0.9 and 0.1
scores = mv.vision.mask_decoder(patch[None, None], two[None], np.eye(3), np.eye(3), np.ones(2), np.zeros(2))
mean, deviation = 0.5, 0.4  # of 0.9 and 0.1
by_hand = (0.9 - mean) / np.sqrt(deviation**2 + 1e-5)
print(f"two classes: {scores[0, 0, 0]:.6f} and {scores[0, 1, 0]:.6f}; by hand {by_hand:.6f}")
assert [round(float(y), 6) for y in scores[0, :, 0]] == [0.999969, -0.999969] and round(
    by_hand, 6
) == 0.999969
sure = np.e / (np.e + 8)
print(f"without the norm, a cosine of 1 against eight of 0 is a probability of {sure:.0%}")
assert 0.25 < sure < 0.26
for c in (0.1, 7.0):  # the length of a vector does not count
    longer = mv.vision.mask_decoder(c * patches, classes, w_patch, w_class, gamma, beta)
    np.testing.assert_allclose(longer, library)

# %% [markdown]
# The authors' baseline is the **linear decoder**: one linear layer on each patch, $K$ scores, no class embeddings. In
# the table below both are compared.
#
# ### Sizes
#
# Slide `H/31-segmenter-sizes`. The table lists 6, 22, 86 and 307 million parameters. These are encoders. 307M is
# ViT-L/32; the ViT-L/16 of Segmenter, for images of 640 pixels, has 305 million. The mask decoder comes on top.

# %% tags=["slide:H/31-segmenter-sizes"]
table = {"tiny": (12, 192, 3), "small": (12, 384, 6), "base": (12, 768, 12), "large": (24, 1024, 16)}
encoders = {"tiny": 5_683_392, "small": 21_983_616, "base": 86_434_560, "large": 304_739_328}
decoders = {"tiny": 1_029_996, "small": 4_050_348, "base": 16_063_020, "large": 28_495_148}
for name, (layers, width, heads) in table.items():
    with nn.init.skip_init():
        model = getattr(mv.models, f"segmenter_{name}")(150)
    parts = [sum(p.size for p in part.parameters()) for part in (model.encoder, model.decoder)]
    print(
        f"{name:6} {layers} layers, width {width:4}, {heads:2} heads: encoder {parts[0]:11,} + mask decoder {parts[1]:10,}"
    )
    block = model.encoder.blocks[0]
    assert (len(model.encoder.blocks), block.norm1.weight.shape[0], block.attn.num_heads) == (
        layers,
        width,
        heads,
    )
    assert parts == [encoders[name], decoders[name]]
del model
assert [round(encoders[name] / 1e6) for name in table] == [6, 22, 86, 305]  # the slide: 6, 22, 86, 307

# %% [markdown]
# ## Your own Segmenter
#
# A small Segmenter from the library's parts: `Block` is an encoder block of [08](08_vit.ipynb), norm, attention,
# norm, MLP. The encoder is given from outside. Read `forward` with the shapes at its right; the four steps of the
# comparison are its second half.

# %%
from minivis.models.vit import Block


class MySegmenter(nn.Module):
    """Images (B, 3, H, W) to logits (B, K, H, W)."""

    def __init__(self, encoder, num_classes, depth, heads, rng):
        width = encoder.pos_embed.shape[2]
        self.encoder = encoder
        self.project = nn.Linear(width, width, rng=rng)
        start = 0.02 * rng.standard_normal((1, num_classes, width))
        self.class_embeddings = nn.Parameter(start.astype(np.float32))
        sizes = {"mlp_ratio": 2.0, "dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0}
        self.blocks = [
            Block(width, heads, **sizes, activation="gelu", eps=1e-5, rng=rng) for _ in range(depth)
        ]
        self.norm = nn.LayerNorm(width)
        self.of_patches = nn.Linear(width, width, bias=False, rng=rng)
        self.of_classes = nn.Linear(width, width, bias=False, rng=rng)
        self.mask_norm = nn.LayerNorm(num_classes)

    def forward(self, images):
        return self.decode(self.encoder.features(images)[:, self.encoder.prefix :], images.shape[2:])

    def decode(self, patches, size):
        B, N, D = patches.shape
        H, W = size
        K = self.class_embeddings.shape[1]
        embeddings = ops.broadcast_to(self.class_embeddings, (B, K, D))
        z = ops.concatenate([self.project(patches), embeddings], axis=1)  # (B, N + K, D)
        for block in self.blocks:
            z = block(z)
        z = self.norm(z)
        x = self.of_patches(z[:, :N])  # (B, N, D)
        c = self.of_classes(z[:, N:])  # (B, K, D)
        x = x / (x * x).sum(axis=2, keepdims=True) ** 0.5
        c = c / (c * c).sum(axis=2, keepdims=True) ** 0.5
        masks = self.mask_norm(x @ c.transpose(0, 2, 1)).transpose(0, 2, 1)  # (B, K, N)
        P, Q = self.encoder.patch_size
        masks = masks.reshape(B, K, H // P, W // Q)
        return ops.interpolate(masks, (H, W), mode="bilinear")


# %% [markdown]
# Before the training, one check: with the same weights it gives the same numbers as the library's.

# %%
theirs = mv.models.Segmenter(
    ViT(32, 8, 16, 2, 2, num_classes=0, rng=0), K, decoder_depth=1, mlp_ratio=2, rng=1
)
mine = MySegmenter(theirs.encoder, K, 1, 2, np.random.default_rng(0))
decoder = theirs.decoder
pairs = [(mine.project, decoder.embed), (mine.norm, decoder.norm), (mine.mask_norm, decoder.mask_norm)]
for ours, its in [*pairs, *zip(mine.blocks, decoder.blocks, strict=True)]:
    for p, q in zip(ours.parameters(), its.parameters(), strict=True):
        p.data = q.data
mine.class_embeddings.data = decoder.class_tokens.data[None]
mine.of_patches.weight.data = decoder.proj_patch.data.T  # Linear multiplies by the transposed weight
mine.of_classes.weight.data = decoder.proj_class.data.T
with mv.no_grad():
    np.testing.assert_allclose(
        mine(images[:2, :, :32, :32]).numpy(), theirs(images[:2, :, :32, :32]).numpy(), atol=1e-4
    )

# %% [markdown]
# Now the training. SETR and Segmenter both begin with an encoder that was trained before, on millions of photos. We
# have none for photos, but we have one that has looked at scenes without any labels: the encoder of `mae-shapes`
# ([09](09_masked_modelling.ipynb)), whose patches have $8 \times 8$ pixels. As in chapter 16, a pixel of an object
# counts as much as four of the ground.

# %%


def as_mae(images):
    """mae-shapes wants pixels around 0."""
    return (images - 0.5) * 4


drawn = [shapes.scene(5_000_000_000_000 + i) for i in range(800)]  # numbers that nothing else uses
inputs = np.stack([s.image for s in drawn])
labels = np.stack([s.semantic for s in drawn])
weights = np.where(labels < len(shapes.THINGS), 4, 1).astype(np.float32)


def learn(model, scores, steps, lr, batch=8):
    """Train a model; `scores(rows)` are its logits for scenes of these numbers. Returns the losses."""
    optimiser = optim.AdamW(model, lr=lr, schedule=optim.one_cycle(steps, warmup=0.1))
    losses = []
    for _ in range(steps):
        rows = rng.integers(0, len(drawn), batch)
        optimiser.zero_grad()
        each = ops.cross_entropy(scores(rows), labels[rows], reduction="none")  # (B, H, W)
        loss = (each * (weights[rows] / weights[rows].sum())).sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


# %%
start = time.process_time()
mine = MySegmenter(mv.load("mae-shapes").encoder, K, 1, 4, np.random.default_rng(0))
losses = learn(mine, lambda rows: mine(as_mae(inputs[rows])), 300, 2e-3)
first_answers = named_by(mine, as_mae(images))
print(f"{time.process_time() - start:.0f} s of one core; loss {losses[0]:.2f} -> {np.mean(losses[-50:]):.2f}")
print(f"mIoU on 100 new scenes: {miou(first_answers, truth):.2f}")
assert np.mean(losses[-50:]) < 0.6 * losses[0]

# %% [markdown]
# The grounds are right, the shapes are not: an encoder needs more than ten seconds to tell a star from a triangle. So
# give **the same decoder** a better encoder, that of the trained `segmenter-shapes`, and do not change it any more.
# Then its tokens are computed once, and only your decoder learns.

# %%
start = time.process_time()
encoder = segmenter.encoder
with mv.no_grad():
    tokens = np.concatenate(
        [encoder.features(inputs[i : i + 50]).numpy()[:, encoder.prefix :] for i in range(0, len(inputs), 50)]
    )
second = MySegmenter(encoder, K, 1, 4, np.random.default_rng(0))
losses = learn(second, lambda rows: second.decode(mv.Tensor(tokens[rows]), (64, 64)), 150, 2e-3)
second_answers = named_by(second, images)
print(f"{time.process_time() - start:.0f} s of one core; loss {losses[0]:.2f} -> {np.mean(losses[-50:]):.2f}")
found = [miou(named, truth) for named in (first_answers, second_answers)]
print(f"mIoU on 100 new scenes: {found[1]:.2f}, with the first encoder {found[0]:.2f}")
assert found[1] > found[0] + 0.1

# %%
three = [1, 2, 3]
viz.semantic_maps(
    [*truth[three], *first_answers[three], *second_answers[three]],
    images[three],
    titles=[*["scene"] * 3, *["truth"] * 3, *["encoder without labels"] * 3, *["trained encoder"] * 3],
    names=shapes.CLASSES,
    columns=3,
    size=1.9,
    title="Your decoder on two encoders",
    caption="Compare the last two rows with the second. With the encoder that was trained without labels, shapes are blots of "
    "several classes. With the trained encoder the same decoder finds the outlines, and more of its names are right. "
    "Many are still wrong: five seconds of training, and an encoder that is not sure itself.",
)

# %% [markdown]
# A decoder of one block does not recognise shapes; it reads what the encoder has found. This is why both papers spend
# nearly all their parameters, and all their pretraining, on the encoder.

# %% [markdown]
# ## A trained Segmenter, from inside
#
# `segmenter-shapes` is in the package; `minivis train segmenter-shapes` trains it again, in about a quarter of an hour on
# two cores. It has no convolutions at all, other than `setr-shapes`, and it is far behind that network, but also far
# above its baselines. We look at its masks before the enlargement: one small map for each class.

# %%
card = mv.storage.read_json(mv.storage.PACKAGED / "segmenter-shapes" / "card.json")
print("mIoU on 500 held-out scenes:", card["on 500 held-out scenes"]["mIoU"])
print("baselines:", card["baselines, mIoU on the same scenes"])
with mv.no_grad(), nn.looking(segmenter) as seen:
    segmenter(images)
masks = seen["masks"]  # (100, K, h, w)
there = np.unique(truth[3])
viz.images(
    [images[3], *masks[3]],
    titles=[
        "scene",
        *(f"{name}{' (is there)' if k in there else ''}" for k, name in enumerate(shapes.CLASSES)),
    ],
    columns=5,
    size=1.7,
    title="The masks of segmenter-shapes",
    caption="Each small map is the score of one class for each patch, bright is high, all on one scale. The grounds stand out "
    "clearly. The masks of triangle, star and cross are alike: all three are bright on all shapes of this scene, so the "
    "network is not sure which one it sees.",
)

# %% [markdown]
# ### How far each head looks
#
# Slide `H/33-attended-area`. In a CNN the receptive field grows layer by layer. In Segmenter, the paper measures,
# heads of the *first* layers already attend to large parts of the image. We measure two things for each head: the
# mean distance between a patch and the patches it attends to, and the share of the image that holds 90 % of its
# attention.
#
# One thing must be said first. The paper's encoder comes from ImageNet. Ours learns from scratch, and learns faster
# if it begins where a convolution begins: its queries, keys and positions have starting values with which each head
# looks at one neighbour of each patch. Nothing of this is fixed. So we measure the network before its training, too.

# %% tags=["slide:H/33-attended-area"]
fields = {
    "before training": _segments.attended(segmenter_shapes.small_segmenter(np.random.default_rng(0)), 20),
    "segmenter-shapes": _segments.attended(segmenter, 20),
}
for name, found in fields.items():
    means = [f"{of_heads.mean():.1f}" for of_heads in found["distance"][0]]
    print(f"{name:16} mean distance by layer, pixels: {', '.join(means)}")
first_layer = fields["segmenter-shapes"]["area"][0, 0]
print(
    f"first layer: 90 % of the attention on {first_layer.min():.0%} to {first_layer.max():.0%} of the image"
)
assert first_layer.min() > (3 / 64) ** 2  # all that a 3 x 3 convolution can see
viz.attention_by_depth(
    fields,
    title="How far the heads look, and at how much",
    caption="Each dot is one head, each line the mean of a layer. Blue: the starting values. Orange: trained. On the left, "
    "training has brought layers 2 to 4 nearer. On the right, it has spread the attention over a larger area, and one "
    "head of the first layer covers a tenth of the image.",
)

# %% [markdown]
# The slide's claim holds here in part. **Large from early on**: the heads of the first layer need 1 to 10 % of the
# image, 30 to 400 pixels, for 90 % of their attention; a $3 \times 3$ convolution sees 9 pixels. And it does **not
# grow steadily** with depth as in a CNN: the last layer looks no further than the first. But all areas are small: no
# head needs more than a tenth of the image. Our scenes are small, and what has to be found, an outline, is near.

# %% [markdown]
# ### The field of view adapts
#
# Slide `H/32-field-of-view-adapts`. The paper shows attention maps of patches on large and on small objects: on a
# large one the patch looks at all of the object, on a small one only at its surroundings. We measure the same two
# numbers again, for patches on large things (at least 190 pixels) and on small ones (at most 80).

# %% tags=["slide:H/32-field-of-view-adapts"]
found = fields["segmenter-shapes"]
for n in range(found["area"].shape[1]):
    (small, large), (near, far) = (found[kind][1:, n].mean(axis=1) for kind in ("area", "distance"))
    print(
        f"layer {n + 1}: small things {small:.1%} of the image, {near:.1f} px; large {large:.1%}, {far:.1f} px"
    )
viz.attention_by_size(
    fields,
    title="Patches on small and on large things",
    caption="Left: before training, where the two lines are alike. Right: trained. Blue are patches on small things, orange "
    "those on large ones. In layers 3 and 4 patches on large things look further and at more; in layer 2 they look at "
    "less.",
)

# %% tags=["slide:H/32-field-of-view-adapts"]
P = segmenter.patch_size[0]
grid = segmenter.encoder.grid
depth = len(segmenter.encoder.blocks)


def middle_patch(mask):
    """The patch (row, column) with the pixel of an object that is nearest to the object's centre."""
    rows, columns = np.nonzero(mask)
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    return rows[nearest] // P, columns[nearest] // P


scene = scenes[3]
by_size = np.argsort([mask.sum() for mask in scene.masks])
queries = [middle_patch(scene.masks[i]) for i in (by_size[-1], by_size[0])]
weights = seen[f"encoder.blocks.{depth - 1}.attn.weights"][3].mean(axis=0)  # mean of the heads, (N, N)
viz.attention_maps(
    [weights[row * grid[1] + column].reshape(grid) for row, column in queries],
    scene.image,
    titles=["a patch of the largest object", "a patch of the smallest"],
    query=queries,
    size=2.3,
    title="Where two patches look in the last layer",
    caption="The cross marks the patch that asks; bright patches have most of its attention. The patch of the triangle looks "
    "at several patches of the triangle, that of the small star at its neighbour only.",
)

# %% [markdown]
# **The field of view adapts, a little.** In the last two layers a patch on a large thing attends to a fifth more of
# the image than one on a small thing, and about two pixels further. Before training there was no such difference, so
# it is learned. It is much weaker than the paper's pictures suggest, and in the second layer the area is even smaller
# on large things.

# %% [markdown]
# ### Which classes are alike?
#
# Slide `H/33-class-embeddings-cluster`. The class embeddings are learned, and nobody says which classes are related.
# The paper finds vehicles near vehicles and furniture near furniture. We have nine classes; are the three grounds
# nearer to each other than to the shapes? We compare the embeddings as they come out of the mask transformer,
# projected for the comparison, by their cosines.

# %% tags=["slide:H/33-class-embeddings-cluster"]
outs = segmenter.class_embeddings(images).numpy()  # (100, K, D)
common = outs.mean(axis=(0, 1))  # what all have in common says nothing
outs = outs.mean(axis=0) - common  # (K, D), mean over the scenes
unit = outs / np.linalg.norm(outs, axis=1, keepdims=True)
cosines = unit @ unit.T
ground = np.arange(K) >= len(shapes.THINGS)
others = ~np.eye(K, dtype=bool)
groups = {
    "ground and ground": cosines[np.outer(ground, ground) & others].mean(),
    "shape and shape": cosines[np.outer(~ground, ~ground) & others].mean(),
    "ground and shape": cosines[np.outer(ground, ~ground)].mean(),
}
print(", ".join(f"{name} {value:+.2f}" for name, value in groups.items()))
assert min(groups["ground and ground"], groups["shape and shape"]) > groups["ground and shape"]
viz.class_similarity(
    outs,
    shapes.CLASSES,
    groups=["ground" if is_ground else "shape" for is_ground in ground],
    height=5.2,
    title="How alike the class embeddings are",
    caption="Left: the cosine of each two embeddings, mean over 100 scenes; brown is alike, violet opposite. Right: the plane "
    "in which they vary most. The three grounds lie together; so do triangle, cross and star, and circle and square.",
)

# %% [markdown]
# **They cluster, as claimed**, though the groups are loose: two grounds are hardly alike (a cosine of 0.1), but a
# ground and a shape are less so. Inside the shapes there are groups that nobody named: those with points (triangle,
# star, cross), and the full ones without (circle and square); the ring, which has a hole, stands alone. Are these also
# the classes that the network mixes up? For each two shapes we add the share of the pixels of one that it takes for
# the other, and the other way round.

# %% tags=["slide:H/33-class-embeddings-cluster"]
counts = confusion_matrix(named_by(segmenter, images), truth, K)[:6, :6]  # rows: the truth
share = counts / counts.sum(axis=1, keepdims=True)
mixed = share + share.T
one, other = np.triu_indices(6, 1)
for i in np.argsort(-mixed[one, other])[:5]:
    a, b = one[i], other[i]
    print(
        f"{shapes.CLASSES[a]:8} and {shapes.CLASSES[b]:6} mixed up {mixed[a, b]:.2f}, cosine {cosines[a, b]:+.2f}"
    )
together = np.corrcoef(mixed[one, other], cosines[one, other])[0, 1]
star = shapes.CLASSES.index("star")
print(f"correlation over all {len(one)} pairs: {together:.2f}; stars named stars: {share[star, star]:.0%}")
assert together > 0.8

# %% [markdown]
# They are: what is mixed up most is most alike. Embeddings of classes are alike if the classes look alike *to the
# network*. This network hardly ever says "star"; it takes stars for triangles and crosses.

# %% [markdown]
# ## What the choices are worth
#
# Slide `H/34-patch-size`. With patches of half the side there are four times as many tokens. Masks become sharper,
# and time is lost. The paper's Seg-B on ADE20K: patches of 32 reach an mIoU of 43.07 at 516 images a second, patches
# of 16 reach 48.06 at 92, patches of 8 reach 49.54 at 7. We trained our small Segmenter with patches of 16, 8 and 4,
# for 300 steps each, with three seeds. So few steps do not teach the shapes, so the task is easier: things against
# the three grounds. The dotted lines are the truth seen through patches, as above.

# %% tags=["slide:H/34-patch-size"]
study = segmenter_choices.results()
limits = {str(P): segmenter_choices.best_of_cells(P) for P in (4, 8, 16)}


def told(row, name):
    """The mean of a figure over the seeds, and its range."""
    return f"{np.mean(row[name]):.3f} ({min(row[name]):.3f} to {max(row[name]):.3f})"


sizes = {size: study["patch"][size] for size in ("16", "8", "4")}
for size, row in sizes.items():
    print(
        f"patches of {size:>2}: mIoU {told(row, 'mIoU')}; small things {told(row, 'small')}; {np.mean(row['seconds']):.0f} s"
    )
assert np.mean(sizes["4"]["seconds"]) > np.mean(sizes["8"]["seconds"]) > np.mean(sizes["16"]["seconds"])
assert min(sizes["4"]["mIoU"]) > max(sizes["8"]["mIoU"]) and min(sizes["8"]["mIoU"]) > max(
    sizes["16"]["mIoU"]
)
viz.worth_of_choices(
    sizes,
    best=limits,
    x_label="side of a patch, pixels",
    title="The size of a patch",
    caption="Each mark is one training, a colour and a form for each seed; the line is their mean, and the dotted line what "
    "the true shares of the classes in each patch give when they are enlarged in one step. Small things gain most "
    "from smaller patches; on the right is what it costs.",
)

# %% [markdown]
# **Smaller patches are better, as in the paper, and small things gain most**: their IoU is multiplied by seven from
# patches of 16 to patches of 4, while that of large things is multiplied by 2.4. The dotted lines say why: of a thing
# that is smaller than a patch, hardly anything is left when the patch knows only shares. (They are no strict limit: a
# score, other than a share, can let a small thing win against a large ground, so for small things the marks of patches
# of 16 and 8 lie above.) The price is time: the training takes eleven times as long. And this is what an image costs
# with untrained networks of the same width:

# %% tags=["slide:H/34-patch-size"]
seconds = {}
for P in (16, 8, 4):
    model = segmenter_shapes.small_segmenter(np.random.default_rng(0), P)
    with mv.no_grad():
        model(images[:1])  # warm up
        start = time.process_time()
        model(images[:40])
    seconds[P] = (time.process_time() - start) / 40
    print(f"patches of {P:2}: {(64 // P) ** 2:3} tokens, {1000 * seconds[P]:4.1f} ms an image")
assert seconds[4] > seconds[8] > seconds[16]

# %% [markdown]
# **The mask decoder against the linear one.** In the paper's table the mask decoder is better on ADE20K nearly
# everywhere, by half a point to one and a half of mIoU (Seg-B/16: 48.48 against 48.06; Seg-B/32: 44.19 against
# 43.07). **Small and large things.** In the same table, large things are named better than small ones, 51 against 32
# with patches of 32. **More images.** Seg-S/16 goes from 38.31 with 4,000 images to 45.37 with 20,000. The same three
# questions for our small one:

# %% tags=["slide:H/34-patch-size"]
for subject in ("decoder", "data"):
    for name, row in study[subject].items():
        print(
            f"{subject:8} {name:16} mIoU {told(row, 'mIoU')}; large {np.mean(row['large']):.3f}, small {np.mean(row['small']):.3f}"
        )
viz.worth_of_choices(
    study["decoder"],
    x_label="decoder",
    title="Mask decoder and linear decoder",
    caption="Left: all classes; then large and small things. Compare the means with the spread of the marks in one column "
    "before you call one decoder better.",
)

# %%
viz.worth_of_choices(
    study["data"],
    x_label="training scenes",
    title="The number of training scenes, patches of 8",
    caption="From few scenes, used many times, to scenes that are each used once. The number of steps is the same for all, so "
    "the time is, too.",
)

# %% [markdown]
# **The linear decoder is ahead here**, with every seed, other than in the paper. Perhaps 300 steps are few for the two
# blocks and the four embeddings of the mask transformer; we did not measure longer trainings. **Large things are
# easier than small ones** with every choice, as in the paper. **More scenes make no difference here** that is larger
# than that between seeds: in 300 steps the network sees 4,800 scenes, and 250 of them, seen nineteen times each, are
# about as good. A training as short as this is limited by its steps and not by its data, so it cannot test what the
# paper says about data.

# %% [markdown]
# ## A picture larger than the window
#
# Published models are trained on windows of 512 or 768 pixels, and photos are larger. Positions can be interpolated,
# as above, but the work grows with the square of the tokens. So both papers slide a **window** over the image. If the
# windows lie side by side, each pixel near a seam is named without the pixels on the other side of it. If they
# overlap, each pixel gets the mean of the logits of all windows over it. We try it on pictures of $64 \times 192$
# pixels: four held-out scenes side by side, cut off at both ends, so that the seams of the windows run through the
# scenes.

# %%
fours = [slice(i, i + 4) for i in range(0, 80, 4)]
panoramas = np.stack([np.concatenate(images[i], axis=2)[..., 24:216] for i in fours])  # (20, 3, 64, 192)
wide_truth = np.stack([np.concatenate(truth[i], axis=1)[:, 24:216] for i in fours])


def slide(stride):
    """The classes named by windows of 64 x 64 pixels, from scratch: sum the logits, count the windows, divide."""
    total = np.zeros((len(panoramas), K, 64, 192))
    count = np.zeros(192)
    for left in range(0, 192 - 64 + 1, stride):
        with mv.no_grad():
            total[..., left : left + 64] += segmenter(panoramas[..., left : left + 64]).numpy()
        count[left : left + 64] += 1
    return total / count


seams, averaged = slide(64), slide(32)
library = mv.vision.sliding_window(segmenter, panoramas[:4], window=64, stride=32).numpy()
np.testing.assert_allclose(library, averaged[:4], atol=1e-4)
answers = {
    "side by side": seams.argmax(axis=1),
    "overlapping": averaged.argmax(axis=1),
    "the whole at once": named_by(segmenter, panoramas),
}

# %%
near = (abs(np.arange(192) - 63.5) < 5) | (abs(np.arange(192) - 127.5) < 5)  # columns beside the two seams
wrong = {name: (named != wide_truth).mean(axis=(0, 1)) for name, named in answers.items()}  # by column
for name, named in answers.items():
    share = wrong[name]
    print(
        f"{name:18} mIoU {miou(named, wide_truth):.3f}; wrong at the seams {share[near].mean():.1%}, ", end=""
    )
    print(f"elsewhere {share[~near].mean():.1%}")
assert wrong["side by side"][near].mean() > wrong["overlapping"][near].mean()
missed = {name: (named != wide_truth)[..., near].sum(axis=(1, 2)) for name, named in answers.items()}
one = int((missed["side by side"] - missed["overlapping"]).argmax())  # where overlapping helps most
viz.semantic_maps(
    [wide_truth[one], *(named[one] for named in answers.values())],
    [panoramas[one]],
    titles=["scene", "truth", *answers],
    names=shapes.CLASSES,
    columns=1,
    size=5.0,
    title="A picture of three windows",
    caption="The seams of the windows are at 64 and 128 pixels. Look at the large ring: the second seam runs through it. Side "
    "by side, it is a ring on the left of the seam and mostly cross on the right. With overlapping windows most of "
    "it is ring. The large circle on its left is worse than before: one window is averaged with another that is "
    "wrong.",
)

# %% [markdown]
# Side by side, a fifth of the pixels at the seams is wrong; with windows that overlap by half it is less, and
# elsewhere nothing is gained. Overlap has its price: five windows instead of three. The whole picture at once, with
# interpolated positions, is worst here. This encoder was never trained with other sizes, and three times as many
# tokens compete for the attention of each. The papers fine-tune for a size before they use it.

# %% [markdown]
# ## Pictures: where it is right, and where not
#
# Slide `H/38-segmenter-pictures`. On ADE20K and Cityscapes Segmenter's masks follow large regions well. DeepLabv3+, a
# network of convolutions, draws the borders between people close together better, and both miss small objects. Our
# network of convolutions is `unet-shapes`. Where do the two make their mistakes? We sort the pixels by their distance
# to the nearest other object or ground.

# %% tags=["slide:H/38-segmenter-pictures"]
three = {"segmenter-shapes": segmenter, "setr-shapes": setr, "unet-shapes": unet}
errors = {name: _segments.border_errors(model, 100) for name, model in three.items()}
named = {name: named_by(model, images) for name, model in three.items()}
ground = len(shapes.THINGS)
for name, answer in named.items():
    found = errors[name]
    print(
        f"{name:17} mIoU {miou(answer, truth):.3f}; wrong beside a border {found['error'][0]:.1%}, ", end=""
    )
    print(f"12 pixels away and more {found['error'][-1]:.1%}")
    parts = np.multiply(found["error"], found["pixels"])  # of all pixels, by distance
    # a shape taken for another
    names_only = ((answer < ground) & (truth < ground) & (answer != truth)).mean()
    print(
        f"{'':17} of all pixels {parts.sum():.1%} are wrong; of these {parts[:3].sum() / parts.sum():.0%} are at most "
        f"3 pixels from a border, and {names_only / parts.sum():.0%} are of one shape taken for another"
    )
assert errors["segmenter-shapes"]["error"][0] > errors["segmenter-shapes"]["error"][-1]
viz.errors_at_borders(
    errors,
    title="Where the mistakes are",
    caption="Each line is one network. All are wrong most often in the pixels beside another object or ground. The line of "
    "setr-shapes falls within three pixels; that of segmenter-shapes falls slowly, because it also gives whole shapes a "
    "wrong name; U-Net's begins much lower.",
)

# %% tags=["slide:H/38-segmenter-pictures"]
worst = np.argsort([-(named["segmenter-shapes"][i] != truth[i]).mean() for i in range(len(truth))])[:3]
viz.semantic_maps(
    [*truth[worst], *named["segmenter-shapes"][worst], *named["unet-shapes"][worst]],
    images[worst],
    titles=[*["scene"] * 3, *["truth"] * 3, *["segmenter-shapes"] * 3, *["unet-shapes"] * 3],
    names=shapes.CLASSES,
    columns=3,
    size=1.9,
    title="The three worst answers of segmenter-shapes on 100 scenes",
    caption="Compare the two lower rows with the truth. Segmenter finds most shapes, and gives many of them a wrong name or "
    "several names; crowded places become one blot, and small shapes lose their form. U-Net, with its maps of full "
    "resolution, has nearly all outlines and names.",
)

# %% [markdown]
# So the slide's claim about borders holds here too, and more strongly than in the paper: a network of convolutions
# with connections at full resolution draws better outlines than two transformers on patches. It was made for such
# outlines, and learned from 48,000 scenes (`setr-shapes` from 64,000, after its encoder; `segmenter-shapes` from
# 96,000); in the paper, encoders that were trained on millions of photos first are ahead in mIoU all the same. Two
# thirds of Segmenter's wrong pixels are not outlines, but shapes with a wrong name.

# %% [markdown] tags=["slide:H/36-segmentation-datasets"]
# ### The data sets of the paper
#
# Slide `H/36-segmentation-datasets`. Segmenter was trained and measured on three data sets:
#
# | data set | classes | training images | validation | test |
# |---|---|---|---|---|
# | ADE20K | 150 | 20,210 | 2,000 | 3,352 |
# | Pascal Context | 59 and the background | 4,996 | 5,104 | |
# | Cityscapes, streets of 50 cities | 19 | 2,975 | 500 | 1,525 |
#
# ADE20K is the hardest: 150 classes, many of them small and rare. Reading figures of models on data sets like these
# is the topic of chapter 22.

# %% [markdown] tags=["slide:H/40-segmenter-strengths-and-weaknesses"]
# ## Strengths and weaknesses
#
# Slide `H/40-segmenter-strengths-and-weaknesses`. The deck's list: Segmenter is a transformer from end to end,
# without convolutions; it captures the context of the whole image by design; its results were among the best of its
# time. (The deck dates the paper to 2020; it appeared in 2021.) Its weakness is a **high cost of computation**. We
# can say how high. For $N$ tokens of width $d$, a layer takes $12\, N d^2$ multiply-adds for its matrices and $2\,
# N^2 d$ for its attention. The first grows with the number of patches, the second with its square. They are equal at
# $N = 6 d$.

# %% tags=["slide:H/40-segmenter-strengths-and-weaknesses"]


def multiply_adds(tokens, width, layers):
    """Multiply-adds of an encoder: (matrices, attention)."""
    return layers * 12 * tokens * width**2, layers * 2 * tokens**2 * width


sides = 128 * 2 ** np.arange(5)
parts = np.array([multiply_adds((side // 16) ** 2, 768, 12) for side in sides]) / 1e9
for P, speed in ((32, 516), (16, 92), (8, 7)):
    tokens = (512 // P) ** 2
    matrices, attended = multiply_adds(tokens, 768, 12)
    print(
        f"ViT-B at 512, patches of {P:2}: {tokens:5} tokens, {matrices / 1e9:4.0f} + {attended / 1e9:4.0f} billion; ",
        end="",
    )
    print(f"the paper: {speed} images a second")
assert multiply_adds(6 * 768, 768, 12)[0] == multiply_adds(6 * 768, 768, 12)[1]
viz.curves(
    {"matrices": (sides, parts[:, 0]), "attention": (sides, parts[:, 1])},
    "side of the image, pixels",
    "billion multiply-adds",
    log="xy",
    title="The cost of ViT-B/16 by the size of the image",
    caption="Both axes are logarithmic. At 512 pixels attention is a fifth of the cost of the matrices; above 1086 pixels, "
    "where the curves cross, it costs more than all the rest.",
)

# %% [markdown]
# ## Exercises
#
# Where a law judges your function, manners count too: float32 in gives float32 out, inputs stay as they are, and
# nothing is printed.
#
# ### Exercise 1: the mask decoder
# Write `my_masks(patches, classes, w_patch, w_class, gamma, beta)` for `patches` (B, N, D) and `classes` (B, K, D):
# multiply the patches by `w_patch` and the classes by `w_class` (D, D); vectors are rows, so it is `patches @
# w_patch`. Take the cosine of each patch with each class; a vector of zeros has the cosine 0 with everything.
# Normalise the K cosines of each patch to mean 0 and variance 1, with 1e-5 added to the variance (that of K numbers,
# divided by K), multiply by `gamma` (K,), add `beta` (K,). Return (B, K, N).


# %% tags=["exercise:masks"]
def my_masks(patches, classes, w_patch, w_class, gamma, beta): ...  # your lines here


# %% tags=["check:masks"]
nothing = np.zeros((1, 1, 2))
one_hot = np.eye(2)
zeros = claims(
    "a vector of zeros",
    ("as a patch has the cosine 0 with all", lambda: my_masks(nothing, one_hot[None], one_hot, one_hot, np.ones(2), np.arange(2.0)),
     [[[0.0], [1.0]]], "All cosines are 0, so only beta is left. Do not divide by a length of 0."),
)  # fmt: skip
passed = mv.laws.check("mask_decoder", my_masks).passed and zeros.passed

# %% [markdown] tags=["solution:masks"]
# <details><summary>Solution</summary>
#
# ```python
# def my_masks(patches, classes, w_patch, w_class, gamma, beta):
#     def unit(v):
#         length = np.sqrt((v * v).sum(axis=-1, keepdims=True))
#         return v / np.where(length > 0, length, 1)
#
#     cosines = unit(patches @ w_patch) @ unit(classes @ w_class).swapaxes(1, 2)  # (B, N, K)
#     centred = cosines - cosines.mean(axis=-1, keepdims=True)
#     variance = (centred**2).mean(axis=-1, keepdims=True)
#     scores = gamma * centred / np.sqrt(variance + 1e-5) + beta
#     return scores.swapaxes(1, 2)
# ```
#
# The norm runs over the classes, the last axis before the exchange.
# </details>

# %% [markdown]
# ### Exercise 2: progressive upsampling
# Write `my_head(tokens, height, width, weights)`. `tokens` (B, 1 + h w, D) begin with a class token, which is
# dropped; the patches follow in reading order, h = `height` rows and w = `width` columns. `weights` is a dict of
# arrays. First a layer norm of each token, with `norm.weight` and `norm.bias`, eps 1e-6. Then, for i = 0, 1, ... as
# long as there is `convs.i.weight`: a 3 x 3 convolution with `convs.i.weight` and `convs.i.bias`, padding 1; batch
# norm with the stored `norms.i.running_mean`, `norms.i.running_var` (eps 1e-5), `norms.i.weight` and `norms.i.bias`;
# ReLU; a bilinear enlargement by two. Last the 1 x 1 convolution with `classifier.weight` (K, C, 1, 1) and
# `classifier.bias`. With L convolutions the result is (B, K, 2^L h, 2^L w). You may use `ops.layer_norm`,
# `ops.conv2d` and `ops.interpolate`.


# %% tags=["exercise:head"]
def my_head(tokens, height, width, weights): ...  # your lines here


# %% tags=["check:head"]
passed = mv.laws.check("setr_pup_head", my_head).passed

# %% [markdown] tags=["solution:head"]
# <details><summary>Solution</summary>
#
# ```python
# def my_head(tokens, height, width, weights):
#     w = weights
#     x = ops.layer_norm(tokens[:, 1:], w["norm.weight"].shape, w["norm.weight"], w["norm.bias"], 1e-6)
#     x = x.transpose(0, 2, 1).reshape(len(x), -1, height, width)
#     i = 0
#     while f"convs.{i}.weight" in w:
#         x = ops.conv2d(x, w[f"convs.{i}.weight"], w[f"convs.{i}.bias"], padding=1)
#         names = ("running_mean", "running_var", "weight", "bias")
#         mean, variance, scale, shift = (w[f"norms.{i}.{name}"][:, None, None] for name in names)
#         x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)
#         x = ops.interpolate(x, (2 * x.shape[2], 2 * x.shape[3]), mode="bilinear")
#         i += 1
#     return ops.conv2d(x, w["classifier.weight"], w["classifier.bias"])
# ```
#
# `height` and `width` are needed: 16 tokens may be $4 \times 4$ or $2 \times 8$.
# </details>

# %% [markdown]
# ### Exercise 3: streams from the top down
# Write `my_fuse(maps, laterals, convs)` for the maps of M layers (M, B, D, h, w), the shallowest first. Each map
# passes the 1 x 1 convolution of its layer, `laterals` (M, C, D), and gets the sum of all deeper ones added. Each sum
# passes the 3 x 3 convolution of its layer, `convs` (M, C, C, 3, 3), with a border of zeros. Return the M streams (M,
# B, C, h, w) in the order of the maps. No biases, norms or ReLUs.


# %% tags=["exercise:fuse"]
def my_fuse(maps, laterals, convs): ...  # your lines here


# %% tags=["check:fuse"]
passed = mv.laws.check("mla_fuse", my_fuse).passed

# %% [markdown] tags=["solution:fuse"]
# <details><summary>Solution</summary>
#
# ```python
# def my_fuse(maps, laterals, convs):
#     total = 0
#     streams = []
#     for x, lateral, conv in zip(maps[::-1], laterals[::-1], convs[::-1], strict=True):
#         total = ops.conv2d(x, lateral[:, :, None, None]) + total
#         streams.append(ops.conv2d(total, conv, padding=1))
#     return np.stack(streams[::-1])
# ```
#
# The sum that is handed on is the one before the 3 x 3 convolution.
# </details>

# %% [markdown]
# ### Exercise 4: where windows begin
# Write `my_windows(length, window, stride)` for an axis of `length` pixels, at least `window`: the list of the first
# pixels of all windows. They begin at 0, `stride`, 2 `stride`, ..., as long as the window ends before the end of the
# axis. The last window ends exactly at the end of the axis: a shift of it to the left makes it overlap more.


# %% tags=["exercise:windows"]
def my_windows(length, window, stride): ...  # your lines here


# %% tags=["check:windows"]


def said(*sizes):
    """The answer as text, such as "0, 32": how many windows there are is a part of it."""
    return ", ".join(str(int(first)) for first in my_windows(*sizes))


passed = claims(
    "the windows over an axis",
    ("are one if it has the length of a window", lambda: said(64, 64, 32), "0", "The window at 0 ends at the end."),
    ("lie side by side with a stride as long as the window", lambda: said(192, 64, 64), "0, 64, 128", "The last one ends at 192."),
    ("overlap with half the stride", lambda: said(128, 64, 32), "0, 32, 64", "The last one ends at 128."),
    ("end with the axis", lambda: said(100, 64, 32), "0, 32, 36", "After 0 and 32 comes the window that ends at 100: it begins at 36."),
    ("do not repeat the last one", lambda: said(96, 64, 32), "0, 32", "The window at 32 ends at 96: it is the last one."),
).passed  # fmt: skip

# %% [markdown] tags=["solution:windows"]
# <details><summary>Solution</summary>
#
# ```python
# def my_windows(length, window, stride):
#     return [*range(0, length - window, stride), length - window]
# ```
#
# `range` stops before its end, so the last window is there once.
# </details>

# %% [markdown]
# ### Exercise 5: the cost of smaller patches
# Write `my_cost(height, width, patch, d, layers)`: the multiply-adds of a ViT's layers for an image of `height` x
# `width` pixels, without a class token: $12\, N d^2$ for the matrices of a layer and $2\, N^2 d$ for its attention.
# If `patch` does not divide a side, the image is padded at the end until it does.


# %% tags=["exercise:cost"]
def my_cost(height, width, patch, d, layers): ...  # your lines here


# %% tags=["check:cost"]
passed = claims(
    "the cost of a ViT",
    ("is that of one token for one patch", lambda: my_cost(16, 16, 16, 2, 1), 12 * 4 + 2 * 2, "N = 1: 12 d d + 2 d."),
    ("grows with the layers", lambda: my_cost(16, 16, 16, 2, 5), 5 * 52, "Each layer costs the same."),
    ("counts the tokens of a rectangle", lambda: my_cost(32, 48, 16, 2, 1), 6 * 48 + 36 * 4, "N = 2 * 3 = 6."),
    ("of ViT-B/16 at 512 pixels is 106 billion", lambda: round(my_cost(512, 512, 16, 768, 12) / 1e9), 106, "N = 1024."),
    ("pads each side that the patches do not fill", lambda: my_cost(17, 17, 16, 2, 1), 4 * 48 + 16 * 4, "17 pixels need two patches: round each side up."),
).passed  # fmt: skip

# %% [markdown] tags=["solution:cost"]
# <details><summary>Solution</summary>
#
# ```python
# def my_cost(height, width, patch, d, layers):
#     N = -(-height // patch) * -(-width // patch)
#     return layers * (12 * N * d**2 + 2 * N**2 * d)
# ```
#
# `-(-a // b)` rounds up. Patches of half the side make four times the tokens: four times the first term, sixteen
# times the second.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:how-far-at-first"]
# **1. One patch in the corner of an image changes. Which tokens of a ViT can notice it after the first block, and
# which places of a U-Net after its first level?**
#
# <details><summary>Answer</summary>
#
# Of the ViT nearly all: each token attends to all others. Of the U-Net only those near the corner, since two
# convolutions reach two pixels further.
#
# ```python
# assert reached["ViT"][1] > 0.5 and reached["U-Net"][1] < 0.1
# ```
# </details>

# %% [markdown] tags=["question:twice-the-image"]
# **2. An image has twice as many pixels along each side. What happens to the encoder's weights, to its positions,
# and to its attention?**
#
# <details><summary>Answer</summary>
#
# The weights stay. The table of positions is enlarged like a picture, to four times as many rows. The maps of
# attention become 16 times as large.
#
# ```python
# codes, grid = setr.encoder.pos_embed.numpy(), setr.encoder.grid
# large = mv.vision.resize_position_table(codes, grid, tuple(2 * n for n in grid), setr.encoder.prefix)
# assert large.shape[1] - setr.encoder.prefix == 4 * (codes.shape[1] - setr.encoder.prefix)
# ```
# </details>

# %% [markdown] tags=["question:order-of-steps"]
# **3. Does it matter whether the last $1 \times 1$ convolution stands before the bilinear enlargement or behind it?
# And a ReLU?**
#
# <details><summary>Answer</summary>
#
# Not for the convolution: one mixes channels, the other places, and both are linear. So it is computed on the small
# map. A ReLU may not be exchanged.
#
# ```python
# z, w = rng.standard_normal((1, 5, 3, 4)), rng.standard_normal((2, 5, 1, 1))
# up = lambda x: ops.interpolate(x, (6, 8), mode="bilinear")
# np.testing.assert_allclose(ops.conv2d(up(z), w), up(ops.conv2d(z, w)), atol=1e-12)
# assert abs(ops.relu(up(z)) - up(ops.relu(z))).max() > 0.01
# ```
# </details>

# %% [markdown] tags=["question:deepest-stream"]
# **4. In multi-level aggregation one feature of the deepest layer changes. Which streams change, and which change
# if it is one of the shallowest?**
#
# <details><summary>Answer</summary>
#
# All of them, since streams are added from the top down; if it is the shallowest, only its own.
#
# ```python
# same = [lambda x: x] * 4
# fused_with = lambda *maps: np.array(mv.models.setr.mla_fuse(list(maps), same, same))
# assert (fused_with(1, 1, 1, 2) != fused_with(1, 1, 1, 1)).all()
# assert (fused_with(2, 1, 1, 1) != fused_with(1, 1, 1, 1)).sum() == 1
# ```
# </details>

# %% [markdown] tags=["question:longer-embedding"]
# **5. The embedding of one class becomes ten times as long. What happens to Segmenter's masks?**
#
# <details><summary>Answer</summary>
#
# Nothing: both are divided by their lengths before they are compared, so only the angle counts.
#
# ```python
# p, c, eye = rng.standard_normal((1, 7, 4)), rng.standard_normal((1, 3, 4)), np.eye(4)
# longer = c * np.array([10.0, 1, 1])[None, :, None]
# masks_of = lambda classes: mv.vision.mask_decoder(p, classes, eye, eye, np.ones(3), np.zeros(3))
# np.testing.assert_allclose(masks_of(longer), masks_of(c))
# ```
# </details>

# %% [markdown] tags=["question:attention-takes-over"]
# **6. From how many patches on does attention cost more than the matrices of a layer, at a width of 192 and at one
# of 768?**
#
# <details><summary>Answer</summary>
#
# From $6d$ on: 1,152 patches, which is an image of 543 pixels in patches of 16; and 4,608 patches, one of 1,086
# pixels. Wide networks notice the square later.
#
# ```python
# for d in (192, 768):
#     matrices_cost, attention_cost = multiply_adds(6 * d, d, 1)
#     assert matrices_cost == attention_cost
# assert [round(16 * (6 * d) ** 0.5) for d in (192, 768)] == [543, 1086]
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can say why segmentation needs the whole image: a patch alone seldom says what it belongs to. A ViT can use all of
#   it from its first layer on, and never reduces the resolution of its grid of tokens.
# - You can bring tokens back to pixels in SETR's three ways: in one step, in steps of two with convolutions between, or from
#   several layers that are added from the top down.
# - You can write Segmenter's decoder: one learned token for each class looks at the image, and is compared with each patch,
#   by a cosine, then a norm over the classes. The encoder does the work; the decoder reads what is there.
# - You can say what a patch size costs: four times the tokens for half the side, and better borders.
# - You can measure where a network is wrong, mostly beside borders, and name the pixels of an image that is larger than its
#   window: windows that overlap remove the seams.
#
# Next: [18. MaskFormer](18_maskformer.ipynb), which no longer asks for the class of each pixel, but for masks and the
# class of each mask.
