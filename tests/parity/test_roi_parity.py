"""Regions, box codes, anchors and matches are torchvision's: against stored results of its own Python.

Where torchvision is installed, it is asked again. Not here: RoI pooling, which torchvision has only compiled
(tests/vision/test_rois.py), whole detectors.
"""

import importlib.util

import numpy as np
import pytest

from minivis import vision
from minivis.autograd import Tensor
from tests.parity.make_roi_fixtures import ALIGN, ROIS, coded, cotangent, inputs, theirs

STORED = dict(np.load(ROIS, allow_pickle=False))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("name", ALIGN)
def test_roi_align_is_that_of_torchvision(name, dtype, tolerance):
    features, rois = (x.astype(dtype) for x in inputs(ALIGN[name][1]))
    x = Tensor(features, requires_grad=True)
    out = vision.roi_align(x, rois, *ALIGN[name])
    out.backward(cotangent(out.shape).astype(dtype))
    assert out.dtype == x.grad.dtype == dtype
    np.testing.assert_allclose(out.numpy(), STORED[f"{name}: out"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(x.grad, STORED[f"{name}: gradient"], rtol=0, atol=tolerance)


def test_the_comparison_sees_half_a_pixel():
    size, scale, sampling, _ = ALIGN["aligned"]
    moved = vision.roi_align(*inputs(scale), size, scale, sampling, False)
    assert np.abs(moved - STORED["aligned: out"]).max() > 0.1


def test_box_codes_are_those_of_torchvision():
    proposals, boxes, deltas, _ = coded()
    weights = (10, 10, 5, 5)
    np.testing.assert_allclose(vision.box_encode(proposals, boxes, weights), STORED["encoded"], atol=1e-12)
    np.testing.assert_allclose(vision.box_decode(deltas, proposals, weights), STORED["decoded"], atol=1e-10)


def test_anchors_are_those_of_torchvision():
    sizes = (32, 64), (16,)
    ratios = (0.5, 1.0, 2.0), (0.5, 2.0)
    maps = [(3, 4, (8, 8)), (2, 3, (12, 10))]
    ours = [
        vision.anchor_boxes(*grid, s, r, rounded=True, centred=False)
        for grid, s, r in zip(maps, sizes, ratios, strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(ours), STORED["anchors"])


def test_matches_are_those_of_torchvision():
    overlaps = coded()[3]
    matches = vision.match_anchors(overlaps)
    stored = STORED["matches"]
    swapped = np.where(stored < 0, -3 - stored, stored)  # theirs: -1 is background, -2 ignored
    np.testing.assert_array_equal(matches, swapped)
    assert set(matches) >= {vision.anchors.IGNORED, vision.anchors.BACKGROUND, 0}


def test_levels_are_those_of_torchvision():
    sides = np.array([[0, 0, side, 2 * side] for side in np.geomspace(5, 900, 40)])
    np.testing.assert_array_equal(vision.level_of(sides), STORED["levels"])
    assert set(STORED["levels"]) == {2, 3, 4, 5}


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision")
def test_the_stored_results_are_what_torchvision_gives_now():
    now = theirs()
    assert set(now) == set(STORED) - {"versions"}
    for name, value in now.items():
        np.testing.assert_allclose(value, STORED[name], rtol=0, atol=1e-10)
