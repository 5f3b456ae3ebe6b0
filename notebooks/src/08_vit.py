# %% [markdown]
# # 08. ViT: an image as a sentence of patches
#
# The Transformer of chapter 07, almost unchanged, reads images. We build it, count its parameters, train it on
# handwritten digits beside a convolutional network, and then look inside.
#
# **Goals**
#
# - You can turn an image into a sequence of tokens in three ways, and show that all three give the same result.
# - You can write ViT's forward pass in thirty lines and say what every line is for.
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
# **Time**: about 80 minutes to read, 60 more for the exercises; the cells take about a minute and a half.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import recipes, viz
from minivis.laws import below, between, claims
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

table = p["pos_embed"][0, 1:]
unit = table / np.linalg.norm(table, axis=1, keepdims=True)
off_diagonal = (unit @ unit.T)[~np.eye(16, dtype=bool)]
print("cosine similarity of two places' codes before training:", end=" ")
print(f"{off_diagonal.mean():.3f} on average, {np.abs(off_diagonal).max():.2f} at most: noise")
assert abs(off_diagonal.mean()) < 0.05
probabilities = softmax(linear(z[:, 0], p["head.weight"], p["head.bias"]))  # (B, K)
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
# Here $x_1, \ldots, x_N$ are the flattened patches, $E$ is $W_e$ transposed, $l = 1, \ldots, L$ counts the blocks,
# MSA is multi-head self-attention and LN a layer norm. There is a norm *before* each branch and a residual around it.
# The cell computes these lines with NumPy alone, with the weights of the library's model:


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
    print(
        f"ViT-{name}: width {d:4}, {depth} blocks: {count(d, depth):11,} parameters; the decks print {printed}"
    )
    assert count(d, depth) == exact
l32 = count(1024, 24, patch=32)
headless = count(768, 12, classes=0)
print(f"ViT-L/32: {l32:,} parameters; ViT-B/16 without head: {headless:,}")
assert round(l32 / 1e6) == 307 and round(headless / 1e6) == 86
tiny = mv.models.vit.vit_ti16()
assert sum(q.size for q in tiny.parameters()) == count(192, 12)  # and the library's model, counted one by one

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
# ## Little data: ViT against a CNN
#
# A CNN has locality and translation equivariance built in. ViT has to learn them, and that takes data (Deck H). We
# test exactly this on little data. Each digit is put at a random place of a $16 \times 16$ canvas. Both networks are
# trained on 50, 100 and 200 of them, with the same number of steps, and tested on the 360 held-out digits at other
# random places.
#
# > *A correction.* The arrows of the slide can be read as if the bias of the CNN made it generalise badly. On little
# > data it is the transformer, which lacks the bias, that generalises badly.


# %%
scatter = mv.data.transforms.RandomCrop(16, padding=8)  # 8 empty pixels around, then 16 x 16 cut at random
scattered = scatter(images, np.random.default_rng(1))
held_scattered = scatter(held_images, np.random.default_rng(2))
assert scattered.shape == (1437, 1, 16, 16) and np.allclose(scattered.sum(), images.sum())  # no ink is lost


def train(model, count, lr, steps=200, stop=None):
    """Train on the first `count` digits; return the shares of those and of the held-out digits that are right.

    `stop` ends the training early, in the middle of its schedule."""
    draw = np.random.default_rng(1)
    schedule = mv.optim.cosine(steps)  # the learning rate falls to 0 along half a cosine
    optimizer = mv.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, schedule=schedule)
    for _ in range(stop or steps):
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
counts = [50, 100, 200]
accuracy = {"ViT": [], "CNN": []}
trained = {}
canvas_config = {**config, "image_size": 16, "patch_size": 4}
newborns = [  # name, how one is made, its learning rate
    ("ViT", lambda: mv.models.vit.ViT(**canvas_config, rng=0), 2e-3),
    ("CNN", lambda: mv.models.cnn.CNN(widths=(16, 32), rng=0), 1e-2),
]
for n in counts:
    for name, build, lr in newborns:
        trained[name, n] = build()
        known, found = train(trained[name, n], n, lr)
        accuracy[name].append(found)
        print(f"{n:4} digits: {name} {found:.1%} of new ones, {known:.0%} of its own")
        assert known > 0.95  # each knows its training digits by heart
    assert accuracy["CNN"][-1] > accuracy["ViT"][-1] + 0.1

viz.curves(
    {name: (counts, values) for name, values in accuracy.items()},
    "training digits",
    "accuracy on 360 held-out digits",
    level={"guessing": 0.1},
    title="ViT and CNN on few digits at random places",
    caption="Both networks know their training digits by heart; the curves show new digits. The CNN, which treats "
    "a digit alike at every place, recognises far more of them. ViT has to see digits in many places first.",
)

# %% [markdown] tags=["slide:H/9-vit-datasets", "slide:C/122-vit-against-resnet"]
# With very much data the result is the opposite. ViT was pre-trained on ImageNet (1.3 million images), ImageNet-21k
# (14 million) or JFT (303 million), then transferred to ImageNet, CIFAR, Pets and Flowers. With JFT, large ViTs are
# better than large ResNets: the bias that helps with little data is a limit with much. (A smaller patch means more
# tokens and so more computation. The number of parameters hardly changes, although the slide calls it "bigger".)

# %% [markdown]
# ## Train one yourself
#
# Now we train with all 1,437 digits, each in the middle of its picture. We add what helps a ViT on little data: small
# shifts and rotations of each image (augmentation), a warm-up, and a learning rate that falls to 0. `mv.train.fit` is
# the training loop that you have now seen three times, with a progress bar and a history.

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
    caption="The share of held-out digits that are right, while a small ViT is trained in NumPy alone. A wider "
    "model and more steps reach 99 %.",
)

# %% [markdown]
# The checkpoint in the package is a somewhat wider model after 1,600 such steps (`minivis train vit-digits`, 40
# seconds, or the cell after the next). We look at the digits that it finds hard.

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
# ## Inside: filters, positions, distances
#
# Deck H, *Result*, shows three pictures from inside a ViT that was trained on photos. Can ours show the same? The
# model above cannot. All its digits stand in the middle, so each patch always shows the same part of a digit, and
# nothing in the data says which patches are neighbours. Objects in photos may stand anywhere. So we take a ViT that
# was trained on scattered digits: $16 \times 16$ pixels in 64 patches, at new random places in every step
# (`minivis train vit-scattered-digits`, some ten minutes).
#
# The first picture shows the filters of the patch embedding: the patterns that it detects in a patch.

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
    caption="Each tile is one filter of the patch embedding. Some respond to brightness, others to edges in one "
    "direction.",
)

# %% [markdown]
# The second picture shows the cosine similarity of each position code with all others. Before training the codes were
# noise (the number is printed under *Positions and the class token*). Now the codes of near patches are similar, and
# more so within one row or column. Nothing in the training said that the tokens lie in a plane; the model learned it.
# The ViT for centred digits did not need to.


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
    near = alike[(apart > 0) & (apart < 1.5)].mean()
    line = alike[in_line & (apart > 1.5)].mean()
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
    caption="Each map belongs to one place (every second place in every second row) and shows how similar its code "
    "is to the code of every other place. The place itself has similarity 1, the darkest orange. The codes around "
    "it are similar to its own, so the model has learned the plane.",
)

# %% [markdown]
# The third picture shows how far each head looks. The **attention distance** is the mean distance, in pixels, between
# a patch and the patches it attends to. The class token is left out, and the remaining weights are scaled to sum to 1
# again. Deck A says that in a large ViT this distance grows with depth, as a receptive field does, and that early
# layers have near and far heads side by side. Ours is small; see which of this holds here.

# %% tags=["slide:A/36-attention-distance"]
maps = model.attention_maps(everywhere_images)  # for each block (B, h, N + 1, N + 1)
distances = np.stack(
    [mv.vision.attention_distance(m[:, :, 1:, 1:], model.patch_size, model.grid).mean(axis=0) for m in maps]
)  # (depth, h)
uniform = np.full((rows * columns, rows * columns), 1 / (rows * columns))
everywhere = float(mv.vision.attention_distance(uniform, model.patch_size, model.grid))
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
    caption="Each line is one head. In the first block there are near heads and far heads. The dashed line is the "
    "distance of a head that attends to all places alike.",
)

# %% [markdown]
# ## Where it looks
#
# Slides `H/10-attention-finds-the-object`, `A/35-output-token-attention`. The class token attends to the part of the
# image that matters. Here we can measure this: the digit covers a part of the canvas, and the rest is empty. Which
# share of the attention falls on patches with ink?

# %% tags=["slide:H/10-attention-finds-the-object", "slide:A/35-output-token-attention"]
inked = mv.vision.patches.patchify(everywhere_images, model.patch_size).mean(axis=2) > 0.1  # (B, N)
to_patches = np.stack([m[:, :, 0, 1:].mean(axis=1) for m in maps])  # (depth, B, N): of the class token
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
    caption="Bright squares are the patches that the class token attends to most. They lie on the digit, wherever "
    "it stands on the canvas.",
)
for column, i in enumerate(eight):
    axes[0, column].imshow(everywhere_images[i, 0], cmap="gray")
    axes[1, column].imshow(to_patches[best, i].reshape(rows, columns), cmap="inferno", vmin=0)
    for ax in axes[:, column]:
        ax.set_axis_off()
fig

# %% [markdown]
# What a layer attends to changes with depth (Deck Z, *ViT attention*, shows the first and the last layers side by
# side). Here is one digit with all blocks and all heads:

# %% tags=["slide:Z/39-vit-attention-by-layer"]
digit = eight[5]
# (depth h, rows, columns)
by_layer = np.concatenate([m[digit, :, 0, 1:].reshape(-1, rows, columns) for m in maps])
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
# Slide `A/37-attention-distance-against-receptive-field`. With depth, ViT goes from near and far to far only, while
# the receptive field of a ResNet stays local and grows slowly (Raghu et al. 2021). To compare the two, we build a
# ResNet of four blocks. For it, each pixel is drawn as $2 \times 2$. Then its stem, a convolution of $4 \times 4$
# with stride 4, cuts the same patches as our ViT, and its maps have the same $8 \times 8$ places.


# %%
def twice(images):
    """Each pixel drawn as 2 x 2 pixels: (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    return images.repeat(2, axis=2).repeat(2, axis=3)


def new_resnet():
    return mv.models.resnet.ResNet(
        (4,), "basic", widths=(32,), stem_width=32, num_classes=10, channels=1, patch_stem=True, rng=0
    )


resnet = new_resnet()
steps = 150
draw = np.random.default_rng(0)
optimizer = mv.optim.AdamW(resnet.parameters(), lr=5e-3, schedule=mv.optim.cosine(steps, warmup_steps=20))
for _ in range(steps):
    rows = draw.integers(0, len(images), 64)  # fresh places all the time, as for the ViT
    loss = mv.ops.cross_entropy(resnet(twice(scatter(images[rows], draw))), labels[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
resnet.eval()
with mv.no_grad():
    right = resnet(twice(everywhere_images)).data.argmax(axis=1) == held_labels
print(f"after {steps} steps {right.mean():.1%} of the held-out digits, at places of their own, are right")
assert right.mean() > 0.8

# %% [markdown]
# Attention distance is not defined for a convolution, but the **effective receptive field** is defined for both. It
# says how much one place of a map changes when a pixel changes, which is a gradient (`mv.analysis.receptive_field`).
# The *theoretical* field is where this gradient is not zero. Each block of the ResNet has two $3 \times 3$
# convolutions, so after block $n$ a place depends on $1 + 4n$ patches of 2 pixels across. In ViT a place depends on
# all patches after one attention.
#
# The fields of both networks, stage by stage, as maps:


# %%
def resnet_maps(model, images):
    """After the stem, then after each block: (B, C, rows, columns)."""
    x = mv.ops.relu(model.stem(images))
    yield x
    for block in model.stages[0]:
        x = block(x)
        yield x


def vit_maps(model, images):
    """The patches' tokens as maps, after the embedding, then after each attention and each MLP: (B, D, rows, columns)."""

    def as_map(z):
        return z[:, 1:].transpose(0, 2, 1).reshape(z.shape[0], z.shape[2], *model.grid)

    x = model.patch_embed(images)  # (B, N, D)
    first = mv.ops.broadcast_to(model.cls_token, (x.shape[0], 1, x.shape[2]))
    z = mv.ops.concatenate([first, x], axis=1) + model.pos_embed
    yield as_map(z)
    for block in model.blocks:
        z = z + block.attn(block.norm1(z))
        yield as_map(z)
        z = z + block.mlp(block.norm2(z))
        yield as_map(z)


# %% tags=["slide:A/37-attention-distance-against-receptive-field"]
few = everywhere_images[:32]
fields = {
    "ViT": [
        mv.analysis.receptive_field(lambda x, i=i: list(vit_maps(model, x))[i], few) for i in (0, 2, 4, 6, 8)
    ],
    "ResNet": [
        mv.analysis.receptive_field(lambda x, i=i: list(resnet_maps(resnet, x))[i], twice(few))
        for i in range(5)
    ],
}
# in the pixels of the ViT, four of the ResNet's together
fields["ResNet"] = [f.reshape(16, 2, 16, 2).sum(axis=(1, 3)) for f in fields["ResNet"]]
y, x = np.indices((16, 16))
apart = np.hypot(y - 8.5, x - 8.5)  # from the middle of the patch in row 4, column 4
reach = {name: [float((f * apart).sum()) for f in found] for name, found in fields.items()}
for name in fields:
    print(f"{name:6}: mean distance of what a place sees, pixels, by depth:", np.round(reach[name], 2))
across = [int((f > 0).any(axis=0).sum()) for f in fields["ResNet"]]
print("the theoretical field of the ResNet, pixels across:", across)
assert across == [2, 10, 16, 16, 16]  # 1 + 4 n patches of 2 pixels, less what is outside the canvas
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
# Deck A compares the *attention distance* with the receptive field. So we add the attention of the same place in the
# middle:

# %%
rows, columns = model.grid
middle = 4 * columns + 4  # the patch in row 4, column 4
row, column = np.divmod(np.arange(rows * columns), columns)
away = model.patch_size[0] * np.hypot(row - 4, column - 4)  # (N,), pixels
looks = [m[:, :, 1 + middle, 1:] for m in maps]  # (B, h, N): from that patch to all, class token aside
looked = [float(((a / a.sum(axis=-1, keepdims=True)) * away).sum(axis=-1).mean()) for a in looks]
print("ViT's attention distance from the middle, blocks 1 to 4, pixels:", np.round(looked, 2))
assert all(v > r for v, r in zip(reach["ViT"][1:], reach["ResNet"][1:], strict=True))
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
# This agrees with the slide, but the difference is smaller. On a canvas of eight by eight patches, the theoretical
# field of the ResNet covers everything from the second block on, and its effective field is not far behind that of
# ViT. The first block makes the difference: there ViT looks across the whole image and the ResNet cannot.

# %% [markdown]
# ## What attention damps
#
# Slide `A/40-attention-dampens-high-frequencies`, after Park and Kim 2022. Attention is a weighted mean, and a mean
# is smooth; a convolution can also compute differences. So attention should **damp high frequencies** of its maps,
# and convolution should amplify them. We take the Fourier transform of the maps. $\Delta(f)$ is the log amplitude at
# frequency $f$ minus that at frequency 0 (`mv.analysis.fourier_amplitude`). At $f = \pi$ the signal alternates from
# one place to the next.
#
# How much does each step change $\Delta(\pi)$? A change above 0 sharpens the maps, a change below 0 smooths them.

# %% tags=["slide:A/40-attention-dampens-high-frequencies"]
with mv.no_grad():
    spectra = {
        "ViT": [mv.analysis.fourier_amplitude(m) for m in vit_maps(model, everywhere_images)],
        "ResNet": [mv.analysis.fourier_amplitude(m) for m in resnet_maps(resnet, twice(everywhere_images))],
    }
highest = {
    name: np.array([float(amplitude[-1]) for _, amplitude in found]) for name, found in spectra.items()
}
change = {name: np.diff(values) for name, values in highest.items()}
print("change of the relative log amplitude at the highest frequency:")
print("  ViT, attention of blocks 1 to 4:", change["ViT"][0::2].round(2))
print("  ViT, MLP of blocks 1 to 4:      ", change["ViT"][1::2].round(2))
print("  ResNet, blocks 1 to 4:          ", change["ResNet"].round(2))
for name, at in (("attention", 0), ("MLP", 1)):
    mean = change["ViT"][at::2].mean()
    print(f"  mean over the {name} steps: {mean:+.2f}")
assert (change["ViT"][0::2] < 0).all()  # every attention smooths
assert (change["ViT"][3::2] > 0).all()  # every MLP but the first sharpens
assert (change["ResNet"] < 0).all()  # and our ResNet smooths: not what the slide says

steps_of_vit = ["patches", *(f"{part} {b}" for b in range(1, 5) for part in ("attention", "MLP"))]
steps_of_resnet = ["stem", *(f"block {b}" for b in range(1, 5))]
fig, axes = viz.figure(
    1,
    2,
    width=9.0,
    height=3.6,
    title="Relative log amplitude of the highest frequency, step by step",
    caption="Grey bands are attention layers. In each of them the line falls: the maps become smoother. The MLPs "
    "of the later blocks sharpen them again a little. The line of this small ResNet falls too, unlike that of "
    "larger ones.",
    sharey=True,
    width_ratios=(3, 2),
)
for ax, name, names in ((axes[0, 0], "ViT", steps_of_vit), (axes[0, 1], "ResNet", steps_of_resnet)):
    ax.plot(range(len(names)), highest[name], marker="o", color=viz.COLOURS[0])
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
    viz.label(ax, "", "Δ(π), natural logarithm" if name == "ViT" else "", name)
for i in range(0, 8, 2):
    axes[0, 0].axvspan(i, i + 1, color="#dddddd", linewidth=0)
fig

# %% [markdown]
# Half of the claim holds here. Every attention smooths, and each MLP after the first block sharpens again, as Park
# and Kim found in large ViTs. But the blocks of our ResNet **do not** amplify: they smooth too, and more than the ViT
# does. Our ResNet has four blocks, no stage that halves the map, and digits in thick strokes; at its end it needs
# only one mean over the whole map. The claim is about convolutions that were trained on photos, not about what a
# convolution must do.

# %% [markdown]
# ## The shape of the loss
#
# Slides `A/38-attention-flattens-the-loss` and `A/39-negative-curvature-on-little-data` make two statements, after
# Park and Kim. On much data, attention makes the surface of the loss flatter than that of a ResNet. On little data,
# the loss has directions that curve *down*: it is not convex around the path of training. Curvature is the Hessian
# matrix $H_{ij} = \partial^2 L / \partial w_i \partial w_j$; its eigenvalues say how much the loss curves along its
# own axes. Ours has 115,354 rows and as many columns, too many to store. But a product with it is a difference of two
# gradients,
#
# $$H v \approx \frac{\nabla L(w + \epsilon v) - \nabla L(w - \epsilon v)}{2 \epsilon},$$
#
# and from a few dozen such products **Lanczos' method** finds the largest and the smallest eigenvalues
# (`mv.analysis.hessian_eigenvalues`, with SciPy's Lanczos). We compute in float64, since the difference of two
# float32 gradients would be lost in rounding errors.

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
# We take ViT and CNN from the section on little data and stop them after 40 of their 200 steps, once trained on 50
# digits and once on all 1,437. The loss is that of the same 50 digits each time. (We stop in the middle because at
# the end both know these digits by heart, and a loss near 0 has almost no curvature.) How much does the loss
# curve up, and how much down?


# %%
def loss_of_fifty(model):
    return mv.ops.cross_entropy(model(scattered[:50]), labels[:50])


# %% tags=["slide:A/39-negative-curvature-on-little-data"]
def curvature(model):
    """The two largest and the two most negative curvatures of the loss of fifty digits."""
    return mv.analysis.hessian_eigenvalues(
        model.to("float64"), loss_of_fifty, count=4, which="BE", tolerance=0.05
    )


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
# On 50 digits the loss of the ViT curves down more than on all digits, as the slide says. But this shows less than it
# seems to. The largest curvature falls too, and far more: after 40 steps on many digits the ViT has hardly begun to
# learn (its loss is close to that of guessing, $\log 10 = 2.30$), and its surface is flat all around. Relative to the
# largest curvature, the downward part is *smaller* on little data than on much. And here the CNN curves down far more
# than the ViT, while the ResNet of Park and Kim, on photos and with more training, had almost no negative
# eigenvalues. You can measure any model in this way, but their finding does not hold for ours.

# %% [markdown]
# Now the surface itself: the loss on a plane through the trained weights, along two random directions. Each filter of
# a direction is scaled to the length of the model's filter, since two networks could not be compared otherwise (Li et
# al. 2018): `mv.analysis.loss_surface`. We show four networks at the end of their training, with the loss of the
# fifty digits that all four know by heart:

# %% tags=["slide:A/38-attention-flattens-the-loss"]
surfaces = {}
for n in (50, 200):
    for name in ("ViT", "CNN"):
        surfaces[f"{name}, {n} digits"] = mv.analysis.loss_surface(
            trained[name, n],
            loss_of_fifty,
            reach=0.6,
            points=9,
        )
rise = {}
for name, (_, values) in surfaces.items():
    ring = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    rise[name] = float(ring.mean() - values[4, 4])
    print(f"{name:15}: loss {values[4, 4]:.3f} in the middle, {rise[name]:.2f} more on the rim")
assert all(3 * rise[f"ViT, {n} digits"] < rise[f"CNN, {n} digits"] for n in (50, 200))
viz.loss_surfaces(
    surfaces,
    log=True,
    title="The loss of fifty training digits, around four trained networks",
    caption="One logarithmic colour scale for all. The crosses mark the trained networks. Around the ViTs the loss "
    "rises slowly, around the CNNs it rises many times as much.",
)

# %% [markdown]
# The surface of the ViT is much flatter, as the slide says, but here already on little data. Flatness did not help
# it: of new digits the ViT recognises far fewer than the CNN (the curves under *Little data*). And the steep walls of
# the CNN have a cause that is not the lack of attention. Batch norm keeps its statistics when the filters are moved,
# so the output of a moved filter is scaled wrongly; layer norm computes its statistics anew for each token.

# %% [markdown]
# ## Both: the hybrid
#
# Slide `A/41-hybrid-vit`. The patches need not be cut from the image. A small convolutional network can read the
# image first, and the patches are cut from its **map**; $W_e$ and everything after it stay the same. With patches of
# $1 \times 1$ the map is only flattened, and each of its places is a token. Our `ViT` takes a backbone, here a ResNet
# of one block that turns $16 \times 16$ pixels into $4 \times 4$ places of 32 channels: sixteen tokens, as many as
# before. As above, we train on two hundred scattered digits for two hundred steps:

# %% tags=["slide:A/41-hybrid-vit", "slide:C/123-resnet-vit-hybrid"]
backbone = mv.models.resnet.ResNet(
    (1,), "basic", widths=(32,), stem_width=32, num_classes=0, channels=1, rng=0
)
hybrid = mv.models.vit.ViT(**{**canvas_config, "patch_size": 1}, backbone=backbone, rng=0)

(maps_of_backbone,) = backbone.features(scattered[:5])
assert maps_of_backbone.shape == (5, 32, 4, 4) and hybrid.grid == (4, 4)
flat = maps_of_backbone.data.reshape(5, 32, 16).swapaxes(1, 2)  # (B, C, h, w) -> (B, h w, C)
w_embed = hybrid.patch_embed.proj.weight.data.reshape(48, 32)  # (d_m, 1 1 C)
np.testing.assert_allclose(
    linear(flat, w_embed, hybrid.patch_embed.proj.bias.data),
    hybrid.patch_embed(maps_of_backbone).data,
    atol=1e-5,
)

_, found_hybrid = train(hybrid, 200, lr=2e-3)
compared = {"ViT": accuracy["ViT"][-1], "hybrid": found_hybrid, "CNN": accuracy["CNN"][-1]}
print("trained on 200 digits:", {name: f"{value:.1%}" for name, value in compared.items()})
assert compared["ViT"] + 0.1 < compared["hybrid"]
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
# The published hybrid is in the library: `mv.models.vit_hybrid_b16()`, and `mv.from_pretrained` loads its weights. Its
# backbone is called BiT. It differs from a ResNet-50 in three ways: the norms are group norms; each filter is
# standardised before it is used (mean 0, variance 1), so that no batch statistics are needed; and the fourth stage is
# moved into the third, so that a place of the map is 16 pixels wide, like a patch of ViT-B/16:

# %%
with mv.nn.init.skip_init():  # only the shapes: no weights are drawn
    published_hybrid = mv.models.vit_hybrid_b16()
bit = published_hybrid.backbone
print("blocks in each stage:", [len(stage) for stage in bit.stages], "- pixels between places:", bit.stride)
print("places of a 384 x 384 photograph:", published_hybrid.grid)
assert bit.stride == 16 and published_hybrid.grid == (24, 24)
assert sum(p.size for p in published_hybrid.parameters()) == 98_950_952

filters = np.random.default_rng(0).normal(3.0, 5.0, (2, 1, 3, 3))  # any mean, any scale
standardised = (filters - filters.mean(axis=(1, 2, 3), keepdims=True)) / filters.std(
    axis=(1, 2, 3), keepdims=True
)
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
library = mv.analysis.fourier_amplitude(noise)[1]
passed = claims(
    "the spectrum",
    (
        "has H // 2 + 1 numbers",
        lambda: my_spectrum(noise).shape,
        (5,),
        "The maps are averaged over B and C; of the 8 x 8 frequencies take [k, k] for k = 0 to 4.",
    ),
    ("starts at 0", lambda: my_spectrum(noise)[0], 0.0, "Subtract the logarithm at frequency 0 from all."),
    (
        "of 3 plus a wave of size 1 ends at log(1/3)",
        lambda: my_spectrum(3 + wave + 1e-9 * noise)[-1],
        -math.log(3),
        "The amplitude is the absolute value of the transform, not its square, and the logarithm is natural.",
    ),
    (
        "takes the mean of the amplitudes, then the logarithm: here log((1 + 3) / 2 / 3)",
        lambda: my_spectrum(two)[-1],
        math.log(2 / 3),
        "Absolute value first, then the mean over images and channels, the logarithm last.",
    ),
    (
        "does not change when all is made ten times as large",
        lambda: my_spectrum(10 * noise),
        lambda: my_spectrum(noise),
        "Ten times the maps adds log 10 to all frequencies, 0 among them: the difference loses it.",
    ),
    (
        "falls by more than 2 when neighbours are averaged",
        lambda: my_spectrum(smooth)[-1] - my_spectrum(noise)[-1],
        below(-2),
        "The last number belongs to the highest frequency, k = H // 2: +1, -1, +1, ... averages to nothing.",
    ),
    (
        "is the library's",
        lambda: my_spectrum(noise),
        library,
        "Which axes does the mean run over, and which elements are the diagonal?",
    ),
).passed

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
    (
        "is H v for L = w H w / 2",
        lambda: my_product(lambda w: H @ w, at, v),
        H @ v,
        "How much does the gradient change on the way from w to w + step v, for each unit of the step?",
    ),
    (
        "with nothing is nothing",
        lambda: my_product(lambda w: H @ w, at, 0 * v),
        np.zeros(3),
        "With v = 0 both gradients are taken at the same place.",
    ),
    (
        "of the sum of w^4 / 4 is 3 w^2 v",
        lambda: my_product(lambda w: w**3, at, v),
        3 * at**2 * v,
        "Take the gradients around w itself, and divide by how far apart the two places are.",
    ),
    (
        "is central: for w^3 it errs by the square of the step only",
        lambda: np.abs(my_product(lambda w: w**3, at, v, 1e-3) - 3 * at**2 * v).max(),
        below(1e-4),
        "Go one step forwards and one back, w + step v and w - step v: they are two steps apart. Is `step` used?",
    ),
).passed

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
# ## What to take away
#
# - ViT consists of patches, a linear map, positions, a class token, pre-norm blocks and one linear head.
# - Patch embedding is a convolution with kernel and stride $P$. The rest of ViT has no knowledge of the image plane
#   and must learn it.
# - With little data the built-in locality of a CNN is better; with very much data ViT is.
# - A trained ViT shows what it learned: position codes that form a plane, near and far heads, and attention on the
#   parts that matter.
# - Attention is a weighted mean: it reads all places at once, and it smooths. With each layer, a convolution reads a
#   slightly larger area.
# - A few convolutions in front give a ViT on little data much of what it lacks.
#
# Next: [09. Masked modelling](09_masked_modelling.ipynb), which trains a ViT without labels: it hides patches and predicts them.
