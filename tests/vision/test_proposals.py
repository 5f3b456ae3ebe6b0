"""Region proposals: worked rows, smoothing, four neighbours, hierarchies, Selective Search on scenes, sliding windows.

Not here: the laws of graph_segmentation and hierarchical_grouping (tests/laws).
"""

import colorsys

import numpy as np
import pytest

from minivis import vision
from minivis.data import shapes
from minivis.metrics import proposal_recall
from minivis.vision import proposals

RNG = np.random.default_rng(61)


@pytest.mark.parametrize(("k", "labels"), [(4.0, [0, 0, 1, 1]), (9.9, [0, 0, 1, 1]), (10.0, [0, 0, 0, 0])])
def test_the_worked_row(k, labels):
    for row in (np.array([[0.0, 0.0, 5.0, 5.0]]), np.array([[0, 0, 5, 5]], np.float16)):
        found = vision.graph_segmentation(row, k)
        assert found.tolist() == [labels] and found.dtype == np.int64


def test_labels_are_numbered_by_first_pixels():
    image = np.array([[3.0, 3.0, 1.0], [2.0, 3.0, 1.0]])
    assert vision.graph_segmentation(image, 0.0).tolist() == [[0, 0, 1], [2, 0, 1]]


def test_four_neighbours_do_not_meet_at_corners():
    board = np.indices((4, 4)).sum(axis=0) % 2 * 1.0
    assert vision.graph_segmentation(board, 0.0).max() == 1
    assert vision.graph_segmentation(board, 0.0, neighbours=4).max() == 15


def test_larger_k_means_no_more_segments_on_two_levels():
    image = (RNG.random((12, 12)) < 0.4) * 1.0
    counts = [vision.graph_segmentation(image, k).max() + 1 for k in (0, 1, 2, 4, 8, 1000)]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1


def test_smoothing_is_scipys():
    from scipy.ndimage import gaussian_filter

    image = RNG.random((9, 11, 3))
    expected = gaussian_filter(image, (0.8, 0.8, 0), mode="nearest")
    np.testing.assert_allclose(proposals._smoothed(image, 0.8), expected, rtol=1e-12)
    right = gaussian_filter(image[..., 1], 1.0, order=(0, 1), mode="nearest")
    np.testing.assert_allclose(proposals._slopes(image)[..., 1], np.maximum(right, 0), atol=1e-12)
    steep = np.repeat([[0.0] * 8 + [1.0] * 8], 16, axis=0)[..., None]
    assert 0.36 < proposals._slopes(steep).max() < proposals.STEEPEST


def test_colour_spaces():
    pixels = np.concatenate([RNG.random((1, 20, 3)), np.array([[[0.0] * 3, [1.0] * 3, [0.5] * 3]])], axis=1)
    hsv = proposals._hsv(pixels)
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels[0]]
    np.testing.assert_allclose(hsv[0], expected, atol=1e-12)
    lab = proposals._lab(np.array([[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]))[0]
    lab = lab * (100, 255, 255) - (0, 128, 128)
    np.testing.assert_allclose(lab, [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]], atol=0.02)


def test_n_segments_have_n_minus_one_merges_and_each_merges_once():
    image = RNG.random((10, 12, 3))
    labels = vision.graph_segmentation(image, 0.3)
    n = labels.max() + 1
    merges = vision.hierarchical_grouping(image, labels)
    assert n > 5 and merges.shape == (n - 1, 2)
    assert sorted(merges.ravel()) == list(range(2 * n - 2))
    assert vision.hierarchical_grouping(image, np.zeros((10, 12), int)).shape == (0, 2)


def test_the_histogram_of_a_merged_segment_is_that_of_its_pixels():
    image = RNG.random((8, 8, 3))
    labels = vision.graph_segmentation(image, 0.2)
    regions = proposals._Regions(image, labels, (1, 1, 1, 1))
    pairs = regions.merged()
    whole = proposals._Regions(image, np.zeros((8, 8), int), (1, 1, 1, 1))
    assert len(pairs)
    for built, counted in zip(regions.histograms, whole.histograms, strict=True):
        np.testing.assert_allclose(built[-1], counted[0], atol=1e-12)
        np.testing.assert_allclose(built.sum(axis=1), 1)


def test_two_halves_that_tile_the_picture():
    image = np.concatenate([np.full((4, 3, 1), 0.3), np.full((4, 3, 1), 0.7)], axis=1)
    regions = proposals._Regions(image, (image[..., 0] > 0.5).astype(int), (0, 0, 1, 0))
    assert regions.similar[0, 1] == 0  # size
    regions = proposals._Regions(image, (image[..., 0] > 0.5).astype(int), (0, 0, 0, 1))
    assert regions.similar[0, 1] == 1  # fill
    regions = proposals._Regions(image, (image[..., 0] > 0.5).astype(int), (1, 0, 0, 0))
    assert regions.similar[0, 1] == 0  # colours


def test_selective_search_finds_the_objects_of_scenes():
    scenes = [shapes.scene(10**12 + i) for i in range(2)]  # of the validation split
    boxes = [vision.box_cxcywh_to_xyxy(s.boxes) * 64 for s in scenes]
    found = [vision.selective_search(np.moveaxis(s.image, 0, 2)) for s in scenes]
    assert proposal_recall(boxes, found) > 0.85
    assert proposal_recall(boxes, found, count=100) > 0.75
    for one in found:
        assert one.dtype == np.float32 and len(np.unique(one, axis=0)) == len(one)
        assert (one[:, 2:] - one[:, :2]).min() >= 4 and one.min() >= 0 and one.max() <= 64
    again = vision.selective_search(np.moveaxis(scenes[0].image, 0, 2))
    np.testing.assert_array_equal(again, found[0])
    other = vision.selective_search(np.moveaxis(scenes[0].image, 0, 2), rng=1)
    assert sorted(other.tolist()) == sorted(again.tolist()) and not np.array_equal(other, again)


def test_sliding_windows():
    windows = vision.sliding_windows(64, 48, [16, (8, 24)], 4)
    assert len(windows) == 13 * 9 + 15 * 7
    np.testing.assert_array_equal(windows[1], [4, 0, 20, 16])  # to the right first
    np.testing.assert_array_equal(windows[-1], [24, 56, 48, 64])
    assert vision.sliding_windows(8, 8, [9]).shape == (0, 4)


def test_segment_boxes_are_those_of_masks():
    labels = vision.graph_segmentation(RNG.random((7, 9)), 0.3)
    masks = labels == np.arange(labels.max() + 1)[:, None, None]
    np.testing.assert_array_equal(vision.segment_boxes(labels), vision.masks_to_boxes(masks))


IMAGE = np.full((4, 4, 3), 0.5)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: vision.graph_segmentation(IMAGE, -1.0), ValueError, r"graph_segmentation: k .* got k=-1"),
        (lambda: vision.graph_segmentation(IMAGE, 1.0, 0), ValueError, "min_size=0"),
        (lambda: vision.graph_segmentation(IMAGE, 1.0, neighbours=6), ValueError, "neighbours=6"),
        (lambda: vision.graph_segmentation(IMAGE[0, 0], 1.0), ValueError, r"image must be .*\(3,\)"),
        (lambda: vision.graph_segmentation(np.zeros((0, 3)), 1.0), ValueError, r"\(0, 3\)"),
        (lambda: vision.graph_segmentation(np.full((2, 2), np.nan), 1.0), ValueError, "not finite"),
        (lambda: vision.graph_segmentation(np.zeros((2, 2), int), 1.0), TypeError, "floating-point, got int64"),
        (lambda: vision.hierarchical_grouping(IMAGE, np.zeros((4, 3), int)), ValueError, r"labels: \(4, 3\)"),
        (lambda: vision.hierarchical_grouping(IMAGE, np.zeros((4, 4))), TypeError, "integers, got float64"),
        (lambda: vision.hierarchical_grouping(3 * IMAGE, np.zeros((4, 4), int)), ValueError, "0 to 1, got 1.5"),
        (lambda: vision.hierarchical_grouping(IMAGE, np.zeros((4, 4), int), (1, 1)), ValueError, "four numbers"),
        (lambda: vision.segment_boxes(np.array([[0, 2]])), ValueError, "segment_boxes: labels must be 0 to n - 1"),
        (lambda: vision.segment_boxes(np.zeros((1, 2))), TypeError, "segment_boxes: labels must be integers"),
        (lambda: vision.segment_boxes(np.zeros(2, int)), ValueError, r"\(H, W\).*\(2,\)"),
        (lambda: vision.selective_search(IMAGE[..., 0]), ValueError, r"RGB \(image: \(4, 4\)\)"),
        (lambda: vision.hierarchical_grouping(IMAGE, np.zeros((4, 4), int), (1, np.nan, 1, 1)), ValueError, "four numbers"),
        (lambda: vision.graph_segmentation(IMAGE, 1.0, sigma=np.inf), ValueError, "sigma=inf"),
        (lambda: vision.selective_search(255 * IMAGE, spaces=("lab",)), ValueError, "selective_search: .* 0 to 1, got 128"),
        (lambda: vision.selective_search(IMAGE, spaces=("hls",)), ValueError, "spaces must be of rgb, hsv, lab, got 'hls'"),
        (lambda: vision.sliding_windows(8, 8, [4], 0), ValueError, "sliding_windows: height"),
        (lambda: vision.sliding_windows(8, 8, [0]), ValueError, "sliding_windows: sizes"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
