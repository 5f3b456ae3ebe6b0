"""Average precision: worked by hand, against a slow oracle of its definition, its rules one by one, and what is refused.

Not here: pycocotools (tests/parity/test_metric_parity.py); what any model reaches.
"""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minivis as mv
from minivis.metrics import AveragePrecision, average_precision
from minivis.vision import boxes_to_masks

SIZE = (40, 60)


def found(boxes, scores, labels=None):
    """Detections of one image."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels, int)
    return {"boxes": boxes, "scores": np.array(scores, float), "labels": labels}


def there(boxes, labels=None, **more):
    """Objects of one image."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": np.zeros(len(boxes), int) if labels is None else np.array(labels),
        **more,
    }


def test_a_curve_by_hand():
    # three objects; by falling score right, wrong, right: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3
    objects = there([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    said = found([[0, 0, 10, 10], [0, 20, 10, 30], [20, 0, 30, 10]], [0.9, 0.8, 0.7])
    metric = AveragePrecision()
    metric.update([said], [objects])
    recall, precision = metric.curve(0)
    assert recall[33] == 0.33 and (precision[:34] == 1).all()  # recalls up to 1/3
    assert (precision[34:67] == 2 / 3).all() and (precision[67:] == 0).all()
    result = metric.compute()
    assert result["AP"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert (result["AR1"], result["AR10"]) == pytest.approx((1 / 3, 2 / 3))
    assert metric.by_class()[0] == pytest.approx({name: result["AP"] for name in ("AP", "AP50", "AP75")})


def oracle(predictions, targets, threshold):
    """AP of class 0 at one threshold: every detection by falling score takes the best object that is free."""
    walk = sorted(
        ((-s, i, d) for i, p in enumerate(predictions) for d, s in enumerate(p["scores"])), key=lambda x: x[0]
    )
    taken = set()
    hits = []
    for _, i, d in walk:
        best = threshold
        which = None
        for g, box in enumerate(targets[i]["boxes"]):
            overlap = iou(predictions[i]["boxes"][d], box)
            if (i, g) not in taken and overlap >= best:
                best, which = overlap, g
        hits.append(which is not None)
        taken.add((i, which))
    objects = sum(len(t["boxes"]) for t in targets)
    points = [(sum(hits[: k + 1]) / objects, sum(hits[: k + 1]) / (k + 1)) for k in range(len(hits))]
    return np.mean([max((p for r, p in points if r >= k / 100), default=0) for k in range(101)])


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def scenes(rng, images=3, classes=1):
    """Objects, and detections that are near them or not; a score never twice."""
    predictions, targets = [], []
    for _ in range(images):
        n, m = rng.integers(1, 4), rng.integers(0, 6)
        corner = rng.integers(0, 30, (n, 2))
        boxes = np.concatenate([corner, corner + rng.integers(4, 12, (n, 2))], axis=1).astype(float)
        near = boxes[rng.integers(0, n, m)] + rng.integers(-1, 2, (m, 4)) * (rng.random((m, 1)) < 0.8)
        scores = rng.permutation(1000)[:m] / 1000 + rng.random() * 1e-4
        predictions.append(found(near, scores, rng.integers(0, classes, m)))
        targets.append(there(boxes, rng.integers(0, classes, n)))
    return predictions, targets


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_it_is_what_the_definition_says(seed):
    predictions, targets = scenes(np.random.default_rng(seed))
    result = average_precision(predictions, targets)
    each = [oracle(predictions, targets, 0.5 + 0.05 * i) for i in range(10)]
    assert result["AP"] == pytest.approx(np.mean(each), abs=1e-9)
    assert (result["AP50"], result["AP75"]) == pytest.approx((each[0], each[5]), abs=1e-9)


@given(st.integers(0, 2**32))
def test_masks_of_boxes_score_as_the_boxes_do(seed):
    predictions, targets = scenes(np.random.default_rng(seed), classes=2)
    as_masks = [{**entry, "masks": boxes_to_masks(entry["boxes"], 48, 48)} for entry in predictions + targets]
    for entry in predictions + targets:
        entry["boxes"] = np.clip(entry["boxes"], 0, 48)
    got = average_precision(as_masks[: len(targets)], as_masks[len(targets) :], kind="masks")
    assert got == pytest.approx(average_precision(predictions, targets), abs=1e-12)


@given(st.integers(0, 2**32))
def test_the_order_of_images_and_detections_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    predictions, targets = scenes(rng, classes=3)
    metric = AveragePrecision()
    for i in rng.permutation(len(targets)):
        order = rng.permutation(len(predictions[i]["scores"]))
        metric.update([{key: values[order] for key, values in predictions[i].items()}], [targets[i]])
    whole = average_precision(predictions, targets)
    assert metric.compute() == pytest.approx(whole, abs=1e-12)
    assert all(-1 <= value <= 1 for value in whole.values())


def test_the_truth_itself_has_precision_1_and_nothing_found_0():
    objects = there([[0, 0, 9, 9], [10, 10, 30, 30]], [0, 1])
    assert average_precision([{**objects, "scores": np.ones(2)}], [objects])["AP"] == 1
    result = average_precision([found([], [])], [objects])
    assert result["AP"] == result["AR100"] == 0
    nothing = average_precision([found([], [])], [there([])])
    assert set(nothing.values()) == {-1.0}


def test_finding_an_object_twice_is_wrong_once():
    box = [0, 0, 10, 10]
    once = average_precision([found([box], [0.9])], [there([box, [20, 20, 30, 30]])])
    twice = average_precision(
        [found([box, box, [20, 20, 30, 30]], [0.9, 0.8, 0.7])], [there([box, [20, 20, 30, 30]])]
    )
    assert once["AP"] == pytest.approx(51 / 101) and twice["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_another_class_is_another_object():
    box = [[0, 0, 10, 10]]
    assert average_precision([found(box, [0.9], [1])], [there(box, [0])])["AP"] == 0


def test_a_class_that_is_nowhere_in_the_truth_does_not_count():
    box = [[0, 0, 10, 10]]
    said = [found(box, [0.1]), found(box, [0.9], [5])]
    assert average_precision(said, [there(box), there([])])["AP"] == 1


def test_a_crowd_excuses_as_many_detections_as_lie_in_it_and_asks_for_none():
    crowd = {"iscrowd": np.array([False, True])}
    objects = there([[0, 0, 10, 10], [20, 0, 50, 30]], **crowd)
    inside = [[21, 1, 25, 5], [30, 5, 40, 10], [20, 0, 50, 30]]
    said = found([*inside, [0, 0, 10, 10]], [0.9, 0.8, 0.7, 0.6])
    assert average_precision([said], [objects])["AP"] == 1
    assert average_precision([said], [{**objects, "iscrowd": np.zeros(2, bool)}])["AP"] < 0.6


def test_small_medium_and_large_by_the_given_area_if_there_is_one():
    boxes = [[0, 0, 32, 32], [0, 0, 33, 32], [0, 0, 97, 96]]
    objects = there(boxes, [0, 1, 2])
    said = found(boxes[:1], [0.5])
    result = average_precision([said], [objects])
    assert (result["AP_small"], result["AP_medium"], result["AP_large"]) == (1, 0.5, 0)  # 32 x 32 is both
    result = average_precision([said], [{**objects, "area": np.array([5000, 5000, 5000])}])
    assert (result["AP_small"], result["AP_medium"], result["AP_large"]) == (-1, pytest.approx(1 / 3), -1)
    result = average_precision([said], [objects], areas={"tiny": (0, 1056), "huge": (1057, 1e6)})
    assert list(result)[3:5] == ["AP_tiny", "AP_huge"] and (result["AP_tiny"], result["AP_huge"]) == (0.5, 0)


def test_only_the_surest_of_a_class_in_an_image_count():
    boxes = [[3.0 * i, 0, 3.0 * i + 2, 2] for i in range(110)]
    result = average_precision([found(boxes, np.linspace(1, 0, 110))], [there(boxes)])
    assert (result["AR1"], result["AR10"], result["AR100"]) == pytest.approx((1 / 110, 10 / 110, 100 / 110))


def test_normalised_boxes_with_sizes_are_those_in_pixels():
    predictions, targets = scenes(np.random.default_rng(5))
    expected = average_precision(predictions, targets)

    def normal(entry):
        x1, y1, x2, y2 = entry["boxes"].T / np.array([[64], [48], [64], [48]])
        return {**entry, "boxes": np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)}

    got = average_precision(
        [normal(p) for p in predictions], [normal(t) for t in targets], sizes=[(48, 64)] * 3
    )
    assert got == pytest.approx(expected, abs=1e-9)


def test_it_takes_tensors_in_float32():
    box = mv.Tensor([[0.5, 0.5, 0.2, 0.2]])
    said = {"boxes": box, "scores": mv.Tensor([0.7]), "labels": np.array([3])}
    assert average_precision([said], [{"boxes": box.data, "labels": np.array([3])}], sizes=[SIZE])["AP"] == 1


def test_updates_add_up():
    predictions, targets = scenes(np.random.default_rng(6), images=6, classes=2)
    metric = AveragePrecision()
    for i in range(0, 6, 2):
        metric.update(predictions[i : i + 2], targets[i : i + 2])
    assert metric.compute() == average_precision(predictions, targets)


def test_500_small_scenes_take_a_moment():
    predictions, targets = scenes(np.random.default_rng(7), images=500, classes=6)
    start = time.process_time()
    average_precision(predictions, targets)
    assert time.process_time() - start < 5


BOX = [[1.0, 1.0, 5.0, 5.0]]
MASKS = {"labels": np.zeros(1, int), "masks": np.zeros((1, 4, 4), bool)}


@pytest.mark.parametrize(
    ("said", "objects", "options", "kind", "complaint"),
    [
        ({"boxes": BOX}, there(BOX), {}, ValueError, "predictions must have labels, got boxes"),
        (there(BOX), there(BOX), {}, ValueError, "predictions must have scores, got boxes, labels"),
        (
            found(BOX, [0.5, 0.4]),
            there(BOX),
            {},
            ValueError,
            r"scores must be \(n,\).*\(scores: \(2,\), labels: \(1,\)\)",
        ),
        (found(BOX, [np.nan]), there(BOX), {}, ValueError, "without NaN"),
        (found(BOX, [0.5], [0, 0]), there(BOX), {}, ValueError, r"labels: \(2,\), boxes: \(1, 4\)"),
        (
            found(BOX, [0.5]),
            {**there(BOX), "labels": np.zeros(1)},
            {},
            TypeError,
            "targets: labels must be integers",
        ),
        (
            found([[3, 3, 1, 1]], [0.5]),
            there(BOX),
            {},
            ValueError,
            "predictions: boxes must be xyxy .*cxcywh or xywh",
        ),
        (found([[0, 0, np.nan, 1]], [0.5]), there(BOX), {}, ValueError, "NaN means the model failed"),
        (
            found(BOX, [0.5]),
            there([[0.5, 0.5, 0.7, 0.8]]),
            {},
            ValueError,
            r"give sizes=\[\(height, width\), ...\]",
        ),
        (found(BOX, [0.5]), there(BOX), {"sizes": [SIZE]}, ValueError, "for xyxy in pixels leave sizes out"),
        (
            found(BOX, [0.5]),
            there(BOX),
            {"sizes": [SIZE] * 2},
            ValueError,
            "1 predictions, 1 targets, 2 sizes",
        ),
        (found(BOX, [0.5]), there(BOX), {"kind": "points"}, ValueError, 'kind must be "boxes" or "masks"'),
        (found(BOX, [0.5]), there(BOX), {"areas": {"odd": (9, 1)}}, ValueError, "areas must be"),
        (
            {**MASKS, "masks": np.zeros((1, 4, 4)), "scores": [0.5]},
            MASKS,
            {"kind": "masks"},
            TypeError,
            "masks must be boolean, got float64",
        ),
        (
            {**MASKS, "masks": np.zeros((1, 4, 5), bool), "scores": [0.5]},
            MASKS,
            {"kind": "masks"},
            ValueError,
            r"of one size \(predictions: \(1, 4, 5\), targets: \(1, 4, 4\)\)",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(said, objects, options, kind, complaint):
    with pytest.raises(kind, match=f"^AveragePrecision: .*{complaint}"):
        average_precision([said], [objects], **options)


def test_no_images_and_unknown_curves_are_refused():
    metric = AveragePrecision()
    with pytest.raises(ValueError, match="there are no images yet"):
        metric.compute()
    metric.update([found(BOX, [0.5])], [there(BOX)])
    with pytest.raises(ValueError, match=r"classes with objects \(\[0\]\).*got label=1, threshold=0.5"):
        metric.curve(1)
    with pytest.raises(ValueError, match="threshold=0.52"):
        metric.curve(0, 0.52)
