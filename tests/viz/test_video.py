"""Pictures of films: their panels, their colours, what they refuse.

Not here: how any figure looks in general (test_style.py).
"""

import numpy as np
import pytest

from minivis import viz
from minivis.analysis import space_time_attention

FILM = np.zeros((4, 3, 8, 8))


def test_films_stand_in_rows_with_their_titles():
    fig = viz.film_rows([FILM, FILM], ["forwards", "backwards"], caption="Two films.")
    assert len(fig.axes) == 8 and fig.axes[0].get_title() == "frame 1" and fig.axes[3].get_title() == "4"
    assert [fig.axes[i].get_ylabel() for i in (0, 4)] == ["forwards", "backwards"]


def test_a_pattern_has_a_colour_for_each_step():
    seen = {"space": np.array([[1.0, 0.5], [0, 0]]), "time": np.array([[1.0, 0], [0.2, 0]])}
    fig = viz.space_time_pattern({"split": seen}, (0, 0), (1, 2))
    cells = [[patch for patch in ax.patches if patch.get_fill()] for ax in fig.axes]
    assert [len(found) for found in cells] == [3, 1]  # the token that asks is split between two colours
    assert cells[0][0].get_facecolor() != cells[1][0].get_facecolor()
    assert len(fig.axes[0].lines) == 1 and not fig.axes[1].lines


def test_attention_has_a_row_for_each_model():
    fig = viz.video_attention(FILM, {"joint": np.ones((4, 2, 2)), "space": np.ones((4, 2, 2))}, (2, 0, 1))
    assert len(fig.axes) == 8
    assert [ax.get_title() for ax in fig.axes[:4]] == ["time 1", "time 2", "time 3 asks", "time 4"]
    assert [bool(ax.lines) for ax in fig.axes] == [False, False, True, False] * 2
    assert not any(ax.lines for ax in viz.video_attention(FILM, {"joint": np.ones((4, 2, 2))}).axes)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: viz.film_rows([FILM, FILM[:2]]), "film_rows: films must have one length"),
        (lambda: viz.film_rows([FILM], ["a", "b"]), "film_rows: films must have one length"),
        (lambda: viz.space_time_pattern({"x": {"space": [[1, 1]]}}, (0, 0), (1, 3)), "space_time_pattern: weights must be"),
        (lambda: viz.space_time_pattern({"x": {"place": [[1, 1]]}}, (0, 0), (1, 2)), "space_time_pattern: steps are"),
        (lambda: viz.video_attention(FILM, {"x": np.ones((3, 2, 2))}, (0, 0, 0)), r"video_attention: weights must be \(T=4"),
        (lambda: viz.video_attention(FILM, {"x": np.ones((4, 2, 2))}, (4, 0, 0)), "video_attention: query must be"),
        (lambda: space_time_attention({"x": np.ones(3)}), "space_time_attention: there are no weights of block 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        call()
