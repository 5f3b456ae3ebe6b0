"""The laws of multi_head_attention: each law adds one thing to the case of a single plain head.

Not here: attention itself (attention.py), which the heads share.
"""

import math

import numpy as np

from minivis.laws.attention import _attention as one_head
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, flags, generator, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values


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
HEADS = "Z/34-multi-head-attention"


# The simplest case: one head, self-attention, symmetric weights, no biases, no output projection. Each law changes one


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
    N = integer(draw, 2, 3)
    M = integer(draw, 2, 3)
    D = 4
    inputs = {n: numbers(draw, (2, s, D), 0.5) for n, s in (("query", N), ("key", M), ("value", M))}
    w = {f"w_{n}": numbers(draw, (D, D), 0.5) for n in "qkvo"} | {
        f"b_{n}": numbers(draw, (D,)) for n in "qkvo"
    }
    return {**inputs, "weights": w, "heads": choose(draw, 2, 1)}


def _simplest(draw):
    """One image attends to itself with one head."""
    return _any_call(draw, batch=1, heads=1, cross=False)


def _anything(draw):
    return _any_call(
        draw, integer(draw, 1, 2), integer(draw, 1, 4), choose(draw, False, True), choose(draw, False, True)
    )


def _any_call(draw, batch, heads, cross, masked=False):
    N = integer(draw, 2, 4)
    D = heads * integer(draw, 1, 3)
    M = integer(draw, 1, 4) if cross else N
    query = normals(draw, (batch, N, D))
    key, value = (normals(draw, (batch, M, D)) if cross else query for _ in range(2))
    w = {f"w_{n}": normals(draw, (D, D), 0.7) for n in "qkvo"} | {
        f"b_{n}": normals(draw, (D,)) for n in "qkvo"
    }
    case = {"query": query, "key": key, "value": value, "weights": w, "heads": heads}
    if masked:
        case["mask"] = generator(draw).random((N, M)) < choose(draw, 0.5, 0.25)  # some rows may see nothing
    return case


def _with(**changed):
    """A mutant that replaces some weights: each rule maps all weights to the new value of one."""

    def change(right, args, options):
        w = args[3]
        return right(*args[:3], w | {n: rule(w) for n, rule in changed.items()}, *args[4:], **options)[0]

    return mutated(_multi_head, change)


multi_head_attention.agrees(
    "output projection",
    "The concatenated outputs of the heads go through one more linear map.",
    inputs=_lifting("output"),
    equation=MULTI,
    slide=HEADS,
    hint="After the heads are joined comes w_o (and b_o): without it the heads never mix.",
    mutant=_with(w_o=lambda w: np.eye(len(w["w_o"]), dtype=w["w_o"].dtype)),
)
multi_head_attention.agrees(
    "weights are (out, in)",
    "A linear map is x W^T + b: a weight has one row for each output.",
    inputs=_lifting("orientation"),
    equation=r"Q = X W_q^T + b_q",
    slide="A/25-queries-keys-values",
    hint="As in PyTorch, a weight is (out, in): multiply the tokens by its transpose.",
    mutant=_with(**{f"w_{n}": lambda w, n=n: w[f"w_{n}"].T for n in "qkv"}),
)
multi_head_attention.agrees(
    "biases",
    "Each of the four linear maps has a bias.",
    inputs=_lifting("biases"),
    equation=r"Q = X W_q^T + b_q",
    slide="A/25-queries-keys-values",
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
    slide="C/105-multi-head-self-attention",
    hint="Head 0 takes the first D / h features: (B, N, D) -> (B, N, h, D/h) -> (B, h, N, D/h). The scale is "
    "sqrt(D / h), not sqrt(D).",
    mutant=mutated(_multi_head, _full_width),
)
multi_head_attention.agrees(
    "values of their own",
    "Keys decide which tokens are attended to, values are what is averaged: the two inputs may differ.",
    inputs=_lifting("values"),
    equation=r"V = \mathrm{value}\, W_v^T + b_v",
    slide="I/26-self-versus-cross",
    hint="The third argument goes through w_v. Do you use the second argument twice?",
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
    "There may be more keys than queries, or fewer.",
    inputs=_lifting("lengths"),
    equation=r"Q \in \mathbb R^{N \times D},\ K, V \in \mathbb R^{M \times D},\ Y \in \mathbb R^{N \times D}",
    slide="I/30-cross-attention-relates",
    hint="Take N from query and M from key; reshape keys and values with M.",
    mutant=mutated(_multi_head, _one_length),
)
multi_head_attention.agrees(
    "mask",
    "The mask applies to every head: True = may be attended.",
    inputs=_lifting("mask"),
    equation=r"s_{ij} = -\infty \text{ where } M_{ij} = 0",
    slide="C/126-masked-self-attention",
    hint="True means may be attended, in every head. Is the mask inverted, or not passed on?",
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
    "Scores in the hundreds give the right output, not inf or NaN.",
    atol=5e-3,
    inputs=_lifting("large"),
    equation=r"\frac{e^{s_j - m}}{\sum_k e^{s_k - m}}, \quad m = \max_j s_j",
    hint="exp of a score above 88 is inf in float32. Subtract the row's largest score first.",
    mutant=mutated(_multi_head, _unshifted),
    examples=20,
)
every_family(multi_head_attention, inputs=_case, shapes=_mha_size_one)


def _shown(split=_split, join=_join, attend=one_head):
    """A mutant that splits and joins the heads in another way, or has other heads: ``attend(q, k, v, mask)``."""

    def mutant(query, key, value, weights, heads, mask=None):
        w = weights
        inputs = (("q", query), ("k", key), ("v", value))
        q, k, v = (split(x @ w[f"w_{n}"].T + w[f"b_{n}"], heads) for n, x in inputs)
        return join(attend(q, k, v, mask)[0]) @ w["w_o"].T + w["b_o"]

    return mutant


def _reshaped_only(tokens, heads):
    """Heads split by a reshape alone."""
    B, N, D = tokens.shape
    return tokens.reshape(B, heads, N, D // heads)


def _taking_turns(tokens, heads):
    """Head i takes the features i, i + h, i + 2 h."""
    B, N, D = tokens.shape
    return tokens.reshape(B, N, D // heads, heads).transpose(0, 3, 1, 2)


def _joined_by_reshape(tokens):
    B, h, N, d = tokens.shape
    return tokens.reshape(B, N, h * d)


def _first_head_masked(q, k, v, mask=None):
    """The mask applied to the first head only."""
    if mask is not None:
        mask = mask | (np.arange(q.shape[1]) > 0)[:, None, None]
    return one_head(q, k, v, mask)


values(
    multi_head_attention,
    simplest=_simplest,
    words="one image, one head, self-attention, no mask",
    anything=_anything,
    hint="These calls combine several heads, different numbers of queries and keys, and a mask: does the mask apply to every "
    "head?",
    mutant=_shown(attend=_first_head_masked),
)
for name, hint, answer in (
    (
        "heads split by a reshape alone",
        "The reshape to (B, h, N, D/h) mixes tokens and features. First (B, N, h, D/h), then swap the two axes in the "
        "middle.",
        _shown(split=_reshaped_only),
    ),
    (
        "heads joined by a reshape alone",
        "The heads are joined without swapping their axis back: (B, h, N, D/h) -> (B, N, h, D/h) -> (B, N, D).",
        _shown(join=_joined_by_reshape),
    ),
    (
        "features dealt out in turn",
        "Head 0 takes the first D / h features; here it takes every h-th one.",
        _shown(split=_taking_turns),
    ),
    (
        "scaled by the width of all heads",
        "The scores are divided by sqrt(D). Each head is D / h wide: divide by sqrt(D / h).",
        mutated(_multi_head, _full_width),
    ),
    (
        "one head",
        "The argument heads has no effect: each head attends with its own slice of the features.",
        mutated(_multi_head, lambda right, a, o: right(*a[:4], 1, **o)[0]),
    ),
    (
        "weights taken for (in, out)",
        "A weight is (out, in), as in PyTorch: multiply the tokens by its transpose, with w_o too.",
        _with(**{f"w_{n}": lambda w, n=n: w[f"w_{n}"].T for n in "qkvo"}),
    ),
    (
        "no output projection",
        "The heads are joined and returned as they are: w_o and b_o come after that.",
        _with(w_o=lambda w: np.eye(len(w["w_o"]), dtype=w["w_o"].dtype), b_o=lambda w: 0 * w["b_o"]),
    ),
    (
        "biases forgotten",
        "The four linear maps lack their biases.",
        _with(**{f"b_{n}": lambda w, n=n: 0 * w[f"b_{n}"] for n in "qkvo"}),
    ),
    (
        "keys for values",
        "You compute the values from the second argument; they come from the third, through w_v.",
        mutated(_multi_head, lambda right, a, o: right(a[0], a[1], a[1], *a[3:], **o)[0]),
    ),
    (
        "self-attention only",
        "You compute keys and values from the queries; they come from the second and third arguments.",
        mutated(_multi_head, lambda right, a, o: right(a[0], a[0], a[0], *a[3:], **o)[0]),
    ),
    (
        "mask upside down",
        "True means may be attended; you use the keys where the mask is False.",
        mutated(_multi_head, lambda right, a, o: right(*a, **{n: ~m for n, m in o.items()})[0]),
    ),
    (
        "mask not passed on",
        "The mask has no effect: pass it to the attention of the heads.",
        mutated(_multi_head, lambda right, a, o: right(*a)[0]),
    ),
    (
        "mask in the first head only",
        "The mask applies to one head only. Its shape is (N, M), that of the scores (B, h, N, M): it broadcasts over the "
        "heads.",
        _shown(attend=_first_head_masked),
    ),
):
    multi_head_attention.mistake(name, hint, answer)


def _without_mask(g, pulled, args, options):
    """The backward pass without the mask."""
    return _multi_head(*args)[1](g)


def _weights_changed(change, *names):
    """Backward with other gradients of some weights: ``change(gradient, args)``."""

    def wrong(g, pulled, args, options):
        return *pulled[:3], pulled[3] | {n: change(pulled[3][n], args) for n in names}

    return backward(_multi_head, wrong)


def _first_image(g, pulled, args, options):
    """The gradients of the weights from the first image alone."""
    only = _multi_head(*(x[:1] for x in args[:3]), *args[3:], **options)[1]
    return *pulled[:3], only(g[:1])[3]


def _untransposed(g, pulled, args, options):
    """The weights transposed in the gradients of the inputs."""
    w = args[3]
    projected = [x @ w[f"w_{n}"].T + w[f"b_{n}"] for n, x in zip("qkv", args[:3], strict=True)]
    plain = {f"w_{n}": np.eye(len(w["w_o"])) for n in "qkv"} | {f"b_{n}": 0 * w["b_o"] for n in "qkv"}
    parts = _multi_head(*projected, w | plain, *args[4:], **options)[1](g)
    return *(d @ w[f"w_{n}"].T for n, d in zip("qkv", parts[:3], strict=True)), pulled[3]


def _biases_averaged(g, pulled, args, options):
    """The gradients of the biases as means over the tokens."""
    tokens = zip("qkvo", (*args[:3], args[0]), strict=True)
    means = {f"b_{n}": pulled[3][f"b_{n}"] / (x.shape[0] * x.shape[1]) for n, x in tokens}
    return *pulled[:3], pulled[3] | means


def _output_map_forgotten(g, pulled, args, options):
    """A backward pass without the output projection."""
    w = args[3] | {"w_o": np.eye(len(args[3]["w_o"]))}
    wrong = _multi_head(*args[:3], w, *args[4:], **options)[1](g)
    return *wrong[:3], wrong[3] | {n: pulled[3][n] for n in ("w_o", "b_o")}


WEIGHTS, BIASES = [f"w_{n}" for n in "qkvo"], [f"b_{n}" for n in "qkvo"]

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
        "query": backward(_multi_head, lambda g, d, a, o: (d[0] @ a[3]["w_q"].T, *d[1:])),
        "key": backward(_multi_head, lambda g, d, a, o: (d[0], d[1] @ a[3]["w_k"].T, *d[2:])),
        "value": backward(_multi_head, lambda g, d, a, o: (*d[:2], d[2] @ a[3]["w_v"].T, d[3])),
        "weights": backward(_multi_head, lambda g, d, a, o: (*d[:3], d[3] | {"b_o": g.mean(axis=(0, 1))})),
    },
)
gradient_values(
    multi_head_attention,
    simplest=_simplest,
    words="one image, one head, self-attention, no mask",
    anything=_anything,
    hint="The backward pass uses the same attention weights as the forward pass: those with the mask.",
    mutant=backward(_multi_head, _without_mask),
)
for name, hint, answer in (
    (
        "the mask forgotten on the way back",
        "These are the gradients without a mask. A forbidden key has weight 0, so no gradient flows through it.",
        backward(_multi_head, _without_mask),
    ),
    (
        "weights transposed on the way back",
        "Forward x W^T, backward d W: the weight is not transposed on the way back.",
        backward(_multi_head, _untransposed),
    ),
    (
        "gradients of weights (in, out)",
        "The gradients of the weights are transposed: a weight is (out, in), and so is its gradient, d^T x.",
        _weights_changed(lambda d, args: d.T, *WEIGHTS),
    ),
    (
        "the first image only",
        "The gradients of the weights come from the first image alone: sum over all images of the batch.",
        backward(_multi_head, _first_image),
    ),
    (
        "weights averaged over the batch",
        "The gradients of weights and biases are sums over the images, not means.",
        _weights_changed(lambda d, args: d / len(args[0]), *WEIGHTS, *BIASES),
    ),
    (
        "biases averaged",
        "The gradient of a bias is the sum over all tokens of all images, not the mean.",
        backward(_multi_head, _biases_averaged),
    ),
    (
        "the output projection forgotten on the way back",
        "g is the cotangent of the output, after w_o: first go back through w_o, g W_o, and then split the heads.",
        backward(_multi_head, _output_map_forgotten),
    ),
):
    multi_head_attention.mistake(name, hint, answer, gradient=True)
