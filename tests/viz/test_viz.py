"""Every picture draws what it was given, is labelled, and leaves no global state behind.

Not here: whether it is beautiful; someone looked at each.
"""

import inspect
import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

import minivis as mv
from minivis import ops, viz
from minivis.viz import style

rng = np.random.default_rng(0)
x = mv.Tensor(rng.standard_normal((4, 2)).astype(np.float32), requires_grad=True)

PICTURES = {
    "images": lambda **text: viz.images(rng.random((3, 3, 8, 6)), **text),
    "heatmap": lambda **text: viz.heatmap(rng.standard_normal((3, 4)), **text),
    "curves": lambda **text: viz.curves({"a": [1, 2, 4], "b": ([0, 2], [1, 3])}, "x", "y", **text),
    "bars": lambda **text: viz.bars({"one": {"a": 1, "b": 2}, "two": {"a": 3, "b": 4}}, "y", "x", **text),
    "dots": lambda **text: viz.dots({"one": [1, 2], "two": [3]}, "x", **text),
    "named_points": lambda **text: viz.named_points({"one": (1, 2), "two": (3, 1)}, "x", "y", **text),
    "plane": lambda **text: viz.plane(lambda p: p[:, 0] > 0, [[-1, 0], [1, 1]], [0, 1], **text),
    "graph": lambda **text: viz.graph((x * x).sum(), **text),
}


def pixels(fig):
    """The picture as it comes out of Jupyter, (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(fig.png())).convert("RGB"))


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_itself_once_with_its_caption(name):
    plain = PICTURES[name]()
    fig = PICTURES[name](title="A title", caption="What to see: " + "words " * 40)
    data, about = fig._repr_mimebundle_()
    assert list(data) == ["image/png", "text/plain"] and fig._repr_html_() is None
    assert fig.caption in data["text/plain"] and "None" not in repr(plain)
    assert about["image/png"]["alt"] == fig.caption and fig.caption.startswith("What to see: words")
    assert "alt" not in plain._repr_mimebundle_()[1]["image/png"]
    assert pixels(fig).shape[0] > pixels(plain).shape[0]  # title and caption have room of their own
    assert pixels(fig)[-1].min() == 255  # nothing is cut off at the lower edge
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_takes_title_and_caption_by_name(name):
    parameters = inspect.signature(getattr(viz, name)).parameters
    assert parameters["title"].default is None and parameters["caption"].default is None


def test_pyplot_is_never_loaded_and_settings_stay():
    code = (
        "import sys, matplotlib, minivis as mv; before = dict(matplotlib.rcParams);"
        "mv.viz.heatmap([[1.0]]).png(); assert before == dict(matplotlib.rcParams);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def nearest(colours):
    """How far apart the two most similar of some colours are, for the colour vision to which they are most similar."""
    # Machado et al. (2009), "A physiologically-based model for simulation of color vision deficiency", severity 1
    visions = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }  # fmt: skip
    seen = [
        np.array([matplotlib.colors.to_rgb(c) for c in colours]) @ np.array(v).T for v in visions.values()
    ]
    apart = [np.linalg.norm(s[:, None] - s, axis=-1)[np.triu_indices(len(s), 1)].min() for s in seen]
    return min(apart)


def test_colours_differ_for_every_colour_vision():
    assert nearest(viz.COLOURS) > 0.12
    # what others use
    assert nearest(matplotlib.rcParamsDefault["axes.prop_cycle"].by_key()["color"][:7]) < 0.12


def test_images_takes_every_layout():
    for given, count in [
        (np.zeros((5, 4)), 1),
        (np.zeros((1, 5, 4)), 1),
        (np.zeros((3, 5, 4)), 1),
        (np.zeros((7, 3, 5, 4)), 7),
        ([np.zeros((3, 5, 4)), np.zeros((8, 8))], 2),
        (mv.Tensor(np.zeros((2, 1, 5, 4))), 2),
        (np.zeros((2, 3, 5, 4), np.uint8), 2),
        (np.zeros((5, 4), bool), 1),
    ]:
        assert sum(bool(ax.images) for ax in viz.images(given).axes) == count


def test_images_keep_their_pixels():
    image = rng.random((3, 4, 5)).astype(np.float32)
    shown = viz.images(image).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, image.transpose(1, 2, 0))
    (grey,) = viz.images(np.array([[0.2, 0.4]])).axes[0].images
    assert grey.get_clim() == (0, 1)  # not stretched: 0.4 is dark grey, not white
    (signed,) = viz.images(np.array([[-1.0, 3.0]]), signed=True).axes[0].images
    assert signed.get_clim() == (-3, 3) and signed.get_cmap().name == viz.DIVERGING


def test_heatmap_writes_its_numbers():
    fig = viz.heatmap([[9, 0, 1], [3, -5, -3]], "key", "query", x_names="abc")
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.texts] == ["9", "0", "1", "3", "-5", "-3"]
    assert ax.get_xlabel() == "key" and [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert not viz.heatmap(np.zeros((30, 30))).axes[0].texts
    assert pixels(viz.heatmap([[np.nan, 1.0]])).size


def test_a_long_table_of_numbers_has_low_rows():
    heights = [viz.heatmap(np.ones((rows, 7))).get_figheight() for rows in (8, 16)]
    assert heights[1] < 1.4 * heights[0]


@pytest.mark.parametrize(("x", "whole"), [([1, 2, 3], True), ([0.5, 1, 2], False)])
def test_curves_over_whole_numbers_have_whole_ticks(x, whole):
    ticks = viz.curves({"a": (x, [1, 2, 4])}, "layer", "y").axes[0].get_xticks()
    assert (ticks == ticks.round()).all() == whole


def test_curves_draw_their_points():
    ax = viz.curves({"a": [1, 10], "b": ([3, 4], [5, 6])}, "x", "y", log="y", level={"bound": 2}).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 1], [1, 10]])
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[3, 5], [4, 6]])
    assert ax.get_yscale() == "log" and ax.get_xscale() == "linear"
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()  # not by colour alone


def test_bars_have_their_heights():
    ax = viz.bars({"one": {"a": 1, "b": 2}, "two": {"a": 3, "b": 4}}, "y").axes[0]
    assert [bar.get_height() for bar in ax.patches] == [1, 2, 3, 4]


def test_dots_stand_at_their_numbers_the_first_name_on_top_and_means_between():
    ax = viz.dots({"one": [1, 2], "two": [5]}, "x").axes[0]
    means, dots = ([line for line in ax.lines if len(line.get_xdata()) == n] for n in (2, 1))
    assert [line.get_xdata()[0] for line in means] == [1.5, 5]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(1, 0), (2, 0), (5, 1)]
    assert dots[0].get_marker() != dots[1].get_marker() and dots[0].get_marker() == dots[2].get_marker()
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_named_points_have_their_names_on_the_side_with_room():
    ax = viz.named_points({"one": (1, 2), "two": (1000, 3)}, "x", "y", log="x").axes[0]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [(1, 2), (1000, 3)]
    assert [text.get_ha() for text in ax.texts] == ["left", "right"] and ax.get_xscale() == "log"


def labels(fig):
    """What stands in the boxes of a graph."""
    return [text.get_text() for text in fig.axes[0].texts]


def test_graph_names_leaves_ops_and_the_result():
    w = mv.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    hidden = ops.relu(x @ w)
    loss = (hidden * hidden).mean()
    found = labels(viz.graph(loss, names={"x": x, "w": w, "hidden": hidden}))
    assert set(found) == {
        "x\n(4, 2)", "w\n(2, 3)", "matmul\n(4, 3)", "hidden = relu\n(4, 3)", "mul\n(4, 3)", "×2", "mean\nscalar",
    }  # fmt: skip


def test_graph_writes_values_and_gradients():
    a = mv.Tensor(np.float32(3.0), requires_grad=True)
    y = a * a
    y.backward(retain_graph=True)
    found = labels(viz.graph(y, names={"a": a}, values=True))
    assert "a\n3\ngrad 6" in found and "mul\n9" in found


def test_boxes_of_a_graph_do_not_overlap():
    y = x
    for _ in range(6):
        y = ops.tanh(y) * ops.sigmoid(y) + ops.exp(-y) + y
    fig = viz.graph(y)
    boxes = [b.get_bbox() for b in fig.axes[0].patches if isinstance(b, matplotlib.patches.FancyBboxPatch)]
    assert len(boxes) == 1 + 6 * 7
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for arrow in fig.axes[0].patches:
        if isinstance(arrow, matplotlib.patches.FancyArrowPatch):
            ends = arrow.get_path().vertices[[0, -1]]
            assert ends[0, 1] > ends[1, 1]  # every arrow points down: the forward pass


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: viz.images(np.zeros(3)), ValueError, r"images: expected \(H, W\)"),
        (lambda: viz.images(np.zeros((2, 5, 5))), ValueError, r"C = 1 or 3, got \(2, 5, 5\)"),
        (lambda: viz.images([]), ValueError, "images: expected"),
        (lambda: viz.images(np.zeros((0, 3, 5, 5))), ValueError, "images: expected"),
        (lambda: viz.images(np.zeros((2, 1, 5, 5)), titles=["one"]), ValueError, "1 titles for 2 images"),
        (lambda: viz.heatmap(np.zeros((2, 2, 2))), ValueError, "heatmap: expected a matrix"),
        (lambda: viz.heatmap(np.zeros((2, 2)), x_names="abc"), ValueError, "3 names for an axis of length 2"),
        (lambda: viz.heatmap(["a"]), TypeError, "viz: matrix must hold real numbers"),
        (lambda: viz.curves({}, "x", "y"), ValueError, "curves: there is no curve"),
        (lambda: viz.curves({"a": ([1], [1, 2])}, "x", "y"), ValueError, "'a' needs x and y of one length"),
        (lambda: viz.bars({}, "y"), ValueError, "bars: every series"),
        (lambda: viz.bars({"s": {"a": 1}, "t": {"b": 1}}, "y"), ValueError, "same names"),
        (lambda: viz.dots({}, "x"), ValueError, "dots: every name needs a list"),
        (lambda: viz.dots({"a": [1], "b": []}, "x"), ValueError, r"got a: \(1,\), b: \(0,\)"),
        (lambda: viz.named_points({}, "x", "y"), ValueError, "named_points: there is no point"),
        (lambda: viz.named_points({"a": (0, 1)}, "x", "y", "x"), ValueError, "'a' must be x and y, above 0"),
        (lambda: viz.plane(len, np.zeros((3, 3)), [0, 0, 0]), ValueError, r"plane: expected points \(N, 2\)"),
        (lambda: viz.graph(np.ones(3)), TypeError, "graph: expected a Tensor, got ndarray"),
        (lambda: viz.graph(mv.Tensor([1.0]) * 2), ValueError, "nothing was recorded"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


def test_a_consumed_or_huge_graph_is_refused():
    y = (x * x).sum()
    y.backward()
    with pytest.raises(ValueError, match="graph behind sum was consumed by backward"):
        viz.graph(y)
    y = x.sum()
    for _ in range(20_000):
        y = y + 1
    with pytest.raises(ValueError, match="with more than 120 nodes cannot be read"):
        viz.graph(y)


def test_save_leaves_a_whole_file_or_none(tmp_path):
    fig = viz.heatmap([[1.0]])
    fig.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 100
    with pytest.raises(ValueError, match="not supported"):
        fig.save(tmp_path / "a.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_every_axis_is_labelled():
    for name in ("heatmap", "curves", "bars", "plane"):
        ax = PICTURES[name]().axes[0]
        assert ax.get_xlabel() and ax.get_ylabel(), name
    assert style.limits(np.array([2.0, 2.0]), False) == (2.0, 3.0)
