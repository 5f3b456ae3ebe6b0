"""The range test of learning rates: what it finds, and that nothing is changed by it.

Not here: the picture of it (viz/test_training.py).
"""

import json
import math

import numpy as np
import pytest

from minivis import nn, ops, optim, train
from minivis.data import DataLoader
from tests.test_train import bits, cross_entropy, parts


def distance(model, x, y):
    return ops.mse_loss(model(x), y)


def test_it_finds_the_rate_at_which_gradient_descent_breaks_down():
    """On a linear model that is 2 / (the largest eigenvalue of the Hessian), here 2 X^T X / N."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [3.0], [0.5]], np.float32)
    limit = 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()
    for scale in (1.0, 10.0):  # inputs ten times as large: rates a hundred times smaller
        model = nn.Linear(4, 1, bias=False, rng=0)
        loader = DataLoader((x * np.float32(scale), y), 64)
        optimizer = optim.SGD(model, lr=0.5)
        found = train.lr_range_test(model, loader, distance, optimizer, low=1e-6, high=1e3, steps=150)
        assert (
            0.005 * limit < found["suggested"] * scale**2 < limit < found["lr"][-1] * scale**2 < 100 * limit
        )
        assert len(found["lr"]) == len(found["loss"]) == len(found["smoothed"]) < 150
        steps = np.diff(np.log(found["lr"]))
        assert found["lr"][0] == pytest.approx(1e-6) and steps == pytest.approx(np.log(1e9) / 149)


def test_the_smoothed_loss_is_a_mean_with_fading_weights():
    model, loader, loss, optimizer, _ = parts()
    found = train.lr_range_test(model, loader, loss, optimizer, steps=12)
    slow = []
    for i in range(12):
        above = sum(0.9 ** (i - j) * found["loss"][j] for j in range(i + 1))
        slow.append(above / sum(0.9 ** (i - j) for j in range(i + 1)))
    assert found["smoothed"] == pytest.approx(slow, rel=1e-12)


def state(model, loader, optimizer):
    moments = {name: x.tobytes() for name, x in optimizer.state_dict().items()}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    grads = [None if p.grad is None else p.grad.tobytes() for p in model.parameters()]
    generators = json.dumps(model.rng_state())
    return bits(model), moments, repr(groups), grads, generators, vars(loader).copy(), model.training


@pytest.mark.parametrize("broken", [False, True])
def test_nothing_is_changed_bit_for_bit(broken):
    """In the middle of a training, with an epoch half read; also when the loss raises."""
    model, loader, loss, optimizer, _ = parts()
    optimizer.schedule = optim.ReduceLROnPlateau()
    optimizer.schedule.step(0.5)
    train.train_step(model, loss, next(iter(loader)), optimizer)
    before = state(model, loader, optimizer)
    kept = vars(optimizer.schedule).copy()
    if broken:
        with pytest.raises(ZeroDivisionError):
            train.lr_range_test(model, loader, lambda model, *batch: 1 / 0, optimizer)
    else:
        found = train.lr_range_test(model, loader, loss, optimizer, high=1e4)
        assert found["lr"][-1] > 1
    assert state(model, loader, optimizer) == before and vars(optimizer.schedule) == kept
    again, other, *_ = parts()
    next(iter(other))
    expected = [x.tobytes() for x, _ in list(other)]
    assert [x.tobytes() for x, _ in list(loader)] == expected


def test_other_groups_keep_their_ratio():
    seen = []
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters(), "lr": 0.05}]

    class Watched(optim.SGD):
        def _update(self, parameter, grad, state, group, lr):
            seen.append(lr)
            super()._update(parameter, grad, state, group, lr)

    found = train.lr_range_test(model, parts()[1], cross_entropy, Watched(groups, lr=1.0), 1e-4, 1e-2, 10)
    assert seen[::4] == pytest.approx(found["lr"])
    assert seen[2::4] == pytest.approx([x / 10 for x in found["lr"]])


def test_where_nothing_falls_there_is_no_suggestion():
    model, loader, _, optimizer, _ = parts()
    rising = iter(range(1, 100))

    def loss(model, x, labels):
        return cross_entropy(model, x, labels) * 0 + next(rising)

    found = train.lr_range_test(model, loader, loss, optimizer)
    assert math.isnan(found["suggested"]) and len(found["lr"]) < 20


def test_a_loss_that_is_no_longer_finite_ends_it():
    model, loader, _, optimizer, _ = parts()
    count = iter(range(100))

    def loss(model, x, labels):
        return cross_entropy(model, x, labels) * (math.inf if next(count) == 20 else 1)

    with np.errstate(all="ignore"):
        assert len(train.lr_range_test(model, loader, loss, optimizer)["loss"]) == 20


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"low": 0.0}, ValueError, "needs 0 < low < high, got low=0.0 and high=1.0"),
        ({"low": 1.0}, ValueError, "needs 0 < low < high"),
        ({"high": math.nan}, ValueError, "needs 0 < low < high"),
        ({"steps": 9}, ValueError, "steps must be a whole number of at least 10"),
        ({"loss": {"a": cross_entropy}}, TypeError, "one loss and one optimizer"),
    ],
)
def test_what_cannot_be_tested_is_named(options, error, complaint):
    model, loader, loss, optimizer, _ = parts()
    with pytest.raises(error, match=f"^lr_range_test: .*{complaint}"):
        train.lr_range_test(
            **{"model": model, "loader": loader, "loss": loss, "optimizer": optimizer, **options}
        )
    optimizer.param_groups[0]["lr"] = 0
    with pytest.raises(ValueError, match="^lr_range_test: the learning rate .* is 0"):
        train.lr_range_test(model, loader, loss, optimizer)
