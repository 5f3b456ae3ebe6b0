"""Folders as published: what is loaded, what is refused and in which words, and how much memory it takes.

Not here: the numbers a loaded model computes (tests/parity/test_published_parity.py), every name (test_published_names.py).
"""

import argparse
import ast
import importlib.util
import json
import logging
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis import models
from minivis.nn import init
from minivis.pretrained import folder as folders
from minivis.pretrained import resnet, swin, vit
from minivis.pretrained.family import Part, labels_of, translate
from tests.fuzz.mutators import changed_json

SOURCE = Path(__file__).parent.parent / "parity" / "published" / "vit"
WEIGHTS = load_file(SOURCE / "model.safetensors")
CONFIG = json.loads((SOURCE / "config.json").read_text())
PREPROCESSOR = {
    "size": {"height": 8, "width": 12},
    "resample": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
INDEX, HEAD = "model.safetensors.index.json", "classifier.weight"
has_torch = importlib.util.find_spec("torch") is not None


def publish(folder, weights=WEIGHTS, config=CONFIG, preprocessor=PREPROCESSOR):
    """Write a folder; None leaves a file away."""
    folder.mkdir(exist_ok=True)
    if weights is not None:
        save_file(weights, folder / "model.safetensors")
    for name, content in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder


def shard(folder, index=None):
    """The same weights in two files and an index."""
    publish(folder, None)
    names = sorted(WEIGHTS)
    homes = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(names)}
    for home in set(homes.values()):
        save_file({n: WEIGHTS[n] for n in names if homes[n] == home}, folder / home)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {**homes, **(index or {})}}))
    return folder


def as_timm(width=None):
    """The weights in the dialect of the authors."""
    model = mv.from_pretrained(SOURCE, dtype="float64")
    family = folders._family("", CONFIG)
    packed = {}
    for ours, theirs in family.names(model, "timm").items():
        packed.setdefault(theirs.name if isinstance(theirs, Part) else theirs, []).append(
            model.state_dict()[ours]
        )
    return {name: np.concatenate(blocks) for name, blocks in packed.items()}


def logits(model):
    return model(np.linspace(-1, 1, 288).reshape(1, 3, 8, 12).astype(model.head.weight.dtype)).numpy()


def test_a_model_comes_ready_to_predict(tmp_path):
    model = mv.from_pretrained(
        publish(tmp_path, config={**CONFIG, "id2label": {str(i): f"class {i}" for i in range(5)}})
    )
    assert not model.training and {p.dtype.name for p in model.parameters()} == {"float64"}
    assert model.labels == {i: f"class {i}" for i in range(5)}
    assert model.config["width"] == 16 and model.published["hidden_size"] == 16
    photo = np.random.default_rng(0).random((3, 40, 30)).astype(np.float32)
    assert model(model.preprocess(photo)).shape == (1, 5)
    assert model.preprocess.note is None


def test_a_model_of_ours_is_saved_and_loaded_like_any_other(tmp_path):
    model = mv.from_pretrained(publish(tmp_path / "hub"), dtype="float32")
    mv.save(model, tmp_path / "ours")  # a warning would be an error
    np.testing.assert_array_equal(logits(mv.load(tmp_path / "ours")), logits(model))
    with pytest.raises(ValueError, match=r"was written by minivis: mv.load\('.*ours'\) brings it back"):
        mv.from_pretrained(tmp_path / "ours")


@pytest.mark.parametrize("dtype", ["float16", "float32", np.float64, np.dtype("float32")])
def test_the_dtype_is_the_one_asked_for(tmp_path, dtype):
    model = mv.from_pretrained(publish(tmp_path), dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}
    assert model.preprocess(np.zeros((3, 8, 8), np.float32)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "stored, loaded", [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_left_out_it_is_that_of_the_file_but_not_half(tmp_path, stored, loaded):
    model = mv.from_pretrained(publish(tmp_path, {n: x.astype(stored) for n, x in WEIGHTS.items()}))
    assert {p.dtype.name for p in model.parameters()} == {loaded}


@pytest.mark.parametrize("dtype", ["int8", "quick", object()])
def test_a_dtype_that_is_no_float_is_refused(dtype):
    with pytest.raises(TypeError, match="dtype must be float16, float32 or float64"):
        mv.from_pretrained(SOURCE, dtype=dtype)


def test_it_moves_to_a_device(tmp_path, device):
    model = mv.from_pretrained(publish(tmp_path), device=device)
    assert {p.device for p in model.parameters()} == {device}
    assert model(model.preprocess(np.zeros((3, 8, 8), np.float32))).device == device
    with pytest.raises(ValueError, match="unknown device"):
        mv.from_pretrained(tmp_path, device="tpu")


def test_shards_are_put_together(tmp_path):
    model = mv.from_pretrained(shard(tmp_path))
    np.testing.assert_array_equal(logits(model), logits(mv.from_pretrained(SOURCE)))


def test_a_trained_copy_does_not_write_into_another(tmp_path):
    publish(tmp_path)
    first, second = mv.from_pretrained(tmp_path), mv.from_pretrained(tmp_path)
    first.head.weight.data += 1
    first.blocks[0].attn.key.weight.data[...] = 0
    np.testing.assert_array_equal(logits(second), logits(mv.from_pretrained(SOURCE)))


def test_the_authors_dialect_is_recognised_with_a_config(tmp_path):
    model = mv.from_pretrained(publish(tmp_path, as_timm()))
    np.testing.assert_allclose(logits(model), logits(mv.from_pretrained(SOURCE)), rtol=1e-12)


def test_timm_folders_need_no_more_than_their_own_config(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"cls_token": (1, 1, 64), "pos_embed": (1, 10, 64), "norm.weight": 64, "norm.bias": 64}
    shapes |= {
        "patch_embed.proj.weight": (64, 3, 4, 4),
        "patch_embed.proj.bias": 64,
        "head.weight": (7, 64),
        "head.bias": 7,
    }
    for name, rows, columns in (
        ("attn.qkv", 192, 64),
        ("attn.proj", 64, 64),
        ("mlp.fc1", 96, 64),
        ("mlp.fc2", 64, 96),
    ):
        shapes |= {f"blocks.0.{name}.weight": (rows, columns), f"blocks.0.{name}.bias": rows}
    shapes |= {f"blocks.0.norm{i}.{kind}": 64 for i in (1, 2) for kind in ("weight", "bias")}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    cfg = {
        "input_size": [3, 12, 12],
        "crop_pct": 0.75,
        "interpolation": "bicubic",
        "mean": [0.1] * 3,
        "std": [0.2] * 3,
    }
    said = {"num_attention_heads": 1}  # no published size: no table has it
    model = mv.from_pretrained(publish(tmp_path, weights, {"pretrained_cfg": cfg, **said}, None))
    assert model.config["depth"] == 1 and model.config["heads"] == 1 and model.config["num_classes"] == 7
    assert model.config["eps"] == 1e-6 and model.config["image_size"] == (12, 12)
    assert (model.preprocess.shortest, model.preprocess.crop, model.preprocess.resample) == (16, (12, 12), 3)
    assert model(model.preprocess(np.zeros((3, 50, 60), np.float32))).shape == (1, 7)
    publish(tmp_path / "bare", weights, None, None)
    with pytest.raises(
        ValueError, match="config.json is missing.*number of heads does not follow from 1 blocks of width 64"
    ):
        mv.from_pretrained(tmp_path / "bare")
    assert len(mv.from_pretrained(publish(tmp_path / "bare", weights, said, None)).labels) == 7
    named = {"id2label": {str(i): f"bird {i}" for i in range(7)}, **said}
    assert mv.from_pretrained(publish(tmp_path / "named", weights, named, None)).labels[6] == "bird 6"
    odd = {**weights, "pos_embed": np.zeros((1, 12, 64), np.float32)}
    with pytest.raises(ValueError, match="does not follow from the weights.*11 patches: write a config.json"):
        mv.from_pretrained(publish(tmp_path / "odd", odd, None, None))


def test_without_a_preprocessor_the_familys_defaults_are_taken_and_noted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "minivis"):
        model = mv.from_pretrained(publish(tmp_path, preprocessor=None))
    note = "preprocessor_config.json is missing: photos are prepared as for the best known vit checkpoint"
    assert note in model.preprocess.note and note in caplog.text
    assert model.preprocess.size == (224, 224) and model.preprocess.mean == (0.5, 0.5, 0.5)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


def without(name):
    return {n: x for n, x in WEIGHTS.items() if n != name}


def damaged(name, value):
    x = WEIGHTS[name].copy()
    x.flat[0] = value
    return {**WEIGHTS, name: x}


@pytest.mark.parametrize(
    "weights, message",
    [
        (without(HEAD), "does not hold the ViT that its config.json describes: it lacks classifier.weight"),
        ({**WEIGHTS, "pooler.weight": np.zeros(3)}, "it also has pooler.weight"),
        ({**WEIGHTS, HEAD: np.zeros((16, 5))}, r"of another shape than expected are classifier.weight \(\(16, 5\), not \(5, 16\)\)"),
        ({**WEIGHTS, HEAD: np.zeros((5, 16), np.int8)}, r"not stored as float16, bfloat16, float32 or float64 are classifier.weight \(I8\)"),
        (damaged(HEAD, np.nan), "classifier.weight holds numbers that are not finite"),
        (damaged("vit.embeddings.cls_token", -np.inf), "vit.embeddings.cls_token holds numbers that are not finite"),
        ({}, f"it lacks vit.embeddings.cls_token, .* and {len(WEIGHTS) - 5} more"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, weights, message):
    with pytest.raises(ValueError, match=message) as caught:
        mv.from_pretrained(publish(tmp_path, weights))
    assert str(caught.value).startswith("from_pretrained: ") and str(tmp_path) in str(caught.value)


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="classifier.weight holds numbers too large for float16"):
        mv.from_pretrained(publish(tmp_path, damaged(HEAD, 1e6)), dtype="float16")


@pytest.mark.parametrize(
    "config, message",
    [
        ({**CONFIG, "model_type": "bert"}, "minivis has no model of type 'bert'; it has alexnet, .*vit"),
        ({**CONFIG, "model_type": None}, "minivis has no model of type None"),
        ({"hidden_size": 3}, 'config.json has no "model_type"'),
        ({**CONFIG, "num_attention_heads": 3}, "no model can be made of it.*3 heads do not divide"),
        ({**CONFIG, "hidden_act": "mish"}, "hidden_act must be one of gelu"),
        ({**CONFIG, "hidden_size": "large"}, "no model can be made of it"),
        ({**CONFIG, "hidden_size": 10**15}, "no model can be made of it"),
        ({**CONFIG, "qkv_bias": False}, "qkv_bias is false"),
        ({**CONFIG, "id2label": ["cat"]}, "no model can be made of it"),
        ([], "expected a json object, found list"),
        (None, r"config.json is missing \(it lies beside the weights on the hub\)"),
    ],
)
def test_configs_that_make_no_sense_are_refused(tmp_path, config, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        mv.from_pretrained(publish(tmp_path, config=config))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", INDEX])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_broken_json_is_refused_by_its_path(tmp_path, name, content):
    publish(tmp_path, None if name == INDEX else WEIGHTS)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: expected json, found something else"):
        mv.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "preprocessor",
    [
        {"size": {"width": 3}},
        {"size": "big"},
        {"image_mean": [1, 2]},
        {"image_std": "x"},
        {"resample": "soft"},
    ],
)
def test_a_preprocessor_that_makes_no_sense_is_refused(tmp_path, preprocessor):
    with pytest.raises(ValueError, match="preprocessor_config.json: photos cannot be prepared by it"):
        mv.from_pretrained(publish(tmp_path, preprocessor={**PREPROCESSOR, **preprocessor}))


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = publish(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors: expected a safetensors file, found"):
        mv.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["detr-r50.pth", "pytorch_model.bin", "model_final.pkl"])
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path, name):
    publish(tmp_path, None)
    (tmp_path / name).write_bytes(pickle.dumps({"weight": 1}))
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match="can hold code that runs when it is opened") as caught:
            mv.from_pretrained(source)
        lines = str(caught.value).splitlines()
        assert name in lines[0] and "save_file(" in lines[-1] and repr(name) in "".join(lines[1:])


def recipe(folder):
    """The lines that a refusal shows, to be pasted into Python."""
    with pytest.raises(ValueError) as caught:
        mv.from_pretrained(folder)
    return textwrap.dedent("\n".join(str(caught.value).splitlines()[1:]))


CONTAINERS = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {
        "state_dict": {f"module.{name}": x for name, x in state.items()},
        "arch": "vit",
    },
    "model and args": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1), "optimizer": {}},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "real",
    [pytest.param(True, marks=pytest.mark.skipif(not has_torch, reason="needs the parity extra")), False],
)
def test_the_way_to_convert_works(tmp_path, monkeypatch, container, real):
    torch = importlib.import_module("torch") if real else PretendTorch(monkeypatch)
    publish(tmp_path, None)
    state = {n: torch.from_numpy(x) for n, x in WEIGHTS.items()}
    torch.save(CONTAINERS[container](state), tmp_path / "vit.pth")
    lines = recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    np.testing.assert_array_equal(logits(mv.from_pretrained(tmp_path)), logits(mv.from_pretrained(SOURCE)))


class PretendTorch:
    """The part of torch that the recipe calls, as strict as torch is: options are no arrays, unless they were allowed."""

    class Tensor:
        def __init__(self, x):
            self.x = x

        def contiguous(self):
            return type(self)(np.ascontiguousarray(self.x))

        def clone(self):
            return type(self)(self.x.copy())

    def __init__(self, monkeypatch):
        self.files = {}
        self.allowed = []
        self.serialization = self
        theirs = types.ModuleType("safetensors.torch")
        theirs.save_file = lambda state, path: save_file({n: t.x for n, t in state.items()}, path)
        monkeypatch.setitem(sys.modules, "torch", self)
        monkeypatch.setitem(sys.modules, "safetensors.torch", theirs)

    def from_numpy(self, x):
        return self.Tensor(x)

    def save(self, content, path):
        self.files[path.name] = content
        path.write_bytes(b"PK")

    def add_safe_globals(self, kinds):
        self.allowed += kinds

    def load(self, name, map_location, weights_only):
        assert weights_only and map_location == "cpu"
        content = self.files[name]
        if any(type(value) not in (dict, int, str, self.Tensor, *self.allowed) for value in content.values()):
            raise pickle.UnpicklingError("Weights only load failed")
        return content


@pytest.mark.parametrize("container", ["bare", "model"])
def test_the_way_to_convert_detectron2s_pickles_works(tmp_path, monkeypatch, container):
    publish(tmp_path, None)
    content = CONTAINERS[container](dict(WEIGHTS)) | {"__author__": "somebody"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content, protocol=2))
    lines = recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    np.testing.assert_array_equal(logits(mv.from_pretrained(tmp_path)), logits(mv.from_pretrained(SOURCE)))


def test_a_files_name_cannot_add_to_the_way_to_convert(tmp_path):
    publish(tmp_path, None)
    (tmp_path / 'x"); print("pwned").pth').write_bytes(b"PK")
    calls = [node for node in ast.walk(ast.parse(recipe(tmp_path))) if isinstance(node, ast.Call)]
    assert not [call for call in calls if ast.unparse(call.func) == "print"]


def test_the_way_to_convert_runs_nothing(tmp_path, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it ran",)

    publish(tmp_path, None)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": {"x": Hostile()}}))
    lines = recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="it would run .*: it holds more than arrays"):
        exec(lines, {})
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("name", "whose"),
    [("tf_model.h5", "TensorFlow's"), ("flax_model.msgpack", "Flax's"), ("model.onnx", "ONNX")],
)
def test_files_of_other_frameworks_are_not_taken_for_torchs(tmp_path, name, whose):
    publish(tmp_path, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        ValueError, match=f"{name} is not read: it is a file of {whose}. Look for the model.safetensors"
    ):
        mv.from_pretrained(tmp_path)


def test_a_pickle_by_another_name_is_named(tmp_path):
    with zipfile.ZipFile(publish(tmp_path, None) / "model.safetensors", "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
    with pytest.raises(ValueError, match="it is a pickle by another name"):
        mv.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "shard_name", ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "c:\\x"]
)
def test_an_index_may_not_point_out_of_its_folder(tmp_path, shard_name):
    save_file(WEIGHTS, tmp_path / "secret.safetensors")
    shard(tmp_path / "hub", {HEAD: shard_name})
    with pytest.raises(ValueError, match="which is outside the folder"):
        mv.from_pretrained(tmp_path / "hub")


@pytest.mark.parametrize(
    "index, message",
    [
        (
            {HEAD: "model-00003-of-00002.safetensors"},
            "model-00003-of-00002.safetensors, named in .*, is missing",
        ),
        ({"other": "model-00001-of-00002.safetensors"}, "says that other is in model-00001.*, and it is not"),
        ({HEAD: 3}, r"expected \{\"weight_map\""),
    ],
)
def test_an_index_must_say_the_truth(tmp_path, index, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        mv.from_pretrained(shard(tmp_path, index))


def test_folders_that_are_not_there_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        mv.from_pretrained(tmp_path / "typo")
    with pytest.raises(FileNotFoundError, match="has neither model.safetensors nor"):
        mv.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="it is a file: give its folder"):
        mv.from_pretrained(publish(tmp_path) / "model.safetensors")


# ---------------------------------------------------------------------------------------------------------------------
# Folders as people have them


def bfloat16_file(arrays):
    """The bytes of a safetensors file with every array as bfloat16, packed by hand: the upper halves of float32."""
    header = {}
    body = b""
    for name, x in arrays.items():
        halves = b"".join(struct.pack(">f", value)[:2][::-1] for value in x.ravel().tolist())
        header[name] = {
            "dtype": "BF16",
            "shape": list(x.shape),
            "data_offsets": [len(body), len(body) + len(halves)],
        }
        body += halves
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + body


def test_bfloat16_is_read_as_float32(tmp_path):
    """Every number is the float32 whose last 16 bits are cut off: at most 2^-7 of it is lost."""
    (publish(tmp_path, None) / "model.safetensors").write_bytes(bfloat16_file(WEIGHTS))
    model = mv.from_pretrained(tmp_path)
    exact = mv.from_pretrained(SOURCE, dtype="float32").state_dict()
    for name, x in model.state_dict().items():
        assert x.dtype == np.float32 and not (x.view(np.uint32) & 0xFFFF).any()
        assert (np.abs(x - exact[name]) <= 2**-7 * np.abs(exact[name])).all()
        assert np.abs(x - exact[name]).any()
    model.head.weight.data += 1  # it is an array of its own
    assert {p.dtype.name for p in mv.from_pretrained(tmp_path, dtype="float16").parameters()} == {"float16"}


def test_a_pointer_of_git_lfs_is_called_one(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 346293852\n"
    (publish(tmp_path, None) / "model.safetensors").write_text(pointer)
    with pytest.raises(ValueError, match="it is a pointer of Git LFS.*`git lfs pull`"):
        mv.from_pretrained(tmp_path)
    (publish(tmp_path) / "config.json").write_text(pointer)
    with pytest.raises(ValueError, match="config.json: expected json.*Git LFS"):
        mv.from_pretrained(tmp_path)


def test_a_web_page_is_called_one(tmp_path):
    (publish(tmp_path, None) / "model.safetensors").write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(ValueError, match="it is a web page: the download went wrong"):
        mv.from_pretrained(tmp_path)


def test_weights_by_another_name_are_named(tmp_path):
    (publish(tmp_path) / "model.safetensors").rename(tmp_path / "vit_base.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(
        FileNotFoundError, match="If vit_base.safetensors is what you mean, rename it to model.safetensors"
    ):
        mv.from_pretrained(tmp_path)


def test_shards_without_their_index_are_named(tmp_path):
    (shard(tmp_path) / INDEX).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"only model-00001-of-00002.safetensors, .*parts of one model. Get {INDEX}"
    ):
        mv.from_pretrained(tmp_path)


def test_a_name_on_the_hub_is_told_that_nothing_is_downloaded():
    for load in (mv.from_pretrained, mv.load):
        with pytest.raises(
            FileNotFoundError,
            match="nothing is downloaded.*https://huggingface.co/google/vit-base-patch16-224",
        ):
            load("google/vit-base-patch16-224")
    with pytest.raises(FileNotFoundError) as caught:
        mv.from_pretrained("./here/nothing")
    assert "huggingface" not in str(caught.value)


def test_a_tilde_is_ones_home(tmp_path, monkeypatch):
    publish(tmp_path / "hub")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert mv.from_pretrained("~/hub").config["depth"] == CONFIG["num_hidden_layers"]
    with pytest.raises(FileNotFoundError, match="there is no folder ~nobody-of-that-name/hub"):
        mv.from_pretrained("~nobody-of-that-name/hub")
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "~odd")  # a folder of that very name comes first
    assert mv.from_pretrained("~odd").labels


def test_a_byte_order_mark_does_not_matter(tmp_path):
    path = publish(tmp_path) / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert mv.from_pretrained(tmp_path).config["width"] == 16


def test_a_folder_of_ours_and_a_published_one_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match=r"published checkpoint: mv.from_pretrained\('.*hub'\) reads it"):
        mv.load(publish(tmp_path / "hub"))


# ---------------------------------------------------------------------------------------------------------------------
# What shapes cannot tell


def vit_shapes(width, inside, depth, patch, dist=False):
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 257 + dist, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
    }
    shapes |= {"head.weight": (1000, width), "blocks.0.mlp.fc1.weight": (inside, width)}
    shapes |= {"dist_token": (1, 1, width)} if dist else {}
    return shapes | {f"blocks.{i}.attn.qkv.weight": (3 * width, width) for i in range(depth)}


def test_heads_are_those_of_the_published_sizes():
    """By hand from the papers' tables; mv's own constructors must agree where there is one."""
    published = {(192, 768, 12, 16): 3, (768, 3072, 12, 16): 12, (768, 3072, 12, 32): 12, (1024, 4096, 24, 14): 16,
                 (1280, 5120, 32, 14): 16, (1408, 6144, 40, 14): 16, (1664, 8192, 48, 14): 16}  # fmt: skip
    for size, heads in published.items():
        assert vit.infer(vit_shapes(*size))["num_attention_heads"] == heads
    for build in (
        models.vit.vit_ti16,
        models.vit.vit_b16,
        models.vit.vit_l16,
        models.vit.vit_h14,
        models.vit.deit_s16,
    ):
        with init.skip_init():
            config = build().config
        size = (
            config["width"],
            int(config["width"] * config["mlp_ratio"]),
            config["depth"],
            config["patch_size"],
        )
        assert vit.infer(vit_shapes(*size, config["distilled"]))["num_attention_heads"] == config["heads"]


@pytest.mark.parametrize(
    "size",
    [(384, 1536, 12, 16), (640, 2560, 12, 16), (768, 3072, 13, 16), (768, 3000, 12, 16), (768, 3072, 12, 7)],
)
def test_heads_of_other_sizes_are_asked_for(size):
    """384: DeiT-S has 6 heads, the ViT-S of MoCo v3 has 12, and nothing in the shapes tells them apart."""
    with pytest.raises(
        ValueError,
        match=f"heads does not follow from {size[2]} blocks of width {size[0]}.*write a config.json",
    ):
        vit.infer(vit_shapes(*size))
    assert vit.infer(vit_shapes(*size), {"num_attention_heads": 2})["num_attention_heads"] == 2


def test_timms_name_tells_what_shapes_do_not():
    small = vit_shapes(384, 1536, 12, 16)
    assert vit.infer(small, {"architecture": "vit_small_patch16_224"})["num_attention_heads"] == 6
    assert (
        vit.infer(small, {"architecture": "vit_small_patch16_224.augreg_in21k"})["num_attention_heads"] == 6
    )


@pytest.mark.parametrize(
    ("family", "shapes", "name"),
    [
        (vit, vit_shapes(768, 3072, 12, 16), "vit_base_patch16_clip_224"),
        (vit, vit_shapes(768, 3072, 12, 16), "vit_base_patch16_224_miil"),
        (vit, vit_shapes(768, 3072, 12, 16), 3),
        (
            resnet,
            {
                "conv1.weight": (64, 3, 7, 7),
                "bn1.running_mean": (64,),
                "layer1.0.conv1.weight": (64, 64, 1, 1),
            },
            "resnetaa50",
        ),
        (
            resnet,
            {
                "conv1.weight": (64, 3, 7, 7),
                "bn1.running_mean": (64,),
                "layer1.0.conv1.weight": (64, 64, 1, 1),
            },
            "resnetblur50",
        ),
        (
            swin,
            {
                "patch_embed.proj.weight": (96, 3, 4, 4),
                "layers.0.blocks.0.attn.relative_position_bias_table": (169, 3),
            },
            "swin_s3_tiny_224",
        ),
    ],
)
def test_other_models_of_timm_with_the_same_shapes_are_refused(family, shapes, name):
    with pytest.raises(
        ValueError, match=f"{re.escape(repr(name))} is a model of timm that minivis does not have"
    ):
        family.infer(shapes, {"architecture": name})


def test_a_vit_that_pools_its_tokens_is_refused():
    with pytest.raises(ValueError, match="vit: global_pool must be 'token', found 'avg'"):
        vit.infer(vit_shapes(768, 3072, 12, 16), {"global_pool": "avg"})


def test_a_deit_fine_tuned_without_a_teacher_has_one_head(tmp_path):
    """Beside the published one with its distillation head at 0: the mean of two heads is then half of the first."""
    source = SOURCE.parent / "deit"
    weights = load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    second = [name for name in weights if name.startswith("distillation_classifier.")]
    assert len(second) == 2
    mute = publish(tmp_path / "mute", {**weights, **{n: 0 * weights[n] for n in second}}, config)
    plain = {n.replace("cls_classifier", "classifier"): x for n, x in weights.items() if n not in second}
    config = {**config, "architectures": ["DeiTForImageClassification"]}
    images = load_file(source / "expected.safetensors")["input.images"]
    model = mv.from_pretrained(publish(tmp_path / "plain", plain, config))
    np.testing.assert_allclose(
        model(images).numpy(), 2 * mv.from_pretrained(mute)(images).numpy(), rtol=1e-12
    )
    mv.save(model.to("float32"), tmp_path / "ours")
    np.testing.assert_allclose(mv.load(tmp_path / "ours")(images).numpy(), model(images).numpy(), rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing is believed before the weights were looked at


@pytest.mark.parametrize(
    "claim",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 10**5},
        {"hidden_size": 8000, "num_attention_heads": 8},
        {"hidden_size": 10**6, "num_attention_heads": 8, "intermediate_size": 10**6},
        {"intermediate_size": 10**6},
        {"image_size": 10**6, "patch_size": 1},
        {"num_labels": 10**5, "id2label": None},
        {"num_labels": 10**9, "id2label": None},
    ],
)
def test_a_claim_beyond_the_weights_is_refused_at_once(tmp_path, claim):
    publish(tmp_path, config={**CONFIG, **claim})
    tracemalloc.start()
    begun = time.process_time()
    with pytest.raises(ValueError, match="config.json|does not hold the ViT"):
        mv.from_pretrained(tmp_path)
    spent = time.process_time() - begun
    (_, peak) = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 2 and peak < 50e6, (spent, peak)


def test_odd_configs_are_built_or_refused_in_words(tmp_path):
    """Each family's config.json with one value odd, as in tests/fuzz: a ValueError, TypeError or OSError that names it."""
    folders_of = {}
    for path in SOURCE.parent.iterdir():  # torchvision's have no config.json: theirs follows from the shapes
        arrays = folders.stored_arrays(path / "model.safetensors")
        folders_of[path.name] = folders._config(path, {n: array.shape for n, array in arrays.items()})
    for name in folders_of:
        os.symlink(SOURCE.parent / name / "model.safetensors", (tmp_path / f"{name}.safetensors"))
    refused = 0
    rng = random.Random(0)
    for number in range(300):
        name = sorted(folders_of)[number % len(folders_of)]
        text, told = changed_json(json.dumps(folders_of[name]).encode(), rng)
        stored = folders.stored_arrays(tmp_path / f"{name}.safetensors")
        (tmp_path / "config.json").write_bytes(text)
        try:
            config = folders._config(tmp_path, {n: array.shape for n, array in stored.items()})
            family = folders._family(tmp_path / "config.json", config)
            model = folders._build(tmp_path / "config.json", family, config, stored)
            folders._check(tmp_path, model, family, folders._dialect(model, family, stored), stored)
        except (ValueError, TypeError, OSError) as error:
            refused += 1
            assert str(tmp_path) in str(error), (name, told)
    assert 100 < refused < 290


# ---------------------------------------------------------------------------------------------------------------------
# Labels


@pytest.mark.parametrize(
    "names",
    [
        {str(i + 1): f"k{i}" for i in range(5)},
        {"0": "a", "1": "b", "2": "c", "3": "d", "5": "e"},
        {"0": "a", "01": "b", "2": "c", "3": "d", "4": "e"},
        {"zero": "a", "1": "b", "2": "c", "3": "d", "4": "e"},
        {"0": ["a"], "1": "b", "2": "c", "3": "d", "4": "e"},
    ],
)
def test_labels_that_are_not_counted_as_outputs_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="config.json: no model can be made of it: labels: .*id2label"):
        mv.from_pretrained(publish(tmp_path, config={**CONFIG, "id2label": names}))


def test_null_is_as_good_as_absent(tmp_path):
    nulls = dict.fromkeys(
        ["hidden_dropout_prob", "qkv_bias", "hidden_act", "num_channels", "architectures", "things"]
    )
    model = mv.from_pretrained(publish(tmp_path, config={**CONFIG, **nulls}))
    np.testing.assert_array_equal(logits(model), logits(mv.from_pretrained(SOURCE)))
    named = {str(i): None if i == 2 else f"k{i}" for i in range(5)}
    assert labels_of({"id2label": named}) == {0: "k0", 1: "k1", 2: "LABEL_2", 3: "k3", 4: "k4"}


# ---------------------------------------------------------------------------------------------------------------------
# The pieces

MEASURE = """
import sys, tracemalloc
import minivis as mv
small, big, dtype = sys.argv[1:]
def peak():
    lines = [line.split() for line in open("/proc/self/status")]
    return next(int(line[1]) * 1024 for line in lines if line[0] == "VmHWM:")
mv.from_pretrained(small)
before = peak()
mv.from_pretrained(big, dtype=dtype)
resident = peak() - before
tracemalloc.start()
mv.from_pretrained(big, dtype=dtype)
print(resident, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory there was")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_memory_stays_within_a_fifth_more_than_the_file(tmp_path, dtype):
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8}
    config = {**CONFIG, **sizes, "image_size": [224, 224], "patch_size": 16}
    model = folders._build("", folders._family("", config), config)
    names = folders._family("", config).names(model, "hf")
    shapes = {n: p.shape for n, p in model.named_parameters()}
    big = publish(tmp_path, {theirs: np.ones(shapes[ours], dtype) for ours, theirs in names.items()}, config)
    size = (big / "model.safetensors").stat().st_size
    assert size > 35e6
    command = [sys.executable, "-c", MEASURE, str(SOURCE), str(big), dtype]
    measured = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
    resident, traced = (int(x) / size for x in measured.split())
    assert 0.9 < resident < 1.2 and 0.9 < traced < 1.2, (resident, traced)


def test_rules_are_tried_in_order_and_none_may_be_missing():
    rules = [("a.*.x", "first.*"), ("a.*.*", Part("second.*.*", 1, 2))]
    assert translate(["a.1.x", "a.2.y"], rules) == {"a.1.x": "first.1", "a.2.y": Part("second.2.y", 1, 2)}
    with pytest.raises(ValueError, match="no rule for b"):
        translate(["b"], rules)


def test_labels_are_counted_where_they_are_not_named():
    assert labels_of({}) == {0: "LABEL_0", 1: "LABEL_1"}
    assert list(labels_of({"num_labels": 3})) == [0, 1, 2]
