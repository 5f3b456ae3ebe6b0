"""Rows for minivis/ops/linalg.py."""

from tests.ops.cases import case, error, normal, several

CASES = [
    case("matmul", x=normal(3, 4), y=normal(4, 5)),
    case("matmul", x=normal(2, 1, 3, 4), y=normal(5, 4, 2)),
    case("matmul", x=normal(4), y=normal(4)),
    case("matmul", x=normal(4), y=normal(2, 4, 3)),
    case("matmul", x=normal(2, 3, 4), y=normal(4)),
    case("matmul", x=normal(0, 3, 4), y=normal(4, 2)),
    case("matmul", x=normal(3, 0), y=normal(0, 2)),
    case("einsum", subscripts="bnd,bmd->bnm", operands=several(normal(2, 3, 4), normal(2, 5, 4))),
    case("einsum", subscripts="ij->i", operands=several(normal(3, 4))),
    case("einsum", subscripts="ij,jk,kl->il", operands=several(normal(2, 3), normal(3, 4), normal(4, 5))),
    case("einsum", subscripts="ij,kj->", operands=several(normal(2, 3), normal(4, 3))),
    case("einsum", subscripts="i,j->ij", operands=several(normal(0), normal(3))),
    case("linear", x=normal(3, 4), weight=normal(5, 4), bias=normal(5)),
    case("linear", x=normal(2, 3, 4), weight=normal(5, 4)),
    case("linear", x=normal(4), weight=normal(5, 4), bias=normal(5)),
    case("linear", x=normal(0, 4), weight=normal(5, 4), bias=normal(5)),
    case("linear", x=normal(2, 0, 4), weight=normal(5, 4), bias=normal(5)),
]

ERRORS = [
    error(
        "matmul", ValueError, "inner lengths differ (x: (3, 4), y: (5, 4))", x=normal(3, 4), y=normal(5, 4)
    ),
    error("matmul", ValueError, "inner lengths differ", x=normal(), y=normal(5, 4)),
    error("matmul", ValueError, "broadcast", x=normal(2, 3, 4), y=normal(3, 4, 5)),
    error(
        "einsum",
        ValueError,
        "j is both 3 and 4",
        subscripts="ij,jk->ik",
        operands=several(normal(2, 3), normal(4, 5)),
    ),
    error(
        "einsum",
        ValueError,
        "must name its output",
        subscripts="ij,jk",
        operands=several(normal(2, 3), normal(3, 5)),
    ),
    error(
        "einsum",
        ValueError,
        "does not fit the operands",
        subscripts="ij->i",
        operands=several(normal(2, 3, 4)),
    ),
    error(
        "einsum",
        ValueError,
        "output letter that no operand has",
        subscripts="ij->k",
        operands=several(normal(2, 3)),
    ),
    error("matmul", TypeError, "y must be an array or a Tensor, got int", x=normal(2, 3), y=2),
    error("linear", ValueError, "the last axis of x must match in", x=normal(3, 4), weight=normal(4, 5)),
    error("linear", ValueError, "bias must be (out,)", x=normal(3, 4), weight=normal(5, 4), bias=normal(4)),
]
