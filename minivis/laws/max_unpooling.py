"""The laws of max_pool2d_with_indices and max_unpool2d: maxima with their places, and values put back there.

Not here: overlapping windows and padding (pool.py has those of the maxima alone).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, distinct, generator, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "C/78-max-unpooling"


def _max_pool2d_with_indices(x, kernel):
    M, N = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    B, C, H, W = x.shape
    rows, columns = H // M, W // N
    windows = x[:, :, : rows * M, : columns * N].reshape(B, C, rows, M, columns, N).swapaxes(3, 4)
    windows = windows.reshape(B, C, rows, columns, M * N)
    first = windows.argmax(axis=-1)
    row = np.arange(rows)[:, None] * M + first // N
    column = np.arange(columns) * N + first % N
    return (windows.max(axis=-1), row * W + column), None


max_pool2d_with_indices = Family(
    "max_pool2d_with_indices",
    _max_pool2d_with_indices,
    form="f(x, kernel) -> (maxima, indices), both (B, C, H', W'); x (B, C, H, W); kernel int or (rows, columns), windows side "
    "by side, what fills none at the end is dropped; an index is row * W + column in the plane (H, W), of the first maximum",
)


def _pair(out):
    """The two parts of what a function returned."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise Broken(
            f"A pair (maxima, indices) was expected; your function returned a {type(out).__name__}.",
            hint="End with `return maxima, indices`: unpooling needs to know where the maxima were.",
        )
    return out


def _indices(f, case):
    """The indices that were returned."""
    return f.array(_pair(f.result(case.copy())[0])[1])


def _indices_agree(f, case):
    """The indices are right, to the last digit."""
    (_, expected), _ = f.family.right(**case.copy(np.float64).everything)
    compare(_indices(f, case), expected, rtol=0, atol=0, what="The indices")


def _both_agree(f, case, atol=2e-5):
    f.agrees(case, atol=atol)
    _indices_agree(f, case)


max_pool2d_with_indices.main = lambda out: _pair(out)[0]
max_pool2d_with_indices.whole = lambda out: np.concatenate([np.ravel(part) for part in _pair(out)])
max_pool2d_with_indices.read = lambda f, case: max_pool2d_with_indices.whole(f.result(case.copy())[0])
max_pool2d_with_indices.same = _both_agree


# No two numbers are equal, all are positive, there is one plane, it is square, and windows fill it, unless a law is about
# that


def _positive(draw, shape):
    x = distinct(draw, shape)
    return x - x.min() + np.float32(1)


def _square(draw, planes=(1, 1)):
    side = 2 * integer(draw, 2, 3)
    return {"x": _positive(draw, (*planes, side, side)), "kernel": 2}


def _several(draw):
    return _square(draw, choose(draw, (1, 2), (2, 1), (2, 2)))


def _rectangular(draw):
    rows, columns = choose(draw, (1, 2), (2, 1), (2, 3), (3, 1))
    return {"x": _positive(draw, (1, 1, 2 * rows, 2 * columns)), "kernel": 2}


def _odd_sizes(draw):
    side = choose(draw, 5, 7, 3)
    return {"x": _positive(draw, (1, 1, side, side)), "kernel": 2}


def _tied(draw):
    return {"x": np.abs(np.sign(numbers(draw, (1, 1, 4, 4)))), "kernel": 2}


def _negative(draw):
    case = _square(draw, (2, 2))
    return {**case, "x": -case["x"]}


def _any_kernel(draw):
    kernel = choose(draw, (1, 2), (2, 3), (3, 2), 1, 3)
    M, N = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    x = normals(draw, (*sizes(draw, 2, 1, 2), M * integer(draw, 1, 3), N * integer(draw, 1, 3)))
    return {"x": x, "kernel": kernel}


def _simplest(draw):
    return {"x": distinct(draw, (1, 1, 4, 4)), "kernel": 2}


def _anything(draw):
    M, N = sizes(draw, 2, 1, 4)
    kernel = (M, N) if M != N or choose(draw, False, True) else M
    x = normals(draw, (*sizes(draw, 2, 1, 3), M * integer(draw, 1, 3), N * integer(draw, 1, 3)))
    rest = np.pad(x, ((0, 0), (0, 0), (0, integer(draw, 0, M - 1)), (0, integer(draw, 0, N - 1))))
    return {"x": rest if choose(draw, True, True, False) else x.round(0), "kernel": kernel}


def _changed_indices(change):
    """A mutant with right maxima and other indices: ``change(indices, x, rows, columns)``, with the kernel's sides."""

    def mutant(x, kernel):
        (maxima, indices), _ = _max_pool2d_with_indices(x, kernel)
        M, N = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        return maxima, change(indices, x, M, N)

    return mutant


def _in_window(indices, x, M, N):
    """The place within the window."""
    row, column = np.divmod(indices, x.shape[3])
    return row % M * N + column % N


def _by_height(indices, x, M, N):
    row, column = np.divmod(indices, x.shape[3])
    return row * x.shape[2] + column


def _columns_first(indices, x, M, N):
    row, column = np.divmod(indices, x.shape[3])
    return column * x.shape[2] + row


def _cropped_width(indices, x, M, N):
    row, column = np.divmod(indices, x.shape[3])
    return row * (x.shape[3] // N * N) + column


def _last_of_equals(x, kernel):
    """The last maximum of a window: the first of the image turned around."""
    M, N = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    H, W = x.shape[2] // M * M, x.shape[3] // N * N
    (maxima, indices), _ = _max_pool2d_with_indices(x[:, :, :H, :W][:, :, ::-1, ::-1], kernel)
    row, column = np.divmod(indices[:, :, ::-1, ::-1], W)
    return maxima[:, :, ::-1, ::-1], (H - 1 - row) * x.shape[3] + W - 1 - column


def _counted_from_zero(x, kernel):
    """Zero wins over negative numbers; its index is 0."""
    (maxima, indices), _ = _max_pool2d_with_indices(x, kernel)
    return np.maximum(maxima, 0), np.where(maxima < 0, 0, indices)


def _with_the_batch(indices, x, M, N):
    """Positions in the whole array instead of in the plane."""
    B, C, H, W = x.shape
    return indices + H * W * np.arange(B * C).reshape(B, C, 1, 1)


def _by_the_rows_of_the_window(indices, x, M, N):
    """The place in the window divided by its rows instead of its columns."""
    row, column = np.divmod(indices, x.shape[3])
    inside = row % M * N + column % N
    return (row // M * M + inside // M) * x.shape[3] + column // N * N + inside % M


def _gathered(f, case):
    x = case["x"]
    indices = _indices(f, case)
    if indices.shape != f.right(case).shape:
        raise Broken(f"The indices have shape {indices.shape}; {f.right(case).shape} was expected.")
    if indices.dtype.kind not in "iu":
        raise Broken(f"The indices are {indices.dtype}; whole numbers were expected.")
    flat = x.reshape(*x.shape[:2], -1)
    if indices.size and (indices.min() < 0 or indices.max() >= flat.shape[2]):
        raise Broken(
            f"An index is {indices.max()}; the plane has {flat.shape[2]} pixels, from 0 on.", got=indices
        )
    found = np.take_along_axis(flat, indices.reshape(*x.shape[:2], -1), axis=2).reshape(indices.shape)
    compare(found, f.right(case), what="The pixels at the indices")


@max_pool2d_with_indices.law(
    "indices point at the maxima",
    inputs=_several,
    equation=r"y_{b,c} = x_{b,c}[\text{indices}_{b,c}]",
    slide=SLIDE,
    hint="An index counts the pixels of one plane, row by row: row * W + column, from 0 on in each plane.",
    mutant=_changed_indices(_with_the_batch),
    value=True,
    right_too=False,
)
def points_at_the_maxima(f, case):
    """The pixels at the indices are the maxima; each image and channel is a plane with indices from 0 on."""
    _gathered(f, case)


@max_pool2d_with_indices.law(
    "rectangular planes",
    inputs=_rectangular,
    equation=r"\text{index} = y\,W + x",
    slide=SLIDE,
    hint="A row has W pixels: the index is row * W + column, not row * H + column.",
    mutant=_changed_indices(_by_height),
    value=True,
    right_too=False,
)
def rectangular_planes(f, case):
    """In a plane that is not square, a step of one row is W pixels."""
    _gathered(f, case)


@max_pool2d_with_indices.law(
    "odd sizes",
    inputs=_odd_sizes,
    equation=r"\text{index} = y\,W + x",
    hint="Rows and columns that fill no window are dropped, but they still count: W is the width of x itself.",
    mutant=_changed_indices(_cropped_width),
    value=True,
    right_too=False,
)
def odd_sizes(f, case):
    """Where the last row and column fill no window, indices still count the pixels of the whole plane."""
    _gathered(f, case)


@max_pool2d_with_indices.law(
    "the first of equals",
    inputs=_tied,
    slide=SLIDE,
    hint="If two pixels of a window are the largest, the index is that of the first, row by row: np.argmax finds it.",
    mutant=_last_of_equals,
    value=True,
    right_too=False,
)
def first_of_equals(f, case):
    """Of several equal maxima in a window the first counts, row by row."""
    _indices_agree(f, case)


@max_pool2d_with_indices.law(
    "negative maxima",
    inputs=_negative,
    hint="A maximum may be negative. Do you begin with 0, or with an array of zeros, and look for something larger?",
    mutant=_counted_from_zero,
    value=True,
    right_too=False,
)
def negative_maxima(f, case):
    """If all pixels are negative, the largest is one of them."""
    f.agrees(case)


every_family(max_pool2d_with_indices, inputs=_square, shapes=_any_kernel)
values(
    max_pool2d_with_indices,
    simplest=_simplest,
    words="one plane of 4 x 4, windows of 2 x 2",
    anything=_anything,
    hint="kernel is a number or (rows, columns). A window of M x N begins at row i M and column j N.",
    mutant=_changed_indices(_by_the_rows_of_the_window),
    wrong=_changed_indices(_in_window),
)
for name, hint, answer in (
    (
        "indices in the window",
        "Your index counts within the window. It counts the pixels of the plane: row * W + column.",
        _changed_indices(_in_window),
    ),
    (
        "H for W",
        "You multiply the row by H. A row has W pixels: row * W + column.",
        _changed_indices(_by_height),
    ),
    (
        "columns first",
        "Your index counts down the columns. It counts row by row: row * W + column.",
        _changed_indices(_columns_first),
    ),
    (
        "the width that fills windows",
        "You count in the part of the plane that fills windows. W is the width of x, also if a column is left over.",
        _changed_indices(_cropped_width),
    ),
    (
        "counted through the batch",
        "Your index counts through all images and channels. Each plane (H, W) begins at 0 again.",
        _changed_indices(_with_the_batch),
    ),
    (
        "the last of equals",
        "Of equal maxima you take the last. The first counts, row by row.",
        _last_of_equals,
    ),
    (
        "zero wins",
        "Where all pixels are negative, you return 0: begin with the window's first pixel, or with minus infinity.",
        _counted_from_zero,
    ),
):
    max_pool2d_with_indices.mistake(name, hint, answer)


# ------------------------------------------------------------------ max_unpool2d


def _max_unpool2d(x, indices, size):
    B, C = x.shape[:2]
    flat = indices.reshape(B, C, -1)
    out = np.zeros((B, C, size[0] * size[1]), x.dtype)
    np.put_along_axis(out, flat, x.reshape(B, C, -1), axis=2)

    def vjp(g):
        return (np.take_along_axis(g.reshape(B, C, -1), flat, axis=2).reshape(x.shape), None)

    return out.reshape(B, C, *size), vjp


max_unpool2d = Family(
    "max_unpool2d",
    _max_unpool2d,
    ("x",),
    form="f(x, indices, size); x and indices (B, C, H', W'), size (H, W) -> (B, C, H, W); an index is row * W + column in the "
    "plane, and no two of a plane are equal",
)


def _places(draw, shape, size, M, N):
    """An index for each window of M x N, at any of its pixels."""
    rng = generator(draw)
    rows, columns = (np.arange(n) for n in shape[2:])
    row = rows[:, None] * M + rng.integers(0, M, shape)
    column = columns * N + rng.integers(0, N, shape)
    return row * size[1] + column


def _pooled(draw, shape, kernel, more=(0, 0), values=None):
    M, N = kernel
    size = shape[2] * M + more[0], shape[3] * N + more[1]
    x = distinct(draw, shape) if values is None else values(draw, shape)
    return {"x": x, "indices": _places(draw, shape, size, M, N), "size": size}


def _square_pooled(draw):
    side = integer(draw, 2, 3)
    return _pooled(draw, (integer(draw, 1, 2), 2, side, side), (2, 2))


def _in_corners(case):
    """The same call with every index at the upper left corner of its window of 2 x 2."""
    row, column = np.divmod(case["indices"], case["size"][1])
    return {**case, "indices": row // 2 * 2 * case["size"][1] + column // 2 * 2}


def _wide(draw):
    return _in_corners(_pooled(draw, (1, 2, *choose(draw, (1, 2), (2, 1), (2, 3), (3, 1))), (2, 2)))


def _larger(draw):
    side = integer(draw, 2, 3)
    return _in_corners(_pooled(draw, (1, 2, side, side), (2, 2), more=(1, 1)))


def _any_unpooled(draw):
    kernel = sizes(draw, 2, 1, 3)
    return _pooled(draw, (*sizes(draw, 2, 1, 2), *sizes(draw, 2, 1, 3)), kernel)


def _simplest_unpooled(draw):
    return _pooled(draw, (1, 1, 2, 2), (2, 2), values=normals)


def _any_places(draw):
    """Values at any places of a plane, of which no two are equal."""
    shape = *sizes(draw, 2, 1, 3), *sizes(draw, 2, 1, 4)
    size = shape[2] + integer(draw, 0, 4), shape[3] + integer(draw, 0, 4)
    rng = generator(draw)
    count = shape[2] * shape[3]
    indices = [rng.permutation(size[0] * size[1])[:count] for _ in range(shape[0] * shape[1])]
    return {"x": normals(draw, shape), "indices": np.reshape(indices, shape), "size": size}


def _enlarged(x, indices, size):
    """Nearest neighbours: every value fills its window."""
    rows = np.minimum(np.arange(size[0]) * x.shape[2] // size[0], x.shape[2] - 1)
    columns = np.minimum(np.arange(size[1]) * x.shape[3] // size[1], x.shape[3] - 1)
    return x[:, :, rows][..., columns]


def _nails(x, indices, size):
    """A bed of nails: every value in the corner of its window."""
    out = np.zeros((*x.shape[:2], *size), x.dtype)
    M, N = max(1, size[0] // x.shape[2]), max(1, size[1] // x.shape[3])
    out[:, :, : M * x.shape[2] : M, : N * x.shape[3] : N] = x
    return out


def _read_as(place):
    """A mutant that finds row and column of an index in another way: ``place(index, height, width)``."""

    def mutant(x, indices, size):
        row, column = place(indices, *size)
        return _max_unpool2d(x, row % size[0] * size[1] + column % size[1], size)[0]

    return mutant


_by_the_height = _read_as(lambda index, H, W: np.divmod(index, H))
_down_the_columns = _read_as(lambda index, H, W: np.divmod(index, H)[::-1])


def _first_plane_for_all(x, indices, size):
    return _max_unpool2d(x, np.broadcast_to(indices[:1, :1], indices.shape), size)[0]


def _not_zero(x, indices, size):
    """What was not the maximum gets the smallest value instead of 0."""
    out = _max_unpool2d(x, indices, size)[0]
    kept = _max_unpool2d(np.ones_like(x), indices, size)[0]
    return np.where(kept > 0, out, x.min())


def _even_size(x, indices, size):
    """The size is taken for a multiple of that of x."""
    H, W = (n // before * before for n, before in zip(size, x.shape[2:], strict=True))
    row, column = np.divmod(indices, size[1])
    return _max_unpool2d(x, row % H * W + column % W, (H, W))[0]


@max_unpool2d.law(
    "one pixel for each value",
    inputs=_square_pooled,
    equation=r"y_{\text{indices}} = x, \quad y = 0 \text{ elsewhere}",
    slide=SLIDE,
    hint="Everything is 0 but the places that indices name. Nearest neighbours fill the whole window instead.",
    mutant=_not_zero,
)
def one_pixel_each(f, case):
    """The result has as many numbers that are not 0 as the values, and the same sum."""
    x = case["x"]
    got = f(case)
    if np.count_nonzero(got) != np.count_nonzero(x):
        words = f"{np.count_nonzero(got)} numbers are not 0; of the values {np.count_nonzero(x)} are."
        raise Broken(words, got=got)
    compare(got.sum(dtype=np.float64), x.sum(dtype=np.float64), what="The sum")


def _read_back(f, case):
    """Compare the result at the indices with the values."""
    x = case["x"]
    got = f(case)
    if got.size != f.right(case).size:
        raise Broken(f"The output has shape {got.shape}; {f.right(case).shape} was expected.")
    planes = got.reshape(*x.shape[:2], -1)
    found = np.take_along_axis(planes, case["indices"].reshape(*x.shape[:2], -1), axis=2)
    compare(found.reshape(x.shape), x.astype(np.float64), what="The result at the indices")


@max_unpool2d.law(
    "where the maximum was",
    inputs=_square_pooled,
    equation=r"y[\text{indices}] = x",
    slide=SLIDE,
    hint="The value goes back to the pixel that indices names, not to the corner of its window.",
    mutant=_nails,
    value=True,
    right_too=False,
)
def where_it_was(f, case):
    """Reading the result at the indices gives the values back."""
    _read_back(f, case)


@max_unpool2d.law(
    "rectangular planes",
    inputs=_wide,
    equation=r"\text{index} = y\,W + x",
    slide=SLIDE,
    hint="The index is row * W + column: divide by W, the second number of size, not by H.",
    mutant=_by_the_height,
    value=True,
    right_too=False,
)
def rectangular_unpooled(f, case):
    """In a plane that is not square, a step of one row is W pixels."""
    _read_back(f, case)


@max_unpool2d.law(
    "sizes that the pooling rounded down",
    inputs=_larger,
    equation=r"\text{index} = y\,W + x",
    slide=SLIDE,
    hint="size is the size of the map before the pooling. It cannot be computed from x: 4 and 5 pixels both give 2.",
    mutant=_even_size,
    value=True,
    right_too=False,
)
def rounded_down(f, case):
    """The result has the given size, also if the last row and column belonged to no window."""
    _read_back(f, case)


every_family(max_unpool2d, inputs=_square_pooled, shapes=_any_unpooled)
values(
    max_unpool2d,
    simplest=_simplest_unpooled,
    words="one plane of 2 x 2 values",
    anything=_any_places,
    hint="Every plane (H, W) of the batch has indices of its own, which may name any of its pixels.",
    mutant=lambda x, indices, size: _max_unpool2d(x, indices, size)[0] * _only_late(indices, size),
)


def _only_late(indices, size):
    """0 at pixel 0 of the plane if there are more values than half the pixels, else 1."""
    keep = np.ones(size, np.float32)
    keep[0, 0] = indices[0, 0].size * 2 <= size[0] * size[1]
    return keep


for name, hint, answer in (
    (
        "the whole window",
        "You fill the window with its value, as nearest neighbours do. Only the pixel at the index gets it.",
        _enlarged,
    ),
    (
        "a bed of nails",
        "You put every value into the corner of its window. It belongs where indices says.",
        _nails,
    ),
    ("H for W", "You divide the index by H. A row has W pixels: row = index // W.", _by_the_height),
    ("columns first", "You read the index down the columns. It counts row by row.", _down_the_columns),
    (
        "the first plane's places for all",
        "You use the indices of the first image and channel for all. Each plane has its own.",
        _first_plane_for_all,
    ),
    ("not zero elsewhere", "What no index names is 0, not the smallest value.", _not_zero),
):
    max_unpool2d.mistake(name, hint, answer)


def _smooth(draw):
    return _pooled(draw, (1, 2, *sizes(draw, 2, 2, 3)), (2, 2))


def _pooled_back(g, pulled, args, options):
    """The largest g of each window: the backward pass of nothing."""
    x, _, size = args
    M, N = size[0] // x.shape[2], size[1] // x.shape[3]
    if not M or not N:
        return (pulled[0], None)
    return (_max_pool2d_with_indices(g, (M, N))[0][0][:, :, : x.shape[2], : x.shape[3]], None)


def _summed_back(g, pulled, args, options):
    """The sum of each window's g, as for nearest neighbours."""
    x, _, size = args
    M, N = max(1, size[0] // x.shape[2]), max(1, size[1] // x.shape[3])
    part = g[:, :, : x.shape[2] * M, : x.shape[3] * N]
    return (part.reshape(*x.shape[:3], M, x.shape[3], N).sum(axis=(3, 5)), None)


def _first_plane_back(g, pulled, args, options):
    x, indices, size = args
    return (_max_unpool2d(x, np.broadcast_to(indices[:1, :1], indices.shape), size)[1](g)[0], None)


def _nothing_for_the_corner(g, pulled, args, options):
    """0 for the value at pixel 0 of the plane where there are more values than half the pixels."""
    x, indices, size = args
    return (np.where((indices == 0) & (x[0, 0].size * 2 > size[0] * size[1]), 0, pulled[0]), None)


gradients(
    max_unpool2d,
    inputs=_smooth,
    slide=SLIDE,
    equation={"x": r"\bar x = g[\text{indices}]"},
    hints={
        "x": "Each value stands at one pixel of the result: it gets the g of that pixel, and of no other."
    },
    mutants={"x": backward(_max_unpool2d, _summed_back)},
)
gradient_values(
    max_unpool2d,
    simplest=_simplest_unpooled,
    words="one plane of 2 x 2 values",
    anything=_any_places,
    hint="Gather: np.take_along_axis reads g at the indices of every plane.",
    mutant=backward(_max_unpool2d, _nothing_for_the_corner),
)
max_unpool2d.mistake(
    "the sum of the window",
    "You sum g over the window, as for nearest neighbours. The value stands at one pixel: it gets the g of that one.",
    backward(_max_unpool2d, _summed_back),
    gradient=True,
)
max_unpool2d.mistake(
    "the largest g",
    "You take the largest g of the window. The value gets the g at its own index, whether that is large or not.",
    backward(_max_unpool2d, _pooled_back),
    gradient=True,
)
max_unpool2d.mistake(
    "the first plane's places for all",
    "You read g at the indices of the first image and channel. Each plane has its own.",
    backward(_max_unpool2d, _first_plane_back),
    gradient=True,
)
