"""Attention as pictures: one map for each head or query, alone or over the image.

Not here: the weights; `mv.nn.looking(model)` collects them while a model runs, `mv.ops.attention_weights` computes them.
"""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb

from minivis.viz.boxes import (
    colour_of,
    corners_of,
    draw_boxes,
    draw_image,
    gallery,
    name_of,
    per_box,
    picture_of,
)
from minivis.viz.style import SEQUENTIAL, VERMILION, array, blank, colour_bar, figure, greyscale, label

__all__ = ["attention_by_object", "attention_from_places", "attention_maps"]

LIGHT = "inferno"  # its lightness always rises, so it can be read with any colour vision


def attention_maps(
    maps, image=None, titles=None, query=None, columns=None, shared=False, x_label="", y_label="",
    bar_label="attention weight", size=2.0, title=None, caption=None,
):  # fmt: skip
    """Show attention maps side by side: bright cells have large weights.

    Parameters
    ----------
    maps : array_like, shape (n, rows, columns) or (rows, columns)
        Weights of one query over a grid of cells, or whole (N, M) matrices.
    image : array_like, shape (H, W) or (C, H, W), optional
        Drawn first, and in grey under each map. Dark violet: weight 0; bright yellow: the largest weight.
    titles : sequence of str, optional
        One for each map.
    query : (row, column) or array_like of shape (n, 2), optional
        The cell of the query, marked with a cross: one for all maps, or one for each, then numbered in the image.
    columns : int, optional
        Maps in a row; default: at most 4 (8 without an image).
    shared : bool, default False
        One colour scale for all maps, with a colour bar; otherwise each map uses its own range.
    x_label, y_label : str
        Names of the axes, for maps whose rows and columns are not positions in an image.
    bar_label : str, default "attention weight"
        Quantity of a shared colour bar.
    size : float, default 2
        Width of a map in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If maps are not two- or three-dimensional, or titles or queries do not match them.

    References
    ----------
    Slides ``A/35-output-token-attention``, ``A/67-encoder-separates-instances``, ``H/10-attention-finds-the-object``, ``Z/39-vit-attention-by-layer``,
    ``Z/57-detr-encoder``.

    Examples
    --------
    >>> len(attention_maps(np.ones((3, 4, 4)), image=np.ones((8, 8))).axes)  # the image and three maps
    4
    """
    maps, queries = _checked_maps(maps, titles, query)
    numbered = np.ndim(query) == 2
    picture = None if image is None else picture_of("attention_maps", image)
    count = len(maps) + (picture is not None)
    columns = columns or min(count, 4 if picture is not None else 8)
    rows = -(-count // columns)
    cell = size * (maps.shape[1] / maps.shape[2] if picture is None else picture.shape[0] / picture.shape[1])
    titled = titles is not None or picture is not None
    height = rows * (cell + (0.35 if titled else 0.1)) + (0.4 if title else 0.1)
    fig, axes = figure(rows, columns, max(size * columns + 0.7 * shared, 3.6), height, title, caption)
    free = iter(axes.flat)
    if picture is not None:
        asking = queries if numbered else queries[:1]
        _draw_asking(next(free), picture, maps.shape[1:], asking, numbered)
    top = float(maps.max())
    drawn = None
    for i, one in enumerate(maps):
        ax = next(free)
        high = (top if shared else float(one.max())) or 1.0
        if picture is not None:
            draw_over(ax, picture, one / high)
        else:
            drawn = ax.imshow(one, cmap=SEQUENTIAL, vmin=0, vmax=high, interpolation="nearest")
        cross(ax, queries[i], one.shape, one.shape if picture is None else picture.shape)
        blank(ax)
        label(ax, x_label, y_label if i % columns == 0 else "", "" if titles is None else str(titles[i]))
    for ax in free:
        blank(ax)
    if shared:
        colours = ScalarMappable(Normalize(0, top or 1.0), LIGHT) if drawn is None else drawn
        colour_bar(fig, colours, axes, bar_label)
    return fig


def attention_from_places(
    weights, image, places, grid=None, columns=None, size=2.0, title=None, caption=None
):
    """Show where chosen places of a map look: one attention map for each, over the image that the map belongs to.

    Parameters
    ----------
    weights : array_like, shape (N, M)
        Attention between places of a map, queries in rows; for example of SAGAN, ``seen["generator.attention.weights"][0, 0]``
        inside `looking`. There may be fewer keys than queries, if they are pooled.
    image : array_like, shape (H, W) or (C, H, W)
        What is seen at these places, such as the picture that was drawn.
    places : sequence of (int, int)
        Row and column of each query on its map.
    grid : (int, int), optional
        Rows and columns of the map of queries; default: a square.
    columns : int, optional
        Pictures in a row; default: at most 4.
    size : float, default 2
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: the image with the numbered places, then a map for each, on its own scale.

    Raises
    ------
    ValueError
        If the weights are no matrix of this grid, or a place is not on the map.

    References
    ----------
    Zhang et al., "Self-attention generative adversarial networks", ICML 2019, figures 1 and 5. Slide ``A/12-sagan``.

    Examples
    --------
    >>> len(attention_from_places(np.eye(16), np.ones((8, 8)), [(0, 0), (3, 2)]).axes)  # the image and two maps
    3
    """
    name = "attention_from_places"
    weights = array(weights, "weights")
    rows, width = grid or 2 * (round(weights.shape[0] ** 0.5),)
    pooled = round((rows * width / max(1, weights.shape[-1])) ** 0.5)
    keys = (rows // max(1, pooled), width // max(1, pooled))
    if weights.ndim != 2 or weights.shape != (rows * width, keys[0] * keys[1]):
        raise ValueError(
            f"{name}: weights must be (N, M) with N = {rows} x {width} queries, got {weights.shape}"
        )
    if wrong := [place for place in places if not (0 <= place[0] < rows and 0 <= place[1] < width)]:
        raise ValueError(f"{name}: {wrong[0]} is not on the map of {rows} x {width} places")
    maps = np.stack([weights[y * width + x].reshape(keys) for y, x in places])
    marks = (np.array(places) + 0.5) / pooled - 0.5  # in cells of the keys' map
    titles = [f"place {i + 1}" for i in range(len(maps))]
    return attention_maps(maps, image, titles, marks, columns, size=size, title=title, caption=caption)


def _checked_maps(maps, titles, query):
    """Maps (n, rows, columns), and for each its query cell or None."""
    maps = array(maps, "maps")
    maps = maps[None] if maps.ndim == 2 else maps
    if maps.ndim != 3 or not maps.size:
        raise ValueError(f"attention_maps: expected maps (n, rows, columns), got {maps.shape}")
    if titles is not None and len(titles) != len(maps):
        raise ValueError(f"attention_maps: {len(titles)} titles for {len(maps)} maps")
    if query is None:
        return maps, [None] * len(maps)
    queries = np.asarray(query)
    if queries.shape not in ((2,), (len(maps), 2)):
        raise ValueError(f"attention_maps: query must be (2,) or ({len(maps)}, 2), got {queries.shape}")
    return maps, queries if queries.ndim == 2 else [queries] * len(maps)


def _draw_asking(ax, picture, grid, queries, numbered):
    """The image with a cross in each query cell."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    blank(ax)
    label(ax, title="the image")
    for i, asks in enumerate(queries):
        cross(ax, asks, grid, picture.shape, str(i + 1) if numbered else None)


def attention_by_object(
    maps,
    image,
    boxes,
    labels=None,
    names=None,
    normalised=False,
    floor=0.15,
    size=4.0,
    title=None,
    caption=None,
):
    """Draw the attention maps of several queries over one image, each in the colour of its predicted box.

    Parameters
    ----------
    maps : array_like, shape (n, rows, columns)
        Weights of each query over a grid of cells.
    image : array_like, shape (H, W) or (C, H, W)
        Drawn in grey underneath.
    boxes : array_like, shape (n, 4)
        The box that each query predicts, (x0, y0, x1, y1) in pixels.
    labels : array_like of int, shape (n,), optional
        Classes, for the tags; without them a tag is the number of the query.
    names : sequence or dict of int to str, optional
        Name of each label.
    normalised : bool, default False
        The boxes are (centre x, centre y, width, height), as fractions of the image.
    floor : float, default 0.15
        Weights below this fraction of the largest weight of their map are not painted.
    size : float, default 4
        Width of the image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Each map is divided by its largest weight: do not compare strengths between maps.

    Raises
    ------
    ValueError
        If maps are not (n, rows, columns), or the boxes or labels differ from them in number.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, figure 6. Slides
    ``H/21-what-encoder-and-decoder-look-at``, ``Z/64-attention-at-extremities``, ``Z/66-decoder-attention-weights``.

    Examples
    --------
    >>> fig = attention_by_object(np.eye(4)[None], np.ones((8, 8)), [[1, 1, 7, 7]], labels=[0], names=["cat"])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['cat']
    """
    name = "attention_by_object"
    maps = array(maps, "maps")
    picture = picture_of(name, image)
    boxes = corners_of(name, boxes, picture, normalised)
    labels = per_box(name, "labels", labels, boxes)
    if maps.ndim != 3 or len(maps) != len(boxes):
        raise ValueError(
            f"{name}: maps must be (n, rows, columns), one for each of {len(boxes)} boxes, got {maps.shape}"
        )
    fig, (ax,) = gallery(name, [picture], None, 1, size, title, caption)
    draw_image(ax, picture, boxes, grey=True)
    colours = [colour_of(i) for i in range(len(maps))]
    for one, colour in zip(maps, colours, strict=True):
        part = one / (one.max() or 1.0)
        layer = np.empty((*one.shape, 4))
        layer[..., :3] = to_rgb(colour)
        layer[..., 3] = np.where(part >= floor, 0.85 * np.clip(part, 0, 1) ** 0.5, 0)
        ax.imshow(layer, extent=(0, picture.shape[1], picture.shape[0], 0), interpolation="nearest")
    texts = [f"query {i}" if labels is None else name_of(labels[i], names) for i in range(len(maps))]
    draw_boxes(ax, boxes, texts=texts, colours=colours, width=1.4)
    return fig


def draw_over(ax, picture, weights):
    """A map in colours over the grey image; the colours are stronger where the weights are larger."""
    height, width = picture.shape[:2]
    ax.imshow(greyscale(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    weights = np.clip(weights, 0, 1)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(
        weights,
        cmap=LIGHT,
        vmin=0,
        vmax=1,
        alpha=0.2 + 0.65 * weights**0.5,
        extent=extent,
        interpolation="nearest",
    )


def cross(ax, query, grid, shape, number=None):
    if query is not None:
        y, x = (float(q + 0.5) * s / g - 0.5 for q, s, g in zip(query, shape[:2], grid, strict=True))
        # white around red is visible on any map
        outline = ("white", 14, 5)
        line = (VERMILION, 12, 2.5)
        for colour, size, width in (outline, line):
            ax.plot([x], [y], marker="+", color=colour, markersize=size, markeredgewidth=width)
        if number is not None:
            paper = {"facecolor": VERMILION, "edgecolor": "white", "linewidth": 0.5, "pad": 1.2}
            ax.annotate(
                number, (x, y), (7, 6), textcoords="offset points", color="white", fontsize=8, bbox=paper
            )
