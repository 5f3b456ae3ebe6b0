"""Pictures of segmentation: maps of classes side by side, the four problems of vision on one picture, weights of a loss.

Not here: one map with its image (masks.py), panoptic results (masks.py).
"""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from minivis.viz.boxes import (
    colour_of,
    corners_of,
    draw_boxes,
    draw_image,
    gallery,
    name_of,
    per_box,
    picture_of,
    tags,
)
from minivis.viz.masks import paint_masks
from minivis.viz.style import INK, array, colour_bar, legend

__all__ = ["four_problems", "semantic_maps", "weight_maps"]


def semantic_maps(
    maps, images=None, titles=None, names=None, columns=None, size=1.7, title=None, caption=None
):
    """Show maps of classes side by side, below their images if there are any, with one legend.

    Parameters
    ----------
    maps : sequence of array_like of int, each (H, W)
        The class of each pixel.
    images : sequence of array_like, optional
        Images (H, W) or (C, H, W) drawn first, in the same order.
    titles : sequence of str, optional
        One for each picture, the images first.
    names : sequence or dict of int to str, optional
        Name of each class; default: its number.
    columns : int, optional
        Pictures in a row; default: at most 4.
    size : float, default 1.7
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. A class keeps its colour from picture to picture.

    Raises
    ------
    ValueError
        If there is no map, one is not (H, W), or titles and pictures differ in number.

    Examples
    --------
    >>> fig = semantic_maps([[[0, 1], [1, 1]], [[0, 0], [1, 2]]], names=["sky", "sea", "sand"])
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['sky', 'sea', 'sand']
    """
    shown = [picture_of("semantic_maps", image) for image in ([] if images is None else images)]
    classes = [array(m, "maps") for m in maps]
    for m in classes:
        if m.ndim != 2 or not m.size or m.dtype.kind not in "iu":
            raise ValueError(f"semantic_maps: a map must be whole numbers (H, W), got {m.dtype} {m.shape}")
    if titles is not None and len(titles) != len(shown) + len(classes):
        raise ValueError(f"semantic_maps: {len(titles)} titles for {len(shown) + len(classes)} pictures")
    found = sorted({int(number) for m in classes for number in np.unique(m)})
    words = [name_of(number, names) for number in found]
    pictures = [*shown, *(np.ones(m.shape) for m in classes)]
    fig, axes = gallery("semantic_maps", pictures, titles, columns, size, title, caption)
    fig.set_size_inches(fig.get_size_inches() + [0.6 + 0.085 * max(map(len, words), default=0), 0])
    for ax, picture in zip(axes, shown, strict=False):
        draw_image(ax, picture)
    for ax, m in zip(axes[len(shown) :], classes, strict=True):
        _draw_classes(ax, m)
    patches = [
        Patch(facecolor=colour_of(number), edgecolor=INK, linewidth=0.5, label=word)
        for number, word in zip(found, words, strict=True)
    ]
    if patches:
        legend(fig, handles=patches, loc="outside right center", fontsize=8)
    return fig


def _draw_classes(ax, classes):
    """Fill an axes with the colours of a map of classes."""
    height, width = classes.shape
    draw_image(ax, np.ones(classes.shape))
    numbers, ranks = np.unique(classes, return_inverse=True)
    palette = ListedColormap([colour_of(int(n)) for n in numbers])
    ax.imshow(
        ranks.reshape(classes.shape),
        cmap=palette,
        vmin=-0.5,
        vmax=len(numbers) - 0.5,
        extent=(0, width, height, 0),
        interpolation="nearest",
    )


def four_problems(
    image, label, boxes, semantic, masks, box_labels=None, mask_labels=None, names=None, classes=None, size=2.2,
    title=None, caption=None,
):  # fmt: skip
    """Show four answers about one image: its class, boxes, the class of every pixel, a mask for every object.

    Parameters
    ----------
    image : array_like, shape (C, H, W)
        RGB numbers from 0 to 1.
    label : str
        The class of the whole image, in words.
    boxes : array_like, shape (N, 4)
        xyxy in pixels.
    semantic : array_like of int, shape (H, W)
        The class of every pixel.
    masks : array_like of bool, shape (M, H, W)
        A mask for every object.
    box_labels, mask_labels : array_like of int, optional
        Classes of the boxes, shape (N,), and of the masks, shape (M,).
    names, classes : sequence of str, optional
        Names of the classes of boxes and masks, and of the classes of pixels.
    size : float, default 2.2
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
        If a shape does not fit the image.

    References
    ----------
    Slide ``C/3-four-vision-problems``.

    Examples
    --------
    >>> pixels = np.zeros((8, 8), int)
    >>> fig = four_problems(np.zeros((3, 8, 8)), "cat", [[1, 1, 5, 5]], pixels, pixels[None] > 0)
    >>> [ax.get_title() for ax in fig.axes]
    ['categorisation: cat', 'detection: 1 box', 'semantic segmentation', 'instances: 1 mask']
    """
    name = "four_problems"
    picture = picture_of(name, image)
    corners = corners_of(name, boxes, picture)
    semantic = array(semantic, "semantic")
    masks = array(masks, "masks") > 0
    for argument, shape in (("semantic", semantic.shape), ("masks", masks.shape[1:])):
        if shape != picture.shape[:2]:
            raise ValueError(
                f"{name}: {argument} must have the image's size {picture.shape[:2]}, got {shape}"
            )
    box_labels = per_box(name, "box_labels", box_labels, corners)
    mask_labels = per_box(name, "mask_labels", mask_labels, masks)
    titles = [
        f"categorisation: {label}",
        f"detection: {_counted(len(corners), 'box', 'boxes')}",
        "semantic segmentation",
        f"instances: {_counted(len(masks), 'mask', 'masks')}",
    ]
    fig, axes = gallery(name, [picture] * 4, titles, 4, size, title, caption)
    draw_image(axes[0], picture)
    draw_image(axes[1], picture, corners)
    draw_boxes(axes[1], corners, box_labels, tags(box_labels, None, names))
    draw_image(axes[2], picture)
    found = [int(number) for number in np.unique(semantic)]
    areas = np.array([semantic == number for number in found])
    texts = [name_of(number, classes) for number in found]
    paint_masks(axes[2], areas, [colour_of(number) for number in found], texts, 0.75)
    draw_image(axes[3], picture, grey=True)
    paint_masks(
        axes[3], masks, [colour_of(i) for i in range(len(masks))], tags(mask_labels, None, names), 0.6
    )
    return fig


def _counted(number, one, more):
    return f"{number} {one if number == 1 else more}"


def weight_maps(
    maps, images=None, titles=None, columns=None, size=2.2, bar_label="weight", title=None, caption=None
):
    """Show maps of positive numbers side by side, below their images if there are any, on one scale with a colour bar.

    Parameters
    ----------
    maps : sequence of array_like, each (H, W)
        Such as the weights of the pixels in a loss.
    images : sequence of array_like, optional
        Images (H, W) or (C, H, W) drawn first, in the same order.
    titles : sequence of str, optional
        One for each picture, the images first.
    columns : int, optional
        Pictures in a row; default: as many as there are images, or at most 4.
    size : float, default 2.2
        Width of a picture in inches.
    bar_label : str, default "weight"
        What the numbers are.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no map, one is not (H, W), or titles and pictures differ in number.

    Examples
    --------
    >>> len(weight_maps([[[1.0, 2.0], [1.0, 3.0]]]).axes)  # the map and its scale
    2
    """
    shown = [array(m, "maps") for m in maps]
    if any(m.ndim != 2 or not m.size for m in shown):
        raise ValueError(f"weight_maps: a map must be (H, W), got {[m.shape for m in shown]}")
    pictures = [picture_of("weight_maps", image) for image in ([] if images is None else images)]
    if titles is not None and len(titles) != len(pictures) + len(shown):
        raise ValueError(f"weight_maps: {len(titles)} titles for {len(pictures) + len(shown)} pictures")
    places = [*pictures, *shown]
    fig, axes = gallery("weight_maps", places, titles, columns or len(pictures) or None, size, title, caption)
    fig.set_size_inches(fig.get_size_inches() + [0.8, 0])
    largest = max(float(m.max()) for m in shown)
    for ax, picture in zip(axes, pictures, strict=False):
        draw_image(ax, picture)
    maps_axes = list(axes[len(pictures) :])
    for ax, m in zip(maps_axes, shown, strict=True):
        height, width = m.shape
        drawn = ax.imshow(
            m, cmap="inferno", vmin=0, vmax=largest, extent=(0, width, height, 0), interpolation="nearest"
        )
    colour_bar(fig, drawn, maps_axes, bar_label)
    return fig
