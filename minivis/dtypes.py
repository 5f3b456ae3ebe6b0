"""What an op computes with: plain arrays of this machine, float16 as float32, integers where they have a meaning, Python's int.

Not here: what an array is and where it lives (backend.py), the engine that asks (autograd.py).
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
    """The dtype in which sums, statistics and coordinates are formed: float32 for float16, otherwise itself."""
    return SINGLE if dtype == HALF else dtype


def whole(value):
    """An option that is an integer, or several, as Python's int or a tuple of them; None for anything else.

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
    """``change`` of an array, or of every array in a list of them; anything else as it is."""
    if is_array(x):
        return change(x)
    if type(x) in (list, tuple) and any(map(is_array, x)):
        return type(x)(each(change, part) for part in x)
    return x


def is_usual_array(x):
    """Whether ``x`` is an array as ops nearly always get it: a plain one of float32 or float64."""
    return type(x) is np.ndarray and (x.dtype is SINGLE or x.dtype is DOUBLE) and x.flags.aligned


def is_usual(x):
    """Whether an op can take ``x`` as it is: such an array, or no array at all."""
    kind = type(x)
    if kind is np.ndarray:
        return (x.dtype is SINGLE or x.dtype is DOUBLE) and x.flags.aligned
    return kind in _OPTIONS or (kind is tuple and _OPTIONS.issuperset(map(type, x)))


_OPTIONS = {float, int, bool, type(None), str, slice, range, type(...)}


def _arrays(values):
    """Every array among the arguments, those in lists too."""
    found = []
    for x in values:
        each(found.append, x)
    return found


def _bare(x):
    """An array that is written to, of no subclass: the same memory."""
    return np.asarray(x) if isinstance(x, np.ndarray) else x


def widened(x):
    """An array or Tensor of float16 in float32, any other as it is."""
    return x.astype(SINGLE) if x.dtype == HALF else x


def careful(function, dtypes="floating", written=()):
    """The function of a `primitive` for any arrays: it gets only what it can compute with.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options) -> (out, vjp)``.
    dtypes : {"floating", "met", "numbers", "any"}
        What the function is meant for, as `minivis.autograd.primitive` says.
    written : tuple of str
        Parameters that the function writes to: never a copy enters, in whatever dtype they are.

    Returns
    -------
    callable
        The same, with the same arguments. Foreign arrays enter as plain ones. Unless ``dtypes`` is "any", float16 enters
        as float32, and the result and the cotangents are rounded once; integers are refused where they would change the
        dtype.
    """
    name = function.__name__.lstrip("_")
    # looked at where it is needed, so that imports stay quick
    signature = functools.cache(lambda: inspect.signature(function))

    def prepared(key, value):
        return each(_bare if key in written else plain, value)

    def call(*args, **options):
        try:
            bound = signature().bind(*args, **options)
        except TypeError:
            return function(*args, **options)  # which raises the error
        given = bound.arguments
        x = next(iter(given))
        _refuse_lists(name, given)
        given.update({key: prepared(key, value) for key, value in given.items()})
        if dtypes == "any":
            return function(*bound.args, **bound.kwargs)
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
        _check_promise(name, out, set(map(at_least_float32, floats)), given)
        if HALF not in floats:
            return out, vjp
        if out.dtype == SINGLE and all_of_half:
            out = out.astype(HALF)
        return out, _rounded(vjp, out.dtype, arguments)

    return call


def _refuse_lists(name, given):
    """Refuse a list of Tensors: nobody could tell their cotangents apart."""
    for key, value in given.items():
        if type(value) is list and any(hasattr(x, "requires_grad") for x in value):
            raise TypeError(
                f"{name}: {key} is a list of Tensors; stack them first, or write the op with *{key}"
            )


def _in_order(bound):
    """The arguments in the order of the cotangents: that of the signature; those of ``*arrays`` one by one."""
    if any(p.kind is p.VAR_POSITIONAL for p in bound.signature.parameters.values()):
        return bound.args
    return [bound.arguments.get(key) for key in bound.signature.parameters]


def _check_promise(name, out, floats, given):
    """Refuse integers of which, or beside which, NumPy has made another dtype than that of the floats that came in."""
    if out.dtype.kind != "f" or out.dtype in floats:
        return
    for key, value in given.items():
        for x in _arrays([value]):
            if x.dtype.kind in "iu":
                check_floating(name, x, key)


def _rounded(vjp, dtype, arguments):
    """The vjp of an op whose float16 arguments entered as float32: each cotangent gets the dtype of its argument."""

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
    """The cotangents that a vjp returned, those that are still functions made."""
    return tuple(part() if type(part) is FunctionType else part for part in pulled)


def with_all_cotangents(function):
    """The function of a `primitive`, whose vjp returns arrays only."""

    @functools.wraps(function)
    def call(*args, **options):
        out, vjp = function(*args, **options)
        return out, lambda g: made(vjp(g))

    return call
