# %% [markdown]
# # 08. ViT: an image as a sentence of patches
#
# The Transformer of chapter 07, almost unchanged, reads images. We build it, count it, train it on
# handwritten digits next to a convolutional network, and then look inside.
#
# **Goals**
#
# - You can turn an image into a sequence of tokens three ways, and know that they are one.
# - You can write ViT's forward pass in thirty lines and say what every line is for.
# - You can say what ViT does not know when it is born, and measure what that costs on little data.
# - You can read a trained ViT: its filters, its position codes, how far its heads look, and where.
#
# **Before**: attention from [05](05_attention.ipynb), the transformer block from [07](07_transformer.ipynb),
# convolution from [02](02_convolution.ipynb).
#
# **Slides**: Deck H is Hanyang University, *Transformers* (ViT, DETR, Segmenter); Deck A is AIIA, *Attention
# and Transformer Networks in Computer Vision*; Deck C is CPSC 425, lecture 23; Deck Z is Zagoruyko,
# *Transformers in Computer Vision*. A section that follows a slide names it.
#
# **Time**: about 60 minutes to read, 40 more for the exercises; the cells take about a minute.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import viz
from minivis.ops import gelu, layer_norm, linear, softmax

rng = np.random.default_rng(0)

# %% [markdown]
# ## Words of an image
#
# Deck H, *Vision Transformer*; Deck A and Deck Z, *ViT*: transformers are efficient and grow to very many
# parameters, so let one read images, changed as little as possible. A sentence is a sequence of words; make
# an image a sequence of **patches**, embed each linearly, and train for classification with labels. Our
# images are real digits of $8 \times 8$ pixels, and our patches are $2 \times 2$.

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
    caption="Each token is one patch, read from left to right and from top to bottom. From here on it is "
    "a vector of four numbers.",
)

# %% [markdown]
# ## Three ways to embed a patch, one result
#
# Deck A, *ViT architecture*; Deck C, *Transformer on Image Patches*: an image of $HW$ pixels gives
# $L = HW / N^2$ patches of $N \times N$ pixels, and one learned matrix $W_e$ $(d_m, N^2 C)$ maps each to a
# token. With loops, as a product of matrices, and as **a convolution whose stride is its kernel size**:
#
# > *A word on the slides.* Deck A's index runs to $HW$; there are $HW/N^2$ patches. Deck C calls the result
# > a model without convolutions: patch embedding *is* one, with kernel and stride 16.

# %% tags=["slide:A/30-patch-embedding", "slide:C/115-image-patches"]
d = 6
kernel = rng.standard_normal((d, 1, patch, patch)).astype(
    np.float32
)  # (d_m, C, N, N): what a convolution calls it
w_embed = kernel.transpose(0, 2, 3, 1).reshape(d, -1)  # (d_m, N^2 C): what a product calls it


def embed_loops(image):
    """Patch by patch: (C, H, W) -> (L, d_m)."""
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
# A learned vector for each place is added; at the start it knows nothing of the image plane (Deck A). And one
# more learned vector, the **class token**, is put in front: it belongs to no patch, it goes through all
# layers with the others and can gather what it needs, and its state at the end stands for the whole image.
# $L$ patches make $L + 1$ tokens. One linear layer $(d_m \to K)$ and a softmax turn its state into class
# probabilities.

# %% tags=["slide:A/31-learned-positions", "slide:A/32-class-token", "slide:C/121-class-token", "slide:A/33-classification-head"]
config = dict(image_size=8, patch_size=patch, width=48, depth=4, heads=4, num_classes=10, channels=1)
newborn = mv.models.vit.ViT(**config, rng=np.random.default_rng(0))
p = {name: value.astype(np.float32) for name, value in newborn.state_dict().items()}

z = linear(
    tokens[:5], p["patch_embed.proj.weight"].transpose(0, 2, 3, 1).reshape(48, -1), p["patch_embed.proj.bias"]
)
assert z.shape == (5, 16, 48)  # (B, L, d_m)
z = np.concatenate([np.broadcast_to(p["cls_token"], (5, 1, 48)), z], axis=1)
assert z.shape == (5, 17, 48)  # (B, L + 1, d_m)
z = z + p["pos_embed"]
assert p["pos_embed"].shape == (1, 17, 48)

table = p["pos_embed"][0, 1:]
unit = table / np.linalg.norm(table, axis=1, keepdims=True)
off_diagonal = (unit @ unit.T)[~np.eye(16, dtype=bool)]
print(
    f"similarity of two places' codes before training: {off_diagonal.mean():.3f} on average, {np.abs(off_diagonal).max():.2f} at most"
)
assert abs(off_diagonal.mean()) < 0.05
probabilities = softmax(
    linear(z[:, 0], p["head.weight"], p["head.bias"])
)  # the head, (d_m -> K), and a softmax
assert probabilities.shape == (5, 10) and np.allclose(probabilities.sum(axis=1), 1)

# %% [markdown]
# ## ViT in four lines
#
# Dosovitskiy et al. 2021, equations 1 to 4; Deck H, *Vision Transformer*:
#
# $$z_0 = [x_{class};\, x_1 E;\, \ldots;\, x_N E] + E_{pos}$$
# $$z'_l = \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1}, \qquad z_l = \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l$$
# $$y = \mathrm{LN}(z_L^0)$$
#
# Norm *before* each branch, residual around it. Here they are in NumPy alone, with the weights of the
# library's model:


# %% tags=["slide:H/8-vit-equations", "slide:H/5-vision-transformer", "slide:Z/38-vit-architecture"]
def norm(x, p, name):
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


def vit(images, p, depth=4, heads=4):
    """ViT's forward pass: (B, C, H, W) -> (B, K)."""
    kernel = p["patch_embed.proj.weight"]
    x = mv.ops.conv2d(images, kernel, p["patch_embed.proj.bias"], stride=kernel.shape[-1])  # (B, D, H/P, W/P)
    x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)  # (B, N, D)
    z = (
        np.concatenate([np.broadcast_to(p["cls_token"], (len(x), 1, x.shape[2])), x], axis=1) + p["pos_embed"]
    )  # (1)
    for i in range(depth):
        b = f"blocks.{i}."
        z = attention(norm(z, p, b + "norm1"), p, b + "attn", heads) + z  # (2)
        hidden = gelu(linear(norm(z, p, b + "norm2"), p[b + "mlp.fc1.weight"], p[b + "mlp.fc1.bias"]))
        z = linear(hidden, p[b + "mlp.fc2.weight"], p[b + "mlp.fc2.bias"]) + z  # (3)
    y = norm(z, p, "norm")[:, 0]  # (4)
    return linear(y, p["head.weight"], p["head.bias"])


np.testing.assert_allclose(vit(images[:8], p), newborn(images[:8]).data, atol=1e-5)

# %% [markdown]
# Stage by stage, with the shape and the price of each (Deck H, *Vision Transformer*):

# %% tags=["slide:H/7-vit-step-by-step"]
summary = mv.summary(newborn, images[:1])
summary

# %% [markdown]
# ## Sizes
#
# Three numbers again (chapter 07): depth $L$, width $D$, heads. With $12 D^2 + 13 D$ parameters a block,
# plus embedding, tokens, last norm and head, the published sizes can be computed on paper. The decks' tables
# print 6M, 22M, 86M and 307M for Ti, S, B and L; we count. The largest is 304.3 million with its head of 1000
# classes at $224^2$; the 307M of the table is a rounded figure of the paper.


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
    print(
        f"ViT-{name}: width {d:4}, {depth} blocks: {count(d, depth):11,} parameters; the decks print {printed}"
    )
    assert count(d, depth) == exact
tiny = mv.models.vit.vit_ti16()
assert sum(q.size for q in tiny.parameters()) == count(192, 12)  # and the library's model, counted one by one

# %% [markdown]
# ## What a newborn ViT does not know
#
# Deck H, *Vision Transformer*: its MLPs are local and treat all places alike, its attention is global; of the
# two-dimensional arrangement of its patches it knows nothing. Here is the proof: shuffle the patches of every
# image, always in the same way, shuffle the position table with them, and the model says exactly the same. It
# could be trained on shuffled images *just as well*. A convolution could not.

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
    caption="For a ViT that has learned nothing yet, both rows are equally easy. For you, and for a "
    "convolution, they are not.",
)

# %% [markdown]
# ## Little data: ViT against a CNN
#
# A CNN is born with locality and translation equivariance; ViT has to learn them, and learning takes data
# (Deck H). So take little data and ask for just that: put each digit at a random place of a $16 \times 16$
# canvas, train on 50, 100 and 200 of them, the same number of steps for both, and test on the 360 held-out
# digits at places of their own.
#
# > *A word on the slide.* Its arrows can be read as if the CNN's bias made it generalise badly. It is the
# > transformer, without the bias, that suffers from little data.


# %%
scatter = mv.data.transforms.RandomCrop(16, padding=8)  # 8 empty pixels around, then 16 x 16 cut at random
scattered = scatter(images, np.random.default_rng(1))
held_scattered = scatter(held_images, np.random.default_rng(2))
assert scattered.shape == (1437, 1, 16, 16) and np.allclose(scattered.sum(), images.sum())  # no ink is lost


def train(model, count, lr, steps=200):
    """Train on the first `count` digits; return the shares of those and of the held-out digits that are right."""
    draw = np.random.default_rng(1)
    schedule = mv.optim.cosine(steps)  # the learning rate falls to 0 along half a cosine
    optimizer = mv.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, schedule=schedule)
    for _ in range(steps):
        rows = draw.integers(0, count, 64)
        loss = mv.ops.cross_entropy(model(scattered[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with mv.no_grad():
        right = [
            float((model(x).data.argmax(axis=1) == y).mean())
            for x, y in ((scattered[:count], labels[:count]), (held_scattered, held_labels))
        ]
    return right


# %% tags=["slide:H/4-data-against-bias"]
counts, accuracy = [50, 100, 200], {"ViT": [], "CNN": []}
canvas_config = {**config, "image_size": 16, "patch_size": 4}
for n in counts:
    known, found = train(mv.models.vit.ViT(**canvas_config, rng=np.random.default_rng(0)), n, lr=2e-3)
    known_cnn, found_cnn = train(mv.models.cnn.CNN(widths=(16, 32), rng=np.random.default_rng(0)), n, lr=1e-2)
    accuracy["ViT"].append(found)
    accuracy["CNN"].append(found_cnn)
    print(
        f"{n:4} digits: ViT {found:.1%} of new ones ({known:.0%} of its own), CNN {found_cnn:.1%} ({known_cnn:.0%})"
    )
    assert known > 0.95 and known_cnn > 0.95  # both know their training digits by heart
    assert found_cnn > found + 0.1

viz.curves(
    {name: (counts, values) for name, values in accuracy.items()},
    "training digits",
    "accuracy on 360 held-out digits",
    level={"guessing": 0.1},
    title="What it costs to know nothing of the plane",
    caption="Both know their training digits by heart. The CNN, for which a digit is the same wherever it "
    "stands, recognises new ones; ViT has to see a digit in many places first.",
)

# %% [markdown] tags=["slide:H/9-vit-datasets", "slide:C/122-vit-against-resnet"]
# At the other end of the scale the picture turns. ViT was pre-trained on ImageNet (1.3 million images),
# ImageNet-21k (14 million) and JFT (303 million), then transferred to ImageNet, CIFAR, Pets and Flowers. With
# JFT, large ViTs overtake large ResNets: the bias that helps with little data is a limit with much. (A
# smaller patch means more tokens and so more computation; the number of parameters hardly changes, whatever
# the slide's "bigger" suggests.)

# %% [markdown]
# ## Train one yourself
#
# Now with all 1,437 digits, in the middle of their pictures, and with what helps a ViT on little data: small
# shifts and turns of each image (augmentation), a warm-up, a learning rate that falls to 0. `mv.train.fit` is
# the loop you have seen three times now, with a progress bar and a history.

# %%
steps = 400
loader = mv.data.DataLoader(
    (images, labels),
    batch_size=64,
    shuffle=True,
    drop_last=True,
    rng=np.random.default_rng(0),
    transform=mv.data.transforms.RandomAffine(degrees=8, translate=0.06, scale=(0.9, 1.1), shear=5),
)
mine = mv.models.vit.ViT(**config, rng=np.random.default_rng(0))
optimizer = mv.optim.AdamW(
    mv.optim.decay_groups(mine, 0.05), lr=3e-3, schedule=mv.optim.cosine(steps, warmup_steps=50)
)


def loss_of(model, x, y):
    return mv.ops.cross_entropy(model(x), y, label_smoothing=0.1)


def held_out(model):
    return {"held-out accuracy": mv.metrics.accuracy(model(held_images), held_labels)}


# %%
history = mv.train.fit(mine, loader, loss_of, optimizer, steps, clip=1.0, evaluate=held_out)
print(f"after {steps} steps: {history['held-out accuracy'][-1]:.1%} of the held-out digits")
assert history["held-out accuracy"][-1] > 0.93
viz.curves(
    {"held-out accuracy": (history["step"], history["held-out accuracy"])},
    "step",
    "share of held-out digits that is right",
    level={"guessing": 0.1},
    title="A ViT learns to read",
    caption="Written from NumPy alone, on real handwritten digits, in seconds. More steps bring it to 99 %.",
)

# %% [markdown]
# The checkpoint in the package is a somewhat wider model after 1,600 such steps (`minivis train vit-digits`,
# 40 seconds). We look at what it finds hard.

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
    caption="Above each: what it is, and the probability that the model gives to that. Would you have "
    "been sure?",
)

# %% [markdown]
# ## Inside: filters, positions, distances
#
# Deck H, *Result*, shows three pictures of a ViT trained on photos. Can ours show them? Not the one above:
# its digits all stand in the middle, so every patch has a meaning of its own, and nothing ever told it which
# patches are neighbours. A photo's objects may stand anywhere. So we look at a ViT that was trained on
# scattered digits, $16 \times 16$ pixels in 64 patches, fresh places all the time (`minivis train
# vit-scattered-digits`, some ten minutes).
#
# The first picture: the filters of the patch embedding, the patterns it looks for in a patch.

# %% tags=["slide:H/10-inside-vit"]
everywhere_images = mv.data.transforms.RandomCrop(16, padding=8)(held_images, np.random.default_rng(0))
model = mv.load("vit-scattered-digits")
with mv.no_grad():
    right = model(everywhere_images).data.argmax(axis=1) == held_labels
print(f"{right.mean():.1%} of the held-out digits, at places of their own, are right")
assert right.mean() > 0.8

filters = model.patch_embed.proj.weight.data  # (D, 1, P, P)
strength = np.sqrt((filters**2).sum(axis=(1, 2, 3)))
strongest = np.argsort(-strength)[:16]
viz.images(
    filters[strongest],
    columns=8,
    size=0.9,
    signed=True,
    title="The sixteen strongest filters of the patch embedding",
    caption="Bright, dark, edges this way and that: what a few pixels can hold.",
)

# %% [markdown]
# The second: the cosine similarity of each position code with all others. Before training it was noise (you
# saw the figure above). Now the codes of near patches are similar, and those in one row or column more than
# the rest: nobody told the model that its tokens lie in a plane. The ViT for centred digits never had to find
# out.


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


# %% tags=["slide:A/34-position-similarity"]
for name in ("vit-digits", "vit-scattered-digits"):
    alike, apart, in_line = position_similarity(mv.load(name))
    near, line = alike[(apart > 0) & (apart < 1.5)].mean(), alike[in_line & (apart > 1.5)].mean()
    rest = alike[~in_line & (apart > 1.5)].mean()
    print(
        f"{name:21}: neighbours {near:5.2f}, further on in the same row or column {line:5.2f}, elsewhere {rest:5.2f}"
    )
assert near > 0.2 and near > line > rest

rows, columns = model.grid
viz.images(
    alike.reshape(rows, columns, 1, rows, columns)[::2, ::2].reshape(-1, 1, rows, columns),
    columns=4,
    size=1.1,
    signed=True,
    title="Similarity of a position code with all others",
    caption="One map for every second place in every second row. Its own place is 1, the darkest orange; "
    "its surroundings are alike. The plane was learned.",
)

# %% [markdown]
# The third: how far each head looks. The **attention distance** is the mean distance, in pixels, between a
# patch and the patches it attends to, class token aside, weights made to sum to 1 again. Deck A says that in
# a large ViT it grows with depth as a receptive field does, and early layers have near and far heads side by
# side. Ours is small; see for yourself what holds.

# %% tags=["slide:A/36-attention-distance"]
maps = model.attention_maps(everywhere_images)  # for each block (B, h, N + 1, N + 1)
distances = np.stack(
    [
        mv.vision.patches.attention_distance(m[:, :, 1:, 1:], model.patch_size, model.grid).mean(axis=0)
        for m in maps
    ]
)  # (depth, h)
uniform = np.full((rows * columns, rows * columns), 1 / (rows * columns))
everywhere = float(mv.vision.patches.attention_distance(uniform, model.patch_size, model.grid))
print(
    f"looking everywhere alike would be {everywhere:.2f} pixels; by depth:", distances.mean(axis=1).round(2)
)
assert ((distances > 0) & (distances < 16 * math.sqrt(2))).all()
assert np.ptp(distances[0]) > 0.5  # near and far heads side by side in the first block
assert distances[-1].mean() > distances[0].mean()  # and further with depth
viz.curves(
    {f"head {h + 1}": (np.arange(1, len(maps) + 1), distances[:, h]) for h in range(distances.shape[1])},
    "block",
    "mean attention distance, pixels",
    level={"looking everywhere alike": everywhere},
    title="How far the heads look",
    caption="In the first block near and far heads stand side by side. The dashed line is a head that "
    "looks everywhere alike.",
)

# %% [markdown]
# ## Where it looks
#
# Deck H, *Result*, and Deck A, *ViT*: the class token attends to what carries the meaning of the image. Here
# that can be measured: the digit covers a part of the canvas, and the rest is empty. How much of the
# attention falls on patches with ink?

# %% tags=["slide:H/10-attention-finds-the-object", "slide:A/35-output-token-attention"]
inked = mv.vision.patches.patchify(everywhere_images, model.patch_size).mean(axis=2) > 0.1  # (B, N)
to_patches = np.stack(
    [m[:, :, 0, 1:].mean(axis=1) for m in maps]
)  # (depth, B, N): from the class token, mean over heads
to_patches = to_patches / to_patches.sum(axis=-1, keepdims=True)
on_ink = (to_patches * inked).sum(axis=-1).mean(axis=1)
print(
    f"{inked.mean():.0%} of the patches have ink; of the class token's attention, block by block:",
    [f"{v:.0%}" for v in on_ink],
)
assert on_ink.max() > 2 * inked.mean()
best = int(on_ink.argmax())

eight = [int(np.flatnonzero(held_labels == c)[0]) for c in range(8)]
fig, axes = viz.figure(
    2,
    8,
    width=9.6,
    height=2.9,
    title=f"Eight digits, and where the class token looks in block {best + 1}",
    caption="Bright squares: patches that the class token reads most. It has found the digit, wherever it "
    "stands.",
)
for column, i in enumerate(eight):
    axes[0, column].imshow(everywhere_images[i, 0], cmap="gray")
    axes[1, column].imshow(to_patches[best, i].reshape(rows, columns), cmap="inferno", vmin=0)
    for ax in axes[:, column]:
        ax.set_axis_off()
fig

# %% [markdown]
# What a layer attends to changes with depth (Deck Z, *ViT attention*, shows the first and the last layers
# side by side). One digit, all blocks, all heads:

# %% tags=["slide:Z/39-vit-attention-by-layer"]
digit = eight[5]
by_layer = np.concatenate(
    [m[digit, :, 0, 1:].reshape(-1, rows, columns) for m in maps]
)  # (depth h, rows, columns)
heads = maps[0].shape[1]
change = [
    np.abs(a[digit, :, 0].mean(axis=0) - b[digit, :, 0].mean(axis=0)).sum()
    for a, b in zip(maps, maps[1:], strict=False)
]
print(
    "change of the class token's attention from one block to the next (0 none, 2 all):", np.round(change, 2)
)
assert max(change) > 0.2
viz.attention_maps(
    by_layer,
    titles=[f"block {i + 1}, head {j + 1}" for i in range(len(maps)) for j in range(heads)],
    columns=heads,
    size=1.3,
    title=f"Where the class token looks, block by block (a {held_labels[digit]})",
    caption="Each row is one block. Heads differ, and what they read changes with depth.",
)

# %% [markdown] tags=["slide:H/12-vit-strengths-and-weaknesses"]
# ## What it is good for, and not
#
# ViT brings the transformer of language to vision with almost nothing of convolution, and it scales. It needs
# more data than a CNN and much computation, since every patch attends to every other. MViT, Swin (ICCV 2021;
# the slide says CVPR) and DETR build on it or stand beside it: chapter 10 keeps attention in windows, chapter
# 15 asks the tokens for objects. Its spectrum, its loss surface and its hybrid with a ResNet are taken up
# once there is a ResNet to compare it with.

# %% [markdown]
# ## Exercises

# %% [markdown]
# ### Exercise 1: cut
# Write `my_patchify(images, patch)`: `images` $(B, C, H, W)$ to tokens $(B, N, P P C)$; patches row by row,
# inside a patch row by row, channels last. Hint: reshape, transpose, reshape.


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
# The first reshape only renames; the transpose moves.
# </details>

# %% [markdown]
# ### Exercise 2: put together
# The inverse: `my_unpatchify(tokens, patch, height, width)`, tokens $(B, N, P P C)$ to images $(B, C, H, W)$.


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
# The channels cannot be told from the height and width; they are what is left of the token's length.
# </details>

# %% [markdown]
# ### Exercise 3: how far does a head look?
# Write `my_distance(attention, patch_size, grid)`: `attention` is $(N, N)$ (or with leading axes), rows sum
# to 1, `grid` is (rows, columns) with $N$ = rows · columns, the result is the mean over the patches, in
# pixels. Hint: first a table of the distances between all pairs of patches.


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
# The distance counts in pixels, so the patch size is a factor.
# </details>

# %% [markdown]
# ### Exercise 4: the price of a smaller patch
# Write `my_price(size, patch, d, depth)`: the multiply-adds of ViT's *attention products* (scores, and
# weights times values) for one square image of `size` pixels, class token included. How much does halving the
# patch cost?


# %% tags=["exercise:price"]
def my_price(size, patch, d, depth): ...  # your lines here


# %% tags=["check:price"]
from minivis.laws.claims import claims

passed = claims(
    "the price",
    ("counts the class token: one patch makes two tokens", lambda: my_price(16, 16, 1, 1) == 2 * 2**2),
    (
        "of ViT-B/16 at 224 is 12 layers of 2 · 197² · 768",
        lambda: my_price(224, 16, 768, 12) == 12 * 2 * 197**2 * 768,
    ),
    (
        "rises almost sixteenfold when the patch is halved",
        lambda: 15.5 < my_price(224, 8, 768, 12) / my_price(224, 16, 768, 12) < 16,
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
# Four times the tokens, sixteen times the pairs; the one class token makes it a little less.
# </details>

# %% [markdown]
# ## What to take away
#
# - Patches, a linear map, positions, a class token, pre-norm blocks, one linear head: that is all of ViT.
# - Patch embedding is a convolution with kernel and stride $P$; the rest knows nothing of the plane and has
#   to learn it.
# - With little data the built-in locality of a CNN wins; with very much, ViT does.
# - A trained ViT shows what it learned: position codes that form a plane, near and far heads, attention on
#   what matters.
#
# Back to [05](05_attention.ipynb) and [07](07_transformer.ipynb) for the parts.
