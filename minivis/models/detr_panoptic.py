"""The mask head of DETR: attention maps of the queries, refined step by step with the finer maps of the backbone.

Carion et al., "End-to-end object detection with transformers", ECCV 2020, section 4.4 and figure 8.
Slides ``A/68-detr-panoptic``, ``H/24-detr-panoptic-head``.
Not here: merging the masks into one panoptic map (vision/panoptic.py), the losses.
"""

import math

from minivis import ops
from minivis.backend import move, namespace
from minivis.nn import Conv2d, GroupNorm, Linear, Module, init

__all__ = ["MaskAttention", "MaskHead"]


class MaskAttention(Module):
    """Attention weights of each query for each image token in each head; there are no values.

    .. math:: a_{q,i,n} = \\mathrm{softmax}_{(i, n)} \\frac{\\langle q_i, k_{n,i} \\rangle}{\\sqrt d}

    The softmax is over heads and tokens together, so the heads compete: all weights of a query sum to 1.

    Parameters
    ----------
    width, heads : int
        D, and the number of heads, which must divide D.
    rng : numpy.random.Generator
        Draws the starting values: Xavier; biases are 0.
    """

    def __init__(self, width, heads, rng):
        self.heads = heads
        self.query = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)
        self.key = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, queries, memory, valid=None):
        """Queries (B, Q, D) and memory (B, N, D) to weights (B, Q, h, N); ``valid`` (B, N) is True at tokens to attend to.

        Shows ``weights``, (B, h, Q, N), inside `looking`.
        """
        B, Q, D = queries.shape
        N = memory.shape[1]
        h = self.heads
        d = D // self.heads
        q = self.query(queries).reshape(B, Q, h, d).transpose(0, 2, 1, 3)  # (B, h, Q, d)
        k = self.key(memory).reshape(B, N, h, d).transpose(0, 2, 3, 1)  # (B, h, d, N)
        scores = ((q * (1 / math.sqrt(d))) @ k).transpose(0, 2, 1, 3)  # (B, Q, h, N)
        if valid is not None:
            allowed = valid[:, None, None, :]
            # finite, because -inf would give NaN for an image that is all padding
            lowest = float(namespace(valid).finfo(scores.dtype).min)
            scores = ops.where(allowed, scores, lowest)
        weights = ops.softmax(scores.reshape(B, Q, h * N)).reshape(B, Q, h, N)
        weights = weights if valid is None else weights * allowed
        self.show(weights=lambda: weights.transpose(0, 2, 1, 3))
        return weights


class MaskHead(Module):
    """Predict one mask for each query: convolutions, upsampling, and the backbone's finer maps added at each resolution.

    Parameters
    ----------
    width, heads : int
        D of the transformer, and heads of the attention. D + heads must be divisible by 8.
    channels : sequence of int
        Channels of the backbone's maps that are finer than the transformer's, finest first.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If D + heads is not divisible by the 8 groups of the norms.

    Notes
    -----
    Every query has its own pass through the convolutions: B Q maps. Only the first layer shares work between queries, see
    `_first_conv`. In training the masks of matched queries are enough: pass ``chosen``.

    References
    ----------
    Carion et al. 2020, section 4.4: attention maps of h heads, then an FPN-like net with group norm. Slides
    ``A/68-detr-panoptic``, ``H/24-detr-panoptic-head``.

    Examples
    --------
    >>> import numpy as np
    >>> head = MaskHead(width=16, heads=8, channels=(4, 8))
    >>> states, memory = np.zeros((2, 5, 16), np.float32), np.zeros((2, 6, 16), np.float32)
    >>> maps = [np.zeros((2, 4, 8, 12), np.float32), np.zeros((2, 8, 4, 6), np.float32)]
    >>> head(states, memory, np.zeros((2, 16, 2, 3), np.float32), maps).shape
    (2, 5, 8, 12)
    """

    def __init__(self, width, heads, channels, rng=None):
        rng = init.generator(rng)
        self.attention = MaskAttention(width, heads, rng)
        inputs = width + heads
        widths = [inputs, inputs, *(width // 2**i for i in range(1, len(channels) + 2))]
        self.convs = [
            Conv2d(a, b, 3, padding=1, weight_init=_variance_preserving, rng=rng)
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        self.norms = [GroupNorm(min(8, C), C) for C in widths[1:]]
        self.adapters = [
            Conv2d(a, b, 1, weight_init=_variance_preserving, rng=rng)
            for a, b in zip(channels[::-1], widths[2:], strict=False)
        ]
        self.out = Conv2d(widths[-1], 1, 3, padding=1, weight_init=_variance_preserving, rng=rng)

    def forward(self, states, memory, source, maps, valid=None, chosen=None):
        """Mask logits.

        Parameters
        ----------
        states : (B, Q, D)
            The queries after the last decoder layer.
        memory : (B, N, D)
            The tokens after the encoder.
        source : (B, D, H', W')
            The tokens before the encoder, as a map; N = H' W'.
        maps : list of (B, C_i, H_i, W_i)
            The finer maps, finest first.
        valid : bool ndarray, shape (B, H', W'), optional
            True = inside the image.
        chosen : (int ndarray, int ndarray) of length n, optional
            Indices of the image and of the query of each mask to compute; the default is all.

        Returns
        -------
        Tensor, shape (B, Q, H_0, W_0) or (n, H_0, W_0)
        """
        B, Q, _ = states.shape
        H, W = source.shape[2:]
        # (B, Q, h, N)
        attention = self.attention(states, memory, None if valid is None else valid.reshape(B, H * W))
        owners = None
        if chosen is not None:
            chosen = tuple(move(index, attention.device) for index in chosen)  # a matcher works on the CPU
            attention = attention[chosen]
            owners = chosen[0]
        x = self._first_conv(source, attention.reshape(-1, attention.shape[-2], H, W), owners)
        x = ops.relu(self.norms[0](x))
        x = ops.relu(self.norms[1](self.convs[1](x)))
        finer = zip(maps[::-1], self.adapters, self.convs[2:], self.norms[2:], strict=True)
        for image, adapter, conv, norm in finer:
            x = ops.interpolate(x, size=image.shape[2:], mode="nearest")
            x = _add_to_each_mask(x, adapter(image), owners)
            x = ops.relu(norm(conv(x)))
        x = self.out(x)[:, 0]
        return x.reshape(B, Q, *x.shape[1:]) if chosen is None else x

    def _first_conv(self, source, attention, owners):
        """The first convolution of [source, attention]. It is linear, so the part for source is computed once per image."""
        conv, D = self.convs[0], source.shape[1]
        shared = ops.conv2d(source, conv.weight[:, :D], conv.bias, padding=1)
        return _add_to_each_mask(ops.conv2d(attention, conv.weight[:, D:], padding=1), shared, owners)


def _add_to_each_mask(x, maps, owners):
    """Add to each mask in x (n, C, H, W) the map of its image, from maps (B, C, H, W).

    ``owners`` (n,) is the image of each mask. If it is None, every image has the same number of masks.
    """
    if owners is not None:
        return x + ops.take(maps, owners)
    B, *shape = maps.shape
    Q = x.shape[0] // max(1, B)
    return (x.reshape(B, Q, *shape) + maps.reshape(B, 1, *shape)).reshape(x.shape)


def _variance_preserving(shape, rng):
    """Uniform within sqrt(3 / fan_in): the output of a linear layer has the same variance as its input."""
    return init.uniform(shape, math.sqrt(3 / math.prod(shape[1:])), rng)
