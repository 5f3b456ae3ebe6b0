"""Images as sequences of patches: order, numbers, marks, refusals.

Not here: cutting patches (tests/vision).
"""

import numpy as np
import pytest

from minivis import viz

IMAGE = np.random.default_rng(0).random((3, 8, 12))


def inside(fig):
    """Whether nothing is cut off."""
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_the_sequence_is_in_reading_order():
    fig = viz.patch_sequence(IMAGE, 4, marked=[4], caption="Six patches.")
    grid, row = fig.axes
    assert [text.get_text() for text in row.texts] == list("012345")
    below = grid.images[0].get_array()[4:8, 4:8]  # row 1, column 1
    np.testing.assert_array_equal(row.images[4].get_array(), below)
    assert inside(fig)


def test_a_long_sequence_is_shortened():
    row = viz.patch_sequence(IMAGE, 1, size=2).axes[1]
    words = [text.get_text() for text in row.texts]
    assert words[0] == "0" and words[-1] == "95" and words.count("...") == 1


def test_grids_of_other_sizes():
    fig = viz.images_as_tokens([IMAGE, IMAGE], [4, (2, 3)], caption="Two grids.")
    assert [ax.get_title() for ax in fig.axes] == ["2 x 3 = 6 tokens", "4 x 4 = 16 tokens"]
    assert inside(fig)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.patch_sequence(IMAGE, 5), "patches of 5 x 5 do not fill an image of 8 x 12"),
        (lambda: viz.patch_sequence(IMAGE, 4, marked=[6]), "marked has 6, but the patches are 0 to 5"),
        (lambda: viz.images_as_tokens([IMAGE], [4, 4]), "2 patch sizes for 1 images"),
        (lambda: viz.images_as_tokens([IMAGE], [(4, 5)]), "patches of 4 x 5 do not fill"),
    ],
)
def test_what_does_not_fit_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
