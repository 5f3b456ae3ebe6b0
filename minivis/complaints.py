"""Error messages that name the op, the argument and every shape. For the engine; readers of ops can skip this file.

Not here: the checks of each op (ops/), finding the first NaN (debugging.py).
"""

import functools
import inspect

import numpy as np

from minivis import foreign_words
from minivis.backend import ArrayError, as_array, is_array, namespace, plain
from minivis.dtypes import each

__all__ = [
    "CALL_ERRORS", "changed", "cotangent_data", "explain", "named", "no_backward", "tensor_data", "unusable_graph",
    "wrong_cotangent",
]  # fmt: skip

CALL_ERRORS = (ValueError, IndexError, TypeError, AttributeError)  # what a call with wrong arguments raises


def named(function):
    """Decorate a function of Tensors that is not a `primitive`: plain arrays go in, errors have its name and shapes."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            args = [each(plain, x) for x in args]
            kwargs = {key: each(plain, x) for key, x in kwargs.items()}
            return function(*args, **kwargs)
        except CALL_ERRORS as error:
            explain(error, function, args, kwargs)
            raise

    return call


def explain(error, function, arrays, options):
    """Raise the error of a function again, with its name in front and every shape behind, unless it has them already.

    The new error is not kept in a variable, and no error is raised from itself. Either would make a reference cycle,
    which keeps the arrays of all frames alive until the garbage collector runs.
    """
    name = function.__name__.lstrip("_")
    parameters = inspect.signature(function).parameters
    if str(error).startswith(f"{name}: "):
        return
    if foreign := [key for key in options if key not in parameters]:
        hint = (
            f": np.{name} is for arrays; x.{name}(), or np.{name}(x.numpy())"
            if foreign[0] in ("dtype", "out") and hasattr(np, name)
            else foreign_words.hint(foreign[0], parameters)
        )
        raise TypeError(
            f"{name}: there is no argument {foreign[0]!r}{hint} (there are {', '.join(parameters)})"
        ) from error
    inputs = [*_by_name(function, arrays), *options.items()]
    if isinstance(error, AttributeError):  # an argument that is not an array was asked for its shape
        wrong = [p for p, x in inputs if _holds(x, error.obj) and hasattr(np.ndarray, error.name)]
        if not wrong or _has_shape(error.obj):
            return  # a bug in the op, not a mistake of the caller
        raise TypeError(f"{name}: {wrong[0]} must be an array or a Tensor, got {_kind(error.obj)}") from error
    # NumPy's AxisError is both a ValueError and an IndexError: here it becomes a ValueError
    kinds = (TypeError, ValueError, IndexError)
    kind = next(kind for kind in kinds if isinstance(error, kind))
    shapes = [f"{p}: {shape}" for p, x in inputs if (shape := _shape_in_words(x))]
    raise kind(f"{name}: {error}" + (f" ({', '.join(shapes)})" if shapes else "")) from error


def _by_name(function, arrays):
    """Pairs of parameter name and positional argument; the arguments of ``*arrays`` are one tuple."""
    try:
        return inspect.signature(function).bind_partial(*arrays).arguments.items()
    except TypeError:  # too many arguments
        return zip(inspect.signature(function).parameters, arrays, strict=False)


def _holds(x, value):
    """Whether an argument is this value, or one of several arguments of the same parameter is."""
    return x is value or type(x) is tuple and any(part is value for part in x)


def _kind(x):
    hint = "; wrap it in mv.Tensor(...)" if isinstance(x, (list, tuple, int, float)) else ""
    return type(x).__name__ + hint


def _has_shape(x):
    """Whether it is an array or a Tensor."""
    return is_array(x) or is_array(getattr(x, "data", None))


def _shape_in_words(x):
    """Shape and dtype of an array or Tensor, or of each one in a list; an empty text for anything else."""
    if isinstance(x, (list, tuple)):
        words = [_shape_in_words(part) for part in x]
        return f"[{', '.join(words)}]" if words and all(words) else ""
    return f"{tuple(x.shape)} {x.dtype.name}" if _has_shape(x) else ""


def tensor_data(data, requires_grad):
    """Convert ``data`` to the array of a Tensor, or raise an error."""
    if hasattr(data, "requires_grad"):
        raise TypeError("Tensor: data is already a Tensor; use x.detach() for a Tensor outside the graph")
    try:
        array = as_array(data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Tensor: {error}") from error
    if requires_grad and array.dtype.kind != "f":
        raise TypeError(f"Tensor: only floating-point data can require a gradient, got {array.dtype.name}")
    return array


def cotangent_data(grad, tensor):
    """Convert the ``grad`` of `Tensor.backward` to an array, or raise an error."""
    if grad is None:
        raise ValueError(
            f"backward: a Tensor of shape {tensor.shape} needs a cotangent: pass grad of that shape, "
            "or reduce it first, for example x.sum().backward()"
        )
    grad = as_array(grad.data if hasattr(grad, "requires_grad") else grad, like=tensor.data)
    try:
        namespace(grad, tensor.data)
    except ArrayError as error:
        raise TypeError(f"backward: grad and Tensor are {error}") from None
    return grad


def no_backward(tensor, grad):
    """The error for a backward that cannot start."""
    if grad.shape != tensor.shape:
        return ValueError(f"backward: grad has shape {grad.shape}, but the Tensor has shape {tensor.shape}")
    return RuntimeError(
        "backward: no gradient can flow: no input had requires_grad=True, or it was computed under no_grad()"
    )


def unusable_graph(node):
    """The error for a recorded call whose vjp can no longer be used."""
    if node.vjp is not None:
        return changed(f"the result of {node.op}")
    return RuntimeError(
        f"backward: the graph behind {node.op} was consumed by an earlier backward; "
        "pass retain_graph=True to the earlier one, or compute the forward pass again"
    )


def changed(what):
    """The error for data that was changed in place between forward and backward."""
    return RuntimeError(
        f"backward: the data of {what} was changed in place after the forward pass (by x.data += ..., or by an optimiser's "
        "step), but its gradient needs the values as they were: compute the forward pass again, change them before it, or "
        "give x a new array, x.data = x.data + ..."
    )


def wrong_cotangent(op, place, cotangent, parent):
    """The error for a cotangent that is missing, or differs in shape or dtype from the argument it belongs to."""
    if cotangent is None:
        return TypeError(
            f"{op}: not differentiable in its argument number {place + 1}; pass an array or x.detach()"
        )
    return AssertionError(
        f"{op}: its vjp must return a cotangent {parent.dtype.name} {tuple(parent.shape)} for argument number {place + 1}, "
        f"got {cotangent.dtype.name} {cotangent.shape}"
    )
