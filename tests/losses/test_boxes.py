"""L1 and GIoU losses of pairs of boxes: by hand, differentiable, finite for boxes without area.

Not here: laws of the boxes themselves (minivis.laws), which pairs there are (test_set_prediction.py).
"""

import numpy as np
import pytest

from minivis import Tensor, to_device, to_numpy
from minivis.gradcheck import check_gradient
from minivis.losses import box_giou_loss, box_l1_loss

# two unit squares with a gap of one between them: nothing in common, and one third of their enclosure is neither's
APART = np.array([[0.5, 0.5, 1.0, 1.0]]), np.array([[2.5, 0.5, 1.0, 1.0]])
# two squares of side 2 that share a quarter: 1 of 7 in common, and 2 of the 9 of their enclosure are neither's
CORNER = np.array([[1.0, 1.0, 2.0, 2.0]]), np.array([[2.0, 2.0, 2.0, 2.0]])


def draw(n, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (n, 4))


@pytest.mark.parametrize("pair, giou, l1", [(APART, -1 / 3, 2), (CORNER, 1 / 7 - 2 / 9, 2)])
def test_both_losses_by_hand(pair, giou, l1):
    np.testing.assert_allclose(box_giou_loss(*pair), 1 - giou, rtol=1e-12)
    np.testing.assert_allclose(box_l1_loss(*pair), l1)


@pytest.mark.parametrize("loss", [box_l1_loss, box_giou_loss])
def test_reductions_and_the_normalizer(loss):
    boxes = draw(5)
    targets = draw(5, seed=1)
    each = loss(boxes, targets, reduction="none")
    assert each.shape == (5,)
    np.testing.assert_allclose(loss(boxes, targets), each.mean())
    np.testing.assert_allclose(loss(boxes, targets, normalizer=2), each.sum() / 2)
    assert loss(boxes[:0], targets[:0], normalizer=1) == 0
    assert loss(boxes.astype(np.float32), targets.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("loss", [box_l1_loss, box_giou_loss])
def test_both_are_differentiable_and_work_on_a_device(loss, device):
    boxes = draw(4)
    targets = draw(4, seed=1)
    check_gradient(lambda b, t: loss(b, t, reduction="none"), boxes, targets)
    moved = loss(to_device(boxes, device), to_device(targets, device))
    np.testing.assert_allclose(to_numpy(moved), loss(boxes, targets))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_without_area_give_finite_losses_and_gradients(dtype):
    flat = np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0.2, 0], [0, 0, 0, 0], [0.5, 0.5, 1e-30, 1e-30]], dtype)
    for i in range(len(flat)):
        boxes = Tensor(flat, requires_grad=True)
        targets = Tensor(np.roll(flat, i, axis=0), requires_grad=True)
        loss = box_giou_loss(boxes, targets) + box_l1_loss(boxes, targets)
        loss.backward()
        assert np.isfinite(loss.item()) and np.isfinite(boxes.grad).all() and np.isfinite(targets.grad).all()


@pytest.mark.parametrize("loss", [box_l1_loss, box_giou_loss])
@pytest.mark.parametrize(
    "inputs, options, message",
    [
        ((draw(3), draw(2)), {}, r"boxes and targets must be \(N, 4\), pair by pair \(boxes: \(3, 4\)"),
        ((draw(3)[None], draw(3)[None]), {}, r"must be \(N, 4\)"),
        ((draw(0), draw(0)), {}, "the mean over nothing is not defined"),
        ((draw(2), draw(2)), {"normalizer": 0}, "give a normalizer of at least 1"),
        ((draw(2), draw(2)), {"reduction": "sum"}, "reduction must be"),
    ],
)
def test_what_does_not_fit_is_refused(loss, inputs, options, message):
    with pytest.raises(ValueError, match=f"^{loss.__name__}: .*{message}"):
        loss(*inputs, **options)
