"""Readers with a fault each: what test_fuzz.py shows to the machine, which must find it.

Not here: readers of minivis.
"""

import os
import time

import numpy as np

from tests.fuzz import Reader


def seeds(folder):
    (folder / "number.json").write_text('{"number": 1, "list": [1, 2]}')


def told(folder, error):
    """Good files are read, all others are refused, in one way or another."""
    if (folder / "number.json").read_bytes() != b'{"number": 1, "list": [1, 2]}':
        error(folder)


def refuse(folder):
    raise ValueError(f"{folder / 'number.json'}: expected 1")


def unnamed(folder):
    raise ValueError("expected 1")


def raw(folder):
    raise KeyError(str(folder))


def slow(folder):
    while True:
        pass


def waiting(folder):
    time.sleep(3600)


def hungry(folder):
    try:
        np.ones(500 * 2**17)
    except MemoryError as error:
        raise ValueError(f"{folder}: too large") from error


def dead(folder):
    os.abort()


def writing(folder):
    (folder / "left").write_text("over")
    refuse(folder)


def half(folder):
    raise AssertionError("half")


FAULTS = {
    "fine": refuse,
    "unnamed": unnamed,
    "raw": raw,
    "slow": slow,
    "hungry": hungry,
    "dead": dead,
    "writing": writing,
}
READERS = [
    Reader(name, seeds, lambda folder, error=error: told(folder, error)) for name, error in FAULTS.items()
]
READERS += [Reader("half", seeds, lambda folder: told(folder, refuse), half)]
READERS += [Reader("waiting", seeds, lambda folder: told(folder, waiting))]
