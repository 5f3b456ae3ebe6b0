"""The engine: Tensor, primitive, backward, no_grad. The chain rule as a program.

Not here: any mathematics of a particular op (ops/), the operators of Tensor (ops/operators.py), second derivatives.
"""

import functools
import inspect
from itertools import count, zip_longest
from operator import attrgetter
from types import FunctionType

import numpy as np

from minivis import backend
from minivis.backend import as_array, is_array, plain
from minivis.debugging import check_backward, check_forward, debug, debugging, quietly
from minivis.dtypes import DOUBLE, SINGLE, at_least_float32, careful, each
from minivis.switches import Switch

__all__ = ["Tensor", "debug", "no_grad", "primitive", "recording", "unbroadcast"]

_births = count(1)
_unrecorded = Switch("minivis_no_grad")


class Node:
    """One recorded call: how to pull a cotangent back (`vjp`) and to whom (`parents`: other Nodes or leaf Tensors)."""

    __slots__ = ("op", "vjp", "parents", "shape", "dtype", "born", "changed")

    def __init__(self, op, vjp, parents, out):
        self.op, self.vjp = op, vjp
        self.parents = parents  # in the order of the cotangents; None where none is wanted
        self.shape = out.shape
        self.dtype = out.dtype
        self.born = next(_births)
        self.changed = 0  # when the result was last changed in place; see `mark_changed`


class Tensor:
    """An array that remembers how it was made, so that gradients can flow back through it.

    Parameters
    ----------
    data : array_like
        An array keeps its dtype and is not copied; lists and Python numbers become float32.
    requires_grad : bool, default False
        Whether `backward` should leave a gradient in `.grad`. Only floating-point Tensors may ask.

    Attributes
    ----------
    data : ndarray
        The values, on the CPU or the GPU. ``x.data += 1`` between forward and backward is noticed, and backward refuses:
        it needs the values as they were. So is an optimiser's step. Nobody can notice who writes into the array by
        another name, or into a part of it (``x.data[0] = 1``); ``x.data = x.data + 1`` is a new array and does no harm.
    grad : ndarray or None
        After `backward`, the derivative of the scalar with respect to this leaf: shape and dtype of `data`.
    requires_grad : bool
        Whether gradients flow through it.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("_data", "grad", "requires_grad", "node", "changed", "__weakref__")
    __array_ufunc__ = None  # ndarray + Tensor asks Tensor.__radd__ instead of looping over elements

    def __init__(self, data, requires_grad=False):
        if type(data) is np.ndarray and (data.dtype is SINGLE or data.dtype is DOUBLE) and data.flags.aligned:
            self._data = data  # as nearly always
        elif isinstance(data, Tensor):
            raise TypeError("Tensor: data is already a Tensor; use x.detach() for a Tensor outside the graph")
        else:
            try:
                self._data = as_array(data)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Tensor: {error}") from error
        if requires_grad and self._data.dtype.kind != "f":
            raise TypeError(
                f"Tensor: only floating-point data can require a gradient, got {self._data.dtype.name}"
            )
        self.grad = None
        self.requires_grad = requires_grad
        self.node = None
        self.changed = 0  # when `data` was last changed in place; see `mark_changed`

    def backward(self, grad=None, retain_graph=False):
        """Run the chain rule from this Tensor back to every leaf, adding to each leaf's ``.grad``.

        Parameters
        ----------
        grad : array_like, optional
            The cotangent, of this Tensor's shape. May be left out for a Tensor of one element, where it is 1.
        retain_graph : bool, default False
            Keep the graph for another backward. Otherwise it is consumed, and its memory freed, on the way.

        Raises
        ------
        ValueError
            If ``grad`` is left out for several elements, or has the wrong shape.
        TypeError
            If ``grad`` is on another device.
        RuntimeError
            If nothing here requires a gradient, the graph was consumed by an earlier backward, or data that it needs was
            changed in place since the forward pass. No gradient was changed.
        """
        if grad is None:
            if self.data.size != 1:
                raise ValueError(
                    f"backward: a Tensor of shape {self.shape} needs a cotangent: pass grad of that shape, "
                    "or reduce it first, for example x.sum().backward()"
                )
            grad = backend.namespace(self.data).ones_like(self.data)
        grad = as_array(grad.data if isinstance(grad, Tensor) else grad, like=self.data)
        try:
            backend.namespace(grad, self.data)
        except backend.ArrayError as error:
            raise TypeError(f"backward: grad and Tensor are {error}") from None
        if grad.shape != self.shape:
            raise ValueError(f"backward: grad has shape {grad.shape}, but the Tensor has shape {self.shape}")
        if not self.requires_grad:
            raise RuntimeError(
                "backward: no gradient can flow: no input had requires_grad=True, or it was computed under no_grad()"
            )
        backpropagate(self.node or self, grad.astype(self.dtype, copy=False), retain_graph)

    def detach(self):
        """A Tensor with the same data that is outside the graph: gradients stop here."""
        return Tensor(self.data)

    def item(self):
        """The only element, as a Python number."""
        if self.data.size != 1:
            raise ValueError(f"item: a Tensor of shape {self.shape} has {self.size} elements, not one")
        return self.data.item()

    def numpy(self):
        """The data as a ``numpy.ndarray`` on the host (not a copy where it already is one)."""
        return backend.to_numpy(self.data)

    def _set_data(self, data):
        if data is self._data:  # the second half of x.data += 1, which has written into the array
            mark_changed(self)
        self._data = data

    data = property(attrgetter("_data"), _set_data)  # the engine reads _data: this happens in every op
    shape = property(attrgetter("_data.shape"), doc="Lengths of the axes, a tuple of int.")
    dtype = property(attrgetter("_data.dtype"), doc="NumPy dtype of the elements.")
    ndim = property(attrgetter("_data.ndim"), doc="Number of axes.")
    size = property(attrgetter("_data.size"), doc="Number of elements.")
    device = property(lambda self: backend.device_of(self._data), doc='"cpu" or "gpu".')

    __hash__ = object.__hash__

    def __getstate__(self):
        """What `copy` and pickling take along: a leaf. What was computed has a graph behind it, which cannot be copied."""
        if self.node is not None:
            raise TypeError(
                f"copy: this {type(self).__name__} {self.shape} is a result (made by {self.node.op}), not a leaf: "
                "x.detach() is the same data without its graph, which can be copied"
            )
        return self._data, self.grad, self.requires_grad

    def __setstate__(self, state):
        self._data, self.grad, self.requires_grad = state
        self.node = None
        self.changed = 0

    def __len__(self):
        if not self.data.ndim:
            raise TypeError("len() of a Tensor without axes")
        return len(self.data)

    def __iter__(self):
        if not self.data.ndim:
            raise TypeError("iteration over a Tensor without axes")
        return (self[i] for i in range(len(self.data)))

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        if self.data.size != 1:
            raise ValueError(
                f"the truth of a Tensor of shape {self.shape} is ambiguous; use .data.any() or .data.all()"
            )
        return bool(self.item())

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise TypeError("this Tensor is part of a graph; take x.numpy() or mv.to_numpy(x) to leave it")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __repr__(self):
        values = np.array2string(
            self.numpy(), precision=4, separator=", ", prefix="Tensor(", threshold=60, edgeitems=3
        )
        made = (
            f", made by {self.node.op}" if self.node else ", requires_grad=True" if self.requires_grad else ""
        )
        device = "" if self.device == "cpu" else f", device={self.device}"
        return f"Tensor({values}, shape={self.shape}, {self.dtype.name}{device}{made})"


_OPTIONS = {float, int, bool, type(None), str, slice, range, type(...)}


def _usual(x):
    """Whether an op can take ``x`` as it is: a plain array of float32 or float64, or no array at all."""
    kind = type(x)
    if kind is np.ndarray:
        return (x.dtype is SINGLE or x.dtype is DOUBLE) and x.flags.aligned
    return kind in _OPTIONS or (kind is tuple or kind is list) and _OPTIONS.issuperset(map(type, x))


def primitive(function=None, *, dtypes="floating", written=()):
    """Make a differentiable op of ``function``, which takes raw arrays and returns ``(out, vjp)``.

    ``vjp(g)`` takes the cotangent of ``out`` and returns one cotangent (or None) for each parameter, in the order of
    the signature; a parameter that is a list of arrays gets a list, and trailing static parameters are left out. One
    that costs much may be a function without arguments, which returns a new array; it is called only for a parameter
    that wants its gradient.
    Called with a Tensor anywhere, the op records; called with arrays only, it just computes.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options) -> (out, vjp)``.
    dtypes : {"floating", "met", "numbers", "any"}, default "floating"
        What the function is meant for. "floating": integers in its first argument are refused. "met": they take the dtype
        of the floats that they meet. "numbers": they enter. In all three, float16 enters as float32, and the result and
        the cotangents are rounded once: sums of float16 would overflow at 65504. "any": the function moves elements or
        picks some; all enter as they are.
    written : tuple of str, default ()
        Parameters that the function writes to; their arrays are never replaced by a copy.

    Returns
    -------
    callable
        The op. ``op.raw`` is the function itself, with all cotangents made. Arrays of another byte order, unaligned ones
        and those of a subclass of ndarray reach it as plain ones.
    """
    if function is None:
        return functools.partial(primitive, dtypes=dtypes, written=written)
    with_care = careful(function, dtypes, written)
    parameters = list(inspect.signature(function).parameters)  # looked at once, never when called
    position_of = {parameter: position for position, parameter in enumerate(parameters)}
    name = function.__name__.lstrip("_")

    @functools.wraps(function)
    def op(*args, **kwargs):
        arrays = []
        parents = []
        options = kwargs
        traced = wanted = lists = False
        usual = True
        for x in args:
            parent = None
            if isinstance(x, Tensor):
                traced = True
                if x.requires_grad:
                    wanted = True
                    parent = x.node or x
                x = x._data
                usual = usual and (x.dtype is SINGLE or x.dtype is DOUBLE)
            elif type(x) is list or type(x) is tuple:
                x, parent, traced_too = _enter(x)
                traced = traced or traced_too
                lists = lists or parent is not None
                usual = usual and _usual(x)
            elif type(x) not in _OPTIONS:
                usual = usual and _usual(x)
            arrays.append(x)
            parents.append(parent)
        if kwargs:
            options = {}
            parents = parents + [None] * (len(parameters) - len(parents))
            for key, x in kwargs.items():
                options[key], parent, traced_too = _enter(x)
                traced = traced or traced_too
                lists = lists or type(parent) is list
                usual = usual and _usual(options[key])
                if parent is not None and key in position_of:
                    wanted = True
                    parents[position_of[key]] = parent
        checked = debugging()
        run = function if usual else with_care
        run = quietly(run) if checked else run
        try:
            out, vjp = run(*arrays, **options) if options else run(*arrays)
        except _CALLERS as error:
            _explain(error, name, parameters, arrays, options)
            raise
        if checked:
            check_forward(name, out, [*arrays, *options.values()])
        if not traced:
            return out
        result = Tensor.__new__(Tensor)  # what an op made needs no second look
        result._data = out = out if type(out) is np.ndarray else as_array(out)
        result.grad = None
        result.changed = 0
        if lists:
            wanted, parents, vjp = True, *_side_by_side(parents, vjp)
        if wanted and out.dtype.kind == "f" and not _unrecorded.is_on():
            result.requires_grad = True
            result.node = Node(name, vjp, parents, out)
        else:
            result.requires_grad = False
            result.node = None
        return result

    @functools.wraps(function)
    def raw(*args, **kwargs):
        out, vjp = with_care(*args, **kwargs)
        return out, lambda g: _pull(vjp, g)

    op.raw = raw
    return op


def _pull(vjp, g):
    """All cotangents that a vjp gives for ``g``."""
    return _made(vjp(g))


def _made(pulled):
    """The cotangents that a vjp returned, those that are still functions made."""
    return tuple(part() if type(part) is FunctionType else part for part in pulled)


def _enter(x):
    """The array of a Tensor, a list with the arrays of its Tensors, or x itself; the parent or parents; whether it had Tensors."""
    if isinstance(x, Tensor):
        return x._data, (x.node or x) if x.requires_grad else None, True
    if type(x) is list or type(x) is tuple:
        for part in x:
            if isinstance(part, Tensor):
                arrays, parents, _ = zip(*map(_enter, x), strict=True)
                wanted = any(parent is not None for parent in parents)
                return type(x)(arrays), list(parents) if wanted else None, True
    return x, None, False


def _side_by_side(parents, vjp):
    """The parents in a list beside the others instead, and their cotangents where they are."""

    def flat(of):
        for parent, part in zip_longest(parents, of):
            if type(parent) is list:
                yield from (None if part is None else part[index] for index in range(len(parent)))
            else:
                yield part

    return list(flat(parents)), lambda g: tuple(flat(vjp(g)))


def mark_changed(tensor):
    """Note that somebody wrote into the data of a Tensor: a graph that was recorded before may have kept the array."""
    (tensor.node or tensor).changed = next(_births)


def named(function):
    """For a function of Tensors that is no `primitive`: its errors too tell its name and every shape, its arrays are plain too."""
    parameters = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            args = [each(plain, x) for x in args]
            kwargs = {key: each(plain, x) for key, x in kwargs.items()}
            return function(*args, **kwargs)
        except _CALLERS as error:
            _explain(error, function.__name__, parameters, args, kwargs)
            raise

    return call


_CALLERS = (ValueError, IndexError, TypeError, AttributeError)  # what a wrong call ends in


def _explain(error, name, parameters, arrays, options):
    """Raise the error again with the op's name in front and every shape behind it, unless it says so already.

    Nobody raises an error from itself, or keeps the new one in a variable: it would be a cycle, which holds the arrays of
    every frame on its way until the garbage collector comes.
    """
    if str(error).startswith(f"{name}: "):
        return
    if foreign := [key for key in options if key not in parameters]:
        hint = (
            f"; np.{name} is for arrays: x.{name}(), or np.{name}(x.numpy())"
            if foreign[0] in ("dtype", "out")
            else ""
        )
        raise TypeError(
            f"{name}: there is no argument {foreign[0]!r}; there are {', '.join(parameters)}{hint}"
        ) from error
    inputs = [*zip(parameters, arrays, strict=False), *options.items()]
    if isinstance(error, AttributeError):  # what is no array was asked for its shape
        wrong = [p for p, x in inputs if x is error.obj and hasattr(np.ndarray, error.name)]
        if not wrong or isinstance(error.obj, Tensor) or is_array(error.obj):
            return  # a mistake of ours, not of the caller
        raise TypeError(f"{name}: {wrong[0]} must be an array or a Tensor, got {_kind(error.obj)}") from error
    kinds = (TypeError, ValueError, IndexError)  # NumPy's AxisError is both of the last: a ValueError here
    kind = next(kind for kind in kinds if isinstance(error, kind))
    shapes = [f"{p}: {shape}" for p, x in inputs if (shape := _shape_in_words(x))]
    raise kind(f"{name}: {error}" + (f" ({', '.join(shapes)})" if shapes else "")) from error


def _kind(x):
    hint = "; wrap it in mv.Tensor(...)" if isinstance(x, (list, tuple, int, float)) else ""
    return type(x).__name__ + hint


def _shape_in_words(x):
    """Shape and dtype of an array or Tensor, of each in a list of them; nothing for anything else."""
    if isinstance(x, (list, tuple)):
        words = [_shape_in_words(part) for part in x]
        return f"[{', '.join(words)}]" if words and all(words) else ""
    return f"{tuple(x.shape)} {x.dtype.name}" if isinstance(x, Tensor) or is_array(x) else ""


def backpropagate(root, grad, retain_graph):
    """Walk the graph from ``root``, the newest node first, pulling cotangents back.

    A node is newer than all it was made from, so whoever uses its result has given its share when its turn comes. Cotangents
    live in a local dict: an aborted backward leaves no trace of them. Only what the walk made itself, a sum or a new
    array from a function, is ever written to, because a vjp may hand out a view or its argument.
    """
    if type(root) is not Node:
        return _accumulate_leaf(root, grad, False)
    nodes = [root]
    seen = {root}
    for node in nodes:  # which grows as it is read
        if node.vjp is None:
            raise RuntimeError(
                f"backward: the graph behind {node.op} was consumed by an earlier backward; "
                "pass retain_graph=True to the earlier one, or compute the forward pass again"
            )
        if node.changed:
            raise _changed(f"the result of {node.op}")
        for parent in node.parents:
            if type(parent) is Node:
                if parent not in seen:
                    seen.add(parent)
                    nodes.append(parent)
            elif parent is not None and parent.changed > node.born:
                raise _changed(f"a leaf {tuple(parent.shape)}, which {node.op} was given,")
    nodes.sort(key=attrgetter("born"))
    cotangents = {root: grad}
    owned = set()
    checked = debugging()
    node = parent = root = grad = seen = None  # nothing outlives its turn: memory falls as the walk goes
    while nodes:
        node = nodes.pop()
        g = cotangents.pop(node)
        pulled = quietly(_pull)(node.vjp, g) if checked else node.vjp(g)
        if checked:
            check_backward(node.op, g, pulled)
        for parent, cotangent in zip_longest(node.parents, pulled):
            if parent is None:
                continue
            made = type(cotangent) is FunctionType
            if made:
                cotangent = cotangent()
            shape = cotangent.shape if cotangent is not None else None
            if shape != parent.shape or cotangent.dtype != parent.dtype:
                raise _broken_promise(node, pulled)
            if not shape:
                cotangent = backend.namespace(g).asarray(cotangent)  # NumPy scalars become arrays
            if type(parent) is not Node:
                _accumulate_leaf(parent, cotangent, made)
            elif parent not in cotangents:
                cotangents[parent] = cotangent
                if made:
                    owned.add(parent)
            elif parent in owned:
                cotangents[parent] += cotangent
            else:
                cotangents[parent] = cotangents[parent] + cotangent
                owned.add(parent)
        if not retain_graph:
            node.vjp = None
            node.parents = ()
        del node, g, pulled, cotangent, parent


def _changed(what):
    return RuntimeError(
        f"backward: the data of {what} was changed in place after the forward pass (by x.data += ..., or by an optimiser's "
        "step), but its gradient needs the values as they were: compute the forward pass again, change them before it, or "
        "give x a new array, x.data = x.data + ..."
    )


def _accumulate_leaf(leaf, g, owned):
    """Copy the first cotangent of a leaf into an array of its own, add later ones to it."""
    if leaf.grad is None:
        leaf.grad = g if owned and is_array(g) else backend.namespace(leaf.data).array(g)
    else:
        leaf.grad += g


def _broken_promise(node, pulled):
    """The error for the first cotangent that is missing or does not have the shape and dtype of what it belongs to."""
    for position, (parent, cotangent) in enumerate(zip_longest(node.parents, _made(pulled)), 1):
        if parent is not None and cotangent is None:
            return TypeError(
                f"{node.op}: not differentiable in its argument number {position}; pass an array or x.detach()"
            )
        if parent is not None and (cotangent.shape, cotangent.dtype) != (parent.shape, parent.dtype):
            return AssertionError(
                f"{node.op}: its vjp broke the promise for argument number {position}: cotangent "
                f"{cotangent.dtype.name} {cotangent.shape}, argument {parent.dtype.name} {tuple(parent.shape)}"
            )


def unbroadcast(g, like):
    """Undo NumPy broadcasting in a cotangent: sum over every axis along which ``like`` was repeated.

    Parameters
    ----------
    g : ndarray
        Cotangent of a broadcast result.
    like : ndarray or number
        The operand as it was before broadcasting. For a plain number there is nothing to pull back to: None.

    Returns
    -------
    ndarray or None
        Cotangent with shape and dtype of ``like``.

    Examples
    --------
    >>> unbroadcast(np.ones((2, 3)), np.ones((3,)))
    array([2., 2., 2.])
    """
    if type(like) is np.ndarray and g.shape == like.shape and g.dtype is like.dtype:  # as nearly always
        return g
    if not is_array(like):
        return None
    if g.shape != like.shape:
        added = g.ndim - like.ndim
        stretched = [added + i for i, n in enumerate(like.shape) if n == 1 and g.shape[added + i] != 1]
        g = g.sum(axis=(*range(added), *stretched), dtype=at_least_float32(g.dtype)).reshape(like.shape)
    return g.astype(like.dtype, copy=False)


def recording():
    """Whether calls are recorded for backward: not inside `no_grad`."""
    return not _unrecorded.is_on()


def no_grad():
    """Compute without recording: inside, results do not require a gradient and nothing is kept for backward.

    Returns
    -------
    context manager
        Blocks may be left in any order; see ``minivis.switches.Switch``. It also decorates functions.

    Examples
    --------
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     print((x * 2).requires_grad)
    False
    """
    return _unrecorded.on()
