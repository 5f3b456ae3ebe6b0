"""Handing out: the notebook for students, and the solutions for the teacher.

Not here: grading (grading.py).
"""

import json
import tempfile
from pathlib import Path

from minivis.classroom.cells import is_task
from minivis.classroom.gradebook import Course
from minivis.classroom.tasks import find
from minivis.storage import write_files

__all__ = ["release", "released_notebook", "solution"]

DELIMITERS = ("### BEGIN SOLUTION", "### END SOLUTION")


def release(name, folder):
    """Write the notebook that students get.

    Parameters
    ----------
    name : str
        An assignment, or the path of a teacher's own notebook with solutions.
    folder : Path
        Created if it does not exist; its files stay.

    Returns
    -------
    Path
        The notebook, without solutions and hidden laws.

    Raises
    ------
    ValueError
        If another notebook of that name is there already: it may contain somebody's work.
    """
    assignment, folder = find(name), Path(folder)
    path = folder / f"{assignment.name}.ipynb"
    with tempfile.TemporaryDirectory(prefix="minivis-") as place:
        content = Course(place, database=False).released(assignment).read_bytes()
    if path.exists() and path.read_bytes() != content:
        raise ValueError(
            f"assignment release: {path} exists already with other content; choose another folder, or move it away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_files({path: content})
    return path


def released_notebook(course, assignment):
    """The notebook that was handed out, for grading.

    Parameters
    ----------
    course : Course
    assignment : Assignment

    Returns
    -------
    dict
        As in the file, but each cell's source is one string.
    """
    notebook = json.loads(course.released(assignment).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def solution(name):
    """The solution cells of an assignment, as Python text.

    Parameters
    ----------
    name : str
        As for `release`.

    Returns
    -------
    str

    Examples
    --------
    >>> "def attention(q, k, v, mask=None):" in solution("attention")
    True
    """
    assignment = find(name)
    notebook = json.loads(assignment.path.read_text(encoding="utf-8"))
    cells = [f"# {assignment.title}: solutions\n"]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and is_task(cell):
            lines = "".join(cell["source"]).split("\n")
            kept = [line for line in lines if not any(mark in line for mark in DELIMITERS)]
            cells.append("\n".join(kept).strip("\n") + "\n")
    return "\n\n".join(cells)
