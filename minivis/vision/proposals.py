"""Region proposals without training: segments of a graph of pixels, merged step by step; each one's box may hold an object.

Not here: a network that proposes (models/faster_rcnn.py), how many objects the proposals cover (metrics/proposals.py).
"""

import math

import numpy as np

from minivis.backend import to_numpy
from minivis.pairs import checked_pair

__all__ = [
    "graph_segmentation",
    "hierarchical_grouping",
    "segment_boxes",
    "selective_search",
    "sliding_windows",
]

COLOUR_BINS = 25  # of a channel
TEXTURE_BINS = 10  # of a direction of a channel
DIRECTIONS = 8
# the steepest edge, from 0 to 1, has this slope under a Gaussian derivative of sigma 1: 1 / sqrt(2 pi)
STEEPEST = 0.4
SPACES = ("hsv", "lab")
# which similarities count: colour, texture, size, fill
SIMILARITIES = ((1, 1, 1, 1), (0, 1, 1, 1))


def graph_segmentation(image, k, min_size=1, sigma=0.0, neighbours=8):
    """Divide a picture into segments, by joining pixels over the most similar pairs first.

    Each pixel is joined with its neighbours by edges, and an edge weighs as much as their colours differ. The edges are
    taken from the lightest to the heaviest. An edge joins the segments :math:`C_1` and :math:`C_2` of its two pixels if

    .. math::
        w \\le \\min\\Big(\\mathrm{Int}(C_1) + \\frac{k}{\\lvert C_1 \\rvert},\\;
        \\mathrm{Int}(C_2) + \\frac{k}{\\lvert C_2 \\rvert}\\Big), \\qquad
        w = \\lVert I_p - I_q \\rVert

    :math:`\\mathrm{Int}` is the heaviest edge that was used inside a segment, 0 for a single pixel. So a segment grows
    over edges that are not much heavier than those inside it, and small segments are allowed more.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        Floating-point, channels last.
    k : float
        How much is allowed beyond the heaviest edge inside, in the unit of the image: larger k, larger segments.
    min_size : int, default 1
        Afterwards, segments with fewer pixels than this are joined with a neighbour, over the lightest edge first.
    sigma : float, default 0
        Standard deviation in pixels of the Gaussian that smooths the image before; the authors take 0.8.
    neighbours : {8, 4}, default 8
        Whether diagonal neighbours are joined too, as in the paper.

    Returns
    -------
    ndarray of int64, shape (H, W)
        The segment of each pixel, from 0 in the order of their first pixels, row by row.

    Raises
    ------
    ValueError
        If the image has another shape or no pixel, ``k`` or ``sigma`` is negative, ``min_size`` is below 1, or
        ``neighbours`` is neither 4 nor 8.
    TypeError
        If the image is not floating-point.

    Notes
    -----
    Runs on the CPU: each step depends on the one before. Of edges with equal weights, those to the right come first, then
    down, down right, down left, each row by row. Not differentiable.

    References
    ----------
    Felzenszwalb and Huttenlocher, "Efficient graph-based image segmentation", IJCV 2004, algorithm 1. Slide
    ``C/44-region-proposals``.

    Examples
    --------
    >>> row = np.array([[0.0, 0.0, 5.0, 5.0]])
    >>> graph_segmentation(row, k=4.0), graph_segmentation(row, k=10.0)
    (array([[0, 0, 1, 1]]), array([[0, 0, 0, 0]]))
    """
    pixels = _pixels("graph_segmentation", image)
    if not (k >= 0 and sigma >= 0 and min_size >= 1 and neighbours in (4, 8)):
        raise ValueError(
            f"graph_segmentation: k and sigma must not be negative, min_size must be at least 1 and neighbours 4 or 8, "
            f"got k={k}, sigma={sigma}, min_size={min_size}, neighbours={neighbours}"
        )
    H, W, _ = pixels.shape
    edges = _edges(_smoothed(pixels, sigma) if sigma else pixels, neighbours)
    roots = _joined(H * W, edges, float(k), min_size)
    _, first, labels = np.unique(roots, return_index=True, return_inverse=True)
    return first.argsort().argsort()[labels].reshape(H, W)


def _edges(pixels, neighbours):
    """Pairs of neighbouring pixels (numbers in the flat image) and how much they differ, by rising difference."""
    H, W, _ = pixels.shape
    numbers = np.arange(H * W).reshape(H, W)
    ends, weights = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))[: neighbours // 2]:
        here = slice(0, H - down), slice(max(0, -right), W - max(0, right))
        there = slice(down, H), slice(max(0, right), W + min(0, right))
        ends.append(np.stack([numbers[here].ravel(), numbers[there].ravel()]))
        weights.append(np.sqrt(((pixels[here] - pixels[there]) ** 2).sum(axis=-1)).ravel())
    ends = np.concatenate(ends, axis=1)  # (2, E)
    weights = np.concatenate(weights)  # (E,)
    order = np.argsort(weights, kind="stable")
    return [part.tolist() for part in (*ends[:, order], weights[order])]


def _joined(count, edges, k, min_size):
    """The segment of each pixel, as the number of one of its pixels."""
    parent = list(range(count))
    size = [1] * count
    inside = [0.0] * count  # the heaviest edge

    def root(pixel):
        while parent[pixel] != pixel:
            parent[pixel] = pixel = parent[parent[pixel]]  # the way up is halved for the next time
        return pixel

    def join(a, b, weight):
        parent[b] = a
        size[a] += size[b]
        inside[a] = weight  # edges come by rising weight: the last is the heaviest

    for p, q, weight in zip(*edges, strict=True):
        a = root(p)
        b = root(q)
        if a != b and weight <= min(inside[a] + k / size[a], inside[b] + k / size[b]):
            join(a, b, weight)
    if min_size > 1:
        for p, q, weight in zip(*edges, strict=True):
            a = root(p)
            b = root(q)
            if a != b and min(size[a], size[b]) < min_size:
                join(a, b, weight)
    return np.array([root(pixel) for pixel in range(count)])


def hierarchical_grouping(image, labels, weights=(1, 1, 1, 1)):
    """Merge the two most similar neighbouring segments, again and again, until one is left.

    .. math::
        s(i, j) &= a_1 s_\\text{colour} + a_2 s_\\text{texture} + a_3 s_\\text{size} + a_4 s_\\text{fill} \\\\
        s_\\text{colour} &= \\sum_b \\min(c_i^b, c_j^b), \\qquad
        s_\\text{texture} = \\sum_b \\min(t_i^b, t_j^b) \\\\
        s_\\text{size} &= 1 - \\frac{\\lvert r_i \\rvert + \\lvert r_j \\rvert}{\\lvert I \\rvert}, \\qquad
        s_\\text{fill} = 1 - \\frac{\\lvert B_{ij} \\rvert - \\lvert r_i \\rvert - \\lvert r_j \\rvert}{\\lvert I \\rvert}

    c is a histogram of colours with 25 bins for each channel. t is a histogram of slopes: derivatives of the image under a
    Gaussian of sigma 1 in eight directions, negative ones taken as 0, with 10 bins for each direction and channel. Both
    sum to 1. Size makes small segments merge early; fill is high where the box :math:`B_{ij}` around both has few other
    pixels. The histogram of a merged segment is the mean of the two, weighted by their pixels.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        Floating-point from 0 to 1, channels last.
    labels : ndarray of int, shape (H, W)
        The n segments to begin with. Segments are neighbours if pixels of them share a side.
    weights : sequence of four floats, default (1, 1, 1, 1)
        How much colour, texture, size and fill count.

    Returns
    -------
    ndarray of int64, shape (n - 1, 2)
        The two segments of each merge, the smaller number first. The segments of ``labels`` are 0 to n - 1, by rising
        label; the one that merge i makes is n + i.

    Raises
    ------
    ValueError
        If the image has another shape, no pixel, or values outside 0 to 1; if the labels do not fit, or there are not four
        weights.
    TypeError
        If the image is not floating-point or the labels are not integers.

    Notes
    -----
    Only the similarities with the new segment are computed again. Of equal similarities, the pair with the smaller
    numbers comes first. The published code computes the four in its own ways; packages often take other textures.

    References
    ----------
    Uijlings et al., "Selective search for object recognition", IJCV 2013, section 3.2, equations 1 to 6. Slide
    ``C/44-region-proposals``.

    Examples
    --------
    >>> image = np.array([[0.1, 0.2, 0.9]])
    >>> hierarchical_grouping(image, np.array([[0, 1, 2]]), weights=(0, 0, 1, 0))
    array([[0, 1],
           [2, 3]])
    """
    pixels = _pixels("hierarchical_grouping", image)
    labels = _labels("hierarchical_grouping", labels, pixels)
    if len(weights) != 4:
        raise ValueError(
            f"hierarchical_grouping: weights must be four numbers: colour, texture, size, fill; got {weights!r}"
        )
    if pixels.min() < 0 or pixels.max() > 1:
        raise ValueError(
            f"hierarchical_grouping: the image must be from 0 to 1, got {pixels.min():.3g} to {pixels.max():.3g}"
        )
    regions = _Regions(pixels, labels, weights)
    return regions.merged()


class _Regions:
    """The segments of a picture while they are merged; arrays have a row for each segment that is there or will be."""

    def __init__(self, pixels, labels, weights):
        self.count = int(labels.max()) + 1
        self.weights = weights
        self.area = labels.size
        total = 2 * self.count - 1
        self.sizes = np.zeros(total)
        self.sizes[: self.count] = np.bincount(labels.ravel())
        self.boxes = np.zeros((total, 4))
        self.boxes[: self.count] = segment_boxes(labels)
        self.histograms = [
            _by_region(_bins(pixels, COLOUR_BINS), COLOUR_BINS, labels, total),
            _by_region(_bins(_slopes(pixels) / STEEPEST, TEXTURE_BINS), TEXTURE_BINS, labels, total),
        ]
        self.similar = np.full((total, total), -np.inf)  # of neighbours, in the row of the smaller number
        self.beside = np.zeros((total, total), bool)
        for a, b in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            self.beside[a, b] = self.beside[b, a] = True
        np.fill_diagonal(self.beside, False)
        for region in range(1, self.count):
            self._compare(region)

    def _compare(self, region):
        """Compute the similarities of a segment with its neighbours of smaller number."""
        others = np.flatnonzero(self.beside[region, :region])
        both = self.sizes[others] + self.sizes[region]
        low = np.minimum(self.boxes[others, :2], self.boxes[region, :2])
        high = np.maximum(self.boxes[others, 2:], self.boxes[region, 2:])
        colour, texture = (np.minimum(h[others], h[region]).sum(axis=1) for h in self.histograms)
        size = 1 - both / self.area
        fill = 1 - ((high - low).prod(axis=1) - both) / self.area
        self.similar[others, region] = sum(
            a * s for a, s in zip(self.weights, (colour, texture, size, fill), strict=True)
        )

    def merged(self):
        """Merge until one segment is left; the pairs."""
        pairs = np.zeros((self.count - 1, 2), np.int64)
        for step in range(self.count - 1):
            i, j = divmod(int(self.similar.argmax()), len(self.similar))
            pairs[step] = i, j
            self._merge(i, j, self.count + step)
        return pairs

    def _merge(self, i, j, new):
        """Put a new segment in the place of two."""
        self.sizes[new] = self.sizes[i] + self.sizes[j]
        self.boxes[new, :2] = np.minimum(self.boxes[i, :2], self.boxes[j, :2])
        self.boxes[new, 2:] = np.maximum(self.boxes[i, 2:], self.boxes[j, 2:])
        for h in self.histograms:
            h[new] = (self.sizes[i] * h[i] + self.sizes[j] * h[j]) / self.sizes[new]
        neighbours = self.beside[i] | self.beside[j]
        neighbours[[i, j]] = False
        for old in (i, j):
            self.beside[old] = self.beside[:, old] = False
            self.similar[old] = self.similar[:, old] = -np.inf
        self.beside[new] = self.beside[:, new] = neighbours
        self._compare(new)


def segment_boxes(labels):
    """The smallest box around each segment.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        The segment of each pixel, 0 to n - 1.

    Returns
    -------
    ndarray of float64, shape (n, 4)
        Left, top, right, bottom in pixels, right and bottom behind the last pixel.

    Raises
    ------
    ValueError
        If the labels are not (H, W), there is no pixel, or a number from 0 to n - 1 has none.
    TypeError
        If the labels are not integers.

    Examples
    --------
    >>> segment_boxes(np.array([[0, 0, 1], [0, 0, 1]]))
    array([[0., 0., 2., 2.],
           [2., 0., 3., 2.]])
    """
    labels = to_numpy(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"segment_boxes: labels must be integers, got {labels.dtype.name}")
    if labels.ndim != 2 or not labels.size:
        raise ValueError(
            f"segment_boxes: labels must be (H, W) with at least one pixel (labels: {labels.shape})"
        )
    if not np.array_equal(np.unique(labels), np.arange(labels.max() + 1)):
        raise ValueError("segment_boxes: labels must be 0 to n - 1, each of some pixel")
    n = int(labels.max()) + 1
    y, x = np.indices(labels.shape)
    boxes = np.empty((n, 4))
    boxes[:, :2] = np.inf
    boxes[:, 2:] = 0
    for column, places in ((0, x), (1, y)):
        np.minimum.at(boxes[:, column], labels, places)
        np.maximum.at(boxes[:, column + 2], labels, places + 1)
    return boxes


def selective_search(
    image,
    k=(0.2, 0.4),
    min_size=10,
    sigma=0.5,
    spaces=SPACES,
    similarities=SIMILARITIES,
    min_side=4,
    rng=None,
):
    """Boxes that may hold an object, the most promising first: all segments of several hierarchies.

    For each colour space and each ``k`` the picture is segmented, and for each choice of similarities the segments are
    merged to one hierarchy. n segments give 2 n - 1 boxes, from single segments to the whole picture. The place of a box
    in the result is its place from the top of its hierarchy, multiplied by a random number, so that each hierarchy has
    its share in the first boxes. Of equal boxes only the first stays.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3)
        RGB from 0 to 1, floating-point, channels last.
    k, min_size, sigma : sequence of float, int, float
        As in `graph_segmentation`; the defaults are for small pictures. The paper has k = 50 and 100 for values to 255.
    spaces : sequence of {"rgb", "hsv", "lab"}, default ("hsv", "lab")
        Colour spaces.
    similarities : sequence of four floats each
        The weights of `hierarchical_grouping`. By default colour, texture, size and fill, and the last three.
    min_side : int, default 4
        Boxes with a shorter side, in pixels, are left out.
    rng : numpy.random.Generator, int or None
        Draws the random numbers; None is seed 0.

    Returns
    -------
    ndarray of float32, shape (N, 4)
        Left, top, right, bottom in pixels.

    Raises
    ------
    ValueError
        If the image is not (H, W, 3), a colour space is unknown, or as `graph_segmentation`.
    TypeError
        If the image is not floating-point.

    Notes
    -----
    The defaults are the paper's fast mode: 2 colour spaces, 2 values of k, 2 choices of similarities, 8 hierarchies.

    References
    ----------
    Uijlings et al., "Selective search for object recognition", IJCV 2013, section 3. Slide ``C/44-region-proposals``.

    Examples
    --------
    >>> image = np.zeros((16, 16, 3))
    >>> image[4:12, 2:10] = 1, 0, 0
    >>> [2, 4, 10, 12] in selective_search(image, sigma=0).tolist()
    True
    """
    pixels = _pixels("selective_search", image)
    if pixels.shape[2] != 3:
        raise ValueError(f"selective_search: the image must be (H, W, 3), RGB (image: {np.shape(image)})")
    unknown = [space for space in spaces if space not in COLOUR_SPACES]
    if unknown:
        raise ValueError(
            f"selective_search: spaces must be of {', '.join(COLOUR_SPACES)}, got {unknown[0]!r}"
        )
    rng = np.random.default_rng(0) if rng is None else np.random.default_rng(rng)
    boxes = [np.empty((0, 4))]
    places = [np.empty(0)]
    for space in spaces:
        converted = COLOUR_SPACES[space](pixels)
        for slack in k:
            labels = graph_segmentation(converted, slack, min_size, sigma)
            for weights in similarities:
                found = _hierarchy(labels, hierarchical_grouping(converted, labels, weights))
                boxes.append(found[::-1])  # the whole picture first
                places.append(np.arange(1, len(found) + 1) * rng.random(len(found)))
    boxes = np.concatenate(boxes)[np.argsort(np.concatenate(places), kind="stable")]
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= min_side]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)].astype(np.float32)


def _hierarchy(labels, merges):
    """The boxes of all segments of a hierarchy, in the order in which they came about."""
    boxes = segment_boxes(labels)
    n = len(boxes)
    boxes = np.concatenate([boxes, np.zeros((len(merges), 4))])
    for new, (i, j) in enumerate(merges, n):
        boxes[new, :2] = np.minimum(boxes[i, :2], boxes[j, :2])
        boxes[new, 2:] = np.maximum(boxes[i, 2:], boxes[j, 2:])
    return boxes


def sliding_windows(height, width, sizes, stride=4):
    """All places of windows of several sizes on a picture: the proposals of a detector that looks everywhere.

    .. math:: N = \\sum_s \\Big(\\Big\\lfloor \\frac{H - s}{t} \\Big\\rfloor + 1\\Big)
              \\Big(\\Big\\lfloor \\frac{W - s}{t} \\Big\\rfloor + 1\\Big)

    Parameters
    ----------
    height, width : int
        H and W of the picture, pixels.
    sizes : sequence of int or (int, int)
        s: side of a square window, or height and width of another.
    stride : int, default 4
        t: pixels from one place to the next, down and to the right.

    Returns
    -------
    ndarray of float32, shape (N, 4)
        Left, top, right, bottom in pixels: size by size, row by row. Windows that do not fit have no place.

    Raises
    ------
    ValueError
        If a size, the stride or a side of the picture is not a whole number of at least 1.

    References
    ----------
    Slide ``C/38-detection-by-sliding-window``.

    Examples
    --------
    >>> sliding_windows(6, 4, sizes=[4], stride=2)
    array([[0., 0., 4., 4.],
           [0., 2., 4., 6.]], dtype=float32)
    """
    if not all(hasattr(n, "__index__") and n >= 1 for n in (height, width, stride)):
        raise ValueError(
            f"sliding_windows: height, width and stride must be whole numbers of at least 1, got {height!r}, {width!r} "
            f"and {stride!r}"
        )
    boxes = [np.empty((0, 4))]
    for size in sizes:
        h, w = checked_pair("sliding_windows", "sizes", size)
        top, left = np.meshgrid(
            np.arange(0, height - h + 1, stride), np.arange(0, width - w + 1, stride), indexing="ij"
        )
        corners = np.stack([left, top], axis=-1).reshape(-1, 2)
        boxes.append(np.concatenate([corners, corners + (w, h)], axis=1))
    return np.concatenate(boxes).astype(np.float32)


# ------------------------------------------------------------------ what a segment looks like


def _bins(values, count):
    """Which of ``count`` equal bins between 0 and 1 each value is in."""
    return np.clip((values * count).astype(np.int64), 0, count - 1)


def _by_region(bins, count, labels, rows):
    """Histograms of each segment, all features one after another, together 1: bins (H, W, F) -> (rows, F count)."""
    features = bins.shape[2]
    n = int(labels.max()) + 1
    place = (labels[:, :, None] * features + np.arange(features)) * count + bins
    counted = np.bincount(place.ravel(), minlength=n * features * count).reshape(n, -1)
    histograms = np.zeros((rows, features * count))
    histograms[:n] = counted / counted.sum(axis=1, keepdims=True)
    return histograms


def _gauss(sigma):
    """A Gaussian of sum 1, up to four standard deviations, and the places of its entries."""
    reach = int(4 * sigma + 0.5)
    places = np.arange(-reach, reach + 1)
    kernel = np.exp(-(places**2) / (2 * sigma**2))
    return kernel / kernel.sum(), places


def _along(values, kernel, axis):
    """Each value replaced by a weighted sum along an axis; beyond the border the values at the edge are repeated."""
    reach = len(kernel) // 2
    width = [(reach, reach) if a == axis else (0, 0) for a in range(values.ndim)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, width, mode="edge"), len(kernel), axis)
    return windows @ kernel


def _smoothed(pixels, sigma):
    kernel, _ = _gauss(sigma)
    return _along(_along(pixels, kernel, 0), kernel, 1)


def _slopes(pixels):
    """Derivatives under a Gaussian of sigma 1 in eight directions, negative ones as 0: (H, W, C) -> (H, W, 8 C)."""
    kernel, places = _gauss(1)
    slope = kernel * places
    across = _along(_along(pixels, kernel, 0), slope, 1)
    down = _along(_along(pixels, slope, 0), kernel, 1)
    angles = [2 * math.pi * d / DIRECTIONS for d in range(DIRECTIONS)]
    return np.concatenate([np.maximum(math.cos(a) * across + math.sin(a) * down, 0) for a in angles], axis=2)


# ------------------------------------------------------------------ colour spaces, all from 0 to 1


def _hsv(pixels):
    """Hue, saturation and value."""
    value = pixels.max(axis=2)
    spread = value - pixels.min(axis=2)
    safe = np.where(spread > 0, spread, 1)
    red, green, blue = np.moveaxis(pixels, 2, 0)
    sixths = np.where(
        value == red,
        (green - blue) / safe % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = np.where(spread > 0, sixths / 6, 0)
    return np.stack([hue, spread / np.where(value > 0, value, 1), value], axis=2)


def _lab(pixels):
    """CIE L*a*b* of sRGB under daylight (D65); L / 100, and a and b from -128 to 127 moved to 0 to 1."""
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    xyz = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T  # white is 1, 1, 1
    roots = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(roots, 2, 0)
    lab = np.stack([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255], axis=2)
    return np.clip(lab, 0, 1)


COLOUR_SPACES = {"rgb": lambda pixels: pixels, "hsv": _hsv, "lab": _lab}


def _pixels(name, image):
    """The image in float64, (H, W, C), on the CPU."""
    image = to_numpy(image)
    if image.dtype.kind != "f":
        raise TypeError(f"{name}: image must be floating-point, got {image.dtype.name}")
    if image.ndim not in (2, 3) or not image.size:
        raise ValueError(
            f"{name}: image must be (H, W) or (H, W, C) with at least one pixel (image: {image.shape})"
        )
    if not np.isfinite(image).all():
        raise ValueError(f"{name}: image has a value that is not finite")
    image = image.astype(np.float64)
    return image[:, :, None] if image.ndim == 2 else image


def _labels(name, labels, pixels):
    """The labels as 0 to n - 1."""
    labels = to_numpy(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {labels.dtype.name}")
    if labels.shape != pixels.shape[:2]:
        raise ValueError(
            f"{name}: labels must be (H, W) as the image (image: {pixels.shape}, labels: {labels.shape})"
        )
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
