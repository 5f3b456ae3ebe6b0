"""The loss of RT-DETR: the matching by focal costs, varifocal loss, and what the criterion makes of them.

Not here: equality with transformers (tests/parity).
"""

from types import SimpleNamespace

import numpy as np
import pytest

from minivis import Tensor
from minivis.losses import FocalMatcher, RTDETRCriterion, varifocal_loss

RNG = np.random.default_rng(3)


def output(logits, boxes, auxiliary=()):
    return SimpleNamespace(logits=logits, boxes=boxes, auxiliary=list(auxiliary))


def target(*rows):
    return {
        "labels": np.array([k for k, _ in rows], int),
        "boxes": np.array([b for _, b in rows]).reshape(-1, 4),
    }


def test_the_cost_of_a_class_is_the_loss_with_it_less_the_loss_without():
    logits = RNG.standard_normal((1, 4, 3))
    p = 1 / (1 + np.exp(-logits))
    alpha, gamma = 0.3, 1.5
    expected = -alpha * (1 - p) ** gamma * np.log(p) + (1 - alpha) * p**gamma * np.log(1 - p)
    costs = FocalMatcher(alpha=alpha, gamma=gamma).class_costs(logits)
    np.testing.assert_allclose(costs, expected, atol=1e-6)
    # with the other weights 0 they alone decide
    boxes = RNG.uniform(0.3, 0.6, (1, 4, 4))
    matcher = FocalMatcher(1, 0, 0, alpha=alpha, gamma=gamma)
    there = [target((2, [0.5, 0.5, 0.2, 0.2]), (0, [0.5, 0.5, 0.2, 0.2]))]
    np.testing.assert_allclose(matcher.costs(logits, boxes, there)[0], costs[0].T[[2, 0]], atol=1e-12)


def test_logits_far_from_zero_have_finite_costs():
    costs = FocalMatcher().class_costs(np.array([[[-800.0, 800.0]]]))
    assert np.isfinite(costs).all() and costs[0, 0, 0] > costs[0, 0, 1]


def test_varifocal_loss_by_hand():
    z = np.array([[0.0, 2.0], [-1.0, 0.5]])
    p = 1 / (1 + np.exp(-z))
    scores = np.array([[0.8, 0.0], [0.0, 0.0]])
    # the last lies where nothing overlaps: it has no weight
    positive = np.array([[True, False], [False, True]])
    expected = [
        0.8 * (-0.8 * np.log(p[0, 0]) - 0.2 * np.log(1 - p[0, 0])) + 0.75 * p[0, 1] ** 2 * -np.log(1 - p[0, 1]),
        0.75 * p[1, 0] ** 2 * -np.log(1 - p[1, 0]),
    ]  # fmt: skip
    np.testing.assert_allclose(varifocal_loss(z, scores, positive, reduction="none"), expected)
    assert varifocal_loss(z, scores, positive, normalizer=4) == pytest.approx(sum(expected) / 4)
    assert varifocal_loss(z.astype(np.float16), scores, positive).dtype == np.float16


def test_the_weight_of_what_is_no_object_has_no_gradient():
    z = Tensor(np.array([[1.0]]), requires_grad=True)
    varifocal_loss(z, np.zeros((1, 1)), np.zeros((1, 1), bool)).backward()
    p = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(z.grad, 0.75 * p**2 * p)  # d(-ln(1 - p))/dz = p


def test_the_score_of_a_matched_query_is_the_overlap_of_its_box():
    boxes = np.array([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    there = [target((1, [0.5, 0.5, 0.4, 0.4]))]  # the first box is half of it
    z = np.array([[[-5.0, 0.3], [-5.0, -5.0]]])
    found = RTDETRCriterion(2)(output(z, boxes), there)
    p = 1 / (1 + np.exp(-z))
    matched = 0.5 * (-0.5 * np.log(p[0, 0, 1]) - 0.5 * np.log(1 - p[0, 0, 1]))
    others = sum(0.75 * q**2 * -np.log(1 - q) for q in (p[0, 0, 0], *p[0, 1]))
    assert float(found["loss_vfl"]) == pytest.approx(matched + others)
    assert float(found["loss_bbox"]) == pytest.approx(0.2) and float(found["loss_giou"]) == pytest.approx(0.5)
    assert float(found["loss"]) == pytest.approx(matched + others + 5 * 0.2 + 2 * 0.5)


def test_every_auxiliary_output_counts_and_is_matched_by_itself():
    z = RNG.standard_normal((3, 2, 4, 2))
    boxes = RNG.uniform(0.2, 0.6, (3, 2, 4, 4))
    there = [target((1, [0.5, 0.5, 0.4, 0.4])), target((0, [0.3, 0.4, 0.2, 0.2]), (1, [0.6, 0.6, 0.3, 0.3]))]
    layers = [output(a, b) for a, b in zip(z, boxes, strict=True)]
    criterion = RTDETRCriterion(2)
    alone = [criterion(layer, there) for layer in layers]
    layers[0].auxiliary = layers[1:]
    together = criterion(layers[0], there)
    assert float(together["loss"]) == pytest.approx(sum(float(x["loss"]) for x in alone))
    assert float(together["loss_vfl_1"]) == pytest.approx(float(alone[2]["loss_vfl"]))


def test_no_object_anywhere_leaves_the_scores_alone_to_learn():
    boxes = Tensor(np.full((1, 2, 4), 0.5), requires_grad=True)
    z = Tensor(np.zeros((1, 2, 3)), requires_grad=True)
    found = RTDETRCriterion(3)(output(z, boxes), [target()])
    found["loss"].backward()
    assert float(found["loss_bbox"]) == 0 and float(found["loss"]) == pytest.approx(6 * 0.75 / 4 * np.log(2))
    assert not np.any(boxes.grad) and (z.grad > 0).all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FocalMatcher(0, 0, 0), "FocalMatcher: weights must be at least 0, and one of them above it"),
        (lambda: RTDETRCriterion(0), "RTDETRCriterion: num_classes must be a whole number"),
        (lambda: RTDETRCriterion(2, weights={"loss_ce": 1}), "unknown term 'loss_ce'; the terms are loss_vfl, "),
        (lambda: RTDETRCriterion(2, weights={"loss_vfl": -1}), r"weights must be at least 0, got \{'loss_vfl': -1\}$"),
        (
            lambda: RTDETRCriterion(2)(output(np.zeros((1, 2, 3)), np.full((1, 2, 4), 0.5)), [target()]),
            r"RTDETRCriterion: logits must be \(B, Q, K\) with K=2",
        ),
        (
            lambda: FocalMatcher()(np.zeros((1, 2)), np.full((1, 2, 4), 0.5), [target()]),
            r"FocalMatcher: logits must be \(B, Q, K\) and boxes",
        ),
        (
            lambda: FocalMatcher()(np.zeros((1, 2, 1)), np.full((1, 2, 4), 0.5), [target((1, [0.5] * 4))]),
            "FocalMatcher: label 1 in .* is out of range for 1 classes",
        ),
        (
            lambda: varifocal_loss(np.zeros((2, 1)), np.zeros((1, 2)), np.zeros((2, 1), bool)),
            r"varifocal_loss: logits, scores and positive must be \(N, K\)",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
