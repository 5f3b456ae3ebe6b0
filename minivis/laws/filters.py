"""The laws of bilateral_filter and non_local_means: which pixels count, how much, and what is beyond the border.

Not here: kernels that follow the gradient (steering.py).
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

BILATERAL = (
    r"k_{ij} = e^{-\lVert x_i - x_j \rVert^2 / b_x^2} \, e^{-\lVert p_i - p_j \rVert^2 / b_p^2}, \quad "
    r"y_i = \frac{\sum_j k_{ij} x_j}{\sum_j k_{ij}}"
)
PATCHES = r"w_{ij} = e^{-\max(d^2(P_i, P_j) - 2 \sigma^2, 0) / h^2} \, e^{-\lVert p_i - p_j \rVert^2 / b_p^2}"
BILATERAL_SLIDE, NLM_SLIDE = "A/8-bilateral-filter", "A/9-non-local-means"
BORDER = (
    "beyond the border the image is mirrored without repeating the edge pixel (np.pad with mode='reflect')"
)


def _bilateral(image, window, b_x, b_p):
    reach = window // 2
    pixels = image.reshape(*image.shape[:2], -1)  # (H, W, C), C = 1 for grey
    (rows, columns) = pixels.shape[:2]
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    total, weights = 0.0, 0.0
    for dy, dx in np.ndindex(window, window):
        other = padded[dy : dy + rows, dx : dx + columns]
        # one weight for all channels: (H, W, 1)
        difference = ((other - pixels) ** 2).sum(axis=-1, keepdims=True)
        distance = (dy - reach) ** 2 + (dx - reach) ** 2
        k = np.exp(-difference / b_x**2 - distance / b_p**2)
        total = total + k * other
        weights = weights + k
    return (total / weights).reshape(image.shape), None


def _non_local_means(image, patch, search, h, sigma=0.0, b_p=math.inf):
    reach = search // 2
    margin = patch // 2
    (rows, columns) = image.shape
    padded = np.pad(image, reach + margin, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch))  # the patch around each pixel
    mine = windows[reach : reach + rows, reach : reach + columns]  # (H, W, patch, patch)
    total, weights = 0.0, 0.0
    for dy, dx in np.ndindex(search, search):
        other = windows[dy : dy + rows, dx : dx + columns]
        excess = ((other - mine) ** 2).mean(axis=(2, 3)) - 2 * sigma**2
        distance = (dy - reach) ** 2 + (dx - reach) ** 2
        w = np.exp(-np.maximum(excess, 0) / h**2 - distance / b_p**2)
        total = total + w * other[:, :, margin, margin]
        weights = weights + w
    return total / weights, None


bilateral_filter = Family(
    "bilateral_filter",
    _bilateral,
    ("image",),
    form=f"f(image, window, b_x, b_p); image (H, W) or (H, W, C), window an odd number of pixels -> an image of the same "
    f"shape; {BORDER}",
)
non_local_means = Family(
    "non_local_means",
    _non_local_means,
    ("image",),
    form=f"f(image, patch, search, h, sigma=0.0, b_p=math.inf); image (H, W), patch and search odd numbers of pixels -> "
    f"(H, W); d^2 is the mean over the patch, a pixel's own weight is 1; {BORDER}",
)


def _any_grey(draw, rows, columns, low=0.0, high=1.0):
    """An image of hundredths, none of them 0."""
    return (generator(draw).integers(1, 101, (rows, columns)) / 100 * (high - low) + low).astype(np.float32)


def _inside(rtol=1e-4, atol=2e-5):
    """Compare only the pixels whose windows lie inside the image: what is beyond the border does not matter."""

    def holds(f, case):
        margin = case.everything.get("patch", 1) // 2 + case[_window_name(case)] // 2
        inner = (slice(margin, -margin or None),) * 2
        got = f(case)
        expected = f.right(case)
        same_shape = got.shape == expected.shape
        compare(got[inner] if same_shape else got, expected[inner], rtol, atol)

    return holds


def _window_name(case):
    return "search" if "search" in case.everything else "window"


def _any_unit(f, case):
    """255 times the image plus 100 gives 255 times the output plus 100, if the width in intensity grows too."""
    width = "h" if "h" in case.everything else "b_x"
    scaled = case.replace(image=case["image"] * 255 + 100, **{width: case[width] * 255})
    compare(f(scaled), f(case).astype(np.float64) * 255 + 100)


# The laws that both filters have, on images in which nothing else of them can be seen


def _clipped(right):
    return lambda image, *args, **options: np.clip(right(image, *args, **options)[0], 0, 1)


def _sides_swapped(right):
    """The image is read as (W, H)."""

    def mutant(image, *args, **options):
        turned = image.reshape(image.shape[1], image.shape[0], *image.shape[2:])
        return right(turned, *args, **options)[0].reshape(image.shape)

    return mutant


def _padded(right, mode):
    """Another border: the image is padded first, filtered, and cut out again."""

    def mutant(image, *args, **options):
        most = sum(int(a) // 2 for a in args if isinstance(a, (int, np.integer)))
        widths = [(most, most)] * 2 + [(0, 0)] * (image.ndim - 2)
        out = right(np.pad(image, widths, mode=mode), *args, **options)[0]
        return out[most : most + image.shape[0], most : most + image.shape[1]]

    return mutant


def _at_least(weight):
    """Weights that are never below ``weight``: far pixels keep a little influence."""
    return lambda k: np.maximum(k, weight)


def _shared_laws(family, slide, *, plain, far, mean, floored):
    """``plain(draw, rows, columns)``: a call; ``far``: nothing is alike; ``mean``: everything counts alike."""
    right = family.right
    family.law(
        "any unit",
        inputs=lambda draw: plain(draw, 5, 5),
        equation=r"f(a x + c;\, a b) = a f(x;\, b) + c",
        slide=slide,
        hint="Images may go from 0 to 1, from 0 to 255, or anywhere: only differences of intensities may enter the weights, "
        "and the result must not be clipped.",
        mutant=_clipped(right),
        right_too=False,
        sentence=_any_unit.__doc__,
    )(_any_unit)
    family.law(
        "what differs much has no say",
        inputs=far,
        equation=r"e^{-\lVert x_i - x_j \rVert^2 / b^2} \to 0",
        slide=slide,
        hint="Is something added to the weights, or are they kept above some number? A pixel's own weight is 1, so the sum of "
        "weights is never 0.",
        mutant=floored,
        value=False,  # the image itself keeps it too
        right_too=False,
        sentence="Pixels that differ by many times the width do not change each other at all.",
    )(lambda f, case: compare(f(case), f.right(case), 1e-6, 2e-6))
    _place_laws(family, mean)
    every_family(family, inputs=lambda draw: plain(draw, 4, 4), shapes=lambda draw: _tiny(draw, family))


def _place_laws(family, mean):
    """What is beyond the border, and which axis is which: on calls in which everything counts alike."""
    right = family.right
    family.agrees(
        "mirrored border",
        "Beyond its border the image is mirrored, and the edge pixel is not repeated.",
        inputs=lambda draw: mean(draw, *[integer(draw, 4, 5)] * 2),
        equation=r"x_{-1} = x_1,\ x_{-2} = x_2",
        hint="np.pad(image, reach, mode='reflect') mirrors without repeating the edge pixel: the row 1 2 3 continues with 2, "
        "not with 3 (mode='symmetric') or 0.",
        mutant=_padded(right, "symmetric"),
    )
    family.law(
        "rows and columns",
        inputs=lambda draw: mean(draw, *choose(draw, (4, 5), (5, 4), (3, 6))),
        hint="image.shape is (rows, columns). Are the two exchanged somewhere, or is one used for both?",
        mutant=_sides_swapped(right),
        value=True,
        right_too=False,
        sentence="Images that are not square keep their rows and columns.",
    )(_inside())


def _tiny(draw, family):
    """Images with sides of 1, for windows of 1."""
    rows, columns = integer(draw, 1, 2), integer(draw, 1, 2)
    if family is non_local_means:
        return {"image": _any_grey(draw, rows, columns), "patch": 1, "search": 1, "h": 1.0}
    image = _any_grey(draw, rows, columns * 3).reshape(rows, columns, 3)
    image = image[..., : integer(draw, 1, 3)] if choose(draw, True, False) else image[..., 0]
    return {"image": image, "window": 1, "b_x": 1.0, "b_p": 1.0}


# Bilateral filter


def _weighing(weight, mode="reflect", divided=True):
    """A mutant: ``weight(difference (H, W, C), squared distance, b_x, b_p)`` gives the weights."""

    def mutant(image, window, b_x, b_p):
        reach = window // 2
        pixels = image.reshape(*image.shape[:2], -1)
        padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode=mode)
        total = 0.0 * pixels
        weights = 0.0
        for dy, dx in np.ndindex(window, window):
            other = padded[dy : dy + pixels.shape[0], dx : dx + pixels.shape[1]]
            k = weight(other - pixels, (dy - reach) ** 2 + (dx - reach) ** 2, b_x, b_p)
            total = total + k * other
            weights = weights + k
        return (total / (weights if divided else window**2)).reshape(image.shape)

    return mutant


def _square(difference):
    return (difference**2).sum(axis=-1, keepdims=True)


def _right_weight(difference, distance, b_x, b_p):
    return np.exp(-_square(difference) / b_x**2 - distance / b_p**2)


_half = _weighing(lambda d, r, b_x, b_p: np.exp(-_square(d) / (2 * b_x**2) - r / b_p**2))
_not_squared = _weighing(lambda d, r, b_x, b_p: np.exp(-_square(d) / b_x**2 - math.sqrt(r) / b_p**2))
_each_channel = _weighing(lambda d, r, b_x, b_p: np.exp(-(d**2) / b_x**2 - r / b_p**2))
_sum_of_channels = _weighing(
    lambda d, r, b_x, b_p: np.exp(-(np.abs(d).sum(axis=-1, keepdims=True) ** 2) / b_x**2 - r / b_p**2)
)


def _by_intensity(draw, rows=5, columns=5):
    image = _any_grey(draw, rows, columns)
    return {"image": image, "window": 3, "b_x": choose(draw, 0.5, 0.7, 1.0), "b_p": math.inf}


def _by_distance(draw):
    b_p = choose(draw, 0.7, 1.0, 2.0)
    return {"image": _any_grey(draw, 5, 5), "window": 3, "b_x": math.inf, "b_p": b_p}


def _black_too(draw):
    image = np.full((4, 4), choose(draw, 0.0, 0.5), np.float32)
    return {"image": image, "window": 3, "b_x": 0.5, "b_p": 1.0}


def _step(draw):
    image = np.zeros((5, 6), np.float32)
    image[:, integer(draw, 2, 4) :] = 1
    return {"image": image, "window": 5, "b_x": choose(draw, 0.05, 0.1), "b_p": math.inf}


def _plain_mean(draw, rows, columns):
    return {"image": _any_grey(draw, rows, columns), "window": 3, "b_x": math.inf, "b_p": math.inf}


def _red_edge(draw):
    """Red has a high step, green a low one at the same place, blue is even."""
    image = np.full((5, 6, 3), 0.5, np.float32)
    at = integer(draw, 2, 4)
    red, green = choose(draw, (0, 1), (1, 2), (2, 0))
    image[:, :at, red], image[:, at:, red] = 0.1, 0.9
    image[:, :at, green], image[:, at:, green] = 0.3, 0.5
    return {"image": image, "window": 3, "b_x": 0.1, "b_p": math.inf}


def _brightest(right):
    """Intensities are divided by the largest of the image: 0 / 0 where it is black."""

    def mutant(image, window, b_x, b_p):
        most = image.max()
        with np.errstate(all="ignore"):
            return right(image / most, window, b_x / float(most or 1), b_p)[0] * most

    return mutant


bilateral_filter.law(
    "similar pixels count more",
    inputs=_by_intensity,
    equation=BILATERAL,
    slide=BILATERAL_SLIDE,
    hint="By hand: pixels 0 and 1 with b_x = 1 have the weight e^-1. The exponent is -(x_i - x_j)^2 / b_x^2, without a 2 "
    "in the denominator.",
    mutant=_half,
    value=True,
    right_too=False,
    sentence="A pixel's weight falls with the square of its difference in intensity, divided by b_x squared.",
)(_inside())
bilateral_filter.law(
    "near pixels count more",
    inputs=_by_distance,
    equation=r"b_x \to \infty: \quad k_{ij} = e^{-\lVert p_i - p_j \rVert^2 / b_p^2}",
    slide=BILATERAL_SLIDE,
    hint="With an infinite b_x this is a Gaussian blur. The exponent is the squared distance in pixels, dy^2 + dx^2, "
    "divided by b_p squared.",
    mutant=_not_squared,
    value=True,
    right_too=False,
    sentence="With an infinite b_x only the distance counts, and the filter is a Gaussian blur.",
)(_inside())
bilateral_filter.agrees(
    "even brightness stays",
    "An image of one brightness stays as it is, also a black one.",
    inputs=_black_too,
    hint="A black image has maximum, range and standard deviation 0: do not divide by any of them.",
    mutant=_brightest(_bilateral),
    value=False,
)
bilateral_filter.law(
    "one weight for all channels",
    inputs=_red_edge,
    equation=r"\lVert x_i - x_j \rVert^2 = \sum_c (x_{ic} - x_{jc})^2",
    slide=BILATERAL_SLIDE,
    hint="Compare pixels by all their channels together and use that one weight for each channel. Filtered one by one, the "
    "channels blur at different places, and colours appear that were not there.",
    mutant=_each_channel,
    value=False,  # the image itself keeps it too
    right_too=False,
    sentence="An edge in one channel keeps the other channels apart too.",
)(_inside())
_shared_laws(
    bilateral_filter,
    BILATERAL_SLIDE,
    plain=_by_intensity,
    far=_step,
    mean=_plain_mean,
    floored=_weighing(lambda *args: _at_least(3e-5)(_right_weight(*args))),
)


def _simple_bilateral(draw):
    image = _any_grey(draw, *[integer(draw, 3, 5)] * 2)
    return {"image": image, "window": 3, "b_x": choose(draw, 0.3, 0.6, 1.0), "b_p": choose(draw, 1.0, 2.0)}


def _any_bilateral(draw):
    window = choose(draw, 3, 5, 1)
    rows, columns = (window // 2 + integer(draw, 1, 4) for _ in range(2))
    channels = choose(draw, None, None, 3, 2, 1)
    scale = choose(draw, 1.0, 3.0, 255.0)
    image = _any_grey(draw, rows, columns * (channels or 1), -scale, scale)
    image = image if channels is None else image.reshape(rows, columns, channels)
    b_x = scale * choose(draw, 0.2, 0.5, 1.0, 2.0, math.inf)
    return {"image": image, "window": window, "b_x": b_x, "b_p": choose(draw, 0.6, 1.0, 2.0, 5.0, math.inf)}


values(
    bilateral_filter,
    simplest=_simple_bilateral,
    words="a small grey image, a window of 3 x 3",
    anything=_any_bilateral,
    hint="Try an image of 3 x 4 pixels with three channels and a window of 5: the difference of two colours is the root of the "
    "sum of squares over the channels.",
    mutant=_sum_of_channels,
)
for name, hint, answer in (
    (
        "a 2 in the denominator",
        "Your exponents are -d^2 / (2 b^2), as with a standard deviation. Here they are -d^2 / b^2.",
        _weighing(lambda d, r, b_x, b_p: np.exp(-_square(d) / (2 * b_x**2) - r / (2 * b_p**2))),
    ),
    (
        "the distance alone",
        "This is a Gaussian blur: multiply the weight by exp(-(x_i - x_j)^2 / b_x^2).",
        _weighing(lambda d, r, b_x, b_p: np.exp(-r / b_p**2) + 0 * _square(d)),
    ),
    (
        "the intensity alone",
        "All pixels of the window count alike, wherever they are: multiply by exp(-(dy^2 + dx^2) / b_p^2).",
        _weighing(lambda d, r, b_x, b_p: np.exp(-_square(d) / b_x**2)),
    ),
    (
        "not divided by the sum of weights",
        "You divide by the number of pixels in the window. Divide by the sum of the weights: otherwise the image becomes darker.",
        _weighing(_right_weight, divided=False),
    ),
    (
        "black beyond the border",
        f"Beyond the border you have zeros, which darken the edge of the image: {BORDER}.",
        _weighing(_right_weight, mode="constant"),
    ),
    (
        "the edge pixel repeated",
        f"You repeat the edge pixel: {BORDER}.",
        _weighing(_right_weight, mode="symmetric"),
    ),
    (
        "each channel by itself",
        "Each channel has weights of its own. Compare pixels by all channels together: one weight for all.",
        _each_channel,
    ),
    (
        "absolute differences of the channels added",
        "You add the absolute differences of the channels and square the sum. The norm is the root of the sum of squares.",
        _sum_of_channels,
    ),
    (
        "differences not squared",
        "The exponents are squares: (x_i - x_j)^2 / b_x^2 and (dy^2 + dx^2) / b_p^2.",
        _weighing(lambda d, r, b_x, b_p: np.exp(-np.sqrt(_square(d)) / b_x - math.sqrt(r) / b_p)),
    ),
):
    bilateral_filter.mistake(name, hint, answer)


# Non-local means


def _comparing(weight=None, mean=None, mode="reflect", divided=True, square=True, turned=True):
    """A mutant: ``mean(squares (H, W, p, p))`` and ``weight(d2, squared distance, h, sigma, b_p)`` in place of the right ones."""

    def mutant(image, patch, search, h, sigma=0.0, b_p=math.inf):
        reach = search // 2
        padded = np.pad(image, reach + patch // 2, mode=mode)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch))
        rows, columns = image.shape
        if not turned:  # the map of patches is mirrored, and each patch stays as it is
            inside = windows[reach : reach + rows, reach : reach + columns]
            windows = np.pad(inside, ((reach, reach), (reach, reach), (0, 0), (0, 0)), mode=mode)
        mine = windows[reach : reach + rows, reach : reach + columns]
        total = 0.0 * image
        weights = 0.0
        for dy, dx in np.ndindex(search, search):
            r = (dy - reach) ** 2 + (dx - reach) ** 2
            if square or r <= search**2 / 4:
                other = windows[dy : dy + rows, dx : dx + columns]
                d2 = (mean or _mean)((other - mine) ** 2)
                w = (weight or _patch_weight)(d2, r, h, sigma, b_p)
                total = total + w * other[:, :, patch // 2, patch // 2]
                weights = weights + w
        return total / (weights if divided else search**2)

    return mutant


def _mean(squares):
    return squares.mean(axis=(2, 3))


def _patch_weight(d2, r, h, sigma, b_p):
    return np.exp(-np.maximum(d2 - 2 * sigma**2, 0) / h**2 - r / b_p**2)


def _not_clamped(d2, r, h, sigma, b_p):
    return np.exp(-(d2 - 2 * sigma**2) / h**2 - r / b_p**2)


def _for_each_pixel(image, patch, search, h, sigma=0.0, b_p=math.inf):
    """The noise of a patch is taken for that of a sum over its pixels."""
    return _non_local_means(image, patch, search, h, sigma * patch, b_p)[0]


_sum = _comparing(mean=lambda squares: squares.sum(axis=(2, 3)))
_no_distance = _comparing(lambda d2, r, h, sigma, b_p: _patch_weight(d2, r, h, sigma, math.inf))
_disk = _comparing(square=False)
_mirrored_patches = _comparing(turned=False)


def _patches(draw):
    return {"image": _any_grey(draw, 6, 6), "patch": 3, "search": 3, "h": choose(draw, 0.5, 0.8)}


def _single(draw, rows=5, columns=5, search=3, h=0.5):
    return {"image": _any_grey(draw, rows, columns), "patch": 1, "search": search, "h": h}


def _noise(draw):
    return {**_single(draw), "sigma": choose(draw, 0.1, 0.2)}


def _distinct(draw):
    tenths = generator(draw).permutation(16).reshape(4, 4)
    return {
        "image": (tenths / 16).astype(np.float32),
        "patch": 1,
        "search": 3,
        "h": choose(draw, 0.01, 0.001),
    }


non_local_means.law(
    "the mean over the patch",
    inputs=_patches,
    equation=r"d^2(P_i, P_j) = \frac{1}{|P|} \sum_{o} (x_{i+o} - x_{j+o})^2",
    slide=NLM_SLIDE,
    hint="By hand: patches 0 0 0 and 0 0 2 have d^2 = 4/3. d^2 is the mean over the pixels of the patch, not the sum, and "
    "h^2 has no 2 before it.",
    mutant=_sum,
    value=True,
    right_too=False,
    sentence="Two places are compared by the mean of the squared differences over their patches.",
)(_inside())
non_local_means.law(
    "a patch of one pixel",
    inputs=lambda draw: {**_single(draw), "b_p": choose(draw, 1.0, 2.0)},
    equation=PATCHES,
    slide=NLM_SLIDE,
    hint="With patch=1, sigma=0 and a finite b_p this is the bilateral filter with b_x = h: is b_p used?",
    mutant=_no_distance,
    value=True,
    right_too=False,
    sentence="With patches of one pixel and a finite b_p this is the bilateral filter.",
)(_inside())
non_local_means.law(
    "noise is forgiven",
    inputs=_noise,
    equation=r"\max(d^2 - 2 \sigma^2, 0)",
    slide=NLM_SLIDE,
    hint="Two patches of one scene differ by 2 sigma^2 because of noise alone. Subtract that, but never go below 0: without "
    "the maximum the factor is the same for all patches, and cancels.",
    mutant=_comparing(_not_clamped),
    value=True,
    right_too=False,
    sentence="Patches that differ by no more than noise does, 2 sigma^2, count fully.",
)(_inside())
non_local_means.law(
    "twins far apart",
    inputs=lambda draw: _single(draw, 7, 7, search=5),
    slide=NLM_SLIDE,
    hint="The search window is a square, and its corners count as much as its centre when b_p is infinite.",
    mutant=_disk,
    value=True,
    right_too=False,
    sentence="Places that look alike count alike, also in the corners of the search window.",
)(_inside())
_shared_laws(
    non_local_means,
    NLM_SLIDE,
    plain=lambda draw, rows, columns: _single(draw, rows, columns),
    far=_distinct,
    mean=lambda draw, rows, columns: _single(draw, rows, columns, h=math.inf),
    floored=_comparing(lambda *args: _at_least(1e-4)(_patch_weight(*args))),
)


def _simple_patches(draw):
    return {"image": _any_grey(draw, 4, 4), "patch": 3, "search": 3, "h": choose(draw, 0.3, 0.5)}


def _any_patches(draw):
    patch, search = choose(draw, 3, 1, 5), choose(draw, 3, 5, 1)
    rows, columns = (patch // 2 + search // 2 + integer(draw, 1, 3) for _ in range(2))
    scale = choose(draw, 1.0, 255.0)
    image = _any_grey(draw, rows, columns, -scale, scale)
    options = {"sigma": scale * choose(draw, 0.1, 0.4)} if choose(draw, False, True) else {}
    if choose(draw, False, True):
        options["b_p"] = choose(draw, 1.0, 3.0)
    return {"image": image, "patch": patch, "search": search, "h": scale * choose(draw, 0.3, 0.8), **options}


values(
    non_local_means,
    simplest=_simple_patches,
    words="patch and search window of 3 x 3, no options",
    anything=_any_patches,
    hint="Try patches of 5 x 5 in an image that is not square, with sigma and with b_p: d^2 is a mean over the patch, so the "
    "noise to subtract is 2 sigma^2 for a patch of any size.",
    mutant=_for_each_pixel,
)
for name, hint, answer in (
    (
        "the sum over the patch",
        "d^2 is the mean over the pixels of the patch; you take the sum, so larger patches find nothing that looks alike.",
        _sum,
    ),
    (
        "a 2 in the denominator",
        "Your exponent is -d^2 / (2 h^2). Here it is -d^2 / h^2.",
        _comparing(lambda d2, r, h, s, b_p: np.exp(-np.maximum(d2 - 2 * s**2, 0) / (2 * h**2) - r / b_p**2)),
    ),
    (
        "h for its square",
        "The exponent is divided by h squared, not by h.",
        _comparing(lambda d2, r, h, s, b_p: np.exp(-np.maximum(d2 - 2 * s**2, 0) / h - r / b_p**2)),
    ),
    (
        "below 0",
        "You subtract 2 sigma^2 without a limit at 0: then it cancels in the division by the sum of weights. Take the "
        "larger of d^2 - 2 sigma^2 and 0.",
        _comparing(_not_clamped),
    ),
    (
        "the noise once",
        "Both patches have noise, so they differ by 2 sigma^2 on average, not by sigma^2.",
        _comparing(lambda d2, r, h, s, b_p: np.exp(-np.maximum(d2 - s**2, 0) / h**2 - r / b_p**2)),
    ),
    (
        "not divided by the sum of weights",
        "You divide by the number of places in the search window. Divide by the sum of the weights.",
        _comparing(divided=False),
    ),
    (
        "single pixels",
        "You compare the two pixels alone: compare the patches around them.",
        lambda image, patch, *args, **options: _non_local_means(image, 1, *args, **options)[0],
    ),
    (
        "black beyond the border",
        f"Beyond the border you have zeros: {BORDER}.",
        _comparing(mode="constant"),
    ),
    (
        "the edge pixel repeated",
        f"You repeat the edge pixel: {BORDER}.",
        _comparing(mode="symmetric"),
    ),
    (
        "a round search window",
        "The search window is a square; you leave out its corners.",
        _disk,
    ),
    (
        "patches mirrored as a whole",
        "Mirror the image once, by search // 2 + patch // 2 pixels, and cut all patches from it. You mirror the map of "
        "patches instead, so the patches beyond the border are not turned around.",
        _mirrored_patches,
    ),
    (
        "b_p has no effect",
        "A finite b_p multiplies each weight by exp(-(dy^2 + dx^2) / b_p^2).",
        _no_distance,
    ),
):
    non_local_means.mistake(name, hint, answer)
