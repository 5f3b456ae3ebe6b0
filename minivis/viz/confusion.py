"""The mistakes of a classifier: how often each class is taken for each other one, and the pictures it was most wrong about.

Not here: counting (minivis.metrics.confusion_matrix).
"""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from minivis.viz.boxes import draw_image, picture_of
from minivis.viz.style import BLUE, INK, LITERAL, array, blank, colour_bar, figure, ink_on, label

__all__ = ["confusion_matrix", "worst_mistakes"]

# White is nothing: in a table of few mistakes the empty cells should not draw the eye.
SHARES = LinearSegmentedColormap.from_list("shares", ["white", BLUE])
# The numbers of classes above which cells and letters become smaller, and zeros are not written any more.
MEDIUM, LARGE = 12, 20


def confusion_matrix(counts, names=None, title=None, caption=None):
    """Show how often each true class (row) was predicted as each class (column).

    Parameters
    ----------
    counts : array_like, shape (K, K)
        As `minivis.metrics.confusion_matrix` returns them; K at least 1.
    names : sequence of str, optional
        The classes; default: their numbers. Long names are shortened.
    title, caption : str, optional
        Above and below. The default caption says how to read the matrix and names the commonest mistake.

    Returns
    -------
    Figure
        To be shown. A number is how many pictures, a colour their share of the row.

    Raises
    ------
    ValueError
        If the counts are not (K, K) or negative, or the names are not K.

    Examples
    --------
    >>> fig = confusion_matrix([[8, 2], [0, 10]], ["cat", "dog"])
    >>> print(fig.caption)
    A row holds the pictures of a class, a column what was predicted; the colour is the share of the row. Right predictions lie on the diagonal: 18 of 20 (90.0 %). The commonest mistake: "cat" taken for "dog", 2 times.
    """
    counts = np.rint(array(counts, "counts")).astype(int)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size or counts.min() < 0:
        raise ValueError(f"confusion_matrix: counts must be (K, K), none below 0, got shape {counts.shape}")
    K = len(counts)
    names = [str(k) for k in range(K)] if names is None else [_one_line(name) for name in names]
    if len(names) != K:
        raise ValueError(f"confusion_matrix: {len(names)} names for {K} classes")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = 0.55 if K <= MEDIUM else 0.32 if K <= LARGE else 0.26
    beside = 0.085 * max(map(len, names))  # inches for the names
    side = max(K * cell, 2.2)
    caption = _how_to_read(counts, names) if caption is None else caption
    fig, axes = figure(1, 1, side + beside + 1.5, side + beside + 0.6 + (0.4 if title else 0), title, caption)
    ax = axes[0, 0]
    drawn = ax.imshow(shares, cmap=SHARES, vmin=0, vmax=1)
    _write_counts(ax, counts, shares, size=9 if cell > 0.5 else 7 if K <= LARGE else 6)
    small = {"fontsize": 9 if cell > 0.3 else 8, **LITERAL}
    steep = {"rotation": 90} if max(map(len, names)) * 0.085 > side / K else {}
    ax.set_xticks(range(K), names, **small, **steep)
    ax.set_yticks(range(K), names, **small)
    ax.set_xticks(np.arange(K + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(K + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#e6e6e6", linewidth=0.7)
    ax.tick_params(which="both", length=0)
    label(ax, "predicted class", "true class")
    colour_bar(fig, drawn, axes, "share of the row")
    return fig


def _write_counts(ax, counts, shares, size):
    """The numbers in the cells; in a large matrix not the zeros."""
    for row, column in np.ndindex(counts.shape):
        if counts[row, column] or len(counts) <= MEDIUM:
            many = counts[row, column]
            text = (
                f"{many}"
                if many < 10_000
                else f"{many / 1000:.0f}k"
                if many < 10**7
                else f"{many / 10**6:.0f}M"
            )
            ink = ink_on(SHARES(shares[row, column])[:3]) if many else "#b0b0b0"
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)


def _how_to_read(counts, names):
    """The caption: what a cell is, how many are right, and the commonest mistake."""
    told = (
        "A row holds the pictures of a class, a column what was predicted; the colour is the share of the row. "
        f"Right predictions lie on the diagonal: {counts.trace()} of {counts.sum()}"
    )
    if not counts.sum():
        return told + "."
    told += f" ({100 * counts.trace() / counts.sum():.1f} %)."
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return told + " There is no mistake."
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    many = wrong[row, column]
    times = "once" if many == 1 else f"{many} times"
    return f'{told} The commonest mistake: "{names[row]}" taken for "{names[column]}", {times}.'


def worst_mistakes(images, truth, predicted, scores, names=None, count=12, title=None, caption=None):
    """Show the pictures whose wrong class was predicted with the highest probability.

    Parameters
    ----------
    images : sequence of array_like
        N pictures (C, H, W) or (H, W) of any sizes, such as a batch; or anything with ``len()`` and ``[i]`` that gives
        them, so that only those that are drawn have to be read.
    truth, predicted : array_like, shape (N,)
        The true and the predicted classes, whole numbers.
    scores : array_like, shape (N,)
        The probability of the predicted class.
    names : sequence of str, optional
        The classes by number; default: the numbers.
    count : int, default 12
        At most so many pictures.
    title, caption : str, optional
        Above and below. The default caption says how many mistakes there are.

    Returns
    -------
    Figure
        To be shown; a sentence if there is no mistake.

    Raises
    ------
    ValueError
        If the lists differ in length, `count` is below 1, or a class has no name.

    Examples
    --------
    >>> fig = worst_mistakes(np.zeros((3, 1, 8, 8)), [0, 1, 1], [0, 0, 0], [0.9, 0.6, 0.8], ["cat", "dog"])
    >>> [ax.get_title() for ax in fig.axes]
    ['dog\\ntaken for cat, 0.80', 'dog\\ntaken for cat, 0.60']
    """
    truth, predicted, scores = (
        array(x, name) for x, name in ((truth, "truth"), (predicted, "predicted"), (scores, "scores"))
    )
    if not len(images) == len(truth) == len(predicted) == len(scores):
        raise ValueError(
            f"worst_mistakes: {len(images)} images, {len(truth)} true classes, {len(predicted)} predicted ones and "
            f"{len(scores)} scores must be equally many"
        )
    if count < 1:
        raise ValueError(f"worst_mistakes: count must be at least 1, got {count}")
    if names is not None and len(truth) and max(truth.max(), predicted.max()) >= len(names):
        raise ValueError(
            f"worst_mistakes: class {max(truth.max(), predicted.max())} has no name; there are {len(names)}"
        )
    wrong = np.flatnonzero(truth != predicted)
    if not len(wrong):
        return _no_mistake(len(truth), title, caption)
    shown = wrong[np.argsort(-scores[wrong], kind="stable")][:count]
    if caption is None:
        caption = (
            f"{len(wrong)} of {len(truth)} pictures got a wrong class"
            f"{'' if len(shown) == len(wrong) else f'; here are {len(shown)}'}, the most confident mistake first. Above each: "
            "its true class, and what it was taken for with which probability."
        )
    told = [
        f"{_named(names, truth[i])}\ntaken for {_named(names, predicted[i])}, {scores[i]:.2f}" for i in shown
    ]
    return _grid([images[int(i)] for i in shown], told, title, caption)


def _grid(images, titles, title, caption):
    """Pictures in rows of four, each with two lines above."""
    pictures = [picture_of("worst_mistakes", image) for image in images]
    columns = min(4, max(2, len(pictures)))
    rows = -(-len(pictures) // columns)
    fig, axes = figure(rows, columns, 2.3 * columns, 2.75 * rows + (0.4 if title else 0.1), title, caption)
    for ax in axes.flat:
        blank(ax)
    for ax, picture, told in zip(axes.flat, pictures, titles, strict=False):
        draw_image(ax, picture)
        ax.set_title(told, fontsize=9, color=INK, **LITERAL)
    fig.draw_without_rendering()  # upright pictures get their height only now; without this the first titles are cut
    return fig


def _no_mistake(total, title, caption):
    fig, axes = figure(1, 1, 5, 1 + (0.4 if title else 0), title, caption)
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, f"No mistake among {total} pictures", ha="center", va="center", fontsize=11)
    return fig


def _named(names, k):
    return str(k) if names is None else _one_line(names[int(k)], 17)


def _one_line(name, longest=24):
    """A name on one line, without control characters, and not too long."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(name).split()))
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
