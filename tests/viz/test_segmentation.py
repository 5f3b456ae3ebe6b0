"""Pictures of segmentation: what they draw, their legends, and what they refuse.

Not here: captions and labels, which every picture has (test_viz.py).
"""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minivis import viz
from minivis.viz.boxes import colour_of

IMAGE = np.random.default_rng(0).random((3, 8, 10))
MAP = np.zeros((8, 10), int)
MAP[2:5, 3:7] = 4


def test_maps_of_classes_have_one_legend_of_what_occurs():
    other = np.ones((6, 6), int)
    fig = viz.semantic_maps([MAP, other], [IMAGE], names=["a", "b", "c", "d", "e"], title="t", caption="c")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["a", "b", "e"]
    picture = fig.axes[1].images[1]
    np.testing.assert_allclose(picture.to_rgba(picture.get_array())[2, 3, :3], to_rgb(colour_of(4)))
    np.testing.assert_allclose(picture.to_rgba(picture.get_array())[0, 0, :3], to_rgb(colour_of(0)))
    fig.png()


def test_four_answers_about_one_image():
    masks = np.array([MAP == 4, MAP == 4])
    fig = viz.four_problems(
        IMAGE, "cat", [[1, 1, 5, 5]], MAP, masks, [0], [0, 1], ["cat", "dog"], list("abcde")
    )
    titles = ["categorisation: cat", "detection: 1 box", "semantic segmentation", "instances: 2 masks"]
    assert [ax.get_title() for ax in fig.axes] == titles
    assert [text.get_text() for text in fig.axes[1].texts] == ["cat"]
    assert [text.get_text() for text in fig.axes[2].texts] == ["a", "e"]
    none = viz.four_problems(IMAGE, "cat", np.zeros((0, 4)), MAP, masks[:0])
    assert [ax.get_title() for ax in none.axes][1::2] == ["detection: 0 boxes", "instances: 0 masks"]
    none.png()


def test_weights_share_a_scale():
    fig = viz.weight_maps([np.ones((3, 3)), 5 * np.ones((2, 2))], titles=["a", "b"])
    assert [ax.images[0].get_clim() for ax in fig.axes[:2]] == [(0, 5), (0, 5)]
    assert fig.axes[2].get_ylabel() == "weight"
    fig = viz.weight_maps([np.ones(MAP.shape)], [IMAGE], titles=["image", "weights"])
    assert [len(ax.images) for ax in fig.axes[:2]] == [1, 1] and fig.axes[1].get_title() == "weights"


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: viz.semantic_maps([MAP[0]]), r"semantic_maps: a map must be whole numbers \(H, W\)"),
        (lambda: viz.semantic_maps([MAP * 1.0]), r"semantic_maps: a map must be whole numbers \(H, W\)"),
        (lambda: viz.semantic_maps([MAP], titles=["a", "b"]), "semantic_maps: 2 titles for 1 pictures"),
        (lambda: viz.semantic_maps([]), "semantic_maps: there is no image"),
        (lambda: viz.four_problems(IMAGE, "a", [], MAP.T, [MAP > 0]), "four_problems: semantic must have the image's size"),
        (lambda: viz.four_problems(IMAGE, "a", [], MAP, [MAP.T > 0]), "four_problems: masks must have the image's size"),
        (lambda: viz.weight_maps([np.ones(3)]), r"weight_maps: a map must be \(H, W\)"),
        (lambda: viz.weight_maps([np.ones((2, 2))], titles=[]), "weight_maps: 0 titles for 1 pictures"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
