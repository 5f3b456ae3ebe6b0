"""The laws of nms and soft_nms: which of several overlapping boxes are kept, and with which scores.

Not here: IoU itself (boxes.py), suppression by class.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
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


# ---------------------------------------------------------------------------------------------------------------------
# soft_nms


def _soft(boxes, scores, sigma=0.5, threshold=0.001, decay=None, once=False, weakest=False, fixed=False, all_stay=False):  # fmt: skip
    """Take the best box, lower the scores of the others, and repeat; mutants change a step."""
    table = _overlaps(boxes.astype(np.float64))
    factor = np.exp(-(table**2) / (0.5 if fixed else sigma)) if decay is None else decay(table, sigma)
    lowered = scores.astype(np.float64)
    first = lowered.copy()
    left = list(range(len(scores)))
    taken = []
    while left:
        order = first if once else lowered
        best = max(left, key=lambda i: (order[i], -i))
        left.remove(best)
        if lowered[best] < threshold and not all_stay:
            continue
        taken.append(best)
        for i in left:
            if weakest:
                lowered[i] = min(lowered[i], first[i] * factor[best, i])
            else:
                lowered[i] *= factor[best, i]
    taken = np.array(taken, np.int64)
    return taken, lowered[taken].astype(scores.dtype)


def _soft_nms(boxes, scores, sigma=0.5, threshold=0.001):
    table = _overlaps(boxes.astype(np.float64))
    lowered = scores.astype(np.float64)
    left = np.arange(len(scores))
    taken = []
    while left.size and lowered[left].max() >= threshold:
        best = left[lowered[left].argmax()]
        taken.append(best)
        left = left[left != best]
        lowered[left] *= np.exp(-(table[best, left] ** 2) / sigma)
    taken = np.array(taken, np.int64)
    return (taken, lowered[taken].astype(scores.dtype)), None


soft_nms = Family(
    "soft_nms",
    _soft_nms,
    form="f(boxes, scores, sigma=0.5, threshold=0.001) -> (indices, scores): the boxes in the order in which they are taken, "
    "and their lowered scores; boxes (N, 4): left, top, right, bottom. Take the box with the best score, multiply the scores "
    "of all others by exp(-IoU^2 / sigma), and repeat while the best score is at least threshold",
)
soft_nms.main = lambda out: out[0] if isinstance(out, (tuple, list)) and len(out) == 2 else out
soft_nms.whole = lambda out: np.stack([np.asarray(part, np.float64) for part in out])


def _both(f, case):
    """The two lists that it returns."""
    result = f.result(case.copy())[0]
    if (
        not isinstance(result, (tuple, list))
        or len(result) != 2
        or np.shape(result[0]) != np.shape(result[1])
    ):
        raise Broken(
            "A pair (indices, scores) of two lists of the same length was expected.",
            hint="End with `return indices, scores`: scores[k] is the lowered score of box indices[k].",
        )
    return f.array(np.asarray(result[0])), f.array(np.asarray(result[1])).astype(np.float64)


def _same_boxes_and_scores(f, case, atol=2e-5):
    indices, lowered = _both(f, case)
    expected, right = soft_nms.right(**case.copy(np.float64).everything)[0]
    if not np.array_equal(indices, expected):
        raise Broken("The wrong boxes are taken, or in another order.", expected, indices)
    compare(lowered, right, 1e-4, atol, "The list of scores")


soft_nms.same = _same_boxes_and_scores
soft_nms.read = lambda f, case: np.stack(_both(f, case))


def _two(draw):
    """Two boxes that overlap."""
    return _soft_case([_square(0), _square(choose(draw, 1, 2, 3))], [0.9, choose(draw, 0.8, 0.5)])


def _soft_case(boxes, scores, **options):
    return {"boxes": np.array(boxes, np.float32), "scores": np.array(scores, np.float32), **options}


def _without_overlap(draw):
    scores = np.random.default_rng(integer(draw, 0, 60)).permutation([0.9, 0.7, 0.5, 0.3])
    return _soft_case([_square(10 * i) for i in range(4)], scores)


def _overtaken(draw):
    """The second best box overlaps the best one much; the third does not."""
    return _soft_case(
        [_square(0), _square(choose(draw, 1, 0)), _square(20)], [0.9, 0.8, choose(draw, 0.7, 0.6)]
    )


def _in_the_middle(draw):
    """The box with the lowest score overlaps two others, that do not overlap each other."""
    return _soft_case(
        [_square(-2), _square(2), _square(choose(draw, 0, 0.5))], [0.9, 0.8, choose(draw, 0.5, 0.7)]
    )


def _low(draw):
    """Equal boxes, of which the second falls below the threshold."""
    return _soft_case(
        [_square(0), _square(0), _square(20)], [0.9, 0.5, 0.4], threshold=choose(draw, 0.2, 0.3)
    )


def _tied_far_apart(draw):
    case = _tied_apart(draw)
    return {"boxes": case["boxes"], "scores": case["scores"]}


def _few_soft(draw):
    case = _few(draw)
    return {"boxes": case["boxes"], "scores": case["scores"]}


def _any_soft(draw):
    """Any boxes; no two scores ever come close to each other or to the threshold."""
    case = _any_crowd(draw)
    boxes, scores = case["boxes"], case["scores"]
    options = {"sigma": choose(draw, 0.5, 0.5, 0.2, 1.0), "threshold": choose(draw, 0.001, 0.001, 0.2, 0.4)}
    given = {
        name: value for name, value in options.items() if value != {"sigma": 0.5, "threshold": 0.001}[name]
    }
    lowered = _soft(boxes, scores, options["sigma"], 0)[1]
    limit = [options["threshold"]]
    gaps = [np.diff(np.sort(np.concatenate([numbers, limit]))).min() for numbers in (scores, lowered)]
    return {"boxes": boxes, "scores": scores, **given} if min(gaps) > 1e-4 else _any_soft(draw)


def _soft_with(**steps):
    return lambda boxes, scores, sigma=0.5, threshold=0.001: _soft(boxes, scores, sigma, threshold, **steps)


def _as_given(boxes, scores, sigma=0.5, threshold=0.001):
    """In the order of the list, if no boxes overlap."""
    indices, lowered = _soft(boxes, scores, sigma, threshold)
    table = _overlaps(boxes.astype(np.float64))
    order = np.argsort(indices) if not np.triu(table, 1).any() and len(set(scores)) > 1 else slice(None)
    return indices[order], lowered[order]


def _scores_of(f, case):
    """The lowered score of each box; 0 for those that are dropped."""
    indices, lowered = _both(f, case)
    N = len(case["boxes"])
    if indices.size and (
        indices.min() < 0 or indices.max() >= N or len(set(indices.tolist())) < len(indices)
    ):
        raise Broken(f"An index is out of range, or comes twice; there are {N} boxes.", got=indices)
    return dict(zip(indices.tolist(), lowered, strict=True))


@soft_nms.law(
    "best first",
    inputs=_without_overlap,
    slide=SLIDE,
    hint="Take the box with the best score first: indices and scores are in the order in which boxes are taken.",
    mutant=_as_given,
)
def _soft_order(f, case):
    """Boxes that do not overlap keep their scores, and come in the order of falling scores."""
    indices, lowered = _both(f, case)
    _scores_fall(indices.astype(np.int64), case)
    compare(lowered, np.sort(case["scores"].astype(np.float64))[::-1], what="The list of scores")


soft_nms.agrees(
    "lowered by overlap",
    "The second of two boxes that overlap has its score multiplied by exp(-IoU^2 / sigma).",
    inputs=_two,
    equation=r"s_i \leftarrow s_i\, e^{-\mathrm{IoU}^2 / \sigma}",
    hint="The IoU is squared: a small overlap lowers the score hardly at all.",
    mutant=_soft_with(decay=lambda table, sigma: np.exp(-table / sigma)),
)


@soft_nms.law(
    "a lower score is taken later",
    inputs=_overtaken,
    hint="After each box the scores have changed: look for the best of the remaining boxes anew, and do not sort only once.",
    mutant=_soft_with(once=True),
)
def _fall(f, case):
    """A box whose score was lowered is taken after boxes that are better now: the returned scores fall."""
    lowered = _both(f, case)[1]
    if len(lowered) != 3 or (np.diff(lowered) > 0).any():
        raise Broken("Three scores that fall were expected.", got=lowered)


@soft_nms.law(
    "lowered by each",
    inputs=_in_the_middle,
    equation=r"s_i \prod_k e^{-\mathrm{IoU}(b_i, b_k)^2 / \sigma}",
    hint="Each box that is taken lowers the scores of all that remain, also of those that were lowered before.",
    mutant=_soft_with(weakest=True),
)
def _product(f, case):
    """A box that overlaps two others is lowered twice: the factors are multiplied."""
    boxes, scores = case["boxes"], case["scores"]
    together = _scores_of(f, case).get(2, 0.0)
    alone = [
        _scores_of(f, case.replace(boxes=boxes[[k, 2]], scores=scores[[k, 2]])).get(1, 0.0) for k in (0, 1)
    ]
    expected = alone[0] * alone[1] / float(scores[2])
    compare(np.array([together]), np.array([expected]), what="The score of the box in the middle")


@soft_nms.law(
    "dropped below the threshold",
    inputs=_low,
    hint="Stop when the best remaining score is less than threshold: what is left is dropped.",
    mutant=_soft_with(all_stay=True),
)
def _none_below(f, case):
    """A box whose score falls below the threshold is dropped."""
    found = _scores_of(f, case)
    if min(found.values(), default=1.0) < case["threshold"] or not {0, 2} <= set(found):
        raise Broken(f"The threshold is {case['threshold']}.", f.right(case), np.array(list(found)))


@soft_nms.law(
    "sigma",
    inputs=_two,
    equation=r"\sigma \log (s'_i / s_i) = -\mathrm{IoU}^2",
    hint="sigma is in the denominator of the exponent: the larger it is, the less scores fall.",
    mutant=_soft_with(fixed=True),
)
def _by_sigma(f, case):
    """The logarithm of the factor is divided by sigma."""
    powers = [
        sigma * np.log(_scores_of(f, case.replace(sigma=sigma)).get(1, 1e-9) / float(case["scores"][1]))
        for sigma in (0.5, 1.0, 2.0)
    ]
    compare(np.array(powers), np.full(3, powers[0]), 1e-3, 1e-3, "sigma times the logarithm of the factor")


def _soft_random_ties(boxes, scores, sigma=0.5, threshold=0.001):
    shuffled = _CHANCE.permutation(len(boxes))
    indices, lowered = _soft(boxes[shuffled], scores[shuffled], sigma, threshold)
    return shuffled[indices], lowered


index_laws(
    soft_nms,
    inputs=_tied_far_apart,
    shapes=_few_soft,
    read=lambda f, case: f(case),
    squeezed=lambda boxes, scores, sigma=0.5, threshold=0.001: tuple(
        np.squeeze(part) for part in _soft(boxes, scores, sigma, threshold)
    ),
    random_ties=_soft_random_ties,
    float_mutant=lambda boxes, scores, sigma=0.5, threshold=0.001: (
        lambda found: (found[0].astype(np.float64), found[1])
    )(_soft(boxes, scores, sigma, threshold)),
    overwritten="scores",
)


def _first_three(boxes, scores, sigma=0.5, threshold=0.001):
    """Only the first three boxes that are taken lower the scores of others."""
    table = _overlaps(boxes.astype(np.float64))
    lowered = scores.astype(np.float64)
    left = list(range(len(scores)))
    taken = []
    while left and lowered[left].max() >= threshold:
        best = max(left, key=lambda i: (lowered[i], -i))
        left.remove(best)
        taken.append(best)
        if len(taken) < 3:
            lowered[left] *= np.exp(-(table[best, left] ** 2) / sigma)
    taken = np.array(taken, np.int64)
    return taken, lowered[taken].astype(scores.dtype)


values(
    soft_nms,
    simplest=_two,
    words="two boxes that overlap",
    anything=_any_soft,
    hint="The inputs have up to seven boxes, other values of sigma and of the threshold, and boxes without area. Go through "
    "one by hand, and write down all scores after each box.",
    mutant=_first_three,
)
for name, hint, answer in (
    (
        "dropped as in NMS",
        "You drop boxes that overlap a better one. Soft-NMS keeps them with a lower score.",
        lambda boxes, scores, sigma=0.5, threshold=0.001: (lambda kept: (kept, scores[kept]))(
            _greedy(boxes, scores, 0.3)
        ),
    ),
    (
        "the IoU not squared",
        "The exponent is -IoU / sigma here; the IoU is squared.",
        _soft_with(decay=lambda table, sigma: np.exp(-table / sigma)),
    ),
    (
        "linear",
        "You multiply by 1 - IoU. That is the other form of the paper; this one multiplies by exp(-IoU^2 / sigma).",
        _soft_with(decay=lambda table, sigma: 1 - table),
    ),
    (
        "sorted once",
        "You go through the boxes in the order of their first scores. Look for the best of the lowered scores each time.",
        _soft_with(once=True),
    ),
    (
        "lowered once",
        "Only the largest overlap lowers a score here. Each box that is taken multiplies it by a factor.",
        _soft_with(weakest=True),
    ),
    (
        "sigma squared",
        "You divide by 2 sigma^2, as in a normal distribution. Here the exponent is -IoU^2 / sigma.",
        _soft_with(decay=lambda table, sigma: np.exp(-(table**2) / (2 * sigma**2 + 1e-9))),
    ),
    (
        "the scores as they were",
        "The boxes are right, but the scores are the first ones: return the lowered ones.",
        lambda boxes, scores, sigma=0.5, threshold=0.001: (lambda kept: (kept, scores[kept]))(
            _soft(boxes, scores, sigma, threshold)[0]
        ),
    ),
    (
        "nothing is dropped",
        "A box whose score falls below the threshold is dropped.",
        _soft_with(all_stay=True),
    ),
):
    soft_nms.mistake(name, hint, answer)
