"""Rows for minivis/ops/regularization.py."""

from tests.ops.cases import case, error, normal

CASES = [
    case("drop_path", x=normal(6, 2, 3), rate=0.4, training=True, rng=3),
    case("drop_path", x=normal(6, 2), rate=0.4, training=False),
    case("drop_path", x=normal(6, 2), rate=0.3, training=True, rng=4, per="batch"),
    case("drop_path", x=normal(6, 2), rate=0.3, training=False, per="batch"),
    case("drop_path", x=normal(0, 2), rate=0.4, training=True, rng=3),
    case("dropout", x=normal(6, 5), p=0.4, rng=3),
    case("dropout", x=normal(3, 5), p=0.4, training=False),
    case("dropout", x=normal(0, 5), p=0.4, rng=3),
]

ERRORS = [
    error("drop_path", ValueError, "rate must be a probability", x=normal(3), rate=-0.1),
    error("drop_path", ValueError, "per must be", x=normal(3), rate=0.1, per="row"),
    error("drop_path", ValueError, "x must have a batch axis", x=normal(), rate=0.1),
    error("drop_path", ValueError, "pass rng", x=normal(3), rate=0.5),
    error("dropout", ValueError, "p must be a probability", x=normal(3), p=1.5),
    error("dropout", ValueError, "pass rng", x=normal(3), p=0.5),
]
