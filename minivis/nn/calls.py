"""Record one forward pass: every call of a module, its arguments and result, and the ops that it made itself.

Not here: the table (layer_table.py) and the drawing (viz/data_flow.py) made from the record.
"""

import inspect
from dataclasses import is_dataclass

import numpy as np

from minivis.autograd import Node, Tensor, recording
from minivis.backend import is_array, move
from minivis.nn.module import Module

__all__ = []


class Call:
    """One call of a module.

    Attributes
    ----------
    name : str
        Name of the module, as in ``model.named_modules()``.
    module : Module
        The module that was called.
    caller : Call or None
        The call that made this call; None for the model's own.
    given : list of (str, object)
        The arguments with the names of ``forward``'s parameters.
    out : object
        The result.
    nodes : list of Node
        The ops that it recorded itself, without those of the calls inside it.
    """

    def __init__(self, name, module, caller, given):
        self.name = name
        self.module = module
        self.caller = caller
        self.given = given
        self.out = None
        self.nodes = []


def record_calls(function, model, input):
    """Run a model once, in evaluation mode, and return its calls in the order in which they began, its own first.

    Parameters
    ----------
    function : str
        Name of the public function, for error messages.
    model : Module
        The model. It is not changed.
    input : ndarray, Tensor, or tuple
        The model's input: an array, a tuple of several arguments, or a shape such as ``(1, 3, 224, 224)`` for a float32
        array of zeros.

    Returns
    -------
    list of Call

    Raises
    ------
    TypeError
        If ``model`` is not a Module.
    RuntimeError
        Inside `no_grad`, where no op is recorded.

    Examples
    --------
    >>> from minivis import nn
    >>> [call.name for call in record_calls("example", nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (2, 3))]
    ['', '0', '1']
    """
    if not isinstance(model, Module):
        raise TypeError(f"{function}: model must be a Module, got {type(model).__name__}")
    if not recording():
        raise RuntimeError(f"{function}: nothing is recorded inside no_grad(); call it outside")
    arguments = _arguments(model, input)
    recorder = _Recorder()
    training = [(m, m.training) for m in model.modules()]
    own_forwards = [(m, vars(m).get("forward")) for m in model.modules()]
    frozen = [p for p in model.parameters() if not p.requires_grad and p.dtype.kind == "f"]
    try:
        model.eval()
        for p in frozen:
            p.requires_grad = True  # otherwise ops on it would not be on the tape
        for name, module in model.named_modules():
            module.forward = recorder.wrap(name, module)
        model(*arguments)
    finally:
        for module, mode in training:
            module.training = mode
        for module, forward in own_forwards:
            vars(module).pop("forward", None)
            if forward is not None:
                module.forward = forward
        for tensor in [*frozen, *recorder.marked]:
            tensor.requires_grad = False
    return recorder.calls


def _arguments(model, input):
    """The arguments of the call. Floating-point arrays, in lists and dicts too, become Tensors that are on the tape."""
    if isinstance(input, tuple) and input and all(isinstance(n, int) for n in input):
        device = next((p.device for p in model.parameters()), "cpu")
        input = move(np.zeros(input, np.float32), device)
    return [_on_tape(argument) for argument in (input if isinstance(input, tuple) else (input,))]


def _on_tape(value):
    if isinstance(value, (list, tuple)):
        return [_on_tape(element) for element in value]
    if isinstance(value, dict):
        return {key: _on_tape(element) for key, element in value.items()}
    value = value.data if isinstance(value, Tensor) else value
    return Tensor(value, requires_grad=True) if is_array(value) and value.dtype.kind == "f" else value


class _Recorder:
    """Records every call, and for each op on the tape the innermost call that made it."""

    def __init__(self):
        self.calls = []
        self.marked = []  # constants that a module returned, put on the tape to see where they are used
        self._seen = {}  # id -> Node: keeps the nodes alive, so that no id is used twice
        self._open = []

    def wrap(self, name, module):
        forward = module.forward
        signature = inspect.signature(forward)

        def watched(*args, **kwargs):
            caller = self._open[-1] if self._open else None
            if caller is not None:
                caller.nodes += self._new_nodes([args, kwargs])  # the caller made these before the call
            call = Call(name, module, caller, _named(signature, args, kwargs))
            self.calls.append(call)
            self._open.append(call)
            try:
                call.out = forward(*args, **kwargs)
            finally:
                self._open.pop()
            call.nodes += self._new_nodes(call.out)
            self._mark(call.out)
            return call.out

        return watched

    def _new_nodes(self, values):
        """The ops on the tape behind some values that were not seen before."""
        found = []
        stack = [t.node for t in tensors(values)]
        while stack:
            node = stack.pop()
            if type(node) is Node and id(node) not in self._seen:
                self._seen[id(node)] = node
                found.append(node)
                stack += [parent for _, parent in node.parents]
        return found

    def _mark(self, out):
        for tensor in tensors(out):
            if not tensor.requires_grad and tensor.dtype.kind == "f":
                tensor.requires_grad = True
                self.marked.append(tensor)


def _named(signature, args, kwargs):
    """The arguments with the names of their parameters."""
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:  # the call itself will raise the error
        return []
    named = []
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named += [(name, element) for element in value]
        else:
            named += value.items() if kind is inspect.Parameter.VAR_KEYWORD else [(name, value)]
    return named


def tensors(values):
    """The Tensors in lists, tuples, dicts and dataclasses."""
    if is_dataclass(values):
        values = vars(values)
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from tensors(value)
