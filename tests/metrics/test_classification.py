"""Accuracy: what it counts, what it cannot be fooled by.

Not here: what any model reaches.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivis as mv
from minivis.metrics import accuracy


@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**32), st.data())
def test_it_counts_as_a_loop_over_samples_does(B, K, seed, data):
    k = data.draw(st.integers(1, K))
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, (B, K)).astype(np.float32)
    labels = rng.integers(K, size=B)
    right = 0
    for row, label in zip(scores, labels, strict=True):
        ahead = sum(s > row[label] or (s == row[label] and c < label) for c, s in enumerate(row))
        right += ahead < k
    assert accuracy(scores, labels, k) == right / B
    assert accuracy(scores, labels, K) == 1


def test_nobody_is_right_by_a_tie():
    constant = np.zeros((10, 10))
    assert accuracy(constant, np.arange(10)) == 0.1


def test_unsigned_scores_keep_their_order():
    assert accuracy(np.array([[0, 255, 3]], np.uint8), np.array([1])) == 1


def test_it_takes_the_answer_of_a_model():
    with mv.no_grad():
        assert accuracy(mv.Tensor([[1.0, 2.0]]), np.array([1])) == 1


@pytest.mark.parametrize(
    ("scores", "labels", "k", "kind", "complaint"),
    [
        (np.zeros(3), np.zeros(3, int), 1, ValueError, r"scores: \(3,\), labels: \(3,\)"),
        (np.zeros((3, 2)), np.zeros(2, int), 1, ValueError, r"scores: \(3, 2\), labels: \(2,\)"),
        (np.zeros((0, 2)), np.zeros(0, int), 1, ValueError, "there are no samples"),
        (np.zeros((1, 2)), np.zeros(1), 1, TypeError, "labels must be integers, got float64"),
        (np.zeros((1, 2)), np.array([2]), 1, ValueError, "labels must lie in 0 to 1, got 2 to 2"),
        (np.zeros((1, 2)), np.array([-1]), 1, ValueError, "labels must lie in 0 to 1, got -1 to -1"),
        (np.zeros((1, 2)), np.array([0]), 3, ValueError, "k must lie in 1 to 2, got 3"),
        (np.array([[0, np.nan]]), np.array([0]), 1, ValueError, "scores hold NaN"),
    ],
)
def test_what_has_no_accuracy_is_refused(scores, labels, k, kind, complaint):
    with pytest.raises(kind, match=f"^accuracy: .*{complaint}"):
        accuracy(scores, labels, k)
