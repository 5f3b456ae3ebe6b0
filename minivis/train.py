"""The training loop: steps, progress, history, checkpoints, and a resume that is exact to the last bit.

Not here: optimisers and schedules (optim.py), several that take turns (turns.py), whole trainings with their data
(recipes/), file formats (storage.py).
"""

import json
import math
import numbers
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial

from minivis import averaging, backend, storage
from minivis.autograd import Tensor, no_grad
from minivis.interrupts import ctrl_c_waits
from minivis.locking import alone_in
from minivis.optim import clip_grad_norm
from minivis.precision import widened
from minivis.turns import ALONE, Turns

__all__ = ["CHECKPOINT", "HISTORY", "fit", "train_step"]

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.json"


def train_step(model, loss, batch, optimizer, clip=None, before_step=None):
    """Learn from one batch: forward, backward, update.

    Parameters
    ----------
    model : Module
        The model to train. Its parameters change in place.
    loss : callable
        ``loss(model, *batch)`` returns a Tensor of one element.
    batch : tuple of ndarray
        The inputs of the loss, such as (images, labels).
    optimizer : Optimizer
        See `minivis.optim`.
    clip : float, optional
        Largest norm of the gradient, with all parameters as one vector.
    before_step : callable, optional
        ``before_step(model, optimizer)`` is called between the backward pass and the update, for what else there is to do
        with gradients or with the options of the optimiser.

    Returns
    -------
    float
        The loss before the update.

    Raises
    ------
    FloatingPointError
        If the loss or the norm of the gradient is not finite. Then no parameter has changed.
    TypeError
        If the loss is not a Tensor of one element.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis import nn, ops, optim
    >>> model = nn.Linear(2, 1)
    >>> distance = lambda model, x, y: ops.mse_loss(model(x), y)
    >>> batch = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> train_step(model, distance, batch, optimizer) > train_step(model, distance, batch, optimizer)
    True
    """
    optimizer.zero_grad()
    value = loss(model, *batch)
    if not isinstance(value, Tensor) or value.size != 1:
        found = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"fit: loss must return a Tensor of one element, got {found}")
    value.backward()
    found = value.item()  # waits for a GPU, so it comes after backward has queued its work
    if not math.isfinite(found):
        raise FloatingPointError(f"the loss is {found}")
    clip_grad_norm(model.parameters(), math.inf if clip is None else clip)  # raises for NaN in either case
    if before_step is not None:
        before_step(model, optimizer)
    optimizer.step()
    return found


def fit(
    model,
    loader,
    loss,
    optimizer,
    steps,
    *,
    clip=None,
    ema=None,
    before_step=None,
    after_step=None,
    evaluate=None,
    every=None,
    out=None,
    resume=False,
    save_every=30.0,
    settings=None,
):
    """Train a model: `train_step` on one batch after another, with progress, checkpoints and exact resume.

    Parameters
    ----------
    model : Module
        The model to train, in place. Batches are moved to its device. Afterwards it is in eval mode, ready to predict.
    loader : DataLoader, or iterable of batches
        Repeated until all steps are done. Only a `DataLoader` (or a loader with its ``state_dict``) can be resumed.
    loss : callable, or dict of str to callable
        ``loss(model, *batch)`` returns a Tensor of one element. With several optimisers, a loss for each, by the same
        names.
    optimizer : Optimizer, or dict of str to Optimizer
        See `minivis.optim`; it has the schedule. Several take turns on every batch, in the order of the dict, as the
        discriminator and the generator of a GAN do: each takes a step on its own loss. During its turn all other
        parameters are constants. No parameter may be in two of them.
    steps : int
        Number of batches to train on.
    clip : float, optional
        Largest norm of the gradient, with all parameters of a turn as one vector.
    ema : float, optional
        The momentum of a moving average of the weights, such as 0.999, which begins with the starting weights (see
        `minivis.averaging.ema`). The steps change the weights themselves; `evaluate`, the model that is saved, and the
        model after training have the average. The checkpoint has both.
    before_step : callable, optional
        ``before_step(model, optimizer, step)`` is called in every step after the backward pass and before the update, with
        the number of steps done, for example to clip each gradient by itself, to freeze a layer at first (set its gradient
        to None) or to follow a schedule of the weight decay.
    after_step : callable, optional
        ``after_step(model, step)`` is called once after every step, with the number of steps done; for example to move
        a teacher that is part of the model. What it draws must come from generators of the model, and what it keeps
        must be in the model, or a resume would not be exact.
    evaluate : callable, optional
        ``evaluate(model)`` returns a dict of numbers. It is called in eval mode, under `no_grad`, for each row of the
        history.
    every : int, optional
        Steps between rows of the history; by default a twentieth of `steps`.
    out : str or path, optional
        Folder for ``checkpoint.safetensors`` (everything for a resume), ``history.json`` and, when training ends, the
        model as `minivis.save` writes it. None writes nothing. During training, ``.lock`` names the process.
    resume : bool, default False
        Continue from the checkpoint in `out`, if there is one. The final parameters are then the same, bit for bit, as
        without the interruption.
    save_every : float, default 30
        Seconds between checkpoints.
    settings : dict, optional
        Other settings that must be the same for a resume, such as ``{"seed": 0}``; json-able.

    Returns
    -------
    dict of str to list
        Columns ``step``, ``loss`` (mean since the previous row), ``lr``, ``seconds``, and those of `evaluate`. With
        several optimisers, ``NAME_loss`` and ``NAME_lr`` for each.

    Raises
    ------
    FloatingPointError
        If the loss is not finite; the message names the step. The last checkpoint stays.
    FileExistsError
        If `out` holds an earlier run and `resume` is False: it is not overwritten.
    BlockingIOError
        If another training is running in `out`; the message names its process.
    ValueError
        If the checkpoint has other settings, is truncated, damaged or foreign (then nothing has changed), there are no
        batches, the optimiser belongs to another model, two optimisers have a parameter in common, the names of
        losses and optimisers differ, or `ema` is not between 0 and 1.
    TypeError
        If `loss` or `evaluate` returns the wrong type, or one of `loss` and `optimizer` is a dict and the other is not;
        with `out`, also if the loader cannot be resumed or `settings` cannot be saved.
    KeyboardInterrupt
        After Ctrl-C, when the step is done and the checkpoint is written. A second Ctrl-C does not wait.

    Notes
    -----
    Progress goes to stderr: a bar in a terminal and in Jupyter, otherwise a line about every ten seconds.
    """
    _check(steps, every, ema)
    turns = Turns(model, loss, optimizer)
    settings = {**(settings or {}), "steps": steps, "clip": clip}
    run = _Run(model, loader, turns, settings, ema)
    every = every or max(1, steps // 20)
    with ExitStack() as held:
        if out is not None:
            out = run.begin(out, resume, held)
        _loop(run, steps, clip, (before_step, after_step), evaluate, every, out, save_every)
    return run.history


def _loop(run, steps, clip, calls, evaluate, every, out, save_every):
    """Run the remaining steps of `fit`; ``calls`` are `before_step` and `after_step`."""
    model = run.model
    before_step, after_step = calls
    device = backend.device_of(model.parameters()[0].data)
    batches = _forever(run.loader)
    saved = time.monotonic()
    model.train()
    with _progress(steps, run.step) as bar, ctrl_c_waits() as pressed:
        while run.step < steps and not pressed:
            batch = [_moved(x, device) for x in next(batches)]
            run.count(_all_turns(run.step, model, run.turns, batch, clip, before_step))
            if after_step is not None:
                after_step(model, run.step)
            run.move_average()
            if run.step % every == 0 or run.step == steps:
                run.add_row(evaluate)
            bar.set_postfix(run.shown, refresh=False)
            bar.update()
            if out is not None and time.monotonic() - saved >= save_every:
                run.save(out)
                saved = time.monotonic()
        if out is not None:
            run.save(out, model=True)
    run.take_average()
    model.eval()
    if pressed:
        kept = f"; {out} holds model and checkpoint, resume goes on from there" if out is not None else ""
        print(f"fit: stopped after step {run.step} of {steps}{kept}", file=sys.stderr)
        raise KeyboardInterrupt


def _check(steps, every, ema):
    """Refuse numbers with which nothing would be trained, before anything is written."""
    if not all(hasattr(n, "__index__") and n >= 1 for n in (steps, 1 if every is None else every)):
        raise ValueError(f"fit: steps and every must be whole numbers of at least 1, got {steps} and {every}")
    if ema is not None and not (isinstance(ema, numbers.Real) and 0 <= ema <= 1):
        raise ValueError(f"fit: ema must be a number between 0 and 1, such as 0.999, got {ema!r}")


def _moved(x, device):
    """An array of a batch, or each one in a list, on a device; anything else as it is."""
    if isinstance(x, list):
        return [_moved(part, device) for part in x]
    return backend.move(x, device) if backend.is_array(x) else x


def _all_turns(step, model, turns, batch, clip, before_step):
    """One step of every optimiser on a batch: the losses by the names of the turns."""
    found = {}
    for name in turns:
        with turns.turn(name) as (loss, optimizer):
            found[name] = _named_step(step, name, model, loss, batch, optimizer, clip, before_step)
    return found


def _named_step(step, name, model, loss, batch, optimizer, clip, before_step):
    """`train_step` with an error for NaN that names the step and says what to try."""
    before = None if before_step is None else partial(before_step, step=step)
    try:
        return train_step(model, loss, batch, optimizer, clip, before)
    except FloatingPointError as error:
        turn = f", turn {name!r}" if name else ""
        raise FloatingPointError(
            f"fit: step {step + 1}{turn}: {error} (learning rate {optimizer.lr:.3g}). Try a smaller learning rate, a longer "
            "warm-up, or clip=1.0; inside `with mv.debug():` the op that makes the first NaN is named"
        ) from error


class _Run:
    """The state of a training: everything in a checkpoint except the arrays of model and optimiser."""

    def __init__(self, model, loader, turns, settings, ema):
        self.model, self.loader, self.turns, self.ema = model, loader, turns, ema
        self.average = None if ema is None else _wide(model.state_dict())
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
        for name in (CHECKPOINT, HISTORY, storage.WEIGHTS, storage.CONFIG):
            for left in out.glob(f".{name}.*.tmp"):  # left by a process that was killed while writing
                left.unlink()
        return out

    def count(self, losses):
        self.step += 1
        for name, loss in losses.items():
            self.losses[name].append(loss)
            self.shown[name or "loss"] = f"{loss:.4f}"

    def move_average(self):
        """Move the average a little towards the weights of this step."""
        if self.ema is not None:
            self.average = averaging.ema(self.average, _wide(self.model.state_dict()), self.ema)

    def take_average(self):
        """Give the model the averaged weights."""
        if self.ema is not None:
            self.model.load_state_dict(self.average)

    @contextmanager
    def averaged(self):
        """Inside the block the model has the averaged weights, if there is an average; afterwards its own again."""
        if self.ema is None:
            yield
            return
        own = self.model.state_dict()
        self.take_average()
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def add_row(self, evaluate):
        """Add a row to the history."""
        columns = self.turns.columns()
        row = {"step": self.step}
        row |= {columns[name]: math.fsum(each) / len(each) for name, each in self.losses.items()}
        row |= {**self.turns.rates(), "seconds": self.elapsed()}
        if evaluate is not None:
            self.model.eval()
            with no_grad(), self.averaged():
                measured = evaluate(self.model)
            if not isinstance(measured, dict):
                raise TypeError(f"fit: evaluate must return a dict of numbers, got {type(measured).__name__}")
            measured = {name: float(value) for name, value in measured.items()}
            self.model.train()
            row |= measured
            self.shown |= {name: f"{value:.4g}" for name, value in measured.items()}
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
        self.losses = {name: [] for name in self.turns}

    def elapsed(self):
        return self.seconds + time.monotonic() - self.started

    def save(self, out, model=False):
        """Write the checkpoint. It is one file, so a crash cannot leave half of it."""
        arrays = {f"model.{name}": x for name, x in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": x for name, x in self.turns.state_dict().items()}
        arrays |= {f"average.{name}": x for name, x in (self.average or {}).items()}
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
        storage.write_files({out / CHECKPOINT: packed, out / HISTORY: storage.pack_json(self.history)})
        if model:
            with self.averaged():
                storage.save(self.model, out)

    def restore(self, path):
        """Restore a checkpoint. Everything is read and checked before anything changes."""
        arrays, notes = storage.read_arrays(path, "fit")
        try:
            state = json.loads(notes["run"])
            progress = _progress_of(state, self.settings["steps"])
            there, rng, place = state["settings"], state["rng"], state["loader"]
            if not all(isinstance(part, dict) for part in (there, rng, place)):
                raise ValueError("settings, rng and loader must be objects")
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"fit: {path}: expected the checkpoint of a training, found none ({error!r:.200})"
            ) from error
        self._check_settings(path, there)
        if (were := list(progress["losses"])) != (are := list(self.turns)):
            raise ValueError(
                f"fit: {path} was written with other turns, so it cannot go on: {were}, now {are}"
            )
        weights, moments = _under("model.", arrays), _under("optimizer.", arrays)
        weights = storage.check_arrays(path, weights, self.model.state_dict())
        average = self.average
        if average is not None:
            average = storage.check_arrays(path, _under("average.", arrays), average)
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
        if average is not None:
            self.average = {
                name: backend.move(x, backend.device_of(self.average[name])) for name, x in average.items()
            }
        vars(self).update(progress)

    def _check_settings(self, path, there):
        """Refuse a checkpoint that was written with other settings."""
        here = json.loads(json.dumps(self.settings))
        if other := [name for name in {**here, **there} if here.get(name) != there.get(name)]:
            first, *rest = other
            told = f"{first} was {there.get(first)!r:.300}, now {here.get(first)!r:.300}"
            told += f"; {storage.some(rest)} differ too" if rest else ""
            raise ValueError(f"fit: {path} was written with other settings, so it cannot go on: {told}")


def _progress_of(state, steps):
    """Step, history, losses and seconds of a checkpoint's state; a ValueError if one of them is invalid."""
    step, history, losses, seconds = (state[name] for name in ("step", "history", "losses", "seconds"))
    if type(step) is not int or not 0 <= step <= steps:
        raise ValueError(f"step must be a whole number from 0 to {steps}, found {step!r:.50}")
    columns = list(history.values()) if isinstance(history, dict) else [None]
    if not all(_numbers(column) for column in columns) or len({len(column) for column in columns}) > 1:
        raise ValueError("history must be columns of numbers, all of one length")
    losses = {ALONE: losses} if isinstance(losses, list) else losses
    fits = isinstance(losses, dict) and all(map(_numbers, losses.values()))
    if not fits or not _numbers([seconds]) or not seconds >= 0:
        raise ValueError("losses must be numbers, and seconds one of at least 0")
    return {"step": step, "history": history, "losses": losses, "seconds": seconds}


def _numbers(values):
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)


def _wide(arrays):
    """The arrays of a model in which an average of halves can move: float16 becomes float32."""
    return {name: widened(x) if x.dtype.kind == "f" else x for name, x in arrays.items()}


def _under(prefix, arrays):
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def _forever(loader):
    """An endless stream of batches, one epoch after the other."""
    empty = 0
    while empty < 2:  # a resumed epoch may have no batch left, but then the next epoch has some
        empty += 1
        for batch in loader:
            empty = 0
            yield batch
    raise ValueError(
        "fit: loader has no batches (left): it must be something that can be looped over again and again"
    )


def _progress(steps, done):
    """tqdm's bar in a terminal and in Jupyter, plain lines in a log file."""
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        from tqdm.auto import tqdm

        return tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True)
    return _Lines(steps, done)


class _Lines:
    """The part of tqdm's interface that `fit` uses, for a log file: it prints whole lines.

    A line is printed when both ten seconds and a fiftieth of the steps have passed since the last one: five lines for a
    training of a minute, fifty for one of a day. The first and the last step always have a line.
    """

    def __init__(self, steps, done):
        self.steps = steps
        self.done = done
        self.first = done
        self.shown = {}
        self.start = self.last = time.monotonic()
        self.last_done = done

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        if self.done > self.last_done:
            self.line()

    def set_postfix(self, shown, refresh=True):
        self.shown = shown

    def update(self):
        self.done += 1
        waited = time.monotonic() - self.last >= 10 and self.done - self.last_done >= self.steps / 50
        if waited or self.done == self.first + 1:
            self.line()

    def line(self):
        from tqdm import tqdm

        now = time.monotonic()
        pace = (now - self.start) / (self.done - self.first)
        past = tqdm.format_interval(now - self.start)
        left = tqdm.format_interval(pace * (self.steps - self.done))
        shown = "".join(f"  {name} {value}" for name, value in self.shown.items())
        share = 100 * self.done // self.steps
        print(
            f"step {self.done} of {self.steps} ({share} %)  {past}, {left} left{shown}",
            file=sys.stderr,
            flush=True,
        )
        self.last = now
        self.last_done = self.done
