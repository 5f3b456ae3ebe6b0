"""Mask2Former: queries become masks and classes; each looks only inside the mask it predicted a layer before.

Cheng et al., "Masked-attention mask transformer for universal image segmentation", CVPR 2022: equations 1 to 3 and sections
3.2 and 3.3; its pixel decoder is the deformable encoder of Zhu et al., "Deformable DETR", ICLR 2021.
Not here: the loss (losses/), merging masks to a panoptic map (vision/), the backbones (resnet.py, swin.py).
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivis import backend, ops
from minivis.autograd import Tensor
from minivis.nn import (
    MLP,
    Conv2d,
    Dropout,
    GroupNorm,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    Sequential,
    init,
)
from minivis.nn.module import as_tensor
from minivis.vision.deformable_attention import multi_scale_deformable_attention
from minivis.vision.position_codes import sine_position_code

__all__ = [
    "LayerAttention",
    "Mask2Former",
    "Mask2FormerOutput",
    "attended_pixels",
    "mask2former_r50",
    "mask2former_swin_t",
]


@dataclass
class Mask2FormerOutput:
    """What Mask2Former says of a batch of images.

    Attributes
    ----------
    logits : Tensor, shape (B, Q, K + 1)
        Of the classes, "no object" last.
    masks : Tensor, shape (B, Q, H / 4, W / 4)
        Logits: positive where a pixel belongs to the query's object. As large as the backbone's finest map.
    auxiliary : list of Mask2FormerOutput
        What was predicted before every decoder layer: from the queries alone first, so one for each layer.
    attention : list of LayerAttention or None
        What each decoder layer looked at, if asked for.
    """

    logits: Tensor
    masks: Tensor
    auxiliary: list
    attention: list | None = None


@dataclass
class LayerAttention:
    """What one decoder layer looked at: plain arrays, for pictures.

    Attributes
    ----------
    level : int
        Which map of the pixel decoder, 0 is the coarsest.
    mask : bool ndarray, shape (B, Q, h, w), or None
        Where each query was allowed to look; None without masked attention.
    reset : bool ndarray, shape (B, Q), or None
        Whose mask was empty, so that it was allowed everywhere.
    cross : ndarray, shape (B, heads, Q, h, w)
        Weights on the pixels of the map.
    own : ndarray, shape (B, heads, Q, Q)
        Weights of the queries on each other.
    """

    level: int
    mask: Any
    reset: Any
    cross: Any
    own: Any


class DeformableAttention(Module):
    """Multi-scale deformable attention: from its own pixel, each token predicts where to read and what it counts.

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    levels, points : int
        Maps, and points that a head reads in each.
    rng : numpy.random.Generator
        Starting values: the points of head k lie 1, 2, ... pixels away in direction k, all with the same weight.
    """

    def __init__(self, width, heads, levels, points, rng):
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = Linear(width, heads * levels * points * 2, weight_init=_zeros, rng=rng)
        self.offsets.bias = Parameter(_star(heads, levels, points))
        self.weights = Linear(width, heads * levels * points, weight_init=_zeros, rng=rng)
        self.value = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)
        self.out = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, tokens, codes, places, pixel, shapes):
        """Tokens (B, N, D) with position codes (N, D) at ``places`` (N, 1, 1, 1, 2); ``pixel`` is a step of 1, (L, 1, 2)."""
        (B, N, D), h, L, P = tokens.shape, self.heads, self.levels, self.points
        query = tokens + codes
        offsets = self.offsets(query).reshape(B, N, h, L, P, 2)  # in pixels of each map
        weights = ops.softmax(self.weights(query).reshape(B, N, h, L * P)).reshape(B, N, h, L, P)
        values = self.value(tokens).reshape(B, N, h, D // h)
        return self.out(multi_scale_deformable_attention(values, shapes, offsets * pixel + places, weights))


class PixelLayer(Module):
    """One layer of the pixel decoder, norms after each branch: deformable attention among all maps, then an MLP."""

    def __init__(self, width, heads, levels, points, mlp_width, dropout, rng):
        self.attn = DeformableAttention(width, heads, levels, points, rng)
        self.norm1 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width, activation="relu", dropout=dropout, rng=rng)
        self.norm2 = LayerNorm(width)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, tokens, *where):
        tokens = self.norm1(tokens + self.dropout(self.attn(tokens, *where)))
        return self.norm2(tokens + self.dropout(self.mlp(tokens)))


class PixelDecoder(Module):
    """Backbone maps to pixel embeddings: the coarse maps look at each other, the fine ones are added on the way up.

    Parameters
    ----------
    channels : tuple of int
        Of the backbone's maps, finest first.
    width, heads, levels, points, layers, mlp_width, mask_width, groups, dropout, rng
        As for `Mask2Former`.
    """

    def __init__(
        self, channels, width, heads, levels, points, layers, mlp_width, mask_width, groups, dropout, rng
    ):
        def projection(channels, kernel, bias):
            conv = Conv2d(
                channels,
                width,
                kernel,
                padding=kernel // 2,
                bias=bias,
                weight_init=init.xavier_uniform,
                rng=rng,
            )
            return Sequential(conv, GroupNorm(groups, width))

        self.levels = levels
        fine, coarse = channels[:-levels], channels[-levels:]
        self.input_proj = [
            projection(c, 1, True) for c in reversed(coarse)
        ]  # coarsest first, as everywhere below
        self.level_embed = Parameter(init.normal((levels, width), 1.0, rng))
        self.layers = [
            PixelLayer(width, heads, levels, points, mlp_width, dropout, rng) for _ in range(layers)
        ]
        self.lateral = [projection(c, 1, False) for c in reversed(fine)]
        self.output = [projection(width, 3, False) for _ in fine]
        self.mask_features = Conv2d(width, mask_width, 1, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, maps):
        """Maps (B, C_i, H_i, W_i), finest first, to pixel embeddings (B, D, H_0, W_0), and tokens, codes, shapes by level."""
        coarse = [project(x) for project, x in zip(self.input_proj, reversed(maps), strict=False)]
        shapes = [x.shape[2:] for x in coarse]
        tokens = ops.concatenate([_tokens(x) for x in coarse], axis=1)  # (B, N, D)
        B, _, D = tokens.shape
        codes = [_constant(_codes, tokens, *shape, D) for shape in shapes]
        marked = ops.concatenate([code + self.level_embed[i] for i, code in enumerate(codes)])  # (N, D)
        places = _constant(_places, tokens, *shapes)
        pixel = _constant(_pixel, tokens, *shapes)
        for layer in self.layers:
            tokens = layer(tokens, marked, places, pixel, shapes)
        ends = np.cumsum([0, *(H * W for H, W in shapes)]).tolist()
        levels = [tokens[:, start:end] for start, end in zip(ends, ends[1:], strict=False)]
        y = levels[-1].transpose(0, 2, 1).reshape(B, D, *shapes[-1])
        fine = reversed(maps[: -self.levels])
        for lateral, output, x in zip(
            self.lateral, self.output, fine, strict=True
        ):  # the way up, as in an FPN
            y = lateral(x) + ops.interpolate(y, size=x.shape[2:], mode="bilinear")
            y = ops.relu(output(y))
        return self.mask_features(y), levels, codes, shapes


class DecoderLayer(Module):
    """One decoder layer, norms after each branch: masked attention to a map, then among the queries, then an MLP."""

    def __init__(self, width, heads, mlp_width, dropout, rng):
        self.cross_attn = MultiHeadAttention(width, heads, dropout, rng=rng)
        self.norm1 = LayerNorm(width)
        self.self_attn = MultiHeadAttention(width, heads, dropout, rng=rng)
        self.norm2 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width, activation="relu", dropout=dropout, rng=rng)
        self.norm3 = LayerNorm(width)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, queries, positions, key, value, mask, need_weights=False):
        """Queries (B, Q, D) with positions (Q, D), map tokens (B, N, D) with and without code, mask (B, Q, N) or None."""
        attended = self.cross_attn(queries + positions, key, value, mask, need_weights=need_weights)
        attended, cross = attended if need_weights else (attended, None)
        queries = self.norm1(queries + self.dropout(attended))
        placed = queries + positions
        attended = self.self_attn(placed, placed, queries, need_weights=need_weights)
        attended, own = attended if need_weights else (attended, None)
        queries = self.norm2(queries + self.dropout(attended))
        return self.norm3(queries + self.dropout(self.mlp(queries))), cross, own


class Mask2Former(Module):
    """Masked-attention mask transformer: an image to Q masks, each with a class.

    .. math::
        X_l = \\mathrm{softmax}(\\mathcal M_{l-1} + Q_l K_l^T)\\, V_l + X_{l-1}, \\qquad
        \\mathcal M_{l-1}(x, y) = \\begin{cases} 0 & \\text{if } M_{l-1}(x, y) = 1 \\\\ -\\infty & \\text{otherwise} \\end{cases}

    Parameters
    ----------
    backbone : Module
        With ``.channels`` and ``.features(images)``, a list of maps, finest first.
    num_classes : int
        K, without "no object".
    queries : int, default 100
        Q.
    width : int, default 256
        D of queries and maps.
    heads : int, default 8
        Of every attention; they divide D.
    decoder_layers : int, default 9
        They take the maps in turn, coarsest first.
    pixel_layers : int, default 6
        Of the deformable encoder; 0 leaves a plain feature pyramid.
    mlp_width, pixel_mlp_width : int, default 2048, 1024
        Inside the MLPs of the decoder and of the pixel decoder.
    mask_width : int, optional
        Channels of the pixel embeddings; default D.
    levels : int, default 3
        How many of the backbone's maps, from the coarsest, the transformers see. The others are only added on the way up.
    points : int, default 4
        That a head reads in every map.
    groups : int, default 32
        Of the group norms; they divide D.
    masked : bool, default True
        False: plain cross-attention to all pixels, for comparison.
    dropout : float, default 0
        Probability, of attention weights, in the MLPs and after every branch.
    rng : numpy.random.Generator, int or None
        Starting values; None is seed 0.

    Raises
    ------
    ValueError
        If the backbone has fewer maps than ``levels``, or heads or groups do not divide the width.

    References
    ----------
    Cheng et al. 2022, equations 1 and 2, figure 2. Slides: I, "Mask2Former", "Masked Attention", "Masked Cross
    Attention".

    Examples
    --------
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
        self,
        backbone,
        num_classes,
        queries=100,
        width=256,
        heads=8,
        decoder_layers=9,
        pixel_layers=6,
        mlp_width=2048,
        pixel_mlp_width=1024,
        mask_width=None,
        levels=3,
        points=4,
        groups=32,
        masked=True,
        dropout=0.0,
        rng=None,
    ):
        self.config = {name: value for name, value in locals().items() if name not in ("self", "rng")}
        init.check_sizes(
            "Mask2Former", queries=queries, levels=levels, points=points, width=width, heads=heads
        )
        if width % heads:
            raise ValueError(f"Mask2Former: {heads} heads do not divide the width {width}")
        if len(backbone.channels) < levels:
            raise ValueError(
                f"Mask2Former: levels={levels}, but the backbone has {len(backbone.channels)} maps"
            )
        rng, mask_width = init.generator(rng), mask_width or width
        self.levels, self.masked, self.backbone = levels, masked, backbone
        self.pixel_decoder = PixelDecoder(
            tuple(backbone.channels), width, heads, levels, points, pixel_layers, pixel_mlp_width, mask_width, groups,
            dropout, rng,
        )  # fmt: skip
        self.query_features = Parameter(init.normal((queries, width), 1.0, rng))
        self.query_positions = Parameter(init.normal((queries, width), 1.0, rng))
        self.level_embed = Parameter(init.normal((levels, width), 1.0, rng))
        self.layers = [DecoderLayer(width, heads, mlp_width, dropout, rng) for _ in range(decoder_layers)]
        self.norm = LayerNorm(width)
        self.class_head = Linear(width, num_classes + 1, rng=rng)
        self.mask_head = [Linear(width, w, rng=rng) for w in (width, width, mask_width)]

    def forward(self, images, need_attention=False):
        """Segment.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            Any size the backbone takes.
        need_attention : bool, default False
            Return masks and weights of every decoder layer too.

        Returns
        -------
        Mask2FormerOutput
        """
        pixels, tokens, codes, shapes = self.pixel_decoder(self.backbone.features(as_tensor(images)))
        values = [x + self.level_embed[i] for i, x in enumerate(tokens)]
        keys = [x + code for x, code in zip(values, codes, strict=True)]
        B, (Q, D) = pixels.shape[0], self.query_features.shape
        x = ops.broadcast_to(self.query_features, (B, Q, D))
        predictions, attention = [self._predict(x, pixels)], []
        for i, layer in enumerate(self.layers):
            level = i % self.levels
            mask = reset = None
            if self.masked:
                mask, reset = attended_pixels(predictions[-1].masks, shapes[level])
            flat = None if mask is None else mask.reshape(B, Q, math.prod(shapes[level]))
            x, cross, own = layer(x, self.query_positions, keys[level], values[level], flat, need_attention)
            predictions.append(self._predict(x, pixels))
            if need_attention:
                cross = cross.reshape(*cross.shape[:3], *shapes[level])
                attention.append(LayerAttention(level, mask, reset, cross, own))
        *auxiliary, last = predictions
        return Mask2FormerOutput(last.logits, last.masks, auxiliary, attention if need_attention else None)

    def _predict(self, x, pixels):
        """Class and mask of every query: its mask embedding is compared with the embedding of each pixel."""
        x = self.norm(x)
        B, C, H, W = pixels.shape
        first, second, last = self.mask_head
        embedding = last(ops.relu(second(ops.relu(first(x)))))  # (B, Q, C)
        masks = (embedding @ pixels.reshape(B, C, H * W)).reshape(B, x.shape[1], H, W)
        return Mask2FormerOutput(self.class_head(x), masks, [])


def attended_pixels(masks, size):
    """Where masked attention may look: inside the mask, resized to a map; everywhere if nothing is inside.

    .. math:: \\sigma(\\mathrm{resize}(M)) \\ge 0.5

    Parameters
    ----------
    masks : ndarray or Tensor, shape (B, Q, H, W)
        Logits. No gradient flows back through the decision.
    size : (int, int)
        Height and width of the map.

    Returns
    -------
    mask : bool ndarray, shape (B, Q, h, w)
        True = may be attended.
    reset : bool ndarray, shape (B, Q)
        Which masks were empty, and were reset.

    References
    ----------
    Cheng et al. 2022, equation 2. The paper does not speak of empty masks; its program resets them, since a query with
    nothing to attend to would be NaN there, and could not find its way back here.

    Examples
    --------
    >>> mask, reset = attended_pixels(np.array([[[[1.0, -1.0]], [[-1.0, -1.0]]]]), (1, 2))
    >>> mask[0, :, 0].tolist(), reset.tolist()
    ([[True, False], [True, True]], [[False, True]])
    """
    masks = masks.data if isinstance(masks, Tensor) else masks
    mask = ops.interpolate(masks, size=size, mode="bilinear") >= 0  # a sigmoid of 0.5 is a logit of 0
    reset = ~mask.any(axis=(2, 3))
    return mask | reset[:, :, None, None], reset


def _tokens(x):
    """A map (B, D, H, W) as tokens (B, H W, D)."""
    B, D, H, W = x.shape
    return x.reshape(B, D, H * W).transpose(0, 2, 1)


def _constant(make, like, *arguments):
    """``make(*arguments)``, made once, in the dtype and on the device of a Tensor."""
    return backend.move(make(*arguments).astype(like.dtype, copy=False), like.device)


@functools.lru_cache(64)
def _codes(height, width, dim):
    return sine_position_code(height, width, dim, normalize=True, dtype="float64").reshape(
        -1, dim
    )  # (H W, D)


@functools.lru_cache(64)
def _places(*shapes):
    """The centre (x, y) of every pixel of all maps, in [0, 1]: (N, 1, 1, 1, 2)."""
    centres = [
        np.stack(np.meshgrid((np.arange(W) + 0.5) / W, (np.arange(H) + 0.5) / H), axis=-1) for H, W in shapes
    ]
    return np.concatenate([c.reshape(-1, 1, 1, 1, 2) for c in centres])


@functools.lru_cache(64)
def _pixel(*shapes):
    """Width and height of a pixel of each map, where the map is 1 x 1: (L, 1, 2)."""
    return np.array([[[1 / W, 1 / H]] for H, W in shapes])


def _zeros(shape, rng):
    return np.zeros(shape, np.float32)


def _star(heads, levels, points):
    """Offsets to start from, in pixels: head k looks in direction k, its points 1, 2, ... steps away."""
    angles = np.arange(heads) * (2 * math.pi / heads)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    directions /= np.abs(directions).max(axis=-1, keepdims=True)  # on the square around the pixel
    steps = directions[:, None, None] * np.arange(1, points + 1)[:, None]  # (h, 1, P, 2)
    return np.broadcast_to(steps, (heads, levels, points, 2)).reshape(-1).astype(np.float32)


def mask2former_swin_t(num_classes=133, rng=None, **options):
    """Mask2Former with a Swin-T backbone: 47,435,264 parameters for the 133 classes of COCO panoptic.

    Parameters
    ----------
    num_classes : int, default 133
        K: 133 for COCO panoptic, 80 for COCO instances, 150 for ADE20K.
    rng : numpy.random.Generator, int or None
        Starting values; None is seed 0.
    **options
        Of `Mask2Former`.

    Returns
    -------
    Mask2Former
    """
    from minivis.models.swin import swin_t

    rng = init.generator(rng)
    backbone = swin_t(num_classes=0, drop_path=0.3, shrink=False, feature_norms=True, rng=rng)
    return Mask2Former(backbone, num_classes, rng=rng, **options)


def mask2former_r50(num_classes=133, rng=None, **options):
    """Mask2Former with a ResNet-50 backbone, its batch norms frozen: 43,983,878 trained parameters for 133 classes.

    Parameters
    ----------
    num_classes : int, default 133
        K.
    rng : numpy.random.Generator, int or None
        Starting values; None is seed 0.
    **options
        Of `Mask2Former`.

    Returns
    -------
    Mask2Former
    """
    from minivis.models.resnet import resnet50

    rng = init.generator(rng)
    backbone = resnet50(num_classes=0, norm="frozen", rng=rng)
    return Mask2Former(backbone, num_classes, rng=rng, **options)
