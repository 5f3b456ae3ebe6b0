"""SETR: a ViT reads the image as tokens without ever reducing the resolution, and a decoder turns tokens into a map of classes.

Zheng et al., "Rethinking semantic segmentation from a sequence-to-sequence perspective with transformers", CVPR 2021,
section 3. Slides ``A/72-setr-tokens`` to ``A/82-setr-architecture``.
Not here: the encoder (vit.py), sliding windows over large images (vision/), training (recipes/).
"""

import math
from collections import namedtuple

from minivis import ops
from minivis.models.common import as_images, he_normal, published, tokens_to_map
from minivis.nn import BatchNorm2d, Conv2d, LayerNorm, Module, ReLU, Sequential, init

__all__ = ["SETR", "MLAHead", "NaiveHead", "PUPHead", "mla_fuse", "setr_mla", "setr_naive", "setr_pup"]

AUXILIARY_WEIGHT = 0.4  # what the loss of each auxiliary head counts
EPS = 1e-6  # of the layer norms, as in the encoder

WithAuxiliary = namedtuple("WithAuxiliary", "logits auxiliary")


class NaiveHead(Module):
    """Two 1 x 1 convolutions: the scores of each token depend on that token alone.

    Parameters
    ----------
    width : int
        D of the tokens.
    num_classes : int
        K.
    channels : int, default 256
        Channels between the two convolutions.
    factor : int, default 1
        How much the scores are enlarged here; the model enlarges them to the image's size in any case. mmsegmentation has 4.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive.

    References
    ----------
    Zheng et al. 2021, section 3.2, "Naive upsampling". Slide ``A/76-naive-decoder``.

    Examples
    --------
    >>> import numpy as np
    >>> head = NaiveHead(16, num_classes=5, channels=8)
    >>> head(np.zeros((2, 6, 16), np.float32), (2, 3)).shape
    (2, 5, 2, 3)
    """

    def __init__(self, width, num_classes, channels=256, factor=1, rng=None):
        init.check_sizes("NaiveHead", width=width, num_classes=num_classes, channels=channels, factor=factor)
        rng = init.generator(rng)
        self.factor = factor
        self.norm = LayerNorm(width, EPS)
        self.conv = Conv2d(width, channels, 1, weight_init=he_normal, rng=rng)
        self.conv_norm = BatchNorm2d(channels)
        self.classifier = Conv2d(channels, num_classes, 1, rng=rng)

    def forward(self, tokens, grid):
        """Scores (B, K, factor h, factor w) of the patch tokens (B, h w, D) of a grid (h, w)."""
        x = tokens_to_map("NaiveHead", self.norm(tokens), grid)  # (B, D, h, w)
        x = ops.relu(self.conv_norm(self.conv(x)))  # (B, channels, h, w)
        return _enlarged(self.classifier(x), self.factor)


class PUPHead(Module):
    """Progressive upsampling: convolutions and enlargements by two take turns.

    .. math:: x_{l+1} = \\mathrm{up}_2(\\mathrm{ReLU}(\\mathrm{BN}(W_l * x_l + b_l))), \\qquad y = W_K x_L + b_K

    One enlargement by 16 makes blurred scores; here, each of the smaller steps is followed by a convolution that can
    correct what it blurred. The last 1 x 1 convolution is computed before the last enlargement, which gives the same
    result: one mixes the channels of a pixel, the other the pixels of a channel.

    Parameters
    ----------
    width : int
        D of the tokens.
    num_classes : int
        K.
    channels : int, default 256
        Channels of the convolutions.
    convs : int, default 4
        Number of 3 x 3 convolutions, each followed by an enlargement.
    factor : int, default 2
        Of each enlargement.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive.

    References
    ----------
    Zheng et al. 2021, section 3.2, "Progressive UPsampling". Slide ``A/77-progressive-upsampling``.

    Examples
    --------
    >>> import numpy as np
    >>> head = PUPHead(16, num_classes=5, channels=8)
    >>> head(np.zeros((2, 6, 16), np.float32), (2, 3)).shape
    (2, 5, 32, 48)
    """

    def __init__(self, width, num_classes, channels=256, convs=4, factor=2, rng=None):
        init.check_sizes(
            "PUPHead", width=width, num_classes=num_classes, channels=channels, convs=convs, factor=factor
        )
        rng = init.generator(rng)
        self.factor = factor
        self.norm = LayerNorm(width, EPS)
        inputs = [width] + [channels] * (convs - 1)
        self.convs = [Conv2d(c, channels, 3, padding=1, weight_init=he_normal, rng=rng) for c in inputs]
        self.norms = [BatchNorm2d(channels) for _ in inputs]
        self.classifier = Conv2d(channels, num_classes, 1, rng=rng)

    def forward(self, tokens, grid):
        """Scores (B, K, s h, s w) of the patch tokens (B, h w, D) of a grid (h, w); s is the product of all factors.

        Inside `looking`, it shows the map after each convolution: ``map0``, ``map1``, ...
        """
        x = tokens_to_map("PUPHead", self.norm(tokens), grid)  # (B, D, h, w)
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if number:
                x = _enlarged(x, self.factor)
            x = ops.relu(norm(conv(x)))  # (B, channels, ...)
            self.show(**{f"map{number}": x})
        return _enlarged(self.classifier(x), self.factor)


def mla_fuse(maps, laterals, convs):
    """Add maps of several depths from the deepest to the shallowest, and convolve each sum.

    .. math:: m_l = m_{l+1} + \\mathrm{lateral}_l(x_l), \\qquad y_l = \\mathrm{conv}_l(m_l), \\qquad m_{L+1} = 0

    Parameters
    ----------
    maps : sequence of ndarray or Tensor, each of shape (B, D, h, w)
        From the shallowest layer to the deepest.
    laterals, convs : sequence of callable
        One for each map, such as convolutions of 1 x 1 and of 3 x 3.

    Returns
    -------
    list of ndarray or Tensor
        One stream for each map, in the same order. The deepest map reaches all streams, the shallowest only its own.

    Raises
    ------
    ValueError
        If there are not as many laterals and convs as maps.

    References
    ----------
    Zheng et al. 2021, section 3.2, "Multi-Level feature Aggregation". Slides ``A/78-multi-level-aggregation``,
    ``A/80-multi-level-convolutions``, ``A/81-multi-level-fusion``.

    Examples
    --------
    >>> def same(x):
    ...     return x
    >>> mla_fuse([1, 10, 100], [same] * 3, [same] * 3)
    [111, 110, 100]
    """
    if not len(maps) == len(laterals) == len(convs):
        raise ValueError(
            f"mla_fuse: every map needs a lateral and a conv; there are {len(maps)} maps, {len(laterals)} laterals and "
            f"{len(convs)} convs"
        )
    total = None
    streams = []
    for x, lateral, conv in zip(maps[::-1], laterals[::-1], convs[::-1], strict=True):
        y = lateral(x)
        total = y if total is None else total + y
        streams.append(conv(total))
    return streams[::-1]


class MLAHead(Module):
    """Multi-level aggregation: maps of several layers, all of one resolution, are added from the top down, then joined.

    For each layer: a norm, a 1 x 1 convolution to `channels`, the sum with the deeper layers, a 3 x 3 convolution
    (`mla_fuse`), two more 3 x 3 convolutions with half as many channels, and an enlargement. A last 3 x 3 convolution
    reads the streams side by side.

    Parameters
    ----------
    width : int
        D of the tokens.
    num_classes : int
        K.
    streams : int, default 4
        M, the number of layers that are read.
    channels : int, default 256
        Channels of the fused maps. It must be even.
    factor : int, default 4
        How much each stream is enlarged before the streams are joined.
    align_corners : bool, default True
        For that enlargement. The authors have True here and False everywhere else; mmsegmentation has False.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, or ``channels`` is odd.

    Notes
    -----
    mmsegmentation's form joins the streams from the deepest to the shallowest. Its neck lists the 3 x 3 convolutions from
    the deepest to the shallowest too, but the 1 x 1 convolutions in the other order.

    References
    ----------
    Zheng et al. 2021, section 3.2, "Multi-Level feature Aggregation"; the authors' code for the order of the layers and the
    channels. Slides ``A/78-multi-level-aggregation``, ``A/79-multi-level-streams``, ``A/80-multi-level-convolutions``,
    ``A/81-multi-level-fusion``.

    Examples
    --------
    >>> import numpy as np
    >>> head = MLAHead(16, num_classes=5, streams=3, channels=8)
    >>> tokens = np.zeros((2, 6, 16), np.float32)
    >>> head([tokens] * 3, (2, 3)).shape
    (2, 5, 8, 12)
    """

    def __init__(self, width, num_classes, streams=4, channels=256, factor=4, align_corners=True, rng=None):
        init.check_sizes(
            "MLAHead", width=width, num_classes=num_classes, streams=streams, channels=channels, factor=factor
        )
        if channels % 2:
            raise ValueError(f"MLAHead: channels must be even, got {channels}")
        rng = init.generator(rng)
        self.factor, self.align_corners = factor, align_corners
        half = channels // 2
        self.norms = [LayerNorm(width, EPS) for _ in range(streams)]
        self.laterals = [_conv(width, channels, 1, rng) for _ in range(streams)]
        self.convs = [_conv(channels, channels, 3, rng) for _ in range(streams)]
        self.narrow = [
            Sequential(*_conv(channels, half, 3, rng), *_conv(half, half, 3, rng)) for _ in range(streams)
        ]
        self.classifier = Conv2d(streams * half, num_classes, 3, padding=1, rng=rng)

    def forward(self, tokens, grid):
        """Scores (B, K, factor h, factor w) of the patch tokens of M layers, each (B, h w, D), from shallow to deep."""
        return self.scores(self.fused(tokens, grid))

    def fused(self, tokens, grid):
        """The fused streams, M maps (B, channels, h, w). Inside `looking`, it shows them: ``stream0``, ``stream1``, ..."""
        if len(tokens) != len(self.norms):
            raise ValueError(f"MLAHead: it reads {len(self.norms)} layers, got the tokens of {len(tokens)}")
        maps = [tokens_to_map("MLAHead", norm(x), grid) for norm, x in zip(self.norms, tokens, strict=True)]
        streams = mla_fuse(maps, self.laterals, self.convs)
        self.show(**{f"stream{number}": x for number, x in enumerate(streams)})
        return streams

    def scores(self, streams):
        """Scores (B, K, factor h, factor w) of the fused streams."""
        enlarged = [
            _enlarged(narrow(x), self.factor, self.align_corners)
            for narrow, x in zip(self.narrow, streams, strict=True)
        ]
        return self.classifier(ops.concatenate(enlarged, axis=1))


def _conv(inputs, outputs, size, rng):
    conv = Conv2d(inputs, outputs, size, padding=size // 2, bias=False, weight_init=he_normal, rng=rng)
    return Sequential(conv, BatchNorm2d(outputs), ReLU())


def _enlarged(x, factor, align_corners=False):
    if factor == 1:
        return x
    H, W = x.shape[2:]
    return ops.interpolate(x, (factor * H, factor * W), mode="bilinear", align_corners=align_corners)


class SETR(Module):
    """Segmentation transformer: logits for every pixel from the tokens of a ViT.

    The tokens of the patches, put back in their rows and columns, are a map. No layer of the encoder makes it smaller, and
    every layer sees the whole image. What remains is to enlarge the map by the patch side, in one of three ways.

    Parameters
    ----------
    encoder : ViT
        Made with ``num_classes=0``. The head normalises the tokens, so the encoder needs no norm of its own
        (``final_norm=False``); if it has one, it is not used.
    num_classes : int
        K.
    decoder : {"naive", "pup", "mla"}, default "naive"
        `NaiveHead`, `PUPHead` or `MLAHead`. Progressive upsampling has one convolution for each doubling from the grid of
        patches to the image.
    taken : sequence of int, optional
        Numbers of the encoder's blocks, counted from 1, that "mla" reads, and that the auxiliary heads read with the other
        decoders. Default: up to four, evenly spaced, the last block among them.
    channels : int, default 256
        Channels of the decoder.
    auxiliary : bool, default False
        Whether there are auxiliary heads, which are used in training only: see `both`. They are a `NaiveHead` or a
        `PUPHead` of one convolution on each block of ``taken``, or, with "mla", a 1 x 1 convolution on each fused map.
    drop_class_early : bool, default False
        Remove the class token before the first block, after its position code was added to it; no patch attends to it then.
        The published code does so with "mla" alone. By default the encoder keeps its class token, and it is removed
        afterwards. Its index decides which token that is, not the number of tokens.
    rng : numpy.random.Generator, int or None
        Draws the starting values of the heads; None is seed 0.

    Attributes
    ----------
    taken : tuple of int
        The blocks that are read beside the last.

    Raises
    ------
    ValueError
        If a size is not positive, the decoder is unknown, the encoder is no ViT or has a head, or ``taken`` does not rise within
        the encoder's depth.

    Notes
    -----
    The logits are enlarged by bilinear interpolation to the image's size, rows and columns each by its own factor.

    References
    ----------
    Zheng et al. 2021, section 3; the authors' code for the auxiliary heads, whose losses count 0.4 each. Slides
    ``A/73-setr-encoder``, ``A/74-setr-keeps-resolution``, ``A/75-three-decoders``, ``A/82-setr-architecture``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ViT
    >>> encoder = ViT(16, 4, width=16, depth=4, heads=2, num_classes=0, final_norm=False)
    >>> model = SETR(encoder, num_classes=5, decoder="pup", channels=8)
    >>> model(np.zeros((2, 3, 16, 24), np.float32)).shape
    (2, 5, 16, 24)
    """

    def __init__(
        self, encoder, num_classes, decoder="naive", taken=None, channels=256, auxiliary=False, drop_class_early=False,
        rng=None,
    ):  # fmt: skip
        if decoder not in ("naive", "pup", "mla"):
            raise ValueError(f'SETR: decoder must be "naive", "pup" or "mla", got {decoder!r}')
        init.check_sizes("SETR", num_classes=num_classes, channels=channels)
        if not hasattr(encoder, "tokens_after") or encoder.head is not None:
            raise ValueError("SETR: encoder must be a ViT without a head (num_classes=0)")
        self.depth = len(encoder.blocks)
        self.taken = _evenly_spaced(self.depth) if taken is None else tuple(taken)
        if not self.taken or list(self.taken) != sorted(set(self.taken) & set(range(1, self.depth + 1))):
            raise ValueError(f"SETR: taken must rise from at least 1 to at most {self.depth}, got {taken}")
        rng = init.generator(rng)
        self.encoder, self.decoder, self.drop_class_early = encoder, decoder, drop_class_early
        width = encoder.pos_embed.shape[2]
        cell = encoder.patch_size[0] * (1 if encoder.backbone is None else encoder.backbone.stride)
        if decoder == "naive":
            self.head = NaiveHead(width, num_classes, channels, rng=rng)
        elif decoder == "pup":
            convs = max(1, round(math.log2(cell)))
            self.head = PUPHead(width, num_classes, channels, convs, rng=rng)
        else:
            self.head = MLAHead(width, num_classes, len(self.taken), channels, min(4, cell), rng=rng)
        self.auxiliary_heads = None
        if auxiliary:
            self.auxiliary_heads = [
                _auxiliary_head(decoder, width, num_classes, channels, rng) for _ in self.taken
            ]

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        images = as_images("SETR", images)
        blocks = self.taken if self.decoder == "mla" else (self.depth,)
        tokens, grid = self._encoded(images, blocks)
        scores = self.head(tokens if self.decoder == "mla" else tokens[-1], grid)
        return _to_size(scores, images)

    def both(self, images):
        """For training: ``logits`` (B, K, H, W), and ``auxiliary``, the list of the logits of the auxiliary heads.

        Raises
        ------
        ValueError
            If the model has no auxiliary heads.
        """
        if self.auxiliary_heads is None:
            raise ValueError("SETR: this model was made without auxiliary heads (auxiliary=True)")
        images = as_images("SETR", images)
        if self.decoder == "mla":
            streams = self.head.fused(*self._encoded(images, self.taken))
            scores = self.head.scores(streams)
            others = [head(x) for head, x in zip(self.auxiliary_heads, streams, strict=True)]
        else:
            tokens, grid = self._encoded(images, sorted({*self.taken, self.depth}))
            scores = self.head(tokens[-1], grid)
            # the last block's tokens are left over where no auxiliary head reads them
            others = [head(x, grid) for head, x in zip(self.auxiliary_heads, tokens, strict=False)]
        return WithAuxiliary(_to_size(scores, images), [_to_size(x, images) for x in others])

    def _encoded(self, images, blocks):
        """The patch tokens after the blocks, a list of (B, h w, D), and the grid (h, w)."""
        tokens = self.encoder.tokens_after(images, blocks, without_prefix=self.drop_class_early)
        learned = 0 if self.drop_class_early else self.encoder.prefix
        return [x[:, learned:] for x in tokens], self.encoder.grid_of(*images.shape[2:])


def _evenly_spaced(depth, most=4):
    """Up to four numbers of blocks at equal distances, the last block among them: (6, 12, 18, 24) of 24."""
    count = min(most, depth)
    return tuple(depth * (i + 1) // count for i in range(count))


def _auxiliary_head(decoder, width, num_classes, channels, rng):
    if decoder == "naive":
        return NaiveHead(width, num_classes, channels, rng=rng)
    if decoder == "pup":
        return PUPHead(width, num_classes, channels, convs=1, factor=4, rng=rng)
    return Conv2d(channels, num_classes, 1, rng=rng)


def _to_size(scores, images):
    """Scores enlarged to the size of the images."""
    if scores.shape[2:] == images.shape[2:]:
        return scores
    return ops.interpolate(scores, images.shape[2:], mode="bilinear")


def _on_vit(num_classes, rng, image_size=512, **options):
    """A SETR on ViT-L/16 without a final norm."""
    from minivis.models.vit import ViT

    encoder = ViT(
        image_size, 16, 1024, 24, 16, num_classes=0, final_norm=False, interpolate_mode="bilinear", rng=rng
    )
    return SETR(encoder, num_classes, rng=rng, **options)


def _published(name, decoder, about, parameters, **fixed):
    return published(
        name, SETR, f"ViT-L/16 for images of 512 pixels, {about}", parameters, 150,
        "``image_size=768``, ``auxiliary=True``", build=_on_vit, decoder=decoder, **fixed,
    )  # fmt: skip


setr_naive = _published("setr_naive", "naive", "two 1 x 1 convolutions", 304_450_966, taken=(10, 15, 20))
setr_pup = _published("setr_pup", "pup", "progressive upsampling", 308_319_894, taken=(10, 15, 20, 24))
setr_mla = _published("setr_mla", "mla", "multi-level aggregation", 310_030_486, drop_class_early=True)
