"""Rows for minivis/ops/softmaxes.py."""

from tests.ops.cases import case, constant, error, integers, normal

HUGE = constant([[1e4, -1e4, 1e4 - 1], [0.0, -1e4, 1.0]], differentiable=True)

CASES = [
    case(op, **row)
    for op in ("softmax", "log_softmax")
    for row in (
        {"x": normal(3, 5)},
        {"x": normal(3, 5), "axis": 0},
        {"x": normal(2, 3, 4), "axis": -2},
        {"x": HUGE, "axis": 1},
        {"x": normal(1)},
        {"x": normal(0, 3)},
        {"x": normal(3, 0)},
    )
]

ERRORS = [
    error(op, ValueError, f"axis {axis} does not fit", x=normal(*shape), axis=axis)
    for op in ("softmax", "log_softmax")
    for shape, axis in (((2, 3), 2), ((2, 3), -3), ((), -1), ((2, 3), None), ((2, 3), 1.0))
] + [
    error(op, TypeError, "x must be floating-point, got int64", x=integers(0, 9, 2, 3))
    for op in ("softmax", "log_softmax")
]
