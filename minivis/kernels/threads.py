"""Rows shared among the cores: NumPy lets go of the interpreter while it computes, so that threads really run at once.

Not here: matrix products, whose library has threads of its own; nothing in here calls it, so the two never nest.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

__all__ = ["count", "over"]

_pool = None
_inside = threading.local()  # set in a thread that already has its share


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
        It may write to rows start to stop of its arrays and to nothing else, and calls no matrix product.
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
    cuts = [n * i // parts for i in range(parts + 1)]
    pool, others = _threads(parts - 1), []
    try:
        for start, stop in zip(cuts[1:-1], cuts[2:], strict=True):
            others.append(pool.submit(_share, run, start, stop))
        run(0, cuts[1])
    finally:
        _all_done(others)
    for other in others:
        other.result()


def _share(run, start, stop):
    _inside.work = True
    run(start, stop)


def _all_done(futures):
    """Wait until all are done, also where Ctrl-C asks not to; the first one is raised afterwards."""
    interrupted = None
    while True:
        try:
            wait(futures)
            break
        except KeyboardInterrupt as error:
            interrupted = interrupted or error
    if interrupted:
        raise interrupted


def _threads(least):
    """The threads, made when they are first needed."""
    global _pool
    if _pool is None or _pool._max_workers < least:
        _pool = ThreadPoolExecutor(least, thread_name_prefix="minivis")
    return _pool


def _forget():
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
