"""crop_concat and border_weights beyond their laws: worked numbers, gradients, devices, refusals.

Not here: the laws (minivis/laws), the network (tests/models/test_unet.py).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import border_weights, crop_concat

RNG = np.random.default_rng(5)


def test_the_four_crops_of_the_paper():
    for skip, up, dropped in ((64, 56, 4), (136, 104, 16), (280, 200, 40), (568, 392, 88)):
        rows = np.arange(skip, dtype=np.float32)[:, None] + np.zeros((1, up), np.float32)
        out = crop_concat(rows[None, None], np.zeros((1, 1, up, up), np.float32))
        assert out[0, 0, 0, 0] == dropped and out[0, 0, -1, 0] == skip - 1 - dropped


def test_it_is_differentiable_and_works_on_a_device(device):
    skip, up = RNG.standard_normal((2, 3, 5, 6)), RNG.standard_normal((2, 2, 2, 3))
    check_gradient(crop_concat, skip, up)
    out = crop_concat(mv.to_device(skip, device), mv.to_device(up, device))
    np.testing.assert_array_equal(mv.to_numpy(out), crop_concat(skip, up))
    wide = mv.Tensor(skip, requires_grad=True)
    mv.ops.sum(crop_concat(wide, up)).backward()
    assert wide.grad.sum() == 2 * 3 * 2 * 3  # what is dropped gets nothing
    assert crop_concat(skip[:0], up[:0]).shape == (0, 5, 2, 3)


@pytest.mark.parametrize(
    "skip, up, message",
    [
        ((3, 4, 4), (1, 3, 2, 2), "must be .B, C, H, W. and .B, D, h, w."),
        ((2, 3, 4, 4), (1, 3, 2, 2), "must be .B, C, H, W. and .B, D, h, w."),
        ((1, 3, 4, 4), (1, 3, 2, 5), "up must not be larger than skip"),
    ],
)
def test_maps_that_do_not_fit_are_refused(skip, up, message):
    with pytest.raises(ValueError, match=f"^crop_concat: .*{message}"):
        crop_concat(np.zeros(skip), np.zeros(up))


def test_the_weight_in_a_gap_of_one_pixel():
    weights = border_weights(np.array([[1, 0, 2]]), class_weights=(1.5, 1.0))
    assert weights[0, 1] - 1.5 == pytest.approx(10 * math.exp(-4 / 50)) == pytest.approx(9.231, abs=5e-4)
    assert weights[0, 0] - 1.0 == pytest.approx(10 * math.exp(-4 / 50))  # 0 to its own object, 2 to the other


def test_far_from_borders_it_is_the_weight_of_the_class():
    labels = np.zeros((60, 60), int)
    labels[:3, :3] = 1
    labels[-3:, -3:] = 2
    weights = border_weights(labels)
    ground = 3600 / (2 * (3600 - 18))
    thing = 3600 / (2 * 18)
    assert weights[0, 0] == pytest.approx(thing) and weights[0, 59] == pytest.approx(ground)
    np.testing.assert_allclose(weights.mean(), 1, atol=1e-4)


@pytest.mark.parametrize("labels", [np.zeros((2, 3), int), np.ones((2, 3), np.uint8)])
def test_with_one_class_alone_all_weigh_the_same(labels):
    assert border_weights(labels).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_weights_on_a_device(device):
    labels = np.array([[1, 0, 2, 0]])
    weights = border_weights(mv.to_device(labels, device))
    assert mv.to_numpy(weights).dtype == np.float32
    np.testing.assert_array_equal(mv.to_numpy(weights), border_weights(labels))


@pytest.mark.parametrize(
    "labels, options, error, message",
    [
        (np.zeros((2, 2)), {}, TypeError, "labels must be integers, got float64"),
        (np.zeros(2, int), {}, ValueError, r"labels must be \(H, W\)"),
        (np.zeros((0, 2), int), {}, ValueError, r"labels must be \(H, W\)"),
        (np.array([[0, -1]]), {}, ValueError, "labels must be 0 or more, got -1"),
        (np.array([[0, 1]]), {"sigma": 0.0}, ValueError, "sigma must be above 0, got 0.0"),
        (
            np.array([[0, 1]]),
            {"class_weights": (1,)},
            ValueError,
            "w0 and the two class_weights must be finite",
        ),
        (
            np.array([[0, 1]]),
            {"class_weights": (-1, 2)},
            ValueError,
            "w0 and the two class_weights must be finite",
        ),
        (np.array([[0, 1]]), {"w0": np.nan}, ValueError, "w0 and the two class_weights must be finite"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, options, error, message):
    with pytest.raises(error, match=f"^border_weights: {message}"):
        border_weights(labels, **options)
