"""Rows for minivis/vision/neighbourhoods.py, primitives outside ops."""

from tests.ops.cases import case, error, normal

SCORES = {"q": normal(2, 3, 2, 4, 3), "k": normal(2, 3, 2, 6, 5), "window": 3}
SUM = {"weights": normal(2, 3, 3, 4, 3), "values": normal(2, 3, 2, 4, 5), "window": (1, 3)}

CASES = [
    case("neighbours", x=normal(2, 3, 5, 6), window=3),
    case("neighbours", x=normal(4, 3), window=(2, 1)),
    case("neighbours", x=normal(0, 3, 3), window=1),
    case("neighbour_scores", **SCORES),
    case("neighbour_scores", q=normal(1, 1, 2, 3, 2), k=normal(1, 1, 2, 4, 5), window=(2, 4)),
    case("neighbour_scores", q=normal(0, 1, 2, 3, 2), k=normal(0, 1, 2, 3, 2), window=1),
    case("neighbour_sum", **SUM),
    case("neighbour_sum", weights=normal(1, 2, 8, 3, 2), values=normal(1, 2, 1, 4, 5), window=(2, 4)),
    case("neighbour_sum", weights=normal(0, 1, 1, 3, 2), values=normal(0, 1, 2, 3, 2), window=1),
]

ERRORS = [
    error("neighbours", ValueError, "at least as large as the window 5 x 5", x=normal(3, 6), window=5),
    error("neighbours", ValueError, "window must be an integer of at least 1", x=normal(3, 6), window=0),
    error("neighbour_scores", ValueError, "must share B and h", **{**SCORES, "k": normal(2, 2, 2, 6, 5)}),
    error(
        "neighbour_scores",
        ValueError,
        "a border for the window 3 x 3",
        **{**SCORES, "k": normal(2, 3, 2, 6, 6)},
    ),
    error(
        "neighbour_scores",
        ValueError,
        "a border for the window 3 x 3",
        **{**SCORES, "k": normal(2, 3, 1, 6, 5)},
    ),
    error(
        "neighbour_sum",
        ValueError,
        "one for each of the 1 x 3 neighbours",
        **{**SUM, "weights": normal(2, 3, 6, 4, 3)},
    ),
]
