"""Rows for minivis/ops/loss.py."""

import numpy as np

from tests.ops.cases import (
    booleans,
    case,
    constant,
    distinct,
    error,
    integers,
    normal,
    positive,
    uniform,
)

CE = {"logits": normal(4, 3), "target": constant([0, 2, 1, 2])}
BCE = {"logits": normal(3, 4), "target": uniform(0, 1, 3, 4)}
BCE["target"] = type(BCE["target"])(BCE["target"].make, (3, 4), differentiable=False)

CASES = [
    case("cross_entropy", **CE),
    case("cross_entropy", **CE, weight=constant([1.0, 0.1, 2.0])),
    case("cross_entropy", **CE, label_smoothing=0.1),
    case("cross_entropy", **CE, weight=constant([1.0, 0.1, 2.0]), reduction="none", label_smoothing=0.2),
    case("cross_entropy", **CE, reduction="sum"),
    case("cross_entropy", logits=normal(4, 3), target=constant([0, -100, 1, -100])),
    case(
        "cross_entropy",
        logits=normal(4, 3),
        target=constant([0, 255, 1, 2]),
        ignore_index=255,
        label_smoothing=0.1,
    ),
    case(
        "cross_entropy",
        logits=normal(2, 3, 4, 5),
        target=integers(0, 3, 2, 4, 5),
        weight=constant([1.0, 0.5, 2.0]),
    ),
    case(
        "cross_entropy",
        logits=constant([[1e4, -1e4], [1e4, -1e4]], differentiable=True),
        target=constant([0, 1]),
    ),
    case("cross_entropy", logits=normal(0, 3), target=constant(np.zeros(0, np.int64)), reduction="sum"),
    case("binary_cross_entropy_with_logits", **BCE),
    case("binary_cross_entropy_with_logits", **BCE, weight=constant([[1.0, 2.0, 0.0, 3.0]])),
    case(
        "binary_cross_entropy_with_logits", **BCE, reduction="none", pos_weight=constant([1.0, 2.0, 0.5, 3.0])
    ),
    case("binary_cross_entropy_with_logits", **BCE, reduction="sum"),
    case(
        "binary_cross_entropy_with_logits",
        **BCE,
        weight=constant([[1.0, 2.0, 0.0, 3.0]]),
        pos_weight=constant([1.0, 2.0, 0.5, 3.0]),
    ),
    case("binary_cross_entropy_with_logits", logits=normal(3, 4), target=booleans(3, 4)),
    case(
        "binary_cross_entropy_with_logits",
        logits=constant([1e4, -1e4, 1e4], differentiable=True),
        target=constant([1.0, 1.0, 0.0]),
    ),
    *(
        case(op, prediction=distinct(3, 4), target=uniform(0.02, 0.05, 3, 4), **options)
        for op in ("l1_loss", "smooth_l1_loss", "mse_loss")
        for options in ({}, {"reduction": "sum"}, {"reduction": "none"})
    ),
    case("smooth_l1_loss", prediction=distinct(3, 4), target=uniform(0.02, 0.05, 3, 4), beta=1 / 9),
    case("smooth_l1_loss", prediction=distinct(3, 4), target=uniform(0.02, 0.05, 3, 4), beta=0.0),
    case("mse_loss", prediction=normal(0, 2), target=normal(0, 2), reduction="sum"),
    case("l1_loss", prediction=positive(), target=constant(0.0)),
    case("mse_loss", prediction=normal(3, 4), target=integers(0, 5, 3, 4)),  # float32 stays float32
]

LOGITS = normal(4, 3)
ERRORS = [
    error("cross_entropy", ValueError, "label_smoothing must lie in 0 to 1", **CE, label_smoothing=2),
    error(
        "cross_entropy", ValueError, "weights of the targets sum to 0", **CE, weight=constant([0.0, 0.0, 0.0])
    ),
    error(
        "cross_entropy", TypeError, "target must be an array or a Tensor", logits=LOGITS, target=[0, 1, 2, 0]
    ),
    error(
        "cross_entropy", ValueError, "target (B, ...) (logits: (4, 3)", logits=LOGITS, target=constant([0, 1])
    ),
    error(
        "cross_entropy",
        IndexError,
        "target 3 is out of range for K=3",
        logits=LOGITS,
        target=constant([0, 1, 3, 0]),
    ),
    error(
        "cross_entropy",
        IndexError,
        "target -1 is out of range",
        logits=LOGITS,
        target=constant([0, 1, -1, 0]),
    ),
    error("cross_entropy", TypeError, "target must be integers", logits=LOGITS, target=normal(4)),
    error("cross_entropy", ValueError, "weight must be (K,)", **CE, weight=constant([1.0, 2.0])),
    error("cross_entropy", ValueError, "reduction must be", **CE, reduction="average"),
    error(
        "cross_entropy",
        ValueError,
        "every target is ignore_index",
        logits=LOGITS,
        target=constant([-100] * 4),
    ),
    error(
        "cross_entropy",
        ValueError,
        "empty batch",
        logits=normal(0, 3),
        target=constant(np.zeros(0, np.int64)),
    ),
    *(
        error(op, ValueError, "must have one shape", **{first: normal(3, 4), "target": normal(4)})
        for op, first in (
            ("binary_cross_entropy_with_logits", "logits"),
            ("l1_loss", "prediction"),
            ("smooth_l1_loss", "prediction"),
            ("mse_loss", "prediction"),
        )
    ),
    error("mse_loss", ValueError, "empty batch", prediction=normal(0, 2), target=normal(0, 2)),
    error(
        "smooth_l1_loss",
        ValueError,
        "beta must be at least 0",
        prediction=normal(2),
        target=normal(2),
        beta=-1,
    ),
]
