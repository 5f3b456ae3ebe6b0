"""`minivis check NAME FILE.py:FUNCTION`: exit codes, and errors that say what to do.

Not here: the command line's own parsing (tests of cli).
"""

import pytest

from minivis.laws.judging.command import check_file

SOLUTION = """
import numpy as np
from neighbour import exp

def softmax(x, axis=-1):
    e = exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)

def forgot(x, axis=-1):
    return exp(x) / exp(x).sum(axis=axis, keepdims=True)

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solution.py").write_text(SOLUTION)
    (tmp_path / "neighbour.py").write_text("from numpy import exp\n")
    (tmp_path / "typo.py").write_text("def softmax(x:\n    return x\n")
    (tmp_path / "breaks.py").write_text("import numpy\nprint('loading')\nnumpy.softmax\n")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "submission").write_text("def other(x):\n    return x\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit()\n")
    return tmp_path


def test_a_function_that_ends_the_process_has_not_passed(folder, capfd):
    (folder / "quits.py").write_text("import os\ndef softmax(x, axis=-1):\n    os._exit(0)\n")
    assert check_file("softmax", "quits.py:softmax") == 1
    assert "ended the whole Python process" in capfd.readouterr().out


def test_right_and_wrong_answers(folder, capsys):
    assert check_file("softmax", "solution.py:softmax") == 0
    assert "all 13 laws hold" in capsys.readouterr().out
    assert check_file("softmax", str(folder / "solution.py") + ":forgot") == 1
    assert "✗ large logits" in capsys.readouterr().out
    assert not (folder / ".hypothesis").exists()


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("softmax", "solutoin.py:softmax", "there is no file 'solutoin.py'; did you mean 'solution.py'?"),
        ("softmax", "nowhere/solution.py:softmax", "the folder 'nowhere' does not exist"),
        ("softmax", "solution.py:sofmax", "has no function 'sofmax'; did you mean 'softmax'?"),
        ("softmax", "solution.py:xyz", "it has: softmax, forgot"),
        ("softmax", "solution.py:number", "number in solution.py is int, not a function"),
        ("softmax", "solution.py", "write FILE.py:FUNCTION"),
        ("softmax", "folder.py:softmax", "there is no file 'folder.py'\n"),
        ("softmax", "submission:softmax", "submission has no function 'softmax'; it has: other"),
        ("softmax", "typo.py:softmax", "(line 1)\n    def softmax(x:"),
        ("softmax", "breaks.py:softmax", "raised AttributeError"),
        ("softmax", "breaks.py:softmax", "(line 3 of breaks.py: `numpy.softmax`)"),
        ("softmax", "leaves.py:softmax", "raised SystemExit"),
        ("sofmax", "solution.py:softmax", "did you mean 'softmax'?"),
    ],
)
def test_what_is_in_the_way_is_said(folder, capsys, name, target, words):
    assert check_file(name, target) == 1
    error = capsys.readouterr().err
    assert error.startswith("minivis check: ") and words in error
    assert "Traceback" not in error
