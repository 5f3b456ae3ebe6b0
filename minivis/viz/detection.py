"""Detectors from inside: regions on a map, anchors, many scored boxes, segments, the channels of an answer.

Not here: boxes with their classes (boxes.py), boxes paired with objects (matching.py), the grid of YOLO (yolo.py), and
computing any of them.
"""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Patch, Rectangle

from minivis.viz.boxes import (
    colour_of,
    corners_of,
    draw_boxes,
    draw_image,
    gallery,
    per_box,
    picture_of,
    tags,
)
from minivis.viz.style import (
    INK,
    LITERAL,
    VERMILION,
    array,
    blank,
    colour_bar,
    figure,
    ink_on,
    legend,
    limits,
)

__all__ = [
    "anchor_states",
    "channel_layout",
    "regions_on_maps",
    "scored_boxes_on_images",
    "segments_and_boxes",
]

_COLOURS_OF_SCORES = "plasma"


def regions_on_maps(
    maps, regions, bins=None, points=None, titles=None, values=None, columns=None, size=2.9, title=None, caption=None
):  # fmt: skip
    """Draw a region on a map of features: its outline, the bins it is cut into, and the places that are read.

    Parameters
    ----------
    maps : sequence of array_like, shape (H, W)
        One channel of a map for each picture; cell (0, 0) reaches from 0 to 1 in both directions.
    regions : sequence of array_like, shape (4,)
        For each picture the corners of the region, in cells.
    bins : sequence of array_like, shape (n, 4), optional
        For each picture the corners of the bins, in cells.
    points : sequence of array_like, shape (n, 2), optional
        For each picture the places x, y that are read, in cells.
    titles : sequence of str, optional
        One for each picture.
    values : bool, optional
        Write the numbers into the cells; default: if there are at most 64.
    columns : int, optional
        Pictures in a row; default: at most 4.
    size : float, default 2.9
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If a map is not (H, W), or the sequences differ in length.

    Examples
    --------
    >>> fig = regions_on_maps([np.eye(4)], [[0.5, 1, 3, 4]], bins=[[[0.5, 1, 1.75, 2.5]]], points=[[[1, 2]]])
    >>> len(fig.axes[0].texts)
    16
    """
    tables = [array(m, "maps") for m in maps]
    given = {"regions": regions, "bins": bins, "points": points, "titles": titles}
    for name, value in given.items():
        if value is not None and len(value) != len(tables):
            raise ValueError(f"regions_on_maps: {len(value)} {name} for {len(tables)} maps")
    if not tables or any(t.ndim != 2 or not t.size for t in tables):
        raise ValueError(f"regions_on_maps: maps must be (H, W), got {[t.shape for t in tables]}")
    low, high = limits(np.concatenate([t.ravel() for t in tables]), False)
    fig, axes = gallery("regions_on_maps", tables, titles, columns, size, title, caption)
    for i, (ax, table) in enumerate(zip(axes, tables, strict=True)):
        _draw_map(ax, table, low, high, table.size <= 64 if values is None else values)
        for x0, y0, x1, y1 in () if bins is None else np.asarray(bins[i], float):
            look = {"fill": False, "edgecolor": INK, "linewidth": 1.2, "linestyle": (0, (3, 2))}
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **look))
        x0, y0, x1, y1 = np.asarray(regions[i], float)
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=VERMILION, linewidth=2.4))
        if points is not None and len(points[i]):
            x, y = np.asarray(points[i], float).T
            ax.plot(x, y, "o", color=INK, markersize=4.5, markeredgecolor="white", markeredgewidth=0.8)
    return fig


def _draw_map(ax, table, low, high, values):
    """A map as pale cells, with their numbers if wanted."""
    height, width = table.shape
    ax.imshow(
        table, cmap="YlGnBu", vmin=low, vmax=high + (high - low), extent=(0, width, height, 0), alpha=0.8
    )
    for x in range(width + 1):
        ax.plot([x, x], [0, height], color="white", linewidth=0.8)
    for y in range(height + 1):
        ax.plot([0, width], [y, y], color="white", linewidth=0.8)
    if values:
        for (row, column), number in np.ndenumerate(table):
            ax.text(column + 0.5, row + 0.5, f"{number:.3g}", ha="center", va="center", fontsize=8, color=INK)
    ax.set(xlim=(-0.3, width + 0.3), ylim=(height + 0.3, -0.3), aspect="equal")


def anchor_states(image, anchors, states, boxes, labels=None, names=None, size=4.2, title=None, caption=None):
    """Draw what each anchor is asked to answer: an object, background, or nothing.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    anchors : array_like, shape (A, 4)
        Corners in pixels.
    states : array_like of int, shape (A,)
        The number of the object that an anchor is matched with; -1 where it is ignored, -2 where it is background.
    boxes : array_like, shape (T, 4)
        Corners of the objects.
    labels, names : optional
        Class of each object, and the names of classes, for the tags.
    size : float, default 4.2
        Width of the image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        Left the centres of all anchors, right the anchors that are matched, in the colour of their object.

    Raises
    ------
    ValueError
        If the numbers of anchors and states differ, or a state names no object.

    Examples
    --------
    >>> fig = anchor_states(np.zeros((8, 8)), [[0, 0, 4, 4], [4, 4, 8, 8]], [0, -2], [[0, 0, 4, 5]])
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['object (1)', 'ignored (0)', 'background (1)']
    """
    picture = picture_of("anchor_states", image)
    corners = corners_of("anchor_states", anchors, picture, argument="anchors")
    objects = corners_of("anchor_states", boxes, picture)
    labels = per_box("anchor_states", "labels", labels, objects)
    states = array(states, "states")
    if (
        states.shape != (len(corners),)
        or states.size
        and not -2 <= states.min() <= states.max() < len(objects)
    ):
        raise ValueError(
            f"anchor_states: states must be ({len(corners)},) of -2, -1 or the number of one of {len(objects)} objects, "
            f"got {states.shape}"
        )
    fig, axes = gallery(
        "anchor_states", [picture] * 2, ("all anchors", "the matched ones"), 2, size, title, caption
    )
    kinds = (("object", states >= 0, VERMILION, 5), ("ignored", states == -1, INK, 3.5), ("background", states == -2, "#999999", 2))  # fmt: skip
    for ax in axes:
        draw_image(ax, picture, corners[states >= 0], grey=True)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    for _, chosen, colour, wide in kinds[::-1]:
        axes[0].plot(
            *centres[chosen].T,
            "o",
            color=colour,
            markersize=wide,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    owners = states[states >= 0]
    draw_boxes(axes[1], corners[states >= 0], owners, line="--", width=1.0)
    draw_boxes(axes[1], objects, None, tags(labels, None, names), width=2.6)
    patches = [Patch(facecolor=colour, label=f"{name} ({chosen.sum()})") for name, chosen, colour, _ in kinds]
    legend(fig, handles=patches, loc="outside right upper", fontsize=9)
    fig.set_size_inches(fig.get_size_inches() + [1.3, 0])
    return fig


def scored_boxes_on_images(
    images, boxes, scores, titles=None, columns=None, size=2.6, bar_label="score", vmin=0.0, vmax=1.0, title=None,
    caption=None,
):  # fmt: skip
    """Draw many boxes on each image as thin lines, coloured by their score, the best on top.

    Parameters
    ----------
    images : sequence of array_like
        Each (H, W) or (C, H, W) with C = 1 or 3; drawn in grey.
    boxes : sequence of array_like, shape (N, 4)
        For each image the corners in pixels.
    scores : sequence of array_like, shape (N,)
        For each image a number for each box.
    titles : sequence of str, optional
        One for each image.
    columns : int, optional
        Images in a row; default: at most 4.
    size : float, default 2.6
        Width of an image in inches.
    bar_label : str, default "score"
        What the colours mean.
    vmin, vmax : float, default 0 and 1
        Scores at the ends of the colour scale.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the sequences differ in length, or boxes and scores in number.

    Examples
    --------
    >>> fig = scored_boxes_on_images([np.zeros((8, 8))], [[[1, 1, 4, 4], [2, 2, 6, 6]]], [[0.2, 0.9]])
    >>> fig.axes[-1].get_ylabel()
    'score'
    """
    pictures = [picture_of("scored_boxes_on_images", image) for image in images]
    for name, given in (("boxes", boxes), ("scores", scores), ("titles", titles)):
        if given is not None and len(given) != len(pictures):
            raise ValueError(f"scored_boxes_on_images: {len(given)} {name} for {len(pictures)} images")
    fig, axes = gallery("scored_boxes_on_images", pictures, titles, columns, size, title, caption)
    colours = ScalarMappable(Normalize(vmin, vmax), _COLOURS_OF_SCORES)
    for ax, picture, found, points in zip(axes, pictures, boxes, scores, strict=True):
        corners = corners_of("scored_boxes_on_images", found, picture)
        points = per_box("scored_boxes_on_images", "scores", points, corners)
        draw_image(ax, picture, corners, grey=True)
        for i in np.argsort(points, kind="stable"):
            x0, y0, x1, y1 = corners[i]
            edge = {"edgecolor": colours.to_rgba(points[i]), "linewidth": 1.3}
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **edge))
    colour_bar(fig, colours, list(axes), bar_label)
    return fig


def channel_layout(parts, width=9.0, title=None, caption=None):
    """Draw the channels of one cell as a row of numbered squares, one colour for each part.

    Parameters
    ----------
    parts : dict of str to int
        Name of each part to its number of channels, in order.
    width : float, default 9
        Width of the row in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no part, or a part has no channel.

    Examples
    --------
    >>> fig = channel_layout({"box": 5, "classes": 3})
    >>> [text.get_text() for text in fig.axes[0].texts][-2:]
    ['box: 1 to 5', 'classes: 6 to 8']
    """
    if not parts or min(parts.values()) < 1:
        raise ValueError(f"channel_layout: every part needs a channel, at least one part; got {parts}")
    count = sum(parts.values())
    fig, axes = figure(1, 1, width, 1.0 * width / count + 0.75, title, caption)
    ax = axes[0, 0]
    blank(ax)
    ax.set(xlim=(-0.1, count + 0.1), ylim=(1.1, -0.1), aspect="equal")
    names = []
    start = 0
    for i, (name, channels) in enumerate(parts.items()):
        colour = colour_of(i)
        for channel in range(start, start + channels):
            ax.add_patch(Rectangle((channel, 0), 1, 1, facecolor=colour, edgecolor="white"))
            ax.text(
                channel + 0.5, 0.5, channel + 1, ha="center", va="center", fontsize=7, color=ink_on(colour)
            )
        names.append((start + channels / 2, f"{name}: {start + 1} to {start + channels}"))
        start = start + channels
    for x, text in names:
        ax.annotate(text, (x, 0), (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=9, color=INK, **LITERAL)  # fmt: skip
    return fig


def segments_and_boxes(image, segmentations, boxes, scores, titles=None, size=2.5, title=None, caption=None):
    """Show an image cut into segments, each in its mean colour, and beside it boxes with a number on each.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    segmentations : sequence of array_like of int, shape (H, W)
        For each picture the number of the segment of each pixel.
    boxes : array_like, shape (N, 4)
        Corners in pixels.
    scores : array_like, shape (N,)
        Written on the boxes.
    titles : sequence of str, optional
        One for each segmentation.
    size : float, default 2.5
        Width of each picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If a segmentation has not the height and width of the image, or boxes and scores differ in number.

    Examples
    --------
    >>> fig = segments_and_boxes(np.eye(4), [np.eye(4, dtype=int)], [[0, 0, 2, 2]], [0.5], titles=["two segments"])
    >>> [ax.get_title() for ax in fig.axes]
    ['two segments', 'boxes']
    """
    picture = picture_of("segments_and_boxes", image)
    corners = corners_of("segments_and_boxes", boxes, picture)
    scores = per_box("segments_and_boxes", "scores", scores, corners)
    parts = [array(part, "segmentations").astype(int) for part in segmentations]
    if (
        any(part.shape != picture.shape[:2] for part in parts)
        or titles is not None
        and len(titles) != len(parts)
    ):
        raise ValueError(
            f"segments_and_boxes: segmentations must be (H, W) of the image, one for each title, got "
            f"{[part.shape for part in parts]} for an image of {picture.shape[:2]}"
        )
    count = len(parts) + 1
    titles = [*(titles or [""] * len(parts)), "boxes"]
    fig, axes = gallery("segments_and_boxes", [picture] * count, titles, count, size, title, caption)
    for ax, part in zip(axes, parts, strict=False):
        draw_image(ax, _mean_colours(picture, part))
    draw_image(axes[-1], picture, corners, grey=True)
    draw_boxes(axes[-1], corners, None, tags(None, scores, None))
    return fig


def _mean_colours(picture, part):
    """Each segment in the mean of its colours."""
    _, place = np.unique(part, return_inverse=True)
    place = place.reshape(-1)
    colours = picture.reshape(len(place), -1)
    means = np.stack([np.bincount(place, c) for c in colours.T], axis=1) / np.bincount(place)[:, None]
    return means[place].reshape(picture.shape)
