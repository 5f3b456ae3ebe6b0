"""Rows for minivis/vision/deformable_attention.py, a primitive outside ops."""

from tests.ops.cases import case, error, integers, normal, uniform

NAME = "multi_scale_deformable_attention"
MAPS = {
    "values": normal(2, 24, 2, 3),
    "shapes": [(3, 5), (1, 1), (4, 2)],
    "locations": uniform(-0.2, 1.2, 2, 3, 2, 3, 2, 2),
    "weights": normal(2, 3, 2, 3, 2),
}
ONE = {
    "values": normal(1, 6, 1, 2),
    "shapes": [(2, 3)],
    "locations": uniform(0, 1, 1, 4, 1, 1, 5, 2),
    "weights": normal(1, 4, 1, 1, 5),
}
EMPTY = {
    "values": normal(0, 6, 1, 2),
    "shapes": [(2, 3)],
    "locations": uniform(0, 1, 0, 4, 1, 1, 5, 2),
    "weights": normal(0, 4, 1, 1, 5),
}

CASES = [case(NAME, **row) for row in (MAPS, ONE, EMPTY)]

ERRORS = [
    error(
        NAME,
        TypeError,
        "values must be floating-point, got int64",
        **{**ONE, "values": integers(0, 9, 1, 6, 1, 2)},
    ),
    error(NAME, ValueError, "with N = 4, the pixels of all shapes", **{**ONE, "shapes": [(2, 2)]}),
    error(
        NAME,
        ValueError,
        "locations must be (B, Q, h, L, P, 2)",
        **{**ONE, "locations": normal(1, 4, 1, 1, 5)},
    ),
    error(NAME, ValueError, "must share B and h with values", **{**ONE, "weights": normal(1, 4, 2, 1, 5)}),
]
