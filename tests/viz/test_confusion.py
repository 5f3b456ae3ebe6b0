"""The confusion matrix and the worst mistakes draw what was given, with any names.

Not here: counting (tests/metrics).
"""

import numpy as np
import pytest

from minivis import viz
from tests.viz.test_viz import pixels

COUNTS = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
NAMES = ["Kätzchen", "$5 and $10", "a" * 300]
ODD = ["$5 bill", "a$$b", "x^2_{", "\\frac{$", "line\nbreak", "", "   ", "\x00nul", "%s", "{x}", "<b>"]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_cell_has_its_count_and_the_colour_of_its_share():
    fig = viz.confusion_matrix(COUNTS, NAMES)
    ax = fig.axes[0]
    assert texts(ax) == [str(n) for n in COUNTS.ravel()]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.8, 0.2, 0], [0.25, 0.75, 0], [0, 0, 0]])
    shown = [tick.get_text() for tick in ax.get_xticklabels()]
    assert shown == [tick.get_text() for tick in ax.get_yticklabels()]
    assert shown[:2] == NAMES[:2] and len(shown[2]) == 24
    assert "11 of 14 (78.6 %)" in fig.caption
    assert 'The commonest mistake: "Kätzchen" taken for "$5 and $10", 2 times.' in fig.caption
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_the_caption_says_what_there_is():
    assert "no mistake" in viz.confusion_matrix(np.eye(2)).caption
    assert viz.confusion_matrix(np.zeros((2, 2))).caption.endswith("0 of 0.")
    assert viz.confusion_matrix([[1, 1], [0, 1]]).caption.endswith('"0" taken for "1", once.')
    assert viz.confusion_matrix(COUNTS, caption="mine").caption == "mine"


def test_a_large_matrix_leaves_zeros_out_and_shortens_numbers():
    counts = np.diag([7, 12_345, 12_345_678, *range(1, 25)])
    assert texts(viz.confusion_matrix(counts).axes[0])[:4] == ["7", "12k", "12M", "1"]
    assert len(viz.confusion_matrix(counts).axes[0].texts) == 27


@pytest.mark.parametrize("names", [ODD, [str(n) for n in range(30)], ["one"]])
def test_nothing_is_cut_off(names):
    fig = viz.confusion_matrix(np.eye(len(names), dtype=int) * 20, names)
    picture = pixels(fig)
    assert min(edge.min() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1])) == 255


def test_the_most_confident_mistakes_come_first():
    images = [np.full((3, 8, 6 + i), 0.1 * i) for i in range(6)]
    truth, predicted = np.array([0, 1, 0, 1, 0, 0]), np.array([0, 0, 1, 0, 0, 1])
    scores = np.array([0.99, 0.6, 0.8, 0.95, 0.3, 0.7])
    fig = viz.worst_mistakes(images, truth, predicted, scores, ["cat", "dog"], count=3)
    assert [ax.get_title() for ax in fig.axes] == [
        "dog\ntaken for cat, 0.95", "cat\ntaken for dog, 0.80", "cat\ntaken for dog, 0.70",
    ]  # fmt: skip
    assert [ax.images[0].get_array()[0, 0, 0].round(1) for ax in fig.axes] == [0.3, 0.2, 0.5]
    assert fig.caption.startswith("4 of 6 pictures got a wrong class; here are 3,")
    assert pixels(fig)[0].min() == 255  # the titles are not cut off


def test_odd_names_are_drawn_and_no_mistake_is_said():
    count = len(ODD)
    wrong = np.roll(np.arange(count), 1)
    viz.worst_mistakes(np.zeros((count, 8, 8)), np.arange(count), wrong, np.ones(count), ODD).png()
    fig = viz.worst_mistakes(np.zeros((2, 8, 8)), [0, 1], [0, 1], [1.0, 1.0])
    assert texts(fig.axes[0]) == ["No mistake among 2 pictures"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: viz.confusion_matrix([[1, 2]]), r"counts must be \(K, K\), none below 0, got shape \(1, 2\)"),
        (lambda: viz.confusion_matrix([[-1]]), "none below 0"),
        (lambda: viz.confusion_matrix([[1]], ["a", "b"]), "2 names for 1 classes"),
        (lambda: viz.worst_mistakes(np.zeros((2, 8, 8)), [0], [0, 1], [1, 1]), "2 images, 1 true classes"),
        (lambda: viz.worst_mistakes(np.zeros((1, 8, 8)), [0], [1], [1], count=0), "count must be at least 1, got 0"),
        (lambda: viz.worst_mistakes(np.zeros((1, 8, 8)), [0], [1], [1], ["a"]), "class 1 has no name; there are 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
