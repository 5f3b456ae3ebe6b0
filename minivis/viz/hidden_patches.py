"""Pictures of a masked autoencoder: the image, what is left of it, and how the hidden patches were painted.

Not here: what paints them (models/mae.py).
"""

import numpy as np

from minivis.backend import to_numpy
from minivis.viz.pictures import channels_last
from minivis.viz.style import FAINT, blank, figure, label
from minivis.viz.style import array as as_array

__all__ = ["masked_pictures"]

HIDDEN = 0.5  # the grey of a hidden patch


def masked_pictures(images, mask, patch, paintings, size=1.5, title=None, caption=None):
    """Show images, the patches of them that are visible, and pictures in which the hidden patches are painted: a row each.

    Parameters
    ----------
    images : array_like, shape (B, C, H, W)
        RGB or grey, from 0 to 1.
    mask : array_like of bool, shape (B, N)
        True = hidden; patches in reading order.
    patch : int
        Side of a patch, pixels.
    paintings : dict of str to array_like, shape (B, C, H, W)
        Titles of the other columns, and their pictures.
    size : float, default 1.5
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
        If there is no image, the mask does not fit the patches, or paintings have another shape than the images.

    Examples
    --------
    >>> fig = masked_pictures(np.ones((1, 1, 4, 4)), [[True, False, False, False]], 2, {"painted": np.zeros((1, 1, 4, 4))})
    >>> [ax.get_title() for ax in fig.axes]
    ['image', 'visible', 'painted']
    """
    images = as_array(images, "images")
    # not as_array, which makes floats of booleans
    mask = np.asarray(mask if isinstance(mask, list | tuple) else to_numpy(mask))
    paintings = {str(name): as_array(pictures, str(name)) for name, pictures in paintings.items()}
    if images.ndim != 4 or not images.size:
        raise ValueError(f"masked_pictures: images must be (B, C, H, W), got {images.shape}")
    B, _, H, W = images.shape
    if H % patch or W % patch or mask.shape != (B, (H // patch) * (W // patch)) or mask.dtype != bool:
        raise ValueError(
            f"masked_pictures: mask must be boolean (B, N), one for each patch of {patch} x {patch} pixels "
            f"(images: {images.shape}, mask: {mask.dtype.name} {mask.shape})"
        )
    for name, pictures in paintings.items():
        if pictures.shape != images.shape:
            raise ValueError(
                f"masked_pictures: {name} is {pictures.shape}, and the images are {images.shape}"
            )
    hidden = np.kron(mask.reshape(B, 1, H // patch, W // patch), np.ones((patch, patch), bool))
    columns = {"image": images, "visible": np.where(hidden, HIDDEN, images), **paintings}
    height = B * (size * H / W + 0.08) + 0.3
    fig, axes = figure(B, len(columns), size * len(columns), height, title, caption)
    for row, line in enumerate(axes.reshape(B, len(columns))):
        for ax, (name, pictures) in zip(line, columns.items(), strict=True):
            blank(ax)
            picture = channels_last(pictures[row], "masked_pictures")
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.spines[:].set(visible=True, color=FAINT, linewidth=0.8)
            label(ax, title=name if row == 0 else "")
    return fig
