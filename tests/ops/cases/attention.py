"""Rows for minivis/ops/attention.py."""

import numpy as np

from tests.ops.cases import booleans, case, constant, error, normal

SELF = {"q": normal(2, 3, 4), "k": normal(2, 3, 4), "v": normal(2, 3, 4)}
CROSS = {"q": normal(2, 3, 4), "k": normal(2, 5, 4), "v": normal(2, 5, 6)}
SOME_EMPTY = constant(np.array([[True, False, True, True, False], [False] * 5, [True] * 5]))
HUGE = constant(np.array([[100.0, 0.0], [-100.0, 1.0]]), differentiable=True)

CASES = [
    case(op, **row)
    for op in ("scaled_dot_product_attention", "attention_composed")
    for row in (
        SELF,
        CROSS,
        {**CROSS, "mask": booleans(2, 3, 5)},
        {**CROSS, "mask": SOME_EMPTY},
        {**SELF, "is_causal": True},
        {**CROSS, "mask": booleans(1, 5, share=0.5), "is_causal": True},
        {"q": normal(2, 1, 3, 4), "k": normal(3, 5, 4), "v": normal(3, 5, 2)},
        {"q": normal(1, 1), "k": normal(1, 1), "v": normal(1, 1)},
        {"q": HUGE, "k": HUGE, "v": normal(2, 3)},
        {"q": normal(0, 3, 4), "k": normal(0, 5, 4), "v": normal(0, 5, 2)},
        {**CROSS, "dropout_p": 0.4, "rng": 5},
        {**CROSS, "bias": normal(3, 5)},
        {**CROSS, "bias": normal(2, 3, 5), "mask": SOME_EMPTY},
    )
] + [
    case("attention_weights", q=normal(2, 3, 4), k=normal(2, 5, 4)),
    case("attention_weights", q=normal(3, 4), k=normal(5, 4), mask=SOME_EMPTY),
    case("attention_weights", q=normal(3, 4), k=normal(3, 4), is_causal=True),
    case("attention_weights", q=normal(2, 3, 4), k=normal(2, 5, 4), bias=normal(1, 5)),
]

BAD = {"q": normal(3, 4), "k": normal(5, 3), "v": normal(5, 2)}
ERRORS = [
    error("scaled_dot_product_attention", ValueError, "share d, k and v", **BAD),
    error(
        "scaled_dot_product_attention",
        ValueError,
        "share d, k and v",
        q=normal(3, 4),
        k=normal(5, 4),
        v=normal(4, 2),
    ),
    error("scaled_dot_product_attention", TypeError, "mask must be boolean", **CROSS, mask=normal(3, 5)),
    error("scaled_dot_product_attention", ValueError, "could not be broadcast", **CROSS, mask=booleans(4, 5)),
    error(
        "scaled_dot_product_attention",
        ValueError,
        "nothing to attend to",
        **CROSS,
        mask=SOME_EMPTY,
        empty="error",
    ),
    error(
        "scaled_dot_product_attention", ValueError, 'empty must be "zero" or "error"', **CROSS, empty="nan"
    ),
    error("scaled_dot_product_attention", TypeError, "mask must be an array", **CROSS, mask=[[True] * 5] * 3),
    error("attention_composed", ValueError, "could not be broadcast", **CROSS, mask=booleans(4, 5)),
    error("scaled_dot_product_attention", ValueError, "broadcast", **CROSS, bias=normal(4, 5)),
    error(
        "attention_weights", TypeError, "q must be an array or a Tensor, got list", q=[[1.0]], k=normal(5, 1)
    ),
    error("attention_composed", ValueError, "share d, k and v", **BAD),
    error("attention_weights", ValueError, "share d, k and v", q=normal(3, 4), k=normal(5, 3)),
]
