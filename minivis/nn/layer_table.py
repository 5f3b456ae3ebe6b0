"""A table of a model's layers: the output shape, parameters and multiply-adds of each.

Not here: activations and memory. Multiply-adds are counted from the ops on the tape of one forward pass.
"""

import html
import math
from collections import Counter, namedtuple
from dataclasses import is_dataclass

from minivis.nn.calls import record_calls, tensors
from minivis.nn.receptive_field import sliding_layers

__all__ = ["Summary", "Table", "summary"]

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


def _neighbour_scores(out, shapes):
    return math.prod(out) * (shapes[0] if 0 in shapes else shapes[1])[2]


def _neighbour_sum(out, shapes):
    if 0 in shapes:
        return math.prod(out) * shapes[0][2]
    (*_, height, width) = shapes[1]
    (*_, rows, columns) = out
    return math.prod(out) * (height - rows + 1) * (width - columns + 1)


# op -> multiply-adds from the shapes of its output and of its differentiable inputs by position
PRODUCTS = {
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "conv_transpose2d": _conv_transpose,
    "neighbour_scores": _neighbour_scores,
    "neighbour_sum": _neighbour_sum,
}
UNCOUNTED = ("einsum",)  # its subscripts are not on the tape
# of these too, if the kernel is fixed
KERNELS = ("conv1d", "conv2d", "conv3d", "conv_transpose2d")


class Table:
    """Rows of text that print as a table, also in a notebook.

    A subclass has ``_cells()``, which gives the lines as tuples of texts, the head first, and ``_note()``, the text below.
    """

    left = 3  # so many columns are words; the others are numbers

    def __repr__(self):
        cells = list(self._cells())
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                text.ljust(w) if i < self.left else text.rjust(w)
                for i, (text, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, self._note()])

    def _repr_html_(self):
        head, *body = self._cells()

        def line(row, tag):
            words = ['style="text-align:left;white-space:pre"'] * self.left
            style = [*words, *['style="text-align:right"'] * (len(row) - self.left)]
            cells = zip(row, style, strict=True)
            return "<tr>" + "".join(f"<{tag} {s}>{html.escape(text)}</{tag}>" for text, s in cells) + "</tr>"

        rows = "".join(line(row, "td") for row in body)
        return (
            f"<table><thead>{line(head, 'th')}</thead><tbody>{rows}</tbody></table>"
            f"<p>{html.escape(self._note())}</p>"
        )


class Summary(Table):
    """The result of `summary`; it prints as a table, also in a notebook.

    Attributes
    ----------
    rows : list of Row
        ``depth, name, kind, shape, parameters, multiply_adds`` of every stage; the first is the whole model. Shape and
        multiply-adds are None for a stage that was not called.
    parameters : int
        Number of parameters of the whole model; shared parameters count once.
    multiply_adds : int
        Multiply-adds of the whole forward pass, for the whole batch.
    uncounted : dict
        The number of calls of each op whose multiply-adds are not counted.
    layers : list of (int, int, int)
        Kernel, stride and dilation of the convolutions and poolings from the images to the output, along the branch that
        sees most: ``minivis.vision.field_of_view(summary.layers)`` is the field of view of the last map.
    """

    def __init__(self, rows, inputs, uncounted, layers=()):
        self.rows = rows
        self.layers = list(layers)
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
        uncounted = "".join(f"; {n} calls of {op} not counted" for op, n in self.uncounted.items())
        return f"multiply-adds for the input {self.inputs}{uncounted}"


def summary(model, input, depth=2):
    """List every stage of a model: its output shape, its parameters and its multiply-adds.

    Parameters
    ----------
    model : Module
        The model. It runs once, in evaluation mode, and is not changed.
    input : ndarray, Tensor, or tuple
        The model's input: an array, a tuple of several arguments, or a shape such as ``(1, 3, 224, 224)`` for a float32
        array of zeros.
    depth : int, default 2
        How many levels of nested stages to list.

    Returns
    -------
    Summary
        Prints as a table.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.
    RuntimeError
        Inside `no_grad`, where there is no tape.

    Notes
    -----
    Multiply-adds are those of linear layers, matrix products, attention and convolutions, as papers count them (some
    call them FLOPs). Norms, softmax and activations are not counted; their cost is smaller by orders of magnitude. Ops
    under `no_grad` are not on the tape, so they are not counted either.

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
    calls = record_calls("summary", model, input)
    products, uncounted = _products(calls)
    found = {id(call.module): call for call in calls}  # the last call, if there are several
    rows = [
        Row(
            level,
            label,
            type(m).__name__,
            _shapes(found[id(m)].out) if id(m) in found else None,
            _size(m),
            products.get(id(m)),
        )
        for level, label, m in _labelled(model, model.named_modules())
        if level <= depth
    ]
    given = [value for _, value in calls[0].given if hasattr(value, "shape")]
    return Summary(rows, ", ".join(str(tuple(a.shape)) for a in given), uncounted, sliding_layers(calls))


def _products(calls):
    """The multiply-adds inside each called module, and the number of calls of each op that is not counted."""
    products = Counter()
    uncounted = Counter()
    inside = Counter()
    for call in reversed(calls):  # a call comes after its caller
        inside[id(call)] += sum(_multiply_adds(node) for node in call.nodes)
        products[id(call.module)] += inside[id(call)]
        inside[id(call.caller)] += inside[id(call)]
        uncounted.update(node.op for node in call.nodes if node.op in UNCOUNTED or _has_fixed_kernel(node))
    return products, uncounted


def _multiply_adds(node):
    if node.op not in PRODUCTS or _has_fixed_kernel(node):
        return 0
    shapes = {place: parent.shape for place, parent in node.parents}
    return PRODUCTS[node.op](node.shape, shapes)


def _has_fixed_kernel(node):
    return node.op in KERNELS and 1 not in dict(node.parents)


def _labelled(model, modules):
    """(level, label, module): the level is the nesting depth; the label is the name without the enclosing module's."""
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


def _shapes(out):
    """The shapes of the returned Tensors as text; for a dataclass the name of its type."""
    found = [] if is_dataclass(out) else tensors(out)
    return ", ".join(str(tuple(t.shape)) for t in found) or type(out).__name__
