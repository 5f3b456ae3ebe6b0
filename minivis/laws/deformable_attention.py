"""The laws of multi_scale_deformable_attention: a weighted sum of values read at a few points of several maps.

Not here: the layer that predicts points and weights.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals, numbers, pairs, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

SUM = r"y_{q,h} = \sum_{l,p} A_{q,h,l,p}\; v_{l,h}(z_{q,h,l,p})"
BILINEAR = r"v(z) = \sum_{u,v} v_{u,v} \max(0, 1 - |y - u|) \max(0, 1 - |x - v|)"
PLACE = r"x = z_x W - \tfrac12, \quad y = z_y H - \tfrac12"


def _place(z, side):
    """A location in [0, 1], from edge to edge, as a position in pixels, where pixel i has its centre at i."""
    return z * side - 0.5


def _hat(place, side):
    """The weight of each of ``side`` pixels at a position, (..., side), and its derivative."""
    away = place[..., None] - np.arange(side, dtype=place.dtype)
    inside = np.abs(away) < 1
    return np.maximum(0, 1 - np.abs(away)), -np.sign(away) * inside


def _maps(values, shapes):
    """Each map as (B, H, W, h, d), in turn."""
    end = 0
    for H, W in shapes:
        start = end
        end = end + H * W
        yield values[:, start:end].reshape(len(values), H, W, *values.shape[2:])


def _attend(values, shapes, locations, weights, place=_place, hat=_hat, maps=_maps):
    (B, Q, h) = locations.shape[:3]
    d = values.shape[3]
    out = np.zeros((B, Q, h, d), values.dtype)
    parts = []
    for level, (image, (H, W)) in enumerate(zip(maps(values, shapes), shapes, strict=True)):
        x, y = locations[:, :, :, level, :, 0], locations[:, :, :, level, :, 1]
        x = hat(place(x, W), W)
        y = hat(place(y, H), H)
        A = weights[:, :, :, level]
        out += np.einsum("bqhp,bqhpu,bqhpv,buvhd->bqhd", A, y[0], x[0], image)
        parts.append((A, y, x, image))

    def vjp(g):
        g = g.reshape(out.shape)
        g_values = []
        g_locations = []
        g_weights = []
        for (A, (y, y_slope), (x, x_slope), image), (H, W) in zip(parts, shapes, strict=True):
            g_image = np.einsum("bqhp,bqhpu,bqhpv,bqhd->buvhd", A, y, x, g)
            g_values.append(g_image.reshape(B, H * W, h, d))
            seen = np.einsum("buvhd,bqhd->bqhuv", image, g)
            share = "bqhpu,bqhpv,bqhuv->bqhp"
            g_weights.append(np.einsum(share, y, x, seen))
            g_x = np.einsum(share, y, x_slope, seen) * (A * W)
            g_y = np.einsum(share, y_slope, x, seen) * (A * H)
            g_locations.append(np.stack([g_x, g_y], axis=-1))
        return np.concatenate(g_values, 1), None, np.stack(g_locations, 3), np.stack(g_weights, 3)

    return out.reshape(B, Q, h * d), vjp


def _right(values, shapes, locations, weights):
    return _attend(values, shapes, locations, weights)


multi_scale_deformable_attention = Family(
    "multi_scale_deformable_attention",
    _right,
    ("values", "locations", "weights"),
    form="f(values, shapes, locations, weights); values (B, N, h, d) are the pixels of all maps, one map after another; "
    "shapes a list of (H, W); locations (B, Q, h, L, P, 2) are (x, y) in [0, 1]; weights (B, Q, h, L, P) -> (B, Q, h d)",
)
family = multi_scale_deformable_attention


def _case(draw, shapes, at, heads=1, width=1, weights=None, values=None, images=2):
    """A call with the given maps and locations (1, Q, h, L, P, 2); all images of the batch are equal."""
    if values is None:
        values = numbers(draw, (1, sum(H * W for H, W in shapes), heads, width))
    if weights is None:
        weights = np.full(at.shape[:-1], 1 / np.prod(at.shape[3:5]))
    arrays = {"values": values, "locations": at, "weights": weights}
    arrays = {name: np.concatenate([x] * images).astype(np.float32) for name, x in arrays.items()}
    return {"values": arrays.pop("values"), "shapes": shapes, **arrays}


def _chosen(draw, shape, options):
    """An array whose elements are drawn from ``options``."""
    return np.random.default_rng(integer(draw, 0, 60)).choice(np.asarray(options, np.float32), shape)


def _middle(*shape):
    return np.full((*shape, 2), 0.5)


# Each law has one of: points off the pixel centres, off the diagonal, off the map; several maps, heads, images, points


def _centres(draw):
    side = integer(draw, 2, 4)
    at = _chosen(draw, (1, integer(draw, 1, 3), 1, 1, 1, 2), (np.arange(side) + 0.5) / side)
    image = numbers(draw, (side, side))
    return _case(draw, [(side, side)], at, values=(image + image.T).reshape(1, -1, 1, 1))


def _between(draw):
    """The two ends of a line along x or y, between the pixel centres of a map of 2 x 2."""
    at = np.full((1, 2, 1, 1, 1, 2), choose(draw, 0.25, 0.375, 0.5, 0.75))
    at[0, :, 0, 0, 0, integer(draw, 0, 1)] = 0.25, 0.75
    image = numbers(draw, (1, 4, 1, 1)) + np.float32([0, 1, 3, 7])[:, None, None]
    return _case(draw, [(2, 2)], at, values=image)


def _stripes(draw):
    """A map that only changes along x, and points well inside it."""
    side = integer(draw, 3, 4)
    row = 4 * np.arange(side, dtype=np.float32) + numbers(draw, (side,))
    at = _chosen(draw, (1, 2, 1, 1, 1, 2), [0.35, 0.4, 0.6, 0.65])
    return _case(draw, [(side, side)], at, values=np.tile(row, side).reshape(1, -1, 1, 1))


def _outside(draw):
    at = _chosen(draw, (1, integer(draw, 1, 3), 1, 1, 1, 1), [-1, 2, 0.5, -40])
    return _case(
        draw, [(3, 3)], np.concatenate([at, at], axis=-1), values=1 + np.abs(numbers(draw, (1, 9, 1, 1)))
    )


def _several_maps(draw):
    sides = choose(draw, (3, 1), (1, 3), (5, 1, 3))
    return _case(draw, [(side, side) for side in sides], _middle(1, integer(draw, 1, 2), 1, len(sides), 1))


def _several_points(draw):
    points = integer(draw, 2, 3)
    weights = numbers(draw, (1, 1, 1, 1, points))
    return _case(draw, [(3, 3)], _middle(1, 1, 1, 1, points), weights=weights)


def _several_heads(draw):
    heads, width = integer(draw, 2, 3), integer(draw, 2, 3)
    return _case(draw, [(1, 1)], _middle(1, 1, heads, 1, 1), heads, width)


def _several_images(draw):
    case = _case(draw, [(3, 3)], _middle(1, 1, 1, 1, 1), images=integer(draw, 2, 3))
    return {**case, "values": numbers(draw, case["values"].shape)}


def _any(draw, low=1):
    B, Q, h, P, d = (integer(draw, low, 2) for _ in range(5))
    shapes = choose(draw, [(2, 3)], [(2, 3), (3, 1)], [(1, 2), (3, 2), (2, 2)])
    places = [0.15, 0.3, 0.45, 0.6, 0.85, 0.95, -0.1, 1.05]  # none at a kink of the weights
    at = _chosen(draw, (1, Q, h, len(shapes), P, 2), places)
    return _case(draw, shapes, at, h, d, numbers(draw, at.shape[:-1]) + np.float32(0.5), images=B)


def _plain(draw):
    return _any(draw, low=2)


def _anywhere(draw, low, high, shapes, B, Q, heads, points, width):
    """Any numbers, and locations between low and high."""
    places = B, Q, heads, len(shapes), points
    return {
        "values": normals(draw, (B, sum(H * W for H, W in shapes), heads, width)),
        "shapes": shapes,
        "locations": generator(draw).uniform(low, high, (*places, 2)).astype(np.float32),
        "weights": normals(draw, places),
    }


def _one_point(draw):
    """One map, one head, one point inside the map: the simplest form."""
    B, Q, width = sizes(draw, 3, 1, 3)
    return _anywhere(draw, 0, 1, [choose(draw, (2, 3), (3, 2), (4, 3))], B, Q, 1, 1, width)


def _anything(draw):
    shapes = [choose(draw, *pairs(1, 4)) for _ in range(integer(draw, 1, 3))]
    return _anywhere(draw, -0.4, 1.4, shapes, *sizes(draw, 5, 1, 3))


def _with(**parts):
    """A mutant that attends with other parts."""
    return lambda values, shapes, locations, weights: _attend(values, shapes, locations, weights, **parts)[0]


def _before(change):
    """A mutant that changes values, locations or weights and then attends rightly."""
    return lambda values, shapes, locations, weights: _right(*change(values, shapes, locations, weights))[0]


def _nearest(place, side):
    return (np.rint(place)[..., None] == np.arange(side)).astype(place.dtype), None


def _equal_maps(values, shapes):
    """Every map, read as if all maps before it had the same size."""
    for level, (H, W) in enumerate(shapes):
        start = min(level * H * W, values.shape[1] - H * W)
        yield values[:, start : start + H * W].reshape(len(values), H, W, *values.shape[2:])


def _softmax(values, shapes, locations, weights):
    flat = weights.reshape(*weights.shape[:3], -1)
    e = np.exp(flat - flat.max(axis=-1, keepdims=True))
    return values, shapes, locations, (e / e.sum(axis=-1, keepdims=True)).reshape(weights.shape)


def _first_only(right, args, options):
    out = right(*args, **options)[0]
    return out[0] if len(out) == 1 else out


def _interleaved(values, shapes, locations, weights):
    out = _right(values, shapes, locations, weights)[0]
    B, Q, _ = out.shape
    return out.reshape(B, Q, *values.shape[2:]).swapaxes(2, 3).reshape(out.shape)


family.agrees(
    "edge to edge",
    "Location 0 is the outer edge of the first pixel and 1 that of the last: pixel i has its centre at (i + 1/2) / W.",
    inputs=_centres,
    equation=PLACE,
    hint="Multiply by the side and subtract 1/2. z (W - 1) would put 0 and 1 on the centres of the outer pixels.",
    mutant=_with(place=lambda z, side: z * (side - 1)),
)


@family.law(
    "between pixels",
    inputs=_between,
    equation=BILINEAR,
    hint="Take the weighted mean of the four pixels around the point. The weight of a pixel is 1 minus its distance along x, "
    "times 1 minus its distance along y.",
    mutant=_with(hat=_nearest),
)
def between_pixels(f, case):
    """Between two pixels the value changes linearly: halfway along x or y it is the mean of both ends."""
    ends = f(case)
    at = case["locations"]
    middle = f(case.replace(locations=np.repeat(at.mean(axis=1, keepdims=True), 2, axis=1)))
    compare(middle[:, :1], ends.mean(axis=1, keepdims=True, dtype=np.float64))


@family.law(
    "x before y",
    inputs=_stripes,
    equation=PLACE,
    hint="A location is (x, y): column first, although arrays have the row first.",
    mutant=_before(lambda values, shapes, at, weights: (values, shapes, at[..., ::-1], weights)),
)
def x_before_y(f, case):
    """On a map that only changes along x, moving the points along y changes nothing."""
    level = case["locations"].copy()
    level[..., 1] = 0.5
    compare(f(case), f(case.replace(locations=level)).astype(np.float64))


family.agrees(
    "zeros outside",
    "Outside the map the values are 0.",
    inputs=_outside,
    equation=BILINEAR,
    hint="A point may lie outside the map. Give pixels that do not exist the weight 0; do not clamp the point to the border.",
    mutant=_with(place=lambda z, side: np.clip(_place(z, side), 0, side - 1)),
)
family.agrees(
    "one map after another",
    "The pixels of the maps lie one map after another: a map starts where the maps before it end.",
    inputs=_several_maps,
    equation=r"N = \sum_l H_l W_l",
    hint="The first pixel of map l is at the sum of H W of the maps before it, which have sizes of their own.",
    mutant=_with(maps=_equal_maps),
)
family.agrees(
    "weighted sum",
    "The output is the sum over all points of all maps, each value times its weight.",
    inputs=_several_points,
    equation=SUM,
    hint="Use the weights as they are given: no softmax, and no division by the number of points.",
    mutant=_before(_softmax),
)
family.agrees(
    "heads side by side",
    "Every head reads its own channels at its own points; the results are concatenated, head after head.",
    inputs=_several_heads,
    equation=r"y_q = [\,y_{q,1}, \dots, y_{q,h}\,]",
    hint="Reshape (B, Q, h, d) to (B, Q, h d), with the head before the channel.",
    mutant=_interleaved,
)


@family.law(
    "every image by itself",
    inputs=_several_images,
    equation=SUM,
    hint="Do queries of one image read another image? If you join the maps of all images in one array, image b starts at b N.",
    mutant=_before(lambda values, shapes, at, weights: (values[:1] + 0 * values, shapes, at, weights)),
)
def every_image_by_itself(f, case):
    """A query reads its own image alone; the other images of the batch have no influence."""
    together = f(case)
    for b in range(len(together)):
        alone = f(case.replace(values=case["values"][b] + 0 * case["values"]))
        compare(together[b], alone[b].astype(np.float64), what=f"The output of image {b}")


every_family(
    family,
    inputs=_plain,
    shapes=_any,
    wrong_shape=mutated(_right, _first_only),
    shape_hint="A batch of one image is a batch too: its axis stays.",
)


def _lost(right, args, options):
    """Pixels that are read several times get only one gradient, as with `a[index] += g`."""
    out, vjp = right(*args, **options)
    values, shapes, locations, weights = args
    first = weights * (np.arange(weights.shape[4]) == 0)
    return out, lambda g: (right(values, shapes, locations, first)[1](g)[0], *vjp(g)[1:])


def _in_pixels(right, args, options):
    out, vjp = right(*args, **options)
    sides = np.array([[W, H] for H, W in args[1]], args[2].dtype)[:, None]
    return out, lambda g: [p / sides if i == 2 else p for i, p in enumerate(vjp(g))]


def _through_a_softmax(right, args, options):
    out, vjp = right(*args, **options)

    def wrong(g):
        pulled = list(vjp(g))
        pulled[3] = pulled[3] - pulled[3].mean(axis=(3, 4), keepdims=True)
        return tuple(pulled)

    return out, wrong


gradients(
    family,
    inputs=_plain,
    equation={
        "values": r"\bar v_{l,h,u} = \sum_{q,p} A_{q,h,l,p}\, s_u(z_{q,h,l,p})\, g_{q,h}",
        "locations": r"\bar z_x = W A \sum_u \frac{\partial s_u}{\partial x} \langle v_u, g \rangle",
        "weights": r"\bar A_{q,h,l,p} = \langle v_{l,h}(z_{q,h,l,p}), g_{q,h} \rangle",
    },
    hints={
        "values": "Several points may read one pixel: add up their gradients. `a[index] += g` keeps one of them, np.add.at "
        "adds all.",
        "locations": "The weight of the pixel on the right grows with x, that of the pixel on the left falls. A location is a "
        "fraction of the map, so the derivative has a factor W along x and H along y.",
        "weights": "The gradient of a weight is the dot product of g and the value read at its point.",
    },
    mutants={
        "values": mutated(_right, _lost),
        "locations": mutated(_right, _in_pixels),
        "weights": mutated(_right, _through_a_softmax),
    },
)


# ---------------------------------------------------------------------------------------------------------------------
# The value laws, and wrong answers that are known by name


def _back(**parts):
    """Right forward; backward with other parts."""

    def answer(*args):
        return _right(*args)[0], _attend(*args, **parts)[1]

    return answer


def _pulled(change):
    """Right forward; ``change(pulled, args)`` are the cotangents of values, locations and weights."""

    def answer(*args):
        out, vjp = _right(*args)

        def wrong(g):
            d_values, _, d_locations, d_weights = vjp(g)
            d_values, d_locations, d_weights = change((d_values, d_locations, d_weights), args, g)
            return d_values, None, d_locations, d_weights

        return out, wrong

    return answer


def _turned_maps(values, shapes):
    """Each map with its height and width exchanged."""
    for image, (H, W) in zip(_maps(values, shapes), shapes, strict=True):
        yield image.reshape(len(image), W, H, *image.shape[3:]).swapaxes(1, 2)


def _last_map(values, shapes, locations, weights):
    last = np.arange(len(shapes)) == len(shapes) - 1
    return values, shapes, locations, weights * last[:, None]


values(
    family,
    simplest=_one_point,
    words="one map, one head, one point inside the map",
    anything=_anything,
    hint="The inputs have several maps that are not square, several heads with their own points, and points on the border "
    "and outside the map. Compute one point of one head by hand.",
    mutant=_before(lambda v, shapes, at, weights: (v, shapes, at[:, :, :1] + 0 * at, weights)),
)
for name, hint, answer in (
    (
        "0 and 1 on the centres of the outer pixels",
        "z (W - 1) puts 0 and 1 on the centres of the outer pixels. They are the outer edges: z W - 1/2.",
        _with(place=lambda z, side: z * (side - 1)),
    ),
    (
        "half a pixel forgotten",
        "z W is the distance from the edge of the map; the centre of the first pixel is 1/2 further: subtract 1/2.",
        _with(place=lambda z, side: z * side),
    ),
    (
        "y before x",
        "You exchanged x and y: a location is (x, y), column first; arrays have the row first.",
        _before(lambda v, shapes, at, weights: (v, shapes, at[..., ::-1], weights)),
    ),
    (
        "the nearest pixel",
        "You read the nearest pixel. Take the weighted mean of the four pixels around the point.",
        _with(hat=_nearest),
    ),
    (
        "points beyond the border moved onto it",
        "A point outside the map reads 0, not the border: do not move the point, and give pixels that do not exist the "
        "weight 0.",
        _with(place=lambda z, side: np.clip(_place(z, side), 0, side - 1)),
    ),
    (
        "a softmax of the weights",
        "Use the weights as they are given. The caller has already taken the softmax, if there is one.",
        _before(_softmax),
    ),
    (
        "the weights left out",
        "You sum the values of the points without their weights.",
        _before(lambda v, shapes, at, weights: (v, shapes, at, np.ones_like(weights))),
    ),
    (
        "the mean over the points",
        "The output is a weighted sum, not a mean: do not divide by the number of maps and points.",
        _before(lambda v, shapes, at, weights: (v, shapes, at, weights / np.prod(weights.shape[3:]))),
    ),
    (
        "only the last map",
        "Only the last map counts: do you use = for +=, or make a new output array for each map?",
        _before(_last_map),
    ),
    (
        "every map taken to be as large as the one at hand",
        "Map l does not start at l H W: the maps before it have other sizes. Add up their sizes.",
        _with(maps=_equal_maps),
    ),
    (
        "height and width of a map exchanged",
        "shapes holds (H, W), and the pixels lie row by row: reshape to (H, W), not to (W, H).",
        _with(maps=_turned_maps),
    ),
    (
        "channels before heads",
        "The channels of the heads are interleaved in the output: reshape (B, Q, h, d) to (B, Q, h d), head after head.",
        _interleaved,
    ),
    (
        "the first image for all",
        "All queries read the first image. The queries of image b must read image b.",
        _before(lambda v, shapes, at, weights: (v[:1] + 0 * v, shapes, at, weights)),
    ),
):
    family.mistake(name, hint, answer)
gradient_values(
    family,
    simplest=_one_point,
    words="one map, one head, one point inside the map",
    anything=_anything,
    hint="A point that lies more than a pixel outside the map reads 0, and the gradients of its location and weight are 0. "
    "If you clamp indices in the forward pass, treat the same points in the backward pass.",
    mutant=_back(place=lambda z, side: np.clip(_place(z, side), -0.99, side - 0.01)),
)
for name, hint, change in (
    (
        "the size of the map forgotten",
        "This is the gradient of a position in pixels. A location is in [0, 1], and a step of 1 is W pixels along x, H along "
        "y: multiply by W and H.",
        lambda pulled, args, g: (pulled[0], _in_pixels(_right, args, {})[1](g)[2], pulled[2]),
    ),
    (
        "x and y of the locations exchanged",
        "The two gradients of a location are exchanged: x comes first, as in the location itself.",
        lambda pulled, args, g: (pulled[0], pulled[1][..., ::-1], pulled[2]),
    ),
    (
        "repeated pixels counted once",
        "Several points may read one pixel, and each adds to its gradient. `a[index] += g` keeps one of them; np.add.at adds all.",
        lambda pulled, args, g: (_lost(_right, args, {})[1](g)[0], *pulled[1:]),
    ),
    (
        "the weights forgotten in the gradient of the values",
        "The forward pass multiplies each value by its weight: multiply g by the weight in the gradient of the pixels.",
        lambda pulled, args, g: (_unweighted(args, g)[0], *pulled[1:]),
    ),
    (
        "the weights forgotten in the gradient of the locations",
        "The forward pass multiplies each value by its weight: multiply g by the weight in the gradient of the location.",
        lambda pulled, args, g: (pulled[0], _unweighted(args, g)[2], pulled[2]),
    ),
    (
        "back through a softmax that was not taken",
        "The gradient of a weight is the dot product of g and the value read at its point: there is no softmax here.",
        lambda pulled, args, g: (*pulled[:2], _through_a_softmax(_right, args, {})[1](g)[3]),
    ),
):
    family.mistake(name, hint, _pulled(change), gradient=True)


def _unweighted(args, g):
    return _right(*args[:3], np.ones_like(args[3]))[1](g)
