"""The laws of bilinear_kernel and fcn_upsample: upsampling by a transposed convolution with a fixed kernel.

Not here: interpolate (resample.py), transposed convolution with learned kernels (conv_transpose.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import changed_output, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/83-transpose-convolution"
PYRAMID = (
    r"k_{ij} = h_i h_j, \quad h_i = 1 - |i - c| / f, \quad f = \lceil s / 2 \rceil, \quad c = (s - 1) / 2"
)


def _heights(side):
    factor = (side + 1) // 2
    return 1 - np.abs(np.arange(side) - (side - 1) / 2) / factor


def _bilinear_kernel(size):
    rows, columns = size if isinstance(size, tuple) else (size, size)
    return np.outer(_heights(rows), _heights(columns)).astype(np.float32), None


bilinear_kernel = Family(
    "bilinear_kernel",
    _bilinear_kernel,
    form="f(size) -> (rows, columns), float32; size is the side of a square kernel, or (rows, columns)",
)


def _even(draw):
    return {"size": 2 * integer(draw, 1, 8)}


def _rectangle(draw):
    sides = integer(draw, 2, 5), integer(draw, 2, 5)
    return {"size": tuple(2 * side for side in sides)}


def _shapes(draw):
    return {"size": choose(draw, 1, 2, 3, (2, 2))}


def _any_size(draw):
    sides = integer(draw, 1, 64), integer(draw, 1, 64)
    return {"size": sides if choose(draw, True, True, True, False) else sides[0]}


def _from_heights(heights, join=np.outer):
    """A mutant with other numbers along an axis, or another way to join those of the rows and of the columns."""

    def mutant(size):
        rows, columns = size if isinstance(size, tuple) else (size, size)
        return join(heights(rows), heights(columns)).astype(np.float32)

    return mutant


def _odd_centre(side):
    factor = (side + 1) // 2
    return np.maximum(0, 1 - np.abs(np.arange(side) - (factor - 1)) / factor)


def _half_of_odd(side):
    """f is s / 2 also if s is odd."""
    return 1 - np.abs(np.arange(side) - (side - 1) / 2) / (side / 2)


def _to_zero(side):
    """The first and the last weight are 0, as if they lay on the neighbours' centres."""
    return 1 - np.abs(np.linspace(-1, 1, side)) if side > 1 else np.ones(1)


def _triangles(rows, columns):
    """Linear on triangles instead of bilinear: the mean over both ways to cut a square in two."""
    u, v = (2 * (1 - h) * np.sign(np.arange(len(h)) - (len(h) - 1) / 2) / 2 for h in (rows, columns))
    rows, columns = np.meshgrid(u, v, indexing="ij")
    cuts = [np.maximum(abs(rows), abs(columns)).clip(abs(rows - sign * columns)) for sign in (1, -1)]
    return sum(np.maximum(0, 1 - cut) for cut in cuts) / 2


def _whole_one(size):
    kernel = _bilinear_kernel(size)[0]
    return kernel / kernel.sum()


@bilinear_kernel.law(
    "every output gets the weight 1",
    value=True,
    inputs=_even,
    equation=r"\sum_{i \equiv r,\ j \equiv t \,(f)} k_{ij} = 1 \quad \text{for all } r, t",
    slide=SLIDE,
    hint="An output pixel gets one weight from each of four cells: those that are f apart. They sum to 1, and the whole "
    "kernel to f^2. Do not divide by its sum.",
    mutant=_whole_one,
)
def phases(f, case):
    """Weights that are f apart, along rows and columns, sum to 1: with stride f they meet at one output pixel."""
    kernel = f(case).astype(np.float64)
    factor = case["size"] // 2
    sums = [kernel[i::factor, j::factor].sum() for i in range(factor) for j in range(factor)]
    compare(np.array(sums), np.ones(factor**2), what="The sums of the weights that are f apart")


@bilinear_kernel.law(
    "its own mirror image",
    inputs=_even,
    equation=r"h_i = h_{s - 1 - i}",
    slide=SLIDE,
    hint="The centre lies at (s - 1) / 2: between two cells if the size is even.",
    mutant=_from_heights(_odd_centre),
)
def mirror(f, case):
    """The kernel equals its mirror image along both axes."""
    kernel = f(case)
    compare(kernel, kernel[::-1].astype(np.float64), what="The kernel, upside down,")
    compare(kernel, kernel[:, ::-1].astype(np.float64), what="The kernel, left to right,")


@bilinear_kernel.law(
    "rows times columns",
    inputs=_even,
    equation=r"k_{ij}\, k_{lm} = k_{im}\, k_{lj}",
    slide=SLIDE,
    hint="Interpolation goes along the rows and then along the columns: the kernel is the outer product of two vectors.",
    mutant=_from_heights(_heights, _triangles),
)
def product(f, case):
    """The kernel is an outer product: each of its rows is a multiple of the others."""
    kernel = f(case).astype(np.float64)
    middle = kernel.shape[0] // 2
    outer = np.outer(kernel[:, middle], kernel[middle])
    compare(kernel * kernel[middle, middle], outer, what="The kernel times its middle weight")


@bilinear_kernel.law(
    "rows and columns have their own size",
    inputs=_rectangle,
    equation=PYRAMID,
    slide=SLIDE,
    hint="size may be (rows, columns): each axis has its own f and c.",
    mutant=lambda size: _bilinear_kernel(size[::-1] if isinstance(size, tuple) else size)[0],
)
def rectangle(f, case):
    """A kernel of another height than width has the weights of each side along that axis."""
    rows, columns = case["size"]
    square = f(case.replace(size=(columns, columns))).astype(np.float64)
    kernel = f(case)
    if kernel.shape != (rows, columns):
        raise Broken(f"The kernel has shape {kernel.shape}; {(rows, columns)} was expected.")
    along = square.sum(axis=0)
    compare(kernel.sum(axis=0) / kernel.sum(), along / along.sum(), what="The shares of the columns")


every_family(bilinear_kernel, inputs=_even, shapes=_shapes)
values(
    bilinear_kernel,
    simplest=_even,
    words="square kernels with an even side",
    anything=_any_size,
    hint="Odd sides too: f = (s + 1) // 2, a whole number.",
    mutant=_from_heights(_half_of_odd),
)
for name, hint, answer in (
    ("the centre of an odd kernel", "Your kernel leans to one side. The centre of an even kernel lies between two cells, at (s - 1) / 2.",
     _from_heights(_odd_centre)),
    ("divided by its sum", "Your weights sum to 1. With stride f only those that are f apart meet: these sum to 1, the kernel to f^2.",
     _whole_one),
    ("the sum of rows and columns", "You take the mean of the two heights. The weights are their products, so that corners are low.",
     _from_heights(_heights, lambda r, c: (r[:, None] + c[None]) / 2)),
    ("zero at the edge", "Your outermost weights are 0. The kernel falls to 0 one cell outside it at the earliest.",
     _from_heights(_to_zero)),
    ("a cone", "You take the distance in the plane. Bilinear weights fall along rows and columns, each by itself.",
     _from_heights(_heights, lambda r, c: np.maximum(0, 1 - np.hypot(1 - r[:, None], 1 - c[None])))),
    ("half of an odd size", "f is rounded up for odd sizes: f = (s + 1) // 2.", _from_heights(_half_of_odd)),
):  # fmt: skip
    bilinear_kernel.mistake(name, hint, answer)


# ------------------------------------------------------------------ enlarging score maps


def _matrix(old, factor, shift=0.0, width=None):
    """The (f old, old) matrix of one axis: how much each output pixel gets of each cell."""
    width = factor if width is None else width
    centres = factor * np.arange(old) + (factor - 1) / 2 + shift
    return np.maximum(0, 1 - np.abs(np.arange(factor * old)[:, None] - centres) / width)


def _fcn_upsample(scores, factor):
    rows, columns = _matrix(scores.shape[2], factor), _matrix(scores.shape[3], factor)
    return rows.astype(scores.dtype) @ scores @ columns.astype(scores.dtype).T, None


fcn_upsample = Family(
    "fcn_upsample",
    _fcn_upsample,
    ("scores",),
    form="f(scores, factor); scores (B, K, H, W), the result (B, K, factor H, factor W): a transposed convolution with "
    "bilinear_kernel(2 factor - factor % 2) and stride factor, each class by itself, then factor // 2 pixels cut off each side",
)
INTERPOLATION = r"y = R\, s\, C^T, \quad R_{ui} = \max\big(0,\ 1 - |u - f i - \tfrac{f - 1}2| / f\big)"


def _one_class(draw, low=2, high=4):
    return numbers(draw, (integer(draw, 1, 2), 1, *sizes(draw, 2, low, high)))


def _even_factor(draw):
    return {"scores": _one_class(draw), "factor": 2 * integer(draw, 1, 3)}


def _odd_factor(draw):
    return {"scores": _one_class(draw), "factor": choose(draw, 3, 5)}


def _constant(draw):
    value = choose(draw, 1.0, 2.0, -0.5)
    shape = (1, 1, *sizes(draw, 2, 2, 4))
    return {"scores": np.full(shape, value, np.float32), "factor": 2 * integer(draw, 1, 3)}


def _classes(draw):
    scores = numbers(draw, (2, integer(draw, 2, 4), *sizes(draw, 2, 2, 3)))
    return {"scores": scores, "factor": 2 * integer(draw, 1, 2)}


def _ones_too(draw):
    return {"scores": numbers(draw, sizes(draw, 4, 1, 2)), "factor": 2}


def _anything(draw):
    return {"scores": normals(draw, sizes(draw, 4, 1, 4)), "factor": integer(draw, 1, 6)}


def _with(matrix):
    """A mutant with other matrices: ``matrix(old, factor)``."""

    def mutant(scores, factor):
        rows, columns = (matrix(n, factor).astype(scores.dtype) for n in scores.shape[2:])
        return rows @ scores @ columns.T

    return mutant


def _clamped(old, factor):
    """Of interpolation: at the border the missing neighbours count as the last cell."""
    matrix = _matrix(old, factor)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _aligned(old, factor):
    """The corners on the corners, inside and for even factors; the border as it should be."""
    matrix = _matrix(old, factor)
    if factor % 2:
        return matrix
    u = np.arange(factor * old) * (old - 1) / (factor * old - 1)
    inside = (matrix.sum(axis=1) > 1 - 1e-9)[:, None]
    return np.where(inside, np.maximum(0, 1 - np.abs(u[:, None] - np.arange(old))), matrix)


def _even_kernel(old, factor):
    """A kernel of side 2 f for odd factors too: half a pixel off."""
    return _matrix(old, factor, shift=0.5 if factor % 2 and factor > 1 else 0.0)


def _repeated(old, factor):
    return np.repeat(np.eye(old), factor, axis=0)


def _narrow(old, factor):
    """A kernel of side f: it does not reach the neighbours."""
    return _matrix(old, factor, width=(factor + 1) / 2)


def _normalised(old, factor):
    return _matrix(old, factor) / factor


def _dense(right, args, options):
    """Every class is added to every class."""
    scores, factor = args
    return np.repeat(right(scores, factor)[0].sum(axis=1, keepdims=True), scores.shape[1], axis=1)


def _blurred_by_one(old, factor):
    """With factor 1 the kernel has two weights of 1/2."""
    return (np.eye(old) + np.eye(old, k=-1)) / 2 if factor == 1 else _matrix(old, factor)


def _inside(old, factor):
    """The output pixels between the outermost centres of cells."""
    u = np.arange(factor * old)
    return (u >= (factor - 1) / 2) & (u <= factor * (old - 1) + (factor - 1) / 2)


def _pixels(f, case):
    """What the function returns and the right answer, both (B, K, f H, f W)."""
    got = f(case)
    expected = f.right(case)
    if got.size != expected.size:
        raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")
    return got.reshape(expected.shape), expected


def _compare_inside(f, case):
    got, expected = _pixels(f, case)
    rows, columns = (_inside(n, case["factor"]) for n in case["scores"].shape[2:])
    compare(got[:, :, rows][..., columns], expected[:, :, rows][..., columns])


@fcn_upsample.law(
    "inside as interpolation",
    value=True,
    right_too=False,
    inputs=_even_factor,
    equation=INTERPOLATION,
    slide=SLIDE,
    hint="With a kernel of 2 f and a stride of f, f // 2 pixels are cut off each side: then the centre of cell i is output "
    "pixel f i + (f - 1) / 2.",
    mutant=_with(_aligned),
)
def inside(f, case):
    """Between the outermost centres the result is bilinear interpolation: each pixel is a mean of its four nearest cells."""
    _compare_inside(f, case)


@fcn_upsample.law(
    "the border fades",
    value=True,
    right_too=False,
    inputs=_constant,
    equation=r"s = 1:\quad y_u = \min\big(1,\ (u + \tfrac{f + 1}2) / f,\ \dots\big) \text{ along each axis}",
    slide=SLIDE,
    hint="Outside the map there are no cells, and a transposed convolution puts nothing in their place: near the border the "
    "weights of a pixel sum to less than 1. Do not divide by their sum, and do not repeat the outermost cells.",
    mutant=_with(_clamped),
)
def border(f, case):
    """Equal scores stay equal inside and become smaller near the border, where cells are missing."""
    got, expected = _pixels(f, case)
    compare(got, expected)


@fcn_upsample.law(
    "classes do not mix",
    inputs=_classes,
    equation=r"y_k = \mathrm{up}(s_k)",
    slide=SLIDE,
    hint="The weight of the transposed convolution is the kernel from class c to class c, and 0 from c to any other: "
    "groups, or the diagonal.",
    mutant=mutated(_fcn_upsample, _dense),
)
def apart(f, case):
    """Other scores of one class change nothing in the others, bit for bit."""
    before = f(case)
    scores = case["scores"].copy()
    scores[:, 0] += 1
    after = f(case.replace(scores=scores))
    if before.shape[1] != scores.shape[1] or not np.array_equal(before[:, 1:], after[:, 1:]):
        raise Broken("When only the scores of class 0 grow by 1, the results of other classes change.")


@fcn_upsample.law(
    "odd factors",
    value=True,
    right_too=False,
    inputs=_odd_factor,
    equation=r"s = 2 f - 1,\quad \text{cut } (f - 1) / 2",
    slide=SLIDE,
    hint="For an odd factor the kernel is odd too, 2 f - 1; with 2 f everything would lie half a pixel off.",
    mutant=_with(_even_kernel),
)
def odd(f, case):
    """With an odd factor each cell lies in the middle of its own pixels, too."""
    _compare_inside(f, case)


every_family(fcn_upsample, inputs=_even_factor, shapes=_ones_too)
values(
    fcn_upsample,
    simplest=_even_factor,
    words="one class, an even factor",
    anything=_anything,
    hint="With factor 1 the kernel is a single 1, and nothing changes.",
    mutant=_with(_blurred_by_one),
)
for name, hint, answer in (
    ("the outermost cells repeated", "This is interpolation, also at the border. A transposed convolution has no cells outside the map: "
     "the scores fade there.", _with(_clamped)),
    ("nearest", "Each cell became a block of equal pixels. The kernel reaches to the centres of the neighbours.", _with(_repeated)),
    ("a kernel as wide as the stride", "Your kernel does not reach the neighbours: its side is 2 f, the stride f.", _with(_narrow)),
    ("divided by the factor", "Your result is too small by f^2: the kernel sums to f^2, not to 1.", _with(_normalised)),
    ("every class to every class", "Every class gets the scores of all. The kernel goes from class c to class c alone.",
     mutated(_fcn_upsample, _dense)),
    ("nothing cut off", "The result is larger than factor times the map: cut factor // 2 pixels off each side.",
     mutated(_fcn_upsample, lambda right, a, o: changed_output(
         right(*a, **o)[0], lambda y: np.pad(y, ((0, 0), (0, 0), *[(a[1] // 2, a[1] // 2)] * 2))))),
    ("half a pixel off for odd factors", "For odd factors your kernel has the side 2 f: everything lies half a pixel off. Take "
     "2 f - 1.", _with(_even_kernel)),
):  # fmt: skip
    fcn_upsample.mistake(name, hint, answer)
