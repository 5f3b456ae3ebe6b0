"""Kernels of filters at several places of an image: how each weighs the pixels around.

Not here: computing them (minivis.vision.filters, minivis.vision.steering), learned filters (filter_bank.py).
"""

from minivis.viz.boxes import picture_of
from minivis.viz.style import FAINT, GREY, INK, LITERAL, SEQUENTIAL, VERMILION, array, blank, figure, label

__all__ = ["kernels_at"]


def kernels_at(image, places, kernels, size=1.25, title=None, caption=None):
    """Show what different filters weigh at the same places: a row for each place, a column for each filter.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W)
        The image, with C = 1 or 3.
    places : dict of str to (int, int)
        Name of a place to the row and column of its pixel.
    kernels : dict of str to list of array_like
        Name of a filter to its kernels, one for each place in the same order: square, of odd sides.
    size : float, default 1.25
        Width of a kernel in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. The first column is the part of the image under the largest kernel, with a cross at the pixel. Each
        kernel is bright at its largest weight and dark at 0; the number below is its largest weight.

    Raises
    ------
    ValueError
        If a filter does not have a square kernel of odd side for each place, or a place is not in the image.

    References
    ----------
    Slide ``A/7-kernels-that-adapt``.

    Examples
    --------
    >>> import numpy as np
    >>> len(kernels_at(np.eye(9), {"corner": (0, 0)}, {"box": [np.ones((3, 3)) / 9]}).axes)
    2
    """
    picture = picture_of("kernels_at", image)
    found = {name: [array(k, name) for k in given] for name, given in kernels.items()}
    _check(picture, places, found)
    reach = max(len(k) for given in found.values() for k in given) // 2
    rows = len(places)
    columns = 1 + len(found)
    high = (size + 0.25) * rows + (0.6 if title else 0.3)
    fig, axes = figure(rows, columns, max(size * columns + 0.5, 3.2), high, title, caption)
    for row, (name, (y, x)) in zip(axes, places.items(), strict=True):
        _draw_part(row[0], picture, y, x, reach)
        row[0].set_ylabel(name, fontsize=10, color=INK, **LITERAL)
        for ax, given in zip(row[1:], found.values(), strict=True):
            kernel = given[list(places).index(name)]
            blank(ax)
            ax.imshow(kernel, cmap=SEQUENTIAL, vmin=0, vmax=max(kernel.max(), 1e-12), interpolation="nearest")
            label(ax, x=f"{kernel.max():.3f}")
    for ax, name in zip(axes[0], ["image", *found], strict=True):
        ax.set_title(name, fontsize=10, color=INK, **LITERAL)
    return fig


def _check(picture, places, found):
    if not places or not found:
        raise ValueError("kernels_at: there is no place or no filter to show")
    for name, (y, x) in places.items():
        if not (0 <= y < picture.shape[0] and 0 <= x < picture.shape[1]):
            raise ValueError(f"kernels_at: {name} {(y, x)} is not in the image {picture.shape[:2]}")
    for name, given in found.items():
        square = all(k.ndim == 2 and k.shape[0] == k.shape[1] and len(k) % 2 for k in given)
        if len(given) != len(places) or not square:
            raise ValueError(
                f"kernels_at: {name} needs a square kernel of odd side for each of {len(places)} places, got "
                f"{[k.shape for k in given]}"
            )


def _draw_part(ax, picture, y, x, reach):
    """The image around a pixel, grey where it ends, and a cross."""
    blank(ax)
    low, high = (0, 1) if picture.ndim == 3 else (picture.min(), picture.max())
    ax.set_facecolor(FAINT)
    ax.imshow(picture, cmap=GREY, vmin=min(low, 0), vmax=max(high, 1), interpolation="nearest")
    ax.plot(x, y, "+", color=VERMILION, markersize=9, markeredgewidth=2)
    ax.set_xlim(x - reach - 0.5, x + reach + 0.5)
    ax.set_ylim(y + reach + 0.5, y - reach - 0.5)
