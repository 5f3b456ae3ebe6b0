"""The set losses give what transformers gives, every term and gradient: against stored results everywhere.

Not here: the models whose outputs they take. Where torch is installed, it is asked again.
"""

import importlib.util

import numpy as np
import pytest

from tests.parity import loss_rows
from tests.parity.make_loss_fixtures import LOSSES
from tests.parity.make_nn_fixtures import load
from tests.parity.test_nn_parity import assert_same

ROWS = {row.key: row for row in loss_rows.ROWS}
has_both = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


@pytest.mark.parametrize("key", ROWS)
def test_a_loss_gives_what_transformers_gave(key):
    assert_same(loss_rows.ours(ROWS[key]), load(LOSSES, key))


def test_the_comparison_sees_a_wrong_term():
    key = "panoptic"
    wrong = loss_rows.ours(ROWS[key])
    wrong["loss_giou_0"] = wrong["loss_giou_0"] + 1e-5
    with pytest.raises(AssertionError, match="loss_giou_0"):
        assert_same(wrong, load(LOSSES, key))
    assert max(np.abs(x).max() for n, x in load(LOSSES, key).items() if n.startswith("gradient")) > 0.01


@pytest.mark.skipif(not has_both, reason="needs the parity extra")
@pytest.mark.parametrize("key", ROWS)
def test_the_stored_losses_are_what_transformers_gives_now(key):
    assert_same(loss_rows.theirs(ROWS[key]), load(LOSSES, key), 1e-9)
