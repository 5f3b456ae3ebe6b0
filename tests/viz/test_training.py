"""Pictures of a training: what stands in which panel, what is marked, and the range test.

Not here: the training itself (tests/test_train.py).
"""

import math

import numpy as np
import pytest

from minivis import viz

HISTORY = {
    "step": [10, 20, 30],
    "loss": [2.0, 1.0, 0.5],
    "lr": [0.1, 0.1, 0.01],
    "seconds": [1.0, 2.0, 3.0],
    "AP": [0.1, 0.4, 0.3],
    "AP50": [0.2, 0.6, 0.5],
    "validation loss": [2.0, 1.2, 1.3],
    "pixels": [40.0, 30.0, 20.0],
}


def test_every_column_is_drawn_once_beside_those_of_its_kind():
    fig = viz.training_curves(HISTORY, "AP")
    drawn = {
        ax.get_ylabel(): {
            line.get_label(): line.get_ydata() for line in ax.lines if line.get_label()[0] != "_"
        }
        for ax in fig.axes
    }
    assert {name: list(lines) for name, lines in drawn.items()} == {
        "loss": ["loss", "validation loss"],
        "measured": ["AP", "AP50"],
        "pixels": ["pixels"],
        "learning rate": ["lr"],
    }
    assert drawn["measured"]["AP50"].tolist() == HISTORY["AP50"]
    assert fig.axes[-1].get_xlabel() == "step" and "step 20, where AP was best" in fig.caption
    at = [line.get_xdata()[0] for line in fig.axes[1].lines if line.get_label()[0] == "_"]
    assert at == [20, 20]  # the line through all panels, and the ring around the point


@pytest.mark.parametrize("mode, step", [("max", 10), ("min", 30)])
def test_the_best_row_is_by_the_mode(mode, step):
    assert f"step {step}, where" in viz.training_curves(HISTORY, "pixels", mode).caption


def test_turns_and_missing_numbers_are_drawn():
    nan = math.nan
    history = {
        "step": [1, 2],
        "a_loss": [-1.0, 2.0],
        "b_loss": [1.0, 1.0],
        "a_lr": [1, 1],
        "b_lr": [1, 1],
        "x": [nan, nan],
    }
    fig = viz.training_curves(history, "x")
    assert [len(ax.lines) for ax in fig.axes] == [2, 1, 2] and "best" not in fig.caption
    wide = {"step": [1, 2], "loss": [1000.0, 1.0]}
    assert viz.training_curves(wide).axes[0].get_yscale() == "log"


@pytest.mark.parametrize(
    ("history", "monitor", "complaint"),
    [
        ({}, None, "expected the history that fit returns"),
        ({"step": [], "loss": []}, None, "expected the history that fit returns"),
        ({"step": [1, 2], "loss": [1.0]}, None, "columns of one length"),
        ({"step": [1]}, None, "columns of one length"),
        (HISTORY, "mIoU", "monitor='mIoU' is none of step, loss"),
    ],
)
def test_what_is_no_history_is_named(history, monitor, complaint):
    with pytest.raises(ValueError, match=f"^training_curves: .*{complaint}"):
        viz.training_curves(history, monitor)


def found(suggested=0.1):
    return {
        "lr": [0.01, 0.1, 1.0],
        "loss": [2.0, 1.0, 90.0],
        "smoothed": [2.0, 1.5, 30.0],
        "suggested": suggested,
    }


def test_the_fall_is_seen_though_the_end_explodes():
    ax = viz.lr_range_test(found()).axes[0]
    low, high = ax.get_ylim()
    assert low < 1.0 and 2.0 < high < 4
    assert [line.get_label() for line in ax.lines] == ["one batch", "running mean", "suggested: 0.1"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [2.0, 1.5, 30.0])
    fig = viz.lr_range_test(found(math.nan))
    assert len(fig.axes[0].lines) == 2 and "falls nowhere" in fig.caption


@pytest.mark.parametrize(
    "wrong", [3, {}, {**found(), "loss": [1.0]}, {**found(), "lr": [], "loss": [], "smoothed": []}]
)
def test_what_is_no_range_test_is_named(wrong):
    with pytest.raises(ValueError, match="^lr_range_test: expected"):
        viz.lr_range_test(wrong)
