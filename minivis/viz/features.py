"""Pictures of the features of patches: their main directions as colours, lines between patches that match; stored pictures.

Not here: computing either (analysis/patch_features.py), attention maps (attention.py), a mask on a photo (masks.py).
"""

from pathlib import Path

import numpy as np
from matplotlib.patches import ConnectionPatch

from minivis.viz.boxes import picture_of
from minivis.viz.style import COLOURS, FAINT, array, blank, figure, label

__all__ = ["correspondences", "patch_components", "stored_picture"]


def patch_components(images, components, masks=None, titles=None, size=2.6, title=None, caption=None):
    """Show photos above the main directions of their patches' features, the first three as red, green and blue.

    Parameters
    ----------
    images : sequence of array_like, shape (3, H, W)
        The photos.
    components : sequence of array_like, shape (rows, columns, 3)
        What each patch has along three directions, see `minivis.analysis.principal_components`. Numbers of different
        pictures are on one scale: the same colour means the same features.
    masks : sequence of array_like of bool, shape (rows, columns), optional
        The patches to colour; the others are left white.
    titles : sequence of str, optional
        One for each photo.
    size : float, default 2.6
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the numbers of photos, components and masks differ, or a shape is wrong.

    References
    ----------
    Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024, figure 1.

    Examples
    --------
    >>> fig = patch_components([np.ones((3, 28, 28))], [np.random.default_rng(0).random((2, 2, 3))])
    >>> len(fig.axes)
    2
    """
    name = "patch_components"
    pictures = [picture_of(name, image) for image in images]
    parts = [array(one, "components") for one in components]
    shown = [np.ones(part.shape[:2], bool) for part in parts]
    if masks is not None:
        shown = [array(mask, "masks").astype(bool) for mask in masks]
    if not pictures or len({len(pictures), len(parts), len(shown)}) != 1:
        raise ValueError(f"{name}: {len(pictures)} images, {len(parts)} components and {len(shown)} masks")
    for part, mask in zip(parts, shown, strict=True):
        if part.ndim != 3 or part.shape[2] != 3 or mask.shape != part.shape[:2]:
            raise ValueError(
                f"{name}: components must be (rows, columns, 3) and masks (rows, columns), got {part.shape} and {mask.shape}"
            )
    count = len(pictures)
    cell = size * max(min(p.shape[0] / p.shape[1], 3) for p in pictures)
    fig, axes = figure(2, count, max(size * count, 3.2), 2 * cell + 0.8, title, caption)
    coloured = _as_colours(parts, shown)
    for column, (picture, colours) in enumerate(zip(pictures, coloured, strict=True)):
        axes[0, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes[1, column].imshow(colours, interpolation="nearest")
        label(axes[0, column], title="" if titles is None else str(titles[column]))
    for ax in axes.flat:
        blank(ax)
        ax.spines[:].set(visible=True, color=FAINT, linewidth=0.8)
    return fig


def _as_colours(parts, masks):
    """Each direction from 0 to 1 between its first and last hundredth; white outside the masks."""
    inside = np.concatenate([part[mask] for part, mask in zip(parts, masks, strict=True)])
    inside = inside if len(inside) else np.zeros((1, 3))
    low, high = np.percentile(inside, [1, 99], axis=0)
    coloured = []
    for part, mask in zip(parts, masks, strict=True):
        colours = np.clip((part - low) / np.maximum(high - low, 1e-12), 0, 1)
        coloured.append(np.where(mask[..., None], colours, 1.0))
    return coloured


def correspondences(first, second, start, end, titles=None, size=3.6, title=None, caption=None):
    """Draw two photos beside each other and lines between places that match.

    Parameters
    ----------
    first, second : array_like, shape (3, H, W)
        The photos.
    start, end : array_like, shape (n, 2)
        Row and column of each place in the first and in the second photo, in pixels.
    titles : (str, str), optional
        Names of the photos.
    size : float, default 3.6
        Width of a photo in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Neighbouring lines differ in colour only so that the eye can follow them.

    Raises
    ------
    ValueError
        If start and end are not both (n, 2).

    Examples
    --------
    >>> photo = np.ones((3, 20, 30))
    >>> fig = correspondences(photo, photo, [[5, 5], [10, 20]], [[5, 5], [10, 20]])
    >>> len(fig.artists)
    2
    """
    name = "correspondences"
    pictures = [picture_of(name, image) for image in (first, second)]
    start = array(start, "start")
    end = array(end, "end")
    if start.ndim != 2 or start.shape[1] != 2 or start.shape != end.shape:
        raise ValueError(f"{name}: start and end must both be (n, 2), got {start.shape} and {end.shape}")
    cell = size * max(min(p.shape[0] / p.shape[1], 3) for p in pictures)
    fig, axes = figure(1, 2, 2 * size, cell + 0.6, title, caption)
    for i, (ax, picture) in enumerate(zip(axes[0], pictures, strict=True)):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
        blank(ax)
        label(ax, title="" if titles is None else str(titles[i]))
    for i, (here, there) in enumerate(zip(start, end, strict=True)):
        colour = COLOURS[i % (len(COLOURS) - 1)]  # without black
        for ax, place in zip(axes[0], (here, there), strict=True):
            ax.plot(place[1], place[0], "o", color=colour, markersize=4, markeredgecolor="white")
        line = ConnectionPatch(
            here[::-1],
            there[::-1],
            "data",
            "data",
            axesA=axes[0, 0],
            axesB=axes[0, 1],
            color=colour,
            linewidth=1,
        )
        fig.add_artist(line)
    return fig


class StoredPicture:
    """A picture from a file, shown as a Figure is: once, as a PNG with its caption as alt text."""

    def __init__(self, content, caption):
        self.content = content
        self.caption = caption

    def png(self):
        """The picture as the bytes of a PNG file."""
        return self.content

    def __repr__(self):
        return f"<stored picture: {self.caption}>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        about = {"needs_background": "light", "alt": self.caption}
        return {"image/png": self.content, "text/plain": repr(self)}, {"image/png": about}


def stored_picture(path):
    """A picture that was drawn elsewhere, from weights or data that need not be here.

    Parameters
    ----------
    path : str or path
        A PNG file whose text "Description" is the caption.

    Returns
    -------
    StoredPicture
        To be shown.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a PNG file with a caption.

    Examples
    --------
    >>> stored_picture("no-such.png")
    Traceback (most recent call last):
    FileNotFoundError: stored_picture: there is no picture no-such.png
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"stored_picture: there is no picture {path}")
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            caption = picture.text.get("Description")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"stored_picture: {path} is not a PNG file: {error}") from error
    if not caption:
        raise ValueError(f"stored_picture: {path} has no caption (the text Description)")
    return StoredPicture(path.read_bytes(), caption)
