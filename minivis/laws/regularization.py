"""The laws of drop_path and survival_schedule: stochastic depth.

Not here: the rule that drops a whole batch, dropout of single numbers.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer, normals
from minivis.laws.judging.manners import every_family, quiet_law, shape_law
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/27-stochastic-depth"
PATH = r"y_b = \frac{m_b}{1 - r}\, x_b, \quad m_b \sim \mathrm{Bernoulli}(1 - r)"
SURVIVAL = r"p_l = 1 - \frac{l}{L} (1 - p_L), \quad l = 1, \dots, L"


def _drop_path(x, rate, training, rng):
    if not training or rate == 0:
        return x.copy(), None
    if rate == 1:
        return np.zeros_like(x), None
    kept = rng.random(len(x)) >= rate
    return x * kept.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype) / (1 - rate), None


drop_path = Family(
    "drop_path",
    _drop_path,
    ("x",),
    form="f(x, rate, training, rng); x (B, ...) is what a residual branch computed, rate the probability that a sample "
    "loses it, rng a numpy.random.Generator -> (B, ...)",
)


def _rows(f, case):
    """Which samples stay; raise `Broken` unless each is dropped as a whole or scaled by 1 / (1 - rate)."""
    x = case["x"].astype(np.float64)
    got = f(case)
    if got.shape != x.shape:
        compare(got, x)
    kept = np.array([bool(np.any(row)) for row in got], bool)
    column = kept.reshape(-1, *[1] * (x.ndim - 1))
    compare(got, np.where(column, x, 0) / (1 - min(case["rate"], 0.999)))
    return kept


def _one_of_the_right_draws(f, case, atol=None):
    """Nothing changes in evaluation; in training each sample is 0 or scaled, and about the right share is 0."""
    rate = case["rate"]
    if not case["training"] or rate in (0, 1):
        compare(f(case), case["x"].astype(np.float64) * (rate < 1 or not case["training"]))
        return
    kept = _rows(f, case)
    there = np.array([bool(np.any(row)) for row in case["x"]], bool)  # a sample of zeros shows nothing
    _about(int(kept.sum()), int(there.sum()), rate)


drop_path.same = _one_of_the_right_draws


def _about(kept, count, rate):
    """Raise unless about the right share of the samples is kept: within six standard deviations."""
    expected = count * (1 - rate)
    if abs(kept - expected) > 6 * (count * rate * (1 - rate)) ** 0.5 + 1e-9:
        raise Broken(f"{kept} of {count} samples stay; about {expected:.0f} were expected.")


def _samples(draw, *shape, rate=None, training=True):
    """Samples without zeros."""
    x = normals(draw, shape)
    return {
        "x": np.where(np.abs(x) < 0.1, np.float32(0.5), x),
        "rate": choose(draw, 0.5, 0.2, 0.8) if rate is None else rate,
        "training": training,
        "rng": generator(draw),
    }


def _by(kept_of):
    """A mutant with other draws: ``kept_of(rng, x, rate)`` says what stays, in a shape that broadcasts."""

    def mutant(x, rate, training, rng):
        if not training or rate == 0:
            return x.copy()
        factor = 0 if rate == 1 else 1 / (1 - rate)
        return x * kept_of(rng, x, rate).astype(x.dtype) * factor

    return mutant


def _row_shape(x):
    return (len(x), *[1] * (x.ndim - 1))


_batch_at_once = _by(lambda rng, x, rate: np.asarray(rng.random() >= rate))
_single_numbers = _by(lambda rng, x, rate: rng.random(x.shape) >= rate)
_turned_around = _by(lambda rng, x, rate: rng.random(_row_shape(x)) < rate)


def _not_scaled(x, rate, training, rng):
    return _drop_path(x, rate, training, rng)[0] * (1 - rate if training and rate < 1 else 1)


def _scaled_twice(x, rate, training, rng):
    return _drop_path(x, rate, training, rng)[0] * (1 if training else 1 - rate)


def _paper(x, rate, training, rng):
    return x * (1 - rate) if not training else _not_scaled(x, rate, training, rng)


def _nan(x, rate, training, rng):
    if not training or rate == 0:
        return x.copy()
    with np.errstate(all="ignore"):
        kept = (rng.random(_row_shape(x)) >= rate).astype(x.dtype)
        return (x * (kept / np.asarray(1 - rate, x.dtype))).astype(x.dtype)


@drop_path.law(
    "nothing changes in evaluation",
    inputs=lambda draw: _samples(draw, integer(draw, 2, 4), 2, training=False),
    equation=r"\text{in evaluation: } y = x",
    slide=SLIDE,
    hint="The mean is right in training already, because what stays is scaled up: in evaluation return x.",
    mutant=_scaled_twice,
    value=False,  # x itself keeps it
)
def _identity(f, case):
    """With training=False the result is x, bit for bit."""
    got = f(case)
    if not np.array_equal(got, case["x"]):
        raise Broken("In evaluation the result is not x.", case["x"], got)


@drop_path.law(
    "whole samples",
    inputs=lambda draw: _samples(draw, 12, integer(draw, 3, 4), 2),
    equation=PATH,
    slide=SLIDE,
    hint="One draw for each sample: a mask of shape (B, 1, ..., 1), which broadcasts over the sample.",
    mutant=_single_numbers,
    right_too=False,
)
def _whole(f, case):
    """A sample is dropped as a whole, or not at all."""
    got = f(case)
    for row in got.reshape(len(got), -1):
        if np.any(row) and not np.all(row):
            raise Broken("Of one sample, some numbers are dropped and others stay.", got=row)


@drop_path.law(
    "what stays is scaled up",
    inputs=lambda draw: _samples(draw, 24),
    equation=r"y_b \in \{0,\; x_b / (1 - r)\}",
    slide=SLIDE,
    hint="Divide what stays by the probability 1 - rate that it stays: then the mean over many draws is x.",
    mutant=_not_scaled,
    right_too=False,
)
def _scaled(f, case):
    """What stays in training is divided by 1 - rate."""
    x = case["x"].astype(np.float64)
    got = f(case)
    compare(np.where(got == 0, 0, got), np.where(got == 0, 0, x / (1 - case["rate"])))


@drop_path.law(
    "each sample by itself",
    inputs=lambda draw: _samples(draw, 60, rate=0.5),
    equation=PATH,
    slide=SLIDE,
    hint="Draw B numbers, one for each sample of the batch, not one for all of them.",
    mutant=_batch_at_once,
    right_too=False,
)
def _mixed(f, case):
    """In a batch some samples are dropped and others stay."""
    kept = np.count_nonzero(f(case).reshape(len(case["x"]), -1).any(axis=1))
    if kept in (0, len(case["x"])):
        raise Broken(
            f"All {len(case['x'])} samples of the batch {'stay' if kept else 'are dropped'} together."
        )


@drop_path.law(
    "as often as asked",
    inputs=lambda draw: _samples(draw, 400, rate=choose(draw, 0.1, 0.9, 0.25)),
    equation=r"\Pr(m_b = 0) = r",
    slide=SLIDE,
    hint="rate is the probability of dropping: a sample stays if its number, drawn from [0, 1), is at least rate.",
    mutant=_turned_around,
    right_too=False,
)
def _share(f, case):
    """The share of samples that are dropped is about rate."""
    count = len(case["x"])
    kept = np.count_nonzero(f(case).reshape(count, -1).any(axis=1))
    if kept not in (0, count):  # "each sample by itself" says more about that
        _about(kept, count, case["rate"])


@drop_path.law(
    "rate 1 drops everything",
    inputs=lambda draw: _samples(draw, integer(draw, 2, 4), 2, rate=1.0),
    slide=SLIDE,
    hint="1 - rate is 0 there: 0 / 0 is NaN. Treat this case before you divide.",
    mutant=_nan,
)
def _everything(f, case):
    """With rate 1 the result is 0, not NaN."""
    got = f(case)
    if got.shape != case["x"].shape or not np.array_equal(got, np.zeros_like(got)):
        raise Broken("With rate 1 something is left.", got=got)


every_family(
    drop_path,
    inputs=lambda draw: _samples(draw, 200, 2, rate=0.05),
    shapes=lambda draw: _samples(draw, integer(draw, 1, 2), 1, integer(draw, 1, 2)),
)


def _any_path(draw):
    shape = [choose(draw, 40, 1, 3, 200), *(integer(draw, 1, 3) for _ in range(integer(draw, 0, 3)))]
    rate = choose(draw, 0.3, 0.5, 0.1, 0.8, 0.0, 1.0)
    return _samples(draw, *shape, rate=rate, training=choose(draw, True, True, True, False))


values(
    drop_path,
    simplest=lambda draw: _samples(draw, 50, integer(draw, 1, 2), rate=0.5),
    words="samples that are vectors, half of them dropped",
    anything=_any_path,
    hint="The samples may be numbers, vectors or maps, and the batch may have one sample: of what shape is the mask?",
    mutant=lambda x, rate, training, rng: (
        _drop_path(x, rate, training, rng)[0] * (1 if x.ndim < 4 or not training or rate == 1 else 1 - rate)
    ),
)
for name, hint, answer in (
    (
        "single numbers are dropped",
        "This is dropout: it drops single numbers. Draw one number for each sample.",
        _single_numbers,
    ),
    (
        "the whole batch is dropped",
        "This draws once for the whole batch, as the paper does. Here each sample has its own draw.",
        _batch_at_once,
    ),
    ("not scaled", "What stays is not divided by 1 - rate, so the mean is too small.", _not_scaled),
    (
        "scaled in evaluation too",
        "In evaluation the result is multiplied by 1 - rate although training has already divided by it: return x.",
        _scaled_twice,
    ),
    (
        "the paper's factor",
        "This is the paper's rule: no factor in training, 1 - rate in evaluation. Here the factor is in training.",
        _paper,
    ),
    (
        "kept as often as it should be dropped",
        "rate is the probability of dropping a sample. You keep it with that probability.",
        _turned_around,
    ),
):
    drop_path.mistake(name, hint, answer)


def _survival_schedule(layers, last):
    return 1 - np.arange(1, layers + 1) / layers * (1 - last), None


survival_schedule = Family(
    "survival_schedule",
    _survival_schedule,
    form="f(layers, last) -> (layers,): the probability that each residual branch survives, the first one's first; "
    "last is that of the last",
)


def _schedule(change):
    """A mutant: ``change(l, layers, last)`` with l = 1, ..., layers."""
    return lambda layers, last: change(np.arange(1, layers + 1), layers, last)


_timm = _schedule(lambda l, L, last: 1 - (l - 1) / (L - 1) * (1 - last) if L > 1 else np.array([last]))  # noqa: E741
_as_rate = _schedule(lambda l, L, last: 1 - l / L * last)  # noqa: E741


@survival_schedule.law(
    "the last branch",
    inputs=lambda draw: {"layers": integer(draw, 2, 5), "last": choose(draw, 0.8, 0.3, 0.9, 0.7)},
    equation=r"p_L = \text{last}",
    slide=SLIDE,
    hint="last is the probability of surviving, not that of being dropped: with l = L the formula gives last.",
    mutant=_as_rate,
    value=True,
    right_too=False,
)
def _last(f, case):
    """The last branch survives with the given probability."""
    compare(np.asarray(f(case).ravel()[-1:]), np.array([case["last"]]), what="The last probability")


survival_schedule.agrees(
    "the first branch may be dropped too",
    "The first branch survives with probability 1 - (1 - last) / L: l counts from 1.",
    inputs=lambda draw: {"layers": integer(draw, 2, 9), "last": 0.5},
    equation=SURVIVAL,
    slide=SLIDE,
    hint="l runs from 1 to L. With l from 0 and L - 1 below it, it is the rule of today's libraries, not the paper's.",
    mutant=_timm,
)
shape_law(
    survival_schedule,
    lambda draw: {"layers": integer(draw, 1, 3), "last": 0.5},
    hint="A list of one branch still has an axis.",
)
quiet_law(survival_schedule, lambda draw: {"layers": integer(draw, 1, 3), "last": 0.5})
values(
    survival_schedule,
    simplest=lambda draw: {"layers": integer(draw, 2, 30), "last": 0.5},
    words="half of the last branches survive",
    anything=lambda draw: {
        "layers": integer(draw, 1, 60),
        "last": round(float(generator(draw).uniform(0, 1)), 3),
    },
    hint="Write down p for L = 4 and last = 0.2: 0.8, 0.6, 0.4, 0.2.",
    mutant=lambda layers, last: np.maximum(_survival_schedule(layers, last)[0], 0.2),
)
for name, hint, answer in (
    (
        "from no drop at all",
        "Your first branch is never dropped: l counts from 1, and L stands below it.",
        _timm,
    ),
    ("the rate in the place of the survival", "These are 1 - l / L * last: last is what survives.", _as_rate),
    (
        "what is dropped",
        "These are the probabilities of dropping. The schedule has those of surviving: 1 minus them.",
        lambda layers, last: 1 - _survival_schedule(layers, last)[0],
    ),
    (
        "the last branch first",
        "The probabilities rise: they should fall from the first branch to the last.",
        lambda layers, last: _survival_schedule(layers, last)[0][::-1],
    ),
    (
        "a product in the place of a line",
        "These fall as last ** (l / L). The paper's rule is a straight line.",
        _schedule(lambda l, L, last: last ** (l / L)),  # noqa: E741
    ),
):
    survival_schedule.mistake(name, hint, answer)
