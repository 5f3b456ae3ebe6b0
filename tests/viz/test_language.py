"""Pictures of texts and pictures: what is written where, what is green and what is red, what is refused.

Not here: how they look.
"""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from minivis import viz
from minivis.viz.style import BLUE, GREEN, VERMILION

PICTURES = [np.full((3, 6, 8), shade) for shade in (0.2, 0.5, 0.8)]
CAPTIONS = ["a star on sand", "a ring $on$ water"]
COSINES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.5]])


def test_the_table_has_a_frame_at_the_largest_number_of_each_column():
    fig = viz.similarities(PICTURES, CAPTIONS, COSINES, title="Table", caption="Look at the frames.")
    axes = fig.axes[-1]
    assert [text.get_text() for text in axes.texts] == ["0.90", "0.20", "0.40", "0.10", "0.80", "0.50"]
    corners = [patch.get_xy() for patch in axes.patches]
    np.testing.assert_allclose(corners, [(-0.47, -0.47), (0.53, 0.53), (1.53, 0.53)])
    assert axes.get_xlabel() == "picture" and axes.get_ylabel() == "caption"
    assert [text.get_text() for text in axes.get_yticklabels()] == CAPTIONS
    assert fig.png()  # it can be drawn


def test_pictures_for_captions_best_first():
    right = np.array([[True, False], [False, False], [False, True]])
    fig = viz.found_pictures(CAPTIONS, PICTURES, COSINES, right, top=2)
    rows = np.reshape(fig.axes, (2, 3))
    assert [[axes.get_title() for axes in row[1:]] for row in rows] == [["0.90", "0.40"], ["0.80", "0.50"]]
    frames = [[axes.patches[-1].get_edgecolor() for axes in row[1:]] for row in rows]
    assert frames == [[to_rgba(GREEN), to_rgba(VERMILION)], [to_rgba(VERMILION), to_rgba(GREEN)]]
    assert fig.png()


def test_captions_for_pictures_best_first():
    right = np.eye(3, 2, dtype=bool)
    fig = viz.found_captions(PICTURES, CAPTIONS, COSINES, right)
    texts = [axes.texts for axes in np.reshape(fig.axes, (3, 2))[:, 1]]
    assert [text.get_text() for text in texts[2]] == ["0.50  a ring $on$ water", "0.40  a star on sand"]
    assert [to_rgba(text.get_color()) for text in texts[0]] == [to_rgba(GREEN), to_rgba(VERMILION)]
    assert fig.png()


def test_bars_for_words():
    fig = viz.words_on_pictures(PICTURES, ["star", "ring"], COSINES, right=[0, 1, 1])
    bars = fig.axes[4].patches
    assert [bar.get_width() for bar in bars] == [0.2, 0.8]
    assert [to_rgba(bar.get_facecolor()) for bar in bars] == [to_rgba(BLUE), to_rgba(GREEN)]
    assert fig.png()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: viz.similarities(PICTURES, CAPTIONS, COSINES.T), r"^similarities: 3 pictures and 2 texts .* got \(2, 3\)"),
        (lambda: viz.similarities([], [], np.zeros((0, 0))), "at least one number"),
        (lambda: viz.found_captions(PICTURES, CAPTIONS, COSINES, right=[True]), r"^found_captions: right must be \(3, 2\)"),
        (lambda: viz.words_on_pictures(PICTURES, CAPTIONS, COSINES, right=[0]), "1 true classes for 3 pictures"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
