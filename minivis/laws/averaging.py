"""The laws of ema, the exponential moving average of weights: a teacher follows its student.

Not here: modules and dicts of weights, running statistics of batch norm.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "A/99-student-and-teacher"


def _ema(teacher, student, m):
    return m * teacher + (1 - m) * student, None


ema = Family(
    "ema",
    _ema,
    ("teacher", "student"),
    form="f(teacher, student, m); two arrays of one shape, m from 0 to 1 -> the new teacher, a new array",
)


# Unless a law is about it: m is 0.5, weights have few binary digits


def _weights(draw, m=0.5, shape=None):
    shape = sizes(draw, integer(draw, 1, 2)) if shape is None else shape
    teacher, student = (np.round(normals(draw, shape) * 4) / 4 for _ in range(2))
    return {"teacher": teacher.astype(np.float32), "student": student.astype(np.float32), "m": m}


def _any_weights(draw):
    shape = tuple(integer(draw, 1, 4) for _ in range(integer(draw, 1, 4)))
    scale = choose(draw, 1, 0.02, 30)
    m = choose(draw, 0.996, 0.9, 0.5, 0.0, 1.0, 0.25)
    return {"teacher": normals(draw, shape, scale), "student": normals(draw, shape, scale), "m": m}


def _swapped(teacher, student, m):
    return (1 - m) * teacher + m * student


def _below_one(teacher, student, m):
    """m kept below 1, so that the teacher never stands still."""
    m = min(m, 0.99)
    return m * teacher + (1 - m) * student


def _default_for_zero(teacher, student, m):
    m = m or 0.996
    return m * teacher + (1 - m) * student


def _half(teacher, student, m):
    return (m * teacher + (1 - m) * student).astype(np.float16).astype(teacher.dtype)


def _first_axes(teacher, student, m):
    """Right for vectors and matrices; of arrays with more axes only the first entry moves."""
    out = m * teacher + (1 - m) * student
    if teacher.ndim > 2:
        out[1:] = teacher[1:]
    return out


ema.agrees(
    "m = 1 keeps the teacher",
    "With m = 1 the teacher never changes.",
    value=False,  # whoever hands the teacher back keeps it too
    inputs=lambda draw: _weights(draw, 1.0),
    equation=r"m = 1 \;\Rightarrow\; \theta_t \leftarrow \theta_t",
    slide=SLIDE,
    hint="m multiplies the teacher, 1 - m the student. m goes up to 1 at the end of DINO's training, and is used as it is.",
    mutant=_below_one,
)
ema.agrees(
    "m = 0 copies the student",
    "With m = 0 the new teacher is the student.",
    inputs=lambda draw: _weights(draw, 0.0),
    equation=r"m = 0 \;\Rightarrow\; \theta_t \leftarrow \theta_s",
    slide=SLIDE,
    hint="0 is a number like others: `m or 0.996` takes it for a missing one.",
    mutant=_default_for_zero,
)


@ema.law(
    "many small steps add up",
    inputs=lambda draw: _weights(draw, 0.98),
    equation=r"\theta_t^{(n)} = \theta_s + m^n \big(\theta_t^{(0)} - \theta_s\big)",
    slide=SLIDE,
    hint="A step changes a weight by two percent of the difference. Is something rounded on the way?",
    mutant=_half,
    right_too=False,
)
def _many(f, case):
    """After n steps with one student, m to the power of n is left of the first teacher."""
    steps = 30
    teacher = case["teacher"]
    for _ in range(steps):
        teacher = f(case.replace(teacher=teacher))
    left = case["m"] ** steps
    expected = case["student"] + left * (case["teacher"].astype(np.float64) - case["student"])
    compare(teacher, expected, what=f"The teacher after {steps} steps")


every_family(
    ema,
    inputs=_weights,
    shapes=lambda draw: _weights(draw, shape=choose(draw, (1,), (1, 3), (2, 1), (1, 1))),
    shape_equation=r"\theta_t, \theta_s \in \mathbb R^{\dots}",
)
values(
    ema,
    simplest=lambda draw: _weights(draw, choose(draw, 0.5, 0.9), (3,)),
    words="three weights",
    anything=_any_weights,
    hint="Weights of convolutions have four axes, and every number of them moves.",
    mutant=_first_axes,
)
for name, hint, answer in (
    ("the roles swapped", "m multiplies the teacher: with m = 0.996 yours is nearly the student.", _swapped),
    ("the student added", "The teacher is not multiplied by m, so it grows: m * teacher + (1 - m) * student.", lambda t, s, m: t + (1 - m) * s),
    ("the plain mean", "This is the mean of both, whatever m is.", lambda t, s, m: (t + s) / 2),
    ("a copy of the student", "This copies the student: the teacher should change slowly.", lambda t, s, m: s.copy()),
    ("the teacher as it was", "The teacher does not move at all.", lambda t, s, m: t.copy()),
    ("a step away from the student", "The teacher moves away from the student: m * teacher + (1 - m) * student.", lambda t, s, m: t - (1 - m) * (s - t)),
    ("0 taken for a missing number", "`m or ...` replaces 0 too: with m = 0 the student is copied.", _default_for_zero),
    ("the root of m", "The share that stays is m itself, not its root.", lambda t, s, m: m**0.5 * t + (1 - m**0.5) * s),
):  # fmt: skip
    ema.mistake(name, hint, answer)
