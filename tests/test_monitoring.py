"""The best weights by a measured number, early stopping, rates that fall on a plateau: also across an interruption.

Not here: what fit does without looking at a number (test_train.py), epochs and accumulation (test_lengths.py).
"""

import csv
import json
import math

import numpy as np
import pytest

import minivis as mv
from minivis import nn, optim, storage, train
from minivis.monitoring import best_row
from tests.test_train import accuracy, bits, cross_entropy, parts, stop_at
from tests.test_turns_and_averages import pair


def scripted(*numbers, name="accuracy"):
    """An evaluation that gives these numbers, one after the other, and keeps the weights that it saw.

    Before the first step it is only asked which numbers it gives.
    """
    seen = []
    asked = []

    def evaluate(model):
        if not asked:
            asked.append(name)
            return {name: math.nan}
        seen.append(bits(model))
        return {name: numbers[len(seen) - 1]}

    return evaluate, seen


@pytest.mark.parametrize(
    ("numbers", "mode", "best"),
    [
        ((0.1, 0.7, 0.7, 0.3), "max", 1),  # the first of equal ones
        ((0.1, 0.7, 0.7, 0.3), "min", 0),
        ((math.nan, -5.0, math.nan, -6.0), "max", 1),
        ((math.inf, 2.0, 1.0, -math.inf), "min", 3),
    ],
)
@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_model_has_the_weights_of_the_best_row(tmp_path, capsys, numbers, mode, best, ema):
    model, *rest = parts()
    evaluate, seen = scripted(*numbers)
    train.fit(model, *rest, every=10, evaluate=evaluate, monitor="accuracy", mode=mode, ema=ema, out=tmp_path)
    assert bits(model) == seen[best] != seen[best - 1] and not model.training
    assert bits(mv.load(tmp_path, into=parts()[0])) == seen[best]
    told = f"fit: the model has the weights of step {10 * best + 10}, where accuracy was best ({numbers[best]:.4g})"
    assert capsys.readouterr().err.splitlines()[-1] == told
    arrays, _ = storage.read_arrays(tmp_path / train.CHECKPOINT)
    # the checkpoint goes on from the last weights, which are those of a training without a monitor
    last = {n.removeprefix("model."): x.tobytes() for n, x in arrays.items() if n.startswith("model.")}
    plain, *rest = parts()
    train.fit(plain, *rest)
    assert last == bits(plain)


def test_without_any_number_the_last_weights_stay(tmp_path, capsys):
    evaluate, seen = scripted(*[math.nan] * 4)
    model, *rest = parts()
    train.fit(model, *rest, every=10, evaluate=evaluate, monitor="accuracy", out=tmp_path)
    assert bits(model) == seen[3]
    assert capsys.readouterr().err.splitlines()[-1] == (
        "fit: accuracy was never a number, so the model has the weights of the last step"
    )
    again, *rest = parts()
    train.fit(again, *rest, every=10, evaluate=None, monitor="loss", mode="min")  # a column without evaluate
    again, *rest = parts()
    train.fit(again, *rest, every=10, evaluate=evaluate, monitor="accuracy", out=tmp_path, resume=True)
    assert bits(again) == seen[3]


def watched(steps=40, **options):
    """A training in which everything that looks at a number is on: the accuracy falls again and again."""
    model, loader, loss, optimizer, steps = parts(steps=steps, lr=0.02)
    optimizer.schedule = optim.ReduceLROnPlateau(patience=0, factor=0.5, cooldown=1)
    return (model, loader, loss, optimizer, steps), {"every": 3, "monitor": "accuracy", **options}


def wavy(model):
    """An evaluation that is better and worse in turn, by the weights alone."""
    return {"accuracy": float(np.sin(50 * model[0].weight.data[0, 0]))}


@pytest.mark.parametrize("ema", [None, 0.8])
@pytest.mark.parametrize("at", [2, 17, 38])
def test_a_resume_keeps_the_best_and_the_plateau(tmp_path, at, ema):
    (whole, *rest), options = watched(evaluate=wavy, ema=ema)
    expected = train.fit(whole, *rest, **options)
    assert len(set(expected["lr"])) > 2 and 0 < best_row(expected["accuracy"], "max") < 13
    (model, loader, _, optimizer, steps), _ = watched()
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stop_at(at), optimizer, steps, **options, out=tmp_path)
    history = train.fit(model, loader, cross_entropy, optimizer, steps, **options, out=tmp_path, resume=True)
    assert bits(model) == bits(whole)
    assert {**history, "seconds": 0} == {**expected, "seconds": 0}
    with open(tmp_path / train.TABLE, newline="") as file:
        table = {name: column for name, *column in zip(*csv.reader(file), strict=True)}
    assert {name: [float(x) for x in column] for name, column in table.items()} == history


def test_after_ctrl_c_the_model_is_the_best_so_far(tmp_path):
    evaluate, seen = scripted(0.5, 0.2, 0.1)
    model, loader, _, optimizer, steps = parts()
    watch = {"every": 5, "evaluate": evaluate, "monitor": "accuracy"}
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stop_at(17), optimizer, steps, **watch, out=tmp_path)
    assert bits(model) == bits(mv.load(tmp_path, into=parts()[0])) == seen[0]


def test_early_stopping_and_more_patience_afterwards(tmp_path, capsys):
    numbers = (0.1, 0.5, 0.4, 0.5, 0.3, 0.6, 0.2, 0.1)
    watch = {"every": 5, "monitor": "accuracy", "out": tmp_path}
    evaluate, seen = scripted(*numbers)
    model, *rest = parts()
    history = train.fit(model, *rest, **watch, evaluate=evaluate, patience=2)
    assert history["step"] == [5, 10, 15, 20] and bits(model) == seen[1]
    told = "fit: stopped early after step 20 of 40: no better accuracy since step 10 (0.5); the model has the weights of that step"
    assert capsys.readouterr().err.splitlines()[-1] == told
    again, *rest = parts()
    assert train.fit(again, *rest, **watch, evaluate=evaluate, patience=2, resume=True) == history
    assert bits(again) == bits(model) and capsys.readouterr().err.splitlines()[-1] == told
    assert len(seen) == 4  # it had ended: nothing was trained
    model, *rest = parts()
    history = train.fit(model, *rest, **watch, evaluate=evaluate, patience=4, resume=True)
    assert history["accuracy"] == list(numbers) and bits(model) == seen[5]
    whole, *rest = parts()
    train.fit(whole, *rest)
    arrays, _ = storage.read_arrays(tmp_path / train.CHECKPOINT)
    assert arrays["model.0.weight"].tobytes() == bits(whole)["0.weight"]


def test_patience_also_runs_out_when_there_never_is_a_number(capsys):
    evaluate, seen = scripted(*[math.nan] * 3)
    train.fit(*parts(), every=5, evaluate=evaluate, monitor="accuracy", patience=3)
    assert len(seen) == 3
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("fit: stopped early after step 15 of 40: accuracy was")
    )


def test_two_turns_share_a_monitor():
    evaluate, seen = scripted(0.3, 0.9, 0.2, 0.1)
    model, loader, losses, optimizers, steps = pair()
    optimizers["judge"].schedule = optim.ReduceLROnPlateau(patience=0)
    history = train.fit(
        model, loader, losses, optimizers, steps, every=5, evaluate=evaluate, monitor="accuracy"
    )
    assert bits(model) == seen[1] and history["judge_lr"] == pytest.approx([0.02, 0.02, 0.002, 0.0002])
    assert history["guess_lr"] == [0.01] * 4


PLATEAU = optim.ReduceLROnPlateau


@pytest.mark.parametrize(
    ("options", "schedule", "complaint"),
    [
        ({"patience": 3}, None, 'patience needs to know what to look at: .* monitor="accuracy"'),
        ({}, PLATEAU(), "ReduceLROnPlateau needs to know what to look at"),
        (
            {"monitor": "accuracy"},
            PLATEAU("min"),
            "mode is 'max', but the ReduceLROnPlateau of the optimizer has 'min'",
        ),
        ({"monitor": "accuracy", "mode": "best"}, None, 'mode must be "max" or "min", got \'best\''),
        ({"monitor": "accuracy", "patience": 0}, None, "patience must be a whole number of at least 1"),
        ({"monitor": "accuracy", "patience": 1.5}, None, "patience must be a whole number of at least 1"),
        ({"monitor": "val_loss"}, None, 'would keep the worst: pass mode="min"'),
        (
            {"monitor": "mIoU", "evaluate": None},
            None,
            "'mIoU' names no column of the history, which has step, loss, lr",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused_before_training(tmp_path, options, schedule, complaint):
    model, loader, loss, optimizer, steps = parts()
    optimizer.schedule = schedule or optimizer.schedule
    before = bits(model)
    with pytest.raises(ValueError, match=rf"^fit: .*{complaint}"):
        train.fit(
            model, loader, loss, optimizer, steps, **{"evaluate": accuracy, **options}, out=tmp_path / "run"
        )
    assert bits(model) == before and not (tmp_path / "run").exists()


def test_a_column_that_evaluate_does_not_give_is_named_before_training(tmp_path):
    model, *rest = parts()
    before = bits(model)
    with pytest.raises(
        ValueError, match=r"^fit: monitor='mIoU' names no column .* has step, loss, lr, seconds, accuracy:"
    ):
        train.fit(model, *rest, evaluate=accuracy, monitor="mIoU", out=tmp_path / "run")
    assert bits(model) == before and not (tmp_path / "run").exists()


def test_an_evaluation_that_forgets_the_column_later_is_named():
    evaluate, seen = scripted(0.5, 0.5)
    odd = lambda model: evaluate(model) if len(seen) < 1 else {"mIoU": 0.5}  # noqa: E731
    with pytest.raises(ValueError, match=r"^fit: monitor='accuracy' names no column .* seconds, mIoU:"):
        train.fit(*parts(), every=10, evaluate=odd, monitor="accuracy")


def test_asking_an_evaluation_for_its_numbers_changes_no_training():
    def noisy(model):
        return {"accuracy": float(model[-1].rng.normal())}

    weights = []
    for options in ({}, {"monitor": "loss", "mode": "min"}, {"monitor": "accuracy"}):
        model, loader, loss, _, steps = parts(steps=8)
        model = nn.Sequential(model, nn.Dropout(0.5, rng=0))
        model.train()
        seen = []
        keep = lambda model, step: seen.append(bits(model))  # noqa: E731, B023
        optimizer = optim.AdamW(model, lr=0.01)
        train.fit(model, loader, loss, optimizer, steps, every=8, evaluate=noisy, after_step=keep, **options)
        weights.append(seen)
    assert weights[0] == weights[1] == weights[2]


def test_a_run_with_another_monitor_is_not_gone_on_with(tmp_path):
    train.fit(*parts(), evaluate=accuracy, monitor="accuracy", out=tmp_path)
    with pytest.raises(ValueError, match=r"other settings, .*monitor was \['accuracy', 'max'\], now None"):
        train.fit(*parts(), evaluate=accuracy, out=tmp_path, resume=True)


def test_the_best_weights_of_a_checkpoint_are_checked(tmp_path):
    train.fit(*parts(), evaluate=accuracy, monitor="accuracy", out=tmp_path)
    path = tmp_path / train.CHECKPOINT
    arrays, notes = storage.read_arrays(path)
    del arrays["best.0.weight"]
    path.write_bytes(storage.pack_arrays(arrays, run=notes["run"]))
    model, *rest = parts()
    before = bits(model)
    with pytest.raises(ValueError, match=rf"{path} is of another model: it lacks 0.weight"):
        train.fit(model, *rest, evaluate=accuracy, monitor="accuracy", out=tmp_path, resume=True)
    assert bits(model) == before


def test_numbers_that_only_some_rows_have_do_not_spoil_the_history(tmp_path):
    """The evaluation was changed between two parts of a run."""
    model, loader, _, optimizer, steps = parts()
    with pytest.raises(KeyboardInterrupt):
        train.fit(
            model,
            loader,
            stop_at(25),
            optimizer,
            steps,
            every=10,
            evaluate=lambda m: {"old": 1},
            out=tmp_path,
        )
    model, *rest = parts()
    history = train.fit(model, *rest, every=10, evaluate=lambda m: {"new": 2}, out=tmp_path, resume=True)
    assert [str(x) for x in history["old"]] == ["1.0", "1.0", "nan", "nan"]
    assert [str(x) for x in history["new"]] == ["nan", "nan", "2.0", "2.0"]
    train.fit(*parts(), every=10, out=tmp_path, resume=True)  # and it can still be read
    assert len(json.loads((tmp_path / train.HISTORY).read_text())["new"]) == 4
