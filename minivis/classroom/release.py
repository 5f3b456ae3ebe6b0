"""Handing out: the student's folder, and the solutions for the teacher.

Not here: grading.
"""

import json
import tempfile
from pathlib import Path

from minivis.classroom.gradebook import Course, write_whole
from minivis.classroom.tasks import find

__all__ = ["release", "released_notebook", "solution"]


def release(name, folder):
    """Write the notebook that students get.

    Parameters
    ----------
    name : str
        An assignment, or the path of a teacher's own notebook with solutions.
    folder : Path
        Made when it is not there; what lies in it stays.

    Returns
    -------
    Path
        Of the notebook. Solutions and hidden laws are taken out of it.

    Raises
    ------
    ValueError
        If another notebook of that name is there already: it may hold somebody's work.
    """
    assignment, folder = find(name), Path(folder)
    path = folder / f"{assignment.name}.ipynb"
    with tempfile.TemporaryDirectory(prefix="minivis-") as place:
        content = Course(place, database=False).released(assignment).read_bytes()
    if path.exists() and path.read_bytes() != content:
        raise ValueError(
            f"assignment release: {path} is there already and is another notebook; name another folder, or move it away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return path


def released_notebook(course, assignment):
    """The released notebook as a dict whose sources are strings."""
    notebook = json.loads(course.released(assignment).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def solution(name):
    """The solved cells of an assignment, as Python text.

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
        own = cell["metadata"].get("nbgrader") or {}
        if cell["cell_type"] == "code" and own.get("solution"):
            lines = "".join(cell["source"]).split("\n")
            kept = [
                line for line in lines if "### BEGIN SOLUTION" not in line and "### END SOLUTION" not in line
            ]
            cells.append("\n".join(kept).strip("\n") + "\n")
    return "\n\n".join(cells)
