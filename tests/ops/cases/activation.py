"""Rows for minivis/ops/activation.py."""

from tests.ops.cases import case, constant, distinct, error, normal, uniform

CASES = [
    case("sigmoid", x=normal(3, 5)),
    case("sigmoid", x=constant([[-800.0, 800.0], [1.0, -2.0]], differentiable=True)),
    case("relu", x=distinct(3, 5)),
    case("relu", x=distinct()),
    case("silu", x=normal(3, 5)),
    case("softplus", x=normal(3, 5)),
    case("softplus", x=uniform(-40, 40, 4, 3), beta=2.0, threshold=20.0),
    case("gelu", x=normal(3, 5)),
    case("gelu", x=uniform(-6, 6, 7, 2)),
    case("gelu", x=normal()),
    case("gelu", x=normal(0, 4)),
    case("gelu", x=normal(3, 5), approximate="tanh"),
    case("gelu", x=normal(3, 5), approximate="quick"),
]

ERRORS = [
    error("gelu", ValueError, 'approximate must be "none"', x=normal(2), approximate="sigmoid"),
]
