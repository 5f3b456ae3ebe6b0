"""The laws of attention_distance.

Not here: the attention that is measured (attention.py), class tokens.
"""

import numpy as np

from minivis.laws.judging.inputs import choose, generator, integer, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values


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
REMARKS = "A/36-attention-distance"


# Each token attends to one token, and both heads are equal, unless a law is about something else


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


def _shares(draw, heads, grid):
    """Attention with rows that sum to 1, some of them sharp."""
    N = grid[0] * grid[1]
    return generator(draw).dirichlet(np.full(N, 0.5), (heads, N)).astype(np.float32)


def _small(draw):
    grid = choose(draw, (2, 2), (1, 2), (2, 1), (1, 3))
    return {"attention": _shares(draw, 1, grid), "patch_size": choose(draw, 2, 4), "grid": grid}


def _anything(draw):
    rows = integer(draw, 1, 4)
    grid = (rows, integer(draw, 2 if rows == 1 else 1, 4))
    attention = _shares(draw, integer(draw, 1, 3), grid)
    return {"attention": attention, "patch_size": choose(draw, 1, 2, 7, 16), "grid": grid}


def _with_distance(distance):
    """A mutant with another distance between patches: ``distance(dy, dx)``."""

    def mutant(attention, patch_size, grid):
        y, x = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
        table = distance(np.abs(y[:, None] - y), np.abs(x[:, None] - x)) * patch_size
        return (attention * table.astype(attention.dtype)).sum(axis=-1).mean(axis=-1)

    return mutant


def _favourite(attention, patch_size, grid):
    """Only the patch with the most attention counts."""
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
    "Diagonal neighbours are sqrt(2) patches apart, the straight-line distance.",
    inputs=_diagonals,
    equation=r"\lVert x_i - x_j \rVert = \sqrt{\Delta y^2 + \Delta x^2}",
    slide=REMARKS,
    hint="Take the Euclidean distance: the root of the sum of squares, not the sum of the steps down and across.",
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
    "Every head has its own distance: one may look near, another far.",
    inputs=_two_heads,
    equation=DISTANCE,
    slide=REMARKS,
    hint="Average over the queries, not over the heads: the result shows which heads look near and which look far.",
    mutant=lambda attention, patch_size, grid: _attention_distance(
        np.broadcast_to(attention.mean(axis=0), attention.shape), patch_size, grid
    )[0],
)
attention_distance.agrees(
    "weighted by attention",
    "All patches count, each weighted by its attention.",
    inputs=_spread,
    equation=DISTANCE,
    slide=REMARKS,
    hint="Multiply distances by attention and sum over the keys: do not use only the patch with the most attention.",
    mutant=_favourite,
)
every_family(attention_distance, inputs=_spread, shapes=_distance_shape)


def _euclid_next_door(dy, dx):
    """Euclidean distance to the neighbours, steps down plus steps across to all patches further away."""
    return np.where((dy < 2) & (dx < 2), np.sqrt(dy**2 + dx**2), dy + dx)


def _changed(change):
    """A mutant: ``change(attention, patch_size, grid)`` changes what the right answer is given."""
    return lambda attention, patch_size, grid: _attention_distance(*change(attention, patch_size, grid))[0]


values(
    attention_distance,
    simplest=_small,
    words="one head, a few patches",
    anything=_anything,
    hint="Write down the table of distances for a grid of 3 x 4 patches and compare. The inputs have patches far apart, "
    "unequal numbers of rows and columns, several heads, and any patch size.",
    mutant=_with_distance(_euclid_next_door),
)
for name, hint, answer in (
    (
        "in patches",
        "The distances are in patches. Neighbouring patches are patch_size pixels apart: multiply.",
        _changed(lambda attention, patch_size, grid: (attention, 1, grid)),
    ),
    (
        "along the streets",
        "These distances go down and then across. The straight-line distance is the root of the sum of squares.",
        _with_distance(np.add),
    ),
    (
        "the square of the distance",
        "This is the mean squared distance: the square root is missing.",
        _with_distance(lambda dy, dx: dy**2 + dx**2),
    ),
    (
        "the larger of the two steps",
        "This is the larger of the steps down and across. The straight-line distance is the root of the sum of squares.",
        _with_distance(np.maximum),
    ),
    (
        "rows and columns swapped",
        "The grid was read as (columns, rows). Patch i stands in row i // columns and column i % columns.",
        _changed(lambda attention, patch_size, grid: (attention, patch_size, grid[::-1])),
    ),
    (
        "all heads together",
        "All heads have the same distance: you averaged over the heads. Average over the queries of each head.",
        _changed(lambda a, patch_size, grid: (np.broadcast_to(a.mean(axis=0), a.shape), patch_size, grid)),
    ),
    (
        "the sum over the queries",
        "The numbers are N times too large: the distance of a head is the mean over its N queries.",
        lambda a, patch_size, grid: _attention_distance(a, patch_size, grid)[0] * np.float32(a.shape[-1]),
    ),
    (
        "the favourite alone",
        "Here only the patch with the most attention counts. All patches count, each weighted by its attention.",
        _favourite,
    ),
):
    attention_distance.mistake(name, hint, answer)
