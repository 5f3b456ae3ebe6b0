"""The one table that gives Tensor its operators and methods, bound once on import.

Not here: what they compute; each is an op of its own in this folder.
"""

from minivis.autograd import Tensor, primitive
from minivis.backend import is_array, namespace
from minivis.ops import activation, index, linalg, reduce, shape
from minivis.ops import arithmetic as a
from minivis.ops import functions as f

__all__ = []


def _swapped(op):
    return lambda self, other: op(other, self)


def _varargs(op):
    """``x.reshape(2, 3)`` as well as ``x.reshape((2, 3))``, as NumPy has it."""
    return lambda self, *args: op(
        self, args[0] if len(args) == 1 and not isinstance(args[0], int) else args or None
    )


@primitive(dtypes="any")
def astype(x, dtype):
    """Convert to another dtype; the gradient comes back in the old one."""
    return x.astype(dtype), lambda g: (g.astype(x.dtype),)


def _comparison(name):
    def compare(self, other):
        other = other.data if isinstance(other, Tensor) else other
        if is_array(other):
            namespace(self.data, other)  # refuses arrays of different devices
        return getattr(self.data, name)(other)

    return compare


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

for _name, _op in OPERATORS.items():
    setattr(Tensor, _name, _op)
for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Tensor, _name, _comparison(_name))  # plain boolean arrays: nothing to differentiate
Tensor.__hash__ = object.__hash__  # Python drops it where __eq__ is set
