"""Claims are ticked or crossed, whatever the learner's code does.

Not here: the laws of the catalogue.
"""

import numpy as np

from minivis.laws.claims import claims


def test_all_true_passes(capsys):
    report = claims("zero", ("is zero", lambda: True), ("stays zero", lambda: np.ones(3) == 1))
    assert report.passed
    assert capsys.readouterr().out == "zero: 2 of 2 hold\n  ✓ is zero\n  ✓ stays zero\n"


def test_false_and_nothing_and_errors_are_crosses():
    def stub(): ...

    def raises():
        raise NotImplementedError("write me")

    for holds in (lambda: False, stub, raises, lambda: np.array([True, False]), lambda: stub() > 1):
        assert not claims("x", ("holds", lambda: True), ("fails", holds)).passed
    (_, (_, held, complaint)) = claims("x", ("holds", lambda: True), ("fails", raises)).entries
    assert not held and complaint == "NotImplementedError: write me"
    (_, (_, _, complaint)) = claims("x", ("holds", lambda: True), ("fails", lambda: stub() > 1)).entries
    assert complaint.startswith("something returned None")


def test_no_claim_passes_nothing():
    assert not claims("empty").passed
