"""Pictures of mask classification: what they draw and say, and what they refuse.

Not here: captions and labels, which every picture has (test_viz.py).
"""

import numpy as np
import pytest

from minivis import viz

RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((4, 6, 8))
EMBEDDING = np.array([0.1, -3.0, 2.0, 0.5])


def test_the_sums_end_with_the_mask_and_the_strongest_channel_stands_first():
    image = RNG.random((3, 12, 16))
    fig = viz.mask_as_sum(EMBEDDING, PIXELS, counts=(1, 2, 4), image=image, title="t", caption="c")
    assert [ax.get_title() for ax in fig.axes[:4]] == ["image", "channel 1", "2 channels", "all 4"]
    masks = [np.asarray(ax.images[0].get_array()) for ax in fig.axes[1:4]]
    terms = EMBEDDING[:, None, None] * PIXELS
    for mask, chosen in zip(masks, ([1], [1, 2], [0, 1, 2, 3]), strict=True):
        np.testing.assert_allclose(mask, 1 / (1 + np.exp(-terms[chosen].sum(axis=0))))
    assert fig.axes[4].get_ylabel() == "in the mask"
    fig.png()


def test_a_query_that_never_names_anything_says_so():
    masks = np.full((3, 4, 4), 0.5)
    masks[2] = np.nan
    fig = viz.query_habits(masks, [[3, 1, 4], [0, 2, 0], [0, 0, 9]], ["cat", "sky"], columns=2)
    assert [ax.get_title() for ax in fig.axes[:3]] == ["0: 50 %\ncat 75 %", "1: 100 %\nsky 100 %", "2: never"]
    assert [ax.images[0].get_clim() for ax in fig.axes[:3]] == [(0, 0.5), (0, 0.5), (0, 1)]
    fig.png()


def test_segments_get_the_colours_of_the_true_ones_they_lie_on():
    truth = np.array([[1, 1, 2, 2, 3, 3]]), [{"id": n, "category_id": n} for n in (1, 2, 3)]
    found = np.array([[3, 3, 1, 1, 1, 2]]), [{"id": n, "category_id": 0} for n in (1, 2, 3)]
    ids, segments = viz.coloured_like(found, truth)
    assert (ids == found[0]).all()
    assert [segment["id"] for segment in segments] == [3, 1, 2]
    missing = np.array([[0, 0, 0, 0, 1, 1]]), [{"id": 1, "category_id": 0}]
    assert [segment["id"] for segment in viz.coloured_like(missing, truth)[1]] == [-1, -1, 1]
    viz.panoptic_on_images([np.zeros((1, 6))], [viz.coloured_like(missing, truth)]).png()


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: viz.mask_as_sum(EMBEDDING[:3], PIXELS), r"mask_as_sum: embedding must be \(C,\) and pixels \(C, H, W\)"),
        (lambda: viz.mask_as_sum(EMBEDDING, PIXELS, counts=[5]), r"mask_as_sum: counts must be 1 to C=4, got \(5,\)"),
        (lambda: viz.query_habits(PIXELS, np.ones((3, 3))), r"query_habits: masks must be \(Q, H, W\) and counts"),
    ],
)  # fmt: skip
def test_errors_name_the_function(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
