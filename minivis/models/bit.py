"""BiT: a ResNet with standardised filters and group norm, the convolutional half of the published ViT hybrid.

Kolesnikov et al., "Big Transfer (BiT): general visual representation learning", ECCV 2020, section 3; in the form that
Dosovitskiy et al. 2021 put under a ViT: norm and ReLU after each convolution, and three stages. Slide
``C/123-resnet-vit-hybrid``.
Not here: the ResNet with batch norm (resnet.py), the ViT on top (vit.py), BiT's own classifiers, which have the norm first.
"""

from minivis import ops
from minivis.models.common import as_images, he_normal
from minivis.nn import GroupNorm, Linear, Module, WeightStandardizedConv2d, init
from minivis.nn.weight_standardization import pad_same

__all__ = ["BiT"]


class StandardizedConvNorm(Module):
    """Convolution with standardised filters and "same" padding, then group norm.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride : int
        As for `Conv2d`.
    groups : int
        Groups of channels in the norm.
    rng : numpy.random.Generator
        Draws the starting values, He's.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, groups, rng):
        self.conv = WeightStandardizedConv2d(
            in_channels, out_channels, kernel_size, stride, weight_init=he_normal, rng=rng
        )
        self.norm = GroupNorm(groups, out_channels)

    def forward(self, x):
        return self.norm(self.conv(x))


class Bottleneck(Module):
    """A residual block: y = ReLU(F(x) + x), where F is 1x1 to a quarter of the channels, 3x3, and 1x1 back.

    Parameters
    ----------
    in_channels, out_channels, stride : int
        Of the block; the stride is in the 3 x 3 convolution.
    first : bool
        The first block of a stage adds a 1 x 1 convolution of x instead of x.
    groups, rng
        As for `StandardizedConvNorm`.
    """

    def __init__(self, in_channels, out_channels, stride, first, groups, rng):
        inner = out_channels // 4
        plan = [(in_channels, inner, 1, 1), (inner, inner, 3, stride), (inner, out_channels, 1, 1)]
        self.layers = [StandardizedConvNorm(*sizes, groups, rng) for sizes in plan]
        self.shortcut = None
        if first:
            self.shortcut = StandardizedConvNorm(in_channels, out_channels, 1, stride, groups, rng)

    def forward(self, x):
        y = ops.relu(self.layers[0](x))
        y = ops.relu(self.layers[1](y))
        y = self.layers[2](y)
        return ops.relu(y + (self.shortcut(x) if self.shortcut else x))


class BiT(Module):
    """BiT: images to maps of several resolutions for a ViT hybrid, or to class logits.

    A 7 x 7 convolution and max pooling bring the image to a quarter of its size; every stage after the first halves it.
    All sizes are rounded up.

    Parameters
    ----------
    depths : sequence of int, default (3, 4, 9)
        Blocks in each stage. These are the stages of a ResNet-50 of which the fourth is moved into the third, so that the
        last map has the stride of a ViT's patches.
    widths : sequence of int, optional
        Channels of each stage's map; default 256, 512, 1024, ...
    stem_width : int, default 64
        Channels of the first convolution.
    groups : int, default 32
        Groups of the group norms. It must divide all channels, also the quarters inside the blocks.
    num_classes : int, default 0
        K. With 0 there is no head.
    channels : int, default 3
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values: He's for convolutions, torch's for the head. None is seed 0.

    Attributes
    ----------
    channels : tuple of int
        Channels of the maps that `features` returns (not those of the images).
    stride : int
        Distance in pixels between neighbouring cells of the last map.

    Raises
    ------
    ValueError
        If a size is not positive, ``widths`` and ``depths`` differ in length, or the groups do not divide the channels.

    References
    ----------
    Kolesnikov et al. 2020, section 3.1; Dosovitskiy et al. 2021, section 4.1. Slide ``C/123-resnet-vit-hybrid``.

    Examples
    --------
    >>> import numpy as np
    >>> model = BiT((1, 1), widths=(16, 32), stem_width=8, groups=4)
    >>> [x.shape for x in model.features(np.zeros((2, 3, 30, 33), np.float32))]
    [(2, 16, 8, 9), (2, 32, 4, 5)]
    """

    def __init__(
        self, depths=(3, 4, 9), widths=None, stem_width=64, groups=32, num_classes=0, channels=3, rng=None
    ):  # fmt: skip
        init.check_sizes("BiT", depths=depths, stem_width=stem_width, groups=groups)
        widths = widths or [256 * 2**i for i in range(len(depths))]
        if not depths:
            raise ValueError("BiT: depths must be at least one number, got none")
        if len(widths) != len(depths):
            raise ValueError(f"BiT: {len(depths)} stages need {len(depths)} widths, got {len(widths)}")
        if wrong := [w for w in (4 * stem_width, *widths) if w < 4 or w % 4 or w // 4 % groups]:
            raise ValueError(
                f"BiT: {groups} groups must divide the stem's channels and a quarter of each stage's, got {wrong[0] / 4:g}"
            )
        rng = init.generator(rng)
        self.channels = tuple(widths)
        self.stride = 4 * 2 ** (len(depths) - 1)
        self.stem = StandardizedConvNorm(channels, stem_width, 7, 2, groups, rng)
        self.stages = []
        inputs = stem_width
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            first = Bottleneck(inputs, width, 2 if stage else 1, True, groups, rng)
            others = [Bottleneck(width, width, 1, False, groups, rng) for _ in range(depth - 1)]
            self.stages.append([first, *others])
            inputs = width
        self.head = Linear(inputs, num_classes, rng=rng) if num_classes else None

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W). Without a head: the mean of the last map, (B, channels[-1])."""
        pooled = ops.mean(self.features(images)[-1], axis=(2, 3))
        return self.head(pooled) if self.head else pooled

    def features(self, images):
        """The map after each stage, finest first: (B, channels[i], H / 4 / 2^i, W / 4 / 2^i), sizes rounded up."""
        x = ops.relu(self.stem(as_images("BiT", images)))
        # after a ReLU a border of zeros is never larger than the pixels beside it
        x = ops.max_pool2d(pad_same(x, 3, 2), 3, stride=2)
        maps = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            maps.append(x)
        return maps
