"""Dice and focal loss: against a loop over pixels, differentiable, finite for empty masks and for logits of any size.

Not here: their laws (minivis.laws).
"""

import math

import numpy as np
import pytest

from minivis import Tensor, ops, to_device, to_numpy
from minivis.gradcheck import check_gradient
from minivis.losses import dice_loss, sigmoid_focal_loss

RNG = np.random.default_rng(3)
LOGITS = 2 * RNG.standard_normal((3, 4, 5))
MASKS = RNG.random((3, 4, 5)) < 0.4
SOFT = RNG.random(MASKS.shape)
LOSSES = [dice_loss, sigmoid_focal_loss]


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def slow_dice(z, t):
    overlap, total = 0.0, 0.0
    for score, true in zip(z.ravel(), t.ravel(), strict=True):
        overlap += sigmoid(score) * true
        total += sigmoid(score) + true
    return 1 - (2 * overlap + 1) / (total + 1)


def slow_focal(z, t, alpha=0.25, gamma=2.0):
    loss = 0.0
    for score, true in zip(z.ravel(), t.ravel(), strict=True):
        right = sigmoid(score if true else -score)
        weight = 1 if alpha is None else alpha if true else 1 - alpha
        loss -= weight * (1 - right) ** gamma * math.log(right)
    return loss / z.size


@pytest.mark.parametrize(
    "fast, slow, options",
    [
        (dice_loss, slow_dice, {}),
        (sigmoid_focal_loss, slow_focal, {}),
        (sigmoid_focal_loss, slow_focal, {"alpha": None, "gamma": 0.5}),
        (sigmoid_focal_loss, slow_focal, {"alpha": 0.9, "gamma": 0}),
    ],
)
def test_each_loss_is_what_a_loop_over_pixels_gives(fast, slow, options):
    expected = [slow(z, t, **options) for z, t in zip(LOGITS, MASKS, strict=True)]
    np.testing.assert_allclose(fast(LOGITS, MASKS, reduction="none", **options), expected, rtol=1e-12)
    np.testing.assert_allclose(fast(LOGITS, MASKS, **options), np.mean(expected), rtol=1e-12)
    np.testing.assert_allclose(fast(LOGITS, MASKS, normalizer=7, **options), np.sum(expected) / 7, rtol=1e-12)


def test_focal_with_gamma_0_and_no_alpha_is_cross_entropy():
    plain = ops.binary_cross_entropy_with_logits(LOGITS, MASKS)
    np.testing.assert_allclose(sigmoid_focal_loss(LOGITS, MASKS, alpha=None, gamma=0), plain)


@pytest.mark.parametrize("loss", LOSSES)
def test_both_are_differentiable_and_work_on_a_device(loss, device):
    check_gradient(lambda z: loss(z, MASKS, reduction="none"), LOGITS)
    check_gradient(lambda z: loss(z, SOFT), LOGITS)  # shares of pixels as well
    moved = loss(to_device(LOGITS, device), to_device(MASKS, device))
    np.testing.assert_allclose(to_numpy(moved), loss(LOGITS, MASKS))
    assert loss(LOGITS.astype(np.float32), MASKS).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "loss, options", [(dice_loss, {}), *((sigmoid_focal_loss, {"gamma": g}) for g in (0, 0.5, 1, 2))]
)
def test_empty_masks_and_certain_logits_give_finite_losses_and_gradients(loss, options, dtype):
    logits = np.array([[-1e4, 1e4, 0.0, -60.0], [1e4, 1e4, 1e4, 1e4], [-1e4, -1e4, -1e4, -1e4]], dtype)
    for masks in (np.zeros(logits.shape, bool), np.ones(logits.shape, bool), logits > 0):
        z = Tensor(logits, requires_grad=True)
        value = loss(z, masks, **options)
        value.backward()
        assert np.isfinite(value.item()) and np.isfinite(z.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "inputs, options, error, message",
    [
        ((LOGITS, MASKS[:2]), {}, ValueError, r"one shape \(N, ...\) \(logits: \(3, 4, 5\)"),
        ((LOGITS[0, 0], MASKS[0, 0]), {}, ValueError, "one shape"),
        ((LOGITS[:, :0], MASKS[:, :0]), {}, ValueError, "masks must have at least one pixel"),
        ((LOGITS[:0], MASKS[:0]), {}, ValueError, "the mean over nothing"),
        ((LOGITS, MASKS), {"reduction": "sum"}, ValueError, "reduction must be"),
        ((MASKS, MASKS), {}, TypeError, "logits must be floating-point, got bool"),
    ],
)
def test_what_does_not_fit_is_refused(loss, inputs, options, error, message):
    with pytest.raises(error, match=f"^{loss.__name__}: .*{message}"):
        loss(*inputs, **options)


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"alpha": -1}, {"gamma": -1}])
def test_focal_refuses_weights_out_of_range(options):
    with pytest.raises(ValueError, match=f"^sigmoid_focal_loss: {next(iter(options))} must"):
        sigmoid_focal_loss(LOGITS, MASKS, **options)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"reduction": "none"}])
@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf])
def test_what_cross_entropy_ignores_may_be_nan(options, what):
    target = np.array([[0, 255, 2], [255, 255, 1]])
    results = []
    for filled in (0.0, what):
        z = np.random.default_rng(0).standard_normal((2, 4, 3))
        z = Tensor(np.where((target == 255)[:, None], filled, z), requires_grad=True)
        loss = ops.cross_entropy(z, target, ignore_index=255, **options)
        loss.backward(np.ones(loss.shape))
        results.append([loss.data, z.grad])
    for clean, dirty in zip(*results, strict=True):
        np.testing.assert_array_equal(dirty, clean)
        assert np.isfinite(dirty).all()
