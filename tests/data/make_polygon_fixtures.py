"""Write fixtures/polygons.json: random polygons and what COCO's own tools fill of them (pycocotools 2.0, seed 0).

Not here: the comparison (test_coco.py). Run by hand: python tests/data/make_polygon_fixtures.py
"""

import json
from pathlib import Path

import numpy as np


def main():
    from pycocotools import mask as tools

    rng = np.random.default_rng(0)
    rows = []
    for _ in range(60):
        height, width = (int(n) for n in rng.integers(1, 30, 2))
        # some leave the image
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 9)), 2)) * [width, height]
        corners = np.round(corners, int(rng.integers(0, 3)))  # whole numbers too: as COCO has them, and ties
        (rle,) = tools.frPyObjects([corners.ravel().tolist()], height, width)
        rows.append(
            {"size": [height, width], "polygon": corners.ravel().tolist(), "counts": rle["counts"].decode()}
        )
    lines = ",\n".join(json.dumps(row) for row in rows)
    Path(__file__).with_name("fixtures").joinpath("polygons.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
