"""Claims are ticked or crossed, whatever the learner's code does, and a cross says expected, got and a hint.

Not here: the laws of the catalogue; the claims of the notebooks (tests/notebooks/test_solutions.py).
"""

import sys
import time

import numpy as np
import pytest

from minivis.laws import above, at_least, at_most, below, between, claims
from minivis.laws.judging import exercises as module

HINT = "Look there."


def complaint(got, expected):
    """What is printed below a claim, the only one; empty where it holds."""
    ((_, held, words),) = claims("x", ("it is so", got, expected, HINT)).entries
    assert held == (words == "")
    return words


def written(source):
    """A learner's function, from a cell of its own."""
    namespace = {"np": np}
    exec(compile(source, "<cell 3>", "exec"), namespace)
    return namespace["f"]


def checked(source, call="f(2)", expected=1.0):
    """The complaint about a learner's function, called in another cell."""
    namespace = {"f": written(source), "np": np}
    exec(compile(f"got = lambda: {call}", "<cell 4>", "exec"), namespace)
    return complaint(namespace["got"], expected)


def test_all_true_passes(capsys):
    report = claims(
        "zero", ("is zero", lambda: 0, 0, HINT), ("stays zero", lambda: np.zeros(3), np.zeros(3), HINT)
    )
    assert report.passed
    assert capsys.readouterr().out == "zero: 2 of 2 hold\n  ✓ is zero\n  ✓ stays zero\n"


def test_a_cross_shows_expected_got_and_the_hint(capsys):
    claims(
        "two", ("is two", lambda: 3, 2, "One and one."), ("is short", lambda: (3, 4), (3,), "Count the axes.")
    )
    assert capsys.readouterr().out == (
        "two: 0 of 2 hold\n"
        "  ✗ is two\n      expected 2, got 3\n      Hint: One and one.\n"
        "  ✗ is short\n      expected (3,), got (3, 4)\n      Hint: Count the axes.\n"
    )


@pytest.mark.parametrize(
    ("got", "expected", "holds"),
    [
        (8.0, 8, True),  # the same number
        (8.0000001, 8, False),  # what is expected as a whole number is counted, not measured
        (8.0000001, 8.0, True),
        (8.001, 8.0, False),
        (np.float32(0.2), 0.2, True),
        ([1, 3], np.array([1, 3]), True),
        (np.array([1, 3]), [1, 3], True),
        ([1, 3], [1, 3, 5], False),
        ([[1], [1, 2]], [1, 2], False),
        (np.zeros((2, 3)), np.zeros((3, 2)), False),
        (np.zeros((2, 1)), np.zeros(2), False),
        (0.0, np.zeros(3), False),  # nothing is broadcast
        (np.ones(3, bool), [True, True, True], True),
        (np.array([np.nan]), np.array([1.0]), False),
        (np.nan, at_most(1), False),
        ((2, 4), (2, 4), True),
        ([2, 4], (2, 4), False),
        ("int", "int", True),
        ("float", "int", False),
        (1 + 2j, 1.0, False),
        (1, at_most(1), True), (1, below(1), False), (1, at_least(1), True), (1, above(1), False),
        (np.array([0, 2]), at_most(1), False), (15.7, between(15.5, 16), True), (16, between(15.5, 16), False),
        (lambda: 3, 3, False),
        (4, lambda: 2 + 2, True),
        (4, lambda: 2 + 3, False),
    ],
)  # fmt: skip
def test_what_holds(got, expected, holds):
    assert (complaint(lambda: got, expected) == "") is holds


def test_arrays_are_shown_with_where_they_differ():
    words = complaint(lambda: np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert words == (
        "1 of 4 numbers are wrong; the largest difference is 0.5 at [1, 1].\n"
        "expected (2, 2) =\n    [[1. 2.]\n     [3. 4.]]\n"
        "got (2, 2) =\n    [[1.  2. ]\n     [3.  4.5]]\n"
        f"Hint: {HINT}"
    )
    words = complaint(lambda: np.zeros((2, 3)), np.zeros((3, 2)))
    assert "It has shape (2, 3); (3, 2) was expected." in words and "Hint: " in words


def test_bounds_are_told_in_words():
    assert complaint(lambda: 3, at_most(1)).startswith("expected at most 1, got 3\n")
    assert complaint(lambda: 3.5, between(1, 2)).startswith("expected between 1 and 2, got 3.5\n")


@pytest.mark.parametrize("call", ["f(2)", "f(2).shape", "f(2) > 1", "[*f(2)]", "f(2)[0]"])
def test_what_is_not_written_yet_is_told_once(call, capsys):
    source = "def f(x): ..."
    words = checked(source, call)
    assert words == f"{module.NOTHING}\nHint: {module.WRITTEN}"
    stub = written(source)
    capsys.readouterr()
    claims("stub", ("is one", lambda: stub(1), 1, HINT), ("is two", lambda: stub(2), 2, "Another hint."))
    assert capsys.readouterr().out.endswith("  ✗ is two: likewise\n")


def test_a_mishap_is_told_with_the_learners_line():
    words = checked("def f(x):\n    y = [x]\n    return y[5]")
    assert words.startswith(
        "Your function raised an IndexError: list index out of range (line 3 of your cell)"
    )
    assert "Hint: An index or a key does not exist" in words
    words = checked("def f(x):\n    return None + x")  # a None of its own making is not one that it returned
    assert words.startswith("Your function raised a TypeError: unsupported operand") and "line 2" in words
    assert "Hint: " in words


def test_the_claims_own_hint_is_given_where_nothing_better_is_known():
    assert checked("def f(x):\n    return 1 / 0").endswith(f"\nHint: {HINT}")
    assert checked("def f(x):\n    raise NotImplementedError('write me')").endswith("by the computation.")


def test_what_cannot_be_used_is_no_mistake_inside_the_function():
    words = checked("def f(x):\n    return [1]", "f(2).shape")
    assert words.startswith(
        "The returned value cannot be used: AttributeError: 'list' object has no attribute 'shape'\n"
    )


def test_print_and_ctrl_c_reach_the_learner(capsys):
    checked("def f(x):\n    print('here', x)\n    return 1.0")
    assert capsys.readouterr().out.startswith("here 2\n")

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claims("x", ("holds", interrupted, 1, HINT))


def test_a_function_that_does_not_come_back_or_ends_the_program(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.3)
    start = time.monotonic()
    words = checked("def f(x):\n    while True:\n        pass")
    assert "did not come back within 0.3 s" in words and "Is there a loop" in words
    assert time.monotonic() - start < 5
    assert "called sys.exit()" in complaint(sys.exit, 1)


def test_no_claim_passes_nothing_and_none_is_without_a_hint():
    assert not claims("empty").passed
    with pytest.raises(ValueError, match="claims: the claim 'is so' of 'x' has no hint"):
        claims("x", ("is so", lambda: 1, 1, ""))
