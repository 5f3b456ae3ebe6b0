"""SegNet: VGG-16's convolutions down, the same mirrored up, and poolings that remember where each maximum was.

Badrinarayanan, Kendall and Cipolla, "SegNet: A deep convolutional encoder-decoder architecture for image segmentation",
PAMI 2017, section 3 and figure 2.
Slide ``C/78-max-unpooling``.
Not here: training, the poolings themselves (ops/pool.py), U-Net, which hands over whole maps (unet.py).
"""

from minivis import ops
from minivis.models.common import as_images, he_normal, published
from minivis.nn import BatchNorm2d, Conv2d, Module, ReLU, Sequential, init

__all__ = ["SegNet", "segnet"]


def conv_norm(in_channels, out_channels, rng):
    """A padded 3 x 3 convolution with bias, batch norm and ReLU."""
    convolution = Conv2d(in_channels, out_channels, 3, padding=1, weight_init=he_normal, rng=rng)
    return [convolution, BatchNorm2d(out_channels), ReLU()]


class SegNet(Module):
    """A decoder that puts values back to the pixels where the encoder's maxima were: images to logits of each pixel.

    The way down is VGG-16 without its linear layers. Each of its 2 x 2 poolings keeps the positions of its maxima. On the
    way up, max unpooling puts the values of a map to these positions, with zeros around them, and convolutions fill the
    gaps. Handing over positions takes far less memory than handing over maps, as U-Net does.

    Parameters
    ----------
    depths : sequence of int, default (2, 2, 3, 3, 3)
        Convolutions of each stage, down and up.
    widths : sequence of int, default (64, 128, 256, 512, 512)
        Channels of each stage.
    num_classes : int, default 21
        K.
    channels : int, default 3
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values, He's; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, or ``widths`` and ``depths`` differ in length.

    Notes
    -----
    Any image size goes through: a pooling drops the row or column that is left over, and unpooling makes a map of the size
    from before. Inside `looking` blocks it shows ``pooled0``, ``pooled1``, ... and ``unpooled0``, ... of each stage.

    References
    ----------
    Badrinarayanan et al. 2017, section 3. Noh et al., "Learning deconvolution network for semantic segmentation", ICCV 2015,
    unpools in the same way and keeps VGG's linear layers. Slides ``C/74-down-and-up``, ``C/78-max-unpooling``.

    Examples
    --------
    >>> import numpy as np
    >>> model = SegNet((1, 2), widths=(4, 8), num_classes=5)
    >>> model(np.zeros((1, 3, 9, 12), np.float32)).shape
    (1, 5, 9, 12)
    """

    def __init__(
        self, depths=(2, 2, 3, 3, 3), widths=(64, 128, 256, 512, 512), num_classes=21, channels=3, rng=None
    ):
        init.check_sizes("SegNet", depths=depths, widths=widths, num_classes=num_classes, channels=channels)
        if len(widths) != len(depths) or not len(depths):
            raise ValueError(
                f"SegNet: depths and widths must be one number for each stage, got {depths} and {widths}"
            )
        rng = init.generator(rng)
        self.encoder = []
        self.decoder = []
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            down = [channels if not stage else widths[stage - 1], *(width for _ in range(depth))]
            up = [*(width for _ in range(depth)), num_classes if not stage else widths[stage - 1]]
            self.encoder.append(self._stage(down, rng))
            self.decoder.insert(0, self._stage(up, rng))
        # the last convolution gives the logits: no norm, no ReLU
        last = self.decoder[-1]
        self.decoder[-1] = Sequential(*list(last)[:-2])

    @staticmethod
    def _stage(channels, rng):
        pairs = zip(channels[:-1], channels[1:], strict=True)
        return Sequential(*(layer for inputs, outputs in pairs for layer in conv_norm(inputs, outputs, rng)))

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        x = as_images("SegNet", images)
        self._check(x)
        remembered = []
        for number, stage in enumerate(self.encoder):
            x = stage(x)
            size = x.shape[2:]
            x, indices = ops.max_pool2d(x, 2, return_indices=True)  # (B, D, h // 2, w // 2)
            remembered.append((indices, size))
            self.show(**{f"pooled{number}": x})
        for stage in self.decoder:
            indices, size = remembered.pop()
            x = ops.max_unpool2d(x, indices, 2, output_size=size)  # (B, D, h, w)
            self.show(**{f"unpooled{len(remembered)}": x})
            x = stage(x)
        return x

    def _check(self, x):
        least = 2 ** len(self.encoder)
        if min(x.shape[2:]) < least:
            raise ValueError(
                f"SegNet: images must have at least {least} x {least} pixels for {len(self.encoder)} poolings "
                f"(images: {tuple(x.shape)})"
            )


segnet = published(
    "segnet",
    SegNet,
    "VGG-16's 13 convolutions and 13 mirrored ones",
    29_455_125,
    classes=21,
    example="``num_classes=11``",
)
