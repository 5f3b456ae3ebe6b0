"""MaskFormer: queries predict masks and classes; segmentation is the classification of masks, not of pixels.

Cheng et al., "Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021: sections 3.2 to 3.4.
Slide ``I/32-maskformer``.
Not here: DETR's transformer (detr.py), the backbones (resnet.py, swin.py), the loss (losses/), merging masks (vision/).
"""

import numpy as np

from minivis import ops
from minivis.backend import namespace
from minivis.models.common import as_images, map_to_tokens, published
from minivis.models.mask_classification import (
    MaskFormerOutput,
    constant,
    grid_codes,
    normed_conv,
    predict,
    top_down,
)
from minivis.nn import Conv2d, LayerNorm, Linear, Module, Parameter, init
from minivis.nn.feature_pyramid import kaiming_by_inputs

__all__ = [
    "MaskFormer",
    "MaskFormerOutput",
    "maskformer_r50",
    "maskformer_r50_panoptic",
    "maskformer_swin_b",
    "maskformer_swin_l",
    "maskformer_swin_s",
    "maskformer_swin_t",
]


class PyramidPixelDecoder(Module):
    """Backbone maps to pixel embeddings: a feature pyramid with group norms, from the coarsest map to the finest.

    Parameters
    ----------
    channels : tuple of int
        Channels of the backbone's maps, finest first.
    width, mask_width, groups : int
        Channels of the pyramid and of the pixel embeddings; groups of the norms.
    depth : int
        Layers of a transformer encoder on the coarsest map. With 0 there is none.
    layer : tuple
        Arguments of such a layer: heads, width inside the MLP, dropout.
    norm_first : bool
        Where the layers have their norms.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, channels, width, mask_width, groups, depth, layer, norm_first, rng):
        from minivis.models.detr import EncoderLayer

        start = kaiming_by_inputs
        *fine, coarsest = channels
        self.input_proj = Conv2d(coarsest, width, 1, weight_init=start, rng=rng) if depth else None
        self.encoder = [EncoderLayer(width, *layer, norm_first=norm_first, rng=rng) for _ in range(depth)]
        self.encoder_norm = LayerNorm(width) if depth and norm_first else None
        self.stem = normed_conv(width if depth else coarsest, width, 3, groups, start, rng)
        # coarsest first
        self.lateral = [normed_conv(C, width, 1, groups, start, rng) for C in reversed(fine)]
        self.output = [normed_conv(width, width, 3, groups, start, rng) for _ in fine]
        self.mask_features = Conv2d(width, mask_width, 3, padding=1, weight_init=start, rng=rng)

    def forward(self, maps):
        """Maps (B, C_i, H_i, W_i), finest first, to pixel embeddings (B, mask_width, H_0, W_0).

        Also returns the coarsest map, (B, C, H', W'), after the encoder if there is one.
        """
        *fine, coarsest = maps
        if self.encoder:
            coarsest = self._encode(self.input_proj(coarsest))
        y = ops.relu(self.stem(coarsest))
        y = top_down(y, fine[::-1], self.lateral, self.output, "nearest")
        return self.mask_features(y), coarsest

    def _encode(self, x):
        """Self-attention among the pixels of a map (B, D, H, W)."""
        B, D, H, W = x.shape
        codes = constant(grid_codes, x, H, W, D)
        tokens = map_to_tokens(x)  # (B, N, D)
        for layer in self.encoder:
            tokens = layer(tokens, codes, None)
        tokens = self.encoder_norm(tokens) if self.encoder_norm else tokens
        return tokens.transpose(0, 2, 1).reshape(B, D, H, W)


class MaskFormer(Module):
    """Mask classification: an image to Q masks, each with one class, by DETR's queries and a feature pyramid.

    .. math::
        Y = \\mathrm{decoder}(\\mathrm{queries}, F), \\qquad p_i = \\mathrm{softmax}(Y_i W_c^T + b_c), \\qquad
        m_i[h, w] = \\sigma\\big(\\mathrm{MLP}(Y_i)^T\\, \\mathcal E[:, h, w]\\big)

    The decoder reads the backbone's coarsest map F. The pixel decoder makes the embedding
    :math:`\\mathcal E` of each pixel.

    Parameters
    ----------
    backbone : Module
        It has ``features(images)``, which returns a list of maps, finest first, and ``channels``, the channels of each.
    num_classes : int
        K, without "no object".
    queries : int, default 100
        Q. It should be larger than the number of segments in any image.
    width : int, default 256
        D of queries and maps, divisible by 4.
    heads : int, default 8
        Heads of every attention. The number must divide D.
    decoder_depth : int, default 6
        Layers of the decoder.
    mlp_width : int, default 2048
        Width inside the MLPs.
    mask_width : int, optional
        Channels of the pixel embeddings; default D.
    pixel_encoder_depth : int, default 0
        Layers of a transformer encoder on the coarsest map, inside the pixel decoder. The published models for COCO have 6,
        those for ADE20K none. Both decoders then read the encoded map.
    groups : int, default 32
        Groups of the group norms. The number must divide D.
    dropout : float, default 0.1
        Probability in the transformer layers.
    norm_first : bool, default False
        Put the norm before each branch instead of after it.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or heads or groups do not divide the width, or 4 does not.

    Notes
    -----
    The decoder costs decoder_depth * 2 (Q N + Q^2) D multiply-adds, where the coarsest map has N pixels. The masks cost
    Q mask_width multiply-adds for each pixel of the finest map.

    References
    ----------
    Cheng et al. 2021, section 3.3, figure 2. Slide ``I/32-maskformer``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), num_classes=0)
    >>> model = MaskFormer(backbone, 5, queries=7, width=16, heads=2, decoder_depth=3, mlp_width=32, groups=4)
    >>> y = model(np.ones((2, 3, 32, 48), np.float32))
    >>> y.logits.shape, y.masks.shape, len(y.auxiliary)
    ((2, 7, 6), (2, 7, 8, 12), 2)
    """

    def __init__(
        self, backbone, num_classes, queries=100, width=256, heads=8, decoder_depth=6, mlp_width=2048, mask_width=None,
        pixel_encoder_depth=0, groups=32, dropout=0.1, norm_first=False, rng=None,
    ):  # fmt: skip
        from minivis.models.detr import DecoderLayer, DETRTransformer

        init.check_sizes(
            "MaskFormer",
            num_classes=num_classes,
            queries=queries,
            width=width,
            heads=heads,
            decoder_depth=decoder_depth,
        )
        if not hasattr(pixel_encoder_depth, "__index__") or pixel_encoder_depth < 0:
            raise ValueError(
                f"MaskFormer: pixel_encoder_depth must be a whole number of at least 0, got {pixel_encoder_depth!r:.100}"
            )
        if width % heads or width % 4:
            raise ValueError(f"MaskFormer: 4 and heads={heads} must divide the width {width}")
        rng = init.generator(rng)
        mask_width = mask_width or width
        layer = (heads, mlp_width, dropout)
        channels = tuple(backbone.channels)
        self.backbone = backbone
        self.pixel_decoder = PyramidPixelDecoder(
            channels, width, mask_width, groups, pixel_encoder_depth, layer, norm_first, rng
        )
        coarse = width if pixel_encoder_depth else channels[-1]
        # as published: no projection where the map has the queries' width already
        self.input_proj = Conv2d(coarse, width, 1, rng=rng) if coarse != width else None
        decoder = [DecoderLayer(width, *layer, norm_first=norm_first, rng=rng) for _ in range(decoder_depth)]
        self.transformer = DETRTransformer([], decoder, width, norm_first=False)
        self.queries = Parameter(init.normal((queries, width), 1.0, rng))
        self.class_head = Linear(width, num_classes + 1, rng=rng)
        self.mask_head = [Linear(width, w, rng=rng) for w in (width, width, mask_width)]

    def forward(self, images):
        """Segment images.

        Inside `looking`, the model shows the ``grid`` (H', W') of the map that the decoder reads. The attention weights are
        in ``transformer.decoder.0.cross_attn.weights``, (B, heads, Q, H' W'), and
        ``transformer.decoder.0.self_attn.weights``, (B, heads, Q, Q).

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            Any size that the backbone accepts.

        Returns
        -------
        MaskFormerOutput
        """
        pixels, coarse = self.pixel_decoder(self.backbone.features(as_images("MaskFormer", images)))
        source = self.input_proj(coarse) if self.input_proj else coarse  # (B, D, H', W')
        B, D, H, W = source.shape
        self.show(grid=lambda: np.array([H, W]))
        memory = map_to_tokens(source)  # (B, H' W', D)
        codes = constant(grid_codes, source, H, W, D)
        zeros = namespace(source.data).zeros((B, len(self.queries), D), source.dtype)
        states = self.transformer.decode(zeros, self.queries, memory, codes)  # (layers, B, Q, D)
        layers = [predict(states[i], pixels, self.class_head, self.mask_head) for i in range(len(states))]
        *auxiliary, last = layers
        return MaskFormerOutput(last.logits, last.masks, auxiliary)


def _on_swin(num_classes, rng, width, depths, heads, window, **options):
    from minivis.models.swin import Swin

    sizes = {"width": width, "depths": depths, "heads": heads, "window": window, "num_classes": 0}
    backbone = Swin(**sizes, drop_path=0.3, shrink=False, feature_norms=True, rng=rng)
    return MaskFormer(backbone, num_classes, rng=rng, **options)


def _on_resnet50(num_classes, rng, **options):
    from minivis.models.resnet import resnet50

    return MaskFormer(resnet50(num_classes=0, norm="frozen", rng=rng), num_classes, rng=rng, **options)


def _published(name, backbone, parameters, build, classes=150, **sizes):
    # 150 classes: ADE20K. COCO panoptic has 133.
    about = f"MaskFormer on {backbone}"
    return published(name, MaskFormer, about, parameters, classes, "``queries=20``", build, **sizes)


def _swin(letter, parameters, width, depths, heads, window=7):
    about = f"a Swin-{letter.upper()} with windows of {window} x {window}"
    sizes = {"width": width, "depths": depths, "heads": heads, "window": window}
    return _published(f"maskformer_swin_{letter}", about, parameters, _on_swin, **sizes)


maskformer_swin_t = _swin("t", 41_757_009, 96, (2, 2, 6, 2), (3, 6, 12, 24))
maskformer_swin_s = _swin("s", 63_074_913, 96, (2, 2, 18, 2), (3, 6, 12, 24))
maskformer_swin_b = _swin("b", 101_829_391, 128, (2, 2, 18, 2), (4, 8, 16, 32), window=12)
maskformer_swin_l = _swin("l", 211_575_627, 192, (2, 2, 18, 2), (6, 12, 24, 48), window=12)
FROZEN = "a ResNet-50 with frozen norms, which are not counted"
maskformer_r50 = _published("maskformer_r50", FROZEN, 41_254_743, _on_resnet50)
maskformer_r50_panoptic = _published(
    "maskformer_r50_panoptic", f"{FROZEN}; 6 encoder layers on its last map", 45_012_038, _on_resnet50, 133,
    pixel_encoder_depth=6,
)  # fmt: skip
