"""Segmenter as pictures: how far its heads attend, likeness of its classes, errors near borders, what its choices are worth.

Not here: measuring (recipes/_segments.py, recipes/segmenter_choices.py, analysis/), maps of classes (segmentation.py).
"""

import numpy as np

from minivis.analysis.patch_features import principal_components
from minivis.viz.style import (
    BLUE,
    COLOURS,
    DIVERGING,
    FAINT,
    INK,
    LINES,
    LITERAL,
    MARKERS,
    ORANGE,
    array,
    colour_bar,
    figure,
    ink_on,
    label,
    legend,
)

__all__ = [
    "attention_by_depth",
    "attention_by_size",
    "class_similarity",
    "errors_at_borders",
    "worth_of_choices",
]

QUANTITIES = {
    "distance": "mean distance, pixels",
    "area": "area with 90 % of the attention,\nshare of the image",
}


def _fields(name, models):
    """The checked results of several models, each quantity (3, L, h)."""
    found = {}
    for model, field in models.items():
        found[model] = {quantity: array(field[quantity], quantity) for quantity in QUANTITIES}
        if any(x.ndim != 3 or len(x) != 3 for x in found[model].values()):
            shapes = {quantity: x.shape for quantity, x in found[model].items()}
            raise ValueError(f"{name}: distance and area must be (3, layers, heads) (of {model!r}: {shapes})")
    if not found:
        raise ValueError(f"{name}: there is no model to draw")
    return found


def attention_by_depth(models, width=9.0, height=3.6, title=None, caption=None):
    """Draw how far each head of each layer attends, and over how much of the image: a dot for each head.

    Parameters
    ----------
    models : dict of str to dict
        Name of a model to "distance" and "area", each (3, layers, heads), of which the first row is drawn: all queries.
    width, height : float
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no model, or a quantity has another shape.

    References
    ----------
    Slides ``H/33-attended-area``, ``H/10-inside-vit``.

    Examples
    --------
    >>> fig = attention_by_depth({"trained": {"distance": np.ones((3, 2, 4)), "area": np.ones((3, 2, 4))}})
    >>> [ax.get_xlabel() for ax in fig.axes]
    ['layer', 'layer']
    """
    found = _fields("attention_by_depth", models)
    fig, axes = figure(1, 2, width, height, title, caption)
    for ax, (quantity, words) in zip(axes[0], QUANTITIES.items(), strict=True):
        for place, (model, field) in enumerate(found.items()):
            of_heads = field[quantity][0]  # (L, h)
            shift = 0.16 * (place - (len(found) - 1) / 2)
            _draw_heads(ax, of_heads, shift, COLOURS[place % 7], MARKERS[place % 7], LINES[place % 7], model)
        _finish_layers(ax, words, max(len(field[quantity][0]) for field in found.values()))
    legend(axes[0, 0], fontsize=9)
    return fig


def attention_by_size(models, width=None, height=5.6, title=None, caption=None):
    """Draw the same for queries on small and on large things beside each other: a column for each model.

    Parameters
    ----------
    models : dict of str to dict
        As for `attention_by_depth`; the second row is for queries on small things, the third for those on large ones.
    width, height : float
        Inches; the default width depends on the number of models.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        As `attention_by_depth`.

    References
    ----------
    Slide ``H/32-field-of-view-adapts``.

    Examples
    --------
    >>> fig = attention_by_size({"trained": {"distance": np.ones((3, 2, 4)), "area": np.ones((3, 2, 4))}})
    >>> len(fig.axes)
    2
    """
    found = _fields("attention_by_size", models)
    width = width or 1.2 + 3.6 * len(found)
    fig, axes = figure(2, len(found), width, height, title, caption, sharey="row")
    for row, (quantity, words) in zip(axes, QUANTITIES.items(), strict=True):
        for ax, field in zip(row, found.values(), strict=True):
            _, small, large = field[quantity]
            _draw_heads(ax, small, -0.09, BLUE, "o", "-", "queries on small things")
            _draw_heads(ax, large, 0.09, ORANGE, "s", "--", "queries on large things")
            _finish_layers(ax, words if ax is row[0] else "", len(small))
    for ax, model in zip(axes[0], found, strict=True):
        label(ax, "layer", ax.get_ylabel(), model)
    legend(axes[0, 0], fontsize=9)
    return fig


def _draw_heads(ax, of_heads, shift, colour, marker, line, name):
    """A dot for each head (L, h), and a line through the means of the layers."""
    layers = np.arange(1, len(of_heads) + 1) + shift
    ax.plot(
        np.repeat(layers, of_heads.shape[1]),
        of_heads.ravel(),
        marker,
        color=colour,
        markersize=4.5,
        alpha=0.6,
    )
    ax.plot(layers, of_heads.mean(axis=1), color=colour, linestyle=line, linewidth=1.8, label=name)


def _finish_layers(ax, words, layers):
    ax.set_xticks(range(1, layers + 1))
    ax.set_ylim(bottom=0)
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, "layer", words)


def class_similarity(vectors, names, groups=None, width=9.6, height=4.4, title=None, caption=None):
    """Show how alike the embeddings of classes are: the cosine of each two, and the plane in which they vary most.

    Parameters
    ----------
    vectors : array_like, shape (K, D)
        An embedding for each class.
    names : sequence of str
        Their names.
    groups : sequence of str, optional
        For each class what it belongs to, such as "thing": it decides the colour of its dot.
    width, height : float
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there are fewer than three classes, or names or groups differ from them in number.

    References
    ----------
    Slide ``H/33-class-embeddings-cluster``.

    Examples
    --------
    >>> fig = class_similarity(np.eye(3), ["cat", "dog", "sky"], ["thing", "thing", "stuff"])
    >>> [text.get_text() for text in fig.axes[1].texts]
    ['cat', 'dog', 'sky']
    """
    vectors = array(vectors, "vectors").astype(np.float64)
    groups = [""] * len(vectors) if groups is None else list(groups)
    if vectors.ndim != 2 or len(vectors) < 3 or not len(vectors) == len(names) == len(groups):
        raise ValueError(
            f"class_similarity: needs vectors (K, D) of at least three classes, with as many names and groups "
            f"(vectors: {vectors.shape}, names: {len(names)}, groups: {len(groups)})"
        )
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    fig, axes = figure(1, 2, width, height, title, caption, width_ratios=[1, 1.05])
    left, right = axes[0]
    _draw_cosines(fig, left, unit @ unit.T, names)
    places, shares = principal_components(unit, 2)
    kinds = list(dict.fromkeys(groups))
    for number, kind in enumerate(kinds):
        own = [i for i, group in enumerate(groups) if group == kind]
        look = {"color": COLOURS[number % 7], "markersize": 7, "label": kind}
        right.plot(places[own, 0], places[own, 1], MARKERS[number % 7], **look)
    _write_names(right, places, names)
    right.margins(0.18)
    right.grid(True, color=FAINT, linewidth=0.6)
    parts = zip(("first", "second"), shares, strict=True)
    words = [f"{part} principal component ({100 * share:.0f} %)" for part, share in parts]
    label(right, *words)
    if len(kinds) > 1:
        legend(right, fontsize=9)
    return fig


def _write_names(ax, places, names):
    """A name at the right of each point; of points that lie together, the leftmost has it at its left, low ones below."""
    span = np.maximum(np.ptp(places, axis=0), 1e-12)
    for place, name in zip(places, names, strict=True):
        group = places[(abs(places - place) < span * (0.2, 0.1)).all(axis=1)]
        alone = len(group) == 1
        left = not alone and place[0] <= group[:, 0].min()
        low = not alone and place[1] < group[:, 1].mean()
        offset = (-6 if left else 6, -10 if low and not left else 2)
        align = "right" if left else "left"
        ax.annotate(
            name, place, offset, textcoords="offset points", ha=align, fontsize=8, color=INK, **LITERAL
        )


def _draw_cosines(fig, ax, cosines, names):
    drawn = ax.imshow(cosines, cmap=DIVERGING, vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(cosines):
        ink = ink_on(drawn.to_rgba(value))
        ax.text(
            column,
            row,
            f"{value:.1f}".replace("-0.0", "0.0"),
            ha="center",
            va="center",
            fontsize=7,
            color=ink,
        )
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", **LITERAL)
    ax.set_yticks(range(len(names)), names, **LITERAL)
    label(ax, "class", "class")
    colour_bar(fig, drawn, ax, "cosine")


def errors_at_borders(models, width=6.4, height=3.8, title=None, caption=None):
    """Draw the share of wrong pixels by their distance from the nearest border, a line for each model.

    Parameters
    ----------
    models : dict of str to dict
        Name of a model to ``distance``, where each step of the distance begins, in pixels, and ``error``, the share of wrong
        pixels in it.
    width, height : float
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no model, or the two differ in length.

    References
    ----------
    Slide ``H/38-segmenter-pictures``.

    Examples
    --------
    >>> fig = errors_at_borders({"U-Net": {"distance": [1, 2, 4], "error": [0.1, 0.05, 0.0]}})
    >>> [tick.get_text() for tick in fig.axes[0].get_xticklabels()]
    ['1', '2 to 3', 'from 4']
    """
    if not models:
        raise ValueError("errors_at_borders: there is no model to draw")
    fig, axes = figure(1, 1, width, height, title, caption)
    ax = axes[0, 0]
    for number, (name, found) in enumerate(models.items()):
        distance, error = array(found["distance"], "distance"), array(found["error"], "error")
        if distance.shape != error.shape or distance.ndim != 1:
            raise ValueError(
                f"errors_at_borders: distance and error must be of one length (of {name!r}: {distance.shape}, {error.shape})"
            )
        look = {"color": COLOURS[number % 7], "linestyle": LINES[number % 7], "marker": MARKERS[number % 7]}
        ax.plot(range(len(error)), 100 * error, linewidth=1.8, markersize=5, label=name, **look)
    ends = [*(int(d) - 1 for d in distance[1:]), None]
    ax.set_xticks(range(len(distance)), [_span(int(d), end) for d, end in zip(distance, ends, strict=True)])
    ax.set_ylim(bottom=0)
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, "distance from the nearest other segment, pixels", "wrong pixels, %")
    legend(ax, fontsize=9)
    return fig


def _span(first, last):
    """A step of the distance in words."""
    if last is None:
        return f"from {first}"
    return str(first) if last == first else f"{first} to {last}"


def worth_of_choices(choices, best=None, metrics=("mIoU", "large", "small"), x_label="choice", width=None, height=3.6, title=None, caption=None):  # fmt: skip
    """Draw what the choices of a study reach, seed by seed, and the processor time of their training.

    Parameters
    ----------
    choices : dict of str to dict
        Name of a choice to its metrics and its "seconds", each with a number for each seed.
    best : dict of str to dict, optional
        Name of a choice to metrics that it cannot easily exceed; drawn as a line.
    metrics : sequence of str
        Which metrics to draw, each in a panel of its own; all are shares.
    x_label : str
        What the choices are.
    width, height : float
        Inches; the default width depends on the number of panels.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no choice, or a metric is missing.

    References
    ----------
    Slide ``H/34-patch-size``.

    Examples
    --------
    >>> fig = worth_of_choices({"4": {"mIoU": [0.8, 0.9], "seconds": [70, 71]}}, metrics=["mIoU"])
    >>> [ax.get_title() for ax in fig.axes]
    ['mIoU', 'training on one core']
    """
    if not choices or any(set(row) < {*metrics, "seconds"} for row in choices.values()):
        raise ValueError(f"worth_of_choices: every choice needs {', '.join(metrics)} and seconds")
    panels = [*metrics, "seconds"]
    words = {
        "seconds": "training on one core",
        "large": "IoU of large things",
        "small": "IoU of small things",
    }
    fig, axes = figure(1, len(panels), width or 2.6 * len(panels) + 0.6, height, title, caption)
    for ax, panel in zip(axes[0], panels, strict=True):
        for place, (name, row) in enumerate(choices.items()):
            values = array(row[panel], panel)
            for seed, value in enumerate(values):
                ax.plot(place, value, MARKERS[seed % 7], color=COLOURS[seed % 7], markersize=6, alpha=0.8)
            ax.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=INK, linewidth=1.5)
            if panel != "seconds" and name in (best or {}):
                ax.plot([place - 0.35, place + 0.35], [best[name][panel]] * 2, color="#666666", linestyle=":")
        ax.set_xticks(range(len(choices)), [str(name).replace(", ", "\n") for name in choices], **LITERAL)
        ax.set_xlim(-0.6, len(choices) - 0.4)
        ax.set_ylim(0, 1.08 * max(max(row[panel]) for row in choices.values()) if panel == "seconds" else 1)
        ax.grid(True, axis="y", color=FAINT, linewidth=0.6)
        label(ax, x_label, "seconds" if panel == "seconds" else "share", words.get(panel, panel))
    return fig
