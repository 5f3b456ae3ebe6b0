"""Probes of features and masks of attention: known answers, scikit-learn's, what is refused.

Not here: features of a trained network (tests/recipes/test_dino_digits.py).
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from minivis.analysis import attention_masks, jaccard, k_nearest, linear_probe

RNG = np.random.default_rng(0)
MIDDLES = 2 * RNG.normal(size=(4, 6))


def clusters(count, seed, noise=1.0):
    """Features around four middles, and which middle each has."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    return MIDDLES[labels] + noise * rng.normal(size=(count, 6)), labels + 10


def test_the_linear_probe_is_logistic_regression_on_standardised_features():
    (train, train_labels), (test, test_labels) = clusters(120, 1, 2.5), clusters(400, 2, 2.5)
    train, test = train * [1, 1, 1, 100, 1, 1e-3], test * [1, 1, 1, 100, 1, 1e-3]
    found = linear_probe(train, train_labels, test, test_labels, decay=0.01)
    mean, std = train.mean(axis=0), train.std(axis=0)
    other = LogisticRegression(C=1 / (0.01 * len(train)), tol=1e-8, max_iter=1000)
    other.fit((train - mean) / std, train_labels)
    assert found == pytest.approx(other.score((test - mean) / std, test_labels), abs=0.003)
    assert 0.5 < found < 0.95  # neither chance nor everything, so that a difference would show


def test_a_feature_that_never_changes_does_no_harm():
    train, labels = clusters(60, 1, 0.3)
    same = np.ones((60, 1))
    assert linear_probe(np.hstack([train, same]), labels, np.hstack([train, same]), labels) == 1


def test_near_neighbours_count_more_than_far_ones():
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    labels = np.array([0, 1, 1])
    test = np.array([[1.0, 0.05]])
    assert k_nearest(train, labels, test, [0], k=3, temperature=0.07) == 1  # exp(0.2 / 0.07) is more than two
    assert k_nearest(train, labels, test, [1], k=3, temperature=10.0) == 1  # a vote of three
    assert k_nearest(train, labels, test, [0], k=1, temperature=1e-6) == 1  # nothing overflows


def test_the_length_of_features_does_not_count():
    (train, labels), (test, wanted) = clusters(80, 1), clusters(80, 2)
    factors = RNG.uniform(0.1, 10, (80, 1))
    assert (
        k_nearest(train * factors, labels, test / factors, wanted)
        == k_nearest(train, labels, test, wanted)
        > 0.7
    )


def test_centring_helps_where_all_features_point_one_way():
    (train, labels), (test, wanted) = clusters(80, 1), clusters(80, 2)
    far = np.full(6, 1e9)
    assert k_nearest(train + far, labels, test + far, wanted, centred=True) == pytest.approx(
        k_nearest(train, labels, test, wanted, centred=True), abs=0.03
    )
    assert k_nearest(train + far, labels, test + far, wanted) < 0.6


def test_masks_hold_their_share_with_the_fewest_places():
    weights = RNG.random((3, 4, 20)).astype(np.float32)
    masks = attention_masks(weights, 0.6)
    total = weights.sum(axis=-1)
    assert ((weights * masks).sum(axis=-1) >= 0.6 * total - 1e-6).all()
    least = np.where(masks, weights, np.inf).min(axis=-1)
    without = (weights * masks).sum(axis=-1) - least
    assert (without < 0.6 * total).all()
    assert attention_masks(np.zeros(4)).sum() == 1 and attention_masks(np.ones(4), 1.0).all()


def test_overlaps_broadcast_over_heads():
    masks = np.zeros((2, 3, 4, 4), bool)
    masks[:, 0, :2] = True
    masks[:, 1, 2:] = True
    truth = np.zeros((2, 1, 4, 4), bool)
    truth[:, :, :, :2] = True
    truth[1] = False
    np.testing.assert_allclose(jaccard(masks, truth), [[1 / 3, 1 / 3, 0], [0, 0, 1]])


F = np.ones((3, 2))
L = np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: linear_probe(F, L, F[:, :1], L), ValueError, r"linear_probe: train and test must be"),
        (
            lambda: linear_probe(F, L[:2], F, L),
            ValueError,
            r"linear_probe: each row of features needs one label",
        ),
        (lambda: linear_probe(F * np.nan, L, F, L), ValueError, "linear_probe: features must be finite"),
        (
            lambda: linear_probe(F, 0 * L, F, L),
            ValueError,
            "linear_probe: train_labels must have two classes",
        ),
        (lambda: linear_probe(F, L, F, L, decay=0), ValueError, "linear_probe: decay must be above 0, got 0"),
        (
            lambda: k_nearest(F, L, F, L, k=4),
            ValueError,
            "k_nearest: k must be a whole number between 1 and 3",
        ),
        (
            lambda: k_nearest(F, L, F, L, k=1, temperature=0),
            ValueError,
            "k_nearest: temperature must be above 0",
        ),
        (lambda: k_nearest(F[:0], L[:0], F, L), ValueError, "k_nearest: train and test must be"),
        (lambda: attention_masks(np.zeros((2, 0))), ValueError, "attention_masks: weights must be"),
        (
            lambda: attention_masks(np.array([-1.0, 2.0])),
            ValueError,
            "attention_masks: weights must be finite",
        ),
        (lambda: attention_masks(np.ones(2), 0), ValueError, "attention_masks: share must be above 0"),
        (
            lambda: jaccard(F > 0, F),
            TypeError,
            "jaccard: masks and truth must be boolean, got bool and float64",
        ),
        (lambda: jaccard(F > 0, F[:2] > 0), ValueError, "jaccard: masks and truth must be"),
    ],
)
def test_mistakes_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
