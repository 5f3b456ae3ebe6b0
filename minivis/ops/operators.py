"""The table that gives Tensor its operators, methods and Python protocols. They are bound once, on import.

Not here: what the operators compute (each is an op in another file of this folder).
"""

import numpy as np

from minivis.autograd import Tensor, primitive
from minivis.backend import is_array, namespace, to_numpy
from minivis.ops import activation, index, linalg, reduce, shape
from minivis.ops import arithmetic as a
from minivis.ops import functions as f

__all__ = []


def _swapped(op):
    return lambda self, other: op(other, self)


def _varargs(op):
    """Accept ``x.reshape(2, 3)`` as well as ``x.reshape((2, 3))``, as NumPy does."""
    return lambda self, *args: op(
        self, args[0] if len(args) == 1 and not isinstance(args[0], int) else args or None
    )


@primitive(dtypes="any")
def astype(x, dtype):
    """Convert to another dtype. The gradient has the old dtype."""
    return x.astype(dtype), lambda g: (g.astype(x.dtype),)


def _comparison(name):
    def compare(self, other):
        other = other.data if isinstance(other, Tensor) else other
        if is_array(other):
            namespace(self.data, other)  # refuses arrays of different devices
        return getattr(self.data, name)(other)

    return compare


def item(self):
    """The only element, as a Python number."""
    if self.size != 1:
        raise ValueError(f"item: a Tensor of shape {self.shape} has {self.size} elements, not one")
    return self.data.item()


def numpy(self):
    """The data as a ``numpy.ndarray`` on the host. On the CPU it is the array itself, not a copy."""
    return to_numpy(self.data)


def _length(self):
    if not self.ndim:
        raise TypeError("len() of a Tensor without axes")
    return len(self.data)


def _iterator(self):
    if not self.ndim:
        raise TypeError("iteration over a Tensor without axes")
    return (self[i] for i in range(len(self.data)))


def _truth(self):
    if self.size != 1:
        raise ValueError(
            f"the truth of a Tensor of shape {self.shape} is ambiguous; use .data.any() or .data.all()"
        )
    return bool(self.item())


def _array(self, dtype=None, copy=None):
    if self.requires_grad:
        raise TypeError("this Tensor is part of a graph; take x.numpy() or mv.to_numpy(x) to leave it")
    return np.array(self.numpy(), dtype=dtype, copy=copy)


def _shown(self):
    values = np.array2string(
        self.numpy(), precision=4, separator=", ", prefix="Tensor(", threshold=60, edgeitems=3
    )
    made = f", made by {self.node.op}" if self.node else ", requires_grad=True" if self.requires_grad else ""
    device = "" if self.device == "cpu" else f", device={self.device}"
    return f"Tensor({values}, shape={self.shape}, {self.dtype.name}{device}{made})"


def _state(self):
    """The state for `copy` and pickle. Only a leaf has one: the graph behind a computed Tensor cannot be copied."""
    if self.node is not None:
        raise TypeError(
            f"copy: this {type(self).__name__} {self.shape} is a result (made by {self.node.op}), not a leaf: "
            "x.detach() is the same data without its graph, which can be copied"
        )
    return self.data, self.grad, self.requires_grad


def _set_state(self, state):
    data, grad, requires_grad = state
    Tensor.__init__(self, data, requires_grad)
    self.grad = grad


OPERATORS = {
    "__add__": a.add, "__radd__": _swapped(a.add), "__sub__": a.sub, "__rsub__": _swapped(a.sub),
    "__mul__": a.mul, "__rmul__": _swapped(a.mul), "__truediv__": a.div, "__rtruediv__": _swapped(a.div),
    "__pow__": a.pow, "__rpow__": _swapped(a.pow), "__neg__": a.neg, "__abs__": a.abs,
    "__matmul__": linalg.matmul, "__rmatmul__": _swapped(linalg.matmul), "__getitem__": index.getitem,
    "sum": reduce.sum, "mean": reduce.mean, "var": reduce.var, "max": reduce.max, "min": reduce.min,
    "argmax": reduce.argmax, "argsort": reduce.argsort, "exp": f.exp, "log": f.log, "sqrt": f.sqrt, "abs": a.abs,
    "tanh": f.tanh, "sigmoid": activation.sigmoid, "relu": activation.relu, "clip": a.clip,
    "reshape": _varargs(shape.reshape), "transpose": _varargs(shape.transpose), "squeeze": shape.squeeze,
    "moveaxis": shape.moveaxis, "astype": astype, "T": property(lambda self: shape.transpose(self)),
}  # fmt: skip

PROTOCOLS = {
    "item": item, "numpy": numpy, "__len__": _length, "__iter__": _iterator, "__bool__": _truth, "__repr__": _shown,
    "__float__": lambda self: float(self.item()), "__int__": lambda self: int(self.item()),
    "__array__": _array, "__getstate__": _state, "__setstate__": _set_state,
    "__array_ufunc__": None,  # so that ndarray + Tensor calls Tensor.__radd__ instead of looping over elements
}  # fmt: skip

for _name, _op in (OPERATORS | PROTOCOLS).items():
    setattr(Tensor, _name, _op)
for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Tensor, _name, _comparison(_name))  # plain boolean arrays: nothing to differentiate
Tensor.__hash__ = object.__hash__  # Python removes it when __eq__ is set
