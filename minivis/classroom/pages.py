"""A student's page of feedback: verdicts first, then the notebook; one file that needs no script and no network.

Not here: the words about a task (feedback.py), the page for the teacher (overview.py).
"""

import functools
import html
import re
from pathlib import Path

from minivis.classroom import feedback, isolation
from minivis.classroom.cells import grade_id, is_check
from minivis.classroom.markup import with_formulas
from minivis.classroom.submission import MOST_EXTRA, shown

__all__ = ["feedback_page", "filled"]

# kinds of words in Python, as Pygments names them -> class in page.css
KINDS = {"Keyword": "k", "Operator.Word": "ow", "Literal.String": "s", "Comment": "c", "Literal.Number": "m"}


@functools.cache
def _template(name):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _words
    return environment.get_template(name)


def _words(text):
    """Text as HTML: escaped, and with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def filled(name, **words):
    """A page from the template of that name, as bytes; text in it is escaped.

    Parameters
    ----------
    name : str
        A file of ``templates/``.
    **words
        The names that occur in it.

    Returns
    -------
    bytes
        UTF-8; characters of students' files that it cannot encode become "?".
    """
    return _template(name).render(**words).encode("utf-8", "replace")


def feedback_page(assignment, student, found, submission, released, marks=None):
    """The page of one student.

    Parameters
    ----------
    assignment : Assignment
    student : str
    found : dict
        As `judge_submission` returns it.
    submission : Handed
        The notebook as it was handed in, and the remarks on the files.
    released : dict
        The notebook that was handed out.
    marks : Marks, optional
        Points and comments that the teacher has entered by hand.

    Returns
    -------
    bytes
        An HTML file.
    """
    cells = list(_cells(submission.notebook, released)) if submission.notebook else []
    points = marks.points if marks else {}
    tasks = [_task(task, points, cells) for task in found["tasks"]]
    known = {task.name for task in assignment.tasks}
    by_hand = [
        {"name": name, "points": None if got is None else _short(got), "most": _short(most)}
        for name, (got, most) in points.items()
        if name not in known
    ]
    earned = sum(task["worth"] for task in tasks) + sum(cell["points"] or 0 for cell in by_hand)
    most = assignment.most + sum(cell["most"] for cell in by_hand)
    return filled(
        "feedback.html",
        title=f"Feedback: {assignment.title}",
        student=student,
        earned=_short(earned),
        most=most,
        share=round(100 * min(max(earned / most, 0), 1)) if most else 0,
        closing=feedback.closing(found),
        tasks=tasks,
        by_hand=by_hand,
        comments=marks.comments if marks else {},
        remarks=[feedback.printable(remark) for remark in submission.remarks],
        notes={int(number): feedback.printable(note) for number, note in found["notes"].items()},
        numbers={cell.get("number") for cell in cells},
        cells=cells,
        isolated=isolation.in_words(),
        seed=found.get("seed"),
    )


def _short(points):
    return int(points) if float(points).is_integer() else points


def _task(task, points, cells):
    """What the template shows of a task."""
    laws = [_law(law, task, how) for law, how in feedback.parts(task)]
    got = points.get(task["name"], (task["points"], 0))[0]
    worth = task["points"] if got is None else got
    return {
        **{key: task[key] for key in ("name", "form", "points", "most", "laws")},
        "worth": worth,
        "counted": _short(worth),
        "tone": "good" if worth >= task["most"] else "some" if worth > 0 else "bad",
        "by_hand": worth != task["points"],
        "status": feedback.printable(feedback.status(task)),
        "stand_in": feedback.stand_in(task),
        "untried": feedback.untried(task),
        "unwritten": feedback.unwritten(task),
        "broken": [law for law in laws if not law["passed"]],
        "holding": [law for law in laws if law["passed"]],
        "cells": [cell["number"] for cell in cells if f"def {task['function']}(" in cell.get("source", "")],
    }


def _law(law, task, how):
    """What the template shows of a law."""
    explained = how in ("full", "short")
    return {
        **{key: law[key] for key in ("name", "sentence", "points", "most", "passed")},
        "also": feedback.also(law, how),
        "message": feedback.printable(law["message"]) if explained else "",
        "hint": feedback.printable(law["hint"]) if explained else "",
        "case": feedback.printable("\n".join(feedback.case(law))) if how == "full" else "",
    }


def _cells(notebook, released):
    """The cells of a student's notebook with their numbers, without the check cells; text of the assignment is folded."""
    given = {cell["source"].strip() for cell in released["cells"] if cell["cell_type"] == "markdown"}
    checks = {grade_id(cell) for cell in released["cells"] if is_check(cell)} - {None}
    room = MOST_EXTRA
    for number, cell in enumerate(notebook["cells"], start=1):
        source = cell["source"].strip()
        kind = cell["cell_type"]
        if not source or grade_id(cell) in checks or room <= 0:
            continue
        if kind == "markdown" and source in given:
            heading, _, rest = source.partition("\n") if source.startswith("#") else ("Text", "", source)
            yield {"kind": "given", "heading": heading.lstrip("# "), "html": with_formulas(rest)}
            continue
        room -= max(len(source), 100)
        text = shown(source, kind)  # HTML, if it is not code
        output = feedback.printable(cell["printed"]).rstrip() if kind == "code" else ""
        yield {
            "kind": kind,
            "number": number,
            "source": source if kind == "code" else "",
            "html": _coloured(text) if kind == "code" else text,
            "output": output,
        }


def _coloured(source):
    """Python as HTML with a class for each kind of word."""
    from pygments.lexers import PythonLexer

    coloured = []
    for kind, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(source):
        name = next((short for long, short in KINDS.items() if f".{long}" in str(kind)), "")
        text = html.escape(feedback.printable(text))
        coloured.append(f'<span class="{name}">{text}</span>' if name else text)
    return "".join(coloured)
