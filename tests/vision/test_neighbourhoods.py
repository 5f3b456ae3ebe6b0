"""Neighbourhoods: borders, masks, scores and sums by loops over pixels, also for windows that are even or not square.

Not here: gradients and refusals of the primitives (tests/ops), precision (tests/test_precision.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import vision

RNG = np.random.default_rng(8)
WINDOWS = [(3, 3), (1, 1), (2, 5), (4, 1)]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("border, mode", [("zeros", "constant"), ("reflect", "reflect")])
def test_the_border_is_that_of_numpy(window, border, mode):
    x = RNG.standard_normal((2, 3, 5, 6))
    widths = [(side // 2, side - 1 - side // 2) for side in window]
    expected = np.pad(x, [(0, 0), (0, 0), *widths], mode=mode)
    np.testing.assert_array_equal(vision.add_border(x, window, border), expected)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_scores_sums_and_neighbours_by_loops(window):
    m, n = window
    H, W = 4, 5
    q = RNG.standard_normal((2, 3, 2, H, W))
    bordered = RNG.standard_normal((2, 3, 2, H + m - 1, W + n - 1))
    weights = RNG.standard_normal((2, 3, m * n, H, W))
    scores = vision.neighbour_scores(q, bordered, window)
    sums = vision.neighbour_sum(weights, bordered, window)
    seen = vision.neighbours(bordered, window)
    for y, x in np.ndindex(H, W):
        there = bordered[..., y : y + m, x : x + n].reshape(2, 3, 2, m * n)
        np.testing.assert_array_equal(seen[..., y, x], there)
        np.testing.assert_allclose(scores[..., y, x], np.einsum("bhd,bhdo->bho", q[..., y, x], there))
        np.testing.assert_allclose(sums[..., y, x], np.einsum("bho,bhdo->bhd", weights[..., y, x], there))


@pytest.mark.parametrize("window", [*WINDOWS, 7], ids=str)
def test_only_what_lies_inside_has_a_weight(window):
    m, n = window if isinstance(window, tuple) else (window, window)
    mask = vision.neighbour_mask(3, 4, window)
    for o, (i, j) in enumerate(np.ndindex(m, n)):
        for y, x in np.ndindex(3, 4):
            assert mask[o, y, x] == (0 <= y + i - m // 2 < 3 and 0 <= x + j - n // 2 < 4)
    with mv.debug():
        weights = vision.neighbour_softmax(
            mv.Tensor(300 * RNG.standard_normal((1, 2, m * n, 3, 4))), window
        ).numpy()
    assert (weights[:, :, ~mask] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=2), 1)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: vision.add_border(np.ones((2, 2)), 3, "wrap"),
            "add_border: border must be one of zeros, reflect",
        ),
        (lambda: vision.neighbour_mask(0, 2, 3), "neighbour_mask: height, width must be"),
        (
            lambda: vision.neighbour_softmax(np.ones((1, 1, 8, 2, 2)), 3),
            r"neighbour_softmax: scores must be \(B, h, 9",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
