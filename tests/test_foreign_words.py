"""Who writes PyTorch's words is told what the thing is called here: each row of the tables is tried by making its error.

Not here: errors of ops and layers in general (ops/, nn/).
"""

import copy
import importlib
import inspect
import pickle
import re

import numpy as np
import pytest

import minivis as mv
from minivis import foreign_words, nn, ops
from minivis.data import CocoDetection, CocoPanoptic, DataLoader, ImageFolder, MaskFolder
from minivis.data.cifar import CIFAR10
from minivis.data.mnist import MNIST
from minivis.models import CNN, DETR, Mask2Former, ResNet, Swin, ViT
from minivis.optim import SGD, AdamW
from minivis.train import fit

X = mv.Tensor([1.0, 2.0])
# whatever takes arguments: which of them a word is meant for follows from the table
TAKES = {
    "ViT": ViT, "Swin": Swin, "ResNet": ResNet, "CNN": CNN, "DETR": DETR, "Mask2Former": Mask2Former,
    "MLP": nn.MLP, "ReLU": nn.ReLU, "Conv2d": nn.Conv2d, "MultiHeadAttention": nn.MultiHeadAttention,
    "TransformerEncoderLayer": nn.TransformerEncoderLayer, "LayerNorm": nn.LayerNorm, "ConditionalBatchNorm2d": nn.ConditionalBatchNorm2d,
    "fit": fit, "from_pretrained": mv.from_pretrained, "ImageFolder": ImageFolder, "MaskFolder": MaskFolder, "CocoDetection": CocoDetection,
    "CocoPanoptic": CocoPanoptic, "CIFAR10": CIFAR10, "MNIST": MNIST, "DataLoader": DataLoader, "Tensor": mv.Tensor, "AdamW": AdamW, "SGD": SGD,
    "cross_entropy": ops.cross_entropy, "sum": ops.sum, "relu": ops.relu, "scaled_dot_product_attention": ops.scaled_dot_product_attention,
}  # fmt: skip


def names_in(text):
    """The names of the library in a text, such as mv.ops.where."""
    return re.findall(r"\bmv(?:\.[A-Za-z_]\w*)+", text)


def test_what_is_recommended_exists():
    tables = [
        foreign_words.TENSOR,
        foreign_words.MODULE,
        *foreign_words.PACKAGES.values(),
        foreign_words.ARGUMENTS,
    ]
    texts = [text for table in tables for text in table.values() if isinstance(text, str)]
    named = {name for text in texts for name in names_in(text)}
    assert len(named) > 30
    for name in named:
        thing = mv
        for part in name.split(".")[1:]:
            thing = getattr(thing, part)
    for table, owner in ((foreign_words.TENSOR, X), (foreign_words.MODULE, nn.Linear(2, 2))):
        for text in table.values():
            for method in re.findall(r"\b(?:x|model)\.(\w+)", text):
                assert hasattr(owner, method), text


@pytest.mark.parametrize("word", foreign_words.TENSOR)
def test_a_word_for_a_tensor(word):
    assert not hasattr(X, word)
    told = re.escape(f"'Tensor' object has no attribute '{word}'; here it is {foreign_words.TENSOR[word]}")
    with pytest.raises(AttributeError, match=f"^{told}$"):
        getattr(X, word)()


@pytest.mark.parametrize("word", foreign_words.MODULE)
def test_a_word_for_a_module(word):
    model = nn.Linear(2, 2)
    told = re.escape(f"'Linear' object has no attribute '{word}'; here it is {foreign_words.MODULE[word]}")
    with pytest.raises(AttributeError, match=f"^{told}$"):
        getattr(model, word)()


@pytest.mark.parametrize(
    ("package", "word"),
    [(package, word) for package, words in foreign_words.PACKAGES.items() for word in words],
)
def test_a_name_in_a_package(package, word):
    told = re.escape(f"module '{package}' has no attribute '{word}'; here it is ")
    with pytest.raises(AttributeError, match=f"^{told}"):
        getattr(importlib.import_module(package), word)


@pytest.mark.parametrize(
    "line",
    [
        "from minivis.nn import functional",
        "import minivis.nn.functional as F",
        "from minivis.nn.functional import relu",
        "from minivis.models import VisionTransformer",
        "from minivis.data import Dataset",
        "import minivis.utils.data",
        "from minivis import nn, tensor",
    ],
)
def test_an_import(line):
    package, word = re.search(
        r"(minivis[\w.]*?)(?: import .*?|\.)(\w+)(?:\.data| as F| import relu)?$", line
    ).groups()
    told = re.escape(f"module '{package}' has no attribute '{word}'; here it is ")
    with pytest.raises(ImportError, match=f"^{told}"):
        exec(line, {})


def test_what_is_no_word_is_not_imported_either():
    with pytest.raises(ImportError, match="cannot import name 'nonsense' from 'minivis.nn'"):
        exec("from minivis.nn import nonsense", {})
    with pytest.raises(ModuleNotFoundError, match="No module named 'minivis.nonsense'"):
        importlib.import_module("minivis.nonsense")


def takes(word):
    """Things that do not have an argument of this name: those that have what it is here, or any if it is nothing here."""
    ours = foreign_words.ARGUMENTS[word]
    for name, thing in TAKES.items():
        known = inspect.signature(thing).parameters
        if (name, word) == ("sum", "dtype"):
            continue  # np.sum passes it on: there is an error for that
        if word not in known and (isinstance(ours, str) or set(ours) & set(known)):
            yield name, thing, known


@pytest.mark.parametrize("word", foreign_words.ARGUMENTS)
def test_a_foreign_argument(word):
    ours = foreign_words.ARGUMENTS[word]
    tried = 0
    for name, thing, known in takes(word):
        instead = ours if isinstance(ours, str) else f"here it is {next(o for o in ours if o in known)}"
        pattern = rf"{name}: there is no argument '{word}': {re.escape(instead)} \(there are .*\)$"
        with pytest.raises(TypeError, match=pattern):
            thing(**{word: 1})
        tried += 1
    assert tried


def test_every_word_of_ours_is_reached():
    for word, ours in foreign_words.ARGUMENTS.items():
        if isinstance(ours, str):
            continue
        reached = {next(o for o in ours if o in known) for _, _, known in takes(word)}
        assert reached == set(ours), (word, reached)


def test_an_argument_that_nobody_knows_is_listed_without_a_word():
    with pytest.raises(
        TypeError, match=r"^ViT: there is no argument 'colour' \(there are image_size, .*, rng\)$"
    ):
        ViT(colour=3)
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        nn.Linear()


def test_an_attribute_that_nobody_knows_is_an_ordinary_error():
    word = "colour"
    for thing, kind in ((X, "Tensor"), (nn.Linear(2, 2), "Linear")):
        with pytest.raises(AttributeError, match=f"^'{kind}' object has no attribute 'colour'$") as caught:
            getattr(thing, word)
        assert caught.value.name == "colour" and caught.value.obj is thing
    assert getattr(X, "colour", 3) == 3
    with pytest.raises(AttributeError, match="^module 'minivis.nn' has no attribute 'colour'$"):
        importlib.import_module("minivis.nn").__getattr__("colour")


class Halved(nn.Module):
    """A property that fails inside."""

    @property
    def half(self):
        return self.whole / 2


def test_a_property_that_fails_says_why_itself():
    with pytest.raises(AttributeError, match="^'Halved' object has no attribute 'whole'$"):
        Halved().half()


def test_models_and_tensors_are_copied_and_pickled_as_before():
    model = CNN(widths=(4,), rng=1)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.head.weight.data, model.head.weight.data)
    assert copy.deepcopy(X).numpy().tolist() == [1, 2]


def test_devices_states_and_files_of_pytorch(tmp_path):
    model = nn.Linear(3, 2)
    for device in ("cuda", "cuda:0", "mps"):
        with pytest.raises(
            ValueError, match=f"unknown device '{device}'; known are .*; a graphics card is 'gpu' here"
        ):
            model.to(device)
        with pytest.raises(ValueError, match="a graphics card is 'gpu' here"):
            mv.to_device(X, device)
    with pytest.raises(
        TypeError,
        match=r"save: expected a model \(a Module\), got dict: give the model itself, mv.save\(model",
    ):
        mv.save(model.state_dict(), tmp_path)
    with pytest.raises(
        ValueError, match=r"load: .*best.pth is a file of PyTorch.*safetensors.torch.save_file"
    ):
        mv.load(tmp_path / "best.pth")
    with pytest.raises(
        TypeError, match=r"state must be a dict of arrays, got str; mv.load\(folder, into=model\)"
    ):
        model.load_state_dict("best.pth")


class Tensor:
    """What torch calls its arrays, as far as the error asks."""


Tensor.__module__ = "torch"


def test_tensors_of_torch_are_no_arrays():
    model = nn.Linear(3, 2)
    state = dict.fromkeys(model.state_dict(), Tensor())
    with pytest.raises(
        TypeError, match=r"weight must be an array, got Tensor; of torch's tensors: \{name: x.numpy\(\)"
    ):
        model.load_state_dict(state)
