"""Layers that look at the neighbours of each pixel: what their windows cost, and the weights inside them.

Not here: measuring (recipes/local_attention_shapes.py), attention over whole images (attention.py).
"""

import numpy as np
from matplotlib.patches import Rectangle

from minivis.viz.boxes import draw_image, picture_of
from minivis.viz.style import (
    COLOURS,
    DIVERGING,
    FAINT,
    INK,
    LINES,
    LITERAL,
    MARKERS,
    SEQUENTIAL,
    VERMILION,
    array,
    colour_bar,
    figure,
    label,
    legend,
    limits,
)

__all__ = ["aggregation_weights", "geometric_prior", "window_costs"]


def window_costs(costs, width=7.2, height=3.4, title=None, caption=None):
    """Draw what layers cost with windows of different sizes: multiply-adds and time, both on logarithmic scales.

    Parameters
    ----------
    costs : dict
        ``windows`` is a sequence of int; ``layers`` maps the name of each layer to a dict of ``multiply_adds`` and
        ``seconds``, with a number for each window, as `minivis.recipes.local_attention_shapes.window_costs` returns it.
    width, height : float
        Size in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Times are multiples of the fastest one.

    Raises
    ------
    ValueError
        If there is no layer, or a layer does not have a number for each window.

    References
    ----------
    Slide ``A/15-stand-alone-self-attention``.

    Examples
    --------
    >>> layers = {"convolution": {"multiply_adds": [1e6, 9e6], "seconds": [0.001, 0.003]}}
    >>> [ax.get_ylabel() for ax in window_costs({"windows": [1, 3], "layers": layers}).axes]
    ['multiply-adds', 'time (the fastest = 1)']
    """
    windows = np.asarray(costs["windows"])
    layers = {
        name: [array(found[what], what) for what in ("multiply_adds", "seconds")]
        for name, found in costs["layers"].items()
    }
    wrong = [name for name, found in layers.items() if any(y.shape != windows.shape for y in found)]
    if not layers or wrong:
        raise ValueError(f"window_costs: expected layers with {len(windows)} numbers each, not {wrong}")
    fastest = min(seconds.min() for _, seconds in layers.values())
    fig, axes = figure(1, 2, width, height, title, caption)
    for ax, which, unit, y_label in (
        (axes[0, 0], 0, 1, "multiply-adds"),
        (axes[0, 1], 1, fastest, "time (the fastest = 1)"),
    ):
        for number, (name, found) in enumerate(layers.items()):
            look = {"linestyle": LINES[number], "marker": MARKERS[number], "color": COLOURS[number]}
            ax.plot(windows, found[which] / unit, label=name, linewidth=1.8, markersize=4.5, **look)
        ax.set_yscale("log")
        ax.set_xticks(windows)
        ax.grid(True, color=FAINT, linewidth=0.6)
        label(ax, "side of the window", y_label)
    legend(axes[0, 0], fontsize=9)
    return fig


def geometric_prior(prior, columns=None, size=1.1, title=None, caption=None):
    """Show the geometric prior of each group of channels: what a layer adds to the score of each offset.

    Parameters
    ----------
    prior : array_like, shape (groups, k, k)
        As a `LocalRelation` shows it inside `looking`, or its ``prior()``.
    columns : int, optional
        Groups in a row; default: at most 6.
    size : float, default 1.1
        Width of a group in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown, on one scale: purple offsets are made less likely, orange ones more.

    Raises
    ------
    ValueError
        If the prior is not (groups, k, k).

    References
    ----------
    Slide ``A/18-geometric-prior``.

    Examples
    --------
    >>> len(geometric_prior(np.zeros((4, 5, 5))).axes)  # the groups and the colour bar
    5
    """
    prior = array(prior, "prior")
    if prior.ndim != 3 or prior.shape[1] != prior.shape[2] or not prior.size:
        raise ValueError(f"geometric_prior: expected a prior (groups, k, k), got {prior.shape}")
    groups, k, _ = prior.shape
    columns = min(columns or 6, groups)
    rows = -(-groups // columns)
    (low, high) = limits(prior, True)
    wide = max(3.4, size * columns + 1.2)
    tall = (size + 0.35) * rows + (0.9 if title else 0.6)
    fig, axes = figure(rows, columns, wide, tall, title, caption, sharex=True, sharey=True)
    reach = k // 2
    extent = (-reach - 0.5, k - reach - 0.5, k - reach - 0.5, -reach - 0.5)
    for number, ax in enumerate(axes.flat):
        if number >= groups:
            ax.set_visible(False)
            continue
        drawn = ax.imshow(prior[number], cmap=DIVERGING, vmin=low, vmax=high, extent=extent)
        first_below = number == (rows - 1) * columns  # the others share its axes
        label(ax, *(("columns away", "rows away") if first_below else ("", "")), f"group {number}")
        ax.set_xticks([-reach, 0, k - 1 - reach])
        ax.set_yticks([-reach, 0, k - 1 - reach])
    colour_bar(fig, drawn, axes, "added to the score")
    return fig


def aggregation_weights(image, weights, places, size=1.5, title=None, caption=None):
    """Show where single places of a map take their sum from: the weights of their windows, for each head or group.

    Parameters
    ----------
    image : array_like, shape (C, H', W') or (H', W')
        The picture.
    weights : array_like, shape (h, k k, H, W) or (1, h, k k, H, W)
        The weights of one image, as local layers show them inside `looking`.
    places : dict of str to (int, int)
        Names, such as "edge", to row and column on the map.
    size : float, default 1.5
        Width of one picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        One row for each place: the picture with the window, what lies in the window, and the weights of each head. Bright
        is large; the scale of each row goes from 0 to its largest weight.

    Raises
    ------
    ValueError
        If the weights are not those of one image and square windows, or a place lies outside the map.

    References
    ----------
    Slides ``A/15-stand-alone-self-attention``, ``A/16-local-relation-layer``.

    Examples
    --------
    >>> fig = aggregation_weights(np.zeros((8, 8)), np.ones((2, 9, 4, 4)) / 9, {"flat": (1, 1), "corner": (0, 0)})
    >>> len(fig.axes)
    8
    """
    picture = picture_of("aggregation_weights", image)
    weights = array(weights, "weights")
    weights = weights[0] if weights.ndim == 5 and len(weights) == 1 else weights
    k = round(weights.shape[-3] ** 0.5) if weights.ndim == 4 else 0
    if weights.ndim != 4 or k * k != weights.shape[1]:
        raise ValueError(
            f"aggregation_weights: expected weights (h, k k, H, W) of one image, got {weights.shape}"
        )
    heads, _, H, W = weights.shape
    outside = [name for name, (row, column) in places.items() if not (0 <= row < H and 0 <= column < W)]
    if not places or outside:
        raise ValueError(f"aggregation_weights: places must lie on the map of {H} x {W}, not {outside}")
    tall = size * len(places) + (0.6 if title else 0.3)
    fig, axes = figure(len(places), 2 + heads, size * (2 + heads) + 0.6, tall, title, caption)
    titles = ["picture", "its window", *(f"head {number}" for number in range(heads))]
    for ax, text in zip(axes[0], titles, strict=True):
        label(ax, title=text)
    for row_of_axes, (name, (row, column)) in zip(axes, places.items(), strict=True):
        _draw_window(row_of_axes[:2], picture, (H, W), (row, column), k)
        row_of_axes[0].set_ylabel(name, fontsize=10, color=INK, **LITERAL)
        here = weights[:, :, row, column].reshape(heads, k, k)
        for ax, window in zip(row_of_axes[2:], here, strict=True):
            ax.imshow(window, cmap=SEQUENTIAL, vmin=0, vmax=float(here.max()) or 1.0)
            middle = (k // 2 - 0.5, k // 2 - 0.5)
            ax.add_patch(Rectangle(middle, 1, 1, fill=False, edgecolor=VERMILION, linewidth=1.2))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return fig


def _draw_window(axes, picture, grid, place, k):
    """The picture with the window of a place, in pixels; and what lies in the window."""
    high = picture.shape[0] / grid[0]
    wide = picture.shape[1] / grid[1]
    left = (place[1] - k // 2) * wide
    top = (place[0] - k // 2) * high
    for ax in axes:
        draw_image(ax, picture)
        for corner, sides, line in (
            ((left, top), (k * wide, k * high), 1.6),
            ((place[1] * wide, place[0] * high), (wide, high), 1.0),
        ):
            ax.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=VERMILION, linewidth=line))
    axes[1].set(xlim=(left, left + k * wide), ylim=(top + k * high, top))
