"""Runs a submission in bubblewrap, where it sees only its own files and Python, and nothing else of this machine.

Not here: the program that runs inside (host.py), the limits of time (remote.py) and memory (host.py).
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

HOME = "/submission"  # the submission's own copy of its files, in memory only
HANDED_IN = "/handed-in"  # the same files, read-only, to copy from
ROOM = 2**28  # bytes that it may write to HOME, and again to /tmp
HOST = "/minivis/classroom/host.py"
# only these files of minivis are visible: the package itself contains solutions and right answers
OURS = ("classroom/host.py", "classroom/wire.py", "classroom/closed.py", "laws/judging/sandbox.py")
PACKAGE = Path(__file__).resolve().parent.parent
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store")
LOADER = ("/etc/ld.so.cache", "/etc/alternatives")
NAMESPACES = "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try"
# when process 1 of a namespace ends, the kernel ends all others in it
ENDS = "--die-with-parent --new-session --as-pid-1 --cap-drop ALL --hostname submission"

# variables that it inherits from the judge
KEPT = """PATH LD_LIBRARY_PATH LANG LC_ALL SYSTEMROOT TEMP OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
OPENBLAS_THREAD_TIMEOUT""".split()
OWN = ("HOME", "USERPROFILE", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR")  # variables set to its own folder
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TRIAL_SECONDS = 60  # for the test whether bubblewrap works here


@functools.cache
def why_not():
    """Why submissions cannot be isolated here; an empty string if they can.

    Returns
    -------
    str
        The reason, found by running a process that imports NumPy in isolation.
    """
    if sys.platform != "linux":
        return "bubblewrap (bwrap), which is needed for it, runs only on Linux"
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
        return "Isolated (bubblewrap): while it ran, each submission could see only a copy of its own files and Python."
    return f"Not isolated: {why_not()}. Each submission ran with all rights of the person who graded it."


def environment(home):
    """The environment variables of a submission, isolated or not: none that could hold a secret.

    Parameters
    ----------
    home : str
        The submission's folder.

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
        The handed-in files, visible as `HANDED_IN`. The command starts in `HOME`, which is empty.
    variables : dict
        Its whole environment.
    **options
        As for `subprocess.Popen`.

    Returns
    -------
    process : Popen
        bubblewrap; when it ends, everything inside ends too.
    pid : int or None
        Number of the command's process outside the namespace; None if bubblewrap could not start it.
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
    """The options of bubblewrap that decide what the command can see."""
    options = [*NAMESPACES.split(), *ENDS.split()]
    # read-only: if root grades, the submission would own the files of root in /proc/sys
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
    """Whether this bubblewrap can limit the size of a file system in memory (version 0.7 and later)."""
    return "--size" in subprocess.run([bwrap, "--help"], capture_output=True, text=True).stdout


def _prefixes():
    """Where Python is installed: the virtual environment, and the Python that it was made from."""
    program = Path(os.path.realpath(sys.executable))
    return dict.fromkeys([sys.prefix, sys.base_prefix, str(program.parents[1])])


def _libraries():
    return [*LIBRARIES, *(f"{prefix}/{name}" for prefix in _prefixes() for name in ("lib", "lib64"))]


def _python():
    return [f"{prefix}/{name}" for prefix in _prefixes() for name in ("bin", "pyvenv.cfg")]


@functools.cache
def _answers():
    """Folders of installed packages that are closed while grading (closed.py); empty folders are mounted over them."""
    packages = chain.from_iterable(Path(path).glob("python3*/*-packages") for path in _libraries())
    return [str(path) for folder in packages for path in map(folder.joinpath, CLOSED) if path.is_dir()]
