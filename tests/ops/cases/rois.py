"""Rows for minivis/vision/rois.py, primitives outside ops."""

import numpy as np

from tests.ops.cases import case, constant, distinct, error, integers, normal

# two pictures; regions inside, across a border, on one place, and outside. float16 holds these coordinates exactly
REGIONS = constant(
    [
        [1, 0.5, 1.25, 4.75, 3.5],
        [0, -3.0, -1.5, 2.25, 2.0],
        [1, 2.5, 2.5, 2.5, 2.5],
        [1, 3.25, 0.0, 11.0, 9.5],
        [0, 30.0, 2.0, 33.0, 4.0],
    ]
)
NONE = constant(np.zeros((0, 5)))
MAP = {"features": normal(2, 3, 4, 5), "rois": REGIONS}
POOLED = {"features": distinct(2, 2, 4, 5), "rois": REGIONS}

CASES = [
    case("roi_align", **MAP, size=(2, 3)),
    case("roi_align", **MAP, size=(3, 2), scale=0.5, sampling=0),
    case("roi_align", **MAP, size=2, scale=0.5, sampling=3, aligned=False),
    case("roi_align", **MAP, size=1, sampling=0, aligned=False),
    case("roi_align", features=normal(2, 3, 4, 5), rois=NONE, size=2, sampling=0),
    case("roi_align", features=normal(0, 3, 4, 5), rois=NONE, size=2),
    case("roi_pool", **POOLED, size=(2, 3)),
    case("roi_pool", **POOLED, size=(3, 1), scale=0.5),
    case("roi_pool", features=normal(2, 3, 4, 5), rois=NONE, size=2),
    case("roi_pool", features=normal(0, 3, 4, 5), rois=NONE, size=2),
]


def _mistakes(op):
    return [
        error(op, ValueError, "features must be (B, C, H, W)", features=normal(3, 4, 5), rois=REGIONS, size=2),
        error(op, ValueError, "rois must be (R, 5)", features=normal(2, 3, 4, 5), rois=normal(5, 4), size=2),
        error(op, TypeError, "floating-point", features=integers(0, 9, 2, 3, 4, 5), rois=REGIONS, size=2),
        error(op, ValueError, "size must be an integer of at least 1", **MAP, size=0),
        error(op, ValueError, "scale must be positive", **MAP, size=2, scale=0.0),
        error(op, IndexError, "picture 1 in rois[:, 0]", features=normal(1, 3, 4, 5), rois=REGIONS, size=2),
        error(op, ValueError, "whole numbers", features=normal(1, 1, 4, 5), rois=constant([[0.5, 0, 0, 1, 1]]), size=2),
        error(op, ValueError, "no negative side", features=normal(1, 1, 4, 5), rois=constant([[0, 3, 0, 1, 1]]), size=2),
        error(op, ValueError, "finite", features=normal(1, 1, 4, 5), rois=constant([[0, np.nan, 0, 1, 1]]), size=2),
    ]  # fmt: skip


ERRORS = [
    *_mistakes("roi_align"),
    *_mistakes("roi_pool"),
    error("roi_align", ValueError, "sampling must be an integer of at least 0", **MAP, size=2, sampling=-1),
]
