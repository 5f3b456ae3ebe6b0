"""The hinge losses: worked numbers, gradients, what is refused.

Not here: their laws (minivis.laws).
"""

import numpy as np
import pytest

from minivis import Tensor, to_device, to_numpy
from minivis.losses import hinge_d, hinge_g

REAL = np.array([2.0, 0.5])
FAKE = np.array([-2.0, 0.5])


def test_worked_numbers():
    assert float(hinge_d(REAL, FAKE)) == 0.25 + 0.75 and float(hinge_g(FAKE)) == 0.75


def test_the_gradient_stops_at_the_margin():
    real, fake = (Tensor(x, requires_grad=True) for x in (REAL, FAKE))
    hinge_d(real, fake).backward()
    assert real.grad.tolist() == [0, -0.5] and fake.grad.tolist() == [0, 0.5]
    fake.grad = None
    hinge_g(fake).backward()
    assert fake.grad.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(
    "call, error, complaint",
    [
        (lambda: hinge_d(np.zeros(0), FAKE), ValueError, r"^hinge_d: .*real is empty \(real: \(0,\) float64"),
        (
            lambda: hinge_d(REAL, FAKE.astype(int)),
            TypeError,
            r"^hinge_d: fake must be floating-point, got int64",
        ),
        (lambda: hinge_g(np.zeros((0, 1))), ValueError, r"^hinge_g: .*fake is empty"),
    ],
)
def test_mistakes_are_named(call, error, complaint):
    with pytest.raises(error, match=complaint):
        call()


def test_the_same_on_a_device(device):
    real, fake = (Tensor(to_device(x, device), requires_grad=True) for x in (REAL, FAKE))
    loss = hinge_d(real, fake) + hinge_g(fake)
    loss.backward()
    assert loss.device == device and float(loss.numpy()) == 1.75
    assert to_numpy(fake.grad).tolist() == [-0.5, 0] and to_numpy(real.grad).tolist() == [0, -0.5]
