"""A trained network made visible: first filters, a picture layer by layer, what channels like best, receptive fields.

Not here: computing what is shown (analysis/), all maps of a stage or all filters of one layer (filter_bank.py).
"""

import numpy as np
from matplotlib.patches import Rectangle

from minivis.viz.filter_bank import tiles
from minivis.viz.pictures import channels_last
from minivis.viz.style import (
    DIVERGING,
    GREY,
    INK,
    LITERAL,
    SEQUENTIAL,
    VERMILION,
    array,
    blank,
    figure,
    label,
)

__all__ = ["activations", "favourites", "first_filters", "receptive_fields"]

OUTSIDE = (0.78, 0.88, 0.96)  # light blue: what lies beside a picture


def first_filters(weights, columns=32, size=0.28, title=None, caption=None):
    """Show the filters of the first layers of several models on one page, a block of rows for each model.

    Parameters
    ----------
    weights : dict of str to array_like
        Name to the weight (O, C, kh, kw) of its first layer, C = 1 or 3. Each model has a scale of its own: filters of
        three channels are in colours, with mid grey for 0; others are purple below 0 and orange above.
    columns : int, default 32
        Filters in a row.
    size : float, default 0.28
        Width of a filter in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no model, or a weight is not (O, C, kh, kw) with C = 1 or 3.

    References
    ----------
    Slide ``Z/21-parameters-made-visible``.

    Examples
    --------
    >>> len(first_filters({"a": np.ones((8, 3, 4, 4)), "b": np.ones((4, 1, 3, 3))}).axes)
    2
    """
    found = {name: array(weight, name) for name, weight in weights.items()}
    bad = [
        f"{name}: {w.shape}"
        for name, w in found.items()
        if w.ndim != 4 or w.shape[1] not in (1, 3) or not w.size
    ]
    if not found or bad:
        raise ValueError(
            f"first_filters: expected weights (O, C, kh, kw) with C = 1 or 3, got {', '.join(bad)}"
        )
    canvases = {}
    for name, weight in found.items():
        scaled = weight / (np.abs(weight).max() or 1)
        pictures = scaled[:, 0] if weight.shape[1] == 1 else 0.5 + scaled.transpose(0, 2, 3, 1) / 2
        canvases[name] = tiles(pictures, columns)[0]
    heights = [size * -(-len(w) // columns) for w in found.values()]
    tall = sum(heights) + 0.12 * len(heights) + (0.4 if title else 0.1)
    fig, axes = figure(len(found), 1, size * columns + 1.9, tall, title, caption, height_ratios=heights)
    for ax, (name, canvas) in zip(axes[:, 0], canvases.items(), strict=True):
        blank(ax)
        grey = {"cmap": DIVERGING, "vmin": -1, "vmax": 1} if canvas.ndim == 2 else {}
        shown = canvas if grey else np.nan_to_num(canvas, nan=1.0)
        ax.imshow(shown, interpolation="nearest", **grey)
        ax.set_anchor("W")
        _beside(ax, f"{name}\n{' × '.join(map(str, found[name].shape))}")
    return fig


def activations(image, stages, channels=8, size=0.95, title=None, caption=None):
    """Show what the layers of a network make of one picture: for each layer the channels that vary most over the picture.

    Parameters
    ----------
    image : array_like, shape (C, H, W)
        The picture, C = 1 or 3, drawn at the left of the first row.
    stages : dict of str to array_like
        Name to the maps of the picture, (C, H, W) or (1, C, H, W), in the order of the network.
    channels : int, default 8
        How many maps of each layer.
    size : float, default 0.95
        Width of a map in inches, the same for every resolution.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Each map has its own scale, dark for its smallest value and bright for its largest.

    Raises
    ------
    ValueError
        If there is no layer, or one does not have the maps of one picture.

    References
    ----------
    Slide ``Z/22-activations-made-visible``.

    Examples
    --------
    >>> fig = activations(np.ones((3, 8, 8)), {"conv 1": np.ones((5, 8, 8)), "conv 2": np.ones((9, 4, 4))}, channels=4)
    >>> len(fig.axes)  # a column for the picture, then the maps
    10
    """
    picture = channels_last(array(image, "image"), "activations")
    found = {name: array(maps, name) for name, maps in stages.items()}
    found = {name: maps[0] if maps.ndim == 4 and len(maps) == 1 else maps for name, maps in found.items()}
    bad = [f"{name}: {maps.shape}" for name, maps in found.items() if maps.ndim != 3 or not maps.size]
    if not found or bad:
        raise ValueError(
            f"activations: expected maps (C, H, W) of one picture for each layer, got {', '.join(bad)}"
        )
    row = size * picture.shape[0] / picture.shape[1]
    wide = size * (channels + 1) + 1.2
    fig, axes = figure(
        len(found), channels + 1, wide, row * len(found) + (0.4 if title else 0.1), title, caption
    )
    for ax in axes.flat:
        blank(ax)
    axes[0, 0].imshow(picture, interpolation="nearest", **({"cmap": GREY} if picture.ndim == 2 else {}))
    for cells, (name, maps) in zip(axes, found.items(), strict=True):
        liveliest = np.argsort(-maps.reshape(len(maps), -1).var(axis=1), kind="stable")[:channels]
        for ax, channel in zip(cells[1:], np.sort(liveliest), strict=False):
            ax.imshow(maps[channel], cmap=SEQUENTIAL, interpolation="nearest", aspect="auto")
            ax.set_box_aspect(picture.shape[0] / picture.shape[1])
        _beside(cells[0], f"{name}\n{' × '.join(map(str, maps.shape))}")
    return fig


def favourites(patches, values=None, names=None, columns=2, size=0.5, title=None, caption=None):
    """Show the pieces of pictures that excite channels most: a row for each channel, the strongest at the left.

    Parameters
    ----------
    patches : array_like, shape (C, count, 3, size, size) or (C, count, 1, size, size)
        As `analysis.favourite_patches` returns them; what is NaN lies outside the picture and is drawn
        in light blue.
    values : array_like, shape (C, count), optional
        The channel's value at each piece; the largest is written beside the row.
    names : sequence of str, optional
        Names of the channels; default: their numbers.
    columns : int, default 2
        Channels side by side.
    size : float, default 0.5
        Width of a piece in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, figure 2. Slide
    ``Z/22-activations-made-visible``.

    Examples
    --------
    >>> len(favourites(np.ones((4, 9, 3, 5, 5))).axes)
    4
    """
    patches = array(patches, "patches")
    if patches.ndim != 5 or patches.shape[2] not in (1, 3) or not patches.size:
        raise ValueError(f"favourites: expected patches (C, count, 1 or 3, size, size), got {patches.shape}")
    names = [f"channel {i}" for i in range(len(patches))] if names is None else list(names)
    if len(names) != len(patches) or (values is not None and np.shape(values) != patches.shape[:2]):
        raise ValueError(
            f"favourites: {len(names)} names and values {np.shape(values)} for patches {patches.shape}"
        )
    columns = min(columns, len(patches))
    rows = -(-len(patches) // columns)
    wide = columns * (size * patches.shape[1] + 1.1)
    fig, axes = figure(rows, columns, wide, rows * (size + 0.1) + (0.4 if title else 0.1), title, caption)
    for ax in axes.flat:
        blank(ax)
    for i, (ax, row) in enumerate(zip(axes.flat, patches, strict=False)):
        pictures = np.broadcast_to(row, (len(row), 3, *row.shape[2:])).transpose(0, 2, 3, 1)
        pictures = np.where(np.isnan(pictures), OUTSIDE, np.clip(pictures, 0, 1))
        ax.imshow(np.nan_to_num(tiles(pictures, len(row))[0], nan=1.0), interpolation="nearest")
        most = "" if values is None else f"\nup to {float(np.asarray(values)[i].max()):.3g}"
        _beside(ax, names[i] + most)
    return fig


def receptive_fields(measured, sizes=None, places=None, columns=None, size=1.9, title=None, caption=None):
    """Show measured receptive fields, and the square that the formula says around each.

    Parameters
    ----------
    measured : dict of str to array_like
        Name of the layer to its field (H, W), as `analysis.receptive_field` returns it. Bright is large; each field is
        shown as the fourth root of its share, so that small shares can be seen.
    sizes : sequence of int, optional
        Side of the square of each layer, in pixels. It is drawn in red.
    places : sequence of (float, float), optional
        Row and column of the middle of each square; default: the middle of what was measured.
    columns : int, optional
        Fields in a row; default: at most 6.
    size : float, default 1.9
        Width of a field in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no field, a field is not (H, W), or the numbers of fields, sizes and places differ.

    References
    ----------
    Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", NeurIPS 2016,
    figure 1. Slide ``A/37-attention-distance-against-receptive-field``.

    Examples
    --------
    >>> fig = receptive_fields({"conv 1": np.eye(9), "conv 2": np.ones((9, 9))}, sizes=[3, 5])
    >>> len(fig.axes), len(fig.axes[0].patches)
    (2, 1)
    """
    found = {name: array(field, name) for name, field in measured.items()}
    bad = [f"{name}: {field.shape}" for name, field in found.items() if field.ndim != 2 or not field.size]
    if not found or bad or any(given is not None and len(given) != len(found) for given in (sizes, places)):
        raise ValueError(
            f"receptive_fields: expected fields (H, W), with a size and a place for each; got {len(found)} fields "
            f"{', '.join(bad)}, sizes {sizes}, places {places}"
        )
    columns = columns or min(6, len(found))
    rows = -(-len(found) // columns)
    wide = max(size * columns + 0.2, 3.2)
    fig, axes = figure(rows, columns, wide, rows * (size + 0.35) + (0.4 if title else 0.1), title, caption)
    for ax in axes.flat:
        blank(ax)
    for i, (ax, (name, field)) in enumerate(zip(axes.flat, found.items(), strict=False)):
        ax.imshow(np.maximum(field, 0) ** 0.25, cmap=SEQUENTIAL, interpolation="nearest")
        if sizes is not None:
            y, x = _middle(field) if places is None else places[i]
            corner = (x - sizes[i] / 2, y - sizes[i] / 2)
            ax.add_patch(
                Rectangle(corner, sizes[i], sizes[i], fill=False, edgecolor=VERMILION, linewidth=1.6)
            )
            ax.set(xlim=(-0.5, field.shape[1] - 0.5), ylim=(field.shape[0] - 0.5, -0.5))
        label(ax, title=name if sizes is None else f"{name}: {sizes[i]} pixels")
    return fig


def _middle(field):
    """Row and column of the middle of the rectangle that holds all of a field."""
    rows, columns = np.flatnonzero(field.any(axis=1)), np.flatnonzero(field.any(axis=0))
    return ((rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2) if len(rows) else (0.0, 0.0)


def _beside(ax, text):
    """Write a text at the left of a plot."""
    ax.set_ylabel(text, fontsize=9, color=INK, rotation=0, ha="right", va="center", **LITERAL)
