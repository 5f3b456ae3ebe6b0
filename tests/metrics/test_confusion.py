"""Confusion matrix and mean IoU: against loops, and what cannot be counted.

Not here: what any model reaches.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivis.metrics import class_iou, confusion_matrix, mean_iou


@given(st.integers(1, 5), st.integers(0, 2**32))
def test_it_counts_as_a_loop_does(K, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K + 1, (2, 4, 5))
    predictions = rng.integers(0, K, (2, 4, 5)).astype(np.uint8)
    labels[labels == K] = 255
    got = confusion_matrix(predictions, labels, K, ignore_index=255)
    expected = np.zeros((K, K), int)
    for said, true in zip(predictions.ravel(), labels.ravel(), strict=True):
        if true != 255:
            expected[true, said] += 1
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected)


@given(st.integers(1, 5), st.integers(0, 2**32))
def test_iou_is_intersection_over_union_of_the_pixels_of_a_class(K, seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, K, (2, 3, 4, 4))
    got = class_iou(confusion_matrix(predictions, labels, K))
    each = []
    for k in range(K):
        a, b = predictions == k, labels == k
        if (a | b).any():
            each.append((a & b).sum() / (a | b).sum())
            assert got[k] == each[-1]
        else:
            assert got[k] == -1
    assert mean_iou(confusion_matrix(predictions, labels, K)) == pytest.approx(np.mean(each))


def test_matrices_of_batches_add_up():
    rng = np.random.default_rng(0)
    predictions, labels = rng.integers(0, 3, (2, 6, 8))
    parts = sum(confusion_matrix(predictions[i : i + 2], labels[i : i + 2], 3) for i in (0, 2, 4))
    np.testing.assert_array_equal(parts, confusion_matrix(predictions, labels, 3))


def test_one_class_everywhere_has_a_high_accuracy_and_a_low_mean_iou():
    labels = np.zeros(100, int)
    labels[:10] = np.arange(10)
    matrix = confusion_matrix(np.zeros(100, int), labels, 10)
    assert np.trace(matrix) / matrix.sum() == 0.91 and mean_iou(matrix) == pytest.approx(0.091)


@pytest.mark.parametrize(
    ("predictions", "labels", "kind", "complaint"),
    [
        (np.zeros((1, 3, 2), int), np.zeros((1, 2), int), ValueError, r"argmax\(axis=1\)"),
        (np.zeros(2), np.zeros(2, int), TypeError, "predictions must be integers, got float64"),
        (np.zeros(2, int), np.zeros(2), TypeError, "labels must be integers, got float64"),
        (np.array([0, 3]), np.array([0, 1]), ValueError, "predictions must lie in 0 to 2, got 0 to 3"),
        (np.array([0, 1]), np.array([-1, 1]), ValueError, "labels must lie in 0 to 2, got -1 to 1"),
    ],
)
def test_what_cannot_be_counted_is_refused(predictions, labels, kind, complaint):
    with pytest.raises(kind, match=f"^confusion_matrix: .*{complaint}"):
        confusion_matrix(predictions, labels, 3)


def test_no_matrix_and_no_pixels_have_no_iou():
    with pytest.raises(ValueError, match=r"^class_iou: confusion must be \(K, K\), got \(2, 3\)"):
        class_iou(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="^mean_iou: nothing was counted"):
        mean_iou(np.zeros((2, 2)))
