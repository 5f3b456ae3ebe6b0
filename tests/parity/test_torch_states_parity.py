"""Weights go to real models of PyTorch and come back: the two then compute the same.

Not here: names and errors (tests/pretrained/test_torch_states.py), folders (test_hub_layout_parity.py).
"""

import importlib.util

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from minivis.autograd import no_grad
from tests.parity.exported_rows import randomised, vit
from tests.parity.make_torchvision_fixtures import torchvision_models

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the parity extra")


def plain():
    """A small network in both libraries, and an input."""
    from torch import nn as tn

    ours = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    theirs = tn.Sequential(
        tn.Conv2d(3, 4, 3, padding=1), tn.BatchNorm2d(4), tn.ReLU(), tn.Flatten(), tn.Linear(64, 2)
    )
    return ours, theirs, (2, 3, 4, 4)


def encoder():
    """Torch's Transformer encoder, whose attention has packed projections."""
    from torch import nn as tn

    ours = nn.TransformerEncoder([nn.TransformerEncoderLayer(8, 2, 12) for _ in range(2)])
    layer = tn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return ours, tn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (2, 5, 8)


def torchvision_vit():
    """A ViT of torchvision."""
    from functools import partial

    import torch

    kind = torchvision_models().VisionTransformer
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    return vit(0, image_size=12), kind(12, 4, 2, 2, 16, 24, num_classes=5, norm_layer=norm), (2, 3, 12, 12)


def torchvision_resnet():
    """A ResNet-18 of torchvision."""
    ours = models.ResNet((2, 2, 2, 2), "basic", num_classes=7)
    return ours, torchvision_models().resnet18(num_classes=7), (2, 3, 40, 33)


CASES = {
    "plain": (plain, None),
    "encoder": (encoder, "torch"),
    "vit": (torchvision_vit, "tv"),
    "resnet": (torchvision_resnet, "timm"),
}


def both(ours, theirs, shape):
    import torch

    x = np.random.default_rng(5).standard_normal(shape)
    with torch.no_grad(), no_grad():
        return ours(x).numpy(), theirs(torch.from_numpy(x)).numpy()


def assert_alike(ours, theirs, shape):
    y, expected = both(ours, theirs, shape)
    assert np.abs(y - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_weights_of_minivis_load_in_pytorch(name):
    make, dialect = CASES[name]
    ours, theirs, shape = make()
    ours = randomised(ours, np.random.default_rng(0)).to("float64")
    theirs = theirs.double().eval()
    theirs.load_state_dict(mv.to_torch_state(ours, dialect))
    assert_alike(ours, theirs, shape)


@pytest.mark.parametrize("name", CASES)
def test_weights_of_pytorch_load_in_minivis(name):
    ours, theirs, shape = CASES[name][0]()
    theirs = theirs.double().eval()
    assert_alike(mv.from_torch(theirs, into=ours.to("float64")).eval(), theirs, shape)


def test_bfloat16_and_gradients_are_no_obstacle():
    import torch

    theirs = torch.nn.Linear(3, 2).to(torch.bfloat16)
    state = dict(theirs.named_parameters())  # these require gradients
    layer = mv.from_torch(state, into=nn.Linear(3, 2))
    assert np.array_equal(layer.weight.numpy(), theirs.weight.detach().float().numpy())


def test_a_wrapped_model_is_recognised():
    import torch

    theirs = torch.nn.Linear(3, 2)
    wrapped = torch.nn.DataParallel(theirs)
    assert all(name.startswith("module.") for name in wrapped.state_dict())
    layer = mv.from_torch(wrapped, into=nn.Linear(3, 2))
    assert np.array_equal(layer.bias.numpy(), theirs.bias.detach().numpy())


def test_a_tensor_without_an_array_is_named():
    import torch

    state = {"weight": torch.ones(2, 3).to_sparse(), "bias": torch.ones(2)}
    with pytest.raises(TypeError, match="from_torch: weight cannot become an array"):
        mv.from_torch(state, into=nn.Linear(3, 2))
