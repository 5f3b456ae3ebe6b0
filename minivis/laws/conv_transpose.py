"""The laws of conv_transpose2d, the adjoint of conv2d.

Not here: conv2d (conv.py), groups and dilation.
"""

import numpy as np

from minivis.laws.conv import HINTS, images, kernel, rectangle
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

UP = "C/83-transpose-convolution"


def _conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    (sy, sx), (py, px), (oy, ox) = both(stride), both(padding), both(output_padding)
    B, C, H, W = x.shape
    _, O, M, N = weight.shape  # noqa: E741
    rows, columns = (H - 1) * sy + M + oy, (W - 1) * sx + N + ox  # before the padding is cut off
    bottom, right = rows - py, columns - px

    def painted(m, n):
        """The slice of the outputs that kernel element (m, n) is added to, one for each pixel of x."""
        return ..., slice(m, m + H * sy - sy + 1, sy), slice(n, n + W * sx - sx + 1, sx)

    canvas = np.zeros((B, O, rows, columns), x.dtype)
    for m in range(M):
        for n in range(N):
            canvas[painted(m, n)] += np.einsum("bcij,co->boij", x, weight[..., m, n])
    out = canvas[:, :, py:bottom, px:right]

    def vjp(g):
        whole, dx, dw = np.zeros_like(canvas), np.zeros_like(x), np.zeros_like(weight)
        whole[:, :, py:bottom, px:right] = g
        for m in range(M):
            for n in range(N):
                dx += np.einsum("boij,co->bcij", whole[painted(m, n)], weight[..., m, n])
                dw[..., m, n] = np.einsum("boij,bcij->co", whole[painted(m, n)], x)
        return dx, dw, g.sum(axis=(0, 2, 3))

    return out if bias is None else out + bias[:, None, None], vjp


conv_transpose2d = Family(
    "conv_transpose2d",
    _conv_transpose2d,
    ("x", "weight", "bias"),
    form="f(x, weight, bias=None, stride=1, padding=0, output_padding=0); x (B, C, H, W), "
    "weight (C, O, kh, kw); the options are int or (rows, columns)",
)


def _t_plain(draw):
    return {"x": images(draw, low=2, high=3, batch=2), "weight": kernel(draw)}


def _t_bias(draw):
    return {**_t_plain(draw), "bias": numbers(draw, (2,)) + np.float32(0.5)}


def _t_rectangular(draw):
    return {"x": images(draw, 2, 2, 3, batch=2), "weight": rectangle(draw, 2)}


def _t_apart(draw):
    """Strides at least as large as the kernel: copies of the kernel do not overlap."""
    sy, sx = sizes(draw, 2, 2, 4)
    stride = sy if sy == sx and choose(draw, True, False) else (sy, sx)
    return {
        "x": images(draw, low=2, high=2, batch=2),
        "weight": numbers(draw, (2, 2, 2, 2)),
        "stride": stride,
    }


def _t_padded(draw):
    padding = pair(draw, 0, 1)
    return {
        "x": images(draw, low=3, high=4, batch=2),
        "weight": kernel(draw),
        "stride": 1,
        "padding": padding,
    }


def _t_output_padded(draw):
    weight = numbers(draw, (2, 2, 3, 3)) + np.float32(0.25)
    more = choose(draw, 1, (1, 0), (0, 1))
    x = images(draw, low=2, high=3, batch=2)
    return {"x": x, "weight": weight, "stride": 2, "padding": choose(draw, 1, 0), "output_padding": more}


def _t_overlap(draw):
    return {
        "x": images(draw, low=2, high=3, batch=2),
        "weight": numbers(draw, (2, 2, 3, 3)),
        "stride": choose(draw, 1, 2),
    }


def _t_any_size(draw):
    stride, padding = integer(draw, 2, 3), integer(draw, 0, 1)
    more = integer(draw, 0, stride - 1)
    (B, C, O), (M, N), (H, W) = sizes(draw, 3, 1, 2), sizes(draw, 2, 3, 4), sizes(draw, 2, 1, 2)  # noqa: E741
    options = {"stride": stride, "padding": padding, "output_padding": more}
    return {"x": numbers(draw, (B, C, H, W)), "weight": numbers(draw, (C, O, M, N)), **options}


def _t_smooth(draw):
    stride = choose(draw, 1, (2, 1), 2)
    return {
        "x": numbers(draw, (2, 2, integer(draw, 2, 3), 3)),
        "weight": numbers(draw, (2, 2, integer(draw, 2, 3), 3)),
        "bias": numbers(draw, (2,)),
        "stride": stride,
        "padding": choose(draw, 0, (0, 1), 1),
        "output_padding": (0 if stride == 1 else 1, 0),
    }


def _t_simplest(draw):
    C, O = sizes(draw, 2, 1, 3)  # noqa: E741
    x = normals(draw, (1, C, *sizes(draw, 2, 2, 4)))
    side = integer(draw, 2, 3)
    return {"x": x, "weight": normals(draw, (C, O, side, side))}


def _t_anything(draw):
    (B, C, O), kernel = sizes(draw, 3, 1, 3), sizes(draw, 2, 1, 4)  # noqa: E741
    stride, padding = pair(draw, 1, 3), pair(draw, 0, 2)
    more = tuple(integer(draw, 0, s - 1) for s in both(stride))
    if more[0] == more[1] and choose(draw, True, False):
        more = more[0]
    x = normals(draw, (B, C, *_large_enough(draw, kernel, both(stride), both(padding), both(more))))
    case = {"x": x, "weight": normals(draw, (C, O, *kernel))}
    if choose(draw, False, True):
        case["bias"] = normals(draw, (O,))
    options = {"stride": stride, "padding": padding, "output_padding": more}
    return case | without_defaults(options, stride=1, padding=0, output_padding=0)


def _large_enough(draw, kernel, stride, padding, output_padding):
    """Sizes for which at least one output pixel is left after the padding is cut off."""
    for k, s, p, o in zip(kernel, stride, padding, output_padding, strict=True):
        yield max(1, 1 - (k + o - 2 * p - 1) // s) + integer(draw, 0, 2)


def _t_forward(change):
    return mutated(_conv_transpose2d, change)


conv_transpose2d.agrees(
    "adjoint of conv2d",
    "Each input number adds a copy of the kernel, times that number, to the output: the adjoint of conv2d.",
    inputs=_t_plain,
    equation=r"\langle \mathrm{conv}(y), x \rangle = \langle y, \mathrm{conv}^T(x) \rangle",
    slide="C/86-transpose-convolution-1d",
    hint="Put a single 1 into x: the output is the kernel itself, not flipped, with its corner at that place. weight "
    "is (in, out, rows, columns) here.",
    mutant=_t_forward(lambda right, a, o: right(a[0], a[1][..., ::-1, ::-1], *a[2:], **o)[0]),
)


def _replaced(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    """Each copy of the kernel replaces the numbers that were there."""
    (sy, sx), (py, px) = both(stride), both(padding)
    out = np.zeros_like(_conv_transpose2d(x, weight, None, stride, 0, output_padding)[0])
    M, N = weight.shape[2:]
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            copy = np.einsum("bc,comn->bomn", x[:, :, i, j], weight)
            out[:, :, i * sy : i * sy + M, j * sx : j * sx + N] = copy
    out = out[:, :, py : out.shape[2] - py, px : out.shape[3] - px]
    return out if bias is None else out + bias[:, None, None]


def _painted_over(right, args, options):
    return _replaced(*args, **options) if options.keys() == {"stride"} else right(*args, **options)[0]


def _pixel_by_pixel(f, case):
    """The sum of the outputs for images of a single pixel, each at its position."""
    (sy, sx) = both(case["stride"])
    x = case["x"]
    (M, N) = case["weight"].shape[2:]
    B, _, H, W = x.shape
    canvas = np.zeros((B, 2, (H - 1) * sy + M, (W - 1) * sx + N))
    for i in range(H):
        for j in range(W):
            pixel = f(case.replace(x=x[:, :, i : i + 1, j : j + 1], stride=1))
            canvas[:, :, i * sy : i * sy + M, j * sx : j * sx + N] += pixel
    return canvas


@conv_transpose2d.law(
    "overlaps add up",
    inputs=_t_overlap,
    equation=r"\mathrm{conv}^T(x_1 + x_2) = \mathrm{conv}^T(x_1) + \mathrm{conv}^T(x_2)",
    slide="C/86-transpose-convolution-1d",
    hint="Where copies of the kernel overlap, they are summed: += and not =.",
    mutant=_t_forward(_painted_over),
)
def overlaps_add(f, case):
    """The output for an image is the sum of the outputs for its single pixels."""
    compare(f(case), _pixel_by_pixel(f, case))


@conv_transpose2d.law(
    "stride",
    inputs=_t_apart,
    equation=r"y_{s_y i + m,\; s_x j + n} \mathrel{+}= x_{i,j}\, w_{m,n}",
    slide=UP,
    hint="The kernel moves s pixels in the output for each pixel of the input; the first number of stride is for rows.",
    mutant=_t_forward(changed(stride=swapped)),
)
def stride_spreads(f, case):
    """With a stride of s, the copies of the kernel lie s pixels apart."""
    compare(f(case), _pixel_by_pixel(f, case))


@conv_transpose2d.law(
    "padding crops",
    inputs=_t_padded,
    equation=r"\mathrm{conv}^T(x, p) = \mathrm{conv}^T(x)_{p:-p}",
    slide=UP,
    hint="conv2d adds padding to its input; its adjoint cuts it off the output, on both sides. The first number is for rows.",
    mutant=_t_forward(changed(padding=swapped)),
)
def padding_crops(f, case):
    """Padding by p cuts p rows and columns off every side of the output."""
    (py, px) = both(case["padding"])
    whole = f(case.replace(padding=0))
    compare(f(case), whole[:, :, py : whole.shape[2] - py, px : whole.shape[3] - px].astype(np.float64))


def _zeros_added(right, args, options):
    oy, ox = both(options.get("output_padding", 0))
    out = right(*args, **{**options, "output_padding": 0})[0]
    bias = options.get("bias")
    more = np.pad(out if bias is None else out - bias[:, None, None], ((0, 0), (0, 0), (0, oy), (0, ox)))
    return more if bias is None else more + bias[:, None, None]


@conv_transpose2d.law(
    "output_padding",
    inputs=_t_output_padded,
    equation=r"(i - 1) s - 2p + k + o",
    slide=UP,
    hint="output_padding keeps more rows below and more columns to the right when the padding is cut off. Copies of the "
    "kernel may reach there: the new pixels are not simply zeros.",
    mutant=_t_forward(_zeros_added),
)
def output_padding_uncovers(f, case):
    """output_padding keeps more rows below and columns to the right, with the numbers that were computed there."""
    (py, px), (oy, ox) = both(case["padding"]), both(case["output_padding"])
    whole = f(case.replace(padding=0, output_padding=0))
    whole = np.pad(whole, ((0, 0), (0, 0), (0, oy), (0, ox))).astype(np.float64)
    compare(f(case), whole[:, :, py : whole.shape[2] - py, px : whole.shape[3] - px])


def _t_sides_mixed_up(right, args, options):
    mixed = args[1] if options else np.swapaxes(args[1], 2, 3)
    return right(args[0], mixed, **options)[0]


conv_transpose2d.agrees(
    "rectangular kernels",
    "A kernel need not be square: its rows lie along the rows of the image.",
    inputs=_t_rectangular,
    equation=r"y_{i + m,\; j + n} \mathrel{+}= x_{i,j}\, w_{m,n}",
    hint="weight is (in, out, rows, columns). Do you exchange height and width of the kernel somewhere?",
    mutant=_t_forward(
        lambda right, a, o: (
            right(*a, **o)[0] if a[1].shape[2] == a[1].shape[3] else _t_sides_mixed_up(right, a, o)
        )
    ),
)


@conv_transpose2d.law(
    "bias",
    inputs=_t_bias,
    equation=r"y_{b,o,i,j} + b_o",
    hint="bias has one number for each output channel, added once to every pixel: bias[:, None, None].",
    mutant=_t_forward(changed(bias=lambda bias: None)),
)
def t_bias_added(f, case):
    """bias is added once to every pixel of its output channel."""
    plain = f(case.replace(bias=None)).astype(np.float64)
    compare(f(case), plain + case["bias"][:, None, None])


every_family(
    conv_transpose2d,
    inputs=_t_plain,
    shapes=_t_any_size,
    shape_equation=r"(i - 1) s - 2p + k + o",
    shape_hint="The output has (i - 1) s - 2p + k + output_padding rows; axes of size 1 are axes too.",
)


values(
    conv_transpose2d,
    simplest=_t_simplest,
    words="one image, a square kernel, no options",
    anything=_t_anything,
    hint="Each option works alone. These calls combine several, each given as a number or as (rows, columns): does every "
    "step use the number of its own axis?",
    mutant=_t_forward(in_a_strided_branch),
)
declare_mistakes(conv_transpose2d)
conv_transpose2d.mistake(
    "painted over",
    "Where copies of the kernel overlap, you keep only the last one: they add up, += and not =.",
    _replaced,
)
conv_transpose2d.mistake(
    "weight taken for (out, in)",
    "weight is (in, out, rows, columns) here, the other way around than in conv2d: its first axis counts the channels "
    "of x.",
    _t_forward(other_weight(lambda kernel: np.swapaxes(kernel, 0, 1))),
)
conv_transpose2d.mistake(
    "padding not cut off",
    "padding cuts rows and columns off every side of the output; you cut nothing off.",
    _t_forward(changed(padding=lambda padding: 0)),
)
conv_transpose2d.mistake(
    "output_padding filled with zeros",
    "output_padding is a strip that padding does not cut off: keep the numbers that were computed there.",
    _t_forward(_zeros_added),
)
conv_transpose2d.mistake(
    "output_padding forgotten",
    "The output lacks its last rows or columns: output_padding makes it larger below and to the right.",
    _t_forward(changed(output_padding=lambda more: 0)),
)
gradients(
    conv_transpose2d,
    inputs=_t_smooth,
    slide=UP,
    equation={
        "x": r"\bar x = \mathrm{conv}(g, w)",
        "weight": r"\bar w_{c,o,m,n} = \sum_{b,i,j} x_{b,c,i,j}\, g_{b,o,si+m,sj+n}",
        "bias": r"\bar b_o = \sum_{b,i,j} g_{b,o,i,j}",
    },
    hints={
        **HINTS,
        "x": "The gradient of x is a plain conv2d of g with the same kernel and stride.",
    },
    mutants={
        "x": unturned(_conv_transpose2d),
        "weight": first_image(_conv_transpose2d),
        "bias": averaged(_conv_transpose2d),
    },
)


def _uncovered_columns_left_out(g, pulled, args, options):
    """The columns that output_padding added send no gradient back."""
    ox = both(options.get("output_padding", 0))[1]
    inside = g * (np.arange(g.shape[3]) < g.shape[3] - ox)
    return *_conv_transpose2d(*args, **options)[1](inside)[:2], pulled[2]


gradient_values(
    conv_transpose2d,
    simplest=_t_simplest,
    words="one image, a square kernel, no options",
    anything=_t_anything,
    hint="Use the same slices in the backward pass as in the forward pass: pixels cut off by padding have cotangent 0, "
    "pixels kept by output_padding have one from g.",
    mutant=backward(_conv_transpose2d, _uncovered_columns_left_out),
)
