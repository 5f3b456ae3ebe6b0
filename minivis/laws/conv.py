"""The laws of conv2d: each option is compared with the plain convolution, so that one mistake breaks one law.

Not here: transposed convolution (conv_transpose.py), pooling (pool.py), one and three dimensions.
"""

import numpy as np

from minivis.laws.conv_mistakes import (
    averaged,
    both,
    changed,
    declare_mistakes,
    first_image,
    in_a_strided_branch,
    other_weight,
    swapped,
    unturned,
)
from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, integer, normals, numbers, pair, sizes, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

SUM = r"y_{b,o,i,j} = \sum_{c,m,n} w_{o,c,m,n}\; x_{b,c,i+m,j+n}"
SLIDE = "Z/11-convolution-2d"
DOWN = "C/81-convolution-stride-2"


def _conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    (sy, sx), (py, px), (dy, dx) = both(stride), both(padding), both(dilation)
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    B, C, H, W = padded.shape
    O, c, M, N = weight.shape  # noqa: E741
    rows, columns = (H - dy * (M - 1) - 1) // sy + 1, (W - dx * (N - 1) - 1) // sx + 1
    w = weight.reshape(groups, O // groups, c, M, N)

    def under(m, n):
        """The slice of the pixels under kernel element (m, n), one pixel for each output."""
        y0, x0 = m * dy, n * dx
        return ..., slice(y0, y0 + rows * sy - sy + 1, sy), slice(x0, x0 + columns * sx - sx + 1, sx)

    def grouped(array):
        return array.reshape(B, groups, -1, *array.shape[2:])

    out = np.zeros((B, groups, O // groups, rows, columns), x.dtype)
    for m in range(M):
        for n in range(N):
            out += np.einsum("bgcij,goc->bgoij", grouped(padded)[under(m, n)], w[..., m, n])
    out = out.reshape(B, O, rows, columns)

    def vjp(g):
        gg = grouped(g)
        d_padded = np.zeros_like(grouped(padded))
        dw = np.zeros_like(w)
        for m in range(M):
            for n in range(N):
                d_padded[under(m, n)] += np.einsum("bgoij,goc->bgcij", gg, w[..., m, n])
                dw[..., m, n] = np.einsum("bgoij,bgcij->goc", gg, grouped(padded)[under(m, n)])
        d = d_padded.reshape(padded.shape)[:, :, py : H - py, px : W - px]
        return d, dw.reshape(weight.shape), g.sum(axis=(0, 2, 3))

    return out if bias is None else out + bias[:, None, None], vjp


conv2d = Family(
    "conv2d",
    _conv2d,
    ("x", "weight", "bias"),
    form="f(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1); x (B, C, H, W), "
    "weight (O, C / groups, kh, kw); stride, padding, dilation are int or (rows, columns)",
)


def images(draw, channels=2, low=4, high=6, batch=None):
    H, W = sizes(draw, 2, low, high)
    return numbers(draw, (batch or integer(draw, 1, 2), channels, H, W))


def kernel(draw, channels=2, outputs=2, low=2, high=3):
    side = integer(draw, low, high)
    return numbers(draw, (outputs, channels, side, side))


def _plain(draw):
    channels, outputs = sizes(draw, 2, 1, 2)
    return {"x": images(draw, channels, 3, 5), "weight": kernel(draw, channels, outputs)}


def _with_bias(draw):
    case = _plain(draw)
    return {**case, "bias": numbers(draw, case["weight"].shape[:1]) + np.float32(0.5)}


def _rectangular(draw):
    return {"x": images(draw, 1, 3, 5), "weight": rectangle(draw, 1)}


def rectangle(draw, channels):
    """A kernel that is not square, and the same when it is flipped: flipping has another law."""
    weight = numbers(
        draw, (channels, channels, *choose(draw, (1, 2), (2, 1), (2, 3), (3, 2), (1, 3), (3, 1)))
    )
    return weight + weight[..., ::-1, ::-1]


def _strided(draw):
    sy, sx, side = integer(draw, 1, 3), integer(draw, 1, 3), integer(draw, 2, 3)
    # the stride divides the sizes: no pixels are left over
    shape = (1, 2, side + sy * integer(draw, 1, 2), side + sx * integer(draw, 1, 2))
    stride = sy if sy == sx and choose(draw, True, False) else (sy, sx)
    return {"x": numbers(draw, shape), "weight": numbers(draw, (2, 2, side, side)), "stride": stride}


def _padded(draw):
    padding = pair(draw, 0, 2)
    return {"x": images(draw, low=3, high=4), "weight": kernel(draw), "padding": padding}


def _dilated(draw):
    return {
        "x": images(draw, low=5, high=7),
        "weight": kernel(draw, low=2, high=2),
        "dilation": pair(draw, 1, 3),
    }


def _grouped(draw):
    groups, each, outputs = integer(draw, 2, 3), integer(draw, 1, 2), integer(draw, 1, 2)
    weight = numbers(draw, (groups * outputs, each, 2, 2))
    return {"x": images(draw, groups * each, 3, 4), "weight": weight, "groups": groups}


def _all_together(draw):
    return {
        "x": images(draw, 4, 5, 7),
        "weight": numbers(draw, (4, 2, 2, 2)),
        "bias": numbers(draw, (4,)) + np.float32(0.5),
        "stride": choose(draw, 1, 2),
        "padding": choose(draw, 0, 1),
        "dilation": choose(draw, 1, 2),
        "groups": 2,
    }


def _any_size(draw):
    """Sizes the stride does not divide, and sizes of 1."""
    stride, padding, dilation = (integer(draw, low, high) for low, high in ((1, 3), (0, 2), (1, 2)))
    M, N = sizes(draw, 2, 1, 3)
    H = max(1, dilation * (M - 1) + 1 - 2 * padding) + integer(draw, 0, 4)
    W = max(1, dilation * (N - 1) + 1 - 2 * padding) + integer(draw, 0, 4)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    B, C, O = sizes(draw, 3, 1, 2)  # noqa: E741
    return {"x": numbers(draw, (B, C, H, W)), "weight": numbers(draw, (O, C, M, N)), **options}


def _smooth(draw):
    groups = choose(draw, 1, 2)
    return {
        "x": numbers(draw, (2, 2, integer(draw, 3, 4), integer(draw, 5, 6))),
        "weight": numbers(draw, (2, 2 // groups, 2, integer(draw, 2, 3))),
        "bias": numbers(draw, (2,)),
        "stride": choose(draw, 1, (2, 1), 2),
        "padding": choose(draw, 0, (0, 1), 1),
        "dilation": choose(draw, 1, (1, 2)) if groups == 1 else 1,
        "groups": groups,
    }


def _simplest(draw):
    C, O = sizes(draw, 2, 1, 3)  # noqa: E741
    x = normals(draw, (1, C, *sizes(draw, 2, 3, 5)))
    side = integer(draw, 2, 3)
    return {"x": x, "weight": normals(draw, (O, C, side, side))}


def _anything(draw):
    (B, c, o), (M, N) = sizes(draw, 3, 1, 2), sizes(draw, 2, 1, 3)
    stride, padding, dilation = pair(draw, 1, 3), pair(draw, 0, 2), pair(draw, 1, 3)
    reach = (d * (k - 1) + 1 - 2 * p for k, d, p in zip((M, N), both(dilation), both(padding), strict=True))
    H, W = (max(1, least) + integer(draw, 0, 4) for least in reach)
    groups = choose(draw, 1, 2, 3)
    case = {"x": normals(draw, (B, groups * c, H, W)), "weight": normals(draw, (groups * o, c, M, N))}
    if choose(draw, False, True):
        case["bias"] = normals(draw, (groups * o,))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return case | without_defaults(options, stride=1, padding=0, dilation=1, groups=1)


def _forward(change):
    return mutated(_conv2d, change)


conv2d.agrees(
    "loops",
    "Each output is the sum, over channels and kernel, of weight times the pixel under it.",
    inputs=_plain,
    equation=SUM,
    slide=SLIDE,
    hint="Kernel element (0, 0) lies on the upper left pixel of the window: the kernel is not flipped (what deep learning "
    "calls convolution is a correlation). Sum over all input channels.",
    mutant=_forward(lambda right, a, o: right(a[0], a[1][..., ::-1, ::-1], *a[2:], **o)[0]),
)


@conv2d.law(
    "bias",
    inputs=_with_bias,
    equation=r"y_{b,o,i,j} + b_o",
    hint="bias has one number for each output channel, added everywhere in that channel: bias[:, None, None].",
    mutant=_forward(changed(bias=lambda bias: None)),
)
def bias_added(f, case):
    """bias is added to every pixel of its output channel."""
    plain = f(case.replace(bias=None)).astype(np.float64)
    compare(f(case), plain + case["bias"][:, None, None])


def _sides_mixed_up(right, args, options):
    O, C, M, N = args[1].shape  # noqa: E741
    if options or M == N or args[0].shape[2] < N or args[0].shape[3] < M:
        return right(*args, **options)[0]
    return right(args[0], np.swapaxes(args[1], 2, 3), **options)[0]


conv2d.agrees(
    "rectangular kernels",
    "A kernel need not be square: its rows lie along the rows of the image.",
    inputs=_rectangular,
    equation=SUM,
    hint="weight is (out, in, rows, columns). Do you exchange height and width of the kernel somewhere?",
    mutant=_forward(_sides_mixed_up),
)


@conv2d.law(
    "stride",
    inputs=_strided,
    equation=r"y^{(s)}_{i,j} = y_{s_y i,\, s_x j}",
    slide=DOWN,
    hint="The first number of stride is for the rows, the second for the columns; an int is for both.",
    mutant=_forward(changed(stride=swapped)),
)
def stride_skips(f, case):
    """A stride of s keeps every s-th output of the plain convolution."""
    (sy, sx) = both(case["stride"])
    plain = f(case.replace(stride=1))
    compare(f(case), plain[:, :, ::sy, ::sx].astype(np.float64))


@conv2d.law(
    "padding",
    inputs=_padded,
    equation=r"\mathrm{conv}(x, p) = \mathrm{conv}(\mathrm{pad}(x, p))",
    slide=DOWN,
    hint="padding adds zeros on both sides: the first number above and below, the second left and right.",
    mutant=_forward(changed(padding=swapped)),
)
def padding_is_zeros(f, case):
    """Padding by p gives the plain convolution of the image with p zeros around it."""
    py, px = both(case["padding"])
    padded = np.pad(case["x"], ((0, 0), (0, 0), (py, py), (px, px)))
    compare(f(case), f(case.replace(x=padded, padding=0)).astype(np.float64))


@conv2d.law(
    "dilation",
    inputs=_dilated,
    equation=r"x_{b,c,\,i + d_y m,\, j + d_x n}",
    hint="Dilation spreads the kernel: its elements lie d pixels apart, so it covers d (k - 1) + 1 pixels.",
    mutant=_forward(changed(dilation=swapped)),
)
def dilation_is_holes(f, case):
    """Dilation by d gives the plain convolution with a kernel that has d - 1 zeros between its elements."""
    (dy, dx) = both(case["dilation"])
    w = case["weight"]
    holes = np.zeros((*w.shape[:2], dy * (w.shape[2] - 1) + 1, dx * (w.shape[3] - 1) + 1), w.dtype)
    holes[:, :, ::dy, ::dx] = w
    compare(f(case), f(case.replace(weight=holes, dilation=1)).astype(np.float64))


def _by_parts(f, case):
    """The groups one by one, with the plain convolution."""
    groups = case["groups"]
    xs = np.split(case["x"], groups, axis=1)
    ws = np.split(case["weight"], groups)
    parts = [f(case.replace(x=x, weight=w, groups=1)) for x, w in zip(xs, ws, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _in_turn(right, args, options):
    """Channel c belongs to group c mod groups."""
    groups = options.get("groups", 1)
    B, C, H, W = args[0].shape
    x = args[0].reshape(B, C // groups, groups, H, W).swapaxes(1, 2).reshape(B, C, H, W)
    return right(x, *args[1:], **options)[0]


def _interleaved(right, args, options):
    alone = options.keys() == {"groups"}
    return _in_turn(right, args, options) if alone else right(*args, **options)[0]


@conv2d.law(
    "groups",
    inputs=_grouped,
    equation=r"W = \mathrm{diag}(W_1, \dots, W_g)",
    hint="Group 0 takes the first C / groups channels of x and the first O / groups kernels, and so on.",
    mutant=_forward(_interleaved),
)
def groups_apart(f, case):
    """Each group is a separate convolution of its own block of channels."""
    compare(f(case), _by_parts(f, case))


@conv2d.law(
    "all together",
    inputs=_all_together,
    hint="Each option works alone, but not all together. Do you add bias for any number of groups? Do you pad before you "
    "apply the stride?",
    mutant=_forward(
        lambda right, a, o: right(*a, **{**o, "bias": None if o.get("groups", 1) > 1 else o.get("bias")})[0]
    ),
    right_too=("bias", "shape"),
)
def all_together(f, case):
    """Bias, stride, padding, dilation and groups also work together."""
    halves = np.split(case["bias"], case["groups"])
    xs = np.split(case["x"], case["groups"], axis=1)
    ws = np.split(case["weight"], case["groups"])
    parts = [f(case.replace(x=x, weight=w, bias=b, groups=1)) for x, w, b in zip(xs, ws, halves, strict=True)]
    compare(f(case), np.concatenate(parts, axis=1).astype(np.float64))


def _contiguous_assumed(right, args, options):
    x = args[0]
    packed = np.lib.stride_tricks.as_strided(x, x.shape, np.empty(x.shape, x.dtype).strides)
    return right(packed, *args[1:], **options)[0]


@conv2d.law(
    "any memory layout",
    inputs=_plain,
    hint="A transposed array has other strides than a fresh one. Take them from x.strides, or use "
    "sliding_window_view, instead of computing them from the shape.",
    mutant=_forward(_contiguous_assumed),
    examples=6,
)
def any_layout(f, case):
    """The result does not depend on the memory layout of x."""
    x = case["x"]
    # channels last, seen as (B, C, H, W)
    lying = np.array(x.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)
    compare(f.call_as_is(case.copy().replace(x=lying)), f(case).astype(np.float64))


def _rounded_up(right, args, options):
    """Output sizes rounded up: the image is padded below and to the right until the stride divides it."""
    (sy, sx), (py, px), (dy, dx) = (
        both(options.get(n, v)) for n, v in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    H, W, M, N = *args[0].shape[2:], *args[1].shape[2:]
    rest_y, rest_x = (H + 2 * py - dy * (M - 1) - 1) % sy, (W + 2 * px - dx * (N - 1) - 1) % sx
    more = np.pad(args[0], ((0, 0), (0, 0), (0, (sy - rest_y) % sy), (0, (sx - rest_x) % sx)))
    return right(more, *args[1:], **options)[0]


every_family(
    conv2d,
    inputs=_plain,
    shapes=_any_size,
    wrong_shape=_forward(lambda right, a, o: _rounded_up(right, a, o)),
    shape_equation=r"\left\lfloor \frac{i + 2p - d(k - 1) - 1}{s} \right\rfloor + 1",
    shape_hint="The output has floor((i + 2p - d(k - 1) - 1) / s) + 1 rows: drop windows that do not fit into the image.",
)


values(
    conv2d,
    simplest=_simplest,
    words="one image, a square kernel, no options",
    anything=_anything,
    hint="Each option works alone. These calls combine several, each given as a number or as (rows, columns): does every "
    "step use the number of its own axis?",
    mutant=_forward(in_a_strided_branch),
)


def _bias_in_the_loop(right, args, options):
    """Bias added for each input channel."""
    bias = options.get("bias")
    return right(*args, **{**options, "bias": None if bias is None else bias * args[1].shape[1]})[0]


def _edge_repeated(right, args, options):
    (py, px) = both(options.get("padding", 0))
    x = args[0]
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)), mode="edge")
    return right(padded, *args[1:], **{**options, "padding": 0})[0]


declare_mistakes(conv2d)
conv2d.mistake(
    "dilation exchanged",
    "The first number of dilation is for the rows, the second for the columns; you exchanged them.",
    _forward(changed(dilation=swapped)),
)
conv2d.mistake(
    "weight taken for (in, out)",
    "weight is (out, in, rows, columns): its first axis counts the output channels.",
    _forward(other_weight(lambda kernel: np.swapaxes(kernel, 0, 1))),
)
conv2d.mistake(
    "only the first input channel",
    "You use only the first input channel: an output sums over all input channels (of its group).",
    _forward(other_weight(lambda kernel: kernel * (np.arange(kernel.shape[1]) == 0)[:, None, None])),
)
conv2d.mistake(
    "bias added for each input channel",
    "You add bias once for each input channel: add it once, after the sum.",
    _forward(_bias_in_the_loop),
)
conv2d.mistake(
    "the edge repeated",
    "Outside the image there are zeros, not copies of its edge.",
    _forward(_edge_repeated),
)
conv2d.mistake(
    "groups taking turns",
    "Group 0 takes the first C / groups channels, group 1 the next ones. You give channel 0 to group 0, channel 1 to "
    "group 1, and so on.",
    _forward(_in_turn),
)


HINTS = {
    "x": "Every output sends its g back to the pixels it read, times the same weights: x[i + m] gets w[m] g[i]. Where "
    "windows overlap, the contributions add up.",
    "weight": "The same kernel was used at every position and in every image: sum over all of them.",
    "bias": "bias was added at every pixel of every image: sum g over batch, rows and columns.",
}
gradients(
    conv2d,
    inputs=_smooth,
    slide="C/83-transpose-convolution",
    equation={
        "x": r"\bar x_{b,c,i,j} = \sum_{o,m,n} w_{o,c,m,n}\, g_{b,o,i-m,j-n}",
        "weight": r"\bar w_{o,c,m,n} = \sum_{b,i,j} g_{b,o,i,j}\, x_{b,c,i+m,j+n}",
        "bias": r"\bar b_o = \sum_{b,i,j} g_{b,o,i,j}",
    },
    hints=HINTS,
    mutants={"x": unturned(_conv2d), "weight": first_image(_conv2d), "bias": averaged(_conv2d)},
)


def _holes_kept(g, pulled, args, options):
    """The gradient of the kernel with holes; on the way back the holes are removed from the columns only."""
    (dy, dx) = both(options.get("dilation", 1))
    kernel = args[1]
    M, N = kernel.shape[2:]
    holes = np.zeros((*kernel.shape[:2], dy * (M - 1) + 1, dx * (N - 1) + 1), kernel.dtype)
    holes[:, :, ::dy, ::dx] = kernel
    d = _conv2d(args[0], holes, **{**options, "dilation": 1})[1](g)[1]
    return pulled[0], d[:, :, :M, ::dx], pulled[2]


gradient_values(
    conv2d,
    simplest=_simplest,
    words="one image, a square kernel, no options",
    anything=_anything,
    hint="Use the same slices in the backward pass as in the forward pass: it needs every option too, with the number of "
    "each axis.",
    mutant=backward(_conv2d, _holes_kept),
)
