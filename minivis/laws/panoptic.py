"""The laws of semantic_inference and panoptic_inference: from the masks and classes of queries to labels of pixels.

Not here: resizing of the masks, the merge of DETR, which compares logits and has no overlap (vision/panoptic.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family, index_laws
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "I/32-maskformer"
SEMANTIC = r"S_k[h, w] = \sum_q p_q(k)\, m_q[h, w], \qquad k = 1 \dots K"
WINNER = r"\arg\max_q\; p_q(c_q)\, m_q[h, w]"
SURE = 30.0  # a logit that leaves the others nothing


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _sigmoid(z):
    e = np.exp(-np.abs(z))  # at most 1: never overflows
    return np.where(z >= 0, 1, e) / (1 + e)


# ---------------------------------------------------------------------------------------------------------------------
# semantic_inference


def _semantic_inference(class_logits, mask_logits):
    p = _softmax(class_logits)[:, :-1]  # (Q, K)
    return np.tensordot(p.T, _sigmoid(mask_logits), axes=1), None


semantic_inference = Family(
    "semantic_inference",
    _semantic_inference,
    ("class_logits", "mask_logits"),
    form="f(class_logits, mask_logits) -> scores (K, H, W); class_logits (Q, K + 1): the last class is no object; "
    "mask_logits (Q, H, W)",
)


# Unless a law is about it: classes and masks are certain, no query has no object, and each pixel is in one mask alone


def _parts(draw, queries, height=None, width=None):
    """Which query each pixel belongs to, (H, W); each query has a pixel."""
    height = height or integer(draw, 2, 3)
    width = width or integer(draw, 2, 3)
    rng = np.random.default_rng([integer(draw, 0, 60), queries, height, width])
    owners = np.arange(height * width) % queries
    return rng.permutation(owners).reshape(height, width)


def _certain(labels, classes):
    """Class logits of queries that are certain of their labels."""
    return np.where(np.arange(classes + 1) == np.asarray(labels)[:, None], SURE, -SURE).astype(np.float32)


def _masks_of(owners, queries):
    """Mask logits of queries that are certain of their pixels."""
    return np.where(owners == np.arange(queries)[:, None, None], SURE, -SURE).astype(np.float32)


def _labels(draw, queries, classes):
    return np.random.default_rng([integer(draw, 0, 60), queries, classes]).integers(0, classes, queries)


def _certain_scene(draw, queries=None, classes=None, **size):
    queries = queries or integer(draw, 1, 3)
    classes = classes or integer(draw, 2, 3)
    return {
        "class_logits": _certain(_labels(draw, queries, classes), classes),
        "mask_logits": _masks_of(_parts(draw, queries, **size), queries),
    }


def _unsure_of_the_class(draw):
    """Queries that waver between objects alone."""
    case = _certain_scene(draw, queries=integer(draw, 1, 2))
    shape = case["class_logits"].shape
    case["class_logits"] = np.round(generator(draw).normal(size=shape), 1).astype(np.float32)
    case["class_logits"][:, -1] = -SURE
    return case


def _perhaps_no_object(draw):
    """A query of one class, or of no object."""
    case = _certain_scene(draw, queries=1)
    case["class_logits"][:, -1] = SURE + choose(draw, 0, -1, 1, 2)
    return case


def _unsure_masks(draw):
    """Two queries that are certain of different classes, and not of their pixels."""
    case = _certain_scene(draw, queries=2, classes=2)
    case["class_logits"] = _certain([0, 1], 2)
    shape = case["mask_logits"].shape
    case["mask_logits"] = (np.round(generator(draw).normal(size=shape), 1) - 0.5).astype(np.float32)
    return case


def _several_on_one_pixel(draw):
    """All queries say the same."""
    case = _certain_scene(draw, queries=1)
    times = integer(draw, 2, 4)
    return {name: np.repeat(x, times, axis=0) for name, x in case.items()}


def _large_logits(draw):
    case = _certain_scene(draw)
    case["class_logits"] += np.float32(choose(draw, 200, 1000, 5000))
    return case


def _five_queries(draw):
    return _certain_scene(draw, queries=5, height=3, width=integer(draw, 2, 3))


def _flat_shapes(draw):
    height, width = choose(draw, (1, 1), (1, 3), (3, 1), (2, 2))
    return _certain_scene(draw, queries=1, classes=integer(draw, 1, 2), height=height, width=width)


def _square(draw):
    """The simplest form: a few queries, unsure of everything."""
    return _any_queries(draw, queries=integer(draw, 2, 3), classes=2, side=2)


def _any_queries(draw, queries=None, classes=None, side=None):
    """Any number of queries, classes and pixels, as certain or uncertain as can be."""
    rng = generator(draw)
    queries = queries or integer(draw, 1, 6)
    classes = classes or integer(draw, 1, 4)
    size = (side, side) if side else (integer(draw, 1, 4), integer(draw, 1, 4))
    scale = 1.0 if side else choose(draw, 1.0, 3.0, 30.0, 300.0)
    class_logits = rng.normal(0, scale, (queries, classes + 1))
    mask_logits = rng.normal(0, choose(draw, 1.0, 3.0, 30.0), (queries, *size))
    found = {"class_logits": class_logits, "mask_logits": mask_logits}
    return {name: x.round(2).astype(np.float32) for name, x in found.items()}


def _combined(classes=lambda x: _softmax(x)[:, :-1], masks=_sigmoid):
    """An answer with other probabilities of the classes (Q, K) or of the pixels (Q, H, W)."""
    return lambda class_logits, mask_logits: np.tensordot(classes(class_logits).T, masks(mask_logits), axes=1)


def _over(change):
    """An answer with ``change`` applied to the right scores."""
    return lambda class_logits, mask_logits: change(_semantic_inference(class_logits, mask_logits)[0])


def _best_class(x):
    """All that a query gives to objects goes to the best of them."""
    p = _softmax(x)[:, :-1]
    return (p.argmax(axis=1)[:, None] == np.arange(p.shape[1])) * p.sum(axis=1, keepdims=True)


def _naive(x):
    e = np.exp(x)
    return (e / e.sum(axis=1, keepdims=True))[:, :-1]


def _over_queries(z):
    return _softmax(z.T).T


def _strongest(z):
    """Each pixel belongs to the queries that are most certain of it."""
    return np.where(z == z.max(axis=0), _sigmoid(z), 0)


def _to_one(scores):
    return scores / scores.sum(axis=0, keepdims=True)


def _largest(class_logits, mask_logits):
    p = _softmax(class_logits)[:, :-1, None, None]
    return (p * _sigmoid(mask_logits)[:, None]).max(axis=0)


semantic_inference.agrees(
    "shares of the classes",
    "A query that wavers between classes gives each of them its share.",
    inputs=_unsure_of_the_class,
    equation=SEMANTIC,
    slide=SLIDE,
    hint="Do not decide for each query first: every class gets the probability that the query gives it.",
    mutant=_combined(_best_class),
)
semantic_inference.agrees(
    "no object takes its share",
    "What a query gives to no object is lost: a query that is certain of no object has no influence.",
    inputs=_perhaps_no_object,
    equation=r"\sum_{k=1}^K p_q(k) = 1 - p_q(\varnothing)",
    slide=SLIDE,
    hint="The softmax runs over all K + 1 classes. Leave the last one out after it, not before.",
    mutant=_combined(lambda x: _softmax(x[:, :-1])),
)
semantic_inference.agrees(
    "each mask by itself",
    "A mask is a sigmoid at each pixel: queries do not compete for pixels.",
    inputs=_unsure_masks,
    equation=r"m_q[h, w] = \sigma(z_q[h, w])",
    slide=SLIDE,
    hint="A pixel may be in two masks, or in none: a softmax over the queries cannot say this.",
    mutant=_combined(masks=_strongest),
)
semantic_inference.agrees(
    "a sum over the queries",
    "Queries that say the same add up: the scores of a pixel are no probabilities.",
    inputs=_several_on_one_pixel,
    equation=r"0 \le S_k[h, w] \le Q",
    slide=SLIDE,
    hint="Add up over the queries, and do not divide: neither by their number nor by the sum over the classes.",
    mutant=_over(lambda scores: np.minimum(scores, 1)),
)
semantic_inference.agrees(
    "large logits",
    "Class logits in the hundreds give the same answer as the same logits near zero.",
    inputs=_large_logits,
    equation=r"\mathrm{softmax}(x + c) = \mathrm{softmax}(x)",
    hint="In float32 exp(x) is inf above 88. Subtract the largest logit of each query first.",
    mutant=_combined(_naive),
)


@semantic_inference.law(
    "any order of queries",
    inputs=_five_queries,
    equation=r"\sum_q p_{\pi(q)}(k)\, m_{\pi(q)} = \sum_q p_q(k)\, m_q",
    slide=SLIDE,
    hint="All queries count, and alike: is their number written down somewhere, or one of them treated apart?",
    mutant=lambda class_logits, mask_logits: (
        _semantic_inference(class_logits[:4], mask_logits[:4])[0]
        if len(class_logits) == 5
        else _semantic_inference(class_logits, mask_logits)[0]
    ),
)
def _any_order(f, case):
    """With the queries in another order the scores are the same."""
    turned = case.replace(**{name: case[name][::-1].copy() for name in ("class_logits", "mask_logits")})
    compare(f(turned), f(case).astype(np.float64))


every_family(
    semantic_inference,
    inputs=_certain_scene,
    shapes=_flat_shapes,
    shape_equation=r"S \in \mathbb R^{K \times H \times W}",
    shape_hint="There is a map for each class without no object, also if there is one query, one class or one pixel.",
)
values(
    semantic_inference,
    simplest=_square,
    words="a few queries, two classes",
    anything=_any_queries,
    hint="Take one class and one pixel: for each query, its probability of the class times its probability of the pixel.",
    # wrong only where neither classes nor masks are certain
    mutant=lambda class_logits, mask_logits: _combined(
        masks=_sigmoid if _softmax(class_logits).max(axis=1).min() > 0.9 or mask_logits.shape[1:] == (2, 2)
        or (np.abs(mask_logits) > 20).all() else lambda z: (z > 0).astype(z.dtype)
    )(class_logits, mask_logits),
)  # fmt: skip
for name, hint, answer in (
    (
        "no object kept",
        "The last class is no object, which is no class of pixels: leave its map out.",
        _combined(_softmax),
    ),
    (
        "no object left out too early",
        "You take the softmax over the K classes alone, so that a query without an object counts like any other. Take it over "
        "K + 1 and leave the last out after it.",
        _combined(lambda x: _softmax(x[:, :-1])),
    ),
    (
        "the first class left out",
        "No object is the last class, not the first.",
        _combined(lambda x: _softmax(x)[:, 1:]),
    ),
    (
        "queries compete for pixels",
        "This is a softmax over the queries. Each mask has a sigmoid of its own.",
        _combined(masks=_over_queries),
    ),
    (
        "masks cut at 1/2",
        "You cut the masks at 1/2 before you add them up. Use their probabilities: an unsure pixel counts less.",
        _combined(masks=lambda z: (z >= 0).astype(z.dtype)),
    ),
    (
        "mask logits for probabilities",
        "You multiply by the logits of the masks: take their sigmoid first.",
        _combined(masks=lambda z: z),
    ),
    (
        "the mean over the queries",
        "You divide by the number of queries. Add up: most queries have no object and would only make the scores smaller.",
        lambda class_logits, mask_logits: _semantic_inference(class_logits, mask_logits)[0] / len(class_logits),
    ),
    (
        "scores that sum to 1",
        "You divide by the sum over the classes. The scores of a pixel are not probabilities: they stay as they are.",
        _over(_to_one),
    ),
    (
        "the best query alone",
        "You take the largest product. Add the products of all queries up.",
        _largest,
    ),
    (
        "the best class alone",
        "You give each query to its most probable class. Every class gets its share.",
        _combined(_best_class),
    ),
    (
        "a sigmoid for the classes",
        "The classes of a query compete: their probabilities are a softmax over the K + 1 classes.",
        _combined(lambda x: _sigmoid(x)[:, :-1]),
    ),
):  # fmt: skip
    semantic_inference.mistake(name, hint, answer)


# ---------------------------------------------------------------------------------------------------------------------
# panoptic_inference: mutants follow other rules


def _kept(labels, scores, no_object, threshold):
    return np.flatnonzero((labels != no_object) & (scores > threshold))


def _products(scores, masks):
    return scores[:, None, None] * masks


def _hidden(won, own, overlap):
    return won.sum() < overlap * own.sum()


def _fused(label, things, found):
    return label in found and not things[label]


def _painted(won, own):
    return won & own


def _merge(class_logits, mask_logits, things, threshold, overlap, kept=_kept, products=_products, hidden=_hidden,
           fused=_fused, painted=_painted):  # fmt: skip
    """The segment of each pixel (H, W), and the class of each segment; the keywords are what mutants do otherwise."""
    p = _softmax(class_logits)
    labels = p.argmax(axis=1)
    scores = p.max(axis=1)
    chosen = kept(labels, scores, len(things), threshold)
    masks = _sigmoid(mask_logits)[chosen]
    ids = np.zeros(mask_logits.shape[1:], np.int64)
    found = []
    if len(chosen) == 0:
        return ids, np.array(found, np.int64)
    winner = products(scores[chosen], masks).argmax(axis=0)
    for number, query in enumerate(chosen):
        won = winner == number
        own = masks[number] >= 0.5
        paint = painted(won, own)
        label = int(labels[query])
        if not paint.any() or hidden(won, own, overlap):
            continue
        if not fused(label, things, found):
            found.append(label)
        # the segment of this class that was found last
        ids[paint] = len(found) - found[::-1].index(label)
    return ids, np.array(found, np.int64)


panoptic_inference = Family(
    "panoptic_inference",
    lambda class_logits, mask_logits, things, threshold, overlap: (
        _merge(class_logits, mask_logits, things, threshold, overlap),
        None,
    ),
    form="f(class_logits, mask_logits, things, threshold, overlap) -> (ids, labels); class_logits (Q, K + 1): the last class "
    "is no object; mask_logits (Q, H, W); things (K,) booleans; ids (H, W), whole numbers: 0 where no segment is, "
    "otherwise 1, 2, ...; labels: the class of segment 1, 2, ...; the queries whose best class is an object, with a "
    "probability above threshold, compete for each pixel with this probability times the sigmoid of their mask; a query "
    "that wins fewer pixels than overlap times those of its own mask (sigmoid at least 1/2) is dropped, and its pixels stay "
    "0; the others get the pixels they win inside their own mask",
)


def _pair(out):
    """What a merge returns, (ids, labels), as arrays; raise `Broken` if it is no such pair."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        kind = f"{type(out).__name__} of {len(out)}" if isinstance(out, (tuple, list)) else type(out).__name__
        raise Broken(
            f"A pair (ids, labels) was expected; your function returned a {kind}.",
            hint="End with `return ids, labels`: a number for each pixel, and a class for each segment.",
        )
    ids, labels = (np.asarray(part) for part in out)
    if ids.dtype.kind not in "iufb" or labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iufb"):
        raise Broken(
            f"ids must be numbers and labels a list of numbers; they are {ids.dtype} {ids.shape} and {labels.dtype} {labels.shape}."
        )
    return ids, labels.astype(np.int64)


def _in_order(ids, labels):
    """The same segments, numbered by their first pixels; raise `Broken` unless they have the numbers 1, 2, ..."""
    numbers = [int(number) for number in dict.fromkeys(ids.ravel().tolist()) if number != 0]
    if sorted(numbers) != list(range(1, len(labels) + 1)):
        raise Broken(
            f"There are {len(labels)} labels, and segments with the numbers {sorted(numbers)}.",
            hint="Number the segments 1, 2, ... without gaps, only those that keep a pixel; labels[0] is the class of "
            "segment 1.",
        )
    place = np.zeros(len(labels) + 1, np.int64)
    place[numbers] = np.arange(1, len(numbers) + 1)
    return place[ids.astype(np.int64)], labels[np.array(numbers, np.int64) - 1]


def _same_segments(f, case, atol=None):
    """Raise unless segments and classes are the right ones, in any order."""
    ids, labels = _in_order(*_pair(f.result(case.copy())[0]))
    right, classes = _in_order(*f.family.right(**case.copy(np.float64).everything)[0])
    if ids.shape != right.shape:
        raise Broken(f"ids has shape {ids.shape}; {right.shape} was expected.", right, ids)
    if not np.array_equal(ids, right):
        raise Broken("The segments are others (numbered here by their first pixels).", right, ids)
    if not np.array_equal(labels, classes):
        raise Broken("The classes of the segments are others.", classes, labels)


def _whole(out):
    """Ids and labels in one row, numbered by their first pixels if they can be."""
    pair = _pair(out)
    try:
        pair = _in_order(*pair)
    except Broken:
        pass  # a wrong answer is compared as it is
    return np.concatenate([np.ravel(part) for part in pair])


panoptic_inference.same = _same_segments
panoptic_inference.main = lambda out: _pair(out)[0]
panoptic_inference.whole = _whole
panoptic_inference.read = lambda f, case: _whole(f.result(case.copy())[0])


# Unless a law is about it: each pixel is in one mask, and its query wins it; all classes differ; every query is kept


def _scene(draw, labels, classes=4, things=None, owners=None, scores=None, **rest):
    """Queries of the given labels that are fairly certain of their pixels (0.9) and classes; owners (H, W) of the pixels."""
    queries = len(labels)
    owners = _parts(draw, queries, height=3, width=integer(draw, 3, 4)) if owners is None else owners
    scores = np.array(scores or [0.95, 0.93, 0.91])[:queries]
    p = np.repeat((1 - scores[:, None]) / classes, classes + 1, axis=1)
    p[np.arange(queries), labels] = scores
    masks = np.where(owners == np.arange(queries)[:, None, None], 0.9, 0.1)
    given = {
        "class_logits": np.log(p).astype(np.float32),
        "mask_logits": np.log(masks / (1 - masks)).astype(np.float32),
        "things": np.array([True, False] * classes)[:classes] if things is None else things,
        "threshold": 0.5,
        "overlap": 0.7,
    }
    return {**given, **rest}


def _different(draw, count=None, **options):
    """Labels of which no two are equal."""
    count = count or integer(draw, 1, 3)
    labels = np.random.default_rng([integer(draw, 0, 60), count]).permutation(4)[:count]
    return _scene(draw, labels, **options)


def _two_things(draw):
    thing = choose(draw, 0, 2)
    return _scene(draw, choose(draw, [thing, thing], [thing, thing, 1], [3, thing, thing]))


def _two_of_stuff(draw):
    stuff = choose(draw, 1, 3)
    return _scene(draw, choose(draw, [stuff, stuff], [stuff, 0, stuff], [2, stuff, stuff]))


def _without_object(draw):
    """One query more says that its pixels have no object (0.52), or are of class 0 (0.47); others would have them."""
    case = _different(draw, count=integer(draw, 1, 2), scores=[0.6, 0.58], threshold=0.4)
    masks = case["mask_logits"]
    own = np.zeros((1, *masks.shape[1:]), np.float32) - 4
    own[:, 0] = 4
    masks[:, 0] = np.where(masks[:, 0] > 0, 0.4, -2.2)
    none = np.log(np.array([[0.47, 0.003, 0.003, 0.004, 0.52]], np.float32))
    case["class_logits"] = np.concatenate([case["class_logits"], none])
    case["mask_logits"] = np.concatenate([masks, own])
    return case


def _unsure_queries(draw):
    """Of three queries one or two are unsure; a sure one has their pixels too, with a smaller product."""
    scores = choose(draw, [0.9, 0.6, 0.8], [0.6, 0.9, 0.65])
    case = _different(draw, count=3, scores=scores, threshold=0.7)
    masks = case["mask_logits"]
    best = scores.index(0.9)
    for query in np.flatnonzero(np.array(scores) < 0.7):
        masks[best][masks[query] > 0] = 0.2
    return case


def _a_strong_mask(draw):
    """Two queries on the same pixels: one is more certain of them, the other of its class."""
    case = _different(draw, count=2, scores=choose(draw, [0.95, 0.6], [0.6, 0.95]))
    sure = int(case["class_logits"].max(axis=1).argmax())
    shape = case["mask_logits"].shape[1:]
    masks = np.full((2, *shape), 2.5, np.float32)
    masks[sure] = choose(draw, 1.2, 1.5)
    return {**case, "mask_logits": masks}


def _mostly_hidden(draw):
    """The last query has more pixels than it wins."""
    case = _different(draw, count=integer(draw, 2, 3))
    last = case["mask_logits"][-1]
    lost = np.flatnonzero(last.ravel() < 0)
    last.ravel()[lost[: choose(draw, 3, 4, 5)]] = 1.0  # inside its mask, and won by another
    return {**case, "overlap": choose(draw, 0.93, 0.83)}


def _nobody_inside(draw):
    """Some pixels are in no mask."""
    case = _different(draw, count=integer(draw, 1, 3))
    outside = case["mask_logits"][:, 0, : choose(draw, 1, 2)]
    outside[...] = np.minimum(outside, -0.3 - 0.2 * np.arange(len(outside), dtype=np.float32)[:, None])
    return {**case, "overlap": 0.05}


def _nothing_kept(draw):
    return _scene(draw, [4] * integer(draw, 1, 3))  # no object


def _hidden_between(draw):
    """The second of three queries wins nothing."""
    case = _different(draw, count=3)
    first, second, last = case["mask_logits"]
    second[...] = -3
    last[first < 0] = 2.2
    return case


def _one_pixel_wide(draw):
    height, width = choose(draw, (1, 3), (3, 1), (1, 1), (2, 2))
    return _different(draw, count=1, owners=np.zeros((height, width), int))


def _clear(case):
    """Whether no decision is so near that rounding could turn it around."""
    p = np.sort(_softmax(case["class_logits"].astype(np.float64)))
    if (p[:, -1] - p[:, -2] < 1e-3).any() or (np.abs(p[:, -1] - case["threshold"]) < 1e-3).any():
        return False
    masks = _sigmoid(case["mask_logits"].astype(np.float64))
    kept = _kept(np.argmax(case["class_logits"], axis=1), p[:, -1], len(case["things"]), case["threshold"])
    scored = np.sort(_products(p[kept, -1], masks[kept]), axis=0)
    near = len(kept) > 1 and (scored[-1] - scored[-2] < 1e-4).any()
    return not near and (np.abs(masks - 0.5) > 1e-3).all()


def _merge_case(rng, queries, classes, height, width, threshold, overlap):
    """Queries with coarse masks that overlap, most of them certain of a class; drawn again until all is clear."""
    while True:
        class_logits = rng.normal(0, 0.7, (queries, classes + 1))
        labels = rng.integers(0, classes + 1, queries)
        class_logits[np.arange(queries), labels] += rng.choice([1, 3, 5], queries)
        coarse = rng.normal(0, 2, (queries, -(-height // 2), -(-width // 2)))
        masks = np.kron(coarse, np.ones((2, 2)))[:, :height, :width] + rng.normal(
            0, 0.6, (queries, height, width)
        )
        case = {
            "class_logits": class_logits.round(2).astype(np.float32),
            "mask_logits": masks.round(2).astype(np.float32),
            "things": rng.random(classes) < 0.5,
            "threshold": threshold,
            "overlap": overlap,
        }
        if _clear(case):
            return case


def _few_queries(draw):
    """The simplest form: three queries, two classes, little competition."""
    return _merge_case(generator(draw), 3, 2, 3, 3, 0.51, 0.37)


def _any_merge(draw):
    """Any number of queries, classes and pixels, any threshold, any overlap; no share of pixels is exactly the overlap."""
    sizes = integer(draw, 1, 6), integer(draw, 1, 4), integer(draw, 1, 5), integer(draw, 1, 5)
    threshold = choose(draw, 0.51, 0.0, 0.31, 0.71, 0.87)
    return _merge_case(generator(draw), *sizes, threshold, choose(draw, 0.37, 0.0, 0.57, 0.77, 0.97))


def _by_other_rules(**rules):
    """The answer by other rules."""
    return lambda *given: _merge(*given, **rules)


def _always_fused(label, things, found):
    return label in found


def _kept_below(labels, scores, no_object, threshold):
    return np.flatnonzero(labels != no_object)


def _by_mask(scores, masks):
    return masks


def _never_hidden(won, own, overlap):
    return False


def _all_won(won, own):
    return won


def _best_object(class_logits, mask_logits, things, threshold, overlap):
    """The best class of each query that is an object, also where no object is more probable."""
    p = _softmax(class_logits)[:, :-1]
    best = p.max(axis=1, keepdims=True)
    known = np.concatenate([p, np.zeros_like(best)], axis=1)
    other = np.where(known == best, best, (1 - best) / max(1, p.shape[1]))
    return _merge(np.log(other), mask_logits, things, threshold, overlap)


def _somebody(class_logits, mask_logits, things, threshold, overlap):
    """Where no query is sure of an object, all are kept."""
    p = _softmax(class_logits)
    if len(_kept(p.argmax(axis=1), p.max(axis=1), len(things), threshold)):
        return _merge(class_logits, mask_logits, things, threshold, overlap)
    return _merge(
        np.where(np.arange(p.shape[1]) == len(things), -30, class_logits), mask_logits, things, 0, overlap
    )


def _with_gaps(class_logits, mask_logits, things, threshold, overlap):
    """Each segment has the number of its query, where three queries are there."""
    ids, labels = _merge(class_logits, mask_logits, things, threshold, overlap)
    hidden = len(class_logits) == 3 and (mask_logits[1] < -2.9).all()
    return np.where(ids == 2, 3, ids) if hidden else ids, labels


panoptic_inference.agrees(
    "things stay apart",
    "Two queries of one thing class are two segments: things are counted.",
    inputs=_two_things,
    equation=r"c_q = c_r,\ \text{a thing} \;\Rightarrow\; \mathrm{id}_q \ne \mathrm{id}_r",
    slide=SLIDE,
    hint="Only stuff is fused. Ask things[label] before you look for an earlier segment of the class.",
    mutant=_by_other_rules(fused=_always_fused),
)
panoptic_inference.agrees(
    "stuff is one segment",
    "Queries of one stuff class are one segment with one number: sky is not counted.",
    inputs=_two_of_stuff,
    equation=r"c_q = c_r,\ \text{stuff} \;\Rightarrow\; \mathrm{id}_q = \mathrm{id}_r",
    slide=SLIDE,
    hint="Remember the number of the segment of each stuff class, and give it to later queries of that class.",
    mutant=_by_other_rules(fused=lambda label, things, found: False),
)
panoptic_inference.agrees(
    "no object wins",
    "A query whose most probable class is no object is dropped, however probable its best object is.",
    inputs=_without_object,
    equation=r"c_q = \arg\max_{k \in \{1, \dots, K, \varnothing\}} p_q(k) \ne \varnothing",
    slide=SLIDE,
    hint="Take the argmax over all K + 1 classes first; then drop the queries for which it is the last.",
    mutant=_best_object,
)
panoptic_inference.agrees(
    "unsure queries are dropped",
    "A query takes part only if the probability of its class is above the threshold.",
    inputs=_unsure_queries,
    equation=r"p_q(c_q) > \text{threshold}",
    slide=SLIDE,
    hint="Drop these queries before the pixels are given away: they must not win any.",
    mutant=_by_other_rules(kept=_kept_below),
)
panoptic_inference.agrees(
    "class times mask",
    "A pixel goes to the query with the largest product of class and mask probability.",
    inputs=_a_strong_mask,
    equation=WINNER,
    slide=SLIDE,
    hint="A query that is unsure of its class must not win with a strong mask: multiply both probabilities, then argmax.",
    mutant=_by_other_rules(products=_by_mask),
)
panoptic_inference.agrees(
    "hidden segments are dropped",
    "A query that wins too small a part of its own mask is dropped, and its pixels belong to no segment.",
    inputs=_mostly_hidden,
    equation=r"|\text{won}_q| \ge \text{overlap} \cdot |\{m_q \ge \tfrac12\}|",
    slide=SLIDE,
    hint="Compare the number of pixels that the query wins with the number of pixels of its own mask, before others took any.",
    mutant=_by_other_rules(hidden=_never_hidden),
)
panoptic_inference.agrees(
    "nobody inside",
    "A pixel whose winner does not count it to its own mask belongs to no segment.",
    inputs=_nobody_inside,
    equation=r"\mathrm{id}[h, w] \ne 0 \;\Rightarrow\; m_q[h, w] \ge \tfrac12",
    slide=SLIDE,
    hint="Each pixel has a winner, also where all masks are nearly 0: paint only where the winner's own mask is at least 1/2.",
    mutant=_by_other_rules(painted=_all_won),
)
panoptic_inference.agrees(
    "nothing kept",
    "Without any query that is sure of an object, there is no segment: ids are 0, and labels are empty.",
    value=False,  # 0 everywhere
    inputs=_nothing_kept,
    equation=r"\mathrm{id} = 0",
    hint="An argmax over no queries is an error: return zeros before it.",
    mutant=_somebody,
)
panoptic_inference.agrees(
    "numbers without gaps",
    "Segments are numbered 1, 2, ...; a query that gets no pixel has no number.",
    inputs=_hidden_between,
    equation=r"\{\mathrm{id}\} \setminus \{0\} = \{1, \dots, n\}",
    slide=SLIDE,
    hint="Count the segments as you paint them. The number of the query is not the number of the segment.",
    mutant=_with_gaps,
)
_CHANCE = np.random.default_rng()


def _shuffled(*given):
    """The right segments, numbered by chance."""
    ids, labels = _merge(*given)
    order = _CHANCE.permutation(len(labels))
    place = np.concatenate([[0], order.argsort() + 1])
    return place[ids], labels[order]


def _changed_ids(change):
    """The answer with ``change`` applied to the ids."""

    def answer(*given):
        ids, labels = _merge(*given)
        return change(ids), labels

    return answer


index_laws(
    panoptic_inference,
    inputs=lambda draw: _different(draw, count=3),
    shapes=_one_pixel_wide,
    read=lambda f, case: f(case),
    squeezed=_changed_ids(np.squeeze),
    random_ties=_shuffled,
    float_mutant=_changed_ids(lambda ids: ids.astype(np.float64)),
    overwritten="class_logits",
)


def _stuff_is_never_hidden(class_logits, mask_logits, things, threshold, overlap):
    """Stuff that has a segment already is not asked how much of it is hidden."""
    dropped = _merge(class_logits, mask_logits, things, threshold, overlap)
    left = _merge(class_logits, mask_logits, things, threshold, overlap, hidden=_never_hidden)
    classes = dropped[1].tolist()
    alone = dropped[0].copy()
    for number, label in enumerate(left[1].tolist(), start=1):
        if not things[label] and label in classes:
            alone[(left[0] == number) & (alone == 0)] = 1 + classes.index(label)
    return alone, dropped[1]


values(
    panoptic_inference,
    simplest=_few_queries,
    words="three queries, two classes, a few pixels",
    anything=_any_merge,
    hint="Go through the queries one by one: is it kept, which pixels does it win, how many has its own mask, is it dropped, "
    "is it fused? Is the order of these steps the same for stuff and for things?",
    mutant=_stuff_is_never_hidden,
    wrong=_by_other_rules(painted=_all_won),
)
for name, hint, answer in (
    (
        "things fused",
        "You fuse all queries of a class. Only stuff is fused; two things of one class are two segments.",
        _by_other_rules(fused=_always_fused),
    ),
    (
        "stuff counted",
        "You count stuff like things. All queries of a stuff class are one segment.",
        _by_other_rules(fused=lambda label, things, found: False),
    ),
    (
        "the mask alone",
        "Pixels go to the query with the strongest mask. Multiply each mask by the probability of the query's class first.",
        _by_other_rules(products=_by_mask),
    ),
    (
        "the class alone",
        "Each pixel goes to the query that is most certain of its class, whatever its mask says. Multiply by the mask's "
        "probability.",
        _by_other_rules(products=lambda scores, masks: scores[:, None, None] + 0 * masks),
    ),
    (
        "nothing is dropped",
        "You do not compare what a query wins with its own mask: a query that others hide must be dropped.",
        _by_other_rules(hidden=_never_hidden),
    ),
    (
        "every won pixel painted",
        "You paint all pixels that a query wins, also those outside its own mask. Paint only where its mask is at least 1/2.",
        _by_other_rules(painted=_all_won),
    ),
    (
        "no threshold",
        "You keep every query whose best class is an object. Its probability must be above the threshold, too.",
        _by_other_rules(kept=_kept_below),
    ),
    (
        "no object overlooked",
        "You look for the best class among the K objects alone. If no object is more probable, the query is dropped.",
        _best_object,
    ),
    (
        "segments numbered from 0",
        "0 stands for no segment: the first segment has the number 1.",
        _changed_ids(lambda ids: ids - 1),
    ),
    (
        "classes for numbers",
        "You write the class into each pixel. The pixels get the number of their segment; labels says its class.",
        lambda *given: (lambda ids, labels: (np.concatenate([[0], labels + 1])[ids], labels))(*_merge(*given)),
    ),
):  # fmt: skip
    panoptic_inference.mistake(name, hint, answer)
