"""Folders as published: what is loaded, what is refused and in which words, and how much memory it takes.

Not here: the numbers a loaded model computes (tests/parity/test_published_parity.py), every name (test_published_names.py).
"""

import json
import logging
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.pretrained import folder as folders
from minivis.pretrained.family import Part, labels_of, translate

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
    mv.save(model, tmp_path / "ours")
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
    model = mv.from_pretrained(
        publish(tmp_path, weights, {"architecture": "vit", "pretrained_cfg": cfg}, None)
    )
    assert model.config["depth"] == 1 and model.config["heads"] == 1 and model.config["num_classes"] == 7
    assert model.config["eps"] == 1e-6 and model.config["image_size"] == (12, 12)
    assert (model.preprocess.shortest, model.preprocess.crop, model.preprocess.resample) == (16, (12, 12), 3)
    assert model(model.preprocess(np.zeros((3, 50, 60), np.float32))).shape == (1, 7)
    publish(tmp_path / "bare", weights, None, None)
    assert len(mv.from_pretrained(tmp_path / "bare").labels) == 7
    named = {"id2label": {str(i): f"bird {i}" for i in range(7)}}
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
        ({**WEIGHTS, HEAD: np.zeros((5, 16), np.int8)}, r"neither float16, float32 nor float64 are classifier.weight \(I8\)"),
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
        ({**CONFIG, "model_type": "bert"}, "minivis has no model of type 'bert'; it has deit, .*vit"),
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
        assert len(lines) == 4 and name in lines[0] and "save_file(" in lines[3]
        assert name in lines[2]


def test_the_way_to_convert_works(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the parity extra")
    publish(tmp_path, None)
    torch.save({"model": {n: torch.from_numpy(x) for n, x in WEIGHTS.items()}}, tmp_path / "vit.pth")
    with pytest.raises(ValueError) as caught:
        mv.from_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(line.strip() for line in str(caught.value).splitlines()[1:]), {})
    np.testing.assert_array_equal(logits(mv.from_pretrained(tmp_path)), logits(mv.from_pretrained(SOURCE)))


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
