"""The value laws: the answer is right on the simplest calls and on any call. The other laws explain why it is not.

Not here: the calls of a family; each family defines its own.
"""

import itertools

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import cotangent
from minivis.laws.judging.inputs import leaves
from minivis.laws.judging.mutants import changed_leaves, changed_output, mutated
from minivis.laws.judging.registry import ANYTHING, GRADIENTS, SIMPLEST, SIMPLEST_GRADIENTS
from minivis.laws.judging.sandbox import Broken

__all__ = ["CASES", "gradient_values", "gradients_agree", "values"]

CASES = 160  # a mistake that shows on one case in twenty passes this many once in 4,000 times


def values(family, *, simplest, words, anything, hint, mutant, wrong=None, atol=2e-5):
    """Declare the two laws that compare plain inputs with the right answer.

    Parameters
    ----------
    family : Family
        Gains the laws.
    simplest, anything : callable
        ``simplest(draw)`` returns the arguments of a call without options, ``anything(draw)`` those of any call.
    words : str
        What the simplest form is, in a few words: "matrices, no mask".
    hint : str
        What to look at when all other laws hold and this one does not.
    mutant : callable
        A wrong answer that "agrees on anything" rejects and that no law about a special case finds.
    wrong : callable, optional
        A wrong answer that the simplest form rejects; default: half of the right one.
    atol : float
        See `Family.agrees`.
    """
    same = family.same
    family.law(
        SIMPLEST,
        sentence=f"On the simplest calls ({words}) the answer is right.",
        inputs=simplest,
        hint="Work out one such call by hand, step by step, and print the same steps in your function.",
        mutant=wrong
        or mutated(family.right, lambda right, a, o: changed_output(right(*a, **o)[0], lambda out: out / 2)),
        examples=24,
        value=True,
        right_too=False,
        one_by_one=True,
    )(lambda f, case: same(f, case, atol))
    family.law(
        ANYTHING,
        sentence="On any call, with any options and shapes, the answer is right.",
        inputs=anything,
        hint=hint,
        mutant=mutant,
        examples=CASES,
        value=True,
        right_too=False,
        one_by_one=True,
    )(lambda f, case: same(f, case, atol))


def gradient_values(family, *, simplest, words, anything, hint, mutant, wrong=None):
    """Declare the same two laws for the gradients, and the common mistakes of backward passes.

    Parameters
    ----------
    family, simplest, words, anything, hint, mutant, wrong
        As for `values`; inputs are away from kinks and ties, mutants return ``(out, vjp)``.
    """

    def halved(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: changed_leaves(vjp(g), lambda leaf: leaf / 2)

    family.law(
        SIMPLEST_GRADIENTS,
        sentence=f"On the simplest calls ({words}) all gradients are right.",
        inputs=simplest,
        hint="Take one such call with a single number in each place, and differentiate by hand.",
        mutant=wrong or mutated(family.right, halved),
        gradient=True,
        examples=24,
        value=True,
        one_by_one=True,
    )(gradients_agree)
    family.law(
        GRADIENTS,
        sentence="On any call, with any options and shapes, all gradients are right.",
        inputs=anything,
        hint=hint,
        mutant=mutant,
        gradient=True,
        examples=CASES,
        value=True,
        one_by_one=True,
    )(gradients_agree)
    _common_mistakes(family)


def gradients_agree(f, case):
    """Each gradient is right in float64, and finite in float32."""
    exact = case.copy(np.float64)
    g = cotangent(f.right(exact).shape)
    with np.errstate(all="ignore"):
        right = f.checked(f.family.right(**exact.copy().everything)[1](g.copy()), exact)
    for name, mine in f.pull(exact, g.copy()).items():
        for got, expected in zip(leaves(mine) or [mine], leaves(right[name]), strict=True):
            compare(np.asarray(got), expected, 1e-6, 1e-6, f"The gradient of {name}")
    for name, mine in f.pull(case.copy(), g.astype(np.float32)).items():
        for got in leaves(mine) or [np.asarray(mine)]:
            if not np.isfinite(got).all():
                raise Broken(
                    f"In float32 the gradient of {name} is not finite.",
                    hint="float64 can hold exp(700), float32 only exp(88): use the exps of the forward pass, computed after "
                    "the maximum was subtracted, and do not compute them again without it.",
                    got=got,
                )


def _common_mistakes(family):
    """Mistakes of any backward pass."""
    right = family.right
    arrays = len(family.arrays)

    def backward(change):
        def answer(*args, **options):
            out, vjp = right(*args, **options)
            return out, lambda g: change(vjp, g)

        return answer

    family.mistake(
        "a sign turned around",
        "Every gradient has the wrong sign: which subtraction is the wrong way around?",
        backward(lambda vjp, g: changed_leaves(vjp(g), np.negative)),
        gradient=True,
    )
    family.mistake(
        "g left out",
        "This is the gradient for a cotangent of ones: g is not used. Multiply by g, the gradient of the output.",
        backward(lambda vjp, g: vjp(np.ones_like(g))),
        gradient=True,
    )
    for order in itertools.permutations(range(min(arrays, 3))):
        if list(order) != sorted(order):
            family.mistake(
                "cotangents in another order",
                f"The gradients are right but in the wrong order; vjp(g) returns those of "
                f"{', '.join(family.arrays)}, in the order of the signature.",
                backward(lambda vjp, g, order=order: _reordered(family, vjp(g), order)),
                gradient=True,
            )


def _reordered(family, pulled, order):
    """The gradients of the arrays alone, in another order."""
    places = [list(family.parameters).index(name) for name in family.arrays]
    own = [pulled[place] if len(pulled) > place else None for place in places]
    if len(pulled) == len(family.arrays):  # returned without entries for options
        own = list(pulled)
    return tuple(own[i] for i in order) + tuple(own[len(order) :])
