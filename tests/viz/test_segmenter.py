"""Pictures of Segmenter: what they draw, and what they refuse.

Not here: captions and labels, which every picture has (test_viz.py).
"""

import numpy as np
import pytest

from minivis import viz

RNG = np.random.default_rng(32)
FIELD = {"distance": RNG.random((3, 4, 2)) * 30, "area": RNG.random((3, 4, 2))}
ROW = {"mIoU": [0.8, 0.9], "small": [0.4, 0.5], "large": [0.9, 0.9], "seconds": [70.0, 72.0]}


def test_a_dot_for_each_head_of_each_layer():
    fig = viz.attention_by_depth({"trained": FIELD, "untrained": FIELD}, title="t", caption="c")
    distance = fig.axes[0]
    dots, line = distance.lines[:2]
    np.testing.assert_allclose(dots.get_ydata(), FIELD["distance"][0].ravel())
    np.testing.assert_allclose(line.get_ydata(), FIELD["distance"][0].mean(axis=1))
    assert [text.get_text() for text in distance.get_legend().get_texts()] == ["trained", "untrained"]
    fig.png()


def test_small_and_large_beside_each_other():
    fig = viz.attention_by_size({"trained": FIELD, "untrained": FIELD})
    assert [ax.get_title() for ax in fig.axes] == ["trained", "untrained", "", ""]
    np.testing.assert_allclose(fig.axes[2].lines[1].get_ydata(), FIELD["area"][1].mean(axis=1))
    np.testing.assert_allclose(fig.axes[2].lines[3].get_ydata(), FIELD["area"][2].mean(axis=1))


def test_cosines_of_classes_and_their_plane():
    vectors = np.array([[1.0, 0, 0], [2.0, 0.2, 0], [0, 3, 1]])
    fig = viz.class_similarity(vectors, ["circle", "star", "sand"], ["thing", "thing", "ground"])
    shown = fig.axes[0].images[0].get_array()
    assert shown[0, 0] == pytest.approx(1) and shown[0, 1] == pytest.approx(2 / np.hypot(2, 0.2))
    assert shown[0, 2] == 0 and "0.0" in [text.get_text() for text in fig.axes[0].texts]
    assert [text.get_text() for text in fig.axes[1].get_legend().get_texts()] == ["thing", "ground"]
    assert viz.class_similarity(vectors, list("abc")).axes[1].get_legend() is None


def test_errors_in_per_cent_with_steps_in_words():
    found = {"distance": [1, 2, 4], "error": [0.2, 0.1, 0.0]}
    fig = viz.errors_at_borders({"a": found, "b": found})
    assert [tick.get_text() for tick in fig.axes[0].get_xticklabels()] == ["1", "2 to 3", "from 4"]
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), [20, 10, 0])


def test_choices_with_seeds_means_and_what_is_best():
    fig = viz.worth_of_choices({"4": ROW, "8": ROW}, {"4": {"mIoU": 0.95, "small": 0.6, "large": 0.95}})
    assert [ax.get_title() for ax in fig.axes][0] == "mIoU" and len(fig.axes) == 4
    assert len(fig.axes[0].lines) == 2 * (2 + 1) + 1 and len(fig.axes[3].lines) == 2 * (2 + 1)


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: viz.attention_by_depth({}), "attention_by_depth: there is no model to draw"),
        (
            lambda: viz.attention_by_size({"a": {**FIELD, "area": np.ones((4, 2))}}),
            r"attention_by_size: distance and area must be \(3, layers, heads\)",
        ),
        (lambda: viz.class_similarity(np.eye(2), ["a", "b"]), r"class_similarity: needs vectors \(K, D\)"),
        (lambda: viz.class_similarity(np.eye(3), ["a", "b"]), "class_similarity: needs vectors"),
        (lambda: viz.errors_at_borders({}), "errors_at_borders: there is no model to draw"),
        (
            lambda: viz.errors_at_borders({"a": {"distance": [1, 2], "error": [0.1]}}),
            "errors_at_borders: distance and error must be of one length",
        ),
        (
            lambda: viz.worth_of_choices({"4": {"mIoU": [1]}}),
            "worth_of_choices: every choice needs mIoU, large, small",
        ),
    ],
)
def test_what_does_not_fit_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
