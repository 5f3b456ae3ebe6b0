"""A student's submission: find the notebook among the files, read its cells, repair what nbgrader needs.

Not here: reading files (files.py), whose they are (students.py), running the cells (remote.py).
"""

import contextlib
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from minivis.classroom.cells import grade_id, is_check, is_task, nbgrader_metadata
from minivis.classroom.files import all_files
from minivis.classroom.markup import harmless, quoted

__all__ = ["Handed", "cells_to_run", "mended", "read", "shown"]

MOST_OF_NOTEBOOK = 20 * 2**20  # bytes; a large notebook with pictures in its outputs has a few million
MOST_CELLS = 5000  # of a notebook
MOST_SHOWN = 10_000  # characters of a cell on the student's page
MOST_PRINTED = 2000  # characters of a cell's outputs on that page
MOST_EXTRA = 50_000  # characters on that page of all cells that the student added
MOST_REMARKS, MOST_LETTERS = 20, 500  # an archive may have a hundred thousand names of 64 KiB each
# advice for files that are not read, but may contain the notebook
ADVICE = {
    ".zip": "an archive inside an archive: hand in the notebook itself",
    ".py": "a script: hand in the notebook (Jupyter, Colab: File > Download .ipynb)",
    **dict.fromkeys((".html", ".pdf"), "a print: hand in the notebook itself (.ipynb)"),
    **dict.fromkeys((".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"),
                    "an archive that is not opened: hand in the notebook itself, or a .zip"),
}  # fmt: skip


@dataclass
class Handed:
    """A submission after reading: the notebook (None if there is none), other files, and remarks for the teacher.

    ``files`` are pairs of relative path and content; ``folder`` is the notebook's folder among them.
    """

    notebook: dict | None = None
    folder: str = "."
    files: list = field(default_factory=list)
    remarks: list = field(default_factory=list)


def read(paths, name, released=None):
    """Read a student's files.

    Parameters
    ----------
    paths : list of Path
        Folders, notebooks and archives of one student.
    name : str
        Name of the assignment: among equals, a notebook of that name is chosen.
    released : dict, optional
        The notebook that was handed out; of several notebooks, the one that differs from it in most tasks counts.

    Returns
    -------
    Handed
        Whatever is wrong with the files becomes a remark, not an exception.
    """
    handed = Handed()
    files = all_files(paths, handed.remarks)
    readable = _notebooks(files, handed.remarks)
    if readable:
        path, handed.notebook = _chosen(readable, name, released, handed.remarks)
        handed.folder = str(PurePosixPath(path).parent)
        handed.remarks += _not_code(handed.notebook, released)
    others = {}
    for path, content in files:
        if path in others:
            handed.remarks.append(f"{path} is there more than once; the last one counts.")
        if not path.lower().endswith(".ipynb"):
            others[path] = content
    handed.files = list(others.items())
    handed.remarks = [remark[:MOST_LETTERS] for remark in handed.remarks[:MOST_REMARKS]]
    return handed


def _notebooks(files, remarks):
    """(path, notebook) for each notebook that can be read; each of the others adds a remark."""
    found = []
    named = [(path, content) for path, content in files if path.lower().endswith(".ipynb")]
    for path, content in named:
        try:
            found.append((path, _notebook(content)))
        except ValueError as error:
            remarks.append(f"{path} could not be read as a notebook: {error}")
    if named:
        return found
    for path, content in files:
        if path.lower().endswith((".txt", ".json")):  # Edge and Safari add these endings to downloads
            with contextlib.suppress(ValueError):
                found.append((path, _notebook(content)))
                remarks.append(f"{path} is a notebook, and was read as one; its name should end with .ipynb.")
    if not found:
        remarks.append("There is no notebook (.ipynb) among the files.")
        paths = {path: ADVICE.get(PurePosixPath(path).suffix.lower()) for path, _ in files}
        remarks += [f"{path} is {advice}." for path, advice in paths.items() if advice]
    return found


def _chosen(readable, name, released, remarks):
    """The notebook with work in most tasks; among equals, with most cells of the assignment, then with its name."""
    tasks = _tasks(released)
    works = [_worked(notebook, tasks) for _, notebook in readable]

    def likeness(i):
        path, notebook = readable[i]
        known = sum(1 for cell in notebook["cells"] if grade_id(cell))
        return works[i], known, name in PurePosixPath(path).stem.lower(), path

    best = max(range(len(readable)), key=likeness)
    path = readable[best][0]
    if len(readable) > 1:
        remarks.append(f"There are {len(readable)} notebooks; {path} was graded.")
        others = [readable[i][0] for i, work in enumerate(works) if work and i != best]
        if others:
            listed = ", ".join(others[:3]) + (" and more" if len(others) > 3 else "")
            remarks.append(f"The work in {listed} does not count: hand in one notebook.")
    return readable[best]


def _tasks(released):
    """(name of the cell, names of the functions that it defines, its text) for each task of the released notebook."""
    cells = [c for c in released["cells"] if is_task(c) and c["cell_type"] == "code"] if released else []
    return [(grade_id(cell), _functions(cell["source"]), cell["source"].strip()) for cell in cells]


def _functions(source):
    return set(re.findall(r"^def\s+(\w+)", source, re.MULTILINE))


def _is_of(cell, task):
    """Whether a cell belongs to a task: by its name or, if that was lost, by the functions that it defines."""
    name, functions, _ = task
    return grade_id(cell) == name or bool(functions & _functions(cell["source"]))


def _worked(notebook, tasks):
    """The number of tasks in which the student has changed the released cell."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return sum(
        any(_is_of(cell, task) and cell["source"].strip() != task[2] for cell in code) for task in tasks
    )


def _not_code(notebook, released):
    """A remark for each task whose cell is not a code cell."""
    cells = list(enumerate(notebook["cells"], start=1))
    for task in _tasks(released):
        own = [(number, cell["cell_type"]) for number, cell in cells if _is_of(cell, task)]
        if own and all(kind != "code" for _, kind in own):
            number, kind = own[0]
            words = {"markdown": "Markdown", "raw": "raw text"}[kind]
            yield (
                f"Cell {number}, of the task {task[0]}, is {words} instead of code: it was not run. "
                "In Jupyter, select it and press Y."
            )


def _notebook(content):
    """A notebook as a dict of cells with source and metadata; a ValueError says why it cannot be read."""
    if not content.strip():
        raise ValueError("the file is empty")
    if len(content) > MOST_OF_NOTEBOOK:
        raise ValueError(
            f"it has more than {MOST_OF_NOTEBOOK >> 20} MiB; clear its outputs and save it again"
        )
    try:
        notebook = json.loads(content)  # bytes: it finds out the encoding, UTF-8 or UTF-16
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read as JSON ({error}); save it in Jupyter again") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it has no list of cells (notebook format 4); save it in Jupyter again")
    if len(cells) > MOST_CELLS:
        raise ValueError(f"it has more than {MOST_CELLS} cells")
    kept = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") in ("code", "markdown", "raw"):
            source = cell.get("source", "")
            source = "".join(map(str, source)) if isinstance(source, list) else str(source)
            metadata = {"nbgrader": nbgrader_metadata(cell)}
            kept.append(
                {
                    "cell_type": cell["cell_type"],
                    "source": source,
                    "metadata": metadata,
                    "printed": _printed(cell),
                }
            )
    return {"cells": kept}


def _printed(cell):
    """The outputs of a cell that are text, as they were handed in, up to a limit."""
    outputs = cell.get("outputs")
    found = []
    for output in outputs if isinstance(outputs, list) else []:
        if isinstance(output, dict):
            data = output.get("data")
            text = output.get("text") or (data.get("text/plain") if isinstance(data, dict) else None)
            found.append("".join(map(str, text)) if isinstance(text, list) else str(text or ""))
            if output.get("output_type") == "error":
                found.append(f"{output.get('ename')}: {output.get('evalue')}\n")
    text = "".join(part if part.endswith("\n") else f"{part}\n" for part in found if part)
    return text if len(text) <= MOST_PRINTED else f"{text[:MOST_PRINTED]}\n..."


def cells_to_run(notebook, released):
    """The cells that are run: all code cells except the check cells, whose laws the judge tries itself.

    Parameters
    ----------
    notebook : dict
        As `read` gives it.
    released : dict
        The notebook that was handed out. It decides which cells are checks; the student's copy may be changed.

    Returns
    -------
    list of (int, str)
        Number (counted from 1 over all cells) and source.
    """
    checks = {grade_id(cell) for cell in released["cells"] if is_check(cell)}
    return [
        (number, cell["source"])
        for number, cell in enumerate(notebook["cells"], start=1)
        if cell["cell_type"] == "code" and grade_id(cell) not in checks - {None}
    ]


def mended(notebook, released):
    """The submission in a form that nbgrader accepts: the released notebook with the student's cells in their places.

    Parameters
    ----------
    notebook : dict or None
        As `read` gives it.
    released : dict
        The notebook that was handed out.

    Returns
    -------
    dict
        Every released cell is there once; a solution cell has the student's source if it can be found. A cell without
        nbgrader's name follows the named cell that it stood after, and comes first if there is none. Long cells are
        cut, and Markdown is made harmless (markup.py).
    """
    own = {}
    before = None
    extra = {}
    room = MOST_EXTRA
    names = {grade_id(cell) for cell in released["cells"]} - {None}
    texts = {cell["source"] for cell in released["cells"]}
    for cell in notebook["cells"] if notebook else []:
        name = grade_id(cell)
        if name in names and name not in own:
            own[name] = cell["source"]
            before = name
        elif cell["source"].strip() and cell["source"] not in texts and room > 0:
            extra.setdefault(before, []).append(_loose(cell))
            # even a short cell takes some room on the page
            room -= min(max(len(cell["source"]), 100), MOST_SHOWN)
    cells = list(extra.get(None, []))
    for cell in released["cells"]:
        name = grade_id(cell)
        if name in own and is_task(cell):
            cell = {**cell, "source": shown(own[name], cell["cell_type"])}
        cells += [cell, *(extra.get(name, []) if name else [])]
    return {**released, "cells": [{**cell, "id": f"cell-{i}"} for i, cell in enumerate(cells, start=1)]}


def _loose(cell):
    """A cell that the student added, without anything that nbgrader could fail on."""
    bare = {"metadata": {}, "source": shown(cell["source"], cell["cell_type"])}
    if cell["cell_type"] == "code":
        return {**bare, "cell_type": "code", "outputs": [], "execution_count": None}
    return {**bare, "cell_type": "markdown"}


def shown(source, kind):
    """A student's cell as pages show it; characters that UTF-8 cannot encode become "?"."""
    source = source.encode("utf-8", "replace").decode("utf-8")
    if len(source) > MOST_SHOWN:
        source = f"{source[:MOST_SHOWN]}\n... ({len(source) - MOST_SHOWN} more characters)"
    return {"code": str, "markdown": harmless, "raw": quoted}[kind](source)
