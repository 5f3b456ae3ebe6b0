"""Masks painted on images: one for each object, a panoptic result, a map of classes with its legend.

Not here: computing masks; merging and run lengths are in `mv.vision`.
"""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from minivis.viz.boxes import (
    colour_of,
    corners_of,
    draw_boxes,
    draw_image,
    draw_tags,
    gallery,
    name_of,
    per_box,
    picture_of,
    tags,
)
from minivis.viz.style import INK, array, legend

__all__ = ["masks_on_image", "masks_on_images", "panoptic_on_image", "panoptic_on_images", "semantic_map"]


def masks_on_image(
    image,
    masks,
    labels=None,
    scores=None,
    names=None,
    strength=0.5,
    size=4.0,
    title=None,
    caption=None,
    boxes=None,
):
    """Paint one mask for each object on an image, each in a colour of its own, outlined, with its tag.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    masks : array_like of bool, shape (T, H, W)
        True on the pixels of the object; a later one lies on top. T may be 0.
    labels, scores : array_like, shape (T,), optional
        Class and score of each object, for its tag.
    names : sequence or dict of int to str, optional
        Name of each label; default: the label's number.
    strength : float, default 0.5
        Opacity of the paint: with 0 only the outlines are drawn, with 1 the paint hides the image.
    size : float, default 4
        Width of the image in inches.
    title, caption : str, optional
        Above and below.
    boxes : array_like, shape (T, 4), optional
        Corners in pixels, as for `boxes_on_image`: a box around each mask, in its colour. The tags are then on the boxes.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If height and width of the masks differ from the image's, or labels, scores or boxes differ from them in number.

    Examples
    --------
    >>> fig = masks_on_image(np.zeros((8, 8)), np.eye(8, dtype=bool)[None], labels=[1], names=["cat", "line"])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['line']
    """
    masks, labels, scores, boxes = (
        None if given is None else [given] for given in (masks, labels, scores, boxes)
    )
    given = {"labels": labels, "scores": scores, "boxes": boxes}
    return _objects("masks_on_image", [image], masks, given, names, None, 1, strength, size, title, caption)


def masks_on_images(
    images, masks, labels=None, scores=None, names=None, titles=None, columns=None, strength=0.5, size=2.6, title=None,
    caption=None, boxes=None,
):  # fmt: skip
    """Paint a gallery of images with the masks of their objects: truth beside prediction, or many scenes.

    Parameters
    ----------
    images : sequence of array_like
        Each as in `masks_on_image`; a batch (B, C, H, W) is one.
    masks, labels, scores, boxes : sequence of array_like
        One entry for each image, each as in `masks_on_image`; all except ``masks`` are optional.
    names, strength
        As in `masks_on_image`.
    titles : sequence of str, optional
        One for each image.
    columns : int, optional
        Images in a row; default: at most 4.
    size : float, default 2.6
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
        As `masks_on_image`; or if the sequences differ in length.

    Examples
    --------
    >>> image, mask = np.zeros((8, 8)), np.eye(8, dtype=bool)
    >>> len(masks_on_images([image, image], [mask[None], []], titles=["truth", "found"]).axes)
    2
    """
    given = {"labels": labels, "scores": scores, "boxes": boxes}
    return _objects(
        "masks_on_images", images, masks, given, names, titles, columns, strength, size, title, caption
    )


def _objects(caller, images, masks, given, names, titles, columns, strength, size, title, caption):
    """The common part of both functions; errors begin with the name of the caller."""
    pictures = [picture_of(caller, image) for image in images]
    for argument, values in {"masks": masks, "titles": titles, **given}.items():
        if values is not None and len(values) != len(pictures):
            raise ValueError(f"{caller}: {len(values)} {argument} for {len(pictures)} images")
    painted = [_masks_of(caller, its, picture) for its, picture in zip(masks, pictures, strict=True)]
    fig, axes = gallery(caller, pictures, titles, columns, size, title, caption)
    for i, (ax, picture, its) in enumerate(zip(axes, pictures, painted, strict=True)):
        labels, scores, boxes = (None if values is None else values[i] for values in given.values())
        labels, scores = (per_box(caller, *pair, its) for pair in (("labels", labels), ("scores", scores)))
        boxes = None if boxes is None else corners_of(caller, boxes, picture)
        if boxes is not None and len(boxes) != len(its):
            raise ValueError(f"{caller}: boxes must be ({len(its)}, 4), one for each mask, got {boxes.shape}")
        colours = [colour_of(number) for number in range(len(its))]
        texts = tags(labels, scores, names)
        draw_image(ax, picture, boxes)
        paint_masks(ax, its, colours, texts if boxes is None else None, strength)
        if boxes is not None:
            draw_boxes(ax, boxes, texts=texts, scores=scores, width=1.2, colours=colours)
    return fig


def _masks_of(caller, masks, picture):
    """Masks as bool (T, H, W), checked."""
    masks = array(masks, "masks") > 0
    masks = masks.reshape(0, *picture.shape[:2]) if masks.size == 0 else masks
    if masks.ndim != 3 or masks.shape[1:] != picture.shape[:2]:
        raise ValueError(
            f"{caller}: masks must be (T, H, W) with the image's H and W, got {masks.shape} for an image "
            f"of {picture.shape[:2]}"
        )
    return masks


def panoptic_on_image(
    image, segmentation, segments, names=None, strength=0.5, size=4.0, title=None, caption=None
):
    """Paint a panoptic result: every pixel in the colour of its segment, every segment with its class on a tag.

    The image underneath is grey, so that every colour belongs to a segment.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    segmentation : array_like of int, shape (H, W)
        Number of the segment of each pixel. Pixels with a number that is not in `segments` are not painted.
    segments : sequence of dict
        For each segment its ``id``, the number in `segmentation`; its class as ``label`` (or ``label_id`` or
        ``category_id``, as in files); and its ``score``, if it has one.
    names : sequence or dict of int to str, optional
        Name of each class; default: its number.
    strength, size, title, caption
        As in `masks_on_image`.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the segmentation has not the height and width of the image, or a segment has no id or no class.

    Examples
    --------
    >>> segments = [{"id": 1, "label": 0, "score": 0.9}, {"id": 2, "label": 1}]
    >>> fig = panoptic_on_image(np.zeros((2, 2)), [[1, 1], [2, 0]], segments, names=["sky", "sea"])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['sky 0.90', 'sea']
    """
    result = segmentation, segments
    return _draw("panoptic_on_image", [image], [result], names, None, 1, strength, size, title, caption)


def panoptic_on_images(
    images, results, names=None, titles=None, columns=None, strength=0.5, size=2.6, title=None, caption=None
):
    """Paint a gallery of panoptic results: truth beside prediction, or many scenes.

    Parameters
    ----------
    images : sequence of array_like
        Each as in `panoptic_on_image`; a batch (B, C, H, W) is one.
    results : sequence of (segmentation, segments)
        One for each image, each as in `panoptic_on_image`.
    names, strength
        As in `panoptic_on_image`.
    titles : sequence of str, optional
        One for each image.
    columns : int, optional
        Images in a row; default: at most 4.
    size : float, default 2.6
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
        As `panoptic_on_image`; or if the sequences differ in length.

    Examples
    --------
    >>> result = np.array([[1, 1], [1, 0]]), [{"id": 1, "label": 0}]
    >>> len(panoptic_on_images(np.zeros((2, 1, 2, 2)), [result, result], titles=["truth", "found"]).axes)
    2
    """
    return _draw(
        "panoptic_on_images", images, results, names, titles, columns, strength, size, title, caption
    )


def _draw(caller, images, results, names, titles, columns, strength, size, title, caption):
    """The common part of both functions; errors begin with the name of the caller."""
    pictures = [picture_of(caller, image) for image in images]
    for name, given in (("results", results), ("titles", titles)):
        if given is not None and len(given) != len(pictures):
            raise ValueError(f"{caller}: {len(given)} {name} for {len(pictures)} images")
    read = [_segments(caller, p, *result, names) for p, result in zip(pictures, results, strict=True)]
    fig, axes = gallery(caller, pictures, titles, columns, size, title, caption)
    for ax, picture, (masks, texts) in zip(axes, pictures, read, strict=True):
        draw_image(ax, picture, grey=True)
        paint_masks(ax, masks, [colour_of(i) for i in range(len(masks))], texts, strength)
    return fig


def _segments(caller, picture, segmentation, segments, names):
    """One mask and one text for each segment of a panoptic result, checked."""
    numbers = array(segmentation, "segmentation")
    if numbers.shape != picture.shape[:2]:
        raise ValueError(f"{caller}: segmentation is {numbers.shape}, but the image is {picture.shape[:2]}")
    texts = []
    for segment in segments:
        kind = next((segment[key] for key in ("label", "label_id", "category_id") if key in segment), None)
        if kind is None or "id" not in segment:
            raise ValueError(f"{caller}: a segment needs an id and a label, got {segment!r:.80}")
        score = segment.get("score")
        texts.append(name_of(kind, names) + ("" if score is None else f" {score:.2f}"))
    return np.array([numbers == segment["id"] for segment in segments]).reshape(-1, *numbers.shape), texts


def semantic_map(
    labels, names=None, image=None, ignore=None, strength=0.6, size=4.0, title=None, caption=None
):
    """Show the class of every pixel as a colour, with a legend of the classes that occur.

    Parameters
    ----------
    labels : array_like of int, shape (H, W)
        Class of each pixel.
    names : sequence or dict of int to str, optional
        Name of each class; default: its number.
    image : array_like, shape (H, W) or (C, H, W), optional
        Drawn in grey under the colours.
    ignore : int, optional
        The number that stands for "no class", left unpainted.
    strength : float, default 0.6
        Opacity of the paint over the image; without an image it is 1.
    size : float, default 4
        Width of the map in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. A class keeps its colour from picture to picture.

    Raises
    ------
    ValueError
        If `labels` is not (H, W), or its shape differs from the image's.

    Examples
    --------
    >>> fig = semantic_map([[0, 0], [1, 255]], names=["sky", "sea"], ignore=255)
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['sky', 'sea']
    """
    labels = array(labels, "labels")
    picture = np.ones(labels.shape) if image is None else picture_of("semantic_map", image)
    if labels.ndim != 2 or not labels.size or labels.shape != picture.shape[:2]:
        raise ValueError(
            f"semantic_map: labels must be (H, W), the image's if there is one, got {labels.shape} for "
            f"{'no image' if image is None else picture.shape[:2]}"
        )
    found = [int(number) for number in np.unique(labels) if number != ignore]
    words = [name_of(number, names) for number in found]
    per_column = 16
    wide = 0.4 + (0.35 + 0.085 * max(map(len, words), default=0)) * -(-len(found) // per_column)
    fig, (ax,) = gallery("semantic_map", [picture], None, 1, size, title, caption)
    fig.set_size_inches(fig.get_size_inches() + [wide, 0])
    draw_image(ax, picture, grey=True)
    masks = np.array([labels == number for number in found]).reshape(-1, *labels.shape)
    colours = [colour_of(number) for number in found]
    large = [w if mask.mean() > 0.02 else "" for mask, w in zip(masks, words, strict=True)]
    paint_masks(ax, masks, colours, large, 1.0 if image is None else strength)
    patches = [
        Patch(facecolor=c, edgecolor=INK, linewidth=0.5, label=w) for c, w in zip(colours, words, strict=True)
    ]
    if patches:
        columns = -(-len(found) // per_column)
        legend(fig, handles=patches, loc="outside right center", fontsize=8, ncols=columns)
    return fig


def paint_masks(ax, masks, colours, texts, strength):
    """Masks in their colours, each with an outline, then the tags."""
    height, width = masks.shape[1:]
    layer = np.zeros((height, width, 4))
    for mask, colour in zip(masks, colours, strict=True):
        layer[mask] = (*to_rgb(colour), strength)
    ax.imshow(layer, extent=(0, width, height, 0), interpolation="nearest")
    for mask, colour in zip(masks, colours, strict=True):
        _outline(ax, mask, colour)
    if texts is not None:
        seen = [i for i, mask in enumerate(masks) if mask.any() and texts[i]]
        places = [_middle(masks[i]) for i in seen]
        draw_tags(ax, places, [texts[i] for i in seen], [colours[i] for i in seen], centred=True)


def _outline(ax, mask, colour):
    """Draw lines along the pixel edges at which the mask begins or ends."""
    height, width = mask.shape
    framed = np.pad(mask, 1)
    rows, columns = np.nonzero(framed[1:, 1:-1] != framed[:-1, 1:-1])  # edges above pixel (row, column)
    downs, rights = np.nonzero(framed[1:-1, 1:] != framed[1:-1, :-1])  # edges left of it
    x = np.concatenate([np.stack([columns, columns + 1], 1), np.stack([rights, rights], 1)])
    y = np.concatenate([np.stack([rows, rows], 1), np.stack([downs, downs + 1], 1)])
    gap = np.full((len(x), 1), np.nan)  # lifts the pen between edges
    x, y = (np.concatenate([part, gap], axis=1).ravel() for part in (x, y))
    ax.plot(x, y, color=colour, linewidth=1.2, solid_capstyle="projecting")


def _middle(mask):
    """An empty box at the pixel of the mask nearest to its centre (the centre of a ring is not in the ring)."""
    places = np.argwhere(mask)
    y, x = places[((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()] + 0.5
    return x, y, x, y
