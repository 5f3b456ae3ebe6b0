"""YOLO as a picture: the grid with the cells that have an object, all predicted boxes, the classes of the cells, the result.

Not here: the prediction (models/yolo.py) and its decoding (vision/yolo_grid.py), single boxes on images (boxes.py).
"""

import numpy as np
from matplotlib.patches import Rectangle

from minivis.vision.boxes import box_cxcywh_to_xyxy
from minivis.vision.yolo_grid import grid_cells, yolo_boxes
from minivis.viz.boxes import (
    colour_of,
    corners_of,
    draw_boxes,
    draw_image,
    gallery,
    name_of,
    per_box,
    picture_of,
    tags,
)
from minivis.viz.style import array, legend

__all__ = ["yolo_grid"]

WIDEST = 4.0  # points: the line of a box with confidence 1
LEAST = 0.02  # boxes with less confidence are not drawn


def yolo_grid(
    image, prediction, boxes_per_cell=2, boxes=None, labels=None, found=None, names=None, size=2.9, title=None, caption=None
):  # fmt: skip
    """Draw how YOLO v1 sees an image, step by step.

    The first picture is the grid over the image, with the true boxes and the cells that hold their centres. The second has all
    predicted boxes, with lines as thick as their confidence. In the third each cell has the colour of its best class, the
    stronger, the larger its score. The fourth has the boxes that stay after suppression, if they are given.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    prediction : array_like, shape (S, S, 5 B + C)
        What `models.YOLO` predicts for the image.
    boxes_per_cell : int, default 2
        B.
    boxes : array_like, shape (T, 4), optional
        The true boxes: centre x, centre y, width, height, as fractions of the image.
    labels : array_like of int, shape (T,), optional
        Their classes.
    found : dict, optional
        What `models.YOLO.detect` finds in the image: ``boxes``, ``labels``, ``scores``.
    names : sequence or dict of int to str, optional
        Name of each label; default: the label's number.
    size : float, default 2.9
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
        If a shape is wrong, a box has a negative side, or labels and boxes differ in number.

    References
    ----------
    Redmon et al., "You only look once", CVPR 2016, figure 2. Slides ``C/63-yolo-output``, ``Z/44-yolo``.

    Examples
    --------
    >>> prediction = np.zeros((2, 2, 7))
    >>> prediction[0, 1, :5] = 0.5, 0.5, 0.4, 0.4, 0.9
    >>> fig = yolo_grid(np.zeros((8, 8)), prediction, 1, [[0.7, 0.2, 0.4, 0.4]], [1])
    >>> len(fig.axes), fig.axes[1].get_title()
    (3, 'all predicted boxes')
    """
    picture = picture_of("yolo_grid", image)
    prediction = array(prediction, "prediction").astype(float)
    B = boxes_per_cell
    if prediction.ndim != 3 or B < 1 or prediction.shape[2] <= 5 * B:
        raise ValueError(f"yolo_grid: prediction must be (S, S, 5 B + C) with B={B}, got {prediction.shape}")
    boxes = corners_of("yolo_grid", [] if boxes is None else boxes, picture, normalised=True)
    labels = per_box("yolo_grid", "labels", labels, boxes)
    titles = ["the grid and the objects", "all predicted boxes", "the class of each cell"]
    titles += ["after suppression"] if found is not None else []
    fig, axes = gallery("yolo_grid", [picture] * len(titles), titles, None, size, title, caption)
    _objects(axes[0], picture, prediction.shape[:2], boxes, labels, names)
    _all_boxes(axes[1], picture, prediction, B)
    _classes(axes[2], picture, prediction, B, names)
    if found is not None:
        kept = corners_of("yolo_grid", found["boxes"], picture, argument='found["boxes"]')
        numbers, points = (
            per_box("yolo_grid", f'found["{key}"]', found[key], kept) for key in ("labels", "scores")
        )
        draw_image(axes[3], picture)
        draw_boxes(axes[3], kept, numbers, tags(numbers, points, names), points)
    return fig


def _cells(picture, grid):
    """Width and height of a cell in pixels."""
    height, width = picture.shape[:2]
    return width / grid[1], height / grid[0]


def _lines(ax, picture, grid):
    """The borders of the cells."""
    wide, high = _cells(picture, grid)
    height, width = picture.shape[:2]
    style = {"color": "white", "linewidth": 0.7, "alpha": 0.8}
    ax.vlines(wide * np.arange(1, grid[1]), 0, height, **style)
    ax.hlines(high * np.arange(1, grid[0]), 0, width, **style)


def _objects(ax, picture, grid, boxes, labels, names):
    """The true boxes, their centres, and the cells that hold them."""
    draw_image(ax, picture, grey=picture.ndim == 3)
    _lines(ax, picture, grid)
    height, width = picture.shape[:2]
    centres = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2 / [width, height], 0, 1)
    rows, columns, _ = grid_cells(np.concatenate([centres, centres], axis=1), grid)
    wide, high = _cells(picture, grid)
    for i, (row, column, centre) in enumerate(zip(rows, columns, centres * [width, height], strict=True)):
        colour = colour_of(i if labels is None else int(labels[i]))
        ax.add_patch(
            Rectangle((column * wide, row * high), wide, high, facecolor=colour, alpha=0.55, linewidth=0)
        )
        ax.plot(*centre, "o", color=colour, markeredgecolor="white", markersize=5)
    draw_boxes(ax, boxes, labels, tags(labels, None, names), width=1.6)


def _all_boxes(ax, picture, prediction, B):
    """Every box that is predicted, in the colour of its cell's class, as thick as its confidence."""
    confidence = prediction[:, :, 4 : 5 * B : 5].clip(0, 1)  # (S, S, B)
    height, width = picture.shape[:2]
    corners = box_cxcywh_to_xyxy(yolo_boxes(prediction, B)) * np.array([width, height, width, height])
    best = np.broadcast_to(prediction[:, :, None, 5 * B :].argmax(axis=-1), confidence.shape)
    draw_image(ax, picture, grey=picture.ndim == 3)
    for place in sorted(np.ndindex(confidence.shape), key=lambda place: confidence[place]):
        if confidence[place] < LEAST:
            continue
        x0, y0, x1, y1 = corners[place]
        ax.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour_of(int(best[place])), linewidth=WIDEST * confidence[place])
        )  # fmt: skip


def _classes(ax, picture, prediction, B, names):
    """The best class of each cell; the colour is the stronger, the larger its score."""
    scores = prediction[:, :, 5 * B :]
    best = scores.argmax(axis=2)
    strength = scores.max(axis=2).clip(0, 1)
    draw_image(ax, picture, grey=picture.ndim == 3)
    wide, high = _cells(picture, best.shape)
    for row, column in np.ndindex(best.shape):
        colour = colour_of(int(best[row, column]))
        ax.add_patch(
            Rectangle((column * wide, row * high), wide, high, facecolor=colour, alpha=0.8 * strength[row, column], linewidth=0)
        )  # fmt: skip
    _lines(ax, picture, best.shape)
    shown = sorted(set(best[strength > 0.5].tolist()))
    handles = [Rectangle((0, 0), 1, 1, facecolor=colour_of(k)) for k in shown]
    if shown:
        told = [name_of(k, names) for k in shown]
        look = {"fontsize": 7, "loc": "upper left", "frameon": True, "framealpha": 0.85, "borderpad": 0.3}
        legend(ax, handles=handles, labels=told, **look)
