"""AlexNet: the network that won ImageNet's challenge in 2012, with its two towers, and the later form with one.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS 2012.
Slides ``Z/13-alexnet``, ``Z/21-parameters-made-visible``, ``Z/22-activations-made-visible``.
Not here: training, the names of published weights (pretrained/alexnet.py).
"""

from minivis import ops
from minivis.models.common import as_images, published
from minivis.nn import (
    Conv2d,
    Dropout,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
    Sequential,
    init,
)  # fmt: skip

__all__ = ["AlexNet", "alexnet", "alexnet_one_tower"]

WIDTHS = {2: (96, 256, 384, 384, 256), 1: (64, 192, 384, 256, 256)}
KERNELS = (11, 5, 3, 3, 3)
POOLED = (0, 1, 4)  # the convolutions that a pooling follows
NORMALIZED = (0, 1)  # ... and, with two towers, a norm before the pooling
DIVIDED = (1, 3, 4)  # ... and those in which a tower sees only its own half of the channels
RAISED = (1, 3, 4)  # ... and those whose bias starts at 1
MAP = 6  # side of the last map


class AlexNet(Module):
    """Five convolutions and three linear layers: images to class logits.

    The network of 2012 ran on two GPUs. Each had one half of the channels, a *tower*, and saw the other half only in the
    third convolution and in the linear layers. Here a tower is a group of the convolutions. The form of 2014 has one
    tower, fewer channels and no norms.

    Parameters
    ----------
    towers : {2, 1}, default 2
        2 is the network of the paper, for images of 227 x 227 pixels. 1 is torchvision's, for 224 x 224.
    widths : sequence of 5 int, optional
        Channels of the convolutions. The default is 96, 256, 384, 384, 256 for two towers and 64, 192, 384, 256, 256 for
        one.
    hidden : int, default 4096
        Width of the two hidden linear layers.
    num_classes : int, default 1000
        K.
    channels : int, default 3
        C of the images.
    dropout : float, default 0.5
        Probability with which a number is set to 0 in training: after the hidden linear layers with two towers, before
        them with one.
    rng : numpy.random.Generator, int or None
        Draws the starting values and the dropout; None is seed 0. With two towers they are the paper's: weights normal
        with standard deviation 0.01, the biases of the 2nd, 4th and 5th convolution and of the hidden linear layers 1.
        With one tower they are torch's.

    Raises
    ------
    ValueError
        If ``towers`` is neither 1 nor 2 or does not divide a width, or a size is not positive.

    Notes
    -----
    The paper gives 224 x 224 pixels, which do not make the 55 x 55 positions of its figure; 227 x 227 do. The last map is
    averaged to 6 x 6 positions if an image of another size makes it larger.

    References
    ----------
    Krizhevsky et al. 2012, section 3.5 and figure 2. One tower: Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014. Slide ``Z/13-alexnet``.

    Examples
    --------
    >>> import numpy as np
    >>> model = AlexNet(widths=(4, 8, 8, 8, 8), hidden=16, num_classes=5)
    >>> model(np.zeros((2, 3, 227, 227), np.float32)).shape
    (2, 5)
    """

    def __init__(
        self, towers=2, widths=None, hidden=4096, num_classes=1000, channels=3, dropout=0.5, rng=None
    ):
        if towers not in WIDTHS:
            raise ValueError(f"AlexNet: towers must be 1 or 2, got {towers!r}")
        widths = tuple(WIDTHS[towers] if widths is None else widths)
        init.check_sizes("AlexNet", widths=widths, hidden=hidden, num_classes=num_classes, channels=channels)
        if len(widths) != 5:
            raise ValueError(f"AlexNet: widths must be 5 numbers, got {widths}")
        rng = init.generator(rng)
        options = {"weight_init": _narrow_normal if towers == 2 else None, "rng": rng}
        self.features = Sequential(*_convolutions(towers, channels, widths, options))
        first = Linear(widths[-1] * MAP * MAP, hidden, **options)
        second = Linear(hidden, hidden, **options)
        last = Linear(hidden, num_classes, **options)
        drops = [Dropout(dropout, rng=rng) for _ in range(2)]
        if towers == 2:
            first.bias, second.bias = (Parameter(init.ones((hidden,))) for _ in range(2))
            layers = [first, ReLU(), drops[0], second, ReLU(), drops[1], last]
        else:
            layers = [drops[0], first, ReLU(), drops[1], second, ReLU(), last]
        self.classifier = Sequential(*layers)

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W)."""
        maps = self.features(as_images("AlexNet", images))  # (B, C', h, w)
        maps = ops.adaptive_avg_pool2d(maps, MAP)  # (B, C', 6, 6)
        return self.classifier(maps.reshape(len(maps), maps.shape[1] * MAP * MAP))


def _convolutions(towers, channels, widths, options):
    """The layers before the linear ones."""
    layers = []
    for i, (width, kernel) in enumerate(zip(widths, KERNELS, strict=True)):
        stride = 4 if i == 0 else 1
        padding = kernel // 2 if i else (2 if towers == 1 else 0)
        groups = towers if i in DIVIDED else 1
        conv = Conv2d(channels, width, kernel, stride, padding, groups=groups, **options)
        if towers == 2 and i in RAISED:
            conv.bias = Parameter(init.ones((width,)))
        layers += [conv, ReLU()]
        if towers == 2 and i in NORMALIZED:
            layers.append(LocalResponseNorm())
        if i in POOLED:
            layers.append(MaxPool2d(3, stride=2))
        channels = width
    return layers


def _narrow_normal(shape, rng):
    """The paper's starting values."""
    return init.normal(shape, 0.01, rng)


alexnet = published(
    "alexnet", AlexNet, "the two towers of 2012", 60_965_224, example="``dropout=0.0``", towers=2
)
alexnet_one_tower = published(
    "alexnet_one_tower",
    AlexNet,
    "the one tower of 2014, torchvision's",
    61_100_840,
    example="``dropout=0.0``",
    towers=1,
)
