"""Turns: several optimisers that share a training, each with its own loss and its own part of the model.

Not here: the loop that gives them their turns (train.py), the optimisers (optim.py).
"""

import copy
from contextlib import contextmanager

from minivis.optim import ReduceLROnPlateau

__all__ = []

ALONE = ""  # the name of the only turn, where there is one loss and one optimiser


class Turns:
    """The losses and optimisers of a training, in the order in which they take turns on every batch.

    Parameters
    ----------
    model : Module
        The model that all of them train.
    losses, optimizers : callable and Optimizer, or dicts of them by name
        Dicts have the same names; the order is that of the optimisers.
    """

    def __init__(self, model, losses, optimizers):
        several = isinstance(optimizers, dict)
        if isinstance(losses, dict) != several:
            raise TypeError("fit: loss and optimizer must both be dicts, for several turns, or neither")
        if several and (set(losses) != set(optimizers) or not optimizers):
            names = f"{sorted(losses)} and {sorted(optimizers)}"
            raise ValueError(f"fit: loss and optimizer must have the same names, got {names}")
        if several and not all(isinstance(name, str) and name.isidentifier() for name in optimizers):
            raise ValueError(f"fit: the names of turns must be words, got {list(optimizers)}")
        self.model = model
        self.losses = losses if several else {ALONE: losses}
        self.optimizers = optimizers if several else {ALONE: optimizers}
        self._check()

    def _check(self):
        """Every optimiser holds parameters of the model, and no two hold the same one."""
        names = {id(p): name for name, p in self.model.named_parameters()}
        holders = {}
        for turn, optimizer in self.optimizers.items():
            held = [id(p) for p in _parameters(optimizer)]
            if names.keys().isdisjoint(held):
                which = f"optimizer {turn!r}" if turn else "optimizer"
                raise ValueError(
                    f"fit: {which} holds no parameter of this model; make it from model.parameters()"
                )
            for p in held:
                if p in holders:
                    both = f"{holders[p]!r} and {turn!r}"
                    raise ValueError(
                        f"fit: the optimizers {both} both hold {names.get(p, 'a parameter')}: give each its own part of "
                        "the model"
                    )
                holders[p] = turn

    def __iter__(self):
        return iter(self.optimizers)

    @contextmanager
    def turn(self, name):
        """Inside the block, only the parameters of one turn get gradients: the others are constants for its loss."""
        own = {id(p) for p in _parameters(self.optimizers[name])}
        others = [p for p in self.model.parameters() if id(p) not in own and p.requires_grad]
        if name == ALONE:
            others = []  # what nobody trains may still show its gradient
        for p in others:
            p.requires_grad = False
            p.grad = None
        try:
            yield self.losses[name], self.optimizers[name]
        finally:
            for p in others:
                p.requires_grad = True

    def columns(self):
        """The columns of the history with the losses, by turn: "loss", or "discriminator_loss", ..."""
        return {name: f"{name}_loss" if name else "loss" for name in self}

    def rates(self):
        """The columns of the history with the learning rates."""
        return {f"{name}_lr" if name else "lr": o.lr for name, o in self.optimizers.items()}

    def watching(self):
        """The schedules that look at what is measured."""
        return [o.schedule for o in self.optimizers.values() if isinstance(o.schedule, ReduceLROnPlateau)]

    def tell(self, value):
        """Tell these schedules the newest value."""
        for schedule in self.watching():
            schedule.step(value)

    def settings(self, steps):
        """What must be the same for a resume: classes, options and schedules."""
        each = {name: _described(o, steps) for name, o in self.optimizers.items()}
        return each.get(ALONE, each)

    def state_dict(self):
        """The arrays of all optimisers by name; of several, each name begins with that of the turn and a dot."""
        return {
            _prefix(name) + key: x for name, o in self.optimizers.items() for key, x in o.state_dict().items()
        }

    def load_state_dict(self, state):
        """Load what `state_dict` returned."""
        for optimizer, own in self._parts(state):
            optimizer.load_state_dict(own)

    def check_state_dict(self, state):
        """Raise what `load_state_dict` would raise, and change nothing."""
        parts = self._parts(state)
        left = set(state) - {
            prefixed for name in self for prefixed in state if prefixed.startswith(_prefix(name))
        }
        if left:
            raise ValueError(
                f"unexpected entries in the state of the optimizers: {', '.join(sorted(left)[:8])}"
            )
        for optimizer, own in parts:
            twin = copy.copy(optimizer)
            twin.schedule = copy.copy(twin.schedule)
            twin.load_state_dict(own)

    def _parts(self, state):
        """Each optimiser and its part of a state."""
        parts = []
        for name, optimizer in self.optimizers.items():
            prefix = _prefix(name)
            own = {key.removeprefix(prefix): x for key, x in state.items() if key.startswith(prefix)}
            parts.append((optimizer, own))
        return parts


def _prefix(name):
    return f"{name}." if name else ""


def _parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def _described(optimizer, steps):
    """Class, options and schedule of an optimiser."""
    schedule = optimizer.schedule
    if isinstance(schedule, ReduceLROnPlateau):
        described = schedule.settings()
    else:
        described = [schedule(steps * i // 4) for i in range(5)]
    options = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {"class": type(optimizer).__name__, "groups": options, "schedule": described}
