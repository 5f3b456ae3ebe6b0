"""Helpers that several models share: from images to tokens, convolutions with a leaky ReLU, residual nets of local
layers, constructors of published sizes.

Not here: layers (nn/), and code that only one model needs.
"""

import inspect
import math

from minivis import ops
from minivis.nn import BatchNorm2d, Conv2d, GroupNorm, Linear, Module, init
from minivis.nn.module import as_tensor
from minivis.vision.neighbourhoods import add_border, neighbour_sum

__all__ = []


def as_images(model, images):
    """Images (B, C, H, W) as a Tensor. Any other number of axes raises an error that names the model."""
    images = as_tensor(images)
    if images.ndim != 4:
        raise ValueError(f"{model}: images must be (B, C, H, W) (images: {tuple(images.shape)})")
    return images


def patch_projection(channels, width, patch_size, rng):
    """Cut an image into patches and map each linearly to a token: a convolution with kernel and stride P.

    Parameters
    ----------
    channels, width : int
        C of the images, D of the tokens.
    patch_size : (int, int)
        Height and width of a patch, pixels.
    rng : numpy.random.Generator
        Draws the starting values: Xavier; the bias is 0.

    Returns
    -------
    Conv2d
        It maps images (B, C, H, W) to a map of tokens (B, D, H / P, W / P).
    """
    return Conv2d(channels, width, patch_size, stride=patch_size, weight_init=init.xavier_uniform, rng=rng)


def map_to_tokens(x):
    """Reshape a map (B, D, H, W) to tokens (B, H W, D), row by row."""
    B, D, H, W = x.shape
    return x.reshape(B, D, H * W).transpose(0, 2, 1)


def pointwise(x, weight):
    """Multiply the channels of each pixel by a matrix (out, in): a 1 x 1 convolution of a map (B, C, H, W)."""
    return ops.conv2d(x, ops.reshape(weight, (*weight.shape, 1, 1)))


def in_groups(x, groups):
    """Split the channels into groups of neighbouring channels: (B, D, H, W) -> (B, g, D / g, H, W)."""
    B, D, H, W = x.shape
    return ops.reshape(x, (B, groups, D // groups, H, W))


def summed(weights, values, window):
    """`neighbour_sum` inside the map: weights (B, g, k k, H, W), values (B, g, d, H, W) -> (B, g d, H, W)."""
    y = neighbour_sum(weights, add_border(values, window), window)
    B, g, d, H, W = y.shape
    return ops.reshape(y, (B, g * d, H, W))


def he_normal(shape, rng):
    """He's starting values from the fan-out, as ResNet and VGG are published: variance 2 / (out channels * kernel area)."""
    return init.normal(shape, (2 / (shape[0] * math.prod(shape[2:]))) ** 0.5, rng)


NORMS = {"batch": BatchNorm2d, "group": lambda channels: GroupNorm(math.gcd(8, channels), channels)}


def leaky_relu(x):
    """x where it is positive, otherwise a tenth of it: no unit is without gradient."""
    return ops.maximum(x, 0.1 * x)


class LeakyConv(Module):
    """A convolution that keeps the size of the map (or halves it), a norm if there is one, and `leaky_relu`.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride : int
        As for `Conv2d`.
    norm : {"batch", "group"} or None
        Kind of norm. With one, the convolution has no bias.
    rng : numpy.random.Generator
        Draws the starting values, He's.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, norm, rng):
        options = {"padding": kernel_size // 2, "bias": norm is None, "weight_init": he_normal}
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, **options, rng=rng)
        self.norm = NORMS[norm](out_channels) if norm else None

    def forward(self, x):
        y = self.conv(x)
        return leaky_relu(self.norm(y) if self.norm else y)


class PointNorm(Module):
    """A 1 x 1 convolution without bias, then a norm: the parts of a `Bottleneck` that do not look at neighbours."""

    def __init__(self, in_channels, out_channels, stride, norm, rng):
        self.conv = Conv2d(in_channels, out_channels, 1, stride, bias=False, weight_init=he_normal, rng=rng)
        self.norm = NORMS[norm](out_channels)

    def forward(self, x):
        return self.norm(self.conv(x))


class Bottleneck(Module):
    """A residual block with a layer of any kind in the place of the 3 x 3 convolution: y = ReLU(F(x) + x).

    F is a 1 x 1 convolution to fewer channels, the layer, and a 1 x 1 convolution back. With ``stride`` 2, average pooling
    after the layer halves the map.

    Parameters
    ----------
    layer : Module
        Maps (B, inner, H, W) to a map of the same shape.
    in_channels, inner, out_channels : int
        Channels of x, inside, and of y.
    stride : int
        1 or 2.
    norm : {"batch", "group"}
        Kind of norm.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, layer, in_channels, inner, out_channels, stride, norm, rng):
        self.stride = stride
        self.reduce = PointNorm(in_channels, inner, 1, norm, rng)
        self.layer = layer
        self.norm = NORMS[norm](inner)
        self.expand = PointNorm(inner, out_channels, 1, norm, rng)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else PointNorm(in_channels, out_channels, stride, norm, rng)

    def forward(self, x):
        y = self.layer(ops.relu(self.reduce(x)))
        if self.stride > 1:
            y = ops.avg_pool2d(y, self.stride, ceil_mode=True)
        y = self.expand(ops.relu(self.norm(y)))
        return ops.relu(y + (self.shortcut(x) if self.shortcut else x))


class LocalResNet(Module):
    """A ResNet of `Bottleneck` blocks: the base of the networks whose layers look at the neighbours of each pixel.

    Parameters
    ----------
    stem : Module
        Brings images to a quarter of their size.
    stem_width : int
        Channels of the stem's map.
    layer : function of an int -> Module
        Makes the layer of a block with that many channels inside.
    depths, inner, widths : sequence of int
        For each stage the number of blocks, the channels inside a block, and the channels of its map.
    num_classes : int
        K; with 0 there is no head.
    norm : {"batch", "group"}
        Kind of norm.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, stem, stem_width, layer, depths, inner, widths, num_classes, norm, rng):
        name = type(self).__name__
        init.check_sizes(name, depths=depths, inner=inner, widths=widths)
        if not len(depths) == len(inner) == len(widths):
            raise ValueError(f"{name}: {len(depths)} stages need as many widths, got {inner} and {widths}")
        self.channels = tuple(widths)
        self.stem = stem
        self.stages = []
        inputs = stem_width
        for stage, (depth, middle, width) in enumerate(zip(depths, inner, widths, strict=True)):
            blocks = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(Bottleneck(layer(middle), inputs, middle, width, stride, norm, rng))
                inputs = width
            self.stages.append(blocks)
        self.head = Linear(inputs, num_classes, rng=rng) if num_classes else None

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W). Without a head: the mean of the last map, (B, channels[-1])."""
        pooled = ops.mean(self.features(images)[-1], axis=(2, 3))
        return self.head(pooled) if self.head else pooled

    def features(self, images):
        """The map after each stage, finest first: (B, channels[i], H / 4 / 2^i, W / 4 / 2^i), sizes rounded up."""
        x = self.stem(as_images(type(self).__name__, images))
        maps = []
        for blocks in self.stages:
            for block in blocks:
                x = block(x)
            maps.append(x)
        return maps


def small_normal(shape, rng):
    """Starting values of learned tokens and heads: normal with standard deviation 0.02, truncated at 0.04."""
    return init.trunc_normal(shape, 0.02, rng)


def published(name, model, about, parameters, classes=1000, example="", build=None, **sizes):
    """Make the constructor of a published model size.

    Parameters
    ----------
    name : str
        Name of the constructor, such as ``"vit_b16"``.
    model : type
        The class of the model.
    about : str
        One line that describes the size.
    parameters : int
        Number of parameters with the published number of classes.
    classes : int, default 1000
        The published number of classes: ImageNet's, unless the model is a detector.
    example : str
        Options that are often set, for the docstring.
    build : function of (num_classes, rng, **options) -> Module, optional
        Makes the model, for example with its backbone; default ``model``.
    **sizes
        Arguments for ``build``. The user's options override them.
    """
    build = model if build is None else build

    def constructor(num_classes=classes, rng=None, **options):
        return build(num_classes=num_classes, rng=init.generator(rng), **{**sizes, **options})

    constructor.__signature__ = inspect.signature(constructor)
    constructor.__name__ = constructor.__qualname__ = name
    # Tools that look up its source should find the file of the model.
    constructor.__module__ = model.__module__
    constructor.__wrapped__ = model
    constructor.__doc__ = f"""{name}: {about}.

    {parameters:,} parameters for {classes} classes.

    Parameters
    ----------
    num_classes : int, default {classes}
        K.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.
    **options
        Arguments of `{model.__name__}`{f", for example {example}" if example else ""}.

    Returns
    -------
    {model.__name__}
    """
    return constructor
