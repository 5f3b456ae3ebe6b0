"""What students hand in, as they and their browsers and learning management systems name and pack it: seen, and told.

Not here: what it is worth (test_class.py), hand-ins that attack (test_attacks.py).
"""

import io
import json
import os
import sys
import tarfile
import zipfile

import pytest

from minivis import cli
from minivis.classroom import find, submission
from minivis.classroom.grading import NOT_READ, grade
from minivis.classroom.students import by_student, not_read
from minivis.classroom.submission import MOST_SHOWN, mended, read
from tests.classroom.making import grades, put, solved, write

TASKS = ("corners", "giou", "matching")


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """The notebook that is handed out, as grading has it."""
    folder = tmp_path_factory.mktemp("stub")
    assert cli.main(["assignment", "release", "detr", str(folder)]) == 0
    return read([folder / "detr.ipynb"], "detr").notebook


def done(stub, *tasks):
    """The stub with the solutions of some tasks in it."""
    right = {
        cell["metadata"].get("nbgrader", {}).get("grade_id"): cell["source"]
        for cell in solved("detr")["cells"]
    }
    cells = []
    for cell in stub["cells"]:
        name = cell["metadata"]["nbgrader"].get("grade_id")
        taken = name in {f"{task}-task" for task in tasks}
        cells.append({**cell, "source": "".join(right[name]) if taken else cell["source"]})
    return {"cells": cells}


def bare(notebook):
    """Without metadata, as some tools save it."""
    return {"cells": [{**cell, "metadata": {}} for cell in notebook["cells"]]}


@pytest.mark.parametrize("lost", [False, True], ids=["with metadata", "without"])
@pytest.mark.parametrize(
    "files",
    [
        {"detr.ipynb": (), "detr-solved.ipynb": TASKS},
        {"detr.ipynb": (), "detr-Copy1.ipynb": TASKS[:1]},
        {"detr.ipynb": (), "detr (1).ipynb": TASKS[1:]},
        {"a/detr.ipynb": TASKS[:2], "b/detr.ipynb": TASKS, "c/detr.ipynb": ()},
    ],
    ids=lambda files: list(files)[-1],
)
def test_the_notebook_with_most_work_in_it_counts(stub, tmp_path, files, lost):
    for name, tasks in files.items():
        notebook = done(stub, *tasks)
        put(tmp_path / name, bare(notebook) if lost else notebook)
    best = max(files, key=lambda name: len(files[name]))
    handed = read([tmp_path], "detr", stub)
    assert [cell["source"] for cell in handed.notebook["cells"]] == [
        c["source"] for c in done(stub, *files[best])["cells"]
    ]
    assert f"There are {len(files)} notebooks; {best} was graded." in handed.remarks
    others = [name for name, tasks in files.items() if tasks and name != best]
    assert len(handed.remarks) == 1 + bool(others)
    if others:
        assert handed.remarks[1].startswith(f"The work in {', '.join(others)} does not count")


def test_two_attempts_of_one_student_are_one_hand_in(stub, tmp_path):
    put(tmp_path / "ada.ipynb", done(stub, "corners"))
    put(tmp_path / "ada (1).ipynb", done(stub, "corners", "giou"))
    put(tmp_path / "ada-Copy2" / "detr.ipynb", done(stub))
    put(tmp_path / "bob (1).ipynb", done(stub))
    put(tmp_path / "doe_1_10_detr.ipynb", done(stub))
    put(tmp_path / "doe_1_11_detr-1.ipynb", done(stub, "giou"))
    with zipfile.ZipFile(tmp_path / "eve.zip", "w") as archive:
        archive.writestr("detr.ipynb", json.dumps(done(stub, *TASKS)))
    put(tmp_path / "eve" / "detr.ipynb", done(stub, "giou"))
    owners = by_student(tmp_path)
    assert {student: sorted(path.name for path in paths) for student, paths in owners.items()} == {
        "ada": ["ada (1).ipynb", "ada-Copy2", "ada.ipynb"],
        "bob (1)": ["bob (1).ipynb"],
        "doe": ["doe_1_10_detr.ipynb", "doe_1_11_detr-1.ipynb"],
        "eve": ["eve", "eve.zip"],
    }
    remarks = {student: read(paths, "detr", stub).remarks for student, paths in owners.items()}
    assert remarks["ada"][0] == "There are 3 notebooks; ada (1).ipynb was graded."
    assert "The work in ada.ipynb does not count" in remarks["ada"][1]
    assert remarks["doe"] == ["There are 2 notebooks; doe_1_11_detr-1.ipynb was graded."]
    assert remarks["eve"][0] == "There are 2 notebooks; detr.ipynb was graded."
    best = read(owners["eve"], "detr", stub).notebook
    assert [c["source"] for c in best["cells"]] == [c["source"] for c in done(stub, *TASKS)["cells"]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("detr.ipynb.txt", "is a notebook, and was read as one"),
        ("detr.ipynb.json", "is a notebook, and was read as one"),
        ("detr.txt", "is a notebook, and was read as one"),
        ("detr.py", "detr.py is a script: hand in the notebook"),
        ("detr.html", "detr.html is a print"),
        ("detr.tar.gz", "detr.tar.gz is an archive that is not opened"),
        ("detr.rar", "detr.rar is an archive that is not opened"),
        ("detr.docx", "There is no notebook (.ipynb)"),
    ],
)
def test_a_notebook_under_another_name_is_read_or_told(stub, tmp_path, name, words):
    put(tmp_path / "ada" / name, done(stub))
    handed = read([tmp_path / "ada"], "detr", stub)
    assert any(words in remark for remark in handed.remarks)
    assert (handed.notebook is not None) == ("was read as one" in words)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_notebook_is_read_in_every_encoding_of_unicode(tmp_path, encoding):
    notebook = {"cells": [{"cell_type": "code", "metadata": {}, "source": "x = 'é王'"}]}
    (tmp_path / "a.ipynb").write_bytes(json.dumps(notebook, ensure_ascii=False).encode(encoding))
    assert read([tmp_path / "a.ipynb"], "a").notebook["cells"][0]["source"] == "x = 'é王'"


def test_what_lies_beside_the_hand_ins_is_told(stub, tmp_path, capsys):
    text = json.dumps(done(stub, *TASKS))
    for name in ("edge.ipynb.txt", "safari.ipynb.json", "ada_7_8_detr.py", "colab.py", "notes.txt"):
        write(tmp_path / name, text)
    with tarfile.open(tmp_path / "linux.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("detr.ipynb")
        entry.size = len(text.encode())
        archive.addfile(entry, io.BytesIO(text.encode()))
    with zipfile.ZipFile(tmp_path / "submissions.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"Jane Doe {i}_{i}_assignsubmission_file_/detr.ipynb", text)
    with zipfile.ZipFile(tmp_path / "canvas.zip", "w") as archive:
        archive.writestr("doe_1_2_detr.ipynb", text)
        archive.writestr("roe_3_4_detr.ipynb", text)
    # one student's, though its data looks like names
    with zipfile.ZipFile(tmp_path / "eve.zip", "w") as archive:
        archive.writestr("detr.ipynb", text)
        archive.writestr("img_001_002_a.png", "")
        archive.writestr("image_003_004_a.png", "")
    assert set(by_student(tmp_path)) == {"edge", "safari", "linux", "ada", "eve"}
    beside = "is not read: a hand-in is a folder, an .ipynb or a .zip"
    assert not_read(tmp_path) == [
        "canvas.zip holds the work of 2 students: unpack it, and grade the unpacked folder",
        f"colab.py {beside}",
        f"notes.txt {beside}",
        "submissions.zip holds the work of 3 students: unpack it, and grade the unpacked folder",
    ]
    assert cli.main(["assignment", "grade", "detr", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert f"*: colab.py {beside}\n" in printed.err and "linux: linux.tar.gz is an archive" in printed.err
    assert "The class: 5 students; mean 18.0, median 30 of 30 points; 3 with all points.\n" in printed.out
    assert "Most common mistakes: every task: no" in printed.out and "overview-detr.html\n" in printed.out
    assert "5 graded: " in printed.out and "solated" in printed.out.splitlines()[-1]
    full = {task.name: task.most for task in find("detr").tasks}
    none = dict.fromkeys(full, 0)
    assert grades(tmp_path) == {"edge": full, "safari": full, "eve": full, "linux": none, "ada": none}


def test_only_what_is_no_hand_in(tmp_path, capsys):
    write(tmp_path / "notes.txt", "")
    assert cli.main(["assignment", "grade", "detr", str(tmp_path)]) == 2
    assert "holds no submissions" in (error := capsys.readouterr().err) and "notes.txt is not read" in error
    assert NOT_READ not in by_student(tmp_path)


@pytest.mark.parametrize("kind", ["markdown", "raw"])
@pytest.mark.parametrize("lost", [False, True], ids=["with metadata", "without"])
def test_a_task_that_is_no_code_is_told(stub, tmp_path, kind, lost):
    notebook = done(stub, *TASKS)
    for cell in notebook["cells"]:
        if "def generalized_box_iou" in cell["source"] and cell["cell_type"] == "code":
            cell["cell_type"] = kind
    quoting = {
        "cell_type": "markdown",
        "metadata": {},
        "source": "I wrote\n\ndef linear_sum_assignment(cost):\n    ...",
    }
    notebook["cells"].append(quoting)  # a note about a task whose code is there
    put(tmp_path / "detr.ipynb", bare(notebook) if lost else notebook)
    (remark,) = read([tmp_path / "detr.ipynb"], "detr", stub).remarks
    words = {"markdown": "Markdown", "raw": "raw text"}[kind]
    assert f"of the task giou-task, is {words} instead of code: it was not run" in remark


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_pipes_and_links_are_left_out(stub, tmp_path):
    put(tmp_path / "ada" / "detr.ipynb", done(stub))
    os.mkfifo(tmp_path / "ada" / "a.ipynb")
    os.mkfifo(tmp_path / "pipe.zip")
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "ada" / "b.ipynb").symlink_to("detr.ipynb")
    (tmp_path / "link").symlink_to("ada")
    owners = by_student(tmp_path)
    assert set(owners) == {"ada", "link", "pipe"}
    assert read(owners["ada"], "detr", stub).remarks == [
        f"{name} is a link or a device, not a file, and was left out." for name in ("a.ipynb", "b.ipynb")
    ]
    for student in ("link", "pipe"):
        assert read(owners[student], "detr", stub).notebook is None


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_the_notebook_is_found_among_too_many_and_too_large_files(stub, tmp_path, packed):
    files = {"a.bin": b"0" * 60 * 2**20} | {f"data/{i:03}.txt": b"x" for i in range(250)}
    files["z/detr.ipynb"] = json.dumps(done(stub, "giou")).encode()
    if packed:
        with zipfile.ZipFile(tmp_path / "ada.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            (tmp_path / "ada" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "ada" / name).write_bytes(content)
    handed = read([tmp_path / ("ada.zip" if packed else "ada")], "detr", stub)
    assert handed.notebook is not None and handed.folder == "z" and len(handed.files) == 199
    assert "Not everything was read: a.bin and 51 more were left out." in handed.remarks[0]


def test_remarks_and_pages_have_an_end(stub, tmp_path):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w") as archive:
        for i in range(1000):
            archive.writestr(f"../{'x' * 2000}{i}", "")
    handed = read([tmp_path / "ada.zip"], "detr", stub)
    assert len(handed.remarks) == 20 and max(map(len, handed.remarks)) <= 500
    with pytest.raises(ValueError, match="more than 5000 cells"):
        submission._notebook(json.dumps({"cells": [0] * 5001}).encode())
    many = {"cells": [{"cell_type": "code", "metadata": {}, "source": f"x = {i}"} for i in range(5000)]}
    assert len(mended(many, stub)["cells"]) <= len(stub["cells"]) + 500
    long = {"cells": [{"cell_type": "code", "metadata": {}, "source": "#" * 10**6}] * 100}
    sources = [cell["source"] for cell in mended(long, stub)["cells"] if cell["source"].startswith("#" * 99)]
    assert len(sources) == 5 and max(map(len, sources)) < MOST_SHOWN + 100
    assert sources[0].endswith(f"... ({10**6 - MOST_SHOWN} more characters)")


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere do not keep such names")
def test_names_that_are_no_text_are_graded(stub, tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.ipynb")).write_text(json.dumps(done(stub)), encoding="utf-8")
    told = grade("detr", tmp_path)
    assert list(told) == ["caf"] and list(grades(tmp_path)) == ["caf"]
