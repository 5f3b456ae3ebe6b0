"""A seeded sample of every reader's broken files, and planted readers with faults that the machine must find.

Not here: the whole, `make fuzz`.
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import HERE
from tests.fuzz.mutators import mutate

ROOT = HERE.parents[1]
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="bounds memory as Linux does")
MUTANTS = 25  # of each reader: all together within half a minute


def run(*arguments):
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("*_readers.py")))
def test_broken_files_are_read_or_refused_in_words(file):
    done = run("--files", file, "--mutants", str(MUTANTS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("unnamed", "ValueError without the file's name: expected 1"),
        ("raw", "KeyError: "),
        ("slow", "TooSlowError: more than 2 s"),
        ("hungry", "asked for more than 200 MB"),
        ("dead", "ended the process (SIGABRT)"),
        ("writing", "the files of a refused folder were changed"),
        ("half", "refused, but something is half-changed: half"),
    ],
)
def test_a_planted_fault_is_found(name, finding):
    done = run("--files", "planted.py", "--readers", name, "--mutants", "2")
    assert done.returncode == 1 and finding in done.stdout, done.stdout + done.stderr


def test_a_reader_that_waits_is_stopped():
    code = (
        "from tests.fuzz import gather, watching\nwatching.PATIENCE = 1\n"
        "print(watching.fuzz(gather('planted.py', ['waiting'])[0], 1).findings)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "hung for 1 s" in done.stdout, done.stderr


def test_a_reader_without_fault_has_no_findings():
    done = run("--files", "planted.py", "--readers", "fine", "--mutants", "200")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_seed_breaks_the_same_way():
    files = {"a.json": b'{"x": [1, 2, {"y": "text"}]}', "b.bin": bytes(100)}
    first, again = ([mutate(files, random.Random(f"{seed}")) for seed in range(50)] for _ in range(2))
    assert first == again
    assert len({str(changed) for changed, _ in first}) > 40
