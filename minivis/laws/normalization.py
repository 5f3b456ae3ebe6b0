"""The laws of layer_norm: each is about one property, and compares the function with itself where possible.

Not here: batch and group normalisation.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, distinct, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "H/8-vit-equations"
NORM = r"y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot w + b"


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    others = tuple(range(x.ndim - len(normalized_shape)))
    centred = x - x.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
    normal = centred * rstd
    out = normal if weight is None else normal * weight
    out = out if bias is None else out + bias

    def vjp(g):
        d = g if weight is None else g * weight
        both = d.mean(axis=axes, keepdims=True) + normal * (d * normal).mean(axis=axes, keepdims=True)
        dx = rstd * (d - both)
        return dx, None, (g * normal).sum(axis=others), g.sum(axis=others)

    return out, vjp


layer_norm = Family(
    "layer_norm",
    _layer_norm,
    ("x", "weight", "bias"),
    form="f(x, normalized_shape, weight=None, bias=None, eps=1e-5); normalized_shape is a tuple, the last axes of x",
)


def _twice(numbers):
    """Two tokens with the same numbers in reverse order: one token has the same mean and variance as both together."""
    return np.stack([numbers, np.flip(numbers)])


def _row(draw):
    x = _twice(distinct(draw, (integer(draw, 3, 5),)) + np.float32(1))
    return {"x": x, "normalized_shape": x.shape[-1:], "eps": 1e-5}


def _with_eps(draw):
    return {**_row(draw), "eps": 0.5}


def _rows(draw):
    x = distinct(draw, (integer(draw, 2, 3), integer(draw, 3, 4)))
    x *= choose(draw, 1.0, 2.0)
    x[1:] = x[1:] * 4 + 10  # each row has a mean and a spread of its own
    return {"x": x, "normalized_shape": x.shape[-1:], "eps": 1e-5}


def _with_weight(draw):
    case = _row(draw)
    return {**case, "weight": numbers(draw, case["normalized_shape"]) + np.float32(0.5)}


def _with_both(draw):
    case = _with_weight(draw)
    return {**case, "bias": numbers(draw, case["normalized_shape"]) + np.float32(0.5)}


def _two_axes(draw):
    x = _twice(distinct(draw, (integer(draw, 2, 3), integer(draw, 2, 3))))
    return {"x": x, "normalized_shape": x.shape[-2:], "eps": 1e-5}


def _far_from_zero(draw):
    case = _row(draw)
    return {**case, "x": case["x"] + np.float32(choose(draw, 3000.0, 5000.0))}


def _default_eps(draw):
    case = _row(draw)
    return {"x": case["x"] / np.float32(256), "normalized_shape": case["normalized_shape"]}


def _large_eps(draw):
    return {**_row(draw), "eps": choose(draw, 1.0, 0.5, 4.0)}


def _size_one(draw):
    shape = (integer(draw, 1, 2), 1, integer(draw, 2, 3))
    return {"x": distinct(draw, shape), "normalized_shape": shape[-1:], "eps": 1e-5}


def _smooth(draw):
    x = numbers(draw, (2, integer(draw, 2, 3), 3)) + distinct(draw, (3,))
    shape = choose(draw, x.shape[-1:], x.shape[-2:])
    weight = numbers(draw, shape) + np.float32(0.5)
    bias = numbers(draw, shape)
    return {"x": x, "normalized_shape": shape, "weight": weight, "bias": bias, "eps": choose(draw, 1e-5, 0.1)}


def _matrix(draw):
    x = normals(draw, sizes(draw, 2, 2, 5))
    return {"x": x, "normalized_shape": x.shape[-1:]}


def _anything(draw):
    rank = integer(draw, 1, 4)
    shape = sizes(draw, rank, 1, 4)
    normalized = shape[-integer(draw, 1, min(rank, 3)) :]
    x = (normals(draw, shape) + np.float32(choose(draw, 0, 0, 3))) * np.float32(choose(draw, 1, 0.1, 10))
    case = {"x": x, "normalized_shape": normalized}
    for name in ("weight", "bias"):
        if choose(draw, True, False):
            case[name] = normals(draw, normalized)
    eps = choose(draw, None, 1e-5, 1e-3, 0.5)
    return case if eps is None else {**case, "eps": eps}


def _forward(change):
    return mutated(_layer_norm, change)


def _with(normalise):
    """A mutant that normalises otherwise: ``normalise(x, axes, eps)``; weight and bias are right."""

    def mutant(x, normalized_shape, weight=None, bias=None, eps=1e-5):
        y = normalise(x, tuple(range(-len(normalized_shape), 0)), eps)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    return mutant


def _centred(x, axes):
    return x - x.mean(axis=axes, keepdims=True)


every_row = {"inputs": _row, "slide": SLIDE}
_uncentred = _with(lambda x, axes, eps: x / np.sqrt(x.var(axis=axes, keepdims=True) + eps))


@layer_norm.law(
    "mean 0",
    **every_row,
    equation=r"\frac{1}{D} \sum_d y_d = 0",
    hint="What must be subtracted from the numbers of a token before they are divided?",
    mutant=_uncentred,
)
def mean_zero(f, case):
    """Before weight and bias, the numbers of a token have mean 0."""
    out = f(case)
    compare(out.mean(axis=-1), np.zeros(out.shape[:-1]), atol=1e-4, what="The mean")


_unbiased = _with(
    lambda x, axes, eps: _centred(x, axes) / np.sqrt(x.var(axis=axes, keepdims=True, ddof=1) + eps)
)


@layer_norm.law(
    "variance 1",
    value=True,
    **every_row,
    equation=r"\frac{1}{D} \sum_d (y_d - \mu_y)^2 = 1",
    hint="Divide by the square root of the variance, and take the variance as the mean of the squared distances (over "
    "D, not D - 1).",
    mutant=_unbiased,
)
def variance_one(f, case):
    """Before weight and bias, the numbers of a token have variance 1."""
    out = f(case)
    compare(out.var(axis=-1), np.ones(out.shape[:-1]), atol=1e-3, what="The variance")


@layer_norm.law(
    "order kept",
    **every_row,
    equation=r"y_i > y_j \iff x_i > x_j",
    hint="Subtract the mean from x, not x from the mean.",
    mutant=_forward(
        lambda right, a, o: right(-a[0], *a[1:], **o)[0],
    ),
)
def order_kept(f, case):
    """The function shifts and scales: of two numbers the larger stays the larger, and differences keep their ratio."""
    out = f(case)
    x = case["x"].astype(np.float64)
    spread = np.sqrt(out.astype(np.float64).var(axis=-1, keepdims=True) / x.var(axis=-1, keepdims=True))
    compare(out - out.mean(axis=-1, keepdims=True), (x - x.mean(axis=-1, keepdims=True)) * spread, atol=1e-4)


_whole = _with(lambda x, axes, eps: (x - x.mean()) / np.sqrt(x.var() + eps))


@layer_norm.law(
    "each token by itself",
    inputs=_rows,
    slide=SLIDE,
    equation=r"\mu, \sigma^2 \text{ over the axes of normalized\_shape, for each token}",
    hint="Mean and variance run over the last axes only, with keepdims=True; over the batch it would be batch "
    "normalisation, and another image in the batch would change the result.",
    mutant=_whole,
)
def token_by_itself(f, case):
    """A token's result does not depend on the other tokens."""
    alone = [f(case.replace(x=row[None])).reshape(1, -1) for row in case["x"]]
    compare(f(case), np.concatenate(alone).astype(np.float64), atol=1e-4)


@layer_norm.law(
    "two axes",
    inputs=_two_axes,
    equation=r"\mathrm{normalized\_shape} = (H, W):\ \mu = \frac{1}{HW} \sum_{h,w} x_{hw}",
    hint="Normalise over as many of the last axes together as normalized_shape has numbers.",
    mutant=_forward(lambda right, a, o: right(a[0], a[1][-1:], *a[2:], **o)[0]),
)
def two_axes(f, case):
    """Normalising over two axes gives the same as over one axis that holds the same numbers."""
    x = case["x"]
    flat = f(case.replace(x=x.reshape(2, -1), normalized_shape=(x.size // 2,)))
    compare(f(case), flat.astype(np.float64).reshape(x.shape), atol=1e-4)


@layer_norm.law(
    "weight",
    inputs=_with_weight,
    slide=SLIDE,
    equation=NORM,
    hint="The normalised numbers are multiplied by weight, one factor for each feature.",
    mutant=_forward(lambda right, a, o: right(*a, **{**o, "weight": None})[0]),
)
def weight_used(f, case):
    """The normalised numbers are multiplied by weight."""
    compare(f(case), f(case.replace(weight=None)).astype(np.float64) * case["weight"], atol=1e-4)


@layer_norm.law(
    "bias",
    inputs=_with_both,
    slide=SLIDE,
    equation=NORM,
    hint="bias is added last, after weight has been multiplied in.",
    mutant=_forward(lambda right, a, o: right(*a, **{**o, "bias": None})[0]),
    right_too=("weight",),
)
def bias_used(f, case):
    """bias is added at the end, unchanged."""
    compare(f(case), f(case.replace(bias=None)).astype(np.float64) + case["bias"], atol=1e-4)


@_with
def _one_pass(x, axes, eps):
    mean = x.mean(axis=axes, keepdims=True)
    variance = np.maximum((x * x).mean(axis=axes, keepdims=True) - mean * mean, 0)
    return (x - mean) / np.sqrt(variance + eps)


@layer_norm.law(
    "far from zero",
    inputs=_far_from_zero,
    equation=r"\sigma^2 = \frac{1}{D} \sum_d (x_d - \mu)^2",
    hint="The mean of squares minus the square of the mean is a small difference of large numbers: float32 rounds it away. "
    "Subtract the mean first, then square.",
    mutant=_one_pass,
)
def far_from_zero(f, case):
    """Numbers around 3000 are normalised as well as the same numbers around 0."""
    x = case["x"]
    near = f(case.replace(x=x - np.round(x.mean())))
    far = f(case)
    compare(far.var(axis=-1), near.var(axis=-1).astype(np.float64), rtol=1e-2, atol=1e-3, what="The variance")


@layer_norm.law(
    "eps by default",
    inputs=_default_eps,
    equation=r"\epsilon = 10^{-5}",
    hint="The default of eps is 1e-5. (ViT passes 1e-6 itself.)",
    mutant=lambda x, normalized_shape, weight=None, bias=None, eps=1e-6: _layer_norm(
        x, normalized_shape, weight, bias, eps
    )[0],
)
def default_eps(f, case):
    """Without eps the function uses eps=1e-5."""
    compare(f(case), f(case.replace(eps=1e-5)).astype(np.float64), rtol=1e-3)


_outside_the_root = _with(lambda x, axes, eps: _centred(x, axes) / (x.std(axis=axes, keepdims=True) + eps))


@layer_norm.law(
    "eps under the root",
    value=True,
    inputs=_large_eps,
    slide=SLIDE,
    equation=r"\sqrt{\sigma^2 + \epsilon}",
    hint="Add eps to the variance, and then take the root. Without eps a constant token gives 0/0.",
    mutant=_outside_the_root,
)
def eps_under_the_root(f, case):
    """eps is added to the variance, under the root, so that a constant token does not give 0/0."""
    constant = f(case.replace(x=np.ones_like(case["x"]), eps=1e-5))
    if not np.isfinite(constant).all():
        raise Broken("A token of ones gives numbers that are not finite.", np.zeros(constant.shape), constant)
    plain = f(case.replace(eps=0.0)).astype(np.float64)
    eps = case["eps"]
    spread = plain.var(axis=-1, keepdims=True)
    if not spread.all():
        raise Broken(
            "The input token has different numbers; the output has equal ones.", f.right(case), f(case)
        )
    variance = case["x"].astype(np.float64).var(axis=-1, keepdims=True) / spread
    compare(f(case), plain * np.sqrt(variance / (variance + eps)), rtol=1e-3, atol=1e-4)


every_family(
    layer_norm,
    inputs=_with_eps,
    shapes=_size_one,
    shape_hint="The output has the shape of x. Axes of size 1 are axes too.",
)


values(
    layer_norm,
    simplest=_matrix,
    words="a matrix of tokens, no weight, no bias",
    anything=_anything,
    hint="weight and bias are independent: each may be given without the other.",
    mutant=lambda x, normalized_shape, weight=None, bias=None, eps=1e-5: _layer_norm(
        x, normalized_shape, weight, None if weight is None else bias, eps
    )[0],
)
layer_norm.mistake(
    "D - 1 for D",
    "The numbers are too small by the same factor: the variance is the mean over all D numbers. np.var divides by D; "
    "ddof=1, or np.cov, by D - 1.",
    _unbiased,
)
layer_norm.mistake(
    "the mean not subtracted",
    "Each token still has a mean: subtract it before you divide.",
    _uncentred,
)
layer_norm.mistake(
    "divided by the variance",
    "You divide by the variance; divide by its square root, so that the result has variance 1.",
    _with(lambda x, axes, eps: _centred(x, axes) / (x.var(axis=axes, keepdims=True) + eps)),
)
layer_norm.mistake(
    "one mean for everything",
    "You take mean and variance over the whole array. Each token has its own: give mean and var the axes of "
    "normalized_shape, and keepdims=True.",
    _whole,
)
layer_norm.mistake(
    "normalised over the batch",
    "Each feature is normalised over the batch: that is batch normalisation. Here each token is, over its features.",
    _with(lambda x, axes, eps: _centred(x, 0) / np.sqrt(x.var(axis=0, keepdims=True) + eps)),
)
layer_norm.mistake(
    "only the last axis",
    "Only the last axis is normalised. normalized_shape may have two numbers: normalise over the last two axes together.",
    _with(lambda x, axes, eps: _centred(x, -1) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)),
)
layer_norm.mistake(
    "eps outside the root",
    "eps is added after the root here; it belongs under it, to the variance.",
    _outside_the_root,
)
layer_norm.mistake(
    "eps forgotten",
    "This is the answer for eps=0: add eps to the variance, under the root.",
    _with(lambda x, axes, eps: _centred(x, axes) / np.sqrt(x.var(axis=axes, keepdims=True))),
)


def _bias_first(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    y = _layer_norm(x, normalized_shape, None, bias, eps)[0]
    return y if weight is None else y * weight


layer_norm.mistake(
    "bias before weight",
    "Here bias is multiplied by weight too: multiply by weight first, then add bias.",
    _bias_first,
)
layer_norm.mistake(
    "weight and bias exchanged",
    "weight multiplies and bias is added: they are exchanged here.",
    lambda x, normalized_shape, weight=None, bias=None, eps=1e-5: _layer_norm(
        x, normalized_shape, bias, weight, eps
    )[0],
)


def _rstd(args, options):
    axes = tuple(range(-len(args[1]), 0))
    return 1 / np.sqrt(args[0].var(axis=axes, keepdims=True) + options.get("eps", 1e-5))


def _weighted(g, options):
    """The cotangent of the normalised numbers."""
    return g if options.get("weight") is None else g * options["weight"]


def _tokens(args):
    """The axes that are not normalised."""
    return tuple(range(args[0].ndim - len(args[1])))


# Backward passes that people write


def _constants(g, pulled, args, options):
    """Mean and variance taken for constants."""
    return _weighted(g, options) * _rstd(args, options), *pulled[1:]


def _only_centred(g, pulled, args, options):
    """The variance taken for a constant."""
    axes = tuple(range(-len(args[1]), 0))
    return _centred(_weighted(g, options), axes) * _rstd(args, options), *pulled[1:]


def _unweighted(g, pulled, args, options):
    """The weight forgotten on the way to x."""
    return _layer_norm(*args, **{**options, "weight": None})[1](g)[0], *pulled[1:]


def _raw_input(g, pulled, args, options):
    """A weight gradient with x where the normalised x belongs."""
    return *pulled[:2], (g * args[0]).sum(axis=_tokens(args)), pulled[3]


def _averaged(g, pulled, args, options):
    """A bias gradient averaged over the tokens."""
    return *pulled[:3], g.mean(axis=_tokens(args))


def _two_axes_summed(g, pulled, args, options):
    """Tokens summed over two axes, however many there are."""
    tokens = _tokens(args)[:2]
    return *pulled[:3], g.sum(axis=tokens)


gradients(
    layer_norm,
    inputs=_smooth,
    slide="C/91-backpropagation",
    equation={
        "x": r"\bar x = \tfrac{1}{\sqrt{\sigma^2+\epsilon}} "
        r"\big(d - \overline{d} - \hat x\, \overline{d \odot \hat x}\big),\ d = g \odot w",
        "weight": r"\bar w = \sum_{\text{tokens}} g \odot \hat x",
        "bias": r"\bar b = \sum_{\text{tokens}} g",
    },
    hints={
        "x": "Mean and variance depend on every x of the token: they add two terms. The gradient of a token sums to 0.",
        "weight": "The forward pass multiplies weight by the normalised x, and every token uses the same weight: sum.",
        "bias": "Every token uses the same bias: sum g over all axes that are not normalised, do not average.",
    },
    mutants={
        "x": backward(_layer_norm, _constants),
        "weight": backward(_layer_norm, _raw_input),
        "bias": backward(_layer_norm, _averaged),
    },
)
gradient_values(
    layer_norm,
    simplest=_matrix,
    words="a matrix of tokens, no weight, no bias",
    anything=_anything,
    hint="Every token uses weight and bias: sum over all axes before those of weight and bias, however many there are.",
    mutant=backward(_layer_norm, _two_axes_summed),
)
layer_norm.mistake(
    "mean and variance taken for constants",
    "Mean and variance depend on every number of the token, so two terms are missing: with d = g times weight, they are "
    "the mean of d, and the normalised x times the mean of d times the normalised x.",
    backward(_layer_norm, _constants),
    gradient=True,
)
layer_norm.mistake(
    "the variance taken for a constant",
    "The term of the mean is right, but the variance depends on x too: with d = g times weight, subtract the normalised x "
    "times the mean of d times the normalised x.",
    backward(_layer_norm, _only_centred),
    gradient=True,
)
layer_norm.mistake(
    "weight forgotten on the way to x",
    "The numbers were multiplied by weight after they were normalised: multiply g by weight before you go back through "
    "the normalisation.",
    backward(_layer_norm, _unweighted),
    gradient=True,
)
layer_norm.mistake(
    "x for the normalised x",
    "weight was multiplied by the normalised x, so its gradient is the sum of g times the normalised x, not of g times x.",
    backward(_layer_norm, _raw_input),
    gradient=True,
)
layer_norm.mistake(
    "the bias averaged over the tokens",
    "Each token adds the same bias: its gradient is the sum of g over the tokens, not the mean.",
    backward(_layer_norm, _averaged),
    gradient=True,
)
