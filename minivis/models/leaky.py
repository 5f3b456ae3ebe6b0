"""The leaky ReLU and the convolution with it: the layers that Darknet and the versions of YOLO are made of.

Redmon et al., "You only look once", CVPR 2016, equation 2.
Not here: the networks (darknet.py, yolo.py, yolo_v2.py).
"""

from minivis import ops
from minivis.models.common import NORMS, he_normal
from minivis.nn import Conv2d, Module

__all__ = []

SLOPE = 0.1  # of the negative side


def leaky_relu(x):
    """x where it is positive, otherwise a tenth of it: no unit is without gradient."""
    return ops.maximum(x, SLOPE * x)


class LeakyConv(Module):
    """A convolution that keeps the size of the map (or halves it), a norm if there is one, and `leaky_relu`.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride : int
        As for `Conv2d`.
    norm : {"batch", "frozen", "group"} or None
        Kind of norm. With one, the convolution has no bias.
    rng : numpy.random.Generator
        Draws the starting values, He's.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, norm, rng):
        options = {"padding": kernel_size // 2, "bias": norm is None, "weight_init": he_normal}
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, **options, rng=rng)
        self.norm = NORMS[norm](out_channels) if norm else None

    def forward(self, x):
        y = self.conv(x)
        return leaky_relu(self.norm(y) if self.norm else y)
