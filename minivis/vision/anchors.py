"""Anchors: boxes of fixed sizes at every place of a map, and which of them has to predict which object.

Not here: how an anchor's prediction becomes a box (box_coding.py), reading a region of a map (rois.py).
"""

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy
from minivis.debugging import may_read
from minivis.ops.conv import sizes as whole_numbers
from minivis.pairs import checked_pair
from minivis.vision.boxes import check_corners, with_room

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "anchor_boxes",
    "level_of",
    "match_anchors",
    "original_anchor_boxes",
    "rt_detr_anchors",
]

IGNORED = -1  # an anchor that is neither an object nor background: it has no loss
BACKGROUND = -2


def anchor_boxes(height, width, stride, sizes, ratios, *, rounded=False, centred=True, dtype=np.float32):
    """The anchors of a map: at every cell one box for each ratio and size.

    .. math:: w = s / \\sqrt{r}, \\qquad h = s \\sqrt{r}

    for size s and ratio r: all anchors of one size have the same area s * s.

    Parameters
    ----------
    height, width : int
        Height H and width W of the map, in cells.
    stride : int or (int, int)
        Pixels of the picture from one row of cells to the next, and from one column to the next.
    sizes : sequence of floats
        The square roots of the areas, in pixels.
    ratios : sequence of floats
        Heights divided by widths.
    rounded : bool, default False
        Round half the width and half the height to whole pixels, as torchvision does.
    centred : bool, default True
        Whether anchors lie around the middle of their cell. False: around its upper left corner, as in torchvision.
    dtype : dtype, default float32
        Dtype of the result; it is computed in float64.

    Returns
    -------
    ndarray, shape (H * W * A, 4)
        Left, top, right, bottom in pixels, for A = len(ratios) * len(sizes) anchors a cell. First the cells in reading
        order, in each the ratios, for each ratio the sizes. Anchors may leave the picture.

    Raises
    ------
    ValueError
        If the map has no cells, or a stride, size or ratio is not positive.

    Notes
    -----
    A head that predicts A numbers a cell as (B, A, H, W) has to move its second axis to the end to be in this order.

    References
    ----------
    Ren et al., "Faster R-CNN", 2015, section 3.1.1. Slide ``C/62-faster-rcnn``.

    Examples
    --------
    >>> anchor_boxes(1, 2, 16, sizes=[8], ratios=[1, 4])
    array([[ 4.,  4., 12., 12.],
           [ 6.,  0., 10., 16.],
           [20.,  4., 28., 12.],
           [22.,  0., 26., 16.]], dtype=float32)
    """
    name = "anchor_boxes"
    height, width = checked_pair(name, "height, width", (height, width))
    stride = checked_pair(name, "stride", stride)
    sizes = _positive(name, "sizes", sizes)
    roots = np.sqrt(_positive(name, "ratios", ratios))
    widths = (sizes / roots[:, None]).ravel()  # (A,), ratio by ratio
    heights = (sizes * roots[:, None]).ravel()
    cell = np.stack([-widths, -heights, widths, heights], axis=1) / 2  # (A, 4)
    cell = np.round(cell) if rounded else cell
    return _at_every_cell(cell, height, width, stride, 0.5 if centred else 0.0).astype(dtype)


def original_anchor_boxes(
    height, width, stride=16, scales=(8, 16, 32), ratios=(0.5, 1, 2), *, dtype=np.float32
):
    """The anchors of the first published code of Faster R-CNN, which counts pixels: a box from 0 to 15 is 16 wide.

    Parameters
    ----------
    height, width : int
        Height H and width W of the map, in cells.
    stride : int, default 16
        Side of a cell, pixels. It is the side of the box to which scales and ratios are applied.
    scales : sequence of floats, default (8, 16, 32)
        Sides in strides: 128, 256 and 512 pixels for a stride of 16.
    ratios : sequence of floats, default (0.5, 1, 2)
        Heights divided by widths. The sides are rounded to pixels before they are multiplied by the scale.
    dtype : dtype, default float32
        Dtype of the result.

    Returns
    -------
    ndarray, shape (H * W * A, 4)
        Left, top, right, bottom; the last pixel belongs to the box, so its width is right - left + 1. In the order of
        `anchor_boxes`.

    Raises
    ------
    ValueError
        If the map has no cells, or a stride, scale or ratio is not positive.

    References
    ----------
    Ren et al., "Faster R-CNN", 2015, section 3.1.1, and its code of 2015. Slide ``C/62-faster-rcnn``.

    Examples
    --------
    >>> original_anchor_boxes(1, 1)[[0, -1]]
    array([[ -84.,  -40.,   99.,   55.],
           [-168., -344.,  183.,  359.]], dtype=float32)
    """
    name = "original_anchor_boxes"
    height, width = checked_pair(name, "height, width", (height, width))
    stride = whole_numbers(name, "stride", stride, 1)[0]
    scales, ratios = _positive(name, "scales", scales), _positive(name, "ratios", ratios)
    widths = np.round(np.sqrt(stride**2 / ratios))
    heights = np.round(widths * ratios)
    widths, heights = ((sides[:, None] * scales).ravel() for sides in (widths, heights))
    middle = (stride - 1) / 2
    reach_x, reach_y = (widths - 1) / 2, (heights - 1) / 2
    cell = np.stack([middle - reach_x, middle - reach_y, middle + reach_x, middle + reach_y], axis=1)
    return _at_every_cell(cell, height, width, (stride, stride), 0.0).astype(dtype)


def _positive(name, argument, values):
    """A list of positive numbers in float64."""
    numbers = np.array(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size or not ((numbers > 0) & np.isfinite(numbers)).all():
        raise ValueError(
            f"{name}: {argument} must be a list of at least one number, all positive, got {values!r}"
        )
    return numbers


def _at_every_cell(cell, height, width, stride, offset):
    """The boxes of one cell (A, 4), moved to all cells (H * W * A, 4)."""
    rows = (np.arange(height) + offset) * stride[0]
    columns = (np.arange(width) + offset) * stride[1]
    y, x = np.meshgrid(rows, columns, indexing="ij")
    moves = np.stack([x, y, x, y], axis=-1)  # (H, W, 4)
    return (moves[:, :, None] + cell).reshape(-1, 4)


def match_anchors(iou, high=0.7, low=0.3):
    """Say for each anchor which object it has to predict, that it is background, or that it is ignored.

    An anchor belongs to the object that it overlaps most if this IoU is at least ``high``. It is background if its best
    IoU is less than ``low``. So that no object stays without an anchor, those that overlap an object more than all other
    anchors do (all of them if they are equal) belong to the object that they overlap most, whatever their IoU is.

    Parameters
    ----------
    iou : ndarray or Tensor, shape (A, T)
        IoU of A anchors with T objects, as ``box_iou(anchors, boxes)`` gives it.
    high, low : float, defaults 0.7 and 0.3
        The thresholds, ``low`` at most ``high``.

    Returns
    -------
    ndarray of int64, shape (A,)
        The index of an object, or -1 for an ignored anchor, or -2 for background. Without objects all are background.

    Raises
    ------
    ValueError
        If ``iou`` is not (A, T), or the thresholds are not in order in [0, 1].

    Notes
    -----
    Not differentiable. Two objects may share their best anchor; then it belongs to the one that it overlaps more, and the
    other may have none. An object that overlaps no anchor has none either.

    References
    ----------
    Ren et al., "Faster R-CNN", 2015, section 3.1.2. Slide ``C/62-faster-rcnn``.

    Examples
    --------
    >>> match_anchors(np.array([[0.8, 0.1], [0.5, 0.4], [0.2, 0.3], [0.0, 0.1]]))
    array([ 0,  0, -1, -2])
    """
    iou = iou.data if isinstance(iou, Tensor) else iou
    if iou.ndim != 2:
        raise ValueError(f"match_anchors: iou must be (A, T), one row an anchor (iou: {tuple(iou.shape)})")
    if not 0 <= low <= high <= 1:
        raise ValueError(f"match_anchors: thresholds must be 0 <= low <= high <= 1, got {low} and {high}")
    xp = namespace(iou)
    (A, T) = iou.shape
    if not A or not T:
        return xp.full(A, BACKGROUND, xp.int64)
    most_overlapped = iou.argmax(axis=1)
    best = iou.max(axis=1)
    best_of_object = (iou == iou.max(axis=0)) & (iou > 0)
    belongs = (best >= high) | best_of_object.any(axis=1)
    return xp.where(belongs, most_overlapped, xp.where(best < low, BACKGROUND, IGNORED)).astype(xp.int64)


def level_of(boxes, lowest=2, highest=5, size=224, level=4):
    """The level of a feature pyramid from which a box is read: large boxes from coarse maps.

    .. math:: k = \\left\\lfloor k_0 + \\log_2 \\frac{\\sqrt{w h}}{224} \\right\\rfloor

    Parameters
    ----------
    boxes : ndarray or Tensor, shape (..., 4)
        Left, top, right, bottom, in pixels of the picture.
    lowest, highest : int, defaults 2 and 5
        The levels that exist; others become the nearest of them. Level k has the stride 2 to the power of k.
    size : float, default 224
        The side of a square box that is read from the level ``level``: that of the pictures of ImageNet.
    level : int, default 4
        k_0.

    Returns
    -------
    ndarray of int64, shape (...)
        The level of each box.

    Raises
    ------
    ValueError
        If the last axis is not 4, a width or height is negative, a number is NaN, ``lowest`` is above ``highest``, or
        ``size`` is not positive.
    TypeError
        If the boxes are integers.

    References
    ----------
    Lin et al., "Feature pyramid networks for object detection", CVPR 2017, equation 1.

    Examples
    --------
    >>> level_of(np.array([[0.0, 0.0, 224.0, 224.0], [0.0, 0.0, 111.0, 112.0], [0.0, 0.0, 9.0, 9.0]]))
    array([4, 2, 2])
    """
    if lowest > highest:
        raise ValueError(f"level_of: lowest must be at most highest, got {lowest} and {highest}")
    if not size > 0:
        raise ValueError(f"level_of: size must be positive, got {size}")
    boxes = with_room(boxes.data if isinstance(boxes, Tensor) else boxes)
    check_corners("level_of", boxes=boxes)
    if may_read(boxes) and to_numpy(boxes != boxes).any():
        raise ValueError(f"level_of: boxes have a coordinate that is NaN (boxes: {tuple(boxes.shape)})")
    xp = namespace(boxes)
    side = xp.sqrt((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))
    # 1e-6: a box of exactly the size must not fall below its level by rounding. The smallest side is for empty boxes.
    octaves = xp.log2(xp.maximum(side / size, 2.0**-60)) + 1e-6
    return xp.clip(xp.floor(level + octaves), lowest, highest).astype(xp.int64)


def rt_detr_anchors(shapes, size=0.05, margin=0.01, dtype=np.float32):
    """The anchors of RT-DETR: one square around every pixel of several maps, twice as large in each coarser map.

    .. math:: a_{l,i,j} = \\Bigl(\\frac{j + 1/2}{W_l},\\; \\frac{i + 1/2}{H_l},\\; 2^l s,\\; 2^l s\\Bigr)

    Parameters
    ----------
    shapes : list of (int, int)
        Height and width of each map, the finest first.
    size : float, default 0.05
        s, the side in the finest map, as a fraction of the image.
    margin : float, default 0.01
        An anchor with a number that is not further than this from 0 and 1 is not valid: its logit would be far from 0.
    dtype : dtype, default float32
        Dtype of the anchors.

    Returns
    -------
    anchors : ndarray, shape (N, 4)
        Centre, width and height as fractions of the image, the pixels of each map in reading order.
    valid : bool ndarray, shape (N,)
        Which are valid. Pixels whose anchor is not are never chosen with what they hold.

    Raises
    ------
    ValueError
        If a map has no pixels, or ``size`` is not positive.

    References
    ----------
    Zhu et al., "Deformable DETR", ICLR 2021, appendix A.4. Slide ``A/69-rt-detr-fires``.

    Examples
    --------
    >>> anchors, valid = rt_detr_anchors([(1, 2), (1, 1)], size=0.25)
    >>> anchors
    array([[0.25, 0.5 , 0.25, 0.25],
           [0.75, 0.5 , 0.25, 0.25],
           [0.5 , 0.5 , 0.5 , 0.5 ]], dtype=float32)
    """
    whole_sides = all(len(shape) == 2 and min(shape) >= 1 for shape in shapes)
    if not shapes or not whole_sides or not size > 0:
        raise ValueError(
            f"rt_detr_anchors: every map needs a height and a width of at least 1, and size must be positive "
            f"(shapes: {list(shapes)}, size: {size})"
        )
    levels = []
    for level, (H, W) in enumerate(shapes):
        x, y = np.meshgrid((np.arange(W) + 0.5) / W, (np.arange(H) + 0.5) / H)  # (H, W) each
        side = np.full((H, W), size * 2**level)
        levels.append(np.stack([x, y, side, side], axis=-1).reshape(-1, 4))
    anchors = np.concatenate(levels).astype(dtype)  # (N, 4)
    valid = ((anchors > margin) & (anchors < 1 - margin)).all(axis=1)
    return anchors, valid
