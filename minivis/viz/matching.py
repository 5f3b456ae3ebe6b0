"""Matching as pictures: the table of costs with the matched pairs marked, and matched boxes on the image.

Not here: computing the matching; see `mv.vision.linear_sum_assignment`.
"""

import numpy as np
from matplotlib.patches import Rectangle

from minivis.viz.boxes import (
    colour_of,
    corners_of,
    draw_boxes,
    draw_image,
    draw_tags,
    gallery,
    name_of,
    per_box,
    picture_of,
)  # fmt: skip
from minivis.viz.pictures import heatmap
from minivis.viz.style import VERMILION, array

__all__ = ["cost_matrix", "matched_boxes"]


def cost_matrix(
    cost, matches=None, x_label="target", y_label="prediction", x_names=None, y_names=None, values=None,
    title=None, caption=None,
):  # fmt: skip
    """Show a table of costs as coloured cells with their numbers; matched pairs are framed, the title has their total cost.

    Parameters
    ----------
    cost : array_like, shape (N, M)
        Cost of each pair.
    matches : (array_like of int, array_like of int), optional
        Rows and columns of the matched pairs.
    x_label, y_label : str
        Names of the axes.
    x_names, y_names : sequence of str, optional
        Names of the columns and the rows.
    values : bool, optional
        Whether to write the numbers; default: if there are at most 12 columns and 16 rows.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the cost is not a matrix, the names do not fit it, or a matched pair is not in it.

    Examples
    --------
    >>> fig = cost_matrix([[4, 1], [2, 3]], matches=([0, 1], [1, 0]))
    >>> fig.axes[0].get_title()
    'framed: 1 + 2 = 3'
    """
    cost = array(cost, "cost")
    if cost.ndim != 2 or not cost.size:
        raise ValueError(f"cost_matrix: cost must be (N, M) and not empty, got {cost.shape}")
    # signed=False: costs are compared with each other, not with zero.
    fig = heatmap(
        cost, x_label, y_label, values, signed=False, x_names=x_names, y_names=y_names,
        bar_label="cost", title=title, caption=caption,
    )  # fmt: skip
    if matches is not None:
        rows, columns = _pairs("cost_matrix", matches, cost.shape)
        ax = fig.axes[0]
        for row, column in zip(rows, columns, strict=True):
            for colour, width in (("white", 5.0), (VERMILION, 2.6)):
                frame = Rectangle(
                    (column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=colour, linewidth=width
                )
                ax.add_patch(frame)
        ax.set_title(_sum(cost[rows, columns], fig.get_figwidth()), fontsize=10)
    return fig


def matched_boxes(
    image, boxes, targets, matches, labels=None, target_labels=None, names=None, normalised=False, size=4.0,
    title=None, caption=None,
):  # fmt: skip
    """Draw true boxes and the predictions matched to them: each pair has one colour and is joined by a line.

    True boxes have solid lines, predictions dashed ones; unmatched predictions are black and dotted.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    boxes : array_like, shape (N, 4)
        Predicted boxes (x0, y0, x1, y1) in pixels.
    targets : array_like, shape (T, 4)
        True boxes.
    matches : (array_like of int, array_like of int)
        Numbers of the predictions and of the targets of all pairs.
    labels, target_labels : array_like of int, shapes (N,) and (T,), optional
        Classes, for the tags; without them a tag is the number of the prediction or target.
    names : sequence or dict of int to str, optional
        Name of each label.
    normalised : bool, default False
        Boxes and targets are (centre x, centre y, width, height) as fractions of the image.
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
        If boxes, labels or matches do not fit each other.

    Examples
    --------
    >>> fig = matched_boxes(np.ones((8, 8)), [[1, 1, 4, 4], [0, 0, 8, 8]], [[2, 2, 5, 5]], ([0], [0]))
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['target 0', 'prediction 0']
    """
    name = "matched_boxes"
    picture = picture_of(name, image)
    boxes = corners_of(name, boxes, picture, normalised)
    targets = corners_of(name, targets, picture, normalised, "targets")
    labels = per_box(name, "labels", labels, boxes)
    target_labels = per_box(name, "target_labels", target_labels, targets)
    found, true = _pairs(name, matches, (len(boxes), len(targets)))
    fig, (ax,) = gallery(name, [picture], None, 1, size, title, caption)
    draw_image(ax, picture, np.concatenate([boxes, targets]), grey=True)
    left = np.setdiff1d(np.arange(len(boxes)), found)
    draw_boxes(ax, boxes[left], colours=["#222222"] * len(left), width=1.8, line=(0, (1, 1.4)))
    colours = [colour_of(i) for i in range(len(targets))]
    draw_boxes(ax, targets, colours=colours, width=2.4)
    draw_boxes(ax, boxes[found], colours=[colours[t] for t in true], line=(0, (3, 2)))
    for p, t in zip(found, true, strict=True):
        (x0, y0), (x1, y1) = ((box[:2] + box[2:]) / 2 for box in (boxes[p], targets[t]))
        for colour, width in (("white", 3.2), (colours[t], 1.6)):
            ax.plot([x0, x1], [y0, y1], color=colour, linewidth=width, marker="o", markersize=3 + width / 3)
    words = [
        f"target {i}" if target_labels is None else name_of(target_labels[i], names)
        for i in range(len(targets))
    ]
    words += [f"prediction {i}" if labels is None else f"{name_of(labels[i], names)}?" for i in found]
    draw_tags(ax, [*targets, *boxes[found]], words, [*colours, *(colours[t] for t in true)])
    return fig


def _pairs(name, matches, shape):
    """Rows and columns of the matched pairs, checked: a wrong one would mark nothing, or the wrong cell."""
    rows, columns = (np.asarray(array(side, "matches"), dtype=int).reshape(-1) for side in matches)
    if len(rows) != len(columns):
        raise ValueError(f"{name}: matches has {len(rows)} rows and {len(columns)} columns")
    for side, length in ((rows, shape[0]), (columns, shape[1])):
        if len(side) and not (0 <= side.min() and side.max() < length):
            raise ValueError(f"{name}: matches has {side.tolist()}, but there are 0 to {length - 1}")
    return rows, columns


def _sum(costs, room):
    """A title such as 'framed: 1 + 2 = 3', or only the sum if ``room`` (inches) is too small; with real minus signs."""
    digits = 0 if (costs == np.round(costs)).all() else 2
    total = f"{costs.sum():.{digits}f}"
    parts = [f"{cost:.{digits}f}" for cost in costs]
    text = " + ".join(f"({part})" if part.startswith("-") else part for part in parts) + f" = {total}"
    if len(costs) < 2:
        text = total
    elif len(costs) > 6 or 0.08 * len("framed: " + text) > room:  # 0.08: a character of the title
        text = f"{len(costs)} cells, together {total}"
    return "framed: " + text.replace("-", "−")
