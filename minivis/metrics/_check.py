"""Check the inputs of average precision and convert them to arrays: boxes in pixels, scores, labels.

Not here: the computation (detection.py).
"""

import numpy as np

from minivis.backend import to_numpy
from minivis.vision.target_keys import known_keys


def entry(argument, given, kind, size):
    """The checked dict of one image, its labels (n,), and its boxes (n, 4) in pixels or masks (n, H, W)."""
    name = f"AveragePrecision: {argument}"
    if not isinstance(given, dict):
        raise TypeError(f"{name} must be a list with a dict for each image, got {type(given).__name__}")
    given = known_keys(name, given)
    missing = [key for key in ("labels", kind) if key not in given]
    if missing:
        raise ValueError(f"{name} must have {' and '.join(missing)}, got {', '.join(given) or 'nothing'}")
    labels = to_numpy(given["labels"])
    shapes = to_numpy(given[kind])
    expected = "(n, 4)" if kind == "boxes" else "(n, H, W)"
    fits = shapes.shape[1:] == (4,) if kind == "boxes" else shapes.ndim == 3
    if labels.ndim != 1 or not fits or len(shapes) != len(labels):
        raise ValueError(
            f"{name}: labels must be (n,) and {kind} {expected} (labels: {labels.shape}, {kind}: {shapes.shape})"
        )
    if len(labels) and labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {labels.dtype.name}")
    if kind == "masks" and shapes.dtype != bool:
        raise TypeError(
            f"{name}: masks must be boolean, got {shapes.dtype.name}: logits become masks by `logits > 0`"
        )
    if kind == "boxes":
        shapes = _pixel_boxes(name, shapes.astype(float), size, argument == "targets")
    return given, labels.astype(np.int64), shapes


def column(argument, given, key, labels, default=None):
    """One number for each detection or object: scores, area or iscrowd."""
    values = given.get(key, default)
    if values is None:
        raise ValueError(f"AveragePrecision: {argument} must have {key}, got {', '.join(given)}")
    values = to_numpy(values).astype(float)
    if values.shape != labels.shape or np.isnan(values).any():
        raise ValueError(
            f"AveragePrecision: {argument}: {key} must be (n,) without NaN "
            f"({key}: {values.shape}, labels: {labels.shape})"
        )
    return values


def crowds(given, labels):
    """Which objects are crowds, (T,) bool."""
    crowd = column("targets", given, "iscrowd", labels, np.zeros(len(labels)))
    if not np.isin(crowd, (0, 1)).all():
        raise ValueError(
            f"AveragePrecision: targets: iscrowd must be boolean, got {crowd[~np.isin(crowd, (0, 1))][0]}"
        )
    return crowd.astype(bool)


def _pixel_boxes(name, boxes, size, is_target):
    """Boxes (n, 4) as xyxy in pixels; raise if they look like another format."""
    if size is not None:
        if is_target and np.abs(boxes).max(initial=0) > 2:
            raise ValueError(
                f"{name}: with sizes, boxes must be cxcywh from 0 to 1, but one is {boxes[np.abs(boxes).argmax() // 4]}: "
                "for xyxy in pixels leave sizes out"
            )
        (cx, cy, w, h) = boxes.T
        (height, width) = size
        corners = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)
        boxes = corners * ([width, height] * 2)
    elif is_target and len(boxes) and boxes.min() >= 0 and boxes.max() <= 1 and (boxes % 1).any():
        raise ValueError(
            f"{name}: boxes must be xyxy in pixels, but all lie between 0 and 1, as {boxes[0]}: if they are cxcywh from 0 "
            "to 1, give sizes=[(height, width), ...]"
        )
    wrong = ~((boxes[:, :2] <= boxes[:, 2:]).all(axis=1) & np.isfinite(boxes).all(axis=1))
    if wrong.any():
        raise ValueError(
            f"{name}: boxes must be xyxy with x1 <= x2 and y1 <= y2, in pixels, but one is {boxes[wrong][0]}: "
            "cxcywh or xywh must be converted first, NaN means the model failed"
        )
    return boxes
