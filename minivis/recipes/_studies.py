"""Shared by the studies of many small trainings: each run once, its numbers kept in a file.

Not here: what is trained (ablations.py, depth.py, fcn_shapes.py and others), running all of it (scripts/run_ablations.py).
"""

import time

import numpy as np

from minivis import storage

__all__ = ["measure", "once"]


def measure(choices, out, subject, choice, seed):
    """Train and measure one choice of a study with one seed; results that are already in `out` are only read.

    Parameters
    ----------
    choices : dict
        ``CHOICES`` of the study: {subject: {choice: (function, options)}}.
    out : str or path
        Folder for the results of single runs, and for what the study prepares.
    subject, choice : str
        One of the subjects, and one of its choices.
    seed : int
        One of ``SEEDS`` of the study for the committed results.

    Returns
    -------
    dict
        The metrics that ``results`` of the study describes, and the ``seconds`` of processor time.
    """
    function, options = choices[subject][choice]
    return once(out, function, options, seed)


def once(out, function, options, seed):
    """Call ``function(out, seed, **options)`` and keep its numbers in the folder; if they are there, only read them.

    Numbers are rounded to four digits, and the seconds of processor time are added if the function does not return its own.
    """
    same = "_".join([function.__name__, *(f"{name}-{value}" for name, value in sorted(options.items()))])
    path = storage.make_folder(out) / f"{same}_seed-{seed}.json"
    if not path.exists():
        start = time.process_time()
        found = function(str(out), seed, **options)
        numbers = {name: _rounded(value) for name, value in found.items()}
        numbers.setdefault("seconds", round(time.process_time() - start, 1))
        storage.write_files({path: storage.pack_json(numbers)})
    return storage.read_json(path)


def _rounded(value):
    """A number, or each number of a list, with four digits after the point, or four significant ones if it is small.

    Whole numbers stay what they are.
    """
    if np.ndim(value):
        return [_rounded(part) for part in value]
    if isinstance(value, int):
        return value
    return round(float(value), 4) if abs(value) >= 0.1 or value == 0 else float(f"{value:.4g}")
