"""Layers, ViT and optimisers give what torch and transformers give, gradients too: against stored results everywhere.

Not here: single ops (test_op_parity.py). Where torch is installed, it is asked again.
"""

import importlib.util

import numpy as np
import pytest

from tests.parity import nn_rows, optim_rows
from tests.parity.make_nn_fixtures import NN, OPTIM, load

ROWS = {row.key: row for row in nn_rows.ROWS}
OURS = optim_rows.ours()
has = {name: importlib.util.find_spec(name) is not None for name in ("torch", "transformers")}


def assert_same(got, expected, tolerance=1e-9):
    """The same names; outputs relative to their largest value, gradients to the largest of all gradients."""
    assert sorted(got) == sorted(expected)
    largest = max([np.abs(x).max() for n, x in expected.items() if n.startswith("gradient")], default=1.0)
    for name, b in expected.items():
        size = largest if name.startswith("gradient") else max(1.0, np.abs(b).max())
        assert got[name].shape == b.shape, name
        np.testing.assert_allclose(got[name], b, rtol=0, atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("key", ROWS)
def test_a_layer_gives_what_torch_gave(key):
    assert_same(nn_rows.ours(ROWS[key]), load(NN, key))


@pytest.mark.parametrize("key", OURS)
def test_an_optimiser_steps_as_torch_did(key):
    assert_same({str(i): x for i, x in enumerate(OURS[key])}, load(OPTIM, key))


def test_the_comparison_sees_a_wrong_weight():
    wrong = nn_rows.ours(ROWS["attention self"])
    wrong["output"] = wrong["output"] * 1.0001
    with pytest.raises(AssertionError):
        assert_same(wrong, load(NN, "attention self"))


@pytest.mark.skipif(not (has["torch"] and has["transformers"]), reason="needs the parity extra")
@pytest.mark.parametrize("key", ROWS)
def test_the_stored_layers_are_what_torch_gives_now(key):
    assert_same(nn_rows.theirs(ROWS[key]), load(NN, key))


@pytest.mark.skipif(not has["torch"], reason="needs the parity extra")
def test_the_stored_steps_are_what_torch_gives_now():
    for key, arrays in optim_rows.theirs().items():
        assert_same({str(i): x for i, x in enumerate(arrays)}, load(OPTIM, key))
