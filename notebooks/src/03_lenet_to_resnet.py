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
# > *A correction.* Deck C calls Fisher vectors (features designed by hand, with a linear classifier behind them) the
# > winner of the ImageNet challenge of 2012. They won in 2011 and came second in 2012, behind AlexNet.
#
# **Time**: about 75 minutes to read, 45 more for the exercises; the cells take about half a minute.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import analysis, ops, viz
from minivis.laws import claims

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
# that can compute with it. AlexNet was trained for five to six days on two of them.

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
    caption="Each bar is the published share of test images whose category was not among five guesses. From 2012 "
    "on the error falls by more than a quarter every year, while the networks grow from 8 to 152 layers.",
)

# %% [markdown]
# ## LeNet-5
#
# Slide `Z/12-lenet`. LeCun, Bottou, Bengio and Haffner (1998) read digits on cheques. The network alternates
# convolution and subsampling twice, and ends in layers in which each number is connected to all numbers before it. (C5
# is such a layer too: its $5 \times 5$ filters cover their whole $5 \times 5$ maps.) Here is the original; the drawing
# is made from the model itself. Look at the shapes: maps get smaller and more numerous.

# %% tags=["slide:Z/12-lenet"]
viz.architecture(mv.models.LeNet5(), (1, 1, 32, 32))

# %% [markdown]
# Three things are different from today's networks.
#
# **The connection table.** Layer C3 makes 16 maps from the 6 maps of S2. But all except one of the 16 see only some of
# the six. So different maps must learn different things, and there are fewer weights.

# %% tags=["slide:Z/12-lenet"]
table = mv.models.lenet.CONNECTIONS  # boolean (16, 6)
assert table.shape == (16, 6) and table.sum() == 60  # instead of 96 kernels
assert (table.sum(axis=0) == 10).all()  # each map of S2 feeds ten of C3
viz.grids(
    [table.T.astype(int)],
    marks=[table.T],
    zeros=False,
    x_label="map of C3, from 0 to 15",
    y_label="map of S2, from 0 to 5",
    title="Which maps of S2 each map of C3 sees",
    caption="Columns are the 16 maps of C3, rows the 6 maps of S2; a 1 means that the column sees the row. The first six "
    "columns see three neighbours (after row 5 comes row 0), the next nine see four maps, and the last sees all six.",
)

# %% [markdown]
# A convolution with a table, with loops and without. The weight has a kernel for each of the 96 pairs. Those that the
# table forbids may hold anything; they have no effect:


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
weight = rng.standard_normal((16, 6, 5, 5))
bias = rng.standard_normal(16)
np.testing.assert_allclose(masked(x, weight, bias, table), masked_loops(x, weight, bias, table))
np.testing.assert_allclose(
    mv.models.lenet.masked_conv2d(x, weight, bias, table), masked_loops(x, weight, bias, table)
)
assert mv.laws.check("masked_conv2d", masked).passed

# %% [markdown]
# **Subsampling with weights.** S2 and S4 add up squares of $2 \times 2$ numbers, multiply each sum by one weight of the
# map and add one bias. **The squash** $f(x) = 1.7159 \tanh(2x/3)$ follows each layer; it is 1 at 1 and $-1$ at $-1$.
# **The output** compares the 84 numbers of the last hidden layer with a fixed picture of each digit, 7 pixels wide and
# 12 high. The squared distance to it is the **penalty** of the digit, and the smallest penalty wins. The network
# therefore learns to *draw* the digit that it reads. The paper counts 60,000 trainable parameters and 340,908
# connections. (Each input of a number is one connection, and its bias is one more.) We count layer by layer:

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
# The convolutions have few parameters but most of the connections: the 156 numbers of C1 make 122,304 of them, because
# each is used at 784 places.
#
# ### A trained LeNet-5, from inside
#
# `lenet-digits` is the original with its 60,000 parameters, its table and its loss, trained on the digits of this
# package (`minivis train lenet-digits`). They have $8 \times 8$ pixels, so they are enlarged to $20 \times 20$ in
# the middle of the $32 \times 32$ pixels that the network reads. The loss (equation 9 of the paper) pulls the penalty of
# the right digit down and pushes the others up, as long as they are not large already.

# %% tags=["slide:Z/12-lenet"]
from minivis.recipes import lenet_digits

reader = mv.load("lenet-digits")
small, small_labels = mv.data.digits.load("held-out")
large = lenet_digits.prepare(small)  # (360, 1, 32, 32), paper -0.1 and ink 1.175
with mv.no_grad():
    penalties = reader.penalties(large).data
accuracy = (penalties.argmin(axis=1) == small_labels).mean()  # the smallest penalty wins
print(f"{accuracy:.1%} of 360 held-out digits are right; the paper has 99.05 % on MNIST")
assert accuracy >= 0.97

with mv.no_grad(), mv.nn.looking(reader) as seen:  # the model shows its maps
    reader(large[:1])
inside = {name.upper(): seen[name] for name in ("c1", "s2", "c3", "s4")}
viz.activations(
    np.clip(large[0], 0, 1),
    inside,
    channels=8,
    title="One digit in the layers of LeNet-5",
    caption="Left: the digit. Each row is one layer, with up to eight of its maps, those that vary most first; bright is a "
    "large value. In C1 and S2 one still sees the stroke and its edges; in C3 and S4 the maps are too coarse for that.",
)

# %% [markdown]
# The last hidden layer has 84 numbers. The output compares them with fixed pictures of digits. So we can look at what
# the network draws when it reads:

# %%
with mv.no_grad():
    drawn = reader.draw(large).data.reshape(-1, 12, 7)
target = reader.output.centres.reshape(10, 12, 7)
examples = [int(np.flatnonzero(small_labels == digit)[0]) for digit in range(10)]
wrong = penalties.argmin(axis=1) != small_labels
viz.images(
    [*np.clip(large[examples, 0], 0, 1), *((drawn[examples] + 1) / 2), *((target + 1) / 2)],
    titles=[*(f"reads {penalties[i].argmin()}" for i in examples), *["draws"] * 10, *["pattern"] * 10],
    columns=10,
    size=0.75,
    vmin=0,
    vmax=1,
    title="LeNet-5 draws what it reads",
    caption="Above: one held-out digit of each kind. Middle: the 84 numbers that the network computes from it, as a picture. "
    "Below: the fixed picture of the digit. The drawing need not be perfect, only nearer to its own picture than to the others.",
)

# %% [markdown]
# How sure is the network? We compare the two smallest penalties, that of the best digit and that of the second best. If
# they are close, the network hesitates.

# %%
two = np.sort(penalties, axis=1)[:, :2]
margin = two[:, 1] - two[:, 0]
print(f"the second best is {np.median(margin):.0f} further away if the answer is right", end="")
print(f", {np.median(margin[wrong]):.0f} if it is wrong" if wrong.any() else "; no answer is wrong")
assert not wrong.any() or np.median(margin[wrong]) < np.median(margin[~wrong])

# %% [markdown]
# ## AlexNet
#
# Slide `Z/13-alexnet`. AlexNet (Krizhevsky, Sutskever and Hinton, 2012) has the same plan with five convolutions, three
# linear layers and a thousand times as many parameters. ReLU replaces the squash, and max pooling with windows that
# overlap replaces the sum. **Dropout** sets each number of a hidden linear layer to 0 with probability 1/2 while the
# network is trained, which keeps it from learning the training images by heart. One graphics processor had too little
# memory, so the channels are split into two **towers** that see each other only in the third convolution and in the
# linear layers. In our model the towers are the two groups of convolutions 2, 4 and 5 (groups are in chapter
# [02](02_convolution.ipynb)). `adaptive_avg_pool2d` in the drawing changes nothing here: it is for images of other sizes.

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
    "parameters": {name: round(100 * count / 60_965_224, 1) for name, (count, _) in found.items()},
    "neurons": {name: round(100 * neurons / 659_272, 1) for name, (_, neurons) in found.items()},
}
viz.bars(
    shares,
    "share of the network, %",
    width=7.6,
    title="AlexNet: where its parameters and its neurons are",
    caption="Compare the two bars of each layer. Almost all parameters are in the linear layers, almost all neurons in the "
    "convolutions: a filter of few weights is used at hundreds or thousands of places.",
)

# %% [markdown]
# ### Local response normalisation
#
# After the first two convolutions AlexNet divides each number by the activity of the neighbouring channels at the same
# place. $n = 5$ channels count, the channel itself and two on each side, with $k = 2$, $\alpha = 10^{-4}$,
# $\beta = 0.75$. The number $a_i$ of channel $i$ becomes
#
# $$b_i = a_i \Big/ \Big(k + \alpha \sum_{j = i - n/2}^{i + n/2} a_j^2\Big)^{\beta}$$
#
# ($n/2$ is rounded down.) The authors of VGG found that it does not help, and later networks use batch norm instead. With
# loops, without, and as the library has it:


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
# image, so it can be drawn as a small picture. Here are those of eight trained networks of this package. Three read
# digits, one reads films, and four read generated scenes:

# %% tags=["slide:Z/21-parameters-made-visible"]
readers = ["lenet-digits", "cnn-digits", "vit-digits", "non-local-films"]
readers += ["swin-shapes", "local-attention-shapes", "detr-shapes", "mask2former-shapes"]
weights = {}
for name in readers:
    for value in mv.load(name).state_dict().values():
        if value.ndim == 4 and value.shape[1] in (1, 3) and value.shape[2] > 1:  # it reads images
            weights[name] = value
            break
viz.first_filters(
    weights,
    title="The first layer of eight trained networks",
    caption="Each tile is one filter. For grey images orange weights are positive and purple ones negative; for colour "
    "images the filter is drawn in colour, and grey is 0. Look for tiles with a light and a dark side, which are edges, and "
    "for tiles of one colour. Edges are clearest in lenet-digits; in detr-shapes and mask2former-shapes there are soft edges "
    "and colours, and the other rows look much like noise.",
)

# %% [markdown]
# Some filters are edges and some are colours, as on the slide. Those of AlexNet are clearer: they have $11 \times 11$
# pixels, and ours have $2 \times 2$ to $5 \times 5$. (The two detectors, `detr-shapes` and `mask2former-shapes`, look
# alike because they began with the same random weights.) It is easy to see something in noise, so we compare with filters
# that were drawn at random. *Smooth*: how alike are neighbouring weights, from -1 to 1? For random ones this is 0.
# *Colour*: the **energy** of a filter is the sum of its squared weights. Which share of it is left when we subtract from
# each pixel the mean of its three channels, which is grey? For random filters this is two thirds.


# %%
def smoothness(w):
    """The correlation of neighbouring weights, in rows and columns."""
    pairs = [(w[..., 1:], w[..., :-1]), (w[..., 1:, :], w[..., :-1, :])]
    return sum((a * b).sum() for a, b in pairs) / sum((a**2 + b**2).sum() / 2 for a, b in pairs)


smooth, colour = {}, {}
for name, w in weights.items():
    w = w.astype(np.float64)
    smooth[name] = smoothness(w)
    line = f"{name:20}: smooth {smooth[name]:+.2f}"
    if w.shape[1] == 3:
        own = w - w.mean(axis=1, keepdims=True)  # what the channels do not share
        colour[name] = (own**2).sum() / (w**2).sum()
        line += f", colour {colour[name]:.0%}"
    print(line)
noise = rng.standard_normal((10_000, 3, 4, 4))
own = noise - noise.mean(axis=1, keepdims=True)
assert abs(smoothness(noise)) < 0.02 and abs((own**2).sum() / (noise**2).sum() - 2 / 3) < 0.01
learned = ("detr-shapes", "mask2former-shapes")
assert all(smooth[name] > 0.3 and colour[name] > 0.75 for name in learned) and smooth["lenet-digits"] > 0.3
assert all(smooth[name] < 0.25 for name in readers if name not in (*learned, "lenet-digits"))

# %% [markdown]
# Three networks have learned smooth filters: LeNet-5, whose digits were enlarged smoothly, and the two detectors of
# shapes. Those of the detectors also have more colour than noise has: there are edges and colours. In the other networks
# for scenes and films this is faint, and the filters of two or three pixels for digits are no smoother than noise. So the
# slide's claim holds for some first layers, and not for every one.

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
    caption="Each row is one filter, each tile its weights for one input channel. What a filter "
    "responds to cannot be read from this.",
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
    caption="Each row is one layer, with the eight channels that vary most; bright is a large value. In the first layer and "
    "in stage 1 the maps are filtered copies of the image: bright and dark parts, edges. Later they are coarse, and a few "
    "places stand out.",
)

# %% [markdown]
# The slide says that maps become *sparse*: most of their numbers are 0. We have counted: between a third and a half of the
# numbers are 0 at every depth, and later stages do not have more of them. But a map can also be sparse in another way: if
# a few places have most of its energy, the sum of its squares. We measure this for the photograph, and for scenes of the
# kind on which the network was trained:

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
    print(
        f"{name:11}: photo {concentration(maps[name]):.0%}, scenes {concentration(known[name]):.0%}", end=" "
    )
    print("of the energy is in a tenth of the places")
assert concentration(known["stage 2"]) > concentration(known["first layer"])
assert concentration(maps["stage 2"]) > concentration(maps["first layer"])

# %% [markdown]
# Up to stage 2 the energy gathers in fewer places, in the photograph and in the scenes. In stage 3 it is spread out again.
# So the slide's word "sparse" holds here for the places, up to stage 2, and not for the number of zeros.
#
# ### What each channel likes best
#
# The clearest view needs no picture of weights. Give the network many images, and cut out the pieces at which a channel
# has its largest values (Zeiler and Fergus 2014). A piece is as large as the **receptive field** of the channel, the square
# of pixels that have an influence on one of its numbers. We need the size of this square, the distance (stride) between
# the squares of two neighbours, and where the first one starts. They follow from the layers, one by one:


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
    caption="Each row is one channel, with the pieces of 300 scenes at which it is largest, and its largest value; light blue "
    "lies beside the image. In some rows one sees what the pieces share, such as the arcs of rings in channel 32. In many "
    "rows the shapes differ.",
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
    "ground: crosses in channel 63, rings in channel 85, triangles in channel 0.",
)

# %% [markdown]
# Is this more than an impression? Each scene shows one of six shapes. For each channel we count how many of its ten
# favourite scenes show the same shape. We need two comparisons: scenes that are picked at random, and the same network
# before it was trained.


# %%
def same_shape(maps, labels, count=10):
    """How many of each channel's favourite scenes show the most frequent shape among them, on average."""
    best = maps.max(axis=(2, 3))  # (B, C)
    favourite = labels[np.argsort(-best, axis=0)[:count]]  # (count, C)
    return float(np.mean([np.bincount(column).max() for column in favourite.T]))


labels = np.array([scenes.scene(i).label for i in range(300)])
untrained = mv.models.ResNet(**backbone.config, rng=0)
with mv.no_grad():
    first = untrained.features(images)[0]
    second = untrained.stages[1][0](first).data
alike = {
    "at random": same_shape(rng.random((300, 500, 1, 1)), labels),
    "untrained, first stage": same_shape(first.data, labels),
    "untrained, second stage": same_shape(second, labels),
    "trained, first stage": same_shape(stage_1, labels),
    "trained, second stage": same_shape(block_2, labels),
}
for name, count in alike.items():
    print(f"{name:24}: {count:.1f} of 10 favourite scenes show the same shape")
assert (
    alike["trained, second stage"]
    > max(alike["trained, first stage"], alike["untrained, second stage"]) + 0.5
)

# %% [markdown]
# Before the training the favourites of a channel are hardly more alike than scenes that are picked at random. After the
# training they are, and more so in the second stage: many of its channels respond to one shape, although nobody told a
# channel to which.

# %% [markdown]
# ## VGG: only filters of 3 x 3
#
# Slide `Z/29-vgg`. Simonyan and Zisserman (2014) asked what depth alone does. All filters are $3 \times 3$, all poolings
# $2 \times 2$. Each pooling halves the map, and the channels double up to 512: 64, 128, 256, 512, 512.

# %% tags=["slide:Z/29-vgg"]
with mv.nn.init.skip_init():
    vgg = mv.models.vgg16()
    sizes = [(name, p.size) for name, p in vgg.named_parameters()]
total = sum(size for _, size in sizes)
convolutions = sum(size for name, size in sizes if name.startswith("features"))
assert total == 138_357_544 and convolutions == 14_714_688
assert dict(sizes)["classifier.0.weight"] + 4096 == 102_764_544
assert {m.weight.shape[2:] for _, m in vgg.named_modules() if isinstance(m, mv.nn.Conv2d)} == {(3, 3)}
print(f"VGG-16: {total:,} parameters, of which the first linear layer has {102_764_544 / total:.0%}")
viz.architecture(vgg, (1, 3, 224, 224))

# %% [markdown]
# ### Why 3 x 3
#
# Two convolutions of $3 \times 3$ see $5 \times 5$ pixels, three see $7 \times 7$. With $C$ channels in and out, three
# cost $3 \cdot 9\,C^2 = 27\,C^2$ weights and one of $7 \times 7$ costs $49\,C^2$. And there are three ReLUs instead of
# one. Is the function of two small filters one of the large ones? Without a ReLU between them it is: a filter applied to
# a filter is a filter.

# %%
C = 8
small = [rng.standard_normal((C, C, 3, 3)) for _ in range(3)]
assert sum(w.size for w in small) == 27 * C**2 < 7 * 7 * C**2
impulse = np.zeros((1, C, 13, 13))
impulse[0, 0, 6, 6] = 1  # one pixel of one channel


def stack(x, filters, between=lambda x: x):
    """Convolutions one after another, each with padding 1."""
    for w in filters:
        x = between(ops.conv2d(x, w, padding=1))
    return x


reached = [np.argwhere(stack(impulse, small[:n])[0].any(axis=0)) for n in (1, 2, 3)]
assert [len(there) for there in reached] == [9, 25, 49]  # 3 x 3, 5 x 5, 7 x 7 pixels
# one filter of 5 x 5 that does the same as two: their composition, which the impulse shows (turned around)
composed = np.zeros((C, C, 5, 5))
for c in range(C):
    one = np.zeros((1, C, 13, 13))
    one[0, c, 6, 6] = 1
    composed[:, c] = stack(one, small[:2])[0, :, 4:9, 4:9][:, ::-1, ::-1]
x = rng.standard_normal((1, C, 13, 13))
both = stack(x, small[:2])[..., 2:-2, 2:-2]
np.testing.assert_allclose(ops.conv2d(x, composed), both)  # the same map, away from the border

# %% [markdown]
# With a ReLU between them no single filter does the same: the stack is not linear any more. So the stack has fewer
# weights and can compute more.
#
# ### The receptive field of a whole network
#
# The rule from above, layer by layer: a layer with a kernel of $k$ and a dilation of $d$ (its weights stand $d$ places
# apart) adds $(k - 1)\,d$ steps to the field, and a step is the product of all strides before it.


# %% tags=["slide:Z/29-vgg"]
def field_of(layers):
    """(kernel, stride, dilation) of each layer -> side of the field and stride, in pixels."""
    size, step = 1, 1
    for kernel, stride, dilation in layers:
        size = size + (kernel - 1) * dilation * step
        step = step * stride
    return size, step


to_pool_5 = []
for convolutions in (2, 2, 3, 3, 3):
    to_pool_5 += [(3, 1, 1)] * convolutions + [(2, 2, 1)]
assert field_of(to_pool_5) == mv.vision.field_of_view(to_pool_5) == (212, 32)
assert field_of([(3, 1, 1)] * 2) == field_of([(5, 1, 1)]) and field_of([(3, 1, 1)] * 3) == field_of(
    [(7, 1, 1)]
)
assert mv.laws.check("field_of_view", field_of).passed

# %% [markdown]
# One need not type the layers of a model: `mv.summary` reads them from one forward pass. The images have 227 pixels. If a
# field is larger than that, it reaches into the zeros that the convolutions put around the image.

# %%
with mv.nn.init.skip_init():
    models = {
        "VGG-16": vgg,
        "AlexNet": alexnet,
        "ResNet-18": mv.models.resnet18(),
        "ResNet-50": mv.models.resnet50(),
    }
for name, model in models.items():
    layers = mv.summary(model, (1, 3, 227, 227)).layers  # read from one forward pass
    size, step = mv.vision.field_of_view(layers)
    print(f"{name:9}: {len(layers):2} layers with windows, the last map sees {size} pixels, {step} apart")
assert mv.vision.field_of_view(mv.summary(vgg, (1, 3, 224, 224)).layers) == (212, 32)

# %% [markdown]
# The formula says which pixels *can* have an influence. How much they have is measured by a gradient: take one number in
# the middle of the output, and ask how much it changes with each pixel. `analysis.receptive_field` does this, and
# averages the size of the gradient over several images of noise. For the small trained network `cnn-digits`, layer by
# layer:

# %%
cnn = mv.load("cnn-digits")
noise = np.random.default_rng(0).standard_normal((8, 1, 24, 24)).astype(np.float32)
strides = (1, 1, 2, 1)  # of its four convolutions
measured = {}
expected = []
for i in range(4):
    # convolution, norm, ReLU: three entries of the list for each
    layers = list(cnn.layers)[: 3 * i + 1]
    seen = analysis.receptive_field(mv.nn.Sequential(*layers), noise)
    measured[f"convolution {i + 1}"] = seen
    expected.append(mv.vision.field_of_view([(3, s, 1) for s in strides[: i + 1]])[0])
    across = (seen > 0).any(axis=0).sum()
    # how many pixels hold 90 % of the influence
    inner = np.sort(seen.ravel())[::-1].cumsum().searchsorted(0.9) + 1
    print(
        f"convolution {i + 1}: {across} pixels across; {inner / across**2:.0%} of them have 90 % of the influence"
    )
    assert across == expected[i]
viz.receptive_fields(
    measured,
    expected,
    title="Receptive fields: formula and measurement",
    caption="Bright pixels have much influence on the number in the middle. The red square is what the formula gives. The "
    "measured field ends at this square in every layer. Deeper down the pixels in the middle count more than those at the "
    "border.",
)

# %% [markdown]
# ### Linear layers are convolutions
#
# The first linear layer of VGG reads a map of $7 \times 7$. So it is a convolution of $7 \times 7$ that fits in one
# place, and the next linear layers are convolutions of $1 \times 1$. Written like that the network accepts larger
# images, and gives an answer for every place. (This is the idea of the fully convolutional networks of chapter 16.)

# %% tags=["slide:Z/29-vgg"]
tiny = mv.models.VGG((1, 1), widths=(8, 16), map_size=3, hidden=32, num_classes=5, rng=0).eval()
with mv.no_grad():
    usual = rng.standard_normal((2, 3, 12, 12)).astype(np.float32)  # its map is 3 x 3
    logits = tiny(usual).data
    dense = tiny.dense(usual).data
    assert dense.shape == (2, 5, 1, 1)
    np.testing.assert_allclose(dense[:, :, 0, 0], logits, rtol=1e-4, atol=1e-6)

    large = rng.standard_normal((1, 3, 20, 16)).astype(np.float32)
    everywhere = tiny.dense(large).data  # (1, 5, 3, 2): six answers at once
    flat = tiny.features(large).data
    assert everywhere.shape == (1, 5, 3, 2)
    piece = flat[:, :, 1:4, 1:4].reshape(1, -1)  # the map as the place (1, 1) sees it
    np.testing.assert_allclose(everywhere[:, :, 1, 1], tiny.classifier(piece).data, rtol=1e-4, atol=1e-6)
print("answers on a larger image:", everywhere.shape[2:])

# %% [markdown]
# ## Deeper plain networks get worse
#
# So depth is good: take more layers. He, Zhang, Ren and Sun (2015) did, and found the opposite. Slide
# `C/16-deeper-plain-networks-get-worse`: a *plain* network of 56 layers had a larger error than one of 20 layers, on the
# test set **and on the training set**. A network that learns by heart would have a small error on the training set. So
# the trouble is not overfitting.
#
# We build both kinds. Plain and residual blocks differ in one line, the shortcut; the rest is the plan of the paper for
# small images: a convolution, three stages, the mean over positions, one linear layer. Each convolution is followed by
# **batch norm**: it subtracts from each channel its mean over the batch and all positions, divides by the standard
# deviation, and then applies a learned factor and offset. In evaluation it takes averages from the training instead. The
# weights start as He et al. proposed (`kaiming_normal`): at random, and of such a size that numbers neither grow nor
# shrink from one ReLU layer to the next.


# %%
def conv(inputs, width, kernel, stride, rng):
    """A convolution without bias, which the norm after it would subtract again."""
    start = mv.nn.init.kaiming_normal
    return mv.nn.Conv2d(
        inputs, width, kernel, stride, padding=kernel // 2, bias=False, weight_init=start, rng=rng
    )


class Block(mv.nn.Module):
    """Two convolutions with norms, F(x); with a shortcut y = ReLU(F(x) + x), without it y = ReLU(F(x))."""

    def __init__(self, inputs, width, residual, rng):
        stride = 1 if inputs == width else 2  # more channels, a smaller map
        self.convs = [conv(inputs, width, 3, stride, rng), conv(width, width, 3, 1, rng)]
        self.norms = [mv.nn.BatchNorm2d(width), mv.nn.BatchNorm2d(width)]
        self.residual = residual
        self.fit = conv(inputs, width, 1, 2, rng) if residual and inputs != width else None

    def forward(self, x):
        y = ops.relu(self.norms[0](self.convs[0](x)))
        y = self.norms[1](self.convs[1](y))  # F(x)
        if self.residual:
            y = y + (self.fit(x) if self.fit else x)
        return ops.relu(y)


class SmallNet(mv.nn.Module):
    """6n + 2 layers: images (B, 1, H, W) -> logits (B, 10)."""

    def __init__(self, depth, residual, widths=(8, 16, 32), seed=0):
        rng = np.random.default_rng(seed)
        self.stem = conv(1, widths[0], 3, 1, rng)
        self.norm = mv.nn.BatchNorm2d(widths[0])
        self.blocks = []
        inputs = widths[0]
        for width in widths:
            for _ in range((depth - 2) // 6):
                self.blocks.append(Block(inputs, width, residual, rng))
                inputs = width
        self.head = mv.nn.Linear(inputs, 10, rng=rng)

    def forward(self, images):
        x = ops.relu(self.norm(self.stem(images)))  # (B, 8, H, W)
        for block in self.blocks:
            x = block(x)
        return self.head(ops.mean(x, axis=(2, 3)))


digits, digit_labels = mv.data.digits.load("train")
held, held_labels = mv.data.digits.load("held-out")

# %% [markdown]
# We train four networks on the digits for 120 steps each: plain and residual, with 20 and with 44 layers. Before you run
# the cells: which of the four will be worst? Only on held-out digits, or on the training set too?
#
# (Momentum is that of chapter [02](02_convolution.ipynb). The learning rate grows for 20 steps, the *warmup*, and then
# falls to 0 along a cosine.)


# %%
def error(net, images, labels):
    """The share of images that get a wrong class."""
    net.eval()
    with mv.no_grad():
        return float((net(images).data.argmax(axis=1) != labels).mean())


def train(net, steps=120, lr=0.05, seed=0):
    """SGD with momentum on batches of 32; returns the loss of each step."""
    draw = np.random.default_rng(seed)
    schedule = mv.optim.cosine(steps, warmup_steps=20)
    optimizer = mv.optim.SGD(net.parameters(), lr=lr, momentum=0.9, schedule=schedule)
    net.train()
    losses = []
    for _ in range(steps):
        rows = draw.integers(0, len(digits), 32)
        loss = ops.cross_entropy(net(digits[rows]), digit_labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% tags=["slide:C/16-deeper-plain-networks-get-worse"]
nets, losses, errors = {}, {}, {}
for depth in (20, 44):
    for residual in (False, True):
        name = f"{'residual' if residual else 'plain'} {depth}"
        net = nets[name] = SmallNet(depth, residual)
        losses[name] = train(net)
        errors[name] = error(net, digits, digit_labels), error(net, held, held_labels)
        print(f"{name:11}: {errors[name][0]:6.1%} error on the training set, {errors[name][1]:6.1%} held out")
assert errors["plain 44"][0] > errors["plain 20"][0] + 0.1  # deeper is worse, on what it was trained on
assert errors["residual 44"][0] < errors["plain 44"][0] - 0.1
smooth = {name: np.convolve(values, np.ones(10) / 10, "valid") for name, values in losses.items()}
viz.curves(
    {name: (np.arange(len(values)) + 10, values) for name, values in smooth.items()},
    "step",
    "training loss (mean of ten steps)",
    title="Plain and residual networks on digits",
    caption="Compare the two plain networks with each other, then the two residual ones. The loss of the plain network of 44 "
    "layers falls very slowly. That of the residual network of 44 layers comes close to that of 20 layers.",
)

# %% [markdown]
# One run of a few seconds proves little. The larger study of the package trains networks of 20 and 56 layers for longer,
# with several random seeds: on digits, and on crops of generated scenes in which the shape is to be named
# (`python scripts/run_ablations.py depth` measures it again).

# %% tags=["slide:C/16-deeper-plain-networks-get-worse"]
from minivis.recipes import depth as study_of_depth

study = study_of_depth.results()


def last(subject, name, metric):
    """The errors at the end of the training in percent, one for each seed."""
    return 100 * np.array(study[subject][name][metric])[:, -1]


for subject in ("scenes", "digits"):
    for name in study[subject]:
        training, test = last(subject, name, "training error"), last(subject, name, "test error")
        print(f"{subject}, {name:11}: training error", ", ".join(f"{e:.1f}" for e in training), end=" %; ")
        print("test error", ", ".join(f"{e:.1f}" for e in test), "%")
    worse = last(subject, "plain 56", "training error") - last(subject, "plain 20", "training error")
    assert (worse > 20).all()  # with every seed, on the training pictures
    assert (last(subject, "residual 56", "training error") < 10).all()
viz.training_errors(
    {subject: study[subject] for subject in ("scenes", "digits")},
    title="Plain and residual networks of 20 and 56 layers",
    caption="Dashed: error on training pictures; solid: on held-out ones. Lines are means, bands go from the best to the "
    "worst seed. The plain network of 56 layers stays bad on both. With shortcuts the same depth learns.",
)

# %% [markdown]
# The claim about plain networks is confirmed: the deeper ones are worse, on the training set as well. The gap is much
# larger here than in the paper, where on ImageNet 34 plain layers have 28.5 % error and 18 have 27.9 %. Our trainings
# are far shorter, and in more time the deep plain network would get further. The claim about residual networks is *not*
# confirmed: in the paper 34 layers with shortcuts are better than 18 (25.0 against 27.9 %), and here 56 layers are no
# better than 20. For such small pictures and short trainings 20 layers are enough.

# %% [markdown]
# ### Why: a product over the layers
#
# Chapter [01](01_autograd.ipynb), slide `C/19-vanishing-gradient`: the gradient of an early layer is a product with one
# factor for each later layer. Factors below 1 make it vanish, factors above 1 make it explode. For each convolution we
# measure the length of the gradient of its weights, before the first step of training.

# %%
networks = {
    "sigmoid, plain": ("sigmoid", False, False),
    "sigmoid, residual": ("sigmoid", True, False),
    "ReLU, plain": ("relu", False, False),
    "ReLU, plain, batch norm": ("relu", False, True),
    "ReLU, residual, batch norm": ("relu", True, True),
}
lengths = {}
for name, (activation, residual, norm) in networks.items():
    net = mv.models.CifarResNet(56, 8, channels=1, residual=residual, activation=activation, norm=norm, rng=0)
    found = analysis.gradient_norms(net, lambda m: ops.cross_entropy(m(digits[:32]), digit_labels[:32]))
    lengths[name] = [length for layer, length in found.items() if layer.endswith("conv.weight")]
    print(f"{name:27}: first layer {lengths[name][0]:8.1e}, last {lengths[name][-1]:8.1e}")
ratio = {name: values[0] / values[-1] for name, values in lengths.items()}  # the first layer to the last
assert ratio["sigmoid, plain"] < 1e-20 and ratio["sigmoid, residual"] < 1e-10
assert ratio["ReLU, plain, batch norm"] > 100 and 1 < ratio["ReLU, residual, batch norm"] < 30
viz.gradients_by_layer(
    lengths,
    width=7.6,
    title="Gradients of 55 convolutions before the first step",
    caption="The scale is logarithmic: a straight line is a product with the same factor in every layer. With the sigmoid "
    "the gradient shrinks on its way to the first layers. With ReLU and batch norm it grows on this way, but much less with "
    "shortcuts.",
)

# %% [markdown]
# With the **sigmoid** the gradient falls by a constant factor from layer to layer, and after 55 layers it is as good as
# 0. The shortcuts help little here: the sigmoid stands *after* the sum, so it is on every way through the network. A
# shortcut has to be free. (A ReLU after the sum does less harm: positive numbers pass it unchanged.) With **ReLU** and
# He's starting values the lengths are alike in all layers, but tiny. **Batch norm** makes them large, and without
# shortcuts they grow by three powers of ten from the last layer to the first: a step that is right for the last layers is
# far too large for the first. With shortcuts they grow by less than one power of ten. In the paper too the plain networks
# had batch norm, and He et al. conclude that vanishing gradients are *not* the trouble.

# %% [markdown]
# ### It should not be worse
#
# Slide `C/20-deeper-is-harder-to-optimise`. A deeper network *could* be as good as a shallow one: copy the shallow one,
# and let the remaining layers be the identity. So a good solution exists, and training does not find it. **It is
# optimisation that fails.** We build this solution: into the trained residual network of 20 layers we put 18 more
# blocks that are the identity. A block is the identity if the factors of its last batch norm are 0.

# %% tags=["slide:C/20-deeper-is-harder-to-optimise"]
shallow = nets["residual 20"].eval()
deep = SmallNet(20, True)
deep.load_state_dict(shallow.state_dict())
for place, width in ((9, 32), (6, 16), (3, 8)):  # at the end of each stage, the last first
    for _ in range(6):
        extra = Block(width, width, True, np.random.default_rng(0))
        extra.norms[1].weight.data = np.zeros(width, np.float32)  # F = 0, whatever the convolutions do
        deep.blocks.insert(place, extra)
deep.eval()
with mv.no_grad():
    assert len(deep.blocks) == 9 + 18 and (deep(held).data == shallow(held).data).all()  # to the last bit
print(
    f"{2 * len(deep.blocks) + 2} layers, the same answers as with 20: {error(deep, held, held_labels):.1%} error"
)

# %% [markdown]
# ## Residual learning
#
# Slide `C/23-residual-learning`. Let $H(x)$ be what a block should compute. Instead of $H$ the layers learn the
# **residual** $F(x) = H(x) - x$, and the block adds $x$ again:
#
# $$y = F(x) + x .$$
#
# If the identity is the best that a block can do, a plain block must learn it with its weights, through a ReLU. A
# residual block must only let $F$ be 0, as in the 18 blocks of the last cell. That is easy: for this the weights only have
# to shrink. And the gradient now has a way past every block:
#
# $$\frac{\partial y}{\partial x} = \frac{\partial F}{\partial x} + I .$$
#
# The product over the layers becomes a product of factors $I + \partial F / \partial x$. If we multiply it out, one of
# the summands is $I$, however many blocks there are. How large is $F$ beside $x$ in a trained network? For each block we
# print the ratio of their root mean squares:

# %% tags=["slide:C/23-residual-learning"]
identity = Block(8, 8, True, rng)
for c in identity.convs:
    c.weight.data = np.zeros_like(c.weight.data)
x = ops.relu(rng.standard_normal((2, 8, 5, 5)).astype(np.float32))  # what stands behind a ReLU
assert (identity.eval()(x).data == x).all()  # F = 0: the identity
plain = Block(8, 8, False, rng)
for c in plain.convs:
    c.weight.data = np.zeros_like(c.weight.data)
assert (plain.eval()(x).data == 0).all()  # without the shortcut nothing is left

sizes = []
with mv.no_grad():
    x = ops.relu(shallow.norm(shallow.stem(held)))
    for block in shallow.blocks:
        y = block.norms[1](block.convs[1](ops.relu(block.norms[0](block.convs[0](x)))))
        kept = x if block.fit is None else block.fit(x)
        sizes.append(float((y.data**2).mean() ** 0.5 / (kept.data**2).mean() ** 0.5))
        x = block(x)
print("size of F(x) divided by that of x, block by block:", np.round(sizes, 2))
assert np.mean(sizes[1:]) < 0.8

# %% [markdown]
# In the first block $F$ is as large as $x$. In the later ones it is about half as large: each block changes what comes in,
# and does not replace it.

# %% [markdown]
# ## ResNet in full
#
# Slides `C/24-resnet-in-full`, `C/15-resnet-152`. The network for ImageNet begins with one convolution of
# $7 \times 7$ and a pooling. Four stages of residual blocks follow, and each but the first halves the map with a stride
# of 2 and doubles the filters. After the mean over positions there is one linear layer for the classes, and no other.

# %% tags=["slide:C/24-resnet-in-full"]
with mv.nn.init.skip_init():
    resnet18 = mv.models.resnet18()
image = np.zeros((1, 3, 224, 224), np.float32)
with mv.no_grad():
    shapes = [m.shape[1:] for m in resnet18.features(image)]
assert shapes == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]  # half the map, twice the filters
linear = [m for _, m in resnet18.named_modules() if isinstance(m, mv.nn.Linear)]
assert len(linear) == 1 and linear[0].weight.shape == (1000, 512)
kernels = [[layer.conv.weight.shape[2:] for layer in block.layers] for s in resnet18.stages for block in s]
assert len(kernels) == 8 and all(k == [(3, 3), (3, 3)] for k in kernels)  # two convolutions of 3 x 3
viz.architecture(resnet18, image)

# %% [markdown]
# The deeper ones have *bottleneck* blocks: a convolution of $1 \times 1$ to a quarter of the channels, one of
# $3 \times 3$, and one of $1 \times 1$ back. How deep a ResNet is said to be counts the layers with weights along the
# longest way: the first convolution, those of the blocks, and the linear layer.

# %% tags=["slide:C/15-resnet-152"]
plans = {  # convolutions in a block, blocks in each stage
    "resnet18": (2, (2, 2, 2, 2)),
    "resnet34": (2, (3, 4, 6, 3)),
    "resnet50": (3, (3, 4, 6, 3)),
    "resnet101": (3, (3, 4, 23, 3)),
    "resnet152": (3, (3, 8, 36, 3)),
}
for name, (convolutions, depths) in plans.items():
    with mv.nn.init.skip_init():
        kind = "basic" if convolutions == 2 else "bottleneck"
        model = mv.models.ResNet(depths, kind)
    count = sum(p.size for p in model.parameters())
    depth = 1 + convolutions * sum(depths) + 1
    print(f"{name:9}: {depth:3} layers, blocks {depths!s:14}, {count:10,} parameters")
    assert depth == int(name.removeprefix("resnet"))
assert count == 60_192_808
viz.architecture(model, image)

# %% [markdown]
# ## Stochastic depth
#
# Slide `C/27-stochastic-depth`. Huang, Sun, Liu, Sedra and Weinberger (2016) leave out whole residual blocks while they
# train: for **each batch** every block survives with a probability of its own, otherwise only its shortcut is left.
#
# $$H_l = \mathrm{ReLU}(b_l\, F_l(H_{l-1}) + H_{l-1}), \qquad b_l \sim \mathrm{Bernoulli}(p_l), \qquad
# p_l = 1 - \frac{l}{L}(1 - p_L).$$
#
# Early blocks make the features that all others need, so they survive more often; with $p_L = 1/2$ the last one is left
# out every other time. A ResNet of 110 layers has $L = 54$ blocks. How many of them are alive on average?

# %% tags=["slide:C/27-stochastic-depth"]
survival = mv.nn.survival_schedule(54, 0.5)
np.testing.assert_allclose(survival, [1 - block / 54 * (1 - 0.5) for block in range(1, 55)])
assert abs(survival.sum() - 40.25) < 1e-9 and abs(survival[0] - 0.99074) < 1e-5 and survival[-1] == 0.5
alive = (rng.random((20_000, 54)) < survival).sum(axis=1)  # live blocks of 20,000 batches
print(
    f"expected {survival.sum():.2f} live blocks, drawn {alive.mean():.2f}, from {alive.min()} to {alive.max()}"
)
assert abs(alive.mean() - 40.25) < 0.1
counts = np.bincount(alive, minlength=55)[25:55]
viz.bars(
    {str(n): 100 * share for n, share in zip(range(25, 55), counts / len(alive), strict=True)},
    "batches, %",
    "blocks that are alive",
    values=False,
    width=7.6,
    title="A network of 54 blocks that changes its depth with every batch",
    caption="Each bar is the share of batches that train a network with this many blocks. Almost all batches train a network "
    "of 32 to 48 blocks. So one trains a collection of networks of different depths that share their weights.",
)

# %% [markdown]
# There are **two rules** under one name. In the paper's, the whole batch loses a block, nothing is scaled in training,
# and in evaluation $F_l$ is multiplied by $p_l$. In today's libraries (where it is called *drop path*) each *sample* loses
# a block on its own, what survives is divided by $p_l$, and nothing happens in evaluation; the rates $1 - p_l$ rise from 0
# in the first block. In both rules evaluation uses the mean of what happens in training, because the scaling is done
# exactly once.

# %% tags=["slide:C/27-stochastic-depth"]
ones = np.ones((4000, 1), np.float32)
per_batch = mv.nn.DropPath(0.5, per="batch", rng=0)  # the paper's rule
per_sample = mv.nn.DropPath(0.5, rng=0)  # today's
batches = [per_batch(ones).data for _ in range(20)]
assert {tuple(np.unique(y)) for y in batches} == {(0.0,), (1.0,)}  # all together, and not scaled
assert np.unique(per_sample(ones).data).tolist() == [0, 2]  # each on its own, and doubled
assert abs(per_sample(ones).data.mean() - 1) < 0.1
assert (per_batch.eval()(ones).data == 0.5).all() and (per_sample.eval()(ones).data == 1).all()
assert mv.nn.drop_path_rates(0.5, 5) == [0, 0.125, 0.25, 0.375, 0.5]  # from 0, in equal steps
with mv.nn.init.skip_init():
    resnet110 = mv.models.resnet110(survival=0.5)
assert len(resnet110.blocks) == 54 and sum(p.size for p in resnet110.parameters()) == 1_727_962

# %% [markdown]
# Is the network better for it? The paper reports 5.2 instead of 6.4 % error on CIFAR-10 with 110 layers, after 500
# passes over the data. The study has measured it with 56 layers on 400 crops, a small training set. There a
# *regulariser*, which makes learning by heart harder, should help most:

# %%
for name in study["survival"]:
    print(
        f"{name:16}: processor time", ", ".join(f"{s:.0f}" for s in study["survival"][name]["seconds"]), "s"
    )
    for metric in ("training error", "test error"):
        values = last("survival", name, metric)
        print(f"{name:16}: {metric:14}", ", ".join(f"{e:.1f}" for e in values), "%")
    if name != "all blocks":  # with every seed the errors are larger
        assert (last("survival", name, "test error") > last("survival", "all blocks", "test error")).all()
viz.training_errors(
    {"400 training pictures": study["survival"]},
    width=6.4,
    title="With and without stochastic depth",
    caption="Dashed: training error; solid: test error; bands go from the best to the worst seed. The network that loses "
    "blocks learns much more slowly, and at the end of this training it is worse on both.",
)

# %% [markdown]
# **Here stochastic depth does not help.** With it the network is worse on the training pictures as well: it is not yet
# trained, and a regulariser cannot help a network that does not fit its data yet. The paper shows each picture 500 times, this
# study 32 times. What is confirmed is the cost: fewer blocks are computed, so the training takes less time.
#
# ### A residual network is a collection already
#
# Why can one leave a block out at all? Veit, Wilber and Belongie (2016) removed single blocks from trained networks. We do
# the same with our networks of 20 layers: one block is skipped, without any training afterwards. Blocks 4 and 7 change
# the size of the map, so they have to stay.


# %%
def without(net, place):
    """The held-out error when one block is skipped."""
    kept = net.blocks
    try:
        net.blocks = [block for i, block in enumerate(kept) if i != place]
        return error(net, held, held_labels)
    finally:
        net.blocks = kept


# %%
places = [i for i in range(9) if i not in (3, 6)]  # those two change the size of the map
skipped = {
    f"{kind} network": np.array([100 * without(nets[f"{kind} 20"], i) for i in places])
    for kind in ("plain", "residual")
}
complete = {f"{kind}, all blocks": 100 * errors[f"{kind} 20"][1] for kind in ("plain", "residual")}
print("held-out error:", "; ".join(f"{name} {found:.1f} %" for name, found in complete.items()))
assert skipped["residual network"].mean() < skipped["plain network"].mean() - 20
viz.curves(
    {name: (np.array(places) + 1, found) for name, found in skipped.items()},
    "the block that is left out",
    "held-out error, %",
    title="One block is taken out of a trained network",
    caption="Each point is the error of the network without one block. The plain network needs every block: without one it "
    "is little better than guessing, which has 90 % error. The residual network still works; it suffers most without its first block.",
)

# %% [markdown]
# ## A residual network as a differential equation
#
# Slide `C/28-resnet-as-ode`. A residual layer $Y_{j+1} = Y_j + G(Y_j, \theta_j)$ moves the state a little. This is how
# one solves a differential equation with **Euler's method**: to follow $\frac{dh}{dt} = f(h(t), t, \theta)$, take small
# steps of length $\Delta$ in the direction of the velocity, $h \leftarrow h + \Delta\, f(h, t)$. What happens with
# more layers and smaller steps? They approach the solution. The simplest example is $y' = y$ from $y(0) = 1$; at $t = 1$
# it is $e$:


# %%
def euler(field, y, t0, t1, steps):
    """Each step is a residual layer: y + h f(y, t)."""
    h = (t1 - t0) / steps
    for j in range(steps):
        y = y + h * field(y, t0 + j * h)
    return y


# %% tags=["slide:C/28-resnet-as-ode"]
def growth(y, t):
    return y


worked = {1: 2, 2: 2.25, 4: 2.44140625, 10: 2.59374246, 100: 2.70481383}
for steps, expected in worked.items():
    found = euler(growth, 1.0, 0, 1, steps)
    print(f"{steps:3} steps: {found:.8f}   (e is {math.e:.8f}, off by {math.e - found:.5f})")
    assert abs(found - expected) < 1e-8 and abs(analysis.odeint(growth, 1.0, 0, 1, steps) - expected) < 1e-8
assert abs(analysis.odeint(growth, 1.0, 0, 1, 1, "rk4") - 65 / 24) < 1e-12  # 2.708333 with a single step
paths = {
    f"{steps} step{'s' * (steps > 1)}": (
        np.linspace(0, 1, steps + 1),
        np.array(analysis.odeint(growth, 1.0, 0, 1, steps, path=True)),
    )
    for steps in (1, 2, 4, 10)
}
viz.curves(
    {**paths, "solution": (np.linspace(0, 1, 101), np.exp(np.linspace(0, 1, 101)))},
    "t",
    "y",
    title="Euler's steps and the solution",
    caption="Each straight piece of a path is one step, that is one layer. Compare where the paths end: with more and smaller "
    "steps they come nearer to the solution, the exponential.",
)

# %% [markdown]
# Better methods look at the velocity within the step. The **midpoint** method takes that of the middle, and the method of
# **Runge and Kutta** (rk4) averages four (exercise 4 has the formulas). When the number of steps doubles, the error is
# divided by about 2 with Euler, by 4 with the midpoint and by 16 with rk4: these are methods of order 1, 2 and 4.

# %%
steps = np.array([1, 2, 4, 8, 16, 32])
off = {
    method: np.array([abs(analysis.odeint(growth, 1.0, 0, 1, int(n), method) - math.e) for n in steps])
    for method in ("euler", "midpoint", "rk4")
}
for (method, order), found in zip({"euler": 1, "midpoint": 2, "rk4": 4}.items(), off.values(), strict=True):
    print(f"{method:8}: error divided by", np.round(found[:-1] / found[1:], 1), "with each doubling")
    assert abs(found[-2] / found[-1] / 2**order - 1) < 0.1
viz.curves(
    {method: (steps, found) for method, found in off.items()},
    "steps",
    "error at t = 1",
    log="xy",
    title="Three methods, and what smaller steps are worth",
    caption="Both axes are logarithmic, so a straight line means that each doubling of the steps divides the error by the same "
    "number. The steepness is the order of the method: Euler falls slowest, rk4 fastest.",
)

# %% [markdown]
# ### Smaller steps in a trained network
#
# Now a network. Between a first convolution and the linear layer the map is the state $h(t)$ of a differential equation,
# from $t = 0$ to $t = 1$. Its velocity is computed by two convolutions with a tanh between them. We train it with four
# steps of Euler: four residual layers with shared weights. There is no ReLU after the sum; otherwise it would not be a
# step of Euler. Then we take the trained weights and make the steps smaller.


# %%
class Flow(mv.nn.Module):
    """Images (B, 1, 8, 8) -> logits (B, 10), through a differential equation."""

    def __init__(self, width=32, seed=0):
        rng = np.random.default_rng(seed)
        self.stem = conv(1, width, 3, 2, rng)
        self.norm = mv.nn.BatchNorm2d(width)
        self.first = conv(width, width, 3, 1, rng)
        self.second = conv(width, width, 3, 1, rng)
        self.head = mv.nn.Linear(width, 10, rng=rng)

    def field(self, y, t):
        """The velocity of the map y; it does not depend on t."""
        return self.second(ops.tanh(self.first(y)))

    def forward(self, images, steps=4, method="euler"):
        y = self.norm(self.stem(images))  # (B, C, 4, 4)
        y = analysis.odeint(self.field, y, 0, 1, steps, method)
        return self.head(ops.mean(ops.relu(y), axis=(2, 3)))


flow = Flow()
print(f"training loss at the end: {np.mean(train(flow, steps=200, lr=0.2)[-10:]):.3f}")

# %% tags=["slide:C/28-resnet-as-ode"]
flow.eval()
with mv.no_grad():
    solution = flow(held, 32, "rk4").data
    answers = {n: flow(held, n).data for n in (1, 2, 4, 8, 16, 32)}
right = {n: (logits.argmax(axis=1) == held_labels).mean() for n, logits in answers.items()}
away = {n: float(np.abs(logits - solution).mean()) for n, logits in answers.items()}
for n in answers:
    print(f"{n:2} steps: {right[n]:6.1%} right, logits differ by {away[n]:.3f} from those of the solution")
assert right[8] > right[4] - 0.03 and right[32] > right[4] - 0.03  # smaller steps than it was trained with
assert 1.7 < away[16] / away[32] < 2.3  # Euler is of order 1
viz.curves(
    {"Euler": (np.array(list(away)), np.array(list(away.values())))},
    "steps",
    "mean distance of the logits",
    log="xy",
    title="The trained network with smaller steps",
    caption="The distance of the logits from those of the solution (32 steps of rk4); both axes are logarithmic. The network "
    "was trained with four steps. With more steps it approaches the differential equation: the distance halves when the "
    "number of steps doubles.",
)

# %% [markdown]
# The accuracy is kept with steps that the network never saw: it has learned a field, not four layers. With one step
# instead of four it loses a little. (Not every network behaves so well. Put `ops.relu` in place of `ops.tanh`: with this
# learning rate the training failed when we tried it. With a learning rate of 0.05 both learn, but with four steps the
# logits of the ReLU network are three to five times as far from the solution as those of the tanh network.)
#
# In a ResNet every block has weights of its own. `mv.models.ODENet` is such a network: block $j$ gives the velocity from
# $t = j$ to $j + 1$. The study has trained ten such blocks with one step each, and then divided every step into 2, 4
# and 8:

# %% tags=["slide:C/28-resnet-as-ode"]
refined = study["refinement"]["ten blocks"]
by_steps = 100 * np.array(refined["test error"])  # (seeds, steps)
for n, found in zip(refined["steps"][0], by_steps.T, strict=True):
    print(f"{n:.0f} steps for each block: held-out error", ", ".join(f"{e:.1f}" for e in found), "%")
assert (by_steps < 5).all()

# %% [markdown]
# These are up to eighty steps with the weights of ten blocks. The error rises a little, from between 1 and 2 % to less
# than 3 %: the network still reads.
#
# ### Gradients without keeping the layers
#
# Backpropagation keeps the state of every step. For a differential equation there is another way, the **adjoint method**
# (Chen, Rubanova, Bettencourt and Duvenaud 2018): the gradient $a(t) = \partial L / \partial h(t)$ obeys an equation of
# its own, which is solved *backwards* in time together with the state.
#
# $$\frac{da}{dt} = -a^T \frac{\partial f}{\partial h}, \qquad
# \frac{\partial L}{\partial \theta} = -\int_{t_1}^{t_0} a^T \frac{\partial f}{\partial \theta}\, dt$$
#
# ($\theta$ are the weights of $f$.) Nothing has to be kept but the last state. But these are the gradients of the
# *equation*, not those of the steps that were really taken. The two agree only as the steps become small. We measure how
# far apart the gradients of the state at $t = 0$ are:

# %% tags=["slide:C/28-resnet-as-ode"]
with mv.no_grad():
    begin = flow.norm(flow.stem(held[:20])).data
direction = np.random.default_rng(0).standard_normal(begin.shape).astype(np.float32)  # dL / dh(1)
differ = {}
for n in (4, 8, 16, 32, 64):
    y0 = mv.Tensor(begin, requires_grad=True)
    y1 = analysis.odeint(flow.field, y0, 0, 1, n)
    (y1 * direction).sum().backward()  # through all steps
    _, adjoint, _ = analysis.odeint_adjoint(flow.field, y1, direction, 0, 1, n)
    differ[n] = float(np.linalg.norm(adjoint - y0.grad) / np.linalg.norm(y0.grad))
    print(f"{n:2} steps: the two gradients differ by {differ[n]:.2%}")
assert 1.7 < differ[32] / differ[64] < 2.3  # halves when the steps double
assert differ[4] > 5 * differ[64]

# %% [markdown]
# ## Wide, deep, expensive
#
# Is depth what counts? Zagoruyko and Komodakis (2016) took fewer layers with many more channels. Their **Wide ResNet**
# WRN-28-10 has 28 layers ten times as wide as those of He et al., and 36.5 million parameters. The paper reports a smaller
# error on CIFAR-10 than that of a ResNet of a thousand layers, and a much shorter training, because a graphics processor
# computes a few wide layers faster than many narrow ones. We count the parameters:

# %%
with mv.nn.init.skip_init():
    wide = {name: getattr(mv.models, name)() for name in ("wrn40_1", "wrn40_2", "wrn40_4", "wrn28_10")}
size = {name: sum(p.size for p in model.parameters()) for name, model in wide.items()}
for name, count in size.items():
    print(f"{name:8}: {count:10,} parameters")
assert size["wrn40_1"] == 563_930 and size["wrn28_10"] == 36_479_194
assert 3.9 < size["wrn40_4"] / size["wrn40_2"] < 4.1  # twice as wide: four times the parameters

# %% [markdown]
# Now networks of the chapter, counted by the library while you wait: parameters, multiply-adds for one image, and what
# was published. The book's page *Shapes* has the same table for every published size in the library.

# %%
names = ["LeNet5", "alexnet", "vgg16", "resnet18", "resnet50", "resnet101", "wide_resnet50_2"]
costs = mv.models.complexity(names)
for row in costs.rows:
    if row.published.multiply_adds:
        assert round(row.multiply_adds / 1e9, 3) == float(row.published.multiply_adds)
costs

# %% [markdown]
# VGG-16 needs almost four times the multiply-adds of ResNet-50 and has five times its parameters, and its error on ImageNet is
# larger. The first convolution of VGG at 224 x 224 pixels alone costs $224^2 \cdot 64 \cdot 27 = 86{,}704{,}128$
# multiply-adds, one eighth of all of AlexNet.

# %%
first = mv.summary(mv.nn.Conv2d(3, 64, 3, padding=1), (1, 3, 224, 224)).multiply_adds
assert first == 224 * 224 * 64 * 27 == 86_704_128
alexnet_row = costs.rows[1]
print(f"the first convolution of VGG: {first / alexnet_row.multiply_adds:.0%} of AlexNet")
assert 0.1 < first / alexnet_row.multiply_adds < 0.14

# %% [markdown]
# ## What the papers claim, and what we measured
#
# | claim | source | here |
# |---|---|---|
# | 60,000 parameters, 340,908 connections | LeCun et al. 1998 | counted: exactly these |
# | 60 million parameters, 650,000 neurons | Krizhevsky et al. 2012 | counted: 60,965,224 and 659,272 |
# | first filters show edges and colours | slide Z/21 | in three of eight networks; not in filters of 2 or 3 pixels |
# | activations become sparse with depth | slide Z/22 | zeros do not become more; the energy is in fewer places up to stage 2 |
# | deeper plain networks are worse on the training set | He et al. 2015 | yes, with every seed, and by far more |
# | deeper residual networks are better | He et al. 2015 | no: 20 layers are enough for these small tasks |
# | plain networks are not bad because gradients vanish | He et al. 2015 | yes: with batch norm they grow |
# | stochastic depth lowers the test error | Huang et al. 2016 | no: in a short training it raises both errors |
# | a residual network survives the loss of a block | Veit et al. 2016 | yes; the first block is an exception |
# | with smaller steps a network approaches an ODE | slide C/28 | yes, at the rate of Euler's method |

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: local response normalisation
# Write `my_lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0)` for $x$ $(B, C, H, W)$ and an odd `size`: each number is divided
# by $(k + \alpha \sum a_j^2)^\beta$, with the sum over the `size` channels around it, fewer at the ends. `alpha` is the
# paper's; it is not divided by `size`.


# %% tags=["exercise:lrn"]
def my_lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0): ...  # your lines here


# %% tags=["check:lrn"]
passed = mv.laws.check("local_response_norm", my_lrn).passed

# %% [markdown] tags=["solution:lrn"]
# <details><summary>Solution</summary>
#
# ```python
# def my_lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
#     half = size // 2
#     y = np.zeros_like(x)
#     for i in range(x.shape[1]):
#         near = x[:, max(0, i - half) : i + half + 1]  # a slice ends by itself at the last channel
#         y[:, i] = x[:, i] / (k + alpha * (near * near).sum(axis=1)) ** beta
#     return y
# ```
#
# A start below 0 would count from the end, so it needs `max`. A stop beyond the end does no harm.
# </details>

# %% [markdown]
# ### Exercise 2: how far does a network see?
# Write `my_field(layers)`: `layers` is a list of (kernel, stride, dilation), from the image on. Return the side of the
# receptive field and the stride of the last map, two whole numbers. An empty list sees one pixel: (1, 1).


# %% tags=["exercise:field"]
def my_field(layers): ...  # your lines here


# %% tags=["check:field"]
passed = mv.laws.check("field_of_view", my_field).passed

# %% [markdown] tags=["solution:field"]
# <details><summary>Solution</summary>
#
# ```python
# def my_field(layers):
#     size, step = 1, 1
#     for kernel, stride, dilation in layers:
#         size = size + (kernel - 1) * dilation * step
#         step = step * stride
#     return size, step
# ```
#
# The layer sees its input at distances of `step` pixels: the strides of the layers *before* it. Its own stride counts
# from the next layer on.
# </details>

# %% [markdown]
# ### Exercise 3: which blocks survive?
# Write `my_survival(layers, last)`: the probabilities $p_l = 1 - \frac{l}{L}(1 - p_L)$ of $L$ = `layers` blocks with
# $p_L$ = `last`, as an array. Count $l$ from 1.


# %% tags=["exercise:survival"]
def my_survival(layers, last): ...  # your lines here


# %% tags=["check:survival"]
passed = mv.laws.check("survival_schedule", my_survival).passed

# %% [markdown] tags=["solution:survival"]
# <details><summary>Solution</summary>
#
# ```python
# def my_survival(layers, last):
#     return 1 - np.arange(1, layers + 1) / layers * (1 - last)
# ```
#
# The first block already has a chance to be left out, and the last one survives with exactly $p_L$.
# </details>

# %% [markdown]
# ### Exercise 4: the steps of Runge and Kutta
# Write `my_odeint(field, y0, t0, t1, steps, method="euler")`, which returns $y(t_1)$. `field(y, t)` gives the velocity
# $f$, and `y0` is an array. There are `steps` steps of equal length $h$; times may run backwards ($t_1 < t_0$). One step
# goes from $y$ at $t$ to
#
# - "euler": $y + h\,k_1$ with $k_1 = f(y, t)$;
# - "midpoint": $y + h\,k_2$ with $k_2 = f(y + \frac h2 k_1,\ t + \frac h2)$;
# - "rk4": $y + \frac h6 (k_1 + 2 k_2 + 2 k_3 + k_4)$ with $k_3 = f(y + \frac h2 k_2,\ t + \frac h2)$ and
#   $k_4 = f(y + h\,k_3,\ t + h)$.


# %% tags=["exercise:odeint"]
def my_odeint(field, y0, t0, t1, steps, method="euler"): ...  # your lines here


# %% tags=["check:odeint"]
passed = mv.laws.check("odeint", my_odeint).passed

# %% [markdown] tags=["solution:odeint"]
# <details><summary>Solution</summary>
#
# ```python
# def my_odeint(field, y0, t0, t1, steps, method="euler"):
#     h = (t1 - t0) / steps  # negative backwards
#     y = y0
#     for j in range(steps):
#         t = t0 + j * h
#         k1 = field(y, t)
#         if method == "euler":
#             y = y + k1 * h
#             continue
#         k2 = field(y + k1 * (h / 2), t + h / 2)
#         if method == "midpoint":
#             y = y + k2 * h
#             continue
#         k3 = field(y + k2 * (h / 2), t + h / 2)
#         k4 = field(y + k3 * h, t + h)
#         y = y + (k1 + 2 * k2 + 2 * k3 + k4) * (h / 6)
#     return y
# ```
#
# `y = y + ...` makes a new array; `y += ...` would write into `y0`.
# </details>

# %% [markdown]
# ### Exercise 5: count a ResNet
# Write `my_count(depths)`: the parameters of a ResNet for ImageNet with basic blocks and `depths` blocks in its four
# stages (64, 128, 256 and 512 channels). The parts: a convolution of $7 \times 7$ from 3 to 64 channels, blocks of two
# $3 \times 3$ convolutions, a $1 \times 1$ convolution on the shortcut of the first block of stages 2 to 4, a linear
# layer from 512 to 1000 with bias. Convolutions have no bias; each is followed by a batch norm with two numbers for each
# channel.


# %% tags=["exercise:count"]
def my_count(depths): ...  # your lines here


# %% tags=["check:count"]
passed = claims(
    "the count",
    (
        "is 11,689,512 for ResNet-18",
        lambda: my_count((2, 2, 2, 2)),
        11_689_512,
        "Count the norms too, also those after the 1 x 1 convolutions: 2 numbers for each channel that comes out.",
    ),
    (
        "is 21,797,672 for ResNet-34",
        lambda: my_count((3, 4, 6, 3)),
        21_797_672,
        "Only the first block of a stage has other channels at its input than at its output.",
    ),
    (
        "grows by one block of the last stage",
        lambda: my_count((2, 2, 2, 3)) - my_count((2, 2, 2, 2)),
        2 * (512 * 512 * 9 + 2 * 512),
        "A block is two convolutions from 512 to 512 channels, each with its norm.",
    ),
).passed

# %% [markdown] tags=["solution:count"]
# <details><summary>Solution</summary>
#
# ```python
# def my_count(depths):
#     def conv(inputs, outputs, kernel):
#         return inputs * outputs * kernel**2 + 2 * outputs  # with its norm
#
#     total = conv(3, 64, 7) + 512 * 1000 + 1000
#     inputs = 64
#     for depth, width in zip(depths, (64, 128, 256, 512)):
#         if inputs != width:
#             total += conv(inputs, width, 1)
#         total += conv(inputs, width, 3) + (2 * depth - 1) * conv(width, width, 3)
#         inputs = width
#     return total
# ```
#
# Of the $2 \cdot \text{depth}$ convolutions of a stage only the first has other channels at its input.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:forbidden-kernels"]
# **1. What would happen to LeNet's maps C3 if the 36 kernels that its table forbids held the number 1000?**
#
# <details><summary>Answer</summary>
#
# Nothing. The table sets them to 0 before they are used, so they have no effect, and they get no gradient either.
#
# ```python
# seen_by = mv.models.lenet.CONNECTIONS[:, :, None, None]
# x, w, b = (rng.standard_normal(shape) for shape in [(1, 6, 9, 9), (16, 6, 5, 5), 16])
# same = masked(x, np.where(seen_by, w, 1000), b, mv.models.lenet.CONNECTIONS)
# np.testing.assert_allclose(same, masked(x, w, b, mv.models.lenet.CONNECTIONS))
# assert (~mv.models.lenet.CONNECTIONS).sum() == 36
# ```
# </details>

# %% [markdown] tags=["question:mean-in-vgg"]
# **2. What would happen to the parameters of VGG-16 if the mean over all positions stood before its first linear
# layer, as in ResNet?**
#
# <details><summary>Answer</summary>
#
# They would fall from 138 to 38 million. The first linear layer would read 512 numbers instead of $512 \cdot 7
# \cdot 7$, and almost three quarters of all parameters are in this one layer.
#
# ```python
# first_layer = {places: 4096 * (512 * places + 1) for places in (49, 1)}
# assert 138_357_544 - first_layer[49] + first_layer[1] == 37_694_248
# ```
# </details>

# %% [markdown] tags=["question:seven-by-seven"]
# **3. Which is larger, the field of three convolutions of $3 \times 3$ or that of one of $7 \times 7$? And which
# has more weights?**
#
# <details><summary>Answer</summary>
#
# The fields are equal, 7 pixels. With $C$ channels in and out the single one has $49\,C^2$ weights, the three have
# $27\,C^2$, and they have a ReLU after each.
#
# ```python
# assert field_of([(3, 1, 1)] * 3) == field_of([(7, 1, 1)]) == (7, 1)
# weights_of = lambda *kernels: sum(mv.nn.Conv2d(8, 8, k, bias=False).weight.size for k in kernels)
# assert weights_of(3, 3, 3) == 27 * 8**2 < weights_of(7) == 49 * 8**2
# ```
# </details>

# %% [markdown] tags=["question:one-image"]
# **4. A trained network with batch norm reads one image, alone and among 49 others. When is the answer the same?**
#
# <details><summary>Answer</summary>
#
# In evaluation: there the norm takes the averages that it kept from the training. During training it takes mean and
# deviation of the batch, so every image changes the answers for all others.
#
# ```python
# import copy
# net, row = copy.deepcopy(nets["residual 20"]), held[:50]
# apart = {}
# for mode in ("training", "evaluation"):
#     net.train(mode == "training")
#     with mv.no_grad():
#         apart[mode] = abs(net(row[:2]).data - net(row).data[:2]).max()
# assert apart["evaluation"] < 1e-3 < 0.1 < apart["training"]
# ```
# </details>

# %% [markdown] tags=["question:surviving-blocks"]
# **5. A network of 54 blocks is trained with stochastic depth, and its last block survives in half of the steps.
# How many blocks does a step compute, on average?**
#
# <details><summary>Answer</summary>
#
# About forty, three quarters: the first block always survives, the last in half of the steps, and the probability
# falls in equal steps between them.
#
# ```python
# rates = mv.nn.drop_path_rates(0.5, 54)
# assert np.isclose(sum(1 - rate for rate in rates), 0.75 * 54)
# ```
# </details>

# %% [markdown] tags=["question:ten-times-the-steps"]
# **6. What happens to the error of Euler's method for $y' = y$ if it takes 1000 steps instead of 100?**
#
# <details><summary>Answer</summary>
#
# It falls to a tenth: the method is of order 1. Runge and Kutta's method is of order 4, so its error would fall to
# a ten-thousandth.
#
# ```python
# off_by = {steps: math.e - euler(growth, 1.0, 0, 1, steps) for steps in (100, 1000)}
# assert 9.5 < off_by[100] / off_by[1000] < 10.5
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can draw LeNet, AlexNet, VGG and ResNet and count them: convolutions make maps smaller and more numerous, then
#   come linear layers. In the older ones nearly all parameters are in the linear layers, nearly all work in the
#   convolutions.
# - You can compute a receptive field: stacks of 3 x 3 filters see as far as large filters, with fewer weights and more
#   ReLUs.
# - You can look inside. First filters can show edges and colours; what deeper channels respond to is best seen in the
#   images that they like best.
# - You can say why deeper plain networks are worse on the training set: the trouble is optimisation. Batch norm and
#   starting values alone do not mend it.
# - You can write a residual block, which learns what to *add*: $F = 0$ is the identity, and gradients have a free way.
#   Blocks can be left out, in training (stochastic depth) and even afterwards.
# - You can read it as a step of Euler's method. With smaller steps the network approaches a differential equation.
#
# Next: [04. Kernels that adapt](04_kernels_that_adapt.ipynb), where filters depend on the image.
