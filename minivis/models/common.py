"""Helpers that several models share: from images to tokens, norms, groups of channels, constructors of published sizes.

Not here: layers (nn/), the residual net of the local layers (local_resnet.py), code that only one model needs.
"""

import inspect
import math

from minivis import ops
from minivis.nn import BatchNorm2d, Conv2d, FrozenBatchNorm2d, GroupNorm, LayerNorm, Module, init
from minivis.nn.module import as_tensor
from minivis.vision.neighbourhoods import add_border, neighbour_sum

__all__ = []

NORMS = {  # constructors of a norm for so many channels
    "batch": BatchNorm2d,
    "frozen": FrozenBatchNorm2d,  # fixed statistics, for detectors
    "group": lambda channels, eps=1e-5: GroupNorm(math.gcd(8, channels), channels, eps),  # for small batches
}


class LayerNorm2d(Module):
    """Standardise each pixel of a map (B, C, H, W) over its channels, then scale and shift them."""

    def __init__(self, channels, eps=1e-6):
        self.norm = LayerNorm(channels, eps)

    def forward(self, x):
        return self.norm(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


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


def maps_after(stages, x):
    """The map after each stage, a list of blocks; the first stage takes x."""
    maps = []
    for stage in stages:
        for block in stage:
            x = block(x)
        maps.append(x)
    return maps


def he_normal(shape, rng):
    """He's starting values from the fan-out, as ResNet and VGG are published: variance 2 / (out channels * kernel area)."""
    return init.normal(shape, (2 / (shape[0] * math.prod(shape[2:]))) ** 0.5, rng)


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
    classes : int or None, default 1000
        The published number of classes: ImageNet's, unless the model is a detector. None: the model has no classes, and
        neither ``build`` nor the constructor has ``num_classes``.
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

    def without_classes(rng=None, **options):
        return build(rng=init.generator(rng), **{**sizes, **options})

    constructor = without_classes if classes is None else constructor
    constructor.__signature__ = inspect.signature(constructor)
    constructor.__name__ = constructor.__qualname__ = name
    # Tools that look up its source should find the file of the model.
    constructor.__module__ = model.__module__
    constructor.__wrapped__ = model
    of_classes = {None: "", 0: " without a head"}.get(classes, f" for {classes} classes")
    argument = "" if classes is None else f"\n    num_classes : int, default {classes}\n        K."
    constructor.__doc__ = f"""{name}: {about}.

    {parameters:,} parameters{of_classes}.

    Parameters
    ----------{argument}
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.
    **options
        Arguments of `{model.__name__}`{f", for example {example}" if example else ""}.

    Returns
    -------
    {model.__name__}
    """
    return constructor
