"""Conv2d and ConvTranspose2d: the layers that own the filters.

Not here: the mathematics (ops/conv.py); pooling and resizing, which own no parameters and are ops.
"""

import math

from minivis import ops
from minivis.nn import init
from minivis.nn.module import Module, Parameter
from minivis.pairs import pair

__all__ = ["Conv2d", "ConvTranspose2d"]


class Conv2d(Module):
    """Slide learned filters over an image: the same weights at every position.

    Parameters
    ----------
    in_channels, out_channels : int
        C of input and output.
    kernel_size : int or (int, int)
        Height and width of the filters.
    stride, padding, dilation : int or (int, int), defaults 1, 0, 1
        As for `minivis.ops.conv2d`.
    groups : int, default 1
        Number of groups into which the channels are divided.
    bias : bool, default True
        Whether each output channel has a bias.
    weight_init : callable, optional
        ``weight_init(shape, rng)`` draws the weight, and the bias starts at 0. Without it both start as in torch:
        uniform within 1 / sqrt(inputs of a filter).
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels / groups, kh, kw)
    bias : Parameter, shape (out_channels,), or None

    Raises
    ------
    ValueError
        If ``groups`` does not divide the channels, or a size is not a whole number of at least 1.

    References
    ----------
    Slides ``C/90-layer-types``, ``C/91-convolution-saves-parameters``.

    Examples
    --------
    >>> import numpy as np
    >>> Conv2d(3, 8, 3, stride=2, padding=1)(np.ones((1, 3, 6, 4), np.float32)).shape
    (1, 8, 3, 2)
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        *, weight_init=None, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "Conv2d", in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size
        )
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: groups={groups} must divide {in_channels} and {out_channels} channels")
        rng = init.generator(rng)
        shape = (out_channels, in_channels // groups, *pair(kernel_size))
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.weight = Parameter((weight_init or init.kaiming_uniform)(shape, rng))
        bound = 0.0 if weight_init else 1 / math.sqrt(max(1, math.prod(shape[1:])))
        self.bias = Parameter(init.uniform(shape[:1], bound, rng)) if bias else None

    def forward(self, x):
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self):
        O, C, *kernel = self.weight.shape
        words = f"{C * self.groups}, {O}, {tuple(kernel)}"
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1)):
            if pair(getattr(self, name)) != (default, default):
                words += f", {name}={getattr(self, name)}"
        return words + (", bias=False" if self.bias is None else "")


class ConvTranspose2d(Module):
    """The transpose of `Conv2d`, for enlarging: every input pixel adds a multiple of a learned filter to the output.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, groups, bias
        As for `Conv2d`.
    stride, padding, output_padding : int or (int, int), defaults 1, 0, 0
        As for `minivis.ops.conv_transpose2d`.
    dilation : int or (int, int), default 1
        Pixels between neighbouring elements of a filter.
    rng : numpy.random.Generator, int or None
        Draws the starting values, as torch does; None is seed 0.

    Attributes
    ----------
    weight : Parameter, shape (in_channels, out_channels / groups, kh, kw)
    bias : Parameter, shape (out_channels,), or None

    Raises
    ------
    ValueError
        If ``groups`` does not divide the channels, or a size is not a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> ConvTranspose2d(8, 3, 2, stride=2)(np.ones((1, 8, 3, 2), np.float32)).shape
    (1, 3, 6, 4)
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
        dilation=1, *, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "ConvTranspose2d", in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size
        )
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"ConvTranspose2d: groups={groups} must divide {in_channels} and {out_channels} channels"
            )
        rng = init.generator(rng)
        shape = (in_channels, out_channels // groups, *pair(kernel_size))
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation = groups, dilation
        self.weight = Parameter(init.kaiming_uniform(shape, rng))
        bound = 1 / math.sqrt(max(1, math.prod(shape[1:])))
        self.bias = Parameter(init.uniform((out_channels,), bound, rng)) if bias else None

    def forward(self, x):
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )

    def extra_repr(self):
        C, O, *kernel = self.weight.shape
        return f"{C}, {O * self.groups}, {tuple(kernel)}, stride={self.stride}"
