"""Pictures of a trained network hold the numbers that they were given; what does not fit is refused.

Not here: whether they are beautiful; someone looked at each.
"""

import numpy as np
import pytest

from minivis import viz

rng = np.random.default_rng(0)
PICTURES = {
    "first_filters": lambda **text: viz.first_filters(
        {"colours": rng.standard_normal((40, 3, 4, 4)), "grey": rng.standard_normal((4, 1, 3, 3))}, **text
    ),
    "activations": lambda **text: viz.activations(
        rng.random((3, 8, 12)), {"conv 1": rng.random((1, 9, 4, 6)), "conv 2": rng.random((2, 2, 3))}, **text
    ),
    "favourites": lambda **text: viz.favourites(rng.random((3, 4, 1, 5, 5)), rng.random((3, 4)), **text),
    "receptive_fields": lambda **text: viz.receptive_fields({"conv 1": rng.random((9, 9))}, [3], **text),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_title_and_caption_and_nothing_is_cut_off(name):
    fig = PICTURES[name](title="A title", caption="What to see: " + "words " * 30)
    assert fig.caption.startswith("What to see") and fig.get_suptitle() == "A title"
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_each_model_has_its_own_scale():
    weight = np.array([[[[-4.0, 2.0]]], [[[0.0, 1.0]]]])
    (ax,) = viz.first_filters({"a": weight}).axes
    shown = ax.images[0].get_array()
    assert set(np.unique(shown.compressed())) == {-1, 0, 0.25, 0.5}
    assert ax.get_ylabel() == "a\n2 × 1 × 1 × 2"


def test_the_liveliest_channels_are_shown_in_their_order():
    maps = np.zeros((5, 2, 2))
    maps[1, 0, 0], maps[4, 0, 0] = 1, 2
    fig = viz.activations(np.zeros((1, 4, 4)), {"conv": maps}, channels=2)
    assert [ax.images[0].get_array().max() for ax in fig.axes[1:]] == [1, 2]


def test_pieces_beside_the_picture_are_blue():
    patch = np.full((1, 1, 1, 2, 2), np.nan)
    patch[..., 0, 0] = 0.5
    fig = viz.favourites(patch, [[3.0]], names=["edge"])
    shown = np.asarray(fig.axes[0].images[0].get_array())
    assert shown[0, 0].tolist() == [0.5] * 3 and shown[-1, -1, 2] > shown[-1, -1, 0]
    assert fig.axes[0].get_ylabel() == "edge\nup to 3"


def test_the_square_of_the_formula_stands_around_the_field():
    field = np.zeros((9, 9))
    field[2:5, 3:6] = 1
    (square,) = viz.receptive_fields({"a": field}, [3]).axes[0].patches
    assert square.get_bbox().bounds == (2.5, 1.5, 3, 3)
    (moved,) = viz.receptive_fields({"a": field}, [3], [(4, 4)]).axes[0].patches
    assert moved.get_bbox().bounds == (2.5, 2.5, 3, 3)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.first_filters({}), "first_filters: expected weights"),
        (lambda: viz.first_filters({"a": np.ones((2, 2, 3, 3))}), "first_filters: expected weights"),
        (lambda: viz.activations(np.ones((3, 4, 4)), {}), "activations: expected maps"),
        (lambda: viz.activations(np.ones((2, 4, 4)), {"a": np.ones((1, 2, 2))}), "activations: expected"),
        (lambda: viz.favourites(np.ones((2, 2, 2, 3, 3))), "favourites: expected patches"),
        (lambda: viz.favourites(np.ones((2, 2, 1, 3, 3)), names=["a"]), "favourites: 1 names"),
        (lambda: viz.receptive_fields({"a": np.ones(3)}), "receptive_fields: expected fields"),
        (lambda: viz.receptive_fields({"a": np.ones((3, 3))}, [1, 2]), "receptive_fields: expected fields"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
