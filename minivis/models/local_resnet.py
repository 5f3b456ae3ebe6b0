"""A residual net whose 3 x 3 convolutions are replaced by layers that look at the neighbours of each pixel in another way.

Not here: those layers and the published sizes (sasa.py, lr_net.py, local_net.py), the usual ResNet (resnet.py).
"""

from minivis import ops
from minivis.models.common import NORMS, as_images, he_normal
from minivis.nn import Conv2d, Linear, Module, init

__all__ = []


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
    norm : {"batch", "frozen", "group"}
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
    norm : {"batch", "frozen", "group"}
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
