"""Rows for minivis/ops/reduce.py."""

from tests.ops.cases import case, constant, distinct, error, integers, normal

CASES = [
    *(
        case(op, x=distinct(2, 3, 4), **options)
        for op in ("sum", "mean", "var", "max", "min")
        for options in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)})
    ),
    case("sum", x=normal(0, 3), axis=0),
    case("sum", x=normal()),
    case("sum", x=normal(2, 3), axis=()),
    case("mean", x=normal(0, 3), axis=1),
    case("mean", x=normal(3), axis=0),
    case("var", x=normal(3, 5), axis=0, correction=0),
    case("max", x=normal(0, 3), axis=1),
    case("min", x=normal(1, 1)),
    case("logsumexp", x=normal(3, 5), axis=1),
    case("logsumexp", x=normal(2, 3, 4), axis=(0, 2), keepdims=True),
    case("logsumexp", x=constant([[1000.0, 999.0], [-1000.0, -1001.0]], differentiable=True), axis=1),
    case("argmax", x=distinct(3, 5)),
    case("argmax", x=distinct(3, 5), axis=1, keepdims=True),
    case("argsort", x=distinct(3, 5)),
    case("argsort", x=constant([3.0, 1.0, 3.0, 2.0]), descending=True),
    case("argsort", x=distinct(3, 5), axis=0, descending=True),
    case("topk", x=distinct(3, 5), k=2),
    case("topk", x=distinct(3, 5), k=3, axis=0, largest=False),
    case("topk", x=distinct(3, 5), k=0),
]

ERRORS = [
    *(
        error(op, ValueError, "axis 2 does not fit an array with 2 axes (x: (2, 3))", x=normal(2, 3), axis=2)
        for op in ("sum", "mean", "var", "max", "min", "logsumexp")
    ),
    error("sum", ValueError, "axis 1.5 does not fit", x=normal(2, 3), axis=1.5),
    error(
        "mean",
        TypeError,
        "there is no argument 'dim': here it is axis (there are x, axis, keepdims)",
        x=normal(2, 3),
        dim=1,
    ),
    error("logsumexp", TypeError, "must be floating-point, got int64", x=integers(0, 9, 2, 3), axis=1),
    error("argmax", TypeError, "x must be an array or a Tensor, got list", x=[1.0, 2.0]),
    error("argsort", TypeError, "got list; wrap", x=[1.0, 2.0]),
    error("topk", TypeError, "there is no argument 'dim'", x=normal(3), k=1, dim=0),
    error("sum", ValueError, "axis (0, 0) does not fit", x=normal(2, 3), axis=(0, 0)),
    error("mean", ValueError, "nothing to average", x=normal(0, 3), axis=0),
    error("var", ValueError, "needs more", x=normal(1, 3), axis=0),
    error("max", ValueError, "nothing to choose from", x=normal(0, 3), axis=0),
    error("min", ValueError, "nothing to choose from", x=normal(0, 3)),
    error("logsumexp", ValueError, "nothing to sum", x=normal(0, 3), axis=0),
    error("argmax", ValueError, "nothing to choose from", x=normal(0, 3)),
    error("topk", ValueError, "k=4 does not fit an axis of length 3", x=normal(2, 3), k=4),
    error("argsort", ValueError, "axis 5 does not fit", x=normal(2, 3), axis=5),
    error("argmax", ValueError, "axis 5 does not fit", x=normal(2, 3), axis=5),
]
