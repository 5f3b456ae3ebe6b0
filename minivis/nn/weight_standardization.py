"""Convolution with standardised filters and TensorFlow's "same" padding, as in the networks called BiT.

Not here: plain convolution (conv.py), norms of maps (norm.py), the network (models/bit.py).
"""

from minivis import ops
from minivis.complaints import named
from minivis.nn.conv import Conv2d
from minivis.ops.conv import sizes
from minivis.pairs import pair

__all__ = ["WeightStandardizedConv2d", "weight_standardized_conv2d"]


def pad_same(x, kernel_size, stride):
    """Surround a map with so many zeros that a kernel with this stride makes ceil(H / stride) rows of it.

    .. math:: p = \\max\\big((\\lceil H / s \\rceil - 1)\\, s + k - H,\\; 0\\big)

    Half of the p rows lie above, the other half below; if p is odd, one more lies below. Columns are treated likewise.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
    kernel_size, stride : int or (int, int)

    Returns
    -------
    ndarray or Tensor, shape (B, C, H + p, W + q)
    """
    widths = [(0, 0), (0, 0)]
    for length, k, s in zip(x.shape[2:], pair(kernel_size), pair(stride), strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        widths.append((total // 2, total - total // 2))
    return ops.pad(x, widths) if any(after for _, after in widths) else x


@named
def weight_standardized_conv2d(x, weight, stride=1, padding="same", eps=1e-8):
    """Convolve with filters that are standardised first: each has mean 0 and variance 1 over its inputs.

    .. math:: \\hat w_o = \\frac{w_o - \\mu_o}{\\sqrt{\\sigma_o^2 + \\epsilon}}, \\qquad
        y_{b,o,i,j} = \\sum_{c,m,n} \\hat w_{o,c,m,n}\\; x_{b,c,s i+m,s j+n}

    The mean and the (biased) variance are those of one filter, over channels, rows and columns. A change of a filter's mean
    or scale then changes nothing, as group norm makes it of the map: with both, a network trains well on batches of one
    image.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps.
    weight : ndarray or Tensor, shape (O, C, kh, kw)
        Filters as they are stored: not standardised.
    stride : int or (int, int), default 1
        Rows and columns from one window to the next.
    padding : "same", int or (int, int), default "same"
        Zeros around x. "same" is TensorFlow's: the output has ceil(H / stride) rows. Where the number of zeros is odd, the
        odd row lies below, and the odd column right. A number is for both sides, as in `minivis.ops.conv2d`.
    eps : float, default 1e-8
        Added to the variance.

    Returns
    -------
    ndarray or Tensor, shape (B, O, H', W')
        In the dtype of ``x``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or ``padding`` is another text.

    Notes
    -----
    Differentiable in ``x`` and ``weight``; the gradient of a filter is orthogonal to constants and, up to eps, to the filter.
    The same padding is not symmetric: a 3 x 3 kernel with stride 2 on 224 rows has no zeros above and one row below. The
    first published networks, written in JAX, divide by the standard deviation plus 1e-5 instead.

    References
    ----------
    Qiao et al., "Micro-batch training with batch-channel normalization and weight standardization", 2019, equation 5;
    Kolesnikov et al., "Big Transfer (BiT): general visual representation learning", ECCV 2020, section 3.1. Slide
    ``C/123-resnet-vit-hybrid``.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[1.0, 2.0, 4.0, 8.0]]]])
    >>> weight_standardized_conv2d(x, np.array([[[[1.0, 3.0]]]]), stride=2, eps=0.0)  # the filter becomes -1, 1
    array([[[[1., 4.]]]])
    """
    if weight.ndim != 4 or x.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError("x must be (B, C, H, W) and weight (O, C, kh, kw) with the same C")
    if isinstance(padding, str):
        if padding != "same":
            raise ValueError(f'padding must be "same", a number or two, got {padding!r}')
        strides = sizes("weight_standardized_conv2d", "stride", stride, 2)
        x = pad_same(x, weight.shape[2:], strides)
        padding = 0
    standardised = ops.layer_norm(weight, weight.shape[1:], eps=eps)
    return ops.conv2d(x, standardised, stride=stride, padding=padding)


class WeightStandardizedConv2d(Conv2d):
    """A `Conv2d` without bias whose filters are standardised in every call, with TensorFlow's "same" padding.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride
        As for `Conv2d`.
    padding : "same", int or (int, int), default "same"
        As for `weight_standardized_conv2d`.
    eps : float, default 1e-8
        Added to the variance of a filter.
    weight_init, rng
        As for `Conv2d`.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels, kh, kw)
        Not standardised.

    Raises
    ------
    ValueError
        As for `Conv2d`.

    References
    ----------
    Qiao et al. 2019, equation 5. Slide ``C/123-resnet-vit-hybrid``.

    Examples
    --------
    >>> import numpy as np
    >>> WeightStandardizedConv2d(3, 8, 3, stride=2)(np.ones((1, 3, 7, 4), np.float32)).shape
    (1, 8, 4, 2)
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding="same", eps=1e-8, *, weight_init=None, rng=None
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, 0, bias=False, weight_init=weight_init, rng=rng
        )
        self.padding, self.eps = padding, eps

    def forward(self, x):
        return weight_standardized_conv2d(x, self.weight, self.stride, self.padding, self.eps)

    def extra_repr(self):
        O, C, *kernel = self.weight.shape
        return f"{C}, {O}, {tuple(kernel)}, stride={self.stride}, padding={self.padding}, eps={self.eps:g}"
