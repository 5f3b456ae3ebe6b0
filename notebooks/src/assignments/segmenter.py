# %% [markdown]
# # From tokens to pixels: class masks, progressive upsampling, streams from the top down
#
# A vision transformer turns an image into a sequence of tokens, one for each patch. To name every pixel, the tokens
# must become a map again, and the map must grow to the size of the image. You write three ways that end there: the
# comparison of patches with classes that ends Segmenter's decoder, and two decoders of SETR.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on SETR and Segmenter.

# %%
import numpy as np

from minivis.classroom import award


def conv3x3(x, weight):
    """A convolution of maps (B, C, h, w) with kernels (O, C, 3, 3), stride 1 and a border of zeros: (B, O, h, w)."""
    h, w = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((len(x), len(weight), h, w), x.dtype)
    for i in range(3):
        for j in range(3):
            y += np.einsum("oc,bchw->bohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
    return y


# %% [markdown]
# ## Task 1: masks of classes (14 points)
#
# At the end of Segmenter's decoder there are $N$ patches $x_n$ and $K$ class embeddings $z_k$, vectors of $D$
# numbers. Each patch is compared with each class by the cosine of their angle:
#
# $$c_{kn} = \frac{(x_n W_p) \cdot (z_k W_c)}{\lVert x_n W_p \rVert \, \lVert z_k W_c \rVert}, \qquad
# y_{kn} = \gamma_k \frac{c_{kn} - \mu_n}{\sqrt{\sigma_n^2 + \epsilon}} + \beta_k .$$
#
# $\mu_n$ and $\sigma_n^2$ are the mean and the variance of the $K$ cosines of patch $n$, the variance with division
# by $K$, and $\epsilon = 10^{-5}$.
#
# Write `mask_decoder` for `patches` $(B, N, D)$ and `classes` $(B, K, D)$, `w_patch` and `w_class` $(D, D)$, `gamma`
# and `beta` $(K)$. Vectors are rows: `patches @ w_patch`. Each image of the batch has classes of its own, because
# they have seen the image. The result is $(B, K, N)$. With $K = 1$ the norm leaves nothing but `beta`.


# %% tags=["task:class-masks"]
def mask_decoder(patches, classes, w_patch, w_class, gamma, beta):
    ### BEGIN SOLUTION
    x = patches @ w_patch  # (B, N, D)
    z = classes @ w_class  # (B, K, D)
    x = x / np.sqrt((x * x).sum(axis=-1, keepdims=True))
    z = z / np.sqrt((z * z).sum(axis=-1, keepdims=True))
    cosines = x @ z.swapaxes(1, 2)  # (B, N, K)
    centred = cosines - cosines.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    scores = gamma * centred / np.sqrt(variance + 1e-5) + beta
    return scores.swapaxes(1, 2)  # (B, K, N)
    ### END SOLUTION


# %% tags=["check:class-masks"]
award(
    "mask_decoder",
    mask_decoder,
    {
        "the simplest form": 2,
        "the length of a class does not count": 2,
        "the norm is over the classes": 2,
        "vectors are rows": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "the length of a patch does not count": 1,
        "each class has its scale and shift": 1,
        "each image has its own classes": 1,
        "one class alone": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 2: progressive upsampling (18 points)
#
# SETR's second decoder makes a map of the tokens, and then a $3 \times 3$ convolution and an enlargement by two take
# turns. Write `setr_pup_head(tokens, height, width, weights)`. `tokens` is $(B, 1 + hw, D)$: the class token first,
# which belongs to no place and is dropped, then the patches of a grid of $h$ = `height` rows and $w$ = `width`
# columns in reading order. `weights` is a dict of arrays. The steps:
#
# 1. A layer norm of each token over its $D$ numbers: mean 0, variance 1 with $10^{-6}$ added to the variance, times `norm.weight`
#    $(D)$, plus `norm.bias` $(D)$.
# 2. Tokens to maps, $(B, D, h, w)$.
# 3. For $i = 0, 1, \ldots$ as long as there is `convs.i.weight`: the convolution with that kernel, plus `convs.i.bias` $(C)$
#    (`conv3x3` above has no bias); batch norm with *stored* statistics,
#    $(x - \text{mean}) / \sqrt{\text{var} + 10^{-5}} \cdot \text{weight} + \text{bias}$, from `norms.i.running_mean`,
#    `norms.i.running_var`, `norms.i.weight` and `norms.i.bias`, all $(C)$; ReLU; the enlargement by two.
# 4. The classifier, a $1 \times 1$ convolution: `classifier.weight` $(K, C, 1, 1)$ and `classifier.bias` $(K)$. Nothing comes after it.
#
# With $L$ convolutions the result is $(B, K, 2^L h, 2^L w)$. The enlargement is bilinear, each axis by itself. Row
# $i$ of the large map lies at $u = \frac{i + 0.5}{2} - 0.5$ rows of the small one, so that the outer edges of both
# coincide; $u$ is clipped to $0 \ldots n - 1$, where $n$ is the number of rows of the small map. With
# $f = u - \lfloor u \rfloor$, the value there is $1 - f$ times row $\lfloor u \rfloor$ plus $f$ times row
# $\lfloor u \rfloor + 1$. Columns likewise.


# %% tags=["task:progressive-upsampling"]
def setr_pup_head(tokens, height, width, weights):
    ### BEGIN SOLUTION
    def column(name):
        return weights[name][:, None, None]

    def twice(n):
        """The (2 n, n) weights of the rows."""
        u = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        return np.maximum(0, 1 - abs(u[:, None] - np.arange(n))).astype(tokens.dtype)

    patches = tokens[:, 1:]
    centred = patches - patches.mean(axis=-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    x = x * weights["norm.weight"] + weights["norm.bias"]
    x = x.reshape(len(x), height, width, -1).transpose(0, 3, 1, 2)  # (B, D, h, w)
    i = 0
    while f"convs.{i}.weight" in weights:
        x = conv3x3(x, weights[f"convs.{i}.weight"]) + column(f"convs.{i}.bias")
        mean, variance = column(f"norms.{i}.running_mean"), column(f"norms.{i}.running_var")
        x = (x - mean) / np.sqrt(variance + 1e-5) * column(f"norms.{i}.weight") + column(f"norms.{i}.bias")
        x = np.maximum(x, 0)
        x = twice(x.shape[2]) @ x @ twice(x.shape[3]).T  # (B, C, 2 h, 2 w)
        i += 1
    y = np.einsum("kc,bchw->bkhw", weights["classifier.weight"][:, :, 0, 0], x)
    return y + column("classifier.bias")
    ### END SOLUTION


# %% tags=["check:progressive-upsampling"]
award(
    "setr_pup_head",
    setr_pup_head,
    {
        "the simplest form": 3,
        "the class token has no influence": 2,
        "tokens are normalised first": 2,
        "rows and columns are alike": 2,
        "stored means are subtracted": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "convolutions and enlargements take turns": 2,
        "images do not mix": 1,
        "the classifier is linear": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: streams from the top down (10 points)
#
# SETR's third decoder reads $M$ layers of the encoder. All have maps of one size, so they can be added. Each map
# $x_l$, with $l = 1$ the shallowest layer, first passes a $1 \times 1$ convolution $U_l$ of its own. Then the deepest
# layer is passed on to all shallower ones, and each sum passes a $3 \times 3$ convolution $W_l$ of its own:
#
# $$m_l = m_{l+1} + U_l\, x_l, \qquad m_{M+1} = 0, \qquad y_l = W_l * m_l .$$
#
# So what is added to stream $l$ is $m_{l+1}$ *before* its $3 \times 3$ convolution. There are no norms, no biases and
# no ReLUs here.
#
# Write `mla_fuse(maps, laterals, convs)` for `maps` $(M, B, D, h, w)$, the shallowest first, `laterals` $(M, C, D)$
# and `convs` $(M, C, C, 3, 3)$. The result is $(M, B, C, h, w)$, in the order of the maps. `conv3x3` above does one
# convolution.


# %% tags=["task:streams"]
def mla_fuse(maps, laterals, convs):
    ### BEGIN SOLUTION
    total = 0
    streams = []
    for x, lateral, conv in zip(maps[::-1], laterals[::-1], convs[::-1], strict=True):
        total = np.einsum("cd,bdhw->bchw", lateral, x) + total
        streams.append(conv3x3(total, conv))
    return np.stack(streams[::-1])
    ### END SOLUTION


# %% tags=["check:streams"]
award(
    "mla_fuse",
    mla_fuse,
    {
        "the simplest form": 2,
        "the deepest reaches all": 2,
        "the shallowest only its own": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "maps are projected before they are added": 1,
        "sums are convolved": 1,
        "linear": 1,
        ### END HIDDEN TESTS
    },
)
