"""Masks of everything in a picture: SAM is asked about a grid of points, and only sure answers stay, each thing once.

Kirillov et al., "Segment anything", ICCV 2023, section 5 and appendix B. Not here: the model (models/sam.py), crops of the
picture, which the authors also ask about to find smaller things.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.backend import device_of, move, to_numpy
from minivis.complaints import named
from minivis.vision.masks import masks_to_boxes
from minivis.vision.prompts import stability_score
from minivis.vision.suppression import nms as suppress

__all__ = ["FoundMask", "automatic_masks", "masks_in_photo", "point_grid"]

AT_ONCE = 64  # points; more take more memory: 3 masks of the photo's size for each


@dataclass
class FoundMask:
    """A thing that was found without being asked for.

    Attributes
    ----------
    mask : bool ndarray, shape (H, W)
        True = pixel of the thing, in the photo.
    box : ndarray, shape (4,)
        x0, y0, x1, y1 of the mask in pixels of the photo.
    iou : float
        The model's estimate of the mask's IoU.
    stability : float
        The mask's `stability_score`.
    point : ndarray, shape (2,)
        x and y of the point of the grid that found it, in pixels of the photo.
    """

    mask: np.ndarray
    box: np.ndarray
    iou: float
    stability: float
    point: np.ndarray

    @property
    def area(self):
        """Number of pixels of the mask."""
        return int(self.mask.sum())


def point_grid(side, size):
    """Points in the middles of side x side equal fields of a picture, row by row.

    Parameters
    ----------
    side : int
        Number of points along each axis.
    size : (int, int)
        Height and width of the picture in pixels.

    Returns
    -------
    ndarray of float64, shape (side * side, 2)
        x, then y. Like all prompts of SAM, they count from the centre of the first pixel. (The authors' points lie half a
        pixel further right and down.)

    Raises
    ------
    ValueError
        If ``side`` is not a whole number of at least 1, or the size is not positive.

    Examples
    --------
    >>> point_grid(2, (4, 8))
    array([[1.5, 0.5],
           [5.5, 0.5],
           [1.5, 2.5],
           [5.5, 2.5]])
    """
    (height, width) = size
    if not hasattr(side, "__index__") or side < 1 or not (height > 0 and width > 0):
        raise ValueError(
            f"point_grid: side must be a whole number of at least 1, height and width positive, got {side}, {height}, {width}"
        )
    middles = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(middles * width - 0.5, middles * height - 0.5)
    return np.stack([x, y], axis=-1).reshape(side * side, 2)


@named
def masks_in_photo(logits, size, picture=None, photo=None):
    """Enlarge a model's masks to the image that it read, cut off the padding, and resize what is left to the photo.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (..., h, w)
        Masks as the model returns them; positive where a pixel belongs to the thing.
    size : (int, int)
        Height and width of the image that the model read, with the padding at its bottom and right.
    picture : (int, int), optional
        Height and width of the part that is not padding; default ``size``.
    photo : (int, int), optional
        Height and width of the photo; default ``picture``.

    Returns
    -------
    ndarray or Tensor, shape (..., H, W)
        Logits again: resized twice, bilinearly. ``> 0`` gives the masks.

    Raises
    ------
    ValueError
        If ``logits`` has no two axes, or ``picture`` is larger than ``size``.

    Notes
    -----
    Differentiable in ``logits``.

    Examples
    --------
    >>> masks_in_photo(np.array([[-1.0, 1.0], [-1.0, 1.0]]), (4, 4), (2, 4), (4, 8)).shape
    (4, 8)
    """
    picture = size if picture is None else picture
    photo = picture if photo is None else photo
    if logits.ndim < 2 or picture[0] > size[0] or picture[1] > size[1]:
        raise ValueError(
            f"masks_in_photo: logits must be (..., h, w), and the picture {tuple(picture)} lie inside the image "
            f"{tuple(size)} (logits: {tuple(logits.shape)})"
        )
    *lead, h, w = logits.shape
    x = ops.reshape(logits, (math.prod(lead), 1, h, w))
    x = ops.interpolate(x, size=tuple(size), mode="bilinear")[:, :, : picture[0], : picture[1]]
    x = ops.interpolate(x, size=tuple(photo), mode="bilinear")
    return ops.reshape(x, (*lead, *photo))


@named
def automatic_masks(
    model, image, side=32, iou=0.88, stability=0.95, nms=0.7, offset=1.0, picture=None, photo=None, at_once=AT_ONCE,
    progress=None,
):  # fmt: skip
    """Find the masks of all things in a picture without a prompt.

    The model is asked about each point of a grid and gives three masks for it. A mask stays if the model expects a high
    IoU and if the mask hardly changes with its threshold. Of masks with nearly the same box, the one with the highest
    expected IoU stays.

    Parameters
    ----------
    model : Module
        With ``embed(images)`` and ``answer(embedding, points=, point_labels=)``, as `SAM` has them.
    image : ndarray or Tensor, shape (3, H, W) or (1, 3, H, W)
        As the model reads it.
    side : int, default 32
        The grid has side x side points.
    iou : float, default 0.88
        Masks whose estimated IoU is not higher are left out.
    stability : float, default 0.95
        Masks with a lower `stability_score` are left out.
    nms : float, default 0.7
        Of two masks whose boxes have a larger IoU, the one with the lower estimate is left out.
    offset : float, default 1
        For the stability score.
    picture : (int, int), optional
        Height and width of the part of the image that is not padding; the grid lies there. Default: the whole image.
    photo : (int, int), optional
        Height and width of the masks that come out; default ``picture``.
    at_once : int, default 64
        Points in one call of the model. More take more memory; the result does not depend on it, but for rounding.
    progress : bool, optional
        Whether to show a bar with tqdm. Default: only where there is a terminal.

    Returns
    -------
    list of FoundMask
        In order of decreasing estimated IoU.

    Raises
    ------
    ValueError
        If the image is not one image, or a number is out of range.

    Notes
    -----
    The image is embedded once, and each point costs one pass of the light decoder. Nothing is kept for backward.

    References
    ----------
    Kirillov et al. 2023, appendix B. Slides ``A/85-sam-architecture``, ``A/92-sam-output-tokens``.

    Examples
    --------
    >>> from minivis.models import SAMOutput
    >>> class Halves:  # its mask is the half of the picture in which the point lies
    ...     def embed(self, images):
    ...         return images
    ...     def answer(self, embedding, points, point_labels):
    ...         right = points[..., 0] > 3.5
    ...         half = np.where((np.arange(8) > 3.5) == right[..., None, None], 9.0, -9.0)  # (1, P, 1, 1, 8)
    ...         return SAMOutput(np.repeat(half, 8, axis=3), np.ones((*points.shape[:2], 1)))
    >>> found = automatic_masks(Halves(), np.zeros((3, 8, 8), np.float32), side=4)
    >>> [(x.box.tolist(), x.area) for x in found]
    [([0.0, 0.0, 4.0, 8.0], 32), ([4.0, 0.0, 8.0, 8.0], 32)]
    """
    image = image.data if isinstance(image, Tensor) else image
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or len(image) != 1 or at_once < 1:
        raise ValueError(
            f"automatic_masks: image must be one image, (3, H, W), and at_once at least 1 (image: {tuple(image.shape)}, "
            f"at_once: {at_once})"
        )
    size = tuple(image.shape[2:])
    picture = size if picture is None else tuple(picture)
    photo = picture if photo is None else tuple(photo)
    points = point_grid(side, picture)
    found = []
    with no_grad():
        embedding = model.embed(image)
        for chunk in _bar(np.array_split(points, -(-len(points) // at_once)), progress):
            found += _answers(model, embedding, chunk, (size, picture, photo), (iou, stability, offset))
    scale = np.array([photo[1] / picture[1], photo[0] / picture[0]])
    for one in found:
        one.point = (one.point + 0.5) * scale - 0.5
    return _each_once(found, nms)


def _answers(model, embedding, points, sizes, limits):
    """The masks of some points (n, 2) that pass the limits. What the IoU leaves out is never enlarged."""
    least, stable, offset = limits
    device = device_of(embedding.data if isinstance(embedding, Tensor) else embedding)
    there = move(points[None, :, None], device)  # (1, n, 1, 2)
    on_it = move(np.ones((1, len(points), 1), np.int64), device)
    answer = model.answer(embedding, points=there, point_labels=on_it)
    expected = to_numpy(answer.iou)[0]  # (n, M)
    places, masks = np.nonzero(expected > least)
    logits = to_numpy(answer.masks)[0][places, masks]  # (k, h, w)
    logits = masks_in_photo(logits.astype(np.float32, copy=False), *sizes)
    score = stability_score(logits, offset)
    kept = np.flatnonzero((score >= stable) & (logits > 0).any(axis=(1, 2)))
    boxes = masks_to_boxes(logits[kept] > 0)
    return [
        FoundMask(
            logits[i] > 0, box, float(expected[places[i], masks[i]]), float(score[i]), points[places[i]]
        )
        for i, box in zip(kept, boxes, strict=True)
    ]


def _each_once(found, threshold):
    """Of masks with nearly the same box the best alone, the best first."""
    if not found:
        return []
    boxes = np.stack([one.box for one in found])
    kept = suppress(boxes, np.array([one.iou for one in found]), threshold)
    return [found[i] for i in kept]


def _bar(chunks, progress):
    from tqdm import tqdm

    progress = sys.stderr.isatty() if progress is None else progress
    return tqdm(chunks, desc="asking about points", unit="batch", leave=False, disable=not progress)
