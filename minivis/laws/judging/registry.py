"""What a law is and which there are: Law, Family and the registry that names() and catalogue() read.

Not here: the laws themselves (one file a family) and how a function is judged by them (checking.py).
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Law:
    """One promise, with all that the test suite, the learner's report and the book's table say about it.

    Attributes
    ----------
    family, name : str
        What it is a law of, and what it is called there.
    sentence : str
        The promise in one sentence.
    equation : str
        The same in LaTeX, or empty.
    slide : str
        The tag of the slide that states it, ``"A/26-cross-attention"``, or empty.
    hint : str
        What to think about when it is broken; it names the likely mistake and leaves the code to the learner.
    mutant : callable
        A plausible wrong answer that this law rejects; of the other laws only value laws may reject it too.
    gradient : bool
        Whether it speaks of the backward pass and so needs ``vjp=True``.
    value : bool
        Whether it compares with the right answer, so that no constant keeps it: points for laws that compare calls
        with each other, or look at shape and dtype, count once one of these holds.
    manners : bool
        Whether it speaks of shape, dtype, printing and the like, whatever the numbers are.
    right_too : callable or None
        ``right_too(f, case)``: the comparison with the right answer that a law adds when its own check, of a call
        with another call, holds.
    after : tuple of str
        The laws that hold before ``right_too`` is asked: where they do not, it is they that tell what is wrong.
    draw : callable
        ``draw(rng)``: one case by a NumPy generator.
    one_by_one : bool
        Whether its cases are drawn so, each independent of the others, and not by Hypothesis, which varies those it
        has: a share of wrong answers is then found as surely as the number of cases says.
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
    """A wrong answer that is known by name: who gives it gets a hint of its own, whichever law finds it.

    Attributes
    ----------
    name : str
        What was done wrong, in a few words.
    hint : str
        What to think about.
    answer : callable
        It computes what the mistake makes of the arguments; with ``gradient`` it returns ``(out, vjp)``.
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
        What `check` knows it by.
    right : callable
        The right answer, written for reading: it has the signature of the call form and returns ``(out, vjp)``. Run
        in float64 it is what the laws compare with.
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
        sentence. A law that compares calls with each other also compares the first with the right answer, within
        ``atol``, once the simplest form is right; ``right_too`` may name laws that must hold as well, for they say
        better what is wrong, and ``right_too=False`` leaves the comparison out.
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

    def mistake(self, name, hint, answer, gradient=False):
        """Declare a wrong answer that people give; with ``gradient`` it returns ``(out, vjp)`` (see `Mistake`)."""
        self.mistakes.append(Mistake(name, hint, answer, gradient))

    def agrees(self, name, sentence, atol=2e-5, value=True, **of_the_law):
        """Declare the commonest law: on these inputs the function agrees with the formula.

        ``value=False`` where the right answer is the same number everywhere on them, which a constant gives too.
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
