"""What a student handed in: find the notebook in folders and archives, read its cells, mend what nbgrader needs.

Not here: whose it is (students.py), running any of it.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from minivis.classroom.cells import grade_id, is_check, is_task

__all__ = ["Handed", "cells_to_run", "mended", "read"]

MOST_FILES, MOST_BYTES = 200, 50 * 2**20  # of one submission: an archive must not fill the disk


@dataclass
class Handed:
    """A submission as read: the notebook (None where there is none), other files, and remarks for the teacher.

    ``files`` are pairs of relative path and content; ``folder`` is where among them the notebook lies.
    """

    notebook: dict | None = None
    folder: str = "."
    files: list = field(default_factory=list)
    remarks: list = field(default_factory=list)


def read(paths, name):
    """Read a student's files.

    Parameters
    ----------
    paths : list of Path
        Folders, notebooks and archives of one student.
    name : str
        The assignment's: a notebook called like it goes before others.

    Returns
    -------
    Handed
        Whatever is wrong with the files becomes a remark, not an exception.
    """
    handed = Handed()
    files = {}
    for path, content in _all_files(paths, handed.remarks):
        if path in files:
            handed.remarks.append(f"{path} is there more than once; the last one counts.")
        files[path] = content
    notebooks = {path: content for path, content in files.items() if path.lower().endswith(".ipynb")}
    readable = {}
    for path, content in notebooks.items():
        try:
            readable[path] = _notebook(content)
        except ValueError as error:
            handed.remarks.append(f"{path} is no notebook: {error}")
    if not notebooks:
        handed.remarks.append("There is no notebook (.ipynb) in what was handed in.")
    if readable:
        best = max(readable, key=lambda path: (_likeness(path, readable[path], name), path))
        handed.notebook, handed.folder = readable[best], str(PurePosixPath(best).parent)
        if len(readable) > 1:
            handed.remarks.append(f"Of {len(readable)} notebooks this is about {best}.")
    handed.files = [(path, content) for path, content in files.items() if path not in notebooks]
    return handed


def _likeness(path, notebook, name):
    """How sure it is that this is the notebook that was asked for: its cells say more than its name."""
    known = sum(1 for cell in notebook["cells"] if grade_id(cell))
    return known, name in PurePosixPath(path).stem.lower()


def _all_files(paths, remarks):
    """Relative path and content of every file, archives opened; too many or too large ones are left out."""
    count, size = 0, 0
    for path, length, content in _entries(paths, remarks):
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or parts[0].startswith(("/", "\\")) or ":" in parts[0]:
            remarks.append(f"{path} was left out: it points outside of its folder.")
            continue
        if any(part.startswith((".", "__MACOSX")) for part in parts):
            continue  # .ipynb_checkpoints and the like
        count, size = count + 1, size + length
        if count > MOST_FILES or size > MOST_BYTES:
            remarks.append(
                f"Not everything was read: more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB."
            )
            return
        try:
            yield "/".join(parts), content()
        except (
            Exception
        ) as error:  # each compression has its own for a damaged entry, an encrypted one another
            remarks.append(f"{path} could not be read: {type(error).__name__}: {error}")


def _entries(paths, remarks):
    """Relative path, size in bytes, and a function that reads the content, for every file."""
    for path in paths:
        inside = (
            sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
            if path.is_dir()
            else [path]
        )
        for file in inside:
            if file.suffix.lower() == ".zip":
                yield from _archive(file, remarks)
            else:
                relative = file.relative_to(path) if path.is_dir() else Path(file.name)
                yield relative.as_posix(), file.stat().st_size, file.read_bytes


def _archive(file, remarks):
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield (
                        entry.filename.replace("\\", "/"),
                        entry.file_size,
                        lambda e=entry: _bounded(archive, e),
                    )
    except (
        OSError,
        ValueError,
        NotImplementedError,
        zipfile.BadZipFile,
    ) as error:  # ValueError: names no UTF-8
        remarks.append(f"{file.name} is no archive that can be opened: {error}")


def _bounded(archive, entry):
    """The content of an entry, no longer than it says it is."""
    with archive.open(entry) as file:
        return file.read(min(entry.file_size, MOST_BYTES))


def _notebook(content):
    """A notebook as a dict of cells with source and metadata; a ValueError in words where it is none."""
    if not content.strip():
        raise ValueError("the file is empty")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read as JSON ({error})") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it has no list of cells (notebook format 4)")
    kept = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") in ("code", "markdown", "raw"):
            source = cell.get("source", "")
            source = "".join(map(str, source)) if isinstance(source, list) else str(source)
            metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
            kept.append({"cell_type": cell["cell_type"], "source": source, "metadata": metadata})
    return {"cells": kept}


def cells_to_run(notebook, released):
    """The cells that define what is judged: all code but the check cells, whose laws the judge tries itself.

    Parameters
    ----------
    notebook : dict
        As `read` gives it.
    released : dict
        The notebook that was handed out: it says which cells are checks, not the student's copy.

    Returns
    -------
    list of (int, str)
        Number, counted from 1 over all cells, and source.
    """
    checks = {grade_id(cell) for cell in released["cells"] if is_check(cell)}
    return [
        (number, cell["source"])
        for number, cell in enumerate(notebook["cells"], start=1)
        if cell["cell_type"] == "code" and grade_id(cell) not in checks - {None}
    ]


def mended(notebook, released):
    """The submission as nbgrader can take it: the released notebook with the student's cells in their places.

    Parameters
    ----------
    notebook : dict or None
        As `read` gives it.
    released : dict
        The notebook that was handed out.

    Returns
    -------
    dict
        Every released cell is there, once; a solution cell has the student's source where it can be found. Cells
        without nbgrader's name follow the one they stood after, and stand first where no name is left at all.
    """
    own, before, extra = {}, None, {}
    names = {grade_id(cell) for cell in released["cells"]} - {None}
    texts = {cell["source"] for cell in released["cells"]}
    for cell in notebook["cells"] if notebook else []:
        name = grade_id(cell)
        if name in names and name not in own:
            own[name] = cell["source"]
            before = name
        elif cell["source"].strip() and cell["source"] not in texts:
            extra.setdefault(before, []).append(_loose(cell))
    cells = list(extra.get(None, []))
    for cell in released["cells"]:
        name = grade_id(cell)
        if name in own and is_task(cell):
            cell = {**cell, "source": own[name]}
        cells += [cell, *(extra.get(name, []) if name else [])]
    return {**released, "cells": [{**cell, "id": f"cell-{i}"} for i, cell in enumerate(cells, start=1)]}


def _loose(cell):
    """A cell of the student's own, with nothing in it that could trip nbgrader."""
    bare = {"cell_type": cell["cell_type"], "metadata": {}, "source": cell["source"]}
    return {**bare, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else bare
