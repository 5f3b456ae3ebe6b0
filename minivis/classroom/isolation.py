"""A process that sees its own hand-in and Python, and nothing else of this machine: bubblewrap, where it is there.

Not here: what runs in it (host.py), its limits of time (remote.py) and of memory (host.py).
"""

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

from minivis.classroom.calls import refused_calls
from minivis.classroom.closed import CLOSED

__all__ = ["HANDED_IN", "HOME", "HOST", "environment", "in_words", "start", "why_not"]

HOME = "/submission"  # its own copy of what was handed in: in memory, and gone with it
HANDED_IN = "/handed-in"  # the same, to copy from
ROOM = 2**28  # bytes that it may write there, and as many in /tmp
HOST = "/minivis/classroom/host.py"
# the few files of ours that it runs: not the package, in which the solutions and the right answers lie
OURS = ("classroom/host.py", "classroom/wire.py", "classroom/closed.py", "laws/judging/sandbox.py")
PACKAGE = Path(__file__).resolve().parent.parent
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store")
LOADER = ("/etc/ld.so.cache", "/etc/alternatives")
NAMESPACES = "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try"
# as process 1 it takes every process of its namespace with it when it ends
ENDS = "--die-with-parent --new-session --as-pid-1 --cap-drop ALL --hostname submission"

# what its environment keeps of the judge's
KEPT = """PATH LD_LIBRARY_PATH LANG LC_ALL SYSTEMROOT TEMP OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
OPENBLAS_THREAD_TIMEOUT""".split()
OWN = ("HOME", "USERPROFILE", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR")  # and what is its own folder
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TRIAL_SECONDS = 60  # for finding out whether it works


@functools.cache
def why_not():
    """Why submissions cannot be isolated here; an empty string where they can.

    Returns
    -------
    str
        Found out by isolating a process that imports NumPy.
    """
    if sys.platform != "linux":
        return "bubblewrap (bwrap), which would do it, is there for Linux alone"
    if shutil.which("bwrap") is None:
        return "bubblewrap (bwrap) is not installed; on Debian and Ubuntu: apt install bubblewrap"
    with tempfile.TemporaryDirectory(prefix="minivis-") as folder:
        command = [sys.executable, "-I", "-c", "import numpy"]
        process, _ = start(command, folder, environment(HOME), stderr=subprocess.PIPE)
        try:
            said = process.communicate(timeout=TRIAL_SECONDS)[1].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            said = f"no answer within {TRIAL_SECONDS} s"
            process.kill()
            process.communicate()
    if process.returncode == 0:
        return ""
    return f"bubblewrap (bwrap) does not work here: {said.splitlines()[-1] if said else process.returncode}"


def in_words():
    """Whether submissions are isolated here, in a sentence for the teacher's terminal and the students' pages.

    Returns
    -------
    str
    """
    if not why_not():
        return "Isolated (bubblewrap): while it ran, a submission saw a copy of its own files and Python, and nothing else."
    return f"Not isolated: {why_not()}. A submission ran with the rights of whoever graded it."


def environment(home):
    """The variables that a submission has, isolated or not: nothing that could hold a secret.

    Parameters
    ----------
    home : str
        Its folder.

    Returns
    -------
    dict
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | dict.fromkeys(OWN, home) | ONE_THREAD


def start(command, folder, variables, **options):
    """Start a command in a file system, process tree and network of its own.

    Parameters
    ----------
    command : list of str
    folder : Path
        What was handed in; seen as `HANDED_IN`. The command starts in `HOME`, which is empty.
    variables : dict
        All that it has.
    **options
        As for `subprocess.Popen`.

    Returns
    -------
    process : Popen
        Of bubblewrap; when that ends, so does everything inside.
    pid : int or None
        The command's process, as it is numbered out here; None where bubblewrap could not start it.
    """
    bwrap = shutil.which("bwrap")
    info, telling = os.pipe()
    filtering, filling = os.pipe()
    with open(filling, "wb") as file:
        file.write(refused_calls(platform.machine()))
    descriptors = ["--info-fd", str(telling), "--seccomp", str(filtering)]
    try:
        process = subprocess.Popen(
            [bwrap, *_view(bwrap, folder), *descriptors, "--", *command],
            env=variables,
            pass_fds=(telling, filtering),
            **options,
        )
    finally:
        os.close(telling)
        os.close(filtering)
        with open(info, "rb") as file:
            told = file.read()
    return process, json.loads(told)["child-pid"] if told else None


def _view(bwrap, folder):
    """The options that say what there is to see."""
    options = [*NAMESPACES.split(), *ENDS.split()]
    # read-only: where root grades, a submission is the owner of what root owns in /proc/sys
    options += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    size = ["--size", str(ROOM)] if _knows_size(bwrap) else []
    options += [*size, "--tmpfs", "/tmp", *size, "--tmpfs", HOME]
    for path in [*_libraries(), *_python(), *LOADER]:
        options += ["--ro-bind-try", path, path]
    for path in _answers():
        options += ["--tmpfs", path, "--remount-ro", path]
    for file in OURS:
        options += ["--ro-bind", str(PACKAGE / file), f"/minivis/{file}"]
    return [*options, "--ro-bind", str(folder), HANDED_IN, "--remount-ro", "/", "--chdir", HOME]


@functools.cache
def _knows_size(bwrap):
    """Whether this bubblewrap can limit a file system in memory: since version 0.7."""
    return "--size" in subprocess.run([bwrap, "--help"], capture_output=True, text=True).stdout


def _prefixes():
    """Where Python is installed: the virtual environment, and what it was made from."""
    program = Path(os.path.realpath(sys.executable))
    return dict.fromkeys([sys.prefix, sys.base_prefix, str(program.parents[1])])


def _libraries():
    return [*LIBRARIES, *(f"{prefix}/{name}" for prefix in _prefixes() for name in ("lib", "lib64"))]


def _python():
    return [f"{prefix}/{name}" for prefix in _prefixes() for name in ("bin", "pyvenv.cfg")]


@functools.cache
def _answers():
    """Installed packages that are closed while grading (closed.py): to be masked by empty folders."""
    packages = chain.from_iterable(Path(path).glob("python3*/*-packages") for path in _libraries())
    return [str(path) for folder in packages for path in map(folder.joinpath, CLOSED) if path.is_dir()]
