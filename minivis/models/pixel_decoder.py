"""The pixel decoder of Mask2Former: deformable attention among the coarse maps, then a feature pyramid up to the finest.

Zhu et al., "Deformable DETR: deformable transformers for end-to-end object detection", ICLR 2021, equation 3; Cheng et al.,
"Masked-attention mask transformer for universal image segmentation", CVPR 2022, section 3.2.1. Slide
``I/35-multi-scale-decoder``.
Not here: sampling the maps at points (vision/deformable_attention.py), the masked-attention decoder (mask2former.py).
"""

import functools
import math

import numpy as np

from minivis import ops
from minivis.models.common import map_to_tokens
from minivis.models.mask_classification import constant, grid_codes, normed_conv, top_down
from minivis.nn import (
    MLP,
    Conv2d,
    Dropout,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    init,
)
from minivis.nn.transformer import ResidualLayer
from minivis.precision import widened
from minivis.vision.deformable_attention import multi_scale_deformable_attention

__all__ = ["DeformableAttention", "PixelDecoder"]


class DeformableAttention(Module):
    """Multi-scale deformable attention: each token predicts at which points it reads the maps, and the weight of each.

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    levels, points : int
        Number of maps, and of the points that a head reads in each.
    rng : numpy.random.Generator
        Draws the starting values. At first the points of head k are 1, 2, ... pixels away in direction k, and all have the
        same weight.
    """

    def __init__(self, width, heads, levels, points, rng):
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = Linear(width, heads * levels * points * 2, weight_init=init.zeros, rng=rng)
        self.offsets.bias = Parameter(_starting_offsets(heads, levels, points))
        self.weights = Linear(width, heads * levels * points, weight_init=init.zeros, rng=rng)
        self.value = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)
        self.out = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, tokens, codes, places, steps, shapes, memory=None):
        """Tokens (B, N, D) with position codes read the ``memory`` (B, M, D), the pixels of all maps; default: the tokens.

        Point p is read at the place ``places`` + its offset * ``steps``, both (..., N, h L P 2): (x, y) in [0, 1] from edge
        to edge. For the tokens themselves see `_places` and `_steps`. Inside `looking` the ``locations`` (B, N, h, L, P, 2)
        of the points and their ``weights`` (B, N, h, L, P) are shown.
        """
        (B, N, D), h, L, P = tokens.shape, self.heads, self.levels, self.points
        memory = tokens if memory is None else memory
        query = tokens + codes
        # The offsets are in pixels of each map. In float16, locations in a map of 2048 would be wrong by a pixel.
        locations = widened(self.offsets(query)) * steps + places
        weights = ops.softmax(self.weights(query).reshape(B, N, h, L * P))
        values = self.value(memory).reshape(B, memory.shape[1], h, D // h)
        locations = locations.reshape(B, N, h, L, P, 2)
        weights = weights.reshape(B, N, h, L, P)
        self.show(locations=locations, weights=weights)
        return self.out(multi_scale_deformable_attention(values, shapes, locations, weights))


class PixelLayer(ResidualLayer):
    """One post-norm layer of the pixel decoder: deformable attention among all maps, then an MLP."""

    def __init__(self, width, heads, levels, points, mlp_width, dropout, rng):
        self.attn = DeformableAttention(width, heads, levels, points, rng)
        self.norm1 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width, activation="relu", dropout=dropout, rng=rng)
        self.norm2 = LayerNorm(width)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, tokens, *geometry):
        """Tokens (B, N, D); the other arguments are those of `DeformableAttention`."""
        tokens = self.residual(self.norm1, lambda tokens: self.attn(tokens, *geometry), tokens)
        return self.residual(self.norm2, self.mlp, tokens)


class PixelDecoder(Module):
    """Backbone maps to pixel embeddings: the coarse maps attend to each other; a feature pyramid adds the fine ones.

    Parameters
    ----------
    channels : tuple of int
        Channels of the backbone's maps, finest first.
    width, heads, levels, points, depth, mlp_width, mask_width, groups, dropout, rng
        As for `Mask2Former`.
    """

    def __init__(
        self, channels, width, heads, levels, points, depth, mlp_width, mask_width, groups, dropout, rng
    ):
        xavier = init.xavier_uniform
        fine = channels[:-levels]
        coarse = channels[-levels:]

        def projection(C, kernel=1, bias=False):
            return normed_conv(C, width, kernel, groups, xavier, rng, bias)

        self.heads, self.levels, self.points = heads, levels, points
        # coarsest first, as everywhere below
        self.input_proj = [projection(C, bias=True) for C in reversed(coarse)]
        self.level_embed = Parameter(init.normal((levels, width), 1.0, rng))
        layer = (width, heads, levels, points, mlp_width, dropout, rng)
        self.layers = [PixelLayer(*layer) for _ in range(depth)]
        self.lateral = [projection(C) for C in reversed(fine)]
        self.output = [projection(width, kernel=3) for _ in fine]
        self.mask_features = Conv2d(width, mask_width, 1, weight_init=xavier, rng=rng)

    def forward(self, maps):
        """Maps (B, C_i, H_i, W_i), finest first, to pixel embeddings (B, mask_width, H_0, W_0).

        Also returns the tokens, the position codes and the map shape of each level, coarsest first.
        """
        coarse = [project(x) for project, x in zip(self.input_proj, reversed(maps), strict=False)]
        shapes = [x.shape[2:] for x in coarse]
        tokens = ops.concatenate([map_to_tokens(x) for x in coarse], axis=1)  # (B, N, D)
        B, _, D = tokens.shape
        codes = [constant(grid_codes, tokens, *shape, D) for shape in shapes]  # (H W, D)
        marked = ops.concatenate([code + self.level_embed[i] for i, code in enumerate(codes)])  # (N, D)
        places = constant(_places, tokens, tuple(shapes), self.heads * self.levels * self.points)
        steps = constant(_steps, tokens, tuple(shapes), self.heads, self.points)
        for layer in self.layers:
            tokens = layer(tokens, marked, places, steps, shapes)
        ends = np.cumsum([0, *(H * W for H, W in shapes)]).tolist()
        levels = [tokens[:, start:end] for start, end in zip(ends, ends[1:], strict=False)]
        y = levels[-1].transpose(0, 2, 1).reshape(B, D, *shapes[-1])
        y = top_down(y, maps[: -self.levels][::-1], self.lateral, self.output, "bilinear")
        return self.mask_features(y), levels, codes, shapes


@functools.lru_cache(16)
def _places(shapes, repeats, dtype):
    """The centre (x, y) of every pixel of all maps, in [0, 1], repeated for each point that it reads: (N, h L P 2).

    The copies are real, because NumPy is slow at broadcasting an axis of length 2.
    """
    grids = [np.meshgrid((np.arange(W) + 0.5) / W, (np.arange(H) + 0.5) / H) for H, W in shapes]
    centres = np.concatenate([np.stack(grid, axis=-1).reshape(-1, 2) for grid in grids])  # (N, 2)
    return np.tile(centres, repeats).astype(np.promote_types(dtype, np.float32))


@functools.lru_cache(16)
def _steps(shapes, heads, points, dtype):
    """The size of one pixel in the map that each point reads, if the whole map is 1 x 1: (h L P 2)."""
    sides = np.array([[1 / W, 1 / H] for H, W in shapes])[:, None]  # (L, 1, 2)
    return (
        np.broadcast_to(sides, (heads, len(shapes), points, 2))
        .reshape(-1)
        .astype(np.promote_types(dtype, np.float32))
    )


def _starting_offsets(heads, levels, points):
    """Starting values of the offsets, in pixels: the points of head k are 1, 2, ... steps away in direction k."""
    angles = np.arange(heads) * (2 * math.pi / heads)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    directions /= np.abs(directions).max(axis=-1, keepdims=True)  # on a square around the pixel
    steps = directions[:, None, None] * np.arange(1, points + 1)[:, None]  # (h, 1, P, 2)
    return np.broadcast_to(steps, (heads, levels, points, 2)).reshape(-1).astype(np.float32)
