"""Claims about code that has no laws: each is a sentence, a call, its expected result and a hint.

Not here: random inputs and counterexamples (laws).
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.report import _array
from minivis.laws.judging.sandbox import GENERAL_HINT, Alarm, Broken, arose_in, call_safely

__all__ = ["ClaimsReport", "above", "at_least", "at_most", "below", "between", "claims"]

SECONDS = 20  # for one claim; the slowest one, with loops over pixels, takes 1 s


@dataclass(frozen=True)
class Bound:
    """A condition on a result, in the place of one expected value."""

    words: str
    holds: Callable

    def __str__(self):
        return self.words


def at_most(bound):
    """Expect a result that is not above ``bound``.

    Parameters
    ----------
    bound : float

    Returns
    -------
    Bound
        For `claims`, in the place of an expected result; every number of an array must satisfy it.

    Examples
    --------
    >>> str(at_most(3))
    'at most 3'
    """
    return Bound(f"at most {bound:g}", lambda value: value <= bound)


def at_least(bound):
    """Expect a result that is not below ``bound``.

    Parameters
    ----------
    bound : float

    Returns
    -------
    Bound
        For `claims`, in the place of an expected result; every number of an array must satisfy it.

    Examples
    --------
    >>> str(at_least(3))
    'at least 3'
    """
    return Bound(f"at least {bound:g}", lambda value: value >= bound)


def below(bound):
    """Expect a result that is less than ``bound``.

    Parameters
    ----------
    bound : float

    Returns
    -------
    Bound
        For `claims`, in the place of an expected result; every number of an array must satisfy it.

    Examples
    --------
    >>> str(below(3))
    'less than 3'
    """
    return Bound(f"less than {bound:g}", lambda value: value < bound)


def above(bound):
    """Expect a result that is more than ``bound``.

    Parameters
    ----------
    bound : float

    Returns
    -------
    Bound
        For `claims`, in the place of an expected result; every number of an array must satisfy it.

    Examples
    --------
    >>> str(above(3))
    'more than 3'
    """
    return Bound(f"more than {bound:g}", lambda value: value > bound)


def between(low, high):
    """Expect a result that is more than ``low`` and less than ``high``.

    Parameters
    ----------
    low, high : float

    Returns
    -------
    Bound
        For `claims`, in the place of an expected result; every number of an array must satisfy it.

    Examples
    --------
    >>> str(between(0, 1))
    'between 0 and 1'
    """
    return Bound(f"between {low:g} and {high:g}", lambda value: (low < value) & (value < high))


@dataclass(frozen=True)
class ClaimsReport:
    """What `claims` found: ``entries`` holds (sentence, passed, complaint) for each claim.

    A complaint is what is printed below the sentence of a claim that does not hold: expected, got, a hint.
    """

    name: str
    entries: tuple

    @property
    def passed(self):
        """Whether every claim held."""
        return bool(self.entries) and all(held for _, held, _ in self.entries)

    def __str__(self):
        lines = [f"{self.name}: {sum(e[1] for e in self.entries)} of {len(self.entries)} hold"]
        told = set()
        for sentence, held, complaint in self.entries:
            if complaint in told:  # do not print the same complaint again
                lines.append(f"  ✗ {sentence}: likewise")
                continue
            lines.append(f"  {'✓' if held else '✗'} {sentence}")
            lines += [f"      {line}" for line in complaint.splitlines()]
            told |= {complaint} - {""}
        return "\n".join(lines)


def claims(name, *sentences):
    """Check claims one by one and print a tick or a cross for each, with what is wrong and a hint; never raise.

    Parameters
    ----------
    name : str
        What is judged; the heading of the report.
    *sentences : tuple of (str, callable, object, str)
        Four parts each: the claim in words; a function without arguments that returns the result; the expected
        result, as a value, a function that returns one, or a bound such as ``at_most(1)``; a hint for when the claim
        does not hold. Floating-point numbers may differ in the sixth digit; everything else must be equal.

    Returns
    -------
    ClaimsReport
        ``.passed`` is True when every claim held.

    Raises
    ------
    ValueError
        For a claim without a hint.

    Examples
    --------
    >>> def half(x):
    ...     return x / 2
    >>> four = ("4 gives 2", lambda: half(4), 2, "Half of a number is what you add to itself to get it.")
    >>> zero = ("0 gives at least 1", lambda: half(0), at_least(1), "Is that true of any half?")
    >>> claims("half", four, zero).passed
    half: 1 of 2 hold
      ✓ 4 gives 2
      ✗ 0 gives at least 1
          expected at least 1, got 0
          Hint: Is that true of any half?
    False
    """
    entries = []
    with Alarm() as alarm:
        for sentence, got, expected, hint in sentences:
            if not hint:
                raise ValueError(f"claims: the claim {sentence!r} of {name!r} has no hint")
            broken = _broken(got, expected, alarm)
            entries.append((sentence, broken is None, "" if broken is None else _complaint(broken, hint)))
    report = ClaimsReport(name, tuple(entries))
    print(report)
    return report


NOTHING = "Your function returned None."
WRITTEN = "Is the function written, and does every path through it end with `return`?"


def _broken(got, expected, alarm):
    """What is wrong with a claim, or None."""
    try:
        value, printed = call_safely(got, (), {}, alarm, SECONDS)
        print(printed, end="")  # the learner may be debugging with print
        if value is None:
            raise Broken(NOTHING, hint=WRITTEN)
        wanted = call_safely(expected, (), {}, alarm, SECONDS)[0] if callable(expected) else expected
        _check_value(value, wanted)
    except Broken as broken:
        error = broken.__context__
        if not (isinstance(error, Exception) and arose_in(error, got)):
            return broken
        # the error arose in the check, which cannot use the returned value, not in the learner's code
        if "NoneType" in str(error):
            return Broken(NOTHING, hint=WRITTEN)
        return Broken(f"The returned value cannot be used: {type(error).__name__}: {error}")
    return None


def _check_value(value, expected):
    """Raise `Broken` if a value is not as expected."""
    if isinstance(expected, Bound):
        right = bool(np.all(expected.holds(np.asarray(value))))
    elif _is_numeric(value) and _is_numeric(expected):
        exact = np.asarray(expected).dtype.kind != "f"
        rtol, atol = (0, 0) if exact else (1e-5, 1e-6)
        return compare(np.asarray(value), np.asarray(expected), rtol, atol, what="It")
    else:
        right = bool(np.all(value == expected))
    if not right:
        raise Broken("", expected, value)


def _is_numeric(value):
    """Whether a value is a number, or an array or list of numbers; a tuple is a shape and counts as one value."""
    if isinstance(value, tuple):
        return False
    try:
        return np.asarray(value).dtype.kind in "fiub"
    except ValueError:  # lists of different lengths
        return False


def _complaint(broken, hint):
    """The lines below a claim that does not hold."""
    shown = {"expected": broken.expected, "got": broken.got}
    if broken.expected is None:
        lines = textwrap.wrap(broken.what, 94)
    elif any(_is_numeric(value) and np.ndim(value) for value in shown.values()):
        lines = [broken.what] if broken.what else []
        for name, value in shown.items():
            array = _is_numeric(value)
            lines += _array(name, np.asarray(value), precision=5) if array else [f"{name} {value}"]
    else:
        lines = [", ".join(f"{name} {_in_short(value)}" for name, value in shown.items())]
    lines = [line.removeprefix("      ") for line in lines]
    hint = hint if broken.hint in (None, GENERAL_HINT) else broken.hint
    return "\n".join([*lines, *textwrap.wrap(f"Hint: {hint}", 94, subsequent_indent="      ")])


def _in_short(value):
    """A single value as text; a float has as many digits as are compared."""
    value = np.asarray(value).item() if _is_numeric(value) else value
    return f"{value:.7g}" if isinstance(value, float) else str(value)
