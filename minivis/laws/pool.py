"""The laws of max_pool2d.

Not here: dilation, ceil_mode and indices, which a learner's function need not have.
"""

import numpy as np

from minivis.laws.catalogue import Family
from minivis.laws.common import every_family, gradients, mutated
from minivis.laws.conv_mistakes import both, swapped
from minivis.laws.inputs import choose, distinct, integer, numbers, pair, sizes

MAX = r"y_{b,c,i,j} = \max_{m < k_y,\, n < k_x} x_{b,c,\; s_y i + m,\; s_x j + n}"
SLIDE = "C: In-network Up Sampling: Max Unpooling"


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


def _forward(change):
    return mutated(_max_pool2d, change)


max_pool2d.agrees(
    "windows side by side",
    "Without a stride the windows tile the image, and each gives its largest number.",
    inputs=_plain,
    equation=MAX,
    slide=SLIDE,
    hint="stride=None means a stride of kernel_size. Rows and columns that fill no window are left out.",
    mutant=_forward(lambda right, a, o: right(*a, **{"stride": 1, **o})[0]),
)
max_pool2d.agrees(
    "stride",
    "The windows stand stride apart, whether they overlap or leave gaps.",
    inputs=_strided,
    equation=MAX,
    slide=SLIDE,
    hint="Window (i, j) begins at pixel (i s_y, j s_x): the first number of stride is for the rows. Cutting the image up "
    "with reshape works only when stride and kernel are equal.",
    mutant=_forward(
        lambda right, a, o: right(*a, **{n: swapped(v) if n == "stride" else v for n, v in o.items()})[0]
    ),
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
    "Padding lets the windows begin outside the image, on all sides.",
    inputs=_padded,
    equation=MAX,
    hint="The first number of padding is for above and below, the second for left and right.",
    mutant=_forward(
        lambda right, a, o: right(*a, **{n: swapped(v) if n == "padding" else v for n, v in o.items()})[0]
    ),
)


def _padded_with_zeros(right, args, options):
    (py, px), x = both(options.get("padding", 0)), args[0]
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    return right(padded, *args[1:], **{**options, "padding": 0})[0]


max_pool2d.agrees(
    "padding never wins",
    "Where all pixels are negative, the largest is still one of them, not the padding.",
    inputs=_negative,
    equation=r"x_{b,c,i,j} = -\infty \text{ outside the image}",
    hint="Zero is larger than every negative pixel. Which number loses against all others?",
    mutant=_forward(_padded_with_zeros),
)


def _rounded_up(right, args, options):
    if options.get("padding") != 0:
        return right(*args, **options)[0]
    x, (M, N), (sy, sx) = args[0], both(args[1]), both(options["stride"])
    rest = ((-(x.shape[2] - M)) % sy, (-(x.shape[3] - N)) % sx)
    x = np.pad(x, ((0, 0), (0, 0), (0, rest[0]), (0, rest[1])), constant_values=-np.inf)
    return right(x, *args[1:], **options)[0]


every_family(
    max_pool2d,
    inputs=_with_stride,
    shapes=_any_size,
    wrong_shape=_forward(_rounded_up),
    shape_equation=r"\left\lfloor \frac{i + 2p - k}{s} \right\rfloor + 1",
    shape_hint="The output has floor((i + 2p - k) / s) + 1 rows: a window that does not fit is left out.",
)


def _shared(right, args, options):
    """Each window's g spread evenly over it, as for the mean."""
    out, _ = right(*args, **options)
    (M, N), (py, px) = both(args[1]), both(options.get("padding", 0))
    sy, sx = both(options.get("stride") or args[1])

    def vjp(g):
        d = np.zeros((*g.shape[:2], args[0].shape[2] + 2 * py, args[0].shape[3] + 2 * px), g.dtype)
        for i in range(g.shape[2]):
            for j in range(g.shape[3]):
                d[:, :, i * sy : i * sy + M, j * sx : j * sx + N] += g[:, :, i : i + 1, j : j + 1] / (M * N)
        return (d[:, :, py : d.shape[2] - py, px : d.shape[3] - px],)

    return out, vjp


gradients(
    max_pool2d,
    inputs=_smooth,
    slide=SLIDE,
    equation={"x": r"\bar x_p = \sum_{\text{windows won by } p} g"},
    hints={
        "x": "Only the pixel that won a window hears of it; one that won two overlapping windows gets the sum."
    },
    mutants={"x": mutated(_max_pool2d, _shared)},
)
