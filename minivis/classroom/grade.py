"""Grading a folder of submissions: judge each, have nbgrader record it, write grades.csv and a page for each student.

Not here: how one is judged (judging.py), the words (feedback.py).
"""

import csv
import io
from pathlib import Path

from minivis.classroom.feedback import letter, task_html, task_text
from minivis.classroom.gradebook import Course, NbgraderFailed
from minivis.classroom.guard import Guard
from minivis.classroom.judging import MEMORY, SECONDS, judge_submission, nothing, warm_up
from minivis.classroom.release import released_notebook
from minivis.classroom.students import by_student
from minivis.classroom.submission import cells_to_run, mended, read
from minivis.classroom.tasks import find
from minivis.storage import write_files

__all__ = ["COLUMNS", "grade", "read_grades"]

COLUMNS = ["student", "task", "points", "max"]
COURSE = ".nbgrader"  # nbgrader's own folder inside the folder of submissions


def grade(name, folder, student=None, seconds=SECONDS, memory=MEMORY):
    """Grade the submissions in a folder.

    Parameters
    ----------
    name : str
        An assignment, or the path of a teacher's own notebook with solutions.
    folder : Path
        One sub-folder, ``.ipynb`` or ``.zip`` for each student, named as they like or as a learning management system
        does. ``grades.csv`` and ``feedback/`` are written into it.
    student : str, optional
        Grade this one alone; everybody else's grades and feedback stay as they are.
    seconds, memory : int
        The limits of one submission; memory in bytes.

    Returns
    -------
    dict
        Student -> list of remarks for the teacher, for those who were graded.

    Raises
    ------
    ValueError
        If there is nothing to grade, or a ``grades.csv`` is there whose other students cannot be read.
    ImportError
        If nbgrader is not installed.
    """
    assignment, folder = find(name), Path(folder)
    course = Course(folder / COURSE)
    owners = _chosen(folder, student)
    (folder / COURSE).mkdir(exist_ok=True)
    released = released_notebook(course, assignment)
    rows, results, told = read_grades(folder / "grades.csv") if student else {}, {}, {}
    if len(owners) > 2:  # for fewer it would cost more than it saves
        warm_up(assignment.tasks)
    with Guard(folder) as guard:
        for owner in _progress(owners, "judging"):
            results[owner] = _judged(assignment, owners[owner], released, guard, seconds, memory)
    for owner in _progress(results, "writing"):
        found, notebook, told[owner] = results[owner]
        filled = mended(notebook, released)
        rows[owner] = _recorded(course, assignment, owner, found, filled, told[owner], folder / "feedback")
    _write_rows(folder / "grades.csv", rows)
    return told


def _chosen(folder, student):
    """The submissions to grade."""
    if not folder.is_dir():
        raise ValueError(f"assignment grade: there is no folder {str(folder)!r}")
    owners = by_student(folder)
    if not owners:
        raise ValueError(
            f"assignment grade: {folder} holds no submissions; expected is one sub-folder, .ipynb or .zip for each student"
        )
    if student is None:
        return owners
    if student not in owners:
        raise ValueError(
            f"assignment grade: {folder} has no submission of {student!r}; it has: {', '.join(owners)}"
        )
    return {student: owners[student]}


def _progress(things, doing):
    from tqdm import tqdm

    silent_where_nobody_looks = None
    return tqdm(list(things), desc=doing, unit="student", leave=False, disable=silent_where_nobody_looks)


def _judged(assignment, paths, released, guard, seconds, memory):
    """What was found in one submission: verdicts, the notebook, remarks."""
    try:
        handed = read(paths, assignment.name)
    except OSError as error:
        return nothing(assignment.tasks, f"The files cannot be read: {error}."), None, [str(error)]
    if handed.notebook is None:
        return nothing(assignment.tasks, "There is no notebook that can be read."), None, handed.remarks
    cells = cells_to_run(handed.notebook, released)
    found = judge_submission(assignment.tasks, cells, handed.files, handed.folder, seconds, memory)
    if changed := guard.restore():
        listed = ", ".join(changed[:3]) + (" and more" if len(changed) > 3 else "")
        handed.remarks.append(
            f"While it ran, files of the course folder were changed; they were put back: {listed}."
        )
    return found, handed.notebook, handed.remarks


def _recorded(course, assignment, student, found, notebook, remarks, pages):
    """Have nbgrader record a submission, write the student's pages; return the rows of the table."""
    for task in found["tasks"]:
        task["html"], task["text"] = task_html(task), task_text(task)
    head = letter(assignment, student, found, remarks)
    first = {"cell_type": "markdown", "id": "feedback", "metadata": {}, "source": head}
    pages.mkdir(exist_ok=True)
    page = pages / f"{student}.html"
    try:
        course.autograde(assignment, student, {**notebook, "cells": [first, *notebook["cells"]]}, found)
        write_files({page: course.feedback(assignment, student)})
        scores = course.scores(assignment, student)
        rows = [(task.name, *scores[task.name]) for task in assignment.tasks]
    except (NbgraderFailed, KeyError, OSError) as error:  # nothing is lost: the verdicts stand without it
        page.unlink(missing_ok=True)  # one of an earlier grading would contradict the text
        remarks.append(f"The page could not be made ({error}); points and text are those of the laws.")
        rows = [(task["name"], task["points"], task["most"]) for task in found["tasks"]]
    texts = "\n".join(f"```text\n{task['text']}```\n" for task in found["tasks"])
    _write(pages / f"{student}.md", f"{head}\n{texts}")
    return [(task, _number(points), _number(most)) for task, points, most in rows]


def _number(value):
    return int(value) if float(value).is_integer() else value


def read_grades(path):
    """The table as it is.

    Parameters
    ----------
    path : Path
        Of ``grades.csv``; a spreadsheet may have saved it again.

    Returns
    -------
    dict
        Student -> list of rows (task, points, most), all strings; empty where there is no file.

    Raises
    ------
    ValueError
        If its columns are others.
    """
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != COLUMNS:
        raise ValueError(f"assignment grade: {path} does not begin with {','.join(COLUMNS)}; move it away")
    found = {}
    for line in filter(None, lines[1:]):  # spreadsheets leave empty lines
        found.setdefault(line[0], []).append(tuple(line[1:]))
    return found


def _write_rows(path, rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for student in sorted(rows):
        writer.writerows((student, *row) for row in rows[student])
    _write(path, text.getvalue())


def _write(path, text):
    """Write text whole or not at all; of what a student's file names brought in, what is no text becomes "?"."""
    write_files({path: text.encode("utf-8", "replace")})
