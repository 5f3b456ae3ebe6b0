"""A table of what a model is made of: every stage's output shape, parameters and multiply-adds.

Not here: activations and memory. The products are read off the tape: what was computed is what is counted.
"""

import html
import math
from collections import Counter, namedtuple

import numpy as np

from minivis.autograd import Node, Tensor
from minivis.backend import is_array, move
from minivis.nn.module import Module

__all__ = ["Summary", "summary"]

Row = namedtuple("Row", "depth name kind shape parameters multiply_adds")


def _linear(out, shapes):
    return math.prod(out) * shapes[1][-1]


def _matmul(out, shapes):
    inner = shapes[0][-1] if 0 in shapes else shapes[1][-2 if len(shapes[1]) > 1 else 0]
    return math.prod(out) * inner


def _attention(out, shapes):
    keys = shapes[1] if 1 in shapes else shapes[2]
    width = shapes[0][-1] if 0 in shapes else shapes[1][-1]
    return math.prod(out[:-1]) * keys[-2] * (width + out[-1])  # Q K^T and A V


def _conv(out, shapes):
    return math.prod(out) * math.prod(shapes[1][1:])


def _conv_transpose(out, shapes):
    return math.prod(shapes[0]) * math.prod(shapes[1][1:])


# op -> multiply-adds from the shapes of its output and of its differentiable inputs by position
PRODUCTS = {
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "conv_transpose2d": _conv_transpose,
}
UNCOUNTED = ("einsum",)  # its letters are not on the tape


class Summary:
    """What `summary` found; prints as a table, in a notebook as well.

    Attributes
    ----------
    rows : list of Row
        ``depth, name, kind, shape, parameters, multiply_adds`` of every stage; the first is the whole model. Shape and
        multiply-adds are None for a stage that was not called.
    parameters : int
        Of the whole model, each counted once.
    multiply_adds : int
        Of the whole forward pass, for the whole batch.
    uncounted : dict
        How often an op was called whose products are not counted.
    """

    def __init__(self, rows, inputs, uncounted):
        self.rows = rows
        self.inputs = inputs
        self.uncounted = dict(uncounted)
        self.parameters, self.multiply_adds = rows[0].parameters, rows[0].multiply_adds

    def _cells(self):
        yield ("stage", "layer", "output shape", "parameters", "multiply-adds")
        for row in self.rows:
            shape = "not called" if row.shape is None else row.shape
            products = "" if row.multiply_adds is None else f"{row.multiply_adds:,}"
            yield ("  " * row.depth + row.name, row.kind, shape, f"{row.parameters:,}", products)

    def _note(self):
        left = "".join(f"; {n} calls of {op} not counted" for op, n in self.uncounted.items())
        return f"multiply-adds for the input {self.inputs}{left}"

    def __repr__(self):
        cells = list(self._cells())
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                text.ljust(w) if i < 3 else text.rjust(w)
                for i, (text, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, self._note()])

    def _repr_html_(self):
        head, *body = self._cells()

        def line(row, tag):
            style = ['style="text-align:left;white-space:pre"'] * 3 + ['style="text-align:right"'] * 2
            cells = zip(row, style, strict=True)
            return "<tr>" + "".join(f"<{tag} {s}>{html.escape(text)}</{tag}>" for text, s in cells) + "</tr>"

        rows = "".join(line(row, "td") for row in body)
        return (
            f"<table><thead>{line(head, 'th')}</thead><tbody>{rows}</tbody></table>"
            f"<p>{html.escape(self._note())}</p>"
        )


def summary(model, input, depth=2):
    """List every stage of a model: its output shape, its parameters and its multiply-adds.

    Parameters
    ----------
    model : Module
        Runs once, in evaluation mode; it is left as it was.
    input : ndarray, Tensor, or tuple
        What the model is called with: an array, a tuple of several arguments, or a shape such as ``(1, 3, 224, 224)``
        for a float32 array of zeros.
    depth : int, default 2
        How deep to look into stages of stages.

    Returns
    -------
    Summary
        Prints as a table.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.

    Notes
    -----
    Multiply-adds are those of linear layers, matrix products, attention and convolutions, as papers count them (some
    call them FLOPs); norms, softmax and activations cost less by orders of magnitude and are left out. What a model
    computes under `no_grad` is not on the tape and not counted.

    Examples
    --------
    >>> from minivis import nn
    >>> summary(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (2, 3))
    stage       layer       output shape  parameters  multiply-adds
    ---------------------------------------------------------------
    Sequential  Sequential  (2, 4)                16             24
      0         Linear      (2, 4)                16             24
      1         ReLU        (2, 4)                 0              0
    ---------------------------------------------------------------
    multiply-adds for the input (2, 3)
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: model must be a Module, got {type(model).__name__}")
    arguments = _arguments(model, input)
    modules = model.named_modules()
    watch = _Watch()
    training = [(m, m.training) for _, m in modules]
    frozen = [p for p in model.parameters() if not p.requires_grad and p.dtype.kind == "f"]
    try:
        model.eval()
        for p in frozen:
            p.requires_grad = True  # else its products would not be on the tape
        for _, module in modules:
            module.forward = watch.wrap(module)
        model(*arguments)
    finally:
        for module, mode in training:
            vars(module).pop("forward", None)
            module.training = mode
        for p in frozen:
            p.requires_grad = False
    rows = [
        Row(
            level,
            label,
            type(m).__name__,
            *watch.found.get(id(m), (None,)),
            _size(m),
            watch.products.get(id(m)),
        )
        for level, label, m in _labelled(model, modules)
        if level <= depth
    ]
    return Summary(rows, ", ".join(str(tuple(a.shape)) for a in arguments), watch.uncounted)


def _arguments(model, input):
    """The call's arguments; floating arrays become Tensors that are on the tape."""
    if isinstance(input, tuple) and input and all(isinstance(n, int) for n in input):
        device = next((p.device for p in model.parameters()), "cpu")
        input = move(np.zeros(input, np.float32), device)
    arrays = [
        a.data if isinstance(a, Tensor) else a for a in (input if isinstance(input, tuple) else (input,))
    ]
    return [Tensor(a, requires_grad=True) if is_array(a) and a.dtype.kind == "f" else a for a in arrays]


def _labelled(model, modules):
    """(level, label, module): the level counts modules on the way, and the label starts after the one above."""
    names = {}
    for name, module in modules:
        above = [n for n in names if n and name.startswith(f"{n}.")]
        closest = max(above, key=len, default="")
        level = 0 if not name else 1 + names.get(closest, 0)
        names[name] = level
        label = name[len(closest) + 1 :] if closest else name
        yield level, label or type(model).__name__, module


def _size(module):
    return sum(p.size for p in module.parameters())


class _Watch:
    """Notes, for every module that is called, the shape it returned and the products made inside it."""

    def __init__(self):
        self.found = {}
        self.products = Counter()
        self.uncounted = Counter()
        self._seen = {}  # id -> Node, which keeps the node alive and its id taken
        self._open = [0]  # multiply-adds of each call under way, the outermost first

    def wrap(self, module):
        forward = module.forward

        def watched(*args, **kwargs):
            self._open[-1] += self._new([args, kwargs])  # made by the caller before it called
            self._open.append(0)
            out = forward(*args, **kwargs)
            made = self._open.pop() + self._new(out)
            self._open[-1] += made
            self.products[id(module)] += made
            self.found[id(module)] = (_shapes(out),)
            return out

        return watched

    def _new(self, values):
        """Multiply-adds of the recorded calls behind some values that were not counted before."""
        total = 0
        stack = [t.node for t in _tensors(values)]
        while stack:
            node = stack.pop()
            if type(node) is not Node or id(node) in self._seen:
                continue
            self._seen[id(node)] = node
            if node.op in PRODUCTS:
                total += PRODUCTS[node.op](
                    node.shape, {place: parent.shape for place, parent in node.parents}
                )
            self.uncounted.update([node.op] if node.op in UNCOUNTED else [])
            stack += [parent for _, parent in node.parents]
        return total


def _tensors(values):
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _tensors(value)


def _shapes(out):
    """The shapes of the Tensors that were returned, in words."""
    return ", ".join(str(tuple(t.shape)) for t in _tensors(out)) or type(out).__name__
