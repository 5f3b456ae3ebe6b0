"""Main directions, what stands out, and matching patches, on features whose answer is known.

Not here: published features (tests/pretrained), the pictures (tests/viz/test_features.py).
"""

import numpy as np
import pytest

from minivis import Tensor
from minivis.analysis import foreground, mutual_nearest, principal_components

RNG = np.random.default_rng(0)


def test_directions_are_found_in_the_order_of_their_variance():
    turn, _ = np.linalg.qr(RNG.standard_normal((5, 5)))
    hidden = RNG.standard_normal((400, 5)) * [9, 4, 2, 0.1, 0.1]
    scores, shares = principal_components(hidden @ turn.T + 7, count=3)
    for k in range(3):
        assert abs(np.corrcoef(scores[:, k], hidden[:, k])[0, 1]) > 0.95
    variances = hidden.var(axis=0)
    np.testing.assert_allclose(shares, (variances / variances.sum())[:3], atol=0.02)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-9)
    assert np.abs(np.corrcoef(scores.T) - np.eye(3)).max() < 1e-9


def test_directions_may_come_from_some_patches_only():
    x = RNG.standard_normal((60, 3)) * [1, 5, 1]
    x[30:, 2] += 100  # the background differs along the third axis
    inside = np.arange(60) < 30
    scores, _ = principal_components(x, 1, inside)
    assert abs(np.corrcoef(scores[inside, 0], x[inside, 1])[0, 1]) > 0.99
    every, _ = principal_components(x, 1)
    assert abs(np.corrcoef(every[:, 0], x[:, 2])[0, 1]) > 0.99


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_are_kept_and_signs_are_fixed(dtype):
    x = RNG.standard_normal((20, 4)).astype(dtype)
    scores, shares = principal_components(Tensor(x), 2)
    assert scores.dtype == shares.dtype == (np.float16 if dtype == "float16" else dtype)
    again, _ = principal_components(x[::-1].copy(), 2)
    np.testing.assert_allclose(again[::-1], scores, atol=0.02 if dtype == "float16" else 1e-4)
    still, none = principal_components(np.ones((4, 2), dtype), 1)
    assert not still.any() and not none.any()


def test_what_stands_out_is_inside():
    picture = RNG.normal(0, 0.3, (6, 8))
    picture[2:5, 3:6] += 4
    expected = np.zeros((6, 8), bool)
    expected[2:5, 3:6] = True
    for sign in (1, -1):  # the sign of a direction has no meaning
        np.testing.assert_array_equal(foreground(sign * picture.ravel(), (6, 8)), expected)
    assert foreground(np.array([0.0, 1.0]), (1, 2)).sum() == 1


def test_otsu_s_threshold_is_the_best_of_all():
    scores = RNG.standard_normal(40)
    mask = foreground(scores, (5, 8)).ravel()

    def within(mask):
        return sum(((part - part.mean()) ** 2).sum() for part in (scores[mask], scores[~mask]))

    assert within(mask) <= min(within(scores > t) for t in np.sort(scores)[:-1]) + 1e-9


def test_pairs_are_each_other_s_nearest():
    x = RNG.standard_normal((30, 6))
    order = RNG.permutation(30)
    pairs, similarities = mutual_nearest(x, 3 * x[order])  # length does not matter
    assert len(pairs) == 30 and (order[pairs[:, 1]] == pairs[:, 0]).all()
    np.testing.assert_allclose(similarities, 1)
    other = RNG.standard_normal((20, 6))
    pairs, similarities = mutual_nearest(x, other)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, other)]
    cosines = unit[0] @ unit[1].T
    loops = [
        (i, j)
        for i in range(30)
        for j in range(20)
        if cosines[i].max() == cosines[i, j] == cosines[:, j].max()
    ]
    assert sorted(map(tuple, pairs)) == loops and 0 < len(loops) <= 20
    assert (np.diff(similarities) <= 0).all()
    assert mutual_nearest(np.zeros((2, 3)), np.ones((2, 3)))[1].tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: principal_components(np.ones((2, 3, 4))),
            r"features must be \(N, D\) floats, got float64 \(2, 3, 4\)",
        ),
        (lambda: principal_components(np.ones((4, 3), int)), "got int64"),
        (lambda: principal_components(np.ones((4, 3)), 4), "count must be from 1 to D=3, got 4"),
        (
            lambda: principal_components(np.ones((4, 3)), 1, [True] * 3),
            r"where must be 4 truth values.*got bool \(3,\)",
        ),
        (lambda: principal_components(np.ones((4, 3)), 1, [True, False, False, False]), "two of them true"),
        (lambda: foreground(np.ones(5), (2, 3)), r"foreground: expected 2 x 3 numbers, got \(5,\)"),
        (lambda: mutual_nearest(np.ones((2, 3)), np.ones((2, 4))), "differ in width"),
        (lambda: mutual_nearest(np.ones((2, 3)), np.ones(3)), "second must be"),
        (
            lambda: mutual_nearest(np.full((2, 3), np.nan), np.ones((2, 3))),
            "mutual_nearest: first must be finite",
        ),
        (
            lambda: principal_components(np.full((4, 3), np.inf), 1),
            "principal_components: features must be finite",
        ),
        (lambda: foreground(np.full(6, np.nan), (2, 3)), "foreground: scores must be finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_count_may_be_a_number_of_numpy():
    x = np.random.default_rng(0).normal(size=(5, 3))
    for ours, theirs in zip(principal_components(x, np.int64(2)), principal_components(x, 2), strict=True):
        np.testing.assert_array_equal(ours, theirs)
