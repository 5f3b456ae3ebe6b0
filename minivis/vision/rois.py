"""Regions of interest (RoIs): cut a region of any size out of a feature map and bring it to one size.

Not here: where regions come from (anchors.py), the layers that read them (models/).
"""

import numpy as np

from minivis import backend, ops
from minivis.autograd import Tensor, primitive
from minivis.backend import check_floating, namespace, to_numpy
from minivis.debugging import may_read
from minivis.ops.conv import sizes
from minivis.ops.index import check_range
from minivis.pairs import checked_pair
from minivis.ways import with_ways

__all__ = ["roi_align", "roi_pool", "spp"]


@primitive
def roi_align(features, rois, size, scale=1.0, sampling=2, aligned=True):
    """Read regions of a map at exact places: each bin of a region is the mean of a few samples between the pixels.

    .. math:: y_{r,c,i,j} = \\frac{1}{n} \\sum_{s=1}^{n} \\sum_{u,v}
              \\max(0, 1 - |q_s^y - u|)\\; \\max(0, 1 - |q_s^x - v|)\\; x_{b_r,c,u,v}

    The points q_s lie on a regular grid in bin (i, j) of region r.

    Parameters
    ----------
    features : ndarray or Tensor, shape (B, C, H, W)
        Maps of B pictures.
    rois : ndarray or Tensor, shape (R, 5)
        Regions: the index of the picture, then left, top, right, bottom in pixels of the picture.
    size : int or (int, int)
        Height h and width w of the result, in bins.
    scale : float, default 1.0
        Cells of the map for each pixel of the picture: 1 / 16 for a map of stride 16.
    sampling : int, default 2
        Samples along each side of a bin. 0: as many as the bin has cells, rounded up, region by region.
    aligned : bool, default True
        True takes the middle of the first pixel for the point 1/2, as boxes do. False takes it for 0, as the first
        published code: everything is read half a cell too far to the lower right; and regions are at least 1 cell wide.

    Returns
    -------
    ndarray or Tensor, shape (R, C, h, w)
        In the dtype of ``features``. Samples up to one cell beyond the middle of the outermost pixels count as on them;
        farther out the map is 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, an option is out of range, or a region has a negative side or a coordinate that is not
        finite.
    IndexError
        If a region is of a picture that does not exist.
    TypeError
        If ``features`` is not floating-point.

    Notes
    -----
    Differentiable in ``features`` only: the regions count as given, as in Faster R-CNN; detach those that a network made.
    The weights of a region are a product of weights along y and along x: it is read by two matrix products, A_y x A_x^T.

    References
    ----------
    He et al., "Mask R-CNN", ICCV 2017, section 3. Slide ``C/57-roi-align``.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_align(features, np.array([[0.0, 0.0, 0.0, 4.0, 4.0]]), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    name = "roi_align"
    xp = namespace(features, rois)
    h, w = checked_pair(name, "size", size)
    images = checked(name, features, rois, scale)
    sampling = checked_sampling(name, sampling)
    (_, C, H, W) = features.shape
    R = rois.shape[0]
    # in float64: between hundreds of cells, float32 would leave few digits for the weights
    rois = rois.astype(xp.float64)
    rows = axis_weights(xp, rois[:, 2], rois[:, 4], h, H, scale, sampling, aligned, features.dtype)
    columns = axis_weights(xp, rois[:, 1], rois[:, 3], w, W, scale, sampling, aligned, features.dtype)
    y = xp.zeros((R, C, h, w), features.dtype)
    for b, here in images:
        A_y = rows[here][:, None]  # (R_b, 1, h, H)
        A_x = columns[here].swapaxes(1, 2)[:, None]  # (R_b, 1, W, w)
        y[here] = A_y @ features[b] @ A_x  # (R_b, C, h, w)

    def vjp(g):
        def of_features():
            g_features = xp.zeros(features.shape, g.dtype)
            for b, here in images:
                across = g[here] @ columns[here][:, None]  # (R_b, C, h, W)
                # summed over regions and bins
                total = xp.tensordot(rows[here], across, axes=((0, 1), (0, 2)))  # (H, C, W)
                g_features[b] = xp.moveaxis(total, 0, 1)
            return g_features

        return (of_features,)

    return y, vjp


def axis_samples(xp, low, high, bins, length, scale, sampling, aligned):
    """Where `roi_align` samples along one axis, in cells of the map from the middle of its first cell.

    Returns the places (R, bins, S), moved onto the map, and the weight of each (R, bins, S): 1 / S for S samples a bin,
    0 for those that lie beyond the border of the map or that a region with fewer samples does not have.
    """
    start = low * scale - (0.5 if aligned else 0.0)
    side = (high - low) * scale
    side = side if aligned else xp.maximum(side, 1)
    bin_side = (side / bins)[:, None, None]  # (R, 1, 1)
    count = xp.zeros_like(bin_side) + sampling if sampling else xp.ceil(bin_side)
    most = sampling or _largest(count)
    sample = xp.arange(most, dtype=bin_side.dtype)
    within = (sample + 0.5) / xp.maximum(count, 1)  # (R, 1, S): from 0 to 1 in a bin
    place = start[:, None, None] + (xp.arange(bins, dtype=bin_side.dtype)[:, None] + within) * bin_side
    weight = xp.where(sample < count, 1 / xp.maximum(count, 1), 0)
    weight = xp.where((place >= -1) & (place <= length), weight, 0)  # (R, bins, S)
    return xp.clip(place, 0, length - 1), weight


def axis_weights(xp, low, high, bins, length, scale, sampling, aligned, dtype):
    """The matrices of `roi_align` along one axis, (R, bins, length): how much each bin reads of each row or column."""
    place, weight = axis_samples(xp, low, high, bins, length, scale, sampling, aligned)
    total = xp.zeros((*place.shape[:2], length), place.dtype)
    for s in range(place.shape[2]):
        hat = xp.maximum(0, 1 - abs(place[:, :, s, None] - xp.arange(length, dtype=place.dtype)))
        total += weight[:, :, s, None] * hat
    return total.astype(dtype, copy=False)


@primitive
def roi_pool(features, rois, size, scale=1.0):
    """Pool regions of a map to one size: the corners are rounded to cells, and each bin keeps its largest element.

    .. math:: y_{r,c,i,j} = \\max_{(u, v) \\in \\text{bin } (i, j)} x_{b_r,c,u,v}

    A region of H_r rows of cells has bin i from row floor(i H_r / h) to row ceil((i + 1) H_r / h) - 1, and columns alike.
    So neighbouring bins may share cells.

    Parameters
    ----------
    features : ndarray or Tensor, shape (B, C, H, W)
        Maps of B pictures.
    rois : ndarray or Tensor, shape (R, 5)
        Regions: the index of the picture, then left, top, right, bottom in pixels of the picture.
    size : int or (int, int)
        Height h and width w of the result, in bins.
    scale : float, default 1.0
        Cells of the map for each pixel of the picture: 1 / 16 for a map of stride 16.

    Returns
    -------
    ndarray or Tensor, shape (R, C, h, w)
        In the dtype of ``features``. A bin that lies outside the map is 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, an option is out of range, or a region has a negative side or a coordinate that is not
        finite.
    IndexError
        If a region is of a picture that does not exist.
    TypeError
        If ``features`` is not floating-point.

    Notes
    -----
    The rounded corners belong to the region: from 0 to 3 it is 4 cells wide. Corners are rounded half away from zero.
    Differentiable in ``features`` only; the gradient goes to the first of equal maxima, row by row, and is added up where
    bins or regions overlap. Rounding is what `roi_align` avoids.

    References
    ----------
    Girshick, "Fast R-CNN", ICCV 2015, section 2.1. Slides ``C/52-fast-rcnn``, ``C/57-roi-align``.

    Examples
    --------
    >>> import numpy as np
    >>> roi_pool(np.arange(16.0).reshape(1, 1, 4, 4), np.array([[0.0, 0.0, 0.0, 3.0, 3.0]]), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    name = "roi_pool"
    xp = namespace(features, rois)
    h, w = checked_pair(name, "size", size)
    checked(name, features, rois, scale)
    (B, C, H, W) = features.shape
    top, bottom = pool_edges(xp, rois[:, 2], rois[:, 4], h, H, scale)  # (R, h)
    left, right = pool_edges(xp, rois[:, 1], rois[:, 3], w, W, scale)  # (R, w)
    first = rois[:, 0].astype(xp.int64) * (H * W)
    pixels = xp.moveaxis(features, 1, -1).reshape(B * H * W, C)
    best, found = largest_of_bins(xp, pixels, first, top, bottom, left, right, W)

    def vjp(g):
        def of_features():
            g_pixels = xp.zeros((B * H * W, C), g.dtype)
            given = xp.where(found < 0, 0, xp.moveaxis(g, 1, -1))
            backend.scatter_add(g_pixels, (xp.maximum(found, 0), xp.arange(C)), given)
            return xp.ascontiguousarray(xp.moveaxis(g_pixels.reshape(B, H, W, C), -1, 1))

        return (of_features,)

    return xp.ascontiguousarray(xp.moveaxis(best, -1, 1)), vjp


@with_ways
def largest_of_bins(xp, pixels, first, top, bottom, left, right, W):
    """The maximum of each bin in each column of ``pixels`` (B H W, C), and its row: (R, h, w, C) both. No row: -1, and 0.

    ``first`` (R,) is the row of the upper left pixel of a region's picture; the other four say where its bins lie.
    """
    R, h = top.shape
    w = left.shape[1]
    best = xp.zeros((R, h, w, pixels.shape[1]), pixels.dtype)
    found = xp.full(best.shape, -1, xp.int64)
    for dy in range(_largest(bottom - top)):
        for dx in range(_largest(right - left)):
            row = (top + dy)[:, :, None]
            column = (left + dx)[:, None, :]
            inside = (row < bottom[:, :, None]) & (column < right[:, None, :])  # (R, h, w)
            at = xp.where(inside, first[:, None, None] + row * W + column, 0)
            value = pixels[at]  # (R, h, w, C)
            larger = inside[..., None] & ((found < 0) | (value > best))
            best = xp.where(larger, value, best)
            found = xp.where(larger, at[..., None], found)
    return best, found


def pool_edges(xp, low, high, bins, length, scale):
    """First cell of each bin of `roi_pool` along one axis, and the one after its last: (R, bins) each, on the map."""
    start, end = (_half_away(xp, side * scale) for side in (low, high))
    cells = xp.maximum(end - start + 1, 1)[:, None]
    bin_ = xp.arange(bins)
    first = start[:, None] + bin_ * cells // bins
    after = start[:, None] - (-(bin_ + 1) * cells // bins)  # rounded up
    return xp.clip(first, 0, length), xp.clip(after, 0, length)


def _largest(counts):
    """The largest of some numbers as an integer, 0 of none."""
    return int(counts.max()) if counts.size else 0


def _half_away(xp, x):
    """Round to integers, halves away from zero; `round` itself takes halves to the even number."""
    return (xp.sign(x) * xp.floor(abs(x) + 0.5)).astype(xp.int64)


def spp(x, levels):
    """Spatial pyramid pooling: cut a map of any size into n x n bins for several n, and keep the maximum of each.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Maps.
    levels : sequence of int
        The numbers n of bins along each side: (6, 3, 2, 1) in SPP-net's detector, 50 bins in all.

    Returns
    -------
    ndarray or Tensor, shape (B, C * sum of n * n)
        Level by level; in each channel by channel, the bins in reading order. The length does not depend on H and W.

    Raises
    ------
    ValueError
        If ``x`` is not (B, C, H, W) or a level is below 1.
    TypeError
        If ``x`` is not floating-point.

    Notes
    -----
    Bin i goes from row floor(i H / n) to row ceil((i + 1) H / n) - 1, as in `roi_pool`: a level is `roi_pool` of the whole
    map. A bin is never empty, also where the map has fewer than n rows.

    References
    ----------
    He et al., "Spatial pyramid pooling in deep convolutional networks for visual recognition", ECCV 2014, section 2.2 and
    appendix A. Slide ``C/60-rcnn-times``.

    Examples
    --------
    >>> import numpy as np
    >>> spp(np.array([[[[1.0, 2.0, 6.0], [3.0, 5.0, 2.0]]]]), (1, 2))
    array([[6., 2., 6., 5., 5.]])
    """
    if x.ndim != 4 or not all(x.shape[1:]):
        raise ValueError(f"spp: x must be (B, C, H, W), only B may be 0 (x: {tuple(x.shape)})")
    check_floating("spp", x)
    levels = [checked_pair("spp", "levels", n)[0] for n in levels]
    if not levels:
        raise ValueError("spp: levels must have at least one number of bins, got none")
    B, C, H, W = x.shape
    xp = namespace(x.data if isinstance(x, Tensor) else x)
    whole = xp.zeros((B, 5), "float64")
    whole[:, 0] = xp.arange(B)
    whole[:, 3] = W - 1
    whole[:, 4] = H - 1
    pooled = [ops.reshape(roi_pool(x, whole, n), (B, C * n * n)) for n in levels]
    return ops.concatenate(pooled, axis=1)


def checked_sampling(name, sampling):
    """The number of samples along each side of a bin: an integer of at least 0."""
    return sizes(name, "sampling", sampling, 1, least=0)[0]


def checked(name, features, rois, scale):
    """Refuse what does not fit. Returns for each picture that has regions its index and the indices of its regions."""
    shapes = f"(features: {tuple(features.shape)}, rois: {tuple(rois.shape)})"
    if features.ndim != 4 or not all(features.shape[1:]):
        raise ValueError(f"{name}: features must be (B, C, H, W), only B may be 0 {shapes}")
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(
            f"{name}: rois must be (R, 5): the index of the picture, then left, top, right, bottom {shapes}"
        )
    check_floating(name, features, "features")
    if not scale > 0:
        raise ValueError(f"{name}: scale must be positive, got {scale!r}")
    picture = to_numpy(rois[:, 0])
    if not np.isfinite(picture).all() or (picture != np.floor(picture)).any():
        raise ValueError(
            f"{name}: the first column of rois must be whole numbers, indices of pictures {shapes}"
        )
    picture = picture.astype(np.int64)
    check_range(name, "rois[:, 0]", picture, features.shape[0], "picture", low=0)
    if may_read(rois):
        _check_sides(name, to_numpy(rois[:, 1:]), shapes)
    device = backend.device_of(features)
    found = [(int(b), np.flatnonzero(picture == b)) for b in np.unique(picture)]
    return [(b, backend.to_device(here, device)) for b, here in found]


def _check_sides(name, boxes, shapes):
    """Refuse regions with coordinates that are not finite, or with a right side to the left of the left side."""
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
    if wrong.any():
        raise ValueError(
            f"{name}: rois must have finite corners and no negative side, but one is {boxes[wrong][0].tolist()} as "
            f"(x1, y1, x2, y2) {shapes}"
        )
