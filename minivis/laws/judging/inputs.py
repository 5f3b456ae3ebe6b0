"""The inputs of laws: a Case is one call, drawn with small shapes and simple numbers.

``draw`` is Hypothesis' own, which can make a counterexample smaller, or a NumPy generator, whose cases are
independent. Not here: which inputs a law uses; each family defines them.
"""

import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

__all__ = [
    "Case",
    "choose",
    "copied",
    "distinct",
    "flags",
    "generator",
    "integer",
    "normals",
    "numbers",
    "pair",
    "pairs",
    "without_defaults",
    "sizes",
]


@dataclass
class Case:
    """One call of the judged function: ``args`` are passed by position, ``options`` by name."""

    function: str
    args: dict
    options: dict

    @classmethod
    def of(cls, function, parameters, given):
        """Sort drawn arguments into those passed by position (no default) and those passed by name."""
        required = [
            n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        options = {name: value for name, value in given.items() if name not in required}
        return cls(function, {name: given[name] for name in required}, options)

    @property
    def everything(self):
        return {**self.args, **self.options}

    def copy(self, dtype=None):
        """The same call with copies of the arrays; float arrays are converted to ``dtype``, if given."""
        args = {name: copied(value, dtype) for name, value in self.args.items()}
        return Case(self.function, args, {n: copied(value, dtype) for n, value in self.options.items()})

    def replace(self, **changed):
        """The same call with some arguments changed."""
        args = {name: changed.get(name, value) for name, value in self.args.items()}
        return Case(
            self.function, args, {**self.options, **{n: v for n, v in changed.items() if n not in args}}
        )

    def key(self):
        """A text that is the same for equal cases."""
        return repr([(name, _key(value)) for name, value in self.everything.items()])

    def __getitem__(self, name):
        return self.everything[name]


def leaves(value):
    """The float arrays in an argument: itself, the values of a dict, or none."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [value] if isinstance(value, np.ndarray) and value.dtype.kind == "f" else []


def copied(value, dtype):
    """A copy of an argument; float arrays are converted to ``dtype``, if given. A copied generator draws the same again."""
    if isinstance(value, np.random.Generator):
        return copy.deepcopy(value)
    if isinstance(value, dict):
        return {name: copied(item, dtype) for name, item in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    return value.astype(dtype) if dtype is not None and value.dtype.kind == "f" else value.copy()


def _key(value):
    if isinstance(value, dict):
        return [(name, _key(item)) for name, item in value.items()]
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return (value.shape, value.dtype.name, value.tobytes()) if isinstance(value, np.ndarray) else value


def integer(draw, low, high):
    """A whole number from low to high, both included; shrinks towards low."""
    if isinstance(draw, np.random.Generator):
        return int(draw.integers(low, high, endpoint=True))
    return draw(st.integers(low, high))


def choose(draw, *options):
    """One of the options; shrinks towards the first."""
    if isinstance(draw, np.random.Generator):
        return options[draw.integers(len(options))]
    return draw(st.sampled_from(options))


def sizes(draw, count, low=2, high=4):
    """A shape: ``count`` axes of low to high elements."""
    return tuple(integer(draw, low, high) for _ in range(count))


def pair(draw, low, high):
    """A number for both axes, or one for each."""
    a = integer(draw, low, high)
    return (a, integer(draw, low, high)) if choose(draw, False, True) else a


def without_defaults(options, **defaults):
    """The options that differ from their default: a call that leaves out the others must give the same."""
    return {name: value for name, value in options.items() if name not in defaults or value != defaults[name]}


def pairs(low, high):
    """All pairs of numbers from low to high, the smallest first, to `choose` two sizes in one draw."""
    return sorted(itertools.product(range(low, high + 1), repeat=2), key=math.prod)


def numbers(draw, shape, scale=1.0, offset=0.0, dtype=np.float32):
    """An array of simple numbers: zeros and ones for the first seeds, tenths between -3 and 3 for later ones.

    One seed is drawn, not every element. Drawing and shrinking stay fast, and a counterexample still ends with the
    smallest shape and simple numbers.
    """
    seed = integer(draw, 0, 60)
    rng = np.random.default_rng([seed, *shape])
    if seed < 4:
        values = rng.integers(0, 2, shape)
    elif seed < 20:
        values = rng.integers(-3, 4, shape)
    else:
        values = rng.integers(-30, 31, shape) / 10
    return (values * scale + offset).astype(dtype)


def generator(draw):
    """A NumPy generator with a drawn seed: each case has its own numbers."""
    return np.random.default_rng(integer(draw, 0, 2**32 - 1))


def normals(draw, shape, scale=1.0, dtype=np.float32):
    """An array of normally distributed numbers with two decimals, for laws about any numbers."""
    return (generator(draw).normal(size=shape).round(2) * scale).astype(dtype)


def distinct(draw, shape, spacing=0.5, dtype=np.float32):
    """An array whose numbers differ by ``spacing`` or more: no ties, and no kinks nearby."""
    seed = integer(draw, 0, 60)
    count = int(np.prod(shape))
    values = np.arange(count) if seed == 0 else np.random.default_rng([seed, *shape]).permutation(count)
    return ((values - count // 2) * spacing).reshape(shape).astype(dtype)


def flags(draw, shape, keep=0.6):
    """A boolean array, True with probability ``keep``."""
    seed = integer(draw, 0, 60)
    return np.random.default_rng([seed, *shape]).random(shape) < keep
