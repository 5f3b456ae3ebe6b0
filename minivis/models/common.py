"""What models share: the first steps from an image to tokens, maps as tokens, and the constructors of published sizes.

Not here: layers (nn/), and anything that only one paper has.
"""

import inspect

from minivis.nn import Conv2d, init
from minivis.nn.module import as_tensor

__all__ = []


def as_images(model, images):
    """Images (B, C, H, W) as a Tensor; anything of other axes is refused in the name of the model."""
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
        Starting values: Xavier, bias 0.

    Returns
    -------
    Conv2d
        Images (B, C, H, W) to a map of tokens (B, D, H / P, W / P).
    """
    return Conv2d(channels, width, patch_size, stride=patch_size, weight_init=init.xavier_uniform, rng=rng)


def map_to_tokens(x):
    """A map (B, D, H, W) as tokens (B, H W, D), row by row."""
    B, D, H, W = x.shape
    return x.reshape(B, D, H * W).transpose(0, 2, 1)


def small_normal(shape, rng):
    """Normal values with standard deviation 0.02, none beyond twice that: what learned tokens and heads start from."""
    return init.trunc_normal(shape, 0.02, rng)


def rising(last, count):
    """The drop path rates of so many blocks: from 0 in the first, in even steps, to ``last`` in the last one."""
    return [last * i / max(1, count - 1) for i in range(count)]


def published(name, model, about, parameters, classes=1000, example="", build=None, **sizes):
    """The constructor of a published size.

    Parameters
    ----------
    name : str
        What the constructor is called, such as ``"vit_b16"``.
    model : type
        The class of the model.
    about : str
        One line on the size.
    parameters : int
        How many there are with the published number of classes.
    classes : int, default 1000
        The published number of classes: ImageNet's, unless the model is a detector.
    example : str
        Options that are often set, for the docstring.
    build : function of (num_classes, rng, **options) -> Module, optional
        What makes a model with its backbone; default ``model``.
    **sizes
        What ``build`` is called with; the user's options come after, and win.
    """
    build = model if build is None else build

    def constructor(num_classes=classes, rng=None, **options):
        return build(num_classes=num_classes, rng=init.generator(rng), **{**sizes, **options})

    constructor.__signature__ = inspect.signature(constructor)
    constructor.__name__ = constructor.__qualname__ = name
    # It belongs to the file of its model, for whoever looks up its source.
    constructor.__module__ = model.__module__
    constructor.__wrapped__ = model
    constructor.__doc__ = f"""{name}: {about}.

    {parameters:,} parameters for {classes} classes.

    Parameters
    ----------
    num_classes : int, default {classes}
        K.
    rng : numpy.random.Generator, int or None
        Starting values; None is seed 0.
    **options
        Of `{model.__name__}`{f", for example {example}" if example else ""}.

    Returns
    -------
    {model.__name__}
    """
    return constructor
