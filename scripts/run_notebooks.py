"""Execute every notebook once, two at a time, each within a time limit; the executed copies go to build/notebooks.

After its last cell a chapter's questions are asked: the code in each folded answer is run, and what it asserts must hold.

Not here: changes to the sources. Usage: python scripts/run_notebooks.py [01 05 ...] [--changed] [--limit SECONDS] [--jobs N].
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from minivis.storage import write_files

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# a busy machine is slow to start one
KERNEL = {"kernel_name": "python3", "startup_timeout": 300, "extra_arguments": ["--log-level=CRITICAL"]}
ANSWER = "answer"  # the tag of a cell that is run and not kept
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def fingerprint(*paths):
    """One hash of files and of all files below folders, by name and content; without __pycache__."""
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{file.relative_to(path.parent).as_posix()} {content}\n".encode())
    return total.hexdigest()


def is_current(path, built):
    """Whether a complete executed copy of a notebook exists, made from this notebook with this library."""
    copy = built / path.name
    if not copy.exists():
        return False
    made_of = json.loads(copy.read_text(encoding="utf-8"))["metadata"].get("made_of")
    return made_of == fingerprint(path, ROOT / "minivis")


async def run(path, built, limit):
    """Execute one notebook; return its error as text, empty if there is none."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += answers(notebook)
    deadline = None

    def kernel_is_up(notebook):
        nonlocal deadline
        deadline = time.monotonic() + limit

    def go_on_unless_stopped(cell, cell_index):
        # wait_for of Python 3.11 can lose the cancellation when a cell ends
        if asyncio.current_task().cancelling():
            raise asyncio.CancelledError

    client = NotebookClient(
        notebook,
        on_notebook_start=kernel_is_up,
        on_cell_execute=go_on_unless_stopped,
        timeout_func=lambda cell: max(1, round(deadline - time.monotonic())),  # what is left for this cell
        resources={"metadata": {"path": str(path.parent)}},
        **KERNEL,
    )
    wrong = ""
    made_of = fingerprint(path, ROOT / "minivis")
    try:
        await client.async_execute()
        wrong = warnings_in(notebook)
        if not wrong:
            notebook.metadata["made_of"] = made_of
    except CellTimeoutError as error:
        wrong = f"took more than {limit:g} s, all cells together\n{error}"
    except (CellExecutionError, RuntimeError) as error:  # RuntimeError: a kernel died or did not start
        if asyncio.current_task().cancelling():  # nbclient reports a cancellation as the death of the kernel
            raise asyncio.CancelledError from None
        wrong = ANSI.sub("", str(error)) or repr(error)
    notebook.cells = [cell for cell in notebook.cells if ANSWER not in cell.metadata.get("tags", [])]
    # Also after an error, to look at it. Not if it was stopped: then the earlier copy is more useful.
    write_files({built / path.name: f"{nbformat.writes(notebook)}\n".encode()})
    return wrong


def answers(notebook):
    """The code in the folded answers to a notebook's questions, as cells."""
    questions = [
        cell
        for cell in notebook.cells
        if any(tag.startswith("question:") for tag in cell.metadata.get("tags", []))
    ]
    code = [CODE.findall(cell.source) for cell in questions]
    tags = {"tags": [ANSWER]}
    return [nbformat.v4.new_code_cell("\n".join(blocks), metadata=tags) for blocks in code]


def warnings_in(notebook):
    """Warnings that cells wrote to stderr; in a chapter they count as errors."""
    streams = [
        out for cell in notebook.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"
    ]
    return "\n".join(out["text"] for out in streams if re.search(r"\w*Warning: ", out["text"]))


async def run_all(paths, built, limit, jobs):
    """Execute notebooks, at most `jobs` at a time; print a line for each as it ends; return how many failed."""
    # On Ctrl-C, asyncio must cancel every notebook. nbclient would install its own handler, which ends one kernel, counts
    # its notebook as failed, and continues.
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(jobs)
    loop.add_signal_handler = loop.remove_signal_handler = lambda *signal_and_handler: False
    # Hides errors of nbclient's helpers when a kernel is stopped; errors of notebooks are still raised.
    loop.set_exception_handler(lambda *what: None)

    async def one(path):
        async with free:
            start = time.perf_counter()
            wrong = await run(path, built, limit)
            print(
                f"{'FAILED' if wrong else 'ok':<6} {time.perf_counter() - start:6.1f} s  {path.stem}",
                flush=True,
            )
            if wrong:
                print(wrong, file=sys.stderr, flush=True)
            return bool(wrong)

    async with asyncio.TaskGroup() as group:  # cancelled, it waits until every kernel has been shut down
        runs = [group.create_task(one(path)) for path in paths]
    return sum(run.result() for run in runs)


def main():
    """Read the command line, execute, and return the exit code."""
    parser = command_line()
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")

    paths = sorted(options.source.glob("*.ipynb"))
    known = ", ".join(path.stem for path in paths) or "none"
    for beginning in options.only or [""]:
        if not any(path.name.startswith(beginning) for path in paths):
            parser.error(f"no such notebook in {options.source}: {beginning} (there are: {known})")
    if options.only:
        paths = [path for path in paths if path.name.startswith(tuple(options.only))]
    options.built.mkdir(parents=True, exist_ok=True)
    if options.changed:
        paths = [path for path in paths if not is_current(path, options.built)]
    # Parallel notebooks share the cores. Their kernels inherit this, and an empty folder of IPython settings.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as settings:
        os.environ["IPYTHONDIR"] = settings
        try:
            failed = asyncio.run(run_all(paths, options.built, options.limit, options.jobs))
        except KeyboardInterrupt:
            print("stopped; unfinished notebooks keep their earlier copies", file=sys.stderr)
            return 130  # the exit code of shells for Ctrl-C
    print(f"{len(paths) - failed} of {len(paths)} notebooks ran, {time.perf_counter() - start:.0f} s")
    return int(failed > 0)


def command_line():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Execute every notebook once; the copies go to build/notebooks."
    )
    parser.add_argument(
        "only", nargs="*", metavar="NN", help="beginnings of the notebooks' names (default: all)"
    )
    parser.add_argument(
        "--changed",
        action="store_true",
        help="skip notebooks whose executed copies are up to date",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=600,
        metavar="SECONDS",
        help="time limit of a notebook (default: 600)",
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at a time (default: 2)")
    parser.add_argument(
        "--source", type=Path, default=ROOT / "notebooks", metavar="DIR", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--built", type=Path, default=ROOT / "build" / "notebooks", metavar="DIR", help=argparse.SUPPRESS
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
