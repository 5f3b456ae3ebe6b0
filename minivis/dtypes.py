"""Convert the arguments of an op: plain native arrays, float16 to float32, integers only where they make sense.

Not here: what an array is and where it lives (backend.py), the engine that calls these functions (autograd.py).
"""

import functools
import inspect
import operator
from types import FunctionType

import numpy as np

from minivis.backend import check_floating, is_array, plain

__all__ = [
    "at_least_float32",
    "careful",
    "each",
    "is_usual",
    "is_usual_array",
    "made",
    "whole",
    "widened",
    "with_all_cotangents",
]

HALF, SINGLE, DOUBLE = map(np.dtype, (np.float16, np.float32, np.float64))


def at_least_float32(dtype):
    """The dtype in which sums, statistics and coordinates are computed: float32 for float16, otherwise ``dtype``."""
    return SINGLE if dtype == HALF else dtype


def whole(value):
    """Convert an integer to a Python int, and a sequence of integers to a tuple of them; None for anything else.

    Examples
    --------
    >>> whole(np.int64(2)), whole(np.array([1, 2])), whole(1.5)
    (2, (1, 2), None)
    """
    if type(value) is int:
        return value
    try:
        if isinstance(value, (tuple, list)) or getattr(value, "ndim", 0):
            return tuple(map(operator.index, value))
        return operator.index(value)
    except TypeError:
        return None


def each(change, x):
    """Apply ``change`` to an array, or to every array in a list or tuple. Return anything else as it is."""
    if is_array(x):
        return change(x)
    if type(x) in (list, tuple) and any(map(is_array, x)):
        return type(x)(each(change, part) for part in x)
    return x


def is_usual_array(x):
    """Whether ``x`` is an array of the usual kind, which needs no conversion: a plain one of float32 or float64."""
    return type(x) is np.ndarray and (x.dtype is SINGLE or x.dtype is DOUBLE) and x.flags.aligned


def is_usual(x):
    """Whether an op can take ``x`` without conversion: a usual array, or an option such as a number or a text."""
    kind = type(x)
    if kind is np.ndarray:
        return (x.dtype is SINGLE or x.dtype is DOUBLE) and x.flags.aligned
    return kind in _OPTIONS or (kind is tuple and _OPTIONS.issuperset(map(type, x)))


_OPTIONS = {float, int, bool, type(None), str, slice, range, type(...)}


def _arrays(values):
    """Every array among the arguments, also inside lists and tuples."""
    found = []
    for x in values:
        each(found.append, x)
    return found


def _same_memory(x):
    """An array that is written to, as a plain ndarray with the same memory."""
    return np.asarray(x) if isinstance(x, np.ndarray) else x


def widened(x):
    """Convert an array or Tensor of float16 to float32; return any other as it is."""
    return x.astype(SINGLE) if x.dtype == HALF else x


def careful(function, dtypes="floating", written=()):
    """Wrap the function of a `primitive` so that it takes arrays of any kind: they are converted or refused first.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options) -> (out, vjp)``.
    dtypes : {"floating", "met", "numbers", "any"}
        Which arrays the function accepts; see `minivis.autograd.primitive`.
    written : tuple of str
        Parameters that the function writes into: it gets these arrays themselves, never a copy.

    Returns
    -------
    callable
        A function with the same arguments. Foreign arrays become plain ones. Unless ``dtypes`` is "any", float16 is
        computed in float32, and the result and the cotangents are rounded once. Integers are refused if they would
        change the dtype of the result.
    """
    name = function.__name__.lstrip("_")
    # read at the first call, so that imports stay quick
    signature = functools.cache(lambda: inspect.signature(function))

    def prepared(key, value):
        # NumPy's own float64 as an option, such as a rate from linspace, would turn float32 into float64
        if isinstance(value, np.floating) and type(signature().parameters[key].default) in (float, int):
            return float(value)
        return each(_same_memory if key in written else plain, value)

    def call(*args, **options):
        try:
            bound = signature().bind(*args, **options)
        except TypeError:
            return function(*args, **options)  # this call raises the error
        given = bound.arguments
        x = next(iter(given))
        given.update({key: prepared(key, value) for key, value in given.items()})
        if dtypes == "any":
            return function(*bound.args, **bound.kwargs)
        _refuse_lists(name, given)
        floats = {array.dtype for array in _arrays(given.values()) if array.dtype.kind == "f"}
        if dtypes != "numbers" and getattr(given[x], "dtype", SINGLE).kind != "f":
            if dtypes == "floating" or not floats:
                check_floating(name, given[x], x)
            given[x] = given[x].astype(np.result_type(*floats))
        arguments = _in_order(bound)
        all_of_half = {HALF} == floats if dtypes == "numbers" else getattr(given[x], "dtype", None) == HALF
        if HALF in floats:
            given.update({k: v if k in written else each(widened, v) for k, v in given.items()})
        out, vjp = function(*bound.args, **bound.kwargs)
        _check_result_dtype(name, out, set(map(at_least_float32, floats)), given)
        if HALF not in floats:
            return out, vjp
        if out.dtype == SINGLE and all_of_half:
            out = out.astype(HALF)
        return out, _rounded(vjp, out.dtype, arguments)

    return call


def _refuse_lists(name, given):
    """Refuse a list of Tensors: a vjp returns one cotangent per parameter, not one per element of a list."""
    for key, value in given.items():
        if type(value) is list and any(hasattr(x, "requires_grad") for x in value):
            raise TypeError(
                f"{name}: {key} is a list of Tensors; stack them first, or write the op with *{key}"
            )


def _in_order(bound):
    """The arguments in the order of their cotangents: the order of the signature, with ``*arrays`` one by one."""
    if any(p.kind is p.VAR_POSITIONAL for p in bound.signature.parameters.values()):
        return bound.args
    return [bound.arguments.get(key) for key in bound.signature.parameters]


def _check_result_dtype(name, out, floats, given):
    """Refuse integer arguments if, because of them, the result has another dtype than the floats that were given."""
    if out.dtype.kind != "f" or out.dtype in floats:
        return
    for key, value in given.items():
        for x in _arrays([value]):
            if x.dtype.kind in "iu":
                check_floating(name, x, key)


def _rounded(vjp, dtype, arguments):
    """The vjp of an op whose float16 arguments became float32: each cotangent gets the dtype of its argument."""

    def narrow(part, x):
        if part is None or not is_array(x):
            return part
        if type(part) is FunctionType:
            return lambda: narrow(part(), x)
        return part.astype(x.dtype, copy=False)

    def pull(g):
        parts = vjp(widened(g) if dtype == HALF else g)
        return tuple(narrow(part, x) for part, x in zip(parts, arguments, strict=False))

    return pull


def made(pulled):
    """The cotangents that a vjp returned; those that are functions are called."""
    return tuple(part() if type(part) is FunctionType else part for part in pulled)


def with_all_cotangents(function):
    """Wrap the function of a `primitive` so that its vjp returns arrays only, no functions."""

    @functools.wraps(function)
    def call(*args, **options):
        out, vjp = function(*args, **options)
        return out, lambda g: made(vjp(g))

    return call
