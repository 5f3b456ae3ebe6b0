"""A split gives every sample to exactly one part, class by class in the right shares; a subset is a data set.
Not here: batches (test_loader)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.data import DataLoader, Subset, split
from minivis.data.shapes import Scenes

SHARES = [(0.8, 0.2), (0.5, 0.5), (0.7, 0.2, 0.1), (1.0,), (0.01, 0.99)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=12, max_size=60), st.sampled_from(SHARES), st.integers(0, 99))
def test_every_class_is_divided_in_the_shares(labels, shares, seed):
    try:
        parts = split(labels, shares, seed)
    except ValueError as error:
        assert "would be empty" in str(error)
        return
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part, share in zip(parts, shares, strict=True):
        assert part.dtype == np.int64 and (np.diff(part) > 0).all()
        for label in set(labels):
            own = labels.count(label)
            got = sum(labels[i] == label for i in part)
            # a whole number beside the exact share, or at least one where there are enough
            assert abs(got - share * own) < 1 or own >= len(shares)
            if own >= len(shares):
                assert got >= 1
    if min(labels.count(label) for label in set(labels)) >= 10 and min(shares) >= 0.1:
        for part, share in zip(parts, shares, strict=True):
            for label in set(labels):
                assert abs(sum(labels[i] == label for i in part) - share * labels.count(label)) < 1
    assert all(np.array_equal(a, b) for a, b in zip(parts, split(labels, shares, seed), strict=True))


def test_small_classes_have_a_sample_in_each_part_if_they_can():
    train, validation = split(["a"] * 2 + ["b"] + ["c"] * 97, seed=3)
    assert {0, 1} & set(train) and {0, 1} & set(validation) and 2 in train
    assert (len(train), len(validation)) == (1 + 1 + 78, 1 + 19)


def test_a_count_is_split_at_random_and_seeds_differ():
    first, other = split(100, seed=0)[0], split(100, seed=1)[0]
    assert len(first) == len(other) == 80 and not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(80))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: split(10, (0.8, 0.3)), r"shares must be above 0 and add up to 1, got \[0.8, 0.3\]"),
        (lambda: split(10, (1.2, -0.2)), "shares must be above 0"),
        (lambda: split(1), "2 parts need at least as many samples in one list, got labels of shape"),
        (lambda: split(np.zeros((2, 2))), "in one list"),
        (lambda: split([0, 1], (0.9, 0.1)), "the part with the share 0.1 of 2 samples would be empty"),
    ],
)
def test_what_cannot_be_split_is_named(call, words):
    with pytest.raises(ValueError, match=f"^split: .*{words}"):
        call()


def test_labels_are_a_list_or_a_number():
    for labels in ("abc", 10.0, None):
        with pytest.raises(TypeError, match="^split: labels must be a list of labels or a number of samples"):
            split(labels)
    assert len(split(np.int64(10))[0]) == 8


class Named:
    names = ("cat", "dog")
    labels = [0, 1, 1]  # noqa: RUF012 (a data set like ImageFolder has a list)

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return i, self.labels[i]


def test_a_subset_is_a_data_set_with_names_and_labels():
    subset = Subset(Named(), np.array([2, 0, -1]))
    assert len(subset) == 3 and list(subset) == [(2, 1), (0, 0), (2, 1)] and subset[-1] == (2, 1)
    assert subset.names == ("cat", "dog") and subset.labels == [1, 0, 1]
    assert [labels.tolist() for _, labels in DataLoader(subset, 2)] == [[1, 0], [1]]
    assert not hasattr(Subset(Scenes(3), [0]), "names") and len(Subset(Named(), [])) == 0


@pytest.mark.parametrize(("indices", "error"), [([3], IndexError), ([0.5], TypeError), ([[0]], TypeError)])
def test_indices_that_are_none_are_refused(indices, error):
    with pytest.raises(error, match="^Subset: "):
        Subset(Named(), indices)
