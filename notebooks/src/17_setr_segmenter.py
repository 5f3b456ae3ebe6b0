# %% [markdown]
# # 17. SETR and Segmenter: transformers that name every pixel
#
# The networks of chapter 16 go down to small maps to see far, and up again to answer for each pixel. A vision transformer
# sees the whole image from its first layer on, and all its layers have the same number of tokens. So why go down at all?
# Two models of 2021 ask this. Both cut the image into patches, let a ViT process the sequence, and then have one problem left:
# a patch has one token, but many pixels. **SETR** compares three decoders for this. **Segmenter** adds one learned token
# for each class.
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
# writes. Segmentation can be seen in the same way: a sequence of patches comes in, and a sequence of labels goes out, one for
# each patch. Why is this not just a classification of patches, one by one? Because most patches do not say what they belong
# to. Let us count. For each patch of a held-out scene that lies inside one object, we look for the patch among 6400 others that
# has the most similar pixels, and take its class. Then we ask a network that sees the whole image.

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
by_itself = library_classes[distance.argmin(axis=1)] == asked_classes[inside]
with_context = named_by(segmenter, images)
votes = mv.vision.patchify(with_context[:, None], 8).reshape(-1, 64)[inside]
with_context_right = (votes == asked_classes[inside, None]).mean()
print(f"{inside.sum()} patches inside a shape: by itself {by_itself.mean():.0%} right, ", end="")
print(f"with the whole image {with_context_right:.0%}")
assert by_itself.mean() < 0.5 < with_context_right

# %% [markdown]
# A striped patch may belong to a star or to a ring; only the outline decides, and it lies in other patches. This is what
# the slide calls **contextual information**. A network of convolutions collects it slowly, from neighbours to neighbours. We
# change the pixels in one corner of an image, and look which places notice it after each layer.

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
    z = encoder.with_positions(encoder.patch_embed(mv.Tensor(pair)), encoder._grid(64, 64))
    reached = {"ViT": [noticed(z.numpy())], "U-Net": [noticed(seen[f"down{n}"]) for n in range(5)]}
    for block in encoder.blocks:
        z = block(z)
        reached["ViT"].append(noticed(z.numpy()[:, encoder.prefix :]))
for name, shares in reached.items():
    print(f"{name:6}", ", ".join(f"{share:.0%}" for share in shares))
assert reached["ViT"][0] < 0.1 and reached["ViT"][1] == 1 > reached["U-Net"][1]

# %% [markdown]
# The first number of the ViT is before its first block, when each token knows only its own patch. After one block all
# tokens have noticed the change. In U-Net each number belongs to one level of the way down, of two convolutions each: the share
# grows level by level, and only because each level also halves the map. "Can notice" is not "uses": how far the attention
# of a trained Segmenter really looks is measured below.

# %% [markdown]
# ## SETR: an image becomes tokens
#
# Slide `A/72-setr-tokens`. SETR (Zheng et al., 2021) begins as ViT does. An image of $H \times W$ pixels is cut into patches of
# $N \times N$ pixels ($N$ is the patch size in this deck). Each patch, flattened to a vector $x_i$ of $N^2 C$
# numbers, is multiplied by one learned matrix:
#
# $$x'_i = W_e\, x_i, \qquad W_e \in \mathbb{R}^{d_m \times N^2 C}, \qquad i = 1, \ldots, HW / N^2.$$
#
# (The slide lets $i$ run to $HW$, but there are only $HW / N^2$ patches.) With loops, without, and as the library has it.

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
N, W_e = encoder.patch_size[0], layer.weight.numpy().reshape(layer.weight.shape[0], -1)
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
    caption="Above: the scene and a grid of patches. Below: the same patches in a row, as the transformer gets them. The red frame is "
    "patch 27, in both. The row alone does not say which patch is above which: positions must be added.",
)

# %% [markdown]
# ## The encoder
#
# Slide `A/73-setr-encoder`. To each token a learned position of the same length is added, $z_i = x'_i + p_i$. Then come 24
# layers of a ViT-L that was trained before to classify images. The result is a matrix $Y \in \mathbb{R}^{L \times d_m}$ with
# $L = HW / N^2$: one feature vector for each patch. How large is it? With width $d$, a layer has $4 d^2$ weights in its
# attention and $8 d^2$ in its MLP, and $13 d$ in biases and norms.

# %% tags=["slide:A/73-setr-encoder"]
d, layers, side = 1024, 24, 512
in_layers = layers * (12 * d**2 + 13 * d)
before = (16 * 16 * 3 + 1) * d + d + (1 + (side // 16) ** 2) * d  # patches, class token, positions
print(f"layers {in_layers:,} + embedding and positions {before:,} = {in_layers + before:,}")
with nn.init.skip_init():  # sizes only: no weights are drawn
    vit = ViT(side, 16, d, layers, 16, num_classes=0)
    whole = mv.models.setr_naive(150)
counted = sum(p.size for p in vit.parameters()) - 2 * d  # SETR leaves out the last norm
assert in_layers + before == counted == 304_147_456
assert sum(p.size for p in whole.encoder.parameters()) in (counted, counted + 2 * d)
del vit, whole

with mv.no_grad():
    Y = setr.encoder.features(images[:2]).numpy()
print(f"our small one: {Y.shape[1] - setr.encoder.prefix} tokens of {Y.shape[2]} numbers for an image of 64 x 64")

# %% [markdown]
# ### Another size, the same network
#
# Slide `A/74-setr-keeps-resolution`. The weights of attention and MLP do not know how many tokens there are, so a trained
# encoder can read images of any size. Only the table of positions has a fixed number of rows. They form a grid, one vector
# for each place, so the table is **interpolated in two dimensions**, as a picture with $d_m$ channels.

# %% tags=["slide:A/74-setr-keeps-resolution"]
encoder = setr.encoder
P, (rows, columns) = encoder.patch_size[0], encoder.grid
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
panorama = shapes.scene(5, size=(64, 96)).image
answer = named_by(setr, panorama[None])
assert answer.shape == (1, 64, 96)
viz.images(
    pictures,
    titles=[f"direction {n}, {size}" for size in ("64 x 64", "64 x 96") for n in (1, 2, 3)],
    columns=3,
    size=1.9,
    signed=True,
    title="Learned positions, and the same for a wider image",
    caption="Each map is one of the three main directions of the position vectors; one cell is one patch. Above: as learned, for 64 x 64 "
    "pixels. Below: interpolated for 64 x 96. The patterns are the same, stretched.",
)

# %% [markdown]
# No layer makes the sequence shorter. A U-Net has fewer places on each level; in the encoder every layer has $L$ tokens, and
# each of them attends to all $L$. That costs: the work of attention grows with $L^2$ (at the end of this chapter we count).

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
# Slide `A/75-three-decoders`. The decoder has to turn $Y \in \mathbb{R}^{L \times d_m}$ into scores
# $O \in \mathbb{R}^{H \times W \times C}$, where $C$ is now the number of classes. First the sequence becomes a map again,
# $\frac{H}{N} \times \frac{W}{N}$ cells with $d_m$ channels: a reshape. Then the map must grow by $N$ in each direction. The
# paper tries three ways: **naive**, in one step; **PUP**, progressive upsampling, in several steps with convolutions between; **MLA**,
# multi-level aggregation, from several layers of the encoder.
#
# How much can be lost here? Suppose that the network knew, for each patch, exactly which share of its pixels has which
# class. We enlarge these shares to the image, and take the largest at each pixel. This is the truth, seen through a grid of
# patches.

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
    caption="From left to right: the classes of the pixels, and what is left of them if only the shares in each patch are known. With "
    "patches of 4 the points of the star become round; with patches of 16 the small star is gone.",
)

# %% [markdown]
# This is no law of nature: a token has many numbers, and a decoder may learn from them where in the patch a border runs.
# That is what the larger decoders are for. But it shows what a single bilinear step can lose.
