"""The laws of residual_block: two layers that learn what to add to their input, and the way back through them.

Not here: convolutions and norms, which are inside a real block; here its two layers are matrices.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

BLOCK = r"y = \mathrm{ReLU}\big(x + W_2\, \mathrm{ReLU}(W_1 x + b_1) + b_2\big)"
SLIDE = "C/23-residual-learning"


def _residual_block(x, w1, b1, w2, b2):
    a = x @ w1.T + b1
    r = np.maximum(a, 0)
    s = x + r @ w2.T + b2

    def vjp(g):
        g_s = g * (s > 0)
        g_a = (g_s @ w2) * (a > 0)
        return g_s + g_a @ w1, g_a.T @ x, g_a.sum(axis=0), g_s.T @ r, g_s.sum(axis=0)

    return np.maximum(s, 0), vjp


residual_block = Family(
    "residual_block",
    _residual_block,
    ("x", "w1", "b1", "w2", "b2"),
    form="f(x, w1, b1, w2, b2) -> (B, D); x (B, D), w1 (H, D), b1 (H,), w2 (D, H), b2 (D,): two linear layers with "
    "weights (out, in), a ReLU between them, the sum with x, and a ReLU",
)


def _numbers(draw, *shape, scale=1.0):
    return (generator(draw).standard_normal(shape) * scale).round(2).astype(np.float32)


def _positive(draw, *shape):
    return np.abs(_numbers(draw, *shape)) + np.float32(0.1)


def _sizes(draw, low=2, high=3):
    return integer(draw, low, high), integer(draw, low, high), integer(draw, low, high)


def _zero_branch(draw):
    B, D, H = _sizes(draw)
    zeros = {"w2": np.zeros((D, H), np.float32), "b2": np.zeros(D, np.float32)}
    return {"x": _positive(draw, B, D), "w1": _numbers(draw, H, D), "b1": _numbers(draw, H), **zeros}


def _of_zeros(draw, b1, b2):
    """x = 0, so that the shortcut brings nothing; all weights positive."""
    B, D, H = _sizes(draw)
    weights = {"w1": _positive(draw, H, D), "b1": b1(draw, H), "w2": _positive(draw, D, H), "b2": b2(draw, D)}
    return {"x": np.zeros((B, D), np.float32), **weights}


def _mixed_signs(draw, n):
    """Numbers of both signs, the first negative."""
    return _positive(draw, n) * np.where(np.arange(n) % 2, 1, -1).astype(np.float32)


def _all_positive(draw):
    B, D, _ = _sizes(draw)
    names = {"x": (B, D), "w1": (D, D), "b1": (D,), "w2": (D, D), "b2": (D,)}
    return {name: _positive(draw, *shape) for name, shape in names.items()}


def _plain(draw, low=2, high=3):
    B, D, H = _sizes(draw, low, high)
    shapes = {"x": (B, D), "w1": (H, D), "b1": (H,), "w2": (D, H), "b2": (D,)}
    return {name: _numbers(draw, *shape) for name, shape in shapes.items()}


def _smooth(draw, low=2, high=3):
    """A call whose ReLUs are away from their kinks."""
    for _ in range(60):
        case = _plain(draw, low, high)
        a = case["x"] @ case["w1"].T + case["b1"]
        s = case["x"] + np.maximum(a, 0) @ case["w2"].T + case["b2"]
        if min(np.abs(a).min(), np.abs(s).min()) > 0.02 and (s > 0).any() and (a > 0).any():
            return case
    return {name: np.ones_like(x) for name, x in case.items()}


def _with(**changed):
    """A mutant: ``shortcut``, ``inner``, ``outer`` replace a part of the block."""

    def mutant(x, w1, b1, w2, b2):
        relu = lambda z: np.maximum(z, 0)  # noqa: E731
        inner = changed.get("inner", relu)
        outer = changed.get("outer", relu)
        shortcut = changed.get("shortcut", lambda x: x)
        return outer(shortcut(x) + inner(x @ w1.T + b1) @ w2.T + b2)

    return mutant


_no_shortcut = _with(shortcut=lambda x: 0 * x)
_no_inner = _with(inner=lambda z: z)
_no_outer = _with(outer=lambda z: z)


def _sum_after_relu(x, w1, b1, w2, b2):
    return x + np.maximum(np.maximum(x @ w1.T + b1, 0) @ w2.T + b2, 0)


def _turned(x, w1, b1, w2, b2):
    """The first weight as (in, out), where that is possible."""
    square = w1.shape[0] == w1.shape[1]
    return _residual_block(x, w1.T if square else w1, b1, w2, b2)[0]


def _bias_after(x, w1, b1, w2, b2):
    return np.maximum(x + (np.maximum(x @ w1.T, 0) + b1) @ w2.T + b2, 0)


residual_block.agrees(
    "a branch of zeros hands on x",
    "If the second layer is 0, a positive x comes out unchanged.",
    inputs=_zero_branch,
    equation=r"W_2 = 0,\; b_2 = 0,\; x \ge 0 \;\Rightarrow\; y = x",
    slide=SLIDE,
    hint="The shortcut adds x itself to what the two layers compute: the block learns only what to add.",
    mutant=_no_shortcut,
    value=False,  # x itself keeps it
)
residual_block.agrees(
    "ReLU between the layers",
    "Between the two layers is a ReLU: what is negative there does not reach the second layer.",
    inputs=lambda draw: _of_zeros(draw, _mixed_signs, _positive),
    equation=BLOCK,
    slide=SLIDE,
    hint="Without a ReLU between them, two linear layers are one linear layer.",
    mutant=_no_inner,
)
residual_block.agrees(
    "ReLU at the end",
    "The last step is a ReLU: no number of the output is negative.",
    inputs=lambda draw: _of_zeros(
        draw, lambda draw, n: _positive(draw, n) / 8, lambda draw, n: -2 * _positive(draw, n)
    ),
    equation=BLOCK,
    slide=SLIDE,
    hint="First the sum of x and the branch, then the ReLU.",
    mutant=_no_outer,
    value=False,
)


@residual_block.law(
    "weights are (out, in)",
    inputs=_all_positive,
    equation=r"(W x)_i = \sum_j W_{ij} x_j",
    slide=SLIDE,
    hint="w1 is (H, D): one row for each output. A batch (B, D) is multiplied by its transpose, x @ w1.T.",
    mutant=_turned,
    right_too=False,
    value=True,
)
def _out_in(f, case):
    """A row of w1 or w2 belongs to one output: what the branch adds is w2 ReLU(w1 x + b1)."""
    without = case.replace(w2=np.zeros_like(case["w2"]))
    compare(f(case) - f(without), f.right(case) - f.right(without), what="What the branch adds")


every_family(residual_block, inputs=_plain, shapes=lambda draw: _plain(draw, 1, 2))


def _anything(draw):
    case = _plain(draw, 1, 6)
    return {**case, "b2": case["b2"] * np.float32(choose(draw, 1, 0.1, 3))}


values(
    residual_block,
    simplest=_plain,
    words="two or three samples of two or three numbers",
    anything=_anything,
    hint="Write down x, a = w1 x + b1, ReLU(a), the branch, the sum and the output for one sample, and compare each.",
    mutant=lambda x, w1, b1, w2, b2: (
        _bias_after(x, w1, b1, w2, b2) if len(b1) > 3 else _residual_block(x, w1, b1, w2, b2)[0]
    ),
)


def _pulled(place, change):
    """A mutant of the way back: one gradient is changed by ``change(g, args)``."""

    def wrong(g, pulled, args, options):
        found = list(pulled)
        found[place] = change(g, args)
        return tuple(found)

    return backward(_residual_block, wrong)


def _parts(g, args):
    """The gradients of the sum, of the first layer and of what the second layer reads; and what it reads."""
    x, w1, b1, w2, b2 = args
    a = x @ w1.T + b1
    r = np.maximum(a, 0)
    g_s = g * (x + r @ w2.T + b2 > 0)
    g_r = g_s @ w2
    return g_s, g_r * (a > 0), g_r, r


gradients(
    residual_block,
    inputs=_smooth,
    slide=SLIDE,
    equation={
        "x": r"\bar x = \bar s + \bar a\, W_1, \quad \bar s = \bar y \odot [s > 0]",
        "w1": r"\bar W_1 = \bar a^T x, \quad \bar a = (\bar s\, W_2) \odot [a > 0]",
        "b1": r"\bar b_1 = \sum_n \bar a_n",
        "w2": r"\bar W_2 = \bar s^T\, \mathrm{ReLU}(a)",
        "b2": r"\bar b_2 = \sum_n \bar s_n",
    },
    hints={
        "x": "x goes two ways, so two gradients are added: the one of the shortcut arrives unchanged.",
        "w1": "The ReLU between the layers lets through only the gradients of what was positive there.",
        "b1": "A bias is added to each sample of the batch: its gradient is the sum over them.",
        "w2": "The second layer read what came out of the ReLU, not x.",
        "b2": "A bias is added to each sample of the batch: its gradient is the sum over them.",
    },
    mutants={
        "x": _pulled(0, lambda g, args: _parts(g, args)[1] @ args[1]),
        "w1": _pulled(1, lambda g, args: _parts(g, args)[2].T @ args[0]),
        "b1": _pulled(2, lambda g, args: _parts(g, args)[1].mean(axis=0)),
        "w2": _pulled(3, lambda g, args: _parts(g, args)[0].T @ (args[0] @ args[1].T + args[2])),
        "b2": _pulled(4, lambda g, args: _parts(g, args)[0].mean(axis=0)),
    },
)


def _no_mask_at_the_end(x, w1, b1, w2, b2):
    out, _ = _residual_block(x, w1, b1, w2, b2)

    def vjp(g):
        a = x @ w1.T + b1
        g_a = (g @ w2) * (a > 0)
        return g + g_a @ w1, g_a.T @ x, g_a.sum(axis=0), g.T @ np.maximum(a, 0), g.sum(axis=0)

    return out, vjp


gradient_values(
    residual_block,
    simplest=_smooth,
    words="two or three samples of two or three numbers",
    anything=lambda draw: _smooth(draw, 1, 5),
    hint="Go through the five lines backwards: the ReLU, the sum, the second layer, the ReLU, the first layer.",
    mutant=backward(
        _residual_block,
        lambda g, pulled, args, options: (pulled[0] * (0.5 if len(args[2]) > 3 else 1), *pulled[1:]),
    ),
)
for name, hint, answer in (
    ("a weight turned", "w1 is used as (in, out). It is (H, D), one row for each output: x @ w1.T.", _turned),
    ("no shortcut", "The input is not added to the branch: this is a plain block.", _no_shortcut),
    ("no ReLU between the layers", "Between the two layers the ReLU is missing.", _no_inner),
    ("no ReLU at the end", "The ReLU after the sum is missing.", _no_outer),
    (
        "the sum after the ReLU",
        "The ReLU is applied to the branch alone. It comes after the sum with x.",
        _sum_after_relu,
    ),
    ("the bias after the ReLU", "b1 is added behind the ReLU. It belongs to the first layer.", _bias_after),
    (
        "x added twice",
        "The shortcut brings x twice.",
        _with(shortcut=lambda x: 2 * x),
    ),
):
    residual_block.mistake(name, hint, answer)
for name, hint, answer in (
    (
        "the shortcut forgotten on the way back",
        "x goes two ways. The gradient of the shortcut, which arrives unchanged, is missing in that of x.",
        _pulled(0, lambda g, args: _parts(g, args)[1] @ args[1]),
    ),
    (
        "the last ReLU forgotten on the way back",
        "The gradient passes the ReLU at the end only where the sum was positive.",
        _no_mask_at_the_end,
    ),
):
    residual_block.mistake(name, hint, answer, gradient=True)
