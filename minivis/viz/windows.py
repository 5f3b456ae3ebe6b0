"""Windows of attention as pictures: regular and shifted windows, before and after the roll; masks; relative indices.

Not here: computing windows, masks and indices, which are in `mv.vision`.
"""

import numpy as np
from matplotlib.colors import to_rgba

from minivis.pairs import checked_pair
from minivis.viz.boxes import colour_of, picture_of
from minivis.viz.squares import grids
from minivis.viz.style import INK, array, blank, figure, label

__all__ = ["relative_index", "shifted_windows", "window_masks"]

_MOST_MASKS = 36  # nobody compares more matrices than this


def shifted_windows(height, width, window, shift, image=None, size=2.6, title=None, caption=None):
    """Show a map cut into windows, cut into shifted windows, and rolled so that shifted windows lie on the regular grid.

    Colours and letters show where each piece of the second picture is in the third. If a window of the third picture
    has several letters, its pieces were not neighbours before the roll: they may not attend to each other.

    Parameters
    ----------
    height, width : int
        Size of the map, in cells (tokens).
    window : int or (int, int)
        Height and width of a window, in cells; they divide the map.
    shift : int or (int, int)
        Cells by which the windows move down and right, less than the window; the map is rolled up and left by the
        same number.
    image : array_like, shape (H, W) or (C, H, W), optional
        Drawn under the cells and rolled with them; its sides are multiples of the map's.
    size : float, default 2.6
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: three pictures.

    Raises
    ------
    ValueError
        If the windows do not divide the map, the map does not divide the image, or the shift is not less than the window.

    References
    ----------
    Liu et al., "Swin Transformer", ICCV 2021, figures 2 and 4.

    Examples
    --------
    >>> [ax.get_title() for ax in shifted_windows(8, 8, 4, 2).axes]
    ['windows', 'windows shifted by (2, 2)', 'rolled by (−2, −2)']
    """
    (wh, ww) = checked_pair("shifted_windows", "window", window)
    (down, right) = checked_pair("shifted_windows", "shift", shift, least=0)
    if height < 1 or width < 1 or wh < 1 or ww < 1 or height % wh or width % ww:
        raise ValueError(f"shifted_windows: windows of {wh} x {ww} do not divide a map of {height} x {width}")
    if not (0 <= down < wh and 0 <= right < ww):
        raise ValueError(
            f"shifted_windows: shift ({down}, {right}) must be 0 to less than the window {wh} x {ww}"
        )
    picture = None if image is None else picture_of("shifted_windows", image)
    if picture is not None and (picture.shape[0] % height or picture.shape[1] % width):
        raise ValueError(
            f"shifted_windows: a map of {height} x {width} does not divide the image {picture.shape[:2]}"
        )
    regions = _regions(height, wh, down)[:, None] * 3 + _regions(width, ww, right)[None, :]  # after the roll
    before = np.roll(regions, (down, right), axis=(0, 1))
    fig, axes = figure(1, 3, 3 * size, size * height / width + (0.75 if title else 0.4), title, caption)
    one = np.zeros_like(regions)
    for ax, numbers, offset, roll, words in (
        (axes[0, 0], one, (0, 0), False, "windows"),
        (axes[0, 1], before, (down, right), False, f"windows shifted by ({down}, {right})"),
        (axes[0, 2], regions, (0, 0), True, f"rolled by ({_minus(down)}, {_minus(right)})"),
    ):
        _draw_map(ax, picture, (down, right) if roll else (0, 0), numbers, paint=numbers is not one)
        _draw_grid(ax, height, width, wh, ww, offset)
        label(ax, title=words)
    return fig


def window_masks(mask, columns=None, titles=None, size=1.5, title=None, caption=None):
    """Show the mask of each window as a matrix: white if a query may attend to a key, dark if not.

    Parameters
    ----------
    mask : array_like of bool, shape (windows, N, N) or (N, N)
        True = may be attended. Rows are queries, columns keys: the cells of a window, counted row by row.
    columns : int, optional
        Matrices in a row; default: the square root of their number, as in a square map, or 4.
    titles : sequence of str, optional
        One for each window; default: its number.
    size : float, default 1.5
        Width of a matrix in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If it is not a stack of 1 to 36 square matrices, or titles differ from them in number.

    Examples
    --------
    >>> len(window_masks(np.ones((4, 9, 9), dtype=bool)).axes)
    4
    """
    mask = array(mask, "mask")
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or mask.shape[1] != mask.shape[2] or not mask.size or len(mask) > _MOST_MASKS:
        raise ValueError(
            f"window_masks: mask must be (windows, N, N) with 1 to {_MOST_MASKS} windows, got {mask.shape}"
        )
    if titles is not None and len(titles) != len(mask):
        raise ValueError(f"window_masks: {len(titles)} titles for {len(mask)} windows")
    root = int(len(mask) ** 0.5)
    columns = min(columns or (root if root * root == len(mask) else 4), len(mask))
    rows = -(-len(mask) // columns)
    wide = max(size * columns + 0.4, 3.2)
    high = rows * (size + 0.25) + (0.9 if title else 0.5)
    fig, axes = figure(rows, columns, wide, high, title, caption)
    for ax in axes.flat[len(mask) :]:
        blank(ax)
    for i, (ax, allowed) in enumerate(zip(axes.flat, mask > 0, strict=False)):
        ax.imshow(allowed, cmap="gray", vmin=-0.35, vmax=1, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set(visible=True, color="#888888", linewidth=0.8)
        name = f"window {i + 1}" if titles is None else str(titles[i])
        label(ax, "key" if i + columns >= len(mask) else "", "query" if i % columns == 0 else "", name)
    return fig


def relative_index(index, window, query=None, title=None, caption=None):
    """Show which entry of the bias table belongs to each pair of cells, for all queries and for one of them.

    Parameters
    ----------
    index : array_like of int, shape (N, N)
        Entry for each query (row) and key (column), from `mv.vision.relative_position_index`.
    window : int or (int, int)
        Height and width of the window; N is their product.
    query : int, optional
        The cell whose row is shown again in the shape of the window; default: the middle one.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: the matrix, and the row of that query in the shape of the window.

    Raises
    ------
    ValueError
        If the index is not (N, N) for that window, N is above 25, or the query is not one of its cells.

    Examples
    --------
    >>> fig = relative_index([[1, 0], [2, 1]], (1, 2))
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['1', '0', '2', '1']
    """
    index = array(index, "index")
    (wh, ww) = checked_pair("relative_index", "window", window)
    cells = wh * ww
    if index.shape != (cells, cells) or not 0 < cells <= 25:
        raise ValueError(
            f"relative_index: index must be (N, N) with N = {wh} x {ww} = {cells} cells, 25 at most, got {index.shape}"
        )
    query = cells // 2 if query is None else query
    if not 0 <= query < cells:
        raise ValueError(f"relative_index: query must be 0 to {cells - 1}, got {query}")
    row, own = np.zeros((cells, cells), bool), np.zeros((wh, ww), bool)
    row[query] = own.flat[query] = True
    names = ["row: query, column: key", f"row {query}, laid out as the window"]
    return grids([index, index[query].reshape(wh, ww)], names, [row, own], title=title, caption=caption)


def _regions(length, window, shift):
    """Region of each cell along one side, after the roll: 0 outside the last window, 1 and 2 before and after its seam."""
    places = np.arange(length)
    return (places >= length - window).astype(int) + (places >= length - shift) if shift else 0 * places


def _minus(number):
    return f"−{number}" if number else "0"


def _draw_map(ax, picture, roll, numbers, paint):
    """Draw the image, rolled, and the colour and letter of each piece."""
    height, width = numbers.shape
    blank(ax)
    ax.set(xlim=(-0.05, width + 0.05), ylim=(height + 0.05, -0.05), aspect="equal")
    extent = (0, width, height, 0)
    if picture is not None:
        by = (-roll[0] * picture.shape[0] // height, -roll[1] * picture.shape[1] // width)
        ax.imshow(np.roll(picture, by, axis=(0, 1)), cmap="gray", vmin=0, vmax=1, extent=extent)
    if not paint:
        return
    found = np.unique(numbers)
    layer = np.zeros((height, width, 4))
    for place, number in enumerate(found):
        layer[numbers == number] = to_rgba(colour_of(place), 0.45 if picture is not None else 0.55)
    ax.imshow(layer, extent=extent, interpolation="nearest")
    for place, number in enumerate(found):
        for y, x in _parts(numbers == number):
            paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
            ax.text(x, y, "ABCDEFGHI"[place], ha="center", va="center", fontsize=9, color=INK, bbox=paper)


def _parts(mask):
    """Centres (y, x) of the rectangles of a region; before the roll it may have parts at both ends of the map."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    runs = [np.split(side, np.flatnonzero(np.diff(side) > 1) + 1) for side in (rows, columns)]
    return [(r.mean() + 0.5, c.mean() + 0.5) for r in runs[0] for c in runs[1]]


def _draw_grid(ax, height, width, wh, ww, offset):
    """Thin lines between cells, thick ones between windows."""
    for draw, length, window, begin in (
        (ax.hlines, height, wh, offset[0]),
        (ax.vlines, width, ww, offset[1]),
    ):
        other = width if draw == ax.hlines else height
        draw(np.arange(length + 1), 0, other, color="#999999", linewidth=0.4)
        edges = sorted({0, length, *range(begin, length, window)})
        draw(edges, 0, other, color="white", linewidth=3.2)
        draw(edges, 0, other, color=INK, linewidth=1.8)
