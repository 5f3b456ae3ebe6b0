"""Windows: cutting and joining are inverse, a shift undone is no shift, the mask is what the un-rolled map says.

Not here: the laws (tests/laws), attention in windows (tests/models/test_swin.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import (
    cyclic_shift,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)

RNG = np.random.default_rng(2)
SIZES = [((2, 4, 6, 3), 2), ((1, 6, 4, 1), (3, 2)), ((3, 5, 7, 2), 1), ((2, 4, 4, 3), 4), ((0, 4, 6, 3), 2)]


@pytest.mark.parametrize("shape, window", SIZES)
def test_window_reverse_is_the_inverse_of_window_partition(shape, window):
    x = RNG.standard_normal(shape).astype(np.float32)
    m, n = window if isinstance(window, tuple) else (window, window)
    windows = window_partition(x, window)
    assert windows.shape == (shape[0] * (shape[1] // m) * (shape[2] // n), m, n, shape[3])
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(window_reverse(windows, window, *shape[1:3]), x)


def test_each_window_is_what_a_loop_cuts_out_windows_of_an_image_together():
    x = RNG.standard_normal((2, 6, 8, 3))
    windows = iter(window_partition(x, (3, 2)))
    for image in x:
        for i in range(0, 6, 3):
            for j in range(0, 8, 2):
                np.testing.assert_array_equal(next(windows), image[i : i + 3, j : j + 2])
    assert next(windows, None) is None


def test_shifting_back_undoes_a_shift():
    x = RNG.standard_normal((2, 5, 7, 3))
    shifted = cyclic_shift(x, (2, 3))
    np.testing.assert_array_equal(shifted[:, 0, 0], x[:, 2, 3])  # to the upper left
    np.testing.assert_array_equal(cyclic_shift(shifted, (-2, -3)), x)
    np.testing.assert_array_equal(cyclic_shift(x, 2), np.roll(x, (-2, -2), (1, 2)))
    np.testing.assert_array_equal(cyclic_shift(x, 0), x)


def published_mask(height, width, window, shift):
    """Nine regions numbered by slices, as in the paper's code."""
    image = np.zeros((height, width))
    count = 0
    for rows in (slice(0, -window), slice(-window, -shift), slice(-shift, None)):
        for columns in (slice(0, -window), slice(-window, -shift), slice(-shift, None)):
            image[rows, columns] = count
            count += 1
    regions = window_partition(image[None, :, :, None], window).reshape(-1, window * window)
    return regions[:, None, :] == regions[:, :, None]


@pytest.mark.parametrize(
    "height, width, window, shift", [(8, 12, 4, 2), (14, 7, 7, 3), (6, 6, 3, 1), (6, 9, 3, 2), (4, 4, 4, 2)]
)
def test_four_regions_mask_what_nine_do(height, width, window, shift):
    mask = shifted_window_mask(height, width, window, shift)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, published_mask(height, width, window, shift))


@pytest.mark.parametrize(
    "height, width, window, shift", [(6, 8, (3, 2), (1, 1)), (4, 10, (2, 5), (0, 2)), (4, 4, 2, 0)]
)
def test_the_mask_is_what_loops_over_the_map_before_the_shift_say(height, width, window, shift):
    (m, n), (down, right) = (v if isinstance(v, tuple) else (v, v) for v in (window, shift))
    mask = iter(shifted_window_mask(height, width, window, shift))
    for top in range(0, height, m):
        for left in range(0, width, n):
            places = [(top + a, left + b) for a in range(m) for b in range(n)]
            # how far each was moved
            came = [((y + down) % height - y, (x + right) % width - x) for y, x in places]
            np.testing.assert_array_equal(next(mask), [[a == b for b in came] for a in came])


@pytest.mark.parametrize("window", [1, 2, 7, (2, 3), (3, 2), (1, 4)])
def test_the_index_is_one_number_for_each_offset(window):
    m, n = window if isinstance(window, tuple) else (window, window)
    index = relative_position_index(window)
    assert index.dtype == np.int64 and index.shape == (m * n, m * n)
    places = [(y, x) for y in range(m) for x in range(n)]
    number = {}
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            assert number.setdefault((y - v, x - u), index[i, j]) == index[i, j]
    assert sorted(number.values()) == list(range((2 * m - 1) * (2 * n - 1)))
    assert [number[offset] for offset in sorted(number)] == sorted(number.values())  # row by row


def test_all_are_differentiable_and_work_on_a_device(device):
    x = RNG.standard_normal((2, 4, 6, 2))
    check_gradient(lambda x: window_partition(x, 2), x)
    check_gradient(lambda x: window_reverse(x, 2, 4, 6), window_partition(x, 2))
    check_gradient(lambda x: cyclic_shift(x, (1, 2)), x)
    on_device = mv.to_device(x, device)
    for function in (lambda x: window_partition(x, 2), lambda x: cyclic_shift(x, 1)):
        np.testing.assert_array_equal(mv.to_numpy(function(on_device)), function(x))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: window_partition(np.zeros((1, 5, 4, 3)), 2), "window_partition: x must be"),
        (lambda: window_partition(np.zeros((4, 4, 3)), 2), "window_partition: x must be"),
        (lambda: window_partition(np.zeros((1, 4, 4, 3)), 0), "window_partition: window must be an integer"),
        (
            lambda: window_partition(np.zeros((1, 4, 4, 3)), 2.0),
            "window_partition: window must be an integer",
        ),
        (lambda: window_reverse(np.zeros((3, 2, 2, 3)), 2, 4, 4), "window_reverse: windows must be"),
        (lambda: window_reverse(np.zeros((4, 2, 3, 3)), 2, 4, 4), "window_reverse: windows must be"),
        (lambda: window_reverse(np.zeros((4, 2, 2, 3)), 2, 5, 4), "window_reverse: windows must be"),
        (lambda: window_reverse(np.zeros((4, 2, 2, 3)), 2, 0, 4), "window_reverse: height, width must be"),
        (lambda: cyclic_shift(np.zeros((4, 4, 3)), 1), "cyclic_shift: x must be"),
        (lambda: shifted_window_mask(5, 4, 2, 1), "shifted_window_mask: windows"),
        (lambda: shifted_window_mask(4, 4, 2, 2), "shifted_window_mask: windows"),
        (lambda: shifted_window_mask(4, 4, 2, -1), "shifted_window_mask: windows"),
        (lambda: shifted_window_mask(4, 0, 2, 1), "shifted_window_mask: height, width must be"),
        (lambda: relative_position_index(0), "relative_position_index: window must be an integer"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
