"""What the laws of local layers share: the neighbours of a pixel, and laws that look at the middle pixel of a map.

Not here: the laws themselves (sasa.py, lr_net.py, san.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare

__all__ = ["at_the_middle", "inside", "mirrored", "softmax"]


def inside(place, size, window):
    """The rows (or columns) of the window around a place that lie inside the map."""
    return np.arange(max(0, place - window // 2), min(size, place + window // 2 + 1))


def mirrored(size, window):
    """The rows (or columns) of the window around each place, (size, window). The map is mirrored at its outermost pixels."""
    padded = np.pad(np.arange(size), window // 2, mode="reflect")
    return padded[np.arange(size)[:, None] + np.arange(window)]


def softmax(scores, axis):
    """Over one axis or several."""
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def at_the_middle(family, name, sentence, **of_the_law):
    """Declare a law about the middle pixel of a map that is as large as its window: no border plays a part."""

    @family.law(name, sentence=sentence, value=True, right_too=False, **of_the_law)
    def middle(f, case):
        H, W = case["x"].shape[2:]
        place = ..., H // 2, W // 2
        compare(f(case)[place], f.right(case)[place], what="The output of the middle pixel")
