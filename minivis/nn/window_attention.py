"""Attention in windows of a map, shifted or not, with a learned bias for every relative position: the core of Swin.

Not here: cutting and shifting by themselves (vision/windows.py), the block and the model around it (models/swin.py).
"""

import functools

from minivis import backend, ops
from minivis.nn import init
from minivis.nn.attention import MultiHeadAttention
from minivis.nn.module import Parameter
from minivis.vision.windows import (
    cyclic_shift,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)

__all__ = ["WindowAttention"]


class WindowAttention(MultiHeadAttention):
    """Let the tokens of each window of a map attend to one another, with a preference for each relative position.

    .. math:: Y = \\mathrm{softmax}\\Big(\\frac{Q K^T}{\\sqrt d} + B\\Big) V, \\qquad B_{ij} = \\hat B[I_{ij}]

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    window : (int, int)
        Sides of a window, tokens: (2 M_h - 1)(2 M_w - 1) biases a head.
    shift : (int, int)
        By how much the windows are shifted down and to the right, tokens, before they cut the map.
    shrink : bool, default True
        On a map not larger than the window, take one window of the map's size and do not shift it.
    qkv_bias : bool, default True
        Whether queries, keys and values have a bias.
    attention_dropout : float, default 0
        Probability of dropping an attention weight.
    rng : numpy.random.Generator, int or None
        Starting values: as `MultiHeadAttention`; the table normal with standard deviation 0.02.

    Notes
    -----
    A map that windows do not fill gets zeros at the bottom and right, and nobody is kept from seeing them: as published.

    References
    ----------
    Liu et al. 2021, section 3.2 and equation 4. Slides ``A/44-windows-and-merging``, ``A/46-shifted-windows``,
    ``A/47-cyclic-shift``, ``A/49-relative-position-bias``.

    Examples
    --------
    >>> import numpy as np
    >>> attention = WindowAttention(8, 2, (4, 4), (2, 2))
    >>> y, weights = attention(np.zeros((1, 8, 12, 8), np.float32), need_weights=True)
    >>> y.shape, weights.shape
    ((1, 8, 12, 8), (1, 6, 2, 16, 16))
    """

    def __init__(
        self, width, heads, window, shift, shrink=True, qkv_bias=True, attention_dropout=0.0, *, rng=None
    ):
        rng = init.generator(rng)
        super().__init__(width, heads, attention_dropout, rng=rng)
        if not qkv_bias:
            self.query.bias = self.key.bias = self.value.bias = None
        self.window, self.shift, self.shrink = window, shift, shrink
        rows = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.bias_table = Parameter(init.trunc_normal((rows, heads), 0.02, rng))

    def forward(self, x, need_weights=False):
        """Pad, shift, cut into windows, attend in each, and all of that back.

        Parameters
        ----------
        x : ndarray or Tensor, shape (B, H, W, D)
            Maps.
        need_weights : bool, default False
            Return the weights too.

        Returns
        -------
        (Tensor of shape (B, H, W, D), ndarray of shape (B, nW, h, N, N) or None)
        """
        B, H, W, D = x.shape
        (m, n), shift = self._fitted(H, W)
        x = padded(x, m, n)
        height, width = x.shape[1:3]
        if any(shift):
            x = cyclic_shift(x, shift)
        windows = window_partition(x, (m, n))
        windows = windows.reshape(B, height * width // (m * n), m * n, D)  # (B, nW, N, D)
        mask = _mask(height, width, (m, n), shift, windows.device) if any(shift) else None
        windows, weights = self._attend(windows, (m, n), mask, need_weights)
        x = window_reverse(windows.reshape(-1, m, n, D), (m, n), height, width)
        if any(shift):
            x = cyclic_shift(x, (-shift[0], -shift[1]))
        return (x if (height, width) == (H, W) else x[:, :H, :W]), weights

    def _fitted(self, height, width):
        """Window and shift for a map: where it is not larger than the window, one window and no shift."""
        if self.shrink and (height <= self.window[0] or width <= self.window[1]):
            return (min(self.window[0], height), min(self.window[1], width)), (0, 0)
        return self.window, self.shift

    def _attend(self, x, window, mask, need_weights):
        """Attention in windows (B, nW, N, D) with a mask (nW, 1, N, N), one for all images and heads, or None."""
        q, k, v = (self._split(projection(x)) for projection in (self.query, self.key, self.value))
        bias = self._bias(window)
        dropout = self.dropout.p if self.training else 0.0
        y = ops.scaled_dot_product_attention(q, k, v, mask, bias, dropout_p=dropout, rng=self.dropout.rng)
        y = self.out(y.transpose(0, 1, 3, 2, 4).reshape(x.shape))
        return y, ops.attention_weights(q, k, mask, bias) if need_weights else None

    def _split(self, x):
        B, windows, N, D = x.shape
        x = x.reshape(B, windows, N, self.num_heads, D // self.num_heads)
        return x.transpose(0, 1, 3, 2, 4)  # (B, nW, h, N, d)

    def _bias(self, window):
        """B of every head, (h, N, N). A smaller window knows the middle of the table: its distances are shorter."""
        table = self.bias_table
        if window != self.window:
            (M, N) = self.window
            (m, n) = window
            table = table.reshape(2 * M - 1, 2 * N - 1, self.num_heads)[M - m : M + m - 1, N - n : N + n - 1]
            table = table.reshape(-1, self.num_heads)
        return ops.take(table, _index(window, table.device), axis=0).transpose(2, 0, 1)


@functools.lru_cache(maxsize=64)
def _mask(height, width, window, shift, device):
    """`shifted_window_mask` on a device with an axis for heads, kept for the next batch: sizes of maps are few."""
    return backend.to_device(shifted_window_mask(height, width, window, shift)[:, None], device)


@functools.lru_cache(maxsize=64)
def _index(window, device):
    return backend.to_device(relative_position_index(window), device)


def padded(x, rows, columns, axis=1):
    """Zeros at the bottom and right until height and width (at `axis` and behind it) are multiples."""
    height = -x.shape[axis] % rows
    width = -x.shape[axis + 1] % columns
    if not (height or width):
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis : axis + 2] = (0, height), (0, width)
    return ops.pad(x, widths)
