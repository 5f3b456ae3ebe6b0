"""Feature pyramid: maps of every resolution, each with the knowledge of the coarsest.

Lin et al., "Feature pyramid networks for object detection", CVPR 2017, figure 3.
Not here: the backbone whose maps go in and the detectors that read the pyramid (models/).
"""

import math

from minivis import ops
from minivis.nn import init
from minivis.nn.conv import Conv2d
from minivis.nn.module import Module

__all__ = ["FeaturePyramid"]


def kaiming_by_inputs(shape, rng):
    """The pyramid's starting values: uniform, with variance 1 / (inputs of a filter)."""
    return init.uniform(shape, math.sqrt(3 / math.prod(shape[1:])), rng)


class FeaturePyramid(Module):
    """Add to each map of a backbone the next coarser map, enlarged; all maps get the same number of channels.

    .. math:: M_l = W_l C_l + \\mathrm{up}(M_{l+1}), \\qquad P_l = V_l * M_l

    W is a 1 x 1 and V a 3 x 3 convolution, with biases and without norm or activation; up repeats each number to the size
    of the finer map. Fine maps of a backbone know where edges are, coarse ones what is there; :math:`P_l` knows both.

    Parameters
    ----------
    channels : sequence of int
        Channels of the backbone's maps, finest first.
    width : int, default 256
        Channels of every map of the pyramid.
    levels : int, optional
        Number of maps that come out, finest first; default one for each map of the backbone. With one more there is a map
        of half the resolution of the coarsest: every second number of it. With fewer the coarser maps are only added.
    rng : numpy.random.Generator, int or None
        Draws the starting values: uniform, with variance 1 / (inputs of a filter). None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, there are more levels than maps and one, or, when called, the maps do not fit.

    References
    ----------
    Lin et al. 2017, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> pyramid = FeaturePyramid((8, 16), width=4, levels=3)
    >>> maps = pyramid([np.zeros((1, 8, 6, 6), np.float32), np.zeros((1, 16, 3, 3), np.float32)])
    >>> [x.shape for x in maps]
    [(1, 4, 6, 6), (1, 4, 3, 3), (1, 4, 2, 2)]
    """

    def __init__(self, channels, width=256, levels=None, rng=None):
        levels = len(channels) if levels is None else levels
        init.check_sizes("FeaturePyramid", channels=tuple(channels), width=width, levels=levels)
        if levels > len(channels) + 1:
            raise ValueError(
                f"FeaturePyramid: {len(channels)} maps make at most {len(channels) + 1} levels, got {levels}"
            )
        rng = init.generator(rng)
        start = {"weight_init": kaiming_by_inputs, "rng": rng}
        self.lateral = [Conv2d(C, width, 1, **start) for C in channels]  # W
        self.output = [Conv2d(width, width, 3, padding=1, **start) for _ in channels[:levels]]  # V
        self.extra = levels > len(channels)

    def forward(self, maps):
        """The maps P of the pyramid, each (B, width, H_l, W_l), of the backbone's maps (B, C_l, H_l, W_l), finest first."""
        if len(maps) != len(self.lateral):
            raise ValueError(
                f"FeaturePyramid: expected {len(self.lateral)} maps, one for each of channels, got {len(maps)}"
            )
        merged = self.lateral[-1](maps[-1])
        sums = [merged]
        for lateral, x in zip(self.lateral[-2::-1], maps[-2::-1], strict=True):
            merged = lateral(x) + ops.interpolate(merged, size=tuple(x.shape[2:]))
            sums.insert(0, merged)
        pyramid = [convolve(x) for convolve, x in zip(self.output, sums[: len(self.output)], strict=True)]
        if self.extra:
            pyramid.append(pyramid[-1][:, :, ::2, ::2])
        return pyramid
