"""Masks of objects: the box around one, one from a box, run lengths (COCO's format), pasting a small one into an image.

Not here: losses on masks (losses/masks.py), who gets which pixel of an image (panoptic.py).
"""

import operator

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy

__all__ = ["boxes_to_masks", "masks_to_boxes", "paste_masks", "rle_decode", "rle_encode"]


def _length(name, argument, value):
    """A number of pixels as an int of at least 1."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {argument} must be an integer (pixels), got {value!r}") from None
    if value < 1:
        raise ValueError(f"{name}: {argument} must be at least 1 pixel, got {value}")
    return value


def _boolean(name, masks):
    """Masks as an array, refused where they are no masks yet."""
    masks = masks.data if isinstance(masks, Tensor) else masks
    if masks.dtype != bool:
        raise TypeError(
            f"{name}: masks must be boolean, True = object, got {masks.dtype.name}: logits become masks by "
            f"`logits > 0`, numbers 0 and 1 by `.astype(bool)`"
        )
    return masks


def _corners(name, boxes):
    """The four columns x1, y1, x2, y2 of boxes, refused where a corner is on the wrong side of the other."""
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"{name}: boxes must be (..., 4): x1, y1, x2, y2 (boxes: {tuple(boxes.shape)})")
    values = to_numpy(boxes)
    wrong = ~((values[..., 0] <= values[..., 2]) & (values[..., 1] <= values[..., 3]))
    if wrong.any():
        raise ValueError(
            f"{name}: boxes must be xyxy with x1 <= x2 and y1 <= y2, in pixels, but one is "
            f"{values[wrong][0].tolist()}; if these are cxcywh, convert them with box_cxcywh_to_xyxy first"
        )
    return tuple(boxes[..., i] for i in range(4))


def masks_to_boxes(masks):
    """The smallest box around each mask.

    Parameters
    ----------
    masks : ndarray, shape (..., H, W)
        Boolean, True = object.

    Returns
    -------
    ndarray, shape (..., 4)
        float32, xyxy in pixels: (x1, y1) is the upper left corner of the first pixel, (x2, y2) the lower right corner
        of the last, so that x2 - x1 is the number of columns. An empty mask has the box (0, 0, 0, 0).

    Raises
    ------
    TypeError
        If the masks are not boolean.
    ValueError
        If they are not (..., H, W) with pixels.

    Notes
    -----
    Many implementations return the index of the last pixel as x2: every width is 1 too small then, and one pixel has
    no width at all.

    Examples
    --------
    >>> masks_to_boxes(np.array([[[False, True, True], [False, True, False]]]))
    array([[1., 0., 3., 2.]], dtype=float32)
    """
    masks = _boolean("masks_to_boxes", masks)
    if masks.ndim < 2 or not all(masks.shape[-2:]):
        raise ValueError(f"masks_to_boxes: masks must be (..., H, W) with pixels (masks: {masks.shape})")
    xp = namespace(masks)
    ends = []
    for axis in (-2, -1):  # which columns hold an object: x; which rows: y
        hit = masks.any(axis=axis)  # (..., W) or (..., H)
        first, last = hit.argmax(axis=-1), hit.shape[-1] - hit[..., ::-1].argmax(axis=-1)
        ends.append((first, xp.where(hit.any(axis=-1), last, 0)))
    (x1, x2), (y1, y2) = ends
    return xp.stack([x1, y1, x2, y2], axis=-1).astype(xp.float32)


def boxes_to_masks(boxes, height, width):
    """Fill boxes: a pixel belongs to a box when its centre does.

    Parameters
    ----------
    boxes : ndarray, shape (..., 4)
        xyxy in pixels; they may leave the image.
    height, width : int
        Of the image, pixels.

    Returns
    -------
    ndarray, shape (..., height, width)
        Boolean. The pixel in row i and column j is True where x1 <= j + 1/2 < x2 and y1 <= i + 1/2 < y2: boxes that
        share an edge share no pixel.

    Raises
    ------
    ValueError
        If the boxes are not xyxy or the image has no pixels.
    TypeError
        If `height` or `width` is no integer.

    Examples
    --------
    >>> boxes_to_masks(np.array([1.0, 0.0, 3.0, 1.0]), 2, 3)
    array([[False,  True,  True],
           [False, False, False]])
    """
    boxes = boxes.data if isinstance(boxes, Tensor) else boxes
    height, width = _length("boxes_to_masks", "height", height), _length("boxes_to_masks", "width", width)
    x1, y1, x2, y2 = (side[..., None] for side in _corners("boxes_to_masks", boxes))
    xp = namespace(boxes)
    x, y = xp.arange(width) + 0.5, xp.arange(height) + 0.5
    columns, rows = (x1 <= x) & (x < x2), (y1 <= y) & (y < y2)  # (..., W), (..., H)
    return rows[..., :, None] & columns[..., None, :]


def paste_masks(masks, boxes, height, width):
    """Stretch small masks to their boxes in an image, as Mask R-CNN puts its 28 x 28 masks back.

    The centre of pixel (i, j) lies at ((j + 1/2 - x1) / (x2 - x1), (i + 1/2 - y1) / (y2 - y1)) of the box; there the
    mask is read, bilinear between its pixels and falling to 0 within half of one of them outside the box.

    Parameters
    ----------
    masks : ndarray or Tensor, shape (N, h, w)
        Floating-point, usually probabilities.
    boxes : ndarray or Tensor, shape (N, 4)
        xyxy in pixels; they may leave the image. A box without area takes nothing.
    height, width : int
        Of the image, pixels.

    Returns
    -------
    ndarray or Tensor, shape (N, height, width)
        In the dtype of `masks`; ``> 0.5`` makes masks of it.

    Raises
    ------
    ValueError
        If the shapes do not go together, the boxes are not xyxy, or the image has no pixels.
    TypeError
        If `height` or `width` is no integer, or `masks` or `boxes` not floating-point.

    Notes
    -----
    Differentiable in `masks` and `boxes`. Half a pixel matters: reading at corners instead of centres moves a small
    object by half a pixel up and left, which at an IoU threshold of 0.75 is the difference between right and wrong.

    References
    ----------
    He et al., "Mask R-CNN", ICCV 2017, section 3.1.

    Examples
    --------
    >>> paste_masks(np.ones((1, 1, 1)), np.array([[1.0, 0.0, 3.0, 1.0]]), 1, 4)
    array([[[0.25, 0.75, 0.75, 0.25]]])
    """
    if masks.ndim != 3 or tuple(boxes.shape) != (masks.shape[0], 4):
        raise ValueError(
            f"paste_masks: masks must be (N, h, w) and boxes (N, 4) (masks: {tuple(masks.shape)}, "
            f"boxes: {tuple(boxes.shape)})"
        )
    height, width = _length("paste_masks", "height", height), _length("paste_masks", "width", width)
    x1, y1, x2, y2 = _corners("paste_masks", boxes)
    raw = boxes.data if isinstance(boxes, Tensor) else boxes
    xp, shape = namespace(raw), (masks.shape[0], height, width)
    solid = ((raw[:, 2] > raw[:, 0]) & (raw[:, 3] > raw[:, 1]))[:, None]  # (N, 1)

    def along(low, high, length):  # (N,), (N,) -> (N, length), -1 and 1 at the sides of the box
        centres = (xp.arange(length) + 0.5).astype(raw.dtype)
        side = ops.where(solid, ops.expand_dims(high - low, -1), 1.0)
        return ops.where(solid, 2 * (centres - ops.expand_dims(low, -1)) / side - 1, -3.0)  # -3: far outside

    x = ops.broadcast_to(ops.expand_dims(along(x1, x2, width), -2), shape)
    y = ops.broadcast_to(ops.expand_dims(along(y1, y2, height), -1), shape)
    return ops.squeeze(ops.grid_sample(ops.expand_dims(masks, 1), ops.stack([x, y], axis=-1)), 1)


# ---------------------------------------------------------------------------------------------------------------------
# Run lengths


def rle_encode(mask, compressed=True):
    """Write a mask as the lengths of its runs, as COCO's files do.

    The pixels are read column by column, top to bottom; the lengths are those of the runs of False, True, False ...
    in turn, so the first is 0 where the first pixel is True.

    Parameters
    ----------
    mask : ndarray, shape (H, W)
        Boolean, True = object.
    compressed : bool, default True
        Pack the lengths into a string: from the fourth run on the difference to the last but one is written (runs in
        neighbouring columns are of like length), in groups of 5 bits, low ones first, each plus 32 when another
        follows, plus 48 to be a printable character.

    Returns
    -------
    dict
        ``size``: [H, W]; ``counts``: a string, or a list of int when not compressed. Fit for `json`.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If it is not (H, W).

    References
    ----------
    Lin et al., "Microsoft COCO", ECCV 2014; the string is that of its mask API.

    Examples
    --------
    >>> rle_encode(np.array([[False, True], [True, True]]), compressed=False)
    {'size': [2, 2], 'counts': [1, 3]}
    >>> rle_encode(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': '13'}
    """
    mask = to_numpy(_boolean("rle_encode", mask))
    if mask.ndim != 2:
        raise ValueError(f"rle_encode: mask must be (H, W), one mask at a time (mask: {mask.shape})")
    pixels = mask.reshape(-1, order="F")
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff([0, *ends, pixels.size]).tolist()
    if pixels.size and pixels[0]:
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": _pack(counts) if compressed else counts}


def rle_decode(rle):
    """Make the mask of its run lengths again: the inverse of `rle_encode`.

    Parameters
    ----------
    rle : dict
        ``size``: [H, W]; ``counts``: a list of lengths, or the compressed string (str or bytes).

    Returns
    -------
    numpy.ndarray, shape (H, W)
        Boolean.

    Raises
    ------
    ValueError
        If the string is damaged or the lengths do not fill the image.

    Examples
    --------
    >>> rle_decode({"size": [2, 2], "counts": "13"})
    array([[False,  True],
           [ True,  True]])
    """
    height, width = rle["size"]
    counts = rle["counts"]
    counts = _unpack(counts) if isinstance(counts, (str, bytes)) else list(counts)
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise ValueError(
            f"rle_decode: the run lengths must not be negative and fill size {height} x {width} = {height * width} "
            f"pixels, but they sum to {sum(counts)} and the least is {min(counts, default=0)}"
        )
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(pixels.reshape(height, width, order="F"))


def _pack(counts):
    """Lengths -> characters."""
    text = []
    for i, count in enumerate(counts):
        left = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits, left = left & 31, left >> 5
            more = left != (-1 if bits & 16 else 0)  # bit 16 of the last group is the sign
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def _unpack(text):
    """Characters -> lengths."""
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    counts, groups = [], []
    for at, character in enumerate(text):
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(
                f"rle_decode: counts has the character {character!r} at {at}, which is no group of bits"
            )
        groups.append(code & 31)
        if not code & 32:
            value = sum(bits << 5 * i for i, bits in enumerate(groups))
            value -= (groups[-1] >> 4) << 5 * len(groups)  # the sign
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            groups = []
    if groups:
        raise ValueError("rle_decode: counts ends in the middle of a number: the string is cut off")
    return counts
