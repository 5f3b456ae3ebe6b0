"""The laws of softmax and log_softmax.

Not here: cross-entropy (loss.py), softmax inside attention (attention.py).
"""

import numpy as np

from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

PROBABILITY = r"p_i = \frac{e^{x_i}}{\sum_j e^{x_j}}"
SHIFT = r"\frac{e^{x_i - m}}{\sum_j e^{x_j - m}} = \frac{e^{x_i}}{\sum_j e^{x_j}}, \quad m = \max_j x_j"
LOG = r"\log p_i = x_i - m - \log \sum_j e^{x_j - m}, \quad m = \max_j x_j"
SLIDE = "A/26-cross-attention"


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    return p, lambda g: (p * (g - (g * p).sum(axis=axis, keepdims=True)),)


def _log_softmax(x, axis=-1):
    shifted = x - x.max(axis=axis, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return log_p, lambda g: (g - np.exp(log_p) * g.sum(axis=axis, keepdims=True),)


# Inputs: each law has its own special case, so that one mistake breaks one law


def _plain(draw):
    return {"x": numbers(draw, sizes(draw, 2))}


def _last_axis(draw):
    return {**_plain(draw), "axis": -1}


def _any_axis(draw):
    return {"x": numbers(draw, sizes(draw, 2)), "axis": choose(draw, 0, -2, 1)}


def _any_rank(draw):
    return {"x": numbers(draw, sizes(draw, choose(draw, 1, 3, 4), high=3)), "axis": -1}


def _size_one(draw):
    return {"x": numbers(draw, sizes(draw, 2, low=1, high=2)), "axis": -1}


def _large(draw):
    offset = choose(draw, 100.0, 1000.0, 9990.0, -1000.0)
    return {"x": numbers(draw, sizes(draw, 2), offset=offset), "axis": -1}


def _uneven(draw):
    x = numbers(draw, (2, integer(draw, 2, 3)))
    return {"x": x + np.array([[75.0], [-75.0]], np.float32), "axis": -1}


def _far_apart(draw):
    x = numbers(draw, sizes(draw, 2))
    x[:, 0] += 75
    x[:, 1:] -= 45  # float32 can hold exp of either, but not their quotient
    return {"x": x, "axis": -1}


def _smooth(draw):
    return {"x": numbers(draw, sizes(draw, 2, high=3)), "axis": choose(draw, -1, 0)}


def _matrix(draw):
    return {"x": normals(draw, sizes(draw, 2))}


def _anything(draw):
    rank = integer(draw, 1, 5)
    x = normals(draw, sizes(draw, rank, 1, 4), choose(draw, 1.0, 4.0, 30.0))
    offset = choose(draw, 0.0, 0.0, 100.0, -100.0)
    return {"x": x + np.float32(offset), **_some_axis(draw, rank)}


def _some_axis(draw, rank):
    """Any axis, or no axis: the default is the last."""
    axis = choose(draw, None, *range(-rank, rank))
    return {} if axis is None else {"axis": axis}


def _declare(family, naive, whole, formula):
    """The laws that softmax and its logarithm share."""
    _axis_laws(family, formula)
    _large_logit_laws(family, naive, whole)
    every_family(family, inputs=_last_axis, shapes=_size_one)
    right = family.right
    plain = {"simplest": _matrix, "words": "a matrix, along its last axis", "anything": _anything}
    values(
        family,
        **plain,
        hint="Three or four axes, and an axis that is neither the first nor the last: does your function move axes "
        "around, or name one by number?",
        mutant=lambda x, axis=-1: right(x, axis if axis % x.ndim != 2 or x.ndim < 4 else 1)[0],
    )
    _known_mistakes(family, naive, whole)
    gradient_values(
        family,
        **plain,
        hint="The sum of the backward pass runs along the axis of the call, like the sum of the forward pass.",
        mutant=mutated(right, _last_axis_back),
    )


def _axis_laws(family, formula):
    """The formula, along any axis of an array of any rank."""
    right = family.right
    family.agrees(
        "formula",
        formula,
        inputs=_plain,
        equation=PROBABILITY if family.name == "softmax" else LOG,
        slide=SLIDE,
        hint="By hand: two logits 0 and 0 give 1/2 and 1/2. Along which axis does your function sum by default?",
        mutant=lambda x, axis=0: right(x, axis)[0],
    )
    family.agrees(
        "any axis",
        "It runs along the axis that the caller asks for, not always along the last.",
        inputs=_any_axis,
        equation=PROBABILITY,
        slide=SLIDE,
        hint="max and sum need the axis of the call, and keepdims=True, so that their results broadcast against x.",
        mutant=lambda x, axis=-1: right(x, -1)[0],
    )
    family.agrees(
        "any rank",
        "x may have one axis or four; the axes that are not summed over are independent of each other.",
        inputs=_any_rank,
        hint="Is the axis written as 0 or 1, or the shape unpacked as (rows, columns)? axis=-1 is last in any rank.",
        mutant=lambda x, axis=-1: right(x, 1 if axis == -1 else axis)[0],
    )


def _large_logit_laws(family, naive, whole):
    """exp neither overflows nor leaves a row of zeros."""
    family.agrees(
        "large logits",
        "Logits in the thousands give the same answer as the same logits near zero.",
        atol=3e-3,  # x - logsumexp(x) is right too, and float32 has steps of 0.001 near 10,000
        inputs=_large,
        equation=SHIFT,
        slide=SLIDE,
        hint="In float32 exp(x) is inf above 88 and 0 below -104. What can you subtract from every logit of a row without "
        "changing the answer?",
        mutant=naive,
    )
    family.agrees(
        "each row by itself",
        "A row of large logits does not disturb a row of small ones.",
        inputs=_uneven,
        equation=SHIFT,
        hint="If you subtract the largest logit of the whole array, every exp of a row far below it is 0, and 0/0 is NaN. "
        "Subtract each row's own maximum.",
        mutant=whole,
    )


def _known_mistakes(family, naive, whole):
    right = family.right
    family.mistake(
        "the sum of everything",
        "All numbers of the output together sum to 1; each row should sum to 1. Give max and sum an axis, and "
        "keepdims=True.",
        lambda x, axis=-1: right(x.reshape(1, -1), -1)[0].reshape(x.shape),
    )
    family.mistake(
        "always the last axis",
        "The axis of the call is not used: pass it to max and to sum.",
        lambda x, axis=-1: right(x, -1)[0],
    )
    family.mistake(
        "always the first axis",
        "This runs along axis 0, whatever axis the caller asks for. The default is the last axis.",
        lambda x, axis=-1: right(x, 0)[0],
    )
    family.mistake(
        "exp of large numbers",
        "The numbers are right until exp overflows: in float32 exp(x) is inf above 88. Subtract the largest number of each "
        "row first. Why does that not change the answer?",
        naive,
    )
    family.mistake(
        "one maximum for all rows",
        "In a row far below the largest number of the whole array, every exp is 0. Subtract each row's own maximum: "
        "max needs the axis and keepdims=True.",
        whole,
    )


def _last_axis_back(right, args, options):
    """Backward along the last axis of four, whatever the axis is."""
    x = args[0]
    axis = options.get("axis", -1)
    return right(x, axis)[0], right(x, axis if x.ndim < 4 else -1)[1]


softmax = Family("softmax", _softmax, ("x",))
softmax.mistake(
    "exp without the sum",
    "These exps do not sum to 1: divide them by their sum along the axis.",
    lambda x, axis=-1: np.exp(x - x.max(axis=axis, keepdims=True)),
)
softmax.mistake(
    "the sum over the row left out on the way back",
    "This is p g, the diagonal of the Jacobian. Each output depends on every logit of its row: subtract the row's sum "
    "of p g, times p.",
    lambda x, axis=-1: (_softmax(x, axis)[0], lambda g: (g * _softmax(x, axis)[0],)),
    gradient=True,
)
softmax.mistake(
    "the derivative of one logit alone",
    "This is p (1 - p) g: only the effect of a logit on its own probability. It changes the other probabilities of its row "
    "too: p (g - sum of p g).",
    lambda x, axis=-1: (
        _softmax(x, axis)[0],
        lambda g: (g * _softmax(x, axis)[0] * (1 - _softmax(x, axis)[0]),),
    ),
    gradient=True,
)


def _naive(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _one_shift(x, axis=-1):
    e = np.exp(x - x.max())
    return e / e.sum(axis=axis, keepdims=True)


_declare(
    softmax,
    _naive,
    _one_shift,
    "The output is exp(x) divided by the sum of exps, so that each row sums to 1.",
)
gradients(
    softmax,
    inputs=_smooth,
    equation={"x": r"\bar x_i = p_i \Big(g_i - \sum_j g_j p_j\Big)"},
    hints={"x": "Each output depends on every logit of its row, through the sum. An all-ones g must give 0."},
    mutants={"x": lambda x, axis=-1: (_softmax(x, axis)[0], lambda g: (g * _softmax(x, axis)[0],))},
)


log_softmax = Family("log_softmax", _log_softmax, ("x",))


def _log_naive(x, axis=-1):
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _log_one_shift(x, axis=-1):
    shifted = x - x.max()
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


_declare(
    log_softmax,
    _log_naive,
    _log_one_shift,
    "The output is x minus the logarithm of the sum of exps of its row.",
)
log_softmax.agrees(
    "unlikely classes",
    "A class of probability 1e-52 has the logarithm -120, not -inf.",
    inputs=_far_apart,
    equation=LOG,
    hint="log(softmax(x)) rounds a small probability to 0 before the logarithm is taken. Write the logarithm of the "
    "quotient as a difference: the log of the exp cancels.",
    mutant=lambda x, axis=-1: np.log(_softmax(x, axis)[0]),
)
gradients(
    log_softmax,
    inputs=_smooth,
    equation={"x": r"\bar x_i = g_i - p_i \sum_j g_j"},
    hints={
        "x": "Each output contains its own logit, and the log of a sum over all logits of the row. Differentiate both."
    },
    mutants={
        "x": lambda x, axis=-1: (
            _log_softmax(x, axis)[0],
            lambda g: (g - np.exp(_log_softmax(x, axis)[0]) * g,),
        )
    },
)
log_softmax.mistake(
    "the log of a rounded probability",
    "A probability below 1e-45 is 0 in float32, and its log is -inf. Do not compute the probability: the log of the "
    "quotient is x minus the maximum, minus the log of the sum of exps.",
    lambda x, axis=-1: np.log(_softmax(x, axis)[0]),
)
log_softmax.mistake(
    "no log of the sum",
    "You subtract the sum of exps: subtract its logarithm.",
    lambda x, axis=-1: (
        x
        - x.max(axis=axis, keepdims=True)
        - np.exp(x - x.max(axis=axis, keepdims=True)).sum(axis=axis, keepdims=True)
    ),
)
log_softmax.mistake(
    "softmax itself",
    "These are the probabilities; their logarithms are asked for.",
    lambda x, axis=-1: _softmax(x, axis)[0],
)
log_softmax.mistake(
    "p g for p times the sum of g",
    "The log of the sum is part of every output of the row, so it gets the sum of their cotangents: p times the sum of g, "
    "not p g.",
    lambda x, axis=-1: (_log_softmax(x, axis)[0], lambda g: (g * (1 - _softmax(x, axis)[0]),)),
    gradient=True,
)
log_softmax.mistake(
    "the log of the sum taken for a constant",
    "This is g alone, the gradient through the output's own logit. The log of the sum depends on all logits of the row: "
    "subtract p times the sum of g.",
    lambda x, axis=-1: (_log_softmax(x, axis)[0], lambda g: (g,)),
    gradient=True,
)
log_softmax.mistake(
    "the gradient of softmax",
    "This is the gradient of softmax. That of its logarithm is simpler: g minus p times the sum of g.",
    lambda x, axis=-1: (_log_softmax(x, axis)[0], _softmax(x, axis)[1]),
    gradient=True,
)
