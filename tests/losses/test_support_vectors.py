"""The loss of support vector machines: by hand, its gradient, learning, mistakes.

Not here: the detectors that need it (tests/models/test_rcnn.py).
"""

import numpy as np
import pytest

from minivis import Tensor, losses, nn, optim


def test_by_hand_and_its_gradient():
    scores = Tensor(np.array([[2.0, 0.5], [-3.0, 0.5], [0.0, 9.0]]), requires_grad=True)
    signs = np.array([[1, 1], [-1, -1], [0, 0]])
    loss = losses.svm_loss(scores, signs)
    loss.backward()
    assert float(loss.numpy()) == pytest.approx(2 / 3)
    np.testing.assert_allclose(scores.grad, np.array([[0, -1], [0, 1], [0, 0]]) / 3)


def test_a_linear_machine_separates_what_can_be_separated():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((200, 2)).astype(np.float32)
    x = x[abs(x[:, 0] + x[:, 1]) > 0.3]
    signs = np.where(x[:, :1] + x[:, 1:] > 0, 1, -1)
    machine = nn.Linear(2, 1, rng=rng)
    optimizer = optim.AdamW(machine.parameters(), lr=0.1, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        losses.svm_loss(machine(x), signs).backward()
        optimizer.step()
    assert (np.sign(machine(x).numpy()) == signs).all()
    (a, b) = machine.weight.numpy()[0]
    assert a == pytest.approx(b, rel=0.2)


@pytest.mark.parametrize(
    ("scores", "signs", "kind", "words"),
    [
        (np.zeros((2, 3)), np.ones((2, 2)), ValueError, r"svm_loss: scores and signs must be .*\(2, 3\)"),
        (np.zeros((0, 3)), np.ones((0, 3)), ValueError, "at least one example"),
        (np.zeros((2, 3)), np.full((2, 3), 2), ValueError, "signs must be -1, 0 or 1"),
        (np.zeros((2, 3), int), np.ones((2, 3)), TypeError, "floating-point, got int64"),
    ],
)
def test_mistakes_are_named(scores, signs, kind, words):
    with pytest.raises(kind, match=words):
        losses.svm_loss(scores, signs)
