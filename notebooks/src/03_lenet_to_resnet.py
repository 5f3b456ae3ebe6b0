# %% [markdown]
# # 03. From LeNet to ResNet: how networks became deep
#
# In 1998 a network with two convolutions read handwritten digits. In 2012 one with five convolutions won the largest
# competition of computer vision, and in 2015 one with 151. More layers were not simply added: from about 20 layers on,
# deeper networks became worse, until each block got a shortcut around it. Transformers use the same shortcut in every
# layer.
#
# **Goals**
#
# - You can draw LeNet-5, AlexNet, VGG and ResNet, and count their parameters on paper.
# - You can compute the receptive field of any stack of convolutions, and say why two 3 x 3 filters replace one of 5 x 5.
# - You can look into a trained network: its filters, its activations, and what each channel responds to most.
# - You can say why a deeper plain network is worse on the *training* set too, and how the residual connection helps.
# - You can write a residual network, and read it as a differential equation that is solved in steps.
#
# **Before**: convolutions from [02](02_convolution.ipynb), gradients from [01](01_autograd.ipynb).
#
# **Slides**: Deck Z is Zagoruyko, *Transformers in Computer Vision*; Deck C is CPSC 425, lecture 23. A section that
# follows a slide names it by its tag: deck, page and a short name.
#
# > *A correction.* Deck C calls SVMs with Fisher vectors the winner of the ImageNet challenge of 2012. They won in
# > 2011 and came second in 2012, behind AlexNet.
#
# **Time**: about 75 minutes to read, 45 more for the exercises; the cells take about half a minute.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import analysis, ops, recipes, viz
from minivis.laws import above, claims

rng = np.random.default_rng(0)

# %% [markdown] tags=["slide:C/7-classification", "slide:C/8-ilsvrc", "slide:Z/18-data-and-compute"]
# ## The task, and the data that made the difference
#
# Slides `C/7-classification`, `C/8-ilsvrc`, `Z/18-data-and-compute`. **Classification** gives an image one of a fixed
# set of categories. The ImageNet challenge (ILSVRC) posed this task every year from 2010 to 2017: 1.2 million training
# images, 1000 categories. An answer counts as right if the true category is among the **five** best guesses, because a
# photo of a desk may also show a lamp.
#
# The networks of this chapter were not new in principle. What was new was much varied data, and graphics processors
# that can compute with it. AlexNet was trained for six days on two of them.

# %%
scores = rng.standard_normal((1000, 1000))  # of a model that guesses: 1000 images, 1000 categories
labels = rng.integers(0, 1000, 1000)
print(f"guessing is right in {mv.metrics.accuracy(scores, labels):.1%} of cases,", end=" ")
print(f"with five guesses in {mv.metrics.accuracy(scores, labels, k=5):.1%}")
assert mv.metrics.accuracy(scores, labels, k=5) < 0.015
assert mv.metrics.accuracy(scores, labels, k=1000) == 1

# %% [markdown]
# Slides `C/10-ilsvrc-winners`, `C/25-ilsvrc-with-resnet`. The errors of the winners, as they were published: from 2012
# on all of them are deep networks. (In 2014 VGG came second to GoogLeNet in this task.)

# %% tags=["slide:C/10-ilsvrc-winners", "slide:C/25-ilsvrc-with-resnet"]
winners = {
    "2010": 28.2,
    "2011\nFisher vectors": 25.8,
    "2012\nAlexNet\n8 layers": 16.4,
    "2013\nZFNet\n8 layers": 11.7,
    "2014\nVGG\n19 layers": 7.3,
    "2014\nGoogLeNet\n22 layers": 6.7,
    "2015\nResNet\n152 layers": 3.6,
}
viz.bars(
    winners,
    "top-5 error, %",
    width=7.4,
    title="The ImageNet challenge",
    caption="Each bar is the published share of test images whose category was not among five guesses. The error falls "
    "by a third or more from year to year once the winners are deep networks, and the networks become deeper.",
)

# %% [markdown]
# ## LeNet-5
#
# Slide `Z/12-lenet`. LeCun, Bottou, Bengio and Haffner (1998) read digits on cheques. The network alternates
# convolution and subsampling twice, and ends in layers that are connected to everything. Here is the original, drawn
# from the live model. Look at the shapes: maps get smaller and more numerous.

# %% tags=["slide:Z/12-lenet"]
viz.architecture(mv.models.LeNet5(), (1, 1, 32, 32))

# %% [markdown]
# Three things are different from today's networks.
#
# **The connection table.** Layer C3 makes 16 maps from 6. But each of the 16 sees only some of the six. So different
# maps must learn different things, and there are fewer weights.

# %% tags=["slide:Z/12-lenet"]
table = mv.models.lenet.CONNECTIONS  # boolean (16, 6)
assert table.shape == (16, 6) and table.sum() == 60  # instead of 96 kernels
assert (table.sum(axis=0) == 10).all()  # each map of S2 feeds ten of C3
viz.grids(
    [table.T.astype(int)],
    marks=[table.T],
    zeros=False,
    title="Which maps of S2 each map of C3 sees",
    caption="Columns are the 16 maps of C3, rows the 6 maps of S2. The first six columns see three neighbours, the next "
    "nine see four maps, and the last sees all six.",
)

# %% [markdown]
# A convolution with a table, with loops and without. Forbidden kernels may hold anything; they have no effect:


# %%
def masked_loops(x, weight, bias, table):
    """Map by map: (B, C, H, W) -> (B, O, H - kh + 1, W - kw + 1)."""
    maps = []
    for o in range(len(weight)):
        y = bias[o]
        for c in range(x.shape[1]):
            if table[o, c]:
                y = y + ops.conv2d(x[:, c : c + 1], weight[o : o + 1, c : c + 1])[:, 0]
        maps.append(y)
    return np.stack(maps, axis=1)


def masked(x, weight, bias, table):
    """The same at once: forbidden kernels are set to 0."""
    return ops.conv2d(x, np.where(table[:, :, None, None], weight, 0), bias)


x = rng.standard_normal((2, 6, 14, 14))
weight, bias = rng.standard_normal((16, 6, 5, 5)), rng.standard_normal(16)
np.testing.assert_allclose(masked(x, weight, bias, table), masked_loops(x, weight, bias, table))
np.testing.assert_allclose(
    mv.models.lenet.masked_conv2d(x, weight, bias, table), masked_loops(x, weight, bias, table)
)
assert mv.laws.check("masked_conv2d", masked).passed

# %% [markdown]
# **Subsampling with weights.** S2 and S4 add up squares of $2 \times 2$ numbers, multiply each sum by one weight of the
# map and add one bias. **The squash** $f(x) = 1.7159 \tanh(2x/3)$ follows each layer; it is 1 at 1 and $-1$ at $-1$.
# **The output** compares the 84 numbers of the last hidden layer with a fixed picture of each digit, 7 pixels wide and
# 12 high. The network therefore learns to *draw* the digit that it reads. The paper counts 60,000 trainable parameters
# and 340,908 connections. We count them layer by layer:

# %% tags=["slide:Z/12-lenet"]
lenet = mv.models.LeNet5()
parameters = {
    "C1": 6 * (25 + 1),
    "S2": 6 * 2,
    "C3": 60 * 25 + 16,
    "S4": 16 * 2,
    "C5": 120 * (16 * 25 + 1),
    "F6": 84 * (120 + 1),
}
connections = lenet.connections()
for name, count in parameters.items():
    print(f"{name}: {count:6,} parameters, {connections[name]:7,} connections")
assert sum(parameters.values()) == sum(p.size for p in lenet.parameters()) == 60_000
assert sum(connections.values()) == 340_908
np.testing.assert_allclose(mv.models.lenet.squash(np.array([-1.0, 1])), [-1, 1], atol=1e-5)
constant = mv.models.lenet.subsample(np.full((1, 1, 2, 2), 3.0), np.array([0.5]), np.array([1.0]))
assert constant.item() == 0.5 * (4 * 3) + 1  # the sum times the weight, not the mean
modern = mv.models.ModernLeNet5()  # as it is taught now: C3 sees all maps, the pooling has no weights
assert sum(p.size for p in modern.parameters()) == 61_706

# %% [markdown]
# The convolutions have few parameters but most of the connections: 156 numbers of C1 are used 122,304 times.
#
# LENET_TRAINED
#
# ## AlexNet
#
# Slide `Z/13-alexnet`. AlexNet (Krizhevsky, Sutskever and Hinton, 2012) has the same plan with five convolutions, three
# linear layers and a thousand times as many parameters. ReLU replaces the squash, dropout keeps the linear layers from
# learning by heart, and max pooling with windows that overlap replaces the sum. One graphics processor had too little
# memory, so the channels are split into two **towers** that see each other only in the third convolution and in the
# linear layers. In our drawing a tower is a group of the convolution.

# %% tags=["slide:Z/13-alexnet"]
with mv.nn.init.skip_init():  # sizes only: no weights are drawn
    alexnet = mv.models.alexnet()
viz.architecture(alexnet, (1, 3, 227, 227))

# %% [markdown]
# Where are the parameters, and where are the neurons? We count both. A neuron is one number of a layer's output. The
# paper says 60 million parameters and 650,000 neurons. (It also says that images have 224 pixels. With filters of 11
# and a stride of 4 this does not give the 55 x 55 positions of its figure; 227 pixels do.)

# %% tags=["slide:Z/13-alexnet"]
found = {
    "conv 1": (96 * (3 * 11**2 + 1), 96 * 55**2),
    "conv 2": (256 * (48 * 5**2 + 1), 256 * 27**2),  # a filter sees the 48 channels of its tower
    "conv 3": (384 * (256 * 3**2 + 1), 384 * 13**2),  # this one sees both towers
    "conv 4": (384 * (192 * 3**2 + 1), 384 * 13**2),
    "conv 5": (256 * (192 * 3**2 + 1), 256 * 13**2),
    "linear 1": (4096 * (256 * 6**2 + 1), 4096),
    "linear 2": (4096 * (4096 + 1), 4096),
    "linear 3": (1000 * (4096 + 1), 1000),
}
assert sum(count for count, _ in found.values()) == sum(p.size for p in alexnet.parameters()) == 60_965_224
assert sum(neurons for _, neurons in found.values()) == 659_272
shares = {
    "parameters": {name: 100 * count / 60_965_224 for name, (count, _) in found.items()},
    "neurons": {name: 100 * neurons / 659_272 for name, (_, neurons) in found.items()},
}
viz.bars(
    shares,
    "share of the network, %",
    width=7.6,
    title="AlexNet: where its parameters and its neurons are",
    caption="Almost all parameters are in the linear layers, almost all neurons in the convolutions: a filter of few "
    "weights is used at thousands of places.",
)

# %% [markdown]
# ### Local response normalisation
#
# After the first two convolutions AlexNet divides each number by the activity of the neighbouring channels at the same
# place. $n = 5$ channels count, two on each side, with $k = 2$, $\alpha = 10^{-4}$, $\beta = 0.75$:
#
# $$b_i = a_i \Big/ \Big(k + \alpha \sum_{j = i - n/2}^{i + n/2} a_j^2\Big)^{\beta}$$
#
# VGG found it useless, and batch norm took its place. With loops, without, and as the library has it:


# %%
def lrn_loops(x, n=5, alpha=1e-4, beta=0.75, k=2.0):
    """Channel by channel: (B, C, H, W) -> the same shape."""
    y = np.zeros_like(x)
    for i in range(x.shape[1]):
        total = 0
        for j in range(max(0, i - n // 2), min(x.shape[1], i + n // 2 + 1)):
            total = total + x[:, j] ** 2
        y[:, i] = x[:, i] / (k + alpha * total) ** beta
    return y


def lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
    """The same with windows over the channels."""
    half = size // 2
    squares = np.pad(x * x, ((0, 0), (half, half), (0, 0), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(squares, size, axis=1)
    return x / (k + alpha * windows.sum(axis=-1)) ** beta


# %% tags=["slide:Z/13-alexnet"]
x = 30 * rng.standard_normal((2, 9, 4, 4))
np.testing.assert_allclose(lrn(x), lrn_loops(x))
np.testing.assert_allclose(ops.local_response_norm(x), lrn_loops(x))
assert mv.laws.check("local_response_norm", ops.local_response_norm).passed

tens = np.full((1, 9, 1, 1), 10.0)  # the worked number: ten in every channel
middle = ops.local_response_norm(tens)[0, 4, 0, 0]
assert round(middle, 4) == 5.8369 == round(10 / 2.05**0.75, 4)
as_in_torch = ops.local_response_norm(tens, alpha=1e-4 / 5)[0, 4, 0, 0]
assert round(as_in_torch, 4) == 5.9238
print(f"the middle one of nine channels of tens: {middle:.4f}")
print(f"PyTorch and Caffe divide alpha by n: {as_in_torch:.4f} for the same numbers")

# %% [markdown]
# ## Looking into trained networks
#
# Two groups of slides ask what a trained network has learned. We have trained networks, so we can look.
#
# **The first layer.** Slide `Z/21-parameters-made-visible`. A filter of the first layer has as many channels as the
# image, so it can be drawn as a small picture. Here are the first layers of all trained networks of this package:

# %% tags=["slide:Z/21-parameters-made-visible"]
first_layers = {
    #LN "lenet-digits": "c1.weight",
    "cnn-digits": "layers.0.weight",
    "detr-shapes": "backbone.stem.conv.weight",
    "detr-panoptic-shapes": "backbone.stem.conv.weight",
    "mask2former-shapes": "backbone.stem.conv.weight",
    "swin-shapes": "proj.weight",
    "vit-digits": "patch_embed.proj.weight",
    "vit-scattered-digits": "patch_embed.proj.weight",
}
weights = {name: mv.load(name).state_dict()[layer] for name, layer in first_layers.items()}
viz.first_filters(
    weights,
    title="The first layer of each trained network",
    caption="Each tile is one filter; a network has one scale. Filters of colour images are in colours, grey is 0; of "
    "grey images orange is positive, purple negative. Look for edges (light beside dark) and for colours.",
)

# %% [markdown]
# Some filters are edges and some are colours, as on the slide. Those of AlexNet are clearer: they have $11 \times 11$
# pixels, and ours have $2 \times 2$ to $5 \times 5$. We can still measure what they respond to. A filter whose weights
# add up to about 0 ignores brightness and sees only differences. A filter whose three colour channels are alike sees
# brightness, and one whose channels differ sees colour.

# %%
for name, w in weights.items():
    w = w.astype(np.float32)
    flat = w.reshape(len(w), -1)
    balance = np.abs(flat.sum(axis=1)) / np.abs(flat).sum(axis=1)  # 0: only differences, 1: only the mean
    line = f"{name:20}: {(balance < 0.25).mean():4.0%} of {len(w)} filters mainly see differences"
    if w.shape[1] == 3:
        colour = (w - w.mean(axis=1, keepdims=True)).reshape(len(w), -1)  # what the channels do not share
        share = (colour**2).sum() / (w**2).sum()
        line += f"; {share:3.0%} of their energy is colour"
        assert share > 0.2
    print(line)
assert (np.abs(weights["cnn-digits"].sum(axis=(1, 2, 3))) > 0).all()

# %% [markdown]
# **Later layers.** Their filters have 64 channels and more. Drawn as pictures, one for each channel, they no longer say
# anything to us:

# %% tags=["slide:Z/21-parameters-made-visible"]
m2f = mv.load("mask2former-shapes")
later = m2f.backbone.stages[0][0].layers[1].conv.weight.data  # (64, 64, 3, 3)
viz.filters(
    later[:8, :20],
    size=0.36,
    title="Eight filters of the third convolution, twenty of their 64 channels",
    caption="Each row is one filter, each tile its weights for one input channel. It cannot be seen what a filter "
    "responds to.",
)

# %% [markdown]
# **Activations.** Slide `Z/22-activations-made-visible`. What a filter makes of an image can be seen, though. The
# network was trained on generated scenes; we give it a photograph.

# %% tags=["slide:Z/22-activations-made-visible"]
backbone = m2f.backbone
photo = mv.data.photos.china((192, 288))


def layers_of(backbone, images):
    """The maps after the first layer and after each stage."""
    with mv.no_grad():
        first = ops.relu(backbone.stem(mv.Tensor(images)))
        stages = backbone.features(images)
    return {"first layer": first.data, **{f"stage {i + 1}": maps.data for i, maps in enumerate(stages)}}


maps = layers_of(backbone, photo[None])
for name, found in maps.items():
    print(f"{name:11}: {found.shape[1:]}, {(found == 0).mean():.0%} of the numbers are 0")
viz.activations(
    photo,
    maps,
    title="A photograph in a network that was trained on generated scenes",
    caption="Each row is one layer, with the eight channels that vary most. First the maps are filtered copies of the "
    "image: edges, bright and dark. Deeper down they are coarse, and a few places stand out.",
)

# %% [markdown]
# The slide says that maps become *sparse*. We count: between a third and a half of the numbers are 0 at every depth, and
# it is not more in later stages. But how much of a map's energy is in its strongest places? And is that so for the
# scenes that the network knows?

# %%
scenes = mv.data.shapes.Scenes(300, "held-out", objects=1)
images = np.stack([scenes.scene(i).image for i in range(300)])
known = layers_of(backbone, images[:64])


def concentration(found):
    """The share of a map's energy that is in its strongest tenth of places, on average over the maps."""
    energy = np.sort(found.reshape(*found.shape[:2], -1) ** 2, axis=2)[..., ::-1]  # strongest first
    strongest = energy[..., : max(1, round(energy.shape[2] / 10))].sum(axis=2)
    return float((strongest / np.maximum(energy.sum(axis=2), 1e-9)).mean())


for name in maps:
    print(f"{name:11}: photo {concentration(maps[name]):.0%}, scenes {concentration(known[name]):.0%}", end=" ")
    print("of the energy is in a tenth of the places")
assert concentration(known["stage 2"]) > concentration(known["first layer"])

# %% [markdown]
# ### What each channel likes best
#
# The clearest view needs no picture of weights. Give the network many images, and cut out the pieces at which a channel
# has its largest values (Zeiler and Fergus 2014). A piece is as large as the receptive field of the channel. We need
# its size, stride and start; they follow from the layers, one by one:


# %%
def field(layers):
    """Size, stride and start of the receptive field after layers of (kernel, stride, padding), in pixels."""
    size, stride, start = 1, 1, 0
    for kernel, step, padding in layers:
        start = start - padding * stride  # the padding lies before the first pixel
        size = size + (kernel - 1) * stride  # neighbours of this layer's input are `stride` pixels apart
        stride = stride * step
    return size, stride, start


stem = [(4, 4, 0)]  # patches of 4 pixels
block = [(3, 1, 1), (3, 1, 1)]  # two convolutions of 3 x 3
halving = [(3, 2, 1), (3, 1, 1)]
assert field(stem + block) == (20, 4, -8)
assert field(stem + block + halving) == (44, 8, -20)

# %% tags=["slide:Z/22-activations-made-visible"]
with mv.no_grad():
    stage_1 = backbone.features(images)[0]
    block_2 = backbone.stages[1][0](stage_1).data  # the first block of the second stage
stage_1 = stage_1.data
size, stride, start = field(stem + block)
edges, strength = analysis.favourite_patches(stage_1, images, size, stride, start, count=7)
chosen = np.argsort(-strength[:, 0])[:12]
viz.favourites(
    edges[chosen],
    strength[chosen],
    names=[f"channel {c}" for c in chosen],
    size=0.48,
    title="What channels of the first stage like best: pieces of 20 pixels",
    caption="Each row is one channel, with the pieces of 300 scenes at which it is largest; light blue lies beside the "
    "image. The pieces of a row share an edge or a texture, a colour, a stripe.",
)

# %% tags=["slide:Z/22-activations-made-visible"]
size, stride, start = field(stem + block + halving)
pieces, strength = analysis.favourite_patches(block_2, images, size, stride, start, count=7)
chosen = np.argsort(-strength[:, 0])[:12]
viz.favourites(
    pieces[chosen],
    strength[chosen],
    names=[f"channel {c}" for c in chosen],
    size=0.48,
    title="What channels of the second stage like best: pieces of 44 pixels",
    caption="Rows as above. Now the pieces of a row often share the shape in the middle, in any colour and on any "
    "ground.",
)

# %% [markdown]
# Is this more than an impression? For each channel we count how many of its ten favourite scenes show the same shape.
# With six shapes, ten scenes drawn blindly have their most frequent shape about 3.4 times.


# %%
def same_shape(maps, labels, count=10):
    """How many of each channel's favourite scenes show the most frequent shape among them, on average."""
    best = maps.max(axis=(2, 3))  # (B, C)
    favourite = labels[np.argsort(-best, axis=0)[:count]]  # (count, C)
    return float(np.mean([np.bincount(column).max() for column in favourite.T]))


labels = np.array([scenes.scene(i).label for i in range(300)])
blind = same_shape(rng.random((300, 500, 1, 1)), labels)
alike = [same_shape(found, labels) for found in (stage_1, block_2)]
print(f"blindly {blind:.1f} of 10, first stage {alike[0]:.1f}, second stage {alike[1]:.1f}")
assert alike[1] > alike[0] + 0.5 and alike[1] > blind + 1
