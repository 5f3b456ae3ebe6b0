"""Ctrl-C waits: what must not be left half done is finished first.

Not here: what is finished (an optimiser's step in optim.py, a training in train.py).
"""

import signal
import threading
from contextlib import contextmanager

__all__ = ["ctrl_c_waits"]


@contextmanager
def ctrl_c_waits():
    """Inside, the first Ctrl-C only puts something into the list that the block is given; a second one does not wait.

    Whoever opens the block looks at the list and raises KeyboardInterrupt when it suits. In other threads than the main
    one, which alone gets signals, and where somebody has a handler of her own, nothing is changed.

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

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
