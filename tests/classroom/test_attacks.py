"""The classroom under attack: nobody else's points or files change, none earns what it did not deserve, all are graded.

Not here: the attacks themselves (attacks.py), honest mistakes (test_class.py).
"""

import html.parser
import io
import json
import math
import os
import socket
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minivis.classroom import calls, find, grading, isolation, judging, remote, wire
from minivis.classroom.judging import judge_submission
from minivis.classroom.markup import harmless
from minivis.classroom.remote import Missing, Submission
from minivis.classroom.students import by_student
from minivis.classroom.tables import read_grades, write_grades
from minivis.classroom.tasks import Task
from minivis.laws.judging.sandbox import Broken
from tests.classroom.attacks import BODIES, CELLS, HELD_WITHOUT
from tests.classroom.making import grades, put, write

PROJECT = Path(__file__).resolve().parents[2]
RIGHT = (
    "c, half = boxes[..., :2], boxes[..., 2:] / 2\n    return np.concatenate([c - half, c + half], axis=-1)"
)
WRONG = RIGHT.replace(" / 2", "")
TRIES = "try:\n        return answer(boxes)\n    except NameError:\n        pass\n    "  # what an attack may have found

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="limits of memory and ends of processes are Linux's"
)
isolated = pytest.mark.skipif(bool(isolation.why_not()), reason=isolation.why_not())


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A teacher's own assignment: the first task of "detr"."""
    notebook = json.loads(find("detr").path.read_text(encoding="utf-8"))
    notebook["cells"] = [
        cell
        for cell in notebook["cells"]
        if not str(cell["metadata"].get("nbgrader", {}).get("grade_id")).startswith(("giou", "matching"))
    ]
    path = tmp_path_factory.mktemp("own") / "boxes.ipynb"
    put(path, notebook)
    return path


def handed_in(boxes, body=WRONG, before=(), kind="code"):
    """A notebook whose task has this body, with more cells before it."""
    notebook = json.loads(boxes.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "BEGIN SOLUTION" in "".join(cell["source"]):
            cell["source"] = f"def box_cxcywh_to_xyxy(boxes):\n    {body.strip()}\n"
    mine = [
        {"cell_type": kind, "id": f"m{i}", "metadata": {}, "source": source}
        for i, source in enumerate(before)
    ]
    for cell in mine if kind == "code" else ():
        cell.update(outputs=[], execution_count=None)
    return {**notebook, "cells": [*mine, *notebook["cells"]]}


def odd_files(folder, boxes):
    """Hand-ins that attack before anything runs: links, devices, archives, sizes."""
    put(folder / "links" / "work.ipynb", handed_in(boxes))
    (folder / "links" / "best.ipynb").symlink_to(folder / "honest.ipynb")
    (folder / "links" / "all").symlink_to(folder)
    os.mkfifo(folder / "links" / "data.ipynb")
    os.mkfifo(folder / "a pipe.ipynb")
    with zipfile.ZipFile(folder / "an archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (
            "../honest.ipynb",
            "/tmp/evil.ipynb",
            "feedback/honest.html",
            "grades.csv",
            "x\x00y.txt",
        ):
            archive.writestr(name, "{}")
        for i in range(300):
            archive.writestr(f"data/{i}.txt", "x")
        archive.writestr("bomb.txt", b"0" * 60 * 2**20)
        archive.writestr("work.ipynb", json.dumps(handed_in(boxes)))
    large = ["x = 1  # " + "y" * 3 * 10**6, *["'a' * 3"] * 500, "#" * 10**5 + "\n" + "(" * 300 + ")" * 300]
    put(folder / "a large notebook.ipynb", handed_in(boxes, before=large))
    put(folder / "deep.ipynb", {"cells": json.loads("[" * 500 + "]" * 500)})
    write(folder / "deeper.ipynb", "[" * 10**6)


def attacked(boxes, folder, apart, monkeypatch):
    """Grade a class with an honest student, one who is wrong, and attackers: what was told."""
    put(folder / "honest.ipynb", handed_in(boxes, RIGHT))
    put(folder / "wrong.ipynb", handed_in(boxes))
    for name, body in BODIES.items() if apart else ():
        put(folder / f"{name}.ipynb", handed_in(boxes, body))
    if apart:
        odd_files(folder, boxes)
    else:
        monkeypatch.setattr(isolation, "why_not", lambda: "bwrap was left out")
    monkeypatch.setattr(remote, "CELL_SECONDS", 0.7)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        known = f"FOLDER, PROJECT, PORT = {str(folder)!r}, {str(PROJECT)!r}, {server.getsockname()[1]}\n"
        for name in CELLS if apart else HELD_WITHOUT:
            put(folder / f"{name}.ipynb", handed_in(boxes, TRIES + WRONG, [known + CELLS[name]]))
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        told = grading.grade(str(boxes), folder, seconds=6)
    assert {path: path.read_bytes() for path in before} == before
    return told


@pytest.mark.parametrize("apart", [pytest.param(True, marks=isolated), False], ids=["isolated", "not"])
def test_attacks_reach_nobody_else_and_earn_nothing(apart, boxes, tmp_path, monkeypatch):
    folder = tmp_path / "class"
    told = attacked(boxes, folder, apart, monkeypatch)
    found = {student: points["corners"] for student, points in grades(folder).items()}
    assert set(found) == set(told) == set(by_student(folder))
    assert found.pop("honest") == find(boxes).most
    deserved = found["wrong"]
    assert 0 < deserved < find(boxes).most
    assert {student: points for student, points in found.items() if points > deserved} == {}
    assert [path.name for path in tmp_path.iterdir()] == ["class"]
    pages = {path.name: path.read_text(encoding="utf-8") for path in (folder / "feedback").iterdir()}
    assert set(pages) == {f"{student}.{kind}" for student in told for kind in ("html", "md")}
    for student in told:
        page = pages[f"{student}.md"]
        assert "reached: " not in page or r"reached: \[\] (line" in page, student
        assert page.replace("\n", "").isprintable()
        assert ("Isolated (bubblewrap)" if apart else "Not isolated: bwrap was left out.") in page
    if apart:
        assert found["links"] == found["an archive"] == found["a large notebook"] == deserved
        check_remarks(told)


def check_remarks(told):
    """What was odd about files is told."""
    links = "\n".join(told["links"])
    assert all(f"{name} is a link or a device" in links for name in ("best.ipynb", "all", "data.ipynb"))
    assert "a pipe.ipynb is a link or a device" in told["a pipe"][0]
    archive = "\n".join(told["an archive"])
    assert archive.count("points outside of its folder") == 2 and "Not everything was read: " in archive
    assert "cannot be read as JSON" in told["deeper"][0]


LOOKS = """
import ctypes, importlib, json, os, sys
def tried(call):
    try:
        return str(call())
    except OSError as error:
        return type(error).__name__
def there(name):
    try:
        return bool(importlib.import_module(name))
    except ImportError:
        return False
def told():
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_closed"]
    paths = ["/x", "/usr/lib/x", "/proc/sys/kernel/core_pattern", "/dev/shm/x", "/handed-in/x", "/minivis/x"]
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return json.dumps({
        "files": os.listdir("."),
        "top": os.listdir("/"),
        "processes": [name for name in os.listdir("/proc") if name.isdigit()],
        "written": [path for path in paths if "Error" not in tried(lambda: open(path, "w"))],
        "secret": "A_SECRET" in open("/proc/self/environ").read(),
        "name": os.uname().nodename,
        "capable": int(status["CapEff"], 16),
        "answers": [name for name in ("scipy.optimize", "minivis.vision", "minivis.ops") if there(name)],
        "forks": tried(os.fork),
        "unshares": ctypes.CDLL(None).unshare(0x10000000),
        "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    })
"""


@isolated
def test_a_submission_sees_its_own_files_and_python_and_writes_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET", "42")
    write(tmp_path / "work" / "mine.txt", "mine")
    with Submission([(1, LOOKS)], tmp_path, 2**31, 20, place="work", isolated=True) as submission:
        seen = json.loads(submission.function("told").call_apart((), {}, 5)[0])
        pid = submission.pid
        assert Path(f"/proc/{pid}").exists()
    top = {
        "dev",
        "etc",
        "handed-in",
        "lib",
        "lib64",
        "minivis",
        "proc",
        "submission",
        "tmp",
        "usr",
        "nix",
        "gnu",
    }
    assert set(seen.pop("top")) <= top | {Path(path).parts[1] for path in (sys.prefix, sys.base_prefix)}
    assert set(seen.pop("interfaces")) <= {"lo"}
    assert seen == {
        "files": ["mine.txt"], "processes": ["1"], "written": [], "secret": False, "name": "submission",
        "capable": 0, "answers": [], "forks": "PermissionError", "unshares": -1,
    }  # fmt: skip
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


@isolated
def test_packages_that_have_the_answers_are_masked():
    masked = isolation._answers()
    assert any(path.endswith("/scipy") for path in masked) and all(Path(path).is_dir() for path in masked)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_the_filter_of_system_calls_is_well_formed(machine):
    steps = list(struct.iter_unpack("HBBI", calls.refused_calls(machine)))
    assert steps[-1] == (0x06, 0, 0, 0x7FFF0000)  # whatever nothing is said about is allowed
    for i, (_, yes, no, _) in enumerate(steps):
        assert i + 1 + max(yes, no) < len(steps) or i == len(steps) - 1


# ---------------------------------------------------------------------------------------------------------------------
# Time and memory

STOPS = "import os, signal\ndef box_cxcywh_to_xyxy(boxes):\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
FORKS = """
import os
for _ in range(8):
    if os.fork() == 0:
        while True:
            pass
def box_cxcywh_to_xyxy(boxes):
    while True:
        pass
"""
DISTRACTS = """
import hashlib, threading
def busy():
    while True:
        hashlib.sha256(b"x" * 2**24)
for _ in range(8):
    threading.Thread(target=busy, daemon=True).start()
def box_cxcywh_to_xyxy(boxes):
    while True:
        hashlib.sha256(b"x" * 2**22)
"""


@pytest.mark.parametrize(
    ("cell", "apart"),
    [(STOPS, False), (FORKS, False), pytest.param(DISTRACTS, True, marks=isolated)],
    ids=["stops", "forks", "distracts"],
)
def test_no_submission_costs_more_than_twice_its_limit(cell, apart, boxes, monkeypatch):
    if not apart:
        monkeypatch.setattr(isolation, "why_not", lambda: "bwrap was left out")
    judging.warm_up(find(boxes).tasks)
    start = time.monotonic()
    found = judge_submission(find(boxes).tasks, [(1, cell)], seconds=2)
    assert time.monotonic() - start < 2 * 2 + 0.5
    assert found["tasks"][0]["points"] == 0


def test_of_the_time_that_passes_a_part_counts_always(tmp_path):
    submission = Submission([], tmp_path, 2**31, 100)
    submission.began -= 100
    submission.waited = 10**6  # as if it had waited for the processor all the time
    assert 39 < submission.seconds_left <= 40
    submission.looked = -math.inf  # so that it asks the system again
    submission.latest = 0.0
    submission.waited = -90  # as if ninety seconds had passed, and none of them waiting
    assert 9 < submission.seconds_left <= 10


def test_the_clock_never_goes_back_and_stays_close(tmp_path, monkeypatch):
    """It asks the system rarely: what it counts too much in between is little, and no deadline comes twice."""
    submission = Submission([], tmp_path, 2**31, 100)
    elapsed = iter(i / 500 for i in range(1000))
    passed = 0.0

    def monotonic():
        nonlocal passed
        passed = next(elapsed)
        return passed

    monkeypatch.setattr(remote.time, "monotonic", monotonic)
    monkeypatch.setattr(remote, "clock", lambda: passed / 2)  # half of the time it waits for the processor
    submission.began_counting = 0.0
    told = [submission.clock() - passed / 2 for _ in range(900)]
    assert -1e-9 < min(told) and max(told) <= remote.EXACT_EVERY
    assert max(told) > 0
    submission.looked = -math.inf
    submission.counted = 0.0
    before = submission.latest
    monkeypatch.setattr(remote, "clock", lambda: 0.0)
    assert submission.clock() >= before


def test_a_given_function_joins_the_running_process(tmp_path):
    cells = [(1, "import os\ndef f(): return 'wrong'\ndef g(): return f(), os.getpid()")]
    with Submission(cells, tmp_path, 2**31, 20) as submission:
        wrong, first = submission.function("g")()
        submission.give("f", "def f(): return h()\ndef h(): return 'right'")
        right, second = submission.function("g")()
        assert (wrong, right, first) == ("wrong", "right", second)
        submission.end()
        assert submission.function("g")()[0] == "right"  # in the next process too


def test_a_given_function_that_cannot_join_comes_with_the_next_process(tmp_path):
    spoil = "import builtins\ndef g():\n    del builtins.exec\n    return f()\ndef f(): return 'wrong'"
    with Submission([(1, spoil)], tmp_path, 2**31, 20) as submission:
        assert submission.function("g")() == "wrong"
        submission.give("f", "def f(): return 'right'")
        assert submission.function("f")() == "right" and submission.notes == {}


def test_a_cell_that_stops_its_process_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "CELL_SECONDS", 0.3)
    monkeypatch.setattr(remote, "GRACE", 0.3)
    with Submission([(1, "import os\nos.kill(os.getpid(), 19)")], tmp_path, 2**31, 20) as submission:
        with pytest.raises(Missing, match="does not define 'f'"):
            submission.function("f")
    assert submission.notes == {1: "It did not come back, and was left out."}


LIE = """
import numpy as np
class Right(np.ndarray):
    def __eq__(self, other):
        return True
class Lies(list):
    count = 0
    def __call__(self, g):
        Lies.count += 1
        zeros = np.zeros_like(g).view(Right)
        lies = (zeros,), [zeros], (np.empty(g.shape, object),), (lambda g: g,), ("x" * 9,), {0: zeros}, (g, g, g)
        return lies[Lies.count % 7]
def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True), Lies()
"""


def test_a_vjp_that_lies_earns_nothing():
    task = Task("t", "softmax", "softmax", {"formula": 1, "gradient of x": 4}, vjp=True)
    (found,) = judge_submission([task], [(1, LIE)], seconds=20)["tasks"]
    assert {law["name"]: law["passed"] for law in found["laws"]} == {"formula": True, "gradient of x": False}


def message(tree, numbers=b""):
    tree = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return wire._HEAD.pack(len(tree), len(numbers)) + tree + numbers


MESSAGES = {
    "objects": message({"objects": [3 * 10**8]}),
    "no array": message({"array": {}}),
    "overflow": message({"array": "<f8", "shape": [2**62, 2**62], "axes": [0, 1], "start": 0}),
    "negative": message({"array": "<f8", "shape": [-1], "axes": [0], "start": 0}, b"0" * 80),
    "pointers": message({"array": "O", "shape": [1], "axes": [0], "start": 0}, b"0" * 8),
    "large items": message({"array": "V999999999", "shape": [0], "axes": [0], "start": 0}),
    "a name": message({"opaque": "\0"}),
    "unhashable": message({"dict": [[{"list": []}, 1]]}),
    "deep": message(b"[" * 2**17),
    "many": message(b"[" + b"[]," * 80_000 + b"[]]"),
    "more": message(b"[" + b"[]," * 3_000_000 + b"[]]"),
    "a string": message(b'"' + b"x" * 2**24 + b'"'),
    "a number": message(b"1" * 10_000),
    "a claim": wire._HEAD.pack(2**62, 2**62),
    "a smaller claim": wire._HEAD.pack(2**18, 2**23),
    "a generator": message({"generator": {"bit_generator": "PCG64", "state": "none"}}),
    "a field": message({"field": ["x", {}]}),
    "nothing": message({}),
    "no text": message(b"\xff\xfe"),
}


@pytest.mark.parametrize("content", MESSAGES.values(), ids=MESSAGES)
def test_no_message_takes_much_memory(content):
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        wire.receive(file, most=wire.MOST_ANSWER)
    except Exception as error:  # any: remote.py takes it for a process that is gone
        assert not isinstance(error, MemoryError)
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 24 * 2**20


def test_an_answer_that_is_none_is_told(tmp_path, monkeypatch):
    submission = Submission([], tmp_path, 2**31, 10)
    submission.process = SimpleNamespace(poll=lambda: None)
    for answer in (None, 3, [], {}, {"broken": 1}, {"result": 1, "printed": "", "written": 3},
                   {"result": 1, "printed": "", "written": []}):  # fmt: skip
        monkeypatch.setattr(submission, "_ask", lambda limit, answer=answer, **request: answer)
        with pytest.raises(Broken, match="was no answer"):
            submission.call(1, [np.array(1.0)], {}, 1)


def test_points_are_counted_within_what_can_be_had():
    tasks = find("detr").tasks
    found = judging.nothing(tasks, "")
    for judged, points in zip(found["tasks"], (-3, 999, 7), strict=True):
        judged["points"] = points
        judged["most"] = 10**6
    counted = judging._counted(found, tasks)["tasks"]
    assert [judged["points"] for judged in counted] == [0, tasks[1].most, 7]
    assert [judged["most"] for judged in counted] == [task.most for task in tasks]
    with pytest.raises(ValueError, match="about task 'other'; expected 'corners'"):
        judging._counted({"tasks": [{**counted[0], "name": "other"}, *counted[1:]]}, tasks)
    with pytest.raises(ValueError, match="zip"):
        judging._counted({"tasks": counted * 2}, tasks)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_found_so_far_is_on_disk(boxes, tmp_path, monkeypatch, error):
    for name in ("a", "b", "c"):
        put(tmp_path / f"{name}.ipynb", handed_in(boxes, RIGHT))
    calls = []

    def judge(tasks, *_):
        calls.append(1)
        if len(calls) == 2:
            raise error("the second one")
        return judging.nothing(tasks, "")

    monkeypatch.setattr(grading, "judge_submission", judge)
    monkeypatch.setattr(grading, "warm_up", lambda tasks, seed: None)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            grading.grade(str(boxes), tmp_path)
        assert list(grades(tmp_path)) == ["a"] and (tmp_path / "feedback" / "a.html").exists()
    else:
        told = grading.grade(str(boxes), tmp_path)
        assert list(grades(tmp_path)) == ["a", "b", "c"]
        assert told == {"a": [], "b": ["It could not be judged: RuntimeError: the second one."], "c": []}


# ---------------------------------------------------------------------------------------------------------------------
# What a browser or a spreadsheet would take for more than text

MARKUP = """
<script>EVIL()</script>
<img src=x onerror="EVIL()"> ![EVIL](https://EVIL.example/pixel.png) ![EVIL](attachment:EVIL.svg)
<svg onload="EVIL()"><style>@import "EVIL"</style></svg><iframe src="EVIL"></iframe>
<div style="position:fixed" class="EVIL" onclick="EVIL()" id="EVIL">x</div>
[a](javascript:EVIL()) [b](java&#115;cript:EVIL()) [c](JAVASCRIPT:EVIL()) <a href="data:text/html,EVIL">d</a>
<form action="EVIL"><input autofocus onfocus="EVIL()"></form><meta http-equiv="refresh" content="0;EVIL">

<pre>
&#13;&#13;

<script>EVIL()</script> [e](javascript:EVIL())
</pre>

```mermaid
graph <img src=x onerror="EVIL()">
```

$a < b$ and `c < d`
"""


class Harm(html.parser.HTMLParser):
    """Collects what in a page could do something and has EVIL in it."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.open = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        for name, value in attributes:
            # followed only by who wants to
            is_link = (tag, name) == ("a", "href") and value.startswith("https://")
            if "EVIL" in (value or "") and not is_link:
                self.found.append((tag, name, value))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "EVIL" in data and {"script", "style", "svg", "iframe", "form"} & set(self.open):
            self.found.append((self.open[-1], data[:80]))
        self.text += data


def harm(page):
    parser = Harm()
    parser.feed(page)
    return parser


def test_the_parser_of_these_tests_sees_harm():
    assert len(harm(MARKUP).found) > 10


def test_what_students_wrote_does_nothing_in_their_pages(boxes, tmp_path):
    notebook = handed_in(boxes, before=[MARKUP, *MARKUP.split("\n")], kind="markdown")
    raw = handed_in(boxes, before=[MARKUP], kind="raw")["cells"][0]
    raw["attachments"] = {"EVIL.svg": {"image/svg+xml": MARKUP}}
    code = handed_in(boxes, before=[f"x = '''{MARKUP}'''\nraise ValueError(x)"])["cells"][0]
    data = {"text/html": MARKUP, "image/svg+xml": MARKUP, "application/javascript": "EVIL()"}
    code["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]
    notebook["cells"] = [raw, code, *notebook["cells"]]
    put(tmp_path / "ada.ipynb", notebook)
    with zipfile.ZipFile(tmp_path / "<img src=x onerror=EVIL()>.zip", "w") as archive:
        archive.writestr("../<script>EVIL()<script>.ipynb", "")
    told = grading.grade(str(boxes), tmp_path)
    assert set(told) == {"ada", "img src-x onerror-EVIL()"}
    for student in told:
        page = harm((tmp_path / "feedback" / f"{student}.html").read_text(encoding="utf-8"))
        assert page.found == [] and "EVIL" in page.text, student
    # to the teacher, by nbgrader
    shown = tmp_path / ".nbgrader" / "autograded" / "ada" / "boxes" / "boxes.ipynb"
    for cell in json.loads(shown.read_text(encoding="utf-8"))["cells"][1:]:  # the first is the letter
        if cell["cell_type"] != "code":
            assert harm("".join(cell["source"])).found == []
            assert "attachments" not in cell


def test_harmless_markdown_stays_what_it_was():
    page = harmless(
        "# A title\n\n*one* **two** `x < y`, $a < b$, [a link](https://example.org)\n\n- item\n\n|a|b|\n|-|-|\n|1|2|"
    )
    for part in ("<h1>A title</h1>", "<em>one</em>", "<strong>two</strong>", "<code>x &lt; y</code>", "$a &lt; b$",
                 '<a href="https://example.org">a link</a>', "<li>item</li>", "<td>1</td>"):  # fmt: skip
        assert part in page


def test_names_are_neither_formulas_nor_one_another(tmp_path):
    names = ['=HYPERLINK("x")', "+1", "-1", "@SUM(A1)", "\t=1", "＝1", "Müller, Jörg", "Doe, Jane", "honest", "HONEST", "hONEST",
             "honest\u200b", "honest\u202e", "h\u043enest", "\u0301honest", "a\nb", "..."]  # fmt: skip
    for name in names:
        write(tmp_path / f"{name}.ipynb", "")
    found = by_student(tmp_path)
    assert sum(map(len, found.values())) == len(names) - 1  # a name that begins with a dot is hidden
    assert len({name.casefold() for name in found}) == len(found)
    assert {"Müller, Jörg", "Doe, Jane", "HONEST", "hONEST 2", "honest 3", "HYPERLINK(-x-)"} <= set(found)
    assert all(name.isprintable() and name[0] not in "=+-@＝" for name in found)
    write_grades(tmp_path / "grades.csv", {name: [("corners", 1, 5)] for name in found})
    assert (
        '"Müller, Jörg",corners,1,5' in (tmp_path / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    )
    assert grades(tmp_path).keys() == read_grades(tmp_path / "grades.csv").keys() == set(found)
