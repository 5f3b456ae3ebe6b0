"""The learning-rate range test: a short training in which the rate rises, to see which rates a model can learn with.

Not here: the picture of it (viz/training.py), the training itself (train.py), schedules (optim.py).
"""

import copy
import math

import numpy as np

from minivis.optim import follow
from minivis.progress import progress_bar
from minivis.steps import endless, train_step

__all__ = ["lr_range_test"]

REACH = 5  # the slope at a rate is that from the fifth one before it to the fifth one after it
MEMORY = 0.9  # of the running mean of the losses: it is a mean of about the last ten


def lr_range_test(model, loader, loss, optimizer, low=1e-7, high=1.0, steps=100, *, clip=None):
    """Try learning rates from small to large in one short training, and suggest one.

    The rate is multiplied by the same number after every batch. As long as it is too small, the loss stays where it is; then it
    falls; in the end the steps are too large, and it rises. The running mean of the losses,

    .. math:: m_i = \\frac{\\sum_{j \\le i} \\beta^{i - j}\\, \\ell_j}{\\sum_{j \\le i} \\beta^{i - j}}, \\qquad \\beta = 0.9

    ends the test when it is four times its smallest value. The suggestion is the rate at which it falls most steeply
    before that.

    Parameters
    ----------
    model : Module
        A copy of it is trained, so it is not changed; nor are the optimiser, the random generators and the loader.
    loader : DataLoader, or iterable of batches
        Repeated if it has fewer batches than there are steps.
    loss : callable
        ``loss(model, *batch)`` returns a Tensor of one element, as for `fit`.
    optimizer : Optimizer
        The rates are those of its first group; other groups keep their ratio to it. Its schedule is not used.
    low, high : float, default 1e-7 and 1
        The first and the last rate.
    steps : int, default 100
        The number of rates, at least 10.
    clip : float, optional
        Largest norm of the gradient, as for `fit`.

    Returns
    -------
    dict
        ``lr`` and ``loss``, lists of the rates that were tried and the losses of the batches before their steps;
        ``smoothed``, the running means; ``suggested``, a rate, or NaN if the loss fell nowhere.

    Raises
    ------
    ValueError
        If not 0 < low < high, there are fewer than 10 steps, the loader has no batches, or the rate of the optimiser's first
        group is 0.
    TypeError
        If `loss` or `optimizer` is a dict: test one at a time.

    Notes
    -----
    The suggestion is a starting point for the largest rate of a schedule; look at the curve with `minivis.viz.lr_range_test`.
    The copies take as much memory again as model and optimiser. A random generator that only `loss` knows does move on.

    References
    ----------
    Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv:1506.01186), section 3.3, where the rate
    rises linearly and the accuracy is looked at.

    Examples
    --------
    >>> from minivis import nn, ops, optim
    >>> x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    >>> model = nn.Linear(1, 1, rng=0)
    >>> distance = lambda model, x, y: ops.mse_loss(model(x), y)
    >>> found = lr_range_test(model, [(x, 3 * x)], distance, optim.SGD(model, lr=0.1), low=1e-4, high=10)
    >>> 0.01 < found["suggested"] < 1
    True
    """
    _check(loss, optimizer, low, high, steps)
    model, optimizer = copy.deepcopy((model, optimizer))
    rates = np.geomspace(low, high, steps)
    _set_rates(optimizer, rates)
    if hasattr(loader, "state_dict"):
        loader = copy.copy(loader)  # its place in the data is its own, the data are not copied
    model.train()
    losses, means = [], []
    with progress_bar(steps) as bar:
        for batch in _first(endless(loader), steps):
            try:
                losses.append(train_step(model, loss, batch, optimizer, clip))
            except FloatingPointError:  # the loss has exploded
                break
            means.append(_running_mean(losses))
            bar.set_postfix(
                {"lr": f"{rates[len(losses) - 1]:.2g}", "loss": f"{means[-1]:.4g}"}, refresh=False
            )
            bar.update()
            lowest = min(means)
            if means[-1] > lowest + 3 * abs(lowest):
                break
    rates = rates[: len(losses)].tolist()
    return {"lr": rates, "loss": losses, "smoothed": means, "suggested": _steepest(rates, means)}


def _check(loss, optimizer, low, high, steps):
    """Refuse what cannot be tested."""
    if isinstance(loss, dict) or isinstance(optimizer, dict):
        raise TypeError("lr_range_test: test one loss and one optimizer at a time, not a dict of them")
    if not 0 < low < high < math.inf:
        raise ValueError(f"lr_range_test: needs 0 < low < high, got low={low} and high={high}")
    if not hasattr(steps, "__index__") or steps < 10:
        raise ValueError(f"lr_range_test: steps must be a whole number of at least 10, got {steps!r:.50}")
    if not optimizer.param_groups[0]["lr"]:
        raise ValueError("lr_range_test: the learning rate of the optimizer's first group is 0: give it one")


def _set_rates(optimizer, rates):
    """Let the rate of the first group be the next of the rates at each step, and all others keep their ratio to it."""
    unit = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] /= unit
    optimizer.steps = 0
    optimizer.schedule = follow(rates)


def _first(batches, count):
    """The first batches of an endless stream."""
    for _, batch in zip(range(count), batches, strict=False):
        yield batch


def _running_mean(losses):
    """The mean of the losses in which each counts 0.9 times as much as the one after it."""
    weights = MEMORY ** np.arange(len(losses))[::-1]
    return float(weights @ losses / weights.sum())


def _steepest(rates, means):
    """The rate at which the running mean falls most, for equal ratios of rates; NaN if it falls nowhere.

    Only rates up to the smallest mean count: behind it the loss jumps up and down.
    """
    lowest = int(np.argmin(means)) if means else 0
    if lowest < 2:
        return math.nan
    reach = min(REACH, lowest // 2)
    falls = np.array(means[: lowest + 1 - 2 * reach]) - means[2 * reach : lowest + 1]
    return rates[reach + int(falls.argmax())]
