"""The laws of kernel_regression: weights by distance, a sum of 1 for each query, and no 0/0 far from all keys.

Not here: dot products as scores (attention.py), windows of an image (filters.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

WEIGHTS = r"w_{ij} = \frac{e^{-\lVert q_i - k_j \rVert^2 / b^2}}{\sum_l e^{-\lVert q_i - k_l \rVert^2 / b^2}}"
SLIDE = "A/7-kernels-that-adapt"


def _squares(queries, keys):
    return ((queries[:, None] - keys[None]) ** 2).sum(axis=2)


def _shares(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _kernel_regression(queries, keys, values, b=1.0):
    return _shares(-_squares(queries, keys) / b**2) @ values, None


kernel_regression = Family(
    "kernel_regression",
    _kernel_regression,
    ("queries", "keys", "values"),
    form="f(queries, keys, values, b=1.0); queries (N, D), keys (M, D), values (M, C) -> (N, C)",
)


def _points(draw, queries, keys, features=1, columns=2, scale=1.0):
    """Random places, with as many queries and keys as asked for."""
    return {
        "queries": normals(draw, (queries, features), scale),
        "keys": normals(draw, (keys, features), scale),
        "values": normals(draw, (keys, columns)),
    }


def _line(draw):
    return _points(draw, *[integer(draw, 2, 4)] * 2)


def _plane(draw):
    return _points(draw, *[integer(draw, 2, 4)] * 2, features=integer(draw, 2, 3))


def _any_width(draw):
    return {**_line(draw), "b": choose(draw, 0.4, 2.0, 3.0)}


def _even_values(draw):
    case = _line(draw)
    return {**case, "values": np.full_like(case["values"], choose(draw, 1.0, -3.0))}


def _far_away(draw):
    case = _line(draw)
    return {**case, "queries": case["queries"] + np.float32(choose(draw, 30.0, -40.0))}


def _other_numbers(draw):
    n, m = choose(draw, (2, 4), (4, 2), (2, 3), (5, 3))
    return _points(draw, n, m)


def _ones(draw):
    return _points(draw, *(integer(draw, 1, 2) for _ in range(4)))


def _anything(draw):
    n, m, d, c = (integer(draw, 1, 5) for _ in range(4))
    case = _points(draw, n, m, d, c, scale=choose(draw, 0.5, 1.0, 3.0))
    return {**case, "b": choose(draw, 0.3, 0.7, 1.5, 4.0)} if choose(draw, True, True, False) else case


def _weighing(weights):
    """A mutant: ``weights(squared distances, b)`` are multiplied with the values."""
    return lambda queries, keys, values, b=1.0: weights(_squares(queries, keys), b) @ values


def _naive(squares, b):
    e = np.exp(-squares / b**2)
    with np.errstate(all="ignore"):
        return e / e.sum(axis=1, keepdims=True)


_halved = _weighing(lambda squares, b: _shares(-squares / (2 * b**2)))
_over_queries = _weighing(lambda squares, b: _shares((-squares / b**2).T).T)
_width_not_squared = _weighing(lambda squares, b: _shares(-squares / b))
_not_divided = _weighing(lambda squares, b: np.exp(-squares / b**2) / squares.shape[1])


def _street(queries, keys, values, b=1.0):
    """The distance along the axes, squared."""
    distance = np.abs(queries[:, None] - keys[None]).sum(axis=2)
    return _shares(-((distance / b) ** 2)) @ values


def _as_many_as_keys(queries, keys, values, b=1.0):
    """There are as many results as keys: queries are left out or repeated."""
    taken = queries[np.arange(len(keys)) % len(queries)]
    out = _shares(-_squares(taken, keys) / b**2) @ values
    return out[np.arange(len(queries)) % len(keys)]


def _standardised(queries, keys, values, b=1.0):
    """Values are brought to mean 0 and deviation 1 before, and back afterwards: 0/0 where they are all the same."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    with np.errstate(all="ignore"):
        return _kernel_regression(queries, keys, (values - mean) / deviation, b)[0] * deviation + mean


def _three_features(queries, keys, values, b=1.0):
    return _kernel_regression(queries[:, :3], keys[:, :3], values, b)[0]


def _first_column(queries, keys, values, b=1.0):
    return np.repeat(_kernel_regression(queries, keys, values[:, :1], b)[0], values.shape[1], axis=1)


kernel_regression.agrees(
    "all features count",
    "The distance is that of all features together: the sum of their squared differences.",
    inputs=_plane,
    equation=r"\lVert q_i - k_j \rVert^2 = \sum_d (q_{id} - k_{jd})^2",
    hint="Subtract with broadcasting, (N, 1, D) - (1, M, D), square, and sum over the last axis. Absolute differences that "
    "are added first give another distance.",
    mutant=_street,
)
kernel_regression.agrees(
    "the width",
    "Differences are divided by b before they are squared.",
    inputs=_any_width,
    equation=WEIGHTS,
    hint="A large b makes the kernel wide: the exponent is -(distance / b) squared.",
    mutant=_width_not_squared,
)
kernel_regression.law(
    "even values stay",
    sentence="If all values are the same, so are all results.",
    inputs=_even_values,
    equation=r"\sum_j w_{ij} = 1",
    slide=SLIDE,
    hint="The weights of each query sum to 1: divide by their sum, not by their number, and by nothing that is 0 for even values.",
    mutant=_standardised,
    right_too=False,
)(lambda f, case: compare(f(case), np.full((len(case["queries"]), 2), case["values"][0, 0], np.float64)))
kernel_regression.agrees(
    "far from every key",
    "A query that is far from all keys gets the value of the nearest one.",
    inputs=_far_away,
    equation=r"\frac{e^{s_j - m}}{\sum_l e^{s_l - m}} = \frac{e^{s_j}}{\sum_l e^{s_l}}, \quad m = \max_l s_l",
    hint="At a distance of 20 b every exp is 0 in float32, and 0/0 is NaN. Subtract the largest score of each query before "
    "exp, as in softmax.",
    mutant=_weighing(_naive),
)
kernel_regression.agrees(
    "as many results as queries",
    "There may be more queries than keys, or fewer.",
    inputs=_other_numbers,
    equation=r"Y \in \mathbb R^{N \times C}",
    hint="N is the number of queries, M that of keys. The weights are (N, M).",
    mutant=_as_many_as_keys,
)
every_family(kernel_regression, inputs=_line, shapes=_ones)
values(
    kernel_regression,
    simplest=_line,
    words="one feature, as many queries as keys",
    anything=_anything,
    hint="Try D = 5, N = 2, M = 5, b = 0.3: is any feature, query or key left out?",
    mutant=_three_features,
)
for name, hint, answer in (
    (
        "a 2 in the denominator",
        "Your exponents are -d^2 / (2 b^2), as with a standard deviation. Here they are -d^2 / b^2.",
        _halved,
    ),
    (
        "softmax over the queries",
        "The weights of each key sum to 1. Those of each query should: sum over the keys, axis=1.",
        _over_queries,
    ),
    (
        "not divided by the sum of weights",
        "You divide by the number of keys. Divide by the sum of the weights of each query.",
        _not_divided,
    ),
    (
        "0/0 far away",
        "Far from all keys every exp is 0, and 0/0 is NaN. Subtract the largest score of each query before exp.",
        _weighing(_naive),
    ),
    (
        "the wrong sign",
        "Far keys get the largest weights: the scores are minus the squared distances.",
        _weighing(lambda squares, b: _shares(squares / b**2)),
    ),
    (
        "the distance not squared",
        "Your exponents are -d / b. Here they are -(d / b)^2.",
        _weighing(lambda squares, b: _shares(-np.sqrt(squares) / b)),
    ),
    (
        "b not squared",
        "You divide the squared distance by b. Divide it by b squared.",
        _width_not_squared,
    ),
    (
        "dot products as scores",
        "These are the weights of attention, exp(q k). Here the scores are minus squared distances.",
        lambda queries, keys, values, b=1.0: _shares(queries @ keys.T / b**2) @ values,
    ),
    (
        "one column for all",
        "Every column of the result is that of the first column of the values: weights (N, M) @ values (M, C) is (N, C).",
        _first_column,
    ),
    (
        "one feature alone",
        "You use the first feature alone: sum the squared differences of all features.",
        lambda queries, keys, values, b=1.0: _kernel_regression(queries[:, :1], keys[:, :1], values, b)[0],
    ),
):
    kernel_regression.mistake(name, hint, answer)
