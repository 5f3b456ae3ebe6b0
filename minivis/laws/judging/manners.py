"""Laws of every function: its shape, its dtype, inputs left alone, the same answer twice, no printing.

Not here: whether the numbers are right (value_laws.py), the backward pass (gradient_laws.py).
"""

import itertools

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import copied, leaves
from minivis.laws.judging.mutants import changed_output, mutated
from minivis.laws.judging.sandbox import Broken

__all__ = ["every_family", "index_laws", "kind_law", "quiet_law", "shape_law"]

AXES_OF_ONE = "Axes of size 1 are axes too: squeeze, or indexing with a number, takes them away."


def _output(f, case):
    return f(case)


def every_family(family, *, inputs, shapes, wrong_shape=None, shape_hint="", shape_equation=""):
    """Declare the laws that each function keeps, whatever it computes.

    Parameters
    ----------
    family : Family
        Gains the laws.
    inputs : callable
        ``inputs(draw)``: the arguments of a plain call.
    shapes : callable
        The same for the shape law: sizes that the other laws leave out, axes of size 1 above all.
    wrong_shape : callable, optional
        The mutant of the shape law; default: one that squeezes axes of size 1 away.
    shape_hint, shape_equation : str
        For the shape law.
    """
    shape_law(family, shapes, mutant=wrong_shape, hint=shape_hint or AXES_OF_ONE, equation=shape_equation)
    _float32_stays(family, inputs)
    if family.arrays:
        _float64_is_exact(family, inputs)
        _inputs_left_alone(
            family,
            inputs,
            hint="`x -= ...`, `x[...] = ...` and `out=x` write into the caller's array: compute a new one instead.",
            mutant=mutated(family.right, _overwrite),
            examples=6,
        )
    noise = 1e-12 if family.arrays else 1e-6
    _same_again(
        family,
        inputs,
        _output,
        "The same input gives the same output, bit for bit.",
        hint="Does your function use random numbers, or keep something from one call to the next?",
        mutant=mutated(
            family.right,
            lambda right, a, o: changed_output(
                right(*a, **o)[0], lambda out: out * (1 + noise * (next(_CALLS) % 5 - 2))
            ),
        ),
        examples=6,
    )
    quiet_law(family, inputs)


def index_laws(family, *, inputs, shapes, read, squeezed, random_ties, float_mutant, overwritten):
    """Declare the laws of every function that returns indices (`every_family` is for results that are numbers).

    Parameters
    ----------
    family : Family
        Gains the laws.
    inputs, shapes : callable
        ``inputs(draw)``: the arguments of a plain call, with ties; of calls with sizes 0 and 1.
    read : callable
        ``read(f, case)``: what the function returns, as an array of any dtype.
    squeezed, random_ties, float_mutant : callable
        Mutants: one that drops axes of length 1, one that breaks ties by chance, one that returns floats.
    overwritten : str
        The argument that the mutant of "inputs left alone" writes into.
    """
    shape_law(
        family,
        shapes,
        read,
        sentence="The output has the right shape, also if there is nothing to choose from, or only one thing.",
        hint="A list of one index, or of none, still has an axis: np.squeeze takes it away.",
        mutant=squeezed,
    )
    kind_law(
        family,
        inputs,
        "whole numbers",
        "iu",
        read,
        hint="Indices are integers: x[3.0] is an error. np.zeros and np.empty make float64 unless you ask for another "
        "dtype.",
        mutant=float_mutant,
    )
    _inputs_left_alone(
        family,
        inputs,
        hint="`x -= ...` and `x[...] = ...` write into the caller's array: work on a copy.",
        mutant=_overwriting(family, overwritten),
    )
    _same_again(
        family,
        inputs,
        read,
        "The same input gives the same output, also if several outputs are equally good.",
        hint="Ties may be broken either way, but the same way each time. Does your function use random numbers, or keep "
        "something from one call to the next?",
        mutant=random_ties,
    )
    quiet_law(family, inputs, read)


def shape_law(
    family,
    inputs,
    read=_output,
    mutant=None,
    hint=AXES_OF_ONE,
    sentence="The output has the right shape, also for axes of size 1.",
    equation="",
):
    """Declare that the output has the shape of the right answer; the default mutant squeezes axes of size 1 away."""

    @family.law(
        "shape",
        manners=True,
        sentence=sentence,
        inputs=inputs,
        equation=equation,
        hint=hint,
        mutant=mutant
        or mutated(family.right, lambda right, a, o: changed_output(right(*a, **o)[0], np.squeeze)),
    )
    def shape(f, case):
        got = read(f, case).shape
        expected = f.right(case).shape
        if got != expected:
            raise Broken(f"The output has shape {got}; {expected} was expected.")


def kind_law(family, inputs, words, kinds, read=_output, *, hint, mutant, examples=12):
    """Declare that the output's dtype is of one of NumPy's kinds in ``kinds``: letters such as "iu"."""

    @family.law(
        words,
        manners=True,
        sentence=f"The result holds {words}, not floating-point numbers.",
        inputs=inputs,
        hint=hint,
        mutant=mutant,
        examples=examples,
    )
    def kind(f, case):
        got = read(f, case)
        if got.dtype.kind not in kinds:
            raise Broken(f"The result is {got.dtype}; {words} were expected.")


def _float32_stays(family, inputs):
    if family.arrays:
        hint = (
            "np.sqrt(2), np.float64(...), np.zeros(shape) and np.arange(n) are not float32 and turn the result into "
            "float64: use math.sqrt and Python numbers, and give new arrays the dtype of the input."
        )
    else:
        hint = "np.arange and np.zeros make int64 and float64: ask for float32."

    @family.law(
        "float32 stays float32",
        manners=True,
        inputs=inputs,
        hint=hint,
        mutant=mutated(
            family.right,
            lambda right, a, o: changed_output(right(*a, **o)[0], lambda out: out.astype(np.float64)),
        ),
        examples=6,
    )
    def float32(f, case):
        """float32 in, float32 out: it takes half the memory of float64, and a GPU is faster with it."""
        out = family.main(f.result(case.copy())[0])
        f.array(out)
        is_array = isinstance(out, (np.ndarray, np.generic))
        dtype = out.dtype.name if is_array else f"a Python {type(out).__name__}"
        if dtype != "float32":
            raise Broken(f"The result is {dtype}; float32 was expected.")


def _float64_is_exact(family, inputs):
    def single(right, args, options):
        args = [copied(a, np.float32) for a in args]
        return right(*args, **options)[0]

    @family.law(
        "float64 is exact",
        manners=True,
        inputs=inputs,
        hint="Is something converted to float32 on the way (astype, np.empty(..., np.float32))? Use the input's dtype.",
        mutant=mutated(family.right, single),
        examples=6,
    )
    def float64(f, case):
        """float64 in, float64 out, with all its digits."""
        exact = _with_more_digits(case, family.arrays)
        out = f(exact)
        expected = f.right(exact)
        if out.dtype != np.float64:
            raise Broken(f"The result is {out.dtype}; the input was float64.")
        if f.is_close(out, expected):  # other laws find a wrong formula
            compare(out.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)
        elif out.any() and np.array_equal(out, out.astype(np.float32)):  # zeros have all their digits
            raise Broken("The result has no more digits than a float32.", expected, out)


def _with_more_digits(case, arrays):
    """A case in float64 in which the numbers of some arguments have digits that float32 cannot hold."""
    exact = case.copy(np.float64)
    for name in arrays:  # not all: a column of a region is the index of a picture
        for leaf in leaves(exact.everything.get(name)):
            leaf += 1e-11 * np.arange(1, leaf.size + 1).reshape(leaf.shape)
    return exact


def _inputs_left_alone(family, inputs, **of_the_law):
    @family.law("inputs left alone", manners=True, inputs=inputs, **of_the_law)
    def untouched(f, case):
        """The function reads its input arrays and never writes to them."""
        mine = case.copy()
        f.result(mine)
        for name, before in case.everything.items():
            for old, new in zip(leaves(before), leaves(mine[name]), strict=True):
                if not np.array_equal(old, new, equal_nan=True):
                    raise Broken(f"The call changed {name}.", expected=old, got=new)


def _overwrite(right, args, options):
    out = changed_output(right(*args, **options)[0], np.copy)
    for leaf in leaves(dict(enumerate(args))):
        if leaf.size:
            leaf -= leaf.max()
    return out


def _overwriting(family, name):
    """A mutant that writes into one argument after it has computed the right output."""

    def overwrite(right, args, options):
        out = right(*args, **options)[0]
        given = dict(zip(family.parameters, args, strict=False))[name]
        given -= given.max(initial=-1) + 1
        return out

    return mutated(family.right, overwrite)


def _same_again(family, inputs, read, sentence, **of_the_law):
    @family.law("same again", sentence=sentence, manners=True, inputs=inputs, **of_the_law)
    def same_again(f, case):
        case = case.copy(np.float64)
        first = read(f, case)
        second = read(f, case)
        if not np.array_equal(first, second, equal_nan=True):
            raise Broken("Two calls with the same input gave two answers.", expected=first, got=second)


_CALLS = itertools.count()  # no two calls in a row have the same factor, which chance would allow


def quiet_law(family, inputs, read=_output):
    """Declare that the function prints nothing."""

    @family.law(
        "quiet",
        manners=True,
        inputs=inputs,
        hint="Remove the print calls: a function that is called a million times must not print.",
        mutant=mutated(family.right, _print_shapes),
        examples=4,
    )
    def quiet(f, case):
        """The function returns its result and prints nothing."""
        f.printed = ""
        read(f, case)
        if f.printed:
            words = f.printed.strip()
            raise Broken(f"It printed {words[:60]!r}{' ...' if len(words) > 60 else ''}.")


def _print_shapes(right, args, options):
    print("shape:", *[np.shape(a) for a in args])
    return right(*args, **options)[0]
