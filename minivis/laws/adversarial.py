"""The laws of hinge_d and hinge_g, the losses of a discriminator and a generator.

Not here: the networks whose scores these are, other losses of adversarial training.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

HINGE_D = r"L_D = \frac1n \sum_i \max(0, 1 - r_i) + \frac1m \sum_j \max(0, 1 + f_j)"
HINGE_G = r"L_G = -\frac1m \sum_j f_j"


def _hinge_d(real, fake):
    below = np.maximum(1 - real, 0)
    above = np.maximum(1 + fake, 0)

    def vjp(g):
        return -g * (below > 0) / real.size, g * (above > 0) / fake.size

    return below.mean() + above.mean(), vjp


def _hinge_g(fake):
    return -fake.mean(), lambda g: (np.full_like(fake, -g / fake.size),)


hinge_d = Family(
    "hinge_d",
    _hinge_d,
    ("real", "fake"),
    form="f(real, fake); scores of real and of generated pictures, any shapes -> a number",
)
hinge_g = Family(
    "hinge_g", _hinge_g, ("fake",), form="f(fake); scores of generated pictures, any shape -> a number"
)


def _number(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


hinge_d.same = hinge_g.same = _number  # the law "shape" checks the shape


# Unless a law is about it: as many real as generated scores, and all of them between -1 and 1, where the loss is linear


def _scores(draw, count, low, high):
    """Scores strictly between two bounds, away from kinks."""
    part = generator(draw).integers(1, 20, count) / 20
    return (low + (high - low) * part).astype(np.float32)


def _inside(draw):
    n = integer(draw, 2, 4)
    return {"real": _scores(draw, n, -1, 1), "fake": _scores(draw, n, -1, 1)}


def _sure(draw):
    n = integer(draw, 1, 3)
    return {"real": _scores(draw, n, 1, 4), "fake": _scores(draw, n, -4, -1)}


def _fooled(draw):
    n = integer(draw, 1, 3)
    return {"real": _scores(draw, n, -9, -2), "fake": _scores(draw, n, 2, 9)}


def _unequal(draw):
    n = integer(draw, 1, 3)
    return {"real": _scores(draw, n, -1, 1), "fake": _scores(draw, n + integer(draw, 1, 3), -1, 1)}


def _one_each(draw):
    return {"real": _scores(draw, 1, -1, 1), "fake": _scores(draw, 1, -1, 1)}


def _simplest(draw):
    n = integer(draw, 2, 4)
    return {"real": normals(draw, n) * np.float32(1.5), "fake": normals(draw, n) * np.float32(1.5)}


def _any_shape(draw):
    return choose(draw, (3,), (1,), (4, 1), (2, 3), (1, 2, 2))


def _away(scores, kink):
    """Scores that are not at the kink, nor so near that a difference quotient crosses it."""
    return np.where(np.abs(scores - kink) < 0.01, np.float32(kink + 0.5), scores).astype(np.float32)


def _anything(draw):
    scale = choose(draw, 1, 3, 100)
    real = normals(draw, _any_shape(draw), scale)
    fake = normals(draw, _any_shape(draw), scale)
    return {"real": _away(real, 1), "fake": _away(fake, -1)}


def _mean_of_columns(x):
    """The mean over the first axis alone, and the sum over all others."""
    return x.mean(axis=0).sum()


hinge_d.agrees(
    "right and sure costs nothing",
    "Real scores above 1 and generated scores below -1 add nothing.",
    inputs=_sure,
    value=False,
    equation=r"r_i \ge 1,\; f_j \le -1 \;\Rightarrow\; L_D = 0",
    hint="max(0, ...) cuts off what is on the right side of its margin: np.maximum(1 - real, 0).",
    mutant=lambda real, fake: (1 - real).mean() + (1 + fake).mean(),
)
hinge_d.agrees(
    "as wrong as it is",
    "On the wrong side the loss grows with the score, without a limit.",
    inputs=_fooled,
    equation=HINGE_D,
    hint="Is something clipped from above too? Only 0 is a limit, from below.",
    mutant=lambda real, fake: np.clip(1 - real, 0, 2).mean() + np.clip(1 + fake, 0, 2).mean(),
)
hinge_d.agrees(
    "each mean by itself",
    "Real and generated scores count by their own means, however many there are of each.",
    inputs=_unequal,
    equation=HINGE_D,
    hint="With two real and six generated pictures: divide the first sum by 2 and the second by 6.",
    mutant=lambda real, fake: (
        2 * np.concatenate([1 - real.ravel(), 1 + fake.ravel()]).clip(0).mean(dtype=real.dtype)
    ),
)
every_family(
    hinge_d,
    inputs=_inside,
    shapes=_one_each,
    wrong_shape=lambda real, fake: np.array([_hinge_d(real, fake)[0]]),
    shape_equation=r"L_D \in \mathbb R",
    shape_hint="A loss is one number: shape (), not (1,) nor one for each picture.",
)
values(
    hinge_d,
    simplest=_simplest,
    words="a few scores, as many real as generated",
    anything=_anything,
    hint="Scores may stand in a column or on a map: every single one counts the same in the mean.",
    mutant=lambda real, fake: (
        _mean_of_columns(np.maximum(1 - real, 0)) + _mean_of_columns(np.maximum(1 + fake, 0))
    ),
)
for name, hint, answer in (
    (
        "the signs the other way around",
        "This pushes real scores down and generated ones up. Real: 1 - real; generated: 1 + fake.",
        lambda real, fake: np.maximum(1 + real, 0).mean() + np.maximum(1 - fake, 0).mean(),
    ),
    (
        "no margin",
        "The margin is 1: a real score of 0.5 still costs 0.5. max(0, 1 - real), not max(0, -real).",
        lambda real, fake: np.maximum(-real, 0).mean() + np.maximum(fake, 0).mean(),
    ),
    (
        "nothing cut off",
        "A very high real score makes your loss negative. Cut each term off at 0 before taking the mean.",
        lambda real, fake: (1 - real).mean() + (1 + fake).mean(),
    ),
    (
        "the mean cut off",
        "You take the mean first and cut it off then: a high score pays for a low one. Cut each term off by itself.",
        lambda real, fake: np.maximum((1 - real).mean(), 0) + np.maximum((1 + fake).mean(), 0),
    ),
    (
        "the squared hinge",
        "The terms are squared; this loss takes them as they are.",
        lambda real, fake: (np.maximum(1 - real, 0) ** 2).mean() + (np.maximum(1 + fake, 0) ** 2).mean(),
    ),
    (
        "the sum for the mean",
        "This is the sum over the pictures: divide it by their number.",
        lambda real, fake: np.maximum(1 - real, 0).sum() + np.maximum(1 + fake, 0).sum(),
    ),
    (
        "half of it",
        "You take the mean of the two parts; the loss is their sum.",
        lambda real, fake: _hinge_d(real, fake)[0] / 2,
    ),
):
    hinge_d.mistake(name, hint, answer)


def _not_cut_off(g, pulled, args, options):
    """Gradients also for what is right and sure."""
    real, fake = args
    return np.full_like(real, -g / real.size), np.full_like(fake, g / fake.size)


def _by_rows(g, pulled, args, options):
    """Divided by the length of the first axis alone."""
    return tuple(d * (x.size / len(x)) for d, x in zip(pulled, args, strict=True))


def _mixed(draw):
    n = integer(draw, 2, 3)
    real = _scores(draw, n, -1, 1)
    fake = _scores(draw, n, -1, 1)
    real[0] += 3
    fake[0] -= 3
    return {"real": real, "fake": fake}


gradients(
    hinge_d,
    inputs=_mixed,
    equation={
        "real": r"\bar r_i = -\frac{g}{n} [r_i < 1]",
        "fake": r"\bar f_j = \frac{g}{m} [f_j > -1]",
    },
    hints={
        "real": "A real score above 1 adds nothing, so its gradient is 0; of the others it is -g / n.",
        "fake": "A generated score below -1 adds nothing, so its gradient is 0; of the others it is g / m.",
    },
    mutants={
        "real": backward(_hinge_d, lambda g, p, a, o: (_not_cut_off(g, p, a, o)[0], p[1])),
        "fake": backward(_hinge_d, lambda g, p, a, o: (p[0], _not_cut_off(g, p, a, o)[1])),
    },
)
gradient_values(
    hinge_d,
    simplest=_simplest,
    words="a few scores, as many real as generated",
    anything=_anything,
    hint="The mean runs over all scores: divide by their number (size), not by the length of the first axis.",
    mutant=backward(_hinge_d, _by_rows),
)
hinge_d.mistake(
    "gradients for what is right and sure",
    "Scores on the right side of their margin have gradient 0: they add nothing to the loss.",
    backward(_hinge_d, _not_cut_off),
    gradient=True,
)


def _low(draw):
    return {"fake": _scores(draw, integer(draw, 2, 4), -3, 1)}


def _high(draw):
    return {"fake": _scores(draw, integer(draw, 1, 3), 1, 5)}


def _between(draw):
    return {"fake": _scores(draw, integer(draw, 2, 4), 0, 1)}


def _one_score(draw):
    return {"fake": _scores(draw, 1, 0, 1)}


def _simplest_g(draw):
    return {"fake": normals(draw, integer(draw, 2, 4))}


def _anything_g(draw):
    return {"fake": normals(draw, _any_shape(draw), choose(draw, 1, 3, 100))}


hinge_g.agrees(
    "minus the mean",
    "The loss is minus the mean score of the generated pictures.",
    inputs=_low,
    equation=HINGE_G,
    hint="The generator wants high scores, and training makes the loss small: so the loss is minus the score.",
    mutant=lambda fake: -np.maximum(fake, 0).mean(),
)
hinge_g.agrees(
    "no margin",
    "Scores above 1 count too: the generator goes on raising them.",
    inputs=_high,
    equation=HINGE_G,
    hint="Only the discriminator's loss has a hinge. The generator's is linear in the scores.",
    mutant=lambda fake: np.maximum(1 - fake, 0).mean() - 1,
)
every_family(
    hinge_g,
    inputs=_between,
    shapes=_one_score,
    wrong_shape=lambda fake: np.array([_hinge_g(fake)[0]]),
    shape_equation=r"L_G \in \mathbb R",
    shape_hint="A loss is one number: shape (), not (1,) nor one for each picture.",
)
values(
    hinge_g,
    simplest=_simplest_g,
    words="a few scores",
    anything=_anything_g,
    hint="Scores may stand in a column or on a map: every single one counts the same in the mean.",
    mutant=lambda fake: -_mean_of_columns(fake),
)
for name, hint, answer in (
    ("the sign", "This makes the scores of the generated pictures small: the generator wants them large.", np.mean),
    ("the sum for the mean", "This is minus the sum over the pictures: divide it by their number.", lambda fake: -fake.sum()),
    (
        "a hinge for the generator",
        "max(0, 1 - D) stops at 1. The generator's loss has no hinge: it is minus the mean score.",
        lambda fake: np.maximum(1 - fake, 0).mean(),
    ),
    (
        "the logarithm of another loss",
        "This is -log sigmoid(D), the loss of the first GANs. Here the scores count as they are.",
        lambda fake: np.log1p(np.exp(-fake)).mean(),
    ),
):  # fmt: skip
    hinge_g.mistake(name, hint, answer)


gradients(
    hinge_g,
    inputs=_low,
    equation={"fake": r"\bar f_j = -\frac{g}{m}"},
    hints={"fake": "Each score has the same share of the mean: its gradient is -g / m."},
    mutants={"fake": backward(_hinge_g, lambda g, pulled, args, options: (pulled[0] * args[0].size,))},
)
gradient_values(
    hinge_g,
    simplest=_simplest_g,
    words="a few scores",
    anything=_anything_g,
    hint="The mean runs over all scores: divide by their number (size), not by the length of the first axis.",
    mutant=backward(_hinge_g, _by_rows),
)
