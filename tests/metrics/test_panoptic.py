"""Panoptic quality against an oracle written from its definition, pixel sets and all; and its rules one by one.

Not here: what any model reaches.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.metrics import PanopticQuality, panoptic_quality

THINGS = [True, True, False, False]


def oracle(pairs, things):
    """PQ from Kirillov et al. 2019, section 4, with sets of pixels: void and crowds as their section 4.2 has it."""
    K = len(things)
    totals = {k: dict(iou=0.0, TP=0, FP=0, FN=0) for k in range(K)}
    for (found, found_segments), (there, true_segments) in pairs:
        H, W = there.shape
        everywhere = [(i, j) for i in range(H) for j in range(W)]
        pixels = {("p", s["id"]): {x for x in everywhere if found[x] == s["id"]} for s in found_segments}
        pixels |= {("g", s["id"]): {x for x in everywhere if there[x] == s["id"]} for s in true_segments}
        void = {x for x in everywhere if there[x] == 0}
        matched = set()
        for g in true_segments:
            for p in found_segments:
                if g.get("iscrowd") or g["category_id"] != p["category_id"]:
                    continue
                # void is left out of both
                a = pixels["p", p["id"]] - void
                b = pixels["g", g["id"]]
                if 2 * len(a & b) > len(a | b):
                    totals[g["category_id"]]["iou"] += len(a & b) / len(a | b)
                    totals[g["category_id"]]["TP"] += 1
                    assert not {("p", p["id"]), ("g", g["id"])} & matched, "a match is unique"
                    matched |= {("p", p["id"]), ("g", g["id"])}
        for g in true_segments:
            totals[g["category_id"]]["FN"] += ("g", g["id"]) not in matched and not g.get("iscrowd")
        for p in found_segments:
            crowds = [s for s in true_segments if s.get("iscrowd") and s["category_id"] == p["category_id"]]
            unclear = void.union(*(pixels["g", s["id"]] for s in crowds))
            own = pixels["p", p["id"]]
            excused = 2 * len(own & unclear) > len(own)
            totals[p["category_id"]]["FP"] += ("p", p["id"]) not in matched and not excused
    each = {}
    for k, n in totals.items():
        whole = n["TP"] + n["FP"] / 2 + n["FN"] / 2
        if whole:
            each[k] = (n["iou"] / whole, n["iou"] / n["TP"] if n["TP"] else 0, n["TP"] / whole)
    result = {}
    for suffix, chosen in [("", [True] * K), ("_things", things), ("_stuff", [not t for t in things])]:
        rows = [row for k, row in each.items() if chosen[k]]
        for i, name in enumerate(("PQ", "SQ", "RQ")):
            result[name + suffix] = sum(row[i] for row in rows) / len(rows) if rows else -1
    return result


def division(rng, shape, crowds=False):
    """A random division of an image: blobs grown from seeds, ids with gaps, some void."""
    i, j = np.mgrid[: shape[0], : shape[1]]
    n = rng.integers(0, 6)
    ids = np.zeros(shape, np.int32)
    numbers = rng.choice(np.arange(1, 40), n, replace=False)
    for number in numbers:
        y = rng.integers(shape[0])
        x = rng.integers(shape[1])
        r = rng.integers(1, 5)
        ids[np.abs(i - y) + np.abs(j - x) <= r] = number
    segments = [{"id": int(k), "category_id": int(rng.integers(4))} for k in numbers if (ids == k).any()]
    for segment in segments if crowds else []:
        segment["iscrowd"] = int(rng.random() < 0.3)
    return ids, segments


def moved(rng, ids, segments):
    """A division that is nearly another: shifted, here and there of another class or split."""
    ids = np.roll(ids, rng.integers(-1, 2, 2), axis=(0, 1))
    segments = [{"id": s["id"], "category_id": s["category_id"]} for s in segments]
    for segment in segments:
        if rng.random() < 0.2:
            segment["category_id"] = int(rng.integers(4))
    if segments and rng.random() < 0.3:
        half = ids == segments[0]["id"]
        half[:, : rng.integers(ids.shape[1])] = False
        if half.any() and (half != (ids == segments[0]["id"])).any():
            ids = np.where(half, 99, ids)
            segments.append({**segments[0], "id": 99})
    return ids, segments


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_it_is_what_the_definition_says(seed):
    rng = np.random.default_rng(seed)
    targets = [division(rng, (7, 9), crowds=True) for _ in range(3)]
    predictions = [moved(rng, *target) if rng.random() < 0.8 else division(rng, (7, 9)) for target in targets]
    got = panoptic_quality(predictions, targets, THINGS)
    assert got == pytest.approx(oracle(list(zip(predictions, targets, strict=True)), THINGS), abs=1e-12)


def one_row(*segments):
    """A picture of one row: (id, class, pixels[, crowd]) side by side; id 0 is void."""
    ids = np.concatenate([np.full(pixels, number, np.int32) for number, _, pixels, *_ in segments])
    told = [{"id": n, "category_id": c, "iscrowd": int(bool(rest))} for n, c, _, *rest in segments if n]
    return ids[None], told


def counts(found, there, label=0):
    metric = PanopticQuality(THINGS)
    metric.update([found], [there])
    result = metric.by_class().get(label, {"TP": 0, "FP": 0, "FN": 0})
    return result["TP"], result["FP"], result["FN"]


def test_a_half_is_not_enough():
    there = one_row((1, 0, 4), (2, 1, 6))
    assert counts(one_row((1, 0, 2), (2, 1, 8)), there) == (0, 1, 1)  # IoU 2/4
    assert counts(one_row((1, 0, 3), (2, 1, 7)), there) == (1, 0, 0)


def test_void_pixels_of_the_truth_are_left_out_of_the_union():
    there = one_row((1, 0, 4), (0, 0, 6))
    found = one_row((1, 0, 10))
    metric = PanopticQuality(THINGS)
    metric.update([found], [there])
    assert metric.by_class()[0]["PQ"] == 1


def test_void_pixels_of_the_prediction_are_not():
    metric = PanopticQuality(THINGS)
    metric.update([one_row((1, 0, 3), (0, 0, 1))], [one_row((1, 0, 4))])
    assert metric.by_class()[0]["PQ"] == 0.75


@pytest.mark.parametrize("wrong, FP", [(5, 1), (4, 0)])
def test_a_segment_mostly_in_void_is_no_false_positive(wrong, FP):
    there = one_row((1, 1, wrong), (0, 0, 5))
    assert counts(one_row((7, 0, wrong + 5)), there) == (0, FP, 0)


@pytest.mark.parametrize("label, FP", [(0, 0), (1, 1)])
def test_a_segment_in_a_crowd_of_its_own_class_is_no_false_positive(label, FP):
    there = one_row((1, 0, 6, "crowd"), (2, 1, 4))
    assert counts(one_row((1, label, 6), (0, 0, 4)), there, label)[1] == FP


def test_a_crowd_is_neither_matched_nor_missed():
    there = one_row((1, 0, 6, "crowd"), (2, 1, 4))
    assert counts(there, there) == (0, 0, 0)
    assert counts(one_row((2, 1, 10)), there) == (0, 0, 0)


def test_a_perfect_division_has_quality_1_and_the_wrong_classes_0():
    rng = np.random.default_rng(3)
    image = division(rng, (9, 9))
    assert set(panoptic_quality([image], [image], THINGS).values()) <= {1.0, -1.0}
    ids, segments = one_row((1, 0, 5), (2, 2, 5))
    swapped = ids, [{"id": 1, "category_id": 2}, {"id": 2, "category_id": 0}]
    assert set(panoptic_quality([swapped], [(ids, segments)], THINGS).values()) == {0.0}


def test_quality_is_the_product_of_two_for_a_class_but_not_for_a_set():
    there = one_row((1, 0, 10), (2, 0, 10), (3, 1, 10))
    found = one_row((1, 0, 8), (5, 0, 12), (0, 0, 4), (3, 1, 6))
    metric = PanopticQuality(THINGS)
    metric.update([found], [there])
    for numbers in metric.by_class().values():
        assert numbers["PQ"] == pytest.approx(numbers["SQ"] * numbers["RQ"])
    result = metric.compute()
    assert result["PQ"] == pytest.approx(np.mean([numbers["PQ"] for numbers in metric.by_class().values()]))


def test_images_add_up_in_any_order_and_ids_are_only_names():
    rng = np.random.default_rng(4)
    targets = [division(rng, (8, 8), crowds=True) for _ in range(6)]
    predictions = [moved(rng, *target) for target in targets]
    whole = panoptic_quality(predictions, targets, THINGS)
    metric = PanopticQuality(THINGS)
    for i in (3, 0, 5, 1, 4, 2):
        renamed = np.where(predictions[i][0] > 0, predictions[i][0] * 1000, 0).astype(np.int32)
        told = [{**segment, "id": segment["id"] * 1000} for segment in reversed(predictions[i][1])]
        metric.update([(renamed, told)], [targets[i]])
    assert metric.compute() == pytest.approx(whole, abs=1e-12)
    assert 0 < whole["PQ"] < 1


def test_nothing_at_all_has_no_quality():
    empty = (np.zeros((2, 2), np.int32), [])
    assert panoptic_quality([empty], [empty], THINGS)["PQ"] == -1


GOOD = one_row((1, 0, 4))


@pytest.mark.parametrize(
    ("found", "there", "kind", "complaint"),
    [
        (one_row((1, 0, 5)), GOOD, ValueError, r"of one size \(prediction: \(1, 5\), target: \(1, 4\)\)"),
        ((GOOD[0], []), GOOD, ValueError, r"predictions: .* \(segments: \[\], map: \[1\]"),
        (
            GOOD,
            (GOOD[0], [*GOOD[1], {"id": 2, "category_id": 0}]),
            ValueError,
            r"targets: .*segments: \[1, 2\]",
        ),
        ((GOOD[0], GOOD[1] * 2), GOOD, ValueError, "an id of its own"),
        (
            (GOOD[0], [{"id": 1, "category_id": 4}]),
            GOOD,
            ValueError,
            r"category_id must lie in 0 to 3, got \[4\]",
        ),
        ((GOOD[0].astype(float), GOOD[1]), GOOD, TypeError, "ids must be integers, got float64"),
        ((GOOD[0][0], GOOD[1]), GOOD, ValueError, r"ids must be \(H, W\), got \(4,\)"),
        ((GOOD[0], [{"category_id": 0}]), GOOD, ValueError, "predictions: every segment needs 'id', but one has 'cat"),
        (GOOD, (GOOD[0], [{"id": 1}]), ValueError, "targets: every segment needs 'category_id', but one has 'id'"),
        (GOOD, (GOOD[0], [{}]), ValueError, "every segment needs 'id', but one has nothing"),
        (GOOD, (GOOD[0], [{"id": 1, "category": 0}]), ValueError, "have 'category', .* mean 'category_id'"),
        (GOOD, (GOOD[0], [{"id": "1", "category_id": 0}]), ValueError, "id must be an integer, got '1'"),
        (GOOD, (GOOD[0], [{"id": 1, "category_id": None}]), ValueError, "category_id must be an integer, got None"),
        (GOOD, (GOOD[0], [GOOD[1][0] | {"iscrowd": "0"}]), ValueError, "iscrowd must be boolean, .* got '0'"),
        (GOOD, (GOOD[0], [3]), ValueError, r"segments must be a list with a dict for each segment, got \[3\]"),
        (GOOD, (GOOD[0], None), ValueError, "segments must be a list with a dict for each segment, got None"),
        (GOOD[0], GOOD, ValueError, r"predictions must be pairs \(ids, segments\), got ndarray"),
        (GOOD, {"panoptic": 1}, ValueError, r"targets must be pairs .* got dict; of a target of CocoPanoptic: "),
    ],
)  # fmt: skip
def test_what_is_no_division_is_refused(found, there, kind, complaint):
    with pytest.raises(kind, match=f"^PanopticQuality: .*{complaint}"):
        PanopticQuality(THINGS).update([found], [there])


def test_predictions_and_targets_go_in_pairs_and_things_are_boolean():
    with pytest.raises(ValueError, match="1 predictions, 2 targets"):
        PanopticQuality(THINGS).update([GOOD], [GOOD, GOOD])
    with pytest.raises(
        ValueError, match=r"things must be \(K,\) boolean, one for each class, got \(2,\) int64"
    ):
        PanopticQuality([1, 0])
