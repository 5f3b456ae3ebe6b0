"""Every op gives what PyTorch gives, outputs and gradients, in float64: held against stored results everywhere.

Not here: layers and models (their own files beside this one). Where torch is installed, it is asked again.
"""

import numpy as np
import pytest

import minivis as mv
from tests.ops.test_every_op import CASES
from tests.parity.make_op_fixtures import PATH, load
from tests.parity.op_rows import different, ours, rows, theirs
from tests.parity.torch_ops import DIFFERENT, TORCH

REGENERATE = (
    "make the fixtures anew: python -m tests.parity.make_op_fixtures (needs the extras dev and parity)"
)
ROWS, STORED = rows(), load()


def assert_same(got, expected, tolerance=1e-11):
    """Lists of arrays agree within the tolerance, relative to the largest finite value of each (at least 1)."""
    assert [x.shape for x in got] == [x.shape for x in expected]
    for a, b in zip(got, expected, strict=True):
        size = max(1.0, np.abs(b).max(initial=0, where=np.isfinite(b)))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("key", [key for key in ROWS if key in STORED])
def test_an_op_gives_what_torch_gave(key):
    assert_same(ours(ROWS[key]), STORED[key])


def test_torch_still_gives_what_is_stored():
    pytest.importorskip("torch", reason="torch is not installed (the extra parity)")
    for key, case in ROWS.items():
        assert_same(theirs(case), STORED[key])


def test_every_row_has_a_stored_result():
    assert sorted(set(ROWS) - set(STORED)) == [], f"rows without a stored result: {REGENERATE}"
    assert sorted(set(STORED) - set(ROWS)) == [], f"stored results without a row: {REGENERATE}"
    assert PATH.stat().st_size < 400 * 1024


def test_every_op_has_a_row_in_the_table():
    compared = {case.op for case in ROWS.values()}
    assert sorted(set(mv.ops.__all__) - compared) == [], "ops that are not compared with torch"
    assert sorted(set(TORCH) - set(mv.ops.__all__)) == [], "names in the table that are no op"


@pytest.mark.parametrize("op, applies, why", DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_what_is_left_out_is_there_and_is_not_everything(op, applies, why):
    rows_of_op = [case for case in CASES if case.op == op]
    assert any(applies(case.arguments) for case in rows_of_op), f"no row needs the exception {why!r}"
    assert any(not different(case) for case in rows_of_op)


@pytest.mark.parametrize("place", ["output", "gradient"])
def test_a_small_mistake_is_found(place):
    key = next(key for key, case in ROWS.items() if case.op == "softmax")
    got = ours(ROWS[key])
    got[0 if place == "output" else -1] *= 1 + 1e-9
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same(got, STORED[key])
