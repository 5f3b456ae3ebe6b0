"""How far a training is and how long it will take: a bar in a terminal and in Jupyter, lines in a log file.

Not here: the training (train.py), the numbers that are shown beside it.
"""

import sys
import time

__all__ = ["Lines", "progress_bar"]


def progress_bar(steps, done=0, unit="step"):
    """tqdm's bar in a terminal and in Jupyter, plain lines in a log file; a context manager.

    Parameters
    ----------
    steps : int
        The number of steps in all.
    done : int, default 0
        How many of them were done before.
    unit : str, default "step"
        What a step is called.
    """
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        from tqdm.auto import tqdm

        return tqdm(total=steps, initial=done, unit=unit, dynamic_ncols=True)
    return Lines(steps, done, unit)


class Lines:
    """The part of tqdm's interface that a training uses, for a log file: it prints whole lines.

    A line is printed when both ten seconds and a fiftieth of the steps have passed since the last one: five lines for a
    training of a minute, fifty for one of a day. The first and the last step always have a line.
    """

    def __init__(self, steps, done, unit="step"):
        self.steps = steps
        self.done = done
        self.unit = unit
        self.first = done
        self.shown = {}
        self.start = self.last = time.monotonic()
        self.last_done = done

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        if self.done > self.last_done:
            self.line()

    def set_postfix(self, shown, refresh=True):
        self.shown = shown

    def update(self):
        self.done += 1
        waited = time.monotonic() - self.last >= 10 and self.done - self.last_done >= self.steps / 50
        if waited or self.done == self.first + 1:
            self.line()

    def line(self):
        from tqdm import tqdm

        now = time.monotonic()
        pace = (now - self.start) / (self.done - self.first)
        past = tqdm.format_interval(now - self.start)
        left = tqdm.format_interval(pace * (self.steps - self.done))
        shown = "".join(f"  {name} {value}" for name, value in self.shown.items())
        share = 100 * self.done // self.steps
        print(
            f"{self.unit} {self.done} of {self.steps} ({share} %)  {past}, {left} left{shown}",
            file=sys.stderr,
            flush=True,
        )
        self.last = now
        self.last_done = self.done
