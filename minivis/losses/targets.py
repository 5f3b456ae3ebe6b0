"""Check the targets of a batch and concatenate the objects of its images, for the set losses.

Not here: the losses and matchers themselves (set_prediction.py, mask_prediction.py).
"""

from dataclasses import dataclass

import numpy as np

from minivis.backend import to_numpy
from minivis.vision.target_keys import OF_EACH_OBJECT, known_keys

__all__ = []


@dataclass(frozen=True)
class Objects:
    """The objects of all images of a batch, concatenated image by image, on the CPU."""

    labels: np.ndarray  # (T,) int64
    boxes: np.ndarray | None  # (T, 4) cxcywh
    masks: np.ndarray | None  # (T, H, W) bool; smaller masks are padded at the bottom and at the right
    counts: np.ndarray  # (B,) how many objects each image has

    @property
    def image(self):
        """The image of every object, (T,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self):
        """The index of the first object of every image, (B,)."""
        return np.cumsum(self.counts) - self.counts


def without_crowds(name, targets):
    """Remove crowds from targets: a crowd is many objects under one mask, and no query can predict it.

    Parameters
    ----------
    name : str
        Name of the caller, for error messages.
    targets : list of dict
        One dict for each image. Objects for which ``iscrowd (T,)`` is True are removed from all its arrays.

    Returns
    -------
    list of dict
        The targets without crowds.
    """
    if not isinstance(targets, (list, tuple)) or not all(isinstance(target, dict) for target in targets):
        kinds = {type(target).__name__ for target in targets} if isinstance(targets, (list, tuple)) else ()
        got = f"a list of {', '.join(sorted(kinds))}" if kinds else type(targets).__name__
        raise TypeError(f"{name}: targets must be a list with a dict for each image, got {got}")
    left = []
    for i, target in enumerate(targets):
        target = known_keys(f"{name}: targets", target)
        if (kept := _not_crowds(name, i, target)) is not None:
            target = target | {key: to_numpy(target[key])[kept] for key in OF_EACH_OBJECT if key in target}
        left.append(target)
    return left


def with_target_indices(name, pairs, targets):
    """Pairs (queries, objects) of each image with the objects' indices in the target, which count crowds too."""
    kept = [_not_crowds(name, i, known_keys(f"{name}: targets", target)) for i, target in enumerate(targets)]
    return [
        (queries, objects if indices is None else indices[objects])
        for (queries, objects), indices in zip(pairs, kept, strict=True)
    ]


def _not_crowds(name, i, target):
    """The indices of the objects of a target that are not crowds, or None if there are no crowds."""
    if "iscrowd" not in target or "labels" not in target:
        return None
    crowd = to_numpy(target["iscrowd"])
    count = np.shape(target["labels"])[:1]
    lengths = {key: np.shape(target[key])[:1] for key in OF_EACH_OBJECT if key in target}
    if crowd.ndim != 1 or ((crowd != 0) & (crowd != 1)).any() or crowd.shape != count:
        raise ValueError(
            f"{name}: iscrowd must be (T,) boolean, one for each label (targets[{i}]['iscrowd']: {crowd.shape} "
            f"{crowd.dtype.name}, labels: {np.shape(target['labels'])})"
        )
    if not crowd.any():
        return None
    if odd := [key for key, length in lengths.items() if length != count]:
        raise ValueError(
            f"{name}: {odd[0]} must be one for each label (targets[{i}][{odd[0]!r}]: {np.shape(target[odd[0]])}, "
            f"labels: {np.shape(target['labels'])})"
        )
    return np.flatnonzero(crowd == 0)


def complete(name, targets, batch, needed):
    """The targets of ``batch`` images without crowds; one that lacks its labels or a needed key is refused."""
    targets = without_crowds(name, targets)
    if len(targets) != batch or not batch:
        raise ValueError(f"{name}: {batch} images are predicted, but targets has {len(targets)} of them")
    for i, target in enumerate(targets):
        if missing := [key for key in ("labels", *needed) if key not in target]:
            raise ValueError(
                f"{name}: targets[{i}] lacks {missing[0]!r}; it has {', '.join(map(repr, target)) or 'nothing'}"
            )
    return targets


def gather(name, targets, batch, classes, needed, no_object=True):
    """Check the targets of a batch and concatenate their objects, without crowds.

    Parameters
    ----------
    name : str
        Name of the caller, for error messages.
    targets : list of dict
        One dict for each image.
    batch, classes : int
        Number of images and of classes, without no-object, in the predictions.
    needed : sequence of {"boxes", "masks"}
        Keys that are needed besides the labels.
    no_object : bool, default True
        Whether the model has a class of that name after the others; an error says so.

    Returns
    -------
    Objects
    """
    targets = complete(name, targets, batch, needed)
    labels = [to_numpy(target["labels"]) for target in targets]
    counts = np.array([x.size for x in labels])
    boxes = masks = None
    labels = _labels(name, labels, classes, no_object)
    if "boxes" in needed:
        boxes = _boxes(name, [to_numpy(target["boxes"]) for target in targets], counts)
    if "masks" in needed:
        masks = _masks(name, [to_numpy(target["masks"]) for target in targets], counts)
    return Objects(labels, boxes, masks, counts)


def _labels(name, labels, classes, no_object):
    for i, x in enumerate(labels):
        if x.ndim != 1:
            raise ValueError(f"{name}: labels must be (T,) (targets[{i}]['labels']: {x.shape})")
        if x.size and x.dtype.kind not in "iu":
            raise TypeError(f"{name}: labels must be integers, got {x.dtype.name} in targets[{i}]['labels']")
    row = np.concatenate([x.astype(np.int64) for x in labels])
    if row.size and not (row.min() >= 0 and row.max() < classes):
        i = next(i for i, x in enumerate(labels) if x.size and not (x.min() >= 0 and x.max() < classes))
        wrong = next(int(label) for label in labels[i] if not 0 <= label < classes)
        why = f"; {classes} stands for no object" if no_object and wrong == classes else ""
        raise ValueError(
            f"{name}: label {wrong} in targets[{i}] is out of range for {classes} classes, 0 to {classes - 1}{why} "
            "(the number of classes is the highest label plus 1)"
        )
    return row


def _boxes(name, boxes, counts):
    for i, (x, count) in enumerate(zip(boxes, counts, strict=True)):
        if x.shape != (count, 4) and (count or x.size):
            raise ValueError(
                f"{name}: boxes must be (T, 4), one for each label (targets[{i}]['boxes']: {x.shape}, labels: {(int(count),)})"
            )
    row = np.concatenate([x.reshape(-1, 4) for x in boxes])
    row = row if row.dtype.kind == "f" else row.astype(np.float32)
    centre = row[:, :2]
    size = row[:, 2:]
    kind = "boxes must be (centre x, centre y, width, height) in shares of the image, 0 to 1"
    wrong = ~((centre > -1e-4) & (centre < 1 + 1e-4) & (size >= 0) & (size <= 2)).all(axis=1)
    if wrong.any():
        at = int(wrong.argmax())
        box = row[at]
        i = int(np.repeat(np.arange(len(counts)), counts)[at])
        why = "is not finite"
        if np.isfinite(box).all():
            why = (
                "has a negative width or height"
                if box[2:].min() < 0
                else "has its centre outside the image, which no query predicts"
            )
            why = "looks like pixels: divide by the image's width and height" if box.max() > 2 else why
        raise ValueError(f"{name}: {kind}; {_as_text(box)} in targets[{i}] {why}")
    # Corners (x1, y1, x2, y2) have x1 < x2 and y1 < y2. Read as centre and size, some of these boxes leave the image.
    outside = ((centre - size / 2 < -0.02) | (centre + size / 2 > 1.02)).any(axis=1)
    if len(row) >= 3 and (size > centre).all() and outside.any():
        raise ValueError(
            f"{name}: {kind}; all {len(row)} of the batch look like corners (x1, y1, x2, y2), for example "
            f"{_as_text(row[outside.argmax()])}: convert them with mv.vision.box_xyxy_to_cxcywh"
        )
    return row


def _as_text(box):
    return f"({', '.join(f'{x:g}' for x in box)})"


def _masks(name, masks, counts):
    for i, (x, count) in enumerate(zip(masks, counts, strict=True)):
        if x.ndim != 3 or len(x) != count or not all(x.shape[1:]):
            raise ValueError(
                f"{name}: masks must be (T, H, W), one for each label (targets[{i}]['masks']: {x.shape}, labels: {(int(count),)})"
            )
        if x.dtype != bool and ((x != 0) & (x != 1)).any():
            raise ValueError(
                f"{name}: masks must be boolean, got other values than 0 and 1 in targets[{i}]['masks']"
            )
    size = tuple(max(x.shape[axis] for x in masks) for axis in (1, 2))
    if all(x.shape[1:] == size for x in masks):
        return np.concatenate(masks).astype(bool, copy=False)
    row = np.zeros((int(counts.sum()), *size), bool)
    for start, x in zip(np.cumsum(counts) - counts, masks, strict=True):
        row[start : start + len(x), : x.shape[1], : x.shape[2]] = x
    return row
