"""The engine: Tensor, primitive, backward, no_grad. The chain rule as a program.

Not here: the mathematics of single ops (ops/), Tensor's operators and methods (ops/operators.py), second derivatives.
"""

import functools
import inspect
from itertools import chain, count
from operator import attrgetter
from types import FunctionType

import numpy as np

from minivis import complaints, foreign_words
from minivis.backend import as_array, device_of, namespace
from minivis.broadcasting import unbroadcast
from minivis.debugging import debug, debugging, watched, watched_vjp
from minivis.dtypes import careful, is_usual, is_usual_array, with_all_cotangents
from minivis.switches import Switch
from minivis.ways import with_ways

__all__ = ["Tensor", "debug", "no_grad", "primitive", "recording", "unbroadcast"]

_births = count(1)
_unrecorded = Switch("minivis_no_grad")


class Node:
    """One recorded call of an op: its vjp, and the parents that its cotangents go to.

    ``parents`` has a pair for each argument that requires a gradient: its place, and its Node (or itself, for a leaf).
    """

    __slots__ = ("op", "vjp", "parents", "shape", "dtype", "born", "changed")

    def __init__(self, op, vjp, parents, out):
        self.op = op
        self.vjp = vjp
        self.parents = parents
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
        Whether `backward` should leave a gradient in `.grad`. Only floating-point Tensors can have one.

    Attributes
    ----------
    data : ndarray
        The values, on the CPU or the GPU. Do not write into them between forward and backward: backward needs the old
        values. It raises an error after ``x.data += 1`` or an optimiser's step. It cannot notice a write into a part
        (``x.data[0] = 1``) or under another name. ``x.data = x.data + 1`` makes a new array and is safe.
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

    @foreign_words.explained
    def __init__(self, data, requires_grad=False):
        self._data = data if is_usual_array(data) else complaints.tensor_data(data, requires_grad)
        self.grad = None
        self.requires_grad = requires_grad
        self.node = None  # the call that made it; None for a leaf
        self.changed = 0  # when `data` was last changed in place; see `mark_changed`

    def __getattr__(self, name):  # called only for what is not there
        raise foreign_words.no_attribute(self, name, foreign_words.TENSOR)

    def backward(self, grad=None, retain_graph=False):
        """Run the chain rule from this Tensor back to every leaf, adding to each leaf's ``.grad``.

        Parameters
        ----------
        grad : array_like, optional
            The cotangent, of this Tensor's shape. Optional for a Tensor of one element, where the default is 1.
        retain_graph : bool, default False
            Keep the graph for another backward. Otherwise it is consumed, and its memory is freed on the way.

        Raises
        ------
        ValueError
            If ``grad`` is left out for several elements, or has the wrong shape.
        TypeError
            If ``grad`` is on another device.
        RuntimeError
            If nothing here requires a gradient, the graph was consumed by an earlier backward, or data that it needs
            was changed in place since the forward pass. Then no gradient has changed.

        References
        ----------
        Slide ``C/91-backpropagation``.
        """
        if grad is None and self.size == 1:
            grad = namespace(self._data).ones_like(self._data)
        if not is_usual_array(grad) or type(self._data) is not np.ndarray:
            grad = complaints.cotangent_data(grad, self)
        if not self.requires_grad or grad.shape != self.shape:
            raise complaints.no_backward(self, grad)
        root = self.node or Node("a leaf", lambda g: (g,), [(0, self)], self._data)
        backpropagate(root, grad.astype(self.dtype, copy=False), retain_graph)

    def detach(self):
        """A Tensor with the same data that is outside the graph: gradients stop here."""
        return Tensor(self.data)

    def _set_data(self, data):
        if data is self._data:  # x.data += 1 has written into the array and now assigns it
            mark_changed(self)
        self._data = data

    data = property(attrgetter("_data"), _set_data)  # every op reads _data itself, which is faster
    shape = property(attrgetter("_data.shape"), doc="Lengths of the axes, a tuple of int.")
    dtype = property(attrgetter("_data.dtype"), doc="NumPy dtype of the elements.")
    ndim = property(attrgetter("_data.ndim"), doc="Number of axes.")
    size = property(attrgetter("_data.size"), doc="Number of elements.")
    device = property(lambda self: device_of(self._data), doc='"cpu" or "gpu".')


def primitive(function=None, *, dtypes="floating", written=()):
    """Make a differentiable op of ``function``, which takes raw arrays and returns ``(out, vjp)``.

    ``vjp(g)`` takes the cotangent of ``out`` and returns one cotangent (or None) for each parameter, in the order of
    the signature; trailing static parameters are left out. An expensive cotangent may be a function without arguments
    that returns a new array. It is called only if its parameter needs a gradient.
    If any argument is a Tensor, the op records the call. With arrays only, it just computes.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options) -> (out, vjp)``.
    dtypes : {"floating", "met", "numbers", "any"}, default "floating"
        Which arrays the function accepts. "floating": integers in its first argument are refused. "met": they are
        converted to the dtype of the other arguments' floats. "numbers": they are accepted. In all three, float16 is
        computed in float32, and the result and the cotangents are rounded once: sums of float16 would overflow at
        65504. "any": arrays of every dtype are passed on as they are; for functions that move or select elements.
    written : tuple of str, default ()
        Parameters that the function writes into: it gets these arrays themselves, never a copy.

    Returns
    -------
    callable
        The op. ``op.raw`` is the plain function for arrays of any kind; its vjp returns arrays only. ``op.way`` is for use
        inside another op: the function itself, or a faster way where there is one (see `minivis.ways.faster`).
    """
    if function is None:
        return functools.partial(primitive, dtypes=dtypes, written=written)
    name = function.__name__.lstrip("_")
    # the signature is read once, not at every call
    place_of = {parameter: place for place, parameter in enumerate(inspect.signature(function).parameters)}
    way = with_ways(function)
    ways = way.ways
    way_with_care = careful(way, dtypes, written)

    @functools.wraps(function)
    def op(*args, **kwargs):
        given = enumerate(args)
        if kwargs:
            given = chain(given, zip(map(place_of.get, kwargs), kwargs.values(), strict=True))
        arrays, parents, traced, usual = _unwrapped(given)
        options = {key: arrays.pop() for key in reversed(kwargs)} if kwargs else kwargs
        run = way_with_care if not usual else way if ways else function
        try:
            out, vjp = (watched(name, run) if debugging() else run)(*arrays, **options)
        except complaints.CALL_ERRORS as error:
            complaints.explain(error, function, arrays, options)
            raise
        if not traced:
            return out
        # without Tensor(...): an op's result needs none of its checks
        result = Tensor.__new__(Tensor)
        result._data = out if type(out) is np.ndarray else as_array(out)
        result.grad = None
        result.changed = 0
        result.requires_grad = bool(parents) and out.dtype.kind == "f" and not _unrecorded.is_on()
        result.node = Node(name, vjp, parents, out) if result.requires_grad else None
        return result

    op.ways = ways
    op.way = way
    op.raw = with_all_cotangents(careful(function, dtypes, written))
    return op


def _unwrapped(arguments):
    """Take the arrays out of Tensors. ``arguments`` are pairs (place, argument).

    Returns the arguments with arrays instead of Tensors; a pair (place, parent) for each Tensor that requires a
    gradient; whether there was any Tensor; and whether all arrays are usual: plain ones of float32 or float64.
    """
    arrays = []
    parents = []
    traced = False
    usual = True
    for place, x in arguments:
        if isinstance(x, Tensor):
            traced = True
            if x.requires_grad:
                parents.append((place, x.node or x))
            x = x._data
        arrays.append(x)
        usual = usual and is_usual(x)
    return arrays, parents, traced, usual


def mark_changed(tensor):
    """Note that a Tensor's data was written to: a graph recorded earlier may need the old values for backward."""
    (tensor.node or tensor).changed = next(_births)


def backpropagate(root, grad, retain_graph):
    """Walk the graph back from ``root``, the newest node first, and pull the cotangents back.

    A node is newer than its parents. So when its turn comes, all nodes that use its result have added their shares to
    its cotangent. Cotangents are kept in a local dict: a backward that fails leaves none behind.
    """
    cotangents = {root: grad}
    nodes = _history(root)
    vjp_of = watched_vjp if debugging() else attrgetter("vjp")
    while nodes:
        node = nodes.pop()
        _pull_back(node, vjp_of(node), cotangents)
        if not retain_graph:
            node.vjp = None
            node.parents = ()


def _history(root):
    """``root`` and all nodes behind it, oldest first. Refuses a graph that was consumed or whose data was changed."""
    nodes = [root]
    seen = {root}
    for node in nodes:  # the list grows during the loop
        if node.vjp is None or node.changed:
            raise complaints.unusable_graph(node)
        for _, parent in node.parents:
            if type(parent) is Node and parent not in seen:
                seen.add(parent)
                nodes.append(parent)
            elif type(parent) is not Node and parent.changed > node.born:
                raise complaints.changed(f"a leaf {tuple(parent.shape)}, which {node.op} was given,")
    return sorted(nodes, key=attrgetter("born"))


def _pull_back(node, vjp, cotangents):
    """Apply the vjp of one node, and add each share to the cotangent or gradient of its parent."""
    pulled = vjp(cotangents.pop(node))
    for place, parent in node.parents:
        share = pulled[place] if place < len(pulled) else None
        new = type(share) is FunctionType
        share = share() if new else share
        if share is None or share.shape != parent.shape or share.dtype != parent.dtype:
            raise complaints.wrong_cotangent(node.op, place, share, parent)
        if type(parent) is Node:
            # not in place: a share may be a view of an array that another node still needs
            cotangents[parent] = cotangents[parent] + share if parent in cotangents else share
        elif parent.grad is not None:
            parent.grad += share
        else:
            parent.grad = as_array(share) if new else namespace(parent._data).array(share)


def recording():
    """Whether calls are recorded for backward: True outside `no_grad`."""
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
