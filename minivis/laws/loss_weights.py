"""The laws of border_weights, U-Net's weights of the pixels in its loss.

Not here: the loss itself, and weights of the classes that are given.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "C/87-unet"
WEIGHT = r"w = w_c + w_0 \exp\left(-\frac{(d_1 + d_2)^2}{2 \sigma^2}\right)"


def _distances(labels, norm=np.hypot):
    """For each object the distance of every pixel to its nearest pixel, (n, H, W)."""
    rows, columns = np.indices(labels.shape)
    found = []
    for number in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == number)
        found.append(norm(rows[..., None] - y, columns[..., None] - x).min(axis=-1))
    return np.array(found).reshape(-1, *labels.shape)


def _balance(labels):
    """The weight of each pixel's class: N / (K n), for n of N pixels and K classes that occur."""
    thing = labels > 0
    classes = int(thing.any()) + int((~thing).any())
    return labels.size / (classes * np.where(thing, thing.sum(), (~thing).sum()))


def _border_weights(labels, w0=10.0, sigma=5.0):
    distances = np.sort(_distances(labels), axis=0)
    weights = _balance(labels)
    if len(distances) > 1:
        weights = weights + w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return weights.astype(np.float32), None


border_weights = Family(
    "border_weights",
    _border_weights,
    form="f(labels, w0=10.0, sigma=5.0) -> (H, W) float32; labels (H, W) whole numbers, 0 the ground, 1, 2, ... the objects; "
    "a class (ground, objects) with n of the N pixels weighs N / (2 n), or 1 if it is alone; distances from pixel to pixel",
)


# Objects are columns of pixels, so that all distances are horizontal, and their numbers are 1, 2, ..., unless a law is
# about that


def _columns(draw, count=2):
    """Columns of one pixel's width with gaps of one to three pixels; of three, the last is further away."""
    gaps = [integer(draw, 1, 3) for _ in range(count - 1)]
    places = np.cumsum([integer(draw, 0, 1), *(gap + 1 for gap in gaps)])
    labels = np.zeros((integer(draw, 2, 3), places[-1] + 1 + integer(draw, 0, 1)), np.int64)
    labels[:, places] = 1 + generator(draw).permutation(count)
    return {"labels": labels}


def _pair_of_columns(draw):
    return _columns(draw)


def _three_columns(draw):
    return _columns(draw, 3)


def _with_sigma(draw):
    return {**_columns(draw), "sigma": choose(draw, 2.0, 1.0, 10.0)}


def _one_object(draw):
    labels = np.zeros((integer(draw, 2, 4), integer(draw, 2, 4)), np.int64)
    labels[0, : integer(draw, 1, labels.shape[1])] = 1
    return {"labels": labels}


def _classes_alone(draw):
    return {**_one_object(draw), "w0": 0.0}


def _apart_along_both_axes(draw):
    down, right = integer(draw, 1, 3), integer(draw, 1, 3)
    labels = np.zeros((down + 2, right + 2), np.int64)
    labels[0, 0], labels[down + 1, right + 1] = 1, 2
    return {"labels": labels}


def _other_numbers(draw):
    case = _columns(draw)
    numbers = np.array([0, choose(draw, 3, 8), 5])
    return {"labels": numbers[case["labels"]]}


def _any_labels(draw, low=1, high=6):
    """Rectangles over one another; now and then no ground, or no objects."""
    rng = generator(draw)
    H, W = integer(draw, low, high), integer(draw, low, high)
    labels = np.zeros((H, W), np.int64)
    for number in rng.permutation(9)[: integer(draw, 0, 4)] + 1:
        top, left = rng.integers(H), rng.integers(W)
        labels[top : top + rng.integers(1, 4), left : left + rng.integers(1, 4)] = number
    if rng.random() < 0.15:
        labels[labels == 0] = 1 + rng.integers(9)
    return labels


def _anything(draw):
    options = {"w0": choose(draw, 10.0, 1.0, 5.0), "sigma": choose(draw, 5.0, 2.0, 1.0)}
    return {"labels": _any_labels(draw), **without_defaults(options, w0=10.0, sigma=5.0)}


def _any_shape(draw):
    return {"labels": _any_labels(draw, 1, 2)}


def _with(balance=_balance, measure=None, added=None, norm=np.hypot):
    """A mutant: ``balance(labels)``, what the exponent squares ``measure(sorted distances)``, ``added(what, labels)``."""

    def mutant(labels, w0=10.0, sigma=5.0):
        distances = np.sort(_distances(labels, norm), axis=0)
        weights = balance(labels)
        squared = (measure or _sum_squared)(distances) if len(distances) else None
        if squared is not None:
            more = w0 * np.exp(-squared / (2 * sigma**2))
            weights = weights + (more if added is None else added(more, labels))
        return weights.astype(np.float32)

    return mutant


def _sum_squared(distances):
    return (distances[0] + distances[1]) ** 2 if len(distances) > 1 else None


def _nearest_twice_if_alone(distances):
    return (distances[0] + distances[min(1, len(distances) - 1)]) ** 2


def _swapped_balance(labels):
    thing = labels > 0
    if thing.all() or not thing.any():
        return np.ones(labels.shape)
    return labels.size / (2 * np.where(thing, (~thing).sum(), thing.sum()))


def _always_two(labels):
    thing = labels > 0
    return labels.size / (2 * np.where(thing, thing.sum(), (~thing).sum()))


def _up_to_the_count(labels, **options):
    """Objects are looked for by the numbers 1 to n."""
    count = len(np.unique(labels[labels > 0]))
    near = np.where(labels <= count, labels, 0)
    weights = _border_weights(near, **options)[0] - _balance(near)
    return (_balance(labels) + weights).astype(np.float32)


def _without_sigma(labels, w0=10.0, sigma=5.0):
    return _border_weights(labels, w0)[0]


_nearest_alone = _with(measure=lambda d: d[0] ** 2)
_the_farthest = _with(measure=lambda d: (d[0] + d[-1]) ** 2 if len(d) > 1 else None)
_squares_summed = _with(measure=lambda d: d[0] ** 2 + d[1] ** 2 if len(d) > 1 else None)
_ground_alone = _with(added=lambda more, labels: more * (labels == 0))
_city_block = _with(norm=lambda y, x: np.abs(y) + np.abs(x))
_one_if_alone = _with(measure=_nearest_twice_if_alone)


def _added(f, case):
    """What the objects' borders add to the weights of the classes, and what they should add."""
    plain = case.replace(w0=0.0)
    got = f(case) - f(plain)
    return got, f.right(case) - f.right(plain)


def _agree_where(f, case, chosen):
    got, expected = _added(f, case)
    if got.shape == expected.shape:
        got, expected = got[chosen], expected[chosen]
    compare(got, expected, what="What is added to the class weight")


@border_weights.law(
    "classes in balance",
    inputs=_classes_alone,
    equation=r"w_c = \frac{N}{2\, n_c}",
    slide=SLIDE,
    hint="A class with few pixels gets a large weight: divide by the number of its pixels.",
    mutant=_with(balance=_swapped_balance),
    value=True,
    right_too=False,
)
def classes_in_balance(f, case):
    """With w0 = 0, the weights of the ground and those of the objects have the same sum, and their mean is 1."""
    got = f(case)
    thing = case["labels"] > 0
    if not thing.all():
        compare(got[thing].sum(), got[~thing].sum(dtype=np.float64), what="The sum over the objects")
    compare(got.mean(), np.float64(1.0), what="The mean")


@border_weights.law(
    "one object has no gap",
    inputs=_one_object,
    equation=r"d_2 = \infty:\ w = w_c",
    slide=SLIDE,
    hint="With one object there is no second nearest: its distance is infinite, and the exponential is 0.",
    mutant=_one_if_alone,
)
def one_object(f, case):
    """With a single object nothing is added."""
    compare(f(case), f(case.replace(w0=0.0)).astype(np.float64))


@border_weights.law(
    "inside objects too",
    inputs=_pair_of_columns,
    equation=WEIGHT,
    hint="The formula is for every pixel. Inside an object d_1 is 0, and d_2 the distance to the other object.",
    mutant=_ground_alone,
)
def inside_objects(f, case):
    """Pixels of an object near another one get a larger weight too."""
    _agree_where(f, case, case["labels"] > 0)


@border_weights.law(
    "the second nearest",
    inputs=_three_columns,
    equation=WEIGHT,
    slide=SLIDE,
    hint="d_2 is the distance to the second nearest object, the second smallest of all distances, not the largest.",
    mutant=_the_farthest,
)
def second_nearest(f, case):
    """With three objects or more, those further away than the second nearest do not count."""
    _agree_where(f, case, case["labels"] == 0)


@border_weights.law(
    "straight distances",
    inputs=_apart_along_both_axes,
    equation=r"d = \sqrt{\Delta y^2 + \Delta x^2}",
    hint="Distances are Euclidean: not the sum of rows and columns, and not the larger of them.",
    mutant=_city_block,
)
def straight_distances(f, case):
    """Distances are measured along straight lines, also where an object is apart along both axes."""
    _agree_where(f, case, case["labels"] == 0)


@border_weights.law(
    "sigma",
    inputs=_with_sigma,
    equation=WEIGHT,
    slide=SLIDE,
    hint="sigma is the width of the gaps that count: with a smaller sigma the weight falls faster with the distance.",
    mutant=_without_sigma,
)
def width_of_gaps(f, case):
    """sigma decides which gaps are narrow."""
    _agree_where(f, case, case["labels"] == 0)


@border_weights.law(
    "any numbers",
    inputs=_other_numbers,
    hint="Objects may have any numbers, and some may be missing: go through np.unique(labels), without 0.",
    mutant=_up_to_the_count,
)
def any_numbers(f, case):
    """The numbers of the objects are names: others give the same weights."""
    labels = case["labels"]
    _, ranks = np.unique(labels, return_inverse=True)
    compare(f(case), f(case.replace(labels=ranks.reshape(labels.shape))).astype(np.float64))


every_family(border_weights, inputs=_pair_of_columns, shapes=_any_shape)
values(
    border_weights,
    simplest=_pair_of_columns,
    words="two columns of pixels",
    anything=_anything,
    hint="There may be no object, or no ground: then the only class has weight 1.",
    mutant=_with(balance=_always_two),
    wrong=_nearest_alone,
)
for name, hint, answer in (
    (
        "the nearest object alone",
        "You use the distance to the nearest object alone. Only between two objects both distances are small: add them.",
        _nearest_alone,
    ),
    (
        "squares added",
        "You add the squares of the distances. Add the distances first, then square the sum.",
        _squares_summed,
    ),
    (
        "2 sigma for 2 sigma squared",
        "You divide by 2 sigma. The Gaussian divides by 2 sigma squared.",
        lambda labels, w0=10.0, sigma=5.0: _border_weights(labels, w0, sigma**0.5)[0],
    ),
    (
        "sigma left out of the 2",
        "You divide by sigma squared; the formula has 2 sigma squared.",
        lambda labels, w0=10.0, sigma=5.0: _border_weights(labels, w0, sigma / 2**0.5)[0],
    ),
    (
        "the farthest object",
        "You use the largest of the distances. The second nearest object counts.",
        _the_farthest,
    ),
    ("the ground alone", "You add nothing inside objects. The formula is for every pixel.", _ground_alone),
    ("rows and columns added", "You add rows and columns. Distances are straight lines.", _city_block),
    (
        "weights of the classes exchanged",
        "The class with more pixels gets the larger weight. It should be the smaller: divide by its own pixels.",
        _with(balance=_swapped_balance),
    ),
    (
        "classes not balanced",
        "You start from 1 instead of the weight of the class.",
        _with(balance=lambda labels: np.ones(labels.shape)),
    ),
):
    border_weights.mistake(name, hint, answer)
