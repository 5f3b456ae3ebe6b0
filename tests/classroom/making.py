"""Made-up submissions: a notebook as a student would hand it in, right, wrong or strange.

Not here: what they are worth.
"""

import csv
import json
from pathlib import Path

from minivis.classroom import find
from minivis.classroom.cells import grade_id, is_task

__all__ = ["grades", "put", "solved", "write"]


def solved(name, change=lambda task, source: source):
    """The notebook of a student who found the solutions; ``change(task, source)`` spoils a cell."""
    notebook = json.loads(find(name).path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if is_task(cell):
            source = change(grade_id(cell).removesuffix("-task"), source)
        cell["source"] = [line for line in source.splitlines(keepends=True) if " SOLUTION" not in line]
    return notebook


def put(path, notebook):
    """Write a notebook, and the folders above it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def grades(folder):
    """grades.csv as {student: {task: points}}."""
    found = {}
    with open(folder / "grades.csv", newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["student"], {})[row["task"]] = float(row["points"])
    return found


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
