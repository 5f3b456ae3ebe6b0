"""DINO's pictures: what is drawn, where and with which lines; everything is inside the figure.

Not here: the numbers (recipes/dino_digits.py, recipes/collapse.py).
"""

import numpy as np
import pytest

from minivis import viz

RUN = {
    "steps": [[0, 10], [0, 10]],
    "entropy": [[4.0, 2.0], [4.0, 3.0]],
    "entropy of the mean": [[4.5, 4.0], [4.5, 4.2]],
}
RNG = np.random.default_rng(0)


def inside(fig):
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_every_view_has_its_piece_in_the_picture_and_its_own_size():
    image = RNG.random((1, 22, 22))
    boxes = [[0, 0, 20, 20], [2, 1, 22, 22], [4, 5, 12, 14]]
    views = [RNG.random((1, side, side)) for side in (16, 16, 8)]
    fig = viz.multi_crop_views(image, boxes, views, caption="What.")
    picture, *shown = fig.axes
    drawn = [patch.get_bbox().bounds for patch in picture.patches]
    np.testing.assert_allclose(drawn, [(x - 0.5, y - 0.5, r - x, b - y) for x, y, r, b in boxes])
    assert [ax.get_title() for ax in shown] == ["view 1: both", "view 2: both", "view 3: student"]
    assert shown[2].get_xlim()[1] - shown[2].get_xlim()[0] == 16  # a small view is drawn smaller
    assert picture.patches[0].get_edgecolor() == picture.patches[1].get_edgecolor()
    assert picture.patches[1].get_edgecolor() != picture.patches[2].get_edgecolor() and inside(fig)


def test_attention_is_outlined_and_its_overlap_with_the_truth_is_written_below():
    attention = np.full((1, 2, 2, 3), 0.01)
    attention[0, 0, 0, 1] = 1.0
    truth = np.zeros((1, 1, 2, 3), bool)
    truth[0, 0, 0, 1] = True
    fig = viz.class_attention(np.zeros((1, 1, 4, 6)), attention, truth, caption="What.")
    _, one, other = fig.axes
    assert one.get_xlabel() == "1.00" and other.get_xlabel() in ("0.20", "0.25")
    borders = sorted(tuple(map(tuple, line.get_xydata().tolist())) for line in one.lines)
    assert borders == [  # the four sides of the cell in row 0, column 1
        ((0.5, -0.5), (0.5, 0.5)),
        ((0.5, -0.5), (1.5, -0.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((1.5, -0.5), (1.5, 0.5)),
    ]
    assert inside(fig)


def test_curves_of_entropies_have_a_panel_for_each_training_and_a_line_at_log_k():
    fig = viz.collapse_curves({"whole": RUN, "no centring": RUN}, classes=128, caption="What.")
    assert [ax.get_title() for ax in fig.axes] == ["whole", "no centring"]
    top, each, mean = fig.axes[0].lines
    np.testing.assert_allclose(top.get_ydata(), np.log(128))
    np.testing.assert_allclose(each.get_xydata(), [[0, 4], [10, 2.5]])
    np.testing.assert_allclose(mean.get_ydata(), [4.5, 4.1])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "log 128", "of each answer", "of the mean answer",
    ]  # fmt: skip
    assert inside(fig)


def test_answers_are_probabilities_sorted_by_the_centre():
    scores = np.array([[0.0, 0.1, 0.5], [0.2, 0.0, 0.5]])
    centre = np.array([0.1, 0.05, 0.5])
    fig = viz.teacher_answers(scores, centre, caption="What.")
    shown = [np.asarray(ax.images[0].get_array()) for ax in fig.axes[:4]]
    assert all(np.allclose(x.sum(axis=1), 1) for x in shown)
    right = np.exp((scores - centre)[:, [2, 0, 1]] / 0.04)
    np.testing.assert_allclose(shown[3], right / right.sum(axis=1, keepdims=True))
    assert (shown[0].argmax(axis=1) == 0).all() and shown[3][0].argmax() == 2  # centred, the answers differ
    assert inside(fig)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (
            lambda: viz.multi_crop_views(np.zeros((1, 4, 4)), [[0, 0, 2, 2]], []),
            "multi_crop_views: needs one box",
        ),
        (
            lambda: viz.class_attention(np.zeros((2, 1, 4, 4)), np.ones((1, 2, 2, 2))),
            r"class_attention: needs images \(B, C, H, W\)",
        ),
        (
            lambda: viz.class_attention(np.zeros((1, 1, 4, 4)), np.ones((1, 2, 2, 2)), np.ones((1, 2, 2, 2))),
            "class_attention: truth must be",
        ),
        (lambda: viz.collapse_curves({}, 4), "collapse_curves: there is no training"),
        (
            lambda: viz.collapse_curves({"a": RUN | {"steps": [[1]]}}, 4),
            "collapse_curves: 'a' needs steps and entropy of one shape",
        ),
        (lambda: viz.teacher_answers(np.zeros((2, 3)), np.zeros(2)), "teacher_answers: needs scores"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
