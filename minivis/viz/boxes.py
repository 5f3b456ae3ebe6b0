"""Boxes drawn on images: class and score on a tag, one image or a gallery.

Not here: the arithmetic of boxes, which is `mv.vision`; predicted boxes paired with true ones (matching.py).
"""

import numpy as np
from matplotlib.patches import Rectangle

from minivis.viz.pictures import channels_last
from minivis.viz.style import COLOURS, FAINT, LINES, LITERAL, array, blank, figure, greyscale, ink_on, label

__all__ = ["boxes_on_image", "boxes_on_images"]

# Scenes have more classes than charts have curves: five more colours that differ from the others and from white.
_PALETTE = (*COLOURS, "#FFEE11", "#6600FF", "#99DD66", "#003366", "#993322")
LONGEST_NAME = 44  # characters
_MARGIN = 0.25  # a box may leave the image: up to this fraction of a side is shown beyond the edge


def boxes_on_image(
    image, boxes, labels=None, scores=None, names=None, normalised=False, size=4.0, title=None, caption=None
):
    """Draw boxes on an image, each in the colour of its class, with its name and score on a tag.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    boxes : array_like, shape (N, 4)
        Corners (x0, y0, x1, y1) in pixels: the first pixel reaches from 0 to 1. N may be 0.
    labels : array_like of int, shape (N,), optional
        Class of each box; it decides the colour and the name on the tag.
    scores : array_like, shape (N,), optional
        Written on the tag after the name.
    names : sequence or dict of int to str, optional
        Name of each label; default: the label's number.
    normalised : bool, default False
        The boxes are (centre x, centre y, width, height) as fractions of the image, as models predict them.
    size : float, default 4
        Width of the image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the shape of the image or the boxes is wrong, a box has a negative side or is not finite, or labels or
        scores differ from the boxes in number.

    Notes
    -----
    A box may leave the image: up to a quarter of a side is shown beyond the edge.

    Examples
    --------
    >>> fig = boxes_on_image(np.zeros((8, 8)), [[1, 2, 5, 7]], labels=[0], scores=[0.98], names=["cat"])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['cat 0.98']
    """
    labels, scores = (None if given is None else [given] for given in (labels, scores))
    return _draw(
        "boxes_on_image", [image], [boxes], labels, scores, names, normalised, None, 1, size, title, caption
    )


def boxes_on_images(
    images, boxes, labels=None, scores=None, names=None, normalised=False, titles=None, columns=None, size=2.6,
    title=None, caption=None,
):  # fmt: skip
    """Draw a gallery of images with their boxes: truth beside prediction, or many scenes.

    Parameters
    ----------
    images : sequence of array_like
        Each as in `boxes_on_image`; a batch (B, C, H, W) is one.
    boxes, labels, scores : sequence of array_like
        One entry for each image, each as in `boxes_on_image`; labels and scores are optional.
    names, normalised
        As in `boxes_on_image`.
    titles : sequence of str, optional
        One for each image.
    columns : int, optional
        Images in a row; default: at most 4.
    size : float, default 2.6
        Width of an image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        As `boxes_on_image`; or if the sequences differ in length.

    Examples
    --------
    >>> image, box = np.zeros((8, 8)), [[1, 2, 5, 7]]
    >>> len(boxes_on_images([image, image], [box, []], titles=["truth", "found"]).axes)
    2
    """
    return _draw(
        "boxes_on_images", images, boxes, labels, scores, names, normalised, titles, columns, size, title, caption
    )  # fmt: skip


def _draw(caller, images, boxes, labels, scores, names, normalised, titles, columns, size, title, caption):
    """The common part of both functions; errors begin with the name of the caller."""
    pictures = [picture_of(caller, image) for image in images]
    count = len(pictures)
    for name, given in (("boxes", boxes), ("labels", labels), ("scores", scores), ("titles", titles)):
        if given is not None and len(given) != count:
            raise ValueError(f"{caller}: {len(given)} {name} for {count} images")
    corners = [corners_of(caller, b, p, normalised) for b, p in zip(boxes, pictures, strict=True)]
    fig, axes = gallery(caller, pictures, titles, columns, size, title, caption)
    for i, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        numbers, points = (
            per_box(caller, name, None if given is None else given[i], corners[i])
            for name, given in (("labels", labels), ("scores", scores))
        )
        draw_image(ax, picture, corners[i])
        draw_boxes(ax, corners[i], numbers, tags(numbers, points, names), points)
    return fig


# ---------------------------------------------------------------------------------------------------------------------
# Shared by other pictures with boxes and masks


def picture_of(name, image):
    """The image that a function named ``name`` draws on, as (H, W) or (H, W, 3)."""
    return channels_last(array(image, "image"), name)


def corners_of(name, boxes, picture, normalised=False, argument="boxes"):
    """Boxes as float (N, 4) corners in pixels, checked."""
    boxes = np.asarray(boxes, float) if isinstance(boxes, list | tuple) else array(boxes, argument)
    boxes = boxes.astype(float).reshape((0, 4) if boxes.size == 0 else boxes.shape)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name}: {argument} must be (N, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError(f"{name}: {argument} must be finite numbers, got {boxes.tolist()!s:.80}")
    if normalised:
        height, width = picture.shape[:2]
        centre = boxes[:, :2]
        sides = boxes[:, 2:]
        boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
        boxes = boxes * [width, height, width, height]
    if (boxes[:, 2:] < boxes[:, :2]).any():
        hint = "a width or a height is negative" if normalised else "x1 < x0 or y1 < y0; are they cxcywh?"
        raise ValueError(f"{name}: {argument} has a box of negative size: {hint}")
    return boxes


def per_box(name, argument, values, boxes):
    """One number for each box, or None."""
    if values is None:
        return None
    values = np.asarray(array(values, argument))
    if values.shape != (len(boxes),):
        raise ValueError(f"{name}: {argument} must be ({len(boxes)},), one for each box, got {values.shape}")
    return values


def tags(labels, scores, names):
    """The text on each tag, such as 'cat 0.98', or None without labels and scores."""
    if labels is None and scores is None:
        return None
    words = [] if labels is None else [[name_of(i, names) for i in labels]]
    words += [] if scores is None else [[f"{s:.2f}" for s in scores]]
    return [" ".join(parts) for parts in zip(*words, strict=True)]


def name_of(label, names):
    """The name of a class as `short_name`, or its number if it has no name."""
    label = int(label)
    if isinstance(names, dict):
        return short_name(names.get(label, label))
    return short_name(names[label]) if names is not None and 0 <= label < len(names) else str(label)


def short_name(name):
    """A name on one line, and cut where it would take the room of the picture."""
    text = " ".join(str(name).split())
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def colour_of(number):
    """The colour of a class or an object; after the last colour they repeat."""
    return _PALETTE[number % len(_PALETTE)]


def gallery(name, pictures, titles, columns, size, title, caption):
    """A figure with one blank plot for each picture, and a list of these plots; ``name`` is the caller, for errors."""
    if not pictures:
        raise ValueError(f"{name}: there is no image to draw on")
    columns = min(columns or 4, len(pictures))
    rows = -(-len(pictures) // columns)
    cell = size * max(min(p.shape[0] / p.shape[1], 3) for p in pictures)
    cell += 0.3 if titles is not None else 0.1
    height = rows * cell + (0.4 if title else 0.1)
    fig, axes = figure(rows, columns, max(size * columns, 3.2), height, title, caption)
    for ax in axes.flat:
        blank(ax)
    for ax, text in zip(axes.flat, titles or (), strict=False):
        label(ax, title=str(text))
    return fig, axes.ravel()[: len(pictures)]


def draw_image(ax, picture, boxes=None, grey=False):
    """Draw the image so that pixel 0 reaches from 0 to 1, with room for boxes that leave it."""
    height, width = picture.shape[:2]
    picture = greyscale(picture) if grey else picture
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="antialiased")
    ax.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor=FAINT, linewidth=0.8))
    left = 0
    top = 0
    right = width
    bottom = height
    if boxes is not None and len(boxes):
        beyond_x, beyond_y = _MARGIN * width, _MARGIN * height
        (left, top) = boxes[:, :2].min(axis=0)
        (right, bottom) = boxes[:, 2:].max(axis=0)
        left = min(0, max(left, -beyond_x))
        right = max(width, min(right, width + beyond_x))
        top = min(0, max(top, -beyond_y))
        bottom = max(height, min(bottom, height + beyond_y))
    edge = 0.005 * width
    ax.set(xlim=(left - edge, right + edge), ylim=(bottom + edge, top - edge), aspect="equal")


def draw_boxes(ax, boxes, labels=None, texts=None, scores=None, line=None, width=2.0, colours=None):
    """Draw boxes and tags: coloured by label (by index without labels), the highest score on top."""
    order = np.arange(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    painted = []
    for i in order:
        number = int(i if labels is None else labels[i])
        colour = colour_of(number) if colours is None else colours[i]
        painted.append(colour)
        repeat = number // len(_PALETTE)  # classes with the same colour get different dashes
        dash = line or LINES[repeat % len(LINES)]
        x0, y0, x1, y1 = boxes[i]
        for paint, thick, stroke in (("white", width + 1.6, "-"), (colour, width, dash)):
            ax.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=paint, linewidth=thick, linestyle=stroke)
            )  # fmt: skip
    if texts is not None:
        draw_tags(ax, [boxes[i] for i in order], [texts[i] for i in order], painted)


def draw_tags(ax, boxes, texts, colours, centred=False):
    """Draw a text on its colour at a corner of each box (or in its middle); a tag moves if it would cover another."""
    grid = ax.get_subplotspec().get_gridspec()
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    inch = (right - left) * grid.ncols / ax.figure.get_size_inches()[0]  # pixels of the image per inch, about
    taken = []
    high = 0.17 * inch
    for (x0, y0, x1, y1), text, colour in zip(boxes, texts, colours, strict=True):
        wide = (0.07 * len(text) + 0.04) * inch
        places = [
            (x0, y0 - high),
            (x0, y0),
            (x1 - wide, y0),
            (x0, y1 - high),
            (x0, y1),
            (x1 - wide, y1 - high),
        ]
        if centred:
            middle = (x0 + x1 - wide) / 2
            places = [(middle, (y0 + y1 - high) / 2 + step * high) for step in (0, -1, 1, -2, 2)]
        places = [(min(max(x, left), right - wide), min(max(y, top), bottom - high)) for x, y in places]
        x, y = next((p for p in places if not any(_overlap(p, wide, high, t) for t in taken)), places[0])
        taken.append((x, y, x + wide, y + high))
        paper = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.5, "pad": 1.2}
        ax.text(
            x + (wide / 2 if centred else 0.02 * inch),
            y + high / 2,
            text,
            ha="center" if centred else "left",
            va="center",
            fontsize=8,
            color=ink_on(colour),
            bbox=paper,
            **LITERAL,
        )


def _overlap(place, wide, high, other):
    x, y = place
    return x < other[2] and other[0] < x + wide and y < other[3] and other[1] < y + high
