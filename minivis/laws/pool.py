"""The laws of max_pool2d.

Not here: dilation, ceil_mode and indices, which a learner's function need not have.
"""

import numpy as np

from minivis.laws.conv_mistakes import both, changed, swapped
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import (
    choose,
    distinct,
    generator,
    integer,
    normals,
    numbers,
    pair,
    sizes,
    without_defaults,
)
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

MAX = r"y_{b,c,i,j} = \max_{m < k_y,\, n < k_x} x_{b,c,\; s_y i + m,\; s_x j + n}"
SLIDE = "C/78-max-unpooling"


def _max_pool2d(x, kernel_size, stride=None, padding=0):
    (M, N), (py, px) = both(kernel_size), both(padding)
    sy, sx = both(kernel_size if stride is None else stride)
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=-np.inf)
    rows, columns = (padded.shape[2] - M) // sy + 1, (padded.shape[3] - N) // sx + 1

    def under(m, n):
        return ..., slice(m, m + rows * sy - sy + 1, sy), slice(n, n + columns * sx - sx + 1, sx)

    places = [under(m, n) for m in range(M) for n in range(N)]
    windows = np.stack([padded[place] for place in places])
    out, winner = windows.max(axis=0), windows.argmax(axis=0)

    def vjp(g):
        d = np.zeros_like(padded)
        for number, place in enumerate(places):
            d[place] += g * (winner == number)
        return (d[:, :, py : d.shape[2] - py, px : d.shape[3] - px],)

    return out, vjp


max_pool2d = Family(
    "max_pool2d",
    _max_pool2d,
    ("x",),
    form="f(x, kernel_size, stride=None, padding=0); x (B, C, H, W); the others are int or (rows, columns), and stride "
    "is kernel_size when it is None",
)


def _images(draw, low=4, high=6):
    return numbers(draw, (integer(draw, 1, 2), 2, *sizes(draw, 2, low, high)))


def _plain(draw):
    return {"x": _images(draw), "kernel_size": integer(draw, 2, 3)}


def _with_stride(draw):
    return {"x": _images(draw), "kernel_size": integer(draw, 2, 3), "stride": 2}


def _strided(draw):
    return {"x": _images(draw, 5, 7), "kernel_size": integer(draw, 1, 3), "stride": pair(draw, 1, 3)}


def _rectangular(draw):
    return {
        "x": _images(draw),
        "kernel_size": choose(draw, (1, 2), (2, 1), (2, 3), (3, 2), (1, 3)),
        "stride": 1,
    }


def _padded(draw):
    x = np.abs(_images(draw, 3, 5))
    kernel, stride = choose(draw, (2, 2), (3, 2), (3, 1))
    return {"x": x, "kernel_size": kernel, "stride": stride, "padding": choose(draw, 1, (0, 1), (1, 0))}


def _negative(draw):
    x = -np.abs(_images(draw, 3, 5)) - np.float32(1)
    return {"x": x, "kernel_size": choose(draw, 2, 3), "stride": choose(draw, 1, 2), "padding": 1}


def _any_size(draw):
    kernel, stride = integer(draw, 1, 3), integer(draw, 1, 3)
    x = numbers(draw, (*sizes(draw, 2, 1, 2), kernel + integer(draw, 0, 4), kernel + integer(draw, 0, 4)))
    return {"x": x, "kernel_size": kernel, "stride": stride, "padding": 0}


def _smooth(draw):
    x = distinct(draw, (1, 2, *sizes(draw, 2, 4, 5)))
    kernel, padding = choose(draw, (2, 0), (3, 1), (2, 1))
    return {"x": x, "kernel_size": kernel, "stride": choose(draw, 2, 1, 3), "padding": padding}


def _simplest(draw):
    return {"x": normals(draw, (1, integer(draw, 1, 2), *sizes(draw, 2, 2, 6))), "kernel_size": 2}


def _simplest_without_ties(draw):
    return {"x": _permuted(draw, (1, integer(draw, 1, 2), *sizes(draw, 2, 2, 6))), "kernel_size": 2}


def _permuted(draw, shape):
    """Numbers that are all different."""
    count = int(np.prod(shape))
    return ((generator(draw).permutation(count) - count // 2) / 4).reshape(shape).astype(np.float32)


def _window(draw):
    """Windows, strides and paddings of all kinds, and the least sizes that they need."""
    kernel = pair(draw, 1, 4)
    stride = pair(draw, 1, 3) if choose(draw, False, True) else None
    # at most half a window: with more, a window would lie outside the image
    padding = tuple(integer(draw, 0, k // 2) for k in both(kernel))
    if padding[0] == padding[1] and choose(draw, True, False):
        padding = padding[0]
    least = [max(1, k - 2 * p) for k, p in zip(both(kernel), both(padding), strict=True)]
    return {"kernel_size": kernel} | without_defaults(
        {"stride": stride, "padding": padding}, stride=None, padding=0
    ), least


def _anything(draw):
    window, least = _window(draw)
    shape = *sizes(draw, 2, 1, 3), *(n + integer(draw, 0, 4) for n in least)
    return {"x": normals(draw, shape) - np.float32(choose(draw, 0, 4)), **window}


def _without_ties(draw):
    window, least = _window(draw)
    shape = *sizes(draw, 2, 1, 3), *(n + integer(draw, 0, 4) for n in least)
    return {"x": _permuted(draw, shape), **window}


def _forward(change):
    return mutated(_max_pool2d, change)


max_pool2d.agrees(
    "windows side by side",
    "Without a stride the windows lie side by side, and each gives its largest number.",
    inputs=_plain,
    equation=MAX,
    slide=SLIDE,
    hint="stride=None means a stride of kernel_size. Drop rows and columns at the end that do not fill a window.",
    mutant=_forward(lambda right, a, o: right(*a, **{"stride": 1, **o})[0]),
)
max_pool2d.agrees(
    "stride",
    "Neighbouring windows begin stride pixels apart; they may overlap or leave gaps.",
    inputs=_strided,
    equation=MAX,
    slide=SLIDE,
    hint="Window (i, j) begins at pixel (i s_y, j s_x): the first number of stride is for the rows. Cutting the image up "
    "with reshape works only when stride and kernel are equal.",
    mutant=_forward(changed(stride=swapped)),
)
max_pool2d.agrees(
    "rectangular windows",
    "A window of (rows, columns) need not be square.",
    inputs=_rectangular,
    equation=MAX,
    hint="The first number of kernel_size is its rows, the second its columns.",
    mutant=_forward(lambda right, a, o: right(a[0], swapped(a[1]), *a[2:], **o)[0]),
)
max_pool2d.agrees(
    "padding",
    "With padding, windows reach outside the image, on all sides.",
    inputs=_padded,
    equation=MAX,
    hint="The first number of padding is for above and below, the second for left and right.",
    mutant=_forward(changed(padding=swapped)),
)


def _padded_with_zeros(right, args, options):
    (py, px) = both(options.get("padding", 0))
    x = args[0]
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    return right(padded, *args[1:], **{**options, "padding": 0})[0]


max_pool2d.agrees(
    "padding never wins",
    "If all pixels are negative, the largest number is still a pixel, not the padding.",
    inputs=_negative,
    equation=r"x_{b,c,i,j} = -\infty \text{ outside the image}",
    hint="Zero is larger than every negative pixel. Which number is smaller than all others?",
    mutant=_forward(_padded_with_zeros),
)


def _rounded_up(right, args, options):
    if options.get("padding") != 0:
        return right(*args, **options)[0]
    x = args[0]
    (M, N) = both(args[1])
    (sy, sx) = both(options["stride"])
    rest = ((-(x.shape[2] - M)) % sy, (-(x.shape[3] - N)) % sx)
    x = np.pad(x, ((0, 0), (0, 0), (0, rest[0]), (0, rest[1])), constant_values=-np.inf)
    return right(x, *args[1:], **options)[0]


every_family(
    max_pool2d,
    inputs=_with_stride,
    shapes=_any_size,
    wrong_shape=_forward(_rounded_up),
    shape_equation=r"\left\lfloor \frac{i + 2p - k}{s} \right\rfloor + 1",
    shape_hint="The output has floor((i + 2p - k) / s) + 1 rows: drop windows that do not fit into the image.",
)


def _other_window(reduce, fill):
    """A mutant that takes ``reduce`` of each window instead of the largest number."""

    def change(right, args, options):
        (M, N) = both(args[1])
        (py, px) = both(options.get("padding", 0))
        x = args[0]
        sy, sx = both(options.get("stride") or args[1])
        padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (M, N), axis=(2, 3))[:, :, ::sy, ::sx]
        return reduce(windows, axis=(-2, -1)).astype(x.dtype)

    return _forward(change)


values(
    max_pool2d,
    simplest=_simplest,
    words="one image, windows of 2 x 2 side by side",
    anything=_anything,
    hint="kernel_size, stride and padding are each a number or (rows, columns). stride=None means kernel_size, with both "
    "of its numbers.",
    mutant=_forward(
        lambda right, a, o: right(
            *a, **{**o, "stride": both(a[1])[0] if o.get("stride") is None else o["stride"]}
        )[0]
    ),
)
max_pool2d.mistake(
    "zeros around the image",
    "If all pixels are negative, you return the padding. Pad with a number that is smaller than all others.",
    _forward(_padded_with_zeros),
)
max_pool2d.mistake(
    "the mean of a window",
    "This is average pooling: take the largest number of each window.",
    _other_window(np.mean, 0),
)
max_pool2d.mistake(
    "the smallest number",
    "This is the smallest number of each window: take the largest.",
    _other_window(np.min, np.inf),
)
max_pool2d.mistake(
    "a stride of 1 unless told",
    "Without a stride the windows lie side by side: stride=None means kernel_size, not 1.",
    _forward(
        lambda right, a, o: right(*a, **{**o, "stride": 1 if o.get("stride") is None else o["stride"]})[0]
    ),
)
max_pool2d.mistake(
    "stride exchanged",
    "The first number of stride is for the rows, the second for the columns; you exchanged them.",
    _forward(changed(stride=swapped)),
)
max_pool2d.mistake(
    "window exchanged",
    "The first number of kernel_size is its rows, the second its columns; you exchanged them.",
    _forward(lambda right, a, o: right(a[0], swapped(a[1]), **o)[0]),
)
max_pool2d.mistake(
    "padding exchanged",
    "The first number of padding is for above and below, the second for left and right; you exchanged them.",
    _forward(changed(padding=swapped)),
)
max_pool2d.mistake(
    "padding forgotten",
    "padding has no effect: with padding, the first window begins that many pixels above and to the left of the image.",
    _forward(changed(padding=lambda padding: 0)),
)


def _to_its_windows(g, args, options, share):
    """Each window's g given to its pixels: ``share(window)`` is the share of each pixel."""
    (M, N) = both(args[1])
    (py, px) = both(options.get("padding", 0))
    sy, sx = both(options.get("stride") or args[1])
    padded = np.pad(args[0], ((0, 0), (0, 0), (py, py), (px, px)), constant_values=-np.inf)
    d = np.zeros_like(padded)
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            place = ..., slice(i * sy, i * sy + M), slice(j * sx, j * sx + N)
            d[place] += g[:, :, i, j, None, None] * share(padded[place])
    return (d[:, :, py : d.shape[2] - py, px : d.shape[3] - px],)


def _evenly(g, pulled, args, options):
    """Each window's g spread evenly over it, as for the mean."""
    return _to_its_windows(g, args, options, lambda window: 1 / window[0, 0].size)


def _to_all(g, pulled, args, options):
    """Each pixel of a window gets the window's g."""
    return _to_its_windows(g, args, options, np.ones_like)


def _first_image_for_all(g, pulled, args, options):
    """The positions of the first image's largest pixels, used for every image."""
    first = _max_pool2d(args[0][:1], *args[1:], **options)[1]
    return (np.concatenate([first(g[b : b + 1])[0] for b in range(len(g))]),)


def _as_if_read_once(g, pulled, args, options):
    """A pixel that is the largest of several windows gets the g of the last one."""
    d = np.zeros_like(args[0])
    for i, j in np.ndindex(g.shape[2:]):
        one = np.zeros_like(g)
        one[:, :, i, j] = 1
        (won,) = _max_pool2d(*args, **options)[1](one)
        d = np.where(won != 0, g[:, :, i, j, None, None], d)
    return (d,)


gradients(
    max_pool2d,
    inputs=_smooth,
    slide=SLIDE,
    equation={"x": r"\bar x_p = \sum_{\text{windows won by } p} g"},
    hints={
        "x": "Only the largest pixel of a window gets its g; the largest pixel of two overlapping windows gets the sum."
    },
    mutants={"x": backward(_max_pool2d, _evenly)},
)
gradient_values(
    max_pool2d,
    simplest=_simplest_without_ties,
    words="one image, windows of 2 x 2 side by side",
    anything=_without_ties,
    hint="For any kernel_size, stride and padding: g goes to the largest pixel of its window, and the largest pixel of "
    "several windows gets the sum.",
    mutant=backward(_max_pool2d, _first_image_for_all),
)
max_pool2d.mistake(
    "spread evenly",
    "You spread g over the whole window, as for the mean. The output is the largest pixel: it gets all of g.",
    backward(_max_pool2d, _evenly),
    gradient=True,
)
max_pool2d.mistake(
    "to every pixel of the window",
    "Every pixel of a window gets its g. Only the largest pixel does: a small change of the others has no effect.",
    backward(_max_pool2d, _to_all),
    gradient=True,
)
max_pool2d.mistake(
    "= for += where windows overlap",
    "The largest pixel of several windows gets the g of only one of them: add them up, += and not =.",
    backward(_max_pool2d, _as_if_read_once),
    gradient=True,
)
max_pool2d.mistake(
    "the first image's winners for all",
    "You use the positions of the largest pixels of the first image. Every image and channel has its own.",
    backward(_max_pool2d, _first_image_for_all),
    gradient=True,
)
