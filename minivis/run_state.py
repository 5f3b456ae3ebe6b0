"""The state of a training: step, history, averages, the best weights; written as a checkpoint and read for an exact resume.

Not here: the loop (train.py), the formats of files (files.py), saved models (storage.py).
"""

import csv
import io
import json
import math
import sys
import time
from contextlib import contextmanager

from minivis import averaging, backend, storage
from minivis.autograd import no_grad
from minivis.locking import alone_in
from minivis.precision import widened
from minivis.turns import ALONE

__all__ = ["CHECKPOINT", "HISTORY", "TABLE", "Run", "measured"]

CHECKPOINT, HISTORY, TABLE = "checkpoint.safetensors", "history.json", "history.csv"


def measured(model, evaluate):
    """What the user's function says about the model, in eval mode: a dict of numbers."""
    training = model.training
    model.eval()
    with no_grad():
        found = evaluate(model)
    if not isinstance(found, dict):
        raise TypeError(f"fit: evaluate must return a dict of numbers, got {type(found).__name__}")
    model.train(training)
    return {name: float(value) for name, value in found.items()}


class Run:
    """The state of a training: what its checkpoint holds beside the model, the optimisers and the place in the data.

    Parameters
    ----------
    model : Module
        The model that is trained.
    loader : DataLoader
        Its batches.
    turns : Turns
        The losses and optimisers.
    settings : dict
        What must be the same for a resume, with ``steps``, the planned number of steps.
    ema : float, optional
        The momentum of the average of the weights.
    monitor : Monitor, optional
        Says which row of the history is the best.
    """

    def __init__(self, model, loader, turns, settings, ema=None, monitor=None):
        self.model, self.loader, self.turns = model, loader, turns
        self.ema, self.monitor = ema, monitor
        self.average = None if ema is None else _wide(model.state_dict())
        self.best = None  # the weights of the best row of the history, if a monitor says which one it is
        self.step = 0
        self.history = {}
        self.losses = {name: [] for name in turns}  # since the last row of the history
        self.seconds = 0.0
        self.shown = {}  # the numbers beside the progress bar
        self.started = time.monotonic()
        self.settings = {  # what the user sets comes first: it is named first in an error
            **settings,
            "model": storage.describe(model),
            "optimizer": turns.settings(settings["steps"]),
        }
        if ema is not None:
            self.settings["ema"] = float(ema)
        if monitor is not None:
            self.settings["monitor"] = [monitor.name, monitor.mode]

    @property
    def stalled(self):
        """Whether there was no better row for so long that the training should stop."""
        return self.monitor is not None and self.monitor.stops(self.history)

    def begin(self, out, resume, held):
        """Make the folder and lock it until ``held`` is closed. Restore its checkpoint, or refuse to overwrite it."""
        if not hasattr(self.loader, "state_dict"):
            raise TypeError("fit: out needs a loader that can be resumed, such as minivis.data.DataLoader")
        try:
            json.dumps(self.settings)
        except TypeError as error:
            raise TypeError(f"fit: settings must be json-able: {error}") from error
        place = self.loader.state_dict()
        self.settings["loader"] = {k: v for k, v in place.items() if k not in ("epoch", "handed_out")}
        out = storage.make_folder(out)
        held.enter_context(alone_in(out, "fit"))
        if (out / CHECKPOINT).exists():
            if not resume:
                raise FileExistsError(
                    f"fit: {out} holds an earlier run, which is not overwritten: go on with it by resume, choose "
                    "another folder, or delete it"
                )
            self.restore(out / CHECKPOINT)
        elif (out / storage.WEIGHTS).exists():
            raise FileExistsError(
                f"fit: {out} holds a model, which is not overwritten: choose another folder"
            )
        for name in (CHECKPOINT, HISTORY, TABLE, storage.WEIGHTS, storage.CONFIG):
            for left in out.glob(f".{name}.*.tmp"):  # left by a process that was killed while writing
                left.unlink()
        return out

    def count(self, losses):
        """A step was taken."""
        self.step += 1
        for name, loss in losses.items():
            self.losses[name].append(loss)
            self.shown[name or "loss"] = f"{loss:.4f}"

    def move_average(self):
        """Move the average a little towards the weights of this step."""
        if self.ema is not None:
            self.average = averaging.ema(self.average, _wide(self.model.state_dict()), self.ema)

    @contextmanager
    def averaged(self):
        """Inside the block the model has the averaged weights, if there is an average; afterwards its own again."""
        if self.ema is None:
            yield
            return
        own = self.model.state_dict()
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def add_row(self, evaluate):
        """Add a row to the history, and keep the weights if it is the best one."""
        columns = self.turns.columns()
        row = {"step": self.step}
        row |= {columns[name]: math.fsum(each) / len(each) for name, each in self.losses.items()}
        row |= {**self.turns.rates(), "seconds": self.elapsed()}
        with self.averaged():
            if evaluate is not None:
                found = measured(self.model, evaluate)
                self.shown |= {name: f"{value:.4g}" for name, value in found.items()}
                row |= found
            if self.monitor is not None:
                self._watch(row)
        self._append(row)
        self.losses = {name: [] for name in self.turns}

    def _watch(self, row):
        """Look at the monitored number of a new row, which is not in the history yet."""
        self.monitor.check_row(row)
        value = row[self.monitor.name]
        if self.monitor.is_best(value, self.history):
            self.best = self.model.state_dict()
        self.turns.tell(value)
        row |= self.turns.rates()  # the schedule may have lowered them just now

    def _append(self, row):
        """A row for the history; a number that only some rows have is NaN in the others."""
        rows = len(self.history.get("step", []))
        for name in {**self.history, **row}:
            column = self.history.setdefault(name, [math.nan] * rows)
            column.append(row.get(name, math.nan))

    def elapsed(self):
        return self.seconds + time.monotonic() - self.started

    def save(self, out):
        """Write the checkpoint. It is one file, so a crash cannot leave half of it."""
        arrays = {f"model.{name}": x for name, x in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": x for name, x in self.turns.state_dict().items()}
        arrays |= {f"average.{name}": x for name, x in (self.average or {}).items()}
        arrays |= {f"best.{name}": x for name, x in (self.best or {}).items()}
        state = {
            "settings": self.settings,
            "step": self.step,
            "history": self.history,
            "losses": self.losses.get(ALONE, self.losses),
            "seconds": self.elapsed(),
            "loader": self.loader.state_dict(),
            "rng": self.model.rng_state(),
        }
        packed = storage.pack_arrays(arrays, run=json.dumps(state))
        files = {CHECKPOINT: packed, HISTORY: storage.pack_json(self.history), TABLE: _table(self.history)}
        storage.write_files({out / name: content for name, content in files.items()})

    def finish(self, out):
        """Give the model the weights that the user wants to have: the best, or the averaged ones, or its own. Save it."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.ema is not None:
            self.model.load_state_dict(self.average)
        self.model.eval()
        if out is not None:
            storage.save(self.model, out)

    def restore(self, path):
        """Restore a checkpoint. Everything is read and checked before anything changes."""
        arrays, notes = storage.read_arrays(path, "fit")
        try:
            state = json.loads(notes["run"])
            there, rng, place = state["settings"], state["rng"], state["loader"]
            if not all(isinstance(part, dict) for part in (there, rng, place)):
                raise ValueError("settings, rng and loader must be objects")
            progress = _progress_of(state)
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"fit: {path}: expected the checkpoint of a training, found none ({error!r:.200})"
            ) from error
        self._check_settings(path, there)
        if (were := list(progress["losses"])) != (are := list(self.turns)):
            raise ValueError(
                f"fit: {path} was written with other turns, so it cannot go on: {were}, now {are}"
            )
        moments = _under("optimizer.", arrays)
        own = self.model.state_dict()
        weights = storage.check_arrays(path, _under("model.", arrays), own)
        average = self._average_in(path, arrays)
        best = self._best_in(path, arrays, progress["history"], own)
        before = self.model.rng_state()
        try:
            self.turns.check_state_dict(moments)
            self.model.load_rng_state(rng)
            self.loader.load_state_dict(place)
        except (ValueError, TypeError) as error:
            self.model.load_rng_state(before)
            raise ValueError(f"fit: {path} does not fit this training: {error}") from error
        self.turns.load_state_dict(moments)
        self.model.load_state_dict(weights)
        vars(self).update(progress, average=average, best=best)
        if there["steps"] < self.settings["steps"]:
            print(self._goes_on(there["steps"]), file=sys.stderr)

    def _average_in(self, path, arrays):
        """The averaged weights of a checkpoint, on the device of those of this run; None if this run has none."""
        if self.average is None:
            return None
        stored = storage.check_arrays(path, _under("average.", arrays), self.average)
        return {name: backend.move(x, backend.device_of(self.average[name])) for name, x in stored.items()}

    def _best_in(self, path, arrays, history, own):
        """The best weights of a checkpoint, or None if its history has no best row."""
        if self.monitor is None or self.monitor.best(history) is None:
            return None
        return storage.check_arrays(path, _under("best.", arrays), own)

    def _check_settings(self, path, there):
        """Refuse a checkpoint that was written with other settings; but more steps than before are welcome."""
        here = json.loads(json.dumps(self.settings))
        other = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        longer = there["steps"] < here["steps"]
        if longer and set(other) <= {"steps", "optimizer"}:
            if _without_schedule(here["optimizer"]) == _without_schedule(there.get("optimizer")):
                return
        if other:
            first, *rest = other
            told = f"{first} was {there.get(first)!r:.300}, now {here.get(first)!r:.300}"
            told += f"; {storage.some(rest)} differ too" if rest else ""
            told += (
                ". To more steps it can go on if nothing but the schedule is changed beside" if longer else ""
            )
            raise ValueError(f"fit: {path} was written with other settings, so it cannot go on: {told}")

    def _goes_on(self, planned):
        """What a user should know when a training is made longer."""
        told = (
            f"fit: goes on from step {self.step} to {self.settings['steps']} ({planned} were planned before)."
        )
        for column, rate in self.turns.rates().items():
            told += f" The {_named(column)} goes on at {rate:.3g}, by the schedule of this call"
            before = self.history.get(column, [rate])[-1]
            if before != rate:
                told += f"; by the earlier one it was {before:.3g} after step {self.history['step'][-1]}"
            told += "."
        return told


def _named(column):
    """A column of learning rates in words: "lr", "judge_lr"."""
    return f"learning rate of {column.removesuffix('_lr')}" if column != "lr" else "learning rate"


def _without_schedule(described):
    """The settings of the optimisers without their schedules."""
    if not isinstance(described, dict):
        return described
    return {name: _without_schedule(part) for name, part in described.items() if name != "schedule"}


def _progress_of(state):
    """Step, history, losses and seconds of a checkpoint's state; a ValueError if one of them is invalid."""
    step, history, losses, seconds = (state[name] for name in ("step", "history", "losses", "seconds"))
    steps = state["settings"]["steps"]
    if type(steps) is not int or type(step) is not int or not 0 <= step <= steps:
        raise ValueError(f"step must be a whole number from 0 to {steps!r:.50}, found {step!r:.50}")
    columns = list(history.values()) if isinstance(history, dict) else [None]
    if not all(_numbers(column) for column in columns) or len({len(column) for column in columns}) > 1:
        raise ValueError("history must be columns of numbers, all of one length")
    losses = {ALONE: losses} if isinstance(losses, list) else losses
    fits = isinstance(losses, dict) and all(map(_numbers, losses.values()))
    if not fits or not _numbers([seconds]) or not seconds >= 0:
        raise ValueError("losses must be numbers, and seconds one of at least 0")
    return {"step": step, "history": history, "losses": losses, "seconds": seconds}


def _table(history):
    """The bytes of ``history.csv``: a line of names, and a line for each row."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(history)
    table.writerows(zip(*history.values(), strict=True))
    return text.getvalue().encode()


def _numbers(values):
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)


def _wide(arrays):
    """The arrays of a model in which an average of halves can move: float16 becomes float32."""
    return {name: widened(x) if x.dtype.kind == "f" else x for name, x in arrays.items()}


def _under(prefix, arrays):
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}
