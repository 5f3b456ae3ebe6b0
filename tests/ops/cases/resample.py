"""Rows for minivis/ops/resample.py."""

import numpy as np

from tests.ops.cases import Draw, case, constant, error, integers, normal


def points(B, height, width, of, align_corners=False):
    """Places to read an image of the size ``of``, some outside, at least 0.1 pixels from every kink of the sampling.

    Kinks are at whole pixels (bilinear), at half pixels (nearest, reflection), and where the image ends.
    """

    def make(rng):
        n = np.array(of[::-1])  # (x, y)
        pixel = rng.integers(-4, 2 * n + 4, (B, height, width, 2)) / 2 + rng.uniform(
            0.1, 0.4, (B, height, width, 2)
        )
        return pixel * 2 / (n - 1) - 1 if align_corners else (pixel + 0.5) * 2 / n - 1

    return Draw(make, (B, height, width, 2))


CASES = [
    case("interpolate", x=normal(2, 3, 3, 4), size=(6, 5)),
    case("interpolate", x=normal(1, 2, 5, 7), size=(2, 3)),
    case("interpolate", x=normal(1, 2, 3, 4), scale_factor=2),
    case("interpolate", x=normal(1, 2, 5, 4), scale_factor=(1.7, 0.6)),
    case("interpolate", x=normal(2, 3, 3, 4), size=(6, 5), mode="bilinear"),
    case("interpolate", x=normal(1, 2, 7, 5), size=(3, 4), mode="bilinear", align_corners=True),
    case("interpolate", x=normal(1, 2, 3, 4), size=(3, 1), mode="bilinear", align_corners=True),
    case("interpolate", x=normal(1, 2, 3, 4), scale_factor=(2.3, 1.5), mode="bilinear"),
    case("interpolate", x=normal(1, 2, 7, 8), size=(3, 4), mode="bilinear", antialias=True),
    case("interpolate", x=normal(1, 2, 3, 4), size=(7, 6), mode="bicubic"),
    case("interpolate", x=normal(2, 1, 6, 5), size=(3, 8), mode="bicubic", align_corners=True),
    case("interpolate", x=normal(1, 1, 1, 2), scale_factor=3.0, mode="bicubic"),
    case("interpolate", x=normal(1, 1, 9, 5), size=(4, 7), mode="bicubic", antialias=True),
    case("interpolate", x=normal(0, 2, 3, 4), size=5, mode="bilinear"),
    case("interpolate", x=normal(0, 2, 3, 4), size=5),
    case("grid_sample", x=normal(2, 3, 4, 5), grid=points(2, 3, 2, (4, 5))),
    case("grid_sample", x=normal(2, 3, 4, 5), grid=points(2, 3, 2, (4, 5), True), align_corners=True),
    case("grid_sample", x=normal(1, 2, 5, 3), grid=points(1, 4, 5, (5, 3)), padding_mode="border"),
    case(
        "grid_sample",
        x=normal(1, 2, 5, 3),
        grid=points(1, 4, 5, (5, 3), True),
        padding_mode="border",
        align_corners=True,
    ),
    case("grid_sample", x=normal(1, 2, 3, 6), grid=points(1, 4, 5, (3, 6)), padding_mode="reflection"),
    case(
        "grid_sample",
        x=normal(1, 2, 3, 6),
        grid=points(1, 4, 5, (3, 6), True),
        padding_mode="reflection",
        align_corners=True,
    ),
    case("grid_sample", x=normal(1, 2, 4, 3), grid=points(1, 3, 5, (4, 3)), mode="nearest"),
    case(
        "grid_sample",
        x=normal(1, 2, 4, 3),
        grid=points(1, 3, 5, (4, 3)),
        mode="nearest",
        padding_mode="border",
    ),
    case(
        "grid_sample",
        x=normal(1, 2, 4, 3),
        grid=points(1, 3, 5, (4, 3)),
        mode="nearest",
        padding_mode="reflection",
    ),
    case("grid_sample", x=normal(0, 2, 4, 3), grid=normal(0, 3, 5, 2)),
]

IMAGE, GRID = normal(1, 2, 4, 5), normal(1, 3, 3, 2)

ERRORS = [
    error("interpolate", ValueError, "x must be (B, C, H, W)", x=normal(4, 5), size=3),
    error("interpolate", ValueError, "only B may be 0", x=normal(2, 3, 0, 4), size=3),
    error("interpolate", ValueError, "either size or scale_factor, got neither (x: (1, 2, 4, 5))", x=IMAGE),
    error("interpolate", ValueError, "got size=3 and scale_factor=2", x=IMAGE, size=3, scale_factor=2),
    error("interpolate", ValueError, "size must be an integer", x=IMAGE, size=(3, 0)),
    error("interpolate", ValueError, "size must be an integer", x=IMAGE, size=2.5),
    error("interpolate", ValueError, "scale_factor must be a number or two", x=IMAGE, scale_factor=(1, 2, 3)),
    error(
        "interpolate", ValueError, "scale_factor must be a number or two", x=IMAGE, scale_factor=float("nan")
    ),
    error(
        "interpolate",
        ValueError,
        "nothing is left at scale_factor=0.2, the size is (0, 1)",
        x=IMAGE,
        scale_factor=0.2,
    ),
    error("interpolate", ValueError, "nothing is left", x=IMAGE, scale_factor=-1.0),
    error(
        "interpolate",
        ValueError,
        'mode must be "nearest", "bilinear" or "bicubic"',
        x=IMAGE,
        size=3,
        mode="cubic",
    ),
    error("interpolate", ValueError, "antialias goes with", x=IMAGE, size=3, antialias=True),
    error(
        "interpolate",
        ValueError,
        "antialias goes with",
        x=IMAGE,
        size=3,
        mode="bicubic",
        align_corners=True,
        antialias=True,
    ),
    error(
        "interpolate",
        TypeError,
        "x must be floating-point for bilinear",
        x=integers(0, 9, 1, 1, 3, 3),
        size=2,
        mode="bilinear",
    ),
    error("grid_sample", ValueError, "x must be (B, C, H, W)", x=normal(2, 4, 5), grid=GRID),
    error("grid_sample", ValueError, "grid must be (B, H', W', 2)", x=IMAGE, grid=normal(1, 3, 3, 3)),
    error(
        "grid_sample", ValueError, "(x: (1, 2, 4, 5), grid: (2, 3, 3, 2))", x=IMAGE, grid=normal(2, 3, 3, 2)
    ),
    error("grid_sample", ValueError, "mode must be", x=IMAGE, grid=GRID, mode="bicubic"),
    error("grid_sample", ValueError, "padding_mode must be", x=IMAGE, grid=GRID, padding_mode="wrap"),
    error(
        "grid_sample",
        TypeError,
        "must be floating-point",
        x=IMAGE,
        grid=constant(np.zeros((1, 1, 1, 2), np.int64)),
    ),
]
