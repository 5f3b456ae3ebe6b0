"""The training loop: steps, progress, history, checkpoints, and a resume that is exact to the last bit.

Not here: one step of it (steps.py), what a checkpoint holds (run_state.py), optimisers and schedules (optim.py), several
that take turns (turns.py), whole trainings with their data (recipes/).
"""

import numbers
import operator
import sys
import time
from collections import namedtuple
from contextlib import ExitStack

from minivis.foreign_words import explained
from minivis.interrupts import ctrl_c_waits
from minivis.monitoring import Monitor
from minivis.progress import progress_bar
from minivis.rate_range import lr_range_test
from minivis.run_state import CHECKPOINT, HISTORY, TABLE, Run, measured
from minivis.steps import endless, take_turns, train_step
from minivis.turns import Turns

__all__ = ["CHECKPOINT", "HISTORY", "TABLE", "fit", "lr_range_test", "train_step"]

# How many updates a training has, how many batches an update takes, how many there are between rows of the history; and how
# many epochs of how many batches, if it is counted in epochs.
Length = namedtuple("Length", "steps accumulate row epochs epoch", defaults=(None, None))


@explained
def fit(
    model,
    loader,
    loss,
    optimizer,
    steps=None,
    *,
    epochs=None,
    accumulate=1,
    monitor=None,
    mode="max",
    patience=None,
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
    steps : int, optional
        Number of updates. Give either this or `epochs`.
    epochs : int, optional
        How many times to go through the loader, which must have a length.
    accumulate : int, default 1
        Batches whose gradients are averaged for each update. For a loss that is a mean over the batch, 4 batches of 8 give the
        gradient of one batch of 32, with the memory of 8; batch norm still sees 8. An update may begin in one epoch and end
        in the next; what is left after the last of the `epochs` is not used.
    monitor : str, optional
        The column of the history that says how good the model is, mostly one of those of `evaluate`, such as "accuracy". After
        training, the model, and the one saved in `out`, has the weights of the row where that number was best instead of
        the last ones; the checkpoint has both. Rows where it is NaN do not count.
    mode : {"max", "min"}, default "max"
        Whether a large or a small number in that column is good.
    patience : int, optional
        Early stopping: end the training after that many rows of the history without a better one.
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
        history; and once before the first step if `monitor` names one of its numbers, which may be missing.
    every : int, optional
        Steps between rows of the history; by default a twentieth of `steps`, or an epoch if `epochs` is given.
    out : str or path, optional
        Folder for ``checkpoint.safetensors`` (everything for a resume), the history as ``history.json`` and ``history.csv``
        and, when training ends, the model as `minivis.save` writes it. None writes nothing. During training, ``.lock`` names the process.
    resume : bool, default False
        Continue from the checkpoint in `out`, if there is one. The final parameters are then the same, bit for bit, as
        without the interruption. With more `steps` or `epochs` than before, the training goes on to the new end, with the
        learning rates that the schedule of this call has there.
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
        If the checkpoint has other settings or fewer steps are asked for than before, or if it is truncated, damaged or
        foreign (then nothing has changed); if there are no batches, both or none of `steps` and `epochs` are given,
        `accumulate` is more than all batches, the optimiser belongs to another model, two optimisers have a parameter in
        common, the names of losses and optimisers differ, or `ema` is not between 0 and 1. If `monitor` names no column,
        `mode` is neither "max" nor "min", `patience` is given without `monitor`, or a
        `minivis.optim.ReduceLROnPlateau` has nothing to look at or another mode.
    TypeError
        If `loss` or `evaluate` returns the wrong type, or one of `loss` and `optimizer` is a dict and the other is not;
        with `epochs`, also if the loader has no length; with `out`, if it cannot be resumed or `settings` cannot be saved.
    KeyboardInterrupt
        After Ctrl-C, when the step is done and the checkpoint is written. A second Ctrl-C does not wait.

    Notes
    -----
    Progress goes to stderr: a bar in a terminal and in Jupyter, otherwise a line about every ten seconds.

    With `patience` the training can be resumed after it has stopped: with a larger one it goes on.

    References
    ----------
    Early stopping: Prechelt, "Early stopping - but when?", 1998; with a patience that begins anew with each better row as in
    Goodfellow, Bengio and Courville, "Deep learning", 2016, algorithm 7.1. Averaged weights: see `minivis.averaging.ema`.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis import nn, ops, optim
    >>> from minivis.data import DataLoader
    >>> x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    >>> model = nn.Linear(1, 1, rng=0)
    >>> distance = lambda model, x, y: ops.mse_loss(model(x), y)
    >>> history = fit(model, DataLoader((x, 3 * x), 8), distance, optim.SGD(model, lr=0.5), epochs=5)
    >>> history["step"], history["loss"][-1] < 0.1 * history["loss"][0]
    ([4, 8, 12, 16, 20], True)
    """
    length = _length(loader, steps, epochs, accumulate, every)
    if ema is not None and not (isinstance(ema, numbers.Real) and 0 <= ema <= 1):
        raise ValueError(f"fit: ema must be a number between 0 and 1, such as 0.999, got {ema!r}")
    turns = Turns(model, loss, optimizer)
    watch = _monitor(monitor, mode, patience, turns, evaluate, resume)
    unusual = {"accumulate": length.accumulate} if length.accumulate > 1 else {}
    settings = {**(settings or {}), "steps": length.steps, "clip": clip, **unusual}
    run = Run(model, loader, turns, settings, ema, watch)
    with ExitStack() as held:
        if out is not None:
            out = run.begin(out, resume, held)
        _loop(run, length, clip, (before_step, after_step), evaluate, out, save_every)
    return run.history


def _loop(run, length, clip, calls, evaluate, out, save_every):
    """Run the remaining steps of `fit`; ``calls`` are `before_step` and `after_step`."""
    model = run.model
    before_step, after_step = calls
    batches = endless(run.loader)
    saved = time.monotonic()
    model.train()
    with progress_bar(length.steps, run.step) as bar, ctrl_c_waits() as pressed:
        while run.step < length.steps and not run.stalled and not pressed:
            if length.epochs is not None:
                run.shown["epoch"] = f"{run.step * length.accumulate // length.epoch + 1}/{length.epochs}"
            several = [next(batches) for _ in range(length.accumulate)]
            run.count(take_turns(run.step, model, run.turns, several, clip, before_step))
            if after_step is not None:
                after_step(model, run.step)
            run.move_average()
            if _row_is_due(run.step, length):
                run.add_row(evaluate)
            bar.set_postfix(run.shown, refresh=False)
            bar.update()
            if out is not None and time.monotonic() - saved >= save_every:
                run.save(out)
                saved = time.monotonic()
        if out is not None:
            run.save(out)
        run.finish(out)
    if pressed:
        kept = f"; {out} holds model and checkpoint, resume goes on from there" if out is not None else ""
        print(f"fit: stopped after step {run.step} of {length.steps}{kept}", file=sys.stderr)
        raise KeyboardInterrupt
    if run.monitor is not None:
        print(run.monitor.result(run.history, run.stalled, length.steps), file=sys.stderr)


def _length(loader, steps, epochs, accumulate, every):
    """The `Length` of a training. Numbers with which nothing would be trained are refused before anything is written."""
    if (steps is None) == (epochs is None):
        raise ValueError(f"fit: give either steps or epochs, got steps={steps} and epochs={epochs}")
    given = {"steps": steps, "epochs": epochs, "accumulate": accumulate, "every": every}
    for name, n in given.items():
        if n is not None and not (hasattr(n, "__index__") and n >= 1):
            raise ValueError(f"fit: {name} must be a whole number of at least 1, got {n!r:.50}")
    given = {name: n if n is None else operator.index(n) for name, n in given.items()}  # NumPy's too
    steps, epochs, accumulate, every = given.values()
    if epochs is None:
        return Length(steps, accumulate, accumulate * (every or max(1, steps // 20)))
    try:
        epoch = len(loader)
    except TypeError as error:
        raise TypeError(
            "fit: epochs needs a loader with a length, such as a DataLoader: give steps"
        ) from error
    if epochs * epoch < accumulate:
        raise ValueError(
            f"fit: accumulate={accumulate} batches for an update are more than the {epochs * epoch} of all epochs"
        )
    row = every * accumulate if every else epoch
    return Length(epochs * epoch // accumulate, accumulate, row, epochs, epoch)


def _row_is_due(step, length):
    """Whether the history gets a row after that step: at the end, and where an epoch or so many batches are full."""
    rows = (step - 1) * length.accumulate // length.row, step * length.accumulate // length.row
    return rows[1] > rows[0] or step == length.steps


def _monitor(name, mode, patience, turns, evaluate, resume):
    """The `Monitor` of a training, or None if it has none."""
    schedules = turns.watching()
    if name is None:
        if patience is not None or schedules:
            what = "patience" if patience is not None else "ReduceLROnPlateau"
            raise ValueError(
                f'fit: {what} needs to know what to look at: name a column of the history, such as monitor="accuracy"'
            )
        return None
    for schedule in schedules:
        if schedule.mode != mode:
            raise ValueError(
                f"fit: mode is {mode!r}, but the ReduceLROnPlateau of the optimizer has {schedule.mode!r}"
            )
    columns = ["step", *turns.columns().values(), *turns.rates(), "seconds"]
    watch = Monitor(name, mode, patience, columns if evaluate is None else None)
    if evaluate is not None and not resume and name not in columns:
        rng = turns.model.rng_state()
        watch.check_row({**dict.fromkeys(columns), **measured(turns.model, evaluate)})
        turns.model.load_rng_state(rng)
    return watch
