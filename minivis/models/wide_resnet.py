"""Wide ResNet: fewer layers with many more channels. Norm and ReLU stand before each convolution.

Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, table 1 and figure 1. Slide
``Z/30-wide-resnet``.
Not here: the wide networks for ImageNet (resnet.py), training (recipes/), the blocks with ReLU after the sum
(cifar_resnet.py).
"""

from minivis import ops
from minivis.models.common import as_images, published
from minivis.nn import BatchNorm2d, Conv2d, Dropout, Linear, Module, Sequential, init

__all__ = [
    "WideResNet",
    "wrn16_8",
    "wrn22_8",
    "wrn28_10",
    "wrn28_12",
    "wrn40_1",
    "wrn40_2",
    "wrn40_4",
    "wrn40_10",
]


class Block(Module):
    """A pre-activation block: a = ReLU(BN(x)), y = s + conv(dropout(ReLU(BN(conv(a))))).

    The shortcut s is x where the shapes agree. Otherwise it is a 1 x 1 convolution of a, so that norm and ReLU serve both
    branches. Nothing follows the sum.

    Parameters
    ----------
    in_channels, out_channels, stride : int
        As for `Conv2d`; the first convolution has the stride.
    dropout : float
        Probability of dropping a number between the two convolutions.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, in_channels, out_channels, stride, dropout, rng):
        self.norm1 = BatchNorm2d(in_channels)
        self.conv1 = _conv(in_channels, out_channels, 3, stride, rng)
        self.norm2 = BatchNorm2d(out_channels)
        self.dropout = Dropout(dropout, rng=rng)
        self.conv2 = _conv(out_channels, out_channels, 3, 1, rng)
        same = stride == 1 and in_channels == out_channels
        self.projection = None if same else _conv(in_channels, out_channels, 1, stride, rng)

    def forward(self, x):
        active = ops.relu(self.norm1(x))
        shortcut = self.projection(active) if self.projection else x
        y = ops.relu(self.norm2(self.conv1(active)))
        return shortcut + self.conv2(self.dropout(y))


class WideResNet(Module):
    """WRN-d-k: a residual network with d = 6n + 4 layers, k times as wide as He's: small images to class logits.

    .. math:: x_{l+1} = x_l + F(\\mathrm{ReLU}(\\mathrm{BN}(x_l)))

    One 3 x 3 convolution to 16 channels, three stages with n blocks and 16k, 32k, 64k channels, norm and ReLU, the mean
    over positions, one linear layer. The second and third stage halve the map.

    Parameters
    ----------
    depth : int, default 28
        d, convolutions along the longest way: 6n + 4.
    widening : int, default 10
        k. With 1 it is a pre-activation ResNet.
    num_classes : int, default 10
        K.
    channels : int, default 3
        C of the images.
    dropout : float, default 0
        Between the two convolutions of a block; the paper also has 0.3.
    rng : numpy.random.Generator, int or None
        Draws the starting values: He's for convolutions, torch's for the head. None is seed 0.

    Attributes
    ----------
    stages : list of Sequential
        The blocks of each stage.

    Raises
    ------
    ValueError
        If ``depth`` is not 6n + 4, a size is not positive, or ``dropout`` is not a probability.

    Notes
    -----
    Depth d and width k cost about d k^2 parameters and multiply-adds. Wide layers are large products of matrices, which
    a GPU computes faster than many thin ones.

    References
    ----------
    Zagoruyko and Komodakis 2016, section 2, tables 1, 4 and 5; He et al., "Identity mappings in deep residual networks",
    ECCV 2016, for the order of norm, ReLU and convolution. Slide ``Z/30-wide-resnet``.

    Examples
    --------
    >>> import numpy as np
    >>> model = WideResNet(depth=10, widening=2)
    >>> model(np.zeros((2, 3, 16, 16), np.float32)).shape
    (2, 10)
    """

    def __init__(self, depth=28, widening=10, num_classes=10, channels=3, dropout=0.0, rng=None):
        sizes = {"depth": depth, "widening": widening, "num_classes": num_classes, "channels": channels}
        init.check_sizes("WideResNet", **sizes)
        if depth < 10 or depth % 6 != 4:
            raise ValueError(
                f"WideResNet: depth must be 6n + 4 with n at least 1: 10, 16, 22, ..., got {depth}"
            )
        rng = init.generator(rng)
        self.stem = _conv(channels, 16, 3, 1, rng)
        self.stages = []
        inputs = 16
        for stage in range(3):
            width = 16 * widening * 2**stage
            strides = [2 if stage else 1] + [1] * ((depth - 4) // 6 - 1)
            blocks = []
            for stride in strides:
                blocks.append(Block(inputs, width, stride, dropout, rng))
                inputs = width
            self.stages.append(Sequential(*blocks))
        self.norm = BatchNorm2d(inputs)
        self.head = Linear(inputs, num_classes, rng=rng)

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W)."""
        x = ops.relu(self.norm(self.features(images)[-1]))
        return self.head(ops.mean(x, axis=(2, 3)))

    def features(self, images):
        """The map after each stage: (B, 16k, H, W), (B, 32k, H/2, W/2), (B, 64k, H/4, W/4)."""
        x = self.stem(as_images("WideResNet", images))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _conv(in_channels, out_channels, kernel_size, stride, rng):
    """A convolution without bias that keeps the size of the map, but for its stride."""
    options = {"padding": kernel_size // 2, "bias": False, "weight_init": init.kaiming_normal, "rng": rng}
    return Conv2d(in_channels, out_channels, kernel_size, stride, **options)


def _published(depth, widening, parameters):
    sizes = {"depth": depth, "widening": widening}
    about = f"{depth} layers, {widening} times as wide, for images of 32 x 32 pixels"
    return published(f"wrn{depth}_{widening}", WideResNet, about, parameters, 10, "``dropout=0.3``", **sizes)


wrn16_8 = _published(16, 8, 10_961_370)
wrn22_8 = _published(22, 8, 17_158_106)
wrn28_10 = _published(28, 10, 36_479_194)
wrn28_12 = _published(28, 12, 52_517_850)
wrn40_1 = _published(40, 1, 563_930)
wrn40_2 = _published(40, 2, 2_243_546)
wrn40_4 = _published(40, 4, 8_949_210)
wrn40_10 = _published(40, 10, 55_841_754)
