"""The engine: Tensor, primitive, backward, no_grad. The chain rule as a program.

Not here: any mathematics of a particular op (ops/), the operators of Tensor (ops/operators.py), second derivatives.
"""

import functools
import inspect
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from minivis import backend
from minivis.backend import as_array, is_array
from minivis.debugging import check_backward, check_forward, debug, debugging

__all__ = ["Tensor", "debug", "no_grad", "primitive", "unbroadcast"]

_recording = ContextVar("minivis_recording", default=True)


class Node:
    """One recorded call: how to pull a cotangent back (`vjp`) and to whom (`parents`: other Nodes or leaf Tensors)."""

    __slots__ = ("op", "vjp", "parents", "shape", "dtype")

    def __init__(self, op, vjp, parents, out):
        self.op, self.vjp, self.parents = (
            op,
            vjp,
            parents,
        )  # parents: ((position, index in list or None, parent), ...)
        self.shape, self.dtype = out.shape, out.dtype


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
        The values, on the CPU or the GPU.
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

    __slots__ = ("data", "grad", "requires_grad", "node", "__weakref__")
    __array_ufunc__ = None  # ndarray + Tensor asks Tensor.__radd__ instead of looping over elements

    def __init__(self, data, requires_grad=False):
        if isinstance(data, Tensor):
            raise TypeError("Tensor: data is already a Tensor; use x.detach() for a Tensor outside the graph")
        self.data = data if type(data) is np.ndarray else as_array(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(
                f"Tensor: only floating-point data can require a gradient, got {self.data.dtype.name}"
            )
        self.grad, self.requires_grad, self.node = None, requires_grad, None

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
        RuntimeError
            If nothing here requires a gradient, or the graph was consumed by an earlier backward.
        """
        if grad is None:
            if self.data.size != 1:
                raise ValueError(
                    f"backward: a Tensor of shape {self.shape} needs a cotangent: pass grad of that shape, "
                    "or reduce it first, for example x.sum().backward()"
                )
            grad = backend.namespace(self.data).ones_like(self.data)
        grad = as_array(grad.data if isinstance(grad, Tensor) else grad, like=self.data)
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
        return self.data.item()

    def numpy(self):
        """The data as a ``numpy.ndarray`` on the host (not a copy where it already is one)."""
        return backend.to_numpy(self.data)

    shape = property(lambda self: self.data.shape, doc="Lengths of the axes, a tuple of int.")
    dtype = property(lambda self: self.data.dtype, doc="NumPy dtype of the elements.")
    ndim = property(lambda self: self.data.ndim, doc="Number of axes.")
    size = property(lambda self: self.data.size, doc="Number of elements.")
    device = property(lambda self: backend.device_of(self.data), doc='"cpu" or "gpu".')

    __hash__ = object.__hash__

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


def primitive(function):
    """Make a differentiable op of ``function``, which takes raw arrays and returns ``(out, vjp)``.

    ``vjp(g)`` takes the cotangent of ``out`` and returns one cotangent (or None) for each parameter, in the order of
    the signature; a parameter that is a list of arrays gets a list, and trailing static parameters are left out.
    Called with a Tensor anywhere, the op records; called with arrays only, it just computes.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options) -> (out, vjp)``.

    Returns
    -------
    callable
        The op. Its undecorated function is ``op.raw``.
    """
    parameters = list(inspect.signature(function).parameters)  # looked at once, never when called
    name = function.__name__.lstrip("_")

    @functools.wraps(function)
    def op(*args, **kwargs):
        inputs = args
        if kwargs:  # positions are those of the signature
            inputs = (*args, *(None,) * (len(parameters) - len(args)))
            inputs = [kwargs.get(p, x) for p, x in zip(parameters, inputs, strict=False)] + list(
                args[len(parameters) :]
            )
        parents, traced = [], False
        for position, x in enumerate(inputs):
            if type(x) is Tensor or isinstance(x, Tensor):
                traced = True
                if x.requires_grad:
                    parents.append((position, None, x.node or x))
            elif type(x) is list or type(x) is tuple:
                for index, element in enumerate(x):
                    if isinstance(element, Tensor):
                        traced = True
                        if element.requires_grad:
                            parents.append((position, index, element.node or element))
        try:
            if not traced:
                out = function(*args, **kwargs)[0]
                return check_forward(name, out, inputs) if debugging() else out
            args = [_unwrap(x) for x in args]
            if kwargs:
                kwargs = {key: _unwrap(x) for key, x in kwargs.items()}
            out, vjp = function(*args, **kwargs)
        except (ValueError, IndexError, TypeError) as error:
            raise _explained(error, name, parameters, inputs) from error
        if debugging():
            check_forward(name, out, _unwrap(list(inputs)))
        result = Tensor(out)
        if parents and _recording.get() and result.data.dtype.kind == "f":
            result.requires_grad = True
            result.node = Node(name, vjp, parents, result.data)
        return result

    op.raw = function
    return op


def _explained(error, name, parameters, inputs):
    """The error with the op's name in front and every shape behind it, unless it says so already."""
    if str(error).startswith(f"{name}: "):
        return error.with_traceback(None)
    shapes = [
        f"{p}: {tuple(x.shape)} {x.dtype.name}"
        for p, x in zip(parameters, inputs, strict=False)
        if isinstance(x, Tensor) or is_array(x)
    ]
    kind = (
        TypeError if isinstance(error, TypeError) else IndexError if type(error) is IndexError else ValueError
    )
    return kind(f"{name}: {error}" + (f" ({', '.join(shapes)})" if shapes else ""))


def _unwrap(x):
    """The arrays of a Tensor or of a list of Tensors; anything else as it is."""
    if type(x) is Tensor or isinstance(x, Tensor):
        return x.data
    if type(x) is list or type(x) is tuple:
        return type(x)(e.data if isinstance(e, Tensor) else e for e in x)
    return x


def backpropagate(root, grad, retain_graph):
    """Walk the graph from ``root``, each node after all its children, pulling cotangents back.

    The walk is iterative (graphs are deeper than Python's stack) and counts children first, so that shared parts are
    walked once. Cotangents live in a local dict: an aborted backward leaves nothing behind. Only a sum the walk made
    itself is ever written to, because a vjp may hand out a view or its argument.
    """
    children, stack = {id(root): 0}, [root]
    while stack:
        node = stack.pop()
        if type(node) is Node and node.vjp is None:
            raise RuntimeError(
                f"backward: the graph behind {node.op} was consumed by an earlier backward; "
                "pass retain_graph=True to the earlier one, or compute the forward pass again"
            )
        for _, _, parent in node.parents if type(node) is Node else ():
            if id(parent) not in children:
                children[id(parent)] = 0
                stack.append(parent)
            children[id(parent)] += 1
    cotangents, owned, ready = {id(root): grad}, set(), [root]
    del node, root
    while ready:
        node = ready.pop()
        g = cotangents.pop(id(node))
        if type(node) is not Node:
            _accumulate_leaf(node, g, id(node) in owned)
            continue
        pulled = node.vjp(g)
        if debugging():
            check_backward(node.op, g, pulled)
        for position, index, parent in node.parents:
            cotangent = _cotangent_for(node, g, pulled, position, index, parent)
            key = id(parent)
            if key not in cotangents:
                cotangents[key] = cotangent
            elif key in owned:
                cotangents[key] += cotangent
            else:
                cotangents[key] = cotangents[key] + cotangent
                owned.add(key)
            children[key] -= 1
            if not children[key]:
                ready.append(parent)
        if not retain_graph:
            node.vjp, node.parents = None, ()
        del node, g, pulled, cotangent, parent  # nothing outlives its turn: memory falls as the walk goes


def _accumulate_leaf(leaf, g, owned):
    """Copy the first cotangent of a leaf into an array of its own, add later ones to it."""
    if leaf.grad is None:
        leaf.grad = g if owned and is_array(g) else backend.namespace(leaf.data).array(g)
    else:
        leaf.grad += g


def _cotangent_for(node, g, pulled, position, index, parent):
    """What a vjp returned for one parent, checked against the shape and dtype of that parent."""
    cotangent = pulled[position] if position < len(pulled) else None
    if cotangent is not None and index is not None:
        cotangent = cotangent[index]
    if cotangent is None:
        raise TypeError(
            f"{node.op}: not differentiable in its argument number {position + 1}; pass an array or x.detach()"
        )
    if cotangent.shape != parent.shape or cotangent.dtype != parent.dtype:
        raise AssertionError(
            f"{node.op}: its vjp broke the promise for argument number {position + 1}: cotangent "
            f"{cotangent.dtype.name} {cotangent.shape}, argument {parent.dtype.name} {tuple(parent.shape)}"
        )
    return (
        cotangent if cotangent.shape else backend.namespace(g).asarray(cotangent)
    )  # NumPy scalars become arrays


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
    if not is_array(like):
        return None
    if g.shape != like.shape:
        added = g.ndim - like.ndim
        stretched = [added + i for i, n in enumerate(like.shape) if n == 1 and g.shape[added + i] != 1]
        g = g.sum(axis=(*range(added), *stretched)).reshape(like.shape)
    return g.astype(like.dtype, copy=False)


@contextmanager
def no_grad():
    """Compute without recording: inside, results do not require a gradient and nothing is kept for backward.

    Examples
    --------
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     print((x * 2).requires_grad)
    False
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)
