"""The choice among masks: beside SAM's whole loss, and what is refused.

Not here: its laws (tests/laws).
"""

import numpy as np
import pytest

from minivis import losses


def test_it_is_what_sam_loss_makes_of_masks():
    rng = np.random.default_rng(0)
    masks = rng.normal(size=(1, 5, 3, 6, 7))
    truth = rng.random((1, 5, 6, 7)) < 0.4
    estimates = rng.random((1, 5, 3))
    rows = [
        (m[None, None, None], t[None, None]) for ms, t in zip(masks[0], truth[0], strict=True) for m in ms
    ]
    each = [losses.sam_loss(m, np.zeros((1, 1, 1)), t, iou_weight=0) for m, t in rows]
    cost, ious = (np.array([float(one[name]) for one in each]).reshape(5, 3) for name in ("loss", "best"))
    found = losses.mask_choice(cost, estimates[0], ious)
    whole = losses.sam_loss(masks, estimates, truth, every_estimate=True)
    np.testing.assert_allclose(found[0], whole["loss"])
    np.testing.assert_allclose(found[1], ious[np.arange(5), estimates[0].argmax(axis=1)].mean())


@pytest.mark.parametrize("shapes", [[(2, 3), (2, 3), (2, 2)], [(3,)] * 3, [(0, 3)] * 3])
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match=r"^mask_choice: (losses, estimates and ious|there must be)"):
        losses.mask_choice(*map(np.zeros, shapes))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_whole_numbers_are_refused_because_the_result_would_be_cut_off(place):
    arguments = [np.full((2, 3), 0.5)] * 3
    arguments[place] = np.ones((2, 3), int)
    with pytest.raises(
        TypeError, match="^mask_choice: losses, estimates and ious must be floating-point, got .*int64"
    ):
        losses.mask_choice(*arguments)
