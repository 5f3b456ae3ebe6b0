"""Pictures of films: a plot for each frame, the query and the rings where they belong, errors.

Not here: attention maps over single images (test_attention.py).
"""

import numpy as np
import pytest

from minivis import viz

FRAMES = np.random.default_rng(0).random((3, 3, 16, 24))
WEIGHTS = np.zeros((3, 4, 6))
WEIGHTS[0, 1, 2] = 0.6
WEIGHTS[1, 3, 5] = 0.4


def test_the_query_and_the_largest_weights_are_marked_where_they_are():
    fig = viz.film_attention(
        FRAMES, WEIGHTS, (2, 0, 3), np.ones((3, 16, 24), bool), title="A film", caption="Look."
    )
    assert [ax.get_title() for ax in fig.axes] == ["frame 1", "frame 2", "frame 3 asks"]
    marks = [(line.get_marker(), *line.get_xydata()[0]) for ax in fig.axes for line in ax.lines[-1:]]
    assert marks == [("o", 9.5, 5.5), ("o", 21.5, 13.5), ("+", 13.5, 1.5)]  # 4 x 4 pixels a cell
    assert fig.caption == "Look."


def test_all_frames_share_one_scale():
    fig = viz.film_attention(FRAMES, WEIGHTS, (2, 0, 3))
    tops = [float(ax.images[-1].get_array().max()) for ax in fig.axes]
    np.testing.assert_allclose(tops, [1, 2 / 3, 0])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((FRAMES, WEIGHTS[:2], (0, 0, 0)), "weights must be"),
        ((FRAMES, WEIGHTS, (3, 0, 0)), "query must be"),
        ((FRAMES, WEIGHTS, (0, 0, 0), np.ones((3, 4, 6))), "masks must be"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^film_attention: {message}"):
        viz.film_attention(*arguments)
