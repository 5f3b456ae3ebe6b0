"""check(): every law of a family is tried on a function, and each verdict is put into words.

Not here: how a call is kept within its time (sandbox.py), how a report looks (report.py).
"""

import contextlib
import functools
import os
import time
import warnings
import zlib

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity

from minivis.laws.judging.candidate import Candidate
from minivis.laws.judging.mistakes import recognised
from minivis.laws.judging.registry import ANYTHING, GRADIENTS, SIMPLEST, family_of
from minivis.laws.judging.report import Report, Verdict
from minivis.laws.judging.sandbox import Alarm, Broken

__all__ = ["check", "chosen", "drawn", "judge", "smallest_broken", "verdicts"]

SHRINKS = 150  # at most this many cases are tried to make one counterexample smaller


def check(name, implementation, vjp=False, only=None, seed=0):
    """Check your function against the laws of what it implements, and print a report.

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
    seed : int
        Random seed of the inputs. The same seed gives the same verdicts; a grader uses another one.

    Returns
    -------
    Report
        ``report.passed``, and a `Verdict` for each law: name, passed, message, hint.

    Raises
    ------
    ValueError
        For a name that has no laws, for ``vjp=True`` where there are no laws about gradients, or for unknown names
        in ``only``.
    TypeError
        If the implementation is not a function.

    Examples
    --------
    >>> import numpy as np
    >>> report = check("softmax", lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
    softmax: 11 of 13 laws hold...
    >>> [verdict.name for verdict in report if not verdict.passed]
    ['large logits', 'agrees on anything']
    """
    report = judge(name, implementation, vjp, only, seed)
    report.print()
    return report


def judge(name, implementation, vjp=False, only=None, seed=0):
    """`check` without the printing.

    Parameters
    ----------
    name, implementation, vjp, only, seed
        As for `check`.

    Returns
    -------
    Report
    """
    start = time.monotonic()
    found = list(verdicts(name, implementation, vjp, only, seed))
    return Report(family_of(name), found, vjp, time.monotonic() - start)


def verdicts(name, implementation, vjp=False, only=None, seed=0):
    """The verdict of each law, one after the other (see `check`)."""
    family = family_of(name)
    if not callable(implementation):
        raise TypeError(
            f"check: the implementation of {name} is {type(implementation).__name__}, not a function; "
            "pass the function itself, without calling it"
        )
    if vjp and not any(law.gradient for law in family.laws):
        raise ValueError(f"check: {name} has no laws about gradients; leave vjp=True out")
    return _verdicts(family, implementation, vjp, chosen(family, vjp, only), seed)


def chosen(family, vjp, only):
    """The laws to try, in the order of the catalogue."""
    laws = [law for law in family.laws if vjp or not law.gradient]
    if only is None:
        return laws
    only = list(only)
    known = [law.name for law in laws]
    for name in only:
        if name not in known:
            also = "" if vjp else " (those of gradients need vjp=True)"
            raise ValueError(f"check: {family.name} has no law {name!r}; it has{also}: {', '.join(known)}")
    return [law for law in laws if law.name in only]


def _verdicts(family, implementation, vjp, laws, seed):
    with Alarm() as alarm, _no_traces():
        judgement = _Judgement(Candidate(implementation, family, vjp, alarm), seed)
        for law in laws:
            yield judgement.verdict(law)


@contextlib.contextmanager
def _no_traces():
    """Leave no traces: no warnings, no .hypothesis folder where the learner works."""
    home = getattr(hypothesis.configuration, "__hypothesis_home_directory", None)
    hypothesis.configuration.set_hypothesis_home_dir(os.devnull)  # nothing can be made below it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hypothesis.configuration.set_hypothesis_home_dir(home)


class _Fails(Exception):
    """Raised from one place for every failure, so that Hypothesis takes all of them for the same bug."""


class _Judgement:
    """The verdicts on one function; each law is tried once, even if other laws ask for its verdict."""

    def __init__(self, candidate, seed):
        self.candidate = candidate
        self.seed = seed
        self.found = {}

    def verdict(self, law):
        """The verdict on a law, with the smallest case that breaks it, if there is one."""
        if law.name not in self.found:
            self.found[law.name] = self._verdict(law)
        return self.found[law.name]

    def _verdict(self, law):
        if self.candidate.gave_up:
            return Verdict.of(law, None, "Not judged: the time was up.")
        if law.right_too is not None:
            self._compares(law)  # tries the laws before this one now, not in the middle of this one
        self.candidate.shrinks_left = SHRINKS
        case, broken = smallest_broken(law, self._broken, self.seed, self.candidate.may_shrink)
        if broken is None:
            return Verdict.of(law)
        mistake = recognised(self.candidate, law, case, self._others(law))
        return Verdict.of(law, case, broken.what, broken, mistake)

    def _broken(self, law, case):
        """What breaks a law on a case, or None."""
        try:
            law.holds(self.candidate, case)
            if law.right_too is not None and self._compares(law):
                law.right_too(self.candidate, case)
        except Broken as broken:
            return broken
        except Exception as error:  # an unusual kind of array: report it without a traceback
            return Broken(
                f"The result could not be compared with the right one ({type(error).__name__}: {error})."
            )
        return None

    def _compares(self, law):
        """Whether a law that compares calls with each other also compares with the right answer.

        It does if the law of the simplest form and those in ``law.after`` hold; if not, their messages say more.
        """
        before = [self.candidate.family.law_named(name) for name in (SIMPLEST, *law.after)]
        return all(self.verdict(other).passed for other in before if other is not None)

    def _others(self, law):
        """A few plain calls, to tell similar mistakes apart."""
        plain = self.candidate.family.law_named(GRADIENTS if law.gradient else ANYTHING)
        return drawn(plain, 12) if plain is not None else []


def _settings(examples, *phases):
    return hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=phases,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
    )


def _seed_of(law, seed):
    """The seed of one law: its inputs do not depend on the laws tried before it."""
    return zlib.crc32(f"{law.family}: {law.name}{seed or ''}".encode())


def smallest_broken(law, broken_by, seed=0, may_shrink=lambda: True):
    """Try a law on its cases: (case, broken) for the smallest one that breaks it, or (None, None).

    ``broken_by(law, case)`` returns what is wrong, or None; ``may_shrink()`` says whether to try another smaller case.
    Hypothesis only looks for a smaller case than the first broken one.
    """
    known = {}
    smallest = (None, None)
    for key, case in _cases(law, law.examples, seed):
        known[key] = broken_by(law, case)
        if known[key]:
            smallest = (case.copy(), known[key])
            break
    if smallest[1] is None or not may_shrink():
        return smallest

    @hypothesis.seed(_seed_of(law, seed))
    @_settings(law.examples, Phase.generate, Phase.shrink)
    @hypothesis.given(law.inputs)
    def try_law(case):
        nonlocal smallest
        key = case.key()  # each case is tried once: a function with random results cannot contradict itself
        if key not in known:
            if not may_shrink():
                return
            known[key] = broken_by(law, case)
        if known[key]:
            smallest = (case, known[key])
            raise _Fails

    with contextlib.suppress(_Fails):
        try_law()
    return smallest


@functools.lru_cache(maxsize=1024)
def _cases(law, count, seed):
    """The different cases that a law is tried on, with their keys: drawn once, and shared by all who judge with them."""
    cases = (_one_by_one if law.one_by_one else _by_hypothesis)(law, count, seed)
    for case in cases.values():
        for value in case.everything.values():
            for array in value.values() if isinstance(value, dict) else [value]:
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False
    return tuple(cases.items())


def _one_by_one(law, count, seed):
    """``count`` independent cases by their keys, or fewer if there are not enough different ones."""
    rng = np.random.default_rng(_seed_of(law, seed))
    found = {}
    for _ in range(8 * count):
        case = law.draw(rng)
        found.setdefault(case.key(), case)
        if len(found) == count:
            break
    return found


def _by_hypothesis(law, count, seed):
    """The different ones of ``count`` cases that Hypothesis draws, by their keys."""
    found = {}

    @hypothesis.seed(_seed_of(law, seed))
    @_settings(count, Phase.generate, Phase.shrink)
    @hypothesis.given(law.inputs)
    def collect(case):
        found.setdefault(case.key(), case)

    collect()
    return found


def drawn(law, count, seed=0):
    """``count`` cases of a law, drawn as when it is checked."""
    return [case for _, case in _cases(law, count, seed)]
