"""Loss surfaces stand on one scale, each with its name and its middle marked.

Not here: their computation (tests/analysis/test_loss_shape.py).
"""

import numpy as np
import pytest

from minivis import viz

STEPS = np.linspace(-1, 1, 5)
BOWL = STEPS[:, None] ** 2 + 3 * STEPS**2


def test_surfaces_share_one_scale_and_mark_the_model():
    surfaces = {"flat": (STEPS, BOWL), "steep": (STEPS, 5 * BOWL), "third": (STEPS, BOWL)}
    fig = viz.loss_surfaces(surfaces, columns=2, title="A title", caption="What to see: " + "words " * 30)
    assert fig.caption.startswith("What to see") and fig.get_suptitle() == "A title"
    flat, steep, third, empty, bar = fig.axes
    assert [ax.get_title() for ax in (flat, steep, third)] == list(surfaces)
    assert flat.collections[0].get_clim() == steep.collections[0].get_clim() == (0, 20)
    assert [line.get_xydata().tolist() for line in flat.lines] == [[[0, 0]]]
    assert not empty.axison and bar.get_ylabel() == "loss, nats"
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_a_logarithmic_scale_has_levels_at_equal_ratios():
    fig = viz.loss_surfaces({"steep": (STEPS, 0.01 + 100 * BOWL)}, log=True)
    levels = fig.axes[0].collections[0].levels
    np.testing.assert_allclose(levels[1:] / levels[:-1], levels[1] / levels[0])
    assert (levels[0], levels[-1]) == pytest.approx((0.01, 400.01))
    with pytest.raises(ValueError, match="loss_surfaces: log=True needs losses above 0, got 0"):
        viz.loss_surfaces({"bowl": (STEPS, BOWL)}, log=True)


def test_a_level_surface_can_be_drawn():
    assert len(viz.loss_surfaces({"level": (STEPS, np.ones((5, 5)))}).axes) == 2


@pytest.mark.parametrize(
    "surfaces, complaint",
    [({}, "no surface"), ({"a": (STEPS, BOWL[:4])}, r"'a' needs .* got \(5,\) and \(4, 5\)")],
)
def test_what_cannot_be_drawn_is_refused(surfaces, complaint):
    with pytest.raises(ValueError, match=f"loss_surfaces: .*{complaint}"):
        viz.loss_surfaces(surfaces)
