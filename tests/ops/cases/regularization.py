"""Rows for minivis/ops/regularization.py."""

from tests.ops.cases import case, error, normal

CASES = [
    case("dropout", x=normal(6, 5), p=0.4, rng=3),
    case("dropout", x=normal(3, 5), p=0.4, training=False),
    case("dropout", x=normal(0, 5), p=0.4, rng=3),
]

ERRORS = [
    error("dropout", ValueError, "p must be a probability", x=normal(3), p=1.5),
    error("dropout", ValueError, "pass rng", x=normal(3), p=0.5),
]
