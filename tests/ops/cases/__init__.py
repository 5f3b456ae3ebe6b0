"""The table behind the laws of every op: rows of inputs, and rows of mistakes with the error they must raise.

One file for each file that has ops, each with `CASES` and `ERRORS`. Not here: the laws (tests/ops/test_every_op.py).
"""

import importlib
import pkgutil
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Draw:
    """A random array for one input, drawn for each seed: float64, or another kind if it is not differentiable."""

    make: object
    shape: tuple
    differentiable: bool = True


def normal(*shape):
    """Standard normal values."""
    return Draw(lambda rng: rng.standard_normal(shape), shape)


def uniform(low, high, *shape):
    """Uniform values in [low, high)."""
    return Draw(lambda rng: rng.uniform(low, high, shape), shape)


def positive(*shape):
    """Values in [0.5, 2): safe for log, sqrt and division."""
    return uniform(0.5, 2.0, *shape)


def distinct(*shape):
    """Values at least 0.3 apart and 0.15 from 0: no ties, no kinks within reach of a finite difference."""

    def make(rng):
        n = int(np.prod(shape))
        values = 0.3 * (np.arange(n) - n // 2) + 0.15 + rng.uniform(-0.02, 0.02, n)
        return rng.permutation(values).reshape(shape)

    return Draw(make, shape)


def integers(low, high, *shape):
    """int64 values in [low, high): indices, labels. Not differentiable."""
    return Draw(lambda rng: rng.integers(low, high, shape), shape, differentiable=False)


def booleans(*shape, share=0.7):
    """Random booleans, True with the given probability. Not differentiable."""
    return Draw(lambda rng: rng.random(shape) < share, shape, differentiable=False)


def constant(values, differentiable=False):
    """A given array, the same for every seed."""
    values = np.asarray(values)
    return Draw(lambda rng: values.copy(), values.shape, differentiable)


def several(*draws):
    """A list of arrays, for ops such as concatenate."""
    return list(draws)


@dataclass(frozen=True)
class Case:
    """One row: an op and its arguments by name; a `Draw` means an array, a list of them means a list of arrays."""

    op: str
    arguments: dict = field(hash=False)

    def inputs(self, rng, dtype=np.float64):
        """The arguments with every `Draw` drawn; floats in ``dtype``."""

        def draw(value):
            if isinstance(value, Draw):
                x = value.make(rng)
                return x.astype(dtype) if x.dtype.kind == "f" else x
            if isinstance(value, list) and value and isinstance(value[0], Draw):
                return [draw(v) for v in value]
            return value

        return {name: draw(value) for name, value in self.arguments.items()}

    def differentiable(self):
        """Names of the arguments that get gradients."""
        draws = {n: v[0] if isinstance(v, list) and v else v for n, v in self.arguments.items()}
        return [n for n, v in draws.items() if isinstance(v, Draw) and v.differentiable]

    def __str__(self):
        def word(v):
            if isinstance(v, list) and v and isinstance(v[0], Draw):
                return "[" + ",".join(word(d) for d in v) + "]"
            return "x".join(map(str, v.shape)) or "scalar" if isinstance(v, Draw) else str(v).replace(" ", "")

        return f"{self.op}-" + "-".join(f"{n}={word(v)}" for n, v in self.arguments.items())


@dataclass(frozen=True)
class Error:
    """One mistake: the arguments of a call, the exception it must raise and a part of its message."""

    op: str
    exception: type
    message: str
    arguments: dict = field(hash=False)

    def __str__(self):
        return f"{self.op}-{self.message}".replace(" ", "_")


def case(op, **arguments):
    """A row of `CASES`, arguments in the order of the op's signature."""
    return Case(op, arguments)


def error(op, exception, message, **arguments):
    """A row of `ERRORS`: calling ``op(**arguments)`` raises ``exception`` and the text contains ``message``."""
    return Error(op, exception, message, arguments)


def gather():
    """All rows of all files in this folder: (cases, errors)."""
    cases, errors = [], []
    for module in pkgutil.iter_modules(__path__):
        rows = importlib.import_module(f"{__name__}.{module.name}")
        cases += rows.CASES
        errors += rows.ERRORS
    return cases, errors
