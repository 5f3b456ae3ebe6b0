"""The pages that grading writes: what they show, that they need nothing from elsewhere, and the tables beside them.

Not here: students' markup in them (test_attacks.py), the words about each law (test_class.py).
"""

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from minivis.classroom import find, grading, judging, names
from minivis.classroom.feedback import printable
from minivis.classroom.formulas import drawn
from minivis.classroom.markup import with_formulas
from minivis.classroom.overview import class_results, keep_verdicts, write_overview
from minivis.classroom.tables import read_grades, write_grades
from tests.classroom.making import grades, put, solved

DETR = find("detr")


class Loads(HTMLParser):
    """Collects the tags of a page, and the addresses that a browser would load or follow."""

    def __init__(self, page):
        super().__init__()
        self.tags = set()
        self.loaded = []
        self.links = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "data", "poster", "action", "background") or (tag, name) == (
                "link",
                "href",
            ):
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)
            elif name == "style" and "url(" in value:
                self.loaded.append(value)


def check_alone(page):
    """A page that runs nothing and loads nothing, and says so to the browser."""
    seen = Loads(page)
    assert seen.loaded == [] and not seen.tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "img",
        "form",
        "base",
    }
    assert "@import" not in page and "url(" not in page
    assert "default-src 'none'" in page
    assert not [link for link in seen.links if re.match(r"[a-z]+:", link)]


# ---------------------------------------------------------------------------------------------------------------------
# A student's page


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A submission of "detr" with a mistake, cells of the student's own, and outputs; graded once."""
    folder = tmp_path_factory.mktemp("pages")
    notebook = solved("detr", lambda _, source: source.replace("boxes[..., 2:] / 2", "boxes[..., 2:]"))
    own = {"cell_type": "code", "metadata": {}, "source": "print(1 < 2)  # a helper", "execution_count": 1}
    own["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": ["True\n"]},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"text/plain": "<Figure>", "text/html": "<b>bold"},
        },
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["/home/jane/secret"]},
    ]
    words = {"cell_type": "markdown", "metadata": {}, "source": "My *answer*: $a < b$"}
    notebook["cells"][1:1] = [own, words]
    put(folder / "Jörg & Co.ipynb", notebook)
    told = grading.grade("detr", folder, seed=0)
    (student,) = told
    return folder, (folder / "feedback" / f"{student}.html").read_text(encoding="utf-8")


def test_the_verdicts_stand_before_the_code(judged):
    page = judged[1]
    order = [page.index(words) for words in ("27 of 30 points", "half to each side", "Hint:", "The smallest call",
                                             "What holds", "Your notebook", "a helper")]  # fmt: skip
    assert order == sorted(order)
    assert page.count("<bdi>Jörg - Co</bdi>") == 1


def test_a_page_shows_the_students_cells_with_their_numbers_and_outputs(judged):
    page = judged[1]
    assert "<em>answer</em>: $a &lt; b$" in page
    code = page[page.index('id="cell-2"') : page.index('id="cell-3"')]
    assert "1</span> &lt; <span" in code and "True\n&lt;Figure&gt;\nValueError: no" in code
    assert "bold" not in page and "secret" not in page
    task = re.search(r'href="#cell-(\d+)">Your code', page)[1]
    assert "box_cxcywh_to_xyxy" in page[page.index(f'id="cell-{task}"') :]


def test_a_page_has_no_check_cells_and_no_hidden_laws_code(judged):
    page = judged[1]
    assert "award(" not in page and "HIDDEN" not in page and "Test cell" not in page
    assert page.count("box_cxcywh_to_xyxy(boxes):") == 1  # the student's own, once


def test_pages_need_no_script_and_no_network(judged):
    folder, page = judged
    check_alone(page)
    check_alone((folder / "overview-detr.html").read_text(encoding="utf-8"))
    assert '<svg class="formula"' in page  # in the text of the tasks
    given = page[page.index("<h2>Your notebook") :]
    assert re.findall(r"\$[^$<]+\$", given) == ["$a &lt; b$"]  # what a student wrote is never drawn


def test_points_and_comments_by_hand_stand_on_the_page(tmp_path, monkeypatch):
    """A question in words: nbgrader keeps its points and the teacher's comment, the page and the table show them."""
    from nbgrader.api import Gradebook

    own = json.loads(DETR.path.read_text(encoding="utf-8"))
    question = {"grade": True, "solution": True, "locked": False, "task": False, "points": 4, "grade_id": "why", "schema_version": 3}  # fmt: skip
    own["cells"].append(
        {"cell_type": "markdown", "id": "why", "metadata": {"nbgrader": question}, "source": "Why?"}
    )
    put(tmp_path / "own.ipynb", own)
    answered = json.loads(json.dumps(own))
    answered["cells"][-1]["source"] = "Because of <b>this</b>."
    folder = tmp_path / "class"
    put(folder / "ada.ipynb", answered)
    monkeypatch.setattr(grading, "judge_submission", lambda tasks, *_: judging.nothing(tasks, "Nothing."))
    grading.grade(str(tmp_path / "own.ipynb"), folder)
    page = (folder / "feedback" / "ada.html").read_text(encoding="utf-8")
    assert "Will be graded by hand." in page and "0 of 34 points" in page
    assert "why" not in grades(folder)["ada"]
    with Gradebook(f"sqlite:///{folder / '.nbgrader' / 'gradebook.db'}") as book:
        book.find_grade("why", "own", "own", "ada").manual_score = 3
        book.find_grade("giou", "own", "own", "ada").manual_score = 2.5
        book.find_comment("why", "own", "own", "ada").manual_comment = "Good <i>reason</i>."
        book.db.commit()
    grading.grade(str(tmp_path / "own.ipynb"), folder)
    page = (folder / "feedback" / "ada.html").read_text(encoding="utf-8")
    assert "5.5 of 34 points" in page and "Good &lt;i&gt;reason&lt;/i&gt;." in page
    assert "your teacher changed the points by hand" in page
    assert grades(folder)["ada"] == {"corners": 0, "giou": 2.5, "matching": 0, "why": 3}


# ---------------------------------------------------------------------------------------------------------------------
# The teacher's page


def law(name, passed, message="", mistake="", hint="a hint", points=1):
    return {"name": name, "passed": passed, "judged": True, "points": points * passed, "most": points,
            "message": message, "hint": hint, "mistake": mistake}  # fmt: skip


def a_class(folder, students):
    """A graded class of "detr" without grading: student -> (points of "corners", laws, problem)."""
    write_grades(
        folder / "grades.csv",
        {
            student: [("corners", points, 5), ("giou", 12, 12), ("matching", 13, 13)]
            for student, (points, _, _) in students.items()
        },
    )
    for student, (_, laws, problem) in students.items():
        found = judging.nothing(DETR.tasks, "")
        found["tasks"][0].update(laws=laws, problem=problem)
        keep_verdicts(
            folder, DETR, student, {**found, "seed": 7}, [f"a remark on {student}"] if problem else []
        )


CLASS = {
    "Zoë": (5, [law("half to each side", True)], ""),
    "adam": (2, [law("half to each side", False, "3 of 4 wrong.", mistake="whole size")], ""),
    "Ève <b>": (
        2,
        [law("half to each side", False, "4 of 4 wrong.", mistake="whole size"), law("shape", True)],
        "",
    ),
    "bob": (0, [law("shape", False, "The output has shape (3,).")], ""),
    "cem": (
        0,
        [law("shape", False, "Your function raised a NotImplementedError (line 3).", mistake="whole size")],
        "",
    ),
    "dan": (0, [law("shape", False, "Your function raised an IndexError: out of bounds.")], ""),
    "eva": (0, [law("shape", False, "Your function did not come back within 1.5 s.")], ""),
    "fay": (0, [], "The notebook does not define 'corners'. Cell 4: Python cannot read it: invalid syntax."),
    "gus": (0, [], "The notebook does not define 'corners'."),
}


def test_the_commonest_mistakes_come_first_and_have_names(tmp_path):
    a_class(tmp_path, CLASS)
    results = class_results(tmp_path, DETR)
    mistakes = {each["label"]: each["who"] for each in results["mistakes"]}
    assert results["mistakes"][0]["label"] == "whole size"
    assert mistakes == {
        "whole size": ["adam", "Ève <b>"],
        "breaks “shape”": ["bob"],
        "nothing written yet": ["cem"],
        "raises IndexError": ["dan"],
        "does not come back: an endless loop": ["eva"],
        "a syntax error in the task's cell": ["fay"],
        "the function is missing, or has another name": ["gus"],
    }
    assert [student["name"] for student in results["students"]][-2:] == ["gus", "Zoë"]
    corners = results["tasks"][0]
    assert (corners["mean"], corners["full"], corners["share"]) == ("1.0", 1, 20)  # (5 + 2 + 2) / 9 of 5
    assert {each["name"]: each["count"] for each in corners["laws"]}["half to each side"] == 1


def test_the_teachers_page_counts_and_links_to_every_student(tmp_path):
    a_class(tmp_path, CLASS)
    write_overview(tmp_path, DETR, ["notes.txt is not read"])
    page = (tmp_path / "overview-detr.html").read_text(encoding="utf-8")
    check_alone(page)
    assert "9 students; mean 26.0, median 25 of 30 points; 1 with all points." in page
    assert "<b>" not in page and "Ève &lt;b&gt;" in page
    columns = [int(found or 0) for found in re.findall(r'<div class="column">(\d*)<div', page)]
    assert columns == [0, 0, 0, 0, 0, 0, 0, 0, 6, 3]  # six have 25 of 30, two 27, one 30
    assert 'href="feedback/Zo%C3%AB.html"' in page and page.count('href="feedback/') == len(CLASS)
    assert "notes.txt is not read" in page and "a remark on gus" in page and "seed 7" in page
    with open(tmp_path / "laws-detr.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {"student": "adam", "task": "corners", "law": "half to each side", "points": "0", "max": "1", "holds": "no",
            "mistake": "whole size"} in rows  # fmt: skip
    assert len(rows) == sum(len(laws) for _, laws, _ in CLASS.values())


def test_the_same_trouble_in_every_task_is_told_once(tmp_path):
    write_grades(tmp_path / "grades.csv", {"ada": [(task.name, 0, task.most) for task in DETR.tasks]})
    found = judging.nothing(DETR.tasks, "There is no notebook that can be read.")
    keep_verdicts(tmp_path, DETR, "ada", found, [])
    (mistake,) = class_results(tmp_path, DETR)["mistakes"]
    assert (mistake["task"], mistake["label"]) == ("every task", "no notebook that can be read")


def test_a_student_who_was_graded_by_an_older_version_is_listed(tmp_path):
    write_grades(tmp_path / "grades.csv", {"ada": [("corners", 5, 5)], "bob": [("corners", "", 5)]})
    write_overview(tmp_path, DETR)
    page = (tmp_path / "overview-detr.html").read_text(encoding="utf-8")
    assert "2 students; mean 2.5" in page and "0 of 0" in page


# ---------------------------------------------------------------------------------------------------------------------
# Tables

NAMES = ["Müller, Jörg", "Ada", 'O"Neil', "李雷", "محمد علي", "Çelik; Ayşe", "e\u0301mile", "a\ud800b"]


@pytest.mark.parametrize("students", [NAMES, ["Ada", "O'Neil, Bo"]], ids=["any letters", "ASCII"])
def test_excel_and_python_read_the_same_names(tmp_path, students):
    rows = {student: [("corners", 1.5, 5)] for student in students}
    write_grades(tmp_path / "grades.csv", rows)
    content = (tmp_path / "grades.csv").read_bytes()
    # Excel takes a file without the mark for 8-bit text
    assert content.startswith(b"\xef\xbb\xbf") == (not content.isascii()) == (students is NAMES)
    assert b"\r" not in content
    expected = {student.encode("utf-8", "replace").decode() for student in students}
    assert set(read_grades(tmp_path / "grades.csv")) == expected
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8-sig") as file:
        assert {row["student"] for row in csv.DictReader(file)} == expected


# ---------------------------------------------------------------------------------------------------------------------
# Formulas


def formulas():
    """Every formula in the assignments, and whether it stands alone."""
    for name in names():
        for cell in json.loads(find(name).path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for alone, inline in re.findall(
                    r"\$\$(.+?)\$\$|\$(.+?)\$", "".join(cell["source"]), re.DOTALL
                ):
                    yield alone or inline, bool(alone)


def test_every_formula_of_the_assignments_is_drawn():
    found = set(formulas())
    assert len(found) > 200
    assert [tex for tex, alone in found if "<code>" in drawn(tex, alone)] == []


def test_a_formula_stands_on_the_line_and_the_right_way_up():
    def numbers(tex):
        picture = drawn(tex)
        depth = float(re.search(r"vertical-align:-?([\d.]+)em", picture)[1])
        heights = [
            float(y) for y in re.findall(r"-?[\d.]+ (-?[\d.]+)", re.search(r' d="([^"]*)"', picture)[1])
        ]
        return depth, min(heights), max(heights)

    depth, top, bottom = numbers("x")
    assert depth < 0.1 and -70 < top < -30 and -5 < bottom < 5  # y points downward; the baseline is 0
    assert numbers("x^2")[1] < top - 10 and numbers("x_2")[2] > bottom + 10
    assert numbers(r"\frac12")[0] > 0.2


@pytest.mark.parametrize("tex", [r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\nonsense", "{", "x^", "<script>"])
def test_what_cannot_be_drawn_is_shown_as_tex(tex):
    page = with_formulas(f"${tex}$")
    assert "<script>" not in page and ("<code>" in page or tex == "<script>")


def test_the_teachers_markup_is_shown_as_text():
    assert "&lt;script&gt;" in with_formulas("<script>x</script>")
    assert printable("a\x1b[31mb") == "a?[31mb"
