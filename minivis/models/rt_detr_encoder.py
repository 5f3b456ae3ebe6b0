"""The hybrid encoder of RT-DETR: attention inside the coarsest map, convolutions between the maps.

Zhao et al., "DETRs beat YOLOs on real-time object detection", CVPR 2024, section 4.2 and figures 3 to 5. The blocks: Ding et
al., "RepVGG: making VGG-style ConvNets great again", CVPR 2021. Slides ``A/69-rt-detr-fires``, ``A/70-rt-detr-pipes``.
Not here: the backbone (resnet.py), the choice of queries and the decoder (rt_detr.py).
"""

import functools

import numpy as np

from minivis import ops
from minivis.models.common import he_normal, map_to_tokens, tokens_to_map
from minivis.models.mask_classification import constant
from minivis.nn import BatchNorm2d, Conv2d, Module, Sequential, SiLU, init
from minivis.vision.fusion import fuse_conv_norm
from minivis.vision.position_codes import sine_position_code

__all__ = ["CSPRepLayer", "HybridEncoder", "RepVGGBlock"]

BLOCKS = 3  # RepVGG blocks in a CSPRepLayer


def conv_norm(in_channels, out_channels, kernel_size, rng, stride=1, activation=True):
    """A convolution without bias, a batch norm and, with ``activation``, a SiLU."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        bias=False,
        weight_init=he_normal,
        rng=rng,
    )
    return Sequential(conv, BatchNorm2d(out_channels), *([SiLU()] if activation else []))


class RepVGGBlock(Module):
    """A 3 x 3 convolution and a 1 x 1 convolution side by side, each with a batch norm. After training they are one.

    .. math:: y = \\mathrm{SiLU}\\bigl(\\mathrm{BN}_3(W_3 * x) + \\mathrm{BN}_1(W_1 * x)\\bigr)

    Parameters
    ----------
    channels : int
        Of the map, in and out.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    References
    ----------
    Ding et al. 2021, figure 2 and section 3.3.

    Examples
    --------
    >>> block = RepVGGBlock(4)
    >>> weight, bias = block.fused()
    >>> weight.shape, bias.shape
    ((4, 4, 3, 3), (4,))
    """

    def __init__(self, channels, rng=None):
        rng = init.generator(rng)
        self.conv1 = conv_norm(channels, channels, 3, rng, activation=False)
        self.conv2 = conv_norm(channels, channels, 1, rng, activation=False)

    def forward(self, x):
        return ops.silu(self.conv1(x) + self.conv2(x))

    def fused(self):
        """The weight and the bias of the one 3 x 3 convolution that computes the same before the SiLU, in evaluation.

        Returns
        -------
        weight, bias : ndarray, shapes (C, C, 3, 3) and (C,)
        """
        found = []
        for conv, norm in (self.conv1, self.conv2):
            statistics = (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data)
            found.append(fuse_conv_norm(conv.weight.data, *statistics, eps=norm.eps))
        (large, large_bias), (small, small_bias) = found
        weight = large.copy()
        weight[:, :, 1:2, 1:2] += small  # a 1 x 1 filter is a 3 x 3 filter that reads its middle alone
        return weight, large_bias + small_bias


class CSPRepLayer(Module):
    """Fuse two maps: half of the channels pass through RepVGG blocks, the other half goes around them.

    .. math:: y = c_3\\bigl(R(c_1(x)) + c_2(x)\\bigr)

    Parameters
    ----------
    in_channels, out_channels : int
        Of the two maps together, and of the result.
    expansion : float, default 1
        Channels of the two branches, as a multiple of ``out_channels``. With 1 there is no c_3.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    References
    ----------
    Zhao et al. 2024, figure 5.

    Examples
    --------
    >>> import numpy as np
    >>> CSPRepLayer(8, 4, 0.5)(np.ones((1, 8, 5, 6), np.float32)).shape
    (1, 4, 5, 6)
    """

    def __init__(self, in_channels, out_channels, expansion=1.0, rng=None):
        rng = init.generator(rng)
        inner = int(out_channels * expansion)
        init.check_sizes("CSPRepLayer", in_channels=in_channels, out_channels=out_channels, inner=inner)
        self.conv1 = conv_norm(in_channels, inner, 1, rng)
        self.conv2 = conv_norm(in_channels, inner, 1, rng)
        self.blocks = [RepVGGBlock(inner, rng) for _ in range(BLOCKS)]
        self.conv3 = conv_norm(inner, out_channels, 1, rng) if inner != out_channels else None

    def forward(self, x):
        y = self.conv1(x)
        for block in self.blocks:
            y = block(y)
        y = y + self.conv2(x)
        return self.conv3(y) if self.conv3 else y


class HybridEncoder(Module):
    """From the backbone's maps to as many maps of one width, each of which knows of the others.

    Self-attention over all maps is what makes a deformable DETR slow. Here only the coarsest map has it ("AIFI"); it says
    which things there are. Then convolutions carry this to the finer maps and what they find back to the coarser ones
    ("CCFM"): a feature pyramid from coarse to fine, and one from fine to coarse.

    Parameters
    ----------
    channels : sequence of int
        Channels of the maps, finest first.
    width : int, default 256
        Channels of every map inside, divisible by 4.
    heads, depth, mlp_width : int, defaults 8, 1 and 1024
        Of the transformer layers on the coarsest map. With depth 0 there is no attention.
    expansion : float, default 1
        As for `CSPRepLayer`.
    dropout : float, default 0
        In the transformer layers.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive or ``width`` is not divisible by 4.

    References
    ----------
    Zhao et al. 2024, section 4.2 and figure 4.

    Examples
    --------
    >>> import numpy as np
    >>> maps = [np.ones((1, 3, 8, 12), np.float32), np.ones((1, 5, 4, 6), np.float32)]
    >>> [x.shape for x in HybridEncoder((3, 5), 8, 2, 1, 16)(maps)]
    [(1, 8, 8, 12), (1, 8, 4, 6)]
    """

    def __init__(
        self, channels, width=256, heads=8, depth=1, mlp_width=1024, expansion=1.0, dropout=0.0, rng=None
    ):
        from minivis.models.detr import EncoderLayer

        init.check_sizes(
            "HybridEncoder", channels=tuple(channels), width=width, heads=heads, depth=depth or 1
        )
        if width % 4:
            raise ValueError(
                f"HybridEncoder: width must be divisible by 4, for the position codes, got {width}"
            )
        rng = init.generator(rng)
        finer = range(len(channels) - 1)
        self.input_proj = [conv_norm(C, width, 1, rng, activation=False) for C in channels]
        self.layers = [EncoderLayer(width, heads, mlp_width, dropout, "gelu", rng=rng) for _ in range(depth)]
        self.lateral = [conv_norm(width, width, 1, rng) for _ in finer]
        self.top_down = [CSPRepLayer(2 * width, width, expansion, rng) for _ in finer]
        self.downsample = [conv_norm(width, width, 3, rng, stride=2) for _ in finer]
        self.bottom_up = [CSPRepLayer(2 * width, width, expansion, rng) for _ in finer]

    def forward(self, maps):
        """Maps (B, C_i, H_i, W_i), finest first, to maps (B, width, H_i, W_i)."""
        maps = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        y = self._attend(maps[-1])
        down = []  # coarsest first
        for lateral, fuse, finer in zip(self.lateral, self.top_down, reversed(maps[:-1]), strict=True):
            down.append(lateral(y))
            wider = ops.interpolate(down[-1], size=tuple(finer.shape[2:]), mode="nearest")
            y = fuse(ops.concatenate([wider, finer], axis=1))
        up = [y]  # finest first
        for shrink, fuse, coarser in zip(self.downsample, self.bottom_up, reversed(down), strict=True):
            up.append(fuse(ops.concatenate([shrink(up[-1]), coarser], axis=1)))
        return up

    def _attend(self, x):
        """Self-attention of the pixels of the coarsest map (B, D, H, W)."""
        grid = tuple(x.shape[2:])
        self.show(grid=lambda: np.array(grid))
        tokens = map_to_tokens(x)  # (B, H W, D)
        codes = constant(_codes, tokens, *grid, x.shape[1])
        for layer in self.layers:
            tokens = layer(tokens, codes, None)
        return tokens_to_map("HybridEncoder", tokens, grid)


@functools.lru_cache(32)
def _codes(height, width, dim, dtype):
    """The sine code of every pixel of a map, (H W, D): all sines, then all cosines, of one axis, then of the other.

    The published code numbers the pixels column by column, and the tokens row by row. On a square map, the only kind it was
    trained on, this just exchanges the axes. On others it mixes them up; predictions should be the published ones there too.
    """
    code = sine_position_code(width, height, dim, dtype=dtype).reshape(-1, 2, dim // 4, 2)
    return code.swapaxes(2, 3).reshape(-1, dim)
