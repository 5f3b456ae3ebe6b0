"""The laws of interpolate: nearest and bilinear, enlarging and shrinking.

Not here: bicubic, scale factors, antialiasing.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, distinct, integer, normals, numbers, sizes, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "C/76-unpooling"
CENTRES = r"u = \Big(i + \tfrac12\Big) \frac{h}{H} - \tfrac12"
CORNERS = r"u = i\, \frac{h - 1}{H - 1}"


def _matrix(old, new, mode, align_corners, clamp=True, half=0.0):
    """The (new, old) matrix that resamples one axis."""
    i = np.arange(new)
    matrix = np.zeros((new, old))
    if mode == "nearest":
        matrix[i, np.minimum((i + half) * old // new, old - 1).astype(int)] = 1
        return matrix
    u = i * ((old - 1) / max(new - 1, 1)) if align_corners else (i + 0.5) * old / new - 0.5
    u = np.clip(u, 0, old - 1) if clamp else u
    left = np.clip(np.floor(u).astype(int), 0, max(old - 2, 0))
    matrix[i, left] += 1 - (u - left)
    matrix[i, np.minimum(left + 1, old - 1)] += u - left
    return matrix


def _resampled(x, rows, columns):
    rows, columns = rows.astype(x.dtype), columns.astype(x.dtype)
    return rows @ x @ columns.T, lambda g: (rows.T @ g @ columns,)


def _interpolate(x, size, mode="nearest", align_corners=False):
    rows = _matrix(x.shape[2], size[0], mode, align_corners)
    return _resampled(x, rows, _matrix(x.shape[3], size[1], mode, align_corners))


interpolate = Family(
    "interpolate",
    _interpolate,
    ("x",),
    form='f(x, size, mode="nearest" or "bilinear", align_corners=False); x (B, C, H, W), size (rows, columns)',
)


def _images(draw, low=2, high=4):
    return numbers(draw, (2, 2, *sizes(draw, 2, low, high)))


def _doubled(draw):
    x = _images(draw)
    factor = integer(draw, 2, 3)
    return {"x": x, "size": (x.shape[2] * factor, x.shape[3] * factor)}


def _square(draw):
    side = integer(draw, 3, 5)
    return numbers(draw, (2, 2, side, side))


def _new_side(draw, old):
    return choose(draw, *(n for n in range(2, 10) if n != old))


def _any_nearest(draw):
    x = _square(draw)
    return {"x": x, "size": (_new_side(draw, x.shape[2]),) * 2, "mode": "nearest"}


def _bilinear(draw):
    x = _square(draw)
    size = (_new_side(draw, x.shape[2]),) * 2
    return {"x": x, "size": size, "mode": "bilinear", "align_corners": False}


def _aligned(draw):
    x = _square(draw)
    return {"x": x, "size": (_new_side(draw, x.shape[2]),) * 2, "mode": "bilinear", "align_corners": True}


def _corners(draw):
    side = integer(draw, 2, 3)
    x = distinct(draw, (2, 2, side, side))
    return {"x": x, "size": (side * integer(draw, 2, 4),) * 2, "mode": "bilinear", "align_corners": False}


def _rectangular(draw):
    x = numbers(draw, (2, 2, *sizes(draw, 2, 3, 4)))
    size = choose(draw, (6, 9), (8, 5), (3, 8), (7, 2))
    return {"x": x, "size": size, "mode": "bilinear", "align_corners": False}


def _plain(draw):
    x = _images(draw)
    return {"x": x, "size": (x.shape[2] * 2, x.shape[3] * 2), "mode": "nearest"}


def _any_size(draw):
    x = numbers(draw, (*sizes(draw, 2, 1, 2), *sizes(draw, 2, 2, 4)))
    return {"x": x, "size": sizes(draw, 2, 1, 6), "mode": choose(draw, "nearest", "bilinear")}


def _smooth(draw):
    mode = choose(draw, "nearest", "bilinear")
    options = {"mode": mode, "align_corners": mode == "bilinear" and choose(draw, False, True)}
    return {"x": _images(draw), "size": sizes(draw, 2, 2, 6), **options}


def _simplest(draw):
    x = normals(draw, (1, 1, *sizes(draw, 2, 2, 4)))
    factor = integer(draw, 2, 3)
    mode = {"mode": "bilinear"} if choose(draw, False, True) else {}
    return {"x": x, "size": (x.shape[2] * factor, x.shape[3] * factor), **mode}


def _anything(draw):
    mode = choose(draw, "nearest", "bilinear")
    options = {"mode": mode, "align_corners": mode == "bilinear" and choose(draw, False, True)}
    x = normals(draw, (*sizes(draw, 2, 1, 3), *sizes(draw, 2, 1, 6)))
    size = sizes(draw, 2, 1, 8)
    return {"x": x, "size": size, **without_defaults(options, mode="nearest", align_corners=False)}


def _with_matrices(matrix):
    """A mutant that resamples with other matrices: ``matrix(old, new, mode, align_corners)``."""

    def mutant(x, size, mode="nearest", align_corners=False):
        rows = matrix(x.shape[2], size[0], mode, align_corners)
        return _resampled(x, rows, matrix(x.shape[3], size[1], mode, align_corners))[0]

    return mutant


interpolate.agrees(
    "repeat",
    "Enlarging by a whole number repeats each pixel; nearest is the default mode.",
    inputs=_doubled,
    equation=r"y_{i,j} = x_{\lfloor i / f \rfloor, \lfloor j / f \rfloor}",
    slide=SLIDE,
    hint='The default of mode is "nearest". Twice as large: each pixel becomes a block of 2 x 2.',
    mutant=lambda x, size, mode="bilinear", align_corners=False: _interpolate(x, size, mode, align_corners)[
        0
    ],
)
interpolate.agrees(
    "nearest",
    "Nearest takes the pixel at floor(i h / H), also when shrinking, and for sizes that are no multiples.",
    inputs=_any_nearest,
    equation=r"y_i = x_{\lfloor i h / H \rfloor}",
    slide=SLIDE,
    hint="Multiply the output index by old size / new size and round down; do not round to the nearest.",
    mutant=_with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, align, half=0.5)),
)


@interpolate.law(
    "bilinear",
    inputs=_bilinear,
    equation=CENTRES,
    hint="Pixels are squares: pixel i has its centre at i + 1/2. The output centre (i + 1/2) h / H - 1/2 lies between two "
    "input centres: the nearer one gets the larger weight. (Corner to corner is align_corners=True.)",
    mutant=_with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, mode == "bilinear")),
)
def bilinear_inside(f, case):
    """Between the outermost pixel centres, an output is a weighted mean of its four neighbours: the nearer, the more."""
    old = case["x"].shape[2]
    new = case["size"][0]
    u = (np.arange(new) + 0.5) * old / new - 0.5
    inside = (u >= 0) & (u <= old - 1)
    got = f(case)
    expected = f.right(case)
    if got.shape != expected.shape:
        raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")
    compare(got[:, :, inside][..., inside], expected[:, :, inside][..., inside])


interpolate.agrees(
    "corners aligned",
    "With align_corners=True the corner pixels stay at the corners, and the others lie evenly between.",
    inputs=_aligned,
    equation=CORNERS,
    hint="With align_corners=True output i lies at i (h - 1) / (H - 1), so that the last output lies on the last input.",
    mutant=_with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, False)),
)


@interpolate.law(
    "no overshoot",
    inputs=_corners,
    equation=r"\min x \le y \le \max x",
    hint="The outermost output centres lie outside the outermost input centres. Clamp their positions before you compute "
    "the weights; otherwise one weight becomes negative.",
    mutant=_with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, align, clamp=False)),
)
def no_overshoot(f, case):
    """Enlarging gives no number outside the range of the input, and the corners keep their value."""
    got = f(case)
    compare(got, np.clip(got, case["x"].min(), case["x"].max()).astype(np.float64))
    compare(_four_corners(got), _four_corners(case["x"]).astype(np.float64), what="The four corners")


def _four_corners(images):
    return images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]


def _one_scale(right, args, options):
    x, size = args
    rows = _matrix(x.shape[2], size[0], options.get("mode", "nearest"), options.get("align_corners", False))
    if options.get("mode") != "bilinear" or x.shape[2] == x.shape[3] and size[0] == size[1]:
        return right(*args, **options)[0]
    u = np.clip((np.arange(size[1]) + 0.5) * x.shape[2] / size[0] - 0.5, 0, x.shape[3] - 1)
    columns = np.maximum(0, 1 - np.abs(u[:, None] - np.arange(x.shape[3])))
    return _resampled(x, rows, columns)[0]


@interpolate.law(
    "rows and columns",
    inputs=_rectangular,
    equation=r"y = R\, x\, C^T",
    hint="size is (rows, columns), and each axis has its own factor. Do you use one for both, or exchange them?",
    mutant=mutated(_interpolate, _one_scale),
)
def rows_and_columns(f, case):
    """Resizing both axes gives the same as resizing the rows first and then the columns, each by its own factor."""
    taller = f(case.replace(size=(case["size"][0], case["x"].shape[3])))
    compare(f(case), f(case.replace(x=taller)).astype(np.float64))


every_family(interpolate, inputs=_plain, shapes=_any_size)


def _one_factor_when_aligned(right, args, options):
    """With align_corners the factor of the rows is used for the columns too."""
    (h, w) = args[0].shape[2:]
    (H, W) = args[1]
    if not options.get("align_corners") or h == w and H == W:
        return right(*args, **options)[0]
    rows = _matrix(h, H, "bilinear", True)
    u = np.clip(np.arange(W) * ((h - 1) / max(H - 1, 1)), 0, w - 1)
    return _resampled(args[0], rows, np.maximum(0, 1 - np.abs(u[:, None] - np.arange(w))))[0]


values(
    interpolate,
    simplest=_simplest,
    words="one image, enlarged by a whole number",
    anything=_anything,
    hint="Rows and columns each have their own old and new size, with align_corners too. With a new size of 1, "
    "(h - 1) / (H - 1) divides by 0.",
    mutant=mutated(_interpolate, _one_factor_when_aligned),
)


def _rounded(old, new, mode, align):
    if mode != "nearest":
        return _matrix(old, new, mode, align)
    matrix = np.zeros((new, old))
    matrix[np.arange(new), np.minimum(np.round(np.arange(new) * old / new).astype(int), old - 1)] = 1
    return matrix


def _without_the_half(old, new, mode, align):
    """Bilinear positions i h / H, without the half pixels."""
    if mode == "nearest" or align:
        return _matrix(old, new, mode, align)
    u = np.arange(new) * old / new
    return np.maximum(0, 1 - np.abs(np.clip(u, 0, old - 1)[:, None] - np.arange(old)))


interpolate.mistake(
    "rounded to the nearest",
    "You round the positions to the nearest number; nearest rounds i h / H down, so that each pixel becomes a block.",
    _with_matrices(_rounded),
)
interpolate.mistake(
    "the pixel at the centre",
    "This takes the pixel under the centre of the output pixel. nearest takes the one at floor(i h / H), as PyTorch does.",
    _with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, align, half=0.5)),
)
interpolate.mistake(
    "bilinear unless told",
    'The default of mode is "nearest".',
    lambda x, size, mode="bilinear", align_corners=False: _interpolate(x, size, mode, align_corners)[0],
)
interpolate.mistake(
    "corners always aligned",
    "You always align the corners. Without align_corners output i has its centre at (i + 1/2) h / H - 1/2.",
    _with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, mode == "bilinear")),
)
interpolate.mistake(
    "align_corners not heard",
    "align_corners has no effect: with True the outermost outputs lie on the outermost inputs.",
    _with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, False)),
)
interpolate.mistake(
    "without the half pixel",
    "You read output i at i h / H. The centre of a pixel is half a pixel further: (i + 1/2) h / H - 1/2.",
    _with_matrices(_without_the_half),
)
interpolate.mistake(
    "not clamped at the rim",
    "The outermost output centres lie outside the outermost input centres. There you extrapolate, with a negative weight: "
    "clamp the position first.",
    _with_matrices(lambda old, new, mode, align: _matrix(old, new, mode, align, clamp=False)),
)
interpolate.mistake(
    "size taken for (columns, rows)",
    "size is (rows, columns), as in all shapes; you exchanged them.",
    lambda x, size, **options: _interpolate(x, size[::-1], **options)[0],
)


def _resized_back(g, pulled, args, options):
    """Backward by interpolating g to the size of x."""
    return (_interpolate(g, args[0].shape[2:], **options)[0],)


def _spread(g, pulled, args, options):
    """If an axis has a single output, its g is spread evenly over all inputs."""
    x, d = args[0], pulled[0]
    for axis, new in ((2, args[1][0]), (3, args[1][1])):
        if new == 1 < x.shape[axis]:
            d = np.broadcast_to(d.mean(axis=axis, keepdims=True), x.shape)
    return (d,)


def _means(g, pulled, args, options):
    """A pixel that several outputs read gets the mean of their g."""
    readers = _interpolate(np.ones_like(args[0]), args[1], **options)[1](np.ones_like(g))[0]
    return (pulled[0] / np.maximum(readers, 1),)


gradients(
    interpolate,
    inputs=_smooth,
    slide=SLIDE,
    equation={"x": r"\bar x = R^T g\, C \quad \text{where } y = R\, x\, C^T"},
    hints={
        "x": "Each output sends its g back to the pixels it was computed from, times the same weights; a pixel sums them up."
    },
    mutants={"x": backward(_interpolate, _resized_back)},
)
gradient_values(
    interpolate,
    simplest=_simplest,
    words="one image, enlarged by a whole number",
    anything=_anything,
    hint="Use the transpose of the weights of the forward pass, also if an input or an output has only one pixel.",
    mutant=backward(_interpolate, _spread),
)
interpolate.mistake(
    "g resized",
    "You interpolate g to the size of x. Each output sends its g back to the pixels it was computed from, times the same "
    "weights: multiply by the transposed matrix.",
    backward(_interpolate, _resized_back),
    gradient=True,
)
interpolate.mistake(
    "the mean for the sum",
    "A pixel that several outputs read gets the sum of their gradients, not the mean.",
    backward(_interpolate, _means),
    gradient=True,
)


def _as_nearest(g, pulled, args, options):
    """Backward as for nearest, whatever the mode."""
    return _interpolate(*args)[1](g)


interpolate.mistake(
    "all to the nearest pixel",
    "This is the backward pass of nearest. A bilinear output is computed from four pixels: each gets its weight times g.",
    backward(_interpolate, _as_nearest),
    gradient=True,
)
