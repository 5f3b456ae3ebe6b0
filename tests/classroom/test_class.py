"""A class of made-up submissions: right, wrong, endless, broken, empty, and worse; what each gets, and what it reads.

Not here: the assignments' own mistakes (test_assignments.py).
"""

import html
import json
import re
import statistics
import sys
import zipfile

import pytest

from minivis import cli
from minivis.classroom import find, isolation, remote
from minivis.classroom.grading import grade
from minivis.classroom.isolation import why_not
from tests.classroom.making import grades, put, solved, write

NAME = "detr"  # its laws are quick
FULL = {task.name: task.most for task in find(NAME).tasks}
NONE = dict.fromkeys(FULL, 0)
CORNERS = "centre = boxes[..., :2]\n    half = boxes[..., 2:] / 2"


def spoiled(old, new, task="corners"):
    def change(name, source):
        assert name != task or old in source
        return source.replace(old, new) if name == task else source

    return solved(NAME, change)


def first_cell(source, notebook=None):
    """A notebook with one more cell, before all others."""
    notebook = notebook or solved(NAME)
    cell = {
        "cell_type": "code",
        "id": "mine",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
    return {**notebook, "cells": [cell, *notebook["cells"]]}


def text_of(page):
    """What a reader sees of a page, with one space between words."""
    body = re.sub(r"<style>.*?</style>|<br>|<details>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]*>", "", body)).split())


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The class of five, graded once."""
    folder = tmp_path_factory.mktemp("class")
    put(folder / "Ada Right_1234567_assignsubmission_file_" / "detr.ipynb", solved(NAME))
    put(folder / "wrong.ipynb", spoiled("boxes[..., 2:] / 2", "boxes[..., 2:]"))
    with zipfile.ZipFile(folder / "endless_4711_99_detr.zip", "w") as archive:
        archive.writestr("work/detr.ipynb", json.dumps(spoiled(CORNERS, "while True:\n        pass")))
    put(
        folder / "Брокен" / "détr (1).ipynb",
        spoiled("def box_cxcywh_to_xyxy(boxes):", "def box_cxcywh_to_xyxy(boxes:"),
    )
    (folder / "empty").mkdir()
    assert cli.main(["assignment", "grade", NAME, str(folder)]) == 0
    return folder


def test_a_class_of_five_is_graded_in_one_command(five):
    lines = (five / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == "student,task,points,max"
    assert f"Ada Right,corners,{FULL['corners']},{FULL['corners']}" in lines
    assert grades(five) == {
        "Ada Right": FULL,
        "wrong": {**FULL, "corners": 2},  # "half to each side" and the two plain laws have a point each
        "endless": {**FULL, "corners": 0},
        "Брокен": {**FULL, "corners": 0},
        "empty": NONE,
    }


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ("Ada Right", ["30 of 30 points", "Every law holds. Well done.", "Nothing to fix."]),
        (
            "wrong",
            [
                "27 of 30 points",
                "the first to look at is “half to each side”",
                "✗ 0/1 half to each side",
                "The smallest call that breaks it:",
                "box_cxcywh_to_xyxy(boxes)",
                "boxes (2, 4) = ",
                "expected (2, 4) = ",
                "got (2, 4) = ",
                "Hint: ",
            ],
        ),
        (
            "endless",
            [
                "did not come back within",
                "(line 2 of your cell: `while True:`)",
                "loop whose condition",
                "(for the same reason)",
            ],
        ),
        (
            "Брокен",
            [
                "does not define 'box_cxcywh_to_xyxy'",
                "Cell 4: Python cannot read it",
                "None of its lines were run",
            ],
        ),
        ("empty", ["0 of 30 points", "There is no notebook"]),
    ],
)
def test_the_feedback_reads_as_a_teacher_would_write_it(five, student, words):
    page = (five / "feedback" / f"{student}.md").read_text(encoding="utf-8")
    for part in [f"**{student}: ", *words]:
        assert part.strip() in " ".join(page.split())
    assert "Traceback" not in page and "/tmp" not in page and "minivis." not in page
    assert max(map(len, page.split("```text")[-1].splitlines())) <= 110
    page = text_of((five / "feedback" / f"{student}.html").read_text(encoding="utf-8"))
    for part in [student, *words]:
        assert part.strip().replace("`", "") in page  # code has a typeface of its own
    assert "Traceback" not in page and "minivis.laws" not in page and "BEGIN HIDDEN" not in page


def check_overview(folder, points):
    """The teacher's page says how these five did; its numbers are computed here from their points."""
    page = text_of((folder / "overview-detr.html").read_text(encoding="utf-8"))
    middle = f"mean {statistics.mean(points):.1f}, median {statistics.median(points):g} of 30 points"
    assert f"5 students; {middle}; {points.count(30)} with all points." in page
    return page


def test_the_teachers_page_says_how_the_class_did(five):
    page = check_overview(five, points=[30, 27, 25, 25, 0])
    assert "half to each side A box reaches from its centre by half its size to each side. 1 of 5" in page
    for mistake in (
        "corners the whole size to each side Hint:",
        "corners does not come back: an endless loop",
        "corners a syntax error in the task's cell",
        "every task no notebook that can be read",
    ):
        assert mistake in page
    assert "There is no notebook (.ipynb) among the files." in page


def test_one_student_again_changes_only_theirs(five, capsys):
    write(
        five / "grades.csv",
        (five / "grades.csv")
        .read_text(encoding="utf-8-sig")
        .replace("Ada Right,giou,12", "Ada Right,giou,11.5"),
    )
    before = {path.name: path.read_bytes() for path in (five / "feedback").iterdir()}
    put(five / "empty" / "late.ipynb", solved(NAME))
    assert cli.main(["assignment", "grade", NAME, str(five), "--student", "empty"]) == 0
    found = grades(five)
    assert found["empty"] == FULL
    assert found["Ada Right"] == {**FULL, "giou": 11.5}  # changed by hand: stays
    changed = {path.name for path in (five / "feedback").iterdir() if before[path.name] != path.read_bytes()}
    assert changed == {"empty.html", "empty.md"}
    assert cli.main(["assignment", "grade", NAME, str(five), "--student", "nobody"]) == 2
    error = capsys.readouterr().err
    check_overview(five, points=[29.5, 30, 27, 25, 25])  # "empty" has all points now
    assert (
        error.endswith("Ada Right, empty, endless, wrong, Брокен\n") and "no submission of 'nobody'" in error
    )


TRICKS = {
    # each costs its own cell's points and no more
    "memory": (spoiled(CORNERS, "centre = half = np.ones(2_500_000_000)"), {"corners": 0}, "more memory than there is"),
    "exits": (spoiled(CORNERS, "import sys; sys.exit(0)"), {"corners": 0}, "sys.exit"),
    "ends": (spoiled(CORNERS, "import os; os._exit(0)"), {"corners": 0}, "whole Python process ended"),
    "prints": (spoiled(CORNERS, "while True: print('x' * 1000)"), {"corners": 0}, "did not come back"),
    "renames": (spoiled("box_cxcywh_to_xyxy", "box_cxcywh_to_xyyx"), {"corners": 0}, "most similar name in it is"),
    "library": (spoiled(CORNERS, "import minivis as mv; return mv.vision.box_cxcywh_to_xyxy(boxes)"), {"corners": 0}, "uses the library"),
    "scipy": (
        spoiled("rows = np.arange(len(cost))", "from scipy.optimize import linear_sum_assignment as f; return f(cost)", "matching"),
        {"matching": 0},
        "library's own: scipy.optimize.linear_sum_assignment",
    ),
    "ends at once": (first_cell("import os\nos._exit(1)"), {}, "Cell 1: It ended the whole Python process"),
    "never begins": (first_cell("while True:\n    pass"), {}, "Cell 1: It did not come back"),
    "kills": (first_cell("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"), dict.fromkeys(FULL, 0), "ended the process that judged it"),
    "patches": (
        first_cell(
            "import sys, builtins, numpy\n"
            "from minivis import laws\n"
            "from minivis.classroom import award\n"
            "laws.check = award = laws.judge = lambda *a, **o: 10**6\n"
            "numpy.abs = numpy.array_equal = lambda *a, **o: True\n"
            "builtins.sum = lambda *a: 10**6\n",
            json.loads(json.dumps(solved(NAME)).replace("boxes[..., 2:] / 2", "boxes[..., 2:]")),
        ),
        {"corners": 2},
        "half to each side",
    ),
}  # fmt: skip


# where a submission is isolated, there is no other process that it could end
ISOLATED = {**TRICKS, "kills": (TRICKS["kills"][0], {}, "Nothing to fix.")}
NOT_ISOLATED = {name: TRICKS[name] for name in ("memory", "ends", "library", "never begins", "kills")}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and ends of processes are Linux's")
@pytest.mark.parametrize(
    "tricks",
    [
        pytest.param(ISOLATED, marks=pytest.mark.skipif(bool(why_not()), reason=why_not()), id="isolated"),
        pytest.param(NOT_ISOLATED, id="not"),
    ],
)
def test_tricks_cost_their_own_points_and_nobody_else_anything(tricks, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "CELL_SECONDS", 0.7)
    if tricks is NOT_ISOLATED:
        monkeypatch.setattr(isolation, "why_not", lambda: "bwrap was left out")
    for student, (notebook, _, _) in tricks.items():
        put(tmp_path / f"{student}.ipynb", notebook)
    vandal = f"import shutil, pathlib\nshutil.rmtree({str(tmp_path)!r}, ignore_errors=True)\npathlib.Path({str(tmp_path / 'x')!r}).mkdir(parents=True)"
    put(tmp_path / "vandal.ipynb", first_cell(vandal))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    told = grade(NAME, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.ipynb")} == before
    assert not (tmp_path / "x").exists()
    if tricks is NOT_ISOLATED:
        assert "files of the course folder were changed; they were put back" in told["vandal"][0]
    found = grades(tmp_path)
    for student, (_, points, words) in tricks.items():
        page = (tmp_path / "feedback" / f"{student}.md").read_text(encoding="utf-8").replace("\n", " ")
        assert " ".join(words.split()) in " ".join(page.split()), (student, page)
        assert found[student] == {**FULL, **points}, student
    assert found["vandal"] == FULL


def test_odd_files_are_told_and_the_others_graded(tmp_path):
    bare = solved(NAME)
    for cell in bare["cells"]:
        cell["metadata"] = {}  # as a tool that keeps no metadata saves it
    put(tmp_path / "no metadata.ipynb", bare)
    checkless = solved(NAME)
    checkless["cells"] = [c for c in checkless["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]
    put(tmp_path / "no checks.ipynb", checkless)
    write(tmp_path / "no json.ipynb", "{'cells': ")
    write(tmp_path / "nothing.ipynb", "")
    write(tmp_path / "no archive.zip", "PK? no")
    write(tmp_path / "a listing.ipynb", "[]")
    write(tmp_path / "readme.txt", "not a submission")
    # beside the notebook, as the student had it
    with zipfile.ZipFile(tmp_path / "helper.zip", "w") as archive:
        helped = spoiled("return np.concatenate(", "from mine import join\n    return join(")
        archive.writestr("work/detr.ipynb", json.dumps(helped))
        archive.writestr("work/mine.py", "from numpy import concatenate as join")
    half = "\ud83d"  # of an emoji: a string that no file can hold
    put(tmp_path / "half.ipynb", first_cell(f"raise ValueError({half!r})"))
    told = grade(NAME, tmp_path)
    found = grades(tmp_path)
    for student in ("no metadata", "no checks", "helper", "half"):
        assert found.pop(student) == FULL, student
    assert found == dict.fromkeys(["no json", "nothing", "no archive", "a listing"], NONE)
    assert "cannot be read as JSON" in told["no json"][0] and "the file is empty" in told["nothing"][0]
    assert (
        "could not be opened as an archive" in told["no archive"][0]
        and "no list of cells" in told["a listing"][0]
    )
