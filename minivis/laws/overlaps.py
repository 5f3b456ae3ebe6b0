"""The laws of box_iou and generalized_box_iou: how two boxes overlap, or how far apart they are.

Not here: the formats of a box (boxes.py), boxes with negative sides, choosing among boxes (nms.py).
"""

import functools

import numpy as np

from minivis.laws.candidate import compare
from minivis.laws.catalogue import Family
from minivis.laws.common import every_family, gradients, mutated
from minivis.laws.inputs import choose, integer, sizes
from minivis.laws.sandbox import Broken

SLIDE = "H: Bipartite Matching"


def _extent(corners):
    return corners[..., 2:] - corners[..., :2]


def _share(part, whole):
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _area(sides):
    return sides[..., 0] * sides[..., 1]


class _Pairs:
    """All pairs of two lists of boxes: what the measures are made of, forward and backward; mutants change a part."""

    def __init__(self, boxes1, boxes2):
        self.a, self.b = boxes1[:, None], boxes2[None]  # (N, 1, 4), (1, M, 4)
        self.low, self.high = np.maximum(self.a, self.b)[..., :2], np.minimum(self.a, self.b)[..., 2:]
        self.reach = self.high - self.low  # of the intersection; negative where they are apart
        self.hull = np.maximum(self.a, self.b)[..., 2:] - np.minimum(self.a, self.b)[..., :2]
        self.areas = _area(_extent(self.a)), _area(_extent(self.b))
        self.intersection = _area(np.maximum(self.reach, 0))
        self.union = self.areas[0] + self.areas[1] - self.intersection
        self.enclosure = _area(self.hull)

    def iou(self):
        return _share(self.intersection, self.union)

    def giou(self):
        return self.iou() - _share(self.enclosure - self.union, self.enclosure)

    def pull(self, g, generalized):
        """Cotangents of both lists, from those of intersection, union and enclosure."""
        d_intersection, d_union = _share(g, self.union), -_share(g * self.iou(), self.union)
        d_enclosure = 0 * g
        if generalized:
            d_union = d_union + _share(g, self.enclosure)
            d_enclosure = -_share(g * _share(self.union, self.enclosure), self.enclosure)
        d_intersection = d_intersection - d_union
        return self._of(self.a, self.b, d_intersection, d_union, d_enclosure).sum(axis=1), self._of(
            self.b, self.a, d_intersection, d_union, d_enclosure
        ).sum(axis=0)

    def _of(self, mine, other, d_intersection, d_area, d_enclosure):
        """The cotangent of one of the two boxes in each pair, (N, M, 4)."""

        def sides(d, sides):
            return d[..., None] * sides[..., ::-1]  # an area changes by the length of the other side

        inner = sides(d_intersection, np.maximum(self.reach, 0)) * (self.reach > 0)
        outer, own = sides(d_enclosure, self.hull), sides(d_area, _extent(mine))
        before, after = (
            (first + 0.5 * (mine == other)).astype(mine.dtype) for first in (mine < other, mine > other)
        )
        low = -inner * after[..., :2] - outer * before[..., :2] - own
        high = inner * before[..., 2:] + outer * after[..., 2:] + own
        return np.concatenate([low, high], axis=-1)


def _box_iou(boxes1, boxes2):
    pairs = _Pairs(boxes1, boxes2)
    return pairs.iou(), lambda g: pairs.pull(g, generalized=False)


def _generalized_box_iou(boxes1, boxes2):
    pairs = _Pairs(boxes1, boxes2)
    return pairs.giou(), lambda g: pairs.pull(g, generalized=True)


FORM = "f(boxes1, boxes2); boxes (N, 4) and (M, 4): left, top, right, bottom -> (N, M), every pair; "
box_iou = Family("box_iou", _box_iou, ("boxes1", "boxes2"), form=FORM + "0 for boxes that are empty both")
generalized_box_iou = Family(
    "generalized_box_iou",
    _generalized_box_iou,
    ("boxes1", "boxes2"),
    form=FORM + "an enclosure without area contributes 0",
)
IOU = r"\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}"
GIOU = r"\mathrm{GIoU} = \mathrm{IoU} - \frac{|E| - |A \cup B|}{|E|}"


# Each list holds one box twice, unless a law says otherwise; the second box never begins before the first


def _twice(a, b):
    lists = np.array([[a, a], [b, b]], np.float32)
    return {"boxes1": lists[0], "boxes2": lists[1]}


def _partial(draw):
    """Two that overlap, neither inside the other, shifted along both axes."""
    w, h = integer(draw, 2, 6), integer(draw, 2, 6)
    x, y = integer(draw, 1, w - 1), integer(draw, 1, h - 1)
    wide, high = w - x + integer(draw, 1, 4), h - y + integer(draw, 1, 4)
    left, top = integer(draw, 0, 3), integer(draw, 0, 3)
    return _twice([left, top, left + w, top + h], [left + x, top + y, left + x + wide, top + y + high])


def _in_pixels(draw):
    """The same, so large that a small number added to an area is of no account."""
    return {name: 64 * boxes for name, boxes in _partial(draw).items()}


def _inside(draw):
    """The second in the first, at times as large as it."""
    w, h = integer(draw, 2, 6), integer(draw, 2, 6)
    x, y = integer(draw, 0, w - 1), integer(draw, 0, h - 1)
    return _twice([0, 0, w, h], [x, y, x + integer(draw, 1, w - x), y + integer(draw, 1, h - y)])


def _overlapping(draw):
    return choose(draw, _partial, _inside)(draw)


def _in_a_row(draw, side, gap):
    """Two squares side by side, or one above the other."""
    apart = np.array([side + gap, 0] if choose(draw, True, False) else [0, side + gap])
    return _twice([0, 0, side, side], [*apart, *(apart + side)])


def _near(draw):
    return _in_a_row(draw, integer(draw, 1, 4), integer(draw, 1, 3))


def _far(draw):
    side = integer(draw, 1, 3)
    return _in_a_row(draw, side, integer(draw, 3, 9) * side)


def _across_the_corner(draw):
    """Two squares that lie apart along both axes, by about their side."""
    side, more = 4 * integer(draw, 1, 2), integer(draw, 0, 1)
    at = np.array([2 * side + more, 2 * side + integer(draw, 0, 1)])
    return _twice([0, 0, side, side], [*at, *(at + side)])


def _apart(draw):
    return choose(draw, _across_the_corner, _near)(draw)


def _without_area(draw):
    """A point or a line with itself or another along the same line, or in the corner of a box."""
    along = np.array(choose(draw, [1, 0], [0, 1]))
    line = np.concatenate([[1, 1], 1 + integer(draw, 0, 2) * along])
    later = line + np.tile(along, 2) * integer(draw, 0, 3)
    return _twice(*choose(draw, (line, later), ([1, 1, 4, 4], line)))


def _table(draw):
    """Two boxes each, overlapping by four different amounts."""
    start = np.array([[0, 0], [1, 1]])
    more = np.array([[1, 2], [4, 3 + integer(draw, 0, 2)]])
    first = np.concatenate([start, start + integer(draw, 6, 9)], axis=1)
    return {
        "boxes1": first.astype(np.float32),
        "boxes2": np.concatenate([more, more + 7], axis=1).astype(np.float32),
    }


def _any_number(draw):
    N, M = sizes(draw, 2, 1, 3)
    pair = _partial(draw)
    return {"boxes1": pair["boxes1"][:1].repeat(N, axis=0), "boxes2": pair["boxes2"][:1].repeat(M, axis=0)}


def _smooth(draw):
    """Boxes of which no two sides coincide."""
    case = choose(draw, _partial, _across_the_corner)(draw)
    slants = np.array([[0.0, 0.02, 0.04, 0.06], [0.11, 0.13, 0.17, 0.19], [0.31, 0.33, 0.37, 0.41]])
    first, second = case["boxes1"][:1] + slants[:2], case["boxes2"][:1] + 0.05 + slants
    return {"boxes1": first.astype(np.float32), "boxes2": second.astype(np.float32)}


def _moved(draw):
    """How far both lists are moved: out of the image, to the left and to the top."""
    case = _partial(draw)
    away = np.float32(-choose(draw, 1, 5, 40, 4000))
    return {name: boxes + away for name, boxes in case.items()}


def _changed(measure, **parts):
    """A mutant whose pairs have some parts computed otherwise: ``part(pairs)``."""

    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)
        for name, part in parts.items():
            setattr(pairs, name, part(pairs))
            if name == "intersection":
                pairs.union = pairs.areas[0] + pairs.areas[1] - pairs.intersection
        return measure(pairs)

    return mutant


def _over(area):
    """GIoU (or IoU) with the intersection divided by something else than the union."""
    return lambda pairs: _share(pairs.intersection, area(*pairs.areas) + 0 * pairs.union)


def _excess(pairs):
    return _share(pairs.enclosure - pairs.union, pairs.enclosure)


def _unguarded(boxes1, boxes2, generalized):
    pairs = _Pairs(boxes1, boxes2)
    iou = pairs.intersection / pairs.union
    return iou - (pairs.enclosure - pairs.union) / pairs.enclosure if generalized else iou


box_iou.agrees(
    "shared over covered",
    "IoU is the area that both boxes cover, divided by the area that at least one of them covers.",
    inputs=_overlapping,
    equation=IOU,
    slide=SLIDE,
    hint="The union is the sum of the two areas less the intersection, which would be counted twice. Dividing by the "
    "smaller box would make a small box inside a large one a perfect match.",
    mutant=_changed(_over(np.minimum)),
)
box_iou.agrees(
    "apart",
    "Boxes that lie apart, along one axis or both, have IoU 0.",
    inputs=_apart,
    equation=r"|A \cap B| = \max(0, \Delta x) \cdot \max(0, \Delta y)",
    slide=SLIDE,
    hint="The sides of the intersection are negative then, and the product of two negative numbers is positive: clip "
    "each side at 0 before multiplying.",
    mutant=_changed(_Pairs.iou, intersection=lambda pairs: _area(pairs.reach)),
)
generalized_box_iou.agrees(
    "formula",
    "GIoU is IoU less the share of the smallest enclosing box that neither of the two covers.",
    inputs=_partial,
    equation=GIOU,
    slide=SLIDE,
    hint="Three areas are needed: intersection, union, and the box from the smaller left and top to the larger right "
    "and bottom. IoU has the union below, the second term the enclosure.",
    mutant=_changed(lambda pairs: _over(np.maximum)(pairs) - _excess(pairs)),
)
generalized_box_iou.agrees(
    "one inside the other",
    "Where one box lies in the other, GIoU is IoU; for equal boxes it is 1.",
    inputs=_inside,
    equation=r"E = A \cup B \;\Rightarrow\; \mathrm{GIoU} = \mathrm{IoU}",
    slide=SLIDE,
    hint="Nothing of the enclosure is left over there, and that is no special case: guard the division against an "
    "enclosure of area 0 only.",
    mutant=_changed(lambda pairs: np.where(pairs.enclosure > pairs.union, pairs.giou(), 0)),
)


@generalized_box_iou.law(
    "never above IoU",
    inputs=_across_the_corner,
    equation=r"\mathrm{GIoU} \le \mathrm{IoU}",
    slide=SLIDE,
    hint="What is taken off is an area over an area. Boxes that lie apart along both axes have an intersection with two "
    "negative sides: clip each at 0 before multiplying.",
    mutant=_changed(_Pairs.giou, intersection=lambda pairs: _area(pairs.reach)),
)
def _below_iou(f, case):
    """GIoU is at most IoU: 0 or less for boxes that lie apart."""
    got, iou = f(case), _box_iou(*case.copy(np.float64).args.values())[0]
    if got.shape != iou.shape or not (got <= iou + 1e-5).all():
        raise Broken("The IoU of these boxes is smaller than the output.", iou, got)


@generalized_box_iou.law(
    "the further, the lower",
    inputs=_near,
    equation=GIOU,
    slide=SLIDE,
    hint="IoU is 0 at every distance; the enclosure is what grows with it. Does yours reach from one box to the other, "
    "with the gap between them?",
    mutant=_changed(
        _Pairs.giou,
        enclosure=lambda pairs: _area(_extent(pairs.a) + _extent(pairs.b) - np.maximum(pairs.reach, 0)),
    ),
)
def _falls(f, case):
    """Of boxes that lie apart, GIoU falls when one is moved away: that is what a loss can follow."""
    boxes1, boxes2 = case["boxes1"], case["boxes2"]
    away = np.where(boxes2[:, :2] > boxes1[:, 2:], 3, 0).astype(np.float32)
    near, far = f(case), f(case.replace(boxes2=boxes2 + np.concatenate([away, away], axis=1)))
    if near.shape != far.shape or not (far < near - 1e-3).all():
        raise Broken("Moving boxes2 away by 3 should lower the first number below the second.", near, far)


@generalized_box_iou.law(
    "from -1 to 1",
    inputs=_far,
    equation=r"-1 \le \mathrm{GIoU} \le 1",
    slide=SLIDE,
    hint="The part of the enclosure that is not covered is divided by the enclosure, not by the union.",
    mutant=_changed(
        lambda pairs: np.where(
            pairs.intersection > 0,
            pairs.giou(),
            -_share(pairs.enclosure - pairs.union, np.where(pairs.union > 0, pairs.union, pairs.enclosure)),
        )
    ),
)
def _bounded(f, case):
    """GIoU does not leave the range from -1 to 1, however far apart the boxes are."""
    got = f(case)
    if not (np.abs(got) <= 1 + 1e-5).all():
        raise Broken("The output leaves the range from -1 to 1.", f.right(case), got)


@generalized_box_iou.law(
    "either first",
    inputs=_partial,
    equation=r"\mathrm{GIoU}(A, B) = \mathrm{GIoU}(B, A)",
    slide=SLIDE,
    hint="The enclosure begins at the smaller of the two left sides and the smaller of the two tops, whichever box that is.",
    mutant=_changed(
        _Pairs.giou, enclosure=lambda pairs: _area(np.maximum(pairs.a, pairs.b)[..., 2:] - pairs.a[..., :2])
    ),
)
def _symmetric(f, case):
    """Which of two boxes comes first does not matter."""
    compare(f(case), f(case.replace(boxes1=case["boxes2"], boxes2=case["boxes1"])).T.astype(np.float64))


def _same_after(f, case, change, what):
    """The output for both lists changed alike is the output for the lists as they were."""
    moved = {name: change(boxes).astype(np.float32) for name, boxes in case.args.items()}
    compare(f(case), f(case.replace(**moved)).astype(np.float64), 1e-3, 2e-3, what)


def _clipped(measure):
    return lambda boxes1, boxes2: measure(_Pairs(np.maximum(boxes1, 0), np.maximum(boxes2, 0)))


def _at_least_one(generalized):
    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)
        iou, enclosure = pairs.intersection / np.maximum(pairs.union, 1), np.maximum(pairs.enclosure, 1)
        return iou - (pairs.enclosure - pairs.union) / enclosure if generalized else iou

    return mutant


def _not_finite(f, case):
    g = np.ones(f.right(case).shape) * 3 - 1
    for name, gradient in f.pull(case, g.astype(np.float32)).items():
        if not np.isfinite(gradient).all():
            raise Broken(f"The gradient of {name} is not finite.", got=gradient)


def _each_pair(f, case):
    """The table holds what the function gives for each pair by itself."""
    lists = case["boxes1"], case["boxes2"]
    alone = [[f(case.replace(boxes1=a[None], boxes2=b[None])).ravel() for b in lists[1]] for a in lists[0]]
    compare(
        f(case), np.array(alone, np.float64)[..., 0], what="The table of all pairs, beside pairs taken alone,"
    )


def _reshaped(right, args, options):
    """Each pair in its place only if rows and columns were the same."""
    out = right(args[1], args[0])[0]
    return out.reshape(len(args[0]), len(args[1]))


def _dangerous(generalized):
    """A guarded result with an unguarded backward: 0 / 0 once more."""

    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)

        def vjp(g):
            wrong = 0 * g / (pairs.enclosure if generalized else pairs.union)
            d1, d2 = pairs.pull(g, generalized)
            return d1 + wrong.sum(axis=1)[:, None], d2 + wrong.sum(axis=0)[:, None]

        return pairs.giou() if generalized else pairs.iou(), vjp

    return mutant


def _half_the_story(generalized, which):
    """A backward that forgets that the union, too, changes with the box."""

    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)

        def vjp(g):
            right = list(pairs.pull(g, generalized))
            mine = (pairs.a, pairs.b) if which == 0 else (pairs.b, pairs.a)
            right[which] = pairs._of(*mine, _share(g, pairs.union), 0 * g, 0 * g).sum(axis=1 - which)
            return tuple(right)

        return pairs.giou() if generalized else pairs.iou(), vjp

    return mutant


for family, generalized in ((box_iou, False), (generalized_box_iou, True)):
    measure, equation = (_Pairs.giou, GIOU) if generalized else (_Pairs.iou, IOU)
    family.law(
        "every pair",
        sentence="Row i and column j of the output are box i of the first list with box j of the second.",
        inputs=_table,
        equation=rf"y_{{ij}} = \mathrm{{{'G' if generalized else ''}IoU}}(a_i, b_j)",
        slide=SLIDE,
        hint="boxes1[:, None] and boxes2[None] have shapes (N, 1, 4) and (1, M, 4): together they make (N, M, 4). A reshape "
        "does not turn rows into columns.",
        mutant=mutated(family.right, _reshaped),
    )(_each_pair)
    family.law(
        "anywhere",
        sentence="Moving both boxes together changes nothing; a box may leave the image.",
        inputs=_moved,
        equation=r"f(A + t, B + t) = f(A, B)",
        slide=SLIDE,
        hint="Only differences of coordinates count. Coordinates below 0 are coordinates too: do not clip them.",
        mutant=_clipped(measure),
    )(
        functools.partial(
            _same_after,
            change=lambda boxes: boxes + np.float32(4003),
            what="The output before both moved by 4003",
        )
    )
    family.law(
        "any unit",
        sentence="Pixels or parts of the image: the unit of the coordinates does not matter.",
        inputs=_partial,
        equation=r"f(s A, s B) = f(A, B)",
        slide=SLIDE,
        hint="Normalised boxes have areas far below 1. Guard the division against 0, not against everything below 1.",
        mutant=_at_least_one(generalized),
    )(
        functools.partial(
            _same_after,
            change=lambda boxes: boxes / 32,
            what="The output before all was made 32 times smaller",
        )
    )
    family.agrees(
        "empty boxes",
        "Points and lines have no area, and what would be 0 / 0 is 0.",
        inputs=_without_area,
        equation=equation,
        hint="A union or an enclosure of area 0 makes NaN, and one NaN in a loss is the end of a training. Divide by the "
        "area only where it is positive.",
        mutant=functools.partial(_unguarded, generalized=generalized),
    )
    every_family(family, inputs=_in_pixels, shapes=_any_number)
    gradients(
        family,
        inputs=_smooth,
        equation={
            name: rf"\bar {letter} = \sum_{{{over}}} g_{{ij}} \, \partial y_{{ij}} / \partial {letter}_{{{own}}}"
            for name, letter, own, over in (("boxes1", "a", "i", "j"), ("boxes2", "b", "j", "i"))
        },
        hints={
            name: "A side of a box moves its own area and with it the union, the intersection only where it bounds it"
            + (", and the enclosure likewise" if generalized else "")
            + ". Sum over all boxes of the other list."
            for name in family.arrays
        },
        mutants={name: _half_the_story(generalized, i) for i, name in enumerate(family.arrays)},
        slide=SLIDE,
    )
    family.law(
        "gradients of empty boxes",
        sentence="Gradients are finite for boxes without area, too.",
        inputs=_without_area,
        equation=equation,
        hint="A where after the division leaves 0 times infinity in the backward pass: put a harmless number below the "
        "line first (two wheres).",
        mutant=_dangerous(generalized),
        gradient=True,
    )(_not_finite)
