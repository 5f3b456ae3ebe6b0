"""MaxPool2d and AvgPool2d: pooling as layers, which own nothing, for models that are lists of layers.

Not here: the mathematics (ops/pool.py).
"""

from minivis import ops
from minivis.nn import init
from minivis.nn.module import Module, as_tensor
from minivis.pairs import pair

__all__ = ["AvgPool2d", "MaxPool2d"]


class _Pool2d(Module):
    """Base class: the windows, and their description."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False):
        init.check_sizes(type(self).__name__, kernel_size=kernel_size)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode

    def extra_repr(self):
        words = f"{self.kernel_size}"
        if pair(self.stride) != pair(self.kernel_size):
            words += f", stride={self.stride}"
        words += f", padding={self.padding}" if pair(self.padding) != (0, 0) else ""
        return words + (", ceil_mode=True" if self.ceil_mode else "")


class MaxPool2d(_Pool2d):
    """The largest number of each window.

    Parameters
    ----------
    kernel_size, stride, padding : int or (int, int), defaults -, ``kernel_size``, 0
        As for `minivis.ops.max_pool2d`.
    ceil_mode : bool, default False
        Whether a last window that is not full counts too.

    Raises
    ------
    ValueError
        If ``kernel_size`` is not a whole number of at least 1.

    References
    ----------
    Slide ``C/90-layer-types``.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2d(3, stride=2)(np.zeros((1, 2, 7, 5), np.float32)).shape
    (1, 2, 3, 2)
    """

    def forward(self, x):
        return ops.max_pool2d(
            as_tensor(x), self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode
        )


class AvgPool2d(_Pool2d):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding : int or (int, int), defaults -, ``kernel_size``, 0
        As for `minivis.ops.avg_pool2d`.
    ceil_mode : bool, default False
        Also take the mean of a window that reaches beyond the map, over what is inside.

    Raises
    ------
    ValueError
        If ``kernel_size`` is not a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2)(np.ones((1, 2, 6, 4), np.float32)).shape
    (1, 2, 3, 2)
    """

    def forward(self, x):
        return ops.avg_pool2d(as_tensor(x), self.kernel_size, self.stride, self.padding, self.ceil_mode)
