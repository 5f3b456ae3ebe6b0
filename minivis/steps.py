"""One step of a training: batches to the model's device, forward, backward, update; for each optimiser in its turn.

Not here: the loop (train.py), the optimisers (optim.py), which of several optimisers learns what (turns.py).
"""

import math
from functools import partial

from minivis import backend
from minivis.autograd import Tensor
from minivis.optim import clip_grad_norm

__all__ = ["endless", "take_turns", "train_step"]


def train_step(model, loss, batch, optimizer, clip=None, before_step=None):
    """Learn from one batch: forward, backward, update.

    Parameters
    ----------
    model : Module
        The model to train. Its parameters change in place.
    loss : callable
        ``loss(model, *batch)`` returns a Tensor of one element.
    batch : tuple of ndarray
        The inputs of the loss, such as (images, labels). They are moved to the device of the model.
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
    return _step(model, loss, [batch], optimizer, clip, before_step)


def _step(model, loss, batches, optimizer, clip, before_step):
    """`train_step` on the mean gradient of several batches; only one of them is in work at a time."""
    optimizer.zero_grad()
    device = backend.device_of(model.parameters()[0].data)
    losses = []
    for batch in batches:
        on_device = [_moved(x, device) for x in batch]
        losses.append(_add_gradient(model, loss, on_device, len(batches)))
    # raises for NaN in either case
    clip_grad_norm(model.parameters(), math.inf if clip is None else clip)
    if before_step is not None:
        before_step(model, optimizer)
    optimizer.step()
    return math.fsum(losses) / len(losses)


def _add_gradient(model, loss, batch, count):
    """Add the gradient of the loss of a batch, divided by the number of batches. Returns the loss."""
    value = loss(model, *batch)
    if not isinstance(value, Tensor) or value.size != 1:
        found = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"fit: loss must return a Tensor of one element, got {found}")
    (value if count == 1 else value / count).backward()
    found = value.item()  # waits for a GPU, so it comes after backward has queued its work
    if not math.isfinite(found):
        raise FloatingPointError(f"the loss is {found}")
    return found


def take_turns(step, model, turns, batches, clip, before_step):
    """One step of every optimiser on the same batches: the losses by the names of the turns."""
    found = {}
    for name in turns:
        with turns.turn(name) as (loss, optimizer):
            found[name] = _named_step(step, name, model, loss, batches, optimizer, clip, before_step)
    return found


def _named_step(step, name, model, loss, batches, optimizer, clip, before_step):
    """A step with an error for NaN that names the step and says what to try."""
    before = None if before_step is None else partial(before_step, step=step)
    try:
        return _step(model, loss, batches, optimizer, clip, before)
    except FloatingPointError as error:
        turn = f", turn {name!r}" if name else ""
        raise FloatingPointError(
            f"fit: step {step + 1}{turn}: {error} (learning rate {optimizer.lr:.3g}). Try a smaller learning rate, a longer "
            "warm-up, or clip=1.0; inside `with mv.debug():` the op that makes the first NaN is named"
        ) from error


def _moved(x, device):
    """An array of a batch, or each one in a list, on a device; anything else as it is."""
    if isinstance(x, list):
        return [_moved(part, device) for part in x]
    return backend.move(x, device) if backend.is_array(x) else x


def endless(loader):
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
