"""Helpers that several models share: from images to tokens, from maps to tokens, and constructors of published sizes.

Not here: layers (nn/), and code that only one model needs.
"""

import inspect

from minivis.nn import Conv2d, init
from minivis.nn.module import as_tensor

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
