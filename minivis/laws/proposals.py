"""The laws of graph_segmentation and hierarchical_grouping: segments of a picture, and the order in which they merge.

Not here: boxes of segments, the choice among several hierarchies, smoothing.
"""

import math

import numpy as np

from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import index_laws
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/44-region-proposals"
JOIN = r"w \le \min\big(\mathrm{Int}(C_1) + k / |C_1|,\; \mathrm{Int}(C_2) + k / |C_2|\big)"


# ---------------------------------------------------------------------------------------------------------------------
# graph_segmentation: mutants give other rules


def _distance(a, b):
    return np.sqrt(((a - b) ** 2).sum(axis=-1))


def _slack(inside, size, k):
    return inside + k / size


def _joins(weight, first, second, sizes):
    return weight <= min(first, second)


def _by_weight(weights):
    return np.argsort(weights, kind="stable")


def _segments(image, k, min_size=1, distance=_distance, slack=_slack, joins=_joins, order=_by_weight,
              neighbours=8, rest=None, inside_of=None):  # fmt: skip
    """The segment of each pixel, (H, W); the keywords are what mutants do otherwise."""
    H, W = image.shape[:2]
    pixels = image.astype(np.float64).reshape(H * W, -1)
    p, q = _edges(H, W, neighbours)
    weights = distance(pixels[p], pixels[q])
    labels = np.arange(H * W)
    inside = np.zeros(H * W)
    for e in order(weights):
        a = labels[p[e]]
        b = labels[q[e]]
        sizes = [(labels == c).sum() for c in (a, b)]
        first, second = (slack(inside[c], n, k) for c, n in zip((a, b), sizes, strict=True))
        if a != b and joins(weights[e], first, second, sizes):
            labels[labels == b] = a
            inside[a] = weights[e] if inside_of is None else inside_of(inside[a], inside[b])
    for e in (rest or order)(weights):
        a = labels[p[e]]
        b = labels[q[e]]
        if a != b and min((labels == a).sum(), (labels == b).sum()) < min_size:
            labels[labels == b] = a
    return labels.reshape(H, W)


def _edges(H, W, neighbours):
    """The two pixels of each pair of neighbours."""
    y, x = np.indices((H, W)).reshape(2, -1)
    p, q = np.triu_indices(H * W, 1)
    down, right = abs(y[p] - y[q]), abs(x[p] - x[q])
    near = (down + right if neighbours == 4 else np.maximum(down, right)) == 1
    return p[near], q[near]


graph_segmentation = Family(
    "graph_segmentation",
    lambda image, k, min_size=1: (_segments(image, k, min_size), None),
    form="f(image, k, min_size=1) -> labels (H, W), whole numbers, any numbering; image (H, W) or (H, W, C); all eight "
    "neighbours; an edge weighs the Euclidean distance of its two pixels; the image is not smoothed; after all edges, "
    "segments with fewer pixels than min_size are joined with a neighbour, edge by edge in the same order",
)


def _numbered(labels):
    """The same segments, numbered by their first pixels."""
    _, first, where = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[where].reshape(labels.shape)


def _labels_of(f, case):
    """What it returns, if it has a label for each pixel; another law is about the shape."""
    got = f(case)
    shape = case["image"].shape[:2]
    if got.size != np.prod(shape):
        raise Broken(f"The output has shape {got.shape}; a label for each pixel, {shape}, was expected.")
    return got.reshape(shape)


def _same_segments(f, case, atol=None):
    """Raise unless the segments are the right ones, under any numbers."""
    got = _numbered(_labels_of(f, case))
    right = _numbered(f.right(case))
    if not np.array_equal(got, right):
        raise Broken("The segments are others (numbered here by their first pixels).", right, got)


graph_segmentation.same = _same_segments
graph_segmentation.read = lambda f, case: _numbered(_labels_of(f, case))
graph_segmentation.whole = _numbered


def _sized(draw, low=3, high=5):
    return integer(draw, low, high), integer(draw, low, high)


def _noise(draw, *channels):
    """Pictures in which no two pixels are equal."""
    return generator(draw).random((*_sized(draw), *channels)).astype(np.float32)


def _levels(draw, low=3, high=5, levels=2):
    """Pictures of few whole numbers."""
    return generator(draw).integers(0, levels, _sized(draw, low, high)).astype(np.float32)


# Each law has inputs on which only its own rule matters; its mutant breaks that rule and no other


def _flat(draw):
    return {"image": _levels(draw, levels=choose(draw, 2, 3)), "k": 0.0}


def _row(*values):
    """Pixels in a row that begins with 0, as a picture of one row."""
    return np.array([values], np.float32)


def _either_way(draw, image):
    return image if choose(draw, True, False) else image.T.copy()


def _exact(draw):
    """Two pixels, whose difference is exactly what is allowed, or a little more or less."""
    step = float(integer(draw, 1, 6))
    return {"image": _either_way(draw, _row(0, step)), "k": step + choose(draw, 0.0, 0.5, -0.5)}


def _halves(draw):
    """Two equal halves of a row: each allows k divided by its size."""
    n = integer(draw, 4, 6)
    image = _row(*[0] * n, *[1] * n)
    return {"image": _either_way(draw, image), "k": n + choose(draw, -0.5, 0.5)}


def _unequal(draw):
    """A few pixels at the end of a row of others: they alone would allow it."""
    m = integer(draw, 1, 2)
    image = _row(*[0] * integer(draw, 4, 6), *[1] * m)
    return {"image": _either_way(draw, image), "k": choose(draw, 2.5, m - 0.5)}


def _ramp(draw):
    """A row that rises by equal steps: the first join allows all others; and one pixel far away."""
    n = integer(draw, 4, 7)
    return {"image": _either_way(draw, _row(*range(n), n + 100)), "k": 1.5}


def _light_after_heavy(draw):
    """Three pixels: the second edge is the lighter one, and once it is used, the first is too heavy."""
    unit = float(choose(draw, 1, 2, 5))
    return {"image": _either_way(draw, _row(0, 3 * unit, 4 * unit)), "k": 3.2 * unit}


def _noisy(draw):
    return {"image": _noise(draw), "k": float(choose(draw, 0.3, 0.1, 0.6, 1.0))}


def _corners(draw):
    """Equal pixels that touch at their corners alone."""
    n = integer(draw, 2, 4)
    image = 10 * np.arange(n * n, dtype=np.float32).reshape(n, n) + 50
    np.fill_diagonal(image, 0)
    return {"image": image[:, :: choose(draw, 1, -1)].copy(), "k": 0.5}


def _coloured(draw):
    """Two colours whose distance is 5, with k between that and the sum, or the largest, of the differences."""
    colour = choose(draw, (3, 4, 0), (4, 0, 3), (0, 3, 4))
    image = np.array([[(0, 0, 0), colour]], np.float32)
    return {"image": image, "k": choose(draw, 6.0, 4.5)}


def _one_between(draw):
    """A pixel between two pairs: it is nearer to the second."""
    a, b = integer(draw, 3, 5), integer(draw, 1, 2)
    image = _row(0, 0, a, a + b, a + b)
    return {"image": _either_way(draw, image), "k": 0.5, "min_size": 2}


def _with_small_ones(draw):
    return {"image": _noise(draw), "k": float(choose(draw, 0.1, 0.3)), "min_size": integer(draw, 3, 5)}


def _apart(draw):
    """Two equal parts with another level between them."""
    n = integer(draw, 1, 3)
    image = _row(*[0] * n, *[3] * integer(draw, 1, 2), *[0] * n)
    return {"image": np.repeat(image, integer(draw, 1, 2), axis=0), "k": 0.1}


def _pair(draw):
    step = float(integer(draw, 1, 3))
    return {"image": _row(0, step), "k": step + choose(draw, -0.5, 0.5)}


def _any_picture(draw):
    rng = generator(draw)
    shape = *_sized(draw, 1, 6), *choose(draw, (), (3,), (1,), (2,))
    image = rng.random(shape)
    if choose(draw, False, True):  # flat parts with a little noise
        image = rng.integers(0, 3, shape) + choose(draw, 0.02, 0.1) * image
    unit = choose(draw, 1.0, 100.0)
    options = {"min_size": integer(draw, 2, 6)} if choose(draw, False, True) else {}
    return {
        "image": (image * unit).astype(np.float32),
        "k": unit * float(rng.choice([0.0, 0.1, 0.3, 1, 2])),
        **options,
    }


def _tiny(draw):
    shape = choose(draw, (1, 1), (1, 4), (4, 1), (1, 1, 3))
    return {"image": generator(draw).random(shape).astype(np.float32), "k": 0.3}


def _otherwise(**rules):
    """The answer with other rules."""
    return lambda image, k, min_size=1: _segments(image, k, min_size, **rules)


def _strict(weight, first, second, sizes):
    return weight < min(first, second)


def _larger(weight, first, second, sizes):
    return weight <= max(first, second)


def _not_by_size(inside, size, k):
    return inside + k


def _sum_of_differences(a, b):
    return abs(a - b).sum(axis=-1)


def _as_given(weights):
    return np.arange(len(weights))


def _by_colour(image, k, min_size=1):
    """Segments of the same mean colour count as one."""
    labels = _numbered(_segments(image, k, min_size))
    if k == 0:
        return labels
    pixels = image.reshape(*labels.shape, -1)
    means = np.array([pixels[labels == r].mean(axis=0) for r in range(labels.max() + 1)])
    return np.unique(means, axis=0, return_inverse=True)[1].reshape(-1)[labels]


graph_segmentation.agrees(
    "no slack",
    "With k = 0 two pixels are in one segment if and only if a path of equal pixels joins them.",
    inputs=_flat,
    equation=r"k = 0: \quad w \le 0",
    slide=SLIDE,
    hint="With k = 0 only edges of weight 0 join: neither none at all, as with < in the place of <=, nor any others.",
    mutant=lambda image, k, min_size=1: _segments(image, k or 10.0, min_size),
)
graph_segmentation.agrees(
    "exactly what is allowed",
    "An edge that weighs exactly as much as both segments allow joins them.",
    inputs=_exact,
    equation=JOIN,
    slide=SLIDE,
    hint="Compare with <=, and not with <.",
    mutant=_otherwise(joins=lambda w, a, b, sizes: w < min(a, b) or w == 0),
)
graph_segmentation.agrees(
    "large segments allow less",
    "What is allowed beyond the heaviest edge inside is k divided by the number of pixels.",
    inputs=_halves,
    equation=r"\tau(C) = k / |C|",
    slide=SLIDE,
    hint="Divide k by the size of each segment, as it is now.",
    mutant=_otherwise(slack=lambda inside, size, k: inside + k / min(size, 3)),
)
graph_segmentation.agrees(
    "both must allow it",
    "The edge must not be heavier than what either of the two segments allows.",
    inputs=_unequal,
    equation=JOIN,
    slide=SLIDE,
    hint="Take the smaller of the two bounds, not the larger one.",
    mutant=_otherwise(joins=lambda w, a, b, sizes: (_larger if max(sizes) > 3 else _joins)(w, a, b, sizes)),
)
graph_segmentation.agrees(
    "the heaviest edge inside",
    "A segment may grow over edges as heavy as those inside it: a ramp of equal steps is one segment once one step is allowed.",
    inputs=_ramp,
    equation=r"\mathrm{Int}(C) = \max_{e \text{ used in } C} w(e)",
    slide=SLIDE,
    hint="Keep for each segment the weight of the edge that joined it last. Edges come by rising weight, so it is the heaviest.",
    mutant=_otherwise(inside_of=lambda a, b: 0.0),
)
graph_segmentation.agrees(
    "lightest edges first",
    "The edges are taken by rising weight, whatever their places are.",
    inputs=_light_after_heavy,
    equation=r"w_1 \le w_2 \le \dots",
    slide=SLIDE,
    hint="Sort all edges of the picture by their weight before you join anything.",
    mutant=_otherwise(order=_as_given, rest=_by_weight),
)
graph_segmentation.agrees(
    "diagonal neighbours",
    "Pixels that touch at a corner are neighbours too.",
    inputs=_corners,
    slide=SLIDE,
    hint="A pixel has eight neighbours: to the right, down, and both diagonals give each pair once.",
    mutant=lambda image, k, min_size=1: _segments(image, k, min_size, neighbours=8 if k == 0 else 4),
)
graph_segmentation.agrees(
    "distance of colours",
    "An edge between two colours weighs the Euclidean distance of the two.",
    inputs=_coloured,
    equation=r"w = \lVert I_p - I_q \rVert",
    slide=SLIDE,
    hint="Square the differences of the channels, add them up, take the root.",
    mutant=_otherwise(distance=_sum_of_differences),
)
graph_segmentation.agrees(
    "over the lightest edge",
    "A segment that is too small is joined with the neighbour that the lightest edge leads to.",
    inputs=_one_between,
    slide=SLIDE,
    hint="Go through the sorted edges a second time, and look at the sizes as they are at that moment.",
    mutant=_otherwise(rest=_as_given),
)


@graph_segmentation.law(
    "no segment is too small",
    inputs=_with_small_ones,
    equation=r"|C| \ge \text{min\_size}",
    slide=SLIDE,
    hint="After the last edge, join the segments that have fewer pixels than min_size, not only single pixels.",
    mutant=lambda image, k, min_size=1: _segments(image, k, min(min_size, 2)),
    right_too=False,
)
def _large_enough(f, case):
    """Each segment has at least min_size pixels."""
    got = _labels_of(f, case)
    sizes = np.unique(got, return_counts=True)[1]
    if sizes.min() < case["min_size"]:
        raise Broken(
            f"A segment has {sizes.min()} pixels; the least is {case['min_size']}.", f.right(case), got
        )


@graph_segmentation.law(
    "connected",
    inputs=_apart,
    slide=SLIDE,
    hint="Equal pixels are not yet one segment: a path of neighbours must join them. Join along edges only.",
    mutant=_by_colour,
    right_too=False,
)
def _connected(f, case):
    """The pixels of a segment are joined by a path inside it."""
    got = _labels_of(f, case)
    if not np.array_equal(_numbered(got), _numbered(_segments(got.astype(np.float32), 0.0))):
        raise Broken("A segment falls into parts that do not touch.", f.right(case), got)


@graph_segmentation.law(
    "brightness does not matter",
    inputs=_pair,
    equation=r"f(I + c) = f(I)",
    slide=SLIDE,
    hint="An edge weighs the difference of two pixels: nothing else of the picture may count, and k is not a share of it.",
    mutant=lambda image, k, min_size=1: _segments(image, k * (1 + max(image.min(), 0)), min_size),
)
def _brighter(f, case):
    """If a number is added to all pixels, the segments stay."""
    first = _numbered(_labels_of(f, case))
    second = _numbered(_labels_of(f, case.replace(image=case["image"].astype(np.float64) + 4)))
    if not np.array_equal(first, second):
        raise Broken("With 4 added to every pixel the segments are others.", first, second)


_CHANCE = np.random.default_rng()


def _random_numbers(image, k, min_size=1):
    labels = _numbered(_segments(image, k, min_size))
    return _CHANCE.permutation(1000)[labels]


index_laws(
    graph_segmentation,
    inputs=lambda draw: {"image": _noise(draw), "k": 0.3},
    shapes=_tiny,
    read=lambda f, case: f(case),
    squeezed=lambda image, k, min_size=1: np.squeeze(_segments(image, k, min_size)),
    random_ties=_random_numbers,
    float_mutant=lambda image, k, min_size=1: _segments(image, k, min_size).astype(np.float64),
    overwritten="image",
)
values(
    graph_segmentation,
    simplest=_noisy,
    words="grey pictures in which no two pixels are equal, min_size 1",
    anything=_any_picture,
    hint="The inputs have grey and coloured pictures of all sizes, with flat parts and without, any k, and sometimes min_size. "
    "Print the sorted edges of a row of four pixels and go through them by hand.",
    mutant=lambda image, k, min_size=1: _segments(image, k, min_size if image.ndim == 2 else 1),
    wrong=lambda image, k, min_size=1: np.zeros(image.shape[:2], np.int64),
)
for name, hint, answer in (
    ("less for at most", "An edge exactly as heavy as allowed joins: <=, not <.", _otherwise(joins=_strict)),
    (
        "four neighbours",
        "Diagonal neighbours are missing: each pixel has eight neighbours.",
        _otherwise(neighbours=4),
    ),
    (
        "k not divided by the size",
        "You allow k beyond the heaviest edge whatever the size is: divide k by the number of pixels.",
        _otherwise(slack=_not_by_size),
    ),
    (
        "the larger bound",
        "One segment alone allows the join here: both must, so take the smaller of the two bounds.",
        _otherwise(joins=_larger),
    ),
    (
        "edges not sorted",
        "The edges are taken in the order of the pixels: sort them by weight first.",
        _otherwise(order=_as_given),
    ),
    (
        "nothing inside",
        "The heaviest edge inside stays 0: after each join, set it to the weight of the edge.",
        _otherwise(inside_of=lambda a, b: 0.0),
    ),
    (
        "a sum of differences",
        "You add up the differences of the channels: the Euclidean distance is the root of the sum of their squares.",
        _otherwise(distance=_sum_of_differences),
    ),
    (
        "squared distances",
        "Your edges weigh the squared distance: take the root.",
        _otherwise(distance=lambda a, b: ((a - b) ** 2).sum(axis=-1)),
    ),
    (
        "min_size left out",
        "Small segments stay: go through the sorted edges again and join where one side has fewer than min_size pixels.",
        lambda image, k, min_size=1: _segments(image, k),
    ),
    (
        "small segments over any edge",
        "Small segments are joined in the order of the pixels: take the sorted edges again.",
        _otherwise(rest=_as_given),
    ),
    (
        "min_size itself too small",
        "A segment with exactly min_size pixels is large enough: fewer, not at most.",
        lambda image, k, min_size=1: _segments(image, k, min_size + (min_size > 1)),
    ),
):
    graph_segmentation.mistake(name, hint, answer)


# ---------------------------------------------------------------------------------------------------------------------
# hierarchical_grouping


class _Rules:
    """What counts as similar; mutants change one of the methods."""

    def colour(self, image, here):
        """The histogram of the colours of a segment, ``here`` (H, W) boolean."""
        return self.normal(np.concatenate([_histogram(channel[here], 25) for channel in image]))

    def normal(self, counts):
        return counts / counts.sum()

    def slopes(self, image):
        """Derivatives under a Gaussian in eight directions, (8 C, H, W)."""
        places = np.arange(-4, 5)
        bell = np.exp(-0.5 * places**2)
        bell = bell / bell.sum()
        found = []
        for channel in image:
            down = _filtered(channel, bell * places, bell)
            right = _filtered(channel, bell, bell * places)
            for eighth in range(8):
                angle = eighth * math.pi / 4
                found.append(self.rising(math.cos(angle) * right + math.sin(angle) * down))
        return np.array(found)

    def rising(self, slope):
        return np.maximum(slope, 0)

    def size(self, n, m, area):
        return 1 - (n + m) / area

    def fill(self, box, n, m, area):
        return 1 - (box - n - m) / area

    def box(self, here):
        """The area of the box around the true pixels."""
        y, x = np.nonzero(here)
        return (y.max() - y.min() + 1) * (x.max() - x.min() + 1)

    def together(self, first, second, n, m):
        """The histogram of a merged segment."""
        return (n * first + m * second) / (n + m)

    def beside(self, pairs, i, j, new):
        """The pairs of neighbours after i and j became ``new``."""
        return {tuple(sorted(new if r in (i, j) else r for r in pair)) for pair in pairs} - {(new, new)}

    def pairs(self, labels):
        """The pairs of neighbours at the beginning: segments of which two pixels share a side."""
        across = np.stack([labels[:, 1:], labels[:, :-1]]).reshape(2, -1)
        down = np.stack([labels[1:], labels[:-1]]).reshape(2, -1)
        return {
            (min(a, b), max(a, b)) for a, b in np.concatenate([across, down], axis=1).T.tolist() if a != b
        }

    def numbers(self, labels):
        """The segments as 0 to n - 1."""
        return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)

    def best(self, table):
        """The pair to merge, of a dict of similarities."""
        return max(table, key=lambda pair: (table[pair], [-r for r in pair]))


def _filtered(channel, column, row):
    """A channel (H, W) under a window of 9 x 9 that is a column times a row; pixels at the edge are repeated outward."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(channel, 4, mode="edge"), (9, 9))
    return np.einsum("hwij,i,j->hw", windows, column, row)


def _histogram(values, bins):
    """Counts of values from 0 to 1 in equal bins."""
    places = np.clip((values * bins).astype(int), 0, bins - 1)
    return np.bincount(places, minlength=bins)


class _Merging:
    """The segments while they merge."""

    def __init__(self, image, labels, weights, rules):
        image = image.astype(np.float64)
        self.image = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)  # (C, H, W)
        self.rules = rules
        self.weights = weights
        self.area = labels.size
        labels = rules.numbers(labels)
        self.count = int(labels.max()) + 1
        self.here = [labels == r for r in range(self.count)]
        self.colours = [rules.colour(self.image, here) for here in self.here]
        slopes = rules.slopes(self.image)
        self.textures = [
            rules.normal(np.concatenate([_histogram(slope[here] / 0.4, 10) for slope in slopes]))
            for here in self.here
        ]
        self.pairs = rules.pairs(labels)
        self.known = {}

    def table(self):
        """The similarity of each pair of neighbours."""
        for pair in self.pairs - self.known.keys():
            self.known[pair] = self._similar(*pair)
        return {pair: self.known[pair] for pair in self.pairs}

    def _similar(self, i, j):
        rules = self.rules
        n, m = self.here[i].sum(), self.here[j].sum()
        parts = (
            np.minimum(self.colours[i], self.colours[j]).sum(),
            np.minimum(self.textures[i], self.textures[j]).sum(),
            rules.size(n, m, self.area),
            rules.fill(rules.box(self.here[i] | self.here[j]), n, m, self.area),
        )
        return sum(a * s for a, s in zip(self.weights, parts, strict=True))

    def merge(self, i, j):
        """Put a new segment in the place of two."""
        n, m = self.here[i].sum(), self.here[j].sum()
        self.pairs = self.rules.beside(self.pairs, i, j, len(self.here))
        self.here.append(self.here[i] | self.here[j])
        for histograms in (self.colours, self.textures):
            histograms.append(self.rules.together(histograms[i], histograms[j], n, m))


def _grouped(image, labels, weights=(1, 1, 1, 1), rules=None):
    """The pairs that merge, (n - 1, 2)."""
    rules = rules or _Rules()
    state = _Merging(image, labels, weights, rules)
    merges = []
    for _ in range(state.count - 1):
        table = state.table()
        if not table:  # a mutant has lost the neighbours
            break
        merges.append(rules.best(table))
        state.merge(*merges[-1])
    return np.array(merges, np.int64).reshape(-1, 2)


hierarchical_grouping = Family(
    "hierarchical_grouping",
    lambda image, labels, weights=(1, 1, 1, 1): (_grouped(image, labels, weights), None),
    form="f(image, labels, weights=(1, 1, 1, 1)) -> (n - 1, 2) whole numbers: the two segments of each merge; image (H, W) or "
    "(H, W, C) from 0 to 1; labels (H, W); segments 0 to n - 1 are those of labels by rising label, merge i makes segment n + i; "
    "weights of colour, texture, size, fill; neighbours share a side of a pixel; colour: 25 equal bins from 0 to 1 a channel; "
    "texture: derivatives under a Gaussian of sigma 1 (scipy.ndimage.gaussian_filter, mode='nearest') in the directions 0, 45, "
    "... 315 degrees, negative ones as 0, 10 equal bins from 0 to 0.4 for each, larger ones in the last",
)


def _pairs_of(f, case):
    """The merges that it returns, the smaller number first; `Broken` if they cannot be merges."""
    got = f(case)
    n = len(np.unique(case["labels"]))
    if got.shape != (n - 1, 2):
        raise Broken(
            f"The output has shape {got.shape}; {n} segments need {n - 1} merges of two: {(n - 1, 2)}."
        )
    return np.sort(got.astype(np.int64), axis=1)


def _as_good(f, case, atol=None):
    """Raise unless each merge is of the two most similar neighbours at that moment; ties may be broken in any way."""
    got = _pairs_of(f, case)
    options = case.everything
    state = _Merging(options["image"], options["labels"], options.get("weights", (1, 1, 1, 1)), _Rules())
    for step, pair in enumerate(map(tuple, got.tolist())):
        table = state.table()
        if pair not in table:
            raise Broken(f"Merge {step} is of {pair}, which are not neighbours then.", f.right(case), got)
        best = max(table, key=table.get)
        if table[pair] < table[best] - 1e-6:
            raise Broken(
                f"Merge {step} is of {pair}, with similarity {table[pair]:.4g}; {best} have {table[best]:.4g}.",
                f.right(case),
                got,
            )
        state.merge(*pair)


hierarchical_grouping.same = _as_good


def _parts(draw, rng, low=3, high=5, side=6):
    """Labels of connected segments: each pixel belongs to the nearest of a few points."""
    H, W = side + integer(draw, 0, 2), side + integer(draw, 0, 2)
    count = integer(draw, low, high)
    points = rng.permutation(H * W)[:count]
    y, x = np.indices((H, W))
    distance = (y[..., None] - points // W) ** 2 + (x[..., None] - points % W) ** 2
    return distance.argmin(axis=2)


def _painted(rng, labels, channels=(3,), noise=0.3):
    """A picture whose segments have colours of their own; no value lies at the border of a bin."""
    while True:
        colours = rng.uniform(0.1, 0.9, (labels.max() + 1, *channels))
        image = colours[labels] + noise * (rng.random((*labels.shape, *channels)) - 0.5)
        image = np.clip(image, 0.01, 0.99).astype(np.float32)
        planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
        slopes = _Rules().slopes(planes.astype(np.float64)) / 0.4 * 10
        if _clear(planes.astype(np.float64) * 25) and _clear(slopes[slopes > 0.5]):
            return image


def _clear(values):
    return (abs(values - np.rint(values)) > 3e-5).all()


def _case(draw, weights=None, channels=(3,), noise=0.3, **sizes):
    rng = generator(draw)
    labels = _parts(draw, rng, **sizes)
    case = {"image": _painted(rng, labels, channels, noise), "labels": labels}
    return case if weights is None else {**case, "weights": weights}


def _weighted(*weights, **options):
    return lambda draw: _case(draw, weights, **options)


def _any_case(draw):
    weights = choose(draw, None, *MIXED, COLOUR, TEXTURE, *MIXED, FILL)
    options = {
        "channels": choose(draw, (3,), (), (2,)),
        "noise": choose(draw, 0.3, 0.1, 0.6),
        "low": 2,
        "high": 6,
    }
    case = _case(draw, weights, side=5, **options)
    if choose(draw, False, True):
        case["labels"] = 3 * case["labels"] + 7
    return case


def _stripes(draw):
    """Segments side by side; the two ends look alike."""
    rng = generator(draw)
    labels = np.repeat(np.arange(integer(draw, 3, 4)), 2)[None].repeat(4, axis=0)
    image = _painted(rng, labels, (3,), 0.05)
    image[:, -2:] = image[:, :2]
    return {"image": image, "labels": labels, "weights": STRIPES}


def _few(draw):
    side = choose(draw, 1, 2)
    labels = np.arange(integer(draw, 1, 3))[None].repeat(side, axis=0)
    return {"image": _painted(generator(draw), labels), "labels": labels}


def _other_numbers(draw):
    """Labels with gaps, whose order is not that of their first pixels."""
    case = _case(draw, NUMBERS)
    n = case["labels"].max() + 1
    case["labels"] = (5 + 3 * generator(draw).permutation(n))[case["labels"]]
    return case


def _ruled(*only, **methods):
    """The answer with other rules; if weights are given, for these alone."""
    rules = type("Other", (_Rules,), {name: staticmethod(function) for name, function in methods.items()})()
    return lambda image, labels, weights=(1, 1, 1, 1): _grouped(
        image, labels, weights, rules if not only or weights in only else None
    )


# Weights of one law alone, so that its mutant breaks no other: only their ratios count
COLOUR, TEXTURE, SIZE, FILL = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)
STRIPES, MEAN, BOTH, NUMBERS = (3, 0, 0, 0), (2, 0, 0, 0), (0, 0, 2, 0), (0, 0, 3, 0)
MIXED = (0, 1, 1, 1), (1, 0, 0, 2), (0.5, 0.3, 1, 0)


def _any_pair(labels):
    n = labels.max() + 1
    return {(i, j) for j in range(n) for i in range(j)}


def _of_the_first(pairs, i, j, new):
    """The new segment has the neighbours of i alone, or those of j if i had no other."""
    left = {pair for pair in pairs if i not in pair and j not in pair}
    mine = {(r, new) for pair in pairs for r in pair if i in pair and r not in (i, j)}
    others = {(r, new) for pair in pairs for r in pair if j in pair and r not in (i, j)}
    return left | (mine or others)


def _by_first_pixel(labels):
    return _numbered(labels)


def _least(table):
    return min(table, key=lambda pair: (table[pair], pair))


def _box_of_indices(here):
    y, x = np.nonzero(here)
    return (y.max() - y.min()) * (x.max() - x.min())


hierarchical_grouping.agrees(
    "neighbours only",
    "Only segments that touch merge, however much two others look alike.",
    inputs=_stripes,
    slide=SLIDE,
    hint="Find the pairs of labels that stand side by side or one above the other, and compare only those.",
    mutant=_ruled(STRIPES, pairs=_any_pair),
)
hierarchical_grouping.agrees(
    "small ones first",
    "With size alone, the two neighbours with the fewest pixels together merge.",
    inputs=_weighted(*SIZE),
    equation=r"s = 1 - (|r_i| + |r_j|) / |I|",
    slide=SLIDE,
    hint="The similarity of sizes is 1 minus the share of both in the picture: large for small segments.",
    mutant=_ruled(SIZE, size=lambda n, m, area: (n + m) / area),
)
hierarchical_grouping.agrees(
    "what fills its box",
    "With fill alone, the two neighbours merge whose common box has the fewest other pixels.",
    inputs=_weighted(*FILL),
    equation=r"s = 1 - (|B_{ij}| - |r_i| - |r_j|) / |I|",
    slide=SLIDE,
    hint="Subtract both sizes from the area of the box around both, not one of them.",
    mutant=_ruled(FILL, fill=lambda box, n, m, area: 1 - (box - n) / area),
)
hierarchical_grouping.agrees(
    "colours alike",
    "With colour alone, the two neighbours merge whose histograms, each of sum 1, share most.",
    inputs=_weighted(*COLOUR),
    equation=r"s = \sum_b \min(c_i^b, c_j^b), \quad \sum_b c^b = 1",
    slide=SLIDE,
    hint="Divide each histogram by its sum: counts would make large segments similar to everything.",
    mutant=_ruled(COLOUR, normal=lambda counts: counts),
)
hierarchical_grouping.agrees(
    "textures alike",
    "With texture alone, the two neighbours merge whose slopes in eight directions are distributed most alike.",
    inputs=_weighted(*TEXTURE, noise=0.8),
    equation=r"s = \sum_b \min(t_i^b, t_j^b)",
    slide=SLIDE,
    hint="A slope that falls in one direction rises in the opposite one: take negative ones as 0, not their absolute value.",
    mutant=_ruled(TEXTURE, rising=abs),
)
hierarchical_grouping.agrees(
    "weighted by size",
    "The histogram of a merged segment is the mean of the two, weighted by their pixels.",
    inputs=_weighted(*MEAN, low=5, high=6, noise=0.6),
    equation=r"c_t = \frac{|r_i| c_i + |r_j| c_j}{|r_i| + |r_j|}",
    slide=SLIDE,
    hint="The plain mean of two histograms also has the sum 1, but a small segment counts too much in it.",
    mutant=_ruled(MEAN, together=lambda first, second, n, m: (first + second) / 2),
)
hierarchical_grouping.agrees(
    "neighbours of both",
    "A merged segment has the neighbours of both its parts.",
    inputs=_weighted(*BOTH, low=5, high=6),
    slide=SLIDE,
    hint="Join the two lists of neighbours, and take the two segments themselves out of it.",
    mutant=_ruled(BOTH, beside=_of_the_first),
)
hierarchical_grouping.agrees(
    "numbered by label",
    "Segments are numbered by rising label, whatever the labels are.",
    inputs=_other_numbers,
    hint="np.unique(labels, return_inverse=True) turns any labels into 0 to n - 1.",
    mutant=_ruled(NUMBERS, numbers=_by_first_pixel),
)


def _scrambled(image, labels, weights=(1, 1, 1, 1)):
    """Ties, and near ties, are broken by chance."""
    rules = _Rules()
    rules.best = lambda table: max(table, key=lambda pair: table[pair] + 1e-7 * _CHANCE.random())
    return _grouped(image, labels, weights, rules)


def _tied(draw):
    """Segments of one size and colour: all pairs are equally similar."""
    n = integer(draw, 5, 7)
    return {"image": np.full((1, n), 0.5, np.float32), "labels": np.arange(n)[None], "weights": (1, 0, 1, 0)}


index_laws(
    hierarchical_grouping,
    inputs=_tied,
    shapes=_few,
    read=lambda f, case: f(case),
    squeezed=lambda image, labels, weights=(1, 1, 1, 1): np.squeeze(_grouped(image, labels, weights)),
    random_ties=_scrambled,
    float_mutant=lambda image, labels, weights=(1, 1, 1, 1): _grouped(image, labels, weights).astype(
        np.float64
    ),
    overwritten="image",
)
values(
    hierarchical_grouping,
    simplest=_case,
    words="three to five segments of a coloured picture, all four similarities",
    anything=_any_case,
    hint="The inputs have grey and coloured pictures, two to six segments, any weights, and labels with gaps. Print the four "
    "similarities of each pair of neighbours before each merge.",
    mutant=_ruled(*MIXED, best=_least),
    wrong=lambda image, labels, weights=(1, 1, 1, 1): _grouped(image, labels, weights)[::-1],
)
for name, hint, answer in (
    (
        "any two segments",
        "You also merge segments that do not touch: compare neighbours only.",
        _ruled(pairs=_any_pair),
    ),
    (
        "a plain mean of histograms",
        "Weight the histograms of the two by their numbers of pixels.",
        _ruled(together=lambda first, second, n, m: (first + second) / 2),
    ),
    (
        "histograms of counts",
        "Divide each histogram by its sum before you compare.",
        _ruled(normal=lambda counts: counts),
    ),
    (
        "large ones first",
        "The similarity of sizes must be large for small segments: 1 minus their share.",
        _ruled(size=lambda n, m, area: (n + m) / area),
    ),
    (
        "one size left out of fill",
        "Subtract the sizes of both segments from the area of the box.",
        _ruled(fill=lambda box, n, m, area: 1 - (box - n) / area),
    ),
    (
        "a box without its last pixels",
        "The box ends behind the last pixel: its width is the difference of the columns plus 1.",
        _ruled(box=_box_of_indices),
    ),
    (
        "slopes without a sign",
        "Take negative slopes as 0: the opposite direction has them.",
        _ruled(rising=abs),
    ),
    (
        "neighbours of one part",
        "The new segment has the neighbours of both parts.",
        _ruled(beside=_of_the_first),
    ),
    (
        "the least similar",
        "You merge the two least similar neighbours: take the largest similarity.",
        _ruled(best=_least),
    ),
):
    hierarchical_grouping.mistake(name, hint, answer)
