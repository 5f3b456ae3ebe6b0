"""Law, Mistake and Family, and the registry of all families that names() and catalogue() read.

Not here: the laws themselves (one file a family) and how a function is judged by them (checking.py).
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from minivis.laws.judging.inputs import Case

__all__ = [
    "ANYTHING",
    "GRADIENTS",
    "PLAIN",
    "SIMPLEST",
    "SIMPLEST_GRADIENTS",
    "Family",
    "Law",
    "Mistake",
    "catalogue",
    "family_of",
    "names",
]

# the laws about plain inputs, which every family has: see value_laws.py
SIMPLEST, ANYTHING = "the simplest form", "agrees on anything"
SIMPLEST_GRADIENTS, GRADIENTS = "gradients of the simplest form", "gradients agree on anything"
PLAIN = (SIMPLEST, ANYTHING, SIMPLEST_GRADIENTS, GRADIENTS)

_FAMILIES = {}


@dataclass(frozen=True, eq=False)  # a law is equal to itself alone, so that its cases can be kept by it
class Law:
    """One property that a function must have, with its words for the report, the test suite and the book's table.

    Attributes
    ----------
    family, name : str
        The function that it is a law of, and its name among the laws of that function.
    sentence : str
        The law in one sentence.
    equation : str
        The same in LaTeX, or empty.
    slide : str
        The tag of the slide that states it, ``"A/26-cross-attention"``, or empty.
    hint : str
        What to think about when it is broken; it names the likely mistake and leaves the code to the learner.
    mutant : callable
        A plausible wrong answer that this law rejects; of the other laws, only value laws may reject it too.
    gradient : bool
        Whether the law is about the backward pass and so needs ``vjp=True``.
    value : bool
        Whether the law compares with the right answer. A function that returns a constant cannot pass it, so points
        for other laws (shape, dtype, two calls compared) count only once a value law holds.
    manners : bool
        Whether the law is about shape, dtype, printing and the like, not about the numbers.
    right_too : callable or None
        ``right_too(f, case)``: a comparison with the right answer, made after the law's own check of one call
        against another.
    after : tuple of str
        Laws that must hold before ``right_too`` is tried: if they do not, their messages say more.
    draw : callable
        ``draw(rng)``: one case from a NumPy generator.
    one_by_one : bool
        Whether the cases are drawn with ``draw``, independently of each other, and not by Hypothesis, which varies
        earlier cases. The chance to find a rare mistake then depends on the number of cases alone.
    """

    family: str
    name: str
    sentence: str
    equation: str
    slide: str
    hint: str
    mutant: Callable
    gradient: bool
    inputs: st.SearchStrategy
    holds: Callable
    examples: int
    value: bool = False
    manners: bool = False
    right_too: Callable | None = None
    after: tuple = ()
    draw: Callable | None = None
    one_by_one: bool = False


@dataclass(frozen=True)
class Mistake:
    """A well-known wrong answer: a function that gives it gets the hint of the mistake, whichever law finds it.

    Attributes
    ----------
    name : str
        What was done wrong, in a few words.
    hint : str
        What to think about.
    answer : callable
        The function with this mistake; with ``gradient`` it returns ``(out, vjp)``.
    gradient : bool
        Whether the mistake is in the backward pass.
    """

    name: str
    hint: str
    answer: Callable
    gradient: bool = False


class Family:
    """The laws of one function, the form in which it is called, and a right answer in plain NumPy.

    Parameters
    ----------
    name : str
        The name that `check` takes.
    right : callable
        The right answer, with the signature of the call form; returns ``(out, vjp)``. The laws compare with its
        result in float64.
    arrays : tuple of str
        The parameters that have a gradient, in the order of the signature.
    form : str, optional
        The call form as a learner reads it; default: from the signature.
    """

    def __init__(self, name, right, arrays=(), form=None):
        self.name, self.right, self.arrays = name, right, arrays
        self.laws, self.mistakes = [], []
        self.parameters = inspect.signature(right).parameters
        self.form = form or f"f{inspect.signature(right)}"
        _FAMILIES[name] = self

    def law(self, name, *, inputs, hint, mutant, equation="", slide="", sentence=None, gradient=False, examples=12,
            value=False, manners=False, right_too=True, atol=2e-5, one_by_one=False):  # fmt: skip
        """Declare a law: decorates ``holds(f, case)``, which raises `Broken` when ``f`` breaks it on ``case``.

        ``inputs(draw)`` returns the arguments of one call as a dict; the docstring of the decorated function is the
        sentence. A law that compares calls with each other also compares the first call with the right answer, within
        ``atol``, if the law `SIMPLEST` holds. ``right_too`` may name further laws that must hold first;
        ``right_too=False`` leaves the comparison out.
        """
        after = right_too if isinstance(right_too, tuple) else ()

        def case(draw):
            return Case.of(self.name, self.parameters, inputs(draw))

        compared = right_too and not (gradient or manners)

        def declare(holds):
            law = Law(
                self.name,
                name,
                sentence or inspect.getdoc(holds),
                equation,
                slide,
                hint,
                mutant,
                gradient,
                st.composite(case)(),
                holds,
                examples,
                value,
                manners,
                right_too=(lambda f, case: self.same(f, case, atol)) if compared else None,
                after=after,
                draw=case,
                one_by_one=one_by_one,
            )
            self.laws.append(law)
            return holds

        return declare

    def same(self, f, case, atol=2e-5):
        """Raise `Broken` unless the output for a case is right; families with several right answers replace this."""
        f.agrees(case, atol=atol)

    def read(self, f, case):
        """The output for a case as one array; families that return something else replace this."""
        return f(case)

    def main(self, out):
        """The part of an output that gradients belong to; families whose function returns several replace this."""
        return out

    def whole(self, out):
        """Everything that a function returned as one array, to compare wrong answers with each other."""
        return np.asarray(out)

    def mistake(self, name, hint, answer, gradient=False):
        """Declare a wrong answer that people give; with ``gradient`` it returns ``(out, vjp)`` (see `Mistake`)."""
        self.mistakes.append(Mistake(name, hint, answer, gradient))

    def agrees(self, name, sentence, atol=2e-5, value=True, **of_the_law):
        """Declare the most common law: on these inputs the function agrees with the formula.

        ``value=False`` where the right answer is one number for all these inputs: a constant would pass.
        """
        self.law(name, sentence=sentence, right_too=False, value=value, **of_the_law)(
            lambda f, case: self.same(f, case, atol)
        )

    def law_named(self, name):
        """The law of that name, or None."""
        return next((law for law in self.laws if law.name == name), None)


def names():
    """The functions that have laws, in the order of the catalogue.

    Returns
    -------
    list of str
        Names for `check` and for ``minivis check``.

    Examples
    --------
    >>> "softmax" in names()
    True
    """
    return list(_FAMILIES)


def catalogue():
    """Every law of every family, for tables: each has family, name, sentence, equation, slide, hint.

    Returns
    -------
    list of Law

    Examples
    --------
    >>> catalogue()[0].family
    'softmax'
    """
    return [law for family in _FAMILIES.values() for law in family.laws]


def family_of(name):
    """The family of that name; a ValueError that suggests the nearest name when there is none."""
    if name in _FAMILIES:
        return _FAMILIES[name]
    near = difflib.get_close_matches(str(name).lower(), _FAMILIES, n=1, cutoff=0.5)
    suggestion = f"did you mean {near[0]!r}? Known are" if near else "known are"
    raise ValueError(f"check: there are no laws for {name!r}; {suggestion}: {', '.join(_FAMILIES)}")
