"""Keep notebooks/NN_name.ipynb (what people open) and notebooks/src/NN_name.py (what is reviewed) in step.

Likewise the assignments: minivis/classroom/assignments/NAME.ipynb (what is handed out) is made from
notebooks/src/assignments/NAME.py, where a task is a cell tagged `task:NAME` and its check one tagged `check:NAME`.

Not here: file times, which git does not keep: the source decides, unless --from-notebooks says otherwise.
"""

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat

from minivis.classroom import awarded
from minivis.storage import write_files

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
ASSIGNMENTS = ROOT / "minivis" / "classroom" / "assignments"
ASSIGNMENT_SOURCES = NOTEBOOKS / "src" / "assignments"
PYTHON = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def to_notebook(source, prepare=lambda cell: None):
    """Return the .ipynb text of a py:percent text: no outputs, cells numbered, so the same source gives the same bytes."""
    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(PYTHON)
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"
        prepare(cell)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def to_assignment(source):
    """Return the .ipynb text of an assignment: its tags become what nbgrader reads."""
    return to_notebook(source, _for_nbgrader)


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
    """Return the py:percent text of an .ipynb text: its cells and their tags, no header and no outputs."""
    notebook = nbformat.reads(notebook, as_version=4)
    notebook.metadata = nbformat.from_dict({"jupytext": {"notebook_metadata_filter": "-all"}})
    return jupytext.writes(notebook, fmt="py:percent")


def out_of_step(folder, sources=None, convert=to_notebook):
    """Return what is wrong with the pairs below a folder, one line each."""
    there, here = "notebooks", "notebooks/src"
    if sources is not None:
        there, here = "minivis/classroom/assignments", "notebooks/src/assignments"
    sources, notebooks = sorted((sources or folder / "src").glob("*.py")), sorted(folder.glob("*.ipynb"))
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


def write(path, text):
    """Write a file where its text has changed, and say so."""
    if not path.exists() or read(path) != text:
        write_files({path: text.encode()})
        print(f"wrote {path}")


def main():
    """Read the command line, bring the pairs in step (or only look), and return the exit code."""
    parser = argparse.ArgumentParser(description="Make notebooks/*.ipynb from notebooks/src/*.py.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 when a pair is out of step"
    )
    parser.add_argument(
        "--from-notebooks", nargs="*", metavar="NN", help="first take over what was edited in JupyterLab"
    )
    options = parser.parse_args()
    if options.check:
        wrong = out_of_step(NOTEBOOKS) + out_of_step(ASSIGNMENTS, ASSIGNMENT_SOURCES, to_assignment)
        print(*wrong, sep="\n", end="\n" if wrong else "")
        return int(bool(wrong))
    if options.from_notebooks is not None:
        edited = {name: sorted(NOTEBOOKS.glob(f"{name}*.ipynb")) for name in options.from_notebooks or [""]}
        if unknown := [name for name, found in edited.items() if not found]:
            parser.error(f"no notebook in {NOTEBOOKS} begins with {' or '.join(unknown)}; nothing was made")
        for notebook in {path for found in edited.values() for path in found}:
            write(NOTEBOOKS / "src" / f"{notebook.stem}.py", to_source(read(notebook)))
    for source in sorted((NOTEBOOKS / "src").glob("*.py")):
        write(NOTEBOOKS / f"{source.stem}.ipynb", to_notebook(read(source)))
    for source in sorted(ASSIGNMENT_SOURCES.glob("*.py")):
        write(ASSIGNMENTS / f"{source.stem}.ipynb", to_assignment(read(source)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
