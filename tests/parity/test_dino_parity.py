"""DINO's head, loss and centre give what PyTorch gives, gradients included: against stored results everywhere.

Not here: the backbone (test_published_parity.py). Where torch is installed, it is asked again.
"""

import importlib.util

import numpy as np
import pytest

from minivis import Tensor
from minivis.losses import dino_loss, update_centre
from minivis.models import DINOHead
from tests.parity import make_dino_fixtures as fixtures
from tests.parity.make_nn_fixtures import load


def ours(batch_norm, dtype):
    weights, features, teacher, centre = fixtures.arrays(batch_norm)
    head = (
        DINOHead(fixtures.WIDTH, fixtures.K, fixtures.HIDDEN, fixtures.BOTTLENECK, batch_norm)
        .to(dtype)
        .train()
    )
    head.load_state_dict({name: x.astype(dtype) for name, x in weights.items()}, strict=False)
    x = Tensor(features.astype(dtype), requires_grad=True)
    student = head(x)
    teacher, centre = (array.astype(dtype) for array in (teacher, centre))
    loss = dino_loss(student, teacher, centre, fixtures.CROPS, teacher_temp=0.05)
    loss.backward()
    return {
        "student": student.numpy(),
        "loss": loss.numpy(),
        "centre": update_centre(centre, teacher),
        "gradient features": x.grad,
        "gradient last": head.last_layer.weight.grad,
        "gradient first": head.linears[0].weight.grad,
    }


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-9), ("float32", 1e-4)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_head_loss_and_centre_are_those_of_torch(batch_norm, dtype, close):
    found = ours(batch_norm, dtype)
    right = load(fixtures.DINO, str(int(batch_norm)))
    assert found.keys() == right.keys()
    for name, x in right.items():
        assert found[name].dtype == dtype, name
        assert np.abs(found[name] - x).max() <= close * np.abs(x).max(), name


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the parity extra")
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_stored_results_are_what_torch_gives_now(batch_norm):
    right = load(fixtures.DINO, str(int(batch_norm)))
    for name, x in fixtures.theirs(batch_norm).items():
        np.testing.assert_allclose(x, right[name], rtol=1e-9, atol=1e-12)
