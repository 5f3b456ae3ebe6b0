"""A model's output for one photo, as rows of numbers, as lines of text and as a picture.

Not here: running the model (prediction.py), the numbers themselves (postprocess.py), the drawing (viz/).
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from minivis.autograd import Tensor
from minivis.listed import counted
from minivis.models import RTDETR, SAM, MaskFormer
from minivis.pretrained import postprocess

__all__ = ["Description", "describe"]


class Description(NamedTuple):
    """What a model says of a photo.

    Attributes
    ----------
    lines : list of str
        For a person, the surest first.
    summary : str
        The same in a few words.
    rows : list of dict
        ``class`` and ``score``, and the corners ``x0, y0, x1, y1`` of a box in pixels of the photo, or ``share``, the part
        of the photo that a segment covers; one row for each object or segment, or for the likeliest class of the photo.
    figure : Figure
        The photo with all of it drawn on.
    """

    lines: list
    summary: str
    rows: list
    figure: object


def describe(model, output, image, threshold=None, size=None, photo=None):
    """Describe the output of a model for one photo.

    Parameters
    ----------
    model : Module
        With ``labels``, and ``things`` for a panoptic model.
    output : Tensor, list or named tuple
        What the model returned.
    image : ndarray, shape (3, H, W)
        The photo, to be drawn on; it may be reduced.
    threshold : float, optional
        See `minivis.pretrained.predict`.
    size : (int, int), optional
        Height and width of the photo as the model read it; a list of dicts has its boxes in these pixels.
    photo : (int, int), optional
        Height and width of the photo itself; corners are told in its pixels. The default is those of ``image``.

    Returns
    -------
    Description

    Raises
    ------
    ValueError
        If the model names no classes.
    """
    scale = [there / here for there, here in zip(photo or image.shape[1:], image.shape[1:], strict=True)]
    if isinstance(model, SAM):
        return _without_prompts(output, image, scale)
    found_in_list = isinstance(output, list) and isinstance(output[0], dict)
    if not model.labels or (isinstance(output, list) and not found_in_list):
        raise ValueError(
            "predict: this checkpoint is a backbone: it has features for other models, and no classes of its own"
        )
    labels = {number: printable(name) for number, name in model.labels.items()}
    if isinstance(output, Tensor):
        return (_pixels if output.ndim == 4 else _classes)(labels, output, image)
    if getattr(output, "masks", None) is not None:
        return _segments(labels, model, output, image, threshold)
    if threshold is None:
        threshold = 0.5 if isinstance(model, RTDETR) else 0.7
    if found_in_list:
        found = postprocess.regions(output[0], size, image.shape[1:], threshold)
    else:
        found = postprocess.detections(output, image.shape[1:], threshold)
    return _objects(labels, found, image, threshold, scale)


def printable(name):
    """A name from a file on one line, without control characters, which could disturb the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))


def _named(rows, one, more):
    """How many there are of each class: "3 objects: cat (2), dog (1)"."""
    kinds = Counter(row["class"] for row in rows).most_common()
    told = ", ".join(f"{name} ({count})" for name, count in kinds[:5]) + ", ..." * (len(kinds) > 5)
    return counted(len(rows), one, more) + (f": {told}" if told else "")


def _classes(names_of, logits, image):
    from minivis import viz

    labels, scores = postprocess.classes(logits[0])
    names = [names_of.get(int(label), str(label)) for label in labels]
    rows = [{"class": name, "score": float(score)} for name, score in zip(names, scores, strict=True)]
    lines = [f"{row['score']:.3f}  {row['class']}" for row in rows]
    return Description(lines, lines[0], rows[:1], viz.classes_on_image(image, names, scores))


def _pixels(labels, logits, image):
    from minivis import viz

    ids, segments = postprocess.pixels(logits, image.shape[1:])
    rows = [_row(labels, segment, ids) for segment in segments]
    lines = [counted(len(rows), "class", "classes")]
    lines += [f"{row['class']}  {100 * row['share']:.1f} % of the photo" for row in rows]
    summary = ", ".join(f"{100 * row['share']:.0f} % {row['class']}" for row in rows[:5])
    return Description(lines, summary, rows, viz.panoptic_on_image(image, ids, segments, labels, size=8))


def _row(labels, segment, ids):
    name = labels.get(segment["category_id"], str(segment["category_id"]))
    return {"class": name, "score": segment.get("score"), "share": segment["area"] / ids.size}


def _objects(labels, found, image, threshold, scale):
    from minivis import viz

    boxes = found["boxes"]
    rows = []
    for label, score, box in zip(found["labels"], found["scores"], boxes, strict=True):
        name = labels.get(int(label), str(label))
        rows.append({"class": name, "score": float(score), **_corners(box, scale)})
    lines = [f"{counted(len(rows), 'object', 'objects')} with a score above {threshold:g}"]
    lines += [f"{row['score']:.3f}  {row['class']}  {_from_to(row)}" for row in rows]
    told = found["labels"], found["scores"], labels
    if "masks" in found:
        figure = viz.masks_on_image(image, found["masks"], *told, size=8, boxes=boxes)
    else:
        figure = viz.boxes_on_image(image, boxes, *told, size=8)
    return Description(lines, _named(rows, "object", "objects"), rows, figure)


def _corners(box, scale):
    """The corners of a box in whole pixels of the photo, from those of the image that is drawn on."""
    x0, y0, x1, y1 = (round(float(x) * scale[1 - i % 2]) for i, x in enumerate(box))
    return {"x0": x0, "y0": y0, "x1": x1, "y1": y1}


def _from_to(row):
    return f"from ({row['x0']}, {row['y0']}) to ({row['x1']}, {row['y1']})"


def _segments(labels, model, output, image, threshold):
    from minivis import viz

    inside = not isinstance(model, MaskFormer)  # each model as its authors do it
    ids, segments = postprocess.segments(output, model.things, image.shape[1:], threshold, inside)
    rows = [_row(labels, segment, ids) for segment in segments]
    lines = [counted(len(rows), "segment", "segments")]
    lines += [f"{row['score']:.3f}  {row['class']}  {100 * row['share']:.1f} % of the photo" for row in rows]
    figure = viz.panoptic_on_image(image, ids, segments, labels, size=8)
    return Description(lines, _named(rows, "segment", "segments"), rows, figure)


def _without_prompts(found, image, scale):
    """What a SAM found by itself: masks without names. Small ones are drawn over large ones."""
    from minivis import viz

    rows = [
        {"class": "", "score": one.iou, "share": one.area / one.mask.size, **_corners(one.box, scale)}
        for one in found
    ]
    summary = counted(len(rows), "thing", "things") + " without a name"
    told = [f"{row['score']:.3f}  {100 * row['share']:.1f} % of the photo, {_from_to(row)}" for row in rows]
    order = sorted(range(len(found)), key=lambda i: -found[i].area)
    masks = np.array([found[i].mask for i in order], bool).reshape(-1, *image.shape[1:])
    caption = "Each colour is a mask that the model is sure of, among its answers to a grid of points. Masks have no names."
    figure = viz.masks_on_image(image, masks, size=8, caption=caption)
    return Description([summary, *told], summary, rows, figure)
