"""Mask2Former: queries predict masks and classes, and attend only inside the mask they predicted one layer before.

Cheng et al., "Masked-attention mask transformer for universal image segmentation", CVPR 2022: equations 1 to 3 and sections
3.2 and 3.3. Slides ``I/35-multi-scale-decoder``, ``I/40-masked-attention``, ``I/43-masked-cross-attention``.
Not here: the pixel decoder (pixel_decoder.py), the backbones (resnet.py, swin.py), the loss (losses/), merging masks into
a panoptic map (vision/).
"""

import math

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace
from minivis.models.common import published
from minivis.models.mask_classification import MaskFormerOutput, predict
from minivis.nn import (
    MLP,
    Dropout,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    init,
)
from minivis.nn.module import as_tensor
from minivis.nn.transformer import ResidualLayer

__all__ = [
    "Mask2Former",
    "attended_pixels",
    "mask2former_r50",
    "mask2former_swin_t",
]


class DecoderLayer(ResidualLayer):
    """One decoder layer: masked cross-attention to a map, self-attention of the queries, then an MLP.

    With ``self_first`` the queries attend to each other before the map, as in DETR and MaskFormer.
    """

    def __init__(self, width, heads, mlp_width, dropout, rng, self_first=False, norm_first=False):
        self.self_first = self_first
        self.norm_first = norm_first
        self.cross_attn = MultiHeadAttention(width, heads, dropout, rng=rng)
        self.norm1 = LayerNorm(width)
        self.self_attn = MultiHeadAttention(width, heads, dropout, rng=rng)
        self.norm2 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width, activation="relu", dropout=dropout, rng=rng)
        self.norm3 = LayerNorm(width)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, queries, positions, key, value, mask):
        """Queries (B, Q, D), positions (Q, D); map tokens (B, N, D), with codes as key; mask (B, Q, N) or None."""

        def attend_to_map(queries):
            return self.cross_attn(queries + positions, key, value, mask)

        def attend_to_queries(queries):
            queries_with_codes = queries + positions
            return self.self_attn(queries_with_codes, queries_with_codes, queries)

        steps = [(self.norm1, attend_to_map), (self.norm2, attend_to_queries)]
        for norm, attend in reversed(steps) if self.self_first else steps:
            queries = self.residual(norm, attend, queries)
        return self.residual(self.norm3, self.mlp, queries)


class Mask2Former(Module):
    """Masked-attention mask transformer: an image to Q masks, each with a class.

    .. math::
        X_l = \\mathrm{softmax}(\\mathcal M_{l-1} + Q_l K_l^T)\\, V_l + X_{l-1}, \\qquad
        \\mathcal M_{l-1}(x, y) = \\begin{cases} 0 & \\text{if } M_{l-1}(x, y) = 1 \\\\ -\\infty & \\text{otherwise} \\end{cases}

    Parameters
    ----------
    backbone : Module
        It has ``features(images)``, which returns a list of maps, finest first, and ``channels``, the channels of each.
    num_classes : int
        K, without "no object".
    queries : int, default 100
        Q.
    width : int, default 256
        D of queries and maps.
    heads : int, default 8
        Heads of every attention. The number must divide D.
    decoder_depth : int, default 9
        Layers of the decoder. They attend to the maps in turn, coarsest first.
    pixel_depth : int, default 6
        Layers of the deformable encoder. With 0 the pixel decoder is a plain feature pyramid.
    mlp_width, pixel_mlp_width : int, default 2048, 1024
        Width inside the MLPs of the decoder and of the pixel decoder.
    mask_width : int, optional
        Channels of the pixel embeddings; default D.
    levels : int, default 3
        Number of the backbone's maps, counted from the coarsest, that the transformers attend to. The finer maps are only
        added in the feature pyramid.
    points : int, default 4
        Points that a head of the pixel decoder reads in every map.
    groups : int, default 32
        Groups of the group norms. The number must divide D.
    masked : bool, default True
        False: plain cross-attention to all pixels, for comparison.
    self_first : bool, default False
        True: a layer begins with self-attention, as MaskFormer's, for comparison.
    learned_features : bool, default True
        False: the queries' features start at zero, as MaskFormer's, for comparison. Then nothing is predicted before the
        first layer, which attends to all pixels.
    norm_first : bool, default False
        True: the decoder layers have their norms before the branches.
    dropout : float, default 0
        Probability for attention weights, inside the MLPs and after every branch.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If the backbone has fewer maps than ``levels``, or heads or groups do not divide the width.

    References
    ----------
    Cheng et al. 2022, equations 1 and 2, figure 2. Slides ``I/27-learnable-queries``, ``I/35-multi-scale-decoder``,
    ``I/40-masked-attention``, ``I/43-masked-cross-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> class Backbone(Module):  # mean colours of squares of 4, 8 and 16 pixels
    ...     channels = (3, 3, 3)
    ...     def features(self, images):
    ...         return [ops.avg_pool2d(images, side) for side in (4, 8, 16)]
    >>> model = Mask2Former(Backbone(), 5, 7, 16, 2, 3, 1, 32, 32, levels=2, groups=4)
    >>> y = model(np.ones((2, 3, 32, 48), np.float32))
    >>> y.logits.shape, y.masks.shape, len(y.auxiliary)
    ((2, 7, 6), (2, 7, 8, 12), 3)
    """

    def __init__(
        self, backbone, num_classes, queries=100, width=256, heads=8, decoder_depth=9, pixel_depth=6, mlp_width=2048,
        pixel_mlp_width=1024, mask_width=None, levels=3, points=4, groups=32, masked=True, self_first=False, learned_features=True,
        norm_first=False, dropout=0.0, rng=None,
    ):  # fmt: skip
        from minivis.models.pixel_decoder import PixelDecoder

        init.check_sizes(
            "Mask2Former", queries=queries, levels=levels, points=points, width=width, heads=heads
        )
        if width % heads:
            raise ValueError(f"Mask2Former: {heads} heads do not divide the width {width}")
        if not learned_features:
            init.check_sizes("Mask2Former", decoder_depth=decoder_depth)
        if len(backbone.channels) < levels:
            raise ValueError(
                f"Mask2Former: levels={levels}, but the backbone has {len(backbone.channels)} maps"
            )
        rng = init.generator(rng)
        mask_width = mask_width or width
        self.levels = levels
        self.masked = masked
        self.backbone = backbone
        self.pixel_decoder = PixelDecoder(
            tuple(backbone.channels), width, heads, levels, points, pixel_depth, pixel_mlp_width, mask_width, groups,
            dropout, rng,
        )  # fmt: skip
        self.query_features = Parameter(init.normal((queries, width), 1.0, rng)) if learned_features else None
        self.query_positions = Parameter(init.normal((queries, width), 1.0, rng))
        self.level_embed = Parameter(init.normal((levels, width), 1.0, rng))
        layer = (width, heads, mlp_width, dropout, rng, self_first, norm_first)
        self.layers = [DecoderLayer(*layer) for _ in range(decoder_depth)]
        self.norm = LayerNorm(width)
        self.class_head = Linear(width, num_classes + 1, rng=rng)
        self.mask_head = [Linear(width, w, rng=rng) for w in (width, width, mask_width)]

    def forward(self, images):
        """Segment images.

        Inside `looking`, each layer (``layers.0``, ...) shows the ``grid`` (h, w) of its map and, with masked attention,
        two arrays more: ``mask`` (B, Q, h, w), True where a query may attend, and ``reset`` (B, Q), True where the mask
        was empty, so that the query may attend everywhere. The attention weights are in ``layers.0.cross_attn.weights``,
        (B, heads, Q, h w), and ``layers.0.self_attn.weights``, (B, heads, Q, Q).

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            Any size that the backbone accepts.

        Returns
        -------
        MaskFormerOutput
        """
        pixels, tokens, codes, shapes = self.pixel_decoder(self.backbone.features(as_tensor(images)))
        values = [x + self.level_embed[i] for i, x in enumerate(tokens)]
        keys = [x + code for x, code in zip(values, codes, strict=True)]
        B = pixels.shape[0]
        (Q, D) = self.query_positions.shape
        x = self._start(B, pixels)
        predictions = [self._predict(x, pixels)] if self.query_features is not None else []
        for i, layer in enumerate(self.layers):
            level = i % self.levels
            layer.show(grid=np.array(shapes[level]))
            mask = None
            if self.masked and predictions:
                mask, reset = attended_pixels(predictions[-1].masks, shapes[level])
                layer.show(mask=mask, reset=reset)
                mask = mask.reshape(B, Q, math.prod(shapes[level]))
            x = layer(x, self.query_positions, keys[level], values[level], mask)
            predictions.append(self._predict(x, pixels))
        *auxiliary, last = predictions
        return MaskFormerOutput(last.logits, last.masks, auxiliary)

    def _start(self, B, like):
        """Features of the queries before the first layer, (B, Q, D)."""
        shape = (B, *self.query_positions.shape)
        if self.query_features is None:
            return as_tensor(namespace(like.data).zeros(shape, like.dtype))
        return ops.broadcast_to(self.query_features, shape)

    def _predict(self, x, pixels):
        """Class and mask of every query, from its normalised state (B, Q, D)."""
        return predict(self.norm(x), pixels, self.class_head, self.mask_head)


def attended_pixels(masks, size):
    """Where masked attention may attend: inside the mask, resized to a map; everywhere if the mask is empty.

    .. math:: \\sigma(\\mathrm{resize}(M)) \\ge 0.5

    Parameters
    ----------
    masks : ndarray or Tensor, shape (B, Q, H, W)
        Logits. No gradient flows back through the threshold.
    size : (int, int)
        Height and width of the map.

    Returns
    -------
    mask : bool ndarray, shape (B, Q, h, w)
        True = may be attended.
    reset : bool ndarray, shape (B, Q)
        True where a mask was empty and was reset.

    References
    ----------
    Cheng et al. 2022, equation 2. The paper does not mention empty masks. Its code resets them, because a softmax over
    nothing gives NaN there. In minivis the result would be 0, and no gradient could correct the mask. Slide
    ``I/40-masked-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> mask, reset = attended_pixels(np.array([[[[1.0, -1.0]], [[-1.0, -1.0]]]]), (1, 2))
    >>> mask[0, :, 0].tolist(), reset.tolist()
    ([[True, False], [True, True]], [[False, True]])
    """
    masks = masks.data if isinstance(masks, Tensor) else masks
    mask = ops.interpolate(masks, size=size, mode="bilinear") >= 0  # sigmoid(0) is 0.5
    reset = ~mask.any(axis=(2, 3))
    return mask | reset[:, :, None, None], reset


def _on_swin_t(num_classes, rng, **options):
    from minivis.models.swin import swin_t

    backbone = swin_t(num_classes=0, drop_path=0.3, shrink=False, feature_norms=True, rng=rng)
    return Mask2Former(backbone, num_classes, rng=rng, **options)


def _on_resnet50(num_classes, rng, **options):
    from minivis.models.resnet import resnet50

    return Mask2Former(resnet50(num_classes=0, norm="frozen", rng=rng), num_classes, rng=rng, **options)


def _published(name, backbone, parameters, build):
    # 133 classes: COCO panoptic. COCO instances has 80, ADE20K 150.
    about = f"Mask2Former on {backbone}"
    return published(name, Mask2Former, about, parameters, 133, "``masked=False``", build)


mask2former_swin_t = _published("mask2former_swin_t", "a Swin-T", 47_435_264, _on_swin_t)
mask2former_r50 = _published(
    "mask2former_r50", "a ResNet-50 with frozen norms, which are not counted", 43_983_878, _on_resnet50
)
