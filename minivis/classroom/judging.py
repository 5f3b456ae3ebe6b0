"""Judges one submission by the laws of each task; the result is plain data.

Not here: reading submissions (submission.py), writing feedback (feedback.py).
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
MEMORY = 2 * 2**30  # bytes that its process may allocate
PATIENCE = 2  # a judge that does not end by itself is killed after this many times SECONDS
MOST_FOUND = 2**24  # bytes of a judge's message


def warm_up(tasks, seed=0):
    """Try the laws of some tasks on the right answers, before a class is judged with this seed.

    The first trial loads modules for half a second or more, and draws the cases of the laws; judges that are forked
    later need neither load nor draw them again.
    """
    from minivis.laws.judging.checking import judge
    from minivis.laws.judging.registry import family_of

    for task in tasks:
        right = family_of(task.family).right  # returns (out, vjp)
        answer = right if task.vjp else lambda *args, right=right, **options: right(*args, **options)[0]
        judge(task.family, answer, task.vjp, only=task.points, seed=seed)


def judge_submission(tasks, cells, files=(), place=".", seconds=SECONDS, memory=MEMORY, seed=0):
    """Judge a submission in a process that is thrown away afterwards.

    Parameters
    ----------
    tasks : sequence of Task
        The tasks of the assignment.
    cells : list of (int, str)
        Number and source of the code cells to run.
    files : sequence of (str, bytes)
        The other files that were handed in: relative path and content.
    place : str
        The notebook's folder among these files; its cells run there.
    seconds, memory : int
        Limits of the submission; memory in bytes.
    seed : int
        The laws draw their inputs from it (see `minivis.laws.check`).

    Returns
    -------
    dict
        ``tasks``: for each task its name, points, most, problem and laws (dicts with name, sentence, points, most,
        passed, judged, message, hint, mistake, shown); ``notes``: cell number -> the error when it was run; ``seed``, if
        anything was judged.
    """
    methods = multiprocessing.get_all_start_methods()
    # a forked process has the laws loaded already
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    receiving, sending = context.Pipe(duplex=False)
    sign = secrets.token_bytes(16)  # without isolation, a submission may find the pipe, but not this secret
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
        return nothing(tasks, "The time for the whole submission ran out.")
    if not message.startswith(sign):
        return nothing(tasks, "The submission ended the process that judged it.")
    return _counted(json.loads(message.removeprefix(sign)), tasks)


def _received(receiving, seconds):
    """The message of a judge; empty if it sent none, None if it sent none in time."""
    box = [b""]

    def receive():
        with contextlib.suppress(EOFError, OSError), receiving:
            box[0] = receiving.recv_bytes(MOST_FOUND)

    # in a thread of its own: a submission that writes into the pipe without end cannot block the grading
    reader = threading.Thread(target=receive, daemon=True)
    reader.start()
    reader.join(seconds)
    return None if reader.is_alive() else box[0]


def _counted(found, tasks):
    """Check that the verdicts are about these tasks, and limit the points of each task to its maximum."""
    for judged, task in zip(found["tasks"], tasks, strict=True):
        if judged["name"] != task.name:
            raise ValueError(f"the judge's verdict is about task {judged['name']!r}; expected {task.name!r}")
        judged["points"] = min(max(judged["points"], 0), task.most)
        judged["most"] = task.most
    return found


def nothing(tasks, problem):
    """The result for a submission that cannot be judged, in the form of `judge_submission`: every task has the problem."""
    return {"tasks": [_without(task, problem) for task in tasks], "notes": {}}


def _work(sending, sign, *arguments):
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches both processes; the other one reports it
        # UTF-8 cannot encode half of a surrogate pair, which an error message may contain
        found = json.dumps(_judge(*arguments), ensure_ascii=False).encode("utf-8", "replace")
        sending.send_bytes(sign + found)


def _judge(folder, tasks, cells, files, place, seconds, memory, seed):
    home = Path(folder)
    for name, content in files:
        path = home / name
        # the name is too long, has a zero byte, or names a file and a folder: cells that read it will fail
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
                given.append(task.function)  # later tasks that call it are judged with the right one
                submission.give(task.function, task.reference)
        numbers = {number for number, _ in cells}  # not those of the functions that were given
        notes = {str(n): note for n, note in submission.notes.items() if n in numbers}
        return {"tasks": found, "notes": notes, "seed": seed}


def _mentions(cells, function, name):
    """Whether a function calls another name: it occurs in the cells that define the function, or in the judged expression."""
    own = [function, *(source for _, source in cells if f"def {function}(" in source)]
    return any(re.search(rf"\b{name}\b", source) for source in own)


def _judge_task(task, submission, seed):
    from minivis.laws.judging.checking import judge
    from minivis.laws.judging.registry import PLAIN

    if submission.seconds_left <= 0:
        return _without(task, "The time for the whole submission ran out before this task.")
    try:
        function = submission.function(task.function)
    except Missing as missing:
        return _without(task, f"{missing}{_cause(task, submission)}")
    report = judge(task.family, function, task.vjp, only=task.points, seed=seed)
    counted = earned(report, task.points)
    laws = [_law(verdict, task, counted[verdict.name]) for verdict in report]
    order = list(task.points)
    laws.sort(key=lambda law: (law["name"] in PLAIN, order.index(law["name"])))  # specific laws first
    return {**_without(task, ""), "points": sum(law["points"] for law in laws), "laws": laws}


def _cause(task, submission):
    """The error in the cell that should have defined a function."""
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
        "mistake": verdict.mistake,
        "shown": shown,
    }
