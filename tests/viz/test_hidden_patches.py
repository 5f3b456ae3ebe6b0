"""Masked pictures: which patches are grey, the titles, refusals.

Not here: what paints the hidden patches (tests/models/test_mae.py).
"""

import numpy as np
import pytest

from minivis import viz

IMAGES = np.random.default_rng(0).random((2, 3, 8, 12))
MASK = np.array([[True, False, False, False, False, True], [False] * 6])


def test_hidden_patches_are_grey_and_nothing_is_cut_off():
    fig = viz.masked_pictures(
        IMAGES, MASK, 4, {"painted": IMAGES * 0.5, "again": IMAGES}, caption="What was hidden."
    )
    assert [ax.get_title() for ax in fig.axes] == ["image", "visible", "painted", "again", "", "", "", ""]
    shown = [ax.images[0].get_array() for ax in fig.axes]
    np.testing.assert_array_equal(shown[1][:4, :4], 0.5)
    np.testing.assert_array_equal(shown[1][4:, 8:], 0.5)
    np.testing.assert_array_equal(shown[1][:4, 4:], shown[0][:4, 4:])
    np.testing.assert_array_equal(shown[4], shown[5])
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((IMAGES[0], MASK, 4, {}), r"images must be \(B, C, H, W\), got \(3, 8, 12\)"),
        ((IMAGES, MASK, 5, {}), "one for each patch of 5 x 5 pixels"),
        ((IMAGES, MASK * 1, 4, {}), "mask must be boolean.*int64"),
        ((IMAGES, MASK, 4, {"smaller": IMAGES[:1]}), r"smaller is \(1, 3, 8, 12\)"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=f"^masked_pictures: .*{words}"):
        viz.masked_pictures(*arguments)
