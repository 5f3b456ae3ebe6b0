"""Attention maps: how many are drawn, what is marked, what is refused."""

import numpy as np
import pytest

from minivis import Tensor, viz

MAPS = np.random.default_rng(0).random((3, 4, 6))


def test_one_axes_a_map_and_one_for_the_image():
    assert len(viz.attention_maps(MAPS).axes) == 3
    fig = viz.attention_maps(
        Tensor(MAPS), image=np.ones((3, 8, 12)), titles=["a", "b", "c"], title="t", caption="c"
    )
    assert [ax.get_title() for ax in fig.axes] == ["the image", "a", "b", "c"]
    assert fig.caption == "c"
    assert len(viz.attention_maps(MAPS[0], shared=True).axes) == 2  # the map and its colour bar
    with_image = viz.attention_maps(MAPS[0], image=np.ones((8, 12)), shared=True)
    assert with_image.axes[-1].get_ylabel() == "attention weight"  # also over an image


def test_the_map_lies_over_the_whole_image_and_hides_it_where_much_is_read():
    one = np.zeros((2, 3))
    one[0, 1] = 5.0
    grey, over = viz.attention_maps(one, image=np.ones((4, 6))).axes[1].images
    assert over.get_extent() == grey.get_extent()
    assert over.get_array()[0, 1] == 1.0
    assert over.get_alpha()[0, 1] == pytest.approx(0.85)
    assert over.get_alpha()[1, 2] == pytest.approx(0.2)


def test_the_query_is_marked_in_the_middle_of_its_cell():
    ax = viz.attention_maps(MAPS[0], image=np.ones((8, 12)), query=(1, 2)).axes[1]
    assert [float(v[0]) for v in ax.lines[0].get_data()] == [4.5, 2.5]


@pytest.mark.parametrize("pool", [1, 2])
def test_a_place_has_the_row_of_the_weights_that_is_its_own(pool):
    """Each query looks at the key under itself; with pooled keys there are a quarter as many."""
    weights = np.zeros((24, 24 // pool**2))
    for y, x in np.ndindex(4, 6):
        weights[y * 6 + x, y // pool * (6 // pool) + x // pool] = 1
    fig = viz.attention_from_places(weights, np.ones((8, 12)), [(3, 5), (0, 2)], grid=(4, 6))
    image, first, second = fig.axes
    assert [t.get_text() for t in image.texts] == ["1", "2"] and first.get_title() == "place 1"
    for ax, (y, x) in ((first, (3, 5)), (second, (0, 2))):
        shown = ax.images[1].get_array()
        assert shown.shape == (4 // pool, 6 // pool) and shown[y // pool, x // pool] == 1 == shown.sum()
        # the image has two pixels for each place: the cross is in the middle of them
        assert [float(v[0]) for v in ax.lines[0].get_data()] == [2 * x + 0.5, 2 * y + 0.5]


def test_wrong_weights_and_places_are_refused():
    with pytest.raises(ValueError, match=r"^attention_from_places: weights .* 3 x 3 queries, got \(8, 8\)"):
        viz.attention_from_places(np.eye(8), np.ones((8, 8)), [(0, 0)])
    with pytest.raises(
        ValueError, match=r"^attention_from_places: \(0, 4\) is not on the map of 4 x 4 places"
    ):
        viz.attention_from_places(np.eye(16), np.ones((8, 8)), [(1, 1), (0, 4)])


def test_an_empty_map_is_drawn_and_wrong_shapes_are_refused():
    viz.attention_maps(np.zeros((1, 2, 2)), image=np.ones((4, 4))).png()
    with pytest.raises(ValueError, match=r"expected maps \(n, rows, columns\), got \(4,\)"):
        viz.attention_maps(np.ones(4))
    with pytest.raises(ValueError, match="2 titles for 3 maps"):
        viz.attention_maps(MAPS, titles=["a", "b"])
