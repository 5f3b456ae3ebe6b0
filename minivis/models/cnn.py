"""A small convolutional network for small images, to compare with a ViT.

Conv-BN-ReLU blocks, where each stage halves the map, then the mean over positions and a linear layer.
Not here: published convolutional networks such as ResNet (resnet.py), training (recipes/).
"""

from minivis import ops
from minivis.nn import BatchNorm2d, Conv2d, Linear, Module, Sequential, init
from minivis.nn.mlp import ReLU

__all__ = ["CNN"]


class CNN(Module):
    """A stack of convolutions with growing receptive fields, then one linear layer: images to class logits.

    Parameters
    ----------
    channels : int, default 1
        C of the images.
    widths : sequence of int, default (32, 64)
        Channels of each stage. Every stage after the first starts with a convolution of stride 2.
    depth : int, default 2
        Convolutions in each stage.
    num_classes : int, default 10
        K.
    kernel_size : int, default 3
        Side of the filters, odd.
    rng : numpy.random.Generator, int or None
        Draws the starting values: He's for the convolutions, torch's for the last layer. None is seed 0.

    Raises
    ------
    ValueError
        If the kernel is even, or a size is not positive.

    Notes
    -----
    Locality and weight sharing are built in. A ViT has to learn them from data, so with little data a CNN is better.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", ICML 2015, section 3.2, for the order convolution, norm, ReLU.
    Slide ``H/4-data-against-bias``.

    Examples
    --------
    >>> import numpy as np
    >>> CNN()(np.zeros((5, 1, 8, 8), np.float32)).shape
    (5, 10)
    """

    def __init__(self, channels=1, widths=(32, 64), depth=2, num_classes=10, kernel_size=3, rng=None):
        init.check_sizes("CNN", widths=widths, depth=depth, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"CNN: kernel_size must be odd to keep the image's size, got {kernel_size}")
        rng = init.generator(rng)
        layers = []
        for stage, width in enumerate(widths):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                layers += [
                    Conv2d(
                        channels,
                        width,
                        kernel_size,
                        stride,
                        padding=kernel_size // 2,
                        bias=False,  # the norm would subtract it again
                        weight_init=init.kaiming_normal,
                        rng=rng,
                    ),
                    BatchNorm2d(width),
                    ReLU(),
                ]
                channels = width
        self.layers = Sequential(*layers)
        self.head = Linear(channels, num_classes, rng=rng)

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W)."""
        maps = self.layers(images)  # (B, C', H', W')
        return self.head(ops.mean(maps, axis=(2, 3)))
