"""The debug switch: find the op that made the first NaN or inf, forward or backward.

Not here: the engine that calls these functions (autograd.py).
"""

import numpy as np

from minivis.backend import describe, device_of, is_array, namespace
from minivis.dtypes import made
from minivis.switches import Switch

__all__ = ["debug", "debugging", "may_read", "watched", "watched_vjp"]

_checking = Switch("minivis_debugging")
debugging = _checking.is_on


def debug():
    """Find the first NaN or inf: inside, every op and every vjp is checked. The error names the op and its shapes.

    Returns
    -------
    context manager
        Blocks may be left in any order; see ``minivis.switches.Switch``. It also decorates functions.

    Raises
    ------
    FloatingPointError
        If a result or a cotangent is not finite although all inputs were.

    Examples
    --------
    >>> import minivis as mv
    >>> with mv.debug():
    ...     mv.ops.log(mv.Tensor([0.0, 1.0]))
    Traceback (most recent call last):
    FloatingPointError: log: made the first inf (forward) from inputs float32 (2,) on cpu; all were finite
    """
    return _checking.on()


def may_read(x):
    """Whether a check may read the values of ``x``: on the CPU always, on a GPU only inside `debug`.

    Reading from a GPU means waiting for all work that is queued there. Without the check, wrong values give NaN.
    """
    return device_of(x) == "cpu" or debugging()


def _finite(x):
    # NumPy returns scalars instead of arrays without axes
    x = np.asarray(x) if isinstance(x, np.generic) else x
    return not is_array(x) or x.dtype.kind != "f" or bool(namespace(x).isfinite(x).all())


def _flat(values):
    for x in values:
        if isinstance(x, (list, tuple)):
            yield from _flat(x)
        elif is_array(x) or isinstance(x, np.generic):
            yield np.asarray(x) if isinstance(x, np.generic) else x


def watched(name, function):
    """The function of an op, with an error if its result is the first with NaN or inf (NumPy only warns)."""

    def call(*arrays, **options):
        with np.errstate(all="ignore"):
            out, vjp = function(*arrays, **options)
        inputs = list(_flat([*arrays, *options.values()]))
        if not _finite(out) and all(map(_finite, inputs)):
            shapes = ", ".join(map(describe, inputs))
            what = "nan" if bool((out != out).any()) else "inf"  # only a nan differs from itself
            raise FloatingPointError(
                f"{name}: made the first {what} (forward) from inputs {shapes}; all were finite"
            )
        return out, vjp

    return call


def watched_vjp(node):
    """The vjp of a recorded call, with an error if it makes the first NaN or inf."""

    def pull(g):
        with np.errstate(all="ignore"):
            pulled = made(node.vjp(g))
        for place, cotangent in enumerate(pulled, 1):
            if cotangent is not None and not _finite(cotangent) and _finite(g):
                raise FloatingPointError(
                    f"{node.op}: made the first nan or inf (backward), in cotangent {place} of shape "
                    f"{cotangent.shape}, from an incoming cotangent of shape {g.shape}"
                )
        return pulled

    return pull
