"""From a model's output for one photo to readable results: classes, boxes in pixels, segments.

Not here: merging masks (vision/panoptic.py), pictures (viz/), batches of photos (index the output first).
"""

import logging

import numpy as np

from minivis import ops
from minivis.backend import to_numpy
from minivis.files import some
from minivis.listed import told
from minivis.vision import box_cxcywh_to_xyxy, detr_detections, detr_panoptic, panoptic_inference

__all__ = [
    "classes",
    "countable",
    "detections",
    "pixels",
    "regions",
    "segments",
    "things_for",
    "things_of",
]

# Number of classes -> number of things, which come first. COCO's panoptic classes have 250 numbers in its files, or 133
# without gaps; COCO's objects 91, or 80 without gaps.
THINGS_OF = {250: 91, 133: 80, 91: 91, 80: 80}
# Cityscapes' 19 classes: Cordts et al., "The Cityscapes dataset", CVPR 2016, table 1. The eight things come last.
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_THINGS = CITYSCAPES[11:]
# The first of ADE20K's 150 classes; 50 of the 150 are stuff, according to Mask2Former's authors.
ADE20K = ("wall", "building", "sky", "floor")
ADE20K_STUFF = (
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77, 79, 84,
    91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
)  # fmt: skip


def things_of(labels, said=None):
    """Which classes are things (countable objects), not stuff (such as sky): from a list, or from the names of the classes.

    Parameters
    ----------
    labels : dict of int to str
        The classes: ``model.labels``.
    said : list of str or int, optional
        Names or numbers of the things, from ``"things"`` in config.json or from ``minivis predict --things``.

    Returns
    -------
    list of bool, or None
        None if there is no list and the classes are not those of COCO, Cityscapes or ADE20K.

    Raises
    ------
    ValueError
        If `said` has an unknown class.

    Examples
    --------
    >>> things_of({0: "lawn", 1: "dog"}, ["dog"])
    [False, True]
    """
    names = [labels[number] for number in range(len(labels))]
    if said is not None:
        if not isinstance(said, list):
            raise ValueError(f"things must be a list of names or numbers of classes, got {told(said)}")
        known = {str(name): i for i, name in enumerate(names)} | {str(i): i for i in range(len(names))}
        if unknown := [thing for thing in said if isinstance(thing, bool) or str(thing) not in known]:
            raise ValueError(f"things: there is no class {told(unknown[0])}; there are {some(names, 8)}")
        found = {known[str(thing)] for thing in said}
        return [i in found for i in range(len(names))]
    plain = [str(name).strip().lower() for name in names]
    if plain and set(plain) <= set(CITYSCAPES) and set(CITYSCAPES_THINGS) <= set(plain):
        return [name in CITYSCAPES_THINGS for name in plain]
    if len(plain) == 150 and tuple(plain[:4]) == ADE20K:
        return [i not in ADE20K_STUFF for i in range(150)]
    return countable(len(names)).tolist() if len(names) in THINGS_OF else None


def things_for(model, who, where, said=None):
    """Which classes of a model are things, as `things_of`; all are if it finds boxes of regions.

    If it is unknown, all are taken for stuff; for a model with masks a warning is logged that says what to do.

    Parameters
    ----------
    model : Module
        With ``labels``.
    who, where : str
        The function that asks and the file or name of the model, for the warning.
    said : list of str or int, optional
        As for `things_of`.

    Returns
    -------
    list of bool

    Raises
    ------
    ValueError
        If `said` has an unknown class.
    """
    if hasattr(model, "rpn"):
        return [True] * len(model.labels)
    found = things_of(model.labels, said)
    if found is None and (hasattr(model, "pixel_decoder") or getattr(model, "mask_head", None)):
        logging.getLogger("minivis").warning(
            "%s: %s does not say which of its %d classes are things that can be counted: all are taken for stuff, so that "
            "neighbours of one class are one segment. Name them: `minivis predict ... --things car person`, or "
            'model.things = [True, False, ...], or for a published folder {"things": ["car", ...]} in its config.json',
            who,
            where,
            len(model.labels),
        )
    return [False] * len(model.labels) if found is None else found


def countable(K):
    """Which classes are things, from the number of classes: COCO's are known; for other numbers all are stuff.

    Parameters
    ----------
    K : int
        Number of classes.

    Returns
    -------
    ndarray of bool, shape (K,)

    Examples
    --------
    >>> int(countable(133).sum()), int(countable(150).sum())
    (80, 0)
    """
    return np.arange(K) < THINGS_OF.get(K, 0)


def classes(logits, count=5):
    """The most probable classes of one image.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (K,)
        Logits of one image: ``model(images)[0]``.
    count : int, default 5
        Maximal number of classes.

    Returns
    -------
    labels : ndarray of int64
        The classes, most probable first.
    scores : ndarray
        Their probabilities.

    Examples
    --------
    >>> classes(np.log([0.25, 0.75]))
    (array([1, 0]), array([0.75, 0.25]))
    """
    probabilities = ops.softmax(to_numpy(logits), axis=-1)
    labels = np.argsort(-probabilities, kind="stable")[:count]
    return labels, probabilities[labels]


def pixels(logits, size):
    """The class of each pixel of one photo, and how many pixels each class has.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (1, K, H, W)
        The model's output for one photo.
    size : (int, int)
        Height and width of the photo: the logits are resized to it, bilinearly.

    Returns
    -------
    ids : ndarray of int64, shape ``size``
        1 + the class of each pixel, as the ids of `segments`.
    segments : list of dict
        For each class that occurs: ``id``, ``category_id`` and ``area`` in pixels, the largest first.

    Raises
    ------
    ValueError
        If the logits are of more than one photo.

    Examples
    --------
    >>> ids, segments = pixels(np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]]), (1, 2))
    >>> ids, [s["category_id"] for s in segments]
    (array([[1, 2]]), [0, 1])
    """
    if len(logits) != 1:
        raise ValueError(f"pixels: expected the answer about one photo (logits: {tuple(logits.shape)})")
    logits = ops.interpolate(to_numpy(logits), tuple(size), mode="bilinear")
    ids = 1 + logits[0].argmax(axis=0)
    found, areas = np.unique(ids, return_counts=True)
    order = np.argsort(-areas, kind="stable")
    return ids, [
        {"id": int(found[i]), "category_id": int(found[i]) - 1, "area": int(areas[i])} for i in order
    ]


def regions(found, size, photo, threshold=0.7):
    """The objects of one photo that a detector with regions has found, in pixels of the photo.

    Parameters
    ----------
    found : dict
        ``boxes (n, 4)``, ``labels (n,)``, ``scores (n,)``, and perhaps ``masks (n, 1, H, W)``, probabilities.
    size : (int, int) or None
        Height and width to which the boxes and masks belong; None: those of the photo.
    photo : (int, int)
        Height and width of the photo, in pixels.
    threshold : float, default 0.7
        Only objects with a larger score are kept.

    Returns
    -------
    dict of ndarray
        The same for the objects that are left; ``masks`` are boolean, (m, H, W).

    Examples
    --------
    >>> found = {"boxes": np.array([[0.0, 1.0, 2.0, 3.0]]), "labels": np.array([4]), "scores": np.array([0.9])}
    >>> regions(found, (4, 4), (8, 12))["boxes"]
    array([[0., 2., 6., 6.]])
    """
    kept = found["scores"] > threshold
    height, width = (there / here for there, here in zip(photo, size or photo, strict=True))
    boxes = found["boxes"] * np.array([width, height, width, height], found["boxes"].dtype)
    result = {"boxes": boxes[kept], "labels": found["labels"][kept], "scores": found["scores"][kept]}
    if "masks" in found:
        masks = found["masks"][kept].astype(np.float32)
        result["masks"] = ops.interpolate(masks, size=tuple(photo), mode="bilinear")[:, 0] > 0.5
    return result


def detections(output, size, threshold=0.7):
    """The objects that DETR detects with a high score, in order of decreasing score.

    Parameters
    ----------
    output : object with logits (1, Q, K + 1) and boxes (1, Q, 4)
        The model's output.
    size : (int, int)
        Height and width of the photo, in pixels.
    threshold : float, default 0.7
        The probability of a class other than "no object" must be at least this.

    Returns
    -------
    dict
        ``boxes`` (n, 4), corners x0, y0, x1, y1 in pixels; ``labels`` (n,) int64; ``scores`` (n,).

    Raises
    ------
    ValueError
        If the output is for several photos.
    """
    _check_one("detections", output)
    found = detr_detections(output.logits[0], output.boxes[0], threshold)
    height, width = size
    found["boxes"] = box_cxcywh_to_xyxy(found["boxes"]) * np.array([width, height, width, height])
    return found


def segments(output, things, size, threshold=None, inside=True):
    """The panoptic result of a model with masks, merged in the way of its authors.

    Parameters
    ----------
    output : object with logits (1, Q, K + 1) and masks (1, Q, h, w)
        The model's output. If it has boxes too, it is DETR's, otherwise MaskFormer's or Mask2Former's.
    things : array of bool, shape (K,)
        True for classes that are things.
    size : (int, int)
        Height and width of the photo, in pixels.
    threshold : float, optional
        The probability of a query's class must be larger than this; default: the authors', 0.85 for DETR and 0.8 for
        MaskFormer and Mask2Former.
    inside : bool, default True
        As for `minivis.vision.panoptic_inference`; False for MaskFormer. DETR's merge does not ask.

    Returns
    -------
    ids : ndarray of int32, shape (H, W)
        Number of each pixel's segment; 0 = none.
    segments : list of dict
        See `minivis.vision.detr_panoptic`.

    Raises
    ------
    ValueError
        If the output is for several photos.
    """
    _check_one("segments", output)
    options = {} if threshold is None else {"threshold": threshold}
    merge = detr_panoptic
    if getattr(output, "boxes", None) is None:
        merge = panoptic_inference
        options["inside"] = inside
    return merge(to_numpy(output.logits[0]), to_numpy(output.masks[0]), things, size, **options)


def _check_one(name, output):
    if len(output.logits) != 1:
        raise ValueError(
            f"{name}: expected the answer about one photo, got logits {tuple(output.logits.shape)}"
        )
