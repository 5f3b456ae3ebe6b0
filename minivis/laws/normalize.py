"""The laws of layer_norm: each is about one property, and compares the function with itself where it can.

Not here: batch and group normalisation.
"""

import numpy as np

from minivis.laws.candidate import compare
from minivis.laws.catalogue import Family
from minivis.laws.common import every_family, gradients, mutated
from minivis.laws.inputs import choose, distinct, integer, numbers
from minivis.laws.sandbox import Broken

SLIDE = "H: Vision Transformer"
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
    """Two tokens of the same numbers in another order: mean and variance are the same over one as over both."""
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
    weight, bias = numbers(draw, shape) + np.float32(0.5), numbers(draw, shape)
    return {"x": x, "normalized_shape": shape, "weight": weight, "bias": bias, "eps": choose(draw, 1e-5, 0.1)}


def _forward(change):
    return mutated(_layer_norm, change)


every_row = {"inputs": _row, "slide": SLIDE}


def _uncentred(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(-len(normalized_shape), 0))
    y = x / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


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


def _unbiased(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(-len(normalized_shape), 0))
    y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True, ddof=1) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@layer_norm.law(
    "variance 1",
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
    """It shifts and scales: the larger of two numbers stays the larger, by the same proportion."""
    out, x = f(case), case["x"].astype(np.float64)
    spread = np.sqrt(out.astype(np.float64).var(axis=-1, keepdims=True) / x.var(axis=-1, keepdims=True))
    compare(out - out.mean(axis=-1, keepdims=True), (x - x.mean(axis=-1, keepdims=True)) * spread, atol=1e-4)


def _whole(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    y = (x - x.mean()) / np.sqrt(x.var() + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


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
    hint="normalized_shape says how many of the last axes belong together: as many as it has numbers.",
    mutant=_forward(lambda right, a, o: right(a[0], a[1][-1:], *a[2:], **o)[0]),
)
def two_axes(f, case):
    """Normalising over two axes is normalising over one that holds the same numbers."""
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
    """weight multiplies what is normalised."""
    compare(f(case), f(case.replace(weight=None)).astype(np.float64) * case["weight"], atol=1e-4)


@layer_norm.law(
    "bias",
    inputs=_with_both,
    slide=SLIDE,
    equation=NORM,
    hint="bias is added last, after weight has been multiplied in.",
    mutant=_forward(lambda right, a, o: right(*a, **{**o, "bias": None})[0]),
)
def bias_used(f, case):
    """bias is added at the end, as it is."""
    compare(f(case), f(case.replace(bias=None)).astype(np.float64) + case["bias"], atol=1e-4)


def _one_pass(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(-len(normalized_shape), 0))
    mean = x.mean(axis=axes, keepdims=True)
    variance = np.maximum((x * x).mean(axis=axes, keepdims=True) - mean * mean, 0)
    y = (x - mean) / np.sqrt(variance + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@layer_norm.law(
    "far from zero",
    inputs=_far_from_zero,
    equation=r"\sigma^2 = \frac{1}{D} \sum_d (x_d - \mu)^2",
    hint="The mean of squares minus the square of the mean is a small difference of large numbers: float32 loses it. "
    "Subtract the mean first, then square.",
    mutant=_one_pass,
)
def far_from_zero(f, case):
    """Numbers around 3000 are normalised as well as the same numbers around 0."""
    x = case["x"]
    near, far = f(case.replace(x=x - np.round(x.mean()))), f(case)
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
    """Not saying eps is saying eps=1e-5."""
    compare(f(case), f(case.replace(eps=1e-5)).astype(np.float64), rtol=1e-3)


def _outside_the_root(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = tuple(range(-len(normalized_shape), 0))
    y = (x - x.mean(axis=axes, keepdims=True)) / (x.std(axis=axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@layer_norm.law(
    "eps under the root",
    inputs=_large_eps,
    slide=SLIDE,
    equation=r"\sqrt{\sigma^2 + \epsilon}",
    hint="eps is added to the variance, and then the root is taken. Without it a constant token gives 0/0.",
    mutant=_outside_the_root,
)
def eps_under_the_root(f, case):
    """eps is added to the variance, under the root: it keeps a constant token from 0/0."""
    constant = f(case.replace(x=np.ones_like(case["x"]), eps=1e-5))
    if not np.isfinite(constant).all():
        raise Broken("A token of ones gives numbers that are not finite.", np.zeros(constant.shape), constant)
    plain, eps = f(case.replace(eps=0.0)).astype(np.float64), case["eps"]
    variance = case["x"].astype(np.float64).var(axis=-1, keepdims=True) / plain.var(axis=-1, keepdims=True)
    compare(f(case), plain * np.sqrt(variance / (variance + eps)), rtol=1e-3, atol=1e-4)


every_family(
    layer_norm,
    inputs=_with_eps,
    shapes=_size_one,
    shape_hint="The output has the shape of x. Axes of size 1 are axes too.",
)


def _constants(right, args, options):
    """A backward pass that takes mean and variance for constants."""
    out, vjp = right(*args, **options)
    axes = tuple(range(-len(args[1]), 0))
    rstd = 1 / np.sqrt(args[0].var(axis=axes, keepdims=True) + options.get("eps", 1e-5))
    return out, lambda g: (g * options["weight"] * rstd, *vjp(g)[1:])


def _raw_input(right, args, options):
    """A weight gradient with x where the normalised x belongs."""
    out, vjp = right(*args, **options)
    others = tuple(range(args[0].ndim - len(args[1])))
    return out, lambda g: (*vjp(g)[:2], (g * args[0]).sum(axis=others), vjp(g)[3])


def _averaged(right, args, options):
    """A bias gradient averaged over the tokens."""
    out, vjp = right(*args, **options)
    others = tuple(range(args[0].ndim - len(args[1])))
    return out, lambda g: (*vjp(g)[:3], g.mean(axis=others))


gradients(
    layer_norm,
    inputs=_smooth,
    slide="C: Optimizing Deep Neural Networks",
    equation={
        "x": r"\bar x = \tfrac{1}{\sqrt{\sigma^2+\epsilon}} "
        r"\big(d - \overline{d} - \hat x\, \overline{d \odot \hat x}\big),\ d = g \odot w",
        "weight": r"\bar w = \sum_{\text{tokens}} g \odot \hat x",
        "bias": r"\bar b = \sum_{\text{tokens}} g",
    },
    hints={
        "x": "Mean and variance depend on every x of the token: two terms more. The gradient is orthogonal to constants.",
        "weight": "What multiplies weight forward is the normalised x, and every token uses the same weight: sum.",
        "bias": "Every token uses the same bias: sum g over all axes that are not normalised, do not average.",
    },
    mutants={
        "x": mutated(_layer_norm, _constants),
        "weight": mutated(_layer_norm, _raw_input),
        "bias": mutated(_layer_norm, _averaged),
    },
)
