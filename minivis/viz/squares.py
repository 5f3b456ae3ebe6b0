"""Convolution on squared paper, with a number in each square: small matrices, a filter at each place, its matrix.

Not here: the convolution itself; each function takes the numbers that it shows.
"""

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from minivis.viz import style
from minivis.viz.style import DIVERGING, INK, array, blank, colour_bar, figure, label, limits

__all__ = ["convolution_matrix", "grids", "sliding_window"]

_MOST_PLACES = 30  # nobody reads more pictures than this


def grids(
    matrices, titles=None, marks=None, zeros=True, columns=None, size=0.36, x_label="", y_label="", title=None,
    caption=None,
):  # fmt: skip
    """Show small matrices side by side as squared paper with a number in each square.

    Parameters
    ----------
    matrices : list of array_like
        Each (rows, columns) or (columns,).
    titles : sequence of str, optional
        One for each matrix.
    marks : list of array_like of bool, optional
        For each matrix an array of its shape, True for squares to colour, or None.
    zeros : bool, default True
        Write zeros too; False leaves these squares empty.
    columns : int, optional
        Matrices in a row; default: all of them.
    size : float, default 0.36
        Width of a square in inches.
    x_label, y_label : str
        What the columns and the rows of each matrix are.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If titles or marks and matrices differ in number, or an array is not a matrix.

    Examples
    --------
    >>> len(grids([[[1, 2], [3, 4]], [5, 6]], titles=["a matrix", "a row"]).axes)
    2
    """
    tables = [np.atleast_2d(array(m, "matrices")) for m in matrices]
    for name, given in (("titles", titles), ("marks", marks)):
        if given is not None and len(given) != len(tables):
            raise ValueError(f"grids: {len(given)} {name} for {len(tables)} matrices")
    if not tables or any(t.ndim != 2 or not t.size for t in tables):
        raise ValueError(f"grids: expected matrices (rows, columns), got {[t.shape for t in tables]}")
    columns = min(columns or len(tables), len(tables))
    rows = -(-len(tables) // columns)
    widest, tallest = max(t.shape[1] for t in tables), max(t.shape[0] for t in tables)
    longest = max((len(line) for t in titles or () for line in str(t).split("\n")), default=0)
    wide = columns * max(size * widest + 0.35 + 0.25 * bool(y_label), 0.085 * longest)
    below = 0.2 + 0.3 * (titles is not None) + 0.25 * bool(x_label)
    high = rows * (size * tallest + below) + (0.4 if title else 0)
    fig, axes = figure(rows, columns, max(wide, 3.2), high, title, caption)
    for i, ax in enumerate(axes.flat):
        _paper(ax, widest, tallest)
        if i < len(tables):
            mark = None if marks is None or marks[i] is None else np.atleast_2d(array(marks[i])) > 0
            left, top = (widest - tables[i].shape[1]) / 2, (tallest - tables[i].shape[0]) / 2
            _squares(ax, tables[i], left, top, mark, zeros=zeros)
            label(ax, x_label, y_label, "" if titles is None else str(titles[i]))
    return fig


def sliding_window(x, weight, out, stride=1, padding=0, dilation=1, columns=None, title=None, caption=None):
    """Show a filter at every place of a convolution: its window, its weights, and the sum of the products.

    Parameters
    ----------
    x : array_like, shape (L,) or (H, W)
        Sequence or one-channel image.
    weight : array_like, shape (k,) or (kh, kw)
        Filter with as many axes.
    out : array_like, shape (L',) or (H', W')
        Result of the convolution, one element for each place.
    stride, padding, dilation : int, defaults 1, 0, 1
        As for `mv.ops.conv2d`. Padded zeros are drawn in grey.
    columns : int, optional
        Pictures in a row for a sequence; default: 2. For an image it is the width of ``out``.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: one picture for each element of ``out``.

    Raises
    ------
    ValueError
        If x, weight and out do not all have one axis or all two, ``out`` has more than 30 elements, or a window
        leaves the padded input.

    References
    ----------
    Slides ``Z/4-convolution-1d``, ``Z/11-convolution-2d``.

    Examples
    --------
    >>> fig = sliding_window([1, 4, -1, 0], [1, 2], [9, 2, -1])
    >>> len(fig.axes)
    4
    """
    x = array(x)
    weight = array(weight, "weight")
    out = array(out, "out")
    _check_places(x, weight, out, stride, padding, dilation)
    padded = np.pad(x, padding)
    flat = x.ndim == 1
    outside = ~np.pad(np.ones(x.shape, dtype=bool), padding)
    rows, per_row = (-(-out.size // (columns or 2)), columns or 2) if flat else out.shape
    wide, high = (padded.size, 2.0) if flat else padded.shape[::-1]
    width = per_row * (0.36 * wide + 0.35)
    height = rows * (0.36 * high + 0.42) + (0.4 if title else 0)
    fig, axes = figure(rows, per_row, width, height, title, caption)
    for ax in axes.flat:
        _paper(ax, wide, high)
    for ax, place in zip(axes.flat, np.ndindex(*out.shape), strict=False):
        window = tuple(
            slice(p * stride, p * stride + dilation * (k - 1) + 1, dilation)
            for p, k in zip(place, weight.shape, strict=True)
        )
        inside = np.zeros(padded.shape, dtype=bool)
        inside[window] = True
        _squares(ax, np.atleast_2d(padded), 0, 0, np.atleast_2d(inside), np.atleast_2d(outside))
        draw_weights = _weights_below if flat else _weights_inside
        draw_weights(ax, np.argwhere(inside), weight.ravel())
        words = f"{_sum_of_products(padded[window], weight)} =" if flat else "products sum to"
        label(ax, title=f"{words} {_number(out[place])}")
    return fig


def _check_places(x, weight, out, stride, padding, dilation):
    shapes = f"(x: {x.shape}, weight: {weight.shape}, out: {out.shape})"
    if not (x.ndim == weight.ndim == out.ndim and x.ndim in (1, 2)):
        raise ValueError(f"sliding_window: x, weight and out must all be (L,) or all (H, W) {shapes}")
    if not 1 <= out.size <= _MOST_PLACES:
        raise ValueError(f"sliding_window: out must have 1 to {_MOST_PLACES} elements {shapes}")
    last = [(o - 1) * stride + dilation * (k - 1) + 1 for o, k in zip(out.shape, weight.shape, strict=True)]
    if any(reach > n + 2 * padding for reach, n in zip(last, x.shape, strict=True)):
        raise ValueError(f"sliding_window: out has more places than windows fit into the padded x {shapes}")


def _weights_below(ax, places, weights):
    """Draw the filter as a row under the window of a sequence."""
    for (left,), weight in zip(places, weights, strict=True):
        _square(ax, left, 1.15, weight, style.SKY, size=0.75)


def _weights_inside(ax, places, weights):
    """Write each weight in the corner of the pixel that it multiplies."""
    look = {"fontsize": 6.5, "ha": "right", "va": "bottom", "color": style.BLUE}
    for (row, column), weight in zip(places, weights, strict=True):
        ax.text(column + 0.93, row + 0.93, f"×{_number(weight)}", **look)


def convolution_matrix(matrix, x_shape, y_shape, title=None, caption=None):
    """Show the matrix by which a convolution multiplies its flattened input; white elements are always zero.

    Parameters
    ----------
    matrix : array_like, shape (outputs, inputs)
        The matrix.
    x_shape, y_shape : tuple of int
        Shapes of input and output before flattening, (L,) or (H, W); lines are drawn between their rows.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the shape of the matrix is not (elements of y, elements of x).

    Examples
    --------
    >>> fig = convolution_matrix([[1, 2, 0], [0, 1, 2]], (3,), (2,))
    >>> fig.axes[0].get_ylabel()
    'output element'
    """
    matrix = array(matrix, "matrix")
    if matrix.shape != (np.prod(y_shape), np.prod(x_shape)):
        raise ValueError(
            f"convolution_matrix: matrix is {matrix.shape}, but x is {x_shape} and y is {y_shape}"
        )
    rows, columns = matrix.shape
    step = min(0.45, 5.5 / max(rows, columns))
    fig, axes = figure(1, 1, step * columns + 1.7, step * rows + (1.15 if title else 0.8), title, caption)
    ax = axes[0, 0]
    (low, high) = limits(matrix, True)
    shown = ax.imshow(np.where(matrix == 0, np.nan, matrix), cmap=DIVERGING, vmin=low, vmax=high)
    if columns <= 12:
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                ax.text(
                    j,
                    i,
                    _number(value),
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if abs(value) > 0.6 * high else INK,
                )
    for lines, end, shape in ((ax.axhline, rows, y_shape), (ax.axvline, columns, x_shape)):
        for at in range(end + 1):
            lines(
                at - 0.5,
                color="#888888" if at % shape[-1] == 0 else "#e6e6e6",
                linewidth=1 if at % shape[-1] == 0 else 0.4,
            )
    ax.spines[:].set_visible(False)
    label(ax, "input element", "output element")
    colour_bar(fig, shown, ax, "weight")
    return fig


def _paper(ax, wide, high):
    """Set up axes in units of squares, with the first row on top."""
    blank(ax)
    ax.set(xlim=(-0.1, wide + 0.1), ylim=(high + 0.1, -0.1), aspect="equal")


def _squares(ax, table, left, top, mark=None, outside=None, zeros=True):
    for (row, column), value in np.ndenumerate(table):
        marked = mark is not None and mark[row, column]
        out = outside is not None and outside[row, column]
        colour = style.ORANGE if marked else "#eeeeee" if out else "white"
        _square(ax, left + column, top + row, value if zeros or value else None, colour, faint=out)


def _square(ax, left, top, value, colour, size=1.0, faint=False):
    """Draw a square with a number; marked squares have a light tint, so that the number can be read."""
    face = colour if colour in ("white", "#eeeeee") else to_rgba(colour, 0.45)
    ax.add_patch(Rectangle((left, top), 1, size, facecolor=face, edgecolor="#999999", linewidth=0.7))
    if value is not None:
        text = _number(value)
        small = 9 if len(text) < 4 else 7.5
        ax.text(
            left + 0.5,
            top + size / 2,
            text,
            ha="center",
            va="center",
            fontsize=small,
            color="#888888" if faint else INK,
        )


def _number(value):
    """A number as a short text, with a real minus sign."""
    return f"{value:.3g}".replace("-", "−") if value else "0"


def _sum_of_products(values, weights):
    """The arithmetic of one dot product, such as 1·1 + 4·2 + (−1)·0 + 0·(−1)."""
    factors = [
        [f"({_number(n)})" if n < 0 else _number(n) for n in pair]
        for pair in zip(values, weights, strict=True)
    ]
    return " + ".join("·".join(pair) for pair in factors)
