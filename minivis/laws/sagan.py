"""The laws of self_attention_2d, the attention of SAGAN over the places of a map.

Not here: attention with a scale and masks (attention.py), several heads (multi_head.py).
"""

import numpy as np

from minivis.laws.judging.inputs import choose, integer, normals, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SCORES = r"s_{ij} = f(x_i)^T g(x_j), \quad \beta_{j,i} = \frac{\exp s_{ij}}{\sum_i \exp s_{ij}}"
OUT = r"y_j = \gamma\, v\Big(\sum_i \beta_{j,i}\, h(x_i)\Big) + x_j"
SLIDE = "A/12-sagan"


def _weights(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _tokens(x):
    """The places of a map as rows, (B, N, C)."""
    return x.reshape(*x.shape[:2], -1).swapaxes(1, 2)


def _self_attention_2d(x, wf, wg, wh, wv, gamma):
    tokens = _tokens(x)
    keys = tokens @ wf.T
    queries = tokens @ wg.T
    out = _weights(queries @ keys.swapaxes(1, 2)) @ (tokens @ wh.T) @ wv.T
    return gamma * out.swapaxes(1, 2).reshape(x.shape) + x, None


self_attention_2d = Family(
    "self_attention_2d",
    _self_attention_2d,
    ("x", "wf", "wg", "wh", "wv"),
    form="f(x, wf, wg, wh, wv, gamma); x (B, C, H, W); wf, wg, wh (D, C) make keys, queries and values of each place, "
    "wv (C, D) goes back; gamma a number -> (B, C, H, W)",
)


def _wrong(weights=_weights, scores=None, back=None, after=None):
    """An attention with one thing or another done differently."""

    def answer(x, wf, wg, wh, wv, gamma):
        tokens = _tokens(x)
        keys, queries, values = (tokens @ w.T for w in (wf, wg, wh))
        products = (scores or (lambda q, k: q @ k.swapaxes(1, 2)))(queries, keys)
        out = weights(products) @ values @ wv.T
        out = (back or (lambda out, x: out.swapaxes(1, 2).reshape(x.shape)))(out, x)
        return (after or (lambda out, x, gamma: gamma * out + x))(out, x, gamma)

    return answer


def _naive(scores):
    e = np.exp(scores)
    return e / e.sum(axis=-1, keepdims=True)


_scaled = _wrong(scores=lambda q, k: q @ k.swapaxes(1, 2) / q.dtype.type(q.shape[-1] ** 0.5))
_over_queries = _wrong(weights=lambda s: _weights(s, axis=1))
_f_asks = _wrong(scores=lambda q, k: k @ q.swapaxes(1, 2))
_gamma_on_x = _wrong(after=lambda out, x, gamma: out + gamma * x)
_overflows = _wrong(weights=_naive)


def _sides_mixed(out, x):
    """Back on a map whose height and width are exchanged."""
    B, C, H, W = x.shape
    return out.swapaxes(1, 2).reshape(B, C, W, H).swapaxes(2, 3)


def _first_image(scores):
    """The weights of the first image for all."""
    return np.broadcast_to(_weights(scores)[:1], scores.shape)


# Each law has its own special case. Unless it is about gamma, gamma is 1; unless it is about batches, there is one image.


def _pair(draw, a, b):
    """Two places (a, b) and (b, a), compared as they are: rows and columns of the scores are the same."""
    x = np.array([[a, b], [b, a]], np.float32).reshape(1, 2, 1, 2)
    same = np.eye(2, dtype=np.float32)
    return {"x": x, "wf": same, "wg": same, "wh": numbers(draw, (2, 2)), "wv": same, "gamma": 1.0}


def _two_widths(draw):
    a = integer(draw, 1, 3)
    return _pair(draw, 0.5 * a, -0.5 * a + 0.5 * integer(draw, 0, 1))


def _large(draw):
    b = integer(draw, 20, 40)
    return _pair(draw, b + 8, b)


def _three_in_a_ring(draw):
    """Each of three places asks for the next one, and gets its value alone."""
    ring = np.roll(np.eye(3, dtype=np.float32), choose(draw, 1, -1), axis=0)
    x = np.eye(3, dtype=np.float32).reshape(choose(draw, (1, 3, 1, 3), (1, 3, 3, 1)))
    key = np.float32(30) * np.eye(3, dtype=np.float32)
    return {
        "x": x,
        "wf": key,
        "wg": 2 * ring,
        "wh": numbers(draw, (3, 3)),
        "wv": np.eye(3, dtype=np.float32),
        "gamma": 1.0,
    }


def _equal_values(draw):
    """All places have the same value, 1, whatever they are compared by."""
    x = numbers(draw, (1, 2, 2, 2))
    x[:, 0] = 1
    one = np.array([[1, 0]], np.float32)
    wv = numbers(draw, (2, 1), offset=0.5)
    return {
        "x": x,
        "wf": numbers(draw, (1, 2)),
        "wg": numbers(draw, (1, 2)),
        "wh": one,
        "wv": wv,
        "gamma": 1.0,
    }


def _rectangle(draw):
    """Every place asks for itself: channel i is 1 at place i alone."""
    H, W = choose(draw, (2, 3), (3, 2))
    same = np.eye(H * W, dtype=np.float32)
    key = np.float32(8) * same
    return {
        "x": same.reshape(1, -1, H, W),
        "wf": key,
        "wg": key,
        "wh": numbers(draw, key.shape),
        "wv": same,
        "gamma": 1.0,
    }


def _weighted(draw, B, C, D, H, W, scale=1.0):
    x = normals(draw, (B, C, H, W))
    wf, wg, wh = (normals(draw, (D, C), scale) for _ in range(3))
    return {"x": x, "wf": wf, "wg": wg, "wh": wh, "wv": normals(draw, (C, D)), "gamma": 1.0}


def _gamma_zero(draw):
    return {**_weighted(draw, 1, 2, 1, 2, 2), "gamma": 0.0}


def _axes_of_one(draw):
    B, C, D, H, W = (integer(draw, 1, 2) for _ in range(5))
    return _weighted(draw, B, C, D, H, W)


def _simplest(draw):
    return _weighted(draw, 1, integer(draw, 2, 3), integer(draw, 1, 2), 2, 2)


def _anything(draw):
    sizes = (
        integer(draw, 1, 3),
        integer(draw, 1, 4),
        integer(draw, 1, 3),
        integer(draw, 1, 4),
        integer(draw, 1, 4),
    )
    case = _weighted(draw, *sizes, choose(draw, 0.3, 1.0, 3.0))
    return {**case, "gamma": choose(draw, 1.0, 0.5, -2.0, 0.0)}


@self_attention_2d.law(
    "gamma 0",
    inputs=_gamma_zero,
    equation=r"\gamma = 0 \;\Rightarrow\; y = x",
    slide=SLIDE,
    hint="gamma multiplies the attention, not the map: y = gamma * o + x.",
    mutant=_gamma_on_x,
    value=True,
    right_too=False,
)
def identity(f, case):
    """With gamma = 0 the output is the input, bit for bit: training starts without attention."""
    got = f(case)
    if got.shape != case["x"].shape or not np.array_equal(got, case["x"]):
        raise Broken("With gamma = 0 the output differs from x.", case["x"], got)


self_attention_2d.agrees(
    "no scale",
    "The products of queries and keys go into the softmax as they are, whatever the width D.",
    inputs=_two_widths,
    equation=SCORES,
    slide=SLIDE,
    hint="1 / sqrt(d) is the Transformer's. The paper of SAGAN does not divide.",
    mutant=_scaled,
)
self_attention_2d.agrees(
    "the weights of an output sum to 1",
    "Where all values are equal, the attention of every place is that value.",
    inputs=_equal_values,
    equation=r"\sum_i \beta_{j,i} = 1",
    slide=SLIDE,
    hint="For each output place j the weights of all i sum to 1: softmax over the keys, not over the queries.",
    mutant=_over_queries,
)
self_attention_2d.agrees(
    "g asks, f answers",
    "The query of a place is g of it, and it looks for the place whose f fits.",
    inputs=_three_in_a_ring,
    equation=SCORES,
    slide=SLIDE,
    hint="The output at j uses g(x_j) and the f(x_i) of all i. Which of the two did you take for the query?",
    mutant=_f_asks,
)
self_attention_2d.agrees(
    "a rectangular map",
    "What is computed for a place comes back to this place, also if height and width differ.",
    inputs=_rectangle,
    equation=OUT,
    hint="Tokens (N, C) become channels first (C, N), and then (C, H, W): H before W, as on the way in.",
    mutant=_wrong(back=_sides_mixed),
)
self_attention_2d.agrees(
    "large scores",
    "Scores in the thousands give finite weights.",
    inputs=_large,
    equation=r"\frac{e^{s_i - m}}{\sum_i e^{s_i - m}}, \quad m = \max_i s_i",
    hint="In float32 exp(s) is inf above 88: subtract the largest score of each query first.",
    mutant=_overflows,
)
every_family(
    self_attention_2d,
    inputs=_three_in_a_ring,
    shapes=_axes_of_one,
    wrong_shape=_wrong(
        after=lambda out, x, gamma: (gamma * out + x)[:, 0 if x.shape[1] == 1 else slice(None)]
    ),
)
values(
    self_attention_2d,
    simplest=_simplest,
    words="one square image, gamma = 1",
    anything=_anything,
    hint="Several images at once: each has its own weights, from its own places.",
    mutant=_wrong(weights=_first_image),
)
for name, hint, answer in (
    ("a scale", "You divide the scores by sqrt(d), as the Transformer does. This paper takes the plain products.", _scaled),
    ("softmax over the queries", "The weights of one output place must sum to 1: softmax over i, the keys.", _over_queries),
    ("f for the query", "You compare f(x_j) with all g(x_i). Here g(x_j) is the query, and the f(x_i) are the keys.", _f_asks),
    ("gamma on the map", "gamma multiplies the attention; the map is added as it is.", _gamma_on_x),
    (
        "no residual",
        "This is gamma times the attention alone: add the map x.",
        _wrong(after=lambda out, x, gamma: gamma * out),
    ),
    (
        "gamma left out",
        "The attention is added with factor 1: multiply it by gamma first.",
        _wrong(after=lambda out, x, gamma: out + x),
    ),
    (
        "no softmax",
        "The scores are used as weights. Their softmax over the keys is.",
        _wrong(weights=lambda s: s),
    ),
    ("exp of large scores", "In float32 exp(s) is inf above 88: subtract the largest score of each query first.", _overflows),
):  # fmt: skip
    self_attention_2d.mistake(name, hint, answer)
