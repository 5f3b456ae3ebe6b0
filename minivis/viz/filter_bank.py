"""Learned convolutions as pictures: the filters of a layer, and the feature maps of each stage.

Not here: filters with their numbers (squares.py).
"""

import numpy as np
from matplotlib.patches import Rectangle

from minivis.viz.style import (
    DIVERGING,
    INK,
    LITERAL,
    SEQUENTIAL,
    array,
    blank,
    colour_bar,
    figure,
    label,
    limits,
)

__all__ = ["feature_maps", "filters"]


def filters(weight, columns=None, size=0.8, title=None, caption=None):
    """Show the filters of a convolution on one scale: purple weights are negative, orange ones positive.

    Parameters
    ----------
    weight : array_like, shape (O, C, kh, kw)
        C = 1: the filters in a grid. C = 3: in colours, mid grey for 0. Otherwise one row for each filter, with a
        picture for each input channel.
    columns : int, optional
        Filters in a row; default: at most 8. Ignored unless C is 1 or 3.
    size : float, default 0.8
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
        If the weight is not (O, C, kh, kw) or empty.

    References
    ----------
    Slides ``H/10-inside-vit``, ``Z/21-parameters-made-visible``.

    Examples
    --------
    >>> len(filters(np.ones((8, 1, 3, 3))).axes)  # the filters and the colour bar
    2
    """
    weight = array(weight, "weight")
    if weight.ndim != 4 or not weight.size:
        raise ValueError(f"filters: expected a weight (O, C, kh, kw), got {weight.shape}")
    O, C, kh, kw = weight.shape
    columns = min(columns or 8, O)
    pictures = weight.reshape(O * C, kh, kw) if C != 3 else weight.transpose(0, 2, 3, 1)
    columns = columns if C in (1, 3) else C
    canvas, frames = tiles(pictures, columns)
    wide = size * columns
    high = size * columns * canvas.shape[0] / canvas.shape[1]
    fig, axes = figure(
        1, 1, max(wide + (0.9 if C != 3 else 0.2), 3.2), high + (0.4 if title else 0.1), title, caption
    )
    ax = axes[0, 0]
    (low, high) = limits(weight, True)
    blank(ax)
    if C == 3:
        ax.imshow(np.nan_to_num(0.5 + canvas / (2 * high), nan=1.0))
    else:
        colour_bar(
            fig, ax.imshow(canvas, cmap=DIVERGING, vmin=low, vmax=high, interpolation="nearest"), ax, "weight"
        )
    for frame in frames:
        ax.add_patch(frame)
    if C not in (1, 3):
        label(ax, "input channel", "filter")
    return fig


def feature_maps(stages, columns=8, size=0.75, title=None, caption=None):
    """Show the feature maps of one image after each stage of a network: one picture for each channel, bright is large.

    Parameters
    ----------
    stages : dict of str to array_like
        Name to the maps of one image, (C, H, W) or (1, C, H, W), in the order of the network.
    columns : int, default 8
        Maps in a row.
    size : float, default 0.75
        Width of a map in inches, the same for every resolution.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. The colour scale of a stage goes from 0 (or its smallest value if that is negative) to its largest.

    Raises
    ------
    ValueError
        If there is no stage, or a stage is not the maps of one image.

    References
    ----------
    Slide ``Z/22-activations-made-visible``.

    Examples
    --------
    >>> len(feature_maps({"image": np.ones((1, 8, 8)), "after conv 1": np.ones((8, 8, 8))}).axes)
    2
    """
    found = {name: array(maps, name) for name, maps in stages.items()}
    found = {name: maps[0] if maps.ndim == 4 and len(maps) == 1 else maps for name, maps in found.items()}
    bad = [f"{name}: {maps.shape}" for name, maps in found.items() if maps.ndim != 3 or not maps.size]
    if not found or bad:
        raise ValueError(
            f"feature_maps: expected maps (C, H, W) of one image for each stage, got {', '.join(bad)}"
        )
    canvases = [tiles(maps, columns)[0] for maps in found.values()]
    heights = [size * columns * c.shape[0] / c.shape[1] for c in canvases]
    tall = sum(heights) + 0.1 * len(heights) + (0.4 if title else 0)
    fig, axes = figure(len(found), 1, size * columns + 1.7, tall, title, caption, height_ratios=heights)
    for ax, canvas, (name, maps) in zip(axes[:, 0], canvases, found.items(), strict=True):
        blank(ax)
        ax.imshow(canvas, cmap=SEQUENTIAL, vmin=min(0.0, float(maps.min())), interpolation="nearest")
        ax.set_ylabel(
            f"{name}\n{' × '.join(map(str, maps.shape))}",
            fontsize=9,
            color=INK,
            rotation=0,
            ha="right",
            va="center",
            **LITERAL,
        )
    return fig


def tiles(pictures, columns):
    """Pictures (n, h, w) or (n, h, w, 3) as one canvas with gaps (NaN), and a frame for each."""
    count, h, w, *colour = pictures.shape
    fine = max(1, 12 // w)  # canvas pixels per weight, so that gaps are narrower than a weight
    pictures = pictures.repeat(fine, axis=1).repeat(fine, axis=2)
    h = h * fine
    w = w * fine
    gap = max(1, w // 8)
    rows = -(-count // columns)
    corners = [(i % columns * (w + gap), i // columns * (h + gap)) for i in range(count)]
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, *colour), np.nan)
    for (left, top), picture in zip(corners, pictures, strict=True):
        canvas[top : top + h, left : left + w] = picture
    return canvas, [
        Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor="#999999", linewidth=0.5)
        for x, y in corners
    ]
