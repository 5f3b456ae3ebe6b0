"""SAGAN: a generator and a discriminator of residual blocks, with attention between all places of a map.

Zhang et al., "Self-attention generative adversarial networks", ICML 2019, section 3. Slides ``A/12-sagan``,
``C/106-cnn-with-self-attention``.
Not here: training (train.py, recipes/sagan_digits.py), the hinge loss (losses/adversarial.py), spectral norm (nn/spectral.py).
"""

import math

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import device_of, move
from minivis.complaints import named
from minivis.dtypes import whole
from minivis.models.common import as_images, map_to_tokens, published
from minivis.nn import (
    BatchNorm2d,
    ConditionalBatchNorm2d,
    Conv2d,
    Embedding,
    Linear,
    Module,
    Parameter,
    SpectralNorm,
    init,
)
from minivis.nn.module import as_tensor

__all__ = [
    "SAGAN", "Discriminator", "Generator", "SelfAttention2d", "sagan128_generator", "self_attention_2d",
    "sngan32_discriminator", "sngan32_generator",
]  # fmt: skip


@named
def self_attention_2d(x, wf, wg, wh, wv, gamma):
    """Self-attention over the places of a map, added to the map with a learned factor.

    .. math:: s_{ij} = f(x_i)^T g(x_j), \\quad \\beta_{j,i} = \\frac{\\exp s_{ij}}{\\sum_i \\exp s_{ij}}, \\quad
        o_j = v\\Big(\\sum_i \\beta_{j,i}\\, h(x_i)\\Big), \\quad y_j = \\gamma\\, o_j + x_j

    The softmax runs over i, the index of f: g(x_j) is the query and f(x_i) are the keys. There is no 1 / sqrt(d).

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        The map; i and j run over its H W places.
    wf, wg, wh : ndarray or Tensor, shape (D, C)
        1 x 1 convolutions that make keys, queries and values of each place; D is C / 8 in the paper.
    wv : ndarray or Tensor, shape (C, D)
        The 1 x 1 convolution back to C channels.
    gamma : float, ndarray or Tensor with one element
        With 0 the output is the input. In training it starts at 0, so that the network first learns without attention.

    Returns
    -------
    ndarray or Tensor
        Shape of x.

    Raises
    ------
    ValueError
        If x is not a map, a weight does not fit it, or gamma has several elements.

    Notes
    -----
    With gamma = 0 the four weights get no gradient; gamma itself does.

    References
    ----------
    Zhang et al. 2019, equations 1 to 3. Slide ``A/12-sagan`` (it calls f the query; in equation 1 it is the key).

    Examples
    --------
    >>> x = np.array([[[[1.0, 3.0]]]])  # one channel, two places
    >>> one = np.ones((1, 1))
    >>> self_attention_2d(x, 0 * one, one, one, one, 1.0)  # equal weights: the mean 2 is added to both
    array([[[[3., 5.]]]])
    """
    if x.ndim != 4:
        raise ValueError("x must be (B, C, H, W)")
    _, C, H, W = x.shape
    D = wf.shape[0]
    if not tuple(wf.shape) == tuple(wg.shape) == tuple(wh.shape) == (D, C) or tuple(wv.shape) != (C, D):
        raise ValueError(f"wf, wg and wh must be (D, C={C}), and wv (C, D)")
    if math.prod(getattr(gamma, "shape", ())) != 1:
        raise ValueError("gamma must be a number or have one element")
    tokens = map_to_tokens(x)  # (B, N, C)
    keys, queries, values = (ops.linear(tokens, w) for w in (wf, wg, wh))  # (B, N, D) each
    weights = attention_weights(queries, keys)
    out = ops.linear(weights @ values, wv)  # (B, N, C)
    gamma = ops.reshape(gamma, ()) if getattr(gamma, "ndim", 0) else gamma
    return ops.mul(tokens_to_map(out, H, W), gamma) + x


def attention_weights(queries, keys):
    """Softmax over the keys of the plain products, (B, N, M): each row is the weights of one query."""
    return ops.softmax(queries @ keys.transpose(0, 2, 1), axis=-1)


def tokens_to_map(tokens, height, width):
    """Put tokens (B, N, C) back on a map (B, C, H, W), row by row."""
    B, _, C = tokens.shape
    return tokens.transpose(0, 2, 1).reshape(B, C, height, width)


class SelfAttention2d(Module):
    """`self_attention_2d` as a layer: every place of the map looks at every other.

    Parameters
    ----------
    channels : int
        C, a multiple of 8.
    pool : bool, default False
        False is the form of the paper: all three projections to C / 8. True is that of the published code: values of
        C / 2 channels, and keys and values max-pooled 2 x 2 after the projection, so that there are a quarter as many.
    spectral : bool, default True
        Whether the four projections have `SpectralNorm`.
    rng : numpy.random.Generator, int or None
        Draws the starting values, Xavier's; None is seed 0.

    Attributes
    ----------
    gamma : Parameter, shape (1,)
        Factor of the attention; starts at 0.

    Raises
    ------
    ValueError
        If 8 does not divide the channels, or, with ``pool``, a side of the map is odd.

    Notes
    -----
    Parameters, without those of the power iteration: C^2 / 2 + 1, with ``pool`` 5 C^2 / 4 + 1. Inside `looking` the layer
    shows ``weights`` (B, 1, N, M).

    References
    ----------
    Zhang et al. 2019, section 3; ``non_local.py`` of its published code. Slide ``A/12-sagan``.

    Examples
    --------
    >>> layer = SelfAttention2d(8)
    >>> x = np.ones((2, 8, 4, 4), np.float32)
    >>> bool((layer(x).numpy() == x).all())  # gamma is 0
    True
    """

    def __init__(self, channels, pool=False, spectral=True, rng=None):
        init.check_sizes("SelfAttention2d", channels=channels)
        if channels % 8:
            raise ValueError(f"SelfAttention2d: channels must be a multiple of 8, got {channels}")
        rng = init.generator(rng)
        narrow = channels // 8
        values = channels // 2 if pool else narrow
        self.pool = pool
        self.key = _conv(channels, narrow, 1, rng, spectral, bias=False)
        self.query = _conv(channels, narrow, 1, rng, spectral, bias=False)
        self.value = _conv(channels, values, 1, rng, spectral, bias=False)
        self.out = _conv(values, channels, 1, rng, spectral, bias=False)
        self.gamma = Parameter(init.zeros((1,)))

    def forward(self, x):
        x = as_images("SelfAttention2d", x)
        keys, queries, values = self.key(x), self.query(x), self.value(x)
        if self.pool:
            if x.shape[2] % 2 or x.shape[3] % 2:
                raise ValueError(f"SelfAttention2d: pool needs even sides (x: {tuple(x.shape)})")
            keys, values = (ops.max_pool2d(y, 2) for y in (keys, values))
        weights = attention_weights(map_to_tokens(queries), map_to_tokens(keys))
        self.show(weights=lambda: weights.reshape(weights.shape[0], 1, *weights.shape[1:]))
        mixed = tokens_to_map(weights @ map_to_tokens(values), *x.shape[2:])
        return self.gamma * self.out(mixed) + x

    def extra_repr(self):
        return "pool=True" if self.pool else ""


class GeneratorBlock(Module):
    """A residual block that doubles the sides of the map: norm, ReLU, enlarge, convolve, norm, ReLU, convolve.

    The shortcut enlarges too, and has a 1 x 1 convolution.
    """

    def __init__(self, in_channels, out_channels, num_classes, spectral, rng):
        self.norm1 = _norm(in_channels, num_classes)
        self.conv1 = _conv(in_channels, out_channels, 3, rng, spectral)
        self.norm2 = _norm(out_channels, num_classes)
        self.conv2 = _conv(out_channels, out_channels, 3, rng, spectral)
        self.shortcut = _conv(in_channels, out_channels, 1, rng, spectral)

    def forward(self, x, labels):
        size = (2 * x.shape[2], 2 * x.shape[3])
        y = ops.relu(_normed(self.norm1, x, labels))
        y = self.conv1(ops.interpolate(y, size))
        y = self.conv2(ops.relu(_normed(self.norm2, y, labels)))
        return y + self.shortcut(ops.interpolate(x, size))


class Generator(Module):
    """From noise, and a class, to an image: a linear map to a small map, then blocks that double its sides.

    Parameters
    ----------
    image_size : int, default 32
        Side of the images; the first map's side is this divided by two for each block.
    widths : sequence of int, default (256, 256, 256, 256)
        Channels of the first map and of the output of each block.
    latent_size : int, default 128
        Numbers of noise for an image.
    num_classes : int, default 0
        K; with 0 the generator is told no class.
    channels : int, default 3
        C of the images.
    attention : int, default 0
        Side of the map on which `SelfAttention2d` stands, after the block that makes it. 0 is none.
    pool : bool, default False
        See `SelfAttention2d`.
    spectral : bool, default False
        `SpectralNorm` in every layer with a weight matrix, as in SAGAN; SNGAN has it in the discriminator only.
    rng : numpy.random.Generator, int or None
        Draws the starting values, Xavier's; None is seed 0.

    Raises
    ------
    ValueError
        If the sizes do not fit, latent or labels do not, or labels are missing where there are classes.

    References
    ----------
    Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, table 4; Zhang et al. 2019,
    section 4 and ``generator.py`` of its published code.

    Examples
    --------
    >>> model = Generator(image_size=8, widths=(16, 16), latent_size=4, num_classes=10, channels=1)
    >>> model(np.zeros((2, 4), np.float32), np.array([3, 7])).shape
    (2, 1, 8, 8)
    """

    def __init__(
        self, image_size=32, widths=(256, 256, 256, 256), latent_size=128, num_classes=0, channels=3, attention=0,
        pool=False, spectral=False, rng=None,
    ):  # fmt: skip
        _check_classes("Generator", num_classes)
        init.check_sizes(
            "Generator", image_size=image_size, widths=widths, latent_size=latent_size, channels=channels
        )
        sides = [image_size // 2**i for i in range(len(widths))][::-1]
        if not sides:
            raise ValueError("Generator: widths must have at least one number, the channels of the first map")
        if sides[0] * 2 ** (len(widths) - 1) != image_size:
            raise ValueError(
                f"Generator: {len(widths) - 1} blocks cannot reach image_size={image_size}, from {sides[0]}"
            )
        rng = init.generator(rng)
        self.latent_size, self.num_classes = latent_size, num_classes
        self.side = sides[0]
        self.linear = _spectral(
            Linear(latent_size, sides[0] ** 2 * widths[0], weight_init=init.xavier_uniform, rng=rng),
            spectral,
            rng,
        )
        self.blocks = [
            GeneratorBlock(before, after, num_classes, spectral, rng)
            for before, after in zip(widths, widths[1:], strict=False)
        ]
        place = _place("Generator", attention, sides[1:])
        self.place = place
        self.attention = None if place is None else SelfAttention2d(widths[place + 1], pool, spectral, rng)
        self.norm = BatchNorm2d(widths[-1])
        self.conv = _conv(widths[-1], channels, 3, rng, spectral)

    def forward(self, latent, labels=None):
        """Images (B, C, H, W) between -1 and 1 of noise (B, latent_size) and labels (B,)."""
        latent = as_tensor(latent)
        if latent.ndim != 2 or latent.shape[1] != self.latent_size:
            raise ValueError(
                f"Generator: latent must be (B, latent_size={self.latent_size}) (latent: {tuple(latent.shape)})"
            )
        labels = _labels("Generator", labels, self.num_classes, latent.shape[0])
        x = self.linear(latent)  # (B, C side side)
        x = x.reshape(x.shape[0], x.shape[1] // self.side**2, self.side, self.side)
        for i, block in enumerate(self.blocks):
            x = block(x, labels)
            if i == self.place:
                x = self.attention(x)
        return ops.tanh(self.conv(ops.relu(self.norm(x))))

    def example(self):
        """The inputs of one call, for drawings and tables: noise of zeros, and class 0 if there are classes."""
        latent = np.zeros((1, self.latent_size), np.float32)
        return (latent, np.array([0])) if self.num_classes else (latent,)


class DiscriminatorBlock(Module):
    """A residual block: ReLU, convolve, ReLU, convolve; with stride 2 both branches are averaged 2 x 2 at the end.

    The first block of a network begins with the convolution, because a ReLU would cut off the dark half of an image.
    """

    def __init__(self, in_channels, out_channels, stride, first, spectral, rng):
        self.stride, self.first = stride, first
        self.conv1 = _conv(in_channels, out_channels, 3, rng, spectral)
        self.conv2 = _conv(out_channels, out_channels, 3, rng, spectral)
        changed = first or stride == 2 or in_channels != out_channels
        self.shortcut = _conv(in_channels, out_channels, 1, rng, spectral) if changed else None

    def forward(self, x):
        y = self.conv2(ops.relu(self.conv1(x if self.first else ops.relu(x))))
        if self.first:  # averaged before the 1 x 1 convolution: the same numbers for less work
            return self._smaller(y) + self.shortcut(self._smaller(x))
        return self._smaller(y) + self._smaller(self.shortcut(x) if self.shortcut else x)

    def _smaller(self, x):
        return ops.avg_pool2d(x, 2) if self.stride == 2 else x


class Discriminator(Module):
    """From an image, and a class, to a score: high for real pictures, low for generated ones.

    .. math:: D(x, k) = w^T \\phi(x) + b + e_k^T \\phi(x)

    phi is the sum of the last map over all places. The last term, the projection, asks whether the image looks like
    the class k.

    Parameters
    ----------
    image_size : int, default 32
        Side of the images.
    widths : sequence of int, default (128, 128, 128, 128)
        Channels of the output of each block.
    strides : sequence of int, default (2, 2, 1, 1)
        2 for each block that halves the sides of the map, otherwise 1.
    num_classes : int, default 0
        K; with 0 there is no projection.
    channels, attention, pool
        As for `Generator`.
    spectral : bool, default True
        `SpectralNorm` in every layer.
    rng : numpy.random.Generator, int or None
        Draws the starting values, Xavier's; None is seed 0.

    Raises
    ------
    ValueError
        If the sizes do not fit, images or labels do not, or labels are missing where there are classes.

    References
    ----------
    Miyato and Koyama, "cGANs with projection discriminator", ICLR 2018, equation 3; Miyato et al. 2018, table 4; Zhang
    et al. 2019, section 4 and ``discriminator.py`` of its published code.

    Examples
    --------
    >>> model = Discriminator(image_size=8, widths=(16, 16), strides=(1, 2), num_classes=10, channels=1)
    >>> model(np.zeros((2, 1, 8, 8), np.float32), np.array([3, 7])).shape
    (2,)
    """

    def __init__(
        self, image_size=32, widths=(128, 128, 128, 128), strides=(2, 2, 1, 1), num_classes=0, channels=3, attention=0,
        pool=False, spectral=True, rng=None,
    ):  # fmt: skip
        _check_classes("Discriminator", num_classes)
        init.check_sizes(
            "Discriminator", image_size=image_size, widths=widths, strides=strides, channels=channels
        )
        if len(widths) != len(strides) or not set(strides) <= {1, 2}:
            raise ValueError(
                f"Discriminator: {len(widths)} widths need as many strides of 1 or 2, got {strides!r}"
            )
        halvings = [list(strides[: i + 1]).count(2) for i in range(len(strides))]
        if image_size % 2 ** halvings[-1]:
            raise ValueError(f"Discriminator: image_size={image_size} cannot be halved {halvings[-1]} times")
        rng = init.generator(rng)
        self.image_size, self.channels, self.num_classes = image_size, channels, num_classes
        self.blocks = [
            DiscriminatorBlock(before, after, stride, i == 0, spectral, rng)
            for i, (before, after, stride) in enumerate(
                zip((channels, *widths), widths, strides, strict=False)
            )
        ]
        self.place = _place("Discriminator", attention, [image_size // 2**n for n in halvings])
        self.attention = (
            None if self.place is None else SelfAttention2d(widths[self.place], pool, spectral, rng)
        )
        self.head = _spectral(Linear(widths[-1], 1, weight_init=init.xavier_uniform, rng=rng), spectral, rng)
        self.classes = None
        if num_classes:
            table = Embedding(num_classes, widths[-1], rng=rng)
            table.weight = Parameter(init.xavier_uniform(table.weight.shape, rng))
            self.classes = _spectral(table, spectral, rng)

    def forward(self, images, labels=None):
        """Scores (B,) of images (B, C, H, W) between -1 and 1 and their labels (B,)."""
        x = as_images("Discriminator", images)
        if x.shape[1:] != (self.channels, self.image_size, self.image_size):
            side = self.image_size
            raise ValueError(
                f"Discriminator: images must be (B, {self.channels}, {side}, {side}) (images: {tuple(x.shape)})"
            )
        labels = _labels("Discriminator", labels, self.num_classes, x.shape[0])
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == self.place:
                x = self.attention(x)
        features = ops.sum(ops.relu(x), axis=(2, 3))  # (B, C)
        scores = self.head(features).reshape(-1)  # (B,)
        if self.classes is not None:
            scores = scores + ops.sum(self.classes(labels) * features, axis=1)
        return scores


class SAGAN(Module):
    """A generator and a discriminator that learn from each other, and the noise between them.

    Parameters
    ----------
    image_size, channels, num_classes, latent_size, attention, pool
        As for `Generator` and `Discriminator`.
    generator_widths, discriminator_widths, strides
        ``widths`` of the two, and ``strides`` of the discriminator.
    rng : numpy.random.Generator, int or None
        Draws the starting values and seeds the generator of the noise; None is seed 0.

    Attributes
    ----------
    generator : Generator
    discriminator : Discriminator
    noise : numpy.random.Generator
        Draws the latents of a training. Its state is part of `rng_state`, so that a resume is exact.

    References
    ----------
    Zhang et al. 2019, section 3. Slide ``A/12-sagan``.

    Examples
    --------
    >>> model = SAGAN(8, 1, 10, 4, (16, 16), (16, 16), (1, 2), attention=8).eval()
    >>> model(np.array([3, 7]), rng=0).shape
    (2, 1, 8, 8)
    """

    def __init__(
        self, image_size=32, channels=3, num_classes=0, latent_size=128, generator_widths=(256, 256, 256, 256),
        discriminator_widths=(128, 128, 128, 128), strides=(2, 2, 1, 1), attention=16, pool=False, rng=None,
    ):  # fmt: skip
        rng = init.generator(rng)
        common = {
            "image_size": image_size,
            "channels": channels,
            "num_classes": num_classes,
            "attention": attention,
        }
        common |= {"pool": pool, "spectral": True, "rng": rng}
        self.generator = Generator(widths=generator_widths, latent_size=latent_size, **common)
        self.discriminator = Discriminator(widths=discriminator_widths, strides=strides, **common)
        self.noise = np.random.default_rng(rng.integers(2**63))

    def forward(self, labels, rng=None):
        """Images (B, C, H, W) between 0 and 1 of the classes ``labels`` (B,), or of their number if there are no classes.

        ``rng``, a generator or seed, draws the noise; None is the generator ``noise`` of the model.
        """
        return (self.draw(labels, rng) + 1) / 2

    def draw(self, labels, rng=None):
        """The same between -1 and 1, as the discriminator sees them."""
        count = _count("SAGAN", labels, self.generator.num_classes)
        rng = self.noise if rng is None else init.generator(rng)
        latent = rng.standard_normal((count, self.generator.latent_size), np.float32)
        like = self.generator.norm.weight.data
        latent = move(latent.astype(like.dtype, copy=False), device_of(like))
        return self.generator(latent, labels if self.generator.num_classes else None)

    def example(self):
        """The inputs of one call, for drawings and tables: class 0, or one image, and a fixed noise."""
        return np.array([0]) if self.generator.num_classes else np.array(1), 0


def _spectral(layer, spectral, rng):
    return SpectralNorm(layer, rng=rng) if spectral else layer


def _conv(in_channels, out_channels, kernel_size, rng, spectral, bias=True):
    """A convolution that keeps the size of the map, with Xavier's starting values."""
    layer = Conv2d(
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias, weight_init=init.xavier_uniform, rng=rng
    )  # fmt: skip
    return _spectral(layer, spectral, rng)


def _norm(channels, num_classes):
    return ConditionalBatchNorm2d(channels, num_classes) if num_classes else BatchNorm2d(channels)


def _normed(norm, x, labels):
    return norm(x) if labels is None else norm(x, labels)


def _place(model, attention, sides):
    """The first block whose output has the side on which attention stands; None for no attention."""
    if attention and attention not in sides:
        raise ValueError(f"{model}: no map has the side attention={attention}; there are {sides}")
    return sides.index(attention) if attention else None


def _check_classes(model, num_classes):
    if num_classes != 0:
        init.check_sizes(model, num_classes=num_classes)


def _count(model, labels, num_classes):
    """How many images are asked for, by labels (B,) or by their number."""
    shape = np.shape(labels.data if isinstance(labels, Tensor) else labels)
    if num_classes and len(shape) != 1:
        raise ValueError(f"{model}: it has {num_classes} classes and needs labels (B,), got {labels!r:.100}")
    if num_classes:
        return shape[0]
    count = whole(labels)
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{model}: it has no classes and needs the number of images, got {labels!r:.100}")
    return count


def _labels(model, labels, num_classes, count):
    """Labels (B,), or None for a model without classes."""
    if not num_classes:
        if labels is not None:
            raise ValueError(f"{model}: it was made with num_classes=0 and takes no labels")
        return None
    if labels is None:
        raise ValueError(f"{model}: it was made with num_classes={num_classes} and needs labels (B,)")
    labels = np.asarray(labels) if isinstance(labels, (list, tuple)) else labels
    if tuple(labels.shape) != (count,):
        raise ValueError(f"{model}: labels must be (B={count},) (labels: {tuple(labels.shape)})")
    return labels


sngan32_generator = published(
    "sngan32_generator", Generator, "32 x 32 images, three blocks of 256 channels", 4_276_739, classes=0,
    example="``attention=16``",
)  # fmt: skip
sngan32_discriminator = published(
    "sngan32_discriminator", Discriminator, "32 x 32 images, four blocks of 128 channels", 1_053_825, classes=0,
    example="``attention=16``",
)  # fmt: skip
sagan128_generator = published(
    "sagan128_generator", Generator, "128 x 128 images, five blocks of 1024 to 64 channels, attention of the published form",
    42_078_852, image_size=128, widths=(1024, 1024, 512, 256, 128, 64), attention=32, pool=True, spectral=True,
)  # fmt: skip
