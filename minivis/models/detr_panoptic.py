"""The mask head of DETR: where a query looks, sharpened step by step with the finer maps of the backbone.

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
    """How much each query looks at each place in each head: attention weights without values.

    .. math:: a_{q,i,n} = \\mathrm{softmax}_{(i, n)} \\frac{\\langle q_i, k_{n,i} \\rangle}{\\sqrt d}

    The softmax runs over heads and places together, so that heads compete: all weights of a query sum to 1.

    Parameters
    ----------
    width, heads : int
        D, and the number of heads, which divides it.
    rng : numpy.random.Generator
        Starting values: Xavier, biases 0.
    """

    def __init__(self, width, heads, rng):
        self.heads = heads
        self.query = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)
        self.key = Linear(width, width, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, queries, memory, valid=None):
        """Queries (B, Q, D) on memory (B, N, D), of which ``valid`` (B, N) may be looked at: (B, Q, h, N).

        Shows ``weights``, (B, h, Q, N), to whoever looks.
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
            # finite: an image that is all padding gives no NaN
            lowest = float(namespace(valid).finfo(scores.dtype).min)
            scores = ops.where(allowed, scores, lowest)
        weights = ops.softmax(scores.reshape(B, Q, h * N)).reshape(B, Q, h, N)
        weights = weights if valid is None else weights * allowed
        self.show(weights=lambda: weights.transpose(0, 2, 1, 3))
        return weights


class MaskHead(Module):
    """One mask for each query: convolutions, with the maps of the backbone added on the way to their resolution.

    Parameters
    ----------
    width, heads : int
        D of the transformer, and heads of the attention. D + heads is divisible by 8.
    channels : sequence of int
        Channels of the backbone's maps that are finer than the transformer's, finest first.
    rng : numpy.random.Generator, int or None
        Starting values; None is seed 0.

    Raises
    ------
    ValueError
        If 8 groups do not divide D + heads.

    Notes
    -----
    Every query has its own pass through the convolutions: B Q maps. Only the first layer can share, see `_first`. In
    training the masks of matched queries are enough: ``chosen``.

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
            Conv2d(a, b, 3, padding=1, weight_init=_even, rng=rng)
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        self.norms = [GroupNorm(min(8, C), C) for C in widths[1:]]
        self.adapters = [
            Conv2d(a, b, 1, weight_init=_even, rng=rng)
            for a, b in zip(channels[::-1], widths[2:], strict=False)
        ]
        self.out = Conv2d(widths[-1], 1, 3, padding=1, weight_init=_even, rng=rng)

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
            Image and query of the masks that are wanted; the default is all.

        Returns
        -------
        Tensor, shape (B, Q, H_0, W_0) or (n, H_0, W_0)
        """
        B, Q, _ = states.shape
        H, W = source.shape[2:]
        # (B, Q, h, N)
        looks = self.attention(states, memory, None if valid is None else valid.reshape(B, H * W))
        owners = None
        if chosen is not None:
            chosen = tuple(move(index, looks.device) for index in chosen)  # a matcher works on the CPU
            looks = looks[chosen]
            owners = chosen[0]
        x = self._first(source, looks.reshape(-1, looks.shape[-2], H, W), owners)
        x = ops.relu(self.norms[0](x))
        x = ops.relu(self.norms[1](self.convs[1](x)))
        finer = zip(maps[::-1], self.adapters, self.convs[2:], self.norms[2:], strict=True)
        for image, adapter, conv, norm in finer:
            x = ops.interpolate(x, size=image.shape[2:], mode="nearest")
            x = _add_to_each_mask(x, adapter(image), owners)
            x = ops.relu(norm(conv(x)))
        x = self.out(x)[:, 0]
        return x.reshape(B, Q, *x.shape[1:]) if chosen is None else x

    def _first(self, source, looks, owners):
        """The first convolution of [source, looks]: linear, so what the masks of an image share is computed once."""
        conv, D = self.convs[0], source.shape[1]
        shared = ops.conv2d(source, conv.weight[:, :D], conv.bias, padding=1)
        return _add_to_each_mask(ops.conv2d(looks, conv.weight[:, D:], padding=1), shared, owners)


def _add_to_each_mask(x, maps, owners):
    """Add to each mask in x (n, C, H, W) the map of its image, of maps (B, C, H, W): all have as many, or owners says whose."""
    if owners is not None:
        return x + ops.take(maps, owners)
    B, *shape = maps.shape
    Q = x.shape[0] // max(1, B)
    return (x.reshape(B, Q, *shape) + maps.reshape(B, 1, *shape)).reshape(x.shape)


def _even(shape, rng):
    """Uniform within sqrt(3 / fan_in): the variance of a linear layer's output is that of its input."""
    return init.uniform(shape, math.sqrt(3 / math.prod(shape[1:])), rng)
