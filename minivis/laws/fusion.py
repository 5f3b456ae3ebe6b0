"""The laws of fuse_conv_norm: a convolution and the batch norm after it as one convolution.

Not here: batch norm itself (normalization.py), convolution (conv.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, sizes, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

FACTOR = r"a_o = \gamma_o / \sqrt{\sigma_o^2 + \epsilon}"
NAMES = ("The weight", "The bias")


def _factor(running_var, gamma, eps):
    return gamma / np.sqrt(running_var + eps)


def _answer(
    weight,
    mean,
    var,
    gamma,
    beta,
    eps=1e-5,
    factor=_factor,
    along=0,
    bias=lambda a, mean, beta: beta - a * mean,
):
    """The right answer, and with other parts a wrong one; ``factor`` is of the weight, or of (weight, bias)."""
    of_weight, of_bias = factor if isinstance(factor, tuple) else (factor, factor)
    shape = [1] * weight.ndim
    shape[along if weight.shape[0] == weight.shape[1] else 0] = -1
    fused = weight * of_weight(var, gamma, eps).reshape(shape)
    shift = bias(of_bias(var, gamma, eps), mean, beta)
    return fused.astype(weight.dtype), shift.astype(weight.dtype)  # fmt: skip


def _fuse_conv_norm(weight, running_mean, running_var, gamma, beta, eps=1e-5):
    return _answer(weight, running_mean, running_var, gamma, beta, eps), None


fuse_conv_norm = Family(
    "fuse_conv_norm",
    _fuse_conv_norm,
    form="f(weight, running_mean, running_var, gamma, beta, eps=1e-5) -> (weight, bias); weight (F, C, k, k), the others (F,); "
    "conv2d with the new weight and bias is conv2d with the old weight, then batch norm with these fixed statistics",
)


def _parts(out):
    """The two parts of what a function returned."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise Broken(
            f"Two arrays were expected, (weight, bias); your function returned a {type(out).__name__}.",
            hint="End with `return weight, bias`.",
        )
    return out


def _part(f, case, number):
    return f.array(_parts(f.result(case.copy())[0])[number]).astype(np.float64)


def _both_agree(f, case, atol=2e-5):
    expected, _ = f.family.right(**case.copy(np.float64).everything)
    for number, what in enumerate(NAMES):
        compare(_part(f, case, number), expected[number], atol=atol, what=what)


fuse_conv_norm.main = lambda out: _parts(out)[0]
fuse_conv_norm.whole = lambda out: np.concatenate([np.ravel(part).astype(float) for part in _parts(out)])
fuse_conv_norm.read = lambda f, case: fuse_conv_norm.whole(f.result(case.copy())[0])
fuse_conv_norm.same = _both_agree


# Positive scales and eps = 0, unless a law is about them


def _norm(draw, filters, sign=1):
    positive = np.abs(normals(draw, (2, filters))) + np.float32(0.5)
    mean, beta = normals(draw, (2, filters))
    return {"running_mean": mean, "running_var": positive[0], "gamma": sign * positive[1], "beta": beta}


def _case(draw, filters=None, channels=2, kernel=(1, 1), **options):
    filters = filters or integer(draw, 2, 3)
    return {"weight": normals(draw, (filters, channels, *kernel)), **_norm(draw, filters), **options}


def _plain(draw):
    return _case(draw, eps=0.0)


def _square(draw):
    filters = integer(draw, 2, 3)
    return _case(draw, filters, filters, eps=0.0)


def _large_eps(draw):
    return _case(draw, eps=choose(draw, 1.0, 0.5, 3.0))


def _small_variance(draw):
    """So small that another eps shows, and so large that it is all the same where 1e-5 is added."""
    case = _case(draw)
    return {**case, "running_var": case["running_var"] * np.float32(0.3)}


def _any_shape(draw):
    return _case(
        draw, integer(draw, 1, 2), integer(draw, 1, 2), choose(draw, (1, 1), (1, 3), (3, 1)), eps=0.0
    )


def _anything(draw):
    filters, channels = sizes(draw, 2, 1, 4)
    case = _case(draw, filters, channels, sizes(draw, 2, 1, 3))
    signs = np.sign(normals(draw, (filters,))) + np.float32(0.25)
    options = without_defaults({"eps": choose(draw, 1e-5, 0.0, 0.5)}, eps=1e-5)
    return {**case, "gamma": case["gamma"] * signs, **options}


def _with(**parts):
    """A mutant with other parts."""

    def mutant(weight, running_mean, running_var, gamma, beta, eps=1e-5):
        return _answer(weight, running_mean, running_var, gamma, beta, eps, **parts)

    return mutant


def _other_default(weight, running_mean, running_var, gamma, beta, eps=1e-3):
    return _answer(weight, running_mean, running_var, gamma, beta, eps)


_without_gamma = _with(factor=(lambda var, gamma, eps: 1 / np.sqrt(var + eps), _factor))
_along_channels = _with(along=1)
_eps_outside = _with(factor=lambda var, gamma, eps: gamma / (np.sqrt(var) + eps))
_mean_not_scaled = _with(bias=lambda a, mean, beta: beta - mean)
_beta_scaled = _with(bias=lambda a, mean, beta: a * (beta - mean))
_without_sign = _with(factor=lambda var, gamma, eps: np.abs(gamma) / np.sqrt(var + eps))


@fuse_conv_norm.law(
    "the scale is in the filters",
    inputs=_plain,
    equation=r"W'(2 \gamma) = 2\, W'(\gamma)",
    hint="The norm multiplies what a filter gives by gamma: multiply the filter by it.",
    mutant=_without_gamma,
)
def scale(f, case):
    """With twice the scale the filters are twice as large."""
    compare(_part(f, case.replace(gamma=2 * case["gamma"]), 0), 2 * _part(f, case, 0), what=NAMES[0])


@fuse_conv_norm.law(
    "each filter by its own",
    inputs=_square,
    equation=r"W'_{o,c,i,j} = a_o\, W_{o,c,i,j}",
    hint="The norm has one number for each filter, axis 0 of the weight: reshape it to (F, 1, 1, 1).",
    mutant=_along_channels,
)
def own_factor(f, case):
    """Where the scale of the first filter is another one, the other filters stay."""
    other = case["gamma"].copy()
    other[0] *= 3
    changed = _part(f, case.replace(gamma=other), 0)
    compare(changed[1:], _part(f, case, 0)[1:], what="The filters after the first")


@fuse_conv_norm.law(
    "eps inside the root",
    inputs=_large_eps,
    equation=FACTOR,
    hint="eps is added to the variance, before the root.",
    mutant=_eps_outside,
)
def eps_inside(f, case):
    """eps counts like as much more variance."""
    more = case.replace(running_var=case["running_var"] + np.float32(case["eps"]), eps=0.0)
    for number, what in enumerate(NAMES):
        compare(_part(f, case, number), _part(f, more, number), what=what)


@fuse_conv_norm.law(
    "the shift stays",
    inputs=_plain,
    equation=r"b'(\mu = 0) = \beta",
    hint="beta is added after everything else: it is not multiplied.",
    mutant=_beta_scaled,
)
def shift(f, case):
    """With a mean of 0 the bias is the norm's shift."""
    none = np.zeros_like(case["running_mean"])
    compare(_part(f, case.replace(running_mean=none), 1), case["beta"].astype(np.float64), what=NAMES[1])


@fuse_conv_norm.law(
    "the mean is scaled",
    inputs=_plain,
    equation=r"b'(\mu) - b'(0) = -a\, \mu, \quad " + FACTOR,
    hint="The norm subtracts the mean before it multiplies: subtract the mean times the factor of the filter.",
    mutant=_mean_not_scaled,
)
def mean_scaled(f, case):
    """The mean changes the bias by minus the mean times the factor of the filter."""
    none = case.replace(running_mean=np.zeros_like(case["running_mean"]))
    exact = case.copy(np.float64)
    expected = -exact["running_mean"] * _factor(exact["running_var"], exact["gamma"], 0.0)
    compare(_part(f, case, 1) - _part(f, none, 1), expected, what="The difference of the biases")


@fuse_conv_norm.law(
    "defaults",
    inputs=_small_variance,
    equation=r"\epsilon = 10^{-5}",
    hint="The default of eps is 1e-5, as in batch norm.",
    mutant=_other_default,
)
def defaults(f, case):
    """Without eps it is 1e-5."""
    compare(_part(f, case, 0), _part(f, case.replace(eps=1e-5), 0), what=NAMES[0])


every_family(fuse_conv_norm, inputs=_plain, shapes=_any_shape)
values(
    fuse_conv_norm,
    simplest=_plain,
    words="1 x 1 filters, positive scales, eps = 0",
    anything=_anything,
    hint="Scales can be negative, filters of any shape, and there may be one of them.",
    mutant=_without_sign,
)
for name, hint, answer in (
    ("without gamma", "You leave gamma out of the filters: they are multiplied by gamma / sqrt(var + eps).", _without_gamma),
    ("along the channels", "You multiply along the input channels. The norm's numbers belong to the filters, axis 0.", _along_channels),
    ("eps outside the root", "You add eps to the standard deviation: it is added to the variance.", _eps_outside),
    ("the mean not scaled", "You subtract the mean as it is. It is scaled like the filter: beta - gamma * mean / sqrt(var + eps).",
     _mean_not_scaled),
    ("the shift scaled", "You multiply beta too. It is added at the end, as it is.", _beta_scaled),
    ("the mean added", "You add the mean: the norm subtracts it.", _with(bias=lambda a, mean, beta: beta + a * mean)),
    ("without the mean", "You return beta as the bias: the norm also subtracts the mean.", _with(bias=lambda a, mean, beta: beta)),
    ("divided by the variance", "You divide by the variance: divide by its root.",
     _with(factor=lambda var, gamma, eps: gamma / (var + eps))),
):  # fmt: skip
    fuse_conv_norm.mistake(name, hint, answer)
