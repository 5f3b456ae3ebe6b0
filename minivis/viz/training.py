"""A training as pictures: its loss, what was measured and its learning rate over the steps; the range test of learning rates.

Not here: the training (train.py), other charts of numbers (charts.py).
"""

import math

import numpy as np

from minivis.monitoring import best_row
from minivis.viz.style import COLOURS, FAINT, INK, LINES, MARKERS, array, figure, label, legend

__all__ = ["lr_range_test", "training_curves"]

LOSS, SHARES, RATE = "loss", "measured", "learning rate"  # labels of axes


def training_curves(history, monitor=None, mode="max", title=None, caption=None):
    """Draw the history of a training: losses, what was measured, and the learning rate, over the steps.

    Parameters
    ----------
    history : dict of str to list
        As `minivis.train.fit` returns it, or as it stands in ``history.json``.
    monitor : str, optional
        The column by which the best row is marked, as for `fit`.
    mode : {"max", "min"}, default "max"
        Whether its largest or its smallest number is best.
    title, caption : str, optional
        Above and below; the caption says by default what to look at.

    Returns
    -------
    Figure
        Losses (columns whose name ends with "loss"), everything else that was measured, and learning rates, one above the
        other.

    Raises
    ------
    ValueError
        If it is no history, or ``monitor`` none of its columns.

    Examples
    --------
    >>> history = {"step": [10, 20, 30], "loss": [2.0, 1.0, 0.5], "lr": [0.1, 0.1, 0.1], "accuracy": [0.2, 0.6, 0.5]}
    >>> fig = training_curves(history, "accuracy")
    >>> [ax.get_ylabel() for ax in fig.axes]
    ['loss', 'accuracy', 'learning rate']
    """
    columns = _columns(history)
    if monitor is not None and monitor not in columns:
        raise ValueError(f"training_curves: monitor={monitor!r:.50} is none of {', '.join(columns)}")
    steps = columns.pop("step")
    best = None if monitor is None else best_row(columns[monitor], mode)
    panels = _panels(columns)
    heights = [1.2 if name == RATE else 2.2 for name in panels]
    caption = caption or _caption(panels, monitor, None if best is None else steps[best])
    options = {"sharex": True, "height_ratios": heights}
    fig, axes = figure(len(panels), 1, 6.4, 0.5 + sum(heights), title, caption, **options)
    for ax, (name, drawn) in zip(axes[:, 0], panels.items(), strict=True):
        _draw(ax, name, steps, drawn)
        if best is not None:
            ax.axvline(steps[best], color=INK, linewidth=1, linestyle=(0, (2, 2)))
        if monitor in drawn and best is not None:
            value = drawn[monitor][best]
            ax.plot(steps[best], value, "o", color="none", markeredgecolor=INK, markersize=11)
    ax.set_xlabel("step", fontsize=10, color=INK)
    ax.xaxis.get_major_locator().set_params(integer=True)
    fig.align_ylabels()
    return fig


def _columns(history):
    """The columns that are drawn, and the steps, as vectors of one length."""
    if not isinstance(history, dict) or "step" not in history or not history["step"]:
        raise ValueError(
            "training_curves: expected the history that fit returns, with a column step and some rows"
        )
    columns = {name: array(values, name) for name, values in history.items() if name != "seconds"}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or len(lengths) < 2:
        raise ValueError(f"training_curves: expected columns of one length beside step, got {lengths}")
    return columns


def _panels(columns):
    """{label of the axis: {name: values}}: losses, shares, measurements with another scale, learning rates."""
    panels = {LOSS: {}, SHARES: {}}
    rates = {}
    for name, values in columns.items():
        if name.endswith("loss"):
            panels[LOSS][name] = values
        elif name.split("_")[-1] == "lr":
            rates[name] = values
        elif np.nanmax(np.abs(values), initial=0) <= 1:
            panels[SHARES][name] = values
        else:
            panels[name] = {name: values}
    panels[RATE] = rates
    return {_axis_name(name, drawn): drawn for name, drawn in panels.items() if drawn}


def _axis_name(name, drawn):
    """The label of a panel: that of its curve if it is a measurement alone."""
    return next(iter(drawn)) if name == SHARES and len(drawn) == 1 else name


def _draw(ax, name, steps, drawn):
    """The curves of one panel."""
    for i, (column, values) in enumerate(drawn.items()):
        look = {"color": COLOURS[i % 7], "linestyle": LINES[i % 7], "linewidth": 1.8, "label": column}
        if len(steps) <= 25:
            look |= {"marker": MARKERS[i % 7], "markersize": 4.5}
        ax.plot(steps, values, **look)
    every = np.concatenate(list(drawn.values()))
    if name == LOSS and every.min() > 0 and every.max() > 100 * every.min():
        ax.set_yscale("log")
    if name == RATE:
        ax.set_ylim(bottom=0)
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, "", name)
    if len(drawn) > 1:
        legend(ax, fontsize=9)


def _caption(panels, monitor, step):
    """What to look at, in a history with these panels."""
    told = "A training, step by step."
    if LOSS in panels:
        told += " Look at the loss (of the training pictures, the mean since the point before): does it still fall at the end?"
    if step is not None:
        told += f" The dashed line is step {step:g}, where {monitor} was best."
    return told


def lr_range_test(found, title=None, caption=None):
    """Draw the losses of a range test over the learning rates, and the rate that it suggests.

    Parameters
    ----------
    found : dict
        As `minivis.train.lr_range_test` returns it.
    title, caption : str, optional
        Above and below; the caption says by default what to look at.

    Returns
    -------
    Figure
        Dots are the losses of single batches, the line is their running mean.

    Raises
    ------
    ValueError
        If it is no result of a range test.

    Examples
    --------
    >>> found = {"lr": [0.01, 0.1, 1.0], "loss": [2.0, 1.0, 3.0], "smoothed": [2.0, 1.5, 2.0], "suggested": 0.1}
    >>> lr_range_test(found).axes[0].get_xscale()
    'log'
    """
    names = ("lr", "loss", "smoothed")
    if not isinstance(found, dict) or not {*names, "suggested"} <= set(found):
        raise ValueError("lr_range_test: expected what minivis.train.lr_range_test returns")
    rates, losses, means = (array(found[name], name) for name in names)
    if not len(rates) or rates.shape != losses.shape or rates.shape != means.shape:
        shapes = ", ".join(f"{name}: {array(found[name]).shape}" for name in names)
        raise ValueError(f"lr_range_test: expected as many rates as losses, at least one, got {shapes}")
    suggested = found["suggested"]
    told = "The loss while the learning rate rises from batch to batch."
    if math.isnan(suggested):
        told += " It falls nowhere: try smaller rates, or more of them."
    else:
        told += f" Look where the line falls most steeply: at {suggested:.2g}, the rate to try first. Where it rises, steps are too large, and soon it leaves the picture."
    fig, axes = figure(1, 1, 6.4, 3.6, title, caption or told)
    ax = axes[0, 0]
    ax.set_xscale("log")
    ax.plot(rates, losses, ".", color=COLOURS[4], markersize=5, alpha=0.7, label="one batch")
    ax.plot(rates, means, color=COLOURS[0], linewidth=2, label="running mean")
    ax.set_ylim(*_without_the_explosion(losses, means))
    if not math.isnan(suggested):
        ax.axvline(
            suggested, color=COLOURS[5], linewidth=1.2, linestyle="--", label=f"suggested: {suggested:.2g}"
        )
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, "learning rate", "loss")
    legend(ax, fontsize=9, loc="upper left")
    return fig


def _without_the_explosion(losses, means):
    """Limits of the axis: the last losses may be so large that everything else would be a flat line."""
    fall = means[0] - means.min()
    high = means[0] + 1.5 * fall if fall > 0 else means.max()
    low = min(means.min(), np.quantile(losses, 0.02))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin
