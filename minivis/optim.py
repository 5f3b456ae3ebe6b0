"""Optimisers (SGD, Adam, AdamW), learning-rate schedules, and gradient clipping.

They update the arrays of the parameters in place. Not here: the training loop (train.py).
"""

import math
import numbers
from functools import partial

import numpy as np

from minivis import foreign_words
from minivis.autograd import Tensor, mark_changed
from minivis.backend import device_of, move, namespace
from minivis.interrupts import ctrl_c_waits
from minivis.precision import widened
from minivis.ways import with_ways

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "ReduceLROnPlateau",
    "clip_each_grad_norm",
    "clip_grad_norm",
    "constant",
    "cosine",
    "cosine_schedule",
    "decay_groups",
    "follow",
    "one_cycle",
]


class Optimizer:
    """Base class of optimisers: groups of parameters, a schedule, and a state that can be saved.

    A subclass names the arrays that it keeps for each parameter in ``slots`` and defines the in-place update of one
    parameter, ``_update(parameter, grad, state, group, lr)``. For float16 parameters, the update and the kept arrays
    are in float32, because squares of gradients leave the range of float16.

    Parameters
    ----------
    params : list of Parameter, list of dict, or Module
        A dict is a group with its own options: ``{"params": [...], "lr": 1e-4}``. A Module gives all of its parameters.
    options : dict
        Defaults of the options, including ``lr``.
    schedule : callable, optional
        ``schedule(step)`` is a factor for every learning rate; step 0 is the first. It must depend on the step only, so
        that a resumed training needs no state for it; or have a ``state_dict``, as `ReduceLROnPlateau` does.

    Attributes
    ----------
    param_groups : list of dict
        The groups, with all options filled in. Options may be changed between steps.
    steps : int
        Number of steps taken.

    Raises
    ------
    ValueError
        If there are no parameters, one is in two groups, a group has an unknown option, or an option is negative.
    TypeError
        If something is not a Tensor that requires a gradient.

    Notes
    -----
    Copy or pickle model and optimiser together, ``copy.deepcopy((model, optimizer))``: then the new optimiser updates
    the new model. An optimiser that is copied alone gets copies of the parameters and no longer changes the model.
    """

    slots = ()  # names of the arrays kept for each parameter

    def __init__(self, params, options, schedule=None):
        name = type(self).__name__
        groups = list(params.parameters() if hasattr(params, "parameters") else params)
        groups = groups if groups and isinstance(groups[0], dict) else [{"params": groups}]
        self.param_groups = []
        for group in groups:
            if "params" not in group:
                raise ValueError(f'{name}: a group is a dict with "params", got the keys {sorted(group)}')
            if unknown := set(group) - set(options) - {"params"}:
                raise ValueError(f"{name}: unknown options {sorted(unknown)}; known are {sorted(options)}")
            self.param_groups.append({**options, **group, "params": list(group["params"])})
        self._check(name)
        if not callable(schedule or constant):
            raise TypeError(
                f"{name}: schedule must be a function of the step such as cosine(...), got {schedule!r}"
            )
        self.schedule = schedule or constant
        self.steps = 0
        self._state = {}  # parameter -> {"step": int, slot: array}

    def _check(self, name):
        everything = [p for group in self.param_groups for p in group["params"]]
        if not everything:
            raise ValueError(f"{name}: there are no parameters to optimise")
        if len({id(p) for p in everything}) < len(everything):
            raise ValueError(f"{name}: a parameter appears twice; put each in one group")
        for p in everything:
            if not isinstance(p, Tensor) or p.node is not None:
                raise TypeError(
                    f"{name}: params must be leaf Tensors such as model.parameters(), got {p!r:.80}"
                )
        for group in self.param_groups:
            for option in ("lr", "weight_decay", "eps", "momentum"):
                value = group.get(option, 0)
                if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
                    raise ValueError(f"{name}: {option} must be a number of at least 0, got {value!r}")
            betas = group.get("betas", (0, 0))
            if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
                raise ValueError(f"{name}: betas must be two numbers in [0, 1), got {betas}")

    @property
    def lr(self):
        """The learning rate of the first group for the next step, with the schedule."""
        return self.param_groups[0]["lr"] * self.schedule(self.steps)

    def zero_grad(self):
        """Set all gradients to None."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self):
        """Update every parameter that has a gradient. Parameters without one are skipped; they do not decay either.

        Raises
        ------
        ValueError
            If a gradient does not have the shape of its parameter. Then nothing has changed.
        KeyboardInterrupt
            After Ctrl-C, when the step is done. A second Ctrl-C does not wait.
        """
        factor = self.schedule(self.steps)
        todo = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for _, p in todo:
            self._prepare(p)
        with ctrl_c_waits() as pressed:
            for group, p in todo:
                state = self._state[p]
                parameter = widened(p.data)
                state["step"] += 1
                self._update(parameter, widened(p.grad), state, group, group["lr"] * factor)
                if parameter is not p.data:
                    p.data[...] = parameter
                mark_changed(p)
            self.steps += 1
        if pressed:
            raise KeyboardInterrupt

    def _prepare(self, p):
        """Check the shape of the gradient. Make the state of a parameter, or move it to the parameter's device."""
        if p.grad.shape != p.shape:
            raise ValueError(
                f"{type(self).__name__}: a gradient has shape {tuple(p.grad.shape)}, its parameter {tuple(p.shape)}"
            )
        state = self._state.get(p)
        if state is None:
            zeros = namespace(p.data).zeros_like
            state = {"step": 0, **{slot: zeros(p.data, dtype=_state_dtype(p)) for slot in self.slots}}
            self._state[p] = state
        for slot in self.slots:
            state[slot] = move(state[slot], device_of(p.data))

    def _numbered(self):
        return list(enumerate(p for group in self.param_groups for p in group["params"]))

    def state_dict(self):
        """The state for resuming a training, as host arrays by name. Options are not in it: the constructor gets them.

        Returns
        -------
        dict of str to ndarray
            ``steps``, and for each parameter number i that has a state, ``i.step`` and ``i.<slot>``. All are copies. What
            a schedule keeps is under ``schedule.<name>``.
        """
        saved = {"steps": np.array(self.steps, np.int64)}
        if hasattr(self.schedule, "state_dict"):
            kept = self.schedule.state_dict()
            saved |= {f"schedule.{key}": np.array(value, np.float64) for key, value in kept.items()}
        for i, p in self._numbered():
            for key, value in self._state.get(p, {}).items():
                value = np.array(value, np.int64) if key == "step" else move(value, "cpu").copy()
                saved[f"{i}.{key}"] = value
        return saved

    def load_state_dict(self, state):
        """Load what `state_dict` returned, for the same parameters in the same order.

        Raises
        ------
        ValueError
            If the state belongs to other parameters. Then nothing has changed.
        """
        name = type(self).__name__
        left = dict(state)
        if "steps" not in left:
            raise ValueError(f"{name}: this is not the state of an optimiser: it has no entry 'steps'")
        steps = _count(name, "steps", left.pop("steps"))
        kept = {key: left.pop(key) for key in list(left) if key.startswith("schedule.")}
        loaded = {}
        for i, p in self._numbered():
            if f"{i}.step" not in left:
                continue
            loaded[p] = {"step": _count(name, f"{i}.step", left.pop(f"{i}.step"))}
            for slot in self.slots:
                value = left.pop(f"{i}.{slot}", None)
                if value is None or tuple(value.shape) != tuple(p.shape):
                    found = "nothing" if value is None else f"shape {tuple(value.shape)}"
                    raise ValueError(
                        f"{name}: state {i}.{slot} must have shape {tuple(p.shape)}, found {found}"
                    )
                if value.dtype.kind != "f":
                    raise ValueError(f"{name}: state {i}.{slot} must be floating, found {value.dtype.name}")
                loaded[p][slot] = move(np.array(move(value, "cpu"), _state_dtype(p)), device_of(p.data))
        if not hasattr(self.schedule, "load_state_dict"):
            left |= kept
        if left:
            raise ValueError(f"{name}: unexpected entries in the state: {', '.join(sorted(left)[:8])}")
        if hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict({key.removeprefix("schedule."): x for key, x in kept.items()})
        self.steps, self._state = steps, loaded


def _state_dtype(p):
    """The dtype for the update and the state of a parameter: float32 for float16, otherwise its own."""
    return np.dtype(np.float32) if p.dtype == np.float16 else p.dtype


def _count(name, entry, value):
    """Convert a number of steps from an optimiser's state, or refuse it."""
    value = np.asarray(value)
    if value.dtype.kind not in "iu" or value.ndim or value < 0:
        raise ValueError(f"{name}: state {entry} must be a whole number of at least 0, found {value!r:.80}")
    return int(value)


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum.

    .. math:: b \\leftarrow \\mu b + g + \\lambda \\theta, \\qquad \\theta \\leftarrow \\theta - \\eta b

    Parameters
    ----------
    params : list of Parameter, or list of dict
        See `Optimizer`.
    lr : float
        Learning rate eta.
    momentum : float, default 0
        mu.
    weight_decay : float, default 0
        lambda, added to the gradient.
    nesterov : bool, default False
        Nesterov momentum: step along g + mu b instead of b.
    schedule : callable, optional
        See `Optimizer`.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in torch's form.

    Examples
    --------
    >>> x = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([0.8], dtype=float32)
    """

    slots = ("momentum",)

    @foreign_words.explained
    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0, nesterov=False, *, schedule=None):
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, options, schedule)

    def _update(self, parameter, grad, state, group, lr):
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * parameter
        if group["momentum"]:
            buffer = state["momentum"]  # zeros at first, so that the first b is g
            buffer *= group["momentum"]
            buffer += grad
            grad = grad + group["momentum"] * buffer if group["nesterov"] else buffer
        parameter -= lr * grad


class AdamW(Optimizer):
    """Adam with decoupled weight decay: steps of about equal size for every weight, however large its gradient.

    .. math::
        m &\\leftarrow \\beta_1 m + (1 - \\beta_1) g, \\qquad v \\leftarrow \\beta_2 v + (1 - \\beta_2) g^2 \\\\
        \\theta &\\leftarrow (1 - \\eta\\lambda)\\, \\theta
            - \\eta\\, \\frac{m / (1 - \\beta_1^t)}{\\sqrt{v / (1 - \\beta_2^t)} + \\epsilon}

    Parameters
    ----------
    params : list of Parameter, or list of dict
        See `Optimizer`; `decay_groups` makes the two groups that transformers usually have.
    lr : float, default 1e-3
        Learning rate eta.
    betas : (float, float), default (0.9, 0.999)
        Decay rates of the two moments; closer to 1 means a longer memory.
    eps : float, default 1e-8
        Added to the square root.
    weight_decay : float, default 0.01
        lambda.
    schedule : callable, optional
        See `Optimizer`.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2, in torch's form (eta
    multiplies lambda).

    Examples
    --------
    >>> x = Tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([x], lr=0.1)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.data
    array([0.899], dtype=float32)
    """

    slots = ("m", "v")

    @foreign_words.explained
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, *, schedule=None):
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, schedule)
        self._elements = sum(p.size for group in self.param_groups for p in group["params"])

    def _update(self, parameter, grad, state, group, lr):
        step, m, v = state["step"], state["m"], state["v"]
        options = (*group["betas"], group["eps"], group["weight_decay"])
        adamw_step(parameter, grad, m, v, lr, *options, step, self._elements)


@with_ways
def adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step, elements=None):
    """One AdamW update of a parameter and its two moments, all in place (Loshchilov and Hutter 2019, algorithm 2).

    ``elements`` is the number of elements of all parameters of the optimiser. Faster ways look at it to see if they
    pay.
    """
    xp = namespace(parameter, grad)
    m += (1 - beta1) * (grad - m)  # beta m + (1 - beta) g
    v += (1 - beta2) * (grad * grad - v)
    parameter *= 1 - lr * weight_decay
    parameter -= lr * (m / (1 - beta1**step)) / (xp.sqrt(v / (1 - beta2**step)) + eps)


class Adam(AdamW):
    """`AdamW` with the decay added to the gradient, as before 2019; weights with large gradients then hardly decay.

    Parameters
    ----------
    params : list of Parameter, or list of dict
        See `Optimizer`.
    lr, betas, eps : float, defaults 1e-3, (0.9, 0.999), 1e-8
        As for `AdamW`.
    weight_decay : float, default 0
        lambda, added to the gradient.
    schedule : callable, optional
        See `Optimizer`.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
    """

    @foreign_words.explained
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, schedule=None):
        super().__init__(params, lr, betas, eps, weight_decay, schedule=schedule)

    def _update(self, parameter, grad, state, group, lr):
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * parameter
        super()._update(parameter, grad, state, {**group, "weight_decay": 0.0}, lr)


def decay_groups(model, weight_decay):
    """Two parameter groups: weight matrices and filters decay; norms, biases, class token and position codes do not.

    Parameters
    ----------
    model : Module
        Its parameters named ``...weight`` with at least two axes decay.
    weight_decay : float
        Decay of these.

    Returns
    -------
    list of dict
        The ``params`` for an optimiser, without empty groups.

    Examples
    --------
    >>> from minivis import nn
    >>> [len(group["params"]) for group in decay_groups(nn.MLP(4, 8), 0.05)]
    [2, 2]
    """
    groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, p in model.named_parameters():
        decays = name.split(".")[-1] == "weight" and p.ndim >= 2
        groups[0 if decays else 1]["params"].append(p)
    return [group for group in groups if group["params"]]


def clip_grad_norm(parameters, max_norm, error_if_nonfinite=True):
    """Scale all gradients by one factor so that their norm, as one long vector, is at most ``max_norm``.

    .. math:: g \\leftarrow g \\cdot \\min\\Big(1, \\frac{c}{\\lVert g \\rVert_2 + 10^{-6}}\\Big)

    Parameters
    ----------
    parameters : list of Parameter, or Module
        Parameters without a gradient are skipped.
    max_norm : float
        The limit c.
    error_if_nonfinite : bool, default True
        Raise an error if the norm is NaN or infinite. torch's default is False, which spreads the NaN to all weights.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    ValueError
        If ``max_norm`` is negative, which would reverse the gradients.
    FloatingPointError
        If the norm is not finite. Then no gradient has changed.

    Examples
    --------
    >>> x = Tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> clip_grad_norm([x], 1.0)
    10.0
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: max_norm must be at least 0, got {max_norm}")
    if hasattr(parameters, "parameters"):
        parameters = parameters.parameters()
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = _length(grads)
    if not 1e-12 < norm < math.inf:  # the squares may have left the range of float32
        largest = max((float(abs(g).max()) for g in grads if g.size), default=0.0)
        if 0 < largest < math.inf:
            norm = largest * _length([g.astype(np.float64) / largest for g in grads])
    if error_if_nonfinite and not math.isfinite(norm):
        raise FloatingPointError(
            f"clip_grad_norm: the gradient norm is {norm}; run the step inside mv.debug() to see where it comes from"
        )
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:
        for g in grads:
            if g.dtype == np.float16 or factor < np.finfo(g.dtype).tiny:  # the dtype cannot hold the factor
                g[...] = g.astype(np.float64) * factor
            else:
                g *= factor
    return norm


def clip_each_grad_norm(parameters, max_norm):
    """Scale the gradient of each parameter by itself so that its norm is at most ``max_norm``.

    .. math:: g_i \\leftarrow g_i \\cdot \\min\\Big(1, \\frac{c}{\\lVert g_i \\rVert_2 + 10^{-6}}\\Big)

    Unlike `clip_grad_norm`, this changes the direction of the gradient as a whole: a layer with a huge gradient does not
    make the steps of all others small.

    Parameters
    ----------
    parameters : list of Parameter, or Module
        Parameters without a gradient are skipped.
    max_norm : float
        The limit c of each.

    Returns
    -------
    list of float
        The norms before clipping.

    Raises
    ------
    ValueError
        If ``max_norm`` is negative.
    FloatingPointError
        If a norm is not finite.

    References
    ----------
    ``clip_gradients`` in the published code of Caron et al., "Emerging properties in self-supervised vision
    transformers", ICCV 2021.

    Examples
    --------
    >>> x, y = Tensor([3.0, 4.0], requires_grad=True), Tensor([0.5], requires_grad=True)
    >>> ((x * x).sum() + (y * y).sum()).backward()
    >>> clip_each_grad_norm([x, y], 2.0)
    [10.0, 1.0]
    >>> x.grad.round(4), y.grad
    (array([1.2, 1.6], dtype=float32), array([1.], dtype=float32))
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_each_grad_norm: max_norm must be at least 0, got {max_norm}")
    if hasattr(parameters, "parameters"):
        parameters = parameters.parameters()
    return [clip_grad_norm([p], max_norm) for p in parameters if p.grad is not None]


def _length(arrays):
    """The Euclidean length of all arrays as one vector, a float."""
    flat = [widened(x).reshape(-1) for x in arrays]
    with np.errstate(over="ignore"):  # the caller sees an infinite result
        squares = [(x @ x).astype(np.float64) for x in flat]
    return math.sqrt(sum(squares))  # summed on their device: the host waits for a GPU only once


def constant(step):
    """The constant schedule: factor 1 at every step.

    Parameters
    ----------
    step : int
        0 is the first.

    Returns
    -------
    float
    """
    return 1.0


def cosine(total_steps, warmup_steps=0, final=0.0):
    """A linear warm-up to 1, then half a cosine down: ``schedule(step)``.

    Parameters
    ----------
    total_steps : int
        Steps of the whole training.
    warmup_steps : int, default 0
        Steps of the warm-up. The first step has the factor 1 / warmup_steps.
    final : float, default 0
        Factor after the last step.

    Returns
    -------
    callable
        step (0 is the first) -> factor, for ``schedule`` of an optimiser.

    Raises
    ------
    ValueError
        If the warm-up is longer than the whole training.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, equation 5.

    Examples
    --------
    >>> schedule = cosine(total_steps=8, warmup_steps=4)
    >>> [round(schedule(step), 2) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"cosine: warmup_steps must lie in 0 to {total_steps}, got {warmup_steps}")
    # unlike a closure, a partial can be pickled
    return partial(_cosine, total_steps, warmup_steps, final)


def _cosine(total_steps, warmup_steps, final, step):
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    share = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))


def one_cycle(total_steps, warmup=0.3, start=1 / 25, final=1 / 25e4):
    """Half a cosine up to 1 and half a cosine down to almost 0: ``schedule(step)``.

    Parameters
    ----------
    total_steps : int
        Steps of the whole training.
    warmup : float, default 0.3
        Share of the steps in which the factor rises.
    start : float, default 1/25
        Factor of the first step.
    final : float, default 1/250000
        Factor of the last step and from then on.

    Returns
    -------
    callable
        step (0 is the first) -> factor, for ``schedule`` of an optimiser.

    Raises
    ------
    ValueError
        If there are no steps, or ``warmup`` is not between 0 and 1.

    References
    ----------
    Smith and Topin, "Super-convergence", 2018; the two phases of ``torch.optim.lr_scheduler.OneCycleLR``.

    Examples
    --------
    >>> schedule = one_cycle(total_steps=11, warmup=0.5, start=0.0, final=0.0)
    >>> [round(schedule(step), 2) for step in (0, 4, 5, 10)]
    [0.0, 0.97, 0.98, 0.0]
    """
    if total_steps < 1 or not 0 <= warmup <= 1:
        raise ValueError(
            f"one_cycle: needs total_steps >= 1 and warmup in 0 to 1, got {total_steps}, {warmup}"
        )
    return partial(_one_cycle, total_steps, warmup, start, final)


def _one_cycle(total_steps, warmup, start, final, step):
    top = warmup * total_steps - 1  # the step with factor 1
    step = min(step, total_steps - 1)
    if step <= top:
        low = start
        share = 1 - step / top if top else 0.0
    else:
        low = final
        share = (step - top) / max(total_steps - 1 - top, 1e-12)
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share))


class ReduceLROnPlateau:
    """The schedule that lowers the learning rate when a measured number no longer gets better.

    Parameters
    ----------
    mode : {"max", "min"}, default "max"
        Whether large numbers, such as an accuracy, or small ones, such as a loss, are good.
    factor : float, default 0.1
        What the learning rate is multiplied by, between 0 and 1.
    patience : int, default 3
        How many values in a row may be no better than the best so far; the one after them lowers the rate.
    threshold : float, default 1e-4
        A value is better only if the difference is more than this share of the best.
    cooldown : int, default 0
        How many values are only looked at after the rate was lowered.
    min_factor : float, default 0
        The product of all factors does not fall below this.

    Raises
    ------
    ValueError
        If a number is outside its range, or ``mode`` is another word.

    Notes
    -----
    `minivis.train.fit` calls ``step(value)`` with the monitored number of each new row of the history, and its checkpoints
    keep what this object knows. In a loop of your own, call it after each evaluation. NaN is never better.

    References
    ----------
    ``torch.optim.lr_scheduler.ReduceLROnPlateau``, whose default ``mode`` is "min" and whose ``patience`` is 10.

    Examples
    --------
    >>> schedule = ReduceLROnPlateau(patience=1, factor=0.5)
    >>> x = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.1, schedule=schedule)
    >>> for accuracy in [0.5, 0.6, 0.6, 0.6]:
    ...     schedule.step(accuracy)
    >>> optimizer.lr
    0.05
    """

    def __init__(self, mode="max", factor=0.1, patience=3, threshold=1e-4, cooldown=0, min_factor=0.0):
        if mode not in ("max", "min"):
            raise ValueError(f'ReduceLROnPlateau: mode must be "max" or "min", got {mode!r:.50}')
        for name, value in {"factor": factor, "threshold": threshold, "min_factor": min_factor}.items():
            if not isinstance(value, numbers.Real) or not 0 <= value < 1:
                raise ValueError(
                    f"ReduceLROnPlateau: {name} must be at least 0 and below 1, got {value!r:.50}"
                )
        for name, value in {"patience": patience, "cooldown": cooldown}.items():
            if not hasattr(value, "__index__") or value < 0:
                raise ValueError(
                    f"ReduceLROnPlateau: {name} must be a whole number of at least 0, got {value!r:.50}"
                )
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.cooldown, self.min_factor = threshold, cooldown, min_factor
        self._now = 1.0  # the factor of the next steps
        self._best = math.nan  # there is none yet
        self._waited = 0  # values since the best one
        self._cooling = 0  # values that are still only looked at

    def __call__(self, step):
        """The factor of the next step, whatever its number is."""
        return self._now

    def step(self, value):
        """Look at the next measured value; lower the factor if none was better for too long.

        Parameters
        ----------
        value : float
            The measured number.
        """
        value = float(value)
        gain = value - self._best if self.mode == "max" else self._best - value
        first = math.isnan(self._best) and not math.isnan(value)
        if first or gain > self.threshold * abs(self._best):
            self._best = value
            self._waited = 0
        else:
            self._waited += 1
        if self._cooling:
            self._cooling -= 1
            self._waited = 0
        if self._waited > self.patience:
            self._now = max(self._now * self.factor, self.min_factor)
            self._cooling = self.cooldown
            self._waited = 0

    def settings(self):
        """The arguments of the constructor by name."""
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def state_dict(self):
        """What it knows so far, as numbers by name."""
        return {name[1:]: value for name, value in vars(self).items() if name[0] == "_"}

    def load_state_dict(self, state):
        """Go on from what `state_dict` returned.

        Parameters
        ----------
        state : dict of str to float
            Numbers, or arrays with one element.

        Raises
        ------
        ValueError
            If the names differ or a number is impossible. Then nothing has changed.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise ValueError(
                f"ReduceLROnPlateau: the state must have {', '.join(own)}, found {', '.join(map(str, state)) or 'nothing'}"
            )
        if any(np.shape(value) != () for value in state.values()):
            raise ValueError("ReduceLROnPlateau: the state must be single numbers")
        now, best, waited, cooling = (float(state[name]) for name in own)
        whole = all(n.is_integer() and n >= 0 for n in (waited, cooling))
        if not whole or not 0 <= now <= 1:
            raise ValueError(f"ReduceLROnPlateau: the state is impossible: {state!r:.200}")
        self._now, self._best = now, best
        self._waited, self._cooling = int(waited), int(cooling)


def cosine_schedule(start, end, steps, warmup=0):
    """The values of a schedule as an array: a linear warm-up from 0 to ``start``, then half a cosine towards ``end``.

    .. math:: v_i = end + \\frac12 (start - end) \\Big(1 + \\cos\\frac{\\pi i}{n}\\Big), \\qquad i = 0, \\dots, n - 1

    where n is the number of steps after the warm-up. The last value is not yet ``end``, because i stops at n - 1. DINO uses it
    for the learning rate, for the weight decay (0.04 to 0.4) and for the momentum of the teacher (0.996 to 1).

    Parameters
    ----------
    start, end : float
        The value after the warm-up, and the one that the cosine approaches. Either may be the larger one.
    steps : int
        Number of values.
    warmup : int, default 0
        How many of them belong to the warm-up: evenly spaced, the first is 0 and the last is ``start``. One step alone is 0.

    Returns
    -------
    ndarray of float64, shape (steps,)

    Raises
    ------
    ValueError
        If ``steps`` is not a whole number of at least 1, or ``warmup`` not one from 0 to ``steps``.

    References
    ----------
    ``cosine_scheduler`` in the published code of Caron et al., "Emerging properties in self-supervised vision
    transformers", ICCV 2021; Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5.

    Examples
    --------
    >>> cosine_schedule(1.0, 0.0, steps=4)
    array([1.        , 0.85355339, 0.5       , 0.14644661])
    >>> cosine_schedule(0.4, 0.0, steps=4, warmup=3)
    array([0. , 0.2, 0.4, 0.4])
    """
    if not hasattr(steps, "__index__") or steps < 1:
        raise ValueError(f"cosine_schedule: steps must be a whole number of at least 1, got {steps!r}")
    if not hasattr(warmup, "__index__") or not 0 <= warmup <= steps:
        raise ValueError(f"cosine_schedule: warmup must be a whole number from 0 to {steps}, got {warmup!r}")
    rest = steps - warmup
    share = np.arange(rest) / max(1, rest)
    falling = end + 0.5 * (start - end) * (1 + np.cos(np.pi * share))
    return np.concatenate([np.linspace(0, start, warmup), falling])


def follow(values):
    """The schedule that follows an array: ``schedule(step)`` is its entry, and the last one from then on.

    Parameters
    ----------
    values : array_like, shape (steps,)
        Such as `cosine_schedule` returns. With ``lr=1`` in the optimiser they are learning rates.

    Returns
    -------
    callable
        step (0 is the first) -> factor, for ``schedule`` of an optimiser.

    Raises
    ------
    ValueError
        If it is not a list of numbers with at least one entry.

    Examples
    --------
    >>> schedule = follow([0.1, 0.2])
    >>> schedule(0), schedule(1), schedule(7)
    (0.1, 0.2, 0.2)
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"follow: values must be (steps,), at least one, got shape {values.shape}")
    return partial(_value_at, tuple(values.tolist()))


def _value_at(values, step):
    return values[min(step, len(values) - 1)]


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
