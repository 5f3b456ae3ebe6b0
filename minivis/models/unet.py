"""U-Net: down to small maps, up again to the size of the image, and each map of the way down handed to the way up.

Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015, figure 1.
Slide ``C/87-unet``.
Not here: its joint and the weights of its loss (vision/cropping.py, vision/loss_weights.py), training (recipes/).
"""

import math

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.backend import namespace
from minivis.models.common import NORMS, as_images, published
from minivis.nn import Conv2d, ConvTranspose2d, Dropout, Module, Parameter, ReLU, Sequential, init
from minivis.vision.cropping import crop_concat

__all__ = ["UNet", "unet"]


class DoubleConv(Module):
    """Two 3 x 3 convolutions, each followed by a norm, if there is one, and ReLU.

    Parameters
    ----------
    in_channels, middle, out_channels : int
        Channels of the input, between the convolutions, and of the output.
    padded : bool
        Whether maps keep their size. Otherwise they lose two pixels on each side.
    norm : {None, "batch", "frozen", "group"}
        Kind of norm. Convolutions have a bias only without it.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, in_channels, middle, out_channels, padded, norm, rng):
        layers = []
        for inputs, outputs in ((in_channels, middle), (middle, out_channels)):
            options = {"padding": int(padded), "bias": norm is None, "weight_init": init.kaiming_normal}
            layers.append(Conv2d(inputs, outputs, 3, **options, rng=rng))
            if norm:
                layers.append(NORMS[norm](outputs))
            layers.append(ReLU())
        self.layers = Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Up(Module):
    """A step up: enlarge the map to twice its size, put the map of the way down beside it, and convolve twice.

    Parameters
    ----------
    in_channels, skip_channels, out_channels : int
        Channels of the map from below, of the map of the way down, and of the output.
    padded, norm, rng
        As for `DoubleConv`.
    bilinear : bool
        Enlarge by interpolation, which keeps the channels, instead of a transposed convolution to ``skip_channels``.
    skips : bool
        Whether the map of the way down is used.
    """

    def __init__(self, in_channels, skip_channels, out_channels, padded, norm, bilinear, skips, rng):
        self.skips = skips
        self.enlarge = None if bilinear else up_convolution(in_channels, skip_channels, rng)
        enlarged = in_channels if bilinear else skip_channels
        inputs = enlarged + (skip_channels if skips else 0)
        self.convolutions = DoubleConv(inputs, skip_channels, out_channels, padded, norm, rng)

    def forward(self, x, skip):
        """(B, out_channels, 2 h, 2 w) of a map (B, in_channels, h, w); without padding 4 pixels less each way."""
        if self.enlarge is None:
            height, width = x.shape[2:]
            x = ops.interpolate(x, (2 * height, 2 * width), mode="bilinear", align_corners=True)
        else:
            x = self.enlarge(x)  # (B, skip_channels, 2 h, 2 w)
        return self.convolutions(crop_concat(skip, x) if self.skips else x)


def up_convolution(in_channels, out_channels, rng):
    """A 2 x 2 transposed convolution with stride 2: every pixel becomes a block of 2 x 2. He's starting values, bias 0."""
    layer = ConvTranspose2d(in_channels, out_channels, 2, stride=2, rng=rng)
    # A pixel of the result is computed from one pixel of the input, so N of He's sqrt(2 / N) is the number of channels.
    layer.weight = Parameter(init.normal(layer.weight.shape, math.sqrt(2 / in_channels), rng))
    layer.bias = Parameter(init.zeros(layer.bias.shape))
    return layer


class UNet(Module):
    """The U-shaped network that labels every pixel: images to logits of each pixel.

    On the way down, two convolutions and a 2 x 2 pooling at each level find what is in the image and lose where it is. On
    the way up, the maps are enlarged again, and at each level the map of the way down, which still knows where, is put
    beside them.

    Parameters
    ----------
    widths : sequence of int, default (64, 128, 256, 512, 1024)
        Channels of each level, from the size of the image down to the bottom; one pooling less than levels.
    num_classes : int, default 2
        K.
    channels : int, default 1
        C of the images.
    padded : bool, default False
        Whether convolutions are padded. The paper's are not: maps shrink by two pixels on each side at each level, the
        logits are smaller than the image (388 for 572 pixels), and no border of zeros changes a result. With padding the
        logits have the image's size.
    norm : {None, "batch", "frozen", "group"}, default None
        Norm after each 3 x 3 convolution; the paper has none.
    bilinear : bool, default False
        Enlarge by bilinear interpolation instead of a learned transposed convolution. It cannot halve the channels, so
        the last convolution of the level below does.
    dropout : float, default 0.5
        Probability with which a number of the lowest map is set to 0 in training.
    skips : bool, default True
        Whether the way up gets the maps of the way down; False shows what they are worth.
    rng : numpy.random.Generator, int or None
        Draws the starting values (He's, normal) and the dropout; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, there are fewer than two levels, or the norm is unknown.

    Notes
    -----
    Inside `looking` blocks it shows the map of every level: ``down0``, ``down1``, ... from the finest to the bottom, then
    ``up1``, ``up0``.
    With ``padded=True, norm="batch", dropout=0`` and 3 channels it is the network that most code calls U-Net.

    References
    ----------
    Ronneberger et al. 2015, section 2 and figure 1. Slides ``C/74-down-and-up``, ``C/87-unet``.

    Examples
    --------
    >>> import numpy as np
    >>> model = UNet((4, 8), num_classes=3)
    >>> model(np.zeros((1, 1, 20, 24), np.float32)).shape
    (1, 3, 4, 8)
    >>> UNet((4, 8), padded=True)(np.zeros((1, 1, 20, 24), np.float32)).shape
    (1, 2, 20, 24)
    """

    def __init__(
        self, widths=(64, 128, 256, 512, 1024), num_classes=2, channels=1, padded=False, norm=None, bilinear=False,
        dropout=0.5, skips=True, rng=None,
    ):  # fmt: skip
        init.check_sizes("UNet", widths=widths, num_classes=num_classes, channels=channels)
        if len(widths) < 2:
            raise ValueError(f"UNet: widths must have at least two levels, got {widths}")
        if norm not in (None, *NORMS):
            raise ValueError(f"UNet: norm must be None or one of {', '.join(NORMS)}, got {norm!r}")
        rng = init.generator(rng)
        self.padded = padded
        self.down = []
        for width in widths:
            self.down.append(DoubleConv(channels, width, width, padded, norm, rng))
            channels = width
        self.dropout = Dropout(dropout, rng=rng)
        self.up = []
        for level in reversed(range(len(widths) - 1)):
            width = widths[max(level - 1, 0)] if bilinear else widths[level]
            self.up.append(Up(channels, widths[level], width, padded, norm, bilinear, skips, rng))
            channels = width
        self.head = Conv2d(channels, num_classes, 1, weight_init=init.kaiming_normal, rng=rng)

    def forward(self, images):
        """Logits (B, K, h, w) of images (B, C, H, W); h and w as `output_size` gives them."""
        x = as_images("UNet", images)
        for size in x.shape[2:]:
            self.output_size(size)
        maps = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(ops.max_pool2d(x, 2) if level else x)
            self.show(**{f"down{level}": x})
            maps.append(x)
        x = self.dropout(maps.pop())  # the bottom
        for up in self.up:
            x = up(x, maps.pop())
            self.show(**{f"up{len(maps)}": x})
        return self.head(x)

    def output_size(self, size):
        """The height (or width) of the logits for an image of this height (or width).

        Parameters
        ----------
        size : int
            Pixels.

        Returns
        -------
        int
            With padding ``size``, without it the paper's size: 388 for 572.

        Raises
        ------
        ValueError
            If a map would have an odd size before a pooling, or no pixels, or the size is not whole: not every size goes through the network.

        Examples
        --------
        >>> with init.skip_init():
        ...     UNet().output_size(572)
        388
        """
        if not hasattr(size, "__index__"):
            raise ValueError(f"UNet: a size must be a whole number of pixels, got {size!r}")
        lost = 0 if self.padded else 4  # pixels that two convolutions take away
        depth = len(self.up)
        n = size - lost
        for _ in range(depth):
            if n < 2 or n % 2:
                raise ValueError(f"UNet: {self._sizes_that_fit(size)}")
            n = n // 2 - lost
        if n < 1:
            raise ValueError(f"UNet: {self._sizes_that_fit(size)}")
        for _ in range(depth):
            n = 2 * n - lost
        if n < 1:
            raise ValueError(f"UNet: {self._sizes_that_fit(size)}")
        return n

    def _sizes_that_fit(self, size):
        step = 2 ** len(self.up)
        least, _ = self._smallest()
        rule = f"height and width must be {least} or more by steps of {step}"
        return f"{rule}, so that every pooling gets an even size, got {size}"

    def _smallest(self):
        """The smallest image that goes through, and the size of its logits."""
        lost = 0 if self.padded else 4
        depth = len(self.up)
        bottom = 1
        while True:  # up from the bottom: is anything left at the top?
            n = bottom
            for _ in range(depth):
                n = 2 * n - lost
            if n > 0:
                break
            bottom += 1
        size = bottom + lost
        for _ in range(depth):
            size = 2 * size + lost
        return size, n

    def predict_tiles(self, image, tile):
        """Logits of every pixel of an image of any size: by overlapping tiles, with the image mirrored at its borders.

        Without padding, the logits of a tile do not depend on where the tile was cut, as long as tiles are shifted by
        multiples of 2^depth pixels, the grid of the last pooling. So the tiles fit together without a seam: the result
        is that of the whole image at once, which may not fit into memory.

        Parameters
        ----------
        image : ndarray or Tensor, shape (C, H, W)
            One image.
        tile : int
            Side of a tile that goes through the network, pixels; the larger, the less is computed twice.

        Returns
        -------
        Tensor, shape (K, H, W)
            Without a graph.

        Raises
        ------
        ValueError
            If the network is padded (then tiles differ at their borders), the image is not (C, H, W) or has no pixel, or the tile is
            none of the network's sizes or too small to get from one step of the grid to the next.

        References
        ----------
        Ronneberger et al. 2015, figure 2, the overlap-tile strategy.

        Examples
        --------
        >>> import numpy as np
        >>> UNet((4, 8)).eval().predict_tiles(np.zeros((1, 5, 7), np.float32), tile=20).shape
        (2, 5, 7)
        """
        image = image.data if isinstance(image, Tensor) else image
        if self.padded:
            raise ValueError(
                "UNet: predict_tiles is for a network without padding; one with padding has seams"
            )
        if image.ndim != 3 or not image.size:
            raise ValueError(
                f"UNet: predict_tiles takes one image (C, H, W) with pixels (image: {tuple(image.shape)})"
            )
        grid = 2 ** len(self.up)
        out = self.output_size(tile)
        step = out // grid * grid
        if not step:
            raise ValueError(
                f"UNet: predict_tiles needs a tile with {grid} pixels of logits; {tile} has {out}"
            )
        return self._tiles(image, tile, out, step)

    def _tiles(self, image, tile, out, step):
        xp = namespace(image)
        H, W = image.shape[1:]
        rows, columns = range(0, H, step), range(0, W, step)
        before = (tile - out) // 2
        after = [positions[-1] + tile - before - n for positions, n in ((rows, H), (columns, W))]
        wide = xp.pad(image, ((0, 0), *((before, max(0, n)) for n in after)), mode="reflect")
        lines = []
        for top in rows:
            line = []
            for left in columns:
                with no_grad():
                    logits = self(wide[None, :, top : top + tile, left : left + tile])
                line.append(logits[0, :, :step, :step])
            lines.append(ops.concatenate(line, axis=2))
        return ops.concatenate(lines, axis=1)[:, :H, :W]


unet = published(
    "unet",
    UNet,
    "the network of the paper, with 23 convolutional layers, for grey images",
    31_030_658,
    classes=2,
    example="``channels=3``",
)
