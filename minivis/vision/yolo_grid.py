"""Boxes on YOLO's grid: cells, decoding (versions 1 and 2), the order of darknet's output, anchors from clusters of sizes.

Not here: the networks (models/yolo.py, models/yolo_v2.py), their losses (losses/yolo.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import check_floating, namespace, to_numpy
from minivis.pairs import checked_pair
from minivis.precision import in_float32, rounded, widened
from minivis.randomness import generator
from minivis.vision.boxes import box_cxcywh_to_xyxy
from minivis.vision.suppression import batched_nms

__all__ = [
    "darknet_to_grid",
    "dimension_clusters",
    "grid_cells",
    "grid_detections",
    "grid_to_darknet",
    "yolo_boxes",
    "yolo_decode",
]

ROUNDS = 300  # k-means stops here, if the clusters still change


def grid_cells(boxes, grid):
    """Find the cell of the grid that holds the centre of each box: this cell has to predict the object.

    .. math:: \\text{column} = \\min(\\lfloor S c_x \\rfloor, S - 1), \\qquad x = S c_x - \\text{column}

    Parameters
    ----------
    boxes : ndarray, shape (T, 4)
        Centre x, centre y, width, height, as fractions of the image.
    grid : int or (int, int)
        S, or the rows and columns.

    Returns
    -------
    rows, columns : ndarray of int64, shape (T,)
        A centre on the right or lower border of the image belongs to the last cell.
    offsets : ndarray, shape (T, 2)
        Where the centre is in its cell: x and y from 0 to 1.

    Raises
    ------
    ValueError
        If the boxes are not (T, 4), a centre lies outside the image, or the grid has no cells.
    TypeError
        If the boxes are not floating-point.

    References
    ----------
    Redmon et al., "You only look once", CVPR 2016, section 2. Slides ``C/63-yolo-output``, ``Z/44-yolo``.

    Examples
    --------
    >>> rows, columns, offsets = grid_cells(np.array([[0.5, 0.25, 0.2, 0.1]]), 7)
    >>> rows, columns, offsets
    (array([1]), array([3]), array([[0.5 , 0.75]]))
    """
    given = to_numpy(boxes)
    boxes = widened(given)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"grid_cells: boxes must be (T, 4) (boxes: {boxes.shape})")
    check_floating("grid_cells", boxes, "boxes")
    rows, columns = checked_pair("grid_cells", "grid", grid)
    centres = boxes[:, :2]
    outside = ~((centres >= 0) & (centres <= 1)).all(axis=1)
    if outside.any():
        raise ValueError(
            f"grid_cells: centres must be fractions of the image from 0 to 1, got {centres[outside][0].tolist()} "
            f"(boxes: {boxes.shape})"
        )
    sizes = np.array([columns, rows])
    places = centres * sizes.astype(boxes.dtype)
    cells = np.minimum(np.floor(places).astype(np.int64), sizes - 1)
    return cells[:, 1], cells[:, 0], rounded(places - cells.astype(boxes.dtype), given.dtype)


def _corner_of_cells(like, rows, columns):
    """The upper left corner (x, y) of each cell, in cells: (rows, columns, 1, 2)."""
    xp = namespace(like)
    y, x = xp.meshgrid(xp.arange(rows), xp.arange(columns), indexing="ij")
    return xp.stack([x, y], axis=-1)[:, :, None].astype(like.dtype)


@in_float32
def yolo_boxes(prediction, boxes_per_cell):
    """Decode the boxes of YOLO v1: an offset in the cell becomes a place in the image.

    .. math:: b_x = \\frac{x + \\text{column}}{S}, \\qquad b_y = \\frac{y + \\text{row}}{S}

    Parameters
    ----------
    prediction : ndarray or Tensor, shape (..., S, S, 5 B + C)
        For each cell B times x, y, width, height, confidence, then the class scores. x and y are in cells, from the upper
        left corner of the cell; width and height are fractions of the image.
    boxes_per_cell : int
        B.

    Returns
    -------
    ndarray or Tensor, shape (..., S, S, B, 4)
        Centre x, centre y, width, height, as fractions of the image.

    Raises
    ------
    ValueError
        If there are fewer than 5 B channels.
    TypeError
        If the prediction is not floating-point.

    Notes
    -----
    Differentiable.

    References
    ----------
    Redmon et al. 2016, section 2. Slides ``C/63-yolo-output``, ``C/67-yolo-channels``.

    Examples
    --------
    >>> prediction = np.zeros((7, 7, 1 * 5 + 20))
    >>> prediction[3, 3, :5] = 0.5, 0.5, 0.2, 0.4, 1.0
    >>> yolo_boxes(prediction, 1)[3, 3, 0]
    array([0.5, 0.5, 0.2, 0.4])
    """
    B = boxes_per_cell
    if prediction.ndim < 3 or B < 1 or prediction.shape[-1] < 5 * B:
        raise ValueError(
            f"yolo_boxes: prediction must be (..., S, S, 5 B + C) with B={B} boxes a cell "
            f"(prediction: {tuple(prediction.shape)})"
        )
    check_floating("yolo_boxes", prediction, "prediction")
    *_, rows, columns, _ = prediction.shape
    boxes = prediction[..., : 5 * B].reshape(*prediction.shape[:-1], B, 5)  # (..., S, S, B, 5)
    corner = _corner_of_cells(_raw(prediction), rows, columns)
    centre = (boxes[..., :2] + corner) / _cells(corner, rows, columns)
    return ops.concatenate([centre, boxes[..., 2:4]], axis=-1)


def yolo_decode(prediction, anchors):
    """Decode the boxes of YOLO v2: the centre stays in its cell, and the size is a multiple of an anchor's.

    .. math:: b_x = \\frac{\\sigma(t_x) + c_x}{W}, \\quad b_y = \\frac{\\sigma(t_y) + c_y}{H}, \\quad
              b_w = \\frac{p_w e^{t_w}}{W}, \\quad b_h = \\frac{p_h e^{t_h}}{H}

    W and H are the columns and rows of the grid, (c_x, c_y) is the upper left corner of the cell.

    Parameters
    ----------
    prediction : ndarray or Tensor, shape (..., H, W, A, 4 or more)
        t_x, t_y, t_w, t_h for each cell and anchor; what follows (confidence, classes) is not used.
    anchors : ndarray, shape (A, 2)
        Width and height of each anchor, in cells.

    Returns
    -------
    ndarray or Tensor, shape (..., H, W, A, 4)
        Centre x, centre y, width, height, as fractions of the image, in the dtype of the prediction.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the prediction is not floating-point.

    Notes
    -----
    Differentiable in the prediction. The region proposal network's offsets let a centre move anywhere in the image; the
    sigmoid keeps it in its cell, which makes the start of a training stable.

    References
    ----------
    Redmon and Farhadi, "YOLO9000: better, faster, stronger", CVPR 2017, section 2, "Direct location prediction" and
    figure 3. Slide ``C/65-yolo-v2``.

    Examples
    --------
    >>> prediction = np.zeros((2, 4, 1, 5))  # 2 rows, 4 columns
    >>> yolo_decode(prediction, np.array([[2.0, 1.0]]))[1, 2, 0]
    array([0.625, 0.75 , 0.5  , 0.5  ])
    """
    if prediction.ndim < 4 or prediction.shape[-1] < 4 or tuple(anchors.shape) != (prediction.shape[-2], 2):
        raise ValueError(
            f"yolo_decode: prediction must be (..., H, W, A, 4 or more) and anchors (A, 2) "
            f"(prediction: {tuple(prediction.shape)}, anchors: {tuple(anchors.shape)})"
        )
    check_floating("yolo_decode", prediction, "prediction")
    dtype = prediction.dtype
    prediction = widened(prediction)
    *_, rows, columns, _, _ = prediction.shape
    corner = _corner_of_cells(_raw(prediction), rows, columns)
    cells = _cells(corner, rows, columns)
    anchors = namespace(corner).asarray(anchors, dtype=corner.dtype)
    centre = (ops.sigmoid(prediction[..., :2]) + corner) / cells
    size = ops.exp(prediction[..., 2:4]) * anchors / cells
    return rounded(ops.concatenate([centre, size], axis=-1), dtype)


def _raw(x):
    return x.data if isinstance(x, Tensor) else x


def _cells(like, rows, columns):
    """The number of columns and of rows, for x and y."""
    return namespace(like).asarray([columns, rows], dtype=like.dtype)


def dimension_clusters(sizes, k, rng):
    """Choose anchors by k-means over the sizes of the training boxes, with 1 - IoU as the distance.

    .. math:: d(\\text{box}, \\text{centroid}) = 1 - \\mathrm{IoU}(\\text{box}, \\text{centroid})

    The two are laid on one centre. The Euclidean distance would care for large boxes more than for small ones.

    Parameters
    ----------
    sizes : ndarray, shape (N, 2)
        Width and height of each box, above 0, in any unit.
    k : int
        Number of anchors, at most the number of different sizes.
    rng : numpy.random.Generator, int or None
        Draws the sizes with which the clusters begin; None is seed 0.

    Returns
    -------
    ndarray, shape (k, 2)
        Anchors in the unit of ``sizes``, the smallest area first: each is the mean of the sizes that are nearer to it than
        to any other.

    Raises
    ------
    ValueError
        If the sizes are not (N, 2) and positive, or there are fewer different ones than ``k``.

    Notes
    -----
    Another start can end with other anchors. An anchor that loses all its sizes begins again at the size that is farthest
    from its own anchor. The published ones have a mean IoU of 61.0 on VOC with k = 5.

    References
    ----------
    Redmon and Farhadi 2017, section 2, "Dimension clusters" and figure 2. Slide ``C/65-yolo-v2``.

    Examples
    --------
    >>> dimension_clusters(np.array([[1.0, 1.0], [1.0, 1.2], [8.0, 4.0]]), 2, rng=0)
    array([[1. , 1.1],
           [8. , 4. ]])
    """
    sizes = to_numpy(sizes)
    if (
        sizes.ndim != 2
        or sizes.shape[1] != 2
        or sizes.dtype.kind != "f"
        or not ((sizes > 0) & np.isfinite(sizes)).all()
    ):
        raise ValueError(
            f"dimension_clusters: sizes must be (N, 2), positive floats (sizes: {sizes.shape} {sizes.dtype.name})"
        )
    wide = sizes.astype(np.float64)
    different = np.unique(wide, axis=0)
    if not 1 <= k <= len(different):
        raise ValueError(
            f"dimension_clusters: k must be from 1 to {len(different)}, the number of different sizes, got {k}"
        )
    anchors = different[generator(rng).choice(len(different), k, replace=False)]
    nearest = None
    for _ in range(ROUNDS):
        overlaps = size_iou(wide, anchors)  # (N, k)
        before = nearest
        nearest = overlaps.argmax(axis=1)
        if before is not None and np.array_equal(nearest, before):
            break
        for empty in np.flatnonzero(np.bincount(nearest, minlength=k) == 0):
            shared = np.bincount(nearest, minlength=k)[nearest] > 1  # not the only size of its anchor
            nearest[np.where(shared, overlaps.max(axis=1), 2).argmin()] = empty
        anchors = np.stack([wide[nearest == own].mean(axis=0) for own in range(k)])
    return anchors[np.argsort(anchors.prod(axis=1), kind="stable")].astype(sizes.dtype)


def size_iou(sizes, others):
    """IoU of boxes of these sizes (N, 2) and (M, 2) that have one centre: (N, M)."""
    shared = np.minimum(sizes[:, None], others[None]).prod(axis=-1)
    return shared / (sizes.prod(axis=1)[:, None] + others.prod(axis=1) - shared)


def grid_detections(boxes, scores, size, score_threshold=0.05, nms_threshold=0.5):
    """Make a list of detections for each image from the boxes of a grid: each box may be found as any class.

    Parameters
    ----------
    boxes : ndarray, shape (B, rows, columns, A, 4)
        Centre x, centre y, width, height, as fractions of the image.
    scores : ndarray, shape (B, rows, columns, A, C)
        Of each box for each class.
    size : (int, int)
        Height and width of the images in pixels.
    score_threshold : float, default 0.05
        What has a smaller score is left out.
    nms_threshold : float, default 0.5
        Of two boxes of one class with a larger IoU only the better one stays.

    Returns
    -------
    list of dict
        For each image ``boxes (n, 4)``, left, top, right, bottom in pixels, ``labels (n,)`` and ``scores (n,)``, the best
        first.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Redmon et al. 2016, sections 2 and 2.3. Slides ``C/63-yolo-output``, ``Z/44-yolo``.

    Examples
    --------
    >>> boxes = np.tile([0.5, 0.5, 0.2, 0.4], (1, 1, 1, 2, 1))  # twice the same box
    >>> scores = np.array([[0.9, 0.1], [0.8, 0.0]]).reshape(1, 1, 1, 2, 2)
    >>> found = grid_detections(boxes, scores, (20, 40), score_threshold=0.1)[0]
    >>> found["boxes"].tolist(), found["labels"].tolist()
    ([[16.0, 6.0, 24.0, 14.0], [16.0, 6.0, 24.0, 14.0]], [0, 1])
    """
    if boxes.ndim != 5 or boxes.shape[-1] != 4 or scores.shape[:-1] != boxes.shape[:-1]:
        raise ValueError(
            f"grid_detections: boxes must be (B, rows, columns, A, 4) and scores (B, rows, columns, A, C) "
            f"(boxes: {tuple(boxes.shape)}, scores: {tuple(scores.shape)})"
        )
    dtype = boxes.dtype
    height, width = size
    wide = box_cxcywh_to_xyxy(widened(to_numpy(boxes)))
    corners = wide * np.array([width, height, width, height], wide.dtype)
    found = []
    for there, score in zip(corners, widened(to_numpy(scores)), strict=True):
        *place, label = np.nonzero(score >= score_threshold)
        there = there[tuple(place)]  # (n, 4)
        score = score[(*place, label)]  # (n,)
        kept = batched_nms(there, score, label, nms_threshold)
        one = {
            "boxes": rounded(there[kept], dtype),
            "labels": label[kept],
            "scores": rounded(score[kept], dtype),
        }
        found.append(one)
    return found


def grid_to_darknet(prediction, boxes_per_cell):
    """Reorder a prediction as the authors' program has it: all class scores, then all confidences, then all boxes.

    Parameters
    ----------
    prediction : ndarray or Tensor, shape (..., S, S, 5 B + C)
        As for `yolo_boxes`.
    boxes_per_cell : int
        B.

    Returns
    -------
    ndarray or Tensor, shape (..., S S (5 B + C))
        S S C class scores, S S B confidences, S S B 4 numbers of boxes, each cell by cell. The numbers are the same; the
        program's own networks give the roots of width and height.

    Raises
    ------
    ValueError
        If there are fewer than 5 B channels.

    References
    ----------
    Redmon's darknet, ``src/detection_layer.c``. Slide ``C/67-yolo-channels`` has the other order.

    Examples
    --------
    >>> cell = np.array([[[1, 2, 3, 4, 0.5, 7, 8]]])  # one box and two classes
    >>> grid_to_darknet(cell, 1)
    array([7. , 8. , 0.5, 1. , 2. , 3. , 4. ])
    """
    B = boxes_per_cell
    if prediction.ndim < 3 or B < 1 or prediction.shape[-1] < 5 * B:
        raise ValueError(
            f"grid_to_darknet: prediction must be (..., S, S, 5 B + C) with B={B} boxes a cell "
            f"(prediction: {tuple(prediction.shape)})"
        )
    leading = prediction.shape[:-3]
    boxes = prediction[..., : 5 * B].reshape(*prediction.shape[:-1], B, 5)
    parts = prediction[..., 5 * B :], boxes[..., 4], boxes[..., :4]
    return ops.concatenate([part.reshape(*leading, _volume(part, len(leading))) for part in parts], axis=-1)


def darknet_to_grid(vector, grid, boxes_per_cell, num_classes):
    """Reorder the output of the authors' program by cells: the inverse of `grid_to_darknet`.

    Parameters
    ----------
    vector : ndarray or Tensor, shape (..., S S (5 B + C))
        All class scores, all confidences, all boxes.
    grid : int
        S.
    boxes_per_cell, num_classes : int
        B and C.

    Returns
    -------
    ndarray or Tensor, shape (..., S, S, 5 B + C)
        As for `yolo_boxes`.

    Raises
    ------
    ValueError
        If the length does not fit.

    Examples
    --------
    >>> darknet_to_grid(np.array([7, 8, 0.5, 1, 2, 3, 4]), 1, 1, 2)
    array([[[1. , 2. , 3. , 4. , 0.5, 7. , 8. ]]])
    """
    S, B, C = grid, boxes_per_cell, num_classes
    if min(S, B, C) < 1 or not vector.ndim or vector.shape[-1] != S * S * (5 * B + C):
        raise ValueError(
            f"darknet_to_grid: vector must have S S (5 B + C) numbers for S={S}, B={B}, C={C} "
            f"(vector: {tuple(vector.shape)})"
        )
    leading = vector.shape[:-1]
    first = S * S * C
    second = first + S * S * B
    classes = vector[..., :first].reshape(*leading, S, S, C)
    confidences = vector[..., first:second].reshape(*leading, S, S, B, 1)
    boxes = vector[..., second:].reshape(*leading, S, S, B, 4)
    cells = ops.concatenate([boxes, confidences], axis=-1).reshape(*leading, S, S, 5 * B)
    return ops.concatenate([cells, classes], axis=-1)


def _volume(x, axes):
    """The number of elements after the first axes."""
    return int(np.prod(x.shape[axes:]))
