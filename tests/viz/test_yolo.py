"""YOLO's grid as a picture: which cells are coloured, and how thick the boxes are.

Not here: the prediction (tests/models/test_yolo.py).
"""

import numpy as np
import pytest

from minivis import viz
from minivis.viz.boxes import colour_of


def prediction():
    grid = np.zeros((2, 4, 13))
    grid[0, 2, :5] = 0.5, 0.5, 0.3, 0.4, 0.9
    grid[1, 0, 5:10] = 0.2, 0.5, 0.1, 0.2, 0.5
    grid[..., 10:] = 0.1
    grid[0, 2, 12] = 1
    return grid


def inside(fig):
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_cells_boxes_and_classes():
    found = {"boxes": [[30.0, 0, 50, 10]], "labels": [2], "scores": [0.9]}
    boxes = np.array([[0.6, 0.25, 0.3, 0.4]])
    fig = viz.yolo_grid(
        np.zeros((3, 32, 64)), prediction(), 2, boxes, [2], found, ["a", "b", "star"], caption="What."
    )
    objects, everything, classes, kept = fig.axes
    cell = next(p for p in objects.patches if p.get_alpha() == 0.55)
    assert cell.get_bbox().bounds == (32, 0, 16, 16)  # the third column, the first row
    drawn = [p for p in everything.patches if p.get_linewidth() > 1]
    assert [p.get_linewidth() for p in drawn] == pytest.approx([2, 3.6])  # the surest on top
    np.testing.assert_allclose(drawn[1].get_bbox().bounds, [40 - 9.6, 8 - 6.4, 19.2, 12.8])
    assert len(classes.patches) == 1 + 8
    strong = max(classes.patches, key=lambda p: p.get_alpha() or 0)
    assert strong.get_bbox().bounds == (32, 0, 16, 16) and strong.get_alpha() == pytest.approx(0.8)
    assert [text.get_text() for text in classes.get_legend().get_texts()] == ["star"]
    assert [text.get_text() for text in kept.texts] == ["star 0.90"] and inside(fig)


def test_without_truth_and_result():
    fig = viz.yolo_grid(np.zeros((32, 64)), prediction())
    assert len(fig.axes) == 3 and not any(p.get_alpha() == 0.55 for p in fig.axes[0].patches)
    assert colour_of(2) and inside(fig)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.yolo_grid(np.zeros((8, 8)), np.zeros((2, 2, 10))), r"yolo_grid: prediction must be .* B=2"),
        (lambda: viz.yolo_grid(np.zeros((8, 8)), prediction(), 2, [[0.5, 0.5, 0.2, 0.2]], [1, 2]), "yolo_grid: labels must be"),
        (lambda: viz.yolo_grid(np.zeros((8, 8)), prediction(), 2, [[0.5, 0.5, -0.2, 0.2]]), "yolo_grid: .*negative"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
