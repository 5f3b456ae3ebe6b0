"""The laws of the two formats of a box: centre and size, and two corners.

Not here: overlaps (overlaps.py), choosing among boxes (suppression.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "H/15-matching-cost"


def _to_corners(boxes):
    centre = boxes[..., :2]
    half = boxes[..., 2:] / 2

    def vjp(g):
        low = g[..., :2]
        high = g[..., 2:]
        return (np.concatenate([low + high, (high - low) / 2], axis=-1),)

    return np.concatenate([centre - half, centre + half], axis=-1), vjp


def _to_centre(boxes):
    low = boxes[..., :2]
    high = boxes[..., 2:]

    def vjp(g):
        centre = g[..., :2] / 2
        size = g[..., 2:]
        return (np.concatenate([centre - size, centre + size], axis=-1),)

    return np.concatenate([(low + high) / 2, high - low], axis=-1), vjp


box_cxcywh_to_xyxy = Family(
    "box_cxcywh_to_xyxy",
    _to_corners,
    ("boxes",),
    form="f(boxes); boxes (..., 4): centre x, centre y, width, height -> left, top, right, bottom",
)
box_xyxy_to_cxcywh = Family(
    "box_xyxy_to_cxcywh",
    _to_centre,
    ("boxes",),
    form="f(boxes); boxes (..., 4): left, top, right, bottom -> centre x, centre y, width, height",
)


def _centres_and_sizes(draw, *leading):
    boxes = numbers(draw, (*leading, 4), scale=2)
    boxes[..., 2:] = np.abs(boxes[..., 2:]) + 1
    return boxes


def _some(draw):
    return {"boxes": _centres_and_sizes(draw, integer(draw, 2, 3))}


def _oblong(draw):
    boxes = _centres_and_sizes(draw, 2)
    boxes[:, 1] = boxes[:, 0]
    boxes[:, 2] = boxes[:, 3] + np.float32(choose(draw, 1, 3))
    return {"boxes": boxes}


def _on_the_diagonal(draw):
    """Squares on the line x = y: their four coordinates are only two different numbers, so the order does not matter."""
    boxes = _centres_and_sizes(draw, 2)
    boxes[:, 1::2] = boxes[:, ::2]
    return {"boxes": boxes}


def _any_leading(draw):
    return {"boxes": _centres_and_sizes(draw, *sizes(draw, choose(draw, 2, 0, 1, 3), 1, 3))}


def _list(draw):
    return {"boxes": _any_boxes(draw, integer(draw, 2, 4))}


def _any_lists(draw):
    """Boxes with any leading axes, in pixels or normalised; some lie partly outside the image."""
    return {"boxes": _any_boxes(draw, *sizes(draw, integer(draw, 0, 3), 1, 3))}


def _any_boxes(draw, *leading):
    unit = choose(draw, 1.0, 10.0, 100.0)
    rng = generator(draw)
    centres = rng.normal(size=(*leading, 2))
    sides = rng.uniform(0, 3, (*leading, 2))
    return (np.concatenate([centres, sides], axis=-1).round(2) * unit).astype(np.float32)


def _as_corners(of_centres):
    """The same boxes as corners, for the other conversion."""
    return lambda draw: {"boxes": _to_corners(of_centres(draw)["boxes"])[0].astype(np.float32)}


def _extent(corners):
    return corners[..., 2:] - corners[..., :2]


def _middle(corners):
    return (corners[..., :2] + corners[..., 2:]) / 2


def _boxes_of(f, case):
    """Its output, if it has the promised shape."""
    got = f(case)
    if got.shape != case["boxes"].shape:
        raise Broken(f"The output has shape {got.shape}; {case['boxes'].shape} was expected.")
    return got.astype(np.float64)


@box_cxcywh_to_xyxy.law(
    "half to each side",
    value=True,
    inputs=_on_the_diagonal,
    equation=r"x_1 = c_x - w/2, \quad x_2 = c_x + w/2",
    slide=SLIDE,
    hint="The centre is in the middle: half the width lies to its left, half to its right.",
    mutant=lambda boxes: _to_corners(boxes * np.array([1, 1, 2, 2], boxes.dtype))[0],
)
def _half(f, case):
    """A box reaches from its centre by half its size to each side."""
    compare(
        np.sort(_boxes_of(f, case)), np.sort(f.right(case)), what="The coordinates of the corners, sorted,"
    )


@box_cxcywh_to_xyxy.law(
    "two corners",
    value=True,
    inputs=_some,
    equation=r"(c_x, c_y, w, h) \to (x_1, y_1, x_2, y_2)",
    slide=SLIDE,
    hint="First the upper left corner, x and y, then the lower right one, x and y: not both x first.",
    mutant=lambda boxes: _to_corners(boxes)[0][..., [0, 2, 1, 3]],
)
def _corners(f, case):
    """The output is one corner, x and y, then the opposite corner; the centre lies halfway between them."""
    compare(
        _middle(_boxes_of(f, case)), case["boxes"][..., :2], what="The point halfway between the two corners"
    )


@box_cxcywh_to_xyxy.law(
    "width along x",
    inputs=_oblong,
    equation=r"x_2 - x_1 = w, \quad y_2 - y_1 = h",
    slide=SLIDE,
    hint="The third number is the width, along x, the fourth the height, along y.",
    mutant=lambda boxes: _to_corners(boxes[..., [0, 1, 3, 2]])[0],
)
def _along_x(f, case):
    """A box that is wider than high stays wider than high."""
    sides = np.abs(_extent(_boxes_of(f, case)))
    if (sides[:, 0] < sides[:, 1] - 1e-3).any():
        raise Broken("A box that is wider than high became higher than wide.", f.right(case), f(case))


box_xyxy_to_cxcywh.law(
    "centre",
    value=True,
    sentence="The centre is the mean of the two corners.",
    inputs=_as_corners(_some),
    equation=r"c_x = (x_1 + x_2) / 2",
    slide=SLIDE,
    hint="Take half of the sum of left and right; half of their difference is half of the width.",
    mutant=lambda boxes: np.concatenate([boxes[..., :2], _to_centre(boxes)[0][..., 2:]], axis=-1),
)(lambda f, case: compare(_boxes_of(f, case)[..., :2], f.right(case)[..., :2], what="The centre"))


box_xyxy_to_cxcywh.law(
    "size",
    value=True,
    sentence="Width and height are the differences of the two corners.",
    inputs=_as_corners(_on_the_diagonal),
    equation=r"w = x_2 - x_1, \quad h = y_2 - y_1",
    slide=SLIDE,
    hint="Right minus left, bottom minus top: the whole difference, and no + 1 for counting pixels.",
    mutant=lambda boxes: _to_centre(boxes)[0] * np.array([1, 1, 0.5, 0.5], boxes.dtype),
)(lambda f, case: compare(_boxes_of(f, case)[..., 2:], f.right(case)[..., 2:], what="The size"))


@box_xyxy_to_cxcywh.law(
    "width along x",
    inputs=_as_corners(_oblong),
    equation=r"w : h = (x_2 - x_1) : (y_2 - y_1)",
    slide=SLIDE,
    hint="The third number is the width, along x, the fourth the height, along y.",
    mutant=lambda boxes: _to_centre(boxes)[0][..., [0, 1, 3, 2]],
)
def _wide_stays_wide(f, case):
    """A wide box stays wide, a high one high."""
    across = _boxes_of(f, case)[..., 2:] * _extent(case["boxes"])[..., ::-1]  # w (y2 - y1) and h (x2 - x1)
    compare(across[..., 0], across[..., 1], what="Its width times the height it should have")


for family, inverse, of in (
    (
        box_cxcywh_to_xyxy,
        "each corner moves with the centre and, by half, with the size",
        lambda inputs: inputs,
    ),
    (box_xyxy_to_cxcywh, "half of the centre's and all of the size's cotangent, with its sign", _as_corners),
):
    every_family(
        family,
        inputs=of(_some),
        shapes=of(_any_leading),
        wrong_shape=mutated(family.right, lambda right, a, o: right(*a)[0].reshape(-1, 4)),
        shape_hint="One box (4,), a list (N, 4), a batch of lists (B, N, 4): index the last axis, boxes[..., 0].",
    )
    gradients(
        family,
        inputs=of(_some),
        equation={"boxes": r"\bar b = J^\top g"},
        hints={"boxes": f"The map is linear, so its backward is its transpose: {inverse}."},
        mutants={
            "boxes": mutated(
                family.right,
                lambda right, a, o: (right(*a)[0], lambda g: (g * np.array([1, 1, 0.5, 0.5], g.dtype),)),
            )
        },
        slide=SLIDE,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The value laws, and wrong answers that are known by name


def _columns_first(convert):
    """A mutant that converts a flat list and restores the leading axes in the wrong order."""
    return lambda boxes: convert(boxes.reshape(-1, 4))[0].reshape(boxes.shape, order="F")


def _columns_first_back(convert):
    """The same on the way back."""

    def mutant(boxes):
        out, _ = convert(boxes)
        flat = convert(boxes.reshape(-1, 4))[1]
        return out, lambda g: (flat(g.reshape(-1, 4))[0].reshape(g.shape, order="F"),)

    return mutant


def _back(forward, pulled):
    """A mistake of the backward pass: ``pulled(g)`` is the cotangent."""
    return lambda boxes: (forward(boxes)[0], lambda g: (pulled(g),))


for family, convert, inverse, of in (
    (box_cxcywh_to_xyxy, _to_corners, _to_centre, lambda inputs: inputs),
    (box_xyxy_to_cxcywh, _to_centre, _to_corners, _as_corners),
):
    values(
        family,
        simplest=of(_list),
        words="a list of boxes (N, 4)",
        anything=of(_any_lists),
        hint="Inputs may be one box (4,) or a batch of lists (B, N, 4), in pixels or normalised. Each box is converted by "
        "itself and stays in its place. Do you reshape the array?",
        mutant=_columns_first(convert),
    )
    family.mistake(
        "the other direction",
        "This is the conversion in the other direction: which of the two formats is the input?",
        lambda boxes, inverse=inverse: inverse(boxes)[0],
    )
    family.mistake(
        "width and height exchanged",
        "Width and height are exchanged: the width lies along x, like the first coordinate, the height along y.",
        {
            box_cxcywh_to_xyxy: lambda boxes: _to_corners(boxes[..., [0, 1, 3, 2]])[0],
            box_xyxy_to_cxcywh: lambda boxes: _to_centre(boxes)[0][..., [0, 1, 3, 2]],
        }[family],
    )
    gradient_values(
        family,
        simplest=of(_list),
        words="a list of boxes (N, 4)",
        anything=of(_any_lists),
        hint="The backward pass works on the last axis alone, like the forward pass, for any leading axes.",
        mutant=_columns_first_back(convert),
    )
    family.mistake(
        "forward once more on the way back",
        "This converts g as if it were a box. For each coordinate of the input, find the outputs that contain it and its "
        "factor in each: its gradient is the sum of these factors times g.",
        _back(convert, lambda g, convert=convert: convert(g)[0]),
        gradient=True,
    )
    family.mistake(
        "the inverse on the way back",
        "This converts g with the inverse map. A cotangent goes back through the transpose: the gradient of an input is the "
        "sum of g over the outputs that contain it, times its factor in each.",
        _back(convert, lambda g, inverse=inverse: inverse(g)[0]),
        gradient=True,
    )

box_cxcywh_to_xyxy.mistake(
    "the whole size to each side",
    "The boxes are twice too large: a box extends from its centre by half of its width to each side.",
    lambda boxes: _to_corners(boxes * np.array([1, 1, 2, 2], boxes.dtype))[0],
)
box_cxcywh_to_xyxy.mistake(
    "the centre taken for a corner",
    "Here the box begins at its centre. The first corner lies half of the width to the left of the centre, and half of the "
    "height above it.",
    lambda boxes: np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1),
)
box_cxcywh_to_xyxy.mistake(
    "both x first",
    "The numbers are right, but in the order left, right, top, bottom. Return one corner, x and y, then the other.",
    lambda boxes: _to_corners(boxes)[0][..., [0, 2, 1, 3]],
)
box_cxcywh_to_xyxy.mistake(
    "the lower right corner first",
    "The two corners are exchanged: first comes the one with the smaller coordinates, centre minus half of the size.",
    lambda boxes: _to_corners(boxes)[0][..., [2, 3, 0, 1]],
)
box_cxcywh_to_xyxy.mistake(
    "one pixel less",
    "Right and bottom are 1 too small. Coordinates are positions of edges, not numbers of pixels: right - left is the width.",
    lambda boxes: _to_corners(boxes)[0] - np.array([0, 0, 1, 1], boxes.dtype),
)
box_cxcywh_to_xyxy.mistake(
    "the half forgotten on the way back",
    "The gradients of width and height are twice too large: if the size grows by 1, a corner moves by 1/2.",
    _back(_to_corners, lambda g: _to_corners_pulled(g) * np.array([1, 1, 2, 2], g.dtype)),
    gradient=True,
)
box_cxcywh_to_xyxy.mistake(
    "the mean for the sum on the way back",
    "The gradients of the centre are too small by a factor of 2: both corners move as far as the centre, so the cotangents "
    "of the two are summed.",
    _back(_to_corners, lambda g: _to_corners_pulled(g) * np.array([0.5, 0.5, 1, 1], g.dtype)),
    gradient=True,
)


def _to_corners_pulled(g):
    return _to_corners(g)[1](g)[0]


box_xyxy_to_cxcywh.mistake(
    "the sum for the mean",
    "The centres are twice too far out: halve the sum of left and right.",
    lambda boxes: _to_centre(boxes)[0] * np.array([2, 2, 1, 1], boxes.dtype),
)
box_xyxy_to_cxcywh.mistake(
    "the corner for the centre",
    "Width and height are right, but the first two numbers are the upper left corner (the format of COCO's files). The "
    "centre is the mean of both corners.",
    lambda boxes: np.concatenate([boxes[..., :2], _extent(boxes)], axis=-1),
)
box_xyxy_to_cxcywh.mistake(
    "half of the size",
    "The centres are right, but width and height are half of what they should be: do not halve right minus left.",
    lambda boxes: _to_centre(boxes)[0] * np.array([1, 1, 0.5, 0.5], boxes.dtype),
)
box_xyxy_to_cxcywh.mistake(
    "half of the difference for the centre",
    "The first two numbers are half of the size. The centre is half of the sum of left and right.",
    lambda boxes: np.concatenate([_extent(boxes) / 2, _extent(boxes)], axis=-1),
)
box_xyxy_to_cxcywh.mistake(
    "left minus right",
    "Width and height are negative: take right minus left, bottom minus top.",
    lambda boxes: _to_centre(boxes)[0] * np.array([1, 1, -1, -1], boxes.dtype),
)
box_xyxy_to_cxcywh.mistake(
    "one pixel more",
    "Width and height are 1 too large. Coordinates are positions of edges, not numbers of pixels: the width is right - left.",
    lambda boxes: _to_centre(boxes)[0] + np.array([0, 0, 1, 1], boxes.dtype),
)
box_xyxy_to_cxcywh.mistake(
    "the half forgotten on the way back",
    "The part of the gradients that comes from the centre is twice too large: if a corner moves by 1, the centre moves by "
    "1/2.",
    _back(_to_centre, lambda g: _to_centre(g)[1](g * np.array([2, 2, 1, 1], g.dtype))[0]),
    gradient=True,
)
box_xyxy_to_cxcywh.mistake(
    "no sign on the way back",
    "The size grows with right and bottom, and shrinks when left and top grow: the gradients of left and top have a minus "
    "for the size.",
    _back(
        _to_centre,
        lambda g: np.concatenate([g[..., :2] / 2 + g[..., 2:], g[..., :2] / 2 + g[..., 2:]], axis=-1),
    ),
    gradient=True,
)
