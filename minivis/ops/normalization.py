"""Normalisation: layer, group and batch norm, local response norm, and normalising vectors to length 1.

Not here: the layers that own scale, shift and running statistics (nn/norm.py).
"""

import math

from minivis.autograd import primitive, unbroadcast
from minivis.backend import meet, namespace
from minivis.dtypes import whole

__all__ = ["batch_norm", "group_norm", "layer_norm", "local_response_norm", "normalize"]


@primitive(dtypes="met")
def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Standardise each sample over its trailing axes, then scale and shift.

    .. math:: y = \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}} \\odot w + b

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape that ends in ``normalized_shape``.
    normalized_shape : int or tuple of int
        The trailing axes over which mean and (biased) variance are taken.
    weight, bias : ndarray or Tensor, shape normalized_shape, optional
        Scale and shift of every element.
    eps : float, default 1e-5
        Added to the variance. ViT uses 1e-6.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If ``x`` does not end in ``normalized_shape``, or weight or bias do not have that shape.
    TypeError
        If ``normalized_shape`` is something else, such as the weight.

    Notes
    -----
    The gradient is orthogonal to constants and, up to eps, to the standardised input. Memory kept for backward: the
    standardised input.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", 2016, equation 3. Slides ``A/23-encoder``,
    ``C/114-transformer-block``, ``H/8-vit-equations``.

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.array([[1.0, 3.0]]), 2, eps=0.0)
    array([[-1.,  1.]])
    """
    namespace(x, weight, bias)
    shape = checked_shape(x, normalized_shape, weight, bias)
    x, weight, bias = meet(x, weight, bias)
    xhat, pull = standardised(x, tuple(range(-len(shape), 0)), eps)
    y = xhat if weight is None else xhat * weight
    y = y if bias is None else y + bias

    def vjp(g):
        g_x = pull(g if weight is None else g * weight)
        g_weight = None if weight is None else unbroadcast(g * xhat, weight)
        return g_x, None, g_weight, unbroadcast(g, bias)

    return y.astype(x.dtype, copy=False), vjp


def standardised(x, axes, eps):
    """Subtract the mean and divide by the standard deviation: ``(xhat, vjp)``. In float64, where no square overflows.

    A change of the mean or the scale of x does not change xhat: the cotangent of x is (g - mean(g) - xhat mean(g
    xhat)) / s.
    """

    def mean(v):
        return v.mean(axis=axes, keepdims=True, dtype="float64")

    centred = x - mean(x)
    s = namespace(x).sqrt(mean(centred * centred) + eps)  # the biased variance, as in every norm
    xhat = (centred / s).astype(x.dtype)

    def vjp(g):
        return ((g - mean(g) - xhat * mean(g * xhat)) / s).astype(x.dtype)

    return xhat, vjp


def checked_shape(x, normalized_shape, weight, bias):
    """The trailing axes of a layer norm as a tuple of int. Refuses arguments that do not fit."""
    shape = whole(normalized_shape)
    if shape is None:
        raise TypeError(
            f"layer_norm: normalized_shape must be an int or several, such as x.shape[-1]; weight and bias come after it "
            f"(got {type(normalized_shape).__name__})"
        )
    shape = (shape,) if type(shape) is int else shape
    if not shape or tuple(x.shape[-len(shape) :]) != shape or not math.prod(shape):
        raise ValueError(
            f"layer_norm: x must end in normalized_shape {shape}, not empty (x: {tuple(x.shape)})"
        )
    _check_affine("layer_norm", shape, weight=weight, bias=bias)
    return shape


def _check_affine(name, shape, **parameters):
    for key, p in parameters.items():
        if p is not None and tuple(p.shape) != tuple(shape):
            raise ValueError(f"{name}: {key} must have shape {tuple(shape)} ({key}: {tuple(p.shape)})")


@primitive(dtypes="met")
def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Standardise each sample over groups of channels and all positions, then scale and shift each channel.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, ...)
        Feature maps.
    num_groups : int
        Number of groups; it must divide C. With 1 group all channels share statistics; with C groups each channel has
        its own (instance norm).
    weight, bias : ndarray or Tensor, shape (C,), optional
        Scale and shift of each channel.
    eps : float, default 1e-5
        Added to the variance.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If ``num_groups`` does not divide C, or weight or bias are not (C,).

    References
    ----------
    Wu and He, "Group normalization", ECCV 2018, equations 2 and 7.

    Examples
    --------
    >>> import numpy as np
    >>> group_norm(np.array([[1.0, 3.0]]), 1, eps=0.0)
    array([[-1.,  1.]])
    """
    namespace(x, weight, bias)
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups or not math.prod(x.shape[1:]):
        raise ValueError(
            f"group_norm: {num_groups} groups do not divide C of x (B, C, ...) (x: {tuple(x.shape)})"
        )
    _check_affine("group_norm", x.shape[1:2], weight=weight, bias=bias)
    x, weight, bias = meet(x, weight, bias)
    groups = x.reshape(len(x) * num_groups, -1) if len(x) else x.reshape(0, 1)
    axes, column = _channels(x)
    xhat, pull = layer_norm.way(groups, groups.shape[1], eps=eps)
    xhat = xhat.reshape(x.shape)
    y = xhat if weight is None else xhat * weight.reshape(column)
    y = y if bias is None else y + bias.reshape(column)

    def vjp(g):
        h = g if weight is None else g * weight.reshape(column)
        g_x = pull(h.reshape(groups.shape))[0].reshape(x.shape)
        g_weight = None if weight is None else (g * xhat).sum(axis=axes)
        g_bias = None if bias is None else g.sum(axis=axes)
        return g_x, None, like(g_weight, weight), like(g_bias, bias)

    return y.astype(x.dtype, copy=False), vjp


def _channels(x):
    """For x of (B, C, ...): all axes except that of the channels, and the shape in which (C,) broadcasts to x."""
    return (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))


@primitive(dtypes="met", written=("running_mean", "running_var"))
def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Standardise each channel over batch and positions (training) or with running statistics, then scale and shift.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, ...)
        Feature maps, or (B, C) features.
    running_mean, running_var : ndarray, shape (C,), or None
        Statistics for evaluation. In training they are **updated in place**:
        ``running = (1 - momentum) * running + momentum * batch``, the variance unbiased.
    weight, bias : ndarray or Tensor, shape (C,), optional
        Scale and shift of each channel.
    training : bool, default False
        Use the batch's own statistics (with the biased variance) instead of the running ones.
    momentum : float, default 0.1
        torch's convention: the share of the new batch.
    eps : float, default 1e-5
        Added to the variance.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If shapes do not fit, in training with fewer than two values per channel, or in evaluation without statistics.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> batch_norm(np.array([[1.0], [3.0]]), None, None, training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    xp = namespace(x, running_mean, running_var, weight, bias)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x must be (B, C, ...) (x: {tuple(x.shape)})")
    _check_affine(
        "batch_norm",
        x.shape[1:2],
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    x, weight, bias = meet(x, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var")
        mean, variance = (s.astype(x.dtype, copy=False) for s in (running_mean, running_var))
        return _scale_and_shift(xp, x, mean, variance, weight, bias, eps)
    mean, variance, n = _batch_statistics(x)
    if running_mean is not None:
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (variance * (n / (n - 1)) - running_var)
    return _with_own_statistics(xp, x, mean, variance, n, weight, bias, eps)


def _batch_statistics(x):
    """Mean and biased variance of each channel, and the number of values per channel."""
    axes, column = _channels(x)
    n = math.prod(x.shape[a] for a in axes)
    if n < 2:
        raise ValueError(f"batch_norm: training needs more than one value a channel (x: {tuple(x.shape)})")
    mean = x.sum(axis=axes) / n
    centred = x - mean.reshape(column)
    return mean, (centred * centred).sum(axis=axes) / n, n


def _with_own_statistics(xp, x, mean, variance, n, weight, bias, eps):
    """Batch norm with the batch's own mean and variance, which also depend on x."""
    axes, column = _channels(x)
    centred = x - mean.reshape(column)
    inverse = 1 / xp.sqrt(variance + eps)
    scale = inverse if weight is None else weight * inverse
    y = (centred * scale.reshape(column)).astype(x.dtype, copy=False)
    if bias is not None:
        y += bias.reshape(column)

    def vjp(g):
        # A change of a channel's mean or scale does not change xhat = centred inverse. So the cotangent of x is
        # scale (g - mean(g) - xhat mean(g xhat)). The two sums are the cotangents of bias and weight.
        total = g.sum(axis=axes)
        along = (g * centred).sum(axis=axes)
        g_x = centred * (-along * inverse * inverse / n).reshape(column)
        g_x += g
        g_x -= (total / n).reshape(column)
        g_x *= scale.reshape(column)
        g_x = g_x.astype(x.dtype, copy=False)
        return g_x, None, None, like(along * inverse, weight), like(total, bias)

    return y, vjp


def _scale_and_shift(xp, x, mean, variance, weight, bias, eps):
    """Batch norm with given statistics: multiply each channel by a factor and add a shift."""
    axes, column = _channels(x)
    inverse = 1 / xp.sqrt(variance + eps)
    scale = inverse if weight is None else weight * inverse
    shift = -mean * scale if bias is None else bias - mean * scale
    scale, shift = (p.reshape(column).astype(x.dtype, copy=False) for p in (scale, shift))
    y = x * scale
    y += shift

    def vjp(g):
        def g_weight():
            centred = x - mean.reshape(column)
            return ((g * centred).sum(axis=axes) * inverse).astype(weight.dtype, copy=False)

        g_bias = None if bias is None else g.sum(axis=axes).astype(bias.dtype, copy=False)
        return lambda: g * scale, None, None, None if weight is None else g_weight, g_bias

    return y, vjp


def like(g, parameter):
    """A cotangent in the shape and dtype of its parameter; None if the parameter is None."""
    return None if parameter is None else g.reshape(parameter.shape).astype(parameter.dtype, copy=False)


@primitive
def local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
    """Divide each number by a power of the squares in the channels around it: strong neighbours weaken each other.

    .. math:: y_i = \\frac{x_i}{\\left( k + \\alpha \\sum_{j = i - n/2}^{i + n/2} x_j^2 \\right)^\\beta}

    The sum runs over n channels at the same position; channels that do not exist count as 0.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, ...)
        Feature maps.
    size : int, default 5
        n, the number of channels in the sum. With an even number there is one more before channel i than after it.
    alpha : float, default 1e-4
        Factor of the sum, as in the paper. PyTorch and Caffe divide alpha by ``size``: pass them ``alpha * size``.
    beta : float, default 0.75
        The power.
    k : float, default 2.0
        Added to the sum, so that nothing is divided by 0.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If ``x`` has no channels (B, C, ...), ``size`` is not a whole number of at least 1, ``alpha`` is negative or
        ``k`` not positive.

    Notes
    -----
    The output is an odd function of x, and never larger in size than x / k^beta. Memory kept for backward: x and the
    sum, in float64.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS 2012,
    section 3.3. Slide ``Z/13-alexnet``.

    Examples
    --------
    >>> import numpy as np
    >>> local_response_norm(np.full((1, 5, 1), 10.0))[0, :, 0].round(4)
    array([5.88  , 5.8584, 5.8369, 5.8584, 5.88  ])
    """
    namespace(x)
    if x.ndim < 2 or type(whole(size)) is not int or size < 1 or alpha < 0 or k <= 0:
        raise ValueError(
            f"local_response_norm: needs x (B, C, ...), size of at least 1, alpha of at least 0 and k above 0 "
            f"(x: {tuple(x.shape)}, size {size}, alpha {alpha}, k {k})"
        )
    before = size // 2
    after = size - 1 - before
    wide = x.astype("float64")  # where no square of a float32 overflows
    s = k + alpha * _channels_around(wide * wide, before, after)
    y = wide * s**-beta

    def vjp(g):
        # channel j stands in the sums of the channels around it: the window the other way around
        through_sums = _channels_around(g * y / s, after, before)
        return ((g * s**-beta - 2 * alpha * beta * wide * through_sums).astype(x.dtype),)

    return y.astype(x.dtype), vjp


def _channels_around(x, before, after):
    """For each channel of x (B, C, ...) the sum of the channels from ``before`` channels before it to ``after`` after it."""
    C = x.shape[1]
    padded = namespace(x).pad(x, ((0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)))
    total = padded[:, :C]
    for i in range(1, before + after + 1):
        total = total + padded[:, i : i + C]
    return total


@primitive
def normalize(x, p=2.0, axis=1, eps=1e-12):
    """Scale vectors along an axis to length 1.

    .. math:: y = \\frac{x}{\\max(\\lVert x \\rVert_p, \\epsilon)}

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    p : float, default 2
        Which norm; 2 is the Euclidean length.
    axis : int, default 1
        The axis along which a vector lies.
    eps : float, default 1e-12
        Vectors shorter than this are divided by it, so that a zero vector stays zero and its gradient is finite.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If the axis is not there, or ``p`` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> normalize(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    xp = namespace(x)
    if not -x.ndim <= axis < x.ndim or p < 1:
        raise ValueError(
            f"normalize: needs an axis of x and p of at least 1 (x: {tuple(x.shape)}, axis {axis}, p {p})"
        )
    magnitude = xp.abs(x)
    largest = magnitude.max(axis=axis, keepdims=True) if x.size else 1
    unit = xp.where(largest > 0, largest, 1)  # divided by it, powers do not overflow and do not all become 0
    norm = unit * ((magnitude / unit) ** p).sum(axis=axis, keepdims=True) ** (1 / p)
    length = xp.maximum(norm, eps).astype(x.dtype, copy=False)
    y = x / length

    def vjp(g):
        along = (g * y).sum(axis=axis, keepdims=True)  # the part of g along the vector
        safe = xp.where(norm > eps, norm, 1)
        slope = xp.sign(x) * (magnitude / safe) ** (p - 1)  # d norm / dx
        return ((g - along * xp.where(norm > eps, slope, 0)) / length,)

    return y, vjp
