"""Rows shared among the cores: NumPy and compiled loops let go of the interpreter, so that threads really run at once.

Two queues of the standard library hand out the parts: its ThreadPoolExecutor takes three times as long, longer than many
a kernel. Not here: matrix products, whose library has threads of its own; whoever wants one inside a part asks
`blas_alone`, so that the two never nest.
"""

import functools
import os
import threading
from contextlib import contextmanager
from queue import SimpleQueue

__all__ = ["blas_alone", "count", "over"]

_parts = SimpleQueue()
_workers = []
_inside = threading.local()  # set in a thread that already has its share
# who wants BLAS alone now, and the threads it had before
_lock = threading.Lock()
_alone = set()
_before = []


def count():
    """How many threads a kernel may use: ``OMP_NUM_THREADS`` where it is set, as for BLAS, otherwise one a core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over(n, run, least=1):
    """Call ``run(start, stop)`` on parts that cover ``range(n)``, at the same time.

    Parameters
    ----------
    n : int
        Rows there are.
    run : callable
        It may write to rows start to stop of its arrays and to nothing else, and calls a matrix product only where
        `blas_alone` holds.
    least : int
        Rows that are worth a thread; fewer than two such parts are done here and now.

    Notes
    -----
    The parts depend on ``n`` and the number of threads only, never on time: a run gives the same bits again. It
    comes back, with an exception too and after Ctrl-C, when no thread writes any more.
    """
    parts = n // max(1, least)
    if parts > 1:
        parts = 1 if getattr(_inside, "work", False) else min(count(), parts)
    if parts < 2:
        run(0, n)
        return
    _see_to(parts - 1)
    cuts = [n * i // parts for i in range(parts + 1)]
    sent = 0
    ended = []
    news = SimpleQueue()
    try:
        for start, stop in zip(cuts[1:-1], cuts[2:], strict=True):
            _parts.put((run, start, stop, ended, news))
            sent += 1
        run(0, cuts[1])
    finally:
        _all_done(sent, ended, news)
    for error in filter(None, ended):
        raise error


def _all_done(sent, ended, news):
    """Wait until as many parts have ended, also where Ctrl-C asks not to; the first one is raised afterwards."""
    interrupted = None
    while len(ended) < sent:
        try:
            news.get()
        except KeyboardInterrupt as error:
            interrupted = interrupted or error
    if interrupted:
        raise interrupted


def _see_to(workers):
    """Start threads until there are so many."""
    while len(_workers) < workers:
        name = f"minivis_{len(_workers)}"
        _workers.append(threading.Thread(target=_work, args=(_parts,), name=name, daemon=True))
        _workers[-1].start()


def _work(parts):
    _inside.work = True
    while True:
        _do(*parts.get())


def _do(run, start, stop, ended, news):
    error = None
    try:
        run(start, stop)
    except BaseException as raised:  # raised again where the others are waited for
        error = raised
    ended.append(error)
    news.put(None)


@contextmanager
def blas_alone():
    """A matrix product keeps to the thread that calls it; who leaves last gives BLAS the threads back that it had."""
    global _before
    me = object()
    try:
        with _lock:
            if not _alone:
                _before = [(library, library.num_threads) for library in _blas()]
            _alone.add(me)
            for library, _ in _before:
                library.set_num_threads(1)
        yield
    finally:
        with _lock:
            _alone.discard(me)
            for library, threads in _before if not _alone else ():
                library.set_num_threads(threads)


@functools.cache
def _blas():
    """The BLAS libraries that are loaded: NumPy's and SciPy's may be two."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


def _forget():
    """A forked process has none of its parent's threads."""
    global _parts, _workers, _lock
    _parts = SimpleQueue()
    _workers = []
    _lock = threading.Lock()
    _alone.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
