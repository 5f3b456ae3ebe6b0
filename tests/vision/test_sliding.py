"""Windows that slide over an image: where they lie, means of overlapping logits, small images, refusals.

Not here: the models.
"""

import numpy as np
import pytest

import minivis as mv
from minivis.vision import sliding_window

RNG = np.random.default_rng(36)


def positions(height, width, window, stride):
    """The windows that a model gets, as (top, left)."""
    rows, columns = np.indices((height, width)).astype(np.float64)
    seen = []

    def model(crops):
        assert crops.shape[2:] == (window if isinstance(window, tuple) else (window, window))
        seen.append(tuple(int(v) for v in crops.numpy()[0, :, 0, 0]))
        return crops

    images = np.stack([rows, columns])[None]
    logits = sliding_window(model, images, window, stride)
    np.testing.assert_allclose(logits.numpy(), images, atol=1e-12)
    return seen


def test_windows_end_with_the_image():
    assert positions(8, 11, 4, 3) == [(y, x) for y in (0, 3, 4) for x in (0, 3, 6, 7)]
    assert positions(4, 8, 4, 4) == [(0, 0), (0, 4)]
    assert positions(5, 6, (5, 4), (2, 1)) == [(0, 0), (0, 1), (0, 2)]
    assert positions(683, 512, 512, 341) == [(0, 0), (171, 0)]


def test_overlapping_logits_are_averaged():
    found = iter([2.0, 8.0])
    logits = sliding_window(lambda crop: crop * 0 + next(found), np.ones((1, 1, 4, 6)), 4, 3).numpy()
    np.testing.assert_array_equal(logits[0, 0, 0], [2, 2, 5, 5, 8, 8])


def test_small_images_are_enlarged_to_the_window_and_the_logits_made_smaller_again():
    shapes = []

    def model(crops):
        shapes.append(crops.shape)
        return crops

    images = RNG.random((2, 3, 4, 6)).astype(np.float32)
    logits = sliding_window(model, images, 8, 8)
    assert shapes == [(2, 3, 8, 8)] * 2 and logits.shape == images.shape  # the whole is 8 x 12
    larger = mv.ops.interpolate(images, (8, 12), mode="bilinear")
    np.testing.assert_allclose(logits.numpy(), mv.ops.interpolate(larger, (4, 6), mode="bilinear"), atol=1e-6)


def test_it_works_on_a_device_in_half_and_keeps_no_graph(device):
    images = mv.to_device(RNG.random((1, 2, 5, 7)).astype(np.float16), device)
    weight = mv.Tensor(mv.to_device(np.ones(1, np.float16), device), requires_grad=True)
    logits = sliding_window(lambda crop: crop * weight, images, 4, 1)
    assert logits.dtype == np.float16 and not logits.requires_grad
    np.testing.assert_allclose(logits.numpy(), mv.to_numpy(images), atol=1e-3)


@pytest.mark.parametrize("shape, stride", [((3, 8, 8), 4), ((1, 3, 8, 8), 5), ((1, 3, 8, 8), (4, 5))])
def test_what_does_not_fit_is_refused(shape, stride):
    with pytest.raises(ValueError, match=r"sliding_window: needs images \(B, C, H, W\), and a stride from 1"):
        sliding_window(lambda crop: crop, np.zeros(shape), 4, stride)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda crop: crop[:, :, :1, :1], ValueError, r"logits \(B, K, h, w\) of a window's size, \(1, K, 4, 4\)"),
        (lambda crop: crop[:, 0], ValueError, "of a window's size"),
        (lambda crop: crop.numpy().astype(np.uint8), TypeError, "labels have no mean"),
    ],
)  # fmt: skip
def test_what_has_no_mean_over_windows_is_refused(model, error, message):
    with pytest.raises(error, match=f"sliding_window: the model must return .*{message}"):
        sliding_window(model, np.ones((1, 2, 6, 7)), 4, 3)


@pytest.mark.parametrize(
    ("images", "window", "stride", "message"),
    [
        ((1, 2, 0, 7), 4, 3, "needs images"),
        ((1, 2, 6, 7), 4.5, 3, "window must be an integer of at least 1"),
        ((1, 2, 6, 7), 4, 0, "stride must be an integer of at least 1"),
        ((1, 2, 6, 7), 4, None, "stride must be an integer of at least 1"),
    ],
)
def test_sizes_without_a_meaning_are_refused(images, window, stride, message):
    with pytest.raises(ValueError, match=f"sliding_window: {message}"):
        sliding_window(lambda crop: crop, np.ones(images), window, stride)
