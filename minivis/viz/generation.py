"""What a generator draws: a row for each class, and beside it the nearest training picture of each drawing.

Not here: drawing the pictures, finding their neighbours (metrics/generation.py).
"""

import numpy as np

from minivis.viz.pictures import channels_last
from minivis.viz.style import FAINT, GREY, LITERAL, array, figure, label

__all__ = ["samples_by_class"]

GAP = 1  # pixels between two pictures


def samples_by_class(
    images, labels, neighbours=None, names=None, columns=None, size=0.42, titles=("drawn", "nearest training picture"),
    title=None, caption=None,
):  # fmt: skip
    """Show drawn pictures in rows, one for each class, and beside them the picture that is nearest to each.

    Parameters
    ----------
    images : array_like, shape (B, C, H, W)
        The pictures, numbers from 0 to 1; C is 1 or 3.
    labels : array_like of int, shape (B,)
        The class that each was asked for. Each class is one row, in increasing order.
    neighbours : array_like, shape (B, C, H, W), optional
        For each picture the nearest one of the training set; they are shown in the same places of a second grid.
    names : sequence or dict of int to str, optional
        Names of the classes; default: their numbers.
    columns : int, optional
        Pictures of each class at most, the first ones; default: all.
    size : float, default 0.42
        Width of a picture in inches.
    titles : (str, str)
        Above the two grids.
    title, caption : str, optional
        Above and below the figure.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If images, labels and neighbours do not fit, or there are no images.

    References
    ----------
    Zhang et al., "Self-attention generative adversarial networks", ICML 2019, figure 6. Slide ``A/12-sagan``.

    Examples
    --------
    >>> fig = samples_by_class(np.zeros((4, 1, 8, 8)), np.array([0, 1, 0, 1]))
    >>> [text.get_text() for text in fig.axes[0].get_yticklabels()]
    ['0', '1']
    """
    images = array(images, "images")
    labels = np.asarray(labels)
    if images.ndim != 4 or labels.shape != images.shape[:1] or not images.size:
        raise ValueError(
            f"samples_by_class: images must be (B, C, H, W) and labels (B,), got {images.shape} and {labels.shape}"
        )
    grids = [images]
    if neighbours is not None:
        neighbours = array(neighbours, "neighbours")
        if neighbours.shape != images.shape:
            raise ValueError(
                f"samples_by_class: neighbours must have the shape of images {images.shape}, got {neighbours.shape}"
            )
        grids.append(neighbours)
    classes = np.unique(labels)
    rows = [np.flatnonzero(labels == k)[:columns] for k in classes]
    across = max(map(len, rows))
    cell = size * images.shape[2] / images.shape[3]
    width = len(grids) * (size * across + 0.3) + 0.5
    fig, axes = figure(
        1, len(grids), max(width, 3.2), cell * len(rows) + 0.5 + (0.3 if title else 0), title, caption
    )
    for ax, grid, heading in zip(axes.flat, grids, titles, strict=False):
        _draw(ax, [[channels_last(grid[i], "samples_by_class") for i in row] for row in rows], across)
        label(ax, title=heading if len(grids) > 1 else "")
    names = {k: str(k) for k in classes.tolist()} if names is None else names
    _name_rows(axes.flat[0], [str(names[k]) for k in classes.tolist()], images.shape[2])
    return fig


def _draw(ax, rows, across):
    """All pictures of a grid as one picture, with a thin line between them."""
    height, width = rows[0][0].shape[:2]
    colour = rows[0][0].shape[2:]
    whole = np.ones((len(rows) * (height + GAP) + GAP, across * (width + GAP) + GAP, *colour))
    whole *= 0.75
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top = GAP + i * (height + GAP)
            left = GAP + j * (width + GAP)
            whole[top : top + height, left : left + width] = np.clip(picture, 0, 1)
    ax.imshow(whole, cmap=GREY, vmin=0, vmax=1, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.8)


def _name_rows(ax, names, height):
    """The classes at the left, each in the middle of its row."""
    ax.set_yticks([GAP + i * (height + GAP) + (height - 1) / 2 for i in range(len(names))], names, **LITERAL)
    ax.tick_params(axis="y", length=0)
    label(ax, y="class asked for", title=ax.get_title())
