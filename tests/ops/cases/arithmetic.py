"""Rows for minivis/ops/arithmetic.py."""

from tests.ops.cases import booleans, case, constant, distinct, error, integers, normal, positive, uniform

CASES = [
    case("add", x=normal(3, 5), y=normal(3, 5)),
    case("add", x=normal(2, 1, 4), y=normal(3, 1)),
    case("add", x=normal(3, 2), y=2),
    case("add", x=normal(0, 3), y=normal(1, 3)),
    case("add", x=normal(3, 5), y=integers(-3, 3, 3, 5)),  # float32 stays float32
    case("mul", x=booleans(3, 5), y=normal(5)),
    case("sub", x=normal(3, 5), y=normal(5)),
    case("sub", x=normal(), y=normal(2, 3)),
    case("sub", x=1.5, y=normal(2, 3)),
    case("mul", x=normal(3, 5), y=normal(3, 1)),
    case("mul", x=normal(2, 3, 4), y=0.5),
    case("mul", x=normal(0), y=normal(1)),
    case("div", x=normal(3, 5), y=positive(5)),
    case("div", x=1, y=positive(3, 2)),
    case("div", x=normal(2, 0), y=positive(2, 1)),
    case("pow", x=normal(3, 4), exponent=3),
    case("pow", x=positive(3, 4), exponent=-0.5),
    case("pow", x=positive(3, 4), exponent=normal(4)),
    case("pow", x=2.0, exponent=normal(2, 3)),
    case("pow", x=normal(3, 4), exponent=0),
    case("neg", x=normal(3, 5)),
    case("neg", x=normal()),
    case("abs", x=distinct(3, 5)),
    case("clip", x=distinct(3, 5), min=-0.8, max=1.1),
    case("clip", x=distinct(3, 5), min=0),
    case("clip", x=distinct(3, 5), max=0),
    case("maximum", x=distinct(3, 5), y=0.04),
    case("maximum", x=distinct(3, 5), y=uniform(0.02, 0.04, 3, 1)),
    case("minimum", x=distinct(3, 5), y=uniform(0.02, 0.04, 5)),
    case("minimum", x=distinct(0, 5), y=normal(5)),
    case("where", condition=booleans(3, 5, share=0.5), x=normal(3, 1), y=normal(5)),
    case("where", condition=booleans(3, 1, share=0.5), x=normal(3, 4), y=0.0),
]

ERRORS = [
    *(
        error(op, ValueError, "could not be broadcast", x=normal(2, 3), y=normal(4))
        for op in ("add", "sub", "mul", "div", "maximum", "minimum")
    ),
    error("pow", ValueError, "could not be broadcast", x=positive(2, 3), exponent=normal(4)),
    error("where", ValueError, "could not be broadcast", condition=booleans(2, 3), x=normal(4), y=normal(4)),
    error(
        "where", TypeError, "condition must be boolean", condition=constant([0, 1]), x=normal(2), y=normal(2)
    ),
    error("add", TypeError, "expected numbers, got str 'a'", x=normal(2), y="a"),
    error("mul", TypeError, "expected numbers, got NoneType None", x=normal(2), y=None),
    error("where", TypeError, "condition must be an array or a Tensor", condition=[True], x=normal(2), y=1.0),
    error("clip", ValueError, "give min, max or both", x=normal(2)),
]
