"""Numbers as charts: curves, bars, dots, named points, and the plane of a classifier with two inputs.

Not here: computing the numbers.
"""

from itertools import cycle

import numpy as np

from minivis.viz.style import COLOURS, FAINT, INK, LINES, LITERAL, MARKERS, array, figure, label, legend

__all__ = ["bars", "curves", "dots", "named_points", "plane"]


def curves(
    series, x_label, y_label, log="", mark=None, level=None, width=6.4, height=3.6, title=None, caption=None
):
    """Draw one or several curves with different colours and dashes.

    Parameters
    ----------
    series : dict of str to array_like or (array_like, array_like)
        Name to y (drawn over 0, 1, 2, ...) or to (x, y). If all x are whole numbers, the ticks are too. On a logarithmic
        axis, up to eight different x are the ticks.
    x_label, y_label : str
        The quantities, with their units.
    log : {"", "x", "y", "xy"}
        The axes with a logarithmic scale.
    mark : bool, optional
        Mark the points; default: if no curve has more than 25.
    level : dict of str to float, optional
        Name to height of horizontal reference lines.
    width, height : float
        Size in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is nothing to draw, or x and y differ in length.

    Examples
    --------
    >>> fig = curves({"square": ([0, 1, 2], [0, 1, 4])}, "x", "y")
    >>> fig.axes[0].get_ylabel()
    'y'
    """
    points = {name: _points(name, given) for name, given in series.items()}
    if not points:
        raise ValueError("curves: there is no curve to draw")
    mark = all(len(x) <= 25 for x, _ in points.values()) if mark is None else mark
    fig, axes = figure(1, 1, width, height, title, caption)
    ax = axes[0, 0]
    looks = zip(cycle(COLOURS), cycle(LINES), cycle(MARKERS), strict=False)
    for (name, (x, y)), (colour, line, marker) in zip(points.items(), looks, strict=False):
        dot = {"marker": marker, "markersize": 4.5} if mark else {}
        ax.plot(x, y, color=colour, linestyle=line, linewidth=1.8, label=name, **dot)
    for name, height_of in (level or {}).items():
        ax.axhline(height_of, color="#666666", linewidth=1, linestyle=(0, (4, 3)))
        ax.annotate(
            name, (1, height_of), (0, 2), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
            ha="right", va="bottom", fontsize=8, color=INK, **LITERAL,
        )  # fmt: skip
    if "x" in log:
        ax.set_xscale("log")
        measured = np.unique(np.concatenate([x for x, _ in points.values()]))
        if len(measured) <= 8:  # powers of ten alone would be one or two ticks
            ax.set_xticks(measured, [f"{x:g}" for x in measured])
            ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    elif all((x == np.round(x)).all() for x, _ in points.values()):
        ax.xaxis.get_major_locator().set_params(integer=True)  # layers and steps: there is no layer 1.5
    if "y" in log:
        ax.set_yscale("log")
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, x_label, y_label)
    if len(points) > 1:
        legend(ax, fontsize=9)
    return fig


def _points(name, given):
    """(x, y) of one curve, as vectors of one length."""
    pair = isinstance(given, tuple) and len(given) == 2 and np.ndim(given[1]) == 1
    y = array(given[1] if pair else given, name)
    x = array(given[0], name) if pair else np.arange(len(y))
    if y.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"curves: {name!r} needs x and y of one length, got x: {x.shape}, y: {y.shape}")
    return x, y


def bars(
    series, y_label, x_label="", log=False, values=True, width=6.4, height=3.4, title=None, caption=None
):
    """Draw bars, one series or several side by side, with their numbers on top.

    Parameters
    ----------
    series : dict
        Name to number; or name of a series to such a dict, all with the same names.
    y_label, x_label : str
        The quantities, with their units.
    log : bool, default False
        Logarithmic heights.
    values : bool, default True
        Write the numbers on top.
    width, height : float
        Size in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no bar to draw, or the series have different names.

    Examples
    --------
    >>> len(bars({"cat": 3, "dog": 4}, "images").axes[0].patches)
    2
    """
    several = all(isinstance(v, dict) for v in series.values())
    groups = series if several else {"": series}
    names = list(next(iter(groups.values()), {}))
    if not names or any(list(g) != names for g in groups.values()):
        raise ValueError(
            f"bars: every series needs the same names, at least one; got {[list(g) for g in groups.values()]}"
        )
    fig, axes = figure(1, 1, width, height, title, caption)
    ax = axes[0, 0]
    thick = 0.8 / len(groups)
    hatches = ("", "//", "..", "xx", "\\\\", "--", "oo")
    for i, (group, numbers) in enumerate(groups.items()):
        at = np.arange(len(names)) + (i - (len(groups) - 1) / 2) * thick
        look = {"color": COLOURS[i % 7], "hatch": hatches[i % 7], "edgecolor": "white", "linewidth": 0}
        drawn = ax.bar(at, [float(v) for v in numbers.values()], thick * 0.92, label=group, **look)
        if values:
            ax.bar_label(drawn, fmt="{:.4g}", fontsize=8, color=INK, padding=1)
    ax.set_xticks(range(len(names)), [str(n) for n in names], **LITERAL)
    ax.set_yscale("log" if log else "linear")
    ax.set_axisbelow(True)
    ax.grid(True, axis="y", color=FAINT, linewidth=0.6)
    label(ax, x_label, y_label)
    if several:  # above the bars, which may fill the whole plot
        legend(
            ax,
            fontsize=9,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(3, len(groups)),
            borderaxespad=0,
        )
    return fig


def dots(series, x_label, width=6.4, height=None, title=None, caption=None):
    """Draw repeated measurements: for each name a row of dots with their mean, to compare means with their spread.

    Parameters
    ----------
    series : dict of str to array_like
        Name to its numbers, one for each repetition. The first name is on top. The i-th dots of all names have the same
        colour and shape, because they belong together (the same seed, for example).
    x_label : str
        The quantity, with its unit.
    width, height : float
        Size in inches; the default height depends on the number of rows.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a name has no numbers.

    Examples
    --------
    >>> fig = dots({"with": [3.0, 5.0], "without": [2.0, 4.0]}, "accuracy, %")
    >>> [text.get_text() for text in fig.axes[0].get_yticklabels()]
    ['with', 'without']
    """
    rows = {name: array(values, name) for name, values in series.items()}
    if not rows or any(values.ndim != 1 or not values.size for values in rows.values()):
        shapes = ", ".join(f"{name}: {values.shape}" for name, values in rows.items())
        raise ValueError(f"dots: every name needs a list of numbers, at least one; got {shapes or 'no name'}")
    fig, axes = figure(1, 1, width, height or 1.6 + 0.36 * len(rows), title, caption)
    ax = axes[0, 0]
    for row, values in enumerate(rows.values()):
        ax.plot([values.mean()] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.5)
        for i, value in enumerate(values):
            ax.plot(value, row, MARKERS[i % 7], color=COLOURS[i % 7], markersize=6, alpha=0.85)
    ax.set_yticks(range(len(rows)), list(rows), **LITERAL)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(True, axis="x", color=FAINT, linewidth=0.6)
    label(ax, x_label, "")
    return fig


def named_points(points, x_label, y_label, log="", width=6.4, height=3.4, title=None, caption=None):
    """Draw things by two of their numbers, each as a point with its name beside it: cost and quality, for example.

    Parameters
    ----------
    points : dict of str to (float, float)
        Name to x and y.
    x_label, y_label : str
        The quantities, with their units.
    log : {"", "x", "y", "xy"}, default ""
        Which axes are logarithmic.
    width, height : float
        Size in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Names stand on the right of their points, or on the left if there is no room.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a point is not a pair of numbers (positive ones on a logarithmic axis).

    Examples
    --------
    >>> fig = named_points({"slow": (100.0, 0.8), "fast": (1.0, 0.7)}, "ms", "accuracy", log="x")
    >>> [text.get_text().strip() for text in fig.axes[0].texts]
    ['slow', 'fast']
    """
    pairs = {name: array(pair, name) for name, pair in points.items()}
    for name, pair in pairs.items():
        if pair.shape != (2,) or any(pair["xy".index(axis)] <= 0 for axis in log):
            raise ValueError(
                f"named_points: {name!r} must be x and y, above 0 on a logarithmic axis; got {pair}"
            )
    if not pairs:
        raise ValueError("named_points: there is no point to draw")
    fig, axes = figure(1, 1, width, height, title, caption)
    ax = axes[0, 0]
    ax.set_xscale("log" if "x" in log else "linear")
    ax.set_yscale("log" if "y" in log else "linear")
    ax.margins(0.06, 0.12)
    across = np.array([pair[0] for pair in pairs.values()])
    across = np.log(across) if "x" in log else across
    at_right = across - across.min() > 0.6 * np.ptp(across)
    look = {"textcoords": "offset points", "va": "center", "fontsize": 9, "color": INK, **LITERAL}
    for i, (name, pair) in enumerate(pairs.items()):
        ax.plot(*pair, MARKERS[i % 7], color=COLOURS[i % 7], markersize=7)
        aside, side = ((-8, 0), "right") if at_right[i] else ((8, 0), "left")
        ax.annotate(name, pair, aside, ha=side, **look)
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, x_label, y_label)
    return fig


def plane(
    predict,
    points,
    labels,
    names=None,
    x_label="first input",
    y_label="second input",
    title=None,
    caption=None,
):
    """Show the decision regions of a classifier with two inputs, and the points that it was trained on.

    Parameters
    ----------
    predict : callable
        Takes (N, 2) float32; returns the score of the second class (N,) from 0 to 1, or scores (N, K).
    points : array_like
        The points, (N, 2).
    labels : array_like
        Their classes, (N,) int.
    names : sequence of str, optional
        Names of the classes.
    x_label, y_label, title, caption : str, optional
        Texts.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the points are not pairs, or labels and points differ in number.

    Examples
    --------
    >>> fig = plane(lambda p: p[:, 0] > 0, [[-1.0, 0.0], [1.0, 0.0]], [0, 1])
    >>> fig.axes[0].get_xlabel()
    'first input'
    """
    points = array(points, "points")
    labels = array(labels, "labels").astype(int)
    if points.ndim != 2 or points.shape[1:] != (2,) or labels.shape != points.shape[:1]:
        raise ValueError(
            f"plane: expected points (N, 2) and labels (N,), got {points.shape} and {labels.shape}"
        )
    margin = 0.08 * np.ptp(points, axis=0) + 1e-3
    (left, bottom) = points.min(axis=0) - margin
    (right, top) = points.max(axis=0) + margin
    across, up = np.meshgrid(np.linspace(left, right, 161), np.linspace(bottom, top, 161))
    scores = array(
        predict(np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32)), "predict's result"
    )
    answer = scores.reshape(-1) > 0.5 if scores.ndim == 1 or scores.shape[1] == 1 else scores.argmax(axis=1)
    answer = answer.reshape(across.shape).astype(int)
    fig, axes = figure(1, 1, 5.0, 4.2, title, caption)
    ax = axes[0, 0]
    classes = range(max(labels.max(), answer.max()) + 1)
    edges = np.arange(len(classes) + 1) - 0.5
    ax.contourf(across, up, answer, levels=edges, colors=[COLOURS[k % 7] for k in classes], alpha=0.22)
    for k in classes:
        x, y = points[labels == k].T
        look = {"color": COLOURS[k % 7], "marker": MARKERS[k % 7], "edgecolor": "white", "linewidth": 0.5}
        ax.scatter(x, y, s=26, label=names[k] if names is not None else f"class {k}", **look)
    ax.set_aspect("equal")
    label(ax, x_label, y_label)
    legend(ax, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return fig
