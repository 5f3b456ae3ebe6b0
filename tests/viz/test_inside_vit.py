"""A map below each image, and a line for each network with the attention steps in grey.

Not here: the numbers (tests/analysis).
"""

import numpy as np
import pytest

from minivis import viz


def inside(fig):
    """Whether nothing is cut off."""
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_each_map_stands_below_its_image():
    maps = np.arange(3 * 4).reshape(3, 2, 2) / 12
    fig = viz.attention_below_images(np.ones((3, 1, 4, 4)), maps, title="Where", caption="Look at " * 20)
    assert len(fig.axes) == 6 and fig.caption.startswith("Look at") and inside(fig)
    np.testing.assert_array_equal([ax.images[0].get_array() for ax in fig.axes[3:]], maps)
    assert [ax.images[0].get_clim() for ax in fig.axes[3:]] == [(0, m.max()) for m in maps]
    with pytest.raises(ValueError, match="attention_below_images: give a map"):
        viz.attention_below_images(np.ones((2, 1, 4, 4)), maps)


def test_attention_steps_are_shaded_and_all_networks_share_one_scale():
    vit = {"patches": -2.0, "attention 1": -2.5, "MLP 1": -2.4, "attention 2": -2.6}
    fig = viz.amplitude_by_step({"ViT": vit, "ResNet": {"stem": -2.0, "block 1": -3.0}}, title="Steps")
    first, second = fig.axes
    assert first.get_ylim() == second.get_ylim() and inside(fig)
    assert [band.get_x() for band in first.patches] == [0, 2] and not second.patches
    np.testing.assert_array_equal(first.lines[0].get_ydata(), list(vit.values()))
    assert (first.get_title(), second.get_title()) == ("ViT", "ResNet")
    with pytest.raises(ValueError, match="amplitude_by_step: give at least one network"):
        viz.amplitude_by_step({"ViT": {}})
