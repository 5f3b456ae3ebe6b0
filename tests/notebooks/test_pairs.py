"""Each notebook is exactly what its source gives, and a source survives the way through JupyterLab.

Not here: running them (make notebooks), or what they say (test_slides.py).
"""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

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
