# %% [markdown]
# # Pictures and their texts: a contrastive loss, its gradient, and byte pairs
#
# CLIP is given pictures with their captions, and nothing else. In a batch, each picture has to find its caption among all of
# them, and each caption its picture. You write the loss that asks for this, its way back, and the tokeniser that turns any
# text into numbers.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on CLIP.

# %%
import html
import math
import re

import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: the contrastive loss (13 points)
#
# Picture $i$ has the features $x_i$, its text the features $y_i$, both of any length. The table holds the cosines, times a
# factor:
#
# $$u_i = \frac{x_i}{\lVert x_i \rVert}, \qquad v_j = \frac{y_j}{\lVert y_j \rVert}, \qquad z_{ij} = e^{s}\, u_i \cdot v_j .$$
#
# Each row is a classification: which text belongs to picture $i$? The right one is text $i$. Each column asks the reverse. The loss is
# the mean of both cross-entropies:
#
# $$L = \frac{1}{2N} \sum_{i=1}^{N} \Bigl( -\log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}
#   -\log \frac{e^{z_{ii}}}{\sum_j e^{z_{ji}}} \Bigr) .$$
#
# Write `contrastive_loss(images, texts, logit_scale)` for `images` and `texts` $(N, E)$; `logit_scale` is $s$, a number, the
# *logarithm* of the factor. It may be below 0, and as large as $\log 100$, where $e^{z}$ overflows in float32: use
# $\log \sum_j e^{z_j} = m + \log \sum_j e^{z_j - m}$ with the largest $z_j$ as $m$. There may be a single pair, $N = 1$.
# Return one number, in the dtype of the features.


# %% tags=["task:loss"]
def contrastive_loss(images, texts, logit_scale):
    ### BEGIN SOLUTION
    u = images / np.sqrt((images**2).sum(axis=1, keepdims=True))
    v = texts / np.sqrt((texts**2).sum(axis=1, keepdims=True))
    table = math.exp(logit_scale) * (u @ v.T)
    loss = 0
    for z in (table, table.T):
        largest = z.max(axis=1)
        log_sum = largest + np.log(np.exp(z - largest[:, None]).sum(axis=1))
        loss += (log_sum - z.diagonal()).mean()
    return loss / 2
    ### END SOLUTION


# %% tags=["check:loss"]
award(
    "clip_loss",
    contrastive_loss,
    {
        "the simplest form": 2,
        "lengths do not count": 1,
        "both directions": 2,
        "no difference": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "least for the right pairs": 1,
        "the factor": 1,
        "a factor of 100": 1,
        "float32 stays float32": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: the way back (12 points)
#
# Let $P$ be the softmax of each row of the table and $Q$ the softmax of each column. The gradient of the loss with respect to the table is
#
# $$\bar z_{ij} = g\, \frac{P_{ij} + Q_{ij} - 2\, [i = j]}{2N} ,$$
#
# where $g$ is the gradient of the loss, a number. From there it goes on to the directions, $\bar u_i = e^s \sum_j \bar z_{ij}\, v_j$
# and $\bar v_j = e^s \sum_i \bar z_{ij}\, u_i$. And then through the division by the length. A change along $x_i$ itself turns
# nothing, and a long vector turns less:
#
# $$\bar x_i = \frac{\bar u_i - u_i\, (u_i \cdot \bar u_i)}{\lVert x_i \rVert} ,$$
#
# and the same for $y_j$ with $v_j$.
#
# Write `loss_and_gradient(images, texts, logit_scale)`. It returns `(loss, vjp)`: the loss of task 1 (you may call your function), and a
# function `vjp(g)` that takes a number and returns a tuple with two arrays, the gradients of `images` and of `texts`, $(N, E)$ each.


# %% tags=["task:gradient"]
def loss_and_gradient(images, texts, logit_scale):
    ### BEGIN SOLUTION
    lengths = [np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in (images, texts)]
    u, v = images / lengths[0], texts / lengths[1]
    factor = math.exp(logit_scale)
    z = factor * (u @ v.T)
    N = len(z)

    def softmax(z, axis):
        e = np.exp(z - z.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    def through(slope, unit, length):
        across = slope - unit * (unit * slope).sum(axis=1, keepdims=True)
        return across / length

    def vjp(g):
        push = g * (softmax(z, 1) + softmax(z, 0) - 2 * np.eye(N, dtype=z.dtype)) / (2 * N)
        to_images = factor * (push @ v)
        to_texts = factor * (push.T @ u)
        return through(to_images, u, lengths[0]), through(to_texts, v, lengths[1])

    return contrastive_loss(images, texts, logit_scale), vjp
    ### END SOLUTION


# %% tags=["check:gradient"]
award(
    "clip_loss",
    loss_and_gradient,
    {
        "the simplest form": 1,
        "gradients of the simplest form": 3,
        "gradient of image_features": 2,
        ### BEGIN HIDDEN TESTS
        "gradient of text_features": 2,
        "gradients agree on anything": 3,
        "gradients stay float32": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 3: byte pairs (13 points)
#
# Any text can be written as bytes. To make texts short, pairs of neighbours that are frequent are merged into one symbol. The
# pairs were learned before; here they are applied. `words` and `ALPHABET` in the next cell are given:
#
# - `words(text)` cleans a text (small letters, single spaces, `&amp;` becomes `&`) and cuts it into words: runs of letters, single digits,
#   runs of other characters.
# - `ALPHABET` has a printable character for each of the 256 bytes, `ALPHABET[byte]`, and `ORDER` is the list of all bytes in the order of
#   their ids: the character of byte `ORDER[i]` has the id $i$.
#
# Write `encode(text, merges)`. `merges` is a list of pairs of symbols, such as `[("l", "o"), ("lo", "w</w>")]`. For each word:
#
# 1. It begins as one symbol for each byte of `word.encode()`. The last one gets `</w>` behind it, so that the end of a word is another
#    symbol than its middle.
# 2. Of all pairs of neighbours in the word, take the one that stands *first in the list*, and merge it wherever it occurs, from
#    left to right. Repeat until no pair of the list is left.
# 3. Look up the ids: 0 to 255 are the bytes, 256 to 511 the same with `</w>` behind them, and $512 + i$ is the result of
#    `merges[i]`.
#
# Words never merge with each other. Return the ids of all words, one after another, as a list of integers or an array with one
# axis; an empty text has none.


# %%
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
ORDER = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]
ALPHABET = {byte: chr(byte) for byte in PRINTABLE} | {
    byte: chr(68 + ORDER.index(byte)) for byte in ORDER[188:]
}
WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\w\s]|_)+")


def words(text):
    """The words of a text."""
    return WORD.findall(" ".join(html.unescape(html.unescape(text)).split()).lower())


# %% tags=["task:byte-pairs"]
def encode(text, merges):
    ### BEGIN SOLUTION
    known = [ALPHABET[byte] for byte in ORDER]
    known += [symbol + "</w>" for symbol in known]
    known += [left + right for left, right in merges]
    ids = []
    for word in words(text):
        parts = [ALPHABET[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        for pair in merges:
            place = 0
            while place < len(parts) - 1:
                if (parts[place], parts[place + 1]) == tuple(pair):
                    parts[place : place + 2] = ["".join(pair)]
                place += 1
        ids += [known.index(part) for part in parts]
    return ids
    ### END SOLUTION


# %% tags=["check:byte-pairs"]
award(
    "bpe_encode",
    encode,
    {
        "the simplest form": 2,
        "the end of a word": 1,
        "first learnt, first merged": 2,
        "words by themselves": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "nothing is lost": 2,
        "shape": 1,
        "whole numbers": 1,
        ### END HIDDEN TESTS
    },
)
