"""The laws of shifted_window_mask and relative_position_index: which tokens may attend, and their relative positions.

Not here: attention in the windows, the shift itself.
"""

import itertools

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, pairs
from minivis.laws.judging.manners import kind_law, quiet_law, shape_law
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values
from minivis.laws.windows import _partition, _sides

LOCAL, SHIFT, BIAS = "A/46-shifted-windows", "A/47-cyclic-shift", "A/49-relative-position-bias"


def _apart(height, width, window, shift):
    """Position of each token in the map before the shift, for the windows after it: y and x, each (nW, N)."""
    (m, n), (down, right) = _sides(window), _sides(shift)
    y, x = np.indices((height, width))
    places = np.stack([(y + down) % height, (x + right) % width], axis=-1)  # before the shift
    return np.moveaxis(_partition(places[None], (m, n))[0].reshape(-1, m * n, 2), -1, 0)


def _mask(height, width, window, shift):
    """Two tokens may attend to each other if their offset in the window is the same as before the shift."""
    m, n = _sides(window)
    y, x = _apart(height, width, window, shift)
    row, column = (place.reshape(-1) for place in np.indices((m, n)))
    same_rows = y[:, :, None] - y[:, None] == row[:, None] - row
    same_columns = x[:, :, None] - x[:, None] == column[:, None] - column
    return same_rows & same_columns, None


mask = Family(
    "shifted_window_mask",
    _mask,
    form="f(height, width, window, shift) -> boolean (nW, N, N), True = may be attended: for each window of a map that was "
    "shifted up and left by shift, which of its N tokens were neighbours before",
)
NEIGHBOURS = r"M_{ij} = 1 \iff p_i - p_j = q_i - q_j, \quad p \text{ before the shift}, q \text{ after}"


def _shifted(draw, window=None):
    M = window or integer(draw, 2, 4)
    return {
        "height": M * integer(draw, 1, 2),
        "width": M * integer(draw, 2, 3),
        "window": M,
        "shift": integer(draw, 1, M - 1),
    }


def _long_shift(draw):
    (m, n), (down, right) = choose(
        draw, ((2, 3), (1, 2)), ((3, 2), (2, 1)), ((3, 2), (1, 0)), ((2, 4), (0, 2))
    )
    return {
        "height": m * integer(draw, 1, 2),
        "width": n * integer(draw, 2, 3),
        "window": (m, n),
        "shift": (down, right),
    }


def _not_shifted(draw):
    return {**_shifted(draw), "shift": 0}


def _mask_shape(draw):
    M = integer(draw, 1, 2)
    return {"height": M, "width": M, "window": M, "shift": 0}


def _allowed(f, case):
    """The mask as booleans of the right shape."""
    got = f(case)
    expected = f.right(case)
    if got.shape != expected.shape:
        raise Broken(f"The mask has shape {got.shape}; {expected.shape} was expected.")
    return got != 0


def _square_only(change):
    """A mutant that errs in square windows that are shifted, and is right elsewhere."""

    def mutant(height, width, window, shift):
        right = _mask(height, width, window, shift)[0]
        return (
            right if isinstance(window, tuple) or not shift else change(right, height, width, window, shift)
        )

    return mutant


def _two_ends(right, height, width, window, shift):
    """Regions numbered by a sum: tokens moved around one edge get the same number as those moved around the other."""
    came_down, came_right = (np.arange(size) >= size - shift for size in (height, width))
    region = _partition((came_down[:, None].astype(int) + came_right)[None, ..., None], window)[0]
    region = region.reshape(len(right), -1)
    return region[:, :, None] == region[:, None]


@mask.law(
    "no leak across the seam",
    inputs=_shifted,
    equation=r"M_{ij} = 1 \Rightarrow p_i - p_j = q_i - q_j",
    slide=SHIFT,
    hint="The corner window holds four regions, from the four corners of the map. Give all four different numbers; tokens "
    "see each other only within one region.",
    mutant=_square_only(_two_ends),
)
def no_leak(f, case):
    """Tokens from opposite ends of the map, neighbours only because of the cyclic shift, do not see each other."""
    leaks = _allowed(f, case) & ~f.right(case, bool)
    if leaks.any():
        w, i, j = (int(k) for k in np.argwhere(leaks)[0])
        y, x = _apart(**case.everything)
        raise Broken(
            f"In window {w} token {i}, from row {y[w, i]}, column {x[w, i]}, sees token {j}, from row {y[w, j]}, column "
            f"{x[w, j]}.",
            f.right(case, bool)[w],
            f(case)[w],
        )


@mask.law(
    "neighbours meet",
    inputs=_shifted,
    equation=r"p_i - p_j = q_i - q_j \Rightarrow M_{ij} = 1",
    slide=SHIFT,
    hint="Only windows at the bottom and right edges hold tokens from both ends of the map. In all others every token sees "
    "every token: do you use one mask for all windows, or number the windows in another order?",
    mutant=_square_only(lambda right, *_: np.broadcast_to(right[-1:], right.shape).copy()),
)
def neighbours_meet(f, case):
    """Tokens of a window that were neighbours before the shift see each other."""
    blind = f.right(case, bool) & ~_allowed(f, case)
    blind &= np.tri(blind.shape[-1], dtype=bool)  # one direction; the law "mutual" checks the other
    if blind.any():
        w, i, j = (int(k) for k in np.argwhere(blind)[0])
        raise Broken(
            f"In window {w} token {i} does not see token {j}, its neighbour.",
            f.right(case, bool)[w],
            f(case)[w],
        )


@mask.law(
    "mutual",
    inputs=_shifted,
    equation=r"M_{ij} = M_{ji}",
    hint="Two tokens see each other if they come from the same region: compare with ==, not with <=.",
    mutant=_square_only(lambda right, *_: right & np.tri(right.shape[-1], dtype=bool)),
)
def mutual(f, case):
    """If token i may see token j, then j may see i."""
    allowed = _allowed(f, case)
    if not np.array_equal(allowed, allowed.swapaxes(1, 2)):
        w, i, j = (int(k) for k in np.argwhere(allowed & ~allowed.swapaxes(1, 2))[0])
        raise Broken(f"In window {w} token {i} sees token {j}, and {j} does not see {i}.", got=f(case)[w])


def _exact(f, case):
    compare(_allowed(f, case).astype(float), f.right(case, bool).astype(np.float64), what="The mask")


mask.law(
    "no shift, no mask",
    sentence="Without a shift every token in a window sees every token.",
    inputs=_not_shifted,
    equation=r"s = 0 \Rightarrow M_{ij} = 1",
    slide=LOCAL,
    hint="Do you replace a shift of 0 by a default? Slices from -0 are another trap: x[-0:] is all of x.",
    mutant=lambda height, width, window, shift: _mask(height, width, window, shift or _sides(window)[0] // 2)[
        0
    ],
)(_exact)
mask.law(
    "rows and columns by their own shift",
    value=True,
    sentence="Windows need not be square, and the shift of rows may differ from that of columns.",
    inputs=_long_shift,
    equation=NEIGHBOURS,
    hint="height goes with window[0] and shift[0], width with window[1] and shift[1].",
    mutant=lambda height, width, window, shift: _mask(height, width, window, _sides(shift)[::-1])[0],
)(_exact)


# ---------------------------------------------------------------------------------------------------------------------
# The index of relative positions


def _index(window):
    m, n = _sides(window)
    y, x = (place.reshape(-1) for place in np.indices((m, n)))
    return (y[:, None] - y + m - 1) * (2 * n - 1) + (x[:, None] - x + n - 1), None


index = Family(
    "relative_position_index",
    _index,
    form="f(window) -> whole numbers (N, N): which of the (2 M_h - 1)(2 M_w - 1) biases query i adds for key j, counted "
    "row by row of the offset query minus key",
)
INDEX = r"I_{ij} = (y_i - y_j + M_h - 1)(2 M_w - 1) + (x_i - x_j + M_w - 1)"


def _square_window(draw):
    return {"window": integer(draw, 2, 4)}


def _wide_window(draw):
    m = integer(draw, 1, 3)
    return {"window": (m, m + integer(draw, 1, 2))}


def _numbers(f, case):
    """The index, of the right shape, with the sides of its window."""
    got = f(case)
    expected = f.right(case)
    if got.shape != expected.shape:
        raise Broken(f"The index has shape {got.shape}; {expected.shape} was expected.")
    return got, _sides(case["window"])


def _formula(rows, columns, stride=None, first=None):
    """A mutant: offsets of rows and of columns, computed from query and key; the stride of rows; the first number."""

    def mutant(window):
        m, n = _sides(window)
        y, x = (place.reshape(-1) for place in np.indices((m, n)))
        dy, dx = rows(y[:, None], y, m), columns(x[:, None], x, n)
        return dy * (stride(m, n) if stride else 2 * n - 1) + dx + (first(m, n) if first else 0)

    return mutant


def _minus(a, b, size):
    return a - b + size - 1


@index.law(
    "offset alone",
    inputs=_square_window,
    equation=r"I_{ij} = I_{kl} \text{ if } p_i - p_j = p_k - p_l",
    slide=BIAS,
    hint="The number depends on the differences of the two positions, y_i - y_j and x_i - x_j, and on nothing else.",
    mutant=_formula(lambda a, b, _: a + b, lambda a, b, _: a + b),
)
def offset_alone(f, case):
    """Two pairs of tokens with the same offset have the same number, anywhere in the window."""
    numbered, (m, n) = _numbers(f, case)
    of_pair = numbered.reshape(m, n, m, n)
    if not np.array_equal(of_pair[1:, :, 1:], of_pair[:-1, :, :-1]):
        raise Broken("One row further down, the same offset has a different number.", f.right(case), f(case))
    if not np.array_equal(of_pair[:, 1:, :, 1:], of_pair[:, :-1, :, :-1]):
        raise Broken(
            "One column further right, the same offset has a different number.", f.right(case), f(case)
        )


@index.law(
    "as many numbers as offsets",
    value=True,
    inputs=_wide_window,
    equation=r"|\{I_{ij}\}| = (2 M_h - 1)(2 M_w - 1)",
    slide=BIAS,
    hint="Offsets of columns have 2 M_w - 1 different values: multiply the offset of rows by 2 M_w - 1, which comes from the "
    "width, not from the height.",
    mutant=_formula(_minus, _minus, stride=lambda m, n: 2 * m - 1),
)
def as_many(f, case):
    """No two offsets share a number."""
    numbered, (m, n) = _numbers(f, case)
    found = len(np.unique(numbered))
    expected = (2 * m - 1) * (2 * n - 1)
    if found != expected:
        raise Broken(
            f"There are {found} different numbers for {expected} offsets in a window of {m} x {n}.",
            f.right(case),
            f(case),
        )


@index.law(
    "counted from 0",
    value=True,
    inputs=_square_window,
    equation=r"\min I = 0, \quad \max I = (2 M_h - 1)(2 M_w - 1) - 1",
    slide=BIAS,
    hint="Differences run from -(M-1) to M-1. Add M-1 to each before you combine them: a negative index reads from the end "
    "of the table, without an error.",
    mutant=_formula(_minus, _minus, first=lambda m, n: -((m - 1) * (2 * n - 1) + n - 1)),
)
def from_zero(f, case):
    """The numbers are row indices of the table of biases: from 0 to its length minus 1."""
    numbered, (m, n) = _numbers(f, case)
    low = numbered.min()
    high = numbered.max()
    last = (2 * m - 1) * (2 * n - 1) - 1
    if (low, high) != (0, last):
        raise Broken(
            f"The numbers run from {low:g} to {high:g}; 0 to {last} was expected.",
            f.right(case),
            f(case),
        )


@index.law(
    "row by row",
    value=True,
    inputs=_square_window,
    equation=INDEX,
    slide=BIAS,
    hint="Count row by row: the offset of rows is multiplied by 2 M_w - 1, the offset of columns is added.",
    mutant=_formula(
        lambda a, b, size: a - b + size - 1,
        lambda a, b, size: (a - b + size - 1) * (2 * size - 1),
        stride=lambda m, n: 1,
    ),
)
def row_by_row(f, case):
    """The number grows by 1 from one offset of columns to the next, and by 2 M - 1 from one offset of rows to the next."""
    numbered, (m, n) = _numbers(f, case)
    beside, below = (abs(numbered[i, 0] - numbered[0, 0]) for i in (1, n))
    if beside != 1 or below != 2 * n - 1:
        raise Broken(
            f"One column further the number changes by {beside:g}, one row further by {below:g}; expected are 1 and "
            f"{2 * n - 1}.",
            f.right(case),
            f(case),
        )


@index.law(
    "query minus key",
    inputs=_square_window,
    equation=r"p_i - p_j",
    slide=BIAS,
    hint="Row i is the query, column j the key, and the offset is the position of i minus that of j: is the index "
    "transposed?",
    mutant=_formula(lambda a, b, size: b - a + size - 1, lambda a, b, size: b - a + size - 1),
)
def query_minus_key(f, case):
    """The number grows when the query moves right or down and the key stays."""
    numbered, (_, n) = _numbers(f, case)
    if not (numbered[1, 0] > numbered[0, 0] and numbered[n, 0] > numbered[0, 0]):
        raise Broken("The number falls when the query moves right or down.", f.right(case), f(case))


# ---------------------------------------------------------------------------------------------------------------------
# Laws of both, about shape, dtype and printing


def _plain_laws(family, inputs, shapes, kinds, words):
    """Declare the laws of shape, kind of numbers and printing, for functions that take no arrays."""
    shape_law(family, shapes)
    kind_law(
        family,
        inputs,
        words,
        kinds,
        hint="np.zeros and division make float64. A mask needs booleans, an index needs integers.",
        mutant=mutated(family.right, lambda right, a, o: right(*a, **o)[0].astype(np.float32)),
        examples=4,
    )
    quiet_law(family, inputs)


_plain_laws(mask, _shifted, _mask_shape, "b", "booleans")
_plain_laws(index, _square_window, lambda draw: {"window": integer(draw, 1, 2)}, "iu", "whole numbers")


# ---------------------------------------------------------------------------------------------------------------------
# Any calls, and the mistakes that are known by name


def _any_shift(draw):
    window = choose(draw, 2, 3, 4, *pairs(1, 4), 5, (3, 5))
    rows, columns = choose(draw, *pairs(1, 4))
    m, n = _sides(window)
    return {
        "height": m * rows,
        "width": n * columns,
        "window": window,
        "shift": choose(draw, *range(min(m, n)), *itertools.product(range(m), range(n))),
    }


def _window_to_twelve(draw):
    return {"window": choose(draw, *range(1, 13), *pairs(1, 12))}


def _third_row(height, width, window, shift):
    """Right for two rows of windows; with more, every row except the first is treated like the last."""
    right = _mask(height, width, window, shift)[0]
    (m, n) = _sides(window)
    if height < 3 * m:
        return right
    rows = right.reshape(height // m, width // n, m * n, m * n).copy()
    rows[1:] = rows[-1:]
    return rows.reshape(right.shape)


def _always(value):
    return lambda *args: np.full_like(_mask(*args)[0], value)


def _along(rows, columns):
    """The mask for another shift: each of the two times 0, 1 or -1."""

    def answer(height, width, window, shift):
        down, right = _sides(shift)
        return _mask(height, width, window, (down * rows, right * columns))[0]

    return answer


def _numbered_by_a_sum(height, width, window, shift):
    down, right = _sides(shift)
    came = (np.arange(height) >= height - down)[:, None].astype(int) + (np.arange(width) >= width - right)
    region = _partition(came[None, ..., None], window)[0].reshape(-1, np.prod(_sides(window)))
    return region[:, :, None] == region[:, None]


values(
    mask,
    simplest=_shifted,
    words="square windows, the same shift down and to the right",
    anything=_any_shift,
    hint="Draw the regions of a map of 3 x 3 windows that are not square, for a shift in one direction only: which windows "
    "hold more than one region?",
    mutant=_third_row,
)
for name, hint, answer in (
    (
        "True for what is forbidden",
        "The mask is inverted: True means that the key may be attended.",
        lambda *args: ~_mask(*args)[0],
    ),
    (
        "numbers to be added",
        "You return numbers to add to the scores. Return booleans: True where a key may be attended.",
        lambda *args: np.where(_mask(*args)[0], 0.0, -100.0),
    ),
    (
        "no mask at all",
        "Every token sees every token. Tokens moved around the edge of the map must not see the tokens that were there.",
        _always(True),
    ),
    (
        "opposite corners have one number",
        "Two of the four regions in the corner window have the same number, so they see each other. Use different numbers, "
        "for example 2 * row + column.",
        _numbered_by_a_sum,
    ),
    (
        "the shift the wrong way",
        "This is the mask for a shift down and right. Swin shifts up and left: tokens moved around the edge arrive at the "
        "bottom and at the right.",
        _along(-1, -1),
    ),
    (
        "rows forgotten",
        "You separate only columns. Rows that were moved from the top to the bottom must be separated too.",
        _along(0, 1),
    ),
    (
        "columns forgotten",
        "You separate only rows. Columns that were moved from the left to the right must be separated too.",
        _along(1, 0),
    ),
):
    mask.mistake(name, hint, answer)


values(
    index,
    simplest=lambda draw: {"window": choose(draw, 2, 3)},
    words="small square windows",
    anything=_window_to_twelve,
    hint="Try a window of one row, of one column, and of 2 x 5: each number depends on both sides.",
    mutant=_formula(
        _minus, _minus, stride=lambda m, n: 2 * max(m, n) - 1
    ),  # right unless it is higher than long
)
for name, hint, answer in (
    (
        "key minus query",
        "The offsets have the wrong sign: take the position of the query (row i) minus that of the key (column j).",
        _formula(lambda a, b, size: b - a + size - 1, lambda a, b, size: b - a + size - 1),
    ),
    (
        "the length of a row from the height",
        "You multiply by 2 M_h - 1. Columns differ by -(M_w - 1) to M_w - 1: multiply the offset of rows by 2 M_w - 1.",
        _formula(_minus, _minus, stride=lambda m, n: 2 * m - 1),
    ),
    (
        "not counted from 0",
        "The numbers begin below 0. Add M - 1 to each difference, so that the smallest is 0.",
        _formula(_minus, _minus, first=lambda m, n: -((m - 1) * (2 * n - 1) + n - 1)),
    ),
    (
        "column by column",
        "You count column by column. Count row by row: offset of rows times (2 M_w - 1) plus offset of columns.",
        lambda window: (
            _index(_sides(window)[::-1])[0]
            .reshape(*_sides(window)[::-1] * 2)
            .transpose(1, 0, 3, 2)
            .reshape(_index(window)[0].shape)
        ),
    ),
    (
        "places added",
        "The number depends on the difference of the two positions, not on their sum.",
        _formula(lambda a, b, _: a + b, lambda a, b, _: a + b),
    ),
    (
        "rows of M instead of 2 M - 1",
        "You multiply by M_w. Columns differ by -(M_w - 1) to M_w - 1, which are 2 M_w - 1 offsets: multiply by that.",
        _formula(_minus, _minus, stride=lambda m, n: n),
    ),
):
    index.mistake(name, hint, answer)
