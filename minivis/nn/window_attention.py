"""Attention in windows of a map, shifted or not, with a learned bias for every relative position: the core of Swin.

Not here: partitioning and shifting (vision/windows.py), the Swin block and model (models/swin.py).
"""

import functools

import numpy as np

from minivis import backend, ops
from minivis.nn import init
from minivis.nn.attention import MultiHeadAttention
from minivis.nn.module import Module, Parameter
from minivis.vision.windows import (
    cyclic_shift,
    pad_to_multiple,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)

__all__ = ["WindowAttention"]


class WindowAttention(Module):
    """Self-attention among the tokens of each window of a map, with a learned bias for each relative position.

    .. math:: Y = \\mathrm{softmax}\\Big(\\frac{Q K^T}{\\sqrt d} + B\\Big) V, \\qquad B_{ij} = \\hat B[I_{ij}]

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    window : (int, int)
        Height M_h and width M_w of a window, in tokens. Each head has (2 M_h - 1)(2 M_w - 1) biases.
    shift : (int, int)
        How far the windows are shifted down and to the right, in tokens.
    shrink : bool, default True
        On a map that is not larger than the window, use one window of the map's size and no shift.
    qkv_bias : bool, default True
        Whether queries, keys and values have a bias.
    attention_dropout : float, default 0
        Probability of dropping an attention weight.
    rng : numpy.random.Generator, int or None
        Draws the starting values: as for `MultiHeadAttention`; the bias table is normal with standard deviation 0.02.

    Attributes
    ----------
    attention : MultiHeadAttention
        The projections and heads, shared by all windows.
    bias_table : Parameter, shape ((2 M_h - 1)(2 M_w - 1), h)
        The biases of each head.

    Notes
    -----
    If windows do not fill the map, it is padded with zeros at the bottom and right. The padding is not masked: tokens
    attend to it, as in the published models.

    References
    ----------
    Liu et al. 2021, section 3.2 and equation 4. Slides ``A/44-windows-and-merging``, ``A/46-shifted-windows``,
    ``A/47-cyclic-shift``, ``A/49-relative-position-bias``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.nn import looking
    >>> layer = WindowAttention(8, 2, (4, 4), (2, 2))
    >>> with looking(layer) as seen:
    ...     y = layer(np.zeros((1, 8, 12, 8), np.float32))
    >>> y.shape, {name: array.shape for name, array in seen.items()}
    ((1, 8, 12, 8), {'windows': (6, 16), 'attention.weights': (1, 6, 2, 16, 16)})
    """

    def __init__(
        self, width, heads, window, shift, shrink=True, qkv_bias=True, attention_dropout=0.0, *, rng=None
    ):
        rng = init.generator(rng)
        self.attention = MultiHeadAttention(width, heads, attention_dropout, rng=rng)
        if not qkv_bias:
            self.attention.query.bias = self.attention.key.bias = self.attention.value.bias = None
        self.window = window
        self.shift = shift
        self.shrink = shrink
        rows = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.bias_table = Parameter(init.trunc_normal((rows, heads), 0.02, rng))

    def forward(self, x):
        """Pad, shift and partition the map into windows, attend in each window, then undo these steps.

        Inside `looking`, the layer shows ``windows``, (nW, N): the position of each token on the map as the number y W + x,
        or -1 in the padding. Its ``attention`` shows the weights, (B, nW, h, N, N).

        Parameters
        ----------
        x : ndarray or Tensor, shape (B, H, W, D)
            Maps.

        Returns
        -------
        Tensor, shape (B, H, W, D)
        """
        B, H, W, D = x.shape
        window, shift = self._fitted(H, W)
        m, n = window
        x = pad_to_multiple(x, m, n)
        height, width = x.shape[1:3]
        self.show(windows=lambda: _places(H, W, window, shift))
        windows = _cut(x, window, shift)  # (B, nW, N, D)
        mask = _mask(height, width, window, shift, windows.device) if any(shift) else None
        windows = self.attention(windows, mask=mask, bias=self._bias(window))
        x = window_reverse(windows.reshape(-1, m, n, D), window, height, width)
        if any(shift):
            x = cyclic_shift(x, (-shift[0], -shift[1]))
        return x if (height, width) == (H, W) else x[:, :H, :W]

    def _fitted(self, height, width):
        """Window and shift for a map. A map that is not larger than the window gets one window and no shift."""
        if self.shrink and (height <= self.window[0] or width <= self.window[1]):
            return (min(self.window[0], height), min(self.window[1], width)), (0, 0)
        return self.window, self.shift

    def _bias(self, window):
        """The bias B of every head, (h, N, N). A smaller window uses the middle of the table: its distances are shorter."""
        table = self.bias_table
        if window != self.window:
            (M, N) = self.window
            (m, n) = window
            heads = table.shape[1]
            table = table.reshape(2 * M - 1, 2 * N - 1, heads)[M - m : M + m - 1, N - n : N + n - 1]
            table = table.reshape(-1, heads)
        return ops.take(table, _index(window, table.device), axis=0).transpose(2, 0, 1)


def _cut(x, window, shift):
    """Shift maps (B, H, W, D) and partition them into the tokens of their windows, (B, nW, N, D)."""
    B, H, W, D = x.shape
    N = window[0] * window[1]
    if any(shift):
        x = cyclic_shift(x, shift)
    return window_partition(x, window).reshape(B, H * W // N, N, D)


def _places(height, width, window, shift):
    """The positions on the map of the tokens of each window, (nW, N)."""
    numbers = np.arange(height * width).reshape(1, height, width, 1) + 1
    return _cut(pad_to_multiple(numbers, *window), window, shift)[0, :, :, 0] - 1


@functools.lru_cache(maxsize=64)
def _mask(height, width, window, shift, device):
    """`shifted_window_mask` on a device, cached for the next batch, because maps have only a few sizes."""
    return backend.to_device(shifted_window_mask(height, width, window, shift), device)


@functools.lru_cache(maxsize=64)
def _index(window, device):
    return backend.to_device(relative_position_index(window), device)
