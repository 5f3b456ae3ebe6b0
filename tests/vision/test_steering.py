"""Steering kernels: along the edge, on perfect edges and flat ground, surfaces of order 2, devices, bad input.

Not here: the laws (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.vision import (
    gaussian_filter,
    image_gradients,
    steering_kernel,
    steering_kernel_regression,
    steering_matrices,
)

RNG = np.random.default_rng(5)
IMAGE = RNG.random((6, 7))


def step(rows=21, columns=21):
    image = np.zeros((rows, columns))
    image[:, columns // 2 :] = 255
    return image


def test_gradients_of_a_plane_are_its_slopes():
    y, x = np.mgrid[:7, :8].astype(float)
    gx, gy = image_gradients(2 * x - 3 * y + 1)
    np.testing.assert_allclose(gx[2:-2, 2:-2], 2)
    np.testing.assert_allclose(gy[2:-2, 2:-2], -3)
    np.testing.assert_allclose(image_gradients(2 * x, window=3, h=0.3)[0][:, 1:-1], 2)


def test_the_kernel_lies_along_a_perfect_edge():
    """What the weight is five pixels across and along, by the formula, for either lambda''."""
    gx = np.zeros((21, 21))
    gx[:, 10] = 127.5
    gx[:, 9] = 127.5
    gy = np.zeros_like(gx)
    weights = {}
    for lam2 in (0.01, 1e-7):
        C = steering_matrices(gx, gy, 11, lam2=lam2)[10, 10]
        offsets = np.array([[5.0, 0.0], [0.0, 5.0]])
        weights[lam2] = [np.exp(-d @ C @ d / (2 * 2.4**2)) for d in offsets]
    assert weights[0.01][0] < 1e-4 and weights[0.01][1] > 0.9999
    assert 0.95 < weights[1e-7][0] < 0.98  # across the edge: it would be blurred away


def test_float32_keeps_the_small_singular_value_of_a_diagonal_edge():
    g = (np.abs(RNG.standard_normal((9, 9))) * 200).astype(np.float32)
    C = steering_matrices(g, g, 5)
    assert C.dtype == np.float32
    s1 = np.sqrt((2 * np.pad(g.astype(float), 2, mode="reflect")[2:7, 2:7] ** 2).sum())
    gamma = (0.01 / 25) ** 0.5
    across = C[2, 2].sum() / 2  # (1, 1) C (1, 1) / 2
    assert across == pytest.approx(gamma * (s1 + 1), rel=1e-4)


def test_round_kernels_are_a_gaussian():
    C = np.broadcast_to(np.eye(2), (6, 7, 2, 2))
    expected = gaussian_filter(IMAGE, 5, np.sqrt(2) * 1.5)
    np.testing.assert_allclose(steering_kernel_regression(IMAGE, C, 5, 1.5), expected, rtol=1e-12)


def test_a_kernel_holds_the_weights_of_the_regression():
    gx, gy = image_gradients(255 * IMAGE)
    C = steering_matrices(gx, gy, 5)
    smooth = steering_kernel_regression(IMAGE, C, 5, 2.0)
    padded = np.pad(IMAGE, 2, mode="reflect")
    for y, x in ((0, 0), (3, 3), (5, 6)):
        kernel = steering_kernel(C, (y, x), 5, 2.0)
        assert kernel.sum() == pytest.approx(1)
        assert (kernel * padded[y : y + 5, x : x + 5]).sum() == pytest.approx(smooth[y, x])


def test_order_2_reproduces_quadratic_surfaces_whatever_the_kernels():
    y, x = np.mgrid[:9, :9].astype(float)
    surface = 1 + x - 2 * y + 0.3 * x * x - 0.2 * x * y + 0.1 * y * y
    gx, gy = image_gradients(surface)
    C = steering_matrices(gx, gy, 3)
    smooth = steering_kernel_regression(surface, C, 5, 2.0, order=2)
    np.testing.assert_allclose(smooth[2:-2, 2:-2], surface[2:-2, 2:-2], atol=1e-5)
    assert np.abs(steering_kernel_regression(surface, C, 5, 2.0) - surface)[2:-2, 2:-2].max() > 0.1


def test_where_only_one_pixel_has_a_say_it_keeps_its_value():
    C = np.broadcast_to(1e6 * np.eye(2), (6, 7, 2, 2))
    for order in (0, 2):
        np.testing.assert_allclose(steering_kernel_regression(IMAGE, C, 5, 1.0, order=order), IMAGE)
    np.testing.assert_allclose(steering_kernel_regression(IMAGE, C, 1, 1.0, order=2), IMAGE)


def test_an_edge_stays_sharper_than_under_a_gaussian():
    noisy = step() + RNG.normal(0, 10, (21, 21))
    C = steering_matrices(*image_gradients(noisy), 7)
    steered = steering_kernel_regression(noisy, C, 11, 2.4)
    blurred = gaussian_filter(noisy, 11, np.sqrt(2) * 2.4)
    errors = [np.sqrt(np.mean((found - step()) ** 2)) for found in (steered, blurred, noisy)]
    assert errors[0] < errors[1] / 3 and errors[0] < errors[2]


def test_the_same_on_a_device(device):
    image = mv.to_device(IMAGE * 255, device)
    gx, gy = image_gradients(image)
    C = steering_matrices(gx, gy, 3)
    expected = steering_matrices(*image_gradients(IMAGE * 255), 3)
    np.testing.assert_allclose(mv.to_numpy(C), expected, rtol=1e-10)
    for order in (0, 2):
        got = mv.to_numpy(steering_kernel_regression(image, C, 3, 1.0, order))
        wanted = steering_kernel_regression(IMAGE * 255, expected, 3, 1.0, order)
        np.testing.assert_allclose(got, wanted, rtol=1e-8)
    kernel = steering_kernel(mv.Tensor(C), (1, 1), 3, 1.0)
    np.testing.assert_allclose(mv.to_numpy(kernel), steering_kernel(expected, (1, 1), 3, 1.0), rtol=1e-8)


C = np.broadcast_to(np.eye(2), (6, 7, 2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image_gradients(IMAGE, 1), "image_gradients: window must be at least 3"),
        (lambda: image_gradients(IMAGE[..., None]), r"image_gradients: image must be \(H, W\) with pixels"),
        (lambda: image_gradients(IMAGE, h=0), "image_gradients: h must be positive"),
        (
            lambda: steering_matrices(IMAGE, IMAGE[1:], 3),
            r"steering_matrices: gx and gy .*\(gx: \(6, 7\), gy",
        ),
        (lambda: steering_matrices(IMAGE, IMAGE, 4), "steering_matrices: window must be an odd integer"),
        (lambda: steering_matrices(IMAGE, IMAGE, 3, lam2=0), "steering_matrices: lam2 must be positive"),
        (lambda: steering_kernel_regression(IMAGE, C[1:], 3, 1.0), "C must have a matrix for each pixel"),
        (lambda: steering_kernel_regression(IMAGE, C[..., 0], 3, 1.0), r"C must be \(H, W, 2, 2\)"),
        (lambda: steering_kernel_regression(IMAGE, C, 3, 1.0, order=1), "order must be 0 or 2, got 1"),
        (lambda: steering_kernel_regression(IMAGE, C, 3, -1.0), "h must be positive"),
        (lambda: steering_kernel(C, (6, 0), 3, 1.0), "steering_kernel: place must be"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_refused():
    with pytest.raises(TypeError, match="steering_kernel: C must be floating-point"):
        steering_kernel(C.astype(int), (0, 0), 3, 1.0)


@pytest.mark.parametrize("h", [1e-2, 1e-200])
def test_with_a_narrow_window_the_slope_is_the_difference_of_the_two_neighbours(h):
    image = np.random.default_rng(5).random((4, 5))
    gx, gy = image_gradients(image, 5, h)
    np.testing.assert_allclose(gx[:, 1:-1], (image[:, 2:] - image[:, :-2]) / 2)
    np.testing.assert_allclose(gy[1:-1], (image[2:] - image[:-2]) / 2)


def test_a_kernel_of_no_width_is_the_pixel_alone():
    image, round_ones = np.random.default_rng(5).random((4, 5)), np.broadcast_to(np.eye(2), (4, 5, 2, 2))
    np.testing.assert_array_equal(steering_kernel_regression(image, round_ones, 3, 1e-200), image)
