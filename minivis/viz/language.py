"""Pictures and texts beside each other: the table of their similarities, what is found for a query, classes given in words.

Not here: computing embeddings (models/clip.py), classes of a trained head (classes.py).
"""

import textwrap

import numpy as np
from matplotlib.patches import Rectangle

from minivis.viz.boxes import draw_image, picture_of
from minivis.viz.style import BLUE, FAINT, GREEN, INK, LITERAL, SEQUENTIAL, VERMILION, array, blank, figure

__all__ = ["found_captions", "found_pictures", "similarities", "words_on_pictures"]

SIDE = 1.0  # of a picture, inches
FIELD = 0.62  # of a number in the table, inches


def similarities(pictures, captions, cosines, title=None, caption=None):
    """The table of similarities of a batch: a row for each caption, a column for each picture.

    Parameters
    ----------
    pictures : sequence of array_like, each (C, H, W) with C = 1 or 3
        Above the columns; at least one.
    captions : sequence of str
        Beside the rows.
    cosines : array_like, shape (len(pictures), len(captions))
        Similarity of each picture with each caption, as in CLIP's ``image_embeddings @ text_embeddings.T``.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. The largest number of each column has a frame.

    Raises
    ------
    ValueError
        If there is no picture, or the shape of the table is not that of the lists.

    Examples
    --------
    >>> fig = similarities([np.zeros((3, 8, 8))] * 2, ["a star", "a ring"], np.eye(2))
    >>> [text.get_text() for text in fig.axes[-1].texts]
    ['1.00', '0.00', '0.00', '1.00']
    """
    table = _table("similarities", pictures, captions, cosines).T  # (captions, pictures)
    rows, columns = table.shape
    words = [textwrap.fill(text, 30) for text in captions]
    beside = 2.5
    width = beside + columns * FIELD + 0.1
    height = FIELD + rows * 0.42 + 0.15
    fig, _ = figure(1, 1, width, height + (0.4 if title else 0.05), title, caption)
    for axes in list(fig.axes):
        axes.remove()
    grid = fig.add_gridspec(2, columns, height_ratios=[FIELD, rows * 0.42], hspace=0.02, wspace=0.02)
    for column, picture in enumerate(pictures):
        axes = fig.add_subplot(grid[0, column])
        blank(axes)
        draw_image(axes, picture_of("similarities", picture))
    axes = fig.add_subplot(grid[1, :])
    axes.imshow(table, cmap=SEQUENTIAL, aspect="auto", vmin=min(0.0, table.min()), vmax=table.max())
    middle = (table.max() + min(0.0, table.min())) / 2
    for row, column in np.ndindex(table.shape):
        colour = INK if table[row, column] > middle else "white"
        axes.text(
            column, row, f"{table[row, column]:.2f}", ha="center", va="center", fontsize=8, color=colour
        )
    for column, row in enumerate(table.argmax(axis=0)):
        frame = {"fill": False, "edgecolor": VERMILION, "linewidth": 2}
        axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, **frame))
    axes.set_xticks([])
    axes.set_yticks(range(rows), words, fontsize=8, **LITERAL)
    axes.tick_params(length=0)
    axes.set(xlabel="picture", ylabel="caption")
    return fig


def found_pictures(captions, pictures, cosines, right=None, top=5, title=None, caption=None):
    """Retrieval by text: each caption, and beside it the pictures that are most similar to it.

    Parameters
    ----------
    captions : sequence of str
        The queries, one a row; at least one.
    pictures : sequence of array_like, each (C, H, W) with C = 1 or 3
        What is searched.
    cosines : array_like, shape (len(pictures), len(captions))
        Similarity of each picture with each caption.
    right : bool array_like, shape (len(pictures), len(captions)), optional
        Which pictures fit: their frame is green, that of others red. By default nothing is judged.
    top : int, default 5
        How many pictures are shown for each caption.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is nothing to show, or the shape of the table is not that of the lists.

    Examples
    --------
    >>> fig = found_pictures(["a star"], [np.zeros((3, 8, 8))] * 3, [[0.1], [0.9], [0.4]], top=2)
    >>> [axes.get_title() for axes in fig.axes[1:]]
    ['0.90', '0.40']
    """
    table = _table("found_pictures", pictures, captions, cosines)
    judged = _judged("found_pictures", right, table)
    top = min(top, len(pictures))
    fig, grid = _rows(len(captions), 1 + top, (1 + top) * SIDE + 1.2, title, caption, first=2.2)
    for row, text in zip(range(len(captions)), captions, strict=True):
        _write(grid[row][0], text)
        best = np.argsort(-table[:, row], kind="stable")[:top]
        for axes, i in zip(grid[row][1:], best, strict=True):
            draw_image(axes, picture_of("found_pictures", pictures[i]))
            _frame(axes, None if judged is None else judged[i, row])
            axes.set_title(f"{table[i, row]:.2f}", fontsize=8, pad=2)
    return fig


def found_captions(pictures, captions, cosines, right=None, top=3, title=None, caption=None):
    """Retrieval by picture: each picture, and beside it the captions that are most similar to it.

    Parameters
    ----------
    pictures : sequence of array_like, each (C, H, W) with C = 1 or 3
        The queries, one a row; at least one.
    captions : sequence of str
        What is searched.
    cosines, right, title, caption
        As for `found_pictures`; a caption that fits is green, another one red.
    top : int, default 3
        How many captions are shown for each picture.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is nothing to show, or the shape of the table is not that of the lists.

    Examples
    --------
    >>> fig = found_captions([np.zeros((3, 8, 8))], ["a star", "a ring", "a cross"], [[0.1, 0.9, 0.4]], top=2)
    >>> print(fig.axes[1].texts[0].get_text())
    0.90  a ring
    """
    table = _table("found_captions", pictures, captions, cosines)
    judged = _judged("found_captions", right, table)
    top = min(top, len(captions))
    fig, grid = _rows(len(pictures), 2, 5.6, title, caption, first=0.25)
    for row, picture in zip(range(len(pictures)), pictures, strict=True):
        draw_image(grid[row][0], picture_of("found_captions", picture))
        best = np.argsort(-table[row], kind="stable")[:top]
        axes = grid[row][1]
        axes.set(xlim=(0, 1), ylim=(top - 0.4, -0.6))
        for place, i in enumerate(best):
            colour = INK if judged is None else GREEN if judged[row, i] else VERMILION
            look = {"va": "center", "fontsize": 9, "color": colour, **LITERAL}
            text = textwrap.shorten(captions[i], 60, placeholder=" ...")
            axes.text(0, place, f"{table[row, i]:.2f}  {text}", **look)
    return fig


def words_on_pictures(pictures, words, probabilities, right=None, title=None, caption=None):
    """Classes given in words: each picture, and below it a bar for each word.

    Parameters
    ----------
    pictures : sequence of array_like, each (C, H, W) with C = 1 or 3
        One a column; at least one.
    words : sequence of str
        The classes, in the order of the bars.
    probabilities : array_like, shape (len(pictures), len(words))
        For example the softmax of a CLIP's cosines, times its factor.
    right : sequence of int, optional
        The true class of each picture: its bar is green. By default nothing is judged.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no picture, or the shape of the probabilities is not that of the lists.

    Examples
    --------
    >>> fig = words_on_pictures([np.zeros((3, 8, 8))], ["star", "ring"], [[0.9, 0.1]], right=[0])
    >>> [round(float(bar.get_width()), 1) for bar in fig.axes[1].patches]
    [0.9, 0.1]
    """
    table = _table("words_on_pictures", pictures, words, probabilities)
    if right is not None and len(right) != len(pictures):
        raise ValueError(f"words_on_pictures: {len(right)} true classes for {len(pictures)} pictures")
    columns = len(pictures)
    bars = 0.19 * len(words) + 0.35
    width = columns * 1.25 + 0.9
    fig, axes = figure(
        2, columns, width, 1.25 + bars + (0.4 if title else 0.1), title, caption,
        height_ratios=[1.25, bars],
    )  # fmt: skip
    for column, picture in enumerate(pictures):
        above, below = axes[:, column]
        blank(above)
        draw_image(above, picture_of("words_on_pictures", picture))
        colours = [GREEN if right is not None and right[column] == k else BLUE for k in range(len(words))]
        below.barh(range(len(words)), table[column], color=colours, height=0.7)
        below.set(xlim=(0, 1), ylim=(len(words) - 0.5, -0.5), xlabel="probability")
        below.set_yticks(range(len(words)), words if column == 0 else [], fontsize=8, **LITERAL)
        below.set_xticks([0, 0.5, 1], ["0", "", "1"], fontsize=8)
        below.xaxis.label.set_size(8)
    axes[1, 0].set_ylabel("word", fontsize=8)
    return fig


def _table(name, pictures, texts, numbers):
    """The numbers as an array (pictures, texts), checked."""
    table = array(numbers, "numbers")
    if table.shape != (len(pictures), len(texts)) or not table.size:
        raise ValueError(
            f"{name}: {len(pictures)} pictures and {len(texts)} texts need a table of that shape, with at least one number, "
            f"got {table.shape}"
        )
    return table


def _judged(name, right, table):
    if right is None:
        return None
    right = np.asarray(right)
    if right.shape != table.shape:
        raise ValueError(f"{name}: right must be {table.shape} like the table, got {right.shape}")
    return right


def _rows(rows, columns, width, title, caption, first):
    """A figure of rows whose first column is wider or narrower than the others."""
    height = rows * (SIDE + 0.15) + (0.4 if title else 0.05)
    fig, axes = figure(
        rows, columns, width, height, title, caption, width_ratios=[first, *[1] * (columns - 1)]
    )
    for one in axes.flat:
        blank(one)
    return fig, axes


def _write(axes, text):
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.text(0.97, 0.5, textwrap.fill(text, 24), ha="right", va="center", fontsize=9, color=INK, **LITERAL)


def _frame(axes, fits):
    """A frame around a picture: green, red, or faint if nothing is judged."""
    colour = FAINT if fits is None else GREEN if fits else VERMILION
    left, right = axes.get_xlim()
    top, bottom = axes.get_ylim()
    place = (left, top), right - left, bottom - top
    axes.add_patch(Rectangle(*place, fill=False, edgecolor=colour, linewidth=4))
