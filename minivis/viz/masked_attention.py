"""Pictures of masked and deformable attention: images lit where a query may look, and the points that are read.

Not here: attention maps (attention.py), masks of objects on an image (masks.py), mask classification (mask_classification.py).
"""

import numpy as np

from minivis.viz.boxes import colour_of, draw_image, gallery, picture_of
from minivis.viz.style import SEQUENTIAL, array, colour_bar, figure, label

__all__ = ["lit_images", "points_on_maps", "points_read"]

_DARK = 0.2  # brightness outside a mask


def lit_images(image, lights, titles=None, columns=None, size=1.55, title=None, caption=None):
    """Show an image many times, each time bright only where a mask is, or as bright as weights of attention say.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    lights : sequence of array_like, shape (h, w)
        For each picture a mask or non-negative weights of any resolution that divides the image's. The largest number of
        each is full brightness; 0 is a fifth of it.
    titles : sequence of str, optional
        One for each picture.
    columns : int, optional
        Pictures in a row; default: at most 4.
    size : float, default 1.55
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
        If a resolution does not divide that of the image, a number is negative, or there is not one title for each.

    References
    ----------
    Slide ``I/40-masked-attention``.

    Examples
    --------
    >>> fig = lit_images(np.ones((4, 4)), [[[1, 0], [0, 0]]], ["one corner"])
    >>> fig.axes[0].images[0].get_array()[0].tolist()
    [1.0, 1.0, 0.2, 0.2]
    """
    picture = picture_of("lit_images", image)
    picture = picture / 255 if picture.dtype == np.uint8 else picture
    lights = [array(light, "lights").astype(float) for light in lights]
    if titles is not None and len(titles) != len(lights):
        raise ValueError(f"lit_images: {len(titles)} titles for {len(lights)} lights")
    fig, axes = gallery("lit_images", [picture] * len(lights), titles, columns, size, title, caption)
    for ax, light in zip(axes, lights, strict=True):
        draw_image(ax, _lit(picture, light))
    return fig


def _lit(picture, light):
    """The picture (H, W) or (H, W, 3), dark where the light (h, w) is 0."""
    H, W = picture.shape[:2]
    if light.ndim != 2 or not light.size or H % light.shape[0] or W % light.shape[1] or light.min() < 0:
        raise ValueError(
            f"lit_images: lights must be (h, w) of numbers from 0, with h and w that divide those of the image, got "
            f"{light.shape} for an image of {H} x {W}"
        )
    light = light / (light.max() or 1)
    light = light.repeat(H // light.shape[0], axis=0).repeat(W // light.shape[1], axis=1)
    brightness = _DARK + (1 - _DARK) * light
    return picture * (brightness if picture.ndim == 2 else brightness[..., None])


def points_read(image, token, places, weights, sizes, title=None, caption=None):
    """Show at which points of each map one token of deformable attention reads.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        Drawn pale under the points of each map.
    token : (float, float)
        The place x, y of the token, as fractions of the image.
    places : array_like, shape (heads, L, P, 2)
        The places x, y that each head reads in each map, as fractions of the image.
    weights : array_like, shape (heads, L, P)
        The weight of each point.
    sizes : sequence of (int, int)
        Height and width of each map.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: a picture for each map, a colour for each head, larger dots for larger weights.

    Raises
    ------
    ValueError
        If places, weights and sizes do not fit each other.

    Examples
    --------
    >>> places = np.full((2, 1, 3, 2), 0.5)
    >>> fig = points_read(np.zeros((8, 8)), (0.5, 0.5), places, np.ones((2, 1, 3)) / 3, [(4, 4)])
    >>> fig.axes[0].get_title()
    'map of 4 x 4 tokens'
    """
    picture = picture_of("points_read", image)
    places, weights = array(places, "places"), array(weights, "weights")
    if places.ndim != 4 or places.shape != (*weights.shape, 2) or places.shape[1] != len(sizes):
        raise ValueError(
            f"points_read: places must be (heads, L, P, 2), weights (heads, L, P) and sizes L pairs, got "
            f"{places.shape}, {weights.shape} and {len(sizes)}"
        )
    fig, axes = figure(1, len(sizes), 4 * len(sizes), 4, title, caption)
    for level, ax in enumerate(axes[0]):
        ax.imshow(picture, cmap="gray", extent=(0, 1, 1, 0), alpha=0.55)
        for head in range(len(places)):
            x, y = places[head, level].T
            ax.scatter(x, y, 30 + 1500 * weights[head, level], color=colour_of(head), edgecolor="white")
        ax.plot(*token, marker="P", color="black", markersize=12, markeredgecolor="white")
        ax.set(xlim=(-0.2, 1.2), ylim=(1.2, -0.2))
        label(ax, "x", "y", "map of {} x {} tokens".format(*sizes[level]))
    return fig


def points_on_maps(image, points, size=3.6, bar_label="probability", title=None, caption=None):
    """Draw sets of points over the same map: at which places of a mask a loss looks.

    Parameters
    ----------
    image : array_like, shape (H, W)
        The map, with numbers from 0 to 1.
    points : dict of str to array_like, shape (n, 2)
        Title to the places x, y, as fractions of the map: a picture for each.
    size : float, default 3.6
        Width of a picture in inches.
    bar_label : str, default "probability"
        What the numbers of the map are.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the map is not (H, W), or points are not (n, 2).

    Examples
    --------
    >>> fig = points_on_maps(np.eye(4), {"two": [[0.1, 0.1], [0.9, 0.5]]})
    >>> fig.axes[0].get_title()
    'two'
    """
    drawn = array(image, "image")
    points = {name: array(at, "points") for name, at in points.items()}
    if drawn.ndim != 2 or any(at.ndim != 2 or at.shape[1] != 2 for at in points.values()) or not points:
        raise ValueError(
            f"points_on_maps: image must be (H, W) and points (n, 2), got {drawn.shape} and "
            f"{[at.shape for at in points.values()]}"
        )
    fig, axes = figure(1, len(points), (size + 0.2) * len(points) + 0.8, size + 0.3, title, caption)
    for ax, (name, at) in zip(axes[0], points.items(), strict=True):
        shown = ax.imshow(drawn, cmap=SEQUENTIAL, extent=(0, 1, 1, 0), vmin=0, vmax=1)
        ax.scatter(at[:, 0], at[:, 1], s=9, color="white", edgecolor="black", linewidth=0.4)
        label(ax, "x", "y", name)
    colour_bar(fig, shown, list(axes[0]), bar_label)
    return fig
