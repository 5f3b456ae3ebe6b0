"""Fully convolutional networks: a classifier whose linear layers became convolutions gives a class to every pixel.

Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015; torchvision's FCN on a
dilated ResNet. Slides ``C/72-fully-convolutional``, ``C/74-down-and-up``.
Not here: the fixed kernels and the offsets (vision/upsampling.py), training (recipes/), published names (pretrained/fcn.py).
"""

from collections import namedtuple

from minivis import ops
from minivis.models.common import as_images, he_normal, published
from minivis.nn import BatchNorm2d, Conv2d, Dropout, MaxPool2d, Module, ReLU, Sequential, init
from minivis.vision.upsampling import cell_centres, crop_offsets, fcn_upsample

__all__ = ["FCN", "DilatedFCN", "SkipFCN", "fcn8s", "fcn16s", "fcn32s", "fcn_resnet50", "fcn_resnet101"]

TwoLogits = namedtuple("TwoLogits", "logits auxiliary")
AT_ONCE = (1, 0.01, 0.0001)  # of the authors' networks that are trained in one go


class FCN(Module):
    """FCN-32s, FCN-16s and FCN-8s: VGG as a fully convolutional network, and upsampling with fixed kernels.

    The first linear layer of VGG reads 7 x 7 cells, so it is a 7 x 7 convolution; the others are 1 x 1 convolutions. They
    give scores for the classes every 32 pixels. To these, enlarged by two, 1 x 1 convolutions add scores from finer maps:
    from the last but one pooling (16 pixels, FCN-16s), and from the one before (8 pixels, FCN-8s). A last upsampling
    brings the scores to pixels. Images of any size have a border of 100 zeros, so that even the smallest gives the 7 x 7
    convolution something to read; where the image lies in the enlarged scores follows from the layers.

    Parameters
    ----------
    stride : int, default 8
        Distance in pixels of the finest scores: 32, 16 or 8 for five stages.
    depths : sequence of int, default (2, 2, 3, 3, 3)
        3 x 3 convolutions in each stage. The default is VGG-16.
    widths : sequence of int, default (64, 128, 256, 512, 512)
        Channels of each stage.
    map_size : int, default 7
        Side of the first convolution that was a linear layer.
    hidden : int, default 4096
        Channels of the two convolutions that were linear layers.
    num_classes : int, default 21
        K, with the background: Pascal VOC has 20 classes.
    channels : int, default 3
        C of the images.
    padding : int, default 100
        Zeros around the image, on each side.
    dropout : float, default 0.5
        Probability with which a hidden number is set to 0 in training.
    at_once : bool, default False
        Multiply the last but one pooling by 0.01 and the one before by 0.0001, as the authors do where all three are
        trained together. By default they are trained one after the other: FCN-16s begins with the weights of FCN-32s.
    rng : numpy.random.Generator, int or None
        Draws the starting values (He's; score layers start at 0) and the dropout; None is seed 0.

    Attributes
    ----------
    offsets : tuple of int
        How much is cut off each finer map and, last, off the enlarged scores: (19,), (5, 27) or (5, 9, 31).

    Raises
    ------
    ValueError
        If a size is not positive, ``widths`` and ``depths`` differ in length, the stages have no such stride, or the image
        would not lie inside the enlarged scores.

    References
    ----------
    Long et al. 2015, sections 3 and 4; the authors' networks for the border, the fixed kernels and the scales. The paper
    learns the kernels of the upsampling; the authors' published networks keep all of them fixed. Slides
    ``C/69-semantic-segmentation``, ``C/70-segmentation-by-sliding-window``, ``C/72-fully-convolutional``,
    ``C/74-down-and-up``.

    Examples
    --------
    >>> import numpy as np
    >>> model = FCN(16, (1, 1, 1, 1, 1), (2, 2, 4, 4, 4), hidden=8, num_classes=3)
    >>> model(np.zeros((1, 3, 30, 45), np.float32)).shape, model.offsets
    ((1, 3, 30, 45), (5, 27))
    """

    def __init__(
        self, stride=8, depths=(2, 2, 3, 3, 3), widths=(64, 128, 256, 512, 512), map_size=7, hidden=4096, num_classes=21,
        channels=3, padding=100, dropout=0.5, at_once=False, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "FCN", stride=stride, depths=depths, widths=widths, map_size=map_size, hidden=hidden, num_classes=num_classes,
            channels=channels,
        )  # fmt: skip
        if len(widths) != len(depths) or not len(depths):
            raise ValueError(f"FCN: {len(depths)} stages need as many widths, got {len(widths)}")
        strides = [2 ** (len(depths) - skips) for skips in range(min(3, len(depths)))]
        if stride not in strides:
            raise ValueError(f"FCN: stride must be one of {', '.join(map(str, strides))}, got {stride}")
        rng = init.generator(rng)
        self.scales = AT_ONCE if at_once else (1, 1, 1)
        self.stages = []
        inputs = channels
        for depth, width in zip(depths, widths, strict=True):
            layers = []
            for _ in range(depth):
                border = 1 if self.stages or layers else padding
                layers += [Conv2d(inputs, width, 3, padding=border, weight_init=he_normal, rng=rng), ReLU()]
                inputs = width
            self.stages.append(Sequential(*layers, MaxPool2d(2, ceil_mode=True)))
        self.classifier = Sequential(
            Conv2d(inputs, hidden, map_size, weight_init=he_normal, rng=rng),
            ReLU(),
            Dropout(dropout, rng=rng),
            Conv2d(hidden, hidden, 1, weight_init=he_normal, rng=rng),
            ReLU(),
            Dropout(dropout, rng=rng),
        )
        read = [hidden, *reversed(widths[:-1])][: strides.index(stride) + 1]
        self.score_layers = [Conv2d(width, num_classes, 1, weight_init=init.zeros, rng=rng) for width in read]
        self.offsets = crop_offsets(_centres(depths, map_size, padding)[: len(read)])

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        images = as_images("FCN", images)
        H, W = images.shape[2:]
        coarse, *finer = self.scores(images)
        factor = 2 ** (len(self.stages) - len(finer))
        for scores, offset in zip(finer, self.offsets, strict=False):
            coarse = fcn_upsample(coarse, 2, cut=False)  # (B, K, 2 h + 2, 2 w + 2)
            coarse = coarse + _cut(scores, offset, coarse.shape[2:])
        enlarged = fcn_upsample(coarse, factor, cut=False)
        return _cut(enlarged, self.offsets[-1], (H, W))  # (B, K, H, W)

    def scores(self, images):
        """The score maps (B, K, h, w) before any is enlarged, the coarsest first."""
        x = as_images("FCN", images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        read = [self.classifier(x), *maps[-2::-1]]
        return [
            layer(x if scale == 1 else scale * x)
            for layer, x, scale in zip(self.score_layers, read, self.scales, strict=False)
        ]

    def take_classifier(self, vgg):
        """Take the weights of a `VGG` that classifies images, all but the last layer, which knows other classes.

        Parameters
        ----------
        vgg : VGG
            Of the same depths and sizes, without norms.

        Returns
        -------
        FCN
            The model itself.

        Raises
        ------
        ValueError
            If a layer has no partner, or one of another size.
        """
        ours = [
            layer for part in (*self.stages, self.classifier) for layer in part if hasattr(layer, "weight")
        ]
        theirs = [
            layer for part in (vgg.features, vgg.classifier) for layer in part if hasattr(layer, "weight")
        ]
        if len(theirs) != len(ours) + 1 or any(
            mine.weight.size != other.weight.size or len(mine.weight) != len(other.weight)
            for mine, other in zip(ours, theirs, strict=False)
        ):
            raise ValueError("FCN: take_classifier needs a VGG of the same depths and sizes, without norms")
        for mine, other in zip(ours, theirs, strict=False):
            mine.weight.data[...] = other.weight.data.reshape(mine.weight.shape)  # linear: (out, in 7 7)
            mine.bias.data[...] = other.bias.data
        return self


def _centres(depths, map_size, padding):
    """(stride, offset) of the maps that scores can be read from, coarsest first: the classifier's, then the poolings'."""
    layers, found = [], []
    for depth in depths:
        layers += [(3, 1, 1)] * depth
        layers[0] = (3, 1, padding)
        layers.append((2, 2, 0))
        found.append(cell_centres(layers))
    return [cell_centres([*layers, (map_size, 1, 0)]), *found[-2::-1]]


def _cut(x, offset, size):
    """The part of a map that begins at an offset along both axes."""
    H, W = size
    if offset < 0 or x.shape[2] < offset + H or x.shape[3] < offset + W:
        raise ValueError(
            f"FCN: {H} x {W} cells at {offset} do not lie inside the map (map: {tuple(x.shape)}): enlarge padding"
        )
    return x[:, :, offset : offset + H, offset : offset + W]


class SkipFCN(Module):
    """A fully convolutional network on any backbone: scores from several of its maps, enlarged and added.

    It is the idea of `FCN` for backbones whose maps cover the image without a border: a cell of stride s stands for s x s
    pixels, and nothing has to be cut out.

    Parameters
    ----------
    backbone : Module
        With ``features(images)``, maps from fine to coarse, each of half the size of the one before, and their
        ``channels`` and the last one's ``stride``, as `ResNet` has them.
    num_classes : int
        K.
    skips : int, default 2
        How many finer maps add their scores: 0 reads the coarsest alone.
    rng : numpy.random.Generator, int or None
        As all models have it; nothing is drawn, because the score layers start at 0.

    Raises
    ------
    ValueError
        If the backbone has too few maps.

    References
    ----------
    Long et al. 2015, section 4.2. Slide ``C/74-down-and-up``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> SkipFCN(backbone, num_classes=5, skips=1)(np.zeros((2, 3, 32, 48), np.float32)).shape
    (2, 5, 32, 48)
    """

    def __init__(self, backbone, num_classes, skips=2, rng=None):
        init.check_sizes("SkipFCN", num_classes=num_classes)
        if not 0 <= skips < len(backbone.channels):
            raise ValueError(
                f"SkipFCN: skips must be 0 to {len(backbone.channels) - 1} for this backbone, got {skips}"
            )
        rng = init.generator(rng)
        self.backbone = backbone
        self.stride = backbone.stride // 2**skips
        read = list(reversed(backbone.channels))[: skips + 1]
        self.score_layers = [Conv2d(width, num_classes, 1, weight_init=init.zeros, rng=rng) for width in read]

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        images = as_images("SkipFCN", images)
        H, W = images.shape[2:]
        y, *finer = self.scores(images)
        for scores in finer:
            h, w = scores.shape[2:]
            y = fcn_upsample(y, 2)[:, :, :h, :w] + scores  # (B, K, h, w); maps of odd sizes round up
        return fcn_upsample(y, self.stride)[:, :, :H, :W]  # (B, K, H, W)

    def scores(self, images):
        """The score maps (B, K, h, w) before any is enlarged, the coarsest first."""
        maps = self.backbone.features(images)[::-1]
        return [layer(x) for layer, x in zip(self.score_layers, maps, strict=False)]


class DilatedFCN(Module):
    """Torchvision's FCN: a ResNet whose last two stages dilate their filters instead of shrinking the map, and a head.

    The map has an eighth of the image's size, as FCN-8s has it, without maps from further down. The scores are enlarged by
    bilinear interpolation. A second head may read the map before the last stage; it is for training, where its loss counts
    half.

    Parameters
    ----------
    backbone : ResNet
        Its last map is read. `fcn_resnet50` makes one with two dilated stages.
    num_classes : int, default 21
        K, with the background.
    auxiliary : bool, default False
        Whether there is a second head.
    dropout : float, default 0.1
        Before the last layer of a head.
    rng : numpy.random.Generator, int or None
        Draws the starting values of the heads and their dropout; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, or there is no map for a second head.

    References
    ----------
    Long et al. 2015; torchvision's ``fcn_resnet50``. Slide ``C/72-fully-convolutional``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1, 1), widths=(8, 16, 32), stem_width=4, num_classes=0, dilated=1)
    >>> DilatedFCN(backbone, num_classes=5)(np.zeros((2, 3, 33, 48), np.float32)).shape
    (2, 5, 33, 48)
    """

    def __init__(self, backbone, num_classes=21, auxiliary=False, dropout=0.1, rng=None):
        init.check_sizes("DilatedFCN", num_classes=num_classes)
        if auxiliary and len(backbone.channels) < 2:
            raise ValueError("DilatedFCN: a second head needs a backbone of at least two stages")
        rng = init.generator(rng)
        self.backbone = backbone
        self.head = _head(backbone.channels[-1], num_classes, dropout, rng)
        self.auxiliary_head = _head(backbone.channels[-2], num_classes, dropout, rng) if auxiliary else None

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        images = as_images("DilatedFCN", images)
        return _enlarged(self.head(self.backbone.features(images)[-1]), images)

    def both(self, images):
        """``logits`` and ``auxiliary``, (B, K, H, W) each, of the two heads, for training.

        Raises
        ------
        ValueError
            If the model has no second head.
        """
        if self.auxiliary_head is None:
            raise ValueError("DilatedFCN: this model was made without a second head (auxiliary=True)")
        images = as_images("DilatedFCN", images)
        maps = self.backbone.features(images)
        heads = ((self.head, maps[-1]), (self.auxiliary_head, maps[-2]))
        return TwoLogits(*(_enlarged(head(x), images) for head, x in heads))


def _head(channels, num_classes, dropout, rng):
    inner = max(1, channels // 4)
    return Sequential(
        Conv2d(channels, inner, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(inner),
        ReLU(),
        Dropout(dropout, rng=rng),
        Conv2d(inner, num_classes, 1, rng=rng),
    )


def _enlarged(scores, images):
    return ops.interpolate(scores, images.shape[2:], mode="bilinear")


def _published(name, stride, parameters):
    about = f"VGG-16 as a fully convolutional network with scores every {stride} pixels"
    return published(name, FCN, about, parameters, 21, "``dropout=0.0``", stride=stride)


def _on_resnet(num_classes, rng, depths, auxiliary=False, **options):
    from minivis.models.resnet import ResNet

    rng = init.generator(rng)
    backbone = ResNet(depths, num_classes=0, dilated=2, rng=rng)
    return DilatedFCN(backbone, num_classes, auxiliary, rng=rng, **options)


def _published_on_resnet(name, depths, parameters):
    about = f"a ResNet-{3 * sum(depths) + 2} with two dilated stages and a head of two convolutions"
    return published(
        name, DilatedFCN, about, parameters, 21, "``auxiliary=True``", build=_on_resnet, depths=depths
    )


fcn32s = _published("fcn32s", 32, 134_346_581)
fcn16s = _published("fcn16s", 16, 134_357_354)
fcn8s = _published("fcn8s", 8, 134_362_751)
fcn_resnet50 = _published_on_resnet("fcn_resnet50", (3, 4, 6, 3), 32_957_013)
fcn_resnet101 = _published_on_resnet("fcn_resnet101", (3, 4, 23, 3), 51_949_141)
