"""Calling a learner's function safely: with a time limit, and with every failure put into words.

Not here: what its results should be (candidate.py), in which order the laws are tried (checking.py).
"""

import contextlib
import ctypes
import gc
import io
import linecache
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np

__all__ = ["GENERAL_HINT", "Alarm", "Broken", "TimeIsUp", "arose_in", "call_safely", "learner_line"]

# The hint for an exception that has no hint of its own.
GENERAL_HINT = "Call your function on the input above and look at the shapes before this line."


class Broken(Exception):
    """Raised when a law is broken.

    ``what`` says what happened, in one or two sentences; ``expected`` and ``got`` are arrays to show, ``also`` more
    arrays by name; ``hint``, if given, replaces the hint of the law; ``hang`` is True if the call timed out.
    """

    def __init__(self, what, expected=None, got=None, hint=None, hang=False, also=None):
        super().__init__(what)
        self.what, self.expected, self.got, self.hint, self.hang = what, expected, got, hint, hang
        self.also = also or {}


class TimeIsUp(BaseException):
    """Raised inside a function that takes too long; not an Exception, so ``except Exception`` does not catch it."""


class Alarm:
    """Ends a call that takes too long, from within its own process.

    In the main thread of a Unix process a timer signal interrupts it; anywhere else a second thread has the
    interpreter raise the exception. Both repeat until the call ends, because it may catch every exception. Neither
    can end a single call into compiled code: that needs a worker process (worker.py).
    """

    REPEAT = 0.037  # seconds between two attempts

    def __enter__(self):
        self.armed = False
        self.trace = sys.gettrace()
        in_main = threading.current_thread() is threading.main_thread()
        self.signals = in_main and hasattr(signal, "setitimer")
        if self.signals:
            self.handler = signal.signal(signal.SIGALRM, self._ring)
            self.timer = signal.setitimer(signal.ITIMER_REAL, 0)
        else:
            self.thread = threading.get_ident()
            self.change = threading.Condition()
            self.open = True
            self.watchdog = threading.Thread(target=self._watch, daemon=True)
            self.watchdog.start()
        return self

    def __exit__(self, *_):
        if self.signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.handler)
            signal.setitimer(signal.ITIMER_REAL, *self.timer)
            return
        with self.change:
            self.open = False
            self.change.notify()
        self.watchdog.join()

    @contextlib.contextmanager
    def limit(self, seconds):
        """Raise `TimeIsUp` in the body when it takes longer than this."""
        try:  # twice: the alarm may ring while the inner finally begins
            try:
                self._arm(seconds)
                yield
            finally:
                self._disarm()
        finally:
            self._disarm()

    def _arm(self, seconds):
        if self.signals:
            self.armed = True
            self.rings = 0
            signal.setitimer(signal.ITIMER_REAL, seconds, self.REPEAT)
            return
        with self.change:
            self.armed = True
            self.deadline = time.monotonic() + seconds
            self.change.notify()

    def _disarm(self):
        self.armed = False
        if self.signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.settrace(self.trace)
            return
        # the watchdog cannot raise while the lock is held; an exception that is not yet delivered is withdrawn
        with self.change:
            self.armed = False
            _raise_in(self.thread, None)

    def _ring(self, _, frame):
        if not self.armed:
            return
        if _is_gc_callback(frame):
            return self._raise_later(frame, lines=0)
        self.rings += 1
        if self.rings == 1:
            raise TimeIsUp
        # a bare `except:` caught it: raise again, each time one line later, until that line is outside the try
        self._raise_later(frame, lines=self.rings - 2)

    def _raise_later(self, frame, lines):
        """Raise after some more lines, in a frame whose exceptions are not ignored."""

        def tracer(frame, event, _):
            nonlocal lines
            if not self.armed or frame.f_code.co_filename in (__file__, contextlib.__file__):
                return None
            if _is_gc_callback(frame):
                return None
            lines -= event == "line"
            if lines < 0:
                raise TimeIsUp
            return tracer

        sys.settrace(tracer)
        while frame and frame.f_code.co_filename != __file__:
            frame.f_trace = tracer
            frame = frame.f_back

    def _watch(self):
        with self.change:
            while self.open:
                left = self.deadline - time.monotonic() if self.armed else None
                if left is None or left > 0:
                    self.change.wait(left)
                else:
                    _raise_in(self.thread, TimeIsUp)
                    self.change.wait(self.REPEAT)


def _is_gc_callback(frame):
    """Whether the garbage collector calls this frame (Hypothesis has such a callback): its exceptions are ignored."""
    return any(frame.f_code is getattr(callback, "__code__", None) for callback in gc.callbacks)


def _raise_in(thread, exception):
    """Have the interpreter raise an exception in another thread at its next step; None withdraws it."""
    pending = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), pending)


class _Printed(io.StringIO):
    """Keeps the beginning of what a call prints: endless printing does not fill the memory."""

    LENGTH = 100_000

    def write(self, text):
        """Keep what there is room for, but report that everything was written."""
        super().write(text[: max(0, self.LENGTH - self.tell())])
        return len(text)


def call_safely(function, args, options, alarm, seconds):
    """Call a learner's function, which may fail, print, or run for ever.

    Returns
    -------
    result
        What it returned.
    printed : str
        What it wrote to stdout and stderr, the first 100,000 characters of it.

    Raises
    ------
    Broken
        If it raised, called sys.exit() or did not come back in time. Ctrl-C passes through.
    """
    text = _Printed()
    # input() finds nothing and does not wait for the keyboard
    stdin = sys.stdin
    sys.stdin = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), np.errstate(all="ignore"):
            with alarm.limit(seconds):
                result = function(*args, **options)
    except KeyboardInterrupt:
        raise
    except TimeIsUp as interruption:
        raise _timeout(interruption, function, seconds) from None
    except BaseException as error:
        raise _failure(error, function) from None
    finally:
        sys.stdin = stdin
    return result, text.getvalue()


def _timeout(interruption, function, seconds):
    place = learner_line(interruption, function)
    return Broken(
        f"Your function did not come back within {seconds:.2g} s on this small input{place}.",
        hint="Is there a loop whose condition never becomes false, or an index that is never advanced?",
        hang=True,
    )


def _failure(error, function):
    place = learner_line(error, function)
    if isinstance(error, SystemExit):
        return Broken(
            f"Your function called sys.exit(){place}.", hint="Return the result; do not end the program."
        )
    words = f": {str(error).strip()}" if str(error).strip() else ""
    article = "an" if type(error).__name__[0] in "AEIOU" else "a"
    what = f"Your function raised {article} {type(error).__name__}{words}{place}"
    return Broken(what if what.endswith((".", "!", "?")) else f"{what}.", hint=_hint_for(error))


def _hint_for(error):
    words = str(error)
    if isinstance(error, NotImplementedError):
        return "This is where your work goes: replace the `raise` by the computation."
    if (
        isinstance(error, TypeError)
        and "argument" in words
        and ("unexpected" in words or "positional" in words)
    ):
        return "The names and the order of the parameters must be those of the call form above."
    if isinstance(error, ValueError) and "broadcast" in words:
        return "Two shapes do not fit. A sum, mean or max drops its axis unless keepdims=True keeps it with size 1."
    if "matmul" in words or "shapes" in words and "aligned" in words:
        return "Two matrices do not fit: (..., n, k) @ (..., k, m). x.T turns all axes around, not only the last two."
    if "NoneType" in words:
        return "An argument that was not given is None: leave it out of the computation then."
    if isinstance(error, (IndexError, KeyError)):
        return "An index or a key does not exist. Print the shapes just before this line."
    if isinstance(error, (NameError, UnboundLocalError)):
        return "A name is used before it has a value: is it misspelt, or was a cell not run?"
    if isinstance(error, RecursionError):
        return "The function calls itself without end."
    if isinstance(error, EOFError):
        return "Take everything you need from the arguments; input() gets no answer here."
    return GENERAL_HINT


def learner_line(error, function, file=None):
    """Where in the learner's own file an exception arose: ``" (line 3 of x.py: `code`)"``, or empty."""
    own = file or _file_of(function)
    ours = (str(Path(__file__).parent.parent), contextlib.__file__)
    stack = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    frames = [f for f in stack if f.filename == own or _is_cell(f.filename)] or stack
    if not frames:
        return ""
    frame = frames[-1]
    in_cell = _is_cell(frame.filename) or frame.filename.startswith("<")
    name = "your cell" if in_cell else Path(frame.filename).name
    code = linecache.getline(frame.filename, frame.lineno).strip()
    return f" (line {frame.lineno} of {name}: `{code}`)" if code else f" (line {frame.lineno} of {name})"


def arose_in(error, function):
    """Whether an exception arose in a function (or in its cell), and not in other learner's code that it called."""
    own = _file_of(function)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    codes = [f.f_code for f in frames if f.f_code.co_filename == own or _is_cell(f.f_code.co_filename)]
    if not codes:
        return False
    return codes[-1] is function.__code__ or codes[-1].co_filename == own and _is_cell(own)


def _file_of(function):
    """The file or cell that a function was written in, if that is known."""
    return getattr(getattr(function, "__code__", None), "co_filename", None)


def _is_cell(filename):
    """Whether a file name is that of a notebook cell; each cell has its own."""
    return "ipykernel_" in filename or filename.startswith(("<ipython-input-", "<cell "))
