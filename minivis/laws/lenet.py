"""The laws of masked_conv2d and subsample, the two layers of LeNet-5 that later networks no longer have.

Not here: the squashing function that follows both, convolutions without a table (conv.py).
"""

import numpy as np

from minivis.laws.conv_mistakes import first_image, other_weight, unturned
from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "Z/12-lenet"
MASKED = r"y_o = b_o + \sum_{c:\ T_{oc}} w_{oc} * x_c"
SUBSAMPLED = r"y_{cij} = w_c \sum_{u,v < 2} x_{c,\,2i+u,\,2j+v} + b_c"


# ---------------------------------------------------------------------------------------------------------------------
# masked_conv2d


def _windows(x, M, N):
    """(B, C, H - M + 1, W - N + 1, M, N): all places of a kernel."""
    return np.lib.stride_tricks.sliding_window_view(x, (M, N), axis=(2, 3))


def _masked_conv2d(x, weight, bias, table):
    allowed = table[:, :, None, None]
    kernels = weight * allowed
    M, N = weight.shape[2:]
    windows = _windows(x, M, N)
    out = np.einsum("bcijmn,ocmn->boij", windows, kernels) + bias[:, None, None]

    def vjp(g):
        around = np.pad(g, ((0, 0), (0, 0), (M - 1, M - 1), (N - 1, N - 1)))
        dx = np.einsum("boijmn,ocmn->bcij", _windows(around, M, N), kernels[:, :, ::-1, ::-1])
        dw = np.einsum("bcijmn,boij->ocmn", windows, g) * allowed
        return dx, dw, g.sum(axis=(0, 2, 3))

    return out, vjp


masked_conv2d = Family(
    "masked_conv2d",
    _masked_conv2d,
    ("x", "weight", "bias"),
    form="f(x, weight, bias, table); x (B, C, H, W), weight (O, C, rows, columns), bias (O,), table (O, C) of bool: True "
    "where output map o sees input map c; stride 1, no padding",
)


def _table(draw, outputs, inputs):
    """A table in which every row has a connection; a column may be empty."""
    rng = generator(draw)
    table = rng.random((outputs, inputs)) < 0.5
    table[np.arange(outputs), rng.integers(0, inputs, outputs)] = True
    return table


def _call(draw, table, kernel=(3, 3), batch=2):
    O, C = table.shape
    M, N = kernel
    x = normals(draw, (batch, C, M + integer(draw, 1, 3), N + integer(draw, 1, 3)))
    return {"x": x, "weight": normals(draw, (O, C, M, N)), "bias": normals(draw, (O,)), "table": table}


def _plain(draw):
    C = integer(draw, 2, 3)
    return _call(draw, _table(draw, C + integer(draw, 1, 2), C))


def _one_each(draw):
    """Each output map sees one input map."""
    C = integer(draw, 2, 3)
    table = np.zeros((C + integer(draw, 1, 2), C), bool)
    table[np.arange(len(table)), generator(draw).integers(0, C, len(table))] = True
    return _call(draw, table)


def _symmetric(draw):
    table = np.eye(3, dtype=bool)
    table[0, 1] = table[1, 0] = choose(draw, True, False)
    return _call(draw, table)


def _all_seen(draw):
    case = _call(draw, np.ones((3, 2), bool))
    return {**case, "bias": np.zeros(3, np.float32)}


def _any_size(draw):
    table = np.ones(sizes(draw, 2, 1, 2), bool)
    return _call(draw, table, (integer(draw, 1, 2), integer(draw, 1, 2)), integer(draw, 1, 2))


def _anything(draw):
    table = _table(draw, *sizes(draw, 2, 1, 5))
    case = _call(draw, table, (integer(draw, 1, 4), integer(draw, 1, 4)), integer(draw, 1, 3))
    return {**case, "x": case["x"][:, :, choose(draw, 1, 0) :]}


def _of_one_table(change):
    """A mutant: ``change(x, weight, bias, table)`` changes what the right answer is given."""
    return mutated(_masked_conv2d, lambda right, a, o: right(*change(*a), **o)[0].astype(a[0].dtype))


def _read_across(x, weight, bias, table):
    """The table taken for (in, out)."""
    return x, weight, bias, table.T.reshape(table.shape)


_averaged = _of_one_table(lambda x, w, b, table: (x, w / table.sum(axis=1)[:, None, None, None], b, table))
_unmasked = _of_one_table(lambda x, w, b, table: (x, w, b, np.ones_like(table)))
_inverted = _of_one_table(lambda x, w, b, table: (x, w, b, ~table))
_without_bias = _of_one_table(lambda x, w, b, table: (x, w, 0 * b, table))
_bias_each = _of_one_table(lambda x, w, b, table: (x, w, b * table.sum(axis=1), table))
_transposed = _of_one_table(_read_across)


@masked_conv2d.law(
    "rows are outputs",
    inputs=_one_each,
    equation=r"f(x, w_\pi, b_\pi, T_\pi)_o = f(x, w, b, T)_{\pi(o)}",
    slide=SLIDE,
    hint="table[o, c] belongs to the kernel weight[o, c]. A square table hides a transposition; this one is not square.",
    mutant=_transposed,
)
def rows_are_outputs(f, case):
    """Row o of the table belongs to output map o: in another order of rows, kernels and biases the maps come in that order."""
    other = case.replace(**{name: case[name][::-1] for name in ("weight", "bias", "table")})
    compare(f(case), f(other)[:, ::-1].astype(np.float64))


@masked_conv2d.law(
    "no leak",
    inputs=_symmetric,
    equation=r"T_{oc} = 0 \implies \partial y_o / \partial x_c = 0",
    slide=SLIDE,
    hint="The table also holds in the forward pass: set the forbidden kernels to 0 there. It is not enough that they do not "
    "learn.",
    mutant=_unmasked,
)
def no_leak(f, case):
    """An input map that an output map does not see can change without any effect on it, to the last bit."""
    x = case["x"].copy()
    x[:, 2] += 1
    unseen = ~case["table"][:, 2]
    before, after = (f(c)[:, unseen] for c in (case, case.replace(x=x)))
    if not np.array_equal(before, after):
        raise Broken("Input map 2 was changed. These output maps do not see it:", before, after)


masked_conv2d.agrees(
    "all True is a convolution",
    "If every output map sees every input map, this is an ordinary convolution.",
    inputs=_all_seen,
    equation=r"y_o = b_o + \sum_c w_{oc} * x_c",
    slide=SLIDE,
    hint="The maps are added up. The sum is not divided by the number of connections.",
    mutant=_averaged,
)


@masked_conv2d.law(
    "bias",
    inputs=_plain,
    equation=MASKED,
    slide=SLIDE,
    hint="bias is added once to each output map, however many input maps it sees.",
    mutant=_bias_each,
)
def bias_once(f, case):
    """bias is added once to each output map."""
    without = f(case.replace(bias=0 * case["bias"])).astype(np.float64)
    compare(f(case), without + case["bias"][:, None, None])


every_family(masked_conv2d, inputs=_plain, shapes=_any_size)


def _sides_mixed_up(right, args, options):
    """Kernels turned on their side where they are not square and the image has room for it."""
    x, w = args[:2]
    M, N = w.shape[2:]
    if M == N or x.shape[2] < N or x.shape[3] < M:
        return right(*args, **options)[0]
    out = right(*args, **options)[0]
    turned = right(x, np.swapaxes(w, 2, 3), *args[2:], **options)[0]
    return np.resize(turned, out.shape)


values(
    masked_conv2d,
    simplest=_plain,
    words="3 x 3 kernels",
    anything=_anything,
    hint="Kernels need not be square. An input map that nobody sees is allowed, and a table with one row or column.",
    mutant=mutated(_masked_conv2d, _sides_mixed_up),
)
for name, hint, answer in (
    (
        "the table not used",
        "All input maps count. Set the forbidden kernels to 0, where the table is False.",
        _unmasked,
    ),
    (
        "the table inverted",
        "You use the kernels where the table is False. True means: is connected.",
        _inverted,
    ),
    (
        "the table transposed",
        "table is (out, in): its rows are the output maps. You read it as (in, out).",
        _transposed,
    ),
    (
        "a mean over the connections",
        "You divide by the number of connections. The maps are added up.",
        _averaged,
    ),
    ("bias forgotten", "Only the bias is missing: add bias[:, None, None].", _without_bias),
    (
        "bias for each connection",
        "You add bias once for each input map: add it once, after the sum.",
        _bias_each,
    ),
    (
        "the kernel turned around",
        "The kernel is flipped. In deep learning element (0, 0) belongs to the upper left pixel of the window.",
        mutated(_masked_conv2d, other_weight(lambda kernel: kernel[..., ::-1, ::-1])),
    ),
):
    masked_conv2d.mistake(name, hint, answer)


def _all_on_the_way_back(g, pulled, args, options):
    x, w, b, table = args
    return _masked_conv2d(x, w, b, np.ones_like(table))[1](g)[0], *pulled[1:]


def _forbidden_kernels_learn(g, pulled, args, options):
    x, w, b, table = args
    return pulled[0], _masked_conv2d(x, w, b, np.ones_like(table))[1](g)[1], pulled[2]


def _bias_averaged(g, pulled, args, options):
    return *pulled[:2], g.mean(axis=(0, 2, 3))


def _two_images(g, pulled, args, options):
    """The weight's gradient from two images at most."""
    return pulled[0], _masked_conv2d(args[0][:2], *args[1:])[1](g[:2])[1], pulled[2]


gradients(
    masked_conv2d,
    inputs=_plain,
    slide=SLIDE,
    equation={
        "x": r"\bar x_c = \sum_{o:\ T_{oc}} w_{oc} \star g_o",
        "weight": r"\bar w_{oc} = T_{oc}\, (x_c * g_o)",
        "bias": r"\bar b_o = \sum_{b,i,j} g_{b,o,i,j}",
    },
    hints={
        "x": "Only the kernels that the table allows send g back to x: the same masked kernels as in the forward pass.",
        "weight": "A forbidden kernel has no effect, so its gradient is 0: multiply by the table here too.",
        "bias": "bias was added at every position of every image: sum g over batch, rows and columns.",
    },
    mutants={
        "x": backward(_masked_conv2d, _all_on_the_way_back),
        "weight": backward(_masked_conv2d, _forbidden_kernels_learn),
        "bias": backward(_masked_conv2d, _bias_averaged),
    },
)
gradient_values(
    masked_conv2d,
    simplest=_plain,
    words="3 x 3 kernels",
    anything=_anything,
    hint="The weight's gradient is a sum over all images of the batch, also if there are three.",
    mutant=backward(_masked_conv2d, _two_images),
)
for name, hint, answer in (
    (
        "all kernels on the way back",
        "The gradient of x uses the forbidden kernels too. Use the masked kernels of the forward pass.",
        backward(_masked_conv2d, _all_on_the_way_back),
    ),
    (
        "forbidden kernels learn",
        "Forbidden kernels get a gradient. They have no effect on the output: multiply their gradient by the table.",
        backward(_masked_conv2d, _forbidden_kernels_learn),
    ),
    (
        "the kernel turned around on the way back",
        "The kernel is flipped in the gradient of x: element (m, n) sends g back to the pixel that it read.",
        unturned(_masked_conv2d),
    ),
    (
        "the first image only",
        "The gradient of weight comes from the first image alone: sum over the batch.",
        first_image(_masked_conv2d),
    ),
    (
        "bias averaged",
        "The gradient of bias is the sum of g over batch, rows and columns, not the mean.",
        backward(_masked_conv2d, _bias_averaged),
    ),
):
    masked_conv2d.mistake(name, hint, answer, gradient=True)


# ---------------------------------------------------------------------------------------------------------------------
# subsample


def _squares(x):
    """(B, C, H / 2, 2, W / 2, 2): the squares of 2 x 2 pixels."""
    B, C, H, W = x.shape
    return x.reshape(B, C, H // 2, 2, W // 2, 2)


def _subsample(x, weight, bias):
    sums = _squares(x).sum(axis=(3, 5))
    column = weight[:, None, None]

    def vjp(g):
        dx = np.repeat(np.repeat(g * column, 2, axis=2), 2, axis=3)
        return dx, (g * sums).sum(axis=(0, 2, 3)), g.sum(axis=(0, 2, 3))

    return sums * column + bias[:, None, None], vjp


subsample = Family(
    "subsample",
    _subsample,
    ("x", "weight", "bias"),
    form="f(x, weight, bias); x (B, C, H, W) with even H and W, weight and bias (C,) -> (B, C, H/2, W/2), before the "
    "squashing function",
)


def _maps(draw, B, C, alike=False):
    x = normals(draw, (B, C, 2 * integer(draw, 2, 3), 2 * integer(draw, 2, 3)))
    weight, bias = normals(draw, (C,)), normals(draw, (C,))
    if alike:  # one weight and one bias for all maps
        weight[:] = weight[0] or 1
        bias[:] = bias[0]
    return {"x": x, "weight": weight, "bias": bias}


def _some_maps(draw):
    return _maps(draw, 2, 3)


def _constant(draw):
    case = _maps(draw, 2, 3, alike=True)
    return {**case, "x": np.full_like(case["x"], choose(draw, 1.0, -2.0, 0.5))}


def _one_pixel(draw):
    case = _maps(draw, 2, 3, alike=True)
    x = np.zeros_like(case["x"])
    x[:, :, 1, choose(draw, 3, 1, 2)] = 1
    return {**case, "x": x}


def _small(draw):
    B, C, H, W = sizes(draw, 4, 1, 2)
    return {
        "x": normals(draw, (B, C, 2 * H, 2 * W)),
        "weight": normals(draw, (C,)),
        "bias": normals(draw, (C,)),
    }


def _any_maps(draw):
    B, C, H, W = sizes(draw, 4, 1, 4)
    return {
        "x": normals(draw, (B, C, 2 * H, 2 * W)),
        "weight": normals(draw, (C,)),
        "bias": normals(draw, (C,)),
    }


def _of_squares(reduce):
    """A mutant with another reduction of a square than its sum."""

    def mutant(x, weight, bias):
        return (reduce(_squares(x)) * weight[:, None, None] + bias[:, None, None]).astype(x.dtype)

    return mutant


_mean = _of_squares(lambda squares: squares.mean(axis=(3, 5)))
_corner = _of_squares(lambda squares: 4 * squares[:, :, :, 0, :, 0])


def _first_for_all(x, weight, bias):
    return _subsample(x, np.full_like(weight, weight[0]), np.full_like(bias, bias[0]))[0]


subsample.agrees(
    "of a constant",
    "Maps that are c everywhere become 4 w c + b.",
    inputs=_constant,
    equation=r"y = 4 w c + b",
    slide=SLIDE,
    hint="LeNet adds up the four numbers. A mean is a quarter of that.",
    mutant=_mean,
)


@subsample.law(
    "every pixel counts once",
    inputs=_one_pixel,
    equation=r"\partial y_{ij} / \partial x_{uv} \ne 0 \iff (i, j) = (u // 2, v // 2)",
    slide=SLIDE,
    hint="Every second row and column alone, x[:, :, ::2, ::2], leaves out three pixels of four.",
    mutant=_corner,
)
def every_pixel(f, case):
    """Each pixel counts in one output: pixel (i, j) in (i // 2, j // 2)."""
    u, v = np.argwhere(case["x"][0, 0])[0]
    changed = f(case) != f(case.replace(x=0 * case["x"]))
    expected = np.zeros(changed.shape, bool)
    expected[:, :, u // 2, v // 2] = True
    if not np.array_equal(changed, expected):
        raise Broken(
            f"Pixel {(int(u), int(v))} was changed. Now these outputs are changed:", expected, changed
        )


@subsample.law(
    "a weight for each map",
    inputs=_some_maps,
    equation=SUBSAMPLED,
    slide=SLIDE,
    hint="weight and bias have one number for each map: weight[:, None, None] lies along the axis of the maps.",
    mutant=_first_for_all,
)
def weight_for_each_map(f, case):
    """Each map has a weight and a bias of its own: in another order of the maps, the outputs come in that order."""
    other = case.replace(x=case["x"][:, ::-1], weight=case["weight"][::-1], bias=case["bias"][::-1])
    compare(f(case), f(other)[:, ::-1].astype(np.float64))


every_family(subsample, inputs=_some_maps, shapes=_small)


def _by_image(right, args, options):
    """The weights laid along the images where there are as many images as maps."""
    x, weight, bias = args
    if x.shape[0] != x.shape[1]:
        return right(*args, **options)[0]
    return _squares(x).sum(axis=(3, 5)) * weight[:, None, None, None] + bias[:, None, None]


values(
    subsample,
    simplest=_some_maps,
    words="two images of three maps",
    anything=_any_maps,
    hint="With as many images as maps, broadcasting can lay weight along the wrong axis without an error.",
    mutant=mutated(_subsample, _by_image),
)
for name, hint, answer in (
    ("the mean", "You take the mean of the four numbers: LeNet takes their sum.", _mean),
    (
        "the largest number",
        "This is max pooling: add up the four numbers.",
        _of_squares(lambda s: s.max(axis=(3, 5))),
    ),
    (
        "the squash too",
        "You apply tanh or a sigmoid as well. That is another layer: here the sum times weight plus bias is the answer.",
        lambda x, weight, bias: np.tanh(_subsample(x, weight, bias)[0]),
    ),
    ("one pixel of four", "You take one pixel of each square: add up all four.", _corner),
    (
        "bias before weight",
        "Here bias is multiplied by weight too: multiply first, then add bias.",
        lambda x, weight, bias: _subsample(x, weight, bias * weight)[0],
    ),
    (
        "bias forgotten",
        "Only the bias is missing: add bias[:, None, None].",
        lambda x, weight, bias: _subsample(x, weight, 0 * bias)[0],
    ),
    ("the first map's weight for all", "All maps get the weight and the bias of map 0.", _first_for_all),
    (
        "bias four times",
        "You add bias to each of the four numbers: add it once, after the sum.",
        lambda x, weight, bias: _subsample(x, weight, 4 * bias)[0],
    ),
):
    subsample.mistake(name, hint, answer)


def _to_the_corner(g, pulled, args, options):
    """Only the upper left pixel of a square gets the gradient."""
    dx = np.zeros_like(args[0])
    dx[:, :, ::2, ::2] = g * args[1][:, None, None]
    return dx, *pulled[1:]


def _a_quarter_each(g, pulled, args, options):
    return pulled[0] / 4, *pulled[1:]


def _weight_averaged(g, pulled, args, options):
    return pulled[0], pulled[1] / g[:, 0].size, pulled[2]


def _averaged_bias(g, pulled, args, options):
    return *pulled[:2], g.mean(axis=(0, 2, 3))


def _summed_by_image(g, pulled, args, options):
    """The weight's gradient summed over the wrong axes where there are as many images as maps."""
    if args[0].shape[0] != args[0].shape[1]:
        return pulled
    return pulled[0], (g * _squares(args[0]).sum(axis=(3, 5))).sum(axis=(1, 2, 3)), pulled[2]


gradients(
    subsample,
    inputs=_some_maps,
    slide=SLIDE,
    equation={
        "x": r"\bar x_{cij} = w_c\, g_{c,\, i // 2,\, j // 2}",
        "weight": r"\bar w_c = \sum_{b,i,j} g_{bcij} \sum_{u,v} x_{b,c,2i+u,2j+v}",
        "bias": r"\bar b_c = \sum_{b,i,j} g_{bcij}",
    },
    hints={
        "x": "All four pixels of a square counted with the weight w: each gets w times g.",
        "weight": "The weight was multiplied with every sum of its map, in every image: add up g times these sums.",
        "bias": "bias was added at every position of every image: sum g over batch, rows and columns.",
    },
    mutants={
        "x": backward(_subsample, _to_the_corner),
        "weight": backward(_subsample, _weight_averaged),
        "bias": backward(_subsample, _averaged_bias),
    },
)
gradient_values(
    subsample,
    simplest=_some_maps,
    words="two images of three maps",
    anything=_any_maps,
    hint="With as many images as maps, a sum over the wrong axes gives the right shape. The axes are 0, 2 and 3.",
    mutant=backward(_subsample, _summed_by_image),
)
for name, hint, change in (
    (
        "one pixel of four",
        "Only one pixel of each square gets a gradient: all four were added up.",
        _to_the_corner,
    ),
    (
        "a quarter to each",
        "Each pixel gets a quarter of w g, as for a mean. For a sum each gets all of it.",
        _a_quarter_each,
    ),
    (
        "weight averaged",
        "The gradient of weight is a sum over images and positions, not a mean.",
        _weight_averaged,
    ),
    (
        "bias averaged",
        "The gradient of bias is the sum of g over batch, rows and columns, not the mean.",
        _averaged_bias,
    ),
):
    subsample.mistake(name, hint, backward(_subsample, change), gradient=True)
