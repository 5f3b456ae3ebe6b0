"""Optimisers that take turns, averages of weights, a hook after each step: and a resume that is exact with all three.

Not here: the loop with one optimiser (test_train.py), what a GAN reaches (recipes/).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import nn, ops, optim, storage, train
from minivis.averaging import ema
from minivis.data import DataLoader
from tests.test_train import IMAGES, LABELS, accuracy, bits, noise, parts, stop_at

STEPS = 20


class Pair(nn.Module):
    """A guesser and a judge, with noise between them that is drawn from a generator of the model."""

    def __init__(self, rng):
        self.guess = nn.Linear(3, 6, rng=rng)
        self.judge = nn.Sequential(nn.Linear(6, 8, rng=rng), nn.ReLU(), nn.Linear(8, 1, rng=rng))
        self.rng = np.random.default_rng(5)

    def draw(self, count):
        return self.guess(self.rng.standard_normal((count, 3), np.float32))


def judge_loss(model, x, labels):
    return ops.mean(ops.relu(1 - model.judge(x))) + ops.mean(ops.relu(1 + model.judge(model.draw(len(x)))))


def guess_loss(model, x, labels):
    return -ops.mean(model.judge(model.draw(len(x))))


def pair(steps=STEPS, lr=0.01):
    rng = np.random.default_rng(1)
    model = Pair(rng)
    loader = DataLoader((IMAGES, LABELS), 8, shuffle=True, rng=rng, transform=noise)
    optimizers = {
        "judge": optim.Adam(model.judge, lr=2 * lr, betas=(0, 0.9)),
        "guess": optim.Adam(model.guess, lr=lr, betas=(0, 0.9)),
    }
    return model, loader, {"judge": judge_loss, "guess": guess_loss}, optimizers, steps


def test_turns_are_steps_of_each_optimizer_on_its_own_loss():
    (fitted, *rest), (model, loader, losses, optimizers, steps) = pair(), pair()
    history = train.fit(fitted, *rest, every=5)
    batches = [batch for _ in range(4) for batch in loader][:steps]
    for batch in batches:
        for name in ("judge", "guess"):
            model.zero_grad()
            losses[name](model, *batch).backward()
            optimizers[name].step()
    assert bits(model) == bits(fitted)
    assert list(history) == ["step", "judge_loss", "guess_loss", "judge_lr", "guess_lr", "seconds"]
    assert history["judge_lr"] == [0.02] * 4 and history["judge_loss"][-1] < history["judge_loss"][0]


def test_outside_its_turn_a_part_is_a_constant():
    model, loader, _, optimizers, _ = pair()
    seen = []

    def watched(loss, own):
        def call(model, x, labels):
            value = loss(model, x, labels)
            seen.append({n for n, p in model.named_parameters() if p.requires_grad} == own)
            return value

        return call

    parts_of = {
        part: {n for n, _ in model.named_parameters() if n.startswith(part)} for part in ("judge", "guess")
    }
    losses = {
        "judge": watched(judge_loss, parts_of["judge"]),
        "guess": watched(guess_loss, parts_of["guess"]),
    }
    train.fit(model, loader, losses, optimizers, 3)
    assert seen == [True] * 6 and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_the_average_is_what_is_left_and_saved(tmp_path, momentum):
    (raw, *rest), (model, *others) = parts(), parts()
    states = [raw.state_dict()]
    train.fit(raw, *rest, after_step=lambda model, step: states.append(model.state_dict()))
    train.fit(model, *others, ema=momentum, out=tmp_path)
    expected = states[0]
    for state in states[1:]:
        expected = {
            n: np.float32(momentum) * x + np.float32(1 - momentum) * state[n] for n, x in expected.items()
        }
    for name, x in model.state_dict().items():
        np.testing.assert_allclose(x, expected[name], rtol=1e-5, atol=1e-6)
    assert bits(mv.load(tmp_path, into=parts()[0])) == bits(model)
    arrays, _ = storage.read_arrays(tmp_path / train.CHECKPOINT)
    assert all(np.array_equal(arrays[f"model.{name}"], x) for name, x in states[-1].items())


def test_the_average_is_evaluated_and_training_goes_on_with_the_weights():
    (model, *rest), (other, *others) = parts(), parts()
    seen = []

    def evaluate(model):
        seen.append(bits(model))
        return accuracy(model)

    history = train.fit(model, *rest, ema=0.9, evaluate=evaluate, every=10)
    train.fit(other, *others, ema=0.9)
    assert bits(model) == bits(other) == seen[-1] and len(set(map(str, seen))) == 4
    assert history["accuracy"][-1] == accuracy(model)["accuracy"]


@pytest.mark.parametrize("at", [1, 6, 7, 13])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_resume_with_turns_and_an_average_is_exact(tmp_path, at, momentum):
    whole, *rest = pair()
    expected = train.fit(whole, *rest, every=3, ema=momentum)
    model, loader, losses, optimizers, steps = pair()
    stopping = {**losses, "judge": stop_at(at, judge_loss)}
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stopping, optimizers, steps, every=3, ema=momentum, out=tmp_path)
    resumed, *rest = pair()
    history = train.fit(resumed, *rest, every=3, ema=momentum, out=tmp_path, resume=True)
    assert bits(resumed) == bits(whole)
    assert {**history, "seconds": None} == {**expected, "seconds": None}


def test_the_hook_is_called_once_after_every_step_also_where_a_resume_begins(tmp_path):
    called = []

    def hook(model, step):
        called.append(step)
        # it counts for the next step and for the checkpoint
        model.judge[0].weight.data[...] *= np.float32(0.99)

    whole, *rest = pair()
    train.fit(whole, *rest, after_step=hook)
    assert called == list(range(1, STEPS + 1))
    called.clear()
    model, loader, losses, optimizers, steps = pair()
    stopping = {**losses, "guess": stop_at(8, guess_loss)}
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stopping, optimizers, steps, after_step=hook, out=tmp_path)
    resumed, *rest = pair()
    train.fit(resumed, *rest, after_step=hook, out=tmp_path, resume=True)
    assert called == list(range(1, STEPS + 1)) and bits(resumed) == bits(whole)


def test_a_finished_training_with_an_average_is_not_repeated(tmp_path):
    model, *rest = pair()
    history = train.fit(model, *rest, ema=0.9, out=tmp_path)
    again, *rest = pair()
    assert train.fit(again, *rest, ema=0.9, out=tmp_path, resume=True) == history and bits(again) == bits(
        model
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({}, "ema was 0.9, now None"), ({"ema": 0.5, "lr": 0.1}, "optimizer was .*; ema differ too")],
)
def test_a_resume_with_another_average_is_refused(tmp_path, options, complaint):
    model, *rest = pair()
    train.fit(model, *rest, ema=0.9, out=tmp_path)
    made = pair(lr=options.pop("lr", 0.01))
    with pytest.raises(ValueError, match=complaint):
        train.fit(*made, out=tmp_path, resume=True, **options)
    assert bits(made[0]) == bits(pair()[0])


@pytest.mark.parametrize(
    ("remove", "complaint"),
    [("average.guess.bias", "lacks guess.bias"), ("optimizer.guess.0.m", "state 0.m must have shape")],
)
def test_a_checkpoint_that_lacks_something_is_refused_and_changes_nothing(tmp_path, remove, complaint):
    model, *rest = pair()
    train.fit(model, *rest, ema=0.9, out=tmp_path)
    arrays, notes = storage.read_arrays(tmp_path / train.CHECKPOINT)
    del arrays[remove]
    (tmp_path / train.CHECKPOINT).write_bytes(storage.pack_arrays(arrays, run=notes["run"]))
    again, loader, losses, optimizers, steps = pair()
    with pytest.raises(ValueError, match=complaint):
        train.fit(again, loader, losses, optimizers, steps, ema=0.9, out=tmp_path, resume=True)
    assert bits(again) == bits(pair()[0]) and optimizers["judge"].steps == 0


def test_mistakes_are_named():
    model, loader, losses, optimizers, steps = pair()
    both = {"judge": optim.SGD(model, lr=0.1), "guess": optim.SGD(model.guess, lr=0.1)}
    for loss, optimizer, options, error, complaint in (
        (losses, optimizers["judge"], {}, TypeError, "fit: loss and optimizer must both be dicts"),
        (guess_loss, optimizers, {}, TypeError, "fit: loss and optimizer must both be dicts"),
        (
            {"judge": judge_loss},
            optimizers,
            {},
            ValueError,
            "fit: loss and optimizer must have the same names",
        ),
        ({}, {}, {}, ValueError, "fit: loss and optimizer must have the same names"),
        (losses, both, {}, ValueError, "optimizers 'judge' and 'guess' both hold guess.weight"),
        (
            losses,
            {**optimizers, "guess": parts()[3]},
            {},
            ValueError,
            "fit: optimizer 'guess' holds no parameter",
        ),
        (
            {"a.b": judge_loss},
            {"a.b": optimizers["judge"]},
            {},
            ValueError,
            "fit: the names of turns must be words",
        ),
        (losses, optimizers, {"ema": 1.5}, ValueError, "fit: ema must be a number between 0 and 1"),
    ):
        with pytest.raises(error, match=complaint):
            train.fit(model, loader, loss, optimizer, steps, **options)
    losses["guess"] = lambda model, x, labels: guess_loss(model, x, labels) * np.nan
    with pytest.raises(FloatingPointError, match=r"^fit: step 1, turn 'guess': the loss is nan"):
        train.fit(model, loader, losses, optimizers, steps)


# ---------------------------------------------------------------------------------------------------------------------
# The average itself


def test_ema_freezes_copies_and_forgets():
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, 3, 4))
    assert np.array_equal(ema(teacher, student, 1), teacher) and np.array_equal(
        ema(teacher, student, 0), student
    )
    moved = teacher
    for _ in range(10):
        moved = ema(moved, student, 0.8)
    np.testing.assert_allclose(moved - student, 0.8**10 * (teacher - student), atol=1e-12)


def test_ema_of_models_averages_floats_and_copies_counts():
    teacher, student = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    student(np.random.default_rng(0).standard_normal((4, 2, 3, 3), np.float32))
    assert ema(teacher, student, 0.75) is teacher
    np.testing.assert_allclose(teacher.running_mean, 0.25 * student.running_mean, rtol=1e-6)
    assert int(teacher.num_batches_tracked) == 1 and teacher.weight.requires_grad


def test_halves_are_averaged_in_float32():
    teacher, student = np.full(2, 1000, np.float16), np.full(2, 1002, np.float16)
    found = ema(teacher, student, 0.25)
    assert found.dtype == np.float16 and found[0] == np.float16(1001.5)


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        ((np.ones(2), np.ones(2), 1.1), ValueError, r"^ema: m must be between 0 and 1, got 1.1"),
        (
            (np.ones(2), np.ones(3), 0.5),
            ValueError,
            r"^ema: teacher and student must have one shape .*\(2,\).*\(3,\)",
        ),
        ((np.ones(2), {"a": np.ones(2)}, 0.5), TypeError, r"^ema: teacher and student must be two arrays"),
        (({"a": np.ones(2)}, {"b": np.ones(2)}, 0.5), ValueError, "only one of them has a, b"),
        (
            ({"a": np.ones(2)}, {"a": np.ones(3)}, 0.5),
            ValueError,
            "a of teacher and student must have one shape",
        ),
    ],
)
def test_mistakes_of_ema_are_named(arguments, error, complaint):
    with pytest.raises(error, match=complaint):
        ema(*arguments)


def test_a_momentum_of_0_copies_and_of_1_keeps_whatever_the_other_holds():
    broken = np.array([np.inf, np.nan])
    fine = np.array([1.0, 2.0])
    np.testing.assert_array_equal(ema(broken, fine, 0), fine)
    np.testing.assert_array_equal(ema(fine, broken, 1), fine)


def test_whole_numbers_are_those_of_the_student():
    assert ema(np.array([0, 1]), np.array([1, 4]), 0.5).tolist() == [1, 4]


def test_a_resume_with_other_turns_says_so(tmp_path):
    model, loader, losses, optimizers, steps = pair()
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, {**losses, "judge": stop_at(2, judge_loss)}, optimizers, steps, out=tmp_path)
    swapped = dict(reversed(optimizers.items()))
    with pytest.raises(ValueError, match=r"other turns.*\['judge', 'guess'\], now \['guess', 'judge'\]"):
        train.fit(model, loader, losses, swapped, steps, out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="was written with other settings, .*: optimizer was"):
        train.fit(model, loader, judge_loss, optimizers["judge"], steps, out=tmp_path, resume=True)


def test_what_is_done_before_a_step_sees_the_gradients_and_decides_about_them():
    model, *rest = parts()
    frozen = model.parameters()[0]
    start = frozen.data.copy()
    seen = []

    def hook(model, optimizer, step):
        seen.append((step, frozen.grad is not None, optimizer.steps))
        optimizer.param_groups[0]["weight_decay"] = 0.1 * step
        if step < 3:
            frozen.grad = None
        assert step != 3 or np.array_equal(frozen.data, start)

    train.fit(model, *rest, before_step=hook)
    assert seen == [(step, True, step) for step in range(len(seen))] and len(seen) > 4
    assert not np.array_equal(frozen.data, start)


def test_a_batch_may_hold_lists_of_arrays(device):
    model = nn.Linear(2, 1).to(device)
    seen = []

    def loss(model, views, names):
        seen.append(([type(view) for view in views], names))
        return ops.mean(model(views[0]) + model(views[1]))

    views = [np.ones((3, 2), np.float32), np.zeros((5, 2), np.float32)]
    batches = [(views, ["a"])]
    train.fit(
        model, batches, lambda m, v, n: loss(m, [v[0], v[1][:3]], n), optim.SGD(model.parameters(), 0.1), 2
    )
    expected = type(mv.to_device(views[0], device))
    assert seen == [([expected] * 2, ["a"])] * 2
