"""The laws of anchor_boxes and match_anchors: boxes at every cell of a map, and which of them has which object.

Not here: IoU (overlaps.py), how an anchor's prediction becomes a box (box_coding.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, flags, generator, integer
from minivis.laws.judging.manners import every_family, index_laws
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/62-faster-rcnn"
SIDES = r"w = s / \sqrt r, \quad h = s \sqrt r"


def _anchor_boxes(height, width, stride, sizes, ratios):
    cell = []
    for r in ratios:
        for s in sizes:
            w = s / r**0.5
            h = s * r**0.5
            cell.append([-w / 2, -h / 2, w / 2, h / 2])
    found = []
    for row in range(height):
        for column in range(width):
            x = (column + 0.5) * stride
            y = (row + 0.5) * stride
            found.append(np.array(cell) + [x, y, x, y])
    return np.concatenate(found).astype(np.float32), None


anchor_boxes = Family(
    "anchor_boxes",
    _anchor_boxes,
    form="f(height, width, stride, sizes, ratios) -> (height * width * A, 4), float32: left, top, right, bottom in pixels "
    "of A = len(ratios) * len(sizes) anchors around the middle of every cell. An anchor of size s and ratio r has the area "
    "s * s and is r times as high as wide. Order: cells in reading order; in a cell ratio by ratio, for each all sizes",
)


def _grid(height, width, stride, sizes, ratios):
    return {"height": height, "width": width, "stride": stride, "sizes": sizes, "ratios": ratios}


def _one_cell(draw):
    return _grid(1, 1, 8, [choose(draw, 8.0, 16.0, 5.0)], [choose(draw, 0.5, 2.0, 4.0, 0.25)])


def _several_ratios(draw):
    ratios = choose(draw, [0.5, 2.0], [4.0, 0.25], [0.5, 2.0, 3.0])
    return _grid(1, 1, 8, [choose(draw, 8.0, 16.0, 5.0)], ratios)


def _several_sizes(draw):
    ratios = choose(draw, [0.5, 2.0], [1.0, 0.25], [2.0, 3.0])
    return _grid(1, 1, 8, choose(draw, [8.0, 16.0], [20.0, 6.0, 3.0]), ratios)


def _rectangular(draw):
    """A map of several cells with one anchor each."""
    height, width = choose(draw, (2, 3), (3, 2), (1, 3), (3, 1))
    return _grid(height, width, 8, [8.0], [1.0])


def _other_strides(draw):
    return _grid(1, 2, choose(draw, 4, 16, 2), [8.0], [1.0])


def _plain_map(draw):
    return _grid(2, 2, 8, [8.0, 16.0], [0.5, 1.0])


def _any_map(draw):
    sizes = generator(draw).uniform(2, 60, integer(draw, 1, 3)).round(1).tolist()
    ratios = generator(draw).uniform(0.2, 4, integer(draw, 1, 3)).round(2).tolist()
    return _grid(integer(draw, 1, 5), integer(draw, 1, 5), choose(draw, 8, 4, 16, 3), sizes, ratios)


def _map_sizes(draw):
    return _grid(integer(draw, 1, 3), integer(draw, 1, 3), 8, [8.0, 4.0][: integer(draw, 1, 2)], [1.0])


def _laid(height, width, stride, sizes, ratios, side=None, at=0.5, order="yx", anchors="rs", scale=None):
    """`_anchor_boxes` with other steps: ``side(s, r)`` gives width and height, ``order`` the order of cells."""
    pairs = (
        [(s, r) for r in ratios for s in sizes]
        if anchors == "rs"
        else [(s, r) for s in sizes for r in ratios]
    )
    side = side or (lambda s, r: (s / r**0.5, s * r**0.5))
    half = np.array([side(s * (scale(stride) if scale else 1), r) for s, r in pairs]) / 2
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    places = np.stack([columns, rows], axis=-1)
    places = places.swapaxes(0, 1) if order == "xy" else places
    centres = ((places + at) * stride).reshape(-1, 1, 2)
    return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4).astype(np.float32)


def _with(**steps):
    return lambda height, width, stride, sizes, ratios: _laid(height, width, stride, sizes, ratios, **steps)


def _sides(boxes, count):
    """Widths and heights; raise `Broken` unless there are as many boxes as there should be."""
    if boxes.shape != (count, 4):
        raise Broken(f"The output has shape {boxes.shape}; {(count, 4)} was expected.")
    boxes = boxes.astype(np.float64)
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


@anchor_boxes.law(
    "areas",
    value=True,
    inputs=_several_ratios,
    equation=r"w h = s^2",
    slide=SLIDE,
    hint="A higher anchor is narrower too: the height is s * sqrt(r) and the width s / sqrt(r).",
    mutant=_with(side=lambda s, r: (s, s * r)),
)
def _areas(f, case):
    """All anchors of one size have the same area, whatever their ratio: the square of the size."""
    width, height = _sides(f(case), len(case["ratios"]))
    compare(width * height, np.full(width.shape, case["sizes"][0] ** 2), 1e-4, what="The area")


@anchor_boxes.law(
    "ratios",
    value=True,
    inputs=_several_ratios,
    equation=r"h / w = r",
    slide=SLIDE,
    hint="A ratio is height divided by width: 2 is a standing anchor, 0.5 a lying one.",
    mutant=_with(side=lambda s, r: (s * r**0.5, s / r**0.5)),
)
def _ratios(f, case):
    """The height divided by the width is the ratio."""
    width, height = _sides(f(case), len(case["ratios"]))
    compare(height / width, np.array(case["ratios"]), 1e-4, what="Height / width")


@anchor_boxes.law(
    "around the middle of a cell",
    value=True,
    inputs=_several_ratios,
    equation=r"x = (j + \tfrac12)\, s, \quad y = (i + \tfrac12)\, s",
    slide=SLIDE,
    hint="The first cell reaches from 0 to the stride: its middle is half a stride from the corner.",
    mutant=_with(at=0),
)
def _middle(f, case):
    """The anchors of the first cell lie around its middle, half a stride from the corner of the picture."""
    boxes = f(case).astype(np.float64)
    _sides(boxes, len(case["ratios"]))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    compare(centres, np.full(centres.shape, case["stride"] / 2), what="The centre")


@anchor_boxes.law(
    "cells in reading order",
    value=True,
    inputs=_rectangular,
    equation=r"n = i\, W + j",
    slide=SLIDE,
    hint="The outer loop runs over rows (y), the inner one over columns (x). np.meshgrid needs indexing='ij' for this order.",
    mutant=_with(order="xy"),
)
def _in_reading_order(f, case):
    """Cells come row by row, as in a text: the next anchor lies one stride to the right of the one before."""
    boxes = f(case).astype(np.float64)
    _sides(boxes, case["height"] * case["width"])
    rows, columns = np.divmod(np.arange(len(boxes)), case["width"])
    way = np.stack([columns, rows, columns, rows], axis=1) * float(case["stride"])
    compare(boxes - boxes[0], way, what="The way from the first anchor")


@anchor_boxes.law(
    "ratio by ratio",
    value=True,
    inputs=_several_sizes,
    slide=SLIDE,
    hint="The network's channels have this order: the outer loop of a cell runs over ratios, the inner one over sizes.",
    mutant=_with(anchors="sr"),
)
def _ratio_by_ratio(f, case):
    """In a cell, all sizes of the first ratio come first, then all sizes of the second: the form changes last."""
    sizes = len(case["sizes"])
    width, height = _sides(f(case), sizes * len(case["ratios"]))
    form = (height / width).reshape(-1, sizes)
    compare(form, np.repeat(form[:, :1], sizes, axis=1), 1e-4, what="Height / width, a row for each ratio,")


@anchor_boxes.law(
    "sizes in pixels",
    value=True,
    inputs=_other_strides,
    slide=SLIDE,
    hint="Sizes are not multiples of the stride: only the centres are multiplied by it.",
    mutant=_with(scale=lambda stride: stride / 8),
)
def _in_pixels(f, case):
    """A size is a number of pixels of the picture: a square anchor is as wide, whatever the stride is."""
    width, _ = _sides(f(case), case["width"])
    compare(width, np.full(width.shape, case["sizes"][0]), what="The width")


every_family(anchor_boxes, inputs=_plain_map, shapes=_map_sizes)
values(
    anchor_boxes,
    simplest=_one_cell,
    words="one cell, one size, one ratio",
    anything=_any_map,
    hint="The maps have any height and width, several sizes and several ratios, and a stride that is not a power of two. "
    "Print the centres of the first cells.",
    mutant=lambda height, width, stride, sizes, ratios: _laid(
        height, width, stride, sizes, ratios, at=0.5 if stride % 2 == 0 else stride // 2 / stride
    ),
)
for name, hint, answer in (
    (
        "around the corner of a cell",
        "The anchors lie around the upper left corners of the cells. Their middle is at (column + 1/2) * stride.",
        _with(at=0),
    ),
    (
        "width divided by height",
        "The ratios are turned around: a ratio is height / width, so that 2 is a standing anchor.",
        _with(side=lambda s, r: (s * r**0.5, s / r**0.5)),
    ),
    (
        "the width is the size",
        "The width is s and the height s * r, so that the area grows with the ratio: use s / sqrt(r) and s * sqrt(r).",
        _with(side=lambda s, r: (s, s * r)),
    ),
    (
        "no square root",
        "The ratio is squared: the width is s / sqrt(r), the height s * sqrt(r).",
        _with(side=lambda s, r: (s / r, s * r)),
    ),
    (
        "column by column",
        "The cells are in the order of columns: the row is the outer loop.",
        _with(order="xy"),
    ),
    ("size by size", "In a cell the ratio is the outer loop, the size the inner one.", _with(anchors="sr")),
    (
        "centre and sides returned",
        "These are centres and sides. Return corners: left, top, right, bottom.",
        lambda *args: (lambda b: np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], axis=1))(
            _anchor_boxes(*args)[0]
        ),
    ),
    (
        "twice as large",
        "The anchors are twice as wide and high: they reach half their side from the centre in each direction.",
        _with(side=lambda s, r: (2 * s / r**0.5, 2 * s * r**0.5)),
    ),
    (
        "y before x",
        "The order is left, top, right, bottom: x comes first.",
        lambda *args: _anchor_boxes(*args)[0][:, [1, 0, 3, 2]],
    ),
):
    anchor_boxes.mistake(name, hint, answer)


# ---------------------------------------------------------------------------------------------------------------------
# match_anchors


def _match_anchors(iou, high=0.7, low=0.3):
    found = np.full(len(iou), -1)
    for anchor, row in enumerate(iou):
        best = max(row, default=0)
        if best < low:
            found[anchor] = -2
        if best >= high:
            found[anchor] = np.argmax(row)
    for column in iou.T:
        for anchor in np.flatnonzero((column == column.max(initial=0)) & (column > 0)):
            found[anchor] = np.argmax(iou[anchor])
    return found, None


match_anchors = Family(
    "match_anchors",
    _match_anchors,
    form="f(iou, high=0.7, low=0.3) -> (A,) whole numbers; iou (A, T): A anchors, T objects. The object that an anchor "
    "overlaps most (the first of equals) if that IoU is at least high; -2, background, if it is less than low; -1, ignored, "
    "between them. But an anchor that overlaps some object as much as no other anchor does (all of them where several are "
    "equal), and not by 0, always has the object that it overlaps most",
)

# In each table the last rows are anchors that fit the objects well, so that these need no others, unless a law is about that


def _fitted(rows, objects, fit=0.9):
    """A table: the given rows, then for each object an anchor that fits it."""
    rows = np.array(rows, np.float32).reshape(-1, objects)
    return np.concatenate([rows, np.eye(objects, dtype=np.float32) * np.float32(fit)])


def _shuffled(draw, rows):
    """Rows in one of some orders."""
    return np.array(rows)[np.random.default_rng(integer(draw, 0, 60)).permutation(len(rows))]


def _clear(draw):
    """Every anchor fits one object or none; each object has one that fits best."""
    objects = integer(draw, 2, 3)
    rows = _shuffled(draw, np.concatenate([np.eye(objects) * 0.8, np.full((1, objects), 0.125)]))
    return {"iou": _fitted(rows, objects)}


def _at_high(draw):
    return {"iou": _fitted([[0.75, 0.125], [0.125, 0.75]], 2), "high": 0.75}


def _at_low(draw):
    return {"iou": _fitted([[0.25, 0.125], [0.125, 0.25]], 2, 0.9375), "high": 0.75, "low": 0.25}


def _poor(draw):
    """One object that no anchor fits well; one anchor has it nearly."""
    value = choose(draw, 0.5, 0.25, 0.125)
    rows = [[0.0, value], [0.0, value / 2]]
    table = np.concatenate([_shuffled(draw, rows), [[0.9, 0]]])
    return {"iou": table.astype(np.float32)}


def _tied(draw):
    """One object that several anchors overlap equally."""
    value = choose(draw, 0.5, 0.25, 0.125)
    rows = [[value], [value], [value / 2]]
    return {"iou": _shuffled(draw, rows).astype(np.float32)}


def _without_objects(draw):
    return {"iou": np.zeros((integer(draw, 2, 4), 0), np.float32)}


def _far_away(draw):
    """An object that no anchor overlaps."""
    table = np.zeros((3, 2), np.float32)
    table[:, 0] = _shuffled(draw, [0.9, 0.125, 0.4])
    return {"iou": table if choose(draw, True, False) else table[:, ::-1].copy()}


def _contested(draw):
    """The best anchor of the second object overlaps the first one more."""
    value = choose(draw, 0.5, 0.25)
    return {"iou": np.array([[value + 0.125, value], [0.9, 0.0], [0.0, 0.125]], np.float32)}


def _equal_objects(draw):
    """Several objects at one place: which of them an anchor has is open."""
    return {"iou": np.full((integer(draw, 3, 6), 3), 0.9, np.float32)}


def _some_objects(draw):
    A, T = integer(draw, 0, 3), integer(draw, 0, 2)
    return {"iou": np.full((A, T), 0.9, np.float32)}


def _few_objects(draw):
    rng = generator(draw)
    iou = rng.permutation(99)[: integer(draw, 3, 6)][:, None] / 100 + 0.003  # off the thresholds
    return {"iou": iou.astype(np.float32)}


def _any_table(draw):
    rng = generator(draw)
    A, T = integer(draw, 1, 8), integer(draw, 1, 4)
    iou = rng.permutation(999)[: A * T].reshape(A, T) / 1000 + 0.0004  # off the thresholds
    if choose(draw, False, True):  # ties of anchors, but not of the objects of one anchor
        iou = (iou * 4).round() / 4 + np.arange(T) / 32 + 1 / 64
        iou[flags(draw, iou.shape, 0.3)] = 0
        iou[(iou == iou.max(axis=1, keepdims=True)).sum(axis=1) > 1] = 0
    case = {"iou": iou.clip(0, 1).astype(np.float32)}
    low, high = choose(draw, (0.3, 0.7), (0.3, 0.7), (0.5, 0.5), (0.1, 0.6))
    return case if (low, high) == (0.3, 0.7) else {**case, "high": high, "low": low}


def _matched(iou, high=0.7, low=0.3, positive=None, background=None, forced=None, owner=None):
    """`_match_anchors` with other steps; ``forced(iou)`` is a table: which anchors each object needs."""
    if not iou.size:
        return np.full(len(iou), -2)
    best = iou.max(axis=1)
    positive = best >= high if positive is None else positive(best, high)
    background = best < low if background is None else background(best, low)
    needed = (iou == iou.max(axis=0)) & (iou > 0) if forced is None else forced(iou)
    found = np.where(positive, iou.argmax(axis=1), np.where(background, -2, -1))
    own = iou.argmax(axis=1) if owner is None else owner(iou, needed)
    return np.where(needed.any(axis=1), own, found)


def _steps(**steps):
    return lambda iou, high=0.7, low=0.3: _matched(iou, high, low, **steps)


def _first_of_each(iou):
    """Of each object's best anchors only the first."""
    return (np.arange(len(iou))[:, None] == iou.argmax(axis=0)) & (iou > 0)


def _for_whom_it_is_needed(iou, needed):
    """The object that needs the anchor, not the one that it overlaps most."""
    return np.where(needed.any(axis=1), iou.shape[1] - 1 - needed[:, ::-1].argmax(axis=1), 0)


def _same(f, case):
    f.agrees(case)


def _read(f, case):
    return f(case)


match_anchors.agrees(
    "at least high",
    "An anchor whose best IoU is high or more has that object; exactly high is enough.",
    inputs=_at_high,
    equation=r"\max_t u_{a,t} \ge \mathrm{high} \;\Rightarrow\; \arg\max_t u_{a,t}",
    slide=SLIDE,
    hint="An IoU of exactly high is enough: compare with >=, not with >.",
    mutant=_steps(positive=lambda best, high: best > high),
)
match_anchors.agrees(
    "less than low",
    "An anchor whose best IoU is less than low is background; exactly low is ignored.",
    inputs=_at_low,
    equation=r"\max_t u_{a,t} < \mathrm{low} \;\Rightarrow\; -2",
    slide=SLIDE,
    hint="Compare with <, not with <=. What is between low and high is ignored, -1.",
    mutant=_steps(background=lambda best, low: best <= low),
)


@match_anchors.law(
    "no object without an anchor",
    value=True,
    inputs=_poor,
    equation=r"u_{a,t} = \max_{a'} u_{a',t} > 0 \;\Rightarrow\; a \text{ has an object}",
    slide=SLIDE,
    hint="Some objects are overlapped by no anchor as much as high says. Give them the anchor that overlaps them most.",
    mutant=_steps(forced=lambda iou: np.zeros(iou.shape, bool)),
)
def _owns(f, case):
    """The anchor that overlaps an object most has an object, also if the IoU is lower than the threshold."""
    iou = case["iou"]
    got = f(case)
    if got.shape != (len(iou),):
        raise Broken(f"The output has shape {got.shape}; {(len(iou),)} was expected.")
    for t in range(iou.shape[1]):
        if iou[:, t].max() > 0 and got[iou[:, t].argmax()] != t:
            raise Broken(f"Object {t} has no anchor.", f.right(case), got)


@match_anchors.law(
    "all of the best",
    inputs=_tied,
    equation=r"\{a : u_{a,t} = \max_{a'} u_{a',t}\}",
    slide=SLIDE,
    hint="argmax finds only the first of equal anchors: compare the whole column with its maximum.",
    mutant=_steps(forced=_first_of_each),
)
def _all_alike(f, case):
    """If several anchors overlap an object equally and no other more, all of them have it, or none."""
    got = f(case)
    iou = case["iou"][:, 0]
    if got.shape != iou.shape:
        raise Broken(f"The output has shape {got.shape}; {iou.shape} was expected.")
    if len(set(got[iou == iou.max()].tolist())) > 1:
        raise Broken("Anchors with the same IoU are matched differently.", f.right(case), got)


@match_anchors.law(
    "nothing to find",
    inputs=_without_objects,
    equation=r"T = 0 \;\Rightarrow\; -2",
    slide=SLIDE,
    hint="A picture without objects is common. Its table has no columns, of which max and argmax cannot be taken.",
    mutant=lambda iou, high=0.7, low=0.3: (
        np.full(len(iou), -1) if iou.shape[1] == 0 and len(iou) else _matched(iou, high, low)
    ),
    right_too=False,
)
def _nothing(f, case):
    """In a picture without objects, every anchor is background."""
    got = f(case)
    if got.shape != (len(case["iou"]),) or not (got == -2).all():
        raise Broken("Without objects all anchors are background, -2.", f.right(case), got)


match_anchors.agrees(
    "an object out of reach",
    "An object that no anchor overlaps makes no anchor its own.",
    inputs=_far_away,
    equation=r"\max_a u_{a,t} = 0 \;\Rightarrow\; \text{no } a",
    hint="If the largest IoU of a column is 0, all anchors are equal to it. An IoU of 0 does not count.",
    mutant=_steps(forced=lambda iou: iou == iou.max(axis=0)),
)


@match_anchors.law(
    "the object that it overlaps most",
    inputs=_contested,
    equation=r"\arg\max_t u_{a,t}",
    slide=SLIDE,
    hint="That an object needs an anchor makes the anchor positive. It still has the object that it overlaps most.",
    mutant=_steps(owner=_for_whom_it_is_needed),
)
def _never_the_lesser(f, case):
    """An anchor that one object needs has another object if it overlaps that one more."""
    got = f(case)
    if got.shape != (3,):
        raise Broken(f"The output has shape {got.shape}; (3,) was expected.")
    if got[0] == 1:
        raise Broken("Anchor 0 has object 1, but overlaps object 0 more.", f.right(case), got)


_CHANCE = np.random.default_rng()


def _random_object(iou, high=0.7, low=0.3):
    """Of equal objects any one."""
    jitter = _CHANCE.random(iou.shape)
    order = np.lexsort((jitter, -iou), axis=1)[:, :1] if iou.size else np.zeros((len(iou), 0), int)
    found = _matched(iou, high, low)
    return np.where(found >= 0, order[:, 0], found) if iou.size else found


index_laws(
    match_anchors,
    inputs=_equal_objects,
    shapes=_some_objects,
    read=_read,
    squeezed=lambda iou, high=0.7, low=0.3: np.squeeze(_matched(iou, high, low)),
    random_ties=_random_object,
    float_mutant=lambda iou, high=0.7, low=0.3: _matched(iou, high, low).astype(np.float64),
    overwritten="iou",
)


def _needed_once(iou):
    """Each object in turn takes its best anchor from those that are left."""
    needed = np.zeros(iou.shape, bool)
    for t in range(iou.shape[1]):
        left = np.where(needed.any(axis=1), 0, iou[:, t])
        needed[:, t] = (left == left.max()) & (left > 0)
    return needed


values(
    match_anchors,
    simplest=_few_objects,
    words="one object, the usual thresholds",
    anything=_any_table,
    hint="The tables have several objects, ties between anchors, and other thresholds. Two objects may need the same anchor.",
    mutant=_steps(forced=_needed_once),
    wrong=_steps(background=lambda best, low: best < 0),
)
for name, hint, answer in (
    (
        "no anchor for poor objects",
        "Objects that no anchor overlaps by high stay without one. Give each the anchors that overlap it most.",
        _steps(forced=lambda iou: np.zeros(iou.shape, bool)),
    ),
    (
        "only the first of the best",
        "argmax finds one anchor for each object; all that overlap it equally count.",
        _steps(forced=_first_of_each),
    ),
    (
        "an overlap of nothing",
        "An object that no anchor overlaps makes every anchor positive: 0 equals the largest IoU. Ask for more than 0.",
        _steps(forced=lambda iou: iou == iou.max(axis=0)),
    ),
    (
        "the object that needs it",
        "An anchor that an object needs has the object that it overlaps most, which may be another.",
        _steps(owner=_for_whom_it_is_needed),
    ),
    (
        "nothing is ignored",
        "Every anchor that has no object is background here. Between low and high an anchor is ignored, -1.",
        _steps(background=lambda best, low: best <= 1),
    ),
    (
        "background and ignored exchanged",
        "-1 and -2 are exchanged: background is -2.",
        lambda iou, high=0.7, low=0.3: (lambda m: np.where(m < 0, -3 - m, m))(_matched(iou, high, low)),
    ),
    (
        "a flag for an index",
        "Positive anchors are all 1. Return the index of the object.",
        lambda iou, high=0.7, low=0.3: (
            np.minimum(_matched(iou, high, low), 0) + (_matched(iou, high, low) >= 0)
        ),
    ),
):
    match_anchors.mistake(name, hint, answer)
