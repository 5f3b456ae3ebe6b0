"""check(): a function is held against every law of its family, and each law's verdict is put into words.

Not here: how a call is kept within its time (sandbox.py), how a report looks (report.py).
"""

import contextlib
import os
import time
import warnings
import zlib

from hypothesis import HealthCheck, Phase, Verbosity, configuration, given, reject, seed, settings

from minivis.laws.candidate import Candidate
from minivis.laws.catalogue import family_of
from minivis.laws.report import Report, Verdict
from minivis.laws.sandbox import Alarm, Broken

__all__ = ["check", "chosen", "judge", "verdicts"]

SHRINKS = 150  # cases that may go into making one counterexample smaller


def check(name, implementation, vjp=False, only=None):
    """Hold your function against the laws of what it implements, and print what came of it.

    Parameters
    ----------
    name : str
        What it implements, one of `names()`.
    implementation : callable
        A plain function of NumPy arrays (or an op of minivis). Required arguments are passed by position, options by
        name; the report shows the call form.
    vjp : bool
        True when it returns ``(out, vjp)`` as an op does: then its gradients are judged as well.
    only : iterable of str, optional
        The names of the laws to try; default: all of them.

    Returns
    -------
    Report
        ``report.passed``, and a `Verdict` for each law: name, passed, message, hint.

    Raises
    ------
    ValueError
        For a name that has no laws, ``vjp=True`` where there is nothing to differentiate, or laws in ``only`` that
        there are not.
    TypeError
        If the implementation is not a function.

    Examples
    --------
    >>> import numpy as np
    >>> report = check("softmax", lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
    softmax: 10 of 11 laws hold...
    >>> [verdict.name for verdict in report if not verdict.passed]
    ['large logits']
    """
    report = judge(name, implementation, vjp, only)
    report.print()
    return report


def judge(name, implementation, vjp=False, only=None):
    """`check` without the printing.

    Parameters
    ----------
    name, implementation, vjp, only
        As for `check`.

    Returns
    -------
    Report
    """
    start = time.monotonic()
    found = list(verdicts(name, implementation, vjp, only))
    return Report(family_of(name), found, vjp, time.monotonic() - start)


def verdicts(name, implementation, vjp=False, only=None):
    """The verdict of each law, one after the other (see `check`)."""
    family = family_of(name)
    if not callable(implementation):
        raise TypeError(
            f"check: the implementation of {name} is {type(implementation).__name__}, not a function; "
            "pass the function itself, without calling it"
        )
    if vjp and not any(law.gradient for law in family.laws):
        raise ValueError(f"check: {name} has no laws about gradients; leave vjp=True out")
    return _verdicts(family, implementation, vjp, chosen(family, vjp, only))


def chosen(family, vjp, only):
    """The laws to try, in the order of the catalogue."""
    laws = [law for law in family.laws if vjp or not law.gradient]
    if only is None:
        return laws
    only, known = list(only), [law.name for law in laws]
    for name in only:
        if name not in known:
            also = "" if vjp else " (those of gradients need vjp=True)"
            raise ValueError(f"check: {family.name} has no law {name!r}; it has{also}: {', '.join(known)}")
    return [law for law in laws if law.name in only]


def _verdicts(family, implementation, vjp, laws):
    with Alarm() as alarm, _no_traces():
        candidate = Candidate(implementation, family, vjp, alarm)
        for law in laws:
            yield _verdict(law, candidate)


@contextlib.contextmanager
def _no_traces():
    """Let nothing of the checking show: no warnings, no .hypothesis folder where the learner works."""
    home = getattr(configuration, "__hypothesis_home_directory", None)
    configuration.set_hypothesis_home_dir(os.devnull)  # nothing can be made below it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        configuration.set_hypothesis_home_dir(home)


class _Fails(Exception):
    """Raised from one place for every failure, so that Hypothesis takes them for one bug."""


def _verdict(law, candidate):
    """Try one law on its examples; the smallest case that breaks it, if any does, makes the verdict."""
    if candidate.gave_up:
        return Verdict.of(law, None, "Not judged: the time was up.")
    known, smallest = {}, None

    @seed(zlib.crc32(f"{law.family}: {law.name}".encode()))
    @settings(
        max_examples=law.examples,
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(law.inputs)
    def try_law(case):
        nonlocal smallest
        key = case.key()  # each case is tried once: a moody function cannot contradict itself
        if key not in known:
            if smallest and not candidate.may_shrink():
                reject()
            known[key] = _broken(law, candidate, case)
        if known[key]:
            smallest = (case, known[key])
            raise _Fails

    candidate.shrinks_left = SHRINKS
    try:
        try_law()
    except _Fails:
        return Verdict.of(law, smallest[0], smallest[1].what, smallest[1])
    return Verdict.of(law)


def _broken(law, candidate, case):
    """What breaks a law on a case, or None."""
    try:
        law.holds(candidate, case)
    except Broken as broken:
        return broken
    except Exception as error:  # an array of a strange kind: words, not a traceback
        return Broken(
            f"The result could not be compared with the right one ({type(error).__name__}: {error})."
        )
    return None
