"""One submission held against the laws of each task, and what came of it as plain data.

Not here: where submissions come from (submission.py), what is written about them (feedback.py).
"""

import contextlib
import json
import multiprocessing
import re
import secrets
import tempfile
import threading
import warnings
from pathlib import Path

from minivis.classroom import isolation
from minivis.classroom.remote import Missing, Submission
from minivis.classroom.tasks import earned

__all__ = ["MEMORY", "SECONDS", "judge_submission", "nothing", "warm_up"]

SECONDS = 60  # for a submission, from its first cell to its last law
MEMORY = 2 * 2**30  # bytes that its process may ask for
PATIENCE = (
    2  # times as long until the judge itself is ended: it keeps the time, this is for one that was stopped
)
MOST_FOUND = 2**24  # bytes of what a judge finds


def warm_up(tasks):
    """Try the laws of some tasks on the right answers, before a class is judged.

    What the laws load and look up the first time, half a second and more, a forked judge then has.
    """
    from minivis.laws.judging.checking import judge
    from minivis.laws.judging.registry import family_of

    for task in tasks:
        right = family_of(task.family).right  # returns (out, vjp)
        answer = right if task.vjp else lambda *args, right=right, **options: right(*args, **options)[0]
        judge(task.family, answer, task.vjp, only=task.points)


def judge_submission(tasks, cells, files=(), place=".", seconds=SECONDS, memory=MEMORY, seed=0):
    """Judge a submission in a process that is thrown away afterwards.

    Parameters
    ----------
    tasks : sequence of Task
        What is asked for.
    cells : list of (int, str)
        Number and source of the code cells to run.
    files : sequence of (str, bytes)
        What else was handed in: relative path and content.
    place : str
        Where among these files the notebook lay: there its cells run.
    seconds, memory : int
        Its limits.
    seed : int
        What the laws draw their inputs from (see `minivis.laws.check`).

    Returns
    -------
    dict
        ``tasks``: for each task its name, points, most, problem and laws (dicts with name, sentence, points, most,
        passed, judged, message, hint, shown); ``notes``: cell number -> what went wrong when it was run; ``seed``, where
        anything was judged.
    """
    methods = multiprocessing.get_all_start_methods()
    # a fork has the laws loaded
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    receiving, sending = context.Pipe(duplex=False)
    sign = secrets.token_bytes(16)  # where a submission is not isolated, it may find the pipe, but not this
    with tempfile.TemporaryDirectory(prefix="minivis-", ignore_cleanup_errors=True) as folder:
        arguments = (sending, sign, folder, tasks, cells, list(files), place, seconds, memory, seed)
        worker = context.Process(target=_work, args=arguments)
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside other threads
            warnings.simplefilter("ignore", DeprecationWarning)
            worker.start()
        sending.close()
        try:
            message = _received(receiving, seconds * PATIENCE)
        finally:
            worker.kill()
            worker.join()
    if message is None:
        return nothing(tasks, "The time for the whole submission was up.")
    if not message.startswith(sign):
        return nothing(tasks, "The process that judged this submission was ended from within it.")
    return _counted(json.loads(message.removeprefix(sign)), tasks)


def _received(receiving, seconds):
    """The message of a judge; empty where it sent none, None where it did not in time."""
    box = [b""]

    def receive():
        with contextlib.suppress(EOFError, OSError), receiving:
            box[0] = receiving.recv_bytes(MOST_FOUND)

    # apart: whatever else may write into the pipe, and never finish, does not hold up the grading
    reader = threading.Thread(target=receive, daemon=True)
    reader.start()
    reader.join(seconds)
    return None if reader.is_alive() else box[0]


def _counted(found, tasks):
    """What was found, if it is about these tasks and no others; no task has more points than it can have."""
    for judged, task in zip(found["tasks"], tasks, strict=True):
        if judged["name"] != task.name:
            raise ValueError(f"the judge speaks of {judged['name']!r} where {task.name!r} was to be judged")
        judged["points"] = min(max(judged["points"], 0), task.most)
        judged["most"] = task.most
    return found


def nothing(tasks, problem):
    """What is found where there is nothing to judge: as `judge_submission` returns it, with a problem for each task."""
    return {"tasks": [_without(task, problem) for task in tasks], "notes": {}}


def _work(sending, sign, *arguments):
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches both processes; the other one tells it
        # half of a surrogate pair, in an error message say, is a string and no text: no file could hold it
        found = json.dumps(_judge(*arguments), ensure_ascii=False).encode("utf-8", "replace")
        sending.send_bytes(sign + found)


def _judge(folder, tasks, cells, files, place, seconds, memory, seed):
    home = Path(folder)
    for name, content in files:
        path = home / name
        # a name that is too long or holds a zero byte, both a file and a folder: the cells will tell
        with contextlib.suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (home / place).mkdir(parents=True, exist_ok=True)
    with Submission(cells, home, memory, seconds, place, isolated=not isolation.why_not()) as submission:
        found, given = [], []
        for task in tasks:
            judged = _judge_task(task, submission, seed)
            judged["given"] = [name for name in given if _mentions(cells, task.function, name)]
            found.append(judged)
            if judged["points"] < judged["most"] and task.function.isidentifier():
                given.append(task.function)  # what builds on it is judged with the right one
                submission.give(task.function, task.reference)
        notes = {str(n): note for n, note in submission.notes.items()}
        return {"tasks": found, "notes": notes, "seed": seed}


def _mentions(cells, function, name):
    """Whether the cells that define a function mention another name; an expression that is judged may mention it itself."""
    own = [function, *(source for _, source in cells if f"def {function}(" in source)]
    return any(re.search(rf"\b{name}\b", source) for source in own)


def _judge_task(task, submission, seed):
    from minivis.laws.judging.checking import judge
    from minivis.laws.judging.registry import PLAIN

    if submission.seconds_left <= 0:
        return _without(task, "The time for the whole submission was up before this task's turn.")
    try:
        function = submission.function(task.function)
    except Missing as missing:
        return _without(task, f"{missing}{_cause(task, submission)}")
    report = judge(task.family, function, task.vjp, only=task.points, seed=seed)
    counted = earned(report, task.points)
    laws = [_law(verdict, task, counted[verdict.name]) for verdict in report]
    order = list(task.points)
    laws.sort(key=lambda law: (law["name"] in PLAIN, order.index(law["name"])))  # first what says why
    return {**_without(task, ""), "points": sum(law["points"] for law in laws), "laws": laws}


def _cause(task, submission):
    """What went wrong in the cell that should have defined a function."""
    for number, source in submission.cells:
        if number in submission.notes and f"def {task.function}" in source:
            return f" Cell {number}: {submission.notes[number]}"
    return ""


def _without(task, problem):
    return {"name": task.name, "function": task.function, "form": _form(task), "points": 0, "most": task.most,
            "problem": problem, "laws": [], "given": []}  # fmt: skip


def _form(task):
    from minivis.laws.judging.registry import family_of

    return family_of(task.family).form


def _law(verdict, task, points):
    from minivis.laws.judging.report import in_full

    shown = [] if verdict.passed or verdict.counterexample is None else in_full(verdict, task.function)
    return {
        "name": verdict.name,
        "sentence": verdict.sentence,
        "points": points,
        "most": task.points[verdict.name],
        "passed": verdict.passed,
        "judged": verdict.judged,
        "message": verdict.message,
        "hint": verdict.hint,
        "shown": shown,
    }
