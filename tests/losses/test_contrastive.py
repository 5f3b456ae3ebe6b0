"""CLIP's loss: worked numbers, texts that occur twice, devices and halves, gradients, what is refused.

Not here: its laws (tests/laws), equality with transformers (tests/parity).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.losses import clip_loss

RNG = np.random.default_rng(3)
U, V = RNG.standard_normal((2, 5, 4))


def test_worked_numbers():
    assert clip_loss(np.eye(2), np.eye(2), 0.0) == pytest.approx(math.log(1 + math.exp(-1)))  # 0.313262
    same = np.ones((8, 3))
    assert clip_loss(same, same, 2.0) == pytest.approx(math.log(8))
    assert math.log(32_768) == pytest.approx(10.397, abs=1e-3)  # CLIP's batch before training
    assert clip_loss(U[:1], V[:1], 3.0) == 0


def test_texts_that_occur_twice_share_the_target():
    """With two equal texts the least loss is that of a guess between them; without sharing it would push one away."""
    u = np.eye(3)
    v = u[[0, 0, 2]]
    same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    images = u[[0, 0, 2]]
    loss = clip_loss(images, v, math.log(100), same=same)
    assert loss == pytest.approx(2 / 3 * math.log(2))
    assert clip_loss(U, V, 1.0, same=np.eye(5, dtype=bool)) == pytest.approx(float(clip_loss(U, V, 1.0)))
    u = mv.Tensor(images, requires_grad=True)
    clip_loss(u, v, 1.0, same=same).backward()
    np.testing.assert_allclose(u.grad[0], u.grad[1], atol=1e-12)  # nothing pulls the two apart


def test_gradients_in_all_arguments():
    def loss(u, v, scale):
        return clip_loss(
            u, v, scale, same=np.eye(5, dtype=bool) | (np.arange(5)[:, None] + np.arange(5) == 1)
        )

    check_gradient(loss, U, V, np.array(0.7))
    check_gradient(clip_loss, U, V, np.array(0.7))


def test_a_device_and_halves(device):
    expected = clip_loss(U, V, 2.0)
    for where, dtype, tolerance in ((device, "float32", 1e-5), ("cpu", "float16", 1e-2)):
        arrays = [mv.to_device(x.astype(dtype), where) for x in (U, V, np.array(2.0))]
        for same in (None, mv.to_device(np.eye(5, dtype=bool), where)):
            got = clip_loss(*arrays, same=same)
            assert got.dtype == dtype
            assert float(mv.to_numpy(got)) == pytest.approx(float(expected), rel=tolerance)


@pytest.mark.parametrize(
    ("u", "v", "same", "kind", "words"),
    [
        (U, V[:4], None, ValueError, r"^clip_loss: .*must be \(N, E\) alike.*\(5, 4\).*\(4, 4\)"),
        (U[:0], V[:0], None, ValueError, "at least one pair"),
        (U, V, np.eye(4, dtype=bool), ValueError, r"same must be boolean \(5, 5\)"),
        (U, V, np.zeros((5, 5), bool), ValueError, "same must be True for every picture and its own text"),
        (U.astype(int), V, None, TypeError, "image_features must be floating-point, got int64"),
        (U, V, mv.Tensor(np.zeros((5, 5), bool)), ValueError, "same must be True for every picture"),
    ],
)
def test_mistakes_are_named(u, v, same, kind, words):
    with pytest.raises(kind, match=words):
        clip_loss(u, v, 1.0, same=same)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (np.full(5, 2.0), "^clip_loss: logit_scale must be one number"),  # would be a factor for each text
        (np.full((5, 1), 2.0), "^clip_loss: logit_scale must be one number"),
        (1000, r"^clip_loss: logit_scale is the logarithm of the factor, and exp\(1000\) is too large"),
    ],
)
def test_the_scale_is_one_number(scale, words):
    with pytest.raises(ValueError, match=words):
        clip_loss(U, V, scale)
