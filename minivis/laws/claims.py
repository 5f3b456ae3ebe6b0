"""Judging what has no law family: a list of sentences, each true or false of what the learner wrote.

Not here: random inputs and counterexamples; they are what laws are for.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["ClaimsReport", "claims"]


@dataclass(frozen=True)
class ClaimsReport:
    """What `claims` found: ``entries`` holds (sentence, passed, complaint) for each claim."""

    name: str
    entries: tuple

    @property
    def passed(self):
        """Whether every claim held."""
        return bool(self.entries) and all(held for _, held, _ in self.entries)

    def __str__(self):
        count = sum(held for _, held, _ in self.entries)
        lines = [f"{self.name}: {count} of {len(self.entries)} hold"]
        for sentence, held, complaint in self.entries:
            lines.append(f"  {'✓' if held else '✗'} {sentence}" + (f": {complaint}" if complaint else ""))
        return "\n".join(lines)


def claims(name, *sentences):
    """Check sentences one by one, print a tick or a cross for each, and never raise.

    Parameters
    ----------
    name : str
        What is judged; the heading of the report.
    *sentences : tuple of (str, callable)
        What should hold, in words, and a function without arguments that returns whether it does. If it raises, the
        claim does not hold, and the report says why.

    Returns
    -------
    ClaimsReport
        ``.passed`` is True when every claim held.

    Examples
    --------
    >>> claims("halving", ("4 gives 2", lambda: 4 / 2 == 2), ("0 gives 1", lambda: 0 / 2 == 1)).passed
    halving: 1 of 2 hold
      ✓ 4 gives 2
      ✗ 0 gives 1
    False
    """
    entries = []
    for sentence, holds in sentences:
        try:
            held, complaint = holds(), ""
            held = held is not None and bool(np.all(held))
        except Exception as error:  # whatever a learner's code raises is a finding, not a crash
            held, complaint = False, f"{type(error).__name__}: {error}"
            if "NoneType" in complaint:
                complaint = "something returned None: is it written, and does it end with return?"
        entries.append((sentence, held, complaint))
    report = ClaimsReport(name, tuple(entries))
    print(report)
    return report
