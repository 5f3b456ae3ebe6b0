"""What a judgement looks like: Verdict (one law), Report (all of them), and the words a learner reads.

Not here: how the verdicts are reached.
"""

import sys
import textwrap
from dataclasses import dataclass, field

import numpy as np

from minivis.laws.judging.registry import PLAIN

__all__ = ["Report", "Verdict", "in_full"]

WIDTH = 100
IN_FULL = 2  # this many broken laws are shown with a counterexample; the others get one line each


@dataclass(frozen=True)
class Verdict:
    """The result for one law.

    Attributes
    ----------
    name, sentence : str
        The law.
    passed : bool
        Whether it holds; False also where it was not judged.
    judged : bool
        False if the time ran out before this law was tried.
    message : str
        What went wrong, in words; empty where it holds.
    hint : str
        What to think about; empty where it holds.
    counterexample : Case or None
        The smallest call found that breaks the law.
    expected, got : ndarray or None
        The right result of that call, and the result of the function.
    mistake : str
        The name of the known mistake that gives the same answers; empty where there is none.
    value, gradient : bool
        Whether the law compares with the right answer, and whether it speaks of the backward pass.
    """

    name: str
    sentence: str
    passed: bool
    judged: bool = True
    message: str = ""
    hint: str = ""
    counterexample: object = None
    expected: np.ndarray | None = None
    got: np.ndarray | None = None
    also: dict = field(default_factory=dict)
    mistake: str = ""
    value: bool = False
    gradient: bool = False

    @classmethod
    def of(cls, law, case=None, message="", broken=None, mistake=None):
        """The verdict on a law: it holds (no message), was not judged (no ``broken``) or is broken."""
        if broken is None:
            held = not message
            kind = {"value": law.value, "gradient": law.gradient}
            return cls(law.name, law.sentence, passed=held, judged=held, message=message, **kind)
        return cls(
            law.name,
            law.sentence,
            passed=False,
            message=message,
            hint=mistake.hint if mistake else broken.hint or law.hint,
            counterexample=case,
            expected=broken.expected,
            got=broken.got,
            also=broken.also,
            mistake=mistake.name if mistake else "",
            value=law.value,
            gradient=law.gradient,
        )


class Report:
    """The verdicts on one function; prints as a page, iterates over its verdicts.

    Attributes
    ----------
    name : str
        What the function was judged as.
    passed : bool
        Whether every law holds.
    verdicts : list of Verdict
        One for each law.
    seconds : float
        How long the judgement took.
    """

    def __init__(self, family, verdicts, vjp, seconds):
        self.name = family.name
        self.form = family.form
        self.verdicts = verdicts
        self.seconds = seconds
        self.could_differentiate = not vjp and any(law.gradient for law in family.laws)

    @property
    def passed(self):
        return all(verdict.passed for verdict in self.verdicts)

    def __iter__(self):
        return iter(self.verdicts)

    def __len__(self):
        return len(self.verdicts)

    def __bool__(self):
        return self.passed

    def __getitem__(self, name):
        """The verdict on the law of that name (or at that place)."""
        if isinstance(name, int):
            return self.verdicts[name]
        return next(verdict for verdict in self.verdicts if verdict.name == name)

    def __repr__(self):
        return f"<{self.headline}>"

    @property
    def headline(self):
        """How many laws hold, in a line."""
        holding = sum(verdict.passed for verdict in self.verdicts)
        count = len(self.verdicts)
        if holding == count:
            return f"{self.name}: all {count} laws hold"
        return f"{self.name}: {holding} of {count} laws hold"

    def print(self, file=None):
        """Print the page to stdout or a file; signs that its encoding lacks are replaced by plain ones."""
        file = file or sys.stdout
        page = str(self)
        encoding = getattr(file, "encoding", None) or "utf-8"
        try:
            page.encode(encoding)
        except UnicodeEncodeError:
            page = (
                page.replace("✓", "+").replace("✗", "x").replace("·", "-").encode("ascii", "replace").decode()
            )
        print(page, file=file)

    def __str__(self):
        broken = [verdict for verdict in self.verdicts if verdict.judged and not verdict.passed]
        lines = [self.headline, *_wrapped(f"called as {self.form}", 10), ""]
        width = max(len(verdict.name) for verdict in self.verdicts)
        for verdict in self.verdicts:
            sign = "✓" if verdict.passed else "✗" if verdict.judged else "·"
            lines += _wrapped(f"{sign} {verdict.name:{width}}  {verdict.sentence}", width + 4)
        told = set()
        likewise = []
        others = [verdict for verdict in broken if verdict.name not in PLAIN]
        for verdict in broken:
            if verdict.message in told or others and verdict.name in PLAIN:  # another law says more about it
                likewise.append(verdict.name)
            elif len(told) < IN_FULL:
                lines += ["", *in_full(verdict, self.name)]
            else:
                lines += ["", *_wrapped(f"✗ {verdict.name}: {verdict.message} {verdict.hint}", 4)]
            told.add(verdict.message)
        if likewise:
            lines += ["", *_wrapped(f"✗ likewise: {', '.join(likewise)}", 4)]
        if any(not verdict.judged for verdict in self.verdicts):
            lines += [
                "",
                "· not judged: your function took too long on tiny inputs, or failed to return several times.",
            ]
        if len(broken) > 1:
            lines += ["", "Fix the first one and check again; this often fixes the others too."]
        elif not broken and self.passed and self.could_differentiate:
            lines += ["", "Have you written the backward pass too? check(..., vjp=True) judges it."]
        return "\n".join(lines)


def in_full(verdict, function):
    """A broken law with its counterexample, as lines of text, for `Report` and for graders."""
    lines = _wrapped(f"✗ {verdict.name}: {verdict.sentence}", 2)
    if verdict.counterexample is not None:
        lines += [
            "",
            "  The smallest call that breaks it:",
            f"      {_call(function, verdict.counterexample)}",
        ]
        for name, value in verdict.counterexample.everything.items():
            lines += _arrays(name, value)
    for name, value in verdict.also.items():
        lines += _arrays(name, value)
    for name, value in (("expected", verdict.expected), ("got", verdict.got)):
        if value is not None:
            lines += _array(name, value, precision=5)
    lines += [""] + _wrapped("  " + verdict.message, 2) + _wrapped("  Hint: " + verdict.hint, 8)
    return lines


def _call(function, case):
    """The call in Python: arrays and generators by name, other arguments by value."""
    shown = [n if _by_name(value) else repr(value) for n, value in case.args.items()]
    shown += [f"{n}={n if _by_name(value) else repr(value)}" for n, value in case.options.items()]
    return f"{function}({', '.join(shown)})"


def _by_name(value):
    return isinstance(value, (np.ndarray, dict, np.random.Generator))


def _arrays(name, value):
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in _arrays(f"{name}[{key!r}]", item)]
    return _array(name, value) if isinstance(value, np.ndarray) else []


def _array(name, value, precision=4):
    """An array as ``name (shape) = values`` in a few lines."""
    dtype = "" if value.dtype == np.float32 or name in ("expected", "got") else f" {value.dtype}"
    head = f"      {name} {value.shape}{dtype} = "
    text = np.array2string(
        value, precision=precision, threshold=48, edgeitems=2, max_line_width=WIDTH - 10, suppress_small=False
    )
    rows = [row for row in text.splitlines() if row.strip()]
    if len(rows) == 1 and len(head) + len(rows[0]) <= WIDTH:
        return [head + rows[0]]
    if len(rows) > 12:
        rows = rows[:6] + [" ..."] + rows[-5:]
    return [head.rstrip()] + [" " * 10 + row for row in rows]


def _wrapped(text, indent):
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, drop_whitespace=True) or [""]
