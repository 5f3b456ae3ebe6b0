"""The laws of every family: shape, dtype, inputs left alone, one answer, no printing, and the gradient.

Not here: what one family alone promises.
"""

import functools

import numpy as np

from minivis.laws.candidate import compare, numerical_gradient
from minivis.laws.inputs import copied, leaves
from minivis.laws.sandbox import Broken

__all__ = ["backward", "every_family", "gradients", "mutated"]


def mutated(right, change):
    """A mutant: ``change(right, args, options)`` returns what stands in the right answer's place."""

    @functools.wraps(right)
    def mutant(*args, **options):
        return change(right, args, options)

    return mutant


def backward(right, change):
    """A mutant with the right output: ``change(g, pulled, args, options)`` returns its cotangents.

    ``pulled`` are the right ones of ``g``; ``args`` are all arguments but those passed by name, which are ``options``.
    """

    def wrong(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: change(g, vjp(g), args, options)

    return mutated(right, wrong)


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

    def forward(change):
        return mutated(family.right, change)

    @family.law(
        "shape",
        manners=True,
        inputs=shapes,
        equation=shape_equation,
        hint=shape_hint
        or "Axes of size 1 are axes too: squeeze, or indexing with a number, takes them away.",
        mutant=wrong_shape or forward(lambda right, a, o: np.squeeze(right(*a, **o)[0])),
    )
    def shape(f, case):
        """The output has the promised shape, for sizes of 1 as well."""
        got = f(case).shape
        expected = f.right(case).shape
        if got != expected:
            raise Broken(f"The output has shape {got}; {expected} was expected.")

    @family.law(
        "float32 stays float32",
        manners=True,
        inputs=inputs,
        hint="np.sqrt(2), np.float64(...) and np.zeros(shape) are float64 and turn the result into float64: use "
        "math.sqrt and Python numbers, and give new arrays the dtype of the input."
        if family.arrays
        else "np.arange and np.zeros make int64 and float64: ask for float32.",
        mutant=forward(lambda right, a, o: right(*a, **o)[0].astype(np.float64)),
        examples=6,
    )
    def float32(f, case):
        """float32 in, float32 out: half the memory, and what a GPU is fast at."""
        out = f.result(case.copy())[0]
        f.array(out)
        dtype = (
            out.dtype.name if isinstance(out, (np.ndarray, np.generic)) else f"a Python {type(out).__name__}"
        )
        if dtype != "float32":
            raise Broken(f"The result is {dtype}; float32 was expected.")

    if family.arrays:
        _array_laws(family, inputs, forward)

    @family.law(
        "same again",
        manners=True,
        inputs=inputs,
        hint="Is there randomness, or something remembered from one call to the next?",
        mutant=forward(
            lambda right, a, o: (
                right(*a, **o)[0] * (1 + _JITTER.normal(scale=1e-12 if family.arrays else 1e-6))
            )
        ),
        examples=6,
    )
    def same_again(f, case):
        """The same input gives the same output, bit for bit."""
        case = case.copy(np.float64)
        first, second = f(case), f(case)
        if not np.array_equal(first, second, equal_nan=True):
            raise Broken("Two calls with the same input gave two answers.", expected=first, got=second)

    @family.law(
        "quiet",
        manners=True,
        inputs=inputs,
        hint="Remove the print calls; a function that is called a million times must not talk.",
        mutant=forward(_talk),
        examples=4,
    )
    def quiet(f, case):
        """It returns its result and prints nothing."""
        f.printed = ""
        f(case)
        if f.printed:
            words = f.printed.strip()
            raise Broken(f"It printed {words[:60]!r}{' ...' if len(words) > 60 else ''}.")


_JITTER = np.random.default_rng()


def _talk(right, args, options):
    print("shape:", *[np.shape(a) for a in args])
    return right(*args, **options)[0]


def _with_more_digits(case):
    """A case in float64 whose numbers have digits that float32 cannot hold."""
    exact = case.copy(np.float64)
    for name in exact.everything:
        for leaf in leaves(exact[name]):
            leaf += 1e-11 * np.arange(1, leaf.size + 1).reshape(leaf.shape)
    return exact


def _array_laws(family, inputs, forward):
    """The laws about float arrays that come in."""

    def single(right, args, options):
        args = [copied(a, np.float32) for a in args]
        return right(*args, **options)[0]

    @family.law(
        "float64 is exact",
        manners=True,
        inputs=inputs,
        hint="Is something turned into float32 on the way (astype, np.empty(..., np.float32))? Let the input decide.",
        mutant=forward(single),
        examples=6,
    )
    def float64(f, case):
        """float64 in, float64 out, with all its digits."""
        exact = _with_more_digits(case)
        out = f(exact)
        expected = f.right(exact)
        if out.dtype != np.float64:
            raise Broken(f"The result is {out.dtype}; the input was float64.")
        if f.is_close(out, expected):  # a wrong formula is for other laws to find
            compare(out.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)
        elif np.array_equal(out, out.astype(np.float32)):
            raise Broken("The result has no more digits than a float32.", expected, out)

    def overwrite(right, args, options):
        out = right(*args, **options)[0].copy()
        for leaf in leaves(dict(enumerate(args))):
            leaf -= leaf.max()
        return out

    @family.law(
        "inputs left alone",
        manners=True,
        inputs=inputs,
        hint="`x -= ...`, `x[...] = ...` and `out=x` write into the caller's array: compute a new one instead.",
        mutant=forward(overwrite),
        examples=6,
    )
    def untouched(f, case):
        """The arrays that come in are read, never written to."""
        mine = case.copy()
        f.result(mine)
        for name, before in case.everything.items():
            for old, new in zip(leaves(before), leaves(mine[name]), strict=True):
                if not np.array_equal(old, new, equal_nan=True):
                    raise Broken(f"After the call {name} was another.", expected=old, got=new)


def gradients(family, *, inputs, mutants, equation, hints, slide=""):
    """Declare the laws of the backward pass, one for each array parameter and two for all.

    Parameters
    ----------
    family : Family
        Gains the laws.
    inputs : callable
        ``inputs(draw)``: arguments away from kinks and ties.
    mutants, equation, hints : dict
        Parameter name to mutant, equation and hint of its law.
    """
    for name in family.arrays:
        family.law(
            f"gradient of {name}",
            sentence=f"vjp(g) carries the cotangent of the output back to {name}.",
            inputs=inputs,
            equation=equation[name],
            slide=slide,
            hint=hints[name],
            mutant=mutants[name],
            gradient=True,
            value=True,
        )(functools.partial(_gradient_holds, name=name))

    def double(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: _each(vjp(g), lambda d: d.astype(np.float64))

    @family.law(
        "gradients stay float32",
        manners=True,
        inputs=inputs,
        gradient=True,
        hint="A np.float64 number in the backward pass makes everything after it float64; use Python numbers.",
        mutant=mutated(family.right, double),
        examples=6,
    )
    def dtype_kept(f, case):
        """With float32 inputs and a float32 cotangent, each gradient is float32."""
        g = cotangent(f.right(case).shape).astype(np.float32)
        for name, gradient in f.pull(case, g).items():
            for leaf in leaves(gradient) or [gradient]:
                if leaf.dtype != np.float32:
                    raise Broken(f"The gradient of {name} is {leaf.dtype}; {name} is float32.")

    def scribble(right, args, options):
        out, vjp = right(*args, **options)

        def writes(g):
            pulled = _each(vjp(g), np.copy)
            g *= 0.5
            return pulled

        return out, writes

    @family.law(
        "cotangent left alone",
        manners=True,
        inputs=inputs,
        gradient=True,
        hint="`g *= ...` writes into an array that belongs to somebody else; another branch of the graph may need it.",
        mutant=mutated(family.right, scribble),
        examples=6,
    )
    def cotangent_left_alone(f, case):
        """vjp reads its cotangent g and never writes to it."""
        g = cotangent(f.right(case).shape)
        mine = g.copy()
        f.pull(case.copy(np.float64), mine)
        if not np.array_equal(g, mine):
            raise Broken("After vjp(g), g was another.", expected=g, got=mine)


def _each(pulled, change):
    """A tuple of cotangents with each array (also those in dicts) changed."""
    return tuple(
        None if d is None else {k: change(v) for k, v in d.items()} if isinstance(d, dict) else change(d)
        for d in pulled
    )


def cotangent(shape):
    """A cotangent of simple numbers, never all ones: softmax and every norm would pass with no gradient at all."""
    values = np.random.default_rng([7, *shape]).permutation(max(1, int(np.prod(shape)))) % 7 - 2.0
    return values.reshape(shape)


def _gradient_holds(f, case, name):
    """The dot-product test <g, J v> = <vjp(g), v> in float64; the derivative along v is that of the right answer."""
    exact = case.copy(np.float64)
    if exact.everything.get(name) is None:
        return
    out = f.right(exact)
    g = cotangent(out.shape)
    pulled = f.pull(exact, g.copy())[name]
    rng = np.random.default_rng(11)
    direction = [rng.normal(size=leaf.shape) for leaf in leaves(exact[name])]

    def along(step):
        moved = exact.copy()
        for leaf, v in zip(leaves(moved[name]), direction, strict=True):
            leaf += step * v
        return f.right(moved)

    step = 1e-5
    slope = (along(step) - along(-step)) / (2 * step)
    expected = float((g * slope).sum())
    got = sum(float((d * v).sum()) for d, v in zip(leaves(pulled), direction, strict=True))
    scale = np.linalg.norm(g) * np.linalg.norm(slope) + 1e-3
    if abs(got - expected) <= 1e-6 * scale:
        return
    true = numerical_gradient(f.right, exact, name, g)
    for right, mine in zip(true, leaves(pulled), strict=True):
        try:
            compare(mine, right, 1e-6, 1e-6, f"The gradient of {name}")
        except Broken as broken:
            broken.also = {"g, the cotangent": g}
            raise
    raise Broken(f"The gradient of {name} is off by {abs(got - expected):.2g} along a random direction.")
