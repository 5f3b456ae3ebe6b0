"""Pictures of masked and deformable attention: what they draw and say, and what they refuse.

Not here: captions and labels, which every picture has (test_viz.py).
"""

import numpy as np
import pytest

from minivis import viz

IMAGE = np.full((3, 4, 6), 0.5)
PLACES = np.random.default_rng(0).random((2, 2, 3, 2))
WEIGHTS = np.full((2, 2, 3), 1 / 6)


def test_an_image_is_bright_where_the_light_is_and_a_fifth_elsewhere():
    fig = viz.lit_images(
        IMAGE, [[[True, False]], [[4.0, 2.0, 0.0]]], ["mask", "weights"], title="t", caption="c"
    )
    first, second = (np.asarray(ax.images[0].get_array())[0, :, 0] for ax in fig.axes)
    np.testing.assert_allclose(first, [0.5] * 3 + [0.1] * 3)
    np.testing.assert_allclose(second, [0.5, 0.5, 0.3, 0.3, 0.1, 0.1])
    fig.png()


def test_bytes_and_a_light_of_nothing_are_drawn():
    fig = viz.lit_images(np.full((4, 4), 200, np.uint8), [np.zeros((2, 2))])
    np.testing.assert_allclose(np.asarray(fig.axes[0].images[0].get_array()), 0.2 * 200 / 255)


def test_every_point_of_every_map_is_drawn():
    fig = viz.points_read(IMAGE, (0.5, 0.2), PLACES, WEIGHTS, [(2, 3), (4, 6)], title="t", caption="c")
    for level, ax in enumerate(fig.axes):
        drawn = [dots.get_offsets().tolist() for dots in ax.collections]
        np.testing.assert_allclose(drawn, PLACES[:, level])
        assert ax.lines[0].get_xydata().tolist() == [[0.5, 0.2]]
    assert fig.axes[1].get_title() == "map of 4 x 6 tokens"
    fig.png()


def test_each_set_of_points_has_its_picture():
    fig = viz.points_on_maps(np.eye(4), {"a": PLACES[0, 0], "b": PLACES[1, 1]}, title="t", caption="c")
    assert [ax.get_title() for ax in fig.axes[:2]] == ["a", "b"]
    np.testing.assert_allclose(fig.axes[1].collections[0].get_offsets(), PLACES[1, 1])
    assert fig.axes[2].get_ylabel() == "probability"
    fig.png()


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: viz.lit_images(IMAGE, [np.ones((3, 3))]), r"lit_images: lights must be \(h, w\) .* got \(3, 3\)"),
        (lambda: viz.lit_images(IMAGE, [-np.ones((2, 2))]), r"lit_images: lights must be \(h, w\) of numbers from 0"),
        (lambda: viz.lit_images(IMAGE, [np.ones((2, 2))], ["a", "b"]), "lit_images: 2 titles for 1 lights"),
        (lambda: viz.points_read(IMAGE, (0, 0), PLACES, WEIGHTS, [(2, 3)]), "points_read: places must be"),
        (lambda: viz.points_on_maps(np.eye(4), {"a": [1.0, 2.0]}), r"points_on_maps: image must be \(H, W\)"),
        (lambda: viz.points_on_maps(np.eye(4), {}), r"points_on_maps: image must be \(H, W\)"),
    ],
)  # fmt: skip
def test_errors_name_the_function(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
