"""Drawn pictures by class: where each is, where its neighbour is, what is refused."""

import numpy as np
import pytest

from minivis import Tensor, viz

IMAGES = np.random.default_rng(0).random((5, 1, 2, 3))
LABELS = np.array([7, 2, 7, 2, 7])


def shown(ax, row, column):
    """The picture in a place of a grid of pictures of 2 x 3 pixels."""
    return ax.images[0].get_array()[1 + 3 * row : 3 + 3 * row, 1 + 4 * column : 4 + 4 * column]


def test_a_row_is_a_class_and_neighbours_stand_in_the_same_place():
    fig = viz.samples_by_class(Tensor(IMAGES), LABELS, IMAGES[::-1], title="t", caption="c")
    drawn, beside = fig.axes
    assert (drawn.get_title(), beside.get_title()) == ("drawn", "nearest training picture")
    assert [t.get_text() for t in drawn.get_yticklabels()] == ["2", "7"] and fig.caption == "c"
    for row, column, i in ((0, 0, 1), (0, 1, 3), (1, 0, 0), (1, 2, 4)):
        assert np.array_equal(shown(drawn, row, column), IMAGES[i, 0])
        assert np.array_equal(shown(beside, row, column), IMAGES[4 - i, 0])


def test_columns_names_and_colours():
    fig = viz.samples_by_class(np.ones((5, 3, 4, 4)), LABELS, names={2: "two", 7: "seven"}, columns=2)
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "two",
        "seven",
    ] and ax.get_ylabel() == "class asked for"
    assert ax.images[0].get_array().shape == (11, 11, 3)
    fig.png()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ((IMAGES, LABELS[:4]), r"^samples_by_class: images must be .* got \(5, 1, 2, 3\) and \(4,\)"),
        ((IMAGES[:0], LABELS[:0]), "^samples_by_class: images must be"),
        ((IMAGES, LABELS, IMAGES[:2]), r"^samples_by_class: neighbours must have the shape of images"),
    ],
)
def test_mistakes_are_named(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        viz.samples_by_class(*arguments)
