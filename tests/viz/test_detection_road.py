"""The figure of the road of detectors: points, bars, nothing cut off, mistakes.

Not here: the numbers (recipes/detection_road.py).
"""

import pytest

from minivis import viz
from tests.viz.test_depth import inside

ROWS = {
    "R-CNN": {"AP50": [0.8, 0.9], "proposals": [0.1, 0.1], "network": [0.05, 0.05], "rest": [0.01, 0.01]},
    "YOLO": {"AP50": 0.7, "proposals": 0.0, "network": 0.004, "rest": 0.001},
}


def test_points_and_bars():
    fig = viz.cost_of_detectors(ROWS, caption="Where does the time go?")
    left, right = fig.axes
    assert [line.get_label() for line in left.lines] == list(ROWS)
    assert left.lines[0].get_xdata()[0] == pytest.approx(0.16)
    assert left.lines[0].get_ydata()[0] == pytest.approx(0.85)
    assert sum(bar.get_width() for bar in right.patches) == pytest.approx(0.165)
    assert [text.get_text() for text in right.get_yticklabels()] == list(ROWS)
    assert {text.get_text().strip() for text in right.texts} == {"160 ms", "5 ms"}
    assert inside(fig)


@pytest.mark.parametrize("methods", [{}, {"nothing": dict.fromkeys(ROWS["YOLO"], 0.0)}])
def test_mistakes_are_named(methods):
    with pytest.raises(ValueError, match="cost_of_detectors: "):
        viz.cost_of_detectors(methods)
