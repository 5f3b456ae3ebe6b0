"""Pictures of set prediction: the box that encloses two boxes, and where each query of a detector predicts its boxes.

Not here: boxes on images (boxes.py), the matching (matching.py).
"""

import numpy as np
from matplotlib.patches import Patch, Rectangle

from minivis.viz.boxes import gallery
from minivis.viz.style import BLUE, GREEN, INK, ORANGE, array, figure, label, legend

__all__ = ["boxes_of_queries", "enclosing_boxes"]


def enclosing_boxes(first, second, titles=None, size=1.9, title=None, caption=None):
    """Draw pairs of boxes, and in grey the smallest box that encloses both: what generalised IoU looks at.

    Parameters
    ----------
    first, second : array_like, shape (N, 4)
        Corners (x0, y0, x1, y1) of the boxes of each pair.
    titles : sequence of str, optional
        One for each pair.
    size : float, default 1.9
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. All pictures have one scale.

    Raises
    ------
    ValueError
        If first and second are not (N, 4), or there is not one title for each pair.

    References
    ----------
    Slide ``A/64-box-loss``.

    Examples
    --------
    >>> fig = enclosing_boxes([[0, 0, 1, 1]], [[2, 0, 3, 1]], ["apart"])
    >>> [float(patch.get_width()) for patch in fig.axes[0].patches]
    [3.0, 1.0, 1.0]
    """
    first, second = array(first, "first").astype(float), array(second, "second").astype(float)
    if first.ndim != 2 or first.shape[1:] != (4,) or first.shape != second.shape or not len(first):
        raise ValueError(
            f"enclosing_boxes: first and second must be (N, 4), got {first.shape} and {second.shape}"
        )
    if titles is not None and len(titles) != len(first):
        raise ValueError(f"enclosing_boxes: {len(titles)} titles for {len(first)} pairs")
    around = np.concatenate([np.minimum(first, second)[:, :2], np.maximum(first, second)[:, 2:]], axis=1)
    left, top = around[:, :2].min(axis=0)
    right, bottom = around[:, 2:].max(axis=0)
    shape = np.empty((max(1, round(100 * (bottom - top) / (right - left))), 100))
    fig, axes = gallery("enclosing_boxes", [shape] * len(first), titles, len(first), size, title, caption)
    fig.set_size_inches(fig.get_size_inches() + [0, 0.3])  # titles of two lines
    edge = 0.03 * (right - left)
    for ax, *boxes in zip(axes, around, first, second, strict=True):
        for (x0, y0, x1, y1), colour, strength in zip(boxes, ("#bbbbbb", BLUE, ORANGE), (0.6, 0.8, 0.7), strict=True):  # fmt: skip
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=colour, alpha=strength))
        ax.set(xlim=(left - edge, right + edge), ylim=(bottom + edge, top - edge), aspect="equal")
    return fig


def boxes_of_queries(boxes, counts=None, large=0.3, columns=8, size=1.25, title=None, caption=None):
    """Show where each query of a detector predicts its boxes: a square for each query, a point for each image.

    Parameters
    ----------
    boxes : array_like, shape (B, Q, 4)
        Centre, width and height of the box of each query in each image, as fractions of the image.
    counts : array_like of int, shape (Q,), optional
        How many objects each query found; written above its square.
    large : float, default 0.3
        A box whose longer side is at least this fraction of the image is large.
    columns : int, default 8
        Squares in a row.
    size : float, default 1.25
        Width of a square in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. A point is the centre of a box, and its colour the kind: small, large and wide, large and tall.

    Raises
    ------
    ValueError
        If boxes are not (B, Q, 4), or there is not one count for each query.

    References
    ----------
    Slide ``A/66-queries-specialise``.

    Examples
    --------
    >>> fig = boxes_of_queries([[[0.5, 0.5, 0.1, 0.1], [0.2, 0.8, 0.5, 0.1]]], counts=[1, 0])
    >>> [ax.get_title() for ax in fig.axes]
    ['query 0: 1', 'query 1: 0']
    """
    boxes = array(boxes, "boxes")
    if boxes.ndim != 3 or boxes.shape[2] != 4 or not boxes.size:
        raise ValueError(f"boxes_of_queries: boxes must be (B, Q, 4), got {boxes.shape}")
    Q = boxes.shape[1]
    if counts is not None and len(counts) != Q:
        raise ValueError(f"boxes_of_queries: {len(counts)} counts for {Q} queries")
    width, height = boxes[..., 2], boxes[..., 3]
    big = np.maximum(width, height) >= large
    kinds = {
        "small": ~big,
        "large and wide": big & (width >= height),
        "large and tall": big & (width < height),
    }
    columns = min(columns, Q)
    rows = -(-Q // columns)
    fig, axes = figure(rows, columns, max(size * columns, 3.2), rows * (size + 0.3) + 0.7, title, caption)
    for ax in axes.ravel()[Q:]:
        ax.set_visible(False)
    for q, ax in enumerate(axes.ravel()[:Q]):
        for colour, chosen in zip((BLUE, ORANGE, GREEN), kinds.values(), strict=True):
            x, y = boxes[chosen[:, q], q, :2].T
            ax.plot(x, y, ".", color=colour, markersize=2.5)
        ax.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=INK, linewidth=0.6)
        label(ax, title=f"query {q}" + ("" if counts is None else f": {int(counts[q])}"))
    patches = [Patch(facecolor=colour, label=name) for colour, name in zip((BLUE, ORANGE, GREEN), kinds, strict=True)]  # fmt: skip
    fig.set_size_inches(fig.get_size_inches() + [1.3, 0])
    legend(fig, handles=patches, loc="outside right center", fontsize=9)
    return fig
