"""The lab as `make lab` opens it: the command is found in its kernels, nothing pops up, a save leaves the file as it was.

Not here: what a browser draws. The server is a real one; what the frontend of JupyterLab sends is sent here by hand.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from scripts.open_lab import environment

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = "notebooks/00_tour.ipynb"
NEWS = "@jupyterlab/apputils-extension:notification"
# What JupyterLab 4.6 writes into a notebook as soon as its kernel has said who it is.
WRITTEN_BY_THE_LAB = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": "3.12.7",
    },
}


def test_make_lab_hands_on_what_it_was_told(tmp_path):
    """With an environment that is ready, and whose Python only says how it was called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    (tmp_path / "ready").touch()
    said = subprocess.run(
        ["make", "--silent", "lab", f"VENV={tmp_path}", "LAB_ARGS=--no-browser --port=8890"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == ["scripts/open_lab.py", "--no-browser", "--port=8890"]


def test_a_cell_finds_the_command_of_this_environment():
    """`!minivis` and `%%bash`, where the shell that started the lab had not activated anything."""
    own = str(Path(sys.executable).parent)
    others = [place for place in os.environ["PATH"].split(os.pathsep) if place != own]
    bare = {**os.environ, "PATH": os.pathsep.join(others)}
    if not shutil.which("minivis", path=own):
        pytest.skip("minivis is not installed beside this Python: pip install -e .")

    def outputs(kernel_environment):
        manager, client = start_new_kernel(env=kernel_environment)
        try:
            found = []
            for cell in ("!command -v minivis", "%%bash\ncommand -v minivis || true"):
                client.execute_interactive(
                    cell,
                    timeout=60,
                    output_hook=lambda message: found.append(message["content"].get("text", "")),
                )
            return "".join(found).split()
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    assert outputs({**bare, **environment(bare)}) == [f"{own}/minivis"] * 2


class Lab:
    """A running lab on a copy of a few files, and what may be asked of it."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        for name in ("scripts/open_lab.py", "scripts/pair_notebooks.py", NOTEBOOK):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "scripts" / "lab_settings", folder / "scripts" / "lab_settings")
        shutil.copy(ROOT / NOTEBOOK, folder / "of_the_user.ipynb")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, folder / "scripts" / "open_lab.py", "--no-browser", f"--port={self.port}"]
        own = {"HOME": self.home, "PYTHONPATH": ROOT, "JUPYTER_TOKEN": "here", "JUPYTER_PLATFORM_DIRS": "0"}
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(command, env={**os.environ, **own}, stdout=self.log, stderr=self.log)

    def ask(self, path, body=None):
        """GET, or PUT a body; what comes back, as text."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "token here"},
            method="GET" if body is None else "PUT",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def save(self, path, change=lambda content: None):
        """Open a notebook and save it as the frontend does: with what it writes into the metadata, and a change."""
        model = json.loads(self.ask(f"api/contents/{path}"))
        model["content"]["metadata"].update(WRITTEN_BY_THE_LAB)
        change(model["content"])
        self.ask(f"api/contents/{path}", {"type": "notebook", "format": "json", "content": model["content"]})
        return (self.folder / path).read_bytes()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"))
    end = time.monotonic() + 120
    try:
        while True:
            try:
                lab.ask("api/status")
                break
            except urllib.error.URLError:
                assert lab.process.poll() is None and time.monotonic() < end, (lab.folder / "log").read_text()
                time.sleep(0.2)
        yield lab
    finally:
        lab.process.terminate()
        lab.process.wait(timeout=60)
        lab.log.close()


def test_a_notebook_that_was_opened_and_saved_is_the_file_it_was(lab):
    assert lab.save(NOTEBOOK) == (ROOT / NOTEBOOK).read_bytes()


def test_what_was_written_and_what_came_out_is_saved(lab):
    def work(content):
        cell = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
        cell["source"] = "6 * 7"
        cell["execution_count"] = 1
        cell["outputs"] = [
            {
                "output_type": "execute_result",
                "execution_count": 1,
                "metadata": {},
                "data": {"text/plain": "42"},
            }
        ]

    saved = json.loads(lab.save(NOTEBOOK, work))
    before = json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))
    cell = next(cell for cell in saved["cells"] if cell["cell_type"] == "code")
    assert (cell["source"], cell["execution_count"]) == (["6 * 7"], 1)
    assert cell["outputs"][0]["data"] == {"text/plain": ["42"]}
    assert saved["metadata"] == before["metadata"]


def test_another_kernel_and_other_peoples_notebooks_keep_what_they_say(lab):
    assert json.loads(lab.save("of_the_user.ipynb"))["metadata"] == WRITTEN_BY_THE_LAB

    def in_julia(content):
        content["metadata"] = {
            "kernelspec": {"display_name": "Julia", "language": "julia", "name": "julia-1.11"}
        }

    assert json.loads(lab.save(NOTEBOOK, in_julia))["metadata"]["kernelspec"]["name"] == "julia-1.11"


def test_nothing_asks_about_news_and_nbgrader_has_no_panel(lab):
    page = re.search(
        r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', lab.ask("lab"), re.S
    )
    disabled = json.loads(page[1])["disabledExtensions"]
    assert "@jupyter/nbgrader" in disabled
    settings = json.loads(lab.ask(f"lab/api/settings/{NEWS}"))
    assert settings["schema"]["properties"]["fetchNews"]["default"] == "false" and settings["settings"] == {}


def test_who_has_chosen_news_gets_them(lab):
    own = lab.home / ".jupyter" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    own.mkdir(parents=True)
    (own / "notification.jupyterlab-settings").write_text('{"fetchNews": "true"}')
    assert json.loads(lab.ask(f"lab/api/settings/{NEWS}"))["settings"] == {"fetchNews": "true"}
