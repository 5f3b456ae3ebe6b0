"""Rows for minivis/ops/operators.py: what only a Tensor's method offers."""

from tests.ops.cases import case, normal

CASES = [case("astype", x=normal(2, 3), dtype="float64"), case("astype", x=normal(0, 3), dtype="float64")]

ERRORS = []
