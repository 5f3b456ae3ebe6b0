"""Tubelets and attention factorised in space and time: special cases, worked numbers, refusals.

Not here: their laws (tests/laws).
"""

import numpy as np
import pytest

from minivis import Tensor, ops, vision

RNG = np.random.default_rng(3)


def test_tubelets_of_one_frame_are_patches():
    video = RNG.standard_normal((2, 3, 3, 8, 12))
    weight = RNG.standard_normal((5, 3, 1, 4, 4))
    bias = RNG.standard_normal(5)
    tokens = vision.tubelet_embed(video, weight, bias)
    assert tokens.shape == (2, 3, 6, 5)
    for t in range(3):
        maps = ops.conv2d(video[:, t], weight[:, :, 0], bias, stride=4)
        np.testing.assert_allclose(tokens[:, t], maps.reshape(2, 5, 6).swapaxes(1, 2))


def test_an_inflated_kernel_on_a_still_film_is_that_of_the_image():
    image = RNG.standard_normal((1, 1, 3, 8, 8))
    weight = RNG.standard_normal((5, 3, 4, 4))
    bias = np.zeros(5)
    there = vision.tubelet_embed(image, weight[:, :, None], bias)
    inflated = vision.inflated_kernel(weight, 3)
    np.testing.assert_allclose(vision.tubelet_embed(image.repeat(3, axis=1), inflated, bias), there)
    summed = weight[:, :, None].repeat(3, axis=2)  # without the factor 1 / t
    assert np.abs(vision.tubelet_embed(image.repeat(3, axis=1), summed, bias) - there).max() > 1


def test_a_central_frame_kernel_sees_one_frame():
    video = RNG.standard_normal((1, 2, 3, 4, 4))
    kernel = vision.central_frame_kernel(RNG.standard_normal((5, 3, 4, 4)), 2)
    other = video.copy()
    other[:, 0] = 9
    bias = np.zeros(5)
    first, second = (vision.tubelet_embed(x, kernel, bias) for x in (video, other))
    np.testing.assert_array_equal(first, second)
    other[:, 1] = 9
    assert np.abs(vision.tubelet_embed(other, kernel, bias) - first).max() > 0.1


@pytest.mark.parametrize(
    "T, count, chosen", [(8, 4, [1, 3, 5, 7]), (7, 3, [1, 3, 5]), (5, 1, [2]), (3, 3, [0, 1, 2])]
)
def test_uniform_frames_are_the_middle_ones_of_equal_parts(T, count, chosen):
    assert vision.uniform_frames(np.arange(T)[None], count)[0].tolist() == chosen


@pytest.mark.parametrize("t", [1, 2, 3])
def test_kernels_of_tensors(t):
    """By hand: the frames of the one sum to the kernel, all frames but one of the other are 0."""
    kernel = RNG.standard_normal((4, 3, 2, 2))
    inflated, central = (f(Tensor(kernel), t) for f in (vision.inflated_kernel, vision.central_frame_kernel))
    np.testing.assert_allclose(inflated.sum(axis=2), kernel)
    np.testing.assert_array_equal(central[:, :, t // 2], kernel)
    np.testing.assert_array_equal(central.sum(axis=2), kernel)
    assert inflated.shape == central.shape == (4, 3, t, 2, 2)


def test_half_of_the_heads_are_those_of_two_attentions():
    q, k, v = RNG.standard_normal((3, 1, 3, 4, 2, 5))
    found = vision.factorised_heads(q, k, v)
    for t in range(3):
        one = ops.scaled_dot_product_attention(*(x[0, t, :, 0] for x in (q, k, v)))
        np.testing.assert_allclose(found[0, t, :, 0], one)
    for n in range(4):
        one = ops.scaled_dot_product_attention(*(x[0, :, n, 1] for x in (q, k, v)))
        np.testing.assert_allclose(found[0, :, n, 1], one)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: vision.tubelet_embed(np.zeros((1, 3, 8, 8)), np.zeros((4, 3, 1, 4, 4)), np.zeros(4)), "tubelet_embed: video must be"),
        (lambda: vision.tubelet_embed(np.zeros((1, 2, 3, 8, 8)), np.zeros((4, 1, 1, 4, 4)), np.zeros(4)), "tubelet_embed: video has C=3 channels but weight expects C=1"),
        (lambda: vision.tubelet_embed(np.zeros((1, 3, 3, 8, 8)), np.zeros((4, 3, 2, 4, 4)), np.zeros(4)), "tubelet_embed: tubelets of 2 x 4 x 4 do not fill 3 frames"),
        (lambda: vision.uniform_frames(np.zeros((1, 3)), 4), "uniform_frames: count must be a whole number from 1"),
        (lambda: vision.uniform_frames(np.zeros((1, 3)), 1.5), "uniform_frames: count must be"),
        (lambda: vision.inflated_kernel(np.zeros((4, 3, 2)), 2), "inflated_kernel: weight must be"),
        (lambda: vision.central_frame_kernel(np.zeros((4, 3, 2, 2)), 0), "central_frame_kernel: weight must be"),
        (lambda: vision.tubelet_embed(np.zeros((1, 2, 3, 8, 8)), np.zeros((4, 3, 0, 4, 4)), np.zeros(4)), "tubelet_embed: a tubelet must have at least one frame"),
        (lambda: vision.factorised_attention(np.zeros((1, 2, 3, 4)), lambda x: x[..., :1, :], lambda x: x), r"factorised_attention: space must keep the shape of its tokens, \(1, 2, 3, 4\), got \(1, 2, 1, 4\)"),
        (lambda: vision.factorised_attention(np.zeros((1, 2, 3, 4)), lambda x: x, lambda x: x[..., :1]), r"factorised_attention: time must keep the shape of its tokens, \(1, 3, 2, 4\)"),
        (lambda: vision.factorised_attention(np.zeros((2, 3, 4)), None, None), "factorised_attention: tokens must be"),
        (lambda: vision.factorised_attention(np.zeros((1, 2, 3, 4)), None, None, "time"), "factorised_attention: order must be one of space_time, time_space"),
        (lambda: vision.factorised_heads(*np.zeros((3, 1, 2, 3, 3, 4))), "factorised_heads: half of the heads are for space and half for time, .* got 3"),
        (lambda: vision.factorised_heads(*np.zeros((2, 1, 2, 3, 2, 4)), np.zeros((1, 2, 3, 2, 5))), "factorised_heads: query, key and value must have one shape"),
    ],
)  # fmt: skip
def test_what_is_not_possible_is_refused(call, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        call()
