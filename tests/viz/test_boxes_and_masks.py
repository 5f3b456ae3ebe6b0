"""Boxes, masks, windows and matches are drawn where they are, say what they are, and refuse what does not fit.

Not here: whether they are beautiful; someone looked at each.
"""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from PIL import Image

from minivis import Tensor, vision, viz
from minivis.viz.boxes import _PALETTE, colour_of

IMAGE = np.random.default_rng(0).random((3, 20, 40)).astype(np.float32)
BOXES = [[2, 3, 12, 13], [20, 5, 38, 18]]
MASKS = np.zeros((2, 20, 40), bool)
MASKS[0, 3:13, 2:12] = MASKS[1, 5:18, 20:38] = True
SEGMENTS = [{"id": 7, "label": 0, "score": 0.5}, {"id": 3, "label_id": 1}, {"id": 4, "category_id": 1}]
SEGMENTATION = np.where(MASKS[0], 7, np.where(MASKS[1], 3, 0))

PICTURES = {
    "boxes_on_image": lambda **text: viz.boxes_on_image(
        IMAGE, BOXES, [0, 1], [0.9, 0.8], ["cat", "dog"], **text
    ),
    "boxes_on_images": lambda **text: viz.boxes_on_images([IMAGE] * 5, [BOXES] * 5, titles=range(5), **text),
    "masks_on_image": lambda **text: viz.masks_on_image(IMAGE, MASKS, [0, 1], **text),
    "masks_on_images": lambda **text: viz.masks_on_images(
        [IMAGE] * 2, [MASKS] * 2, [[0, 1]] * 2, titles=["there", "found"], boxes=[BOXES] * 2, **text
    ),
    "panoptic_on_image": lambda **text: viz.panoptic_on_image(IMAGE, SEGMENTATION, SEGMENTS, **text),
    "panoptic_on_images": lambda **text: viz.panoptic_on_images(
        [IMAGE] * 2, [(SEGMENTATION, SEGMENTS)] * 2, titles=["there", "found"], **text
    ),
    "semantic_map": lambda **text: viz.semantic_map(SEGMENTATION, {0: "ground"}, IMAGE, **text),
    "shifted_windows": lambda **text: viz.shifted_windows(4, 8, 2, 1, IMAGE, **text),
    "window_masks": lambda **text: viz.window_masks(np.ones((6, 4, 4), bool), **text),
    "relative_index": lambda **text: viz.relative_index(np.arange(16).reshape(4, 4), 2, **text),
    "cost_matrix": lambda **text: viz.cost_matrix([[1, 2], [3, 4.5]], ([0, 1], [1, 0]), **text),
    "matched_boxes": lambda **text: viz.matched_boxes(IMAGE, BOXES, BOXES[:1], ([1], [0]), **text),
    "attention_by_object": lambda **text: viz.attention_by_object(np.ones((2, 2, 4)), IMAGE, BOXES, **text),
}


def words(ax):
    return [text.get_text() for text in ax.texts]


def rectangles(ax):
    """Every rectangle once, as corners: the image's frame first; each box has a white rim under it."""
    corners = [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height())
               for p in ax.patches if isinstance(p, Rectangle)]  # fmt: skip
    return [corners[0], *corners[2::2]]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_title_and_caption_and_nothing_is_cut_off(name):
    fig = PICTURES[name](
        title="A title", caption="What to see: " + "an ordinary sentence, neither long nor short. " * 4
    )
    assert fig.caption.startswith("What to see") and fig.get_suptitle() == "A title"
    assert fig._repr_mimebundle_()[1]["image/png"]["alt"] == fig.caption
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_boxes_are_where_they_are_in_pixels():
    fig = viz.boxes_on_image(Tensor(IMAGE), Tensor(np.float32(BOXES)), [3, 0], names=["a", "b"])
    (ax,) = fig.axes
    assert rectangles(ax) == [(0, 0, 40, 20), *map(tuple, BOXES)]
    assert ax.images[0].get_extent() == [0, 40, 20, 0]
    assert words(ax) == ["3", "a"]  # a class without a name has its number
    assert to_rgb(ax.patches[2].get_edgecolor()) == to_rgb(colour_of(3))


def test_boxes_of_a_model_are_scaled_to_the_image():
    fig = viz.boxes_on_image(IMAGE, [[0.5, 0.25, 0.5, 0.1]], normalised=True)
    np.testing.assert_allclose(rectangles(fig.axes[0])[1], (10, 4, 30, 6))
    assert words(fig.axes[0]) == []


def test_a_box_that_leaves_the_image_is_seen_and_a_wild_one_does_not_shrink_the_image():
    (ax,) = viz.boxes_on_image(IMAGE, [[-4, 2, 10, 10]]).axes
    assert -5 < ax.get_xlim()[0] <= -4
    (ax,) = viz.boxes_on_image(IMAGE, [[-1e6, 2, 1e6, 10]]).axes
    assert -11 < ax.get_xlim()[0] <= -10 and 50 <= ax.get_xlim()[1] < 51


def test_the_surest_box_is_drawn_last_and_tags_do_not_hide_each_other():
    fig = viz.boxes_on_image(IMAGE, [[1, 8, 30, 19]] * 3, [0, 1, 2], [0.5, 0.9, 0.1], "abc", size=6)
    ax = fig.axes[0]
    assert words(ax) == ["c 0.10", "a 0.50", "b 0.90"]
    places = [text.get_position() for text in ax.texts]
    assert len(set(places)) == 3
    fig.draw_without_rendering()
    spans = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(spans) for b in spans[:i])


def test_no_boxes_and_no_masks_are_no_trouble():
    assert rectangles(viz.boxes_on_image(IMAGE, []).axes[0]) == [(0, 0, 40, 20)]
    none = viz.boxes_on_image(IMAGE, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    assert rectangles(none.axes[0]) == [(0, 0, 40, 20)] and words(none.axes[0]) == []
    assert not words(viz.masks_on_image(IMAGE, np.zeros((0, 20, 40), bool), np.zeros(0, int)).axes[0])
    assert not words(viz.panoptic_on_image(IMAGE, np.zeros((20, 40), int), []).axes[0])
    viz.matched_boxes(IMAGE, BOXES, [], ([], [])).png()


def test_classes_have_colours_that_differ_for_every_colour_vision():
    from tests.viz.test_viz import nearest

    assert nearest([*_PALETTE, "white"]) > 0.12
    assert colour_of(len(_PALETTE)) == colour_of(0)
    many = viz.boxes_on_image(IMAGE, BOXES, [0, len(_PALETTE)]).axes[0].patches
    assert many[2].get_linestyle() != many[4].get_linestyle()  # after the palette the dash tells them apart


def test_boxes_around_masks_have_their_colours_and_carry_the_tags():
    ax = viz.masks_on_image(IMAGE, MASKS, [0, 1], [0.9, 0.8], ["cat", "dog"], boxes=BOXES).axes[0]
    assert words(ax) == ["dog 0.80", "cat 0.90"]  # the best on top
    drawn = [
        r for r in ax.patches if isinstance(r, Rectangle) and r.get_edgecolor()[:3] == to_rgb(colour_of(1))
    ]
    assert [r.get_bbox().extents.tolist() for r in drawn] == [BOXES[1]]
    fig = viz.masks_on_images([IMAGE] * 2, [MASKS, []], [[0, 1], []], boxes=[BOXES, []], names=["cat", "dog"])
    assert [len(words(ax)) for ax in fig.axes] == [2, 0]


def test_masks_are_painted_on_their_pixels_and_outlined():
    ax = viz.masks_on_image(IMAGE, MASKS, [0, 1], [0.9, 0.8], ["cat", "dog"], strength=0.4).axes[0]
    layer = ax.images[1].get_array()
    np.testing.assert_allclose(layer[..., 3], 0.4 * MASKS.any(axis=0))
    np.testing.assert_allclose(layer[4, 4, :3], to_rgb(colour_of(0)))
    assert words(ax) == ["cat 0.90", "dog 0.80"]
    x, y = ax.lines[0].get_data()
    assert (np.nanmin(x), np.nanmax(x), np.nanmin(y), np.nanmax(y)) == (2, 12, 3, 13)
    assert np.isnan(x).sum() == 40  # one stroke for each pixel edge of a 10 x 10 square


def test_the_tag_of_a_ring_is_on_the_ring():
    y, x = np.mgrid[:40, :40] - 19.5
    ring = abs(np.hypot(y, x) - 15) < 2
    from minivis.viz.masks import _middle

    x0, y0, *_ = _middle(ring)
    assert ring[int(y0), int(x0)]


def test_a_panoptic_result_names_its_segments():
    ax = viz.panoptic_on_image(IMAGE, SEGMENTATION, SEGMENTS, names=["cat", "sky"]).axes[0]
    assert words(ax) == ["cat 0.50", "sky"]  # segment 4 has no pixels
    painted = ax.images[1].get_array()[..., 3] > 0
    np.testing.assert_array_equal(painted, SEGMENTATION > 0)


def test_a_semantic_map_has_a_legend_of_what_occurs():
    fig = viz.semantic_map([[0, 0], [2, 255]], ["sky", "sea", "land"], ignore=255)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["sky", "land"]
    layer = fig.axes[0].images[1].get_array()
    np.testing.assert_allclose(layer[1, 0, :3], to_rgb(colour_of(2)))
    assert layer[1, 1, 3] == 0
    assert not viz.semantic_map([[255]], ignore=255).legends


def test_shifted_windows_are_the_same_pieces_before_and_after_the_roll():
    fig = viz.shifted_windows(4, 6, 2, 1)
    before, after = (fig.axes[i].images[0].get_array() for i in (1, 2))
    np.testing.assert_array_equal(np.roll(before, (-1, -1), (0, 1)), after)
    assert words(fig.axes[0]) == [] and sorted(words(fig.axes[2])) == list("ABCDEFGHI")
    assert after[0, 0].tolist() != after[0, 4].tolist() != after[0, 5].tolist()  # A, B, C of the first row
    assert {tuple(c) for c in after[:2, :4].reshape(-1, 4)} == {tuple(after[0, 0])}
    image = np.arange(8 * 12).reshape(8, 12) / 96
    rolled = viz.shifted_windows(4, 6, 2, 1, image).axes[2].images[0].get_array()
    np.testing.assert_array_equal(rolled, np.roll(image, (-2, -2), (0, 1)))
    assert len(words(viz.shifted_windows(4, 6, 2, 0).axes[1])) == 1  # no shift: one piece


def test_the_pieces_are_those_that_the_mask_keeps_apart():
    after = viz.shifted_windows(8, 12, (4, 6), (2, 3)).axes[2].images[0].get_array()[..., :3]
    windows = after.reshape(2, 4, 2, 6, 3).transpose(0, 2, 1, 3, 4).reshape(4, 24, 3)
    alike = (windows[:, :, None] == windows[:, None]).all(axis=-1)
    np.testing.assert_array_equal(alike, vision.shifted_window_mask(8, 12, (4, 6), (2, 3)))


def test_window_masks_and_relative_indices_show_their_numbers():
    mask = np.zeros((2, 3, 3), bool)
    mask[1, 0, 2] = True
    fig = viz.window_masks(mask)
    np.testing.assert_array_equal(fig.axes[1].images[0].get_array(), mask[1])
    index = np.arange(36).reshape(6, 6)
    fig = viz.relative_index(index, (2, 3), query=1)
    assert words(fig.axes[0]) == [str(i) for i in range(36)]
    assert words(fig.axes[1]) == ["6", "7", "8", "9", "10", "11"]


def test_the_chosen_cells_are_framed_and_summed():
    fig = viz.cost_matrix([[108, 125, 150], [150, 135, 175], [122, 148, 250]], ([0, 1, 2], [2, 1, 0]))
    ax = fig.axes[0]
    assert ax.get_title() == "framed: 150 + 135 + 122 = 407"
    frames = [(p.get_x() + 0.46, p.get_y() + 0.46) for p in ax.patches if isinstance(p, Rectangle)][::2]
    np.testing.assert_allclose(frames, [(2, 0), (1, 1), (0, 2)])
    assert viz.cost_matrix([[-3.0, 1]], ([0], [0])).axes[0].get_title() == "framed: −3"
    assert viz.cost_matrix([[-3.0], [-3]], ([0, 1], [0, 0])).axes[0].get_title() == "framed: (−3) + (−3) = −6"
    many = viz.cost_matrix(np.eye(9) / 2, (range(9), range(9))).axes[0].get_title()
    assert many == "framed: 9 cells, together 4.50"
    wide = viz.cost_matrix(np.full((5, 5), -10.25), (range(5), range(5))).axes[0].get_title()
    assert wide == "framed: 5 cells, together −51.25"  # the five numbers would run over the edge
    assert not viz.cost_matrix([[1, 2]]).axes[0].patches


def test_matched_boxes_share_a_colour_and_a_line():
    fig = viz.matched_boxes(
        IMAGE, [*BOXES, [0, 0, 5, 5]], BOXES, ([1, 0], [0, 1]), labels=[0, 1, 1], names=["cat", "dog"]
    )
    ax = fig.axes[0]
    assert words(ax) == ["target 0", "target 1", "dog?", "cat?"]
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [(29, 11.5), (7, 8)])
    assert ax.lines[1].get_color() == colour_of(0) and ax.lines[3].get_color() == colour_of(1)


def test_a_prediction_without_object_can_be_seen_on_white():
    fig = viz.matched_boxes(np.ones((40, 40)), [[10, 10, 30, 30]], [], ([], []))
    picture = np.asarray(Image.open(io.BytesIO(fig.png())).convert("L")) / 255
    height, width = picture.shape
    middle = picture[height // 5 : -height // 5, width // 5 : -width // 5]  # without the frame of the image
    assert (middle < 0.5).sum() > 2 * width / 2  # half of the four edges, each half a picture long, is dark


def test_each_query_is_painted_where_it_reads_much():
    maps = np.array([[[1.0, 0.1], [0, 0]], [[0, 0], [0.2, 0.2]]])
    ax = viz.attention_by_object(maps, IMAGE, BOXES).axes[0]
    np.testing.assert_array_equal(ax.images[1].get_array()[..., 3] > 0, [[True, False], [False, False]])
    np.testing.assert_allclose(ax.images[2].get_array()[..., 3], [[0, 0], [0.85, 0.85]])
    assert words(ax) == ["query 0", "query 1"]
    fig = viz.attention_maps(maps, np.ones((4, 4)), query=[(0, 0), (1, 1)])
    assert words(fig.axes[0]) == ["1", "2"]
    assert [float(v[0]) for v in fig.axes[2].lines[0].get_data()] == [2.5, 2.5]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: viz.boxes_on_image(np.zeros(3), []), r"boxes_on_image: expected \(H, W\)"),
        (lambda: viz.boxes_on_image(IMAGE, [[1, 2, 3]]), r"boxes_on_image: boxes must be \(N, 4\), got \(1, 3\)"),
        (lambda: viz.boxes_on_image(IMAGE, [[9, 9, 3, 3]]), "negative size: x1 < x0 or y1 < y0; are they cxcywh"),
        (lambda: viz.boxes_on_image(IMAGE, [[0, 0, -1, 1]], normalised=True), "a width or a height is negative"),
        (lambda: viz.boxes_on_image(IMAGE, [[0, 0, np.nan, 1]]), "boxes must be finite"),
        (lambda: viz.boxes_on_image(IMAGE, BOXES, labels=[1]), r"labels must be \(2,\), one for each box, got \(1,\)"),
        (lambda: viz.boxes_on_image(IMAGE, BOXES, scores=[[1, 2]]), r"scores must be \(2,\)"),
        (lambda: viz.boxes_on_images([IMAGE], [BOXES] * 2), "boxes_on_images: 2 boxes for 1 images"),
        (lambda: viz.boxes_on_images([IMAGE], [[[1, 2, 3]]]), "boxes_on_images: boxes must be"),
        (lambda: viz.boxes_on_images([], []), "boxes_on_images: there is no image"),
        (lambda: viz.masks_on_image(IMAGE, MASKS[:, 1:]), r"masks must be \(T, H, W\) .* got \(2, 19, 40\)"),
        (lambda: viz.masks_on_image(IMAGE, MASKS, labels=[1]), r"labels must be \(2,\)"),
        (lambda: viz.masks_on_image(IMAGE, MASKS, boxes=BOXES[:1]), r"masks_on_image: boxes must be \(2, 4\).*\(1, 4\)"),
        (lambda: viz.masks_on_images([IMAGE], [MASKS] * 2), "masks_on_images: 2 masks for 1 images"),
        (lambda: viz.masks_on_images([IMAGE], [MASKS], titles=["a", "b"]), "masks_on_images: 2 titles for 1 images"),
        (lambda: viz.panoptic_on_images([IMAGE], []), "panoptic_on_images: 0 results for 1 images"),
        (lambda: viz.panoptic_on_image(IMAGE, SEGMENTATION.T, []), r"panoptic_on_image: segmentation is \(40, 20\)"),
        (lambda: viz.panoptic_on_image(IMAGE, SEGMENTATION, [{"id": 1}]), "_image: a segment needs an id and a label"),
        (lambda: viz.semantic_map(np.zeros((2, 2)), image=IMAGE), r"semantic_map: labels must be \(H, W\)"),
        (lambda: viz.shifted_windows(6, 6, 4, 1), "windows of 4 x 4 do not divide a map of 6 x 6"),
        (lambda: viz.shifted_windows(4, 4, 2, 2), r"shift \(2, 2\) must be 0 to less"),
        (lambda: viz.shifted_windows(4, 4, 2, 1, np.zeros((6, 6))), "does not divide the image"),
        (lambda: viz.shifted_windows(4, 4, (2, 2, 2), 1), "window must be an integer of at least 1, or two of them"),
        (lambda: viz.window_masks(np.ones((2, 3, 4))), r"mask must be \(windows, N, N\)"),
        (lambda: viz.window_masks(np.ones((37, 2, 2))), "1 to 36 windows"),
        (lambda: viz.window_masks(np.ones((2, 2, 2)), titles=["a"]), "1 titles for 2 windows"),
        (lambda: viz.relative_index(np.ones((4, 4)), 3), "N = 3 x 3 = 9 cells"),
        (lambda: viz.relative_index(np.ones((4, 4)), 2, query=4), "query must be 0 to 3, got 4"),
        (lambda: viz.cost_matrix([1, 2]), "cost_matrix: cost must be"),
        (lambda: viz.cost_matrix([[1, 2]], ([0], [2])), r"matches has \[2\], but there are 0 to 1"),
        (lambda: viz.cost_matrix([[1, 2]], ([0], [0, 1])), "matches has 1 rows and 2 columns"),
        (lambda: viz.matched_boxes(IMAGE, BOXES, [[1, 2, 3]], ([], [])), r"targets must be \(N, 4\)"),
        (lambda: viz.matched_boxes(IMAGE, BOXES, BOXES, ([2], [0])), r"matches has \[2\]"),
        (lambda: viz.attention_by_object(np.ones((1, 2, 2)), IMAGE, BOXES), "one for each of 2 boxes"),
        (lambda: viz.attention_maps(np.ones((2, 2)), image=np.ones((2, 4, 4))), r"attention_maps: expected \(H, W\)"),
        (lambda: viz.attention_maps(np.ones((3, 2, 2)), query=[(0, 0), (1, 1)]), r"query must be \(2,\) or \(3, 2\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
