"""Views of pictures: pieces of the right sizes and shares, changes with the right probability, the same for one seed.

Not here: changes that keep the picture whole (test_transforms.py), learning from views (tests/models/test_dino.py).
"""

import numpy as np
import pytest

from minivis.data.multi_crop import (
    GaussianBlur,
    MultiCrop,
    RandomApply,
    RandomGrayscale,
    RandomResizedCrop,
    Solarize,
    dino_views,
)
from minivis.data.transforms import ColorJitter

COLOURED = np.random.default_rng(0).random((6, 3, 20, 30), np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_pieces_have_the_shares_and_ratios_that_were_asked_for_and_lie_inside():
    crop = RandomResizedCrop((6, 5), (0.3, 0.6), (0.5, 2.0))
    pictures = np.zeros((400, 1, 40, 60), np.float32)
    pieces, boxes = crop.with_boxes(pictures, rng())
    left, top, right, bottom = boxes.T
    assert pieces.shape == (400, 1, 6, 5)
    assert (left >= 0).all() and (top >= 0).all() and (right <= 60).all() and (bottom <= 40).all()
    share = (right - left) * (bottom - top) / 2400
    ratio = (right - left) / (bottom - top)
    assert 0.27 < share.min() < 0.33 and 0.57 < share.max() < 0.63 and abs(share.mean() - 0.45) < 0.02
    assert 0.45 < ratio.min() < 0.6 and 1.8 < ratio.max() < 2.2
    assert (ratio < 1).mean() > 0.35  # the logarithm of the ratio is uniform, as far as pieces fit
    assert np.ptp(left) > 20 and np.ptp(top) > 10


def test_the_whole_picture_in_its_own_size_is_unchanged():
    square = COLOURED[:, :, :, :20]
    assert np.array_equal(RandomResizedCrop(20, (1.0, 1.0), (1.0, 1.0))(square, rng()), square)


def test_a_piece_that_never_fits_is_the_largest_in_the_middle():
    crop = RandomResizedCrop(4, (1.0, 1.0), (1.0, 1.0))  # a square with the area of a rectangle
    _, boxes = crop.with_boxes(COLOURED[:1], rng())
    assert boxes.tolist() == [[5, 0, 25, 20]]


def test_a_cubic_stays_in_the_range_of_the_picture():
    edge = np.zeros((1, 1, 8, 8), np.float32)
    edge[..., 4:] = 1
    found = RandomResizedCrop(32, (0.5, 1.0))(edge, rng())
    assert found.min() == 0 and found.max() == 1


def test_changes_come_as_often_as_asked():
    pictures = np.full((2000, 1, 1, 1), 0.9, np.float32)
    changed = RandomApply(Solarize(), 0.2)(pictures, rng()) < 0.5
    assert 0.16 < changed.mean() < 0.24
    grey = RandomGrayscale(0.5)(np.tile(COLOURED[:1], (200, 1, 1, 1)), rng())
    share = (grey[:, 0] == grey[:, 1]).all(axis=(1, 2)).mean()
    assert grey.shape == (200, 3, 20, 30) and 0.38 < share < 0.62


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    blurred = GaussianBlur((1.0, 2.0))(COLOURED, rng())
    assert blurred.dtype == np.float32
    assert np.allclose(blurred.mean(axis=(2, 3)), COLOURED.mean(axis=(2, 3)), atol=0.02)
    assert (blurred.std(axis=(2, 3)) < 0.5 * COLOURED.std(axis=(2, 3))).all()


def test_a_turn_of_the_hue_keeps_brightest_and_darkest_values():
    turned = ColorJitter(hue=0.5)(COLOURED, rng())
    for end in (np.max, np.min):
        assert np.allclose(end(turned, axis=1), end(COLOURED, axis=1), atol=1e-6)
    assert np.abs(turned - COLOURED).max() > 0.3
    red = np.zeros((400, 3, 1, 1), np.float32)
    red[:, 0] = 1
    hues = ColorJitter(hue=0.1)(red, rng())[:, :, 0, 0]
    # a tenth of a turn is six tenths of the way to yellow or to pink
    assert hues[:, 0].min() > 0.999 and 0.5 < hues[:, 1].max() <= 0.6 and 0.5 < hues[:, 2].max() <= 0.6
    assert not ((hues[:, 1] > 0) & (hues[:, 2] > 0)).any()


def test_the_published_views_are_two_large_and_eight_small_ones():
    views = dino_views(size=16, local_size=8)(COLOURED, rng())
    assert [view.shape for view in views] == [(6, 3, 16, 16)] * 2 + [(6, 3, 8, 8)] * 8
    assert all(view.dtype == np.float32 and view.min() >= 0 and view.max() <= 1 for view in views)
    again = dino_views(size=16, local_size=8)(COLOURED, rng())
    assert all(np.array_equal(a, b) for a, b in zip(views, again, strict=True))
    assert not np.array_equal(views[0], views[1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: RandomResizedCrop(0), ValueError, "RandomResizedCrop: size"),
        (lambda: RandomResizedCrop(4, (0.0, 0.5)), ValueError, "RandomResizedCrop: scale must lie above 0"),
        (lambda: RandomResizedCrop(4, (0.5, 1.5)), ValueError, "RandomResizedCrop: scale .* at most at 1"),
        (lambda: RandomResizedCrop(4, ratio=(2, 1)), ValueError, "RandomResizedCrop: ratio must be"),
        (lambda: RandomResizedCrop(4, mode="cubic"), ValueError, "RandomResizedCrop: mode must be one of"),
        (lambda: RandomResizedCrop(4)(np.zeros((2, 1, 0, 3), np.float32), rng()), ValueError, "no pixels"),
        (lambda: RandomResizedCrop(4)(COLOURED, None), TypeError, "RandomResizedCrop: rng must be"),
        (lambda: RandomApply(Solarize(), 2), ValueError, "RandomApply: p must be between 0 and 1"),
        (lambda: RandomGrayscale(-1), ValueError, "p must be between 0 and 1, got -1"),
        (lambda: GaussianBlur((2, 1)), ValueError, "GaussianBlur: sigma must be"),
        (lambda: MultiCrop([]), ValueError, "MultiCrop: views is empty"),
        (lambda: MultiCrop([3]), TypeError, "MultiCrop: every view must be callable, got 3"),
        (lambda: MultiCrop([Solarize()])(COLOURED, 0), TypeError, "MultiCrop: rng must be"),
        (lambda: dino_views(local=-1), ValueError, "dino_views: local must be a whole number"),
        (lambda: ColorJitter(hue=0.7), ValueError, "ColorJitter: hue must be between 0 and 0.5"),
        (lambda: ColorJitter(hue=0.1)(COLOURED[:, :1], rng()), ValueError, "ColorJitter: hue needs C=3"),
    ],
)
def test_mistakes_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
