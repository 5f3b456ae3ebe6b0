"""The laws of cross_entropy.

Not here: class weights, label smoothing, ignored labels.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

LOSS = r"L = -\frac{1}{B} \sum_b \log \frac{e^{x_{b, t_b}}}{\sum_k e^{x_{bk}}}"
SLIDE = "A/33-classification-head"


def _log_p(logits, axis=-1):
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _cross_entropy(logits, target):
    B = len(logits)
    log_p = _log_p(logits)

    def vjp(g):
        d = np.exp(log_p)
        d[np.arange(B), target] -= 1
        return (g * d / B,)

    return -log_p[np.arange(B), target].mean(), vjp


cross_entropy = Family(
    "cross_entropy",
    _cross_entropy,
    ("logits",),
    form="f(logits, target); logits (B, K), target (B,) of int in 0 ... K - 1; the mean over B, a number",
)


# Every law has its own special case: one image or several, two classes or more


def _draw(draw, batch, classes, target=None):
    logits = numbers(draw, (batch, classes))
    drawn = [integer(draw, 0, classes - 1) for _ in range(batch)]
    return {"logits": logits, "target": np.array(drawn if target is None else target)}


def _one_of_two(draw):
    return _draw(draw, 1, 2)


def _one_of_many(draw):
    return _draw(draw, 1, integer(draw, 3, 5), [2])


def _batch(draw):
    return _draw(draw, integer(draw, 2, 4), 2)


def _large(draw):
    case = _draw(draw, 1, 2)
    return {**case, "logits": case["logits"] + np.float32(choose(draw, 100.0, 1000.0, 9990.0, -1000.0))}


def _sure_and_wrong(draw):
    case = _draw(draw, 1, 2, [1])
    return {**case, "logits": case["logits"] + np.array([[75, -45]], np.float32)}


def _any_size(draw):
    B, K = sizes(draw, 2, 1, 4)
    return _draw(draw, B, K)


def _smooth(draw):
    return _draw(draw, integer(draw, 2, 3), integer(draw, 2, 4))


def _simplest(draw):
    B, K = sizes(draw, 2, 2, 4)
    return {"logits": normals(draw, (B, K)), "target": generator(draw).integers(0, K, B)}


def _any_call(draw, apart):
    """Each row has its own level; the levels of two rows differ by at most twice ``apart``."""
    (B, K) = sizes(draw, 2, 1, 5)
    rng = generator(draw)
    logits = normals(draw, (B, K), choose(draw, 1, 3, 20))
    level = np.float32(choose(draw, 0, apart)) * rng.choice([-1, 0, 1], (B, 1)).astype(np.float32)
    return {"logits": logits + level, "target": rng.integers(0, K, B)}


def _anything(draw):
    return _any_call(draw, 64)  # float32 has steps of 1/131072 here


def _any_level(draw):
    return _any_call(draw, 4096)


def _agrees(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


cross_entropy.same = _agrees  # the law "shape" checks the shape


def _binary(logits, target):
    return _cross_entropy(logits[:, :2], np.minimum(target, 1))[0]


cross_entropy.agrees(
    "any class",
    "The target says which class is right, one of two or one of many.",
    inputs=_one_of_many,
    equation=LOSS,
    slide=SLIDE,
    hint="The loss is minus the log-probability of class target[b] in row b: log_p[np.arange(B), target].",
    mutant=_binary,
)
cross_entropy.agrees(
    "mean over the batch",
    "The loss of a batch is the mean of the losses of its rows.",
    inputs=_batch,
    equation=LOSS,
    slide=SLIDE,
    hint="Divide the sum by B; otherwise the learning rate would depend on the size of the batch.",
    mutant=lambda logits, target: _cross_entropy(logits, target)[0] * len(logits),
)


def _unshifted(logits, target):
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    return (log_sum - logits[np.arange(len(logits)), target]).mean()


cross_entropy.agrees(
    "large logits",
    "Logits in the thousands give the same loss as the same logits near zero.",
    atol=3e-3,  # logsumexp(x) - x_t is right too, and float32 has steps of 0.001 near 10,000
    inputs=_large,
    equation=r"\log \sum_k e^{x_k} = m + \log \sum_k e^{x_k - m}",
    hint="In float32 exp(x) is inf above 88 and 0 below -104. Subtract each row's largest logit first.",
    mutant=_unshifted,
)


def _log_of_softmax(logits, target):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return -np.log(p[np.arange(len(logits)), target]).mean()


cross_entropy.agrees(
    "sure and wrong",
    "A model that is sure of the wrong class has a large loss, not an infinite one.",
    inputs=_sure_and_wrong,
    equation=r"-\log p_t = \log \sum_k e^{x_k - m} - (x_t - m)",
    hint="A probability of 1e-52 is 0 in float32, and its log is -inf. Do not compute the probability: write the log of "
    "the quotient as a difference.",
    mutant=_log_of_softmax,
)
every_family(
    cross_entropy,
    inputs=_one_of_two,
    shapes=_any_size,
    wrong_shape=lambda logits, target: np.array([_cross_entropy(logits, target)[0]]),
    shape_equation=r"L \in \mathbb R",
    shape_hint="A loss is one number: shape (), neither (1,) nor one loss for each row.",
)


def _one_maximum(logits, target):
    """One maximum for all rows."""
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(logits)), target].mean()


values(
    cross_entropy,
    simplest=_simplest,
    words="a few rows of logits near zero",
    anything=_anything,
    hint="Here the logits of some rows are far larger than those of others. Which number do you subtract from each row?",
    mutant=_one_maximum,
)
for name, hint, answer in (
    (
        "the sum for the mean",
        "This is the sum over the rows: divide it by their number B.",
        lambda logits, target: _cross_entropy(logits, target)[0] * len(logits),
    ),
    (
        "divided by the number of classes too",
        "You take the mean over all B K numbers. Only one number of each row counts: divide by B.",
        lambda logits, target: _cross_entropy(logits, target)[0] / logits.shape[1],
    ),
    (
        "the sign",
        "The loss is negative: it is minus the mean of the log-probabilities.",
        lambda logits, target: -_cross_entropy(logits, target)[0],
    ),
    (
        "the probability for its logarithm",
        "This is minus the mean probability of the targets: take its logarithm.",
        lambda logits, target: -np.exp(_log_p(logits))[np.arange(len(logits)), target].mean(),
    ),
    (
        "every target for every row",
        "log_p[:, target] takes all targets in every row, B x B numbers. Row b has target[b]: "
        "log_p[np.arange(B), target].",
        lambda logits, target: -_log_p(logits)[:, target].mean(),
    ),
    (
        "softmax over the rows",
        "Here softmax runs down the columns. The probabilities of one image sum to 1: softmax along the last axis.",
        lambda logits, target: -_log_p(logits, axis=0)[np.arange(len(logits)), target].mean(),
    ),
    (
        "exp of large numbers",
        "The loss is right until exp overflows: in float32 it is inf above 88. Subtract each row's largest logit first.",
        _unshifted,
    ),
    (
        "the log of a rounded probability",
        "A probability below 1e-45 is 0 in float32, and its log is -inf. Do not compute the probability: write the log of "
        "the quotient as a difference.",
        _log_of_softmax,
    ),
    (
        "a small number under the log",
        "log(p + 1e-8) is never less than -18.4, and slightly wrong everywhere. Write the log of the quotient as a "
        "difference: then you never take the logarithm of 0.",
        lambda logits, target: -np.log(np.exp(_log_p(logits)) + 1e-8)[np.arange(len(logits)), target].mean(),
    ),
    (
        "one maximum for all rows",
        "In a row far below the largest logit of the batch, every exp is 0. Subtract each row's own maximum: axis=-1 and "
        "keepdims=True.",
        _one_maximum,
    ),
):
    cross_entropy.mistake(name, hint, answer)


def _not_divided(g, pulled, args, options):
    """The mean forgotten."""
    return (pulled[0] * len(args[0]),)


def _probabilities(g, pulled, args, options):
    """The one-hot target forgotten."""
    return (g * np.exp(_log_p(args[0])) / len(args[0]),)


def _only_the_target(g, pulled, args, options):
    """The gradient of the target's logit alone."""
    logits, target = args
    rows = np.arange(len(logits))
    d = np.zeros_like(logits)
    d[rows, target] = pulled[0][rows, target]
    return (d,)


def _classes_averaged(g, pulled, args, options):
    """Divided by all numbers of the logits."""
    return (pulled[0] / args[0].shape[1],)


def _one_maximum_back(g, pulled, args, options):
    """The probabilities with one maximum for all rows."""
    logits, target = args
    e = np.exp(logits - logits.max())
    d = e / e.sum(axis=-1, keepdims=True)
    d[np.arange(len(logits)), target] -= 1
    return (g * d / len(logits),)


gradients(
    cross_entropy,
    inputs=_smooth,
    equation={"logits": r"\bar x_{bk} = \frac{g}{B} (p_{bk} - [k = t_b])"},
    hints={
        "logits": "Probability minus one-hot target, divided by B, times g. Was the mean forgotten, or g?"
    },
    mutants={"logits": backward(_cross_entropy, _not_divided)},
)
gradient_values(
    cross_entropy,
    simplest=_simplest,
    words="a few rows of logits near zero",
    anything=_any_level,
    hint="Here the logits of some rows are far larger than those of others: the probabilities in the backward pass need "
    "each row's own maximum too.",
    mutant=backward(_cross_entropy, _one_maximum_back),
)
for name, hint, answer in (
    (
        "the mean forgotten on the way back",
        "The gradient is too large by the number of rows: the loss is a mean, so divide by B.",
        _not_divided,
    ),
    (
        "the target left out on the way back",
        "These are the probabilities times g / B. The gradient is the probability minus 1 for the target's class.",
        _probabilities,
    ),
    (
        "only the target's logit",
        "Only the logit of the target gets a gradient. The other logits are part of the sum of exps: their gradient is their "
        "probability times g / B.",
        _only_the_target,
    ),
    (
        "divided by the number of classes too",
        "The gradient is divided by B K; the loss is a mean over the B rows.",
        _classes_averaged,
    ),
    (
        "one maximum for all rows on the way back",
        "In a row far below the largest logit of the batch, every exp is 0, and 0/0 is NaN. Subtract each row's own maximum.",
        _one_maximum_back,
    ),
):
    cross_entropy.mistake(name, hint, backward(_cross_entropy, answer), gradient=True)
