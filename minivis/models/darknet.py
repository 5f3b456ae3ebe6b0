"""The convolutional networks of YOLO: the first layers of version 1, and Darknet-19 of version 2.

Redmon et al., "You only look once", CVPR 2016, figure 3. Redmon and Farhadi, "YOLO9000", CVPR 2017, table 6.
Not here: the detectors that are built on them (yolo.py, yolo_v2.py).
"""

import itertools

from minivis import ops
from minivis.models.common import NORMS, as_images, he_normal, published
from minivis.models.leaky import LeakyConv
from minivis.nn import Conv2d, MaxPool2d, Module, init

__all__ = ["Darknet", "darknet19"]

# Darknet-19: within a stage, 3 x 3 and 1 x 1 convolutions take turns, and the latter halve the channels
DEPTHS = 1, 1, 3, 3, 5, 5
WIDTHS = 32, 64, 128, 64, 128, 256, 128, 256, 512, 256, 512, 256, 512, 1024, 512, 1024, 512, 1024
KERNELS = 3, 3, 3, 1, 3, 3, 1, 3, 3, 1, 3, 1, 3, 3, 1, 3, 1, 3

# Version 1 of YOLO: figure 3 of its paper, up to the twenty convolutions that were trained on ImageNet first
YOLO_V1 = {
    "depths": (1, 1, 4, 10, 4),
    "widths": (64, 192, 128, 256, 256, 512, *(256, 512) * 4, 512, 1024, *(512, 1024) * 2),
    "kernels": (7, 3, *(1, 3) * 9),
    "stem_stride": 2,
    "norm": None,
}


class Darknet(Module):
    """Convolutions of 3 x 3 and 1 x 1 in turn, and poolings: images to class logits, or to maps for a detector.

    Parameters
    ----------
    depths : sequence of int, default (1, 1, 3, 3, 5, 5)
        Convolutions in each stage; a pooling stands between two stages. The defaults are Darknet-19.
    widths, kernels : sequence of int
        Channels and kernel size of all convolutions, one after another.
    stem_stride : int, default 1
        Stride of the first convolution.
    norm : {"batch", "frozen", "group"} or None, default "batch"
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
        If a size is not positive, ``norm`` is unknown, or the numbers of convolutions differ.

    References
    ----------
    Redmon and Farhadi 2017, table 6. Slide ``C/65-yolo-v2``.

    Examples
    --------
    >>> import numpy as np
    >>> model = Darknet((1, 3), widths=(8, 16, 8, 16), kernels=(3, 3, 1, 3), num_classes=5)
    >>> images = np.zeros((2, 3, 16, 16), np.float32)
    >>> model(images).shape, [x.shape for x in model.features(images)]
    ((2, 5), [(2, 8, 16, 16), (2, 16, 8, 8)])
    """

    def __init__(
        self, depths=DEPTHS, widths=WIDTHS, kernels=KERNELS, stem_stride=1, norm="batch", num_classes=1000, channels=3, rng=None
    ):  # fmt: skip
        if norm not in (None, *NORMS):
            raise ValueError(f"Darknet: norm must be None or one of {', '.join(NORMS)}, got {norm!r}")
        init.check_sizes(
            "Darknet",
            depths=depths,
            widths=widths,
            kernels=kernels,
            stem_stride=stem_stride,
            channels=channels,
        )
        if not len(widths) == len(kernels) == sum(depths) or not len(depths):
            raise ValueError(
                f"Darknet: {sum(depths)} convolutions need as many widths and kernels, got {len(widths)} and {len(kernels)}"
            )
        rng = init.generator(rng)
        self.pool = MaxPool2d(2)
        self.stages = []
        plan = iter(zip(widths, kernels, strict=True))
        maps = []
        for depth in depths:
            layers = []
            for width, kernel in itertools.islice(plan, depth):
                stride = 1 if maps or layers else stem_stride
                layers.append(LeakyConv(channels, width, kernel, stride, norm, rng))
                channels = width
            self.stages.append(layers)
            maps.append(channels)
        self.channels = tuple(maps)
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


darknet19 = published(
    "darknet19",
    Darknet,
    "the 19 convolutions of YOLO v2's backbone, with batch norm",
    20_842_376,
    example="``num_classes=0``",
    depths=DEPTHS,
)
