"""The likeliest classes beside an image: what is drawn, in which order, and what is refused.

Not here: which classes a model finds likely (tests/pretrained).
"""

import numpy as np
import pytest

from minivis import viz

IMAGE = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)


def test_bars_are_as_long_as_the_scores_and_the_likeliest_is_on_top():
    fig = viz.classes_on_image(
        IMAGE, ["cat", "dog"], [0.75, 0.125], title="Who is it?", caption="Two guesses"
    )
    picture, bars = fig.axes
    assert [bar.get_width() for bar in bars.patches] == [0.75, 0.125]
    first, second = (bars.transData.transform((0, bar.get_y()))[1] for bar in bars.patches)
    assert first > second and [text.get_text() for text in bars.texts] == ["cat 0.75", "dog 0.12"]
    np.testing.assert_allclose(picture.images[0].get_array(), IMAGE.transpose(1, 2, 0))
    assert fig.caption == "Two guesses" and len(fig.png()) > 3000


def test_names_of_any_length_and_images_of_any_shape_find_room():
    fig = viz.classes_on_image(np.zeros((200, 10)), ["a very long name, " * 9], [1.0])
    assert len(fig.axes[1].texts[0].get_text()) < 60
    assert fig.get_figheight() <= 13


@pytest.mark.parametrize("names, scores", [(["cat"], [0.5, 0.5]), ([], []), (["cat"], [[0.5]])])
def test_every_class_has_one_score(names, scores):
    with pytest.raises(ValueError, match="classes_on_image: .* names for scores of shape"):
        viz.classes_on_image(IMAGE, names, scores)
