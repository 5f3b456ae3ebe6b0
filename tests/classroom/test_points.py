"""Points for what is right only: constants earn nothing, a mistake costs its own task alone, right in part earns part.

Not here: whole classes (test_class.py, test_assignments.py).
"""

import numpy as np
import pytest

from minivis import laws
from minivis.classroom import find, names
from minivis.classroom.grading import grade
from minivis.classroom.judging import _mentions
from minivis.classroom.tasks import earned
from minivis.laws.judging.registry import family_of
from tests.classroom.making import grades, put, solved

TASKS = [pytest.param(task, id=f"{name}-{task.name}") for name in names() for task in find(name).tasks]
CONSTANTS = {
    "zeros": lambda right: np.zeros_like(right),
    "ones": lambda right: np.ones_like(right),
    "minus ones": lambda right: (-np.ones_like(right, dtype=np.int8)).astype(right.dtype),
    "NaN": lambda right: np.full_like(right, np.nan) if right.dtype.kind == "f" else np.ones_like(right),
    "half": lambda right: np.full_like(right, 0.5) if right.dtype.kind == "f" else np.zeros_like(right),
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
def test_what_comes_in_handed_back_earns_nothing(task):
    def answer(*args, **options):
        return (args[0], lambda g: (g,) * 3) if task.vjp else args[0]

    assert points(task, answer) == 0


@pytest.mark.parametrize("task", TASKS)
def test_the_right_answer_earns_everything(task):
    right = family_of(task.family).right
    answer = right if task.vjp else lambda *args, **options: right(*args, **options)[0]
    assert points(task, answer) == task.most


def wrong_attention(change):
    return solved(
        "attention", lambda task, source: source.replace(*change) if task == "attention" else source
    )


def test_a_mistake_in_one_task_costs_the_next_ones_nothing(tmp_path):
    """Several heads call attention, which forgets its scale here: they are judged with the right one, and it is said."""
    put(tmp_path / "ada.ipynb", wrong_attention((" / math.sqrt(q.shape[-1])", "")))
    grade("attention", tmp_path, seed=0)
    points = grades(tmp_path)["ada"]
    assert 0 < points["attention"] < 15 and (points["backward"], points["multi-head"]) == (10, 10)
    page = (tmp_path / "feedback" / "ada.md").read_text(encoding="utf-8")
    assert "it was judged with the right attention" in " ".join(page.split())
    assert "drawn from seed 0" in page and "(holds, but earns no points" not in page


def test_right_for_matrices_alone_earns_part(tmp_path):
    """Axes named by number: right for two of them, an error for more."""
    put(tmp_path / "bob.ipynb", wrong_attention(("np.swapaxes(k, -1, -2)", "np.transpose(k, (1, 0))")))
    grade("attention", tmp_path, seed=0)
    assert 0 < grades(tmp_path)["bob"]["attention"] < 15


def test_the_same_seed_gives_the_same_verdicts_and_each_grading_draws_its_own(tmp_path):
    put(tmp_path / "cem.ipynb", wrong_attention(("-np.inf)", "np.float32(-1e9))")))
    pages = []
    for seed in (7, 7, 8, None, None):
        grade("attention", tmp_path, seed=seed)
        pages.append((tmp_path / "feedback" / "cem.md").read_text(encoding="utf-8"))
    assert pages[0] == pages[1] != pages[2]
    assert pages[3] != pages[4]  # their seeds stand in them


def test_what_is_judged_may_be_any_expression():
    """A teacher's adapter is no name, and may hold what means something else to a regular expression."""
    cells = [
        (1, "def attention(q, k, v):\n    return softmax(q)"),
        (2, "def other(x):\n    return attention(x)"),
    ]
    assert _mentions(cells, "lambda *a: attention(*a)[0]", "attention")
    assert not _mentions(cells, "lambda *a: f(*a)", "attention")
    assert _mentions(cells, "other", "attention") and not _mentions(cells, "attention", "other")
