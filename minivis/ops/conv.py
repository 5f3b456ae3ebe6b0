"""Convolution in one, two and three dimensions, its transpose, and the patches they are made of (unfold, fold).

Not here: pooling (pool.py), resizing (resample.py), the layers that own the weights (nn/).
"""

import itertools
import math
from collections import namedtuple

from minivis.autograd import primitive
from minivis.backend import meet, namespace
from minivis.dtypes import whole
from minivis.ways import with_ways

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose2d", "fold", "unfold"]

# Where the patches lie. Each field has one number per axis.
Geometry = namedtuple("Geometry", "kernel out stride padding dilation")


@primitive(dtypes="numbers")
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide small filters over an image; every output is the dot product of a filter and the patch under it.

    .. math:: y_{b,o,i,j} = \\beta_o + \\sum_{c,u,v} w_{o,c,u,v}\\; x_{b,\\,c,\\; s i - p + d u,\\; s j - p + d v}

    This is cross-correlation: the filter is not flipped. With groups, output channel o sees only the channels of its
    own group.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps.
    weight : ndarray or Tensor, shape (O, C / groups, kh, kw)
        One filter for each output channel, as in ``torch.nn.Conv2d``.
    bias : ndarray or Tensor, shape (O,), optional
        Added to every position of a channel.
    stride : int or (int, int), default 1
        Pixels the filter moves from one output to the next.
    padding : int or (int, int), default 0
        Zeros around the image, pixels on each side.
    dilation : int or (int, int), default 1
        Pixels between neighbouring elements of the filter.
    groups : int, default 1
        Blocks the channels are divided into; ``groups=C`` gives a depthwise convolution.

    Returns
    -------
    ndarray or Tensor, shape (B, O, H', W')
        ``H' = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1``, and W' likewise. An empty batch gives an
        empty result.

    Raises
    ------
    ValueError
        If the shapes do not fit, the filter is larger than the padded image, or an option is out of range.

    Notes
    -----
    B H' W' O (C / groups) kh kw multiply-adds. The patches become the columns of a matrix, and the convolution is a
    matrix product. Only ``x`` and ``weight`` are kept for backward. The patches are kh kw times as large as ``x``, so
    they are made again.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II. Dumoulin and Visin, "A
    guide to convolution arithmetic for deep learning", 2016, relationship 6. Slides ``A/3-convolution-is-local``,
    ``A/4-parts-without-the-whole``, ``C/79-convolution-stride-1``, ``C/81-convolution-stride-2``,
    ``I/22-convolution-has-fixed-weights``, ``I/24-convolution-is-local``, ``Z/11-convolution-2d``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(image, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def _conv(name, n, x, weight, bias, stride, padding, dilation, groups):
    """conv1d, conv2d and conv3d, for n = 1, 2, 3."""
    namespace(x, weight, bias)
    shapes = checked(name, x, weight, bias, groups, n)
    spatial, kernel = x.shape[2:], weight.shape[2:]
    geometry = geometry_of(name, spatial, kernel, stride, padding, dilation, shapes)
    x, weight, bias = meet(x, weight, bias)
    y = correlate(x, weight, geometry, groups)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * n)

    def vjp(g):
        return (
            lambda: spread(g, weight, spatial, geometry, groups).astype(x.dtype, copy=False),
            lambda: weigh(x, g, weight, geometry, groups).astype(weight.dtype, copy=False),
            _bias_cotangent(g, bias),
        )

    return y, vjp


def _bias_cotangent(g, bias):
    return None if bias is None else g.sum(axis=(0, *range(2, g.ndim))).astype(bias.dtype, copy=False)


# The three products of a convolution y = w * x. Each is linear in both of its arguments, and its gradients are the
# other two products. So convolution and transposed convolution share them. Each image and group has its matrix of
# patches; with it, all three are matrix products.


@with_ways
def correlate(x, weight, geometry, groups):
    """y: every output is the dot product of a filter and a patch."""
    patches = _columns(patches_of(x, geometry), groups, geometry)
    filters = weight.reshape(groups, len(weight) // groups, -1)  # (groups, O/groups, C/groups K)
    return (filters @ patches).reshape(len(x), len(weight), *geometry.out)


@with_ways
def spread(y, weight, spatial, geometry, groups):
    """x: for every element of y, add the filter times that element to the map; overlaps add up."""
    filters = weight.reshape(groups, len(weight) // groups, -1)
    patches = filters.swapaxes(1, 2) @ _columns(y, groups, geometry)  # (B, groups, C/groups K, L)
    C = groups * weight.shape[1]
    patches = patches.reshape(len(y), C, math.prod(geometry.kernel), *geometry.out)
    return add_patches(patches, (len(y), C, *spatial), geometry)


@with_ways
def weigh(x, y, weight, geometry, groups):
    """The cotangent of the weight: for every weight, the sum of x y over all pairs (x, y) that it connects."""
    patches = _columns(patches_of(x, geometry), groups, geometry)
    products = _columns(y, groups, geometry) @ patches.swapaxes(2, 3)  # (B, groups, O/groups, C/groups K)
    return products.sum(axis=0).reshape(weight.shape)


def _columns(x, groups, geometry):
    """(B, C, ..., *out) as matrices (B, groups, C / groups ..., L), with one column for each of the L patches."""
    L = math.prod(geometry.out)
    return x.reshape(len(x), groups, math.prod(x.shape[1:]) // (groups * L), L)


@with_ways
def patches_of(x, geometry):
    """Every patch of a map (B, C, *spatial), surrounded by zeros: (B, C, elements of the kernel, *out)."""
    xp = namespace(x)
    if any(geometry.padding):
        x = xp.pad(x, [(0, 0), (0, 0), *((p, p) for p in geometry.padding)])
    return xp.stack([x[where] for where in _elements(geometry)], axis=2)


@with_ways
def add_patches(patches, shape, geometry):
    """The adjoint of `patches_of`: add every patch to a map (B, C, *spatial) at its place."""
    B, C, *spatial = shape
    padded = [n + 2 * p for n, p in zip(spatial, geometry.padding, strict=True)]
    x = namespace(patches).zeros((B, C, *padded), patches.dtype)
    for element, where in enumerate(_elements(geometry)):
        x[where] += patches[:, :, element]
    return x[(..., *(slice(p, p + n) for n, p in zip(spatial, geometry.padding, strict=True)))]


def _elements(geometry):
    """For each element of the kernel, the index into a padded map that picks this element of every patch."""
    for element in itertools.product(*map(range, geometry.kernel)):
        axes = zip(element, geometry.out, geometry.stride, geometry.dilation, strict=True)
        yield (..., *(slice(u * d, u * d + (n - 1) * s + 1, s) for u, n, s, d in axes))


@primitive(dtypes="numbers")
def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide filters along a sequence: `conv2d` with one axis.

    .. math:: y_{b,o,i} = \\beta_o + \\sum_{c,u} w_{o,c,u}\\; x_{b,\\,c,\\; s i - p + d u}

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, L)
        Sequences.
    weight : ndarray or Tensor, shape (O, C / groups, k)
        One filter for each output channel.
    bias : ndarray or Tensor, shape (O,), optional
        Added to every position of a channel.
    stride, padding, dilation, groups : int, defaults 1, 0, 1, 1
        As for `conv2d`.

    Returns
    -------
    ndarray or Tensor, shape (B, O, L')
        ``L' = floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1``.

    Raises
    ------
    ValueError
        As for `conv2d`.

    References
    ----------
    Slide ``Z/4-convolution-1d``.

    Examples
    --------
    >>> import numpy as np
    >>> conv1d(np.array([[[1.0, 4.0, -1.0, 0.0, 2.0]]]), np.array([[[1.0, 2.0, 0.0, -1.0]]]))
    array([[[9., 0.]]])
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


@primitive(dtypes="numbers")
def conv3d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide filters through a volume or a video: `conv2d` with three axes.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, T, H, W)
        Videos (T frames) or volumes.
    weight : ndarray or Tensor, shape (O, C / groups, kt, kh, kw)
        One filter for each output channel.
    bias : ndarray or Tensor, shape (O,), optional
        Added to every position of a channel.
    stride, padding, dilation : int or (int, int, int), defaults 1, 0, 1
        As for `conv2d`.
    groups : int, default 1
        As for `conv2d`.

    Returns
    -------
    ndarray or Tensor, shape (B, O, T', H', W')
        Each length as for `conv2d`.

    Raises
    ------
    ValueError
        As for `conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> conv3d(np.ones((1, 1, 2, 3, 3)), np.ones((1, 1, 2, 3, 3)))
    array([[[[[18.]]]]])
    """
    return _conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


@primitive(dtypes="numbers")
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """For every input pixel, add a copy of the filter times that pixel to the output; overlaps add up.

    .. math:: y_{b,o,\\; s i - p + d u,\\; s j - p + d v} \\mathrel{+}= w_{c,o,u,v}\\; x_{b,c,i,j}

    It is the transpose (adjoint) of `conv2d` with the same weight and options, so it is the gradient of conv2d in its
    input: ``<conv2d(y, w), x> = <y, conv_transpose2d(x, w)>``. With a stride above 1 it enlarges.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Maps.
    weight : ndarray or Tensor, shape (C, O / groups, kh, kw)
        As in ``torch.nn.ConvTranspose2d``: input channels first.
    bias : ndarray or Tensor, shape (O,), optional
        Added to every position of a channel.
    stride : int or (int, int), default 1
        Pixels the filter moves in the output for one pixel of the input.
    padding : int or (int, int), default 0
        Pixels cut off every side of the output.
    output_padding : int or (int, int), default 0
        Rows and columns added at the bottom and right. A convolution with a stride gives inputs of several sizes the
        same output size; this says which input size to return to. Must be below the stride or the dilation.
    groups : int, default 1
        Blocks the channels are divided into.
    dilation : int or (int, int), default 1
        Pixels between neighbouring elements of the filter.

    Returns
    -------
    ndarray or Tensor, shape (B, O, H', W')
        ``H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1``, and W' likewise.

    Raises
    ------
    ValueError
        If the shapes do not fit, nothing is left of the output, or an option is out of range.

    References
    ----------
    Long et al., "Fully convolutional networks for semantic segmentation", 2015, section 3.3. Slides
    ``C/83-transpose-convolution``, ``C/86-transpose-convolution-1d``.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.array([[[[1.0, 2.0]]]]), np.array([[[[1.0, 10.0, 100.0]]]]), stride=(1, 2))
    array([[[[  1.,  10., 102.,  20., 200.]]]])
    """
    name = "conv_transpose2d"
    namespace(x, weight, bias)
    shapes = checked(name, x, weight, bias, groups, 2, transposed=True)
    stride, dilation = sizes(name, "stride", stride, 2), sizes(name, "dilation", dilation, 2)
    padding = sizes(name, "padding", padding, 2, least=0)
    extra = sizes(name, "output_padding", output_padding, 2, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"{name}: output_padding {extra} must be below stride {stride} or dilation {dilation} {shapes}"
        )
    kernel, out = weight.shape[2:], x.shape[2:]
    spatial = tuple(
        (i - 1) * s - 2 * p + d * (k - 1) + e + 1
        for i, k, s, p, d, e in zip(out, kernel, stride, padding, dilation, extra, strict=True)
    )
    if min(spatial) < 1 or not all(out):
        raise ValueError(f"{name}: nothing is left of the output, it would be {spatial} {shapes}")
    # the geometry of the convolution whose transpose this is
    geometry = Geometry(kernel, out, stride, padding, dilation)
    x, weight, bias = meet(x, weight, bias)
    y = spread(x, weight, spatial, geometry, groups)
    if bias is not None:
        y = y + bias[:, None, None]

    def vjp(g):
        return (
            lambda: correlate(g, weight, geometry, groups).astype(x.dtype, copy=False),
            lambda: weigh(g, x, weight, geometry, groups).astype(weight.dtype, copy=False),
            _bias_cotangent(g, bias),
        )

    return y, vjp


@primitive(dtypes="numbers")
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """Cut an image into patches and write each as a column (also called im2col).

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps.
    kernel_size, dilation, padding, stride : int or (int, int), defaults -, 1, 0, 1
        Where the patches lie, as for `conv2d`.

    Returns
    -------
    ndarray or Tensor, shape (B, C kh kw, L)
        L patches in row order. Within a patch, channels come first, then rows, then columns.

    Raises
    ------
    ValueError
        If ``x`` is not (B, C, H, W), or a patch is larger than the padded image.

    Examples
    --------
    >>> import numpy as np
    >>> unfold(np.arange(4.0).reshape(1, 1, 2, 2), kernel_size=(1, 2))
    array([[[0., 2.],
            [1., 3.]]])
    """
    shapes = f"(x: {tuple(x.shape)})"
    if x.ndim != 4:
        raise ValueError(f"unfold: x must be (B, C, H, W) {shapes}")
    kernel = sizes("unfold", "kernel_size", kernel_size, 2)
    geometry = geometry_of("unfold", x.shape[2:], kernel, stride, padding, dilation, shapes)
    shape = x.shape  # for backward, where neither x nor its patches are needed
    B, C = shape[:2]
    K = math.prod(kernel)
    patches = patches_of(x, geometry)  # (B, C, kh kw, H', W')

    def vjp(g):
        return (add_patches(g.reshape(B, C, K, *geometry.out), shape, geometry),)

    return patches.reshape(B, C * K, math.prod(geometry.out)), vjp


@primitive(dtypes="numbers")
def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Add patches to an image, each at its place; overlaps add up. The adjoint of `unfold`.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C kh kw, L)
        Patches as `unfold` gives them.
    output_size : (int, int)
        Height and width of the image, pixels.
    kernel_size, dilation, padding, stride : int or (int, int), defaults -, 1, 0, 1
        Where the patches lie, as for `conv2d`.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H, W)
        With ``(H, W) = output_size``.

    Raises
    ------
    ValueError
        If the number or the length of the patches does not fit ``output_size`` and ``kernel_size``.

    Examples
    --------
    >>> import numpy as np
    >>> fold(np.ones((1, 2, 2)), output_size=(1, 3), kernel_size=(1, 2))
    array([[[[1., 2., 1.]]]])
    """
    shapes = f"(x: {tuple(x.shape)})"
    if x.ndim != 3:
        raise ValueError(f"fold: x must be (B, C kh kw, L) {shapes}")
    spatial, kernel = (
        sizes("fold", "output_size", output_size, 2),
        sizes("fold", "kernel_size", kernel_size, 2),
    )
    geometry = geometry_of("fold", spatial, kernel, stride, padding, dilation, shapes)
    K = math.prod(kernel)
    L = math.prod(geometry.out)
    if x.shape[1] % K or x.shape[2] != L:
        raise ValueError(
            f"fold: an image of {spatial} has L={L} patches of {kernel}, each of C * {K} elements, but x has "
            f"{x.shape[2]} of {x.shape[1]} {shapes}"
        )
    shape = (len(x), x.shape[1] // K, *spatial)
    patches = x.reshape(*shape[:2], K, *geometry.out)
    rows = x.shape
    return add_patches(patches, shape, geometry), lambda g: (patches_of(g, geometry).reshape(rows),)


def geometry_of(name, spatial, kernel, stride, padding, dilation, shapes):
    """Where the patches of a convolution lie: floor((i + 2p - d (k - 1) - 1) / s) + 1 of them along each axis.

    Slide ``C/81-convolution-stride-2``.
    """
    n = len(spatial)
    stride, dilation = sizes(name, "stride", stride, n), sizes(name, "dilation", dilation, n)
    padding = sizes(name, "padding", padding, n, least=0)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    padded = tuple(i + 2 * p for i, p in zip(spatial, padding, strict=True))
    if any(r > i for r, i in zip(reach, padded, strict=True)):
        raise ValueError(
            f"{name}: a kernel that reaches over {reach} is larger than the padded input {padded} {shapes}"
        )
    out = tuple((i - r) // s + 1 for i, r, s in zip(padded, reach, stride, strict=True))
    return Geometry(tuple(kernel), out, stride, padding, dilation)


def checked(name, x, weight, bias, groups, n, transposed=False):
    """Refuse operands that do not fit. Returns their shapes as text for later errors."""
    shapes = f"(x: {tuple(x.shape)}, weight: {tuple(weight.shape)}"
    shapes += ")" if bias is None else f", bias: {tuple(bias.shape)})"
    axes = "B, C, " + ", ".join("DHW"[-n:] if n > 1 else "L")
    if x.ndim != n + 2 or weight.ndim != n + 2:
        raise ValueError(f"{name}: x must be ({axes}) and weight have {n + 2} axes too {shapes}")
    (groups,) = sizes(name, "groups", groups, 1)
    C = x.shape[1]
    expected = weight.shape[0] if transposed else weight.shape[1] * groups
    if weight.shape[0] % groups or C % groups:
        raise ValueError(
            f"{name}: groups={groups} must divide C={C} and {weight.shape[0]} of the weight {shapes}"
        )
    if C != expected:
        raise ValueError(f"{name}: x has C={C} channels but weight expects C={expected} {shapes}")
    if not all(weight.shape):
        raise ValueError(f"{name}: weight has an axis of length 0 {shapes}")
    O = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and bias.shape != (O,):
        raise ValueError(f"{name}: bias must have the shape ({O},) {shapes}")
    return shapes


def sizes(name, argument, value, n, least=1):
    """An option, given as one int or one int per axis, as a tuple of ``n`` ints; each must be at least ``least``."""
    values = whole(value)
    values = (values,) * n if type(values) is int else values or ()
    if len(values) != n or min(values) < least:
        many = f"{n} of them" if n > 1 else "a tuple of one"
        raise ValueError(
            f"{name}: {argument} must be an integer of at least {least}, or {many}, got {value!r}"
        )
    return values
