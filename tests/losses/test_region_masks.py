"""mask_loss: the channel of the true class alone, no regions, float16, a device, what is refused.

Not here: its laws (tests/laws), the targets (tests/vision/test_region_masks.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.losses import mask_loss

RNG = np.random.default_rng(6)
LOGITS = 3 * RNG.standard_normal((4, 3, 2, 5))
LABELS = np.array([2, 0, 1, 2])
TARGETS = RNG.random((4, 2, 5))


def test_it_is_the_mean_cross_entropy_on_the_true_channel_and_differentiable():
    p = 1 / (1 + np.exp(-LOGITS[np.arange(4), LABELS]))
    expected = -(TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p)).mean()
    assert float(mask_loss(LOGITS, LABELS, TARGETS)) == pytest.approx(expected, rel=1e-12)
    check_gradient(lambda z: mask_loss(z, LABELS, TARGETS), LOGITS, rng=np.random.default_rng(0))
    z = mv.Tensor(LOGITS, requires_grad=True)
    mask_loss(z, LABELS, TARGETS > 0.5).backward()
    touched = np.zeros((4, 3), bool)
    touched[np.arange(4), LABELS] = True
    np.testing.assert_array_equal((z.grad != 0).all(axis=(2, 3)), touched)


def test_without_regions_loss_and_gradient_are_zero():
    z = mv.Tensor(np.zeros((0, 3, 4, 4), np.float32), requires_grad=True)
    loss = mask_loss(z, np.zeros(0, int), np.zeros((0, 4, 4)))
    assert float(loss.data) == 0 and loss.dtype == np.float32
    loss.backward()
    assert z.grad.shape == z.shape


def test_half_precision_and_a_device(device):
    exact = float(mask_loss(LOGITS, LABELS, TARGETS))
    half = mask_loss(LOGITS.astype(np.float16), LABELS, TARGETS)
    assert half.dtype == np.float16 and float(half) == pytest.approx(exact, rel=2e-3)
    there = [mv.to_device(x, device) for x in (LOGITS, LABELS, TARGETS)]
    assert float(mv.to_numpy(mask_loss(*there))) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    "arguments, kind, complaint",
    [
        (
            (LOGITS[0], LABELS, TARGETS),
            ValueError,
            r"mask_loss: logits must be \(R, K, m, m\).*logits: \(3, 2, 5\)",
        ),
        ((LOGITS, LABELS[:2], TARGETS), ValueError, r"mask_loss: logits must be .*labels: \(2,\)"),
        ((LOGITS, LABELS, TARGETS[:, :1]), ValueError, r"mask_loss: targets must be .*targets: \(4, 1, 5\)"),
        (
            (LOGITS, LABELS + 1, TARGETS),
            IndexError,
            "mask_loss: class 3 in labels is out of range for 3 entries",
        ),
        ((LOGITS, LABELS - 1, TARGETS), IndexError, "mask_loss: class -1 in labels"),
        ((LOGITS, LABELS, 255 * (TARGETS > 0.5)), ValueError, "mask_loss: targets must be from 0 to 1"),
        (
            (LOGITS, LABELS.astype(float), TARGETS),
            TypeError,
            "mask_loss: labels must be integers, got float64",
        ),
        (
            (LOGITS.astype(int), LABELS, TARGETS),
            TypeError,
            "mask_loss: logits must be floating-point, got int64",
        ),
    ],
)
def test_what_is_refused(arguments, kind, complaint):
    with pytest.raises(kind, match=complaint):
        mask_loss(*arguments)
