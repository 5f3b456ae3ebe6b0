"""How long a training is: epochs, batches that are gathered for an update, and going on to a later end.

Not here: exactness of a resume to the same end (test_train.py), an end that a measured number decides (test_monitoring.py).
"""

import sys
import weakref

import numpy as np
import pytest

from minivis import nn, ops, optim, recipes, train
from minivis.data import DataLoader
from tests.test_train import IMAGES, LABELS, bits, cross_entropy, parts, stop_at


def test_epochs_are_steps_through_the_whole_loader_with_a_row_for_each():
    (model, loader, loss, optimizer, _), (other, *rest) = parts(steps=21), parts(steps=21)
    history = train.fit(model, loader, loss, optimizer, epochs=3)
    train.fit(other, *rest)
    assert len(loader) == 7 and history["step"] == [7, 14, 21] and bits(model) == bits(other)
    history = train.fit(*parts()[:-1], epochs=np.int64(2), every=5)
    assert history["step"] == [5, 10, 14]
    # epochs end within updates 4 and 7, and after the last one
    history = train.fit(*parts()[:-1], epochs=3, accumulate=2)
    assert history["step"] == [4, 7, 10]
    assert train.fit(*parts()[:-1], epochs=4, accumulate=14)["step"] == [1, 2]


def test_the_log_says_which_epoch_it_is(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # in a notebook there would be a bar
    train.fit(*parts()[:-1], epochs=3)
    lines = capsys.readouterr().err.splitlines()
    assert "  epoch 1/3  loss " in lines[0] and "  epoch 3/3  loss " in lines[-1]


def layer():
    return nn.Sequential(nn.Linear(6, 5, rng=1), nn.GELU(), nn.Linear(5, 2, rng=2))


@pytest.mark.parametrize(
    "make", [lambda m: optim.SGD(m, lr=0.1, momentum=0.9), lambda m: optim.AdamW(m, 0.01)]
)
def test_gathered_batches_are_one_large_batch(make):
    small, large = layer(), layer()
    data = IMAGES[:48], LABELS[:48]
    history = train.fit(small, DataLoader(data, 4), cross_entropy, make(small), 10, accumulate=3, clip=0.2)
    expected = train.fit(large, DataLoader(data, 12), cross_entropy, make(large), 10, clip=0.2)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    for name, x in small.state_dict().items():
        np.testing.assert_allclose(x, large.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_the_hook_sees_the_mean_gradient_and_one_batch_is_in_work_at_a_time():
    """The right gradient of the mean squared error of a linear model, by hand: 2 / N X^T (X w - y)."""
    model = nn.Linear(6, 1, bias=False, rng=0)
    target = IMAGES @ np.arange(6, dtype=np.float32)[:, None]
    start = model.weight.data.copy()
    seen, alive = [], []

    def loss(model, x, y):
        assert not any(output() is not None for output in alive), (
            "the graph of an earlier batch is still there"
        )
        output = model(x)
        alive.append(weakref.ref(output))
        return ops.mse_loss(output, y)

    train.fit(
        model,
        DataLoader((IMAGES, target), 5),
        loss,
        optim.SGD(model, lr=0.1),
        1,
        accumulate=10,
        before_step=lambda model, optimizer, step: seen.append(model.weight.grad.copy()),
    )
    x, y, w = (a.astype(np.float64) for a in (IMAGES, target, start))
    right = (2 / 50 * x.T @ (x @ w.T - y)).T
    np.testing.assert_allclose(seen[0], right, rtol=1e-5)
    assert len(seen) == 1 and len(alive) == 10
    np.testing.assert_allclose(model.weight.data, start - 0.1 * seen[0], rtol=1e-6)


def test_a_resume_between_gathered_batches_is_exact(tmp_path):
    """Every update takes 3 of the 7 batches of an epoch; the stop comes in the middle of one."""
    whole, *rest = parts()
    train.fit(whole, *rest, accumulate=3)
    model, loader, loss, optimizer, steps = parts()
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stop_at(23), optimizer, steps, accumulate=3, out=tmp_path)
    train.fit(model, loader, loss, optimizer, steps, accumulate=3, out=tmp_path, resume=True)
    assert bits(model) == bits(whole)
    with pytest.raises(ValueError, match="accumulate was 3, now None"):
        train.fit(model, loader, loss, optimizer, steps, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give either steps or epochs, got steps=None and epochs=None"),
        ({"steps": 5, "epochs": 2}, "give either steps or epochs, got steps=5 and epochs=2"),
        (
            {"epochs": 2, "accumulate": 15},
            "accumulate=15 batches for an update are more than the 14 of all epochs",
        ),
    ],
)
def test_a_length_that_cannot_be_is_named(options, complaint):
    model, loader, loss, optimizer, _ = parts()
    with pytest.raises(ValueError, match=f"^fit: {complaint}"):
        train.fit(model, loader, loss, optimizer, **options)


def test_epochs_of_something_without_a_length_are_named():
    model, loader, loss, optimizer, _ = parts()
    with pytest.raises(
        TypeError, match="^fit: epochs needs a loader with a length, such as a DataLoader: give steps"
    ):
        train.fit(model, iter(loader), loss, optimizer, epochs=1)
    train.fit(model, list(loader), loss, optimizer, epochs=1)


# ---------------------------------------------------------------------------------------------------------------------
# Going on to a later end


@pytest.mark.parametrize("at", [None, 9])
def test_training_on_is_as_if_it_had_been_so_long_from_the_start(tmp_path, capsys, at):
    """With a schedule that does not depend on the length."""

    def made():
        model, loader, loss, optimizer, _ = parts()
        optimizer.schedule = optim.constant
        return model, loader, loss, optimizer

    whole, *rest = made()
    expected = train.fit(whole, *rest, epochs=4)
    model, loader, loss, optimizer = made()
    if at is None:
        train.fit(model, loader, loss, optimizer, epochs=2, out=tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            train.fit(model, loader, stop_at(at), optimizer, epochs=2, out=tmp_path)
    capsys.readouterr()
    model, *rest = made()
    history = train.fit(model, *rest, epochs=4, out=tmp_path, resume=True)
    assert bits(model) == bits(whole) and {**history, "seconds": 0} == {**expected, "seconds": 0}
    assert capsys.readouterr().err.splitlines()[0] == (
        f"fit: goes on from step {at or 14} to 28 (14 were planned before). The learning rate goes on at 0.01, by the schedule "
        "of this call."
    )
    model, *rest = made()
    train.fit(model, *rest, 28, out=tmp_path, resume=True)  # and that is the end, in steps too
    assert bits(model) == bits(whole)


def test_the_new_schedule_says_how_fast_it_goes_on(tmp_path, capsys):
    train.fit(*parts(steps=20), out=tmp_path)
    capsys.readouterr()
    model, loader, loss, optimizer, steps = parts(steps=40)
    rates = []
    train.fit(
        model, loader, loss, optimizer, steps, out=tmp_path, resume=True,
        before_step=lambda model, optimizer, step: rates.append(optimizer.lr),
    )  # fmt: skip
    schedule = optim.cosine(40, warmup_steps=5)
    assert rates == pytest.approx([0.01 * schedule(step) for step in range(20, 40)])
    told = capsys.readouterr().err.splitlines()[0]
    rate = f"{0.01 * schedule(20):.3g}"
    assert (
        f"goes on at {rate}, by the schedule of this call; by the earlier one it was 0 after step 20." in told
    )


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"lr": 0.02}, "steps was 40, now 50; optimizer differ too"),
        (
            {"batch": 5},
            "steps was 40, now 50; optimizer, loader differ too. To more steps it can go on if nothing but",
        ),
        ({"momentum": True}, "steps was 40, now 50; optimizer differ too"),
    ],
)
def test_training_on_with_anything_else_changed_is_refused(tmp_path, changed, complaint):
    train.fit(*parts(), out=tmp_path)
    model, loader, loss, optimizer, steps = parts(steps=50, lr=changed.get("lr", 0.01))
    if "batch" in changed:
        loader = DataLoader((IMAGES, LABELS), 5)
    if "momentum" in changed:
        optimizer = optim.SGD(model, lr=0.01)
    before = bits(model)
    with pytest.raises(ValueError, match=complaint):
        train.fit(model, loader, loss, optimizer, steps, out=tmp_path, resume=True)
    assert bits(model) == before


def test_a_recipe_whose_data_allow_it_trains_on(tmp_path, capsys):
    assert recipes.run("cnn-digits", tmp_path, steps=2)["steps"] == 2
    with pytest.raises(ValueError, match="steps was 2, now 1"):
        recipes.run("cnn-digits", tmp_path, steps=1, resume=True)
    assert recipes.run("cnn-digits", tmp_path, steps=4, resume=True)["steps"] == 4
    assert "fit: goes on from step 2 to 4 (2 were planned before)." in capsys.readouterr().err
