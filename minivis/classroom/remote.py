"""The judge's side of a submission's process: start it, send it the cells, call its functions, end it.

Not here: the program that runs in that process (host.py), judging its answers (judging.py).
"""

import contextlib
import io
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from minivis.classroom import isolation, wire
from minivis.laws.judging.candidate import clock
from minivis.laws.judging.sandbox import Broken

__all__ = ["Missing", "RemoteFunction", "Submission"]

HOST = Path(__file__).with_name("host.py")
CELL_SECONDS = 10.0  # for one cell: definitions, and anything that a student left in between
GRACE = 2.0  # seconds after its own limit in which a process may still answer; then it is killed
# This share of the elapsed time always counts, so that a submission gains no time by keeping the machine busy.
LEAST_COUNTED = 0.6
EXACT_EVERY = 0.01  # seconds after which the system is asked again how long the processes have waited
MOST_WORDS = 2000  # characters of a message in an answer
MOST_NOTES = 50  # cells whose errors are reported
GONE = "The whole Python process ended while your function ran."
TIME_IS_UP = "The time for the whole submission ran out."
ENDLESS = "Your function did not come back and could not be interrupted."
NONSENSE = "The process of your notebook sent something that was no answer."


class Missing(Exception):
    """A notebook does not define a task's function, or not in time; the message is a sentence for the student."""


class Submission:
    """The cells of a notebook in a process, a home folder and a process group of their own.

    Parameters
    ----------
    cells : list of (int, str)
        Number and source of each code cell that is to be run.
    folder : Path
        The submission's own copy of the handed-in files.
    memory, seconds : int
        Bytes that it may allocate, if the system can limit that; seconds for the whole submission.
    place : str
        The folder inside it in which the cells run.
    isolated : bool
        Whether it can see only its own files (isolation.py).
    """

    def __init__(self, cells, folder, memory, seconds, place=".", isolated=False):
        self.cells, self.folder, self.memory, self.seconds = cells, folder, memory, seconds
        self.place, self.isolated = place, isolated
        self.process = None
        self.pid = None
        self.notes = {}
        self.poison = set()
        self.waited = 0.0
        self.began = time.monotonic()
        self.began_counting = clock()
        # when `clock` asked the system, the seconds that it found, and those that it returned last
        self.looked = -math.inf
        self.counted = 0.0
        self.latest = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    @property
    def seconds_left(self):
        """Seconds left for the whole submission; keeping the machine busy does not add any."""
        return self.seconds - max(self.clock(), LEAST_COUNTED * (time.monotonic() - self.began))

    def function(self, expression):
        """A `RemoteFunction` for the function that an expression gives; raises `Missing` if there is none."""
        for _ in range(2):
            self._ready()
            try:
                found = self._ask(CELL_SECONDS, do="find", expression=expression)
            except wire.ConnectionLost:
                continue
            if isinstance(found, str):
                raise Missing(found[:MOST_WORDS])
            return RemoteFunction(self, found)
        if self.seconds_left <= 0:
            raise Missing(TIME_IS_UP)
        raise Missing("The whole Python process ended each time the notebook was run.")

    def give(self, function, source):
        """Add a last cell that replaces the student's function by the right one.

        It is defined in a namespace of its own, so that the notebook's names cannot change it, nor it the notebook's.
        """
        own = f"_names = {{}}\nexec({source!r}, _names)\n{function} = _names[{function!r}]\n"
        cell = (f"given: {function}", own)
        self.cells = [*self.cells, cell]
        loaded = True  # by the next process, if none is running
        if self._runs():
            with contextlib.suppress(Missing):  # the time is up
                loaded = self._load(*cell) and cell[0] not in self.notes
        if not loaded:  # for example for lack of memory: the next call starts a process that runs it too
            self.poison.discard(cell[0])
            self.notes.pop(cell[0], None)
            self.end()

    def call(self, number, args, options, seconds):
        """Call a function there, as `minivis.laws.judging.sandbox.call_safely` does here."""
        if not self._runs():
            raise Broken(GONE, hint="Not tried again: an earlier call had ended the process.")
        args = list(args)
        before = self.clock()
        try:
            answer = self._ask(seconds, do="call", number=number, args=args, options=options, seconds=seconds)
        except wire.ConnectionLost:
            late = self._late(before, seconds)
            hint = (
                "Is there a loop whose condition never becomes false?" if late else "Is there an os._exit()?"
            )
            raise Broken(ENDLESS if late else GONE, hint=hint, hang=late) from None
        try:
            return self._taken(answer, args, options)
        except (TypeError, KeyError, ValueError, AttributeError):
            raise Broken(NONSENSE, hint="Does the notebook write to files that it did not open?") from None

    @staticmethod
    def _taken(answer, args, options):
        """The result and the output in an answer; an answer that host.py would not send raises an error."""
        if "broken" in answer:
            what, hint = (str(answer[key] or "")[:MOST_WORDS] for key in ("broken", "hint"))
            raise Broken(what, hint=hint or None, hang=bool(answer["hang"]))
        for mine, theirs in zip(wire.leaves([args, options]), answer["written"], strict=True):
            if theirs is not None and theirs.shape == mine.shape:
                np.copyto(mine, theirs, casting="unsafe")  # the function changed its arguments: show the laws
        return answer["result"], str(answer["printed"])[:MOST_WORDS]

    def _runs(self):
        return self.process is not None and self.process.poll() is None

    def _ready(self):
        """Make sure that a process has run all cells; a cell that ended a process before is left out."""
        if self._runs():
            return
        for _ in range(3):
            self._start()
            if all(self._load(number, source) for number, source in self.cells):
                return
        raise Missing("Several cells of the notebook ended the whole Python process.")

    def _load(self, number, source):
        """Run a cell, unless it has ended a process before; returns whether the process is still running."""
        if number in self.poison:
            return True
        if self.seconds_left <= 0:
            raise Missing(TIME_IS_UP)
        before = self.clock()
        try:
            note = self._ask(CELL_SECONDS, do="load", number=number, source=source, seconds=CELL_SECONDS)
        except wire.ConnectionLost:
            self.poison.add(number)
            late = self._late(before, CELL_SECONDS)
            note = (
                f"It {'did not come back' if late else 'ended the whole Python process'}, and was left out."
            )
        if note and len(self.notes) < MOST_NOTES:
            self.notes[number] = str(note)[:MOST_WORDS]
        return number not in self.poison

    def _late(self, before, limit):
        """Whether a process is gone because a request took too long, and not because it ended itself."""
        return self.seconds_left <= 0 or self.clock() - before > limit

    def _start(self):
        self.end()
        command = [sys.executable, "-I", "-B", "-X", "utf8"]
        limits = [str(self.memory), str(max(1, int(self.seconds_left) + 5))]
        # unbuffered, so that select() sees all data
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "bufsize": 0,
                   "start_new_session": True}  # fmt: skip
        if self.isolated:
            command += [isolation.HOST, *limits, isolation.HANDED_IN, self.place]
            home = f"{isolation.HOME}/{self.place}"
            self.process, self.pid = isolation.start(
                command, self.folder, isolation.environment(home), **options
            )
        else:
            home = str(self.folder / self.place)
            self.process = subprocess.Popen(
                [*command, str(HOST), *limits], cwd=home, env=isolation.environment(home), **options
            )
            self.pid = self.process.pid
        # buffered for writing: an unbuffered file may write only a part of a message
        self.process.stdin = io.BufferedWriter(self.process.stdin)

    def _ask(self, limit, **request):
        """Send a request and wait for its answer; the process is killed if the answer does not come in time."""
        until = self.clock() + limit + GRACE
        reader = _Reader(self.process, lambda: min(until - self.clock(), self.seconds_left), self._kill)
        try:
            wire.send(self.process.stdin, request)
            return wire.receive(reader, lambda number: RemoteFunction(self, number), wire.MOST_ANSWER)
        # The process has ended, or it sent bytes that cannot be read, which can raise any error.
        except Exception:
            self.end()
            raise wire.ConnectionLost from None
        finally:
            reader.close()

    def clock(self):
        """Seconds since the start, without those in which either process waited for the processor.

        It is read many times for each call. Asking the system takes longer than a small call, so it is asked only now
        and then; in between all the time counts. It never goes backward.
        """
        now = time.monotonic()
        if now > self.looked + EXACT_EVERY:
            self.looked = now
            self.counted = clock() - self.began_counting - self.waited - _waited(self.pid)
        self.latest = max(self.latest, self.counted + now - self.looked)
        return self.latest

    def end(self):
        """Kill the process and all processes of its group."""
        if self.process is not None:
            self.waited += _waited(self.pid)
            self._kill(self.process)
            self.process.wait()
            for file in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    file.close()
            self.process, self.pid = None, None

    @staticmethod
    def _kill(process):
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)  # the process leads its group: both have one number
            else:
                process.kill()


class _Reader:
    """Reads what a process sends; when the time is over, the data ends."""

    def __init__(self, process, seconds_left, kill):
        self.process = process
        self.seconds_left = seconds_left
        self.kill = kill
        self.timer = None

    def read(self, count):
        data = bytearray()
        while len(data) < count and (left := self.seconds_left()) > 0:
            if self._is_there(left):
                more = self.process.stdout.read(count - len(data))
                if not more:
                    break
                data += more
        return bytes(data)

    def _is_there(self, seconds):
        if os.name != "nt":
            return bool(select.select([self.process.stdout], [], [], seconds)[0])
        if self.timer is None:  # Windows cannot wait for a pipe: a timer kills the process instead
            self.timer = threading.Timer(seconds, self.kill, [self.process])
            self.timer.daemon = True
            self.timer.start()
        return True

    def close(self):
        if self.timer is not None:
            self.timer.cancel()


def _waited(pid):
    """Seconds in which a process waited for the processor; 0 on systems other than Linux."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


class RemoteFunction:
    """A function that lives in a submission's process; the laws call it through ``call_apart`` and use its clock."""

    total = 15.0  # seconds for all laws of a task: longer than in a check, for which a learner waits

    def __init__(self, submission, number):
        self.submission = submission
        self.number = number
        self.clock = submission.clock

    def call_apart(self, args, options, seconds):
        """Call the function; returns its result and its output, or raises `Broken`."""
        return self.submission.call(self.number, args, options, seconds)

    def __call__(self, *args, **options):
        return self.call_apart(args, options, 1.0)[0]
