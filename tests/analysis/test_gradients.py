"""The length of each parameter's gradient.

Not here: whether gradients are right (tests/ops), the figure (tests/viz/test_depth.py).
"""

import numpy as np

from minivis import nn
from minivis.analysis import gradient_norms


def test_lengths_of_known_gradients_and_grads_that_stay():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1))
    model[0].weight.data[...] = 1
    model[1].weight.data[...] = 2
    kept = model[1].bias.grad = np.full(1, 7, np.float32)
    found = gradient_norms(model, lambda m: m(np.array([[3.0, 4.0]], np.float32)).sum())
    assert found == {"0.weight": 10.0, "1.weight": 7.0, "1.bias": 1.0}
    assert model[1].bias.grad is kept and model[0].weight.grad is None
    assert gradient_norms(model, lambda m: m[0].weight.sum()) == {
        "0.weight": 2**0.5,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }
