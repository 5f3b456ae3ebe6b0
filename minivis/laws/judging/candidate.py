"""The judged function, as the laws see it: call it, compare its output with the right one, ask for its gradients.

Not here: time limits and exceptions (sandbox.py), the laws of every family (manners.py, gradient_laws.py, value_laws.py).
"""

import inspect
import math
import time

import numpy as np

from minivis.laws.judging.inputs import leaves
from minivis.laws.judging.sandbox import Broken, call_safely

__all__ = ["Candidate", "compare"]

FIRST_LIMIT, LATER_LIMIT = 1.5, 0.3  # seconds for one call: until the first call that times out, and after it
TOTAL_LIMIT = 4.0  # seconds for all laws together
MOST_HANGS = 4  # after this many calls that timed out, no further law is tried
SHRINK_RESERVE = 2.0  # in the last seconds, no counterexample is made smaller


def clock():
    """Seconds, on Linux without the time in which this thread waited for a processor."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            waited = int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = 0.0
    return time.monotonic() - waited


class Candidate:
    """A learner's function, together with the right answer of its family.

    Parameters
    ----------
    function : callable
        The function to judge. An op of minivis is called through its ``raw`` form if ``vjp`` is true. A function with
        a ``call_apart(args, options, seconds)`` is called through that in the place of `call_safely`; it may also
        bring its own ``clock()`` and ``total``, the seconds for all laws together.
    family : Family
        The laws it is judged by.
    vjp : bool
        Whether it returns ``(out, vjp)``.
    alarm : Alarm
        Ends calls that take too long.
    """

    def __init__(self, function, family, vjp, alarm):
        self.function = getattr(function, "raw", function) if vjp else function
        self.family, self.vjp, self.alarm = family, vjp, alarm
        self.printed = ""
        self.clock, self.total = getattr(function, "clock", clock), getattr(function, "total", TOTAL_LIMIT)
        self.deadline = self.clock() + self.total
        self.hangs, self.shrinks_left = 0, 0

    @property
    def gave_up(self):
        """Whether no further law is tried: the time is up, or too many calls timed out."""
        return self.hangs >= MOST_HANGS or self.clock() >= self.deadline

    def may_shrink(self):
        """Whether one more case may be tried to make a counterexample smaller: limited in number and in time."""
        self.shrinks_left -= 1
        return self.shrinks_left >= 0 and not self.hangs and self.clock() < self.deadline - SHRINK_RESERVE

    def _call(self, function, args, options=()):
        limit = LATER_LIMIT if self.hangs else FIRST_LIMIT
        seconds = max(0.05, min(limit, self.deadline - self.clock()))
        apart = getattr(function, "call_apart", None)  # it lives in another process, which enforces the limit
        try:
            if apart is not None:
                result, printed = apart(args, dict(options), seconds)
            else:
                result, printed = call_safely(function, args, dict(options), self.alarm, seconds)
        except Broken as broken:
            self.hangs += broken.hang
            if broken.hang and seconds < limit:
                broken.what = f"The {self.total:.0f} s for all laws together were up: a call takes too long."
                broken.hint = (
                    "The inputs are tiny: milliseconds are enough, also with a Python loop for every index."
                )
            raise
        self.printed = self.printed or printed
        return result

    def result(self, case):
        """The output for a case, unchecked, and the vjp (None if judged without); the function may write into ``case``."""
        result = self._call(self.function, case.args.values(), case.options)
        if not self.vjp:
            return result, None
        if not (isinstance(result, (tuple, list)) and len(result) == 2 and callable(result[1])):
            raise Broken(
                f"With vjp=True a function returns the pair (out, vjp); yours returned {_described(result)}.",
                hint="Define vjp(g) inside your function and end with `return out, vjp`.",
            )
        return result[0], result[1]

    def __call__(self, case):
        """The output for a copy of a case, as an array; raise `Broken` if it is none."""
        return self.array(self.family.main(self.result(case.copy())[0]))

    def call_as_is(self, case):
        """The output for a case whose arrays must not be copied, because their memory layout is the point."""
        return self.array(self.family.main(self.result(case)[0]))

    def array(self, out):
        if isinstance(out, (np.ndarray, np.generic)) and out.dtype.kind in "fiub":
            return np.asarray(out)
        if isinstance(out, (int, float)):
            return np.asarray(out)
        hint = "Return a NumPy array."
        if out is None:
            hint = "Does every path through your function end with `return`?"
        elif isinstance(out, tuple) and len(out) == 2 and callable(out[1]):
            hint = "To have the backward pass judged too, call check(..., vjp=True); otherwise return the output alone."
        elif type(out).__name__ == "Tensor":
            hint = "The laws work with plain arrays: return the array inside the Tensor."
        raise Broken(f"An array was expected; your function returned {_described(out)}.", hint=hint)

    def right(self, case, dtype=np.float64):
        """The right output for a case, computed in float64."""
        exact = case.copy(dtype)
        with np.errstate(all="ignore"):
            return np.asarray(self.family.main(self.family.right(**exact.everything)[0]))

    def agrees(self, case, rtol=1e-4, atol=2e-5):
        """Raise `Broken` unless the output for this case is the right one."""
        compare(self(case), self.right(case), rtol, atol)

    def is_close(self, got, expected):
        """Whether a result is right except for its shape and its last digits."""
        if got.size != expected.size:
            return False
        try:
            compare(got.reshape(expected.shape), expected, 1e-3, 1e-3)
        except Broken:
            return False
        return True

    def pull(self, case, g):
        """The gradients that its vjp returns for ``g``: a dict from argument name to array (or dict of arrays)."""
        return self.checked(self.pulled(case, g), case)

    def pulled(self, case, g):
        """The tuple that its vjp returns for ``g``; raise `Broken` if it is none."""
        vjp = self.result(case.copy())[1]
        pulled = self._call(vjp, (g,))
        if not isinstance(pulled, (tuple, list)):
            raise Broken(
                f"vjp(g) returns a tuple, one cotangent for each array parameter; yours returned {_described(pulled)}.",
                hint="Even a single cotangent comes in a tuple: `return (dx,)`.",
            )
        return pulled

    def checked(self, pulled, case):
        """The gradients by argument name; raise `Broken` unless each is an array of its argument's shape."""
        return {
            name: _checked(value, name, case[name])
            for name, value in self.by_name(pulled, case).items()
            if case.everything.get(name) is not None
        }

    def by_name(self, pulled, case):
        """The gradients by argument name: a vjp returns one entry for each parameter, or for the arrays alone."""
        parameters, arrays = self.family.parameters, self.family.arrays
        given = [name for name in arrays if case.everything.get(name) is not None]
        in_place, packed = (dict(zip(names, pulled, strict=False)) for names in (parameters, arrays))
        misplaced = any(value is not None and name not in arrays for name, value in in_place.items())
        whole = [all(reading.get(name) is not None for name in given) for reading in (in_place, packed)]
        reading = packed if misplaced or whole == [False, True] else in_place
        return {name: reading.get(name) for name in arrays}


def _checked(value, name, like):
    """A gradient that has the form of its argument; raise `Broken` otherwise."""
    if isinstance(like, dict) and isinstance(value, dict):
        return {key: _checked(value.get(key), f"{name}[{key!r}]", item) for key, item in like.items()}
    if value is None:
        raise Broken(
            f"vjp(g) gave nothing for {name}.",
            hint="One cotangent for each array parameter, in the order of the signature.",
        )
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Broken(
            f"vjp(g) gave {_described(value)} for {name}; an array of shape {np.shape(like)} was expected.",
            hint="A cotangent is an array with the shape of the parameter it belongs to.",
        )
    if value.shape != like.shape:
        raise Broken(
            f"The gradient of {name} has shape {value.shape}; {name} itself has {like.shape}.",
            hint="A gradient has the shape of its parameter. If that was broadcast forward, sum over the new axes.",
        )
    return np.asarray(value)


def compare(got, expected, rtol=1e-4, atol=2e-5, what="The output"):
    """Raise `Broken`, with place and size of the difference, unless two arrays have the same shape and agree.

    The tolerance allows for float32 sums in another order; ``atol`` is relative to the largest expected number.
    """
    if got.shape != expected.shape:
        words = f"{what} has shape {got.shape}; {expected.shape} was expected."
        raise Broken(words, expected, got, hint=_shape_hint(got.shape, expected.shape))
    if not got.size:
        return
    with np.errstate(all="ignore"):
        difference = np.abs(got.astype(np.float64) - expected)
    scale = max(1.0, float(np.abs(expected).max()))
    # NaN compares false, and so counts as wrong
    wrong = ~(difference <= atol * scale + rtol * np.abs(expected))
    if not wrong.any():
        return
    worst = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference) * wrong), got.shape)
    count = f"{wrong.sum()} of {wrong.size} numbers are wrong" if wrong.size > 1 else "The number is wrong"
    place = f" at {[int(i) for i in worst]}" if got.ndim else ""
    if np.isfinite(difference[worst]):
        largest = f"the largest difference is {difference[worst]:.3g}{place}"
    else:
        largest = f"{got[worst]}{place} where {expected[worst]:.4g} was expected"
    raise Broken(f"{count}; {largest}.", expected, got)


def _shape_hint(got, expected):
    """A hint what may have changed a shape."""
    without_ones = [n for n in got if n != 1]
    if without_ones == [n for n in expected if n != 1]:
        return "Axes of size 1 are axes too: squeeze takes them away, keepdims=True and x[None] keep or make them."
    if sorted(got) == sorted(expected):
        return "The axes are in another order: which axis should stand where? np.swapaxes and transpose move them."
    if math.prod(got) == math.prod(expected):
        return "The numbers lie on other axes: is a reshape missing at the end, or does it have other sizes?"
    if len(got) < len(expected):
        return "An axis is gone: was something summed, averaged or indexed over more axes than it should be?"
    if len(got) > len(expected):
        return "There is one axis too many: is a sum over it missing, or did a broadcast add it?"
    return "Print the shape after each line for the input above: at which one does the first size differ?"


def _described(value):
    """A returned value in words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if inspect.isgenerator(value):
        return "a generator"
    if inspect.isfunction(value):
        return "a function"
    return f"a {type(value).__name__}"


def numerical_gradient(function, case, name, g, step=1e-5):
    """The gradient of <g, function(case)> by central differences, element by element; shown to the learner."""
    gradients = []
    case = case.copy(np.float64)
    for leaf in leaves(case[name]):
        gradient = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            kept = leaf[index]
            leaf[index] = kept + step
            above = (g * function(case)).sum()
            leaf[index] = kept - step
            below = (g * function(case)).sum()
            leaf[index] = kept
            gradient[index] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients
