"""An image as a sequence of patches: its grid with numbers, and below it the patches in a row.

Not here: cutting (vision/patches.py), what a network makes of the tokens (`activations`, `feature_maps`).
"""

import numpy as np

from minivis.pairs import checked_pair
from minivis.viz.boxes import gallery, picture_of
from minivis.viz.style import BLUE, INK, VERMILION, blank, figure, label

__all__ = ["images_as_tokens", "patch_sequence"]


def patch_sequence(image, patch, marked=(), size=3.2, title=None, caption=None):
    """Show an image cut into patches, numbered in reading order, and the sequence that the patches form.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W)
        Numbers from 0 to 1.
    patch : int or (int, int)
        Height and width of a patch, pixels.
    marked : sequence of int, optional
        Numbers of patches that get a red frame in both pictures.
    size : float, default 3.2
        Width of the image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Patches are counted from 0. Of a long sequence the first, the last and the marked patches are drawn.

    Raises
    ------
    ValueError
        If the patches do not fill the image, or a marked number is no patch.

    References
    ----------
    Slides ``A/72-setr-tokens``, ``H/30-segmentation-as-sequence``.

    Examples
    --------
    >>> fig = patch_sequence(np.ones((3, 8, 12)), 4)
    >>> fig.axes[0].get_xlabel()
    '2 x 3 patches of 4 x 4 pixels'
    """
    picture = picture_of("patch_sequence", image)
    p, q = checked_pair("patch_sequence", "patch", patch)
    rows, columns = _grid("patch_sequence", picture, p, q)
    wrong = [n for n in marked if not 0 <= n < rows * columns]
    if wrong:
        raise ValueError(
            f"patch_sequence: marked has {wrong[0]}, but the patches are 0 to {rows * columns - 1}"
        )
    pieces = [picture[p * i : p * (i + 1), q * j : q * (j + 1)] for i, j in np.ndindex(rows, columns)]
    shown = _shortened(len(pieces), max(6, int(3 * size)), marked)
    tall = size * picture.shape[0] / picture.shape[1]
    wide = max(size + 1.2, 0.62 * len(shown))
    fig, axes = figure(2, 1, wide, tall + 1.5, title, caption, height_ratios=[tall, 0.7])
    _draw_grid(axes[0, 0], picture, (p, q), marked)
    label(axes[0, 0], f"{rows} x {columns} patches of {p} x {q} pixels")
    _draw_sequence(axes[1, 0], pieces, shown, marked)
    return fig


def images_as_tokens(images, patches, titles=None, size=2.0, title=None, caption=None):
    """Show images with the grid of their patches: other patch sizes, or other sizes of the image.

    Parameters
    ----------
    images : sequence of array_like, each (H, W) or (C, H, W)
        Numbers from 0 to 1.
    patches : sequence of int or (int, int)
        Height and width of a patch of each image, pixels.
    titles : sequence of str, optional
        One for each image; default: the number of tokens.
    size : float, default 2
        Width of an image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If images and patches differ in number, or the patches of an image do not fill it.

    References
    ----------
    Slides ``A/74-setr-keeps-resolution``, ``H/34-patch-size``.

    Examples
    --------
    >>> fig = images_as_tokens([np.ones((8, 8)), np.ones((8, 16))], [4, 4])
    >>> [ax.get_title() for ax in fig.axes]
    ['2 x 2 = 4 tokens', '2 x 4 = 8 tokens']
    """
    pictures = [picture_of("images_as_tokens", image) for image in images]
    if len(pictures) != len(patches):
        raise ValueError(f"images_as_tokens: {len(patches)} patch sizes for {len(pictures)} images")
    sides = [checked_pair("images_as_tokens", "patches", patch) for patch in patches]
    grids = [_grid("images_as_tokens", picture, *side) for picture, side in zip(pictures, sides, strict=True)]
    if titles is None:
        titles = [f"{rows} x {columns} = {rows * columns} tokens" for rows, columns in grids]
    fig, axes = gallery("images_as_tokens", pictures, titles, len(pictures), size, title, caption)
    for ax, picture, side in zip(axes, pictures, sides, strict=False):
        _draw_grid(ax, picture, side, ())
    return fig


def _grid(name, picture, p, q):
    """The numbers of rows and columns of patches."""
    height, width = picture.shape[:2]
    if height % p or width % q:
        raise ValueError(f"{name}: patches of {p} x {q} do not fill an image of {height} x {width} pixels")
    return height // p, width // q


def _shortened(count, most, marked):
    """The numbers of the patches to draw: all, or the first, the last and the marked ones, with None for a gap."""
    if count <= most:
        return list(range(count))
    third = max(2, most // 3)
    near = {n + d for n in marked for d in (-1, 0, 1)}
    kept = [n for n in range(count) if n < third or n >= count - third or n in near]
    shown = [kept[0]]
    for n in kept[1:]:
        shown += [n] if n == shown[-1] + 1 else [None, n]
    return shown


def _draw_grid(ax, picture, side, marked):
    """The image with white lines between its patches; small grids get their numbers."""
    height, width = picture.shape[:2]
    p, q = side
    blank(ax)
    ax.imshow(
        np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest"
    )  # fmt: skip
    ax.hlines(np.arange(p, height, p), 0, width, color="white", linewidth=0.8)
    ax.vlines(np.arange(q, width, q), 0, height, color="white", linewidth=0.8)
    for n in marked:
        row, column = divmod(n, width // q)
        x, y = (q * column, q * (column + 1)), (p * row, p * (row + 1))
        ax.plot([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]], color=VERMILION, linewidth=2)
    ax.set(xlim=(0, width), ylim=(height, 0))


def _draw_sequence(ax, pieces, shown, marked):
    """Patches side by side with their numbers, and dots for those that are left out."""
    blank(ax)
    for place, n in enumerate(shown):
        if n is None:
            ax.text(place + 0.45, 0.5, "...", ha="center", va="center", color=INK)
            continue
        ax.imshow(
            np.clip(pieces[n], 0, 1), cmap="gray", vmin=0, vmax=1, extent=(place, place + 0.9, 0, 0.9), aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        edge = VERMILION if n in marked else BLUE
        ax.plot(
            [place, place + 0.9, place + 0.9, place, place], [0, 0, 0.9, 0.9, 0], color=edge, linewidth=1.5
        )
        ax.text(place + 0.45, -0.12, str(n), ha="center", va="top", fontsize=8, color=INK)
    ax.set(xlim=(-0.1, len(shown)), ylim=(-0.55, 1.0), aspect="equal")
    ax.spines[:].set_visible(False)
    label(ax, "the sequence: patches in reading order")
