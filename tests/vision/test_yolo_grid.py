"""The grid of YOLO: cells, decoding, the order of darknet's output, clusters of sizes.

Not here: what the laws check (tests/laws), the dtypes (tests/test_precision.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import vision
from minivis.data import shapes
from minivis.gradcheck import check_gradient

RNG = np.random.default_rng(3)


def test_the_numbers_of_the_slides():
    assert 7 * 7 * (5 * 3 + 20) == 1715 and 5 * 3 + 20 == 35  # B = 3
    assert 7 * 7 * (5 * 2 + 20) == 1470 and 5 + 5 + 20 == 30  # B = 2, as in the paper
    rows, columns, offsets = vision.grid_cells(np.array([[0.5, 0.5, 0.1, 0.1]]), 7)
    assert (rows[0], columns[0], *offsets[0]) == (3, 3, 0.5, 0.5)


def test_cells_of_a_grid_that_is_not_square_and_of_centres_on_the_border():
    boxes = np.array([[1.0, 0.0, 0.1, 0.1], [0.26, 0.99, 0.1, 0.1]])
    rows, columns, offsets = vision.grid_cells(boxes, (2, 4))
    np.testing.assert_array_equal(rows, [0, 1])
    np.testing.assert_array_equal(columns, [3, 1])
    np.testing.assert_allclose(offsets, [[1, 0], [0.04, 0.98]])
    assert [len(x) for x in vision.grid_cells(np.zeros((0, 4)), 7)] == [0, 0, 0]


def test_cells_and_boxes_are_inverse_and_differentiable():
    boxes = RNG.uniform(0.1, 0.9, (5, 4))
    prediction = np.zeros((3, 4, 13))
    for box in boxes:
        rows, columns, offsets = vision.grid_cells(box[None], (3, 4))
        prediction[rows[0], columns[0], 5:9] = [*offsets[0], *box[2:]]
        got = vision.yolo_boxes(prediction, 2)
        np.testing.assert_allclose(got[rows[0], columns[0], 1], box)
    check_gradient(lambda x: vision.yolo_boxes(x, 2), RNG.standard_normal((2, 3, 4, 13)))
    check_gradient(
        lambda x: vision.yolo_decode(x, np.array([[1.0, 2.0], [3.0, 0.5]])),
        RNG.standard_normal((2, 3, 4, 2, 6)),
    )


def test_darknets_order_and_back():
    prediction = RNG.standard_normal((2, 3, 3, 14))
    vector = vision.grid_to_darknet(prediction, 2)
    assert vector.shape == (2, 9 * 14)
    np.testing.assert_array_equal(vision.darknet_to_grid(vector, 3, 2, 4), prediction)
    # as the program indexes it: classes of place i, confidence and box of predictor n
    i, n, j = 5, 1, 2
    cell = prediction[1, 1, 2]
    assert vector[1, i * 4 + j] == cell[10 + j]
    assert vector[1, 9 * 4 + i * 2 + n] == cell[5 * n + 4]
    start = 9 * (4 + 2) + (i * 2 + n) * 4
    np.testing.assert_array_equal(vector[1, start : start + 4], cell[5 * n : 5 * n + 4])


def test_clusters_of_the_scenes_are_better_than_any_single_size():
    sizes = np.concatenate([scene[1]["boxes"][:, 2:] for scene in shapes.Scenes(40)]).astype(np.float64)

    def mean_overlap(k):
        anchors = vision.dimension_clusters(sizes, k, rng=0)
        assert anchors.shape == (k, 2)
        a = sizes[:, None]
        b = anchors[None]
        shared = np.minimum(a, b).prod(axis=-1)
        return (shared / (a.prod(axis=-1) + b.prod(axis=-1) - shared)).max(axis=1).mean()

    found = [mean_overlap(k) for k in (1, 3, 9)]
    assert found == sorted(found) and found[0] < 0.7 < found[2]
    with mv.no_grad():
        again = vision.dimension_clusters(sizes, 3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again, vision.dimension_clusters(sizes, 3, rng=0))


def test_on_a_device(device):
    x = RNG.standard_normal((3, 4, 13)).astype(np.float32)
    t = RNG.standard_normal((3, 4, 2, 6)).astype(np.float32)
    anchors = np.array([[1.0, 2.0], [3.0, 0.5]], np.float32)
    for call, given in ((lambda x: vision.yolo_boxes(x, 2), x), (lambda x: vision.yolo_decode(x, anchors), t),
                        (lambda x: vision.grid_to_darknet(x, 2), x)):  # fmt: skip
        there = call(mv.to_device(given, device))
        np.testing.assert_allclose(mv.to_numpy(there), call(given), rtol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: vision.grid_cells(np.zeros((2, 3)), 7), r"^grid_cells: boxes must be \(T, 4\) \(boxes: \(2, 3\)"),
        (lambda: vision.grid_cells(np.array([[1.1, 0, 1, 1]]), 7), "^grid_cells: centres must be .* from 0 to 1"),
        (lambda: vision.grid_cells(np.array([[np.nan, 0, 1, 1]]), 7), "^grid_cells: centres must be"),
        (lambda: vision.grid_cells(np.array([[0.5, 0.5, 1, 1]]), 0), "^grid_cells: grid must be an integer of at least 1"),
        (lambda: vision.grid_cells(np.array([[0.5, 0.5, 1, 1]]), (1, 2, 3)), "^grid_cells: grid must be"),
        (lambda: vision.dimension_clusters(np.array([[1, np.inf]]), 1, 0), "^dimension_clusters: sizes must be .* positive"),
        (lambda: vision.yolo_boxes(np.zeros((7, 7, 9)), 2), r"^yolo_boxes: prediction must be .* \(7, 7, 9\)"),
        (lambda: vision.yolo_decode(np.zeros((7, 7, 2, 9)), np.ones((3, 2))), r"^yolo_decode: .*anchors: \(3, 2\)"),
        (lambda: vision.grid_to_darknet(np.zeros((7, 9)), 1), "^grid_to_darknet: prediction must be"),
        (lambda: vision.darknet_to_grid(np.zeros(9), 1, 1, 2), r"^darknet_to_grid: .*vector: \(9,\)"),
        (lambda: vision.dimension_clusters(np.zeros((3, 2)), 1, 0), "^dimension_clusters: sizes must be .* positive"),
        (lambda: vision.dimension_clusters(np.ones((3, 2)), 2, 0), "^dimension_clusters: k must be from 1 to 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_detections_of_several_images_and_classes():
    boxes = RNG.uniform(0.2, 0.5, (2, 3, 3, 2, 4))
    scores = RNG.uniform(0, 1, (2, 3, 3, 2, 4))
    found = vision.grid_detections(boxes, scores, (32, 64), 0.6, 0.4)
    for there, score, one in zip(boxes, scores, found, strict=True):
        flat = vision.box_cxcywh_to_xyxy(there.reshape(-1, 4)) * [64, 32, 64, 32]
        kept = []
        for k in range(4):
            own = score[..., k].ravel()
            sure = np.flatnonzero(own >= 0.6)
            kept += [(own[i], k, *flat[i]) for i in sure[vision.nms(flat[sure], own[sure], 0.4)]]
        kept = np.array(sorted(kept, reverse=True))
        np.testing.assert_allclose(one["scores"], kept[:, 0])
        np.testing.assert_array_equal(one["labels"], kept[:, 1])
        np.testing.assert_allclose(one["boxes"], kept[:, 2:])
    with pytest.raises(ValueError, match=r"^grid_detections: .*scores: \(2, 3, 3, 2\)"):
        vision.grid_detections(boxes, scores[..., 0], (32, 64))


def test_integers_are_refused_and_anchors_do_not_change_the_dtype():
    for name, call in (
        ("grid_cells: boxes", lambda: vision.grid_cells(np.ones((1, 4), int), 7)),
        ("yolo_boxes: prediction", lambda: vision.yolo_boxes(np.ones((7, 7, 12), int), 2)),
        ("yolo_decode: prediction", lambda: vision.yolo_decode(np.ones((1, 1, 1, 5), int), np.ones((1, 2)))),
    ):
        with pytest.raises(TypeError, match=f"^{name} must be floating-point, got int64"):
            call()
    for dtype in (np.float16, np.float32, np.float64):
        assert vision.yolo_decode(np.ones((1, 1, 1, 5), dtype), np.ones((1, 2))).dtype == dtype
