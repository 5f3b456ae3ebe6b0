# %% [markdown]
# # 07. The Transformer: attention, a small network, and a stack
#
# How attention becomes a whole network that reads one sequence and writes another. We build it part by part and train
# it to reverse numbers.
#
# **Goals**
#
# - You can turn an image into tokens, and add positions to them.
# - You can write a transformer block, say what each part is for, and count its parameters.
# - You can keep a decoder from using later tokens, and test that it does not.
# - You can train an encoder-decoder Transformer, read its cross-attention, and say what it learned.
#
# **Before**: attention from [05](05_attention.ipynb); gradients from [01](01_autograd.ipynb).
#
# **Slides**: Deck I is Indaba, *Panoptic Segmentation with Transformers*; Deck C is CPSC 425, lecture 23; Deck Z is
# Zagoruyko, *Transformers in Computer Vision*; Deck A is AIIA, *Attention and Transformer Networks in Computer
# Vision*. A section that follows a slide names it by its tag: deck, page and a short name.
#
# **Time**: about 50 minutes to read, 40 more for the exercises; the cells take about 15 seconds.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import nn, viz
from minivis.laws import claims
from minivis.ops import layer_norm, linear

rng = np.random.default_rng(0)

# %% [markdown]
# ## What this chapter builds
#
# Look at the two blocks, drawn from a Transformer that turns 8 symbols into 6 others: both are attention and an
# MLP, each added to what came in, and only the decoder also attends to a *memory*, what the encoder returned.

# %%
sentences = np.zeros((1, 8), int), np.zeros((1, 6), int)  # what is read, what is written
viz.architecture(
    nn.Transformer(64, 4, source_vocabulary=12, target_vocabulary=12, dim_feedforward=256), sentences
)

# %% [markdown] tags=["slide:I/5-transformer-translates"]
# ## Where it comes from
# Slide `I/5-transformer-translates`.
#
# The Transformer was made in 2017 to translate: a sentence goes in as a sequence of word vectors (*tokens*), and
# another sentence comes out, word by word. But nothing in it depends on words. Anything that can be written as a set
# of vectors with positions can be its input, also images.

# %% [markdown]
# ## Tokens from patches
# Slide `A/20-tokens-from-patches`.
#
# Cut an image of $H \times W$ pixels and $C$ channels into patches of $N \times N$ pixels. Each patch is a vector
# $x_i$ of $N^2 C$ numbers. One learned matrix $W_e$, $(d_m, N^2 C)$, maps it to the width $d_m$ of the network:
# $x'_i = W_e x_i$.
#
# > *A correction.* The slide lets $i$ run to $HW$. There are $HW / N^2$ patches.

# %% tags=["slide:A/20-tokens-from-patches"]
photo = mv.data.photos.flower(size=(96, 144))  # (3, H, W)
patch = 24
height, width = photo.shape[1] // patch, photo.shape[2] // patch  # patches down and across
patches = photo.reshape(3, height, patch, width, patch).transpose(1, 3, 0, 2, 4)  # (H/N, W/N, C, N, N)
flat = patches.reshape(height * width, -1)  # (HW/N^2, C N^2)

d_m = 32
w_embed = (rng.standard_normal((d_m, flat.shape[1])) / math.sqrt(flat.shape[1])).astype(np.float32)
embedded = linear(flat, w_embed)  # (HW/N^2, d_m)
assert len(flat) == 96 * 144 // patch**2 == 24
assert flat.shape[1] == 3 * patch**2 and embedded.shape == (24, d_m)
viz.images(
    patches.reshape(-1, 3, patch, patch),
    columns=width,
    size=0.9,
    title="A photo as 24 tokens",
    caption=f"Each patch of {patch} × {patch} pixels is one vector of {flat.shape[1]} numbers; a matrix "
    f"maps it to width {d_m}.",
)

# %% [markdown]
# ## Positions are added
# Slide `A/21-positions-are-added`.
#
# Attention does not depend on the order of the tokens (chapter 05). So each token gets information on its place: a
# vector $p_i$ of width $d_m$ for place $i$ is added to the embedding, $z_i = x'_i + p_i$. A learned table starts at
# random. At first it contains *nothing* about where a patch is; the training has to put that in. We compare it with a
# table that needs no training: sines and cosines of growing wavelengths (Vaswani et al. 2017, section 3.5). The
# channels come in pairs $k = 0, 1, \ldots$ of a sine and a cosine; $D$ stands for the width $d_m$:
#
# $$p_{i, 2k} = \sin(\omega_k\, i), \qquad p_{i, 2k+1} = \cos(\omega_k\, i), \qquad \omega_k = 10000^{-2k/D}.$$
#
# The figure shows the cosine of the angle between the codes of every two places.

# %% tags=["slide:A/21-positions-are-added"]
length = 24
learned = nn.LearnedPositionCode1d(length, d_m, rng=0).table.data  # before any training
sine = nn.SinePositionCode1d(d_m)(np.zeros((1, length, d_m), np.float32)).numpy()


def cosine(table):
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    return unit @ unit.T


similar = {"learned, untrained": cosine(learned), "sine": cosine(sine)}
neighbours = {name: float(np.diag(s, 1).mean()) for name, s in similar.items()}
print("mean similarity of neighbouring places:", {name: round(v, 2) for name, v in neighbours.items()})
assert abs(neighbours["learned, untrained"]) < 0.1 and neighbours["sine"] > 0.9
assert (embedded + learned).shape == embedded.shape  # z = x' + p

# %% tags=["slide:A/21-positions-are-added"]
viz.attention_maps(
    np.stack(list(similar.values())).clip(0),
    titles=list(similar),
    shared=True,
    bar_label="cosine similarity (below 0 shown as 0)",
    size=2.6,
    x_label="place",
    y_label="place",
    title="How similar are the codes of two places?",
    caption="Left: learned codes before training. Only the diagonal is bright, so near places are not more similar "
    "than far ones. Right: sine codes. Places close to each other have similar codes.",
)

# %% [markdown]
# Sine codes have two useful properties. No two places have the same code. And the dot product of two codes depends
# only on the *distance* of their places: $p_i \cdot p_j = \sum_k \cos(\omega_k (i - j))$. Look at the code itself:
# the fast waves of the first channels distinguish neighbours, the slow waves of the later channels distinguish
# regions.

# %%
assert len(np.unique(sine, axis=0)) == length  # no code twice
products = sine @ sine.T
omega = 10000.0 ** (-np.arange(0, d_m, 2) / d_m)
for distance in range(length):
    np.testing.assert_allclose(np.diag(products, distance), np.cos(omega * distance).sum(), atol=1e-4)
viz.heatmap(
    sine.T,
    x_label="place i",
    y_label="channel",
    values=False,
    signed=True,
    title="The sine position code",
    caption="One column is the code of one place. From top to bottom the waves become longer. (Sine and cosine "
    "channels alternate, hence the stripes.)",
)

# %% [markdown]
# ## A block: exchange information, then transform it
# Slide `C/113-transformer-communicates-by-attention`.
#
# A block takes a set of $N$ vectors of width $D$ and returns as many of the same width. It has four parts:
# self-attention, a layer norm, a small network (MLP, for *multi-layer perceptron*) and another layer norm. There is a
# **residual** around attention and around the MLP: the input is added to the output. Only *one* of these parts lets
# the vectors exchange information.
#
# First the two parts that treat every vector by itself. The **layer norm** subtracts the mean of the vector, divides
# by its standard deviation, then scales and shifts each channel by learned numbers.


# %%
def layer_norm_loops(x, weight, bias, eps=1e-5):
    """Vector by vector: x (N, D) -> (N, D)."""
    out = np.empty_like(x)
    for i in range(len(x)):
        mean = sum(x[i]) / x.shape[1]
        variance = sum((v - mean) ** 2 for v in x[i]) / x.shape[1]  # biased: divided by D
        out[i] = weight * (x[i] - mean) / math.sqrt(variance + eps) + bias
    return out


x = rng.standard_normal((5, 8))
gain, shift = rng.standard_normal((2, 8))
np.testing.assert_allclose(layer_norm_loops(x, gain, shift), layer_norm(x, 8, gain, shift), atol=1e-12)

# %% [markdown]
# The **MLP** is two linear maps with a non-linear function between them: it widens each vector (usually four times),
# applies the non-linear function, and maps it back to its width. Is it true that information is exchanged only in
# attention? We change one vector and see which outputs change.

# %% tags=["slide:C/113-transformer-communicates-by-attention"]
d, tokens = 16, 6
parts = {
    "layer norm": nn.LayerNorm(d),
    "MLP": nn.MLP(d, 4 * d, rng=1),
    "self-attention": nn.MultiHeadAttention(d, 4, rng=2),
    "whole block": nn.TransformerEncoderLayer(d, 4, 4 * d, rng=3),
}
x = rng.standard_normal((1, tokens, d)).astype(np.float32)
nudged = x.copy()
nudged[0, 2] += rng.standard_normal(d).astype(np.float32)
changed = {
    name: (np.abs(part(nudged).data - part(x).data).max(axis=-1)[0] > 1e-6).astype(int)
    for name, part in parts.items()
}
assert changed["layer norm"].tolist() == changed["MLP"].tolist() == [0, 0, 1, 0, 0, 0]
assert changed["self-attention"].all() and changed["whole block"].all()
viz.heatmap(
    np.stack(list(changed.values())),
    x_label="token (token 2 was changed)",
    y_label="",
    y_names=list(changed),
    title="Which outputs change when one token does? (1 = changed)",
    caption="In norm and MLP only the output of the changed token changes. In self-attention, and therefore in the "
    "whole block, the outputs of all tokens change.",
)

# %% [markdown]
# ## The encoder layer, written out
# Slides `A/23-encoder`, `Z/35-original-transformer`.
#
# There is a residual around each of the two branches, self-attention (SA) and MLP, and a layer norm (LN) on each sum:
#
# $$x \leftarrow \mathrm{LN}(x + \mathrm{SA}(x)), \qquad x \leftarrow \mathrm{LN}(x + \mathrm{MLP}(x)).$$
#
# This is the order of 2017, called **post-norm**. ViT and most networks since put the norm *before* each branch and
# leave the residual itself without a norm (**pre-norm**): $x \leftarrow x + \mathrm{SA}(\mathrm{LN}(x))$. We write
# post-norm with nothing but products, and give it the weights of the library's layer. (`state_dict()` is a dictionary
# of all weights by name.)


# %%
def encoder_layer(x, p, heads):
    """A post-norm encoder layer from raw arrays: x (N, D), p the layer's state dict."""

    def project(name):
        y = x @ p[f"self_attn.{name}.weight"].T + p[f"self_attn.{name}.bias"]  # (N, D)
        return y.reshape(len(x), heads, -1).swapaxes(0, 1)  # (h, N, D/h)

    q, k, v = project("query"), project("key"), project("value")
    scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    y = (e / e.sum(axis=-1, keepdims=True) @ v).swapaxes(0, 1).reshape(x.shape)  # heads side by side again
    y = y @ p["self_attn.out.weight"].T + p["self_attn.out.bias"]
    x = layer_norm_loops(x + y, p["norm1.weight"], p["norm1.bias"])
    hidden = np.maximum(x @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"], 0)  # (N, 4 D)
    y = hidden @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"]
    return layer_norm_loops(x + y, p["norm2.weight"], p["norm2.bias"])


# %% tags=["slide:A/23-encoder", "slide:Z/35-original-transformer"]
block = parts["whole block"]
by_hand = encoder_layer(x[0], block.state_dict(), heads=4)
np.testing.assert_allclose(by_hand, block(x).data[0], atol=1e-5)
block

# %% [markdown]
# ## Three choices fix its size
# Slide `C/114-transformer-block`.
#
# These are the number $L$ of blocks, the number of heads in a block, and the widths. Attention has four $D \times D$
# matrices; an MLP of hidden width $4D$ has two of $4D \times D$. That makes $12 D^2$ for each block, plus $13 D$ for
# biases and norms ($4D$ in attention, $5D$ in the MLP, $4D$ in two norms). The number of heads does not occur,
# because the heads divide the width among themselves. The cell counts the parameters of real layers:

# %% tags=["slide:C/114-transformer-block"]
print("blocks  heads  width   parameters   12 L D² + 13 L D")
for blocks, heads, d in ((1, 1, 64), (1, 8, 64), (6, 8, 64), (12, 3, 192)):
    stack = nn.TransformerEncoder([nn.TransformerEncoderLayer(d, heads, 4 * d, rng=i) for i in range(blocks)])
    counted = sum(p.size for p in stack.parameters())
    formula = blocks * (12 * d**2 + 13 * d)
    print(f"{blocks:6} {heads:6} {d:6} {counted:12,} {formula:18,}")
    assert counted == formula

# %% [markdown]
# ## No attention to later tokens
# Slide `C/126-masked-self-attention`.
#
# A network that writes one word after another must not use the words to come. In training all words are there at
# once, so a mask hides the later ones: scores above the diagonal count as $-\infty$ before the softmax. In our
# convention the mask is boolean, and True on and below the diagonal. The library makes it when you pass
# `is_causal=True`.

# %% tags=["slide:C/126-masked-self-attention"]
n = 6
q, k = rng.standard_normal((2, n, 8))
weights = mv.ops.attention_weights(q, k, is_causal=True)
assert (np.triu(weights, 1) == 0).all()  # exactly 0, not nearly
np.testing.assert_allclose(weights.sum(axis=1), 1)

allowed = np.tri(n, dtype=bool)  # True below the diagonal and on it
scores = np.where(allowed, q @ k.T / math.sqrt(8), -np.inf)
np.testing.assert_allclose(mv.ops.softmax(scores), weights)
viz.heatmap(
    weights,
    x_label="key (is looked at)",
    y_label="query (looks)",
    title="Causal attention weights",
    caption="Each row shows what one token attends to: the first only to itself, the last to all. Above the "
    "diagonal the weights are exactly 0.",
)

# %% [markdown]
# This implies a law, the **prefix property**: if the sequence is cut short, the outputs for the rest stay *the same*.
# Because of it one pass can train on all places of a sentence.

# %%
causal = nn.TransformerEncoderLayer(16, 4, 64, rng=5)
x = rng.standard_normal((1, 10, 16)).astype(np.float32)
whole = causal(x, is_causal=True).data
for cut in range(1, 10):
    np.testing.assert_allclose(causal(x[:, :cut], is_causal=True).data, whole[:, :cut], atol=1e-5)
unmasked = np.abs(causal(x[:, :4]).data - causal(x).data[:, :4]).max()
print(f"without the mask the first four outputs change by {unmasked:.2f} when the rest is cut off")
assert unmasked > 0.01

# %% [markdown]
# ## The decoder layer: three parts
# Slides `A/24-decoder`, `Z/35-original-transformer`.
#
# The first part is masked self-attention among the symbols written so far (the *target*). The second is
# cross-attention: its queries come from the target, its keys and values from the output of the encoder (the *memory*
# of the source). The third is the MLP. Each has a residual, and a layer norm on the sum. With the parts of the
# library this is three lines:

# %% tags=["slide:A/24-decoder", "slide:Z/35-original-transformer"]
decoder_layer = nn.TransformerDecoderLayer(16, 4, 64, rng=6)
memory = rng.standard_normal((1, 5, 16)).astype(np.float32)  # what the encoder made
written = rng.standard_normal((1, 7, 16)).astype(np.float32)  # what the decoder has written
out = decoder_layer(written, memory, is_causal=True).data

x = decoder_layer.norm1(written + decoder_layer.self_attn(written, is_causal=True))
x = decoder_layer.norm2(x + decoder_layer.cross_attn(x, memory))
x = decoder_layer.norm3(x + decoder_layer.mlp(x))
np.testing.assert_allclose(x.data, out, atol=1e-6)
x.shape

# %% [markdown]
# If one source token changes, *all* outputs change, because of cross-attention. If one target token changes, only its
# own output and later ones do.

# %% tags=["slide:A/24-decoder"]
other_memory, other_written = memory.copy(), written.copy()
other_memory[0, 3] += rng.standard_normal(16).astype(np.float32)
other_written[0, 3] += rng.standard_normal(16).astype(np.float32)


def changed_places(new):
    return (np.abs(new.data - out).max(axis=-1)[0] > 1e-6).astype(int)


heard = {
    "source token 3 changes": changed_places(decoder_layer(written, other_memory, is_causal=True)),
    "target token 3 changes": changed_places(decoder_layer(other_written, memory, is_causal=True)),
}
assert heard["source token 3 changes"].all()
assert heard["target token 3 changes"].tolist() == [0, 0, 0, 1, 1, 1, 1]
viz.heatmap(
    np.stack(list(heard.values())),
    x_label="target place",
    y_label="",
    y_names=list(heard),
    title="Which outputs of the decoder change? (1 = changed)",
    caption="Cross-attention brings the source to every place. Masked self-attention brings a target token only to "
    "its own place and to later ones.",
)

# %% [markdown]
# ## The whole: encoder, decoder, head
# Slides `I/6-encoder-decoder-stack`, `A/22-encoder-decoder`.
#
# Stack $L$ encoder layers and $L$ decoder layers. Every decoder layer reads the output of the *last* encoder layer. A
# linear head turns each output into scores for the next symbol. Our task is to read seven digits and write them in
# reverse order. It is simple, but it needs everything: positions (since only places decide the answer),
# cross-attention, and the mask (otherwise the network would copy the answer from its input).

# %%
START, digits_long = 10, 7
model = nn.Transformer(
    32, 4, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=64, norm_first=True,
    source_vocabulary=10, target_vocabulary=11, rng=np.random.default_rng(0),
)  # fmt: skip


def batch(size):
    """Sources; what the decoder is shown: a start symbol, then the answer; the answer. Each (B, 7)."""
    source = rng.integers(0, 10, (size, digits_long))
    answer = source[:, ::-1].copy()
    shown = np.concatenate([np.full((size, 1), START), answer[:, :-1]], axis=1)
    return source, shown, answer


source, shown, answer = batch(2)
print(f"source {source[0]}\nshown  {shown[0]}\nanswer {answer[0]}")
print("parameters:", f"{sum(p.size for p in model.parameters()):,}")

# %% [markdown]
# We go through it by hand: embed the symbols, add positions, encode; decode layer by layer, each with the same
# memory; then the head. (The network is not trained yet. As in 2017, the embeddings are multiplied by $\sqrt{D}$, so
# that they are not small beside the positions.)


# %% tags=["slide:I/6-encoder-decoder-stack", "slide:A/22-encoder-decoder"]
def embed(table, symbols):
    """Symbols (B, N) -> tokens with positions (B, N, D)."""
    x = table(symbols) * math.sqrt(32)
    return x + model.position(x)


memory = model.encoder(embed(model.source_embedding, source))  # (B, 7, D), after the last encoder layer
x = embed(model.target_embedding, shown)  # (B, 7, D)
for layer in model.decoder.layers:
    x = layer(x, memory, is_causal=True)
by_hand = model.head(model.decoder.norm(x))  # (B, 7, 11): scores for 10 digits and the start symbol

assert len(model.encoder.layers) == len(model.decoder.layers) == 2
np.testing.assert_allclose(by_hand.data, model(source, shown).data, atol=1e-5)
by_hand.shape

# %% [markdown]
# In training the decoder gets the right answer up to each place and has to predict the next symbol, at all places at
# once. A uniform guess costs $\ln 11 = 2.40$ nats. An untrained model costs more, because its guesses are neither
# uniform nor right.

# %%
optimizer = mv.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
steps = 500
losses = []
for _ in range(steps):
    source, shown, answer = batch(64)
    logits = model(source, shown)
    loss = mv.ops.cross_entropy(logits.reshape(-1, 11), answer.reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    mv.optim.clip_grad_norm(model.parameters(), 1.0)
    optimizer.step()
    losses.append(float(loss))
print(f"loss {losses[0]:.2f} at first, {np.mean(losses[-20:]):.3f} at the end")
assert losses[0] > math.log(11) and np.mean(losses[-20:]) < 0.2

# %%
viz.curves(
    {"loss": (np.arange(steps), losses)},
    "step",
    "cross-entropy, nats",
    level={"guessing: ln 11": math.log(11)},
    title="Learning to reverse",
    caption="Above the dashed line the network is worse than a uniform guess; below it, it has learned something. "
    "Near 0 it is sure and right.",
)

# %% [markdown]
# ## Writing, symbol by symbol
#
# After training nobody gives it the right answer. It begins with the start symbol, takes its own best guess as the
# next input, and continues. We let it write 200 new numbers. (There are ten million; in training it saw 32,000.)


# %%
def write(model, source):
    """Greedy decoding: (B, 7) -> (B, 7)."""
    shown = np.full((len(source), 1), START)
    with mv.no_grad():
        for _ in range(digits_long):
            guess = model(source, shown).data[:, -1].argmax(axis=-1)  # the last place says what comes next
            shown = np.concatenate([shown, guess[:, None]], axis=1)
    return shown[:, 1:]


source, _, answer = batch(200)
written = write(model, source)
right = (written == answer).all(axis=1).mean()
for i in range(3):
    print(source[i], "→", written[i])
print(f"{right:.1%} of 200 numbers are reversed without a mistake")
assert right > 0.8

# %% [markdown]
# ## Where it looks
#
# What did it learn? We take the cross-attention weights of the decoder's layers, for the place that writes symbol
# $i$, over the source. If it has learned to reverse, place $i$ attends to source place $6 - i$, which is the diagonal
# from upper right to lower left. `mv.nn.looking` collects what the layers show while the model runs, under their names.


# %%
source, shown, answer = batch(1)
with mv.nn.looking(model) as seen:
    model(source, shown)
# (8, 7, 7): two layers of four heads
maps = np.concatenate([seen[f"decoder.layers.{i}.cross_attn.weights"][0] for i in range(2)])
on_diagonal = np.array([np.fliplr(m).trace() / digits_long for m in maps])
print("weight on the other diagonal, head by head:", on_diagonal.round(2), f"(chance: {1 / 7:.2f})")
assert on_diagonal.max() > 0.5

# %%
viz.attention_maps(
    maps,
    titles=[f"layer {i + 1}, head {j + 1}" for i in range(2) for j in range(4)],
    columns=4,
    shared=True,
    size=1.8,
    x_label="source place",
    y_label="target place",
    title="Cross-attention of the trained decoder",
    caption="Rows are the places that are written, columns the source places. Look for heads with a bright "
    "diagonal from upper right to lower left: to write place i they attend to source place 6 - i. Nobody told the "
    "network this.",
)

# %% [markdown]
# ## Exercises
#
# Each exercise has a stub to fill in, a cell that checks it, and a solution to unfold when you have tried. A check by
# laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its digits, the input
# arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: layer norm
# Write `my_layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5)` for any number of leading axes;
# `normalized_shape` is a tuple of one or two trailing lengths. Numbers around 3,000 must be normalised as well as
# numbers around 0. Hint: how many axes does the mean run over?


# %% tags=["exercise:layer-norm"]
def my_layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5): ...  # your lines here


# %% tags=["check:layer-norm"]
passed = mv.laws.check("layer_norm", my_layer_norm).passed

# %% [markdown] tags=["solution:layer-norm"]
# <details><summary>Solution</summary>
#
# ```python
# def my_layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
#     axes = tuple(range(-len(normalized_shape), 0))
#     centred = x - x.mean(axis=axes, keepdims=True)
#     y = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
#     y = y if weight is None else y * weight
#     return y if bias is None else y + bias
# ```
#
# Subtracting the mean first is also safer than $E[x^2] - E[x]^2$, which loses all its digits when the mean is large.
# </details>

# %% [markdown]
# ### Exercise 2: the position code of an image
# For an image, half of the channels encode the row and half the column. Write `my_code(height, width, dim)`; the
# result is $(\text{height}, \text{width}, \text{dim})$. The first half of the channels is the sine code of the row
# (sine and cosine in turn, as in the formula above with $D = \text{dim}/2$), the second half that of the column.
# Hint: write the code of one axis first, $(n, \text{dim}/2)$; `np.broadcast_to` repeats it along the other.


# %% tags=["exercise:code"]
def my_code(height, width, dim): ...  # your lines here


# %% tags=["check:code"]
passed = mv.laws.check("sine_position_code", my_code).passed

# %% [markdown] tags=["solution:code"]
# <details><summary>Solution</summary>
#
# ```python
# def my_code(height, width, dim):
#     half = dim // 2
#     wave = 10000.0 ** (-np.arange(0, half, 2) / half)  # (half / 2,)
#
#     def code(n):
#         angle = np.arange(n)[:, None] * wave
#         return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, half)
#
#     rows = np.broadcast_to(code(height)[:, None], (height, width, half))
#     columns = np.broadcast_to(code(width)[None], (height, width, half))
#     return np.concatenate([rows, columns], axis=-1).astype(np.float32)
# ```
#
# `stack` then `reshape` interleaves sine and cosine.
# </details>

# %% [markdown]
# ### Exercise 3: the mask of a padded decoder
# A batch of sentences is padded to $N$ places; `lengths` $(B,)$ says how long each sentence really is. Write the
# boolean mask $(B, N, N)$ for the self-attention of the decoder, True = may be attended. No place may attend to a
# later place or to a padded one. Everything else is allowed, also for the padded places, whose outputs nobody reads.
# Hint: write the two conditions separately, $(N, N)$ and $(B, N)$. Which axis of the mask holds the keys?


# %% tags=["exercise:mask"]
def my_mask(lengths, n): ...  # your lines here


# %% tags=["check:mask"]
_lengths = np.array([1, 3, 4])
passed = claims(
    "decoder mask",
    (
        "is boolean",
        lambda: my_mask(_lengths, 4).dtype.name,
        "bool",
        "A comparison gives booleans, and `&` keeps them; a product or a sum makes numbers of them.",
    ),
    (
        "is (B, N, N)",
        lambda: my_mask(_lengths, 4).shape,
        (3, 4, 4),
        "The first condition is the same for every sentence, the second for every query: None gives each the axis it lacks.",
    ),
    (
        "lets no place see a later one",
        lambda: np.logical_and(my_mask(_lengths, 4), ~np.tri(4, dtype=bool)).sum(),
        0,
        "The rows are the places that look: row i may have True in the columns up to i.",
    ),
    (
        "in a full sentence lets every place see itself and all before",
        lambda: my_mask(_lengths, 4)[2],
        np.tri(4, dtype=bool),
        "This sentence has no padding, so only the first condition counts.",
    ),
    (
        "in a sentence of 3 hides place 3 from all",
        lambda: my_mask(_lengths, 4)[1],
        np.tri(4, dtype=bool) & [True, True, True, False],
        "The last axis is the one that is looked at: there a padded place is False, for every row.",
    ),
    (
        "in a sentence of 1 leaves only place 0 to be seen",
        lambda: my_mask(_lengths, 4)[0],
        np.array([[True, False, False, False]] * 4),
        "Places are counted from 0: with a length of 1 only place 0 is real. Padded places look too, nobody reads what they see.",
    ),
).passed

# %% [markdown] tags=["solution:mask"]
# <details><summary>Solution</summary>
#
# ```python
# def my_mask(lengths, n):
#     place = np.arange(n)
#     causal = place[None, :] <= place[:, None]  # (N, N): key <= query
#     valid = place[None, :] < np.asarray(lengths)[:, None]  # (B, N)
#     return causal[None] & valid[:, None, :]
# ```
#
# True = may be attended, so the two conditions are joined by *and*.
# </details>

# %% [markdown]
# ### Exercise 4: how large is the model of 2017?
# Write `my_count(blocks, d, hidden)`: the parameters of `blocks` encoder layers *and* `blocks` decoder layers
# (no embeddings, no last norms). A decoder layer has two attentions and three norms. Base model: 6 blocks,
# $d = 512$, hidden width 2048. Hint: count one attention, one MLP and one norm, with their biases, and add.


# %% tags=["exercise:count"]
def my_count(blocks, d, hidden): ...  # your lines here


# %% tags=["check:count"]
def _counted(blocks, d, hidden):
    layers = [kind(d, 1, hidden) for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)]
    return blocks * sum(p.size for layer in layers for p in layer.parameters())


passed = claims(
    "parameters",
    (
        "of one small pair of layers are right",
        lambda: my_count(1, 8, 32),
        _counted(1, 8, 32),
        "An attention has four matrices d x d, an MLP two, each with a bias; a norm has a weight and a bias of length d. "
        "The encoder layer has 1 attention and 2 norms, the decoder layer 2 and 3.",
    ),
    (
        "do not assume a hidden width of 4 d",
        lambda: my_count(2, 8, 5),
        _counted(2, 8, 5),
        "The two matrices of the MLP are d x hidden and hidden x d, their biases hidden and d.",
    ),
    (
        "of the base model are 44,138,496",
        lambda: my_count(6, 512, 2048),
        44_138_496,
        "6 encoder layers and 6 decoder layers; no embeddings, no last norms.",
    ),
).passed

# %% [markdown] tags=["solution:count"]
# <details><summary>Solution</summary>
#
# ```python
# def my_count(blocks, d, hidden):
#     attention = 4 * (d * d + d)
#     mlp = 2 * d * hidden + hidden + d
#     norm = 2 * d
#     encoder = attention + mlp + 2 * norm
#     decoder = 2 * attention + mlp + 3 * norm
#     return blocks * (encoder + decoder)
# ```
#
# The remaining 20 million or so of the 65 million in the paper are embeddings.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:wrong-first-digit"]
# **1. What would happen to the rest of an answer if the network wrote a wrong first digit?**
#
# <details><summary>Answer</summary>
#
# Almost nothing: 98 % of the other digits are still right. To write place $i$ the network looks up place $6 - i$ of
# the source; it does not need the digits that it has written. In a sentence this is different, because there the next
# word depends on the words before it.
#
# ```python
# source_now, shown_now, answer_now = batch(200)
# shown_now[:, 1] = (shown_now[:, 1] + 1) % 10  # the first digit, as the decoder reads it
# with mv.no_grad():
#     said = model(source_now, shown_now).data.argmax(axis=-1)
# print(f"{(said == answer_now)[:, 1:].mean():.1%} of the other digits are right")
# assert (said == answer_now)[:, 1:].mean() > 0.9
# ```
# </details>

# %% [markdown] tags=["question:no-positions"]
# **2. What would an encoder without position codes return if the tokens came in another order?**
#
# <details><summary>Answer</summary>
#
# The same vectors, in that other order. Nothing in a block knows at which place a vector stands, so no such network
# could learn to reverse.
#
# ```python
# layer = nn.TransformerEncoderLayer(16, 4, 64, rng=0)
# tokens, order = rng.standard_normal((1, 7, 16)).astype(np.float32), rng.permutation(7)
# np.testing.assert_allclose(layer(tokens[:, order]).data, layer(tokens).data[:, order], atol=1e-5)
# assert (order != np.arange(7)).any()
# ```
# </details>

# %% [markdown] tags=["question:louder-token"]
# **3. One token is multiplied by 10 and 3 is added to each of its numbers. What does the layer norm make of it?**
#
# <details><summary>Answer</summary>
#
# The same as before. It subtracts the mean, which removes the 3, and divides by the standard deviation, which
# removes the 10.
#
# ```python
# token = rng.standard_normal((1, 8))
# np.testing.assert_allclose(layer_norm(10 * token + 3, 8), layer_norm(token, 8), atol=1e-4)
# assert abs(10 * token + 3 - token).max() > 1
# ```
# </details>

# %% [markdown] tags=["question:twice-as-wide"]
# **4. Which makes a block larger: twice the width, or twice the heads?**
#
# <details><summary>Answer</summary>
#
# Twice the width: four times the parameters, since they grow like $12 D^2$. Twice the heads change nothing, because
# the heads divide the width among themselves.
#
# ```python
# size = lambda d, heads: sum(p.size for p in nn.TransformerEncoderLayer(d, heads, 4 * d, rng=0).parameters())
# assert size(64, 8) == size(64, 4) and 3.9 < size(128, 4) / size(64, 4) < 4
# ```
# </details>

# %% [markdown] tags=["question:one-digit"]
# **5. In the source, one digit of place 2 is replaced. Which digit of the answer changes?**
#
# <details><summary>Answer</summary>
#
# That of place 4: the network has learned to look up place $6 - i$. The encoder lets every place see every other,
# so all of the memory changes a little. But the decoder reads only what it needs.
#
# ```python
# before, _, _ = batch(100)
# after = before.copy()
# after[:, 2] = (after[:, 2] + 1) % 10
# differ = (write(model, before) != write(model, after)).mean(axis=0)
# assert differ.argmax() == 4 and differ[4] > 0.8 and np.delete(differ, 4).max() < 0.2
# ```
# </details>

# %% [markdown] tags=["question:eight-digits"]
# **6. What would the trained network write for a number of eight digits?**
#
# <details><summary>Answer</summary>
#
# Something wrong. It can be run, because the sine code has a value for place 7 too. But it has learned to begin
# with place 6, and never saw a number that goes on behind it.
#
# ```python
# longer = rng.integers(0, 10, (100, 8))
# right_now = (write(model, longer) == longer[:, :0:-1]).all(axis=1).mean()
# assert right_now < 0.2 < right
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can turn an image into tokens and add positions to them. What the vectors of a transformer stand for (words,
#   patches) is decided by the embedding alone.
# - You can write a block and say what each part is for: attention exchanges information between tokens, the MLP
#   transforms each token, and the residual means that both only *add* to it. A block has about $12 D^2$ parameters.
# - You can keep a decoder from using later tokens, and test it: with the causal mask the outputs of a prefix do not
#   depend on what follows.
# - You can train an encoder and a decoder, let them write symbol by symbol, and read in the cross-attention where each
#   answer was found.
#
# Next: [08. ViT](08_vit.ipynb), where the tokens are patches and the decoder is gone.
