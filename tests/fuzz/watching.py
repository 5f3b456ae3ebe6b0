"""A reader is called on broken folders in a process of its own, which may die, hang or run out of memory.

Not here: how folders are broken (mutators.py). POSIX only: it forks, and bounds memory by RLIMIT_AS.
"""

import json
import os
import random
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

from tests.fuzz.mutators import mutate

__all__ = ["Report", "fuzz", "mutant", "written"]

SECONDS, MEGABYTES = 2, 200  # of processor time, and of address space beyond what there was before
PATIENCE = 60  # seconds a reader may wait for something that never comes
ALLOWED = (ValueError, OSError, TypeError)


class TooSlowError(BaseException):
    """Raised in a reader that has used up its time; no BaseException is caught by a reader."""


class Report:
    """What came of the mutants of one reader.

    Attributes
    ----------
    counts : Counter
        "read", "refused", "finding".
    findings : list of dict
        number, mutation, what, trace.
    slowest : float
        Seconds of processor time of the slowest mutant.
    """

    def __init__(self):
        self.counts = Counter()
        self.findings = []
        self.slowest = 0.0

    def add(self, number, told, outcome):
        self.counts[outcome["kind"]] += 1
        self.slowest = max(self.slowest, outcome.get("seconds", 0.0))
        if outcome["kind"] == "finding":
            self.findings.append({"number": number, "mutation": told, **outcome})


def written(reader):
    """The valid folder of a reader as {relative path: content}; the reader must be able to read it."""
    with tempfile.TemporaryDirectory(prefix="minivis-fuzz-") as home:
        folder = Path(home) / "seed-folder"
        folder.mkdir()
        reader.seeds(folder)
        files = _contents(folder)
        reader.read(folder)
    return files


def mutant(reader, files, seed, number):
    """Mutant `number` of a reader: (files, what was done). The same three numbers give the same mutant."""
    return mutate(files, random.Random(f"{seed} {zlib.crc32(reader.name.encode())} {number}"))


def fuzz(reader, mutants, seed=0, each=lambda: None):
    """Give a reader that many broken folders; ``each()`` is called after every one. Returns a `Report`."""
    report = Report()
    files = written(reader)
    at = 0
    with tempfile.TemporaryDirectory(prefix="minivis-fuzz-") as home:
        while at < mutants:
            for outcome in _child(reader, files, Path(home), seed, range(at, mutants)):
                report.add(at, mutant(reader, files, seed, at)[1], outcome)
                at += 1
                each()
    return report


def _child(reader, files, home, seed, numbers):
    """Yield the outcomes of mutants one by one; the last is the one that the child did not survive."""
    told, tell = os.pipe()
    with warnings.catch_warnings():
        # "use of fork() may lead to deadlocks": PATIENCE ends them
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(told)
        _serve(reader, files, home, seed, numbers, tell)
    os.close(tell)
    done = 0
    with os.fdopen(told, "rb") as pipe:
        while done < len(numbers):
            line = pipe.readline() if select.select([pipe], [], [], PATIENCE)[0] else None
            if not line:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                ended = signal.Signals(status & 127).name if status & 127 else f"exit {status >> 8}"
                what = f"hung for {PATIENCE} s" if line is None else f"ended the process ({ended})"
                yield {"kind": "finding", "what": what, "trace": ""}
                return
            yield json.loads(line)
            done += 1
    os.waitpid(child, 0)


def _serve(reader, files, home, seed, numbers, tell):
    """The child: read one mutant after the other, one line of json for each; never returns."""
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGPROF, _too_slow)
        for number in numbers:
            outcome = _outcome(reader, mutant(reader, files, seed, number)[0], home / "fuzzed-folder")
            os.write(tell, json.dumps(outcome).encode() + b"\n")
    finally:
        os._exit(0)


def _too_slow(number, frame):
    raise TooSlowError(f"more than {SECONDS} s of processor time")


def _outcome(reader, files, folder):
    """Let a reader read one broken folder under watch."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    folder.mkdir(exist_ok=True)
    before = time.process_time()
    try:
        with Fence():
            reader.read(folder)
        outcome = {"kind": "read"}
    except ALLOWED as error:
        outcome = {"kind": "refused"}
        if fault := _fault(reader, error, files, folder):
            outcome = {"kind": "finding", "what": fault, "trace": _trace(error)}
    except BaseException as error:
        outcome = {
            "kind": "finding",
            "what": f"{type(error).__name__}: {error}"[:300],
            "trace": _trace(error),
        }
    outcome["seconds"] = time.process_time() - before
    if outcome["kind"] != "finding" and outcome["seconds"] > SECONDS:
        outcome |= {"kind": "finding", "what": f"{outcome['seconds']:.1f} s of processor time", "trace": ""}
    return outcome


class Fence:
    """Inside, address space and processor time are bounded."""

    def __enter__(self):
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEGABYTES * 2**20, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)

    def __exit__(self, *error):
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _fault(reader, error, files, folder):
    """What is wrong with a refusal, if anything."""
    cause = error
    while cause is not None:  # an allocation that failed and was turned into words was tried all the same
        if isinstance(cause, MemoryError):
            return f"asked for more than {MEGABYTES} MB"
        cause = cause.__cause__ or cause.__context__
    if not any(name in str(error) for name in [folder.name, *(Path(path).name for path in files)]):
        return f"{type(error).__name__} without the file's name: {error}"[:300]
    if _contents(folder) != files:
        return "the files of a refused folder were changed"
    if reader.whole is not None:
        try:
            reader.whole(folder)
        except Exception as half:
            return f"refused, but something is half-changed: {half}"[:300]
    return None


def _contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def _trace(error):
    return "".join(traceback.format_exception(error))[-3000:]
