"""Filters with kernels from the image: worked numbers, kernels are the filters' weights, devices, bad input.

Not here: the laws (tests/laws), OpenCV's bilateral filter (tests/parity/test_filter_parity.py).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.vision import (
    bilateral_filter,
    bilateral_kernel,
    gaussian_filter,
    gaussian_kernel,
    non_local_means,
    non_local_means_kernel,
)

RNG = np.random.default_rng(4)
GREY = RNG.random((7, 9))
COLOUR = RNG.random((6, 5, 3)).astype(np.float32)


def test_the_worked_numbers():
    row = np.array([[0.0, 0.0, 1.0]])
    middle = bilateral_kernel(row, (0, 1), 3, 1.0, 1.0)[1]
    assert middle / middle[1] == pytest.approx(np.array([math.exp(-1), 1, math.exp(-2)]))
    assert bilateral_filter(row, 3, 1.0, 1.0)[0, 1] == pytest.approx(0.0900306, abs=1e-7)
    assert gaussian_filter(row, 3, 1.0)[0, 1] == pytest.approx(0.2119416, abs=1e-7)
    row = np.array([[0.0, 0, 0, 2, 0, 0, 0, 0, 0]])  # around the pixels 1, 2, 7: 0 0 0, 0 0 2, 0 0 0
    weights = non_local_means_kernel(row, (0, 1), 3, 13, 1.0)[6]
    assert weights[6 + 1] / weights[6] == pytest.approx(0.263597, abs=1e-6)
    assert weights[6 + 6] / weights[6] == pytest.approx(1.0)


@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_kernel_holds_the_weights_of_its_filter(image):
    reach = 2
    padded = np.pad(image, [(reach, reach)] * 2 + [(0, 0)] * (image.ndim - 2), mode="reflect")
    pairs = [
        (bilateral_filter(image, 5, 0.4, 2.0), lambda at: bilateral_kernel(image, at, 5, 0.4, 2.0)),
        (gaussian_filter(image, 5, 2.0), lambda at: gaussian_kernel(5, 2.0, image.dtype)),
        (non_local_means(image, 3, 5, 0.3, 0.1), lambda at: non_local_means_kernel(image, at, 3, 5, 0.3, 0.1)),
    ]  # fmt: skip
    for filtered, kernel_at in pairs:
        for y, x in ((0, 0), (3, 2), (5, 4)):
            kernel = kernel_at((y, x))
            assert kernel.dtype == image.dtype and kernel.sum() == pytest.approx(1, abs=1e-6)
            around = padded[y : y + 5, x : x + 5]
            assert np.tensordot(kernel, around, 2) == pytest.approx(filtered[y, x], abs=1e-6)


def test_patchwise_is_the_mean_of_what_the_patches_say():
    patch, search = 3, 5
    h = 0.3
    padded = np.pad(GREY, 4, mode="reflect")
    total = np.zeros(tuple(n + 2 for n in GREY.shape))
    count = np.zeros_like(total)
    for y, x in np.ndindex(GREY.shape):
        kernel = non_local_means_kernel(GREY, (y, x), patch, search, h)
        says = [padded[y + 1 + i : y + 6 + i, x + 1 + j : x + 6 + j] for i in range(3) for j in range(3)]
        total[y : y + 3, x : x + 3] += np.reshape([(kernel * values).sum() for values in says], (3, 3))
        count[y : y + 3, x : x + 3] += 1
    expected = (total / count)[1:-1, 1:-1]
    np.testing.assert_allclose(non_local_means(GREY, patch, search, h, patchwise=True), expected, atol=1e-12)
    constant = np.full((4, 5, 2), 3.0)
    np.testing.assert_allclose(non_local_means(constant, 3, 5, h, patchwise=True), constant)


def test_a_disk_and_the_sum_of_channels_are_other_filters():
    plain = bilateral_filter(COLOUR, 5, 0.5, 2.0)
    corner = bilateral_kernel(COLOUR, (2, 2), 5, 0.5, 2.0, disk=True)[0, 0]
    assert corner == 0 and not np.allclose(bilateral_filter(COLOUR, 5, 0.5, 2.0, disk=True), plain, atol=1e-3)
    assert not np.allclose(bilateral_filter(COLOUR, 5, 0.5, 2.0, colour="l1"), plain, atol=1e-3)


def test_an_impulse_is_answered_symmetrically():
    impulse = np.zeros((9, 9))
    impulse[4, 4] = 1
    answer = bilateral_filter(impulse, 5, math.inf, 1.5)
    for other in (answer[::-1], answer[:, ::-1], answer.T):
        np.testing.assert_allclose(answer, other, atol=1e-15)


def test_widths_at_the_ends_of_the_numbers_give_no_nan():
    image = GREY.astype(np.float32)
    for tiny in (1e-30, 1e-300):
        np.testing.assert_allclose(bilateral_filter(image, 5, tiny, 2.0), image, rtol=1e-6)
        np.testing.assert_allclose(non_local_means(image, 1, 5, tiny), image, rtol=1e-6)
        np.testing.assert_allclose(gaussian_filter(image, 3, tiny), image, rtol=1e-6)
    everything = non_local_means(image, 3, 5, math.inf)
    np.testing.assert_allclose(everything, bilateral_filter(image, 5, math.inf, math.inf), rtol=1e-6)


def test_windows_larger_than_the_image_mirror_it_again():
    for shape in ((1, 1), (1, 3), (2, 2)):
        image = RNG.random(shape)
        padded = np.pad(image, 3, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7))
        np.testing.assert_allclose(gaussian_filter(image, 7, math.inf), windows.mean(axis=(2, 3)))


def test_the_same_on_a_device(device):
    image = mv.to_device(COLOUR, device)
    place = (1, 2)
    pairs = [
        (bilateral_filter(image, 3, 0.5, 1.0), bilateral_filter(COLOUR, 3, 0.5, 1.0)),
        (bilateral_kernel(image, place, 3, 0.5, 1.0), bilateral_kernel(COLOUR, place, 3, 0.5, 1.0)),
        (non_local_means(image, 3, 3, 0.3), non_local_means(COLOUR, 3, 3, 0.3)),
        (
            non_local_means(image, 3, 3, 0.3, patchwise=True),
            non_local_means(COLOUR, 3, 3, 0.3, patchwise=True),
        ),
        (non_local_means_kernel(image, place, 3, 3, 0.3), non_local_means_kernel(COLOUR, place, 3, 3, 0.3)),
        (gaussian_filter(mv.Tensor(image), 3, 1.0), gaussian_filter(COLOUR, 3, 1.0)),
    ]
    for got, expected in pairs:
        np.testing.assert_allclose(mv.to_numpy(got), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bilateral_filter(GREY, 4, 1.0, 1.0), "bilateral_filter: window must be an odd integer"),
        (lambda: bilateral_filter(GREY, 3.0, 1.0, 1.0), "bilateral_filter: window must be an odd integer"),
        (lambda: bilateral_filter(GREY, 3, 0.0, 1.0), "bilateral_filter: b_x must be positive, got 0.0"),
        (lambda: bilateral_filter(GREY, 3, 1.0, math.nan), "bilateral_filter: b_p must be positive, got nan"),
        (lambda: bilateral_filter(GREY[0], 3, 1.0, 1.0), r"image must be \(H, W\) or .* \(image: \(9,\)\)"),
        (lambda: bilateral_filter(GREY[:0], 3, 1.0, 1.0), r"with pixels \(image: \(0, 9\)\)"),
        (lambda: bilateral_filter(COLOUR, 3, 1.0, 1.0, colour="l2"), "colour must be 'euclidean' or 'l1'"),
        (lambda: bilateral_kernel(GREY, (7, 0), 3, 1.0, 1.0), "bilateral_kernel: place must be"),
        (lambda: gaussian_kernel(2, 1.0), "gaussian_kernel: window must be an odd integer"),
        (lambda: gaussian_filter(GREY, 3, -1.0), "gaussian_filter: b_p must be positive"),
        (lambda: non_local_means(GREY, 2, 3, 1.0), "non_local_means: patch must be an odd integer"),
        (lambda: non_local_means(GREY, 1, -3, 1.0), "non_local_means: search must be an odd integer"),
        (lambda: non_local_means(GREY, 1, 3, 1.0, sigma=-1), "non_local_means: sigma must not be negative"),
        (lambda: non_local_means_kernel(GREY, (-1, 0), 1, 3, 1.0), "non_local_means_kernel: place must be"),
    ],
)  # fmt: skip
def test_bad_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_refused():
    with pytest.raises(TypeError, match="bilateral_filter: image must be floating-point, got int64"):
        bilateral_filter(np.zeros((3, 3), int), 3, 1.0, 1.0)


def test_large_values_are_blurred_without_an_infinity():
    row = np.array([[0.0, 1e25, 0.0]], np.float32)  # its square is no float32
    np.testing.assert_allclose(gaussian_filter(row, 3, math.inf)[0, 1], 1e25 / 3, rtol=1e-6)
    np.testing.assert_array_equal(bilateral_filter(row, 3, 1.0, math.inf), row)


@pytest.mark.parametrize("place", [(1.5, 0), (1, 0, 0), 3, (-1, 0), (0, 4)])
def test_a_place_that_is_no_pixel_is_refused(place):
    with pytest.raises(ValueError, match=r"bilateral_kernel: place must be \(row, column\) of a pixel"):
        bilateral_kernel(np.ones((3, 4)), place, 3, 1.0, 1.0)


def test_a_list_is_refused_by_name():
    with pytest.raises(TypeError, match="non_local_means: image must be an array, got list"):
        non_local_means([[1.0]], 1, 1, 1.0)
