"""The laws of point_position_code and of stability_score, which SAM's prompts and its masks need.

Not here: the learned vectors of points and boxes, the mask decoder.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "A/88-sam-prompt-encoder"

# ------------------------------------------------------------------ point_position_code


def _point_position_code(points, size, gaussian):
    height, width = size
    places = 2 * (points + 0.5) / np.array([width, height], points.dtype) - 1
    angles = 2 * np.pi * (places @ gaussian)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(gaussian.dtype), None


point_position_code = Family(
    "point_position_code",
    _point_position_code,
    form="f(points, size, gaussian) -> (..., D); points (..., 2), x and y in pixels, (0, 0) is the centre of the first pixel; "
    "size (height, width); gaussian (2, D/2); all sines, then all cosines",
)


# One point of a square image, unless a law is about something else


def _call(draw, points=None, size=None, gaussian=None):
    if size is None:
        size = (choose(draw, 8, 4, 6, 10),) * 2
    points = np.round(normals(draw, (2,)) + size[0] / 2, 1) if points is None else points
    gaussian = normals(draw, (2, integer(draw, 2, 3))) if gaussian is None else gaussian
    return {"points": points.astype(np.float32), "size": size, "gaussian": gaussian.astype(np.float32)}


def _at_the_centre(draw):
    side = choose(draw, 8, 4, 6, 10)
    return _call(draw, np.full(2, (side - 1) / 2), (side, side))


def _without_frequencies(draw):
    return _call(draw, gaussian=np.zeros((2, integer(draw, 2, 3))))


def _rows_only(draw):
    gaussian = normals(draw, (2, 2))
    gaussian[0] = 0
    return _call(draw, gaussian=gaussian + np.float32([[0], [0.3]]))


def _whole_frequencies(draw, size=None):
    gaussian = np.array([[integer(draw, -2, 2), 1], [1, integer(draw, -2, 2)]])
    return _call(draw, size=size, gaussian=gaussian)


def _wide(draw):
    return _whole_frequencies(draw, choose(draw, (4, 6), (6, 4), (8, 5), (5, 8)))


def _some_points(draw, lead):
    size = sizes(draw, 2, 1, 12)
    points = normals(draw, (*lead, 2), 3) + np.float32(choose(draw, 0, 4))
    return _call(draw, points, size, normals(draw, (2, integer(draw, 1, 4))))


def _any_shape(draw):
    lead = choose(draw, (1,), (1, 1), (2, 1), (1, 3), ())
    return _call(draw, np.ones((*lead, 2)), gaussian=np.ones((2, integer(draw, 1, 2))))


def _anything(draw):
    return _some_points(draw, sizes(draw, integer(draw, 0, 3), 1, 3))


def _coded(
    places, joined=lambda angles: np.concatenate([np.sin(angles), np.cos(angles)], axis=-1), turns=2.0
):
    """A mutant: with other places of the points, of their angles another code, or another factor than 2 pi."""

    def mutant(points, size, gaussian):
        angles = turns * np.pi * (places(points, *size) @ gaussian)
        return joined(angles).astype(gaussian.dtype)

    return mutant


def _right_places(points, height, width):
    return 2 * (points + 0.5) / np.array([width, height], points.dtype) - 1


def _without_half(points, height, width):
    return 2 * points / np.array([width, height], points.dtype) - 1


def _other_sides(points, height, width):
    return 2 * (points + 0.5) / np.array([height, width], points.dtype) - 1


def _row_first(points, height, width):
    return _right_places(points, height, width)[..., ::-1]


def _from_zero(points, height, width):
    return (points + 0.5) / np.array([width, height], points.dtype)


def _by_the_last_pixel(points, height, width):
    return 2 * points / np.maximum(np.array([width, height], points.dtype) - 1, 1) - 1


def _interleaved(angles):
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*angles.shape[:-1], -1)


def _cosines_first(angles):
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)


_half_turns = _coded(_right_places, turns=1.0)


def _one_each(points, size, gaussian):
    """Sines of x beside cosines of y."""
    angles = 2 * np.pi * _right_places(points, *size)[..., None] * gaussian
    return np.concatenate([np.sin(angles[..., 0, :]), np.cos(angles[..., 1, :])], axis=-1).astype(
        gaussian.dtype
    )


@point_position_code.law(
    "products",
    inputs=_call,
    equation=r"c \cdot c' = \sum_k \cos \bigl( 2 \pi\, (p - p')\, G_k \bigr), \qquad \lVert c \rVert^2 = D / 2",
    slide=SLIDE,
    hint="Each angle has its sine and its cosine; p runs from -1 to 1, 2 (...) - 1, and the angle is 2 pi p @ gaussian.",
    mutant=_half_turns,
    value=True,
    right_too=False,
)
def products(f, case):
    """The product of the codes of two points depends only on how far they are apart, along x and along y."""
    step = np.array([1.25, 1.25])  # the same along both: which of them is x is another law's question
    code = f(case)
    moved = f(case.replace(points=case["points"] + step.astype(np.float32)))
    angles = 4 * np.pi * (step / case["size"][0]) @ case["gaussian"].astype(np.float64)
    compare((code * code).sum(axis=-1), np.full(code.shape[:-1], len(angles)), what="The product with itself")
    compare(
        (code * moved).sum(axis=-1),
        np.full(code.shape[:-1], np.cos(angles).sum()),
        what="The product with the code of a point 1.25 further right and lower",
    )


@point_position_code.law(
    "half a pixel",
    inputs=_at_the_centre,
    equation=r"x = \tfrac{W - 1}{2},\ y = \tfrac{H - 1}{2} \;\Rightarrow\; \text{all angles are } 0",
    slide=SLIDE,
    hint="A pixel is a square, and its number counts from the centre of the first one: add 0.5 before you divide by the size.",
    mutant=_coded(_without_half),
    right_too=False,
)
def half_a_pixel(f, case):
    """The middle of the image lies between its middle pixels: there every sine is 0 and every cosine 1."""
    code = f(case)
    waves = code.shape[-1] // 2
    compare(np.sort(code, axis=-1), np.repeat([0.0, 1.0], waves), what="The code of the centre, sorted,")


point_position_code.agrees(
    "sines first",
    "All sines come before all cosines.",
    value=False,
    inputs=_without_frequencies,
    equation=r"G = 0 \;\Rightarrow\; c = (0, \dots, 0, 1, \dots, 1)",
    slide=SLIDE,
    hint="np.concatenate([sin, cos], axis=-1): not in turn, and the sines come first.",
    mutant=_coded(_right_places, _interleaved),
)


@point_position_code.law(
    "x first",
    inputs=_rows_only,
    equation=r"G_{1,\cdot} = 0 \;\Rightarrow\; c(x, y) = c(x', y)",
    slide=SLIDE,
    hint="points[..., 0] is x, the column, and belongs to the first row of gaussian. Arrays have the row first; points do not.",
    mutant=_coded(_row_first),
    right_too=False,
)
def x_first(f, case):
    """The first number of a point is x: where the first row of gaussian is 0, the code does not depend on it."""
    moved = case["points"] + np.float32([1.25, 0])
    compare(
        f(case.replace(points=moved)), f(case).astype(np.float64), what="The code of the point moved along x"
    )


@point_position_code.law(
    "width and height",
    inputs=_wide,
    equation=r"G \in \mathbb Z^{2 \times D/2} \;\Rightarrow\; c(x + W, y) = c(x, y + H) = c(x, y)",
    slide=SLIDE,
    hint="x is divided by the width and y by the height, but size is (height, width).",
    mutant=_coded(_other_sides),
    right_too=False,
)
def width_and_height(f, case):
    """x is measured by the width, y by the height of an image that is not square."""
    height, width = case["size"]
    code = f(case).astype(np.float64)
    for step in ([width, 0], [0, height]):
        moved = f(case.replace(points=case["points"] + np.float32(step)))
        compare(moved, code, what="The code of the point moved by a whole image")


every_family(point_position_code, inputs=_call, shapes=_any_shape)


def _one_list(points, size, gaussian):
    """Right for one point and for a list; of several lists all get the codes of the first."""
    code, _ = _point_position_code(points, size, gaussian)
    if points.ndim > 2:
        code[1:] = code[:1]
    return code


values(
    point_position_code,
    simplest=lambda draw: _call(draw, np.round(normals(draw, (2,))), (4, 4)),
    words="one point of a small square image",
    anything=_anything,
    hint="A point may lie outside of the image, and there may be any number of axes before the last.",
    mutant=_one_list,
)
for name, hint, answer in (
    ("without half a pixel", "Your points count from the corner of the first pixel. Add 0.5: (0, 0) is its centre.", _coded(_without_half)),
    ("y first", "You take y for the first number of a point. It is x.", _coded(_row_first)),
    ("width and height swapped", "You divide x by the height. size is (height, width), and points are (x, y).", _coded(_other_sides)),
    ("in turn", "Sines and cosines are in turn. First come all sines, then all cosines.", _coded(_right_places, _interleaved)),
    ("cosines first", "The cosines come first. First come all sines.", _coded(_right_places, _cosines_first)),
    ("half turns", "Your angles are half as large: 2 pi, not pi.", _half_turns),
    ("from 0 to 1", "Your places run from 0 to 1. They run from -1 to 1: 2 (...) - 1.", _coded(_from_zero)),
    ("by the last pixel", "You divide by the number of the last pixel. Add 0.5 and divide by the number of pixels.", _coded(_by_the_last_pixel)),
    ("sines of x, cosines of y", "An angle is made of x and of y: the product points @ gaussian sums both. Then take sine and cosine of each.", _one_each),
    ("no 2 pi", "The angle lacks the factor 2 pi.", _coded(_right_places, turns=2 / np.pi / 2)),
):  # fmt: skip
    point_position_code.mistake(name, hint, answer)

# ------------------------------------------------------------------ stability_score


def _score(logits, high, low, axis=(-2, -1)):
    inner = (logits > high).sum(axis=axis)
    outer = (logits > low).sum(axis=axis)
    return (inner / np.maximum(outer, 1)).astype(logits.dtype)


def _stability_score(logits, offset=1.0):
    return _score(logits, offset, -offset), None


stability_score = Family(
    "stability_score",
    _stability_score,
    form="f(logits, offset=1.0) -> (...): for each mask of logits (..., H, W), the number of pixels above offset, divided by that "
    "above -offset; 0 if there is none",
)
AMG = "A/92-sam-output-tokens"
RATIO = r"s = \frac{\#\{l > o\}}{\#\{l > -o\}}"


# One mask, whose logits are positive and not whole numbers, unless a law is about something else


def _positive(draw, shape=None, **options):
    shape = sizes(draw, 2, 2, 3) if shape is None else shape
    steps = np.abs(normals(draw, shape, 10)).round() % 30
    logits = (steps + 0.5) / 10
    logits[..., 0, 0] = 2.75  # one is above every offset
    return {"logits": logits.astype(np.float32), **options}


def _sure(draw):
    logits = np.where(
        normals(draw, sizes(draw, 2, 2, 3)) > 0, choose(draw, 9, np.inf), choose(draw, -9, -np.inf)
    )
    logits[0, 0] = 9
    logits[-1, -1] = -9
    return {"logits": logits.astype(np.float32)}


def _empty(draw):
    return {"logits": -1.5 - np.abs(normals(draw, sizes(draw, 2, 1, 3)))}


def _another_offset(draw):
    case = _positive(draw, offset=2.0)
    case["logits"][-1, -1] = 1.45
    return case


def _at_the_threshold(draw):
    case = _positive(draw)
    case["logits"][-1, -1] = 1
    return case


def _low_ones(draw):
    case = _positive(draw)
    case["logits"][-1, -1] = -0.45
    return case


def _several(draw):
    case = _positive(draw, (integer(draw, 2, 3), 2, integer(draw, 2, 3)))
    case["logits"][0, 1:] = 0.15
    case["logits"][1:] = 2.25
    return case


def _score_shape(draw):
    return _positive(draw, choose(draw, (1, 2, 2), (2, 1, 2, 3), (1, 1, 1, 1), (2, 2), (3, 1, 1)))


def _any_masks(draw):
    shape = *sizes(draw, integer(draw, 0, 2), 1, 3), *sizes(draw, 2, 1, 5)
    logits = normals(draw, shape, choose(draw, 1, 3)) + np.float32(choose(draw, 0, -2, 2))
    options = {"offset": choose(draw, 0.5, 0.0, 2.0, 0.25)} if choose(draw, True, False) else {}
    return {"logits": logits.round(1).astype(np.float32), **options}


def _of_all_pixels(logits, offset=1.0):
    return ((logits > offset).sum(axis=(-2, -1)) / (logits.shape[-2] * logits.shape[-1])).astype(logits.dtype)


def _not_a_number(logits, offset=1.0):
    with np.errstate(all="ignore"):
        inner, outer = ((logits > o).sum(axis=(-2, -1)) for o in (offset, -offset))
        return (inner / outer).astype(logits.dtype)


def _default_offset(logits, offset=1.0):
    return _score(logits, 1.0, -1.0)


def _with_ties(logits, offset=1.0):
    inner, outer = ((logits >= o).sum(axis=(-2, -1)) for o in (offset, -offset))
    return (inner / np.maximum(outer, 1)).astype(logits.dtype)


def _of_the_mask(logits, offset=1.0):
    return _score(logits, offset, 0.0)


def _of_all_masks(logits, offset=1.0):
    return np.full(logits.shape[:-2], _score(logits, offset, -offset, axis=None))


def _default_for_zero(logits, offset=1.0):
    offset = offset or 1.0
    return _score(logits, offset, -offset)


def _of_probabilities(logits, offset=1.0):
    """The thresholds are moved on the scale of probabilities."""
    with np.errstate(over="ignore"):
        share = 1 / (1 + np.exp(-logits))
    return _score(share, 0.5 + offset / 10, 0.5 - offset / 10)


for _name, _sentence, _inputs, _equation, _hint, _mutant, _value in (
    (
        "sure masks",
        "A mask whose logits are all far from 0 has the score 1, however large it is.",
        _sure,
        r"\lvert l \rvert > o \;\Rightarrow\; s = 1",
        "Divide by the number of pixels above -offset, not by the number of all pixels.",
        _of_all_pixels,
        False,
    ),
    (
        "empty masks",
        "A mask without a pixel above -offset has the score 0.",
        _empty,
        r"l \le -o \;\Rightarrow\; s = 0",
        "0 / 0 is not a number. Define it: an empty mask is worth nothing, so its score is 0.",
        _not_a_number,
        False,
    ),
    (
        "any offset",
        "The thresholds are as far from 0 as offset says.",
        _another_offset,
        RATIO,
        "Use offset for both thresholds; 1 is only its default.",
        _default_offset,
        True,
    ),
    (
        "at the threshold",
        "A pixel whose logit is exactly the threshold is not in the mask.",
        _at_the_threshold,
        RATIO,
        "The masks are logits > threshold, without equality.",
        _with_ties,
        True,
    ),
    (
        "on both sides",
        "The threshold moves up and down: logits between -offset and 0 count in the union.",
        _low_ones,
        RATIO,
        "The second mask is logits > -offset, not logits > 0.",
        _of_the_mask,
        True,
    ),
    (
        "each mask by itself",
        "Of several masks each has its own score.",
        _several,
        r"s_m = \frac{\#\{l_m > o\}}{\#\{l_m > -o\}}",
        "Sum over the last two axes alone: axis=(-2, -1).",
        _of_all_masks,
        True,
    ),
):
    stability_score.agrees(
        _name,
        _sentence,
        value=_value,
        inputs=_inputs,
        equation=_equation,
        slide=AMG,
        hint=_hint,
        mutant=_mutant,
    )


every_family(stability_score, inputs=_positive, shapes=_score_shape)
values(
    stability_score,
    simplest=lambda draw: _positive(draw, (2, 2)),
    words="one mask of 2 x 2 pixels",
    anything=_any_masks,
    hint="Is an offset of 0 taken as it is? There may be any number of axes before the last two.",
    mutant=_default_for_zero,
)
for name, hint, answer in (
    ("divided by all pixels", "You divide by the number of all pixels. Divide by the number above -offset.", _of_all_pixels),
    ("0 / 0", "For an empty mask you divide by 0. Its score is 0.", _not_a_number),
    ("compared with the mask", "You divide by the number of pixels above 0. The lower threshold is -offset.", _of_the_mask),
    ("swapped", "You divide the larger mask by the smaller one.", lambda logits, offset=1.0: 1 / _score(logits, offset, -offset)),
    ("of all masks together", "You sum over all masks. Each has its own score.", _of_all_masks),
    ("with equality", "You count pixels at the threshold. The masks are logits > threshold.", _with_ties),
    ("always an offset of 1", "Your offset is always 1.", _default_offset),
    ("of probabilities", "The thresholds are those of logits, not of probabilities.", _of_probabilities),
    ("the change", "This is the share that changes. The score is the share that stays.", lambda logits, offset=1.0: 1 - _score(logits, offset, -offset)),
):  # fmt: skip
    stability_score.mistake(name, hint, answer)
