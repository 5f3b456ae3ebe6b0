"""Write tests/parity/fixtures/metrics.json: detections, masks, queries, and what pycocotools and transformers make of them.

Run from the repository's root, with the extras dev and parity:  python -m tests.parity.make_metric_fixtures
"""

import json
from importlib import metadata
from pathlib import Path

METRICS = Path(__file__).parent / "fixtures" / "metrics.json"
ROWS = {
    "boxes": {"seed": 0},
    "boxes of one class, many of them": {"seed": 0, "images": 2, "classes": 1, "most": 150},
    "masks": {"seed": 5, "kind": "masks", "images": 8, "classes": 3, "most": 7},
}
SEEDS = [16, 36, 53, 55]  # of the queries to merge: in these two are sure of the same stuff


def main():
    from tests.parity import metric_rows

    made = {key: metric_rows.problem(**row) for key, row in ROWS.items()}
    rows = {key: {**problem, "expected": metric_rows.theirs(problem)} for key, problem in made.items()}
    masks = metric_rows.masks()
    lengths = [metric_rows.their_run_lengths(mask) for mask in masks]
    merges = [{**row, "expected": metric_rows.their_merge(row)} for row in map(metric_rows.queries, SEEDS)]
    versions = {name: metadata.version(name) for name in ("numpy", "pycocotools", "torch", "transformers")}
    METRICS.write_text(
        json.dumps({"versions": versions, "rows": rows, "run lengths": lengths, "merges": merges}) + "\n",
        encoding="utf-8",
    )
    print(f"{len(rows)} rows, {METRICS.stat().st_size / 1024:.0f} KB: {METRICS}")


if __name__ == "__main__":
    main()
