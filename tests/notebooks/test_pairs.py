"""Each notebook is exactly what its source gives, and a source survives the way through JupyterLab.

Not here: running them (make notebooks), or what they say (test_slides.py).
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

ROOT = Path(__file__).resolve().parents[2]

_spec = importlib.util.spec_from_file_location("pair_notebooks", ROOT / "scripts" / "pair_notebooks.py")
pairing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pairing)

SOURCE = """\
# %% [markdown]
# # Softmax
# It sums to $1$.

# %% tags=["slide:C-12"]
import numpy as np

np.exp([0.0, 1.0])

# %% [markdown] tags=["exercise"]
# What if all scores are equal?
"""


def test_notebooks_are_what_their_sources_give():
    assert pairing.out_of_step(ROOT / "notebooks") == []


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "01_softmax.py").write_text(SOURCE)
    (tmp_path / "01_softmax.ipynb").write_text(pairing.to_notebook(SOURCE))
    assert pairing.out_of_step(tmp_path) == []
    return tmp_path


def test_a_change_on_one_side_is_found(folder):
    (folder / "src" / "01_softmax.py").write_text(SOURCE.replace("1.0", "2.0"))
    assert pairing.out_of_step(folder) == [
        "notebooks/01_softmax.ipynb is not what notebooks/src/01_softmax.py gives: make pair"
    ]


def test_a_lone_file_is_found(folder):
    shutil.move(folder / "01_softmax.ipynb", folder / "02_softmax.ipynb")
    assert [line.split()[0] for line in pairing.out_of_step(folder)] == ["01_softmax", "02_softmax"]


def test_the_notebook_is_clean_and_keeps_its_tags():
    notebook = json.loads(pairing.to_notebook(SOURCE))
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code", "markdown"]
    assert [cell["metadata"].get("tags") for cell in notebook["cells"]] == [
        None,
        ["slide:C-12"],
        ["exercise"],
    ]
    assert notebook["cells"][1]["outputs"] == [] and notebook["cells"][1]["execution_count"] is None
    assert pairing.to_notebook(SOURCE) == pairing.to_notebook(SOURCE)


def test_what_was_edited_in_jupyterlab_comes_back_without_its_outputs():
    notebook = json.loads(pairing.to_notebook(SOURCE))
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "2.7"}]
    notebook["cells"][1]["execution_count"] = 7
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}
    assert pairing.to_source(json.dumps(notebook)) == SOURCE


PICTURE = {"sketch.png": {"image/png": "aGFuZA=="}}


@pytest.mark.parametrize(
    "cell",
    [
        v4.new_markdown_cell("![my sketch](attachment:sketch.png)"),  # the picture itself is gone already
        v4.new_code_cell('text = """\n# %% [markdown]\n# no cell\n"""'),
        v4.new_code_cell("%matplotlib inline\n!ls\nmath.pi?\n# %time f()"),
        v4.new_code_cell("%%bash\necho here\n# %% there"),
        v4.new_code_cell("\n\nx = 1  \n\n"),
        v4.new_code_cell(
            "x", metadata={"tags": ["setup"], "collapsed": True, "jupyter": {"source_hidden": True}}
        ),
        v4.new_code_cell(""),
        v4.new_raw_cell("as it is"),
        v4.new_markdown_cell("one  \ntwo\n\n"),
    ],
    ids=lambda cell: repr(cell.source),
)
def test_a_cell_comes_back_from_its_source(cell):
    source = pairing.to_source(nbformat.writes(v4.new_notebook(cells=[cell, v4.new_code_cell("1")])))
    back = nbformat.reads(pairing.to_notebook(source), as_version=4).cells
    assert [(c.cell_type, c.source) for c in back] == [(cell.cell_type, cell.source), ("code", "1")]
    assert back[0].metadata.get("tags") == cell.metadata.get("tags")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (v4.new_markdown_cell("![](attachment:sketch.png)", attachments=PICTURE), "cell 2 holds sketch.png, pasted into it: save it as a file"),
        (v4.new_code_cell("x = 1\n# %% the second half\ny = 2"), "cell 2 has the line `# %% the second half`, which would begin another cell"),
        (v4.new_code_cell("x = 1\n# %%\n"), "cell 2 has the line `# %%`"),
        (v4.new_code_cell("# %% [markdown]\n# text"), "cell 2 has the line `# %% [markdown]`"),
        (v4.new_markdown_cell("first\n%% timeit\nlast"), "cell 2 has the line `%% timeit`"),
        (v4.new_code_cell("x = 1\n# In[3]:"), "cell 2 has the line `# In[3]:`"),
    ],
)  # fmt: skip
def test_what_a_source_cannot_hold_is_refused_by_cell_and_line(cell, says):
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# One"), cell, v4.new_code_cell("1")])
    with pytest.raises(ValueError, match=r"^cell 2 ") as error:
        pairing.to_source(nbformat.writes(notebook))
    assert str(error.value).startswith(says)


@pytest.fixture
def project(folder, monkeypatch, capsys):
    """A folder with two pairs and the script's constants set to it; and what calls the script."""
    (folder / "notebooks").mkdir()
    for name in ("src", "01_softmax.ipynb"):
        shutil.move(folder / name, folder / "notebooks" / name)
    shutil.copy(folder / "notebooks" / "src" / "01_softmax.py", folder / "notebooks" / "src" / "02_other.py")
    monkeypatch.setattr(pairing, "NOTEBOOKS", folder / "notebooks")
    monkeypatch.setattr(pairing, "ASSIGNMENTS", folder / "assignments")
    monkeypatch.setattr(pairing, "ASSIGNMENT_SOURCES", folder / "notebooks" / "src" / "assignments")
    monkeypatch.setattr(pairing, "REPLACED", folder / "build" / "replaced")

    def pair(*arguments):
        """The exit code, and what was written to stdout and stderr."""
        monkeypatch.setattr(sys, "argv", ["pair_notebooks.py", *arguments])
        try:
            code = pairing.main()
        except SystemExit as ending:
            code = ending.code
        return code, *capsys.readouterr()

    assert pair()[0] == 0
    return folder, pair


def contents(folder):
    return {path: path.read_bytes() for path in (folder / "notebooks").rglob("*") if path.is_file()}


def edit(path, change):
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def test_an_edited_notebook_that_cannot_be_taken_over_stays_and_nothing_else_changes(project):
    folder, pair = project
    for name in ("01_softmax", "02_other"):  # what is wrong with each is said at once
        edit(folder / "notebooks" / f"{name}.ipynb", lambda n: n.cells[0].update(attachments=PICTURE))
    (folder / "notebooks" / "src" / "02_other.py").write_text("# %%\n1\n")
    before = contents(folder)
    code, said, complained = pair("--from-notebooks")
    assert (code, said) == (2, "") and contents(folder) == before
    assert "01_softmax.ipynb: cell 1 holds sketch.png" in complained
    assert "02_other.ipynb: cell 1 holds sketch.png" in complained and "nothing was made" in complained


def test_a_notebook_that_is_replaced_is_kept(project):
    """Also one that was not named: its answers are gone from notebooks/, and not from the disk."""
    folder, pair = project
    path = folder / "notebooks" / "02_other.ipynb"
    for answer in ("2", "3"):
        edit(path, lambda notebook, answer=answer: notebook.cells[1].update(source=answer))
        edited = path.read_bytes()
        code, said, _ = pair()
        assert code == 0 and path.read_bytes() != edited
        kept = Path(said.split("what was there: ")[1].strip())
        assert kept.parent == folder / "build" / "replaced" and kept.read_bytes() == edited
    assert len(list((folder / "build" / "replaced").iterdir())) == 2
    assert pair() == (0, "", "")  # nothing to do


def test_an_edit_is_taken_over_and_its_outputs_are_kept_aside(project):
    folder, pair = project
    path = folder / "notebooks" / "01_softmax.ipynb"

    def work(notebook):
        notebook.cells[1].source += "  # e"
        notebook.cells[1].outputs = [v4.new_output("stream", text="2.7")]

    edit(path, work)
    edited = path.read_bytes()
    assert pair("--from-notebooks", "01")[0] == 0
    source = SOURCE.replace("1.0])", "1.0])  # e")
    assert (folder / "notebooks" / "src" / "01_softmax.py").read_text() == source
    assert path.read_text() == pairing.to_notebook(source)
    assert [kept.read_bytes() for kept in (folder / "build" / "replaced").iterdir()] == [edited]


def test_a_notebook_without_a_source_gets_one(project):
    folder, pair = project
    new = folder / "notebooks" / "03_new.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1 + 1")]), new)
    assert pair("--from-notebooks", "03")[0] == 0
    assert (folder / "notebooks" / "src" / "03_new.py").read_text() == "# %%\n1 + 1\n"
    assert new.read_text() == pairing.to_notebook("# %%\n1 + 1\n")
