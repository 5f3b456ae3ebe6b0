"""Attended areas, distances of single queries, and means over groups of queries.

Not here: the mean distance (tests/laws), the masks (test_patch_features.py and the recipes of DINO).
"""

import numpy as np
import pytest

from minivis.analysis import attended_area, attention_distance, mean_of_groups, query_distances

RNG = np.random.default_rng(33)


def test_an_area_is_the_share_of_places_that_hold_the_attention():
    uniform = np.full((2, 3, 8, 8), 0.125)
    np.testing.assert_array_equal(attended_area(uniform, 0.75), 0.75)
    one = np.zeros((1, 10))
    one[0, 4] = 1
    np.testing.assert_allclose(attended_area(one), 0.1)
    assert attended_area(np.array([0.5, 0.3, 0.15, 0.05]), 0.8) == 0.5


def test_the_mean_distance_is_the_mean_over_the_queries():
    attention = RNG.random((2, 3, 12, 12))
    each = query_distances(attention, (4, 8), (3, 4))
    assert each.shape == (2, 3, 12)
    np.testing.assert_allclose(each.mean(axis=-1), attention_distance(attention, (4, 8), (3, 4)))
    itself = np.eye(12)
    assert not query_distances(itself, 4, (3, 4)).any()
    corner = np.zeros((12, 12))
    corner[:, 0] = 1
    np.testing.assert_allclose(query_distances(corner, 4, (3, 4))[[0, 3, 11]], [0, 12, (8**2 + 12**2) ** 0.5])


def test_means_of_groups_are_those_of_each_head():
    values = RNG.random((3, 2, 5))
    groups = RNG.integers(-1, 2, (3, 5))
    found = mean_of_groups(values, groups, 3)
    for group in (0, 1):
        expected = [values[:, head][groups == group].mean() for head in (0, 1)]
        np.testing.assert_allclose(found[group], expected)
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: query_distances(np.ones((3, 4)), 4, (2, 2)),
            r"query_distances: attention must be \(\.\.\., N, N\)",
        ),
        (
            lambda: mean_of_groups(np.ones((2, 3)), np.zeros((2, 3), int), 1),
            r"mean_of_groups: needs values \(B, h, N\)",
        ),
        (
            lambda: mean_of_groups(np.ones((2, 1, 3)), np.zeros((2, 4), int), 1),
            "mean_of_groups: needs values",
        ),
        (
            lambda: mean_of_groups(np.ones((1, 1, 3)), np.array([[0, 1, 2]]), 2),
            "mean_of_groups: groups must be -1 to 1",
        ),
        (lambda: attended_area(np.ones((2, 3)), 0.0), "attention_masks: share must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_belongs_to_no_group_or_another_one_does_not_count():
    values = np.array([[[1.0, 3.0, np.nan, np.inf]]])
    found = mean_of_groups(values, np.array([[0, 0, -1, 1]]), 2)
    np.testing.assert_array_equal(found, [[2.0], [np.inf]])


def test_half_groups_are_refused():
    with pytest.raises(TypeError, match="mean_of_groups: groups must be integers, got float64"):
        mean_of_groups(np.ones((1, 1, 2)), np.array([[0.0, 0.5]]), 1)
