"""What make calls: the setup that refuses an old Python in words, what opens the lab, the runner that executes notebooks.

Not here: a real setup; every fresh clone does one. The pairing of notebooks is in tests/notebooks/.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from scripts import system_packages
from scripts.run_notebooks import fingerprint, is_current

ROOT = Path(__file__).resolve().parent.parent
OLD = """#!/bin/sh
case "$2" in *version_info*) exit 1 ;; *) echo 3.9.18 ;; esac
"""


@pytest.fixture
def setup(tmp_path):
    """Run scripts/setup.sh where the only Python there is, is too old (or missing), and there is no uv."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "sed", "env"):
        (tools / tool).symlink_to(shutil.which(tool))

    def run(old=True, **environment):
        if old:
            (tools / "python3").write_text(OLD)
            (tools / "python3").chmod(0o755)
        command = ["bash", ROOT / "scripts" / "setup.sh", tmp_path / "venv", "dev"]
        result = subprocess.run(
            command,
            env={"PATH": str(tools), **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert result.returncode == 1 and not (tmp_path / "venv").exists()
        return result.stderr

    return run


def test_an_old_python_is_refused_in_words(setup):
    says = setup()
    assert "needs Python 3.11, 3.12 or 3.13; python3 here is 3.9.18." in says
    assert "apt install python3" in says and "make PYTHON=" in says


def test_no_python_is_refused_in_words(setup):
    assert "python3 here is missing." in setup(old=False)


def test_a_chosen_python_that_does_not_fit_is_named(setup):
    assert "PYTHON=python3 is 3.9.18; minivis needs" in setup(PYTHON="python3")
    assert "PYTHON=/nowhere is not a Python; minivis needs" in setup(PYTHON="/nowhere")


@pytest.mark.parametrize(
    ("shell", "activate"), [("/bin/bash", "activate"), (None, "activate"), ("/usr/bin/fish", "activate.fish")]
)
def test_the_setup_ends_with_how_a_shell_finds_minivis(tmp_path, shell, activate):
    def tool(path, script):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    tool(tmp_path / "bin" / "uv", "exit 0")  # installs nothing
    tool(tmp_path / "venv" / "bin" / "python", "exit 0")  # is there, and fits
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", ROOT / "scripts" / "setup.sh", "venv", "dev"],
        cwd=tmp_path,
        env={"PATH": path, **({"SHELL": shell} if shell else {})},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].endswith(f"type first: source venv/bin/{activate}")


def notebook(folder, name, *cells):
    nbformat.write(
        v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]), folder / f"{name}.ipynb"
    )


def run_notebooks(source, *arguments):
    command = [sys.executable, ROOT / "scripts" / "run_notebooks.py", *arguments]
    folders = ["--source", source, "--built", source / "built"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run([*command, *folders], capture_output=True, text=True, timeout=120, env=environment)


def test_notebooks_are_run_once_within_their_time_and_left_as_they_are(tmp_path):
    notebook(
        tmp_path, "01_fine", "import os", "print(os.getcwd())", "import sys; print('hm', file=sys.stderr)"
    )
    notebook(tmp_path, "02_wrong", "1 / 0")
    notebook(tmp_path, "03_warns", "import warnings; warnings.warn('old', DeprecationWarning)")
    notebook(tmp_path, "04_slow", "import time", "time.sleep(1)", "time.sleep(60)")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    result = run_notebooks(tmp_path, "--limit", "6")
    lines = sorted(
        re.findall(r"(?m)^(ok|FAILED) +([\d.]+) s  (\S+)$", result.stdout), key=lambda found: found[2]
    )
    assert [(state, name) for state, _, name in lines] == [
        ("ok", "01_fine"), ("FAILED", "02_wrong"), ("FAILED", "03_warns"), ("FAILED", "04_slow")
    ]  # fmt: skip
    assert float(lines[3][1]) < 50
    assert result.returncode == 1 and "1 of 4 notebooks ran" in result.stdout
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "DeprecationWarning: old" in result.stderr
    assert "took more than 6 s" in result.stderr and "time.sleep(60)" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")} == before
    cells = nbformat.read(tmp_path / "built" / "01_fine.ipynb", as_version=4).cells
    assert cells[1].outputs[0].text == f"{tmp_path}\n"


@pytest.mark.skipif(os.name != "posix", reason="Windows sends no such signal")
def test_ctrl_c_ends_the_run_and_leaves_the_copies_from_before(tmp_path):
    for name in ("01_a", "02_b", "03_c"):
        begun = f"import os, pathlib; pathlib.Path('{name}').write_text(str(os.getpid()))"
        notebook(tmp_path, name, begun, "import time; time.sleep(600)")
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "01_a.ipynb").write_text("from before")
    command = [sys.executable, ROOT / "scripts" / "run_notebooks.py", "--jobs", "2"]
    folders = ["--source", tmp_path, "--built", tmp_path / "built"]
    run = subprocess.Popen([*command, *folders], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = [tmp_path / "01_a", tmp_path / "02_b"]
    end = time.monotonic() + 240
    try:
        while not all(path.exists() and path.read_text() for path in begun) and time.monotonic() < end:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        says, complains = run.communicate(timeout=120)
    finally:
        run.kill()
    assert (run.returncode, says) == (130, "")
    assert complains.startswith("stopped; ") and "Traceback" not in complains
    assert [path.read_text() for path in (tmp_path / "built").iterdir()] == ["from before"]
    assert not (tmp_path / "03_c").exists()
    for kernel in (int(path.read_text()) for path in begun):
        with pytest.raises(ProcessLookupError):
            os.kill(kernel, 0)


def test_only_the_notebooks_asked_for_are_run(tmp_path):
    notebook(tmp_path, "01_fine", "1 + 1")
    notebook(tmp_path, "02_wrong", "1 / 0")
    result = run_notebooks(tmp_path, "01")
    assert (result.returncode, result.stderr) == (0, "") and "1 of 1 notebooks ran" in result.stdout
    for unknown in (["07"], ["01", "07"]):  # one wrong name, and nothing runs
        result = run_notebooks(tmp_path, *unknown)
        assert result.returncode == 2 and "07 (there are: 01_fine, 02_wrong)" in result.stderr


def test_a_mistake_on_the_command_line_is_refused_and_nothing_is_done(tmp_path):
    notebook(tmp_path, "01_fine", "1 + 1")
    result = run_notebooks(tmp_path, "--jobs", "0")
    assert result.returncode == 2 and "--jobs must be at least 1, got 0" in result.stderr
    pair = [sys.executable, ROOT / "scripts" / "pair_notebooks.py", "--from-notebooks", "01", "99", "no"]
    result = subprocess.run(pair, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (2, "") and "begins with 99 or no; nothing" in result.stderr


def test_what_has_not_changed_is_not_run_again(tmp_path):
    notebook(tmp_path, "01_kept", "1 + 1")
    notebook(tmp_path, "02_wrong", "1 / 0")

    def run():
        result = run_notebooks(tmp_path, "--changed")
        return re.findall(r"(?m)^(?:ok|FAILED) .* (\S+)$", result.stdout)

    assert sorted(run()) == ["01_kept", "02_wrong"]
    assert run() == ["02_wrong"]  # what failed is never kept
    notebook(tmp_path, "01_kept", "1 + 2")
    assert sorted(run()) == ["01_kept", "02_wrong"]
    assert is_current(tmp_path / "01_kept.ipynb", tmp_path / "built")
    assert not is_current(tmp_path / "02_wrong.ipynb", tmp_path / "built")


def test_a_fingerprint_changes_with_any_file_and_its_name(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.py").write_text("x = 1")
    before = fingerprint(tmp_path)
    (tmp_path / "part" / "__pycache__").mkdir()
    (tmp_path / "part" / "__pycache__" / "a.pyc").write_text("left behind")
    assert fingerprint(tmp_path) == before
    (tmp_path / "part" / "a.py").write_text("x = 2")
    changed = fingerprint(tmp_path)
    (tmp_path / "part" / "a.py").rename(tmp_path / "part" / "b.py")
    assert len({before, changed, fingerprint(tmp_path)}) == 3


@pytest.mark.parametrize(("apt", "root"), [(True, True), (True, False), (False, True)])
def test_packages_are_installed_where_that_needs_nobody(monkeypatch, apt, root):
    commands = []

    def run(command, **options):
        commands.append(command)
        if command[1] == "install":
            raise subprocess.CalledProcessError(100, command)  # which is told, and ends nothing

    monkeypatch.setattr(
        shutil, "which", lambda name: f"/usr/bin/{name}" if apt and name == "apt-get" else None
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000, raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    system_packages.install("bubblewrap", "chromium")
    wanted = [["apt-get", "update", "-qq"],
              ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "bubblewrap", "chromium"]]  # fmt: skip
    assert commands == (wanted if apt and root else [])
