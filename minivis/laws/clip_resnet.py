"""The laws of attention_pool: CLIP's last pooling, in which the mean of a map attends to its cells.

Not here: attention among all cells (attention.py, multi_head.py), the network before it.
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "Z/40-clip"
POOL = r"y = W_o\,\mathrm{concat}_h\big(\mathrm{softmax}(q_h K_h^T / \sqrt d)\, V_h\big) + b_o"
TOKENS = r"t_0 = \bar x + p_0, \quad t_i = x_i + p_i, \quad q = W_q t_0 + b_q"
LAYERS = ("query", "key", "value", "out")


def _attention_pool(x, positions, weights, heads):
    cells = x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2)  # (B, N, C)
    tokens = np.concatenate([cells.mean(axis=1, keepdims=True), cells], axis=1) + positions  # (B, 1 + N, C)

    def projected(name, tokens):
        return tokens @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    q = projected("query", tokens[:, 0])
    k = projected("key", tokens)
    v = projected("value", tokens)
    d = q.shape[-1] // heads
    pooled = np.empty_like(q)
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        scores = (k[:, :, part] @ q[:, part, None])[:, :, 0] / math.sqrt(d)  # (B, 1 + N)
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        pooled[:, part] = ((e / e.sum(axis=1, keepdims=True))[:, :, None] * v[:, :, part]).sum(axis=1)
    return projected("out", pooled), None


attention_pool = Family(
    "attention_pool",
    _attention_pool,
    ("x", "positions", "weights"),
    form="f(x, positions, weights, heads); x (B, C, H, W), positions (1 + H W, C), the first for the mean; weights a dict "
    "of query.weight, key.weight, value.weight (C, C), out.weight (E, C) and query.bias, ...; the result is (B, E)",
)


def _changed(
    tokens=lambda cells, p: np.concatenate([cells.mean(axis=1, keepdims=True), cells], axis=1) + p,
    first=0,
    keys=slice(None),
    scale=math.sqrt,
    head_count=lambda heads: heads,
    weights_used=lambda weights: weights,
    spread=lambda e: e / e.sum(axis=-1, keepdims=True),
):
    """The pooling with another part."""

    def answer(x, positions, weights, heads):
        w = weights_used(weights)
        t = tokens(x.reshape(*x.shape[:2], -1).swapaxes(1, 2), positions)
        q, k, v = (
            a @ w[f"{name}.weight"].T + w[f"{name}.bias"]
            for name, a in (("query", t[:, [first]]), ("key", t[:, keys]), ("value", t[:, keys]))
        )
        h = head_count(heads)
        q, k, v = (a.reshape(*a.shape[:2], h, -1).swapaxes(1, 2) for a in (q, k, v))  # (B, h, N, d)
        scores = q @ k.swapaxes(2, 3) / scale(q.shape[-1])
        y = spread(np.exp(scores - scores.max(axis=-1, keepdims=True))) @ v
        y = y.swapaxes(1, 2).reshape(len(x), -1)
        return (y @ w["out.weight"].T + w["out.bias"]).astype(x.dtype)

    return answer


def _without_biases(weights):
    return {name: w * (not name.endswith("bias")) for name, w in weights.items()}


def _plain_value(weights):
    C = len(weights["value.bias"])
    return {**weights, "value.weight": np.eye(C, dtype=weights["value.weight"].dtype)}


first_cell = _changed(tokens=lambda cells, p: np.concatenate([cells[:, :1], cells], axis=1) + p)
mean_without_position = _changed(
    tokens=lambda cells, p: np.concatenate([cells.mean(axis=1, keepdims=True), cells + p[1:]], axis=1)
)
no_positions = _changed(
    tokens=lambda cells, p: np.concatenate([cells.mean(axis=1, keepdims=True), cells], axis=1)
)
cells_alone = _changed(keys=slice(1, None))
unscaled = _changed(scale=lambda d: 1)
scaled_twice = _changed(scale=lambda d: d)
one_head = _changed(head_count=lambda heads: 1)
no_biases = _changed(weights_used=_without_biases)
no_values = _changed(weights_used=_plain_value)


def by_all_channels(x, positions, weights, heads):
    """Scores divided by the square root of C, that is, queries smaller by that of the number of heads."""
    smaller = {name: w / math.sqrt(heads) for name, w in weights.items() if name.startswith("query")}
    return _attention_pool(x, positions, {**weights, **smaller}, heads)[0]


mean_of_cells = _changed(spread=lambda e: np.full_like(e, 1 / e.shape[-1]))
mean_last = _changed(
    tokens=lambda cells, p: np.concatenate([cells, cells.mean(axis=1, keepdims=True)], axis=1) + p, first=-1
)


# One head, no biases and no positions unless a law is about them


def _case(draw, heads=1, width=2, rows=None, biases=False, positions=False, batch=2, columns=2, spread=1.0):
    rng = generator(draw)
    C = heads * width
    rows = integer(draw, 1, 3) if rows is None else rows
    E = integer(draw, 2, 3) if batch > 1 else 1
    x = rng.normal(size=(batch, C, rows, columns)) * spread
    p = rng.normal(size=(1 + rows * columns, C)) * positions
    weights = {f"{name}.weight": rng.normal(size=(E if name == "out" else C, C)) for name in LAYERS}
    weights |= {f"{name}.bias": rng.normal(size=E if name == "out" else C) * biases for name in LAYERS}
    weights = {name: w.round(1).astype(np.float32) for name, w in weights.items()}
    return {
        "x": x.round(1).astype(np.float32),
        "positions": p.round(1).astype(np.float32),
        "weights": weights,
        "heads": heads,
    }


def _plain(draw):
    return _case(draw)


def _simplest(draw):
    return _case(draw)


def _constant(draw):
    case = _case(draw)
    return {**case, "x": np.ones_like(case["x"]) * case["x"][:, :, :1, :1]}


def _with_positions(draw):
    return _case(draw, positions=True)


def _cells_with_positions(draw):
    case = _case(draw, positions=True)
    case["positions"][0] = 0
    return case


def _two_heads(draw):
    """Two heads whose results are not mixed at the end."""
    case = _case(draw, heads=2)
    C = case["x"].shape[1]
    case["weights"] |= {"out.weight": np.eye(C, dtype=np.float32), "out.bias": np.zeros(C, np.float32)}
    return case


def _around_the_first(draw):
    """Three cells, the first of them the mean of the other two; values are the tokens themselves."""
    case = _case(draw, rows=1, columns=3)
    x = case["x"]
    x[..., 2] = 2 * x[..., 0] - x[..., 1]
    case["weights"]["value.weight"] = np.eye(x.shape[1], dtype=np.float32)
    return case


def _sizes_of_one(draw):
    return _case(draw, rows=1, columns=1, batch=1)


def _anything(draw):
    return _case(
        draw,
        heads=integer(draw, 1, 4),
        width=integer(draw, 1, 3),
        rows=integer(draw, 1, 4),
        columns=integer(draw, 1, 4),
        biases=choose(draw, True, False),
        positions=choose(draw, True, False),
        batch=integer(draw, 1, 3),
        spread=choose(draw, 1.0, 0.3, 6.0),
    )


@attention_pool.law(
    "cells have no order",
    inputs=_cells_with_positions,
    equation=TOKENS,
    slide=SLIDE,
    hint="The token that asks is the mean of all cells, not one of them.",
    mutant=first_cell,
)
def cells_have_no_order(f, case):
    """Cells in another order, together with their positions, give the same result."""
    x, positions = case["x"], case["positions"]
    B, C, H, W = x.shape
    turned = np.ascontiguousarray(x.reshape(B, C, -1)[:, :, ::-1]).reshape(B, C, H, W)
    moved = case.replace(x=turned, positions=np.concatenate([positions[:1], positions[:0:-1]]))
    compare(f(moved), f(case), atol=2e-4)


@attention_pool.law(
    "a constant map",
    inputs=_constant,
    equation=r"x_i = c,\ p = 0: \quad y = W_o (W_v c + b_v) + b_o",
    slide=SLIDE,
    hint="The weights sum to 1, so equal tokens give their own value: through value, then through out.",
    mutant=no_values,
)
def constant_map(f, case):
    """A map whose cells are all equal gives the value of one cell, whatever the weights of attention are."""
    w = case["weights"]
    cell = case["x"][:, :, 0, 0].astype(np.float64)
    value = cell @ w["value.weight"].T.astype(np.float64) + w["value.bias"]
    compare(f(case), value @ w["out.weight"].T.astype(np.float64) + w["out.bias"], atol=2e-4)


@attention_pool.law(
    "positions are added",
    inputs=_with_positions,
    equation=TOKENS,
    slide=SLIDE,
    hint="positions has one row more than there are cells: its first is for the mean, which has a position too.",
    mutant=mean_without_position,
)
def positions_are_added(f, case):
    """A vector added to every position does the same as if it was added to every cell."""
    C = case["x"].shape[1]
    vector = (1 + np.arange(C, dtype=np.float32)) / C
    in_positions = case.replace(positions=case["positions"] + vector)
    in_cells = case.replace(x=case["x"] + vector[:, None, None])
    compare(f(in_positions), f(in_cells), atol=2e-4)


attention_pool.agrees(
    "the mean answers too",
    "The mean is one of the tokens that are attended to.",
    atol=2e-4,
    inputs=_around_the_first,
    equation=POOL,
    hint="Keys and values are those of all 1 + N tokens, the query that of the first.",
    mutant=cells_alone,
)


@attention_pool.law(
    "heads look for themselves",
    inputs=_two_heads,
    equation=POOL,
    hint="Head h has channels h d to (h + 1) d of query, key and value, and a softmax of its own.",
    mutant=one_head,
)
def heads_look_for_themselves(f, case):
    """Other keys in the second head change nothing in the channels of the first."""
    half = case["x"].shape[1] // 2
    key = case["weights"]["key.weight"].copy()
    key[half:] += 1
    other = case.replace(weights={**case["weights"], "key.weight": key})
    compare(f(other)[:, :half], f(case)[:, :half], atol=2e-4)


@attention_pool.law(
    "biases",
    inputs=_plain,
    equation=r"y(b_v, b_o) = y(0, 0) + W_o b_v + b_o",
    hint="All four projections have biases: query.bias, key.bias, value.bias and out.bias.",
    mutant=no_biases,
)
def biases(f, case):
    """The biases of value and out are added to the result, the first through out.weight."""
    w = case["weights"]
    value, out = (np.ones_like(w[name]) for name in ("value.bias", "out.bias"))
    with_biases = case.replace(weights={**w, "value.bias": value, "out.bias": out})
    compare(f(with_biases), f(case) + w["out.weight"] @ value + out, atol=2e-4)


every_family(attention_pool, inputs=_constant, shapes=_sizes_of_one)
values(
    attention_pool,
    simplest=_simplest,
    words="one head, no biases, no positions",
    anything=_anything,
    hint="Scores are divided by sqrt(d), d channels a head. Scores may be large: subtract the maximum before exp.",
    mutant=_changed(scale=lambda d: math.sqrt(d) if d < 3 else 1.5),
    atol=5e-4,
)
for name, hint, answer in (
    ("a cell that asks", "Your query is the first cell. It is the mean of all cells, with the first position.", first_cell),
    ("no positions", "positions has no effect: add it to the mean and the cells.", no_positions),
    (
        "the mean without its position",
        "The mean has no position in your answer: the first row of positions is for it.",
        mean_without_position,
    ),
    ("the mean at the end", "The mean is the first token, before the cells: the first position is for it.", mean_last),
    ("the cells alone", "You attend to the cells alone. The mean is a token too, with a key and a value.", cells_alone),
    ("scores not divided", "The scores are divided by the square root of the channels of a head.", unscaled),
    ("divided by d", "You divide the scores by d. Divide by its square root.", scaled_twice),
    (
        "divided by the root of all channels",
        "You divide the scores by the square root of C. Divide by that of the channels of one head, C / heads.",
        by_all_channels,
    ),
    ("one head", "heads has no effect: split query, key and value into heads.", one_head),
    ("no biases", "The biases have no effect.", no_biases),
    ("no value projection", "You average the tokens themselves. Average their values: value.weight, value.bias.", no_values),
    ("a plain mean", "All tokens have the same weight in your answer. The weights are a softmax of scores.", mean_of_cells),
):  # fmt: skip
    attention_pool.mistake(name, hint, answer)
