"""Errors along the training and gradients by layer: what is drawn, and with which lines.

Not here: the numbers (recipes/depth.py, tests/analysis/test_gradients.py).
"""

import numpy as np
import pytest

from minivis import viz

RUN = {
    "steps": [[10, 20], [10, 20]],
    "training error": [[0.5, 0.1], [0.7, 0.3]],
    "test error": [[0.6, 0.2], [0.8, 0.4]],
}


def inside(fig):
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_training_errors_are_dashed_and_test_errors_solid_and_bands_span_the_seeds():
    fig = viz.training_errors(
        {"scenes": {"plain 20": RUN, "plain 56": RUN}, "digits": {"plain 20": RUN}}, caption="What."
    )
    scenes, digits = fig.axes
    assert [line.get_linestyle() for line in scenes.lines] == ["--", "-"] * 2
    np.testing.assert_allclose(scenes.lines[0].get_ydata(), [60, 20])
    np.testing.assert_allclose(scenes.lines[1].get_ydata(), [70, 30])
    assert scenes.collections[0].get_paths()[0].get_extents().ymax == pytest.approx(70)
    assert [text.get_text() for text in scenes.get_legend().get_texts()] == ["plain 20", "plain 56"]
    assert digits.get_title() == "digits" and "%" in scenes.get_ylabel() and inside(fig)


def test_gradients_by_layer_begin_with_layer_1_and_average_on_the_logarithmic_scale():
    fig = viz.gradients_by_layer(
        {"plain": [[1e-4, 1.0], [1e-2, 1.0]], "residual": [0.5, 0.6]}, caption="What."
    )
    (ax,) = fig.axes
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 1e-3], [2, 1]])
    assert ax.get_yscale() == "log" and inside(fig)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.training_errors({}), "training_errors: there is no network"),
        (lambda: viz.training_errors({"a": {}}), "training_errors: there is no network"),
        (
            lambda: viz.training_errors({"a": {"b": RUN | {"steps": [[1, 2, 3]]}}}),
            "training_errors: 'b' needs steps and errors of one shape",
        ),
        (lambda: viz.gradients_by_layer({}), "gradients_by_layer: there is no network"),
        (lambda: viz.gradients_by_layer({"a": [0.0, 1.0]}), "gradients_by_layer: 'a' needs lengths above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
