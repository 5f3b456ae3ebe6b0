"""Read the arrays of an ONNX file, and which nodes use them: the few fields of its protobuf messages that this takes.

Not here: running the graph, and every other field; what the arrays mean (dinov2_wheel.py).
"""

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Graph", "Node", "read_onnx"]

# Protobuf: a message is a row of fields; each begins with its number and its wire type in one whole number.
# The numbers are those of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_KIND = 1, 2, 4
TENSOR_DIMS, TENSOR_KIND, TENSOR_NAME, TENSOR_RAW, TENSOR_ELSEWHERE = 1, 2, 8, 9, 14
KINDS = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}  # the number that ONNX gives a dtype
MOST_ENTRIES = 100_000  # nodes, or arrays; a ViT has about 1500 nodes
MOST_DIMS = 8


class Node(NamedTuple):
    """One operation of the graph.

    Attributes
    ----------
    kind : str
        Such as ``"MatMul"``.
    inputs, outputs : list of str
        The names of arrays and of other nodes' outputs.
    """

    kind: str
    inputs: list
    outputs: list


class Graph(NamedTuple):
    """What a file contains.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Read-only views of the file: their numbers are read when they are used.
    nodes : list of Node
        In the order of the file.
    """

    arrays: dict
    nodes: list


def read_onnx(path):
    """Read the arrays and nodes of an ONNX file. The file is mapped into memory, so nothing large is copied.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Graph

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an ONNX file, is cut off, or keeps its arrays in other files or in a form that is not read here.

    Notes
    -----
    Every length is checked against the bytes that are there before anything is read, and every array against the number
    of its bytes, so a wrong number in the file takes no memory.

    References
    ----------
    "Protocol buffers: encoding", https://protobuf.dev/programming-guides/encoding/; "Open Neural Network Exchange",
    https://onnx.ai/onnx/repo-docs/IR.html.

    Examples
    --------
    >>> read_onnx("no-such.onnx")
    Traceback (most recent call last):
    FileNotFoundError: read_onnx: there is no file no-such.onnx
    """
    try:
        size = path_size(path)
        content = memoryview(np.memmap(path, np.uint8, "r")) if size else memoryview(b"")
        graphs = [_part(value) for number, value in _fields(content) if number == MODEL_GRAPH]
        if len(graphs) != 1:
            raise ValueError(f"expected one graph, found {len(graphs)}")
        return _graph(graphs[0])
    except FileNotFoundError:
        raise FileNotFoundError(f"read_onnx: there is no file {path}") from None
    except ValueError as error:
        raise ValueError(f"read_onnx: {path} is not an ONNX file that can be read: {error}") from error


def path_size(path):
    """The number of bytes in a file."""
    with open(path, "rb") as file:
        return file.seek(0, 2)


def _graph(content):
    nodes = []
    arrays = {}
    for number, value in _fields(content):
        if number == GRAPH_NODE:
            nodes.append(_node(_part(value)))
        elif number == GRAPH_INITIALIZER:
            name, array = _array(_part(value))
            if name in arrays:
                raise ValueError(f"two arrays are named {name:.100}")
            arrays[name] = array
        if max(len(nodes), len(arrays)) > MOST_ENTRIES:
            raise ValueError(f"it has more than {MOST_ENTRIES} nodes or arrays")
    return Graph(arrays, nodes)


def _node(content):
    kind = ""
    inputs = []
    outputs = []
    for number, value in _fields(content):
        if number == NODE_INPUT:
            inputs.append(_text(value))
        elif number == NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == NODE_KIND:
            kind = _text(value)
    return Node(kind, inputs, outputs)


def _array(content):
    """The name of an array and a view of its numbers."""
    name = ""
    shape = []
    kind = None
    raw = None
    for number, value in _fields(content):
        if number == TENSOR_DIMS:
            # one whole number, or all of them packed into one field
            shape += [value] if isinstance(value, int) else _wholes(value)
        elif number == TENSOR_KIND:
            kind = _number(value)
        elif number == TENSOR_NAME:
            name = _text(value)
        elif number == TENSOR_RAW:
            raw = _part(value)
        elif number == TENSOR_ELSEWHERE and value:
            raise ValueError("its arrays are in another file")
    if kind not in KINDS or len(shape) > MOST_DIMS:
        raise ValueError(f"the array {name:.100} has the dtype number {kind} and {len(shape)} axes")
    dtype = np.dtype(KINDS[kind])
    expected = math.prod(shape) * dtype.itemsize
    if raw is None or len(raw) != expected:
        has = "no bytes" if raw is None else f"{len(raw)} bytes"
        raise ValueError(
            f"the array {name:.100} of shape {tuple(shape)} takes {expected} bytes and has {has}"
        )
    return name, np.frombuffer(raw, dtype).reshape(shape)


# ---------------------------------------------------------------------------------------------------------------------
# Protobuf


def _fields(content):
    """Yield (number, value) for each field of a message: a whole number, or a memoryview of bytes."""
    at = 0
    while at < len(content):
        key, at = _whole(content, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _whole(content, at)
        else:
            if wire == BYTES:
                length, at = _whole(content, at)
            elif wire in (EIGHT_BYTES, FOUR_BYTES):
                length = 8 if wire == EIGHT_BYTES else 4
            else:
                raise ValueError(f"a field has the unknown wire type {wire}")
            if length > len(content) - at:
                raise ValueError(f"a field says it has {length} bytes, and {len(content) - at} follow")
            value = content[at : at + length]
            at += length
        yield key >> 3, value


def _whole(content, at):
    """A whole number, seven bits in a byte, the low ones first; the eighth bit says that another byte follows."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("it ends inside a number")
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has more than ten bytes")


def _wholes(content):
    found = []
    at = 0
    while at < len(content):
        if len(found) > MOST_DIMS:
            raise ValueError(f"an array has more than {MOST_DIMS} axes")
        value, at = _whole(content, at)
        found.append(value)
    return found


def _part(value):
    if isinstance(value, int):
        raise ValueError("a number stands where a message is expected")
    return value


def _number(value):
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number is expected")
    return value


def _text(value):
    try:
        return bytes(_part(value)).decode()
    except UnicodeDecodeError:
        raise ValueError("a name is not text") from None
