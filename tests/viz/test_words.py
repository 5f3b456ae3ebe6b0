"""Pictures of words: the bars of a hidden word, words marked by their place, errors.

Not here: the words themselves (tests/data/test_words.py).
"""

import numpy as np
import pytest

from minivis import viz

WORDS = ["red", "blue", "ring", "star"]


def test_the_most_probable_words_come_first_and_wrong_ones_are_hatched():
    p = [[0.1, 0.6, 0.05, 0.25], [0.4, 0.3, 0.2, 0.1]]
    fig = viz.hidden_words(
        ["a [MASK]", "[MASK] a"],
        p,
        WORDS,
        ["blue", "ring"],
        [["blue", "red"], ["ring"]],
        top=3,
        caption="Look.",
    )
    first, second = fig.axes
    assert [t.get_text() for t in first.get_yticklabels()] == ["blue", "star", "red"]
    assert [bar.get_width() for bar in second.patches] == [0.4, 0.3, 0.2]
    assert [bool(bar.get_hatch()) for bar in first.patches] == [False, True, False]
    assert [t.get_fontweight() for t in second.get_yticklabels()] == ["normal", "normal", "bold"]
    assert first.get_title(loc="left") == "a [MASK]" and fig.caption == "Look."
    assert [ax.get_xlabel() for ax in fig.axes] == ["probability"] * 2


def test_marks_have_the_colours_of_the_legend():
    fig = viz.marked_words(
        {"text": ["a", "red", "ring"], "input": ["a", "[MASK]", "star"]}, [0, 1, 2], ["hidden", "another"]
    )
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.texts] == ["a", "red", "ring", "a", "[MASK]", "star"]
    boxes = [bar.get_facecolor() for bar in ax.patches if bar.get_width()]
    shown = [handle.get_facecolor() for handle in ax.get_legend().legend_handles]
    assert boxes[1] == boxes[4] == shown[0] and boxes[2] == boxes[5] == shown[1] and boxes[0] not in shown


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: viz.hidden_words(["a"], np.ones((2, 4)), WORDS),
            "hidden_words: there are 1 texts and 4 words",
        ),
        (lambda: viz.hidden_words([], np.ones((0, 4)), WORDS), "hidden_words: there are 0 texts"),
        (lambda: viz.marked_words({"text": ["a"]}, [0, 1], ["x"]), "marked_words: every line needs 2 words"),
        (lambda: viz.marked_words({}, [], ["x"]), "marked_words: every line needs 0 words"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
