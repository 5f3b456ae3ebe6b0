"""Pictures of prompts and what a model answers: clicks, boxes and phrases on an image, the mask, the estimated IoU.

Not here: masks without a prompt (masks.py), asking a model (models/sam.py), clicking in a notebook (clicks.py).
"""

import numpy as np

from minivis.viz.boxes import corners_of, draw_boxes, draw_image, gallery, picture_of
from minivis.viz.masks import paint_masks
from minivis.viz.style import GREEN, INK, ORANGE, VERMILION, array

__all__ = ["mask_choices", "prompted_masks"]

# a click on the thing, and one beside it: they differ in more than colour
CLICKS = {1: ("*", GREEN, 150), 0: ("X", VERMILION, 70)}


def prompted_masks(
    images, prompts, masks, ious=None, titles=None, columns=None, strength=0.65, size=2.2, title=None, caption=None
):  # fmt: skip
    """Show prompts and the masks that a model answers: rounds of clicks in a row, other prompts, other images.

    A click on the thing is a green star, one beside it a red cross; a box is orange.

    Parameters
    ----------
    images : array_like (H, W) or (C, H, W), or a sequence of these
        RGB numbers from 0 to 1. One image is used for all pictures.
    prompts : sequence of dict
        For each picture what was asked, under the names of ``SAM.answer`` without their axes of images and prompts:
        ``points`` (n, 2), x and y in pixels, with ``point_labels`` (n,) of 1, 0 and -1; ``boxes`` (4,), xyxy in pixels; and
        ``text``, a phrase, which stands in the title.
    masks : sequence of array_like, each (H, W)
        Booleans, or logits: a pixel belongs to the mask where they are above 0. The rest of the image is pale. None for a
        picture without an answer.
    ious : sequence of float, optional
        The model's own estimates of the IoU, for the titles.
    titles : sequence of str, optional
        One for each picture; the phrase and the estimate follow.
    columns : int, optional
        Pictures in a row; default: at most 4.
    strength : float, default 0.65
        How much of the image around the mask is hidden in white, 0 to 1.
    size : float, default 2.2
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
        If the sequences differ in length, a shape does not fit the image, or a prompt has an unknown part.

    References
    ----------
    Slides ``A/84-promptable-segmentation`` and ``A/88-sam-prompt-encoder``.

    Examples
    --------
    >>> click = {"points": [[3, 4]], "point_labels": [1]}
    >>> fig = prompted_masks(np.zeros((8, 8)), [click, {"text": "a star"}], [np.eye(8) > 0, None], ious=[0.9, 0.4])
    >>> [ax.get_title() for ax in fig.axes]
    ['estimate 0.90', 'a star\\nestimate 0.40']
    """
    caller = "prompted_masks"
    count = len(prompts)
    alone = getattr(images, "ndim", 4) in (2, 3)
    pictures = [picture_of(caller, image) for image in ([images] * count if alone else images)]
    given = {"images": pictures, "masks": masks, "ious": ious, "titles": titles}
    for name, values in given.items():
        if values is not None and len(values) != count:
            raise ValueError(f"{caller}: {len(values)} {name} for {count} prompts")
    asked = [_asked(caller, prompt, picture) for prompt, picture in zip(prompts, pictures, strict=True)]
    heads = [
        _head(*(None if values is None else values[i] for values in (titles, ious)), prompts[i].get("text"))
        for i in range(count)
    ]
    lines = max((head.count("\n") for head in heads), default=0)
    fig, axes = gallery(caller, pictures, heads if any(heads) else None, columns, size, title, caption)
    rows = -(-count // min(columns or 4, count))
    fig.set_size_inches(fig.get_size_inches() + [0, 0.25 * lines * rows])
    for ax, picture, mask, (points, labels, boxes) in zip(axes, pictures, masks, asked, strict=True):
        _draw_answer(ax, picture, None if mask is None else _mask(caller, mask, picture), boxes, strength)
        draw_boxes(ax, boxes, width=1.4, colours=[ORANGE] * len(boxes))
        _draw_clicks(ax, points, labels, size)
        ax.set_anchor("S")  # the room above is for titles of several lines
    return fig


def mask_choices(image, prompt, masks, ious, truth=None, size=2.2, title=None, caption=None):
    """Show the masks that a model offers for one prompt, in the order of its estimates, beside the thing that was meant.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W)
        RGB numbers from 0 to 1.
    prompt : dict
        As for `prompted_masks`.
    masks : array_like, shape (M, H, W)
        Booleans or logits.
    ious : array_like, shape (M,)
        The model's estimates.
    truth : array_like of bool, shape (H, W), optional
        The thing that was meant: it is drawn first, and the titles give the true IoUs too.
    size : float, default 2.2
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
        As `prompted_masks`.

    References
    ----------
    Slide ``A/92-sam-output-tokens``.

    Examples
    --------
    >>> masks = np.stack([np.ones((8, 8)), np.eye(8)]) > 0
    >>> fig = mask_choices(np.zeros((8, 8)), {"boxes": [0, 0, 8, 8]}, masks, [0.2, 0.7], truth=np.eye(8) > 0)
    >>> [ax.get_title() for ax in fig.axes]
    ['meant', 'IoU 1.00\\nestimate 0.70', 'IoU 0.12\\nestimate 0.20']
    """
    masks = array(masks, "masks") > 0
    ious = np.asarray(array(ious, "ious"), float)
    if masks.ndim != 3 or ious.shape != masks.shape[:1]:
        raise ValueError(
            f"mask_choices: masks must be (M, H, W) and ious (M,), got {masks.shape} and {ious.shape}"
        )
    order = np.argsort(-ious, kind="stable")
    shown, estimates = ([values[i] for i in order] for values in (masks, ious))
    titles = None
    if truth is not None:
        truth = _mask("mask_choices", truth, masks[0])
        either = [max(1, np.count_nonzero(mask | truth)) for mask in shown]
        true = [np.count_nonzero(mask & truth) / n for mask, n in zip(shown, either, strict=True)]
        titles = ["meant", *(f"IoU {value:.2f}" for value in true)]
        shown = [truth, *shown]
        estimates = [None, *estimates]
    options = {"titles": titles, "columns": len(shown), "size": size, "title": title, "caption": caption}
    return prompted_masks(image, [prompt] * len(shown), shown, estimates, **options)


def _asked(caller, prompt, picture):
    """Clicks (n, 2), their labels (n,), and boxes (0 or 1, 4) of a prompt, checked."""
    if unknown := set(prompt) - {"points", "point_labels", "boxes", "text"}:
        raise ValueError(f"{caller}: a prompt has points, point_labels, boxes and text, not {min(unknown)!r}")
    if ("points" in prompt) != ("point_labels" in prompt):
        raise ValueError(f"{caller}: points and point_labels go together, one label for each point")
    points, labels = (np.asarray(prompt.get(name, ())) for name in ("points", "point_labels"))
    points = points.reshape(-1, 2) if points.size == 0 else points
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"{caller}: points must be (n, 2) and point_labels (n,), got {points.shape} and {labels.shape}"
        )
    boxes = prompt.get("boxes")
    boxes = np.zeros((0, 4)) if boxes is None else np.asarray(boxes, float).reshape(-1, 4)
    return points, labels, corners_of(caller, boxes, picture)


def _head(title, estimate, text):
    """The title of a picture: what it is, the phrase, the estimate, each on its line."""
    estimate = None if estimate is None else f"estimate {float(estimate):.2f}"
    return "\n".join(part for part in (title, text, estimate) if part)


def _mask(caller, mask, picture):
    mask = array(mask, "masks") > 0
    if mask.shape != picture.shape[:2]:
        raise ValueError(f"{caller}: a mask must be {picture.shape[:2]}, as its image, got {mask.shape}")
    return mask


def _draw_answer(ax, picture, mask, boxes, strength):
    """The image, pale where the mask is not, and the outline of the mask."""
    if mask is None:
        draw_image(ax, picture, boxes)
        return
    shade = np.where(mask, 0.0, strength)
    shade = shade if picture.ndim == 2 else shade[..., None]
    draw_image(ax, picture * (1 - shade) + shade, boxes)
    paint_masks(ax, mask[None], [INK], None, 0.0)


def _draw_clicks(ax, points, labels, size):
    """Clicks in the middle of their pixels."""
    for label, (marker, colour, area) in CLICKS.items():
        x, y = points[labels == label].reshape(-1, 2).T + 0.5
        look = {
            "marker": marker,
            "s": area * size / 2.2,
            "edgecolors": "white",
            "linewidths": 1.0,
            "zorder": 5,
        }
        ax.scatter(x, y, c=colour, **look)
