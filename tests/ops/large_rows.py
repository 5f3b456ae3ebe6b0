"""Rows with many elements, large elements or far pixels: float16 cannot hold their sums, squares or coordinates.

Like those of tests/ops/cases, but used only by the law of lower precision (test_every_op.py). Not here: ordinary rows.
"""

from tests.ops.cases import Draw, case, constant, distinct, integers, normal, several, uniform
from tests.ops.cases.resample import points


def large(*shape):
    """Values from 100 to 300 of either sign: float16 can hold neither their squares nor the sum of a few hundred."""
    return Draw(lambda rng: rng.uniform(100, 300, shape) * rng.choice([-1, 1], shape), shape)


ROWS = [
    # arithmetic and products: a gradient that is the sum of thousands of cotangents
    case("add", x=normal(5000, 2), y=normal(2)),
    case("mul", x=normal(5000, 2), y=normal(2)),
    case("div", x=large(3, 4), y=uniform(50, 60, 4)),
    case("matmul", x=large(2, 4), y=normal(4, 1)),
    case("matmul", x=normal(2, 5000), y=normal(5000, 3)),
    case("matmul", x=normal(2000, 2, 3), y=normal(3, 2)),
    case("einsum", subscripts="ij,jk->ik", operands=several(normal(2, 5000), normal(5000, 3))),
    case("linear", x=normal(5000, 4), weight=normal(5, 4), bias=normal(5)),
    case("scaled_dot_product_attention", q=normal(5, 4), k=normal(5000, 4), v=uniform(1, 2, 5000, 3)),
    case("scaled_dot_product_attention", q=large(3, 4), k=large(6, 4), v=normal(6, 2)),
    # elements that are picked thousands of times
    case("getitem", x=normal(4, 3), index=integers(0, 4, 9000)),
    case("take", x=normal(4, 3), indices=integers(0, 4, 9000)),
    case("take_along_axis", x=normal(4, 3), indices=integers(0, 3, 4, 9000)),
    case("scatter_add", x=normal(4, 3), indices=integers(0, 4, 9000), values=normal(9000, 3)),
    case("embedding", indices=integers(0, 5, 9000), weight=normal(5, 3)),
    # sums and statistics
    *(case(op, x=uniform(0.5, 1.5, 70000)) for op in ("mean", "var")),
    *(case(op, x=large(300, 2), axis=0) for op in ("sum", "mean")),
    case("sum", x=uniform(0, 1, 9000, 2), axis=0),
    case("var", x=uniform(-200, 200, 300, 2), axis=0),
    case("logsumexp", x=uniform(-1, 1, 70000), axis=0),
    case("softmax", x=normal(2, 70000)),
    case("log_softmax", x=normal(2, 70000)),
    case("layer_norm", x=large(3, 1000), normalized_shape=1000, weight=normal(1000), bias=normal(1000)),
    case("layer_norm", x=normal(3000, 2), normalized_shape=2, weight=normal(2), bias=normal(2)),
    case("group_norm", x=large(2, 4, 20, 10), num_groups=2, weight=normal(4), bias=normal(4)),
    case(
        "batch_norm",
        x=large(4, 2, 30, 10),
        running_mean=None,
        running_var=None,
        weight=normal(2),
        bias=normal(2),
        training=True,
    ),
    case("normalize", x=large(2, 300)),
    # losses: means over so many elements that float16 cannot hold their sum
    case("cross_entropy", logits=large(900, 3), target=integers(0, 3, 900)),
    case("cross_entropy", logits=normal(2, 70000), target=constant([3, 69999])),
    case("binary_cross_entropy_with_logits", logits=large(900), target=constant([0.0] * 900)),
    case("l1_loss", prediction=large(900), target=normal(900)),
    case("smooth_l1_loss", prediction=large(900), target=normal(900)),
    case("mse_loss", prediction=uniform(-20, 20, 900), target=uniform(-20, 20, 900)),
    # convolution and pooling
    case("conv2d", x=normal(20, 1, 20, 20), weight=normal(2, 1, 3, 3), bias=normal(2)),
    case("conv2d", x=normal(1, 1200, 3, 3), weight=normal(1, 1200, 3, 3)),
    case("conv_transpose2d", x=normal(1, 400, 3, 3), weight=normal(400, 1, 3, 3), bias=normal(1)),
    case("fold", x=normal(1, 81, 400), output_size=(28, 28), kernel_size=9),
    case("avg_pool2d", x=uniform(50, 100, 1, 2, 40, 40), kernel_size=40),
    case("adaptive_avg_pool2d", x=uniform(50, 100, 1, 2, 40, 40), output_size=1),
    case("max_pool2d", x=distinct(1, 1, 12, 12), kernel_size=9, stride=1),
    # coordinates that are equal when rounded to float16; float32 holds the step exactly
    case("interpolate", x=normal(1, 1, 1, 3000), size=(1, 4000), mode="bilinear"),
    case("interpolate", x=normal(1, 1, 1, 3000), size=(1, 2000), mode="bicubic"),
    case("interpolate", x=normal(1, 1, 1, 3000), size=(1, 2000), mode="bilinear", antialias=True),
    case("interpolate", x=normal(1, 1, 1, 3000), size=(1, 4000)),
    case("grid_sample", x=normal(1, 1, 2, 1100), grid=points(1, 1, 50, (2, 1100))),
]
