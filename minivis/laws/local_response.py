"""The laws of local_response_norm, AlexNet's normalisation over neighbouring channels.

Not here: windows with an even number of channels, the other norms (normalization.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, integer, normals, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

NORM = r"y_i = x_i \Big/ \Big( k + \alpha \sum_{j = i - n/2}^{i + n/2} x_j^2 \Big)^\beta"
SLIDE = "Z/13-alexnet"


def _around(x, size):
    """For each channel the sum of the channels in its window."""
    half = size // 2
    C = x.shape[1]
    return np.stack([x[:, max(0, i - half) : i + half + 1].sum(axis=1) for i in range(C)], axis=1)


def _local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
    s = k + alpha * _around(x * x, size)
    y = x / s**beta

    def vjp(g):
        return (g / s**beta - 2 * alpha * beta * x * _around(g * y / s, size),)

    return y, vjp


local_response_norm = Family(
    "local_response_norm",
    _local_response_norm,
    ("x",),
    form="f(x, size=5, alpha=1e-4, beta=0.75, k=2.0); x (B, C, H, W), size is odd, alpha as in the paper: it is not divided "
    "by size",
)


def _maps(draw, low, high, side=3, scale=100.0, least=1):
    """Feature maps of low to high channels. They are large, because alpha is small."""
    return normals(
        draw, (integer(draw, least, 2), integer(draw, low, high), *sizes(draw, 2, least, side)), scale
    )


def _plain(draw):
    return {"x": _maps(draw, 5, 8, least=2)}


def _positive(draw):
    return {"x": np.abs(_maps(draw, 5, 8, least=2))}


def _ones(draw):
    x = np.ones((2, 7, 7, 7), np.float32)
    return {"x": x, "size": choose(draw, 3, 5, 7), "alpha": choose(draw, 0.5, 0.1), "beta": 0.75, "k": 2.0}


def _squares_added(draw):
    return {**_positive(draw), "size": choose(draw, 3, 5), "alpha": 1e-3, "beta": 0.75, "k": 2.0}


def _without_alpha(draw):
    return {
        **_positive(draw),
        "size": 5,
        "alpha": 0.0,
        "beta": choose(draw, 1.0, 0.5, 2.0),
        "k": choose(draw, 2.0, 1.0),
    }


def _any_shape(draw):
    return {"x": _maps(draw, 1, 3, side=2)}


def _anything(draw):
    case = {"x": _maps(draw, 1, 9, scale=choose(draw, 1.0, 100.0, 1000.0))}
    for name, drawn in (
        ("size", choose(draw, 3, 1, 5, 7)),
        ("alpha", choose(draw, 1e-3, 1e-4, 0.5)),
        ("beta", choose(draw, 0.75, 0.5, 1.0)),
        ("k", choose(draw, 2.0, 1.0, 5.0)),
    ):
        if choose(draw, True, False):
            case[name] = drawn
    return case


def _smooth(draw):
    return {"x": _maps(draw, 5, 6, side=2, scale=1.0), "size": 3, "alpha": 0.5, "beta": 0.75, "k": 1.0}


def _any_gradient(draw):
    case = {"x": _maps(draw, 1, 8, scale=1.0), "size": choose(draw, 3, 1, 5), "alpha": choose(draw, 0.5, 0.1)}
    return {**case, "beta": choose(draw, 0.75, 0.5, 2.0), "k": choose(draw, 2.0, 1.0)}


def _simplest_gradient(draw):
    return {"x": _maps(draw, 5, 8, side=2)}


def _forward(change):
    return mutated(_local_response_norm, change)


def _with(scale):
    """A mutant with another sum: ``scale(x, size)`` is what alpha is multiplied with."""

    def mutant(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
        with np.errstate(invalid="ignore"):
            return (x / (k + alpha * scale(x, size)) ** beta).astype(x.dtype)

    return mutant


def _divided_by_size(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
    return _local_response_norm(x, size, alpha / size, beta, k)[0]


_clipped_mean = _with(lambda x, size: _around(x * x, size) * size / _around(np.ones_like(x), size))
_along_a_row = _with(lambda x, size: np.swapaxes(_around(np.swapaxes(x * x, 1, 3), size), 1, 3))
_not_squared = _with(lambda x, size: _around(np.abs(x), size))
_signed_squares = _with(lambda x, size: _around(x * np.abs(x), size))


@local_response_norm.law(
    "alpha as in the paper",
    inputs=_ones,
    equation=r"y = 1 \big/ (k + \alpha n)^\beta",
    slide=SLIDE,
    hint="alpha multiplies the sum of squares, not their mean. (PyTorch divides alpha by size; the paper does not.)",
    mutant=_divided_by_size,
)
def closed_form(f, case):
    """If all numbers are 1, a channel in the middle becomes 1 / (k + alpha n)^beta."""
    expected = 1 / (case["k"] + case["alpha"] * case["size"]) ** case["beta"]
    compare(f(case)[0, 3, 3, 3], np.asarray(expected), what="The middle of the output")


@local_response_norm.law(
    "the first and the last channels",
    inputs=_positive,
    equation=r"x_j = 0 \text{ for } j < 0 \text{ and } j \ge C",
    slide=SLIDE,
    hint="At the ends the window holds fewer channels: the sum is over those that exist. Do not divide by their number, and "
    "do not go around to the other end.",
    mutant=_clipped_mean,
)
def ends_are_padded(f, case):
    """Channels of zeros before the first and after the last change nothing."""
    x = case["x"]
    padded = np.pad(x, ((0, 0), (3, 3), (0, 0), (0, 0)))
    compare(f(case), f(case.replace(x=padded))[:, 3:-3].astype(np.float64))


@local_response_norm.law(
    "a window of channels",
    inputs=_squares_added,
    equation=r"\partial y_i / \partial x_j \ne 0 \iff |i - j| \le n / 2",
    slide=SLIDE,
    hint="The window runs over the channels (axis 1), size // 2 to each side, at one position. It does not run over the rows "
    "or columns of the map.",
    mutant=_along_a_row,
)
def window_of_channels(f, case):
    """Channel j changes channel i, at the same position, exactly if they are at most size // 2 apart."""
    x = case["x"] + np.float32(10)
    j = x.shape[1] // 2
    more = x.copy()
    more[0, j, 0, 0] += 1000
    changed = f(case.replace(x=x)) != f(case.replace(x=more))
    expected = np.zeros(x.shape, bool)
    expected[0, max(0, j - case["size"] // 2) : j + case["size"] // 2 + 1, 0, 0] = True
    if not np.array_equal(changed, expected):
        raise Broken(
            f"Channel {j} was changed at one place. Now these outputs are changed:", expected, changed
        )


@local_response_norm.law(
    "a sum of squares",
    inputs=_squares_added,
    equation=r"f(t x,\ \alpha / t^2) = t f(x, \alpha)",
    slide=SLIDE,
    hint="The sum is over the squares of the numbers, not over the numbers or their absolute values.",
    mutant=_not_squared,
)
def squares(f, case):
    """Numbers ten times as large, with an alpha a hundred times smaller, give outputs ten times as large."""
    larger = f(case.replace(x=case["x"] * np.float32(10), alpha=case["alpha"] / 100))
    compare(f(case), larger.astype(np.float64) / 10)


@local_response_norm.law(
    "negative numbers",
    inputs=_squares_added,
    equation=r"f(-x) = -f(x)",
    slide=SLIDE,
    hint="A square is never negative: the sum is the same for x and -x, and only the sign of the output changes.",
    mutant=_signed_squares,
)
def odd(f, case):
    """The signs of the numbers do not change the sum: f(-x) = -f(x)."""
    compare(f(case.replace(x=-case["x"])), -f(case).astype(np.float64))


local_response_norm.agrees(
    "without alpha",
    "With alpha=0 every number is divided by k to the power of beta.",
    inputs=_without_alpha,
    equation=r"y = x / k^\beta",
    slide=SLIDE,
    hint="The power beta is taken of the whole denominator, k included, and beta need not be 0.75.",
    mutant=_forward(lambda right, a, o: right(*a, **{**o, "beta": 0.75})[0]),
)


@local_response_norm.law(
    "defaults",
    inputs=_positive,
    equation=r"n = 5,\ \alpha = 10^{-4},\ \beta = 0.75,\ k = 2",
    slide=SLIDE,
    hint="The defaults are those of the paper: size=5, alpha=1e-4, beta=0.75, k=2. (PyTorch's default of k is 1.)",
    mutant=_forward(lambda right, a, o: right(*a, **{"k": 1.0, **o})[0]),
)
def defaults(f, case):
    """Without options the numbers are those of the paper."""
    compare(f(case), f(case.replace(size=5, alpha=1e-4, beta=0.75, k=2.0)).astype(np.float64))


every_family(local_response_norm, inputs=_plain, shapes=_any_shape)


def _window_too_small(right, args, options):
    """A window that is limited to the channels that there are, and then is no longer symmetric."""
    size = options.get("size", 5)
    C = args[0].shape[1]
    return right(*args, **{**options, "size": size if size // 2 < C else 2 * ((C - 1) // 2) + 1})[0]


values(
    local_response_norm,
    simplest=_plain,
    words="at least five channels, no options",
    anything=_anything,
    hint="A window may be wider than there are channels, and of one channel only. Every option may be given.",
    mutant=_forward(_window_too_small),
)
for name, hint, answer in (
    (
        "alpha divided by size",
        "You divide alpha by size, as PyTorch does: in the paper alpha multiplies the sum itself.",
        _divided_by_size,
    ),
    (
        "divided by the number of channels in the window",
        "You divide the sum by the number of channels in the window: this is a mean. alpha multiplies the sum.",
        _with(lambda x, size: _around(x * x, size) / _around(np.ones_like(x), size)),
    ),
    (
        "not squared",
        "You add up the absolute values of the channels: add up their squares.",
        _not_squared,
    ),
    (
        "a window along the rows",
        "Your window runs along a row of the map. It runs over the channels, axis 1, at one position.",
        _along_a_row,
    ),
    (
        "the power forgotten",
        "You divide by k + alpha times the sum. Take this to the power of beta.",
        _forward(lambda right, a, o: right(*a, **{**o, "beta": 1.0})[0]),
    ),
    (
        "size channels to each side",
        "Your window has size channels on each side. It has size channels in all: size // 2 on each side.",
        _forward(lambda right, a, o: right(*a, **{**o, "size": 2 * o.get("size", 5) + 1})[0]),
    ),
    (
        "around to the other end",
        "At the first channel your window takes the last channels too: np.roll goes around. There the window is smaller.",
        _with(lambda x, size: sum(np.roll(x * x, i, axis=1) for i in range(-(size // 2), size // 2 + 1))),
    ),
    (
        "the channel itself left out",
        "The sum includes the channel itself, not only its neighbours.",
        _with(lambda x, size: _around(x * x, size) - x * x),
    ),
    (
        "the sum of the neighbours before",
        "Your window ends at the channel itself. Half of it lies before the channel and half behind it.",
        _with(
            lambda x, size: np.stack(
                [(x * x)[:, max(0, i - size + 1) : i + 1].sum(axis=1) for i in range(x.shape[1])], axis=1
            )
        ),
    ),
):
    local_response_norm.mistake(name, hint, answer)


def _sum_constant(g, pulled, args, options):
    """The denominator taken for a constant."""
    size, alpha, beta, k = (options.get(n, v) for n, v in OPTIONS)
    return (g / (k + alpha * _around(args[0] ** 2, size)) ** beta,)


def _own_square_only(g, pulled, args, options):
    """Only channel i's own square taken into account: the sums of its neighbours are constants."""
    size, alpha, beta, k = (options.get(n, v) for n, v in OPTIONS)
    x = args[0]
    s = k + alpha * _around(x * x, size)
    return (g / s**beta - 2 * alpha * beta * x * (g * x / s ** (beta + 1)),)


def _fixed_power(g, pulled, args, options):
    """The power of the derivative taken for 1.75."""
    size, alpha, beta, k = (options.get(n, v) for n, v in OPTIONS)
    x = args[0]
    s = k + alpha * _around(x * x, size)
    return (g / s**beta - 2 * alpha * beta * x * _around(g * x / s**1.75, size),)


OPTIONS = (("size", 5), ("alpha", 1e-4), ("beta", 0.75), ("k", 2.0))
gradients(
    local_response_norm,
    inputs=_smooth,
    slide=SLIDE,
    equation={
        "x": r"\bar x_j = g_j s_j^{-\beta} - 2 \alpha \beta x_j \sum_{i: |i - j| \le n/2} g_i x_i s_i^{-\beta - 1}"
    },
    hints={
        "x": "x_j stands above the line of y_j, and in the sum under the line of every neighbour: differentiate both, and add "
        "up over the neighbours."
    },
    mutants={"x": backward(_local_response_norm, _sum_constant)},
)
gradient_values(
    local_response_norm,
    simplest=_simplest_gradient,
    words="at least five channels, no options",
    anything=_any_gradient,
    hint="The derivative of s to the power of -beta is -beta times s to the power of -beta - 1, for any beta.",
    mutant=backward(_local_response_norm, _fixed_power),
)
local_response_norm.mistake(
    "the sum taken for a constant",
    "The denominator depends on x too: each number stands in the sums of its neighbours and in its own.",
    backward(_local_response_norm, _sum_constant),
    gradient=True,
)
local_response_norm.mistake(
    "neighbours forgotten on the way back",
    "You differentiate a channel's own square, but not its squares in the sums of the neighbours: add up over the window.",
    backward(_local_response_norm, _own_square_only),
    gradient=True,
)
