"""The laws of box_encode and box_decode: a box as a change of a proposal, and back.

Not here: the formats of boxes (boxes.py), which proposal has which box (anchors.py).
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

CENTRE = r"d_x = w_x \frac{x - x_a}{w_a}, \quad d_y = w_y \frac{y - y_a}{h_a}"
SIDES = r"d_w = w_w \log \frac{w}{w_a}, \quad d_h = w_h \log \frac{h}{h_a}"
BACK = r"x = x_a + w_a d_x / w_x, \quad w = w_a e^{d_w / w_w}"
SLIDE = "C/45-rcnn"
LARGEST = math.log(1000 / 16)


def _centre_and_sides(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def _box_encode(proposals, boxes, weights=(1, 1, 1, 1)):
    start, old = _centre_and_sides(proposals)
    end, new = _centre_and_sides(boxes)
    changes = np.concatenate([(end - start) / old, np.log(new / old)], axis=1)
    return changes * np.array(weights, changes.dtype), None


def _box_decode(deltas, proposals, weights=(1, 1, 1, 1)):
    start, old = _centre_and_sides(proposals)
    changes = deltas / np.array(weights, deltas.dtype)
    centre = start + changes[:, :2] * old
    half = old * np.exp(np.minimum(changes[:, 2:], LARGEST)) / 2
    return np.concatenate([centre - half, centre + half], axis=1), None


box_encode = Family(
    "box_encode",
    _box_encode,
    ("proposals", "boxes"),
    form="f(proposals, boxes, weights=(1, 1, 1, 1)) -> (N, 4): dx, dy, dw, dh, each multiplied by its weight; proposals "
    "and boxes (N, 4) are left, top, right, bottom",
)
box_decode = Family(
    "box_decode",
    _box_decode,
    ("deltas", "proposals"),
    form="f(deltas, proposals, weights=(1, 1, 1, 1)) -> boxes (N, 4): left, top, right, bottom; the inverse of box_encode, "
    "but dw and dh (divided by their weights) count as at most log(1000 / 16)",
)


# Proposals are rectangular. In each law only one thing changes: the centres, the sides, the unit, or the weights


def _rectangles(draw, scale=1.0, sides=None):
    low = generator(draw).integers(0, 9, (integer(draw, 2, 3), 2))
    sides = sides or choose(draw, (2, 8), (8, 4))
    return (np.concatenate([low, low + sides], axis=1) * scale).astype(np.float32)


def _around(boxes, growth):
    """Boxes with the same centres, and sides that are ``growth`` times as long."""
    centre, sides = _centre_and_sides(boxes)
    half = sides * np.asarray(growth, np.float32) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _moved(draw, sides=None):
    proposals = _rectangles(draw, sides=sides)
    by = generator(draw).integers(-4, 5, (len(proposals), 2)) + 0.5
    return {"proposals": proposals, "boxes": (proposals + np.tile(by, 2)).astype(np.float32)}


def _grown(draw):
    proposals = _rectangles(draw)
    return {"proposals": proposals, "boxes": _around(proposals, (integer(draw, 2, 4), choose(draw, 0.5, 3)))}


def _tiny(draw):
    """Boxes in a large unit, so that their sides are tiny numbers."""
    proposals = _rectangles(draw, 2.0**-34)
    return {"proposals": proposals, "boxes": _around(proposals, (integer(draw, 2, 4), 1))}


def _weighted(draw):
    case = _moved(draw, sides=(4, 4))
    return {**case, "weights": choose(draw, (10, 10, 5, 5), (2, 3, 1, 1))}


def _pairs(draw, low=1, high=4):
    """Any proposals and any boxes."""
    rng = generator(draw)
    N = integer(draw, low, high)
    lists = []
    for _ in range(2):
        corner = rng.uniform(-20, 20, (N, 2))
        lists.append(np.concatenate([corner, corner + rng.uniform(0.5, 30, (N, 2))], axis=1).round(1))
    return [boxes.astype(np.float32) for boxes in lists]


def _any_pairs(draw):
    proposals, boxes = _pairs(draw)
    case = {"proposals": proposals, "boxes": boxes}
    weights = choose(draw, None, (1, 1, 1, 1), (10, 10, 5, 5), (0.5, 2, 3, 1))
    return case if weights is None else {**case, "weights": weights}


def _simple_pairs(draw):
    proposals, boxes = _pairs(draw, 1, 2)
    return {"proposals": proposals, "boxes": boxes}


def _numbers_of_pairs(draw):
    proposals, boxes = _pairs(draw, 1, 3)
    return {"proposals": proposals, "boxes": boxes}


def _parts(proposals, boxes, weights=(1, 1, 1, 1)):
    """What mutants of `_box_encode` need: the two centres, the two sides, the weights."""
    return *_centre_and_sides(proposals), *_centre_and_sides(boxes), np.array(weights, boxes.dtype)


def _other_units(proposals, boxes, weights=(1, 1, 1, 1)):
    """dx divided by the height, dy by the width."""
    start, old, end, new, w = _parts(proposals, boxes, weights)
    return np.concatenate([(end - start) / old[:, ::-1], np.log(new / old)], axis=1) * w


def _ratios(proposals, boxes, weights=(1, 1, 1, 1)):
    """The relative growth for its logarithm."""
    start, old, end, new, w = _parts(proposals, boxes, weights)
    return np.concatenate([(end - start) / old, new / old - 1], axis=1) * w


def _guarded(proposals, boxes, weights=(1, 1, 1, 1)):
    """A small number added to the sides, against a division by 0."""
    start, old, end, new, w = _parts(proposals, boxes, weights)
    room = np.float32(1e-12)
    return np.concatenate([(end - start) / (old + room), np.log((new + room) / (old + room))], axis=1) * w


def _divided(proposals, boxes, weights=(1, 1, 1, 1)):
    return _box_encode(proposals, boxes, [1 / weight for weight in weights])[0]


def _legacy(proposals, boxes, weights=(1, 1, 1, 1)):
    """The last pixel belongs to the box: sides are 1 longer."""
    more = np.array([0, 0, 1, 1], np.float32)
    return _box_encode(proposals + more, boxes + more, weights)[0]


def _corners(proposals, boxes, weights=(1, 1, 1, 1)):
    """The left upper corners for the centres."""
    _, old, _, new, w = _parts(proposals, boxes, weights)
    return np.concatenate([(boxes - proposals)[:, :2] / old, np.log(new / old)], axis=1) * w


def _by_the_box(proposals, boxes, weights=(1, 1, 1, 1)):
    """The centre moves in units of the box, not of the proposal."""
    start, old, end, new, w = _parts(proposals, boxes, weights)
    return np.concatenate([(end - start) / new, np.log(new / old)], axis=1) * w


def _rows_first(proposals, boxes, weights=(1, 1, 1, 1)):
    """y before x, and the height before the width."""
    return _box_encode(proposals, boxes, weights)[0][:, [1, 0, 3, 2]]


def _other_logarithm(proposals, boxes, weights=(1, 1, 1, 1)):
    return _box_encode(proposals, boxes, weights)[0] / np.array([1, 1, math.log(2), math.log(2)], np.float32)


box_encode.agrees(
    "the centre in units of the proposal",
    "A box of the same size has dw = dh = 0; dx is its way in widths of the proposal, dy in heights.",
    inputs=_moved,
    equation=CENTRE,
    slide=SLIDE,
    hint="dx is divided by the width of the proposal, dy by its height. Both are about centres, not corners.",
    mutant=_other_units,
)
box_encode.agrees(
    "sides by their logarithm",
    "A box around the same centre has dx = dy = 0; twice the width is log 2, half the width is -log 2.",
    inputs=_grown,
    equation=SIDES,
    slide=SLIDE,
    hint="np.log of the new side divided by the old one: growing and shrinking are then equally large numbers.",
    mutant=_ratios,
)


@box_encode.law(
    "the unit does not matter",
    inputs=_tiny,
    equation=r"d(\lambda a, \lambda b) = d(a, b)",
    slide=SLIDE,
    hint="Nothing may be added to the sides, not even 1e-12: in a large unit, sides are small numbers.",
    mutant=_guarded,
)
def _any_unit(f, case):
    """Boxes and proposals in another unit give the same numbers."""
    larger = case.replace(
        proposals=case["proposals"] * np.float32(2**34), boxes=case["boxes"] * np.float32(2**34)
    )
    compare(f(case), f(larger).astype(np.float64), what="The code in the larger unit")


box_encode.agrees(
    "weights",
    "Each of the four numbers is multiplied by its weight.",
    inputs=_weighted,
    equation=CENTRE,
    hint="Fast R-CNN's weights are (10, 10, 5, 5): targets become larger, not smaller.",
    mutant=_divided,
)
every_family(box_encode, inputs=_grown, shapes=_numbers_of_pairs)
values(
    box_encode,
    simplest=_simple_pairs,
    words="one or two boxes, no weights",
    anything=_any_pairs,
    hint="Work out one box by hand: centres, widths and heights of both, then the four numbers, then the weights.",
    mutant=mutated(
        _box_encode,
        lambda right, a, o: _by_the_box(*a, **o) if len(a[0]) > 2 else right(*a, **o)[0],
    ),
)
for name, hint, answer in (
    (
        "sides one pixel longer",
        "The sides are 1 too long. Corners are places, not numbers of pixels: a width is right - left, without + 1.",
        _legacy,
    ),
    (
        "width and height exchanged in the division",
        "You divide dx by the height and dy by the width: x goes with the width.",
        _other_units,
    ),
    (
        "corners for centres",
        "dx and dy are the way of the upper left corner. Use the centres: (left + right) / 2.",
        _corners,
    ),
    (
        "in units of the box",
        "You divide by the sides of the box. The network knows only the proposal: divide by its sides.",
        _by_the_box,
    ),
    ("no logarithm", "dw is the relative growth. It should be the logarithm of new / old.", _ratios),
    ("logarithm to base 2", "This is log2; the code uses the natural logarithm, np.log.", _other_logarithm),
    ("divided by the weights", "The weights multiply here; box_decode divides by them.", _divided),
    ("y before x", "The order is dx, dy, dw, dh: x and width come first.", _rows_first),
    (
        "weights forgotten",
        "The weights have no effect: multiply each of the four numbers by its weight.",
        lambda proposals, boxes, weights=(1, 1, 1, 1): _box_encode(proposals, boxes)[0],
    ),
    (
        "proposals and boxes exchanged",
        "You describe the proposal as a change of the box. The proposal is given; the box is what it should become.",
        lambda proposals, boxes, weights=(1, 1, 1, 1): _box_encode(boxes, proposals, weights)[0],
    ),
):
    box_encode.mistake(name, hint, answer)


# ---------------------------------------------------------------------------------------------------------------------
# box_decode


def _deltas(draw, moves, grows, sides=None):
    rng = generator(draw)
    proposals = _rectangles(draw, sides=sides)
    deltas = rng.integers(-3, 4, (len(proposals), 4)) / 4 + 0.125
    return {"deltas": (deltas * [moves, moves, grows, grows]).astype(np.float32), "proposals": proposals}


def _only_moves(draw):
    return _deltas(draw, 1, 0)


def _only_grows(draw):
    return _deltas(draw, 0, 1)


def _large(draw):
    case = _deltas(draw, 0, 0)
    case["deltas"][:, 2:] = integer(draw, 5, 7)
    return case


def _weighted_deltas(draw):
    case = _deltas(draw, 4, 0, sides=(4, 4))
    return {**case, "weights": choose(draw, (10, 10, 5, 5), (2, 4, 1, 1))}


def _any_deltas(draw):
    rng = generator(draw)
    proposals, _ = _pairs(draw)
    case = {"deltas": rng.normal(0, choose(draw, 0.5, 0.5, 3), (len(proposals), 4)), "proposals": proposals}
    case["deltas"] = case["deltas"].round(2).astype(np.float32)
    weights = choose(draw, None, (1, 1, 1, 1), (10, 10, 5, 5), (0.5, 2, 3, 1))
    return case if weights is None else {**case, "weights": weights}


def _simple_deltas(draw):
    proposals, _ = _pairs(draw, 1, 2)
    deltas = generator(draw).normal(0, 0.5, (len(proposals), 4)).round(2)
    return {"deltas": deltas.astype(np.float32), "proposals": proposals}


def _decoded(deltas, proposals, weights=(1, 1, 1, 1), move=None, grow=None, corners=None, unit=None):
    """`_box_decode` with other steps."""
    start, old = _centre_and_sides(proposals)
    changes = deltas / np.array(weights, deltas.dtype)
    centre = start + changes[:, :2] * (old if unit is None else unit(old))
    grown = np.minimum(changes[:, 2:], LARGEST)
    sides = old * (np.exp(grown) if grow is None else grow(changes[:, 2:]))
    if corners is not None:
        return corners(centre, sides)
    return np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)


def _with(**steps):
    return lambda deltas, proposals, weights=(1, 1, 1, 1): _decoded(deltas, proposals, weights, **steps)


def _multiplied(deltas, proposals, weights=(1, 1, 1, 1)):
    return _decoded(deltas, proposals, [1 / weight for weight in weights])


box_decode.agrees(
    "the centre moves",
    "dx moves the centre by dx widths of the proposal, dy by dy heights; the sides stay.",
    inputs=_only_moves,
    equation=BACK,
    slide=SLIDE,
    hint="dx goes with the width of the proposal, dy with its height.",
    mutant=_with(unit=lambda old: old[:, ::-1]),
)
box_decode.agrees(
    "the sides grow",
    "dw multiplies the width by its exponential, around the same centre.",
    inputs=_only_grows,
    equation=BACK,
    slide=SLIDE,
    hint="The code is the logarithm of new / old, so that the way back is the exponential. The centre stays where it is.",
    mutant=_with(grow=lambda grown: 1 + np.minimum(grown, LARGEST)),
)


@box_decode.law(
    "a side grows at most 62.5 times",
    inputs=_large,
    equation=r"w = w_a \exp \min(d_w / w_w, \log \tfrac{1000}{16})",
    hint="Clamp dw and dh before the exponential, at log(1000 / 16) = 4.135, and only from above.",
    mutant=_with(grow=np.exp),
)
def _bounded(f, case):
    """However large dw is, no side becomes more than 1000 / 16 times as long: no box becomes infinite."""
    got = f(case)
    if got.shape != case["proposals"].shape:
        raise Broken(f"The output has shape {got.shape}; {case['proposals'].shape} was expected.")
    growth = _centre_and_sides(got.astype(np.float64))[1] / _centre_and_sides(case["proposals"])[1]
    if not (growth < 62.6).all():
        raise Broken(f"A side became {growth.max():.4g} times as long.", f.right(case), got)


box_decode.agrees(
    "weights",
    "Each of the four numbers is divided by its weight first.",
    inputs=_weighted_deltas,
    equation=BACK,
    hint="box_encode multiplies by the weights, so this divides by them.",
    mutant=_multiplied,
)
every_family(box_decode, inputs=_only_grows, shapes=_any_deltas)


def _clamped_both(deltas, proposals, weights=(1, 1, 1, 1)):
    return _decoded(deltas, proposals, weights, grow=lambda grown: np.exp(np.clip(grown, -1.5, LARGEST)))


values(
    box_decode,
    simplest=_simple_deltas,
    words="one or two boxes, small changes, no weights",
    anything=_any_deltas,
    hint="The changes may be large: only growth is limited, not shrinking, and not the way of the centre. The limit holds "
    "after the division by the weights.",
    mutant=_clamped_both,
)
for name, hint, answer in (
    (
        "no limit of growth",
        "A side may grow 62.5 times at most: clamp dw and dh from above at log(1000 / 16).",
        _with(grow=np.exp),
    ),
    (
        "width and height exchanged",
        "You multiply dx by the height and dy by the width: x goes with the width.",
        _with(unit=lambda old: old[:, ::-1]),
    ),
    (
        "no exponential",
        "You multiply the sides by 1 + dw. The code is a logarithm: multiply by its exponential.",
        _with(grow=lambda grown: 1 + np.minimum(grown, LARGEST)),
    ),
    (
        "centre and sides returned",
        "These are centres and sides. Return corners: centre - side / 2 and centre + side / 2.",
        _with(corners=lambda centre, sides: np.concatenate([centre, sides], axis=1)),
    ),
    (
        "the whole side on both sides",
        "The box is twice as large: it reaches half a side from its centre in each direction.",
        _with(corners=lambda centre, sides: np.concatenate([centre - sides, centre + sides], axis=1)),
    ),
    (
        "the last pixel left out",
        "The right and lower sides are 1 too small. Corners are places: right is the centre + width / 2, without - 1.",
        _with(
            corners=lambda centre, sides: np.concatenate([centre - sides / 2, centre + sides / 2 - 1], axis=1)
        ),
    ),
    (
        "multiplied by the weights",
        "box_encode multiplies by the weights; here you divide by them.",
        _multiplied,
    ),
    (
        "weights forgotten",
        "The weights have no effect: divide each of the four numbers by its weight.",
        lambda deltas, proposals, weights=(1, 1, 1, 1): _decoded(deltas, proposals),
    ),
):
    box_decode.mistake(name, hint, answer)
