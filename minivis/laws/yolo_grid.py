"""The laws of yolo_decode and dimension_clusters: the boxes of YOLO v2 and its anchors.

Not here: the loss of version 1 (yolo.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/65-yolo-v2"
CENTRE = r"b_x = \frac{\sigma(t_x) + c_x}{W}, \quad b_y = \frac{\sigma(t_y) + c_y}{H}"
SIZE = r"b_w = \frac{p_w e^{t_w}}{W}, \quad b_h = \frac{p_h e^{t_h}}{H}"


def _sigmoid(t):
    return 1 / (1 + np.exp(-np.clip(t, -80, 80)))


def _yolo_decode(prediction, anchors):
    H, W, A = prediction.shape[:3]
    boxes = np.empty((H, W, A, 4), prediction.dtype)
    for row in range(H):
        for column in range(W):
            t = prediction[row, column]
            boxes[row, column, :, 0] = (_sigmoid(t[:, 0]) + column) / W
            boxes[row, column, :, 1] = (_sigmoid(t[:, 1]) + row) / H
            boxes[row, column, :, 2] = anchors[:, 0] * np.exp(t[:, 2]) / W
            boxes[row, column, :, 3] = anchors[:, 1] * np.exp(t[:, 3]) / H
    return boxes, None


yolo_decode = Family(
    "yolo_decode",
    _yolo_decode,
    ("prediction", "anchors"),
    form="f(prediction, anchors); prediction (H, W, A, 5 + C), rows then columns: t_x, t_y, t_w, t_h for each anchor, then "
    "numbers that are not used; anchors (A, 2): width and height in cells -> boxes (H, W, A, 4): centre x, centre y, width, "
    "height, as fractions of the image",
)


def _wrong(place=_sigmoid, corner=None, size=np.exp, cells=None, pick=None):
    """A decoding with another part."""

    def answer(prediction, anchors):
        H, W, A = prediction.shape[:3]
        y, x = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
        c = (corner(x, y) if corner else np.stack([x, y], axis=-1))[:, :, None]
        n = np.array(cells(H, W) if cells else (W, H))
        p = pick(anchors) if pick else anchors
        boxes = np.concatenate(
            [(place(prediction[..., :2]) + c) / n, p * size(prediction[..., 2:4]) / n], axis=-1
        )
        return boxes.astype(prediction.dtype)

    return answer


no_sigmoid = _wrong(place=lambda t: t)
from_the_middle = _wrong(place=lambda t: _sigmoid(t) - 0.5)
no_exponential = _wrong(size=lambda t: 1 + t)
one_anchor = _wrong(pick=lambda anchors: anchors[:1])
rows_first = _wrong(corner=lambda x, y: np.stack([y, x], axis=-1))
one_side = _wrong(cells=lambda H, W: (W, W))
in_cells = _wrong(cells=lambda H, W: (1, 1))


# Each law has its own special case. Unless it is about that: one cell, t = 0, one anchor


def _case(prediction, anchors):
    return {
        "prediction": np.asarray(prediction, np.float32),
        "anchors": np.asarray(anchors, np.float32).reshape(-1, 2),
    }


def _anchors(draw, count):
    return generator(draw).integers(1, 12, (count, 2)) / 4


def _middle(draw):
    return _case(np.zeros((1, 1, 1, integer(draw, 5, 6))), _anchors(draw, 1))


def _far_out(draw):
    prediction = np.zeros((1, 1, 1, 5))
    prediction[..., :2] = np.array([choose(draw, 1, -1), choose(draw, -1, 1)]) * integer(draw, 2, 9)
    return _case(prediction, _anchors(draw, 1))


def _grown(draw):
    prediction = np.zeros((1, 1, 1, 5))
    prediction[..., 2:4] = generator(draw).integers(1, 9, 2) / 4 * choose(draw, 1, -1)
    return _case(prediction, _anchors(draw, 1))


def _two_anchors(draw):
    anchors = _anchors(draw, 2)
    anchors[1] += 1
    return _case(np.zeros((1, 1, 2, 5)), anchors)


def _square_grid(draw):
    S = integer(draw, 2, 3)
    return _case(np.zeros((S, S, 1, 5)), _anchors(draw, 1))


def _one_row(draw):
    """A column or a row of cells, of which all are compared by the height of their boxes alone."""
    H, W = choose(draw, (2, 1), (3, 1), (1, 2), (1, 3))
    return _case(np.zeros((H, W, 1, 5)), _anchors(draw, 1))


def _plain(draw):
    return _case(generator(draw).normal(size=(1, 1, 1, 6)).round(1), _anchors(draw, 1))


def _axes_of_one(draw):
    return _case(np.zeros((1, 1, 1, 5)), _anchors(draw, 1))


def _simplest(draw):
    return _case(generator(draw).normal(size=(2, 2, 1, 5)).round(1), _anchors(draw, 1))


def _anything(draw):
    H, W, A, C = (integer(draw, *limits) for limits in ((1, 5), (1, 5), (1, 4), (0, 3)))
    prediction = generator(draw).normal(size=(H, W, A, 5 + C)) * choose(draw, 1.0, 0.3, 2.0)
    return _case(prediction.round(2), _anchors(draw, A))


def _decoded(f, case):
    """The boxes of a function, also if axes of size 1 are missing: the law "shape" checks the shape."""
    got = f(case)
    right = (*case["prediction"].shape[:3], 4)
    return got.reshape(right) if got.size == np.prod(right) else got


def _part(name, part, what, **of_the_law):
    """A law that compares a part of the boxes: ``part(boxes)``."""
    yolo_decode.law(name, right_too=False, value=True, **of_the_law)(
        lambda f, case: compare(part(_decoded(f, case)), part(f.right(case)), what=what)
    )


def _sides(boxes):
    return boxes[..., 2:]


_part(
    "zero is the anchor in the middle",
    lambda boxes: boxes,
    "The box",
    sentence="With t = 0 the box is the anchor, and its centre is the middle of the cell.",
    inputs=_middle,
    equation=r"t = 0 \;\Rightarrow\; b_x = \frac{c_x + 1/2}{W}, \; b_w = \frac{p_w}{W}",
    slide=SLIDE,
    hint="sigmoid(0) is 1/2, half a cell from the corner c of the cell.",
    mutant=from_the_middle,
)


@yolo_decode.law(
    "the centre stays in its cell",
    inputs=_far_out,
    equation=CENTRE,
    slide=SLIDE,
    hint="The sigmoid of t_x and t_y is between 0 and 1: pass them through it before you add the corner of the cell.",
    mutant=_wrong(place=lambda t: 0.5 + t),
    right_too=False,
)
def _stays(f, case):
    """However large t_x and t_y are, the centre does not leave its cell."""
    middle = _decoded(f, case.replace(prediction=np.zeros_like(case["prediction"])))
    moved = _decoded(f, case)[..., :2] - middle[..., :2]
    if not (np.abs(moved) <= 0.5 + 1e-6).all():
        raise Broken("The centre is more than half a cell from where it is for t = 0.", got=moved)


_part(
    "sizes grow by a factor",
    _sides,
    "The size",
    sentence="A size is the anchor's times the exponential of t: never negative.",
    inputs=_grown,
    equation=SIZE,
    slide=SLIDE,
    hint="Multiply the anchor's width by exp(t_w).",
    mutant=no_exponential,
)
_part(
    "each anchor for itself",
    _sides,
    "The size",
    sentence="The boxes of a cell have the sizes of different anchors.",
    inputs=_two_anchors,
    equation=SIZE,
    hint="anchors (A, 2) belong to the third axis of the prediction.",
    mutant=one_anchor,
)
_part(
    "x along the columns",
    lambda boxes: boxes[..., :2] - boxes[:1, :1, :1, :2],
    "The way from the first cell's centre",
    sentence="A step to the next column moves a box along x, a step to the next row along y.",
    inputs=_square_grid,
    equation=CENTRE,
    slide=SLIDE,
    hint="prediction[row, column]: c_x is the column, c_y the row. Look at indexing='ij' and 'xy' of meshgrid.",
    mutant=rows_first,
)
_part(
    "a grid that is not square",
    _sides,
    "The size",
    sentence="In a single column of cells the boxes are as wide as the anchor, and their height is a part of it.",
    inputs=_one_row,
    equation=SIZE,
    hint="Divide x and width by the number of columns W, y and height by the number of rows H.",
    mutant=one_side,
)
every_family(
    yolo_decode,
    inputs=_plain,
    shapes=_axes_of_one,
)
values(
    yolo_decode,
    simplest=_simplest,
    words="a square grid, one anchor",
    anything=_anything,
    hint="A grid of any number of rows and columns, several anchors, t of any sign. The first four numbers of each anchor count.",
    mutant=_wrong(pick=lambda anchors: anchors[:3][np.minimum(np.arange(len(anchors)), 2)]),
)
for name, hint, answer in (
    ("no sigmoid", "t_x and t_y are added as they are. Pass them through the sigmoid.", no_sigmoid),
    ("from the middle of the cell", "Your centres are half a cell too far up and to the left.", from_the_middle),
    ("sizes without the exponential", "Your sizes are p (1 + t): multiply by exp(t).", no_exponential),
    ("one anchor for all", "All your boxes have the size of the first anchor.", one_anchor),
    ("rows for x", "You add the row to x and the column to y: exchange them.", rows_first),
    ("everything divided by the width", "y and height are fractions of the height: divide by H.", one_side),
    ("in cells", "Your boxes are in cells. Divide by the number of columns and rows.", in_cells),
    (
        "a squared size",
        "(2 sigmoid(t))^2 is the size in later versions. Here it is exp(t).",
        _wrong(size=lambda t: (2 * _sigmoid(t)) ** 2),
    ),
    (
        "corners for centres",
        "Your first two numbers are the left and upper border of the box. They should be its centre.",
        lambda prediction, anchors: _moved(_yolo_decode(prediction, anchors)[0]),
    ),
):  # fmt: skip
    yolo_decode.mistake(name, hint, answer)


def _moved(boxes):
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]], axis=-1)


# ---------------------------------------------------------------------------------------------------------------------
# dimension_clusters


def _overlaps(sizes, anchors):
    """IoU of boxes with one centre: (N, k)."""
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=-1)
    return shared / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared)


def _clusters(sizes, k, rng, overlaps=_overlaps, centre=None, order=None, rounds=300):
    """k-means; mutants pass another nearness (the larger, the nearer), centre of a cluster, or order of the result."""
    wide = sizes.astype(np.float64)
    different = np.unique(wide, axis=0)
    anchors = different[rng.choice(len(different), k, replace=False)]
    nearest = np.full(len(wide), -1)
    for _ in range(rounds):
        near = overlaps(wide, anchors)
        before = nearest
        nearest = near.argmax(axis=1)
        if np.array_equal(nearest, before):
            break
        for empty in set(range(k)) - set(nearest.tolist()):
            shared = np.bincount(nearest, minlength=k)[nearest] > 1
            nearest[np.where(shared, near.max(axis=1), np.inf).argmin()] = empty
        mean = centre or (lambda cluster: cluster.mean(axis=0))
        anchors = np.stack([mean(wide[nearest == own]) for own in range(k)])
    order = order or (lambda anchors: anchors.prod(axis=1).argsort(kind="stable"))
    return anchors[order(anchors)].astype(sizes.dtype)


def _right_clusters(sizes, k, rng):
    return _clusters(sizes, k, rng), None


dimension_clusters = Family(
    "dimension_clusters",
    _right_clusters,
    ("sizes",),
    form="f(sizes, k, rng) -> anchors (k, 2), the smallest area first; sizes (N, 2): width and height of the training boxes; "
    "k at most the number of different sizes; k-means that begins with k different sizes, drawn with rng (a "
    "numpy.random.Generator), until no box changes its cluster; the centre of a cluster is the mean of its sizes",
)


def _check_means(case, anchors):
    """Raise unless each anchor is the mean of the sizes nearest to it."""
    sizes = case["sizes"].astype(np.float64)
    k = case["k"]
    if anchors.shape != (k, 2):
        compare(anchors, np.zeros((k, 2)))
    if not np.isfinite(anchors).all() or not (anchors > 0).all():
        raise Broken("Widths and heights above 0 were expected.", got=anchors)
    nearest = _overlaps(sizes, anchors).argmax(axis=1)
    if len(set(nearest.tolist())) < k:
        raise Broken("An anchor is nearest to no size.", got=anchors)
    means = np.stack([sizes[nearest == own].mean(axis=0) for own in range(k)])
    compare(
        anchors,
        means,
        1e-3,
        1e-4,
        "The anchors, compared with the means of the sizes nearest to each by IoU,",
    )


def _settled(f, case, atol=None):
    """Several results are right, since k-means depends on its start: check the properties of the result."""
    anchors = f(case)
    _check_means(case, anchors)
    if (np.diff(anchors.prod(axis=1)) < 0).any():
        raise Broken("The areas of the anchors should grow.", got=anchors)


dimension_clusters.same = _settled


def _sizes(draw, N, k, low=0.5, high=9.0):
    """Different sizes; widths and heights over a wide range, as boxes have them."""
    rng = generator(draw)
    sizes = np.exp(rng.uniform(np.log(low), np.log(high), (N, 2)))
    return {"sizes": sizes.astype(np.float32), "k": k, "rng": generator(draw)}


def _one_cluster(draw):
    return _sizes(draw, integer(draw, 1, 6), 1)


def _squares(draw):
    """Two squares, and an anchor for each."""
    sizes = np.float32([[1, 1], [integer(draw, 2, 6)] * 2])
    return {"sizes": sizes[:: choose(draw, 1, -1)], "k": 2, "rng": generator(draw)}


def _as_many_as_sizes(draw):
    """Each size occurs several times, and there is an anchor for each: squares, the larger ones much larger."""
    k = integer(draw, 2, 4)
    different = 2.0 ** np.arange(k)[:, None] * np.ones(2)
    sizes = np.repeat(different, integer(draw, 2, 3), axis=0).astype(np.float32)
    return {"sizes": sizes, "k": k, "rng": generator(draw)}


def _small_and_large(draw):
    return _sizes(draw, 14, 3)


def _any_sizes(draw):
    N = integer(draw, 2, 24)
    case = _sizes(draw, N, integer(draw, 1, min(N, 5)), *choose(draw, (0.5, 9.0), (0.02, 0.9), (8.0, 400.0)))
    if choose(draw, True, False):
        case["sizes"] = np.concatenate([case["sizes"], case["sizes"][: N // 2]])
    return case


def _euclidean(sizes, anchors):
    return -((sizes[:, None] - anchors[None]) ** 2).sum(axis=-1)


def _by(**parts):
    return lambda sizes, k, rng: _clusters(sizes, k, rng, rounds=12, **parts)


with_distance = _by(overlaps=_euclidean)
with_median = _by(centre=lambda cluster: np.median(cluster, axis=0))


def _started_twice(sizes, k, rng):
    """It begins with any k boxes, also with equal ones, and an anchor that loses all its sizes stays where it is."""
    wide = sizes.astype(np.float64)
    anchors = wide[rng.integers(0, len(wide), k)]
    for _ in range(12):
        nearest = _overlaps(wide, anchors).argmax(axis=1)
        anchors = np.stack(
            [
                wide[nearest == own].mean(axis=0) if (nearest == own).any() else anchors[own]
                for own in range(k)
            ]
        )
    return anchors[anchors.prod(axis=1).argsort(kind="stable")].astype(sizes.dtype)


@dimension_clusters.law(
    "an anchor for each size",
    inputs=_as_many_as_sizes,
    equation=r"k = |\{s_n\}| \;\Rightarrow\; d = 0",
    slide=SLIDE,
    hint="Begin with k different sizes: np.unique(sizes, axis=0), and rng.choice(..., replace=False).",
    mutant=_started_twice,
    right_too=False,
    value=True,
)
def _each_its_own(f, case):
    """With as many anchors as different sizes, the anchors are these sizes."""
    anchors = f(case)
    compare(
        anchors[np.lexsort(anchors.T[::-1])], np.unique(case["sizes"], axis=0), what="The anchors, sorted,"
    )


@dimension_clusters.law(
    "nearest by IoU",
    inputs=_small_and_large,
    equation=r"d = 1 - \mathrm{IoU}(\text{box}, \text{centroid})",
    slide=SLIDE,
    hint="The distance is 1 - IoU of two boxes with one centre: their intersection is min(w1, w2) min(h1, h2). The Euclidean "
    "distance makes more of the differences of large boxes.",
    mutant=with_distance,
    right_too=False,
    value=True,
)
def _by_overlap(f, case):
    """Each anchor is the mean of the sizes that overlap it more than any other anchor."""
    _check_means(case, f(case))


@dimension_clusters.law(
    "smallest area first",
    inputs=_squares,
    hint="Sort the anchors by width times height: anchors[np.argsort(anchors.prod(axis=1))].",
    mutant=_by(order=lambda anchors: np.argsort(-anchors.prod(axis=1))),
    right_too=False,
)
def _ordered(f, case):
    """The areas of the anchors grow."""
    anchors = f(case)
    if (np.diff(anchors.prod(axis=-1)) < 0).any():
        raise Broken("The areas of the anchors should grow.", f.right(case), anchors)


every_family(
    dimension_clusters,
    inputs=_one_cluster,
    shapes=_one_cluster,
)
values(
    dimension_clusters,
    simplest=lambda draw: _sizes(draw, 6, 2),
    words="six sizes, two anchors",
    anything=_any_sizes,
    hint="Some sizes occur twice, and count twice in the mean. Go on until no box changes its cluster, and let no cluster be empty.",
    mutant=lambda sizes, k, rng: _clusters(np.unique(sizes, axis=0), k, rng),
)
for name, hint, answer in (
    ("Euclidean distance", "You assign sizes by the Euclidean distance. The nearest anchor is the one with the largest IoU.", with_distance),
    ("the median of a cluster", "Your anchors are medians. Here they are the means of their sizes.", with_median),
    ("any start", "You begin with boxes that may have equal sizes. Begin with k different sizes.", _started_twice),
    (
        "the largest area first",
        "Your anchors begin with the largest. Begin with the smallest area.",
        _by(order=lambda anchors: np.argsort(-anchors.prod(axis=1))),
    ),
    (
        "drawn, not clustered",
        "These are k of the sizes: move each anchor to the mean of its sizes, and repeat.",
        lambda sizes, k, rng: _drawn(sizes, k, rng),
    ),
    (
        "the nearest is the farthest",
        "You take the smallest IoU for the nearest. The distance is 1 - IoU.",
        _by(overlaps=lambda sizes, anchors: -_overlaps(sizes, anchors)),
    ),
):  # fmt: skip
    dimension_clusters.mistake(name, hint, answer)


def _drawn(sizes, k, rng):
    chosen = sizes[rng.choice(len(sizes), k, replace=False)]
    return chosen[chosen.prod(axis=1).argsort(kind="stable")]
