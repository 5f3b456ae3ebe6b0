"""ResNet: each block learns what to add to its input; the sum lets gradients flow through a hundred layers.

He et al., "Deep residual learning for image recognition", CVPR 2016, equations 1 and 2, table 1.
Slides ``C/15-resnet-152``, ``C/23-residual-learning``, ``C/24-resnet-in-full``.
The wide ones: Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, table 8. ResNet-D: He et al., "Bag of tricks for
image classification with convolutional neural networks", CVPR 2019, figure 2.
Not here: training (recipes/), published weights (pretrained/resnet.py), networks for small images (cifar_resnet.py,
wide_resnet.py).
"""

import functools

from minivis import ops
from minivis.models.common import NORMS, as_images, he_normal, maps_after, published
from minivis.nn import AvgPool2d, Conv2d, Linear, MaxPool2d, Module, ReLU, Sequential, init

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2", "wide_resnet101_2"]


class ConvNorm(Module):
    """Convolution without bias, then a norm, which has one. The output has the input's size divided by the stride.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
        As for `Conv2d`.
    stride, dilation : int
        As for `Conv2d`.
    norm : function of (int) -> Module
        Makes the norm of that many channels.
    rng : numpy.random.Generator
        Draws the starting values, He's.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, dilation, norm, rng):
        self.conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=dilation * (kernel_size // 2) if kernel_size % 2 else 0,  # even: patches without overlap
            dilation=dilation,
            bias=False,
            weight_init=he_normal,
            rng=rng,
        )
        self.norm = norm(out_channels)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(Module):
    """A residual block: y = ReLU(F(x) + x), where F is two or three convolutions.

    Where the shapes of F(x) and x differ, a 1 x 1 convolution of x is added instead of x.

    Parameters
    ----------
    kind : {"basic", "bottleneck"}
        "basic": F is two 3x3 convolutions. "bottleneck": F is 1x1 to a quarter of the channels, 3x3, and 1x1 back.
    in_channels, out_channels : int
        Channels of x and y.
    stride, dilation : int
        Stride and dilation of the first 3 x 3 convolution. (The paper has the stride in the 1 x 1 convolution before it;
        published weights have this order, "v1.5".)
    norm : function of (int) -> Module
        Makes the norms.
    rng : numpy.random.Generator
        Draws the starting values.
    widening : int
        How many times as many channels the 3x3 of a bottleneck has.
    variant : {"b", "d"}
        "d": the 1 x 1 convolution is there even where the shapes agree, and where the stride is 2, a 2 x 2 average comes
        before it, so that it uses every pixel and not every fourth.
    """

    def __init__(self, kind, in_channels, out_channels, stride, dilation, norm, rng, widening=1, variant="b"):
        inner = widening * out_channels // 4 if kind == "bottleneck" else out_channels
        plan = {  # in, out, kernel, stride, dilation of each convolution
            "basic": [(in_channels, inner, 3, stride, dilation), (inner, inner, 3, 1, dilation)],
            "bottleneck": [
                (in_channels, inner, 1, 1, 1),
                (inner, inner, 3, stride, dilation),
                (inner, out_channels, 1, 1, 1),
            ],
        }[kind]
        self.layers = [ConvNorm(*sizes, norm, rng) for sizes in plan]
        same = stride == 1 and in_channels == out_channels and variant == "b"
        pooled = stride == 2 and variant == "d"
        self.shortcut = (
            None if same else ConvNorm(in_channels, out_channels, 1, 1 if pooled else stride, 1, norm, rng)
        )
        if pooled:
            self.shortcut = Sequential(AvgPool2d(2, ceil_mode=True), self.shortcut)

    def forward(self, x):
        y = x
        for layer in self.layers[:-1]:
            y = ops.relu(layer(y))
        y = self.layers[-1](y)
        return ops.relu(y + (self.shortcut(x) if self.shortcut else x))


class ResNet(Module):
    """Residual network: images to class logits, or to maps of several resolutions for a detector.

    .. math:: y = \\mathrm{ReLU}(F(x) + x)

    A 7 x 7 convolution and max pooling bring the image to a quarter of its size; every stage after the first halves it.

    Parameters
    ----------
    depths : sequence of int, default (3, 4, 6, 3)
        Blocks in each stage.
    kind : {"bottleneck", "basic"}, default "bottleneck"
        Kind of the blocks, see `Block`.
    widths : sequence of int, optional
        Channels of each stage's map. The default is 256, 512, 1024, 2048 for bottleneck blocks and a quarter of that for
        basic blocks.
    stem_width : int, default 64
        Channels of the first convolution.
    num_classes : int, default 1000
        K. With 0 there is no head.
    channels : int, default 3
        C of the images.
    norm : {"batch", "frozen", "group"}, default "batch"
        "batch" is batch norm; "frozen" is batch norm with fixed statistics, for detectors; "group" is group norm with
        8 groups, for small batches.
    dilated : bool or int, default False
        The last stage dilates its filters instead of halving the map ("DC5": C5 with dilation). A number is the number of
        stages that do: with 2, the last has filters with every fourth cell, on a map an eighth of the image's size.
    patch_stem : bool, default False
        Begin with a 4 x 4 convolution of stride 4 instead of the 7 x 7 one and the pooling. The map has the same size at
        a tenth of the cost; this is for small images and short trainings.
    widening : int, default 1
        Wide ResNet: how many times as many channels the 3 x 3 convolutions inside the bottlenecks have. The maps between
        the blocks keep their channels.
    variant : {"b", "d"}, default "b"
        "b" is the network above. "d" is ResNet-D as RT-DETR has it: three 3 x 3 convolutions instead of the 7 x 7 one, an
        average over 2 x 2 pixels before the 1 x 1 convolution where a map is halved, and such a convolution beside the
        first block of every stage.
    eps : float, default 1e-5
        Added to the variance in the norms. Torchvision's published detectors have 0.
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
        If ``kind``, ``norm`` or ``variant`` is unknown, a size is not positive, ``widths`` and ``depths`` differ in length, basic blocks
        are to be widened, or more stages dilated than there are.

    References
    ----------
    He et al. 2016, table 1; Zagoruyko and Komodakis 2016, section 3.3; He et al. 2019, figure 2. Slides ``C/15-resnet-152``,
    ``C/23-residual-learning``, ``C/24-resnet-in-full``.

    Examples
    --------
    >>> import numpy as np
    >>> model = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=10)
    >>> images = np.zeros((2, 3, 32, 32), np.float32)
    >>> model(images).shape, [x.shape for x in model.features(images)]
    ((2, 10), [(2, 8, 8, 8), (2, 16, 4, 4)])
    """

    def __init__(
        self, depths=(3, 4, 6, 3), kind="bottleneck", widths=None, stem_width=64, num_classes=1000, channels=3,
        norm="batch", dilated=False, patch_stem=False, widening=1, variant="b", eps=1e-5, rng=None,
    ):  # fmt: skip
        if kind not in ("basic", "bottleneck"):
            raise ValueError(f'ResNet: kind must be "basic" or "bottleneck", got {kind!r}')
        if norm not in NORMS:
            raise ValueError(f"ResNet: norm must be one of {', '.join(NORMS)}, got {norm!r}")
        init.check_sizes("ResNet", depths=depths, stem_width=stem_width, widening=widening)
        if widening > 1 and kind == "basic":
            raise ValueError(
                f"ResNet: widening is for bottleneck blocks, got widening={widening} with kind='basic'"
            )
        widths = widths or [(256 if kind == "bottleneck" else 64) * 2**i for i in range(len(depths))]
        if len(widths) != len(depths):
            raise ValueError(f"ResNet: {len(depths)} stages need {len(depths)} widths, got {len(widths)}")
        if not 0 <= dilated <= len(depths):
            raise ValueError(
                f"ResNet: {len(depths)} stages, so dilated must be at most that, got {dilated!r}"
            )
        rng = init.generator(rng)
        norm = functools.partial(NORMS[norm], eps=eps)
        self.channels = tuple(widths)
        self.stride = 4 * 2 ** max(0, len(depths) - 1 - int(dilated))
        self.stem = _stem(channels, stem_width, patch_stem, variant, norm, rng)
        self.pool = None if patch_stem else MaxPool2d(3, stride=2, padding=1)
        self.stages = []
        inputs = stem_width
        dilation = 1
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            dilate = stage >= len(depths) - int(dilated)
            stride = 1 if stage == 0 or dilate else 2
            # the first block of a dilated stage reads the map of the stage before, so it keeps that one's dilation
            first = Block(kind, inputs, width, stride, dilation, norm, rng, widening, variant)
            dilation *= 2 if dilate else 1
            others = [Block(kind, width, width, 1, dilation, norm, rng, widening) for _ in range(depth - 1)]
            self.stages.append([first, *others])
            inputs = width
        self.head = Linear(inputs, num_classes, rng=rng) if num_classes else None

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W). Without a head: the mean of the last map, (B, channels[-1])."""
        pooled = ops.mean(self.features(images)[-1], axis=(2, 3))
        return self.head(pooled) if self.head else pooled

    def features(self, images):
        """The map after each stage, finest first: (B, channels[i], H / 4 / 2^i, W / 4 / 2^i), sizes rounded up."""
        x = ops.relu(self.stem(as_images("ResNet", images)))
        if self.pool:
            x = self.pool(x)
        return maps_after(self.stages, x)

    def freeze(self, stages):
        """Freeze the stem and the first ``stages`` stages; detectors use 1. Returns the model."""
        for module in [self.stem, *(block for stage in self.stages[:stages] for block in stage)]:
            module.requires_grad_(False)
        return self


def _stem(channels, width, patches, variant, norm, rng):
    """What reads the image: one convolution and norm, or ResNet-D's three; a ReLU follows."""
    if variant not in ("b", "d"):
        raise ValueError(f'ResNet: variant must be "b" or "d", got {variant!r}')
    if patches:
        return ConvNorm(channels, width, 4, 4, 1, norm, rng)
    if variant == "b":
        return ConvNorm(channels, width, 7, 2, 1, norm, rng)
    half = width // 2
    first = [ConvNorm(channels, half, 3, 2, 1, norm, rng), ReLU(), ConvNorm(half, half, 3, 1, 1, norm, rng)]
    return Sequential(*first, ReLU(), ConvNorm(half, width, 3, 1, 1, norm, rng))


def _published(name, kind, depths, parameters, **options):
    about = f"{kind} blocks, {depths} of them in the four stages"
    about += ", the 3 x 3 convolutions twice as wide" if options else ""
    example = '``norm="frozen"``, ``dilated=True``'
    return published(name, ResNet, about, parameters, example=example, depths=depths, kind=kind, **options)


resnet18 = _published("resnet18", "basic", (2, 2, 2, 2), 11_689_512)
resnet34 = _published("resnet34", "basic", (3, 4, 6, 3), 21_797_672)
resnet50 = _published("resnet50", "bottleneck", (3, 4, 6, 3), 25_557_032)
resnet101 = _published("resnet101", "bottleneck", (3, 4, 23, 3), 44_549_160)
wide_resnet50_2 = _published("wide_resnet50_2", "bottleneck", (3, 4, 6, 3), 68_883_240, widening=2)
wide_resnet101_2 = _published("wide_resnet101_2", "bottleneck", (3, 4, 23, 3), 126_886_696, widening=2)
