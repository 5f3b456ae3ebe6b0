"""`minivis predict`: apply a model to one photo and draw the classes, boxes or masks on it.

Not here: the models, the preprocessing of photos (preprocess.py), the drawing (viz/).
"""

import functools
from pathlib import Path

import numpy as np

from minivis.autograd import Tensor, no_grad
from minivis.data.images import read_image
from minivis.files import as_path
from minivis.models import CLIP, MAE, RTDETR, SAM, YOLO, MaskFormer, ViViT, YOLOv2
from minivis.pretrained import postprocess
from minivis.pretrained.folder import CONFIG, from_pretrained, read_json
from minivis.pretrained.own import load_ready
from minivis.vision import automatic_masks

__all__ = ["predict"]

# what cannot be drawn on one photo, and where to look instead
OTHERWISE = {
    CLIP: "compares pictures with texts: call model.encode_image and model.encode_text, as notebook 12 does",
    MAE: "paints hidden patches: viz.masked_pictures draws them, as in notebook 09",
    ViViT: "watches films, arrays (B, T, C, H, W): call it with some, as notebook 13 does",
}


def predict(source, photo, out=None, threshold=None, things=None):
    """Apply a model to a photo, print the predictions and draw them on the photo.

    Parameters
    ----------
    source : str or path
        A published folder, the folder of a finished training, or the name of a small model that comes with minivis.
    photo : str or path
        A picture file.
    out : str or path, optional
        The picture to write. The default is the photo's name with ``-predicted.png`` at the end, in the current folder.
    threshold : float, optional
        Minimal score of a box or mask. The default is 0.7 for boxes, 0.5 for RT-DETR's, 0.85 for DETR's masks, 0.8 for those of
        MaskFormer and Mask2Former, and 0.88 for the IoU that a SAM expects of a mask (0.7 for a small SAM). A SAM is asked
        about a grid of points.
    things : list of str, optional
        Names or numbers of the classes that are things, for a panoptic model for which this is unknown.

    Returns
    -------
    Path
        Path of the picture.

    Raises
    ------
    FileNotFoundError
        If there is no such model or photo.
    ValueError
        If a file is broken, the picture would overwrite the photo, the threshold is not within [0, 1], or `things` names a
        class that the model does not have.
    """
    out = Path(out or f"{Path(photo).stem}-predicted.png")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"predict: threshold must be within [0, 1], got {threshold}")
    image = read_image(photo)  # (3, H, W); before the model, so that a missing photo is reported at once
    if out.exists() and out.samefile(photo):
        raise ValueError(f"predict: out is the photo itself, {photo}: name another file")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"predict: there is no folder {out.absolute().parent} to write {out.name} into"
        )
    model = load(source)
    if type(model) in OTHERWISE:
        raise ValueError(f"predict: {source} {OTHERWISE[type(model)]}")
    if things is not None:
        model.things = postprocess.things_of(model.labels, things)
    batch = model.preprocess(image)
    output = run_model(source, model, batch, image.shape[1:], threshold)
    lines, figure = describe(model, output, image, threshold, batch.shape[2:])
    print(*lines, sep="\n")
    figure.save(out)
    print(f"drawn on {out}")
    return out


def load(source):
    """Load a model that is ready for photos: a published one, or one of minivis."""
    folder = as_path(source)
    published = folder.is_dir() and not (
        (folder / CONFIG).is_file() and "arguments" in read_json(folder / CONFIG)
    )
    return from_pretrained(folder, dtype="float32") if published else load_ready(source)


def run_model(source, model, batch, photo=None, threshold=None):
    """The model's output for a preprocessed photo. Raise a clear error if model and preprocessing do not fit together.

    ``photo`` is the height and width of the photo itself. A SAM answers with a list of `FoundMask`.
    """
    # a YOLO itself returns its grid, an RT-DETR its queries
    answer = model.detect if isinstance(model, RTDETR | YOLO | YOLOv2) else model
    if isinstance(model, SAM):
        picture = model.preprocess.new_size(*photo)
        options = {"picture": picture, "photo": photo}
        if min(model.prompt_encoder.grid) < 32:  # of a small picture the border is a larger part
            options |= {"side": min(model.prompt_encoder.grid), "iou": 0.7, "stability": 0.9}
        options |= {} if threshold is None else {"iou": threshold}
        answer = functools.partial(automatic_masks, model, **options)
    try:
        with no_grad():
            return answer(batch)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"predict: {source}: the model cannot read a photo as its settings prepare it, {tuple(batch.shape)}: {error}"
        ) from error


def describe(model, output, image, threshold=None, size=None):
    """The predictions for a photo as lines of text and as a Figure.

    ``size`` is the height and width of the photo as the model read it; a list of dicts has its boxes in these pixels.
    """
    if isinstance(model, SAM):
        return _without_prompts(output, image)
    found_in_list = isinstance(output, list) and isinstance(output[0], dict)
    if not model.labels or (isinstance(output, list) and not found_in_list):
        raise ValueError(
            "predict: this checkpoint is a backbone: it has features for other models, and no classes of its own"
        )
    labels = {number: _printable(name) for number, name in model.labels.items()}
    if isinstance(output, Tensor):
        return (_pixels if output.ndim == 4 else _classes)(labels, output, image)
    if found_in_list:
        usual = 0.5 if isinstance(model, RTDETR) else 0.7
        threshold = usual if threshold is None else threshold
        return _objects(
            labels, postprocess.regions(output[0], size, image.shape[1:], threshold), image, threshold
        )
    if getattr(output, "masks", None) is not None:
        return _segments(labels, model, output, image, threshold)
    threshold = 0.7 if threshold is None else threshold
    return _objects(labels, postprocess.detections(output, image.shape[1:], threshold), image, threshold)


def _printable(name):
    """A name from a file on one line, without control characters, which could disturb the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))


def _counted(found, one, more):
    return f"{len(found)} {one if len(found) == 1 else more}"


def _classes(names_of, logits, image):
    from minivis import viz

    labels, scores = postprocess.classes(logits[0])
    names = [names_of.get(int(label), str(label)) for label in labels]
    lines = [f"{score:.3f}  {name}" for name, score in zip(names, scores, strict=True)]
    return lines, viz.classes_on_image(image, names, scores)


def _pixels(labels, logits, image):
    from minivis import viz

    ids, segments = postprocess.pixels(logits, image.shape[1:])
    lines = [_counted(segments, "class", "classes")]
    for segment in segments:
        name = labels.get(segment["category_id"], str(segment["category_id"]))
        lines.append(f"{name}  {100 * segment['area'] / ids.size:.1f} % of the photo")
    return lines, viz.panoptic_on_image(image, ids, segments, labels, size=8)


def _objects(labels, found, image, threshold):
    from minivis import viz

    boxes = found["boxes"]
    count = _counted(boxes, "object", "objects")
    lines = [f"{count} with a score above {threshold:g}"]
    for label, score, box in zip(found["labels"], found["scores"], boxes, strict=True):
        x0, y0, x1, y1 = (round(float(x)) for x in box)
        name = labels.get(int(label), str(label))
        lines.append(f"{score:.3f}  {name}  from ({x0}, {y0}) to ({x1}, {y1})")
    told = found["labels"], found["scores"], labels
    if "masks" in found:
        return lines, viz.masks_on_image(image, found["masks"], *told, size=8, boxes=boxes)
    return lines, viz.boxes_on_image(image, boxes, *told, size=8)


def _segments(labels, model, output, image, threshold):
    from minivis import viz

    inside = not isinstance(model, MaskFormer)  # each model as its authors do it
    ids, segments = postprocess.segments(output, model.things, image.shape[1:], threshold, inside)
    lines = [_counted(segments, "segment", "segments")]
    for segment in segments:
        name = labels.get(segment["category_id"], str(segment["category_id"]))
        lines.append(f"{segment['score']:.3f}  {name}  {100 * segment['area'] / ids.size:.1f} % of the photo")
    return lines, viz.panoptic_on_image(image, ids, segments, labels, size=8)


def _without_prompts(found, image):
    """What a SAM found by itself: masks without names. Small ones are drawn over large ones."""
    from minivis import viz

    lines = [_counted(found, "thing", "things") + " without a name"]
    for one in found:
        x0, y0, x1, y1 = (round(float(x)) for x in one.box)
        share = 100 * one.area / one.mask.size
        lines.append(f"{one.iou:.3f}  {share:.1f} % of the photo, from ({x0}, {y0}) to ({x1}, {y1})")
    order = sorted(range(len(found)), key=lambda i: -found[i].area)
    masks = np.array([found[i].mask for i in order], bool).reshape(-1, *image.shape[1:])
    caption = "Each colour is a mask that the model is sure of, among its answers to a grid of points. Masks have no names."
    return lines, viz.masks_on_image(image, masks, size=8, caption=caption)
