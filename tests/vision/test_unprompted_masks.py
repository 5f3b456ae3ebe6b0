"""Masks without prompts: what is asked, what the limits leave out, each thing once, and the way back to the photo.

Not here: the trained models (tests/recipes), the score and the suppression (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.models import SAMOutput
from minivis.vision import automatic_masks, masks_in_photo, point_grid

# x, y, radius, IoU
DISCS = np.array([[20.0, 20.0, 9.0, 0.95], [45.0, 24.0, 12.0, 0.91], [30.0, 50.0, 6.0, 0.5]])


class Discs:
    """A model that knows three discs: a point on one gets it, and a point on none an empty mask, which it is sure of."""

    steep = 90.0  # logits for each pixel of distance

    def __init__(self):
        self.asked = []

    def embed(self, images):
        return images

    def answer(self, embedding, points, point_labels):
        assert (point_labels == 1).all() and points.shape[2:] == (1, 2)
        self.asked.append(points[0, :, 0])
        y, x = np.indices(embedding.shape[2:])
        away = np.hypot(x - DISCS[:, 0, None, None], y - DISCS[:, 1, None, None])  # (3, H, W)
        masks = self.steep * (DISCS[:, 2, None, None] - away)
        on = np.hypot(*(points[0, :, 0, None] - DISCS[:, :2]).transpose(2, 0, 1)) < DISCS[:, 2]  # (n, 3)
        logits = np.where(on[..., None, None], masks, -9.0)
        return SAMOutput(mv.Tensor(logits[None]), mv.Tensor(np.where(on, DISCS[:, 3], 0.99)[None]))


IMAGE = np.zeros((3, 64, 64))


def test_each_sure_disc_is_found_once_the_surest_first():
    model = Discs()
    found = automatic_masks(model, IMAGE, side=16)
    assert [round(one.iou, 2) for one in found] == [0.95, 0.91]
    y, x = np.indices((64, 64))
    for one, (cx, cy, radius, _) in zip(found, DISCS, strict=False):
        truth = np.hypot(x - cx, y - cy) < radius
        np.testing.assert_array_equal(one.mask, truth)
        assert one.area == truth.sum() and one.stability >= 0.95
        np.testing.assert_array_equal(one.box, [cx - radius + 1, cy - radius + 1, cx + radius, cy + radius])
        assert np.hypot(*(one.point - [cx, cy])) < radius
    assert sum(map(len, model.asked)) == 256


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_how_many_points_are_asked_at_once_changes_nothing(at_once):
    few, many = (automatic_masks(Discs(), IMAGE, side=6, at_once=n) for n in (at_once, 64))
    assert len(few) == len(many) > 0
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
        assert a.iou == b.iou


def test_the_limits():
    assert len(automatic_masks(Discs(), IMAGE, side=16, iou=0.3)) == 3
    assert len(automatic_masks(Discs(), IMAGE, side=16, iou=0.92)) == 1
    assert automatic_masks(Discs(), IMAGE, side=16, iou=0.99) == []
    blurred = Discs()
    blurred.steep = 0.5  # the mask's radius changes by four pixels
    assert automatic_masks(blurred, IMAGE, side=8) == []
    assert len(automatic_masks(blurred, IMAGE, side=8, stability=0.0)) == 2
    assert len(automatic_masks(Discs(), IMAGE, side=16, nms=1.0)) > 10  # one for each point


def test_padding_is_not_asked_about_and_masks_have_the_size_of_the_photo():
    model = Discs()
    found = automatic_masks(model, IMAGE, side=10, picture=(32, 64), photo=(64, 128))
    assert max(points[:, 1].max() for points in model.asked) < 32
    assert {one.mask.shape for one in found} == {(64, 128)}
    first = found[0]
    assert 1000 < first.area < 1035  # four times the pixels of a disc with radius 9
    assert np.abs(first.box - [24, 24, 58, 58]).max() < 2
    assert np.hypot(*(first.point - [40.5, 40.5])) < 18


def test_the_points_lie_in_the_middles_of_equal_fields():
    np.testing.assert_array_equal(point_grid(1, (5, 9)), [[4, 2]])
    points = point_grid(32, (1024, 1024))
    assert (
        points.shape == (1024, 2)
        and points[0].tolist() == [15.5, 15.5]
        and points[1].tolist() == [47.5, 15.5]
    )


def test_masks_in_a_photo_without_padding_are_only_enlarged():
    logits = np.random.default_rng(0).standard_normal((2, 5, 4, 4))
    larger = masks_in_photo(logits, (8, 8))
    np.testing.assert_allclose(larger, mv.ops.interpolate(logits, size=(8, 8), mode="bilinear"))
    np.testing.assert_array_equal(masks_in_photo(logits, (8, 8), (5, 8)), larger[..., :5, :])
    assert masks_in_photo(logits[:0], (8, 8), (5, 8), (10, 16)).shape == (0, 5, 10, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: automatic_masks(Discs(), np.zeros((2, 3, 8, 8))), "image must be one image"),
        (lambda: automatic_masks(Discs(), IMAGE, at_once=0), "at_once at least 1"),
        (
            lambda: automatic_masks(Discs(), IMAGE, side=0),
            "point_grid: side must be a whole number of at least 1, height and width positive, got 0, 64, 64",
        ),
        (
            lambda: point_grid(2.5, (4, 8)),
            "point_grid: side must be a whole number of at least 1, .* got 2.5, 4, 8",
        ),
        (lambda: masks_in_photo(np.zeros((4, 4)), (8, 8), (9, 8)), "the picture .* lie inside the image"),
        (lambda: masks_in_photo(np.zeros(4), (8, 8)), r"logits must be \(..., h, w\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_bar_shows_only_where_it_is_wanted(capsys):
    automatic_masks(Discs(), IMAGE, side=2)
    assert capsys.readouterr().err == ""
    automatic_masks(Discs(), IMAGE, side=2, progress=True)
    assert "asking about points" in capsys.readouterr().err
