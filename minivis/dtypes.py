"""What an op computes with: plain arrays of this machine, float16 as float32, integers only where they have a meaning.

Not here: what an array is and where it lives (backend.py), the engine that asks (autograd.py).
"""

import functools
import inspect
from types import FunctionType

import numpy as np

from minivis.backend import check_floating, is_array, plain

__all__ = ["at_least_float32", "careful", "each"]

HALF, SINGLE, DOUBLE = map(np.dtype, (np.float16, np.float32, np.float64))


def at_least_float32(dtype):
    """The dtype in which sums, statistics and coordinates are formed: float32 for float16, otherwise itself."""
    return SINGLE if dtype == HALF else dtype


def each(change, x):
    """``change`` of an array, or of every array in a list of them; anything else as it is."""
    if is_array(x):
        return change(x)
    if type(x) in (list, tuple) and any(map(is_array, x)):
        return type(x)(each(change, part) for part in x)
    return x


def _arrays(values):
    """Every array among the arguments, those in lists too."""
    found = []
    for x in values:
        each(found.append, x)
    return found


def _widened(x):
    return x.astype(SINGLE) if x.dtype == HALF else x


def careful(function, dtypes="floating", written=()):
    """The function of a `primitive` for any arrays: it gets only what it can compute with.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options) -> (out, vjp)``.
    dtypes : {"floating", "numbers", "any"}
        What the function is meant for, as `minivis.autograd.primitive` says.
    written : tuple of str
        Parameters that the function writes to: they enter as they are.

    Returns
    -------
    callable
        The same, with the same arguments. Foreign arrays enter as plain ones. Unless ``dtypes`` is "any", float16 enters
        as float32, and the result and the cotangents are rounded once; integers are refused where they would change the
        dtype.
    """
    name = function.__name__.lstrip("_")
    parameters = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args, **options):
        keys = [*parameters[: len(args)], *[None] * (len(args) - len(parameters))]
        args = [x if key in written else each(plain, x) for key, x in zip(keys, args, strict=True)]
        options = {key: x if key in written else each(plain, x) for key, x in options.items()}
        if dtypes == "any":
            return function(*args, **options)
        given = dict(zip(keys, args, strict=True)) | options
        given = {key: given.get(key) for key in parameters}
        if dtypes == "floating":
            each(lambda x: check_floating(name, x, parameters[0]), given[parameters[0]])
        floats = [x.dtype for x in _arrays(given.values()) if x.dtype.kind == "f"]
        if HALF not in floats:
            out, vjp = function(*args, **options)
            _check_promise(name, out, floats, given)
            return out, vjp
        args = [x if key in written else each(_widened, x) for key, x in zip(keys, args, strict=True)]
        options = {key: x if key in written else each(_widened, x) for key, x in options.items()}
        out, vjp = function(*args, **options)
        if floats[0] == HALF if dtypes == "floating" else all(dtype == HALF for dtype in floats):
            out = out.astype(HALF) if out.dtype == SINGLE else out
        return out, _rounded(vjp, out.dtype, list(given.values()))

    return call


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
        if part is None or not (is_array(x) or isinstance(x, (list, tuple))):
            return part
        if type(part) is FunctionType:
            return lambda: narrow(part(), x)
        if is_array(x):
            return part.astype(x.dtype, copy=False)
        return [narrow(p, y) for p, y in zip(part, x, strict=True)]

    def pull(g):
        parts = vjp(_widened(g) if dtype == HALF else g)
        return tuple(narrow(part, x) for part, x in zip(parts, arguments, strict=False))

    return pull
