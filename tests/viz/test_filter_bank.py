"""Pictures of convolutions and kernels (filter_bank.py, squares.py, kernels.py) hold the numbers that they were given, at the right places.

Not here: whether they are beautiful; someone looked at each.
"""

import numpy as np
import pytest

import minivis as mv
from minivis import viz

rng = np.random.default_rng(0)

PICTURES = {
    "grids": lambda **text: viz.grids([np.eye(3), [1, 2]], **text),
    "sliding_window": lambda **text: viz.sliding_window([1, 4, -1, 0], [1, 2], [9, 2, -1], **text),
    "filters": lambda **text: viz.filters(rng.standard_normal((6, 1, 3, 3)), **text),
    "feature_maps": lambda **text: viz.feature_maps({"conv": rng.random((5, 4, 4))}, **text),
    "kernels_at": lambda **text: viz.kernels_at(
        np.eye(9), {"flat": (4, 4)}, {"box": [np.ones((3, 3))]}, **text
    ),
    "convolution_matrix": lambda **text: viz.convolution_matrix(np.eye(4), (2, 2), (4,), **text),
}


def texts(ax):
    """What is written into one plot, less its title."""
    return [t.get_text() for t in ax.texts]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_title_and_caption_and_nothing_is_cut_off(name):
    fig = PICTURES[name](title="A title", caption="What to see: " + "words " * 30)
    assert fig.caption.startswith("What to see") and fig.get_suptitle() == "A title"
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_each_place_of_a_sequence_shows_its_window_and_its_sum():
    fig = viz.sliding_window([1, 4, -1, 0], [2, -3], [-10, 11], stride=2, caption="x")
    assert [ax.get_title() for ax in fig.axes] == ["1·2 + 4·(−3) = −10", "(−1)·2 + 0·(−3) = 11"]
    assert texts(fig.axes[0]) == ["1", "4", "−1", "0", "2", "−3"]


def test_each_place_of_an_image_shows_its_weights():
    x = np.arange(1, 10).reshape(3, 3)
    out = np.array([[1, 2], [3, 4]])
    fig = viz.sliding_window(x, [[5, 6], [7, 8]], out, stride=3, padding=1)
    assert [ax.get_title() for ax in fig.axes] == [f"products sum to {n}" for n in (1, 2, 3, 4)]
    weights = [t for t in fig.axes[3].texts if t.get_text().startswith("×")]
    assert [t.get_text() for t in weights] == ["×5", "×6", "×7", "×8"]
    assert [(int(t.get_position()[0]), int(t.get_position()[1])) for t in weights] == [
        (3, 3),
        (4, 3),
        (3, 4),
        (4, 4),
    ]
    assert texts(fig.axes[0])[:25].count("0") == 16  # the frame of padding


def test_a_dilated_window_leaves_gaps():
    fig = viz.sliding_window([1, 2, 3], [1, 1], [4], dilation=2)
    assert fig.axes[0].get_title() == "1·1 + 3·1 = 4"


def test_filters_stand_on_one_scale_around_zero():
    fig = viz.filters(mv.Tensor(np.array([-3.0, 1, 2, 0], np.float32).reshape(4, 1, 1, 1)), columns=2)
    picture = fig.axes[0].images[0]
    assert picture.get_clim() == (-3, 3)
    assert set(np.unique(picture.get_array().compressed())) == {-3, 0, 1, 2}
    assert len(fig.axes[0].patches) == 4


def test_filters_of_colours_need_no_scale_and_of_channels_make_rows():
    assert len(viz.filters(rng.standard_normal((5, 3, 3, 3))).axes) == 1
    shape = viz.filters(rng.standard_normal((2, 8, 3, 3))).axes[0].images[0].get_array().shape
    assert shape[1] > 3 * shape[0]


def test_feature_maps_say_their_shapes():
    fig = viz.feature_maps({"image": np.ones((1, 1, 8, 8)), "conv": np.ones((20, 4, 6))}, columns=10)
    assert [ax.get_ylabel() for ax in fig.axes] == ["image\n1 × 8 × 8", "conv\n20 × 4 × 6"]


def test_the_matrix_of_a_convolution_leaves_zeros_blank():
    fig = viz.convolution_matrix([[1, 2, 0], [0, 1, 2]], (3,), (2,))
    assert texts(fig.axes[0]) == ["1", "2", "1", "2"]
    assert fig.axes[0].images[0].get_array().count() == 4


def test_grids_can_leave_zeros_out():
    table = [[0, 1.5], [-2, 0]]
    assert texts(viz.grids([table]).axes[0]) == ["0", "1.5", "−2", "0"]
    assert texts(viz.grids([table], zeros=False).axes[0]) == ["1.5", "−2"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.grids([]), "grids: expected matrices"),
        (lambda: viz.grids([np.zeros((2, 2, 2))]), "grids: expected matrices"),
        (lambda: viz.grids([[1]], titles=["a", "b"]), "grids: 2 titles for 1 matrices"),
        (lambda: viz.grids([[1]], marks=[]), "grids: 0 marks for 1 matrices"),
        (lambda: viz.sliding_window([1, 2], [[1]], [1]), "sliding_window: x, weight and out"),
        (lambda: viz.sliding_window(np.ones(40), [1], np.ones(40)), "sliding_window: out must have 1 to 30"),
        (lambda: viz.sliding_window([1, 2], [1, 1], [1, 1]), "sliding_window: out has more places"),
        (lambda: viz.filters(np.ones((3, 3))), "filters: expected a weight"),
        (lambda: viz.feature_maps({}), "feature_maps: expected maps"),
        (lambda: viz.feature_maps({"a": np.ones((2, 3, 4, 4))}), r"a: \(2, 3, 4, 4\)"),
        (lambda: viz.convolution_matrix(np.eye(2), (3,), (2,)), "convolution_matrix: matrix is"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_each_kernel_stands_in_the_row_of_its_place_with_its_largest_weight():
    places = {"flat": (2, 3), "corner": (0, 0)}
    given = {"one": [np.full((3, 3), 0.25), np.eye(5)], "two": [np.eye(1), np.zeros((3, 3))]}
    fig = viz.kernels_at(rng.random((3, 6, 7)), places, given)
    assert [ax.get_title() for ax in fig.axes[:3]] == ["image", "one", "two"]
    assert [ax.get_ylabel() for ax in fig.axes[::3]] == ["flat", "corner"]
    assert [ax.get_xlabel() for ax in fig.axes if ax.get_xlabel()] == ["0.250", "1.000", "1.000", "0.000"]
    assert fig.axes[0].get_xlim() == (0.5, 5.5) and fig.axes[3].get_ylim() == (2.5, -2.5)  # 5 x 5 around each
    np.testing.assert_array_equal(fig.axes[4].images[0].get_array(), np.eye(5))


@pytest.mark.parametrize(
    ("places", "kernels", "message"),
    [
        ({}, {"a": []}, "no place or no filter"),
        ({"p": (9, 0)}, {"a": [np.eye(3)]}, r"p \(9, 0\) is not in the image"),
        ({"p": (0, 0)}, {"a": [np.eye(2)]}, "a needs a square kernel of odd side for each of 1 places"),
        ({"p": (0, 0)}, {"a": [np.eye(3)] * 2}, "a needs a square kernel"),
    ],
)
def test_kernels_that_do_not_fit_are_told(places, kernels, message):
    with pytest.raises(ValueError, match=message):
        viz.kernels_at(np.eye(9), places, kernels)
