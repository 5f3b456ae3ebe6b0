"""Filters whose kernel is computed from the image at each place: the bilateral filter and non-local means; the Gaussian.

The image is mirrored at its border without repeating the edge pixel (NumPy's "reflect"). Each filter goes through the
places of its window once, and handles all pixels of the image at a time.
Not here: kernels that follow the gradient (steering.py), convolutions with learned kernels (ops/conv.py).
"""

import math
import operator

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import check_floating, is_array, namespace
from minivis.dtypes import whole
from minivis.precision import in_float32

__all__ = [
    "bilateral_filter",
    "bilateral_kernel",
    "gaussian_filter",
    "gaussian_kernel",
    "non_local_means",
    "non_local_means_kernel",
]


@in_float32
def gaussian_filter(image, window, b_p):
    r"""Blur: the weighted mean of a window, with one Gaussian kernel everywhere.

    .. math:: y_i = \frac{\sum_j k_{ij} x_j}{\sum_j k_{ij}}, \qquad k_{ij} = e^{-\lVert p_i - p_j \rVert^2 / b_p^2}

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        Floating-point; channels last.
    window : int
        Side of the window in pixels, odd.
    b_p : float
        Width of the kernel in pixels. Other tools write 2 sigma^2 for b_p^2: b_p = sqrt(2) sigma.

    Returns
    -------
    ndarray
        Shape and dtype of ``image``.

    Raises
    ------
    ValueError
        If ``image`` is not (H, W) or (H, W, C) with pixels, the window is not odd, or the width is not positive.
    TypeError
        If ``image`` is not floating-point.

    References
    ----------
    Slide ``A/7-kernels-that-adapt``.

    Examples
    --------
    >>> gaussian_filter(np.array([[0.0, 0.0, 1.0]]), 3, math.inf).round(3)  # one row: the window mirrors it
    array([[0.   , 0.333, 0.333]])
    """
    image = as_image("gaussian_filter", image)
    return _bilateral("gaussian_filter", image, window, math.inf, b_p)


def gaussian_kernel(window, b_p, dtype="float32"):
    """The weights of `gaussian_filter`, the same at every place.

    Parameters
    ----------
    window, b_p
        As for `gaussian_filter`.
    dtype : dtype, default "float32"
        Dtype of the result.

    Returns
    -------
    numpy.ndarray, shape (window, window)
        Weights that sum to 1.

    Raises
    ------
    ValueError
        If the window is not odd or the width is not positive.

    Examples
    --------
    >>> gaussian_kernel(3, 1.0)[1].round(3)
    array([0.122, 0.332, 0.122], dtype=float32)
    """
    reach = reach_of("gaussian_kernel", "window", window)
    check_width("gaussian_kernel", "b_p", b_p)
    kernel = np.array([[nearness(dy, dx, b_p) for dx in steps(reach)] for dy in steps(reach)])
    return (kernel / kernel.sum()).astype(dtype)


@in_float32
def bilateral_filter(image, window, b_x, b_p, *, disk=False, colour="euclidean"):
    r"""Blur what is alike: each pixel becomes a mean of those in its window, weighted by nearness and by similarity.

    .. math::
        y_i = \frac{\sum_j k_{ij} x_j}{\sum_j k_{ij}}, \qquad
        k_{ij} = e^{-\lVert x_i - x_j \rVert^2 / b_x^2} \, e^{-\lVert p_i - p_j \rVert^2 / b_p^2}

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        Floating-point; channels last. All channels of a pixel have one weight.
    window : int
        Side of the window in pixels, odd.
    b_x : float
        Width in intensity, in the unit of ``image``. Pixels that differ by much more have no say. ``math.inf`` gives
        `gaussian_filter`.
    b_p : float
        Width in pixels. Other tools write 2 sigma^2 for b^2: b = sqrt(2) sigma.
    disk : bool, default False
        Use only the pixels of the window whose distance is at most half its side, as OpenCV does.
    colour : {"euclidean", "l1"}, default "euclidean"
        How pixels with several channels differ: the norm of the difference, or, as in OpenCV, the sum of its absolute
        values.

    Returns
    -------
    ndarray
        Shape and dtype of ``image``.

    Raises
    ------
    ValueError
        If ``image`` is not (H, W) or (H, W, C) with pixels, the window is not odd, a width is not positive, or
        ``colour`` is unknown.
    TypeError
        If ``image`` is not floating-point.

    Notes
    -----
    Not differentiable. The cost is H W window^2 weights. A pixel's own weight is 1, so the sum of weights is never 0.

    References
    ----------
    Tomasi and Manduchi, "Bilateral filtering for gray and color images", ICCV 1998, section 2. Elad, "On the origin of
    the bilateral filter and ways to improve it", IEEE Transactions on Image Processing 2002, section II. Slides
    ``A/7-kernels-that-adapt``, ``A/8-bilateral-filter``.

    Examples
    --------
    >>> step = np.array([[0.0, 0.0, 9.0, 9.0]] * 3)
    >>> bilateral_filter(step, 3, b_x=1.0, b_p=2.0)[1].round(3)  # the step stays
    array([0., 0., 9., 9.])
    >>> gaussian_filter(step, 3, b_p=2.0)[1].round(3)
    array([0.   , 2.741, 6.259, 9.   ])
    """
    image = as_image("bilateral_filter", image)
    return _bilateral("bilateral_filter", image, window, b_x, b_p, disk, colour)


@in_float32
def bilateral_kernel(image, place, window, b_x, b_p, *, disk=False, colour="euclidean"):
    """The weights of `bilateral_filter` at one place.

    Parameters
    ----------
    image
        As for `bilateral_filter`.
    place : (int, int)
        Row and column of the pixel.
    window, b_x, b_p, disk, colour
        As for `bilateral_filter`.

    Returns
    -------
    ndarray, shape (window, window)
        Weights that sum to 1. Those beyond the border belong to mirrored pixels.

    Raises
    ------
    ValueError
        As for `bilateral_filter`, and if ``place`` is not in the image.

    Examples
    --------
    >>> step = np.array([[0.0, 0.0, 9.0, 9.0]] * 3)
    >>> bilateral_kernel(step, (1, 1), 3, b_x=1.0, b_p=math.inf)[1].round(3)  # the pixel on the right has no say
    array([0.167, 0.167, 0.   ])
    """
    image = as_image("bilateral_kernel", image)
    reach = _checked_bilateral("bilateral_kernel", window, b_x, b_p, colour)
    around = surroundings("bilateral_kernel", image, place, reach)
    return kernel_of(_bilateral_terms(around, reach, b_x, b_p, disk, colour), reach, around)


@in_float32
def non_local_means(image, patch, search, h, sigma=0.0, b_p=math.inf, *, patchwise=False):
    r"""Average what looks alike: pixels are weighted by how similar the patches around them are, not the pixels alone.

    .. math::
        y_i = \frac{\sum_j w_{ij} x_j}{\sum_j w_{ij}}, \qquad
        w_{ij} = e^{-\max(d^2(P_i, P_j) - 2 \sigma^2, 0) / h^2} \, e^{-\lVert p_i - p_j \rVert^2 / b_p^2}

    d^2 is the mean of the squared differences over the pixels (and channels) of the two patches.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        Floating-point; channels last.
    patch : int
        Side of a patch in pixels, odd. 1 compares single pixels, as the bilateral filter does.
    search : int
        Side of the search window in pixels, odd.
    h : float
        Width in intensity, in the unit of ``image``.
    sigma : float, default 0
        Standard deviation of the noise. Two noisy patches of the same scene differ by 2 sigma^2; this much is forgiven.
    b_p : float, default math.inf
        Width in pixels of the slide's factor for distance. Infinite: places in the search window count alike.
    patchwise : bool, default False
        False: each patch says the value of its central pixel. True: each patch says the values of all its pixels, and a
        pixel becomes the mean of what the patches around it say, which is smoother.

    Returns
    -------
    ndarray
        Shape and dtype of ``image``.

    Raises
    ------
    ValueError
        If ``image`` is not (H, W) or (H, W, C) with pixels, a side is not odd, a width is not positive or ``sigma`` is
        negative.
    TypeError
        If ``image`` is not floating-point.

    Notes
    -----
    Not differentiable. A pixel's own weight is 1, as in the formula; the 2005 program gives it the largest of the other
    weights. The sum over a patch is made once for each shift of the whole image, so the cost is H W search^2 weights,
    whatever the size of the patch (nearly).

    References
    ----------
    Buades, Coll and Morel, "A review of image denoising algorithms, with a new one", Multiscale Modeling and Simulation
    2005, section 5.1. The same, "Non-local means denoising", Image Processing On Line 2011, for 2 sigma^2 and the patchwise
    form. Slide ``A/9-non-local-means``.

    Examples
    --------
    >>> row = np.array([[0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 0.0]])
    >>> non_local_means(row + 0.1 * np.arange(7), 3, 7, h=0.5).round(1)  # 9.2 and 9.5 look alike
    array([[0. , 0.2, 9.3, 0.3, 0.3, 9.4, 0.6]])
    """
    name = "non_local_means"
    image = as_image(name, image)
    reach, margin = _checked_patches(name, patch, search, h, sigma, b_p)
    height, width = image.shape[:2]
    padded = mirrored(image, reach + margin)

    def terms():
        for (dy, dx), weight in _patch_terms(padded, reach, margin, h, sigma, b_p):
            yield weight, shifted(padded, reach + margin, dy, dx, height, width)

    if not patchwise:
        return weighted_mean(terms(), image)
    total = sum(weight for weight, _ in terms())
    centres = namespace(image).ones_like(total)
    count = _box_sum(_framed(centres, margin), patch)  # patches around a pixel: fewer at the border
    shares = ((_box_sum(_framed(weight / total, margin), patch) / count, other) for weight, other in terms())
    return weighted_mean(shares, image)


@in_float32
def non_local_means_kernel(image, place, patch, search, h, sigma=0.0, b_p=math.inf):
    """The weights of `non_local_means` (pixelwise) at one place.

    Parameters
    ----------
    image
        As for `non_local_means`.
    place : (int, int)
        Row and column of the pixel.
    patch, search, h, sigma, b_p
        As for `non_local_means`.

    Returns
    -------
    ndarray, shape (search, search)
        Weights that sum to 1. Those beyond the border belong to mirrored pixels.

    Raises
    ------
    ValueError
        As for `non_local_means`, and if ``place`` is not in the image.

    Examples
    --------
    >>> row = np.array([[0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 0.0]])
    >>> non_local_means_kernel(row, (0, 2), 1, 7, h=0.5)[3].round(2)  # the other 9, three places to the right
    array([0.  , 0.  , 0.  , 0.07, 0.  , 0.  , 0.07])
    """
    image = as_image("non_local_means_kernel", image)
    reach, margin = _checked_patches("non_local_means_kernel", patch, search, h, sigma, b_p)
    around = surroundings("non_local_means_kernel", image, place, reach + margin)
    terms = _patch_terms(around, reach, margin, h, sigma, b_p)
    return kernel_of(terms, reach, around)


def _bilateral(name, image, window, b_x, b_p, disk=False, colour="euclidean"):
    """The filter of a checked image."""
    reach = _checked_bilateral(name, window, b_x, b_p, colour)
    height, width = image.shape[:2]
    padded = mirrored(image, reach)
    terms = _bilateral_terms(padded, reach, b_x, b_p, disk, colour)
    return weighted_mean(
        ((weight, shifted(padded, reach, dy, dx, height, width)) for (dy, dx), weight in terms), image
    )


def _bilateral_terms(padded, reach, b_x, b_p, disk, colour):
    """Yield each shift of the window and the weights (H, W) that all pixels give to the pixel at that distance."""
    height, width = (n - 2 * reach for n in padded.shape[:2])
    image = shifted(padded, reach, 0, 0, height, width)
    for dy in steps(reach):
        for dx in steps(reach):
            if not disk or dy**2 + dx**2 <= reach**2:
                difference = shifted(padded, reach, dy, dx, height, width) - image
                yield (dy, dx), nearness(dy, dx, b_p) * similarity(_squared(difference, colour), b_x)


def _squared(difference, colour):
    """The square of how much pixels differ: (H, W) or (H, W, C) to (H, W)."""
    with np.errstate(over="ignore"):  # an infinite square gives the weight 0
        if difference.ndim == 2:
            return difference**2
        return abs(difference).sum(axis=-1) ** 2 if colour == "l1" else (difference**2).sum(axis=-1)


def _patch_terms(padded, reach, margin, h, sigma, b_p):
    """Yield each shift of the search window and the weights (H, W) by the patches around the two pixels."""
    # of the image with a margin for its outermost patches
    height, width = (n - 2 * reach for n in padded.shape[:2])
    image = shifted(padded, reach, 0, 0, height, width)
    side = 2 * margin + 1
    for dy in steps(reach):
        for dx in steps(reach):
            squares = (shifted(padded, reach, dy, dx, height, width) - image) ** 2
            squares = squares if squares.ndim == 2 else squares.mean(axis=-1)
            distance = _box_sum(squares, side) / side**2  # (H, W): the mean over the patch
            excess = namespace(distance).maximum(distance - 2 * sigma**2, 0)
            yield (dy, dx), nearness(dy, dx, b_p) * similarity(excess, h)


def _box_sum(x, side):
    """The sum over each square of ``side`` x ``side`` that lies inside: (H + side - 1, W + side - 1) to (H, W)."""
    height, width = (n - side + 1 for n in x.shape)
    rows = sum(x[i : i + height] for i in range(side))
    return sum(rows[:, j : j + width] for j in range(side))


def _framed(x, margin):
    """A map with zeros around it."""
    return namespace(x).pad(x, margin)


# What the filters share; steering.py uses it too


def as_image(name, image, argument="image"):
    """The image as an array; raise if it is none."""
    image = image.data if isinstance(image, Tensor) else image
    if not is_array(image):
        raise TypeError(f"{name}: {argument} must be an array, got {type(image).__name__}")
    if image.ndim not in (2, 3) or not image.size:
        raise ValueError(
            f"{name}: {argument} must be (H, W) or (H, W, C) with pixels ({argument}: {tuple(image.shape)})"
        )
    check_floating(name, image, argument)
    return image


def reach_of(name, argument, side):
    """How many pixels a window of this side reaches from its centre; raise unless the side is odd."""
    try:
        odd = operator.index(side) % 2 == 1 and side > 0
    except TypeError:
        odd = False
    if not odd:
        raise ValueError(f"{name}: {argument} must be an odd integer (pixels), got {side!r}")
    return side // 2


def check_width(name, argument, width):
    """Raise unless the width of a kernel is positive."""
    if not width > 0:
        raise ValueError(f"{name}: {argument} must be positive, got {width!r}")


def _checked_bilateral(name, window, b_x, b_p, colour):
    check_width(name, "b_x", b_x)
    check_width(name, "b_p", b_p)
    if colour not in ("euclidean", "l1"):
        raise ValueError(f"{name}: colour must be 'euclidean' or 'l1', got {colour!r}")
    return reach_of(name, "window", window)


def _checked_patches(name, patch, search, h, sigma, b_p):
    check_width(name, "h", h)
    check_width(name, "b_p", b_p)
    if not sigma >= 0:
        raise ValueError(f"{name}: sigma must not be negative, got {sigma!r}")
    return reach_of(name, "search", search), reach_of(name, "patch", patch)


def steps(reach):
    """The steps of a window along one side, from -reach to reach."""
    return range(-reach, reach + 1)


def mirrored(x, reach):
    """``x`` (H, W, ...) with ``reach`` more rows and columns on each side, mirrored without repeating the edge."""
    xp = namespace(x)
    rows, columns = (xp.asarray(_mirrored_indices(n, reach)) for n in x.shape[:2])
    return x[rows][:, columns]


def _mirrored_indices(length, reach):
    period = max(2 * (length - 1), 1)
    place = np.arange(-reach, length + reach) % period
    return np.minimum(place, period - place) if length > 1 else place


def shifted(padded, reach, dy, dx, height, width):
    """What lies ``dy`` rows below and ``dx`` columns right of each pixel: a view (height, width, ...)."""
    return padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]


def nearness(dy, dx, b_p):
    """The weight of a distance in pixels: exp(-d^2 / b_p^2), a number."""
    ratio = math.hypot(dy, dx) / b_p
    return math.exp(-ratio * ratio)


def similarity(squares, b):
    """The weight of a squared difference: exp(-squares / b^2), also where b^2 would be 0."""
    if math.isinf(b):
        return namespace(squares).ones_like(squares)  # also for squares that overflow
    b = max(float(b), float(np.finfo(squares.dtype).tiny))
    with np.errstate(over="ignore", under="ignore"):  # far apart: the weight is 0
        return namespace(squares).exp(-(squares / b) / b)


def weighted_mean(terms, image):
    """The mean of the second parts of pairs (weights (H, W), values like ``image``), in the dtype of ``image``."""
    total, weights = 0.0, 0.0
    for weight, values in terms:
        weights = weights + weight
        total = total + (weight if image.ndim == 2 else weight[..., None]) * values
    return (total / (weights if image.ndim == 2 else weights[..., None])).astype(image.dtype)


def surroundings(name, image, place, reach):
    """The pixel at ``place`` and those around it: (2 reach + 1, 2 reach + 1, ...)."""
    found = whole(place)
    inside = isinstance(found, tuple) and len(found) == 2
    if not inside or not (0 <= found[0] < image.shape[0] and 0 <= found[1] < image.shape[1]):
        raise ValueError(
            f"{name}: place must be (row, column) of a pixel, got {place} (image: {tuple(image.shape)})"
        )
    y, x = found
    side = 2 * reach + 1
    return mirrored(image, reach)[y : y + side, x : x + side]


def kernel_of(terms, reach, like):
    """Pairs ((dy, dx), weight (1, 1)) as a kernel of sum 1, in the dtype of ``like``."""
    kernel = namespace(like).zeros((2 * reach + 1, 2 * reach + 1), like.dtype)
    for (dy, dx), weight in terms:
        kernel[reach + dy, reach + dx] = weight[0, 0]
    return kernel / kernel.sum()
