"""The norms as layers. They own scale, shift and running statistics; LocalResponseNorm owns nothing.

Not here: the mathematics (ops/normalization.py).
"""

import math

import numpy as np

from minivis import ops
from minivis.nn import init
from minivis.nn.module import Module, Parameter, as_tensor

__all__ = ["BatchNorm2d", "FrozenBatchNorm2d", "GroupNorm", "LayerNorm", "LocalResponseNorm"]


class _Norm(Module):
    """Base class: scale and shift start at 1 and 0, or there are none."""

    def _affine(self, shape, affine):
        self.weight = Parameter(init.ones(shape)) if affine else None
        self.bias = Parameter(init.zeros(shape)) if affine else None


class LayerNorm(_Norm):
    """Standardise each token over its features, then scale and shift.

    .. math:: y = \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}} \\odot w + b

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The lengths of the last axes, which are standardised together.
    eps : float, default 1e-5
        Added to the variance. The default is torch's; the published ViTs have 1e-6.
    elementwise_affine : bool, default True
        Whether there are a weight and a bias.

    Attributes
    ----------
    weight, bias : Parameter, shape normalized_shape

    Raises
    ------
    ValueError
        If ``normalized_shape`` is not made of whole numbers of at least 1.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", 2016, equation 3.

    Examples
    --------
    >>> LayerNorm(4)(np.ones((2, 4), np.float32)).shape
    (2, 4)
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True):
        init.check_sizes("LayerNorm", normalized_shape=normalized_shape)
        shape = (
            tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        )
        self.normalized_shape, self.eps = shape, eps
        self._affine(shape, elementwise_affine)

    def forward(self, x):
        return as_tensor(ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps))

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps:g}"


class GroupNorm(_Norm):
    """Standardise each sample over groups of channels and all positions, then scale and shift each channel.

    Parameters
    ----------
    num_groups : int
        Number of groups; it must divide ``num_channels``.
    num_channels : int
        C of the maps (B, C, ...).
    eps : float, default 1e-5
        Added to the variance.
    affine : bool, default True
        Whether there are weight and bias, shape (C,).

    Raises
    ------
    ValueError
        If the groups do not divide the channels.

    References
    ----------
    Wu and He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> GroupNorm(2, 4)(np.ones((1, 4, 3, 3), np.float32)).shape
    (1, 4, 3, 3)
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        init.check_sizes("GroupNorm", num_channels=num_channels)
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_groups} groups do not divide {num_channels} channels")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self._affine((num_channels,), affine)

    def forward(self, x):
        return as_tensor(ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps))

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}"


class BatchNorm2d(_Norm):
    """Standardise each channel over batch and positions in training, with running statistics in evaluation.

    Parameters
    ----------
    num_features : int
        C of the maps (B, C, H, W).
    eps : float, default 1e-5
        Added to the variance.
    momentum : float or None, default 0.1
        Weight of the new batch in the running statistics, as in torch. None gives all batches the same weight.
    affine : bool, default True
        Whether there are weight and bias, shape (C,).
    track_running_stats : bool, default True
        False uses the batch's own statistics in evaluation too.

    Attributes
    ----------
    running_mean, running_var : ndarray, shape (C,)
        Buffers. The running variance is the unbiased one.
    num_batches_tracked : ndarray, shape (), int64
        A buffer: how many batches have updated the running statistics.

    Raises
    ------
    ValueError
        If the input does not have four axes or, in training, has fewer than two values in each channel.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.

    Examples
    --------
    >>> BatchNorm2d(3)(np.ones((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        init.check_sizes("BatchNorm2d", num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self._affine((num_features,), affine)
        self.running_mean = init.zeros((num_features,)) if track_running_stats else None
        self.running_var = init.ones((num_features,)) if track_running_stats else None
        self.num_batches_tracked = np.zeros((), np.int64) if track_running_stats else None

    def forward(self, x):
        x = as_tensor(x)
        if x.ndim != 4:
            raise ValueError(f"BatchNorm2d: x must be (B, C, H, W) (x: {tuple(x.shape)})")
        tracked = self.running_mean is not None
        momentum = self.momentum
        if self.training and tracked:
            if math.prod(x.shape) > x.shape[1]:  # otherwise the op raises, and the batch does not count
                self.num_batches_tracked += 1
            momentum = 1 / max(1, int(self.num_batches_tracked)) if momentum is None else momentum
        batch = self.training or not tracked
        return as_tensor(
            ops.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                batch,
                momentum or 0.0,
                self.eps,
            )
        )

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}"


class FrozenBatchNorm2d(Module):
    """Batch norm that does not learn: statistics, scale and shift are fixed.

    .. math:: y = \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}}\\, w + b

    A detector trains on batches of a few large images, whose statistics are noisy. It keeps the statistics of the
    pretrained classifier.

    Parameters
    ----------
    num_features : int
        C of the maps (B, C, H, W).
    eps : float, default 1e-5
        Added to the variance. Torchvision's published detectors have 0.

    Attributes
    ----------
    weight, bias, running_mean, running_var : ndarray, shape (C,)
        Buffers: saved and moved, but never trained.

    Raises
    ------
    ValueError
        If the input is not (B, C, H, W).

    Notes
    -----
    Differentiable in the input only. It costs one multiply and one add for each pixel and channel.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, section 4.

    Examples
    --------
    >>> FrozenBatchNorm2d(3)(np.ones((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    """

    def __init__(self, num_features, eps=1e-5):
        init.check_sizes("FrozenBatchNorm2d", num_features=num_features)
        self.num_features, self.eps = num_features, eps
        self.weight = init.ones((num_features,))
        self.bias = init.zeros((num_features,))
        self.running_mean = init.zeros((num_features,))
        self.running_var = init.ones((num_features,))

    def forward(self, x):
        x = as_tensor(x)
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(
                f"FrozenBatchNorm2d: x must be (B, C={self.num_features}, H, W) (x: {tuple(x.shape)})"
            )
        statistics = self.running_mean, self.running_var
        return as_tensor(ops.batch_norm(x, *statistics, self.weight, self.bias, eps=self.eps))

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps:g}"


class LocalResponseNorm(Module):
    """Divide each number by a power of the squares in the channels around it; it owns no parameters.

    .. math:: y_i = \\frac{x_i}{\\left( k + \\alpha \\sum_{j = i - n/2}^{i + n/2} x_j^2 \\right)^\\beta}

    Parameters
    ----------
    size : int, default 5
        n, the number of channels in the sum.
    alpha, beta, k : float, defaults 1e-4, 0.75, 2.0
        As for `minivis.ops.local_response_norm`: the paper's, where alpha is not divided by ``size``.

    Raises
    ------
    ValueError
        If ``size`` is not a whole number of at least 1.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS 2012,
    section 3.3. Slide ``Z/13-alexnet``.

    Examples
    --------
    >>> LocalResponseNorm()(np.ones((2, 6, 3, 3), np.float32)).shape
    (2, 6, 3, 3)
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=2.0):
        init.check_sizes("LocalResponseNorm", size=size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        return ops.local_response_norm(as_tensor(x), self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
