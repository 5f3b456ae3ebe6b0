"""Recognising a known mistake: a wrong answer is compared with those of the family's named mistakes.

Not here: the mistakes themselves; each family names its own.
"""

import numpy as np

from minivis.laws.judging.gradient_laws import cotangent

__all__ = ["recognised"]


def recognised(candidate, law, case, others):
    """The known mistake that gives the same answers as a function, on the case that breaks a law and on a few others.

    Parameters
    ----------
    candidate : Candidate
        The function.
    law : Law
        The law that it breaks.
    case : Case
        The call that breaks it.
    others : list of Case
        Further calls, on which the mistake must agree with the function too.

    Returns
    -------
    Mistake or None
    """
    mistakes = [m for m in candidate.family.mistakes if m.gradient == law.gradient]
    if law.manners or not mistakes:
        return None
    gives = _pulled if law.gradient else _output
    right = _answer(candidate, candidate.family.right, case, law.gradient, backward=True)
    seen = [(c, _given(gives, candidate, c)) for c in [case, *others]]
    for mistake in mistakes:
        shown = _answer(candidate, mistake.answer, case, law.gradient)
        if shown is None or seen[0][1] is None or _alike(shown, right) or not _alike(shown, seen[0][1]):
            continue
        if all(_fits(candidate, mistake, c, given) for c, given in seen[1:]):
            return mistake
    return None


def _fits(candidate, mistake, case, given):
    expected = _answer(candidate, mistake.answer, case, mistake.gradient)
    return expected is None or given is None or _alike(expected, given)


def _given(gives, candidate, case):
    """The function's result for a case as a list of arrays, or None if it fails."""
    if candidate.gave_up:
        return None
    try:
        return gives(candidate, case)
    except Exception:  # Broken, or an unusual kind of array
        return None


def _output(candidate, case):
    return [candidate.family.read(candidate, case)]


def _pulled(candidate, case):
    exact = case.copy(np.float64)
    return _flat(candidate, candidate.pulled(exact, cotangent(candidate.right(exact).shape)), case)


def _answer(candidate, answer, case, gradient, backward=False):
    """The result of a mistake for a case (or, with ``backward``, of the right answer, which has a vjp)."""
    exact = case.copy(np.float64) if gradient else case.copy()
    try:
        with np.errstate(all="ignore"):
            result = answer(*exact.args.values(), **exact.options)
            if not gradient:
                return [candidate.family.whole(result[0] if backward else result)]
            main = candidate.family.main(result[0])
            return _flat(candidate, result[1](cotangent(np.shape(main))), case)
    except Exception:  # a mistake need not handle every call
        return None


def _flat(candidate, pulled, case):
    """The gradients of a case's arrays, always in the same order."""
    found = []
    for name, d in candidate.by_name(pulled, case).items():
        if case.everything.get(name) is not None:
            found += [d[key] for key in sorted(d)] if isinstance(d, dict) else [np.asarray(d)]
    return found


def _alike(first, second):
    if first is None or second is None or len(first) != len(second):
        return False
    return all(_close(a, b) for a, b in zip(first, second, strict=True))


def _close(a, b):
    if a.shape != b.shape or a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return False
    finite = np.abs(b[np.isfinite(b)]).max(initial=0) if b.dtype.kind == "f" else 0
    return bool(np.allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(finite)), equal_nan=True))
