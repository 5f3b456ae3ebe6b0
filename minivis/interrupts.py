"""Delay Ctrl-C until work that must not stop halfway is done.

Not here: the work itself (an optimiser's step in optim.py, a training in train.py).
"""

import signal
import threading
from contextlib import contextmanager

__all__ = ["ctrl_c_waits"]


@contextmanager
def ctrl_c_waits():
    """Inside, the first Ctrl-C only adds an entry to the list after ``as``. A second one interrupts at once.

    The code that opens the block checks the list and raises KeyboardInterrupt itself. Nothing is changed outside the
    main thread, which is the only one that gets signals, or if another handler for Ctrl-C is installed.

    Examples
    --------
    >>> with ctrl_c_waits() as pressed:
    ...     signal.raise_signal(signal.SIGINT)
    ...     print("done")
    done
    >>> pressed
    [True]
    """
    pressed = []

    def handler(number, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    replace = threading.current_thread() is threading.main_thread()
    replace = replace and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if replace:
        signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        if replace:
            signal.signal(signal.SIGINT, signal.default_int_handler)
