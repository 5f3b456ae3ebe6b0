"""AlexNet and VGG with torchvision's names: sizes from the shapes alone, preparation of photos, what is refused.

Not here: values (tests/parity), full lists of names (test_published_names.py).
"""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.models import VGG, AlexNet
from minivis.pretrained import alexnet, vgg
from tests.parity.test_published_parity import HERE

PUBLISHED = HERE / "published"


def test_sizes_follow_from_the_shapes():
    found = {name: mv.from_pretrained(PUBLISHED / name).config for name in ("alexnet", "vgg", "vgg-bn")}
    assert {n: found["alexnet"][n] for n in ("towers", "widths", "hidden", "num_classes")} == {
        "towers": 1, "widths": (4, 6, 8, 6, 4), "hidden": 12, "num_classes": 5,
    }  # fmt: skip
    sizes = {
        name: tuple(found[name][n] for n in ("depths", "widths", "norm", "map_size"))
        for name in ("vgg", "vgg-bn")
    }
    assert sizes == {"vgg": ((1, 2), (4, 6), False, 7), "vgg-bn": ((2, 1), (4, 6), True, 7)}


def test_photos_are_prepared_as_torchvision_does(caplog):
    model = mv.from_pretrained(PUBLISHED / "vgg")
    photo = np.zeros((300, 400, 3), np.uint8)
    assert model.preprocess(photo).shape == (1, 3, 224, 224)
    np.testing.assert_allclose(
        model.preprocess(photo)[0, :, 0, 0],
        -np.divide([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        rtol=1e-5,
    )
    assert "preprocessor_config.json is missing" in caplog.text


def test_names_of_classes_come_from_an_incomplete_config(tmp_path):
    shutil.copy(PUBLISHED / "alexnet" / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text('{"id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}}')
    assert mv.from_pretrained(tmp_path).labels[3] == "d"


def test_a_file_that_lacks_a_layer_is_refused_by_name(tmp_path):
    arrays = load_file(PUBLISHED / "vgg" / "model.safetensors")
    del arrays["features.5.bias"]
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="that the names of its weights promise: it lacks features.5.bias"):
        mv.from_pretrained(tmp_path)


def test_other_vggs_of_timm_are_refused():
    shapes = {n: x.shape for n, x in load_file(PUBLISHED / "vgg" / "model.safetensors").items()}
    assert vgg.infer(shapes, {"architecture": "vgg16.tv_in1k"})["depths"] == [1, 2]
    with pytest.raises(ValueError, match="'repvgg_b0' is a model of timm that minivis does not have"):
        vgg.infer(shapes, {"architecture": "repvgg_b0"})
    assert alexnet.infer(shapes) is None


def test_published_defaults():
    with mv.nn.init.skip_init():
        assert isinstance(vgg.build({"num_labels": 10}), VGG)
        assert sum(p.size for p in vgg.build({"num_labels": 1000}).parameters()) == 138_357_544
        model = alexnet.build({"num_labels": 1000})
    assert isinstance(model, AlexNet) and sum(p.size for p in model.parameters()) == 61_100_840
