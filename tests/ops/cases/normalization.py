"""Rows for minivis/ops/normalization.py."""

import numpy as np

from tests.ops.cases import case, constant, error, normal, positive

CASES = [
    case("layer_norm", x=normal(3, 5), normalized_shape=5, weight=normal(5), bias=normal(5)),
    case(
        "layer_norm",
        x=normal(2, 3, 4),
        normalized_shape=(3, 4),
        weight=normal(3, 4),
        bias=normal(3, 4),
        eps=1e-6,
    ),
    case("layer_norm", x=normal(2, 3, 4), normalized_shape=(4,)),
    case("layer_norm", x=normal(3, 5), normalized_shape=5, weight=normal(5)),
    case("layer_norm", x=normal(0, 5), normalized_shape=5, weight=normal(5), bias=normal(5)),
    case("group_norm", x=normal(2, 6, 3, 2), num_groups=3, weight=normal(6), bias=normal(6)),
    case("group_norm", x=normal(2, 6, 5), num_groups=1),
    case("group_norm", x=normal(0, 4, 3), num_groups=2, weight=normal(4), bias=normal(4)),
    case("batch_norm", x=normal(4, 3), running_mean=None, running_var=None, training=True),
    case(
        "batch_norm",
        x=normal(3, 2, 4, 5),
        running_mean=constant(np.zeros(2)),
        running_var=constant(np.ones(2)),
        weight=normal(2),
        bias=normal(2),
        training=True,
    ),
    case(
        "batch_norm",
        x=normal(3, 2, 5),
        running_mean=constant([0.5, -1.0]),
        running_var=constant([2.0, 0.3]),
        weight=normal(2),
        bias=normal(2),
    ),
    case(
        "batch_norm", x=normal(0, 2, 5), running_mean=constant([0.5, -1.0]), running_var=constant([2.0, 0.3])
    ),
    case("local_response_norm", x=normal(2, 7, 3), alpha=0.3),
    case("local_response_norm", x=normal(2, 3, 2, 2), size=5, alpha=0.5, beta=0.6, k=1.0),
    case("local_response_norm", x=normal(2, 6), size=3, alpha=1.0, beta=2.0),
    case("local_response_norm", x=normal(1, 5, 4), size=4, alpha=1.0),
    case("local_response_norm", x=normal(0, 4, 2)),
    case("normalize", x=normal(3, 5)),
    case("normalize", x=normal(3, 5, 2), axis=-1),
    case("normalize", x=positive(3, 5), p=3.0, axis=0),
    case("normalize", x=constant([[0.0, 0.0]])),
]

ERRORS = [
    error(
        "layer_norm", ValueError, "x must end in normalized_shape (4,)", x=normal(2, 3), normalized_shape=4
    ),
    error(
        "layer_norm",
        ValueError,
        "weight must have shape (3,)",
        x=normal(2, 3),
        normalized_shape=3,
        weight=normal(2),
    ),
    error("layer_norm", ValueError, "not empty", x=normal(2, 0), normalized_shape=0),
    error(
        "layer_norm", TypeError, "weight and bias come after it", x=normal(2, 3), normalized_shape=normal(3)
    ),
    error("group_norm", ValueError, "4 groups do not divide", x=normal(2, 6, 3), num_groups=4),
    error(
        "group_norm", ValueError, "bias must have shape (6,)", x=normal(2, 6, 3), num_groups=2, bias=normal(3)
    ),
    error(
        "batch_norm",
        ValueError,
        "more than one value a channel",
        x=normal(1, 3),
        running_mean=None,
        running_var=None,
        training=True,
    ),
    error("batch_norm", ValueError, "evaluation needs", x=normal(2, 3), running_mean=None, running_var=None),
    error(
        "batch_norm", ValueError, "x must be (B, C, ...)", x=normal(2), running_mean=None, running_var=None
    ),
    error(
        "batch_norm",
        ValueError,
        "running_mean must have shape (3,)",
        x=normal(2, 3),
        running_mean=normal(2),
        running_var=normal(3),
    ),
    error("local_response_norm", ValueError, "needs x (B, C, ...)", x=normal(5)),
    error("local_response_norm", ValueError, "size of at least 1", x=normal(2, 5), size=0),
    error("local_response_norm", ValueError, "size of at least 1", x=normal(2, 5), size=2.5),
    error("local_response_norm", ValueError, "k above 0", x=normal(2, 5), k=0.0),
    error("local_response_norm", ValueError, "alpha of at least 0", x=normal(2, 5), alpha=-1.0),
    error("normalize", ValueError, "needs an axis of x", x=normal(3)),
    error("normalize", ValueError, "needs an axis of x", x=normal(3, 2), p=0.5),
]
