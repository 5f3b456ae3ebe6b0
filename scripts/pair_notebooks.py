"""Keep notebooks/NN_name.ipynb (for readers) and notebooks/src/NN_name.py (for review) in step.

In the same way, assignments (minivis/classroom/assignments/NAME.ipynb) are made from notebooks/src/assignments/NAME.py,
where a task is a cell tagged `task:NAME` and its check is a cell tagged `check:NAME`.

A chapter gets its contents, links to its sections, as a second cell; no source has that cell.

A notebook that a source cannot represent is refused before anything is written. Replaced notebooks are kept in
build/replaced.

Not here: file times, which git does not keep. The source decides, unless --from-notebooks is given.
"""

import argparse
import hashlib
import re
import sys
from itertools import zip_longest
from pathlib import Path
from urllib.parse import quote

import jupytext
import nbformat

from minivis.classroom import awarded
from minivis.storage import write_files

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
ASSIGNMENTS = ROOT / "minivis" / "classroom" / "assignments"
ASSIGNMENT_SOURCES = NOTEBOOKS / "src" / "assignments"
REPLACED = ROOT / "build" / "replaced"
KEPT = ":,;?!'"  # what Markdown leaves alone in the address of a link
CONTENTS = "contents"  # the tag of the cell that is made here
PYTHON = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def to_notebook(source):
    """Return the .ipynb text of a chapter's source, with its contents as the second cell."""
    notebook = jupytext.reads(source, fmt="py:percent")
    if contents := _contents(notebook.cells):
        metadata = {"tags": [CONTENTS]}
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(contents, id=CONTENTS, metadata=metadata))
    return _written(notebook)


def to_assignment(source):
    """Return the .ipynb text of an assignment: its tags become nbgrader's metadata."""
    notebook = jupytext.reads(source, fmt="py:percent")
    for cell in notebook.cells:
        _for_nbgrader(cell)
    return _written(notebook)


def _written(notebook):
    """A notebook as text: no outputs, cells numbered, so the same source gives the same bytes."""
    notebook.metadata = nbformat.from_dict(PYTHON)
    from_source = [cell for cell in notebook.cells if cell.get("id") != CONTENTS]
    for number, cell in enumerate(from_source, start=1):
        cell["id"] = f"cell-{number}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _contents(cells):
    """Links to the sections of a chapter in one paragraph; an empty text if it has none.

    JupyterLab names the place of a heading by its text, with hyphens for spaces.
    """
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    titles = re.findall(r"(?m)^## (.+)$", text)
    # JupyterLab does not decode what follows the #
    links = [f"[{title}](#{quote(title.replace(' ', '-'), safe=KEPT)})" for title in titles]
    return f"**Contents**: {' · '.join(links)}" if links else ""


def _for_nbgrader(cell):
    for tag in cell["metadata"].pop("tags", []):
        kind, _, name = tag.partition(":")
        if kind not in ("task", "check"):
            raise ValueError(f"pair: an assignment knows the tags task:NAME and check:NAME, not {tag!r}")
        check = kind == "check"
        own = {
            "grade_id": name if check else f"{name}-task",
            "grade": check,
            "solution": not check,
            "locked": check,
        }
        if check:
            own["points"] = sum(awarded(cell["source"])[2].values())
        cell["metadata"]["nbgrader"] = {**own, "schema_version": 3, "task": False}


def to_source(notebook):
    """Return the py:percent text of an .ipynb text: its cells and their tags, no header and no outputs.

    Raises a ValueError if a cell cannot be restored from that text: it has a pasted picture, or a line that begins a new
    cell in a py:percent file.
    """
    notebook = nbformat.reads(notebook, as_version=4)
    numbered = dict(_by_number(notebook.cells))
    notebook.cells = list(numbered.values())
    notebook.metadata = nbformat.from_dict({"jupytext": {"notebook_metadata_filter": "-all"}})
    source = jupytext.writes(notebook, fmt="py:percent")
    again = dict(_by_number(nbformat.reads(to_notebook(source), as_version=4).cells))
    for (number, cell), same in zip_longest(numbered.items(), again.values()):
        if same is None or _held(cell) != _held(same):
            raise ValueError(f"cell {number} {_what_is_lost(cell, same)}")
    return source


def _by_number(cells):
    """Pairs of number, from 1, and cell; not of the contents, which no source has."""
    for number, cell in enumerate(cells, start=1):
        if CONTENTS not in cell.metadata.get("tags", []):
            yield number, cell


def _held(cell):
    """The parts of a cell that must survive in a source."""
    return cell and (cell.cell_type, cell.source, cell.metadata.get("tags"), cell.get("attachments"))


def _what_is_lost(cell, same):
    """Why a cell cannot be restored from its source, and what to do about it."""
    if cell.get("attachments"):
        pictures = ", ".join(cell.attachments)
        return f"holds {pictures}, pasted into it: save it as a file and link it, or draw it with minivis.viz"
    lines = cell.source.splitlines()
    kept = same.source.splitlines() if same else []
    place = next((i for i, (a, b) in enumerate(zip(lines, kept, strict=False)) if a != b), len(kept))
    if place < len(lines):
        return f"has the line `{lines[place]}`, which would begin another cell or be changed: write it differently"
    return "would not come back as it is"


def out_of_step(folder, sources=None, convert=to_notebook):
    """Return the pairs below a folder that are out of step, one line each."""
    there, here = "notebooks", "notebooks/src"
    if sources is not None:
        there, here = "minivis/classroom/assignments", "notebooks/src/assignments"
    sources = sorted((sources or folder / "src").glob("*.py"))
    notebooks = sorted(folder.glob("*.ipynb"))
    lone = {path.stem for path in sources} ^ {path.stem for path in notebooks}
    wrong = [f"{name} has only one of {there}/{name}.ipynb and {here}/{name}.py" for name in sorted(lone)]
    for source in sources:
        notebook = folder / f"{source.stem}.ipynb"
        if source.stem not in lone and read(notebook) != convert(read(source)):
            wrong.append(f"{there}/{notebook.name} is not what {here}/{source.name} gives: make pair")
    return wrong


def read(path):
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def write(contents):
    """Write the changed files of {path: text}, all or none, and print them; keep each replaced notebook."""
    changed = {path: text for path, text in contents.items() if not path.exists() or read(path) != text}
    replaced = {path: kept_as(path) for path in changed if path.suffix == ".ipynb" and path.exists()}
    REPLACED.mkdir(parents=True, exist_ok=True)
    write_files({kept: path.read_bytes() for path, kept in replaced.items()})
    write_files({path: text.encode() for path, text in changed.items()})
    for path in changed:
        print(f"wrote {path}" + (f"; what was there: {replaced[path]}" if path in replaced else ""))


def kept_as(notebook):
    """The path for a replaced notebook: it contains a hash of the content, so that none overwrites another."""
    return REPLACED / f"{notebook.stem}-{hashlib.sha256(notebook.read_bytes()).hexdigest()[:8]}.ipynb"


def taken_over(names):
    """{source: text} of the notebooks whose names begin with one of `names`.

    Raises a ValueError for an unknown name or a notebook that a source cannot represent.
    """
    edited = {name: sorted(NOTEBOOKS.glob(f"{name}*.ipynb")) for name in names}
    if unknown := [name for name, found in edited.items() if not found]:
        raise ValueError(f"no notebook in {NOTEBOOKS} begins with {' or '.join(unknown)}")
    sources = {}
    refused = []
    for notebook in sorted({path for found in edited.values() for path in found}):
        try:
            sources[NOTEBOOKS / "src" / f"{notebook.stem}.py"] = to_source(read(notebook))
        except ValueError as error:
            refused.append(f"{notebook}: {error}")
    if refused:
        raise ValueError("\n".join(refused))
    return sources


def main():
    """Read the command line, bring the pairs in step (or only check), and return the exit code."""
    parser = argparse.ArgumentParser(description="Make notebooks/*.ipynb from notebooks/src/*.py.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 when a pair is out of step"
    )
    parser.add_argument(
        "--from-notebooks",
        nargs="*",
        metavar="NN",
        help="first copy edits made in JupyterLab into the sources",
    )
    options = parser.parse_args()
    if options.check:
        wrong = out_of_step(NOTEBOOKS) + out_of_step(ASSIGNMENTS, ASSIGNMENT_SOURCES, to_assignment)
        print(*wrong, sep="\n", end="\n" if wrong else "")
        return int(bool(wrong))
    taken = {}
    if options.from_notebooks is not None:
        try:
            taken = taken_over(options.from_notebooks or [""])
        except ValueError as error:
            parser.error(f"{error}; nothing was made")
    sources = {path: read(path) for path in sorted((NOTEBOOKS / "src").glob("*.py"))} | taken
    made = {NOTEBOOKS / f"{path.stem}.ipynb": to_notebook(text) for path, text in sources.items()}
    assignments = sorted(ASSIGNMENT_SOURCES.glob("*.py"))
    handed_out = {ASSIGNMENTS / f"{path.stem}.ipynb": to_assignment(read(path)) for path in assignments}
    write(taken | made | handed_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
