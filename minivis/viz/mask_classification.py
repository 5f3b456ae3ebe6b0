"""Pictures of mask classification: a mask as a weighted sum of pixel embeddings, and what each query draws in many scenes.

Not here: masks on an image and panoptic results (masks.py), costs and matches (matching.py).
"""

import numpy as np

from minivis.viz.boxes import draw_image, gallery, name_of
from minivis.viz.style import DIVERGING, SEQUENTIAL, array, blank, colour_bar, figure, label, limits

__all__ = ["mask_as_sum", "query_habits"]


def mask_as_sum(embedding, pixels, channels=5, image=None, size=1.6, title=None, caption=None):
    """Show how one mask comes about: the channels of the pixel embeddings, each times the query's number, and their sum.

    .. math:: m(h, w) = \\sum_c e_c\\, \\mathcal E_c(h, w)

    Parameters
    ----------
    embedding : array_like, shape (C,)
        The mask embedding of one query.
    pixels : array_like, shape (C, H, W)
        The embedding of each pixel.
    channels : int, default 5
        How many channels are shown one by one: those that change the mask most. The rest is shown as one sum.
    image : array_like, shape (3, H', W'), optional
        Drawn first.
    size : float, default 1.6
        Width of a picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. All terms have one scale, the mask has its own; both have 0 in the middle.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there are fewer channels than asked for.

    References
    ----------
    Slide ``I/32-maskformer``.

    Examples
    --------
    >>> fig = mask_as_sum([1.0, -2.0], np.arange(8.0).reshape(2, 2, 2), channels=1)
    >>> [ax.get_title() for ax in fig.axes[:3]]
    ['channel 1, e = -2.0', 'the others: 1', 'mask logits']
    """
    e, pixels = array(embedding, "embedding"), array(pixels, "pixels")
    if e.ndim != 1 or pixels.ndim != 3 or len(e) != len(pixels) or not pixels.size:
        raise ValueError(
            f"mask_as_sum: embedding must be (C,) and pixels (C, H, W), got {e.shape} and {pixels.shape}"
        )
    if not 1 <= channels <= len(e):
        raise ValueError(f"mask_as_sum: channels must be 1 to C={len(e)}, got {channels}")
    terms = e[:, None, None] * pixels  # (C, H, W)
    order = np.argsort(-terms.std(axis=(1, 2)), kind="stable")
    strong, rest = order[:channels], order[channels:]
    shown = [*terms[strong]]
    titles = [f"channel {c}, e = {e[c]:.1f}" for c in strong]
    if len(rest):
        shown.append(terms[rest].sum(axis=0))
        titles.append(f"the others: {len(rest)}")
    mask = terms.sum(axis=0)
    columns = len(shown) + 1 + (image is not None)
    fig, axes = figure(1, columns, size * columns + 1.0, size + 0.9, title, caption)
    axes = list(axes[0])
    if image is not None:
        ax = axes.pop(0)
        draw_image(ax, array(image, "image").transpose(1, 2, 0))
        label(ax, title="image")
    low, high = limits(np.array(shown), True)
    for ax, term, text in zip(axes, [*shown, mask], [*titles, "mask logits"], strict=True):
        ends = (low, high) if term is not mask else limits(mask, True)
        drawn = ax.imshow(term, cmap=DIVERGING, vmin=ends[0], vmax=ends[1])
        blank(ax)
        ax.set_title(text, fontsize=8)
        if term is shown[-1]:
            colour_bar(fig, drawn, axes[:-1], "e x channel")
    colour_bar(fig, drawn, axes[-1:], "logit")
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
        that it named most among them, with its share.

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
        named, best = row[:-1].sum(), int(row[:-1].argmax())
        if named:
            share = f"{100 * named / row.sum():.0f} %"
            titles.append(f"{q}: {share}\n{name_of(best, names)} {100 * row[best] / named:.0f} %")
        else:
            titles.append(f"{q}: never")
    fig, axes = gallery("query_habits", list(np.nan_to_num(masks)), titles, columns, size, title, caption)
    rows = -(-len(masks) // columns)
    fig.set_size_inches(fig.get_size_inches() + [0.8, 0.2 * rows])
    for ax, mask in zip(axes, masks, strict=True):
        height, width = mask.shape
        drawn = ax.imshow(np.nan_to_num(mask), cmap=SEQUENTIAL, vmin=0, vmax=1, extent=(0, width, height, 0))
        blank(ax)
    colour_bar(fig, drawn, list(axes), "mean of the masks")
    return fig
