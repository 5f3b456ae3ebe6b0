"""The losses of YOLO, versions 1 and 2: squared errors on a grid, where one predictor is responsible for each object.

Not here: decoding of boxes and the grid's cells (vision/yolo_grid.py), the networks (models/yolo.py, models/yolo_v2.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import check_floating, namespace, to_numpy
from minivis.losses.targets import gather
from minivis.precision import rounded, widened
from minivis.vision.boxes import box_cxcywh_to_xyxy, box_iou
from minivis.vision.yolo_grid import grid_cells, size_iou, yolo_boxes, yolo_decode

__all__ = ["yolo_batch_loss", "yolo_loss", "yolo_targets", "yolo_v2_loss"]

TINY = 1e-4  # below this share of the image, the root of a width or height is replaced by a straight line


def yolo_loss(prediction, boxes, classes, grid, B, box_weight=5.0, empty_weight=0.5):
    """The loss of YOLO v1 for one picture: squared errors of boxes, confidences and classes.

    .. math::
        \\ell = \\lambda_c \\sum_{\\text{responsible}} \\big[(x - \\hat x)^2 + (y - \\hat y)^2
        + (\\sqrt w - \\sqrt{\\hat w})^2 + (\\sqrt h - \\sqrt{\\hat h})^2\\big]
        + \\sum_{\\text{responsible}} (C - \\mathrm{IoU})^2 + \\lambda_n \\sum_{\\text{others}} C^2
        + \\sum_{\\text{cells with an object}} \\sum_c (p_c - \\hat p_c)^2

    The predictor of the object's cell whose box overlaps the object most is responsible for it. All others, also those of
    the same cell, should have the confidence 0; their boxes have no influence.

    Parameters
    ----------
    prediction : ndarray or Tensor, shape (S, S, 5 B + C)
        For each cell B times x, y, width, height, confidence, then the class scores. x and y are in cells, from the upper
        left corner of the cell; width and height are fractions of the image.
    boxes : ndarray, shape (T, 4)
        The objects: centre x, centre y, width, height, as fractions of the image. There may be none.
    classes : ndarray of int, shape (T,)
        The class of each, 0 to C - 1.
    grid : int
        S.
    B : int
        Boxes for each cell.
    box_weight, empty_weight : float, defaults 5 and 0.5
        The two weights of the equation, of boxes and of confidences without an object.

    Returns
    -------
    ndarray or Tensor, shape ()
        A sum, not a mean: over the terms above.

    Raises
    ------
    ValueError
        If the shapes do not fit, a class is out of range, or a centre is outside the image.

    Notes
    -----
    Differentiable in the prediction; the IoU, the target of the confidence, is a constant. A cell holds one object: of two
    in one cell the later one counts. Of several equal overlaps, also when all are 0, the first predictor is responsible
    (the published program then takes the nearest box). The slope of a root is infinite at 0: for widths below 0.0001, also
    negative ones, the root is replaced by the straight line through 0 that meets it there.

    References
    ----------
    Redmon et al., "You only look once", CVPR 2016, equation 3. Slides ``C/63-yolo-output``, ``Z/44-yolo``.

    Examples
    --------
    >>> prediction = np.zeros((7, 7, 1 * 5 + 2))
    >>> prediction[3, 3] = 0.5, 0.5, 0.1, 0.1, 1.0, 0.0, 1.0  # it should be 0.2 wide, and so IoU is 0.5
    >>> float(yolo_loss(prediction, np.array([[0.5, 0.5, 0.2, 0.1]]), np.array([1]), 7, 1)) # 5 (0.1340^2) + (1 - 0.5)^2
    0.3357...
    """
    if prediction.ndim != 3 or tuple(prediction.shape[:2]) != (grid, grid):
        raise ValueError(
            f"yolo_loss: prediction must be (S, S, 5 B + C) for S={grid} (prediction: {tuple(prediction.shape)})"
        )
    targets = [{"boxes": boxes, "labels": classes}]
    wanted = yolo_targets(prediction[None], targets, B, box_weight, empty_weight)
    return _weighted_sum(prediction[None], *wanted, B)


def yolo_batch_loss(prediction, targets, boxes_per_cell=2, box_weight=5.0, empty_weight=0.5):
    """The mean of `yolo_loss` over the pictures of a batch.

    Parameters
    ----------
    prediction : ndarray or Tensor, shape (N, S, S, 5 B + C)
        What `models.YOLO` returns.
    targets : list of dict
        For each picture ``boxes (T, 4)``, normalised cxcywh, and ``labels (T,)``.
    boxes_per_cell : int, default 2
        B.
    box_weight, empty_weight : float, defaults 5 and 0.5
        As for `yolo_loss`.

    Returns
    -------
    ndarray or Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes or targets do not fit.

    Examples
    --------
    >>> nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    >>> float(yolo_batch_loss(np.ones((2, 7, 7, 12)), [nothing, nothing]))  # 98 confidences that should be 0
    49.0
    """
    wanted = yolo_targets(prediction, targets, boxes_per_cell, box_weight, empty_weight)
    return _weighted_sum(prediction, *wanted, boxes_per_cell) / len(targets)


def yolo_targets(prediction, targets, boxes_per_cell=2, box_weight=5.0, empty_weight=0.5):
    """What each number of a prediction should be, and how much its squared error counts.

    Parameters
    ----------
    prediction, targets, boxes_per_cell, box_weight, empty_weight
        As for `yolo_batch_loss`.

    Returns
    -------
    wanted, weights : ndarray, shape (N, S, S, 5 B + C)
        On the CPU. The weight of a number without influence is 0. Confidences of responsible predictors have the weight 1:
        ``weights[..., 4 : 5 * B : 5] == 1`` shows which are responsible, if ``empty_weight`` is not 1.

    Raises
    ------
    ValueError
        If shapes or targets do not fit.

    Examples
    --------
    >>> target = {"boxes": np.array([[0.5, 0.5, 0.2, 0.1]]), "labels": np.array([1])}
    >>> wanted, weights = yolo_targets(np.zeros((1, 7, 7, 12)), [target])
    >>> wanted[0, 3, 3], weights[0, 3, 3]  # both boxes are empty: the first one is responsible
    (array([0.5, 0.5, 0.2, 0.1, 0. , 0. , 0. , 0. , 0. , 0. , 0. , 1. ]), array([5. , 5. , 5. , 5. , 1. , 0. , 0. , 0. , 0. , 0.5, 1. , 1. ]))
    """
    B = boxes_per_cell
    if prediction.ndim != 4 or B < 1 or prediction.shape[3] <= 5 * B:
        raise ValueError(
            f"yolo_loss: prediction must be (N, S, S, 5 B + C) with B={B} boxes a cell and at least one class "
            f"(prediction: {tuple(prediction.shape)})"
        )
    check_floating("yolo_loss", prediction, "prediction")
    host = widened(to_numpy(prediction))
    image, boxes, labels, rows, columns, offsets = _placed(host, targets, host.shape[3] - 5 * B)
    found = yolo_boxes(host, B)[image, rows, columns]  # (T, B, 4)
    overlaps = _overlaps(found, boxes[:, None])  # (T, B)
    responsible = overlaps.argmax(axis=1)
    wanted = np.zeros_like(host)
    weights = np.zeros_like(host)
    weights[..., 4 : 5 * B : 5] = empty_weight
    weights[image, rows, columns, 5 * B :] = 1
    wanted[image, rows, columns, 5 * B + labels] = 1
    own = np.concatenate([offsets, boxes[:, 2:], overlaps.max(axis=1, initial=0)[:, None]], axis=1)  # (T, 5)
    for i in range(5):
        wanted[image, rows, columns, 5 * responsible + i] = own[:, i]
        weights[image, rows, columns, 5 * responsible + i] = box_weight if i < 4 else 1
    return wanted, weights


def _placed(prediction, targets, classes):
    """The objects of a batch and their cells; of two objects in one cell only the later one is kept."""
    found = gather("yolo_loss", targets, len(prediction), classes, ["boxes"], no_object=False)
    boxes = found.boxes.astype(prediction.dtype)
    boxes[:, :2] = boxes[:, :2].clip(0, 1)  # rounding may move a centre off the image
    rows, columns, offsets = grid_cells(boxes, prediction.shape[1:3])
    cells = {cell: i for i, cell in enumerate(zip(found.image, rows, columns, strict=True))}
    kept = np.fromiter(cells.values(), np.int64, len(cells))
    return tuple(x[kept] for x in (found.image, boxes, found.labels, rows, columns, offsets))


def _overlaps(found, boxes):
    """IoU of pairs (cxcywh); a predicted box of negative width or height overlaps nothing."""
    found = np.concatenate([found[..., :2], np.maximum(found[..., 2:], 0)], axis=-1)
    boxes = np.broadcast_to(boxes, found.shape)
    pairs = (box_cxcywh_to_xyxy(x.reshape(-1, 4)) for x in (found, boxes))
    return box_iou(*pairs, pairwise=False).reshape(found.shape[:-1])


def _weighted_sum(prediction, wanted, weights, B):
    """The sum of the weighted squared errors, of the roots for widths and heights."""
    dtype = prediction.dtype
    prediction = widened(prediction)
    xp = namespace(prediction.data if isinstance(prediction, Tensor) else prediction)
    size = np.isin(np.arange(wanted.shape[-1]), [5 * b + i for b in range(B) for i in (2, 3)])
    wanted = np.where(size, _root(wanted), wanted)
    found = ops.where(xp.asarray(size), _root(prediction), prediction)
    error = found - xp.asarray(wanted)
    return rounded(ops.sum(xp.asarray(weights) * error * error), dtype)


def _root(x):
    """The square root of sizes; below `TINY`, a line through 0: it has a finite slope, also for negative numbers."""
    return ops.where(x > TINY, ops.sqrt(ops.maximum(x, TINY)), x * TINY**-0.5)


def yolo_v2_loss(
    prediction, targets, anchors, box_weight=1.0, object_weight=5.0, empty_weight=1.0, ignore=0.6
):
    """The mean loss of YOLO v2 over the pictures of a batch.

    .. math::
        \\ell = \\sum_{\\text{responsible}} \\Big[\\lambda_c (2 - w h) \\big( (\\sigma(t_x) - \\hat x)^2
        + (\\sigma(t_y) - \\hat y)^2 + (t_w - \\hat t_w)^2 + (t_h - \\hat t_h)^2 \\big)
        + \\lambda_o (\\sigma(t_o) - \\mathrm{IoU})^2 - \\log p_{\\text{class}}\\Big]
        + \\lambda_n \\sum_{\\text{others}} \\sigma(t_o)^2

    The anchor of the object's cell whose size is most like the object's is responsible for it. Predictors that are not
    responsible, but overlap some object by more than ``ignore``, are left out of the last sum.

    Parameters
    ----------
    prediction : ndarray or Tensor, shape (N, H, W, A, 5 + C)
        t_x, t_y, t_w, t_h, t_o and class logits for each cell and anchor: what `models.YOLOv2` returns.
    targets : list of dict
        For each picture ``boxes (T, 4)``, normalised cxcywh, and ``labels (T,)``.
    anchors : ndarray, shape (A, 2)
        Width and height of each anchor, in cells.
    box_weight, object_weight, empty_weight : float, defaults 1, 5 and 1
        Weights of boxes, and of confidences with and without an object. The defaults are those of the published program.
    ignore : float, default 0.6
        IoU above which a predictor without an object is not pushed to confidence 0.

    Returns
    -------
    ndarray or Tensor, shape ()

    Raises
    ------
    ValueError
        If shapes or targets do not fit.

    Notes
    -----
    The paper does not write its loss down; this is the program's, without its first 12,800 pictures, in which all boxes are
    pulled to their anchors. Small boxes count up to twice as much as large ones.

    References
    ----------
    Redmon and Farhadi, "YOLO9000: better, faster, stronger", CVPR 2017, section 2; darknet's ``src/region_layer.c``. Slide
    ``C/65-yolo-v2``.

    Examples
    --------
    >>> nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    >>> float(yolo_v2_loss(np.zeros((1, 4, 4, 1, 7)), [nothing], np.ones((1, 2))))  # 16 confidences of 0.5
    4.0
    """
    anchors = np.asarray(to_numpy(anchors))
    if prediction.ndim != 5 or prediction.shape[4] < 6 or tuple(anchors.shape) != (prediction.shape[3], 2):
        raise ValueError(
            f"yolo_v2_loss: prediction must be (N, H, W, A, 5 + C) and anchors (A, 2) "
            f"(prediction: {tuple(prediction.shape)}, anchors: {tuple(anchors.shape)})"
        )
    check_floating("yolo_v2_loss", prediction, "prediction")
    dtype = prediction.dtype
    prediction = widened(prediction)
    xp = namespace(prediction.data if isinstance(prediction, Tensor) else prediction)
    host = to_numpy(prediction)
    anchors = anchors.astype(host.dtype)
    image, boxes, labels, rows, columns, offsets = _placed(host, targets, host.shape[4] - 5)
    cells = np.array(host.shape[2:0:-1], host.dtype)  # W, H
    sizes = boxes[:, 2:] * cells
    at = image, rows, columns, size_iou(sizes, anchors).argmax(axis=1)
    found = yolo_decode(host, anchors)
    overlaps = _overlaps(found[at], boxes)
    wanted = np.concatenate([offsets, np.log(np.maximum(sizes, TINY) / anchors[at[3]])], axis=1)  # (T, 4)
    weights = box_weight * (2 - boxes[:, 2:].prod(axis=1))[:, None]

    own = prediction[tuple(xp.asarray(i) for i in at)]  # (T, 5 + C)
    places = ops.concatenate([ops.sigmoid(own[:, :2]), own[:, 2:4]], axis=1) - xp.asarray(wanted)
    loss = ops.sum(xp.asarray(weights) * places * places)
    known = ops.sigmoid(own[:, 4]) - xp.asarray(overlaps)
    loss = loss + object_weight * ops.sum(known * known)
    loss = loss + ops.cross_entropy(own[:, 5:], xp.asarray(labels), reduction="sum")
    empty = _best_overlaps(found, targets) <= ignore
    empty[at] = False
    confidence = ops.sigmoid(prediction[..., 4])
    loss = loss + empty_weight * ops.sum(xp.asarray(empty.astype(host.dtype)) * confidence * confidence)
    return rounded(loss / len(targets), dtype)


def _best_overlaps(found, targets):
    """For each predicted box (N, H, W, A, 4), its largest IoU with an object of its picture."""
    best = np.zeros(found.shape[:-1], found.dtype)
    for own, there, target in zip(best, found, targets, strict=True):
        objects = to_numpy(target["boxes"]).astype(found.dtype)
        if len(objects):
            pairs = (box_cxcywh_to_xyxy(x) for x in (there.reshape(-1, 4), objects))
            own[...] = box_iou(*pairs).max(axis=1).reshape(own.shape)
    return best
