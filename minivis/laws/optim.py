"""The laws of cosine_schedule: the values of a schedule, a warm-up and half a cosine, exactly as DINO's code makes them.

Not here: schedules that are functions of the step, optimisers.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer, without_defaults
from minivis.laws.judging.manners import quiet_law, shape_law
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

FALLING = r"v_i = end + \frac12 (start - end) \Big(1 + \cos\frac{\pi i}{n}\Big), \quad i = 0, \dots, n - 1"
WARMUP = r"v_j = start \cdot \frac{j}{w - 1}, \quad j = 0, \dots, w - 1"


def _cosine(start, end, count):
    return end + 0.5 * (start - end) * (1 + np.cos(np.pi * np.arange(count) / max(1, count)))


def _cosine_schedule(start, end, steps, warmup=0):
    rising = np.linspace(0, start, warmup)
    return np.concatenate([rising, _cosine(start, end, steps - warmup)]), None


cosine_schedule = Family(
    "cosine_schedule",
    _cosine_schedule,
    form="f(start, end, steps, warmup=0) -> (steps,): first warmup values that rise evenly from 0 to start, both included, then "
    "n = steps - warmup values of half a cosine from start towards end; i / n stays below 1, so that end itself is not "
    "reached",
)


def _drawn(draw, warmup, after, start=None, end=None):
    start = choose(draw, 1.0, 0.5, 2.0) if start is None else start
    return {"start": start, "end": choose(draw, 0.0, 0.1) if end is None else end, "steps": warmup + after, "warmup": warmup}  # fmt: skip


def _long(draw):
    """A warm-up of at most half of the steps."""
    warmup = integer(draw, 2, 4)
    return _drawn(draw, warmup, warmup + integer(draw, 1, 5))


def _parts(rising=None, falling=None):
    """A mutant with another warm-up, ``rising(start, warmup)``, or another rest, ``falling(start, end, n)``."""
    rising = rising or (lambda start, warmup: np.linspace(0, start, warmup))
    falling = falling or _cosine

    def mutant(start, end, steps, warmup=0):
        return np.concatenate([rising(start, warmup), falling(start, end, steps - warmup)])

    return mutant


_end_reached = _parts(
    falling=lambda start, end, n: end + 0.5 * (start - end) * (1 + np.cos(np.linspace(0, np.pi, n)))
)
_start_not_reached = _parts(rising=lambda start, warmup: np.linspace(0, start, warmup, endpoint=False))
_not_from_zero = _parts(rising=lambda start, warmup: start * np.arange(1, warmup + 1) / max(1, warmup))
_only_down = _parts(falling=lambda start, end, n: _cosine(end + abs(start - end), end, n))


def _always_a_warmup(start, end, steps, warmup=0):
    return _cosine_schedule(start, end, steps, max(1, warmup))[0]


def _half_at_most(start, end, steps, warmup=0):
    return _cosine_schedule(start, end, steps, min(warmup, steps // 2))[0]


def _entries(which, what):
    """Check some entries alone: ``which(case)`` is a slice of them."""

    def check(f, case):
        entries = which(case)
        compare(np.asarray(f(case)[entries]), np.asarray(f.right(case)[entries]), what=what)

    return check


for name, sentence, inputs, which, equation, hint, mutant in (
    (
        "without a warm-up it begins at start",
        "Without a warm-up the first value is start.",
        lambda draw: {k: v for k, v in _drawn(draw, 0, integer(draw, 2, 5)).items() if k != "warmup"},
        lambda case: slice(0, 1),
        r"w = 0 \;\Rightarrow\; v_0 = start",
        "With warmup 0 there is no value of a warm-up at all: the first one belongs to the cosine.",
        _always_a_warmup,
    ),
    (
        "the warm-up goes from 0 to start",
        "The warm-up begins with 0 and ends with start.",
        _long,
        lambda case: slice(0, case["warmup"]),
        WARMUP,
        "np.linspace(0, start, warmup): both ends are among its values.",
        _start_not_reached,
    ),
    (
        "end is not reached",
        "The last value is one step before end.",
        _long,
        lambda case: slice(case["steps"] - 1, case["steps"]),
        FALLING,
        "i runs from 0 to n - 1, and n stands below it: np.arange(n) / n, not np.linspace(0, 1, n).",
        _end_reached,
    ),
    (
        "it can rise too",
        "If end is larger than start, the cosine rises: so the weight decay goes from 0.04 to 0.4.",
        lambda draw: {**_long(draw), "start": choose(draw, 0.04, 0.5), "end": choose(draw, 0.9, 2.0)},
        lambda case: slice(case["warmup"], case["warmup"] + 1),
        FALLING,
        "start - end may be negative: it is not a height without a sign.",
        _only_down,
    ),
):
    cosine_schedule.law(
        name, sentence=sentence, inputs=inputs, equation=equation, hint=hint, mutant=mutant, value=True, right_too=False
    )(_entries(which, "The entries that this law is about"))  # fmt: skip
shape_law(
    cosine_schedule,
    _long,
    mutant=lambda start, end, steps, warmup=0: np.append(_cosine_schedule(start, end, steps, warmup)[0], end),
    hint="There are steps values in all: warmup of them in the warm-up, steps - warmup in the cosine, and no last one for end.",
)
quiet_law(cosine_schedule, _long)


def _anything(draw):
    rng = generator(draw)
    steps = integer(draw, 1, 40)
    warmup = choose(draw, 0, integer(draw, 0, steps), integer(draw, 0, steps))
    start, end = (round(float(x), 3) for x in rng.uniform(0, choose(draw, 1, 10), 2))
    return {"start": start, "end": end, "steps": steps, **without_defaults({"warmup": warmup}, warmup=0)}


values(
    cosine_schedule,
    simplest=lambda draw: {"start": choose(draw, 1.0, 0.5), "end": 0.0, "steps": integer(draw, 2, 8)},
    words="no warm-up, down to 0",
    anything=_anything,
    hint="The warm-up may be as long as all steps: then nothing is left for the cosine.",
    mutant=_half_at_most,
)
for name, hint, answer in (
    ("end reached", "Your last value is end. i / n goes from 0 to (n - 1) / n.", _end_reached),
    ("the warm-up ends below start", "Your warm-up does not reach start: np.linspace(0, start, warmup) has both ends.", _start_not_reached),
    ("the warm-up begins above 0", "Your warm-up begins with start / warmup: here it begins with 0.", _not_from_zero),
    (
        "start and end swapped",
        "The schedule goes from end to start.",
        lambda start, end, steps, warmup=0: _cosine_schedule(end, start, steps, warmup)[0],
    ),
    (
        "a straight line",
        "This is a straight line. The cosine is flat at both ends.",
        _parts(falling=lambda start, end, n: start + (end - start) * np.arange(n) / max(1, n)),
    ),
    (
        "a whole cosine",
        "The angle goes to 2 pi, down and up again: half a cosine ends at pi.",
        _parts(falling=lambda start, end, n: end + 0.5 * (start - end) * (1 + np.cos(2 * np.pi * np.arange(n) / max(1, n)))),
    ),
    (
        "the cosine over all steps",
        "The cosine is stretched over all steps. It has those after the warm-up: n = steps - warmup.",
        lambda start, end, steps, warmup=0: np.concatenate([np.linspace(0, start, warmup), _cosine(start, end, steps)[warmup:]]),
    ),
    ("only downwards", "With end above start the values should rise.", _only_down),
):  # fmt: skip
    cosine_schedule.mistake(name, hint, answer)
