"""Convolution in one, two and three dimensions, its transpose, and the patches they are made of (unfold, fold).

Not here: pooling (pool.py), resizing (resample.py), the layers that own the weights (nn/).
"""

import itertools
import math
from collections import namedtuple

from minivis import kernels
from minivis.autograd import primitive
from minivis.backend import device_of, meet, namespace
from minivis.dtypes import whole

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose2d", "fold", "unfold"]

# Patches are laid out for so many elements at a time: what a CPU keeps near, what is still memory on a GPU.
_PATCH_LIMIT = {"cpu": 2**21, "gpu": 2**26}

# Where the windows lie, one number an axis each. The kernels take these in this order.
Geometry = namedtuple("Geometry", "kernel out stride padding dilation")


def sizes(name, argument, value, n, least=1):
    """An option given as one int or one int an axis, as a tuple of ``n`` ints of at least ``least``."""
    values = whole(value)
    values = (values,) * n if type(values) is int else values or ()
    if len(values) != n or min(values) < least:
        many = f"{n} of them" if n > 1 else "a tuple of one"
        raise ValueError(
            f"{name}: {argument} must be an integer of at least {least}, or {many}, got {value!r}"
        )
    return values


def _geometry(name, spatial, kernel, stride, padding, dilation, shapes):
    """The windows of a convolution over a map: their number is floor((i + 2p - d (k - 1) - 1) / s) + 1 an axis."""
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


def blocks(x, elements):
    """Slices of the batch whose patches, ``elements`` an image, stay below the limit."""
    size = max(1, _PATCH_LIMIT.get(device_of(x), _PATCH_LIMIT["cpu"]) // elements)
    return [slice(i, i + size) for i in range(0, max(len(x), 1), size)]


def _join(xp, parts):
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=0)


# The three products of a convolution y = w * x. Each is linear in both of its arguments, and the gradients of one are
# the other two: that is why convolution and transposed convolution share them.


def _grouped(y, groups):
    """(B, O, *out) as the matrices (groups, O / groups, B prod(out))."""
    B, channels, *out = y.shape
    return y.swapaxes(0, 1).reshape(groups, channels // groups, B * math.prod(out))


def _filters(weight, groups, channels_first):
    """(O, C / groups, *kernel) as the matrices (groups, O / groups, elements of a patch), in the order of `_patches`."""
    O, C, *kernel = weight.shape
    weight = weight.reshape(groups, O // groups, C, math.prod(kernel))
    if not channels_first:
        weight = weight.swapaxes(2, 3)
    return weight.reshape(groups, O // groups, math.prod(kernel) * C)


def _unfiltered(filters, shape, channels_first):
    """And back: (groups, O / groups, elements of a patch) as (O, C / groups, *kernel)."""
    O, C, *kernel = shape
    if not channels_first:
        filters = filters.reshape(O, math.prod(kernel), C).swapaxes(1, 2)
    return filters.reshape(shape)


def _patches(x, geometry, groups, channels_first):
    """The patches of a map as the matrices (groups, B prod(out), elements of a patch); `_channels_first` says in which order."""
    if _of_tiles(geometry):
        return _tiles(x, geometry, groups)
    rows = kernels.of(x).im2row(x, *geometry)
    K = math.prod(geometry.kernel)
    C = x.shape[1] // groups
    order = (2, 0, 3, 1) if channels_first else (2, 0, 1, 3)
    return rows.reshape(-1, K, groups, C).transpose(order).reshape(groups, -1, K * C)


def _put_patches(rows, shape, geometry, channels_first):
    """The adjoint of `_patches`: a map of the shape (B, C, *spatial), to which every patch is added where it lay."""
    groups = len(rows)
    K = math.prod(geometry.kernel)
    if _of_tiles(geometry):
        return _put_tiles(rows, shape, geometry)
    C = shape[1] // groups
    if channels_first:
        rows = rows.reshape(groups, -1, C, K).swapaxes(2, 3)
    rows = rows.reshape(groups, -1, K, C).transpose(1, 2, 0, 3).reshape(-1, K * shape[1])
    return kernels.of(rows).row2im(rows, shape, *geometry)


def _channels_first(B, weight, geometry):
    """Whether a patch is in the order (C / groups, *kernel), or in (*kernel, C / groups), so that whole pixels are copied.

    The first is the order of the filters, which then need not be turned: it pays where the patches are fewer than they
    are. Tiles lie in it anyway.
    """
    return _of_tiles(geometry) or B * math.prod(geometry.out) < len(weight)


def _of_one_pixel(geometry):
    """Whether a map is its own matrix of patches: then each image is one product, and nothing has to be laid out."""
    return max(geometry.kernel) == 1 and not any(geometry.padding)


def _of_tiles(geometry):
    """Whether the patches lie side by side, as those of a patch embedding: then a transposition lays them out."""
    return geometry.kernel == geometry.stride and not any(geometry.padding) and max(geometry.dilation) == 1


def _tiles(x, geometry, groups):
    """`_patches` for these."""
    n = len(geometry.out)
    (B, C) = x.shape[:2]
    cuts = list(zip(geometry.out, geometry.kernel, strict=True))
    x = x[(..., *(slice(o * k) for o, k in cuts))]  # what no tile covers is left out
    # (B, groups, C / groups, rows, kh, columns, kw)
    x = x.reshape(B, groups, C // groups, *itertools.chain(*cuts))
    x = x.transpose(1, 0, *range(3, 3 + 2 * n, 2), 2, *range(4, 4 + 2 * n, 2))
    return x.reshape(groups, B * math.prod(geometry.out), C // groups * math.prod(geometry.kernel))


def _put_tiles(rows, shape, geometry):
    """`_put_patches` for these: nothing overlaps."""
    n = len(geometry.out)
    groups = len(rows)
    (B, C, *spatial) = shape
    covered = [o * k for o, k in zip(geometry.out, geometry.kernel, strict=True)]
    rows = rows.reshape(groups, B, *geometry.out, C // groups, *geometry.kernel)
    rows = rows.transpose(1, 0, 2 + n, *itertools.chain(*((2 + i, 3 + n + i) for i in range(n))))
    if covered == spatial:
        return rows.reshape(shape)
    x = namespace(rows).zeros(shape, rows.dtype)
    x[(..., *map(slice, covered))] = rows.reshape(B, C, *covered)
    return x


def _thinned(geometry):
    """The index of the pixels that a kernel of one pixel looks at."""
    return (..., *(slice(0, (n - 1) * s + 1, s) for n, s in zip(geometry.out, geometry.stride, strict=True)))


def _images(y, groups):
    """(B, C, *out) as the matrices (B, groups, C / groups, prod(out))."""
    B, C, *out = y.shape
    return y.reshape(B, groups, C // groups, math.prod(out))


def _correlate(x, weight, geometry, groups):
    """y: every output is the dot product of the kernel and a patch."""
    xp = namespace(x, weight)
    O = weight.shape[0]
    channels_first = _channels_first(len(x), weight, geometry)
    filters = _filters(weight, groups, channels_first)
    if _of_one_pixel(geometry):
        return xp.matmul(filters, _images(x[_thinned(geometry)], groups)).reshape(len(x), O, *geometry.out)

    def part(x):
        patches = _patches(x, geometry, groups, channels_first).swapaxes(1, 2)
        y = xp.matmul(filters, patches)  # (groups, O/groups, B prod(out))
        return xp.ascontiguousarray(y.reshape(O, x.shape[0], *geometry.out).swapaxes(0, 1))

    return _join(xp, [part(x[b]) for b in blocks(x, _patch_size(weight, geometry, groups))])


def _spread(y, weight, spatial, geometry, groups):
    """x: every element of y adds a copy of the kernel, multiplied by it, to the map; overlaps sum."""
    xp = namespace(y, weight)
    C = groups * weight.shape[1]
    channels_first = _channels_first(len(y), weight, geometry)
    filters = _filters(weight, groups, channels_first)
    if _of_one_pixel(geometry):
        seen = xp.matmul(filters.swapaxes(1, 2), _images(y, groups)).reshape(len(y), C, *geometry.out)
        if geometry.out == tuple(spatial):
            return seen
        x = xp.zeros((len(y), C, *spatial), seen.dtype)
        x[_thinned(geometry)] = seen
        return x

    def part(y):
        # (groups, B prod(out), prod(kernel) C/groups)
        rows = xp.matmul(_grouped(y, groups).swapaxes(1, 2), filters)
        return _put_patches(rows, (y.shape[0], C, *spatial), geometry, channels_first)

    return _join(xp, [part(y[b]) for b in blocks(y, _patch_size(weight, geometry, groups))])


def _weigh(x, y, weight, geometry, groups):
    """The cotangent of the weight: every weight collects the products of the x and y that it joined."""
    xp = namespace(x, y)
    total = 0
    if _of_one_pixel(geometry):
        x = _images(x[_thinned(geometry)], groups)
        y = _images(y, groups)
        for b in blocks(x, math.prod(weight.shape)):
            total = total + xp.matmul(y[b], x[b].swapaxes(2, 3)).sum(axis=0)
        return total.reshape(weight.shape)
    channels_first = _channels_first(len(x), weight, geometry)
    for b in blocks(x, _patch_size(weight, geometry, groups)):
        total = total + xp.matmul(_grouped(y[b], groups), _patches(x[b], geometry, groups, channels_first))
    return _unfiltered(total, weight.shape, channels_first)


def _patch_size(weight, geometry, groups):
    """Elements of the patches of one image."""
    return groups * math.prod(weight.shape[1:]) * math.prod(geometry.out)


def _checked(name, x, weight, bias, groups, n, transposed=False):
    """Refuse operands that do not fit; returns the shapes in words for further errors."""
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


def _conv(name, n, x, weight, bias, stride, padding, dilation, groups):
    """conv1d, conv2d and conv3d are this, with n = 1, 2, 3."""
    namespace(x, weight, bias)
    shapes = _checked(name, x, weight, bias, groups, n)
    spatial, kernel = x.shape[2:], weight.shape[2:]
    geometry = _geometry(name, spatial, kernel, stride, padding, dilation, shapes)
    x, weight, bias = meet(x, weight, bias)
    y = _correlate(x, weight, geometry, groups)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * n)

    def vjp(g):
        return (
            lambda: _spread(g, weight, spatial, geometry, groups).astype(x.dtype, copy=False),
            lambda: _weigh(x, g, weight, geometry, groups).astype(weight.dtype, copy=False),
            _bias_cotangent(g, bias),
        )

    return y, vjp


def _bias_cotangent(g, bias):
    return None if bias is None else g.sum(axis=(0, *range(2, g.ndim))).astype(bias.dtype, copy=False)


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
    B H' W' O (C / groups) kh kw multiply-adds. The patches are laid out as the rows of a matrix, and the convolution
    is one matrix product, a few images at a time where there are many patches. For backward only ``x`` and ``weight``
    are kept: the patches, kh kw times as large, are laid out again.

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
    """Paint a copy of a filter for every input pixel, multiplied by it, and sum where copies overlap.

    .. math:: y_{b,o,\\; s i - p + d u,\\; s j - p + d v} \\mathrel{+}= w_{c,o,u,v}\\; x_{b,c,i,j}

    It is the transpose (adjoint) of `conv2d` with the same weight and options, hence its gradient in the input:
    ``<conv2d(y, w), x> = <y, conv_transpose2d(x, w)>``. With a stride above 1 it enlarges.

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
        Rows and columns added at the bottom and right. A convolution with a stride gives the same size for several
        input sizes; this says which of them to return to. Below the stride or the dilation.
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
    shapes = _checked(name, x, weight, bias, groups, 2, transposed=True)
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
    # of the convolution that this is the transpose of
    geometry = Geometry(kernel, out, stride, padding, dilation)
    x, weight, bias = meet(x, weight, bias)
    y = _spread(x, weight, spatial, geometry, groups)
    if bias is not None:
        y = y + bias[:, None, None]

    def vjp(g):
        return (
            lambda: _correlate(g, weight, geometry, groups).astype(x.dtype, copy=False),
            lambda: _weigh(g, x, weight, geometry, groups).astype(weight.dtype, copy=False),
            _bias_cotangent(g, bias),
        )

    return y, vjp


@primitive(dtypes="numbers")
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """Cut an image into patches, one column each (also called im2col).

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Images or maps.
    kernel_size, dilation, padding, stride : int or (int, int), defaults -, 1, 0, 1
        Where the patches lie, as for `conv2d`.

    Returns
    -------
    ndarray or Tensor, shape (B, C kh kw, L)
        L patches, row by row; each lists its channels, then its rows, then its columns.

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
    geometry = _geometry("unfold", x.shape[2:], kernel, stride, padding, dilation, shapes)
    return _gather(x, geometry), lambda g: (_fold(g, x.shape, geometry),)


@primitive(dtypes="numbers")
def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Put patches back into an image; where they overlap, they add up. The adjoint of `unfold`.

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
    geometry = _geometry("fold", spatial, kernel, stride, padding, dilation, shapes)
    K = math.prod(kernel)
    L = math.prod(geometry.out)
    if x.shape[1] % K or x.shape[2] != L:
        raise ValueError(
            f"fold: an image of {spatial} has L={L} patches of {kernel}, each of C * {K} elements, but x has "
            f"{x.shape[2]} of {x.shape[1]} {shapes}"
        )
    return _fold(x, (x.shape[0], x.shape[1] // K, *spatial), geometry), lambda g: (_gather(g, geometry),)


def _gather(x, geometry):
    """The patches of every image, (B, C kh kw, L)."""
    (B, C) = x.shape[:2]
    L = math.prod(geometry.out)
    rows = kernels.of(x).im2row(x, *geometry).reshape(B, L, math.prod(geometry.kernel), C)
    return rows.transpose(0, 3, 2, 1).reshape(B, C * rows.shape[2], L)


def _fold(columns, shape, geometry):
    """The images of the given shape that the patches (B, C kh kw, L) add up to."""
    (B, C) = shape[:2]
    L = columns.shape[2]
    rows = columns.reshape(B, C, math.prod(geometry.kernel), L).transpose(0, 3, 2, 1)  # (B, L, kh kw, C)
    return kernels.of(columns).row2im(rows.reshape(B * L, rows.shape[2] * C), shape, *geometry)
