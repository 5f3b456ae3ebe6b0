"""The laws of cross_entropy.

Not here: class weights, label smoothing, ignored labels.
"""

import functools

import numpy as np

from minivis.laws.candidate import compare
from minivis.laws.catalogue import Family
from minivis.laws.common import every_family, gradients, mutated
from minivis.laws.inputs import choose, integer, numbers, sizes
from minivis.laws.sandbox import Broken

LOSS = r"L = -\frac{1}{B} \sum_b \log \frac{e^{x_{b, t_b}}}{\sum_k e^{x_{bk}}}"
SLIDE = "H: ViT : Vision Transformer"


def _cross_entropy(logits, target):
    B = len(logits)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

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


# Every law has its corner: one image or several, two classes or more


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


def _agrees(f, case, atol=2e-5):
    """Agreement, whatever the shape of the single number."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


def _law(name, sentence, atol=2e-5, **of_the_law):
    cross_entropy.law(name, sentence=sentence, **of_the_law)(functools.partial(_agrees, atol=atol))


def _binary(logits, target):
    return _cross_entropy(logits[:, :2], np.minimum(target, 1))[0]


_law(
    "any class",
    "The target says which class counts, one of two or one of many.",
    inputs=_one_of_many,
    equation=LOSS,
    slide=SLIDE,
    hint="The loss is minus the log-probability of class target[b] in row b: log_p[np.arange(B), target].",
    mutant=_binary,
)
_law(
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


_law(
    "large logits",
    "Logits of thousands give the same loss as the same logits near zero.",
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


_law(
    "sure and wrong",
    "A model that is sure of the wrong class has a large loss, not an infinite one.",
    inputs=_sure_and_wrong,
    equation=r"-\log p_t = \log \sum_k e^{x_k - m} - (x_t - m)",
    hint="A probability of 1e-52 is 0 in float32, and its log -inf. Never compute the probability: write the log of the "
    "quotient out.",
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


def _not_divided(right, args, options):
    out, vjp = right(*args, **options)
    return out, lambda g: (vjp(g)[0] * len(args[0]),)


gradients(
    cross_entropy,
    inputs=_smooth,
    equation={"logits": r"\bar x_{bk} = \frac{g}{B} (p_{bk} - [k = t_b])"},
    hints={
        "logits": "Probability minus one-hot target, divided by B, times g. Was the mean forgotten, or g?"
    },
    mutants={"logits": mutated(_cross_entropy, _not_divided)},
)
