"""The laws of scaled_dot_product_attention.

Not here: several heads (multi_head.py), dropout, causal flags.
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, flags, generator, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

ATTENTION = r"Y = \mathrm{softmax}\Big(\frac{Q K^T}{\sqrt{d}}\Big) V"
SLIDE = "A/26-cross-attention"


def _weights(scores, mask=None):
    """Softmax over the allowed keys; a row without allowed keys is 0."""
    allowed = scores if mask is None else np.where(mask, scores, -np.inf)
    top = allowed.max(axis=-1, keepdims=True)
    e = np.exp(allowed - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def _attention(q, k, v, mask=None):
    scale = 1 / math.sqrt(q.shape[-1])
    p = _weights(q @ np.swapaxes(k, -1, -2) * scale, mask)

    def vjp(g):
        dp = g @ np.swapaxes(v, -1, -2)
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
        return ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ g

    return p @ v, vjp


attention = Family(
    "scaled_dot_product_attention",
    _attention,
    ("q", "k", "v"),
    form="f(q, k, v, mask=None); q (..., N, d), k (..., M, d), v (..., M, e); mask boolean, True = may be attended",
)


# In every law but "scale" keys have width 1, so that the scale is 1; there are not as many queries as keys


def _tokens(draw, leading=(2,), width=1, queries=None, keys=None, values=2):
    N = queries or integer(draw, 2, 3)
    M = keys or choose(draw, *(m for m in (2, 3, 4) if m != N))
    shapes = {"q": (*leading, N, width), "k": (*leading, M, width), "v": (*leading, M, values)}
    return {name: numbers(draw, shape) for name, shape in shapes.items()}


def _plain(draw):
    return _tokens(draw)


def _matrices(draw):
    return _tokens(draw, leading=())


def _many_axes(draw):
    return _tokens(draw, leading=(2, choose(draw, 2, 3)))


def _wide(draw):
    return _tokens(draw, width=integer(draw, 2, 4))


def _square(draw):
    N = integer(draw, 2, 3)
    return _tokens(draw, queries=N, keys=N)


def _large(draw):
    case = _tokens(draw)
    top = np.float32(choose(draw, 100.0, 9000.0))
    return {**case, "q": np.abs(case["q"]) + np.float32(1), "k": case["k"] + top}


def _masked(draw, keep=0.6):
    case = _tokens(draw)
    mask = flags(draw, (2, case["q"].shape[1], case["k"].shape[1]), keep)
    mask[..., 0] |= ~mask.any(axis=-1)  # every query has an allowed key
    return {**case, "mask": mask}


def _broadcast(draw):
    case = _masked(draw)
    N, M = case["mask"].shape[1:]
    shape = choose(draw, (M,), (N, M), (1, M), (2, 1, M), (1, N, M))
    mask = flags(draw, shape)
    mask[..., 0] = True
    return {**case, "mask": mask}


def _forbidden(draw):
    """Masked keys that score far higher than the allowed ones."""
    case = _tokens(draw)
    M = case["k"].shape[1]
    mask = np.zeros((2, case["q"].shape[1], M), bool)
    mask[..., : M - 1] = True
    k = case["k"].copy()
    k[:, -1] = choose(draw, 150.0, 9000.0)
    return {**case, "q": np.abs(case["q"]) + np.float32(1), "k": k, "mask": mask}


def _empty_rows(draw):
    case = _masked(draw)
    mask = case["mask"].copy()
    mask[:, choose(draw, 0, -1)] = False
    return {**case, "mask": mask}


def _size_one(draw):
    return _tokens(
        draw, (integer(draw, 1, 2),), integer(draw, 1, 2), integer(draw, 1, 2), integer(draw, 1, 2), 1
    )


def _simplest(draw):
    N, M, d, e = sizes(draw, 4, 2, 4)
    return {"q": normals(draw, (N, d)), "k": normals(draw, (M, d)), "v": normals(draw, (M, e))}


def _anything(draw):
    """With or without a mask; with one, a key may have a far higher score than the others, allowed or not."""
    masked, loud = choose(draw, (False, False), (True, False), (True, True))
    case = _any_call(draw, masked)
    if loud:
        query, key = (integer(draw, 0, case[name].shape[-2] - 1) for name in ("q", "k"))
        case["k"][..., key, :] = 300 * case["q"][..., query, :]
    return case


def _moderate(draw):
    """Some cases have scores whose exp is infinite in float32: the backward pass needs the maximum too."""
    case = _any_call(draw, choose(draw, False, True))
    return {**case, "q": case["q"] * np.float32(choose(draw, 1, 1, 1, 100))}


def _any_call(draw, masked):
    leading = sizes(draw, integer(draw, 0, 2), 1, 3)
    (N, M) = sizes(draw, 2, 1, 5)
    (d, e) = sizes(draw, 2, 1, 4)
    case = {"q": normals(draw, (*leading, N, d)), "k": normals(draw, (*leading, M, d))}
    case["v"] = normals(draw, (*leading, M, e))
    return {**case, "mask": _any_mask(draw, (*leading, N, M))} if masked else case


def _any_mask(draw, full):
    """A mask of any shape that broadcasts, with few allowed keys or many; rows may be empty."""
    rng = generator(draw)
    shape = [n if rng.random() < 0.7 else 1 for n in full[:-1]] + [full[-1]]
    return rng.random(shape[rng.integers(len(full)) * (rng.random() < 0.6) :]) < rng.choice([0.2, 0.5, 0.8])


def _smooth(draw):
    case = _tokens(draw, width=integer(draw, 2, 3))
    if choose(draw, False, True):
        case["mask"] = flags(draw, (2, case["q"].shape[1], case["k"].shape[1]))
    return case


def _extra_axis(right, args, options):
    """Leading axes are flattened into one, even when there are none."""
    q, k, v = args
    if q.ndim == 2:
        return right(q[None], k[None], v[None], **options)[0]
    return right(*args, **options)[0]


def _transposed_whole(right, args, options):
    """A transpose that is right for up to one leading axis only."""
    q, k, v = args
    if q.ndim < 4:
        return right(*args, **options)[0]
    return _weights(q @ k.transpose(0, 2, 3, 1)) @ v


attention.agrees(
    "matrices",
    "Each query gets a weighted mean of the values; the weights say how well the keys match the query.",
    inputs=_matrices,
    equation=ATTENTION,
    slide=SLIDE,
    hint="q, k and v may be plain matrices (N, d) without a batch. Softmax runs over the keys: each row of weights sums "
    "to 1.",
    mutant=mutated(_attention, _extra_axis),
)
attention.agrees(
    "leading axes",
    "Images and heads are independent: attention works on the last two axes.",
    inputs=_many_axes,
    equation=ATTENTION,
    slide="Z/34-multi-head-attention",
    hint="k.T reverses all axes. Swap only the last two, np.swapaxes(k, -1, -2); @ works on the last two as well.",
    mutant=mutated(_attention, _transposed_whole),
)
attention.agrees(
    "scale",
    "Scores are divided by the square root of the width of the keys.",
    inputs=_wide,
    equation=r"\mathrm{Var}(q \cdot k) = d \ \Rightarrow\ \frac{q \cdot k}{\sqrt d}",
    slide="I/9-relate",
    hint="A dot product of d numbers has a standard deviation of sqrt(d). Divide by sqrt(d), once: not by d, and not by the "
    "number of tokens.",
    mutant=lambda q, k, v, mask=None: _weights(q @ np.swapaxes(k, -1, -2), mask) @ v,
)


def _naive(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    e = (
        np.exp(scores)
        if mask is None
        else np.exp(scores) * mask
        if scores.max() < 80
        else np.where(mask, 1, 0)
    )
    total = e.sum(axis=-1, keepdims=True)
    return (e / np.where(total == 0, 1, total)).astype(q.dtype) @ v


attention.agrees(
    "large scores",
    "Scores in the thousands give the right output, not inf or NaN.",
    atol=5e-3,  # float32 has steps of 0.002 among scores of 27,000
    inputs=_large,
    equation=r"\frac{e^{s_j - m}}{\sum_k e^{s_k - m}}, \quad m = \max_j s_j",
    slide="I/9-relate",
    hint="exp of a score above 88 is inf in float32. Subtract the row's largest score first.",
    mutant=_naive,
)


@attention.law(
    "permutation",
    inputs=_square,
    equation=r"f(\Pi Q, \Pi K, \Pi V) = \Pi f(Q, K, V)",
    slide="C/104-permutation-equivariance",
    hint="Without position codes attention does not depend on the order of the tokens. Do you apply a causal mask that the "
    "caller did not ask for, or add something that depends on the position?",
    mutant=mutated(
        _attention,
        lambda right, a, o: (
            right(*a, **{"mask": np.tri(a[0].shape[-2], dtype=bool), **o})[0]
            if a[0].shape[-2] == a[1].shape[-2] > 1
            else right(*a, **o)[0]
        ),
    ),
)
def permutation(f, case):
    """Permuting the tokens permutes the output, and changes nothing else."""
    turned = case.replace(**{n: np.ascontiguousarray(case[n][..., ::-1, :]) for n in ("q", "k", "v")})
    compare(f(turned)[..., ::-1, :], f(case).astype(np.float64))


def _masked_late(right, args, options):
    p = _weights(args[0] @ np.swapaxes(args[1], -1, -2) / math.sqrt(args[0].shape[-1]))
    return p * options["mask"] @ args[2] if options.get("mask") is not None else right(*args, **options)[0]


attention.agrees(
    "mask",
    "A query attends only to the keys where mask is True, and their weights sum to 1.",
    inputs=_masked,
    equation=r"s_{ij} = -\infty \text{ where } M_{ij} = 0",
    slide="I/40-masked-attention",
    hint="True means may be attended. Remove the forbidden keys before the softmax: if you remove them after it, the weights "
    "no longer sum to 1.",
    mutant=mutated(_attention, _masked_late),
)


def _indexed(right, args, options):
    scores = args[0] @ np.swapaxes(args[1], -1, -2) / math.sqrt(args[0].shape[-1])
    if options.get("mask") is None:
        return right(*args, **options)[0]
    scores[~options["mask"]] = -np.inf
    return _weights(scores) @ args[2]


@attention.law(
    "mask broadcasts",
    inputs=_broadcast,
    equation=r"M \in \{0, 1\}^{M},\ \{0, 1\}^{N \times M},\ \dots",
    hint="A mask of shape (M,) applies to every query. scores[~mask] needs the full shape; np.where(mask, scores, ...) "
    "broadcasts.",
    mutant=mutated(_attention, _indexed),
    right_too=("mask",),
)
def mask_broadcasts(f, case):
    """A mask with fewer axes, or axes of size 1, means the same as the full one."""
    full = np.broadcast_to(case["mask"], (2, case["q"].shape[1], case["k"].shape[1])).copy()
    compare(f(case), f(case.replace(mask=full)).astype(np.float64))


def _minus_hundred(right, args, options):
    mask = options.get("mask")
    if mask is None:
        return right(*args, **options)[0]
    scores = args[0] @ np.swapaxes(args[1], -1, -2) / math.sqrt(args[0].shape[-1])
    return (
        _weights(scores + np.where(mask, 0, -100).astype(scores.dtype))
        @ args[2]
        * mask.any(axis=-1, keepdims=True)
    )


@attention.law(
    "no leak",
    inputs=_forbidden,
    equation=r"M_{ij} = 0 \ \Rightarrow\ \frac{\partial y_i}{\partial v_j} = 0",
    slide="I/40-masked-attention",
    hint="A score of 150 with -100 added is still 50 and may be the largest. A forbidden key must get a weight of exactly 0, "
    "however high its score: replace the score by -inf before the softmax takes the maximum.",
    mutant=mutated(_attention, _minus_hundred),
    right_too=("mask", "large scores"),
)
def no_leak(f, case):
    """The value of a forbidden key has no influence: if it changes, the output stays the same, bit for bit."""
    v = case["v"].copy()
    v[:, -1] += 5
    before = f(case)
    after = f(case.replace(v=v))
    if not np.isfinite(before).all():
        raise Broken("The output has numbers that are not finite.", f.right(case), before)
    if not np.array_equal(before, after):
        raise Broken("Adding 5 to the value of the forbidden last key changed the output.", before, after)


def _uniform(right, args, options):
    scores = args[0] @ np.swapaxes(args[1], -1, -2) / math.sqrt(args[0].shape[-1])
    if options.get("mask") is None:
        return right(*args, **options)[0]
    return _weights(np.where(options["mask"], scores, np.float32(-1e9))) @ args[2]


@attention.law(
    "nothing to see",
    inputs=_empty_rows,
    equation=r"\forall j\ M_{ij} = 0 \ \Rightarrow\ y_i = 0",
    hint="If every score is -inf, softmax is 0/0; if every score is -1e9, it is uniform over forbidden keys. Treat rows "
    "without allowed keys separately.",
    mutant=mutated(_attention, _uniform),
    right_too=("mask",),
)
def nothing_to_see(f, case):
    """A query without allowed keys gets 0, not NaN and not a mean over forbidden keys."""
    empty = ~case["mask"].any(axis=-1)
    out = f(case)
    if out.shape != f.right(case).shape:
        raise Broken(f"The output has shape {out.shape}; {f.right(case).shape} was expected.")
    compare(out[empty], np.zeros(out[empty].shape), what="The output of the queries without keys")


every_family(attention, inputs=_plain, shapes=_size_one)


def _shown(softmax=_weights, scale=math.sqrt):
    """A mutant with another softmax, ``softmax(scores, mask)``, or another divisor of the scores."""

    def mutant(q, k, v, mask=None):
        scores = q @ np.swapaxes(k, -1, -2) / scale(q.shape[-1])
        return softmax(scores, mask) @ v

    return mutant


def _plain_softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _all_maximum(scores, mask):
    """Softmax over the allowed keys that takes the maximum of all."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True)) * (True if mask is None else mask)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def _filled(fill, softmax=_plain_softmax):
    """Another number in the place of forbidden scores."""
    return lambda scores, mask: softmax(scores if mask is None else np.where(mask, scores, np.float32(fill)))


def _unscaled_with_a_mask(right, args, options):
    """The scale forgotten in a separate branch for calls with a mask."""
    return _shown(scale=math.sqrt if options.get("mask") is None else lambda d: 1)(*args, **options)


values(
    attention,
    simplest=_simplest,
    words="matrices, no mask",
    anything=_anything,
    atol=1e-4,  # scores of hundreds are known to the fifth decimal
    hint="These calls combine the scale, the mask and large scores, with any number of axes. Do you have a separate branch "
    "for calls with a mask, and is it complete?",
    mutant=mutated(_attention, _unscaled_with_a_mask),
)
for name, hint, answer in (
    (
        "not scaled",
        "The scores are not scaled: divide them by the square root of the width of the keys.",
        _shown(scale=lambda d: 1),
    ),
    (
        "d for sqrt(d)",
        "The scores are divided by d. A sum of d products has a standard deviation of sqrt(d): divide by the root.",
        _shown(scale=lambda d: d),
    ),
    (
        "multiplied by sqrt(d)",
        "The scores are multiplied by sqrt(d); divide them by it.",
        _shown(scale=lambda d: 1 / math.sqrt(d)),
    ),
    (
        "softmax over the queries",
        "Here the columns of the weights sum to 1. The weights of each query must sum to 1: take the softmax over the "
        "keys, the last axis.",
        _shown(
            lambda scores, mask: _plain_softmax(
                scores if mask is None else np.where(mask, scores, -np.inf), -2
            )
        ),
    ),
    (
        "no softmax",
        "You multiply the scores with the values: take the softmax of the scores first.",
        _shown(lambda scores, mask: scores if mask is None else scores * mask),
    ),
    (
        "mask upside down",
        "True means may be attended; you use the keys where the mask is False.",
        _shown(lambda scores, mask: _weights(scores, None if mask is None else ~mask)),
    ),
    (
        "mask not used",
        "The mask has no effect: replace the scores by -inf where it is False, before the softmax.",
        _shown(lambda scores, mask: _plain_softmax(scores)),
    ),
    (
        "mask after the softmax",
        "You multiply the weights by the mask, so that they no longer sum to 1. Remove the forbidden scores before the "
        "softmax.",
        _shown(lambda scores, mask: _plain_softmax(scores) * (1 if mask is None else mask)),
    ),
    (
        "forbidden scores of 0",
        "A forbidden key has the score 0, and exp(0) is 1: it still takes part. Its score must be -inf.",
        _shown(_filled(0)),
    ),
    (
        "-100 added",
        "You add -100 to forbidden scores: a score of 150 may still be the largest. Replace them by -inf (and treat rows "
        "without allowed keys separately).",
        _shown(
            lambda s, mask: _plain_softmax(s if mask is None else s + np.where(mask, 0, -100).astype(s.dtype))
        ),
    ),
    (
        "a large negative number for -inf",
        "A row without allowed keys attends evenly to forbidden keys, because all its scores are the same large negative "
        "number. Such a row must give 0.",
        _shown(_filled(-1e9)),
    ),
    (
        "0/0 in an empty row",
        "In a row without allowed keys every score is -inf, and softmax gives NaN. Treat such rows separately: their "
        "output is 0.",
        _shown(_filled(-np.inf)),
    ),
    (
        "the maximum of forbidden keys too",
        "You take the largest score over all keys. If a forbidden key has it, the exps of the allowed ones may all be 0: "
        "take the maximum after the mask.",
        _shown(_all_maximum),
    ),
):
    attention.mistake(name, hint, answer)


def _scores(args, options):
    """The weights, and what the scores are divided by."""
    root = math.sqrt(args[0].shape[-1])
    return _weights(args[0] @ np.swapaxes(args[1], -1, -2) / root, options.get("mask")), root


def _through(change):
    """A backward pass with another cotangent of the scores: ``change(p, dp, root)``."""

    def wrong(g, pulled, args, options):
        (q, k, v) = args
        (p, root) = _scores(args, options)
        ds = change(p, g @ np.swapaxes(v, -1, -2), root)
        return ds @ k, np.swapaxes(ds, -1, -2) @ q, pulled[2]

    return backward(_attention, wrong)


def _row_sum(p, dp):
    return (p * dp).sum(axis=-1, keepdims=True)


def _unmasked(g, pulled, args, options):
    """The backward pass without the mask."""
    return _attention(*args)[1](g)


def _scores_for_weights(g, pulled, args, options):
    """The scores where the weights belong."""
    scores = args[0] @ np.swapaxes(args[1], -1, -2) / math.sqrt(args[0].shape[-1])
    return *pulled[:2], np.swapaxes(scores, -1, -2) @ g


def _axes_by_number(g, pulled, args, options):
    """The last two axes given by positive numbers: right for matrices and for one leading axis."""
    p = _scores(args, options)[0]
    return *pulled[:2], np.swapaxes(p, *((0, 1) if p.ndim == 2 else (1, 2))) @ g


def _weights_untransposed(g, pulled, args, options):
    """The weights without the transpose; possible only for as many queries as keys."""
    p = _scores(args, options)[0]
    return *pulled[:2], p @ g if p.shape[-1] == p.shape[-2] else pulled[2]


gradients(
    attention,
    inputs=_smooth,
    slide=SLIDE,
    equation={
        "q": r"\bar Q = \bar S K / \sqrt d",
        "k": r"\bar K = \bar S^T Q / \sqrt d",
        "v": r"\bar V = P^T g",
    },
    hints={
        "q": "Go back step by step: product with V, softmax, scale, product with K. The backward pass needs the scale too.",
        "k": "As for q, with the cotangent of the scores transposed; the scale is needed here too.",
        "v": "Each value gets a gradient from every query that attended to it, with the same weight: multiply g by the "
        "transposed weights, after the softmax.",
    },
    mutants={
        "q": backward(_attention, lambda g, d, a, o: (d[0] * math.sqrt(a[0].shape[-1]), *d[1:])),
        "k": backward(_attention, lambda g, d, a, o: (d[0], d[1] * math.sqrt(a[0].shape[-1]), d[2])),
        "v": backward(_attention, _scores_for_weights),
    },
)
gradient_values(
    attention,
    simplest=_simplest,
    words="matrices, no mask",
    anything=_moderate,
    hint="The backward pass transposes only the last two axes, however many leading axes there are; and the mask may have "
    "a smaller shape than the scores.",
    mutant=backward(_attention, _axes_by_number),
)
for name, hint, answer in (
    (
        "the scale forgotten on the way back",
        "The gradients of q and k are too large by sqrt(d): the scores were divided by it, so their cotangents are too.",
        _through(lambda p, dp, root: p * (dp - _row_sum(p, dp))),
    ),
    (
        "the row sum of softmax left out",
        "You differentiate softmax like an element-wise function. Each weight depends on all scores of its row: subtract "
        "the row's sum of p times its cotangent.",
        _through(lambda p, dp, root: p * dp / root),
    ),
    (
        "p (1 - p) for the Jacobian of softmax",
        "p (1 - p) is only the effect of a score on its own weight. It changes the other weights of its row too: p times "
        "(cotangent minus the row's sum of p times cotangent).",
        _through(lambda p, dp, root: p * (1 - p) * dp / root),
    ),
    (
        "softmax left out on the way back",
        "The cotangent of the weights is used as that of the scores: go back through the softmax first.",
        _through(lambda p, dp, root: dp / root),
    ),
    (
        "the mask forgotten on the way back",
        "These are the gradients without a mask. A forbidden key has weight 0, so no gradient flows through it: use the "
        "weights of the forward pass.",
        backward(_attention, _unmasked),
    ),
    (
        "scores for weights",
        "You use the scores in the gradient of v. The forward pass multiplies v by the weights after the softmax: use those, "
        "transposed.",
        backward(_attention, _scores_for_weights),
    ),
    (
        "the weights not transposed",
        "The gradient of v needs the weights transposed: value j gets a gradient from every query i, with weight (i, j).",
        backward(_attention, _weights_untransposed),
    ),
):
    attention.mistake(name, hint, answer, gradient=True)
