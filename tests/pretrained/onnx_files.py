"""Small ONNX files for tests, written field by field, and the package's file with a DINOv2 of two tiny blocks.

Not here: tests.
"""

import zipfile

import numpy as np

from minivis.pretrained import dinov2_wheel

DTYPES = {"float32": 1, "int32": 6, "int64": 7, "float16": 10, "float64": 11}


def number(value):
    """A whole number as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(key, value):
    """A field: a whole number, or bytes or a text with their length."""
    if isinstance(value, int):
        return number(key << 3) + number(value)
    content = value.encode() if isinstance(value, str) else value
    return number(key << 3 | 2) + number(len(content)) + content


def tensor(name, array, packed=False):
    dims = (
        field(1, b"".join(map(number, array.shape))) if packed else b"".join(field(1, n) for n in array.shape)
    )
    return dims + field(2, DTYPES[array.dtype.name]) + field(8, name) + field(9, array.tobytes())


def node(kind, inputs, outputs):
    names = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return names + field(3, f"/{kind}") + field(4, kind)


def model(nodes, arrays):
    """A whole file."""
    graph = b"".join(field(1, node(*one)) for one in nodes)
    graph += field(2, "main_graph") + b"".join(field(5, tensor(name, x)) for name, x in arrays.items())
    return field(1, 7) + field(2, "a test") + field(7, graph) + field(8, field(2, 14))


def make_tiny(monkeypatch):
    """Let the package have a DINOv2 of two blocks of width 4, on images of 4 pixels."""
    for name, value in {"WIDTH": 4, "DEPTH": 2, "PATCH": 2, "IMAGE": 4, "GRID": 2}.items():
        monkeypatch.setattr(dinov2_wheel, name, value)
    sizes = {
        "hidden_size": 4,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 2,
        "image_size": 4,
    }
    monkeypatch.setattr(dinov2_wheel, "CONFIG", dinov2_wheel.CONFIG | sizes)


def dinov2_file(rng):
    """What the package's file has in it, small: its bytes, and the arrays as the hub publishes them."""
    shapes = dinov2_wheel.published_shapes()
    published = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    published["embeddings.mask_token"][:] = 0
    nodes = []
    arrays = {"decoder.weight": np.ones((2, 3), np.float32)}
    for i, (name, x) in enumerate(published.items()):
        layer = name.removesuffix("weight")
        if name == "embeddings.position_embeddings":
            arrays |= {"onnx::Concat_1": x[:, :1], "onnx::Reshape_2": x[:, 1:].copy()}
            nodes += [
                ("Reshape", ["onnx::Reshape_2", "sizes"], ["grid"]),
                ("Concat", ["onnx::Concat_1", "grid"], ["p"]),
            ]
        elif name.endswith("weight") and x.ndim == 2:
            arrays[f"onnx::MatMul_{i}"] = np.ascontiguousarray(x.T)
            nodes += [
                ("MatMul", ["x", f"onnx::MatMul_{i}"], [f"product {i}"]),
                ("Add", [f"backbone.{layer}bias", f"product {i}"][:: 1 if i % 2 else -1], [f"sum {i}"]),
            ]
        elif name != "embeddings.mask_token":
            arrays[f"backbone.{name}"] = x
    nodes.append(("Add", ["norm", "backbone.layernorm.bias"], ["y"]))
    return model(nodes, arrays), published


def wheel(path, content):
    """The package's file around an ONNX file; `dinov2_wheel` has to be told its checksum and size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(dinov2_wheel.MEMBER, content)
    return path
