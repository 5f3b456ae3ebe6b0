"""The laws of roi_pool, roi_align and spp: a region of a feature map brought to a fixed size.

Not here: adaptive sampling, which a learner's RoIAlign need not have; where regions come from (anchors.py).
"""

import math

import numpy as np

from minivis.laws.conv_mistakes import both, changed, swapped
from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, distinct, generator, integer, normals, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

POOL = r"y_{r,c,i,j} = \max_{(u,v) \in \text{bin } (i,j)} x_{b_r,c,u,v}"
BINS = r"\lfloor i H_r / h \rfloor \le u < \lceil (i + 1) H_r / h \rceil"
MEAN = r"y_{r,c,i,j} = \frac1n \sum_{s} x_{b_r,c}(q_s)"
POOL_SLIDE, ALIGN_SLIDE = "C/52-fast-rcnn", "C/57-roi-align"


# ---------------------------------------------------------------------------------------------------------------------
# roi_pool


def _half_away(x):
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def _bins(low, high, bins, length, scale):
    """First cell of each bin along one axis, and the one after its last."""
    start = _half_away(low * scale)
    cells = max(_half_away(high * scale) - start + 1, 1)
    edges = [(start + i * cells // bins, start - (-(i + 1) * cells // bins)) for i in range(bins)]
    return [(min(max(first, 0), length), min(max(end, 0), length)) for first, end in edges]


def _pooled(features, rois, size, scale, edges=_bins, reduce=None, image=int):
    """`_roi_pool` with other steps: for each bin its rows and columns, and what is kept of it."""
    h, w = both(size)
    H, W = features.shape[2:]
    out = np.zeros((len(rois), features.shape[1], h, w), features.dtype)
    found = []  # a bin that is not empty: region, row, column, picture, its cells
    for r, (b, left, top, right, bottom) in enumerate(rois.tolist()):
        rows = edges(top, bottom, h, H, scale)
        columns = edges(left, right, w, W, scale)
        for i, (first, end) in enumerate(rows):
            for j, (start, stop) in enumerate(columns):
                if first < end and start < stop:
                    cells = features[image(b), :, first:end, start:stop]
                    out[r, :, i, j] = (reduce or np.max)(cells, axis=(1, 2))
                    found.append((r, i, j, image(b), first, start, cells))
    return out, found


def _roi_pool(features, rois, size, scale):
    out, found = _pooled(features, rois, size, scale)

    def vjp(g):
        d = np.zeros(features.shape, g.dtype)
        for r, i, j, b, first, start, cells in found:
            for c, plane in enumerate(cells):
                u, v = divmod(int(plane.argmax()), plane.shape[1])
                d[b, c, first + u, start + v] += g[r, c, i, j]
        return (d,)

    return out, vjp


roi_pool = Family(
    "roi_pool",
    _roi_pool,
    ("features",),
    form="f(features, rois, size, scale) -> (R, C, h, w); features (B, C, H, W); rois (R, 5): index of the picture, left, "
    "top, right, bottom in pixels of the picture; size is a number of bins or (rows, columns); scale: cells for each pixel. "
    "Corners times scale are rounded, halves away from 0, and both belong to the region; bin i of h has the rows "
    "floor(i n / h) to ceil((i + 1) n / h) - 1 of n; outside the map is nothing, and a bin of nothing is 0",
)


def _regions(*rows):
    return np.array(rows, np.float32).reshape(-1, 5)


def _map(draw, images=1, channels=2, rows=6, columns=7):
    return distinct(draw, (images, channels, rows, columns))


def _one_bin(draw):
    left, top = integer(draw, 0, 3), integer(draw, 0, 2)
    box = [0, left, top, left + integer(draw, 1, 3), top + integer(draw, 1, 3)]
    return {"features": _map(draw), "rois": _regions(box, [0, 1, 0, 2, 2]), "size": 1, "scale": 1.0}


def _even(draw):
    """Regions that bins divide, of whole cells, inside the map."""
    left, top = integer(draw, 0, 3), integer(draw, 0, 2)
    rois = _regions([0, left, top, left + 3, top + 3], [0, 1, 0, 2, 3])
    return {"features": _map(draw), "rois": rois, "size": 2, "scale": 1.0}


def _halves(draw):
    """Corners halfway between two cells, that are rounded to regions of 4 x 4 cells."""
    left, top = choose(draw, 0.5, 2.5), choose(draw, 0.5, 1.0)
    rois = _regions([0, left, top, left + 3, 3.75 if top == 1 else 3.5], [0, 0, 0.5, 3, 3.5])
    return {"features": _map(draw), "rois": rois, "size": 2, "scale": 1.0}


def _scaled(draw):
    case = _even(draw)
    stride = choose(draw, 2, 4)
    rois = case["rois"] * np.array([1, stride, stride, stride, stride], np.float32)
    return {**case, "rois": rois, "scale": 1 / stride}


def _odd(draw):
    """Regions of 3 or 5 cells in 2 bins, or of 4 in 3."""
    cells, bins = choose(draw, (3, 2), (5, 2), (4, 3))
    top = integer(draw, 0, 6 - cells)
    rois = _regions(*2 * [[0, top, top, top + cells - 1, top + cells - 1]])
    return {"features": _map(draw), "rois": rois, "size": bins, "scale": 1.0}


def _outside(draw):
    """Regions of 4 x 4 cells of which some lie outside, beside one of the four borders or beyond it."""
    left, top = choose(draw, (-2, 1), (5, 1), (1, -2), (1, 4), (-4, 0), (7, 0), (-3, -1))
    rois = _regions([0, left, top, left + 3, top + 3], [0, 5, 4, 8, 7])
    return {"features": _map(draw) - np.float32(40), "rois": rois, "size": 2, "scale": 1.0}


def _several_pictures(draw):
    case = _even(draw)
    rois = np.concatenate([case["rois"], case["rois"]])
    rois[:, 0] = choose(draw, [1, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0])
    return {**case, "features": _map(draw, images=2), "rois": rois}


def _plain_pool(draw):
    return _even(draw)


def _numbers_of_regions(draw):
    case = _even(draw)
    return {**case, "rois": case["rois"][: integer(draw, 0, 2)]}


def _equal(draw):
    """Maps in which many cells are equal, under regions side by side whose bins share no cells."""
    features = numbers(draw, (1, 2, 4, 8)) // 3
    return {"features": features, "rois": _regions([0, 0, 0, 3, 3], [0, 4, 0, 7, 3]), "size": 2, "scale": 1.0}


def _anywhere(draw, images, count, reach):
    """Any regions, of which some lie outside; coordinates are quarters, so that rounding does not depend on digits."""
    rng = generator(draw)
    low = rng.integers(-reach, 4 * reach, (count, 2)) / 4
    boxes = np.concatenate([low, low + rng.integers(0, 4 * reach, (count, 2)) / 4], axis=1)
    return np.concatenate([rng.integers(0, images, (count, 1)), boxes], axis=1).astype(np.float32)


def _any_pool(draw, permuted=False):
    images, channels = integer(draw, 1, 2), integer(draw, 1, 2)
    shape = (images, channels, integer(draw, 1, 7), integer(draw, 1, 7))
    scale = choose(draw, 1.0, 0.5, 0.25)
    rois = _anywhere(draw, images, integer(draw, 1, 3), int(6 / scale))
    size = choose(draw, 1, 2, 3, (1, 2), (3, 2), (2, 4))
    if not permuted:
        return {"features": normals(draw, shape) - np.float32(choose(draw, 0, 3)), "rois": rois, "size": size, "scale": scale}  # fmt: skip
    order = generator(draw).permutation(math.prod(shape)) - 10.0
    return {"features": order.reshape(shape).astype(np.float32), "rois": rois, "size": size, "scale": scale}


def _any_pool_without_ties(draw):
    return _any_pool(draw, permuted=True)


def _simple_pool(draw):
    """The whole map in 2 x 2 bins."""
    H, W = 2 * integer(draw, 1, 3), 2 * integer(draw, 1, 3)
    order = generator(draw).permutation(H * W).reshape(1, 1, H, W) - 10.0
    return {"features": order.astype(np.float32), "rois": _regions([0, 0, 0, W - 1, H - 1]), "size": 2, "scale": 1.0}  # fmt: skip


def _pool_with(**steps):
    return lambda features, rois, size, scale: _pooled(features, rois, size, scale, **steps)[0]


def _edges(rounded=_half_away, last=1, down=False, clipped=False, late=False):
    """`_bins` with other steps."""

    def edges(low, high, bins, length, scale):
        start, end = rounded(low * scale), rounded(high * scale)
        if clipped:
            start, end = (min(max(n, 0), length - 1) for n in (start, end))
        cells = max(end - start + last, 1)
        first = [start + (-(-i * cells // bins) if late else i * cells // bins) for i in range(bins)]
        after = [
            start + ((i + 1) * cells // bins if down else -(-(i + 1) * cells // bins)) for i in range(bins)
        ]
        return np.clip(np.stack([first, after], axis=1), 0, length)

    return edges


def _without_the_last(features, rois, size, scale):
    """The lower right corner does not belong to the region."""
    return _pooled(features, rois, size, scale, edges=_edges(last=0))[0]


def _only_if(condition, wrong, right):
    """A mutant that is wrong for some calls only."""
    return lambda *args, **options: (wrong if condition(*args, **options) else right)(*args, **options)


def _right_pool(*args):
    return _roi_pool(*args)[0]


roi_pool.agrees(
    "one bin",
    "With one bin the result is the largest element of the region; both corners belong to it.",
    inputs=_one_bin,
    equation=POOL,
    slide=POOL_SLIDE,
    hint="From cell 1 to cell 3 there are 3 cells, not 2: a slice ends one after the last.",
    mutant=_only_if(lambda features, rois, size, scale: size == 1, _without_the_last, _right_pool),
)
roi_pool.agrees(
    "halves away from zero",
    "A corner halfway between two cells is rounded away from 0: 2.5 becomes 3.",
    inputs=_halves,
    equation=r"\operatorname{sign}(x) \lfloor |x| + \tfrac12 \rfloor",
    hint="np.round and round take halves to the even number, 2.5 to 2; the published code takes them to 3.",
    mutant=_pool_with(edges=_edges(rounded=round)),
)
roi_pool.agrees(
    "scale",
    "Regions are given in pixels of the picture; scale says how many cells a pixel has.",
    inputs=_scaled,
    equation=POOL,
    slide=POOL_SLIDE,
    hint="Multiply the corners by scale before you round them.",
    mutant=_only_if(
        lambda features, rois, size, scale: scale != 1,
        lambda features, rois, size, scale: _right_pool(features, rois, size, 1.0),
        _right_pool,
    ),
)
roi_pool.agrees(
    "bins overlap",
    "Where bins do not divide the region, neighbouring bins share cells: 3 cells in 2 bins are 0 1 and 1 2.",
    inputs=_odd,
    equation=BINS,
    slide=POOL_SLIDE,
    hint="A bin begins at floor(i n / h) and ends before ceil((i + 1) n / h): round the start down and the end up.",
    mutant=_pool_with(edges=_edges(down=True)),
)
roi_pool.agrees(
    "outside the map",
    "Cells outside the map do not count, and a bin without any cell is 0.",
    inputs=_outside,
    equation=POOL,
    hint="Cut the region into bins first, and clip each bin to the map then. The maximum of nothing is an error: make it 0.",
    mutant=_pool_with(edges=_edges(clipped=True)),
)


@roi_pool.law(
    "the picture of the region",
    value=True,
    inputs=_several_pictures,
    equation=r"b_r = \mathrm{rois}_{r,0}",
    hint="The first number of a region is the index of its picture, as a floating-point number: make it an int.",
    mutant=_pool_with(image=lambda b: 0),
)
def _of_its_picture(f, case):
    """A region is cut out of the picture that its first number names, and the order of regions does not matter."""
    roi_pool.same(f, case, 2e-5)
    turned = f(case.replace(rois=case["rois"][::-1].copy()))
    compare(turned[::-1], f(case).astype(np.float64), what="The result for the regions in reverse order")


def _without_its_axis(right):
    """A mutant: a single region loses its axis."""
    return mutated(
        right, lambda right, a, o: (lambda out: out[0] if len(out) == 1 else out)(right(*a, **o)[0])
    )


ONE_REGION = "One region, or none, still has an axis: the result is (R, C, h, w) for every R."
every_family(
    roi_pool,
    inputs=_plain_pool,
    shapes=_numbers_of_regions,
    wrong_shape=_without_its_axis(_roi_pool),
    shape_hint=ONE_REGION,
)


def _last_of_overlapping(g, pulled, args, options):
    """A cell that is the largest of several bins gets the g of the last one only."""
    features, rois, size, scale = args
    d = np.zeros_like(features)
    for r in range(len(rois)):
        for i, j in np.ndindex(g.shape[2:]):
            one = np.zeros_like(g)
            one[r, :, i, j] = 1
            (won,) = _roi_pool(*args)[1](one)
            b = int(rois[r, 0])
            d[b] = np.where(won[b] != 0, g[r, :, i, j, None, None], d[b])
    return (d,)


def _to_the_corner(g, pulled, args, options):
    """The g of an empty bin is given to the first cell of the picture."""
    d = pulled[0].copy()
    full = {where[:3] for where in _pooled(*args)[1]}
    for r, b in enumerate(args[1][:, 0]):
        for i, j in np.ndindex(g.shape[2:]):
            if (r, i, j) not in full:
                d[int(b), :, 0, 0] += g[r, :, i, j]
    return (d,)


def _shared_by(share):
    """Right forward; backward, each bin's g is given to its cells: ``share(plane)`` is the share of each."""

    def change(g, pulled, args, options):
        d = np.zeros_like(args[0])
        for r, i, j, b, first, start, cells in _pooled(*args)[1]:
            for c, plane in enumerate(cells):
                rows, columns = plane.shape
                d[b, c, first : first + rows, start : start + columns] += g[r, c, i, j] * share(plane)
        return (d,)

    return backward(_roi_pool, change)


@roi_pool.law(
    "one of equals",
    inputs=_equal,
    gradient=True,
    equation=r"\sum \bar x = \sum_{\text{bins that are not empty}} g",
    slide=POOL_SLIDE,
    hint="`cells == cells.max()` is True for each of several equal cells. argmax gives one of them.",
    mutant=_shared_by(lambda plane: (plane == plane.max()).astype(plane.dtype)),
)
def _mass(f, case):
    """If several cells of a bin are equally large, one of them gets g: the gradient's sum is that of g."""
    exact = case.copy(np.float64)
    g = np.arange(1.0, f.right(exact).size + 1).reshape(f.right(exact).shape)
    got = f.pull(exact, g.copy())["features"]
    if not math.isclose(got.sum(), g.sum(), rel_tol=1e-9):
        raise Broken(f"The gradient sums to {got.sum():g}; the sum of g is {g.sum():g}.", got=got)


gradients(
    roi_pool,
    inputs=_several_pictures,
    slide=POOL_SLIDE,
    equation={"features": r"\bar x_p = \sum_{\text{bins won by } p} g"},
    hints={
        "features": "Only the largest cell of a bin gets its g; a cell that is the largest of several bins, also of different "
        "regions, gets the sum."
    },
    mutants={"features": backward(_roi_pool, _last_of_overlapping)},
)
gradient_values(
    roi_pool,
    simplest=_simple_pool,
    words="the whole map in 2 x 2 bins",
    anything=_any_pool_without_ties,
    hint="Regions may lie partly outside, and bins overlap. An empty bin has no largest cell: its g is lost.",
    mutant=backward(_roi_pool, _to_the_corner),
)
values(
    roi_pool,
    simplest=_simple_pool,
    words="the whole map in 2 x 2 bins",
    anything=_any_pool,
    hint="The regions lie anywhere, also outside, have corners between the cells, and sizes of (rows, columns). The first "
    "number of size is for the rows.",
    mutant=mutated(
        _roi_pool,
        lambda right, a, o: (
            right(a[0], a[1], swapped(a[2]), a[3])[0].swapaxes(2, 3)
            if both(a[2])[0] != both(a[2])[1]
            else right(*a)[0]
        ),
    ),
)
for name, hint, answer in (
    (
        "the last row and column left out",
        "The lower right corner belongs to the region: it is end - start + 1 cells wide.",
        _without_the_last,
    ),
    (
        "the mean of a bin",
        "This is the mean of each bin: take the largest element.",
        _pool_with(reduce=np.mean),
    ),
    (
        "bins side by side",
        "Bins do not share cells here: the end of a bin is rounded up, ceil((i + 1) n / h).",
        _pool_with(edges=_edges(down=True)),
    ),
    (
        "halves to the even number",
        "np.round takes 2.5 to 2. Round halves away from zero: floor(x + 1/2) for x >= 0.",
        _pool_with(edges=_edges(rounded=round)),
    ),
    (
        "corners rounded down",
        "The corners are rounded down: int() and // cut off. Round to the nearest cell.",
        _pool_with(edges=_edges(rounded=math.floor)),
    ),
    (
        "the region clipped first",
        "You clip the region to the map and then cut it into bins. Cut first, so that bins outside stay empty.",
        _pool_with(edges=_edges(clipped=True)),
    ),
    (
        "always the first picture",
        "All regions are cut out of the first picture. The first number of a region is the index of its picture.",
        _pool_with(image=lambda b: 0),
    ),
    (
        "x and y exchanged",
        "left and right are columns, top and bottom rows: x goes along the last axis of the map.",
        lambda features, rois, size, scale: _right_pool(features, rois[:, [0, 2, 1, 4, 3]], size, scale),
    ),
    (
        "scale forgotten",
        "Regions are in pixels of the picture: multiply the corners by scale.",
        lambda features, rois, size, scale: _right_pool(features, rois, size, 1.0),
    ),
):
    roi_pool.mistake(name, hint, answer)
for name, hint, answer in (
    (
        "to all cells of a bin",
        "Every cell of a bin gets its g. Only the largest does: a small change of the others has no effect.",
        _shared_by(np.ones_like),
    ),
    (
        "spread evenly",
        "You spread g over the whole bin, as for a mean. The largest cell gets all of it.",
        _shared_by(lambda plane: np.full_like(plane, 1 / plane.size)),
    ),
    (
        "= for += where bins overlap",
        "A cell may be the largest of several bins and regions: add the gradients up, += and not =.",
        backward(_roi_pool, _last_of_overlapping),
    ),
):
    roi_pool.mistake(name, hint, answer, gradient=True)


# ---------------------------------------------------------------------------------------------------------------------
# roi_align


def _places(low, high, bins, scale, sampling, aligned):
    """Where one region is sampled along one axis, (bins * sampling,), in cells from the middle of the first one."""
    start = low * scale
    side = (high - low) * scale
    if aligned:
        start = start - 0.5
    else:
        side = max(side, 1.0)
    return start + (np.arange(bins * sampling) + 0.5) * side / (bins * sampling)


def _hats(place, length):
    """The weights of the cells at each place, (places, length)."""
    inside = (place >= -1) & (place <= length)
    place = np.clip(place, 0, length - 1)
    return np.maximum(0, 1 - abs(place[:, None] - np.arange(length))) * inside[:, None]


def _read(features, rois, size, scale, sampling, aligned, places=_places, hats=_hats, image=int, reduce=None):
    """The matrices of each region, and what they read: `_roi_align` with other steps."""
    h, w = both(size)
    H, W = features.shape[2:]
    out = np.zeros((len(rois), features.shape[1], h, w), features.dtype)
    matrices = []
    for r, (b, left, top, right, bottom) in enumerate(rois.tolist()):
        rows = hats(places(top, bottom, h, scale, sampling, aligned), H)
        columns = hats(places(left, right, w, scale, sampling, aligned), W)
        samples = rows @ features[image(b)] @ columns.T  # (C, h * sampling, w * sampling)
        out[r] = (reduce or np.mean)(samples.reshape(-1, h, sampling, w, sampling), axis=(2, 4))
        matrices.append((image(b), rows, columns))
    return out, matrices


def _roi_align(features, rois, size, scale, sampling=2, aligned=True):
    out, matrices = _read(features, rois, size, scale, sampling, aligned)

    def vjp(g):
        d = np.zeros(features.shape, g.dtype)
        share = g / sampling**2
        for (b, rows, columns), part in zip(matrices, share, strict=True):
            part = part.repeat(sampling, axis=1).repeat(sampling, axis=2)
            d[b] += rows.T @ part @ columns
        return (d,)

    return out, vjp


roi_align = Family(
    "roi_align",
    _roi_align,
    ("features",),
    form="f(features, rois, size, scale, sampling=2, aligned=True) -> (R, C, h, w); features (B, C, H, W); rois (R, 5): index "
    "of the picture, left, top, right, bottom in pixels of the picture; size is a number of bins or (rows, columns); scale: "
    "cells for each pixel. A bin is the mean of sampling x sampling points in the middles of its parts, read by bilinear "
    "interpolation. aligned=True: cell i has its middle at i + 1/2; False: at i, and a region is at least 1 cell wide and "
    "high. Points up to 1 cell outside the outermost middles count as on them, points farther out as 0",
)

# In most laws bins are as large as their samples need to lie on the middles of cells; one thing differs in each


def _cells(draw, left=None, top=None, sampling=1, size=(3, 2)):
    """A region whose samples are the middles of cells."""
    left = integer(draw, 0, 3) if left is None else left
    top = integer(draw, 0, 2) if top is None else top
    h, w = size
    rois = _regions([0, left, top, left + w * sampling, top + h * sampling], [0, 1, 1, 1 + w * sampling, 1 + h * sampling])  # fmt: skip
    return {"features": _map(draw), "rois": rois, "size": size, "scale": 1.0, "sampling": sampling}


def _crop(draw):
    return _cells(draw)


def _between(draw):
    """A map that is a plane, and a region inside it whose samples lie between the cells."""
    y, x = np.mgrid[:8, :9]
    up, over = choose(draw, (1, 0), (0, 1), (2, -1), (-1, 3))
    plane = (up * y + over * x + integer(draw, 0, 3)).astype(np.float32)
    left, top = 0.75 + integer(draw, 0, 2), 1.25 + integer(draw, 0, 2)
    rois = _regions([0, left, top, left + 4.5, top + 3.75], [0, 1, 1, 7.25, 6.5])
    return {
        "features": plane[None, None],
        "rois": rois,
        "size": (2, 3),
        "scale": 1.0,
        "sampling": 1,
    }


def _not_aligned(draw):
    """Samples on the middles of cells when the middle of a cell is a whole number."""
    case = _cells(draw, left=integer(draw, 0, 2) + 0.5, top=integer(draw, 0, 1) + 0.5)
    return {**case, "rois": case["rois"][[0, 0]], "aligned": False}


def _without_area(draw):
    x, y = integer(draw, 0, 5) + 0.5, integer(draw, 0, 4) + 0.5
    return {**_cells(draw), "rois": _regions([0, x, y, x, y], [0, 1.5, y, 1.5, y]), "size": 2}


def _several_samples(draw):
    sampling = choose(draw, 2, 3)
    left = integer(draw, 0, 3)
    rois = _regions([0, 0, 0, sampling, 2 * sampling], [0, left, 0, left + sampling, 2 * sampling])
    return {"features": _map(draw), "rois": rois, "size": (2, 1), "scale": 1.0, "sampling": sampling}


def _beside(draw):
    """One column or row of samples beyond a border, by less or by more than a cell."""
    x = choose(draw, -0.25, -1.25, -2.25, 6.25, 7.25, -0.75)
    y = choose(draw, -0.25, -1.25, -2.25, 5.25, 6.25, -0.75)
    case = {"features": _map(draw) + np.float32(50), "scale": 1.0, "sampling": 1}
    if choose(draw, True, False):
        return {**case, "rois": _regions([0, x, 1, x + 1, 4], [0, 2, 1, 3, 4]), "size": (3, 1)}
    return {**case, "rois": _regions([0, 2, y, 5, y + 1], [0, 2, 1, 5, 2]), "size": (1, 3)}


def _scaled_cells(draw):
    case = _cells(draw)
    stride = choose(draw, 2, 4, 16)
    rois = case["rois"] * np.array([1, stride, stride, stride, stride], np.float32)
    return {**case, "rois": rois, "scale": 1 / stride}


def _of_several_pictures(draw):
    case = _cells(draw)
    rois = np.concatenate([case["rois"], case["rois"]])
    rois[:, 0] = choose(draw, [1, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0])
    return {**case, "features": _map(draw, images=2), "rois": rois}


def _numbers_of_cells(draw):
    case = _cells(draw)
    return {**case, "rois": case["rois"][: integer(draw, 0, 2)]}


def _any_regions(draw):
    """Anything; no sample lies where float32 decides whether it is outside."""
    rng = generator(draw)
    images = integer(draw, 1, 2)
    shape = (images, integer(draw, 1, 2), integer(draw, 1, 7), integer(draw, 1, 7))
    scale = choose(draw, 1.0, 0.5, 0.25)
    count = integer(draw, 1, 3)
    low = rng.uniform(-3, 7, (count, 2))
    boxes = (
        np.concatenate([low, low + rng.uniform(0, choose(draw, 1, 8), (count, 2))], axis=1).round(2) + 0.0013
    )
    case = {
        "features": rng.normal(size=shape).round(2).astype(np.float32),
        "rois": np.concatenate([rng.integers(0, images, (count, 1)), boxes / scale], axis=1).astype(
            np.float32
        ),
        "size": choose(draw, 1, 2, 3, (1, 2), (3, 2)),
        "scale": scale,
    }
    if choose(draw, True, True, False):
        case["sampling"] = integer(draw, 1, 3)
    if choose(draw, True, False):
        case["aligned"] = choose(draw, False, False, True)
    return case if _is_clear(**case) else _any_regions(draw)


def _is_clear(features, rois, size, scale, sampling=2, aligned=True):
    """Whether all samples are at least 0.001 cells from the ends of the map's reach."""
    for _, left, top, right, bottom in rois.tolist():
        for low, high, bins, length in zip(
            (top, left), (bottom, right), both(size), features.shape[2:], strict=True
        ):
            place = _places(low, high, bins, scale, sampling, aligned)
            if min(abs(place + 1).min(), abs(place - length).min()) < 1e-3:
                return False
    return True


def _simple_regions(draw):
    """One region inside the map, one bin, one sample."""
    rng = generator(draw)
    low = rng.uniform(1, 3, 2)
    box = np.concatenate([low, low + rng.uniform(0.5, 2, 2)]).round(2)
    features = rng.normal(size=(1, 1, 6, 6)).round(2).astype(np.float32)
    return {"features": features, "rois": _regions([0, *box]), "size": 1, "scale": 1.0, "sampling": 1}


def _align_with(**steps):
    return lambda features, rois, size, scale, sampling=2, aligned=True: _read(
        features, rois, size, scale, sampling, aligned, **steps
    )[0]


def _nearest(place, length):
    inside = (place >= -1) & (place <= length)
    return _hats(np.floor(np.clip(place, 0, length - 1) + 0.5), length) * inside[:, None]


def _zeros_outside(place, length):
    return np.maximum(0, 1 - abs(place[:, None] - np.arange(length)))


def _border_repeated(place, length):
    return _hats(np.clip(place, 0, length - 1), length)


def _at_the_edges(low, high, bins, scale, sampling, aligned):
    """Samples at the beginnings of the parts of a bin, not in their middles."""
    return _places(low, high, bins, scale, sampling, aligned) - (high - low) * scale / (2 * bins * sampling)


def _at_least_one_cell(low, high, bins, scale, sampling, aligned):
    return _places(low, max(high, low + 1 / scale), bins, scale, sampling, aligned)


def _any_width(low, high, bins, scale, sampling, aligned):
    return _places(low, high, bins, scale, sampling, True) + (0 if aligned else 0.5)


def _rounded_corners(low, high, bins, scale, sampling, aligned):
    return _places(
        math.floor(low * scale + 0.5), math.floor(high * scale + 0.5), bins, 1.0, sampling, aligned
    )


def _on_the_arguments(change):
    return mutated(_roi_align, lambda right, a, o: right(*change(a), **o)[0])


@roi_align.law(
    "exact on planes",
    value=True,
    inputs=_between,
    equation=r"x_{u,v} = a + b u + c v \;\Rightarrow\; y_{i,j} = a + b\, q_y + c\, q_x",
    slide=ALIGN_SLIDE,
    hint="A sample between the cells is a weighted mean of the four around it, the nearer the heavier: no rounding anywhere.",
    mutant=_align_with(hats=_nearest),
)
def _planes(f, case):
    """On a map that rises evenly, each bin has the map's value at its middle, also between the cells."""
    roi_align.same(f, case, 2e-5)


roi_align.agrees(
    "half a cell further",
    "With aligned=False the middle of cell i is at i, not at i + 1/2: everything is read half a cell further.",
    inputs=_not_aligned,
    equation=r"q = x\, s - \tfrac12 \;\text{ or }\; q = x\, s",
    slide=ALIGN_SLIDE,
    hint="aligned=True subtracts 1/2 from the scaled corners; aligned=False subtracts nothing.",
    mutant=mutated(_roi_align, changed(aligned=lambda aligned: True)),
)
roi_align.agrees(
    "a region without area",
    "With aligned=True a region may be smaller than a cell: without area it is a point.",
    inputs=_without_area,
    slide=ALIGN_SLIDE,
    hint="The smallest width of one cell is for aligned=False alone.",
    mutant=_align_with(places=_at_least_one_cell),
)
roi_align.agrees(
    "the mean of its samples",
    "A bin is the mean of sampling x sampling samples.",
    inputs=_several_samples,
    equation=MEAN,
    slide=ALIGN_SLIDE,
    hint="Divide the sum by the number of samples, sampling * sampling. It is the mean, not the largest.",
    mutant=_align_with(reduce=np.max),
)
roi_align.agrees(
    "beyond the border",
    "A sample up to one cell beyond the outermost middles counts as on them; farther out it is 0.",
    inputs=_beside,
    hint="First see whether the sample is in [-1, H] and [-1, W]; if it is, clip it to the outermost cells.",
    mutant=_align_with(hats=_border_repeated),
)
roi_align.agrees(
    "scale",
    "Regions are given in pixels of the picture; scale says how many cells a pixel has.",
    inputs=_scaled_cells,
    equation=r"q = x\, s - \tfrac12",
    slide=ALIGN_SLIDE,
    hint="Multiply the corners by scale, and only then subtract 1/2, which is half a cell.",
    mutant=_only_if(
        lambda features, rois, size, scale, **o: scale != 1,
        _on_the_arguments(
            lambda a: (
                a[0],
                a[1] - np.array([0, 0.5, 0.5, 0.5, 0.5], np.float32) * np.float32(1 - a[3]),
                *a[2:],
            )
        ),
        lambda *args, **options: _roi_align(*args, **options)[0],
    ),
)


@roi_align.law(
    "the picture of the region",
    value=True,
    inputs=_of_several_pictures,
    equation=r"b_r = \mathrm{rois}_{r,0}",
    hint="The first number of a region is the index of its picture, as a floating-point number: make it an int.",
    mutant=_align_with(image=lambda b: 0),
)
def _read_in_its_picture(f, case):
    """A region is read in the picture that its first number names."""
    roi_align.same(f, case, 2e-5)


every_family(
    roi_align,
    inputs=_crop,
    shapes=_numbers_of_cells,
    wrong_shape=_without_its_axis(_roi_align),
    shape_hint=ONE_REGION,
)


def _last_region(g, pulled, args, options):
    """= for +=: a cell has the gradient of the last region that reads it."""
    d = np.zeros_like(pulled[0])
    for r in range(len(args[1])):
        one = np.zeros_like(g)
        one[r] = g[r]
        (part,) = _roi_align(*args, **options)[1](one)
        d = np.where(part != 0, part, d)
    return (d,)


def _undivided(g, pulled, args, options):
    return (pulled[0] * options.get("sampling", 2) ** 2,)


def _to_the_nearest(g, pulled, args, options):
    """Each sample's g given to the nearest cell."""
    settings = options.get("sampling", 2), options.get("aligned", True)
    matrices = _read(*args, *settings, hats=_nearest)[1]
    d = np.zeros_like(pulled[0])
    for (b, rows, columns), part in zip(matrices, g / settings[0] ** 2, strict=True):
        d[b] += rows.T @ part.repeat(settings[0], axis=1).repeat(settings[0], axis=2) @ columns
    return (d,)


gradients(
    roi_align,
    inputs=_of_several_pictures,
    slide=ALIGN_SLIDE,
    equation={"features": r"\bar x_{u,v} = \sum_{r,i,j,s} \tfrac1n\, w_{s}(u, v)\, g_{r,i,j}"},
    hints={
        "features": "Each cell gets g times the weight with which it was read, summed over all samples, bins and regions."
    },
    mutants={"features": backward(_roi_align, _last_region)},
)
gradient_values(
    roi_align,
    simplest=_simple_regions,
    words="one region, one bin, one sample",
    anything=_any_regions,
    hint="Take the weights of the forward pass, also at the border and with several samples: the sum of all gradients is the "
    "sum of g, less what was read outside the map.",
    mutant=backward(
        _roi_align,
        lambda g, pulled, args, options: (
            _undivided(g, pulled, args, options) if options.get("sampling", 2) == 3 else pulled
        ),
    ),
)
values(
    roi_align,
    simplest=_simple_regions,
    words="one region inside the map, one bin, one sample",
    anything=_any_regions,
    hint="The regions lie anywhere, also partly outside the map, with any number of samples, aligned or not, and sizes of "
    "(rows, columns). Print the places of the samples of one region.",
    mutant=_align_with(places=_any_width),
)
for name, hint, answer in (
    (
        "the nearest cell",
        "You read the nearest cell of each sample. Take the weighted mean of the four around it.",
        _align_with(hats=_nearest),
    ),
    (
        "corners rounded to cells",
        "The corners are rounded, as in RoI pooling. RoIAlign rounds nothing: keep the fractions.",
        _align_with(places=_rounded_corners),
    ),
    (
        "half a cell forgotten",
        "aligned=True has no effect: subtract 1/2 from the scaled corners.",
        mutated(
            _roi_align, lambda right, a, o: _align_with(places=_any_width)(*a, **{**o, "aligned": False})
        ),
    ),
    (
        "samples at the corners of bins",
        "The samples lie at the beginnings of the parts of a bin. They belong in the middles: (s + 1/2) / sampling.",
        _align_with(places=_at_the_edges),
    ),
    (
        "the largest sample",
        "You take the largest of the samples. A bin is their mean.",
        _align_with(reduce=np.max),
    ),
    (
        "the sum of the samples",
        "You sum the samples: divide by sampling * sampling.",
        _align_with(reduce=np.sum),
    ),
    (
        "zeros outside",
        "Outside the map your values fall to 0 at once. A sample up to one cell beyond the outermost middles counts as on them.",
        _align_with(hats=_zeros_outside),
    ),
    (
        "the border repeated for ever",
        "Samples far outside read the border. Beyond one cell from the outermost middles the map is 0.",
        _align_with(hats=_border_repeated),
    ),
    (
        "x and y exchanged",
        "left and right are columns, top and bottom rows: x goes along the last axis of the map.",
        _on_the_arguments(lambda a: (a[0], a[1][:, [0, 2, 1, 4, 3]], *a[2:])),
    ),
    (
        "scale forgotten",
        "Regions are in pixels of the picture: multiply the corners by scale.",
        _on_the_arguments(lambda a: (*a[:3], 1.0)),
    ),
    (
        "always the first picture",
        "All regions are read in the first picture. The first number of a region is the index of its picture.",
        _align_with(image=lambda b: 0),
    ),
):
    roi_align.mistake(name, hint, answer)
for name, hint, change in (
    (
        "not divided by the number of samples",
        "The forward pass divides by the number of samples; each sample gets g / n too.",
        _undivided,
    ),
    (
        "= for += where regions overlap",
        "Several samples and regions read one cell: add their gradients up. `d[index] += ...` keeps one of them, np.add.at all.",
        _last_region,
    ),
    (
        "all to the nearest cell",
        "g goes to the four cells around a sample, with the weights of the forward pass, not to the nearest alone.",
        _to_the_nearest,
    ),
):
    roi_align.mistake(name, hint, backward(_roi_align, change), gradient=True)


# ---------------------------------------------------------------------------------------------------------------------
# spp


def _spp(x, levels):
    H, W = x.shape[2:]
    parts = []
    for n in levels:
        level = np.zeros((*x.shape[:2], n, n), x.dtype)
        for i in range(n):
            for j in range(n):
                rows = slice(i * H // n, -(-(i + 1) * H // n))
                columns = slice(j * W // n, -(-(j + 1) * W // n))
                level[:, :, i, j] = x[:, :, rows, columns].max(axis=(2, 3))
        parts.append(level.reshape(len(x), -1))
    return np.concatenate(parts, axis=1), None


spp = Family(
    "spp",
    _spp,
    ("x",),
    form="f(x, levels) -> (B, C * sum of n * n): the maxima of n x n bins for each n in levels, level by level, in each channel "
    "by channel, bins in reading order; x (B, C, H, W); bin i has the rows floor(i H / n) to ceil((i + 1) H / n) - 1",
)


def _one_level(draw, n, sides=(1, 3), channels=1):
    H, W = n * integer(draw, *sides), n * integer(draw, *sides)
    return {"x": distinct(draw, (2, channels, H, W)), "levels": (n,)}


def _global(draw):
    return _one_level(draw, 1, (2, 4), channels=2)


def _as_many_bins_as_cells(draw):
    n = integer(draw, 2, 3)
    return {"x": distinct(draw, (2, 3, n, n)), "levels": (n,)}


def _not_divided(draw):
    n = integer(draw, 2, 4)
    H = n * integer(draw, 1, 2) + integer(draw, 1, n - 1)
    return {"x": distinct(draw, (2, 1, H, 2 * n)), "levels": (n,)}


def _levels(draw):
    return {"x": distinct(draw, (2, 2, 4, 4 * integer(draw, 1, 2))), "levels": choose(draw, (2, 4), (4, 2))}


def _small_map(draw):
    n = choose(draw, 2, 4)
    return {"x": distinct(draw, (2, 1, n // 2, n // 2 * integer(draw, 1, 2))), "levels": (n,)}


def _usual_map(draw):
    return _one_level(draw, 2)


def _any_pyramid(draw):
    shape = integer(draw, 1, 2), integer(draw, 1, 3), integer(draw, 1, 9), integer(draw, 1, 9)
    levels = tuple(integer(draw, 1, 5) for _ in range(integer(draw, 1, 3)))
    return {"x": normals(draw, shape) - np.float32(choose(draw, 0, 3)), "levels": levels}


def _sizes_of_pyramids(draw):
    shape = integer(draw, 1, 2), integer(draw, 1, 2), integer(draw, 1, 3), integer(draw, 1, 3)
    return {"x": distinct(draw, shape), "levels": choose(draw, (1,), (2, 1), (3,))}


def _simple_pyramid(draw):
    return {"x": normals(draw, (1, 1, 2 * integer(draw, 1, 3), 2 * integer(draw, 1, 3))), "levels": (2,)}


def _levelled(x, levels, reduce=np.max, end=None, order=(0, 1, 2, 3), bins_first=False):
    """`_spp` with other steps; ``end(i, n, length)`` is the cell after the last of bin i."""
    end = end or (lambda i, n, length: -(-(i + 1) * length // n))
    H, W = x.shape[2:]
    parts = []
    for n in levels:
        level = np.zeros((*x.shape[:2], n, n), x.dtype)
        for i, j in np.ndindex(n, n):
            cells = x[:, :, i * H // n : end(i, n, H), j * W // n : end(j, n, W)]
            if cells.size:
                level[:, :, i, j] = reduce(cells, axis=(2, 3))
        parts.append(level.transpose(order).reshape(len(x), *((x.shape[1], -1) if bins_first else (-1,))))
    return np.concatenate(parts, axis=-1).reshape(len(x), -1)


def _pyramid_with(**steps):
    return lambda x, levels: _levelled(x, levels, **steps)


def _side_by_side(i, n, length):
    return max((i + 1) * length // n, i * length // n + 1)


def _fixed_kernel(x, levels):
    """Windows of floor(H / n) cells, side by side, as many as there are bins."""
    H, W = x.shape[2:]
    ends = {H: H, W: W}
    return _levelled(x, levels, end=lambda i, n, length: i * length // n + max(ends[length] // n, 1))


spp.agrees(
    "level 1",
    "A level of one bin is the largest element of each channel.",
    inputs=_global,
    equation=r"y_c = \max_{u,v} x_{c,u,v}",
    slide="C/60-rcnn-times",
    hint="The only bin of level 1 has all rows and columns.",
    mutant=_only_if(
        lambda x, levels: tuple(levels) == (1,),
        _pyramid_with(reduce=np.mean),
        lambda x, levels: _spp(x, levels)[0],
    ),
)
spp.agrees(
    "as many bins as cells",
    "On a map of n x n cells, level n is the map: channel by channel, rows in reading order.",
    inputs=_as_many_bins_as_cells,
    hint="Reshape (B, C, n, n) to (B, C * n * n): the channel changes slowest.",
    mutant=_only_if(
        lambda x, levels: len(levels) == 1 and x.shape[2:] == (levels[0],) * 2,
        _pyramid_with(order=(0, 2, 3, 1)),
        lambda x, levels: _spp(x, levels)[0],
    ),
)
spp.agrees(
    "bins overlap",
    "Where n does not divide the map, neighbouring bins share cells, and every cell is in a bin.",
    inputs=_not_divided,
    equation=BINS,
    hint="A bin begins at floor(i H / n) and ends before ceil((i + 1) H / n): round the start down and the end up.",
    mutant=_pyramid_with(end=_side_by_side),
)
spp.agrees(
    "level by level",
    "The levels come one after another: all channels of the first, then all channels of the second.",
    inputs=_levels,
    hint="Flatten each level before you join them: np.concatenate along axis 1.",
    mutant=_pyramid_with(bins_first=True),
)
spp.agrees(
    "more bins than cells",
    "On a map with fewer cells than bins, no bin is empty: several bins have the same cell.",
    inputs=_small_map,
    equation=BINS,
    hint="floor(i H / n) and floor((i + 1) H / n) may be equal: round the end up, and no bin is empty.",
    mutant=_only_if(
        lambda x, levels: min(x.shape[2:]) < max(levels),
        _pyramid_with(end=lambda i, n, length: (i + 1) * length // n),
        lambda x, levels: _spp(x, levels)[0],
    ),
)
every_family(spp, inputs=_usual_map, shapes=_sizes_of_pyramids)
values(
    spp,
    simplest=_simple_pyramid,
    words="one channel, 2 x 2 bins that divide the map",
    anything=_any_pyramid,
    hint="The maps have any height and width, several channels, and up to three levels, also the same twice.",
    mutant=lambda x, levels: _levelled(
        x, sorted(set(levels), key=list(levels).index) if len(levels) > 2 else levels
    ),
)
for name, hint, answer in (
    (
        "the mean of a bin",
        "This is the mean of each bin: take the largest element.",
        _pyramid_with(reduce=np.mean),
    ),
    (
        "bins side by side",
        "Bins do not share cells here: the end of a bin is rounded up, ceil((i + 1) H / n).",
        _pyramid_with(end=_side_by_side),
    ),
    (
        "a fixed window",
        "All windows have floor(H / n) cells, so that the last rows and columns are lost. A bin ends at ceil((i + 1) H / n).",
        _fixed_kernel,
    ),
    (
        "bins before channels",
        "The bins change slowest here. In a level, the channel does: reshape (B, C, n, n).",
        _pyramid_with(order=(0, 2, 3, 1)),
    ),
    (
        "channel by channel over all levels",
        "You join the levels in each channel. All channels of a level come before the next level.",
        _pyramid_with(bins_first=True),
    ),
    (
        "levels backwards",
        "The levels come in the order in which they are given.",
        lambda x, levels: _levelled(x, tuple(levels)[::-1]),
    ),
):
    spp.mistake(name, hint, answer)
