"""A trained model gets other classes: what depends on them is new, all else is the old model's, and it is saved and loaded.

Not here: what is saved beside the weights (test_storage.py), training on pictures of one's own (tasks/).
"""

import copy
from pathlib import Path

import numpy as np
import pytest

import minivis as mv
from minivis import nn
from minivis.models import DETR, FastRCNN, ViT
from minivis.storage import with_classes

PUBLISHED = Path(__file__).parent / "parity" / "published"
# checkpoint -> the weights that depend on its classes, from the papers' figures: the last layer of each head
PACKAGED_HEADS = {
    "cnn-digits": ["head"],
    "vit-digits": ["head"],
    "detr-panoptic-shapes": ["class_head"],
    "mask-rcnn-shapes": ["class_head", "box_head", "mask_head.out"],
    "yolo-shapes": ["head"],
    "fcn-shapes": ["score_layers.0", "score_layers.1", "score_layers.2"],
    "unet-shapes": ["head"],
    "setr-shapes": ["head.classifier"],
    "segmenter-shapes": ["decoder.class_tokens", "decoder.mask_norm"],
    "maskformer-shapes": ["class_head"],
}
PUBLISHED_HEADS = {
    "vit": ["head"],
    "deit": ["head", "head_dist"],
    "dinov2-backbone": ["head"],
    "resnet": ["head"],
    "swin": ["head"],
    "vgg": ["classifier.6"],
    "detr": ["class_head"],
    "mask-rcnn": ["class_head", "box_head", "mask_head.out"],
    "fcn": ["head.4", "auxiliary_head.4"],
    "mask2former": ["class_head"],
    "maskformer": ["class_head"],
}


def heads(names):
    """The modules (or bare parameters) that the names of weights belong to."""
    return list(dict.fromkeys(name.removesuffix(".weight").removesuffix(".bias") for name in names))


def numbers(output):
    """Every array of a model's output, in one list."""
    if isinstance(output, list | tuple):
        return [x for part in output for x in numbers(part)]
    if isinstance(output, dict):
        return [np.asarray(x) for x in output.values()]
    parts = (
        [output]
        if isinstance(output, mv.Tensor)
        else [getattr(output, name, None) for name in ("logits", "boxes", "masks")]
    )
    return [part.numpy() for part in parts if part is not None]


def check_new(old, new, expected):
    before = old.state_dict()
    after = new.state_dict()
    assert heads(new.new_weights) == expected
    assert [
        name
        for name in after
        if name not in new.new_weights and not np.array_equal(after[name], before[name])
    ] == []
    assert before.keys() - after.keys() == set() and new.training == old.training


@pytest.mark.parametrize("name", PACKAGED_HEADS)
def test_a_packaged_model_gets_three_classes(name, tmp_path):
    old = mv.load(name)
    weights = old.state_dict()
    new = with_classes(old, labels=["cat", "dog", "$1"], rng=5)
    check_new(old, new, PACKAGED_HEADS[name])
    # as the constructor makes them, from the same seed, with the same backbone
    arguments = {n: copy.deepcopy(x) for n, x in new.config.items()}
    made = type(new)(**arguments, rng=5).state_dict()
    assert all(np.array_equal(made[n], new.state_dict()[n]) for n in new.new_weights)
    first = int("rcnn" in name)
    assert [new.labels[first + i] for i in range(3)] == ["cat", "dog", "$1"] and len(new.labels) == 3 + first
    mv.save(new, tmp_path)  # a warning would be an error
    loaded = mv.load(tmp_path)
    photo = np.random.default_rng(0).random((3, 80, 90))
    images = old.preprocess(photo)
    with mv.no_grad():
        answers = [numbers(model(images)) for model in (new, loaded)]
    assert len(answers[0]) and all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))
    assert loaded.labels == new.labels and loaded.preprocess(photo).shape == images.shape
    for p in new.parameters():
        p.data += 1
    assert all(np.array_equal(x, weights[n]) for n, x in old.state_dict().items())


@pytest.mark.parametrize("name", PUBLISHED_HEADS)
def test_a_published_model_gets_three_classes_and_says_what_is_new(name, tmp_path, caplog):
    old = mv.from_pretrained(PUBLISHED / name, dtype="float32")
    caplog.clear()
    new = mv.from_pretrained(PUBLISHED / name, dtype="float32", num_classes=3)
    check_new(old, new, PUBLISHED_HEADS[name])
    said = caplog.records[-1].getMessage()
    assert said.startswith(
        f"from_pretrained: new, and not trained yet, are {new.new_weights[0]}, {new.new_weights[1]}"
    )
    mv.save(new, tmp_path)
    loaded = mv.load(tmp_path)
    assert loaded.preprocess.settings() == old.preprocess.settings() and loaded.labels == new.labels
    assert not hasattr(loaded, "published")


@pytest.mark.parametrize("name", ["vit", "detr-panoptic", "mask-rcnn"])
def test_a_published_model_is_saved_whole(name, tmp_path):
    model = mv.from_pretrained(PUBLISHED / name, dtype="float32")
    mv.save(model, tmp_path)
    loaded = mv.load(tmp_path)
    for note in ("labels", "things", "published"):
        assert getattr(loaded, note) == getattr(model, note)
    photo = np.random.default_rng(0).random((3, 40, 50))
    np.testing.assert_array_equal(loaded.preprocess(photo), model.preprocess(photo))


def test_as_many_classes_as_before_are_others_nevertheless():
    old = mv.load("vit-digits")
    new = with_classes(old, 10)
    assert new.new_weights == ["head.weight", "head.bias"]
    assert not np.array_equal(new.head.weight.data, old.head.weight.data)


def test_dtype_mode_and_frozen_weights_are_kept():
    old = mv.load("detr-shapes").to("float64").train()
    old.backbone.requires_grad_(False)
    new = with_classes(old, 2)
    assert {p.dtype.name for p in new.parameters()} == {"float64"} and new.training
    assert not any(p.requires_grad for p in new.backbone.parameters())
    assert all(p.requires_grad for n, p in new.named_parameters() if not n.startswith("backbone."))


def test_the_classes_of_a_detector_with_regions_begin_with_one():
    new = with_classes(mv.load("faster-rcnn-shapes"), 2)
    assert new.labels == {0: "background", 1: "class 0", 2: "class 1"} and new.config["num_classes"] == 3
    fast = FastRCNN(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), 4, 1, 5, size=2, hidden=8)
    assert with_classes(fast, 2).head.weight.shape == (3, 8)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1, got 0; or give labels"),
        ({"num_classes": True}, "num_classes must be a whole number"),
        ({}, "num_classes must be a whole number of at least 1, got None"),
        ({"labels": "cat"}, "labels must be a list of the classes' names, got 'cat'"),
        ({"labels": []}, "labels must be a list"),
        ({"labels": ["cat"], "num_classes": 2}, "num_classes is 2, but labels has 1 name"),
    ],
)
def test_a_wrong_number_is_told(arguments, told):
    with pytest.raises(ValueError, match=f"^with_classes: {told}"):
        with_classes(ViT(8, 4, 8, 1, 2, num_classes=3), **arguments)


def test_a_model_without_classes_is_refused_with_a_reason():
    with pytest.raises(ValueError, match="with_classes: MAE is not made with num_classes"):
        with_classes(mv.load("mae-shapes"), 3)
    with pytest.raises(ValueError, match="from_pretrained: a CLIP has no classes to exchange.*encode_text"):
        mv.from_pretrained(PUBLISHED / "clip", num_classes=3)
    with pytest.raises(ValueError, match="from_pretrained: this Swin is a backbone"):
        mv.from_pretrained(PUBLISHED / "swin-backbone", num_classes=3)
    with pytest.raises(TypeError, match="with_classes: expected a model"):
        with_classes("vit-digits", 3)


class Colours(nn.Module):
    """A backbone of the user's own, without an argument rng."""

    channels = (3,)

    def __init__(self):
        self.scale = nn.Parameter([1.0, 2.0, 3.0])

    def features(self, images):
        return [images * self.scale.reshape(1, 3, 1, 1)]


def test_a_backbone_of_ones_own_is_copied_with_its_weights():
    old = DETR(Colours(), 3, queries=2, width=8, heads=2, encoder_depth=1, decoder_depth=1, mlp_width=8)
    old.backbone.scale.data *= 7
    new = with_classes(old, 4)
    assert new.backbone.scale.data.tolist() == [7, 14, 21] and new.backbone is not old.backbone
    assert new.class_head.weight.shape == (5, 8)
