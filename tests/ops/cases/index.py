"""Rows for minivis/ops/index.py."""

import numpy as np

from tests.ops.cases import booleans, case, constant, error, integers, normal

CASES = [
    case("getitem", x=normal(4, 3), index=1),
    case("getitem", x=normal(4, 3), index=(slice(None, None, -2), None, slice(1, 3))),
    case("getitem", x=normal(4, 3, 2), index=(Ellipsis, -1)),
    case("getitem", x=normal(4, 3), index=constant([0, 0, 3, -1])),
    case("getitem", x=normal(4, 3), index=[0, 2, 0]),
    case("getitem", x=normal(4, 3), index=booleans(4, 3)),
    case("getitem", x=normal(4, 3), index=constant(np.zeros((0,), np.int64))),
    case("take", x=normal(4, 3), indices=integers(-4, 4, 2, 5)),
    case("take", x=normal(4, 3), indices=constant([2, 2, 0]), axis=-1),
    case("take", x=normal(4, 3), indices=constant(np.zeros((0,), np.int64)), axis=1),
    case("take_along_axis", x=normal(4, 3), indices=integers(0, 3, 4, 5)),
    case("take_along_axis", x=normal(4, 3, 2), indices=integers(-3, 3, 4, 1, 2), axis=1),
    case("scatter_add", x=normal(4, 3), indices=constant([0, 0, 3]), values=normal(3, 3)),
    case("scatter_add", x=normal(2, 4), indices=constant([1, -1, 1]), values=normal(2, 3), axis=1),
    case("embedding", indices=integers(0, 5, 2, 7), weight=normal(5, 3)),
    case("embedding", indices=[[0, 4], [4, 1]], weight=normal(5, 3)),
    case("embedding", indices=constant(np.zeros((0, 2), np.int64)), weight=normal(5, 3)),
]

ERRORS = [
    error(
        "embedding", TypeError, "weight must be an array or a Tensor", indices=constant([0]), weight=[[1.0]]
    ),
    error("getitem", IndexError, "out of bounds", x=normal(4, 3), index=4),
    error(
        "getitem",
        IndexError,
        "index 4 in index is out of range for 4",
        x=normal(4, 3),
        index=constant([0, 4]),
    ),
    error(
        "take",
        IndexError,
        "index -5 in indices is out of range for 4",
        x=normal(4, 3),
        indices=constant([-5]),
    ),
    error("take", TypeError, "indices must be integers", x=normal(4, 3), indices=normal(2)),
    error("take", ValueError, "axis 2 does not fit", x=normal(4, 3), indices=constant([0]), axis=2),
    error("take_along_axis", IndexError, "out of range for 3", x=normal(4, 3), indices=constant([[3]] * 4)),
    error("take_along_axis", ValueError, "must agree but for axis", x=normal(4, 3), indices=constant([[1]])),
    error("take_along_axis", ValueError, "equal numbers of axes", x=normal(4, 3), indices=constant([1])),
    error("scatter_add", IndexError, "out of range", x=normal(4), indices=constant([4]), values=normal(1)),
    error(
        "scatter_add",
        ValueError,
        "values must have shape (1,)",
        x=normal(4),
        indices=constant([0]),
        values=normal(2),
    ),
    error("embedding", IndexError, "index -1 in indices", indices=constant([-1]), weight=normal(5, 3)),
    error("embedding", ValueError, "weight must be (K, D)", indices=constant([1]), weight=normal(5)),
]
