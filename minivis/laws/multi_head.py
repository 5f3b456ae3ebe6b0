"""The laws of multi_head_attention: from one plain head, each law lifts one simplification.

Not here: attention itself (attention.py), which the heads share.
"""

import math

import numpy as np

from minivis.laws.attention import _attention as one_head
from minivis.laws.catalogue import Family
from minivis.laws.common import every_family, gradients, mutated
from minivis.laws.inputs import choose, flags, integer, numbers, sizes


def _split(tokens, heads):
    B, N, D = tokens.shape
    return tokens.reshape(B, N, heads, D // heads).swapaxes(1, 2)  # (B, h, N, D/h)


def _join(tokens):
    B, h, N, d = tokens.shape
    return tokens.swapaxes(1, 2).reshape(B, N, h * d)


def _multi_head(query, key, value, weights, heads, mask=None):
    w = weights
    inputs = {"q": query, "k": key, "v": value}
    projected = {n: x @ w[f"w_{n}"].T + w[f"b_{n}"] for n, x in inputs.items()}
    mixed, pull = one_head(*(_split(x, heads) for x in projected.values()), mask)
    joined = _join(mixed)

    def vjp(g):
        d_weights = {"w_o": np.einsum("bno,bni->oi", g, joined), "b_o": g.sum(axis=(0, 1))}
        d_inputs = []
        for (n, x), d in zip(inputs.items(), pull(_split(g @ w["w_o"], heads)), strict=True):
            d = _join(d)
            d_inputs.append(d @ w[f"w_{n}"])
            d_weights |= {f"w_{n}": np.einsum("bno,bni->oi", d, x), f"b_{n}": d.sum(axis=(0, 1))}
        return *d_inputs, d_weights

    return joined @ w["w_o"].T + w["b_o"], vjp


multi_head_attention = Family(
    "multi_head_attention",
    _multi_head,
    ("query", "key", "value", "weights"),
    form="f(query, key, value, weights, heads, mask=None); query (B, N, D), key and value (B, M, D), weights a dict of "
    "w_q w_k w_v w_o (out, in) and b_q b_k b_v b_o (out,), mask (N, M), True = may be attended",
)
MULTI = r"H_i = \mathrm{Attention}(Q W_i^Q, K W_i^K, V W_i^V), \quad Y = [H_1, \dots, H_h] W^O"
HEADS = "Z: Multi-head attention"


# The plainest case: one head, self-attention, symmetric weights, no biases, no output projection. Each law lifts one


def _matrix(draw, D, lift):
    if lift:
        return numbers(draw, (D, D))
    square = numbers(draw, (D, D), 0.5)
    return square + square.T


def _weights_dict(draw, D, lift):
    w = {f"w_{n}": _matrix(draw, D, lift == "orientation") for n in "qkv"}
    w["w_o"] = numbers(draw, (D, D)) if lift == "output" else np.eye(D, dtype=np.float32)
    return w | {f"b_{n}": numbers(draw, (D,)) * np.float32(lift == "biases") for n in "qkvo"}


def _case(draw, lift="", D=2):
    N = integer(draw, 2, 3)
    M = choose(draw, *(m for m in (2, 3, 4) if m != N)) if lift == "lengths" else N
    query = numbers(draw, (2, N, D), 10.0 if lift == "large" else 0.5)
    key = numbers(draw, (2, M, D), 0.5) if lift == "lengths" else query
    value = numbers(draw, (2, M, D)) if lift == "values" else key
    case = {"query": query, "key": key, "value": value, "weights": _weights_dict(draw, D, lift), "heads": 1}
    if lift == "mask":
        mask = flags(draw, (N, M), 0.5)
        mask[:, 0] |= ~mask.any(axis=-1)
        case["mask"] = mask
    return case


def _lifting(lift):
    return lambda draw: _case(draw, lift)


def _heads(draw):
    heads = choose(draw, 2, 3)
    return {**_case(draw, D=2 * heads), "heads": heads}


def _mha_size_one(draw):
    case = _case(draw)
    n, m = sizes(draw, 2, 1, 2)
    case["query"], case["key"] = case["query"][:1, :n], case["key"][:1, :m]
    return {**case, "value": case["key"]}


def _mha_smooth(draw):
    N, M, D = integer(draw, 2, 3), integer(draw, 2, 3), 4
    inputs = {n: numbers(draw, (2, s, D), 0.5) for n, s in (("query", N), ("key", M), ("value", M))}
    w = {f"w_{n}": numbers(draw, (D, D), 0.5) for n in "qkvo"} | {
        f"b_{n}": numbers(draw, (D,)) for n in "qkvo"
    }
    return {**inputs, "weights": w, "heads": choose(draw, 2, 1)}


def _with(**changed):
    """A mutant that uses other weights: each rule maps the weights to what stands for one of them."""

    def change(right, args, options):
        w = args[3]
        return right(*args[:3], w | {n: rule(w) for n, rule in changed.items()}, *args[4:], **options)[0]

    return mutated(_multi_head, change)


multi_head_attention.agrees(
    "output projection",
    "The heads, side by side, go through one more linear map.",
    inputs=_lifting("output"),
    equation=MULTI,
    slide=HEADS,
    hint="After the heads are joined comes w_o (and b_o): without it the heads never mix.",
    mutant=_with(w_o=lambda w: np.eye(len(w["w_o"]), dtype=w["w_o"].dtype)),
)
multi_head_attention.agrees(
    "weights are (out, in)",
    "A linear map is x W^T + b: the rows of a weight are its outputs.",
    inputs=_lifting("orientation"),
    equation=r"Q = X W_q^T + b_q",
    slide="A: Scaled dot-product attention",
    hint="As in PyTorch a weight is (out, in), so a row of tokens meets its transpose.",
    mutant=_with(**{f"w_{n}": lambda w, n=n: w[f"w_{n}"].T for n in "qkv"}),
)
multi_head_attention.agrees(
    "biases",
    "Each of the four linear maps has a bias.",
    inputs=_lifting("biases"),
    equation=r"Q = X W_q^T + b_q",
    slide="A: Scaled dot-product attention",
    hint="b_q, b_k, b_v and b_o are added after their matrix products, before the heads are split (b_o: after all).",
    mutant=_with(**{f"b_{n}": lambda w, n=n: 0 * w[f"b_{n}"] for n in "qkvo"}),
)


def _full_width(right, args, options):
    """Scaled by the width of all heads together."""
    w, heads = args[3], args[4]
    root = np.float32(1 / math.sqrt(heads)).astype(args[0].dtype)
    return right(*args[:3], w | {"w_q": w["w_q"] * root, "b_q": w["b_q"] * root}, heads, **options)[0]


multi_head_attention.agrees(
    "heads",
    "Each head attends with its own slice of the features, and is scaled by its own width.",
    inputs=_heads,
    equation=MULTI,
    slide="C: Multi-head Self-attention Layer",
    hint="Head 0 takes the first D / h features: (B, N, D) -> (B, N, h, D/h) -> (B, h, N, D/h). The scale is "
    "sqrt(D / h), not sqrt(D).",
    mutant=mutated(_multi_head, _full_width),
)
multi_head_attention.agrees(
    "values of their own",
    "Keys say who is attended to, values say what is handed over: they may differ.",
    inputs=_lifting("values"),
    equation=r"V = \mathrm{value}\, W_v^T + b_v",
    slide="I: Self Attention vs Cross Attention",
    hint="The third argument goes through w_v; is the second used twice?",
    mutant=mutated(_multi_head, lambda right, a, o: right(a[0], a[1], a[1], *a[3:], **o)[0]),
)


def _one_length(right, args, options):
    query, key, value, weights, heads = args
    N = query.shape[1]
    if key.shape[1] == N or query.shape[0] == 1:
        return right(*args, **options)[0]
    wrapped = np.arange(N) % key.shape[1]
    return right(query, key[:, wrapped], value[:, wrapped], weights, heads, **options)[0]


multi_head_attention.agrees(
    "cross-attention",
    "Queries and keys come in different numbers.",
    inputs=_lifting("lengths"),
    equation=r"Q \in \mathbb R^{N \times D},\ K, V \in \mathbb R^{M \times D},\ Y \in \mathbb R^{N \times D}",
    slide="I: Cross Attention",
    hint="Take N from query and M from key; reshape keys and values with M.",
    mutant=mutated(_multi_head, _one_length),
)
multi_head_attention.agrees(
    "mask",
    "The mask reaches every head: True = may be attended.",
    inputs=_lifting("mask"),
    equation=r"s_{ij} = -\infty \text{ where } M_{ij} = 0",
    slide="C: Masked Self-Attention Layer",
    hint="True means may be attended, in every head. Is it inverted, or not passed on?",
    mutant=mutated(
        _multi_head,
        lambda right, a, o: right(
            *a, **{n: ~m if n == "mask" and m is not None else m for n, m in o.items()}
        )[0],
    ),
)


def _unshifted(right, args, options):
    query, key, value, w, heads = args
    q, k, v = (
        _split(x @ w[f"w_{n}"].T + w[f"b_{n}"], heads) for n, x in (("q", query), ("k", key), ("v", value))
    )
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if options.get("mask") is not None or scores.max() < 80:
        return right(*args, **options)[0]
    e = np.exp(scores)
    return _join(e / e.sum(axis=-1, keepdims=True) @ v) @ w["w_o"].T + w["b_o"]


multi_head_attention.agrees(
    "large scores",
    "Scores of hundreds are no trouble.",
    atol=5e-3,
    inputs=_lifting("large"),
    equation=r"\frac{e^{s_j - m}}{\sum_k e^{s_k - m}}, \quad m = \max_j s_j",
    hint="exp of a score above 88 is inf in float32. Subtract the row's largest score first.",
    mutant=mutated(_multi_head, _unshifted),
    examples=20,
)
every_family(multi_head_attention, inputs=_case, shapes=_mha_size_one)


def _pulled(change):
    def wrong(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: change(g, args, vjp(g))

    return mutated(_multi_head, wrong)


gradients(
    multi_head_attention,
    inputs=_mha_smooth,
    slide=HEADS,
    equation={
        "query": r"\bar X_q = \bar Q W_q",
        "key": r"\bar X_k = \bar K W_k",
        "value": r"\bar X_v = \bar V W_v",
        "weights": r"\bar W = \sum_{\text{tokens}} d\, x^T, \quad \bar b = \sum_{\text{tokens}} d",
    },
    hints={
        "query": "Forward x W^T, backward d W: the weight is not transposed on the way back.",
        "key": "Forward x W^T, backward d W: the weight is not transposed on the way back.",
        "value": "Forward x W^T, backward d W: the weight is not transposed on the way back.",
        "weights": "A dict with the same names. The gradient of a weight is (out, in) and sums over all tokens of all "
        "images; that of a bias sums too.",
    },
    mutants={
        "query": _pulled(lambda g, a, d: (d[0] @ a[3]["w_q"].T, *d[1:])),
        "key": _pulled(lambda g, a, d: (d[0], d[1] @ a[3]["w_k"].T, *d[2:])),
        "value": _pulled(lambda g, a, d: (*d[:2], d[2] @ a[3]["w_v"].T, d[3])),
        "weights": _pulled(lambda g, a, d: (*d[:3], d[3] | {"b_o": g.mean(axis=(0, 1))})),
    },
)
