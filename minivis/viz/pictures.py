"""Arrays as pictures: images in a grid, matrices as heat maps with their numbers.

Not here: boxes (boxes.py), masks (masks.py) and attention maps (attention.py) over an image.
"""

import numpy as np

from minivis.viz.style import (
    DIVERGING,
    FAINT,
    GREY,
    LITERAL,
    SEQUENTIAL,
    array,
    blank,
    colour_bar,
    figure,
    ink_on,
    label,
    limits,
)

__all__ = ["heatmap", "images"]


def images(
    images, titles=None, columns=None, signed=False, vmin=None, vmax=None, size=1.7, title=None, caption=None
):
    """Show images side by side, each with its name above.

    Parameters
    ----------
    images : array_like or list of array_like
        One image (H, W) or (C, H, W) with C = 1 or 3, a batch (B, C, H, W), or a list of images of any sizes. RGB
        numbers from 0 to 1 (bytes: 0 to 255); other numbers are clipped.
    titles : sequence of str, optional
        One for each image.
    columns : int, optional
        Images in a row; default: at most 8, in rows of equal length if possible.
    signed : bool, default False
        Show one-channel images as signed numbers, purple below 0 and orange above, on one scale with a colour bar.
    vmin, vmax : float, optional
        Values of black and white in one-channel images; default: 0 and 1, or the range of all images if it is wider.
    size : float, default 1.7
        Width of an image in inches.
    title, caption : str, optional
        Above and below the figure.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If a shape is not that of an image, there is no image, or titles and images differ in number.

    Examples
    --------
    >>> len(images(np.zeros((2, 3, 8, 8)), titles=["a", "b"]).axes)
    2
    """
    pictures = _as_list(images)
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"images: {len(titles)} titles for {len(pictures)} images")
    count = len(pictures)
    rows = -(-count // (columns or 8))
    columns = columns or -(-count // rows)
    grey = [p for p in pictures if p.ndim == 2]
    low, high = _range(grey, signed, vmin, vmax)
    tallest = max(p.shape[0] / p.shape[1] for p in pictures)
    cell = size * min(tallest, 3) + (0.3 if titles is not None else 0.08)
    width = max(size * columns + (0.9 if signed else 0.2), 3.2)
    fig, axes = figure(rows, columns, width, rows * cell + (0.4 if title else 0.1), title, caption)
    shown = None
    for i, ax in enumerate(axes.flat):
        blank(ax)
        if i < count:
            look = {"cmap": DIVERGING if signed else GREY, "vmin": low, "vmax": high}
            drawn = ax.imshow(pictures[i], interpolation="nearest", **(look if pictures[i].ndim == 2 else {}))
            shown = drawn if pictures[i].ndim == 2 else shown
            label(ax, title="" if titles is None else str(titles[i]))
            ax.spines[:].set(visible=True, color=FAINT, linewidth=0.8)  # shows where a white image ends
    if signed and shown is not None:
        colour_bar(fig, shown, axes)
    return fig


def _as_list(given):
    """Every image as (H, W) or (H, W, 3), as matplotlib expects."""
    several = isinstance(given, list | tuple) and given and np.ndim(given[0]) > 1  # not a list of rows
    batch = given if several else array(given, "images")
    if not several:
        if batch.ndim not in (2, 3, 4) or not batch.size:
            raise ValueError(f"images: expected (H, W), (C, H, W) or (B, C, H, W), got {batch.shape}")
        batch = batch if batch.ndim == 4 else [batch]
    return [channels_last(array(image, "images")) for image in batch]


def channels_last(image, name="images"):
    """An image as (H, W) or (H, W, 3), as matplotlib expects; ``name`` is the caller, for errors."""
    if image.ndim not in (2, 3) or not image.size or (image.ndim == 3 and image.shape[0] not in (1, 3)):
        raise ValueError(f"{name}: expected (H, W) or (C, H, W) with C = 1 or 3, got {image.shape}")
    if image.dtype.kind != "f":
        image = image / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    if image.ndim == 2 or image.shape[0] == 1:
        return image.reshape(image.shape[-2:])
    return np.clip(image.transpose(1, 2, 0), 0, 1)


def _range(grey, signed, low, high):
    """The values at the ends of the grey (or signed) scale."""
    values = np.concatenate([p.ravel() for p in grey]) if grey else np.zeros(1)
    if signed:
        return limits(values, True, low, high)
    inside = values.min() >= 0 and values.max() <= 1
    found = (0.0, 1.0) if inside else limits(values, False)
    return found[0] if low is None else low, found[1] if high is None else high


def heatmap(
    matrix, x_label="column", y_label="row", values=None, signed=None, x_names=None, y_names=None,
    vmin=None, vmax=None, bar_label="", title=None, caption=None,
):  # fmt: skip
    """Show a matrix as coloured cells; a small one with its numbers in them.

    Parameters
    ----------
    matrix : array_like
        Shape (rows, columns); a vector is shown as one row.
    x_label, y_label : str
        Names of the axes.
    values : bool, optional
        Whether to write the numbers; default: if there are at most 12 columns and 16 rows.
    signed : bool, optional
        Purple below 0 and orange above; default: if there is a negative number.
    x_names, y_names : sequence of str, optional
        Names of the columns and the rows.
    vmin, vmax : float, optional
        Values at the ends of the colour scale.
    bar_label, title, caption : str, optional
        Beside the colour bar, above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If it is not a matrix, is empty, or the names do not fit it.

    Examples
    --------
    >>> heatmap([[1, 2], [3, 4]], caption="Rises to the lower right.").caption
    'Rises to the lower right.'
    """
    cells = np.atleast_2d(array(matrix, "matrix"))
    if cells.ndim != 2 or not cells.size:
        raise ValueError(f"heatmap: expected a matrix (rows, columns), got {cells.shape}")
    rows, columns = cells.shape
    values = rows <= 16 and columns <= 12 if values is None else values
    signed = bool(np.nanmin(cells) < 0) if signed is None else signed
    step = 0.58 if values else min(0.45, 4.6 / max(rows, columns))
    long_table = values and rows > 8 and rows > 1.5 * columns  # rows, not squares
    low_step = 0.36 if long_table else step
    wide = max(step * columns + 1.9, 3.4)
    tall = max(low_step * rows, 0.6) + (1.25 if title else 0.95)
    fig, axes = figure(1, 1, wide, tall, title, caption)
    ax = axes[0, 0]
    (low, high) = limits(cells, signed, vmin, vmax)
    shown = ax.imshow(
        cells, cmap=DIVERGING if signed else SEQUENTIAL, vmin=low, vmax=high, aspect=low_step / step
    )
    if values:
        _write_numbers(ax, cells, shown)
    for axis, names, length in ((ax.xaxis, x_names, columns), (ax.yaxis, y_names, rows)):
        if names is not None and len(names) != length:
            raise ValueError(
                f"heatmap: {len(names)} names for an axis of length {length} (matrix: {cells.shape})"
            )
        axis.set_ticks(
            range(length) if names is not None or length <= 16 else range(0, length, -(-length // 8))
        )
        texts = [str(n) for n in names] if names is not None else axis.get_ticklocs().astype(int)
        axis.set_ticklabels(texts, **LITERAL)
    long = x_names is not None and max(len(str(n)) for n in x_names) * 0.09 > step
    ax.tick_params(axis="x", labelrotation=40 if long else 0)
    ax.spines[:].set_visible(False)
    label(ax, x_label, y_label)
    colour_bar(fig, shown, ax, bar_label)
    return fig


def _write_numbers(ax, cells, shown):
    """Write the number in each cell, white on dark cells and black on light ones."""
    whole = np.isfinite(cells).all() and (cells == np.round(cells)).all()
    for (row, column), number in np.ndenumerate(cells):
        text = f"{number:.0f}" if whole else f"{number:.2f}" if abs(number) < 100 else f"{number:.3g}"
        text = text.lstrip("-") if not text.strip("-0.") else text  # no minus zero
        ink = ink_on(shown.cmap(shown.norm(number)))
        ax.text(column, row, text, ha="center", va="center", fontsize=9, color=ink)
