"""Max pooling a few images at a time: its gradient reads the images again, and they are still in the cache.

Not here: the search for the maxima (ops/pool.py).
"""

import math

from minivis.backend import namespace
from minivis.fast import routines
from minivis.fast.conv import parts_of_batch
from minivis.ops.pool import _max_pool2d
from minivis.ways import faster

__all__ = ["max_pool2d_by_images"]


def _parts(x, geometry):
    return parts_of_batch(x, math.prod(geometry.kernel) * x.shape[1] * math.prod(geometry.out))


@faster(
    _max_pool2d,
    may=routines.exist,
    pays=lambda x, geometry: len(_parts(x, geometry)) > 1,
)
def max_pool2d_by_images(x, geometry):
    """`minivis.ops.pool._max_pool2d`."""
    parts = _parts(x, geometry)
    found = [_max_pool2d.raw(x[b], geometry) for b in parts]
    xp = namespace(x)

    def vjp(g):
        return (xp.concatenate([pull(g[b])[0] for (_, pull), b in zip(found, parts, strict=True)]),)

    return xp.concatenate([y for y, _ in found]), vjp
