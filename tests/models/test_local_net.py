"""LocalNet: four layers under one interface, the pixels of a patch in their places, saving and refusing.

Not here: how well each learns (minivis/recipes/local_attention_shapes.json).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.models import LocalNet

RNG = np.random.default_rng(6)
LAYERS = ("attention", "relation", "convolution", "pointwise")
SMALL = {"num_classes": 3, "width": 16, "inner": 12, "depth": 1, "window": 3, "heads": 2, "patch_size": 2}


@pytest.mark.parametrize("layer", LAYERS)
def test_it_names_each_pixel_and_comes_back_from_a_file(layer, tmp_path):
    model = LocalNet(layer, **SMALL, rng=1)
    x = RNG.random((2, 3, 8, 12), np.float32)
    y = model(x)
    assert y.shape == (2, 3, 8, 12)
    mv.ops.cross_entropy(y, RNG.integers(0, 3, (2, 8, 12))).backward()
    assert all(p.grad is not None and np.abs(p.grad).max() > 0 for p in model.parameters())
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), y.numpy())


@pytest.mark.parametrize("layer", LAYERS)
def test_how_far_a_pixel_sees(layer):
    """One block: a patch sees itself, or the patches of its window. (Group norms see everything: they are taken away.)"""
    model = LocalNet(layer, **SMALL, rng=1)
    for module in model.modules():
        if isinstance(module, mv.nn.GroupNorm):
            module.forward = lambda x: x
    x = RNG.random((1, 3, 14, 14), np.float32)
    moved = x.copy()
    moved[..., 6:8, 6:8] += 1
    change = np.abs(model(moved).numpy() - model(x).numpy()).max(axis=(0, 1)) > 1e-6
    rows = np.flatnonzero(change.any(axis=1))
    reach = 0 if layer == "pointwise" else 2
    assert (rows.min(), rows.max()) == (6 - reach, 7 + reach)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="LocalNet: layer must be one of convolution, attention"):
        LocalNet("pooling")
    with pytest.raises(ValueError, match="LocalNet: depth must be"):
        LocalNet(depth=0)
    with pytest.raises(ValueError, match=r"LocalNet: images must be \(B, C, H, W\)"):
        LocalNet(**SMALL)(np.zeros((3, 8, 8)))


def test_an_empty_batch_gives_an_empty_answer_and_other_sides_are_refused():
    model = LocalNet("pointwise", num_classes=5, depth=1)
    assert model(np.zeros((0, 3, 8, 12), np.float32)).shape == (0, 5, 8, 12)
    with pytest.raises(ValueError, match="LocalNet: sides must be multiples of patch_size=4"):
        model(np.zeros((1, 3, 9, 12), np.float32))


def test_a_convolution_needs_an_odd_window():
    with pytest.raises(ValueError, match="LocalNet: the window of a convolution must be odd, got 4"):
        LocalNet("convolution", window=4)
