"""Saved models come back the same, nothing on disk is ever half-written, and a bad file is named, with what is wrong.

Not here: the checkpoints of a training (test_train.py) and how good the packaged models are (recipes/).
"""

import errno
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import minivis as mv
from minivis import nn, storage
from minivis.models import CNN, DETR, ResNet, ViT
from minivis.pretrained import Preprocess

SIZES = {
    "image_size": 8,
    "patch_size": 4,
    "width": 8,
    "depth": 1,
    "heads": 2,
    "num_classes": 3,
    "channels": 1,
}


def vit(rng=0, **options):
    return ViT(**{**SIZES, **options}, rng=rng)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(np.array_equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


def contents(folder):
    """Every file of a folder, hidden ones too, and its bytes."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture
def saved(tmp_path):
    """A folder with a good checkpoint."""
    mv.save(vit(rng=1), tmp_path / "run")
    return tmp_path / "run"


# ---------------------------------------------------------------------------------------------------------------------
# There and back


@pytest.mark.parametrize(
    "model", [vit(rng=3), vit(rng=3, pool="mean", dropout=0.1), CNN(widths=[4, 6], rng=3)]
)
def test_a_model_comes_back_the_same(tmp_path, model):
    images = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    if isinstance(model, CNN):
        model(images)  # running statistics that differ from the starting ones
    mv.save(model, tmp_path / "new" / "folder")
    loaded = mv.load(tmp_path / "new" / "folder")
    assert same(loaded, model) and type(loaded) is type(model) and loaded.config == model.config
    assert not loaded.training
    assert np.array_equal(loaded(images).data, model.eval()(images).data)


def test_the_folder_holds_two_files_people_can_read(saved):
    assert contents(saved).keys() == {"config.json", "model.safetensors"}
    config = json.loads((saved / "config.json").read_text())
    assert config["model"] == "vit.ViT" and config["arguments"].items() >= SIZES.items()
    arrays, _ = storage.read_arrays(saved / "model.safetensors")
    assert arrays.keys() == vit().state_dict().keys()


def test_saving_again_replaces(saved):
    mv.save(vit(rng=2), saved)
    assert same(mv.load(saved), vit(rng=2)) and len(contents(saved)) == 2


def test_half_precision_halves_the_file_and_comes_back_as_float32(tmp_path):
    model = vit(width=64)
    mv.save(model, tmp_path / "full")
    mv.save(model, tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = mv.load(tmp_path / "half").state_dict()
    for name, x in model.state_dict().items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_allclose(loaded[name], x, rtol=2**-11, atol=2**-24)


def test_half_precision_refuses_what_it_cannot_hold(tmp_path):
    model = vit()
    model.head.bias.data[1] = 70000
    with pytest.raises(ValueError, match=r"save: head.bias is too large for half precision: 7e\+04"):
        mv.save(model, tmp_path, half=True)
    assert contents(tmp_path) == {}


def test_a_model_of_ones_own_is_loaded_into_one(tmp_path):
    mv.save(nn.Linear(3, 2, rng=5), tmp_path)
    with pytest.raises(ValueError, match=r"cannot rebuild \(Linear\).*into=model"):
        mv.load(tmp_path)
    mine = nn.Linear(3, 2, rng=6)
    assert mv.load(tmp_path, into=mine) is mine and same(mine, nn.Linear(3, 2, rng=5))


def test_any_layout_in_memory_is_stored_by_value(tmp_path):
    arrays = {
        "turned": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.float32(3)[...],
        "none": np.zeros((0, 4)),
    }
    (tmp_path / "x").write_bytes(storage.pack_arrays(arrays, note="words"))
    found, notes = storage.read_arrays(tmp_path / "x")
    assert notes == {"note": "words"}
    for name, x in arrays.items():
        assert (
            found[name].shape == x.shape and found[name].dtype == x.dtype and np.array_equal(found[name], x)
        )


def test_a_loaded_model_can_be_trained(saved):
    model = mv.load(saved)
    for array in [*(p.data for p in model.parameters()), *(x for _, x in model.named_buffers())]:
        array += 1  # its own, not a placeholder and not the file
    assert same(mv.load(saved), vit(rng=1))


def test_bfloat16_is_read(saved):
    """The same weights with the lower half of every float32 cut off, packed by hand as others save them."""
    header = {}
    body = b""
    expected = {}
    for name, x in vit(rng=1).state_dict().items():
        bits = x.view(np.uint32)
        halves = (bits >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": x.shape,
            "data_offsets": [len(body), len(body) + len(halves)],
        }
        body = body + halves
        expected[name] = (bits & 0xFFFF0000).view(np.float32)
    head = json.dumps(header).encode()
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)
    loaded = mv.load(saved).state_dict()
    for name, x in expected.items():
        assert np.array_equal(loaded[name], x) and loaded[name].dtype == np.float32


def test_a_type_that_numpy_does_not_have_is_named(saved):
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(
        ValueError, match="model.safetensors: x holds numbers of the type F8_E4M3.*save them as float32"
    ):
        mv.load(saved)


def test_a_tilde_is_ones_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    mv.save(vit(rng=4), "~/run")
    assert same(mv.load("~/run"), vit(rng=4)) and (tmp_path / "run" / "config.json").is_file()


# ---------------------------------------------------------------------------------------------------------------------
# What would not come back is told when it is saved


class Colours(nn.Module):
    """A backbone that nobody but its owner can rebuild."""

    channels = (3,)

    def features(self, images):
        return [images]


def detr(backbone):
    return DETR(backbone, 3, queries=2, width=8, heads=2, encoder_depth=1, decoder_depth=1, mlp_width=8)


def with_head(model):
    model.head = nn.Linear(8, 7)
    return model


def with_two_heads(model):
    model.head = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3))
    return model


def with_relu(model):
    model.blocks[0].mlp.activation = nn.ReLU()
    return model


def noted(**notes):
    model = vit(rng=1)
    for name, value in notes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: with_head(vit()), r"head.weight, head.bias are not as vit.ViT makes them.*into=model"),
        (lambda: with_two_heads(vit()), r"head.0.weight, head.0.bias, head.1.weight and \d more are not as"),
        (lambda: with_relu(vit()), r"\(activation\): ReLU\(\) will be \(activation\): GELU\(\) again"),
        (lambda: noted(preprocess=np.array), "preprocess is not saved: it is code"),
        (lambda: noted(labels={0: "cat"}), "labels has 1 entry, but the model has 3 classes"),
        (
            lambda: noted(labels={1: "cat", 2: "dog"}),
            "labels is not saved: its classes must be numbered from 0",
        ),
        (lambda: noted(taught_by="a cat"), "taught_by are not saved"),
        (lambda: vit().to("float64"), "parameters in float64 come back as float32"),
        (
            lambda: detr(Colours()),
            r"it cannot be rebuilt.*config.json is of a model that minivis cannot rebuild \(Colours\)",
        ),
    ],
)
def test_what_load_would_not_give_back_is_told(tmp_path, model, told):
    with pytest.warns(
        UserWarning, match=rf"^save: mv.load\('.*run'\) will not give the same model back: .*{told}"
    ):
        mv.save(model(), tmp_path / "run")
    assert contents(tmp_path / "run").keys() == {"config.json", "model.safetensors"}


@pytest.mark.filterwarnings("ignore:save:UserWarning")
@pytest.mark.parametrize(
    ("change", "told"),
    [(with_head, "head.weight, head.bias are not as vit.ViT makes them"), (with_relu, "ReLU")],
)
def test_a_change_is_recorded_and_loading_without_it_is_refused_by_name(tmp_path, change, told):
    model = change(vit(rng=1))
    mv.save(model, tmp_path)
    (recorded,) = json.loads((tmp_path / "config.json").read_text())["changed"]
    assert told in recorded
    with pytest.raises(
        ValueError, match=f"config.json: the model was changed after it was made: .*{told}.*into=model"
    ):
        mv.load(tmp_path)
    assert same(mv.load(tmp_path, into=change(vit(rng=2))), model)


@pytest.mark.filterwarnings("ignore:save:UserWarning")
def test_a_replaced_head_comes_back_into_a_model_made_the_same_way(tmp_path):
    model = with_two_heads(vit(rng=1))
    mv.save(model, tmp_path)
    assert same(mv.load(tmp_path, into=with_two_heads(vit(rng=2))), model)


def test_whatever_does_come_back_is_saved_without_a_word(tmp_path):
    resnet = ResNet((1, 1), "basic", widths=(8, 16), num_classes=0, norm="frozen")
    for i, model in enumerate(
        [vit(), CNN(widths=(4,)), detr(resnet), vit(distilled="token"), nn.Linear(2, 2), Colours()]
    ):
        mv.save(model, tmp_path / str(i))  # warnings are errors here


# ---------------------------------------------------------------------------------------------------------------------
# What is saved beside the weights

PREPARE = Preprocess(shortest=24, longest=50, crop=(8, 8), mean=(0.5, 0.25, 0.125), std=(0.5,) * 3, grey=True)


def test_labels_and_the_preparation_of_photos_come_back(tmp_path):
    run = tmp_path / "run"
    mv.save(noted(labels=["cat", "dog", "$1"], things=[True, True, False], preprocess=PREPARE), run)
    loaded = mv.load(run)
    assert loaded.labels == {0: "cat", 1: "dog", 2: "$1"} and loaded.things == [True, True, False]
    photo = np.random.default_rng(0).random((3, 30, 40)).astype(np.float32)
    np.testing.assert_array_equal(loaded.preprocess(photo), PREPARE(photo))
    assert loaded.preprocess(photo).shape == (1, 1, 8, 8)
    assert repr(loaded.preprocess).startswith(
        "Preprocess(shortest=24, longest=50, crop=(8, 8), mean=(0.5, 0.25, 0.125)"
    )
    mv.save(loaded, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(run)
    other = vit(rng=2)
    assert mv.load(run, into=other).labels == loaded.labels


def test_a_name_may_be_edited_in_the_file(tmp_path):
    mv.save(noted(labels=["cat", "dog", "cow"]), tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("cow", "calf"))
    assert mv.load(tmp_path).labels[2] == "calf"


def test_a_folder_without_notes_loads_without_them(saved):
    assert not any(hasattr(mv.load(saved), name) for name in ("labels", "things", "preprocess"))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("labels", {"0": "cat"}, "labels must be a list of the classes' names"),
        ("labels", ["cat", 3], "labels must be a list"),
        ("labels", [""] * 100_001, "labels must be a list"),
        ("things", [1, 0], "things must be a list of true and false"),
        ("published", 3, "published must be an object"),
        ("preprocess", "resize", "expected settings out of size, shortest"),
        ("preprocess", {"sizes": [8, 8]}, "expected settings out of size, shortest"),
        ("preprocess", {"size": 8}, "size must be a list of 2 numbers, got 8"),
        ("preprocess", {"size": [8, 0]}, "size must be between 1 and 8192, got 0"),
        ("preprocess", {"size": [8000, 8000]}, "size of 8000 x 8000 pixels is more than any model sees"),
        ("preprocess", {"shortest": 1e9}, "shortest must be between 1 and 8192"),
        ("preprocess", {"std": [1, 1, 0]}, "std must be between 1e-09"),
        ("preprocess", {"mean": [0.5, 0.5]}, "mean must be a list of 3 numbers"),
        ("preprocess", {"resample": 9}, "resample must be between 0 and 5"),
        ("preprocess", {"divisor": "32"}, "it needs a whole number named 'divisor'"),
        ("preprocess", {"grey": "maybe"}, "it needs 1 or 0"),
        ("preprocess", {"finish": "os.remove"}, "finish must be one of lenet"),
    ],
)
def test_a_note_of_another_kind_is_refused(saved, name, value, told):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(ValueError, match=f"^load: .*config.json: .*{told}"):
        mv.load(saved)


# ---------------------------------------------------------------------------------------------------------------------
# Damage


def test_every_flipped_bit_is_noticed(saved):
    """Each of 400 damaged files is refused in words, or the bit was one that says nothing."""
    path = saved / "model.safetensors"
    whole = (saved / "model.safetensors").read_bytes()
    rng = np.random.default_rng(0)
    body = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for at in [*rng.integers(body, len(whole), 200), *rng.integers(0, body, 200)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert same(mv.load(saved), vit(rng=1)) and at < body  # a name of a note, or a space
        except ValueError as error:
            assert str(error).startswith("load: ") and str(path) in str(error) or "config.json" in str(error)
            refused += 1
    assert refused > 380


def test_a_damaged_file_says_what_to_do(saved):
    path = saved / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(
        ValueError, match=r"model.safetensors is damaged: .* checksum .* another copy, or save it again"
    ):
        mv.load(saved)


def test_the_checksum_is_of_all_that_is_said():
    from safetensors.numpy import load as unpack

    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), ">i4"), "c": np.float16(1)[...]}
    packed = storage.pack_arrays(arrays, note="words")
    said = json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])["__metadata__"]
    digest = hashlib.sha256()  # computed by hand, from the bytes as safetensors lays them out
    digest.update(b'[{"note": "words"}, [["a", "<f8", [2, 3]], ["b", "<i4", [0, 4]], ["c", "<f2", []]]]')
    digest.update(struct.pack("<6d", *range(6)) + b"" + struct.pack("<e", 1))
    assert said == {"note": "words", "sha256": digest.hexdigest()}
    assert unpack(packed)["b"].dtype == np.int32


def test_files_of_earlier_versions_have_no_checksum_and_load(saved):
    path = saved / "model.safetensors"
    model = vit(rng=1)
    config = json.dumps(json.loads((saved / "config.json").read_text()), sort_keys=True)
    for notes in ({"config": config}, None):
        save_file(model.state_dict(), path, metadata=notes)
        assert same(mv.load(saved), model)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing is believed before the weights were looked at


@pytest.mark.parametrize(
    "claim",
    [
        {"depth": 10**9},
        {"depth": 10**5},
        {"width": 8000},
        {"width": 2 * 10**6},
        {"mlp_ratio": 1e12},
        {"mlp_ratio": 1e308},
        {"image_size": 10**6, "patch_size": 1},
        {"num_classes": 10**9},
        {"depth": 1e400},
    ],
)
def test_a_claim_beyond_the_weights_is_refused_at_once(saved, claim):
    rewrite(saved, {"model": "vit.ViT", "arguments": SIZES | claim})
    tracemalloc.start()
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"^load: .*(config.json|model.safetensors)"):
        mv.load(saved)
    spent = time.process_time() - begun
    (_, peak) = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 2 and peak < 50e6, (spent, peak)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet.ResNet", {"depths": [10**6] * 50, "widths": [8] * 50}),
        ("swin.Swin", {"depths": [1] * 10**5, "heads": [1] * 10**5}),
        ("swin.Swin", {"window": 10**6}),
        ("cnn.CNN", {"widths": [10**6] * 900, "depth": 10**6}),
    ],
)
def test_claims_in_lists_are_refused_at_once(saved, name, arguments):
    rewrite(saved, {"model": name, "arguments": arguments})
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"^load: .*config.json: .* cannot be made of these arguments"):
        mv.load(saved)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("depth", [10, 300, 450, 900, 970, 985, 990, 3000])
def test_a_config_within_a_config_within_a_config_is_refused_in_words(saved, depth):
    for opening, closing in (('{"model": "vit.ViT", "arguments": {"backbone": ', "}}"), ("[", "]")):
        nested = f"{opening * depth}3{closing * depth}"
        rewrite(saved, f'{{"model": "vit.ViT", "arguments": {{"depth": {nested}}}}}'.encode())
        with pytest.raises(ValueError, match=r"^load: .*config.json"):
            mv.load(saved)


@pytest.mark.parametrize(
    "argument",
    [
        {"eps": "small"},
        {"eps": [1e-6, "x"]},
        {"eps": [1e-6, 1e-6]},
        {"dropout": None},
        {"antialias": 0.5},
        {"backbone": 0.5},
        {"pool": 1},
        {"activation": ["gelu"]},
    ],
)
def test_arguments_of_another_kind_are_named(saved, argument):
    rewrite(saved, {"model": "vit.ViT", "arguments": SIZES | argument})
    with pytest.raises(
        ValueError, match=f"cannot be made of these arguments: {next(iter(argument))} must be like"
    ):
        mv.load(saved)


def test_numbers_that_the_model_cannot_hold_are_refused(saved):
    arrays, _ = storage.read_arrays(saved / "model.safetensors")
    arrays["head.bias"] = np.array([1e300, 0, 0])
    (saved / "model.safetensors").write_bytes(storage.pack_arrays(arrays))
    with pytest.raises(ValueError, match="model.safetensors: head.bias holds numbers too large for float32"):
        mv.load(saved)


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be loaded


@pytest.mark.parametrize("name", ["vit-digit", "vitdigits"])
def test_an_unknown_name_suggests_the_nearest(name):
    with pytest.raises(FileNotFoundError, match=rf"^load: .*{name}.*did you mean 'vit-digits'"):
        mv.load(name)


def test_a_name_like_no_other_lists_what_there_is(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"^load: there is no folder .*nowhere.*cnn-digits, detr-panoptic-shapes"
    ):
        mv.load(tmp_path / "nowhere")


def test_the_file_in_place_of_its_folder_is_told_where_it_is(saved):
    with pytest.raises(FileNotFoundError, match="model.safetensors is a file; give the folder it is in"):
        mv.load(saved / "model.safetensors")


def test_what_is_no_model_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(TypeError, match="save: expected a model .* got (Posix|Windows)Path"):
        mv.save(tmp_path / "new", CNN(widths=(2,)))
    with pytest.raises(TypeError, match="load: expected a model .* got dict"):
        mv.load(tmp_path, into={})
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_said_to_hold_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no model.safetensors"):
        mv.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"^load: .*{name} is missing"):
        mv.load(saved)


def test_a_file_truncated_anywhere_is_refused(saved):
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    for length in [0, 1, 8, 9, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=rf"^load: .*model.safetensors: expected .*, found {length} bytes"
        ):
            mv.load(saved)


@pytest.mark.parametrize("foreign", [b"\x80\x04}.", b"PK\x03\x04" + bytes(100), b"version https://"])
def test_a_foreign_weight_file_is_refused(saved, foreign):
    (saved / "model.safetensors").write_bytes(foreign)
    with pytest.raises(ValueError, match=r"^load: .*model.safetensors: expected a safetensors file"):
        mv.load(saved)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b'"vit.ViT"', b"{}", b'{"model": 3}', b"[" * 100_000]
)
def test_a_foreign_config_is_refused(saved, content):
    rewrite(saved, content)
    with pytest.raises(ValueError, match=r"^load: .*config.json: expected"):
        mv.load(saved)


def rewrite(folder, config):
    """Another config.json, and weights that do not say to which config they belong."""
    arrays, _ = storage.read_arrays(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes(storage.pack_arrays(arrays))
    (folder / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())


@pytest.mark.parametrize(
    "name",
    ["os.system", "vit", "vit.", "vit.nothing", "vit.Block.__init__", "vit._pair", "vit.no_grad", "vit.vit_b16",
     "vit.ops", "..nn.linear.Linear", "__init__.ViT", "vit.Conv2d", "nn.Linear"],
)  # fmt: skip
def test_a_config_can_reach_nothing_but_models(saved, name):
    rewrite(saved, {"model": name, "arguments": {}})
    with pytest.raises(ValueError, match=r"^load: .*config.json names .*, which is no"):
        mv.load(saved)


@pytest.mark.parametrize("arguments", [{"widht": 8}, {"patch_size": 3}, {"heads": "two"}, {"patch_size": 0}])
def test_arguments_that_make_no_model_are_named(saved, arguments):
    rewrite(saved, {"model": "vit.ViT", "arguments": SIZES | arguments})
    with pytest.raises(ValueError, match=r"^load: .*config.json: vit.ViT cannot be made of these arguments"):
        mv.load(saved)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"width": 12}, r"cls_token: expected float32 \(1, 1, 12\), found float32 \(1, 1, 8\)"),
        ({"depth": 2}, r"lacks blocks.1.* and \d+ more"),
        ({"num_classes": 0}, "also has head.bias, head.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_half_loaded(saved, arguments, complaint):
    rewrite(saved, {"model": "vit.ViT", "arguments": SIZES | arguments})
    with pytest.raises(ValueError, match=r"^load: .*model.safetensors.*" + complaint):
        mv.load(saved)
    mine = vit(rng=9, **arguments)
    with pytest.raises(ValueError, match=complaint):
        mv.load(saved, into=mine)
    assert same(mine, vit(rng=9, **arguments))


def test_weights_of_another_kind_of_number_are_refused(saved):
    arrays, _ = storage.read_arrays(saved / "model.safetensors")
    arrays["head.bias"] = arrays["head.bias"].astype(np.int64)
    (saved / "model.safetensors").write_bytes(storage.pack_arrays(arrays))
    with pytest.raises(ValueError, match=r"head.bias: expected float32 \(3,\), found int64 \(3,\)"):
        mv.load(saved)


def test_a_config_beside_the_weights_of_another_is_noticed(saved):
    path = saved / "config.json"
    path.write_text(path.read_text().replace('"heads": 2', '"heads": 4'))  # every shape stays the same
    with pytest.raises(ValueError, match=r"config.json does not belong to the model.safetensors beside it"):
        mv.load(saved)


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be written


def fail_with(number, monkeypatch):
    """Let the second file fail on its way to the disk, when the first is complete."""
    real = os.fsync
    calls = []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number))
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, OSError), (errno.EACCES, PermissionError)])
def test_a_failed_write_keeps_the_old_checkpoint_and_leaves_nothing(saved, monkeypatch, number, kind):
    before = contents(saved)
    fail_with(number, monkeypatch)
    with pytest.raises(
        kind, match=rf"^save: cannot write .*run.*{os.strerror(number)}.*untouched"
    ) as failure:
        mv.save(vit(rng=2), saved)
    assert failure.value.errno == number
    assert contents(saved) == before and same(mv.load(saved), vit(rng=1))


def test_ctrl_c_while_saving_keeps_the_old_checkpoint(saved, monkeypatch):
    before = contents(saved)

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mv.save(vit(rng=2), saved)
    assert contents(saved) == before


@pytest.mark.skipif(sys.platform == "win32", reason="file-size limits are POSIX")
def test_a_write_the_system_cuts_off_keeps_the_old_checkpoint(saved):
    before = contents(saved)
    code = """if True:
        import resource, signal, sys
        import minivis as mv
        from minivis.models import ViT
        model = ViT(image_size=8, patch_size=4, width=64, depth=4, heads=2, num_classes=3, channels=1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        mv.save(model, sys.argv[1])"""
    result = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, text=True, timeout=60)
    last = result.stderr.splitlines()[-1]
    assert result.returncode == 1 and last.startswith("OSError: save: cannot write") and "too large" in last
    assert contents(saved) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("here first")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"^save: cannot write to the folder .*file"):
            mv.save(vit(), folder)
    assert contents(tmp_path) == {"file": b"here first"}


def test_an_unwritable_folder_is_named(tmp_path, monkeypatch):
    def refuse(self, *arguments, **options):  # permissions do not stop a test that runs as root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(PermissionError, match=r"^save: cannot write to the folder .*Permission denied"):
        mv.save(vit(), tmp_path)


def test_the_error_says_whether_a_file_was_replaced_already(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    real = os.replace

    def fails(wanted):
        def replace(source, target):
            if target == wanted:
                raise OSError(errno.EIO, "Input/output error")
            real(source, target)

        return replace

    for wanted, told in (
        (first, "what was there is untouched"),
        (second, "first is new already: save again"),
    ):
        monkeypatch.setattr(os, "replace", fails(wanted))
        with pytest.raises(OSError, match=told):
            storage.write_files({first: b"1", second: b"2"})
        assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))


# ---------------------------------------------------------------------------------------------------------------------
# Folders that version 0.1 wrote, with the names of then


def arguments_in(config):
    """(model, argument) of every argument a config.json names, backbones included."""
    for name, value in config["arguments"].items():
        yield config["model"], name
        if isinstance(value, dict):
            yield from arguments_in(value)


def test_the_shipped_folders_use_every_old_name():
    """They were written by 0.1 and stay as they are: while they load, so do all others of that time."""
    said = set()
    weights = set()
    for name in storage.names():
        folder = storage.PACKAGED / name
        said |= set(arguments_in(json.loads((folder / "config.json").read_text())))
        weights |= storage.read_arrays(folder / "model.safetensors")[0].keys()
    old = {(model, before) for model, names in storage.RENAMED_ARGUMENTS.items() for before in names}
    assert len(storage.names()) >= 7 and old <= said
    assert all(any(re.search(before, name) for name in weights) for before in storage.RENAMED_WEIGHTS)


@pytest.mark.parametrize("name", storage.names())
def test_a_shipped_folder_loads_whole_and_is_saved_with_the_names_of_today(name, tmp_path):
    folder = storage.PACKAGED / name
    before, _ = storage.read_arrays(folder / "model.safetensors")
    model = mv.load(name)
    arrays = model.state_dict()
    assert sorted(x.tobytes() for x in arrays.values()) == sorted(
        (x.astype(np.float32) if x.dtype.kind == "f" else x).tobytes() for x in before.values()
    )
    mv.save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert not any(argument in storage.RENAMED_ARGUMENTS.get(of, {}) for of, argument in arguments_in(config))
    assert same(mv.load(tmp_path), model) and mv.load(tmp_path).config.keys() == model.config.keys()
    assert same(mv.load(folder, into=storage._build("config.json", config)), model)


def test_an_old_name_is_taken_only_where_the_model_has_the_new_one(tmp_path):
    class Mine(nn.Module):
        """Somebody's own model, whose names look like those of 0.1."""

        def __init__(self):
            self.stages = [nn.Sequential()]
            self.stages[0].blocks = [nn.Sequential()]
            self.stages[0].blocks[0].attn = nn.MultiHeadAttention(4, 2, rng=1)

    assert "stages.0.blocks.0.attn.query.weight" in Mine().state_dict()
    mv.save(Mine(), tmp_path)
    assert same(mv.load(tmp_path, into=Mine()), Mine())


def test_integers_of_numpy_are_integers(tmp_path):
    labels = np.array([0, 4, 2])
    model = CNN(num_classes=labels.max() + 1, widths=(2, np.int64(3)))
    mv.save(model, tmp_path)
    assert mv.load(tmp_path).config == CNN(num_classes=5, widths=[2, 3]).config
    assert same(mv.load(tmp_path), model)


def test_an_argument_that_json_cannot_hold_is_named_before_anything_is_written(tmp_path):
    model = CNN(widths=(2, 3))
    model.config["widths"] = (2, {3})
    with pytest.raises(
        TypeError, match=r"save: CNN was made with widths=\(2, \{3\}\), which config.json cannot hold"
    ):
        mv.save(model, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_name_is_not_given_twice(tmp_path):
    mv.save(CNN(widths=(2,)), tmp_path)
    rewrite(tmp_path, {"model": "swin.Swin", "arguments": {"in_channels": 1, "channels": 3, "width": 8}})
    with pytest.raises(
        ValueError, match=r"config.json: swin.Swin is given channels twice: as in_channels too"
    ):
        mv.load(tmp_path)
