"""Pictures of mask classification: what they draw and say, and what they refuse.

Not here: captions and labels, which every picture has (test_viz.py).
"""

import numpy as np
import pytest

from minivis import viz

RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((4, 6, 8))
EMBEDDING = np.array([0.1, -3.0, 2.0, 0.5])


def test_the_terms_add_up_to_the_mask_and_the_strongest_stand_first():
    fig = viz.mask_as_sum(EMBEDDING, PIXELS, channels=2, image=RNG.random((3, 12, 16)), title="t", caption="c")
    titles = [ax.get_title() for ax in fig.axes[:5]]
    assert titles == ["image", "channel 1, e = -3.0", "channel 2, e = 2.0", "the others: 2", "mask logits"]
    terms = [np.asarray(ax.images[0].get_array()) for ax in fig.axes[1:5]]
    np.testing.assert_allclose(terms[0] + terms[1] + terms[2], terms[3])
    np.testing.assert_allclose(terms[3], np.einsum("c,chw->hw", EMBEDDING, PIXELS))
    assert len({ax.images[0].get_clim() for ax in fig.axes[1:4]}) == 1
    fig.png()
    whole = viz.mask_as_sum(EMBEDDING, PIXELS, channels=4)
    assert [ax.get_title()[:7] for ax in whole.axes[:5]] == ["channel"] * 4 + ["mask lo"]


def test_a_query_that_never_names_anything_says_so():
    masks = np.full((3, 4, 4), 0.5)
    masks[2] = np.nan
    fig = viz.query_habits(masks, [[3, 1, 4], [0, 2, 0], [0, 0, 9]], ["cat", "sky"], columns=2)
    assert [ax.get_title() for ax in fig.axes[:3]] == ["0: 50 %\ncat 75 %", "1: 100 %\nsky 100 %", "2: never"]
    assert fig.axes[-1].get_ylabel() == "mean of the masks"
    fig.png()


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: viz.mask_as_sum(EMBEDDING[:3], PIXELS), r"mask_as_sum: embedding must be \(C,\) and pixels \(C, H, W\)"),
        (lambda: viz.mask_as_sum(EMBEDDING, PIXELS, channels=5), "mask_as_sum: channels must be 1 to C=4, got 5"),
        (lambda: viz.query_habits(PIXELS, np.ones((3, 3))), r"query_habits: masks must be \(Q, H, W\) and counts"),
    ],
)  # fmt: skip
def test_errors_name_the_function(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
