"""The search for the maxima of RoI pooling, compiled by Numba: each bin reads its own pixels and no more.

Not here: where the bins lie and the gradient (vision/rois.py).
"""

import numpy as np
from numba import types

from minivis.fast import threads
from minivis.fast.compiled import _elementwise, _read2

__all__ = ["largest_of_bins"]

_REGIONS = 16  # that are worth a thread
_integers1, _integers2 = (types.Array(types.int64, n, "C", readonly=True) for n in (1, 2))
_maxima, _rows = (types.Array(kind, 4, "C") for kind in (types.float32, types.int64))


def largest_of_bins(pixels, first, top, bottom, left, right, W):
    """The function of this name in vision/rois.py, for pixels of float32 on the CPU."""
    best = np.zeros((*top.shape, left.shape[1], pixels.shape[1]), np.float32)
    found = np.full(best.shape, -1, np.int64)
    arrays = [np.ascontiguousarray(x, np.int64) for x in (first, top, bottom, left, right)]
    pixels = np.ascontiguousarray(pixels)
    threads.over(len(top), lambda a, b: _largest(a, b, pixels, *arrays, W, best, found), _REGIONS)
    return best, found


@_elementwise(_read2, _integers1, *[_integers2] * 4, types.intp, _maxima, _rows)
def _largest(start, stop, pixels, first, top, bottom, left, right, W, best, found):
    for r in range(start, stop):
        for i in range(top.shape[1]):
            for j in range(left.shape[1]):
                for y in range(top[r, i], bottom[r, i]):
                    for x in range(left[r, j], right[r, j]):
                        at = first[r] + y * W + x
                        for c in range(pixels.shape[1]):
                            value = pixels[at, c]
                            if found[r, i, j, c] < 0 or value > best[r, i, j, c]:
                                best[r, i, j, c] = value
                                found[r, i, j, c] = at
