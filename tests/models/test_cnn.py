"""The small CNN: its shapes, its options, that the position of an object does not matter, and that it learns.

Not here: its accuracy on digits (the recipe's test).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import optim
from minivis.models import CNN

RNG = np.random.default_rng(6)


def test_stages_halve_the_map_and_widths_are_channels():
    model = CNN(channels=3, widths=(4, 6, 8), depth=1, num_classes=5)
    shapes = [r.shape for r in mv.summary(model, (2, 3, 16, 8)).rows if r.kind == "Conv2d"]
    assert shapes == ["(2, 4, 16, 8)", "(2, 6, 8, 4)", "(2, 8, 4, 2)"]
    assert sum(p.size for p in CNN().parameters()) == 65_834
    assert all(m.bias is None for m in model.modules() if type(m).__name__ == "Conv2d")
    with pytest.raises(ValueError, match="CNN: kernel_size must be odd"):
        CNN(kernel_size=4)


def test_a_shifted_pattern_away_from_the_border_gives_the_same_logits():
    model = CNN(widths=(4,), depth=2).eval()
    x = np.zeros((2, 1, 12, 12), np.float32)
    pattern = RNG.standard_normal((3, 3))
    x[0, 0, 3:6, 3:6] = x[1, 0, 5:8, 6:9] = pattern
    y = model(x).numpy()
    np.testing.assert_allclose(y[0], y[1], atol=1e-5)


def test_it_learns_and_evaluation_agrees_with_training():
    model = CNN(widths=(4, 8), depth=1, rng=0)
    x = RNG.standard_normal((32, 1, 8, 8)).astype("f")
    target = None
    target = (x[:, 0, :4].mean(axis=(1, 2)) > x[:, 0, 4:].mean(axis=(1, 2))).astype(int)
    optimiser = optim.AdamW(model, lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss = mv.ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.1
    assert (model.eval()(x).numpy().argmax(1) == target).mean() > 0.95


def test_an_empty_batch_gives_empty_logits_and_has_no_statistics_in_training():
    empty = np.zeros((0, 1, 8, 8), np.float32)
    assert CNN().eval()(empty).shape == (0, 10)
    with pytest.raises(ValueError, match="batch_norm: training needs more than one value a channel"):
        CNN()(empty)
