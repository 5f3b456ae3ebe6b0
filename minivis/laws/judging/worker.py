"""Judging in a separate process, which is killed when its time is up: for graders.

Not here: the judgement itself (checking.py), which already stops most endless loops in the learner's own process.
"""

import contextlib
import multiprocessing
import time
import warnings

from minivis.laws.judging.checking import judge, verdicts
from minivis.laws.judging.registry import family_of
from minivis.laws.judging.report import Report, Verdict

__all__ = ["judge_apart"]


def judge_apart(name, implementation, vjp=False, seconds=5.0, seed=0):
    """Judge a function in a worker process, and kill that process when its time is up.

    The worker is a fork of this process, so lambdas, closures and notebook functions need no pickling. Where there is
    no fork (Windows) the function is judged in this process, as `check` does.

    Parameters
    ----------
    name, implementation, vjp
        As for `check`.
    seconds : float
        How long the worker may live, default 5.
    seed : int
        As for `check`.

    Returns
    -------
    Report
        If the worker is killed, the laws judged before keep their verdicts, the current one counts as broken, and the
        later ones are not judged. A worker that dies (a crash in compiled code, os._exit) is reported in the same way.

    Examples
    --------
    >>> judge_apart("softmax", lambda x, axis=-1: x).passed
    False
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        return judge(name, implementation, vjp, seed=seed)
    start = time.monotonic()
    family = family_of(name)
    verdicts(name, implementation, vjp)  # raises here, not in the worker, if it cannot be judged
    laws = [law for law in family.laws if vjp or not law.gradient]
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(sending, name, implementation, vjp, seed), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside other threads
        worker.start()
    sending.close()
    found = []
    ending = ""
    try:
        while len(found) < len(laws):
            if not receiving.poll(max(0.0, start + seconds - time.monotonic())):
                ending = f"Your function did not come back within {seconds:.0f} s and was ended."
                break
            found.append(receiving.recv())
    except EOFError:
        ending = "Your function ended the whole Python process it ran in."
    finally:
        worker.kill()
        worker.join()
        receiving.close()
    return Report(family, found + _unjudged(laws[len(found) :], ending), vjp, time.monotonic() - start)


def _work(sending, name, implementation, vjp, seed):
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches both processes; the other one reports it
        for verdict in verdicts(name, implementation, vjp, seed=seed):
            sending.send(verdict)


def _unjudged(laws, ending):
    """Verdicts for the laws that were not finished; the first of them was being tried."""
    hint = "Is there a loop whose condition never becomes false, or a call that ends the program?"
    first = [Verdict(law.name, law.sentence, passed=False, message=ending, hint=hint) for law in laws[:1]]
    return first + [Verdict.of(law, None, "Not judged: the time was up.") for law in laws[1:]]
