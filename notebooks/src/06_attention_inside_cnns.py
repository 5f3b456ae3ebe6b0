# %% [markdown]
# # 06. Attention inside CNNs: SAGAN, non-local, SASA, local relation
#
# Before there were vision transformers, attention came into convolutional networks in two ways. It was **added**:
# a block between two convolutions lets every place of a map look at every other place (SAGAN, non-local networks).
# And it **replaced** convolution: every pixel attends to a small window around it (SASA, local relation networks).
#
# **Goals**
#
# - You can write self-attention over the places of a map, with loops and with matrices, and say what a network does
#   with it at the very start of its training.
# - You can compute a non-local block by hand, in its embedded Gaussian and its dot-product form, for pictures and films.
# - You can put such a block into a trained CNN, and measure what it brings to a task that needs several frames.
# - You can write attention in a sliding window with offsets and borders, and say what it costs.
# - You can say how a local relation layer makes its weights, and what its geometric prior can express.
#
# **Before**: convolution from [02](02_convolution.ipynb), attention from [05](05_attention.ipynb).
#
# **Slides**: Deck A is AIIA, *Attention and Transformer Networks in Computer Vision*; Deck C is CPSC 425, lecture 23. A
# section that follows a slide names it by its tag: deck, page and a short name.
#
# > *Corrections.* Deck A calls $f$, $g$, $h$ of SAGAN query, key and value. In equation 1 of the paper the softmax runs
# > over the index of $f$: $g$ is the query and $f$ the key. Its formula of the non-local block has neither the output
# > projection $W_z$ nor the sum with the input. In its formula of the local relation layer the geometric term has the
# > keys' parameters $\theta_k$; it has parameters of its own.
#
# **Time**: about 60 minutes to read, 40 more for the exercises; the cells take about half a minute.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import viz
from minivis.laws import claims

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# This is the network that the chapter trains and takes apart: a small ResNet that sees the four frames of a film, one
# at a time, and one **non-local block** in its second stage. Look at the shapes at the block. Before it there are
# frames; inside it the $4 \times 8 \times 8$ places of all frames are one set of 256.

# %% tags=["slide:C/112-attention-in-existing-cnns"]
film_net = mv.load("non-local-films")
block = film_net.relations[1]
assert [relation is not None for relation in film_net.relations] == [False, True, False]
viz.architecture(film_net, (1, 4, 3, 64, 64))

# %% [markdown]
# ## How far a convolution sees
#
# A $3 \times 3$ convolution moves information by one pixel. After $n$ layers an output depends on $(2n+1)^2$ inputs, so
# for two distant places to meet, a network needs many layers or has to shrink its map. Attention needs one layer. We
# measure it: the gradient of one output is not zero exactly at the inputs on which it depends.


# %%
def reach(layer, side=15):
    """How many places of a map the output in the middle depends on."""
    x = mv.Tensor(rng.standard_normal((1, 8, side, side)), requires_grad=True)
    (layer(x)[0, :, side // 2, side // 2] * rng.standard_normal(8)).sum().backward()
    return int((x.grad != 0).any(axis=(0, 1)).sum())


def convolutions(count):
    layers = [mv.nn.Conv2d(8, 8, 3, padding=1, rng=rng) for _ in range(count)]
    return mv.nn.Sequential(*layers)


attention = mv.models.SelfAttention2d(8, spectral=False)
attention.gamma.data += 1
seen = [reach(convolutions(n)) for n in (1, 2, 4)]
print("1, 2 and 4 convolutions:", *seen, "  one layer of attention:", reach(attention))
assert seen == [9, 25, 81] and reach(attention) == 15 * 15

# %% [markdown]
# ## SAGAN: attention between all places of a map
#
# Slide `A/12-sagan`; Zhang et al., *Self-attention generative adversarial networks*, ICML 2019. Each of the $N = HW$
# places of a map is a vector $x_i$ of $C$ numbers. Three $1 \times 1$ convolutions make three vectors of it, $f(x_i)$,
# $g(x_i)$ and $h(x_i)$, each of $C/8$ numbers; a fourth, $v$, leads back to $C$:
#
# $$s_{ij} = f(x_i)^\top g(x_j), \qquad \beta_{j,i} = \frac{e^{s_{ij}}}{\sum_i e^{s_{ij}}}, \qquad
# o_j = v\Big(\sum_i \beta_{j,i}\, h(x_i)\Big), \qquad y_j = \gamma\, o_j + x_j.$$
#
# Place $j$ asks, with $g$; all places $i$ answer, with $f$. The scores are not divided by a root. First with loops, as
# the equations are written:


# %%
def sagan_loops(x, wf, wg, wh, wv, gamma):
    """Place by place: x (C, H, W) -> the same shape."""
    places = x.reshape(len(x), -1).T  # (N, C)
    y = np.empty_like(places)
    for j, asks in enumerate(places):
        s = np.array([(wf @ other) @ (wg @ asks) for other in places])
        beta = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        o = sum(weight * (wh @ other) for weight, other in zip(beta, places, strict=True))
        y[j] = gamma * (wv @ o) + asks
    return y.T.reshape(x.shape)


def sagan(x, wf, wg, wh, wv, gamma):
    """The same with matrices, for a batch (B, C, H, W)."""
    places = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)  # (B, N, C)
    keys, queries, values = places @ wf.T, places @ wg.T, places @ wh.T  # (B, N, C / 8)
    beta = mv.ops.softmax(queries @ keys.swapaxes(1, 2), axis=-1)  # (B, N, N), row j sums to 1
    o = beta @ values @ wv.T  # (B, N, C)
    return gamma * o.swapaxes(1, 2).reshape(x.shape) + x


# %% [markdown]
# Loops, matrices and the library agree, and the library keeps the laws of this function. The second law that the
# report names is worth a thought: a score with the factor $1/\sqrt{d}$, as in the Transformer, would be another function.

# %% tags=["slide:A/12-sagan"]
x = rng.standard_normal((2, 16, 3, 5))
wf, wg, wh = rng.standard_normal((3, 2, 16))
wv = rng.standard_normal((16, 2))
y = sagan(x, wf, wg, wh, wv, 0.7)
np.testing.assert_allclose(y[0], sagan_loops(x[0], wf, wg, wh, wv, 0.7))
np.testing.assert_allclose(y, mv.models.self_attention_2d(x, wf, wg, wh, wv, 0.7))
assert mv.laws.check("self_attention_2d", mv.models.self_attention_2d).passed

# the roles of f and g cannot be exchanged: only one of them is summed over
assert np.abs(sagan(x, wg, wf, wh, wv, 0.7) - y).max() > 0.1

# %% [markdown]
# ### The module
#
# Slide `C/106-cnn-with-self-attention` draws it: a map of $C \times H \times W$ goes three ways, the products of
# queries and keys are $HW \times HW$ numbers, and after a last $1 \times 1$ convolution the input is added. Look for the
# sum at the end, and for the factor $\gamma$ in front of it.

# %% tags=["slide:C/106-cnn-with-self-attention"]
module = mv.models.SelfAttention2d(64, spectral=False, rng=0)
viz.architecture(module, (1, 64, 16, 16))

# %% [markdown]
# $\gamma$ **starts at 0**, so the module starts as the identity. Then the four convolutions get no gradient at all; only
# $\gamma$ does. After the first step $\gamma$ is not 0 any more, and attention begins to learn. Anyone who tests
# gradients of this module has to set $\gamma$ to something else first.

# %%
image = rng.standard_normal((1, 64, 4, 4)).astype(np.float32)
assert (module(image).numpy() == image).all()
(module(image) * rng.standard_normal(image.shape)).sum().backward()
moved = {name: float(np.abs(p.grad).max()) for name, p in module.named_parameters()}
print({name: round(size, 3) for name, size in moved.items()})
assert moved["gamma"] > 0 and not any(size for name, size in moved.items() if name != "gamma")

# %% [markdown]
# The paper and its published code are two functions. The code has values of $C/2$ channels and max-pools keys and
# values by 2 after the projection: a quarter of the keys. The numbers of parameters tell which one a program has. (A
# common port to PyTorch is a third: values of $C$ channels, no $v$, and biases; at 64 channels it has 5,201 parameters.)


# %%
def parameters(module):
    return sum(p.size for p in module.parameters())


for C in (64, 128, 256):
    paper, code = (parameters(mv.models.SelfAttention2d(C, pool=pool)) for pool in (False, True))
    print(f"C = {C:3}: the paper's form {paper:6,}, that of the code {code:6,}")
    assert paper == 4 * C * C // 8 + 1 and code == 2 * C * C // 8 + 2 * C * C // 2 + 1
assert (paper, code) == (32_769, 81_921)

# %% [markdown]
# ### What else a SAGAN needs
#
# A generative adversarial network has two players. The **generator** $G$ makes pictures $G(z)$ of noise; the
# **discriminator** $D$ gives each picture a score. SAGAN trains with the *hinge loss*: $D$ wants scores above 1 for real
# and below $-1$ for drawn pictures, and $G$ wants high scores for what it draws:
#
# $$L_D = \mathrm{mean}\max(0, 1 - D(x)) + \mathrm{mean}\max(0, 1 + D(G(z))), \qquad L_G = -\mathrm{mean}\, D(G(z)).$$
#
# So that $D$ cannot grow without limit, each weight matrix is divided by its largest singular value $\sigma$ (*spectral
# norm*). It is found by **power iteration**, one step for each forward pass: $v = W^\top u / \lVert\cdot\rVert$,
# $u = W v / \lVert\cdot\rVert$, $\sigma = u^\top W v$.

# %%
real = np.array([2.0, 0.5])
fake = np.array([-2.0, 0.5])
assert mv.losses.hinge_d(real, fake) == 0.25 + 0.75 and mv.losses.hinge_g(fake) == 0.75

W = np.array([[3.0, 0.0], [4.0, 5.0]])
u = np.array([1.0, 0.0])
sigmas = []
for _ in range(4):
    v = W.T @ u / np.linalg.norm(W.T @ u)
    u = W @ v / np.linalg.norm(W @ v)
    sigmas.append(u @ W @ v)
print("sigma:", np.round(sigmas, 6), "  the largest singular value:", round(math.sqrt(45), 6))
np.testing.assert_allclose(sigmas, [5, 6.671746, 6.707750, 6.708198], atol=1e-6)
np.testing.assert_allclose(np.linalg.norm(W, 2), math.sqrt(45))
normed, _ = mv.nn.spectral_norm(W, np.array([1.0, 0.0]), 20)
np.testing.assert_allclose(np.linalg.norm(normed, 2), 1)

# %% [markdown]
# ### A trained one
#
# `minivis train sagan-digits` trained a small SAGAN on the handwritten digits of $8 \times 8$ pixels, with attention in
# both networks. It is told which digit to draw. Below it draws ten of each; a classifier that has seen real digits only
# says how many it reads as meant.

# %%
sagan_net = mv.load("sagan-digits")
labels = np.repeat(np.arange(10), 2)
with mv.nn.looking(sagan_net) as seen, mv.no_grad():
    digits = sagan_net(labels, rng=np.random.default_rng(4)).numpy()
classifier = mv.load("cnn-digits")
with mv.no_grad():
    read = classifier(sagan_net(np.arange(200) % 10, rng=rng).numpy()).numpy().argmax(axis=1)
right = (read == np.arange(200) % 10).mean()
gammas = {name: float(p.data[0]) for name, p in sagan_net.named_parameters() if name.endswith("gamma")}
print(
    f"{right:.0%} of 200 drawn digits are read as meant; gamma:", {n: round(g, 2) for n, g in gammas.items()}
)
assert right > 0.8 and all(g != 0 for g in gammas.values())
viz.images(
    list(digits[:, 0]),
    titles=[str(label) for label in labels],
    columns=10,
    size=0.8,
    title="Digits that a small SAGAN drew",
    caption="Two of each digit, from different noise. Compare the two of each pair: they differ, so the generator has not "
    "learned a single picture of each digit.",
)

# %% [markdown]
# Right digits alone prove little: a generator that draws *one* good picture of each digit has them all right, and one that
# copies the training set too. So three more things are measured, in the classifier's features. *Recall*: the share of real
# held-out digits that lie among the drawn ones (the drawn ones cover the real ones). *Precision*: the share of drawn
# digits that lie among the real ones. The *Frechet distance* compares mean and covariance of the two sets; 0 is best. And
# beside each drawn digit we put the training digit that is nearest to it.

# %%
from minivis.metrics import nearest_neighbours
from minivis.recipes import sagan_digits

training, _ = mv.data.digits.load("train")
features, _ = sagan_digits.judged(digits)
nearest, distance = nearest_neighbours(features, sagan_digits.judged(training)[0])
same = np.abs(digits[:, 0] - training[nearest[:, 0], 0]).max(axis=(1, 2))
assert same.min() > 0.1  # no drawn digit is a training digit
viz.samples_by_class(
    digits,
    labels,
    training[nearest[:, 0]],
    titles=("drawn", "nearest training digit"),
    size=0.5,
    title="Learned, or learned by heart?",
    caption="Each row is one digit. Left: two that the generator drew. Right: the training digits whose features are "
    "nearest. They are alike, but strokes lie elsewhere and are thicker or thinner: none is a copy.",
)

# %%
card = mv.storage.read_json(mv.storage.PACKAGED / "sagan-digits" / "card.json")
rows = {f"attention, seed {s}": r for s, r in card["the same training in full precision, by seed"].items()}
rows |= {f"without, seed {s}": r for s, r in card["without attention, all else equal, by seed"].items()}
rows["real digits instead"] = card["500 training digits in their place"]
for name, row in rows.items():
    right = f"{row['value']:.1%} right, " if "value" in row else 14 * " "
    print(f"{name:19}: {right}precision {row['precision']:.2f}, recall {row['recall']:.2f},", end=" ")
    print(f"Frechet distance {row['frechet']:.2f}")
with_it, without = (
    np.array([row["recall"] for name, row in rows.items() if name.startswith(kind)])
    for kind in ("attention", "without")
)
assert min(with_it.min(), without.min()) > 0.5
assert abs(with_it.mean() - without.mean()) < 0.1  # no difference that two seeds can show

# %% [markdown]
# And where does it look? The generator's attention stands on the map of $8 \times 8$ places, one for each pixel. For three
# places of one digit, the map of their weights:

# %%
(name,) = [name for name in seen if "generator" in name and name.endswith("weights")]
weights = seen[name][6, 0].reshape(8, 8, 8, 8)  # a three; (row, column) asks, (row, column) answers
asks = [(1, 3), (4, 4), (6, 1)]
np.testing.assert_allclose(weights.sum(axis=(2, 3)), 1, atol=1e-4)
alike = np.corrcoef([weights[place].ravel() for place in asks])[np.triu_indices(3, 1)]
print("correlation of the three maps with each other:", alike.round(2))
assert alike.min() > 0.5
viz.attention_maps(
    [weights[place] for place in asks],
    digits[6, 0],
    titles=[f"place {i + 1} asks" for i in range(3)],
    query=asks,
    title="What three places of a drawn digit attend to",
    caption="The crosses are the places that ask. Bright: a large weight. All three look mostly at the same few places, at the "
    "right of the stroke: what a place gets depends little on where it is.",
)

# %% [markdown]
# What does attention bring? The paper reports for ImageNet at $128 \times 128$ pixels an Inception score of 52.52, where the
# best before had 36.8, and a Frechet distance of 18.65 instead of 27.62; part of that is due to other changes of the
# training. The table above has our answer for digits of $8 \times 8$ pixels: **no difference**. The rows with attention
# differ as much from each other as from those without. Three convolutions see the whole map there anyway, so attention has
# little to add.
#
# ## The non-local block
#
# Slide `A/13-non-local-block`; Wang et al., *Non-local neural networks*, CVPR 2018. The same idea, found for films and
# in a more general form. Each place $i$, in space *and time*, gets a weighted mean over all places $j$:
#
# $$z_i = W_z\, y_i + x_i, \qquad y_i = \frac{1}{\mathcal{C}(x)} \sum_j f(x_i, x_j)\, g(x_j).$$
#
# $f$ says how much two places have to do with each other, and $\mathcal{C}$ normalises. With $\theta_i = W_\theta x_i$
# and $\phi_j = W_\phi x_j$ the paper tries
#
# - the *embedded Gaussian* $f = e^{\theta_i^\top \phi_j}$ with $\mathcal{C} = \sum_j f$: the softmax of attention;
# - the *Gaussian*, the same of $x_i$ and $x_j$ themselves;
# - the *dot product* $f = \theta_i^\top \phi_j$ with $\mathcal{C} = N$, the number of places: no softmax;
# - *concatenation*, $f = \mathrm{ReLU}(w_f^\top [\theta_i, \phi_j])$ with $\mathcal{C} = N$.
#
# With two places that hold 1 and 2, and all weights 1, we can compute $y$ by hand.

# %%
pair = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)  # one channel, one row, two places
one = np.ones((1, 1))
e = math.e
by_hand = {
    "dot_product": [(1 * 1 * 1 + 1 * 2 * 2) / 2, (2 * 1 * 1 + 2 * 2 * 2) / 2],
    "embedded_gaussian": [(e * 1 + e**2 * 2) / (e + e**2), (e**2 * 1 + e**4 * 2) / (e**2 + e**4)],
}
for form, expected in by_hand.items():
    y = (mv.vision.non_local(pair, one, one, one, one, form) - pair).ravel()
    print(f"{form:17}: y = {y.round(6)}")
    np.testing.assert_allclose(y, expected)
np.testing.assert_allclose(by_hand["dot_product"], [2.5, 5])
np.testing.assert_allclose(by_hand["embedded_gaussian"], [1.731059, 1.880797], atol=1e-6)


# %% [markdown]
# With loops over all places of all frames, then with matrices. All frames form one set: nothing in the sum says which
# place belongs to which frame.


# %%
def non_local_loops(film, w_theta, w_phi, w_g, w_z):
    """A film (C, T, H, W) -> the same shape: embedded Gaussian."""
    places = list(np.ndindex(film.shape[1:]))
    z = np.empty_like(film)
    for t, row, column in places:
        asks = film[:, t, row, column]
        f = np.array([math.exp((w_theta @ asks) @ (w_phi @ film[:, *other])) for other in places])
        values = np.array([w_g @ film[:, *other] for other in places])
        z[:, t, row, column] = w_z @ (f / f.sum() @ values) + asks
    return z


def non_local(film, w_theta, w_phi, w_g, w_z):
    """Films (B, C, T, H, W): softmax(X W_theta W_phi^T X^T) X W_g, W_z and the sum."""
    X = film.reshape(*film.shape[:2], -1).swapaxes(1, 2)  # (B, T H W, C)
    weights = mv.ops.softmax((X @ w_theta.T) @ (X @ w_phi.T).swapaxes(1, 2), axis=-1)  # (B, T H W, T H W)
    return (weights @ (X @ w_g.T) @ w_z.T).swapaxes(1, 2).reshape(film.shape) + film


# %% tags=["slide:A/13-non-local-block"]
film = rng.standard_normal((2, 4, 3, 2, 3))  # (B, C, T, H, W)
w_theta, w_phi, w_g = rng.standard_normal((3, 2, 4))
w_z = rng.standard_normal((4, 2))
z = non_local(film, w_theta, w_phi, w_g, w_z)
np.testing.assert_allclose(z[0], non_local_loops(film[0], w_theta, w_phi, w_g, w_z))
np.testing.assert_allclose(z, mv.vision.non_local(film, w_theta, w_phi, w_g, w_z))
assert mv.laws.check("non_local", mv.vision.non_local).passed

# a film is the same to it as one tall picture with the frames one below the other, in any order
tall = mv.vision.non_local(film.reshape(2, 4, 6, 3), w_theta, w_phi, w_g, w_z)
np.testing.assert_allclose(z, tall.reshape(film.shape))
backwards = mv.vision.non_local(film[:, :, ::-1], w_theta, w_phi, w_g, w_z)
np.testing.assert_allclose(backwards[:, :, ::-1], z)

# %% [markdown]
# The last lines hold a warning: the block is **blind to the order of frames**. A film that runs backwards gives the same
# numbers, in the other order; a mean over all frames at the end of a network then cannot tell left from right. Whoever
# asks about directions has to give the network a hint of time, or read the answer from a certain frame. We do the latter.
#
# ### Into an existing network
#
# Slide `C/112-attention-in-existing-cnns`. The last step of the block starts at 0: $W_z$ itself, or the gain of a batch
# norm after it. Then $z = x$, and the block can be put **into a trained CNN** without changing what it says. Wang et al.
# put five blocks into a ResNet-50, after every other block of its second and third stage.

# %%
trained = mv.models.ResNet(
    (1, 2), "basic", widths=(16, 32), stem_width=16, num_classes=5, norm="group", rng=1
)
with_blocks = mv.models.NonLocalResNet(trained, places=(0, 1), norm=False)
pictures = np.stack([mv.data.shapes.scene(i).image for i in range(2)])
assert (with_blocks(pictures).numpy() == trained(pictures).numpy()).all()

with mv.nn.init.skip_init():  # only counted
    published = mv.models.non_local_resnet50()
    more = parameters(published) - parameters(mv.models.resnet50())
    sizes = {C: parameters(mv.models.NonLocalBlock(C)) for C in (256, 512, 1024)}
print(f"ResNet-50 with five blocks: {parameters(published):,} parameters, {more:,} more than without")
assert sizes == {256: 132_224, 512: 526_592, 1024: 2_101_760}
assert more == 2 * sizes[512] + 3 * sizes[1024] == 7_358_464

# %% [markdown]
# Each block costs $2 N M C'$ multiply-adds for $N$ places that ask and $M$ that answer, besides its convolutions. For
# films $N = THW$ is large, so the paper pools the input of $\phi$ and $g$ by $2 \times 2$: a quarter of the keys. Every
# place still asks, so the map keeps its size.

# %%
film = np.ones((1, 64, 8, 14, 14), np.float32)
for pool in (1, 2):
    layer = mv.models.NonLocalBlock(64, pool=pool, norm=False)
    with mv.nn.looking(layer) as seen:
        assert layer(film).shape == film.shape
    N, M = seen["weights"].shape[1:]
    print(
        f"pool = {pool}: {N} places ask {M}; {2 * N * M * 32 / 1e6:.0f} million multiply-adds for the weighted means"
    )
    assert (N, M) == (8 * 14 * 14, 8 * 14 * 14 // pool**2)

# %% [markdown]
# ## A task that needs two frames
#
# The films of `mv.data.shapes.video` show one or two shapes that move over a still ground, each right, down, left or up.
# The task: say for each of the $8 \times 8$ places of the **last frame** what it shows: still ground, or something that
# moves right, down, left or up. One frame does not tell. Our network's convolutions see one frame at a time, so frames
# can meet in the non-local block only.

# %%
from minivis.recipes import non_local_films

films = non_local_films.Films(60, "validation", sample=lambda film: film)
example = films[52]
words = (*non_local_films.DIRECTIONS, "still")
print(example.caption)
viz.images(
    [*example.frames, non_local_films.motion(example) / 4],
    titles=["frame 1", "frame 2", "frame 3", "frame 4", "what moves where"],
    columns=5,
    size=1.6,
    title="A film and what is asked of it",
    caption="Four frames, and the answer for the last one: each of the 8 x 8 places has the direction of its object, "
    "from dark (right) to light (up), or white for still ground. Compare the frames to see where the objects go.",
)

# %% [markdown]
# The small network of the first figure was trained on such films by `minivis train non-local-films`. We measure it on
# films that it was not trained on. To say where the film goes as a whole, we add up the probabilities of all places and
# take the direction with the most: that of the larger object, mostly.

# %%
found = non_local_films.score(film_net, non_local_films.Films(100, "validation"))
print(
    f"100 films: the direction of {found['accuracy']:.0%} is right, and that of {found['places']:.0%} of the objects' places"
)
assert found["accuracy"] > 0.6  # guessing: 0.25

# %% [markdown]
# ### Where it looks
#
# Slide `A/14-non-local-correlations`: non-local blocks relate a place to corresponding places in other frames. To see
# whether ours does, we take the places of the last frame that lie on the largest object, and look up their weights over
# all frames. The picture shows the one of them that takes most from other frames.

# %% tags=["slide:A/14-non-local-correlations"]
weights, queries, there = non_local_films.attention_of(film_net, example)
assert weights.shape == (len(queries), 4, 8, 8)
np.testing.assert_allclose(weights.sum(axis=(1, 2, 3)), 1, atol=1e-4)
elsewhere = weights[:, :3].sum(axis=(1, 2, 3))
print("weight in other frames, of each place on the object:", elsewhere.round(2))
chosen = elsewhere.argmax()
largest = example.masks.sum(axis=(0, 2, 3)).argmax()
viz.film_attention(
    example.frames,
    weights[chosen],
    (3, *queries[chosen]),
    example.masks[:, largest],
    title="Where one place of the last frame looks",
    caption="The cross is the place that asks. The brighter a place, the larger its weight; all frames share one scale. "
    "White lines: the object on which the cross lies. Rings: the largest weight of each other frame. All three lie on the same "
    "triangle, and none on the other one.",
)

# %% [markdown]
# The softmax has become sharp: nearly all weight of a place lies in one or two places. One picture proves little, so we
# count over many films, for all places that lie on objects. How much of their weight goes to earlier frames? And how
# often does the largest weight there lie on the *same* object?

# %%
matched = non_local_films.matched(film_net, 40)
print(
    f"{matched['outside']:.0%} of the weight lies in earlier frames, and {matched['weight']:.0%} of that on the same object;"
)
print(
    f"the largest weight there lies on it in {matched['object']:.0%}, a place drawn at random would in {matched['chance']:.0%}"
)
assert matched["object"] > 2 * matched["chance"] and matched["outside"] > 0.2

# %% [markdown]
# Half of the weight stays in the frame that asks. Why? Sort the films by the direction of their largest object:

# %%
outside = [[] for _ in range(4)]
for i in range(60):
    weights, _, _ = non_local_films.attention_of(film_net, films[i])
    outside[films[i].direction] += list(weights[:, :3].sum(axis=(1, 2, 3)))
for word, shares in zip(non_local_films.DIRECTIONS, outside, strict=True):
    print(f"moves {word:5}: {np.mean(shares):.0%} of the weight lies in earlier frames")
right, down, left, up = map(np.mean, outside)
assert right > left and up > down

# %% [markdown]
# This network compares in a way of its own. What moves right or up looks back at an earlier frame, where it was further
# left or lower; what moves left or down looks mostly at its own last frame, which is where it is furthest left or lowest.
# So it seems to look for the *leftmost and lowest place of the same object in all frames*. Whether that is here or was
# earlier tells the direction. Nobody told it to do so: it is one of many ways to solve the task.
#
# ### What the block is worth
#
# Wang et al. (table 2c) report for a ResNet-50 on the videos of Kinetics: 71.8 % without a block, 72.7 % with one, 73.8 %
# with five and 74.3 % with ten. Their network without blocks also sees all frames, because it takes a mean at the end.
# Ours does not, so here the block decides more. We trained it three times with the block over all frames, and three times
# with the *same* block in each frame alone: the same number of parameters, films and steps, and the same pretrained
# backbone.

# %%
compared = non_local_films.compared()
found = {choice: 100 * np.array(row["accuracy"]) for choice, row in compared.items()}
for choice, values in found.items():
    print(f"{choice:15}: {values.mean():.1f} % on average,", ", ".join(f"{v:.1f}" for v in values))
assert found["over all frames"].min() > found["in each frame"].max()
viz.dots(
    found,
    "films with the right direction, %",
    title="The same block over all frames, and in each frame alone",
    caption="Each dot is one training run, coloured by its random seed; each bar is the mean of three. Guessing gives 25 %. "
    "The block helps because it is the only place where the frames meet, not because it has parameters.",
)

# %% [markdown]
# A single frame gives away more than 25 %: an object that goes right is, in the last frame, more often on the right.
#
# ## Write it yourself
#
# Now a network of your own, in two classes: the block, and around it position codes, an MLP and a linear layer. It
# reads maps that the trained network's first layers make of each frame, and these layers stay fixed. So it trains in
# seconds.
#
# The starting values of $\theta$ and $\phi$ matter: if they are small, all products are near 0, every place gets the same
# mean over the film, and it takes long until attention begins to choose. With the library's usual starting values this
# network gets no further in 400 steps than one that sees a single frame.


# %%
class MyNonLocalBlock(mv.nn.Module):
    """z = W_z y + x, where y is a weighted mean over a set of places (B, N, C)."""

    def __init__(self, channels, rng):
        options = {"weight_init": lambda shape, rng: mv.nn.init.normal(shape, 0.3, rng), "rng": rng}
        self.theta, self.phi, self.g = (mv.nn.Linear(channels, channels // 2, **options) for _ in range(3))
        self.out = mv.nn.Linear(channels // 2, channels, weight_init=mv.nn.init.zeros, rng=rng)

    def forward(self, x):
        products = self.theta(x) @ self.phi(x).transpose(0, 2, 1)  # (B, N, N)
        y = mv.ops.softmax(products, axis=-1) @ self.g(x)  # (B, N, C / 2)
        return self.out(y) + x


class MyFilmNet(mv.nn.Module):
    """Maps of the frames (B, T, C, H, W) -> for each place of the last frame one of five answers, (B, 5, H, W)."""

    def __init__(self, channels, over_all_frames, rng):
        self.over_all_frames = over_all_frames
        self.code = mv.nn.SinePositionCode2d(channels, 20, normalize=True)  # where a place is
        self.block = MyNonLocalBlock(channels, rng)
        self.norm = mv.nn.LayerNorm(channels)
        self.mlp = mv.nn.MLP(channels, 2 * channels, rng=rng)
        self.head = mv.nn.Linear(channels, 5, rng=rng)

    def forward(self, maps):
        B, T, C, H, W = maps.shape
        x = maps + self.code(maps[:, 0])
        x = x.transpose(0, 1, 3, 4, 2)  # (B, T, H, W, C)
        sets = (B, T * H * W, C) if self.over_all_frames else (B * T, H * W, C)
        x = self.block(x.reshape(*sets)).reshape(B, T, H * W, C)[:, -1]  # (B, H W, C)
        y = self.head(x + self.mlp(self.norm(x)))  # (B, H W, 5)
        return y.transpose(0, 2, 1).reshape(B, 5, H, W)


# %% [markdown]
# The maps of 1,400 films are computed once. 1,200 are for training, 200 for measuring.


# %%
def see(frames):
    """The maps (B, T, 64, 8, 8) of films (B, T, 3, 64, 64), up to the place where the non-local block stands."""
    body = film_net.backbone
    with mv.no_grad():
        x = mv.ops.relu(body.stem(frames.reshape(-1, *frames.shape[2:])))
        x = body.stages[1][0](body.stages[0][0](x))
    return x.numpy().reshape(*frames.shape[:2], *x.shape[1:])


drawn = non_local_films.Films(1400, "train", seed=77)
frames, moving, directions = (np.stack(part) for part in zip(*(drawn[i] for i in range(1400)), strict=True))
maps = np.concatenate([see(frames[i : i + 50]) for i in range(0, 1400, 50)])
assert maps.shape == (1400, 4, 64, 8, 8)


# %%
def learn(over_all_frames, steps=400, seed=0):
    """Train the network; return its losses, and the share of the held-back objects' places that it gets right."""
    rng = np.random.default_rng(seed)
    net = MyFilmNet(64, over_all_frames, rng)
    schedule = mv.optim.one_cycle(steps, warmup=0.1)
    optimizer = mv.optim.AdamW(mv.optim.decay_groups(net, 0.01), lr=4e-3, schedule=schedule)
    losses = []
    for _ in range(steps):
        chosen = rng.integers(0, 1200, 24)
        loss = lambda net, x, y: mv.ops.cross_entropy(net(x), y)  # noqa: E731
        losses.append(mv.train.train_step(net, loss, (maps[chosen], moving[chosen]), optimizer, clip=1.0))
    with mv.no_grad():
        said = net(maps[1200:]).numpy()[:, :4].argmax(axis=1)
    on = moving[1200:] < 4
    return np.array(losses), float((said == moving[1200:])[on].mean())


# %%
runs = {"over all frames": learn(True), "in each frame": learn(False)}
for choice, (losses, right) in runs.items():
    print(f"{choice:15}: loss {losses[-20:].mean():.2f}, {right:.0%} of the places on objects are right")
assert runs["over all frames"][1] > runs["in each frame"][1] + 0.1
viz.curves(
    {
        choice: (np.arange(10, 391), np.convolve(losses, np.ones(20) / 20, "valid"))
        for choice, (losses, _) in runs.items()
    },
    "step",
    "loss, mean of twenty steps",
    log="y",
    title="Your own block in training",
    caption="Both start alike: most places are still ground, which one frame shows. At the end the block over all frames has "
    "the lower loss, because the other never sees where an object was before.",
)

# %% [markdown]
# ## Attention instead of convolution: SASA
#
# Slide `A/15-stand-alone-self-attention`; Ramachandran et al., *Stand-alone self-attention in vision models*, NeurIPS
# 2019. If attention is so good, is convolution needed at all? SASA replaces every $3 \times 3$ convolution of a ResNet
# by attention of each pixel to a **window** around it. A convolution has a weight for each offset, the same for all
# images; attention computes its weights from the pixels. So that it knows the offset $o$, an embedding $r_o$ is added
# to the key: half of it belongs to the row offset, half to the column offset.
#
# $$y_p = \sum_o \mathrm{softmax}_o\big(q_p^\top (k_{p+o} + r_o)\big)\, v_{p+o}, \qquad
# r_o = [\,r^{\text{rows}}_{o_y};\; r^{\text{cols}}_{o_x}\,]$$
#
# At the border, neighbours outside the map do not take part. With loops, for one head:


# %%
def local_loops(x, w_q, w_k, w_v, rel_rows, rel_cols, window):
    """Pixel by pixel, one head: x (C, H, W) -> (D, H, W)."""
    _, H, W = x.shape
    y = np.zeros((len(w_q), H, W))
    for row, column in np.ndindex(H, W):
        scores, values = [], []
        for i, j in np.ndindex(window, window):
            v, u = row + i - window // 2, column + j - window // 2
            if 0 <= v < H and 0 <= u < W:  # a neighbour inside the map
                key = w_k @ x[:, v, u] + np.concatenate([rel_rows[i], rel_cols[j]])
                scores.append((w_q @ x[:, row, column]) @ key)
                values.append(w_v @ x[:, v, u])
        weights = np.exp(scores - np.max(scores))
        y[:, row, column] = weights / weights.sum() @ np.array(values)
    return y


# %% [markdown]
# Without loops over pixels: surround the map with a border, and take for each of the $k^2$ offsets the map as it is seen
# from there. `mv.vision.neighbours` does that. A mask says which of these neighbours exist.


# %%
def local(x, w_q, w_k, w_v, rel_rows, rel_cols, window):
    """One head, for a batch: x (B, C, H, W) -> (B, D, H, W)."""
    q, k, v = (np.einsum("dc,bchw->bdhw", w, x) for w in (w_q, w_k, w_v))
    bordered = [mv.vision.add_border(y, window) for y in (k, v)]
    k, v = (mv.vision.neighbours(y, window) for y in bordered)  # (B, D, k k, H, W)
    offsets = np.ndindex(window, window)
    r = np.array([np.concatenate([rel_rows[i], rel_cols[j]]) for i, j in offsets])  # (k k, D)
    scores = (q[:, :, None] * (k + r.T[:, :, None, None])).sum(axis=1)  # (B, k k, H, W)
    inside = mv.vision.neighbour_mask(*x.shape[2:], window)  # (k k, H, W)
    e = np.exp(scores - scores.max(axis=1, keepdims=True)) * inside
    return np.einsum("bohw,bdohw->bdhw", e / e.sum(axis=1, keepdims=True), v)


# %% tags=["slide:A/15-stand-alone-self-attention"]
x = rng.standard_normal((2, 3, 5, 4))
w_q, w_k, w_v = rng.standard_normal((3, 6, 3))
rel_rows, rel_cols = rng.standard_normal((2, 3, 3))  # a window of 3, half of 6 channels
y = local(x, w_q, w_k, w_v, rel_rows, rel_cols, 3)
np.testing.assert_allclose(y[0], local_loops(x[0], w_q, w_k, w_v, rel_rows, rel_cols, 3))
np.testing.assert_allclose(y, mv.models.local_attention(x, w_q, w_k, w_v, rel_rows, rel_cols, 1, 3))
assert mv.laws.check("local_attention", mv.models.local_attention).passed

# %% [markdown]
# Three special cases show what the layer is. With a window of 1 it is a $1 \times 1$ convolution. With a query of zeros
# it is the mean of the neighbours that exist: at a corner of a $3 \times 3$ window these are four, so a picture of ones
# stays a picture of ones. (Code that pads with zeros lets five zeros take part: 4/9.) And with a window that covers the
# map from everywhere, without embeddings, it is the attention of SAGAN.

# %%
ones = np.ones((1, 2, 3, 3))
zero = np.zeros((3, 1))
same = np.eye(2)
corner = {
    border: mv.models.local_attention(ones, 0 * same, same, same, zero, zero, 1, 3, border)[0, 0, 0, 0]
    for border in ("masked", "zeros")
}
print({border: round(float(value), 3) for border, value in corner.items()})
np.testing.assert_allclose([corner["masked"], corner["zeros"]], [1, 4 / 9])

none = np.zeros((9, 3))
everywhere = mv.models.local_attention(x, w_q, w_k, w_v, none, none, 1, 9)  # 9 = 2 * 5 - 1
places = x.reshape(2, 3, -1).swapaxes(1, 2)
weights = mv.ops.softmax((places @ w_q.T) @ (places @ w_k.T).swapaxes(1, 2), axis=-1)
np.testing.assert_allclose(everywhere, (weights @ (places @ w_v.T)).swapaxes(1, 2).reshape(2, 6, 5, 4))

# %% [markdown]
# ### What a window costs
#
# A convolution of window $k$ from $C$ to $C$ channels has $k^2 C^2$ parameters and as many multiply-adds for each pixel.
# Local attention has $3C^2$ for its projections, whatever the window, and $2 k^2 C$ multiply-adds for scores and sums. So a
# large window is cheap in parameters and in multiply-adds. Time is another matter: a convolution is one large matrix
# product, which processors do well, and attention in windows is many small ones. We count, and we measure.

# %%
from minivis.recipes import local_attention_shapes

costs = local_attention_shapes.window_costs(windows=(3, 5, 7, 9, 11))  # 64 channels, maps of 32 x 32
for name, row in costs["layers"].items():
    print(
        f"{name:15}: {row['multiply_adds'][0] / 1e6:5.1f} to {row['multiply_adds'][-1] / 1e6:5.1f} million",
        end=" ",
    )
    print(f"multiply-adds, {1000 * row['seconds'][0]:4.0f} to {1000 * row['seconds'][-1]:4.0f} ms")
attention, convolution = costs["layers"]["local attention"], costs["layers"]["convolution"]
assert convolution["multiply_adds"][-1] == 11**2 * 64**2 * 32**2
assert convolution["multiply_adds"][-1] > 15 * attention["multiply_adds"][-1]
assert convolution["seconds"][-1] < 5 * attention["seconds"][-1]
viz.window_costs(
    costs,
    title="What a window costs",
    caption="All scales are logarithmic. Left: attention needs far fewer multiply-adds than convolution in large windows. "
    "Right: forward and backward take about as long. Few multiply-adds do not mean little time.",
)

# %%
viz.curves(
    {
        name: (np.array(costs["windows"]), np.array(row["parameters"]) / 1000)
        for name, row in costs["layers"].items()
    },
    "window, pixels",
    "thousand parameters",
    log="y",
    title="Parameters of one layer of 64 channels",
    caption="The parameters of a convolution grow with the area of its window. Those of local attention hardly grow, "
    "because only the tables of offsets get longer; those of local relation do not grow at all.",
)

# %% [markdown]
# ### Whole networks
#
# In a SASA ResNet every $3 \times 3$ convolution is replaced, by windows of 7 and 8 heads; where the convolution had a
# stride, an average pooling follows the attention. The paper prints 10.3, 14.1 and 18.0 million parameters for the
# sizes 26, 38 and 50, against 13.7, 19.6 and 25.6 million with convolutions, and reports on ImageNet 75.8 % with a
# convolution as the first layer against 74.5 % (26), and 77.4 % against 76.9 % (50). Our networks have as many
# parameters; how such layers do in training on a small task comes below.

# %%
with mv.nn.init.skip_init():
    totals = {size: parameters(getattr(mv.models, f"sasa_resnet{size}")()) for size in (26, 38, 50)}
    convolutional = parameters(mv.models.resnet50())
print(
    {size: f"{total / 1e6:.1f} million" for size, total in totals.items()},
    f"ResNet-50: {convolutional / 1e6:.1f}",
)
assert totals == {26: 10_342_632, 38: 14_190_632, 50: 18_038_632} and convolutional == 25_557_032

# %% [markdown]
# ## Local relation networks
#
# Slide `A/16-local-relation-layer`; Hu et al., *Local relation networks for image recognition*, ICCV 2019. The same
# window, but the weights come from **how a pixel relates to the centre**, and they are shared by groups of channels:
#
# $$y_{c,p} = \sum_o \omega_{g,o}(p)\, x_{c,p+o}, \qquad
# \omega_{g,o}(p) = \mathrm{softmax}_o\big(\Phi(q_{g,p},\, k_{g,p+o}) + f_{g}(o)\big).$$
#
# What is averaged is $x$ itself: there are no values. Query and key are **one number** for each group $g$ of $m$
# channels, so $\Phi$ can be their product, or minus the square or the size of their difference.


# %%
def relation_loops(x, w_q, w_k, prior, groups, window):
    """Pixel by pixel and group by group, with minus the squared difference: x (C, H, W)."""
    C, H, W = x.shape
    y = np.zeros_like(x)
    for row, column in np.ndindex(H, W):
        for g in range(groups):
            own = slice(g * C // groups, (g + 1) * C // groups)  # the channels of the group
            scores, values = [], []
            for i, j in np.ndindex(window, window):
                v, u = row + i - window // 2, column + j - window // 2
                if 0 <= v < H and 0 <= u < W:
                    difference = w_q[g] @ x[:, row, column] - w_k[g] @ x[:, v, u]
                    scores.append(-(difference**2) + prior[g, i, j])
                    values.append(x[own, v, u])
            weights = np.exp(scores - np.max(scores))
            y[own, row, column] = weights / weights.sum() @ np.array(values)
    return y


# %%
def relation(x, w_q, w_k, prior, groups, window):
    """The same for a batch (B, C, H, W), without loops over pixels."""
    B, C, H, W = x.shape
    q, k = (np.einsum("gc,bchw->bghw", w, x) for w in (w_q, w_k))
    k, values = (mv.vision.neighbours(mv.vision.add_border(y, window), window) for y in (k, x))
    scores = -((q[:, :, None] - k) ** 2) + prior.reshape(groups, -1, 1, 1)  # (B, groups, k k, H, W)
    e = np.exp(scores - scores.max(axis=2, keepdims=True)) * mv.vision.neighbour_mask(H, W, window)
    weights = np.repeat(e / e.sum(axis=2, keepdims=True), C // groups, axis=1)  # (B, C, k k, H, W)
    return (weights * values).sum(axis=2)


# %% tags=["slide:A/16-local-relation-layer"]
x = rng.standard_normal((2, 4, 4, 5))
w_q, w_k = rng.standard_normal((2, 2, 4))
prior = rng.standard_normal((2, 3, 3))
y = relation(x, w_q, w_k, prior, 2, 3)
np.testing.assert_allclose(y[0], relation_loops(x[0], w_q, w_k, prior, 2, 3))
np.testing.assert_allclose(y, mv.models.local_relation(x, w_q, w_k, prior, 2, 3, "squared"))
assert mv.laws.check("local_relation", mv.models.local_relation).passed

# %% [markdown]
# ### Appearance plus geometry
#
# Slide `A/17-local-relation-weights`. The score is a sum of two terms, so the weights are a product: how alike two pixels
# are, times how far apart. This is a **bilateral filter** whose two kernels are learned (chapter 04 has that filter). In a
# row of two pixels, 0 and 1, with a flat geometry, the left pixel weighs itself with $e^0$ and its neighbour with
# $e^{-1}$:

# %% tags=["slide:A/17-local-relation-weights"]
row = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
flat = np.zeros((1, 3, 3))
y = mv.models.local_relation(row, one, one, flat, 1, 3, "squared")
print("the left pixel becomes", round(float(y[0, 0, 0, 0]), 6))
np.testing.assert_allclose(y[0, 0, 0, 0], math.exp(-1) / (1 + math.exp(-1)))
np.testing.assert_allclose(y[0, 0, 0, 0], 0.268941, atol=1e-6)

# %% [markdown]
# With queries and keys of 0 only the geometry is left: a fixed filter, the same for all pictures. We give the layer a
# bell as its geometry and a noisy picture, first without and then with the appearance term.

# %%
zero = np.zeros((1, 1))
picture = mv.data.shapes.scene(5, objects=1).image.mean(axis=0)[None, None].astype(np.float64)
bell = -0.5 * np.add.outer(np.arange(-3, 4) ** 2, np.arange(-3, 4) ** 2)[None] / 2**2
noisy = picture + 0.1 * rng.standard_normal(picture.shape)
by_place = mv.models.local_relation(noisy, zero, zero, bell, 1, 7, "squared")
by_both = mv.models.local_relation(noisy, 6 * one, 6 * one, bell, 1, 7, "squared")
errors = [float(np.abs(y - picture).mean()) for y in (noisy, by_place, by_both)]
print("mean error: noisy {:.3f}, geometry alone {:.3f}, appearance too {:.3f}".format(*errors))
assert errors[2] < errors[0]

viz.images(
    [y[0, 0] for y in (picture, noisy, by_place, by_both)],
    titles=["the picture", "with noise", "geometry alone", "appearance and geometry"],
    columns=4,
    size=2.0,
    title="What the two terms do",
    caption="With geometry alone the layer is a blur. With the appearance term pixels on the other side of an edge get "
    "little weight, so noise goes and edges stay.",
)

# %% [markdown]
# ### The geometric prior
#
# Slide `A/18-geometric-prior`. $f_g$ sees the offset only, so it is the same all over the map. It is not a table: a small
# network of two linear layers with a ReLU between them computes it from $o \in [-1, 1]^2$. So the prior of a window of 7
# and that of a window of 11 are the same function at other points, and it has no more parameters for a larger window.

# %% tags=["slide:A/18-geometric-prior"]
layer = mv.models.LocalRelation(64, window=7, rng=3)
wide = mv.models.LocalRelation(64, window=13, rng=3)
with mv.nn.looking(layer) as seen, mv.no_grad():
    layer(rng.standard_normal((1, 64, 9, 12)).astype(np.float32))
prior = seen["prior"]  # (groups, 7, 7)
assert prior.shape == (8, 7, 7) and parameters(layer) == parameters(wide)
np.testing.assert_allclose(wide.prior().numpy()[:, ::2, ::2], prior, atol=1e-5)  # every other offset of 13
# without appearance the weights are the same at every pixel whose window lies inside
layer.w_q.data[...] = 0
with mv.nn.looking(layer) as seen, mv.no_grad():
    layer(rng.standard_normal((1, 64, 9, 12)).astype(np.float32))
inner = seen["weights"][0, :, :, 3:-3, 3:-3]  # (groups, 49, 3, 6)
np.testing.assert_allclose(inner, np.broadcast_to(inner[:, :, :1, :1], inner.shape), atol=1e-6)
viz.geometric_prior(
    prior,
    columns=8,
    title="Geometric priors before training",
    caption="The pixel itself is in the middle of each square. Orange: the score of a neighbour at this place is raised; "
    "purple: it is lowered. Without biases in the small network, a prior rises or falls in straight lines from the middle outwards.",
)

# %% [markdown]
# ## The four layers compared
#
# Ramachandran et al. and Hu et al. report that networks of their layers do as well as ResNets or better, with fewer
# parameters. We compare on a small task: which pixels belong to the **outline** of a shape? That can only be seen by
# comparing a pixel with its neighbours. Four networks have the same number of parameters; they differ in the layer of
# their blocks: local attention, local relation, a convolution, and a $1 \times 1$ convolution, which sees no neighbours.

# %%
results = local_attention_shapes.results()
found = {layer: 100 * np.array(row["F1"]) for layer, row in results.items()}
for layer, values in found.items():
    print(f"{layer:12}: F1 {values.mean():.1f} % on average,", ", ".join(f"{v:.1f}" for v in values), end=" ")
    print(f"({results[layer]['parameters']:,} parameters, {np.mean(results[layer]['seconds']):.0f} s)")
assert min(found["attention"].min(), found["convolution"].min()) > found["pointwise"].max()
viz.dots(
    found,
    "F1 of the outline's pixels, %",
    title="Four layers, equal numbers of parameters",
    caption="Each dot is one training run, coloured by its random seed; each bar is the mean of three. Compare each bar with "
    "the last one, whose network sees no neighbours, and then with that of the convolution.",
)

# %% [markdown]
# **Here convolution wins**: in 300 steps it is ahead of local attention with all three seeds, and local relation has not
# learned to use its neighbours yet: it does as well as a network without any. This does not contradict the papers, whose
# networks train for a hundred epochs on a million pictures. A convolution has a weight of its own for each offset, so an
# edge filter is near. Attention has to make its edges from how pixels compare, and starts as a mean over the window.
#
# With 1,000 steps local attention gets much further: the card of `local-attention-shapes` says F1 0.92. This network comes
# with minivis. Here is what it finds in a scene that it has not seen, and the weights of its last layer for a place on the
# outline and for the corner.

# %%
local_net = mv.load("local-attention-shapes")
image, edges = local_attention_shapes.outlines(mv.data.shapes.scene(10**12 + 11, objects=3))
with mv.nn.looking(local_net) as seen, mv.no_grad():
    said = local_net(image[None]).numpy()[0].argmax(axis=0)
overlap = (said & edges).sum() / max(1, (said | edges).sum())
print(f"pixels that are found and there, of those found or there: {overlap:.2f}")
viz.images(
    [image, edges, said],
    titles=["a scene", "its outline", "what the network finds"],
    columns=3,
    size=2.0,
    title="An outline by local attention",
    caption="Left: the scene. Middle: the pixels whose neighbour shows another object. Right: what the network of local "
    "attention says. Look at the checks of the square and the points of the star: the edges inside textures are left out, and "
    "here and there a piece of the outline too.",
)

# %%
weights = [array for name, array in seen.items() if name.endswith("weights")]
cells = edges.reshape(32, 2, 32, 2).mean(axis=(1, 3))  # a place of the map is a patch of 2 x 2 pixels
distance = np.abs(np.indices((32, 32)) - 16).sum(axis=0)
# the place on the outline that is nearest to the middle
on_edge = np.unravel_index((cells - 0.001 * distance).argmax(), (32, 32))
viz.aggregation_weights(
    image,
    weights[-1],
    {"outline": tuple(map(int, on_edge)), "corner": (0, 0)},
    title="Weights of the last layer",
    caption="A row for each place: the scene with the window, what lies in the window, and the weights of each head. At the "
    "corner the neighbours outside the map have no weight. Look at the first row: the heads look in different directions.",
)

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: self-attention on a map
# Write `my_attention(x, wf, wg, wh, wv, gamma)` for $x$ $(B, C, H, W)$, weights $(D, C)$ and $(C, D)$, as in SAGAN's
# equations: $g$ asks, $f$ answers, there is no factor on the scores, and the input is added. Scores may be in the
# thousands.


# %% tags=["exercise:sagan"]
def my_attention(x, wf, wg, wh, wv, gamma): ...  # your lines here


# %% tags=["check:sagan"]
passed = mv.laws.check("self_attention_2d", my_attention).passed

# %% [markdown] tags=["solution:sagan"]
# <details><summary>Solution</summary>
#
# ```python
# def my_attention(x, wf, wg, wh, wv, gamma):
#     B, C, H, W = x.shape
#     places = x.reshape(B, C, H * W).swapaxes(1, 2)
#     s = (places @ wg.T) @ (places @ wf.T).swapaxes(1, 2)
#     e = np.exp(s - s.max(axis=-1, keepdims=True))
#     beta = e / e.sum(axis=-1, keepdims=True)
#     o = beta @ (places @ wh.T) @ wv.T
#     return gamma * o.swapaxes(1, 2).reshape(B, C, H, W) + x
# ```
#
# The rows of `s` belong to the place that asks, so the softmax runs along the last axis.
# </details>

# %% [markdown]
# ### Exercise 2: the non-local block
# Write `my_non_local(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1)` for pictures $(B, C, H, W)$ and
# films $(B, C, T, H, W)$. `form` may also be `"dot_product"`. With `pool` $> 1$ the input of $\phi$ and $g$ is max-pooled in
# windows of `pool` x `pool` in each frame; `pool` divides the sides of the map. Weights are $(C', C)$, and $W_z$ is $(C, C')$.


# %% tags=["exercise:non_local"]
def my_non_local(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1): ...  # your lines here


# %% tags=["check:non_local"]
passed = mv.laws.check("non_local", my_non_local).passed

# %% [markdown] tags=["solution:non_local"]
# <details><summary>Solution</summary>
#
# ```python
# def my_non_local(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1):
#     *leading, H, W = x.shape
#     pooled = x.reshape(*leading, H // pool, pool, W // pool, pool).max(axis=(-3, -1))
#     asks, answers = (y.reshape(*y.shape[:2], -1).swapaxes(1, 2) for y in (x, pooled))
#     f = (asks @ w_theta.T) @ (answers @ w_phi.T).swapaxes(1, 2)
#     if form == "dot_product":
#         f = f / f.shape[2]
#     else:
#         f = np.exp(f - f.max(axis=-1, keepdims=True))
#         f = f / f.sum(axis=-1, keepdims=True)
#     y = f @ (answers @ w_g.T) @ w_z.T
#     return y.swapaxes(1, 2).reshape(x.shape) + x
# ```
#
# `f.shape[2]` is the number of places that answer, after pooling. A film needs no line of its own: all its places become
# one axis.
# </details>

# %% [markdown]
# ### Exercise 3: attention in a window
# Write `my_window_mean(x, window)`: local attention with a query of zeros and $W_v = 1$, that is, the mean of all
# neighbours of each pixel that lie inside the map. $x$ is $(B, C, H, W)$, and the window is odd. Hint: sum the shifted
# maps, and sum the shifted ones of a map of ones.


# %% tags=["exercise:window"]
def my_window_mean(x, window): ...  # your lines here


# %% tags=["check:window"]
picture = np.random.default_rng(1).standard_normal((2, 3, 5, 7))
passed = claims(
    "the mean over a window",
    (
        "of ones is 1, at the corners too",
        lambda: my_window_mean(np.ones((1, 1, 3, 4)), 3),
        np.ones((1, 1, 3, 4)),
        "A corner has four neighbours inside the map, itself included: divide by four there, not by nine.",
    ),
    (
        "with a window of 1 is the map itself",
        lambda: my_window_mean(picture, 1),
        picture,
        "Does the window reach (window - 1) / 2 pixels to each side?",
    ),
    (
        "with a window larger than the map is the mean of the map",
        lambda: my_window_mean(picture, 15)[:, :, 2, 3],
        picture.mean(axis=(2, 3)),
        "A neighbour that lies outside counts neither in the sum nor in the number.",
    ),
    (
        "at one pixel is what its window says",
        lambda: my_window_mean(picture, 3)[:, :, 0, 4],
        picture[:, :, :2, 3:6].mean(axis=(2, 3)),
        "At the upper border the window has two rows and three columns.",
    ),
).passed

# %% [markdown] tags=["solution:window"]
# <details><summary>Solution</summary>
#
# ```python
# def my_window_mean(x, window):
#     reach = window // 2
#     B, C, H, W = x.shape
#     padded, inside = (np.pad(y, ((0, 0), (0, 0), (reach,) * 2, (reach,) * 2)) for y in (x, np.ones_like(x)))
#     total = sum(padded[:, :, i : i + H, j : j + W] for i in range(window) for j in range(window))
#     count = sum(inside[:, :, i : i + H, j : j + W] for i in range(window) for j in range(window))
#     return total / count
# ```
#
# Equal scores give equal weights: 1 / 4 at a corner of a 3 x 3 window, 1 / 9 in the middle.
# </details>

# %% [markdown]
# ### Exercise 4: what does a block cost?
# Write `my_price(T, H, W, C, pool)`: the multiply-adds of a non-local block on a film of $T$ frames of $H \times W$ places
# with $C$ channels and $C' = C/2$: the four projections, the products of $\theta$ and $\phi$, and the weighted means. With
# `pool` the projections to $\phi$ and $g$ read the pooled map. Biases and norms do not count.


# %% tags=["exercise:price"]
def my_price(T, H, W, C, pool): ...  # your lines here


# %% tags=["check:price"]
passed = claims(
    "the price of a non-local block",
    (
        "is 36 for a single place with four channels",
        lambda: my_price(1, 1, 1, 4, 1),
        36,
        "Four projections of C C' each, one product and one mean of C' each.",
    ),
    (
        "is 170,196,992 for 8 frames of 14 x 14 places and 64 channels",
        lambda: my_price(8, 14, 14, 64, 1),
        170_196_992,
        "Each of the N = T H W places asks all N places: N² products of length C', and N² terms of length C' in the means.",
    ),
    (
        "with pool=2: a quarter of the places answer, but all ask",
        lambda: my_price(8, 14, 14, 64, 2),
        2 * 1568 * 64 * 32 + 2 * 392 * 64 * 32 + 2 * 1568 * 392 * 32,
        "theta and W_z work on all N places, phi and g on N / 4.",
    ),
).passed

# %% [markdown] tags=["solution:price"]
# <details><summary>Solution</summary>
#
# ```python
# def my_price(T, H, W, C, pool):
#     N = T * H * W
#     M = N // pool**2
#     return 2 * N * C * (C // 2) + 2 * M * C * (C // 2) + 2 * N * M * (C // 2)
# ```
#
# The last term grows with the square of the number of places. At 8 frames of 14 x 14 it is already twelve times the rest.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:distant-places"]
# **1. How many $3 \times 3$ convolutions does it take until the middle of a map of $15 \times 15$ depends on its
# corners, and how many layers of attention?**
#
# <details><summary>Answer</summary>
#
# Seven convolutions, since each adds one pixel on every side; one layer of attention.
#
# ```python
# field = lambda count: reach(convolutions(count))
# assert field(6) == 13 * 13 and field(7) == 15 * 15
# ```
# </details>

# %% [markdown] tags=["question:gamma"]
# **2. What would a GAN lose if $\gamma$ of its new attention module started at 1 instead of 0?**
#
# <details><summary>Answer</summary>
#
# What it had learned, if it was trained before: the module would change its maps at once. With $\gamma = 0$ it
# starts as the identity, and is faded in as far as it helps.
#
# ```python
# fresh = mv.models.SelfAttention2d(64, spectral=False, rng=0)
# before = rng.standard_normal((1, 64, 4, 4)).astype(np.float32)
# assert (fresh(before).numpy() == before).all()
# fresh.gamma.data += 1
# assert abs(fresh(before).numpy() - before).max() > 0.01
# ```
# </details>

# %% [markdown] tags=["question:shuffled-frames"]
# **3. The frames of a film are put into another order. What does a non-local block make of it?**
#
# <details><summary>Answer</summary>
#
# The same maps in that other order: the block compares places and does not know to which frame they belong. Without
# a hint of time it cannot tell a film from its reverse.
#
# ```python
# film, order = rng.standard_normal((1, 4, 3, 2, 2)), np.array([2, 0, 1])
# matrices = [*rng.standard_normal((3, 2, 4)), rng.standard_normal((4, 2))]
# shuffled = mv.vision.non_local(film[:, :, order], *matrices)
# np.testing.assert_allclose(shuffled, mv.vision.non_local(film, *matrices)[:, :, order])
# ```
# </details>

# %% [markdown] tags=["question:larger-window"]
# **4. A window grows from 3 to 11 pixels. What happens to the parameters of a convolution, and to those of local
# attention?**
#
# <details><summary>Answer</summary>
#
# Those of the convolution grow with the area, to more than 13 times as many. Those of local attention stay nearly
# the same: three projections, and tables for 11 rows and columns of offsets instead of 3.
#
# ```python
# grown = {name: row["parameters"][-1] / row["parameters"][0] for name, row in costs["layers"].items()}
# assert costs["windows"][0] == 3 and costs["windows"][-1] == 11
# assert grown["convolution"] > 13 and grown["local attention"] < 1.1
# ```
# </details>

# %% [markdown] tags=["question:zero-query"]
# **5. All queries of a local attention layer are 0. What does it compute?**
#
# <details><summary>Answer</summary>
#
# The mean over the neighbours that exist: all scores are equal. With zeros as a border, which take part in the
# mean, a picture of ones would become darker at its rim.
#
# ```python
# eye, no_offsets = np.eye(2), np.zeros((3, 1))
# ones = np.ones((1, 2, 4, 4))
# means = mv.models.local_attention(ones, 0 * eye, eye, eye, no_offsets, no_offsets, 1, 3)
# np.testing.assert_allclose(means, 1)
# ```
# </details>

# %% [markdown] tags=["question:flat-geometry"]
# **6. A local relation layer has a flat geometry and is used on a picture of one colour. What happens if its
# appearance term is made ten times as strong?**
#
# <details><summary>Answer</summary>
#
# Nothing: all pixels are alike, so all differences are 0 and all weights equal. The appearance term works only
# where pixels differ.
#
# ```python
# even, w1 = np.full((1, 1, 5, 5), 0.4), np.ones((1, 1))
# for strength in (1, 10):
#     same = mv.models.local_relation(even, strength * w1, strength * w1, np.zeros((1, 3, 3)), 1, 3, "squared")
#     np.testing.assert_allclose(same, even)
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can put attention over the places of a map between two convolutions. With a zero at its end it starts as the
#   identity, also inside a trained network.
# - You can compute SAGAN's module and the non-local block. Both are the same softmax; the papers differ in widths, in the
#   form of $f$ and in what starts at zero. Published programs are often another function than the paper: look at what
#   they pool, and when.
# - You can say what the block does with films: it is blind to the order of frames. It finds what belongs together; what
#   that means has to come from position codes and from where the answer is read.
# - You can write attention in a sliding window, with offsets and borders. It has fewer parameters than a convolution, but
#   does not take less time.
# - You can say how a local relation layer makes its weights: it multiplies appearance with geometry, as a bilateral filter
#   does, and learns both.
#
# Next: [07. The Transformer](07_transformer.ipynb), which is built from attention alone.
