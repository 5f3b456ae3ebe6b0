"""The convolutional networks of YOLO: the first layers of version 1, and Darknet-19 of version 2.

Redmon et al., "You only look once", CVPR 2016, figure 3. Redmon and Farhadi, "YOLO9000", CVPR 2017, table 6.
Not here: the detectors that are built on them (yolo.py, yolo_v2.py).
"""

from minivis import ops
from minivis.models.common import NORMS, as_images, he_normal, published
from minivis.nn import Conv2d, MaxPool2d, Module, init

__all__ = ["Darknet", "darknet19"]

SLOPE = 0.1  # of the activation, for negative numbers


def leaky_relu(x):
    """x where it is positive, otherwise a tenth of it: no unit is without gradient."""
    return ops.maximum(x, SLOPE * x)


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


class Darknet(Module):
    """Convolutions of 3 x 3 and 1 x 1 in turn, and poolings: images to class logits, or to maps for a detector.

    Parameters
    ----------
    stages : sequence of sequences of (int, int) or (int, int, int)
        The convolutions between two poolings: kernel size, channels, and a stride if it is not 1.
    norm : {"batch", "group"} or None, default "batch"
        Kind of norm.
    num_classes : int, default 1000
        K. With 0 there is no head.
    channels : int, default 3
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Attributes
    ----------
    channels : tuple of int
        Channels of the maps that `features` returns (not those of the images).

    Raises
    ------
    ValueError
        If a size is not positive, or ``norm`` is unknown.

    References
    ----------
    Redmon and Farhadi 2017, table 6. Slide ``C/65-yolo-v2``.

    Examples
    --------
    >>> import numpy as np
    >>> model = Darknet([[(3, 8)], [(3, 16), (1, 8), (3, 16)]], num_classes=5)
    >>> images = np.zeros((2, 3, 16, 16), np.float32)
    >>> model(images).shape, [x.shape for x in model.features(images)]
    ((2, 5), [(2, 8, 16, 16), (2, 16, 8, 8)])
    """

    def __init__(self, stages, norm="batch", num_classes=1000, channels=3, rng=None):
        if norm not in (None, *NORMS):
            raise ValueError(f"Darknet: norm must be None or one of {', '.join(NORMS)}, got {norm!r}")
        init.check_sizes("Darknet", channels=channels)
        if not stages or not all(stages):
            raise ValueError(f"Darknet: each stage must have a convolution, got {stages!r}")
        rng = init.generator(rng)
        self.pool = MaxPool2d(2)
        self.stages = []
        for stage in stages:
            layers = []
            for kernel, width, *stride in stage:
                layers.append(LeakyConv(channels, width, kernel, *(stride or [1]), norm, rng))
                channels = width
            self.stages.append(layers)
        self.channels = tuple(stage[-1][1] for stage in stages)
        self.head = Conv2d(channels, num_classes, 1, weight_init=he_normal, rng=rng) if num_classes else None

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W). Without a head: the mean of the last map, (B, channels[-1])."""
        maps = self.features(images)[-1]
        return ops.mean(self.head(maps) if self.head else maps, axis=(2, 3))

    def features(self, images):
        """The map of each stage, before the pooling that leads to the next one."""
        x = as_images("Darknet", images)
        maps = []
        for layers in self.stages:
            x = self.pool(x) if maps else x
            for layer in layers:
                x = layer(x)
            maps.append(x)
        return maps


def _in_turn(width, count):
    """3 x 3 convolutions, with 1 x 1 convolutions to half of the channels between them."""
    return [(3, width), *[(1, width // 2), (3, width)] * (count // 2)]


DARKNET19 = [[(3, 32)], [(3, 64)], _in_turn(128, 3), _in_turn(256, 3), _in_turn(512, 5), _in_turn(1024, 5)]

# Figure 3 of the paper, up to the twenty convolutions that were trained on ImageNet first
YOLO_V1 = [
    [(7, 64, 2)],
    [(3, 192)],
    [(1, 128), (3, 256), (1, 256), (3, 512)],
    [*[(1, 256), (3, 512)] * 4, (1, 512), (3, 1024)],
    [(1, 512), (3, 1024), (1, 512), (3, 1024)],
]

darknet19 = published(
    "darknet19",
    Darknet,
    "the 19 convolutions of YOLO v2's backbone, with batch norm",
    20_842_376,
    example="``num_classes=0``",
    stages=DARKNET19,
)
