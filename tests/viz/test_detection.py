"""Pictures of detectors from inside draw what they are given, and refuse what does not fit.

Not here: whether they are beautiful; someone looked at each.
"""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from minivis import viz

IMAGE = np.random.default_rng(0).random((3, 20, 40)).astype(np.float32)
BOXES = np.array([[2.0, 3, 12, 13], [20, 5, 38, 18]])
PARTS = np.arange(20)[:, None] // 10 + np.arange(40) // 20 * 2

PICTURES = {
    "regions_on_maps": lambda **text: viz.regions_on_maps(
        [np.eye(6)] * 2, [[1, 1, 4, 4]] * 2, [[[1, 1, 2.5, 4]], []], [[[2, 3]], []], ["a", "b"], **text
    ),
    "anchor_states": lambda **text: viz.anchor_states(
        IMAGE, np.concatenate([BOXES, BOXES - 2]), [0, 1, -1, -2], BOXES, [0, 1], ["cat", "dog"], **text
    ),
    "scored_boxes_on_images": lambda **text: viz.scored_boxes_on_images(
        [IMAGE, IMAGE], [BOXES, []], [[0.2, 0.9], []], ["two", "none"], **text
    ),
    "segments_and_boxes": lambda **text: viz.segments_and_boxes(IMAGE, [PARTS], BOXES, [0.5, 0.75], **text),
    "channel_layout": lambda **text: viz.channel_layout({"box 1": 5, "box 2": 5, "classes": 20}, **text),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_title_and_caption_and_nothing_is_cut_off(name):
    fig = PICTURES[name](title="A title", caption="What to see: " + "an ordinary sentence. " * 8)
    assert fig.caption.startswith("What to see") and fig.get_suptitle() == "A title"
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def rectangles(ax):
    return [p for p in ax.patches if isinstance(p, Rectangle)]


def corners(patch):
    return patch.get_x(), patch.get_y(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height()


def test_bins_region_and_places_are_where_they_are():
    first, second = PICTURES["regions_on_maps"]().axes
    assert [corners(p) for p in rectangles(first)] == [(1, 1, 2.5, 4), (1, 1, 4, 4)]
    assert [corners(p) for p in rectangles(second)] == [(1, 1, 4, 4)]
    assert first.lines[-1].get_xydata().tolist() == [[2, 3]] and len(first.texts) == 36


def test_anchors_are_counted_and_matched_ones_have_the_colour_of_their_object():
    fig = PICTURES["anchor_states"]()
    assert [t.get_text() for t in fig.legends[0].get_texts()] == [
        "object (2)",
        "ignored (1)",
        "background (1)",
    ]
    drawn = [p for p in rectangles(fig.axes[1])[1:] if to_rgb(p.get_edgecolor()) != (1, 1, 1)]
    assert [corners(p) for p in drawn] == [*map(tuple, BOXES)] * 2
    assert drawn[0].get_edgecolor() == drawn[2].get_edgecolor() != drawn[1].get_edgecolor()


def test_better_boxes_are_drawn_later_and_in_another_colour():
    fig = viz.scored_boxes_on_images([IMAGE], [BOXES[::-1]], [[0.9, 0.2]])
    low, high = rectangles(fig.axes[0])[1:]
    assert corners(low) == tuple(BOXES[0]) and corners(high) == tuple(BOXES[1])
    assert low.get_edgecolor() != high.get_edgecolor()


def test_a_segment_has_the_mean_of_its_colours():
    fig = PICTURES["segments_and_boxes"]()
    shown = np.asarray(fig.axes[0].images[0].get_array())
    for part in range(4):
        mean = IMAGE[:, part == PARTS].mean(axis=1)
        np.testing.assert_allclose(shown[part == PARTS], np.tile(mean, (200, 1)), rtol=1e-5)


def test_channels_are_numbered_from_1():
    texts = [t.get_text() for t in viz.channel_layout({"a": 2, "b": 1}).axes[0].texts]
    assert texts == ["1", "2", "3", "a: 1 to 2", "b: 3 to 3"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.regions_on_maps([np.ones(3)], [[0, 0, 1, 1]]), "regions_on_maps: maps must be"),
        (lambda: viz.regions_on_maps([np.eye(3)], []), "regions_on_maps: 0 regions for 1 maps"),
        (lambda: viz.anchor_states(IMAGE, BOXES, [0], BOXES), "anchor_states: states must be"),
        (lambda: viz.anchor_states(IMAGE, BOXES, [0, 2], BOXES), "anchor_states: states must be"),
        (lambda: viz.scored_boxes_on_images([IMAGE], [BOXES], []), "scored_boxes_on_images: 0 scores for 1"),
        (lambda: viz.scored_boxes_on_images([IMAGE], [BOXES], [[1]]), "scored_boxes_on_images: scores must be"),
        (lambda: viz.segments_and_boxes(IMAGE, [PARTS.T], BOXES, [1, 1]), "segments_and_boxes: segmentations"),
        (lambda: viz.channel_layout({}), "channel_layout: every part needs"),
        (lambda: viz.channel_layout({"box": 0}), "channel_layout: every part needs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
