"""The laws of weight_standardized_conv2d: filters with mean 0 and variance 1, and TensorFlow's "same" padding.

Not here: plain convolution (conv.py), filters whose numbers are all equal, dilation, groups.
"""

import functools
import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, pair, sizes, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

STANDARD = r"\hat w_o = \frac{w_o - \mu_o}{\sqrt{\sigma_o^2 + \epsilon}}"
SAME = r"p = \max\big((\lceil H / s \rceil - 1)\, s + k - H,\; 0\big)"
SLIDE = "C/123-resnet-vit-hybrid"
DEFAULTS = {"stride": 1, "padding": "same", "eps": 1e-8}


def _both(value):
    return value if isinstance(value, tuple) else (value, value)


def _standardised(weight, eps):
    centred = weight - weight.mean(axis=(1, 2, 3), keepdims=True)
    variance = (centred * centred).mean(axis=(1, 2, 3), keepdims=True)
    return centred / np.sqrt(variance + eps)


def _zeros_of(length, kernel, stride):
    """Zeros before and after an axis, for "same"."""
    total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _answer(
    x,
    weight,
    stride=1,
    padding="same",
    eps=1e-8,
    standardise=_standardised,
    zeros_of=_zeros_of,
    value="constant",
):
    """The right answer, and with other parts a wrong one."""
    (M, N) = weight.shape[2:]
    (sy, sx) = _both(stride)
    if padding == "same":
        widths = [zeros_of(x.shape[2], M, sy), zeros_of(x.shape[3], N, sx)]
    else:
        widths = [(p, p) for p in _both(padding)]
    padded = np.pad(x, [(0, 0), (0, 0), *widths], mode=value)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (M, N), axis=(2, 3))[:, :, ::sy, ::sx]
    return np.einsum("bcijmn,ocmn->boij", windows, standardise(weight, eps)).astype(x.dtype)


def _weight_standardized_conv2d(x, weight, stride=1, padding="same", eps=1e-8):
    return _answer(x, weight, stride, padding, eps), None


weight_standardized_conv2d = Family(
    "weight_standardized_conv2d",
    _weight_standardized_conv2d,
    ("x", "weight"),
    form='f(x, weight, stride=1, padding="same", eps=1e-8); x (B, C, H, W), weight (O, C, kh, kw); stride is int or (rows, '
    'columns); padding is "same" (TensorFlow\'s), int or (rows, columns)',
)
family = weight_standardized_conv2d


def _filters(draw, channels, kernel, outputs=2):
    """Filters that are standardised already, up to rounding."""
    weight = normals(draw, (outputs, channels, *kernel))
    weight[:, 0, 0, 0] += np.float32(2)  # never all equal
    return _standardised(weight.astype(np.float64), 0.0).astype(np.float32)


def _case(draw, height=(3, 5), kernel=None, channels=2, **options):
    """A map, and standardised filters of odd size with stride 1, where all paddings are symmetric."""
    kernel = kernel or choose(draw, (3, 3), (1, 3), (3, 1), (3, 5))
    x = normals(draw, (2, channels, *sizes(draw, 2, *height)))
    return {"x": x, "weight": _filters(draw, channels, kernel), **options}


def _shifted(draw):
    return {**_case(draw), "eps": 1e-8}


def _big_filters(draw):
    """Filters whose scale matters to nobody; their mean is 0."""
    return _case(draw)


def _one_pixel(draw):
    """A map that is 0 but for one pixel in its middle, so that the output is the filters, turned around."""
    kernel = choose(draw, (3, 3), (1, 3), (3, 1))
    x = np.zeros((2, 1, 5, 5), np.float32)
    x[:, 0, 2, 2] = 1
    return {"x": x, "weight": _filters(draw, 1, kernel)}


def _any_height(draw):
    """Heights that the stride does not divide, and kernels for which the number of zeros is 2, one on each side."""
    s = integer(draw, 2, 3)
    left_over = choose(draw, (1, 1), (1, 0), (0, 1))
    H, W = (s * n - r for n, r in zip(sizes(draw, 2, 2, 3), left_over, strict=True))
    kernel = tuple(s + 2 - r for r in left_over)
    return {"x": normals(draw, (2, 1, H, W)), "weight": _filters(draw, 1, kernel), "stride": s}


def _odd_zeros(draw):
    """One zero in all along an axis, or three: there is a side that has one more."""
    if choose(draw, False, True):
        return _case(draw, (3, 5), choose(draw, (2, 2), (4, 4), (2, 4)), stride=1)
    return _case(draw, (4, 4), (3, 3), stride=2)


def _stride_beyond(draw):
    """A kernel smaller than the stride: no zeros are needed, and the last pixels are not read."""
    stride = integer(draw, 2, 3)
    shape = (2, 3, *(stride * n for n in sizes(draw, 2, 2, 3)))
    return {"x": normals(draw, shape), "weight": _filters(draw, 3, (1, 1)), "stride": stride}


def _padded(draw):
    return _case(draw, height=(6, 7), padding=choose(draw, 0, (0, 2), (2, 0), 3))


def _large_eps(draw):
    return _case(draw, eps=choose(draw, 1.0, 0.5, 3.0))


def _small_filters(draw):
    case = _case(draw)
    return {**case, "weight": case["weight"] * np.float32(0.1)}


def _plain(draw):
    return {"x": normals(draw, (2, 2, *sizes(draw, 2, 3, 5))), "weight": _rough(draw, 2, (3, 3))}


def _without_eps(draw):
    return {**_plain(draw), "eps": 0.0}


def _rough(draw, channels, kernel, outputs=2):
    """Filters of any mean and scale, never all equal."""
    weight = normals(draw, (outputs, channels, *kernel))
    weight[:, 0, 0, 0] += np.float32(2)
    return weight * np.float32(choose(draw, 1.0, 0.5, 3.0)) + np.float32(choose(draw, 0.0, 0.5, -1.0))


def _any_shape(draw):
    kernel = choose(draw, (1, 2), (2, 1), (1, 1))
    channels = 1 if kernel != (1, 1) else 2
    shape = (integer(draw, 1, 2), channels, *sizes(draw, 2, 1, 2))
    return {"x": normals(draw, shape), "weight": _rough(draw, channels, kernel, integer(draw, 1, 2))}


def _anything(draw):
    kernel = sizes(draw, 2, 1, 4)
    channels = integer(draw, 1, 3)
    if kernel == (1, 1):
        channels += 1
    padding = choose(draw, "same", "same", 1, (0, 1), 0)
    least = (1, 1) if padding == "same" else kernel
    H, W = (low + integer(draw, 0, 5) for low in least)
    options = {"stride": pair(draw, 1, 3), "padding": padding, "eps": choose(draw, 1e-8, 0.5, 1e-3)}
    return {
        "x": normals(draw, (integer(draw, 1, 2), channels, H, W)),
        "weight": _rough(draw, channels, kernel, integer(draw, 1, 3)),
        **without_defaults(options, **DEFAULTS),
    }


def _with(standardise=None, **parts):
    """A mutant with other parts."""
    if standardise:
        parts["standardise"] = standardise
    return functools.partial(_answer, **parts)


def _centred(weight):
    return weight - weight.mean(axis=(1, 2, 3), keepdims=True)


def _spread(weight, **options):
    return weight.var(axis=(1, 2, 3), keepdims=True, **options)


def _not_centred(weight, eps):
    return weight / np.sqrt(_spread(weight) + eps)


def _scale_of_all(weight, eps):
    """Each filter's own mean, and the standard deviation of all filters together."""
    centred = _centred(weight)
    return centred / np.sqrt((centred * centred).mean() + eps)


def _whole_tensor(weight, eps):
    return (weight - weight.mean()) / np.sqrt(weight.var() + eps)


def _unbiased(weight, eps):
    return _centred(weight) / np.sqrt(_spread(weight, ddof=1) + eps)


def _eps_outside(weight, eps):
    return _centred(weight) / (np.sqrt(_spread(weight)) + eps)


def _rounded_down(length, kernel, stride):
    """As many windows as whole strides; the rest of the map counts for nothing."""
    total = max((max(length // stride, 1) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _odd_before(length, kernel, stride):
    return _zeros_of(length, kernel, stride)[::-1]


def _as_in_torch(length, kernel, stride):
    return kernel // 2, kernel // 2


def _without_zero(length, kernel, stride):
    """The formula without its maximum: a number of zeros below 0 is taken for one above."""
    total = abs((math.ceil(length / stride) - 1) * stride + kernel - length)
    return total // 2, total - total // 2


def _all_after(length, kernel, stride):
    return 0, sum(_zeros_of(length, kernel, stride))


@family.law(
    "the mean of a filter",
    inputs=_shifted,
    equation=r"f(x,\, w_o + c_o) = f(x,\, w_o)",
    slide=SLIDE,
    hint="Subtract from each filter its mean, over channels, rows and columns: axes (1, 2, 3) of weight.",
    mutant=_with(_not_centred),
)
def mean_of_a_filter(f, case):
    """A number added to all weights of a filter changes nothing."""
    shift = np.float32([[[[1.5]]], [[[-0.5]]]])
    compare(f(case.replace(weight=case["weight"] + shift)), f(case).astype(np.float64), 1e-4)


@family.law(
    "the scale of a filter",
    inputs=_big_filters,
    equation=r"f(x,\, a_o w_o) = f(x,\, w_o), \quad a_o > 0",
    slide=SLIDE,
    hint="Divide each filter by its own standard deviation, not by that of the whole array of filters.",
    mutant=_with(_scale_of_all),
)
def scale_of_a_filter(f, case):
    """A filter that is multiplied by a positive number gives the same map, whatever the others are multiplied by."""
    scale = np.float32([[[[4.0]]], [[[0.5]]]])
    compare(f(case.replace(weight=case["weight"] * scale)), f(case).astype(np.float64), 1e-4)


@family.law(
    "a mean square of 1",
    inputs=_one_pixel,
    equation=r"\frac{1}{C k_h k_w} \sum \hat w_o^2 = 1",
    slide=SLIDE,
    hint="The variance is the mean of the squares: divide by the number of weights in a filter, not by one less (ddof=0).",
    mutant=_with(_unbiased),
)
def mean_square(f, case):
    """Of a map with a single 1 the output is the standardised filter, whose squares have the mean 1."""
    count = np.prod(case["weight"].shape[1:])
    compare((f(case).astype(np.float64) ** 2).sum(axis=(2, 3)) / count, np.ones((2, 2)), 1e-4)


@family.law(
    "as many rows as strides",
    inputs=_any_height,
    equation=r"H' = \lceil H / s \rceil",
    slide=SLIDE,
    hint='With "same" the output has ceil(H / stride) rows: round up, and compute from that how many zeros are needed.',
    mutant=_with(zeros_of=_rounded_down),
)
def output_size(f, case):
    """The output has ceil(H / stride) rows and ceil(W / stride) columns."""
    rows, columns = (math.ceil(n / case["stride"]) for n in case["x"].shape[2:])
    compare(np.asarray(f(case).shape), np.array([2, 2, rows, columns]), what="The shape of the output")


@family.law(
    "the odd zero",
    inputs=_odd_zeros,
    equation=SAME,
    slide=SLIDE,
    hint="If the number of zeros is odd, the odd one lies below, and right: p // 2 before, p - p // 2 after. (PyTorch puts as "
    "many before as after.)",
    mutant=_with(zeros_of=_odd_before),
)
def odd_zero(f, case):
    """Where the number of zeros is odd there is one more below than above, and one more right than left."""
    x = case["x"]
    stride = case["stride"]
    (M, N) = case["weight"].shape[2:]
    widths = [(0, 0), (0, 0), _zeros_of(x.shape[2], M, stride), _zeros_of(x.shape[3], N, stride)]
    compare(f(case), f(case.replace(x=np.pad(x, widths), padding=0)).astype(np.float64))


@family.law(
    "no zeros where none are needed",
    inputs=_stride_beyond,
    equation=SAME,
    slide=SLIDE,
    hint="With a kernel smaller than the stride the formula gives a number below 0: then there are no zeros, and nothing is cut "
    "off.",
    mutant=_with(zeros_of=_without_zero),
)
def no_zeros(f, case):
    """1 x 1 filters with a stride of s read every s-th pixel, beginning with the first."""
    s = case["stride"]
    plain = f(case.replace(stride=1))
    compare(f(case), plain[:, :, ::s, ::s].astype(np.float64))


@family.law(
    "padding as a number",
    inputs=_padded,
    equation=r"\mathrm{conv}(x, p) = \mathrm{conv}(\mathrm{pad}(x, p))",
    hint="A number is for both sides, as in a plain convolution; the first of two is for the rows.",
    mutant=lambda x, weight, stride=1, padding="same", eps=1e-8: _answer(
        x, weight, stride, 1 if padding not in ("same", 0) else padding, eps
    ),
)
def padding_as_number(f, case):
    """Zeros around the map by hand, then padding=0, give the same."""
    py, px = _both(case["padding"])
    x = np.pad(case["x"], [(0, 0), (0, 0), (py, py), (px, px)])
    compare(f(case), f(case.replace(x=x, padding=0)).astype(np.float64))


@family.law(
    "eps inside the root",
    inputs=_large_eps,
    equation=r"\hat w_o \propto 1 / \sqrt{\sigma_o^2 + \epsilon}",
    slide=SLIDE,
    hint="eps is added to the variance, before the root, not to the standard deviation.",
    mutant=_with(_eps_outside),
)
def eps_inside(f, case):
    """The mean square of the output is divided by 1 + eps / variance: twice the eps adds twice as much."""

    def added(eps):
        return exact / (f(case.replace(eps=eps)).astype(np.float64) ** 2).mean() - 1

    exact = (f(case.replace(eps=0.0)).astype(np.float64) ** 2).mean()
    compare(np.asarray(added(2 * case["eps"])), np.asarray(2 * added(case["eps"])), 1e-3)


@family.law(
    "defaults",
    inputs=_small_filters,
    equation=r"s = 1,\ \epsilon = 10^{-8}",
    hint='The defaults are stride=1, padding="same" and eps=1e-8. (The default of norms, 1e-5, is much for small filters.)',
    mutant=lambda x, weight, stride=1, padding="same", eps=1e-5: _answer(x, weight, stride, padding, eps),
)
def defaults(f, case):
    """Without options they are those of the published network."""
    compare(f(case), f(case.replace(**DEFAULTS)).astype(np.float64))


@family.law(
    "not flipped",
    inputs=_one_pixel,
    equation=r"y_{b,o,i,j} = \sum_{c,m,n} \hat w_{o,c,m,n}\; x_{b,c,i+m,j+n}",
    slide=SLIDE,
    hint="After the filters are standardised, this is conv2d with zeros around the map: kernel element (0, 0) lies on the upper "
    "left pixel of the window.",
    mutant=_with(lambda weight, eps: _standardised(weight, eps)[..., ::-1, ::-1]),
)
def not_flipped(f, case):
    """Of a map with a single 1 in its middle the output is the filter turned around, whatever its scale."""
    out = f(case).astype(np.float64)[0]
    weight = case["weight"][:, 0].astype(np.float64)
    (M, N) = weight.shape[1:]
    rows, columns = slice(2 - M // 2, 3 + M // 2), slice(2 - N // 2, 3 + N // 2)
    compare(_of_length_1(out[:, rows, columns]), _of_length_1(weight[:, ::-1, ::-1]), 1e-4)


def _of_length_1(maps):
    return maps / np.sqrt((maps * maps).sum(axis=(1, 2), keepdims=True)).clip(1e-9)


every_family(family, inputs=_without_eps, shapes=_any_shape)


def _strides_exchanged(x, weight, stride=1, padding="same", eps=1e-8):
    return _answer(x, weight, stride[::-1] if isinstance(stride, tuple) else stride, padding, eps)


values(
    family,
    simplest=_plain,
    words="one image, 3 x 3 filters, no options",
    anything=_anything,
    hint="These calls have kernels of even size, strides for rows and columns, and eps up to 0.5, all at once. Does every step "
    "use the number of its own axis?",
    mutant=_strides_exchanged,
)
for name, hint, answer in (
    (
        "standardised over the whole array",
        "You take mean and variance over all filters together. Each filter has its own: axes (1, 2, 3).",
        _with(_whole_tensor),
    ),
    (
        "one variance for all filters",
        "You subtract each filter's own mean, but divide by the standard deviation of all filters together.",
        _with(_scale_of_all),
    ),
    (
        "standardised in each channel",
        "You standardise every channel of a filter by itself. Mean and variance are over channels, rows and columns.",
        _with(
            lambda weight, eps: (
                (weight - weight.mean(axis=(2, 3), keepdims=True))
                / np.sqrt(weight.var(axis=(2, 3), keepdims=True) + eps)
            )
        ),
    ),
    (
        "the variance divided by n - 1",
        "You take the unbiased variance (ddof=1): divide by the number of weights in a filter.",
        _with(_unbiased),
    ),
    (
        "not centred",
        "You do not subtract the mean of the filter.",
        _with(_not_centred),
    ),
    (
        "not divided",
        "You subtract the mean of a filter, but do not divide by its standard deviation.",
        _with(lambda weight, eps: _centred(weight)),
    ),
    (
        "divided by the variance",
        "You divide by the variance. Divide by its root.",
        _with(lambda weight, eps: _centred(weight) / (_spread(weight) + eps)),
    ),
    (
        "a plain convolution",
        "You convolve with the filters as they are stored: standardise them first.",
        _with(lambda weight, eps: weight),
    ),
    (
        "the padding of PyTorch",
        'You surround the map with k // 2 zeros on every side, as in PyTorch. TensorFlow\'s "same" depends on the size, and '
        "its odd zero lies below and right.",
        _with(zeros_of=_as_in_torch),
    ),
    (
        "the odd zero before",
        "If the number of zeros is odd, you put the odd one above and left. It lies below and right.",
        _with(zeros_of=_odd_before),
    ),
    (
        "all zeros after",
        "You put all zeros below and right: half of them lie above and left.",
        _with(zeros_of=_all_after),
    ),
    (
        "the edge repeated",
        "Outside the map there are zeros, not copies of its edge.",
        _with(value="edge"),
    ),
    (
        "eps outside the root",
        "You add eps to the standard deviation: it is added to the variance.",
        _with(_eps_outside),
    ),
    (
        "strides exchanged",
        "The first number of stride is for the rows, the second for the columns; you exchanged them.",
        _strides_exchanged,
    ),
    (
        "the kernel flipped",
        "Kernel element (0, 0) lies on the upper left pixel of the window: you flipped the kernel.",
        _with(lambda weight, eps: _standardised(weight, eps)[..., ::-1, ::-1]),
    ),
):
    family.mistake(name, hint, answer)
