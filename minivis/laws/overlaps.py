"""The laws of box_iou and generalized_box_iou: how much two boxes overlap, or how far apart they are.

Not here: the formats of a box (boxes.py), boxes with negative sides, choosing among boxes (suppression.py).
"""

import functools

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "H/15-matching-cost"


def _extent(corners):
    return corners[..., 2:] - corners[..., :2]


def _share(part, whole):
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _area(sides):
    return sides[..., 0] * sides[..., 1]


class _Pairs:
    """All pairs of two lists of boxes: the parts of the two measures, forward and backward; mutants replace a part."""

    def __init__(self, boxes1, boxes2):
        # (N, 1, 4), (1, M, 4)
        self.a = boxes1[:, None]
        self.b = boxes2[None]
        self.low = np.maximum(self.a, self.b)[..., :2]
        self.high = np.minimum(self.a, self.b)[..., 2:]
        self.reach = self.high - self.low  # sides of the intersection; negative where boxes are apart
        self.hull = np.maximum(self.a, self.b)[..., 2:] - np.minimum(self.a, self.b)[..., :2]
        self.areas = _area(_extent(self.a)), _area(_extent(self.b))
        self.overlap = np.maximum(self.reach, 0)
        self.open = self.reach > 0
        self.intersection = _area(self.overlap)
        self.union = self.areas[0] + self.areas[1] - self.intersection
        self.enclosure = _area(self.hull)

    def iou(self):
        return _share(self.intersection, self.union)

    def giou(self):
        return self.iou() - _share(self.enclosure - self.union, self.enclosure)

    def pull(self, g, generalized):
        """Cotangents of both lists, from those of intersection, union and enclosure."""
        d_intersection = _share(g, self.union)
        d_union = -_share(g * self.iou(), self.union)
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

        inner = sides(d_intersection, self.overlap) * self.open
        outer = sides(d_enclosure, self.hull)
        own = sides(d_area, _extent(mine))
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


# Each list holds one box twice, unless a law is about that; the second box never begins before the first


def _twice(a, b):
    lists = np.array([[a, a], [b, b]], np.float32)
    return {"boxes1": lists[0], "boxes2": lists[1]}


def _partial(draw):
    """Two boxes that overlap, shifted along both axes, neither inside the other."""
    w, h = integer(draw, 2, 6), integer(draw, 2, 6)
    x, y = integer(draw, 1, w - 1), integer(draw, 1, h - 1)
    wide, high = w - x + integer(draw, 1, 4), h - y + integer(draw, 1, 4)
    left, top = integer(draw, 0, 3), integer(draw, 0, 3)
    return _twice([left, top, left + w, top + h], [left + x, top + y, left + x + wide, top + y + high])


def _in_pixels(draw):
    """The same, but so large that a small number added to an area does not matter."""
    return {name: 64 * boxes for name, boxes in _partial(draw).items()}


def _inside(draw):
    """The second box in the first, sometimes equal to it."""
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
    """Two squares that lie apart along both axes; the gap is about as long as a side."""
    side = 4 * integer(draw, 1, 2)
    more = integer(draw, 0, 1)
    at = np.array([2 * side + more, 2 * side + integer(draw, 0, 1)])
    return _twice([0, 0, side, side], [*at, *(at + side)])


def _apart(draw):
    return choose(draw, _across_the_corner, _near)(draw)


def _without_area(draw):
    """A point or a line: with itself, with another one along the same line, or in the corner of a box."""
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
    first = case["boxes1"][:1] + slants[:2]
    second = case["boxes2"][:1] + 0.05 + slants
    return {"boxes1": first.astype(np.float32), "boxes2": second.astype(np.float32)}


def _moved(draw):
    """Both lists moved out of the image, to the left and to the top."""
    case = _partial(draw)
    away = np.float32(-choose(draw, 1, 5, 40, 4000))
    return {name: boxes + away for name, boxes in case.items()}


# Any boxes, for the value laws


def _lists(boxes, N):
    return {"boxes1": boxes[:N].astype(np.float32), "boxes2": boxes[N:].astype(np.float32)}


def _side_by_side(draw, least=3):
    """Boxes at the upper left, with boxes that begin further right and further down: the simplest form."""
    N, M = integer(draw, 1, 2), integer(draw, 2, 3)
    rng = generator(draw)
    low = np.concatenate([rng.uniform(0, 10, (N, 2)), rng.uniform(10, 30, (M, 2))])
    high = low + rng.uniform(least, 30 + least, (N + M, 2))
    return _lists(np.concatenate([low, high], axis=1).round(2), N)


def _all_overlap(draw):
    return _side_by_side(draw, least=31)


def _general(draw):
    """Boxes that overlap, contain each other or lie apart along one axis or both; no two sides coincide."""
    N, M = sizes(draw, 2, 1, 4)
    rng = generator(draw)
    sides = np.stack([rng.permutation(60)[: 2 * (N + M)] for _ in "xy"], axis=-1)  # all different
    corners = np.sort(sides.reshape(N + M, 2, 2), axis=1)
    return _lists((corners.reshape(N + M, 4) - 20) * choose(draw, 1.0, 0.05, 7.5), N)


def _on_a_grid(draw):
    """Boxes with small whole numbers as coordinates: many touch, coincide, or have no area."""
    N, M = sizes(draw, 2, 1, 4)
    corners = np.sort(generator(draw).integers(-2, 4, (N + M, 2, 2)), axis=1)
    return _lists(corners.reshape(N + M, 4) * choose(draw, 1.0, 50.0), N)


def _any_boxes(draw):
    return choose(draw, _general, _general, _on_a_grid)(draw)


def _changed(measure, **parts):
    """A mutant that computes some parts in another way: ``part(pairs)``."""

    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)
        for name, part in parts.items():
            setattr(pairs, name, part(pairs))
            if name == "intersection":
                pairs.union = pairs.areas[0] + pairs.areas[1] - pairs.intersection
        return measure(pairs)

    return mutant


def _over(area):
    """The intersection divided by ``area(area1, area2)`` instead of the union."""
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
    hint="The union is the sum of the two areas minus the intersection, which the sum counts twice. Dividing by the smaller "
    "box would make a small box inside a large one a perfect match.",
    mutant=_changed(_over(np.minimum)),
)
box_iou.agrees(
    "apart",
    "Boxes that lie apart, along one axis or both, have IoU 0.",
    value=False,  # 0 everywhere
    inputs=_apart,
    equation=r"|A \cap B| = \max(0, \Delta x) \cdot \max(0, \Delta y)",
    slide=SLIDE,
    hint="Sides of the intersection are negative there, and the product of two negative numbers is positive: clip each side "
    "at 0 before you multiply.",
    mutant=_changed(_Pairs.iou, intersection=lambda pairs: _area(pairs.reach)),
)
generalized_box_iou.agrees(
    "formula",
    "GIoU is IoU minus the share of the smallest enclosing box that neither of the two boxes covers.",
    inputs=_partial,
    equation=GIOU,
    slide=SLIDE,
    hint="You need three areas: intersection, union, and the enclosure, from the smaller left and top to the larger right "
    "and bottom. IoU is divided by the union, the second term by the enclosure.",
    mutant=_changed(lambda pairs: _over(np.maximum)(pairs) - _excess(pairs)),
)
generalized_box_iou.agrees(
    "one inside the other",
    "If one box lies in the other, GIoU equals IoU; for equal boxes it is 1.",
    inputs=_inside,
    equation=r"E = A \cup B \;\Rightarrow\; \mathrm{GIoU} = \mathrm{IoU}",
    slide=SLIDE,
    hint="The boxes cover the whole enclosure, so the second term is 0. This needs no special treatment: guard the division "
    "only against an enclosure of area 0.",
    mutant=_changed(lambda pairs: np.where(pairs.enclosure > pairs.union, pairs.giou(), 0)),
)


@generalized_box_iou.law(
    "never above IoU",
    inputs=_across_the_corner,
    equation=r"\mathrm{GIoU} \le \mathrm{IoU}",
    slide=SLIDE,
    hint="GIoU subtracts a quotient of areas, which is not negative. For boxes apart along both axes, both sides of the "
    "intersection are negative: clip each at 0 before you multiply.",
    mutant=_changed(_Pairs.giou, intersection=lambda pairs: _area(pairs.reach)),
)
def _below_iou(f, case):
    """GIoU is at most IoU: 0 or less for boxes that lie apart."""
    got = f(case)
    iou = _box_iou(*case.copy(np.float64).args.values())[0]
    if got.shape != iou.shape or not (got <= iou + 1e-5).all():
        raise Broken("The output is larger than the IoU of these boxes.", iou, got)


@generalized_box_iou.law(
    "the further, the lower",
    inputs=_near,
    equation=GIOU,
    slide=SLIDE,
    hint="IoU is 0 at every distance, but the enclosure grows with the distance. Does your enclosure contain the gap between "
    "the boxes?",
    mutant=_changed(
        _Pairs.giou,
        enclosure=lambda pairs: _area(_extent(pairs.a) + _extent(pairs.b) - np.maximum(pairs.reach, 0)),
    ),
)
def _falls(f, case):
    """If boxes lie apart, GIoU falls when one is moved further away, so that a loss has a gradient."""
    boxes1, boxes2 = case["boxes1"], case["boxes2"]
    away = np.where(boxes2[:, :2] > boxes1[:, 2:], 3, 0).astype(np.float32)
    near = f(case)
    far = f(case.replace(boxes2=boxes2 + np.concatenate([away, away], axis=1)))
    if near.shape != far.shape or not (far < near - 1e-3).all():
        raise Broken("After boxes2 is moved away by 3, the output should be lower.", near, far)


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
    """GIoU is between -1 and 1, however far apart the boxes are."""
    got = f(case)
    if not (np.abs(got) <= 1 + 1e-5).all():
        raise Broken("The output is not between -1 and 1.", f.right(case), got)


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
    """Exchanging the two boxes does not change the result."""
    compare(f(case), f(case.replace(boxes1=case["boxes2"], boxes2=case["boxes1"])).T.astype(np.float64))


def _same_after(f, case, change, what):
    """Changing both lists in the same way does not change the output."""
    moved = {name: change(boxes).astype(np.float32) for name, boxes in case.args.items()}
    compare(f(case), f(case.replace(**moved)).astype(np.float64), 1e-3, 2e-3, what)


def _clipped(measure):
    return lambda boxes1, boxes2: measure(_Pairs(np.maximum(boxes1, 0), np.maximum(boxes2, 0)))


def _at_least_one(generalized):
    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)
        iou = pairs.intersection / np.maximum(pairs.union, 1)
        enclosure = np.maximum(pairs.enclosure, 1)
        return iou - (pairs.enclosure - pairs.union) / enclosure if generalized else iou

    return mutant


def _not_finite(f, case):
    g = np.ones(f.right(case).shape) * 3 - 1
    for name, gradient in f.pull(case, g.astype(np.float32)).items():
        if not np.isfinite(gradient).all():
            raise Broken(f"The gradient of {name} is not finite.", got=gradient)


def _each_pair(f, case):
    """The table holds the results of the function for the single pairs."""
    lists = case["boxes1"], case["boxes2"]
    alone = [[f(case.replace(boxes1=a[None], boxes2=b[None])).ravel() for b in lists[1]] for a in lists[0]]
    compare(f(case), np.array(alone, np.float64)[..., 0], what="The table, compared with the single pairs,")


def _reshaped(right, args, options):
    """The table reshaped instead of transposed."""
    out = right(args[1], args[0])[0]
    return out.reshape(len(args[0]), len(args[1]))


def _dangerous(generalized):
    """A guarded forward pass with an unguarded backward pass: 0 / 0."""

    def mutant(boxes1, boxes2):
        pairs = _Pairs(boxes1, boxes2)

        def vjp(g):
            wrong = 0 * g / (pairs.enclosure if generalized else pairs.union)
            d1, d2 = pairs.pull(g, generalized)
            return d1 + wrong.sum(axis=1)[:, None], d2 + wrong.sum(axis=0)[:, None]

        return pairs.giou() if generalized else pairs.iou(), vjp

    return mutant


def _back(generalized, cotangents=lambda *all_three: all_three, **parts):
    """Right forward; backward with other parts, or with other cotangents of the three areas."""

    def answer(boxes1, boxes2):
        pairs, changed = _Pairs(boxes1, boxes2), _Pairs(boxes1, boxes2)
        for name, part in parts.items():
            setattr(changed, name, part(pairs))
        of = changed._of
        changed._of = lambda mine, other, *areas: of(mine, other, *cotangents(*areas))
        return pairs.giou() if generalized else pairs.iou(), lambda g: changed.pull(g, generalized)

    return answer


def _union_constant(generalized, which):
    """A backward pass that treats the union as a constant."""

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
        sentence="Row i, column j of the output belongs to box i of the first list and box j of the second.",
        inputs=_table,
        equation=rf"y_{{ij}} = \mathrm{{{'G' if generalized else ''}IoU}}(a_i, b_j)",
        slide=SLIDE,
        hint="boxes1[:, None] and boxes2[None] have shapes (N, 1, 4) and (1, M, 4): together they make (N, M, 4). A reshape "
        "does not turn rows into columns.",
        mutant=mutated(family.right, _reshaped),
    )(_each_pair)
    family.law(
        "anywhere",
        sentence="Moving both boxes by the same amount changes nothing, also if they leave the image.",
        inputs=_moved,
        equation=r"f(A + t, B + t) = f(A, B)",
        slide=SLIDE,
        hint="Only differences of coordinates matter. Coordinates may be negative: do not clip them.",
        mutant=_clipped(measure),
    )(
        functools.partial(
            _same_after,
            change=lambda boxes: boxes + np.float32(4003),
            what="The output before both were moved by 4003",
        )
    )
    family.law(
        "any unit",
        sentence="The unit of the coordinates does not matter: pixels, or normalised to 0 ... 1.",
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
        "Points and lines have area 0; a quotient 0 / 0 counts as 0.",
        value=False,  # 0 everywhere
        inputs=_without_area,
        equation=equation,
        hint="Dividing by a union or an enclosure of area 0 gives NaN, and one NaN in a loss ruins a training run. Divide by "
        "the area only where it is positive.",
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
            name: "Moving a side of a box changes its area and the union; the intersection only if that side bounds it"
            + (", and the enclosure in the same way" if generalized else "")
            + ". Sum over all boxes of the other list."
            for name in family.arrays
        },
        mutants={name: _union_constant(generalized, i) for i, name in enumerate(family.arrays)},
        slide=SLIDE,
    )
    family.law(
        "gradients of empty boxes",
        sentence="Gradients are finite for boxes without area too.",
        inputs=_without_area,
        equation=equation,
        hint="np.where after the division still gives 0 times infinity in the backward pass. Replace a denominator of 0 by 1 "
        "before you divide, too (two calls of np.where).",
        mutant=_dangerous(generalized),
        gradient=True,
    )(_not_finite)


# ---------------------------------------------------------------------------------------------------------------------
# The value laws, and wrong answers that are known by name


def _gap_after(pairs):
    """An intersection that checks only for a gap to the right of the first box, or below it."""
    apart = (pairs.b[..., :2] >= pairs.a[..., 2:]).any(axis=-1)
    return np.where(apart, 0, _area(pairs.reach))


def _apart_along_both(pairs):
    return np.where((pairs.reach < 0).all(axis=-1), 0, _area(pairs.reach))


def _enlarged(measure):
    """Sides counted in pixels, first and last pixel included: 1 too long."""
    one = np.array([0, 0, 1, 1])
    return lambda boxes1, boxes2: measure(
        _Pairs(boxes1 + one.astype(boxes1.dtype), boxes2 + one.astype(boxes2.dtype))
    )


def _from_centres(measure):
    def corners(boxes):
        return np.concatenate(
            [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1
        )

    return lambda boxes1, boxes2: measure(_Pairs(corners(boxes1), corners(boxes2)))


def _means(right, args, options):
    out, vjp = right(*args)

    def mean(g):
        first, second = vjp(g)
        return first / len(args[1]), second / len(args[0])

    return out, mean


def _first_of_the_other_list(right, args, options):
    out, _ = right(*args)
    boxes1, boxes2 = args
    return out, lambda g: (
        right(boxes1, boxes2[:1])[1](g[:, :1])[0],
        right(boxes1[:1], boxes2)[1](g[:1])[1],
    )


for family, generalized in ((box_iou, False), (generalized_box_iou, True)):
    measure = _Pairs.giou if generalized else _Pairs.iou
    values(
        family,
        simplest=_side_by_side,
        words="boxes2 to the lower right of boxes1, overlapping or apart",
        anything=_any_boxes,
        hint="Two boxes may overlap, touch, lie one in the other, or lie apart along x, along y or along both, in either order. "
        "Which of these cases is the example? Clip each side of the intersection at 0 separately.",
        mutant=_changed(measure, intersection=_gap_after),
    )
    family.mistake(
        "the intersection not clipped",
        "If boxes lie apart, a side of the intersection is negative, and the product of two negative sides is positive: take "
        "np.maximum(side, 0) of each side before you multiply.",
        _changed(measure, intersection=lambda pairs: _area(pairs.reach)),
    )
    family.mistake(
        "the product clipped, not its sides",
        "max(w h, 0) is not enough: if boxes lie apart along both axes, w and h are negative and w h is positive. Clip w and "
        "h.",
        _changed(measure, intersection=lambda pairs: np.maximum(_area(pairs.reach), 0)),
    )
    family.mistake(
        "clipped only where boxes are apart along both axes",
        "One negative side is enough: boxes side by side have no intersection, although the other side is positive. Clip each "
        "side separately.",
        _changed(measure, intersection=_apart_along_both),
    )
    family.mistake(
        "the union with the intersection in it twice",
        "The sum of the two areas counts the intersection twice: subtract it once.",
        _changed(measure, union=lambda pairs: sum(pairs.areas) + 0 * pairs.union),
    )
    family.mistake(
        "one pixel more",
        "All sides are 1 too long. Coordinates are positions of edges, not numbers of pixels: the width is right - left, "
        "without + 1.",
        _enlarged(measure),
    )
    family.mistake(
        "corners taken for centre and size",
        "The boxes are already given as left, top, right, bottom: do not convert them.",
        _from_centres(measure),
    )
    family.mistake(
        "the loss",
        "This is the loss, 1 minus the answer. Return the measure itself: 1 for equal boxes.",
        lambda boxes1, boxes2, measure=measure: 1 - measure(_Pairs(boxes1, boxes2)),
    )
    family.mistake(
        "the areas' denominator at least 1",
        "Normalised boxes have areas far below 1. Guard the division against 0, not against everything below 1.",
        _at_least_one(generalized),
    )
    gradient_values(
        family,
        simplest=_all_overlap,
        words="boxes2 to the lower right of boxes1, all overlapping",
        anything=_general,
        hint="Boxes that lie apart along one axis, and boxes inside others: which sides of which box bound the intersection"
        + (", and which the enclosure" if generalized else "")
        + "? Where a side of the intersection is clipped, its gradient is 0.",
        mutant=_back(generalized, open=lambda pairs: np.ones_like(pairs.open)),
    )
    family.mistake(
        "back through the clip",
        "If boxes lie apart the intersection is clipped to 0, and stays 0 if a side moves a little: its gradient is 0. "
        "Multiply by `side > 0` for each side.",
        _back(generalized, open=lambda pairs: np.ones_like(pairs.open)),
        gradient=True,
    )
    family.mistake(
        "the union taken for a constant",
        "You differentiate only the intersection. The union changes too: by the change of the box's own area, minus that of "
        "the intersection.",
        _back(generalized, lambda shared, area, hull: (shared + area, 0 * area, hull)),
        gradient=True,
    )
    family.mistake(
        "the box's own area taken for a constant",
        "The union is the two areas minus the intersection. A side that moves changes the area of its own box too.",
        _back(generalized, lambda shared, area, hull: (shared, 0 * area, hull)),
        gradient=True,
    )
    family.mistake(
        "the intersection in the union forgotten",
        "The union contains the intersection too, with a minus: add the gradient through the union to that of the "
        "intersection.",
        _back(generalized, lambda shared, area, hull: (shared + area, area, hull)),
        gradient=True,
    )
    family.mistake(
        "the mean over the other list",
        "A box is part of one output for each box of the other list: sum its gradients, do not average them.",
        mutated(family.right, _means),
        gradient=True,
    )
    family.mistake(
        "only the first box of the other list",
        "A box is part of one output for each box of the other list, and gets a gradient from each: sum over all of them.",
        mutated(family.right, _first_of_the_other_list),
        gradient=True,
    )

box_iou.mistake(
    "divided by the smaller box",
    "A small box inside a large one gets 1 here, a perfect match. Divide by the area that at least one of them covers.",
    _changed(_over(np.minimum)),
)
box_iou.mistake(
    "Dice for IoU",
    "Twice the intersection divided by the sum of the areas is the Dice coefficient. IoU is the intersection divided by the "
    "union.",
    _changed(lambda pairs: _share(2 * pairs.intersection, sum(pairs.areas) + 0 * pairs.union)),
)
box_iou.mistake(
    "the enclosing box for the union",
    "You divide by the smallest box around both. Divide by the union: the two areas minus the intersection.",
    _changed(_Pairs.iou, union=lambda pairs: pairs.enclosure),
)
generalized_box_iou.mistake(
    "IoU alone",
    "This is IoU. Subtract the share of the enclosing box that neither of the two boxes covers.",
    _changed(_Pairs.iou),
)
generalized_box_iou.mistake(
    "added, not taken off",
    "The uncovered share of the enclosure makes GIoU smaller: subtract it.",
    _changed(lambda pairs: pairs.iou() + _excess(pairs)),
)
generalized_box_iou.mistake(
    "the union below the second term",
    "Divide the uncovered part of the enclosure by the enclosure, not by the union: only then GIoU stays above -1.",
    _changed(lambda pairs: pairs.iou() - _share(pairs.enclosure - pairs.union, pairs.union)),
)
generalized_box_iou.mistake(
    "the intersection for the union in the second term",
    "The uncovered part of the enclosure is the enclosure minus the union, not minus the intersection.",
    _changed(lambda pairs: pairs.iou() - _share(pairs.enclosure - pairs.intersection, pairs.enclosure)),
)
generalized_box_iou.mistake(
    "the covered share taken off",
    "Union over enclosure is the covered share. Subtract the uncovered share: 1 minus that.",
    _changed(lambda pairs: pairs.iou() - _share(pairs.union, pairs.enclosure)),
)
generalized_box_iou.mistake(
    "the enclosure taken for a constant",
    "The enclosing box grows with the outermost sides: they get a gradient through it too.",
    _back(True, lambda shared, area, hull: (shared, area, 0 * hull)),
    gradient=True,
)
