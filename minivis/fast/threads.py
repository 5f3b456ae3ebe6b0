"""Share rows among the cores. NumPy and compiled loops release the interpreter's lock, so threads do run in parallel.

The parts are handed out through queues. ThreadPoolExecutor would take three times as long, longer than many kernels.
Not here: matrix products, because BLAS has its own threads. A part that calls one must be inside `blas_alone`, so that
the two kinds of threads never nest.
"""

import functools
import os
import threading
from contextlib import contextmanager
from queue import SimpleQueue

__all__ = ["blas_alone", "count", "over"]

_parts = SimpleQueue()
_workers = []
_this_thread = threading.local()  # is_worker is set in the threads below
# the blocks of blas_alone that are open, and the threads that BLAS had before them
_lock = threading.Lock()
_alone = set()
_before = []


def count():
    """How many threads a kernel may use: ``OMP_NUM_THREADS`` if it is set, as for BLAS, otherwise one per core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over(n, run, least=1):
    """Call ``run(start, stop)`` on parts that cover ``range(n)``, at the same time.

    Parameters
    ----------
    n : int
        Number of rows.
    run : callable
        It may write only to rows start to stop of its arrays. It may call a matrix product only inside `blas_alone`.
    least : int
        Rows that are worth a thread. If there are fewer than two such parts, this thread does all the work.

    Notes
    -----
    The parts depend only on ``n`` and the number of threads, so a second run gives the same bits. The function returns
    only when no thread writes any more, also after an exception or Ctrl-C.
    """
    parts = n // max(1, least)
    if parts > 1:
        parts = 1 if getattr(_this_thread, "is_worker", False) else min(count(), parts)
    if parts < 2:
        run(0, n)
        return
    _start_workers(parts - 1)
    cuts = [n * i // parts for i in range(parts + 1)]
    sent = 0
    ended = []  # for each part that has ended: its exception, or None
    signals = SimpleQueue()  # one item for each part that has ended
    try:
        for start, stop in zip(cuts[1:-1], cuts[2:], strict=True):
            _parts.put((run, start, stop, ended, signals))
            sent += 1
        run(0, cuts[1])
    finally:
        _wait(sent, ended, signals)
    for error in filter(None, ended):
        raise error


def _wait(sent, ended, signals):
    """Wait until all the parts that were sent have ended. Ctrl-C does not stop the waiting; it is raised afterwards."""
    interrupted = None
    while len(ended) < sent:
        try:
            signals.get()
        except KeyboardInterrupt as error:
            interrupted = interrupted or error
    if interrupted:
        raise interrupted


def _start_workers(workers):
    """Start threads until there are ``workers`` of them."""
    while len(_workers) < workers:
        name = f"minivis_{len(_workers)}"
        _workers.append(threading.Thread(target=_work, args=(_parts,), name=name, daemon=True))
        _workers[-1].start()


def _work(parts):
    _this_thread.is_worker = True
    while True:
        _run_part(*parts.get())


def _run_part(run, start, stop, ended, signals):
    error = None
    try:
        run(start, stop)
    except BaseException as raised:  # `over` raises it again
        error = raised
    ended.append(error)
    signals.put(None)


@contextmanager
def blas_alone():
    """Inside, a matrix product uses only the calling thread. The last block to end gives BLAS its threads back."""
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
    """The BLAS libraries that are loaded. NumPy and SciPy may each have their own."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


def _forget():
    """Start anew in a forked process, which has none of its parent's threads."""
    global _parts, _workers, _lock
    _parts = SimpleQueue()
    _workers = []
    _lock = threading.Lock()
    _alone.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
