"""The laws of yolo_loss, the loss of YOLO v1 for one picture.

Not here: decoding and anchors of version 2 (yolo_grid.py).
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/63-yolo-output"
CHANNELS = "C/67-yolo-channels"
SIZES = r"5 \big[(\sqrt w - \sqrt{\hat w})^2 + (\sqrt h - \sqrt{\hat h})^2\big]"


def _iou(a, b):
    """IoU of two boxes: centre x, centre y, width, height."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def _yolo_loss(prediction, boxes, classes, grid, B):
    loss = 0
    empty = np.ones((grid, grid, B), bool)  # predictors without an object
    for (x, y, w, h), k in zip(boxes, classes, strict=True):
        column = min(int(x * grid), grid - 1)
        row = min(int(y * grid), grid - 1)
        cell = prediction[row, column]
        found = cell[: 5 * B].reshape(B, 5)
        placed = [((p[0] + column) / grid, (p[1] + row) / grid, p[2], p[3]) for p in found]
        overlaps = [_iou(p, (x, y, w, h)) for p in placed]
        best = int(np.argmax(overlaps))
        empty[row, column, best] = False
        p = found[best]
        loss = loss + 5 * ((p[0] - (x * grid - column)) ** 2 + (p[1] - (y * grid - row)) ** 2)
        loss = loss + 5 * ((p[2] ** 0.5 - w**0.5) ** 2 + (p[3] ** 0.5 - h**0.5) ** 2)
        loss = loss + (p[4] - overlaps[best]) ** 2
        scores = cell[5 * B :]
        loss = loss + ((scores - (np.arange(len(scores)) == k)) ** 2).sum()
    confidences = prediction[:, :, 4 : 5 * B : 5]
    loss = loss + 0.5 * ((confidences * empty) ** 2).sum()
    return np.asarray(loss, prediction.dtype), None


yolo_loss = Family(
    "yolo_loss",
    _yolo_loss,
    ("prediction", "boxes"),
    form="f(prediction, boxes, classes, grid, B) -> a number; prediction (S, S, 5 B + C), rows then columns: a cell has B "
    "times x, y (in cells, from its upper left corner), width, height (as fractions of the image), confidence, then the "
    "classes; boxes (T, 4): centre x, centre y, width, height, as fractions of the image; classes (T,); grid is S",
)


def _loss(f, case):
    """The single number that a function returns, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    return got.reshape(())


def _number(f, case, atol=2e-5):
    compare(_loss(f, case), f.right(case), atol=atol)


yolo_loss.same = _number  # the law "shape" checks the shape


# Answers with one thing done differently


def _place(box, S):
    return min(int(box[1] * S), S - 1), min(int(box[0] * S), S - 1)


def _wrong(
    cell_of=_place, offset=None, responsible=None, pulled=None, known=None, root=math.sqrt, others=None, classes_at=None,
    weights=(5, 0.5), labels=None,
):  # fmt: skip
    """A loss with other parts; all default to the right ones."""

    def answer(prediction, boxes, classes, grid, B):
        S = grid
        loss = 0.0
        objects = [(cell_of(box, S), box, k) for box, k in zip(boxes.astype(float), classes, strict=True)]
        full = np.zeros((S, S, B), bool)
        for number, ((row, column), box, k) in enumerate(objects):
            cell = prediction[row, column].astype(float)
            found = cell[: 5 * B].reshape(B, 5)
            corner = np.array([column, row])
            placed = [np.concatenate([(p[:2] + corner) / S, p[2:4]]) for p in found]
            overlaps = [_iou(p, box) for p in placed]
            best = responsible(found, overlaps) if responsible else int(np.argmax(overlaps))
            wanted = offset(box, corner, S) if offset else box[:2] * S - corner
            for p in found if pulled else found[[best]]:
                loss += weights[0] * ((p[:2] - wanted) ** 2).sum()
                loss += weights[0] * sum((root(p[i]) - root(box[i])) ** 2 for i in (2, 3))
            full[row, column, best] = True
            loss += (found[best][4] - (known(overlaps[best]) if known else overlaps[best])) ** 2
            k = labels(classes, number, objects) if labels else k
            if classes_at is None:
                loss += ((cell[5 * B :] - np.eye(len(cell) - 5 * B)[k]) ** 2).sum()
        if classes_at is not None:
            loss += classes_at(prediction, objects, B)
        empty = others(full) if others else ~full
        loss += weights[1] * ((prediction[:, :, 4 : 5 * B : 5] * empty) ** 2).sum()
        return np.asarray(loss, prediction.dtype)

    return answer


def _classes_everywhere(prediction, objects, B):
    wanted = np.zeros(prediction[:, :, 5 * B :].shape)
    for (row, column), _, k in objects:
        wanted[row, column, k] = 1
    return ((prediction[:, :, 5 * B :] - wanted) ** 2).sum()


def _entropy(prediction, objects, B):
    total = 0.0
    for place, _, k in objects:
        scores = prediction[place][5 * B :].astype(float)
        total += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[k]
    return total


def _in_the_order_of_cells(classes, number, objects):
    """The class that belongs to another object, if the objects do not come row by row."""
    order = np.argsort([place[0] * 100 + place[1] for place, _, _ in objects], kind="stable")
    return classes[list(order).index(number)]


absolute = _wrong(offset=lambda box, corner, S: box[:2])
all_pulled = _wrong(pulled="all")
classes_everywhere = _wrong(classes_at=_classes_everywhere)
unlike_order = _wrong(labels=_in_the_order_of_cells)
plain_sizes = _wrong(root=float)
wrapped = _wrong(cell_of=lambda box, S: (int(box[1] * S) % S, int(box[0] * S) % S))
columns_first = _wrong(cell_of=lambda box, S: _place(box, S)[::-1])
certain = _wrong(known=lambda overlap: 1.0)
whole_cells_only = _wrong(others=lambda full: ~np.broadcast_to(full.any(axis=2, keepdims=True), full.shape))
first_predictor = _wrong(responsible=lambda found, overlaps: 0)
surest_predictor = _wrong(responsible=lambda found, overlaps: int(found[:, 4].argmax()))


# Each law has its own special case. Unless it is about that: a grid of one cell with one predictor, and one object. In larger
# grids its cell is on the diagonal. Classes are right where there is an object and 0 elsewhere.


def _picture(draw, cells, S=3, B=2, C=3, jitter=0.0, noise=0.0):
    """Objects in given cells (row, column), and a prediction in which predictor 0 or 1 of each cell has nearly its box."""
    rng = generator(draw)
    boxes, own = [], []
    prediction = np.zeros((S, S, 5 * B + C))
    prediction[..., : 5 * B] = rng.uniform(0.05, 0.2, (S, S, 5 * B))  # small boxes in a corner of the cell
    classes = rng.integers(0, C, len(cells))
    for (row, column), k in zip(cells, classes, strict=True):
        x, y = rng.integers(4, 8, 2) / 10
        w, h = rng.integers(3, 7, 2) / 10
        boxes.append([(column + x) / S, (row + y) / S, w, h])
        best = int(rng.integers(0, B))
        own.append(best)
        near = np.array([x, y, w, h]) + jitter * rng.uniform(-1, 1, 4)
        prediction[row, column, 5 * best : 5 * best + 4] = near
        prediction[row, column, 5 * B + k] = 1
    prediction[..., 5 * B :] += noise * rng.normal(size=(S, S, C)).round(1)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    case = {
        "prediction": prediction.astype(np.float32),
        "boxes": boxes,
        "classes": classes,
        "grid": S,
        "B": B,
    }
    return case, own


def _one_cell(draw, **options):
    return _picture(draw, [(0, 0)], S=1, B=1, **options)[0]


def _one_of_nine(draw, B=1):
    """The predictors that are not responsible have the confidence 0."""
    at = integer(draw, 0, 2)
    case, (best,) = _picture(draw, [(at, at)], B=B)
    confidences = case["prediction"][at, at, 4 : 5 * case["B"] : 5]
    confidences *= np.arange(case["B"]) == best
    return case


def _perfect(draw):
    """The prediction is what it should be: the box, confidence 1, the class; everything else 0."""
    at = choose(draw, 1, 2)
    case, _ = _picture(draw, [(at, at)], B=1)
    case["prediction"][..., 4] = 0
    case["prediction"][at, at, 4] = 1
    return case


def _off_the_diagonal(draw):
    return _picture(draw, [choose(draw, (0, 2), (2, 0), (1, 0), (2, 1))], B=1)[0]


def _two_in_any_order(draw):
    """Objects of different classes, the lower one first; with one predictor a cell."""
    cells = choose(draw, [(2, 2), (0, 0)], [(1, 1), (0, 0)], [(2, 2), (1, 1)])
    case, _ = _picture(draw, cells, B=1)
    prediction = case["prediction"]
    C = 3
    first = integer(draw, 0, C - 1)
    case["classes"] = np.array([first, (first + 1) % C])
    for (row, column), k in zip(cells, case["classes"], strict=True):
        prediction[row, column, 5:] = np.arange(C) == k
    return case


def _on_the_border(draw):
    """A centre on the right and lower border of the image."""
    case, (best,) = _picture(draw, [(2, 2)], B=1)
    case["boxes"][0, :2] = 1
    case["prediction"][2, 2, :2] = 1
    return case


def _small(draw):
    """A small object whose box is predicted too wide, or too high."""
    case = _one_cell(draw)
    size = np.float32(integer(draw, 1, 2) / 10)
    axis = choose(draw, 2, 3)
    case["boxes"][0, 2:] = size
    case["prediction"][0, 0, 2:4] = size
    case["prediction"][0, 0, axis] += np.float32(0.1)
    return case


def _unsure(draw):
    """The box overlaps its object only partly."""
    case = _one_cell(draw)
    case["prediction"][0, 0, 0] += np.float32(choose(draw, 0.125, 0.25, -0.125))
    return case


def _two_predictors(draw):
    return _picture(draw, [(0, 0)], S=1)[0]


def _few(draw):
    return _picture(draw, [(0, 0)], S=choose(draw, 1, 2), B=1, C=choose(draw, 1, 2))[0]


def _simplest(draw):
    return _picture(draw, [(integer(draw, 0, 1),) * 2], S=2, B=1, C=2, jitter=0.1)[0]


def _anything(draw):
    """Any grid, several objects in different cells, several predictors; classes and confidences as they come."""
    S, B, C = integer(draw, 1, 6), integer(draw, 1, 3), integer(draw, 1, 4)
    rng = generator(draw)
    count = min(integer(draw, 0, 4), S * S)
    cells = [divmod(int(i), S) for i in rng.permutation(S * S)[:count]]
    case, _ = _picture(draw, cells, S, B, C, jitter=0.15, noise=1.0)
    case["prediction"][..., 4 : 5 * B : 5] = rng.normal(0.4, 0.5, (S, S, B)).round(2)
    at_the_end = [i for i, cell in enumerate(cells) if cell == (S - 1, S - 1)]
    if at_the_end and choose(draw, True, False):
        case["boxes"][at_the_end, 0] = 1
    return case


yolo_loss.agrees(
    "what is right costs nothing",
    "The loss is 0 where each number is as it should be, and x and y are measured in the cell.",
    inputs=_perfect,
    value=False,
    equation=r"x = S c_x - \text{column}, \quad y = S c_y - \text{row}",
    slide=CHANNELS,
    hint="x and y are offsets in the cell, from 0 to 1: subtract the column and the row from S times the centre.",
    mutant=absolute,
)


@yolo_loss.law(
    "mirror image",
    inputs=_off_the_diagonal,
    equation=r"\text{row} = \lfloor S c_y \rfloor, \quad \text{column} = \lfloor S c_x \rfloor",
    slide=SLIDE,
    hint="Arrays are indexed [row, column]: the row of an object's cell is its place along y, the column that along x.",
    mutant=columns_first,
)
def _mirrored(f, case):
    """A picture and its mirror image, with all boxes and the whole prediction mirrored, have the same loss."""
    boxes = case["boxes"] * np.array([-1, 1, 1, 1], np.float32) + np.array([1, 0, 0, 0], np.float32)
    prediction = case["prediction"][:, ::-1].copy()
    x = prediction[..., : 5 * case["B"] : 5]
    x[...] = 1 - x
    compare(
        _loss(f, case.replace(boxes=boxes, prediction=prediction)),
        _loss(f, case),
        what="The loss of the mirror image",
    )


@yolo_loss.law(
    "only the best box is pulled",
    inputs=lambda draw: _one_of_nine(draw, B=2),
    equation=r"\text{responsible} = \arg\max_b \mathrm{IoU}(\text{box}_b, \text{object})",
    slide=SLIDE,
    hint="Compute the error of the box only for the predictor with the largest IoU. The others keep their boxes; only their "
    "confidence should be 0.",
    mutant=all_pulled,
)
def _no_influence(f, case):
    """The boxes of all predictors but the best one of an object's cell have no influence on the loss, to the last bit."""
    B, S = case["B"], case["grid"]
    row, column = _place(case["boxes"][0], S)
    found = case["prediction"][row, column, : 5 * B].reshape(B, 5)
    overlaps = [_iou([*((p[:2] + (column, row)) / S), *p[2:4]], case["boxes"][0]) for p in found]
    moved = case["prediction"].copy()
    for other in set(range(B)) - {int(np.argmax(overlaps))}:
        moved[row, column, 5 * other : 5 * other + 4] *= 0.5
    before = f(case)
    after = f(case.replace(prediction=moved))
    if not np.array_equal(before, after):
        raise Broken("Another predictor's box was changed, and the loss with it.", before, after)


@yolo_loss.law(
    "classes count where objects are",
    inputs=_one_of_nine,
    equation=r"\sum_{\text{cells with an object}} \sum_c (p_c - \hat p_c)^2",
    slide=CHANNELS,
    hint="Cells without an object have no class: sum the class errors over cells with an object only.",
    mutant=classes_everywhere,
)
def _no_class(f, case):
    """In cells without an object the class scores have no influence."""
    moved = case["prediction"].copy()
    own = moved[_place(case["boxes"][0], case["grid"])].copy()
    moved[..., 5 * case["B"] :] += 0.5
    moved[_place(case["boxes"][0], case["grid"])] = own
    before = f(case)
    after = f(case.replace(prediction=moved))
    if not np.array_equal(before, after):
        raise Broken(
            "Class scores of cells without an object were changed, and the loss with them.", before, after
        )


@yolo_loss.law(
    "order of the objects",
    inputs=_two_in_any_order,
    hint="Does each object keep its own class? If you find cells with np.nonzero, they come row by row, not in the order of "
    "the objects.",
    mutant=unlike_order,
)
def _any_order(f, case):
    """The order in which the objects are listed does not matter."""
    turned = case.replace(boxes=case["boxes"][::-1].copy(), classes=case["classes"][::-1].copy())
    compare(_loss(f, turned), _loss(f, case), what="The loss for the other order")


@yolo_loss.law(
    "small boxes cost more",
    inputs=_small,
    equation=SIZES,
    slide=SLIDE,
    hint="Take the square root of the predicted and of the true width before you subtract: for 0.1 and 0.2 the squared "
    "difference is 0.0172, for 0.8 and 0.9 it is 0.0029.",
    mutant=plain_sizes,
    right_too=False,
)
def _more(f, case):
    """The same error in width or height costs more for a small box: the roots are compared."""
    (size,) = set(case["boxes"][0, 2:].tolist())
    middle = (size / (size + 0.1) + (size + 0.6) / (size + 0.7)) / 2  # equally far from both IoUs
    pair = []
    for add in np.float32([0, 0.6]):
        boxes = case["boxes"].copy()
        boxes[0, 2:] += add
        prediction = case["prediction"].copy()
        prediction[0, 0, 2:4] += add
        prediction[0, 0, 4] = middle
        pair.append(case.replace(boxes=boxes, prediction=prediction))
    right, other = (f.right(each) for each in pair)
    compare(
        _loss(f, pair[0]) - _loss(f, pair[1]),
        right - other,
        what="The loss of the small box minus that of the large one",
    )


yolo_loss.agrees(
    "the last cell",
    "A centre on the right or lower border of the image belongs to the last cell.",
    inputs=_on_the_border,
    equation=r"\text{column} = \min(\lfloor S c_x \rfloor, S - 1)",
    hint="A centre of exactly 1 gives column S, which does not exist: take the minimum with S - 1.",
    mutant=wrapped,
)
yolo_loss.agrees(
    "confidence is overlap",
    "The confidence of the responsible predictor should be the IoU of its box with the object.",
    inputs=_unsure,
    equation=r"\hat C = \mathrm{IoU}(\text{box}, \text{object})",
    slide=SLIDE,
    hint="The target of the confidence is not 1: it is the IoU of the predicted box with the true one.",
    mutant=certain,
)


@yolo_loss.law(
    "the others are empty",
    inputs=_two_predictors,
    equation=r"\tfrac12 \sum_{\text{not responsible}} C^2",
    slide=SLIDE,
    hint="The predictors in the object's cell that are not responsible belong to the sum with weight 0.5 too.",
    mutant=whole_cells_only,
    right_too=False,
)
def _empty(f, case):
    """A predictor that is not responsible should have the confidence 0, also beside a responsible one."""
    raised = case["prediction"].copy()
    raised[0, 0, [4, 9]] += np.float32(1)
    raised = case.replace(prediction=raised)
    compare(
        _loss(f, raised) - _loss(f, case),
        f.right(raised) - f.right(case),
        what="What larger confidences cost",
    )


every_family(
    yolo_loss,
    inputs=_unsure,
    shapes=_few,
    wrong_shape=lambda *given: np.array([_yolo_loss(*given)[0]]),
    shape_equation=r"\ell \in \mathbb R",
    shape_hint="A loss is one number, shape (), also if there is no object: then only confidences count.",
)
values(
    yolo_loss,
    simplest=_simplest,
    words="one object, one predictor a cell",
    anything=_anything,
    hint="Several objects in different cells, up to three predictors: the responsible one is that with the largest IoU, whatever "
    "its number and its confidence.",
    mutant=_wrong(responsible=lambda found, overlaps: int(np.argmax(overlaps[:2]))),
)
for name, hint, answer in (
    ("places in the image", "x and y of the target are those in the image. Measure them in the cell.", absolute),
    ("all predictors are pulled", "Every predictor of the cell is pulled to the object. Only that with the best IoU is.", all_pulled),
    ("classes in all cells", "The class errors of empty cells are in your sum. Leave them out.", classes_everywhere),
    ("sizes without roots", "You compare w and h as they are. The equation has their square roots.", plain_sizes),
    ("x for the row", "You index [column, row]. The row follows from y.", columns_first),
    ("confidence 1", "The confidence of the responsible predictor is compared with 1. Its target is the IoU.", certain),
    (
        "the rest of the cell forgotten",
        "Predictors that are not responsible, but in a cell with an object, are left out: their confidence should be 0 too.",
        whole_cells_only,
    ),
    ("the first predictor", "Predictor 0 is always responsible in your loss. It is the one with the largest IoU.", first_predictor),
    (
        "the surest predictor",
        "The predictor with the largest confidence is responsible in your loss. It is the one with the largest IoU.",
        surest_predictor,
    ),
    ("boxes without their weight", "The errors of place and size are multiplied by 5.", _wrong(weights=(1, 0.5))),
    ("empty predictors in full", "The sum over predictors without an object is multiplied by 0.5.", _wrong(weights=(5, 1))),
    ("cross-entropy of the classes", "This is a cross-entropy. The paper sums squared errors of the classes.", _wrong(classes_at=_entropy)),
    ("past the last cell", "A centre of exactly 1 belongs to the last cell: take the minimum with S - 1, not the rest.", wrapped),
    (
        "the mean for the sum",
        "The loss is a sum over cells and predictors, not a mean.",
        lambda prediction, boxes, classes, grid, B: _yolo_loss(prediction, boxes, classes, grid, B)[0] / (grid * grid),
    ),
):  # fmt: skip
    yolo_loss.mistake(name, hint, answer)
