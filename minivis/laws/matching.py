"""The laws of linear_sum_assignment.

Not here: the dual prices that prove an assignment optimal; a learner's solver need not have them.
"""

import functools
import itertools

import numpy as np

from minivis.laws.judging.inputs import choose, flags, generator, integer, normals, pairs, sizes
from minivis.laws.judging.manners import index_laws
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "H/17-hungarian-table"
BIPARTITE = r"\hat\sigma = \arg\min_\sigma \sum_i c_{i, \sigma(i)}"


@functools.cache
def _choices(n, m):
    """All ways to choose columns for n rows among m, (ways, n)."""
    return np.array(list(itertools.permutations(range(m), n)), dtype=np.int64)


def _optima(cost):
    """All pairings of least cost, found by trying every one: (count, 2, K)."""
    n, m = cost.shape
    if n > m:
        found = _optima(cost.T)[:, ::-1]
        order = np.argsort(found[:, :1], axis=2)
        return np.take_along_axis(found, order.repeat(2, axis=1), axis=2)
    columns = _choices(n, m)
    totals = cost[np.arange(n), columns].sum(axis=1)
    best = columns[totals <= totals.min() + 1e-6 * (1 + np.abs(cost).max(initial=0))]
    return np.stack([np.broadcast_to(np.arange(n), best.shape), best], axis=1)


def _linear_sum_assignment(cost):
    return tuple(_optima(cost.astype(np.float64))[0]), None


linear_sum_assignment = Family(
    "linear_sum_assignment",
    _linear_sum_assignment,
    form="f(cost) -> (rows, columns); cost (N, M), any finite numbers; two lists of min(N, M) indices: row rows[k] is "
    "paired with column columns[k], no row and no column twice",
)


# Each matrix has a single optimum, unless a law is about ties. In easy matrices the best pairs are the cheapest entries of
# their rows and columns: a greedy choice finds them too, so that these matrices show other mistakes alone.


def _hard(draw):
    """Square, one optimum."""
    n = integer(draw, 2, 4)
    rng = np.random.default_rng([integer(draw, 0, 60), n])
    while True:
        cost = rng.integers(0, 10, (n, n)).astype(np.float32)
        if len(_optima(cost)) == 1:
            return {"cost": cost}


def _easy(draw, n, m):
    """One entry in each row (of the shorter side) is below 5, in a column of its own; the others are 10 or more."""
    rng = np.random.default_rng([integer(draw, 0, 60), n, m])
    cost = rng.integers(10, 20, (n, m))
    k = min(n, m)
    cost[rng.permutation(n)[:k], rng.permutation(m)[:k]] = rng.integers(0, 5, k)
    return {"cost": cost.astype(np.float32)}


def _wide(draw):
    n = integer(draw, 2, 3)
    return _easy(draw, n, n + integer(draw, 1, 2))


def _high(draw):
    return {"cost": _wide(draw)["cost"].T.copy()}


def _negative(draw):
    case = _easy(draw, *(2 * [integer(draw, 2, 4)]))
    return {"cost": case["cost"] - np.float32(choose(draw, 30, 1000, 25))}


def _contested(draw):
    """All rows have the same cheapest column."""
    case = _hard(draw)
    case["cost"][:, integer(draw, 0, len(case["cost"]) - 1)] -= 20
    return case


def _expensive(draw):
    return _easy(draw, *(2 * [integer(draw, 2, 4)]))


def _large(draw):
    """Five by five, no two entries equal, one optimum."""
    rng = np.random.default_rng([integer(draw, 0, 60), 5])
    while True:
        cost = rng.permutation(25).reshape(5, 5).astype(np.float32)
        if len(_optima(cost)) == 1:
            return {"cost": cost}


def _ties(draw):
    shape = choose(draw, (2, 2), (3, 3), (2, 3), (3, 2))
    return {"cost": flags(draw, shape, keep=0.7).astype(np.float32)}


def _all_equal(draw):
    return {"cost": np.full((3, 3), integer(draw, 0, 9), np.float32)}


def _none(draw):
    return {"cost": np.zeros(choose(draw, (0, 3), (2, 0), (0, 0)), np.float32)}


def _any_shape(draw):
    return _easy(draw, integer(draw, 1, 3), integer(draw, 1, 3))


def _square(draw):
    return {"cost": normals(draw, 2 * sizes(draw, 1, 2, 4))}


def _any_matrix(draw):
    shape = choose(draw, *pairs(1, 5)[4:])  # without the smallest sizes, which leave little choice
    if choose(draw, False, True):
        cost = normals(draw, shape, choose(draw, 1.0, 0.1, 100.0))
    else:
        cost = generator(draw).integers(-2, 3, shape).astype(np.float32)  # ties
    return {"cost": cost + np.float32(choose(draw, 0, 10, -100))}


def _read(f, case):
    """The pair of lists as one array, (2, K)."""
    result = f.result(case.copy())[0]
    if (
        isinstance(result, np.ndarray)
        and len(result) != 2
        or not isinstance(result, (tuple, list, np.ndarray))
    ):
        raise Broken(
            f"A pair (rows, columns) was expected; your function returned a {type(result).__name__}.",
            hint="End with `return rows, columns`: two lists of the same length.",
        )
    if len(result) != 2 or np.shape(result[0]) != np.shape(result[1]):
        raise Broken(
            f"Two lists of the same length were expected; the output is a {type(result).__name__} of shapes "
            f"{[np.shape(part) for part in result]}.",
            hint="rows[k] is paired with columns[k].",
        )
    # NumPy would make an empty list float64: take it as integers
    parts = (
        np.zeros(0, np.int64) if isinstance(part, list) and not part else np.asarray(part) for part in result
    )
    rows, columns = map(f.array, parts)
    return np.stack([rows, columns])


def _paired(f, case):
    """Its rows and columns; raise `Broken` if they are no valid indices."""
    found = _read(f, case).reshape(2, -1).astype(np.int64)
    N, M = case["cost"].shape
    if found.size and ((found < 0).any() or (found[0] >= N).any() or (found[1] >= M).any()):
        raise Broken(f"A row or column does not exist in a matrix of shape {N, M}.", f.right(case), found)
    return found


def _total(cost, pairs):
    return float(cost.astype(np.float64)[pairs[0], pairs[1]].sum())


def _none_twice(pairs):
    """Raise if a row or a column is paired twice."""
    for name, indices in zip(("row", "column"), pairs, strict=True):
        if len(set(indices.tolist())) < len(indices):
            raise Broken(f"A {name} is paired twice.", got=indices)


def _costs_least(pairs, cost):
    """Raise unless the pairs cost no more than the best ones."""
    best = _optima(cost)[0]
    mine, least = _total(cost, pairs), _total(cost, best)
    if pairs.shape != best.shape:
        raise Broken(f"{best.shape[1]} pairs were expected; there are {pairs.shape[1]}.", best, pairs)
    if mine > least + 1e-5 * (1 + np.abs(cost).max(initial=0)):
        raise Broken(f"The pairs cost {mine:g} together; there are pairs that cost {least:g}.", best, pairs)


def _cheapest(f, case, cost=None):
    _costs_least(_paired(f, case), case["cost"] if cost is None else cost)


def _one_of_the_best(f, case, atol=None):
    """Several pairings may be equally good: compare their cost; no row or column may be paired twice."""
    pairs = _paired(f, case)
    _none_twice(pairs)
    _costs_least(pairs, case["cost"])


linear_sum_assignment.same = _one_of_the_best
linear_sum_assignment.read = lambda f, case: _by_row(_read(f, case).reshape(2, -1))


def _by_row(pairs):
    """Pairs in the order of their rows, as one array."""
    rows, columns = np.asarray(pairs)
    return np.stack([rows, columns])[:, np.lexsort((columns, rows))]


def _greedy(cost):
    """Greedy: repeatedly take the cheapest pair that is left."""
    left = cost.astype(np.float64)
    pairs = []
    for _ in range(min(cost.shape)):
        i, j = np.unravel_index(left.argmin(), left.shape)
        pairs.append((i, j))
        left[i], left[:, j] = np.inf, np.inf
    return tuple(np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T)


def _favourites(cost):
    """Each row (or column, if there are fewer) takes its cheapest partner, even if that is taken."""
    if cost.shape[0] > cost.shape[1]:
        return _favourites(cost.T)[::-1]
    return np.arange(len(cost)), cost.argmin(axis=1) if cost.size else np.arange(len(cost))


def _on(change):
    """A mutant that solves another matrix."""
    return lambda cost: _linear_sum_assignment(change(cost))[0]


def _every_optimum(cost):
    """All pairs of all optima."""
    return tuple(np.unique(np.concatenate([*_optima(cost)], axis=1), axis=1))


linear_sum_assignment.law(
    "least cost",
    value=True,
    sentence="No other choice of pairs has a lower total cost.",
    inputs=_hard,
    equation=BIPARTITE,
    slide=SLIDE,
    hint="The cheapest pair may force the others into expensive pairs. A greedy search, which never takes a choice back, is "
    "not enough.",
    mutant=_greedy,
)(_cheapest)


@linear_sum_assignment.law(
    "one to one",
    inputs=_contested,
    equation=r"i \ne k \;\Rightarrow\; \sigma(i) \ne \sigma(k)",
    slide=SLIDE,
    hint="argmin of each row may give several rows the same column. Each column may be used once.",
    mutant=_favourites,
)
def _one_to_one(f, case):
    """No row and no column is paired twice."""
    _none_twice(_paired(f, case))


linear_sum_assignment.law(
    "more columns than rows",
    value=True,
    sentence="If there are more columns than rows, any of them may be chosen, and some stay without a row.",
    inputs=_wide,
    equation=BIPARTITE,
    slide=SLIDE,
    hint="Each of the N rows chooses among all M columns, not among the first N.",
    mutant=_on(lambda cost: cost[:, : len(cost)]),
)(_cheapest)
linear_sum_assignment.law(
    "more rows than columns",
    value=True,
    sentence="If there are more rows than columns, each column gets one, and some rows stay without a column, like most "
    "predictions of a detector.",
    inputs=_high,
    equation=BIPARTITE,
    slide=SLIDE,
    hint="Choose the best M rows, not the first M. Solve the transpose, and exchange rows and columns of the result.",
    mutant=_on(lambda cost: cost[: cost.shape[1]]),
)(_cheapest)
linear_sum_assignment.law(
    "negative costs",
    value=True,
    sentence="Costs may be negative; the least total is still the best.",
    inputs=_negative,
    equation=BIPARTITE,
    slide=SLIDE,
    hint="A matching cost contains -p and -GIoU. 0 is not a lower bound, and abs() reverses the order.",
    mutant=_on(np.abs),
)(_cheapest)


@linear_sum_assignment.law(
    "a constant on a row",
    inputs=_expensive,
    equation=r"c'_{ij} = c_{ij} + a_i \;\Rightarrow\; \hat\sigma' = \hat\sigma",
    slide=SLIDE,
    hint="Do you compare with a fixed number, such as `best = 1000` at the start? Use math.inf.",
    mutant=lambda cost: (
        _linear_sum_assignment(cost)[0]
        if not cost.size or cost.min(axis=1).sum() < 1000
        else (np.arange(min(cost.shape)), np.arange(min(cost.shape))[::-1])
    ),
)
def _row_constant(f, case):
    """If no row stays unpaired, adding a constant to all costs of a row does not change the best pairs."""
    cost = case["cost"]
    for constants in ([600.0, 1700.0, 900.0, 1100.0], [5.0, 0.0, -3.0, 9.0]):
        shifted = cost + np.array(constants[: len(cost)], np.float32)[:, None]
        _cheapest(f, case.replace(cost=shifted), cost)
    flipped = cost[:, ::-1].copy()
    _cheapest(f, case.replace(cost=flipped + np.float32(1500)), flipped)


@linear_sum_assignment.law(
    "any order of rows",
    inputs=_large,
    equation=r"\min_\sigma \sum_i c_{\pi(i), \sigma(i)} = \min_\sigma \sum_i c_{i, \sigma(i)}",
    slide=SLIDE,
    hint="The least cost does not depend on the order of the rows. Do rows choose one after the other, without ever giving "
    "up a column for a later row?",
    mutant=lambda cost: _first_come(cost) if cost.shape == (5, 5) else _linear_sum_assignment(cost)[0],
)
def _permuted(f, case):
    """If the rows of a matrix come in another order, the least cost stays the same."""
    cost = case["cost"]
    turned = cost[::-1].copy()
    first = _total(cost, _paired(f, case))
    second = _total(turned, _paired(f, case.replace(cost=turned)))
    if abs(first - second) > 1e-3:
        raise Broken(f"The pairs cost {first:g}, with the rows in reverse order {second:g}.")


def _first_come(cost):
    """Each row in turn takes the cheapest column that is left."""
    left = cost.astype(np.float64)
    columns = []
    for row in left:
        columns.append(int(row.argmin()))
        left[:, columns[-1]] = np.inf
    return np.arange(len(cost)), np.array(columns, dtype=np.int64)


@linear_sum_assignment.law(
    "ties",
    inputs=_ties,
    equation=r"K = \min(N, M)",
    hint="A row may have several smallest entries, and several zeros: take one of them.",
    mutant=_every_optimum,
    right_too=False,  # this law counts pairs; "agrees on anything" compares the costs of ties
)
def _one_of_several(f, case):
    """If there are several optima, one is returned: min(N, M) pairs."""
    K = min(case["cost"].shape)
    pairs = _paired(f, case)
    if pairs.shape[1] != K:
        raise Broken(f"{K} pairs were expected; there are {pairs.shape[1]}.", f.right(case), pairs)


@linear_sum_assignment.law(
    "nothing to pair",
    inputs=_none,
    hint="Images without objects are common. np.array([]) is float64: ask for integers.",
    mutant=lambda cost: _linear_sum_assignment(cost)[0] if cost.size else (np.array([]), np.array([])),
)
def _nothing(f, case):
    """A matrix without rows or without columns has no pairs: two empty lists of integers."""
    got = _read(f, case)
    if got.shape != (2, 0) or got.dtype.kind not in "iu":
        raise Broken(f"Two empty lists of integers were expected; the output is {got.dtype} {got.shape}.")


_CHANCE = np.random.default_rng()


def _any_optimum(cost):
    return tuple(_CHANCE.choice(_optima(cost)))


index_laws(
    linear_sum_assignment,
    inputs=_all_equal,
    shapes=_any_shape,
    read=_read,
    squeezed=lambda cost: tuple(np.squeeze(part) for part in _linear_sum_assignment(cost)[0]),
    random_ties=_any_optimum,
    float_mutant=lambda cost: tuple(
        part.astype(np.float64) if part.size else part for part in _linear_sum_assignment(cost)[0]
    ),
    overwritten="cost",
)


# ---------------------------------------------------------------------------------------------------------------------
# The value laws, and wrong answers that are known by name


def _smallest_maximum(cost):
    """The pairing whose most expensive pair is as cheap as possible."""
    if cost.shape[0] > cost.shape[1]:
        return _smallest_maximum(cost.T)[::-1]
    choices = _choices(*cost.shape)
    rows = np.arange(len(cost))
    return rows, choices[cost[rows, choices].max(axis=1).argmin()]


values(
    linear_sum_assignment,
    simplest=_square,
    words="as many rows as columns",
    anything=_any_matrix,
    hint="The matrices have any numbers, also ties, and any number of rows and columns, also far more of one than of the "
    "other. Does your search take choices back, also for the last row, and also if columns stay free?",
    # in the laws about special cases, matrices with far more columns than rows have no two rows with the same best column
    mutant=lambda cost: (
        _first_come(cost) if cost.shape[1] >= cost.shape[0] + 2 else _linear_sum_assignment(cost)[0]
    ),
    wrong=_greedy,
)
for name, hint, answer in (
    (
        "greedy",
        "You repeatedly take the cheapest pair that is left and never take it back: the last pairs may be expensive. Make the "
        "total as low as possible.",
        _greedy,
    ),
    (
        "row after row",
        "Each row takes the cheapest column that earlier rows left. If a later row needs that column more, the earlier choice "
        "has to be taken back.",
        lambda cost: _first_come(cost[: cost.shape[1]]),
    ),
    (
        "each row's cheapest column",
        "This is argmin along each row: several rows may get the same column. Each column may be used once.",
        lambda cost: (np.arange(len(cost)), cost.argmin(axis=1)),
    ),
    (
        "the highest total",
        "These pairs have the highest total. The cost should be as low as possible: is a sign wrong, or max used for min?",
        _on(np.negative),
    ),
    (
        "costs without their sign",
        "You ignore the sign: a negative cost is lower than any positive one.",
        _on(np.abs),
    ),
    (
        "cut to a square",
        "This is right for the upper left square of the matrix. All columns (or all rows) may be chosen: solve the whole "
        "matrix, or pad it to a square with equal costs.",
        _on(lambda cost: cost[: min(cost.shape), : min(cost.shape)]),
    ),
    (
        "rows and columns exchanged",
        "The pairs are right, but rows and columns are exchanged. After solving the transpose, exchange both lists.",
        lambda cost: _by_row(_linear_sum_assignment(cost)[0][::-1]),
    ),
    (
        "the dearest pair, not the total",
        "You made the most expensive pair as cheap as possible. Make the sum of all pairs as low as possible.",
        _smallest_maximum,
    ),
):
    linear_sum_assignment.mistake(name, hint, lambda cost, answer=answer: _by_row(answer(cost)))
