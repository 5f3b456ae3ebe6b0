"""The classroom's parts by themselves: names, files, the wire between processes, the guard, the commands.

Not here: whole classes (test_class.py).
"""

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minivis import cli, laws
from minivis.classroom import award, awarded, closed, find, guard, wire
from minivis.classroom.gradebook import _version_of_gradebooks
from minivis.classroom.host import Host, is_python, plain_python
from minivis.classroom.remote import Missing, Submission
from minivis.classroom.students import by_student, student_of
from minivis.classroom.submission import mended, read
from minivis.classroom.tables import read_grades
from minivis.laws.judging.registry import family_of
from minivis.laws.ode import Field
from tests.classroom.making import put, solved, write


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Jane Doe_1234567_assignsubmission_file_", ("Jane Doe", "1234567")),
        ("Jane van der Doe_12_assignsubmission_file", ("Jane van der Doe", "12")),
        ("José Ñandú_7_assignsubmission_file_attention", ("José Ñandú", "7")),
        ("doejane_12345_678901_attention", ("doejane", "12345")),
        ("doejane_LATE_12345_678901_attention-2", ("doejane", "12345")),
        ("ada_lovelace", ("ada_lovelace", "")),
        ("王小明", ("王小明", "")),
    ],
)
def test_names_of_learning_management_systems_are_understood(name, student):
    assert student_of(name) == student


def test_who_handed_in_what(tmp_path):
    for name in (
        "Jane Doe_1_assignsubmission_file_",
        "Jane Doe_2_assignsubmission_file_",
        ".git",
        "feedback",
        "Zoe",
    ):
        (tmp_path / name).mkdir()
    for name in ("doe_5_10_a.ipynb", "doe_5_10_b.zip", "=cmd|' C calc'.ipynb", "notes.txt", "grades.csv"):
        write(tmp_path / name, "")
    found = {student: [path.name for path in paths] for student, paths in by_student(tmp_path).items()}
    assert found == {
        "cmd-' C calc'": ["=cmd|' C calc'.ipynb"],
        "Jane Doe 1": ["Jane Doe_1_assignsubmission_file_"],
        "Jane Doe 2": ["Jane Doe_2_assignsubmission_file_"],
        "Zoe": ["Zoe"],
        "doe": ["doe_5_10_a.ipynb", "doe_5_10_b.zip"],
    }


def test_namesakes_and_long_names_stay_apart(tmp_path):
    for name in ("Ana?", "Ana!", "王" * 80, "王" * 81):
        write(tmp_path / f"{name}.ipynb", "")
    found = by_student(tmp_path)
    assert list(found) == ["Ana", "Ana 2", "王" * 50, f"{'王' * 50} 2"]
    assert all(len(paths) == 1 for paths in found.values())


def test_damaged_archives_are_told(tmp_path):
    names, damaged = tmp_path / "names.zip", tmp_path / "damaged.zip"
    with zipfile.ZipFile(names, "w") as archive:
        archive.writestr("é.ipynb", "{}")
    names.write_bytes(names.read_bytes().replace("é".encode(), b"\xff\xfe"))  # says UTF-8, and is not
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("detr.ipynb", json.dumps(solved("detr")))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:60] + b"U" * 240 + content[300:])
    assert "names.zip could not be opened as an archive" in read([names], "detr").remarks[0]
    assert "detr.ipynb could not be read: " in read([damaged], "detr").remarks[0]


def test_a_file_that_is_there_twice_is_told(tmp_path):
    for name, text in (("a.zip", "1"), ("b.zip", "2")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("data.txt", text)
    handed = read([tmp_path / "a.zip", tmp_path / "b.zip"], "detr")
    assert handed.files == [("data.txt", b"2")]
    assert "data.txt is there more than once; the last one counts." in handed.remarks


def test_an_archive_cannot_write_outside_nor_fill_the_disk(tmp_path):
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as archive:
        archive.writestr("../../evil.py", "x")
        archive.writestr("/etc/evil.py", "x")
        archive.writestr("detr/detr.ipynb", json.dumps(solved("detr")))
        archive.writestr("detr/helper.py", "y = 1")
        archive.writestr("__MACOSX/detr/._detr.ipynb", "z")
        archive.writestr("detr/many", b"0" * 60 * 2**20, zipfile.ZIP_DEFLATED)
    handed = read([tmp_path / "work.zip"], "detr")
    assert handed.notebook and [path for path, _ in handed.files] == ["detr/helper.py"]
    assert sum("points outside of its folder" in remark for remark in handed.remarks) == 2
    assert any("Not everything was read" in remark for remark in handed.remarks)


def test_of_several_notebooks_the_one_that_was_asked_for_is_taken(tmp_path):
    put(tmp_path / "a.ipynb", {"cells": []})
    put(tmp_path / "work" / "z.ipynb", solved("detr"))
    handed = read([tmp_path], "detr")
    assert len(handed.notebook["cells"]) > 5 and handed.remarks == [
        "There are 2 notebooks; work/z.ipynb was graded."
    ]


def test_a_submission_is_mended_for_nbgrader(tmp_path):
    put(tmp_path / "detr.ipynb", solved("detr"))
    released = read([tmp_path], "detr").notebook
    mine = json.loads(json.dumps(released))
    mine["cells"] = [c for c in mine["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]
    mine["cells"].append({"cell_type": "code", "metadata": {"nbgrader": 3}, "source": "extra = 1"})
    result = mended(mine, released)
    assert [c["source"] for c in result["cells"] if c["source"] != "extra = 1"] == [
        c["source"] for c in released["cells"]
    ]
    assert sum(c["source"] == "extra = 1" for c in result["cells"]) == 1
    assert len({c["id"] for c in result["cells"]}) == len(result["cells"])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -2.5, float("inf"), "π", (1, (2.5, None)), [1, [2]], {"w": 1, 2: (3,)},
        np.arange(6.0).reshape(2, 3), np.arange(6, dtype=np.float32).reshape(2, 3).T, np.zeros((0, 3)), np.array(2.0),
        np.float32(3), np.int64(-1), np.array([True, False]), np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_sent_arrives(value):
    file = io.BytesIO()
    wire.send(file, value)
    file.seek(0)
    arrived = wire.receive(file)
    assert type(arrived) is type(value)
    np.testing.assert_equal(arrived, value)
    if isinstance(value, np.ndarray) and value.size:
        assert (arrived.dtype, arrived.strides) == (value.dtype, value.strides)


def test_a_generator_arrives_at_the_same_place_of_its_stream():
    generator = np.random.default_rng(5)
    generator.random(3)
    file = io.BytesIO()
    wire.send(file, {"rng": generator})
    file.seek(0)
    np.testing.assert_array_equal(wire.receive(file)["rng"].random(4), generator.random(4))


def test_a_field_arrives_as_a_function():
    field = Field(0.5, -0.25, (1.0, 2.0, 0.0, -1.0))
    file = io.BytesIO()
    wire.send(file, (field,))
    file.seek(0)
    (arrived,) = wire.receive(file)
    y = np.linspace(-1, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(arrived(y, 0.3), field(y, 0.3), rtol=1e-6)
    assert arrived(y, 0.3).dtype == np.float32


def test_what_cannot_be_sent_is_named():
    file = io.BytesIO()
    wire.send(file, {"a": object(), "b": np.array([None, 1]), "f": len}, keep=lambda f: 7)
    file.seek(0)
    arrived = wire.receive(file, function=lambda number: f"function {number}")
    assert (
        type(arrived["a"]).__name__ == "object"
        and arrived["b"].dtype == object
        and arrived["f"] == "function 7"
    )
    with pytest.raises(wire.TooLarge):
        wire.send(file, np.zeros(wire.MOST_BYTES[1] // 8 + 1))
    with pytest.raises(wire.ConnectionLost):
        wire.receive(io.BytesIO(b"\xff" * 16))


def test_closed_libraries_can_be_imported_and_not_used():
    file = closed.__file__
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('closed', {file!r})\n"
        "closed = importlib.util.module_from_spec(spec); spec.loader.exec_module(closed); closed.close()\n"
        "import minivis as mv, torch.nn.functional as F\n"
        "from scipy.special import softmax\n"
        "from minivis.classroom import award\n"
        "assert award(1, 2, 3) is None and mv.viz.heatmap(1) is None\n"
        "for f in (mv.ops.softmax, softmax, F.softmax):\n"
        "    try: f(1)\n"
        "    except closed.Closed as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "This uses the library's own: minivis.ops.softmax.",
        "This uses the library's own: scipy.special.softmax.",
        "This uses the library's own: torch.nn.functional.softmax.",
    ], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts processor time as Linux tells it")
@pytest.mark.parametrize(
    ("cell", "seconds", "note"),
    [
        ("import os; os._exit(0)", 20, "It ended the whole Python process, and was left out."),
        ("while True:\n    pass", 2, "It did not come back, and was left out."),
    ],
)
def test_a_cell_that_ends_its_process_or_the_time_is_told_and_left_out(cell, seconds, note, tmp_path):
    with Submission([(1, cell), (2, "def f(): return 1")], tmp_path, 2**31, seconds) as submission:
        if "exit" in cell:
            assert submission.function("f")() == 1
        else:
            with pytest.raises(Missing, match="The time for the whole submission ran out"):
                submission.function("f")
        assert submission.notes == {1: note}


def test_what_only_ipython_understands_is_left_out():
    assert (
        plain_python("%matplotlib inline\nif x:\n    !ls\ny = 3 % 2\nnp.sum?\n")
        == "pass\nif x:\n    pass\ny = 3 % 2\npass\n"
    )
    assert plain_python("%%bash\nrm -rf x") == "" and plain_python("%%time\ny = 1") == "pass\ny = 1"


def test_a_line_that_goes_on_with_a_percent_sign_is_python(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # a host puts its own there
    host = Host(alarm=None)
    assert is_python("x = (7\n     % 4)") and not is_python("%matplotlib inline\nx = 1")
    assert host.find("lambda x: missing") == 1
    assert host.find("adapted(lambda x: x)") == "The notebook does not define 'adapted'."


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path):
    path = tmp_path / "grades.csv"
    assert read_grades(path) == {}
    write(path, "\ufeffstudent,task,points,max\r\nAda,giou,11.5,12\r\n\r\n")
    assert read_grades(path) == {"Ada": [("giou", "11.5", "12")]}
    write(path, "student;task;points;max\n")
    with pytest.raises(ValueError, match="does not begin with student,task,points,max; move it away"):
        read_grades(path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "expected one call"),
        ("award('softmax', f)", "with 2 positional arguments"),
        ("award('softmax', f, points)", "written out, not computed"),
        ("award('softmax', f, {'formula'})", "the points must be a dict"),
    ],
)
def test_a_check_cell_says_what_it_awards(source, words):
    with pytest.raises(ValueError, match=words):
        awarded(source)


def test_the_guard_puts_a_folder_right(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_KEPT", 1000)
    folder = tmp_path / "course"
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt"):
        write(folder / name, name)
    write(folder / "large.bin", "x" * 2000)
    (folder / "link").symlink_to("a.txt")
    keeper = guard.Guard(folder)
    assert keeper.restore() == []
    write(folder / "a.txt", "changed")
    shutil.rmtree(folder / "deep")
    (folder / "link").unlink()
    write(folder / "link", "no link")
    write(folder / "new" / "c.txt", "c")
    write(folder / "large.bin", "y" * 3000)
    changed = [
        "a.txt",
        "deep",
        "deep/b.txt",
        "deep/er",
        "deep/er/c.txt",
        "large.bin",
        "link",
        "new",
        "new/c.txt",
    ]
    assert keeper.restore() == changed
    assert keeper.restore() == ["large.bin"]  # too large to be kept: told, and left
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt"):
        assert (folder / name).read_text() == name
    assert (folder / "link").is_symlink() and not (folder / "new").exists()
    write(folder / "grades.csv", "mine")
    keeper.remember()
    assert keeper.restore() == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_guard_does_not_follow_a_link_in_the_folders_place(tmp_path):
    write(tmp_path / "course" / "a.txt", "a")
    write(tmp_path / "elsewhere" / "b.txt", "b")
    keeper = guard.Guard(tmp_path / "course")
    shutil.rmtree(tmp_path / "course")
    (tmp_path / "course").symlink_to(tmp_path / "elsewhere")
    keeper.restore()
    assert (tmp_path / "course" / "a.txt").read_text() == "a" and not (tmp_path / "course").is_symlink()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["b.txt"]


def test_award_counts_points(capsys):
    corners = find("detr").tasks[0]
    right = family_of(corners.family).right
    assert award(corners.family, lambda b: right(b)[0].squeeze(), {"shape": 1, "half to each side": 2}) == 2
    assert "2 of 3 points" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="no point yet"):  # the shape is right, and nothing else
        award(corners.family, lambda b: b, {"shape": 1, "half to each side": 2})
    assert "Not counted yet: shape" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="no point yet"):
        award("softmax", lambda x: None, {"formula": 1})
    with pytest.raises(ValueError, match="softmax has no law 'formla'; it has"):
        award("softmax", lambda x: x, {"formla": 1})


def test_only_some_laws_can_be_asked_for():
    report = laws.judge("softmax", lambda x, axis=-1: x, only=["quiet", "shape"])
    assert [verdict.name for verdict in report] == ["shape", "quiet"] and report.passed
    with pytest.raises(ValueError, match="need vjp=True"):
        laws.judge("softmax", lambda x, axis=-1: x, only=["gradient of x"])


def test_list_is_one_a_line_name_first(capsys):
    assert cli.main(["assignment", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "convolution", "residual", "kernels", "autograd", "attention", "vit", "mae", "swin", "dino", "clip", "boxes", "detr", "unet",
        "segmenter", "masked-attention", "sam",
    ]  # fmt: skip


def test_the_printed_solution_runs(capsys):
    assert cli.main(["assignment", "solution", "detr"]) == 0
    scope = {"np": np}
    exec("import itertools\n" + capsys.readouterr().out, scope)
    assert scope["linear_sum_assignment"](np.array([[2.0, 1.0]]))[1].tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("release atention there", "did you mean 'attention'?"),
        ("solution nothing.ipynb", "there is no file 'nothing.ipynb'"),
        ("grade detr nowhere", "there is no folder 'nowhere'"),
        ("grade detr .", "holds no submissions; expected one sub-folder, .ipynb or .zip for each student"),
        ("release bad.ipynb there", "could not be read as a notebook"),
        ("release plain.ipynb there", "has no check cell"),
        ("release points.ipynb there", "but the cell's metadata has another number"),
    ],
)
def test_mistakes_of_the_teacher_are_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    if "bad" in arguments:
        write(own / "bad.ipynb", "{")
    if "plain" in arguments:
        put(own / "plain.ipynb", {"cells": []})
    if "points" in arguments:
        text = find("detr").path.read_text(encoding="utf-8")
        write(own / "points.ipynb", text.replace('"points": 5', '"points": 6'))
    assert cli.main(["assignment", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_without_nbgrader_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "nbgrader" else there(name, *a)
    )
    put(tmp_path / "ada.ipynb", solved("detr"))
    for arguments in (["release", "detr", str(tmp_path / "out")], ["grade", "detr", str(tmp_path)]):
        assert cli.main(["assignment", *arguments]) == 2
        assert (
            capsys.readouterr().err
            == 'minivis: assignment: nbgrader is not installed: pip install "minivis[classroom]"\n'
        )
    assert cli.main(["assignment", "list"]) == 0


def test_a_gradebook_says_the_version_that_nbgrader_gives_it(monkeypatch):
    from nbgrader.api import get_alembic_version

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert _version_of_gradebooks() == get_alembic_version()


def test_a_folder_with_work_in_it_is_not_written_over(tmp_path, capsys):
    put(tmp_path / "detr.ipynb", {"cells": []})
    assert cli.main(["assignment", "release", "detr", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert json.loads((tmp_path / "detr.ipynb").read_text()) == {"cells": []}


def test_no_file_of_the_classroom_takes_the_place_of_a_public_name():
    import minivis.classroom

    files = {path.stem for path in Path(minivis.classroom.__file__).parent.glob("*.py")}
    assert files.isdisjoint(minivis.classroom.__all__)
