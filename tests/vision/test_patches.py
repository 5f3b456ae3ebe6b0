"""Laws of patches: cutting and joining are inverse, a convolution is a linear map on patches; attention distance.

Not here: the learned embedding (tests/models/test_vit.py).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import attention_distance, patchify, unpatchify

RNG = np.random.default_rng(1)
SIZES = [((2, 3, 4, 6), 2), ((1, 1, 6, 4), (3, 2)), ((2, 2, 5, 7), 1), ((3, 1, 4, 4), 4), ((0, 3, 4, 6), 2)]


@pytest.mark.parametrize("shape, patch", SIZES)
def test_unpatchify_is_the_inverse_of_patchify(shape, patch):
    images = RNG.standard_normal(shape).astype(np.float32)
    tokens = patchify(images, patch)
    p, q = patch if isinstance(patch, tuple) else (patch, patch)
    assert tokens.shape == (shape[0], shape[2] // p * (shape[3] // q), p * q * shape[1])
    assert tokens.dtype == np.float32
    np.testing.assert_array_equal(unpatchify(tokens, patch, *shape[2:]), images)


def test_each_row_is_the_patch_that_a_loop_cuts_out():
    images = RNG.standard_normal((2, 3, 6, 8))
    (p, q) = (3, 2)
    tokens = patchify(images, (p, q))
    for n in range(8):
        i = n // 4 * p
        j = n % 4 * q
        np.testing.assert_array_equal(
            tokens[:, n], images[:, :, i : i + p, j : j + q].transpose(0, 2, 3, 1).reshape(2, -1)
        )


def test_a_convolution_with_kernel_and_stride_p_is_a_linear_map_on_patches():
    images, weight = RNG.standard_normal((2, 3, 4, 6)), RNG.standard_normal((5, 3, 2, 2))
    maps = mv.ops.conv2d(images, weight, stride=2)
    rows = weight.transpose(0, 2, 3, 1).reshape(5, -1)
    np.testing.assert_allclose(mv.ops.linear(patchify(images, 2), rows), maps.reshape(2, 5, 6).swapaxes(1, 2))


def test_both_are_differentiable_and_work_on_a_device(device):
    images = RNG.standard_normal((2, 3, 4, 6))
    check_gradient(lambda x: patchify(x, 2), images)
    check_gradient(lambda x: unpatchify(x, 2, 4, 6), patchify(images, 2))
    tokens = patchify(mv.to_device(images, device), 2)
    np.testing.assert_array_equal(mv.to_numpy(tokens), patchify(images, 2))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: patchify(np.zeros((1, 3, 5, 4)), 2), "patchify: images must be"),
        (lambda: patchify(np.zeros((3, 4, 4)), 2), "patchify: images must be"),
        (lambda: patchify(np.zeros((1, 3, 4, 4)), 0), "patchify: patch must be an integer of at least 1"),
        (lambda: patchify(np.zeros((1, 3, 4, 4)), 2.0), "patchify: patch must be an integer"),
        (lambda: unpatchify(np.zeros((1, 4, 12)), 2, 4, 6), "unpatchify: tokens must be"),
        (lambda: unpatchify(np.zeros((1, 4, 13)), 2, 4, 4), "unpatchify: tokens must be"),
        (lambda: unpatchify(np.zeros((1, 4, 12)), 2, 5, 4), "unpatchify: tokens must be"),
        (lambda: attention_distance(np.ones((2, 5, 5)), 16, (2, 2)), "attention_distance: attention must be"),
        (lambda: attention_distance(np.ones((4, 3)), 16, (2, 2)), "attention_distance: attention must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_attention_distance_by_loops():
    attention = RNG.random((2, 3, 6, 6))
    attention /= attention.sum(axis=-1, keepdims=True)
    centres = [(16 * i + 8, 4 * j + 2) for i in range(2) for j in range(3)]
    expected = np.zeros((2, 3))
    for i, a in enumerate(centres):
        for j, b in enumerate(centres):
            expected += attention[:, :, i, j] * math.dist(a, b) / 6
    np.testing.assert_allclose(attention_distance(attention, (16, 4), (2, 3)), expected)


def test_attention_distance_of_known_attentions():
    assert attention_distance(np.eye(12), 16, (3, 4)) == 0
    row = 5  # uniform attention along one row of n patches: (n - 1/n) / 3 patches
    assert attention_distance(np.full((row, row), 1 / row), 7, (1, row)) == pytest.approx(
        7 * (row - 1 / row) / 3
    )
    far = np.zeros((6, 6))
    far[np.arange(6), [5, 3, 3, 2, 0, 0]] = 1
    assert 0 < attention_distance(far, 2, (2, 3)) <= 2 * math.hypot(1, 2)


def test_attention_distance_drops_the_class_token_by_normalising_again():
    attention = RNG.random((2, 7, 7)).astype(np.float32)
    attention /= attention.sum(axis=-1, keepdims=True)
    patches = attention[:, 1:, 1:]
    distance = attention_distance(patches, 16, (2, 3))
    assert distance.dtype == np.float32
    again = patches / patches.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(distance, attention_distance(again, 16, (2, 3)), rtol=1e-6)
    assert attention_distance(np.zeros((6, 6)), 16, (2, 3)) == 0
