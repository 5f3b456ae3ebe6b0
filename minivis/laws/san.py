"""The laws of pairwise_attention and patchwise_attention: a given function computes the weights of a window.

Not here: the layers, which learn that function (models/san.py), windows of even size.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values
from minivis.laws.neighbourhoods import at_the_middle, mirrored, softmax

PAIRS = r"y_p = \sum_o \mathrm{softmax}_o\,\gamma\big([\varphi(x_p) - \psi(x_{p+o}),\; p - (p + o)]\big) \odot \beta(x_{p+o})"
PATCHES = r"y_p = \sum_o \gamma\big([\varphi(x_p),\; \psi(x_{p+o}) \,\forall o]\big)_o \odot \beta(x_{p+o})"
SLIDE = "I/19-transformers-reach-vision"
BIG = 60.0  # scores that differ by so much leave only the largest


def _projected(x, *weights):
    return [np.einsum("dc,bcyx->bdyx", weight, x) for weight in weights]


def _windows(maps, window):
    """The neighbours of every pixel, mirrored at the border: (B, C, k k, H W)."""
    (B, C, H, W) = maps.shape
    rows = mirrored(H, window)  # (H, k)
    columns = mirrored(W, window)
    seen = maps[:, :, rows[:, None, :, None], columns[:, None]]  # (B, C, H, W, k, k)
    return seen.reshape(B, C, H * W, -1).swapaxes(2, 3)


def _places(H, W, dtype):
    """Column and row of each pixel from -1 to 1, as a map (1, 2, H, W)."""
    rows, columns = np.linspace(-1, 1, H), np.linspace(-1, 1, W)
    return np.stack(np.broadcast_arrays(columns[None], rows[:, None]))[None].astype(dtype)


def _gathered(weights, beta, window, shape):
    """The weighted sums: channel c of the values has channel c mod g of the weights."""
    seen = _windows(beta, window)
    weights = np.tile(weights, (1, seen.shape[1] // weights.shape[1], 1, 1))
    return (weights * seen).sum(axis=2).reshape(shape)


def _pairwise(x, phi, psi, beta, gamma, window):
    phi, psi, beta = _projected(x, phi, psi, beta)
    (B, r, H, W) = phi.shape
    places = _places(H, W, x.dtype)
    content = phi.reshape(B, r, 1, -1) - _windows(psi, window)
    place = places.reshape(1, 2, 1, -1) - _windows(places, window)
    relations = np.concatenate([content, np.repeat(place, B, axis=0)], axis=1)
    weights = softmax(gamma(relations), axis=2)
    return _gathered(weights, beta, window, beta.shape), None


def _patchwise(x, phi, psi, beta, gamma, window):
    phi, psi, beta = _projected(x, phi, psi, beta)
    (B, r, H, W) = phi.shape
    around = _windows(psi, window).reshape(B, -1, H * W)
    weights = gamma(np.concatenate([phi.reshape(B, r, -1), around], axis=1))
    return _gathered(weights, beta, window, beta.shape), None


MAPS = "x (B, C, H, W), phi and psi (r, C), beta (D, C)"
pairwise_attention = Family(
    "pairwise_attention",
    _pairwise,
    ("x", "phi", "psi", "beta"),
    form=f"f(x, phi, psi, beta, gamma, window); {MAPS}; gamma is a function of (B, r + 2, k k, H W), whose last two channels "
    "are the differences of columns and rows, to scores (B, g, k k, H W) -> (B, D, H, W); the map is mirrored at its border",
)
patchwise_attention = Family(
    "patchwise_attention",
    _patchwise,
    ("x", "phi", "psi", "beta"),
    form=f"f(x, phi, psi, beta, gamma, window); {MAPS}; gamma is a function of (B, r (k k + 1), H W) to weights "
    "(B, g, k k, H W) -> (B, D, H, W); the map is mirrored at its border",
)


# Functions that give the weights


class OfPairs:
    """A function of relations: a matrix (g, r + 2), then tanh, or minus the square."""

    def __init__(self, matrix, squared=False, scale=1.0):
        self.matrix = np.asarray(matrix, np.float32)
        self.squared = squared
        self.scale = scale

    def __call__(self, relations):
        scores = np.einsum("gr,brkn->bgkn", self.matrix, relations)
        return self.scale * (-(scores**2) if self.squared else np.tanh(scores))

    def __repr__(self):
        g, r = self.matrix.shape
        return (
            f"<{'minus the square' if self.squared else 'tanh'} of a matrix ({g}, {r}) times the relations>"
        )


class OfWindows:
    """A function of whole windows: a matrix (g k k, r (k k + 1)), tanh, and constants (g, k k) that are added."""

    def __init__(self, matrix, constants):
        self.matrix, self.constants = np.asarray(matrix, np.float32), np.asarray(constants, np.float32)

    def __call__(self, windows):
        g, places = self.constants.shape
        weights = np.tanh(np.einsum("gr,brn->bgn", self.matrix, windows))
        return weights.reshape(len(windows), g, places, -1) + self.constants[:, :, None].astype(windows.dtype)

    def __repr__(self):
        return (
            f"<tanh of a matrix {self.matrix.shape} times the windows, plus constants {self.constants.shape}>"
        )


def _case(x, phi, psi, beta, gamma, window=3):
    arrays = {"x": x, "phi": phi, "psi": psi, "beta": beta}
    return {**{n: np.asarray(a, np.float32) for n, a in arrays.items()}, "gamma": gamma, "window": window}


ZERO, FIRST, SECOND = ([[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]])


def _two_channels(draw, window=3):
    """Different numbers in the first channel, ones in the second."""
    x = np.random.default_rng(integer(draw, 0, 60)).permutation(window * window) / 2.0
    return np.stack([x, np.ones_like(x)]).reshape(1, 2, window, window)


def _bordered_map(draw):
    shape = 1, 2, choose(draw, 3, 4), choose(draw, 4, 3, 5)
    return normals(draw, shape) + np.arange(shape[3], dtype=np.float32)


# Pairwise: each law has one of a border, both projections, an offset, several groups, the order of a window


def _bordered(draw):
    return _case(_bordered_map(draw), ZERO, ZERO, np.eye(2), OfPairs([[0, 0, 0]]))


def _own_column(draw):
    window = choose(draw, 3, 5)
    gamma = OfPairs([[0, 1, 0]], squared=True, scale=BIG * window**2)
    return _case(_two_channels(draw, window), ZERO, ZERO, FIRST, gamma, window)


def _above_left(draw):
    gamma = OfPairs([[0, 1, 1]], scale=choose(draw, 4 * BIG, -4 * BIG))
    return _case(_two_channels(draw), ZERO, ZERO, FIRST, gamma)


def _several_groups(draw):
    """Group 0 takes the pixel itself, group 1 the mean of the window."""
    copies = integer(draw, 2, 3)
    beta = np.tile(np.eye(2), (copies, 1)) + np.arange(2 * copies)[:, None]
    gamma = OfPairs([[0, 1, 1.5], [0, 0, 0]], squared=True, scale=BIG * 20)
    return _case(_two_channels(draw), ZERO, ZERO, beta, gamma)


def _both_projections(draw):
    """phi and psi are equal; the second channel is constant."""
    x = normals(draw, (1, 2, 3, 3))
    x[:, 1] = 1
    matrix = normals(draw, (1, 2))
    return _case(x, matrix, matrix, FIRST, OfPairs([[choose(draw, 1.0, 2.0, -1.0), 0, 0]], scale=3))


def _by_content(draw):
    x = normals(draw, (1, 2, 3, 3))
    matrix = normals(draw, (1, 2))
    return _case(x, matrix, matrix, np.eye(2), OfPairs([[1, 0, 0]], scale=3))


def _only_the_neighbour(draw):
    """phi is 0, and gamma is largest for the neighbour whose psi is 0."""
    gamma = OfPairs([[1, 0, 0]], squared=True, scale=10 * BIG)
    return _case(_two_channels(draw), ZERO, FIRST, [[1, choose(draw, 2.0, 3.0, -1.0)]], gamma)


def _pairs(draw, B, C, r, g, copies, H, W, window):
    gamma = OfPairs(normals(draw, (g, r + 2)), squared=choose(draw, False, False, True), scale=4.0)
    return _case(*_arrays(draw, B, C, r, g * copies, H, W), gamma, window)


def _arrays(draw, B, C, r, D, H, W):
    return normals(draw, (B, C, H, W)), *(normals(draw, (n, C)) for n in (r, r, D))


def _of(make, *of_sizes):
    """Inputs of a family from sizes: numbers, or functions of ``draw``."""

    def inputs(draw):
        return make(draw, *(size(draw) if callable(size) else size for size in of_sizes))

    return inputs


def _to(high, low=1):
    return lambda draw: integer(draw, low, high)


def _odd(*windows):
    return lambda draw: choose(draw, *windows)


SIMPLE = (1, 2, 2, 1, _to(2), _to(4, 3), _to(4, 3), 3)
ANY = (_to(2), _to(3), _to(3), _to(3), _to(2), _to(4), _to(4), _odd(3, 5, 3, 1))
SHAPES = (_to(2), _to(2), 1, 1, _to(2), 1, _to(3), _odd(1, 3))
PLAIN = (2, 2, 2, 2, 2, 3, 4, 3)


def _windows_case(draw, B, C, r, g, copies, H, W, window):
    places = window * window
    matrix = normals(draw, (g * places, r * (places + 1)), 0.5)
    gamma = OfWindows(matrix, normals(draw, (g, places), 0.5))
    return _case(*_arrays(draw, B, C, r, g * copies, H, W), gamma, window)


# Patchwise: weights that sum to 1, except in one law


def _fixed(constants, r=1):
    """A gamma that does not look at the window."""
    g, places = np.shape(constants)
    return OfWindows(np.zeros((g * places, r * (places + 1))), constants)


def _one_hot(places, *chosen):
    return np.isin(np.arange(places), chosen).astype(np.float32) / len(chosen)


def _mean_at_the_border(draw):
    return _case(_bordered_map(draw), ZERO, ZERO, np.eye(2), _fixed([np.full(9, 1 / 9)]))


def _not_one(draw):
    return _case(
        _two_channels(draw), ZERO, ZERO, FIRST, _fixed([np.full(9, choose(draw, 1.0, -1.0, 0.5, 2.0))])
    )


def _windows_of_groups(draw):
    copies = integer(draw, 2, 3)
    beta = np.tile(np.eye(2), (copies, 1)) + np.arange(2 * copies)[:, None]
    return _case(_two_channels(draw), ZERO, ZERO, beta, _fixed([_one_hot(9, 4), np.full(9, 1 / 9)]))


def _middle_row(draw):
    window = choose(draw, 3, 5)
    chosen = [window * (window // 2) + j for j in range(window)]
    return _case(
        _two_channels(draw, window), ZERO, ZERO, FIRST, _fixed([_one_hot(window**2, *chosen)]), window
    )


def _on_the_diagonal(draw):
    window = choose(draw, 3, 5)
    gamma = _fixed([_one_hot(window**2, choose(draw, 0, window**2 - 1))])
    return _case(_two_channels(draw, window), ZERO, ZERO, FIRST, gamma, window)


class Shared(OfWindows):
    """A gamma that reads one number of each window: the middle's weight is its tanh, the others share the rest."""

    def __init__(self, chosen):
        super().__init__(np.zeros((9, 1)), np.zeros((1, 9)))
        self.chosen = chosen

    def __call__(self, windows):
        middle = np.tanh(windows[:, self.chosen])[:, None, None]
        return np.where(np.arange(9)[:, None] == 4, middle, (1 - middle) / 8)

    def __repr__(self):
        return (
            f"<the middle has the weight tanh(number {self.chosen} of the window), the others share the rest>"
        )


def _the_pixel_first(draw):
    """phi gives the first channel, psi 1 everywhere."""
    x = _two_channels(draw)
    x[0, 0, 1, 1] = choose(draw, 0.25, -0.5, 0.5)
    return _case(x, FIRST, SECOND, FIRST, Shared(0))


def _channel_by_channel(draw):
    """Both channels of psi are constant, and gamma reads one number of the second."""
    psi = [[0, choose(draw, 0.25, -0.5)], [0, choose(draw, 0.5, 1.0)]]
    return _case(_two_channels(draw), np.zeros((2, 2)), psi, FIRST, Shared(2 + 9 + choose(draw, 3, 5)))


# Wrong answers


def _at_the_border(family, fill):
    """The map is continued in another way: with zeros, or with its outermost pixels."""

    def answer(x, phi, psi, beta, gamma, window):
        edge = window // 2
        widths = ((0, 0), (0, 0), (edge, edge), (edge, edge))
        out = family.right(np.pad(x, widths, mode=fill), phi, psi, beta, _cropped(gamma, x, edge), window)[0]
        return out[:, :, edge : edge + x.shape[2], edge : edge + x.shape[3]]

    return answer


def _cropped(gamma, x, edge):
    """A gamma for the padded map: positions are as far apart as in the map itself."""
    if isinstance(gamma, OfWindows):
        return gamma
    (H, W) = x.shape[2:]
    matrix = gamma.matrix.copy()
    for channel, size in ((-2, W), (-1, H)):
        matrix[:, channel] *= (size + 2 * edge - 1) / max(1, size - 1)
    return OfPairs(matrix, gamma.squared, gamma.scale)


def _changed(family, change):
    """The right answer for other arguments: ``change`` takes and returns a dict of them."""

    def answer(*args):
        return family.right(**change(dict(zip(family.parameters, args, strict=True))))[0]

    return answer


def _with_gamma(change):
    """Another gamma: ``change(gamma, inputs)``."""
    return lambda given: {**given, "gamma": lambda inputs, gamma=given["gamma"]: change(gamma, inputs)}


def _other_positions(gamma, relations):
    return gamma(np.concatenate([relations[:, :-2], relations[:, :-3:-1]], axis=1))


def _other_signs(gamma, relations):
    return gamma(np.concatenate([relations[:, :-2], -relations[:, -2:]], axis=1))


def _by_place(gamma, relations):
    """The content of later neighbours counts more."""
    factor = 1 + np.arange(relations.shape[2], dtype=relations.dtype)[:, None] / 4
    return gamma(np.concatenate([relations[:, :-2] * factor, relations[:, -2:]], axis=1))


def _added(given):
    return {**given, "psi": -given["psi"]}


def _exchanged(given):
    return {**given, "phi": given["psi"], "psi": given["phi"]}


def _blocks(family):
    """Neighbouring channels share their weights."""

    def answer(x, phi, psi, beta, gamma, window):
        r = len(phi)
        places = window * window
        inputs = (1, r + 2, places, 1) if family is pairwise_attention else (1, r * (places + 1), 1)
        g = gamma(np.zeros(inputs, x.dtype)).shape[1]
        order = np.arange(len(beta)).reshape(g, -1).T.ravel()
        out = family.right(x, phi, psi, beta[order], gamma, window)[0]
        return out[:, np.argsort(order)]

    return answer


def _turned_weights(gamma, windows):
    weights = gamma(windows)
    k = round(weights.shape[2] ** 0.5)
    return weights.reshape(*weights.shape[:2], k, k, -1).swapaxes(2, 3).reshape(weights.shape)


def _flipped_weights(gamma, windows):
    return gamma(windows)[:, :, ::-1]


def _divided(gamma, windows):
    weights = gamma(windows)
    return weights / weights.sum(axis=2, keepdims=True)


def _softened(gamma, windows):
    return softmax(gamma(windows), axis=2)


def _neighbours_first(x, phi, psi, beta, gamma, window):
    r = len(phi)
    return _patchwise(
        x, phi, psi, beta, lambda w: gamma(np.concatenate([w[:, r:], w[:, :r]], axis=1)), window
    )[0]


def _place_by_place(x, phi, psi, beta, gamma, window):
    """psi comes with all channels of one neighbour, then all of the next."""
    r = len(phi)

    def other(windows):
        B, _, N = windows.shape
        around = windows[:, r:].reshape(B, r, -1, N).swapaxes(1, 2).reshape(B, -1, N)
        return gamma(np.concatenate([windows[:, :r], around], axis=1))

    return _patchwise(x, phi, psi, beta, other, window)[0]


def _now_and_then(family, change):
    """A mistake in large batches of several groups alone."""

    def answer(x, phi, psi, beta, gamma, window):
        wrong = len(x) > 1 and len(phi) > 1
        given = dict(zip(family.parameters, (x, phi, psi, beta, gamma, window), strict=True))
        return family.right(**(change(given) if wrong else given))[0]

    return answer


def _without_rows(family):
    def answer(*args):
        out = family.right(*args)[0]
        return out[:, :, 0] if out.shape[2] == 1 else out

    return answer


family = pairwise_attention
family.agrees(
    "mirrored at the border",
    "Outside the map lie its own pixels, mirrored at the outermost ones, which do not come twice.",
    inputs=_bordered,
    equation=PAIRS,
    slide=SLIDE,
    hint='np.pad has mode="reflect" for this; "edge" and "symmetric" repeat the outermost pixels.',
    mutant=_at_the_border(family, "edge"),
)


@family.law(
    "only the difference counts",
    inputs=_both_projections,
    equation=r"(\varphi + c) - (\psi + c) = \varphi - \psi",
    slide=SLIDE,
    hint="The relation of two pixels is phi of the one minus psi of the other, not their sum.",
    mutant=_changed(family, _added),
)
def only_the_difference(f, case):
    """Adding the same constant to phi and psi of every pixel changes nothing."""
    moved = [case[name] + np.float32([[0, 2]]) for name in ("phi", "psi")]
    after = f(case.replace(phi=moved[0], psi=moved[1]))
    compare(after[..., 1, 1], f(case)[..., 1, 1].astype(np.float64), rtol=1e-4, atol=1e-4)


@family.law(
    "a window is a set",
    inputs=_by_content,
    equation=r"\{x_{p+o}\}",
    slide=SLIDE,
    hint="Where gamma does not look at the position, every neighbour is treated alike. Do the weights depend on the place "
    "in the window?",
    mutant=_changed(family, _with_gamma(_by_place)),
)
def a_set(f, case):
    """If gamma does not look at the position, neighbours may change places: the middle pixel stays the same."""
    order = np.array([3, 0, 7, 5, 4, 8, 2, 1, 6])  # the middle stays
    x = case["x"]
    moved = x.reshape(1, -1, 9)[:, :, order].reshape(x.shape)
    compare(f(case.replace(x=moved))[..., 1, 1], f(case)[..., 1, 1].astype(np.float64), rtol=1e-4, atol=1e-4)


at_the_middle(
    family,
    "columns before rows",
    "Of the last two channels of the relations the first is the difference of the columns, the second that of the rows.",
    inputs=_own_column,
    equation=r"p = (x, y)",
    hint="The position is (x, y): column first. Both go from -1 to 1 across the map.",
    mutant=_changed(family, _with_gamma(_other_positions)),
)
at_the_middle(
    family,
    "the pixel minus its neighbour",
    "The difference of the positions is that of the pixel minus that of the neighbour.",
    inputs=_above_left,
    equation=r"p - (p + o)",
    hint="The neighbour above and to the left has positive differences.",
    mutant=_changed(family, _with_gamma(_other_signs)),
)
at_the_middle(
    family,
    "phi of the pixel, psi of its neighbours",
    "phi is taken of the pixel itself, psi of its neighbours.",
    inputs=_only_the_neighbour,
    equation=PAIRS,
    slide=SLIDE,
    hint="If phi is 0, the relation depends on the neighbour alone. Are phi and psi exchanged?",
    mutant=_changed(family, _exchanged),
)
at_the_middle(
    family,
    "interleaved channels",
    "Channel c of the values has the weights of channel c mod g, where gamma gives g channels.",
    inputs=_several_groups,
    equation=r"w_{c \bmod g}",
    hint="Channels 0, g, 2 g, ... share weights: np.tile along the channels, not np.repeat.",
    mutant=_blocks(family),
)
every_family(
    family,
    inputs=_of(_pairs, *PLAIN),
    shapes=_of(_pairs, *SHAPES),
    wrong_shape=_without_rows(family),
    shape_hint="A map of one row has four axes too.",
)
values(
    family,
    simplest=_of(_pairs, *SIMPLE),
    words="one image, one group, a window of 3 x 3",
    anything=_of(_pairs, *ANY),
    atol=2e-4,  # scores may be in the hundreds
    hint="These inputs have several images and groups, maps that are not square, and windows larger than the map, all at "
    "once. Compute the relations of one pixel by hand.",
    mutant=_now_and_then(family, _exchanged),
)
for name, hint, answer in (
    (
        "the outermost pixels repeated",
        "You repeat the outermost pixels at the border. The map is mirrored: the pixel next to them comes first.",
        _at_the_border(family, "edge"),
    ),
    (
        "the sum of phi and psi",
        "The relation of two pixels is the difference phi - psi, not the sum.",
        _changed(family, _added),
    ),
    (
        "phi and psi exchanged",
        "phi belongs to the pixel, psi to its neighbours: you have them the other way around.",
        _changed(family, _exchanged),
    ),
    (
        "rows before columns",
        "The difference of the columns comes first, then that of the rows.",
        _changed(family, _with_gamma(_other_positions)),
    ),
    (
        "the neighbour minus the pixel",
        "The positions are subtracted the other way around: the pixel's minus the neighbour's.",
        _changed(family, _with_gamma(_other_signs)),
    ),
    (
        "blocks of channels",
        "Neighbouring channels share weights in your answer. Channel c has those of channel c mod g.",
        _blocks(family),
    ),
    (
        "softmax over the channels",
        "Your softmax runs over the channels of gamma: it should run over the neighbours of the window.",
        lambda *args: _other_softmax(*args, over=1),
    ),
    (
        "no softmax",
        "The scores of gamma are used as weights: take their softmax over the window first.",
        lambda *args: _other_softmax(*args, over=None),
    ),
):
    family.mistake(name, hint, answer)


def _other_softmax(x, phi, psi, beta, gamma, window, over):
    """The weights of gamma without a softmax over the window."""
    found = []

    def kept(relations):
        found.append(gamma(relations))
        return found[0]

    _pairwise(x, phi, psi, beta, kept, window)
    (values_,) = _projected(x, beta)
    weights = found[0] if over is None else softmax(found[0], axis=over)
    return _gathered(weights, values_, window, values_.shape)


family = patchwise_attention
family.agrees(
    "mirrored at the border",
    "Outside the map lie its own pixels, mirrored at the outermost ones, which do not come twice.",
    inputs=_mean_at_the_border,
    equation=PATCHES,
    slide=SLIDE,
    hint='np.pad has mode="reflect" for this; "edge" and "symmetric" repeat the outermost pixels.',
    mutant=_at_the_border(family, "edge"),
)
at_the_middle(
    family,
    "weights as they are",
    "The weights that gamma gives are used as they are: they need not sum to 1.",
    inputs=_not_one,
    equation=PATCHES,
    slide=SLIDE,
    hint="There is no softmax here, and no division by the sum of the weights.",
    mutant=_changed(family, _with_gamma(_divided)),
)
at_the_middle(
    family,
    "interleaved channels",
    "Channel c of the values has the weights of channel c mod g, where gamma gives g channels.",
    inputs=_windows_of_groups,
    equation=r"w_{c \bmod g}",
    hint="Channels 0, g, 2 g, ... share weights: np.tile along the channels, not np.repeat.",
    mutant=_blocks(family),
)
at_the_middle(
    family,
    "neighbours row by row",
    "The weights of a window come row by row.",
    inputs=_middle_row,
    equation=r"o = (o_y, o_x)",
    hint="Weights for the middle row of the window sum that row: are rows and columns of the window exchanged?",
    mutant=_changed(family, _with_gamma(_turned_weights)),
)
at_the_middle(
    family,
    "neighbours from above and left",
    "The first weight of a window is for the neighbour that lies farthest up and farthest left.",
    inputs=_on_the_diagonal,
    equation=r"o_y, o_x = -\lfloor k/2 \rfloor, \dots, \lfloor k/2 \rfloor",
    hint="Is the window flipped, as in a convolution of mathematics? Offset -(window // 2) is the first.",
    mutant=_changed(family, _with_gamma(_flipped_weights)),
)
at_the_middle(
    family,
    "the pixel first",
    "gamma reads phi of the pixel first, then psi of all its neighbours.",
    inputs=_the_pixel_first,
    equation=r"[\varphi(x_p),\; \psi(x_{p+o}) \,\forall o]",
    slide=SLIDE,
    hint="The first r channels are phi. Are the two parts joined the other way around?",
    mutant=_neighbours_first,
)
at_the_middle(
    family,
    "psi channel by channel",
    "Of psi, gamma reads the k k numbers of its first channel, then those of the second.",
    inputs=_channel_by_channel,
    equation=r"r + c\,k^2 + o",
    hint="Reshape (B, r, k k, N) to (B, r k k, N): the channel comes before the place.",
    mutant=_place_by_place,
)
every_family(
    family,
    inputs=_of(_windows_case, *PLAIN),
    shapes=_of(_windows_case, *SHAPES),
    wrong_shape=_without_rows(family),
    shape_hint="A map of one row has four axes too.",
)
values(
    family,
    simplest=_of(_windows_case, *SIMPLE),
    words="one image, one group, a window of 3 x 3",
    anything=_of(_windows_case, *ANY),
    hint="These inputs have several images and groups, maps that are not square, and windows larger than the map, all at "
    "once. Compute the weights of one pixel by hand.",
    mutant=_now_and_then(family, _exchanged),
)
for name, hint, answer in (
    (
        "the outermost pixels repeated",
        "You repeat the outermost pixels at the border. The map is mirrored: the pixel next to them comes first.",
        _at_the_border(family, "edge"),
    ),
    (
        "a softmax",
        "You take a softmax of what gamma gives. Use these weights as they are.",
        _changed(family, _with_gamma(_softened)),
    ),
    (
        "weights divided by their sum",
        "You divide the weights by their sum. Use them as they are.",
        _changed(family, _with_gamma(_divided)),
    ),
    (
        "blocks of channels",
        "Neighbouring channels share weights in your answer. Channel c has those of channel c mod g.",
        _blocks(family),
    ),
    (
        "the window turned",
        "Rows and columns of the window are exchanged: its weights come row by row.",
        _changed(family, _with_gamma(_turned_weights)),
    ),
    (
        "the window flipped",
        "The window is flipped: the first weight belongs to the neighbour above and to the left.",
        _changed(family, _with_gamma(_flipped_weights)),
    ),
    (
        "psi before phi",
        "gamma reads psi first in your answer: phi of the pixel comes first.",
        _neighbours_first,
    ),
    (
        "psi place by place",
        "psi comes place by place in your answer: it should come channel by channel.",
        _place_by_place,
    ),
    (
        "phi and psi exchanged",
        "phi belongs to the pixel, psi to its neighbours: you have them the other way around.",
        _changed(family, _exchanged),
    ),
):
    family.mistake(name, hint, answer)
