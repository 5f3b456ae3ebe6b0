"""Pictures of mask classification: a mask as a sum over channels, what each query draws in many scenes, colours that agree.

Not here: masks on an image and panoptic results (masks.py), costs and matches (matching.py).
"""

import numpy as np

from minivis.viz.boxes import draw_image, gallery, name_of, picture_of
from minivis.viz.style import SEQUENTIAL, array, colour_bar

__all__ = ["coloured_like", "mask_as_sum", "query_habits"]


def mask_as_sum(embedding, pixels, counts=(1, 2, 4, 8), image=None, size=1.5, title=None, caption=None):
    """Show how one mask comes about: the sum over the channels of the pixel embeddings, with more and more of them.

    .. math:: m(h, w) = \\sigma\\Big(\\sum_c e_c\\, \\mathcal E_c(h, w)\\Big)

    Parameters
    ----------
    embedding : array_like, shape (C,)
        The mask embedding of one query.
    pixels : array_like, shape (C, H, W)
        The embedding of each pixel.
    counts : sequence of int, default (1, 2, 4, 8)
        How many channels enter the sums, those first that change the mask most. The last picture has all of them.
    image : array_like, shape (3, H', W'), optional
        Drawn first.
    size : float, default 1.5
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: the probability that a pixel belongs to the mask, after each sum.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there are fewer channels than asked for.

    References
    ----------
    Slide ``I/32-maskformer``.

    Examples
    --------
    >>> fig = mask_as_sum([1.0, -2.0], np.arange(8.0).reshape(2, 2, 2), counts=[1])
    >>> [ax.get_title() for ax in fig.axes[:2]]
    ['channel 1', 'all 2']
    """
    e, pixels = array(embedding, "embedding"), array(pixels, "pixels")
    if e.ndim != 1 or pixels.ndim != 3 or len(e) != len(pixels) or not pixels.size:
        raise ValueError(
            f"mask_as_sum: embedding must be (C,) and pixels (C, H, W), got {e.shape} and {pixels.shape}"
        )
    if not all(1 <= count <= len(e) for count in counts):
        raise ValueError(f"mask_as_sum: counts must be 1 to C={len(e)}, got {tuple(counts)}")
    terms = e[:, None, None] * pixels  # (C, H, W)
    order = np.argsort(-terms.std(axis=(1, 2)), kind="stable")
    counts = [count for count in counts if count < len(e)] + [len(e)]
    sums = [terms[order[:count]].sum(axis=0) for count in counts]
    masks = [0.5 + 0.5 * np.tanh(z / 2) for z in sums]  # the sigmoid, without overflow
    titles = [f"channel {order[0]}" if count == 1 else f"{count} channels" for count in counts]
    titles[-1] = f"all {len(e)}"
    shown = [] if image is None else [picture_of("mask_as_sum", image)]
    titles = ["image"] * len(shown) + titles
    pictures = [*shown, *masks]
    fig, axes = gallery("mask_as_sum", pictures, titles, len(pictures), size, title, caption)
    fig.set_size_inches(fig.get_size_inches() + [0.8, 0])
    for ax, picture in zip(axes, shown, strict=False):
        draw_image(ax, picture)
    for ax, mask in zip(axes[len(shown) :], masks, strict=True):
        drawn = _draw(ax, mask, 1)
    colour_bar(fig, drawn, list(axes), "in the mask")
    return fig


def query_habits(masks, counts, names=None, columns=8, size=1.25, title=None, caption=None):
    """Show what each query does in many scenes: the mean of its masks, and the class that it names most.

    Parameters
    ----------
    masks : array_like, shape (Q, H, W)
        The mean mask of each query, 0 to 1, over the scenes in which it names an object. NaN where there is none.
    counts : array_like of int, shape (Q, K + 1)
        How often each query named each class; the last is "no object".
    names : sequence of str, optional
        Names of the K classes; default: their numbers.
    columns : int, default 8
        Queries in a row.
    size : float, default 1.25
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Above each mean mask stand the share of the scenes in which the query named anything, and the class
        that it named most among them, with its share. Each picture has its own scale: the brightest pixel is the largest.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Slide ``I/32-maskformer``.

    Examples
    --------
    >>> fig = query_habits(np.ones((2, 4, 4)), [[3, 1, 0], [0, 0, 4]], ["cat", "sky"])
    >>> [ax.get_title() for ax in fig.axes[:2]]
    ['0: 100 %\\ncat 75 %', '1: never']
    """
    masks, counts = array(masks, "masks"), array(counts, "counts")
    if masks.ndim != 3 or counts.ndim != 2 or len(masks) != len(counts) or counts.shape[1] < 2:
        raise ValueError(
            f"query_habits: masks must be (Q, H, W) and counts (Q, K + 1), got {masks.shape} and {counts.shape}"
        )
    titles = []
    for q, row in enumerate(counts):
        named = row[:-1].sum()
        best = int(row[:-1].argmax())
        if named:
            share = f"{100 * named / row.sum():.0f} %"
            titles.append(f"{q}: {share}\n{name_of(best, names)} {100 * row[best] / named:.0f} %")
        else:
            titles.append(f"{q}: never")
    masks = np.nan_to_num(masks)
    fig, axes = gallery("query_habits", list(masks), titles, columns, size, title, caption)
    fig.set_size_inches(fig.get_size_inches() + [0, 0.2 * -(-len(masks) // columns)])
    for ax, mask in zip(axes, masks, strict=True):
        _draw(ax, mask, mask.max() or 1)
    return fig


def _draw(ax, mask, largest):
    """A mask (H, W), from 0 to the largest value, in a blank plot."""
    height, width = mask.shape
    return ax.imshow(mask, cmap=SEQUENTIAL, vmin=0, vmax=largest, extent=(0, width, height, 0))


def coloured_like(found, truth):
    """A panoptic result whose segments get the colours of the true ones they lie on, for `panoptic_on_images`.

    Parameters
    ----------
    found, truth : (array_like of int, list of dict)
        Maps (H, W) of segment numbers, and their segments, as `panoptic_on_images` takes them.

    Returns
    -------
    (array_like, list of dict)
        The found map, and its segments in the order of the true ones: first, for each of them, the found segment with the
        largest part of it, or an empty one; then what is left over.

    Examples
    --------
    >>> truth = (np.array([[1, 1, 2, 2]]), [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 1}])
    >>> found = (np.array([[2, 2, 1, 1]]), [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 0}])
    >>> [segment["id"] for segment in coloured_like(found, truth)[1]]
    [2, 1]
    """
    (ids, segments), (true_ids, true_segments) = found, truth
    ids, true_ids = np.asarray(ids), np.asarray(true_ids)
    left = list(segments)
    ordered = []
    for true in true_segments:
        there = true_ids == true["id"]
        parts = [
            ((ids == segment["id"]) & there).sum() / max(1, (ids == segment["id"]).sum()) for segment in left
        ]
        best = int(np.argmax(parts)) if parts else 0
        if parts and parts[best] > 0.5:
            ordered.append(left.pop(best))
        else:
            ordered.append({"id": -1, "category_id": true["category_id"]})
    return ids, [*ordered, *left]
