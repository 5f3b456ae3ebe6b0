"""The losses of Faster R-CNN: worked numbers, which rows count, sampling, empty batches, what is refused.

Not here: torchvision's numbers (tests/parity/test_rcnn_parity.py), the model that calls them (tests/models).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.losses import balanced_sample, proposal_losses, region_losses

RNG = np.random.default_rng(0)


def test_proposal_losses_by_hand():
    logits = np.array([0.0, math.log(3), -math.log(3)])
    deltas = np.array([[0.05, 0, 0, 0.5], [9, 9, 9, 9], [1, 0, 0, 0]], float)
    objectness, boxes = proposal_losses(logits, deltas, np.array([1, 0, 1]), np.zeros((3, 4)))
    assert float(objectness) == pytest.approx((math.log(2) + math.log(4) + math.log(4)) / 3)
    # within 1/9 a square: 4.5 d^2; beyond it d - 1/18
    assert float(boxes) == pytest.approx((4.5 * 0.05**2 + 0.5 - 1 / 18 + 1 - 1 / 18) / 3)


def test_region_losses_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    deltas = RNG.standard_normal((2, 3, 4))
    targets = RNG.standard_normal((2, 4))
    classes, boxes = region_losses(logits, deltas, np.array([0, 2]), targets)
    assert float(classes) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)
    far = np.abs(deltas[1, 2] - targets[1])
    expected = sum(4.5 * d * d if d < 1 / 9 else d - 1 / 18 for d in far)
    assert float(boxes) == pytest.approx(expected / 2)


def test_boxes_of_background_and_of_other_classes_have_no_influence():
    logits = RNG.standard_normal((4, 3))
    labels = np.array([0, 2, 1, 0])
    deltas = mv.Tensor(RNG.standard_normal((4, 3, 4)), requires_grad=True)
    region_losses(logits, deltas, labels, np.zeros((4, 4)))[1].backward()
    used = np.zeros((4, 3), bool)
    used[[1, 2], [2, 1]] = True
    np.testing.assert_array_equal((deltas.grad != 0).any(axis=-1), used)
    anchors = mv.Tensor(RNG.standard_normal((4, 4)), requires_grad=True)
    proposal_losses(logits[:, 0], anchors, labels, np.zeros((4, 4)))[1].backward()
    np.testing.assert_array_equal((anchors.grad != 0).any(axis=-1), labels > 0)


def test_targets_of_background_are_not_read():
    labels = np.array([0, 1])
    zero = np.zeros((2, 4))
    unknown = np.array([[np.nan] * 4, [0.0] * 4])
    for loss, logits, shape in (
        (proposal_losses, np.zeros(2), (2, 4)),
        (region_losses, np.zeros((2, 2)), (2, 2, 4)),
    ):
        deltas = [mv.Tensor(np.ones(shape), requires_grad=True) for _ in range(2)]
        found = [loss(logits, d, labels, t)[1] for d, t in zip(deltas, (zero, unknown), strict=True)]
        assert float(found[0]) == float(found[1]) == pytest.approx(4 * (1 - 1 / 18) / 2)
        for one in found:
            one.backward()
        np.testing.assert_array_equal(deltas[0].grad, deltas[1].grad)


def test_no_rows_and_no_objects_lose_nothing():
    found = [
        *proposal_losses(np.zeros(0), np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 4))),
        *region_losses(np.zeros((0, 3)), np.zeros((0, 3, 4)), np.zeros(0, int), np.zeros((0, 4))),
        proposal_losses(np.zeros(2), np.ones((2, 4)), np.zeros(2, int), np.zeros((2, 4)))[1],
    ]
    assert [float(x) for x in found] == [0] * 5


def test_half_is_summed_in_float32():
    logits = np.zeros(9000, np.float16)
    deltas = np.full((9000, 4), 100, np.float16)  # the sum would be infinite
    found = proposal_losses(logits, deltas, np.ones(9000, int), np.zeros((9000, 4), np.float16))
    assert [x.dtype for x in found] == [np.float16] * 2
    assert float(found[0]) == pytest.approx(math.log(2), rel=1e-3) and float(found[1]) == pytest.approx(
        399.8, rel=1e-3
    )


@pytest.mark.parametrize(
    ("objects", "background", "expected"),
    [(10, 90, (4, 12)), (2, 90, (2, 14)), (10, 3, (4, 3)), (0, 20, (0, 16)), (3, 0, (3, 0)), (0, 0, (0, 0))],
)
def test_a_sample_is_balanced(objects, background, expected):
    labels = RNG.permutation([*[2] * objects, *[0] * background, *[-1] * 7])
    chosen = balanced_sample(labels, count=16, positive=0.25, rng=1)
    assert (sum(labels[chosen] > 0), sum(labels[chosen] == 0)) == expected
    assert len(chosen) == sum(expected) == len(set(chosen.tolist())) and (np.diff(chosen) > 0).all()


def test_every_anchor_can_be_sampled_and_the_generator_decides():
    labels = np.array([1, 1, 1, 0, 0, 0])
    rng = np.random.default_rng(0)
    seen = {tuple(balanced_sample(labels, 2, 0.5, rng).tolist()) for _ in range(200)}
    assert seen == {(i, j) for i in range(3) for j in range(3, 6)}
    np.testing.assert_array_equal(balanced_sample(labels, 2, 0.5), balanced_sample(labels, 2, 0.5, rng=0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: balanced_sample(np.zeros((2, 2)), 4, 0.5),
            r"balanced_sample: labels must be \(N,\) \(labels: \(2, 2\)\)",
        ),
        (lambda: balanced_sample(np.zeros(2), 0, 0.5), "count must be a whole number of at least 1"),
        (lambda: balanced_sample(np.zeros(2), 2.5, 0.5), "count must be a whole number of at least 1"),
        (lambda: balanced_sample(np.zeros(2), 4, 1.5), "positive within 0 to 1, got 4 and 1.5"),
        (
            lambda: proposal_losses(np.zeros(2), np.zeros((2, 4)), np.zeros(3, int), np.zeros((2, 4))),
            r"proposal_losses: objectness and labels must be \(N,\)",
        ),
        (
            lambda: proposal_losses(np.zeros(2), np.zeros((2, 3)), np.zeros(2, int), np.zeros((2, 4))),
            "one row for each of N=2",
        ),
        (
            lambda: region_losses(np.zeros((2, 3)), np.zeros((2, 12)), np.zeros(2, int), np.zeros((2, 4))),
            r"region_losses: logits must be \(R, K\), deltas \(R, K, 4\) and labels \(R,\)",
        ),
        (
            lambda: region_losses(np.zeros((2, 3)), np.zeros((2, 3, 4)), np.zeros(2, int), np.zeros((3, 4))),
            "one row for each of R=2",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
