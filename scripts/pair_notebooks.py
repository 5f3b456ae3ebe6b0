"""Keep notebooks/NN_name.ipynb (what people open) and notebooks/src/NN_name.py (what is reviewed) in step.

Not here: file times, which git does not keep: the source decides, unless --from-notebooks says otherwise.
"""

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PYTHON = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def to_notebook(source):
    """Return the .ipynb text of a py:percent text: no outputs, cells numbered, so the same source gives the same bytes."""
    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(PYTHON)
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def to_source(notebook):
    """Return the py:percent text of an .ipynb text: its cells and their tags, no header and no outputs."""
    notebook = nbformat.reads(notebook, as_version=4)
    notebook.metadata = nbformat.from_dict({"jupytext": {"notebook_metadata_filter": "-all"}})
    return jupytext.writes(notebook, fmt="py:percent")


def out_of_step(folder):
    """Return what is wrong with the pairs below a folder, one line each."""
    sources, notebooks = sorted((folder / "src").glob("*.py")), sorted(folder.glob("*.ipynb"))
    lone = {path.stem for path in sources} ^ {path.stem for path in notebooks}
    wrong = [
        f"{name} has only one of notebooks/{name}.ipynb and notebooks/src/{name}.py" for name in sorted(lone)
    ]
    for source in sources:
        notebook = folder / f"{source.stem}.ipynb"
        if source.stem not in lone and read(notebook) != to_notebook(read(source)):
            wrong.append(
                f"notebooks/{notebook.name} is not what notebooks/src/{source.name} gives: make pair"
            )
    return wrong


def read(path):
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def write(path, text):
    """Write a file where its text has changed, and say so."""
    if not path.exists() or read(path) != text:
        path.write_text(text, encoding="utf-8", newline="\n")
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
        wrong = out_of_step(NOTEBOOKS)
        print(*wrong, sep="\n", end="\n" if wrong else "")
        return int(bool(wrong))
    if options.from_notebooks is not None:
        (NOTEBOOKS / "src").mkdir(exist_ok=True)
        for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
            if notebook.name.startswith(tuple(options.from_notebooks) or ""):
                write(NOTEBOOKS / "src" / f"{notebook.stem}.py", to_source(read(notebook)))
    for source in sorted((NOTEBOOKS / "src").glob("*.py")):
        write(NOTEBOOKS / f"{source.stem}.ipynb", to_notebook(read(source)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
