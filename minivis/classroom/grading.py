"""Grading a folder of submissions: read all of them, then judge them one by one and write grades and feedback.

Not here: judging one submission (judging.py), the texts (feedback.py), nbgrader (gradebook.py).
"""

import secrets
from pathlib import Path

from minivis.classroom import isolation
from minivis.classroom.feedback import fenced, letter, task_text
from minivis.classroom.gradebook import COURSE, Course
from minivis.classroom.guard import Guard
from minivis.classroom.handing_out import released_notebook
from minivis.classroom.judging import MEMORY, SECONDS, judge_submission, nothing, warm_up
from minivis.classroom.overview import keep_verdicts, write_overview
from minivis.classroom.pages import feedback_page
from minivis.classroom.students import by_student, not_read
from minivis.classroom.submission import Handed, cells_to_run, mended, read
from minivis.classroom.tables import read_grades, write_grades
from minivis.classroom.tasks import find
from minivis.storage import write_files

__all__ = ["NOT_READ", "grade", "new_seed"]

NOT_READ = "*"  # stands in a student's place for remarks about files that are not hand-ins


def grade(name, folder, student=None, seconds=SECONDS, memory=MEMORY, seed=None):
    """Grade the submissions in a folder.

    Parameters
    ----------
    name : str
        An assignment, or the path of a teacher's own notebook with solutions.
    folder : Path
        One sub-folder, ``.ipynb`` or ``.zip`` for each student, with any name or the name given by a learning management
        system. ``grades.csv``, ``feedback/`` and the page ``overview-NAME.html`` are written into it.
    student : str, optional
        Grade only this student; all other grades and feedback stay as they are.
    seconds, memory : int
        The limits of one submission; memory in bytes.
    seed : int, optional
        The laws draw their inputs from this seed. Default: a new one each time, so that nobody can know the inputs. It is
        written on every student's page; the same seed gives the same verdicts.

    Returns
    -------
    dict
        Student -> list of remarks for the teacher, for each graded student; `NOT_READ` -> remarks on other files.

    Raises
    ------
    ValueError
        If there is nothing to grade, or the other students in an existing ``grades.csv`` cannot be read.
    ImportError
        If nbgrader is not installed.
    """
    assignment, folder = find(name), Path(folder)
    owners = _chosen(folder, student)
    folder = folder.resolve()  # a submission could point a link elsewhere while it runs
    course = Course(folder / COURSE)
    (folder / COURSE).mkdir(exist_ok=True)
    released = released_notebook(course, assignment)
    handed = {owner: _read(paths, assignment, released) for owner, paths in owners.items()}
    rows = read_grades(folder / "grades.csv") if student else {}
    beside = not_read(folder)
    told = {NOT_READ: beside} if beside else {}
    seed = new_seed() if seed is None else seed
    if len(owners) > 2:  # for fewer it costs more than it saves
        warm_up(assignment.tasks, seed)
    guard = Guard(folder) if isolation.why_not() else None
    try:
        for owner in _progress(owners):
            submission = handed.pop(owner)
            found = _judged(assignment, submission, released, seconds, memory, seed)
            if guard:
                submission.remarks += _put_back(guard)
            rows[owner] = _recorded(
                course, assignment, owner, found, submission, released, folder / "feedback"
            )
            write_grades(folder / "grades.csv", rows)  # after each student: the rest may be interrupted
            keep_verdicts(folder, assignment, owner, found, submission.remarks)
            told[owner] = submission.remarks
            if guard:
                guard.remember()
    finally:
        if rows:
            write_overview(folder, assignment, beside)
    return told


def new_seed():
    """A seed that nobody can guess, short enough to read aloud."""
    return secrets.randbelow(10**6)


def _chosen(folder, student):
    """The submissions to grade."""
    if not folder.is_dir():
        raise ValueError(f"assignment grade: there is no folder {str(folder)!r}")
    owners = by_student(folder)
    if not owners:
        beside = "".join(f"; {remark}" for remark in not_read(folder)[:3])
        raise ValueError(
            f"assignment grade: {folder} holds no submissions; expected one sub-folder, .ipynb or .zip for each "
            f"student{beside}"
        )
    if student is None:
        return owners
    if student not in owners:
        raise ValueError(
            f"assignment grade: {folder} has no submission of {student!r}; it has: {', '.join(owners)}"
        )
    return {student: owners[student]}


def _progress(owners):
    from tqdm import tqdm

    silent_where_nobody_looks = None
    return tqdm(list(owners), desc="grading", unit="student", leave=False, disable=silent_where_nobody_looks)


def _read(paths, assignment, released):
    """Read a student's files; an error becomes a remark, so that the other students are still graded."""
    try:
        return read(paths, assignment.name, released)
    except Exception as error:
        return Handed(remarks=[f"The files cannot be read: {type(error).__name__}: {error}."])


def _judged(assignment, submission, released, seconds, memory, seed):
    """Judge one submission; an error becomes a remark, so that the other students are still graded."""
    if submission.notebook is None:
        return nothing(assignment.tasks, "There is no notebook that can be read.")
    try:
        cells = cells_to_run(submission.notebook, released)
        where = (submission.files, submission.folder)
        return judge_submission(assignment.tasks, cells, *where, seconds, memory, seed)
    except Exception as error:
        submission.remarks.append(f"It could not be judged: {type(error).__name__}: {error}.")
        return nothing(assignment.tasks, "It could not be judged.")


def _put_back(guard):
    """Restore the course folder; a remark if a submission has changed it."""
    changed = guard.restore()
    if not changed:
        return []
    listed = ", ".join(changed[:3]) + (" and more" if len(changed) > 3 else "")
    return [f"While it ran, files of the course folder were changed; they were put back: {listed}."]


def _recorded(course, assignment, student, found, submission, released, pages):
    """Record a submission with nbgrader and write the student's pages; returns the rows of the table."""
    pages.mkdir(exist_ok=True)
    for task in found["tasks"]:
        task["text"] = task_text(task)
    head = letter(assignment, student, found, submission.remarks)
    _write(pages / f"{student}.md", "\n".join([head, *map(fenced, found["tasks"])]))
    marks = None
    points = {task["name"]: (task["points"], task["most"]) for task in found["tasks"]}
    try:
        first = {"cell_type": "markdown", "id": "feedback", "metadata": {}, "source": head}
        notebook = mended(submission.notebook, released)
        course.autograde(assignment, student, {**notebook, "cells": [first, *notebook["cells"]]}, found)
        marks = course.marks(assignment, student)
        points |= {name: found for name, found in marks.points.items() if found[0] is not None}
    except Exception as error:  # the verdicts are valid without nbgrader
        submission.remarks.append(
            f"nbgrader could not record it ({error}); the points of the laws are right."
        )
    page = pages / f"{student}.html"
    try:
        write_files({page: feedback_page(assignment, student, found, submission, released, marks)})
    except Exception as error:  # the other students are still graded
        page.unlink(missing_ok=True)  # a page from an earlier grading would contradict the text
        submission.remarks.append(f"The page could not be made ({error}); the points and the text are right.")
    return [(task, _number(got), _number(most)) for task, (got, most) in points.items()]


def _number(value):
    return int(value) if float(value).is_integer() else value


def _write(path, text):
    """Write text atomically; characters from students' file names that UTF-8 cannot encode become "?"."""
    write_files({path: text.encode("utf-8", "replace")})
