"""The laws of patchify and unpatchify, sine_position_code and attention_distance: the geometry of a Vision Transformer.

Not here: the learned embedding of patches, windows.
"""

import numpy as np

from minivis.laws.candidate import compare
from minivis.laws.catalogue import Family
from minivis.laws.common import every_family, gradients, mutated
from minivis.laws.inputs import choose, integer, numbers
from minivis.laws.sandbox import Broken

PATCHES = r"x \in \mathbb R^{H \times W \times C} \to x_p \in \mathbb R^{N \times P^2 C}, \quad N = HW / P^2"
VIT = "H: Vision Transformer"


def _patchify(images, patch):
    B, C, H, W = images.shape
    P, rows, columns = patch, H // patch, W // patch
    x = images.reshape(B, C, rows, P, columns, P).transpose(0, 2, 4, 3, 5, 1)  # (B, rows, columns, P, P, C)
    return x.reshape(B, rows * columns, P * P * C), lambda g: (_unpatchify(g, patch, H, W)[0],)


def _unpatchify(tokens, patch, height, width):
    B, _, features = tokens.shape
    P, C = patch, features // patch**2
    x = tokens.reshape(B, height // P, width // P, P, P, C).transpose(0, 5, 1, 3, 2, 4)
    return x.reshape(B, C, height, width), lambda g: (_patchify(g, patch)[0],)


patchify = Family(
    "patchify",
    _patchify,
    ("images",),
    form="f(images, patch); images (B, C, H, W) -> (B, N, P P C): patches in reading order, in each its pixels in "
    "reading order, in each its channels",
)
unpatchify = Family(
    "unpatchify",
    _unpatchify,
    ("tokens",),
    form="f(tokens, patch, height, width); tokens (B, N, P P C) -> (B, C, height, width)",
)


def _count(*shape):
    """Numbers that are all different, so that each can be found again."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


# One lifts squareness, one the single channel, one patches of one pixel: P = 1 or C = 1 makes orders agree


def _patches(draw, patch, rows, columns, channels, batch=2):
    return {"images": _count(batch, channels, rows * patch, columns * patch), "patch": patch}


def _patch_order(draw):
    return _patches(draw, 1, integer(draw, 2, 3), integer(draw, 2, 3), 2)


def _pixel_order(draw):
    return _patches(draw, integer(draw, 2, 3), 1, 1, 1)


def _channel_order(draw):
    case = _patches(draw, 2, 1, 1, integer(draw, 2, 3))
    return {**case, "images": case["images"] + case["images"].swapaxes(2, 3)}  # rows and columns alike


def _grid(draw):
    return _patches(draw, 2, 1, integer(draw, 2, 3), 1)


def _size_one(draw):
    return _patches(draw, integer(draw, 1, 2), *(integer(draw, 1, 2) for _ in range(3)), integer(draw, 1, 2))


def _drawn(draw):
    shape = (2, integer(draw, 1, 2), 2 * integer(draw, 1, 2), 2 * integer(draw, 1, 3))
    return {"images": numbers(draw, shape), "patch": choose(draw, 2, 1)}


def _of_tokens(of_images):
    """The same cases for unpatchify."""

    def inputs(draw):
        case = of_images(draw)
        height, width = case["images"].shape[2:]
        tokens = _patchify(_shuffled(draw, case["images"]), case["patch"])[0]
        return {"tokens": tokens, "patch": case["patch"], "height": height, "width": width}

    return inputs


def _shuffled(draw, images):
    return images * np.float32(choose(draw, 1, -1))


def _rearranged(split, order):
    """A mutant of patchify that reshapes to ``split`` and then transposes in another ``order``."""

    def mutant(images, patch):
        B, C, H, W = images.shape
        P, rows, columns = patch, H // patch, W // patch
        x = images.reshape([{"B": B, "C": C, "P": P, "h": rows, "w": columns}[axis] for axis in split])
        return x.transpose(order).reshape(B, rows * columns, P * P * C)

    return mutant


def _put_back(order, axes):
    """A mutant of unpatchify: tokens split into ``order``, then transposed by ``axes``."""

    def mutant(tokens, patch, height, width):
        B, _, features = tokens.shape
        P, rows, columns = patch, height // patch, width // patch
        by = {"B": B, "C": features // P**2, "P": P, "h": rows, "w": columns}
        return tokens.reshape([by[axis] for axis in order]).transpose(axes).reshape(B, by["C"], height, width)

    return mutant


def _blind_reshape(images, patch):
    """Rows of the image cut into pieces of the right length: right while a patch is as wide as the image, or a pixel."""
    B, C, H, W = images.shape
    x = images.transpose(0, 2, 3, 1)
    return x.reshape(B, (H // patch) * (W // patch), patch * patch * C)


def _blind_reshape_back(tokens, patch, height, width):
    B, _, features = tokens.shape
    return tokens.reshape(B, height, width, features // patch**2).transpose(0, 3, 1, 2)


def _squares(f, case):
    """The same pixels in each square, in whatever order."""
    got, expected = f(case), f.right(case)
    if got.shape != expected.shape:
        raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")
    if got.ndim == 4:  # images: look at their squares
        got, expected = (_patchify(images, case["patch"])[0] for images in (got, expected))
    compare(np.sort(got, axis=-1), np.sort(expected, axis=-1), what="The pixels of the tokens, sorted,")


for family, of, mutants in (
    (
        patchify,
        lambda inputs: inputs,
        {
            "patches": _rearranged("BChPwP", (0, 4, 2, 3, 5, 1)),
            "pixels": _rearranged("BChPwP", (0, 2, 4, 5, 3, 1)),
            "channels": _rearranged("BChPwP", (0, 2, 4, 1, 3, 5)),
            "grid": _blind_reshape,
        },
    ),
    (
        unpatchify,
        _of_tokens,
        {
            "patches": _put_back("BwhPPC", (0, 5, 2, 3, 1, 4)),
            "pixels": _put_back("BhwPPC", (0, 5, 1, 4, 2, 3)),
            "channels": _put_back("BhwCPP", (0, 3, 1, 4, 2, 5)),
            "grid": _blind_reshape_back,
        },
    ),
):
    family.agrees(
        "patches in reading order",
        "Token 0 is the patch at the upper left, token 1 the one to its right; a new row begins at the left.",
        inputs=of(_patch_order),
        equation=PATCHES,
        slide=VIT,
        hint="The row of the patch is the slow axis, its column the fast one: (..., rows, columns, ...) before the last "
        "reshape.",
        mutant=mutants["patches"],
    )
    family.agrees(
        "pixels in reading order",
        "In a token the pixels of a patch follow one another row by row.",
        inputs=of(_pixel_order),
        equation=PATCHES,
        slide=VIT,
        hint="The row inside the patch comes before the column inside the patch.",
        mutant=mutants["pixels"],
    )
    family.agrees(
        "channels last",
        "In a token the channels of one pixel stand together.",
        inputs=of(_channel_order),
        equation=PATCHES,
        slide=VIT,
        hint="Red, green and blue of a pixel are neighbours in the token: C is the fastest axis, although images have "
        "it in front.",
        mutant=mutants["channels"],
    )
    family.law(
        "a token is a square",
        sentence="Each token holds the pixels of one square of the image, not a stretch of its rows.",
        inputs=of(_grid),
        equation=PATCHES,
        slide="C: Transformer on Image Patches",
        hint="A reshape alone cuts rows into stretches. Split H into (rows, P) and W into (columns, P), bring the two P "
        "together with transpose, then reshape.",
        mutant=mutants["grid"],
    )(_squares)


def _first_only(right, args, options):
    out = right(*args, **options)[0]
    return out[0] if len(out) == 1 else out


for family, of in ((patchify, lambda inputs: inputs), (unpatchify, _of_tokens)):
    mutant = mutated(family.right, _first_only)
    hint = "A batch of one image is a batch too: its axis stays."
    every_family(family, inputs=of(_drawn), shapes=of(_size_one), wrong_shape=mutant, shape_hint=hint)


def _reshaped_back(right, args, options):
    """Backward by a reshape to the input's shape: every number in its place is not every number in its order."""
    out, _ = right(*args, **options)
    return out, lambda g: (g.reshape(args[0].shape),)


for family, name in ((patchify, "images"), (unpatchify, "tokens")):
    gradients(
        family,
        inputs=_drawn if family is patchify else _of_tokens(_drawn),
        equation={
            name: r"\langle g, \mathrm{patchify}(x) \rangle = \langle \mathrm{unpatchify}(g), x \rangle"
        },
        hints={
            name: "Numbers are only moved: move each g back to where its number came from, the same way reversed."
        },
        mutants={name: mutated(family.right, _reshaped_back)},
    )


# Position codes


def _sine_position_code(height, width, dim):
    def waves(n):
        angles = np.arange(n)[:, None] / 10000 ** (np.arange(0, dim // 2, 2) / (dim // 2))
        return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(n, dim // 2)

    rows = np.broadcast_to(waves(height)[:, None], (height, width, dim // 2))
    columns = np.broadcast_to(waves(width)[None], (height, width, dim // 2))
    return np.concatenate([rows, columns], axis=-1).astype(np.float32), None


sine_position_code = Family(
    "sine_position_code",
    _sine_position_code,
    form="f(height, width, dim) -> (height, width, dim): the first half codes the row, the second the column; dim is "
    "divisible by 4, the longest wavelength is (nearly) 10000 times 2 pi",
)
WAVES = r"c_{p, 2i} = \sin(p / 10000^{2i/d}), \quad c_{p, 2i+1} = \cos(p / 10000^{2i/d}), \quad d = D/2"
DETR = "A: DETR architecture"


def _column_of(draw):
    return {"height": integer(draw, 2, 5), "width": 1, "dim": 4}


def _one_wave(draw):
    return {"height": integer(draw, 2, 4), "width": integer(draw, 2, 4), "dim": 4}


def _many_waves(draw):
    return {"height": integer(draw, 2, 4), "width": integer(draw, 2, 4), "dim": 4 * integer(draw, 2, 4)}


def _code_shape(draw):
    return {"height": integer(draw, 1, 3), "width": integer(draw, 1, 3), "dim": 4}


def _like(right, change):
    """A mutant: the right code, changed."""
    return lambda height, width, dim: change(right(height, width, dim)[0], height, width, dim)


@sine_position_code.law(
    "row first",
    inputs=_one_wave,
    equation=r"C_{y,x} = [c_y,\ c_x]",
    slide=DETR,
    hint="y before x, as in all shapes: the first half of the code must not change along a row of the grid.",
    mutant=_like(
        _sine_position_code, lambda c, h, w, d: np.concatenate([c[..., d // 2 :], c[..., : d // 2]], axis=-1)
    ),
)
def row_first(f, case):
    """The first half of a code tells the row and the second half the column, and nothing else."""
    code, half = f(case), case["dim"] // 2
    if code.shape != (case["height"], case["width"], case["dim"]):
        raise Broken(f"The output has shape {code.shape}; {f.right(case).shape} was expected.")
    rows, columns = code[:, :1, :half], code[:1, :, half:]
    compare(code[..., :half], np.broadcast_to(rows, code[..., :half].shape).astype(np.float64))
    compare(code[..., half:], np.broadcast_to(columns, code[..., half:].shape).astype(np.float64))


def _from_one(height, width, dim):
    return _sine_position_code(height + 1, width + 1, dim)[0][1:, 1:]


@sine_position_code.law(
    "counted from 0",
    inputs=_one_wave,
    equation=r"c_0 = (\sin 0, \cos 0, \dots) = (0, 1, \dots)",
    slide=DETR,
    hint="The first place is 0; a sine stands before its cosine. So the corner reads 0 1 0 1.",
    mutant=lambda height, width, dim: _sine_position_code(height + 1, width + 1, dim)[0][1:, 1:],
)
def from_zero(f, case):
    """The upper left corner is place (0, 0): there every sine is 0 and every cosine 1."""
    compare(f(case)[0, 0], np.array([0.0, 1.0, 0.0, 1.0]), what="The code of the corner")


def _side_by_side(code, height, width, dim):
    """All sines first, then all cosines, in each half."""
    order = np.r_[0 : dim // 2 : 2, 1 : dim // 2 : 2]
    return code[..., np.r_[order, order + dim // 2]]


@sine_position_code.law(
    "in turn",
    inputs=_many_waves,
    equation=r"c_{2i}^2 + c_{2i+1}^2 = 1",
    slide=DETR,
    hint="sin and cos of one angle are neighbours: sin, cos, sin, cos. np.stack(..., axis=-1) and a reshape interleave; "
    "np.concatenate does not.",
    mutant=_like(_sine_position_code, _side_by_side),
)
def in_turn(f, case):
    """Sine and cosine of an angle stand together: each pair lies on the unit circle."""
    code = f(case).astype(np.float64)
    lengths = code[..., 0::2] ** 2 + code[..., 1::2] ** 2
    compare(lengths, np.ones(lengths.shape), what="Sine squared plus cosine squared")


def _whole_width(height, width, dim):
    """The exponent counts to D where it should count to D / 2."""
    grid = _sine_position_code(height, width, 2 * dim)[0]
    return np.concatenate([grid[..., : dim // 2], grid[..., dim : dim + dim // 2]], axis=-1)


@sine_position_code.law(
    "wavelengths",
    inputs=_many_waves,
    equation=r"\langle c_p, c_q \rangle = \sum_i \cos\big((p - q) / 10000^{2i/d}\big), \quad d = D / 2",
    slide=DETR,
    hint="Each axis has d = D / 2 numbers of its own, so wave i has 10000^(2i/d), i = 0 ... d/2 - 1.",
    mutant=_whole_width,
)
def wavelengths(f, case):
    """How alike two codes are depends on how far apart they are, by waves from 2 pi to nearly 10000 times 2 pi."""
    codes, right = (np.asarray(c, np.float64).reshape(-1, case["dim"]) for c in (f(case), f.right(case)))
    compare(codes @ codes.T, right @ right.T, what="The products of all pairs of codes")


every_family(sine_position_code, inputs=_one_wave, shapes=_code_shape)


# Attention distance


def _attention_distance(attention, patch_size, grid):
    y, x = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    distance = np.sqrt((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2) * patch_size
    return (attention * distance.astype(attention.dtype)).sum(axis=-1).mean(axis=-1), None


attention_distance = Family(
    "attention_distance",
    _attention_distance,
    ("attention",),
    form="f(attention, patch_size, grid); attention (h, N, N) with rows that sum to 1, N patches in reading order, grid "
    "(rows, columns) of patches, patch_size in pixels -> (h,) in pixels",
)
DISTANCE = r"\bar d = \frac1N \sum_i \sum_j A_{ij} \lVert x_i - x_j \rVert"
REMARKS = "A: Remarks"


# Each token looks at one other, in two heads that agree, unless a law says otherwise


def _looks(draw, grid, allowed=None, heads=1):
    """One-hot attention: (2, N, N); ``allowed(i, j)`` says which pairs may be drawn."""
    N = grid[0] * grid[1]
    attention = np.zeros((heads, N, N), np.float32)
    for head in attention:
        for i in range(N):
            head[i, choose(draw, *(j for j in range(N) if allowed is None or allowed(i, j)))] = 1
    return attention if heads > 1 else np.repeat(attention, 2, axis=0)


def _in_pixels(draw):
    grid = (1, integer(draw, 2, 4))
    return {"attention": _looks(draw, grid), "patch_size": choose(draw, 2, 8, 16), "grid": grid}


def _diagonals(draw):
    return {
        "attention": _looks(draw, (2, 2), lambda i, j: i + j == 3 or i == j),
        "patch_size": 1,
        "grid": (2, 2),
    }


def _rectangle(draw):
    rows, columns = grid = choose(draw, (2, 3), (3, 2), (2, 4))
    straight = lambda i, j: i // columns == j // columns or i % columns == j % columns  # noqa: E731
    return {"attention": _looks(draw, grid, straight), "patch_size": 1, "grid": grid}


def _two_heads(draw):
    grid = (1, integer(draw, 2, 4))
    return {"attention": _looks(draw, grid, heads=2), "patch_size": 1, "grid": grid}


def _spread(draw):
    N = integer(draw, 2, 4)
    sixteenths = np.minimum(np.floor(np.abs(numbers(draw, (N, N))) * 2), 4)
    sixteenths[:, -1] = 16 - sixteenths[:, :-1].sum(axis=-1)  # rows sum to exactly 1, also in float32
    attention = sixteenths / np.float32(16)
    return {"attention": np.stack([attention, attention]), "patch_size": 1, "grid": (1, N)}


def _distance_shape(draw):
    grid = (integer(draw, 1, 2), integer(draw, 1, 2))
    heads = integer(draw, 1, 3)
    N = grid[0] * grid[1]
    return {"attention": np.full((heads, N, N), 1 / N, np.float32), "patch_size": 1, "grid": grid}


def _with_distance(distance):
    """A mutant that measures otherwise: ``distance(dy, dx)``."""

    def mutant(attention, patch_size, grid):
        y, x = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
        table = distance(np.abs(y[:, None] - y), np.abs(x[:, None] - x)) * patch_size
        return (attention * table.astype(attention.dtype)).sum(axis=-1).mean(axis=-1)

    return mutant


def _favourite(attention, patch_size, grid):
    """Only the patch that gets the most counts."""
    most = attention == attention.max(axis=-1, keepdims=True)
    return _attention_distance(attention * most, patch_size, grid)[0]


attention_distance.agrees(
    "in pixels",
    "Distances are in pixels: neighbouring patches are patch_size apart.",
    inputs=_in_pixels,
    equation=DISTANCE,
    slide=REMARKS,
    hint="The centres of two neighbouring patches are patch_size pixels apart, not 1.",
    mutant=lambda attention, patch_size, grid: _attention_distance(attention, 1, grid)[0],
)
attention_distance.agrees(
    "as the crow flies",
    "The distance of diagonal neighbours is the square root of 2, in patches.",
    inputs=_diagonals,
    equation=r"\lVert x_i - x_j \rVert = \sqrt{\Delta y^2 + \Delta x^2}",
    slide=REMARKS,
    hint="Euclid: the root of the sum of squares, not the sum of the steps down and across.",
    mutant=_with_distance(np.add),
)
attention_distance.agrees(
    "rows and columns",
    "Patch i of a grid (rows, columns) stands in row i // columns, column i % columns.",
    inputs=_rectangle,
    equation=DISTANCE,
    slide=REMARKS,
    hint="The number of columns says where a new row begins. Are rows and columns swapped?",
    mutant=lambda attention, patch_size, grid: _attention_distance(attention, patch_size, grid[::-1])[0],
)
attention_distance.agrees(
    "each head by itself",
    "Every head has a distance of its own: one looks near, another far.",
    inputs=_two_heads,
    equation=DISTANCE,
    slide=REMARKS,
    hint="Average over the queries, never over the heads: that some look near and others far is the point.",
    mutant=lambda attention, patch_size, grid: _attention_distance(
        np.broadcast_to(attention.mean(axis=0), attention.shape), patch_size, grid
    )[0],
)
attention_distance.agrees(
    "weighted by attention",
    "All patches count, each by the attention it gets.",
    inputs=_spread,
    equation=DISTANCE,
    slide=REMARKS,
    hint="Multiply distances by attention and sum over the keys; the patch that gets the most is not all.",
    mutant=_favourite,
)
every_family(attention_distance, inputs=_spread, shapes=_distance_shape)
