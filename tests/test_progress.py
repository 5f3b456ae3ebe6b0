"""How a training shows how far it is: one bar in a terminal, few whole lines in a log.

Not here: the training itself (test_train.py).
"""

import io
import sys
import time

import numpy as np

from minivis import train
from minivis.progress import Lines
from tests.test_train import accuracy, parts


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_there_is_one_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    train.fit(*parts(), evaluate=accuracy)
    shown = screen.getvalue()
    assert shown.count("\n") == 1 and "40/40" in shown and "loss=" in shown and "accuracy=" in shown


def test_in_a_log_there_are_few_whole_lines(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    now = iter(np.arange(0, 1e6, 0.5))  # every look at the clock is half a second later
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    train.fit(*parts(steps=400), evaluate=accuracy)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and "\r" not in captured.err and 5 < len(lines) < 60
    assert lines[0].startswith("step 1 of 400 (0 %)") and "loss" in lines[0]
    assert (
        lines[-1].startswith("step 400 of 400 (100 %)")
        and "00:00 left" in lines[-1]
        and "accuracy" in lines[-1]
    )


def test_a_day_in_a_log_is_fifty_lines(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Lines(1000, 0) as lines:
        for _ in range(1000):
            clock[0] += 86.4
            lines.update()
    shown = capsys.readouterr().err.splitlines()
    assert 49 <= len(shown) <= 52 and "23:58:33 left" in shown[0]
