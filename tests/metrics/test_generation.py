"""Measures of generated pictures: against closed forms, loops and SciPy; what is refused.

Not here: what the shipped generator reaches (tests/recipes).
"""

import numpy as np
import pytest
import scipy.linalg

from minivis import Tensor
from minivis.metrics import frechet_distance, nearest_neighbours, precision_recall

RNG = np.random.default_rng(2)
REAL = RNG.standard_normal((40, 3))
FAKE = RNG.standard_normal((30, 3)) * [1, 2, 0.5] + [0, 1, 0]


def test_frechet_distance_is_that_of_scipys_matrix_root():
    one, other = (np.cov(x, rowvar=False) for x in (REAL, FAKE))
    root = scipy.linalg.sqrtm(one @ other).real
    expected = ((REAL.mean(0) - FAKE.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root)
    assert frechet_distance(REAL, FAKE) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(FAKE, REAL) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_in_closed_form():
    assert frechet_distance(REAL, REAL) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(REAL, REAL + [3, 0, 4]) == pytest.approx(25)
    spread = np.trace(np.cov(REAL, rowvar=False))
    # (3 - 1)^2 variances
    assert frechet_distance(REAL, 3 * REAL - 2 * REAL.mean(0)) == pytest.approx(4 * spread)
    few = REAL[:2]  # fewer samples than features: a covariance of rank 1
    assert np.isfinite(frechet_distance(few, FAKE))


def slow_share(inside, balls, k):
    """The share of points that lie in a ball around one of the others, by loops."""
    found = 0
    for point in inside:
        for i, centre in enumerate(balls):
            others = sorted(np.linalg.norm(centre - b) for j, b in enumerate(balls) if j != i)
            if np.linalg.norm(point - centre) <= others[k - 1]:
                found += 1
                break
    return found / len(inside)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_those_of_loops(k):
    expected = slow_share(FAKE, REAL, k), slow_share(REAL, FAKE, k)
    assert (
        precision_recall(REAL, FAKE, k) == pytest.approx(expected) and 0 < min(expected) < max(expected) < 1
    )


def test_one_good_picture_has_precision_and_no_recall():
    real = RNG.standard_normal((50, 2))
    same = real[:1] + 1e-6 * RNG.standard_normal((50, 2))
    precision, recall = precision_recall(real, same)
    assert precision == 1 and recall <= 0.02
    far = real + 100
    assert precision_recall(real, far) == (0, 0) and precision_recall(real, real) == (1, 1)


def test_nearest_neighbours_are_those_of_loops():
    a, b = RNG.random((4, 1, 2, 2), np.float32), RNG.random((6, 1, 2, 2), np.float32)
    found, distances = nearest_neighbours(a, b, k=3)
    for row, where, how_far in zip(a, found, distances, strict=True):
        every = [float(np.linalg.norm(row.astype(float) - other)) for other in b]
        assert where.tolist() == np.argsort(every)[:3].tolist()
        np.testing.assert_allclose(how_far, sorted(every)[:3])
    assert (
        nearest_neighbours(b, b)[1].max() == 0
        and nearest_neighbours(Tensor(b), Tensor(b))[0].dtype == np.int64
    )


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: frechet_distance(REAL, FAKE[:, :2]), r"^frechet_distance: .*got \(40, 3\) and \(30, 2\)"),
        (lambda: frechet_distance(REAL[:1], FAKE), r"^frechet_distance: .* with N, M >= 2, got \(1, 3\)"),
        (lambda: frechet_distance(REAL * np.nan, FAKE), "^frechet_distance: features must be finite"),
        (
            lambda: precision_recall(REAL, FAKE, 30),
            r"^precision_recall: k must be .* got 30 .*generated: \(30, 3\)",
        ),
        (lambda: precision_recall(REAL, FAKE, 0), "^precision_recall: k must be a whole number between 1"),
        (lambda: nearest_neighbours(REAL, FAKE[:, :2]), r"^nearest_neighbours: .*\(40, 3\).*\(30, 2\)"),
        (lambda: nearest_neighbours(REAL, FAKE[:0]), "^nearest_neighbours: queries and references"),
        (
            lambda: nearest_neighbours(REAL, FAKE, 31),
            "^nearest_neighbours: k must be a whole number between 1 and 30, got 31",
        ),
    ],
)
def test_mistakes_are_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_a_k_that_is_no_whole_number_is_refused_by_name():
    rows = np.arange(6.0)[:, None]
    with pytest.raises(ValueError, match="precision_recall: k must be a whole number"):
        precision_recall(rows, rows, 2.0)
    with pytest.raises(ValueError, match="nearest_neighbours: k must be a whole number"):
        nearest_neighbours(rows, rows, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_have_no_neighbours(bad):
    with pytest.raises(ValueError, match="nearest_neighbours: rows must be finite"):
        nearest_neighbours([[bad]], [[1.0], [2.0]])
