"""Pictures with controls: the picture alone, the controls as a reader moves them, and what is refused.

Not here: a browser.
"""

import sys

import numpy as np
import pytest

from minivis import vision, viz
from minivis.viz.style import FAINT

RNG = np.random.default_rng(0)
ATTENTION = RNG.random((2, 3, 13, 13))  # a class token and 3 x 4 patches
PNG, VIEW = "image/png", "application/vnd.jupyter.widget-view+json"


def explorer():
    return viz.attention_explorer(ATTENTION, np.ones((6, 8)), grid=(3, 4))


def test_the_picture_stands_beside_the_controls_and_alone_without_ipywidgets(monkeypatch):
    data, about = explorer()._repr_mimebundle_()
    assert data[PNG].startswith(b"\x89PNG") and VIEW in data
    assert about[PNG]["alt"].startswith("Layer 2, mean over heads")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    data, about = explorer()._repr_mimebundle_()
    assert data[PNG].startswith(b"\x89PNG") and VIEW not in data


def test_a_moved_control_changes_the_picture():
    box = explorer().widget()
    layer, head, patch, picture = box.children
    before = picture.value
    layer.value, head.value = 0, 2
    assert before != picture.value and "Layer 1, head 3" in picture.value
    name, grid = patch.children
    assert name.value == "patch" and grid.layout.grid_template_columns.startswith("repeat(4,")
    assert len(grid.children) == 12 and grid.children[11].tooltip == "row 2, column 3"
    for number in (11, 5):
        before = picture.value
        grid.children[number].click()
        assert before != picture.value
        marked = [i for i, square in enumerate(grid.children) if square.style.button_color != FAINT]
        assert marked == [number]


def test_what_a_patch_reads_is_its_row_without_the_class_token():
    fig = explorer().figure(layer=1, head=0, patch=5)
    shown = fig.axes[1].images[-1].get_array()
    row = ATTENTION[1, 0, 6, 1:].reshape(3, 4)
    assert np.unravel_index(shown.argmax(), shown.shape) == np.unravel_index(row.argmax(), row.shape)
    assert [float(v[0]) for v in fig.axes[1].lines[0].get_data()] == [2.5, 2.5]  # patch 5: row 1, column 1


def test_attention_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"N = 12 patches of a grid of 3 x 4.*got \(2, 3, 16, 16\)"):
        viz.attention_explorer(np.ones((2, 3, 16, 16)), np.ones((6, 8)), grid=(3, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: viz.attention_explorer(ATTENTION, np.ones((6, 8)), (3, 4), layer=2), r"layer=2 .*: \[0, 1\]"),
        (lambda: viz.attention_explorer(ATTENTION, np.ones((6, 8)), (3, 4), head=3), "head=3 is none of the choices"),
        (lambda: viz.attention_explorer(ATTENTION, np.ones((6, 8)), (3, 4), query=12), r"patch=12 .*range\(0, 12\)"),
        (lambda: viz.window_painter(8, 8, 4, shift=4), r"shift=4 .*: \[0, 1, 2, 3\]"),
        (lambda: viz.matching_playground({"class": [[0.0]]}, {"class": 3}), "class=3 is none of the choices"),
        (lambda: viz.matching_playground({"class": [[0.0]]}, {"L1": 1}), r"the choices are \['class'\]"),
    ],
)  # fmt: skip
def test_a_start_that_is_no_choice_is_refused_before_anything_is_drawn(make, message):
    with pytest.raises(ValueError, match=f"Explorer: .*{message}"):
        make()


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_whom_a_token_sees_is_what_the_mask_allows(shift):
    for token in (0, 13, 31, 47):
        fig = viz.window_painter(8, 8, 4).figure(shift=shift, token=token)
        on_the_map = np.asarray(fig.axes[0].images[0].get_array())
        rows, columns = np.arange(8), np.arange(8)
        window = (((rows - shift) % 8) // 4)[:, None] * 2 + ((columns - shift) % 8) // 4
        wrapped = (rows < shift)[:, None] * 2 + (columns < shift)
        same = (window == window.flat[token]) & (wrapped == wrapped.flat[token])
        assert ((on_the_map > 0) == same).all() and on_the_map.argmax() == token


def test_the_pairs_are_the_cheapest_for_the_weights():
    parts = {"class": RNG.random((4, 3)), "L1": RNG.random((4, 3))}
    playground = viz.matching_playground(parts, {"L1": 5})
    total = parts["class"] + 5 * parts["L1"]
    best = total[vision.linear_sum_assignment(total)].sum()
    assert (
        playground.figure().caption
        == f"Cost = 1 × class + 5 × L1. The framed pairs have the lowest total, {best:.2f}."
    )
    weight, _, picture = playground.widget().children
    weight.value = 10
    assert "Cost = 10 × class + 5 × L1." in picture.value
