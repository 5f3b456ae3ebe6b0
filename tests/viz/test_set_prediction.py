"""Pictures of set prediction: what they draw and say, and what they refuse.

Not here: captions and labels, which every picture has (test_viz.py).
"""

import numpy as np
import pytest

from minivis import viz

STILL = np.array([[0.0, 0.0, 1.0, 1.0]] * 2)
MOVED = STILL + [[0.5, 0, 0.5, 0], [3, 0, 3, 0]]


def test_the_grey_box_encloses_both_and_all_pairs_have_one_scale():
    fig = viz.enclosing_boxes(STILL, MOVED, ["near", "far"], title="t", caption="c")
    assert [[p.get_width() for p in ax.patches] for ax in fig.axes] == [[1.5, 1, 1], [4, 1, 1]]
    assert fig.axes[0].get_xlim() == fig.axes[1].get_xlim()
    fig.png()


def test_each_query_has_its_square_and_each_box_its_kind():
    boxes = np.array(
        [[[0.2, 0.3, 0.1, 0.1], [0.5, 0.5, 0.6, 0.2]], [[0.4, 0.4, 0.1, 0.5], [0.6, 0.5, 0.2, 0.29]]]
    )
    fig = viz.boxes_of_queries(boxes, [3, 0], title="t", caption="c")
    first, second = ([line.get_xdata().tolist() for line in ax.lines] for ax in fig.axes)
    assert first == [[0.2], [], [0.4]]  # small; wide; tall
    assert second == [[0.6], [0.5], []]
    assert [ax.get_title() for ax in fig.axes] == ["query 0: 3", "query 1: 0"]
    fig.png()


def test_a_row_that_is_not_full_shows_no_empty_square():
    fig = viz.boxes_of_queries(np.full((1, 3, 4), 0.5), columns=2)
    assert [ax.get_visible() for ax in fig.axes] == [True, True, True, False]


@pytest.mark.parametrize(
    "draw, message",
    [
        (
            lambda: viz.enclosing_boxes(STILL, MOVED[:1]),
            r"enclosing_boxes: first and second must be \(N, 4\)",
        ),
        (lambda: viz.enclosing_boxes(STILL, MOVED, ["one"]), "enclosing_boxes: 1 titles for 2 pairs"),
        (lambda: viz.boxes_of_queries(STILL), r"boxes_of_queries: boxes must be \(B, Q, 4\), got \(2, 4\)"),
        (lambda: viz.boxes_of_queries(STILL[None], [1]), "boxes_of_queries: 1 counts for 2 queries"),
    ],
)
def test_errors_name_the_function(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
