"""The laws of crop_concat: the middle of U-Net's larger map, then its smaller one.

Not here: the convolutions that make the maps (conv.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, distinct, integer, normals, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/87-unet"


def _crop_concat(skip, up):
    (H, W), (h, w) = skip.shape[2:], up.shape[2:]
    top, left = (H - h) // 2, (W - w) // 2
    return np.concatenate([skip[:, :, top : top + h, left : left + w], up], axis=1), None


crop_concat = Family(
    "crop_concat",
    _crop_concat,
    form="f(skip, up) -> (B, C + D, h, w); skip (B, C, H, W), up (B, D, h, w), not larger; the middle of skip, then up; of an "
    "odd number of rows or columns to drop, one more is dropped at the end",
)


# Sides differ by the same even number, and both maps have as many channels, unless a law is about that


def _maps(draw, shape, more, channels=None):
    skip = distinct(draw, (*shape[:2], shape[2] + more[0], shape[3] + more[1]))
    up = distinct(draw, (shape[0], channels or shape[1], *shape[2:])) - np.float32(100)
    return {"skip": skip, "up": up}


def _plain(draw):
    side = integer(draw, 2, 3)
    return _maps(draw, (integer(draw, 1, 2), 2, side, side), (2, 2))


def _same_size(draw):
    side = integer(draw, 1, 3)
    return _maps(draw, (1, integer(draw, 1, 2), side, side), (0, 0))


def _odd(draw):
    side, more = integer(draw, 2, 3), choose(draw, 1, 3)
    return _maps(draw, (1, 2, side, side), (more, more))


def _two_sides(draw):
    return _maps(draw, (1, 2, *sizes(draw, 2, 2, 3)), choose(draw, (0, 2), (2, 0), (2, 4), (4, 2)))


def _any_shape(draw):
    return _maps(draw, sizes(draw, 4, 1, 2), sizes(draw, 2, 0, 2), integer(draw, 1, 3))


def _anything(draw):
    shape = *sizes(draw, 2, 1, 3), *sizes(draw, 2, 1, 4)
    more = sizes(draw, 2, 0, 5)
    skip = normals(draw, (*shape[:2], shape[2] + more[0], shape[3] + more[1]))
    return {"skip": skip, "up": normals(draw, (shape[0], integer(draw, 1, 3), *shape[2:]))}


# the order of the channels has a law of its own: the other laws compare the numbers, sorted


def _cropped(top, left=None, joined=lambda middle, up: np.concatenate([middle, up], axis=1)):
    """A mutant that begins at another row and column: functions of the numbers to drop, (rows, columns)."""
    left = top if left is None else left

    def mutant(skip, up):
        (h, w), (H, W) = up.shape[2:], skip.shape[2:]
        rows = np.arange(h) + top(H - h, W - w)
        columns = np.arange(w) + left(W - w, H - h)
        return joined(skip[:, :, rows % H][..., columns % W], up)

    return mutant


def _half(d, other):
    return d // 2


_at_the_corner = _cropped(lambda d, other: 0)
_rounded_up = _cropped(lambda d, other: -(-d // 2))
_one_for_both = _cropped(_half, lambda d, other: other // 2)
_up_first = _cropped(_half, joined=lambda middle, up: np.concatenate([up, middle], axis=1))


def _resized(skip, up):
    """The larger map made smaller by taking nearest neighbours."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(up.shape[2:], skip.shape[2:], strict=True))
    return np.concatenate([skip[:, :, rows][..., columns], up], axis=1)


def _grown(skip, up):
    """The smaller map surrounded with zeros."""
    more = [(m - n) // 2 for m, n in zip(skip.shape[2:], up.shape[2:], strict=True)]
    out = np.zeros((len(skip), skip.shape[1] + up.shape[1], *skip.shape[2:]), skip.dtype)
    out[:, : skip.shape[1]] = skip
    out[:, skip.shape[1] :, more[0] : more[0] + up.shape[2], more[1] : more[1] + up.shape[3]] = up
    return out


def _stacked(f, case):
    """The output in the shape that it should have; the law "shape" checks it."""
    got = f(case)
    if got.size != f.right(case).size:
        raise Broken(f"The output has shape {got.shape}; {f.right(case).shape} was expected.")
    return got.reshape(f.right(case).shape)


def _skip_agrees(f, case):
    got = _stacked(f, case)
    compare(np.sort(got.ravel()), np.sort(f.right(case).ravel()), what="The numbers, sorted,")


@crop_concat.law(
    "skip first, then up",
    inputs=_same_size,
    equation=r"y = [\,\text{skip},\ \text{up}\,]",
    slide=SLIDE,
    hint="The channels of the map of the way down come first, then those of the way up: the weights are in that order.",
    mutant=_up_first,
    value=True,
    right_too=False,
)
def skip_first(f, case):
    """With maps of the same size the channels are stacked: first those of skip, then those of up."""
    compare(_stacked(f, case), f.right(case))


for _name, _sentence, _inputs, _hint, _mutant in (
    (
        "the middle",
        "What is dropped is the same on all four sides.",
        _plain,
        "Both maps show the same pixels of the image in their middle. Drop (H - h) // 2 rows at the top, not 0.",
        _cropped(lambda d, other: 0 if d == other and d % 2 == 0 else d // 2),
    ),
    (
        "odd differences",
        "Of an odd number of rows to drop, one more is dropped at the end than at the beginning.",
        _odd,
        "The first row is (H - h) // 2, rounded down.",
        _rounded_up,
    ),
    (
        "rows and columns",
        "Rows and columns each have their own difference.",
        _two_sides,
        "The first column is (W - w) // 2: do not use the number of the rows for both.",
        _one_for_both,
    ),
):
    crop_concat.law(
        _name,
        sentence=_sentence,
        inputs=_inputs,
        equation=r"y_{b,\,c < C,\,i,\,j} = \text{skip}_{b,\,c,\; i + \lfloor (H - h) / 2 \rfloor,\; j + \lfloor (W - w) / 2 \rfloor}",
        slide=SLIDE,
        hint=_hint,
        mutant=_mutant,
        value=True,
        right_too=False,
    )(_skip_agrees)


every_family(crop_concat, inputs=_plain, shapes=_any_shape)
values(
    crop_concat,
    simplest=_plain,
    words="two rows and two columns too many",
    anything=_anything,
    hint="Rows and columns may differ by any number from 0 on, even or odd, and the maps need not have as many channels.",
    mutant=_cropped(lambda d, other: d // 2 if d == other else -(-d // 2)),
)
for name, hint, answer in (
    ("up first", "You put the map of the way up first. The channels of skip come first.", _up_first),
    (
        "cropped at the corner",
        "You keep the first rows and columns. Keep the middle: drop (H - h) // 2 rows at the top.",
        _at_the_corner,
    ),
    (
        "rounded up",
        "You round the number of rows to drop at the top up; round it down, with //.",
        _rounded_up,
    ),
    (
        "the rows' number for both",
        "You drop as many columns as rows. Each has its own difference.",
        _one_for_both,
    ),
    (
        "resized",
        "You make skip smaller by leaving out pixels in between. Cut out its middle: pixels stay pixels.",
        _resized,
    ),
    ("up padded with zeros", "You surround up with zeros. The result has the size of up: crop skip.", _grown),
):
    crop_concat.mistake(name, hint, answer)
