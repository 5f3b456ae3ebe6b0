"""The laws of every backward pass: gradients are right and stay float32, and the cotangent is left alone.

Not here: laws of one family alone, plain calls over the whole domain (value_laws.py).
"""

import functools

import numpy as np

from minivis.gradcheck import dot_product_test
from minivis.laws.judging.candidate import compare, numerical_gradient
from minivis.laws.judging.inputs import leaves
from minivis.laws.judging.mutants import changed_leaves, mutated
from minivis.laws.judging.sandbox import Broken

__all__ = ["cotangent", "gradients"]


def gradients(family, *, inputs, mutants, equation, hints, slide=""):
    """Declare the laws of the backward pass: one for each array parameter, and two for all gradients.

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
            sentence=f"vjp(g) turns the cotangent g of the output into the gradient of {name}.",
            inputs=inputs,
            equation=equation[name],
            slide=slide,
            hint=hints[name],
            mutant=mutants[name],
            gradient=True,
            value=True,
        )(functools.partial(_gradient_holds, name=name))

    _stays_float32(family, inputs)
    _cotangent_left_alone(family, inputs)


def _stays_float32(family, inputs):
    def double(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: changed_leaves(vjp(g), lambda d: d.astype(np.float64))

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


def _cotangent_left_alone(family, inputs):
    def scribble(right, args, options):
        out, vjp = right(*args, **options)

        def writes(g):
            pulled = changed_leaves(vjp(g), np.copy)
            g *= 0.5
            return pulled

        return out, writes

    @family.law(
        "cotangent left alone",
        manners=True,
        inputs=inputs,
        gradient=True,
        hint="`g *= ...` writes into an array that is not yours; another branch of the graph may need it.",
        mutant=mutated(family.right, scribble),
        examples=6,
    )
    def cotangent_left_alone(f, case):
        """vjp reads its cotangent g and never writes to it."""
        g = cotangent(f.right(case).shape)
        mine = g.copy()
        f.pull(case.copy(np.float64), mine)
        if not np.array_equal(g, mine):
            raise Broken("vjp(g) changed g.", expected=g, got=mine)


def cotangent(shape):
    """A cotangent of simple numbers, not all ones: softmax and every norm would pass with gradients of 0."""
    values = np.random.default_rng([7, *shape]).permutation(max(1, int(np.prod(shape)))) % 7 - 2.0
    return values.reshape(shape)


def _gradient_holds(f, case, name):
    """The dot-product test in float64: finite differences of the right answer against the gradient that f gives."""
    exact = case.copy(np.float64)
    if exact.everything.get(name) is None:
        return
    g = cotangent(f.right(exact).shape)
    pulled = f.pull(exact, g.copy())[name]

    def forward(*arrays):
        moved = exact.copy()
        for leaf, array in zip(leaves(moved[name]), arrays, strict=True):
            leaf[...] = array
        return [f.right(moved)]

    found = dot_product_test(
        forward,
        leaves(exact[name]),
        [g],
        leaves(pulled),
        rng=np.random.default_rng(11),
        eps=1e-5,
        least=1e-3,
    )
    if found.difference <= 1e-6:
        return
    true = numerical_gradient(f.right, exact, name, g)
    for right, mine in zip(true, leaves(pulled), strict=True):
        try:
            compare(mine, right, 1e-6, 1e-6, f"The gradient of {name}")
        except Broken as broken:
            broken.also = {"g, the cotangent": g}
            raise
    raise Broken(
        f"The gradient of {name} is off by {abs(found.got - found.expected):.2g} along a random direction."
    )
