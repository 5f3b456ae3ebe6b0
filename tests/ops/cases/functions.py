"""Rows for minivis/ops/functions.py."""

from tests.ops.cases import case, normal, positive

CASES = [
    case("exp", x=normal(3, 5)),
    case("exp", x=normal(0, 2)),
    case("log", x=positive(3, 5)),
    case("sqrt", x=positive(3, 5)),
    case("rsqrt", x=positive(3, 5)),
    case("sin", x=normal(3, 5)),
    case("cos", x=normal(3, 5)),
    case("tanh", x=normal(3, 5)),
    case("erf", x=normal(3, 5)),
    case("erf", x=normal(2, 1, 3)),
]

ERRORS = []  # they accept any array
