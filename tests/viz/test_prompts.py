"""Pictures of prompts: what is drawn and where, titles, the order of several masks, what is refused.

Not here: masks without prompts (test_boxes_and_masks.py).
"""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from minivis import Tensor, viz

IMAGE = np.random.default_rng(0).random((3, 6, 8))
MASK = np.zeros((6, 8), bool)
MASK[1:4, 2:5] = True
CLICKS = {"points": [[3, 2], [7, 5], [0, 0]], "point_labels": [1, 0, -1]}


def clicks_of(ax):
    """The places of the clicks on an axes by colour."""
    drawn = [part for part in ax.collections if isinstance(part, PathCollection)]
    return {
        to_hex(part.get_facecolor()[0]): part.get_offsets().tolist()
        for part in drawn
        if len(part.get_offsets())
    }


def test_clicks_lie_in_the_middle_of_their_pixels_and_fillers_are_not_drawn():
    fig = viz.prompted_masks(Tensor(IMAGE), [CLICKS], [MASK])
    assert clicks_of(fig.axes[0]) == {"#009e73": [[3.5, 2.5]], "#d55e00": [[7.5, 5.5]]}


def test_the_image_is_pale_where_the_mask_is_not():
    fig = viz.prompted_masks(IMAGE, [CLICKS, CLICKS], [MASK * 4.0 - 2.0, None], strength=1.0)
    shown, whole = (np.asarray(ax.images[0].get_array()) for ax in fig.axes)
    picture = IMAGE.transpose(1, 2, 0)
    np.testing.assert_allclose(shown, np.where(MASK[..., None], picture, 1.0))
    np.testing.assert_allclose(whole, picture)


def test_boxes_phrases_and_estimates():
    prompts = [{"boxes": [2, 1, 5, 4]}, {"text": "a ring"}]
    fig = viz.prompted_masks(
        [IMAGE, IMAGE], prompts, [MASK, MASK], [0.5, 0.25], titles=["box", "words"], caption="c"
    )
    assert [ax.get_title() for ax in fig.axes] == ["box\nestimate 0.50", "words\na ring\nestimate 0.25"]
    assert len(fig.axes[0].patches) == 3 and len(fig.axes[1].patches) == 1  # the frame, and the box twice
    assert fig.axes[0].patches[1].get_bbox().bounds == (2, 1, 3, 3)


def test_masks_are_offered_in_the_order_of_their_estimates():
    masks = np.stack([~MASK, MASK, np.ones_like(MASK)])
    fig = viz.mask_choices(IMAGE, CLICKS, masks, Tensor(np.array([0.1, 0.3, 0.2])), truth=MASK)
    assert [ax.get_title() for ax in fig.axes] == [
        "meant", "IoU 1.00\nestimate 0.30", "IoU 0.19\nestimate 0.20", "IoU 0.00\nestimate 0.10",
    ]  # fmt: skip
    assert len(viz.mask_choices(IMAGE, CLICKS, masks, [0.1, 0.3, 0.2]).axes) == 3


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: viz.prompted_masks(IMAGE, [CLICKS], []), "prompted_masks: 0 masks for 1 prompts"),
        (lambda: viz.prompted_masks(IMAGE, [CLICKS], [MASK.T]), r"prompted_masks: a mask must be \(6, 8\)"),
        (
            lambda: viz.prompted_masks(IMAGE, [{"box": 1}], [MASK]),
            "prompted_masks: a prompt has .* not 'box'",
        ),
        (
            lambda: viz.prompted_masks(IMAGE, [{"points": [[1, 2]]}], [MASK]),
            "prompted_masks: points and point_labels go",
        ),
        (
            lambda: viz.prompted_masks(IMAGE, [{"points": [[1, 2]], "point_labels": [1, 0]}], [MASK]),
            r"prompted_masks: points must be \(n, 2\) and point_labels \(n,\), got \(1, 2\) and \(2,\)",
        ),
        (
            lambda: viz.mask_choices(IMAGE, CLICKS, MASK, [0.5]),
            r"mask_choices: masks must be \(M, H, W\) and ious \(M,\)",
        ),
    ],
)
def test_it_refuses(call, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        call()
