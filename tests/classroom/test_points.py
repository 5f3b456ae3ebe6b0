"""Points for what is right only: constants earn nothing, a mistake costs its own task alone, right in part earns part.

Not here: whole classes (test_class.py, test_assignments.py).
"""

import numpy as np
import pytest

from minivis import laws
from minivis.classroom import find, names
from minivis.classroom.tasks import earned
from minivis.laws.catalogue import family_of

TASKS = [pytest.param(task, id=f"{name}-{task.name}") for name in names() for task in find(name).tasks]
CONSTANTS = {
    "zeros": lambda right: np.zeros_like(right),
    "ones": lambda right: np.ones_like(right),
    "minus ones": lambda right: (-np.ones_like(right, dtype=np.int8)).astype(right.dtype),
    "NaN": lambda right: np.full_like(right, np.nan) if right.dtype.kind == "f" else np.ones_like(right),
    "tiny": lambda right: np.full_like(right, 1e-6) if right.dtype.kind == "f" else np.zeros_like(right),
}


def each(value, change):
    """A result (an array, a tuple, a dict) with each array changed."""
    if isinstance(value, tuple):
        return tuple(each(part, change) for part in value)
    if isinstance(value, dict):
        return {key: each(part, change) for key, part in value.items()}
    return None if value is None else change(np.asarray(value))


def points(task, answer):
    """What an answer earns in a task."""
    return sum(earned(laws.judge(task.family, answer, task.vjp, only=task.points), task.points).values())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)
def test_a_constant_of_the_right_shape_earns_nothing(task, constant):
    right = family_of(task.family).right

    def answer(*args, **options):
        out, vjp = right(*args, **options)
        if not task.vjp:
            return each(out, constant)
        return each(out, constant), lambda g: each(tuple(vjp(g)), constant)

    assert points(task, answer) == 0


@pytest.mark.parametrize("task", TASKS)
def test_the_right_answer_earns_everything(task):
    right = family_of(task.family).right
    answer = right if task.vjp else lambda *args, **options: right(*args, **options)[0]
    assert points(task, answer) == task.most
