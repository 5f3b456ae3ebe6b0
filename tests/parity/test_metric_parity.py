"""Average precision and run lengths are those of pycocotools, DETR's merge that of transformers: against stored results.

Not here: panoptic quality, which has an oracle of its own (tests/metrics/test_panoptic.py). Where the two are installed, they are asked again.
"""

import importlib.util
import json

import pytest

from minivis import vision
from tests.parity import metric_rows
from tests.parity.make_metric_fixtures import METRICS

STORED = json.loads(METRICS.read_text(encoding="utf-8"))
ROWS = STORED["rows"]
has_transformers = importlib.util.find_spec("transformers") is not None
has_pycocotools = importlib.util.find_spec("pycocotools") is not None


@pytest.mark.parametrize("key", ROWS)
def test_the_12_numbers_are_those_of_pycocotools(key):
    assert metric_rows.ours(ROWS[key]) == pytest.approx(ROWS[key]["expected"], abs=1e-12, rel=0)


@pytest.mark.parametrize("key", ROWS)
def test_the_stored_problems_leave_nothing_out(key):
    expected = ROWS[key]["expected"]
    assert all(0 < value < 1 for value in expected.values())
    assert any(entry["iscrowd"] for entry in ROWS[key]["truth"])
    if "many" in key:
        per_image = [entry["image_id"] for entry in ROWS[key]["results"]]
        assert max(map(per_image.count, per_image)) > 100 and expected["AR10"] < expected["AR100"]


def test_the_comparison_sees_one_score_that_is_another():
    row = ROWS["boxes"]
    results = [dict(entry) for entry in row["results"]]
    surest = max(results, key=lambda entry: entry["score"])
    surest["score"] = 0.0
    assert metric_rows.ours({**row, "results": results}) != pytest.approx(row["expected"], abs=1e-12, rel=0)


@pytest.mark.skipif(not has_pycocotools, reason="needs the parity extra")
@pytest.mark.parametrize("kind, seed", [("boxes", seed) for seed in range(12)] + [("masks", 0), ("masks", 1)])
def test_the_12_numbers_are_those_that_pycocotools_gives_now(kind, seed):
    problem = metric_rows.problem(100 + seed, kind)
    assert metric_rows.ours(problem) == pytest.approx(metric_rows.theirs(problem), abs=1e-12, rel=0)


@pytest.mark.parametrize("stored", STORED["run lengths"], ids=lambda stored: f"{stored['size']}")
def test_run_lengths_are_those_of_pycocotools(stored):
    mask = vision.rle_decode({"size": stored["size"], "counts": stored["string"]})
    assert vision.rle_encode(mask) == {"size": stored["size"], "counts": stored["string"]}
    assert vision.rle_encode(mask, compressed=False) == {"size": stored["size"], "counts": stored["counts"]}
    assert (vision.rle_decode({"size": stored["size"], "counts": stored["counts"]}) == mask).all()


@pytest.mark.skipif(not has_pycocotools, reason="needs the parity extra")
def test_the_stored_run_lengths_are_what_pycocotools_writes_now():
    assert [metric_rows.their_run_lengths(mask) for mask in metric_rows.masks()] == STORED["run lengths"]


@pytest.mark.parametrize("row", STORED["merges"], ids=lambda row: f"{row['size']}")
def test_the_panoptic_merge_is_that_of_transformers(row):
    assert metric_rows.our_merge(row) == row["expected"]
    assert len(row["expected"]["segments"]) > 1


@pytest.mark.skipif(not has_transformers, reason="needs the parity extra")
@pytest.mark.parametrize("seed", range(20, 40))
def test_the_panoptic_merge_is_what_transformers_gives_now(seed):
    row = metric_rows.queries(seed)
    expected = metric_rows.their_merge(row)
    # nobody is sure: theirs has no name for that
    if not any(segment["area"] for segment in expected["segments"]):
        assert metric_rows.our_merge(row)["segments"] == []
    else:
        assert metric_rows.our_merge(row) == expected
