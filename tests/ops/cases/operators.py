"""Rows for minivis/ops/operators.py: operations that only a method of Tensor offers."""

from tests.ops.cases import case, normal

CASES = [case("astype", x=normal(2, 3), dtype="float64"), case("astype", x=normal(0, 3), dtype="float64")]

ERRORS = []
