"""The three products of a convolution, a few images at a time, with patches in the memory order that is fastest.

Patches are the rows of a matrix. The channels of one pixel lie side by side, so memory is copied in longer pieces.
Not here: what a convolution is and its checks (ops/conv.py), how patches are copied (blocks.py, compiled.py, cuda.py).
"""

import itertools
import math

from minivis.backend import device_of, namespace
from minivis.fast import routines
from minivis.ops.conv import add_patches, correlate, patches_of, spread, weigh
from minivis.ways import faster

__all__ = ["parts_of_batch"]

# Elements of the patches in memory at a time: few enough for the cache of a CPU, and for the memory of a GPU.
_PATCH_LIMIT = {"cpu": 2**21, "gpu": 2**26}


def parts_of_batch(x, elements):
    """Slices of the batch whose patches, with ``elements`` for each image, stay below the limit."""
    size = max(1, _PATCH_LIMIT.get(device_of(x), _PATCH_LIMIT["cpu"]) // elements)
    return [slice(i, i + size) for i in range(0, max(len(x), 1), size)]


def _join(xp, parts):
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=0)


def _patch_size(weight, geometry, groups):
    """Elements of the patches of one image."""
    return groups * math.prod(weight.shape[1:]) * math.prod(geometry.out)


def _grouped(y, groups):
    """(B, O, *out) as matrices (groups, O / groups, B prod(out))."""
    B, channels, *out = y.shape
    return y.swapaxes(0, 1).reshape(groups, channels // groups, B * math.prod(out))


def _filters(weight, groups, channels_first):
    """(O, C / groups, *kernel) as matrices (groups, O / groups, elements of a patch), in the order of `_patches`."""
    O, C, *kernel = weight.shape
    weight = weight.reshape(groups, O // groups, C, math.prod(kernel))
    if not channels_first:
        weight = weight.swapaxes(2, 3)
    return weight.reshape(groups, O // groups, math.prod(kernel) * C)


def _weight(filters, shape, channels_first):
    """The inverse of `_filters`: (groups, O / groups, elements of a patch) as (O, C / groups, *kernel)."""
    O, C, *kernel = shape
    if not channels_first:
        filters = filters.reshape(O, math.prod(kernel), C).swapaxes(1, 2)
    return filters.reshape(shape)


def _patches(x, geometry, groups, channels_first):
    """The patches of a map as matrices (groups, B prod(out), elements of a patch); see `_channels_first` for the order."""
    if _are_tiles(geometry):
        return _tiles(x, geometry, groups)
    rows = routines.of(x).im2row(x, *geometry)
    K = math.prod(geometry.kernel)
    C = x.shape[1] // groups
    order = (2, 0, 3, 1) if channels_first else (2, 0, 1, 3)
    return rows.reshape(-1, K, groups, C).transpose(order).reshape(groups, -1, K * C)


def _put_patches(rows, shape, geometry, channels_first):
    """The adjoint of `_patches`: add every patch to a map of shape (B, C, *spatial) at its place."""
    groups = len(rows)
    K = math.prod(geometry.kernel)
    if _are_tiles(geometry):
        return _put_tiles(rows, shape, geometry)
    C = shape[1] // groups
    if channels_first:
        rows = rows.reshape(groups, -1, C, K).swapaxes(2, 3)
    rows = rows.reshape(groups, -1, K, C).transpose(1, 2, 0, 3).reshape(-1, K * shape[1])
    return routines.of(rows).row2im(rows, shape, *geometry)


def _channels_first(B, weight, geometry):
    """Whether a patch has the order (C / groups, *kernel) instead of (*kernel, C / groups).

    The second copies whole pixels. The first is the order of the filters, which then need no transposition: it pays if
    there are fewer patches than filters. Tiles always have the first.
    """
    return _are_tiles(geometry) or B * math.prod(geometry.out) < len(weight)


def _is_one_pixel(geometry):
    """Whether a patch is one pixel. Then an image is its own matrix of patches, and nothing has to be copied."""
    return max(geometry.kernel) == 1 and not any(geometry.padding)


def _are_tiles(geometry):
    """Whether the patches lie side by side, as in a patch embedding. Then a transposition gives their matrix."""
    return geometry.kernel == geometry.stride and not any(geometry.padding) and max(geometry.dilation) == 1


def _tiles(x, geometry, groups):
    """`_patches` for tiles."""
    n = len(geometry.out)
    (B, C) = x.shape[:2]
    cuts = list(zip(geometry.out, geometry.kernel, strict=True))
    x = x[(..., *(slice(o * k) for o, k in cuts))]  # pixels that no tile covers are left out
    # (B, groups, C / groups, rows, kh, columns, kw)
    x = x.reshape(B, groups, C // groups, *itertools.chain(*cuts))
    x = x.transpose(1, 0, *range(3, 3 + 2 * n, 2), 2, *range(4, 4 + 2 * n, 2))
    return x.reshape(groups, B * math.prod(geometry.out), C // groups * math.prod(geometry.kernel))


def _put_tiles(rows, shape, geometry):
    """`_put_patches` for tiles, which do not overlap."""
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


def _visited(geometry):
    """The index of the pixels that a kernel of one pixel visits."""
    return (..., *(slice(0, (n - 1) * s + 1, s) for n, s in zip(geometry.out, geometry.stride, strict=True)))


def _images(y, groups):
    """(B, C, *out) as matrices (B, groups, C / groups, prod(out))."""
    B, C, *out = y.shape
    return y.reshape(B, groups, C // groups, math.prod(out))


@faster(correlate, may=routines.exist, pays=routines.large)
def correlate_by_rows(x, weight, geometry, groups):
    """`minivis.ops.conv.correlate`."""
    xp = namespace(x, weight)
    O = weight.shape[0]
    channels_first = _channels_first(len(x), weight, geometry)
    filters = _filters(weight, groups, channels_first)
    if _is_one_pixel(geometry):
        return xp.matmul(filters, _images(x[_visited(geometry)], groups)).reshape(len(x), O, *geometry.out)

    def part(x):
        patches = _patches(x, geometry, groups, channels_first).swapaxes(1, 2)
        y = xp.matmul(filters, patches)  # (groups, O/groups, B prod(out))
        return xp.ascontiguousarray(y.reshape(O, x.shape[0], *geometry.out).swapaxes(0, 1))

    return _join(xp, [part(x[b]) for b in parts_of_batch(x, _patch_size(weight, geometry, groups))])


@faster(spread, may=routines.exist, pays=routines.large)
def spread_by_rows(y, weight, spatial, geometry, groups):
    """`minivis.ops.conv.spread`."""
    xp = namespace(y, weight)
    C = groups * weight.shape[1]
    channels_first = _channels_first(len(y), weight, geometry)
    filters = _filters(weight, groups, channels_first)
    if _is_one_pixel(geometry):
        visited = xp.matmul(filters.swapaxes(1, 2), _images(y, groups)).reshape(len(y), C, *geometry.out)
        if geometry.out == tuple(spatial):
            return visited
        x = xp.zeros((len(y), C, *spatial), visited.dtype)
        x[_visited(geometry)] = visited
        return x

    def part(y):
        # (groups, B prod(out), prod(kernel) C/groups)
        rows = xp.matmul(_grouped(y, groups).swapaxes(1, 2), filters)
        return _put_patches(rows, (y.shape[0], C, *spatial), geometry, channels_first)

    return _join(xp, [part(y[b]) for b in parts_of_batch(y, _patch_size(weight, geometry, groups))])


@faster(weigh, may=routines.exist, pays=routines.large)
def weigh_by_rows(x, y, weight, geometry, groups):
    """`minivis.ops.conv.weigh`."""
    xp = namespace(x, y)
    total = 0
    if _is_one_pixel(geometry):
        x = _images(x[_visited(geometry)], groups)
        y = _images(y, groups)
        for b in parts_of_batch(x, math.prod(weight.shape)):
            total = total + xp.matmul(y[b], x[b].swapaxes(2, 3)).sum(axis=0)
        return total.reshape(weight.shape)
    channels_first = _channels_first(len(x), weight, geometry)
    for b in parts_of_batch(x, _patch_size(weight, geometry, groups)):
        total = total + xp.matmul(_grouped(y[b], groups), _patches(x[b], geometry, groups, channels_first))
    return _weight(total, weight.shape, channels_first)


@faster(patches_of, may=routines.exist, pays=routines.large)
def patches_by_rows(x, geometry):
    """`minivis.ops.conv.patches_of`."""
    rows = routines.of(x).im2row(x, *geometry)
    B, C = x.shape[:2]
    rows = rows.reshape(B, math.prod(geometry.out), math.prod(geometry.kernel), C)
    return rows.transpose(0, 3, 2, 1).reshape(B, C, rows.shape[2], *geometry.out)


@faster(add_patches, may=routines.exist, pays=routines.large)
def add_patches_by_rows(patches, shape, geometry):
    """`minivis.ops.conv.add_patches`."""
    B, C, K = patches.shape[:3]
    rows = patches.reshape(B, C, K, math.prod(geometry.out)).transpose(0, 3, 2, 1)  # (B, L, K, C)
    return routines.of(patches).row2im(rows.reshape(-1, K * C), shape, *geometry)
