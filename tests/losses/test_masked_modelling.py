"""mae_loss and mae_target beyond their laws: worked numbers, gradients, devices, float16, refusals.

Not here: their laws (tests/laws), the comparison with the published model (tests/parity).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.losses import mae_loss, mae_target

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 3, 4, 6))
PREDICTION = RNG.standard_normal((2, 6, 12))
MASK = RNG.random((2, 6)) < 0.6


def test_worked_numbers():
    patch = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = [-1.161895, -0.387298, 0.387298, 1.161895]
    np.testing.assert_allclose(mae_target(patch, 2, norm_pix=True)[0, 0], expected, atol=1e-6)
    assert not np.allclose(expected[0], -1.341640)  # of the biased variance


@pytest.mark.parametrize("norm_pix", [False, True])
def test_the_gradient_and_a_device(norm_pix, device):
    check_gradient(lambda p: mae_loss(IMAGES, p, MASK, 2, norm_pix), PREDICTION)
    there = [mv.to_device(x, device) for x in (IMAGES, PREDICTION, MASK)]
    got = mv.to_numpy(mae_loss(*there, 2, norm_pix))
    np.testing.assert_allclose(got, mae_loss(IMAGES, PREDICTION, MASK, 2, norm_pix))


def test_what_is_visible_may_be_anything():
    odd = np.where(MASK[..., None], PREDICTION, np.nan)
    tensor = mv.Tensor(odd, requires_grad=True)
    loss = mae_loss(IMAGES, tensor, MASK, 2)
    assert float(loss) == mae_loss(IMAGES, PREDICTION, MASK, 2)
    loss.backward()
    assert not tensor.grad[~MASK].any() and np.isfinite(tensor.grad).all()


def test_half_precision_does_not_overflow():
    images = np.full((1, 1, 2, 2), 300, np.float16)
    loss = mae_loss(images, np.zeros((1, 1, 4), np.float16) + np.float16(100), np.ones((1, 1), bool), 2)
    assert loss.dtype == np.float16 and float(loss) == 40_000


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: mae_loss(IMAGES, PREDICTION, np.zeros_like(MASK), 2),
            ValueError,
            "mae_loss: no patch is hidden",
        ),
        (
            lambda: mae_loss(IMAGES, PREDICTION[:, 1:], MASK, 2),
            ValueError,
            r"mae_loss: for images of 6 patches",
        ),
        (lambda: mae_loss(IMAGES, PREDICTION, MASK * 1.0, 2), TypeError, "mae_loss: mask must be boolean"),
        (
            lambda: mae_loss(IMAGES, PREDICTION.astype(int), MASK, 2),
            TypeError,
            "mae_loss: prediction must be floating",
        ),
        (lambda: mae_target(IMAGES, 4), ValueError, "patchify: images must be"),
        (
            lambda: mae_target(IMAGES[:, :1], 1, True),
            ValueError,
            "mae_target: norm_pix needs patches of at least two",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
