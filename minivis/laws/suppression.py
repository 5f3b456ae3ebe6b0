"""The laws of nms: which of several overlapping boxes are kept.

Not here: IoU itself (boxes.py), suppression by class.
"""

import numpy as np

from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import index_laws
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "Z/65-no-nms-needed"


def _overlaps(boxes, over=None):
    """IoU of all pairs of boxes, (N, N); with ``over(area1, area2, union)`` in the place of the union, if given."""
    a = boxes[:, None]
    b = boxes[None]
    sides = np.minimum(a, b)[..., 2:] - np.maximum(a, b)[..., :2]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = area[:, None] + area - shared
    whole = union if over is None else over(area[:, None], area, union)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def _greedy(boxes, scores, threshold, overlaps=_overlaps, drops=None, order=None):
    """Go through the boxes, best first, and keep those that no kept box drops. Mutants pass ``drops(k, i, kept)``."""
    table = overlaps(boxes.astype(np.float64))
    order = np.argsort(-scores, kind="stable") if order is None else order
    kept = []
    for i in order:
        if not any(drops(k, i, kept) if drops else table[k, i] > threshold for k in kept):
            kept.append(i)
    return np.array(kept, dtype=np.int64)


nms = Family(
    "nms",
    lambda boxes, scores, threshold: (_greedy(boxes, scores, threshold), None),
    form="f(boxes, scores, threshold) -> array of the indices of the boxes that stay, by falling score; boxes (N, 4): "
    "left, top, right, bottom; scores (N,); a box is dropped if its IoU with a better box that stays is more than threshold",
)


# No two scores are equal and no overlap is near the threshold, unless a law is about that


def _scored(draw, boxes, threshold, ranks=None):
    """Boxes with scores that fall in the order ``ranks`` (drawn if not given)."""
    boxes = np.array(boxes, np.float32)
    if ranks is None:
        ranks = np.random.default_rng(integer(draw, 0, 60)).permutation(len(boxes))
    scores = 0.9 - 0.1 * np.array(ranks, np.float32)
    return {"boxes": boxes, "scores": scores, "threshold": threshold}


def _square(x, y=0, side=4):
    return [x, y, x + side, y + side]


def _spread(draw, least=2, most=5):
    """Boxes far from one another."""
    return _scored(draw, [_square(10 * i) for i in range(integer(draw, least, most))], 0.5)


def _cluster_and_another(draw):
    """The best box, one far away, and one that overlaps the best, by falling score."""
    shift = choose(draw, 1, -1)
    return _scored(draw, [_square(0), _square(10 + integer(draw, 0, 3)), _square(shift)], 0.5, [0, 1, 2])


def _chain(draw):
    """Three boxes in a chain: neighbours have IoU 0.6, the first and the last have 0.33."""
    order = choose(draw, [0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2])
    return _scored(draw, [_square(0), _square(1), _square(2)], 0.5, order)


def _pair(draw):
    return _scored(draw, [_square(0), _square(1, choose(draw, 0, 0, 10))], 0.5)


def _nested(draw):
    """A small box in a large one: IoU 1/4 or less."""
    return _scored(
        draw, [_square(0, side=4), _square(0, side=integer(draw, 1, 2))], choose(draw, 0.5, 0.4, 0.3)
    )


def _at_the_threshold(draw):
    """Separate boxes with threshold 0, or equal boxes with threshold 1."""
    same = choose(draw, True, False)
    return _scored(draw, [_square(0 if same else 4 * i) for i in range(integer(draw, 2, 3))], float(same))


def _crowd(draw):
    """The best box in the middle, two on one side of it, one on the other side."""
    side = choose(draw, 1, -1)
    boxes = [_square(0), _square(-side), _square(-side), _square(side)]
    return _scored(draw, boxes, 0.5, range(4))


def _tied(draw):
    count = integer(draw, 2, 3)
    return _scored(draw, [_square(0)] * count, 0.5, [0] * count)


def _tied_apart(draw):
    count = integer(draw, 4, 7)  # n! orders are equally good: a random order is seldom the same twice
    return _scored(draw, [_square(10 * i) for i in range(count)], 0.5, [0] * count)


def _points(draw):
    x, width = integer(draw, 0, 3), integer(draw, 0, 2)
    return _scored(draw, [[x, 1, x + width, 1]] * integer(draw, 2, 3), 0.5)


def _few(draw):
    count = integer(draw, 0, 2)
    boxes = np.array([_square(10 * i) for i in range(count)], np.float32).reshape(count, 4)
    return {"boxes": boxes, "scores": np.linspace(0.9, 0.5, count, dtype=np.float32), "threshold": 0.5}


def _of_one_size(draw):
    """Boxes of the same width and height: the simplest form."""
    rng = generator(draw)
    count = integer(draw, 2, 6)
    size = rng.uniform(10, 30, 2)
    low = rng.uniform(0, 1, (count, 2)) * 2 * size
    boxes = np.concatenate([low, low + size], axis=1).round(1)
    return _with_scores(rng, boxes, 0.5)


def _any_crowd(draw):
    """Boxes of all sizes around two places, or on a grid where they coincide, touch, or have no area; also ties."""
    rng = generator(draw)
    count = choose(draw, 2, 3, 4, 5, 6, 7, 1)
    if choose(draw, True, True, False):
        centres = rng.integers(0, 2, (count, 1)) * [9, 7] + rng.normal(size=(count, 2))
        half = rng.uniform(0.5, 4, (count, 2))
        boxes = np.concatenate([centres - half, centres + half], axis=1).round(2)
    else:
        boxes = np.sort(rng.integers(0, 4, (count, 2, 2)), axis=1).reshape(count, 4)
    case = _with_scores(rng, boxes * choose(draw, 1.0, 0.1, 40.0), choose(draw, 0.5, 0.3, 0.7, 0.1, 0.9))
    return {**case, "scores": case["scores"].round(choose(draw, 2, 2, 1))}


def _with_scores(rng, boxes, threshold):
    scores = rng.permutation(np.arange(1, 100))[: len(boxes)] / 100
    return {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32), "threshold": threshold}


def _kept(f, case):
    """The indices that it returns; raise `Broken` if one does not exist or comes twice."""
    got = f(case).ravel()
    N = len(case["boxes"])
    if got.size and (got.min() < 0 or got.max() >= N or len(set(got.tolist())) < len(got)):
        raise Broken(f"An index is out of range, or comes twice; there are {N} boxes.", got=got)
    return got.astype(np.int64)


def _table(case):
    return _overlaps(case["boxes"].astype(np.float64))


def _scores_fall(got, case):
    scores = case["scores"][got]
    if (np.diff(scores) > 0).any():
        raise Broken("The scores of the boxes that stay should fall.", np.sort(scores)[::-1], scores)


def _little_overlap(got, case, right):
    table = _table(case)[np.ix_(got, got)]
    np.fill_diagonal(table, 0)
    if table.max(initial=0) > case["threshold"] + 1e-6:
        raise Broken(f"Two boxes that stay have an IoU of {table.max():.3g}.", right, got)


def _dropped_for_a_reason(got, case, right, scores=None):
    """Raise unless each dropped box overlaps a box that stays; if scores are given, one with a better score."""
    table = _table(case)
    for i in set(range(len(table))) - set(got.tolist()):
        drops = table[i, got] > case["threshold"] - 1e-6
        if scores is not None:
            drops &= scores[got] >= scores[i]
        if not drops.any():
            better = "better " if scores is not None else ""
            raise Broken(f"Box {i} is dropped, but no {better}box that stays overlaps it enough.", right, got)


def _one_of_the_right_sets(f, case, atol=None):
    """With ties several results are right: check the properties of the result, not equality with one of them."""
    got = _kept(f, case)
    right = f.right(case)
    _scores_fall(got, case)
    _little_overlap(got, case, right)
    _dropped_for_a_reason(got, case, right, case["scores"])


nms.same = _one_of_the_right_sets


def _same_set(f, case):
    """Raise unless the right boxes are kept, in any order."""
    got = np.sort(_kept(f, case))
    expected = np.sort(f.right(case))
    if not np.array_equal(got, expected):
        raise Broken("The wrong boxes stay.", expected, got)


@nms.law(
    "best first",
    inputs=_spread,
    slide=SLIDE,
    hint="Return indices in the order in which the boxes were chosen, not in the order in which they came.",
    mutant=lambda boxes, scores, threshold: np.sort(_greedy(boxes, scores, threshold)),
)
def _by_score(f, case):
    """The indices are ordered by falling score."""
    _scores_fall(_kept(f, case), case)


@nms.law(
    "no two overlap",
    inputs=_cluster_and_another,
    equation=r"i, k \text{ stay} \;\Rightarrow\; \mathrm{IoU}(b_i, b_k) \le t",
    slide=SLIDE,
    hint="Drop each box whose IoU with a box that stays is too large. Compare it with all boxes that stay, not only with the "
    "last.",
    mutant=lambda boxes, scores, threshold: _greedy(
        boxes,
        scores,
        threshold,
        drops=lambda k, i, kept: k == kept[-1] and _overlaps(boxes[[k, i]])[0, 1] > threshold,
    ),
)
def _little(f, case):
    """Boxes that stay overlap by no more than the threshold."""
    _little_overlap(_kept(f, case), case, f.right(case))


def _by_any(boxes, scores, threshold):
    """Any better box drops others, even if it is dropped itself."""
    order = np.argsort(-scores, kind="stable")
    table = _overlaps(boxes.astype(np.float64))
    return np.array([i for n, i in enumerate(order) if not (table[i, order[:n]] > threshold).any()], np.int64)


@nms.law(
    "a dropped box drops no others",
    inputs=_chain,
    equation=r"i \text{ dropped} \;\Rightarrow\; \exists k \text{ that stays: } \mathrm{IoU}(b_i, b_k) > t",
    slide=SLIDE,
    hint="A dropped box must not drop others: remove it from the list before you go on to the next box.",
    mutant=_by_any,
)
def _for_a_reason(f, case):
    """Each box that is dropped overlaps one that stays."""
    _dropped_for_a_reason(_kept(f, case), case, f.right(case))


@nms.law(
    "the best stays",
    value=True,
    inputs=_pair,
    equation=r"\arg\max_i s_i \text{ stays}",
    slide=SLIDE,
    hint="argsort gives the smallest score first: sort by -scores, or reverse the order.",
    mutant=lambda boxes, scores, threshold: (lambda kept: kept[np.argsort(-scores[kept], kind="stable")])(
        _greedy(boxes, scores, threshold, order=np.argsort(scores, kind="stable"))
    ),
)
def _top(f, case):
    """The box with the best score is never dropped."""
    got = _kept(f, case)
    best = int(case["scores"].argmax())
    if best not in got:
        raise Broken(f"Box {best} has the best score and is not kept.", f.right(case), got)


nms.law(
    "overlap is IoU",
    value=True,
    sentence="Overlap is measured by IoU: a small box inside a large one is another object, and stays.",
    inputs=_nested,
    equation=r"\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}",
    slide=SLIDE,
    hint="Divide the intersection by the union, not by the area of one of the two.",
    mutant=lambda boxes, scores, threshold: _greedy(
        boxes,
        scores,
        threshold,
        overlaps=lambda b: _overlaps(b, lambda a, b, union: np.minimum(a, b) + 0 * union),
    ),
)(_same_set)
nms.law(
    "exactly the threshold",
    value=True,
    sentence="A box whose IoU is exactly the threshold stays.",
    inputs=_at_the_threshold,
    equation=r"\mathrm{IoU} > t \;\Rightarrow\; \text{dropped}",
    hint="Drop a box if the IoU is more than the threshold: > and not >=.",
    mutant=lambda boxes, scores, threshold: _greedy(boxes, scores, threshold - 1e-9),
)(_same_set)


@nms.law(
    "idempotent",
    inputs=_crowd,
    equation=r"\mathrm{NMS}(\mathrm{NMS}(B)) = \mathrm{NMS}(B)",
    slide=SLIDE,
    hint="After one pass no two boxes may overlap too much. Do you compare all boxes, also those with very different scores?",
    mutant=lambda boxes, scores, threshold: _near_in_order(boxes, scores, threshold),
)
def _again(f, case):
    """Applied to the boxes that it kept, it keeps all of them."""
    got = _kept(f, case)
    second = _kept(f, case.replace(boxes=case["boxes"][got], scores=case["scores"][got]))
    if len(second) != len(got):
        raise Broken("A second pass drops boxes that the first one kept.", np.arange(len(got)), second)


def _near_in_order(boxes, scores, threshold):
    """Each box is compared with the two before it in the order of scores."""
    place = np.empty(len(boxes), int)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(boxes))
    table = _overlaps(boxes.astype(np.float64))
    return _greedy(
        boxes,
        scores,
        threshold,
        drops=lambda k, i, kept: place[i] - place[k] <= 2 and table[k, i] > threshold,
    )


@nms.law(
    "ties",
    inputs=_tied,
    hint="Of equal boxes with equal scores, the first one chosen drops the others: compare with the boxes that stay, not "
    "with the boxes that have a higher score.",
    mutant=lambda boxes, scores, threshold: _greedy(
        boxes,
        scores,
        threshold,
        drops=lambda k, i, kept: scores[k] > scores[i] and _overlaps(boxes[[k, i]])[0, 1] > threshold,
    ),
)
def _one_of_equals(f, case):
    """Of equal boxes with equal scores exactly one stays; it does not matter which."""
    got = _kept(f, case)
    if len(got) != 1:
        raise Broken(f"{len(got)} of {len(case['boxes'])} equal boxes stay; one was expected.", got=got)


def _unguarded(boxes, scores, threshold):
    """0 / 0 is NaN, and NaN is not less than the threshold."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    table = _overlaps(boxes.astype(np.float64))
    return _greedy(
        boxes,
        scores,
        threshold,
        drops=lambda k, i, kept: area[k] + area[i] == 0 or table[k, i] > threshold,
    )


nms.law(
    "empty boxes",
    value=True,
    sentence="Boxes without area have IoU 0 with every box: all stay.",
    inputs=_points,
    hint="Their IoU is 0 / 0, and every comparison with NaN is False. Define it as 0.",
    mutant=_unguarded,
)(_same_set)


_CHANCE = np.random.default_rng()


def _random_ties(boxes, scores, threshold):
    shuffled = _CHANCE.permutation(len(boxes))
    order = shuffled[np.argsort(-scores[shuffled], kind="stable")]
    return _greedy(boxes, scores, threshold, order=order)


index_laws(
    nms,
    inputs=_tied_apart,
    shapes=_few,
    read=lambda f, case: f(case),
    squeezed=lambda boxes, scores, threshold: np.squeeze(_greedy(boxes, scores, threshold)),
    random_ties=_random_ties,
    float_mutant=lambda boxes, scores, threshold: _greedy(boxes, scores, threshold).astype(np.float64),
    overwritten="scores",
)


# ---------------------------------------------------------------------------------------------------------------------
# The value laws, and wrong answers that are known by name


def _by_overlap(over):
    """NMS with another overlap: the intersection divided by ``over(area1, area2, union)``."""
    return lambda boxes, scores, threshold: _greedy(
        boxes, scores, threshold, overlaps=lambda b: _overlaps(b, lambda *areas: over(*areas) + 0 * areas[2])
    )


def _as_if_equal(area1, area2, union):
    """The union, if both boxes were as large as the larger one."""
    return 2 * np.maximum(area1, area2) - (area1 + area2 - union)


def _unclipped(boxes):
    a = boxes[:, None]
    b = boxes[None]
    shared = (np.minimum(a, b)[..., 2:] - np.maximum(a, b)[..., :2]).prod(axis=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    union = area[:, None] + area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union != 0)


def _counted_in_pixels(boxes):
    return _overlaps(boxes + np.array([0, 0, 1, 1]))


values(
    nms,
    simplest=_of_one_size,
    words="boxes of one size, no two scores equal, a threshold of 1/2",
    anything=_any_crowd,
    hint="The inputs have boxes of many sizes, some without area, any threshold, and sometimes equal scores. Print the table "
    "of IoUs and go through it by hand, best score first.",
    mutant=_by_overlap(_as_if_equal),
    wrong=lambda boxes, scores, threshold: np.argsort(-scores, kind="stable"),
)
for name, hint, answer in (
    (
        "worst first",
        "np.argsort puts the smallest score first, so the worst box is kept and drops better ones. Sort by -scores.",
        lambda boxes, scores, threshold: _greedy(
            boxes, scores, threshold, order=np.argsort(scores, kind="stable")
        ),
    ),
    (
        "in the order of the list",
        "The right boxes stay, but in the order of the list: return them in the order of choice, by falling score.",
        lambda boxes, scores, threshold: np.sort(_greedy(boxes, scores, threshold)),
    ),
    (
        "places in the sorted list",
        "These are positions in the list sorted by score. The caller's boxes are not sorted: look the positions up in the "
        "order from argsort, order[positions].",
        lambda boxes, scores, threshold: np.argsort(np.argsort(-scores, kind="stable"))[
            _greedy(boxes, scores, threshold)
        ],
    ),
    (
        "a mask for indices",
        "This is a mask that says which boxes stay. Return the indices of the boxes that stay, by falling score.",
        lambda boxes, scores, threshold: np.isin(np.arange(len(boxes)), _greedy(boxes, scores, threshold)),
    ),
    (
        "one pixel more",
        "The sides are 1 too long. Coordinates are positions of edges, not numbers of pixels: the width is right - left, "
        "without + 1.",
        lambda boxes, scores, threshold: _greedy(boxes, scores, threshold, overlaps=_counted_in_pixels),
    ),
    (
        "the intersection not clipped",
        "You drop boxes that lie apart along both axes: both sides of their intersection are negative, and the product is "
        "positive. Clip each side at 0 first.",
        lambda boxes, scores, threshold: _greedy(boxes, scores, threshold, overlaps=_unclipped),
    ),
    (
        "the smaller area for the union",
        "You divide the intersection by the smaller of the two areas, so that a small box in a large one is dropped. IoU "
        "divides by the union.",
        _by_overlap(lambda area1, area2, union: np.minimum(area1, area2)),
    ),
    (
        "the union with the intersection in it twice",
        "The sum of the two areas counts the intersection twice: subtract it once.",
        _by_overlap(lambda area1, area2, union: area1 + area2),
    ),
    (
        "dropped by boxes that are gone",
        "A dropped box still drops others here. Compare only with the boxes that stay.",
        _by_any,
    ),
    (
        "compared with the last one alone",
        "You compare each box with the last box that was kept. Earlier ones may overlap it too: compare with all kept boxes.",
        lambda boxes, scores, threshold: _greedy(
            boxes,
            scores,
            threshold,
            drops=lambda k, i, kept: k == kept[-1] and _overlaps(boxes[[k, i]])[0, 1] > threshold,
        ),
    ),
    (
        "compared with the best one alone",
        "You drop only boxes that overlap the best box of all. After the best, go on with the next box that is left.",
        lambda boxes, scores, threshold: _greedy(
            boxes,
            scores,
            threshold,
            drops=lambda k, i, kept: k == kept[0] and _overlaps(boxes[[k, i]])[0, 1] > threshold,
        ),
    ),
    (
        "equal to the threshold",
        "A box whose IoU is exactly the threshold stays: drop if the IoU is larger, >, not >=.",
        lambda boxes, scores, threshold: _greedy(boxes, scores, threshold - 1e-9),
    ),
    (
        "the far ones dropped",
        "You drop the boxes that overlap little and keep those that overlap much: reverse the comparison.",
        lambda boxes, scores, threshold: _greedy(
            boxes,
            scores,
            threshold,
            drops=lambda k, i, kept: _overlaps(boxes[[k, i]].astype(np.float64))[0, 1] < threshold,
        ),
    ),
):
    nms.mistake(name, hint, answer)
