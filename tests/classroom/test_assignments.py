"""Each assignment, graded as a class: solutions earn all points, the stub none, known mistakes what their laws are worth.

Not here: strange submissions (test_class.py).
"""

import functools
import importlib.util
import json

import pytest

from minivis import cli
from minivis.classroom import find, names
from tests.classroom.making import grades, put, solved
from tests.classroom.mistakes import ALL, MISTAKES

SIX = {"boxes", "clip", "dino", "kernels", "mae", "residual", "sam", "segmenter", "unet"}


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """The notebook that `minivis assignment release` writes, made once for each assignment."""

    @functools.cache
    def path(name):
        folder = tmp_path_factory.mktemp("release")
        assert cli.main(["assignment", "release", name, str(folder)]) == 0
        return folder / f"{name}.ipynb"

    return path


def mistakes_of(name):
    """The number of known mistakes of each task of an assignment."""
    return 6 if name in SIX else 3


def wrong(name, number):
    """A notebook with one mistake in each task, and the laws that it must lose."""
    lost = {task.name: set() for task in find(name).tasks}
    own = {}
    for task in find(name).tasks:
        mistake = own[task.name] = [m for m in MISTAKES[name] if m.task == task.name][number]
        lost[task.name] |= mistake.breaks

    def change(task, source):
        assert own[task].old in source, own[task].story
        return source.replace(own[task].old, own[task].new)

    return solved(name, change), lost


@pytest.mark.parametrize("name", names())
def test_points_are_lost_for_what_is_wrong_and_for_nothing_else(name, handed_out, tmp_path, capsys):
    put(tmp_path / "stub.ipynb", json.loads(handed_out(name).read_text(encoding="utf-8")))
    put(tmp_path / "right.ipynb", solved(name))
    expected = {
        "right": {task.name: task.most for task in find(name).tasks},
        "stub": {task.name: 0 for task in find(name).tasks},
    }
    for number in range(mistakes_of(name)):
        notebook, lost = wrong(name, number)
        put(tmp_path / f"wrong {number}.ipynb", notebook)
        expected[f"wrong {number}"] = {
            task.name: sum(
                points
                for law, points in task.points.items()
                if law not in lost[task.name] and not lost[task.name] >= ALL
            )
            for task in find(name).tasks
        }
    # one seed: what a mistake costs that shows on few inputs depends on it
    grading = ["assignment", "grade", name, str(tmp_path), "--seed", "0"]
    assert cli.main(grading) == 0, capsys.readouterr().err
    assert grades(tmp_path) == expected


@pytest.mark.parametrize("name", names())
def test_there_are_mistakes_for_each_task(name):
    tasks = [mistake.task for mistake in MISTAKES[name]]
    assert set(tasks) == {task.name for task in find(name).tasks}
    assert len(tasks) == mistakes_of(name) * len(set(tasks))
    assert all(mistake.breaks for mistake in MISTAKES[name])


@pytest.mark.parametrize("name", names())
def test_an_assignment_says_what_a_student_needs(name):
    notebook = json.loads(find(name).path.read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    for task in find(name).tasks:
        assert f"({task.most} points)" in text, f"{task.name}: the heading does not say {task.most} points"
        assert task.function in text
    assert "**Time**: planned for" in text and "### BEGIN HIDDEN TESTS" in text


@pytest.mark.parametrize("name", names())
def test_the_released_notebook_has_no_answers_and_fails_when_run(name, handed_out):
    notebook = json.loads(handed_out(name).read_text(encoding="utf-8"))
    cells = [(cell["metadata"].get("nbgrader", {}), "".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "code"]  # fmt: skip
    text = "\n".join(source for _, source in cells)
    assert (
        "SOLUTION" not in text
        and "HIDDEN" not in text
        and text.count("raise NotImplementedError()") == len(find(name).tasks)
    )
    scope = {}
    for own, source in cells:
        if own.get("grade"):
            with pytest.raises(AssertionError, match="no point yet"):
                exec(source, scope)
        else:
            exec(source, scope)


def test_notebooks_and_their_sources_are_in_step():
    path = find("attention").path.parents[3] / "scripts" / "pair_notebooks.py"
    spec = importlib.util.spec_from_file_location("pair_notebooks", path)
    pairing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pairing)
    assert pairing.out_of_step(pairing.ASSIGNMENTS, pairing.ASSIGNMENT_SOURCES, pairing.to_assignment) == []
