"""The laws of sine_position_code.

Not here: learned codes, codes of a sequence.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values


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
DETR = "A/55-detr-positions"


def _one_wave(draw):
    return {"height": integer(draw, 2, 4), "width": integer(draw, 2, 4), "dim": 4}


def _many_waves(draw):
    return {"height": integer(draw, 2, 4), "width": integer(draw, 2, 4), "dim": 4 * integer(draw, 2, 4)}


def _code_shape(draw):
    return {"height": integer(draw, 1, 3), "width": integer(draw, 1, 3), "dim": 4}


def _small_grid(draw):
    return {"height": integer(draw, 2, 3), "width": integer(draw, 2, 3), "dim": 4 * integer(draw, 1, 2)}


def _anything(draw):
    return {"height": integer(draw, 1, 13), "width": integer(draw, 1, 13), "dim": 4 * integer(draw, 1, 8)}


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
    """The first half of a code depends on the row alone, the second half on the column alone."""
    code = f(case)
    half = case["dim"] // 2
    if code.shape != (case["height"], case["width"], case["dim"]):
        raise Broken(f"The output has shape {code.shape}; {f.right(case).shape} was expected.")
    rows = code[:, :1, :half]
    columns = code[:1, :, half:]
    compare(code[..., :half], np.broadcast_to(rows, code[..., :half].shape).astype(np.float64))
    compare(code[..., half:], np.broadcast_to(columns, code[..., half:].shape).astype(np.float64))


def _from_one(height, width, dim):
    return _sine_position_code(height + 1, width + 1, dim)[0][1:, 1:]


@sine_position_code.law(
    "counted from 0",
    value=True,
    inputs=_one_wave,
    equation=r"c_0 = (\sin 0, \cos 0, \dots) = (0, 1, \dots)",
    slide=DETR,
    hint="The first position is 0, and a sine comes before its cosine: the code of the corner is 0 1 0 1.",
    mutant=lambda height, width, dim: _sine_position_code(height + 1, width + 1, dim)[0][1:, 1:],
)
def from_zero(f, case):
    """The upper left corner is position (0, 0): there every sine is 0 and every cosine is 1."""
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
    hint="sin and cos of one angle are neighbours: sin, cos, sin, cos. np.stack(..., axis=-1) and a reshape interleave "
    "them; np.concatenate does not.",
    mutant=_like(_sine_position_code, _side_by_side),
)
def in_turn(f, case):
    """Sine and cosine of an angle are neighbours: each pair lies on the unit circle."""
    code = f(case).astype(np.float64)
    lengths = code[..., 0::2] ** 2 + code[..., 1::2] ** 2
    compare(lengths, np.ones(lengths.shape), what="Sine squared plus cosine squared")


def _whole_width(height, width, dim):
    """The exponent divides by D instead of D / 2."""
    grid = _sine_position_code(height, width, 2 * dim)[0]
    return np.concatenate([grid[..., : dim // 2], grid[..., dim : dim + dim // 2]], axis=-1)


@sine_position_code.law(
    "wavelengths",
    value=True,
    inputs=_many_waves,
    equation=r"\langle c_p, c_q \rangle = \sum_i \cos\big((p - q) / 10000^{2i/d}\big), \quad d = D / 2",
    slide=DETR,
    hint="Each axis has d = D / 2 numbers of its own, so wave i has 10000^(2i/d), i = 0 ... d/2 - 1.",
    mutant=_whole_width,
)
def wavelengths(f, case):
    """The similarity of two codes depends on their distance; wavelengths run from 2 pi to nearly 10000 times 2 pi."""
    codes, right = (np.asarray(c, np.float64).reshape(-1, case["dim"]) for c in (f(case), f.right(case)))
    compare(codes @ codes.T, right @ right.T, what="The products of all pairs of codes")


every_family(sine_position_code, inputs=_one_wave, shapes=_code_shape)


def _four_waves(code, height, width, dim):
    """Each axis has four waves at most; the rest of the code stays 0."""
    code = code.copy()
    code[..., 8 : dim // 2] = 0
    code[..., dim // 2 + 8 :] = 0
    return code


def _cosine_first(code, height, width, dim):
    return code.reshape(height, width, dim // 2, 2)[..., ::-1].reshape(height, width, dim)


def _a_wave_for_each_number(height, width, dim):
    """The exponent counts numbers instead of pairs."""

    def waves(n):
        angles = np.arange(n)[:, None] / 10000 ** (np.arange(dim // 2) / (dim // 2))
        return np.where(np.arange(dim // 2) % 2, np.cos(angles), np.sin(angles))

    rows = np.broadcast_to(waves(height)[:, None], (height, width, dim // 2))
    columns = np.broadcast_to(waves(width)[None], (height, width, dim // 2))
    return np.concatenate([rows, columns], axis=-1).astype(np.float32)


values(
    sine_position_code,
    simplest=_small_grid,
    words="a small grid, one or two waves",
    anything=_anything,
    hint="Count the waves: each axis has D / 4 of them, for any width D. A grid may have one row or one column.",
    mutant=_like(_sine_position_code, _four_waves),
)
for name, hint, answer in (
    (
        "column first",
        "The first half is the code of the column. The row comes first: y before x, as in all shapes.",
        _like(
            _sine_position_code,
            lambda c, h, w, d: np.concatenate([c[..., d // 2 :], c[..., : d // 2]], axis=-1),
        ),
    ),
    (
        "counted from 1",
        "Every position is one too large: the first row and the first column have number 0.",
        _from_one,
    ),
    (
        "sines first, then cosines",
        "All sines of an axis come before all its cosines. They must alternate: np.stack(..., axis=-1), then reshape.",
        _like(_sine_position_code, _side_by_side),
    ),
    (
        "cosine before sine",
        "The cosine of each pair comes first. The code of position 0 should be 0 1 0 1.",
        _like(_sine_position_code, _cosine_first),
    ),
    (
        "the exponent counts to D",
        "The waves are those of a code twice as wide: each axis has d = D / 2 numbers, and the exponent is 2 i / d.",
        _whole_width,
    ),
    (
        "a wave for each number",
        "Sine and cosine of a pair have different angles here. The exponent counts pairs: it is 2 i / d for the numbers 2 i "
        "and 2 i + 1.",
        _a_wave_for_each_number,
    ),
):
    sine_position_code.mistake(name, hint, answer)
