"""VGG: 3 x 3 convolutions, two to four of them between poolings, and three linear layers.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1.
Slide ``Z/29-vgg``.
Not here: training, the names of published weights (pretrained/vgg.py).
"""

from minivis import ops
from minivis.models.common import as_images, he_normal, published
from minivis.nn import BatchNorm2d, Conv2d, Dropout, Linear, MaxPool2d, Module, ReLU, Sequential, init

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]


class VGG(Module):
    """Stages of 3 x 3 convolutions, each followed by a pooling that halves the map: images to class logits.

    Two 3 x 3 convolutions see 5 x 5 pixels, three see 7 x 7, with fewer weights than one 7 x 7 convolution has (27 C^2
    instead of 49 C^2 for C channels) and with ReLUs between them.

    Parameters
    ----------
    depths : sequence of int, default (2, 2, 3, 3, 3)
        Convolutions in each stage. The default is VGG-16, the paper's column D.
    widths : sequence of int, default (64, 128, 256, 512, 512)
        Channels of each stage.
    norm : bool, default False
        Whether batch norm follows each convolution (which keeps its bias).
    map_size : int, default 7
        Side of the last map, which the first linear layer reads: 7 for images of 224 x 224 pixels. A map of another size
        is averaged to this.
    hidden : int, default 4096
        Width of the two hidden linear layers.
    num_classes : int, default 1000
        K.
    channels : int, default 3
        C of the images.
    dropout : float, default 0.5
        Probability with which a hidden number is set to 0 in training.
    rng : numpy.random.Generator, int or None
        Draws the starting values (He's for convolutions, normal with standard deviation 0.01 for linear layers, as in
        torchvision) and the dropout; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, or ``widths`` and ``depths`` differ in length.

    References
    ----------
    Simonyan and Zisserman 2015, table 1: columns A, B, D and E are VGG-11, 13, 16 and 19. Slide ``Z/29-vgg``.

    Examples
    --------
    >>> import numpy as np
    >>> model = VGG((1, 2), widths=(8, 16), map_size=2, hidden=32, num_classes=5)
    >>> model(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 5)
    """

    def __init__(
        self, depths=(2, 2, 3, 3, 3), widths=(64, 128, 256, 512, 512), norm=False, map_size=7, hidden=4096,
        num_classes=1000, channels=3, dropout=0.5, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "VGG", depths=depths, widths=widths, map_size=map_size, hidden=hidden, num_classes=num_classes,
            channels=channels,
        )  # fmt: skip
        if len(widths) != len(depths):
            raise ValueError(f"VGG: {len(depths)} stages need {len(depths)} widths, got {len(widths)}")
        if not len(depths):
            raise ValueError("VGG: depths must have at least one number")
        rng = init.generator(rng)
        self.map_size = map_size
        layers = []
        for depth, width in zip(depths, widths, strict=True):
            for _ in range(depth):
                layers.append(Conv2d(channels, width, 3, padding=1, weight_init=he_normal, rng=rng))
                layers += [BatchNorm2d(width), ReLU()] if norm else [ReLU()]
                channels = width
            layers.append(MaxPool2d(2))
        self.features = Sequential(*layers)
        self.classifier = Sequential(
            Linear(channels * map_size**2, hidden, weight_init=_narrow_normal, rng=rng),
            ReLU(),
            Dropout(dropout, rng=rng),
            Linear(hidden, hidden, weight_init=_narrow_normal, rng=rng),
            ReLU(),
            Dropout(dropout, rng=rng),
            Linear(hidden, num_classes, weight_init=_narrow_normal, rng=rng),
        )

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W)."""
        maps = self.features(as_images("VGG", images))  # (B, C', h, w)
        maps = ops.adaptive_avg_pool2d(maps, self.map_size)  # (B, C', 7, 7)
        return self.classifier(maps.reshape(len(maps), maps.shape[1] * self.map_size**2))

    def dense(self, images):
        """Logits at every position, (B, K, h - 6, w - 6) for a last map of h x w: the linear layers as convolutions.

        The first linear layer reads 7 x 7 positions, so it is a 7 x 7 convolution; the others are 1 x 1 convolutions. On
        224 x 224 pixels the result is `forward`'s, (B, K, 1, 1). Larger images give a map: the same network at all
        positions that are 32 pixels apart.

        Raises
        ------
        ValueError
            If the last map is smaller than 7 x 7.
        """
        x = self.features(as_images("VGG", images))  # (B, C', h, w)
        side = self.map_size
        for layer in self.classifier:
            if isinstance(layer, Linear):
                outputs = len(layer.weight)
                kernels = layer.weight.reshape(outputs, -1, side, side)  # (out, in, 7, 7), then 1 x 1
                x = ops.conv2d(x, kernels, layer.bias)
                side = 1
            else:
                x = layer(x)
        return x


def _narrow_normal(shape, rng):
    """Normal starting values with standard deviation 0.01."""
    return init.normal(shape, 0.01, rng)


def _published(name, depths, parameters, norm=False):
    about = f"{sum(depths)} convolutions and 3 linear layers{', with batch norm' if norm else ''}"
    return published(name, VGG, about, parameters, example="``dropout=0.0``", depths=depths, norm=norm)


vgg11 = _published("vgg11", (1, 1, 2, 2, 2), 132_863_336)
vgg13 = _published("vgg13", (2, 2, 2, 2, 2), 133_047_848)
vgg16 = _published("vgg16", (2, 2, 3, 3, 3), 138_357_544)
vgg19 = _published("vgg19", (2, 2, 4, 4, 4), 143_667_240)
vgg11_bn = _published("vgg11_bn", (1, 1, 2, 2, 2), 132_868_840, norm=True)
vgg13_bn = _published("vgg13_bn", (2, 2, 2, 2, 2), 133_053_736, norm=True)
vgg16_bn = _published("vgg16_bn", (2, 2, 3, 3, 3), 138_365_992, norm=True)
vgg19_bn = _published("vgg19_bn", (2, 2, 4, 4, 4), 143_678_248, norm=True)
