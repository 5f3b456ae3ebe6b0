"""RoIAlign as one product with a sparse matrix; the search of RoI pooling as a compiled loop.

Not here: where samples and bins lie (vision/rois.py), the loop (compiled_rois.py), adaptive sampling.
"""

import numpy as np

from minivis.backend import device_of, namespace
from minivis.fast import routines
from minivis.pairs import checked_pair
from minivis.vision import rois as plain
from minivis.ways import faster

__all__ = ["largest_of_bins_by_loops", "roi_align_by_sparse_product"]


def _sampled(features, rois, size, scale=1.0, sampling=2, aligned=True):
    """Whether the number of samples is the same for all regions, on the CPU."""
    return routines.exist(features) and device_of(features) == "cpu" and len(rois) > 0 and sampling > 0


def _many(features, rois, size, scale=1.0, sampling=2, aligned=True):
    return len(rois) * features.shape[1] >= 2**12


@faster(plain.roi_align, may=_sampled, pays=_many)
def roi_align_by_sparse_product(features, rois, size, scale=1.0, sampling=2, aligned=True):
    """`minivis.vision.roi_align`: row (r, i, j) of the matrix says how much a bin reads of every cell of all maps."""
    from scipy.sparse import csr_array  # here, so that importing the library stays quick

    xp = namespace(features, rois)
    h, w = checked_pair("roi_align", "size", size)
    plain.checked("roi_align", features, rois, scale)
    sampling = plain.checked_sampling("roi_align", sampling)
    (B, C, H, W) = features.shape
    R = rois.shape[0]
    rois = rois.astype(xp.float64)
    v, at_row = _cells(xp, rois[:, 2], rois[:, 4], h, H, scale, sampling, aligned)  # (R, h, 2 S)
    u, at_column = _cells(xp, rois[:, 1], rois[:, 3], w, W, scale, sampling, aligned)
    weights = v[:, :, None, :, None] * u[:, None, :, None, :]  # (R, h, w, 2 S, 2 S)
    first = rois[:, 0].astype(xp.int64).reshape(R, 1, 1, 1, 1) * (H * W)
    at = first + at_row[:, :, None, :, None] * W + at_column[:, None, :, None, :]
    ends = xp.arange(R * h * w + 1) * (4 * sampling**2)
    shape = (R * h * w, B * H * W)
    matrix = csr_array((weights.astype(features.dtype).ravel(), at.ravel(), ends), shape=shape)
    cells = xp.moveaxis(features, 1, -1).reshape(B * H * W, C)

    def vjp(g):
        def of_features():
            g_cells = matrix.T @ xp.moveaxis(g, 1, -1).reshape(R * h * w, C)
            return xp.ascontiguousarray(xp.moveaxis(g_cells.reshape(B, H, W, C), -1, 1))

        return (of_features,)

    return xp.ascontiguousarray(xp.moveaxis((matrix @ cells).reshape(R, h, w, C), -1, 1)), vjp


def _cells(xp, low, high, bins, length, scale, sampling, aligned):
    """The two cells around each sample along one axis, (R, bins, 2 S): how much is read of each, and its index."""
    place, weight = plain.axis_samples(xp, low, high, bins, length, scale, sampling, aligned)
    before = xp.minimum(xp.floor(place), max(length - 2, 0))
    share = place - before  # 0 on a map of one cell, where the cell after it does not exist
    after = xp.minimum(before + 1, length - 1)
    index = xp.concatenate([before, after], axis=2).astype(xp.int64)
    return xp.concatenate([weight * (1 - share), weight * share], axis=2), index


def _in_float32(xp, pixels, first, top, bottom, left, right, W):
    return pixels.dtype == np.float32 and device_of(pixels) == "cpu" and routines.numba_is_there()


def _many_bins(xp, pixels, first, top, bottom, left, right, W):
    return len(top) * pixels.shape[1] >= 2**12


@faster(plain.largest_of_bins, may=_in_float32, pays=_many_bins)
def largest_of_bins_by_loops(xp, pixels, first, top, bottom, left, right, W):
    """`minivis.vision.rois.largest_of_bins`."""
    from minivis.fast import compiled_rois  # here, because Numba takes a second to start

    return compiled_rois.largest_of_bins(pixels, first, top, bottom, left, right, W)
