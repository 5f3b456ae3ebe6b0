"""Function calls between two processes as JSON and raw numbers, so that either side can send nothing but data.

Not here: the two processes (host.py runs the student's code, remote.py calls it). Both load this file, so it imports
only NumPy.
"""

import json
import math
import struct

import numpy as np

__all__ = [
    "MOST_ANSWER",
    "MOST_BYTES",
    "ConnectionLost",
    "Field",
    "Opaque",
    "TooLarge",
    "leaves",
    "receive",
    "send",
]

MOST_BYTES = (64 * 2**20, 64 * 2**20)  # of JSON and of numbers in a request, which the judge writes
# in an answer, which a submission writes: the laws' inputs are tiny, and a byte of JSON can unpack to sixty bytes
MOST_ANSWER = (2**18, 2**23)
_HEAD = struct.Struct(">QQ")  # bytes of JSON, bytes of numbers


class ConnectionLost(Exception):
    """The other process is gone."""


class TooLarge(Exception):
    """A message has more bytes than it may have."""


class Field:
    """The field of a differential equation as data, f(y, t) = a y + b y^2 + c_0 + c_1 t + ...: see minivis/laws/ode.py."""

    def __init__(self, coefficients):
        self.a, self.b, *self.c = (float(number) for number in coefficients)

    def __call__(self, y, t):
        velocity = self.a * y + self.b * y * y
        for k, c in enumerate(self.c):
            velocity = velocity + c * t**k
        return velocity


class Opaque:
    """Stands for a value that cannot be sent; its class has the name of the value's class."""

    @staticmethod
    def named(name):
        return type(str(name)[:60], (Opaque,), {})()


def send(file, value, keep=None, most=MOST_BYTES):
    """Write one value: a number, string, array, random generator or `Field`, or a tuple, list or dict of them.

    ``keep(function)`` returns the number by which the other side can call a function. Without it, and for any other type,
    the other side receives an `Opaque` with the name of the type. ``most`` are the bytes of JSON and of numbers that
    the other side accepts.
    """
    arrays = []
    tree = json.dumps(_pack(value, arrays, keep)).encode()
    numbers = b"".join(arrays)
    if len(tree) > most[0] or len(numbers) > most[1]:
        raise TooLarge(f"{len(tree) + len(numbers):,} bytes")
    file.write(_HEAD.pack(len(tree), len(numbers)) + tree + numbers)
    file.flush()


def receive(file, function=None, most=MOST_BYTES):
    """Read one value; one larger than ``most`` is refused unread.

    ``function(number)`` returns a stand-in for a function of the other side.
    """
    tree, numbers = _HEAD.unpack(_exactly(file, _HEAD.size))
    if tree > most[0] or numbers > most[1]:
        raise ConnectionLost
    return _unpack(json.loads(_exactly(file, tree)), memoryview(bytearray(_exactly(file, numbers))), function)


def leaves(value):
    """Every array in nested arguments, in a fixed order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, np.ndarray) else []


def _exactly(file, count):
    data = file.read(count)
    if data is None or len(data) < count:
        raise ConnectionLost
    return data


def _pack(value, arrays, keep):
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack_array(value, arrays)
    if kind in (tuple, list):
        return {kind.__name__: [_pack(item, arrays, keep) for item in value]}
    if kind is dict:
        return {"dict": [[_pack(k, arrays, keep), _pack(v, arrays, keep)] for k, v in value.items()]}
    if kind is np.random.Generator and isinstance(value.bit_generator, np.random.PCG64):
        return {"generator": value.bit_generator.state}
    if keep is None and hasattr(value, "coefficients"):
        return {"field": [float(number) for number in value.coefficients]}
    if callable(value) and keep is not None and not isinstance(value, type):
        return {"function": keep(value)}
    return {"opaque": kind.__name__}


def _pack_array(value, arrays):
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        return {"objects": list(array.shape)}
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))  # outermost in memory first
    lying = np.array(array.transpose(axes), order="C")
    start = 0
    for before in arrays:  # not sum(), which a submission may have replaced
        start += len(before)
    arrays.append(lying.tobytes())
    packed = {"array": array.dtype.str, "shape": lying.shape, "axes": axes, "start": start}
    return packed if isinstance(value, np.ndarray) else {"number": packed}


def _unpack(tree, numbers, function):
    if not isinstance(tree, dict):
        return tree
    (kind, content) = next(iter(tree.items()))
    if kind == "array":
        return _unpack_array(tree, numbers)
    if kind == "number":
        return _unpack_array(content, numbers)[()]
    if kind in ("tuple", "list"):
        items = [_unpack(item, numbers, function) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {_unpack(k, numbers, function): _unpack(v, numbers, function) for k, v in content}
    if kind == "generator":
        return _unpack_generator(content)
    if kind == "field":
        return Field(content)
    if kind == "objects":  # has the stated shape, but the memory of one element
        return np.broadcast_to(np.empty((), object), content)
    return function(content) if kind == "function" and function else Opaque.named(content)


def _unpack_generator(state):
    """A generator that draws what the sent one would draw next."""
    generator = np.random.Generator(np.random.PCG64(0))
    generator.bit_generator.state = state
    return generator


def _unpack_array(tree, numbers):
    """The array with its original memory layout, which a law checks."""
    dtype = np.dtype(tree["array"])
    shape = tuple(map(int, tree["shape"]))
    if dtype.kind not in "biufc" or min(shape, default=0) < 0:
        raise ConnectionLost
    count = math.prod(shape)
    lying = np.frombuffer(numbers, dtype, count, tree["start"]) if count else np.empty(0, dtype)
    return lying.reshape(shape).transpose(np.argsort(tree["axes"]).astype(int).tolist())
